//! System: queues and workers, events, secrets by name, the audit ledger, access, health.

use std::collections::BTreeMap;

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown, access, audit, health};
use crate::clock::length;
use crate::shell::Place;
use crate::value::{at, count, cut, list, plain, said, text};
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

const PARTS: [(&str, &str); 7] = [
    ("health", "Health"),
    ("queues", "Queues"),
    ("workers", "Workers"),
    ("events", "Events"),
    ("secrets", "Secrets"),
    ("audit", "Audit"),
    ("access", "Access"),
];

pub(super) async fn show(cx: &Context<'_>, part: &str) -> Shown {
    let Some((_, title)) = PARTS.iter().find(|(name, _)| *name == part) else {
        let parts = PARTS.map(|(name, _)| name).join(", ");
        return Err(Failure::missing(format!(
            "There is no part '{}' of the system",
            cut(part, 40)
        ))
        .with_hint(format!("There are {parts}.")));
    };
    let (json, command, shown) = match part {
        "queues" => ("/api/tasks/queue/all/verbose", "nightbell queue list", queues(cx)),
        "workers" => ("/api/workers", "nightbell worker list", workers(cx).await?),
        "events" => ("/api/event/execution", "", events(cx).await?),
        "secrets" => ("/api/secrets-v2", "nightbell secret list", secrets(cx).await?),
        "audit" => ("/api/audit", "nightbell audit list", audit::part(cx).await?),
        "access" => ("/api/access/users", "nightbell user list", access::part(cx).await?),
        _ => ("/api/health", "", health::part(cx).await),
    };
    let body = html! {
        ul.tabs aria-label="Parts" {
            @for (name, shown) in PARTS.iter().filter(|(name, _)| *name != "access" || cx.sees(Permission::Admin)) {
                li { a href=(href(&["system", *name])) aria-current=[(*name == part).then_some("page")] { (shown) } }
            }
            li { a href="/console/entities" { "Entities" } }
        }
        (shown)
    };
    let topics = match part {
        "queues" | "workers" => "run",
        "events" | "secrets" | "audit" | "access" => "change",
        _ => "",
    };
    Ok(Page::new(Place::System, *title, body).same_as(json, command).on(topics))
}

/// Queues on a page.
const QUEUES_MAX: usize = 200;

/// Who waits for whom: depth, age, and the last poll.
fn queues(cx: &Context<'_>) -> Markup {
    let words = cx.visit.query.get("q").unwrap_or_default();
    let now = cx.clock.now;
    let mut polls: BTreeMap<String, Vec<(String, kernel::Timestamp)>> = BTreeMap::new();
    for poll in cx.engine.queues().polls(None) {
        polls.entry(poll.queue.to_string()).or_default().push((poll.worker.to_string(), poll.at));
    }
    let mut states = cx.engine.queues().states();
    states.retain(|queue| queue.name.contains(words));
    states.sort_by(|one, other| {
        other.waiting.cmp(&one.waiting).then_with(|| one.name.cmp(&other.name))
    });
    let total = states.len();
    let rows: Vec<Markup> = states
        .iter()
        .take(QUEUES_MAX)
        .map(|queue| {
            let none = Vec::new();
            let own = polls.get(&*queue.name).unwrap_or(&none);
            let last = own.iter().map(|(_, at)| *at).max();
            html! {
                tr {
                    td { (queue.name) }
                    td.n { (queue.waiting) }
                    td.n { @if let Some(oldest) = queue.oldest { (length(now.since(oldest).max(0))) } @else { "–" } }
                    td.n { (queue.held) }
                    td { @match last {
                        Some(last) => { (own.len()) " · last " (cx.clock.ago(last)) }
                        None if queue.waiting > 0 => { span.bad { "no worker has polled since the server started" } }
                        None => { span.faint { "none" } }
                    } }
                    td { @if queue.waiting > 0 { (piece::preview(cx, Permission::Run, "requeue", &queue.name, "Requeue")) } }
                }
            }
        })
        .collect();
    html! {
        form.acts method="get" { (piece::field("q", "Queue", words, "")) button { "Show" } }
        @if rows.is_empty() {
            @if words.is_empty() { (piece::note("empty", html! { "Nothing yet: no task has waited and no worker has polled since the server started." })) }
            @else { (piece::nothing_matches("no queue has these letters", "/console/system/queues")) }
        } @else {
            (piece::table("Queues", &["Queue", "Waiting", "Oldest", "Held", "Pollers", ""], &rows))
            @if total > QUEUES_MAX { p.faint { (total - QUEUES_MAX) " more queues" } }
        }
    }
}

