//! The whole content of a schema, read row by row and written row by row: one side of a copy.
//!
//! It is owned by a lease meanwhile, as a server owns it, so that none starts on it. What is read is
//! one state of the database; every transaction that writes locks the owner's row of `fence`.

use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use engine::store::StoreError;
use futures_util::TryStreamExt as _;
use kernel::ExecutionId;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_postgres::types::Type;

use super::batch::{HEAD_BYTES, HISTORY_BYTES, machine};
use super::fault::explain;
use super::key::{id, key_of, partition};
use super::member;
use super::node::{self, COMMITS, EVICTED, Node, Succession};
use super::options::PostgresOptions;
use super::schema;
use super::session::{Begin, Bound, Session, Statement, bind};
use super::{Owned, join};
use crate::row::{Cell, Gather, Row, Side, State, Table, sorted};

/// Executions whose rows are read together.
const PIECE: usize = 256;

/// A schema that is copied from or to.
pub(crate) struct Schema {
    options: PostgresOptions,
    /// As SQL names it.
    name: String,
    node: Arc<Node>,
    beating: Arc<Mutex<Option<Session>>>,
    beat: AbortHandle,
    session: tokio::sync::Mutex<Session>,
}

impl Drop for Schema {
    fn drop(&mut self) {
        self.beat.abort();
    }
}

impl Schema {
    /// Takes the store over: as it is, with new tables if there are none, and without what an earlier
    /// copy left in it if that has not finished.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if somebody else has it or the role may not.
    pub(crate) async fn open(options: &PostgresOptions, state: &State) -> Result<Self, StoreError> {
        let beating = Session::open(options).await?;
        let session = Session::open(options).await?;
        if *state == State::None {
            schema::migrate(&session, options).await?;
        }
        let identity = schema::look(&session).await?;
        let (node, beating, beat): Owned =
            join(beating, options, &identity, Succession::Patient).await?;
        let this = Self {
            session: tokio::sync::Mutex::new(session),
            options: options.clone(),
            name: options.quoted_schema(),
            node,
            beating,
            beat,
        };
        if *state == State::Unfinished {
            this.empty().await?;
        }
        Ok(this)
    }

    /// Removes what an unfinished copy wrote. The mark stays.
    async fn empty(&self) -> Result<(), StoreError> {
        let tables: Vec<_> =
            Table::ALL.iter().map(|it| format!("{}.{}", self.name, it.name())).collect();
        let sql = format!("TRUNCATE {} RESTART IDENTITY", tables.join(", "));
        self.transact(vec![Statement::new(sql, Vec::new())]).await
    }

    /// Writes in one transaction, as long as this process owns the store.
    async fn transact(&self, statements: Vec<Statement<'_>>) -> Result<(), StoreError> {
        self.node.still_owns()?;
        let mut all = vec![self.node.fence(&self.name, COMMITS)];
        all.extend(statements);
        let session = self.session.lock().await;
        match session.transact(Begin::Copy, &all).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.at == 0 && failure.kind() == super::Kind::Unmet => {
                self.node.lose(EVICTED);
                Err(StoreError::Unavailable(EVICTED.to_owned()))
            }
            Err(failure) => Err(explain(&failure.error)),
        }
    }

    async fn sends(
        &self,
        session: &Session,
        table: Table,
        gather: &mut Gather,
    ) -> Result<bool, StoreError> {
        let Some(select) = of_executions(table) else {
            let statement = Statement::new(self.sql(select_of(table)), Vec::new());
            return send(session, table, &statement, gather).await;
        };
        let pages =
            "DECLARE pages NO SCROLL CURSOR FOR SELECT key FROM {s}.execution ORDER BY added";
        execute(session, &self.sql(pages)).await?;
        let fetch = Statement::new(format!("FETCH {PIECE} FROM pages"), Vec::new());
        let select = self.sql(select);
        loop {
            let rows = session.query(&fetch).await.map_err(|error| explain(&error))?;
            if rows.is_empty() {
                break;
            }
            let keys: Vec<Vec<u8>> = rows.iter().map(|row| row.get(0)).collect();
            let statement = Statement::new(select.clone(), vec![bind(keys, Type::BYTEA_ARRAY)]);
            if !send(session, table, &statement, gather).await? {
                return Ok(false);
            }
        }
        execute(session, "CLOSE pages").await?;
        Ok(true)
    }

    fn sql(&self, sql: &str) -> String {
        sql.replace("{s}", &self.name)
    }
}

