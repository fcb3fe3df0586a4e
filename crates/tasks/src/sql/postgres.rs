//! PostgreSQL: a pool of connections; parameters go as texts that the server itself reads.

mod read;

use std::fmt::Display;
use std::net::IpAddr;

use bytes::BytesMut;
use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use serde_json::Value;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type, to_sql_checked};
use tokio_postgres::{CancelToken, Config, Statement, Transaction};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::placeholder::numbered;
use super::rows::Rows;
use super::{CONNECT_MAX, Error, Limits, POOL_MAX, Row, is_lasting, mismatch, names_a_socket};

#[derive(Clone)]
pub(super) struct Postgres {
    pool: Pool,
    tls: MakeRustlsConnect,
}

/// The port of a server whose URL names none.
const PORT: u16 = 5432;
/// Rows fetched at once.
const FETCH: usize = 1000;

impl Postgres {
    pub(super) fn open(url: &str, addresses: &[IpAddr]) -> Result<Self, Error> {
        let (mut config, verify) = config_of(url)?;
        pin(&mut config, addresses);
        let config_of_tls = if verify { tls::trusting(Vec::new()) } else { tls::believing() };
        let wrong = |error| Error::Failed(format!("TLS cannot be set up: {error}"));
        let tls = MakeRustlsConnect::new(config_of_tls.map_err(wrong)?);
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config, tls.clone(), manager);
        let pool = Pool::builder(manager)
            .max_size(POOL_MAX)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(CONNECT_MAX))
            .wait_timeout(Some(CONNECT_MAX))
            .build();
        let pool = pool.map_err(|error| Error::Failed(format!("PostgreSQL: {error}")))?;
        Ok(Self { pool, tls })
    }

    pub(super) async fn query(
        &self,
        statement: &str,
        parameters: &[Value],
        limits: &Limits,
    ) -> Result<Vec<Row>, Error> {
        let mut held = Held::new(self.client().await?, &self.tls);
        let rows = read_rows(held.client(), statement, parameters, limits).await;
        held.give_back();
        rows
    }

    pub(super) async fn update(
        &self,
        statement: &str,
        parameters: &[Value],
        expected: Option<u64>,
        limits: &Limits,
    ) -> Result<u64, Error> {
        let mut held = Held::new(self.client().await?, &self.tls);
        let changed = write_rows(held.client(), statement, parameters, expected, limits).await;
        held.give_back();
        changed
    }

    async fn client(&self) -> Result<Object, Error> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => failed(error),
            PoolError::Timeout(_) => Error::Failed(format!(
                "PostgreSQL: no connection within {} s",
                CONNECT_MAX.as_secs()
            )),
            error => Error::Failed(format!("PostgreSQL: {error}")),
        })
    }
}

/// The hosts of a URL, or the addresses that it gives for them, each with its port.
pub(super) fn hosts(url: &str) -> Result<Vec<(String, u16)>, Error> {
    let (config, _) = config_of(url)?;
    let names = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => Ok(name.clone()),
        #[cfg(unix)]
        Host::Unix(_) => Err(names_a_socket()),
    });
    let mut names = names.collect::<Result<Vec<String>, Error>>()?;
    if !config.get_hostaddrs().is_empty() {
        names = config.get_hostaddrs().iter().map(ToString::to_string).collect();
    }
    let ports = config.get_ports();
    let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(PORT);
    Ok(names.into_iter().enumerate().map(|(at, name)| (name, port(at))).collect())
}

/// Has connections go to these addresses, whatever the names of the hosts lead to by then.
fn pin(config: &mut Config, addresses: &[IpAddr]) {
    if !config.get_hostaddrs().is_empty() {
        return;
    }
    // The client wants a name for each address, and asks whoever answers there to prove it.
    if let [Host::Tcp(only)] = config.get_hosts() {
        let only = only.clone();
        for _ in 1..addresses.len() {
            config.host(&only);
        }
    }
    for address in addresses {
        config.hostaddr(*address);
    }
}

/// What a URL says, with what we add, and whether whoever answers has to prove its name.
fn config_of(url: &str) -> Result<(Config, bool), Error> {
    // The client knows no verify-full: it is told to require TLS, and TLS to verify.
    let verifies = ["verify-full", "verify-ca"];
    let mode = |mode: &str| url.contains(&format!("sslmode={mode}"));
    let verify = verifies.iter().any(|name| mode(name));
    let url = verifies.iter().fold(url.to_owned(), |url, name| {
        url.replace(&format!("sslmode={name}"), "sslmode=require")
    });
    let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        Error::Invalid(format!("the URL of PostgreSQL cannot be read: {}", chain(&error)))
    })?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_MAX);
    }
    if config.get_application_name().is_none() {
        config.application_name("nightbell");
    }
    if verify {
        config.ssl_mode(SslMode::Require);
    }
    Ok((config, verify))
}

async fn read_rows(
    client: &mut Object,
    statement: &str,
    parameters: &[Value],
    limits: &Limits,
) -> Result<Vec<Row>, Error> {
    let transaction = client.build_transaction().read_only(true).start().await;
    let transaction = transaction.map_err(failed)?;
    let rows = select(&transaction, statement, parameters, limits).await?;
    transaction.rollback().await.map_err(failed)?;
    Ok(rows)
}

