//! An incident: is it real, why, who knows, what comes next, and how to make it stop.

use kernel::Timestamp;
use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown, incidents, nearby};
use crate::shell::Place;
use crate::value::{at, cut, list, plain, said, text};
use crate::visit::{encoded, href};
use crate::{Context, piece, seen};

pub(super) async fn show(cx: &Context<'_>, name: &str) -> Shown {
    let path = format!("/api/incidents/{}", encoded(name));
    let it = cx.get(&path).await?;
    let id = said(&it, "id").unwrap_or(name).to_owned();
    let why = cx.get(&format!("{path}/explain")).await?;
    let is_open = matches!(text(&it, "state"), "open" | "acknowledged" | "snoozed");
    let nearby = nearby::shown(cx, &it, &why).await;
    // On a phone one stands below the other: what changed and who knows come first.
    let body = html! {
        (standing(cx, &it, &why))
        @if is_open { (acts(cx, &id, &it)) }
        (ways(&it, &why))
        div.two {
            div {
                (piece::part("Changed since it was well", html! { (changed(cx, &why)) (nearby) }))
                (piece::part("Notified", told(cx, &it, &why)))
                (piece::part("What comes next", waits(cx, &why)))
            }
            div {
                (piece::part("What happened", timeline(cx, &it, &why)))
                (note_form(cx, &id))
                div #where { (piece::part("Where it comes from", origin(cx, &it, &why))) }
            }
        }
    };
    let subject = incidents::name(&it);
    let title = match (is_open, text(&it, "state")) {
        (true, _) => format!("{subject}: {}", said(&it, "status").unwrap_or("open")),
        (false, "pending") => format!("{subject}: pending"),
        _ => format!("{subject}: resolved"),
    };
    let page = Page::new(Place::Incidents, title, body).below("Incidents", "/console/incidents");
    let command = format!("nightbell incident explain {id}");
    let machine = kernel::ExecutionId::monitor(text(&it, "monitor")).as_str().to_owned();
    Ok(page
        .same_as(format!("{path}/explain"), command)
        .on("incident")
        .about(machine)
        .with_file(href(&["incidents", name, "file"]))
        .with_payloads())
}

/// The first screen: state, since when, the sentence.
fn standing(cx: &Context<'_>, it: &Value, why: &Value) -> Markup {
    let since = at(it, "openedAt").or_else(|| at(it, "since"));
    let class = if text(it, "state") == "open" { "bad" } else { "none" };
    piece::note(
        class,
        html! {
            (piece::status(incidents::state(it))) " · " (incidents::severity(it))
            @if let Some(since) = since { " · " (cx.clock.age(since)) ", since " (cx.clock.when(since)) }
            @if let Some(over) = at(it, "resolvedAt") { " · resolved " (cx.clock.when(over)) }
            @if let Some(until) = at(it, "snoozedUntil") { " · snoozed until " (cx.clock.when(until)) }
            @if let Some(text) = said(it, "text") { br; (text) }
            @if let Some(when) = at(it, "acknowledgedAt") {
                br; "Acknowledged by " (said(it, "acknowledgedBy").unwrap_or("somebody")) " " (cx.clock.ago(when))
                (told_of_it(cx, why))
            } @else if text(it, "state") == "open" { br; "Nobody has acknowledged it." }
            @if let Some(why) = said(it, "suppressed") { br; "Nobody is told: " (why) }
        },
    )
}

/// From what rings to the row that it found: each a press away.
fn ways(it: &Value, why: &Value) -> Markup {
    let runbook = it["labels"].get("runbook").and_then(Value::as_str).filter(|url| is_web(url));
    let run = said(&why["latest"], "execution").or_else(|| said(&why["cause"], "execution"));
    html! {
        ul.facets aria-label="Ways" {
            @if let Some(url) = runbook { li { a href=(url) rel="noreferrer noopener" { "Runbook" } } }
            @if let Some(run) = run { li { (piece::link(&["runs", run], "Run")) } }
            li { (piece::link(&["monitors", text(it, "monitor")], "Monitor")) }
            li { a href="#where" { "Rule and row" } }
        }
    }
}

