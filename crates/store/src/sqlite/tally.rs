//! How many rows there are of each name and status, kept beside the rows themselves.
//!
//! The writer notes what a transaction adds and takes away, and writes the sums with it: one small
//! row for each kind of change, however many commits the transaction holds. So a number that is
//! asked for costs what there are of names, not of rows.

use std::collections::BTreeMap;

use engine::store::{Head, Statistics};
use kernel::MachineKind;
use kernel::durable::Status;
use rusqlite::{Connection, params};

use super::commit::machine;

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    pub(super) machine: i64,
    pub(super) name: i64,
    pub(super) status: i64,
    pub(super) closed: bool,
    /// It has ended and says when: retention may remove it.
    pub(super) finished: bool,
    /// Another execution started it.
    pub(super) child: bool,
}

impl Class {
    /// The class of a head whose words have these numbers.
    pub(super) fn of(head: &Head, name: i64, status: i64) -> Self {
        Self {
            machine: machine(head.id.machine()),
            name,
            status,
            closed: head.closed,
            finished: head.closed && head.ended_at.is_some(),
            child: head.parent.is_some(),
        }
    }
}

/// What an open transaction changes.
#[derive(Default)]
pub(super) struct Tally(BTreeMap<Class, i64>);

impl Tally {
    /// Notes that there is one more.
    pub(super) fn add(&mut self, class: Class) {
        *self.0.entry(class).or_default() += 1;
    }

    /// Notes that there is one less.
    pub(super) fn take(&mut self, class: Class) {
        *self.0.entry(class).or_default() -= 1;
    }

    /// Forgets what was noted: the transaction was rolled back.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Writes what was noted, within the transaction.
    pub(super) fn write(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        while let Some((class, change)) = self.0.pop_first() {
            let Class { machine, name, status, closed, finished, child } = class;
            if change == 0 {
                continue;
            }
            let count: i64 = connection
                .prepare_cached(
                    "INSERT INTO tally (machine, name, status, closed, finished, child, count) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                     ON CONFLICT DO UPDATE SET count = count + excluded.count RETURNING count",
                )?
                .query_row(
                    params![machine, name, status, closed, finished, child, change],
                    |row| row.get(0),
                )?;
            if count == 0 {
                connection
                    .prepare_cached(
                        "DELETE FROM tally WHERE machine = ?1 AND name = ?2 AND status = ?3 \
                         AND closed = ?4 AND finished = ?5 AND child = ?6",
                    )?
                    .execute(params![machine, name, status, closed, finished, child])?;
            }
        }
        Ok(())
    }
}

/// Rows that retention may remove.
pub(super) fn finished(connection: &Connection) -> rusqlite::Result<u64> {
    sum(connection, "finished = 1")
}

/// All rows.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<u64> {
    sum(connection, "1")
}

fn sum(connection: &Connection, condition: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(&format!("SELECT ifnull(sum(count), 0) FROM tally WHERE {condition}"))?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(|count| count as u64)
}

/// How many there are of what is counted, in [`Statistics`] that say nothing else.
pub(super) fn statistics(connection: &Connection) -> rusqlite::Result<Statistics> {
    let of = |kind, condition: &str| {
        sum(connection, &format!("machine = {} AND {condition}", machine(kind)))
    };
    let open: Vec<String> = Status::ALL
        .iter()
        .filter(|status| !status.is_closed())
        .map(|status| format!("'{status}'"))
        .collect();
    let open = format!("status IN (SELECT id FROM name WHERE text IN ({}))", open.join(", "));
    Ok(Statistics {
        executions: of(MachineKind::Execution, "1")?,
        running: of(MachineKind::Execution, "closed = 0")?,
        instances: of(MachineKind::Instance, "1")?,
        instances_running: of(MachineKind::Instance, &open)?,
        entities: of(MachineKind::Entity, "1")?,
        ..Statistics::default()
    })
}
