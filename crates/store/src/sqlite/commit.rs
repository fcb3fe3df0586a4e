//! One commit as SQL, within the transaction that the writer has open.
//!
//! All checks come before the first write, so a commit that is refused leaves nothing behind and
//! the transaction goes on with the next. A commit in the middle of a run changes no indexed
//! column but perhaps `wake_at`; it then uses a statement that does not mention the others, for
//! `SQLite` rewrites the entries of every index whose columns a statement sets.

use std::collections::BTreeSet;

use engine::store::{Commit, Head, MessageKey, Outgoing, QueueChange, QueueRow, StoreError};
use kernel::{MachineKind, Timestamp};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::fault::JobError;
use super::key::Key;
use super::schema::{HISTORY_MAX, place};
use super::tally::Class;
use super::writer::WriteContext;

/// What is compared to choose the cheapest statement.
struct Present {
    id: i64,
    plans: Option<String>,
    /// The columns that have an index are as before, all but `wake_at`.
    same: bool,
    same_wake: bool,
    created_at: i64,
    class: Class,
}

/// The head's words as numbers.
struct Interned {
    key: Key,
    name: i64,
    status: i64,
    parent: Option<Key>,
}

/// Writes one commit. `words` replaces the searchable words, if they changed.
pub(super) fn write(
    desk: &mut WriteContext,
    commit: &Commit,
    words: Option<&str>,
) -> Result<(), JobError> {
    let head = &commit.head;
    let interned = Interned {
        key: Key::of(&head.id),
        name: desk.numbers.of(&desk.connection, &head.name)?,
        status: desk.numbers.of(&desk.connection, head.status)?,
        parent: head.parent.as_ref().map(Key::of),
    };
    let version = commit.expect + 1;
    if version > HISTORY_MAX {
        let text = format!("{} has {HISTORY_MAX} commits, which is the most", head.id);
        return Err(JobError::Refused(StoreError::Corrupt(text)));
    }
    let present = check(&desk.connection, commit, &interned)?;
    let class = Class::of(head, interned.name, interned.status);
    if present.as_ref().is_none_or(|present| present.class != class) {
        desk.tally.add(class);
        if let Some(present) = &present {
            desk.tally.take(present.class);
        }
    }
    let pinned = present.as_ref().and_then(|present| present.plans.as_deref());
    let plans = pin(&desk.connection, commit, pinned)?;
    let listed = (interned.name, head.created_at.millis());
    let id = if let Some(present) = present {
        let before = (present.class.name, present.created_at);
        update(&desk.connection, &present, head, version, &interned)?;
        if plans != present.plans {
            desk.connection
                .prepare_cached("UPDATE execution SET plans = ?2 WHERE id = ?1")?
                .execute(params![present.id, plans])?;
        }
        if before != listed {
            desk.chores.named.moved(&desk.connection, present.id, before, listed)?;
        }
        present.id
    } else {
        let id = insert(&desk.connection, head, &interned, plans.as_deref())?;
        desk.chores.named.added(&desk.connection, id, listed.0, listed.1)?;
        id
    };
    if commit.forget {
        forget(&desk.connection, id, commit.expect)?;
    }
    desk.connection
        .prepare_cached("INSERT INTO history (place, events) VALUES (?1, ?2)")?
        .execute(params![place(id, version), commit.events])?;
    for change in &commit.queue {
        change_queue(desk, id, change)?;
    }
    for message in &commit.send {
        send(&desk.connection, message)?;
    }
    super::records::put(desk, &commit.records)?;
    if let Some(words) = words {
        desk.connection
            .prepare_cached("REPLACE INTO pending (execution, words) VALUES (?1, ?2)")?
            .execute(params![id, words])?;
        desk.chores.texts += 1;
    }
    if let Some(brief) = &commit.brief {
        put_brief(&desk.connection, id, brief)?;
    }
    if head.closed {
        desk.chores.archiver.remember(id);
    }
    Ok(())
}

