//! The places in which built-in tasks of one type run, shared fairly among definitions.
//!
//! A definition may take another place while it holds fewer than [`SHARE`] times as many as are
//! free. So one definition alone gets three quarters of the places, however many tasks it has, and
//! if all of them hang, others still find a place: what is left is divided in the same way. The
//! rule needs no list of who there is (Choudhury and Hahne call it a dynamic threshold).
//!
//! Checks and notifications of monitors have as many places again for themselves: paging goes on
//! while workflows hang. So have the sub-workflows of a check or receiver that is a workflow.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::queues::TaskKey;

/// Places that a definition may hold, as a multiple of those that are free.
const SHARE: usize = 3;

/// On whose account a task runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Account {
    /// A monitor started the execution, to check or to notify.
    pub(crate) of_monitor: bool,
    /// The name of the definition.
    pub(crate) definition: Arc<str>,
}

/// The places of one task type.
pub(crate) struct Places {
    /// Places of definitions, and as many again of monitors.
    max: usize,
    held: HashMap<Account, usize>,
    /// Places held in all, of definitions and of monitors.
    taken: [usize; 2],
    /// Who waits for a place, by priority and arrival.
    waiting: BTreeMap<Account, BTreeMap<(Reverse<u8>, u64), TaskKey>>,
    arrivals: u64,
}

impl Places {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            held: HashMap::new(),
            taken: [0; 2],
            waiting: BTreeMap::new(),
            arrivals: 0,
        }
    }

    /// Takes a place, if the account may have one.
    pub(crate) fn take(&mut self, account: &Account) -> bool {
        if !self.may_take(account) {
            return false;
        }
        self.taken[usize::from(account.of_monitor)] += 1;
        *self.held.entry(account.clone()).or_default() += 1;
        true
    }

    fn may_take(&self, account: &Account) -> bool {
        let free = self.max - self.taken[usize::from(account.of_monitor)];
        // Monitors do not hinder one another: their calls are short.
        free > 0 && (account.of_monitor || self.held_by(account) < SHARE * free)
    }

    fn held_by(&self, account: &Account) -> usize {
        self.held.get(account).copied().unwrap_or(0)
    }

    /// Gives a place back.
    pub(crate) fn give_back(&mut self, account: &Account) {
        if let Some(held) = self.held.get_mut(account) {
            *held -= 1;
            self.taken[usize::from(account.of_monitor)] -= 1;
            if *held == 0 {
                self.held.remove(account);
            }
        }
    }

    /// Lets a task wait for a place. Any number may wait: whose account a task is on shows only when
    /// it is taken out of the queue, and one of a monitor must not wait behind the others there.
    pub(crate) fn wait(&mut self, account: Account, priority: u8, key: TaskKey) {
        self.arrivals += 1;
        let waiting = self.waiting.entry(account).or_default();
        waiting.insert((Reverse(priority), self.arrivals), key);
    }

    /// The next of those who wait that may have a place, which it then holds: of the account that
    /// holds fewest.
    pub(crate) fn next(&mut self) -> Option<(Account, TaskKey)> {
        if self.taken.iter().all(|taken| *taken >= self.max) {
            return None;
        }
        let may = self.waiting.keys().filter(|account| self.may_take(account));
        let account = may.min_by_key(|account| self.held_by(account))?.clone();
        self.take(&account);
        let waiting = self.waiting.get_mut(&account)?;
        let (_, key) = waiting.pop_first()?;
        if waiting.is_empty() {
            self.waiting.remove(&account);
        }
        Some((account, key))
    }
}

#[cfg(test)]
mod tests {
    use kernel::ExecutionId;

    use super::*;

    fn account(definition: &str, of_monitor: bool) -> Account {
        Account { of_monitor, definition: definition.into() }
    }

    fn taken(places: &mut Places, account: &Account) -> usize {
        (0..1000).take_while(|_| places.take(account)).count()
    }

    #[test]
    fn one_definition_never_takes_all_places() {
        let mut places = Places::new(64);
        let (a, b, c) = (account("a", false), account("b", false), account("c", false));
        assert_eq!(taken(&mut places, &a), 48);
        assert_eq!(taken(&mut places, &b), 12);
        assert_eq!(taken(&mut places, &c), 3);
        places.give_back(&a);
        assert!(places.take(&c), "what one gives back another may have");
        let mut few = Places::new(4);
        assert_eq!(taken(&mut few, &a), 3);
        assert_eq!(taken(&mut few, &b), 1);
        assert_eq!(taken(&mut Places::new(1), &a), 1);
    }

    #[test]
    fn monitors_have_places_of_their_own() {
        let mut places = Places::new(4);
        for definition in ["a", "b"] {
            taken(&mut places, &account(definition, false));
        }
        assert!(!places.take(&account("c", false)));
        assert_eq!(taken(&mut places, &account("check:web", true)), 4);
    }

    #[test]
    fn whoever_holds_fewest_goes_first_and_by_priority() {
        let mut places = Places::new(4);
        let (a, b) = (account("a", false), account("b", false));
        taken(&mut places, &a);
        let key = |number| (ExecutionId::new("x"), number);
        places.wait(a.clone(), 9, key(1));
        places.wait(b.clone(), 0, key(2));
        places.wait(b.clone(), 5, key(3));
        assert_eq!(places.next(), Some((b.clone(), key(3))));
        assert_eq!(places.next(), None, "the last place is taken");
        places.give_back(&b);
        assert_eq!(places.next(), Some((b.clone(), key(2))));
        places.give_back(&b);
        places.give_back(&a);
        assert_eq!(places.next(), Some((a, key(1))));
        assert_eq!(places.next(), None);
    }
}
