//! Incidents: what is wrong, since when, who takes care.

use std::fmt::Write as _;

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown};
use crate::piece;
use crate::shell::Place;
use crate::value::{at, count, cut, list, said, text};
use crate::visit::{Pairs, encoded, href};
use crate::{Context, Failure};

/// Incidents on a page.
const SIZE: u64 = 50;

/// The states that can be chosen, with what they are called.
const STATES: [(&str, &str); 6] = [
    ("", "not over"),
    ("open", "open"),
    ("acknowledged", "acknowledged"),
    ("snoozed", "snoozed"),
    ("resolved", "resolved"),
    ("all", "all"),
];

/// Severities that can be chosen.
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];

/// The conditions that there are.
const CONDITIONS: [&str; 6] = ["severity", "label", "receiver", "monitor", "state", "silenced"];

/// Words of one search.
const WORDS_MAX: usize = 50;

/// What the words of a search ask of the API: those with a colon are conditions, others text.
///
/// # Errors
/// A condition is not known or has no value, or there are too many words.
fn conditions(words: &str) -> Result<String, Failure> {
    let (mut query, mut text) = (String::new(), Vec::new());
    if words.split_whitespace().nth(WORDS_MAX).is_some() {
        return Err(Failure::wrong(format!("There are more than {WORDS_MAX} words"))
            .with_hint("Search with fewer."));
    }
    for word in words.split_whitespace() {
        let condition = word.split_once(':').filter(|(name, value)| {
            let is_known = CONDITIONS.contains(name);
            (is_known || !value.is_empty()) && name.chars().all(|c| c.is_ascii_lowercase())
        });
        let Some((name, value)) = condition else {
            text.push(word);
            continue;
        };
        if value.split(',').all(str::is_empty) {
            return Err(Failure::wrong(format!("'{}' has no value", cut(word, 60))).with_hint(
                "Without one it would find everything: name a value behind the colon.",
            ));
        }
        let value = match (name, value) {
            ("severity" | "label" | "receiver" | "monitor" | "state", value) => value,
            ("silenced", "yes") => "true",
            ("silenced", "no") => "false",
            _ => {
                return Err(Failure::wrong(format!("There is no condition '{}'", cut(word, 60))).with_hint(
                    "There are severity:, label:team=data, receiver:, monitor:, state:, silenced:yes and silenced:no; \
                     other words are searched in monitor, key, text and labels.",
                ));
            }
        };
        let _ = write!(query, "&{name}={}", encoded(value));
    }
    if !text.is_empty() {
        let _ = write!(query, "&text={}", encoded(&text.join(" ")));
    }
    Ok(query)
}

/// The question to the API that a search of the console stands for.
///
/// # Errors
/// As [`conditions`].
pub(crate) fn question(asked: &Pairs) -> Result<String, Failure> {
    let words = asked.get("q").unwrap_or_default();
    let mut query = conditions(words)?;
    for name in ["state", "monitor"] {
        // What stands in the words counts more than what a link has chosen.
        if let Some(value) = asked.get(name).filter(|_| !query.contains(&format!("&{name}="))) {
            let _ = write!(query, "&{name}={}", encoded(value));
        }
    }
    Ok(format!("/api/incidents?{}", query.trim_start_matches('&')))
}

pub(super) async fn show(cx: &Context<'_>) -> Shown {
    let asked = &cx.visit.query;
    let state = asked.get("state").unwrap_or_default();
    let monitor = asked.get("monitor").unwrap_or_default();
    let words = asked.get("q").unwrap_or_default();
    let start: u64 = asked.get("start").and_then(|it| it.parse().ok()).unwrap_or(0);
    let path = format!("{}&start={start}&size={SIZE}", question(asked)?);
    let found = cx.get(&path).await?;
    let total = count(&found, "totalHits");
    let rows: Vec<&Value> = list(&found, "results").iter().collect();
    let next = (start + SIZE < total).then(|| {
        let next = (start + SIZE).to_string();
        format!("/console/incidents{}", asked.with(&[("start", &next)]))
    });
    let body = html! {
        (facets(cx, state, words))
        form.acts method="get" role="search" {
            (piece::field("q", "Severity, label, receiver or words", words, "severity:critical label:team=data receiver:noc words"))
            (piece::field("monitor", "Monitor", monitor, "name, or several apart by commas"))
            input type="hidden" name="state" value=(state);
            button { "Find" }
        }
        p.faint { (piece::counted(total, found["exact"] != false)) " in all · " a href="/console/silences" { "Silences" } " · " a href="/console/deliveries" { "Deliveries" } " · " a href="/console/receivers" { "Receivers" } }
        @if rows.is_empty() {
            @if words.is_empty() && monitor.is_empty() && state.is_empty() {
                (piece::note("good", html! { "Nothing is wrong." }))
            } @else {
                (piece::nothing_matches("no incident has these words and this state", "/console/incidents?state=all"))
            }
        } @else {
            (table(cx, &rows))
            (all_found(cx))
        }
        (piece::more(next.as_deref()))
    };
    let page = Page::new(Place::Incidents, "Incidents", body);
    Ok(page.same_as(path, "nightbell incident list").on("incident"))
}

/// Acts on all that are found, on this page and on others.
fn all_found(cx: &Context<'_>) -> Markup {
    html! {
        @if cx.may(Permission::Respond) {
            form.acts method="post" action="/console/confirm" aria-label="All that are found" {
                input type="hidden" name="back" value="/console/incidents";
                input type="hidden" name="found" value="1";
                @for name in ["q", "state", "monitor"] {
                    @if let Some(value) = cx.visit.query.get(name) { input type="hidden" name=(name) value=(value); }
                }
                span { "All that are found:" }
                @for (act, label) in [("acknowledge", "Acknowledge"), ("snooze", "Snooze"), ("resolve", "Resolve")] {
                    button name="act" value=(act) { (label) " all…" }
                }
            }
        }
    }
}

