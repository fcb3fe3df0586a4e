//! Steering instances: events, ends, pauses, and second tries.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use engine::Engine;
use kernel::Json;
use kernel::access::{Permission, Resource};
use kernel::durable::instance::{Input, Instance};
use kernel::graph::Control;
use utoipa_axum::routes;

use super::caller::Caller;
use super::refusal::Refusal;
use super::start::answer;
use super::status::{RuntimeStatus, Wishes};
use super::{Subject, code, find, graph, show};
use crate::Api;
use crate::access::Routes;
use crate::rest::extract::{Path, RawBody, parse};

pub(super) fn routes() -> Routes {
    let run = || Permission::Run.within(&[Resource::Hub]);
    Routes::new()
        .on(run(), routes!(raise_event))
        .act(run(), routes!(terminate_instance))
        .act(run(), routes!(suspend_instance))
        .act(run(), routes!(resume_instance))
        .act(run(), routes!(rewind_instance))
        .act(run(), routes!(restart_instance))
        .on(Permission::Run, routes!(make_primary))
}

/// Raises an event for an instance; the body is its payload.
#[utoipa::path(
    post, path = "/runtime/webhooks/durabletask/instances/{id}/raiseEvent/{event}", tag = "durable",
    request_body = serde_json::Value,
    params(
        ("id" = String, Path, description = "The id of the instance"),
        ("event" = String, Path, description = "The name of the event, in any case"),
    ),
    responses(
        (status = 202, description = "Accepted"),
        (status = 400, description = "The body is not JSON"),
        (status = 404, description = "No such instance"),
        (status = 410, description = "The instance has ended"),
    )
)]
async fn raise_event(
    State(api): State<Api>,
    caller: Caller,
    Path((id, event)): Path<(String, String)>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<StatusCode, Refusal> {
    let (subject, _) = open(&api.engine, &caller, &id).await?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::bad_request("Only application/json request content is supported"));
    }
    let data: Json = parse(&body).map_err(Refusal::invalid_json)?;
    match &subject {
        Subject::Code(id) => code::act(&api.engine, id, code::raise(&event, &data)).await?,
        Subject::Graph(id) => graph::raise(&api.engine, id, &event, data).await?,
    }
    Ok(StatusCode::ACCEPTED)
}

/// Terminates an instance and the sub-orchestrations that it waits for.
#[utoipa::path(
    post, path = "/runtime/webhooks/durabletask/instances/{id}/terminate", tag = "durable",
    params(
        ("id" = String, Path, description = "The id of the instance"),
        ("reason" = Option<String>, Query, description = "Why, for the record"),
    ),
    responses(
        (status = 202, description = "Termination accepted"),
        (status = 404, description = "No such instance"),
        (status = 410, description = "It has ended"),
    )
)]
async fn terminate_instance(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let reason = graph::reason(caller.text("reason"));
    match open(&api.engine, &caller, &id).await?.0 {
        Subject::Code(id) => code::act(&api.engine, &id, code::terminate(reason)).await?,
        Subject::Graph(id) => {
            let control = Control::Terminate { reason, failure_workflow: false };
            graph::act(&api.engine, &id, control).await?;
        }
    }
    Ok(StatusCode::ACCEPTED)
}

/// Suspends an instance until it is resumed.
#[utoipa::path(
    post, path = "/runtime/webhooks/durabletask/instances/{id}/suspend", tag = "durable",
    params(
        ("id" = String, Path, description = "The id of the instance"),
        ("reason" = Option<String>, Query, description = "Why, for the record"),
    ),
    responses(
        (status = 202, description = "Suspension accepted"),
        (status = 404, description = "No such instance"),
        (status = 410, description = "It has ended"),
        (status = 500, description = "It is suspended already"),
    )
)]
async fn suspend_instance(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    set_suspended(&api.engine, &caller, &id, true).await
}

/// Resumes a suspended instance.
#[utoipa::path(
    post, path = "/runtime/webhooks/durabletask/instances/{id}/resume", tag = "durable",
    params(
        ("id" = String, Path, description = "The id of the instance"),
        ("reason" = Option<String>, Query, description = "Why, for the record"),
    ),
    responses(
        (status = 202, description = "Resume accepted"),
        (status = 404, description = "No such instance"),
        (status = 410, description = "It has ended"),
        (status = 500, description = "It is not suspended"),
    )
)]
async fn resume_instance(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    set_suspended(&api.engine, &caller, &id, false).await
}

/// Suspends an instance, or lets it go on.
///
/// # Errors
/// 404 if there is none, 410 if it has ended, 500 if it stands so already.
async fn set_suspended(
    engine: &Engine,
    caller: &Caller,
    id: &str,
    suspended: bool,
) -> Result<StatusCode, Refusal> {
    let (subject, status) = open(engine, caller, id).await?;
    if is_suspended(engine, &subject, status).await? == suspended {
        let stands = if suspended { "is suspended already" } else { "is not suspended" };
        return Err(Refusal::wrong(format!("The instance '{id}' {stands}.")));
    }
    let reason = graph::reason(caller.text("reason"));
    let (input, control) = if suspended {
        (Input::Suspend { reason }, Control::Pause)
    } else {
        (Input::Resume { reason }, Control::Resume)
    };
    match subject {
        Subject::Code(id) => code::act(engine, &id, input).await?,
        Subject::Graph(id) => graph::act(engine, &id, control).await?,
    }
    Ok(StatusCode::ACCEPTED)
}

