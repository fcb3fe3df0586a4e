//! Starting executions.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use engine::Engine;
use kernel::access::{Permission, Resource};
use kernel::definition::{IdempotencyStrategy, Problem as Flaw, inspect_workflow, parse_workflow};
use kernel::graph::{Plan, Start};
use kernel::trace::TraceParent;
use kernel::{ExecutionId, Json};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::Api;
use crate::access::{Actor, Routes, Scope};
use crate::problem::Problem;
use crate::rest::extract::{Body, Object, Path, Query, lenient, object};
use crate::rest::metadata::apart;

pub(super) fn routes() -> Routes {
    let run = || Permission::Run.within(&[Resource::Workflow]);
    Routes::new()
        .on(run(), routes!(start_workflow))
        .on(run(), routes!(start_workflow_by_name))
        .on(run(), routes!(start_workflow_version))
}

/// What to start, as clients write it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StartRequest {
    /// The name of a registered workflow.
    pub(crate) name: Option<String>,
    /// Its version; absent or 0 = the latest.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) version: Option<i64>,
    /// A label of the caller, for searching.
    pub(crate) correlation_id: Option<String>,
    /// The input, an object.
    #[schema(value_type = Option<serde_json::Value>)]
    input: Option<Json>,
    /// Task name (or `*`) to comma-separated domains.
    #[schema(value_type = Option<serde_json::Value>)]
    task_to_domain: Option<Json>,
    /// A definition to run instead of a registered one.
    #[schema(value_type = Option<serde_json::Value>)]
    workflow_def: Option<Box<RawValue>>,
    external_input_payload_storage_path: Option<String>,
    /// 0 to 99; higher values are processed first.
    #[serde(deserialize_with = "lenient::number")]
    priority: Option<i64>,
    /// Name of the requester.
    created_by: Option<String>,
    /// The principal with whose grants the run acts; never taken from a request.
    #[serde(skip)]
    pub(crate) acts_as: Option<Arc<str>>,
    /// The caller's span, from the header `traceparent`.
    #[serde(skip)]
    pub(crate) traceparent: Option<Arc<str>>,
    /// With a strategy: a second start with the same key and name does not start another run.
    idempotency_key: Option<String>,
    /// `FAIL`, `RETURN_EXISTING` or `FAIL_ON_RUNNING`.
    #[schema(value_type = Option<String>)]
    idempotency_strategy: Option<IdempotencyStrategy>,
}

/// The span of a caller, by the header `traceparent`; `None` if it names none.
pub(crate) fn caller_span(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let caller = text.and_then(|text| TraceParent::parse(text.trim()));
    caller.map(|caller| caller.to_string().into())
}

impl StartRequest {
    /// A start of the latest version with this input.
    pub(crate) fn with_input(input: Json) -> Self {
        Self { input: Some(input), ..Self::default() }
    }

    /// The same start as this caller may ask for it: with access control it is said to be by them,
    /// and only editors may bring a definition along, since a definition may name secrets.
    ///
    /// # Errors
    /// 403 for a definition of somebody else.
    pub(crate) fn by(mut self, api: &Api, actor: &Actor) -> Result<Self, Problem> {
        if self.workflow_def.as_ref().is_some_and(|raw| raw.get() != "null") {
            actor.must(api, Permission::Edit, "a start with a definition in `workflowDef`")?;
        }
        if actor.principal().is_some() {
            self.created_by = Some(actor.shown());
            self.acts_as = actor.acts_as();
        }
        Ok(self)
    }

    /// Takes from the headers the idempotency key and strategy where the body names none, and the caller's
    /// span.
    fn with_headers(mut self, headers: &HeaderMap) -> Result<Self, Problem> {
        let text = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        if self.idempotency_key.is_none() {
            self.idempotency_key = text("x-idempotency-key");
        }
        if let (None, Some(strategy)) = (self.idempotency_strategy, text("x-on-conflict")) {
            let strategy = serde_json::from_value(strategy.into()).map_err(|_| {
                Problem::bad_request("X-on-conflict names no strategy")
                    .with_hint("Use FAIL, RETURN_EXISTING or FAIL_ON_RUNNING.")
            })?;
            self.idempotency_strategy = Some(strategy);
        }
        Ok(self.with_caller(headers))
    }

