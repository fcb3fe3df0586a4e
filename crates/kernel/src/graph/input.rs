//! What the world says to an execution.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::adoption::{Asker, Instead};
use super::branching::Branch;
use super::event::Parent;
use super::plan::Plan;
use super::status::{Status, TaskStatus};
use crate::definition::IdempotencyStrategy;
use crate::durable::OrchestrationMessage;
use crate::id::ExecutionId;
use crate::json::Json;
use crate::machine::Record;
use crate::time::Timestamp;

/// One input.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin.
    Start(Box<Start>),
    /// Begin with the state of another execution.
    Branch(Box<Branch>),
    /// Look at the clock.
    Wake,
    /// A worker or runner takes a task from the queue.
    Claim {
        /// The task.
        sequence: u32,
        /// Who.
        worker: Option<Arc<str>>,
    },
    /// A worker, a runner or a person reports on a task.
    Report(Box<Report>),
    /// The holder lives: its lease begins anew.
    Extend {
        /// The task.
        sequence: u32,
    },
    /// Another execution says something.
    Message(Message),
    /// Somebody outside leaves a message in the inbox.
    Post(Post),
    /// An operator acts.
    Control(Control),
    /// An operator acts on many at once.
    Batched(Box<Batched>),
}

impl Input {
    /// Whether it does nothing but end an execution.
    pub fn ends(&self) -> bool {
        match self {
            Self::Control(control) => matches!(control, Control::Terminate { .. }),
            Self::Batched(batched) => matches!(batched.control, Control::Terminate { .. }),
            _ => false,
        }
    }
}

/// What an operator does to one of many.
#[derive(Clone, Debug)]
pub struct Batched {
    /// What is done.
    pub control: Control,
    /// The line of a ledger that is written in the same commit: whoever goes through the many knows by
    /// it what was done, also after a crash.
    pub record: Record,
}

/// A message for the inbox of an execution.
#[derive(Clone, Debug)]
pub struct Post {
    /// Names the message, for whoever sent it.
    pub id: Arc<str>,
    /// What it says.
    pub payload: Json,
}

/// A start.
#[derive(Clone, Debug)]
pub struct Start {
    /// What to obey.
    pub plan: Arc<Plan>,
    /// The input, an object.
    pub input: Json,
    /// The caller's label.
    pub correlation_id: Option<Arc<str>>,
    /// 0 to 99.
    pub priority: u8,
    /// Task name (or `*`) to comma-separated domains, an object.
    pub task_to_domain: Option<Json>,
    /// Who waits for it.
    pub parent: Option<Parent>,
    /// Who is told that it exists.
    pub asked_by: Option<Asker>,
    /// The event that caused it.
    pub event: Option<Arc<str>>,
    /// Who asked for it.
    pub created_by: Option<Arc<str>>,
    /// Names the principal with whose grants its tasks act; absent = the server itself.
    pub acts_as: Option<Arc<str>>,
    /// The caller's key against starting twice.
    pub idempotency_key: Option<Arc<str>>,
    /// The caller's span, as the header `traceparent` named it.
    pub traceparent: Option<Arc<str>>,
}

/// A report on a task.
#[derive(Clone, Debug)]
pub struct Report {
    /// The task.
    pub sequence: u32,
    /// What became of it.
    pub verdict: Verdict,
    /// Its output, an object.
    pub output: Option<Json>,
    /// Members of the output are added to what is there, instead of replacing it.
    pub merge: bool,
    /// Why it is not done or failed.
    pub reason: Option<Arc<str>>,
    /// Who reports.
    pub worker: Option<Arc<str>>,
    /// When the work began, if no claim told.
    pub started_at: Option<Timestamp>,
    /// Opaque notes of the worker.
    pub metadata: Option<Json>,
}

/// What a report says of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ended so; must be a closed status other than skipped.
    Done(TaskStatus),
    /// It failed, and whoever refused it asks to be left alone for so long: a retry waits at least
    /// until then. The total timeout of the policy still counts.
    FailedFor {
        /// Milliseconds.
        after: i64,
    },
    /// Not done: hand it out again after so many seconds.
    Again {
        /// Seconds.
        after: i64,
    },
    /// Not done: the holder keeps it, or somebody outside will report.
    Held,
}

