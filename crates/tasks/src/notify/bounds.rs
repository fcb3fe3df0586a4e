//! Texts within the limits of whoever takes them: cut at character boundaries, with an ellipsis.
//!
//! Half a description wakes somebody, a refused alert nobody; so texts are cut. A key that names an
//! alert is never merely cut, it would become another's: it ends in a digest of the whole.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};

const ELLIPSIS: char = '…';

/// At most that many characters.
pub(super) fn chars(text: &str, length_max: usize) -> String {
    measured(text, length_max, |_| 1)
}

/// At most that many bytes of UTF-8.
pub(super) fn bytes(text: &str, length_max: usize) -> String {
    measured(text, length_max, char::len_utf8)
}

/// At most that many UTF-16 code units, by which some services count.
pub(super) fn utf16(text: &str, length_max: usize) -> String {
    measured(text, length_max, char::len_utf16)
}

fn measured(text: &str, length_max: usize, size: fn(char) -> usize) -> String {
    if text.chars().map(size).sum::<usize>() <= length_max {
        return text.to_owned();
    }
    let mut room = length_max.saturating_sub(size(ELLIPSIS));
    let fits = |c: &char| {
        let fits = size(*c) <= room;
        room = if fits { room - size(*c) } else { 0 };
        fits
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    if length_max >= size(ELLIPSIS) {
        cut.push(ELLIPSIS);
    }
    cut
}

/// A key of at most that many characters (33 or more): a longer one keeps its beginning and ends in
/// 32 hexadecimal digits of its digest, so that it still means one thing only.
pub(super) fn key(text: &str, length_max: usize) -> String {
    if text.chars().nth(length_max).is_none() {
        return text.to_owned();
    }
    let head: String = text.chars().take(length_max.saturating_sub(33)).collect();
    format!("{head}-{}", hashed(text))
}

/// 32 hexadecimal digits that stand for a text.
pub(super) fn hashed(text: &str) -> String {
    hex(&digest(&SHA256, text.as_bytes()).as_ref()[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a String takes everything");
        out
    })
}

/// A text as one segment of a path or one value of a query.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes everything");
        }
        out
    })
}

/// The bytes of a text within JSON, without its quotes.
pub(super) fn json_size(text: &str) -> usize {
    let escaped = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c.is_control() && c.is_ascii() => 6,
        c => c.len_utf8(),
    };
    text.chars().map(escaped).sum()
}

/// The lines that fit within `room` bytes of JSON, of which each line costs `each` besides its
/// text; what is left out is counted.
pub(super) fn lines(lines: &[String], room: usize, each: usize) -> Vec<String> {
    let cost = |line: &String| json_size(line) + each;
    if lines.iter().map(cost).sum::<usize>() <= room {
        return lines.to_vec();
    }
    let mut left = room.saturating_sub(40 + each);
    let mut kept = Vec::new();
    for line in lines {
        if cost(line) > left {
            break;
        }
        left -= cost(line);
        kept.push(line.clone());
    }
    if kept.is_empty()
        && let Some(first) = lines.first()
    {
        // Escaped, it may be longer: half of the room will do for any text that people write.
        kept.push(bytes(first, left.saturating_sub(each) / 2));
    }
    if kept.len() < lines.len() {
        kept.push(format!("… and {} more", lines.len() - kept.len()));
    }
    kept
}
