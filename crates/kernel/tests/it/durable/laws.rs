//! What holds for instances and entities, whatever workers and clients do and in whatever order.
//!
//! The house folds every decision anew and compares the queues with the state at every step; the
//! auditor here reads histories alone.

use std::collections::{BTreeMap, BTreeSet};

use kernel::durable::instance::{Input, TurnResult};
use kernel::durable::{Action, Fact, HistoryEvent, Outcome, Status, TURN, WorkToken};
use proptest::prelude::*;

use super::entity_events::{called, lock};
use super::house::{House, call, child, end, entity_id, id, result, task, text, timer};

const NAMES: [&str; 3] = ["a", "b", "c"];
const COUNTER: &str = "@counter@a";

/// What happens; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Act {
    Start(usize, bool),
    Raise(usize),
    Turn(usize, Vec<u8>, bool),
    Late(usize),
    Activity(usize, bool),
    Batch,
    Pass(i64),
    Suspend(usize),
    Resume(usize),
    Terminate(usize, bool, bool),
    Restart(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let of = 0..NAMES.len();
    prop_oneof![
        2 => (of.clone(), any::<bool>()).prop_map(|(at, replace)| Act::Start(at, replace)),
        4 => of.clone().prop_map(Act::Raise),
        12 => (0..9_usize, prop::collection::vec(0..8_u8, 0..4), prop::bool::weighted(0.8))
            .prop_map(|(at, orders, all)| Act::Turn(at, orders, all)),
        3 => (0..50_usize).prop_map(Act::Late),
        8 => (0..9_usize, any::<bool>()).prop_map(|(at, good)| Act::Activity(at, good)),
        4 => Just(Act::Batch),
        4 => (1..500_i64).prop_map(Act::Pass),
        1 => of.clone().prop_map(Act::Suspend),
        1 => of.clone().prop_map(Act::Resume),
        1 => (of.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(at, recurse, now)| Act::Terminate(at, recurse, now)),
        1 => of.prop_map(Act::Restart),
    ]
}

struct Story {
    house: House,
    /// Every answer that was ever sent, to be sent again.
    sent: Vec<(String, TurnResult)>,
    raised: usize,
}

impl Story {
    fn names(&self) -> Vec<String> {
        let names = self.house.instances.keys().map(|id| id.local_name().to_owned());
        names.collect()
    }

    fn chosen(&self, at: usize) -> Option<String> {
        let names = self.names();
        (!names.is_empty()).then(|| names[at % names.len()].clone())
    }

    fn play(&mut self, act: &Act) {
        match act {
            Act::Start(at, replace) => {
                let replaces =
                    replace.then(|| Status::ALL.into_iter().collect()).unwrap_or_default();
                drop(self.house.try_start(NAMES[*at], |start| start.replaces = replaces));
            }
            Act::Raise(at) => {
                self.raised += 1;
                let name = format!("e{}", self.raised).into();
                drop(self.house.say(NAMES[*at], Input::Raise { name, input: None }));
            }
            Act::Turn(at, orders, all) => self.turn(*at, orders, *all),
            Act::Late(at) => {
                let count = self.sent.len().max(1);
                if let Some((name, answer)) = self.sent.get(at % count).cloned() {
                    let again = self.house.complete(&name, answer);
                    assert!(again.is_err(), "an answer counts once");
                }
            }
            Act::Activity(at, good) => self.activity(*at, *good),
            Act::Batch => self.batch(),
            Act::Pass(millis) => self.house.pass(*millis),
            Act::Suspend(at) => drop(self.house.say(NAMES[*at], Input::Suspend { reason: None })),
            Act::Resume(at) => drop(self.house.say(NAMES[*at], Input::Resume { reason: None })),
            Act::Terminate(at, recurse, at_once) => {
                let (recurse, at_once) = (*recurse, *at_once);
                let input = Input::Terminate { output: text("t"), recurse, at_once };
                drop(self.house.say(NAMES[*at], input));
            }
            Act::Restart(at) => {
                let execution_id = self.house.life();
                drop(self.house.say(NAMES[*at], Input::Restart { execution_id }));
            }
        }
    }

