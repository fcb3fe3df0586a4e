//! The tables, how a file gets them, and how connections are set up.
//!
//! Rowid tables on 8 KiB pages: the payload never sits in an index, and a row of some kilobytes
//! needs no overflow page. Every byte per execution counts, so names and status words are interned
//! and indexes are partial wherever most rows need not be in them.

use std::path::Path;

use engine::store::StoreError;
use rusqlite::{Connection, OpenFlags};

use super::fault::explain;
use super::{Durability, Options};
use crate::row::State;

/// The version of the tables below. A file of a later version is refused.
const VERSION: i64 = 7;

/// Marks a file as ours: `NBLL`.
const APPLICATION: i64 = 0x4e42_4c4c;

/// Marks a file as the target of a copy that has not finished: `NBLC`. No release opens it.
const UNFINISHED: i64 = 0x4e42_4c43;

/// Bytes per page. Measured at 250 bytes and at 1 KiB per commit: 16 KiB pages write a fifth fewer
/// commits a second, wait 1.5 times as long for one alone and take 25 MiB more memory; 4 KiB pages
/// double the p99.
pub(super) const PAGE_BYTES: u64 = 8 * 1024;

/// Bytes of the log that stay on the disk after a checkpoint.
const LOG_KEPT_BYTES: i64 = 32 * 1024 * 1024;

/// Bits of a history row's place that hold the version; the rest hold the execution's row id.
///
/// One number for both makes the smallest index. The rows themselves lie in the order in which they
/// came: with many executions under way, rows in the order of their executions would each change
/// another page, and every changed page is written whole.
const VERSION_BITS: u32 = 22;

/// Most commits that one history holds: four million, far more than can be loaded.
pub(super) const HISTORY_MAX: u64 = (1 << VERSION_BITS) - 1;

/// The place of the history row of a version. `version` is at most [`HISTORY_MAX`].
pub(super) const fn place(execution: i64, version: u64) -> i64 {
    execution << VERSION_BITS | version as i64
}

/// The execution's row id in the place of one of its history rows.
pub(super) const fn execution_at(place: i64) -> i64 {
    place >> VERSION_BITS
}

