//! Search as SQL: filters, free text, order and page over head rows.
//!
//! Values are always bound, never written into the statement.

use engine::search::{
    BEGUN_MAX, Filter, Mark, PAGE_MAX, Page, Search, Sort, SortField, Spans, TextField, TimeField,
    words,
};
use engine::store::Head;
use kernel::MachineKind;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::{ToSqlOutput, Value};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::commit::machine;
use super::key::{Key, uuids_from};
use super::names::Words;
use super::{plan, rows};

/// Registers `spell(key)`, which gives an execution id as its text.
pub(super) fn add_functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("spell", 1, flags, |context| {
        let key = context.get::<Option<Key>>(0)?;
        Ok(key.map(|key| key.into_id().as_str().to_owned()))
    })
}

/// Answers a search. Texts that were waiting when it was called are indexed by now.
pub(super) fn search(
    connection: &Connection,
    words: &Words,
    search: &Search,
) -> rusqlite::Result<Page> {
    let Some(asked) = plan::Asked::of(search) else { return by_rows(connection, words, search) };
    let (total, ids) = plan::page(connection, search, &asked)?;
    let mut head = connection
        .prepare_cached(&format!("SELECT {} FROM execution e WHERE e.id = ?1", rows::HEAD))?;
    let rows = ids.iter().map(|id| head.query_row([id], |row| rows::head(row, connection, words)));
    Ok(Page { total, rows: rows.collect::<rusqlite::Result<_>>()? })
}

/// Finds the rows by whatever index leads to them, or looks through all, and sorts them.
fn by_rows(connection: &Connection, words: &Words, search: &Search) -> rusqlite::Result<Page> {
    // Of two kinds, one may be executions.
    let kind = if search.machines().count() == 1 { search.machine } else { MachineKind::default() };
    let mut asked = Condition::of(id_column(kind));
    // Ids that begin alike may be all of a kind: they lead to rows only in their own order.
    let begins = search.filters.iter().any(|filter| matches!(filter, Filter::IdBegins(_)));
    let by_time = matches!(search.sort.first(), Some(Sort { by: SortField::Time(_), .. }));
    let by_end = search.filters.iter().any(|filter| {
        matches!(filter, Filter::After(TimeField::Ended, _) | Filter::Before(TimeField::Ended, _))
    });
    let in_order = kind == MachineKind::Execution || !(by_time || search.free_text.is_some());
    asked.prefixed = if in_order { "e.key" } else { "+e.key" };
    for filter in &search.filters {
        asked.filter(filter);
    }
    if let Some(text) = &search.free_text {
        asked.free_text(connection, text)?;
    }
    let order = order(&search.sort, asked.id);
    let Condition { sql, values, .. } = asked;
    let size = search.size.min(PAGE_MAX);
    let start = i64::try_from(search.start).unwrap_or(i64::MAX);
    let columns = rows::HEAD;
    // What leads to few rows is not to be passed over for an index of all.
    let leads = search.free_text.is_some()
        || search.filters.iter().any(plan::leads)
        || (begins && (in_order || by_end));
    let from = |kind| {
        let of = if leads { format!("+e.machine = {}", machine(kind)) } else { of_kind(kind) };
        format!("FROM execution e WHERE {of}{sql}")
    };
    let (page, bound): (String, Vec<&Bound>) = if search.beside.is_some() {
        // The first of each kind, found by its own index, hold the first of all.
        let first = i64::try_from(size).unwrap_or(i64::MAX).saturating_add(start);
        let kinds: Vec<String> = search
            .machines()
            .map(|kind| {
                let from = from(kind);
                format!("SELECT * FROM (SELECT e.id {from} ORDER BY {order} LIMIT {first})")
            })
            .collect();
        let page = format!(
            "SELECT {columns} FROM execution e WHERE e.id IN ({}) \
             ORDER BY {order} LIMIT {size} OFFSET {start}",
            kinds.join(" UNION ALL "),
        );
        (page, kinds.iter().flat_map(|_| &values).collect())
    } else {
        let from = from(search.machine);
        let page = format!("SELECT {columns} {from} ORDER BY {order} LIMIT {size} OFFSET {start}");
        (page, values.iter().collect())
    };
    let mut page = connection.prepare_cached(&page)?;
    let found =
        page.query_map(params_from_iter(bound), |row| rows::head(row, connection, words))?;
    let found: Vec<Head> = found.collect::<rusqlite::Result<_>>()?;
    let shown = found.len() as u64;
    let is_last = shown < size && (shown > 0 || start == 0);
    let total = if is_last {
        start as u64 + shown
    } else {
        let mut total = 0;
        for kind in search.machines() {
            total += if search.is_counted() {
                plan::counted(connection, &search.filters, kind)?
            } else {
                count(connection, &from(kind), &values, search.total_max() - total)?
            };
        }
        total
    };
    Ok(Page { total, rows: found })
}

