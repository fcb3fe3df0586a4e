//! What clients ask of instances: start, look, wait, list, restart, purge.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kernel::durable::instance::{Input, Instance, Start};
use kernel::durable::{FailureDetails, ID_MAX, Status};
use kernel::{ExecutionId, MachineKind, Rejected, Timestamp};
use tokio::time::Instant;

use crate::engine::{Engine, Error};
use crate::machine::AnyMachine;
use crate::search::{Counting, Filter, Mark, PAGE_MAX, Page, Search, TextField, TimeField};
use crate::store::Head;

/// Longest name of a task hub, in bytes.
const HUB_MAX: usize = 64;
/// Instances looked at in one go of a purge.
const PURGE_PAGE: u64 = 200;

/// Which instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceQuery {
    /// Those that stand so; empty = all.
    pub statuses: Vec<Status>,
    /// Created at this instant or later.
    pub created_from: Option<Timestamp>,
    /// Created before this instant.
    pub created_to: Option<Timestamp>,
    /// Ended at this instant or later.
    pub ended_from: Option<Timestamp>,
    /// Ended before this instant.
    pub ended_to: Option<Timestamp>,
    /// Whose ids begin so.
    pub id_prefix: Option<String>,
    /// Words to find; see [`Search::free_text`].
    pub free_text: Option<String>,
    /// Last created first; else first created first.
    pub newest_first: bool,
    /// Only what comes after this, where another page ended; see [`InstanceQuery::mark`].
    pub after: Option<Mark>,
    /// Rows to skip.
    pub start: u64,
    /// Rows to answer, at most [`PAGE_MAX`].
    pub size: u64,
}

/// Which ended instances are to be purged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// Those that stand so, of those that have ended; empty = all that have.
    pub statuses: Vec<Status>,
    /// Created at this instant or later.
    pub created_from: Option<Timestamp>,
    /// Created before this instant.
    pub created_to: Option<Timestamp>,
    /// Whose ids begin so.
    pub id_prefix: Option<String>,
    /// Their children, too.
    pub recursive: bool,
    /// Stop after so long.
    pub timeout: Option<Duration>,
}

/// What a purge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Instances removed.
    pub count: u64,
    /// Nothing is left that the purge was to remove.
    pub complete: bool,
}

/// Whether a task hub may be called so.
///
/// # Errors
/// [`Rejected::Invalid`] if not.
pub fn check_hub(hub: &str) -> Result<(), Rejected> {
    let fits = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if hub.is_empty() || hub.len() > HUB_MAX || !hub.chars().all(fits) {
        let message = format!(
            "'{hub}' cannot be the name of a task hub: 1 to {HUB_MAX} letters, digits, '-', '_' \
             and '.'"
        );
        return Err(Rejected::Invalid(message));
    }
    Ok(())
}

/// Whether a client may choose this id.
pub(super) fn check_id(id: &str) -> Result<(), Rejected> {
    if id.is_empty() || id.len() > ID_MAX || id.chars().any(char::is_control) {
        let message =
            format!("an instance id has 1 to {ID_MAX} bytes and no control characters: '{id}'");
        return Err(Rejected::Invalid(message));
    }
    Ok(())
}

impl Engine {
    /// Names a life of an instance: 32 hexadecimal digits.
    pub fn new_execution_id() -> Arc<str> {
        uuid::Uuid::new_v4().simple().to_string().into()
    }

    /// Starts an instance, under an id of its own if none is given; durable when this returns.
    ///
    /// # Errors
    /// [`Rejected::Conflict`] if there is one of that id that `start.replaces` does not name;
    /// [`Rejected::Invalid`] for a hub, id or policy that cannot be; as [`Engine::step`].
    pub async fn start_instance(
        &self,
        hub: &str,
        id: Option<&str>,
        start: Start,
    ) -> Result<ExecutionId, Error> {
        check_hub(hub)?;
        let id = match id.filter(|id| !id.is_empty()) {
            Some(id) => {
                check_id(id)?;
                if id.starts_with('@') {
                    let message = format!("'{id}' is the id of an entity, not of an instance");
                    return Err(Rejected::Invalid(message).into());
                }
                ExecutionId::instance(hub, id)
            }
            None => ExecutionId::instance(hub, &Self::new_execution_id()),
        };
        self.step(&id, Input::Start(Box::new(start))).await?;
        Ok(id)
    }

