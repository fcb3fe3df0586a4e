//! One connection, and transactions on it: all statements are sent at once, and then answered.
//!
//! Nothing stays with a session: settings last for a transaction and statements have no name, so a
//! pool that gives each transaction another connection can stand between.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use engine::store::StoreError;
use futures_util::future::join_all;
use tokio::task::AbortHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, RowStream};

use super::fault::{self, Kind, explain};
use super::options::PostgresOptions;

/// A value to bind, with its type.
pub(super) type Bound<'a> = (Box<dyn ToSql + Sync + Send + 'a>, Type);

/// A statement with what it binds.
pub(super) struct Statement<'a> {
    pub(super) sql: String,
    pub(super) values: Vec<Bound<'a>>,
}

impl<'a> Statement<'a> {
    pub(super) fn new(sql: impl Into<String>, values: Vec<Bound<'a>>) -> Self {
        Self { sql: sql.into(), values }
    }
}

/// Binds a value.
pub(super) fn bind<'a>(value: impl ToSql + Sync + Send + 'a, of: Type) -> Bound<'a> {
    (Box::new(value), of)
}

/// Why a transaction did not come about. Nothing of it was written, unless the connection broke.
#[derive(Debug)]
pub(super) struct Failure {
    /// The statement that failed; one more than there are: the end.
    pub(super) at: usize,
    pub(super) error: tokio_postgres::Error,
}

impl Failure {
    pub(super) fn kind(&self) -> Kind {
        fault::kind(&self.error)
    }
}

/// How a transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// To write by keys: plans that read whole tables are out of the question.
    Write,
    /// To write what is found by conditions.
    Chore,
    /// To write what need not survive a crash of the database.
    Beat,
    /// To write many rows by keys, nobody waiting for it.
    Copy,
    /// To read at leisure, all statements from one state; it is stopped after a time.
    Search(Duration),
}

impl Begin {
    /// The statement that begins it, and the settings for it.
    fn sql(self) -> String {
        let begin = match self {
            Self::Search(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            _ => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        };
        let limit = match self {
            Self::Search(most) => most.as_millis(),
            Self::Chore => 30_000,
            Self::Copy => 600_000,
            Self::Write => 10_000,
            Self::Beat => 2_000,
        };
        let mut sql = format!(
            "{begin}; SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = 2000; \
             SET LOCAL idle_in_transaction_session_timeout = 5000"
        );
        match self {
            Self::Write | Self::Copy => sql.push_str(
                "; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
                 SET LOCAL enable_mergejoin = off; SET LOCAL jit = off",
            ),
            Self::Beat => sql.push_str("; SET LOCAL synchronous_commit = off"),
            _ => {}
        }
        sql
    }
}

/// A connection.
pub(super) struct Session {
    client: Client,
    task: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        // What it was at may hang: nobody waits for it any more.
        self.task.abort();
    }
}

impl Session {
    /// Connects.
    pub(super) async fn open(options: &PostgresOptions) -> Result<Self, StoreError> {
        let connect = options.config.connect(options.tls.clone());
        // Bounds what the client's own limit does not: the handshakes after the connection.
        let limit = options.config.get_connect_timeout().copied().unwrap_or_default() * 2;
        let (client, connection) = tokio::time::timeout(limit, connect)
            .await
            .map_err(|_| StoreError::Unavailable("PostgreSQL: no connection in time".to_owned()))?
            .map_err(|error| explain(&error))?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = fault::text(&error), "connection to the database ended");
            }
        });
        Ok(Self { client, task: task.abort_handle() })
    }

    /// Whether it cannot be used any more.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// One statement, in a transaction of its own.
    pub(super) async fn query(
        &self,
        statement: &Statement<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let values: Vec<(&(dyn ToSql + Sync), Type)> =
            statement.values.iter().map(|(value, of)| (&**value as _, of.clone())).collect();
        self.client.query_typed(&statement.sql, &values).await
    }

    /// One statement whose rows come as they are taken.
    pub(super) async fn stream(
        &self,
        statement: &Statement<'_>,
    ) -> Result<RowStream, tokio_postgres::Error> {
        let values: Vec<(&(dyn ToSql + Sync), Type)> =
            statement.values.iter().map(|(value, of)| (&**value as _, of.clone())).collect();
        self.client.query_typed_raw(&statement.sql, values).await
    }

    /// Several commands without values, in a transaction of their own.
    pub(super) async fn execute(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(sql).await
    }

    /// Does all statements in one transaction, in one round trip.
    pub(super) async fn transact(
        &self,
        begin: Begin,
        statements: &[Statement<'_>],
    ) -> Result<Vec<Vec<Row>>, Failure> {
        type Answer<'a> =
            Pin<Box<dyn Future<Output = Result<Vec<Row>, tokio_postgres::Error>> + Send + 'a>>;
        let begin = begin.sql();
        let mut sent: Vec<Answer<'_>> = Vec::with_capacity(statements.len() + 2);
        let plain = |sql| async move { self.execute(sql).await.map(|()| Vec::new()) };
        sent.push(Box::pin(plain(&begin)));
        for statement in statements {
            sent.push(Box::pin(self.query(statement)));
        }
        // After a failure the end of the transaction undoes it, whatever its name.
        sent.push(Box::pin(plain("COMMIT")));
        let mut answers = join_all(sent).await.into_iter();
        let failed = |at, error| Failure { at, error };
        answers.next().transpose().map_err(|error| failed(0, error))?;
        let mut all = Vec::with_capacity(statements.len());
        for (at, answer) in answers.enumerate() {
            all.push(answer.map_err(|error| failed(at, error))?);
        }
        all.pop();
        Ok(all)
    }
}
