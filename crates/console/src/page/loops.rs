//! The loops of a run: how their iterations went, as a strip and in counts, the worst first.

use std::collections::BTreeMap;

use kernel::Timestamp;
use kernel::graph::Execution;
use maud::{Markup, html};

use super::ended::is_bad;
use crate::clock::length;
use crate::piece;
use crate::value::cut;

/// Loops of a page.
const LOOPS_MAX: usize = 10;
/// Columns of a strip; above so many iterations a column is a range of them.
const COLUMNS: usize = 120;
/// Iterations that are named for each reason.
const NAMED_MAX: usize = 3;

/// How tasks stand, the worst last: so a column has its worst color.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Color {
    #[default]
    Good,
    Busy,
    Bad,
}

impl Color {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Good, "ok"), (Self::Busy, "run"), (Self::Bad, "no")];
}

/// One iteration, by its tasks.
#[derive(Clone, Debug)]
struct Iteration {
    /// Its number, after those of the loops around.
    path: Vec<u32>,
    color: Color,
    tasks: usize,
    from: Timestamp,
    to: Timestamp,
    /// The task to look at: the last that failed, else the last.
    task: u32,
}

impl Iteration {
    fn took(&self) -> i64 {
        self.to.since(self.from).max(0)
    }
}

/// A loop with its iterations that are kept.
#[derive(Clone, Debug)]
pub(super) struct Loop {
    reference: String,
    iterations: Vec<Iteration>,
}

/// The loops that have begun.
pub(super) fn of(state: &Execution, now: Timestamp) -> Vec<Loop> {
    // In the order of their paths, in which they mostly come.
    let mut loops: BTreeMap<&str, Vec<Iteration>> = BTreeMap::new();
    for task in state.tasks().filter(|task| !task.path.is_empty()) {
        let color = if is_bad(task) && !task.retried {
            Color::Bad
        } else if task.status.is_closed() {
            Color::Good
        } else {
            Color::Busy
        };
        for (at, around) in state.loops_around(task).enumerate() {
            let Some(path) = task.path.get(..task.path.len().saturating_sub(at)) else { continue };
            let iterations = loops.entry(&*around.reference).or_default();
            let to = task.ended_at.unwrap_or(now);
            let place = match iterations.last() {
                Some(last) if *last.path < *path => Err(iterations.len()),
                _ => iterations.binary_search_by(|it| (*it.path).cmp(path)),
            };
            let place = place.unwrap_or_else(|place| {
                let (path, task, from) = (path.to_vec(), task.sequence, task.scheduled_at);
                iterations.insert(place, Iteration { path, color, tasks: 0, from, to, task });
                place
            });
            let iteration = &mut iterations[place];
            iteration.tasks += 1;
            iteration.to = iteration.to.max(to);
            if color >= iteration.color {
                (iteration.color, iteration.task) = (color, task.sequence);
            }
        }
    }
    let listed =
        |(reference, iterations): (&str, _)| Loop { reference: reference.into(), iterations };
    loops.into_iter().map(listed).collect()
}

pub(super) fn shown(loops: &[Loop], page: &str) -> Markup {
    if loops.is_empty() {
        return html! {};
    }
    let rows: Vec<Markup> = loops.iter().take(LOOPS_MAX).map(|it| row(it, page)).collect();
    piece::part(
        "Loops",
        html! {
            (piece::table("Loops", &["Loop", "Iterations, the first left", "Counts", "Failed, slowest, running"], &rows))
            @if loops.len() > LOOPS_MAX { p.faint { (loops.len() - LOOPS_MAX) " more loops." } }
        },
    )
}

fn row(it: &Loop, page: &str) -> Markup {
    let of = |color: Color| it.iterations.iter().filter(move |iteration| iteration.color == color);
    let mut slowest: Vec<&Iteration> = it.iterations.iter().collect();
    slowest.sort_by_key(|iteration| std::cmp::Reverse(iteration.took()));
    let named = |iteration: &Iteration| {
        let path: Vec<String> = iteration.path.iter().map(u32::to_string).collect();
        html! {
            a href={ (page) "?view=graph&task=" (iteration.task) } { "no. " (path.join(".")) }
            " " span.faint { (length(iteration.took())) " " }
        }
    };
    html! {
        tr {
            th scope="row" { (cut(&it.reference, 60)) }
            td { (strip(&it.iterations)) }
            td { (piece::counted(it.iterations.len() as u64, true)) ": "
                (of(Color::Good).count()) " ✓ " (of(Color::Bad).count()) " ✕ " (of(Color::Busy).count()) " ▶" }
            td {
                @for bad in of(Color::Bad).take(NAMED_MAX) { "✕ " (named(bad)) }
                @for slow in slowest.iter().copied().take(NAMED_MAX) { "⏱ " (named(slow)) }
                @for busy in of(Color::Busy).take(NAMED_MAX) { "▶ " (named(busy)) }
            }
        }
    }
}

/// A column for each range of iterations in its worst color; one path for each color.
fn strip(iterations: &[Iteration]) -> Markup {
    let columns = iterations.len().clamp(1, COLUMNS);
    let mut colors = vec![Color::Good; columns];
    for (at, iteration) in iterations.iter().enumerate() {
        if let Some(color) = colors.get_mut(at * columns / iterations.len()) {
            *color = iteration.color.max(*color);
        }
    }
    let path = |wanted: Color| {
        let bars = colors.iter().enumerate().filter(|(_, color)| **color == wanted);
        let bar = |(at, _)| format!("M{} 2h9v20h-9z", at * 10);
        bars.map(bar).collect::<String>()
    };
    html! {
        svg.strip viewBox={ "0 0 " (columns * 10) " 24" } preserveAspectRatio="none" role="img" aria-label={ (iterations.len()) " iterations" } {
            @for (color, class) in Color::ALL {
                @let d = path(color);
                @if !d.is_empty() { path class=(class) d=(d) {} }
            }
        }
    }
}
