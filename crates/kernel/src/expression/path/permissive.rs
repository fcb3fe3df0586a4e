//! Reads the JSON that stands inside a path as leniently as Jayway's parser does.
//!
//! In a filter a list is written `['a','b']`, `["a"]` or even `[a,b]`.

use serde_json::{Map, Value};

/// How deep literals may nest.
const DEPTH_MAX: usize = 32;

/// Reads one value with nothing behind it; `None` if the text is not even leniently JSON.
pub(super) fn parse(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let mut reader = Reader { rest: text };
    let value = reader.value(0)?;
    reader.skip_space();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes `expected` if it comes next.
    fn take(&mut self, expected: char) -> bool {
        self.skip_space();
        self.rest.strip_prefix(expected).map(|rest| self.rest = rest).is_some()
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.skip_space();
        match self.rest.chars().next()? {
            '[' => self.list(depth),
            '{' => self.object(depth),
            '\'' | '"' => self.quoted().map(Value::String),
            _ => Some(plain(self.bare())),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        self.take('[');
        while !self.take(']') {
            if !self.take(',') {
                items.push(self.value(depth + 1)?);
                self.skip_space();
                if !self.rest.starts_with([',', ']']) {
                    return None;
                }
            }
        }
        Some(Value::Array(items))
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut members = Map::new();
        self.take('{');
        while !self.take('}') {
            if self.take(',') {
                continue;
            }
            self.skip_space();
            let key = match self.rest.chars().next()? {
                '\'' | '"' => self.quoted()?,
                _ => self.bare().to_owned(),
            };
            if !self.take(':') {
                return None;
            }
            members.insert(key, self.value(depth + 1)?);
            self.skip_space();
            if !self.rest.starts_with([',', '}']) {
                return None;
            }
        }
        Some(Value::Object(members))
    }

    fn quoted(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut escaped = false;
        let body = &self.rest[1..];
        let end = body.find(|c| {
            let closes = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        })?;
        self.rest = &body[end + 1..];
        unescape(&body[..end])
    }

    /// A word up to the next separator.
    fn bare(&mut self) -> &'t str {
        let end = self.rest.find([',', ':', ']', '}']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.trim()
    }
}

/// A word without quotes: a literal, a number, or else a string.
fn plain(word: &str) -> Value {
    match serde_json::from_str(word) {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::String(word.to_owned()),
    }
}

/// Resolves `\n`, `\'`, `\u0041` and their like; `None` for a broken `\u`.
pub(super) fn unescape(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return Some(text.to_owned());
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let unescaped = if c != '\\' {
            c
        } else {
            match chars.next() {
                None => '\\',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('t') => '\t',
                Some('n') => '\n',
                Some('b') => '\u{8}',
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let valid =
                        digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                    units.push(u16::from_str_radix(&digits, 16).ok().filter(|_| valid)?);
                    continue;
                }
                Some(other) => other,
            }
        };
        units.extend_from_slice(unescaped.encode_utf16(&mut [0; 2]));
    }
    Some(String::from_utf16_lossy(&units))
}