/// Which receivers know of the acknowledgement, and since when.
fn told_of_it(cx: &Context<'_>, why: &Value) -> Markup {
    let told = list(why, "deliveries").iter().filter(|it| text(it, "event") == "acknowledge");
    html! {
        @for delivery in told.take(4) {
            "; " (text(delivery, "receiver")) " "
            @match said(delivery, "status") { Some("sent") => { "told" } Some(status) => { (status) } None => { "queued" } }
            " " (cx.clock.maybe(at(delivery, "at")))
        }
    }
}

/// Whether an address leads to the web: nothing else becomes a link.
fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

fn acts(cx: &Context<'_>, id: &str, it: &Value) -> Markup {
    let need = Permission::Respond;
    let hidden = format!("monitor={}", text(it, "monitor"));
    let seen = seen::field(&seen::incident(it));
    html! {
        @if cx.may(need) {
            div.acts.big.hang {
                @if text(it, "state") == "acknowledged" {
                    (piece::act_with(cx, need, "unacknowledge", id, "Take the acknowledgement back", html! { (seen) }))
                } @else {
                    span data-key="a" { (piece::act(cx, need, "acknowledge", id, "Acknowledge")) }
                }
                details {
                    summary { "More" }
                    div.acts {
                        span data-key="s" { (piece::act_with(cx, need, "snooze", id, "Snooze", html! { (seen) (piece::for_how_long()) })) }
                        span data-key="e" { (piece::preview(cx, need, "escalate", id, "Escalate")) }
                        (piece::preview(cx, need, "resolve", id, "Resolve"))
                        a.button href={ "/console/silences?match=" (encoded(&hidden)) } { "Silence…" }
                        (piece::act(cx, Permission::Run, "check", text(it, "monitor"), "Check now"))
                        (piece::act_with(cx, need, "resend", id, "Send again what was given up", html! { (seen) }))
                    }
                }
            }
        }
    }
}

/// Bytes of a note that the API takes.
const NOTE_MAX: usize = kernel::alert::NOTE_MAX;

/// Where whoever looks writes down what others should know; also of what is over.
fn note_form(cx: &Context<'_>, id: &str) -> Markup {
    let text = html! {
        label.field { span { "Note" }
            textarea name="text" rows="2" maxlength=(NOTE_MAX) required {} }
    };
    piece::act_with(cx, Permission::Respond, "note", id, "Add the note", text)
}

/// One thing that happened.
struct Happened {
    at: Timestamp,
    what: Markup,
}

/// Data, check, rule, page and deed as one timeline, newest last.
fn timeline(cx: &Context<'_>, it: &Value, why: &Value) -> Markup {
    let mut lines: Vec<Happened> = Vec::new();
    let mut check = |evidence: &Value, what: &str| {
        let Some(at) = at(evidence, "at") else { return };
        let run = said(evidence, "execution");
        let step = said(evidence, "step");
        lines.push(Happened {
            at,
            what: html! {
                (what)
                @if let Some(run) = run { " · " (piece::link(&["runs", run], "run of the check")) }
                @if let Some(url) = said(evidence, "traceUrl") {
                    " · " a href=(url) rel="noreferrer noopener" { "trace" }
                }
                @if let Some(step) = step { " · step " code { (step) } }
            },
        });
    };
    check(&why["previousOk"], "It was well, the last time before");
    check(&why["cause"], "It was bad for the first time");
    if why["latest"]["at"] != why["cause"]["at"] {
        check(&why["latest"], "It was seen for the latest time");
    }
    let history = [list(it, "history"), list(&why["incident"], "history")];
    let history = history.into_iter().find(|it| !it.is_empty()).unwrap_or_default();
    for entry in history {
        let Some(at) = at(entry, "at") else { continue };
        lines.push(Happened {
            at,
            what: html! {
                (text(entry, "what"))
                @if let Some(who) = said(entry, "who") { " · " (who) }
                @if let Some(why) = said(entry, "why") { " · “" (cut(why, 300)) "”" }
            },
        });
    }
    for delivery in list(why, "deliveries") {
        let Some(at) = at(delivery, "at") else { continue };
        lines.push(Happened { at, what: delivery_line(delivery) });
    }
    lines.sort_by_key(|line| line.at);
    let skipped = lines.len().saturating_sub(LINES_MAX);
    // How it began stays, however much came after.
    let (first, last) = lines.split_at(if skipped > 0 { LINES_FIRST } else { 0 });
    let line = |line: &Happened| html! { li { (cx.clock.when(line.at)) (line.what) } };
    html! {
        ol.time {
            @for it in first { (line(it)) }
            @if skipped > 0 { li.faint { (skipped) " lines in between are in the JSON" } }
            @for it in last.iter().skip(skipped) { (line(it)) }
        }
    }
}

