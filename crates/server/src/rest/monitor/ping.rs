//! `/ping/{key}`: the calls of jobs that a heartbeat monitor waits for. Made for `curl` at the end
//! of a line of cron: any body, a short answer.
//!
//! The key is that of one monitor, or a ping key with the slug of a monitor behind it:
//! `/ping/{key}/{slug}`. What is a ping key says which of the two is meant, so that slugs may be called
//! `start`, too.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use engine::monitors::Making;
use kernel::access::Need;
use kernel::alert::{Input, PING_TEXT_MAX, Ping, PingKind};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::super::extract::{Path, Query, RawBody};
use super::say;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Need::Proof, routes!(success))
        .on(Need::Proof, routes!(signal))
        .on(Need::Proof, routes!(slug_signal))
}

/// Bytes of a body that are taken; only the end is kept.
const BODY_MAX: usize = 100_000;
/// Bytes of a run's name.
const RUN_MAX: usize = 200;

#[derive(Debug, Deserialize, IntoParams)]
struct RunParams {
    /// Id of this run from the caller, which tells overlapping runs apart.
    rid: Option<String>,
    /// With a ping key: 1 creates a monitor for an unknown slug, if the file of the ping key
    /// defines how.
    create: Option<String>,
}

/// What is answered: OK, or that a monitor was made.
type Answer = (StatusCode, &'static str);

/// Receives the ping of a job that has succeeded; the body of a POST is its output.
#[utoipa::path(
    method(get, post), path = "/ping/{key}", tag = "heartbeats", request_body = String,
    params(("key" = String, Path, description = "The key of the monitor, or its name"), RunParams),
    responses(
        (status = 200, description = "OK", body = String),
        (status = 404, description = "No heartbeat has this key"),
        (status = 413, description = "The body is too large"),
    )
)]
async fn success(
    State(api): State<Api>,
    Path(key): Path<String>,
    Query(run): Query<RunParams>,
    RawBody(body): RawBody,
) -> Result<Answer, Problem> {
    take(&api, Whom::Key(&key), PingKind::Success, run, &body).await
}

/// Receives another ping of a job: `start`, `success`, `fail`, `log`, or its exit code.
#[utoipa::path(
    operation_id = "ping_signal", method(get, post), path = "/ping/{key}/{signal}", tag = "heartbeats",
    request_body = String,
    params(
        ("key" = String, Path, description = "The key of the monitor, or its name"),
        ("signal" = String, Path, description = "start, success, fail, log, or an exit code"),
        RunParams,
    ),
    responses(
        (status = 200, description = "OK", body = String),
        (status = 404, description = "No heartbeat has this key"),
        (status = 413, description = "The body is too large"),
    )
)]
async fn signal(
    State(api): State<Api>,
    Path((key, signal)): Path<(String, String)>,
    Query(run): Query<RunParams>,
    RawBody(body): RawBody,
) -> Result<Answer, Problem> {
    let (whom, kind) = meant(&api, &key, &signal)?;
    take(&api, whom, kind, run, &body).await
}

/// Receives a ping with a ping key and a slug: `start`, `success`, `fail`, `log`, or an exit code.
#[utoipa::path(
    operation_id = "ping_slug", method(get, post), path = "/ping/{key}/{slug}/{signal}",
    tag = "heartbeats", request_body = String,
    params(
        ("key" = String, Path, description = "A ping key"),
        ("slug" = String, Path, description = "The slug of the monitor"),
        ("signal" = String, Path, description = "start, success, fail, log, or an exit code"),
        RunParams,
    ),
    responses(
        (status = 200, description = "OK", body = String),
        (status = 201, description = "Monitor created", body = String),
        (status = 404, description = "No heartbeat has this key and slug"),
        (status = 409, description = "The monitor cannot be made"),
        (status = 413, description = "The body is too large"),
    )
)]
async fn slug_signal(
    State(api): State<Api>,
    Path((key, slug, signal)): Path<(String, String, String)>,
    Query(run): Query<RunParams>,
    RawBody(body): RawBody,
) -> Result<Answer, Problem> {
    let whom = Whom::Slug(opened(&api, &key)?, &slug);
    take(&api, whom, kind(&signal)?, run, &body).await
}