/// Counts what was created in each of the spans, in one statement.
pub(super) fn begun(
    connection: &Connection,
    search: &Search,
    spans: &Spans,
) -> rusqlite::Result<Vec<u64>> {
    let mut asked = Condition::default();
    for filter in search.filters.iter().chain(&spans.filters()) {
        asked.filter(filter);
    }
    if let Some(text) = &search.free_text {
        asked.free_text(connection, text)?;
    }
    let Condition { sql, values, .. } = asked;
    let kinds: Vec<String> = search
        .machines()
        .map(|kind| {
            format!("SELECT e.created_at AS at FROM execution e WHERE {}{sql}", of_kind(kind))
        })
        .collect();
    let (all, from, length) = (kinds.join(" UNION ALL "), spans.from.millis(), spans.length.max(1));
    let count = format!(
        "SELECT (at - {from}) / {length}, count(*) FROM (SELECT at FROM ({all}) LIMIT {BEGUN_MAX}) \
         GROUP BY 1"
    );
    let mut count = connection.prepare(&count)?;
    let bound = params_from_iter(kinds.iter().flat_map(|_| &values));
    let counted = count.query_map(bound, |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
    Ok(spans.sum(counted.collect::<rusqlite::Result<Vec<(i64, u64)>>>()?))
}

/// Counts rows, at most `most`.
fn count(
    connection: &Connection,
    from: &str,
    values: &[Bound],
    most: u64,
) -> rusqlite::Result<u64> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let count = format!("SELECT count(*) FROM (SELECT 1 {from} LIMIT {most})");
    let mut count = connection.prepare_cached(&count)?;
    let counted = count.query_row(params_from_iter(values.iter()), |row| row.get::<_, i64>(0));
    counted.map(|count| count as u64)
}

/// The column that orders rows as their ids do. Only executions of graphs have keys that are no
/// texts.
pub(super) const fn id_column(kind: MachineKind) -> &'static str {
    if matches!(kind, MachineKind::Execution) { "spell(e.key)" } else { "e.key" }
}

/// That a row is of a kind of machine, in the words of the partial index that lists the kind:
/// `SQLite` does not see by itself that 3 is not 0.
pub(super) fn of_kind(kind: MachineKind) -> String {
    let listed = if kind == MachineKind::Execution { "" } else { " AND e.machine <> 0" };
    format!("e.machine = {}{listed}", machine(kind))
}

fn order(sort: &[Sort], id: &'static str) -> String {
    let mut order = String::new();
    for Sort { by, descending } in sort {
        let by = match by {
            SortField::Text(TextField::Id) => id,
            SortField::Text(TextField::Name) => "(SELECT text FROM name WHERE id = e.name)",
            SortField::Text(TextField::Status) => "(SELECT text FROM name WHERE id = e.status)",
            SortField::Text(TextField::CorrelationId) => "e.correlation_id",
            SortField::Text(TextField::Parent) => "spell(e.parent)",
            SortField::Text(TextField::Reason) => "e.reason",
            SortField::Time(time) => column(*time),
        };
        order.push_str(by);
        order.push_str(if *descending { " DESC, " } else { ", " });
    }
    order + "e.created_at DESC, e.id DESC"
}

const fn column(time: TimeField) -> &'static str {
    match time {
        TimeField::Created => "e.created_at",
        TimeField::Updated => "e.updated_at",
        TimeField::Ended => "e.ended_at",
    }
}

/// The part after `WHERE`, with the values it binds.
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) values: Vec<Bound>,
    /// The column that orders rows as their ids do.
    id: &'static str,
    /// The column in which the beginning of an id is looked for.
    prefixed: &'static str,
}

