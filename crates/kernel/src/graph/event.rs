//! The facts of an execution; its history is a list of these, and a format: fields are only ever
//! added. Keys are short because every step of every execution is stored under them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::adoption::Instead;
use super::plan::Plan;
use super::snapshot::Snapshot;
use super::status::{Status, TaskStatus};
use crate::definition::{TaskDef, WorkflowTask};
use crate::id::ExecutionId;
use crate::json::Json;
use crate::time::Timestamp;

/// One fact. The first of every commit is [`Event::At`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The instant of the facts that follow.
    At(Timestamp),
    /// The wall clock was set back: instants of open tasks that were noted since then are moved.
    ClockSetBack {
        /// By at least so many milliseconds.
        #[serde(rename = "b")]
        by: i64,
    },
    /// All that was before, in one: the first fact of a history whose beginning is forgotten.
    Snapshot(Box<Snapshot>),
    /// The execution began.
    Started(Box<Started>),
    /// The execution began as a fork: with this state, which is that of another one before one of its
    /// tasks. `branched_from` in it says whose.
    Branched(Box<Snapshot>),
    /// An attempt at a node was created.
    Scheduled(Box<Scheduled>),
    /// A dynamic fork's branches are known. Follows the [`Event::Scheduled`] of the fork.
    Forked {
        /// The fork.
        #[serde(rename = "s")]
        sequence: u32,
        /// One task per branch.
        #[serde(rename = "t")]
        tasks: Vec<WorkflowTask>,
        /// Input of each branch, as the fork's input gave it.
        #[serde(rename = "i")]
        inputs: Vec<Json>,
    },
    /// A scheduled attempt whose delay is over was begun by the engine.
    Begun {
        /// The task.
        #[serde(rename = "s")]
        sequence: u32,
        /// For a WAIT: when it ends by itself.
        #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A worker or runner holds the task.
    Claimed {
        /// The task.
        #[serde(rename = "s")]
        sequence: u32,
        /// Who.
        #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
        worker: Option<Arc<str>>,
    },
    /// Whoever holds the task reported, and goes on or gives it back for a while.
    Progressed(Box<Progressed>),
    /// The attempt ended.
    Closed(Box<Closed>),
    /// A loop began an iteration.
    Iterated {
        /// The DO_WHILE task.
        #[serde(rename = "s")]
        sequence: u32,
        /// The iteration, from 1.
        #[serde(rename = "n")]
        iteration: u32,
        /// Tasks of iterations up to this one are forgotten (`keepLastN`); 0 = none.
        #[serde(rename = "f", default, skip_serializing_if = "is_zero")]
        forget: u32,
    },
    /// Variables were written.
    Variables {
        /// An object whose members replace those of the same name.
        #[serde(rename = "v")]
        set: Json,
    },
    /// An operator paused the execution.
    Paused,
    /// An operator let it go on.
    Resumed,
    /// A timeout passed whose policy is only to tell.
    Alerted {
        /// The task.
        #[serde(rename = "s")]
        sequence: u32,
    },
    /// More work is due than one commit may hold; it goes on at once.
    Yielded,
    /// A closed execution runs again.
    Revived,
    /// A task is open again in place.
    Reopened {
        /// The task.
        #[serde(rename = "s")]
        sequence: u32,
        /// Its child was asked to try again: answers from before do not count.
        #[serde(rename = "q", default, skip_serializing_if = "is_zero")]
        asked: u32,
    },
    /// The parent asked to try again: answers to it bear this number.
    Asked {
        /// How often it has asked.
        #[serde(rename = "q")]
        asked: u32,
    },
    /// Everything that the flow reached after a task was forgotten, and the task set back.
    Rewound {
        /// The task.
        #[serde(rename = "s")]
        sequence: u32,
        /// Its new input.
        #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
        input: Option<Json>,
        /// The task itself was forgotten, too: a new one takes its place.
        #[serde(rename = "f", default, skip_serializing_if = "is_false")]
        fresh: bool,
        /// Nothing was forgotten: only the task was set back.
        #[serde(rename = "a", default, skip_serializing_if = "is_false")]
        alone: bool,
    },
    /// Input or label of the execution were changed.
    Amended {
        /// The new input.
        #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
        input: Option<Json>,
        /// The new label.
        #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
        correlation_id: Option<Arc<str>>,
    },
    /// The execution obeys another version of its definition from now on.
    Upgraded {
        /// What it obeys.
        #[serde(rename = "p")]
        plan: PlanRef,
    },
    /// A sub-workflow said that it exists.
    ChildStarted {
        /// The SUB_WORKFLOW task.
        #[serde(rename = "s")]
        sequence: u32,
        /// What the task has in place of the execution that it asked for.
        #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
        instead: Option<Instead>,
        /// The version of its definition, where the task named none.
        #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
        version: Option<i32>,
    },
    /// A task of another execution waits for the end of this one, too.
    Watched {
        /// The task.
        #[serde(rename = "w")]
        watcher: Parent,
    },
    /// A message from outside came into the inbox.
    Posted {
        /// The message, as the task that takes it shows it.
        #[serde(rename = "m")]
        message: Json,
    },
    /// The oldest messages left the inbox, with the [`Event::Closed`] that follows.
    Collected {
        /// How many.
        #[serde(rename = "n")]
        count: u32,
    },
    /// The execution is one of those of which only so many may run at once. Follows
    /// [`Event::Started`].
    Gated {
        /// What they share.
        #[serde(rename = "k")]
        key: Arc<str>,
        /// How many may run at once.
        #[serde(rename = "n")]
        limit: u32,
        /// There was a place for it at once.
        #[serde(rename = "a", default, skip_serializing_if = "is_false")]
        admitted: bool,
    },
    /// There is a place for it.
    Admitted,
    /// It is one of those that its principal may have open. Follows [`Event::Started`].
    Counted,
    /// The execution ended.
    Ended(Box<Ended>),
}

