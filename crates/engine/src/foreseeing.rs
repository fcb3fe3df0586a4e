//! What an operator's act would do to a run: decided on a copy of its state, and not committed.

use std::sync::Arc;

use kernel::graph::{Context, Control, Execution, Input, TaskStatus};
use kernel::{ExecutionId, Machine as _};

use crate::engine::{Engine, Error};

/// What an act would do to the tasks of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreseen {
    /// Tasks that have ended and stay as they are, by reference name.
    pub kept: Vec<Arc<str>>,
    /// Tasks that have begun or ended and run again, or are tried again.
    pub again: Vec<Arc<str>>,
    /// Tasks that are open and go on.
    pub going_on: Vec<Arc<str>>,
    /// Tasks that the record of the run has afterwards and that never run: the flow passes them.
    pub skipped: Vec<Arc<str>>,
    /// Tasks that are forgotten, and run only if the flow comes there again.
    pub forgotten: Vec<Arc<str>>,
    /// Tasks that begin for the first time.
    pub begun: Vec<Arc<str>>,
}

impl Foreseen {
    fn between(before: &Execution, after: &Execution) -> Self {
        let mut foreseen = Self::default();
        for task in before.tasks() {
            let list = match after.task(task.sequence) {
                Some(later) if task.status.is_closed() => {
                    let stays = later.status == task.status
                        && later.scheduled_at == task.scheduled_at
                        && later.retried == task.retried;
                    if stays { &mut foreseen.kept } else { &mut foreseen.again }
                }
                Some(later) if later.status.is_closed() => &mut foreseen.skipped,
                Some(_) => &mut foreseen.going_on,
                None if after.latest(&task.reference).is_some() => &mut foreseen.again,
                None => &mut foreseen.forgotten,
            };
            list.push(task.reference.clone());
        }
        for task in after.tasks().filter(|task| before.latest(&task.reference).is_none()) {
            let is_passed = task.status == TaskStatus::Skipped;
            let list = if is_passed { &mut foreseen.skipped } else { &mut foreseen.begun };
            list.push(task.reference.clone());
        }
        foreseen
    }
}

impl Engine {
    /// What an act would do. Changes nothing.
    ///
    /// # Errors
    /// There is no such run, or it would refuse the act.
    pub async fn foresee(&self, id: &ExecutionId, control: Control) -> Result<Foreseen, Error> {
        let (before, _) = self.copy_of(id).await?;
        let mut after = before.clone();
        let world = self.world();
        let (now, scripts, limits) = (self.now(), self.scripts(), self.limits());
        let context = Context { now, scripts, world: &world, limits };
        after.decide(Input::Control(control), &context)?;
        Ok(Foreseen::between(&before, &after))
    }
}
