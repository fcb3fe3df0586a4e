//! The auditor of the engine: sees what the store took and what the outside was told, and asks the
//! engine nothing.
//!
//! Runs of definitions it has judged by the [`crate::auditor`], fact by fact. Of all machines it
//! knows what their histories fold to, what stands in the queues and what is on its way, and objects
//! when that cannot be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::store::{Commit, MessageKey, QueueChange, QueueRow};
use kernel::graph::{Plan, TaskStatus};
use kernel::{ExecutionId, MachineKind, Timestamp};
use serde_json::Value;

use super::operators::ANSWER;
use super::shadow::{Plans, Shadow};
use crate::auditor::{Auditor as Judge, Commit as Facts, Objection, RowSeen, Sent};
use crate::workload::{FAILURE_WORKFLOW, WORKFLOWS};

/// A task of an execution.
pub(super) type TaskKey = (ExecutionId, u32);
type Verdict = Result<(), Objection>;

/// Milliseconds for which something may be overdue while nothing goes wrong.
const LATE_MAX: i64 = 3_000;

/// What was seen so far.
#[derive(Default)]
pub(super) struct Auditor {
    judge: Judge,
    plans: Plans,
    pub(super) machines: BTreeMap<ExecutionId, Shadow>,
    pub(super) rows: BTreeMap<TaskKey, QueueRow>,
    /// How often what stands in the queues of a task was written.
    pub(super) row_writes: BTreeMap<TaskKey, u64>,
    /// How often executions began on account of a message, by its id.
    pub(super) answers: BTreeMap<String, u32>,
    /// The commit with which nobody held a task any more, the last of them.
    freed: BTreeMap<TaskKey, u64>,
    /// Messages on their way: to whom.
    outbox: BTreeMap<MessageKey, ExecutionId>,
    /// Executions that schedules asked for, and how often each began.
    fired: BTreeMap<ExecutionId, u32>,
    /// Tasks that ended, and with what.
    ended: BTreeMap<TaskKey, TaskStatus>,
    /// Machines that the store has no more.
    pub(super) gone: BTreeSet<ExecutionId>,
    /// Commits.
    pub(super) commits: u64,
}

pub(super) fn objection(id: &ExecutionId, law: &'static str, what: impl Into<String>) -> Objection {
    Objection::new(id.as_str(), law, what)
}

/// Whether the whole history of such an execution is judged.
fn is_judged(name: &str) -> bool {
    WORKFLOWS.contains(&name) || name == FAILURE_WORKFLOW
}

impl Auditor {
    /// An execution is started from outside.
    pub(super) fn root(&mut self, id: &ExecutionId) {
        self.judge.root(id.as_str());
    }

    /// The store took a commit.
    pub(super) fn committed(&mut self, commit: &Commit) -> Verdict {
        let id = &commit.head.id;
        self.commits += 1;
        for (hash, text) in &commit.plans {
            self.judge.plan(hash, text);
            let plan = Plan::from_text(text.clone());
            let plan = plan.map_err(|error| objection(id, "plans parse", error.to_string()))?;
            self.plans.insert(hash.clone(), Arc::new(plan));
        }
        let mut shadow = self.machines.remove(id).unwrap_or_else(|| Shadow::new(commit));
        let judged = self.judge_commit(id, &mut shadow, commit);
        self.machines.insert(id.clone(), shadow);
        judged
    }

