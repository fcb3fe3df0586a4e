//! A condition of Gatus, `[STATUS] == 200`, as a condition here, or as what else it says.

use serde_json::Value;

/// What a condition comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    /// A condition over `status`, `ms`, `body` and `text`.
    Condition(String),
    /// The answer contains this text.
    Contains(String),
    /// A name resolves to this address.
    Answer(String),
    /// The certificate is good for so long at least.
    Certificate(String),
    /// It is judged anyway.
    Always,
    /// There is nothing like it, and why.
    Nothing(&'static str),
}

/// Reads a condition.
pub(super) fn read(text: &str) -> Meant {
    const OPERATORS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];
    // The one that stands first outside of patterns; of two at one place the longer.
    let found = OPERATORS
        .iter()
        .filter_map(|operator| Some((text.find(&format!(" {operator} "))?, *operator)))
        .min_by_key(|(at, _)| *at);
    let Some((at, operator)) = found else {
        return Meant::Nothing("it is no comparison");
    };
    let (left, right) = (text[..at].trim(), text[at + operator.len() + 2..].trim());
    if right.is_empty() {
        return Meant::Nothing("it is no comparison");
    }
    if right.starts_with('[') || right.starts_with("len(") || right.starts_with("has(") {
        // The other way round, as `300 > [RESPONSE_TIME]`, or two of them.
        if left.contains('[') {
            return Meant::Nothing("it compares two parts of the answer");
        }
        let turned = match operator {
            "<" => ">",
            ">" => "<",
            "<=" => ">=",
            ">=" => "<=",
            same => same,
        };
        return compare(right, turned, left);
    }
    compare(left, operator, right)
}

fn compare(what: &str, operator: &'static str, value: &str) -> Meant {
    match what {
        "[CONNECTED]" if (operator, value) == ("==", "true") => Meant::Always,
        "[CONNECTED]" => Meant::Nothing("that nobody answers cannot be what is expected"),
        "[STATUS]" => simple("status", operator, value),
        "[RESPONSE_TIME]" => simple("ms", operator, value),
        "[CERTIFICATE_EXPIRATION]" if matches!(operator, ">" | ">=") => {
            Meant::Certificate(value.to_owned())
        }
        "[DNS_RCODE]" if (operator, value) == ("==", "NOERROR") => Meant::Always,
        "[DNS_RCODE]" => Meant::Nothing("only names that resolve are well here"),
        "[IP]" => Meant::Nothing("addresses of servers are not compared"),
        "[DOMAIN_EXPIRATION]" => Meant::Nothing("registrations of domains are not looked at"),
        "[BODY]" => whole_body(operator, value),
        _ => of_body(what, operator, value),
    }
}

/// The body as a text.
fn whole_body(operator: &'static str, value: &str) -> Meant {
    let is_address = value.parse::<std::net::IpAddr>().is_ok();
    match pattern(value) {
        Some(pattern) => match inner(pattern) {
            Some(part) if operator == "==" => Meant::Contains(part.to_owned()),
            Some(part) => condition(format!("not text contains {}", quoted(part))),
            None => Meant::Nothing("patterns other than *text* are not there"),
        },
        None if operator == "==" && is_address => Meant::Answer(value.to_owned()),
        None => simple("text", operator, value),
    }
}

/// A member of the body.
fn of_body(what: &str, operator: &'static str, value: &str) -> Meant {
    let function = |name: &str| what.strip_prefix(name)?.strip_suffix(')');
    if let Some(path) = function("has(").and_then(path) {
        return match (operator, value) {
            ("==", "true") | ("!=", "false") => condition(format!("exists({path})")),
            ("==", "false") | ("!=", "true") => condition(format!("not exists({path})")),
            _ => Meant::Nothing("has() is true or false"),
        };
    }
    if let Some(path) = function("len(").and_then(path) {
        return match (operator, value) {
            // Neither empty, zero nor false.
            (">" | "!=", "0") | (">=", "1") => condition(path),
            ("==" | "<=", "0") | ("<", "1") => condition(format!("not {path}")),
            _ => Meant::Nothing("lengths are not compared; `jq` can count"),
        };
    }
    let Some(path) = path(what) else {
        return Meant::Nothing("this placeholder is not known here");
    };
    let Some(pattern) = pattern(value) else { return simple(&path, operator, value) };
    match (inner(pattern), operator) {
        (Some(part), "==") => condition(format!("{path} contains {}", quoted(part))),
        (Some(part), "!=") => condition(format!("not {path} contains {}", quoted(part))),
        _ => Meant::Nothing("patterns other than *text* are not there"),
    }
}

