//! What happened in a run, in its order: of a graph by its tasks, of code by its history.

use kernel::graph::Execution;
use kernel::{ExecutionId, Timestamp};
use maud::{Markup, html};
use serde_json::Value;

use crate::value::{cut, said, text};
use crate::visit::encoded;
use crate::{Context, Failure, piece};

/// Lines of a page.
const WINDOW: usize = 150;

/// The instants that the state of a graph keeps, newest last.
pub(super) async fn view(cx: &Context<'_>, id: &str) -> Result<Markup, Failure> {
    let start: usize = cx.visit.query.get("start").and_then(|it| it.parse().ok()).unwrap_or(0);
    let look = |state: &Execution| {
        let mut lines: Vec<(Timestamp, u32, u8, String)> = Vec::new();
        for task in state.tasks() {
            let (number, name) = (task.sequence, &task.reference);
            let attempt =
                if task.attempt > 0 { format!(", retry {}", task.attempt) } else { String::new() };
            lines.push((task.scheduled_at, number, 0, format!("{name} was scheduled{attempt}")));
            if let Some(at) = task.started_at {
                let by = task.worker.as_deref().filter(|it| !it.is_empty());
                let by = by.map_or_else(String::new, |by| format!(" by {by}"));
                lines.push((at, number, 1, format!("{name} began{by}")));
            }
            if let Some(at) = task.ended_at {
                let why = task
                    .reason
                    .as_deref()
                    .map_or_else(String::new, |why| format!(": {}", cut(why, 200)));
                let status = task.status.as_str().replace('_', " ").to_lowercase();
                lines.push((at, number, 2, format!("{name} ended, {status}{why}")));
            }
        }
        lines.sort_by_key(|line| (line.0, line.1, line.2));
        (state.created_at, state.ended_at.map(|at| (at, state.status.as_str())), lines)
    };
    let Some((created, ended, lines)) = cx.engine.read(&ExecutionId::new(id), look).await? else {
        return Err(Failure::missing("The run was removed meanwhile"));
    };
    let all = lines.len();
    let next = (start + WINDOW < all).then(|| {
        let next = (start + WINDOW).to_string();
        format!("{}{}", cx.visit.path(), cx.visit.query.with(&[("start", &next)]))
    });
    Ok(html! {
        p.faint { (all) " instants of its tasks. Attempts that were retried are among them; what a rerun has replaced is not kept." }
        ol.time {
            @if start == 0 { li { (cx.clock.when(created)) "the run was created" } }
            @for (at, _, _, line) in lines.iter().skip(start).take(WINDOW) { li { (cx.clock.when(*at)) (line) } }
            @if let Some((at, status)) = ended.filter(|_| next.is_none()) { li { (cx.clock.when(at)) "the run ended: " (status) } }
        }
        (piece::more(next.as_deref()))
    })
}

/// The history of an instance of code, as the API of Durable Functions tells it.
pub(super) async fn of_code(cx: &Context<'_>, id: &str) -> Result<Markup, Failure> {
    let look = |machine: &engine::AnyMachine| {
        machine.instance().map(|it| (it.hub().to_string(), it.instance_id().to_string()))
    };
    let found = cx.engine.look(&ExecutionId::new(id), look).await?.flatten();
    let Some((hub, instance)) = found else {
        return Err(Failure::missing("The run was removed meanwhile"));
    };
    let path = format!(
        "/runtime/webhooks/durabletask/instances/{}?taskHub={}&showHistory=true",
        encoded(&instance),
        encoded(&hub)
    );
    let status = match cx.get(&path).await {
        Ok(status) => status,
        Err(failure) => return Ok(crate::shell::cannot_tell(&failure.message)),
    };
    let events = status["historyEvents"].as_array().cloned().unwrap_or_default();
    let skipped = events.len().saturating_sub(WINDOW);
    Ok(html! {
        @if events.is_empty() { (piece::note("empty", html! { "Its history is empty." })) }
        @if skipped > 0 { p.faint { (skipped) " earlier events are in the " a href=(path) { "JSON" } "." } }
        ol.time { @for event in events.iter().skip(skipped) { li { (line(event)) } } }
    })
}

fn line(event: &Value) -> Markup {
    let name = said(event, "FunctionName").or_else(|| said(event, "Name"));
    html! {
        time { (cut(text(event, "Timestamp"), 19)) } " "
        (text(event, "EventType"))
        @if let Some(name) = name { " " code { (name) } }
        @if let Some(reason) = said(event, "Reason") { " · " (cut(reason, 200)) }
    }
}
