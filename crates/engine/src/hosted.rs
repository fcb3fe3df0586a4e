//! What the engine hosts: every durable state machine of the kernel behind one face.
//!
//! An id says which machine it names ([`ExecutionId::machine`]); the engine loads, decides, commits
//! and wakes all alike. A further kind of machine is one variant here.

use std::sync::Arc;

use kernel::alert::{self, Monitor};
use kernel::graph::{Context, Event, Execution, Input, Message, Plan, Status};
use kernel::schedule::{self, Schedule};
use kernel::{Effect, ExecutionId, Machine, MachineKind, Rejected, Timestamp};

use crate::definitions::Definitions;
use crate::head;
use crate::store::{Head, StoreError};

/// One machine, in whatever state.
#[derive(Debug)]
pub enum Hosted {
    /// A run of a definition.
    Execution(Box<Execution>),
    /// What starts executions by the clock.
    Schedule(Box<Schedule>),
    /// What watches, and rings.
    Monitor(Box<Monitor>),
}

/// What the world says to a machine.
#[derive(Clone, Debug)]
pub enum Stimulus {
    /// Look at the clock.
    Wake,
    /// Another machine says something.
    Message(Message),
    /// An input for an execution.
    Execution(Box<Input>),
    /// An input for a schedule.
    Schedule(schedule::Input),
    /// An input for a monitor.
    Monitor(alert::Input),
}

impl From<Input> for Stimulus {
    fn from(input: Input) -> Self {
        Self::Execution(Box::new(input))
    }
}

impl From<schedule::Input> for Stimulus {
    fn from(input: schedule::Input) -> Self {
        Self::Schedule(input)
    }
}

impl From<alert::Input> for Stimulus {
    fn from(input: alert::Input) -> Self {
        Self::Monitor(input)
    }
}

/// What came of a stimulus, ready to be committed.
pub(crate) struct Decided {
    /// The facts as one history row; `None` if nothing changed.
    pub(crate) events: Option<String>,
    /// Plans that the facts pin.
    pub(crate) plans: Vec<(Arc<str>, Arc<str>)>,
    /// The searchable text, if it changed.
    pub(crate) text: Option<String>,
    /// What is owed.
    pub(crate) effects: Vec<Effect>,
}

impl Hosted {
    /// A machine that has not begun: its history is folded from here.
    pub(crate) fn new(id: ExecutionId) -> Self {
        match id.machine() {
            MachineKind::Schedule => Self::Schedule(Box::new(Schedule::new(id))),
            MachineKind::Monitor => Self::Monitor(Box::new(Monitor::new(id))),
            MachineKind::Execution => Self::Execution(Box::new(Execution::new(id))),
        }
    }

    /// Whether it has begun.
    pub(crate) fn exists(&self) -> bool {
        match self {
            Self::Execution(state) => state.is_started(),
            Self::Schedule(state) => state.has_begun(),
            Self::Monitor(state) => state.spec.is_some(),
        }
    }

