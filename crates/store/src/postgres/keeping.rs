//! Statements for what is kept beside executions: documents, logs, records, samples.

use engine::search::{PAGE_MAX, RecordPage, RecordSearch};
use engine::store::{
    AUDIT, AUDIT_FACTOR, Document, LOG_LINES_MAX, LogLine, MessageKey, SampleBlock, StoreError,
};
use kernel::{ExecutionId, Json, Record, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::batch::{column, plain};
use super::key::key;
use super::readers::text;
use super::session::{Bound, Statement, bind};

/// Lines of ledgers removed in one transaction.
const TRIM_PIECE: i64 = 2000;

pub(super) fn discard(schema: &str, of: &MessageKey) -> Statement<'static> {
    let sql = format!("DELETE FROM {schema}.message WHERE sender = $1 AND sequence = $2");
    let values = vec![bind(key(&of.sender), Type::BYTEA), bind(of.sequence as i64, Type::INT8)];
    Statement::new(sql, values)
}

/// Inserts or replaces documents; of several that are the same one the last stays.
pub(super) fn put_documents<'a>(schema: &str, documents: &'a [Document]) -> Statement<'a> {
    let mut rows = std::collections::BTreeMap::new();
    for document in documents {
        rows.insert((&document.kind, &document.name, document.version), document);
    }
    let rows: Vec<&Document> = rows.into_values().collect();
    let sql = format!(
        "INSERT INTO {schema}.document (kind, name, version, text) \
         SELECT * FROM unnest($1, $2, $3, $4) \
         ON CONFLICT (kind, name, version) DO UPDATE SET text = excluded.text"
    );
    let values = vec![
        bind(column(&rows, |it| plain(&it.kind)), Type::TEXT_ARRAY),
        bind(column(&rows, |it| plain(&it.name)), Type::TEXT_ARRAY),
        bind(column(&rows, |it| i64::from(it.version)), Type::INT8_ARRAY),
        bind(column(&rows, |it| plain(&it.text)), Type::TEXT_ARRAY),
    ];
    Statement::new(sql, values)
}

/// Counts up what others who share the store would look at.
pub(super) fn revise(schema: &str) -> Statement<'static> {
    Statement::new(format!("UPDATE {schema}.cluster SET revision = revision + 1"), Vec::new())
}

pub(super) fn delete_document<'a>(
    schema: &str,
    kind: &'a str,
    name: &'a str,
    version: u32,
) -> Statement<'a> {
    let sql = format!(
        "DELETE FROM {schema}.document WHERE kind = $1 AND name = $2 AND version = $3 RETURNING 1"
    );
    let values = vec![
        bind(plain(kind), Type::TEXT),
        bind(plain(name), Type::TEXT),
        bind(i64::from(version), Type::INT8),
    ];
    Statement::new(sql, values)
}

/// Adds log lines, then drops the oldest beyond the bound.
pub(super) fn append_log<'a>(
    schema: &str,
    of: &ExecutionId,
    sequence: u32,
    lines: &'a [LogLine],
) -> [Statement<'a>; 2] {
    let lines = &lines[lines.len().saturating_sub(LOG_LINES_MAX)..];
    let task = || vec![bind(key(of), Type::BYTEA), bind(i64::from(sequence), Type::INT8)];
    let insert = format!(
        "INSERT INTO {schema}.log (key, sequence, at, text) SELECT $1, $2, u.at, u.text \
         FROM unnest($3, $4) WITH ORDINALITY u (at, text, n) \
         WHERE EXISTS (SELECT 1 FROM {schema}.execution WHERE key = $1) ORDER BY n"
    );
    let mut values: Vec<Bound<'a>> = task();
    values.push(bind(column(lines, |it| it.at.millis()), Type::INT8_ARRAY));
    let texts: Vec<_> = lines.iter().map(|line| plain(&line.text)).collect();
    values.push(bind(texts, Type::TEXT_ARRAY));
    let trim = format!(
        "DELETE FROM {schema}.log WHERE key = $1 AND sequence = $2 AND id <= \
         (SELECT id FROM {schema}.log WHERE key = $1 AND sequence = $2 \
          ORDER BY id DESC LIMIT 1 OFFSET {LOG_LINES_MAX})"
    );
    [Statement::new(insert, values), Statement::new(trim, task())]
}

