//! Conductor definitions as their authors write them: parsed, checked, kept and echoed.
//!
//! These types mirror the wire format field by field and bear its names, because users hold
//! thousands of such documents. Nothing here runs: a definition is compiled into a plan elsewhere.
//! What the wire format takes, these types take: unknown fields are ignored, scalars are converted
//! as Jackson converts them, `null` leaves a field at its zero.

mod calls;
mod choice;
mod coerce;
pub(crate) mod editor;
mod event_handler;
mod lint;
mod ordered;
mod parse;
mod problem;
mod references;
mod repeated;
mod rules;
pub(crate) mod schema;
mod shape;
mod task;
mod validate;
mod wait;
mod walk;
mod workflow;

pub use event_handler::{
    ConditionForm, EVENT_ACTIONS_MAX, EventAction, EventActionType, EventHandler,
    StartWorkflowAction, Tag, TaskAction, TerminateWorkflowAction, UpdateVariablesAction,
    event_parts, parse_event_handler, parse_event_handlers, unknown_handler_keys,
    validate_event_handler,
};
pub use lint::{Beside, Lint, WorkflowStart, lint_start, lint_workflow};
pub use ordered::OrderedMap;
pub use parse::{
    parse_task_defs, parse_workflow, parse_workflows, read_each, unknown_task_def_keys,
    unknown_workflow_keys, workflow_from_value,
};
pub(crate) use problem::nearest;
pub use problem::{PROBLEMS_MAX, Problem};
pub use rules::Templates;
pub use schema::{SCHEMA_SIZE_MAX, is_schema, parse_schemas, schema_from_value};
pub use task::{RetryLogic, SchemaDef, SchemaType, TaskDef, TaskTimeoutPolicy};
pub use validate::{Findings, inspect_workflow, validate_task_def, validate_workflow};
pub use walk::escape_pointer;
pub use workflow::{
    CacheConfig, IdempotencyStrategy, JoinMode, RateLimitConfig, RateLimitPolicy, StateChangeEvent,
    SubWorkflowDefinition, SubWorkflowParams, SubWorkflowVersion, WorkflowDef, WorkflowTask,
    WorkflowTimeoutPolicy,
};
