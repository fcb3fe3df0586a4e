//! Requests at the paths of triggers: the trigger that fits is looked for, and does its work.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::search::{Filter, Search, Sort, SortField, TextField, TimeField};
use engine::{ActsOn, Authored, Engine};
use kernel::access::Permission;
use kernel::durable::{ORCHESTRATION, WORKFLOW};
use kernel::expression::Template;
use kernel::graph::Execution;
use kernel::{ExecutionId, Json, Scripts};
use serde_json::{Map, Value};

use super::definition::{Action, By, ShowAction, StartAction};
use super::proof::{Auth, Refused};
use super::scope::{self, Given};
use super::table::Found;
use super::{Trigger, registered};
use crate::Shared;
use crate::access::{Actor, author_may};
use crate::durable::{self, Caller, Wanted};
use crate::guard::Peer;
use crate::problem::Problem;
use crate::rest::extract::{Answer, RawBody, RawQuery, object, parse};

/// The runs of one label that are looked through for the latest.
const LABELLED_MAX: u64 = 100;

/// Answers a request if a trigger has its path; gives it back otherwise.
pub(crate) async fn answer(shared: &Shared, request: Request) -> Result<Response, Request> {
    let api = &shared.api;
    let registered = match registered(&api.engine).await {
        Ok(registered) => registered,
        Err(problem) => return Ok(problem.into_response()),
    };
    let answered = match registered.paths.find(request.method(), request.uri().path()) {
        Found::Value(Some(trigger), path) => {
            let admitted = admit(shared, trigger, &request);
            match admitted {
                Ok(()) => act(shared, trigger, path, request).await,
                Err(Unadmitted::Without(problem)) => Err(problem),
                Err(Unadmitted::Unproved(refused)) => {
                    if refused.is_guess() {
                        let peer = request.extensions().get::<Peer>().copied();
                        shared.authorizer.failed(peer).await;
                    }
                    Ok(refused.into_response())
                }
            }
        }
        Found::Value(None, _) => Err(unusable("the trigger cannot be used: see the server's log")),
        Found::Methods(allowed) => Ok(not_allowed(&request, &allowed)),
        Found::Nothing => return Err(request),
    };
    Ok(answered.unwrap_or_else(Problem::into_response))
}

/// Why somebody may not call a trigger.
enum Unadmitted {
    /// There is no key with the permission, or too many passwords were wrong.
    Without(Problem),
    /// What the trigger itself asks for is missing or wrong.
    Unproved(Refused),
}

/// Refuses whoever may not call a trigger, as far as headers tell. With access control it takes a key,
/// unless it says otherwise; what it says itself holds without access control, too.
fn admit(shared: &Shared, trigger: &Trigger, request: &Request) -> Result<(), Unadmitted> {
    let api = &shared.api;
    match &trigger.auth {
        // Signatures are of bodies, which are not here yet.
        Auth::None | Auth::Signature { .. } => Ok(()),
        Auth::Basic { .. } => {
            let peer = request.extensions().get::<Peer>().copied();
            let check = || trigger.auth.check_basic(&api.engine, request.headers());
            let tried =
                shared.authorizer.try_at_trigger(&trigger.name, peer, check, Refused::is_guess);
            tried.map_err(Unadmitted::Without)?.map_err(Unadmitted::Unproved)
        }
        Auth::Key => {
            let actor = Actor::of(request.extensions());
            let (permission, what) = match &trigger.action {
                Action::Start(_) => (Permission::Run, "this trigger, which starts a run,"),
                Action::Show(_) => (Permission::Read, "this trigger, which shows a run,"),
            };
            actor.must(api, permission, what).map_err(Unadmitted::Without)
        }
    }
}

fn unusable(message: impl Into<String>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "trigger-unusable", message)
}