/// What executions say to each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Begin; the engine finds the plan and turns this into [`Input::Start`].
    Start(Box<StartMessage>),
    /// To the parent: your child exists.
    Started {
        /// The task that asked.
        sequence: u32,
        /// The id that it asked for: the task may wait for a newer one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child: Option<ExecutionId>,
        /// What there is in its place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead: Option<Instead>,
        /// Which version of its definition it obeys.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<i32>,
    },
    /// To the parent: your child could not be started, or is no more.
    Refused {
        /// The task that asked.
        sequence: u32,
        /// Why.
        reason: Arc<str>,
        /// Which child: the task may wait for a newer one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child: Option<ExecutionId>,
        /// Another attempt would be refused as well.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        for_good: bool,
    },
    /// To an execution that was found in place of one asked for: tell the asker that you exist.
    Watch {
        /// Who asked.
        asker: Asker,
        /// Tell how you end, too.
        to_the_end: bool,
    },
    /// To the parent: your child ended.
    Ended {
        /// The task that asked.
        sequence: u32,
        /// How.
        status: Status,
        /// Its output.
        output: Json,
        /// Why.
        reason: Option<Arc<str>>,
        /// Which child: the task may wait for a newer one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child: Option<ExecutionId>,
        /// How often the child had been asked to try again when it ended.
        #[serde(default)]
        asked: u32,
    },
    /// To the parent: your child runs again.
    Revived {
        /// The task that asked.
        sequence: u32,
        /// Which child: the task may wait for a newer one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child: Option<ExecutionId>,
    },
    /// To a child: end.
    Terminate {
        /// Why.
        reason: Arc<str>,
    },
    /// To a child: try your failed tasks again.
    Retry {
        /// How often it has been asked, this time included.
        asked: u32,
        /// The task of the sender that waits: told if there is no such child any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sequence: Option<u32>,
    },
    /// To a monitor: how something is that none of its checks sees.
    Observed(Box<Observed>),
    /// What instances and entities say to each other.
    Durable(Box<OrchestrationMessage>),
}

/// How something is, as one machine says to a monitor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// What it is about within the monitor.
    pub key: Arc<str>,
    /// How it is: `ok`, `warn` or `fail`.
    pub status: Arc<str>,
    /// In words.
    pub text: Arc<str>,
    /// Everything else, an object.
    pub attrs: Json,
}

/// A start on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartMessage {
    /// The definition's name.
    pub name: Arc<str>,
    /// Its version; absent = the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// A definition in place of a registered one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Arc<RawValue>>,
    /// The input.
    pub input: Json,
    /// The label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Arc<str>>,
    /// 0 to 99.
    #[serde(default)]
    pub priority: u8,
    /// Task name to domains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_to_domain: Option<Json>,
    /// Who waits for it; absent for a start that nobody waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Who is told whether it could be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<Parent>,
    /// A key against starting twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// The event that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Arc<str>>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Arc<str>>,
    /// Names the principal with whose grants its tasks act; absent = the server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_as: Option<Arc<str>>,
    /// The failed execution that this one is the failure workflow of; the engine adds it whole to
    /// the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_of: Option<ExecutionId>,
}

/// A key that names a piece of work, and what a start does that comes again with the same key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The key; counts among the executions of one workflow name.
    pub key: Arc<str>,
    /// What a repetition does; absent = the key is but a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<IdempotencyStrategy>,
}

/// A change of what an execution was begun with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amendment {
    /// New input; absent = the old one.
    pub input: Option<Json>,
    /// New label; absent = the old one.
    pub correlation_id: Option<Arc<str>>,
}

impl Amendment {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.input.is_none() && self.correlation_id.is_none()
    }
}

/// An operator's act.
#[derive(Clone, Debug)]
pub enum Control {
    /// Schedule nothing more for now.
    Pause,
    /// Go on.
    Resume,
    /// End now, children with it.
    Terminate {
        /// Why.
        reason: Option<Arc<str>>,
        /// Run the failure workflow too.
        failure_workflow: bool,
    },
    /// Begin anew under the same id.
    Restart {
        /// A newer plan; absent = the pinned one.
        plan: Option<Arc<Plan>>,
        /// New input; absent = the old one.
        input: Option<Json>,
        /// New label; absent = the old one.
        correlation_id: Option<Arc<str>>,
    },
    /// Try the failed tasks again.
    Retry {
        /// Let failed sub-workflows try theirs, instead of starting new ones.
        descend: bool,
    },
    /// Go back to a task and run on from there.
    Rerun {
        /// The task.
        sequence: u32,
        /// Its new input; absent = as it was.
        input: Option<Json>,
        /// What else changes.
        amendment: Amendment,
    },
    /// Change an execution that has ended, before what is above or below it runs again.
    Amend(Amendment),
    /// Go on at another task, ahead or back, while running.
    Jump {
        /// The task's reference name.
        reference: Arc<str>,
        /// Members to put over the task's input.
        input: Option<Json>,
    },
    /// Obey another version of the definition from here on.
    Upgrade {
        /// The version.
        plan: Arc<Plan>,
        /// Members to put over the execution's input.
        input: Option<Json>,
        /// Outputs of tasks that the other version has before where the execution stands, by
        /// reference name; such tasks are skipped.
        outputs: BTreeMap<Arc<str>, Json>,
    },
    /// Let the flow pass a node that it has not reached.
    Skip {
        /// The node's reference name.
        reference: Arc<str>,
        /// Its input, for the record.
        input: Option<Json>,
        /// The output that later tasks see.
        output: Option<Json>,
    },
    /// Write variables.
    SetVariables {
        /// An object.
        set: Json,
    },
    /// Hand out again what is held: call-backs become due now.
    ResetCallbacks,
}
