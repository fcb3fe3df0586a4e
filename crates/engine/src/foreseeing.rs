//! What an operator's act would do to a run: decided on a copy of its state, and not committed.

use std::sync::Arc;

use kernel::definition::{SchemaDef, TaskDef};
use kernel::graph::{Context, Control, Execution, Input, TaskStatus, World};
use kernel::{ExecutionId, Json, Machine as _, Rejected};

use crate::engine::{Engine, Error};
use crate::evaluation::{Outcome, Watch, Watched};

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
    /// There is no such run, or it would refuse the act; what users wrote in it does not end.
    pub async fn foresee(&self, id: &ExecutionId, control: Control) -> Result<Foreseen, Error> {
        let (before, _) = self.copy_of(id).await?;
        let watch = Watch::new(Vec::new());
        let (engine, seen) = (self.clone(), watch.clone());
        // Scripts of users may run in it.
        let decide = move || -> Result<Foreseen, Rejected> {
            let options = &engine.inner.options.evaluation;
            let scripts = Watched::for_decision(&*engine.inner.scripts, &seen, options);
            let (world, now, limits) = (Onlooker(engine.world()), engine.now(), engine.limits());
            let context = Context { now, scripts: &scripts, world: &world, limits };
            let mut after = before.clone();
            after.decide(Input::Control(control), &context)?;
            Ok(Foreseen::between(&before, &after))
        };
        let outcome = self.inner.evaluators.run(&watch, decide).await;
        let outcome = outcome.map_err(|refused| Error::Unavailable(refused.to_string()))?;
        let Outcome::Done(foreseen) = outcome else {
            let message = format!("what the act would do to workflow {id} cannot be told");
            return Err(Error::Unavailable(message));
        };
        Ok(foreseen?)
    }
}

/// The world of somebody who only looks: nothing is taken in it.
struct Onlooker<W>(W);

impl<W: World> World for Onlooker<W> {
    fn task_def(&self, name: &str) -> Option<Arc<TaskDef>> {
        self.0.task_def(name)
    }

    fn is_builtin(&self, task_type: &str) -> bool {
        self.0.is_builtin(task_type)
    }

    fn polled_lately(&self, queue: &str) -> bool {
        self.0.polled_lately(queue)
    }

    fn environment(&self, name: &str) -> Option<String> {
        self.0.environment(name)
    }

    fn schema(&self, name: &str, version: i32) -> Option<SchemaDef> {
        self.0.schema(name, version)
    }

    fn reusable(&self, name: &str, key: &str) -> Option<Json> {
        self.0.reusable(name, key)
    }

    // A place at a gate stays free: the default gives one without taking it.
}
