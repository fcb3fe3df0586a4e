//! Gates that let only so many executions pass at once (`rateLimitConfig`), the place that an
//! execution with an idempotency key holds while it is open, and those of a principal's open executions.
//!
//! A place is a row in the engine's queues under a number that no task has. It is written and
//! removed with the facts, so what is counted cannot drift from what runs; the queues hand places
//! out in order, as they hand out tasks. Executions that share workflow name and key share a gate.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::context::Context;
use super::draft::Draft;
use super::event::{Event, Parent, Started};
use super::execution::Execution;
use super::scope::View;
use crate::definition::RateLimitPolicy;
use crate::expression::Template;
use crate::id::{ExecutionId, MachineKind};
use crate::machine::{Decision, Effect, PermitRequest, Rejected};
use crate::queue_row::Permit;

/// The number of an execution's place at its gate.
pub const GATE_PLACE: u32 = Permit::Workflow.number();
/// The number of the place that says that an idempotency key is in use.
pub const KEY_PLACE: u32 = Permit::IdempotencyKey.number();
/// The number of the place among the open executions of its principal.
pub const PRINCIPAL_PLACE: u32 = Permit::Principal.number();

/// Longest key of a limit, in bytes.
const KEY_MAX: usize = 200;

/// Where an execution stands with the limit of its workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// What executions share the limit.
    pub key: Arc<str>,
    /// How many may run at once.
    pub limit: u32,
    /// It may run.
    pub admitted: bool,
}

const GATE: &str = "workflow-limit/";
const KEY: &str = "idempotency-key/";
const PRINCIPAL: &str = "principal/";

/// The gate of a workflow and a key, as the queues name it.
pub fn gate_name(workflow: &str, key: &str) -> Arc<str> {
    format!("{GATE}{workflow}/{key}").into()
}

/// What an idempotency key is called in the queues.
pub fn key_name(workflow: &str, key: &str) -> Arc<str> {
    format!("{KEY}{workflow}/{key}").into()
}

/// What the open executions of a principal are called in the queues.
pub fn principal_name(principal: &str) -> Arc<str> {
    format!("{PRINCIPAL}{principal}").into()
}

/// Whether a queue holds executions at a gate instead of tasks.
pub fn is_gate(queue: &str) -> bool {
    [GATE, KEY, PRINCIPAL].iter().any(|kind| queue.starts_with(kind))
}

impl Execution {
    /// Whether it waits for a place at its gate before anything of it may run.
    pub fn is_held_back(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| !gate.admitted)
    }

    pub(super) fn pass_gate(&mut self) {
        if let Some(gate) = &mut self.gate {
            gate.admitted = true;
        }
    }

    /// The name of the gate that it passed or waits at.
    pub fn gate_name(&self) -> Option<Arc<str>> {
        let gate = self.gate.as_ref()?;
        Some(gate_name(&self.plan().definition.name, &gate.key))
    }
}

/// The places that a start takes or waits for.
pub(super) struct Entry {
    gate: Option<Gate>,
    /// It is one of those that its principal may have open.
    counts: bool,
}

impl Entry {
    /// As one that runs again on operator request, it passes its gate even beyond the limit.
    pub(super) fn admitted(self) -> Self {
        let gate = self.gate.map(|gate| Gate { admitted: true, ..gate });
        Self { gate, ..self }
    }
}

/// Works out whether a start is limited, and asks for places. Changes nothing.
///
/// # Errors
/// A limit is reached and nobody may wait.
pub(super) fn enter(
    id: &ExecutionId,
    started: &Started,
    context: &Context<'_>,
) -> Result<Entry, Rejected> {
    let counts = enter_as_principal(id, started, context)?;
    Ok(Entry { gate: enter_gate(id, started, context)?, counts })
}

/// A place among the executions that a principal may have open; sub-workflows are their parents' affair.
/// Nobody waits for one, as at [`enter_common`].
fn enter_as_principal(
    id: &ExecutionId,
    started: &Started,
    context: &Context<'_>,
) -> Result<bool, Rejected> {
    let limit = context.limits.principal_open_max;
    let principal = started.acts_as.as_deref().filter(|_| limit > 0 && started.parent.is_none());
    let Some(principal) = principal else { return Ok(false) };
    if context.world.place(&principal_name(principal), limit, id, PRINCIPAL_PLACE) {
        return Ok(true);
    }
    Err(Rejected::Full(format!(
        "{principal} has {limit} open runs, as many as one principal may (principal_open_max); end \
         some of them"
    )))
}

