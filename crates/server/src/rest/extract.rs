//! What handlers take from a request, with our own words when it does not fit.
//!
//! The protocol's server answers 500 to malformed JSON and missing parameters; these are the
//! client's faults and are answered as such, with the place.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::uri::InvalidUri;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kernel::expression::mask_secrets;
use kernel::{ExecutionId, Json};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Shared;
use crate::connections::{TooSlow, is_from};
use crate::problem::Problem;
use crate::room::{BODIES_BUSY, NoRoom, Weight};

/// The body as bytes, bounded by [`Settings::body_max`](crate::Settings::body_max).
#[derive(Debug)]
pub struct RawBody(pub Bytes);

impl FromRequest<Shared> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        let max = shared.api.settings.body_max;
        let declared = request.headers().get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > max) {
            return Err(too_large(max));
        }
        match Limited::new(request.into_body(), max).collect().await {
            Ok(body) => Ok(Self(body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large(max)),
            Err(error) if is_from::<NoRoom>(&*error) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Err(Problem::new(status, "bodies-busy", BODIES_BUSY))
            }
            Err(error) if is_from::<TooSlow>(&*error) => {
                let message = format!("the request body did not arrive: {error}");
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", message))
            }
            Err(error) => Err(Problem::bad_request(format!("the request body broke off: {error}"))),
        }
    }
}

fn too_large(max: usize) -> Problem {
    let message = format!("the request body is larger than {max} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", message)
        .with_hint("Store large data elsewhere and pass a reference to it.")
}

/// What a body of text says: a JSON string, as most clients send it, or the text as it is. What is
/// declared as plain text is not read as JSON.
pub(super) fn text_of<'a>(headers: &HeaderMap, body: Cow<'a, str>) -> Cow<'a, str> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if declared.is_some_and(|declared| declared.starts_with("text/plain")) {
        return body;
    }
    serde_json::from_str::<String>(&body).map_or(body, Cow::Owned)
}

/// A JSON body; an empty one counts as `null`. The `Content-Type` is not looked at.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Shared> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        let RawBody(bytes) = RawBody::from_request(request, shared).await?;
        parse(&bytes).map(Self)
    }
}

/// Levels of objects and lists in a body. Payloads are kept as text and read as trees much later,
/// at most 128 levels deep, perhaps wrapped in others: what cannot be read then is refused now.
const DEPTH_MAX: usize = 100;

/// Reads JSON; empty text counts as `null`.
///
/// # Errors
/// 400 with line and column.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    let bytes = if bytes.trim_ascii().is_empty() { b"null" } else { bytes };
    if depth(bytes) > DEPTH_MAX {
        let message =
            format!("the JSON in the request body is nested deeper than {DEPTH_MAX} levels");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "too-deep", message));
    }
    if let Some(number) = beyond_f64(bytes) {
        let shown: String = number.chars().take(NUMBER_SHOWN_MAX).collect();
        let message =
            format!("the JSON in the request body has a number that is too large: {shown}");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "number-too-large", message)
            .with_hint("Numbers go up to about 1.8e308; send larger ones as text."));
    }
    serde_json::from_slice(bytes).map_err(|error| unreadable(&error))
}

/// How deeply a JSON text is nested; of anything else, some number.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The first number of a JSON text that does not fit 64-bit floating point. Such a number passes as
/// text, but a document that holds it can never be read as a tree.
fn beyond_f64(json: &[u8]) -> Option<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let mut begun = None;
    for (at, byte) in json.iter().chain(b" ").enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E' if !quoted => {
                begun.get_or_insert(at);
                continue;
            }
            _ => {}
        }
        let Some(begun) = begun.take() else { continue };
        let token = &json[begun..at];
        // Most numbers are short and without an exponent: nothing to look at.
        if token.len() <= f64::MAX_10_EXP as usize
            && !token.contains(&b'e')
            && !token.contains(&b'E')
        {
            continue;
        }
        let token = std::str::from_utf8(token).ok()?;
        if token.parse::<f64>().is_ok_and(f64::is_infinite) {
            return Some(token);
        }
    }
    None
}

/// Digits of an offending number that are told.
const NUMBER_SHOWN_MAX: usize = 40;

