//! Pages in the order of creation, read from the index in which the fewest rows lie between.
//!
//! What is counted (see `tally`) says beforehand how many rows each index would pass over in vain:
//! all rows by age leave out what has another name or status, those of one status leave out other
//! names. The way whose worst case is the least is taken, and several statuses are merged, so a page
//! costs by what it shows and hardly by what is stored. Statements name their index, for `SQLite`
//! does not know the counts. An index by name would write a page more for every name in a
//! transaction.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use engine::search::{Filter, Mark, Search, Sort, SortField, TextField, TimeField};
use kernel::MachineKind;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::commit::machine;
use super::search::{Bound, Condition, of_kind};

/// What is asked of rows in the order of creation.
pub(super) struct Asked<'a> {
    filters: &'a [Filter],
    descending: bool,
    tie: Tie,
    /// Created within these instants, both included.
    from: i64,
    to: i64,
}

/// What orders rows that were created at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tie {
    /// Last added first.
    Added,
    /// By id, in the direction of the times.
    Id,
}

impl<'a> Asked<'a> {
    /// What a search asks, if it is of this kind: in the order of creation, and by nothing that
    /// leads to a few rows by itself.
    pub(super) fn of(search: &'a Search) -> Option<Self> {
        let created = |sort: &Sort| sort.by == SortField::Time(TimeField::Created);
        let (descending, tie) = match search.sort.as_slice() {
            [] => (true, Tie::Added),
            [time] if created(time) => (time.descending, Tie::Added),
            [time, id]
                if created(time)
                    && id.by == SortField::Text(TextField::Id)
                    && id.descending == time.descending =>
            {
                (time.descending, Tie::Id)
            }
            _ => return None,
        };
        let free = search.free_text.as_deref().is_some_and(|text| !text.trim().is_empty());
        // All ids of a kind begin alike, and those of a hub.
        let begins = |filter: &Filter| {
            search.machine == MachineKind::Execution && matches!(filter, Filter::IdBegins(_))
        };
        if free || search.filters.iter().any(|filter| leads(filter) || begins(filter)) {
            return None;
        }
        let mut asked =
            Self { filters: &search.filters, descending, tie, from: i64::MIN, to: i64::MAX };
        for filter in asked.filters {
            let (from, to) = match filter {
                Filter::After(TimeField::Created, at) => (at.millis().saturating_add(1), i64::MAX),
                Filter::Before(TimeField::Created, at) => (i64::MIN, at.millis().saturating_sub(1)),
                filter => match of_creation(filter) {
                    Some((mark, at)) if mark.descending => (i64::MIN, at),
                    Some((_, at)) => (at, i64::MAX),
                    None => continue,
                },
            };
            asked.from = asked.from.max(from);
            asked.to = asked.to.min(to);
        }
        Some(asked)
    }
}

/// Whether an index of its own leads from a filter to few rows.
pub(super) fn leads(filter: &Filter) -> bool {
    /// Characters of a beginning that is nobody's but a few rows'.
    const BEGINNING: usize = 8;
    match filter {
        Filter::In(TextField::Id, values) => values.iter().all(|value| match value.find('*') {
            None => true,
            Some(at) => at + 1 == value.len() && at >= BEGINNING,
        }),
        Filter::In(TextField::CorrelationId | TextField::Parent, values) => {
            values.iter().all(|value| !value.contains('*'))
        }
        _ => false,
    }
}

/// Whether a filter is a list of nothing.
fn fits_nothing(filter: &Filter) -> bool {
    match filter {
        Filter::In(_, values) => values.is_empty(),
        Filter::Version(versions) => versions.is_empty(),
        _ => false,
    }
}

/// Whether rows are counted by what a filter asks.
fn is_counted(filter: &Filter) -> bool {
    match filter {
        Filter::In(field, _) | Filter::NotIn(field, _) => {
            matches!(field, TextField::Name | TextField::Status)
        }
        Filter::Closed(_) | Filter::TopLevel => true,
        _ => false,
    }
}

/// A mark in the order of creation, and its instant.
fn of_creation(filter: &Filter) -> Option<(&Mark, i64)> {
    let Filter::Past(mark) = filter else { return None };
    match mark.at {
        Some((TimeField::Created, at)) => Some((mark, at.millis())),
        _ => None,
    }
}

