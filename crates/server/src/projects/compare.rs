//! What definitions change: those that are new or differ from what is registered.

use std::sync::Arc;

use engine::Engine;
use kernel::ExecutionId;
use kernel::definition::{EventHandler, SchemaDef, TaskDef, WorkflowDef};
use kernel::schedule::ScheduleSpec;
use kernel::status_page::StatusPage;

use super::Defined;
use crate::hooks;
use crate::problem::Problem;
use crate::triggers;

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

dated!(TaskDef, WorkflowDef, EventHandler, SchemaDef);

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

/// What of the definitions is new or different.
///
/// # Errors
/// The store's.
pub async fn differing(engine: &Engine, found: Defined) -> Result<Defined, Problem> {
    let (now, registered) = (engine.now().millis(), engine.definitions());
    let version = |it: &WorkflowDef| u32::try_from(it.version).ok();
    Ok(Defined {
        tasks: dated(found.tasks, now, |it| registered.task(&it.name)),
        workflows: dated(found.workflows, now, |it| registered.workflow(&it.name, version(it))),
        handlers: dated(found.handlers, now, |it| engine.event_handler(&it.name)),
        schedules: differing_schedules(engine, found.schedules).await?,
        triggers: triggers::differing(engine, found.triggers).await?,
        status_pages: differing_pages(engine, found.status_pages).await?,
        schemas: dated(found.schemas, now, |it| registered.schema(&it.name, it.version)),
        webhooks: hooks::differing(engine, found.webhooks).await?,
    })
}

async fn differing_pages(
    engine: &Engine,
    mut pages: Vec<StatusPage>,
) -> Result<Vec<StatusPage>, Problem> {
    if !pages.is_empty() {
        let present = engine.status_pages().await?;
        pages.retain(|page| present.get(&page.name).is_none_or(|it| **it != *page));
    }
    Ok(pages)
}

/// Whether a schedule is paused stays as it was unless its file says otherwise and has changed.
async fn differing_schedules(
    engine: &Engine,
    schedules: Vec<ScheduleSpec>,
) -> Result<Vec<ScheduleSpec>, Problem> {
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
