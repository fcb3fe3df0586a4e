//! What many pages are made of: statuses, links, tables, forms of acts, payloads, empty states.
#![allow(
    clippy::needless_pass_by_value,
    reason = "markup is made for the one place where it stands"
)]

use kernel::access::Permission;
use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use crate::clock::bytes;
use crate::value::cut;
use crate::visit::href;
use crate::{Context, Failure};

/// How a status looks: a class for its color, and a sign for whoever sees no colors.
pub(crate) fn look(status: &str) -> (&'static str, &'static str) {
    match status.to_ascii_uppercase().as_str() {
        "COMPLETED" | "UP" | "OK" | "SENT" | "RESOLVED" | "EXECUTED" | "HEALTHY" | "WELL" => {
            ("good", "✓")
        }
        "FAILED"
        | "DOWN"
        | "DEAD"
        | "OPEN"
        | "FAILED_WITH_TERMINAL_ERROR"
        | "TIMED_OUT"
        | "BROKEN"
        | "UNHEALTHY"
        | "CRITICAL"
        | "ERROR"
        | "QUARANTINED"
        | "LATE" => ("bad", "✕"),
        "RUNNING" | "IN_PROGRESS" | "ACTIVE" => ("busy", "▶"),
        "SCHEDULED" | "PENDING" | "QUEUED" | "POLLED" | "WAITING" | "NEW" => ("wait", "◷"),
        "PAUSED" | "SNOOZED" | "SUSPENDED" => ("wait", "❚❚"),
        "UNKNOWN"
        | "DEGRADED"
        | "WARNING"
        | "COMPLETED_WITH_ERRORS"
        | "ACKNOWLEDGED"
        | "MISSED"
        | "LOCKED" => ("warn", "!"),
        _ => ("none", "·"),
    }
}

/// A status in a word with its sign.
pub(crate) fn status(word: &str) -> Markup {
    let (class, sign) = look(word);
    let shown = word.replace('_', " ").to_lowercase();
    html! { span class={ "status " (class) } { span aria-hidden="true" { (sign) " " } (shown) } }
}

/// A link to a page below `/console`.
pub(crate) fn link(segments: &[&str], text: &str) -> Markup {
    html! { a href=(href(segments)) { (text) } }
}

/// The id of a run in a few characters, which leads to the run.
pub(crate) fn run(id: &str) -> Markup {
    html! { a.id href=(href(&["runs", id])) title=(id) { (short(id)) } }
}

/// The end of a long id: there ids differ most.
pub(crate) fn short(id: &str) -> String {
    let count = id.chars().count();
    if count <= 12 {
        id.to_owned()
    } else {
        format!("…{}", id.chars().skip(count - 8).collect::<String>())
    }
}

/// A sentence in a box.
pub(crate) fn note(class: &str, text: Markup) -> Markup {
    html! { p class={ "note " (class) } { (text) } }
}

/// Nothing is there yet, with the command for the first.
pub(crate) fn nothing_yet(what: &str, command: &str) -> Markup {
    note("empty", html! { "Nothing yet: " (what) ". " code { (command) } })
}

/// Nothing matches, with the filter to drop.
pub(crate) fn nothing_matches(what: &str, without: &str) -> Markup {
    note("empty", html! { "Nothing matches: " (what) ". " a href=(without) { "Show all" } })
}

/// Why something that was typed is refused, beside what was typed.
pub(crate) fn refusal(failure: &Failure) -> Markup {
    html! {
        (note("bad", html! { (failure.message) @if let Some(hint) = &failure.hint { br; (hint) } }))
        ul { @for flaw in failure.flaws.iter().take(50) { li { (flaw) } } }
    }
}

/// A heading of a part, with what is below it.
pub(crate) fn part(title: &str, body: Markup) -> Markup {
    html! { section { h2 { (title) } (body) } }
}

/// A table with these heads.
pub(crate) fn table(caption: &str, heads: &[&str], rows: &[Markup]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label=(caption) {
            table {
                caption.unseen { (caption) }
                thead { tr { @for head in heads { th scope="col" { (head) } } } }
                tbody { @for row in rows { (row) } }
            }
        }
    }
}

