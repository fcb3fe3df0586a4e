//! Names of executions and tasks; all but the root's are derived, so that deciding twice gives the
//! same names.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of one execution: a UUID for those that the engine makes, any text for those that a
/// client names. At most [`ExecutionId::LENGTH_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(Arc<str>);

impl ExecutionId {
    /// Longest id accepted, in bytes.
    pub const LENGTH_MAX: usize = 200;

    /// Takes an id as given.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The id of what this execution starts through its `sequence`-th task: the same each time it
    /// is derived, and unlike any other.
    #[must_use]
    pub fn derive(&self, purpose: &str, sequence: u32) -> Self {
        Self(self.derive_uuid(purpose, sequence).to_string().into())
    }

    /// As [`ExecutionId::derive`], for what is no execution.
    pub(crate) fn derive_uuid(&self, purpose: &str, sequence: u32) -> Uuid {
        let name = format!("{}/{purpose}/{sequence}", self.0);
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    }

    /// The id of the schedule of a name.
    pub fn schedule(name: &str) -> Self {
        Self(format!("{SCHEDULE}{name}").into())
    }

    /// The id of the monitor of a name.
    pub fn monitor(name: &str) -> Self {
        Self(format!("{MONITOR}{name}").into())
    }

    /// The id of an instance of a task hub. The hub's name has no colon: see
    /// [`ExecutionId::hub`].
    pub fn instance(hub: &str, id: &str) -> Self {
        Self(format!("{INSTANCE}{hub}:{id}").into())
    }

    /// The id of an entity of a task hub, by its own id `@name@key`; the name counts in lower case.
    pub fn entity(hub: &str, id: &str) -> Self {
        let id = match id.strip_prefix('@').and_then(|rest| rest.split_once('@')) {
            Some((name, key)) => format!("@{}@{key}", name.to_lowercase()),
            None => id.to_owned(),
        };
        Self(format!("{ENTITY}{hub}:{id}").into())
    }

    /// The task hub of an instance or entity; empty for other machines.
    pub fn hub(&self) -> &str {
        self.hub_and_name().0
    }

    /// The id of an instance or entity within its hub; of other machines [`ExecutionId::name`].
    pub fn local_name(&self) -> &str {
        self.hub_and_name().1
    }

    fn hub_and_name(&self) -> (&str, &str) {
        match self.machine() {
            MachineKind::Instance | MachineKind::Entity => {
                self.name().split_once(':').unwrap_or(("", self.name()))
            }
            _ => ("", self.name()),
        }
    }

    /// What the id names.
    pub fn machine(&self) -> MachineKind {
        let named = |kind: &MachineKind| {
            let (prefix, ..) = kind.described();
            !prefix.is_empty() && self.0.starts_with(prefix)
        };
        MachineKind::ALL.into_iter().find(named).unwrap_or_default()
    }

    /// The name of the schedule or monitor; of an instance or entity its hub and its id there; of
    /// an execution its id.
    pub fn name(&self) -> &str {
        let (prefix, ..) = self.machine().described();
        &self.0[prefix.len()..]
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which durable state machine an id names. Ids of executions are UUIDs or a client's words; the
/// others bear a prefix, which no execution's id may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MachineKind {
    /// A run of a definition.
    #[default]
    Execution,
    /// What starts executions by the clock.
    Schedule,
    /// What watches, and rings.
    Monitor,
    /// A run of an orchestrator that a worker replays.
    Instance,
    /// A named state with operations that a worker runs.
    Entity,
}

impl MachineKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Execution, Self::Schedule, Self::Monitor, Self::Instance, Self::Entity];

    /// What ids begin with, what people call it, and the number that stands for it in stores.
    const fn described(self) -> (&'static str, &'static str, u8) {
        match self {
            Self::Execution => ("", "workflow", 0),
            Self::Schedule => (SCHEDULE, "schedule", 1),
            Self::Monitor => (MONITOR, "monitor", 2),
            Self::Instance => (INSTANCE, "orchestration", 3),
            Self::Entity => (ENTITY, "entity", 4),
        }
    }

    /// What people call it.
    pub const fn word(self) -> &'static str {
        self.described().1
    }

    /// The number that stands for it in stores.
    pub const fn number(self) -> u8 {
        self.described().2
    }
}

const SCHEDULE: &str = "schedule:";
const MONITOR: &str = "monitor:";
const INSTANCE: &str = "instance:";
const ENTITY: &str = "entity:";

/// A namespace of our own, so that derived ids collide with nobody else's.
const NAMESPACE: Uuid = Uuid::from_u128(0x6e69_6768_7462_656c_6c00_6578_6563_7574);

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of one task (one attempt at a node): its execution and its sequence number there.
///
/// Written as `<execution>-<sequence>`, so that a task is found without an index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The execution that the task belongs to.
    pub execution: ExecutionId,
    /// Its number within the execution, from 1.
    pub sequence: u32,
}

impl TaskId {
    /// Names a task.
    pub fn new(execution: ExecutionId, sequence: u32) -> Self {
        Self { execution, sequence }
    }

    /// Reads what [`Display`](fmt::Display) wrote; `None` if it cannot be a task id.
    pub fn parse(text: &str) -> Option<Self> {
        let (execution, sequence) = text.rsplit_once('-')?;
        let canonical = !execution.is_empty() && !sequence.starts_with(['0', '+']);
        let sequence = sequence.parse().ok()?;
        canonical.then(|| Self::new(ExecutionId::new(execution), sequence))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.execution, self.sequence)
    }
}
