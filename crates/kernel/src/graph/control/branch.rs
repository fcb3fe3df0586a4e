//! Branching: a new execution begins with the state of another one before one of its tasks, and goes
//! on from there as a rerun would; the other one stays as it is.
//!
//! What has ended before that place, and in other branches, counts as it is. What is open beside it
//! is begun anew, as nobody who holds a task of the other execution knows of this one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::super::branching::{Branch, FORKS};
use super::super::context::Context;
use super::super::draft::Draft;
use super::super::event::{Event, Started};
use super::super::execution::{Execution, Task};
use super::super::plan::{Kind, NodeId};
use super::super::snapshot::{Origin, Snapshot};
use super::super::status::{Status, TaskStatus};
use super::super::{gate, schema};
use super::jump::pass;
use super::{Decided, reopen_around, try_again, upgrade};
use crate::id::ExecutionId;
use crate::json::Json;
use crate::machine::{Effect, Record, Rejected};

pub(in crate::graph) fn branch(
    state: &mut Execution,
    branch: Branch,
    context: &Context<'_>,
) -> Decided {
    if state.is_started() {
        return Err(Rejected::Stale(format!("workflow {} exists already", state.id)));
    }
    let Prepared { begun, place, origin } = prepare(&state.id, &branch, context)?;
    if let Some(objection) = schema::input_objection(begun.plan(), &begun.input, context) {
        return Err(Rejected::Invalid(objection));
    }
    let Branch { original, plan, .. } = branch;
    let started = started(&begun, plan.as_ref());
    let entry = gate::enter(&state.id, &started, context)?;
    let revives = original.status.is_closed();
    let mut draft = Draft::new(state, context);
    let snapshot = Snapshot { plan: begun.plan().clone().into(), state: begun };
    draft.push(Event::Branched(Box::new(snapshot)));
    gate::record(&mut draft, entry.admitted());
    draft.effect(Effect::Record(line(&draft, &origin)));
    let mut node = place.node;
    if let Some(plan) = plan {
        node = plan.node_named(&place.reference).unwrap_or(node);
        upgrade::obey(&mut draft, plan, None, &BTreeMap::new());
        skip_new(&mut draft, node, &place.path);
    }
    go_on(&mut draft, node, &place, revives);
    Ok(draft.settle())
}

/// What a fork begins with.
struct Prepared {
    begun: Execution,
    place: Place,
    origin: Origin,
}

fn prepare(id: &ExecutionId, branch: &Branch, context: &Context<'_>) -> Result<Prepared, Rejected> {
    let Branch { original, version, at, edits, plan, correlation_id, created_by, acts_as } = branch;
    let first = original.branch_task(at)?;
    let place = Place::of(original, first);
    let (from, at) = (original.id.clone(), at.to_string().into());
    let origin = Origin { from, version: *version, at };
    let mut begun = original.branched(id, first, origin.clone(), context.now);
    begun.correlation_id = correlation_id.clone().or(begun.correlation_id);
    begun.created_by = created_by.clone().or(begun.created_by);
    // Whoever forks may change what the fork does, so it acts as nobody else.
    begun.acts_as.clone_from(acts_as);
    let before = task_before(&begun, &place);
    begun.edit(edits, before.as_deref())?;
    check_sizes(&begun, context)?;
    if let Some(plan) = plan {
        check_plan(&begun, &place, plan)?;
    }
    Ok(Prepared { begun, place, origin })
}

impl Branch {
    /// Whether the fork could begin, as far as it can be told without beginning it.
    ///
    /// # Errors
    /// As for [`Input::Branch`](crate::graph::Input::Branch), but for what its input's schema and
    /// the limit of its workflow say.
    pub fn check(&self, context: &Context<'_>) -> Result<(), Rejected> {
        prepare(&self.original.id, self, context).map(drop)
    }
}

/// Where a fork goes on.
struct Place {
    /// The node, by the name that another plan knows it by, too.
    reference: Arc<str>,
    node: NodeId,
    path: Vec<u32>,
    /// The attempt that the first one there repeats.
    repeats: Option<u32>,
}

impl Place {
    fn of(original: &Execution, first: &Task) -> Self {
        let reference = original.node_of(first).reference.clone();
        Self { reference, node: first.node, path: first.path.clone(), repeats: first.retries }
    }
}

/// The task that stands right before a place in its block.
fn task_before(state: &Execution, place: &Place) -> Option<Arc<str>> {
    let node = state.node(place.node);
    let before = *state.block(node.block).nodes.get(node.index.checked_sub(1)?)?;
    Some(state.attempt_at(before, &place.path)?.reference.clone())
}

