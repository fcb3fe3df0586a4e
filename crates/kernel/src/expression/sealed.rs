//! The shape of a sealed value: a text that stands for a secret wherever it flows.
//!
//! `sealed:v1:` + base64url + `:`. It is made and opened by the shell, which has the key; here it
//! is only recognized. Expressions, scripts and joins of texts handle it as the plain text it is.
//! The closing colon bounds it inside a longer text, and nothing in it is escaped in JSON.

use std::borrow::Cow;

use super::reference::{next_reference, written};
use super::secret::VERSION;

/// How every sealed value begins.
pub const SEALED_PREFIX: &str = "sealed:v1:";

/// Letters of the shortest one between its colons: key id, nonce and tag alone have 44 bytes.
const LENGTH_MIN: usize = 59;

/// What people see in the place of a secret.
pub const MASK: &str = "***";

/// The first sealed value from `from` on: where it begins and where it ends.
pub fn next_sealed(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let start = at + text[at..].find(SEALED_PREFIX)?;
        let inner = start + SEALED_PREFIX.len();
        let rest = &text.as_bytes()[inner..];
        let length = rest.iter().take_while(|byte| is_base64url(**byte)).count();
        if length >= LENGTH_MIN && rest.get(length) == Some(&b':') {
            return Some((start, inner + length + 1));
        }
        at = inner;
    }
}

/// The text as people may see it: `***` in the place of every sealed value, and the author's own
/// expression in the place of every reference to a secret. It may be JSON, which stays JSON.
pub fn mask_secrets(text: &str) -> Cow<'_, str> {
    // Nearly always there is none, and `contains` is several times faster than `find`.
    if !text.contains(VERSION) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let (mut done, mut at) = (0, 0);
    loop {
        let sealed = next_sealed(text, at);
        let reference = next_reference(text, at);
        let is_sealed = match (sealed, reference) {
            (None, None) => break,
            (Some((sealed, _)), Some((reference, _))) => sealed < reference,
            (sealed, _) => sealed.is_some(),
        };
        let Some((start, end)) = (if is_sealed { sealed } else { reference }) else { break };
        at = end;
        let shown = if is_sealed { Some(MASK.to_owned()) } else { written(&text[start..end]) };
        let Some(shown) = shown else { continue };
        out.push_str(&text[done..start]);
        out.push_str(&shown);
        done = end;
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}
