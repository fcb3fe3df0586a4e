//! A run: why it stands where it stands, before any picture of it; then its views.

use kernel::graph::{Execution, Status};
use kernel::{ExecutionId, MachineKind};
use maud::{Markup, html};
use serde_json::Value;

use super::brief::{self, Brief};
use super::{Page, Shown, audit, data, history, logs, loops, past, steering, task, timeline};
use crate::clock::length;
use crate::shell::Place;
use crate::value::{at, cut, list, said, text};
use crate::visit::{encoded, href};
use crate::{Context, Failure, graph, piece};

/// The views of a run, each with its own address.
const VIEWS: [(&str, &str); 6] = [
    ("graph", "Graph"),
    ("timeline", "Timeline"),
    ("tasks", "Tasks"),
    ("history", "History"),
    ("data", "Data"),
    ("logs", "Logs"),
];

pub(super) async fn show(cx: &Context<'_>, id: &str) -> Shown {
    let brief = brief::of(cx, id).await?;
    let first = if brief.is_code { "history" } else { "graph" };
    let view = cx.visit.query.get("view").unwrap_or(first);
    let is_quarantined = brief.status == "QUARANTINED";
    let shown = match view {
        _ if is_quarantined => crate::shell::cannot_tell(
            "the run is left alone after an internal error, until the server starts again",
        ),
        "timeline" if !brief.is_code => timeline::view(cx, id).await?,
        "tasks" if !brief.is_code => task::list(cx, id).await?,
        "history" | "timeline" | "tasks" | "graph" if brief.is_code => {
            history::of_code(cx, id).await?
        }
        "history" => past::commits(cx, id).await?,
        "data" => data::view(cx, id, brief.is_code).await?,
        "logs" => logs::view(cx, id).await?,
        _ => picture(cx, id).await?,
    };
    let chosen = cx.visit.query.get("task");
    let panel = match chosen {
        Some(task) if !brief.is_code => Some(task::panel(cx, id, task).await?),
        _ => None,
    };
    // Runs are exported when they have ended. Without the link the page says all it says.
    let trace = match brief.ended_at.filter(|_| !brief.is_code && !is_quarantined) {
        Some(_) => cx.engine.trace_url(&ExecutionId::new(id)).await.ok().flatten(),
        None => None,
    };
    let body = html! {
        (why(cx, id, &brief).await?)
        (steering::acts(cx, id, &brief))
        (facts(cx, id, &brief, trace.as_deref()))
        (tabs(id, &brief, view))
        @if let Some(panel) = panel {
            div.two { div { (shown) } div.panel { (panel) } }
        } @else { (shown) }
        (audit::of(cx, id))
    };
    let version = brief.version.map(|version| format!(" · v{version}")).unwrap_or_default();
    let title = format!("{}{version}", brief.name);
    let page = Page::new(Place::Runs, title, body).below("Runs", "/console/runs");
    let json = format!("/api/workflow/{}", encoded(id));
    Ok(page
        .same_as(json, format!("nightbell run why {id}"))
        .with_file(href(&["runs", id, "file"]))
        .on("run")
        .about(id)
        .with_payloads())
}

/// Why it stands where it stands, in sentences.
async fn why(cx: &Context<'_>, id: &str, brief: &Brief) -> Result<Markup, Failure> {
    let is_open = matches!(brief.status.as_str(), "RUNNING" | "PAUSED" | "PENDING" | "SUSPENDED");
    let lasted = length(brief.ended_at.unwrap_or(cx.clock.now).since(brief.created_at).max(0));
    if !is_open {
        let class = match piece::look(&brief.status).0 {
            "bad" => "bad",
            "good" => "good",
            _ => "warn",
        };
        return Ok(piece::note(
            class,
            html! {
                (piece::status(&brief.status)) " after " (lasted)
                @if let Some(reason) = &brief.reason { br; (cut(reason, 1000)) }
            },
        ));
    }
    let why = match cx.get(&format!("/api/workflow/{}/why", encoded(id))).await {
        Ok(why) => why,
        Err(failure) => return Ok(crate::shell::cannot_tell(&failure.message)),
    };
    let waiting = list(&why, "waiting");
    Ok(piece::note(
        "why",
        html! {
            (piece::status(&brief.status)) " for " (lasted)
            @if let Some(reason) = &brief.reason { br; (cut(reason, 1000)) }
            @if waiting.is_empty() { br; "It waits for nothing: its next step is being decided." }
            @for it in waiting.iter().take(WAITING_MAX) { br; (waits_for(cx, it)) }
            @if waiting.len() > WAITING_MAX { br; (waiting.len() - WAITING_MAX) " more tasks wait." }
        },
    ))
}

/// Waiting tasks that are explained at the top.
const WAITING_MAX: usize = 5;

fn waits_for(cx: &Context<'_>, it: &Value) -> Markup {
    let reference = said(it, "reference").or_else(|| said(it, "name"));
    let is_queue =
        matches!(text(it, "code"), "no-worker" | "queued" | "rate-limit" | "concurrency-limit");
    let task = text(it, "taskType");
    html! {
        @if let Some(reference) = reference { code { (reference) } ": " }
        (text(it, "reason"))
        @if let Some(since) = at(it, "since") { " · since " (cx.clock.when(since)) " (" (cx.clock.age(since)) ")" }
        @if let Some(until) = at(it, "until") { " · until " (cx.clock.when(until)) }
        @if is_queue && !task.is_empty() { " · " a href={ "/console/system/queues?q=" (encoded(task)) } { "queue" } }
        @for holder in list(&it["limitedBy"], "holders").iter().take(5) {
            " · held by " (piece::run(holder.as_str().unwrap_or_default()))
        }
    }
}

