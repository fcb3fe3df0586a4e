//! What the engine hosts: every durable state machine of the kernel behind one face.
//!
//! An id says which machine it names ([`ExecutionId::machine`]); the engine loads, decides, commits
//! and wakes all alike. A further kind of machine is a variant here, with an arm wherever kinds differ;
//! the compiler names each.

use std::sync::Arc;

use kernel::alert::{self, Monitor};
use kernel::durable::entity::{self, Entity};
use kernel::durable::instance::{self, Instance};
use kernel::graph::{Context, Event, Execution, Input, Message, Plan, Status};
use kernel::schedule::{self, Schedule};
use kernel::{Effect, ExecutionId, Json, Machine, MachineKind, Rejected, Timestamp};

use crate::brief::{self, Brief};
use crate::definitions::Definitions;
use crate::head;
use crate::store::{Head, StoreError};

/// Bytes of a definition times bytes of a state beyond which its expressions may take long: each
/// may go through all of the state.
const EXPRESSIONS_MAX: usize = 1 << 30;

/// One machine, in whatever state.
#[derive(Debug)]
pub enum AnyMachine {
    /// A run of a definition.
    Execution(Box<Execution>),
    /// What starts executions by the clock.
    Schedule(Box<Schedule>),
    /// What watches, and rings.
    Monitor(Box<Monitor>),
    /// A run of an orchestrator.
    Instance(Box<Instance>),
    /// A named state.
    Entity(Box<Entity>),
}

/// What the world says to a machine.
#[derive(Clone, Debug)]
pub enum AnyInput {
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
    /// An input for an instance.
    Instance(Box<instance::Input>),
    /// An input for an entity.
    Entity(Box<entity::Input>),
}

impl From<Input> for AnyInput {
    fn from(input: Input) -> Self {
        Self::Execution(Box::new(input))
    }
}

impl From<schedule::Input> for AnyInput {
    fn from(input: schedule::Input) -> Self {
        Self::Schedule(input)
    }
}

impl From<alert::Input> for AnyInput {
    fn from(input: alert::Input) -> Self {
        Self::Monitor(input)
    }
}

impl From<instance::Input> for AnyInput {
    fn from(input: instance::Input) -> Self {
        Self::Instance(Box::new(input))
    }
}

impl From<entity::Input> for AnyInput {
    fn from(input: entity::Input) -> Self {
        Self::Entity(Box::new(input))
    }
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
    /// A machine that has not begun: its history is folded from here.
    pub(crate) fn new(id: ExecutionId) -> Self {
        match id.machine() {
            MachineKind::Schedule => Self::Schedule(Box::new(Schedule::new(id))),
            MachineKind::Monitor => Self::Monitor(Box::new(Monitor::new(id))),
            MachineKind::Execution => Self::Execution(Box::new(Execution::new(id))),
            MachineKind::Instance => Self::Instance(Box::new(Instance::new(id))),
            MachineKind::Entity => Self::Entity(Box::new(Entity::new(id))),
        }
    }

    /// Whether it has begun.
    pub(crate) fn exists(&self) -> bool {
        match self {
            Self::Execution(state) => state.is_started(),
            Self::Schedule(state) => state.has_begun(),
            Self::Monitor(state) => state.spec.is_some(),
            Self::Instance(state) => state.has_begun(),
            Self::Entity(state) => state.has_begun(),
        }
    }