    fn turn(&mut self, at: usize, orders: &[u8], all: bool) {
        let Some(name) = self.chosen(at) else { return };
        if !self.house.instance(&name).wants_turn() {
            return;
        }
        let (token, past, new) = self.house.turn(&name);
        let mut next = past.iter().map(|event| event.id).max().unwrap_or(0).max(0);
        let terminated = new.iter().any(|it| matches!(it.fact, Fact::ExecutionTerminated { .. }));
        let mut actions: Vec<Action> = Vec::new();
        for order in orders {
            next += 1;
            actions.push(match order {
                0 | 1 => task(next, "act"),
                2 => timer(next, i64::from(next) * 100),
                3 => child(next, "", "sub"),
                4 => match next % 3 {
                    0 => call(next, "get", COUNTER),
                    1 => called(next, "get", COUNTER),
                    _ => lock(next, &format!("cs{next}"), &[COUNTER]),
                },
                5 => end(next, Outcome::ContinuedAsNew, "again"),
                6 => end(next, Outcome::Completed, "done"),
                _ => end(next, Outcome::Failed, "broke"),
            });
            if *order >= 5 {
                break;
            }
        }
        if terminated {
            actions = vec![end(next + 1, Outcome::Terminated, "t")];
        }
        let mut answer = result(token, actions);
        answer.processed = (!all).then_some(2);
        self.sent.push((name.clone(), answer.clone()));
        self.house.complete(&name, answer).expect("the current answer is taken");
    }

    fn activity(&mut self, at: usize, good: bool) {
        let rows = self.house.rows.keys().filter(|(_, sequence)| *sequence != TURN);
        let rows: Vec<_> = rows.cloned().collect();
        if rows.is_empty() {
            return;
        }
        let (owner, sequence) = rows[at % rows.len()].clone();
        let state = &self.house.instances[&owner];
        let token = WorkToken::Activity {
            instance: owner.clone(),
            execution_id: state.execution_id(),
            sequence,
        };
        let name = owner.local_name().to_owned();
        let failure = kernel::durable::FailureDetails::new("E", "no");
        let result = if good { Ok(text("r")) } else { Err(Box::new(failure)) };
        let input = Input::ActivityCompleted { token, result };
        self.house.say(&name, input.clone()).expect("the first result is taken");
        self.house.say(&name, input).expect_err("the second is not");
    }

    fn batch(&mut self) {
        let wants = self.house.entities.get(&entity_id(COUNTER));
        if wants.is_some_and(kernel::durable::entity::Entity::wants_batch) {
            self.house.run_batch(COUNTER, Some("1"), Vec::new());
        }
    }

    /// What histories must say, and who may hold a lock.
    fn audit(&self) {
        for lock in self.house.entities.values().filter_map(|entity| entity.lock.as_ref()) {
            let holder = &self.house.instances[&lock.holder];
            assert!(holder.is_open(), "{} has ended and holds a lock", lock.holder);
        }
        for state in self.house.instances.values() {
            let all: Vec<&HistoryEvent> = state.history.iter().chain(&state.inbox).collect();
            let mut asked: BTreeMap<i32, &Fact> = BTreeMap::new();
            let mut answered: BTreeSet<i32> = BTreeSet::new();
            let mut raised = BTreeSet::new();
            let mut last = None;
            for event in all {
                if event.id >= 0 {
                    assert!(asked.insert(event.id, &event.fact).is_none(), "an id is used once");
                }
                assert!(last <= Some(event.at) || event.id < 0, "time goes on: {}", state.id);
                last = Some(event.at);
                let task = match &event.fact {
                    Fact::TaskCompleted { task, .. } | Fact::TaskFailed { task, .. } => *task,
                    Fact::SubOrchestrationCompleted { task, .. }
                    | Fact::SubOrchestrationFailed { task, .. } => *task,
                    Fact::TimerFired { timer, .. } => *timer,
                    Fact::EventRaised { name, .. } => {
                        assert!(raised.insert(name.clone()), "an event comes once");
                        continue;
                    }
                    _ => continue,
                };
                assert!(answered.insert(task), "{} is answered once", state.id);
                assert!(asked.contains_key(&task), "what is answered was asked: {}", state.id);
            }
            let ends = state
                .history
                .iter()
                .filter(|it| matches!(it.fact, Fact::ExecutionCompleted(_)))
                .count();
            assert_eq!(ends, usize::from(state.status.is_closed()), "it ends once");
            if state.status.is_closed() {
                let kept = state.status == Status::Failed;
                assert!(kept || state.inbox.is_empty(), "only what a rewind needs is kept");
                assert!(state.wake_at().is_none() && state.queued().is_empty());
            }
        }
    }
}

proptest! {
    #[test]
    fn answers_count_once_and_nothing_is_lost(acts in prop::collection::vec(act(), 1..120)) {
        let house = House::new();
        let mut story = Story { house, sent: Vec::new(), raised: 0 };
        for act in &acts {
            story.play(act);
            story.audit();
        }
        prop_assert!(story.house.instances.contains_key(&id("x")) || story.raised <= acts.len());
    }
}
