//! SQLite: a file, opened for each statement on a thread that may block.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, InterruptHandle, OpenFlags, TransactionBehavior};
use serde_json::Value;
use tokio::sync::oneshot;

use super::rows::Rows;
use super::{Error, Limits, Row, mismatch, too_slow, value};

#[derive(Clone)]
pub(super) struct Sqlite {
    file: Arc<PathBuf>,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
    Create,
}

impl Sqlite {
    pub(super) fn open(url: &str) -> Result<Self, Error> {
        let rest = url.strip_prefix("sqlite:").unwrap_or(url);
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (file, options) = rest.split_once('?').unwrap_or((rest, ""));
        if file.is_empty() || file == ":memory:" {
            let reason = "an SQLite URL needs a file: sqlite:/var/lib/app/data.db";
            return Err(Error::Invalid(reason.to_owned()));
        }
        let mode = match options {
            "" | "mode=rw" => Mode::Write,
            "mode=ro" => Mode::Read,
            "mode=rwc" => Mode::Create,
            _ => {
                let reason =
                    "after the file an SQLite URL can have ?mode=ro, ?mode=rw or ?mode=rwc";
                return Err(Error::Invalid(reason.to_owned()));
            }
        };
        Ok(Self { file: Arc::new(file.into()), mode })
    }

    pub(super) async fn query(
        &self,
        statement: &str,
        parameters: &[Value],
        limits: &Limits,
    ) -> Result<Vec<Row>, Error> {
        let parameters = parameters.to_vec();
        let (statement, bounds) = (statement.to_owned(), limits.clone());
        let work = move |connection: &mut rusqlite::Connection| {
            read(connection, &statement, &parameters, &bounds)
        };
        self.work(true, limits, work).await
    }

    pub(super) async fn update(
        &self,
        statement: &str,
        parameters: &[Value],
        expected: Option<u64>,
        limits: &Limits,
    ) -> Result<u64, Error> {
        if self.mode == Mode::Read {
            let reason = "this SQLite connection only reads (mode=ro)";
            return Err(Error::Invalid(reason.to_owned()));
        }
        let (statement, parameters) = (statement.to_owned(), parameters.to_vec());
        let work = move |connection: &mut rusqlite::Connection| {
            write(connection, &statement, &parameters, expected)
        };
        self.work(false, limits, work).await
    }

    /// Works on a thread that may block. Whatever ends the wait (time, a cancelled task) interrupts
    /// the statement.
    async fn work<T: Send + 'static>(
        &self,
        read_only: bool,
        limits: &Limits,
        work: impl FnOnce(&mut rusqlite::Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sqlite, patience) = (self.clone(), limits.time);
        let (handle, interrupt) = oneshot::channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let seen = stopped.clone();
        let job = tokio::task::spawn_blocking(move || {
            let mut connection = sqlite.connect(read_only, patience)?;
            // Nobody listens any more if the task was cancelled meanwhile.
            if handle.send(connection.get_interrupt_handle()).is_err()
                || seen.load(Ordering::Acquire)
            {
                return Err(Error::Failed("the task was cancelled".to_owned()));
            }
            work(&mut connection)
        });
        let mut guard = Interrupt { stopped, handle: None };
        let ended = tokio::time::timeout(patience, async {
            guard.handle = interrupt.await.ok();
            job.await
        })
        .await;
        match ended {
            Ok(Ok(result)) => {
                guard.handle = None;
                result
            }
            Ok(Err(_)) => Err(Error::Failed("internal error in the SQLite client".to_owned())),
            Err(_) => Err(too_slow(limits)),
        }
    }

    fn connect(&self, read_only: bool, patience: Duration) -> Result<rusqlite::Connection, Error> {
        let access = match self.mode {
            Mode::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            _ if read_only => OpenFlags::SQLITE_OPEN_READ_ONLY,
            _ => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            rusqlite::Connection::open_with_flags(&*self.file, flags).map_err(failed)?;
        // Another file is another connection: the configuration says which there are.
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0).map_err(failed)?;
        connection.busy_timeout(patience).map_err(failed)?;
        connection.pragma_update(None, "query_only", read_only).map_err(failed)?;
        Ok(connection)
    }
}

/// Interrupts the statement when it goes.
struct Interrupt {
    stopped: Arc<AtomicBool>,
    handle: Option<InterruptHandle>,
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(handle) = &self.handle {
            handle.interrupt();
        }
    }
}

fn read(
    connection: &mut rusqlite::Connection,
    statement: &str,
    parameters: &[Value],
    limits: &Limits,
) -> Result<Vec<Row>, Error> {
    let transaction = connection.transaction().map_err(failed)?;
    let mut prepared = transaction.prepare(statement).map_err(failed)?;
    if !prepared.readonly() {
        let reason = "a SELECT task can only read: for a statement that writes the type is UPDATE";
        return Err(Error::Invalid(reason.to_owned()));
    }
    let names: Vec<String> = prepared.column_names().map(str::to_owned).collect();
    let width = names.len();
    let mut rows = Rows::new(names, limits);
    let parameters = rusqlite::params_from_iter(parameters.iter().map(Parameter));
    let mut found = prepared.query(parameters).map_err(failed)?;
    while let Some(row) = found.next().map_err(failed)? {
        rows.push((0..width).map(|at| row.get_ref(at).map_err(failed).map(json)))?;
    }
    Ok(rows.done())
}

fn write(
    connection: &mut rusqlite::Connection,
    statement: &str,
    parameters: &[Value],
    expected: Option<u64>,
) -> Result<u64, Error> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    {
        let mut prepared = transaction.prepare(statement).map_err(failed)?;
        let parameters = rusqlite::params_from_iter(parameters.iter().map(Parameter));
        let mut rows = prepared.query(parameters).map_err(failed)?;
        // Rows of RETURNING are passed over, so that all of them are written.
        while rows.next().map_err(failed)?.is_some() {}
    }
    let changed = transaction.changes();
    if let Some(mismatch) = mismatch(expected, changed) {
        transaction.rollback().map_err(failed)?;
        return Err(mismatch);
    }
    transaction.commit().map_err(failed)?;
    Ok(changed)
}

/// A value of an input, bound.
struct Parameter<'a>(&'a Value);

impl rusqlite::ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        use rusqlite::types::Value as Sql;
        Ok(ToSqlOutput::Owned(match self.0 {
            Value::Null => Sql::Null,
            Value::Bool(flag) => Sql::Integer((*flag).into()),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Sql::Integer(whole),
                (None, Some(real)) => Sql::Real(real),
                (None, None) => Sql::Text(number.to_string()),
            },
            Value::String(text) => return Ok(ToSqlOutput::Borrowed(text.as_str().into())),
            structure => Sql::Text(structure.to_string()),
        }))
    }
}

fn json(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => value::whole(number.into()),
        ValueRef::Real(number) => value::double(number),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(blob) => value::bytes(blob),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
fn failed(error: rusqlite::Error) -> Error {
    let passing = match &error {
        rusqlite::Error::SqliteFailure(failure, _) => !matches!(
            failure.code,
            ErrorCode::Unknown | ErrorCode::ReadOnly | ErrorCode::TypeMismatch
        ),
        _ => false,
    };
    let reason = format!("SQLite: {error}");
    if passing { Error::Failed(reason) } else { Error::Invalid(reason) }
}