/// Rows of one name and status.
#[derive(Clone, Copy, Default)]
struct Group {
    all: u64,
    fit: u64,
}

/// Rows by name and status, and how many fit.
type Groups = BTreeMap<(i64, i64), Group>;

/// Counts the rows of a kind that fit what is counted.
fn groups(
    connection: &Connection,
    filters: &[Filter],
    kind: MachineKind,
) -> rusqlite::Result<Groups> {
    let mut fits = Condition::default();
    for filter in filters.iter().filter(|filter| is_counted(filter)) {
        match filter {
            Filter::TopLevel => fits.sql.push_str(" AND e.child = 0"),
            filter => fits.filter(filter),
        }
    }
    let Condition { sql, values, .. } = fits;
    let sql = format!(
        "SELECT e.name, e.status, e.count, (1{sql}) FROM tally e WHERE e.machine = {}",
        machine(kind)
    );
    let mut counted = connection.prepare_cached(&sql)?;
    let mut rows = counted.query(params_from_iter(values.iter()))?;
    let mut groups = Groups::new();
    while let Some(row) = rows.next()? {
        let count = row.get::<_, i64>(2)? as u64;
        let group = groups.entry((row.get(0)?, row.get(1)?)).or_default();
        group.all += count;
        if row.get(3)? {
            group.fit += count;
        }
    }
    Ok(groups)
}

/// How many rows of a kind fit filters by which all rows are counted.
pub(super) fn counted(
    connection: &Connection,
    filters: &[Filter],
    kind: MachineKind,
) -> rusqlite::Result<u64> {
    Ok(groups(connection, filters, kind)?.values().map(|group| group.fit).sum())
}

/// Rows of one index in the order of the list, a few at a time.
struct Source {
    sql: String,
    count: String,
    values: Vec<Value>,
    bound: Vec<Bound>,
    from: i64,
    to: i64,
    /// What was read and not taken yet.
    read: VecDeque<Row>,
    last: Option<Row>,
    over: bool,
}

/// What orders a row, and which it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    created_at: i64,
    id: i64,
    /// The text of its id, where that orders.
    text: Option<String>,
}

/// A value of ours or one of a filter's.
enum Either<'a> {
    Own(Value),
    Filter(&'a Bound),
}

impl ToSql for Either<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Own(value) => Ok(ToSqlOutput::Borrowed(ValueRef::from(value))),
            Self::Filter(bound) => bound.to_sql(),
        }
    }
}

/// Rows that are read of each source at a time, at least.
const CHUNK: u64 = 16;

/// A statement's beginning and end, as rows that are passed over.
const STATEMENT: u64 = 8;

/// The sources that together hold the rows of a kind that fit.
fn sources(asked: &Asked<'_>, kind: MachineKind, groups: &Groups, window: u64) -> Vec<Source> {
    let fit: u64 = groups.values().map(|group| group.fit).sum();
    if fit == 0 || asked.from > asked.to {
        return Vec::new();
    }
    let all: u64 = groups.values().map(|group| group.all).sum();
    let window = window.min(all);
    let make =
        |index, fixed: &str, values, whole| Source::new(asked, kind, index, fixed, values, whole);
    let listed = if kind == MachineKind::Execution { "listed" } else { "machine" };
    let by_age = || vec![make(listed, "", Vec::new(), fit == all)];
    if fit == all || !matches!(kind, MachineKind::Execution | MachineKind::Instance) {
        return by_age();
    }
    let wanted: BTreeSet<i64> =
        groups.iter().filter(|(_, group)| group.fit > 0).map(|((_, status), _)| *status).collect();
    let of_status = |wanted: i64| {
        let of = groups.iter().filter(move |((_, status), _)| *status == wanted);
        of.fold(Group::default(), |sum, (_, group)| Group {
            all: sum.all + group.all,
            fit: sum.fit + group.fit,
        })
    };
    // Rows that are read in the worst case, those that do not fit all before those that do.
    let each = |group: Group| {
        if group.fit == group.all {
            group.fit.min(window.max(CHUNK))
        } else {
            (group.all - group.fit).saturating_add(window).min(group.all)
        }
    };
    let age = (all - fit).saturating_add(window).min(all) + STATEMENT;
    let status: u64 = wanted.iter().map(|status| each(of_status(*status)) + STATEMENT).sum();
    if status <= age {
        let one = |status: &i64| {
            let group = of_status(*status);
            let values = vec![Value::Integer(*status)];
            make("status", " AND e.status = ?", values, group.fit == group.all)
        };
        return wanted.iter().map(one).collect();
    }
    by_age()
}