/// Refuses a commit that was decided on another version, or for a message that is gone. Deletes
/// the message if all is well.
fn check(
    connection: &Connection,
    commit: &Commit,
    interned: &Interned,
) -> Result<Option<Present>, JobError> {
    let head = &commit.head;
    let found = connection
        .prepare_cached(
            "SELECT id, version, name, status, closed, created_at, ended_at, correlation_id, \
             parent, wake_at, plans FROM execution WHERE key = ?1",
        )?
        .query_row([&interned.key], |row| {
            let closed: bool = row.get(4)?;
            let class = Class {
                machine: machine(head.id.machine()),
                name: row.get(2)?,
                status: row.get(3)?,
                closed,
                finished: closed && row.get_ref(6)? != ValueRef::Null,
                child: row.get_ref(8)? != ValueRef::Null,
            };
            let created_at: i64 = row.get(5)?;
            let same = class == Class::of(head, interned.name, interned.status)
                && created_at == head.created_at.millis()
                && row.get::<_, Option<i64>>(6)? == millis(head.ended_at)
                && row.get_ref(7)? == text(head.correlation_id.as_deref())
                && match &interned.parent {
                    Some(parent) => parent.is(row.get_ref(8)?),
                    None => row.get_ref(8)? == ValueRef::Null,
                };
            let same_wake = row.get::<_, Option<i64>>(9)? == millis(head.wake_at);
            let (id, plans) = (row.get(0)?, row.get(10)?);
            let present = Present { id, plans, same, same_wake, created_at, class };
            Ok((row.get::<_, i64>(1)? as u64, present))
        })
        .optional()?;
    if found.as_ref().map_or(0, |(version, _)| *version) != commit.expect {
        return Err(JobError::Refused(StoreError::Conflict));
    }
    receive(connection, &commit.received)?;
    Ok(found.map(|(_, present)| present))
}

/// Deletes messages; none if one of them is gone.
fn receive(connection: &Connection, messages: &[MessageKey]) -> Result<(), JobError> {
    let messages: BTreeSet<_> = messages.iter().collect();
    if messages.len() > 1 {
        let mut is_there = connection
            .prepare_cached("SELECT 1 FROM message WHERE sender = ?1 AND sequence = ?2")?;
        for key in &messages {
            if !is_there.exists(params![Key::of(&key.sender), key.sequence as i64])? {
                return Err(JobError::Refused(StoreError::Received));
            }
        }
    }
    for key in messages {
        let deleted = connection
            .prepare_cached("DELETE FROM message WHERE sender = ?1 AND sequence = ?2")?
            .execute(params![Key::of(&key.sender), key.sequence as i64])?;
        if deleted == 0 {
            return Err(JobError::Refused(StoreError::Received));
        }
    }
    Ok(())
}

fn insert(
    connection: &Connection,
    head: &Head,
    interned: &Interned,
    plans: Option<&str>,
) -> rusqlite::Result<i64> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO execution (key, version, name, definition_version, status, closed, priority, \
         created_at, updated_at, ended_at, wake_at, correlation_id, parent, reason, \
         failed_references, event, input_size, output_size, plans, machine) \
         VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, \
         ?19)",
    )?;
    insert.insert(params![
        interned.key,
        interned.name,
        head.definition_version,
        interned.status,
        head.closed,
        head.priority,
        head.created_at.millis(),
        head.updated_at.millis(),
        millis(head.ended_at),
        millis(head.wake_at),
        head.correlation_id,
        interned.parent,
        head.reason,
        some(&head.failed_references),
        head.event,
        head.input_size,
        head.output_size,
        plans,
        machine(head.id.machine()),
    ])
}

/// The number that stands for a kind of machine.
pub(super) fn machine(kind: MachineKind) -> i64 {
    i64::from(kind.number())
}

/// Drops all history up to a version.
fn forget(connection: &Connection, execution: i64, through: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM history WHERE place BETWEEN ?1 AND ?2")?
        .execute(params![place(execution, 0), place(execution, through)])?;
    connection.prepare_cached("DELETE FROM archive WHERE execution = ?1")?.execute([execution])?;
    connection
        .prepare_cached("UPDATE execution SET forgotten = ?2 WHERE id = ?1")?
        .execute(params![execution, through as i64])?;
    Ok(())
}

/// What every commit changes.
macro_rules! update {
    ($more:literal) => {
        concat!(
            "UPDATE execution SET version = ?2, definition_version = ?3, priority = ?4, \
             updated_at = ?5, reason = ?6, failed_references = ?7, event = ?8, input_size = ?9, \
             output_size = ?10",
            $more,
            " WHERE id = ?1"
        )
    };
}

