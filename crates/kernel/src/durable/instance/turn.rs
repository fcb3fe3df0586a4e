//! A worker's answer to a turn: checked whole, then taken whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::context::{Context, Start, TurnResult};
use super::decide::{deliverable_max, is_open};
use super::draft::Draft;
use super::event::{Continued, Event, Turned};
use super::state::Instance;
use crate::durable::action::{Action, ActionKind, Completion, EntityMessage};
use crate::durable::history::{
    Call, ExecutionCompleted, ExecutionRewound, Fact, FailureDetails, HistoryEvent, INBOUND,
    LockRequest, Outcome,
};
use crate::durable::message::{OrchestrationMessage, Origin};
use crate::durable::{DETACHED_TAG, MACHINE_ID_MAX, WORKFLOW, WorkToken, entity};
use crate::graph::{Message, Parent, StartMessage};
use crate::id::ExecutionId;
use crate::json::Json;
use crate::machine::{Decision, Rejected};
use crate::time::Timestamp;

type Decided = Result<Decision<Event>, Rejected>;

/// A namespace for the ids of lives.
const LIVES: Uuid = Uuid::from_u128(0x6e69_6768_7462_656c_6c00_6c69_7665_7300);

/// The id of a life that follows from what is known: the same each time it is derived.
pub fn execution_id(instance_id: &str, seed: &str) -> Arc<str> {
    let name = format!("{instance_id}/{seed}");
    Uuid::new_v5(&LIVES, name.as_bytes()).simple().to_string().into()
}

/// What was handed out.
struct HandOut {
    taken: usize,
    at: Timestamp,
}

pub(super) fn complete(state: &mut Instance, result: TurnResult, context: &Context<'_>) -> Decided {
    let out = current(state, &result.token, context)?;
    let TurnResult { mut actions, custom_status, processed, trace, .. } = result;
    if state.rewinding {
        return Ok(rewound(state, actions, context));
    }
    // Some SDKs send them in no order.
    actions.sort_by_key(|action| action.id);
    let processed = processed.map_or(out.taken, |count| count.saturating_sub(1).min(out.taken));
    let open = on_record(state, processed, &actions);
    actions.retain(|action| !is_repeated(state, action, &open));
    let problem = contradiction(&actions, &open)
        .or_else(|| unspeakable(&actions))
        .or_else(|| oversized(&actions, custom_status.as_deref(), context));
    let mut draft = Draft::new(state, context);
    draft.turn_over();
    let (events, completion) = match problem {
        Some(_) => (Vec::new(), None),
        None => history_of(draft.state, actions, context.now),
    };
    draft.push(Event::Turned(Box::new(Turned {
        started: out.at,
        at: context.now,
        processed,
        events: events.iter().filter_map(|(event, _)| event.clone()).collect(),
        custom_status: custom_status
            .filter(|text| !text.is_empty() && text.len() <= deliverable_max(context)),
        trace: trace.or_else(|| draft.state.trace.clone()),
    })));
    if let Some(failure) = problem {
        draft.fail(failure);
        return Ok(draft.finish());
    }
    for (event, order) in events {
        carry_out(&mut draft, event.as_ref(), order);
    }
    match completion {
        None => draft.fire_timers(),
        Some((id, completion)) => finish(&mut draft, id, *completion),
    }
    Ok(draft.finish())
}

/// Whether the token is that of what is out, and everything in it holds.
fn current(
    state: &Instance,
    token: &WorkToken,
    context: &Context<'_>,
) -> Result<HandOut, Rejected> {
    let WorkToken::Turn { execution_id, turn, taken, at, .. } = token else {
        return Err(Rejected::Invalid("the token is not that of a turn".to_owned()));
    };
    is_open(state)?;
    let (taken, at) = (*taken, *at);
    let most = if state.rewinding { 1 } else { state.inbox.len() };
    let before = state.history.last().map_or(Timestamp::from_millis(i64::MIN), |last| last.at);
    let holds = *execution_id == state.execution_id()
        && *turn == state.turn
        && taken <= most
        && (taken > 0 || state.replay)
        && at <= context.now.max(before)
        && at >= before;
    if !holds || !state.wants_turn() {
        let id = state.instance_id();
        let message = format!(
            "the completion token is not that of the current turn of instance '{id}': the turn was \
             completed, or the instance began anew"
        );
        return Err(Rejected::Stale(message));
    }
    Ok(HandOut { taken, at })
}