/// Drops some of the lines that a subject has beyond `each_max`, oldest first; gives how many.
pub(super) fn trim_records(schema: &str, each_max: u64) -> Statement<'static> {
    let signed = |most: u64| i64::try_from(most).unwrap_or(i64::MAX);
    let sql = format!(
        "WITH crowded AS (SELECT ledger, subject, count(*) - CASE ledger WHEN '{AUDIT}' THEN $2 \
         ELSE $1 END AS excess FROM {schema}.record GROUP BY ledger, subject \
         HAVING count(*) > CASE ledger WHEN '{AUDIT}' THEN $2 ELSE $1 END LIMIT 100), \
         doomed AS (SELECT r.ledger, r.key FROM crowded c CROSS JOIN LATERAL \
         (SELECT o.ledger, o.key FROM {schema}.record o WHERE o.ledger = c.ledger \
         AND o.subject = c.subject ORDER BY o.at, o.id LIMIT least(c.excess, {TRIM_PIECE})) r), \
         gone AS (DELETE FROM {schema}.record r USING doomed d \
         WHERE r.ledger = d.ledger AND r.key = d.key RETURNING 1) SELECT count(*) FROM gone"
    );
    let values = vec![
        bind(signed(each_max), Type::INT8),
        bind(signed(each_max.saturating_mul(AUDIT_FACTOR)), Type::INT8),
    ];
    Statement::new(sql, values)
}

/// The page of a ledger, and the count of all that match, up to the bound of the search.
pub(super) fn records(schema: &str, search: &RecordSearch) -> [Statement<'static>; 2] {
    let mut condition = "ledger = $1".to_owned();
    let mut given: Vec<Given> = vec![Given::Text(search.ledger.to_owned())];
    let mut add = |test: &str, value: Given| {
        given.push(value);
        let place = format!("${}", given.len());
        condition.push_str(" AND ");
        condition.push_str(&test.replace('?', &place));
    };
    for (test, listed) in [
        ("key = ANY(?)", &search.keys),
        ("subject = ANY(?)", &search.subjects),
        ("status = ANY(?)", &search.statuses),
    ] {
        if !listed.is_empty() {
            add(test, Given::Texts(listed.iter().map(|it| plain(it).into_owned()).collect()));
        }
    }
    if let Some(begin) = &search.key_begins {
        add("starts_with(key, ?)", Given::Text(plain(begin).into_owned()));
        add("key >= ?", Given::Text(plain(begin).into_owned()));
    }
    for (test, bound) in [("at > ?", search.after), ("at < ?", search.before)] {
        if let Some(at) = bound {
            add(test, Given::Number(at.millis()));
        }
    }
    let order = if search.descending { "at DESC, id DESC" } else { "at, id" };
    let size = search.size.min(PAGE_MAX);
    let start = i64::try_from(search.start).unwrap_or(i64::MAX);
    let page = format!(
        "SELECT key, subject, at, status, body FROM {schema}.record WHERE {condition} \
         ORDER BY {order} LIMIT {size} OFFSET {start}"
    );
    let count = match i64::try_from(search.counted_max) {
        Err(_) => format!("SELECT count(*) FROM {schema}.record WHERE {condition}"),
        Ok(most) => format!(
            "SELECT count(*) FROM (SELECT 1 FROM {schema}.record WHERE {condition} LIMIT {most}) AS counted"
        ),
    };
    let bound = || given.iter().map(Given::bind).collect();
    [Statement::new(page, bound()), Statement::new(count, bound())]
}

enum Given {
    Text(String),
    Texts(Vec<String>),
    Number(i64),
}

impl Given {
    fn bind(&self) -> Bound<'static> {
        match self {
            Self::Text(text) => bind(text.clone(), Type::TEXT),
            Self::Texts(texts) => bind(texts.clone(), Type::TEXT_ARRAY),
            Self::Number(number) => bind(*number, Type::INT8),
        }
    }
}

