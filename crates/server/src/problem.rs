//! The one place where failures become answers: status, body, and what is told to whom.
//!
//! The body is Conductor's: `status`, `message`, `instance`, `retryable`, and for bad definitions
//! `validationErrors`. We add `code`, which is stable, and a `hint`, which says what to do next.

use axum::Json;
use axum::http::header::{CONNECTION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use engine::store::StoreError;
use engine::vault::VaultError;
use engine::{AccessError, Grantee};
use kernel::Rejected;
use kernel::definition::Problem as Flaw;
use serde_json::json;

use crate::access::EXPIRED;

/// A failure on its way to the client.
#[derive(Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// What happened, for a person.
    pub message: String,
    /// What happened, for a program; stable, kebab-case.
    pub code: &'static str,
    /// What to do next.
    pub hint: Option<String>,
    /// What is wrong with a definition.
    pub flaws: Vec<Flaw>,
    /// After how many seconds to try again, if that is known.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A failure of this kind.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            code,
            hint: None,
            flaws: Vec::new(),
            retry_after: None,
        }
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }

    /// 409.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// 400 for a definition, with everything that is wrong with it.
    pub fn invalid(flaws: Vec<Flaw>) -> Self {
        let message = "Validation failed, check below errors for detail.";
        Self { flaws, ..Self::new(StatusCode::BAD_REQUEST, "validation-failed", message) }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says after how many seconds to try again (`Retry-After`).
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl From<engine::Error> for Problem {
    fn from(error: engine::Error) -> Self {
        use StatusCode as Status;
        let message = error.to_string();
        let (status, code) = match error {
            engine::Error::Rejected(rejected) => match rejected {
                Rejected::Unknown(_) | Rejected::Forbidden(_) => (Status::NOT_FOUND, "not-found"),
                Rejected::Conflict(_) | Rejected::Stale(_) => (Status::CONFLICT, "conflict"),
                Rejected::Invalid(_) => (Status::BAD_REQUEST, "bad-request"),
                Rejected::Full(_) => (Status::TOO_MANY_REQUESTS, "full"),
            },
            engine::Error::Store(error) => return error.into(),
            engine::Error::Quarantined { .. } => (Status::INTERNAL_SERVER_ERROR, "quarantined"),
            engine::Error::Unavailable(_) => {
                (Status::SERVICE_UNAVAILABLE, "evaluation-unavailable")
            }
            engine::Error::Closing => (Status::SERVICE_UNAVAILABLE, "closing"),
        };
        Self::new(status, code, message)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::Conflict | StoreError::Received => (StatusCode::CONFLICT, "conflict"),
            // The details name files of the server: they are for its operators.
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "a request could not be answered");
                let message = "the store is unavailable; the server's log says why";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return Self::new(status, "store-unavailable", message);
            }
            StoreError::Unfit(_) => {
                tracing::error!(%error, "a request could not be answered");
                let message = "the store cannot be used by this release; the server's log says why";
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store-unfit", message);
            }
            StoreError::Corrupt(_) => {
                tracing::error!(%error, "a request could not be answered");
                let message = "the store holds damaged data; the server's log says more";
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return Self::new(status, "store-corrupt", message);
            }
            StoreError::TooBroad => {
                let problem =
                    Self::new(StatusCode::BAD_REQUEST, "search-too-broad", error.to_string());
                return problem.with_hint(
                    "Narrow the search by workflowType, status, correlationId or startTime, which \
                     have indexes.",
                );
            }
            StoreError::Closed => (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        let message = error.to_string();
        match error {
            AccessError::Store(error) => error.into(),
            AccessError::Missing(Grantee::Key(_)) => {
                Self::not_found(message).with_hint("See `nightbell key list`.")
            }
            AccessError::Missing(Grantee::User(_)) => {
                Self::not_found(message).with_hint("See `nightbell user list`.")
            }
            AccessError::Missing(Grantee::Group(_)) => {
                Self::not_found(message).with_hint("See `nightbell group list`.")
            }
            AccessError::NotGranted { .. } => {
                Self::not_found(message).with_hint("See `nightbell grant list`.")
            }
            AccessError::NotMember(..) => {
                Self::not_found(message).with_hint("See `nightbell group show NAME`.")
            }
            AccessError::LastAdministrator => {
                Self::new(StatusCode::CONFLICT, "last-administrator", message)
                    .with_hint("Make somebody else an administrator first.")
            }
            AccessError::Disabled(_) => Self::new(StatusCode::FORBIDDEN, "user-disabled", message)
                .with_hint(
                    "An administrator lets the user in again: `nightbell user enable NAME`.",
                ),
            AccessError::NotAdmitted(_) => {
                Self::new(StatusCode::FORBIDDEN, "not-admitted", message).with_hint(
                    "Whoever administers the provider puts you into one of its groups that \
                     `oidc_groups` names.",
                )
            }
            AccessError::Superseded => Self::new(StatusCode::CONFLICT, "superseded", message)
                .with_hint("Sign in again, and change the password then."),
            AccessError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "logins-busy", message)
                .with_hint("Try again in a few seconds; keys and sessions are not affected."),
            AccessError::Full(_) | AccessError::Grants | AccessError::Taken(..) => {
                Self::conflict(message)
            }
            AccessError::Name
            | AccessError::Label
            | AccessError::Application(_)
            | AccessError::PersonName(..)
            | AccessError::Password
            | AccessError::OfUser
            | AccessError::Roles
            | AccessError::Expired => Self::bad_request(message),
        }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        let message = error.to_string();
        match error {
            VaultError::Store(error) => error.into(),
            VaultError::Missing { .. } => Self::not_found(message),
            VaultError::ReadOnly { .. } => Self::new(StatusCode::CONFLICT, "read-only", message)
                .with_hint("Change it where the server is started, or use another name."),
            VaultError::Full(_) => Self::conflict(message),
            VaultError::Name { .. } | VaultError::Length { .. } | VaultError::Tags(_) => {
                Self::bad_request(message)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A fault of ours stays one, and what is not implemented will not be by the next try.
        let is_lasting =
            matches!(self.status, StatusCode::INTERNAL_SERVER_ERROR | StatusCode::NOT_IMPLEMENTED);
        let retryable = self.status.is_server_error() && !is_lasting;
        let mut body = json!({
            "status": self.status.as_u16(),
            "message": self.message,
            "code": self.code,
            "retryable": retryable,
        });
        if let Some(hint) = self.hint {
            body["hint"] = hint.into();
        }
        if let Some(error) = refusal(self.status, self.code) {
            body["error"] = error.into();
        }
        if self.flaws.is_empty() {
            body["instance"] = instance().into();
        } else {
            let flaws = self.flaws.into_iter().map(|flaw| {
                let mut shown = json!({
                    "path": flaw.path,
                    "message": flaw.message,
                    "pointer": flaw.pointer,
                    "hint": flaw.hint,
                    "code": flaw.code,
                });
                if let Some(value) = flaw.invalid_value {
                    shown["invalidValue"] = value;
                }
                shown
            });
            body["validationErrors"] = flaws.collect();
        }
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body is never read, so the connection ends here: a client that is not
            // told would send its next request into the void. HTTP/2 leaves the header out.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The word by which SDKs tell a token to renew from a permission that is missing.
pub(crate) fn refusal(status: StatusCode, code: &str) -> Option<&'static str> {
    match status {
        StatusCode::UNAUTHORIZED if code == EXPIRED => Some("EXPIRED_TOKEN"),
        StatusCode::UNAUTHORIZED => Some("INVALID_TOKEN"),
        StatusCode::FORBIDDEN => Some("FORBIDDEN"),
        _ => None,
    }
}

/// The machine's name, as error bodies tell it.
fn instance() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "nightbell".to_owned())
}
