//! How fast executions may start others that start others.
//!
//! A definition that starts itself grows without bound: twice, and there are a million executions
//! after twenty generations. Nothing in a single one is wrong, and chains without end are in honest
//! use (a run that starts its successor every day). So what an execution starts is neither counted
//! for ever nor refused, but slowed down: all that stems from one start draws on one account, and
//! the further a start is from the first, the more it takes. Decision 0019 weighs this.

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
/// Executions of which it is known from where they stem; those known longest are forgotten.
const KNOWN_MAX: usize = 50_000;

/// From where executions stem.
#[derive(Default)]
pub(crate) struct Lineages {
    inner: Mutex<Inner>,
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
    account: Arc<Mutex<Account>>,
}

struct Account {
    balance: f64,
    at: Instant,
}

impl Stem {
    fn first() -> Self {
        let account = Account { balance: BALANCE_MAX, at: Instant::now() };
        Self { generation: 0, account: Arc::new(Mutex::new(account)) }
    }
}

impl Lineages {
    /// A start by another execution is under way: answers how long it has to wait, and how far it
    /// is from the first.
    pub(crate) fn start(&self, by: &ExecutionId, child: &ExecutionId) -> (Duration, u32) {
        let mut inner = self.inner.lock();
        let mut stem = inner.known.get(by).cloned().unwrap_or_else(|| {
            let stem = Stem::first();
            inner.learn(by, stem.clone());
            stem
        });
        stem.generation += 1;
        let generation = stem.generation;
        let price = DEARER.powi(generation.min(32) as i32 - 1).min(PRICE_MAX);
        let wait = stem.account.lock().take(price);
        inner.learn(child, stem);
        (wait, generation)
    }

    /// A sub-workflow is of the generation of its parent.
    pub(crate) fn adopt(&self, parent: &ExecutionId, child: &ExecutionId) {
        let mut inner = self.inner.lock();
        if let Some(stem) = inner.known.get(parent).cloned() {
            inner.learn(child, stem);
        }
    }
}

impl Inner {
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
