//! What operators measure: `/metrics`, whose families `docs/metrics.md` describes one by one.
//!
//! All figures are kept in memory as things happen, or in the store's own tally: a page costs what it
//! shows, not what is stored. Names of queues, schedules and receivers are the only labels that users
//! make, and of each only so many are shown; nothing that an execution holds is.

mod exposition;
mod monitoring;
mod process;
mod queues;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use engine::Engine;
use engine::store::Statistics;
use kernel::access::Permission;
use utoipa_axum::routes;

use crate::Api;
use crate::access::{Authorizer, Routes};
use exposition::{Format, Page};

pub(crate) use process::began;
pub(crate) use traffic::Traffic;

pub(crate) fn routes() -> Routes {
    Routes::new().on(Permission::Metrics, routes!(metrics))
}

/// How long a page waits for an answer of the store.
const STATISTICS_MAX: Duration = Duration::from_secs(2);

/// Shows counters, sizes and durations in a text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain"))
)]
async fn metrics(
    State(api): State<Api>,
    State(traffic): State<Arc<Traffic>>,
    State(authorizer): State<Arc<Authorizer>>,
    headers: HeaderMap,
) -> Response {
    let format = Format::wanted(&headers);
    let engine = &api.engine;
    let statistics = tokio::time::timeout(STATISTICS_MAX, engine.store().statistics()).await;
    let statistics = statistics.ok().and_then(Result::ok);
    let mut page = Page::new(format);
    write_role(&mut page, api.settings.version, true);
    write_store(&mut page, engine, statistics.as_ref());
    write_engine(&mut page, engine);
    queues::write(&mut page, engine);
    monitoring::write(&mut page, engine);
    write_traces(&mut page, engine);
    write_quotas(&mut page, engine, &authorizer);
    traffic.write(&mut page);
    process::write(&mut page);
    ([(header::CONTENT_TYPE, format.content_type())], page.end()).into_response()
}

/// What runs, and as what.
fn write_role(page: &mut Page, version: &'static str, leads: bool) {
    page.info("nightbell_build_info", "Version of the server", &[("version", version)]);
    let help = "1 if this server is the leader, 0 if it forwards requests to the leader";
    page.gauge("nightbell_cluster_leader", help).only(u8::from(leads));
}

