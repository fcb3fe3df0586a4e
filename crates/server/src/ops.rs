//! What operators look at (health, version, metrics), and what every answer passes through.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use engine::store::Statistics;
use engine::{Engine, QueueState};
use futures_util::FutureExt;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::guard::Guard;
use crate::monitoring;
use crate::problem::Problem;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(api_health))
        .routes(routes!(version))
        .routes(routes!(metrics))
        .routes(routes!(token))
        .routes(routes!(api_token))
        .routes(routes!(user_info))
        .routes(routes!(api_user_info))
}

/// How long an answer about health waits for the store.
const STATISTICS_MAX: Duration = Duration::from_secs(2);

/// Quarantined executions named in a health answer.
const QUARANTINED_MAX: usize = 20;

/// Failed attempts at a piece of work before a health answer counts it: workers that are replaced
/// leave some behind.
const ATTEMPTS_NOTED: u32 = 3;

/// Tells whether the server can do its work, and how much it holds.
#[utoipa::path(
    get, path = "/health", tag = "operations",
    responses(
        (status = 200, description = "It can", body = serde_json::Value),
        (status = 503, description = "It cannot, and why", body = serde_json::Value),
    )
)]
async fn health(State(api): State<Api>, Extension(traffic): Extension<Arc<Traffic>>) -> Response {
    let quarantined = api.engine.quarantined();
    let named: Vec<Value> = quarantined
        .iter()
        .take(QUARANTINED_MAX)
        .map(|(id, reason)| json!({ "workflowId": id, "reason": reason }))
        .collect();
    let mut health = api.engine.health();
    let store = match traffic.statistics(&api.engine).await {
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
        "disk": health.space.map(|space| json!({ "free": space.free, "size": space.size })),
        "healthResults": receivers,
        "suppressedHealthResults": [],
        "version": api.settings.version,
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

/// Tells the same.
#[utoipa::path(
    get, path = "/api/health", tag = "operations",
    responses(
        (status = 200, description = "It can", body = serde_json::Value),
        (status = 503, description = "It cannot, and why", body = serde_json::Value),
    )
)]
async fn api_health(state: State<Api>, traffic: Extension<Arc<Traffic>>) -> Response {
    health(state, traffic).await
}

/// Tells the version.
#[utoipa::path(
    get, path = "/api/version", tag = "operations",
    responses((status = 200, description = "The version", body = String))
)]
async fn version(State(api): State<Api>) -> &'static str {
    api.settings.version
}

/// Refuses with the answer that clients take for "no authentication needed".
#[utoipa::path(
    post, path = "/token", tag = "operations",
    responses((status = 404, description = "Authentication is off"))
)]
async fn token() -> Problem {
    authentication_is_off()
}

/// Refuses in the same way.
#[utoipa::path(
    post, path = "/api/token", tag = "operations",
    responses((status = 404, description = "Authentication is off"))
)]
async fn api_token() -> Problem {
    authentication_is_off()
}

/// Tells who asks: nobody in particular, as authentication is off.
#[utoipa::path(
    get, path = "/token/userInfo", tag = "operations",
    responses((status = 200, description = "Nobody in particular", body = serde_json::Value))
)]
async fn user_info() -> Json<Value> {
    Json(json!({
        "id": "anonymous",
        "name": "anonymous",
        "roles": [],
        "groups": [],
        "grantedAccess": [],
        "applicationUser": false,
        "authenticationEnabled": false,
    }))
}

/// Tells the same.
#[utoipa::path(
    get, path = "/api/token/userInfo", tag = "operations",
    responses((status = 200, description = "Nobody in particular", body = serde_json::Value))
)]
async fn api_user_info() -> Json<Value> {
    user_info().await
}

fn authentication_is_off() -> Problem {
    Problem::not_found("authentication is off: there are no tokens")
        .with_hint("Send requests without one.")
}

/// 404 for what no path answers.
pub(crate) async fn no_such_path(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(SHOWN_MAX).collect();
    Problem::not_found(format!("there is nothing at {method} {path}"))
        .with_hint("See /docs for what there is.")
}