/// Which of these ids of actions are on record in this life and may not be used again, each with its
/// last place in the history.
///
/// An action whose task or child failed may be asked for once more under its id, because some SDKs
/// retry so, but only if the orchestrator has seen the failure: what comes while it is suspended it
/// sees when it is resumed.
fn on_record(state: &Instance, processed: usize, actions: &[Action]) -> BTreeMap<i32, usize> {
    let wanted: BTreeSet<i32> = actions.iter().map(|action| action.id).collect();
    let mut asked: BTreeMap<i32, (usize, usize)> = BTreeMap::new();
    let mut failed: BTreeMap<i32, usize> = BTreeMap::new();
    let mut unseen = Vec::new();
    let mut suspended = false;
    let inbox = state.inbox.iter().take(processed);
    for (at, event) in state.history.iter().chain(inbox).enumerate() {
        match &event.fact {
            Fact::ExecutionSuspended { .. } => suspended = true,
            Fact::ExecutionResumed { .. } => {
                suspended = false;
                for task in unseen.drain(..) {
                    *failed.entry(task).or_default() += 1;
                }
            }
            Fact::TaskFailed { task, .. } | Fact::SubOrchestrationFailed { task, .. }
                if wanted.contains(task) =>
            {
                if suspended {
                    unseen.push(*task);
                } else {
                    *failed.entry(*task).or_default() += 1;
                }
            }
            fact if wanted.contains(&event.id) && fact.is_asked_for() => {
                let (count, place) = asked.entry(event.id).or_default();
                (*count, *place) = (*count + 1, at);
            }
            _ => {}
        }
    }
    let open = |(id, (count, place)): (i32, (usize, usize))| {
        (count > failed.get(&id).copied().unwrap_or(0)).then_some((id, place))
    };
    asked.into_iter().filter_map(open).collect()
}

/// Whether an action asks again for what is on record. SDKs do so when they are suspended before the
/// history confirms what they asked for: it was done, or is being done, and is not done twice.
fn is_repeated(state: &Instance, action: &Action, open: &BTreeMap<i32, usize>) -> bool {
    let line = open.get(&action.id).and_then(|at| state.history.get(*at));
    line.is_some_and(|line| is_line_of(&line.fact, &action.kind))
}

/// Whether a line of the history is what an action of this kind leaves there. Payloads do not count:
/// what an SDK makes of the same call need not be the same text.
fn is_line_of(fact: &Fact, kind: &ActionKind) -> bool {
    match (fact, kind) {
        (Fact::TaskScheduled(line), ActionKind::ScheduleTask(call)) => line.name == call.name,
        (
            Fact::SubOrchestrationCreated { call: line, .. },
            ActionKind::CreateSubOrchestration { call, .. },
        ) => line.name == call.name,
        (Fact::TimerCreated { .. }, ActionKind::CreateTimer { .. }) => true,
        (
            Fact::EventSent { instance_id: to, name: line, .. },
            ActionKind::SendEvent { instance_id, name, .. }
            | ActionKind::SendEntityEvent { entity: instance_id, name, .. },
        ) => to == instance_id && line == name,
        (
            Fact::EntitySignaled(line),
            ActionKind::SendEntityMessage(EntityMessage::Signaled(it)),
        )
        | (Fact::EntityCalled(line), ActionKind::SendEntityMessage(EntityMessage::Called(it))) => {
            line.operation == it.operation && line.target == it.target
        }
        (
            Fact::EntityLockRequested(line),
            ActionKind::SendEntityMessage(EntityMessage::LockRequested(it)),
        ) => line.lock_set == it.lock_set,
        (
            Fact::EntityUnlockSent(line),
            ActionKind::SendEntityMessage(EntityMessage::UnlockSent(it)),
        ) => line.target == it.target,
        _ => false,
    }
}