async fn write_rows(
    client: &mut Object,
    statement: &str,
    parameters: &[Value],
    expected: Option<u64>,
    limits: &Limits,
) -> Result<u64, Error> {
    let transaction = client.transaction().await.map_err(failed)?;
    let prepared = prepare(&transaction, statement, parameters, limits).await?;
    let parameters: Vec<Parameter<'_>> = parameters.iter().map(Parameter).collect();
    let changed = transaction.execute_raw(&prepared, &parameters).await.map_err(failed)?;
    if let Some(mismatch) = mismatch(expected, changed) {
        transaction.rollback().await.map_err(failed)?;
        return Err(mismatch);
    }
    transaction.commit().await.map_err(failed)?;
    Ok(changed)
}

async fn select(
    transaction: &Transaction<'_>,
    statement: &str,
    parameters: &[Value],
    limits: &Limits,
) -> Result<Vec<Row>, Error> {
    let prepared = prepare(transaction, statement, parameters, limits).await?;
    let names = prepared.columns().iter().map(|column| column.name().to_owned());
    let mut rows = Rows::new(names, limits);
    let parameters: Vec<Parameter<'_>> = parameters.iter().map(Parameter).collect();
    let portal = transaction.bind_raw(&prepared, &parameters).await.map_err(failed)?;
    // In parts, so that a limit is met before everything has been sent.
    let fetch = FETCH.min(limits.rows_max.saturating_add(1));
    let count = i32::try_from(fetch).unwrap_or(i32::MAX);
    loop {
        let found = transaction.query_portal(&portal, count).await.map_err(failed)?;
        for row in &found {
            rows.push((0..row.len()).map(|at| read::column(row, at)))?;
        }
        if found.len() < fetch {
            return Ok(rows.done());
        }
    }
}

async fn prepare(
    transaction: &Transaction<'_>,
    statement: &str,
    parameters: &[Value],
    limits: &Limits,
) -> Result<Statement, Error> {
    let limit = format!("SET LOCAL statement_timeout = {}", limits.time.as_millis().max(1));
    transaction.batch_execute(&limit).await.map_err(failed)?;
    let prepared = transaction.prepare(&numbered(statement)).await.map_err(failed)?;
    let (wanted, given) = (prepared.params().len(), parameters.len());
    if wanted != given {
        return Err(Error::Invalid(format!(
            "the statement has {wanted} placeholders, but there are {given} parameters"
        )));
    }
    Ok(prepared)
}

/// A connection with a statement on it. If the end of the statement is not waited for, the server
/// is asked to stop it, and the connection leaves the pool: the request may arrive late, and must
/// not stop the statement of somebody else.
struct Held {
    client: Option<Object>,
    token: CancelToken,
    tls: MakeRustlsConnect,
}

impl Held {
    fn new(client: Object, tls: &MakeRustlsConnect) -> Self {
        Self { token: client.cancel_token(), tls: tls.clone(), client: Some(client) }
    }

    fn client(&mut self) -> &mut Object {
        self.client.as_mut().expect("it is there until it is given back")
    }

    /// The statement has ended, well or not.
    fn give_back(mut self) {
        self.client = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        drop(Object::take(client));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (token, tls) = (self.token.clone(), self.tls.clone());
        runtime.spawn(async move {
            let stop = token.cancel_query(tls);
            // Whatever comes of it: the statement's own time limit stops it too.
            drop(tokio::time::timeout(CONNECT_MAX, stop).await);
        });
    }
}

/// A value of an input, bound as text: the server reads it as whatever type it needs.
#[derive(Debug)]
struct Parameter<'a>(&'a Value);

impl ToSql for Parameter<'_> {
    fn to_sql(
        &self,
        wanted: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let is_json = matches!(*wanted, Type::JSON | Type::JSONB);
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::String(text) if !is_json => out.extend_from_slice(text.as_bytes()),
            // A text for a JSON column is JSON if it can be, otherwise a JSON text.
            Value::String(text)
                if serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() =>
            {
                out.extend_from_slice(text.as_bytes());
            }
            Value::Array(items) if matches!(wanted.kind(), Kind::Array(_)) => {
                out.extend_from_slice(array(items).as_bytes());
            }
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A list as PostgreSQL writes arrays: `{"a",NULL,{"b"}}`.
fn array(items: &[Value]) -> String {
    let items: Vec<String> = items
        .iter()
        .map(|item| match item {
            Value::Null => "NULL".to_owned(),
            Value::Array(inner) => array(inner),
            Value::String(text) => element(text),
            other => element(&other.to_string()),
        })
        .collect();
    format!("{{{}}}", items.join(","))
}

fn element(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[allow(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
fn failed(error: tokio_postgres::Error) -> Error {
    let Some(said) = error.as_db_error() else {
        return Error::Failed(format!("PostgreSQL: {}", chain(&error)));
    };
    let mut reason = format!("PostgreSQL: {}", said.message());
    for more in [said.detail(), said.hint()].into_iter().flatten() {
        reason.push_str("; ");
        reason.push_str(more);
    }
    let state = said.code().code();
    let reason = format!("{reason} (SQLSTATE {state})");
    if is_lasting(state) { Error::Invalid(reason) } else { Error::Failed(reason) }
}

/// An error with everything that caused it; the outer texts alone say little.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        add(&mut text, inner);
        cause = inner.source();
    }
    text
}

fn add(text: &mut String, inner: &dyn Display) {
    let inner = inner.to_string();
    if !text.ends_with(&inner) {
        text.push_str(": ");
        text.push_str(&inner);
    }
}
