//! Bounds on the text of a result: its size, its depth, and that every JSON parser can read it.

use kernel::{Json, ScriptError, ScriptErrorKind};

/// Levels of nesting in a result. JSON parsers that recurse refuse somewhat more than this.
const DEPTH_MAX: usize = 100;

/// Takes the text that the engine wrote as JSON, if it keeps to the bounds.
pub(super) fn bounded(text: String, size_max: usize) -> Result<Json, ScriptError> {
    let refuse = |message| Err(ScriptError { kind: ScriptErrorKind::Memory, message });
    if text.len() > size_max {
        return refuse(format!(
            "the result takes {} bytes as JSON; {size_max} are allowed",
            text.len()
        ));
    }
    if depth(&text) > DEPTH_MAX {
        return refuse(format!("the result is nested more than {DEPTH_MAX} levels deep"));
    }
    Json::from_text(without_lone_surrogates(text)).map_err(|error| ScriptError {
        kind: ScriptErrorKind::Runtime,
        message: format!("the result is not JSON: {error}"),
    })
}

/// The deepest nesting of lists and objects in valid JSON.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.bytes();
    let mut quoted = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' => {
                bytes.next();
            }
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Replaces halves of a surrogate pair, which JavaScript strings may hold and Unicode text may not.
///
/// The engine writes whole pairs as the character and only lone halves as `\udXXX`.
fn without_lone_surrogates(mut text: String) -> String {
    let mut from = 0;
    while let Some(found) = text[from..].find('\\') {
        let at = from + found;
        let escape = text.as_bytes().get(at + 1..at + 4);
        if escape.is_some_and(|e| e[..2] == *b"ud" && matches!(e[2], b'8'..=b'9' | b'a'..=b'f')) {
            text.replace_range(at..at + 6, "\\ufffd");
        }
        from = at + 2;
    }
    text
}
