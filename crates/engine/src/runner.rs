//! The port through which the engine runs a built-in task (HTTP and the like) outside a decision.

use std::time::Duration;

use async_trait::async_trait;
use kernel::Json;
use kernel::access::Permission;
use kernel::alert::definition::Remark;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::engine::WeakEngine;

/// Runs one built-in task type. Adding a task type is one file that implements this and one line
/// in the registry.
#[async_trait]
pub trait TaskRunner: Send + Sync {
    /// The task type it serves, as definitions write it: `HTTP`.
    fn task_type(&self) -> &'static str;

    /// Called once, before the first run, with the engine that it serves; for tasks that act on executions
    /// or documents.
    fn attach(&self, _engine: WeakEngine) {}

    /// Whether secrets are filled into its input. A task that passes its input on within the engine
    /// says no: what stands for secrets travels then, and nothing is stored in clear.
    fn takes_secrets(&self) -> bool {
        true
    }

    /// What the principal that the run acts as must be allowed before a task is run.
    fn requires(&self) -> Requirement {
        Requirement::Nothing
    }

    /// What there is to say, long before a task runs, about an input that a file of monitors will
    /// lead to. Secrets in it are still references.
    fn judge(&self, _input: &Value) -> Vec<Remark> {
        Vec::new()
    }

    /// Does the work of one attempt.
    ///
    /// The work may be done more than once for the same [`Handoff::task_id`] (a crash between the
    /// work and its commit), so a runner passes the id on wherever the other side can dedupe.
    /// `cancelled` fires when the task was cancelled or timed out; the answer is then ignored.
    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome;
}

/// What the principal of a run must be allowed before a built-in task is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing: the task does not act on the server.
    Nothing,
    /// To run the workflow that the task belongs to.
    OwnRun,
    /// This, on everything.
    Everything(Permission),
    /// The task asks by itself, for each thing that it acts on.
    EachThing,
}

/// What a runner is given: one attempt at one task.
#[derive(Clone, Debug)]
pub struct Handoff {
    /// Stable over redeliveries of the same attempt.
    pub task_id: String,
    /// The execution it belongs to.
    pub execution_id: String,
    /// Reference name in the definition, with the iteration suffix.
    pub reference: String,
    /// The resolved input, with secrets filled in if the runner takes them.
    pub input: Json,
    /// 0 for the first attempt.
    pub attempt: u32,
    /// How often this attempt was run before: after each answer that asked to be run again, also
    /// over restarts. One that a crash cut short counts too.
    pub runs: u32,
    /// How the task names its span to whomever it calls, as the header `traceparent`; absent if it is not
    /// traced.
    pub traceparent: Option<String>,
    /// The author set `asyncComplete`: success leaves the task in progress for an outside update.
    pub async_complete: bool,
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: OutcomeStatus,
    /// The task's output, an object; also on failure, where it says what came back.
    pub output: Json,
    /// Why it failed, in a sentence.
    pub reason: Option<String>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeStatus {
    /// Done.
    Completed,
    /// Failed; a retry may help.
    Failed,
    /// Failed; whoever refused it asks to be left alone for so long. A retry waits for that and for
    /// the delay of its policy, whichever is longer.
    FailedFor(Duration),
    /// Failed for good; a retry cannot help.
    FailedTerminally,
    /// Not done: look again after the delay (polling tasks), or wait for an update from outside
    /// when it is absent.
    InProgress {
        /// When to run it again.
        again_after: Option<Duration>,
    },
}
