//! Rollups: every check is counted once, in the cell of its time, whatever became of it.

use std::collections::BTreeMap;

use kernel::alert::{Cell, Context, Event, Input, Monitor, ROLLUP_LEDGER, Step, cells_of_line};
use kernel::graph::{Message, Status};
use kernel::{Effect, ExecutionId, Json, Machine, Timestamp};
use serde_json::{Value, json};

use super::bench::{START, spec_of};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A monitor with its history and its lines of the ledger, the latest under each key.
struct Watch {
    monitor: Monitor,
    now: Timestamp,
    history: Vec<Event>,
    lines: BTreeMap<String, (String, Json)>,
}

impl Watch {
    fn new(monitors: &str) -> Self {
        let file = format!(
            "receivers: {{ noc: {{ slack: \"https://s\" }} }}\nroutes: [{{ to: noc }}]\nmonitors: {monitors}"
        );
        let spec = spec_of(&file);
        let monitor = Monitor::new(ExecutionId::monitor(&spec.monitor.name));
        let (history, lines) = (Vec::new(), BTreeMap::new());
        let mut watch = Self { monitor, now: START, history, lines };
        watch.give(Input::Define(Box::new(spec)));
        watch
    }

    fn give(&mut self, input: Input) {
        let context = Context { now: self.now, asks_parents: false, listening_since: None };
        let decision = self.monitor.decide(input, &context).expect("it is taken");
        self.history.extend(decision.events);
        for effect in decision.effects {
            if let Effect::Record(line) = effect
                && line.ledger == ROLLUP_LEDGER
            {
                assert_eq!(&*line.subject, self.monitor.name());
                self.lines.insert(line.key.to_string(), (line.status.to_string(), line.body));
            }
        }
    }

    /// Lets the check that is due begin and end so, some time later; none = without an answer.
    fn check(&mut self, took: i64, rows: Option<Value>) {
        if self.monitor.check.is_none() {
            self.give(Input::Check { who: None });
        }
        self.now = self.now.plus_millis(took);
        let sequence = self.monitor.check.as_ref().expect("it runs").sequence;
        let status = if rows.is_some() { Status::Completed } else { Status::Failed };
        let output = Json::from(json!({ "observations": rows.unwrap_or_default() }));
        let child = Some(self.monitor.check_execution(sequence));
        let reason = None;
        let ended = Message::Ended { sequence, status, output, reason, child, asked: 0 };
        self.give(Input::Message(ended));
    }

    /// Everything that is known of a step, by the beginnings of the cells.
    fn cells(&self, step: Step) -> BTreeMap<Timestamp, Cell> {
        let lines = self.lines.values().filter(|(status, _)| status == step.as_str());
        let kept = lines.flat_map(|(_, body)| cells_of_line(step, body).expect("it is a block"));
        let mut cells: BTreeMap<Timestamp, Cell> = kept.collect();
        for (at, cell) in self.monitor.rollups.cells(step) {
            assert!(cells.insert(at, cell).is_none(), "{at} is in the ledger and in the state");
        }
        cells
    }

    fn all(&self, step: Step) -> Cell {
        let mut all = Cell::default();
        self.cells(step).values().for_each(|cell| all.merge(cell));
        all
    }
}

#[test]
fn a_check_counts_by_its_worst_row_and_by_what_it_measured() {
    let mut watch = Watch::new("{ web: { tcp: \"h:1\", every: 1m } }");
    watch.check(40, Some(json!({ "status": "ok" })));
    watch.check(90, Some(json!({ "status": "ok", "attrs": { "ms": 7 } })));
    watch
        .check(50, Some(json!([{ "key": "a", "status": "warn" }, { "key": "b", "status": "ok" }])));
    watch.check(
        60,
        Some(json!([{ "key": "a", "status": "warn" }, { "key": "b", "status": "fail" }])),
    );
    watch.check(30_000, None);
    for step in Step::ALL {
        let all = watch.all(step);
        assert_eq!((all.ok, all.warn, all.fail, all.unknown, all.missed), (2, 1, 1, 1, 0));
        assert_eq!(
            (all.checks(), all.incidents),
            (5, 2),
            "a opened by the warning, b by the failure"
        );
        let times = (all.times.min, all.times.max, all.times.sum, all.times.count());
        assert_eq!(times, (7, 60, 157, 4), "who could not tell took as long as one waited");
        assert_eq!(all.well(), Some(0.75));
    }
    let mut folded = Monitor::new(watch.monitor.id.clone());
    watch.history.iter().for_each(|event| folded.apply(event));
    assert_eq!(folded.rollups, watch.monitor.rollups, "it is part of the history");
}