/// How the actions contradict the history, if they do.
fn contradiction(actions: &[Action], open: &BTreeMap<i32, usize>) -> Option<FailureDetails> {
    let fail = |what: String| {
        let message = format!("the orchestrator's answer contradicts its history: {what}");
        let mut failure = FailureDetails::new("NonDeterminismError", message);
        failure.non_retriable = true;
        Some(failure)
    };
    let mut ids = BTreeSet::new();
    let mut ends = 0;
    for action in actions {
        match &action.kind {
            ActionKind::Complete(_) => ends += 1,
            // It leaves no line in the history.
            ActionKind::Terminate { .. } => {}
            ActionKind::Rewind { .. } => {
                return fail("it rewinds, and nobody asked for it".to_owned());
            }
            _ if action.id < 0 => return fail(format!("action id {} is negative", action.id)),
            // What failed may be asked for again under its id: some SDKs retry so.
            _ if open.contains_key(&action.id) => {
                return fail(format!("action {} is on record as something else", action.id));
            }
            _ if !ids.insert(action.id) => {
                return fail(format!("action id {} is used twice", action.id));
            }
            _ => {}
        }
    }
    if ends > 1 {
        return fail("it ends more than once".to_owned());
    }
    None
}

/// Which message no entity could hear, if one is so: the orchestrator fails rather than waits for
/// ever.
fn unspeakable(actions: &[Action]) -> Option<FailureDetails> {
    let reason = |action: &Action| {
        let reason = match &action.kind {
            ActionKind::SendEntityMessage(message)
            | ActionKind::SendEntityEvent { says: Ok(message), .. } => misdirected(message),
            ActionKind::SendEntityEvent { entity, says: Err(reason), .. } => {
                Some(format!("the event for '{entity}' is no message to an entity: {reason}"))
            }
            _ => None,
        };
        reason.map(|reason| format!("action {}: {reason}", action.id))
    };
    let mut failure = FailureDetails::new("InvalidEntityMessage", actions.iter().find_map(reason)?);
    failure.non_retriable = true;
    Some(failure)
}

/// Why a message reaches no entity.
fn misdirected(message: &EntityMessage) -> Option<String> {
    let nobody = |id: &str| {
        let known = entity::is_id(id);
        (!known).then(|| format!("an entity id is '@name@key', and not '{id}'"))
    };
    let target = match message {
        EntityMessage::Signaled(operation) | EntityMessage::Called(operation) => &operation.target,
        EntityMessage::UnlockSent(unlock) => &unlock.target,
        EntityMessage::LockRequested(request) => {
            let LockRequest { lock_set, position, .. } = &**request;
            return match lock_set.len() {
                0 => Some("a request for locks names no entity".to_owned()),
                count if *position >= count => {
                    Some(format!("a request for {count} locks is at position {position}"))
                }
                _ => lock_set.iter().find_map(|id| nobody(id)),
            };
        }
    };
    nobody(target.as_deref().unwrap_or_default())
}

/// Which payload exceeds its bound, if one does.
fn oversized(
    actions: &[Action],
    custom_status: Option<&str>,
    context: &Context<'_>,
) -> Option<FailureDetails> {
    let max = context.limits.payload_max;
    let told = deliverable_max(context);
    let ended = actions.iter().find_map(|action| match &action.kind {
        ActionKind::Complete(completion) => completion.result.as_deref(),
        _ => None,
    });
    let (ended, shown) = (ended.map_or(0, str::len), custom_status.map_or(0, str::len));
    let lengths = actions.iter().map(|action| (action.id, payload(&action.kind)));
    let message = match lengths.filter(|(_, length)| *length > max).max_by_key(|it| it.1) {
        // No client could be told it in one message, nor the next life.
        _ if ended > told => {
            format!("the output of the orchestration has {ended} bytes, more than {told}")
        }
        _ if shown > told => format!("the custom status has {shown} bytes, more than {told}"),
        Some((id, length)) => {
            format!("the payload of action {id} has {length} bytes, more than {max}")
        }
        None => return None,
    };
    let mut failure = FailureDetails::new("PayloadTooLarge", message);
    failure.non_retriable = true;
    Some(failure)
}

