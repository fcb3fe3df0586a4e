//! Blocks of samples: written in place until they are full, and removed from the oldest on.
//!
//! Their bytes are counted with every write, so that nothing has to be added up to see whether there
//! are too many.

use engine::store::SampleBlock;
use kernel::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;

use super::names::Words;
use super::writer::WriteContext;

const COLUMNS: &str = "subject, first_at, last_at, last, checks, block";

/// Writes blocks; one of the same monitor that begins at the same instant is replaced.
pub(super) fn put(desk: &mut WriteContext, blocks: &[SampleBlock]) -> rusqlite::Result<()> {
    let mut grown = 0;
    for block in blocks {
        let subject = desk.numbers.of(&desk.connection, &block.subject)?;
        let before: Option<i64> = desk
            .connection
            .prepare_cached(
                "SELECT length(block) FROM sample WHERE subject = ?1 AND first_at = ?2",
            )?
            .query_row(params![subject, block.first_at.millis()], |row| row.get(0))
            .optional()?;
        desk.connection
            .prepare_cached(
                "INSERT INTO sample (subject, first_at, last_at, last, checks, block) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT (subject, first_at) DO UPDATE SET last_at = excluded.last_at, \
                 last = excluded.last, checks = excluded.checks, block = excluded.block",
            )?
            .execute(params![
                subject,
                block.first_at.millis(),
                block.last_at.millis(),
                block.last as i64,
                block.checks,
                block.data
            ])?;
        grown += block.data.len() as i64 - before.unwrap_or(0);
    }
    count(&desk.connection, grown)
}

/// Counts bytes that came or went.
fn count(connection: &Connection, bytes: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE sample_total SET bytes = max(bytes + ?1, 0)")?
        .execute([bytes])?;
    Ok(())
}

/// Blocks of a monitor that begin after an instant and touch a stretch of time.
pub(super) fn between(
    connection: &Connection,
    words: &Words,
    monitor: &str,
    (from, to): (Timestamp, Timestamp),
    after: Option<Timestamp>,
    limit: usize,
) -> rusqlite::Result<Vec<SampleBlock>> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sample WHERE subject = (SELECT id FROM name WHERE text = ?1) \
         AND first_at > ?2 AND first_at < ?3 AND last_at >= ?4 ORDER BY first_at LIMIT ?5"
    ))?;
    let after = after.map_or(i64::MIN, Timestamp::millis);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let given = params![monitor, after, to.millis(), from.millis(), limit];
    let rows = query.query_map(given, |row| block(row, connection, words))?;
    rows.collect()
}

/// The block of a monitor that begins last.
pub(super) fn newest(
    connection: &Connection,
    words: &Words,
    monitor: &str,
) -> rusqlite::Result<Option<SampleBlock>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM sample WHERE subject = (SELECT id FROM name WHERE text = ?1) \
             ORDER BY first_at DESC LIMIT 1"
        ))?
        .query_row([monitor], |row| block(row, connection, words))
        .optional()
}

fn block(row: &Row<'_>, connection: &Connection, words: &Words) -> rusqlite::Result<SampleBlock> {
    Ok(SampleBlock {
        subject: words.of(connection, row.get(0)?)?,
        first_at: Timestamp::from_millis(row.get(1)?),
        last_at: Timestamp::from_millis(row.get(2)?),
        last: row.get::<_, i64>(3)? as u64,
        checks: row.get(4)?,
        data: row.get(5)?,
    })
}

/// The monitors of which there are blocks: one step of the index for each.
pub(super) fn monitors(connection: &Connection) -> rusqlite::Result<Vec<Arc<str>>> {
    let mut query = connection.prepare_cached(
        "WITH RECURSIVE found (subject) AS (SELECT min(subject) FROM sample UNION ALL \
         SELECT (SELECT min(subject) FROM sample WHERE subject > found.subject) FROM found \
         WHERE found.subject IS NOT NULL) \
         SELECT text FROM found JOIN name ON name.id = found.subject ORDER BY text",
    )?;
    let rows = query.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|name| name.map(Arc::from)).collect()
}

/// Removes blocks that begin before an instant, and the oldest while all have too many bytes.
pub(super) fn trim(
    connection: &Connection,
    before: Option<Timestamp>,
    bytes_max: Option<u64>,
    limit: u64,
) -> rusqlite::Result<u64> {
    let total: i64 = connection
        .prepare_cached("SELECT bytes FROM sample_total")?
        .query_row([], |row| row.get(0))?;
    let most = bytes_max.map_or(i64::MAX, |most| i64::try_from(most).unwrap_or(i64::MAX));
    let before = before.map_or(i64::MIN, Timestamp::millis);
    let mut excess = total - most.min(total);
    let mut doomed = Vec::new();
    {
        let mut oldest = connection.prepare_cached(
            "SELECT id, first_at, length(block) FROM sample ORDER BY first_at LIMIT ?1",
        )?;
        let mut rows = oldest.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            let (id, at, bytes): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if at >= before && excess <= 0 {
                break;
            }
            excess -= bytes;
            doomed.push((id, bytes));
        }
    }
    remove(connection, &doomed)
}

/// Removes blocks of a monitor.
pub(super) fn forget(connection: &Connection, monitor: &str, limit: u64) -> rusqlite::Result<u64> {
    let doomed: Vec<(i64, i64)> = connection
        .prepare_cached(
            "SELECT id, length(block) FROM sample \
             WHERE subject = (SELECT id FROM name WHERE text = ?1) LIMIT ?2",
        )?
        .query_map(params![monitor, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    remove(connection, &doomed)
}

fn remove(connection: &Connection, doomed: &[(i64, i64)]) -> rusqlite::Result<u64> {
    let mut delete = connection.prepare_cached("DELETE FROM sample WHERE id = ?1")?;
    for (id, _) in doomed {
        delete.execute([id])?;
    }
    if !doomed.is_empty() {
        count(connection, -doomed.iter().map(|(_, bytes)| bytes).sum::<i64>())?;
    }
    Ok(doomed.len() as u64)
}
