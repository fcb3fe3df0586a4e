//! Rows of a store in a form that no database has: what a copy reads from one store and writes to
//! another, and the digest by which both are compared.
//!
//! The tables here are the content of a store. What a store derives from them (counters, indexes,
//! numbers for words, compressed histories, owners) is made anew by the store that is written.

use async_trait::async_trait;
use engine::store::StoreError;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// Rows that travel together, at most.
const ROWS_MAX: usize = 1000;
/// Bytes of rows that travel together; the row that reaches it is the last.
const BYTES_MAX: usize = 1024 * 1024;

/// A table of the content, in the order in which tables are copied: what others refer to comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// `kind, name, version, text`, by kind, name and version: definitions, schedules, secrets, …
    Document,
    /// `hash, text`, in the order in which they were added.
    Plan,
    /// `id, version, name, definition_version, status, closed, priority, created_at, updated_at,
    /// ended_at, wake_at, correlation_id, parent, reason, failed_references, event, input_size,
    /// output_size, forgotten`, in the order in which they were added: the heads of all machines.
    Execution,
    /// `id, hash`: the plans that an execution pins, by hash.
    Pin,
    /// `id, version, events`, by version.
    History,
    /// `id, text`: what lists show of executions whose histories are long.
    Brief,
    /// `id, words`: the distinct words that free text finds it by, sorted.
    Word,
    /// `id, sequence, queue, name, priority, ready_at, held, concurrent_max, rate_max,
    /// rate_window_seconds`, by sequence.
    Queue,
    /// `sender, sequence, receiver, body`, oldest first.
    Message,
    /// `id, sequence, at, text`, by sequence, oldest first: the log lines of tasks.
    Log,
    /// `ledger, key, subject, at, status, body`, in the order in which they were added: incidents,
    /// deliveries, firings, the audit log, …
    Record,
    /// `subject, first_at, last_at, last, checks, block`, by subject and instant.
    Sample,
}

impl Table {
    /// All of them.
    pub(crate) const ALL: [Self; 12] = [
        Self::Document,
        Self::Plan,
        Self::Execution,
        Self::Pin,
        Self::History,
        Self::Brief,
        Self::Word,
        Self::Queue,
        Self::Message,
        Self::Log,
        Self::Record,
        Self::Sample,
    ];

    /// Its name, which is that of the database's table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Plan => "plan",
            Self::Execution => "execution",
            Self::Pin => "pin",
            Self::History => "history",
            Self::Brief => "brief",
            Self::Word => "word",
            Self::Queue => "queue",
            Self::Message => "message",
            Self::Log => "log",
            Self::Record => "record",
            Self::Sample => "sample",
        }
    }

    /// The columns that hold ids of executions.
    pub(crate) const fn ids(self) -> &'static [usize] {
        match self {
            Self::Document | Self::Plan | Self::Record | Self::Sample => &[],
            Self::Pin | Self::History | Self::Brief | Self::Word | Self::Queue | Self::Log => &[0],
            Self::Execution => &[0, 12],
            Self::Message => &[0, 2],
        }
    }
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    /// The text of an execution's id. Unlike other texts, every store keeps every character of it.
    Id(String),
}

impl Cell {
    fn parts(&self) -> (u8, &[u8]) {
        match self {
            Self::Null | Self::Int(_) => (0, &[]),
            Self::Text(text) => (2, text.as_bytes()),
            Self::Bytes(bytes) => (3, bytes),
            Self::Id(id) => (4, id.as_bytes()),
        }
    }

    /// Puts the sign for what cannot be shown in the place of each NUL, as a store does that cannot
    /// keep it; gives whether there was one.
    fn replace_nul(&mut self) -> bool {
        match self {
            Self::Text(text) if text.contains('\0') => {
                *text = text.replace('\0', "\u{fffd}");
                true
            }
            _ => false,
        }
    }
}

/// A row, with the columns that its [`Table`] tells.
pub(crate) type Row = Vec<Cell>;

/// Puts the sign for what cannot be shown in the place of each NUL; gives how many texts had one.
pub(crate) fn replace_nul(rows: &mut [Row]) -> u64 {
    let cells = rows.iter_mut().flatten();
    cells.map(|cell| u64::from(cell.replace_nul())).sum()
}

/// The words of a text in the order of their bytes, a space between: stores keep them in orders of
/// their own.
pub(crate) fn sorted(words: &str) -> String {
    let mut words: Vec<_> = words.split(' ').filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words.join(" ")
}

/// What a table holds, in a few bytes: equal only if all rows are, and in the same order.
#[derive(Clone, Default)]
pub(crate) struct Digest {
    hash: Sha256,
    pub(crate) rows: u64,
}

impl Digest {
    /// Takes in what follows.
    pub(crate) fn add(&mut self, rows: &[Row]) {
        for cell in rows.iter().flatten() {
            let (kind, bytes) = cell.parts();
            if let Cell::Int(number) = cell {
                self.hash.update([1]);
                self.hash.update(number.to_be_bytes());
                continue;
            }
            self.hash.update([kind]);
            self.hash.update((bytes.len() as u64).to_be_bytes());
            self.hash.update(bytes);
        }
        self.rows += rows.len() as u64;
    }

