//! Starts that find an execution in place of the one that they asked for.
//!
//! A task asks for an execution under an id of its own. Where the start bears an idempotency key,
//! what it gets may have another id: either it was begun for the task under the key's id, and is
//! the task's own; or it was there before, and the task *adopts* it. An adopted execution tells its
//! end to whoever adopted it, beside its parent, and is otherwise none of the adopter's business:
//! it does not end with the adopter, nor does a retry of the adopter reach into it.

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::draft::Draft;
use super::event::{Event, Parent};
use super::execution::{Execution, Task};
use super::input::Message;
use super::plan::Kind;
use super::status::TaskStatus;
use crate::id::ExecutionId;
use crate::machine::{Decision, Rejected};

/// Those who may wait for one execution that they did not start.
const WATCHERS_MAX: usize = 1000;

/// What there is in place of an execution that was asked for under its own id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instead {
    /// The execution.
    #[serde(rename = "x")]
    pub id: ExecutionId,
    /// It is not the asker's own: it was there before, or was asked for to run by itself.
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
}

/// Somebody who asked for an execution, and by which name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// The task.
    pub by: Parent,
    /// The id that it asked for.
    pub child: ExecutionId,
}

impl Asker {
    /// What the asker is told once the execution `id` exists.
    pub fn told_of(self, id: &ExecutionId, adopted: bool) -> (ExecutionId, Message) {
        self.told(id, adopted, None)
    }

    /// As [`Asker::told_of`], with the version that the execution obeys.
    pub(super) fn told_of_run(self, begun: &Execution, adopted: bool) -> (ExecutionId, Message) {
        self.told(&begun.id, adopted, Some(begun.plan().definition.version))
    }

    fn told(self, id: &ExecutionId, adopted: bool, version: Option<i32>) -> (ExecutionId, Message) {
        let other = *id != self.child;
        let instead = other.then(|| Instead { id: id.clone(), adopted });
        let (sequence, child) = (self.by.sequence, Some(self.child));
        (self.by.execution, Message::Started { sequence, child, instead, version })
    }

    /// What the asker is told if nothing is begun for it.
    pub fn refusal(self, reason: &str) -> (ExecutionId, Message) {
        self.refused(reason, false)
    }

    /// The same where another attempt would be refused, too.
    pub fn refusal_for_good(self, reason: &str) -> (ExecutionId, Message) {
        self.refused(reason, true)
    }

    fn refused(self, reason: &str, for_good: bool) -> (ExecutionId, Message) {
        let (sequence, child) = (self.by.sequence, Some(self.child));
        (self.by.execution, Message::Refused { sequence, reason: reason.into(), child, for_good })
    }
}

impl Task {
    /// The sub-workflow that ends with this task, and is tried again with it: one that it adopted
    /// is not.
    pub fn own_child(&self) -> Option<&ExecutionId> {
        self.child.as_ref().filter(|_| self.kind == Kind::SubWorkflow && !self.adopted)
    }
}

impl Execution {
    /// The sub-workflow of a task; `None` while there is none, or nobody knows yet which one an
    /// idempotency key will lead to, and where it could not be started.
    pub fn child_of<'a>(&self, task: &'a Task) -> Option<&'a ExecutionId> {
        let params = self.node_of(task).task.sub_workflow_param.as_ref();
        let keyed = params.is_some_and(|params| params.idempotency_strategy.is_some());
        // A child says that it exists before it says anything else. One whose task was cancelled or
        // timed out may still come to be, and is told to end then.
        let refused = matches!(
            task.status,
            TaskStatus::Failed
                | TaskStatus::FailedWithTerminalError
                | TaskStatus::CompletedWithErrors
        );
        let known = task.child_started || (task.begun && !keyed && !refused);
        task.child.as_ref().filter(|_| task.kind == Kind::SubWorkflow && known)
    }

    pub(super) fn note_child(
        &mut self,
        sequence: u32,
        instead: Option<&Instead>,
        version: Option<i32>,
    ) {
        self.touch(sequence, |task| {
            task.child_started = true;
            task.child_version = version;
            if let Some(instead) = instead {
                task.child = Some(instead.id.clone());
                task.adopted = instead.adopted;
            }
        });
    }

    pub(super) fn note_watcher(&mut self, watcher: &Parent) {
        if !self.watchers.contains(watcher) {
            self.watchers.push(watcher.clone());
        }
    }
}

impl Draft<'_> {
    /// Whoever waits for this execution learns how it ended.
    pub(super) fn tell_the_end(&mut self) {
        self.tell_parent_the_end();
        for watcher in self.state.watchers.clone() {
            self.tell_end(watcher, 0);
        }
    }

    /// The execution that began this one to wait for it learns how it ended.
    pub(super) fn tell_parent_the_end(&mut self) {
        if let Some(parent) = self.state.parent.clone() {
            self.tell_end(parent, self.state.asked);
        }
    }

    fn tell_end(&mut self, to: Parent, asked: u32) {
        let message = Message::Ended {
            sequence: to.sequence,
            status: self.state.status,
            output: self.state.output.clone(),
            reason: self.state.reason.clone(),
            child: Some(self.state.id.clone()),
            asked,
        };
        self.send(to.execution, message);
    }
}

/// Somebody adopts this execution: learns that it is there, and its end if they wait for it.
pub(super) fn watch(
    state: &mut Execution,
    asker: Asker,
    to_the_end: bool,
    context: &Context<'_>,
) -> Decision<Event> {
    let watcher = asker.by.clone();
    let full = to_the_end && state.watchers.len() >= WATCHERS_MAX;
    let closed = state.status.is_closed();
    let mut draft = Draft::new(state, context);
    if full && !closed {
        let id = &draft.state.id;
        let reason = format!("{WATCHERS_MAX} tasks wait for workflow {id} already: no more may");
        let (to, message) = asker.refusal(&reason);
        draft.send(to, message);
        return draft.settle();
    }
    let (to, message) = asker.told_of_run(draft.state, true);
    draft.send(to, message);
    match (to_the_end, closed) {
        (true, true) => draft.tell_end(watcher, 0),
        (true, false) => draft.push(Event::Watched { watcher }),
        (false, _) => {}
    }
    draft.settle()
}

/// An execution exists that was asked for by a task that does not wait any more. If it was begun
/// for the task alone, under an id that the task did not know, it has to be told to end now.
pub(super) fn came_late(
    state: &mut Execution,
    instead: Option<&Instead>,
    stale: Rejected,
    context: &Context<'_>,
) -> Result<Decision<Event>, Rejected> {
    let waits = |id| state.open_tasks().any(|task| task.child.as_ref() == Some(id));
    let orphan = instead.filter(|instead| !instead.adopted && !waits(&instead.id));
    let Some(instead) = orphan else { return Err(stale) };
    let mut draft = Draft::new(state, context);
    let reason = "the task that asked for it does not wait any more".into();
    draft.send(instead.id.clone(), Message::Terminate { reason });
    Ok(draft.settle())
}