    /// Looks at an instance; `None` if there is none.
    ///
    /// # Errors
    /// The store's.
    pub async fn instance<R>(
        &self,
        id: &ExecutionId,
        look: impl FnOnce(&Instance) -> R,
    ) -> Result<Option<R>, Error> {
        Ok(self.look(id, |machine| machine.instance().map(look)).await?.flatten())
    }

    /// Looks at an instance after each of its commits until there is what is looked for. One that does
    /// not exist yet is waited for. `None` if it was removed meanwhile, or the server stops.
    ///
    /// # Errors
    /// The store's.
    pub async fn wait_instance<R>(
        &self,
        id: &ExecutionId,
        look: impl Fn(&Instance) -> Option<R>,
    ) -> Result<Option<R>, Error> {
        let mut changes = self.watch(id);
        let mut existed = false;
        loop {
            changes.mark_unchanged();
            match self.instance(id, &look).await? {
                None if existed => return Ok(None),
                None => {}
                Some(Some(found)) => return Ok(Some(found)),
                Some(None) => existed = true,
            }
            tokio::select! {
                biased;
                () = self.inner.stop.cancelled() => return Ok(None),
                changed = changes.changed() => if changed.is_err() { return Ok(None) },
            }
        }
    }

    /// The instances of a hub that match, by heads.
    ///
    /// # Errors
    /// The store's.
    pub async fn instances(&self, hub: &str, query: &InstanceQuery) -> Result<Page, Error> {
        let mut filters = within(hub, MachineKind::Instance, query.id_prefix.as_deref());
        if !query.statuses.is_empty() {
            let words = query.statuses.iter().map(|status| status.as_str().to_owned());
            filters.push(Filter::In(TextField::Status, words.collect()));
        }
        let after = |at: Timestamp| at.plus_millis(-1);
        let created = TimeField::Created;
        filters.extend(query.created_from.map(|at| Filter::After(created, after(at))));
        filters.extend(query.created_to.map(|at| Filter::Before(created, at)));
        filters.extend(query.ended_from.map(|at| Filter::After(TimeField::Ended, after(at))));
        filters.extend(query.ended_to.map(|at| Filter::Before(TimeField::Ended, at)));
        filters.extend(query.after.clone().map(Filter::Past));
        let search = Search {
            machine: MachineKind::Instance,
            beside: None,
            filters,
            free_text: query.free_text.clone(),
            sort: Mark::order(Some(query.ordered_by()), query.newest_first),
            start: query.start,
            size: query.size.min(PAGE_MAX),
            counting: Counting::Next,
        };
        Ok(self.store().search(&search).await?)
    }

    /// Starts again what an instance does: under its own id once it has ended, or under a new one
    /// in any case. Under its own id it acts as before; another one acts as whoever asks for it.
    ///
    /// # Errors
    /// [`Rejected::Unknown`] if there is none; [`Rejected::Conflict`] if it has not ended and the id
    /// is to stay; the store's.
    pub async fn restart_instance(
        &self,
        id: &ExecutionId,
        new_id: bool,
        acts_as: Option<Arc<str>>,
    ) -> Result<ExecutionId, Error> {
        let execution_id = Self::new_execution_id();
        if !new_id {
            self.step(id, Input::Restart { execution_id }).await?;
            return Ok(id.clone());
        }
        let again = |state: &Instance| {
            let start = state.start.as_ref()?;
            Some(Start { acts_as, ..start.again(execution_id.clone()) })
        };
        let Some(start) = self.instance(id, again).await?.flatten() else {
            let id = id.local_name();
            let message = format!("no orchestration instance has the id '{id}'");
            return Err(Rejected::Unknown(message).into());
        };
        self.start_instance(id.hub(), None, start).await
    }

    /// Removes an instance that has ended, and its children if asked; tells how many were removed.
    ///
    /// # Errors
    /// [`Rejected::Conflict`] if it has not ended; the store's.
    pub async fn purge_instance(&self, id: &ExecutionId, recursive: bool) -> Result<u64, Error> {
        let mut count = 0;
        let mut next = vec![id.clone()];
        let mut seen = BTreeSet::new();
        while let Some(one) = next.pop() {
            if !seen.insert(one.clone()) {
                continue;
            }
            let look = |machine: &AnyMachine| {
                let children = machine.instance().map(Instance::children).unwrap_or_default();
                (machine.is_open(), children)
            };
            let Some((open, children)) = self.look(&one, look).await? else { continue };
            if open {
                if one == *id {
                    let id = id.local_name();
                    let message = format!("orchestration instance '{id}' has not ended");
                    return Err(Rejected::Conflict(message).into());
                }
                // A child that goes on by itself stays.
                continue;
            }
            if recursive {
                next.extend(children);
            }
            if self.remove(&one).await? {
                count += 1;
            }
        }
        Ok(count)
    }