/// What a server counts that hands requests on.
pub(crate) struct Following {
    /// Connections to the server that owns the store.
    pub(crate) links: usize,
    /// Requests that are not answered yet.
    pub(crate) forwarding: usize,
    /// Requests that are, by what became of them.
    pub(crate) forwarded: [(&'static str, u64); 3],
}

/// The figures of a server that hands requests on.
pub(crate) fn of_follower(
    headers: &HeaderMap,
    version: &'static str,
    following: &Following,
) -> Response {
    let format = Format::wanted(headers);
    let mut page = Page::new(format);
    write_role(&mut page, version, false);
    let help = "Connections to the leader";
    page.gauge("nightbell_cluster_links", help).only(following.links);
    let help = "Requests forwarded to the leader that are in flight";
    page.gauge("nightbell_cluster_requests_forwarding", help).only(following.forwarding);
    let help = "Requests forwarded to the leader, by outcome";
    let mut counted = page.counter("nightbell_cluster_requests_forwarded_total", help);
    for (outcome, count) in following.forwarded {
        counted.add(&[("outcome", outcome)], count);
    }
    process::write(&mut page);
    ([(header::CONTENT_TYPE, format.content_type())], page.end()).into_response()
}

/// What was refused because a principal asked for too much.
fn write_quotas(page: &mut Page, engine: &Engine, authorizer: &Authorizer) {
    let help = "Requests refused because a quota of their principal was exceeded";
    let mut refused = page.counter("nightbell_quota_refusals_total", help);
    for (quota, count) in authorizer.refused_by_quota() {
        refused.add(&[("quota", quota)], count);
    }
    refused.add(&[("quota", "starts")], engine.starts_refused());
}

/// How the export of runs as traces goes; zeros if there is no collector.
fn write_traces(page: &mut Page, engine: &Engine) {
    let figures = engine.trace_figures().unwrap_or_default();
    let help = "Spans of ended runs, by the collector's response";
    let mut spans = page.counter("nightbell_trace_spans_total", help);
    spans.add(&[("outcome", "exported")], figures.exported);
    spans.add(&[("outcome", "refused")], figures.refused);
    let help = "Requests to the trace collector, by outcome";
    let mut requests = page.counter("nightbell_trace_requests_total", help);
    requests.add(&[("outcome", "taken")], figures.requests.0);
    requests.add(&[("outcome", "failed")], figures.requests.1);
    let help = "Time since the end of the oldest run that waits to be exported; 0 if none waits";
    let millis = figures.oldest.map_or(0, |oldest| engine.now().since(oldest).max(0));
    page.gauge("nightbell_trace_export_lag_seconds", help).only(millis as f64 / 1000.0);
}

/// One of the numbers that the store tells.
type Read = fn(&Statistics) -> u64;

fn write_store(page: &mut Page, engine: &Engine, statistics: Option<&Statistics>) {
    let up = u8::from(statistics.is_some());
    page.gauge("nightbell_store_up", "1 if the store answers queries").only(up);
    let sizes: [(&'static str, &str, Read); 6] = [
        ("nightbell_executions", "Workflow executions stored", |it| it.executions),
        ("nightbell_executions_running", "Workflow executions that have not ended", |it| {
            it.running
        }),
        ("nightbell_instances", "Orchestration instances stored", |it| it.instances),
        ("nightbell_instances_running", "Orchestration instances that have not ended", |it| {
            it.instances_running
        }),
        ("nightbell_entities", "Entities stored", |it| it.entities),
        ("nightbell_store_bytes", "Size of the store's files", |it| it.bytes),
    ];
    for (name, help, told) in sizes {
        let samples = page.gauge(name, help);
        if let Some(statistics) = statistics {
            samples.only(told(statistics));
        }
    }
    let counts: [(&'static str, &str, Read); 2] = [
        ("nightbell_store_commits_total", "Commits written", |it| it.commits),
        ("nightbell_store_writes_total", "Transactions synced", |it| it.writes),
    ];
    for (name, help, told) in counts {
        let samples = page.counter(name, help);
        if let Some(statistics) = statistics {
            samples.only(told(statistics));
        }
    }
    let help = "Writes that failed because the store was unavailable";
    page.counter("nightbell_store_write_failures_total", help).only(engine.write_failures());
    let times = engine.store().write_times();
    let help = "Duration of transactions, from their first statement until they were durable";
    let mut transactions = page.histogram("nightbell_store_transaction_duration_seconds", help);
    if let Some(times) = times {
        transactions.observed(&[], &times.transactions.observed());
    }
    let help = "Duration of the ends of transactions: appending to the log, and fsync";
    let mut syncs = page.histogram("nightbell_store_sync_duration_seconds", help);
    if let Some(times) = times {
        syncs.observed(&[], &times.syncs.observed());
    }
}

fn write_engine(page: &mut Page, engine: &Engine) {
    let counters = engine.counters();
    let counted = [
        (
            "nightbell_workflows_started_total",
            "Workflow executions and orchestration instances started",
            &counters.started,
        ),
        (
            "nightbell_workflows_completed_total",
            "Workflow executions and orchestration instances that completed",
            &counters.completed,
        ),
        (
            "nightbell_workflows_failed_total",
            "Workflow executions and orchestration instances that ended otherwise",
            &counters.failed,
        ),
        ("nightbell_decisions_total", "Decisions committed", &counters.commits),
        (
            "nightbell_conflicts_total",
            "Decisions repeated because of a conflict",
            &counters.conflicts,
        ),
        ("nightbell_tasks_polled_total", "Tasks handed to workers", &counters.polled),
        ("nightbell_tasks_run_total", "Built-in tasks run", &counters.run),
        ("nightbell_quarantines_total", "Executions quarantined", &counters.quarantined),
    ];
    for (name, help, count) in counted {
        page.counter(name, help).only(count.load(Ordering::Relaxed));
    }
    page.gauge("nightbell_executions_cached", "Executions in memory").only(engine.cached());
    let help = "Executions left alone after an internal error";
    page.gauge("nightbell_executions_quarantined", help).only(engine.quarantined_count());
    let evaluations = engine.evaluations();
    let help = "Evaluations of scripts, jq programs and schemas, by state";
    let mut standing = page.gauge("nightbell_evaluations", help);
    standing.add(&[("state", "busy")], evaluations.busy);
    standing.add(&[("state", "waiting")], evaluations.waiting);
    standing.add(&[("state", "stuck")], evaluations.stuck);
    let help = "Evaluations that were abandoned because they did not end";
    page.counter("nightbell_evaluations_given_up_total", help).only(evaluations.given_up);
    let meters = engine.meters();
    let help = "Duration of commits, from the decision until they were durable";
    let commits = meters.commits.observed();
    page.histogram("nightbell_commit_duration_seconds", help).observed(&[], &commits);
    let help = "Delay between the due time of a timer and its processing";
    let timers = meters.timers.observed();
    page.histogram("nightbell_timer_lateness_seconds", help).observed(&[], &timers);
}