fn update(
    connection: &Connection,
    present: &Present,
    head: &Head,
    version: u64,
    interned: &Interned,
) -> rusqlite::Result<()> {
    let sql = match (present.same, present.same_wake) {
        (true, true) => update!(""),
        (true, false) => update!(", wake_at = ?11"),
        (false, _) => update!(
            ", wake_at = ?11, name = ?12, status = ?13, closed = ?14, created_at = ?15, \
             ended_at = ?16, correlation_id = ?17, parent = ?18"
        ),
    };
    let mut update = connection.prepare_cached(sql)?;
    let failed = some(&head.failed_references);
    let common = params![
        present.id,
        version as i64,
        head.definition_version,
        head.priority,
        head.updated_at.millis(),
        head.reason,
        failed,
        head.event,
        head.input_size,
        head.output_size,
    ];
    let indexed = params![
        millis(head.wake_at),
        interned.name,
        interned.status,
        head.closed,
        head.created_at.millis(),
        millis(head.ended_at),
        head.correlation_id,
        interned.parent,
    ];
    let count = update.parameter_count();
    for (at, value) in common.iter().chain(indexed).take(count).enumerate() {
        update.raw_bind_parameter(at + 1, value)?;
    }
    update.raw_execute()?;
    Ok(())
}

/// Stores the plans that are new, counts those that this execution did not pin before, and gives
/// the list that it now pins.
fn pin(
    connection: &Connection,
    commit: &Commit,
    before: Option<&str>,
) -> rusqlite::Result<Option<String>> {
    let mut pinned = before.map(str::to_owned);
    for (hash, text) in &commit.plans {
        let known = connection
            .prepare_cached("SELECT id FROM plan WHERE hash = ?1")?
            .query_row([hash], |row| row.get(0))
            .optional()?;
        let plan: i64 = match known {
            Some(plan) => plan,
            None => connection
                .prepare_cached("INSERT INTO plan (hash, text) VALUES (?1, ?2)")?
                .insert([hash, text])?,
        };
        if pinned_plans(pinned.as_deref()).any(|other| other == plan) {
            continue;
        }
        connection
            .prepare_cached(
                "INSERT INTO plan_use (plan, uses) VALUES (?1, 1) \
                 ON CONFLICT (plan) DO UPDATE SET uses = uses + 1",
            )?
            .execute([plan])?;
        pinned = Some(match pinned {
            Some(others) => format!("{others},{plan}"),
            None => plan.to_string(),
        });
    }
    Ok(pinned)
}

/// Reads the list that [`pin`] writes.
pub(super) fn pinned_plans(list: Option<&str>) -> impl Iterator<Item = i64> + '_ {
    list.into_iter().flat_map(|list| list.split(',')).filter_map(|plan| plan.parse().ok())
}

fn change_queue(
    desk: &mut WriteContext,
    execution: i64,
    change: &QueueChange,
) -> rusqlite::Result<()> {
    match change {
        QueueChange::Put(row) => put_queue(desk, execution, row),
        QueueChange::Remove { kind } => {
            desk.connection
                .prepare_cached("DELETE FROM queue WHERE execution = ?1 AND sequence = ?2")?
                .execute(params![execution, kind.number()])?;
            Ok(())
        }
    }
}

fn put_queue(desk: &mut WriteContext, execution: i64, row: &QueueRow) -> rusqlite::Result<()> {
    let queue = desk.numbers.of(&desk.connection, &row.queue)?;
    let name = desk.numbers.of(&desk.connection, &row.name)?;
    desk.connection
        .prepare_cached(
            "REPLACE INTO queue (execution, sequence, queue, name, priority, ready_at, held, \
             concurrent_max, rate_max, rate_window_seconds) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            execution,
            row.kind.number(),
            queue,
            name,
            row.priority,
            row.ready_at.millis(),
            row.held,
            row.concurrent_max,
            row.rate_max,
            row.rate_window_seconds,
        ])?;
    Ok(())
}

fn put_brief(connection: &Connection, execution: i64, brief: &str) -> rusqlite::Result<()> {
    if brief.is_empty() {
        connection
            .prepare_cached("DELETE FROM brief WHERE execution = ?1")?
            .execute([execution])?;
    } else {
        connection
            .prepare_cached("REPLACE INTO brief (execution, text) VALUES (?1, ?2)")?
            .execute(params![execution, brief])?;
    }
    Ok(())
}

/// Writes a message down. One with the same key stays as it is.
fn send(connection: &Connection, message: &Outgoing) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO message (sender, sequence, receiver, body) \
             VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            Key::of(&message.key.sender),
            message.key.sequence as i64,
            Key::of(&message.to),
            message.body,
        ])?;
    Ok(())
}

fn millis(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::millis)
}

fn text(text: Option<&str>) -> ValueRef<'_> {
    text.map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes()))
}

/// An empty text is not written: most executions fail nowhere.
fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
