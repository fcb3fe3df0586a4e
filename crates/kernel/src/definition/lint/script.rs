//! Cuts JavaScript into the tokens that tell names and texts apart.
//!
//! It is no parser: whether a script is valid has been judged before by the engine that runs it.
//! Where a `/` may begin a regular expression or divide, the token before it decides, as editors do.

/// A piece of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name or a keyword.
    Name(&'a str),
    /// A text in quotes, as it is written between them.
    Text(&'a str),
    /// A number, a template literal or a regular expression.
    Other,
    /// A sign; two or three that belong together (`===`, `=>`, `?.`) are one.
    Sign(&'a str),
    /// The end of a line, which can end a statement.
    LineEnd,
}

/// Signs of more than one character that matter here, longest first.
const SIGNS: [&str; 11] = ["===", "!==", "...", "==", "!=", "=>", "?.", "??", "&&", "||", "++"];

/// The tokens of a script.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let (token, length) = next(rest, first, tokens.last());
        tokens.extend(token);
        rest = &rest[length.min(rest.len())..];
    }
    tokens
}

fn next<'a>(rest: &'a str, first: char, before: Option<&Token<'a>>) -> (Option<Token<'a>>, usize) {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    match first {
        '\n' => (Some(Token::LineEnd), 1),
        first if first.is_whitespace() => (None, first.len_utf8()),
        '/' if rest.starts_with("//") => (None, rest.find('\n').unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => {
            (None, rest[2..].find("*/").map_or(rest.len(), |at| at + 4))
        }
        '/' if begins_pattern(before) => (Some(Token::Other), closed(rest, '/')),
        '\'' | '"' => {
            let length = closed(rest, first);
            // A text without an end goes on to the end of the script.
            let inner = &rest[1..length];
            (Some(Token::Text(inner.strip_suffix(first).unwrap_or(inner))), length)
        }
        '`' => (Some(Token::Other), closed(rest, '`')),
        first if first.is_ascii_digit() => {
            let end = rest.find(|c: char| !(is_name(c) || c == '.')).unwrap_or(rest.len());
            (Some(Token::Other), end)
        }
        first if is_name(first) => {
            let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
            (Some(Token::Name(&rest[..end])), end)
        }
        first => {
            let known = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let length = known.map_or(first.len_utf8(), |sign| sign.len());
            (Some(Token::Sign(&rest[..length])), length)
        }
    }
}

fn begins_pattern(before: Option<&Token<'_>>) -> bool {
    match before {
        None | Some(Token::LineEnd) => true,
        Some(Token::Sign(sign)) => !matches!(*sign, ")" | "]" | "}"),
        Some(Token::Name(name)) => matches!(*name, "return" | "typeof" | "case" | "in" | "of"),
        Some(Token::Text(_) | Token::Other) => false,
    }
}

/// The length of what begins with a delimiter, up to the same one that is not escaped.
fn closed(rest: &str, delimiter: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == delimiter => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}
