//! Several definitions as one change: stored in one transaction, and seen together.
//!
//! Schedules are machines, each with commits of its own. What they shall obey is therefore stored
//! with the rest, and told to them at once after it; what a crash cut short is told at the next
//! start, before any of them looks at the clock. So a schedule never starts what the change has not
//! defined yet.

use std::collections::BTreeSet;
use std::sync::Arc;

use kernel::ExecutionId;
use kernel::definition::{EventHandler, SchemaDef, TaskDef, WorkflowDef};
use kernel::schedule::{Input, ScheduleSpec};

use crate::authors::{Author, Authored};
use crate::definitions;
use crate::engine::{Engine, Error};
use crate::events;
use crate::store::{Document, StoreError};

/// Documents that hold what a schedule is still to be told, under its name.
const SCHEDULE: &str = "schedule_change";

/// What changes together. Each replaces what is registered under its name (and version).
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Task definitions.
    pub tasks: Vec<TaskDef>,
    /// Workflow definitions.
    pub workflows: Vec<WorkflowDef>,
    /// Schemas.
    pub schemas: Vec<SchemaDef>,
    /// Event handlers.
    pub handlers: Vec<EventHandler>,
    /// Schedules.
    pub schedules: Vec<ScheduleSpec>,
    /// Documents of kinds that the [`Catalogue`](crate::Catalogue) keeps, as `(kind, name, text)`.
    pub documents: Vec<(&'static str, String, String)>,
    /// What of the documents acts by itself; handlers and schedules need not be named.
    pub authored: Vec<(Authored, Arc<str>)>,
    /// Who makes the change: what it writes acts as them.
    pub author: Author,
}

impl Change {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        let Self { tasks, workflows, schemas, handlers, schedules, documents, authored, .. } = self;
        tasks.is_empty()
            && authored.is_empty()
            && workflows.is_empty()
            && schemas.is_empty()
            && handlers.is_empty()
            && schedules.is_empty()
            && documents.is_empty()
    }

    /// What acts by itself, of all that changes.
    fn written(&self) -> Vec<(Authored, Arc<str>)> {
        let handlers =
            self.handlers.iter().map(|it| (Authored::EventHandler, it.name.as_str().into()));
        let schedules = self.schedules.iter().map(|it| (Authored::Schedule, it.name.clone()));
        let all = handlers.chain(schedules).chain(self.authored.iter().cloned());
        // Each once.
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn as_stored(&self) -> Vec<Document> {
        let mut all = definitions::documents(&self.tasks, &self.workflows);
        all.extend(definitions::schema_documents(&self.schemas));
        all.extend(events::documents(&self.handlers));
        all.extend(self.documents.iter().map(|(kind, name, text)| document(kind, name, text)));
        all.extend(self.schedules.iter().map(|spec| {
            let text = serde_json::to_string(spec).expect("a schedule serializes to JSON");
            document(SCHEDULE, &spec.name, &text)
        }));
        all
    }
}

fn document(kind: &str, name: &str, text: &str) -> Document {
    Document { kind: kind.into(), name: name.into(), version: 0, text: text.into() }
}

impl Engine {
    /// Makes a change: all of it or nothing is stored, whoever asked may go away meanwhile. Starts
    /// that begin afterwards see all of it.
    ///
    /// # Errors
    /// The store's: nothing has changed then, or, after [`StoreError::Unavailable`], perhaps all has
    /// and is seen after the next start. Of a schedule that could not be told: it is told at the
    /// next start, all else has changed.
    pub async fn change(&self, change: Change) -> Result<(), Error> {
        if change.is_empty() {
            return Ok(());
        }
        let engine = self.clone();
        let changing = async move { engine.change_now(change).await };
        tokio::spawn(changing).await.map_err(|_| Error::Closing)?
    }

    async fn change_now(&self, change: Change) -> Result<(), Error> {
        let authors = &self.inner.authors;
        let by = match change.author.clone() {
            // Nobody is asked who they are.
            Author::Unsaid if !self.inner.options.checks_principals => Author::Server,
            by => by,
        };
        let written = change.written();
        let mut all = change.as_stored();
        all.extend(authors.documents(&written, &by));
        let stored =
            if all.is_empty() { Ok(()) } else { self.inner.store.put_documents(all).await };
        let Change { tasks, workflows, schemas, handlers, schedules, documents, .. } = change;
        for (kind, name, _) in &documents {
            if stored.is_ok() {
                self.catalogue().mended(kind, name);
            }
            self.catalogue().has_changed(kind);
        }
        if matches!(stored, Err(StoreError::Unavailable(_))) {
            // Perhaps it is stored and is seen: with nobody's rights until it is written again or the
            // authors are read again, rather than with those of whoever wrote it before.
            authors.doubt(written.clone(), &by);
        }
        stored?;
        authors.take(written, &by);
        // What others start comes before what starts it.
        self.definitions().take(tasks, workflows, schemas);
        self.take_event_handlers(handlers);
        for spec in schedules {
            self.tell_schedule(spec).await?;
        }
        Ok(())
    }

    /// Tells schedules what a crash kept from them. To be called before they look at the clock.
    pub(crate) async fn resume_changes(&self) -> Result<(), StoreError> {
        for document in self.inner.store.documents(SCHEDULE).await? {
            let Some(spec) = self.inner.damaged.read::<ScheduleSpec>(&document) else { continue };
            match self.tell_schedule(spec).await {
                Err(Error::Store(error)) => return Err(error),
                Err(error) => {
                    tracing::error!(schedule = %document.name, %error, "schedule could not be changed");
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn tell_schedule(&self, spec: ScheduleSpec) -> Result<(), Error> {
        let name: Arc<str> = spec.name.clone();
        self.step(&ExecutionId::schedule(&name), Input::Define(Box::new(spec))).await?;
        self.inner.store.delete_document(SCHEDULE, &name, 0).await?;
        Ok(())
    }
}
