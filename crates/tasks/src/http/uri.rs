//! URIs as people write them in definitions, and as they may appear in a message.

use std::fmt::Write as _;

use reqwest::Url;

use super::problem::{Code, Problem};

/// Longest path shown in a message, in characters.
const SHOWN_MAX: usize = 200;

/// Reads an absolute `http` or `https` URL.
///
/// With `encode`, characters that RFC 3986 does not allow are percent-encoded first. Escapes that
/// are already there are kept, so that both `q=a b` and `q=a%20b` arrive as the author meant them.
pub(super) fn parse(text: &str, encode: bool) -> Result<Url, Problem> {
    let text = text.trim();
    let encoded = if encode { encode_rest(text) } else { text.to_owned() };
    let url = Url::parse(&encoded)
        .map_err(|error| invalid(&format!("{error}, it must be absolute: http://host/path")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid(&format!("only http and https can be called, not {}", url.scheme())));
    }
    Ok(url)
}

/// The text is not repeated: it may hold secrets, and without a structure there is no telling where.
fn invalid(why: &str) -> Problem {
    Problem::new(Code::InvalidUri, format!("Invalid HTTP URI: {why}"))
}

/// Encodes what follows the authority, whose brackets and punctuation mean something else.
fn encode_rest(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let (authority, rest) = match text[start..].find(['/', '?', '#']) {
        Some(at) => text.split_at(start + at),
        None => return text.to_owned(),
    };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(authority);
    for (at, byte) in rest.bytes().enumerate() {
        let kept = match byte {
            b'%' => is_escape(&rest.as_bytes()[at..]),
            b'/' | b'?' | b'#' | b':' | b'@' => true,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => true,
            b'-' | b'.' | b'_' | b'~' => true,
            other => other.is_ascii_alphanumeric(),
        };
        push(&mut out, byte, kept);
    }
    out
}

fn is_escape(bytes: &[u8]) -> bool {
    matches!(bytes, [b'%', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}

fn push(out: &mut String, byte: u8, kept: bool) {
    if kept {
        out.push(char::from(byte));
    } else {
        write!(out, "%{byte:02X}").expect("a String takes everything");
    }
}

/// Appends `name=value` the way HTML forms are sent.
pub(super) fn push_form_pair(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push('&');
    }
    push_form(out, name);
    out.push('=');
    push_form(out, value);
}

fn push_form(out: &mut String, text: &str) {
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'-' | b'.' | b'_');
        match byte {
            b' ' => out.push('+'),
            _ => push(out, byte, plain),
        }
    }
}

/// The URL without what may be secret: no user, no password, no values in the query, no fragment.
pub(super) fn shown(url: &Url) -> String {
    let mut out = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        write!(out, ":{port}").expect("a String takes everything");
    }
    out.extend(url.path().chars().take(SHOWN_MAX));
    if url.path().len() > SHOWN_MAX {
        out.push('…');
    }
    if let Some(query) = url.query().filter(|query| !query.is_empty()) {
        let names: Vec<_> = query.split('&').take(10).map(masked).collect();
        out.push('?');
        out.push_str(&names.join("&"));
    }
    out
}

/// A pair of the query without its value. One without `=` may itself be the secret.
fn masked(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if name.len() <= 40 => format!("{name}=…"),
        _ => "…".to_owned(),
    }
}
