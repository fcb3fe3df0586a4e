//! Holds inputs and outputs against the JSON schemas that authors give them.
//!
//! What is checked is what the engine stores: a secret is still its expression then, so a schema
//! says nothing about a secret's value. Schemas that are named rather than written out are resolved
//! when a plan is pinned, so that an execution keeps the schema that it began with.

use serde_json::Value;

use super::context::Context;
use super::draft::End;
use super::execution::{Execution, Task};
use super::plan::Plan;
use super::status::TaskStatus;
use crate::definition::{SchemaDef, SchemaType, TaskDef, WorkflowTask};
use crate::json::Json;
use crate::script::{Scripts, VIOLATIONS_MAX, Violation};

/// Finds a registered schema by name and version; 0 = the latest.
pub type Registry<'a> = dyn Fn(&str, i32) -> Option<SchemaDef> + 'a;

impl Plan {
    /// The input of a start with the defaults of the definition for what it does not give, or gives
    /// as null.
    pub fn with_defaults(&self, input: &Json) -> Json {
        let defaults = &self.definition.input_template;
        if defaults.is_empty() {
            return input.clone();
        }
        let Value::Object(mut members) = input.parse() else { return input.clone() };
        for (name, default) in defaults {
            let given = members.entry(name).or_insert(Value::Null);
            if given.is_null() {
                given.clone_from(default);
            }
        }
        Json::of(&members)
    }

    /// What the schema of the definition objects to in the input of a start.
    ///
    /// # Errors
    /// Why the schema cannot be used.
    pub fn input_violations(
        &self,
        input: &Json,
        scripts: &dyn Scripts,
    ) -> Result<Vec<Violation>, String> {
        let definition = &self.definition;
        match definition.input_schema.as_ref().filter(|_| definition.enforce_schema) {
            Some(schema) => violations(schema, input, scripts),
            None => Ok(Vec::new()),
        }
    }
}

/// Why the output of an execution cannot stand; `None` if it can.
pub(super) fn output_objection(
    plan: &Plan,
    output: &Json,
    context: &Context<'_>,
) -> Option<String> {
    let schema = plan.definition.output_schema.as_ref();
    objection(
        "workflow's output",
        schema.filter(|_| plan.definition.enforce_schema)?,
        output,
        context,
    )
}

/// Why a start is refused for its input; `None` if it is not.
pub(super) fn input_objection(plan: &Plan, input: &Json, context: &Context<'_>) -> Option<String> {
    let schema = plan.definition.input_schema.as_ref();
    objection(
        "workflow's input",
        schema.filter(|_| plan.definition.enforce_schema)?,
        input,
        context,
    )
}

/// Why a task cannot run with an input; `None` if it can.
pub(super) fn task_input(policy: &TaskDef, input: &Json, context: &Context<'_>) -> Option<String> {
    let schema = policy.input_schema.as_ref().filter(|_| policy.enforce_schema)?;
    objection("task's input", schema, input, context)
}

/// Why the output of a task that completes cannot stand; `None` if it can.
pub(super) fn task_end(
    state: &Execution,
    task: &Task,
    end: &End,
    context: &Context<'_>,
) -> Option<String> {
    let policy = state.policy_of(task).filter(|policy| policy.enforce_schema)?;
    let schema = policy.output_schema.as_ref().filter(|_| end.status == TaskStatus::Completed)?;
    // What steers the flow has an output only if it says so: the rest is made of other outputs.
    let output = match &end.output {
        Some(output) => output,
        None if task.kind.is_control() => return None,
        None => &task.output,
    };
    objection("task's output", schema, output, context)
}

fn objection(
    what: &str,
    schema: &SchemaDef,
    document: &Json,
    context: &Context<'_>,
) -> Option<String> {
    let name = &schema.name;
    match violations(schema, document, context.scripts) {
        Ok(violations) if violations.is_empty() => None,
        Ok(violations) => {
            let many = if violations.len() >= VIOLATIONS_MAX { "; and perhaps more" } else { "" };
            let told: Vec<String> = violations.iter().map(ToString::to_string).collect();
            let told = told.join("; ");
            Some(format!("the {what} does not fit the schema '{name}': {told}{many}"))
        }
        Err(reason) => Some(format!("the {what} cannot be checked: {reason}")),
    }
}

fn violations(
    schema: &SchemaDef,
    document: &Json,
    scripts: &dyn Scripts,
) -> Result<Vec<Violation>, String> {
    let (name, version) = (&schema.name, schema.version);
    if let Some(language @ (SchemaType::Avro | SchemaType::Protobuf)) = schema.schema_type {
        let language = language.as_str();
        return Err(format!("schema '{name}' is of type {language}: only JSON is enforced"));
    }
    let Some(data) = &schema.data else {
        return Err(match &schema.external_ref {
            Some(place) => format!("schema '{name}' is at '{place}', where nobody looks"),
            None => format!("schema '{name}' version {version} is not registered"),
        });
    };
    scripts
        .violations(&Json::of(data), document)
        .map_err(|error| format!("schema '{name}' is not usable: {error}"))
}

/// Writes out the schemas that a task definition enforces by name.
pub(super) fn resolve_task(policy: &mut TaskDef, registry: &Registry<'_>) {
    if policy.enforce_schema {
        resolve(policy.input_schema.as_mut(), registry);
        resolve(policy.output_schema.as_mut(), registry);
    }
}

/// Writes out the schemas that a place in a workflow, or one inside it, enforces by name.
pub(super) fn resolve_nested(task: &mut WorkflowTask, registry: &Registry<'_>) {
    if let Some(policy) = &mut task.task_definition {
        resolve_task(policy, registry);
    }
    let nested = task
        .decision_cases
        .values_mut()
        .chain([&mut task.default_case, &mut task.loop_over])
        .chain(&mut task.fork_tasks);
    nested.flatten().for_each(|child| resolve_nested(child, registry));
}

/// Writes out a schema that is only named; one that nobody knows stays as it is.
pub(super) fn resolve(schema: Option<&mut SchemaDef>, registry: &Registry<'_>) {
    let Some(schema) = schema else { return };
    let named = schema.data.is_none() && schema.external_ref.is_none() && !schema.name.is_empty();
    if let Some(found) = named.then(|| registry(&schema.name, schema.version)).flatten() {
        schema.version = found.version;
        schema.schema_type = found.schema_type;
        schema.data = found.data;
        schema.external_ref = found.external_ref;
    }
}
