//! A run as it stood after one of its commits, with what it waited for then; and the list of its
//! commits.

use std::collections::BTreeMap;

use engine::{Past, PastCommit, PastFact};
use kernel::ExecutionId;
use kernel::graph::Execution;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown, payload, timeline};
use crate::shell::Place;
use crate::value::{count, cut, list};
use crate::visit::{encoded, href};
use crate::{Context, Failure, graph, piece};

/// Commits of a page.
const WINDOW: u64 = 100;
/// Tasks that are listed.
const TASKS_MAX: usize = 150;
/// Facts of a commit that are told.
const FACTS_MAX: usize = 6;

async fn past(cx: &Context<'_>, id: &str) -> Result<Past, Failure> {
    let past = cx.engine.past(&ExecutionId::new(id)).await?;
    past.ok_or_else(|| Failure::missing("The run was removed meanwhile"))
}

/// The commits of a run, by number.
pub(super) async fn commits(cx: &Context<'_>, id: &str) -> Result<Markup, Failure> {
    let past = past(cx, id).await?;
    let asked = cx.visit.query.get("from").and_then(|it| it.parse().ok());
    let from: u64 = asked.unwrap_or(past.first).clamp(past.first, past.last.max(past.first));
    let commits = past.commits(from, WINDOW as usize)?;
    let look = |state: &Execution| {
        state.tasks().map(|it| (it.sequence, it.reference.to_string())).collect::<BTreeMap<_, _>>()
    };
    let names = cx.engine.read(&ExecutionId::new(id), look).await?.unwrap_or_default();
    let page = href(&["runs", id]);
    let to = |from: u64| format!("{page}{}", cx.visit.query.with(&[("from", &from.to_string())]));
    let next = from + WINDOW;
    Ok(html! {
        p.faint {
            (past.last) " commits"
            @if past.first > 1 { ", of which the first " (past.first - 1) " are kept as one" }
            ". Each leads to the run as it stood then."
        }
        @if from > past.first { p { a rel="prev" href=(to(from.saturating_sub(WINDOW).max(past.first))) { "‹ Earlier" } } }
        ol.time {
            @for commit in &commits { (line(cx, &page, commit, &names)) }
        }
        (piece::more((next <= past.last).then(|| to(next)).as_deref()))
    })
}

fn line(
    cx: &Context<'_>,
    page: &str,
    commit: &PastCommit,
    names: &BTreeMap<u32, String>,
) -> Markup {
    let (told, rest) = commit.facts.split_at(commit.facts.len().min(FACTS_MAX));
    html! {
        li {
            (cx.clock.maybe(commit.at)) " "
            a href={ (page) "?at=" (commit.version) } { "commit " (commit.version) } " · "
            @for (at, fact) in told.iter().enumerate() { @if at > 0 { ", " } (words(fact, names)) }
            @if !rest.is_empty() { " and " (rest.len()) " more" }
        }
    }
}

/// A fact in words.
fn words(fact: &PastFact, names: &BTreeMap<u32, String>) -> String {
    let what = match fact.kind.as_str() {
        "started" => "the run began",
        "branched" => "the run began as a fork",
        "snapshot" => "all before in one",
        "scheduled" => "a task was scheduled",
        "claimed" => "was taken",
        "begun" => "began",
        "progressed" => "reported",
        "closed" => "ended",
        "iterated" => "began an iteration",
        "child_started" => "its run began",
        "reopened" => "is open again",
        "rewound" => "was set back",
        "paused" => "the run was paused",
        "resumed" => "the run was resumed",
        "revived" => "the run goes on",
        "ended" => "the run ended",
        "upgraded" => "the run obeys another version",
        other => return other.replace('_', " "),
    };
    match fact.sequence {
        None => what.to_owned(),
        Some(sequence) => match names.get(&sequence) {
            Some(name) => format!("{} {}", cut(name, 60), what.trim_start_matches("a task ")),
            None => format!("task {sequence} {}", what.trim_start_matches("a task ")),
        },
    }
}

