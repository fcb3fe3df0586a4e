//! Metrics of queues: how much waits and is held, how old the oldest is, and how long tasks waited.

use std::cmp::Reverse;

use engine::{Engine, QueueState, Taker};
use kernel::graph::WEBHOOK_QUEUE;

use super::exposition::Page;

/// Queues that the metrics name; all others are `(other)` together.
const QUEUES_SHOWN_MAX: usize = 1000;

pub(super) fn write(page: &mut Page, engine: &Engine) {
    let states = shown(engine);
    let mut waiting = page.gauge("nightbell_queue_waiting", "Tasks that wait, by queue");
    for state in &states {
        waiting.add(&[("queue", &state.name)], state.waiting);
    }
    let mut held = page.gauge("nightbell_queue_held", "Tasks that are in progress, by queue");
    for state in &states {
        held.add(&[("queue", &state.name)], state.held);
    }
    let help = "Waiting time of the oldest ready task, by queue";
    let mut oldest = page.gauge("nightbell_queue_oldest_age_seconds", help);
    let now = engine.now();
    // What waits for a payload from outside may do so for days.
    for state in states.iter().filter(|state| !state.name.starts_with(WEBHOOK_QUEUE)) {
        let millis = state.oldest.map_or(0, |at| now.since(at).max(0));
        oldest.add(&[("queue", &state.name)], millis as f64 / 1000.0);
    }
    let help = "Time from when tasks were ready until they were handed out";
    let mut waits = page.histogram("nightbell_queue_wait_seconds", help);
    for (name, taker) in [("worker", Taker::Worker), ("server", Taker::Server)] {
        waits.observed(&[("taker", name)], &engine.queues().waited(taker));
    }
}

/// The queues that the metrics name. If there are too many, those go first that hold most, and then
/// those that a definition names: any client can poll for names that mean nothing.
fn shown(engine: &Engine) -> Vec<QueueState> {
    let mut states = engine.queues().states();
    if states.len() <= QUEUES_SHOWN_MAX {
        return states;
    }
    states.sort_by_cached_key(|queue| {
        let name = queue.name.split_once(':').map_or(&*queue.name, |(_, name)| name);
        Reverse((queue.waiting + queue.held, engine.definitions().task(name).is_some()))
    });
    let mut others = QueueState { name: "(other)".into(), waiting: 0, held: 0, oldest: None };
    for hidden in states.drain(QUEUES_SHOWN_MAX..) {
        others.waiting += hidden.waiting;
        others.held += hidden.held;
        others.oldest = others.oldest.into_iter().chain(hidden.oldest).min();
    }
    states.push(others);
    states
}
