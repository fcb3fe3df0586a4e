//! What holds for every monitor, whatever happens and in whatever order.
//!
//! An auditor that knows nothing of the machine's state judges what receivers were sent: it keeps
//! what each of them believes.

use std::collections::{BTreeMap, BTreeSet};

use kernel::alert::definition::Spec;
use kernel::alert::{
    Context, Event, Input, Monitor, NOTIFY_WORKFLOW, ProviderAction, ProviderEvent, State,
};
use kernel::graph::{Message, Status};
use kernel::{Effect, ExecutionId, Json, Machine, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::bench::{START, spec_of, state};

const KEYS: [&str; 3] = ["a", "b", "c"];

/// What happens; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Act {
    Wake,
    Late(u32),
    Answer(Vec<Option<&'static str>>),
    CannotTell,
    Deliver(usize, bool),
    Acknowledge(usize, bool),
    Snooze(usize, u32),
    Resolve(usize),
    /// A receiver tells what was done there so many seconds ago.
    Hear(usize, ProviderAction, u32),
    /// A receiver tells once more what it has told before.
    HearAgain(usize),
    Silence(Option<usize>),
    Parent(bool),
    Define(usize),
    Remove,
}

fn act() -> impl Strategy<Value = Act> {
    let status = prop_oneof![
        Just(None),
        Just(Some("ok")),
        Just(Some("warn")),
        Just(Some("fail")),
        Just(Some("fail")),
        Just(Some("unknown")),
    ];
    prop_oneof![
        8 => Just(Act::Wake),
        1 => (1..7200_u32).prop_map(Act::Late),
        8 => prop::collection::vec(status, KEYS.len()).prop_map(Act::Answer),
        2 => Just(Act::CannotTell),
        8 => (0..9_usize, prop::bool::weighted(0.8)).prop_map(|(at, sent)| Act::Deliver(at, sent)),
        1 => (0..KEYS.len(), any::<bool>()).prop_map(|(key, keep)| Act::Acknowledge(key, keep)),
        1 => (0..KEYS.len(), 1..3600_u32).prop_map(|(key, length)| Act::Snooze(key, length)),
        1 => (0..KEYS.len()).prop_map(Act::Resolve),
        2 => (0..KEYS.len(), deed(), 0..400_u32)
            .prop_map(|(key, deed, ago)| Act::Hear(key, deed, ago)),
        1 => (0..9_usize).prop_map(Act::HearAgain),
        1 => prop::option::of(0..KEYS.len()).prop_map(Act::Silence),
        1 => any::<bool>().prop_map(Act::Parent),
        1 => (0..3_usize).prop_map(Act::Define),
        1 => Just(Act::Remove),
    ]
}

fn deed() -> impl Strategy<Value = ProviderAction> {
    prop_oneof![
        Just(ProviderAction::Acknowledge),
        Just(ProviderAction::Unacknowledge),
        Just(ProviderAction::Resolve)
    ]
}

fn specs() -> Vec<Spec> {
    let file = |routes: &str, rules: &str| {
        spec_of(&format!(
            "receivers:
  one: {{ pagerduty: k, fallback: two }}
  two: {{ slack: \"https://s\" }}
  three: {{ slack: \"https://s\" }}
routes:
{routes}
monitors:
  net: {{ influx: {{ server: m, flux: x }}, every: 1m, depends_on: host, {rules} }}
  host: {{ tcp: \"h:1\", every: 1m }}
"
        ))
    };
    vec![
        file("  - { to: one, remind: 20m }", "missing: 2"),
        file(
            "  - { match: { severity: warning }, to: two }
  - { steps: [{ to: [one, three] }, { to: two, after: 5m, unless: acked }], remind: 10m }",
            "fail_after: 2, recover_after: 2, on_error: { after: 1 }",
        ),
        file(
            "  - { to: one, group_by: [key], wait: 90s }",
            "flap: { changes: 3, within: 20m, settle: 5m }",
        ),
    ]
}

/// One delivery as the auditor sees it.
struct Sent {
    sequence: u32,
    execution: ExecutionId,
    receiver: String,
    event: String,
    keys: Vec<String>,
}

struct World {
    monitor: Monitor,
    folded: Monitor,
    now: Timestamp,
    check: Option<(u32, ExecutionId)>,
    flying: Vec<Sent>,
    /// What rings or may ring where, by receiver and key.
    ringing: BTreeSet<(String, String)>,
    specs: Vec<Spec>,
    /// What a receiver told and was believed.
    heard: Vec<Input>,
}

impl World {
    fn new() -> Self {
        let specs = specs();
        let id = ExecutionId::monitor("net");
        let mut world = Self {
            monitor: Monitor::new(id.clone()),
            folded: Monitor::new(id),
            now: START,
            check: None,
            flying: Vec::new(),
            ringing: BTreeSet::new(),
            specs,
            heard: Vec::new(),
        };
        world.give(Input::Define(Box::new(world.specs[0].clone())));
        world
    }

    /// Gives an input twice; the second time must change nothing.
    fn give(&mut self, input: Input) -> Vec<Event> {
        let events = self.give_once(input.clone());
        let again = self.give_once(input);
        assert!(again.is_empty(), "the same once more changed something: {again:?}");
        events
    }

    fn give_once(&mut self, input: Input) -> Vec<Event> {
        let before = state(&self.monitor);
        let Ok(decision) = self
            .monitor
            .decide(input, &Context { now: self.now, asks_parents: false, listening_since: None })
        else {
            assert_eq!(before, state(&self.monitor), "a refusal changes nothing");
            return Vec::new();
        };
        if decision.events.is_empty() {
            assert!(decision.effects.is_empty(), "nothing is done without a fact");
            assert_eq!(before, state(&self.monitor), "no fact, no change");
        }
        for event in &decision.events {
            let stored = serde_json::to_string(event).expect("an event serializes");
            self.folded.apply(&serde_json::from_str(&stored).expect("it can be read again"));
        }
        assert_eq!(state(&self.monitor), state(&self.folded), "the fold is the state");
        for effect in decision.effects {
            if let Effect::Send { to, message } = effect {
                self.sent(to, *message);
            }
        }
        self.audit();
        decision.events
    }

    fn sent(&mut self, to: ExecutionId, message: Message) {
        let Message::Start(start) = message else { return self.check = None };
        let sequence = start.parent.expect("somebody waits").sequence;
        if !start.name.starts_with(NOTIFY_WORKFLOW) {
            assert!(self.check.is_none(), "one check at a time");
            self.check = Some((sequence, to));
            return;
        }
        let input = start.input.parse();
        let told = &input["notification"];
        let keys: Vec<String> = match told["group"]["members"].as_array() {
            Some(members) => members.iter().map(|it| text(&it["key"])).collect(),
            None => vec![text(&told["key"])],
        };
        let sent = Sent {
            sequence,
            execution: to,
            receiver: text(&input["receiver"]),
            event: text(&told["event"]),
            keys,
        };
        for key in &sent.keys {
            let flying = self
                .flying
                .iter()
                .any(|other| other.receiver == sent.receiver && other.keys.contains(key));
            assert!(!flying, "{key} has two deliveries to {} under way", sent.receiver);
            let rings = self.ringing.contains(&(sent.receiver.clone(), key.clone()));
            if matches!(sent.event.as_str(), "resolve" | "acknowledge" | "reminder") {
                assert!(rings, "{} is told {} of {key} but rings not", sent.receiver, sent.event);
            }
        }
        self.flying.push(sent);
    }

    /// What holds after every step.
    fn audit(&self) {
        let mut open = BTreeMap::new();
        for incident in self.monitor.incidents.values() {
            *open.entry(incident.fingerprint.clone()).or_insert(0) += 1;
        }
        assert!(open.values().all(|count| *count == 1), "one incident per fingerprint");
        assert!(self.monitor.past.iter().all(|incident| incident.state == State::Resolved));
        let wake = self.monitor.wake_at();
        assert!(self.monitor.removed || wake.is_some(), "a monitor that is watched wakes up");
    }

    fn ended(sequence: u32, child: &ExecutionId, status: Status, output: Value) -> Input {
        Input::Message(Message::Ended {
            sequence,
            status,
            output: Json::from(output),
            reason: None,
            child: Some(child.clone()),
            asked: 0,
        })
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Wake => {
                if let Some(at) = self.monitor.wake_at() {
                    self.now = self.now.max(at);
                    self.give(Input::Wake);
                    assert!(self.monitor.wake_at().is_none_or(|at| at > self.now), "no busy loop");
                }
            }
            Act::Late(seconds) => {
                self.now = self.now.plus_seconds(i64::from(*seconds));
                self.give(Input::Wake);
            }
            Act::Answer(statuses) => self.answer(statuses),
            Act::CannotTell => {
                let Some((sequence, child)) = self.check.take() else { return };
                let input = Self::ended(sequence, &child, Status::Failed, json!({}));
                let events = self.give(input);
                assert_quiet(&events);
            }
            Act::Deliver(at, sent) => self.land(*at, *sent),
            Act::Acknowledge(key, until_clear) => {
                self.give(Input::Acknowledge {
                    incident: KEYS[*key].into(),
                    who: "ann".into(),
                    why: None,
                    until_clear: *until_clear,
                });
            }
            Act::Snooze(key, seconds) => {
                self.give(Input::Snooze {
                    incident: KEYS[*key].into(),
                    until: self.now.plus_seconds(i64::from(*seconds)),
                    who: "ann".into(),
                    why: None,
                });
            }
            Act::Resolve(key) => {
                let (incident, who) = (KEYS[*key].into(), "ann".into());
                self.give(Input::Resolve { incident, who, why: None });
            }
            Act::Hear(key, deed, ago) => {
                let heard = Input::ProviderEvent(ProviderEvent {
                    incident: KEYS[*key].into(),
                    receiver: "one".into(),
                    deed: *deed,
                    who: Some("bob".into()),
                    why: None,
                    at: self.now.plus_seconds(-i64::from(*ago)),
                    told_there: false,
                });
                let events = self.give(heard.clone());
                if !events.is_empty() {
                    self.heard.push(heard);
                }
            }
            Act::HearAgain(at) => {
                if let Some(heard) = self.heard.get(*at).cloned() {
                    let events = self.give(heard);
                    assert!(events.is_empty(), "it is an old story: {events:?}");
                }
            }
            Act::Silence(key) => {
                let silences = key.iter().map(|key| {
                    let end = self.now.plus_seconds(600);
                    json!({ "id": "s", "matchers": [{ "l": "key", "v": [KEYS[*key]] }],
                        "when": { "once": { "from": self.now, "to": end } } })
                });
                let silences = silences.map(|it| serde_json::from_value(it).expect("a silence"));
                let silences = silences.collect();
                self.give(Input::Silences(silences));
            }
            Act::Parent(down) => {
                self.give(Input::Parent { monitor: "host".into(), down: *down, failing: *down });
            }
            Act::Define(at) => {
                self.give(Input::Define(Box::new(self.specs[*at].clone())));
            }
            Act::Remove => {
                self.give(Input::Remove { who: None });
            }
        }
    }

    fn answer(&mut self, statuses: &[Option<&str>]) {
        let Some((sequence, child)) = self.check.take() else { return };
        let rows: Vec<Value> = KEYS
            .iter()
            .zip(statuses)
            .filter_map(|(key, status)| Some(json!({ "key": key, "status": (*status)? })))
            .collect();
        let unknown = statuses.iter().all(|status| *status == Some("unknown"));
        let output = json!({ "observations": rows });
        let input = Self::ended(sequence, &child, Status::Completed, output);
        let events = self.give(input);
        if unknown {
            assert_quiet(&events);
        }
    }

    /// The delivery at this place ends.
    fn land(&mut self, at: usize, sent: bool) {
        if self.flying.is_empty() {
            return;
        }
        let landed = self.flying.remove(at % self.flying.len());
        for key in &landed.keys {
            let place = (landed.receiver.clone(), key.clone());
            match landed.event.as_str() {
                // One that keeps alerts by a key may have taken what was given up.
                "trigger" | "escalation" if sent || landed.receiver == "one" => {
                    self.ringing.insert(place);
                }
                "resolve" => {
                    self.ringing.remove(&place);
                }
                _ => {}
            }
        }
        let status = if sent { Status::Completed } else { Status::Failed };
        let input = Self::ended(landed.sequence, &landed.execution, status, json!({}));
        self.give(input);
    }

    /// Everything is well from now on, and all that is owed arrives.
    fn calm_down(&mut self) {
        self.give(Input::Silences(Vec::new()));
        self.give(Input::Parent { monitor: "host".into(), down: false, failing: false });
        for _ in 0..30 {
            while !self.flying.is_empty() {
                self.land(0, true);
            }
            self.answer(&[Some("ok"); 3]);
            while !self.flying.is_empty() {
                self.land(0, true);
            }
            self.act(&Act::Wake);
        }
        assert!(self.flying.is_empty() || self.monitor.removed);
        while !self.flying.is_empty() {
            self.land(0, true);
        }
        assert_eq!(self.ringing, BTreeSet::new(), "whoever was told hears that it is over");
        let open = self.monitor.incidents.values().filter(|it| it.state.is_open());
        assert_eq!(open.count(), 0, "all is well");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Nothing opens and nothing resolves, but what is said of the checks themselves.
fn assert_quiet(events: &[Event]) {
    for event in events {
        if let Event::Moved(moved) = event {
            assert_eq!(&*moved.key, "#check", "unknown moved an incident: {moved:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(acts in prop::collection::vec(act(), 1..80)) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        world.calm_down();
    }

    #[test]
    fn a_snapshot_stands_for_all_before(acts in prop::collection::vec(act(), 1..60)) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        let stored = serde_json::to_string(&world.monitor.snapshot()).expect("it serializes");
        let mut other = Monitor::new(ExecutionId::monitor("net"));
        other.apply(&serde_json::from_str(&stored).expect("it can be read again"));
        prop_assert_eq!(state(&other), state(&world.monitor));
        world.folded = other;
        world.calm_down();
    }
}
