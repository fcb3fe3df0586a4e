//! Starting instances, and waiting for what comes of them.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::Engine;
use kernel::access::{Permission, Resource};
use kernel::durable::{ID_MAX, ORCHESTRATION, WORKFLOW};
use kernel::{ExecutionId, Json};
use utoipa_axum::routes;

use super::caller::{Caller, FAILURE_IS_500};
use super::refusal::Refusal;
use super::status::{RuntimeStatus, Wishes};
use super::{Subject, code, graph, graph_id, show, wanted_id};
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;
use crate::rest::extract::{Answer, Path, RawBody, parse};
use crate::rest::workflow::{StartRequest, checked_aside};

pub(super) fn routes() -> Routes {
    let run = || Permission::Run.within(&[Resource::Hub]);
    Routes::new().on(run(), routes!(start_new)).on(run(), routes!(start_as))
}

/// Longest wait for an end, in seconds.
const WAIT_MAX: f64 = 3600.0;

/// What shall be started.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The name of a definition, or of an orchestrator: with [`ORCHESTRATION`] or [`WORKFLOW`]
    /// before it, whichever that says.
    pub(crate) name: String,
    /// What no definition bears the name of is an orchestrator that some worker will know.
    pub(crate) or_code: bool,
    /// Its version; absent = the latest.
    pub(crate) version: Option<String>,
    /// The id that the instance shall have; absent = a new one.
    pub(crate) id: Option<String>,
    /// The input.
    pub(crate) input: Json,
    /// A label to find it by.
    pub(crate) correlation_id: Option<String>,
}

/// Starts an instance in the caller's hub and answers its id; it is durable then.
///
/// # Errors
/// There is no such definition, the input does not fit it, or an instance of that id runs.
pub(crate) async fn begin(
    engine: &Engine,
    caller: &Caller,
    wanted: Wanted,
) -> Result<String, Problem> {
    let problem =
        |refusal: Refusal| Problem::new(refusal.status(), "bad-request", refusal.message());
    let id = wanted.id.as_deref().filter(|id| !id.is_empty());
    let id = id.map(wanted_id).transpose().map_err(problem)?;
    let hub = caller.own_hub().map_err(problem)?;
    let version = wanted.version.as_deref();
    let code = match wanted.name.strip_prefix(ORCHESTRATION) {
        Some(rest) => rest.split_once('/').map_or(rest, |(_, name)| name),
        None => wanted.name.as_str(),
    };
    let named = code.len() < wanted.name.len();
    let graph = wanted.name.strip_prefix(WORKFLOW).unwrap_or(&wanted.name);
    let unknown =
        || graph.len() == wanted.name.len() && engine.definitions().plan(graph, None).is_none();
    if named || (wanted.or_code && unknown()) {
        // Whoever may not see executions can take none of them away either: ids of the two dialects
        // are apart.
        if let Some(id) = id.filter(|_| caller.scope().is_all()).and_then(graph_id) {
            // Everything is looked at before anything is removed.
            if id.as_str().len() > ID_MAX {
                let message = format!("The instance ID is longer than {ID_MAX} bytes.");
                return Err(Problem::bad_request(message));
            }
            graph::give_way(engine, &id).await?;
        }
        let acts_as = caller.acts_as();
        let from = code::From { acts_as, trace: caller.trace() };
        return code::start(engine, hub, code, version, id, &wanted.input, from).await;
    }
    caller.scope().must_cover_workflow(engine, graph).await?;
    if id.is_some() && !caller.scope().is_all() {
        let message = "a start of a workflow under an id of one's choice needs the permission run \
                       on everything";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", message)
            .with_hint("Leave the id out."));
    }
    let mut request = StartRequest::with_input(graph::meant(wanted.input));
    request.name = Some(graph.to_owned());
    request.acts_as = caller.acts_as();
    request.traceparent = caller.trace().map(|trace| trace.parent);
    request.correlation_id = wanted.correlation_id;
    request.version = version
        .map(str::parse)
        .transpose()
        .map_err(|_| Problem::bad_request("The version of a workflow must be a whole number."))?;
    if let Some(id) = id {
        request = checked_aside(engine, request).await?.0;
        code::give_way(engine, &ExecutionId::instance(hub, id)).await?;
    }
    let id = id.and_then(graph_id);
    Ok(graph::start(engine, request, id).await?.to_string())
}

/// Starts an instance of a definition, or of an orchestrator; the body is its input.
#[utoipa::path(
    post, path = "/runtime/webhooks/durabletask/orchestrators/{name}", tag = "durable",
    request_body = serde_json::Value,
    params(
        ("name" = String, Path, description = "The name of a definition or of an orchestrator"),
        ("version" = Option<String>, Query, description = "Its version; the latest if absent"),
        ("timeout" = Option<f64>, Query, description = "Wait so many seconds for the end"),
    ),
    responses(
        (status = 202, description = "Started: URLs to query and control the instance", body = serde_json::Value),
        (status = 200, description = "The orchestration ended within the timeout: its output", body = serde_json::Value),
        (status = 400, description = "The input does not fit, or there is no such version"),
    )
)]
async fn start_new(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    RawBody(body): RawBody,
) -> Result<Response, Refusal> {
    start(&api.engine, &caller, name, None, &body).await
}