/// What there is in the place of a store. Nothing is changed.
///
/// # Errors
/// [`StoreError::Unavailable`] if the database is away; [`StoreError::Unfit`] if it will not do.
pub(crate) async fn state(options: &PostgresOptions) -> Result<State, StoreError> {
    let session = Session::open(options).await?;
    schema::look(&session).await?;
    let state = schema::state(&session, options).await?;
    if state == State::None {
        return Ok(state);
    }
    let holders = node::holders(&session, &options.quoted_schema()).await?;
    Ok(match holders.into_iter().find(|holder| holder.left > 0) {
        None => match member::living(&session, &options.quoted_schema()).await? {
            // It would own the store in a moment.
            Some(member) => State::InUse(format!("{}, which shares the store", member.name)),
            None => state,
        },
        Some(holder) if holder.name == options.name => State::Ours,
        // One that was killed has it for so long, too.
        Some(holder) => {
            let seconds = holder.left.div_euclid(1000) + 1;
            State::InUse(format!("{}, with a lease of {seconds} s more", holder.name))
        }
    })
}

async fn execute(session: &Session, sql: &str) -> Result<(), StoreError> {
    session.execute(sql).await.map_err(|error| explain(&error))
}

/// Sends the rows of a statement; `false` if nobody takes them any more.
async fn send(
    session: &Session,
    table: Table,
    statement: &Statement<'_>,
    gather: &mut Gather,
) -> Result<bool, StoreError> {
    let rows = session.stream(statement).await.map_err(|error| explain(&error))?;
    let mut rows = pin!(rows);
    while let Some(row) = rows.try_next().await.map_err(|error| explain(&error))? {
        let cells = (0..row.len()).map(|at| cell(&row, at, table.ids().contains(&at)));
        let mut cells = cells.collect::<Result<Row, _>>()?;
        if let (Table::Word, [_, Cell::Text(words)]) = (table, cells.as_mut_slice()) {
            *words = sorted(words);
        }
        if !gather.push(cells).await {
            return Ok(false);
        }
    }
    Ok(true)
}

fn cell(row: &tokio_postgres::Row, at: usize, is_id: bool) -> Result<Cell, StoreError> {
    let wrong = |_| StoreError::Corrupt(format!("column {at} of a table is of another type"));
    if is_id {
        let key: Option<&[u8]> = row.try_get(at).map_err(wrong)?;
        let id = key.map(id).transpose()?;
        return Ok(id.map_or(Cell::Null, |id| Cell::Id(id.as_str().to_owned())));
    }
    let cell = match *row.columns()[at].type_() {
        Type::INT8 => row.try_get::<_, Option<i64>>(at).map(|it| it.map(Cell::Int)),
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(at).map(|it| it.map(Cell::Bytes)),
        _ => row.try_get::<_, Option<String>>(at).map(|it| it.map(Cell::Text)),
    };
    Ok(cell.map_err(wrong)?.unwrap_or(Cell::Null))
}

