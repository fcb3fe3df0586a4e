//! What operators look at (health, version), and what every answer passes through.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use engine::Engine;
use engine::store::Statistics;
use kernel::access::{Mode, Need, Permission};
use parking_lot::Mutex;
use serde_json::{Value, json};
use utoipa_axum::routes;

use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;
use crate::rest::upkeep;

pub(crate) fn routes() -> Routes {
    Routes::new()
        .on(Need::Public, routes!(health))
        .on(Need::Public, routes!(api_health))
        .on(Need::Public, routes!(ready))
        .on(Need::Public, routes!(version))
}

/// Quarantined executions named in a health answer.
const QUARANTINED_MAX: usize = 20;

/// Failed attempts at a piece of work before a health answer counts it: workers that are replaced
/// leave some behind.
const ATTEMPTS_NOTED: u32 = 3;

/// Reports whether the server can do its work, with the reasons if not, and how much it holds.
#[utoipa::path(
    get, path = "/health", tag = "operations",
    responses(
        (status = 200, description = "Ready", body = serde_json::Value),
        (status = 503, description = "Unhealthy, with the reasons", body = serde_json::Value),
    )
)]
async fn health(
    State(api): State<Api>,
    State(last): State<Arc<LastSaid>>,
    actor: Actor,
) -> Response {
    let quarantined = api.engine.quarantined();
    let named: Vec<Value> = quarantined
        .iter()
        .take(QUARANTINED_MAX)
        .map(|(id, reason)| json!({ "workflowId": id, "reason": reason }))
        .collect();
    let mut health = api.engine.health();
    let store = match last.statistics(&api.engine).await {
        Ok(statistics) => store_health(&statistics),
        Err(reason) => {
            let shown = json!({ "error": reason });
            health.problems.push(engine::Problem { code: "store", reason, since: None });
            shown
        }
    };
    let evaluations = api.engine.evaluations();
    let mut warn = |code, reason| {
        health.warnings.push(engine::Problem { code, reason, since: None });
    };
    if evaluations.refuses {
        let stuck = evaluations.stuck;
        let reason = format!(
            "{stuck} evaluations of scripts, programs or schemas do not end: no others are begun \
             until one does, or the server is restarted"
        );
        warn("evaluations", reason);
    }
    for reason in api.settings.tls.iter().flat_map(|tls| tls.warnings()) {
        warn("tls", format!("TLS: {reason}"));
    }
    for damaged in api.engine.damaged_documents().into_iter().take(QUARANTINED_MAX) {
        let engine::DamagedDocument { kind, name, version, reason } = damaged;
        let reason =
            format!("{kind} '{name}' (version {version}) is damaged and not in force: {reason}");
        warn("documents", reason);
    }
    let (status, word) = match (health.is_healthy(), health.warnings.is_empty()) {
        (true, true) => (StatusCode::OK, "healthy"),
        (true, false) => (StatusCode::OK, "degraded"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
    };
    if !actor.may(&api, Permission::Read) {
        // Whoever may see nothing learns whether it works, and no more.
        let body = json!({ "healthy": health.is_healthy(), "status": word });
        return (status, Json(body)).into_response();
    }
    let broken = api.engine.broken_receivers();
    let receivers: Vec<Value> = broken
        .iter()
        .map(|(name, broken)| {
            json!({
                "name": format!("receiver {name}"),
                "healthy": false,
                "since": broken.since.millis(),
                "reason": broken.reason,
                "givenUp": broken.dead,
            })
        })
        .collect();
    let body = json!({
        "healthy": health.is_healthy(),
        "status": word,
        "problems": health.problems.iter().map(problem).collect::<Vec<_>>(),
        "warnings": health.warnings.iter().map(problem).collect::<Vec<_>>(),
        "rejectedFiles": health.rejected,
        "disk": health.space.map(|space| json!({
            "free": space.free, "size": space.size,
            "fullAt": health.full_at.map(kernel::Timestamp::millis),
        })),
        "deadMan": health.dead_man.map(|it| json!({
            "host": it.host, "calledAt": it.called_at.map(kernel::Timestamp::millis),
            "trouble": it.trouble,
        })),
        "backup": api.settings.upkeep.as_ref().map(|it| upkeep::shown(&it.backups())),
        "healthResults": receivers,
        "suppressedHealthResults": [],
        "version": api.settings.version,
        "startedAt": api.engine.feed().since().millis(),
        "auth": auth_word(api.settings.auth),
        "tls": api.settings.tls.as_ref().map(|tls| json!({ "endsAt": tls.ends_at().map(|at| at * 1000) })),
        "store": store,
        "cached": api.engine.cached(),
        "unfinishedWork": unfinished(&api.engine),
        "evaluations": {
            "busy": evaluations.busy,
            "waiting": evaluations.waiting,
            "stuck": evaluations.stuck,
            "givenUp": evaluations.given_up,
        },
        "quarantined": { "count": quarantined.len(), "workflows": named },
    });
    (status, Json(body)).into_response()
}

/// Work of code that keeps failing, or that no connected worker takes: it does not make the server
/// unhealthy, and somebody has to look at it.
fn unfinished(engine: &Engine) -> Value {
    let work = engine.unfinished(None);
    let given_up = work.iter().filter(|it| it.next_at.is_none()).count();
    let retrying =
        work.iter().filter(|it| it.next_at.is_some() && it.attempts >= ATTEMPTS_NOTED).count();
    json!({ "retrying": retrying, "givenUp": given_up })
}

/// As the setting `auth` has it.
const fn auth_word(auth: Mode) -> &'static str {
    match auth {
        Mode::Open => "open",
        Mode::Offered => "offered",
        Mode::On => "on",
    }
}