/// Lines of a timeline, and those at its beginning that are always shown.
const LINES_MAX: usize = 100;
const LINES_FIRST: usize = 20;

fn delivery_line(delivery: &Value) -> Markup {
    let receiver = text(delivery, "receiver");
    html! {
        (piece::status(said(delivery, "status").unwrap_or("queued"))) " "
        a href=(href(&["receivers", receiver])) { (receiver) }
        " was told: " (text(delivery, "event"))
        @if let Some(reason) = said(delivery, "reason") { " · " (cut(reason, 200)) }
    }
}

fn changed(cx: &Context<'_>, why: &Value) -> Markup {
    let changed = list(why, "changed");
    html! {
        @if changed.is_empty() { p.faint { "Nothing that is recorded." } }
        ul { @for line in changed { li { (cx.clock.sentence(&plain(line))) } } }
    }
}

fn waits(cx: &Context<'_>, why: &Value) -> Markup {
    let waits = list(why, "waitsFor");
    html! {
        @if waits.is_empty() { p.faint { "Nothing: it is over." } }
        ul { @for line in waits { li { (cx.clock.sentence(&plain(line))) } } }
    }
}

/// Who was told, who was not, and why.
fn told(cx: &Context<'_>, it: &Value, why: &Value) -> Markup {
    let deliveries = list(why, "deliveries");
    html! {
        @if deliveries.is_empty() {
            p { "Nobody was told"
                @if let Some(reason) = said(it, "suppressed") { ": " (reason) } @else { " yet." } }
        }
        ul.time {
            @for delivery in deliveries.iter().take(30) {
                li {
                    (cx.clock.maybe(at(delivery, "at")))
                    (delivery_line(delivery))
                    @if let Some(reference) = said(delivery, "reference") { " · " span.faint { (cut(reference, 60)) } }
                }
            }
        }
    }
}

fn origin(cx: &Context<'_>, it: &Value, why: &Value) -> Markup {
    let monitor = text(it, "monitor");
    let rows = [why.get("row"), it.get("attrs")];
    let row =
        rows.into_iter().flatten().find(|row| row.as_object().is_some_and(|it| !it.is_empty()));
    let value = it.get("value").filter(|value| !value.is_null());
    html! {
        (piece::facts(&[
            ("Monitor", piece::link(&["monitors", monitor], monitor)),
            ("Rule", html! { (said(why, "rule").unwrap_or("–")) }),
            ("Defined in", html! { (said(why, "origin").unwrap_or("–")) }),
            ("Id", html! { code { (text(it, "id")) } }),
            ("Value", html! { (value.map_or_else(|| "–".to_owned(), plain)) }),
            ("Labels", html! { (labels(&it["labels"])) }),
        ]))
        @if let Some(row) = row { h3 { "The row" } (piece::payload(row, &cx.visit.address)) }
    }
}

/// Labels as people write them.
pub(super) fn labels(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let pairs: Vec<String> =
        pairs.map(|(name, value)| format!("{name}={}", plain(value))).collect();
    if pairs.is_empty() { "–".to_owned() } else { pairs.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_addresses_of_the_web_become_links() {
        assert!(is_web("https://wiki.example/x"));
        assert!(!is_web("javascript:alert(1)"));
        assert_eq!(labels(&json!({ "team": "data", "n": 1 })), "team=data, n=1");
    }
}
