//! Pages in the order of creation, read from the index in which the fewest rows lie between.
//!
//! What is counted (see `tally`) says beforehand how many rows each index would pass over in vain:
//! all rows by age leave out what has another name or status, those of one status leave out other
//! names, those of one name other statuses. The way whose worst case is the least is taken, and
//! several statuses or names are merged, so a page costs by what it shows and hardly by what is
//! stored. Statements name their index, for `SQLite` does not know the counts. Rows of a name are in
//! a table that is written later, and the newest are looked through (see `named`).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use engine::search::{Filter, Mark, Search, Sort, SortField, TextField, TimeField};
use engine::store::Tallied;
use kernel::MachineKind;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, params_from_iter};

use super::commit::machine;
use super::named::{self, Listed};
use super::names::Words;
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

impl Group {
    /// Whether all fit that is counted.
    const fn is_whole(self) -> bool {
        self.fit == self.all
    }

    /// Rows that are read in the worst case, those that do not fit all before those that do.
    fn worst(self, window: u64) -> u64 {
        let read = if self.is_whole() {
            self.fit.min(window.max(CHUNK))
        } else {
            (self.all - self.fit).saturating_add(window).min(self.all)
        };
        read + STATEMENT
    }
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

/// How many rows fit filters by which all rows are counted, by name and status.
pub(super) fn tallied(
    connection: &Connection,
    words: &Words,
    search: &Search,
) -> rusqlite::Result<Vec<Tallied>> {
    let mut tallied = Vec::new();
    for kind in search.machines() {
        for ((name, status), group) in groups(connection, &search.filters, kind)? {
            if group.fit > 0 {
                tallied.push((
                    words.of(connection, name)?,
                    words.of(connection, status)?,
                    group.fit,
                ));
            }
        }
    }
    Ok(tallied)
}

/// Rows of one index in the order of the list, a few at a time.
struct Source {
    /// The table, and what its rows must fit.
    from: String,
    /// The columns of the instant and of the number of a row.
    at: &'static str,
    id: &'static str,
    /// The column that orders rows as their ids do.
    text: &'static str,
    values: Vec<Value>,
    bound: Vec<Bound>,
    /// Created within these instants, both included.
    since: i64,
    until: i64,
    /// What was read and not taken yet.
    read: VecDeque<Row>,
    last: Option<Row>,
    over: bool,
}

/// Where rows are read from.
enum Way {
    /// The index of all rows of the kind, by age.
    Age,
    /// The index of rows of a status, by age.
    Status(i64),
    /// The table of rows of a name, by age.
    Name(i64),
    /// Rows of some names that are not in that table yet, those after this one.
    New(i64, Vec<i64>),
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

fn number<'a>(number: u64) -> Either<'a> {
    Either::Own(Value::Integer(i64::try_from(number).unwrap_or(i64::MAX)))
}

/// Rows that are read of each source at a time, at least.
const CHUNK: u64 = 16;

/// A statement's beginning and end, as rows that are passed over.
const STATEMENT: u64 = 8;

/// Names of which rows are merged at most.
const NAMES_MAX: usize = 64;

/// To look a row up costs as much as to read so many on in an index.
const LOOKED_UP: u64 = 4;

/// The sources that together hold the rows of a kind that fit.
fn sources(
    connection: &Connection,
    asked: &Asked<'_>,
    kind: MachineKind,
    groups: &Groups,
    window: u64,
) -> rusqlite::Result<Vec<Source>> {
    let sum =
        |sum: Group, group: &Group| Group { all: sum.all + group.all, fit: sum.fit + group.fit };
    let all = groups.values().fold(Group::default(), sum);
    if all.fit == 0 || asked.from > asked.to {
        return Ok(Vec::new());
    }
    let window = window.min(all.all);
    let by_age = || vec![Source::new(asked, kind, Way::Age, all.is_whole())];
    if all.is_whole() || !matches!(kind, MachineKind::Execution | MachineKind::Instance) {
        return Ok(by_age());
    }
    let wanted = groups.iter().filter(|(_, group)| group.fit > 0).map(|(key, _)| *key);
    let (names, statuses): (BTreeSet<i64>, BTreeSet<i64>) = wanted.unzip();
    let of_name = |wanted: &i64| {
        let of = groups.iter().filter(|((name, _), _)| name == wanted);
        of.map(|(_, group)| group).fold(Group::default(), sum)
    };
    let of_status = |wanted: &i64| {
        let of = groups.iter().filter(|((_, status), _)| status == wanted);
        of.map(|(_, group)| group).fold(Group::default(), sum)
    };
    let age = (all.all - all.fit).saturating_add(window).min(all.all) + STATEMENT;
    let by_status: u64 = statuses.iter().map(|status| of_status(status).worst(window)).sum();
    let by_name = if kind == MachineKind::Execution && names.len() <= NAMES_MAX {
        let looked_up = |group: Group| if group.is_whole() { 1 } else { LOOKED_UP };
        let each = names.iter().map(of_name);
        Some(each.map(|group| group.worst(window).saturating_mul(looked_up(group))).sum::<u64>())
    } else {
        None
    };
    if let Some(by_name) = by_name
        && by_name < age.min(by_status)
    {
        let names: Vec<i64> = names.iter().copied().collect();
        if let Some(Listed { through, behind }) = named::listed(connection, &names)?
            && by_name + behind.saturating_mul(LOOKED_UP) < age.min(by_status)
        {
            let one =
                |name: &i64| Source::new(asked, kind, Way::Name(*name), of_name(name).is_whole());
            let mut sources: Vec<Source> = names.iter().map(one).collect();
            if behind > 0 {
                sources.push(Source::new(asked, kind, Way::New(through, names), all.is_whole()));
            }
            return Ok(sources);
        }
    }
    if by_status <= age {
        let one = |status: &i64| {
            Source::new(asked, kind, Way::Status(*status), of_status(status).is_whole())
        };
        return Ok(statuses.iter().map(one).collect());
    }
    Ok(by_age())
}

/// Rows that are read of each of so many sources at a time.
fn chunk(window: u64, sources: usize) -> u64 {
    (window / sources.max(1) as u64).saturating_mul(2).clamp(CHUNK, window.max(CHUNK))
}

impl Source {
    /// The rows of a way; `whole` if all that is counted among them fits.
    fn new(asked: &Asked<'_>, kind: MachineKind, way: Way, whole: bool) -> Self {
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
        let of = of_kind(kind);
        let (mut at, mut id) = ("e.created_at", "e.id");
        let mut values = Vec::new();
        let table = match way {
            Way::Age => {
                let index = if kind == MachineKind::Execution { "listed" } else { "machine" };
                format!("execution e INDEXED BY execution_{index} WHERE {of}")
            }
            Way::Status(status) => {
                values.push(Value::Integer(status));
                format!("execution e INDEXED BY execution_status WHERE {of} AND e.status = ?")
            }
            Way::Name(name) => {
                (at, id) = ("b.created_at", "b.execution");
                values.push(Value::Integer(name));
                // The table alone says enough where nothing else is asked.
                let alone = sql.is_empty() && asked.tie == Tie::Added;
                let row = " CROSS JOIN execution e ON e.id = b.execution";
                format!("named b{} WHERE b.name = ?", if alone { "" } else { row })
            }
            Way::New(after, names) => {
                values.push(Value::Integer(after));
                let places = vec!["?"; names.len()].join(", ");
                values.extend(names.into_iter().map(Value::Integer));
                format!(
                    "execution e NOT INDEXED WHERE e.id > ? AND +e.machine = {} \
                     AND e.name IN ({places})",
                    machine(kind)
                )
            }
        };
        Self {
            from: format!("FROM {table} AND {at} >= ? AND {at} <= ?{sql}"),
            at,
            id,
            text: super::search::id_column(kind),
            values,
            bound,
            since: asked.from,
            until: asked.to,
            read: VecDeque::new(),
            last: None,
            over: false,
        }
    }