/// `name == value`, or one of several values.
fn simple(name: &str, operator: &'static str, value: &str) -> Meant {
    if let Some(values) = value.strip_prefix("any(").and_then(|it| it.strip_suffix(')')) {
        let each = values.split(',').map(|it| format!("{name} == {}", literal(it.trim())));
        let any = each.collect::<Vec<_>>().join(" or ");
        return match operator {
            "==" => condition(format!("({any})")),
            "!=" => condition(format!("not ({any})")),
            _ => Meant::Nothing("any() is compared by == or !="),
        };
    }
    if let Some(pattern) = pattern(value) {
        // Classes of statuses.
        let class = pattern.strip_suffix('*').and_then(|it| it.parse::<u16>().ok());
        return match class.filter(|it| name == "status" && (1..=5).contains(it)) {
            Some(class) if operator == "==" => {
                let (from, to) = (class * 100, class * 100 + 100);
                condition(format!("status >= {from} and status < {to}"))
            }
            _ => Meant::Nothing("patterns other than *text* are not there"),
        };
    }
    condition(format!("{name} {operator} {}", literal(value)))
}

/// A condition, if it can be written here.
fn condition(text: String) -> Meant {
    match kernel::alert::Condition::parse(&text) {
        Ok(_) => Meant::Condition(text),
        Err(_) => Meant::Nothing("it cannot be written as a condition here"),
    }
}

/// `[BODY].user.name` as `body.user.name`; indices and `$` are not paths here.
fn path(placeholder: &str) -> Option<String> {
    let rest = placeholder.strip_prefix("[BODY].")?;
    let fits = |c: char| c.is_alphanumeric() || "_.-$".contains(c);
    (!rest.is_empty() && rest.chars().all(fits)).then(|| format!("body.{rest}"))
}

fn pattern(value: &str) -> Option<&str> {
    value.strip_prefix("pat(")?.strip_suffix(')')
}

/// The text between two stars, if there are no others.
fn inner(pattern: &str) -> Option<&str> {
    let inner = pattern.strip_prefix('*')?.strip_suffix('*')?;
    Some(inner).filter(|inner| !inner.is_empty() && !inner.contains('*'))
}

/// A value as conditions write it.
fn literal(value: &str) -> String {
    let bare = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value);
    match serde_json::from_str::<Value>(value) {
        Ok(Value::Number(_) | Value::Bool(_)) => value.to_owned(),
        _ => quoted(bare),
    }
}

fn quoted(text: &str) -> String {
    // A text with both cannot be written; then it is no condition, and is left out.
    if text.contains('\'') { format!("\"{text}\"") } else { format!("'{text}'") }
}

#[cfg(test)]
mod tests {
    use super::{Meant, read};

    #[test]
    fn conditions_say_here_what_they_said() {
        let condition = |text: &str| Meant::Condition(text.to_owned());
        for (text, meant) in [
            ("[STATUS] == 200", condition("status == 200")),
            ("[STATUS] == any(200, 429)", condition("(status == 200 or status == 429)")),
            ("[STATUS] == pat(2*)", condition("status >= 200 and status < 300")),
            ("300 > [RESPONSE_TIME]", condition("ms < 300")),
            ("[BODY].user.name == john", condition("body.user.name == 'john'")),
            ("[BODY].ok == true", condition("body.ok == true")),
            ("[BODY].say == it's", condition("body.say == \"it's\"")),
            ("has([BODY].errors) == false", condition("not exists(body.errors)")),
            ("len([BODY].id) > 0", condition("body.id")),
            ("[BODY].text == pat(*cat*)", condition("body.text contains 'cat'")),
            ("[BODY] == pat(*<h1>Hi</h1>*)", Meant::Contains("<h1>Hi</h1>".to_owned())),
            ("[BODY] == 192.0.2.1", Meant::Answer("192.0.2.1".to_owned())),
            ("[CERTIFICATE_EXPIRATION] > 48h", Meant::Certificate("48h".to_owned())),
            ("[CONNECTED] == true", Meant::Always),
        ] {
            assert_eq!(read(text), meant, "{text}");
        }
        for text in [
            "[DOMAIN_EXPIRATION] > 720h",
            "[BODY].items[0].id == 1",
            "len([BODY].items) == 5",
            "[IP] == ::1",
            "[BODY].name == pat(john*)",
            "nonsense",
            "[NEW] == 1",
            "",
            "[BODY].a == [BODY].b",
            "[BODY].both == '\"",
            "[STATUS] == ",
        ] {
            assert!(matches!(read(text), Meant::Nothing(_)), "{text}: {:?}", read(text));
        }
    }
}
