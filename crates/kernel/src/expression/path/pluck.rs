//! Cuts a sub-document out of JSON text without building a tree.
//!
//! The text is known to be valid JSON, so what a path passes over need not be parsed, only measured:
//! brackets and quotes are counted, at several times the speed of a parser. What is cut out is
//! checked again on the way into a [`RawValue`].

use serde_json::value::RawValue;

use super::Token;

/// The part of `document` that names and indexes lead to; of a repeated name, the last.
///
/// Answers `None` where a tree would: a missing name, an index out of range, the wrong type.
pub(super) fn pluck<'a>(document: &'a RawValue, tokens: &[Token]) -> Option<&'a RawValue> {
    if tokens.is_empty() {
        return Some(document);
    }
    let found = Scanner { text: document.get(), at: 0 }.walk(tokens)?;
    serde_json::from_str(found).ok()
}

/// Whether the text of a key means `name`.
fn is_key(key: &str, name: &str) -> bool {
    let inner = key.get(1..key.len() - 1).unwrap_or_default();
    inner == name
        || (inner.contains('\\')
            && serde_json::from_str::<String>(key).is_ok_and(|key| key == name))
}

/// A place in valid JSON text; where the end of the text is met too early, which cannot be, the
/// answer is `None`.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Passes over the value that starts here and answers the part that the tokens lead to.
    ///
    /// One pass, whatever the depth; as deep in calls as there are tokens.
    fn walk(&mut self, tokens: &[Token]) -> Option<&'a str> {
        let here = self.text.as_bytes().get(self.at)?;
        match (tokens, here) {
            ([], _) => self.value(),
            ([Token::Key(name), rest @ ..], b'{') => self.member(name, rest),
            ([Token::Index(index), rest @ ..], b'[') => {
                let position = match usize::try_from(*index) {
                    Ok(position) => Some(position),
                    Err(_) => self.count()?.checked_sub(index.unsigned_abs() as usize),
                };
                self.element(position, rest)
            }
            _ => {
                self.value();
                None
            }
        }
    }

    fn member(&mut self, name: &str, rest: &[Token]) -> Option<&'a str> {
        let mut found = None;
        self.at += 1;
        while self.advance()? {
            let key = self.value()?;
            self.skip_space()?;
            self.at += 1; // The colon.
            self.skip_space()?;
            if is_key(key, name) {
                found = self.walk(rest);
            } else {
                self.value()?;
            }
        }
        found
    }

    fn element(&mut self, position: Option<usize>, rest: &[Token]) -> Option<&'a str> {
        let mut found = None;
        let mut at = 0;
        self.at += 1;
        while self.advance()? {
            if Some(at) == position {
                found = self.walk(rest);
            } else {
                self.value()?;
            }
            at += 1;
        }
        found
    }

    /// How many elements the array that starts here has.
    fn count(&self) -> Option<usize> {
        let mut ahead = Self { text: self.text, at: self.at + 1 };
        let mut count = 0;
        while ahead.advance()? {
            ahead.value()?;
            count += 1;
        }
        Some(count)
    }

    /// Goes to the next key or element of a container; `false` when past its end.
    fn advance(&mut self) -> Option<bool> {
        let mut byte = self.skip_space()?;
        if byte == b',' {
            self.at += 1;
            byte = self.skip_space()?;
        }
        let has_next = !matches!(byte, b'}' | b']');
        self.at += usize::from(!has_next);
        Some(has_next)
    }

    /// Goes to the next byte that is not white space and answers it.
    fn skip_space(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at)?, b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Passes over the value that starts here and answers its text.
    fn value(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        match bytes.get(start)? {
            b'"' => self.skip_string(),
            b'{' | b'[' => {
                let mut depth = 0_usize;
                loop {
                    match bytes.get(self.at)? {
                        b'"' => {
                            self.skip_string();
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => {
                let is_end =
                    |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                let length = bytes[start..].iter().position(is_end);
                self.at = length.map_or(bytes.len(), |length| start + length);
            }
        }
        self.text.get(start..self.at)
    }

    /// Goes behind the string that starts here.
    fn skip_string(&mut self) {
        let bytes = self.text.as_bytes();
        self.at += 1;
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
    }
}
