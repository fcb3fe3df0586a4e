//! What can be asked of all executions at once: typed filters, order and page.

use kernel::Timestamp;

use crate::store::Head;

/// A question over head rows. An empty filter list matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// All must hold.
    pub filters: Vec<Filter>,
    /// Words that must all occur in id, name, correlation id, reason, input or output; `*` at the
    /// end of a word matches any ending.
    pub free_text: Option<String>,
    /// First by the first; ties by newest created first.
    pub sort: Vec<Sort>,
    /// Rows to skip.
    pub start: u64,
    /// Rows to answer, at most [`PAGE_MAX`].
    pub size: u64,
}

/// Most rows in one page.
pub const PAGE_MAX: u64 = 5000;

/// One condition on a head row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The field equals one of the values; a `*` in a value matches any run of characters.
    In(TextField, Vec<String>),
    /// The field equals none of the values.
    NotIn(TextField, Vec<String>),
    /// The time is after the given one.
    After(TimeField, Timestamp),
    /// The time is before the given one.
    Before(TimeField, Timestamp),
    /// The definition's version is one of these.
    Version(Vec<u32>),
    /// Only executions that no other execution started.
    TopLevel,
    /// Only those that ended (`true`) or did not (`false`).
    Closed(bool),
}

/// A textual column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// Execution id.
    Id,
    /// Definition name.
    Name,
    /// Status word.
    Status,
    /// Correlation id.
    CorrelationId,
    /// Parent execution id.
    Parent,
    /// Reason.
    Reason,
}

/// A time column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeField {
    /// Creation.
    Created,
    /// Last change.
    Updated,
    /// End; rows without one never match.
    Ended,
}

/// One key of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// By what.
    pub by: SortField,
    /// Greatest first.
    pub descending: bool,
}

/// What rows can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortField {
    /// A textual column, byte order.
    Text(TextField),
    /// A time column; rows without the time come first ascending.
    Time(TimeField),
}

/// One page of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// How many rows match in all.
    pub total: u64,
    /// The page.
    pub rows: Vec<Head>,
}