/// A run as it stood after a commit.
pub(super) async fn show(cx: &Context<'_>, id: &str, at: &str) -> Shown {
    let past = past(cx, id).await?;
    let (first, last) = (past.first, past.last);
    let none = || {
        Failure::missing(format!("There is no commit {} of this run", cut(at, 20)))
            .with_hint(format!("Commits {first} to {last} are kept."))
    };
    let version: u64 = at.parse().map_err(|_| none())?;
    let state = cx.engine.state_at(&past, version).await?.ok_or_else(none)?;
    let state = state.execution().filter(|it| it.is_started()).ok_or_else(none)?;
    let commit = past.commits(version, 1)?;
    let names: BTreeMap<u32, String> =
        state.tasks().map(|it| (it.sequence, it.reference.to_string())).collect();
    let then = state.updated_at;
    let waiting = state.waiting(then);
    let page = href(&["runs", id]);
    let asked = &cx.visit.query;
    let view = asked.get("view").unwrap_or("graph");
    let to = |version: u64| format!("{page}{}", asked.with(&[("at", &version.to_string())]));
    let json = format!("/api/workflow/{}/at/{version}", encoded(id));
    // Payloads come from the API, which masks what is kept from readers.
    let chosen = asked.get("task");
    let workflow = match (chosen, view) {
        (Some(_), _) => cx.get(&json).await?["workflow"].take(),
        (None, "data") => cx.get(&format!("{json}?includeTasks=false")).await?["workflow"].take(),
        (None, _) => Value::Null,
    };
    let shown = match view {
        "timeline" => piece::part("The timeline then", timeline::then(cx, state, then)),
        "tasks" => piece::part("Tasks then", tasks(cx, state)),
        "data" => data(cx, &workflow, &json),
        _ => picture(cx, state),
    };
    let panel = chosen.map(|task| panel(cx, state, task, &workflow, &json)).transpose()?;
    let body = html! {
        (piece::note("warn", html! {
            "This is the past: the run as it stood after commit " (version) " of " (last) ", " (cx.clock.when(then)) ". "
            a href={ (page) (asked.with(&[("at", "")])) } { "As it stands now" }
        }))
        nav.acts aria-label="Commits" {
            @if version > first { a.button href=(to(first)) { "« " (first) } a.button rel="prev" href=(to(version - 1)) { "‹ " (version - 1) } }
            @if version < last { a.button rel="next" href=(to(version + 1)) { (version + 1) " ›" } a.button href=(to(last)) { (last) " »" } }
            a.button href={ (page) "?view=history&from=" (version) } { "All commits" }
        }
        (piece::note("why", html! {
            (piece::status(state.status.as_str()))
            @if let Some(reason) = &state.reason { br; (cut(reason, 1000)) }
            @for it in waiting.iter().take(5) { br; code { (it.reference) } ": " (it.reason) }
            @if waiting.len() > 5 { br; (waiting.len() - 5) " more tasks waited." }
        }))
        @for commit in &commit {
            (piece::part("What this commit did", html! {
                ul { @for fact in commit.facts.iter().take(50) { li { (words(fact, &names)) } } }
            }))
        }
        ul.tabs aria-label="Views" {
            @for (name, title) in VIEWS {
                li { a href={ (page) (asked.with(&[("view", name)])) } aria-current=[(name == view).then_some("page")] { (title) } }
            }
        }
        @if let Some(panel) = panel {
            div.two { div { (shown) } div.panel { (panel) } }
        } @else { (shown) }
    };
    let title = format!("{} at commit {version}", state.plan().definition.name);
    let shown = Page::new(Place::Runs, title, body).below("Run", page);
    Ok(shown.same_as(json, format!("nightbell run at {id} {version}")).with_payloads())
}

/// The views of a run that its past has, too; the others tell of all of it in any case.
const VIEWS: [(&str, &str); 4] =
    [("graph", "Graph"), ("timeline", "Timeline"), ("tasks", "Tasks"), ("data", "Data")];

/// The address of a task as it stood then, in the same view.
fn to_task(cx: &Context<'_>, sequence: u32) -> String {
    format!("{}{}", cx.visit.path(), cx.visit.query.with(&[("task", &sequence.to_string())]))
}

