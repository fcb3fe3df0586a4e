//! What one reading of the files changes: all of it is stored in one transaction, or nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use engine::{Change, Engine};
use kernel::ExecutionId;
use kernel::definition::{EventHandler, Problem, TaskDef, WorkflowDef};
use kernel::schedule::ScheduleSpec;
use server::triggers::{self, Trigger};

use super::Defined;
use super::rejected::Mistakes;

/// A definition that says when it was made and changed.
trait Dated {
    /// When it was created and last updated, in milliseconds.
    fn dates(&self) -> (i64, i64);
    /// Replaces both.
    fn date(&mut self, created: i64, updated: i64);
}

macro_rules! dated {
    ($($kind:ty),*) => {$(
        impl Dated for $kind {
            fn dates(&self) -> (i64, i64) {
                (self.create_time, self.update_time)
            }
            fn date(&mut self, created: i64, updated: i64) {
                (self.create_time, self.update_time) = (created, updated);
            }
        }
    )*};
}

dated!(TaskDef, WorkflowDef, EventHandler);

/// Those of the definitions that are new or different, dated.
fn dated<T: Dated + PartialEq>(
    mut definitions: Vec<T>,
    now: i64,
    present: impl Fn(&T) -> Option<Arc<T>>,
) -> Vec<T> {
    definitions.retain_mut(|definition| {
        let Some(present) = present(definition) else {
            let (_, updated) = definition.dates();
            definition.date(now, updated);
            return true;
        };
        let (created, updated) = present.dates();
        definition.date(created, updated);
        let changed = *definition != *present;
        if changed {
            definition.date(created, now);
        }
        changed
    });
    definitions
}

/// The files that define something new or different, with that alone.
pub(super) async fn differing(
    engine: &Engine,
    defined: &[(PathBuf, Defined)],
) -> anyhow::Result<Vec<(PathBuf, Defined)>> {
    let mut differing = Vec::new();
    for (file, found) in defined {
        let new = differing_in(engine, found.clone()).await?;
        if new.count() > 0 {
            differing.push((file.clone(), new));
        }
    }
    Ok(differing)
}

async fn differing_in(engine: &Engine, found: Defined) -> anyhow::Result<Defined> {
    let Defined { workflows, tasks, schedules, handlers, triggers } = found;
    let (now, registered) = (engine.now().millis(), engine.definitions());
    let version = |it: &WorkflowDef| u32::try_from(it.version).ok();
    Ok(Defined {
        tasks: dated(tasks, now, |it| registered.task(&it.name)),
        workflows: dated(workflows, now, |it| registered.workflow(&it.name, version(it))),
        handlers: dated(handlers, now, |it| engine.event_handler(&it.name)),
        schedules: differing_schedules(engine, schedules).await?,
        triggers: differing_triggers(engine, triggers).await?,
    })
}

/// Whether a schedule is paused stays as it was unless its file says otherwise and has changed.
async fn differing_schedules(
    engine: &Engine,
    schedules: Vec<ScheduleSpec>,
) -> anyhow::Result<Vec<ScheduleSpec>> {
    let mut differing = Vec::new();
    for schedule in schedules {
        let id = ExecutionId::schedule(&schedule.name);
        let present =
            engine.look(&id, |hosted| hosted.schedule().and_then(|s| s.spec.clone())).await?;
        if present.flatten().is_none_or(|present| *present != schedule) {
            differing.push(schedule);
        }
    }
    Ok(differing)
}

async fn differing_triggers(
    engine: &Engine,
    triggers: Vec<Trigger>,
) -> anyhow::Result<Vec<Trigger>> {
    triggers::differing(engine, triggers)
        .await
        .map_err(|problem| anyhow::anyhow!(in_words(&problem)))
}

/// Takes out the files whose triggers do not fit those of the others or those that are registered;
/// answers what is wrong with them.
pub(super) async fn take_out_unfit(
    engine: &Engine,
    defined: &mut Vec<(PathBuf, Defined)>,
) -> anyhow::Result<Mistakes> {
    let mut mistakes = Mistakes::new();
    // What is taken out leaves in force what it would have replaced, which may not fit others.
    loop {
        let of_triggers: Vec<&(PathBuf, Defined)> =
            defined.iter().filter(|(_, found)| !found.triggers.is_empty()).collect();
        if of_triggers.is_empty() {
            return Ok(mistakes);
        }
        let groups: Vec<&[Trigger]> =
            of_triggers.iter().map(|(_, found)| &*found.triggers).collect();
        let judged = triggers::judge(engine, &groups).await;
        let judged = judged.map_err(|problem| anyhow::anyhow!(in_words(&problem)))?;
        let unfit: BTreeMap<PathBuf, String> = (of_triggers.iter().zip(judged))
            .filter_map(|((file, _), problem)| Some((file.clone(), in_words(&problem?))))
            .collect();
        if unfit.is_empty() {
            return Ok(mistakes);
        }
        defined.retain(|(file, _)| !unfit.contains_key(file));
        mistakes.extend(unfit.into_iter().map(|(file, told)| {
            let mistake = format!("{}: {told}", file.display());
            (file, vec![mistake])
        }));
    }
}

/// Makes everything in force that differs, at once.
pub(super) async fn apply(
    engine: &Engine,
    differing: Vec<(PathBuf, Defined)>,
) -> anyhow::Result<()> {
    let (mut change, mut triggers) = (Change::default(), Vec::new());
    for (_, found) in differing {
        change.tasks.extend(found.tasks);
        change.workflows.extend(found.workflows);
        change.handlers.extend(found.handlers);
        change.schedules.extend(found.schedules);
        triggers.extend(found.triggers);
    }
    let changed = triggers::change(engine, triggers, change).await;
    changed.map_err(|problem| anyhow::anyhow!(in_words(&problem)))
}

fn in_words(problem: &server::problem::Problem) -> String {
    let flaws: Vec<String> = problem.flaws.iter().map(Problem::to_string).collect();
    if flaws.is_empty() { problem.message.clone() } else { flaws.join("; ") }
}
