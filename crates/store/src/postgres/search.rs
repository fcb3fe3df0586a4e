//! Search as SQL: filters, free text, order and page over head rows.
//!
//! Values are always bound, never written into the statement.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use engine::search::{
    BEGUN_MAX, Filter, Mark, PAGE_MAX, Search, Sort, SortField, Spans, TextField, TimeField, words,
};
use engine::store::Tally;
use kernel::MachineKind;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::batch::{machine, plain};
use super::key::{key_of, ranges, spelled};
use super::readers::{HEAD, text};
use super::session::{Bound, Statement, bind};

/// A search as statements.
pub(super) struct Asked {
    schema: String,
    condition: String,
    given: Vec<Given>,
    order: String,
    kinds: Vec<MachineKind>,
    start: u64,
    size: u64,
    /// How far rows are counted; `None`: all.
    counted: Option<u64>,
}

impl Asked {
    pub(super) fn of(schema: &str, search: &Search) -> Self {
        let mut condition = Condition { schema, sql: String::new(), given: Vec::new() };
        for filter in &search.filters {
            condition.sql.push_str(" AND ");
            condition.filter(filter);
        }
        for word in search.free_text.iter().flat_map(|text| text.split_whitespace()) {
            condition.sql.push_str(" AND ");
            condition.word(word);
        }
        let Condition { sql, given, .. } = condition;
        Self {
            schema: schema.to_owned(),
            condition: sql,
            given,
            order: order(search),
            kinds: search.machines().collect(),
            start: search.start,
            size: search.size.min(PAGE_MAX),
            counted: (!search.is_counted()).then(|| search.total_max()),
        }
    }

    /// The rows of the page.
    pub(super) fn page(&self) -> Statement<'static> {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (start, size) = (signed(self.start), signed(self.size));
        let order = &self.order;
        let sql = match self.kinds.as_slice() {
            [kind] => {
                let from = self.from(*kind);
                format!("SELECT {HEAD} {from} ORDER BY {order} LIMIT {size} OFFSET {start}")
            }
            kinds => {
                // The first of each kind, found by its own index, hold the first of all.
                let first = start.saturating_add(size);
                let each = kinds.iter().map(|kind| {
                    format!("(SELECT e.* {} ORDER BY {order} LIMIT {first})", self.from(*kind))
                });
                let each: Vec<_> = each.collect();
                format!(
                    "SELECT {HEAD} FROM ({}) e ORDER BY {order} LIMIT {size} OFFSET {start}",
                    each.join(" UNION ALL ")
                )
            }
        };
        Statement::new(sql, self.bound())
    }

    /// How many match, as far as they are counted.
    pub(super) fn count(&self) -> Statement<'static> {
        let each = self.kinds.iter().map(|kind| format!("SELECT 1 {}", self.from(*kind)));
        let all = each.collect::<Vec<_>>().join(" UNION ALL ");
        let most = self.counted.map(|most| i64::try_from(most).unwrap_or(i64::MAX));
        let limit = most.map_or_else(String::new, |most| format!(" LIMIT {most}"));
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM ({all}) a{limit}) c");
        Statement::new(sql, self.bound())
    }

    /// How many of the newest `most` of each kind match, by kind, name and status; one more where there
    /// are more.
    pub(super) fn tally(&self, most: u64) -> Statement<'static> {
        let limit = most.saturating_add(1);
        let each = self.kinds.iter().map(|kind| {
            format!(
                "(SELECT e.machine, e.name, e.status {} ORDER BY e.created_at DESC LIMIT {limit})",
                self.from(*kind)
            )
        });
        let all = each.collect::<Vec<_>>().join(" UNION ALL ");
        let sql = format!(
            "SELECT machine, name, status, count(*) FROM ({all}) e GROUP BY machine, name, status"
        );
        Statement::new(sql, self.bound())
    }

    /// How many were created in each of the spans, by its number; the search asks for nothing beside them.
    pub(super) fn begun(&self, spans: &Spans) -> Statement<'static> {
        let each =
            self.kinds.iter().map(|kind| format!("SELECT e.created_at AS at {}", self.from(*kind)));
        let all = each.collect::<Vec<_>>().join(" UNION ALL ");
        let (from, length) = (spans.from.millis(), spans.length.max(1));
        let sql = format!(
            "SELECT (at - {from}) / {length}, count(*) FROM (SELECT at FROM ({all}) a LIMIT {BEGUN_MAX}) b \
             GROUP BY 1"
        );
        Statement::new(sql, self.bound())
    }

    /// How many match, if a page of so many rows tells it.
    pub(super) fn total_of(&self, shown: u64) -> Option<u64> {
        let is_last = shown < self.size && (shown > 0 || self.start == 0);
        is_last.then(|| self.start + shown)
    }

    fn from(&self, kind: MachineKind) -> String {
        let Self { schema, condition, .. } = self;
        format!("FROM {schema}.execution e WHERE e.machine = {}{condition}", machine(kind))
    }

    fn bound(&self) -> Vec<Bound<'static>> {
        self.given.iter().map(Given::bind).collect()
    }
}

