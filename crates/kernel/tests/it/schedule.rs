//! Schedules: what they fire, what they record, and what holds whatever happens to them.

mod documents;
mod expecting;
mod filling;
mod firing;
mod laws;
mod outage;

use std::collections::BTreeMap;

use kernel::graph::{Message, StartMessage, Status};
use kernel::schedule::{Context, Event, Input, Limits, Schedule, schedule_from_value};
use kernel::{Effect, ExecutionId, Json, Machine, Rejected, Timestamp};
use serde_json::{Value, json};

pub(super) fn at(text: &str) -> Timestamp {
    text.parse::<jiff::Timestamp>().expect("a timestamp").into()
}

/// A schedule with its history, its ledger and what it has sent.
pub(super) struct Run {
    pub(super) state: Schedule,
    history: Vec<String>,
    ledger: BTreeMap<String, Line>,
    pub(super) starts: Vec<(ExecutionId, StartMessage)>,
    pub(super) ends: Vec<ExecutionId>,
    /// What was told of runs that are not as expected: `key status text`.
    pub(super) told: Vec<String>,
    pub(super) now: Timestamp,
    pub(super) limits: Limits,
}

/// A line of the ledger.
struct Line {
    at: Timestamp,
    status: String,
    body: Value,
}

impl Run {
    /// Defines a schedule of a document with these members added.
    pub(super) fn new(now: &str, members: Value) -> Self {
        let mut run = Self {
            state: Schedule::new(ExecutionId::schedule("nightly")),
            history: Vec::new(),
            ledger: BTreeMap::new(),
            starts: Vec::new(),
            ends: Vec::new(),
            told: Vec::new(),
            now: at(now),
            limits: Limits::default(),
        };
        run.define(members).expect("a schedule can be defined");
        run
    }

    pub(super) fn define(&mut self, members: Value) -> Result<(), Rejected> {
        let mut document = json!({
            "name": "nightly",
            "cronExpression": "0 0 * * * *",
            "startWorkflowRequest": { "name": "report", "version": 2, "input": { "a": 1 } },
        });
        let Value::Object(members) = members else { panic!("members are an object") };
        for (name, value) in members {
            document[name] = value;
        }
        let spec = schedule_from_value(&document).expect("the document is valid");
        self.say(Input::Define(Box::new(spec)))
    }

    pub(super) fn say(&mut self, input: Input) -> Result<(), Rejected> {
        let context = Context { now: self.now, limits: &self.limits };
        let decision = self.state.decide(input, &context)?;
        if let Some(first) = decision.events.first() {
            assert!(
                matches!(first, Event::At(now) if *now == self.now),
                "a commit has its instant"
            );
            self.history.push(serde_json::to_string(&decision.events).expect("events serialize"));
        }
        for effect in decision.effects {
            match effect {
                Effect::Record(record) => {
                    assert_eq!((record.ledger, &*record.subject), ("firing", "nightly"));
                    let line = Line {
                        at: record.at,
                        status: record.status.to_string(),
                        body: record.body.parse(),
                    };
                    self.ledger.insert(record.key.to_string(), line);
                }
                Effect::Send { to, message } => match *message {
                    Message::Start(start) => self.starts.push((to, *start)),
                    Message::Terminate { .. } => self.ends.push(to),
                    Message::Observed(it) => {
                        assert_eq!(to, ExecutionId::monitor("nightbell"));
                        self.told.push(format!("{} {} {}", it.key, it.status, it.text));
                    }
                    other => panic!("a schedule does not send {other:?}"),
                },
                other => panic!("a schedule owes no {other:?}"),
            }
        }
        Ok(())
    }

    /// Moves the clock and wakes as long as something is due; gives how often.
    pub(super) fn advance(&mut self, to: &str) -> usize {
        self.now = at(to);
        let mut wakes = 0;
        while self.state.wake_at().is_some_and(|at| at <= self.now) {
            self.say(Input::Wake).expect("a schedule can always be woken");
            wakes += 1;
            assert!(wakes < 1000, "it never comes to rest");
        }
        wakes
    }

    pub(super) fn started(&mut self, number: u32) -> Result<(), Rejected> {
        let started =
            Message::Started { sequence: number, child: None, instead: None, version: None };
        self.say(Input::Message(started))
    }

    pub(super) fn ended(&mut self, number: u32) -> Result<(), Rejected> {
        self.ended_as(number, Status::Completed)
    }

    pub(super) fn ended_as(&mut self, number: u32, status: Status) -> Result<(), Rejected> {
        self.say(Input::Message(Message::Ended {
            sequence: number,
            status,
            output: Json::empty_object(),
            reason: None,
            child: None,
            asked: 0,
        }))
    }

    /// The ledger by number: `number time status`, and the reason of what did not run.
    pub(super) fn ledger(&self) -> Vec<String> {
        let mut lines: Vec<&Line> = self.ledger.values().collect();
        lines.sort_by_key(|line| line.body["number"].as_u64());
        lines
            .into_iter()
            .map(|line| {
                let number = &line.body["number"];
                let time = jiff::Timestamp::from(line.at).strftime("%d %H:%M:%S").to_string();
                let reason =
                    line.body["reason"].as_str().map_or(String::new(), |r| format!(" {r}"));
                format!("{number} {time} {}{reason}", line.status)
            })
            .collect()
    }

    /// What the history folds to.
    pub(super) fn folded(&self) -> Schedule {
        let mut state = Schedule::new(self.state.id.clone());
        for row in &self.history {
            let events: Vec<Event> = serde_json::from_str(row).expect("a history can be read");
            for event in &events {
                state.apply(event);
            }
        }
        state
    }
}

impl Run {
    /// How many instants the ledger tells of.
    pub(super) fn counts(&self) -> u64 {
        self.ledger.values().map(|line| line.body["count"].as_u64().unwrap_or(1)).sum()
    }
}
