//! How far a request reaches whose sender has roles on some things only: each thing that it is about is
//! asked for here, and lists are narrowed in the query itself.
//!
//! What may not be seen is answered as if it were not there. Paths say that they do so by
//! [`Permission::within`](kernel::access::Permission::within); on all others only roles on everything
//! count.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use engine::Engine;
use engine::search::{Filter, Search, TextField};
use kernel::access::{Permissions, Principal, Resource, Selector};
use kernel::graph::{Execution, Kind, Task};
use kernel::{ExecutionId, MachineKind};

use crate::problem::Problem;
use crate::rest::extract::unknown_workflow;
use crate::rest::tags;

/// What a request may reach: everything, or what grants of its sender cover.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope(Option<Narrowed>);

#[derive(Clone, Debug)]
struct Narrowed {
    who: Arc<Principal>,
    /// Of which the request needs one.
    needed: Permissions,
}

impl<S: Sync> FromRequestParts<S> for Scope {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

impl Scope {
    pub(super) fn narrowed(who: Arc<Principal>, needed: Permissions) -> Self {
        Self(Some(Narrowed { who, needed }))
    }

    /// Whether it may reach everything.
    pub(crate) fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// The same sender with another need, for what an answer shows or does beside.
    #[must_use]
    pub(crate) fn needing(&self, needed: Permissions) -> Self {
        Self(self.0.clone().map(|it| Narrowed { needed, ..it }))
    }

    /// Whether a task hub is within reach.
    pub(crate) fn covers_hub(&self, hub: &str) -> bool {
        let Some(Narrowed { who, needed }) = &self.0 else { return true };
        // What cannot be a name of one is not taken apart in some other way later on.
        engine::durable::check_hub(hub).is_ok() && who.covers_hub(*needed, hub)
    }