/// Reads the answer to [`Asked::tally`].
pub(super) fn tally(rows: &[Row], most: u64) -> Tally {
    let (mut counts, mut of_kinds) = (BTreeMap::new(), BTreeMap::<i16, u64>::new());
    for row in rows {
        let count = row.get::<_, i64>(3) as u64;
        *counts.entry((text(row, 1), text(row, 2))).or_insert(0) += count;
        *of_kinds.entry(row.get(0)).or_default() += count;
    }
    let counts = counts.into_iter().map(|((name, status), count)| (name, status, count));
    Tally { counts: counts.collect(), is_exact: of_kinds.values().all(|count| *count <= most) }
}

fn order(search: &Search) -> String {
    let by_end = |filter: &Filter| match filter {
        Filter::After(time, _) | Filter::Before(time, _) => *time == TimeField::Ended,
        Filter::Past(mark) => matches!(mark.at, Some((TimeField::Ended, _))),
        _ => false,
    };
    let may_lack_end = !search.filters.iter().any(by_end);
    let mut order = String::new();
    for Sort { by, descending } in &search.sort {
        let (column, may_lack) = match by {
            SortField::Text(TextField::Id) => (spelled("e.key"), false),
            SortField::Text(TextField::Name) => ("e.name".to_owned(), false),
            SortField::Text(TextField::Status) => ("e.status".to_owned(), false),
            SortField::Text(TextField::CorrelationId) => ("e.correlation_id".to_owned(), true),
            SortField::Text(TextField::Parent) => (spelled("e.parent"), true),
            SortField::Text(TextField::Reason) => ("e.reason".to_owned(), true),
            SortField::Time(time) => {
                (column(*time).to_owned(), *time == TimeField::Ended && may_lack_end)
            }
        };
        order.push_str(&column);
        // Only where rows may lack it: an index in this order would be passed over.
        order.push_str(match (descending, may_lack) {
            (false, false) => ", ",
            (true, false) => " DESC, ",
            (false, true) => " NULLS FIRST, ",
            (true, true) => " DESC NULLS LAST, ",
        });
    }
    order + "e.created_at DESC, e.added DESC"
}

const fn column(time: TimeField) -> &'static str {
    match time {
        TimeField::Created => "e.created_at",
        TimeField::Updated => "e.updated_at",
        TimeField::Ended => "e.ended_at",
    }
}

/// A value to bind.
enum Given {
    Key(Vec<u8>),
    Keys(Vec<Vec<u8>>),
    Text(String),
    Texts(Vec<String>),
    Number(i64),
    Numbers(Vec<i64>),
}

impl Given {
    fn bind(&self) -> Bound<'static> {
        match self {
            Self::Key(key) => bind(key.clone(), Type::BYTEA),
            Self::Keys(keys) => bind(keys.clone(), Type::BYTEA_ARRAY),
            Self::Text(text) => bind(text.clone(), Type::TEXT),
            Self::Texts(texts) => bind(texts.clone(), Type::TEXT_ARRAY),
            Self::Number(number) => bind(*number, Type::INT8),
            Self::Numbers(numbers) => bind(numbers.clone(), Type::INT8_ARRAY),
        }
    }
}

/// The part after `WHERE`, with the values it binds.
struct Condition<'a> {
    schema: &'a str,
    sql: String,
    given: Vec<Given>,
}

