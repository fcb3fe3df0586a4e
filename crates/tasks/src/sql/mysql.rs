//! `MySQL` and `MariaDB`: a pool of connections; sessions are told the limits and speak UTC.

use std::net::IpAddr;

use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::prelude::Queryable;
use mysql_async::{
    Column, Conn, Opts, OptsBuilder, Params, Pool, PoolConstraints, PoolOpts, Transaction, TxOpts,
    Value as Sql,
};
use serde_json::Value;

use super::rows::Rows;
use super::{
    CONNECT_MAX, Error, Limits, POOL_MAX, Row, is_lasting, mismatch, names_a_socket, value,
};

#[derive(Clone)]
pub(super) struct MySql {
    pool: Pool,
}

/// The number of the character set of bytes that are no text.
const BINARY: u16 = 63;

impl MySql {
    pub(super) fn open(url: &str, addresses: &[IpAddr]) -> Result<Self, Error> {
        let mut options = options(url)?;
        if !addresses.is_empty() {
            options = OptsBuilder::from_opts(options).resolved_ips(Some(addresses)).into();
        }
        Ok(Self { pool: Pool::new(options) })
    }

    pub(super) async fn query(
        &self,
        statement: &str,
        parameters: &[Value],
        limits: &Limits,
    ) -> Result<Vec<Row>, Error> {
        let mut connection = self.connection(limits, true).await?;
        let mut options = TxOpts::new();
        options.with_readonly(true);
        let mut transaction = connection.start_transaction(options).await.map_err(failed)?;
        let rows = select(&mut transaction, statement, parameters, limits).await;
        transaction.rollback().await.map_err(failed)?;
        rows
    }

    pub(super) async fn update(
        &self,
        statement: &str,
        parameters: &[Value],
        expected: Option<u64>,
        limits: &Limits,
    ) -> Result<u64, Error> {
        let mut connection = self.connection(limits, false).await?;
        let mut transaction =
            connection.start_transaction(TxOpts::default()).await.map_err(failed)?;
        let parameters = bound(&mut transaction, statement, parameters).await?;
        let done = transaction.exec_drop(statement, parameters).await;
        let changed = transaction.affected_rows();
        let outcome = done
            .map_err(failed)
            .and_then(|()| mismatch(expected, changed).map_or(Ok(changed), Err));
        if outcome.is_ok() {
            transaction.commit().await.map_err(failed)?;
        } else {
            transaction.rollback().await.map_err(failed)?;
        }
        outcome
    }

    async fn connection(&self, limits: &Limits, reads: bool) -> Result<Conn, Error> {
        let connection = tokio::time::timeout(CONNECT_MAX, self.pool.get_conn()).await;
        let Ok(connection) = connection else {
            let seconds = CONNECT_MAX.as_secs();
            return Err(Error::Failed(format!("MySQL: no connection within {seconds} s")));
        };
        let mut connection = connection.map_err(failed)?;
        let version: Option<String> =
            connection.query_first("SELECT VERSION()").await.map_err(failed)?;
        // MySQL limits only what reads; MariaDB everything.
        let limit = if version.is_some_and(|version| version.contains("MariaDB")) {
            format!("max_statement_time = {:.3}", limits.time.as_secs_f64().max(0.001))
        } else {
            format!("max_execution_time = {}", limits.time.as_millis().max(1))
        };
        let rows = if reads { limits.rows_max as u64 + 1 } else { u64::MAX };
        let session = format!(
            "SET SESSION {limit}, SESSION sql_select_limit = {rows}, SESSION time_zone = '+00:00'"
        );
        connection.query_drop(session).await.map_err(failed)?;
        // For the session: in MariaDB a DROP would end a transaction that can only read, and then
        // do its work outside of it.
        let access = if reads { "READ ONLY" } else { "READ WRITE" };
        let access = format!("SET SESSION TRANSACTION {access}");
        connection.query_drop(access).await.map_err(failed)?;
        Ok(connection)
    }
}

/// The host and port of a URL.
pub(super) fn host(url: &str) -> Result<(String, u16), Error> {
    let options = options(url)?;
    if options.socket().is_some() {
        return Err(names_a_socket());
    }
    Ok((options.ip_or_hostname().to_owned(), options.tcp_port()))
}

/// What a URL says, with what we add.
pub(super) fn options(url: &str) -> Result<Opts, Error> {
    let url = match url.strip_prefix("mariadb:") {
        Some(rest) => format!("mysql:{rest}"),
        None => url.to_owned(),
    };
    let options = Opts::from_url(&url)
        .map_err(|error| Error::Invalid(format!("the URL of MySQL cannot be read: {error}")))?;
    let constraints = PoolConstraints::new(0, POOL_MAX).expect("0 is at most the maximum");
    let pool = PoolOpts::default().with_constraints(constraints);
    // As JDBC counts: rows that matched, also those that were so already.
    let options = OptsBuilder::from_opts(options)
        .pool_opts(pool)
        .client_found_rows(true)
        .prefer_socket(false);
    Ok(options.into())
}