/// Rows that are read of each of so many sources at a time.
fn chunk(window: u64, sources: usize) -> u64 {
    (window / sources.max(1) as u64).saturating_mul(2).clamp(CHUNK, window.max(CHUNK))
}

impl Source {
    /// The rows of an index; `whole` if all that is counted among them fits.
    fn new(
        asked: &Asked<'_>,
        kind: MachineKind,
        index: &str,
        fixed: &str,
        values: Vec<Value>,
        whole: bool,
    ) -> Self {
        let mut condition = Condition::of(super::search::id_column(kind));
        for filter in asked.filters {
            match filter {
                filter if whole && is_counted(filter) => {}
                Filter::After(TimeField::Created, _) | Filter::Before(TimeField::Created, _) => {}
                filter => match of_creation(filter) {
                    Some((mark, at)) => condition.behind(mark, at),
                    None => condition.filter(filter),
                },
            }
        }
        let Condition { sql, values: bound, .. } = condition;
        let (way, sign) = if asked.descending { (" DESC", "<") } else { ("", ">") };
        let (tie, more, order) = match asked.tie {
            Tie::Added => ("e.id < ?".to_owned(), "", "e.id DESC".to_owned()),
            Tie::Id => {
                let id = super::search::id_column(kind);
                (format!("{id} {sign} ?"), ", spell(e.key)", format!("{id}{way}"))
            }
        };
        let of = of_kind(kind);
        let from = format!(
            "FROM execution e INDEXED BY execution_{index} WHERE {of}{fixed} \
             AND e.created_at >= ? AND e.created_at <= ?{sql}"
        );
        Self {
            sql: format!(
                "SELECT e.created_at, e.id{more} {from} AND (+e.created_at <> ? OR {tie}) \
                 ORDER BY e.created_at{way}, {order} LIMIT ?"
            ),
            count: format!("SELECT count(*) FROM (SELECT 1 {from} LIMIT ?)"),
            values,
            bound,
            from: asked.from,
            to: asked.to,
            read: VecDeque::new(),
            last: None,
            over: false,
        }
    }

    /// What both statements bind first.
    fn values(&self, from: i64, to: i64) -> Vec<Either<'_>> {
        let own = self.values.iter().cloned().chain([Value::Integer(from), Value::Integer(to)]);
        own.map(Either::Own).chain(self.bound.iter().map(Either::Filter)).collect()
    }

    /// The next row.
    fn next(
        &mut self,
        connection: &Connection,
        asked: &Asked<'_>,
        chunk: u64,
    ) -> rusqlite::Result<Option<Row>> {
        if self.read.is_empty() && !self.over {
            self.fill(connection, asked, chunk)?;
        }
        Ok(self.read.pop_front())
    }

    fn fill(
        &mut self,
        connection: &Connection,
        asked: &Asked<'_>,
        chunk: u64,
    ) -> rusqlite::Result<()> {
        let (mut from, mut to) = (self.from, self.to);
        // At the beginning an instant at which nothing was created.
        let (at, tie) = match &self.last {
            None => (i64::MAX, Value::Integer(i64::MAX)),
            Some(Row { created_at, id, text }) => {
                if asked.descending {
                    to = *created_at;
                } else {
                    from = *created_at;
                }
                let tie = text.clone().map_or(Value::Integer(*id), Value::Text);
                (*created_at, tie)
            }
        };
        let mut values = self.values(from, to);
        values.extend([Value::Integer(at), tie].map(Either::Own));
        values.push(Either::Own(Value::Integer(i64::try_from(chunk).unwrap_or(i64::MAX))));
        let mut page = connection.prepare_cached(&self.sql)?;
        let rows = page.query_map(params_from_iter(values), |row| {
            let text = if asked.tie == Tie::Id { row.get(2)? } else { None };
            Ok(Row { created_at: row.get(0)?, id: row.get(1)?, text })
        })?;
        let read: VecDeque<Row> = rows.collect::<rusqlite::Result<_>>()?;
        self.over = (read.len() as u64) < chunk;
        self.last = read.back().cloned().or(self.last.take());
        self.read = read;
        Ok(())
    }

    /// Counts its rows, at most `most`.
    fn count(&self, connection: &Connection, most: u64) -> rusqlite::Result<u64> {
        let mut values = self.values(self.from, self.to);
        values.push(Either::Own(Value::Integer(i64::try_from(most).unwrap_or(i64::MAX))));
        let mut count = connection.prepare_cached(&self.count)?;
        count.query_row(params_from_iter(values), |row| row.get::<_, i64>(0)).map(|n| n as u64)
    }
}

