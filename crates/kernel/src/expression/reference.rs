//! References to secrets: what an author's `${workflow.secrets.NAME}` becomes when the text is pinned.
//!
//! `ref:v1:` + base64url(MAC · author · 0 · `NAME[.path]`) + `:`. Only the shell, which has the key,
//! can make the MAC, so text that arrives as data cannot name a secret: it stays the text that it is.
//! Here references are only written, recognised and read; the shell verifies the MAC at the hand-off.
//! The closing colon bounds one inside a longer text, and nothing in it is escaped in JSON.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::secret::{PREFIX, next_literal};
use crate::json::Json;
use crate::rewrite::{Leaf, Rewrite, mentions};

/// How every reference begins.
pub(super) const REFERENCE_PREFIX: &str = "ref:v1:";

/// Bytes of the MAC in a reference.
pub const REFERENCE_MAC: usize = 16;

/// Letters of the shortest reference between its colons: a MAC, a separator and one letter.
const LENGTH_MIN: usize = 24;

/// Members of definitions that list names of secrets: those which data may name, and those which a
/// task's worker is told.
const LISTS: [&str; 2] = ["secretsInData", "runtimeMetadata"];

/// What a reference says; true only if its MAC is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretReference {
    /// Proves that this server made it.
    pub mac: [u8; REFERENCE_MAC],
    /// The document whose text named the secret: a definition, a schedule, a trigger.
    pub author: String,
    /// `NAME[.path]`.
    pub named: String,
}

impl SecretReference {
    /// Reads a reference, with its prefix and closing colon; `None` if it is none.
    pub fn read(text: &str) -> Option<Self> {
        let inner = text.strip_prefix(REFERENCE_PREFIX)?.strip_suffix(':')?;
        let bytes = URL_SAFE_NO_PAD.decode(inner).ok()?;
        let (mac, rest) = bytes.split_first_chunk::<REFERENCE_MAC>()?;
        let (author, named) = std::str::from_utf8(rest).ok()?.split_once('\0')?;
        Some(Self { mac: *mac, author: author.to_owned(), named: named.to_owned() })
    }

    /// What the MAC is made over.
    pub fn content(author: &str, named: &str) -> String {
        // The separator must not stand in the author, or one pair could be read as another.
        format!("{}\0{named}", author.replace('\0', " "))
    }

    /// The text of a reference.
    pub fn write(mac: &[u8; REFERENCE_MAC], content: &str) -> String {
        let mut bytes = mac.to_vec();
        bytes.extend_from_slice(content.as_bytes());
        format!("{REFERENCE_PREFIX}{}:", URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// The first reference from `from` on: where it begins and where it ends.
pub(super) fn next_reference(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let start = at + text[at..].find(REFERENCE_PREFIX)?;
        let inner = start + REFERENCE_PREFIX.len();
        let rest = &text.as_bytes()[inner..];
        let is_letter = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let length = rest.iter().take_while(is_letter).count();
        if length >= LENGTH_MIN && rest.get(length) == Some(&b':') {
            return Some((start, inner + length + 1));
        }
        at = inner;
    }
}

/// The expression that an author wrote for a reference, as people see it. It is cut before anything
/// that would have to be escaped in JSON.
pub(super) fn written(reference: &str) -> Option<String> {
    let named = SecretReference::read(reference)?.named;
    let plain = named.split(|c: char| c.is_control() || matches!(c, '"' | '\\' | '}')).next()?;
    Some(format!("{PREFIX}{plain}}}"))
}

/// The value, in which every `${workflow.secrets.NAME}` of its strings is what `make` makes of
/// `NAME[.path]`. Only for what an author wrote; `$${…}` stays, and names of members do.
pub fn refer(json: &Json, make: &dyn Fn(&str) -> String) -> Json {
    let concerns = |text: &str| mentions(text, PREFIX);
    let replace = |leaf: Leaf<'_>, _: bool| match leaf {
        Leaf::Text(text) => refer_text(text, make).map(|text| Json::of(&text)),
        Leaf::Number(_) | Leaf::Name(_) | Leaf::Deep(_) => None,
    };
    Rewrite { concerns: &concerns, mark: None, replace: &replace }.apply(json)
}

fn refer_text(text: &str, make: &dyn Fn(&str) -> String) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let (mut done, mut at) = (0, 0);
    while let Some((start, named, end)) = next_literal(text, at) {
        at = end;
        // `$${` is plain text, and a name that an expression makes is no author's.
        if named.contains("${") || text[..start].ends_with('$') {
            continue;
        }
        out.push_str(&text[done..start]);
        out.push_str(&make(named));
        done = end;
    }
    (done > 0).then(|| out + &text[done..])
}

/// Makes a definition or a task that came as data unable to name a secret: its expressions for
/// secrets become plain text, and its lists of names go. References in it, which its maker was given,
/// stay.
pub fn disown(definition: &mut Value) {
    match definition {
        Value::String(text) if text.contains(PREFIX) => {
            let plain = text.replace(PREFIX, &format!("${PREFIX}"));
            *text = plain.replace(&format!("$${PREFIX}"), &format!("${PREFIX}"));
        }
        Value::Array(items) => items.iter_mut().for_each(disown),
        Value::Object(members) => {
            members.retain(|name, _| !LISTS.contains(&name.as_str()));
            members.values_mut().for_each(disown);
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
