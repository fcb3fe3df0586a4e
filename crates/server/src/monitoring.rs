//! Metrics about monitors, deliveries and schedules, and about the server's own ability to watch; see
//! `docs/metrics.md`. All come from memory.

use std::sync::atomic::{AtomicI64, AtomicU64};

use engine::{Engine, Figures, Health, LATENESS_BOUNDS, Lateness};
use kernel::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

type Gauges<L> = Family<L, Gauge<i64, AtomicI64>>;
type Seconds<L> = Family<L, Gauge<f64, AtomicU64>>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSeverity {
    severity: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDelivery {
    receiver: String,
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSchedule {
    schedule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: String,
}

/// Adds them all.
pub(crate) fn register(registry: &mut Registry, engine: &Engine) {
    let figures = engine.figures();
    register_monitors(registry, &figures);
    register_schedules(registry, &figures);
    register_health(registry, engine, &engine.health());
}

fn register_monitors(registry: &mut Registry, figures: &Figures) {
    let monitors = Gauges::<OfState>::default();
    for (state, count) in &figures.monitors {
        let label = OfState { state: state.to_lowercase() };
        monitors.get_or_create(&label).set(*count as i64);
    }
    registry.register("monitors", "Monitors by state", monitors);
    let incidents = Gauges::<OfSeverity>::default();
    for (severity, count) in &figures.incidents {
        let label = OfSeverity { severity: (*severity).to_owned() };
        incidents.get_or_create(&label).set(*count as i64);
    }
    registry.register("incidents_open", "Open incidents by severity", incidents);
    let missed = Counter::<u64>::default();
    missed.inc_by(figures.checks_missed);
    registry.register("checks_missed", "Checks that were due and did not run", missed);
    let help = "How long after they were due checks began";
    let lateness = Classes(figures.lateness.clone());
    registry.register_with_unit("check_lateness", help, Unit::Seconds, lateness);
    let deliveries = Family::<OfDelivery, Counter>::default();
    for ((receiver, outcome), count) in &figures.deliveries {
        let label = OfDelivery { receiver: receiver.to_string(), outcome: outcome.to_string() };
        deliveries.get_or_create(&label).inc_by(*count);
    }
    registry.register("deliveries", "Notifications by receiver and outcome", deliveries);
}

fn register_schedules(registry: &mut Registry, figures: &Figures) {
    let firings = Family::<OfOutcome, Counter>::default();
    for (outcome, count) in &figures.firings {
        let label = OfOutcome { outcome: outcome.to_lowercase() };
        firings.get_or_create(&label).inc_by(*count);
    }
    registry.register("schedule_firings", "Firings of schedules by outcome", firings);
    let (last, next) = (Seconds::<OfSchedule>::default(), Seconds::<OfSchedule>::default());
    let seconds = |at: Timestamp| at.millis() as f64 / 1000.0;
    for (schedule, runs) in &figures.schedules {
        let label = OfSchedule { schedule: schedule.to_string() };
        for (family, at) in [(&last, runs.last), (&next, runs.next)] {
            if let Some(at) = at {
                family.get_or_create(&label).set(seconds(at));
            }
        }
    }
    let help = "Instant of the schedule's last run, in seconds since 1970";
    registry.register("schedule_last_run_timestamp_seconds", help, last);
    let help = "Instant of the schedule's next run, in seconds since 1970";
    registry.register("schedule_next_run_timestamp_seconds", help, next);
}

fn register_health(registry: &mut Registry, engine: &Engine, health: &Health) {
    let gauge = |value: u64| {
        let gauge: Gauge<i64, AtomicI64> = Gauge::default();
        gauge.set(value as i64);
        gauge
    };
    let healthy = gauge(u64::from(health.is_healthy()));
    registry.register("healthy", "1 if the server can do its work, as /health says", healthy);
    let problems = Gauges::<OfKind>::default();
    for kind in ["store", "checks", "deliveries"] {
        let bad = health.problems.iter().any(|problem| problem.code == kind);
        problems.get_or_create(&OfKind { kind: kind.to_owned() }).set(i64::from(bad));
    }
    registry.register("problem", "1 if the server cannot do its work for this reason", problems);
    let broken = gauge(engine.broken_receivers().len() as u64);
    registry.register("receivers_broken", "Receivers that take no notifications", broken);
    let rejected = gauge(health.rejected.len() as u64);
    registry.register("files_rejected", "Files of definitions that are refused now", rejected);
    let failures = Counter::<u64>::default();
    failures.inc_by(engine.write_failures());
    let help = "Writes that failed because the store was unavailable";
    registry.register("store_write_failures", help, failures);
    let events = Family::<OfKind, Counter>::default();
    for (kind, count) in engine.clock_events() {
        events.get_or_create(&OfKind { kind: kind.to_owned() }).inc_by(count);
    }
    let help = "Times that the clock was set forward or back, or the server stalled";
    registry.register("clock_events", help, events);
    if let Some(space) = health.space {
        let help = "Free room on the disk of the store";
        registry.register_with_unit("disk_free", help, Unit::Bytes, gauge(space.free));
        let help = "Size of the disk of the store";
        registry.register_with_unit("disk_size", help, Unit::Bytes, gauge(space.size));
    }
}

/// Lateness as a histogram.
#[derive(Debug)]
struct Classes(Lateness);

impl EncodeMetric for Classes {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let lateness = &self.0;
        let mut buckets: Vec<(f64, u64)> =
            LATENESS_BOUNDS.into_iter().zip(lateness.classes).collect();
        let within: u64 = lateness.classes.iter().sum();
        buckets.push((f64::INFINITY, lateness.count.saturating_sub(within)));
        encoder.encode_histogram::<Vec<(String, String)>>(
            lateness.sum,
            lateness.count,
            &buckets,
            None,
        )
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
