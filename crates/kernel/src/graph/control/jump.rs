//! Jumping: a running execution goes on at another place of its plan.
//!
//! Back, to a place that was reached before: what the flow reached after it is forgotten, as with a
//! rerun, but the task begins as a new one, so that whoever still holds the old one reports on
//! nothing. Ahead, along the main line: all between is written down as skipped, so that a later walk
//! finds the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::context::Context;
use super::super::draft::{Draft, End};
use super::super::event::{Event, Scheduled};
use super::super::execution::{Execution, Task};
use super::super::input::Message;
use super::super::nodes;
use super::super::plan::{BlockId, Kind, NodeId};
use super::super::status::{Status, TaskStatus};
use super::{Decided, reopen_around};
use crate::json::Json;
use crate::machine::{Effect, Rejected};

pub(super) fn jump(
    state: &mut Execution,
    reference: &str,
    input: Option<Json>,
    context: &Context<'_>,
) -> Decided {
    if state.status != Status::Running {
        return Err(Rejected::Conflict(format!(
            "workflow {} is {}: only one that is RUNNING can jump to a task",
            state.id,
            state.status.as_str()
        )));
    }
    let recorded = state.latest(reference);
    let is_reached = recorded.is_some_and(|task| state.is_reached(task));
    let found = recorded.map(|task| (task.node, task.path.clone()));
    let found = found.or_else(|| Some((state.node_named(reference)?, Vec::new())));
    let Some((node, path)) = found else {
        return Err(Rejected::Invalid(format!(
            "workflow {} has no task with the reference name '{reference}'",
            state.id
        )));
    };
    if !is_reached && state.node(node).block != MAIN {
        return Err(Rejected::Invalid(format!(
            "task '{reference}' stands inside another task and has not been reached: jump to a \
             task that has been, or to one of the main line"
        )));
    }
    let (block, index) = (state.node(node).block, state.node(node).index);
    let skipped = recorded.filter(|_| !is_reached).map(|task| task.sequence);
    let mut draft = Draft::new(state, context);
    if is_reached {
        go_back(&mut draft, node, &path);
    } else {
        if let Some(sequence) = skipped {
            draft.push(Event::Rewound { sequence, input: None, fresh: true, alone: false });
        }
        for sequence in draft.state.open_tasks().map(|task| task.sequence).collect::<Vec<_>>() {
            pass_open(&mut draft, sequence);
        }
        pass_until(&mut draft, block, index, &path, &BTreeMap::new());
    }
    draft.give(node, input);
    draft.later(block, index, path);
    draft.walk_all();
    Ok(draft.settle())
}

/// The block of the main line.
const MAIN: BlockId = BlockId(0);

/// Forgets a place and what the flow reached after it.
fn go_back(draft: &mut Draft<'_>, node: NodeId, path: &[u32]) {
    let state = &*draft.state;
    let first = state.tasks().find(|task| task.node == node && task.path == path);
    let Some(first) = first else { return };
    let forgotten: Vec<Task> = state
        .open_tasks()
        .filter(|task| task.sequence == first.sequence || state.follows(task, first))
        .cloned()
        .collect();
    let sequence = first.sequence;
    for task in forgotten {
        if task.kind.is_queued() {
            draft.effect(Effect::Withdraw { sequence: task.sequence });
        }
        end_child(draft, &task);
    }
    draft.push(Event::Rewound { sequence, input: None, fresh: true, alone: false });
    reopen_around(draft, node, path.to_vec());
}

/// A sub-workflow that nobody waits for any more ends.
fn end_child(draft: &mut Draft<'_>, task: &Task) {
    if let Some(child) = task.own_child().cloned() {
        let reason = "the parent workflow went on elsewhere".into();
        draft.send(child, Message::Terminate { reason });
    }
}

fn pass_open(draft: &mut Draft<'_>, sequence: u32) {
    if let Some(task) = draft.state.task(sequence).cloned() {
        end_child(draft, &task);
        let reason = Some("an operator went on elsewhere".into());
        draft.close(sequence, End { status: TaskStatus::Skipped, output: None, reason });
    }
}

/// Writes down as skipped what a block, and what was entered inside it, still has to do before a
/// place.
pub(super) fn pass_until(
    draft: &mut Draft<'_>,
    block: BlockId,
    until: usize,
    path: &[u32],
    outputs: &BTreeMap<Arc<str>, Json>,
) {
    let nodes: Vec<NodeId> = draft.state.block(block).nodes.iter().take(until).copied().collect();
    for node in nodes {
        let Some(task) = draft.state.attempt_at(node, path) else {
            let output = outputs.get(&draft.state.node(node).reference).cloned();
            pass(draft, node, path, None, output);
            continue;
        };
        let entered = match task.kind {
            _ if task.status == TaskStatus::Skipped || !task.status.is_closed() => Vec::new(),
            // While it is paused, what ended was not followed by what comes next: its branches may be
            // anywhere.
            Kind::Fork | Kind::DynamicFork
                if draft.state.status == Status::Paused
                    && is_waited_for(draft.state, node, path) =>
            {
                Vec::new()
            }
            Kind::Fork | Kind::DynamicFork => nodes::fork::branches_of(draft.state, task.sequence),
            Kind::Switch | Kind::Decision => draft.state.node(node).blocks.clone(),
            _ => Vec::new(),
        };
        for block in entered {
            if is_under_way(draft.state, block, path) {
                // It goes on by itself, and what stands in it is yet to be done.
                continue;
            }
            let nodes = &draft.state.block(block).nodes;
            let length = nodes.len();
            let first = nodes.first().copied();
            if first.is_some_and(|first| draft.state.attempt_at(first, path).is_some()) {
                pass_until(draft, block, length, path, outputs);
            }
        }
    }
}

/// Whether the task behind a fork still waits for its branches.
fn is_waited_for(state: &Execution, fork: NodeId, path: &[u32]) -> bool {
    let fork = state.node(fork);
    let next = state.block(fork.block).nodes.get(fork.index + 1);
    let next = next.and_then(|next| state.attempt_at(*next, path));
    next.is_none_or(|next| matches!(next.kind, Kind::Join) && !next.status.is_closed())
}

/// Whether something in a block is open, or is to be tried again.
fn is_under_way(state: &Execution, block: BlockId, path: &[u32]) -> bool {
    let counts = |task: &Task| {
        let node = state.node_of(task);
        let failed = task.status.is_failure() && !task.retried && !node.task.permissive;
        let in_block = std::iter::once(task.node).chain(state.owners(task.node));
        (failed || !task.status.is_closed())
            && task.path.starts_with(path)
            && in_block.into_iter().any(|node| state.node(node).block == block)
    };
    state.tasks().any(counts)
}

/// Writes a task into the record that never runs, so that the flow passes its place.
pub(super) fn pass(
    draft: &mut Draft<'_>,
    node: NodeId,
    path: &[u32],
    input: Option<Json>,
    output: Option<Json>,
) {
    let sequence = draft.state.next_sequence();
    let scheduled = Scheduled {
        sequence,
        node: node.0,
        path: path.to_vec(),
        task_type: nodes::task_type_of(draft.state.node(node)),
        input: input.unwrap_or_default(),
        attempt: 0,
        retries: 0,
        delay: 0,
        domain: None,
        policy: None,
        join_on: Vec::new(),
    };
    draft.push(Event::Scheduled(Box::new(scheduled)));
    draft.close(sequence, End { status: TaskStatus::Skipped, output, reason: None });
}
