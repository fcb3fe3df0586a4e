//! Lines of ledgers: written with commits or alone, searched, and trimmed to the newest.

use engine::search::{RecordPage, RecordSearch};
use engine::store::{AUDIT, AUDIT_FACTOR};
use kernel::{Json, Record, Timestamp};
use rusqlite::types::{FromSqlError, Type, Value};
use rusqlite::{Connection, Row, params, params_from_iter};

use super::names::Words;
use super::writer::WriteContext;

/// Writes lines; one with the same ledger and key is replaced.
pub(super) fn put(desk: &mut WriteContext, records: &[Record]) -> rusqlite::Result<()> {
    for record in records {
        let ledger = desk.numbers.of(&desk.connection, record.ledger)?;
        let subject = desk.numbers.of(&desk.connection, &record.subject)?;
        let status = desk.numbers.of(&desk.connection, &record.status)?;
        desk.connection
            .prepare_cached(
                "INSERT INTO record (ledger, key, subject, at, status, body) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT (ledger, key) DO UPDATE SET subject = excluded.subject, \
                 at = excluded.at, status = excluded.status, body = excluded.body",
            )?
            .execute(params![
                ledger,
                record.key,
                subject,
                record.at.millis(),
                status,
                record.body.text()
            ])?;
    }
    Ok(())
}

/// Answers a search.
pub(super) fn search(
    connection: &Connection,
    words: &Words,
    search: &RecordSearch,
) -> rusqlite::Result<RecordPage> {
    let mut condition = "ledger = (SELECT id FROM name WHERE text = ?)".to_owned();
    let mut values = vec![Value::Text(search.ledger.to_owned())];
    for (before, listed, after) in [
        (" AND key IN (", &search.keys, ")"),
        (" AND subject IN (SELECT id FROM name WHERE text IN (", &search.subjects, "))"),
        (" AND status IN (SELECT id FROM name WHERE text IN (", &search.statuses, "))"),
    ] {
        if listed.is_empty() {
            continue;
        }
        condition.push_str(before);
        condition.push_str(&vec!["?"; listed.len()].join(", "));
        condition.push_str(after);
        values.extend(listed.iter().cloned().map(Value::Text));
    }
    if let Some(begin) = &search.key_begins {
        // A range of the index; keys are compared byte by byte.
        condition.push_str(" AND key >= ? AND key < ?");
        values.push(Value::Text(begin.clone()));
        values.push(Value::Text(format!("{begin}\u{10FFFF}")));
    }
    for (test, bound) in [(" AND at > ?", search.after), (" AND at < ?", search.before)] {
        if let Some(at) = bound {
            condition.push_str(test);
            values.push(Value::Integer(at.millis()));
        }
    }
    let total = count(connection, &condition, &mut values, search.counted_max)?;
    let order = if search.descending { "at DESC, id DESC" } else { "at, id" };
    let page = format!(
        "SELECT key, subject, at, status, body FROM record WHERE {condition} \
         ORDER BY {order} LIMIT ? OFFSET ?"
    );
    values.push(Value::Integer(search.size.min(engine::search::PAGE_MAX) as i64));
    values.push(Value::Integer(i64::try_from(search.start).unwrap_or(i64::MAX)));
    let mut page = connection.prepare_cached(&page)?;
    let rows = page.query_map(params_from_iter(values.iter()), |row| {
        record(row, connection, words, search.ledger)
    })?;
    Ok(RecordPage { total, rows: rows.collect::<rusqlite::Result<_>>()? })
}

/// How many lines there are, up to a bound.
fn count(
    connection: &Connection,
    condition: &str,
    values: &mut Vec<Value>,
    most: u64,
) -> rusqlite::Result<u64> {
    let number = |row: &Row<'_>| row.get::<_, i64>(0).map(i64::unsigned_abs);
    let Ok(most) = i64::try_from(most) else {
        let all = format!("SELECT count(*) FROM record WHERE {condition}");
        let mut all = connection.prepare_cached(&all)?;
        return all.query_row(params_from_iter(values.iter()), number);
    };
    if most == 0 {
        return Ok(0);
    }
    let some = format!("SELECT count(*) FROM (SELECT 1 FROM record WHERE {condition} LIMIT ?)");
    let mut some = connection.prepare_cached(&some)?;
    values.push(Value::Integer(most));
    let counted = some.query_row(params_from_iter(values.iter()), number);
    values.pop();
    counted
}

fn record(
    row: &Row<'_>,
    connection: &Connection,
    words: &Words,
    ledger: &'static str,
) -> rusqlite::Result<Record> {
    let body = Json::from_text(row.get::<_, String>(4)?).map_err(|_| {
        rusqlite::Error::FromSqlConversionFailure(4, Type::Text, FromSqlError::InvalidType.into())
    })?;
    Ok(Record {
        ledger,
        key: row.get(0)?,
        subject: words.of(connection, row.get(1)?)?,
        at: Timestamp::from_millis(row.get(2)?),
        status: words.of(connection, row.get(3)?)?,
        body,
    })
}

/// Lines removed in one piece of the writer's work.
const TRIM_PIECE: i64 = 2000;

/// Drops some of the lines that a subject has beyond `each_max`, oldest first; 0 = none is left
/// to drop.
pub(super) fn trim_piece(connection: &Connection, each_max: u64) -> rusqlite::Result<u64> {
    let signed = |most: u64| i64::try_from(most).unwrap_or(i64::MAX);
    let (most, audited) = (signed(each_max), signed(each_max.saturating_mul(AUDIT_FACTOR)));
    let crowded: Option<(i64, i64, i64)> = connection
        .prepare_cached(
            "SELECT ledger, subject, count(*), \
             CASE ledger WHEN (SELECT id FROM name WHERE text = ?2) THEN ?3 ELSE ?1 END AS most \
             FROM record GROUP BY ledger, subject HAVING count(*) > most LIMIT 1",
        )?
        .query_row(params![most, AUDIT, audited], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? - row.get::<_, i64>(3)?))
        })
        .map(Some)
        .or_else(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Ok(None),
            error => Err(error),
        })?;
    let Some((ledger, subject, excess)) = crowded else { return Ok(0) };
    let removed = connection
        .prepare_cached(
            "DELETE FROM record WHERE id IN (SELECT id FROM record \
             WHERE ledger = ?1 AND subject = ?2 ORDER BY at, id LIMIT ?3)",
        )?
        .execute(params![ledger, subject, excess.min(TRIM_PIECE)])?;
    Ok(removed as u64)
}
