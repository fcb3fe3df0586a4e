//! Masking: finds secret values in whatever comes back from who was given them, also transformed.
//!
//! Found are the value itself in any case, and as it looks inside JSON, base64 (wherever it begins
//! in the encoded text), hexadecimal, percent-encoding, HTML. Every match becomes `***`. A mask is
//! made for one report of one task and dropped with it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::Json;
use kernel::expression::{MASK, next_sealed};
use kernel::rewrite::{Leaf, Rewrite};
use serde_json::Value;

/// Bytes of the shortest value that is searched for; shorter ones stand in too many texts by chance.
pub const LENGTH_MIN: usize = 4;
/// Bytes of the shortest line, or member of a JSON secret, that is searched for by itself.
const PART_MIN: usize = 8;
/// Bytes of the shortest encoded form that is searched for.
const ENCODED_MIN: usize = 6;

/// Values to be found.
pub(crate) struct Mask {
    finder: AhoCorasick,
}

impl Mask {
    /// A mask of these values, which may be any JSON; `None` if there is nothing to find.
    pub(crate) fn of<'a>(values: impl IntoIterator<Item = &'a Json>) -> Option<Self> {
        let mut needles = BTreeSet::new();
        for value in values {
            match value.parse() {
                Value::String(text) => add_text(&text, &mut needles),
                Value::Number(number) => add_forms(&number.to_string(), &mut needles),
                parsed @ (Value::Array(_) | Value::Object(_)) => {
                    add_forms(value.text(), &mut needles);
                    add_members(&parsed, &mut needles);
                }
                Value::Null | Value::Bool(_) => {}
            }
        }
        if needles.is_empty() {
            return None;
        }
        let finder = AhoCorasick::builder().ascii_case_insensitive(true).build(&needles).ok()?;
        Some(Self { finder })
    }

    /// The text with every match masked; `None` if there is none.
    pub(crate) fn text(&self, text: &str) -> Option<String> {
        let Some((start, end)) = next_sealed(text, 0) else { return self.plain(text) };
        // Sealed values tell nothing, and a match by chance would break them.
        let (before, after) = (self.plain(&text[..start]), self.text(&text[end..]));
        if before.is_none() && after.is_none() {
            return None;
        }
        let before = before.as_deref().unwrap_or(&text[..start]);
        Some([before, &text[start..end], after.as_deref().unwrap_or(&text[end..])].concat())
    }

    fn plain(&self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut copied = 0;
        // Matches may overlap and come by their ends: one that begins earlier takes back.
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for found in self.finder.find_overlapping_iter(text) {
            let (mut start, end) = (found.start(), found.end());
            while let Some(&(earlier, until)) = spans.last() {
                if until < start {
                    break;
                }
                start = start.min(earlier);
                spans.pop();
            }
            spans.push((start, end));
        }
        if spans.is_empty() {
            return None;
        }
        for (start, end) in spans {
            // An encoded form may begin or end inside a character only if the text is not ours.
            let start = text.floor_char_boundary(start);
            let end = text.ceil_char_boundary(end);
            out.push_str(&text[copied..start.max(copied)]);
            out.push_str(MASK);
            copied = end.max(copied);
        }
        out.push_str(&text[copied..]);
        Some(out)
    }

    /// The JSON with every match in its strings, numbers and names masked.
    pub(crate) fn json(&self, json: &Json) -> Json {
        // Escapes may hide a value from a search in the text as it is written.
        let concerns = |text: &str| text.contains('\\') || self.finder.is_match(text);
        let replace = |leaf: Leaf<'_>, _: bool| match leaf {
            Leaf::Text(text) | Leaf::Name(text) => self.text(text).map(|text| Json::of(&text)),
            Leaf::Number(number) => self.is_whole(number).then(|| Json::of(&MASK)),
            // It cannot be looked into: better lost than told.
            Leaf::Deep(_) => Some(Json::of(&MASK)),
        };
        Rewrite { concerns: &concerns, mark: None, replace: &replace }.apply(json)
    }

    /// Whether a number is a value; part of another number is chance.
    fn is_whole(&self, number: &str) -> bool {
        let number = number.strip_suffix(".0").unwrap_or(number);
        self.finder
            .find_overlapping_iter(number)
            .any(|found| found.start() == 0 && found.end() == number.len())
    }
}

