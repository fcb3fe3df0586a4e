//! `?` as JDBC writes it, turned into `$1`, `$2`, … as PostgreSQL wants it.

/// Numbers the placeholders of a statement. One that has numbered placeholders already is left as
/// it is, as its `?` are operators; in others an operator is written `??`, as with JDBC.
///
/// Nothing inside of literals, quoted names, dollar quotes and comments is a placeholder.
pub(super) fn numbered(statement: &str) -> String {
    let parts = parts(statement);
    let is_numbered = parts.iter().any(|part| matches!(part, Part::Numbered(_)));
    let mut out = String::with_capacity(statement.len() + 8);
    let mut count = 0;
    for part in &parts {
        match part {
            Part::Placeholder if !is_numbered => {
                count += 1;
                out.push('$');
                out.push_str(&count.to_string());
            }
            Part::Operator if !is_numbered => out.push('?'),
            Part::Placeholder => out.push('?'),
            Part::Operator => out.push_str("??"),
            Part::Numbered(text) | Part::Other(text) => out.push_str(text),
        }
    }
    out
}

enum Part<'a> {
    /// `?`
    Placeholder,
    /// `??`
    Operator,
    /// `$1`
    Numbered(&'a str),
    /// Everything else.
    Other(&'a str),
}

fn parts(statement: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = statement;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let is_in_name = before.is_alphanumeric() || before == '_';
        let (part, length) = match first {
            '?' if rest.starts_with("??") => (Part::Operator, 2),
            '?' => (Part::Placeholder, 1),
            '$' if !is_in_name => dollar(rest),
            _ => {
                let length = other(rest, before);
                (Part::Other(&rest[..length]), length)
            }
        };
        before = rest[..length].chars().next_back().unwrap_or(' ');
        parts.push(part);
        rest = &rest[length..];
    }
    parts
}

/// `$1`, or `$tag$ … $tag$`.
fn dollar(rest: &str) -> (Part<'_>, usize) {
    let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 {
        return (Part::Numbered(&rest[..=digits]), digits + 1);
    }
    let tag = rest[1..].find(|c: char| !(c.is_alphanumeric() || c == '_'));
    let length = match tag {
        Some(end) if rest[1..][end..].starts_with('$') => {
            let tag = &rest[..end + 2];
            let body = &rest[tag.len()..];
            body.find(tag).map_or(rest.len(), |at| at + 2 * tag.len())
        }
        _ => 1,
    };
    (Part::Other(&rest[..length]), length)
}

/// The length of a literal, a quoted name, a comment or a single character.
fn other(rest: &str, before: char) -> usize {
    let first = rest.chars().next().map_or(1, char::len_utf8);
    let escapes = matches!(before, 'e' | 'E');
    match rest.as_bytes()[0] {
        b'\'' => quoted(rest, b'\'', escapes),
        b'"' => quoted(rest, b'"', false),
        b'-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
        b'/' if rest.starts_with("/*") => comment(rest),
        _ => first,
    }
}

/// Up to the closing quote; a doubled one does not close.
fn quoted(rest: &str, quote: u8, escapes: bool) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        if escapes && bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at] != quote {
            at += 1;
        } else if bytes.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return at + 1;
        }
    }
    rest.len()
}

/// Comments nest in PostgreSQL.
fn comment(rest: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn placeholders() {
        for (statement, expected) in [
            ("SELECT ?, ?", "SELECT $1, $2"),
            ("SELECT '?', '''?', \"?\", ?", "SELECT '?', '''?', \"?\", $1"),
            ("SELECT E'\\'?', ?", "SELECT E'\\'?', $1"),
            ("SELECT ? -- ?\n, ?", "SELECT $1 -- ?\n, $2"),
            ("/* ? /* ? */ ? */ SELECT ?", "/* ? /* ? */ ? */ SELECT $1"),
            ("SELECT $$?$$, $a$ ? $$ $a$, ?", "SELECT $$?$$, $a$ ? $$ $a$, $1"),
            ("SELECT j ?? 'a', ?", "SELECT j ? 'a', $1"),
            ("SELECT j ? 'a' AND x = $1", "SELECT j ? 'a' AND x = $1"),
            ("SELECT a$1, ?", "SELECT a$1, $1"),
            ("SELECT 'é?', ?", "SELECT 'é?', $1"),
            ("SELECT 'open ?", "SELECT 'open ?"),
            ("SELECT E'\\", "SELECT E'\\"),
            ("/* open ?", "/* open ?"),
            ("SELECT $a ?", "SELECT $a $1"),
        ] {
            assert_eq!(numbered(statement), expected);
        }
    }
}