async fn workers(cx: &Context<'_>) -> Result<Markup, Failure> {
    let connected = cx.get("/api/workers").await?;
    let unfinished = cx.get("/api/workers/unfinished").await?;
    let mut polls = cx.engine.queues().polls(None);
    polls.sort_by_key(|poll| std::cmp::Reverse(poll.at));
    let polling: Vec<Markup> = polls
        .iter()
        .take(QUEUES_MAX)
        .map(|poll| html! {
            tr { td { @if poll.worker.is_empty() { span.faint { "no name" } } @else { (poll.worker) } } td { (poll.queue) } td.t { (cx.clock.ago(poll.at)) } }
        })
        .collect();
    let streams: Vec<Markup> = connected
        .as_array()
        .into_iter()
        .flatten()
        .take(QUEUES_MAX)
        .map(|it| {
            html! {
                tr { td { (said(it, "workerId").unwrap_or("–")) } td { (text(it, "taskHub")) }
                    td.t { (cx.clock.maybe(at(it, "since"))) } td { (cut(&names(it), 200)) } }
            }
        })
        .collect();
    let tried: Vec<Markup> = unfinished
        .as_array()
        .into_iter()
        .flatten()
        .take(QUEUES_MAX)
        .map(|it| html! {
            tr { td { (text(it, "kind")) " " (text(it, "name")) } td { (cut(text(it, "instanceId"), 60)) } td.n { (count(it, "attempts")) }
                td { (cut(text(it, "reason"), 200)) } td.t { @if let Some(next) = at(it, "nextAt") { (cx.clock.ago(next)) } @else { "given up" } } }
        })
        .collect();
    Ok(html! {
        (piece::part("Workers that poll queues", html! {
            @if polling.is_empty() { p.faint { "None since the server started." } }
            @else { (piece::table("Polls", &["Worker", "Queue", "Last poll"], &polling)) }
        }))
        (piece::part("Workers of code that are connected", html! {
            @if streams.is_empty() { p.faint { "None." } }
            @else { (piece::table("Streams", &["Worker", "Task hub", "Since", "Takes"], &streams)) }
        }))
        (piece::part("Work that was handed out and not done", html! {
            @if tried.is_empty() { p.faint { "None." } }
            @else { (piece::table("Unfinished work", &["Work", "For", "Attempts", "Why", "Next"], &tried)) }
        }))
    })
}

/// What a worker takes, as far as it says.
fn names(it: &Value) -> String {
    let kinds = list(it, "work").iter().map(|share| {
        let names: Vec<String> = list(share, "names").iter().map(plain).collect();
        let named = if names.is_empty() { "any".to_owned() } else { names.join(", ") };
        format!("{}: {named}", text(share, "kind"))
    });
    kinds.collect::<Vec<_>>().join("; ")
}

async fn events(cx: &Context<'_>) -> Result<Markup, Failure> {
    let handlers = cx.get("/api/event").await?;
    let executions = cx.get("/api/event/execution").await;
    let rows: Vec<Markup> = handlers
        .as_array()
        .into_iter()
        .flatten()
        .take(QUEUES_MAX)
        .map(|it| {
            let name = text(it, "name");
            html! {
                tr { td { (piece::link(&["definitions", "event", name], name)) } td { (text(it, "event")) }
                    td { @if it["active"] == true { (piece::status("ACTIVE")) } @else { (piece::status("PAUSED")) } }
                    td.n { (list(it, "actions").len()) } }
            }
        })
        .collect();
    Ok(html! {
        (piece::part("Event handlers", html! {
            @if rows.is_empty() { (piece::nothing_yet("no event handler is defined", "nightbell event create -f FILE")) }
            @else { (piece::table("Event handlers", &["Handler", "Event", "State", "Actions"], &rows)) }
        }))
        (piece::part("What they did", html! {
            @match &executions {
                Ok(found) => { (done(cx, found)) }
                Err(failure) => { (crate::shell::cannot_tell(&failure.message)) }
            }
        }))
    })
}

fn done(cx: &Context<'_>, found: &Value) -> Markup {
    let lines = match found.as_array() {
        Some(lines) => lines.as_slice(),
        None => list(found, "results"),
    };
    let rows: Vec<Markup> = lines
        .iter()
        .take(100)
        .map(|it| html! {
            tr { td { (piece::status(text(it, "status"))) } td.t { (cx.clock.maybe(at(it, "created"))) }
                td { (text(it, "name")) } td { (cut(text(it, "event"), 80)) } td { (cut(text(it, "action"), 40)) } }
        })
        .collect();
    html! {
        @if rows.is_empty() { p.faint { "No message was handled that is recorded." } }
        @else { (piece::table("Handled messages", &["Status", "When", "Handler", "Event", "Action"], &rows)) }
    }
}

/// Names of secrets; never a value.
async fn secrets(cx: &Context<'_>) -> Result<Markup, Failure> {
    let all = cx.get("/api/secrets-v2").await?;
    let rows: Vec<Markup> = all
        .as_array()
        .into_iter()
        .flatten()
        .take(500)
        .map(|it| {
            let name =
                it.as_str().or_else(|| said(it, "name")).or_else(|| said(it, "key")).unwrap_or("–");
            let tags: Vec<String> = list(it, "tags")
                .iter()
                .map(|tag| format!("{}:{}", text(tag, "key"), text(tag, "value")))
                .collect();
            html! { tr { td { code { (name) } } td { (tags.join(", ")) }
            td { a href={ "/console/system/secrets?name=" (encoded(name)) } { "used by" } } } }
        })
        .collect();
    Ok(html! {
        @if let Some(name) = cx.visit.query.get("name") {
            h2 { code { (cut(name, 100)) } }
            (super::definition::used_by(cx, "secret", name).await?)
        }
        p { "Names only: nobody can read a value, here or elsewhere. Set one with " code { "nightbell secret put NAME" } "." }
        @if rows.is_empty() { (piece::nothing_yet("no secret is kept", "nightbell secret put NAME")) }
        @else { (piece::table("Secrets", &["Name", "Tags", ""], &rows)) }
    })
}
