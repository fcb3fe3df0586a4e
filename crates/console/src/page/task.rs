//! Tasks of a run: a window of them, one beside the picture, and their logs.

use kernel::ExecutionId;
use kernel::access::Permission;
use kernel::graph::Execution;
use maud::{Markup, html};
use serde_json::Value;

use super::ended::is_bad;
use crate::clock::length;
use crate::value::{at, count, cut, said, text};
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

/// Tasks in a window.
const WINDOW: usize = 100;
/// Tasks whose logs are shown together.
const LOGS_MAX: usize = 20;
/// Lines of logs on a page, the newest.
const LINES_MAX: usize = 200;

/// A window of the tasks: failed ones first when they are asked for.
pub(super) async fn list(cx: &Context<'_>, id: &str) -> Result<Markup, Failure> {
    let asked = &cx.visit.query;
    let start: usize = asked.get("start").and_then(|it| it.parse().ok()).unwrap_or(0);
    let only_bad = asked.get("only") == Some("failed");
    let now = cx.clock.now;
    let look = |state: &Execution| {
        let kept: Vec<_> = state.tasks().filter(|task| !only_bad || is_bad(task)).collect();
        let all = kept.len();
        let rows: Vec<Markup> = kept
            .into_iter()
            .skip(start)
            .take(WINDOW)
            .map(|task| {
                let began = task.started_at.unwrap_or(task.scheduled_at);
                let took = task.ended_at.unwrap_or(now).since(began).max(0);
                let to = format!("{}?view=tasks&task={}&start={start}", href(&["runs", id]), task.sequence);
                html! {
                    tr {
                        td.n { (task.sequence) }
                        td { a href=(to) { (task.reference) } @if task.attempt > 0 { " " span.faint { "retry " (task.attempt) } } }
                        td { (task.task_type) }
                        td { (piece::status(task.status.as_str())) @if task.retried { " " span.faint { "retried" } } }
                        td { @if let Some(reason) = &task.reason { (cut(reason, 120)) }
                            @if let Some(child) = &task.child { " " (piece::run(child.as_str())) } }
                        td.t { (cx.clock.when(task.scheduled_at)) }
                        td.n { (length(took)) }
                    }
                }
            })
            .collect();
        (all, rows)
    };
    let Some((all, rows)) = cx.engine.read(&ExecutionId::new(id), look).await? else {
        return Err(Failure::missing("The run was removed meanwhile"));
    };
    let next = (start + WINDOW < all).then(|| {
        format!("{}{}", cx.visit.path(), asked.with(&[("start", &(start + WINDOW).to_string())]))
    });
    let heads = ["No.", "Reference", "Type", "Status", "Why", "Scheduled", "Took"];
    Ok(html! {
        ul.facets aria-label="Which tasks" {
            li { a href=(cx.visit.path().to_owned() + &asked.with(&[("only", ""), ("start", "")])) aria-current=[(!only_bad).then_some("true")] { "all" } }
            li { a href=(cx.visit.path().to_owned() + &asked.with(&[("only", "failed"), ("start", "")])) aria-current=[only_bad.then_some("true")] { "failed" } }
        }
        p.faint { (all) " tasks" @if all > WINDOW { ", " (start + 1) " to " ((start + WINDOW).min(all)) " here" } }
        @if rows.is_empty() { (piece::note("empty", html! { "No task" @if only_bad { " has failed." } @else { " was scheduled yet." } })) }
        @else { (piece::table("Tasks", &heads, &rows)) }
        (piece::more(next.as_deref()))
    })
}