/// A place at the gate of its definition.
fn enter_gate(
    id: &ExecutionId,
    started: &Started,
    context: &Context<'_>,
) -> Result<Option<Gate>, Rejected> {
    let Some(plan) = &started.plan.plan else { return Ok(None) };
    let config = plan.definition.rate_limit_config.as_ref();
    let Some((config, limit)) = config.and_then(|config| {
        let limit = u32::try_from(config.concurrent_exec_limit).ok().filter(|limit| *limit > 0)?;
        Some((config, limit))
    }) else {
        return enter_common(id, started, context);
    };
    let mut begun = Execution::new(id.clone());
    begun.apply(&Event::At(context.now));
    begun.apply(&Event::Started(Box::new(started.clone())));
    let written = Value::String(config.rate_limit_key.clone().unwrap_or_default());
    let rendered = Template::compile(&written).render(&View::new(&begun, context, None)).parse();
    let key: Arc<str> = match rendered {
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    };
    if key.len() > KEY_MAX {
        let length = key.len();
        return Err(Rejected::Invalid(format!(
            "the rateLimitKey of {length} bytes is longer than {KEY_MAX} bytes"
        )));
    }
    let name = &plan.definition.name;
    let admitted = context.world.place(&gate_name(name, &key), limit, id, GATE_PLACE);
    if !admitted && config.policy == RateLimitPolicy::Reject {
        return Err(Rejected::Conflict(format!(
            "workflow '{name}' has reached its limit of {limit} at once for rateLimitKey '{key}'"
        )));
    }
    Ok(Some(Gate { key, limit, admitted }))
}

/// The gate of definitions whose author wrote no limit, if the server's configuration has one. Nobody
/// waits at it: a run that waits for others of its own definition could wait for ever.
fn enter_common(
    id: &ExecutionId,
    started: &Started,
    context: &Context<'_>,
) -> Result<Option<Gate>, Rejected> {
    let limit = context.limits.executions_max;
    let by_monitor = |parent: &Parent| parent.execution.machine() == MachineKind::Monitor;
    let (Some(plan), false) = (&started.plan.plan, limit == 0) else { return Ok(None) };
    if started.parent.as_ref().is_some_and(by_monitor) {
        return Ok(None);
    }
    let name = &plan.definition.name;
    if !context.world.place(&gate_name(name, ""), limit, id, GATE_PLACE) {
        return Err(Rejected::Full(format!(
            "workflow '{name}' has {limit} open executions, as many as one definition may \
             (workflow_open_max); end some of them, or give the definition a rateLimitConfig of \
             its own"
        )));
    }
    Ok(Some(Gate { key: "".into(), limit, admitted: true }))
}

/// Records what [`enter`] found, right after the start.
pub(super) fn record(draft: &mut Draft<'_>, entry: Entry) {
    if let Some(gate) = entry.gate {
        draft.push(Event::Gated { key: gate.key, limit: gate.limit, admitted: gate.admitted });
    }
    if entry.counts {
        draft.push(Event::Counted);
    }
    take_places(draft);
}

/// An execution that waited at its gate may pass.
pub(super) fn admit(
    state: &mut Execution,
    context: &Context<'_>,
) -> Result<Decision<Event>, Rejected> {
    if state.status.is_closed() || !state.is_held_back() {
        let id = &state.id;
        return Err(Rejected::Stale(format!("workflow {id} does not wait for a place")));
    }
    let mut draft = Draft::new(state, context);
    draft.push(Event::Admitted);
    take_places(&mut draft);
    draft.walk_all();
    Ok(draft.settle())
}

/// Has the engine write down the places that the execution takes or waits for. One that runs again
/// on operator request takes its place at once, even beyond the limit.
pub(super) fn take_places(draft: &mut Draft<'_>) {
    let state = &*draft.state;
    let (priority, since) = (state.priority, state.created_at);
    let gate = state.gate.as_ref().zip(state.gate_name()).map(|(gate, name)| PermitRequest {
        permit: Permit::Workflow,
        gate: name,
        limit: gate.limit,
        priority,
        since,
        held: gate.admitted,
    });
    let key = state.idempotency_key.as_deref().map(|key| PermitRequest {
        permit: Permit::IdempotencyKey,
        gate: key_name(&state.plan().definition.name, key),
        limit: 1,
        priority,
        since,
        held: true,
    });
    let principal = state.acts_as.as_deref().filter(|_| state.counts).map(|it| PermitRequest {
        permit: Permit::Principal,
        gate: principal_name(it),
        limit: draft.context.limits.principal_open_max,
        priority,
        since,
        held: true,
    });
    for admission in gate.into_iter().chain(key).chain(principal) {
        draft.effect(Effect::Admit(admission));
    }
}

/// Gives up the places of an execution that has ended.
pub(super) fn leave(draft: &mut Draft<'_>) {
    if draft.state.gate.is_some() {
        draft.effect(Effect::Withdraw { sequence: GATE_PLACE });
    }
    if draft.state.idempotency_key.is_some() {
        draft.effect(Effect::Withdraw { sequence: KEY_PLACE });
    }
    if draft.state.counts {
        draft.effect(Effect::Withdraw { sequence: PRINCIPAL_PLACE });
    }
}
