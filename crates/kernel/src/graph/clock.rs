//! The wall clock was set back: tasks that were scheduled, begun or put off by the clock as it stood
//! before would wait until it shows those times again. Their instants are moved, and what waits in a
//! queue is put there anew.

use super::draft::Draft;
use super::event::Event;
use super::execution::{Execution, Task};
use super::plan::Kind;
use super::status::TaskStatus;
use crate::time::Timestamp;

/// Moves what lies ahead, at the beginning of the first decision by the new clock.
pub(super) fn set_back(draft: &mut Draft<'_>, by: i64) {
    let now = draft.context.now;
    let noted_ahead = |task: &&Task| task.scheduled_at.max(task.updated_at) > now;
    let tasks: Vec<u32> =
        draft.state.open_tasks().filter(noted_ahead).map(|task| task.sequence).collect();
    if tasks.is_empty() {
        return;
    }
    draft.push(Event::ClockSetBack { by });
    for sequence in tasks {
        let waits = draft.state.task(sequence).is_some_and(|task| {
            task.kind == Kind::Dispatched && task.status == TaskStatus::Scheduled
        });
        if waits {
            draft.dispatch(sequence, false);
        }
    }
}

impl Execution {
    /// Folds [`Event::ClockSetBack`]; `updated_at` is the first instant after the change.
    pub(super) fn clock_set_back(&mut self, by: i64) {
        let now = self.updated_at;
        let back = |at: &mut Timestamp| {
            if *at > now {
                *at = at.plus_millis(-by).min(now);
            }
        };
        let open: Vec<u32> = self.open_tasks().map(|task| task.sequence).collect();
        for sequence in open {
            self.change(sequence, |task| {
                let ahead = task.scheduled_at.max(task.updated_at) > now;
                back(&mut task.scheduled_at);
                back(&mut task.first_scheduled_at);
                back(&mut task.updated_at);
                task.started_at.iter_mut().for_each(back);
                // An instant that the author named stands; a span counts from when it began.
                if ahead && task.input.parse().get("duration").is_some() {
                    task.until = task.until.map(|until| until.plus_millis(-by));
                }
            });
        }
    }
}
