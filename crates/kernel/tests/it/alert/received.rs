//! Alerts that are received: leases, what is written of them, limits; and that looking at some
//! incidents alone comes to the same as looking at all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kernel::alert::definition::{
    ChecklistOptions, Matcher, Recurring, Severity, Silence, load as load_file,
};
use kernel::alert::{
    AFTER_START, Alert, Context, Event, Input, LIMIT_KEY, Lease, Monitor, Receiving, State,
    explain, severity_named,
};
use kernel::graph::{Message, Status};
use kernel::{Effect, ExecutionId, Json, Machine, Rejected, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::bench::{START, spec_of, state};

const MINUTE: i64 = 60_000;
/// What Prometheus says of an alert: four times the minute after which it says it again.
const LEASE: i64 = 4 * MINUTE;

/// A monitor, what it sent and has not heard of, and what receivers were told.
struct Harness {
    monitor: Monitor,
    now: Timestamp,
    since: Option<Timestamp>,
    under_way: Vec<(u32, ExecutionId)>,
    told: Vec<(String, String)>,
}

const ROUTES: &str =
    "receivers: { noc: { slack: \"https://s\" } }\nroutes: [{ to: noc, remind: 4h }]\n";

impl Harness {
    fn new(settings: &str) -> Self {
        Self::with(ROUTES, settings)
    }

    fn with(routes: &str, settings: &str) -> Self {
        let spec = spec_of(&format!("{routes}monitors: {{ prom: {settings} }}"));
        let monitor = Monitor::new(ExecutionId::monitor("prom"));
        let (under_way, told) = (Vec::new(), Vec::new());
        let mut harness = Self { monitor, now: START, since: None, under_way, told };
        harness.give(Input::Define(Box::new(spec)));
        harness
    }

    fn try_give(&mut self, input: Input) -> Result<Vec<Event>, Rejected> {
        let context = Context { now: self.now, asks_parents: false, listening_since: self.since };
        let decision = self.monitor.decide(input, &context)?;
        for effect in decision.effects {
            let Effect::Send { to, message } = effect else { continue };
            let Message::Start(start) = *message else { continue };
            let sequence = start.parent.as_ref().expect("somebody waits").sequence;
            let told = &start.input.parse()["notification"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            match told["group"]["members"].as_array() {
                Some(members) => {
                    let keys = members.iter().map(|it| text(&it["key"])).collect::<Vec<_>>();
                    self.told.push((text(&told["event"]), keys.join(" ")));
                }
                None => self.told.push((text(&told["event"]), text(&told["key"]))),
            }
            self.under_way.push((sequence, to));
        }
        Ok(decision.events)
    }

    fn give(&mut self, input: Input) -> Vec<Event> {
        self.try_give(input).expect("it is taken")
    }

    /// Lets all deliveries that are under way arrive.
    fn deliver(&mut self) {
        while let Some((sequence, child)) = self.under_way.pop() {
            self.give(arrived(sequence, child, true));
        }
    }

    /// Goes on by so many milliseconds, by way of every wake-up.
    fn pass(&mut self, millis: i64) {
        let end = self.now.plus_millis(millis);
        while let Some(at) = self.monitor.wake_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.give(Input::Wake);
            self.deliver();
            assert!(self.monitor.wake_at().is_none_or(|at| at > self.now), "no busy loop");
        }
        self.now = end;
    }

    fn send(&mut self, alerts: Vec<Alert>) -> Vec<Event> {
        let events = self.give(Input::Alerts(alerts));
        self.deliver();
        events
    }

    fn fires(&mut self, labels: &[(&str, &str)]) -> Vec<Event> {
        let until = Lease::Until(self.now.plus_millis(LEASE));
        self.send(vec![alert(labels, until)])
    }

    fn told(&mut self) -> Vec<String> {
        self.told.drain(..).map(|(event, key)| format!("{event} {key}")).collect()
    }

    fn open(&self) -> Vec<&str> {
        let open = self.monitor.incidents.values().filter(|it| it.state.is_open());
        open.map(|it| &*it.key).collect()
    }
}

fn arrived(sequence: u32, child: ExecutionId, sent: bool) -> Input {
    let status = if sent { Status::Completed } else { Status::Failed };
    let (output, reason) = (Json::from(json!({})), None);
    Input::Message(Message::Ended {
        sequence,
        status,
        output,
        reason,
        child: Some(child),
        asked: 0,
    })
}

fn alert(labels: &[(&str, &str)], lease: Lease) -> Alert {
    let labels = labels.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value)));
    Alert { labels: labels.collect(), lease, ..Alert::default() }
}

