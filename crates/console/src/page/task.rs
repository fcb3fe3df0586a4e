//! Tasks of a run: a window of them, and one beside the picture.

use std::sync::Arc;

use kernel::access::Permission;
use kernel::graph::{Execution, Retry, Task, Timeout};
use kernel::{ExecutionId, Json, Timestamp};
use maud::{Markup, html};
use serde_json::Value;

use super::ended::is_bad;
use super::{difference, payload};
use crate::clock::length;
use crate::value::{at, count, cut, said, text};
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

/// Tasks in a window.
const WINDOW: usize = 100;
/// Bytes of a payload that is compared with the one of the attempt before.
const COMPARED_MAX: usize = 16 * 1024;

/// Which tasks, and in which order.
const ORDERS: [(&str, &str); 4] =
    [("", "all"), ("failed", "failed"), ("running", "running"), ("slowest", "slowest first")];

/// How long it has run, or waited if it has not begun.
fn took(task: &Task, now: Timestamp) -> i64 {
    let began = task.started_at.unwrap_or(task.scheduled_at);
    task.ended_at.unwrap_or(now).since(began).max(0)
}

/// A window of the tasks: all, or some of them.
pub(super) async fn list(cx: &Context<'_>, id: &str) -> Result<Markup, Failure> {
    let asked = &cx.visit.query;
    let start: usize = asked.get("start").and_then(|it| it.parse().ok()).unwrap_or(0);
    let only = asked.get("only").unwrap_or_default();
    let now = cx.clock.now;
    let look = |state: &Execution| {
        let is_kept = |task: &&Task| match only {
            "failed" => is_bad(task),
            "running" => !task.status.is_closed(),
            _ => true,
        };
        let mut kept: Vec<_> = state.tasks().filter(is_kept).collect();
        if only == "slowest" {
            kept.sort_by_key(|task| std::cmp::Reverse(took(task, now)));
        }
        let all = kept.len();
        let rows: Vec<Markup> = kept
            .into_iter()
            .skip(start)
            .take(WINDOW)
            .map(|task| {
                let to = format!("{}?view=tasks&task={}&start={start}&only={}", href(&["runs", id]), task.sequence, encoded(only));
                html! {
                    tr {
                        td.n { (task.sequence) }
                        td { a href=(to) { (task.reference) } @if task.attempt > 0 { " " span.faint { "retry " (task.attempt) } } }
                        td { (task.task_type) }
                        td { (piece::status(task.status.as_str())) @if task.retried { " " span.faint { "retried" } } }
                        td { @if let Some(reason) = &task.reason { (cut(reason, 120)) }
                            @if let Some(child) = &task.child { " " (piece::run(child.as_str())) } }
                        td.t { (cx.clock.when(task.scheduled_at)) }
                        td.n { (length(took(task, now))) }
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
            @for (word, shown) in ORDERS {
                li { a href=(cx.visit.path().to_owned() + &asked.with(&[("only", word), ("start", "")])) aria-current=[(only == word).then_some("true")] { (shown) } }
            }
        }
        p.faint { (all) " tasks" @if all > WINDOW { ", " (start + 1) " to " ((start + WINDOW).min(all)) " here" } }
        @if rows.is_empty() { (piece::note("empty", html! { "No task" @match only { "failed" => " has failed.", "running" => " is open.", _ => " was scheduled yet." } })) }
        @else { (piece::table("Tasks", &heads, &rows)) }
        (piece::more(next.as_deref()))
    })
}

/// One task: attempts, input, output, worker, and what can be done with it.
pub(super) async fn panel(cx: &Context<'_>, run: &str, number: &str) -> Result<Markup, Failure> {
    let sequence: u32 = number
        .parse()
        .map_err(|_| Failure::missing(format!("There is no task {}", cut(number, 20))))?;
    let look = |state: &Execution| Around::of(state, sequence, cx.clock.now);
    let found = cx.engine.read(&ExecutionId::new(run), look).await?.flatten();
    let Some(around) = found else {
        return Err(Failure::missing(format!("There is no task {sequence} in this run")));
    };
    let id = around.id.clone();
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
    let part = cx
        .visit
        .query
        .get("path")
        .filter(|it| it.starts_with("/inputData") || it.starts_with("/outputData"));
    let part_of =
        |pointer: &str| format!("{}{}", cx.visit.path(), cx.visit.query.with(&[("path", pointer)]));
    Ok(html! {
        h2 { (text(&it, "referenceTaskName")) " · attempt " (count(&it, "retryCount") + 1) }
        (facts)
        @if let Some(reason) = said(&it, "reasonForIncompletion") { (piece::note(if is_open { "" } else { "bad" }, html! { (cut(reason, 2000)) })) }
        @if let Some(child) = said(&it, "subWorkflowId") { p { "Started the run " (piece::run(child)) } }
        @if !around.attempts.is_empty() || around.later.is_some() {
            h3 { "Attempts" }
            ul {
                @for it in &around.attempts {
                    li { a href=(to(it.sequence)) { (it.sequence) } " " (piece::status(it.status)) " " (cx.clock.maybe(it.ended_at))
                        @if let Some(reason) = &it.reason { " · " (cut(reason, 120)) } }
                }
                @if let Some(number) = around.later { li { a href=(to(number)) { "the next attempt" } } }
            }
        }
        (ahead(cx, &around))
        (task_acts(cx, run, sequence, is_open, &around))
        (cited(cx, run, &around.workflow).await)
        @if let Some(pointer) = part {
            @match it.pointer(pointer) {
                Some(value) => { (payload::trail(pointer, &part_of)) (payload::shown(value, pointer, &part_of, &json)) }
                None => (crate::shell::cannot_tell("the task has no such part")),
            }
        } @else {
            h3 { "Input" } (payload::shown(&it["inputData"], "/inputData", &part_of, &json))
            h3 { "Output" } (payload::shown(&it["outputData"], "/outputData", &part_of, &json))
        }
        @for (what, before, after) in &around.changed {
            h3 { (what) ": − the attempt before, + this" }
            @match difference::between(before, after).filter(|_| before.len().max(after.len()) <= COMPARED_MAX) {
                Some(lines) => (difference::shown(&lines)),
                None => (crate::shell::cannot_tell("they are too long to compare here")),
            }
        }
        p { a href=(json) { "The task as JSON" } " · " a href={ (href(&["runs", run])) "?view=logs&task=" (sequence) } { "Logs" } }
    })
}

fn task_acts(cx: &Context<'_>, run: &str, sequence: u32, is_open: bool, around: &Around) -> Markup {
    let need = Permission::Run;
    let id = &around.id;
    html! {
        @if cx.may(need) {
            div.acts {
                @if is_open {
                    (piece::preview(cx, need, "complete-task", id, "Complete"))
                    (piece::preview(cx, need, "fail-task", id, "Fail"))
                }
                @if around.is_over && around.can_retry { (piece::act(cx, need, "retry", run, "Retry what failed")) }
                @if around.is_over {
                    form.act method="get" action="/console/confirm" {
                        input type="hidden" name="act" value="rerun";
                        input type="hidden" name="id" value=(run);
                        input type="hidden" name="task" value=(id);
                        input type="hidden" name="back" value={ (cx.visit.path()) "?task=" (sequence) };
                        button { "Rerun here…" }
                    }
                }
            }
        }
    }
}

/// An attempt before the one that is looked at.
struct Attempt {
    sequence: u32,
    status: &'static str,
    reason: Option<Arc<str>>,
    ended_at: Option<Timestamp>,
}

/// What of a run stands around one of its tasks.
struct Around {
    id: String,
    /// The name of the definition of the run.
    workflow: String,
    /// Attempts before it, the last first.
    attempts: Vec<Attempt>,
    /// The attempt after it.
    later: Option<u32>,
    /// Whether the run has ended.
    is_over: bool,
    /// Whether it is tried again when the run is.
    can_retry: bool,
    /// What differs from the attempt before: its name, the text there and here.
    changed: Vec<(&'static str, String, String)>,
    /// Retries that are left, and when they begin at the earliest.
    retries: Vec<Retry>,
    /// When it gives up.
    deadlines: Vec<(Timeout, Timestamp)>,
    /// When something happens by itself.
    begins: Option<Timestamp>,
}

impl Around {
    fn of(state: &Execution, sequence: u32, now: Timestamp) -> Option<Self> {
        let task = state.task(sequence)?;
        let mut attempts = Vec::new();
        let mut earlier = task.retries;
        while let Some(before) = earlier.and_then(|it| state.task(it)) {
            attempts.push(Attempt {
                sequence: before.sequence,
                status: before.status.as_str(),
                reason: before.reason.clone(),
                ended_at: before.ended_at,
            });
            earlier = before.retries;
        }
        let mut changed = Vec::new();
        if let Some(before) = task.retries.and_then(|it| state.task(it)) {
            let input = |task: &Task| lines_of(&state.shown(&task.input));
            let output = |task: &Task| lines_of(&state.shown(&state.output_of(task)));
            changed.push(("Input", input(before), input(task)));
            changed.push(("Output", output(before), output(task)));
            changed.retain(|(_, before, after)| before != after);
        }
        let begins = task.scheduled_at.plus_millis(task.delay);
        Some(Self {
            id: state.task_id(sequence).to_string(),
            workflow: state.plan().definition.name.clone(),
            attempts,
            later: state.tasks().find(|it| it.retries == Some(sequence)).map(|it| it.sequence),
            is_over: state.status.is_closed(),
            can_retry: is_bad(task) && !task.retried,
            changed,
            retries: state.retries_ahead(task, now),
            deadlines: state.deadlines(task),
            begins: Some(begins).filter(|at| *at > now && !task.status.is_closed()),
        })
    }
}

/// A payload as lines that can be compared.
fn lines_of(payload: &Json) -> String {
    let pretty = serde_json::to_string_pretty(&payload.parse()).unwrap_or_default();
    pretty.lines().map(|line| cut(line, 160)).collect::<Vec<_>>().join("\n")
}

/// What lies ahead of an open task by the clock.
fn ahead(cx: &Context<'_>, around: &Around) -> Markup {
    let limit = |timeout: Timeout| match timeout {
        Timeout::Total => "all attempts together have taken too long (totalTimeoutSeconds)",
        Timeout::Attempt => "this attempt has taken too long (timeoutSeconds)",
        Timeout::Poll => "no worker has taken it (pollTimeoutSeconds)",
        Timeout::Response => "its worker has fallen silent (responseTimeoutSeconds)",
    };
    html! {
        @if around.begins.is_some() || !around.deadlines.is_empty() || !around.retries.is_empty() {
            h3 { "By the clock" }
            ul {
                @if let Some(at) = around.begins { li { (cx.clock.when(at)) " it begins (" (cx.clock.ago(at)) ")" } }
                @for (timeout, at) in &around.deadlines { li { (cx.clock.when(*at)) " " (limit(*timeout)) } }
                @for retry in &around.retries {
                    li { (cx.clock.when(retry.at)) " at the earliest: retry " (retry.number) ", if what is before it fails at once" }
                }
            }
        }
    }
}

/// Incidents of the monitor whose check a run is, with the run as their evidence.
async fn cited(cx: &Context<'_>, run: &str, workflow: &str) -> Markup {
    let Some(monitor) = workflow.strip_prefix("check:") else { return html! {} };
    let path = format!("/api/incidents?state=all&size=50&monitor={}", encoded(monitor));
    let found = match cx.get(&path).await {
        Ok(found) => found,
        Err(failure) => return crate::shell::cannot_tell(&failure.message),
    };
    let cites = |incident: &&Value| {
        let evidence = &incident["evidence"];
        ["first", "latest"].iter().any(|which| text(&evidence[*which], "execution") == run)
    };
    let citing: Vec<&Value> = crate::value::list(&found, "results").iter().filter(cites).collect();
    html! {
        @if !citing.is_empty() {
            h3 { "Incidents that cite this run" }
            ul { @for it in citing { li { (piece::status(text(it, "state"))) " " (piece::link(&["incidents", text(it, "id")], text(it, "id"))) } } }
        }
    }
}
