//! The whole content of a file, read row by row and written row by row: one side of a copy.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use engine::store::{Store as _, StoreError};
use kernel::ExecutionId;
use rusqlite::types::{FromSqlError, Type, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use tokio::sync::mpsc;

use super::commit::{machine, pinned_plans};
use super::fault::explain;
use super::key::Key;
use super::schema::{self, place};
use super::writer::WriteContext;
use super::{Durability, Options, Sqlite, archive, beside, fault, is_taken};
use crate::row::{Cell, Gather, Row, Side, State, Table, sorted};

/// A file that is copied from or to.
pub(crate) struct File(Arc<Sqlite>);

impl File {
    /// Opens the file, or makes it if there is none.
    ///
    /// # Errors
    /// As [`Sqlite::open`].
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        // What is lost with the power is a copy that has not finished: it is synced at the end.
        let options = Options { durability: Durability::ProcessCrash, ..Options::default() };
        Sqlite::open(path, &options).map(Self)
    }

    async fn write_all(
        &self,
        mut act: impl FnMut(&mut WriteContext) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.0.write(0, move |desk| Ok(act(desk)?)).await
    }
}

/// What is at a path. Nothing is changed.
pub(crate) fn state(path: &Path) -> Result<State, StoreError> {
    if is_taken(path) {
        Ok(State::InUse("another process".to_owned()))
    } else {
        schema::state(path)
    }
}

