//! `/mcp`: the questions of assistants over HTTP, as the Model Context Protocol has it ("streamable HTTP").
//!
//! Each message is a POST and its answer JSON; there are no sessions, and nothing is sent by itself, so that
//! a GET is refused. A tool is a request to the API in this process, with the caller's own permissions.
//! Pages of other origins are refused before (`guard`).
#![allow(unused_qualifications, reason = "the macros that describe paths write types out in full")]

pub mod protocol;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use kernel::access::Permission;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use utoipa_axum::routes;

use crate::Shared;
use crate::access::Routes;
use crate::console::Visiting;
use crate::problem::Problem;
use protocol::{ANSWER_MAX, Asked, Call, MESSAGE_MAX, Offer, PROTOCOLS, error, ran};

/// By which clients say what was agreed on.
const VERSION: &str = "mcp-protocol-version";

/// The paths of the protocol.
pub(crate) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(message))
}

/// A message of the Model Context Protocol. `allow` names the acting tools to offer, separated by
/// commas: acknowledge, check, preview, retry.
#[utoipa::path(
    operation_id = "mcp", post, path = "/mcp", tag = "operations",
    params(("allow" = Option<String>, Query, description = "Tools that act")),
    request_body = serde_json::Value,
    responses(
        (status = 200, description = "The answer", body = serde_json::Value),
        (status = 202, description = "A notification: no response body"),
        (status = 400, description = "Not a message, or of a protocol version that is not supported"),
    )
)]
async fn message(State(shared): State<Shared>, request: Request) -> Response {
    let asked = Visiting::of(&request);
    let allowed = allowed(request.uri().query().unwrap_or_default());
    if let Some(refused) = refused(request.headers()) {
        return refused.into_response();
    }
    let read = http_body_util::Limited::new(request.into_body(), MESSAGE_MAX).collect().await;
    let Ok(body) = read.map(http_body_util::Collected::to_bytes) else {
        return failed(StatusCode::PAYLOAD_TOO_LARGE, -32600, "a message has at most 1 MiB");
    };
    let message: Value = match serde_json::from_slice(&body) {
        Ok(message) => message,
        Err(why) => return failed(StatusCode::BAD_REQUEST, -32700, &format!("no JSON: {why}")),
    };
    let offer = Offer { allowed: &allowed, is_remote: true };
    match offer.read(&message) {
        Asked::Nothing => StatusCode::ACCEPTED.into_response(),
        Asked::Answer(answer) => axum::Json(answer).into_response(),
        Asked::Call(call) => axum::Json(run(&shared, &asked, &call).await).into_response(),
    }
}

/// The tools that act and that the address names.
fn allowed(query: &str) -> Vec<String> {
    let named = query.split('&').filter_map(|pair| pair.strip_prefix("allow="));
    named.flat_map(|names| names.split([',', '+'])).map(|name| name.replace("%2C", ",")).collect()
}

/// What the headers of a message make impossible.
fn refused(headers: &HeaderMap) -> Option<Problem> {
    let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
    if let Some(version) = text(VERSION).filter(|it| !PROTOCOLS.contains(it)) {
        let shown: String = version.chars().take(40).collect();
        let message =
            format!("the protocol {shown} is not spoken; there are {}", PROTOCOLS.join(", "));
        return Some(Problem::bad_request(message));
    }
    let accepts = text(header::ACCEPT.as_str()).unwrap_or("*/*");
    let takes_json =
        ["application/json", "application/*", "*/*"].iter().any(|it| accepts.contains(it));
    (!takes_json).then(|| {
        let message = "answers are application/json, which the header Accept does not name";
        Problem::bad_request(message)
    })
}

fn failed(status: StatusCode, code: i32, why: &str) -> Response {
    (status, axum::Json(error(&Value::Null, code, why))).into_response()
}

/// Asks the API as the caller.
async fn run(shared: &Shared, asked: &Visiting, call: &Call) -> Value {
    let Some(request) = &call.tool.request else {
        return error(&call.id, -32602, "this tool needs files of the client's machine");
    };
    let filled = |template: &str, value: &dyn Fn(&str) -> String| {
        let mut text = template.to_owned();
        for parameter in call.tool.values {
            let place = format!("{{{}}}", parameter.name);
            if text.contains(&place) {
                let given = call.given.get(parameter.name).and_then(Value::as_str)?;
                text = text.replace(&place, &value(given));
            }
        }
        Some(text)
    };
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let Some(mut path) = filled(request.path, &encoded) else {
        return error(&call.id, -32602, "a value is missing");
    };
    let plain = |text: &str| text.to_owned();
    let query = request.query.iter();
    let query: Vec<(&str, String)> =
        query.filter_map(|(name, value)| Some((*name, filled(value, &plain)?))).collect();
    let (method, body) = if request.posts {
        let members = query.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        let members: Map<String, Value> = members.collect();
        (Method::POST, (!members.is_empty()).then_some(Value::Object(members)))
    } else {
        let pairs: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        if !pairs.is_empty() {
            path = format!("{path}?{}", pairs.join("&"));
        }
        (Method::GET, None)
    };
    let (status, body) =
        shared.console.ask_inside(shared, asked, method, &path, body.as_ref()).await;
    let mut text = match body {
        Value::String(text) if text.is_empty() => "Done.".to_owned(),
        Value::String(text) => text,
        body => body.to_string(),
    };
    if text.len() > ANSWER_MAX {
        text.truncate(text.floor_char_boundary(ANSWER_MAX));
        text.push_str("\n… the rest is left out: ask for less");
    }
    ran(&call.id, &text, !status.is_success())
}
