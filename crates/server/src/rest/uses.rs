//! `/api/uses`: which stored documents name a workflow, a task, a schema, a secret or a receiver, so that
//! whoever changes or deletes it knows whom that concerns.

use axum::Json;
use axum::extract::State;
use kernel::access::Permission;
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::extract::Path;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(list_uses))
}

/// Kinds of documents that name others.
const DOCUMENTS: [&str; 6] =
    ["workflow", "task", "event_handler", "trigger", "webhook", "monitors"];
/// Uses that are told.
const USES_MAX: usize = 200;
/// Members that hold the name of a workflow in an object, and those that are one.
const STARTS: [&str; 5] =
    ["subWorkflowParam", "startWorkflow", "start_workflow", "startWorkflowRequest", "start"];
const NAMES_WORKFLOW: [&str; 2] = ["failureWorkflow", "workflow"];
/// Members that name receivers, alone or several.
const NAMES_RECEIVER: [&str; 3] = ["to", "fallback", "receiver"];

/// What is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    Workflow,
    Task,
    Schema,
    Secret,
    Receiver,
}

/// Lists the documents that name a workflow, task, schema, secret or receiver: workflows, tasks, event
/// handlers, triggers, webhooks and monitors files. Names that are computed at run time are not found;
/// schedules are found with `GET /api/scheduler/schedules?workflowName=`.
#[utoipa::path(
    get, path = "/api/uses/{kind}/{name}", tag = "metadata",
    params(
        ("kind" = String, Path, description = "`workflow`, `task`, `schema`, `secret` or `receiver`"),
        ("name" = String, Path, description = "Its name"),
    ),
    responses(
        (status = 200, description = "`kind`, `name` and `version` of each; the first 200",
            body = Vec<serde_json::Value>),
        (status = 400, description = "There is no such kind"),
    )
)]
async fn list_uses(
    State(api): State<Api>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Json<Vec<Value>>, Problem> {
    let used = match &*kind {
        "workflow" => Used::Workflow,
        "task" => Used::Task,
        "schema" => Used::Schema,
        "secret" => Used::Secret,
        "receiver" => Used::Receiver,
        _ => {
            return Err(Problem::bad_request(format!("uses of a '{kind}' are not known"))
                .with_hint("Ask for a workflow, task, schema, secret or receiver."));
        }
    };
    let mut uses = Vec::new();
    for kind in DOCUMENTS {
        for document in api.engine.store().documents(kind).await? {
            // Most do not name it anywhere.
            if !document.text.contains(&name) {
                continue;
            }
            let Ok(value) = serde_json::from_str::<Value>(&document.text) else { continue };
            if names(used, &name, &value) {
                uses.push(json!({
                    "kind": kind, "name": document.name, "version": document.version,
                }));
                if uses.len() >= USES_MAX {
                    return Ok(Json(uses));
                }
            }
        }
    }
    Ok(Json(uses))
}

/// Whether a value names it anywhere.
fn names(used: Used, name: &str, value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            let is_it = |it: Option<&Value>| it.and_then(Value::as_str) == Some(name);
            // A monitor or a receiver that starts one.
            let is_workflow = members.get("kind").and_then(Value::as_str) == Some("workflow");
            let is_named = members.iter().any(|(member, it)| match used {
                Used::Workflow => {
                    (STARTS.contains(&&**member) && is_it(it.get("name")))
                        || (NAMES_WORKFLOW.contains(&&**member) && is_it(Some(it)))
                        || (member == "workflowsToStart" && it.get(name).is_some())
                        || (member == "settings" && is_workflow && is_it(it.get("name")))
                }
                Used::Schema => {
                    (member == "inputSchema" || member == "outputSchema") && is_it(it.get("name"))
                }
                Used::Receiver => NAMES_RECEIVER.contains(&&**member) && holds(it, name),
                Used::Task | Used::Secret => false,
            });
            let is_task = used == Used::Task
                && members.contains_key("taskReferenceName")
                && is_it(members.get("name"));
            is_named || is_task || members.values().any(|it| names(used, name, it))
        }
        Value::Array(items) => items.iter().any(|it| names(used, name, it)),
        Value::String(text) => used == Used::Secret && names_secret(text, name),
        _ => false,
    }
}

/// Whether a value is a name, or a list with it.
fn holds(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|it| holds(it, name)),
        _ => false,
    }
}

/// Whether an expression of the text names a secret: `${workflow.secrets.NAME}` or a part of it, in monitors
/// files `${secret:NAME}`.
fn names_secret(text: &str, name: &str) -> bool {
    let mut rests =
        ["secrets.", "${secret:"].into_iter().flat_map(|begin| text.split(begin).skip(1));
    rests.any(|rest| {
        let after = rest.strip_prefix(name).map(|rest| rest.chars().next());
        after.is_some_and(|next| {
            next.is_none_or(|it| !it.is_alphanumeric() && !matches!(it, '_' | '-'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_where_they_name_something() {
        let task = json!({ "tasks": [{ "name": "load", "taskReferenceName": "x", "type": "SIMPLE",
            "inputParameters": { "key": "Bearer ${workflow.secrets.API_KEY}", "note": "load etl" } }] });
        assert!(names(Used::Task, "load", &task));
        assert!(!names(Used::Workflow, "load", &task));
        assert!(names(Used::Secret, "API_KEY", &task));
        assert!(!names(Used::Secret, "API", &task), "another one begins so");
        let monitor =
            json!({ "kind": "workflow", "settings": { "name": "etl", "key": "${secret:KEY}" } });
        assert!(names(Used::Workflow, "etl", &monitor) && names(Used::Secret, "KEY", &monitor));
        assert!(!names(
            Used::Workflow,
            "etl",
            &json!({ "kind": "http", "settings": { "name": "etl" } })
        ));
        let nested =
            json!({ "decisionCases": { "a": [{ "subWorkflowParam": { "name": "etl" } }] } });
        assert!(names(Used::Workflow, "etl", &nested));
        assert!(names(Used::Workflow, "etl", &json!({ "failureWorkflow": "etl" })));
        let route = json!({ "routes": [{ "steps": [{ "to": ["noc", "oncall"] }] }] });
        assert!(names(Used::Receiver, "oncall", &route));
        assert!(!names(Used::Receiver, "boss", &route));
        let schema = json!({ "inputSchema": { "name": "order", "version": 1 } });
        assert!(names(Used::Schema, "order", &schema));
    }
}