    /// Takes from the headers of which span the start is part. What names none is ignored, as its
    /// specification wants it.
    #[must_use]
    pub(crate) fn with_caller(mut self, headers: &HeaderMap) -> Self {
        self.traceparent = caller_span(headers);
        self
    }

    /// The same start under a key against starting twice; without a strategy a second one is
    /// refused.
    ///
    /// # Errors
    /// 400 for a word that is no strategy.
    pub(crate) fn with_idempotency(
        mut self,
        key: Option<String>,
        strategy: Option<&str>,
    ) -> Result<Self, Problem> {
        let word = strategy.map(str::trim).filter(|word| !word.is_empty()).unwrap_or("FAIL");
        let strategy = serde_json::from_value(word.into()).map_err(|_| {
            Problem::bad_request(format!(
                "there is no idempotency strategy '{word}'; there are FAIL, RETURN_EXISTING and \
                 FAIL_ON_RUNNING"
            ))
        })?;
        self.idempotency_key = key.filter(|key| !key.is_empty());
        self.idempotency_strategy = self.idempotency_key.as_ref().map(|_| strategy);
        Ok(self)
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct StartParams {
    /// Absent or 0 = the latest.
    version: Option<i64>,
    correlation_id: Option<String>,
    /// 0 to 99; higher values are processed first.
    priority: Option<i64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct StartVersionParams {
    correlation_id: Option<String>,
    /// 0 to 99; higher values are processed first.
    priority: Option<i64>,
}

/// Starts a workflow and returns the id of the execution.
#[utoipa::path(
    post, path = "/api/workflow", tag = "workflow", request_body = StartRequest,
    responses((status = 200, description = "The id of the execution", body = String))
)]
async fn start_workflow(
    state: axum::extract::State<Api>,
    actor: Actor,
    scope: Scope,
    headers: HeaderMap,
    Body(request): Body<Option<StartRequest>>,
) -> Result<String, Problem> {
    let request = request.unwrap_or_default().with_headers(&headers)?.by(&state, &actor)?;
    let name = request.name.as_deref().unwrap_or_default();
    scope.must_cover_workflow(&state.engine, name).await?;
    let id = begin(&state.engine, request).await?;
    Ok(id.to_string())
}

/// Starts a workflow by name; the body is its input.
#[utoipa::path(
    post, path = "/api/workflow/{id}", tag = "workflow", request_body = serde_json::Value,
    params(("id" = String, Path, description = "The name of the workflow"), StartParams),
    responses((status = 200, description = "The id of the execution", body = String))
)]
async fn start_workflow_by_name(
    state: axum::extract::State<Api>,
    actor: Actor,
    scope: Scope,
    Path(name): Path<String>,
    Query(params): Query<StartParams>,
    headers: HeaderMap,
    Object(input): Object,
) -> Result<String, Problem> {
    scope.must_cover_workflow(&state.engine, &name).await?;
    let request = StartRequest {
        name: Some(name),
        version: params.version,
        correlation_id: params.correlation_id,
        priority: params.priority,
        ..StartRequest::with_input(input)
    };
    let request = request.with_headers(&headers)?.by(&state, &actor)?;
    let id = begin(&state.engine, request).await?;
    Ok(id.to_string())
}

/// Starts one version of a workflow; the body is its input.
#[utoipa::path(
    post, path = "/api/workflow/start/{name}/{version}", tag = "workflow",
    request_body = serde_json::Value,
    params(
        ("name" = String, Path, description = "The name of the workflow"),
        ("version" = i64, Path, description = "Its version; 0 = the latest"),
        StartVersionParams,
    ),
    responses((status = 200, description = "The id of the execution", body = String))
)]
async fn start_workflow_version(
    state: axum::extract::State<Api>,
    actor: Actor,
    scope: Scope,
    Path((name, version)): Path<(String, i64)>,
    Query(params): Query<StartVersionParams>,
    headers: HeaderMap,
    input: Object,
) -> Result<String, Problem> {
    let StartVersionParams { correlation_id, priority } = params;
    let params = Query(StartParams { version: Some(version), correlation_id, priority });
    start_workflow_by_name(state, actor, scope, Path(name), params, headers, input).await
}

