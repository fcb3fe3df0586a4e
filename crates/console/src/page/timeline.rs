//! When each task waited, ran and ended: one bar per task, or per name where there are many.

use std::collections::BTreeMap;

use kernel::graph::Execution;
use kernel::{ExecutionId, Timestamp};
use maud::{Markup, html};

use super::ended::is_bad;
use crate::clock::length;
use crate::{Context, Failure, piece};

/// Above so many tasks, those of one reference share a row.
const ROWS_MAX: usize = 200;
const WIDTH: i64 = 600;
const ROW: i64 = 22;

/// What one bar stands for.
#[derive(Clone, Debug)]
struct Bar {
    queued: Timestamp,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    is_bad: bool,
}

pub(super) async fn view(cx: &Context<'_>, id: &str) -> Result<Markup, Failure> {
    let now = cx.clock.now;
    let look = |state: &Execution| {
        let all = state.task_count();
        let mut rows: Vec<(String, Vec<Bar>)> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for task in state.tasks() {
            let bar = Bar {
                queued: task.scheduled_at,
                started: task.started_at,
                ended: task.ended_at,
                is_bad: is_bad(task),
            };
            let name = state.node_of(task).reference.to_string();
            if all <= ROWS_MAX {
                rows.push((task.reference.to_string(), vec![bar]));
                continue;
            }
            let place = *places.entry(name.clone()).or_insert_with(|| {
                rows.push((name, Vec::new()));
                rows.len() - 1
            });
            rows[place].1.push(bar);
        }
        (state.created_at, state.ended_at.unwrap_or(now), all, rows)
    };
    let Some((from, to, all, rows)) = cx.engine.read(&ExecutionId::new(id), look).await? else {
        return Err(Failure::missing("The run was removed meanwhile"));
    };
    if rows.is_empty() {
        return Ok(piece::note("empty", html! { "No task was scheduled yet." }));
    }
    let span = to.since(from).max(1);
    let x = |at: Timestamp| {
        (i128::from(at.since(from).clamp(0, span)) * i128::from(WIDTH) / i128::from(span)) as i64
    };
    let most = (BARS_IN_ALL / rows.len().min(ROWS_MAX)).clamp(1, BARS_MAX);
    let lines: Vec<Markup> = rows
        .iter()
        .take(ROWS_MAX)
        .map(|(name, bars)| html! {
            tr {
                th scope="row" { (name) @if bars.len() > 1 { " " span.faint { "×" (bars.len()) } } }
                td { (strip(bars, most, to, &x)) }
                td.n { (length(bars.iter().map(|bar| took(bar, to)).max().unwrap_or(0))) }
            }
        })
        .collect();
    Ok(html! {
        p.faint { "From " (cx.clock.when(from)) " to " (cx.clock.when(to)) ", " (length(span)) ". Outlined: waited; filled: ran; red: failed."
            @if all > ROWS_MAX { " Tasks of one name share a row; the longest is timed." } }
        (piece::table("Timeline", &["Task", "When", "Took"], &lines))
    })
}

fn took(bar: &Bar, now: Timestamp) -> i64 {
    bar.ended.unwrap_or(now).since(bar.started.unwrap_or(bar.queued)).max(0)
}

/// Bars of a row, and of all rows together; further ones would lie on each other.
const BARS_MAX: usize = 60;
const BARS_IN_ALL: usize = 600;

fn strip(bars: &[Bar], most: usize, now: Timestamp, x: &impl Fn(Timestamp) -> i64) -> Markup {
    let failed = bars.iter().filter(|bar| bar.is_bad);
    // What failed is never left out.
    let shown = failed.chain(bars.iter().filter(|bar| !bar.is_bad)).take(most);
    html! {
        svg.strip viewBox={ "0 0 " (WIDTH) " " (ROW) } preserveAspectRatio="none" role="img" aria-label={ (bars.len()) " bars" } {
            @for bar in shown {
                @let (queued, ended) = (x(bar.queued), x(bar.ended.unwrap_or(now)));
                @let started = bar.started.map_or(ended, x);
                @if started > queued {
                    rect.queued x=(queued) y="7" width=((started - queued).max(2)) height="8" {}
                }
                @if bar.started.is_some() || bar.ended.is_some() {
                    @let class = if bar.is_bad { "no" } else if bar.ended.is_some() { "ok" } else { "run" };
                    rect class=(class) x=(started) y="4" width=((ended - started).max(2)) height="14" {}
                }
            }
        }
    }
}
