//! SQL databases: one statement in, JSON rows or a count out; `PostgreSQL`, `MySQL` and `SQLite` alike.
//!
//! [`query`] and [`update`] know nothing of tasks, so that whatever else wants to look into a
//! database can use them. What they promise:
//!
//! - Parameters are bound, never put into the text of the statement.
//! - A query runs in a transaction that can only read. An update is committed only if it changed as
//!   many rows as expected.
//! - Everything is bounded ([`Limits`]): the time a statement may run, which the database itself
//!   is told; the rows; their bytes. Beyond a bound there is an error, never a part of the rows.
//! - Values become JSON without loss: see [`values`](self::value).
//!
//! A URL that comes with an input is resolved once and judged as every outgoing call is; the connections
//! go to exactly the addresses that passed. Those of the configuration are the administrator's word.

mod mysql;
mod placeholder;
mod postgres;
mod rows;
mod sqlite;
mod task;
pub mod value;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value};

pub use task::Jdbc;

use crate::outgoing::{Dialer, refusal_of};

/// One row: column name to value, in the order of the columns.
pub type Row = Map<String, Value>;

/// Bounds of one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long it may run.
    pub time: Duration,
    /// Most rows of a query.
    pub rows_max: usize,
    /// Most bytes of them, as JSON.
    pub bytes_max: usize,
    /// By which settings people change the first two, for what a refusal says.
    pub set_by: [&'static str; 2],
}

impl Default for Limits {
    fn default() -> Self {
        let set_by = ["sql_time", "sql_rows_max"];
        Self { time: Duration::from_mins(1), rows_max: 10_000, bytes_max: 8 << 20, set_by }
    }
}

/// What the SQL tasks may be told from outside.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Databases by the name under which definitions know them, each with its URL.
    pub connections: BTreeMap<String, String>,
    /// What tasks may do in those of which not everything is allowed.
    pub access: BTreeMap<String, Access>,
    /// Whether an input may bring a URL of its own. Off unless said otherwise: whoever may write
    /// definitions could then reach every database and every file that the server can.
    pub urls_in_inputs: bool,
    /// Bounds of every statement.
    pub limits: Limits,
}

/// What JDBC tasks may do in a database that is there for monitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Nothing,
    /// Ask for rows.
    Read,
    /// Change rows, too.
    Write,
}

/// Why there are no rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The statement, its parameters or the connection's URL are wrong: another attempt is bound
    /// to fail too.
    #[error("{0}")]
    Invalid(String),
    /// The database did not do it this time: it is away, too slow, or somebody else was in the way.
    #[error("{0}")]
    Failed(String),
}

/// A database and the connections to it; cheap to clone. Made without contacting anybody.
#[derive(Clone)]
pub struct Connection(Kind);

#[derive(Clone)]
enum Kind {
    Postgres(postgres::Postgres),
    MySql(mysql::MySql),
    Sqlite(sqlite::Sqlite),
}

/// Connections kept to one database.
const POOL_MAX: usize = 8;
/// How long making a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How much longer than the database itself we wait for the end of a statement.
const GRACE: Duration = Duration::from_secs(5);

impl Connection {
    /// Whether a URL can be opened; needs no runtime and contacts nobody.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn check(url: &str) -> Result<(), Error> {
        let url = bare(url);
        match scheme(url) {
            "mysql" | "mariadb" => mysql::options(url).map(drop),
            _ => Self::open(url).map(drop),
        }
    }

    /// A database by its URL: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`,
    /// `mysql://…` (or `mariadb://…`), `sqlite:FILE` (with `?mode=ro`, or `?mode=rwc` to make the
    /// file). `jdbc:` before it is ignored.
    ///
    /// # Errors
    /// The URL is none of these. The error never repeats it: it may hold a password.
    pub fn open(url: &str) -> Result<Self, Error> {
        let url = bare(url);
        Self::open_at(url, &[])
    }

    /// As [`Connection::open`]; if there are addresses, its connections go to these and no others.
    fn open_at(url: &str, addresses: &[IpAddr]) -> Result<Self, Error> {
        let url = bare(url);
        Ok(Self(match scheme(url) {
            "postgres" | "postgresql" => Kind::Postgres(postgres::Postgres::open(url, addresses)?),
            "mysql" | "mariadb" => Kind::MySql(mysql::MySql::open(url, addresses)?),
            "sqlite" => Kind::Sqlite(sqlite::Sqlite::open(url)?),
            _ => {
                let known = "postgres://…, mysql://… or sqlite:FILE";
                return Err(Error::Invalid(format!("the URL of the database must be {known}")));
            }
        }))
    }
}

