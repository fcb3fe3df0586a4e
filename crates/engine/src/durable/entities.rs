//! What clients ask of entities: signal, look, list, clean.

use kernel::durable::ID_MAX;
use kernel::durable::entity::{Entity, Input, Signal, is_id};
use kernel::{ExecutionId, MachineKind, Rejected, Timestamp};

use super::instances::{check_hub, within};
use crate::engine::{Engine, Error};
use crate::search::{Counting, Filter, Mark, PAGE_MAX, Page, Search, TextField, TimeField};

/// Which entities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntityQuery {
    /// Whose ids begin so: `@name@key`, the name in any case.
    pub id_prefix: Option<String>,
    /// Changed at this instant or later.
    pub modified_from: Option<Timestamp>,
    /// Changed before this instant.
    pub modified_to: Option<Timestamp>,
    /// Those without a state, too.
    pub transient: bool,
    /// Only what comes after this entity in the order of ids, where another page ended.
    pub after: Option<ExecutionId>,
    /// Rows to answer, at most [`PAGE_MAX`].
    pub size: u64,
}

/// Entities looked at in one go.
const PAGE: u64 = 200;

impl Engine {
    /// Tells an entity to do something; durable when this returns. A request that was taken before
    /// changes nothing.
    ///
    /// # Errors
    /// [`Rejected::Invalid`] for a hub or id that cannot be; the store's.
    pub async fn signal_entity(
        &self,
        hub: &str,
        entity_id: &str,
        signal: Signal,
    ) -> Result<(), Error> {
        check_hub(hub)?;
        check_entity(entity_id)?;
        let id = ExecutionId::entity(hub, entity_id);
        match self.step(&id, Input::Signal(signal)).await {
            Err(Error::Rejected(Rejected::Stale(_))) => Ok(()),
            result => result,
        }
    }

    /// Looks at an entity; `None` if nothing is known of it.
    ///
    /// # Errors
    /// The store's.
    pub async fn entity<R>(
        &self,
        hub: &str,
        entity_id: &str,
        look: impl FnOnce(&Entity) -> R,
    ) -> Result<Option<R>, Error> {
        let id = ExecutionId::entity(hub, entity_id);
        Ok(self.look(&id, |machine| machine.entity().map(look)).await?.flatten())
    }

    /// The entities of a hub that match, by heads, in the order of their ids.
    ///
    /// # Errors
    /// The store's.
    pub async fn entities(&self, hub: &str, query: &EntityQuery) -> Result<Page, Error> {
        let mut prefix = query.id_prefix.clone().unwrap_or_default();
        if let Some(name) = prefix.strip_prefix('@').filter(|rest| !rest.contains('@')) {
            prefix = format!("@{}", name.to_lowercase());
        }
        let mut filters = within(hub, MachineKind::Entity, Some(&prefix));
        if !query.transient {
            let with = ["ACTIVE".to_owned(), "LOCKED".to_owned()];
            filters.push(Filter::In(TextField::Status, with.into()));
        }
        let updated = TimeField::Updated;
        filters.extend(query.modified_from.map(|at| Filter::After(updated, at.plus_millis(-1))));
        filters.extend(query.modified_to.map(|at| Filter::Before(updated, at)));
        let past = |id| Filter::Past(Mark { at: None, id, descending: false });
        filters.extend(query.after.clone().map(past));
        let search = Search {
            machine: MachineKind::Entity,
            beside: None,
            filters,
            sort: Mark::order(None, false),
            size: query.size.min(PAGE_MAX),
            counting: Counting::Next,
            ..Search::default()
        };
        Ok(self.store().search(&search).await?)
    }

    /// Takes locks from whoever is no more; tells how many. Holders give theirs back when they end,
    /// so there is hardly ever one.
    ///
    /// # Errors
    /// The store's.
    pub async fn release_orphaned_locks(&self, hub: &str) -> Result<u64, Error> {
        let (mut count, mut start) = (0, 0);
        loop {
            let mut filters = within(hub, MachineKind::Entity, None);
            filters.push(Filter::In(TextField::Status, vec!["LOCKED".to_owned()]));
            let machine = MachineKind::Entity;
            let search = Search { machine, filters, start, size: PAGE, ..Search::default() };
            let page = self.store().search(&search).await?;
            if page.rows.is_empty() {
                return Ok(count);
            }
            start += page.rows.len() as u64;
            for head in page.rows {
                let look = |machine: &crate::machine::AnyMachine| {
                    Some(machine.entity()?.lock.as_ref()?.holder.clone())
                };
                let Some(holder) = self.look(&head.id, look).await?.flatten() else { continue };
                let lives = self.look(&holder, crate::machine::AnyMachine::is_open).await?;
                if lives != Some(true) {
                    self.step(&head.id, Input::Release { holder }).await?;
                    count += 1;
                }
            }
        }
    }

    /// Removes entities that hold nothing and have not changed since `before`; tells how many.
    ///
    /// # Errors
    /// The store's.
    pub async fn remove_empty_entities(&self, hub: &str, before: Timestamp) -> Result<u64, Error> {
        let mut count = 0;
        loop {
            let mut filters = within(hub, MachineKind::Entity, None);
            filters.push(Filter::Closed(true));
            filters.push(Filter::Before(TimeField::Updated, before));
            let machine = MachineKind::Entity;
            let search = Search { machine, filters, size: PAGE, ..Search::default() };
            let page = self.store().search(&search).await?;
            if page.rows.is_empty() {
                return Ok(count);
            }
            for head in page.rows {
                count += u64::from(self.remove(&head.id).await?);
            }
        }
    }
}

/// Whether an entity may be called so.
fn check_entity(id: &str) -> Result<(), Rejected> {
    if !is_id(id) || id.len() > ID_MAX || id.chars().any(char::is_control) {
        let message = format!(
            "an entity id is '@name@key', of at most {ID_MAX} bytes without control characters: \
             '{id}'"
        );
        return Err(Rejected::Invalid(message));
    }
    Ok(())
}
