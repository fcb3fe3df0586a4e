//! Whose grants a run acts with, and whether they allow what its tasks do to the server.
//!
//! The principal of an execution is fixed at its start, and what it starts inherits it. What the
//! principal may do is looked up when a task acts, so that a revoked key ends what runs do for it.
//! An execution without a principal acts as the server itself: those that an earlier release began,
//! those of files that the server loads, and what monitors run.

use std::sync::Arc;

use kernel::access::{Grant, Permission, Permissions, Principal, Selector, Tag};
use kernel::durable::{DEFAULT_HUB, ORCHESTRATION};
use kernel::graph::{Control, Input, StartMessage};
use kernel::{ExecutionId, Rejected};
use serde::Deserialize;

use crate::access::Proved;
use crate::authors::{Author, Authored};
use crate::engine::{Engine, Error};

/// Every permission that is asked of a principal, on whatever: what somebody else must have in order to
/// decide what a run of this principal does.
const OF_TASKS: [Permission; 3] = [Permission::Read, Permission::Run, Permission::WriteSecrets];
/// What begins the reason of every refusal.
pub const FORBIDDEN: &str = "FORBIDDEN";
/// Documents that hold the tags of definitions, and what the names of those of workflows begin with.
const TAGS: &str = "tags";
const OF_WORKFLOW: &str = "WORKFLOW_DEF/";