/// Who is called.
enum Whom<'a> {
    /// The monitor of a key of its own, or of this name.
    Key(&'a str),
    /// The monitor that a ping key of this name opens by a slug.
    Slug(Arc<str>, &'a str),
}

/// What two parts of a path mean: a ping key and a slug, or the key of a monitor and a signal.
fn meant<'a>(api: &Api, key: &'a str, second: &'a str) -> Result<(Whom<'a>, PingKind), Problem> {
    match api.engine.ping_key(key) {
        Some(ping_key) => Ok((Whom::Slug(ping_key, second), PingKind::Success)),
        None => Ok((Whom::Key(key), kind(second)?)),
    }
}

/// The name of the ping key that is given.
fn opened(api: &Api, key: &str) -> Result<Arc<str>, Problem> {
    api.engine.ping_key(key).ok_or_else(nobody)
}

fn nobody() -> Problem {
    // Keys are secrets of a kind: they are not repeated in answers.
    Problem::not_found("nobody waits for calls with this key")
}

fn kind(signal: &str) -> Result<PingKind, Problem> {
    Ok(match signal {
        "start" => PingKind::Start,
        "success" => PingKind::Success,
        "fail" => PingKind::Fail,
        "log" => PingKind::Log,
        code => PingKind::Exit(code.parse().map_err(|_| {
            let shown: String = code.chars().take(50).collect();
            Problem::not_found(format!(
                "{shown:?} is not start, success, fail, log or an exit code"
            ))
        })?),
    })
}

async fn take(
    api: &Api,
    whom: Whom<'_>,
    kind: PingKind,
    run: RunParams,
    body: &Bytes,
) -> Result<Answer, Problem> {
    let creates = run.create.as_deref() == Some("1");
    let known = match &whom {
        Whom::Key(key) => Some(api.engine.monitor_of_ping(key).ok_or_else(nobody)?),
        Whom::Slug(ping_key, slug) => api.engine.monitor_of_slug(ping_key, slug),
    };
    if body.len() > BODY_MAX {
        let message = format!("the body is larger than {BODY_MAX} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", message));
    }
    if run.rid.as_ref().is_some_and(|rid| rid.len() > RUN_MAX) {
        return Err(Problem::bad_request(format!("rid is longer than {RUN_MAX} bytes")));
    }
    let (monitor, answer) = match (known, &whom) {
        (Some(monitor), _) => (monitor, (StatusCode::OK, "OK")),
        (None, Whom::Slug(ping_key, slug)) if creates => {
            (made(api, ping_key, slug).await?, (StatusCode::CREATED, "Created"))
        }
        (None, _) => {
            let hint = "Give a heartbeat monitor of the file that has the ping key this slug.";
            return Err(Problem::not_found("nobody waits for calls with this slug").with_hint(hint));
        }
    };
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    // The end, where programs say what went wrong.
    let begin = text.char_indices().rev().nth(PING_TEXT_MAX).map_or(0, |(at, _)| at);
    let text = text.get(begin..).filter(|text| !text.is_empty()).map(Into::into);
    say(api, &monitor, Input::Ping(Ping { kind, run: run.rid.map(Into::into), text })).await?;
    Ok(answer)
}

/// The monitor that a call makes.
async fn made(api: &Api, ping_key: &str, slug: &str) -> Result<Arc<str>, Problem> {
    match api.engine.make_by_ping(ping_key, slug).await? {
        Making::Made(monitor) => Ok(monitor),
        Making::Refused => {
            let message = "no monitor can be made of this slug";
            Err(Problem::not_found(message).with_hint(
                "It takes `create` beside the ping key, and a slug of letters, digits, dots, - and _.",
            ))
        }
        Making::Taken => Err(Problem::conflict("this slug is the name of another monitor")),
        Making::Full(limit) => {
            let message = format!("{limit} monitors were made with this ping key, its limit");
            Err(Problem::conflict(message).with_hint(
                "Define them in a file, delete some, or raise `limit` beside the ping key.",
            ))
        }
    }
}