/// The addresses to which the host of a URL leads and which may be connected to; none for a file.
async fn judged(url: &str, dialer: &Dialer) -> Result<Vec<IpAddr>, Error> {
    let url = bare(url);
    let hosts = match scheme(url) {
        "postgres" | "postgresql" => postgres::hosts(url)?,
        "mysql" | "mariadb" => vec![mysql::host(url)?],
        _ => Vec::new(),
    };
    let [first, ..] = hosts.as_slice() else { return Ok(Vec::new()) };
    if hosts.len() == 1 {
        return addresses(first, dialer).await;
    }
    // One address for each, as the client wants it.
    let mut all = Vec::with_capacity(hosts.len());
    for host in &hosts {
        all.extend(addresses(host, dialer).await?.first());
    }
    Ok(all)
}

async fn addresses((host, port): &(String, u16), dialer: &Dialer) -> Result<Vec<IpAddr>, Error> {
    match dialer.addresses(host, *port).await {
        Ok(found) => Ok(found.into_iter().map(|address| address.ip()).collect()),
        Err(error) => Err(match refusal_of(&error) {
            Some(refusal) => Error::Invalid(format!("ADDRESS_REFUSED: {refusal}")),
            None => Error::Failed(format!("the host of the database: {error}")),
        }),
    }
}

/// A URL in an input names a file through which a database is reached on this machine.
fn names_a_socket() -> Error {
    let message = "the URL names a socket file: in inputs only hosts are taken";
    Error::Invalid(message.to_owned())
}

fn bare(url: &str) -> &str {
    let url = url.trim();
    url.strip_prefix("jdbc:").unwrap_or(url)
}

fn scheme(url: &str) -> &str {
    url.split(':').next().unwrap_or_default()
}

/// Asks for rows, in a transaction that can only read.
///
/// # Errors
/// The statement or its parameters are wrong, the answer is beyond the limits, or the database is
/// not there.
pub async fn query(
    connection: &Connection,
    statement: &str,
    parameters: &[Value],
    limits: &Limits,
) -> Result<Vec<Row>, Error> {
    let work = async {
        match &connection.0 {
            Kind::Postgres(database) => database.query(statement, parameters, limits).await,
            Kind::MySql(database) => database.query(statement, parameters, limits).await,
            Kind::Sqlite(database) => database.query(statement, parameters, limits).await,
        }
    };
    in_time(work, limits).await
}

/// Changes rows and answers how many; if it is not the number `expected`, nothing is changed.
///
/// # Errors
/// As [`query`], and another number of rows than expected.
pub async fn update(
    connection: &Connection,
    statement: &str,
    parameters: &[Value],
    expected: Option<u64>,
    limits: &Limits,
) -> Result<u64, Error> {
    let work = async {
        match &connection.0 {
            Kind::Postgres(database) => {
                database.update(statement, parameters, expected, limits).await
            }
            Kind::MySql(database) => database.update(statement, parameters, expected, limits).await,
            Kind::Sqlite(database) => {
                database.update(statement, parameters, expected, limits).await
            }
        }
    };
    in_time(work, limits).await
}

async fn in_time<T>(
    work: impl Future<Output = Result<T, Error>>,
    limits: &Limits,
) -> Result<T, Error> {
    let patience = limits.time + CONNECT_MAX + GRACE;
    match tokio::time::timeout(patience, work).await {
        Ok(result) => result,
        Err(_) => Err(too_slow(limits)),
    }
}