/// What a task is about to act on.
#[derive(Clone, Copy, Debug)]
pub enum ActsOn<'a> {
    /// What is not narrowed by selectors.
    Everything,
    /// Its own run.
    Itself,
    /// Another run, whether or not there is one.
    Run(&'a ExecutionId),
    /// A workflow, by its name.
    Workflow(&'a str),
    /// A task hub.
    Hub(&'a str),
}

impl Engine {
    /// Checks that the principal of an execution may do something now.
    ///
    /// # Errors
    /// [`Rejected::Forbidden`] if it may not; the store's.
    pub async fn must_be_allowed(
        &self,
        execution: &ExecutionId,
        permission: Permission,
        on: ActsOn<'_>,
    ) -> Result<(), Error> {
        if !self.inner.options.checks_principals {
            return Ok(());
        }
        let look = |state: &kernel::graph::Execution| {
            (state.acts_as.clone(), state.plan().definition.name.clone())
        };
        let Some((Some(principal), own)) = self.read(execution, look).await? else { return Ok(()) };
        let on = match on {
            ActsOn::Itself => ActsOn::Workflow(&own),
            ActsOn::Run(id) if id == execution => ActsOn::Workflow(&own),
            on => on,
        };
        self.must_allow(Some(&principal), permission, on).await
    }

    /// Checks that a principal, by its id, may do something now; `None` is the server itself.
    ///
    /// # Errors
    /// As [`Self::must_be_allowed`].
    pub async fn must_allow(
        &self,
        principal: Option<&str>,
        permission: Permission,
        on: ActsOn<'_>,
    ) -> Result<(), Error> {
        let Some(id) = principal.filter(|_| self.inner.options.checks_principals) else {
            return Ok(());
        };
        debug_assert!(OF_TASKS.contains(&permission), "{permission:?} is not asked of principals");
        let who = self.proved(id)?;
        if self.covers(&who, Permissions::of(&[permission]), on).await? {
            return Ok(());
        }
        let on = match on {
            ActsOn::Everything | ActsOn::Itself => "everything".to_owned(),
            ActsOn::Run(id) => format!("the workflow of the run {id}"),
            ActsOn::Workflow(name) => format!("the workflow '{name}'"),
            ActsOn::Hub(hub) => format!("the task hub '{hub}'"),
        };
        let word = permission.as_str();
        Err(forbidden(&format!("'{}' ({id}), which needs the permission {word} on {on}", who.name)))
    }

    fn proved(&self, id: &str) -> Result<Arc<Principal>, Error> {
        match self.access().principal(id, self.now()) {
            Proved::Known(who) => Ok(who),
            Proved::Expired => Err(forbidden(&format!("{id}, whose key has expired"))),
            Proved::Unknown if id.starts_with("user:") => {
                Err(forbidden(&format!("{id}, a user who was disabled or deleted")))
            }
            Proved::Unknown => Err(forbidden(&format!("{id}, whose key was revoked"))),
        }
    }

    /// Lets somebody steer an execution.
    ///
    /// The execution keeps its principal. So what gives it other data, or has it do something else than
    /// what it was begun for, is only for those who may do themselves whatever the principal may do.
    ///
    /// # Errors
    /// [`Rejected::Forbidden`] if they may not; as [`Self::step`].
    pub async fn steer(
        &self,
        execution: &ExecutionId,
        control: Control,
        by: &Author,
    ) -> Result<(), Error> {
        if self.inner.options.checks_principals && diverts(&control) {
            self.must_stand_in(execution, by).await?;
        }
        self.step(execution, Input::Control(control)).await
    }

    /// Checks that somebody may do themselves whatever the principal of an execution may do.
    async fn must_stand_in(&self, execution: &ExecutionId, by: &Author) -> Result<(), Error> {
        let by = match by {
            Author::Server => return Ok(()),
            Author::Principal(id) => id,
            Author::Unsaid | Author::Unchanged => {
                return Err(Rejected::Forbidden(format!(
                    "{FORBIDDEN}: nobody says who changes this run"
                ))
                .into());
            }
        };
        let Some(acts_as) = self.read(execution, |state| state.acts_as.clone()).await? else {
            return Ok(());
        };
        if acts_as.as_ref() == Some(by) {
            return Ok(());
        }
        let who = self.proved(by)?;
        let lacks = match &acts_as {
            None => OF_TASKS.into_iter().find(|it| !who.may(*it)),
            // Also of a key that has expired: it may be given a later end. One that was revoked may
            // do nothing, and for good; nor may a user who was deleted.
            Some(id) => match self.access().inspect(id) {
                Some(other) => OF_TASKS.into_iter().find(|it| !stands_in(&who, &other, *it)),
                None => None,
            },
        };
        let Some(lacks) = lacks else { return Ok(()) };
        let acts_as = acts_as.as_deref().unwrap_or("the server itself");
        Err(Rejected::Forbidden(format!(
            "{FORBIDDEN}: the run acts as {acts_as}, who has the permission {} where you do not: you can neither \
             give it other data nor have it do something else; fork it, or start another one",
            lacks.as_str()
        ))
        .into())
    }

    async fn covers(
        &self,
        who: &Principal,
        needed: Permissions,
        on: ActsOn<'_>,
    ) -> Result<bool, Error> {
        if who.may_all(needed) {
            return Ok(true);
        }
        let named;
        let name = match on {
            ActsOn::Everything | ActsOn::Itself => return Ok(false),
            ActsOn::Hub(hub) => return Ok(who.covers_hub(needed, hub)),
            ActsOn::Workflow(name) => name,
            // What is not there is not covered: whoever may not see it does not learn that.
            ActsOn::Run(id) => {
                let look = |state: &kernel::graph::Execution| state.plan().definition.name.clone();
                let Some(found) = self.read(id, look).await? else { return Ok(false) };
                named = found;
                &named
            }
        };
        if who.covers_workflow(needed, name, |_| false) {
            return Ok(true);
        }
        if !who.covers_workflow(needed, name, |_| true) {
            return Ok(false);
        }
        let tags = self.tags_of_workflow(name).await?;
        Ok(who.covers_workflow(needed, name, |tag| tags.contains(tag)))
    }

    async fn tags_of_workflow(&self, name: &str) -> Result<Vec<Tag>, Error> {
        #[derive(Deserialize)]
        struct Stored {
            key: Arc<str>,
            value: Arc<str>,
        }
        let documents = self.inner.store.documents(TAGS).await?;
        let of = |it: &&crate::store::Document| it.name.strip_prefix(OF_WORKFLOW) == Some(name);
        let found = documents.iter().find(of);
        let stored = found.and_then(|it| serde_json::from_str::<Vec<Stored>>(&it.text).ok());
        let tags = stored.unwrap_or_default().into_iter();
        Ok(tags.map(|Stored { key, value }| Tag { key, value }).collect())
    }

    /// Who wrote last what acts by itself; `None` for the server.
    pub fn author_of(&self, kind: Authored, name: &str) -> Option<Arc<str>> {
        self.inner.authors.of(kind, name)
    }

    /// What acts as somebody whose key counts no more: it does nothing until somebody writes it again.
    pub fn without_author(&self) -> Vec<(Authored, Arc<str>, Arc<str>)> {
        let now = self.now();
        let is_gone = |(_, _, by): &(Authored, Arc<str>, Arc<str>)| {
            !matches!(self.access().principal(by, now), Proved::Known(_))
        };
        self.inner.authors.all().into_iter().filter(is_gone).collect()
    }

    /// Why a start on its way is refused, if its principal may not make it.
    pub(crate) async fn refusal_of(&self, message: &StartMessage) -> Result<Option<String>, Error> {
        let Some(principal) = message.acts_as.as_deref() else { return Ok(None) };
        let on = match message.name.strip_prefix(ORCHESTRATION) {
            Some(name) => ActsOn::Hub(name.split_once('/').map_or(DEFAULT_HUB, |(hub, _)| hub)),
            None => ActsOn::Workflow(&message.name),
        };
        match self.must_allow(Some(principal), Permission::Run, on).await {
            Ok(()) => Ok(None),
            Err(Error::Rejected(Rejected::Forbidden(why))) => Ok(Some(why)),
            Err(error) => Err(error),
        }
    }
}

/// Whether an act gives a run other data than it was begun with, or has it do something else.
fn diverts(control: &Control) -> bool {
    match control {
        Control::Pause
        | Control::Resume
        | Control::Terminate { .. }
        | Control::Retry { .. }
        | Control::ResetCallbacks => false,
        Control::Restart { plan, input, correlation_id } => {
            plan.is_some() || input.is_some() || correlation_id.is_some()
        }
        Control::Rerun { input, amendment, .. } => input.is_some() || !amendment.is_empty(),
        Control::Amend(amendment) => !amendment.is_empty(),
        Control::Jump { .. }
        | Control::Upgrade { .. }
        | Control::Skip { .. }
        | Control::SetVariables { .. } => true,
    }
}

/// Whether somebody has a permission wherever another principal has it.
fn stands_in(who: &Principal, other: &Principal, permission: Permission) -> bool {
    if who.may(permission) {
        return true;
    }
    let gives = |grant: &&Grant| grant.permissions().has(permission);
    let has = |on: &Selector| who.grants().filter(gives).any(|own| own.on == *on);
    !other.may(permission) && other.grants().filter(gives).all(|grant| has(&grant.on))
}

fn forbidden(who: &str) -> Error {
    Rejected::Forbidden(format!("{FORBIDDEN}: it acts as {who}")).into()
}