    /// Removes the ended instances of a hub that match.
    ///
    /// # Errors
    /// The store's.
    pub async fn purge_instances(&self, hub: &str, purge: &Purge) -> Result<Purged, Error> {
        let deadline = purge.timeout.map(|timeout| Instant::now() + timeout);
        let ended = Status::ALL.into_iter().filter(|status| status.is_closed());
        let statuses: Vec<Status> = ended
            .filter(|status| purge.statuses.is_empty() || purge.statuses.contains(status))
            .collect();
        if statuses.is_empty() {
            return Ok(Purged { count: 0, complete: true });
        }
        let mut query = InstanceQuery {
            statuses,
            created_from: purge.created_from,
            created_to: purge.created_to,
            id_prefix: purge.id_prefix.clone(),
            size: PURGE_PAGE,
            ..InstanceQuery::default()
        };
        let mut count = 0;
        loop {
            let page = self.instances(hub, &query).await?;
            if page.rows.is_empty() {
                return Ok(Purged { count, complete: true });
            }
            for head in page.rows {
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Ok(Purged { count, complete: false });
                }
                match self.purge_instance(&head.id, purge.recursive).await {
                    Ok(0) => query.start += 1,
                    Ok(removed) => count += removed,
                    // It was begun anew meanwhile.
                    Err(Error::Rejected(_)) => query.start += 1,
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Ends and removes everything of a hub. Whoever waits outside of it for an instance hears of
    /// its end.
    ///
    /// # Errors
    /// The store's.
    pub async fn clear_hub(&self, hub: &str) -> Result<u64, Error> {
        let mut count = 0;
        for machine in [MachineKind::Instance, MachineKind::Entity] {
            loop {
                let search = Search {
                    machine,
                    filters: within(hub, machine, None),
                    size: PURGE_PAGE,
                    ..Search::default()
                };
                let page = self.store().search(&search).await?;
                if page.rows.is_empty() {
                    break;
                }
                for head in page.rows {
                    self.end_for_caller(&head.id).await?;
                    count += u64::from(self.remove(&head.id).await?);
                }
            }
        }
        Ok(count)
    }
}

impl Engine {
    /// Fails an instance for which a task of a graph waits.
    async fn end_for_caller(&self, id: &ExecutionId) -> Result<(), Error> {
        let is_waited_for = |state: &Instance| {
            let start = state.start.as_ref().filter(|_| state.is_open());
            start.and_then(|start| start.caller.as_ref()).is_some_and(|caller| caller.waits)
        };
        if self.instance(id, is_waited_for).await? != Some(true) {
            return Ok(());
        }
        let message = format!("the task hub '{}' was deleted", id.hub());
        let failure = Box::new(FailureDetails::new("TaskHubDeleted", message));
        match self.step(id, Input::Fail { failure }).await {
            // It ended meanwhile.
            Err(Error::Rejected(_)) => Ok(()),
            result => result,
        }
    }
}

impl InstanceQuery {
    fn ordered_by(&self) -> TimeField {
        let ended = self.ended_from.is_some() || self.ended_to.is_some();
        if ended { TimeField::Ended } else { TimeField::Created }
    }

    /// Where a page ends whose last row is that of the instance `id`, and stands there because of
    /// this time: of its end if the query asks for that, else of its creation.
    pub fn mark(&self, id: ExecutionId, at: Timestamp) -> Mark {
        Mark { at: Some((self.ordered_by(), at)), id, descending: self.newest_first }
    }

    /// Where a page ends whose last row is this.
    pub fn mark_of(&self, head: &Head) -> Mark {
        let at = match self.ordered_by() {
            TimeField::Ended => head.ended_at.unwrap_or_default(),
            _ => head.created_at,
        };
        self.mark(head.id.clone(), at)
    }
}

/// Only what is in a hub, and whose id there begins so.
pub(super) fn within(hub: &str, machine: MachineKind, prefix: Option<&str>) -> Vec<Filter> {
    let of = match machine {
        MachineKind::Entity => ExecutionId::entity,
        _ => ExecutionId::instance,
    };
    vec![Filter::IdBegins(of(hub, prefix.unwrap_or_default()).to_string())]
}
