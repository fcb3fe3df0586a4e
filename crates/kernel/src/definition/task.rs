//! The definition of a task by name: retries, timeouts and limits of everything that bears it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::choice::choice;
use super::coerce::with;

/// How attempts of one task name behave, wherever a workflow uses it.
///
/// Durations are in seconds unless the name says otherwise; 0 means "no limit" where that makes
/// sense.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskDef {
    /// The key. Required, not empty.
    #[serde(deserialize_with = "with::text")]
    pub name: String,
    /// For people.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Attempts after the first; 0 or more.
    #[serde(deserialize_with = "with::int")]
    pub retry_count: i32,
    /// Longest time of one attempt, from its start; 0 = none.
    #[serde(deserialize_with = "with::long")]
    pub timeout_seconds: i64,
    /// Names that the task reads; documentation only.
    #[serde(deserialize_with = "with::texts")]
    pub input_keys: Vec<String>,
    /// Names that the task answers; documentation only.
    #[serde(deserialize_with = "with::texts")]
    pub output_keys: Vec<String>,
    /// Names of secrets or environment values that are resolved for the worker at poll.
    #[serde(deserialize_with = "with::texts")]
    pub runtime_metadata: Vec<String>,
    /// What happens when an attempt, its wait for a poll or all attempts together take too long.
    #[serde(deserialize_with = "with::or_default")]
    pub timeout_policy: TaskTimeoutPolicy,
    /// How the delay before a retry grows.
    #[serde(deserialize_with = "with::or_default")]
    pub retry_logic: RetryLogic,
    /// The base delay before a retry.
    #[serde(deserialize_with = "with::int")]
    pub retry_delay_seconds: i32,
    /// Longest silence of a worker that holds the task; 1 or more.
    #[serde(deserialize_with = "with::long")]
    pub response_timeout_seconds: i64,
    /// Most attempts in progress at once over all workflows; absent or 0 = no limit.
    #[serde(deserialize_with = "with::optional_int", skip_serializing_if = "Option::is_none")]
    pub concurrent_exec_limit: Option<i32>,
    /// Defaults for input that the workflow does not give, or gives as null.
    #[serde(deserialize_with = "with::or_default")]
    pub input_template: Map<String, Value>,
    /// Most attempts started within one `rate_limit_frequency_in_seconds`; 0 = no limit.
    #[serde(deserialize_with = "with::int")]
    pub rate_limit_per_frequency: i32,
    /// The window of the rate limit.
    #[serde(deserialize_with = "rate_limit_frequency")]
    pub rate_limit_frequency_in_seconds: i32,
    /// A suffix of the queue name: keeps these tasks on their own workers.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub isolation_group_id: Option<String>,
    /// A suffix of the queue name.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub execution_name_space: Option<String>,
    /// Whom to ask.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub owner_email: Option<String>,
    /// Longest wait in the queue before a worker takes the task; absent or 0 = none.
    #[serde(deserialize_with = "with::optional_int", skip_serializing_if = "Option::is_none")]
    pub poll_timeout_seconds: Option<i32>,
    /// Factor of [`RetryLogic::LinearBackoff`]; 1 or more.
    #[serde(deserialize_with = "backoff_scale_factor")]
    pub backoff_scale_factor: i32,
    /// Cap of the delay before a retry; 0 = none.
    #[serde(deserialize_with = "with::int")]
    pub max_retry_delay_seconds: i32,
    /// Up to this many milliseconds are added to the delay, evenly spread.
    #[serde(deserialize_with = "with::int")]
    pub backoff_jitter_ms: i32,
    /// Kept and echoed; nothing reads it.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub base_type: Option<String>,
    /// Longest time of all attempts together, from the first scheduling; 0 = none.
    #[serde(deserialize_with = "with::long")]
    pub total_timeout_seconds: i64,
    /// Whether listeners hear of this task.
    #[serde(deserialize_with = "with::boolean")]
    pub task_status_listener_enabled: bool,
    /// What the task's input must fit, if `enforce_schema`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<SchemaDef>,
    /// What the output of a completed task must fit, if `enforce_schema`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<SchemaDef>,
    /// Whether the schemas count; without it they are documentation.
    #[serde(deserialize_with = "with::boolean")]
    pub enforce_schema: bool,
    /// Audit: the owning application.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub owner_app: Option<String>,
    /// Audit: epoch milliseconds; 0 = unknown.
    #[serde(deserialize_with = "with::long")]
    pub create_time: i64,
    /// Audit: epoch milliseconds; 0 = never.
    #[serde(deserialize_with = "with::long")]
    pub update_time: i64,
    /// Audit.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Audit.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

