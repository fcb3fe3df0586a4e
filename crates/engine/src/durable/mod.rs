//! Instances and entities in the engine: Durable Task workers that attend, what they are handed, what
//! they answer, and what clients ask.
//!
//! A hand-out is a fact of memory alone: the row stays in the queues, taken, and the token says what
//! was handed out. Whoever goes away, or keeps a piece of work longer than its lease, loses it to
//! another; the first answer counts.

mod answers;
mod attempts;
mod entities;
mod hubs;
mod instances;
mod interop;
mod profile;
mod workers;

pub use answers::Answer;
pub use attempts::Unfinished;
pub use entities::EntityQuery;
pub use instances::{InstanceQuery, Purge, Purged, check_hub};
pub use profile::{NameFilter, Profile, Room, WorkFilters};
pub use workers::{Leases, Service, WorkItem, Worker, WorkerRegistry, WorkerSession};
