//! What a Durable Task worker says of itself: its hub, what it can do, and how much at once.

use std::sync::Arc;

use kernel::durable::{WorkKind, WorkQueue};

/// Who attends, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The task hub.
    pub hub: Arc<str>,
    /// What it calls itself; may be empty.
    pub name: Arc<str>,
    /// What it is: SDK and version; may be empty.
    pub agent: Arc<str>,
    /// What it can do; absent = everything.
    pub filters: Option<WorkFilters>,
    /// How much it takes at once.
    pub room: Room,
}

/// How many pieces of work of each kind may be out at once; 0 = any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Turns.
    pub orchestrations: usize,
    /// Activities.
    pub activities: usize,
    /// Batches of entities.
    pub entities: usize,
}

/// What a worker can do; what is not listed it cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkFilters {
    /// Orchestrators.
    pub orchestrations: Vec<NameFilter>,
    /// Activities.
    pub activities: Vec<NameFilter>,
    /// Entities, by name; case does not matter.
    pub entities: Vec<Arc<str>>,
}

/// A name, and which versions of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameFilter {
    /// The name.
    pub name: Arc<str>,
    /// Its versions; none = any. An empty one stands for what has no version.
    pub versions: Vec<Arc<str>>,
}

impl Profile {
    /// The versions that the worker takes of what stands in a queue, if it names any.
    pub(super) fn versions(&self, queue: &WorkQueue) -> Vec<Arc<str>> {
        let filters = self.filters.as_ref().map(|filters| match queue.kind {
            WorkKind::Orchestration => filters.orchestrations.as_slice(),
            WorkKind::Activity => filters.activities.as_slice(),
            WorkKind::Entity => &[],
        });
        let named = filters.unwrap_or_default().iter().filter(|it| it.name == queue.name);
        named.flat_map(|filter| filter.versions.iter().cloned()).collect()
    }

    /// Whether the worker can do what stands in a queue.
    pub fn takes(&self, queue: &WorkQueue) -> bool {
        let Some(filters) = &self.filters else { return true };
        let version = queue.version.as_deref().unwrap_or_default();
        let any = |filters: &[NameFilter]| {
            filters.iter().any(|filter| {
                let versions = &filter.versions;
                filter.name == queue.name
                    && (versions.is_empty() || versions.iter().any(|one| **one == *version))
            })
        };
        match queue.kind {
            WorkKind::Orchestration => any(&filters.orchestrations),
            WorkKind::Activity => any(&filters.activities),
            WorkKind::Entity => {
                filters.entities.iter().any(|name| name.eq_ignore_ascii_case(&queue.name))
            }
        }
    }
}
