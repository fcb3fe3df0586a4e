//! `/api/workflow`: starting, showing and steering executions.

mod control;
mod messages;
mod read;
mod start;

use utoipa_axum::router::OpenApiRouter;

pub(super) use control::{
    RemoveParams, RestartParams, Steering, remove, restart, retry, terminate, terminate_and_remove,
};
pub(super) use read::show;
pub(super) use start::{StartRequest, begin, external_storage};

use crate::Api;

/// The paths of this folder.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .merge(start::routes())
        .merge(read::routes())
        .merge(control::routes())
        .merge(messages::routes())
}
