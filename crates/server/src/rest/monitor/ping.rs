//! `/ping/{key}`: the calls of jobs that a heartbeat monitor waits for. Made for `curl` at the end
//! of a line of cron: any method, any body, a short answer.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use kernel::access::Need;
use kernel::alert::{Input, Ping, PingKind, TEXT_MAX};
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
        .on(Need::Proof, routes!(success, success_by_post))
        .on(Need::Proof, routes!(signal, signal_by_post))
}

/// Bytes of a body that are taken; only the beginning is kept.
const BODY_MAX: usize = 100_000;
/// Bytes of a run's name.
const RUN_MAX: usize = 200;

#[derive(Debug, Deserialize, IntoParams)]
struct RunParams {
    /// The caller's name for this run, which tells overlapping runs apart.
    rid: Option<String>,
}

/// Takes the call of a job that has ended well.
#[utoipa::path(
    get, path = "/ping/{key}", tag = "heartbeats",
    params(("key" = String, Path, description = "The key of the monitor, or its name"), RunParams),
    responses(
        (status = 200, description = "OK", body = String),
        (status = 404, description = "Nobody waits for calls with this key"),
    )
)]
async fn success(
    State(api): State<Api>,
    Path(key): Path<String>,
    Query(run): Query<RunParams>,
) -> Result<&'static str, Problem> {
    take(&api, &key, PingKind::Success, run, &Bytes::new()).await
}

/// Takes the call of a job that has ended well, with what it says.
#[utoipa::path(
    post, path = "/ping/{key}", tag = "heartbeats", request_body = String,
    params(("key" = String, Path, description = "The key of the monitor, or its name"), RunParams),
    responses(
        (status = 200, description = "OK", body = String),
        (status = 404, description = "Nobody waits for calls with this key"),
        (status = 413, description = "The body is too large"),
    )
)]
async fn success_by_post(
    State(api): State<Api>,
    Path(key): Path<String>,
    Query(run): Query<RunParams>,
    RawBody(body): RawBody,
) -> Result<&'static str, Problem> {
    take(&api, &key, PingKind::Success, run, &body).await
}

/// Takes another call of a job: `start`, `success`, `fail`, `log`, or the code with which it ended.
#[utoipa::path(
    operation_id = "ping_signal", get, path = "/ping/{key}/{signal}", tag = "heartbeats",
    params(
        ("key" = String, Path, description = "The key of the monitor, or its name"),
        ("signal" = String, Path, description = "start, success, fail, log, or an exit code"),
        RunParams,
    ),
    responses(
        (status = 200, description = "OK", body = String),
        (status = 404, description = "Nobody waits for calls with this key"),
    )
)]
async fn signal(
    State(api): State<Api>,
    Path((key, signal)): Path<(String, String)>,
    Query(run): Query<RunParams>,
) -> Result<&'static str, Problem> {
    take(&api, &key, kind(&signal)?, run, &Bytes::new()).await
}

/// Takes another call of a job, with what it says.
#[utoipa::path(
    post, path = "/ping/{key}/{signal}", tag = "heartbeats", request_body = String,
    params(
        ("key" = String, Path, description = "The key of the monitor, or its name"),
        ("signal" = String, Path, description = "start, success, fail, log, or an exit code"),
        RunParams,
    ),
    responses(
        (status = 200, description = "OK", body = String),
        (status = 404, description = "Nobody waits for calls with this key"),
        (status = 413, description = "The body is too large"),
    )
)]
async fn signal_by_post(
    State(api): State<Api>,
    Path((key, signal)): Path<(String, String)>,
    Query(run): Query<RunParams>,
    RawBody(body): RawBody,
) -> Result<&'static str, Problem> {
    take(&api, &key, kind(&signal)?, run, &body).await
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
    key: &str,
    kind: PingKind,
    run: RunParams,
    body: &Bytes,
) -> Result<&'static str, Problem> {
    // Keys are secrets of a kind: they are not repeated in answers.
    let monitor = api.engine.monitor_of_ping(key);
    let monitor =
        monitor.ok_or_else(|| Problem::not_found("nobody waits for calls with this key"))?;
    if body.len() > BODY_MAX {
        let message = format!("the body is larger than {BODY_MAX} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", message));
    }
    if run.rid.as_ref().is_some_and(|rid| rid.len() > RUN_MAX) {
        return Err(Problem::bad_request(format!("rid is longer than {RUN_MAX} bytes")));
    }
    let text: String = String::from_utf8_lossy(body).trim().chars().take(TEXT_MAX).collect();
    let text = Some(text).filter(|text| !text.is_empty()).map(Into::into);
    say(api, &monitor, Input::Ping(Ping { kind, run: run.rid.map(Into::into), text })).await?;
    Ok("OK")
}
