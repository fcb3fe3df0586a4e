//! Schemas of workflows and task definitions for editors, made from the table of [shapes](super::shape).

use serde_json::{Value, json};

use super::shape::{Shape, TASK, TASK_DEF, WORKFLOW};
use crate::editor::{document, list, one_or_list, record, reference, table, word};

/// Of a file of workflows: one, or a list.
pub fn workflows() -> Value {
    let definitions = vec![("workflow", workflow()), ("task", task())];
    document("Nightbell: workflow", one_or_list(&reference("workflow")), definitions)
}

/// Of a file of task definitions: one, or a list.
pub fn task_definitions() -> Value {
    let definitions = vec![("taskDefinition", required(schema(&TASK_DEF), &["name"]))];
    document("Nightbell: task definitions", one_or_list(&reference("taskDefinition")), definitions)
}

fn workflow() -> Value {
    let mut workflow = required(schema(&WORKFLOW), &["name", "tasks"]);
    workflow["properties"]["tasks"]["minItems"] = 1.into();
    workflow["properties"]["schemaVersion"] = json!({ "const": 2 });
    workflow
}

fn task() -> Value {
    required(schema(&TASK), &["name", "taskReferenceName"])
}

fn required(mut record: Value, names: &[&str]) -> Value {
    record["required"] = json!(names);
    record
}

/// A null stands for any scalar: tools write it where there is nothing.
fn schema(shape: &Shape) -> Value {
    match shape {
        Shape::Any => json!({}),
        Shape::Boolean => json!({ "type": ["boolean", "null"] }),
        Shape::Int | Shape::Long => json!({ "type": ["integer", "null"] }),
        Shape::Text => json!({ "type": ["string", "null"] }),
        Shape::Choice(names) => word(names),
        Shape::Object => json!({ "type": "object" }),
        Shape::Version => json!({ "type": ["integer", "string", "null"] }),
        Shape::Definition => {
            json!({ "if": { "type": "object" }, "then": reference("workflow"), "else": { "type": "string" } })
        }
        Shape::List(of) => list(&inner(of)),
        Shape::Table(of) => table(&inner(of)),
        Shape::Record(fields) => {
            record(fields.iter().map(|(name, shape)| (*name, schema(shape))), &[])
        }
    }
}

/// Tasks hold tasks.
fn inner(shape: &Shape) -> Value {
    if std::ptr::eq(shape, &raw const TASK) { reference("task") } else { schema(shape) }
}