fn not_allowed(request: &Request, allowed: &[Method]) -> Response {
    let message = format!("{} is not supported at this path", request.method());
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message);
    let mut response = problem.with_hint("See the Allow header.").into_response();
    if let Ok(allowed) =
        HeaderValue::from_str(&allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", "))
    {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

async fn act(
    shared: &Shared,
    trigger: &Trigger,
    path: BTreeMap<String, String>,
    request: Request,
) -> Result<Response, Problem> {
    let engine = &shared.api.engine;
    let (mut parts, body) = request.into_parts();
    let RawQuery(pairs) = RawQuery::from_request_parts(&mut parts, shared).await?;
    let caller = Caller::new(&shared.guard, &parts, pairs.clone());
    let mut query = BTreeMap::new();
    for (name, value) in pairs {
        query.entry(name).or_insert(value);
    }
    let (mut headers, proof) = (BTreeMap::new(), trigger.auth.header());
    for (name, value) in parts.headers.iter().filter(|(name, _)| Some(*name) != proof.as_ref()) {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.as_str().to_owned()).or_insert(value);
    }
    let (method, signed) = (parts.method.to_string(), parts.headers.clone());
    let RawBody(bytes) = RawBody::from_request(Request::from_parts(parts, body), shared).await?;
    if let Err(refused) = trigger.auth.check_signature(engine, &signed, &bytes) {
        return Ok(refused.into_response());
    }
    let given = Given {
        body: parse(&bytes)?,
        path,
        query,
        headers,
        method,
        id: uuid::Uuid::new_v4().to_string(),
        time: engine.now(),
    };
    match &trigger.action {
        Action::Start(action) => {
            let author = engine.author_of(Authored::Trigger, &trigger.name);
            start(engine, &trigger.name, &caller.acting_as(author), action, &given).await
        }
        Action::Show(action) => {
            let on = match action.name.strip_prefix(ORCHESTRATION) {
                Some(name) => {
                    let hub = name.split_once('/').map(|(hub, _)| hub);
                    ActsOn::Hub(hub.unwrap_or_else(|| caller.hub_name()))
                }
                None => ActsOn::Workflow(&action.name),
            };
            allowed(engine, &trigger.name, Permission::Read, on).await?;
            show(engine, &caller, action, &given).await
        }
    }
}

async fn start(
    engine: &Engine,
    trigger: &str,
    caller: &Caller,
    action: &StartAction,
    given: &Given,
) -> Result<Response, Problem> {
    let caller = &caller.meaning(&action.name);
    let on = match action.name.strip_prefix(ORCHESTRATION) {
        Some(_) => ActsOn::Hub(caller.hub_name()),
        None => ActsOn::Workflow(action.name.strip_prefix(WORKFLOW).unwrap_or(&action.name)),
    };
    allowed(engine, trigger, Permission::Run, on).await?;
    let input = input(action, given)?;
    let scope = scope::Request { given, input: Some(&input) };
    let wanted = Wanted {
        name: action.name.clone(),
        or_code: false,
        version: action.version.clone(),
        id: text_of(action.instance_id.as_ref(), &scope),
        correlation_id: text_of(action.correlation_id.as_ref(), &scope),
        input: input.clone(),
    };
    let id = durable::begin(engine, caller, wanted).await.map_err(|problem| {
        if problem.status == StatusCode::NOT_FOUND {
            // The caller named nothing that could be missing.
            return unusable(problem.message);
        }
        problem
    })?;
    match action.timeout_seconds {
        0 => Ok(caller.check_status(&id)),
        seconds => {
            let wait = Duration::from_secs(seconds);
            Ok(durable::answer_within(engine, caller, &id, wait).await)
        }
    }
}

/// Checks that whoever wrote the trigger may do what it does, now.
async fn allowed(
    engine: &Engine,
    trigger: &str,
    permission: Permission,
    on: ActsOn<'_>,
) -> Result<(), Problem> {
    if author_may(engine, Authored::Trigger, trigger, permission, on).await? {
        return Ok(());
    }
    // Who that is, is nothing for callers.
    Err(unusable("the trigger's author may not do this; the server's log says more"))
}

