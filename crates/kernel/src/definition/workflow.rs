//! The definition of a workflow and of every place in it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::choice::choice;
use super::coerce::{self, with};
use super::ordered::OrderedMap;
use super::task::{SchemaDef, TaskDef};

/// A workflow as authored; the key is its name and version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowDef {
    /// The key, with the version. Required, not empty.
    #[serde(deserialize_with = "with::text")]
    pub name: String,
    /// For people.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The version; several live side by side.
    #[serde(deserialize_with = "with::int")]
    pub version: i32,
    /// What runs, in order; at least one.
    #[serde(deserialize_with = "with::or_default")]
    pub tasks: Vec<WorkflowTask>,
    /// Names of the input; documentation only.
    #[serde(deserialize_with = "with::texts")]
    pub input_parameters: Vec<String>,
    /// The workflow's output, with expressions; empty = the output of the last task.
    #[serde(deserialize_with = "with::or_default")]
    pub output_parameters: Map<String, Value>,
    /// A workflow to start when this one fails: a name, or `${workflow.input.X}`.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub failure_workflow: Option<String>,
    /// Its version; absent = the latest.
    #[serde(deserialize_with = "with::optional_int", skip_serializing_if = "Option::is_none")]
    pub failure_workflow_version: Option<i32>,
    /// Must be 2.
    #[serde(deserialize_with = "with::int")]
    pub schema_version: i32,
    /// Whether a completed execution may be restarted.
    #[serde(deserialize_with = "with::boolean")]
    pub restartable: bool,
    /// Whether listeners hear of executions.
    #[serde(deserialize_with = "with::boolean")]
    pub workflow_status_listener_enabled: bool,
    /// Kept and echoed.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub workflow_status_listener_sink: Option<String>,
    /// Whom to ask.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub owner_email: Option<String>,
    /// What happens after `timeout_seconds`.
    #[serde(deserialize_with = "with::or_default")]
    pub timeout_policy: WorkflowTimeoutPolicy,
    /// Longest time of an execution in seconds; 0 = none.
    #[serde(deserialize_with = "with::long")]
    pub timeout_seconds: i64,
    /// Variables and their first values.
    #[serde(deserialize_with = "with::or_default")]
    pub variables: Map<String, Value>,
    /// Defaults for input keys that the start does not give.
    #[serde(deserialize_with = "with::or_default")]
    pub input_template: Map<String, Value>,
    /// Limits executions that share a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit_config: Option<RateLimitConfig>,
    /// What the input of a start must fit, if `enforce_schema`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<SchemaDef>,
    /// What the output must fit for the execution to complete, if `enforce_schema`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<SchemaDef>,
    /// Whether the schemas count; without it they are documentation.
    #[serde(deserialize_with = "with::boolean")]
    pub enforce_schema: bool,
    /// Labels of tools.
    #[serde(deserialize_with = "with::or_default")]
    pub metadata: Map<String, Value>,
    /// Kept and echoed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_config: Option<CacheConfig>,
    /// Names whose values are masked wherever they are shown.
    #[serde(deserialize_with = "with::texts")]
    pub masked_fields: Vec<String>,
    /// Names of secrets that data may name, as in Conductor: `${workflow.secrets.NAME}` in an input,
    /// an answer or a message then stands for the secret. Without it only the definition's own text
    /// can name one.
    #[serde(deserialize_with = "with::texts", skip_serializing_if = "Vec::is_empty")]
    pub secrets_in_data: Vec<String>,
    /// Whether each commit of an execution is kept as it was written, however long the history grows,
    /// so that all of it can be stepped through.
    #[serde(deserialize_with = "with::boolean", skip_serializing_if = "std::ops::Not::not")]
    pub keep_history: bool,
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

impl Default for WorkflowDef {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: None,
            version: 1,
            tasks: Vec::new(),
            input_parameters: Vec::new(),
            output_parameters: Map::new(),
            failure_workflow: None,
            failure_workflow_version: None,
            schema_version: 2,
            restartable: true,
            workflow_status_listener_enabled: false,
            workflow_status_listener_sink: None,
            owner_email: None,
            timeout_policy: WorkflowTimeoutPolicy::default(),
            timeout_seconds: 0,
            variables: Map::new(),
            input_template: Map::new(),
            rate_limit_config: None,
            input_schema: None,
            output_schema: None,
            enforce_schema: true,
            metadata: Map::new(),
            cache_config: None,
            masked_fields: Vec::new(),
            secrets_in_data: Vec::new(),
            keep_history: false,
            owner_app: None,
            create_time: 0,
            update_time: 0,
            created_by: None,
            updated_by: None,
        }
    }
}

