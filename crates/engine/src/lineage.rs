//! How fast executions may start others that start others.
//!
//! A definition that starts itself grows without bound: twice, and there are a million executions
//! after twenty generations. Nothing in a single one is wrong, and chains without end are in honest
//! use (a run that starts its successor every day). So what an execution starts is neither counted
//! for ever nor refused, but slowed down: all that stems from one start draws on one account, and
//! the further a start is from the first, the more it takes. Sub-workflows draw on it as well, for
//! `depth_max` alone leaves room for two to the power of it. Decision 0019 weighs this.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kernel::ExecutionId;
use parking_lot::Mutex;
use tokio::time::Instant;

/// What an account holds at most: starts of the first generation that may come at once.
const BALANCE_MAX: f64 = 20_000.0;
/// What an account gains in a second.
const GAIN: f64 = 1000.0;
/// What the next generation takes more than the one before.
const DEARER: f64 = 4.0;
/// What a start takes at most: later generations come at one a second.
const PRICE_MAX: f64 = 1000.0;
/// What a sub-workflow takes, by how many are above it: what an execution asks for directly, however
/// many branches it has, takes nothing.
const NESTED: [f64; 6] = [0.0, 0.0, 0.25, 1.0, 4.0, 16.0];
/// What a sub-workflow further down takes.
const NESTED_MAX: f64 = 64.0;
/// Executions of which it is known from where they stem; those known longest are forgotten.
const KNOWN_MAX: usize = 50_000;
/// Messages given to brokers of which it is known who sent them; those sent first are forgotten.
const SENT_MAX: usize = 50_000;

/// From where executions stem.
#[derive(Default)]
pub(crate) struct Lineages {
    inner: Mutex<Inner>,
    sent: Mutex<Sent>,
}

/// Who sent which message, by the message's id. What comes from outside may bear any id, so an id
/// alone says nothing of its sender.
#[derive(Default)]
struct Sent {
    by: HashMap<Box<str>, ExecutionId>,
    order: VecDeque<Box<str>>,
}

#[derive(Default)]
struct Inner {
    known: HashMap<ExecutionId, Stem>,
    order: VecDeque<ExecutionId>,
}

/// How an execution came to be.
#[derive(Clone)]
struct Stem {
    /// Starts between the first and this one.
    generation: u32,
    /// Sub-workflows between the last start and this one.
    depth: u32,
    account: Arc<Mutex<Account>>,
}

struct Account {
    balance: f64,
    at: Instant,
}

impl Stem {
    fn first() -> Self {
        let account = Account { balance: BALANCE_MAX, at: Instant::now() };
        Self { generation: 0, depth: 0, account: Arc::new(Mutex::new(account)) }
    }
}

impl Lineages {
    /// A start by another execution is under way: answers how long it has to wait, and how far it
    /// is from the first.
    pub(crate) fn start(&self, by: &ExecutionId, child: &ExecutionId) -> (Duration, u32) {
        let mut inner = self.inner.lock();
        let mut stem = inner.stem_of(by);
        (stem.generation, stem.depth) = (stem.generation + 1, 0);
        let generation = stem.generation;
        let price = DEARER.powi(generation.min(32) as i32 - 1).min(PRICE_MAX);
        let wait = stem.account.lock().take(price);
        inner.learn(child, stem);
        (wait, generation)
    }

    /// As [`Lineages::start`] for a sub-workflow, which is of the generation of its parent.
    pub(crate) fn adopt(&self, parent: &ExecutionId, child: &ExecutionId) -> (Duration, u32) {
        let mut inner = self.inner.lock();
        let mut stem = inner.stem_of(parent);
        stem.depth += 1;
        let (generation, depth) = (stem.generation, stem.depth);
        let price = NESTED.get(depth as usize).copied().unwrap_or(NESTED_MAX);
        let wait = stem.account.lock().take(price);
        inner.learn(child, stem);
        (wait, generation + depth)
    }

    /// Remembers who gives a message to a broker.
    pub(crate) fn note_sent(&self, id: &str, by: &ExecutionId) {
        let mut sent = self.sent.lock();
        if sent.by.insert(id.into(), by.clone()).is_none() {
            sent.order.push_back(id.into());
        }
        while sent.by.len() > SENT_MAX {
            let Some(oldest) = sent.order.pop_front() else { return };
            sent.by.remove(&oldest);
        }
    }