    /// Whether more is to come.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Execution(state) => state.is_started() && !state.status.is_closed(),
            Self::Schedule(state) => state.is_defined() || !state.open.is_empty(),
            Self::Monitor(state) => !head::is_over(state),
            Self::Instance(state) => state.is_open(),
            Self::Entity(state) => state.has_begun() && !state.is_empty(),
        }
    }

    /// Where it stands, in the words of executions.
    pub fn status(&self) -> Status {
        match self {
            Self::Execution(state) => state.status,
            Self::Schedule(state) => state.status(),
            Self::Monitor(state) if state.removed => Status::Terminated,
            Self::Instance(state) => state.status.of_execution(),
            Self::Monitor(_) | Self::Entity(_) => Status::Running,
        }
    }

    /// When time alone may change something.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        match self {
            Self::Execution(state) => state.wake_at(),
            Self::Schedule(state) => state.wake_at(),
            Self::Monitor(state) => state.wake_at(),
            Self::Instance(state) => state.wake_at(),
            Self::Entity(state) => state.wake_at(),
        }
    }

    /// What lists and the waker know of it after its `version`-th commit.
    pub(crate) fn head(&self, version: u64) -> Head {
        match self {
            Self::Execution(state) => head::of(state, version),
            Self::Schedule(state) => head::of_schedule(state, version),
            Self::Monitor(state) => head::of_monitor(state, version),
            Self::Instance(state) => head::of_instance(state, version),
            Self::Entity(state) => head::of_entity(state, version),
        }
    }

    /// The execution, if it is one.
    pub fn execution(&self) -> Option<&Execution> {
        match self {
            Self::Execution(state) => Some(state),
            _ => None,
        }
    }

    /// The schedule, if it is one.
    pub fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Schedule(state) => Some(state),
            _ => None,
        }
    }

    /// The monitor, if it is one.
    pub fn monitor(&self) -> Option<&Monitor> {
        match self {
            Self::Monitor(state) => Some(state),
            _ => None,
        }
    }

    /// The instance, if it is one.
    pub fn instance(&self) -> Option<&Instance> {
        match self {
            Self::Instance(state) => Some(state),
            _ => None,
        }
    }

    /// The entity, if it is one.
    pub fn entity(&self) -> Option<&Entity> {
        match self {
            Self::Entity(state) => Some(state),
            _ => None,
        }
    }

    /// Whether a row of this number belongs in the queues.
    pub(crate) fn is_queued(&self, sequence: u32) -> bool {
        match self {
            Self::Execution(state) => {
                state.task(sequence).is_some_and(|task| !task.status.is_closed())
            }
            Self::Instance(state) => state.is_queued(sequence),
            Self::Entity(state) => state.is_queued(sequence),
            Self::Schedule(_) | Self::Monitor(_) => false,
        }
    }

    /// The numbers of its rows in the queues.
    pub(crate) fn queued(&self) -> Vec<u32> {
        match self {
            Self::Execution(state) => state.open_tasks().map(|task| task.sequence).collect(),
            Self::Instance(state) => state.queued(),
            Self::Entity(_) => vec![kernel::durable::TURN],
            Self::Schedule(_) | Self::Monitor(_) => Vec::new(),
        }
    }

    /// Whoever waits for its end.
    pub(crate) fn parent(&self) -> Option<ExecutionId> {
        match self {
            Self::Execution(state) => state.parent.as_ref().map(|p| p.execution.clone()),
            Self::Instance(state) => state.parent(),
            Self::Schedule(_) | Self::Monitor(_) | Self::Entity(_) => None,
        }
    }

    /// Nobody waits for its commits: monitors, their checks and their notifications, of which a
    /// large number moves all the time.
    pub(crate) fn is_deferrable(&self) -> bool {
        let is_monitor = |id: &ExecutionId| id.machine() == MachineKind::Monitor;
        match self {
            Self::Monitor(_) => true,
            Self::Execution(state) => {
                state.parent.as_ref().is_some_and(|parent| is_monitor(&parent.execution))
            }
            Self::Schedule(_) | Self::Instance(_) | Self::Entity(_) => false,
        }
    }

    /// Of an execution or instance that has ended, whether it ended as it should.
    pub(crate) fn end(&self) -> Option<bool> {
        match self {
            Self::Execution(state) => {
                state.status.is_closed().then_some(state.status == Status::Completed)
            }
            Self::Instance(state) => {
                let completed = state.status == kernel::durable::Status::Completed;
                state.status.is_closed().then_some(completed)
            }
            Self::Schedule(_) | Self::Monitor(_) | Self::Entity(_) => None,
        }
    }

    /// Whether a decision may take long: it evaluates something of users, or its expressions have
    /// much to read. `bytes` is about what the state holds.
    pub(crate) fn may_evaluate(&self, input: &AnyInput, bytes: usize) -> bool {
        let Self::Execution(state) = self else { return false };
        let takes_long = |plan: &Plan, bytes: usize| {
            plan.evaluates || plan.text.len().saturating_mul(bytes) > EXPRESSIONS_MAX
        };
        let starts = match input {
            AnyInput::Execution(input) => match &**input {
                Input::Start(start) => Some((&start.plan, start.input.len())),
                Input::Branch(branch) => {
                    let plan = branch.plan.as_ref().unwrap_or_else(|| branch.original.plan());
                    let tasks = branch.original.tasks().map(|task| task.output.len());
                    Some((plan, branch.original.input.len() + tasks.sum::<usize>()))
                }
                // These lead to nothing else, unless something was put off.
                Input::Claim { .. } | Input::Extend { .. } if !state.has_yielded() => return false,
                input if input.ends() => return false,
                _ => None,
            },
            _ => None,
        };
        match starts {
            Some((plan, bytes)) => takes_long(plan, bytes),
            None => state.is_started() && takes_long(state.plan(), bytes),
        }
    }

    /// Decides, and folds what was decided.
    pub(crate) fn decide(
        &mut self,
        input: AnyInput,
        context: &Context<'_>,
        schedules: &schedule::Limits,
        listening_since: Option<Timestamp>,
    ) -> Result<Decided, Rejected> {
        match self {
            Self::Execution(state) => {
                let input = match input {
                    AnyInput::Wake => Input::Wake,
                    AnyInput::Message(message) => Input::Message(message),
                    AnyInput::Execution(input) => *input,
                    other => return Err(other.misdirected(&state.id)),
                };
                let decision = state.decide(input, context)?;
                Ok(Decided {
                    plans: plans_of(&decision.events),
                    text: head::text(state, &decision.events),
                    is_news: brief::is_changed(&decision.events),
                    events: row(&decision.events),
                    effects: decision.effects,
                })
            }
            Self::Schedule(state) => {
                let input = match input {
                    AnyInput::Wake => schedule::Input::Wake,
                    AnyInput::Message(message) => schedule::Input::Message(message),
                    AnyInput::Schedule(input) => input,
                    other => return Err(other.misdirected(&state.id)),
                };
                let context = schedule::Context { now: context.now, limits: schedules };
                let decision = state.decide(input, &context)?;
                let defined =
                    |event: &schedule::Event| matches!(event, schedule::Event::Defined { .. });
                Ok(Decided {
                    plans: Vec::new(),
                    text: decision.events.iter().any(defined).then(|| head::schedule_text(state)),
                    events: row(&decision.events),
                    is_news: false,
                    effects: decision.effects,
                })
            }
            Self::Monitor(state) => {
                let input = match input {
                    AnyInput::Wake => alert::Input::Wake,
                    AnyInput::Message(message) => alert::Input::Message(message),
                    AnyInput::Monitor(input) => input,
                    other => return Err(other.misdirected(&state.id)),
                };
                let context =
                    alert::Context { now: context.now, asks_parents: true, listening_since };
                let decision = state.decide(input, &context)?;
                let defined = |event: &alert::Event| matches!(event, alert::Event::Defined(_));
                Ok(Decided {
                    plans: Vec::new(),
                    text: decision.events.iter().any(defined).then(|| head::monitor_text(state)),
                    events: row(&decision.events),
                    is_news: false,
                    effects: decision.effects,
                })
            }
            Self::Instance(state) => {
                let input = match input {
                    AnyInput::Wake => instance::Input::Wake,
                    AnyInput::Message(message) => instance::Input::Message(message),
                    AnyInput::Instance(input) => *input,
                    other => return Err(other.misdirected(&state.id)),
                };
                let context = instance::Context { now: context.now, limits: context.limits };
                let decision = state.decide(input, &context)?;
                let changed = |event: &instance::Event| {
                    matches!(event, instance::Event::Started { .. } | instance::Event::Ended { .. })
                };
                Ok(Decided {
                    plans: Vec::new(),
                    text: decision.events.iter().any(changed).then(|| head::instance_text(state)),
                    events: row(&decision.events),
                    is_news: false,
                    effects: decision.effects,
                })
            }
            Self::Entity(state) => {
                let input = match input {
                    AnyInput::Wake => entity::Input::Wake,
                    AnyInput::Message(message) => entity::Input::Message(message),
                    AnyInput::Entity(input) => *input,
                    other => return Err(other.misdirected(&state.id)),
                };
                let fresh = !state.has_begun();
                let context = entity::Context { now: context.now, limits: context.limits };
                let decision = state.decide(input, &context)?;
                Ok(Decided {
                    plans: Vec::new(),
                    text: fresh.then(|| state.entity_id().to_string()),
                    events: row(&decision.events),
                    is_news: false,
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
            Self::Instance(state) => {
                let events: Vec<instance::Event> = parse(row, &state.id)?;
                for event in &events {
                    state.apply(event);
                }
            }
            Self::Entity(state) => {
                let events: Vec<entity::Event> = parse(row, &state.id)?;
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
            Self::Execution(_) | Self::Schedule(_) | Self::Instance(_) | Self::Entity(_) => {
                256 << 10
            }
            Self::Monitor(_) => 4 << 10,
        }
    }

    /// Whether its history stays as it was written, so that no snapshot takes the place of it.
    pub(crate) fn keeps_history(&self) -> bool {
        matches!(self, Self::Execution(state) if state.plan().definition.keep_history)
    }

    /// What lists show of it beyond its head, as text; `None` of what has no briefs.
    pub(crate) fn brief(&self) -> Option<String> {
        match self {
            Self::Execution(state) => Json::of(&Brief::of(state)).text().to_owned().into(),
            _ => None,
        }
    }

    /// Everything as one history row that stands for all before it.
    pub(crate) fn snapshot(&self) -> String {
        match self {
            Self::Execution(state) => row(&[state.snapshot()]).expect("a snapshot is an event"),
            Self::Schedule(state) => row(&[state.snapshot()]).expect("a snapshot is an event"),
            Self::Monitor(state) => row(&[state.snapshot()]).expect("a snapshot is an event"),
            Self::Instance(state) => row(&[state.snapshot()]).expect("a snapshot is an event"),
            Self::Entity(state) => row(&[state.snapshot()]).expect("a snapshot is an event"),
        }
    }
}

impl AnyInput {
    /// Whether it does nothing but end an execution.
    pub(crate) fn ends_execution(&self) -> bool {
        matches!(self, Self::Execution(input) if input.ends())
    }

    /// It is for another kind of machine than the id names.
    fn misdirected(&self, id: &ExecutionId) -> Rejected {
        let kind = match self {
            Self::Schedule(_) => "schedule",
            Self::Monitor(_) => "monitor",
            Self::Instance(_) => "orchestration",
            Self::Entity(_) => "entity",
            Self::Wake | Self::Message(_) | Self::Execution(_) => "workflow",
        };
        Rejected::Unknown(format!("No such {kind} found by id: {id}"))
    }
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