/// Reads the answers to [`records`].
pub(super) fn record_page(
    ledger: &'static str,
    answers: &[Vec<Row>],
) -> Result<RecordPage, StoreError> {
    let record = |row: &Row| {
        let body = Json::from_text(row.get::<_, String>(4)).map_err(|_| {
            StoreError::Corrupt(format!("a line of the ledger {ledger} is not JSON"))
        })?;
        Ok(Record {
            ledger,
            key: text(row, 0),
            subject: text(row, 1),
            at: Timestamp::from_millis(row.get(2)),
            status: text(row, 3),
            body,
        })
    };
    let [page, count] = answers else { return Err(StoreError::Closed) };
    let total = count.first().map_or(0, |row| row.get::<_, i64>(0)) as u64;
    Ok(RecordPage { total, rows: page.iter().map(record).collect::<Result<_, _>>()? })
}

/// Writes blocks of samples; one of the same monitor that begins at the same instant is replaced.
pub(super) fn put_samples<'a>(schema: &str, blocks: &'a [SampleBlock]) -> Statement<'a> {
    let mut rows = std::collections::BTreeMap::new();
    for block in blocks {
        rows.insert((&block.subject, block.first_at), block);
    }
    let rows: Vec<&SampleBlock> = rows.into_values().collect();
    let sql = format!(
        "INSERT INTO {schema}.sample (subject, first_at, last_at, last, checks, block) \
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (subject, first_at) DO UPDATE SET last_at = excluded.last_at, \
         last = excluded.last, checks = excluded.checks, block = excluded.block"
    );
    let values = vec![
        bind(column(&rows, |it| plain(&it.subject)), Type::TEXT_ARRAY),
        bind(column(&rows, |it| it.first_at.millis()), Type::INT8_ARRAY),
        bind(column(&rows, |it| it.last_at.millis()), Type::INT8_ARRAY),
        bind(column(&rows, |it| it.last as i64), Type::INT8_ARRAY),
        bind(column(&rows, |it| i64::from(it.checks)), Type::INT8_ARRAY),
        bind(rows.iter().map(|it| &*it.data).collect::<Vec<_>>(), Type::BYTEA_ARRAY),
    ];
    Statement::new(sql, values)
}

/// Removes blocks that begin before an instant, and the oldest while all have too many bytes; gives
/// how many.
pub(super) fn trim_samples(
    schema: &str,
    before: Option<Timestamp>,
    bytes_max: Option<u64>,
    limit: u64,
) -> Statement<'static> {
    // The bytes are added up only where they have a bound.
    let too_many = match bytes_max {
        None => "false".to_owned(),
        Some(most) => format!(
            "(SELECT coalesce(sum(length(block)), 0) FROM {schema}.sample) - o.earlier > {most}"
        ),
    };
    let sql = format!(
        "WITH o AS (SELECT subject, first_at, \
         coalesce(sum(length(block)) OVER (ORDER BY first_at, subject \
         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS earlier \
         FROM (SELECT * FROM {schema}.sample ORDER BY first_at, subject LIMIT $2) oldest), \
         gone AS (DELETE FROM {schema}.sample s USING o WHERE s.subject = o.subject \
         AND s.first_at = o.first_at AND (o.first_at < $1 OR {too_many}) RETURNING 1) \
         SELECT count(*) FROM gone"
    );
    let before = before.map_or(i64::MIN, Timestamp::millis);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Statement::new(sql, vec![bind(before, Type::INT8), bind(limit, Type::INT8)])
}

/// Removes blocks of a monitor; gives how many.
pub(super) fn forget_samples<'a>(schema: &str, monitor: &'a str, limit: u64) -> Statement<'a> {
    let sql = format!(
        "WITH gone AS (DELETE FROM {schema}.sample WHERE subject = $1 AND first_at IN \
         (SELECT first_at FROM {schema}.sample WHERE subject = $1 ORDER BY first_at LIMIT $2) \
         RETURNING 1) SELECT count(*) FROM gone"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Statement::new(sql, vec![bind(plain(monitor), Type::TEXT), bind(limit, Type::INT8)])
}
