//! What a decision may look at besides the state: the clock's last word, scripts, definitions.

use std::sync::Arc;

use crate::definition::{SchemaDef, TaskDef};
use crate::id::ExecutionId;
use crate::json::Json;
use crate::script::Scripts;
use crate::time::Timestamp;

/// Everything that a decision sees of the world.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The instant at which is decided.
    pub now: Timestamp,
    /// Runs the user's scripts.
    pub scripts: &'a dyn Scripts,
    /// Knows definitions and queues.
    pub world: &'a dyn World,
    /// Bounds of everything.
    pub limits: &'a Limits,
}

/// What a decision may ask. Every answer that matters is recorded in an event.
pub trait World: Send + Sync {
    /// The task definition of a name, as registered now.
    fn task_def(&self, name: &str) -> Option<Arc<TaskDef>>;

    /// Whether a task type is run in the process rather than by workers.
    fn is_builtin(&self, task_type: &str) -> bool;

    /// Whether a worker has asked this queue for work in the last 10 seconds.
    fn polled_lately(&self, queue: &str) -> bool;

    /// A value that `${workflow.env.NAME}` may show.
    fn environment(&self, name: &str) -> Option<String>;

    /// A registered schema; version 0 = the latest. Asked only for what no plan could pin.
    fn schema(&self, _name: &str, _version: i32) -> Option<SchemaDef> {
        None
    }

    /// An output of the same work that may still be used again.
    fn reusable(&self, _name: &str, _key: &str) -> Option<Json> {
        None
    }

    /// Takes a place at a gate for an execution under this number, if one is free and nobody waits for
    /// it. Asked again for the same execution, it answers the same.
    fn place(&self, _gate: &str, _limit: u32, _execution: &ExecutionId, _sequence: u32) -> bool {
        true
    }
}

/// Bounds. What exceeds one fails the task or is refused, with the bound in the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one task's input or output, and of an execution's input.
    pub payload_max: usize,
    /// Bytes of an execution's variables together.
    pub variables_max: usize,
    /// Tasks in one execution.
    pub tasks_max: usize,
    /// Branches of one dynamic fork.
    pub branches_max: usize,
    /// Iterations of one loop.
    pub iterations_max: u32,
    /// Open executions of one definition that has no `rateLimitConfig`; 0 = any number.
    pub executions_max: u32,
    /// Open executions of one principal, sub-workflows left out; 0 = any number.
    pub principal_open_max: u32,
    /// Sub-workflows below sub-workflows.
    pub depth_max: u32,
    /// Tasks scheduled and settled in one commit; more go on in the next.
    pub steps_max: u32,
    /// Messages waiting in the inbox of one execution; together they have at most `payload_max`
    /// bytes.
    pub inbox_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_max: 10 << 20,
            variables_max: 256 << 10,
            tasks_max: 500_000,
            branches_max: 20_000,
            iterations_max: 1_000_000,
            executions_max: 0,
            principal_open_max: 0,
            depth_max: 64,
            steps_max: 200,
            inbox_max: 1000,
        }
    }
}
