//! Queues and workers: who waits for whom, which limits are reached and who holds their places, who polls.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Blocked, StuckGroup};
use kernel::access::Permission;
use kernel::graph::is_gate;
use kernel::{ExecutionId, Timestamp};
use maud::{Markup, html};
use serde_json::Value;

use super::facets::stuck_words;
use crate::clock::length;
use crate::value::{at, count, cut, list, plain, said, text};
use crate::visit::encoded;
use crate::{Context, Failure, piece};

/// Lines of one table.
const LINES_MAX: usize = 200;
/// Holders of a limit that are named.
const HOLDERS_MAX: usize = 5;

/// Who waits for whom: depth, age, and the last poll; then the limits at which somebody waits.
pub(super) fn queues(cx: &Context<'_>) -> Markup {
    let words = cx.visit.query.get("q").unwrap_or_default();
    let mut polls: BTreeMap<Arc<str>, (usize, Timestamp)> = BTreeMap::new();
    for poll in cx.engine.queues().polls(None) {
        let known = polls.entry(poll.queue).or_insert((0, poll.at));
        *known = (known.0 + 1, known.1.max(poll.at));
    }
    let stuck = cx.engine.queues().stuck(cx.clock.now);
    let mut states = cx.engine.queues().states();
    states.retain(|queue| queue.name.contains(words));
    states.sort_by(|one, other| {
        other.waiting.cmp(&one.waiting).then_with(|| one.name.cmp(&other.name))
    });
    let total = states.len();
    let rows: Vec<Markup> = states
        .iter()
        .take(LINES_MAX)
        .map(|queue| {
            let group = stuck.iter().find(|group| group.queue == queue.name);
            html! {
                tr {
                    td { (queue.name) }
                    td.n { (queue.waiting) }
                    td.n { @if let Some(oldest) = queue.oldest { (length(cx.clock.now.since(oldest).max(0))) } @else { "–" } }
                    td.n { (queue.held) }
                    td { @match polls.get(&queue.name) {
                        Some((pollers, last)) => { (pollers) " · last " (cx.clock.ago(*last)) }
                        None if queue.waiting > 0 => { span.bad { "no worker has polled since the server started" } }
                        None => { span.faint { "none" } }
                    } }
                    td {
                        @if queue.waiting > 0 { (piece::preview(cx, Permission::Run, "requeue", &queue.name, "Requeue")) }
                        @if let Some(group) = group { (those(cx, group)) }
                    }
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
            @if total > LINES_MAX { p.faint { (total - LINES_MAX) " more queues" } }
            p.faint { "Polls are known since this server started, " (cx.clock.when(cx.engine.feed().since())) "." }
        }
        (limits(cx, &stuck))
    }
}

/// The runs that are stuck there, and the way to end them all.
fn those(cx: &Context<'_>, group: &StuckGroup) -> Markup {
    let find = stuck_words(group);
    let more = if group.has_more { "+" } else { "" };
    html! {
        " " a href={ "/console/runs?q=" (encoded(&find)) } { (group.runs.len()) (more) " runs" }
        // Without the name of its queue a group is not found alone.
        @if find.contains("queue:") && cx.may(Permission::Run) {
            " " a href={ "/console/confirm?act=terminate&found=1&back=/console/system/queues&find=" (encoded(&find)) } { "Terminate those…" }
        }
    }
}

/// Limits that are reached, with those who hold their places.
fn limits(cx: &Context<'_>, stuck: &[StuckGroup]) -> Markup {
    let limited: Vec<(&StuckGroup, String)> =
        stuck.iter().filter_map(|group| Some((group, limit(cx, &group.blocked)?))).collect();
    let rows: Vec<Markup> = limited
        .iter()
        .take(LINES_MAX)
        .map(|(group, limit)| {
            html! {
                tr {
                    td { (cut(&group.queue, 100)) }
                    td { (limit) }
                    td.n { (group.tasks) }
                    td {
                        @for holder in holders(cx, &group.queue) { (piece::run(holder.as_str())) " " }
                    }
                    td { (those(cx, group)) }
                }
            }
        })
        .collect();
    html! {
        @if !rows.is_empty() {
            (piece::part("Limits that are reached", piece::table(
                "Limits", &["Limit of", "Allows", "Waiting", "Held by, among others", ""], &rows,
            )))
        }
    }
}

fn limit(cx: &Context<'_>, blocked: &Blocked) -> Option<String> {
    match blocked {
        Blocked::Concurrency { limit } => Some(format!("{limit} at once")),
        Blocked::Rate { limit, window_seconds, until } => {
            let next = cx.clock.ago(*until);
            Some(format!("{limit} in {window_seconds} s; the next {next}"))
        }
        _ => None,
    }
}

/// Some of those who hold places of a limit: runs at a gate, or runs whose tasks workers have.
fn holders(cx: &Context<'_>, queue: &str) -> Vec<ExecutionId> {
    if is_gate(queue) {
        return cx.engine.queues().holders(queue, HOLDERS_MAX);
    }
    let held = cx.engine.queues().rows(|row| row.held && *row.queue == *queue);
    let mut runs: Vec<ExecutionId> = held.into_iter().map(|row| row.execution).collect();
    runs.sort_unstable();
    runs.dedup();
    runs.truncate(HOLDERS_MAX);
    runs
}

pub(super) async fn workers(cx: &Context<'_>) -> Result<Markup, Failure> {
    let connected = cx.get("/api/workers").await?;
    let unfinished = cx.get("/api/workers/unfinished").await?;
    let mut polls = cx.engine.queues().polls(None);
    polls.sort_by_key(|poll| std::cmp::Reverse(poll.at));
    let polling: Vec<Markup> = polls
        .iter()
        .take(LINES_MAX)
        .map(|poll| html! {
            tr { td { @if poll.worker.is_empty() { span.faint { "no name" } } @else { (poll.worker) } } td { (poll.queue) } td.t { (cx.clock.ago(poll.at)) } }
        })
        .collect();
    let streams: Vec<Markup> = connected
        .as_array()
        .into_iter()
        .flatten()
        .take(LINES_MAX)
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
        .take(LINES_MAX)
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
