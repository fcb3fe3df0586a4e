//! `/a/{token}`: whoever got a message acknowledges what it told, by a link in it.
//!
//! The token proves that the caller has the message; it opens nothing else. GET shows what there is to
//! acknowledge, because chats and scanners of mail follow links: only POST acts.

use axum::Json as AsJson;
use axum::body::Body;
use axum::extract::State;
use axum::http::Method;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use console::{Answering, Visit, Visitor};
use engine::{AckError, Acked};
use kernel::access::Need;
use serde_json::{Value, json};
use utoipa_axum::routes;

use crate::Shared;
use crate::access::Routes;
use crate::problem::Problem;
use crate::rest::extract::Path;

pub(super) fn routes() -> Routes {
    Routes::new().on(Need::Proof, routes!(ask, act))
}

/// Shows the incident of a notification, and how to acknowledge it. Changes nothing.
#[utoipa::path(
    operation_id = "show_message", get, path = "/a/{token}", tag = "incidents",
    params(("token" = String, Path, description = "From the message")),
    responses(
        (status = 200, description = "A page for browsers, else JSON", body = serde_json::Value),
        (status = 404, description = "The token belongs to no message"),
        (status = 410, description = "The message of the token is too old"),
    )
)]
async fn ask(
    State(shared): State<Shared>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    let told = match shared.api.engine.ack_message(&token).await {
        Ok(told) => told,
        Err(error) => return refused(&shared, &headers, error),
    };
    let shown = json!({
        "title": told.title, "receiver": told.receiver, "monitor": told.monitor,
        "incidents": told.incidents, "sentAt": told.sent_at.millis(),
    });
    let (title, sent_at, count) = (told.title, told.sent_at, told.incidents.len());
    answer(&shared, &headers, &Answering::Asked { title, sent_at, count }, shown)
}

/// Acknowledges the incident of a notification. Each notification counts once.
#[utoipa::path(
    operation_id = "answer_message", post, path = "/a/{token}", tag = "incidents",
    params(("token" = String, Path, description = "From the message")),
    responses(
        (status = 200, description = "`taken`, with the incidents, or why it changes nothing; a page for \
            browsers", body = serde_json::Value),
        (status = 404, description = "The token belongs to no message"),
        (status = 410, description = "The message of the token is too old"),
        (status = 503, description = "The store is unavailable"),
    )
)]
async fn act(
    State(shared): State<Shared>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    let acked = match shared.api.engine.acknowledge_by_token(&token, None).await {
        Ok(acked) => acked,
        Err(error) => return refused(&shared, &headers, error),
    };
    let shown = told(&acked);
    let Acked { message, taken, why } = acked;
    answer(&shared, &headers, &Answering::Done { title: message.title, taken, why }, shown)
}

/// What came of it, for programs.
pub(super) fn told(acked: &Acked) -> Value {
    json!({
        "taken": acked.taken > 0, "incidents": acked.message.incidents, "count": acked.taken,
        "why": acked.why,
    })
}

/// Why nothing came of a token, in the shape of every failure.
pub(super) fn problem(error: AckError) -> Problem {
    match error {
        AckError::Engine(error) => error.into(),
        AckError::Unknown => none(StatusCode::NOT_FOUND, "message-unknown", &error),
        AckError::Expired => none(StatusCode::GONE, "message-expired", &error),
    }
}

fn none(status: StatusCode, code: &'static str, error: &AckError) -> Problem {
    Problem::new(status, code, error.to_string())
        .with_hint("Acknowledge in the console, or with `nightbell incident acknowledge`.")
}

fn refused(shared: &Shared, headers: &HeaderMap, error: AckError) -> Response {
    let problem = problem(error);
    if !is_browser(headers) {
        return problem.into_response();
    }
    let why = format!("{}. {}", problem.message, problem.hint.as_deref().unwrap_or_default());
    let page = Answering::Refused { status: problem.status, why };
    answer(shared, headers, &page, Value::Null)
}

fn answer(shared: &Shared, headers: &HeaderMap, page: &Answering, shown: Value) -> Response {
    if !is_browser(headers) {
        return AsJson(shown).into_response();
    }
    // The address bears the token, and stays out of the page.
    let visit = Visit::new(Method::GET, "/a/", None, "", Visitor::default());
    shared.console.answering(&visit, page).into_response(headers).map(Body::from)
}

fn is_browser(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    accepts.is_some_and(|accepts| accepts.contains("text/html"))
}