impl Default for TaskDef {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: None,
            retry_count: 3,
            timeout_seconds: 0,
            input_keys: Vec::new(),
            output_keys: Vec::new(),
            runtime_metadata: Vec::new(),
            timeout_policy: TaskTimeoutPolicy::default(),
            retry_logic: RetryLogic::default(),
            retry_delay_seconds: 60,
            response_timeout_seconds: 3600,
            concurrent_exec_limit: None,
            input_template: Map::new(),
            rate_limit_per_frequency: 0,
            rate_limit_frequency_in_seconds: 1,
            isolation_group_id: None,
            execution_name_space: None,
            owner_email: None,
            poll_timeout_seconds: None,
            backoff_scale_factor: 1,
            max_retry_delay_seconds: 0,
            backoff_jitter_ms: 0,
            base_type: None,
            total_timeout_seconds: 0,
            task_status_listener_enabled: true,
            input_schema: None,
            output_schema: None,
            enforce_schema: false,
            owner_app: None,
            create_time: 0,
            update_time: 0,
            created_by: None,
            updated_by: None,
        }
    }
}

impl TaskDef {
    /// A definition of this name with every default.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// A boxed number on the wire whose getter answers 1 when it is absent.
fn rate_limit_frequency<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<i32, D::Error> {
    with::optional_int(deserializer).map(|seconds| seconds.unwrap_or(1))
}

/// A boxed number on the wire; without it the linear back-off is not scaled.
fn backoff_scale_factor<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<i32, D::Error> {
    with::optional_int(deserializer).map(|factor| factor.unwrap_or(1))
}

choice! {
    /// How the delay before a retry grows.
    #[derive(Default)]
    pub enum RetryLogic {
        /// Always the same.
        #[default]
        Fixed = "FIXED",
        /// Doubled by every retry.
        ExponentialBackoff = "EXPONENTIAL_BACKOFF",
        /// Times the scale factor, times the number of the retry.
        LinearBackoff = "LINEAR_BACKOFF",
    }
}

choice! {
    /// What a task does that ran out of time.
    #[derive(Default)]
    pub enum TaskTimeoutPolicy {
        /// Tries again while retries are left.
        Retry = "RETRY",
        /// Takes the workflow with it.
        #[default]
        TimeOutWf = "TIME_OUT_WF",
        /// Only counts it.
        AlertOnly = "ALERT_ONLY",
    }
}

/// A schema for input or output: written out in `data`, or registered under its name and version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SchemaDef {
    /// The key, with the version.
    #[serde(deserialize_with = "with::text")]
    pub name: String,
    /// The version.
    #[serde(deserialize_with = "with::int")]
    pub version: i32,
    /// The language of the schema.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub schema_type: Option<SchemaType>,
    /// The schema itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Map<String, Value>>,
    /// Where the schema is, if not here.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<String>,
    /// Audit: the owning application.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub owner_app: Option<String>,
    /// Audit: epoch milliseconds; 0 = unknown.
    #[serde(deserialize_with = "with::long")]
    pub create_time: i64,
    /// Audit: epoch milliseconds; 0 = never.
    #[serde(deserialize_with = "with::long")]
    pub update_time: i64,
    /// Audit.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Audit.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

impl Default for SchemaDef {
    fn default() -> Self {
        Self {
            name: String::new(),
            version: 1,
            schema_type: None,
            data: None,
            external_ref: None,
            owner_app: None,
            create_time: 0,
            update_time: 0,
            created_by: None,
            updated_by: None,
        }
    }
}

choice! {
    /// The language of a schema.
    pub enum SchemaType {
        /// JSON Schema.
        Json = "JSON",
        /// Avro.
        Avro = "AVRO",
        /// Protocol buffers.
        Protobuf = "PROTOBUF",
    }
}