    fn judge_commit(&mut self, id: &ExecutionId, shadow: &mut Shadow, commit: &Commit) -> Verdict {
        let was_open = shadow.version > 0 && !shadow.head.closed;
        shadow.version += 1;
        if commit.head.version != shadow.version || commit.expect + 1 != shadow.version {
            let what = format!("{} follows {}", commit.head.version, shadow.version - 1);
            return Err(objection(id, "versions have no gaps", what));
        }
        if commit.forget {
            shadow.state = super::shadow::State::new(id);
        }
        let folded = shadow.state.fold(&commit.events, &self.plans);
        folded.map_err(|what| objection(id, "histories fold", what))?;
        shadow.head = commit.head.clone();
        self.note_rows(id, commit);
        self.note_messages(id, commit)?;
        if shadow.execution().is_some() {
            self.note_tasks(id, shadow);
            if is_judged(&commit.head.name) {
                self.judge_facts(id, shadow, commit)?;
            } else if !was_open && commit.expect == 0 {
                *self.fired.entry(id.clone()).or_default() += 1;
                let message = commit.head.correlation_id.as_ref();
                if let Some(message) = message.filter(|_| &*commit.head.name == ANSWER) {
                    *self.answers.entry(message.to_string()).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    fn note_rows(&mut self, id: &ExecutionId, commit: &Commit) {
        for change in &commit.queue {
            let key = (id.clone(), change.kind().number());
            *self.row_writes.entry(key.clone()).or_default() += 1;
            if !matches!(change, QueueChange::Put(row) if row.held) {
                self.freed.insert(key.clone(), self.commits);
            }
            match change {
                QueueChange::Put(row) => drop(self.rows.insert(key, row.clone())),
                QueueChange::Remove { .. } => drop(self.rows.remove(&key)),
            }
        }
    }

    fn note_messages(&mut self, id: &ExecutionId, commit: &Commit) -> Verdict {
        for key in &commit.received {
            if self.outbox.remove(key).is_none() {
                let what = format!("message {key:?} is not on its way");
                return Err(objection(id, "messages are received once", what));
            }
        }
        for outgoing in &commit.send {
            if outgoing.key.sender != *id {
                let what = format!("it sends {:?}", outgoing.key);
                return Err(objection(id, "messages have senders", what));
            }
            if self.outbox.insert(outgoing.key.clone(), outgoing.to.clone()).is_some() {
                let what = format!("{:?} is sent twice", outgoing.key);
                return Err(objection(id, "messages are sent once", what));
            }
            let body: Value = serde_json::from_str(&outgoing.body).unwrap_or_default();
            if id.machine() == MachineKind::Schedule && body.get("start").is_some() {
                self.fired.entry(outgoing.to.clone()).or_default();
            }
        }
        Ok(())
    }

    fn note_tasks(&mut self, id: &ExecutionId, shadow: &Shadow) {
        let Some(state) = shadow.execution() else { return };
        for task in state.tasks().filter(|task| task.status.is_closed()) {
            self.ended.insert((id.clone(), task.sequence), task.status);
        }
    }

    /// Lets the judge of histories have its say.
    fn judge_facts(&mut self, id: &ExecutionId, shadow: &Shadow, commit: &Commit) -> Verdict {
        let Some(state) = shadow.execution() else { return Ok(()) };
        let sent = commit.send.iter();
        let sent = sent.map(|it| Sent { to: it.to.to_string(), body: it.body.clone() });
        let rows = self.rows.range((id.clone(), 0)..=(id.clone(), u32::MAX));
        let rows = rows.map(|((_, sequence), row)| {
            let queue = row.queue.to_string();
            (*sequence, RowSeen { queue, ready_at: row.ready_at, held: row.held })
        });
        let facts = Facts {
            id: id.as_str(),
            events: &commit.events,
            sent: sent.collect(),
            rows: rows.collect(),
            tasks: state.tasks().map(|task| (task.sequence, task.status.as_str())).collect(),
            wake_at: commit.head.wake_at,
        };
        self.judge.committed(&facts)
    }

    /// A message was dropped: its receiver refused it.
    pub(super) fn discarded(&mut self, key: &MessageKey) {
        self.outbox.remove(key);
    }

    /// The store has a machine no more.
    pub(super) fn removed(&mut self, id: &ExecutionId) {
        self.judge.removed(id.as_str());
        self.machines.remove(id);
        self.rows.retain(|key, _| key.0 != *id);
        self.outbox.retain(|_, to| to != id);
        self.gone.insert(id.clone());
    }

    /// Somebody was told that there is no such machine any more.
    pub(super) fn is_gone(&self, id: &ExecutionId) -> Verdict {
        if !self.machines.contains_key(id) {
            return Ok(());
        }
        Err(objection(id, "what is answered is durable", "it was removed, and is stored"))
    }

    /// What the retention may remove has ended, and owes nothing.
    pub(super) fn pruned(&mut self, id: &ExecutionId) -> Verdict {
        let is_open = self.machines.get(id).is_some_and(|it| !it.head.closed);
        let owes = self.outbox.keys().any(|key| key.sender == *id);
        if is_open || owes || self.rows.keys().any(|key| key.0 == *id) {
            return Err(objection(id, "only what has ended is pruned", "it has not"));
        }
        self.removed(id);
        Ok(())
    }

    /// A built-in task is about to be run.
    pub(super) fn begins(&self, key: Option<TaskKey>) -> Verdict {
        let Some(key) = key else { return Ok(()) };
        let task = self.machines.get(&key.0).and_then(|it| it.execution()?.task(key.1));
        match task {
            Some(task) if !task.status.is_closed() => Ok(()),
            task => {
                let what = format!("{} is run as {:?}", key.1, task.map(|it| it.status));
                Err(objection(&key.0, "what has ended is not run again", what))
            }
        }
    }

    /// Whether a worker has held a task ever since that commit, for all that the store knows.
    pub(super) fn is_held_since(&self, key: &TaskKey, commit: u64) -> bool {
        let was_freed = self.freed.get(key).is_some_and(|freed| *freed > commit);
        !was_freed && self.rows.get(key).is_some_and(|row| row.held)
    }

    /// Somebody was told that the end of a task is taken note of.
    pub(super) fn ended(&self, key: &TaskKey) -> Verdict {
        let is_over = self.machines.get(&key.0).is_some_and(|it| it.head.closed);
        let is_known = self.ended.contains_key(key) || is_over || self.gone.contains(&key.0);
        if is_known {
            return Ok(());
        }
        let what = format!("the end of task {} was taken, and is not stored", key.1);
        Err(objection(&key.0, "what is answered is durable", what))
    }

    /// Somebody was told that something has begun.
    pub(super) fn begun(&self, id: &ExecutionId) -> Verdict {
        if self.machines.contains_key(id) || self.gone.contains(id) {
            return Ok(());
        }
        Err(objection(id, "what is answered is durable", "it has begun, and is not stored"))
    }

    /// Nothing that the clock asks for is left undone for long.
    pub(super) fn on_time(&self, now: Timestamp, exempt: &BTreeSet<ExecutionId>) -> Verdict {
        for (id, shadow) in &self.machines {
            let due = shadow.head.wake_at.filter(|_| !exempt.contains(id));
            if let Some(at) = due.filter(|at| at.plus_millis(LATE_MAX) < now) {
                let what = format!("it wanted to look at the clock at {at}, and it is {now}");
                return Err(objection(id, "timers fire", what));
            }
        }
        Ok(())
    }

    /// What is still to happen, aside from `exempt`; `None` if nothing.
    pub(super) fn unsettled(&self, exempt: &BTreeSet<ExecutionId>) -> Option<String> {
        // A start that cannot be is kept until whoever asked for it can be told.
        let waits = |(key, to): &(&MessageKey, &ExecutionId)| {
            !exempt.contains(*to) && !exempt.contains(&key.sender)
        };
        if let Some((key, to)) = self.outbox.iter().find(waits) {
            return Some(format!("message {key:?} to {to}"));
        }
        let row = self.rows.iter().find(|(key, _)| !exempt.contains(&key.0));
        let Some((key, row)) = row else {
            return self.open(exempt).map(|id| format!("{id} is open"));
        };
        Some(format!("{row:?} of {key:?}"))
    }

    /// A run that has not ended.
    fn open(&self, exempt: &BTreeSet<ExecutionId>) -> Option<&ExecutionId> {
        // Orchestrations wait for ever for one that is left alone, and for the lock of such an entity.
        let is_code =
            |id: &ExecutionId| matches!(id.machine(), MachineKind::Instance | MachineKind::Entity);
        let code_waits = exempt.iter().any(is_code);
        let runs = self.machines.iter().filter(|(id, _)| match id.machine() {
            MachineKind::Execution => true,
            MachineKind::Instance => !code_waits,
            _ => false,
        });
        let mut open = runs.filter(|(id, it)| !it.head.closed && !exempt.contains(*id));
        open.next().map(|(id, _)| id)
    }

    /// Everything is over.
    pub(super) fn finish(&self, exempt: &BTreeSet<ExecutionId>) -> Verdict {
        for (id, times) in &self.fired {
            let asked = id.machine() == MachineKind::Execution;
            if asked && *times != 1 && !exempt.contains(id) {
                let what = format!("a firing asked for it, and it began {times} times");
                return Err(objection(id, "a firing starts once", what));
            }
        }
        if exempt.is_empty() { self.judge.finish() } else { Ok(()) }
    }
}