#[async_trait]
impl Side for Schema {
    async fn count(&self, table: Table) -> Result<u64, StoreError> {
        let sql = match table {
            Table::History => {
                "SELECT coalesce(sum(version - forgotten), 0)::bigint FROM {s}.execution".to_owned()
            }
            table => format!("SELECT count(*) FROM {{s}}.{}", table.name()),
        };
        let statement = Statement::new(self.sql(&sql), Vec::new());
        let session = self.session.lock().await;
        let rows = session.query(&statement).await.map_err(|error| explain(&error))?;
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0)) as u64)
    }

    async fn read(&self, table: Table, into: mpsc::Sender<Vec<Row>>) -> Result<(), StoreError> {
        let session = self.session.lock().await;
        execute(
            &session,
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; \
             SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL jit = off",
        )
        .await?;
        let mut gather = Gather::new(into);
        if self.sends(&session, table, &mut gather).await? {
            gather.finish().await;
        }
        execute(&session, "COMMIT").await
    }

    async fn write(&self, table: Table, rows: Vec<Row>) -> Result<(), StoreError> {
        let mut statements = vec![insert(&self.name, table, &rows)?];
        if table == Table::History {
            statements.push(sizes(&self.name, &rows)?);
        }
        self.transact(statements).await
    }

    fn keeps_nul(&self) -> bool {
        false
    }

    async fn mark(&self) -> Result<(), StoreError> {
        self.transact(vec![schema::mark(&self.name)]).await
    }

    async fn derive(&self) -> Result<(), StoreError> {
        let tables: Vec<_> =
            Table::ALL.iter().map(|it| format!("{}.{}", self.name, it.name())).collect();
        // So that the first questions are not planned for empty tables.
        let session = self.session.lock().await;
        execute(&session, &format!("ANALYZE {}", tables.join(", "))).await
    }

    async fn still_owns(&self) -> Result<(), StoreError> {
        self.transact(Vec::new()).await
    }

    async fn unmark(&self) -> Result<(), StoreError> {
        self.transact(vec![schema::unmark(&self.name)]).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.beat.abort();
        self.beating.lock().take();
        if self.node.still_owns().is_ok() {
            // The one that was used may hang, or be in the middle of something.
            let session = Session::open(&self.options).await?;
            node::leave(&session, &self.name, &self.node).await;
        }
        Ok(())
    }
}

/// The rows of a table that belong to no execution, or are not looked up by it.
const fn select_of(table: Table) -> &'static str {
    match table {
        Table::Document => {
            "SELECT kind, name, version, text FROM {s}.document ORDER BY kind, name, version"
        }
        Table::Plan => "SELECT hash, text FROM {s}.plan ORDER BY id",
        Table::Execution => {
            "SELECT key, version, name, definition_version, status, closed::int::bigint, \
             priority::bigint, created_at, updated_at, ended_at, wake_at, correlation_id, parent, \
             reason, failed_references, event, input_size, output_size, forgotten \
             FROM {s}.execution ORDER BY added"
        }
        Table::Message => "SELECT sender, sequence, receiver, body FROM {s}.message ORDER BY id",
        Table::Record => {
            "SELECT ledger, key, subject, at, status, body FROM {s}.record ORDER BY id"
        }
        Table::Sample => {
            "SELECT subject, first_at, last_at, last, checks, block FROM {s}.sample \
             ORDER BY subject, first_at"
        }
        Table::Pin | Table::History | Table::Brief | Table::Word | Table::Queue | Table::Log => "",
    }
}

/// The rows of a table that belong to executions, whose keys are `$1`.
const fn of_executions(table: Table) -> Option<&'static str> {
    Some(match table {
        Table::Pin => {
            "SELECT k.key, p.hash FROM unnest($1) WITH ORDINALITY k (key, n) \
             JOIN {s}.pin t ON t.key = k.key JOIN {s}.plan p ON p.id = t.plan ORDER BY k.n, p.hash"
        }
        Table::History => {
            "SELECT k.key, t.version, t.events FROM unnest($1) WITH ORDINALITY k (key, n) \
             JOIN {s}.history t ON t.key = k.key ORDER BY k.n, t.version"
        }
        Table::Brief => {
            "SELECT k.key, t.text FROM unnest($1) WITH ORDINALITY k (key, n) \
             JOIN {s}.brief t ON t.key = k.key ORDER BY k.n"
        }
        Table::Word => {
            "SELECT k.key, array_to_string(tsvector_to_array(t.words), ' ') \
             FROM unnest($1) WITH ORDINALITY k (key, n) JOIN {s}.word t ON t.key = k.key \
             ORDER BY k.n"
        }
        Table::Queue => {
            "SELECT k.key, t.sequence, t.queue, t.name, t.priority::bigint, t.ready_at, \
             t.held::int::bigint, t.concurrent_max, t.rate_max, t.rate_window_seconds \
             FROM unnest($1) WITH ORDINALITY k (key, n) JOIN {s}.queue t ON t.key = k.key \
             ORDER BY k.n, t.sequence"
        }
        Table::Log => {
            "SELECT k.key, t.sequence, t.at, t.text FROM unnest($1) WITH ORDINALITY k (key, n) \
             JOIN {s}.log t ON t.key = k.key ORDER BY k.n, t.sequence, t.id"
        }
        Table::Document
        | Table::Plan
        | Table::Execution
        | Table::Message
        | Table::Record
        | Table::Sample => return None,
    })
}