impl Event {
    /// The task that was there before and that the fact is about.
    pub(super) fn task(&self) -> Option<u32> {
        match self {
            Self::Forked { sequence, .. }
            | Self::Begun { sequence, .. }
            | Self::Claimed { sequence, .. }
            | Self::Iterated { sequence, .. }
            | Self::Alerted { sequence }
            | Self::Reopened { sequence, .. }
            | Self::Rewound { sequence, .. }
            | Self::ChildStarted { sequence, .. } => Some(*sequence),
            Self::Progressed(progressed) => Some(progressed.sequence),
            Self::Closed(closed) => Some(closed.sequence),
            Self::At(_)
            | Self::ClockSetBack { .. }
            | Self::Snapshot(_)
            | Self::Branched(_)
            | Self::Started(_)
            | Self::Scheduled(_)
            | Self::Variables { .. }
            | Self::Paused
            | Self::Resumed
            | Self::Yielded
            | Self::Revived
            | Self::Asked { .. }
            | Self::Amended { .. }
            | Self::Upgraded { .. }
            | Self::Watched { .. }
            | Self::Posted { .. }
            | Self::Collected { .. }
            | Self::Gated { .. }
            | Self::Admitted
            | Self::Counted
            | Self::Ended(_) => None,
        }
    }

    /// The plan that the fact names.
    pub fn plan(&self) -> Option<&PlanRef> {
        match self {
            Self::Started(started) => Some(&started.plan),
            Self::Upgraded { plan } => Some(plan),
            Self::Snapshot(whole) | Self::Branched(whole) => Some(&whole.plan),
            _ => None,
        }
    }

    /// The same, to be bound before the fact is folded.
    pub fn plan_mut(&mut self) -> Option<&mut PlanRef> {
        match self {
            Self::Started(started) => Some(&mut started.plan),
            Self::Upgraded { plan } => Some(plan),
            Self::Snapshot(whole) | Self::Branched(whole) => Some(&mut whole.plan),
            _ => None,
        }
    }
}

