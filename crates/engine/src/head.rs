//! What search and lists know of an execution, taken from its state.

use std::sync::Arc;

use kernel::alert::definition::Kind;
use kernel::alert::{DeliveryStatus, Monitor, State};
use kernel::durable::entity::Entity;
use kernel::durable::instance::Instance;
use kernel::expression::mask_secrets;
use kernel::graph::{Event, Execution};
use kernel::schedule::Schedule;
use kernel::{ExecutionId, Json, MachineKind, Timestamp};

/// What search, the waker and lists know of an execution without its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The execution.
    pub id: ExecutionId,
    /// Number of commits so far (in a [`Commit`](crate::store::Commit): after it, `expect + 1`).
    pub version: u64,
    /// Name of its definition.
    pub name: Arc<str>,
    /// Version of its definition.
    pub definition_version: u32,
    /// Status, in the protocol's word: `RUNNING`, `COMPLETED`, …
    pub status: &'static str,
    /// Whether it has ended.
    pub closed: bool,
    /// The author's label; of an entity the instance that holds its lock.
    pub correlation_id: Option<Arc<str>>,
    /// The execution that started it as a sub-workflow.
    pub parent: Option<ExecutionId>,
    /// 0 to 99.
    pub priority: u8,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When time alone may change it next.
    pub wake_at: Option<Timestamp>,
    /// Why it ended as it did.
    pub reason: Option<Arc<str>>,
    /// Reference names of its failed tasks, comma-separated; empty if none.
    pub failed_references: Arc<str>,
    /// The event that started it.
    pub event: Option<Arc<str>>,
    /// Bytes of its input; of an entity how many operations wait.
    pub input_size: u32,
    /// Bytes of its output.
    pub output_size: u32,
}

/// The head row of a state.
pub(crate) fn of(state: &Execution, version: u64) -> Head {
    let definition = &state.plan().definition;
    let failed: Vec<&str> = if state.status.is_closed() {
        state.failed_references().into_iter().take(FAILED_MAX).collect()
    } else {
        Vec::new()
    };
    Head {
        id: state.id.clone(),
        version,
        name: definition.name.as_str().into(),
        definition_version: u32::try_from(definition.version).unwrap_or(1),
        status: state.status.as_str(),
        closed: state.status.is_closed(),
        correlation_id: state.correlation_id.clone(),
        // What a schedule or a monitor started stands by itself in lists.
        parent: state
            .parent
            .as_ref()
            .map(|parent| parent.execution.clone())
            .filter(|parent| parent.machine() == MachineKind::Execution),
        priority: state.priority,
        created_at: state.created_at,
        updated_at: state.updated_at,
        ended_at: state.ended_at,
        wake_at: state.wake_at(),
        reason: state.reason.as_ref().map(|reason| cut(reason, REASON_MAX).into()),
        failed_references: failed.join(",").into(),
        event: state.event.clone(),
        input_size: size(&state.input),
        output_size: size(&state.output),
    }
}

/// The head row of a schedule.
pub(crate) fn of_schedule(state: &Schedule, version: u64) -> Head {
    let closed = !state.is_defined() && state.open.is_empty();
    Head {
        id: state.id.clone(),
        version,
        name: state.id.name().into(),
        definition_version: 1,
        status: state.status().as_str(),
        closed,
        correlation_id: None,
        parent: None,
        priority: 0,
        created_at: state.created_at,
        updated_at: state.now,
        ended_at: closed.then_some(state.now),
        wake_at: state.wake_at(),
        reason: state.paused_reason.as_ref().map(|reason| cut(reason, REASON_MAX).into()),
        failed_references: "".into(),
        event: None,
        input_size: 0,
        output_size: 0,
    }
}

/// Whether a monitor was removed and everybody has heard of what was open.
pub(crate) fn is_over(state: &Monitor) -> bool {
    let under_way = state.deliveries.values().any(|it| it.status == DeliveryStatus::Queued);
    state.spec.is_none() || (state.removed && state.incidents.is_empty() && !under_way)
}

/// Where a monitor stands, in a word: the worst of what holds.
pub(crate) fn monitor_status(state: &Monitor) -> &'static str {
    let any = |is: fn(State) -> bool| state.incidents.values().any(|it| is(it.state));
    if state.removed {
        "REMOVED"
    } else if state.is_down() {
        "DOWN"
    } else if any(|state| state == State::Pending) {
        "PENDING"
    } else if state.errors > 0 || any(State::is_open) {
        // Of what is watched nothing is known to be wrong, but it cannot be checked.
        "UNKNOWN"
    } else if is_new(state) {
        "NEW"
    } else {
        "UP"
    }
}

/// Whether nothing is known of what it watches.
fn is_new(state: &Monitor) -> bool {
    let receives = state.spec.as_ref().is_some_and(|spec| spec.monitor.kind == Kind::Alerts);
    let has_received = receives && state.next_number > 1;
    state.last_answer.is_none() && state.beat.last_ping_at.is_none() && !has_received
}