fn payload(kind: &ActionKind) -> usize {
    let text = match kind {
        ActionKind::ScheduleTask(call) | ActionKind::CreateSubOrchestration { call, .. } => {
            &call.input
        }
        ActionKind::SendEvent { input, .. } | ActionKind::SendEntityEvent { input, .. } => input,
        ActionKind::Complete(completion) => &completion.result,
        ActionKind::Terminate { reason, .. } => reason,
        ActionKind::SendEntityMessage(
            EntityMessage::Signaled(operation) | EntityMessage::Called(operation),
        ) => &operation.input,
        _ => &None,
    };
    text.as_deref().map_or(0, str::len)
}

/// What is to be done besides what the line of the history says.
enum Order {
    /// Nothing.
    None,
    /// Run the activity of the line.
    Activity,
    /// Start the child of the line.
    Child,
    /// Send the event of the line.
    Event,
    /// Say what the line says to an entity.
    Entity,
    /// Say this to an entity: the line shows it in the form of an event.
    EntityEvent(Box<Fact>),
    /// End another instance.
    Terminate { instance_id: Arc<str>, reason: Option<Arc<str>>, recurse: bool },
}

type Line = (Option<HistoryEvent>, Order);

/// The actions as lines of the history with what they order, and how it ends if it does.
fn history_of(
    state: &Instance,
    actions: Vec<Action>,
    now: Timestamp,
) -> (Vec<Line>, Option<(i32, Box<Completion>)>) {
    let mut lines = Vec::new();
    let mut end = None;
    for Action { id, kind } in actions {
        let (fact, order) = match kind {
            ActionKind::ScheduleTask(call) => (Fact::TaskScheduled(call), Order::Activity),
            ActionKind::CreateTimer { fire_at } => (Fact::TimerCreated { fire_at }, Order::None),
            ActionKind::CreateSubOrchestration { instance_id, call } => {
                let instance_id = child_name(state, id, instance_id, &call);
                (Fact::SubOrchestrationCreated { instance_id, call }, Order::Child)
            }
            ActionKind::SendEvent { instance_id, name, input } => {
                (Fact::EventSent { instance_id, name, input, locks: None }, Order::Event)
            }
            ActionKind::SendEntityEvent { entity, name, input, says } => {
                // What says nothing has failed the instance before.
                let Ok(message) = says else { continue };
                let locks = message.lock_word().map(Box::new);
                let fact = Fact::EventSent { instance_id: entity, name, input, locks };
                (fact, Order::EntityEvent(Box::new(entity_fact(message))))
            }
            ActionKind::SendEntityMessage(message) => (entity_fact(message), Order::Entity),
            ActionKind::Terminate { instance_id, reason, recurse } => {
                lines.push((None, Order::Terminate { instance_id, reason, recurse }));
                continue;
            }
            ActionKind::Complete(completion) => {
                end = Some((id, completion));
                continue;
            }
            ActionKind::Rewind { .. } => continue,
        };
        lines.push((Some(HistoryEvent { id, at: now, fact }), order));
    }
    (lines, end)
}

fn entity_fact(message: EntityMessage) -> Fact {
    match message {
        EntityMessage::Signaled(operation) => Fact::EntitySignaled(operation),
        EntityMessage::Called(operation) => Fact::EntityCalled(operation),
        EntityMessage::LockRequested(request) => Fact::EntityLockRequested(request),
        EntityMessage::UnlockSent(unlock) => Fact::EntityUnlockSent(unlock),
    }
}

/// The id of a child: as the orchestrator says, or made of the parent's. An execution of a
/// definition always has an id of its own.
fn child_name(state: &Instance, id: i32, given: Arc<str>, call: &Call) -> Arc<str> {
    if call.name.starts_with(WORKFLOW) {
        let purpose = format!("child/{}", state.execution_id());
        return state.id.derive(&purpose, id.unsigned_abs()).as_str().into();
    }
    if given.is_empty() {
        return format!("{}:{id:04x}", state.instance_id()).into();
    }
    given
}