/// Starts an execution; it is durable when its id is answered.
pub(crate) async fn begin(engine: &Engine, request: StartRequest) -> Result<ExecutionId, Problem> {
    let (request, (plan, input, priority)) = checked_aside(engine, request).await?;
    let key = request.idempotency_key.filter(|key| !key.is_empty());
    let strategy = request.idempotency_strategy.filter(|_| key.is_some());
    let start = Start {
        plan,
        input,
        correlation_id: request.correlation_id.filter(|label| !label.is_empty()).map(Arc::from),
        priority,
        task_to_domain: domains(request.task_to_domain)?,
        parent: None,
        asked_by: None,
        event: None,
        created_by: request.created_by.filter(|name| !name.is_empty()).map(Arc::from),
        acts_as: request.acts_as,
        idempotency_key: key.map(Arc::from),
        traceparent: request.traceparent,
    };
    Ok(engine.begin(start, strategy).await?.id().clone())
}

/// Starts an execution under an id of the caller's choice; it is durable when this returns.
///
/// # Errors
/// 409 if there is one of that id.
pub(crate) async fn begin_as(
    engine: &Engine,
    request: StartRequest,
    id: &ExecutionId,
) -> Result<(), Problem> {
    let (request, checked) = checked_aside(engine, request).await?;
    let start = detached(request, checked)?;
    Ok(engine.begin_at(id, start).await?)
}

/// 400 with every violation, if the input does not fit the schema of the definition.
fn check_input(engine: &Engine, plan: &Plan, given: &Json) -> Result<(), Problem> {
    let input = plan.with_defaults(given);
    let violations =
        plan.input_violations(&input, engine.scripts()).map_err(Problem::bad_request)?;
    if violations.is_empty() {
        return Ok(());
    }
    let flaws = violations.into_iter().map(|violation| {
        let pointer = format!("/input{}", violation.pointer);
        let hint = "Send an input that fits the inputSchema of the definition.";
        Flaw::new(pointer, "schema-violation", violation.message, hint)
    });
    Err(Problem::invalid(flaws.collect()))
}

/// A start that nothing keeps from being done again: one that is only rehearsed, or that has an id.
pub(super) fn rehearsed(engine: &Engine, request: StartRequest) -> Result<Start, Problem> {
    let checked = checked(engine, &request)?;
    detached(request, checked)
}

fn detached(
    request: StartRequest,
    (plan, input, priority): (Arc<Plan>, Json, u8),
) -> Result<Start, Problem> {
    Ok(Start {
        plan,
        input,
        correlation_id: request.correlation_id.filter(|label| !label.is_empty()).map(Arc::from),
        priority,
        task_to_domain: domains(request.task_to_domain)?,
        parent: None,
        asked_by: None,
        event: None,
        created_by: request.created_by.filter(|name| !name.is_empty()).map(Arc::from),
        acts_as: request.acts_as,
        idempotency_key: None,
        traceparent: request.traceparent,
    })
}

/// As [`checked`]. Where scripts are compiled, an input is judged by a schema or a plan is made, the
/// threads that serve have no part in it.
///
/// # Errors
/// What is wrong with the start.
pub(crate) async fn checked_aside(
    engine: &Engine,
    request: StartRequest,
) -> Result<(StartRequest, (Arc<Plan>, Json, u8)), Problem> {
    if is_quick(engine, &request) {
        let checked = checked(engine, &request)?;
        return Ok((request, checked));
    }
    let engine = engine.clone();
    apart(move || checked(&engine, &request).map(|checked| (request, checked))).await
}

