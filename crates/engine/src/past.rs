//! The past of a machine: its commits, and its state after any of them, as far back as its history is
//! kept.
//!
//! A history is read as a whole for it, as it is whenever a machine is opened; nothing of it goes into
//! the cache.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use kernel::{ExecutionId, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::engine::{Engine, Error};
use crate::machine::AnyMachine;
use crate::store::StoreError;

/// Rows that are folded before others have a turn.
const ROWS: usize = 64;

/// The commits of a machine that are kept.
#[derive(Clone, Debug)]
pub struct Past {
    id: ExecutionId,
    /// The number of the first commit after which the state can be told. What was before is in it as
    /// one.
    pub first: u64,
    /// The number of the last commit.
    pub last: u64,
    rows: Vec<String>,
}

/// One commit: facts that were written together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastCommit {
    /// Its number, from 1.
    pub version: u64,
    /// When it was decided.
    pub at: Option<Timestamp>,
    /// What was decided.
    pub facts: Vec<PastFact>,
}

/// A fact, without what it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastFact {
    /// Its kind, as histories name it: `scheduled`, `closed`, …
    pub kind: String,
    /// The number of the task that it is about, if it is about one.
    pub sequence: Option<u32>,
}

/// The members of a fact that are read.
#[derive(Deserialize)]
struct About {
    #[serde(rename = "s", default)]
    sequence: Option<u32>,
}

impl Past {
    /// The commits from a number on, at most so many, the earliest first.
    ///
    /// # Errors
    /// The history is damaged.
    pub fn commits(&self, from: u64, count: usize) -> Result<Vec<PastCommit>, StoreError> {
        let from = from.max(self.first);
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let rows = self.rows.iter().skip(skip).take(count).zip(from..);
        rows.map(|(row, version)| self.commit(row, version)).collect()
    }

    fn commit(&self, row: &str, version: u64) -> Result<PastCommit, StoreError> {
        let damaged = |why: serde_json::Error| {
            StoreError::Corrupt(format!("commit {version} of {} cannot be read: {why}", self.id))
        };
        let events: Vec<&RawValue> = serde_json::from_str(row).map_err(damaged)?;
        let mut commit = PastCommit { version, at: None, facts: Vec::new() };
        for event in events {
            let text = event.get();
            if let Ok(kind) = serde_json::from_str::<String>(text) {
                commit.facts.push(PastFact { kind, sequence: None });
                continue;
            }
            let members: BTreeMap<String, &RawValue> =
                serde_json::from_str(text).map_err(damaged)?;
            for (kind, value) in members {
                if kind == "at" {
                    let millis = serde_json::from_str::<i64>(value.get()).map_err(damaged)?;
                    commit.at = Some(Timestamp::from_millis(millis));
                    continue;
                }
                let about = serde_json::from_str::<About>(value.get()).ok();
                let sequence = about.and_then(|about| about.sequence);
                commit.facts.push(PastFact { kind, sequence });
            }
        }
        Ok(commit)
    }
}

impl Engine {
    /// What is kept of a machine's past; `None` if there is no such machine.
    ///
    /// # Errors
    /// The store's.
    pub async fn past(&self, id: &ExecutionId) -> Result<Option<Past>, Error> {
        let Some(stored) = self.inner.store.load(id).await? else { return Ok(None) };
        let kept = stored.history.len() as u64;
        let first = (stored.version + 1).saturating_sub(kept).max(1);
        Ok(Some(Past { id: id.clone(), first, last: stored.version, rows: stored.history }))
    }

    /// The state after a commit; `None` if it is not kept so far back, or not made yet.
    ///
    /// # Errors
    /// The store's; the history is damaged.
    pub async fn state_at(&self, past: &Past, version: u64) -> Result<Option<AnyMachine>, Error> {
        if !(past.first..=past.last).contains(&version) {
            return Ok(None);
        }
        let mut state = AnyMachine::new(past.id.clone());
        let count = usize::try_from(version - past.first + 1).unwrap_or(usize::MAX);
        for (at, row) in past.rows.iter().take(count).enumerate() {
            let fold = AssertUnwindSafe(state.fold(row, &self.inner.definitions));
            // A contradiction stops the folding; the machine itself is quarantined when it is opened.
            let Ok(folded) = fold.catch_unwind().await else {
                let why = format!("the history of {} contradicts itself", past.id);
                return Err(StoreError::Corrupt(why).into());
            };
            folded?;
            if at % ROWS == ROWS - 1 {
                tokio::task::yield_now().await;
            }
        }
        Ok(Some(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_numbered_from_what_is_kept() {
        let rows = [
            r#"[{"at":5},{"snapshot":{"s":"text"}}]"#,
            r#"[{"at":9},"paused",{"closed":{"s":3,"o":{}}}]"#,
        ];
        let rows = rows.map(str::to_owned).into();
        let past = Past { id: ExecutionId::new("x"), first: 7, last: 8, rows };
        let commits = past.commits(0, 10).expect("it is whole");
        assert_eq!(commits.iter().map(|it| it.version).collect::<Vec<_>>(), [7, 8]);
        let fact = |kind: &str, sequence| PastFact { kind: kind.to_owned(), sequence };
        assert_eq!(commits[0].facts, [fact("snapshot", None)]);
        let last = past.commits(8, 10).expect("it is whole");
        assert_eq!(
            (last[0].at, &*last[0].facts),
            (Some(Timestamp::from_millis(9)), &[fact("paused", None), fact("closed", Some(3))][..],)
        );
        assert!(past.commits(9, 10).expect("it is whole").is_empty());
        let broken = Past { rows: vec!["[{".to_owned()], ..past };
        assert!(broken.commits(0, 1).is_err());
    }
}