fn add_text(text: &str, needles: &mut BTreeSet<Vec<u8>>) {
    add_forms(text, needles);
    if text.trim().contains('\n') {
        text.lines().filter(|line| line.trim().len() >= PART_MIN).for_each(|line| {
            add_forms(line, needles);
        });
    }
    if text.trim_start().starts_with(['{', '[']) {
        add_members(&serde_json::from_str(text).unwrap_or_default(), needles);
    }
}

/// The texts and numbers inside a secret that is a JSON document.
fn add_members(value: &Value, needles: &mut BTreeSet<Vec<u8>>) {
    match value {
        Value::String(text) if text.trim().len() >= PART_MIN => add_forms(text, needles),
        Value::Number(number) if number.to_string().len() >= PART_MIN => {
            add_forms(&number.to_string(), needles);
        }
        Value::Array(items) => items.iter().for_each(|item| add_members(item, needles)),
        Value::Object(members) => members.values().for_each(|item| add_members(item, needles)),
        _ => {}
    }
}

/// A value in all the forms that are found. ASCII letters match in either case.
fn add_forms(value: &str, needles: &mut BTreeSet<Vec<u8>>) {
    let value = value.trim();
    if value.len() < LENGTH_MIN {
        return;
    }
    let mut plain = BTreeSet::from([value.to_owned(), value.to_lowercase(), value.to_uppercase()]);
    plain.insert(escaped_json(value));
    plain.insert(escaped_html(value));
    for kept in KEPT {
        plain.insert(escaped_percent(value, kept, "%20"));
        plain.insert(escaped_percent(value, kept, "+"));
    }
    needles.extend(plain.into_iter().map(String::into_bytes));
    let bytes = value.as_bytes();
    let mut encoded = vec![hex(bytes)];
    for lead in 0..3 {
        encoded.push(inside_base64(bytes, lead));
    }
    encoded.push(STANDARD.encode(bytes));
    for form in encoded.into_iter().filter(|form| form.len() >= ENCODED_MIN) {
        if form.contains(['+', '/']) {
            needles.insert(form.replace('+', "-").replace('/', "_").into_bytes());
            // Base64 inside a form or a query.
            needles.insert(escaped_percent(&form, "", "%20").into_bytes());
        }
        needles.insert(form.into_bytes());
    }
}

/// What base64 makes of a value that begins after `lead` (0 to 2) other bytes of a group of three,
/// without the letters that also depend on what stands around it.
fn inside_base64(value: &[u8], lead: usize) -> String {
    let mut bytes = vec![0; lead];
    bytes.extend_from_slice(value);
    let bits = bytes.len() * 8;
    let encoded = STANDARD.encode(bytes);
    encoded[(lead * 8).div_ceil(6)..bits / 6].to_owned()
}

/// Signs beside letters and digits that different percent-encodings leave as they are: of parts of
/// a URL, of `encodeURIComponent`, of forms, of queries, of paths.
const KEPT: [&str; 5] =
    ["-._~", "-_.!~*'()", "-._*", "-._~!$&()*+,/:;=?@[\\]^`{|}'", "-._~!$&'()*+,/:;=@|[]\\%"];