/// Whether a start takes a plan that is there already, and nothing is evaluated before it.
fn is_quick(engine: &Engine, request: &StartRequest) -> bool {
    let name = request.name.as_deref().unwrap_or_default();
    let version = request.version.filter(|version| *version != 0).map(u32::try_from);
    let Ok(version) = version.transpose() else { return true };
    let planned = engine.definitions().planned(name, version);
    request.workflow_def.is_none()
        && planned.is_none_or(|plan| plan.is_some_and(|it| it.definition.input_schema.is_none()))
}

/// Everything that can be wrong with a start before the engine is asked.
fn checked(engine: &Engine, request: &StartRequest) -> Result<(Arc<Plan>, Json, u8), Problem> {
    let priority = request.priority.unwrap_or(0);
    let priority = u8::try_from(priority).ok().filter(|priority| *priority <= 99);
    let priority = priority
        .ok_or_else(|| Problem::bad_request("priority must be a number from 0 to 99".to_owned()))?;
    if request.external_input_payload_storage_path.as_ref().is_some_and(|path| !path.is_empty()) {
        return Err(external_storage());
    }
    let input = request.input.clone().unwrap_or_default();
    let input = object(input, "'input'")?;
    let payload_max = engine.limits().payload_max;
    if input.len() > payload_max {
        let message = format!(
            "the input of {} bytes exceeds the limit of {payload_max} bytes (payload_max)",
            input.len()
        );
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", message));
    }
    let plan = plan_of(engine, request)?;
    check_input(engine, &plan, &input)?;
    Ok((plan, input, priority))
}

fn plan_of(engine: &Engine, request: &StartRequest) -> Result<Arc<Plan>, Problem> {
    let name = request.name.as_deref().unwrap_or_default();
    if let Some(definition) = request.workflow_def.as_ref().filter(|raw| raw.get() != "null") {
        return inline_plan(engine, name, definition);
    }
    if name.trim().is_empty() {
        let flaw = Flaw::new(
            "/name",
            "name-missing",
            "Workflow name cannot be null or empty",
            "Name a registered workflow, or carry a definition in workflowDef.",
        );
        return Err(Problem::invalid(vec![flaw]));
    }
    let version = request.version.filter(|version| *version != 0);
    let plan = match version.map(u32::try_from) {
        None => engine.definitions().plan(name, None),
        Some(Ok(version)) => engine.definitions().plan(name, Some(version)),
        Some(Err(_)) => None,
    };
    plan.ok_or_else(|| {
        let version = version.map_or(String::new(), |version| format!(", version: {version}"));
        Problem::not_found(format!("No such workflow found by name: {name}{version}"))
    })
}

/// The plan of a definition that came with the request.
pub(super) fn inline_plan(
    engine: &Engine,
    name: &str,
    definition: &RawValue,
) -> Result<Arc<Plan>, Problem> {
    let within = |flaws: Vec<Flaw>| {
        Problem::invalid(flaws.into_iter().map(|flaw| flaw.under("/workflowDef")).collect())
    };
    let mut definition = parse_workflow(definition.get()).map_err(within)?;
    if definition.name.is_empty() {
        name.clone_into(&mut definition.name);
    }
    let definitions = engine.definitions();
    let templates = |task: &str, key: &str| {
        definitions.task(task).is_some_and(|task| task.input_template.contains_key(key))
    };
    let findings = inspect_workflow(&definition, engine.scripts(), &templates);
    if !findings.problems.is_empty() {
        return Err(within(findings.problems));
    }
    Ok(definitions.pin(definition))
}

fn domains(domains: Option<Json>) -> Result<Option<Json>, Problem> {
    let Some(domains) = domains.filter(|domains| !domains.is_null()) else { return Ok(None) };
    let parsed: std::collections::BTreeMap<String, String> = serde_json::from_str(domains.text())
        .map_err(|_| {
        Problem::bad_request("'taskToDomain' must be an object of texts".to_owned())
    })?;
    Ok((!parsed.is_empty()).then_some(domains))
}

/// 400 for payloads outside the store.
pub(in crate::rest) fn external_storage() -> Problem {
    Problem::bad_request("external payload storage is not supported").with_hint(
        "Send payloads in the request itself; see payload_max for how large they may be.",
    )
}