/// How the values of a column are written, and from which of a row's cells.
#[derive(Clone, Copy)]
enum As {
    /// The key of an id.
    Key(usize),
    /// The partition of an id.
    Partition(usize),
    /// The kind of machine that an id tells.
    Machine(usize),
    Text(usize),
    Long(usize),
    Short(usize),
    Bool(usize),
    Bytes(usize),
    /// The same in all rows.
    Fixed(i64),
}

const fn columns(table: Table) -> &'static [(&'static str, As)] {
    use As::{Bool, Bytes, Fixed, Key, Long, Machine, Partition, Short, Text};
    match table {
        Table::Document => {
            &[("kind", Text(0)), ("name", Text(1)), ("version", Long(2)), ("text", Text(3))]
        }
        Table::Plan => &[("hash", Text(0)), ("text", Text(1))],
        Table::Execution => &[
            ("key", Key(0)),
            ("partition", Partition(0)),
            ("machine", Machine(0)),
            ("version", Long(1)),
            ("name", Text(2)),
            ("definition_version", Long(3)),
            ("status", Text(4)),
            ("closed", Bool(5)),
            ("priority", Short(6)),
            ("created_at", Long(7)),
            ("updated_at", Long(8)),
            ("ended_at", Long(9)),
            ("wake_at", Long(10)),
            ("wake_by", Long(10)),
            ("correlation_id", Text(11)),
            ("parent", Key(12)),
            ("reason", Text(13)),
            ("failed_references", Text(14)),
            ("event", Text(15)),
            ("input_size", Long(16)),
            ("output_size", Long(17)),
            ("forgotten", Long(18)),
            // Its history is added when it comes.
            ("size", Fixed(HEAD_BYTES)),
        ],
        Table::Pin => &[("key", Key(0)), ("hash", Text(1))],
        Table::History => &[("key", Key(0)), ("version", Long(1)), ("events", Text(2))],
        Table::Brief => &[("key", Key(0)), ("text", Text(1))],
        Table::Word => &[("key", Key(0)), ("words", Text(1))],
        Table::Queue => &[
            ("key", Key(0)),
            ("partition", Partition(0)),
            ("sequence", Long(1)),
            ("queue", Text(2)),
            ("name", Text(3)),
            ("priority", Short(4)),
            ("ready_at", Long(5)),
            ("held", Bool(6)),
            ("concurrent_max", Long(7)),
            ("rate_max", Long(8)),
            ("rate_window_seconds", Long(9)),
        ],
        Table::Message => &[
            ("sender", Key(0)),
            ("from_partition", Partition(0)),
            ("sequence", Long(1)),
            ("receiver", Key(2)),
            ("to_partition", Partition(2)),
            ("body", Text(3)),
        ],
        Table::Log => &[("key", Key(0)), ("sequence", Long(1)), ("at", Long(2)), ("text", Text(3))],
        Table::Record => &[
            ("ledger", Text(0)),
            ("key", Text(1)),
            ("subject", Text(2)),
            ("at", Long(3)),
            ("status", Text(4)),
            ("body", Text(5)),
        ],
        Table::Sample => &[
            ("subject", Text(0)),
            ("first_at", Long(1)),
            ("last_at", Long(2)),
            ("last", Long(3)),
            ("checks", Long(4)),
            ("block", Bytes(5)),
        ],
    }
}

