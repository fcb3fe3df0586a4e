//! `/api/uses`: which stored documents name a workflow, a task, a schema, a secret or a receiver, so that
//! whoever changes or deletes it knows whom that concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use engine::Engine;
use engine::store::Document;
use kernel::access::Permission;
use kernel::alert::NOTIFY_WORKFLOW;
use parking_lot::Mutex;
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::extract::Path;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(list_uses)).on(Permission::Read, routes!(count_uses))
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Used {
    Workflow,
    Task,
    Schema,
    Secret,
    Receiver,
}

impl Used {
    fn of(kind: &str) -> Result<Self, Problem> {
        Ok(match kind {
            "workflow" => Self::Workflow,
            "task" => Self::Task,
            "schema" => Self::Schema,
            "secret" => Self::Secret,
            "receiver" => Self::Receiver,
            _ => {
                return Err(Problem::bad_request(format!("uses of a '{kind}' are not known"))
                    .with_hint("Ask for a workflow, task, schema, secret or receiver."));
            }
        })
    }
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
        (status = 400, description = "Unknown kind"),
    )
)]
async fn list_uses(
    State(api): State<Api>,
    State(index): State<Arc<Index>>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Json<Vec<Value>>, Problem> {
    let used = Used::of(&kind)?;
    let all = index.current(&api.engine).await?;
    let found = all.of.get(&(used, name)).into_iter().flatten();
    let told = found.take(USES_MAX).filter_map(|number| all.documents.get(*number));
    let shown = told.map(
        |Namer { kind, name, version }| json!({ "kind": kind, "name": name, "version": version }),
    );
    Ok(Json(shown.collect()))
}

/// Counts the documents that name each workflow, task, schema, secret or receiver.
#[utoipa::path(
    get, path = "/api/uses/{kind}", tag = "metadata",
    params(("kind" = String, Path, description = "`workflow`, `task`, `schema`, `secret` or `receiver`")),
    responses(
        (status = 200, description = "Numbers of documents by name", body = BTreeMap<String, u64>),
        (status = 400, description = "Unknown kind"),
    )
)]
async fn count_uses(
    State(api): State<Api>,
    State(index): State<Arc<Index>>,
    Path(kind): Path<String>,
) -> Result<Json<BTreeMap<String, usize>>, Problem> {
    let used = Used::of(&kind)?;
    let all = index.current(&api.engine).await?;
    let own = all.of.iter().filter(|((of, _), _)| *of == used);
    Ok(Json(own.map(|((_, name), users)| (name.clone(), users.len())).collect()))
}

/// Who names what, made of all documents once and kept until one of them changes.
#[derive(Default)]
pub(crate) struct Index(Mutex<Option<(u64, Arc<Uses>)>>);

/// Who names what.
#[derive(Default)]
struct Uses {
    documents: Vec<Namer>,
    /// By what is named, numbers of documents, ascending.
    of: BTreeMap<(Used, String), Vec<usize>>,
}

/// A document that names something.
struct Namer {
    kind: &'static str,
    name: Arc<str>,
    version: u32,
}

impl Index {
    /// The index of what is registered now.
    async fn current(&self, engine: &Engine) -> Result<Arc<Uses>, Problem> {
        // Before they are read: what changes meanwhile makes another one.
        let changes = engine.definition_changes();
        let known = self.0.lock().clone();
        if let Some((_, uses)) = known.filter(|(of, _)| *of == changes) {
            return Ok(uses);
        }
        let mut documents = Vec::new();
        for kind in DOCUMENTS {
            documents.push((kind, engine.store().documents(kind).await?));
        }
        let made = tokio::task::spawn_blocking(move || Arc::new(Uses::of(&documents))).await;
        let uses = made.map_err(|error| {
            tracing::error!(%error, "search for uses of a definition failed");
            let message = "the search for uses failed; the server's log says why";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
        })?;
        *self.0.lock() = Some((changes, uses.clone()));
        Ok(uses)
    }
}

