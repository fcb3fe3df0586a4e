//! Stand-ins for the three services of the alerting example: an endpoint with failures to find, the
//! service that issues tokens for it, and `PagerDuty`. Each can be told to fail first.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What the token service asks of its clients.
pub(crate) const CLIENT_SECRET: &str = "cL-secret/9f+Xo 41";
/// What `PagerDuty` knows the service by.
pub(crate) const ROUTING_KEY: &str = "R0uting7Key2of9Orders4on8Call1xy";

/// What the services hold and have heard. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Services(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    /// When failures happened, in milliseconds.
    failures: Vec<i64>,
    windows: Vec<Window>,
    tokens: Vec<String>,
    expired: bool,
    pagerduty_failures: VecDeque<u16>,
    endpoint_failures: VecDeque<u16>,
    refusals: Vec<u16>,
    events: Vec<Value>,
    open: BTreeSet<String>,
}

/// A stretch of time that was asked for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Window {
    pub(crate) from: jiff::Timestamp,
    pub(crate) to: jiff::Timestamp,
}

#[allow(dead_code, reason = "the tests of the example ask what the tour does not")]
impl Services {
    /// Starts all three on one port and answers where.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub(crate) async fn start(&self) -> io::Result<String> {
        let router = Router::new()
            .route("/failures", get(failures))
            .route("/oauth/token", post(issue))
            .route("/v2/enqueue", post(enqueue))
            .with_state(self.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(url)
    }

    /// The endpoint knows of failures at these times, in minutes before now.
    pub(crate) fn fail_at(&self, minutes_ago: &[i64]) {
        let now = jiff::Timestamp::now().as_millisecond();
        self.0.lock().failures = minutes_ago.iter().map(|ago| now - ago * 60_000).collect();
    }

    /// The present token is worth nothing any more.
    pub(crate) fn expire(&self) {
        self.0.lock().expired = true;
    }

    /// `PagerDuty` answers so first.
    pub(crate) fn pagerduty_answers(&self, statuses: &[u16]) {
        self.0.lock().pagerduty_failures = statuses.iter().copied().collect();
    }

    /// The endpoint answers so first.
    pub(crate) fn endpoint_answers(&self, statuses: &[u16]) {
        self.0.lock().endpoint_failures = statuses.iter().copied().collect();
    }

    /// The statuses of all refusals so far, in order; forgets them.
    pub(crate) fn refusals(&self) -> Vec<u16> {
        std::mem::take(&mut self.0.lock().refusals)
    }

    /// The events that `PagerDuty` took; forgets them.
    pub(crate) fn events(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock().events)
    }

    /// The dedup keys of the alerts that are open.
    pub(crate) fn open(&self) -> Vec<String> {
        self.0.lock().open.iter().cloned().collect()
    }

    /// The last window that the endpoint was asked for.
    pub(crate) fn last_window(&self) -> Window {
        self.0.lock().windows.last().cloned().expect("the endpoint was asked")
    }

    /// Every token that was issued.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.0.lock().tokens.clone()
    }

    fn refuse(&self, status: StatusCode, body: Value) -> Response {
        self.0.lock().refusals.push(status.as_u16());
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    fn fail(&self, status: u16) -> Response {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.refuse(status, json!({ "status": "failed", "message": "on purpose" }))
    }
}

async fn failures(
    State(services): State<Services>,
    Query(window): Query<Window>,
    headers: HeaderMap,
) -> Response {
    let owed = services.0.lock().endpoint_failures.pop_front();
    if let Some(status) = owed {
        return services.fail(status);
    }
    let credential = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credential = credential.and_then(|value| value.strip_prefix("Bearer "));
    let valid = {
        let held = services.0.lock();
        !held.expired
            && credential.is_some()
            && credential == held.tokens.last().map(String::as_str)
    };
    if !valid {
        return services.refuse(StatusCode::UNAUTHORIZED, json!({ "error": "token expired" }));
    }
    let mut held = services.0.lock();
    let (from, to) = (window.from.as_millisecond(), window.to.as_millisecond());
    let records: Vec<Value> = held
        .failures
        .iter()
        .enumerate()
        .filter(|(_, at)| (from..=to).contains(at))
        .map(|(number, at)| {
            let at = jiff::Timestamp::from_millisecond(*at).unwrap_or_default();
            json!({ "id": number, "at": format!("{at:.3}"), "message": "payment lost" })
        })
        .collect();
    held.windows.push(window);
    Json(json!({ "records": records })).into_response()
}

#[derive(Deserialize)]
struct Credentials {
    grant_type: String,
    client_id: String,
    client_secret: String,
}

async fn issue(State(services): State<Services>, form: String) -> Response {
    let uri = format!("/?{form}").parse().ok();
    let given = uri.and_then(|uri| Query::<Credentials>::try_from_uri(&uri).ok());
    let Some(Query(given)) = given else {
        return services.refuse(StatusCode::BAD_REQUEST, json!({ "error": "invalid_request" }));
    };
    let known = given.grant_type == "client_credentials" && given.client_id == "nightbell";
    if !known || given.client_secret != CLIENT_SECRET {
        return services.refuse(StatusCode::UNAUTHORIZED, json!({ "error": "invalid_client" }));
    }
    let mut held = services.0.lock();
    let token = format!("tok-{}-Zq8vL2", 7_000_001 + held.tokens.len());
    held.tokens.push(token.clone());
    held.expired = false;
    Json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 }))
        .into_response()
}

async fn enqueue(State(services): State<Services>, Json(event): Json<Value>) -> Response {
    let owed = services.0.lock().pagerduty_failures.pop_front();
    if let Some(status) = owed {
        return services.fail(status);
    }
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut errors = Vec::new();
    if text("/routing_key") != ROUTING_KEY {
        errors.push("'routing_key' is not a known key".to_owned());
    }
    let action = text("/event_action");
    if !["trigger", "acknowledge", "resolve"].contains(&action) {
        errors.push("'event_action' is missing or invalid".to_owned());
    }
    if action == "trigger" {
        for field in ["summary", "source"] {
            if text(&format!("/payload/{field}")).trim().is_empty() {
                errors.push(format!("'payload.{field}' is missing or blank"));
            }
        }
        if !["critical", "error", "warning", "info"].contains(&text("/payload/severity")) {
            errors.push("'payload.severity' is invalid (must be one of: critical, …)".to_owned());
        }
    }
    if !errors.is_empty() {
        let body = json!({ "status": "invalid event", "message": "Event object is invalid",
                           "errors": errors });
        return services.refuse(StatusCode::BAD_REQUEST, body);
    }
    let key = text("/dedup_key").to_owned();
    let mut held = services.0.lock();
    match action {
        "resolve" => held.open.remove(&key),
        _ => held.open.insert(key.clone()),
    };
    held.events.push(event);
    let body = json!({ "status": "success", "message": "Event processed", "dedup_key": key });
    (StatusCode::ACCEPTED, Json(body)).into_response()
}
