//! What the expressions of a trigger see: the request, and the run that it shows.

use std::collections::BTreeMap;

use kernel::expression::Scope;
use kernel::graph::{Execution, Task};
use kernel::{Json, Timestamp};

use super::definition::OF_REQUEST;
use crate::durable::{Standing, custom_status};

/// A request as expressions see it, `${request.…}`.
#[derive(Debug)]
pub(super) struct Given {
    /// The JSON body; `null` without one.
    pub(super) body: Json,
    /// The parameters of the path.
    pub(super) path: BTreeMap<String, String>,
    /// The parameters of the query; of repeated ones the first.
    pub(super) query: BTreeMap<String, String>,
    /// The headers, by names in lower case; of repeated ones the first.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) method: String,
    /// Names the request: new each time.
    pub(super) id: String,
    pub(super) time: Timestamp,
}

impl Given {
    fn field(&self, field: &str) -> Option<Json> {
        Some(match field {
            "body" => self.body.clone(),
            "path" => Json::of(&self.path),
            "query" => Json::of(&self.query),
            "headers" => Json::of(&self.headers),
            "method" => Json::of(&self.method),
            "id" => Json::of(&self.id),
            "time" => Json::of(&self.time.to_string()),
            _ => return None,
        })
    }
}

/// A request, and the input that was made of it.
pub(super) struct Request<'a> {
    pub(super) given: &'a Given,
    pub(super) input: Option<&'a Json>,
}

impl Scope for Request<'_> {
    fn field(&self, root: &str, field: &str) -> Option<Json> {
        match (root, field) {
            ("request", field) => self.given.field(field),
            ("workflow", "input") => self.input.cloned(),
            _ => None,
        }
    }

    fn document(&self, root: &str) -> Option<Json> {
        document(root, self)
    }

    fn bare(&self, _: &str) -> Option<Json> {
        None
    }
}

/// A request, and the run that it asks for. What a definition masks stays masked.
pub(super) struct Run<'a> {
    pub(super) given: &'a Given,
    pub(super) state: &'a Execution,
}

impl Run<'_> {
    fn workflow(&self, field: &str) -> Option<Json> {
        let state = self.state;
        Some(match field {
            "input" => state.shown(&state.input),
            "output" => state.shown(&state.output),
            "variables" => state.shown(&state.variables),
            "customStatus" => custom_status(state),
            "status" => Json::of(&state.status),
            "workflowId" => Json::of(&state.id),
            "workflowType" | "workflowName" => Json::of(&state.plan().definition.name),
            "version" => Json::of(&state.plan().definition.version),
            "correlationId" => Json::of(&state.correlation_id),
            "reasonForIncompletion" => Json::of(&state.reason),
            "createTime" | "startTime" => Json::of(&state.created_at),
            "updateTime" => Json::of(&state.updated_at),
            "endTime" => Json::of(&state.ended_at),
            _ => return None,
        })
    }

    fn task(&self, task: &Task, field: &str) -> Option<Json> {
        let state = self.state;
        Some(match field {
            "input" => state.shown(&task.input),
            "output" => state.shown(&state.output_of(task)),
            "status" => Json::of(&task.status),
            "referenceTaskName" => Json::of(&task.reference),
            "reasonForIncompletion" => Json::of(&task.reason),
            "scheduledTime" => Json::of(&task.scheduled_at),
            "startTime" => Json::of(&task.started_at),
            "endTime" => Json::of(&task.ended_at),
            "retryCount" => Json::of(&task.attempt),
            _ => return None,
        })
    }
}

impl Scope for Run<'_> {
    fn field(&self, root: &str, field: &str) -> Option<Json> {
        match root {
            "request" => self.given.field(field),
            "workflow" => self.workflow(field),
            reference => self.task(self.state.latest(reference)?, field),
        }
    }

    fn document(&self, root: &str) -> Option<Json> {
        document(root, self)
    }

    fn bare(&self, _: &str) -> Option<Json> {
        None
    }
}

/// A request, and the instance of code that it asks for.
pub(super) struct Code<'a> {
    pub(super) given: &'a Given,
    pub(super) standing: &'a Standing,
}

impl Scope for Code<'_> {
    fn field(&self, root: &str, field: &str) -> Option<Json> {
        let standing = self.standing;
        match (root, field) {
            ("request", field) => self.given.field(field),
            ("workflow", "input") => Some(standing.input.clone()),
            ("workflow", "output") => Some(standing.output.clone()),
            ("workflow", "customStatus") => Some(standing.custom_status.clone()),
            ("workflow", "status") => Some(Json::of(&standing.runtime_status)),
            ("workflow", "workflowId") => Some(Json::of(&standing.instance_id)),
            ("workflow", "workflowType" | "workflowName") => Some(Json::of(&standing.name)),
            ("workflow", "createTime" | "startTime") => Some(Json::of(&standing.created_time)),
            ("workflow", "updateTime") => Some(Json::of(&standing.last_updated_time)),
            _ => None,
        }
    }

    fn document(&self, root: &str) -> Option<Json> {
        document(root, self)
    }

    fn bare(&self, _: &str) -> Option<Json> {
        None
    }
}

/// Fields of a whole run or task.
const OF_ROOT: [&str; 10] = [
    "input",
    "output",
    "variables",
    "customStatus",
    "status",
    "workflowId",
    "workflowType",
    "version",
    "correlationId",
    "reasonForIncompletion",
];

/// All of a root in one object.
fn document(root: &str, scope: &dyn Scope) -> Option<Json> {
    let fields: &[&str] = if root == "request" { &OF_REQUEST } else { &OF_ROOT };
    let members: BTreeMap<&str, Json> =
        fields.iter().filter_map(|field| Some((*field, scope.field(root, field)?))).collect();
    (!members.is_empty()).then(|| Json::of(&members))
}