/// Removes a file that an unfinished copy left, while nobody has it.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    let _lock = super::lock(path)?;
    for suffix in ["-wal", "-shm", ""] {
        let file = beside(path, suffix);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(fault::io("cannot remove", &file, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[async_trait]
impl Side for File {
    async fn count(&self, table: Table) -> Result<u64, StoreError> {
        let sql = count_of(table);
        let count = self
            .0
            .read(move |connection, _| connection.query_row(sql, [], |row| row.get::<_, i64>(0)));
        Ok(count.await? as u64)
    }

    async fn read(&self, table: Table, into: mpsc::Sender<Vec<Row>>) -> Result<(), StoreError> {
        let path = self.0.path().to_owned();
        let reading = tokio::task::spawn_blocking(move || {
            match reader(&path).map_err(Halt::from).and_then(|it| read(&it, table, into)) {
                // Whoever read has gone, and knows why.
                Ok(()) | Err(Halt::Closed) => Ok(()),
                Err(Halt::Failed(error)) => Err(explain(&error, &path)),
                Err(Halt::Damaged(why)) => {
                    Err(StoreError::Corrupt(format!("{}: {why}", path.display())))
                }
            }
        });
        reading.await.map_err(|_| StoreError::Closed)?
    }

    async fn write(&self, table: Table, rows: Vec<Row>) -> Result<(), StoreError> {
        self.write_all(move |desk| write(desk, table, &rows)).await
    }

    fn keeps_nul(&self) -> bool {
        true
    }

    async fn mark(&self) -> Result<(), StoreError> {
        self.write_all(|desk| schema::mark(&desk.connection)).await
    }

    async fn derive(&self) -> Result<(), StoreError> {
        self.write_all(|desk| desk.connection.execute_batch(schema::DERIVED)).await
    }

    async fn still_owns(&self) -> Result<(), StoreError> {
        // The lock beside the file is held until it is closed.
        Ok(())
    }

    async fn unmark(&self) -> Result<(), StoreError> {
        self.write_all(|desk| schema::unmark(&desk.connection)).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.0.close().await
    }
}

const fn count_of(table: Table) -> &'static str {
    match table {
        Table::Document => "SELECT count(*) FROM document",
        Table::Plan => "SELECT count(*) FROM plan",
        Table::Execution => "SELECT count(*) FROM execution",
        Table::Pin => {
            "SELECT ifnull(sum(1 + length(plans) - length(replace(plans, ',', ''))), 0) \
             FROM execution WHERE plans <> ''"
        }
        Table::History => "SELECT ifnull(sum(version - forgotten), 0) FROM execution",
        Table::Brief => "SELECT count(*) FROM brief",
        Table::Word => {
            "SELECT count(*) FROM (SELECT id FROM found_docsize UNION SELECT execution FROM pending)"
        }
        Table::Queue => "SELECT count(*) FROM queue",
        Table::Message => "SELECT count(*) FROM message",
        Table::Log => "SELECT count(*) FROM log",
        Table::Record => "SELECT count(*) FROM record",
        Table::Sample => "SELECT count(*) FROM sample",
    }
}

/// Why reading stopped.
enum Halt {
    /// Nobody takes the rows any more.
    Closed,
    Failed(rusqlite::Error),
    Damaged(String),
}

impl From<rusqlite::Error> for Halt {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// A connection of its own, which sorts on the disk what memory should not hold.
fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = schema::open_reader(path, &Options::default())?;
    connection.pragma_update(None, "temp_store", "FILE")?;
    Ok(connection)
}

/// Sends all rows of a table.
fn read(connection: &Connection, table: Table, into: mpsc::Sender<Vec<Row>>) -> Result<(), Halt> {
    let mut gather = Gather::new(into);
    match table {
        Table::Pin => pins(connection, &mut gather)?,
        Table::History => histories(connection, &mut gather)?,
        Table::Word => words(connection, &mut gather)?,
        Table::Sample => samples(connection, &mut gather)?,
        Table::Document => {
            let sql = "SELECT kind, name, version, text FROM document ORDER BY kind, name, version";
            select(connection, table, sql, &[], &mut gather)?;
        }
        Table::Plan => {
            select(connection, table, "SELECT hash, text FROM plan ORDER BY id", &[], &mut gather)?;
        }
        Table::Execution => {
            let sql = "SELECT e.key, e.version, n.text, e.definition_version, s.text, e.closed, \
                       e.priority, e.created_at, e.updated_at, e.ended_at, e.wake_at, \
                       e.correlation_id, e.parent, e.reason, ifnull(e.failed_references, ''), \
                       e.event, e.input_size, e.output_size, e.forgotten FROM execution e \
                       CROSS JOIN name n ON n.id = e.name CROSS JOIN name s ON s.id = e.status \
                       ORDER BY e.id";
            select(connection, table, sql, &[], &mut gather)?;
        }
        Table::Brief => {
            let sql = "SELECT e.key, b.text FROM brief b \
                       CROSS JOIN execution e ON e.id = b.execution ORDER BY b.execution";
            select(connection, table, sql, &[], &mut gather)?;
        }
        Table::Queue => {
            let sql = "SELECT e.key, q.sequence, u.text, n.text, q.priority, q.ready_at, q.held, \
                       q.concurrent_max, q.rate_max, q.rate_window_seconds FROM queue q \
                       CROSS JOIN execution e ON e.id = q.execution \
                       CROSS JOIN name u ON u.id = q.queue CROSS JOIN name n ON n.id = q.name \
                       ORDER BY q.execution, q.sequence";
            select(connection, table, sql, &[], &mut gather)?;
        }
        Table::Message => {
            let sql = "SELECT sender, sequence, receiver, body FROM message ORDER BY id";
            select(connection, table, sql, &[], &mut gather)?;
        }
        Table::Log => {
            let sql = "SELECT e.key, l.sequence, l.at, l.text FROM log l \
                       CROSS JOIN execution e ON e.id = l.execution \
                       ORDER BY l.execution, l.sequence, l.id";
            select(connection, table, sql, &[], &mut gather)?;
        }
        Table::Record => {
            let sql = "SELECT l.text, r.key, u.text, r.at, s.text, r.body FROM record r \
                       CROSS JOIN name l ON l.id = r.ledger CROSS JOIN name u ON u.id = r.subject \
                       CROSS JOIN name s ON s.id = r.status ORDER BY r.id";
            select(connection, table, sql, &[], &mut gather)?;
        }
    }
    if gather.finish_blocking() { Ok(()) } else { Err(Halt::Closed) }
}

fn push(gather: &mut Gather, row: Row) -> Result<(), Halt> {
    if gather.push_blocking(row) { Ok(()) } else { Err(Halt::Closed) }
}

/// Sends the rows of a statement that gives the columns of the table.
fn select(
    connection: &Connection,
    table: Table,
    sql: &str,
    given: &[&dyn rusqlite::ToSql],
    gather: &mut Gather,
) -> Result<(), Halt> {
    let mut query = connection.prepare(sql)?;
    let columns = query.column_count();
    let mut rows = query.query(given)?;
    while let Some(row) = rows.next()? {
        let cells = (0..columns).map(|at| cell(row, at, table.ids().contains(&at)));
        push(gather, cells.collect::<rusqlite::Result<_>>()?)?;
    }
    Ok(())
}

fn cell(row: &rusqlite::Row<'_>, at: usize, is_id: bool) -> rusqlite::Result<Cell> {
    if is_id {
        let key = row.get::<_, Option<Key>>(at)?;
        return Ok(key.map_or(Cell::Null, |key| Cell::Id(key.into_id().as_str().to_owned())));
    }
    Ok(match row.get_ref(at)? {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        ValueRef::Text(text) => Cell::Text(
            std::str::from_utf8(text).map_err(|error| damaged(at, error.into()))?.to_owned(),
        ),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => return Err(damaged(at, FromSqlError::InvalidType.into())),
    })
}

fn damaged(at: usize, error: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, error)
}

fn id(key: Key) -> Cell {
    Cell::Id(key.into_id().as_str().to_owned())
}

fn pins(connection: &Connection, gather: &mut Gather) -> Result<(), Halt> {
    let mut query =
        connection.prepare("SELECT key, plans FROM execution WHERE plans <> '' ORDER BY id")?;
    let mut hash = connection.prepare("SELECT hash FROM plan WHERE id = ?1")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let of = id(row.get(0)?);
        let plans: String = row.get(1)?;
        let hashes = pinned_plans(Some(&plans))
            .map(|plan| hash.query_row([plan], |row| row.get::<_, String>(0)));
        let mut hashes = hashes.collect::<rusqlite::Result<Vec<_>>>()?;
        hashes.sort_unstable();
        for hash in hashes {
            push(gather, vec![of.clone(), Cell::Text(hash)])?;
        }
    }
    Ok(())
}