/// The input that a request stands for.
fn input(action: &StartAction, given: &Given) -> Result<Json, Problem> {
    let scope = scope::Request { given, input: None };
    let input = match &action.input {
        Some(template) => object(template.render(&scope), "the input")?,
        None => object(given.body.clone(), "the request body")?,
    };
    let defaults = action.defaults.as_ref().map(|template| template.render(&scope));
    if defaults.is_none() && action.input.is_none() {
        return Ok(input);
    }
    // What a request leaves out, or gives as null, is left to the defaults.
    let members = |json: &Json| match json.parse() {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let mut all = defaults.as_ref().map(members).unwrap_or_default();
    all.extend(members(&input).into_iter().filter(|(_, value)| !value.is_null()));
    Ok(Json::of(&all))
}

/// What a template comes to, as a text; `None` if that is nothing.
fn text_of(template: Option<&Template>, scope: &scope::Request<'_>) -> Option<String> {
    let text = match template?.render(scope).parse() {
        Value::Null => return None,
        Value::String(text) => text,
        other => other.to_string(),
    };
    Some(text).filter(|text| !text.trim().is_empty())
}

async fn show(
    engine: &Engine,
    caller: &Caller,
    action: &ShowAction,
    given: &Given,
) -> Result<Response, Problem> {
    let scope = scope::Request { given, input: None };
    let (shown, sought) = match &action.by {
        By::Id(template) => {
            let id = text_of(Some(template), &scope).unwrap_or_default();
            match action.name.strip_prefix(ORCHESTRATION) {
                Some(name) => (of_code(engine, caller, name, &id, action, given).await?, id),
                None => (of_graph(engine, durable::graph_id(&id), action, given).await?, id),
            }
        }
        By::Correlation(template) => {
            let label = text_of(Some(template), &scope).unwrap_or_default();
            let id = latest(engine, &action.name, &label).await?;
            (of_graph(engine, id, action, given).await?, label)
        }
    };
    let shown = shown.ok_or_else(|| {
        let shown: String = sought.chars().take(ExecutionId::LENGTH_MAX).collect();
        Problem::not_found(format!("There is no run of {} for '{shown}'", action.name))
    })?;
    let shown = match &action.query {
        None => shown,
        Some(program) => {
            let program = program.clone();
            let run = move |_: &Engine, scripts: &dyn Scripts| scripts.jq(&program, &shown);
            let outputs = engine.evaluate(run).await?.map_err(|error| {
                let message = format!("the trigger's queryExpression failed: {error}");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "trigger-failed", message)
            })?;
            outputs.into_iter().next().unwrap_or_else(Json::null)
        }
    };
    Ok(Answer(shown).into_response())
}

/// What is to be shown of an execution.
async fn of_graph(
    engine: &Engine,
    id: Option<ExecutionId>,
    action: &ShowAction,
    given: &Given,
) -> Result<Option<Json>, Problem> {
    let Some(id) = id else { return Ok(None) };
    let look = |state: &Execution| {
        let run = scope::Run { given, state };
        (state.plan().definition.name == action.name).then(|| match &action.body {
            Some(template) => template.render(&run),
            None => durable::standing(state),
        })
    };
    Ok(engine.read(&id, look).await?.flatten())
}

/// What is to be shown of an instance of code.
async fn of_code(
    engine: &Engine,
    caller: &Caller,
    name: &str,
    id: &str,
    action: &ShowAction,
    given: &Given,
) -> Result<Option<Json>, Problem> {
    let (hub, name) = name.split_once('/').map_or((None, name), |(hub, name)| (Some(hub), name));
    let Some(found) = durable::instance(engine, caller, hub, id).await? else { return Ok(None) };
    if found.name != name {
        return Ok(None);
    }
    Ok(Some(match &action.body {
        Some(template) => template.render(&scope::Code { given, standing: &found }),
        None => Json::of(&found),
    }))
}

/// The latest run of a definition that bears a label.
async fn latest(engine: &Engine, name: &str, label: &str) -> Result<Option<ExecutionId>, Problem> {
    if label.is_empty() {
        return Ok(None);
    }
    let search = Search {
        filters: vec![
            Filter::In(TextField::Name, vec![name.to_owned()]),
            Filter::In(TextField::CorrelationId, vec![label.to_owned()]),
        ],
        sort: vec![Sort { by: SortField::Time(TimeField::Created), descending: true }],
        size: LABELLED_MAX,
        ..Search::default()
    };
    let page = engine.store().search(&search).await?;
    // A `*` of a label or a name is meant literally.
    let exact = page
        .rows
        .into_iter()
        .find(|head| *head.name == *name && head.correlation_id.as_deref() == Some(label));
    Ok(exact.map(|head| head.id))
}