#[test]
fn a_heartbeat_counts_calls_and_those_that_did_not_come() {
    use kernel::alert::{Ping, PingKind};
    let mut watch = Watch::new("{ job: { heartbeat: { every: 1h, grace: 5m, key: k-1 } } }");
    let ping = |kind| Input::Ping(Ping { kind, run: None, text: None });
    watch.give(ping(PingKind::Start));
    watch.now = watch.now.plus_millis(4_000);
    watch.give(ping(PingKind::Success));
    watch.give(ping(PingKind::Log));
    watch.give(ping(PingKind::Exit(3)));
    watch.now = watch.now.plus_millis(2 * HOUR);
    watch.give(Input::Wake);
    let all = watch.all(Step::Day);
    assert_eq!((all.ok, all.fail, all.missed), (1, 2, 0));
    assert_eq!((all.times.count(), all.times.sum), (1, 4_000), "how long the job ran");
}

/// Three days of checks each five minutes, with an hour of absence in each: what the ledger keeps and
/// what the state counts are each check once.
#[test]
fn nothing_is_lost_or_counted_twice_where_blocks_end() {
    let mut watch = Watch::new("{ web: { tcp: \"h:1\", every: 5m } }");
    let (mut made, mut missed) = (0, 0);
    while watch.now.since(START) < 72 * HOUR {
        let next = watch.monitor.next_at.expect("one is planned");
        let is_away = next.millis().rem_euclid(24 * HOUR) < 5 * MINUTE;
        // After an hour the one that is due is made, and those before it are missed.
        let (late, lost) = if is_away { (HOUR, 12) } else { (0, 0) };
        watch.now = next.plus_millis(late);
        watch.give(Input::Wake);
        watch.check(20, Some(json!({ "status": "ok" })));
        (made, missed) = (made + 1, missed + lost);
    }
    for step in [Step::Hour, Step::Day] {
        let all = watch.all(step);
        assert_eq!((all.ok, all.missed), (made, missed), "{}", step.as_str());
    }
    assert!(missed > 30, "{missed}");
    let fine = watch.cells(Step::FiveMinutes);
    assert!(
        fine.values().all(|cell| cell.ok + cell.missed <= 2),
        "each is in the cell of its time"
    );
    let lines = watch.lines.values().filter(|(status, _)| status == "5m").count();
    assert_eq!(lines, 49, "the ring of two days is full, and no longer");
    let from = watch.now.plus_millis(-Step::FiveMinutes.kept_millis());
    let first = Step::FiveMinutes.floor(from);
    let kept = fine.range(first..).map(|(_, cell)| cell.ok + cell.missed).sum::<u32>();
    assert!((576..=578).contains(&kept), "two days are there without a gap: {kept}");
}

#[test]
fn a_long_absence_is_counted_by_hours_and_a_longer_one_by_days() {
    for (away, facts) in [(20 * HOUR, 21), (30 * 24 * HOUR, 31)] {
        let mut watch = Watch::new("{ web: { tcp: \"h:1\", every: 5m } }");
        watch.now = watch.now.plus_millis(away);
        let before = watch.history.len();
        watch.give(Input::Wake);
        let counted = watch.history[before..].iter().filter(|it| matches!(it, Event::Counted(_)));
        let counted = counted.count();
        assert!(counted <= facts, "{counted} facts");
        let expected = u32::try_from(away / (5 * MINUTE)).expect("a count");
        let missed = watch.all(Step::Day).missed;
        assert!(missed.abs_diff(expected) <= 1, "{missed} of {expected}");
    }
}

#[test]
fn a_clock_that_is_set_back_loses_no_check() {
    let mut watch = Watch::new("{ web: { tcp: \"h:1\", every: 1m } }");
    for _ in 0..3 {
        watch.check(10, Some(json!({ "status": "ok" })));
        watch.now = watch.now.plus_millis(HOUR);
    }
    watch.now = watch.now.plus_millis(-26 * HOUR);
    for _ in 0..3 {
        watch.check(10, Some(json!({ "status": "ok" })));
    }
    for step in Step::ALL {
        assert_eq!(watch.all(step).ok, 6, "{}", step.as_str());
    }
}

#[test]
fn a_monitor_that_is_removed_leaves_what_it_has_counted() {
    let mut watch = Watch::new("{ web: { tcp: \"h:1\", every: 1m } }");
    watch.check(10, Some(json!({ "status": "ok" })));
    assert!(watch.lines.is_empty());
    watch.give(Input::Remove { who: None });
    for step in Step::ALL {
        let (_, body) =
            watch.lines.values().find(|(status, _)| status == step.as_str()).expect("a line");
        let cells = cells_of_line(step, body).expect("it is a block");
        assert_eq!(cells.iter().map(|(_, cell)| cell.ok).sum::<u32>(), 1, "{}", step.as_str());
    }
}
