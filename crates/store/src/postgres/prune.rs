//! Forgetting: executions with all that belongs to them, and what retention does not keep.

use std::fmt::Write as _;

use engine::store::{Retention, Statistics, StoreError};
use kernel::{ExecutionId, MachineKind, Timestamp, durable};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::batch::{PLANS, machine};
use super::key::key;
use super::session::{Statement, bind};

/// Executions removed in one transaction.
pub(super) const PIECE: usize = 256;

/// Which of the named executions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// All.
    All,
    /// Those that have ended.
    Finished,
    /// Those that have ended and owe no message.
    Settled,
}

/// Removes executions and all that belongs to them; the last statement gives the keys of those that
/// were there and stay, and the one before it of those that are gone.
pub(super) fn remove(schema: &str, keys: &[Vec<u8>], which: Which) -> Vec<Statement<'static>> {
    let given = || vec![bind(keys.to_vec(), Type::BYTEA_ARRAY)];
    let condition = match which {
        Which::All => String::new(),
        Which::Finished => " AND e.closed".to_owned(),
        Which::Settled => format!(
            " AND e.closed AND NOT EXISTS (SELECT 1 FROM {schema}.message m WHERE m.sender = e.key)"
        ),
    };
    let mut parts = String::new();
    for table in ["history", "queue", "log", "word", "brief"] {
        let _ = write!(
            parts,
            "d_{table} AS (DELETE FROM {schema}.{table} t USING gone WHERE t.key = gone.key), "
        );
    }
    let gone = format!(
        "WITH gone AS (DELETE FROM {schema}.execution e WHERE e.key = ANY($1){condition} \
         RETURNING e.key), {parts}\
         d_message AS (DELETE FROM {schema}.message t USING gone WHERE t.receiver = gone.key), \
         d_pin AS (DELETE FROM {schema}.pin t USING gone WHERE t.key = gone.key RETURNING t.plan), \
         d_plan AS (DELETE FROM {schema}.plan p USING (SELECT DISTINCT plan FROM d_pin) d \
         WHERE p.id = d.plan AND NOT EXISTS (SELECT 1 FROM {schema}.pin o WHERE o.plan = d.plan \
         AND o.key <> ALL (SELECT key FROM gone))) \
         SELECT key FROM gone"
    );
    vec![
        // Nobody pins a plan that is about to go, and a commit that is under way is waited for, so
        // that the next statement sees all that it wrote.
        Statement::new(
            format!("SELECT 1 FROM pg_advisory_xact_lock({PLANS}, hashtext($1))"),
            vec![bind(schema.to_owned(), Type::TEXT)],
        ),
        Statement::new(
            format!("SELECT 1 FROM {schema}.execution WHERE key = ANY($1) ORDER BY key FOR UPDATE"),
            given(),
        ),
        Statement::new(gone, given()),
        Statement::new(format!("SELECT key FROM {schema}.execution WHERE key = ANY($1)"), given()),
    ]
}

/// The keys of rows that have but them.
pub(super) fn keys_of(rows: &[Row]) -> Vec<Vec<u8>> {
    rows.iter().map(|row| row.get(0)).collect()
}

/// Those of the ids that are among the keys, in their order.
pub(super) fn among(ids: Vec<ExecutionId>, keys: &[Vec<u8>]) -> Vec<ExecutionId> {
    ids.into_iter().filter(|id| keys.contains(&key(id))).collect()
}

/// What was found that goes.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Keys, first ended first.
    pub(super) keys: Vec<Vec<u8>>,
    /// There are more than were asked for.
    pub(super) more: bool,
}

/// What goes by number and by age, one more than `limit`; two questions, of which the longer answer
/// holds the other.
pub(super) fn beyond(
    schema: &str,
    retention: &Retention,
    now: Timestamp,
    limit: usize,
) -> Vec<Statement<'static>> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut questions = Vec::new();
    if retention.count_max != 0 {
        let kept = i64::try_from(retention.count_max).unwrap_or(i64::MAX);
        let excess = format!(
            "least(greatest((SELECT count(*) FROM {schema}.execution \
             WHERE ended_at IS NOT NULL AND closed) - {kept}, 0), {most})"
        );
        questions.push(first_ended(schema, i64::MAX, &excess));
    }
    if let Some(oldest) = retention.oldest(now) {
        questions.push(first_ended(schema, oldest.millis(), &most.to_string()));
    }
    questions
}

/// Reads the answers to [`beyond`].
pub(super) fn candidates(answers: &[Vec<Row>], limit: usize) -> Candidates {
    let longest = answers.iter().max_by_key(|rows| rows.len());
    let mut keys = longest.map(|rows| keys_of(rows)).unwrap_or_default();
    let more = keys.len() > limit;
    keys.truncate(limit);
    Candidates { keys, more }
}

/// Finished executions that owe no message and ended before a time, first ended first.
pub(super) fn first_ended(schema: &str, before: i64, limit: &str) -> Statement<'static> {
    let sql = format!(
        "SELECT e.key FROM {schema}.execution e WHERE e.ended_at < $1 AND e.ended_at IS NOT NULL \
         AND e.closed AND NOT EXISTS (SELECT 1 FROM {schema}.message m WHERE m.sender = e.key) \
         ORDER BY e.ended_at, e.added LIMIT {limit}"
    );
    Statement::new(sql, vec![bind(before, Type::INT8)])
}

/// Counts of all that is stored, and the bytes it has.
pub(super) fn counts(schema: &str) -> [Statement<'static>; 2] {
    [
        Statement::new(
            format!(
                "SELECT machine, status, closed, count(*), sum(size)::bigint \
                 FROM {schema}.execution GROUP BY machine, status, closed"
            ),
            Vec::new(),
        ),
        Statement::new(
            format!(
                "SELECT ((SELECT coalesce(sum(length(text)), 0) FROM {schema}.document) \
                 + (SELECT coalesce(sum(length(text)), 0) FROM {schema}.plan))::bigint"
            ),
            Vec::new(),
        ),
    ]
}

/// Reads the answers to [`counts`].
pub(super) fn statistics(answers: &[Vec<Row>]) -> Result<Statistics, StoreError> {
    let [rows, beside] = answers else { return Err(StoreError::Closed) };
    let bytes = beside.first().map_or(0, |row| row.get::<_, i64>(0)) as u64;
    let mut all = Statistics { bytes, ..Statistics::default() };
    for row in rows {
        let (kind, status, closed): (i16, &str, bool) = (row.get(0), row.get(1), row.get(2));
        let count = row.get::<_, i64>(3) as u64;
        all.bytes += row.get::<_, i64>(4) as u64;
        if kind == machine(MachineKind::Execution) {
            all.executions += count;
            all.running += if closed { 0 } else { count };
        } else if kind == machine(MachineKind::Instance) {
            let goes_on = durable::Status::parse(status).is_some_and(|it| !it.is_closed());
            all.instances += count;
            all.instances_running += if goes_on { count } else { 0 };
        } else if kind == machine(MachineKind::Entity) {
            all.entities += count;
        }
    }
    Ok(all)
}