    /// What all statements bind first.
    fn values(&self, since: i64, until: i64) -> Vec<Either<'_>> {
        let own = self.values.iter().cloned().chain([Value::Integer(since), Value::Integer(until)]);
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
        let (mut since, mut until) = (self.since, self.until);
        // At the beginning an instant at which nothing was created.
        let (at, tie) = match &self.last {
            None => (i64::MAX, Value::Integer(i64::MAX)),
            Some(Row { created_at, id, text }) => {
                if asked.descending {
                    until = *created_at;
                } else {
                    since = *created_at;
                }
                let tie = text.clone().map_or(Value::Integer(*id), Value::Text);
                (*created_at, tie)
            }
        };
        let mut values = self.values(since, until);
        values.extend([Value::Integer(at), tie].map(Either::Own));
        values.push(number(chunk));
        let (more, tie) = match asked.tie {
            Tie::Added => ("", format!("{} < ?", self.id)),
            Tie::Id => {
                let sign = if asked.descending { "<" } else { ">" };
                (", spell(e.key)", format!("{} {sign} ?", self.text))
            }
        };
        let Self { from, at, id, .. } = &*self;
        let sql = format!(
            "SELECT {at}, {id}{more} {from} AND (+{at} <> ? OR {tie}) {} LIMIT ?",
            self.order(asked)
        );
        let mut page = connection.prepare_cached(&sql)?;
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

    fn order(&self, asked: &Asked<'_>) -> String {
        let way = if asked.descending { " DESC" } else { "" };
        match asked.tie {
            Tie::Added => format!("ORDER BY {}{way}, {} DESC", self.at, self.id),
            Tie::Id => format!("ORDER BY {}{way}, {}{way}", self.at, self.text),
        }
    }