/// Does what a line of the history says.
fn carry_out(draft: &mut Draft<'_>, event: Option<&HistoryEvent>, order: Order) {
    if let Order::Terminate { instance_id, reason, recurse } = order {
        let to = ExecutionId::instance(draft.state.hub(), &instance_id);
        return draft
            .write(to, OrchestrationMessage::Terminate { reason, recurse, child_of: None });
    }
    let Some(event) = event else { return };
    match (&event.fact, order) {
        (Fact::TaskScheduled(_), Order::Activity) => {
            if let Some(sequence) = draft.state.sequence_of(event.id) {
                draft.dispatch_activity(sequence);
            }
        }
        (Fact::SubOrchestrationCreated { instance_id, call }, Order::Child) => {
            start_child(draft, event.id, instance_id, call);
        }
        (Fact::EventSent { instance_id, name, input, .. }, Order::Event) => {
            let to = ExecutionId::instance(draft.state.hub(), instance_id);
            let fact = Fact::EventRaised { name: name.clone(), input: input.clone() };
            let fact = Box::new(fact);
            draft.write(to, OrchestrationMessage::Happened { fact, execution_id: None });
        }
        (fact, Order::Entity) => tell_entity(draft, fact, false),
        (_, Order::EntityEvent(fact)) => tell_entity(draft, &fact, true),
        _ => {}
    }
}

fn start_child(draft: &mut Draft<'_>, task: i32, instance_id: &Arc<str>, call: &Call) {
    let Some(start) = draft.state.start.clone() else { return };
    let to = draft.state.child_id(instance_id, call);
    let detached = call.tags.contains_key(DETACHED_TAG);
    if let Some(flaw) = child_flaw(&to) {
        let failure = Box::new(FailureDetails::new("SubOrchestrationNotStarted", flaw));
        return draft.receive(Fact::SubOrchestrationFailed { task, failure });
    }
    let depth = start.depth + 1;
    if depth >= draft.context.limits.depth_max {
        let limit = draft.context.limits.depth_max;
        let message = format!("sub-orchestrations are nested deeper than {limit} (depth_max)");
        let failure = Box::new(FailureDetails::new("SubOrchestrationNotStarted", message));
        return draft.receive(Fact::SubOrchestrationFailed { task, failure });
    }
    if let Some(definition) = call.name.strip_prefix(WORKFLOW) {
        let by = Parent { execution: draft.state.id.clone(), sequence: task.unsigned_abs() };
        let message = StartMessage {
            acts_as: start.acts_as.clone(),
            ..start_workflow(definition, call, by, detached)
        };
        return draft.send(to, Message::Start(Box::new(message)));
    }
    let mut tags = start.tags.clone();
    tags.extend(call.tags.iter().map(|(name, value)| (name.clone(), value.clone())));
    let parent = draft.state.as_parent(&start, task);
    // With the turn: a child that is asked for again under the same number is another.
    let seed = format!("{}/{task}/{}", start.execution_id, draft.state.turn);
    let child = Start {
        version: call.version.clone(),
        tags,
        trace: call.trace.clone(),
        parent: Some(parent),
        detached,
        depth,
        replaces: Start::closed_statuses(),
        acts_as: start.acts_as.clone(),
        ..Start::new(&call.name, call.input.clone(), execution_id(instance_id, &seed))
    };
    draft.write(to, OrchestrationMessage::Start(Box::new(child)));
}

/// Why a child cannot be called so, if it cannot: clients could never name it.
pub(super) fn child_flaw(id: &ExecutionId) -> Option<String> {
    let name = id.local_name();
    let max = MACHINE_ID_MAX;
    let flaw = if id.as_str().len() > max {
        format!("it has more than {max} bytes with its task hub")
    } else if name.starts_with('@') {
        "it is that of an entity".to_owned()
    } else if name.chars().any(char::is_control) {
        "it contains control characters".to_owned()
    } else {
        return None;
    };
    let shown: String = name.chars().take(max).collect();
    Some(format!("'{shown}' cannot be the id of an instance: {flaw}"))
}