impl Condition<'_> {
    /// The place of a value.
    fn place(&mut self, value: Given) -> String {
        self.given.push(value);
        format!("${}", self.given.len())
    }

    /// Appends a test, in which `?` stands for the value.
    fn push(&mut self, test: &str, value: Given) {
        let place = self.place(value);
        self.sql.push_str(&test.replace('?', &place));
    }

    fn filter(&mut self, filter: &Filter) {
        match filter {
            Filter::In(field, values) => self.one_of(*field, values),
            Filter::NotIn(field, values) => {
                // A row without the field has none of the values.
                self.sql.push_str("NOT coalesce(");
                self.one_of(*field, values);
                self.sql.push_str(", false)");
            }
            Filter::After(field, at) => {
                self.push(&format!("{} > ?", column(*field)), Given::Number(at.millis()));
            }
            Filter::Before(field, at) => {
                self.push(&format!("{} < ?", column(*field)), Given::Number(at.millis()));
            }
            Filter::Version(versions) => {
                let versions = versions.iter().map(|it| i64::from(*it)).collect();
                self.push("e.definition_version = ANY(?)", Given::Numbers(versions));
            }
            Filter::TopLevel => self.sql.push_str("e.parent IS NULL"),
            Filter::Closed(closed) => {
                self.sql.push_str(if *closed { "e.closed" } else { "NOT e.closed" });
            }
            Filter::IdBegins(prefix) => self.key_prefix("e.key", prefix),
            Filter::Past(mark) => self.past(mark),
        }
    }

    fn past(&mut self, mark: &Mark) {
        let beyond = if mark.descending { "<" } else { ">" };
        let id = Given::Key(mark.id.as_str().as_bytes().to_vec());
        let behind = format!("{} {beyond} ?", spelled("e.key"));
        let Some((field, at)) = mark.at else { return self.push(&behind, id) };
        let column = column(field);
        let at = self.place(Given::Number(at.millis()));
        // The first part is for the index.
        let _ = write!(self.sql, "({column} {beyond}= {at} AND ({column} {beyond} {at} OR ");
        self.push(&behind, id);
        self.sql.push_str("))");
    }

    /// The field equals one of the values, or matches it if there is a star in it.
    fn one_of(&mut self, field: TextField, values: &[String]) {
        let column = match field {
            TextField::Id => return self.one_of_keys("e.key", values),
            TextField::Parent => return self.one_of_keys("e.parent", values),
            TextField::Name => "e.name",
            TextField::Status => "e.status",
            TextField::CorrelationId => "e.correlation_id",
            TextField::Reason => "e.reason",
        };
        let (patterns, exact): (Vec<_>, Vec<_>) =
            values.iter().partition(|value| value.contains('*'));
        let exact = exact.into_iter().map(|it| plain(it).into_owned()).collect();
        self.push(&format!("({column} = ANY(?)"), Given::Texts(exact));
        if !patterns.is_empty() {
            let patterns = patterns.into_iter().map(|it| plain(&like(it)).into_owned()).collect();
            self.push(&format!(" OR {column} LIKE ANY(?)"), Given::Texts(patterns));
        }
        self.sql.push(')');
    }

    fn one_of_keys(&mut self, column: &str, values: &[String]) {
        let (patterns, exact): (Vec<_>, Vec<_>) =
            values.iter().partition(|value| value.contains('*'));
        let exact = exact.into_iter().map(|id| key_of(id)).collect();
        self.push(&format!("({column} = ANY(?)"), Given::Keys(exact));
        for pattern in patterns {
            self.sql.push_str(" OR ");
            if let Some((prefix, "")) = pattern.split_once('*') {
                self.key_prefix(column, prefix);
            } else {
                let test = format!("{} LIKE ?", spelled(column));
                self.push(&test, Given::Key(like(pattern).into_bytes()));
            }
        }
        self.sql.push(')');
    }

    /// Ids that begin so, as ranges of the index: one of texts, one of UUIDs.
    fn key_prefix(&mut self, column: &str, prefix: &str) {
        for (at, (first, last)) in ranges(prefix).into_iter().enumerate() {
            let (first, last) = (self.place(Given::Key(first)), self.place(Given::Key(last)));
            self.sql.push_str(if at == 0 { "(" } else { " OR " });
            let _ = write!(self.sql, "({column} >= {first} AND {column} <= {last})");
        }
        self.sql.push(')');
    }

    /// A word is the id, or all its parts are among the words.
    fn word(&mut self, word: &str) {
        let (stem, prefix) = word.strip_suffix('*').map_or((word, false), |stem| (stem, true));
        let schema = self.schema;
        let _ = write!(self.sql, "e.key IN (SELECT i.key FROM {schema}.execution i WHERE ");
        if prefix {
            self.key_prefix("i.key", stem);
        } else {
            self.push("i.key = ?", Given::Key(key_of(stem)));
        }
        // Words are of letters and digits, so that quotes hold them.
        let mut parts: Vec<_> = words(stem).map(|part| format!("'{part}'")).collect();
        if prefix && let Some(last) = parts.last_mut() {
            last.push_str(":*");
        }
        if !parts.is_empty() {
            let test =
                format!(" UNION ALL SELECT w.key FROM {schema}.word w WHERE w.words @@ ?::tsquery");
            self.push(&test, Given::Text(parts.join(" & ")));
        }
        self.sql.push(')');
    }
}

/// A pattern of ours, in which only `*` means something, as `LIKE` wants it.
fn like(pattern: &str) -> String {
    let mut like = String::with_capacity(pattern.len() + 4);
    for c in pattern.chars() {
        match c {
            '*' => like.push('%'),
            '%' | '_' | '\\' => like.extend(['\\', c]),
            c => like.push(c),
        }
    }
    like
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn only_stars_mean_something() {
        assert_eq!(like(r"50%_a*\b"), r"50\%\_a%\\b");
    }
}
