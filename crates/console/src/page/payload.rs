//! A payload that is too long for a page: what it holds, member by member, each with its own address.

use maud::{Markup, html};
use serde_json::Value;

use crate::clock::bytes;
use crate::piece;
use crate::value::cut;

/// Bytes above which members are listed instead of the text.
const TEXT_MAX: usize = 6 * 1024;
/// Members that are listed.
const MEMBERS_MAX: usize = 100;

/// A payload, at a pointer (RFC 6901) in what is shown; `to` is the address of a pointer.
pub(super) fn shown(
    value: &Value,
    pointer: &str,
    to: &dyn Fn(&str) -> String,
    whole: &str,
) -> Markup {
    let size = value.to_string().len();
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    if size <= TEXT_MAX || members.is_empty() {
        return piece::payload(value, whole);
    }
    let rows: Vec<Markup> = members
        .iter()
        .take(MEMBERS_MAX)
        .map(|(name, value)| {
            let step = name.replace('~', "~0").replace('/', "~1");
            html! { tr {
                td { a href=(to(&format!("{pointer}/{step}"))) { (cut(name, 80)) } }
                td { (summary(value)) }
                td.n { (bytes(value.to_string().len() as u64)) }
            } }
        })
        .collect();
    html! {
        p.faint { (bytes(size as u64)) ": choose a part, or " a href=(whole) { "all of it" } "." }
        (piece::table("Parts", &["Part", "What", "Size"], &rows))
        @if members.len() > MEMBERS_MAX { p.faint { (members.len() - MEMBERS_MAX) " more parts are in all of it." } }
    }
}

fn summary(value: &Value) -> String {
    match value {
        Value::Object(members) => format!("object of {}", members.len()),
        Value::Array(items) => format!("list of {}", items.len()),
        other => cut(&other.to_string(), 60),
    }
}

/// The way from the whole to a part, each step a link.
pub(super) fn trail(pointer: &str, to: &dyn Fn(&str) -> String) -> Markup {
    let mut steps = Vec::new();
    for (at, _) in pointer.match_indices('/').skip(1) {
        steps.push(&pointer[..at]);
    }
    steps.push(pointer);
    html! {
        p { a href=(to("")) { "Everything" }
            @for step in steps { " › " a href=(to(step)) { (cut(step.rsplit('/').next().unwrap_or(step), 60)) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_payload_is_listed_by_its_parts() {
        let to = |pointer: &str| format!("?path={pointer}");
        let value = json!({ "a/b": "x".repeat(7000), "rows": [1, 2, 3] });
        let listed = shown(&value, "/output", &to, "/all").into_string();
        assert!(listed.contains("?path=/output/a~1b") && listed.contains("list of 3"), "{listed}");
        assert!(!listed.contains(&"x".repeat(100)), "{listed}");
        let short = shown(&json!({ "a": 1 }), "/output", &to, "/all").into_string();
        assert!(short.contains("&quot;a&quot;: 1"), "{short}");
        let trail = trail("/output/rows/2", &to).into_string();
        assert!(trail.contains("?path=/output/rows\"") && trail.contains(">2</a>"), "{trail}");
    }
}