fn picture(cx: &Context<'_>, state: &Execution) -> Markup {
    let nodes = graph::Standing::of(state);
    let blocks = graph::of_definition(&state.plan().definition);
    let chosen = cx.visit.query.get("task").and_then(|it| it.parse().ok());
    let chosen = chosen.and_then(|sequence| state.task(sequence));
    let here = chosen.map(|task| state.node_of(task).reference.to_string());
    let to = |reference: &str| Some(to_task(cx, nodes.get(reference)?.latest));
    piece::part("The graph then", graph::svg(&blocks, &nodes, here.as_deref(), &to))
}

/// What the run had then: what went in, what it kept, what came out.
fn data(cx: &Context<'_>, workflow: &Value, json: &str) -> Markup {
    let parts = [("Input", "input"), ("Output", "output"), ("Variables", "variables")];
    html! { @for (title, name) in parts { (piece::part(title, document(cx, &workflow[name], name, json))) } }
}

/// A task as it stood then.
fn panel(
    cx: &Context<'_>,
    state: &Execution,
    task: &str,
    workflow: &Value,
    json: &str,
) -> Result<Markup, Failure> {
    let found = task.parse().ok().and_then(|sequence| state.task(sequence));
    let task = found.ok_or_else(|| {
        Failure::missing(format!("There was no task {} at this commit", cut(task, 20))).with_hint(
            "A later commit scheduled it: go forward, or leave out task= of the address.",
        )
    })?;
    let mut told = list(workflow, "tasks").iter();
    let told = told.rfind(|it| count(it, "seq") == u64::from(task.sequence));
    let payload = |name: &str| told.map_or(&Value::Null, |told| &told[name]);
    Ok(html! {
        h2 { (task.reference) @if task.attempt > 0 { " retry " (task.attempt) } }
        p { (piece::status(task.status.as_str())) @if let Some(reason) = &task.reason { " " (cut(reason, 500)) } }
        (piece::facts(&[
            ("Scheduled", cx.clock.when(task.scheduled_at)),
            ("Began", cx.clock.maybe(task.started_at)),
            ("Ended", cx.clock.maybe(task.ended_at)),
        ]))
        h3 { "Input" }
        (document(cx, payload("inputData"), "task-input", json))
        h3 { "Output" }
        (document(cx, payload("outputData"), "task-output", json))
    })
}

/// A payload of the past; of a long one its parts, by `name` and pointer in the address.
fn document(cx: &Context<'_>, value: &Value, name: &str, json: &str) -> Markup {
    let is_empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
    let asked = &cx.visit.query;
    let to = |pointer: &str| {
        format!("{}{}", cx.visit.path(), asked.with(&[("part", name), ("path", pointer)]))
    };
    let pointer = asked.get("path").filter(|_| asked.get("part") == Some(name)).unwrap_or("");
    html! {
        @if is_empty { p.faint { "Nothing." } }
        @else if let Some(part) = value.pointer(pointer) { (payload::shown(part, pointer, &to, json)) }
        @else { (crate::shell::cannot_tell("it had no such part then")) }
    }
}

fn tasks(cx: &Context<'_>, state: &Execution) -> Markup {
    let all = state.task_count();
    let rows: Vec<Markup> = state
        .tasks()
        .take(TASKS_MAX)
        .map(|task| {
            html! { tr {
                td { (piece::status(task.status.as_str())) }
                td { a href=(to_task(cx, task.sequence)) { code { (task.reference) } } @if task.attempt > 0 { " retry " (task.attempt) } }
                td.t { (cx.clock.when(task.scheduled_at)) }
                td.t { (cx.clock.maybe(task.started_at)) }
                td.t { (cx.clock.maybe(task.ended_at)) }
                td { @if let Some(reason) = &task.reason { (cut(reason, 160)) } }
            } }
        })
        .collect();
    html! {
        @if rows.is_empty() { p.faint { "No task was scheduled yet." } }
        @else { (piece::table("Tasks", &["Status", "Task", "Scheduled", "Began", "Ended", "Reason"], &rows)) }
        @if all > TASKS_MAX { p.faint { "The first " (TASKS_MAX) " of " (all) "." } }
    }
}