    /// Whether more is to come.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Execution(state) => state.is_started() && !state.status.is_closed(),
            Self::Schedule(state) => state.is_defined() || !state.open.is_empty(),
            Self::Monitor(state) => !head::is_over(state),
        }
    }

    /// Where it stands, in the words of executions.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Execution(state) => state.status,
            Self::Schedule(state) => state.status(),
            Self::Monitor(state) if state.removed => Status::Terminated,
            Self::Monitor(_) => Status::Running,
        }
    }

    /// When time alone may change something.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        match self {
            Self::Execution(state) => state.wake_at(),
            Self::Schedule(state) => state.wake_at(),
            Self::Monitor(state) => state.wake_at(),
        }
    }

    /// What lists and the waker know of it after its `version`-th commit.
    pub(crate) fn head(&self, version: u64) -> Head {
        match self {
            Self::Execution(state) => head::of(state, version),
            Self::Schedule(state) => head::of_schedule(state, version),
            Self::Monitor(state) => head::of_monitor(state, version),
        }
    }

    /// The execution, if it is one.
    pub fn execution(&self) -> Option<&Execution> {
        match self {
            Self::Execution(state) => Some(state),
            Self::Schedule(_) | Self::Monitor(_) => None,
        }
    }

    /// The schedule, if it is one.
    pub fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Execution(_) | Self::Monitor(_) => None,
            Self::Schedule(state) => Some(state),
        }
    }

    /// The monitor, if it is one.
    pub fn monitor(&self) -> Option<&Monitor> {
        match self {
            Self::Execution(_) | Self::Schedule(_) => None,
            Self::Monitor(state) => Some(state),
        }
    }

    /// Decides, and folds what was decided.
    pub(crate) fn decide(
        &mut self,
        stimulus: Stimulus,
        context: &Context<'_>,
    ) -> Result<Decided, Rejected> {
        match self {
            Self::Execution(state) => {
                let input = match stimulus {
                    Stimulus::Wake => Input::Wake,
                    Stimulus::Message(message) => Input::Message(message),
                    Stimulus::Execution(input) => *input,
                    Stimulus::Schedule(_) => return Err(no_such(&state.id, "schedule")),
                    Stimulus::Monitor(_) => return Err(no_such(&state.id, "monitor")),
                };
                let decision = state.decide(input, context)?;
                Ok(Decided {
                    plans: plans_of(&decision.events),
                    text: head::text(state, &decision.events),
                    events: row(&decision.events),
                    effects: decision.effects,
                })
            }
            Self::Schedule(state) => {
                let input = match stimulus {
                    Stimulus::Wake => schedule::Input::Wake,
                    Stimulus::Message(message) => schedule::Input::Message(message),
                    Stimulus::Schedule(input) => input,
                    Stimulus::Execution(_) => return Err(no_such(&state.id, "workflow")),
                    Stimulus::Monitor(_) => return Err(no_such(&state.id, "monitor")),
                };
                let limits = schedule::Limits::default();
                let context = schedule::Context { now: context.now, limits: &limits };
                let decision = state.decide(input, &context)?;
                let defined =
                    |event: &schedule::Event| matches!(event, schedule::Event::Defined { .. });
                Ok(Decided {
                    plans: Vec::new(),
                    text: decision.events.iter().any(defined).then(|| head::schedule_text(state)),
                    events: row(&decision.events),
                    effects: decision.effects,
                })
            }
            Self::Monitor(state) => {
                let input = match stimulus {
                    Stimulus::Wake => alert::Input::Wake,
                    Stimulus::Message(message) => alert::Input::Message(message),
                    Stimulus::Monitor(input) => input,
                    Stimulus::Execution(_) => return Err(no_such(&state.id, "workflow")),
                    Stimulus::Schedule(_) => return Err(no_such(&state.id, "schedule")),
                };
                let decision = state.decide(input, &alert::Context { now: context.now })?;
                let defined = |event: &alert::Event| matches!(event, alert::Event::Defined(_));
                Ok(Decided {
                    plans: Vec::new(),
                    text: decision.events.iter().any(defined).then(|| head::monitor_text(state)),
                    events: row(&decision.events),
                    effects: decision.effects,
                })
            }
        }
    }

    /// Folds one history row.
    pub(crate) async fn fold(
        &mut self,
        row: &str,
        definitions: &Definitions,
    ) -> Result<(), StoreError> {
        match self {
            Self::Execution(state) => {
                let mut events: Vec<Event> = parse(row, &state.id)?;
                for event in &mut events {
                    if let Some(plan) = event.plan_mut() {
                        plan.plan = Some(definitions.pinned(&plan.hash).await?);
                    }
                    state.apply(event);
                }
            }
            Self::Schedule(state) => {
                let events: Vec<schedule::Event> = parse(row, &state.id)?;
                for event in &events {
                    state.apply(event);
                }
            }
            Self::Monitor(state) => {
                let events: Vec<alert::Event> = parse(row, &state.id)?;
                for event in &events {
                    state.apply(event);
                }
            }
        }
        Ok(())
    }

    /// Bytes of history below which no snapshot is taken.
    ///
    /// Executions end; a monitor never does, and is small. With thousands of them, each checked every
    /// few seconds, what they are folded from must stay small too, or neither memory nor disk has
    /// room for it.
    pub(crate) fn snapshot_bytes_min(&self) -> usize {
        match self {
            Self::Execution(_) | Self::Schedule(_) => 256 << 10,
            Self::Monitor(_) => 4 << 10,
        }
    }

    /// Everything as one history row that stands for all before it.
    pub(crate) fn snapshot(&self) -> String {
        match self {
            Self::Execution(state) => row(&[state.snapshot()]).expect("a snapshot is an event"),
            Self::Schedule(state) => row(&[state.snapshot()]).expect("a snapshot is an event"),
            Self::Monitor(state) => row(&[state.snapshot()]).expect("a snapshot is an event"),
        }
    }
}

/// An input for another kind of machine.
fn no_such(id: &ExecutionId, kind: &str) -> Rejected {
    Rejected::Unknown(format!("No such {kind} found by id: {id}"))
}

fn row<E: serde::Serialize>(events: &[E]) -> Option<String> {
    (!events.is_empty()).then(|| serde_json::to_string(events).expect("events serialize to JSON"))
}

fn parse<E: serde::de::DeserializeOwned>(
    row: &str,
    id: &ExecutionId,
) -> Result<Vec<E>, StoreError> {
    serde_json::from_str(row)
        .map_err(|error| StoreError::Corrupt(format!("history of {id}: {error}")))
}

fn plans_of(events: &[Event]) -> Vec<(Arc<str>, Arc<str>)> {
    events
        .iter()
        .filter_map(|event| event.plan()?.plan.as_ref())
        .map(|plan: &Arc<Plan>| (plan.hash.clone(), plan.text.clone()))
        .collect()
}
