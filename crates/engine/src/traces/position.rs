//! Where the cursor over ends stands, and which ends it must not pass yet.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{ExecutionId, Timestamp};
use serde::{Deserialize, Serialize};

use super::EndedRuns;
use crate::engine::{Engine, WeakEngine};

/// Runs that are remembered as exported, in case that the cursor is set back.
const REMEMBERED: usize = 8192;
/// Runs that ran again before their end was exported: of more, what they did before is not.
const UNSENT_MAX: usize = 4096;
/// After every id that ended at the same instant.
const LAST: &str = "\u{10ffff}";

/// How far ends have been exported: all up to this run, in the order of their instants and ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// When the last one ended.
    pub(super) at: Timestamp,
    /// The last one, or what comes after all of its instant.
    pub(super) id: ExecutionId,
    /// The first of the others, if some of its spans have been exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<Part>,
    /// Runs that ran again before the cursor passed their end.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) unsent: BTreeMap<ExecutionId, Unsent>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    id: ExecutionId,
    at: Timestamp,
    spans: usize,
}

/// Ends that were undone before they were exported: what was done until then is exported with the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unsent {
    /// The first.
    pub(super) first: Timestamp,
    /// The last.
    last: Timestamp,
}

impl Cursor {
    /// Before every end from an instant on.
    pub(super) fn before(at: Timestamp) -> Self {
        let (at, id) = (at.plus_millis(-1), ExecutionId::new(LAST));
        Self { at, id, part: None, unsent: BTreeMap::new() }
    }

    /// How many spans of a run have been exported, if it is the one of which some have.
    pub(super) fn exported_of(&self, id: &ExecutionId, ended_at: Timestamp) -> usize {
        let part = self.part.as_ref().filter(|part| part.id == *id && part.at == ended_at);
        part.map_or(0, |part| part.spans)
    }
}

/// The cursor, and what bounds it.
pub(super) struct Position {
    pub(super) cursor: Cursor,
    /// Where the cursor in the store stands.
    pub(super) stored_at: Timestamp,
    /// How often an end came that the cursor, or whoever reads what is behind it, had passed.
    pub(super) set_back: u64,
    /// Ends before that may have been read.
    read_to: Timestamp,
    /// Ends that are being committed, and how many of each instant.
    open: BTreeMap<Timestamp, usize>,
    /// The latest that were exported.
    passed: BTreeSet<(Timestamp, ExecutionId)>,
}

impl Position {
    pub(super) fn new(cursor: Cursor) -> Self {
        let (stored_at, read_to) = (cursor.at, cursor.at);
        let (open, passed) = (BTreeMap::new(), BTreeSet::new());
        Self { cursor, stored_at, set_back: 0, read_to, open, passed }
    }

    /// Up to where ends are read now: the first that may still come, and nothing that is younger.
    pub(super) fn read_to(&mut self, settled: Timestamp) -> Timestamp {
        let first = self.open.keys().next().copied();
        self.read_to = first.map_or(settled, |first| first.min(settled));
        self.read_to
    }

    /// An end is about to be committed. One that lies behind the cursor, because the clock was set back or
    /// the decision took long, sets it back; whether the store must know that first.
    pub(super) fn begin(&mut self, at: Timestamp) -> (Timestamp, bool) {
        *self.open.entry(at).or_default() += 1;
        if at < self.read_to || at <= self.cursor.at {
            self.set_back += 1;
        }
        if at <= self.cursor.at {
            let Cursor { at, id, .. } = Cursor::before(at);
            (self.cursor.at, self.cursor.id) = (at, id);
        }
        (at, at <= self.stored_at)
    }

    /// That end is committed, or was not written.
    pub(super) fn end(&mut self, at: Timestamp) {
        if let Some(count) = self.open.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&at);
            }
        }
    }

    /// An end is undone; whether it was not exported before, which the store must know.
    pub(super) fn undo(&mut self, id: &ExecutionId, ended_at: Timestamp) -> bool {
        let is_known = self.has_passed(id, ended_at);
        let cursor = &mut self.cursor;
        let is_sent = is_known || (ended_at, id) <= (cursor.at, &cursor.id);
        if is_sent || (cursor.unsent.len() >= UNSENT_MAX && !cursor.unsent.contains_key(id)) {
            return false;
        }
        let new = Unsent { first: ended_at, last: ended_at };
        cursor.unsent.entry(id.clone()).or_insert(new).last = ended_at;
        true
    }

    /// Whether an end is known to be exported.
    pub(super) fn has_passed(&self, id: &ExecutionId, ended_at: Timestamp) -> bool {
        self.passed.contains(&(ended_at, id.clone()))
    }

    /// Moves the cursor, unless it was set back since the page was read: then it is read again, without
    /// what is known to be exported.
    pub(super) fn pass(&mut self, page: &EndedRuns, whole: usize, part: usize) {
        let is_idle = whole == 0 && part == 0 && page.until.0 <= self.cursor.at;
        if is_idle {
            return;
        }
        for run in page.runs.iter().take(whole).filter(|run| !run.is_left_out) {
            self.passed.insert((run.ended_at, run.id.clone()));
            if self.passed.len() > REMEMBERED {
                self.passed.pop_first();
            }
            let is_sent = |unsent: &Unsent| unsent.last <= run.ended_at;
            if self.cursor.unsent.get(&run.id).is_some_and(is_sent) {
                self.cursor.unsent.remove(&run.id);
            }
        }
        let next = page.runs.get(whole);
        let begun = next.filter(|_| part > 0);
        let begun = begun.map(|run| Part { id: run.id.clone(), at: run.ended_at, spans: part });
        if page.set_back != self.set_back {
            self.cursor.part = begun.or(self.cursor.part.take());
            return;
        }
        self.cursor.part = begun;
        let last = whole.checked_sub(1).and_then(|last| page.runs.get(last));
        match (next, last) {
            (None, _) => (self.cursor.at, self.cursor.id) = page.until.clone(),
            (Some(_), Some(last)) => {
                (self.cursor.at, self.cursor.id) = (last.ended_at, last.id.clone());
            }
            (Some(_), None) => {}
        }
    }
}