fn histories(connection: &Connection, gather: &mut Gather) -> Result<(), Halt> {
    let mut query =
        connection.prepare("SELECT id, key, version, forgotten FROM execution ORDER BY id")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let key: Key = row.get(1)?;
        let (version, forgotten): (i64, i64) = (row.get(2)?, row.get(3)?);
        let texts = archive::texts(connection, row.get(0)?)?;
        let (found, wanted) = (texts.len(), version - forgotten);
        if i64::try_from(found) != Ok(wanted) {
            let id = key.into_id();
            return Err(Halt::Damaged(format!("{id} has {found} of {wanted} commits")));
        }
        let of = id(key);
        for (version, events) in (forgotten + 1..).zip(texts) {
            push(gather, vec![of.clone(), Cell::Int(version), Cell::Text(events)])?;
        }
    }
    Ok(())
}

/// The words that wait to be indexed, or those that the index has.
fn words(connection: &Connection, gather: &mut Gather) -> Result<(), Halt> {
    connection.execute_batch(
        "CREATE VIRTUAL TABLE temp.indexed USING fts5vocab(main, found, instance)",
    )?;
    let mut indexed = connection.prepare("SELECT doc, term FROM temp.indexed ORDER BY doc")?;
    let mut indexed = indexed.query([])?;
    let mut next: Option<(i64, String)> = None;
    let mut all = connection.prepare(
        "SELECT e.id, e.key, p.words FROM execution e LEFT JOIN pending p ON p.execution = e.id \
         WHERE p.words IS NOT NULL OR e.id IN (SELECT id FROM found_docsize) ORDER BY e.id",
    )?;
    let mut all = all.query([])?;
    while let Some(row) = all.next()? {
        let execution: i64 = row.get(0)?;
        let mut found = String::new();
        loop {
            if next.is_none() {
                let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, String)> {
                    Ok((row.get(0)?, row.get(1)?))
                };
                next = indexed.next()?.map(read).transpose()?;
            }
            match next.take() {
                Some((of, term)) if of <= execution => {
                    if of == execution {
                        found.push(' ');
                        found.push_str(&term);
                    }
                }
                later => {
                    next = later;
                    break;
                }
            }
        }
        let waiting: Option<String> = row.get(2)?;
        let words = sorted(&waiting.unwrap_or(found));
        push(gather, vec![id(row.get(1)?), Cell::Text(words)])?;
    }
    Ok(())
}

fn samples(connection: &Connection, gather: &mut Gather) -> Result<(), Halt> {
    let sql = "SELECT n.text, s.first_at, s.last_at, s.last, s.checks, s.block FROM name n \
               CROSS JOIN sample s ON s.subject = n.id WHERE n.text = ?1 ORDER BY s.first_at";
    for subject in super::samples::monitors(connection)? {
        select(connection, Table::Sample, sql, &[&&*subject], gather)?;
    }
    Ok(())
}

/// How a value is written.
#[derive(Clone, Copy)]
enum As {
    /// As it is; an id as its key.
    Is,
    /// As the number of the word.
    Word,
    /// As the number of the execution's row.
    Row,
    /// An empty text as none.
    Some,
}

