//! Failures in the protocol's words.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::problem::{self, Problem};

/// A failure on its way to a client of this API.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    /// What led to it, and of which kind that is.
    cause: Option<(String, &'static str)>,
    /// The word by which SDKs know a refusal for want of a permission.
    error: Option<&'static str>,
}

/// What a request that went wrong inside is answered with.
const WRONG: &str = "Something went wrong while processing your request";

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), cause: None, error: None }
    }

    /// 400.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 for a body that is no JSON.
    pub(super) fn invalid_json(problem: Problem) -> Self {
        let cause = Some((problem.message, "JsonReaderException"));
        Self { cause, ..Self::bad_request("Invalid JSON content") }
    }

    /// 404 for an instance.
    pub(super) fn no_instance(id: &str) -> Self {
        let shown: String = id.chars().take(SHOWN_MAX).collect();
        Self::new(StatusCode::NOT_FOUND, format!("No instance with ID '{shown}' was found."))
    }

    /// 410 for an instance that has ended.
    pub(super) fn gone(id: &str, status: &str) -> Self {
        Self::new(StatusCode::GONE, format!("The instance '{id}' has ended: {status}."))
    }

    /// 500 for what the protocol knows no other answer to.
    pub(super) fn wrong(cause: String) -> Self {
        let cause = Some((cause, "InvalidOperationException"));
        Self { cause, ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, WRONG) }
    }

    /// What went wrong.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

/// Characters of an id repeated in an answer.
const SHOWN_MAX: usize = 200;

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let flaws: Vec<String> = problem.flaws.iter().map(ToString::to_string).collect();
        let message = match (problem.hint, flaws.is_empty()) {
            (_, false) => flaws.join("; "),
            (Some(hint), true) => format!("{} {hint}", problem.message),
            (None, true) => problem.message,
        };
        let error = problem::refusal(problem.status, problem.code);
        Self { error, ..Self::new(problem.status, message) }
    }
}

impl From<engine::Error> for Refusal {
    fn from(error: engine::Error) -> Self {
        Problem::from(error).into()
    }
}

impl From<engine::store::StoreError> for Refusal {
    fn from(error: engine::store::StoreError) -> Self {
        Problem::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        // Clients that have only one message to show take it from either member.
        let (cause, kind) = self.cause.unwrap_or_else(|| (self.message.clone(), ""));
        let mut body = json!({
            "Message": self.message,
            "ExceptionMessage": cause,
            "ExceptionType": kind,
            "StackTrace": "",
        });
        if let Some(error) = self.error {
            body["error"] = error.into();
        }
        (self.status, axum::Json(body)).into_response()
    }
}
