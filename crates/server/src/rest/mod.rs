//! The Conductor REST API, one file per group of paths.

use axum::Router;

use crate::Api;

/// All paths of the API.
pub fn router(api: Api) -> Router {
    Router::new().with_state(api)
}
