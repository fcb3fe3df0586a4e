//! Incidents: what is wrong, since when, who takes care.

use std::collections::BTreeSet;

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown, refused};
use crate::piece;
use crate::shell::Place;
use crate::value::{at, count, cut, list, plain, said, text};
use crate::visit::{encoded, href};
use crate::{Context, incident_search};

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

pub(super) async fn show(cx: &Context<'_>) -> Shown {
    let asked = &cx.visit.query;
    let state = asked.get("state").unwrap_or_default();
    let monitor = asked.get("monitor").unwrap_or_default();
    let words = asked.get("q").unwrap_or_default();
    let start: u64 = asked.get("start").and_then(|it| it.parse().ok()).unwrap_or(0);
    let find = html! {
        form.acts method="get" role="search" {
            (piece::field("q", "Severity, label, receiver or words", words, "severity:critical label:team=data receiver:noc words"))
            (piece::field("monitor", "Monitor", monitor, "name, or several separated by commas"))
            input type="hidden" name="state" value=(state);
            button { "Find" }
        }
    };
    let question = match incident_search::question(asked) {
        Ok(question) => question,
        Err(wrong) => return Ok(refused(Place::Incidents, "Incidents", &find, &wrong)),
    };
    let path = format!("{question}&start={start}&size={SIZE}");
    let found = cx.get(&path).await?;
    let total = count(&found, "totalHits");
    let rows: Vec<&Value> = list(&found, "results").iter().collect();
    let next = (start + SIZE < total).then(|| {
        let next = (start + SIZE).to_string();
        format!("/console/incidents{}", asked.with(&[("start", &next)]))
    });
    let body = html! {
        (facets(cx, state, words))
        (seen(cx, &rows, words))
        (find)
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
            (silence_these(cx, words, monitor))
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
                (piece::proof())
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

/// Labels and receivers among which somebody can choose.
const LABELS_MAX: usize = 12;
const RECEIVERS_MAX: usize = 8;

/// What else can be searched for with one press: labels of what is shown, who was told of it, and whether it is
/// silenced.
fn seen(cx: &Context<'_>, rows: &[&Value], words: &str) -> Markup {
    let labels: BTreeSet<String> = rows
        .iter()
        .filter_map(|it| it["labels"].as_object())
        .flatten()
        .map(|(name, value)| format!("label:{name}={}", plain(value)))
        // A word of a search is one word.
        .filter(|word| !word.contains(char::is_whitespace))
        .collect();
    let receivers: BTreeSet<String> = rows
        .iter()
        .flat_map(|it| list(it, "told"))
        .map(|name| format!("receiver:{}", plain(name)))
        .filter(|word| !word.contains(char::is_whitespace) && !word.contains(','))
        .collect();
    let link = |word: &str| {
        let is_chosen = words.split_whitespace().any(|it| it == word);
        let others = words.split_whitespace().filter(|it| *it != word);
        let chosen = (!is_chosen).then_some(word).into_iter();
        let words = others.chain(chosen).collect::<Vec<_>>().join(" ");
        let href =
            format!("/console/incidents{}", cx.visit.query.with(&[("q", &words), ("start", "")]));
        html! { li { a href=(href) aria-current=[is_chosen.then_some("true")] { (cut(word, 60)) } } }
    };
    html! {
        ul.facets aria-label="Silenced, and labels and receivers of what is shown" {
            @for word in ["silenced:yes", "silenced:no"] { (link(word)) }
            @for word in labels.iter().take(LABELS_MAX) { (link(word)) }
            @for word in receivers.iter().take(RECEIVERS_MAX) { (link(word)) }
        }
    }
}

/// To a silence that hides what the search names, if it names a monitor or labels.
fn silence_these(cx: &Context<'_>, words: &str, monitor: &str) -> Markup {
    let labels = words.split_whitespace().filter_map(|word| word.strip_prefix("label:"));
    let named = words.split_whitespace().filter_map(|word| word.strip_prefix("monitor:"));
    let named = named.chain(Some(monitor).filter(|it| !it.is_empty()));
    let named = named.filter(|it| !it.contains(',')).map(|it| format!("monitor={it}"));
    let matchers: Vec<String> = labels.map(str::to_owned).chain(named).collect();
    html! {
        @if cx.may(Permission::Respond) && !matchers.is_empty() {
            p { a.button href={ "/console/silences?match=" (encoded(&matchers.join(" "))) } { "Silence these…" } }
        }
    }
}

/// The table, with boxes to acknowledge many at once.
fn table(cx: &Context<'_>, rows: &[&Value]) -> Markup {
    let may = cx.may(Permission::Respond);
    let mut heads =
        vec!["State", "Severity", "What", "Since", "Acknowledged", "Notified, and next"];
    if may {
        heads.insert(0, "Select");
    }
    let lines: Vec<Markup> = rows.iter().map(|it| row(cx, it, may)).collect();
    let shown = piece::table("Incidents", &heads, &lines);
    html! {
        @if may {
            form method="post" action="/console/confirm" {
                (piece::proof())
                input type="hidden" name="back" value="/console/incidents";
                (shown)
                div.acts {
                    label { input type="checkbox" data-all=""; " Select all" }
                    button.main formaction="/console/act" name="act" value="acknowledge" { "Acknowledge selected" }
                    button name="act" value="snooze" { "Snooze selected…" }
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
            td { (told(cx, it)) }
        }
    }
}

/// Who knows of it, and whom time alone tells next.
fn told(cx: &Context<'_>, it: &Value) -> Markup {
    let names = |list: &[Value]| list.iter().map(plain).collect::<Vec<_>>().join(", ");
    let (told, next) = (list(it, "told"), &it["nextStep"]);
    html! {
        @if told.is_empty() { span.faint { "nobody" } } @else { (cut(&names(told), 80)) }
        @if let Some(due) = at(next, "at") {
            br; span.faint { "next: " (cut(&names(list(next, "to")), 80)) " " (cx.clock.ago(due))
                @if next["unlessAcknowledged"] == true { ", unless acknowledged" } }
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
