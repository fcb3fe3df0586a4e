//! Two runs beside each other: what differs from when it worked?

use std::collections::BTreeMap;

use kernel::ExecutionId;
use kernel::graph::Execution;
use maud::{Markup, html};

use super::brief::{self, Brief};
use super::{Page, Shown, difference, run};
use crate::clock::length;
use crate::shell::Place;
use crate::value::cut;
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

/// Places that are compared.
const ROWS_MAX: usize = 200;
/// Bytes of the data of a place that are compared.
const DATA_MAX: usize = 16 * 1024;

/// What became of one place of a run: its last attempt.
#[derive(Clone, Debug)]
struct Last {
    status: &'static str,
    took: i64,
    attempts: u32,
}

pub(super) async fn show(cx: &Context<'_>, id: &str, other: &str) -> Shown {
    let one = brief::of(cx, id).await?;
    let other = match other {
        "last-good" => run::last_good(cx, id, &one.name).await?.ok_or_else(|| {
            Failure::missing(format!("No other run of {} is kept that went well", one.name))
                .with_hint("Runs are kept for a while only: see the setting `retention_age`.")
        })?,
        other => other.to_owned(),
    };
    let two = brief::of(cx, &other).await?;
    let (left, right) = (places(cx, id).await?, places(cx, &other).await?);
    let mut names: Vec<&String> = left.1.iter().collect();
    names.extend(right.1.iter().filter(|name| !left.0.contains_key(*name)));
    let here = href(&["runs", id, "with", &other]);
    let rows: Vec<Markup> = names
        .iter()
        .take(ROWS_MAX)
        .map(|name| {
            let (one, two) = (left.0.get(*name), right.0.get(*name));
            let differs = one.map(|it| it.status) != two.map(|it| it.status);
            html! {
                tr {
                    td { (name) @if differs { " " strong { "differs" } } }
                    (cells(one)) (cells(two))
                    td.n { @if let (Some(one), Some(two)) = (one, two) { (apart(one.took, two.took)) } }
                    td { @if one.is_some() || two.is_some() { a href={ (here) "?place=" (encoded(name)) "#data" } { "data" } } }
                }
            }
        })
        .collect();
    let body = html! {
        p { (piece::run(id)) " " (piece::status(&one.status)) " beside " (piece::run(&other)) " " (piece::status(&two.status)) }
        @if rows.is_empty() { (piece::note("empty", html! { "Neither has tasks that can be compared." })) }
        @else { (piece::table("Places", &["Place", "This", "Took", "That", "Took", "Difference", "Data"], &rows)) }
        (times(cx, &one, &two))
        (match cx.visit.query.get("place") {
            Some(place) => of_place(cx, place, id, &other).await?,
            None => data(cx, id, &other).await,
        })
    };
    let title = format!("{}: two runs", one.name);
    let page = Page::new(Place::Runs, title, body).below("Run", href(&["runs", id]));
    Ok(page.same_as(format!("/api/workflow/{}", encoded(id)), "").with_payloads())
}

/// How much longer one took than the other.
fn apart(one: i64, other: i64) -> String {
    match one - other {
        0 => "same".to_owned(),
        more @ 1.. => format!("+{}", length(more)),
        less => format!("−{}", length(-less)),
    }
}

/// When both began and how long they took.
fn times(cx: &Context<'_>, one: &Brief, two: &Brief) -> Markup {
    let took = |run: &Brief| run.ended_at.unwrap_or(cx.clock.now).since(run.created_at).max(0);
    let row = |name: &str, run: &Brief| {
        html! {
            tr { th scope="row" { (name) } td.t { (cx.clock.when(run.created_at)) } td.t { (cx.clock.maybe(run.ended_at)) } td.n { (length(took(run))) } }
        }
    };
    let rows = [row("This", one), row("That", two)];
    html! {
        (piece::table("Times", &["Run", "Started", "Ended", "Took"], &rows))
        p { "Difference: " (apart(took(one), took(two))) }
    }
}

