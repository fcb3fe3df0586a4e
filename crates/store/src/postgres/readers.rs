//! The connections that read, and the plain questions asked on them.

use std::sync::Arc;
use std::time::Duration;

use engine::store::{
    Document, Head, KeptLine, LogLine, LogWindow, MessageKey, Outgoing, QueueRow, SampleBlock,
    StoreError, Stored,
};
use kernel::{ExecutionId, RowKind, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::fault::{self, Kind, explain};
use super::key::{id, key};
use super::options::PostgresOptions;
use super::session::{Begin, Failure, Session, Statement, bind};
use crate::text::lasting;

/// How long a read waits for a database that restarts.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_mins(1);

/// What is to be read.
#[derive(Clone, Copy)]
enum Question<'a> {
    One(&'a Statement<'a>),
    /// All from one state, each within a time.
    All(Duration, &'a [Statement<'a>]),
}

impl Question<'_> {
    async fn on(self, session: &Session) -> Result<Vec<Vec<Row>>, Failure> {
        match self {
            Self::One(statement) => match session.query(statement).await {
                Ok(rows) => Ok(vec![rows]),
                Err(error) => Err(Failure { at: 0, error }),
            },
            Self::All(most, statements) => session.transact(Begin::Search(most), statements).await,
        }
    }
}

/// A few connections, lent to whoever reads.
pub(super) struct Readers {
    options: PostgresOptions,
    schema: String,
    idle: Mutex<Vec<Session>>,
    free: Semaphore,
}

impl Readers {
    pub(super) fn new(options: PostgresOptions) -> Self {
        let free = Semaphore::new(options.readers);
        Self { schema: options.quoted_schema(), options, idle: Mutex::default(), free }
    }

    /// No further reads; those under way go on.
    pub(super) fn close(&self) {
        self.free.close();
        self.idle.lock().clear();
    }

    /// Answers one question.
    pub(super) async fn ask(&self, statement: &Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let mut answers = self
            .lend(Question::One(statement))
            .await
            .map_err(|failure| explain(&failure.error))??;
        Ok(answers.pop().unwrap_or_default())
    }