/// One place in a workflow, as authored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowTask {
    /// The task name: what workers poll, and the key of its [`TaskDef`]. Required.
    #[serde(deserialize_with = "with::text")]
    pub name: String,
    /// The name of this place in the workflow, unique in it. Required.
    #[serde(deserialize_with = "with::text")]
    pub task_reference_name: String,
    /// For people.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Input, with expressions.
    #[serde(deserialize_with = "with::or_default")]
    pub input_parameters: Map<String, Value>,
    /// `SIMPLE`, a built-in type, or the name of a type that workers bring.
    #[serde(rename = "type", deserialize_with = "with::text")]
    pub task_type: String,
    /// DYNAMIC: the input key that names the task to run.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub dynamic_task_name_param: Option<String>,
    /// DECISION: the input key whose value picks the case.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub case_value_param: Option<String>,
    /// DECISION: JavaScript whose value picks the case.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub case_expression: Option<String>,
    /// LAMBDA: the body of a JavaScript function.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub script_expression: Option<String>,
    /// SWITCH and DECISION: what runs for which value, in the order written.
    #[serde(deserialize_with = "with::or_default")]
    pub decision_cases: OrderedMap<Vec<WorkflowTask>>,
    /// `FORK_JOIN_DYNAMIC`, deprecated form: the input key that holds the list of tasks.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub dynamic_fork_join_tasks_param: Option<String>,
    /// `FORK_JOIN_DYNAMIC`: the input key that holds the list of tasks.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub dynamic_fork_tasks_param: Option<String>,
    /// `FORK_JOIN_DYNAMIC`: the input key that maps reference names to their input.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub dynamic_fork_tasks_input_param_name: Option<String>,
    /// SWITCH and DECISION: what runs for any other value.
    #[serde(deserialize_with = "with::or_default")]
    pub default_case: Vec<WorkflowTask>,
    /// `FORK_JOIN`: the branches.
    #[serde(deserialize_with = "with::or_default")]
    pub fork_tasks: Vec<Vec<WorkflowTask>>,
    /// Seconds to wait before the first attempt; 0 or more.
    #[serde(deserialize_with = "with::int")]
    pub start_delay: i32,
    /// `SUB_WORKFLOW`: what to start.
    #[serde(deserialize_with = "named_by_definition", skip_serializing_if = "Option::is_none")]
    pub sub_workflow_param: Option<SubWorkflowParams>,
    /// JOIN and `EXCLUSIVE_JOIN`: the reference names to wait for.
    #[serde(deserialize_with = "with::texts")]
    pub join_on: Vec<String>,
    /// EVENT: where to publish.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// Whether the workflow goes on when this task fails for good.
    #[serde(deserialize_with = "with::boolean")]
    pub optional: bool,
    /// The task definition carried in the workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_definition: Option<Box<TaskDef>>,
    /// Kept and echoed.
    #[serde(deserialize_with = "with::optional_boolean", skip_serializing_if = "Option::is_none")]
    pub rate_limited: Option<bool>,
    /// `EXCLUSIVE_JOIN`: where to look when nothing of `join_on` ran.
    #[serde(deserialize_with = "with::texts")]
    pub default_exclusive_join_task: Vec<String>,
    /// Whether a success leaves the task in progress until it is completed from outside.
    #[serde(deserialize_with = "with::boolean")]
    pub async_complete: bool,
    /// `DO_WHILE`: JavaScript that decides whether to go round again.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub loop_condition: Option<String>,
    /// `DO_WHILE`: the body.
    #[serde(deserialize_with = "with::or_default")]
    pub loop_over: Vec<WorkflowTask>,
    /// `DO_WHILE`: the list to go through, or an expression for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Value>,
    /// Overrides [`TaskDef::retry_count`].
    #[serde(deserialize_with = "with::optional_int", skip_serializing_if = "Option::is_none")]
    pub retry_count: Option<i32>,
    /// SWITCH, INLINE and others: the language of the expression.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub evaluator_type: Option<String>,
    /// SWITCH and others: what picks the case.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Events to publish when the task changes state: `onScheduled`, `onStart`, `onSuccess`,
    /// `onFailed`, `onCancelled`, or several of them with commas between.
    #[serde(deserialize_with = "with::or_default")]
    pub on_state_change: OrderedMap<Vec<StateChangeEvent>>,
    /// JOIN: kept and echoed.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub join_status: Option<String>,
    /// Lets an output stand for later runs with the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_config: Option<CacheConfig>,
    /// Whether the flow goes on when this task fails, and only the end is a failure.
    #[serde(deserialize_with = "with::boolean")]
    pub permissive: bool,
    /// JOIN: how eagerly it looks again; absent = [`JoinMode::Async`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_mode: Option<JoinMode>,
    /// Labels of editors; without effect.
    #[serde(deserialize_with = "with::or_default")]
    pub metadata: Map<String, Value>,
}

impl Default for WorkflowTask {
    fn default() -> Self {
        Self {
            name: String::new(),
            task_reference_name: String::new(),
            description: None,
            input_parameters: Map::new(),
            task_type: "SIMPLE".to_owned(),
            dynamic_task_name_param: None,
            case_value_param: None,
            case_expression: None,
            script_expression: None,
            decision_cases: OrderedMap::new(),
            dynamic_fork_join_tasks_param: None,
            dynamic_fork_tasks_param: None,
            dynamic_fork_tasks_input_param_name: None,
            default_case: Vec::new(),
            fork_tasks: Vec::new(),
            start_delay: 0,
            sub_workflow_param: None,
            join_on: Vec::new(),
            sink: None,
            optional: false,
            task_definition: None,
            rate_limited: None,
            default_exclusive_join_task: Vec::new(),
            async_complete: false,
            loop_condition: None,
            loop_over: Vec::new(),
            items: None,
            retry_count: None,
            evaluator_type: None,
            expression: None,
            on_state_change: OrderedMap::new(),
            join_status: None,
            cache_config: None,
            permissive: false,
            join_mode: None,
            metadata: Map::new(),
        }
    }
}