impl Uses {
    fn of(all: &[(&'static str, Vec<Document>)]) -> Self {
        let mut uses = Self::default();
        for (kind, document) in
            all.iter().flat_map(|(kind, of)| of.iter().map(move |it| (*kind, it)))
        {
            // What delivers notifications is made of the receiver itself.
            if kind == "workflow" && is_own(&document.name) {
                continue;
            }
            let Ok(value) = serde_json::from_str::<Value>(&document.text) else { continue };
            let mut named = BTreeSet::new();
            collect(&value, &mut named);
            if named.is_empty() {
                continue;
            }
            let number = uses.documents.len();
            let (name, version) = (document.name.clone(), document.version);
            uses.documents.push(Namer { kind, name, version });
            for it in named {
                uses.of.entry(it).or_default().push(number);
            }
        }
        uses
    }
}

/// Whether a workflow is one that Nightbell makes itself to deliver notifications.
fn is_own(name: &str) -> bool {
    name.strip_prefix(NOTIFY_WORKFLOW).is_some_and(|rest| rest.starts_with(':'))
}

/// Collects what a value names anywhere.
fn collect(value: &Value, named: &mut BTreeSet<(Used, String)>) {
    match value {
        Value::Object(members) => {
            // A monitor or a receiver that starts one.
            let is_workflow = members.get("kind").and_then(Value::as_str) == Some("workflow");
            for (member, it) in members {
                let mut note = |used, it: Option<&Value>| {
                    named.extend(it.and_then(Value::as_str).map(|name| (used, name.to_owned())));
                };
                match &**member {
                    "settings" if is_workflow => note(Used::Workflow, it.get("name")),
                    "inputSchema" | "outputSchema" => note(Used::Schema, it.get("name")),
                    "workflowsToStart" => {
                        let names = it.as_object().into_iter().flatten();
                        named.extend(names.map(|(name, _)| (Used::Workflow, name.clone())));
                    }
                    word if STARTS.contains(&word) => note(Used::Workflow, it.get("name")),
                    word if NAMES_WORKFLOW.contains(&word) => note(Used::Workflow, Some(it)),
                    word if NAMES_RECEIVER.contains(&word) => collect_receivers(it, named),
                    "name" if members.contains_key("taskReferenceName") => {
                        note(Used::Task, Some(it));
                    }
                    _ => {}
                }
                collect(it, named);
            }
        }
        Value::Array(items) => {
            for it in items {
                collect(it, named);
            }
        }
        Value::String(text) => collect_secrets(text, named),
        _ => {}
    }
}

/// Collects a name, or those of a list.
fn collect_receivers(value: &Value, named: &mut BTreeSet<(Used, String)>) {
    match value {
        Value::String(name) => _ = named.insert((Used::Receiver, name.clone())),
        Value::Array(items) => {
            for it in items {
                collect_receivers(it, named);
            }
        }
        _ => {}
    }
}

/// Collects the secrets that expressions of a text name: `${workflow.secrets.NAME}` or a part of it, in monitors
/// files `${secret:NAME}`. A dot may be of the name or begin a part, so both are taken for one.
fn collect_secrets(text: &str, named: &mut BTreeSet<(Used, String)>) {
    let is_of_name = |it: char| it.is_alphanumeric() || matches!(it, '_' | '-' | '.');
    let rests = ["secrets.", "${secret:"].into_iter().flat_map(|begin| text.split(begin).skip(1));
    for rest in rests {
        let end = rest.find(|it: char| !is_of_name(it)).unwrap_or(rest.len());
        let name = &rest[..end];
        let ends = name.match_indices('.').map(|(at, _)| at).chain([end]);
        let names = ends.filter(|end| *end > 0).map(|end| name[..end].to_owned());
        named.extend(names.map(|name| (Used::Secret, name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(used: Used, name: &str, value: &Value) -> bool {
        let mut named = BTreeSet::new();
        collect(value, &mut named);
        named.contains(&(used, name.to_owned()))
    }

    #[test]
    fn names_count_where_they_name_something() {
        let task = json!({ "tasks": [{ "name": "load", "taskReferenceName": "x", "type": "SIMPLE",
            "inputParameters": { "key": "Bearer ${workflow.secrets.API_KEY}", "note": "load etl" } }] });
        assert!(names(Used::Task, "load", &task));
        assert!(!names(Used::Workflow, "load", &task));
        assert!(names(Used::Secret, "API_KEY", &task));
        assert!(!names(Used::Secret, "API", &task), "another one begins so");
        let part = json!("${workflow.secrets.DB.user}");
        assert!(names(Used::Secret, "DB", &part) && names(Used::Secret, "DB.user", &part));
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
