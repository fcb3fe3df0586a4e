//! Schemas of workflows, task definitions and event handlers for editors, made from the table of [shapes](super::shape).

use serde_json::{Value, json};

use super::event_handler::HANDLER;
use super::shape::{Shape, TASK, TASK_DEF, WORKFLOW};
use crate::editor::{document, list, nullable, one_or_list, record, reference, table, word};

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

/// Of a file of event handlers: one, or a list.
pub fn event_handlers() -> Value {
    let handler = required(schema(&HANDLER), &["name", "event", "actions"]);
    let definitions = vec![("eventHandler", handler)];
    document("Nightbell: event handlers", one_or_list(&reference("eventHandler")), definitions)
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

/// A null stands for any member; in a list it is a mistake.
fn schema(shape: &Shape) -> Value {
    match shape {
        Shape::Any => json!({}),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Int | Shape::Long => json!({ "type": "integer" }),
        Shape::Text => json!({ "type": "string" }),
        Shape::Choice(names) => word(names),
        Shape::Object => json!({ "type": "object" }),
        Shape::Version => json!({ "type": ["integer", "string"] }),
        Shape::Definition => {
            json!({ "if": { "type": "object" }, "then": reference("workflow"), "else": { "type": "string" } })
        }
        Shape::List(of) => list(&inner(of)),
        Shape::Table(of) => table(&nullable(inner(of))),
        Shape::Record(fields) => {
            record(fields.iter().map(|(name, shape)| (*name, nullable(schema(shape)))), &[])
        }
    }
}

/// Tasks hold tasks.
fn inner(shape: &Shape) -> Value {
    if std::ptr::eq(shape, &raw const TASK) { reference("task") } else { schema(shape) }
}
