//! Forgetting: one execution, or the finished ones that retention does not keep.
//!
//! What goes is chosen by a reader and removed by the writer a few at a time, so commits get their
//! turn in between.

use std::time::{Duration, Instant};

use engine::store::Retention;
use kernel::{ExecutionId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::checkpoint::checkpoint;
use super::commit::pinned_plans;
use super::key::Key;
use super::named;
use super::schema::{HISTORY_MAX, PAGE_BYTES, place};
use super::tally::{self, Class};
use super::writer::WriteContext;

/// Executions removed in one piece of the writer's work, at most.
pub(super) const PIECE: usize = 64;

/// For so long a piece goes on: commits that come with it wait no longer.
const PIECE_TIME: Duration = Duration::from_millis(2);

/// Free pages that the file keeps for what comes, 16 MiB.
const FREE_PAGES_KEPT: u64 = 16 * 1024 * 1024 / PAGE_BYTES;

/// Pages given back in one piece of work.
const FREE_PAGES_PIECE: u64 = 128;

/// Removes an execution and all that belongs to it; `false` if there is none.
pub(super) fn remove(desk: &mut WriteContext, key: &Key) -> rusqlite::Result<bool> {
    let found = desk
        .connection
        .prepare_cached("SELECT id FROM execution WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    let Some(id) = found else { return Ok(false) };
    remove_row(desk, id)?;
    Ok(true)
}

/// Removes those of the given rows that are still finished, from the first, until the time of a
/// piece is over. Gives how many rows it looked at and how many it removed.
pub(super) fn remove_finished(
    desk: &mut WriteContext,
    rows: &[i64],
) -> rusqlite::Result<(usize, u64)> {
    let begun = Instant::now();
    let (mut seen, mut removed) = (0, 0);
    for id in rows {
        let finished = desk
            .connection
            .prepare_cached("SELECT 1 FROM execution WHERE id = ?1 AND closed = 1")?
            .exists([id])?;
        if finished {
            remove_row(desk, *id)?;
            removed += 1;
        }
        seen += 1;
        if begun.elapsed() >= PIECE_TIME {
            break;
        }
    }
    Ok((seen, removed))
}

/// Removes what has ended and owes no message, and gives the others back.
pub(super) fn remove_ended(
    desk: &mut WriteContext,
    ids: &[ExecutionId],
) -> rusqlite::Result<Vec<ExecutionId>> {
    let mut left = Vec::new();
    for id in ids {
        let found: Option<(i64, bool)> = desk
            .connection
            .prepare_cached(
                "SELECT id, closed = 1 AND NOT EXISTS \
                 (SELECT 1 FROM message WHERE sender = key) FROM execution WHERE key = ?1",
            )?
            .query_row([Key::of(id)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match found {
            Some((row, true)) => remove_row(desk, row)?,
            Some((_, false)) => left.push(id.clone()),
            None => {}
        }
    }
    Ok(left)
}

fn remove_row(desk: &mut WriteContext, id: i64) -> rusqlite::Result<()> {
    let connection = &desk.connection;
    let (key, plans, class, created_at): (Key, Option<String>, Class, i64) = connection
        .prepare_cached(
            "DELETE FROM execution WHERE id = ?1 RETURNING key, plans, machine, name, status, \
             closed, closed = 1 AND ended_at IS NOT NULL, parent IS NOT NULL, created_at",
        )?
        .query_row([id], |row| {
            let class = Class {
                machine: row.get(2)?,
                name: row.get(3)?,
                status: row.get(4)?,
                closed: row.get(5)?,
                finished: row.get(6)?,
                child: row.get(7)?,
            };
            Ok((row.get(0)?, row.get(1)?, class, row.get(8)?))
        })?;
    desk.tally.take(class);
    named::remove(connection, id, class.name, created_at)?;
    connection
        .prepare_cached("DELETE FROM history WHERE place BETWEEN ?1 AND ?2")?
        .execute(params![place(id, 0), place(id, HISTORY_MAX)])?;
    for sql in [
        "DELETE FROM archive WHERE execution = ?1",
        "DELETE FROM queue WHERE execution = ?1",
        "DELETE FROM log WHERE execution = ?1",
        "DELETE FROM pending WHERE execution = ?1",
        "DELETE FROM found WHERE rowid = ?1",
        "DELETE FROM brief WHERE execution = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([id])?;
    }
    // What it sent is still to be received: whoever waits for its end must hear of it.
    connection.prepare_cached("DELETE FROM message WHERE receiver = ?1")?.execute([&key])?;
    for plan in pinned_plans(plans.as_deref()) {
        unpin(connection, plan)?;
    }
    Ok(())
}

fn unpin(connection: &Connection, plan: i64) -> rusqlite::Result<()> {
    let left: Option<i64> = connection
        .prepare_cached("UPDATE plan_use SET uses = uses - 1 WHERE plan = ?1 RETURNING uses")?
        .query_row([plan], |row| row.get(0))
        .optional()?;
    if left == Some(0) {
        connection.prepare_cached("DELETE FROM plan_use WHERE plan = ?1")?.execute([plan])?;
        connection.prepare_cached("DELETE FROM plan WHERE id = ?1")?.execute([plan])?;
    }
    Ok(())
}

/// What a reader found that goes.
#[derive(Default)]
pub(super) struct Candidates {
    /// Rows, first ended first.
    pub(super) rows: Vec<i64>,
    /// There are more than were asked for.
    pub(super) more: bool,
}

/// A finished execution that owes no message; first ended first.
const FINISHED: &str = "FROM execution e WHERE e.ended_at IS NOT NULL AND e.closed = 1 \
     AND NOT EXISTS (SELECT 1 FROM message m WHERE m.sender = e.key)";

/// Finds what goes by number and by age, at most `limit`.
pub(super) fn beyond(
    connection: &Connection,
    retention: &Retention,
    now: Timestamp,
    limit: usize,
) -> rusqlite::Result<Candidates> {
    let too_many = match retention.count_max {
        0 => 0,
        most => tally::finished(connection)?.saturating_sub(most),
    };
    let most = limit as u64 + 1;
    let mut rows = first_ended(connection, i64::MAX, too_many.min(most))?;
    if let Some(oldest) = retention.oldest(now) {
        let old = first_ended(connection, oldest.millis(), most)?;
        // Both lists begin with the first ended, so the longer one holds the other.
        if old.len() > rows.len() {
            rows = old;
        }
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    Ok(Candidates { rows, more })
}

/// Finished executions that ended before a time.
fn first_ended(connection: &Connection, before: i64, limit: u64) -> rusqlite::Result<Vec<i64>> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let sql =
        format!("SELECT e.id {FINISHED} AND e.ended_at < ?1 ORDER BY e.ended_at, e.id LIMIT ?2");
    let mut query = connection.prepare_cached(&sql)?;
    query.query_map(params![before, limit as i64], |row| row.get(0))?.collect()
}

/// Finds about as many as must go for the file to lose `excess` bytes, at most `limit`.
pub(super) fn to_free(
    connection: &Connection,
    excess: u64,
    limit: usize,
) -> rusqlite::Result<Candidates> {
    let each = (used_bytes(connection)? / tally::all(connection)?.max(1)).max(1);
    let needed = (excess / each + 1).min(limit as u64);
    let mut rows = first_ended(connection, i64::MAX, needed + 1)?;
    let more = rows.len() as u64 > needed;
    rows.truncate(needed as usize);
    Ok(Candidates { rows, more })
}

/// Gives some free pages back to the file system, if there are many. Gives whether there may be
/// more.
pub(super) fn shrink_piece(connection: &Connection) -> rusqlite::Result<bool> {
    if pages(connection, "freelist_count")? <= FREE_PAGES_KEPT {
        return Ok(false);
    }
    vacuum(connection, &format!("({FREE_PAGES_PIECE})"))?;
    Ok(true)
}

fn vacuum(connection: &Connection, pages: &str) -> rusqlite::Result<()> {
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum{pages}"))?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Gives free pages back to the file system, and the log's room too.
pub(super) fn shrink(connection: &Connection) -> rusqlite::Result<()> {
    vacuum(connection, "")?;
    checkpoint(connection, "TRUNCATE")
}

fn pages(connection: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map(|n| n as u64)
}

/// Bytes in pages that hold something.
fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let free = pages(connection, "freelist_count")?;
    Ok((pages(connection, "page_count")?.saturating_sub(free)) * PAGE_BYTES)
}
