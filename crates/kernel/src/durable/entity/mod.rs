//! Entities: named states whose operations workers run, one batch after the other.
//!
//! What comes is either *ready*, to go out with the next batch, or *waits* behind a lock request.
//! A lock is granted when its request is at the head and nothing is ready. While an entity is
//! locked, only its holder's operations become ready.

mod check;
mod context;
mod decide;
mod event;
mod state;

pub use context::{BatchResult, Context, Input, Signal};
pub use event::{Batched, Event};
pub use state::{Batch, Entity, Lock, Operation, Pending, Queued};

/// Whether an entity may be called so: `@name@key`, with a name.
pub fn is_id(id: &str) -> bool {
    id.strip_prefix('@').and_then(|id| id.split_once('@')).is_some_and(|(name, _)| !name.is_empty())
}
