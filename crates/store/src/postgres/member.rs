//! A server that shares the store without owning it: a row of `node` with a lease, and none in `fence`.
//!
//! Its row says where it is and that it lives; what it reads in turn says who owns the store. Neither
//! row decides anything: ownership is what `fence` says (`node`).

use std::time::Duration;

use engine::store::StoreError;
use kernel::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::fault::explain;
use super::node;
use super::options::PostgresOptions;
use super::schema;
use super::session::{Begin, Session, Statement, bind};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// One of the servers that share a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberNode {
    /// Which it is: a server that starts anew is another one.
    pub incarnation: i64,
    /// Its machine and process, for people.
    pub name: String,
    /// Where the others reach it, if they can.
    pub address: Option<String>,
    /// Its release.
    pub release: String,
    /// Whether it owns the store.
    pub owns: bool,
    /// When it joined.
    pub joined_at: Timestamp,
    /// Milliseconds until its lease is over; negative afterwards.
    pub left: i64,
    /// When its lease is over, by the database's clock: another instant after each sign of life.
    pub until: Timestamp,
}

/// This server as one of those that share a store.
pub struct Member {
    options: PostgresOptions,
    session: Option<Session>,
    incarnation: Option<i64>,
}

impl Member {
    /// Makes the tables if there are none, and joins the servers of the store. Tables of an earlier
    /// release stay as they are until this server owns the store.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database cannot be reached; [`StoreError::Unfit`] if it
    /// will not do, or is one of a later release.
    pub async fn join(options: &PostgresOptions) -> Result<Self, StoreError> {
        let session = Session::open(options).await?;
        schema::look(&session).await?;
        if !schema::is_older(&session, options).await? {
            schema::migrate(&session, options).await?;
        }
        let options = options.clone();
        let mut member = Self { options, session: Some(session), incarnation: None };
        member.beat().await?;
        Ok(member)
    }

    /// Which this server is, while it is one.
    pub fn incarnation(&self) -> Option<i64> {
        self.incarnation
    }

    /// Gives a sign of life; answers all servers of the store.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database does not answer within seconds.
    pub async fn beat(&mut self) -> Result<Vec<MemberNode>, StoreError> {
        let schema = self.options.quoted_schema();
        let mut statements = Vec::new();
        if let Some(incarnation) = self.incarnation {
            statements.push(Statement::new(
                format!(
                    "UPDATE {schema}.node \
                     SET alive_until = clock_timestamp() + $2 * interval '1 millisecond' \
                     WHERE incarnation = $1 RETURNING incarnation"
                ),
                vec![
                    bind(incarnation, Type::INT8),
                    bind(self.options.lease.as_millis() as f64, Type::FLOAT8),
                ],
            ));
        } else {
            statements.push(Statement::new(
                format!(
                    "INSERT INTO {schema}.node (name, address, release, format_max, alive_until) \
                     VALUES ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 millisecond') \
                     RETURNING incarnation"
                ),
                node::entry(&self.options),
            ));
        }
        // Those that ended without leaving; the owner of the store is removed by its successor.
        statements.push(Statement::new(
            format!(
                "DELETE FROM {schema}.node n \
                 WHERE alive_until < clock_timestamp() - interval '10 seconds' \
                 AND NOT EXISTS (SELECT 1 FROM {schema}.fence f WHERE f.node = n.incarnation)"
            ),
            Vec::new(),
        ));
        statements.push(all(&schema));
        let answers = self.ask(&statements).await?;
        self.incarnation = answers[0].first().map(|row| row.get(0));
        Ok(answers.last().map_or(&[][..], Vec::as_slice).iter().map(of_row).collect())
    }

    /// All servers of the store, without a sign of life of this one.
    ///
    /// # Errors
    /// As [`Member::beat`].
    pub async fn look(&mut self) -> Result<Vec<MemberNode>, StoreError> {
        let answers = self.ask(&[all(&self.options.quoted_schema())]).await?;
        Ok(answers.last().map_or(&[][..], Vec::as_slice).iter().map(of_row).collect())
    }

    /// Leaves the servers of the store. If that fails its row goes ten seconds after its lease.
    pub async fn leave(mut self) {
        let Some(incarnation) = self.incarnation.take() else { return };
        let schema = self.options.quoted_schema();
        let sql = format!("DELETE FROM {schema}.node WHERE incarnation = $1");
        let left = self.ask(&[Statement::new(sql, vec![bind(incarnation, Type::INT8)])]).await;
        if let Err(error) = left {
            tracing::debug!(%error, "departure of this server could not be recorded in the store");
        }
    }

    async fn ask(&mut self, statements: &[Statement<'_>]) -> Result<Vec<Vec<Row>>, StoreError> {
        let session = match self.session.take().filter(|held| !held.is_closed()) {
            Some(session) => session,
            None => Session::open(&self.options).await?,
        };
        let asked = session.transact(Begin::Beat, statements);
        match tokio::time::timeout(ANSWER_MAX, asked).await {
            Ok(Ok(answers)) => {
                self.session = Some(session);
                Ok(answers)
            }
            Ok(Err(failure)) => Err(explain(&failure.error)),
            Err(_) => Err(StoreError::Unavailable("PostgreSQL: no answer in time".to_owned())),
        }
    }
}

/// Asks for all servers of a store.
pub(super) fn all(schema: &str) -> Statement<'static> {
    let sql = format!(
        "SELECT incarnation, name, address, release, \
         EXISTS (SELECT 1 FROM {schema}.fence f WHERE f.node = n.incarnation), \
         (extract(epoch FROM joined_at) * 1000)::bigint, \
         (extract(epoch FROM alive_until - clock_timestamp()) * 1000)::bigint, \
         (extract(epoch FROM alive_until) * 1000)::bigint \
         FROM {schema}.node n ORDER BY incarnation"
    );
    Statement::new(sql, Vec::new())
}

/// A server that shares the store and lives, if there is one.
pub(super) async fn living(
    session: &Session,
    schema: &str,
) -> Result<Option<MemberNode>, StoreError> {
    let rows = session.query(&all(schema)).await.map_err(|error| explain(&error))?;
    Ok(rows.iter().map(of_row).find(|member| member.left > 0))
}

pub(super) fn of_row(row: &Row) -> MemberNode {
    MemberNode {
        incarnation: row.get(0),
        name: row.get(1),
        address: row.get(2),
        release: row.get(3),
        owns: row.get(4),
        joined_at: Timestamp::from_millis(row.get(5)),
        left: row.get(6),
        until: Timestamp::from_millis(row.get(7)),
    }
}