/// A row in the order of the list: the greatest comes first.
struct Ranked {
    row: Row,
    source: usize,
    descending: bool,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let way = |order: Ordering| if self.descending { order } else { order.reverse() };
        way(self.row.created_at.cmp(&other.row.created_at))
            .then_with(|| way(self.row.text.cmp(&other.row.text)))
            .then_with(|| self.row.id.cmp(&other.row.id))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// The rows of the page, and how many there are as far as they are counted.
pub(super) fn page(
    connection: &Connection,
    search: &Search,
    asked: &Asked<'_>,
) -> rusqlite::Result<(u64, Vec<i64>)> {
    // `SQLite` makes one constant of a condition in which an empty list stands, and then finds no
    // use for the index.
    if asked.filters.iter().any(fits_nothing) {
        return Ok((0, Vec::new()));
    }
    let mut kinds = Vec::new();
    for kind in search.machines() {
        kinds.push((kind, groups(connection, asked.filters, kind)?));
    }
    let sources = |window| -> Vec<Source> {
        kinds.iter().flat_map(|(kind, groups)| sources(asked, *kind, groups, window)).collect()
    };
    let size = search.size.min(engine::search::PAGE_MAX);
    let window = search.start.saturating_add(size);
    if search.is_counted() {
        let total = kinds.iter().flat_map(|(_, groups)| groups.values()).map(|group| group.fit);
        let total = total.sum();
        if search.start >= total || size == 0 {
            return Ok((total, Vec::new()));
        }
        let (_, ids) = merge(connection, search.start, asked, sources(window), window, window)?;
        return Ok((total, ids));
    }
    let most = search.total_max();
    // One row behind the page tells whether there is anything to count.
    let through = window.saturating_add(1);
    let (passed, ids) = merge(connection, search.start, asked, sources(through), window, through)?;
    if passed <= window || passed >= most {
        return Ok((passed.min(most), ids));
    }
    let mut total = 0;
    for source in sources(most) {
        total += source.count(connection, most - total)?;
        if total >= most {
            break;
        }
    }
    Ok((total, ids))
}

/// Goes through the first `through` rows and gives their number, which is less if there are no
/// more, and the ids of those from `start` to `end`.
fn merge(
    connection: &Connection,
    start: u64,
    asked: &Asked<'_>,
    mut all: Vec<Source>,
    end: u64,
    through: u64,
) -> rusqlite::Result<(u64, Vec<i64>)> {
    let chunk = if all.len() == 1 { through } else { chunk(through, all.len()) };
    let chunk = chunk.min(CHUNK_MAX);
    let descending = asked.descending;
    let mut heap = BinaryHeap::with_capacity(all.len());
    for (source, rows) in all.iter_mut().enumerate() {
        let row = rows.next(connection, asked, chunk)?;
        heap.extend(row.map(|row| Ranked { row, source, descending }));
    }
    let (mut passed, mut ids) = (0, Vec::new());
    while passed < through
        && let Some(Ranked { row, source, .. }) = heap.pop()
    {
        if (start..end).contains(&passed) {
            ids.push(row.id);
        }
        passed += 1;
        let next = all[source].next(connection, asked, chunk)?;
        heap.extend(next.map(|row| Ranked { row, source, descending }));
    }
    Ok((passed, ids))
}

/// Rows that are held in memory at a time, of each source.
const CHUNK_MAX: u64 = 8192;
