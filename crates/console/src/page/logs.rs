//! The logs of a run: a window of the lines of one task, or of those that were begun last.

use engine::store::{KeptLine, LogWindow};
use kernel::ExecutionId;
use kernel::expression::mask_secrets;
use kernel::graph::Execution;
use maud::{Markup, html};

use crate::value::cut;
use crate::{Context, Failure, piece};

/// Tasks whose logs are shown together.
const TASKS_MAX: usize = 20;
/// Lines of a page.
const LINES: usize = 200;
/// Characters of a line.
const LINE_MAX: usize = 500;
/// Characters of all lines: a page stays small.
const PAGE_MAX: usize = 24 * 1024;

pub(super) async fn view(cx: &Context<'_>, run: &str) -> Result<Markup, Failure> {
    let asked = &cx.visit.query;
    let only = asked.get("task").and_then(|it| it.parse::<u32>().ok());
    let look = |state: &Execution| {
        let wanted = |sequence: u32| only.is_none_or(|only| only == sequence);
        let tasks = state.tasks().rev().filter(|task| wanted(task.sequence));
        let tasks =
            tasks.filter(|task| task.poll_count > 0 || task.worker.is_some() || only.is_some());
        tasks
            .take(TASKS_MAX)
            .map(|task| (task.sequence, task.reference.clone()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let id = ExecutionId::new(run);
    let tasks = cx.engine.read(&id, look).await?.unwrap_or_default();
    let find = asked.get("find").map(str::to_owned);
    let before = asked.get("before").and_then(|it| it.parse().ok());
    // One more tells whether there are earlier ones.
    let window = LogWindow { tail: Some(LINES + 1), before, find };
    let sequences: Vec<u32> = tasks.keys().copied().collect();
    let mut kept = cx.engine.store().log(&id, &sequences, &window).await?;
    let shown = |kept: &KeptLine| cut(&mask_secrets(&kept.line.text), LINE_MAX);
    // The last lines that fit.
    let mut room = PAGE_MAX;
    let fits = |kept: &&KeptLine| {
        let length = shown(kept).len() + 40;
        let is_in = length <= room;
        room = room.saturating_sub(length);
        is_in
    };
    let count = kept.iter().rev().take(LINES).take_while(fits).count();
    let earlier = kept.len() - count;
    let next = kept.get(earlier).filter(|_| earlier > 0).map(|kept| kept.number.to_string());
    let lines = kept.split_off(earlier);
    // What is masked is not found, either.
    let lines = lines.iter().filter(|kept| window.finds(&mask_secrets(&kept.line.text)));
    let lines: Vec<&KeptLine> = lines.collect();
    let to = |changed: &[(&str, &str)]| format!("{}{}", cx.visit.path(), asked.with(changed));
    Ok(html! {
        form.acts method="get" role="search" {
            input type="hidden" name="view" value="logs";
            @if let Some(task) = only { input type="hidden" name="task" value=(task); }
            (piece::field("find", "Words in a line", window.find.as_deref().unwrap_or_default(), ""))
            button { "Find" }
            @if only.is_some() { a href=(to(&[("task", ""), ("before", "")])) { "Logs of all tasks" } }
        }
        @if lines.is_empty() {
            @match &window.find {
                Some(find) => (piece::nothing_matches(&format!("no line has “{}”", cut(find, 60)), &to(&[("find", ""), ("before", "")]))),
                None => (piece::note("empty", html! { "Nothing yet: no worker has written a log for these tasks. " code { "POST /api/tasks/{id}/log" } })),
            }
        }
        @if let Some(next) = next { p { a rel="prev" href=(to(&[("before", &next)])) { "‹ Earlier lines" } } }
        ol.time {
            @for kept in lines {
                li { (cx.clock.when(kept.line.at))
                    code { @if let Some(name) = tasks.get(&kept.sequence) { (name) } @else { (kept.sequence) } }
                    " " (shown(kept)) }
            }
        }
        @if before.is_some() { p.more { a href=(to(&[("before", "")])) { "The last lines" } } }
    })
}