/// Names with what they mean, as a list.
pub(crate) fn facts(pairs: &[(&str, Markup)]) -> Markup {
    html! {
        dl { @for (name, value) in pairs { div { dt { (name) } dd { (value) } } } }
    }
}

/// What stands in a page for the token of its forms, until it is known for whom it is. Nothing that is
/// escaped can be this.
pub(crate) const PROOF: PreEscaped<&str> = PreEscaped("<proof>");

/// The field by which a form shows that a page of ours sent it. Each form that is posted has it.
pub(crate) fn proof() -> Markup {
    html! { input type="hidden" name="csrf" value=(PROOF); }
}

/// The page for one visitor: with the token of their forms.
pub(crate) fn with_proof(html: &str, token: &str) -> String {
    html.replace(PROOF.0, token)
}

/// A button that does something at once, if whoever looks may do it.
pub(crate) fn act(cx: &Context<'_>, need: Permission, act: &str, id: &str, label: &str) -> Markup {
    act_with(cx, need, act, id, label, html! {})
}

/// The same, with fields of its own before the button.
pub(crate) fn act_with(
    cx: &Context<'_>,
    need: Permission,
    act: &str,
    id: &str,
    label: &str,
    fields: Markup,
) -> Markup {
    html! {
        @if cx.may(need) {
            form.act method="post" action="/console/act" {
                (proof())
                input type="hidden" name="act" value=(act);
                input type="hidden" name="id" value=(id);
                input type="hidden" name="back" value=(cx.visit.path());
                (fields)
                button { (label) }
            }
        }
    }
}

/// A button that leads to the preview of something that cannot be taken back.
pub(crate) fn preview(
    cx: &Context<'_>,
    need: Permission,
    act: &str,
    id: &str,
    label: &str,
) -> Markup {
    html! {
        @if cx.may(need) {
            form.act method="get" action="/console/confirm" {
                input type="hidden" name="act" value=(act);
                input type="hidden" name="id" value=(id);
                input type="hidden" name="back" value=(cx.visit.path());
                button { (label) "…" }
            }
        }
    }
}

/// Bytes of a payload that a page shows.
const PAYLOAD_MAX: usize = 6 * 1024;

/// A payload as indented text, cut where it gets long; `whole` leads to all of it.
pub(crate) fn payload(value: &Value, whole: &str) -> Markup {
    let text = match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    let size = text.len();
    html! {
        pre tabindex="0" { code { (cut(&text, PAYLOAD_MAX)) } }
        @if size > PAYLOAD_MAX {
            p.faint { "The first " (bytes(PAYLOAD_MAX as u64)) " of " (bytes(size as u64)) ". " a href=(whole) { "All of it" } }
        }
    }
}

/// A count that is exact, or says that there are more.
pub(crate) fn counted(total: u64, is_exact: bool) -> String {
    let digits = total.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    if is_exact { shown } else { format!("{shown}+") }
}

/// A labelled field of one line.
pub(crate) fn field(name: &str, label: &str, value: &str, placeholder: &str) -> Markup {
    html! {
        label.field { span { (label) } input name=(name) value=(value) placeholder=(placeholder) autocomplete="off"; }
    }
}

/// The way to the next page of a list.
pub(crate) fn more(href: Option<&str>) -> Markup {
    html! { @if let Some(href) = href { p.more { a rel="next" href=(href) { "Next page ›" } } } }
}

/// How long a snooze lasts.
pub(crate) fn for_how_long() -> Markup {
    html! {
        label.field { span { "for" }
            select name="for" { @for it in ["1h", "4h", "8h", "24h"] { option value=(it) { (it) } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_says_whether_it_is_one() {
        assert_eq!(counted(0, true), "0");
        assert_eq!(counted(10_000, false), "10,000+");
        assert_eq!(counted(1_234_567, true), "1,234,567");
    }

    #[test]
    fn a_payload_is_text_and_bounded() {
        let nasty = Value::String("</code><script>alert(1)</script>".to_owned());
        let shown = payload(&nasty, "/x").into_string();
        assert!(!shown.contains("<script"), "{shown}");
        let long = Value::String("é".repeat(100_000));
        assert!(payload(&long, "/x").into_string().len() < 20_000);
    }
}
