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
    /// It waits for its time, as a retry does, and not for a worker.
    is_retry: bool,
}

/// Rows with their names, and what they are drawn over.
struct Rows {
    from: Timestamp,
    to: Timestamp,
    /// Tasks in all.
    all: usize,
    named: Vec<(String, Vec<Bar>)>,
}

impl Rows {
    /// The rows of a run as it stands at an instant.
    fn of(state: &Execution, now: Timestamp) -> Self {
        let all = state.task_count();
        let mut rows: Vec<(String, Vec<Bar>)> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for task in state.tasks() {
            let bar = Bar {
                queued: task.scheduled_at,
                started: task.started_at,
                ended: task.ended_at,
                is_bad: is_bad(task),
                is_retry: task.attempt > 0 && task.delay > 0,
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
        Self { from: state.created_at, to: state.ended_at.unwrap_or(now), all, named: rows }
    }
}

pub(super) async fn view(cx: &Context<'_>, id: &str) -> Result<Markup, Failure> {
    let look = |state: &Execution| Rows::of(state, cx.clock.now);
    let rows = cx.engine.read(&ExecutionId::new(id), look).await?;
    let rows = rows.ok_or_else(|| Failure::missing("The run was removed meanwhile"))?;
    Ok(drawn(cx, &rows))
}

/// The timeline of a run as it stood at an instant.
pub(super) fn then(cx: &Context<'_>, state: &Execution, then: Timestamp) -> Markup {
    drawn(cx, &Rows::of(state, then))
}

fn drawn(cx: &Context<'_>, rows: &Rows) -> Markup {
    let Rows { from, to, all, named: rows } = rows;
    let (from, to, all) = (*from, *to, *all);
    if rows.is_empty() {
        return piece::note("empty", html! { "No task was scheduled yet." });
    }
    let span = to.since(from).max(1);
    let is_folded = cx.visit.query.get("idle") != Some("shown");
    let scale = Scale::of(from, to, rows, is_folded);
    let x = |at: Timestamp| scale.x(at);
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
    html! {
        p.faint { "From " (cx.clock.when(from)) " to " (cx.clock.when(to)) ", " (length(span)) ". Outlined: waited; dashed: waited for a retry; filled: ran; red: failed."
            @if all > ROWS_MAX { " Tasks of one name share a row; the longest is timed." } }
        @if !scale.folds.is_empty() {
            p.faint { "Folded, as nothing changed:"
                @for (from, to) in &scale.folds { " " (length(to.since(*from))) " from " (cx.clock.when(*from)) "." }
                " " a href={ (cx.visit.path()) (cx.visit.query.with(&[("idle", "shown")])) } { "Show them" }
            }
        } @else if !is_folded {
            p { a href={ (cx.visit.path()) (cx.visit.query.with(&[("idle", "")])) } { "Fold stretches in which nothing changed" } }
        }
        (piece::table("Timeline", &["Task", "When", "Took"], &lines))
    }
}

/// Stretches that are folded.
const FOLDS_MAX: usize = 5;
/// A stretch in which nothing changes is folded if it is at least such a part of all.
const FOLDED_PART: i64 = 5;
/// The width of a folded stretch.
const FOLD: i64 = 24;

/// Where an instant stands: in proportion, but for stretches in which nothing began or ended.
struct Scale {
    from: Timestamp,
    to: Timestamp,
    /// The folded stretches, in their order.
    folds: Vec<(Timestamp, Timestamp)>,
}

impl Scale {
    fn of(from: Timestamp, to: Timestamp, rows: &[(String, Vec<Bar>)], is_folded: bool) -> Self {
        // A clock that was set back may show less than the beginning.
        let to = to.max(from);
        let mut scale = Self { from, to, folds: Vec::new() };
        let of_bar = |bar: &Bar| [Some(bar.queued), bar.started, bar.ended];
        let bars = rows.iter().flat_map(|(_, bars)| bars);
        let mut instants: Vec<Timestamp> = bars.flat_map(of_bar).flatten().collect();
        instants.extend([from, to]);
        instants.retain(|at| (from..=to).contains(at));
        instants.sort_unstable();
        instants.dedup();
        // Between two instants there is nothing to see apart from one another.
        if !is_folded || instants.len() <= 3 {
            return scale;
        }
        let least = (to.since(from) / FOLDED_PART).max(1000);
        let pairs = instants.iter().zip(instants.iter().skip(1));
        let mut idle: Vec<(Timestamp, Timestamp)> = pairs
            .map(|(one, next)| (*one, *next))
            .filter(|(one, next)| next.since(*one) >= least)
            .collect();
        idle.truncate(FOLDS_MAX);
        scale.folds = idle;
        scale
    }

    fn x(&self, at: Timestamp) -> i64 {
        let at = at.clamp(self.from, self.to);
        let folded: i64 = self.folds.iter().map(|(from, to)| to.since(*from)).sum();
        let open = (self.to.since(self.from) - folded).max(1);
        let room = WIDTH - FOLD * self.folds.len() as i64;
        let (mut passed, mut folds) = (at.since(self.from), 0);
        for (from, to) in self.folds.iter().filter(|(from, _)| *from < at) {
            let (inside, whole) = (at.min(*to).since(*from), to.since(*from).max(1));
            passed -= inside;
            folds += scaled(inside, FOLD, whole);
        }
        scaled(passed, room, open) + folds
    }
}

fn scaled(part: i64, width: i64, whole: i64) -> i64 {
    (i128::from(part) * i128::from(width) / i128::from(whole)) as i64
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
        svg.strip.bars viewBox={ "0 0 " (WIDTH) " " (ROW) } preserveAspectRatio="none" role="img" aria-label={ (bars.len()) " bars" } {
            @for bar in shown {
                @let (queued, ended) = (x(bar.queued), x(bar.ended.unwrap_or(now)));
                @let started = bar.started.map_or(ended, x);
                @if started > queued {
                    rect.queued x=(queued) y="7" width=((started - queued).max(2)) height="8" stroke-dasharray=[bar.is_retry.then_some("3 2")] {}
                }
                @if bar.started.is_some() || bar.ended.is_some() {
                    @let class = if bar.is_bad { "no" } else if bar.ended.is_some() { "ok" } else { "run" };
                    rect class=(class) x=(started) y="4" width=((ended - started).max(2)) height="14" {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_in_which_nothing_changes_is_folded() {
        let at = Timestamp::from_millis;
        let bar = |from, to| Bar {
            queued: at(from),
            started: Some(at(from)),
            ended: Some(at(to)),
            is_bad: false,
            is_retry: false,
        };
        let day = 86_400_000;
        let rows =
            [("a".to_owned(), vec![bar(0, 1000)]), ("b".to_owned(), vec![bar(day, day + 1000)])];
        let end = at(day + 1000);
        let folded = Scale::of(at(0), end, &rows, true);
        assert_eq!(folded.folds, [(at(1000), at(day))]);
        assert_eq!((folded.x(at(0)), folded.x(at(1000)), folded.x(at(day))), (0, 288, 312));
        assert_eq!(folded.x(end), WIDTH);
        let whole = Scale::of(at(0), end, &rows, false);
        assert_eq!((whole.x(at(1000)), whole.x(at(day)), whole.x(end)), (0, 599, WIDTH));
    }
}