fn escaped_percent(value: &str, kept: &str, space: &str) -> String {
    let mut out = String::with_capacity(value.len() * 3);
    for byte in value.bytes() {
        match byte {
            b' ' => out.push_str(space),
            _ if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) => {
                out.push(char::from(byte));
            }
            _ => {
                out.push('%');
                out.push_str(&hex(&[byte]));
            }
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Cannot fail: it is a string.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn escaped_json(value: &str) -> String {
    let quoted = Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn escaped_html(value: &str) -> String {
    value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const VALUE: &str = "pa/ss +w\"ö&rd=ü";

    fn masked(value: &Value, text: &str) -> String {
        let mask = Mask::of([&Json::of(value)]).expect("long enough");
        mask.text(text).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn every_usual_form_of_a_value_is_masked() {
        let hex = hex(VALUE.as_bytes());
        for form in [
            VALUE.to_owned(),
            VALUE.to_uppercase(),
            VALUE.to_lowercase(),
            Value::from(VALUE).to_string(),
            escaped_html(VALUE),
            hex.to_uppercase(),
            hex,
            // What a browser, a form, `reqwest` and a proxy make of it.
            "pa%2Fss%20%2Bw%22%C3%B6%26rd%3D%C3%BC".to_owned(),
            "pa%2fss+%2bw%22%c3%b6%26rd%3d%c3%bc".to_owned(),
            "pa/ss%20+w%22%C3%B6&rd=%C3%BC".to_owned(),
        ] {
            let shown = masked(&json!(VALUE), &format!("<{form}>"));
            assert!(shown.contains(MASK) && shown.len() <= 7, "{form}: {shown}");
        }
    }

    #[test]
    fn base64_is_masked_wherever_the_value_stands_in_it() {
        let value = "sk-live-0123456789";
        for before in ["", "a", "ab", "abc", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                let whole = format!("{before}{value}{after}");
                for encoded in [
                    STANDARD.encode(&whole),
                    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&whole),
                ] {
                    let shown = masked(&json!(value), &encoded);
                    assert!(shown.contains(MASK), "{whole}: {shown}");
                    let left = shown.len() - MASK.len();
                    let around = (before.len() + after.len()).div_ceil(3) * 4 + 8;
                    assert!(left <= around, "{whole}: {shown}");
                }
            }
        }
    }

    #[test]
    fn documents_are_masked_in_strings_numbers_and_names() {
        let mask = Mask::of([&Json::of(&"hunter22"), &Json::of(&4_711_815)]).expect("values");
        let text =
            r#"{"hunter22":[1.10,4711815, 4711815.0,47118150],"s":"a \u0068unter22","n":[ 1 ]}"#;
        let shown = mask.json(&Json::from_text(text.to_owned()).expect("JSON"));
        let expected = r#"{"***":[1.10,"***","***",47118150],"s":"a ***","n":[ 1 ]}"#;
        assert_eq!(shown.text(), expected);
        let plain = Json::of(&json!({ "a": ["hunter2", 1] }));
        assert_eq!(mask.json(&plain), plain);
    }

    #[test]
    fn parts_of_documents_and_lines_are_values_too() {
        let pem = "-----BEGIN-----\nMIIEvQIBADANBgkq\nhkiG9w0B\n-----END-----\n";
        assert_eq!(masked(&json!(pem), "line MIIEvQIBADANBgkq!"), "line ***!");
        let document = json!({ "user": "neo", "password": "correct horse" });
        let text = document.to_string();
        assert_eq!(masked(&json!(text), "neo: CORRECT HORSE"), "neo: ***");
        assert_eq!(masked(&document, "neo: correct+horse"), "neo: ***");
    }

    #[test]
    fn overlapping_values_leave_nothing_between_them() {
        let values = [Json::of(&"abcdef"), Json::of(&"defghi"), Json::of(&"cdef")];
        let mask = Mask::of(&values).expect("values");
        assert_eq!(mask.text("<abcdefghi>").as_deref(), Some("<***>"));
        assert_eq!(mask.text("abcdef-defghi").as_deref(), Some("***-***"));
    }

    #[test]
    fn what_is_too_short_is_not_searched_for() {
        assert!(Mask::of([&Json::of(&"abc"), &Json::of(&12), &Json::null()]).is_none());
    }
}
