//! What the engine hosts: every durable state machine of the kernel behind one face.
//!
//! An id says which machine it names ([`ExecutionId::machine`]); the engine loads, decides, commits
//! and wakes all alike. A further kind of machine is a file here, which implements [`DurableMachine`], and a
//! line in the list of [`machines!`] (decision 0080).

mod entity;
mod execution;
mod instance;
mod monitor;
mod schedule;

use std::sync::Arc;

use async_trait::async_trait;
use kernel::alert::{self, Monitor};
use kernel::durable::entity::Entity;
use kernel::durable::instance::Instance;
use kernel::graph::{Context, Execution, Input, Message, Status};
use kernel::schedule::Schedule;
use kernel::{Effect, ExecutionId, MachineKind, Rejected, Timestamp};

use crate::board::Board;
use crate::definitions::Definitions;
use crate::store::{Head, StoreError};

/// What the engine asks of a durable state machine of any kind.
#[async_trait]
pub(crate) trait DurableMachine: Send {
    /// Whether it has begun.
    fn exists(&self) -> bool;

    /// Whether more is to come.
    fn is_open(&self) -> bool;

    /// Where it stands, in the words of executions.
    fn status(&self) -> Status;

    /// When time alone may change something.
    fn wakes_at(&self) -> Option<Timestamp>;

    /// What lists and the waker know of it after its `version`-th commit.
    fn head(&self, version: u64) -> Head;

    /// Decides, and folds what was decided.
    fn decide_any(
        &mut self,
        input: AnyInput,
        context: &DecisionContext<'_>,
    ) -> Result<Decided, Rejected>;

    /// Folds one history row.
    async fn fold(&mut self, row: &str, definitions: &Definitions) -> Result<(), StoreError>;

    /// Everything as one history row that stands for all before it.
    fn snapshot_row(&self) -> String;

    /// Whether a row of this number belongs in the queues.
    fn has_row(&self, _number: u32) -> bool {
        false
    }

    /// The numbers of its rows in the queues.
    fn rows(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Whoever waits for its end.
    fn waits_for_end(&self) -> Option<ExecutionId> {
        None
    }

    /// Nobody waits for its commits: monitors, their checks and their notifications, of which a
    /// large number moves all the time.
    fn is_deferrable(&self) -> bool {
        false
    }

    /// Whether it runs and ends, and is counted among those that did.
    fn is_run(&self) -> bool {
        false
    }

    /// Of a run that has ended, whether it ended as it should.
    fn end(&self) -> Option<bool> {
        None
    }

    /// Whether a decision may take long: it evaluates something of users, or its expressions have
    /// much to read. `bytes` is about what the state holds.
    fn may_evaluate(&self, _input: &AnyInput, _bytes: usize) -> bool {
        false
    }

    /// Bytes of history below which no snapshot is taken.
    fn snapshot_bytes_min(&self) -> usize {
        256 << 10
    }

    /// Whether its history stays as it was written, so that no snapshot takes the place of it.
    fn keeps_history(&self) -> bool {
        false
    }

    /// What lists show of it beyond its head, as text; `None` of what has no briefs.
    fn brief(&self) -> Option<String> {
        None
    }

    /// Whether the inputs of what it starts are its author's text, in which secrets are named.
    fn authors_inputs(&self) -> bool {
        false
    }

    /// Notes how it stands, after it was loaded or has changed.
    fn note(&self, _board: &Board) {}
}

/// What decisions look at besides the state.
pub(crate) struct DecisionContext<'a> {
    /// What all look at.
    pub(crate) context: &'a Context<'a>,
    /// The bounds of schedules.
    pub(crate) schedules: &'a kernel::schedule::Limits,
    /// Since when the server hears whoever calls it.
    pub(crate) listening_since: &'a (dyn Fn() -> Timestamp + 'a),
}