const KEYED: &str = "{ alerts: { key: 0123456789abcdef0123 } }";
const KEYED_TWICE: &str = "{ key: [0123456789abcdef0123, \"${secret:TWO}\"] }";
const DOWN: [(&str, &str); 3] = [("alertname", "Down"), ("job", "node"), ("severity", "page")];

#[test]
fn an_alert_pages_once_however_often_it_is_sent_and_ends_when_its_sender_says_so() {
    let mut harness = Harness::new(KEYED);
    for _ in 0..30 {
        harness.fires(&DOWN);
        harness.pass(MINUTE);
    }
    assert_eq!(harness.told(), [r#"trigger Down{job="node",severity="page"}"#]);
    let incident = harness.monitor.incidents.values().next().expect("there is one");
    assert_eq!(incident.severity, Severity::Critical, "what others call a page is critical");
    assert_eq!(incident.labels.len(), 3);
    for _ in 0..15 {
        // Prometheus says for a quarter of an hour that it is over.
        harness.send(vec![alert(&DOWN, Lease::Until(harness.now))]);
        harness.pass(MINUTE);
    }
    assert_eq!(harness.told(), [r#"resolve Down{job="node",severity="page"}"#]);
    assert_eq!(harness.monitor.past.len(), 1);
    assert_eq!(harness.monitor.wake_at(), None);
}

#[test]
fn what_is_not_sent_again_is_over_when_its_lease_ends() {
    let mut harness = Harness::new(KEYED);
    harness.fires(&DOWN);
    harness.pass(LEASE - 1);
    assert_eq!(harness.open().len(), 1);
    harness.pass(1);
    assert!(harness.open().is_empty());
    assert_eq!(harness.told().len(), 2);
    let over = harness.monitor.past.back().expect("it is over");
    let why = over.history.iter().find(|it| &*it.what == "resolved").and_then(|it| it.why.clone());
    assert_eq!(why.as_deref(), Some("not sent again by 2026-01-01T00:04:00Z"));
}

#[test]
fn an_alert_without_an_end_fires_for_as_long_as_the_monitor_says() {
    for (settings, millis) in [
        (KEYED, 5 * MINUTE),
        ("{ alerts: { key: 0123456789abcdef0123, resolve_timeout: 7m } }", 7 * MINUTE),
    ] {
        let mut harness = Harness::new(settings);
        harness.send(vec![alert(&DOWN, Lease::Usual)]);
        assert_eq!(harness.monitor.wake_at(), Some(START.plus_millis(millis)));
    }
    let mut harness = Harness::new(KEYED);
    harness.send(vec![alert(&DOWN, Lease::Open)]);
    harness.pass(3 * 60 * MINUTE);
    assert_eq!(harness.open().len(), 1, "it fires until it is said to be over");
    harness.send(vec![alert(&DOWN, Lease::Over)]);
    assert_eq!(harness.told().len(), 2);
}

#[test]
fn what_only_prolongs_is_written_at_half_a_lease() {
    let mut harness = Harness::new(KEYED);
    harness.fires(&DOWN);
    let mut written = Vec::new();
    for minute in 1..=8 {
        harness.pass(MINUTE);
        let mut said = alert(&DOWN, Lease::Until(harness.now.plus_millis(LEASE)));
        said.annotations.insert("summary".into(), format!("since {minute} min").into());
        if !harness.send(vec![said]).is_empty() {
            written.push(minute);
        }
    }
    // Each says another text: it is written with the lease.
    assert_eq!(written, [3, 6], "a lease of which more than half is left is not written");
    let incident = harness.monitor.incidents.values().next().expect("it fires");
    assert_eq!(incident.text.as_deref(), Some("since 6 min"));
    assert_eq!(harness.told().len(), 1);

    // The same text: one short fact for all of them.
    let mut harness = Harness::new(KEYED);
    let alerts = |harness: &Harness| -> Vec<Alert> {
        let until = Lease::Until(harness.now.plus_millis(LEASE));
        let named = |at: usize| alert(&[("alertname", &format!("A{at}"))], until);
        (0..50).map(named).collect()
    };
    let sent = alerts(&harness);
    harness.send(sent);
    harness.pass(3 * MINUTE);
    let sent = alerts(&harness);
    let events = harness.send(sent);
    assert!(
        matches!(&events[..], [Event::At(_), Event::Prolonged { numbers, .. }]
        if numbers.len() == 50),
        "{events:?}"
    );
    harness.pass(LEASE - 1);
    assert_eq!(harness.open().len(), 50);
    harness.pass(1);
    assert_eq!(harness.open().len(), 0);
}

#[test]
fn two_replicas_page_once_and_the_first_to_see_the_end_does_not_end_it() {
    let mut harness = Harness::new("{ alerts: { key: 0123456789abcdef0123, ignore: [replica] } }");
    let of = |replica: &'static str| [("alertname", "Down"), ("replica", replica)];
    for _ in 0..5 {
        harness.fires(&of("a"));
        harness.pass(MINUTE / 3);
        harness.fires(&of("b"));
        harness.pass(2 * MINUTE / 3);
    }
    assert_eq!(harness.told(), ["trigger Down"]);
    // One sees the end before the other, and says so again and again.
    for _ in 0..3 {
        harness.send(vec![alert(&of("a"), Lease::Over)]);
        harness.pass(MINUTE / 3);
        harness.fires(&of("b"));
        harness.pass(2 * MINUTE / 3);
    }
    assert!(harness.told().is_empty());
    assert_eq!(harness.open(), ["Down"]);
    for replica in ["b", "a", "b"] {
        harness.send(vec![alert(&of(replica), Lease::Over)]);
    }
    assert_eq!(harness.told(), ["resolve Down"], "it ended once");
    // What the other has not said for long does not count.
    harness.fires(&of("a"));
    harness.pass(LEASE - MINUTE);
    harness.fires(&of("b"));
    harness.pass(MINUTE);
    harness.send(vec![alert(&of("b"), Lease::Over)]);
    assert_eq!(harness.told().len(), 2);
}

#[test]
fn after_a_restart_every_alert_is_kept_for_a_while() {
    let mut harness = Harness::new(KEYED);
    harness.fires(&DOWN);
    // The server was away for an hour: nobody could send anything.
    harness.now = harness.now.plus_millis(60 * MINUTE);
    harness.since = Some(harness.now);
    harness.give(Input::Wake);
    assert_eq!(harness.open().len(), 1);
    assert_eq!(harness.monitor.wake_at(), Some(harness.now.plus_millis(AFTER_START)));
    harness.pass(AFTER_START - 1);
    assert_eq!(harness.told().len(), 1, "it pages nobody again");
    harness.fires(&DOWN);
    harness.pass(LEASE - 1);
    assert_eq!((harness.told().len(), harness.open().len()), (0, 1));
    harness.pass(1);
    assert_eq!(harness.told().len(), 1, "it is over at last");
}

#[test]
fn after_a_restart_the_first_replica_does_not_end_what_the_other_has_not_sent_again_yet() {
    let mut harness = Harness::new("{ alerts: { key: 0123456789abcdef0123, ignore: [replica] } }");
    let of = |replica: &'static str| [("alertname", "Down"), ("replica", replica)];
    harness.fires(&of("a"));
    harness.fires(&of("b"));
    harness.told();
    harness.now = harness.now.plus_millis(60 * MINUTE);
    harness.since = Some(harness.now);
    harness.give(Input::Wake);
    harness.send(vec![alert(&of("a"), Lease::Over)]);
    assert_eq!(harness.open(), ["Down"], "b could not say it");
    harness.pass(MINUTE);
    harness.fires(&of("b"));
    harness.pass(LEASE - 1);
    assert_eq!((harness.open().len(), harness.told().len()), (1, 0));
    harness.send(vec![alert(&of("b"), Lease::Over)]);
    assert_eq!(harness.told(), ["resolve Down"]);

    // What says nothing until the grace ends counts no more.
    harness.fires(&of("a"));
    harness.fires(&of("b"));
    harness.now = harness.now.plus_millis(60 * MINUTE);
    harness.since = Some(harness.now);
    harness.send(vec![alert(&of("a"), Lease::Over)]);
    harness.pass(AFTER_START - 1);
    assert_eq!(harness.open(), ["Down"]);
    harness.pass(1);
    assert_eq!(harness.open(), [""; 0]);
}

#[test]
fn too_many_alerts_are_an_incident_and_those_that_fire_are_heard_still() {
    let mut harness = Harness::new("{ alerts: { key: 0123456789abcdef0123, limit: 10 } }");
    let named = |harness: &Harness, at: usize, lease: i64| {
        let until = Lease::Until(harness.now.plus_millis(lease));
        alert(&[("alertname", &format!("A{at}"))], until)
    };
    let sent = (0..12).map(|at| named(&harness, at, LEASE)).collect();
    harness.send(sent);
    assert!(harness.monitor.is_full());
    assert_eq!(harness.open().len(), 11, "ten, and that there are too many");
    let full = &harness.monitor.incidents[LIMIT_KEY];
    assert!(full.text.as_deref().is_some_and(|it| it.contains("2 were refused")), "{full:?}");
    harness.told();
    // Those that fire are prolonged, though others are refused beside them.
    harness.pass(3 * MINUTE);
    let sent = (0..12).map(|at| named(&harness, at, LEASE)).collect();
    harness.send(sent);
    harness.pass(2 * MINUTE);
    assert_eq!((harness.open().len(), harness.told().len()), (11, 0));
    // One less is not yet room.
    harness.send(vec![named(&harness, 0, 0)]);
    assert!(harness.monitor.is_full());
    harness.send(vec![named(&harness, 1, 0)]);
    assert!(!harness.monitor.is_full());
    assert_eq!(harness.told().len(), 3, "two are over, and so is that there are too many");
    assert!(!harness.monitor.is_down() || harness.open().len() == 8);
}

#[test]
fn a_small_limit_has_room_again_only_when_an_alert_is_over() {
    let mut harness = Harness::new("{ alerts: { key: 0123456789abcdef0123, limit: 3 } }");
    let named = |at: usize, lease| alert(&[("alertname", &format!("A{at}"))], lease);
    harness.send((0..4).map(|at| named(at, Lease::Open)).collect());
    assert!(harness.monitor.is_full());
    harness.told();
    for _ in 0..3 {
        harness.pass(MINUTE);
        harness.send((0..3).map(|at| named(at, Lease::Open)).collect());
        assert!(harness.monitor.is_full(), "three fire still");
    }
    assert_eq!(harness.told(), [""; 0]);
    harness.send(vec![named(0, Lease::Over)]);
    // It counts until its receivers have heard of it, which what comes next sees.
    harness.send(vec![named(1, Lease::Open)]);
    assert!(!harness.monitor.is_full());
}

#[test]
fn labels_and_texts_of_an_alert_are_those_that_routes_and_templates_see() {
    let settings =
        "{ alerts: { key: 0123456789abcdef0123 }, labels: { team: \"{{ namespace }}-ops\" } }";
    let routes = "receivers: { noc: { slack: \"https://s\" }, db: { slack: \"https://d\" } }\n\
        routes: [{ match: { team: shop-ops, labels.severity: p3, severity: warning }, to: db }, { to: noc }]\n";
    let mut harness = Harness::with(routes, settings);
    let mut said = alert(
        &[("alertname", "Slow"), ("namespace", "shop"), ("severity", "p3"), ("empty", "")],
        Lease::Open,
    );
    said.annotations.insert("description".into(), "9 s".into());
    harness.send(vec![said]);
    let incident = harness.monitor.incidents.values().next().expect("it fires");
    assert_eq!(&*incident.key, r#"Slow{namespace="shop",severity="p3"}"#);
    assert_eq!(incident.labels.get("team").map(|it| &**it), Some("shop-ops"));
    assert_eq!((incident.severity, incident.text.as_deref()), (Severity::Warning, Some("9 s")));
    assert_eq!(incident.told.keys().map(|it| &**it).collect::<Vec<_>>(), ["db"]);
}

#[test]
fn different_labels_have_different_keys() {
    let settings = "{ alerts: { key: 0123456789abcdef0123, ignore: [replica] } }";
    let spec = spec_of(&format!("monitors: {{ prom: {settings} }}"));
    let receiving = Receiving::of(&spec.monitor);
    for (labels, key) in [
        (&[("alertname", "Down"), ("a", "1"), ("b", "2")][..], r#"Down{a="1",b="2"}"#),
        (&[("alertname", "Down"), (r#"a="1",b"#, "2")], r#"Down{"a=\"1\",b"="2"}"#),
        (&[("alertname", r#"Down{a="1"}"#)], r#""Down{a=\"1\"}""#),
        (&[("alertname", "Node down")], r#""Node down""#),
        (&[("alertname", "2xx"), ("größe", "1")], r#""2xx"{"größe"="1"}"#),
        (&[("job", "node")], r#"{job="node"}"#),
        (&[("replica", "a")], "{}"),
    ] {
        let said = alert(labels, Lease::Open);
        assert!(said.check().is_ok());
        assert_eq!(&*receiving.key_of(&said), key);
    }
    let mut empty = alert(&[("alertname", ""), ("job", "")], Lease::Open);
    assert!(empty.check().is_err(), "empty labels are none");
    empty.key = Some("".into());
    assert!(empty.check().is_err());
    empty.key = Some("disk".into());
    assert!(empty.check().is_ok());
}

#[test]
fn alerts_that_are_too_large_are_refused_and_other_monitors_take_none() {
    assert!(Alert::default().check().is_err());
    assert!(alert(&[("a", &"x".repeat(9000))], Lease::Open).check().is_err());
    assert!(alert(&[("a\n", "x")], Lease::Open).check().is_err());
    assert!(alert(&DOWN, Lease::Open).check().is_ok());
    for (text, severity) in
        [("Page", Severity::Critical), ("minor", Severity::Warning), ("p2", Severity::Error)]
    {
        assert_eq!(severity_named(text), Some(severity));
    }
    let mut harness = Harness::new("{ heartbeat: { every: 1h } }");
    let refused = harness.try_give(Input::Alerts(vec![alert(&DOWN, Lease::Open)]));
    assert!(matches!(refused, Err(Rejected::Conflict(_))), "{refused:?}");
}

#[test]
fn an_explanation_says_when_an_alert_is_over_by_itself() {
    let mut harness = Harness::new("{ alerts: { key: 0123456789abcdef0123, ignore: replica } }");
    let by = |replica| [("alertname", "Down"), ("replica", replica)];
    harness.fires(&by("a"));
    harness.pass(MINUTE);
    harness.fires(&by("b"));
    let told = explain(&harness.monitor, "Down").expect("it is open");
    assert_eq!(
        told.rule,
        "opens and resolves as its sender says; or resolves when it is not sent again by its endsAt, \
         or within 300 s if it has none (resolve_timeout)"
    );
    assert_eq!(told.changed, [""; 0]);
    let (first, second) = (START.plus_millis(LEASE), START.plus_millis(LEASE + MINUTE));
    assert_eq!(
        told.waits_for[1..3],
        [
            format!("it is over at {second}, unless it is sent again"),
            format!("it fires by a until {first}, b until {second}"),
        ]
    );

    harness.send(vec![alert(&[("alertname", "Full")], Lease::Open)]);
    let told = explain(&harness.monitor, "Full").expect("it is open");
    assert!(told.rule.ends_with("; its sender set no end"), "{}", told.rule);
    assert_eq!(told.waits_for[1], "its sender saying that it is over");
}

#[test]
fn settings_that_judge_are_refused_for_alerts() {
    let load = |monitor: &str| {
        let text = format!("monitors: {{ prom: {monitor} }}");
        let loaded = load_file(&text, &ChecklistOptions::default());
        loaded.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let key = "key: \"${secret:PROM}\"";
    assert_eq!(load(&format!("{{ alerts: {{ {key}, allow: [read, silence] }} }}")), "");
    assert_eq!(load("{ alerts: \"${secret:PROM}\" }"), "");
    for (monitor, reason) in [
        ("{ alerts: {} }".to_owned(), "alerts needs key"),
        ("{ alerts: short }".to_owned(), "20 characters"),
        ("{ alerts: 0123456789/0123456789 }".to_owned(), "slashes"),
        ("{ alerts: \"${env:PROMETHEUS_KEY_1}\" }".to_owned(), "${secret:NAME} alone"),
        ("{ alerts: \"nb-${secret:PROMETHEUS}\" }".to_owned(), "${secret:NAME} alone"),
        ("{ alerts: \"${secret:A}${secret:B}\" }".to_owned(), "${secret:NAME} alone"),
        ("{ alerts: \"${secret:}\" }".to_owned(), "${secret:NAME} alone"),
        (format!("{{ alerts: {{ {key}, allow: all }} }}"), "allow knows read and silence"),
        (format!("{{ alerts: {{ {key}, limit: 20001 }} }}"), "limit is 1 to 20000"),
        (format!("{{ alerts: {{ {key} }}, every: 1m }}"), "every has no effect"),
        (format!("{{ alerts: {{ {key} }}, fail_after: 2 }}"), "fail_after has no effect"),
        (format!("{{ alerts: {{ {key} }}, witness: net }}"), "alerts have no witness"),
    ] {
        let said = load(&monitor);
        assert!(said.contains(reason), "{monitor}: {said}");
    }
    let other =
        |key: &str| load(&format!("{{ alerts: {KEYED_TWICE} }}, other: {{ alerts: {key} }}"));
    for same in ["0123456789abcdef0123", "{ key: [x0123456789abcdef0123, \"${secret:TWO}\"] }"] {
        let said = other(same);
        assert!(said.contains("the monitor prom has the same key"), "{same}: {said}");
    }
    assert_eq!(other("0123456789abcdef0124"), "");
}

/// What happens; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Act {
    Send(Vec<(u8, u8)>),
    Pass(u32),
    Wake,
    Deliver(usize, bool),
    Acknowledge(u8),
    Snooze(u8, u32),
    Resolve(u8),
    Silence(Option<u8>, u32),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => prop::collection::vec((0..6_u8, 0..6_u8), 1..5).prop_map(Act::Send),
        4 => (1..400_u32).prop_map(Act::Pass),
        8 => Just(Act::Wake),
        8 => (0..9_usize, prop::bool::weighted(0.8)).prop_map(|(at, sent)| Act::Deliver(at, sent)),
        1 => (0..6_u8).prop_map(Act::Acknowledge),
        1 => (0..6_u8, 1..900_u32).prop_map(|(key, length)| Act::Snooze(key, length)),
        1 => (0..6_u8).prop_map(Act::Resolve),
        1 => (prop::option::of(0..6_u8), 1..900_u32).prop_map(|(key, length)| Act::Silence(key, length)),
        1 => Just(Act::Restart),
    ]
}

impl Harness {
    /// The same monitor as it is read from its history: it knows nothing but what is stored.
    fn read_again(&self) -> Monitor {
        let stored = serde_json::to_string(&self.monitor.snapshot()).expect("it serializes");
        let mut read = Monitor::new(self.monitor.id.clone());
        read.apply(&serde_json::from_str(&stored).expect("what was stored can be read"));
        read
    }

    fn compare(&mut self, input: Input) {
        let mut read = self.read_again();
        assert_eq!(read.wake_at(), self.monitor.wake_at(), "what is due next is known");
        let context = Context { now: self.now, asks_parents: false, listening_since: self.since };
        let of_all = read.decide(input.clone(), &context).map(|it| json!(it.events));
        let of_some = self.try_give(input).map(|events| json!(events));
        match (of_some, of_all) {
            (Ok(some), Ok(all)) => assert_eq!(some, all, "some incidents or all of them"),
            (some, all) => assert_eq!(some.is_err(), all.is_err()),
        }
        assert_eq!(state(&self.monitor), state(&read), "the state is the same");
    }

    fn act(&mut self, act: Act) {
        let name = |key: u8| format!("K{key}");
        match act {
            Act::Send(alerts) => {
                let lease = |kind: u8, now: Timestamp| match kind {
                    0 => Lease::Over,
                    1 => Lease::Usual,
                    2 => Lease::Open,
                    _ => Lease::Until(now.plus_millis(LEASE)),
                };
                let alerts = alerts.into_iter().map(|(key, kind)| {
                    let group = if key.is_multiple_of(2) { "even" } else { "odd" };
                    alert(&[("alertname", &name(key)), ("g", group)], lease(kind, self.now))
                });
                self.compare(Input::Alerts(alerts.collect()));
            }
            Act::Pass(seconds) => self.now = self.now.plus_seconds(i64::from(seconds)),
            Act::Wake => {
                if let Some(at) = self.monitor.wake_at() {
                    self.now = self.now.max(at);
                    self.compare(Input::Wake);
                    assert!(self.monitor.wake_at().is_none_or(|at| at > self.now), "no busy loop");
                }
            }
            Act::Deliver(at, sent) => {
                if !self.under_way.is_empty() {
                    let (sequence, child) = self.under_way.remove(at % self.under_way.len());
                    self.compare(arrived(sequence, child, sent));
                }
            }
            Act::Acknowledge(key) => {
                let (incident, who) = (Self::key(key), "ann".into());
                self.compare(Input::Acknowledge { incident, who, why: None, until_clear: false });
            }
            Act::Snooze(key, seconds) => {
                let until = self.now.plus_seconds(i64::from(seconds));
                let (incident, who) = (Self::key(key), "ann".into());
                self.compare(Input::Snooze { incident, until, who, why: None });
            }
            Act::Resolve(key) => {
                let (incident, who) = (Self::key(key), "ann".into());
                self.compare(Input::Resolve { incident, who, why: None });
            }
            Act::Silence(key, seconds) => {
                let to = Some(self.now.plus_seconds(i64::from(seconds)));
                let silence = key.map(|key| Silence {
                    id: "s".into(),
                    matchers: vec![Matcher {
                        label: "alertname".into(),
                        values: vec![name(key).into()],
                        negated: key > 3,
                    }],
                    when: Recurring::Once { from: self.now, to },
                    by: None,
                    comment: None,
                    origin: None,
                });
                self.compare(Input::Silences(silence.into_iter().collect()));
            }
            Act::Restart => {
                self.monitor = self.read_again();
                self.since = Some(self.now);
            }
        }
    }

    fn key(key: u8) -> Arc<str> {
        let group = if key.is_multiple_of(2) { "even" } else { "odd" };
        format!("K{key}{{g=\"{group}\"}}").into()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn some_incidents_or_all_of_them(grouped: bool, acts in prop::collection::vec(act(), 1..60)) {
        let routes = if grouped {
            "receivers: { noc: { slack: \"https://s\" }, pd: { pagerduty: k } }\n\
             routes: [{ steps: [{ to: noc }, { to: pd, after: 3m }], group_by: [g], wait: 30s, remind: 10m }]\n"
        } else {
            ROUTES
        };
        let mut harness = Harness::with(routes, KEYED);
        for act in acts {
            harness.act(act);
        }
        // What fires by a lease comes to its end by itself.
        let open: BTreeMap<_, _> =
            harness.monitor.incidents.values().map(|it| (it.key.clone(), it.until)).collect();
        harness.since = None;
        harness.under_way.clear();
        let ends: BTreeSet<_> = open.values().flatten().filter(|it| **it < Timestamp::MAX).collect();
        if let Some(last) = ends.last() {
            harness.now = harness.now.max(**last);
            harness.compare(Input::Wake);
            let leased = |key: &Arc<str>| open[key].is_some_and(|it| it < Timestamp::MAX);
            let fires = harness.monitor.incidents.values().filter(|it| leased(&it.key));
            prop_assert!(fires.into_iter().all(|it| it.state == State::Resolved));
        }
    }
}
