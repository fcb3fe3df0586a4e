//! Starts that may come twice: a key names the work, and a strategy says what a repetition does.
//!
//! The first execution of a workflow name and key gets an id that follows from both, so the store
//! itself refuses a second one, also after a restart. While an execution with a key is open, it
//! holds a place in the queues under the key's name; whoever may start again once nothing of the
//! key runs looks there. Starts with the same key come one after the other.
//!
//! A task that asks for an execution gives it an id of its own, but the key's id counts: what is
//! begun, or found, in place of the one asked for tells the task its id (see
//! [`Asker`](kernel::graph::Asker)).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use kernel::definition::IdempotencyStrategy;
use kernel::graph::{Input, Message, Start, key_name};
use kernel::{ExecutionId, Rejected};
use tokio::sync::Mutex;

use crate::engine::{Engine, Error};
use crate::machine::AnyInput;
use crate::mutants::{self, Mutant};
use crate::store::{MessageKey, Outgoing};

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
    /// [`Rejected::Conflict`] if the strategy forbids a repetition; [`Rejected::Full`] if the
    /// definition was started too often; as [`Engine::step`].
    pub async fn begin(
        &self,
        start: Start,
        strategy: Option<IdempotencyStrategy>,
    ) -> Result<Begun, Error> {
        let (name, by) = (start.plan.definition.name.clone(), start.acts_as.clone());
        self.admit_start(&name, by.as_deref())?;
        let (Some(strategy), Some(key)) = (strategy, start.idempotency_key.clone()) else {
            let id = Self::new_id();
            self.inner.cache.insert_new(&id);
            let begun = self.step(&id, Input::Start(Box::new(start))).await;
            return begun
                .map(|()| Begun::New(id))
                .inspect_err(|_| self.give_back_start(&name, by.as_deref()));
        };
        // On its own, so that a caller who goes away does not open the lane too early.
        let engine = self.clone();
        let begin = async move { engine.begin_once(start, &key, strategy).await };
        let begun = self.inner.tasks.spawn(begin).await.unwrap_or(Err(Error::Closing));
        if !matches!(begun, Ok(Begun::New(_))) {
            self.give_back_start(&name, by.as_deref());
        }
        begun
    }

    /// Starts a root execution under an id of the caller's choice; durable when this returns.
    ///
    /// # Errors
    /// [`Rejected::Stale`] if there is one of that id; [`Rejected::Full`] if the definition was
    /// started too often; as [`Engine::step`].
    pub async fn begin_at(&self, id: &ExecutionId, start: Start) -> Result<(), Error> {
        self.admit_start(&start.plan.definition.name, start.acts_as.as_deref())?;
        self.step(id, Input::Start(Box::new(start))).await
    }

    /// As [`Engine::begin`] under the id `other`, whose second start is the first one. Which id it
    /// gets under a key, the key says.
    ///
    /// # Errors
    /// As [`Engine::begin`].
    pub(crate) async fn begin_as(
        &self,
        other: ExecutionId,
        start: Start,
        strategy: Option<IdempotencyStrategy>,
    ) -> Result<Begun, Error> {
        let (Some(strategy), Some(key)) = (strategy, start.idempotency_key.clone()) else {
            return match self.step(&other, Input::Start(Box::new(start))).await {
                Ok(()) => Ok(Begun::New(other)),
                Err(Error::Rejected(Rejected::Stale(_))) => Ok(Begun::Existing(other)),
                Err(error) => Err(error),
            };
        };
        let name: Arc<str> = start.plan.definition.name.as_str().into();
        let _lane = self.inner.lanes.of(&key_name(&name, &key)).lock().await;
        self.begin_in_lane(start, &key, strategy, other, None).await
    }

    /// The executions that bear a key: the open one, and the first there ever was.
    pub(crate) fn bearers(&self, name: &str, key: &str) -> Vec<ExecutionId> {
        let mut bearers = self.inner.queues.holders(&key_name(name, key), 1);
        bearers.push(id_of_key(name, key));
        bearers
    }

    async fn begin_once(
        &self,
        start: Start,
        key: &str,
        strategy: IdempotencyStrategy,
    ) -> Result<Begun, Error> {
        let name: Arc<str> = start.plan.definition.name.as_str().into();
        let _lane = self.inner.lanes.of(&key_name(&name, key)).lock().await;
        self.begin_in_lane(start, key, strategy, Self::new_id(), None).await
    }

    /// Begins what a message asks for, or has the execution that is there in its place answer.
    /// Whatever comes of it is committed with the receipt of the message.
    ///
    /// # Errors
    /// [`Rejected::Conflict`] if the strategy forbids a repetition, or the asker would wait for
    /// itself; as [`Engine::step`].
    pub(crate) async fn begin_received(
        &self,
        outgoing: &Outgoing,
        start: Start,
        strategy: Option<IdempotencyStrategy>,
    ) -> Result<(), Error> {
        let received = Some(outgoing.key.clone());
        let (Some(strategy), Some(key)) = (strategy, start.idempotency_key.clone()) else {
            let start = Input::Start(Box::new(start)).into();
            return self.step_received(&outgoing.to, start, received).await;
        };
        let (asker, to_the_end) = (start.asked_by.clone(), start.parent.is_some());
        let name: Arc<str> = start.plan.definition.name.as_str().into();
        let _lane = self.inner.lanes.of(&key_name(&name, &key)).lock().await;
        let other = outgoing.to.clone();
        let begun = self.begin_in_lane(start, &key, strategy, other, received.clone()).await?;
        let Begun::Existing(id) = begun else { return Ok(()) };
        let Some(asker) = asker else {
            return Err(Rejected::Stale(format!("workflow {id} exists already")).into());
        };
        if to_the_end && self.line_of(&asker.by.execution).await?.contains(&id) {
            let message = format!(
                "workflow {id}, which was started with the same idempotencyKey, waits for this \
                 task: the task cannot wait for it"
            );
            return Err(Rejected::Conflict(message).into());
        }
        let watch = AnyInput::Message(Message::Watch { asker, to_the_end });
        match self.step_received(&id, watch, received).await {
            Err(Error::Rejected(Rejected::Unknown(_))) => {
                let message = format!("workflow {id} was removed while it was looked for");
                Err(Rejected::Conflict(message).into())
            }
            result => result,
        }
    }

    /// Begins under the key's own id, or under `other` where that is taken and the strategy allows
    /// it. Only for whoever has the key's lane.
    async fn begin_in_lane(
        &self,
        start: Start,
        key: &str,
        strategy: IdempotencyStrategy,
        other: ExecutionId,
        received: Option<MessageKey>,
    ) -> Result<Begun, Error> {
        let name = start.plan.definition.name.clone();
        if let Some(running) = self.inner.queues.holders(&key_name(&name, key), 1).pop() {
            return repeated(running, strategy);
        }
        let first =
            if mutants::is(Mutant::KeyForgotten) { other.clone() } else { id_of_key(&name, key) };
        let input = AnyInput::from(Input::Start(Box::new(start)));
        match self.step_received(&first, input.clone(), received.clone()).await {
            Ok(()) => Ok(Begun::New(first)),
            // Somebody started this before, and it has ended.
            Err(Error::Rejected(Rejected::Stale(_))) => match strategy {
                IdempotencyStrategy::FailOnRunning => {
                    self.step_received(&other, input, received).await?;
                    Ok(Begun::New(other))
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