async fn select(
    transaction: &mut Transaction<'_>,
    statement: &str,
    parameters: &[Value],
    limits: &Limits,
) -> Result<Vec<Row>, Error> {
    let parameters = bound(transaction, statement, parameters).await?;
    let mut found = transaction.exec_iter(statement, parameters).await.map_err(failed)?;
    let columns: Vec<Column> = found.columns_ref().to_vec();
    let mut rows = Rows::new(columns.iter().map(|column| column.name_str().into_owned()), limits);
    while let Some(row) = found.next().await.map_err(failed)? {
        rows.push(columns.iter().zip(row.unwrap()).map(|(column, value)| json(column, value)))?;
    }
    Ok(rows.done())
}

/// The parameters, as many as the statement has placeholders.
async fn bound(
    transaction: &mut Transaction<'_>,
    statement: &str,
    parameters: &[Value],
) -> Result<Params, Error> {
    let prepared = transaction.prep(statement).await.map_err(failed)?;
    let (wanted, given) = (usize::from(prepared.num_params()), parameters.len());
    if wanted != given {
        return Err(Error::Invalid(format!(
            "the statement has {wanted} placeholders, but there are {given} parameters"
        )));
    }
    if parameters.is_empty() {
        return Ok(Params::Empty);
    }
    Ok(Params::Positional(parameters.iter().map(parameter).collect()))
}

fn parameter(value: &Value) -> Sql {
    match value {
        Value::Null => Sql::NULL,
        Value::Bool(flag) => Sql::Int((*flag).into()),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => Sql::Int(whole),
            (None, Some(whole), _) => Sql::UInt(whole),
            (None, None, Some(real)) => Sql::Double(real),
            (None, None, None) => Sql::Bytes(number.to_string().into_bytes()),
        },
        Value::String(text) => Sql::Bytes(text.clone().into_bytes()),
        structure => Sql::Bytes(structure.to_string().into_bytes()),
    }
}

fn json(column: &Column, found: Sql) -> Result<Value, Error> {
    use ColumnType as Type;
    let kind = column.column_type();
    Ok(match found {
        Sql::NULL => Value::Null,
        // A TINYINT(1) is how a boolean is declared.
        Sql::Int(number) if kind == Type::MYSQL_TYPE_TINY && column.column_length() == 1 => {
            (number != 0).into()
        }
        Sql::Int(number) => value::whole(number.into()),
        Sql::UInt(number) => value::whole(number.into()),
        Sql::Float(number) => {
            value::double(number.to_string().parse().unwrap_or_else(|_| number.into()))
        }
        Sql::Double(number) => value::double(number),
        Sql::Date(0, 0, 0, ..) => Value::Null,
        Sql::Date(year, month, day, ..) if kind == Type::MYSQL_TYPE_DATE => {
            format!("{year:04}-{month:02}-{day:02}").into()
        }
        Sql::Date(year, month, day, hour, minute, second, micros) => {
            let date = format!("{year:04}-{month:02}-{day:02}");
            let zone = if kind == Type::MYSQL_TYPE_TIMESTAMP { "Z" } else { "" };
            format!("{date}T{hour:02}:{minute:02}:{second:02}{}{zone}", fraction(micros)).into()
        }
        Sql::Time(negative, days, hours, minutes, seconds, micros) => {
            let (sign, hours) = (if negative { "-" } else { "" }, days * 24 + u32::from(hours));
            format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{}", fraction(micros)).into()
        }
        Sql::Bytes(bytes) => return text(column, &bytes),
    })
}

fn text(column: &Column, bytes: &[u8]) -> Result<Value, Error> {
    use ColumnType as Type;
    match column.column_type() {
        Type::MYSQL_TYPE_DECIMAL | Type::MYSQL_TYPE_NEWDECIMAL => {
            Ok(value::decimal(&String::from_utf8_lossy(bytes)))
        }
        Type::MYSQL_TYPE_JSON => serde_json::from_slice(bytes)
            .map_err(|error| Error::Failed(format!("what came is no JSON: {error}"))),
        Type::MYSQL_TYPE_BIT if bytes.len() <= 8 => {
            let number = bytes.iter().fold(0_i128, |number, byte| number << 8 | i128::from(*byte));
            let is_flag = column.column_length() == 1;
            Ok(if is_flag { (number != 0).into() } else { value::whole(number) })
        }
        _ if column.character_set() == BINARY
            && column.flags().contains(ColumnFlags::BINARY_FLAG) =>
        {
            Ok(value::bytes(bytes))
        }
        _ => Ok(String::from_utf8_lossy(bytes).into()),
    }
}

/// `.5` for half a second; nothing for none.
fn fraction(micros: u32) -> String {
    if micros == 0 {
        return String::new();
    }
    format!(".{micros:06}").trim_end_matches('0').to_owned()
}

#[allow(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
fn failed(error: mysql_async::Error) -> Error {
    let reason = match &error {
        mysql_async::Error::Server(said) => {
            format!("MySQL: {} (error {}, SQLSTATE {})", said.message, said.code, said.state)
        }
        other => format!("MySQL: {other}"),
    };
    match &error {
        mysql_async::Error::Server(said) if is_lasting(&said.state) => Error::Invalid(reason),
        mysql_async::Error::Driver(_) => Error::Invalid(reason),
        _ => Error::Failed(reason),
    }
}
