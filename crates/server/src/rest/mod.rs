//! The Conductor REST API, one file per group of paths.

pub mod extract;
pub mod view;

use utoipa_axum::router::OpenApiRouter;

use crate::Api;

/// All paths of the API, described.
pub fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
}
