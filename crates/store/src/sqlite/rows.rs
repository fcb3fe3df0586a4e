//! Rows as the port's types.

use engine::store::{Head, QueueRow};
use kernel::{RowKind, Timestamp};
use rusqlite::{Connection, Row};

use super::key::Key;
use super::names::Words;
use crate::text::lasting;

/// The columns of a head row, in the order that [`head`] reads.
pub(super) const HEAD: &str = "e.key, e.version, e.name, e.definition_version, e.status, e.closed, \
    e.correlation_id, e.parent, e.priority, e.created_at, e.updated_at, e.ended_at, e.wake_at, \
    e.reason, e.failed_references, e.event, e.input_size, e.output_size";

/// Reads a row of [`HEAD`].
pub(super) fn head(
    row: &Row<'_>,
    connection: &Connection,
    words: &Words,
) -> rusqlite::Result<Head> {
    let time = |column| -> rusqlite::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
    };
    Ok(Head {
        id: row.get::<_, Key>(0)?.into_id(),
        version: row.get::<_, i64>(1)? as u64,
        name: words.of(connection, row.get(2)?)?,
        definition_version: row.get(3)?,
        status: lasting(&words.of(connection, row.get(4)?)?),
        closed: row.get(5)?,
        correlation_id: row.get(6)?,
        parent: row.get::<_, Option<Key>>(7)?.map(Key::into_id),
        priority: row.get(8)?,
        created_at: Timestamp::from_millis(row.get(9)?),
        updated_at: Timestamp::from_millis(row.get(10)?),
        ended_at: time(11)?,
        wake_at: time(12)?,
        reason: row.get(13)?,
        failed_references: row.get::<_, Option<_>>(14)?.unwrap_or_else(|| "".into()),
        event: row.get(15)?,
        input_size: row.get(16)?,
        output_size: row.get(17)?,
    })
}

/// Every queue row.
pub(super) fn queued(connection: &Connection, words: &Words) -> rusqlite::Result<Vec<QueueRow>> {
    let mut query = connection.prepare_cached(
        "SELECT e.key, q.sequence, q.queue, q.name, q.priority, q.ready_at, q.held, \
         q.concurrent_max, q.rate_max, q.rate_window_seconds \
         FROM queue q JOIN execution e ON e.id = q.execution",
    )?;
    let rows = query.query_map([], |row| {
        Ok(QueueRow {
            execution: row.get::<_, Key>(0)?.into_id(),
            kind: RowKind::of(row.get(1)?),
            queue: words.of(connection, row.get(2)?)?,
            name: words.of(connection, row.get(3)?)?,
            priority: row.get(4)?,
            ready_at: Timestamp::from_millis(row.get(5)?),
            held: row.get(6)?,
            concurrent_max: row.get(7)?,
            rate_max: row.get(8)?,
            rate_window_seconds: row.get(9)?,
        })
    })?;
    rows.collect()
}