impl Default for Condition {
    fn default() -> Self {
        Self::of(id_column(MachineKind::Execution))
    }
}

/// A value to bind.
pub(super) enum Bound {
    Key(Key),
    Value(Value),
}

impl ToSql for Bound {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Key(key) => key.to_sql(),
            Self::Value(value) => value.to_sql(),
        }
    }
}

impl Condition {
    /// One over rows whose ids have the order of a column.
    pub(super) const fn of(id: &'static str) -> Self {
        Self { sql: String::new(), values: Vec::new(), id, prefixed: "e.key" }
    }

    /// Of the rows created at the instant of a mark only those behind it.
    pub(super) fn behind(&mut self, mark: &Mark, at: i64) {
        self.push(" AND (+e.created_at", Value::Integer(at), " <> ? OR ");
        let beyond = if mark.descending { " < ?)" } else { " > ?)" };
        self.push(self.id, Value::Text(mark.id.to_string()), beyond);
    }

    pub(super) fn filter(&mut self, filter: &Filter) {
        self.sql.push_str(" AND ");
        match filter {
            Filter::In(field, values) => self.one_of(*field, values),
            Filter::NotIn(field, values) => {
                // A row without the field has none of the values.
                self.sql.push_str("NOT ifnull(");
                self.one_of(*field, values);
                self.sql.push_str(", 0)");
            }
            Filter::After(field, at) => {
                self.push(column(*field), Value::Integer(at.millis()), " > ?");
            }
            Filter::Before(field, at) => {
                self.push(column(*field), Value::Integer(at.millis()), " < ?");
            }
            Filter::Version(versions) => {
                self.sql.push_str("e.definition_version IN (");
                self.list(versions.iter().map(|version| Value::Integer((*version).into())));
                self.sql.push(')');
            }
            Filter::TopLevel => self.sql.push_str("e.parent IS NULL"),
            Filter::Closed(closed) => {
                self.sql.push_str(if *closed { "e.closed = 1" } else { "e.closed = 0" });
            }
            Filter::IdBegins(prefix) => self.key_prefix(self.prefixed, prefix),
            Filter::Past(mark) => self.past(mark),
        }
    }

    fn past(&mut self, mark: &Mark) {
        let beyond = if mark.descending { " < ?" } else { " > ?" };
        if let Some((field, at)) = mark.at {
            // The first part is for the index.
            let up_to = if mark.descending { " <= ? AND (" } else { " >= ? AND (" };
            let (column, at) = (column(field), Value::Integer(at.millis()));
            self.push(column, at.clone(), up_to);
            self.push(column, at, beyond);
            self.sql.push_str(" OR ");
        }
        self.push(self.id, Value::Text(mark.id.to_string()), beyond);
        if mark.at.is_some() {
            self.sql.push(')');
        }
    }

    /// The field equals one of the values, or matches it if there is a star in it.
    fn one_of(&mut self, field: TextField, values: &[String]) {
        let (column, interned) = match field {
            TextField::Id => return self.one_of_keys("e.key", values),
            TextField::Parent => return self.one_of_keys("e.parent", values),
            TextField::Name => ("e.name", true),
            TextField::Status => ("e.status", true),
            TextField::CorrelationId => ("e.correlation_id", false),
            TextField::Reason => ("e.reason", false),
        };
        let (patterns, exact): (Vec<_>, Vec<_>) =
            values.iter().partition(|value| value.contains('*'));
        if interned {
            self.sql.push_str(column);
            self.sql.push_str(" IN (SELECT id FROM name WHERE ");
        }
        let column = if interned { "text" } else { column };
        self.sql.push('(');
        self.sql.push_str(column);
        self.sql.push_str(" IN (");
        self.list(exact.into_iter().map(|value| Value::Text(value.clone())));
        self.sql.push(')');
        for pattern in patterns {
            self.sql.push_str(" OR ");
            self.push(column, Value::Text(glob(pattern)), " GLOB ?");
        }
        self.sql.push(')');
        if interned {
            self.sql.push(')');
        }
    }

