//! SPEAKS: the Conductor REST API and the pages beside it.
//!
//! Protocol names live here and nowhere deeper: handlers turn requests into the engine's inputs,
//! and `view` turns its state into the protocol's JSON.

pub mod problem;
pub mod rest;

use std::sync::Arc;

use axum::Router;
use engine::Engine;

/// What every handler shares.
#[derive(Clone)]
pub struct Api {
    /// The engine behind the API.
    pub engine: Engine,
    /// Settings of the rim.
    pub settings: Arc<Settings>,
}

/// Settings of the rim.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest request body in bytes; larger ones are answered with 413.
    pub body_max: usize,
    /// The version that `/api/version` tells.
    pub version: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self { body_max: 16 << 20, version: env!("CARGO_PKG_VERSION") }
    }
}

/// Everything that is answered on the one port.
pub fn router(api: Api) -> Router {
    let (router, _description) = rest::router().split_for_parts();
    router.with_state(api)
}