/// Starts an instance under an id that the caller chooses; an ended instance of that id is
/// replaced.
#[utoipa::path(
    post, path = "/runtime/webhooks/durabletask/orchestrators/{name}/{id}", tag = "durable",
    request_body = serde_json::Value,
    params(
        ("name" = String, Path, description = "The name of a definition or of an orchestrator"),
        ("id" = String, Path, description = "The id of the instance"),
        ("version" = Option<String>, Query, description = "Its version; the latest if absent"),
        ("timeout" = Option<f64>, Query, description = "Wait so many seconds for the end"),
    ),
    responses(
        (status = 202, description = "Started: URLs to query and control the instance", body = serde_json::Value),
        (status = 200, description = "The orchestration ended within the timeout: its output", body = serde_json::Value),
        (status = 400, description = "The input does not fit, or there is no such version"),
        (status = 409, description = "An instance of that id has not ended"),
    )
)]
async fn start_as(
    State(api): State<Api>,
    caller: Caller,
    Path((name, id)): Path<(String, String)>,
    RawBody(body): RawBody,
) -> Result<Response, Refusal> {
    start(&api.engine, &caller, name, Some(id), &body).await
}

async fn start(
    engine: &Engine,
    caller: &Caller,
    name: String,
    id: Option<String>,
    body: &[u8],
) -> Result<Response, Refusal> {
    let input: Json = parse(body).map_err(Refusal::invalid_json)?;
    let caller = &caller.meaning(&name);
    let version = caller.text("version").map(str::to_owned);
    let wanted = Wanted { name, or_code: true, version, id, input, correlation_id: None };
    let id = begin(engine, caller, wanted).await.map_err(|mut problem| {
        // To this protocol, an unknown function is a wrong request.
        if problem.status == StatusCode::NOT_FOUND {
            problem.status = StatusCode::BAD_REQUEST;
        }
        problem
    })?;
    answer(engine, caller, &id).await
}

/// Links to what was started; or, if the caller wants to wait and it ends in time, what came of it.
pub(super) async fn answer(
    engine: &Engine,
    caller: &Caller,
    id: &str,
) -> Result<Response, Refusal> {
    let seconds = caller.text("timeout").and_then(|text| text.trim().parse::<f64>().ok());
    match seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0) {
        Some(seconds) => {
            let wait = Duration::from_secs_f64(seconds.min(WAIT_MAX));
            wait_or_check(engine, caller, id, wait).await
        }
        None => Ok(caller.check_status(id)),
    }
}

/// As [`wait_or_check`], with failures in the protocol's words.
pub(crate) async fn answer_within(
    engine: &Engine,
    caller: &Caller,
    id: &str,
    wait: Duration,
) -> Response {
    wait_or_check(engine, caller, id, wait).await.unwrap_or_else(Refusal::into_response)
}

/// What came of an instance, if it ends in time; else the links to it.
async fn wait_or_check(
    engine: &Engine,
    caller: &Caller,
    id: &str,
    wait: Duration,
) -> Result<Response, Refusal> {
    let subject = super::find(engine, caller, id).await?;
    let wishes = Wishes { input: true, history: false, history_output: false };
    if !ended(engine, &subject, wait).await? {
        return Ok(caller.check_status(id));
    }
    let standing = show(engine, &subject, wishes).await?;
    Ok(match standing.runtime_status {
        RuntimeStatus::Completed => Answer(standing.output).into_response(),
        RuntimeStatus::Failed if caller.flag(FAILURE_IS_500) == Some(true) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Answer(Json::of(&standing))).into_response()
        }
        _ => Answer(Json::of(&standing)).into_response(),
    })
}

/// Waits until an instance has ended; `false` if it does not in time.
async fn ended(engine: &Engine, subject: &Subject, wait: Duration) -> Result<bool, Refusal> {
    let id = subject.id();
    let deadline = tokio::time::Instant::now() + wait;
    // Watched before it is looked at: a change in between is not missed.
    let mut watch = engine.watch(id);
    let wishes = Wishes { input: false, history: false, history_output: false };
    while !show(engine, subject, wishes).await?.runtime_status.is_closed() {
        tokio::select! {
            biased;
            changed = watch.changed() => if changed.is_err() { return Ok(false) },
            () = tokio::time::sleep_until(deadline) => return Ok(false),
            () = engine.stopped() => return Ok(false),
        }
    }
    Ok(true)
}