/// The statement that writes a row whose columns are one to one, and how each is written.
const fn insert_of(table: Table) -> Option<(&'static str, &'static [As])> {
    use As::{Is, Row, Some as NotEmpty, Word};
    Some(match table {
        Table::Document => (
            "INSERT INTO document (kind, name, version, text) VALUES (?1, ?2, ?3, ?4)",
            &[Is, Is, Is, Is],
        ),
        Table::Plan => ("INSERT INTO plan (hash, text) VALUES (?1, ?2)", &[Is, Is]),
        // The kind of the machine follows.
        Table::Execution => (
            "INSERT INTO execution (key, version, name, definition_version, status, closed, \
             priority, created_at, updated_at, ended_at, wake_at, correlation_id, parent, reason, \
             failed_references, event, input_size, output_size, forgotten, machine) VALUES (?1, ?2, \
             ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
            &[Is, Is, Word, Is, Word, Is, Is, Is, Is, Is, Is, Is, Is, Is, NotEmpty, Is, Is, Is, Is],
        ),
        Table::Brief => ("INSERT INTO brief (execution, text) VALUES (?1, ?2)", &[Row, Is]),
        Table::Word => ("INSERT INTO pending (execution, words) VALUES (?1, ?2)", &[Row, Is]),
        Table::Queue => (
            "INSERT INTO queue (execution, sequence, queue, name, priority, ready_at, held, \
             concurrent_max, rate_max, rate_window_seconds) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            &[Row, Is, Word, Word, Is, Is, Is, Is, Is, Is],
        ),
        Table::Message => (
            "INSERT INTO message (sender, sequence, receiver, body) VALUES (?1, ?2, ?3, ?4)",
            &[Is, Is, Is, Is],
        ),
        Table::Log => (
            "INSERT INTO log (execution, sequence, at, text) VALUES (?1, ?2, ?3, ?4)",
            &[Row, Is, Is, Is],
        ),
        Table::Record => (
            "INSERT INTO record (ledger, key, subject, at, status, body) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            &[Word, Is, Word, Is, Word, Is],
        ),
        Table::Sample => (
            "INSERT INTO sample (subject, first_at, last_at, last, checks, block) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            &[Word, Is, Is, Is, Is, Is],
        ),
        Table::Pin | Table::History => return None,
    })
}

/// Adds rows, within the open transaction.
fn write(desk: &mut WriteContext, table: Table, rows: &[Row]) -> rusqlite::Result<()> {
    let mut last: Option<(&str, i64)> = None;
    for row in rows {
        // Rows of one execution follow one another.
        let execution = match row.first() {
            Some(Cell::Id(id)) if !matches!(table, Table::Execution | Table::Message) => {
                let number = match last {
                    Some((known, number)) if known == id => number,
                    _ => row_of(&desk.connection, id)?,
                };
                last = Some((id.as_str(), number));
                number
            }
            _ => 0,
        };
        let Some((sql, columns)) = insert_of(table) else {
            match (table, row.as_slice()) {
                (Table::Pin, [_, Cell::Text(hash)]) => pin(&desk.connection, execution, hash)?,
                (Table::History, [_, Cell::Int(version), Cell::Text(events)]) => {
                    desk.connection
                        .prepare_cached("INSERT INTO history (place, events) VALUES (?1, ?2)")?
                        .execute(params![place(execution, *version as u64), events])?;
                }
                _ => return Err(FromSqlError::InvalidType.into()),
            }
            continue;
        };
        let mut values = Vec::with_capacity(row.len() + 1);
        for (cell, column) in row.iter().zip(columns) {
            values.push(match (column, cell) {
                (As::Row, _) => Value::Integer(execution),
                (As::Word, Cell::Text(word)) => {
                    Value::Integer(desk.numbers.of(&desk.connection, word)?)
                }
                (As::Some, Cell::Text(text)) if text.is_empty() => Value::Null,
                (_, cell) => value(cell),
            });
        }
        if let (Table::Execution, Some(Cell::Id(id))) = (table, row.first()) {
            values.push(Value::Integer(machine(ExecutionId::new(id.as_str()).machine())));
        }
        desk.connection.prepare_cached(sql)?.execute(params_from_iter(values))?;
    }
    Ok(())
}

fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Int(number) => Value::Integer(*number),
        Cell::Text(text) => Value::Text(text.clone()),
        Cell::Bytes(bytes) => Value::Blob(bytes.clone()),
        Cell::Id(id) => match Key::of(&ExecutionId::new(id.as_str())) {
            Key::Uuid(uuid) => Value::Blob(uuid.as_bytes().to_vec()),
            Key::Text(id) => Value::Text(id.as_str().to_owned()),
        },
    }
}

fn row_of(connection: &Connection, id: &str) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT id FROM execution WHERE key = ?1")?
        .query_row([Key::of(&ExecutionId::new(id))], |row| row.get(0))
}

fn pin(connection: &Connection, execution: i64, hash: &str) -> rusqlite::Result<()> {
    let plan: Option<i64> = connection
        .prepare_cached("SELECT id FROM plan WHERE hash = ?1")?
        .query_row([hash], |row| row.get(0))
        .optional()?;
    let plan = plan.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    connection
        .prepare_cached(
            "UPDATE execution SET plans = ifnull(plans || ',', '') || ?2 WHERE id = ?1",
        )?
        .execute([execution, plan])?;
    connection
        .prepare_cached(
            "INSERT INTO plan_use (plan, uses) VALUES (?1, 1) \
             ON CONFLICT (plan) DO UPDATE SET uses = uses + 1",
        )?
        .execute([plan])?;
    Ok(())
}
