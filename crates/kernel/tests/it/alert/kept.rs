//! Which executions are kept. Of checks: those that told how things are by number, those that could
//! not by age, and whatever an incident speaks of for as long as it does. Of deliveries: so many,
//! and so long.

use kernel::alert::{
    CHECKS_KEPT, Context, DELIVERIES_AGE, DELIVERIES_KEPT, FAILED_CHECKS_AGE, FAILED_CHECKS_KEPT,
    Input, Monitor,
};
use kernel::graph::{Message, Status};
use kernel::{Effect, ExecutionId, Json, Machine, Timestamp};
use serde_json::json;

use super::bench::{START, spec_of};

struct Checks {
    monitor: Monitor,
    now: Timestamp,
    made: Vec<ExecutionId>,
    forgotten: Vec<ExecutionId>,
}

impl Checks {
    fn new() -> Self {
        let file = "receivers: { noc: { slack: \"https://s\" } }\nroutes: [{ to: noc }]\n\
                    monitors: { net: { tcp: \"h:1\", every: 1h, on_error: { after: 0 } } }";
        let monitor = Monitor::new(ExecutionId::monitor("net"));
        let mut checks = Self { monitor, now: START, made: Vec::new(), forgotten: Vec::new() };
        checks.give(Input::Define(Box::new(spec_of(file))));
        checks
    }

    fn give(&mut self, input: Input) {
        let decision = self
            .monitor
            .decide(input, &Context { now: self.now, asks_parents: false, listening_since: None });
        for effect in decision.expect("it is taken").effects {
            if let Effect::Forget(execution) = effect {
                self.forgotten.push(execution);
            }
        }
    }

    /// A delivery that begins; its number and its execution.
    fn test(&mut self, receiver: &str) -> (u32, ExecutionId) {
        self.give(Input::Test { receiver: receiver.into(), who: None });
        let sequence = *self.monitor.deliveries.keys().last().expect("it has begun");
        (sequence, self.monitor.delivery_execution(sequence))
    }

    /// A delivery ends so.
    fn delivered(&mut self, sequence: u32, status: Status) {
        self.now = self.now.plus_seconds(1);
        let child = Some(self.monitor.delivery_execution(sequence));
        let (output, reason) = (Json::empty_object(), None);
        self.give(Input::Message(Message::Ended {
            sequence,
            status,
            output,
            reason,
            child,
            asked: 0,
        }));
    }

    /// One check, which ends so; with a status, or without an answer.
    fn check(&mut self, status: Option<&str>) {
        self.now = self.now.plus_seconds(1);
        self.give(Input::Check { who: None });
        let sequence = self.monitor.check.as_ref().expect("it runs").sequence;
        let child = self.monitor.check_execution(sequence);
        self.made.push(child.clone());
        let output =
            status.map_or(json!({}), |status| json!({ "observations": { "status": status } }));
        let status = if status.is_some() { Status::Completed } else { Status::Failed };
        let (output, child) = (Json::from(output), Some(child));
        self.give(Input::Message(Message::Ended {
            sequence,
            status,
            output,
            reason: None,
            child,
            asked: 0,
        }));
    }
}

#[test]
fn checks_that_could_not_tell_go_by_age_and_by_number() {
    let mut checks = Checks::new();
    for _ in 0..FAILED_CHECKS_KEPT {
        checks.check(None);
    }
    assert_eq!(checks.forgotten, [] as [ExecutionId; 0]);
    checks.check(None);
    assert_eq!(checks.forgotten, checks.made[..1], "the oldest makes room");
    assert_eq!(checks.monitor.failed.len(), FAILED_CHECKS_KEPT);
    checks.now = checks.now.plus_millis(FAILED_CHECKS_AGE);
    checks.check(Some("ok"));
    assert_eq!(checks.forgotten, checks.made[..=FAILED_CHECKS_KEPT], "all are too old");
    assert!(checks.monitor.failed.is_empty());
}

#[test]
fn checks_that_told_go_by_number_but_not_what_an_incident_speaks_of() {
    let mut checks = Checks::new();
    checks.check(Some("ok"));
    checks.check(Some("fail"));
    let evidence = checks.made[..2].to_vec();
    for _ in 0..2 * CHECKS_KEPT {
        checks.check(Some("fail"));
    }
    assert!(checks.forgotten.len() >= CHECKS_KEPT, "{:?}", checks.forgotten);
    let lost = evidence.iter().filter(|it| checks.forgotten.contains(it)).count();
    assert_eq!(lost, 0, "the first that saw it, and the last that saw nothing");
}

/// Deliveries end one after the other; the executions of those beyond the number are forgotten, in
/// the order in which they ended.
#[test]
fn deliveries_go_by_number() {
    let mut checks = Checks::new();
    let mut told = Vec::new();
    for _ in 0..DELIVERIES_KEPT + 3 {
        told.push(checks.test("noc"));
    }
    // The first takes its time, and so it ends last.
    let slow = told.remove(0);
    for (sequence, _) in told.clone() {
        checks.delivered(sequence, Status::Completed);
    }
    checks.delivered(slow.0, Status::Failed);
    let executions: Vec<_> = told.into_iter().map(|(_, execution)| execution).collect();
    assert_eq!(checks.forgotten, executions[..3]);
    assert_eq!(checks.monitor.deliveries.len(), DELIVERIES_KEPT);
    assert!(checks.monitor.deliveries.contains_key(&slow.0), "what ended last is there");
}

/// By age they go as the monitor goes on, without another delivery; but not while what they told of
/// is not over.
#[test]
fn deliveries_go_by_age() {
    let mut checks = Checks::new();
    let (old, old_execution) = checks.test("noc");
    checks.delivered(old, Status::Completed);
    checks.check(Some("fail"));
    let open = *checks.monitor.deliveries.keys().last().expect("it is told");
    checks.delivered(open, Status::Completed);
    checks.check(Some("fail"));
    assert_eq!(checks.forgotten, [] as [ExecutionId; 0]);
    checks.now = checks.now.plus_millis(DELIVERIES_AGE);
    checks.check(Some("fail"));
    assert_eq!(checks.forgotten, [old_execution]);
    checks.check(Some("ok"));
    let end = *checks.monitor.deliveries.keys().last().expect("the end is told");
    checks.delivered(end, Status::Completed);
    let kept: Vec<u32> = checks.monitor.deliveries.keys().copied().collect();
    assert!(kept.contains(&end), "{kept:?}");
    checks.check(Some("ok"));
    let kept: Vec<u32> = checks.monitor.deliveries.keys().copied().collect();
    assert_eq!(kept, [end], "what told of it goes with it; that it is over is new");
    let execution = checks.monitor.delivery_execution(open);
    assert!(checks.forgotten.contains(&execution), "{:?}", checks.forgotten);
}
