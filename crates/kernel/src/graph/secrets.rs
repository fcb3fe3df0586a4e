//! Which secrets data may name in an execution.
//!
//! None, as a rule: an author's text becomes references when it is pinned, and only these are
//! secrets. A definition may say otherwise (`secretsInData`), and what an earlier release began has
//! the author's expressions in its data.

use super::execution::Execution;
use crate::expression::names_secret;

impl Execution {
    /// Whether `${workflow.secrets.NAME}` in a task's input stands for the secret, whoever wrote it.
    pub fn lets_data_name(&self, name: &str) -> bool {
        let definition = &self.plan().definition;
        definition.secrets_in_data.iter().any(|listed| listed == name)
            || (!self.references() && self.named_before(name))
    }

    /// Of an execution that an earlier release began: whether its definition names the secret, or
    /// whoever started it as a sub-workflow does.
    fn named_before(&self, name: &str) -> bool {
        let from_parent = self.parent.is_some() && names_secret(self.input.text(), name);
        from_parent || names_secret(&self.plan().text, name)
    }
}