/// The head row of a monitor.
pub(crate) fn of_monitor(state: &Monitor, version: u64) -> Head {
    let closed = is_over(state);
    Head {
        id: state.id.clone(),
        version,
        name: state.name().into(),
        definition_version: 1,
        status: monitor_status(state),
        closed,
        correlation_id: None,
        parent: None,
        priority: 0,
        created_at: state.created_at,
        updated_at: state.updated_at,
        ended_at: closed.then_some(state.updated_at),
        wake_at: state.wake_at(),
        reason: state.error.as_ref().map(|reason| cut(reason, REASON_MAX).into()),
        failed_references: "".into(),
        event: None,
        input_size: 0,
        output_size: 0,
    }
}

/// The head row of an instance.
pub(crate) fn of_instance(state: &Instance, version: u64) -> Head {
    let start = state.start.as_deref();
    let reason = state.failure.as_ref().map(|failure| failure.message.clone());
    let length = |text: Option<&Arc<str>>| text.map_or(0, |text| text.len() as u64);
    let size = |length: u64| u32::try_from(length).unwrap_or(u32::MAX);
    Head {
        id: state.id.clone(),
        version,
        name: state.name(),
        definition_version: start
            .and_then(|start| start.version.as_deref()?.parse().ok())
            .unwrap_or(1),
        status: state.status.as_str(),
        closed: state.has_begun() && !state.is_open(),
        correlation_id: None,
        parent: state.parent().filter(|parent| {
            matches!(parent.machine(), MachineKind::Execution | MachineKind::Instance)
        }),
        priority: 0,
        created_at: state.created_at,
        updated_at: state.updated_at,
        ended_at: state.ended_at,
        wake_at: state.wake_at(),
        reason: reason.map(|reason| cut(&reason, REASON_MAX).into()),
        failed_references: "".into(),
        event: None,
        input_size: size(length(start.and_then(|start| start.input.as_ref()))),
        output_size: size(length(state.output.as_ref())),
    }
}

/// The searchable text of an instance.
pub(crate) fn instance_text(state: &Instance) -> String {
    let start = state.start.as_deref();
    let text = |text: Option<&Arc<str>>| {
        text.map_or_else(String::new, |text| cut(text, TEXT_MAX).to_owned())
    };
    let mut words = vec![state.instance_id().to_string(), state.name().to_string()];
    words.extend(start.iter().flat_map(|start| &start.tags).map(|(k, v)| format!("{k} {v}")));
    words.push(text(start.and_then(|start| start.input.as_ref())));
    words.push(text(state.output.as_ref()));
    words.push(text(state.failure.as_ref().map(|failure| &failure.message)));
    words.join("\n")
}

/// The head row of an entity.
pub(crate) fn of_entity(state: &Entity, version: u64) -> Head {
    let empty = state.is_empty();
    let status = match (&state.state, &state.lock) {
        (_, Some(_)) => "LOCKED",
        (Some(_), None) => "ACTIVE",
        (None, None) => "EMPTY",
    };
    let length = state.state.as_ref().map_or(0, |text| text.len());
    Head {
        id: state.id.clone(),
        version,
        name: state.name().into(),
        definition_version: 1,
        status,
        closed: empty,
        correlation_id: state.lock.as_ref().map(|lock| lock.holder.as_str().into()),
        parent: None,
        priority: 0,
        created_at: state.born.unwrap_or(state.updated_at),
        updated_at: state.updated_at,
        ended_at: empty.then_some(state.updated_at),
        wake_at: state.wake_at(),
        reason: None,
        failed_references: "".into(),
        event: None,
        input_size: u32::try_from(state.backlog()).unwrap_or(u32::MAX),
        output_size: u32::try_from(length).unwrap_or(u32::MAX),
    }
}

/// The searchable text of a monitor.
pub(crate) fn monitor_text(state: &Monitor) -> String {
    let Some(spec) = &state.spec else { return String::new() };
    let labels = spec.monitor.labels.iter().map(|(name, value)| format!("{name} {value}"));
    let mut words = vec![spec.monitor.name.to_string()];
    words.extend(spec.monitor.summary.as_deref().map(str::to_owned));
    words.extend(labels);
    words.join("\n")
}

/// The searchable text of a schedule.
pub(crate) fn schedule_text(state: &Schedule) -> String {
    let Some(spec) = &state.spec else { return String::new() };
    let description = spec.description.as_deref().unwrap_or_default();
    [&spec.name, description, &spec.workflow_name()].join("\n")
}

/// The searchable text, when something of it has changed: at the begin and at the end.
pub(crate) fn text(state: &Execution, events: &[Event]) -> Option<String> {
    let changed = events
        .iter()
        .any(|e| matches!(e, Event::Started(_) | Event::Branched(_) | Event::Ended(_)));
    changed.then(|| {
        let (input, output) = (state.shown(&state.input), state.shown(&state.output));
        let parts = [
            state.plan().definition.name.as_str(),
            state.correlation_id.as_deref().unwrap_or_default(),
            state.reason.as_deref().unwrap_or_default(),
            cut(input.text(), TEXT_MAX),
            cut(output.text(), TEXT_MAX),
        ];
        mask_secrets(&parts.join("\n")).into_owned()
    })
}

/// Failed references named in a head.
const FAILED_MAX: usize = 50;
/// Bytes of the reason kept in a head.
const REASON_MAX: usize = 2000;
/// Bytes of input and of output that free text search sees.
const TEXT_MAX: usize = 16 << 10;

fn size(json: &Json) -> u32 {
    u32::try_from(json.len()).unwrap_or(u32::MAX)
}

fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}