    /// Answers questions from one state of the database, each within a time.
    ///
    /// # Errors
    /// [`StoreError::TooBroad`] if that is not enough.
    pub(super) async fn search(
        &self,
        most: Duration,
        statements: &[Statement<'_>],
    ) -> Result<Vec<Vec<Row>>, StoreError> {
        let outcome = self.lend(Question::All(most, statements)).await;
        outcome.map_err(|failure| match failure.kind() {
            Kind::Stopped => StoreError::TooBroad,
            _ => explain(&failure.error),
        })?
    }

    /// Has something read; again on another connection if one breaks, for reading changes nothing.
    async fn lend(
        &self,
        question: Question<'_>,
    ) -> Result<Result<Vec<Vec<Row>>, StoreError>, Failure> {
        let Ok(_permit) = self.free.acquire().await else { return Ok(Err(StoreError::Closed)) };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let idle = self.idle.lock().pop();
            let session = match idle {
                Some(session) if !session.is_closed() => Ok(session),
                Some(_) => continue,
                None => Session::open(&self.options).await,
            };
            let session = match session {
                Ok(session) => session,
                Err(error) if Instant::now() > deadline => return Ok(Err(error)),
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(outcome) = tokio::time::timeout(ANSWER_MAX, question.on(&session)).await else {
                return Ok(Err(StoreError::Unavailable(
                    "PostgreSQL: no answer in time".to_owned(),
                )));
            };
            match outcome {
                Err(failure) if failure.kind() == Kind::Broken && Instant::now() < deadline => {
                    tracing::debug!(error = fault::text(&failure.error), "read failed; retrying");
                }
                outcome => {
                    if !session.is_closed() {
                        self.idle.lock().push(session);
                    }
                    return outcome.map(Ok);
                }
            }
        }
    }

    /// The history of an execution.
    pub(super) async fn load(&self, of: &ExecutionId) -> Result<Option<Stored>, StoreError> {
        let sql = format!(
            "SELECT e.version, e.forgotten, h.events FROM {s}.execution e \
             LEFT JOIN {s}.history h ON h.key = e.key WHERE e.key = $1 ORDER BY h.version",
            s = self.schema
        );
        let rows = self.ask(&Statement::new(sql, vec![bind(key(of), Type::BYTEA)])).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let (version, forgotten): (i64, i64) = (first.get(0), first.get(1));
        let history: Vec<String> =
            rows.iter().filter_map(|row| row.get::<_, Option<String>>(2)).collect();
        let wanted = version.saturating_sub(forgotten);
        if i64::try_from(history.len()) != Ok(wanted) {
            let found = history.len();
            return Err(StoreError::Corrupt(format!("{of} has {found} of {wanted} commits")));
        }
        Ok(Some(Stored { version: version as u64, history }))
    }

    pub(super) async fn plan(&self, hash: &str) -> Result<Option<Arc<str>>, StoreError> {
        let sql = format!("SELECT text FROM {}.plan WHERE hash = $1", self.schema);
        let rows = self.ask(&Statement::new(sql, vec![bind(hash, Type::TEXT)])).await?;
        Ok(rows.first().map(|row| row.get::<_, String>(0).into()))
    }

    /// Executions to be woken, soonest first.
    pub(super) async fn due(
        &self,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, ExecutionId)>, StoreError> {
        let sql = format!(
            "SELECT wake_at, key FROM {}.execution WHERE wake_by <= $1 AND wake_at <= $1 \
             ORDER BY wake_at, added LIMIT $2",
            self.schema
        );
        let values = vec![bind(until.millis(), Type::INT8), bind(bounded(limit), Type::INT8)];
        let rows = self.ask(&Statement::new(sql, values)).await?;
        rows.iter().map(|row| Ok((Timestamp::from_millis(row.get(0)), id(row.get(1))?))).collect()
    }

    pub(super) async fn queued(&self) -> Result<Vec<QueueRow>, StoreError> {
        let sql = format!(
            "SELECT key, sequence, queue, name, priority, ready_at, held, concurrent_max, rate_max, \
             rate_window_seconds FROM {}.queue",
            self.schema
        );
        let rows = self.ask(&Statement::new(sql, Vec::new())).await?;
        let row = |row: &Row| {
            Ok(QueueRow {
                execution: id(row.get(0))?,
                kind: RowKind::of(number(row, 1)),
                queue: text(row, 2),
                name: text(row, 3),
                priority: row.get::<_, i16>(4) as u8,
                ready_at: Timestamp::from_millis(row.get(5)),
                held: row.get(6),
                concurrent_max: number(row, 7),
                rate_max: number(row, 8),
                rate_window_seconds: number(row, 9),
            })
        };
        rows.iter().map(row).collect()
    }

    /// Messages not yet received, oldest first.
    pub(super) async fn undelivered(&self, limit: usize) -> Result<Vec<Outgoing>, StoreError> {
        let sql = format!(
            "SELECT sender, sequence, receiver, body FROM {}.message ORDER BY id LIMIT $1",
            self.schema
        );
        let rows = self.ask(&Statement::new(sql, vec![bind(bounded(limit), Type::INT8)])).await?;
        let message = |row: &Row| {
            let sequence = row.get::<_, i64>(1) as u64;
            Ok(Outgoing {
                key: MessageKey { sender: id(row.get(0))?, sequence },
                to: id(row.get(2))?,
                body: row.get(3),
            })
        };
        rows.iter().map(message).collect()
    }

    pub(super) async fn head(&self, of: &ExecutionId) -> Result<Option<Head>, StoreError> {
        let sql = format!("SELECT {HEAD} FROM {}.execution e WHERE e.key = $1", self.schema);
        let rows = self.ask(&Statement::new(sql, vec![bind(key(of), Type::BYTEA)])).await?;
        rows.first().map(head).transpose()
    }

    pub(super) async fn briefs(
        &self,
        ids: &[ExecutionId],
    ) -> Result<Vec<Option<(Head, String)>>, StoreError> {
        let sql = format!(
            "SELECT {HEAD}, b.text FROM {s}.execution e JOIN {s}.brief b ON b.key = e.key \
             WHERE e.key = ANY($1)",
            s = self.schema
        );
        let keys: Vec<_> = ids.iter().map(key).collect();
        let rows = self.ask(&Statement::new(sql, vec![bind(keys, Type::BYTEA_ARRAY)])).await?;
        let mut found = std::collections::HashMap::new();
        for row in &rows {
            let head = head(row)?;
            found.insert(head.id.clone(), (head, row.get::<_, String>(HEAD_COLUMNS)));
        }
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }

    pub(super) async fn documents(&self, kind: &str) -> Result<Vec<Document>, StoreError> {
        let sql = format!(
            "SELECT kind, name, version, text FROM {}.document WHERE kind = $1 \
             ORDER BY name, version",
            self.schema
        );
        let rows = self.ask(&Statement::new(sql, vec![bind(kind, Type::TEXT)])).await?;
        Ok(rows.iter().map(document).collect())
    }

    pub(super) async fn documents_after(
        &self,
        kind: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let sql = format!(
            "SELECT kind, name, version, text FROM {}.document WHERE kind = $1 AND name > $2 \
             ORDER BY name, version LIMIT $3",
            self.schema
        );
        let limit = bind(bounded(limit), Type::INT8);
        let values = vec![bind(kind, Type::TEXT), bind(after, Type::TEXT), limit];
        let rows = self.ask(&Statement::new(sql, values)).await?;
        Ok(rows.iter().map(document).collect())
    }

    pub(super) async fn log(
        &self,
        of: &ExecutionId,
        sequences: &[u32],
        window: &LogWindow,
    ) -> Result<Vec<KeptLine>, StoreError> {
        // In the collation "C" only ASCII letters have a case.
        let sql = format!(
            "SELECT id, sequence, at, text FROM {}.log WHERE key = $1 AND sequence = ANY($2) \
             AND id < $3 AND ($4 = '' OR strpos(lower(text COLLATE \"C\"), $4) > 0) \
             ORDER BY id DESC LIMIT $5",
            self.schema
        );
        let sequences: Vec<i64> = sequences.iter().map(|it| i64::from(*it)).collect();
        let before = window.before.map_or(i64::MAX, |it| i64::try_from(it).unwrap_or(i64::MAX));
        let find = window.find.as_deref().unwrap_or_default().to_ascii_lowercase();
        let values = vec![
            bind(key(of), Type::BYTEA),
            bind(sequences, Type::INT8_ARRAY),
            bind(before, Type::INT8),
            bind(find, Type::TEXT),
            bind(window.tail.map_or(i64::MAX, bounded), Type::INT8),
        ];
        if window.find.as_ref().is_some_and(|find| find.contains('\0')) {
            // No text here has that character, and the database takes none that has.
            return Ok(Vec::new());
        }
        let rows = self.ask(&Statement::new(sql, values)).await?;
        let line = |row: &Row| KeptLine {
            number: row.get::<_, i64>(0).unsigned_abs(),
            sequence: number(row, 1),
            line: LogLine { at: Timestamp::from_millis(row.get(2)), text: row.get(3) },
        };
        Ok(rows.iter().rev().map(line).collect())
    }

    pub(super) async fn sample_blocks(
        &self,
        monitor: &str,
        (from, to): (Timestamp, Timestamp),
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<SampleBlock>, StoreError> {
        let sql = format!(
            "SELECT {SAMPLE} FROM {}.sample WHERE subject = $1 AND first_at > $2 \
             AND first_at < $3 AND last_at >= $4 ORDER BY first_at LIMIT $5",
            self.schema
        );
        let values = vec![
            bind(monitor, Type::TEXT),
            bind(after.map_or(i64::MIN, Timestamp::millis), Type::INT8),
            bind(to.millis(), Type::INT8),
            bind(from.millis(), Type::INT8),
            bind(bounded(limit), Type::INT8),
        ];
        let rows = self.ask(&Statement::new(sql, values)).await?;
        Ok(rows.iter().map(sample).collect())
    }

    pub(super) async fn newest_samples(
        &self,
        monitor: &str,
    ) -> Result<Option<SampleBlock>, StoreError> {
        let sql = format!(
            "SELECT {SAMPLE} FROM {}.sample WHERE subject = $1 ORDER BY first_at DESC LIMIT 1",
            self.schema
        );
        let rows = self.ask(&Statement::new(sql, vec![bind(monitor, Type::TEXT)])).await?;
        Ok(rows.first().map(sample))
    }

    /// The monitors of which there are blocks: one step of the index for each.
    pub(super) async fn sampled_monitors(&self) -> Result<Vec<Arc<str>>, StoreError> {
        let sql = format!(
            "WITH RECURSIVE found (subject) AS ((SELECT min(subject) FROM {s}.sample) UNION ALL \
             SELECT (SELECT min(n.subject) FROM {s}.sample n WHERE n.subject > found.subject) \
             FROM found WHERE found.subject IS NOT NULL) \
             SELECT subject FROM found WHERE subject IS NOT NULL",
            s = self.schema
        );
        let rows = self.ask(&Statement::new(sql, Vec::new())).await?;
        Ok(rows.iter().map(|row| text(row, 0)).collect())
    }
}

const SAMPLE: &str = "subject, first_at, last_at, last, checks, block";

fn sample(row: &Row) -> SampleBlock {
    SampleBlock {
        subject: text(row, 0),
        first_at: Timestamp::from_millis(row.get(1)),
        last_at: Timestamp::from_millis(row.get(2)),
        last: row.get::<_, i64>(3) as u64,
        checks: number(row, 4),
        data: row.get(5),
    }
}

/// The columns of a head row, in the order that [`head`] reads.
pub(super) const HEAD: &str = "e.key, e.version, e.name, e.definition_version, e.status, e.closed, \
    e.correlation_id, e.parent, e.priority, e.created_at, e.updated_at, e.ended_at, e.wake_at, \
    e.reason, e.failed_references, e.event, e.input_size, e.output_size";
const HEAD_COLUMNS: usize = 18;

/// Reads a row of [`HEAD`].
pub(super) fn head(row: &Row) -> Result<Head, StoreError> {
    let time = |at: usize| row.get::<_, Option<i64>>(at).map(Timestamp::from_millis);
    let some = |at: usize| row.get::<_, Option<&str>>(at).map(Arc::from);
    Ok(Head {
        id: id(row.get(0))?,
        version: row.get::<_, i64>(1) as u64,
        name: text(row, 2),
        definition_version: number(row, 3),
        status: lasting(row.get(4)),
        closed: row.get(5),
        correlation_id: some(6),
        parent: row.get::<_, Option<&[u8]>>(7).map(id).transpose()?,
        priority: row.get::<_, i16>(8) as u8,
        created_at: Timestamp::from_millis(row.get(9)),
        updated_at: Timestamp::from_millis(row.get(10)),
        ended_at: time(11),
        wake_at: time(12),
        reason: some(13),
        failed_references: text(row, 14),
        event: some(15),
        input_size: number(row, 16),
        output_size: number(row, 17),
    })
}

/// A text of a row.
pub(super) fn text(row: &Row, at: usize) -> Arc<str> {
    row.get::<_, &str>(at).into()
}

/// A number that was written as one of 32 bits.
fn document(row: &Row) -> Document {
    Document { kind: text(row, 0), name: text(row, 1), version: number(row, 2), text: text(row, 3) }
}

fn number(row: &Row, at: usize) -> u32 {
    row.get::<_, i64>(at) as u32
}

/// A number of rows.
pub(super) fn bounded(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