/// What differs in the data of one place: the input and output of the last attempt there.
async fn of_place(cx: &Context<'_>, place: &str, id: &str, other: &str) -> Result<Markup, Failure> {
    let (one, two) = (last_at(cx, place, id).await?, last_at(cx, place, other).await?);
    let (one, two) = (one.unwrap_or_default(), two.unwrap_or_default());
    Ok(html! {
        section #data {
            p { a href=(href(&["runs", id, "with", other])) { "Data of the runs" } }
            @for (title, (after, before)) in ["Input", "Output"].iter().zip(one.iter().zip(&two)) {
                h2 { (title) " of " code { (cut(place, 60)) } ": − that, + this" }
                @match difference::between(before, after).filter(|_| before.len().max(after.len()) <= DATA_MAX) {
                    Some(lines) => { (difference::shown(&lines)) }
                    None => { (crate::shell::cannot_tell("they are too long to compare here")) }
                }
            }
        }
    })
}

/// Input and output of the last attempt at a place.
async fn last_at(cx: &Context<'_>, place: &str, id: &str) -> Result<Option<[String; 2]>, Failure> {
    let look = |state: &Execution| {
        let task = state.tasks().rev().find(|task| *state.node_of(task).reference == *place)?;
        let shown = |json: kernel::Json| text(&json.parse());
        Some([shown(state.shown(&task.input)), shown(state.shown(&state.output_of(task)))])
    };
    Ok(cx.engine.read(&ExecutionId::new(id), look).await?.flatten())
}

fn cells(last: Option<&Last>) -> Markup {
    html! {
        @match last {
            Some(it) => {
                td { (piece::status(it.status)) @if it.attempts > 1 { " after " (it.attempts) " attempts" } }
                td.n { (length(it.took)) }
            }
            None => { td { span.faint { "not reached" } } td {} }
        }
    }
}

/// The last attempt at each place, and the places in the order in which they were reached.
async fn places(
    cx: &Context<'_>,
    id: &str,
) -> Result<(BTreeMap<String, Last>, Vec<String>), Failure> {
    let now = cx.clock.now;
    let look = |state: &Execution| {
        let (mut places, mut order) = (BTreeMap::new(), Vec::new());
        for task in state.tasks() {
            let name = state.node_of(task).reference.to_string();
            if !places.contains_key(&name) {
                order.push(name.clone());
            }
            let began = task.started_at.unwrap_or(task.scheduled_at);
            let took = task.ended_at.unwrap_or(now).since(began).max(0);
            places.insert(
                name,
                Last { status: task.status.as_str(), took, attempts: task.attempt + 1 },
            );
        }
        (places, order)
    };
    Ok(cx.engine.read(&ExecutionId::new(id), look).await?.unwrap_or_default())
}

/// What differs in their inputs and outputs.
async fn data(cx: &Context<'_>, id: &str, other: &str) -> Markup {
    let read =
        async |id: &str| cx.get(&format!("/api/workflow/{}?includeTasks=false", encoded(id))).await;
    let (Ok(one), Ok(two)) = (read(id).await, read(other).await) else {
        return crate::shell::cannot_tell("inputs and outputs cannot be read");
    };
    html! {
        @for (title, name) in [("Input", "input"), ("Output", "output")] {
            section {
                h2 { (title) ": − that, + this" }
                @let (before, after) = (text(&two[name]), text(&one[name]));
                @match difference::between(&before, &after) {
                    Some(lines) => { (difference::shown(&lines)) }
                    None => { (crate::shell::cannot_tell("they are too long to compare here")) }
                }
            }
        }
    }
}

/// Lines of a payload, none longer than a screen.
fn text(value: &serde_json::Value) -> String {
    let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
    pretty.lines().map(|line| cut(line, 200)).collect::<Vec<_>>().join("\n")
}