/// Rewinds a failed instance: it continues from where it failed.
#[utoipa::path(
    post, path = "/runtime/webhooks/durabletask/instances/{id}/rewind", tag = "durable",
    params(
        ("id" = String, Path, description = "The id of the instance"),
        ("reason" = Option<String>, Query, description = "Why, for the record"),
    ),
    responses(
        (status = 202, description = "Rewind accepted"),
        (status = 404, description = "No such instance"),
        (status = 410, description = "It has ended without failing"),
        (status = 412, description = "It has not ended"),
    )
)]
async fn rewind_instance(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let subject = find(&api.engine, &caller, &id).await?;
    match status_of(&api.engine, &subject).await? {
        RuntimeStatus::Failed => {}
        status if status.is_closed() => return Err(Refusal::gone(&id, status.as_str())),
        status => {
            let message = format!(
                "The instance '{id}' is {}: only one that has failed can be rewound.",
                status.as_str()
            );
            return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, message));
        }
    }
    let reason = graph::reason(caller.text("reason"));
    match subject {
        Subject::Code(id) => code::act(&api.engine, &id, Input::Rewind { reason }).await?,
        Subject::Graph(id) => {
            graph::act(&api.engine, &id, Control::Retry { descend: true }).await?;
        }
    }
    Ok(StatusCode::ACCEPTED)
}

/// Restarts an instance with its original input, under a new id or its own.
#[utoipa::path(
    post, path = "/runtime/webhooks/durabletask/instances/{id}/restart", tag = "durable",
    params(
        ("id" = String, Path, description = "The id of the instance"),
        ("restartWithNewInstanceId" = Option<bool>, Query, description = "Default true"),
        ("timeout" = Option<f64>, Query, description = "Wait so many seconds for the end"),
    ),
    responses(
        (status = 202, description = "Started: URLs to query and control the instance", body = serde_json::Value),
        (status = 400, description = "No such instance"),
        (status = 409, description = "It has not ended, so its id is in use"),
    )
)]
async fn restart_instance(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let engine = &api.engine;
    let unknown = || {
        Refusal::bad_request("InstanceId does not match a valid orchestration instance.".to_owned())
    };
    let subject = find(engine, &caller, &id).await.map_err(|refusal| match refusal.status() {
        StatusCode::NOT_FOUND => unknown(),
        _ => refusal,
    })?;
    let anew = caller.flag("restartWithNewInstanceId") != Some(false);
    if !anew && !status_of(engine, &subject).await?.is_closed() {
        let message = "A non-terminal instance with this instance ID already exists.";
        return Err(Refusal::new(StatusCode::CONFLICT, message));
    }
    let begun = match subject {
        Subject::Code(id) => {
            let restarted = engine.restart_instance(&id, anew, caller.acts_as()).await?;
            restarted.local_name().to_owned()
        }
        Subject::Graph(id) if anew => graph::start_again(engine, &id, caller.acts_as())
            .await?
            .ok_or_else(unknown)?
            .to_string(),
        Subject::Graph(id) => {
            let control = Control::Restart { plan: None, input: None, correlation_id: None };
            graph::act(engine, &id, control).await?;
            id.to_string()
        }
    };
    answer(engine, &caller, &begun).await
}

/// Does nothing: there is one server, which is the primary one.
#[utoipa::path(
    post, path = "/runtime/webhooks/durabletask/makeprimary", tag = "durable",
    responses((status = 200, description = "Nothing to do"))
)]
async fn make_primary() -> StatusCode {
    StatusCode::OK
}

/// Whether an instance is suspended, or will be as soon as its worker has heard of all that it was
/// told: before that, its status does not show it.
async fn is_suspended(
    engine: &Engine,
    subject: &Subject,
    status: RuntimeStatus,
) -> Result<bool, Refusal> {
    let told = match subject {
        Subject::Code(id) => engine.instance(id, Instance::is_suspended).await?,
        Subject::Graph(_) => None,
    };
    Ok(told.unwrap_or(status == RuntimeStatus::Suspended))
}

async fn status_of(engine: &Engine, subject: &Subject) -> Result<RuntimeStatus, Refusal> {
    let wishes = Wishes { input: false, history: false, history_output: false };
    Ok(show(engine, subject, wishes).await?.runtime_status)
}

/// An instance that has not ended, and where it stands.
async fn open(
    engine: &Engine,
    caller: &Caller,
    id: &str,
) -> Result<(Subject, RuntimeStatus), Refusal> {
    let subject = find(engine, caller, id).await?;
    let status = status_of(engine, &subject).await?;
    if status.is_closed() {
        return Err(Refusal::gone(id, status.as_str()));
    }
    Ok((subject, status))
}
