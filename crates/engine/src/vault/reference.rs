//! References to secrets: made of an author's text, verified at the hand-off.

use kernel::Json;
use kernel::expression::{SecretReference, refer};
use kernel::graph::Plan;

use super::seal::Key;
use crate::engine::Engine;

impl Key {
    /// A reference to `NAME[.path]` by an author: the name of the document whose text it is.
    fn reference(&self, author: &str, named: &str) -> String {
        let content = SecretReference::content(author, named);
        SecretReference::write(&self.reference_mac(&content), &content)
    }

    /// `NAME[.path]` of a reference; `None` if it was not made with this key.
    pub(super) fn named(&self, reference: &str) -> Option<String> {
        let reference = SecretReference::read(reference)?;
        let content = SecretReference::content(&reference.author, &reference.named);
        self.proves(&content, &reference.mac).then_some(reference.named)
    }

    /// What an author wrote, with references in the place of `${workflow.secrets.NAME}`.
    pub(crate) fn refer(&self, author: &str, written: &Json) -> Json {
        refer(written, &|named| self.reference(author, named))
    }

    /// A plan whose text names secrets by references.
    pub(crate) fn refer_plan(&self, plan: Plan) -> Plan {
        let author = plan.definition.name.clone();
        plan.with_references(&|named| self.reference(&author, named))
    }
}

impl Engine {
    /// What somebody who may name secrets wrote, with references in the place of
    /// `${workflow.secrets.NAME}`. `author` names the document. Never for what came as data.
    pub fn refer(&self, author: &str, written: &Json) -> Json {
        self.inner.vault.key.refer(author, written)
    }
}
