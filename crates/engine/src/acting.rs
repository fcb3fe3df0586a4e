//! Whose grants a run acts with, and whether they allow what its tasks do to the server.
//!
//! The principal of an execution is fixed at its start, and what it starts inherits it. What the
//! principal may do is looked up when a task acts, so that a revoked key ends what runs do for it.
//! An execution without a principal acts as the server itself: those that an earlier release began,
//! those of files that the server loads, and what monitors run.

use std::sync::Arc;

use kernel::access::{Permission, Permissions, Principal, Tag};
use kernel::durable::{DEFAULT_HUB, ORCHESTRATION};
use kernel::graph::StartMessage;
use kernel::{ExecutionId, Rejected};
use serde::Deserialize;

use crate::access::Proved;
use crate::authors::Authored;
use crate::engine::{Engine, Error};

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
        let who = match self.access().principal(key_of(id), self.now()) {
            Proved::Known(who) => who,
            Proved::Expired => return Err(forbidden(&format!("{id}, whose key has expired"))),
            Proved::Unknown => return Err(forbidden(&format!("{id}, whose key was revoked"))),
        };
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
            !matches!(self.access().principal(key_of(by), now), Proved::Known(_))
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

/// The id of the key that a principal is.
fn key_of(principal: &str) -> &str {
    principal.strip_prefix("key:").unwrap_or(principal)
}

fn forbidden(who: &str) -> Error {
    Rejected::Forbidden(format!("{FORBIDDEN}: it acts as {who}")).into()
}