/// One task: attempts, input, output, worker, and what can be done with it.
pub(super) async fn panel(cx: &Context<'_>, run: &str, number: &str) -> Result<Markup, Failure> {
    let sequence: u32 = number
        .parse()
        .map_err(|_| Failure::missing(format!("There is no task {}", cut(number, 20))))?;
    let look = |state: &Execution| {
        let task = state.task(sequence)?;
        let mut attempts = Vec::new();
        let mut earlier = task.retries;
        while let Some(before) = earlier.and_then(|it| state.task(it)) {
            attempts.push((
                before.sequence,
                before.status.as_str(),
                before.reason.clone(),
                before.ended_at,
            ));
            earlier = before.retries;
        }
        let later = state.tasks().find(|it| it.retries == Some(sequence)).map(|it| it.sequence);
        Some((state.task_id(sequence).to_string(), attempts, later, state.status.is_closed()))
    };
    let found = cx.engine.read(&ExecutionId::new(run), look).await?.flatten();
    let Some((id, attempts, later, is_over)) = found else {
        return Err(Failure::missing(format!("There is no task {sequence} in this run")));
    };
    let json = format!("/api/tasks/{}", encoded(&id));
    let it = cx.get(&json).await?;
    let (scheduled, started, ended) =
        (at(&it, "scheduledTime"), at(&it, "startTime"), at(&it, "endTime"));
    let status = text(&it, "status");
    let is_open = matches!(status, "SCHEDULED" | "IN_PROGRESS");
    let to = |number: u32| {
        format!("{}{}", cx.visit.path(), cx.visit.query.with(&[("task", &number.to_string())]))
    };
    let facts = piece::facts(&[
        ("Status", piece::status(status)),
        ("Type", html! { (text(&it, "taskType")) }),
        ("Queued", cx.clock.maybe(scheduled)),
        ("Started", cx.clock.maybe(started)),
        ("Ended", cx.clock.maybe(ended)),
        (
            "Took",
            html! { (started.map_or_else(|| "–".to_owned(), |it| length(ended.unwrap_or(cx.clock.now).since(it).max(0)))) },
        ),
        ("Worker", html! { (said(&it, "workerId").unwrap_or("–")) }),
        ("Polls", html! { (count(&it, "pollCount")) }),
    ]);
    Ok(html! {
        h2 { (text(&it, "referenceTaskName")) " · attempt " (count(&it, "retryCount") + 1) }
        (facts)
        @if let Some(reason) = said(&it, "reasonForIncompletion") { (piece::note(if is_open { "" } else { "bad" }, html! { (cut(reason, 2000)) })) }
        @if let Some(child) = said(&it, "subWorkflowId") { p { "Started the run " (piece::run(child)) } }
        @if !attempts.is_empty() || later.is_some() {
            h3 { "Attempts" }
            ul {
                @for (number, status, reason, when) in &attempts {
                    li { a href=(to(*number)) { (number) } " " (piece::status(status)) " " (cx.clock.maybe(*when))
                        @if let Some(reason) = reason { " · " (cut(reason, 120)) } }
                }
                @if let Some(number) = later { li { a href=(to(number)) { "the next attempt" } } }
            }
        }
        (task_acts(cx, run, &id, sequence, is_open, is_over))
        h3 { "Input" } (piece::payload(&it["inputData"], &json))
        h3 { "Output" } (piece::payload(&it["outputData"], &json))
        p { a href=(json) { "The task as JSON" } " · " a href={ (href(&["runs", run])) "?view=logs&task=" (sequence) } { "Logs" } }
    })
}

fn task_acts(
    cx: &Context<'_>,
    run: &str,
    id: &str,
    sequence: u32,
    is_open: bool,
    is_over: bool,
) -> Markup {
    let need = Permission::Run;
    html! {
        @if cx.may(need) {
            div.acts {
                @if is_open {
                    (piece::preview(cx, need, "complete-task", id, "Complete"))
                    (piece::preview(cx, need, "fail-task", id, "Fail"))
                }
                @if is_over {
                    form.act method="get" action="/console/confirm" {
                        input type="hidden" name="act" value="rerun";
                        input type="hidden" name="id" value=(run);
                        input type="hidden" name="task" value=(id);
                        input type="hidden" name="back" value={ (cx.visit.path()) "?task=" (sequence) };
                        button { "Rerun from here…" }
                    }
                }
            }
        }
    }
}

/// The logs of one task, or of the tasks that were begun last.
pub(super) async fn logs(cx: &Context<'_>, run: &str) -> Result<Markup, Failure> {
    let only = cx.visit.query.get("task").and_then(|it| it.parse::<u32>().ok());
    let look = |state: &Execution| {
        let wanted = |sequence: u32| only.is_none_or(|only| only == sequence);
        let tasks = state.tasks().rev().filter(|task| wanted(task.sequence));
        let tasks =
            tasks.filter(|task| task.poll_count > 0 || task.worker.is_some() || only.is_some());
        tasks
            .take(LOGS_MAX)
            .map(|task| (state.task_id(task.sequence).to_string(), task.reference.clone()))
            .collect::<Vec<_>>()
    };
    let tasks = cx.engine.read(&ExecutionId::new(run), look).await?.unwrap_or_default();
    let mut lines: Vec<(i64, String, String)> = Vec::new();
    for (id, reference) in &tasks {
        let log = cx.get(&format!("/api/tasks/{}/log", encoded(id))).await?;
        for line in log.as_array().into_iter().flatten() {
            let at = line.get("createdTime").and_then(Value::as_i64).unwrap_or(0);
            lines.push((at, reference.to_string(), cut(text(line, "log"), 500)));
        }
    }
    lines.sort();
    let skipped = lines.len().saturating_sub(LINES_MAX);
    Ok(html! {
        @if lines.is_empty() {
            (piece::note("empty", html! { "Nothing yet: no worker has written a log for these tasks. " code { "POST /api/tasks/{id}/log" } }))
        }
        @if skipped > 0 { p.faint { (skipped) " earlier lines are left out." } }
        ol.time {
            @for (at, reference, line) in lines.iter().skip(skipped) {
                li { (cx.clock.when(kernel::Timestamp::from_millis(*at))) code { (reference) } " " (line) }
            }
        }
    })
}
