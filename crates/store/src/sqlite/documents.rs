//! Documents and task logs: rows kept as they are given.

use engine::store::{Document, KeptLine, LOG_LINES_MAX, LogLine, LogWindow};
use kernel::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::key::Key;

/// Inserts or replaces documents.
pub(super) fn put(connection: &Connection, documents: &[Document]) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached(
        "INSERT INTO document (kind, name, version, text) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (kind, name, version) DO UPDATE SET text = excluded.text",
    )?;
    for Document { kind, name, version, text } in documents {
        put.execute(params![kind, name, version, text])?;
    }
    Ok(())
}

/// Removes a document; `false` if there was none.
pub(super) fn delete(
    connection: &Connection,
    kind: &str,
    name: &str,
    version: u32,
) -> rusqlite::Result<bool> {
    let deleted = connection
        .prepare_cached("DELETE FROM document WHERE kind = ?1 AND name = ?2 AND version = ?3")?
        .execute(params![kind, name, version])?;
    Ok(deleted > 0)
}

/// Every document of a kind.
pub(super) fn of_kind(connection: &Connection, kind: &str) -> rusqlite::Result<Vec<Document>> {
    let mut query = connection.prepare_cached(
        "SELECT kind, name, version, text FROM document WHERE kind = ?1 ORDER BY name, version",
    )?;
    let rows = query.query_map([kind], document)?;
    rows.collect()
}

/// Documents of a kind after a name.
pub(super) fn after(
    connection: &Connection,
    kind: &str,
    after: &str,
    limit: usize,
) -> rusqlite::Result<Vec<Document>> {
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut query = connection.prepare_cached(
        "SELECT kind, name, version, text FROM document WHERE kind = ?1 AND name > ?2 \
         ORDER BY name, version LIMIT ?3",
    )?;
    let found: Vec<Document> =
        query.query_map(params![kind, after, rows], document)?.collect::<rusqlite::Result<_>>()?;
    // Whoever has gone through all of them does not ask again soon: their pages are given back.
    if !after.is_empty() && found.len() < limit {
        connection.execute_batch("PRAGMA shrink_memory")?;
    }
    Ok(found)
}

fn document(row: &Row<'_>) -> rusqlite::Result<Document> {
    Ok(Document { kind: row.get(0)?, name: row.get(1)?, version: row.get(2)?, text: row.get(3)? })
}

/// Adds log lines, then drops the oldest beyond the bound.
pub(super) fn append_log(
    connection: &Connection,
    key: &Key,
    sequence: u32,
    lines: &[LogLine],
) -> rusqlite::Result<()> {
    let found = connection
        .prepare_cached("SELECT id FROM execution WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    let Some(execution): Option<i64> = found else { return Ok(()) };
    let mut insert = connection.prepare_cached(
        "INSERT INTO log (execution, sequence, at, text) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES_MAX)) {
        insert.execute(params![execution, sequence, line.at.millis(), line.text])?;
    }
    connection
        .prepare_cached(
            "DELETE FROM log WHERE execution = ?1 AND sequence = ?2 AND id <= \
             (SELECT id FROM log WHERE execution = ?1 AND sequence = ?2 \
              ORDER BY id DESC LIMIT 1 OFFSET ?3)",
        )?
        .execute(params![execution, sequence, LOG_LINES_MAX as i64])?;
    Ok(())
}

/// Log lines of some tasks, in the order in which they were added.
pub(super) fn log(
    connection: &Connection,
    key: &Key,
    sequences: &[u32],
    window: &LogWindow,
) -> rusqlite::Result<Vec<KeptLine>> {
    let mut query = connection.prepare_cached(
        "SELECT l.id, l.sequence, l.at, l.text FROM log l JOIN execution e ON e.id = l.execution \
         WHERE e.key = ?1 AND l.sequence IN (SELECT value FROM json_each(?2)) AND l.id < ?3 \
         AND (?4 IS NULL OR instr(lower(l.text), lower(?4)) > 0) ORDER BY l.id DESC LIMIT ?5",
    )?;
    let most =
        |number: Option<u64>| number.map_or(i64::MAX, |it| i64::try_from(it).unwrap_or(i64::MAX));
    let (before, tail) = (most(window.before), most(window.tail.map(|tail| tail as u64)));
    let sequences = serde_json::Value::from(sequences).to_string();
    let rows = query.query_map(params![key, sequences, before, window.find, tail], |row| {
        let line = LogLine { at: Timestamp::from_millis(row.get(2)?), text: row.get(3)? };
        Ok(KeptLine { number: row.get::<_, i64>(0)?.unsigned_abs(), sequence: row.get(1)?, line })
    })?;
    let mut lines: Vec<KeptLine> = rows.collect::<Result<_, _>>()?;
    lines.reverse();
    Ok(lines)
}