/// 405 for a path that another method would be answered at; which, the `Allow` header says.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(SHOWN_MAX).collect();
    let message = format!("{method} is not supported at {path}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message)
        .with_hint("See the Allow header, and /docs.")
}

/// Characters of a path repeated in an answer.
const SHOWN_MAX: usize = 200;

/// Lets a request pass the guard, counts its answer, and turns a panic of its handler into one.
pub(crate) async fn watch_over(
    State((traffic, guard)): State<(Arc<Traffic>, Arc<Guard>)>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let template = path.as_ref().map(MatchedPath::as_str);
    let answer = match guard.refusal(template, &request) {
        Some(refusal) => Ok(refusal),
        None => AssertUnwindSafe(next.run(request)).catch_unwind().await,
    };
    let mut response = answer.unwrap_or_else(|panic| {
        let reason = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let reason = reason.or_else(|| panic.downcast_ref::<String>().cloned());
        let path = template.unwrap_or("(no path)");
        tracing::error!(%method, path, ?reason, "internal error: a request handler panicked");
        let message = "internal error; the server's log says more";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).into_response()
    });
    Guard::harden(template, &mut response);
    traffic.count(template, &method, response.status());
    response
}

/// How many requests were answered, by path, method and class of status.
///
/// Every path has its counters from the beginning: a request costs one look-up and one addition,
/// and no request can add a path.
#[derive(Debug)]
pub(crate) struct Traffic {
    paths: HashMap<String, Cells>,
    others: Cells,
    /// What the store said of itself last, and when.
    statistics: Mutex<Option<(Instant, Statistics)>>,
}

/// How long a health answer waits for the store.
const STORE_PATIENCE: Duration = Duration::from_millis(50);
/// For how long what the store said last stands for what it would say.
const STORE_SILENCE_MAX: Duration = Duration::from_secs(10);

type Cells = [[AtomicU64; CLASSES]; METHODS.len() + 1];

const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
const CLASSES: usize = 5;

impl Traffic {
    /// Counters for everything that is described.
    pub(crate) fn over(description: &OpenApi) -> Self {
        let paths = description.paths.paths.keys();
        Self {
            paths: paths.map(|path| (path.clone(), Cells::default())).collect(),
            others: Cells::default(),
            statistics: Mutex::new(None),
        }
    }

    /// What the store says of itself; while it is busy, what it said last.
    async fn statistics(&self, engine: &Engine) -> Result<Statistics, String> {
        let asked = tokio::time::timeout(STORE_PATIENCE, engine.store().statistics()).await;
        let mut last = self.statistics.lock();
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

    fn count(&self, path: Option<&str>, method: &Method, status: StatusCode) {
        let cells = path.and_then(|path| self.paths.get(path)).unwrap_or(&self.others);
        let method = METHODS.iter().position(|m| m == method).unwrap_or(METHODS.len());
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES) - 1;
        cells[method][class].fetch_add(1, Ordering::Relaxed);
    }

    fn register(&self, registry: &mut Registry) {
        let requests = Family::<Answered, Counter>::default();
        let paths = self.paths.iter().map(|(path, cells)| (path.as_str(), cells));
        for (path, cells) in paths.chain([("(other)", &self.others)]) {
            for (method, classes) in cells.iter().enumerate() {
                for (class, count) in classes.iter().enumerate() {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        let method = METHODS.get(method).map_or("(other)", Method::as_str);
                        let answered = Answered {
                            method: method.to_owned(),
                            path: path.to_owned(),
                            status: format!("{}xx", class + 1),
                        };
                        requests.get_or_create(&answered).inc_by(count);
                    }
                }
            }
        }
        registry.register("http_requests", "Requests answered", requests);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    path: String,
    status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQueue {
    queue: String,
}

/// Shows counters and sizes in the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain"))
)]
async fn metrics(
    State(api): State<Api>,
    Extension(traffic): Extension<Arc<Traffic>>,
) -> Result<Response, Problem> {
    let statistics = tokio::time::timeout(STATISTICS_MAX, api.engine.store().statistics()).await;
    let mut registry = Registry::with_prefix("nightbell");
    let version = Info::new([("version", api.settings.version)]);
    registry.register("build", "What runs", version);
    gauge(
        &mut registry,
        "store_up",
        "1 if the store answers",
        u64::from(matches!(statistics, Ok(Ok(_)))),
    );
    if let Ok(Ok(statistics)) = statistics {
        register_store(&mut registry, &statistics);
    }
    register_engine(&mut registry, &api.engine);
    register_queues(&mut registry, &api.engine);
    monitoring::register(&mut registry, &api.engine);
    traffic.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| {
        let message = format!("metrics could not be written: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    })?;
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, format)], text).into_response())
}