/// 400 for JSON that could not be read as what was expected.
pub fn unreadable(error: &serde_json::Error) -> Problem {
    let full = error.to_string();
    let reason = full.split(" at line ").next().unwrap_or(&full);
    let (line, column) = (error.line(), error.column());
    let place = if line > 0 { format!(" at line {line}, column {column}") } else { String::new() };
    let status = StatusCode::BAD_REQUEST;
    if error.classify() == Category::Data {
        let message = format!("the JSON in the request body does not fit{place}: {reason}");
        return Problem::new(status, "wrong-type", message);
    }
    let message = format!("malformed JSON in the request body{place}: {reason}");
    Problem::new(status, "malformed-json", message)
}

/// A JSON object, kept as its text; an empty body or `null` is `{}`.
#[derive(Clone, Debug)]
pub struct Object(pub Json);

impl FromRequest<Shared> for Object {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        let Body(json) = Body::<Json>::from_request(request, shared).await?;
        object(json, "the request body").map(Self)
    }
}

/// Takes an object; `null` is `{}`.
///
/// # Errors
/// 400 if it is anything else.
pub fn object(json: Json, what: &str) -> Result<Json, Problem> {
    if json.is_null() {
        return Ok(Json::empty_object());
    }
    if !json.is_object() {
        return Err(Problem::bad_request(format!("{what} must be a JSON object")));
    }
    Ok(json)
}

/// Parameters from the query string. One without a value counts as absent.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        query(parts).map(Self)
    }
}

/// Every parameter of the query string that has a value, repeated ones too.
#[derive(Debug)]
pub struct RawQuery(pub Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for RawQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        query(parts).map(Self)
    }
}

fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, Problem> {
    let text = parts.uri.query().unwrap_or_default();
    let has_value = |pair: &&str| pair.split_once('=').is_some_and(|(_, value)| !value.is_empty());
    let kept: Vec<&str> = text.split('&').filter(has_value).collect();
    let unreadable = |reason: &str| Problem::bad_request(format!("query parameters: {reason}"));
    let uri: Uri = format!("/?{}", kept.join("&"))
        .parse()
        .map_err(|error: InvalidUri| unreadable(&error.to_string()))?;
    match axum::extract::Query::<T>::try_from_uri(&uri) {
        Ok(query) => Ok(query.0),
        Err(rejected) => {
            let text = rejected.body_text();
            let reason = text.strip_prefix("Failed to deserialize query string: ");
            Err(unreadable(reason.unwrap_or(&text)))
        }
    }
}

/// Reads scalars as generously as the protocol's server, for `#[serde(deserialize_with)]`.
pub(super) mod lenient {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer};
    use serde_json::Value;

    /// A truth value as people and libraries write it.
    pub(in crate::rest) fn flag<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<bool, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom(format_args!("expected true or false, got '{text}'"));
        truth(&text).ok_or_else(wrong)
    }

    /// The same of a text; `None` if it is something else.
    pub(in crate::rest) fn truth(text: &str) -> Option<bool> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    /// A whole number, also when it is written as text; `null` and empty text are absent.
    pub(in crate::rest) fn number<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<i64>, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = match &value {
            Value::Null => return Ok(None),
            Value::String(text) if text.trim().is_empty() => return Ok(None),
            Value::String(text) => text.trim().parse().ok(),
            Value::Number(number) => {
                number.as_i64().or_else(|| number.as_f64().map(|number| number as i64))
            }
            _ => None,
        };
        let wrong = || D::Error::custom(format_args!("expected a whole number, got {value}"));
        number.map(Some).ok_or_else(wrong)
    }
}

/// Parameters from the path.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(path) => Ok(Self(path.0)),
            Err(rejected) => Err(Problem::bad_request(rejected.body_text())),
        }
    }
}

/// An answer that is JSON text already. Sealed values in it are masked, and references to secrets
/// are shown as their authors wrote them.
#[derive(Debug)]
pub struct Answer(pub Json);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        let body = match mask_secrets(self.0.text()) {
            Cow::Borrowed(_) => Bytes::from_owner(Text(self.0)),
            Cow::Owned(masked) => Bytes::from(masked),
        };
        ([(header::CONTENT_TYPE, json)], body).into_response()
    }
}

/// Lends the text to the connection, so that it is sent without a copy.
struct Text(Json);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.text().as_bytes()
    }
}

/// Answers below this are not counted.
const LARGE_ANSWER_MIN: usize = 4 << 20;

/// The memory that large answers may take together; clones share it.
#[derive(Clone, Debug)]
pub struct LargeAnswers {
    mebibytes: u32,
    room: Arc<Semaphore>,
    wait: Duration,
}