/// The statement that adds rows, in their order.
fn insert<'a>(schema: &str, table: Table, rows: &'a [Row]) -> Result<Statement<'a>, StoreError> {
    let columns = columns(table);
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    let places: Vec<_> = (1..=columns.len()).map(|at| format!("${at}")).collect();
    let given =
        format!("unnest({}) WITH ORDINALITY u ({}, n)", places.join(", "), names.join(", "));
    let sql = match table {
        Table::Pin => format!(
            "INSERT INTO {schema}.pin (key, plan) SELECT u.key, p.id FROM {given} \
             JOIN {schema}.plan p ON p.hash = u.hash"
        ),
        Table::Word => format!(
            "INSERT INTO {schema}.word (key, words) \
             SELECT u.key, array_to_tsvector(string_to_array(u.words, ' ')) FROM {given}"
        ),
        table => {
            let (name, listed) = (table.name(), names.join(", "));
            let each: Vec<_> = names.iter().map(|name| format!("u.{name}")).collect();
            let each = each.join(", ");
            format!("INSERT INTO {schema}.{name} ({listed}) SELECT {each} FROM {given} ORDER BY n")
        }
    };
    let values = columns.iter().map(|(name, of)| {
        values(rows, *of).ok_or_else(|| {
            StoreError::Corrupt(format!("a value of {}.{name} is of another kind", table.name()))
        })
    });
    Ok(Statement::new(sql, values.collect::<Result<_, _>>()?))
}

/// The values of a column; `None` if one is of another kind.
fn values(rows: &[Row], of: As) -> Option<Bound<'_>> {
    Some(match of {
        As::Key(at) => {
            let keys = each(rows, at, |cell| match cell {
                Cell::Id(id) => Some(key_of(id)),
                _ => None,
            })?;
            bind(keys, Type::BYTEA_ARRAY)
        }
        As::Partition(at) => {
            bind(each(rows, at, |it| Some(partition(&id_of(it)?) as i16))?, Type::INT2_ARRAY)
        }
        As::Machine(at) => {
            bind(each(rows, at, |it| Some(machine(id_of(it)?.machine())))?, Type::INT2_ARRAY)
        }
        As::Text(at) => {
            let texts = each(rows, at, |cell| match cell {
                Cell::Text(text) => Some(text.as_str()),
                _ => None,
            })?;
            bind(texts, Type::TEXT_ARRAY)
        }
        As::Long(at) => bind(each(rows, at, number)?, Type::INT8_ARRAY),
        As::Short(at) => {
            let short = |cell: &Cell| i16::try_from(number(cell)?).ok();
            bind(each(rows, at, short)?, Type::INT2_ARRAY)
        }
        As::Bool(at) => bind(each(rows, at, |it| Some(number(it)? != 0))?, Type::BOOL_ARRAY),
        As::Bytes(at) => {
            let bytes = each(rows, at, |cell| match cell {
                Cell::Bytes(bytes) => Some(bytes.as_slice()),
                _ => None,
            })?;
            bind(bytes, Type::BYTEA_ARRAY)
        }
        As::Fixed(number) => bind(vec![number; rows.len()], Type::INT8_ARRAY),
    })
}

/// One value of each row; none where the cell has none.
fn each<'a, T>(
    rows: &'a [Row],
    at: usize,
    of: impl Fn(&'a Cell) -> Option<T>,
) -> Option<Vec<Option<T>>> {
    let value = |row: &'a Row| match row.get(at)? {
        Cell::Null => Some(None),
        cell => of(cell).map(Some),
    };
    rows.iter().map(value).collect()
}

const fn number(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Int(number) => Some(*number),
        _ => None,
    }
}

fn id_of(cell: &Cell) -> Option<ExecutionId> {
    match cell {
        Cell::Id(id) => Some(ExecutionId::new(id.as_str())),
        _ => None,
    }
}

/// Adds what rows of history take to the sizes of their executions.
fn sizes(schema: &str, rows: &[Row]) -> Result<Statement<'static>, StoreError> {
    let mut sizes = std::collections::BTreeMap::<Vec<u8>, i64>::new();
    for row in rows {
        let [Cell::Id(id), _, Cell::Text(events)] = row.as_slice() else {
            return Err(StoreError::Corrupt("a row of history is of another kind".to_owned()));
        };
        *sizes.entry(key_of(id)).or_default() += events.len() as i64 + HISTORY_BYTES;
    }
    let (keys, bytes): (Vec<_>, Vec<_>) = sizes.into_iter().unzip();
    let sql = format!(
        "UPDATE {schema}.execution e SET size = e.size + u.bytes \
         FROM unnest($1, $2) u (key, bytes) WHERE e.key = u.key"
    );
    Ok(Statement::new(sql, vec![bind(keys, Type::BYTEA_ARRAY), bind(bytes, Type::INT8_ARRAY)]))
}
