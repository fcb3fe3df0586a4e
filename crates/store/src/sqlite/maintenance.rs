//! What the writer does when nobody waits: index texts, list executions by name, archive histories,
//! give room back, and bring the log back into the file.
//!
//! Each call does one bounded piece, a millisecond or two, so whoever comes meanwhile waits no
//! longer than that. Under load only those chores are done that must not pile up further.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::archive::Archiver;
use super::checkpoint::{Checkpoints, checkpoint};
use super::named::Progress;
use super::prune::{shrink, shrink_piece};
use super::writer::WriteContext;

/// Texts indexed in one piece.
const TEXTS_PER_PIECE: usize = 64;

/// Texts waiting before they are indexed even under load.
const TEXTS_MAX: usize = 2048;

/// Things waiting that are worth a piece of work in a short pause.
const WORTH_A_PAUSE: usize = 64;

/// A short pause: nothing has come for so long.
const PAUSE: Duration = Duration::from_millis(3);

/// Transactions between two looks at the log under load.
const LOOK_EVERY: u32 = 16;

/// What is left to do.
pub(super) struct Chores {
    /// Texts that wait to be indexed; 0 only if there are none, else a guess.
    pub(super) texts: usize,
    /// Executions that wait to be listed by name.
    pub(super) named: Progress,
    /// Histories that wait to be archived.
    pub(super) archiver: Archiver,
    /// Room was freed that shall go back to the file system at once.
    pub(super) shrink: bool,
    checkpoints: Checkpoints,
    /// A long pause, in which everything is done that waits.
    rest: Duration,
    /// Transactions since the last look at the log.
    unchecked: u32,
    /// A chore failed: leave them until the next write.
    off: bool,
}

impl Chores {
    /// What a file may have left to do when it is opened.
    pub(super) fn at_start(checkpoints: Checkpoints, named: Progress, rest: Duration) -> Self {
        Self {
            texts: 1,
            named,
            archiver: Archiver::new(),
            shrink: false,
            checkpoints,
            rest,
            unchecked: 1,
            off: false,
        }
    }

    /// How long nothing shall have come before the next chore; `None` if there is none to do.
    pub(super) fn patience(&self) -> Option<Duration> {
        if self.off || (self.waiting() == 0 && self.unchecked == 0) {
            None
        } else if self.much_waits() || self.unchecked >= LOOK_EVERY {
            Some(PAUSE.min(self.rest))
        } else {
            Some(self.rest)
        }
    }

    fn waiting(&self) -> usize {
        self.texts.max(self.archiver.waiting()).max(self.named.waiting())
    }

    fn much_waits(&self) -> bool {
        !self.off && self.waiting() >= WORTH_A_PAUSE
    }

    /// Leaves all until the next write.
    pub(super) fn put_off(&mut self) {
        self.off = true;
    }
}

/// After a batch: only what must not pile up further.
pub(super) fn under_load(desk: &mut WriteContext) -> rusqlite::Result<()> {
    desk.chores.off = false;
    desk.chores.unchecked += 1;
    if std::mem::take(&mut desk.chores.shrink) {
        desk.chores.checkpoints.wait();
        shrink(&desk.connection)?;
    }
    if desk.chores.texts > TEXTS_MAX {
        index_piece(desk)?;
    }
    if desk.chores.named.is_far_behind() {
        desk.chores.named.work(&desk.connection)?;
    }
    if desk.chores.unchecked.is_multiple_of(LOOK_EVERY) {
        desk.chores.checkpoints.tend(&desk.connection)?;
    }
    Ok(())
}

/// While deferrable work is gathered: a piece, if much waits.
pub(super) fn while_gathering(desk: &mut WriteContext) -> rusqlite::Result<()> {
    if desk.chores.much_waits() { idle(desk) } else { Ok(()) }
}

/// One piece of whatever there is to do.
pub(super) fn idle(desk: &mut WriteContext) -> rusqlite::Result<()> {
    if desk.chores.texts > 0 {
        return index_piece(desk);
    }
    if desk.chores.named.waiting() > 0 {
        return desk.chores.named.work(&desk.connection);
    }
    if desk.chores.archiver.waiting() > 0 {
        return archive_piece(desk);
    }
    let more = desk.chores.checkpoints.tend(&desk.connection)? || shrink_piece(&desk.connection)?;
    desk.chores.unchecked = u32::from(more);
    Ok(())
}

/// What must be done before the file is closed. Histories can wait.
pub(super) fn finish(desk: &mut WriteContext) -> rusqlite::Result<()> {
    while desk.chores.texts > 0 {
        index_piece(desk)?;
    }
    desk.chores.checkpoints.wait();
    checkpoint(&desk.connection, "TRUNCATE")
}

fn archive_piece(desk: &mut WriteContext) -> rusqlite::Result<()> {
    let transaction = desk.connection.unchecked_transaction()?;
    desk.chores.archiver.work(&transaction)?;
    transaction.commit()
}

fn index_piece(desk: &mut WriteContext) -> rusqlite::Result<()> {
    let transaction = desk.connection.unchecked_transaction()?;
    let last = index(&transaction, 0, i64::MAX, TEXTS_PER_PIECE)?;
    transaction.commit()?;
    desk.chores.texts = match last {
        Some(_) => desk.chores.texts.saturating_sub(TEXTS_PER_PIECE).max(1),
        None => 0,
    };
    Ok(())
}

/// Indexes waiting texts of the executions after row `after` up to row `until`, at most `limit`.
/// Gives the last one's row; `None` if there were fewer than `limit`, so that none is left.
pub(super) fn index(
    connection: &Connection,
    after: i64,
    until: i64,
    limit: usize,
) -> rusqlite::Result<Option<i64>> {
    let mut waiting = connection.prepare_cached(
        "SELECT execution, words FROM pending WHERE execution > ?1 AND execution <= ?2 \
         ORDER BY execution LIMIT ?3",
    )?;
    let mut replace =
        connection.prepare_cached("REPLACE INTO found (rowid, words) VALUES (?1, ?2)")?;
    let mut rows = waiting.query(params![after, until, limit as i64])?;
    let mut last = after;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        replace.execute(params![last, row.get_ref(1)?.as_str()?])?;
        count += 1;
    }
    drop(rows);
    connection
        .prepare_cached("DELETE FROM pending WHERE execution > ?1 AND execution <= ?2")?
        .execute(params![after, if count < limit { until } else { last }])?;
    Ok((count == limit).then_some(last))
}