    /// SHA-256 in hexadecimal.
    pub(crate) fn hex(&self) -> String {
        use std::fmt::Write as _;
        let bytes = self.hash.clone().finalize();
        bytes.iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// Gathers rows to send them together.
pub(crate) struct Gather {
    rows: Vec<Row>,
    bytes: usize,
    into: mpsc::Sender<Vec<Row>>,
}

impl Gather {
    pub(crate) fn new(into: mpsc::Sender<Vec<Row>>) -> Self {
        Self { rows: Vec::new(), bytes: 0, into }
    }

    /// Takes a row; `true` if it is time to send.
    fn take(&mut self, row: Row) -> bool {
        self.bytes += row.iter().map(|cell| 32 + cell.parts().1.len()).sum::<usize>();
        self.rows.push(row);
        self.rows.len() >= ROWS_MAX || self.bytes >= BYTES_MAX
    }

    fn gathered(&mut self) -> Vec<Row> {
        self.bytes = 0;
        std::mem::take(&mut self.rows)
    }

    /// Sends the row, with others; `false` if nobody takes it any more.
    pub(crate) async fn push(&mut self, row: Row) -> bool {
        !self.take(row) || self.finish().await
    }

    /// Sends what is left.
    pub(crate) async fn finish(&mut self) -> bool {
        let rows = self.gathered();
        rows.is_empty() || self.into.send(rows).await.is_ok()
    }

    /// As [`Gather::push`], on a thread that may block.
    pub(crate) fn push_blocking(&mut self, row: Row) -> bool {
        !self.take(row) || self.finish_blocking()
    }

    /// As [`Gather::finish`], on a thread that may block.
    pub(crate) fn finish_blocking(&mut self) -> bool {
        let rows = self.gathered();
        rows.is_empty() || self.into.blocking_send(rows).is_ok()
    }
}

/// What is in the place of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No tables.
    None,
    /// The tables of this release, which nobody uses.
    Whole,
    /// The tables of an earlier release.
    Older,
    /// The target of a copy that has not finished.
    Unfinished,
    /// The tables of a later release, or of another program.
    Other,
    /// Somebody uses it: who, as far as is known.
    InUse(String),
    /// This process uses it itself.
    Ours,
}

/// A store that a copy has to itself, to read from or to write to.
#[async_trait]
pub(crate) trait Side: Send + Sync {
    /// How many rows a table has.
    async fn count(&self, table: Table) -> Result<u64, StoreError>;

    /// Sends the rows of a table in its order. It ends early, without a failure, if nobody takes
    /// them any more.
    async fn read(&self, table: Table, into: mpsc::Sender<Vec<Row>>) -> Result<(), StoreError>;

    /// Adds rows to a table; they are there when it returns.
    async fn write(&self, table: Table, rows: Vec<Row>) -> Result<(), StoreError>;

    /// Whether its texts can hold the character NUL.
    fn keeps_nul(&self) -> bool;

    /// Marks the store as the target of a copy: no server opens it any more.
    async fn mark(&self) -> Result<(), StoreError>;

    /// Makes what is derived from the rows that were written.
    async fn derive(&self) -> Result<(), StoreError>;

    /// Fails if somebody else may have changed the store meanwhile.
    async fn still_owns(&self) -> Result<(), StoreError>;

    /// Takes the mark away: servers may open it.
    async fn unmark(&self) -> Result<(), StoreError>;

    /// Gives the store back.
    async fn close(&self) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(rows: &[Row]) -> String {
        let mut digest = Digest::default();
        digest.add(rows);
        digest.hex()
    }

    #[test]
    fn a_digest_tells_values_their_kinds_and_their_order_apart() {
        let text = |text: &str| Cell::Text(text.to_owned());
        let tables = [
            vec![],
            vec![vec![Cell::Null, Cell::Int(0)]],
            vec![vec![Cell::Int(0), Cell::Null]],
            vec![vec![text("ab"), text("c")]],
            vec![vec![text("a"), text("bc")]],
            vec![vec![text("a"), Cell::Bytes(b"bc".to_vec())]],
            vec![vec![text("a"), Cell::Id("bc".to_owned())]],
            vec![vec![text("")], vec![text("x")]],
            vec![vec![text("x")], vec![text("")]],
        ];
        let digests: std::collections::BTreeSet<_> = tables.iter().map(|it| digest(it)).collect();
        assert_eq!(digests.len(), tables.len());
        assert_eq!(digest(&tables[3]), digest(&tables[3].clone()));
    }

    #[test]
    fn only_texts_lose_their_nul() {
        let mut rows = vec![vec![
            Cell::Id("a\0".to_owned()),
            Cell::Text("b\0\0".to_owned()),
            Cell::Text("c".to_owned()),
            Cell::Bytes(vec![0]),
        ]];
        assert_eq!(replace_nul(&mut rows), 1);
        assert_eq!(rows[0][0], Cell::Id("a\0".to_owned()));
        assert_eq!(rows[0][1], Cell::Text("b\u{fffd}\u{fffd}".to_owned()));
    }

    #[tokio::test]
    async fn rows_travel_in_bounded_batches() {
        let (into, mut batches) = mpsc::channel(8);
        let mut gather = Gather::new(into);
        for _ in 0..=ROWS_MAX {
            assert!(gather.push(vec![Cell::Int(1)]).await);
        }
        for _ in 0..2 {
            assert!(gather.push(vec![Cell::Text("x".repeat(BYTES_MAX / 2))]).await);
        }
        assert!(gather.finish().await);
        drop(gather);
        let mut sizes = Vec::new();
        while let Some(rows) = batches.recv().await {
            sizes.push(rows.len());
        }
        assert_eq!(sizes, [ROWS_MAX, 3]);
    }
}
