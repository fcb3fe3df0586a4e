//! Metrics about monitors, deliveries and schedules, and about the server's own ability to watch. All
//! come from memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{AttemptOutcome, Engine, Figures, Health, RECEIVERS_MAX, Runs};
use kernel::Timestamp;

use super::exposition::Page;

pub(super) fn write(page: &mut Page, engine: &Engine) {
    let figures = engine.figures();
    let receivers = engine.receiver_states(RECEIVERS_MAX);
    write_monitors(page, engine, &figures);
    write_deliveries(page, engine, &figures, &receivers);
    write_schedules(page, &figures);
    write_health(page, engine, &engine.health());
}

fn write_monitors(page: &mut Page, engine: &Engine, figures: &Figures) {
    let mut monitors = page.gauge("nightbell_monitors", "Monitors by state");
    for (state, count) in &figures.monitors {
        monitors.add(&[("state", &state.to_lowercase())], count);
    }
    let mut incidents = page.gauge("nightbell_incidents_open", "Open incidents by severity");
    for (severity, count) in &figures.incidents {
        incidents.add(&[("severity", severity)], count);
    }
    let help = "Checks that were due and did not run";
    page.counter("nightbell_checks_missed_total", help).only(figures.checks_missed);
    let help = "Delay between the due time of a check and its start";
    let checks = engine.meters().checks.observed();
    page.histogram("nightbell_check_lateness_seconds", help).observed(&[], &checks);
}

fn write_deliveries(
    page: &mut Page,
    engine: &Engine,
    figures: &Figures,
    receivers: &[(Arc<str>, bool)],
) {
    // Those of which none was made are told too: an increase is seen from the first on.
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (receiver, _) in receivers {
        counts.extend(["sent", "dead"].map(|outcome| ((&**receiver, outcome), 0)));
    }
    for ((receiver, outcome), count) in &figures.deliveries {
        counts.insert((receiver, outcome), *count);
    }
    let help = "Notifications that ended, by receiver and outcome";
    let mut deliveries = page.counter("nightbell_deliveries_total", help);
    for ((receiver, outcome), count) in counts {
        deliveries.add(&[("receiver", receiver), ("outcome", outcome)], count);
    }
    let meters = engine.meters();
    let help = "Duration of delivery attempts, by outcome";
    let mut attempts = page.histogram("nightbell_delivery_duration_seconds", help);
    for told in AttemptOutcome::ALL {
        let observed = meters.deliveries[told as usize].observed();
        attempts.observed(&[("outcome", told.as_str())], &observed);
    }
    let help = "Time from when a notification was due until its receiver accepted it";
    let latency = meters.notifications.observed();
    page.histogram("nightbell_delivery_latency_seconds", help).observed(&[], &latency);
    let help = "Receivers that do not accept notifications";
    page.gauge("nightbell_receivers_broken", help).only(engine.broken_count());
    let help = "1 if the receiver does not accept notifications";
    let mut broken = page.gauge("nightbell_receiver_broken", help);
    for (receiver, is_broken) in receivers {
        broken.add(&[("receiver", receiver)], u8::from(*is_broken));
    }
}

/// One of the instants of a schedule.
type Instant = fn(&Runs) -> Option<Timestamp>;

fn write_schedules(page: &mut Page, figures: &Figures) {
    let outcomes = ["EXECUTED", "FAILED", "MISSED", "SKIPPED"];
    let mut counts: BTreeMap<&str, u64> = outcomes.map(|outcome| (outcome, 0)).into();
    counts.extend(figures.firings.iter().map(|(outcome, count)| (&**outcome, *count)));
    let help = "Firings of schedules, by outcome";
    let mut firings = page.counter("nightbell_schedule_firings_total", help);
    for (outcome, count) in counts {
        firings.add(&[("outcome", &outcome.to_lowercase())], count);
    }
    let seconds = |at: Timestamp| at.millis() as f64 / 1000.0;
    let instants: [(&'static str, &str, Instant); 2] = [
        (
            "nightbell_schedule_last_run_timestamp_seconds",
            "Time of the schedule's last run, in seconds since the Unix epoch",
            |runs| runs.last,
        ),
        (
            "nightbell_schedule_next_run_timestamp_seconds",
            "Time of the schedule's next run, in seconds since the Unix epoch",
            |runs| runs.next,
        ),
    ];
    for (name, help, instant) in instants {
        let mut samples = page.gauge(name, help);
        for (schedule, runs) in &figures.schedules {
            if let Some(at) = instant(runs) {
                samples.add(&[("schedule", schedule)], seconds(at));
            }
        }
    }
}

fn write_health(page: &mut Page, engine: &Engine, health: &Health) {
    let healthy = u8::from(health.is_healthy());
    page.gauge("nightbell_healthy", "1 if the server can do its work, as /health says")
        .only(healthy);
    let help = "1 if the server cannot do its work for this reason";
    let mut problems = page.gauge("nightbell_problem", help);
    for kind in ["store", "checks", "deliveries"] {
        let bad = health.problems.iter().any(|problem| problem.code == kind);
        problems.add(&[("kind", kind)], u8::from(bad));
    }
    let help = "Definition files that are currently rejected";
    page.gauge("nightbell_files_rejected", help).only(health.rejected.len());
    let help = "Number of times that the clock was set forward or back, or the server stalled";
    let mut events = page.counter("nightbell_clock_events_total", help);
    for (kind, count) in engine.clock_events() {
        events.add(&[("kind", kind)], count);
    }
    let free = page.gauge("nightbell_disk_free_bytes", "Free space on the disk of the store");
    if let Some(space) = health.space {
        free.only(space.free);
    }
    let size = page.gauge("nightbell_disk_size_bytes", "Size of the disk of the store");
    if let Some(space) = health.space {
        size.only(space.size);
    }
}