fn too_slow(limits: &Limits) -> Error {
    let (seconds, setting) = (limits.time.as_secs_f64(), limits.set_by[0]);
    Error::Failed(format!("the statement was stopped: it may run for {seconds} s ({setting})"))
}

/// Says that another number of rows was changed than expected; `None` if it was not.
fn mismatch(expected: Option<u64>, changed: u64) -> Option<Error> {
    expected.filter(|expected| *expected != changed).map(|expected| {
        Error::Failed(format!(
            "the statement changed {changed} rows instead of the {expected} expected; it was \
             rolled back"
        ))
    })
}

/// Whether an SQLSTATE says that the same statement is bound to fail again: data, syntax, a
/// transaction that cannot write, something that there is not.
fn is_lasting(state: &str) -> bool {
    ["0A", "22", "25", "3D", "42"].iter().any(|class| state.starts_with(class))
}

/// The databases of the configuration, opened when they are first needed.
pub(crate) struct Databases {
    settings: Settings,
    /// Judges the addresses that inputs name.
    dialer: Dialer,
    open: Mutex<BTreeMap<String, Connection>>,
}

/// Databases from inputs that are kept open; beyond, all are closed and opened anew.
const OPEN_MAX: usize = 64;

impl Databases {
    /// # Errors
    /// A URL of the configuration is none, with the name of its connection.
    pub(crate) fn new(settings: Settings, dialer: Dialer) -> Result<Self, Error> {
        for (name, url) in &settings.connections {
            Connection::check(url)
                .map_err(|error| Error::Invalid(format!("SQL connection '{name}': {error}")))?;
        }
        Ok(Self { settings, dialer, open: Mutex::default() })
    }

    /// The bounds of every statement.
    pub(crate) fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Whether the configuration has a database of this name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.settings.connections.contains_key(name)
    }

    /// Whether a task may use a database, and change it.
    ///
    /// # Errors
    /// It may not; the words name the line that would allow it.
    fn allows(&self, name: &str, changes: bool) -> Result<(), Error> {
        let (what, line) = match self.settings.access.get(name) {
            Some(Access::Nothing) => ("use", if changes { "write" } else { "read" }),
            Some(Access::Read) if changes => ("change", "write"),
            _ => return Ok(()),
        };
        Err(Error::Invalid(format!(
            "tasks may not {what} '{name}', a source of monitors; tasks = \"{line}\" in \
             [sources.{name}] of the configuration would allow it"
        )))
    }

    /// Why a URL is not taken from an input, if it is one.
    pub(crate) fn refusal(&self, name: &str) -> Option<&'static str> {
        (is_url(name) && !self.settings.urls_in_inputs).then_some(
            "URLs of databases are not taken from inputs: name a connection of the configuration, \
             or allow them with sql_urls_in_inputs",
        )
    }

    /// A database by the name that the configuration gives it, or by a URL if inputs may have one.
    pub(crate) async fn get(&self, name: &str) -> Result<Connection, Error> {
        let (url, addresses) = match self.settings.connections.get(name) {
            Some(url) => (url.as_str(), Vec::new()),
            None => match self.refusal(name) {
                None if is_url(name) => (name, judged(name, &self.dialer).await?),
                None => return Err(self.unknown(name)),
                Some(why) => return Err(Error::Invalid(why.to_owned())),
            },
        };
        // Kept connections are those to the addresses that passed now.
        let key = format!("{url}\0{addresses:?}");
        let mut open = self.open.lock();
        if let Some(connection) = open.get(&key) {
            return Ok(connection.clone());
        }
        if open.len() >= OPEN_MAX + self.settings.connections.len() {
            open.clear();
        }
        let connection = Connection::open_at(url, &addresses)?;
        open.insert(key, connection.clone());
        Ok(connection)
    }

    fn unknown(&self, name: &str) -> Error {
        let known: Vec<&str> = self.settings.connections.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::Invalid(format!(
            "no SQL connection is called '{name}'; the configuration (sql) names {known}"
        ))
    }
}

fn is_url(name: &str) -> bool {
    name.contains("://") || name.starts_with("sqlite:") || name.starts_with("jdbc:")
}