fn facets(cx: &Context<'_>, chosen: &str, words: &str) -> Markup {
    let kept = words.split_whitespace().filter(|word| !word.starts_with("severity:"));
    let kept = kept.collect::<Vec<_>>().join(" ");
    let with = |severity: &str| {
        let words = format!("severity:{severity} {kept}");
        cx.visit.query.with(&[("q", words.trim()), ("start", "")])
    };
    html! {
        ul.facets aria-label="State" {
            @for (state, shown) in STATES {
                li {
                    a href={ "/console/incidents" (cx.visit.query.with(&[("state", state), ("start", "")])) }
                        aria-current=[(state == chosen).then_some("true")] { (shown) }
                }
            }
        }
        ul.facets aria-label="Severity" {
            @for severity in SEVERITIES {
                li {
                    a href={ "/console/incidents" (with(severity)) }
                        aria-current=[words.contains(&format!("severity:{severity}")).then_some("true")] { (severity) }
                }
            }
        }
    }
}

/// The table, with boxes to acknowledge many at once.
fn table(cx: &Context<'_>, rows: &[&Value]) -> Markup {
    let may = cx.may(Permission::Respond);
    let mut heads = vec!["State", "Severity", "What", "Since", "Acknowledged"];
    if may {
        heads.insert(0, "Select");
    }
    let lines: Vec<Markup> = rows.iter().map(|it| row(cx, it, may)).collect();
    let shown = piece::table("Incidents", &heads, &lines);
    html! {
        @if may {
            form method="post" action="/console/confirm" {
                input type="hidden" name="back" value="/console/incidents";
                (shown)
                div.acts {
                    label { input type="checkbox" data-all=""; " Select all" }
                    button.main formaction="/console/act" name="act" value="acknowledge" { "Acknowledge selected" }
                    button name="act" value="resolve" { "Resolve selected…" }
                }
            }
        } @else { (shown) }
    }
}

fn row(cx: &Context<'_>, it: &Value, may: bool) -> Markup {
    let id = text(it, "id");
    let since = at(it, "openedAt").or_else(|| at(it, "since")).or_else(|| at(it, "at"));
    html! {
        tr {
            @if may {
                td { input type="checkbox" name="id" value=(id) aria-label={ "Select " (name(it)) }; }
            }
            td { (piece::status(state(it))) }
            td { (severity(it)) }
            td {
                a href=(href(&["incidents", id])) { (name(it)) }
                @if let Some(text) = said(it, "text") { br; (cut(text, 160)) }
                @if let Some(why) = said(it, "suppressed") { br; span.faint { "nobody is told: " (cut(why, 100)) } }
            }
            td.t { (cx.clock.maybe(since)) @if let Some(since) = since { br; span.faint { (cx.clock.ago(since)) } } }
            td { (acknowledged(cx, it)) }
        }
    }
}

/// How bad it is, as people say it.
pub(super) fn severity(it: &Value) -> Markup {
    let word = said(it, "severity").or_else(|| said(it, "worst")).unwrap_or("–");
    let class = match word {
        "critical" | "error" => "bad",
        "warning" => "warn",
        _ => "none",
    };
    html! { span class={ "status " (class) } { (word) } }
}

/// Where it stands; the ledger calls that its status.
pub(super) fn state(it: &Value) -> &str {
    said(it, "state").or_else(|| said(it, "status")).unwrap_or("unknown")
}

/// The monitor, and the key if it has several.
pub(super) fn name(it: &Value) -> String {
    match said(it, "key") {
        Some(key) if !key.starts_with('$') => format!("{} · {key}", text(it, "monitor")),
        _ => text(it, "monitor").to_owned(),
    }
}

fn acknowledged(cx: &Context<'_>, it: &Value) -> Markup {
    let Some(since) = at(it, "acknowledgedAt") else {
        return html! { span.faint { "nobody" } };
    };
    let by = said(it, "acknowledgedBy").unwrap_or("somebody");
    html! { (by) br; span.faint { (cx.clock.ago(since)) } }
}

/// A line of an incident elsewhere: sign, name, severity, age, who takes care.
pub(super) fn line(cx: &Context<'_>, it: &Value) -> Markup {
    let since = at(it, "openedAt").or_else(|| at(it, "since"));
    html! {
        (piece::status(state(it))) " "
        a href=(href(&["incidents", text(it, "id")])) { (name(it)) } " "
        (severity(it))
        @if let Some(since) = since { " " (cx.clock.age(since)) }
        @if let Some(when) = at(it, "acknowledgedAt") {
            " · acknowledged by " (said(it, "acknowledgedBy").unwrap_or("somebody")) " " (cx.clock.ago(when))
        } @else if state(it) == "open" {
            " · nobody has acknowledged"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_a_colon_are_conditions_and_others_are_text() {
        let asks = |query: &str| question(&Pairs::parse(query));
        let all = asks("q=severity:critical+label:team%3Ddata+disk+full+silenced:no&state=open");
        let all = all.expect("it is understood");
        assert_eq!(
            all,
            "/api/incidents?severity=critical&label=team%3Ddata&silenced=false&text=disk%20full&state=open"
        );
        let state = asks("q=state:all&state=open").expect("it is understood");
        assert_eq!(state, "/api/incidents?state=all");
        assert!(asks("q=colour:red").is_err());
        assert!(asks("q=silenced:perhaps").is_err());
        assert_eq!(asks("q=02:15").expect("a time is text"), "/api/incidents?text=02%3A15");
    }
}