    /// Checks that a task hub is within reach. Whether there is such a hub makes no difference.
    ///
    /// # Errors
    /// 403 if it is not.
    pub(crate) fn must_cover_hub(&self, hub: &str) -> Result<(), Problem> {
        if self.covers_hub(hub) {
            return Ok(());
        }
        let message = format!("the key has no role on the task hub '{}'", short(hub));
        Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", message).with_hint(
            "Name a hub that was granted, or ask an administrator for `nightbell grant add KEYID \
             --role ROLE --on hub=NAME`.",
        ))
    }

    /// Checks that a worker may poll for this type in this domain.
    ///
    /// # Errors
    /// 403 if it may not, or the name could be taken apart in several ways.
    pub(crate) fn must_cover_polls(
        &self,
        task_type: &str,
        domain: Option<&str>,
    ) -> Result<(), Problem> {
        let Some(Narrowed { who, needed }) = &self.0 else { return Ok(()) };
        let domain = domain.map(str::trim).filter(|domain| !domain.is_empty());
        // A queue is named `domain:type`.
        let is_plain = !task_type.contains(':') && !domain.is_some_and(|it| it.contains(':'));
        if is_plain && who.covers_task(*needed, task_type, domain) {
            return Ok(());
        }
        let within = domain.map_or(String::new(), |it| format!(" in the domain '{}'", short(it)));
        let message =
            format!("the key has no role on tasks of the type '{}'{within}", short(task_type));
        Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", message).with_hint(
            "Poll for a type that was granted, or ask an administrator for `nightbell grant add \
             KEYID --role worker --on task=TYPE`.",
        ))
    }

    /// Whether a task, which workers or others report on, is within reach.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn covers_task(
        &self,
        engine: &Engine,
        execution: &ExecutionId,
        sequence: u32,
    ) -> Result<bool, Problem> {
        let Some(Narrowed { who, needed }) = &self.0 else { return Ok(true) };
        let look = |state: &Execution| {
            let task = state.task(sequence)?;
            let for_workers = task.kind == Kind::Dispatched;
            let covered = for_workers && covers(who, *needed, task);
            Some((covered, state.plan().definition.name.clone()))
        };
        match engine.read(execution, look).await?.flatten() {
            None => Ok(false),
            Some((true, _)) => Ok(true),
            Some((false, workflow)) => self.covers_workflow(engine, &workflow).await,
        }
    }

    /// Whether a workflow definition is within reach.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn covers_workflow(
        &self,
        engine: &Engine,
        name: &str,
    ) -> Result<bool, Problem> {
        let Some(Narrowed { who, needed }) = &self.0 else { return Ok(true) };
        if who.covers_workflow(*needed, name, |_| false) {
            return Ok(true);
        }
        if !who.covers_workflow(*needed, name, |_| true) {
            return Ok(false);
        }
        let tags = tags::of(engine, tags::Resource::WorkflowDef, name).await?;
        Ok(who.covers_workflow(*needed, name, |tag| {
            tags.iter().any(|it| it.is(&tag.key, &tag.value))
        }))
    }

    /// Checks that an execution is within reach.
    ///
    /// # Errors
    /// 404 if it is not, or if there is none; the store's.
    pub(crate) async fn must_cover_run(&self, engine: &Engine, id: &str) -> Result<(), Problem> {
        if self.is_all() {
            return Ok(());
        }
        let execution = crate::rest::extract::execution_id(id)?;
        if self.covers_run(engine, &execution).await? {
            return Ok(());
        }
        Err(unknown_workflow(id))
    }

    /// Whether an execution is within reach; what is not there is not.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn covers_run(
        &self,
        engine: &Engine,
        id: &ExecutionId,
    ) -> Result<bool, Problem> {
        if self.is_all() {
            return Ok(true);
        }
        let name = |state: &Execution| state.plan().definition.name.clone();
        match engine.read(id, name).await? {
            Some(name) => self.covers_workflow(engine, &name).await,
            None => Ok(false),
        }
    }

    /// Checks that a workflow of this name is within reach.
    ///
    /// # Errors
    /// 404 in the words for one that is not there; the store's.
    pub(crate) async fn must_cover_workflow(
        &self,
        engine: &Engine,
        name: &str,
    ) -> Result<(), Problem> {
        if self.covers_workflow(engine, name).await? {
            return Ok(());
        }
        Err(Problem::not_found(format!("No such workflow found by name: {name}")))
    }

    /// Narrows a search over executions, so that rows, order and totals know of nothing else.
    ///
    /// # Errors
    /// 403 for one over orchestrations, which belong to hubs; the store's.
    pub(crate) async fn narrow(&self, engine: &Engine, search: &mut Search) -> Result<(), Problem> {
        if self.is_all() {
            return Ok(());
        }
        if search.machines().any(|machine| machine != MachineKind::Execution) {
            let message = "a search for orchestrations needs the permission read on everything";
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", message)
                .with_hint("Ask a hub for its instances, or leave the classifier out."));
        }
        search.filters.push(Filter::In(TextField::Name, self.workflows(engine).await?));
        Ok(())
    }

    /// Names of workflows within reach, `*` standing for any characters. An empty text, which is
    /// nobody's name, keeps the list from meaning all.
    async fn workflows(&self, engine: &Engine) -> Result<Vec<String>, Problem> {
        let mut names = vec![String::new()];
        let Some(Narrowed { who, needed }) = &self.0 else { return Ok(names) };
        let mut tagged = None;
        for selector in who.selectors(*needed, Resource::Workflow) {
            let Selector::Workflow { name, tag } = selector else { continue };
            let Some(tag) = tag else {
                names.extend(name.as_ref().map(|name| name.as_str().to_owned()));
                continue;
            };
            if tagged.is_none() {
                tagged = Some(tags::of_all(engine, tags::Resource::WorkflowDef).await?);
            }
            for (of, tags) in tagged.iter().flatten() {
                // A star in a name would stand for others.
                let is_meant = !of.contains('*')
                    && name.as_ref().is_none_or(|name| name.fits(of))
                    && tags.iter().any(|it| it.is(&tag.key, &tag.value));
                if is_meant {
                    names.push(of.clone());
                }
            }
        }
        Ok(names)
    }
}

fn covers(who: &Principal, needed: Permissions, task: &Task) -> bool {
    who.covers_task(needed, &task.task_type, task.domain.as_deref())
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}