fn check_sizes(state: &Execution, context: &Context<'_>) -> Result<(), Rejected> {
    let limits = context.limits;
    let outputs = state.tasks().map(|task| ("output of a task", task.output.len()));
    let largest = outputs.max_by_key(|(_, size)| *size);
    let payloads = largest.into_iter().chain([("input", state.input.len())]);
    let bounded = payloads
        .map(|(what, size)| (what, size, limits.payload_max, "payload_max"))
        .chain([("variables", state.variables.len(), limits.variables_max, "variables_max")]);
    for (what, size, max, setting) in bounded {
        if size > max {
            return Err(Rejected::Invalid(format!(
                "the {what} would be {size} bytes, more than the limit of {max} ({setting})"
            )));
        }
    }
    Ok(())
}

/// Whether another plan fits what the fork begins with, and has the place where it goes on.
fn check_plan(state: &Execution, place: &Place, plan: &super::Plan) -> Result<(), Rejected> {
    let (present, next) = (&state.plan().definition.name, &plan.definition.name);
    if present != next {
        return Err(Rejected::Invalid(format!(
            "the fork of a '{present}' cannot become a '{next}'"
        )));
    }
    let version = plan.definition.version;
    let found = plan.node_named(&place.reference).and_then(|node| plan.shape.node(node));
    let there = found.is_some_and(|node| node.depth == place.path.len());
    if !there {
        return Err(Rejected::Conflict(format!(
            "version {version} has no task '{}' within the same loops, where the fork would go on",
            place.reference
        )));
    }
    state.check_upgrade(plan).map_err(Rejected::Conflict)
}

/// The begin of the fork as the limit of its workflow sees it.
fn started(begun: &Execution, plan: Option<&Arc<super::Plan>>) -> Started {
    Started {
        plan: plan.unwrap_or_else(|| begun.plan()).clone().into(),
        input: begun.input.clone(),
        correlation_id: begun.correlation_id.clone(),
        priority: begun.priority,
        task_to_domain: begun.task_to_domain.clone(),
        parent: None,
        event: begun.event.clone(),
        created_by: begun.created_by.clone(),
        acts_as: begun.acts_as.clone(),
        idempotency_key: None,
        traceparent: None,
        restart: false,
        references: begun.references(),
    }
}

/// The line by which the other execution is known to have this fork.
fn line(draft: &Draft<'_>, origin: &Origin) -> Record {
    let state = &*draft.state;
    let body = json!({
        "at": origin.at, "version": origin.version, "createdBy": state.created_by,
        "workflowVersion": state.plan().definition.version,
    });
    Record {
        ledger: FORKS,
        key: state.id.as_str().into(),
        subject: origin.from.as_str().into(),
        at: draft.context.now,
        status: "FORKED".into(),
        body: Json::of(&body),
    }
}

/// What another plan has right before the place, and this one had not, counts as skipped.
fn skip_new(draft: &mut Draft<'_>, node: NodeId, path: &[u32]) {
    let (block, index) = (draft.state.node(node).block, draft.state.node(node).index);
    let before: Vec<NodeId> = draft.state.block(block).nodes.iter().take(index).copied().collect();
    for node in before {
        if draft.state.attempt_at(node, path).is_none() {
            pass(draft, node, path, None, None);
        }
    }
}

fn go_on(draft: &mut Draft<'_>, node: NodeId, place: &Place, revives: bool) {
    let (block, index) = (draft.state.node(node).block, draft.state.node(node).index);
    reopen_around(draft, node, place.path.clone());
    begin_open_anew(draft);
    if revives {
        try_again(draft, false);
    }
    if draft.state.status == Status::Running {
        match place.repeats {
            Some(before) => draft.retry_now(before),
            None => draft.later(block, index, place.path.clone()),
        }
    }
    draft.walk_all();
}

/// What is open is not known to anybody outside: it is handed out, or started, anew.
fn begin_open_anew(draft: &mut Draft<'_>) {
    let open: Vec<(u32, Kind, TaskStatus, bool)> = draft
        .state
        .open_tasks()
        .map(|task| (task.sequence, task.kind, task.status, task.begun))
        .collect();
    for (sequence, kind, status, begun) in open {
        let starts = matches!(kind, Kind::SubWorkflow | Kind::StartWorkflow) && begun;
        let queued = kind.is_queued() && status == TaskStatus::InProgress;
        if starts || queued || (kind == Kind::Webhook && begun) {
            draft.push(Event::Rewound { sequence, input: None, fresh: false, alone: true });
            draft.begin(sequence);
        } else if kind == Kind::Dispatched {
            draft.dispatch(sequence, false);
        }
    }
}
