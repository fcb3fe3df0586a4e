//! Failures that a stand-in was told to answer with, each once, before it behaves.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::json;

/// The failures still owed, shared by all requests to one stand-in.
#[derive(Clone, Debug)]
pub(crate) struct Failures(Arc<Mutex<VecDeque<u16>>>);

impl Failures {
    /// Owes `statuses`, in order. What is not an HTTP status counts as 500.
    pub(crate) fn new(statuses: &[u16]) -> Self {
        Self(Arc::new(Mutex::new(statuses.iter().copied().collect())))
    }

    /// Takes the next failure owed, as the answer to the request at hand.
    pub(crate) fn next(&self) -> Option<Response> {
        let status = self.0.lock().pop_front()?;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = status.canonical_reason().unwrap_or("Failed on purpose");
        let mut response = (status, Json(json!({ "message": message }))).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Some(response)
    }
}
