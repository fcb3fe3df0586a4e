//! Executions by name, in the order of lists.
//!
//! An index by name would be a page more to write for every name in a transaction. So this is a table
//! that the writer brings up to date later, many rows at a time. Readers look through the few newest
//! rows that are not in it yet.

use engine::search::{OWN_RUNS, like};
use rusqlite::{Connection, OptionalExtension, params};

use super::commit::machine;
use super::search::glob;

/// Rows listed in one piece of work.
const PIECE: usize = 256;

/// Rows that may wait before they are listed even under load.
const WAITING_MAX: i64 = 4096;

/// Rows that wait at most where a search uses the table: it looks through all of them.
const BEHIND_MAX: i64 = 4 * WAITING_MAX;

/// How far the table has come, for the writer.
pub(super) struct Progress {
    /// All rows of executions through this one are in the table, so far as they belong there.
    through: i64,
    /// The last row of an execution.
    last: i64,
}

impl Progress {
    /// What a file says.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let (through, last) = bounds(connection)?;
        Ok(Self { through, last })
    }

    /// Rows that wait, or more.
    pub(super) const fn waiting(&self) -> usize {
        let waiting = self.last - self.through;
        if waiting > 0 { waiting as usize } else { 0 }
    }

    /// Whether rows must be listed even under load.
    pub(super) const fn is_far_behind(&self) -> bool {
        self.last - self.through > WAITING_MAX
    }

    /// Notes a new row, within the open transaction.
    pub(super) fn added(
        &mut self,
        connection: &Connection,
        id: i64,
        name: i64,
        created_at: i64,
    ) -> rusqlite::Result<()> {
        // The number of a removed row is given again if it was the last.
        if id <= self.through {
            return put(connection, id, name, created_at);
        }
        self.last = self.last.max(id);
        Ok(())
    }

    /// Notes that a row has another name or time of creation than before, within the open transaction.
    pub(super) fn moved(
        &self,
        connection: &Connection,
        id: i64,
        from: (i64, i64),
        to: (i64, i64),
    ) -> rusqlite::Result<()> {
        remove(connection, id, from.0, from.1)?;
        if id <= self.through { put(connection, id, to.0, to.1) } else { Ok(()) }
    }

    /// Lists some rows that wait, in a transaction of its own.
    pub(super) fn work(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let transaction = connection.unchecked_transaction()?;
        let mut rows = Vec::with_capacity(PIECE);
        let (mut through, mut seen) = (self.through, 0);
        {
            let sql = format!(
                "SELECT e.id, e.name, e.created_at, {} FROM execution e WHERE e.id > ?1 \
                 ORDER BY e.id LIMIT ?2",
                belongs()
            );
            let mut waiting = transaction.prepare_cached(&sql)?;
            let mut waiting = waiting.query(params![self.through, PIECE as i64])?;
            while let Some(row) = waiting.next()? {
                through = row.get(0)?;
                seen += 1;
                if row.get(3)? {
                    rows.push((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, through));
                }
            }
        }
        rows.sort_unstable();
        let mut insert = transaction.prepare_cached(INSERT)?;
        for row in rows {
            insert.execute(row)?;
        }
        drop(insert);
        transaction
            .prepare_cached("UPDATE named_through SET execution = ?1")?
            .execute([through])?;
        transaction.commit()?;
        self.through = through;
        if seen < PIECE {
            self.last = through;
        }
        Ok(())
    }
}

const INSERT: &str =
    "INSERT OR IGNORE INTO named (name, created_at, execution) VALUES (?1, ?2, ?3)";

/// Whether a row `e` is an execution that a user started. The runs that Nightbell makes for itself
/// come and go by the thousand, and nobody pages through them.
fn belongs() -> String {
    let own = OWN_RUNS.map(|own| format!("n.text GLOB '{}'", glob(own))).join(" OR ");
    let graph = machine(kernel::MachineKind::Execution);
    format!(
        "e.machine = {graph} AND NOT EXISTS (SELECT 1 FROM name n WHERE n.id = e.name AND ({own}))"
    )
}

/// Lists a row, if it belongs into the table.
fn put(connection: &Connection, id: i64, name: i64, created_at: i64) -> rusqlite::Result<()> {
    let sql = format!("SELECT {} FROM execution e WHERE e.id = ?1", belongs());
    if connection.prepare_cached(&sql)?.query_row([id], |row| row.get(0))? {
        connection.prepare_cached(INSERT)?.execute([name, created_at, id])?;
    }
    Ok(())
}

/// Takes a row off the list, if it is there.
pub(super) fn remove(
    connection: &Connection,
    id: i64,
    name: i64,
    created_at: i64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM named WHERE name = ?1 AND created_at = ?2 AND execution = ?3")?
        .execute([name, created_at, id])?;
    Ok(())
}

/// What a reader needs to know of the table.
#[derive(Clone, Copy)]
pub(super) struct Listed {
    /// All through this row are there.
    pub(super) through: i64,
    /// Rows that are not, or more.
    pub(super) behind: u64,
}

/// Whether rows of these names are found in the table, and how far.
pub(super) fn listed(connection: &Connection, names: &[i64]) -> rusqlite::Result<Option<Listed>> {
    let (through, last) = bounds(connection)?;
    let behind = last.saturating_sub(through).max(0);
    if behind > BEHIND_MAX {
        return Ok(None);
    }
    for name in names {
        let text: Option<String> = connection
            .prepare_cached("SELECT text FROM name WHERE id = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        if text.is_none_or(|text| OWN_RUNS.iter().any(|own| like(own, &text))) {
            return Ok(None);
        }
    }
    Ok(Some(Listed { through, behind: behind as u64 }))
}

/// The last row in the table, and the last there is.
fn bounds(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let through = connection
        .prepare_cached("SELECT execution FROM named_through")?
        .query_row([], |row| row.get(0))?;
    let last = connection
        .prepare_cached("SELECT max(id) FROM execution")?
        .query_row([], |row| row.get::<_, Option<i64>>(0))?;
    Ok((through, last.unwrap_or_default()))
}