fn facts(cx: &Context<'_>, id: &str, brief: &Brief, trace: Option<&str>) -> Markup {
    let mut facts = vec![
        ("Definition", definition(cx, &brief.name, brief.is_code)),
        ("Started", cx.clock.when(brief.created_at)),
        ("Ended", cx.clock.maybe(brief.ended_at)),
    ];
    if !brief.is_code {
        facts.push(("Tasks", html! { (brief.tasks) }));
    }
    if let Some(parent) = &brief.parent {
        facts.push(("Started by run", piece::run(parent.as_str())));
    }
    if brief.children > 0 || brief.is_code {
        let query = encoded(&format!("parent:{id}"));
        let words =
            if brief.is_code { "those of this run".to_owned() } else { brief.children.to_string() };
        facts.push(("Sub-workflows", html! { a href={ "/console/runs?q=" (query) } { (words) } }));
    }
    if let Some(label) = &brief.correlation {
        let query = format!("correlation:{label}");
        facts.push((
            "Correlation",
            html! { a href={ "/console/runs?q=" (encoded(&query)) } { (label) } },
        ));
    }
    if let Some(by) = &brief.created_by {
        facts.push(("Created by", html! { (by) }));
    }
    if let Some(trace) = trace {
        facts.push((
            "Trace",
            html! { a href=(trace) rel="noreferrer noopener" { "Show the trace" } },
        ));
    }
    piece::facts(&facts)
}

/// The name of what a run is a run of, which leads to its definition if there is one.
pub(super) fn definition(cx: &Context<'_>, name: &str, is_code: bool) -> Markup {
    let is_kept = !is_code && cx.engine.definitions().workflow(name, None).is_some();
    html! { @if is_kept { (piece::link(&["definitions", "workflow", name], name)) } @else { (name) } }
}

fn tabs(id: &str, brief: &Brief, view: &str) -> Markup {
    let of_code = ["history", "data"];
    let views = VIEWS.iter().filter(|(name, _)| !brief.is_code || of_code.contains(name));
    let page = href(&["runs", id]);
    html! {
        ul.tabs aria-label="Views" {
            @for (name, shown) in views {
                li { a href={ (page) "?view=" (name) } aria-current=[(*name == view).then_some("page")] { (shown) } }
            }
            li { a href={ (page) "/with/last-good" } { "Compare with last good" } }
        }
    }
}

/// The picture of the definition with what became of each node, and its twin as a table.
async fn picture(cx: &Context<'_>, id: &str) -> Result<Markup, Failure> {
    let chosen = cx.visit.query.get("task").and_then(|it| it.parse::<u32>().ok());
    let look = |state: &Execution| {
        let nodes = graph::Standing::of(state);
        let here = chosen.and_then(|sequence| state.task(sequence));
        let here = here.map(|task| state.node_of(task).reference.to_string());
        let loops = loops::of(state, cx.clock.now);
        (graph::of_definition(&state.plan().definition), nodes, here, grafted(state), loops)
    };
    let Some((blocks, nodes, here, grafted, loops)) =
        cx.engine.read(&ExecutionId::new(id), look).await?
    else {
        return Err(Failure::missing("The run was removed meanwhile"));
    };
    let page = href(&["runs", id]);
    let to = |reference: &str| {
        let sequence = nodes.get(reference)?.latest;
        Some(format!("{page}?view=graph&task={sequence}"))
    };
    if cx.visit.query.get("view") == Some("table") {
        return Ok(graph::twin(&blocks, &nodes, &to));
    }
    Ok(html! {
        (graph::svg(&blocks, &nodes, here.as_deref(), &to))
        @if grafted > 0 {
            p.faint { (grafted) " tasks of dynamic forks are counted in the boxes of their forks: " a href={ (page) "?view=tasks" } { "Tasks" } " has each." }
        }
        p { a href={ (page) "?view=table" } { "The same as a table" } }
        (loops::shown(&loops, &page))
    })
}

/// Tasks at places that the definition does not have.
fn grafted(state: &Execution) -> usize {
    let plan = state.plan();
    state.tasks().filter(|task| plan.node_named(&state.node_of(task).reference).is_none()).count()
}

/// The run of the same workflow that last went well, apart from this one.
pub(super) async fn last_good(
    cx: &Context<'_>,
    id: &str,
    name: &str,
) -> Result<Option<String>, Failure> {
    use engine::search::{Counting, Filter, Search, Sort, SortField, TextField, TimeField};
    let search = Search {
        machine: MachineKind::Execution,
        filters: vec![
            Filter::In(TextField::Name, vec![name.to_owned()]),
            Filter::In(TextField::Status, vec![Status::Completed.as_str().to_owned()]),
        ],
        sort: vec![Sort { by: SortField::Time(TimeField::Created), descending: true }],
        size: 2,
        counting: Counting::Next,
        ..Search::default()
    };
    let rows = cx.engine.store().search(&search).await?.rows;
    Ok(rows.into_iter().map(|head| head.id.as_str().to_owned()).find(|other| other != id))
}