/// A definition as a child: its input is the call's if that is an object, else under `input`.
fn start_workflow(definition: &str, call: &Call, by: Parent, detached: bool) -> StartMessage {
    let input = match call.input.as_deref() {
        None => Json::empty_object(),
        Some(text) => match Json::from_text(text.to_owned()) {
            Ok(json) if json.is_object() => json,
            Ok(json) => Json::of(&serde_json::json!({ "input": json.parse() })),
            Err(_) => Json::of(&serde_json::json!({ "input": text })),
        },
    };
    let version = call.version.as_deref().and_then(|version| version.parse().ok());
    StartMessage {
        name: definition.into(),
        version,
        definition: None,
        input,
        correlation_id: None,
        priority: 0,
        task_to_domain: None,
        parent: (!detached).then(|| by.clone()),
        asked_by: Some(by),
        idempotency: None,
        event: None,
        created_by: None,
        acts_as: None,
        failure_of: None,
    }
}

/// Says to an entity what the history says was said; an answer to an event comes as an event.
fn tell_entity(draft: &mut Draft<'_>, fact: &Fact, as_event: bool) {
    let me = draft.state.id.clone();
    let execution_id = Some(draft.state.execution_id());
    let acts_as = draft.state.start.as_ref().and_then(|start| start.acts_as.clone());
    let sender = Some(me.clone());
    let from = Origin { sender, execution_id: execution_id.clone(), as_event, acts_as };
    let parent = Some(draft.state.instance_id());
    let entity =
        |target: Option<&Arc<str>>| target.map(|target| ExecutionId::entity(me.hub(), target));
    let (to, letter) = match fact {
        Fact::EntitySignaled(asked) | Fact::EntityCalled(asked) => {
            let mut operation = asked.clone();
            operation.target = None;
            operation.parent_instance_id = parent;
            operation.parent_execution_id = execution_id;
            let answer = matches!(fact, Fact::EntityCalled(_));
            (
                entity(asked.target.as_ref()),
                OrchestrationMessage::Operate { operation, answer, from },
            )
        }
        Fact::EntityLockRequested(asked) => {
            let mut request = asked.clone();
            request.parent_instance_id = parent;
            let to = entity(asked.lock_set.get(asked.position));
            (to, OrchestrationMessage::Lock { request, from })
        }
        Fact::EntityUnlockSent(asked) => {
            let critical_section_id = asked.critical_section_id.clone();
            let to = entity(asked.target.as_ref());
            (to, OrchestrationMessage::Unlock { critical_section_id, holder: me.clone() })
        }
        _ => return,
    };
    if let Some(to) = to {
        draft.write(to, letter);
    }
}

/// The first word that somebody wants the instance to end, if anybody does.
fn termination(state: &Instance) -> Option<&Fact> {
    let mut told = state.history.iter().chain(&state.inbox).map(|event| &event.fact);
    told.find(|fact| matches!(fact, Fact::ExecutionTerminated { .. }))
}

/// The orchestrator ends, or begins anew.
fn finish(draft: &mut Draft<'_>, id: i32, completion: Completion) {
    let Completion { outcome, result, failure, new_version, carryover, tags } = completion;
    if outcome != Outcome::ContinuedAsNew {
        return draft.end(id, ExecutionCompleted { outcome, result, failure });
    }
    if let Some(Fact::ExecutionTerminated { input, .. }) = termination(draft.state) {
        // The worker saw it after it had begun anew, or would see it in every life to come.
        let (outcome, result, failure) = (Outcome::Terminated, input.clone(), None);
        return draft.end(INBOUND, ExecutionCompleted { outcome, result, failure });
    }
    draft.withdraw_activities();
    draft.release_locks();
    let (state, at) = (&*draft.state, draft.now());
    let seed = format!("{}/{}", state.execution_id(), state.turn);
    let execution_id = execution_id(&state.instance_id(), &seed);
    let carryover = carryover
        .into_iter()
        .filter(|event| matches!(event.fact, Fact::EventRaised { .. }))
        .map(|event| HistoryEvent::inbound(at, event.fact))
        .collect();
    draft.push(Event::Continued(Box::new(Continued {
        at,
        execution_id,
        input: result,
        version: new_version,
        tags,
        carryover,
    })));
}