/// The begin of an execution, or its new begin at a restart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    /// What it obeys.
    #[serde(rename = "p")]
    pub plan: PlanRef,
    /// Its input, defaults merged.
    #[serde(rename = "i")]
    pub input: Json,
    /// The author's label.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Arc<str>>,
    /// 0 to 99.
    #[serde(rename = "y", default, skip_serializing_if = "is_zero_u8")]
    pub priority: u8,
    /// Task name (or `*`) to comma-separated domains.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub task_to_domain: Option<Json>,
    /// Who started it as a sub-workflow.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// The event that started it.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Arc<str>>,
    /// Who asked for it.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Arc<str>>,
    /// Names the principal with whose grants its tasks act; absent = the server itself, as in all
    /// executions that an earlier release began.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub acts_as: Option<Arc<str>>,
    /// The caller's key against starting twice.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Arc<str>>,
    /// The span of whoever asked for it, as the header `traceparent` named it.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Arc<str>>,
    /// The execution was there before and begins anew.
    #[serde(rename = "r", default, skip_serializing_if = "is_false")]
    pub restart: bool,
    /// Secrets are named by references alone. Executions that an earlier release began have
    /// `${workflow.secrets.NAME}` in their data; they go on with it.
    #[serde(rename = "f", default, skip_serializing_if = "is_false")]
    pub references: bool,
}

/// The task that waits for a sub-workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its execution.
    #[serde(rename = "x")]
    pub execution: ExecutionId,
    /// Its sequence number there.
    #[serde(rename = "s")]
    pub sequence: u32,
}

/// A plan by its hash; stored once, however many executions pin it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanRef {
    /// Names the plan.
    pub hash: Arc<str>,
    /// The plan itself; whoever reads a history binds it before folding.
    #[serde(skip)]
    pub plan: Option<Arc<Plan>>,
}

impl From<Arc<Plan>> for PlanRef {
    fn from(plan: Arc<Plan>) -> Self {
        Self { hash: plan.hash.clone(), plan: Some(plan) }
    }
}

/// A new attempt at a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scheduled {
    /// The attempt's number in the execution.
    #[serde(rename = "s")]
    pub sequence: u32,
    /// The node.
    #[serde(rename = "n")]
    pub node: u32,
    /// Iterations of the loops around it, outermost first.
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<u32>,
    /// The type at run time: for SIMPLE the task's name.
    #[serde(rename = "t")]
    pub task_type: Arc<str>,
    /// The input, expressions resolved.
    #[serde(rename = "i")]
    pub input: Json,
    /// Attempts before this one.
    #[serde(rename = "a", default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// The attempt that this one repeats.
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// Milliseconds until it may begin.
    #[serde(rename = "w", default, skip_serializing_if = "is_zero_i64")]
    pub delay: i64,
    /// The queue's domain.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Arc<str>>,
    /// Retry policy and limits where the plan cannot know them (DYNAMIC).
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Box<TaskDef>>,
    /// JOIN: the references that it waits for, with iteration suffixes.
    #[serde(rename = "j", default, skip_serializing_if = "Vec::is_empty")]
    pub join_on: Vec<Arc<str>>,
}

/// A report in between.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Progressed {
    /// The task.
    #[serde(rename = "s")]
    pub sequence: u32,
    /// Its output so far; absent = unchanged.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// Seconds until it is handed out again; absent = the holder keeps it.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub callback_after: Option<i64>,
    /// Who reported.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Arc<str>>,
    /// What the reporter says about why it is not done.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// Opaque notes of the worker.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
}

/// The end of an attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Closed {
    /// The task.
    #[serde(rename = "s")]
    pub sequence: u32,
    /// How it ended.
    #[serde(rename = "t")]
    pub status: TaskStatus,
    /// What it gave; absent = as it was, or derived (JOIN, DO_WHILE).
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// Why, if not well.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// When the work began, where no claim told before.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Who did it.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Arc<str>>,
    /// Opaque notes of the worker.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// Milliseconds before which another attempt is no use, whatever the policy says.
    #[serde(rename = "r", default, skip_serializing_if = "is_zero_i64")]
    pub retry_after: i64,
}

/// The end of an execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// How.
    #[serde(rename = "t")]
    pub status: Status,
    /// Its output.
    #[serde(rename = "o")]
    pub output: Json,
    /// Why, if there is something to say.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_zero_u8(number: &u8) -> bool {
    *number == 0
}

fn is_zero_i64(number: &i64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}