fn register_store(registry: &mut Registry, statistics: &Statistics) {
    gauge(registry, "executions", "Executions of graphs stored", statistics.executions);
    gauge(registry, "executions_running", "Executions of graphs not ended", statistics.running);
    let instances = "Instances of code stored";
    gauge(registry, "instances", instances, statistics.instances);
    gauge(registry, "instances_running", "Instances not ended", statistics.instances_running);
    gauge(registry, "entities", "Entities stored", statistics.entities);
    gauge(registry, "store_bytes", "Bytes in the store's files", statistics.bytes);
    counter(registry, "store_commits", "Commits since start", statistics.commits);
    counter(registry, "store_writes", "Durable writes since start", statistics.writes);
}

fn register_engine(registry: &mut Registry, engine: &Engine) {
    let counters = engine.counters();
    let counted = [
        ("workflows_started", "Executions begun, of graphs and of code", &counters.started),
        ("workflows_completed", "Executions ended as completed, of both", &counters.completed),
        ("workflows_failed", "Executions ended in any other way, of both", &counters.failed),
        ("decisions", "Decisions committed", &counters.commits),
        ("conflicts", "Decisions made again because of a conflict", &counters.conflicts),
        ("tasks_polled", "Tasks handed to workers", &counters.polled),
        ("tasks_run", "Built-in tasks run", &counters.run),
        ("quarantines", "Executions quarantined", &counters.quarantined),
    ];
    for (name, help, count) in counted {
        counter(registry, name, help, count.load(Ordering::Relaxed));
    }
    gauge(registry, "executions_cached", "Executions in memory", engine.cached() as u64);
    let quarantined = engine.quarantined().len() as u64;
    gauge(registry, "executions_quarantined", "Executions left alone", quarantined);
}

fn register_queues(registry: &mut Registry, engine: &Engine) {
    let waiting = Family::<OfQueue, Gauge<i64, AtomicI64>>::default();
    let held = Family::<OfQueue, Gauge<i64, AtomicI64>>::default();
    for state in shown_queues(engine) {
        let queue = OfQueue { queue: state.name.to_string() };
        waiting.get_or_create(&queue).set(state.waiting as i64);
        held.get_or_create(&queue).set(state.held as i64);
    }
    registry.register("queue_waiting", "Tasks that wait, by queue", waiting);
    registry.register("queue_held", "Tasks that are held, by queue", held);
}

/// Queues that the metrics name; all others are `(other)` together.
const QUEUES_SHOWN_MAX: usize = 1000;

/// The queues that the metrics name. If there are too many, those go first that hold most, and then
/// those that a definition names: any client can poll for names that mean nothing.
fn shown_queues(engine: &Engine) -> Vec<QueueState> {
    let mut states = engine.queues().states();
    if states.len() <= QUEUES_SHOWN_MAX {
        return states;
    }
    states.sort_by_cached_key(|queue| {
        let name = queue.name.split_once(':').map_or(&*queue.name, |(_, name)| name);
        Reverse((queue.waiting + queue.held, engine.definitions().task(name).is_some()))
    });
    let mut others = QueueState { name: "(other)".into(), waiting: 0, held: 0 };
    for hidden in states.drain(QUEUES_SHOWN_MAX..) {
        others.waiting += hidden.waiting;
        others.held += hidden.held;
    }
    states.push(others);
    states
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge: Gauge<i64, AtomicI64> = Gauge::default();
    gauge.set(value as i64);
    registry.register(name, help, gauge);
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter: Counter = Counter::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}
