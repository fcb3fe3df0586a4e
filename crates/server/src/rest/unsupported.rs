//! Calls of the official SDKs that have no counterpart here: each is refused with the reason and what
//! to do instead.

use axum::http::StatusCode;
use kernel::access::Permission;
use utoipa_axum::routes;

use crate::access::Routes;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Edit, routes!(import_bpmn))
        .on(Permission::Edit, routes!(upload_definitions))
        .on(Permission::Read, routes!(test_scheduler_timeout))
}

fn refused(message: &str, hint: &str) -> Problem {
    Problem::new(StatusCode::NOT_IMPLEMENTED, "not-implemented", message).with_hint(hint)
}

/// Not supported: import of a BPMN file.
#[utoipa::path(
    post, path = "/api/metadata/workflow-importer/import-bpm", tag = "metadata",
    responses((status = 501, description = "BPMN is not imported"))
)]
async fn import_bpmn() -> Problem {
    refused(
        "BPMN files are not imported",
        "Write the process as a workflow definition in JSON and register it with POST /api/metadata/workflow.",
    )
}

/// Not supported: backup of definitions to object storage.
#[utoipa::path(
    post, path = "/api/metadata/workflow-task-defs/upload", tag = "metadata",
    responses((status = 501, description = "There is no object storage"))
)]
async fn upload_definitions() -> Problem {
    refused(
        "definitions are kept in the store; no object storage is configured to copy them to",
        "Read them with GET /api/metadata/workflow and GET /api/metadata/taskdefs, or copy the store.",
    )
}

/// Not supported: a call that Orkes' hosted server has for its own tests.
#[utoipa::path(
    get, path = "/api/scheduler/test/timeout", tag = "scheduler",
    responses((status = 501, description = "Only for tests of another server"))
)]
async fn test_scheduler_timeout() -> Problem {
    refused(
        "this call exists for internal tests of another server",
        "Preview a schedule with GET /api/scheduler/nextFewSchedules or `nightbell schedule test`.",
    )
}
