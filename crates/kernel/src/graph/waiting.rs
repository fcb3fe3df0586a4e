//! Why a task waits, as data and as a sentence.
//!
//! Nothing here is stored: the reason follows from the state. What only the queues know (whether
//! workers poll, which limit is reached) the engine adds to reasons with the code `queued`.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;

use super::execution::{Execution, Task};
use super::gate::GATE_PLACE;
use super::nodes::webhook;
use super::plan::Kind;
use super::status::{Status, TaskStatus};
use super::supply::queue_of;
use super::timing;
use crate::definition::TaskDef;
use crate::id::ExecutionId;
use crate::time::Timestamp;

impl Execution {
    /// The queue that a task waits in, as workers poll it: `domain:type@namespace-group`.
    pub fn queue_of(&self, task: &Task) -> Arc<str> {
        queue_of(task, self.policy_of(task))
    }
}

/// One waiting task.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The task.
    pub task_id: String,
    /// Its reference name.
    pub reference: Arc<str>,
    /// Its type.
    pub task_type: Arc<str>,
    /// The kind of reason; stable.
    pub code: &'static str,
    /// The reason in a sentence.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// When the wait ends by itself, or what waits gives up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What many share of whom only so many may run at once, if that is the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<LimitedBy>,
    /// The number of the task in its execution.
    #[serde(skip)]
    pub sequence: u32,
}

/// A limit that an execution has to wait for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitedBy {
    /// What the executions share.
    pub key: Arc<str>,
    /// How many may run at once.
    pub limit: u32,
    /// Those that hold the places; filled in by who knows the queues.
    pub holders: Vec<ExecutionId>,
}

impl Execution {
    /// Why each open task waits, in the order of scheduling.
    pub fn waiting(&self, now: Timestamp) -> Vec<Waiting> {
        if self.status.is_closed() {
            return Vec::new();
        }
        let paused = self.status == Status::Paused;
        self.open_tasks()
            .map(|task| {
                let (mut code, mut reason) = self.why(task, now);
                if paused {
                    code = "paused";
                    reason = format!("the workflow is paused; resume it to go on ({reason})");
                }
                Waiting {
                    task_id: self.task_id(task.sequence).to_string(),
                    reference: task.reference.clone(),
                    task_type: task.task_type.clone(),
                    code,
                    reason,
                    since: task.started_at.unwrap_or(task.scheduled_at),
                    until: timing::timer_of(task, self.policy_of(task)),
                    limited_by: None,
                    sequence: task.sequence,
                }
            })
            .chain(self.waiting_at_gate())
            .collect()
    }

    /// The first task of an execution that waits for its place; it is not scheduled before.
    fn waiting_at_gate(&self) -> Option<Waiting> {
        let gate = self.gate.as_ref().filter(|gate| !gate.admitted)?;
        let first = self.plan().definition.tasks.first()?;
        let (key, limit) = (gate.key.clone(), gate.limit);
        Some(Waiting {
            task_id: String::new(),
            reference: first.task_reference_name.as_str().into(),
            task_type: first.task_type.as_str().into(),
            code: "workflow-limit",
            reason: format!(
                "waits for a place: {limit} executions with rateLimitKey '{key}' may run at once"
            ),
            since: self.created_at,
            until: None,
            limited_by: Some(LimitedBy { key, limit, holders: Vec::new() }),
            sequence: GATE_PLACE,
        })
    }

    fn why(&self, task: &Task, now: Timestamp) -> (&'static str, String) {
        let ready_at = task.scheduled_at.plus_millis(task.delay);
        if task.status == TaskStatus::Scheduled && task.callback_after > 0 {
            let at = task.updated_at.plus_seconds(task.callback_after);
            return ("callback", format!("the worker asked to be called again at {at}"));
        }
        if task.status == TaskStatus::Scheduled && task.delay > 0 && ready_at > now {
            return match self.retries_allowed(task) {
                Some(allowed) if task.attempt > 0 => {
                    let attempt = task.attempt;
                    ("retry-delay", format!("retry {attempt} of {allowed} begins at {ready_at}"))
                }
                _ => ("start-delay", format!("the start delay ends at {ready_at}")),
            };
        }
        match task.kind {
            Kind::Dispatched | Kind::Dynamic => why_dispatched(task, self.policy_of(task)),
            Kind::Wait => match task.until {
                Some(until) => ("timer", format!("waits until {until}")),
                None => ("signal", "waits for an update from outside".to_owned()),
            },
            Kind::Pull => ("message", "waits for a message in its inbox".to_owned()),
            Kind::Human => ("human", "waits for a person to complete it".to_owned()),
            Kind::Yield => ("signal", "waits for a signal".to_owned()),
            Kind::Webhook => ("webhook", webhook::why(&task.input)),
            Kind::SubWorkflow => {
                let said = match self.child_of(task) {
                    Some(child) => format!("waits for sub-workflow {child} to end"),
                    None => "waits for the sub-workflow to begin".to_owned(),
                };
                ("sub-workflow", said)
            }
            Kind::StartWorkflow => ("start", "waits for the new workflow to begin".to_owned()),
            Kind::Join | Kind::ExclusiveJoin => ("join", self.why_join(task)),
            Kind::DoWhile => {
                ("loop", format!("iteration {} of its body is running", task.iteration))
            }
            _ => ("engine", "is about to be decided".to_owned()),
        }
    }

    fn why_join(&self, task: &Task) -> String {
        let joined = self.joined(task);
        let missing: Vec<String> = joined
            .iter()
            .filter_map(|reference| match self.latest(reference) {
                None => Some(format!("{reference} (not reached)")),
                Some(branch) if !branch.status.is_closed() => {
                    Some(format!("{reference} ({})", branch.status.as_str()))
                }
                Some(_) => None,
            })
            .collect();
        let mut sentence = format!("waits for {}", missing[..missing.len().min(5)].join(", "));
        if missing.len() > 5 {
            write!(sentence, " and {} more", missing.len() - 5).expect("a string takes all");
        }
        sentence
    }
}

fn why_dispatched(task: &Task, policy: Option<&TaskDef>) -> (&'static str, String) {
    if task.status == TaskStatus::Scheduled {
        let queue = queue_of(task, policy);
        return ("queued", format!("waits in queue '{queue}' for a worker to poll it"));
    }
    let mut sentence = format!("held by {}", task.worker.as_deref().unwrap_or("the engine"));
    if let Some(at) = task.started_at {
        write!(sentence, " since {at}").expect("a string takes all");
    }
    if let Some(said) = &task.reason {
        write!(sentence, ", which says: {said}").expect("a string takes all");
    }
    ("in-progress", sentence)
}