/// Makes one enum of all machines and one of all inputs of the list of kinds, each with the name of what it
/// is, the type of its state and that of its inputs.
macro_rules! machines {
    ($($(#[$doc:meta])* $name:ident: $kind:ident($state:ty) takes $input:ty,)+) => {
        /// One machine, in whatever state.
        #[derive(Debug)]
        pub enum AnyMachine {
            $($(#[$doc])* $kind(Box<$state>),)+
        }

        /// What the world says to a machine.
        #[derive(Clone, Debug)]
        pub enum AnyInput {
            /// Look at the clock.
            Wake,
            /// Another machine says something.
            Message(Message),
            $($(#[$doc])* $kind($input),)+
        }

        impl AnyMachine {
            /// A machine that has not begun: its history is folded from here.
            pub(crate) fn new(id: ExecutionId) -> Self {
                match id.machine() {
                    $(MachineKind::$kind => Self::$kind(Box::new(<$state>::new(id))),)+
                }
            }

            fn hosted(&self) -> &dyn DurableMachine {
                match self {
                    $(Self::$kind(state) => &**state,)+
                }
            }

            fn hosted_mut(&mut self) -> &mut dyn DurableMachine {
                match self {
                    $(Self::$kind(state) => &mut **state,)+
                }
            }

            $(
                /// The state of one of this kind.
                pub fn $name(&self) -> Option<&$state> {
                    match self {
                        Self::$kind(state) => Some(state),
                        _ => None,
                    }
                }
            )+
        }

        impl AnyInput {
            /// What it is for, as people call it.
            fn addressee(&self) -> &'static str {
                match self {
                    Self::Wake | Self::Message(_) => MachineKind::Execution.word(),
                    $(Self::$kind(_) => MachineKind::$kind.word(),)+
                }
            }
        }
    };
}

machines! {
    /// A run of a definition.
    execution: Execution(Execution) takes Box<Input>,
    /// What starts executions by the clock.
    schedule: Schedule(Schedule) takes kernel::schedule::Input,
    /// What watches, and rings.
    monitor: Monitor(Monitor) takes alert::Input,
    /// A run of an orchestrator.
    instance: Instance(Instance) takes Box<kernel::durable::instance::Input>,
    /// A named state.
    entity: Entity(Entity) takes Box<kernel::durable::entity::Input>,
}

/// What came of an input, ready to be committed.
pub(crate) struct Decided {
    /// The facts as one history row; `None` if nothing changed.
    pub(crate) events: Option<String>,
    /// Plans that the facts pin.
    pub(crate) plans: Vec<(Arc<str>, Arc<str>)>,
    /// The searchable text, if it changed.
    pub(crate) text: Option<String>,
    /// The facts may change what lists show of it.
    pub(crate) is_news: bool,
    /// What is owed.
    pub(crate) effects: Vec<Effect>,
}

impl Decided {
    /// There is nothing to write, and nothing is owed.
    pub(crate) fn is_nothing(&self) -> bool {
        self.events.is_none() && self.effects.is_empty()
    }
}

impl AnyMachine {
    /// As [`DurableMachine::exists`].
    pub(crate) fn exists(&self) -> bool {
        self.hosted().exists()
    }

    /// As [`DurableMachine::is_open`].
    pub(crate) fn is_open(&self) -> bool {
        self.hosted().is_open()
    }

    /// Where it stands, in the words of executions.
    pub fn status(&self) -> Status {
        self.hosted().status()
    }

    /// As [`DurableMachine::wakes_at`].
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        self.hosted().wakes_at()
    }

    /// As [`DurableMachine::head`].
    pub(crate) fn head(&self, version: u64) -> Head {
        self.hosted().head(version)
    }

    /// As [`DurableMachine::has_row`].
    pub(crate) fn is_queued(&self, number: u32) -> bool {
        self.hosted().has_row(number)
    }

    /// As [`DurableMachine::rows`].
    pub(crate) fn queued(&self) -> Vec<u32> {
        self.hosted().rows()
    }

    /// As [`DurableMachine::waits_for_end`].
    pub(crate) fn parent(&self) -> Option<ExecutionId> {
        self.hosted().waits_for_end()
    }

    /// As [`DurableMachine::is_deferrable`].
    pub(crate) fn is_deferrable(&self) -> bool {
        self.hosted().is_deferrable()
    }

    /// As [`DurableMachine::is_run`].
    pub(crate) fn is_run(&self) -> bool {
        self.hosted().is_run()
    }

    /// As [`DurableMachine::end`].
    pub(crate) fn end(&self) -> Option<bool> {
        self.hosted().end()
    }

    /// As [`DurableMachine::may_evaluate`].
    pub(crate) fn may_evaluate(&self, input: &AnyInput, bytes: usize) -> bool {
        self.hosted().may_evaluate(input, bytes)
    }

    /// As [`DurableMachine::decide_any`].
    pub(crate) fn decide(
        &mut self,
        input: AnyInput,
        context: &DecisionContext<'_>,
    ) -> Result<Decided, Rejected> {
        self.hosted_mut().decide_any(input, context)
    }

    /// As [`DurableMachine::fold`].
    pub(crate) async fn fold(
        &mut self,
        row: &str,
        definitions: &Definitions,
    ) -> Result<(), StoreError> {
        self.hosted_mut().fold(row, definitions).await
    }

    /// As [`DurableMachine::snapshot_bytes_min`].
    pub(crate) fn snapshot_bytes_min(&self) -> usize {
        self.hosted().snapshot_bytes_min()
    }

    /// As [`DurableMachine::keeps_history`].
    pub(crate) fn keeps_history(&self) -> bool {
        self.hosted().keeps_history()
    }

    /// As [`DurableMachine::brief`].
    pub(crate) fn brief(&self) -> Option<String> {
        self.hosted().brief()
    }

    /// As [`DurableMachine::authors_inputs`].
    pub(crate) fn authors_inputs(&self) -> bool {
        self.hosted().authors_inputs()
    }

    /// As [`DurableMachine::snapshot_row`].
    pub(crate) fn snapshot(&self) -> String {
        self.hosted().snapshot_row()
    }

    /// As [`DurableMachine::note`].
    pub(crate) fn note(&self, board: &Board) {
        self.hosted().note(board);
    }
}

impl AnyInput {
    /// Whether it does nothing but end an execution.
    pub(crate) fn ends_execution(&self) -> bool {
        matches!(self, Self::Execution(input) if input.ends())
    }

    /// It is for another kind of machine than the id names.
    fn misdirected(&self, id: &ExecutionId) -> Rejected {
        Rejected::Unknown(format!("No such {} found by id: {id}", self.addressee()))
    }
}

fn row<E: serde::Serialize>(events: &[E]) -> Option<String> {
    (!events.is_empty()).then(|| serde_json::to_string(events).expect("events serialize to JSON"))
}

/// A snapshot as a history row of its own.
fn whole<E: serde::Serialize>(snapshot: E) -> String {
    serde_json::to_string(&[snapshot]).expect("events serialize to JSON")
}

fn parse<E: serde::de::DeserializeOwned>(
    row: &str,
    id: &ExecutionId,
) -> Result<Vec<E>, StoreError> {
    serde_json::from_str(row)
        .map_err(|error| StoreError::Corrupt(format!("history of {id}: {error}")))
}