choice! {
    /// What an execution does that ran out of time.
    #[derive(Default)]
    pub enum WorkflowTimeoutPolicy {
        /// Ends as timed out.
        TimeOutWf = "TIME_OUT_WF",
        /// Only counts it.
        #[default]
        AlertOnly = "ALERT_ONLY",
    }
}

choice! {
    /// How eagerly a JOIN looks at its branches.
    #[derive(Default)]
    pub enum JoinMode {
        /// Without back-off.
        Sync = "SYNC",
        /// With a growing pause between looks.
        #[default]
        Async = "ASYNC",
    }
}

choice! {
    /// What a start does whose idempotency key was used before.
    #[derive(Default)]
    pub enum IdempotencyStrategy {
        /// Is refused.
        #[default]
        Fail = "FAIL",
        /// Answers the execution that is there.
        ReturnExisting = "RETURN_EXISTING",
        /// Is refused only while the other one runs.
        FailOnRunning = "FAIL_ON_RUNNING",
    }
}

/// What a `SUB_WORKFLOW` task starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubWorkflowParams {
    /// The name of the workflow; with an inline definition, that definition's.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its version; absent or 0 = the latest when the parent starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<SubWorkflowVersion>,
    /// Task name to list of domains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_to_domain: Option<Map<String, Value>>,
    /// A definition given in place of a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_definition: Option<SubWorkflowDefinition>,
    /// Makes a repeated start answer the first execution.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// What a repeated start does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_strategy: Option<IdempotencyStrategy>,
    /// 0 to 99 or an expression; absent = 0, the parent's is not inherited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Value>,
}

/// A definition in place of a name.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SubWorkflowDefinition {
    /// Written out.
    Inline(Box<WorkflowDef>),
    /// One whole `${…}` that gives a definition, or the name of one, when the task is scheduled.
    Expression(String),
}

impl<'de> Deserialize<'de> for SubWorkflowDefinition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        match Value::deserialize(deserializer)? {
            Value::String(text) if coerce::is_expression(&text) => Ok(Self::Expression(text)),
            value @ Value::Object(_) => WorkflowDef::deserialize(value)
                .map(|definition| Self::Inline(Box::new(definition)))
                .map_err(D::Error::custom),
            _ => Err(D::Error::custom("expected a workflow definition or a ${…} expression")),
        }
    }
}

/// The version of a sub-workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SubWorkflowVersion {
    /// This one; 0 = the latest.
    Number(i32),
    /// One whole `${…}`, known when the task is scheduled.
    Expression(String),
}

impl<'de> Deserialize<'de> for SubWorkflowVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let value = Value::deserialize(deserializer)?;
        match &value {
            Value::String(text) if coerce::is_expression(text) => {
                Ok(Self::Expression(text.clone()))
            }
            _ => coerce::int(&value).map(Self::Number).ok_or_else(|| {
                D::Error::custom(format_args!(
                    "expected a 32-bit integer or a ${{…}} expression, got {value}"
                ))
            }),
        }
    }
}

/// An inline definition names itself: its name and version win over those written beside it.
fn named_by_definition<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SubWorkflowParams>, D::Error> {
    let mut params = Option::<SubWorkflowParams>::deserialize(deserializer)?;
    if let Some(params) = &mut params
        && let Some(SubWorkflowDefinition::Inline(definition)) = &params.workflow_definition
    {
        params.name = Some(definition.name.clone()).filter(|name| !name.is_empty());
        params.version = Some(SubWorkflowVersion::Number(definition.version));
    }
    Ok(params)
}

/// Limits executions that share a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimitConfig {
    /// What executions share; may hold expressions.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub rate_limit_key: Option<String>,
    /// Most executions running at once under one key.
    #[serde(deserialize_with = "with::int")]
    pub concurrent_exec_limit: i32,
    /// What happens to one more.
    #[serde(deserialize_with = "with::or_default")]
    pub policy: RateLimitPolicy,
}

choice! {
    /// What happens to an execution beyond the limit.
    #[derive(Default)]
    pub enum RateLimitPolicy {
        /// It waits.
        #[default]
        Queue = "QUEUE",
        /// It is refused.
        Reject = "REJECT",
    }
}

/// How long a result may be used again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CacheConfig {
    /// What makes two calls the same, made of members of the task's input: `${uri}-${method}`.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Seconds.
    #[serde(deserialize_with = "with::int")]
    pub ttl_in_second: i32,
}

/// A message about a change of state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StateChangeEvent {
    /// Where it goes: `type:address`, or a name below `conductor:<workflow>:`.
    #[serde(rename = "type", deserialize_with = "with::text")]
    pub event_type: String,
    /// Its content, with expressions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Map<String, Value>>,
}
