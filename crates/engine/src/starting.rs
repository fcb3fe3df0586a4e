//! Starts that may come twice: a key names the work, and a strategy says what a repetition does.
//!
//! The first execution of a workflow name and key gets an id that follows from both, so the store
//! itself refuses a second one, also after a restart. While an execution with a key is open, it
//! holds a place in the queues under the key's name; whoever may start again once nothing of the
//! key runs looks there. Starts with the same key come one after the other.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use kernel::definition::IdempotencyStrategy;
use kernel::graph::{Input, Start, key_name};
use kernel::{ExecutionId, Rejected};
use tokio::sync::Mutex;

use crate::engine::{Engine, Error};

/// Keys whose starts may be under way at once.
const LANES: usize = 64;

/// One start at a time per lane; a key always has the same lane.
pub(crate) struct Lanes([Mutex<()>; LANES]);

impl Default for Lanes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Lanes {
    fn of(&self, key: &str) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        &self.0[hasher.finish() as usize % LANES]
    }
}

/// What came of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It has begun.
    New(ExecutionId),
    /// It was begun before, with the same key.
    Existing(ExecutionId),
}

impl Begun {
    /// The execution.
    pub fn id(&self) -> &ExecutionId {
        match self {
            Self::New(id) | Self::Existing(id) => id,
        }
    }
}

impl Engine {
    /// Starts a root execution under an id of its own; durable when this returns. With a strategy
    /// and a key it starts at most once, as the strategy says; a key alone is but a label.
    ///
    /// # Errors
    /// [`Rejected::Conflict`] if the strategy forbids a repetition; as [`Engine::step`].
    pub async fn begin(
        &self,
        start: Start,
        strategy: Option<IdempotencyStrategy>,
    ) -> Result<Begun, Error> {
        let (Some(strategy), Some(key)) = (strategy, start.idempotency_key.clone()) else {
            let id = Self::new_id();
            self.step(&id, Input::Start(Box::new(start))).await?;
            return Ok(Begun::New(id));
        };
        // On its own, so that a caller who goes away does not open the lane too early.
        let engine = self.clone();
        let begin = async move { engine.begin_once(start, &key, strategy).await };
        self.inner.tasks.spawn(begin).await.unwrap_or(Err(Error::Closing))
    }

    async fn begin_once(
        &self,
        start: Start,
        key: &str,
        strategy: IdempotencyStrategy,
    ) -> Result<Begun, Error> {
        let name: Arc<str> = start.plan.definition.name.as_str().into();
        let place = key_name(&name, key);
        let _lane = self.inner.lanes.of(&place).lock().await;
        if let Some(running) = self.inner.queues.holders(&place, 1).pop() {
            return repeated(running, strategy);
        }
        let first = id_of_key(&name, key);
        match self.step(&first, Input::Start(Box::new(start.clone()))).await {
            Ok(()) => Ok(Begun::New(first)),
            // Somebody started this before, and it has ended.
            Err(Error::Rejected(Rejected::Stale(_))) => match strategy {
                IdempotencyStrategy::FailOnRunning => {
                    let id = Self::new_id();
                    self.step(&id, Input::Start(Box::new(start))).await?;
                    Ok(Begun::New(id))
                }
                _ => repeated(first, strategy),
            },
            Err(error) => Err(error),
        }
    }
}

fn repeated(id: ExecutionId, strategy: IdempotencyStrategy) -> Result<Begun, Error> {
    match strategy {
        IdempotencyStrategy::ReturnExisting => Ok(Begun::Existing(id)),
        IdempotencyStrategy::Fail | IdempotencyStrategy::FailOnRunning => {
            let message = format!("workflow {id} was started with the same idempotencyKey");
            Err(Rejected::Conflict(message).into())
        }
    }
}

/// The id of the first execution of a workflow with a key.
fn id_of_key(name: &str, key: &str) -> ExecutionId {
    ExecutionId::new(name).derive(&format!("idempotency/{key}"), 0)
}