    fn one_of_keys(&mut self, column: &str, values: &[String]) {
        let (patterns, exact): (Vec<_>, Vec<_>) =
            values.iter().partition(|value| value.contains('*'));
        // A list is one step of the statement, however long it is: steps that nest are bounded.
        self.sql.push('(');
        self.sql.push_str(column);
        self.sql.push_str(" IN (");
        for (at, id) in exact.into_iter().enumerate() {
            self.sql.push_str(if at == 0 { "?" } else { ", ?" });
            self.values.push(Bound::Key(Key::of(&kernel::ExecutionId::new(id.as_str()))));
        }
        self.sql.push(')');
        for pattern in patterns {
            self.sql.push_str(" OR ");
            match pattern.split_once('*') {
                Some((prefix, "")) => self.key_prefix(column, prefix),
                _ => self.push(&format!("spell({column})"), Value::Text(glob(pattern)), " GLOB ?"),
            }
        }
        self.sql.push(')');
    }

    fn key(&mut self, column: &str, id: &str) {
        self.sql.push_str(column);
        self.sql.push_str(" = ?");
        self.values.push(Bound::Key(Key::of(&kernel::ExecutionId::new(id))));
    }

    /// Ids that begin so, as ranges of the index: one of texts, one of UUIDs.
    fn key_prefix(&mut self, column: &str, prefix: &str) {
        self.sql.push('(');
        // Text sorts before every blob, so a range of texts needs an end within text: no id holds
        // this character, the last there is.
        self.push(column, Value::Text(prefix.to_owned()), " >= ? AND ");
        self.push(column, Value::Text(format!("{prefix}\u{10ffff}")), " < ?");
        if let Some((first, last)) = uuids_from(prefix) {
            self.sql.push_str(" OR ");
            self.sql.push_str(column);
            self.sql.push_str(" BETWEEN ? AND ?");
            self.values.extend([Bound::Key(first), Bound::Key(last)]);
        }
        self.sql.push(')');
    }

    /// Every word is the id or is in the index. Words that are nobody's id, which is nearly all,
    /// are looked up in the index together.
    fn free_text(&mut self, connection: &Connection, text: &str) -> rusqlite::Result<()> {
        let mut others = Vec::new();
        for word in text.split_whitespace() {
            let (stem, prefix) = word.strip_suffix('*').map_or((word, false), |stem| (stem, true));
            let mut parts: Vec<_> = words(stem).map(|part| format!("\"{part}\"")).collect();
            if prefix && let Some(last) = parts.last_mut() {
                last.push('*');
            }
            let mut id = Self::default();
            if prefix {
                id.key_prefix("e.key", stem);
            } else {
                id.key("e.key", stem);
            }
            if !parts.is_empty() && !id.exists(connection)? {
                others.append(&mut parts);
                continue;
            }
            self.sql.push_str(" AND (");
            self.sql.push_str(&id.sql);
            self.values.append(&mut id.values);
            if !parts.is_empty() {
                self.sql.push_str(" OR ");
                self.found(&parts);
            }
            self.sql.push(')');
        }
        if !others.is_empty() {
            self.sql.push_str(" AND ");
            self.found(&others);
        }
        Ok(())
    }

    /// The index holds all of the quoted words for the row.
    fn found(&mut self, quoted: &[String]) {
        self.sql.push_str("e.id IN (SELECT rowid FROM found WHERE ");
        self.push("found", Value::Text(quoted.join(" AND ")), " MATCH ?)");
    }

    fn exists(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let sql = format!("SELECT 1 FROM execution e WHERE {}", self.sql);
        connection.prepare_cached(&sql)?.exists(params_from_iter(self.values.iter()))
    }

    /// Appends `column` and `test`, which holds one `?` for the value.
    fn push(&mut self, column: &str, value: Value, test: &str) {
        self.sql.push_str(column);
        self.sql.push_str(test);
        self.values.push(Bound::Value(value));
    }

    fn list(&mut self, values: impl Iterator<Item = Value>) {
        for (at, value) in values.enumerate() {
            self.sql.push_str(if at == 0 { "?" } else { ", ?" });
            self.values.push(Bound::Value(value));
        }
    }
}

/// A pattern of ours, in which only `*` means something, as `GLOB` wants it.
pub(super) fn glob(pattern: &str) -> String {
    pattern.replace('[', "[[]").replace('?', "[?]")
}
