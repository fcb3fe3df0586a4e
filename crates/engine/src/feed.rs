//! What was committed last: a ring that tells pages, and whoever else shows the state, what to look at
//! again. It says what changed and not how; who missed a part looks at everything.
//!
//! Machines tell of each of their commits. What is no machine (definitions, secrets, silences, accounts) is
//! told of when the audit ledger has a line that it was changed.

use std::collections::VecDeque;

use kernel::{ExecutionId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Commits remembered, for those who come back after a break.
const REMEMBERED: usize = 4096;

/// What a commit was about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changed {
    /// A machine.
    Machine(ExecutionId),
    /// Something that people define, allow or hide.
    Documents,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its number since the process began, from 1.
    pub number: u64,
    /// What has changed.
    pub what: Changed,
    /// The machine's commits so far; of a change its line in the audit ledger.
    pub version: u64,
}

/// The newest commits.
#[derive(Debug)]
pub struct Feed {
    since: Timestamp,
    ring: Mutex<VecDeque<Committed>>,
    newest: watch::Sender<u64>,
}

impl Feed {
    /// Remembers from now on.
    pub(crate) fn new(since: Timestamp) -> Self {
        Self { since, ring: Mutex::default(), newest: watch::channel(0).0 }
    }

    /// When it began to remember: numbers of an earlier process mean nothing here.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Notes a commit of a machine that is durable.
    pub(crate) fn note(&self, id: &ExecutionId, version: u64) {
        self.push(Changed::Machine(id.clone()), version);
    }

    /// Notes a change that has a line in the audit ledger.
    pub(crate) fn note_change(&self, line: u64) {
        self.push(Changed::Documents, line);
    }

    fn push(&self, what: Changed, version: u64) {
        let mut ring = self.ring.lock();
        let number = ring.back().map_or(0, |last| last.number) + 1;
        if ring.len() == REMEMBERED {
            ring.pop_front();
        }
        ring.push_back(Committed { number, what, version });
        self.newest.send_replace(number);
    }

    /// Resolves to the number of the newest commit, each time that there is a newer one.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The commits after a number, oldest first; `None` if some of them are forgotten.
    pub fn after(&self, number: u64) -> Option<Vec<Committed>> {
        let ring = self.ring.lock();
        let newest = ring.back().map_or(0, |last| last.number);
        if number > newest {
            return None;
        }
        let missing = usize::try_from(newest - number).ok().filter(|it| *it <= ring.len())?;
        Some(ring.iter().skip(ring.len() - missing).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_back_too_late_is_told_so() {
        let feed = Feed::new(Timestamp::default());
        assert_eq!(feed.after(0), Some(Vec::new()));
        assert_eq!(feed.after(1), None, "a number of another process");
        let id = ExecutionId::new("a");
        for version in 1..=3 {
            feed.note(&id, version);
        }
        let versions = |after| {
            feed.after(after).map(|all| all.iter().map(|it| it.version).collect::<Vec<_>>())
        };
        assert_eq!(versions(0), Some(vec![1, 2, 3]));
        assert_eq!(versions(2), Some(vec![3]));
        assert_eq!(versions(3), Some(Vec::new()));
        for version in 4..=4 + REMEMBERED as u64 {
            feed.note(&id, version);
        }
        assert_eq!(versions(3), None, "the fourth is forgotten");
        assert_eq!(versions(4).map(|all| all.len()), Some(REMEMBERED));
        assert_eq!(*feed.watch().borrow(), 4 + REMEMBERED as u64);
    }
}