impl LargeAnswers {
    /// So many mebibytes, for which an answer waits so long.
    pub fn new(mebibytes: u32, wait: Duration) -> Self {
        let mebibytes = mebibytes.max(1);
        Self { mebibytes, room: Arc::new(Semaphore::new(mebibytes as usize)), wait }
    }
}

impl Default for LargeAnswers {
    fn default() -> Self {
        Self::new(512, Duration::from_secs(10))
    }
}

/// The memory that one large answer may take until it has been sent.
#[derive(Debug, Default)]
pub struct Share {
    bytes: usize,
    /// Given back when the answer has been sent; small answers have none.
    permit: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Waits until there is memory for an answer of about so many bytes.
    ///
    /// # Errors
    /// 503 if other large answers take all of it for too long.
    pub async fn of(answers: &LargeAnswers, bytes: usize) -> Result<Self, Problem> {
        let mut share = Self::default();
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX).min(answers.mebibytes);
        share.grow(answers, bytes, mebibytes).await?;
        Ok(share)
    }

    /// Waits until there is memory for about so many bytes more, in an answer of several parts.
    ///
    /// # Errors
    /// 413 if the whole answer would take more than all large answers may together; 503 if others
    /// take too much of it for too long.
    pub async fn add(&mut self, answers: &LargeAnswers, bytes: usize) -> Result<(), Problem> {
        let bytes = self.bytes.saturating_add(bytes);
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        if mebibytes > answers.mebibytes {
            let most = answers.mebibytes;
            let message = format!("the answer would have more than {most} MiB");
            let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "answer-too-large", message);
            return Err(problem.with_hint("Ask for fewer executions, or without tasks."));
        }
        self.grow(answers, bytes, mebibytes).await
    }

    async fn grow(
        &mut self,
        answers: &LargeAnswers,
        bytes: usize,
        mebibytes: u32,
    ) -> Result<(), Problem> {
        self.bytes = bytes;
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = mebibytes.saturating_sub(u32::try_from(held).unwrap_or(u32::MAX));
        if bytes < LARGE_ANSWER_MIN || more == 0 {
            return Ok(());
        }
        let wait = answers.room.clone().acquire_many_owned(more);
        let Ok(permit) = tokio::time::timeout(answers.wait, wait).await else {
            let message =
                format!("other large answers are being sent; this one has about {mebibytes} MiB");
            let problem =
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "large-answers-busy", message);
            return Err(problem
                .with_hint("Try again, or ask for less (includeTasks=false, a page of tasks)."));
        };
        // Only a semaphore that was closed gives none, which this one never is.
        if let Ok(permit) = permit {
            match &mut self.permit {
                Some(held) => held.merge(permit),
                none => *none = Some(permit),
            }
        }
        Ok(())
    }
}

/// An [`Answer`] that keeps its share of memory until it has been sent.
#[derive(Debug)]
pub struct LargeAnswer(pub Json, pub Share);

impl IntoResponse for LargeAnswer {
    fn into_response(self) -> Response {
        let Self(json, share) = self;
        let body = match mask_secrets(json.text()) {
            Cow::Borrowed(_) => Bytes::from_owner(Text(json)),
            Cow::Owned(masked) => Bytes::from(masked),
        };
        let json = HeaderValue::from_static("application/json");
        let is_counted = share.permit.is_some();
        let body = Bytes::from_owner(Weighed { body, _share: share });
        let mut answer = ([(header::CONTENT_TYPE, json)], body).into_response();
        if is_counted {
            answer.extensions_mut().insert(Weight(0));
        }
        answer
    }
}

/// A body with the share of memory that it takes.
struct Weighed {
    body: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Weighed {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Takes an execution id from a request.
///
/// # Errors
/// 404 for what cannot be one: nothing of that name exists.
pub fn execution_id(text: &str) -> Result<ExecutionId, Problem> {
    if text.is_empty() || text.len() > ExecutionId::LENGTH_MAX {
        return Err(unknown_workflow(text));
    }
    Ok(ExecutionId::new(text))
}

/// 404 in the protocol's words.
pub fn unknown_workflow(id: &str) -> Problem {
    let shown: String = id.chars().take(ExecutionId::LENGTH_MAX).collect();
    Problem::not_found(format!("No such workflow found by id: {shown}"))
}
