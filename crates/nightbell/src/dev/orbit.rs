//! An Orbit with one workspace, which keeps what is posted so that a reader or a test can look.
//!
//! An activity's `key` names it: a second post of the same key is answered like the first and kept
//! once, counted. That is what a client that may post twice, after a lost answer, relies on.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use super::Options;
use super::failures::Failures;

/// One activity as Orbit keeps it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Activity {
    /// Given by Orbit on first arrival.
    pub(crate) id: String,
    /// The whole body of the first post.
    pub(crate) body: Value,
    /// How many times it was posted and taken; more than 1 only for a repeated `key`.
    pub(crate) post_count: u32,
}

/// Everything that was posted and taken. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    activities: Vec<Activity>,
    /// From an activity's key to its place in `activities`.
    places: BTreeMap<String, usize>,
}

impl Ledger {
    /// In order of first arrival.
    pub(crate) fn activities(&self) -> Vec<Activity> {
        self.0.lock().activities.clone()
    }

    /// Keeps `body` and answers its id, and whether it is new.
    fn record(&self, body: Value) -> (String, bool) {
        let mut entries = self.0.lock();
        let key = body.pointer("/activity/key").and_then(Value::as_str).map(str::to_owned);
        let known = key.as_ref().and_then(|key| entries.places.get(key).copied());
        if let Some(activity) = known.and_then(|place| entries.activities.get_mut(place)) {
            activity.post_count += 1;
            return (activity.id.clone(), false);
        }
        let place = entries.activities.len();
        let id = format!("act_{:06}", place + 1);
        if let Some(key) = key {
            entries.places.insert(key, place);
        }
        entries.activities.push(Activity { id: id.clone(), body, post_count: 1 });
        (id, true)
    }
}

#[derive(Clone, Debug)]
struct Orbit {
    workspace: Arc<str>,
    api_key: Arc<str>,
    failures: Failures,
    ledger: Ledger,
}

/// The API of one workspace, which keeps what it takes in `ledger`.
pub(crate) fn router(options: &Options, ledger: Ledger) -> Router {
    let orbit = Orbit {
        workspace: options.workspace.as_str().into(),
        api_key: options.orbit_apikey.as_str().into(),
        failures: Failures::new(&options.orbit_failures),
        ledger,
    };
    Router::new().route("/{workspace}/activities", get(list).post(create)).with_state(orbit)
}

async fn list(
    State(orbit): State<Orbit>,
    Path(workspace): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = orbit.refusal(&workspace, &headers) {
        return refusal;
    }
    let activities = orbit.ledger.activities();
    Json(json!({ "meta": { "total": activities.len() }, "data": activities })).into_response()
}

async fn create(
    State(orbit): State<Orbit>,
    Path(workspace): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    if let Some(failure) = orbit.failures.next() {
        return failure;
    }
    if let Some(refusal) = orbit.refusal(&workspace, &headers) {
        return refusal;
    }
    let Ok(body) = serde_json::from_str::<Value>(&body) else {
        return problem(StatusCode::BAD_REQUEST, &["the body is not JSON".to_owned()]);
    };
    let errors = errors_in(&body);
    if !errors.is_empty() {
        return problem(StatusCode::UNPROCESSABLE_ENTITY, &errors);
    }
    let (id, new) = orbit.ledger.record(body);
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    (status, Json(json!({ "data": { "id": id, "type": "custom_activity" } }))).into_response()
}

impl Orbit {
    fn refusal(&self, workspace: &str, headers: &HeaderMap) -> Option<Response> {
        let key = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        if key != Some(&*self.api_key) {
            return Some(problem(
                StatusCode::UNAUTHORIZED,
                &["the API key is missing or wrong".to_owned()],
            ));
        }
        (workspace != &*self.workspace).then(|| {
            problem(StatusCode::NOT_FOUND, &[format!("there is no workspace {workspace:?}")])
        })
    }
}

/// Everything that keeps `body` from being an activity with someone to credit it to.
fn errors_in(body: &Value) -> Vec<String> {
    let text = |pointer| {
        body.pointer(pointer).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
    };
    let mut errors = Vec::new();
    for pointer in ["/activity/activity_type_key", "/activity/title"] {
        if text(pointer).is_none() {
            errors.push(format!("{pointer} must be a text that is not empty"));
        }
    }
    if let Some(key) = body.pointer("/activity/key")
        && !key.is_string()
    {
        errors.push("/activity/key must be a text".to_owned());
    }
    if let Some(time) = body.pointer("/activity/occurred_at")
        && time.as_str().is_none_or(|time| time.parse::<Timestamp>().is_err())
    {
        errors.push("/activity/occurred_at must be a time such as 2030-01-31T12:00:00Z".to_owned());
    }
    if text("/identity/source").is_none() {
        errors.push("/identity/source must be a text that is not empty".to_owned());
    }
    let names = ["/identity/username", "/identity/uid", "/identity/email"];
    if !names.into_iter().any(|pointer| text(pointer).is_some()) {
        errors.push(format!("one of {} must be a text that is not empty", names.join(", ")));
    }
    errors
}

fn problem(status: StatusCode, errors: &[String]) -> Response {
    (status, Json(json!({ "errors": errors }))).into_response()
}