/// An end that may still be written: the cursor waits for it.
pub(crate) struct Ending {
    engine: WeakEngine,
    at: Timestamp,
}

impl Ending {
    pub(super) fn new(engine: &Engine, at: Timestamp) -> Self {
        Self { engine: engine.weak(), at }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.settle_end(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::EndedRun;
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn position(millis: i64) -> Position {
        Position::new(Cursor::before(at(millis)))
    }

    fn page(position: &Position, ends: &[(i64, &str)], until: i64) -> EndedRuns {
        let run = |(millis, id): &(i64, &str)| EndedRun {
            id: ExecutionId::new(*id),
            workflow: "w".into(),
            parent: None,
            ended_at: at(*millis),
            exported: 0,
            is_left_out: false,
        };
        let until = Cursor::before(at(until));
        EndedRuns {
            runs: ends.iter().map(run).collect(),
            has_more: false,
            until: (until.at, until.id),
            set_back: position.set_back,
        }
    }

    #[test]
    fn an_end_that_is_being_committed_is_not_passed() {
        let mut position = position(10);
        assert_eq!(position.read_to(at(40)), at(40));
        assert_eq!((position.begin(at(50)), position.set_back), ((at(50), false), 0));
        position.begin(at(50));
        assert_eq!(position.read_to(at(100)), at(50));
        position.end(at(50));
        assert_eq!(position.read_to(at(100)), at(50));
        position.end(at(50));
        assert_eq!(position.read_to(at(100)), at(100));
    }

    #[test]
    fn an_end_that_comes_while_others_are_read_is_read_with_the_next() {
        let mut position = position(10);
        position.read_to(at(100));
        let read = page(&position, &[(20, "a"), (90, "b")], 100);
        // It may be committed before or after the others are read.
        assert!(!position.begin(at(50)).1);
        position.end(at(50));
        position.pass(&read, 1, 3);
        assert_eq!(position.cursor.at, at(9));
        assert!(position.has_passed(&ExecutionId::new("a"), at(20)));
        assert_eq!(position.cursor.exported_of(&ExecutionId::new("b"), at(90)), 3);
    }

    #[test]
    fn an_end_behind_the_cursor_sets_it_back_and_nothing_is_exported_twice() {
        let mut position = position(10);
        let read = page(&position, &[(20, "a"), (30, "b")], 100);
        position.pass(&read, 1, 0);
        assert_eq!((position.cursor.at, &*position.cursor.id.to_string()), (at(20), "a"));
        assert!(!position.begin(at(15)).1, "the store knows of nothing later");
        assert_eq!(position.cursor.at, at(14));
        // What was on its way meanwhile does not move it, but is known.
        position.pass(&read, 2, 0);
        assert_eq!(position.cursor.at, at(14));
        assert!(position.has_passed(&ExecutionId::new("b"), at(30)));
        assert!(!position.has_passed(&ExecutionId::new("b"), at(31)), "it ended once more");
        position.stored_at = at(99);
        assert!(position.begin(at(13)).1, "a crash now would lose it");
    }

    #[test]
    fn a_run_that_goes_on_before_its_end_was_exported_keeps_what_it_did() {
        let mut position = position(10);
        let (a, b) = (ExecutionId::new("a"), ExecutionId::new("b"));
        let read = page(&position, &[(20, "a")], 100);
        position.pass(&read, 1, 0);
        assert!(!position.undo(&a, at(20)), "it was exported");
        assert!(position.undo(&b, at(120)));
        let mut read = page(&position, &[(120, "b")], 130);
        read.runs[0].is_left_out = true;
        position.pass(&read, 1, 0);
        assert!(position.cursor.unsent.contains_key(&b), "it runs again: nothing was exported");
        assert!(position.undo(&b, at(150)));
        assert_eq!(position.cursor.unsent.get(&b).map(|it| it.first), Some(at(120)));
        let text = serde_json::to_string(&position.cursor).expect("it can be written");
        assert_eq!(serde_json::from_str::<Cursor>(&text).ok(), Some(position.cursor.clone()));
        let read = page(&position, &[(170, "b")], 200);
        position.pass(&read, 1, 0);
        assert!(position.cursor.unsent.is_empty());
    }

    #[test]
    fn a_long_run_is_exported_in_parts() {
        let mut position = position(10);
        let read = page(&position, &[(20, "a"), (30, "b")], 100);
        position.pass(&read, 1, 7);
        assert_eq!(position.cursor.exported_of(&ExecutionId::new("b"), at(30)), 7);
        assert_eq!(position.cursor.exported_of(&ExecutionId::new("b"), at(31)), 0);
        let read = page(&position, &[(30, "b")], 100);
        position.pass(&read, 0, 9);
        assert_eq!(position.cursor.exported_of(&ExecutionId::new("b"), at(30)), 9);
        position.pass(&read, 1, 0);
        assert_eq!((position.cursor.at, position.cursor.part.clone()), (at(99), None));
    }
}