/// The worker has said what of a failed history stays.
fn rewound(state: &mut Instance, actions: Vec<Action>, context: &Context<'_>) -> Decision<Event> {
    let history = actions.into_iter().find_map(|action| match action.kind {
        ActionKind::Rewind { history } => Some(history),
        _ => None,
    });
    let mut draft = Draft::new(state, context);
    draft.turn_over();
    let begins = |event: &HistoryEvent| match &event.fact {
        Fact::ExecutionStarted(started) => Some(started.execution_id.clone()),
        _ => None,
    };
    let usable = history.and_then(|history| {
        let execution_id = history.iter().find_map(begins)?;
        Some((history, execution_id))
    });
    let Some((history, execution_id)) = usable else {
        draft.fail(FailureDetails::new(
            "RewindNotSupported",
            "the worker did not rewind the orchestration: its SDK may not be able to",
        ));
        return draft.finish();
    };
    // One that keeps its name, or takes one that it had, is another life all the same.
    let state = &*draft.state;
    let had = execution_id == state.execution_id() || state.formerly.contains(&execution_id);
    let execution_id = if execution_id.is_empty() || had {
        let seed = format!("{execution_id}/rewind/{}", draft.state.turn);
        self::execution_id(&draft.state.instance_id(), &seed)
    } else {
        execution_id
    };
    draft.push(Event::Rewound { at: context.now, history, execution_id });
    let sequences: Vec<u32> = draft.state.activities.keys().copied().collect();
    for sequence in sequences {
        draft.dispatch_activity(sequence);
    }
    rewind_children(&mut draft);
    ask_for_locks_again(&mut draft);
    draft.fire_timers();
    draft.finish()
}

/// Locks that were asked for and never granted: the wish was dropped when the instance failed.
fn ask_for_locks_again(draft: &mut Draft<'_>) {
    for (request, as_event) in draft.state.ungranted_locks() {
        tell_entity(draft, &request, as_event);
    }
}

/// Children without a result try again, too.
fn rewind_children(draft: &mut Draft<'_>) {
    let Some(start) = draft.state.start.clone() else { return };
    let reason = draft.state.history.iter().rev().find_map(|event| match &event.fact {
        Fact::ExecutionRewound(rewound) => Some(rewound.reason.clone()),
        _ => None,
    });
    let reason = reason.flatten();
    let waits = draft.state.history.iter().filter_map(|event| match &event.fact {
        Fact::SubOrchestrationCreated { instance_id, call }
            if draft.state.children.contains_key(&event.id) =>
        {
            Some((event.id, instance_id.clone(), call.clone()))
        }
        _ => None,
    });
    for (task, instance_id, call) in waits.collect::<Vec<_>>() {
        let to = draft.state.child_id(&instance_id, &call);
        if call.name.starts_with(WORKFLOW) {
            let sequence = Some(task.unsigned_abs());
            draft.send(to, Message::Retry { asked: 0, sequence });
            continue;
        }
        let mut tags = start.tags.clone();
        tags.extend(call.tags.clone());
        let parent = draft.state.as_parent(&start, task);
        let rewound = ExecutionRewound {
            reason: reason.clone(),
            parent_execution_id: Some(start.execution_id.clone()),
            instance_id: Some(instance_id),
            trace: call.trace.clone(),
            name: Some(call.name.clone()),
            version: call.version.clone(),
            input: call.input.clone(),
            parent: Some(parent),
            formerly: draft.state.formerly.clone(),
            tags,
            acts_as: start.acts_as.clone(),
        };
        draft.write(to, OrchestrationMessage::Rewind(Box::new(rewound)));
    }
}