    /// The execution here that has sent a message; none for one from elsewhere.
    pub(crate) fn sender_of(&self, id: &str) -> Option<ExecutionId> {
        self.sent.lock().by.get(id).cloned()
    }
}

impl Inner {
    /// From where an execution stems; one of which nothing is known is a first.
    fn stem_of(&mut self, id: &ExecutionId) -> Stem {
        if let Some(stem) = self.known.get(id) {
            return stem.clone();
        }
        let stem = Stem::first();
        self.learn(id, stem.clone());
        stem
    }

    fn learn(&mut self, id: &ExecutionId, stem: Stem) {
        if self.known.insert(id.clone(), stem).is_none() {
            self.order.push_back(id.clone());
        }
        while self.known.len() > KNOWN_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.known.remove(&oldest);
        }
    }
}

impl Account {
    /// Takes a price, on credit if need be: answers when it is earned.
    fn take(&mut self, price: f64) -> Duration {
        let now = Instant::now();
        let gained = now.duration_since(self.at).as_secs_f64() * GAIN;
        (self.balance, self.at) = ((self.balance + gained).min(BALANCE_MAX), now);
        self.balance -= price;
        Duration::from_secs_f64((-self.balance / GAIN).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ExecutionId {
        ExecutionId::new(format!("execution-{number}"))
    }

    #[test]
    fn what_one_execution_starts_does_not_wait() {
        let lineages = Lineages::default();
        for number in 1..10_000 {
            assert_eq!(lineages.start(&id(0), &id(number)), (Duration::ZERO, 1));
        }
    }

    #[test]
    fn a_chain_comes_down_to_one_start_a_second() {
        let lineages = Lineages::default();
        let waits = (0..100).map(|number| lineages.start(&id(number), &id(number + 1)).0);
        let waits: Vec<Duration> = waits.collect();
        assert!(waits[..20].iter().all(Duration::is_zero), "{waits:?}");
        assert!(waits[99] > Duration::from_mins(1), "{waits:?}");
    }

    #[test]
    fn sub_workflows_do_not_wait_unless_they_multiply() {
        let lineages = Lineages::default();
        // One below the other, as deep as they may be nested.
        for number in 0..63 {
            assert!(lineages.adopt(&id(number), &id(number + 1)).0.is_zero(), "{number}");
        }
        // Many beside each other, and many below each of some.
        for number in 1000..11_000 {
            assert!(lineages.adopt(&id(500), &id(number)).0.is_zero());
        }
        for number in 20_000..40_000 {
            assert!(lineages.adopt(&id(1000 + number % 100), &id(number)).0.is_zero());
        }
        // Two below each.
        let (mut at_once, mut latest) = (0, vec![id(600)]);
        while let Some(by) = latest.pop() {
            for _ in 0..2 {
                let child = id(1_000_000 + at_once);
                if lineages.adopt(&by, &child).0.is_zero() {
                    at_once += 1;
                    latest.insert(0, child);
                }
            }
        }
        assert!(at_once < 2000, "{at_once} at once");
    }

    #[test]
    fn messages_are_known_by_their_senders_and_forgotten_in_order() {
        let lineages = Lineages::default();
        for number in 0..=SENT_MAX {
            lineages.note_sent(&number.to_string(), &id(number));
        }
        assert_eq!(lineages.sender_of("0"), None, "it is the oldest");
        assert_eq!(lineages.sender_of("1"), Some(id(1)));
        assert_eq!(lineages.sender_of("execution-1-1"), None, "an id says nothing of itself");
    }

    #[test]
    fn what_doubles_does_not_grow() {
        let lineages = Lineages::default();
        let mut at_once = 0;
        let mut latest = vec![id(0)];
        while let Some(by) = latest.pop() {
            for _ in 0..2 {
                let child = id(at_once + 1);
                if lineages.start(&by, &child).0.is_zero() {
                    at_once += 1;
                    latest.insert(0, child);
                }
            }
        }
        assert!((20..200).contains(&at_once), "{at_once} at once");
    }
}