fn problem(problem: &engine::Problem) -> Value {
    let since = problem.since.map(|since| since.to_string());
    json!({ "code": problem.code, "reason": problem.reason, "since": since })
}

fn store_health(statistics: &Statistics) -> Value {
    json!({
        "executions": statistics.executions,
        "running": statistics.running,
        "instances": statistics.instances,
        "instancesRunning": statistics.instances_running,
        "entities": statistics.entities,
        "bytes": statistics.bytes,
        "commits": statistics.commits,
        "writes": statistics.writes,
    })
}

/// The same at another path.
#[utoipa::path(
    get, path = "/api/health", tag = "operations",
    responses(
        (status = 200, description = "Ready", body = serde_json::Value),
        (status = 503, description = "Unhealthy, with the reasons", body = serde_json::Value),
    )
)]
async fn api_health(state: State<Api>, last: State<Arc<LastSaid>>, actor: Actor) -> Response {
    health(state, last, actor).await
}

/// Reports whether requests should be sent here, for load balancers.
///
/// They should not while the server shuts down, nor while a shared store has not confirmed recently
/// that this server owns it. Whether the server works is the question of `/health`.
#[utoipa::path(
    get, path = "/health/ready", tag = "operations",
    responses(
        (status = 200, description = "Ready for clients", body = serde_json::Value),
        (status = 503, description = "Not ready, with the reasons", body = serde_json::Value),
    )
)]
async fn ready(State(api): State<Api>) -> Response {
    match api.engine.ready() {
        Ok(()) => Json(json!({ "ready": true })).into_response(),
        Err(reason) => {
            let body = Json(json!({ "ready": false, "reason": reason }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// Shows the version.
#[utoipa::path(
    get, path = "/api/version", tag = "operations",
    responses((status = 200, description = "The version", body = String))
)]
async fn version(State(api): State<Api>) -> &'static str {
    api.settings.version
}

/// 404 for what no path answers.
pub(crate) async fn no_such_path(method: Method, uri: Uri) -> Problem {
    let path = shown(uri.path());
    Problem::not_found(format!("there is nothing at {method} {path}"))
        .with_hint("See /docs for what there is.")
}

/// 405 for a path that another method would be answered at; which, the `Allow` header says.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let path = shown(uri.path());
    let message = format!("{method} is not supported at {path}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message)
        .with_hint("See the Allow header, and /docs.")
}

/// Characters of a path repeated in an answer.
const SHOWN_MAX: usize = 200;
/// Below these, a path has a key in it.
const KEYED: [&str; 2] = ["/inbound/", "/ping/"];

/// What an answer repeats of a path: never a key.
fn shown(path: &str) -> String {
    let keys = KEYED.iter().filter_map(|it| Some(path.find(it)? + it.len()));
    let end = keys.min().unwrap_or(path.len());
    let cut = if end < path.len() { "…" } else { "" };
    path[..end].chars().take(SHOWN_MAX).chain(cut.chars()).collect()
}

/// What the store said of itself last, and when.
#[derive(Debug, Default)]
pub(crate) struct LastSaid(Mutex<Option<(Instant, Statistics)>>);

/// How long a health check waits for an answer of the store.
const STORE_PATIENCE: Duration = Duration::from_millis(50);
/// For how long what the store said last stands for what it would say.
const STORE_SILENCE_MAX: Duration = Duration::from_secs(10);

impl LastSaid {
    /// What the store says of itself; while it is busy, what it said last.
    async fn statistics(&self, engine: &Engine) -> Result<Statistics, String> {
        let asked = tokio::time::timeout(STORE_PATIENCE, engine.store().statistics()).await;
        let mut last = self.0.lock();
        match asked {
            Ok(Ok(statistics)) => {
                *last = Some((Instant::now(), statistics));
                Ok(statistics)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => match *last {
                Some((at, statistics)) if at.elapsed() < STORE_SILENCE_MAX => Ok(statistics),
                _ => Err("the store does not answer".to_owned()),
            },
        }
    }
}
