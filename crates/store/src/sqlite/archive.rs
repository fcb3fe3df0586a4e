//! Histories of ended executions, each compressed into one row.
//!
//! The events of one execution say nearly the same over and over, so together they shrink to a
//! fifth; one by one, as they are committed, they would not. It is done at idle moments, after the
//! end, and costs no commit anything. An execution that goes on after its end gets history rows
//! behind its archive, and is archived anew when it ends again.

use std::collections::VecDeque;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension, params};

use super::schema::{HISTORY_MAX, execution_at, place};

/// Ended executions remembered; if there are more, all histories are looked through instead.
const REMEMBERED_MAX: usize = 65_536;

/// Executions archived, or looked at, in one piece of work.
const PIECE: usize = 32;

/// Bytes of text in a history that is archived. Longer ones stay as they are: they would stall the
/// writer.
const BYTES_MAX: i64 = 1024 * 1024;

/// How hard histories are compressed. Level 1 of zlib-rs has codes of a fixed length, so that random letters (keys,
/// images as base64) take as many bytes as before, and one history of two bodies fills a page instead of a half.
const LEVEL: u32 = 4;

/// Stands between two texts. JSON cannot hold it; a text that does is not archived.
const SEPARATOR: &str = "\0";

/// The writer's list of what to archive.
pub(super) struct Archiver {
    ended: VecDeque<i64>,
    /// All history rows after this one are to be looked through.
    sweep: Option<i64>,
    compress: Compress,
}

impl Archiver {
    /// One that looks through all histories first, for nobody knows which were left.
    pub(super) fn new() -> Self {
        let compress = Compress::new(Compression::new(LEVEL), false);
        Self { ended: VecDeque::new(), sweep: Some(0), compress }
    }

    /// Remembers an execution that ended.
    pub(super) fn remember(&mut self, execution: i64) {
        if self.ended.len() < REMEMBERED_MAX {
            self.ended.push_back(execution);
        } else {
            self.ended.clear();
            self.sweep = Some(0);
        }
    }

    /// How many there are to look at, as far as known.
    pub(super) fn waiting(&self) -> usize {
        self.ended.len() + usize::from(self.sweep.is_some())
    }

    /// Archives a few, within the open transaction.
    pub(super) fn work(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        for _ in 0..PIECE {
            let Some(execution) = self.next(connection)? else { return Ok(()) };
            self.archive(connection, execution)?;
        }
        Ok(())
    }

    /// The next execution to look at, and takes it off the list.
    fn next(&mut self, connection: &Connection) -> rusqlite::Result<Option<i64>> {
        if let Some(execution) = self.ended.pop_front() {
            return Ok(Some(execution));
        }
        let Some(after) = self.sweep else { return Ok(None) };
        let found = next_history(connection, after)?;
        self.sweep = found.map(|execution| place(execution, HISTORY_MAX));
        Ok(found)
    }

    fn archive(&mut self, connection: &Connection, execution: i64) -> rusqlite::Result<()> {
        let rows = params![place(execution, 0), place(execution, HISTORY_MAX)];
        let bytes: Option<i64> = connection
            .prepare_cached(
                "SELECT (SELECT sum(length(events)) FROM history WHERE place BETWEEN ?1 AND ?2) \
                 + ifnull((SELECT bytes FROM archive WHERE execution = ?3), 0) \
                 FROM execution WHERE id = ?3 AND closed = 1",
            )?
            .query_row(params![rows[0], rows[1], execution], |row| row.get(0))
            .optional()?
            .flatten();
        if bytes.is_none_or(|bytes| bytes > BYTES_MAX) {
            return Ok(());
        }
        let texts = texts(connection, execution)?;
        if texts.iter().any(|text| text.contains(SEPARATOR)) {
            return Ok(());
        }
        let joined = texts.join(SEPARATOR);
        connection
            .prepare_cached("REPLACE INTO archive (execution, bytes, texts) VALUES (?1, ?2, ?3)")?
            .execute(params![execution, joined.len() as i64, self.shrink(joined.as_bytes())])?;
        connection
            .prepare_cached("DELETE FROM history WHERE place BETWEEN ?1 AND ?2")?
            .execute(rows)?;
        Ok(())
    }

    fn shrink(&mut self, text: &[u8]) -> Vec<u8> {
        self.compress.reset();
        let mut shrunk = Vec::with_capacity(text.len() / 4 + 64);
        loop {
            let from = self.compress.total_in() as usize;
            let status =
                self.compress.compress_vec(&text[from..], &mut shrunk, FlushCompress::Finish);
            if status.expect("compressing has no invalid input") == Status::StreamEnd {
                return shrunk;
            }
            shrunk.reserve(shrunk.len().max(64));
        }
    }
}

/// The first execution that has history rows after the given row.
fn next_history(connection: &Connection, after: i64) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT place FROM history WHERE place > ?1 ORDER BY place LIMIT 1")?
        .query_row([after], |row| row.get(0).map(execution_at))
        .optional()
}

/// All texts of an execution's history, oldest first.
pub(super) fn texts(connection: &Connection, execution: i64) -> rusqlite::Result<Vec<String>> {
    let archived = connection
        .prepare_cached("SELECT bytes, texts FROM archive WHERE execution = ?1")?
        .query_row([execution], |row| {
            let joined = unfold(row.get_ref(1)?.as_blob()?, row.get::<_, i64>(0)? as usize)?;
            Ok(joined.split(SEPARATOR).map(str::to_owned).collect::<Vec<_>>())
        })
        .optional()?;
    let mut texts = archived.unwrap_or_default();
    let mut query = connection.prepare_cached(
        "SELECT events FROM history WHERE place BETWEEN ?1 AND ?2 ORDER BY place",
    )?;
    let rows =
        query.query_map([place(execution, 0), place(execution, HISTORY_MAX)], |row| row.get(0))?;
    for events in rows {
        texts.push(events?);
    }
    Ok(texts)
}

/// The text of `bytes` bytes that was shrunk.
fn unfold(shrunk: &[u8], bytes: usize) -> rusqlite::Result<String> {
    let damaged = |error| rusqlite::Error::FromSqlConversionFailure(1, Type::Blob, error);
    let mut text = Vec::with_capacity(bytes.min(BYTES_MAX as usize));
    let mut unfold = Decompress::new(false);
    let status = unfold
        .decompress_vec(shrunk, &mut text, FlushDecompress::Finish)
        .map_err(|error| damaged(error.into()))?;
    if status != Status::StreamEnd || text.len() != bytes {
        return Err(damaged(FromSqlError::InvalidType.into()));
    }
    String::from_utf8(text).map_err(|error| damaged(error.into()))
}

#[cfg(test)]
mod tests {
    use super::{Archiver, unfold};

    #[test]
    fn random_letters_that_come_twice_shrink_to_less_than_one_of_them() {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut state = 7_u64;
        let mut letter = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(LETTERS[(state >> 58) as usize])
        };
        let body: String = (0..4096).map(|_| letter()).collect();
        let text = format!("{body}{body}");
        let shrunk = Archiver::new().shrink(text.as_bytes());
        assert_eq!(unfold(&shrunk, text.len()).expect("it is whole"), text);
        // Six of eight bits say which letter it is.
        assert!(shrunk.len() < body.len() * 9 / 10, "{} bytes", shrunk.len());
    }
}