    /// Numbers of the rows of a page, where no other source has any of it: `SQLite` passes over those
    /// before it. `of` says how many rows there are, if that is known.
    fn page(
        &self,
        connection: &Connection,
        asked: &Asked<'_>,
        start: u64,
        size: u64,
        of: Option<u64>,
    ) -> rusqlite::Result<Vec<i64>> {
        let size = of.map_or(size, |of| size.min(of.saturating_sub(start)));
        // A page in the second half is nearer to the end.
        let behind = of
            .map(|of| of.saturating_sub(start + size))
            .filter(|behind| *behind < start && asked.descending && asked.tie == Tie::Added);
        let down = asked.descending && behind.is_none();
        let Some((since, until, skip)) = self.skip(connection, down, behind.unwrap_or(start))?
        else {
            return Ok(Vec::new());
        };
        let Self { from, at, id, .. } = self;
        let order = match behind {
            Some(_) => format!("ORDER BY {at}, {id}"),
            None => self.order(asked),
        };
        let mut values = self.values(since, until);
        values.extend([number(size), number(skip)]);
        let sql = format!("SELECT {id} {from} {order} LIMIT ? OFFSET ?");
        let mut page = connection.prepare_cached(&sql)?;
        let rows = page.query_map(params_from_iter(values), |row| row.get(0))?;
        let mut ids = rows.collect::<rusqlite::Result<Vec<i64>>>()?;
        if behind.is_some() {
            ids.reverse();
        }
        Ok(ids)
    }

    /// Passes over rows by their instants alone, for rows of one instant are to be sorted. Gives the
    /// instants that are left, both included, and how many rows are still to be passed over; `None`
    /// if there are no others.
    fn skip(
        &self,
        connection: &Connection,
        down: bool,
        skip: u64,
    ) -> rusqlite::Result<Option<(i64, i64, u64)>> {
        /// Rows that are sorted rather than passed over twice.
        const FEW: u64 = 64;
        let (since, until) = (self.since, self.until);
        if skip <= FEW {
            return Ok(Some((since, until, skip)));
        }
        let Self { from, at, .. } = self;
        let way = if down { " DESC" } else { "" };
        let mut values = self.values(since, until);
        values.push(number(skip));
        let instant: Option<i64> = connection
            .prepare_cached(&format!("SELECT {at} {from} ORDER BY {at}{way} LIMIT 1 OFFSET ?"))?
            .query_row(params_from_iter(values), |row| row.get(0))
            .optional()?;
        let Some(instant) = instant else { return Ok(None) };
        let (before, left) = if down {
            ((instant.saturating_add(1), until), (since, instant))
        } else {
            ((since, instant.saturating_sub(1)), (instant, until))
        };
        let passed = connection
            .prepare_cached(&format!("SELECT count(*) {from}"))?
            .query_row(params_from_iter(self.values(before.0, before.1)), |row| {
                row.get::<_, i64>(0)
            })?;
        Ok(Some((left.0, left.1, skip.saturating_sub(passed as u64))))
    }

    /// Counts its rows, at most `most`.
    fn count(&self, connection: &Connection, most: u64) -> rusqlite::Result<u64> {
        let mut values = self.values(self.since, self.until);
        values.push(number(most));
        let sql = format!("SELECT count(*) FROM (SELECT 1 {} LIMIT ?)", self.from);
        let mut count = connection.prepare_cached(&sql)?;
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
    let sources = |window| -> rusqlite::Result<Vec<Source>> {
        let mut all = Vec::new();
        for (kind, groups) in &kinds {
            all.append(&mut sources(connection, asked, *kind, groups, window)?);
        }
        Ok(all)
    };
    let size = search.size.min(engine::search::PAGE_MAX);
    let window = search.start.saturating_add(size);
    if search.is_counted() {
        let total = kinds.iter().flat_map(|(_, groups)| groups.values()).map(|group| group.fit);
        let total = total.sum();
        if search.start >= total || size == 0 {
            return Ok((total, Vec::new()));
        }
        let sources = sources(window)?;
        let ids = if let [one] = sources.as_slice() {
            one.page(connection, asked, search.start, size, Some(total))?
        } else {
            merge(connection, search.start, asked, sources, window, window)?.1
        };
        return Ok((total, ids));
    }
    let most = search.total_max();
    // One row behind the page tells whether there is anything to count.
    let through = window.saturating_add(1);
    let all = sources(through)?;
    let (passed, ids) = if let [one] = all.as_slice() {
        let mut ids = one.page(connection, asked, search.start, size + 1, None)?;
        let found = ids.len() as u64;
        ids.truncate(size as usize);
        // Behind the last row it is not known how many there are.
        let passed = if found > 0 { Some(search.start + found) } else { None };
        (passed.or((search.start == 0).then_some(0)), ids)
    } else {
        let (passed, ids) = merge(connection, search.start, asked, all, window, through)?;
        (Some(passed), ids)
    };
    if let Some(passed) = passed
        && (passed <= window || passed >= most)
    {
        return Ok((passed.min(most), ids));
    }
    let mut total = 0;
    for source in sources(most)? {
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