/// The tables.
///
/// - `execution_listed` has the order that lists have, and the name that they leave out runs by;
///   `execution_status` has it within each status (see `plan`).
/// - `tally` counts rows by what searches count by, and is written with every transaction.
/// - `named` has executions by name in the order of lists, through row `named_through`: it is written
///   later (see `named`).
/// - `brief` holds what lists show of executions whose histories are long.
/// - `execution_machine` does so for what is no execution of a graph, and holds the keys, in which
///   the hubs of instances and entities stand.
/// - `pending` holds the words of texts that wait to be indexed; `found` is their index. It keeps
///   no text, no positions and no columns, only which word is where.
/// - `execution.machine` tells executions (0) from schedules and monitors, which lists leave out.
/// - `execution.forgotten` counts the commits whose history rows were dropped.
/// - `record` holds lines of ledgers.
/// - `sample` holds what checks of monitors answered, in blocks; `sample_total` counts their bytes.
/// - `history.place` is of which execution and version a row is; see [`place`].
/// - `archive` holds histories of ended executions, each as one compressed row.
/// - `execution.plans` lists the plans that it pins, `plan_use` counts them, so that a plan goes
///   with the last execution that pins it.
const TABLES: &str = "
CREATE TABLE name (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE execution (
    id INTEGER PRIMARY KEY,
    key ANY NOT NULL,
    version INTEGER NOT NULL,
    name INTEGER NOT NULL,
    definition_version INTEGER NOT NULL,
    status INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at INTEGER,
    wake_at INTEGER,
    correlation_id TEXT,
    parent ANY,
    reason TEXT,
    failed_references TEXT,
    event TEXT,
    input_size INTEGER NOT NULL,
    output_size INTEGER NOT NULL,
    plans TEXT,
    machine INTEGER NOT NULL DEFAULT 0,
    forgotten INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX execution_key ON execution (key);
CREATE INDEX execution_listed ON execution (created_at, name) WHERE machine = 0;
CREATE INDEX execution_status ON execution (machine, status, created_at, name)
    WHERE machine = 0 OR machine = 3;
CREATE INDEX execution_machine ON execution (machine, created_at, name, status, key)
    WHERE machine <> 0;
CREATE INDEX execution_ended ON execution (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX execution_wake ON execution (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX execution_correlation ON execution (correlation_id, created_at)
    WHERE correlation_id IS NOT NULL;
CREATE INDEX execution_parent ON execution (parent) WHERE parent IS NOT NULL;

CREATE TABLE tally (
    machine INTEGER NOT NULL,
    name INTEGER NOT NULL,
    status INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    finished INTEGER NOT NULL,
    child INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (machine, name, status, closed, finished, child)
) STRICT, WITHOUT ROWID;

CREATE TABLE named (
    name INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    PRIMARY KEY (name, created_at, execution)
) STRICT, WITHOUT ROWID;
CREATE TABLE named_through (execution INTEGER NOT NULL) STRICT;
INSERT INTO named_through VALUES (0);

CREATE TABLE brief (execution INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;

CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    place INTEGER NOT NULL,
    events TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX history_place ON history (place);

CREATE TABLE archive (
    execution INTEGER PRIMARY KEY,
    bytes INTEGER NOT NULL,
    texts BLOB NOT NULL
) STRICT;

CREATE TABLE plan (id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, text TEXT NOT NULL) STRICT;
CREATE TABLE plan_use (plan INTEGER PRIMARY KEY, uses INTEGER NOT NULL) STRICT;

CREATE TABLE queue (
    execution INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    queue INTEGER NOT NULL,
    name INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    ready_at INTEGER NOT NULL,
    held INTEGER NOT NULL,
    concurrent_max INTEGER NOT NULL,
    rate_max INTEGER NOT NULL,
    rate_window_seconds INTEGER NOT NULL,
    PRIMARY KEY (execution, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    sender ANY NOT NULL,
    sequence INTEGER NOT NULL,
    receiver ANY NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX message_key ON message (sender, sequence);
CREATE INDEX message_receiver ON message (receiver);

CREATE TABLE document (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (kind, name, version)
) STRICT;

CREATE TABLE record (
    id INTEGER PRIMARY KEY,
    ledger INTEGER NOT NULL,
    key TEXT NOT NULL,
    subject INTEGER NOT NULL,
    at INTEGER NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX record_key ON record (ledger, key);
CREATE INDEX record_subject ON record (ledger, subject, at);
CREATE INDEX record_at ON record (ledger, at);

CREATE TABLE sample (
    id INTEGER PRIMARY KEY,
    subject INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    last INTEGER NOT NULL,
    checks INTEGER NOT NULL,
    block BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX sample_subject ON sample (subject, first_at);
CREATE INDEX sample_age ON sample (first_at);
CREATE TABLE sample_total (bytes INTEGER NOT NULL) STRICT;
INSERT INTO sample_total VALUES (0);

CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    execution INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX log_task ON log (execution, sequence);

CREATE TABLE pending (execution INTEGER PRIMARY KEY, words TEXT NOT NULL) STRICT;
CREATE VIRTUAL TABLE found USING fts5 (
    words, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
);
";

/// What makes tables of version 2 of those of version 1.
const FROM_1: &str = "
ALTER TABLE execution ADD COLUMN machine INTEGER NOT NULL DEFAULT 0;
ALTER TABLE execution ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
DROP INDEX execution_listed;
DROP INDEX execution_running;
CREATE INDEX execution_listed ON execution (created_at, name, status) WHERE machine = 0;
CREATE INDEX execution_running ON execution (created_at) WHERE closed = 0 AND machine = 0;
CREATE INDEX execution_machine ON execution (machine) WHERE machine <> 0;
CREATE TABLE record (
    id INTEGER PRIMARY KEY,
    ledger INTEGER NOT NULL,
    key TEXT NOT NULL,
    subject INTEGER NOT NULL,
    at INTEGER NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX record_key ON record (ledger, key);
CREATE INDEX record_subject ON record (ledger, subject, at);
CREATE INDEX record_at ON record (ledger, at);
";

/// What makes tables of version 3 of those of version 2: history rows in the order of commits.
const FROM_2: &str = "
ALTER TABLE history RENAME TO placed;
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    place INTEGER NOT NULL,
    events TEXT NOT NULL
) STRICT;
INSERT INTO history (place, events) SELECT id, events FROM placed ORDER BY id;
DROP TABLE placed;
CREATE UNIQUE INDEX history_place ON history (place);
";

/// What makes tables of version 4 of those of version 3: lists of all machines find their order.
const FROM_3: &str = "
DROP INDEX execution_machine;
CREATE INDEX execution_machine ON execution (machine, created_at, name, status, key)
    WHERE machine <> 0;
";

/// What makes tables of version 5 of those of version 4: rows are counted, and every list finds its
/// order.
const FROM_4: &str = "
DROP INDEX execution_listed;
DROP INDEX execution_running;
DROP INDEX execution_correlation;
CREATE INDEX execution_listed ON execution (created_at, name) WHERE machine = 0;
CREATE INDEX execution_status ON execution (machine, status, created_at, name)
    WHERE machine = 0 OR machine = 3;
CREATE INDEX execution_correlation ON execution (correlation_id, created_at)
    WHERE correlation_id IS NOT NULL;
CREATE TABLE tally (
    machine INTEGER NOT NULL,
    name INTEGER NOT NULL,
    status INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    finished INTEGER NOT NULL,
    child INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (machine, name, status, closed, finished, child)
) STRICT, WITHOUT ROWID;
INSERT INTO tally (machine, name, status, closed, finished, child, count)
SELECT machine, name, status, closed, closed = 1 AND ended_at IS NOT NULL AS finished,
    parent IS NOT NULL AS child, count(*)
FROM execution GROUP BY machine, name, status, closed, finished, child;
CREATE TABLE brief (execution INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
";

/// What makes tables of version 6 of those of version 5: executions are listed by name. The rows come
/// when the file is idle.
const FROM_5: &str = "
CREATE TABLE named (
    name INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    PRIMARY KEY (name, created_at, execution)
) STRICT, WITHOUT ROWID;
CREATE TABLE named_through (execution INTEGER NOT NULL) STRICT;
INSERT INTO named_through VALUES (0);
";

/// What makes tables of version 7 of those of version 6: what checks answered is kept.
const FROM_6: &str = "
CREATE TABLE sample (
    id INTEGER PRIMARY KEY,
    subject INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    last INTEGER NOT NULL,
    checks INTEGER NOT NULL,
    block BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX sample_subject ON sample (subject, first_at);
CREATE INDEX sample_age ON sample (first_at);
CREATE TABLE sample_total (bytes INTEGER NOT NULL) STRICT;
INSERT INTO sample_total VALUES (0);
";

/// Makes anew what the writer otherwise keeps with each row: counters, and lists that chores fill.
pub(super) const DERIVED: &str = "
DELETE FROM tally;
INSERT INTO tally (machine, name, status, closed, finished, child, count)
SELECT machine, name, status, closed, closed = 1 AND ended_at IS NOT NULL AS finished,
    parent IS NOT NULL AS child, count(*)
FROM execution GROUP BY machine, name, status, closed, finished, child;
DELETE FROM named;
UPDATE named_through SET execution = 0;
UPDATE sample_total SET bytes = (SELECT ifnull(sum(length(block)), 0) FROM sample);
";

/// Looks what is in the place of a file, and changes nothing.
pub(super) fn state(path: &Path) -> Result<State, StoreError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(State::None),
        Err(error) => return Err(super::fault::io("cannot look at", path, &error)),
        Ok(file) if file.len() == 0 => return Ok(State::None),
        Ok(_) => {}
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let numbers = || {
        let connection = Connection::open_with_flags(path, flags)?;
        let number =
            |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        Ok((number("application_id")?, number("user_version")?))
    };
    let (application, version) = numbers().map_err(|error| explain(&error, path))?;
    Ok(match (application, version) {
        (UNFINISHED, _) => State::Unfinished,
        (APPLICATION, VERSION) => State::Whole,
        (APPLICATION, 1..VERSION) => State::Older,
        _ => State::Other,
    })
}

/// Says that a file is the target of a copy that has not finished.
pub(super) fn unfinished(path: &Path) -> StoreError {
    StoreError::Unavailable(format!(
        "{} is the target of a copy that did not finish: repeat it with `nightbell store copy \
         --again`, or remove the file",
        path.display()
    ))
}

/// Marks the file as the target of a copy, within the open transaction.
pub(super) fn mark(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", UNFINISHED)
}

/// Takes the mark away, within the open transaction.
pub(super) fn unmark(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION)
}

/// Opens the writing connection and brings the file to the current version.
///
/// # Errors
/// [`StoreError::Corrupt`] if the file is no database, [`StoreError::Unfit`] if it is something else or from a
/// later version.
pub(super) fn open_writer(path: &Path, options: &Options) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if std::fs::metadata(path).map_or(true, |file| file.len() == 0) {
        create(path)?;
    }
    super::keep_others_out(path);
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        configure(&connection, options.write_cache_bytes)?;
        Ok(connection)
    };
    let connection = open().map_err(|error| explain(&error, path))?;
    migrate(&connection, path)?;
    tune(&connection, options).map_err(|error| explain(&error, path))?;
    Ok(connection)
}

/// Makes a file with empty tables: aside, and moved to its place when it is whole and on disk. So
/// nothing half made is ever found, and it costs three syncs instead of the dozen that a journal
/// would take.
fn create(path: &Path) -> Result<(), StoreError> {
    let aside = super::beside(path, ".new");
    let fault = |error: &std::io::Error| super::fault::io("cannot create", path, error);
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(&error)),
        _ => {}
    }
    // The store holds payloads in clear text. The files that SQLite makes beside it get its mode.
    super::private(&aside).map_err(|error| fault(&error))?;
    let make = || -> rusqlite::Result<()> {
        let connection = Connection::open(&aside)?;
        // Both only count for a file that has no tables yet.
        connection.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.execute_batch(&format!(
            "BEGIN; {TABLES}
             PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
        ))?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.close().map_err(|(_, error)| error)
    };
    make().map_err(|error| explain(&error, path))?;
    let place = || -> std::io::Result<()> {
        std::fs::File::open(&aside)?.sync_all()?;
        std::fs::rename(&aside, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    place().map_err(|error| fault(&error))
}

/// Opens a connection that only reads. The file has its tables already.
pub(super) fn open_reader(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection, options.read_cache_bytes)?;
    super::search::add_functions(&connection)?;
    Ok(connection)
}

/// Opens a connection that brings the log back into the file, and does nothing else.
pub(super) fn open_checkpointer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection, PAGE_BYTES * 16)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

fn configure(connection: &Connection, cache_bytes: u64) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "cache_size", -(cache_bytes as i64 / 1024))?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

/// What the writing connection alone decides: durability, checkpoints, the file's size.
fn tune(connection: &Connection, options: &Options) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    let synchronous = match options.durability {
        Durability::PowerLoss => "FULL",
        Durability::ProcessCrash => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // The log stays this long, to be written over: that is faster than to let it grow anew.
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_KEPT_BYTES, |_| Ok(()))?;
    // The writer decides when: at idle moments, or past a size.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    if let Some(bytes) = options.size_max_bytes {
        let pages = (bytes / PAGE_BYTES).max(1) as i64;
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(())
}

fn migrate(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let read =
        || Ok((number("schema_version")?, number("application_id")?, number("user_version")?));
    let (schema, application, version) = read().map_err(|error| explain(&error, path))?;
    let file = path.display();
    if application == UNFINISHED {
        return Err(unfinished(path));
    }
    if schema != 0 && application != APPLICATION {
        return Err(StoreError::Unfit(format!("{file} is a database of another program")));
    }
    match version {
        0 => Err(StoreError::Unfit(format!("{file} is a database without tables of ours"))),
        VERSION => Ok(()),
        1..VERSION => {
            let steps = [FROM_1, FROM_2, FROM_3, FROM_4, FROM_5, FROM_6];
            let due = steps.iter().skip(usize::try_from(version - 1).unwrap_or_default());
            let steps: String = due.copied().collect();
            let change =
                format!("BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT;");
            connection.execute_batch(&change).map_err(|error| explain(&error, path))
        }
        later => Err(StoreError::Unfit(format!(
            "{file} was written by a later release (tables of version {later}, this one knows \
             {VERSION}): use that release, or another file"
        ))),
    }
}
