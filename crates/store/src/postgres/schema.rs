//! The tables, and the numbered steps that lead to them.
//!
//! Rows say in which partition they lie, a node has its incarnation and its lease, and every batch
//! locks its row of `fence`: what a cluster needs is there from the first step on. Every text is
//! compared byte by byte, as all stores do.

use engine::store::StoreError;
use tokio_postgres::types::Type;

use super::fault::explain;
use super::key::PARTITIONS;
use super::options::PostgresOptions;
use super::session::{Session, Statement, bind};
use crate::row::State;

/// The version of the tables after all steps.
pub(super) const VERSION: i32 = STEPS.len() as i32;

/// What each version adds to the one before. `{s}` is the schema.
const STEPS: [&str; 1] = [FIRST];

/// Added to the version of the tables while they are the target of a copy that has not finished. To
/// every release they are tables of a later one.
const UNFINISHED: i32 = 1_000_000;

/// The lowest version of the server, as it numbers itself.
const SERVER_MIN: i32 = 130_000;

const FIRST: &str = r#"
CREATE TABLE {s}.node (
    incarnation bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    address text,
    release text NOT NULL,
    format_max integer NOT NULL,
    joined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    alive_until timestamptz NOT NULL,
    ready boolean NOT NULL DEFAULT false,
    leaving boolean NOT NULL DEFAULT false,
    unreachable bigint[] NOT NULL DEFAULT '{}',
    loads jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 30);
CREATE TABLE {s}.fence (node bigint, lane smallint, PRIMARY KEY (node, lane));
CREATE TABLE {s}.partition (
    id smallint PRIMARY KEY,
    owner bigint,
    epoch bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO {s}.partition (id) SELECT generate_series(0, {last});

CREATE TABLE {s}.execution (
    key bytea PRIMARY KEY,
    added bigint GENERATED ALWAYS AS IDENTITY,
    partition smallint NOT NULL,
    version bigint NOT NULL,
    machine smallint NOT NULL,
    name text COLLATE "C" NOT NULL,
    definition_version bigint NOT NULL,
    status text COLLATE "C" NOT NULL,
    closed boolean NOT NULL,
    priority smallint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    ended_at bigint,
    wake_at bigint,
    wake_by bigint,
    correlation_id text COLLATE "C",
    parent bytea,
    reason text COLLATE "C",
    failed_references text COLLATE "C" NOT NULL,
    event text COLLATE "C",
    input_size bigint NOT NULL,
    output_size bigint NOT NULL,
    size bigint NOT NULL,
    forgotten bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX execution_listed ON {s}.execution (created_at, name, status) WHERE machine = 0;
CREATE INDEX execution_machine ON {s}.execution (machine, created_at, name, status, key)
    WHERE machine <> 0;
CREATE INDEX execution_open ON {s}.execution (partition) WHERE NOT closed;
CREATE INDEX execution_wake ON {s}.execution (wake_by) WHERE wake_by IS NOT NULL;
CREATE INDEX execution_ended ON {s}.execution (ended_at, added) WHERE ended_at IS NOT NULL AND closed;
CREATE INDEX execution_correlation ON {s}.execution (correlation_id)
    WHERE correlation_id IS NOT NULL;
CREATE INDEX execution_parent ON {s}.execution (parent) WHERE parent IS NOT NULL;

CREATE TABLE {s}.history (
    key bytea NOT NULL,
    version bigint NOT NULL,
    events text NOT NULL,
    PRIMARY KEY (key, version)
);
CREATE TABLE {s}.brief (key bytea PRIMARY KEY, text text NOT NULL);
CREATE TABLE {s}.word (key bytea PRIMARY KEY, words tsvector NOT NULL);
CREATE INDEX word_words ON {s}.word USING gin (words)
    WITH (fastupdate = on, gin_pending_list_limit = 16384);
CREATE TABLE {s}.plan (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash text COLLATE "C" NOT NULL UNIQUE,
    text text NOT NULL
);
CREATE TABLE {s}.pin (plan bigint NOT NULL, key bytea NOT NULL, PRIMARY KEY (key, plan));
CREATE INDEX pin_plan ON {s}.pin (plan);
CREATE TABLE {s}.queue (
    key bytea NOT NULL,
    sequence bigint NOT NULL,
    partition smallint NOT NULL,
    queue text NOT NULL,
    name text NOT NULL,
    priority smallint NOT NULL,
    ready_at bigint NOT NULL,
    held boolean NOT NULL,
    concurrent_max bigint NOT NULL,
    rate_max bigint NOT NULL,
    rate_window_seconds bigint NOT NULL,
    PRIMARY KEY (key, sequence)
) WITH (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02);
CREATE TABLE {s}.message (
    id bigint GENERATED ALWAYS AS IDENTITY,
    sender bytea NOT NULL,
    sequence bigint NOT NULL,
    receiver bytea NOT NULL,
    to_partition smallint NOT NULL,
    from_partition smallint NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (sender, sequence)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX message_id ON {s}.message (id);
CREATE INDEX message_receiver ON {s}.message (receiver);

CREATE TABLE {s}.document (
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (kind, name, version)
);
CREATE TABLE {s}.record (
    id bigint GENERATED ALWAYS AS IDENTITY,
    ledger text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    status text COLLATE "C" NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (ledger, key)
);
CREATE INDEX record_subject ON {s}.record (ledger, subject, at, id);
CREATE INDEX record_at ON {s}.record (ledger, at, id);
CREATE TABLE {s}.log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key bytea NOT NULL,
    sequence bigint NOT NULL,
    at bigint NOT NULL,
    text text NOT NULL
);
CREATE INDEX log_task ON {s}.log (key, sequence, id);
CREATE TABLE {s}.sample (
    subject text COLLATE "C" NOT NULL,
    first_at bigint NOT NULL,
    last_at bigint NOT NULL,
    last bigint NOT NULL,
    checks bigint NOT NULL,
    block bytea NOT NULL,
    PRIMARY KEY (subject, first_at)
);
CREATE INDEX sample_age ON {s}.sample (first_at);
"#;

/// What a database says of itself that has a bearing on what is kept in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Of the cluster of databases: a copy that was restored has another.
    system: i64,
    /// Changes when a standby takes over.
    timeline: String,
}

/// Looks whether a server will do, and which it is.
///
/// # Errors
/// [`StoreError::Unfit`] if it will never do.
pub(super) async fn look(session: &Session) -> Result<Identity, StoreError> {
    let asked = Statement::new(
        "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), \
         current_setting('synchronous_commit'), pg_is_in_recovery(), \
         (SELECT system_identifier FROM pg_control_system()), \
         CASE WHEN pg_is_in_recovery() THEN '' \
         ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END",
        Vec::new(),
    );
    let rows = session.query(&asked).await.map_err(|error| explain(&error))?;
    let row = rows.first().ok_or_else(|| StoreError::Unavailable("no answer".to_owned()))?;
    let (version, encoding): (i32, String) = (row.get(0), row.get(1));
    if version < SERVER_MIN {
        return Err(StoreError::Unfit(format!(
            "the PostgreSQL server is of version {}, which is too old: {} or later is needed",
            version / 10_000,
            SERVER_MIN / 10_000
        )));
    }
    if encoding != "UTF8" {
        return Err(StoreError::Unfit(format!(
            "the database has the encoding {encoding}: make one with ENCODING 'UTF8'"
        )));
    }
    if row.get::<_, String>(2) == "off" {
        return Err(StoreError::Unfit(
            "synchronous_commit is off for this role or database, so that acknowledged work could \
             be lost: ALTER ROLE … SET synchronous_commit = on"
                .to_owned(),
        ));
    }
    if row.get(3) {
        return Err(StoreError::Unavailable("the PostgreSQL server is a standby".to_owned()));
    }
    Ok(Identity { system: row.get(4), timeline: row.get(5) })
}

/// The statement for this schema.
fn of_schema(options: &PostgresOptions, sql: &str) -> String {
    sql.replace("{s}", &options.quoted_schema()).replace("{last}", &(PARTITIONS - 1).to_string())
}

/// Looks what is in the place of a store, and changes nothing.
pub(super) async fn state(
    session: &Session,
    options: &PostgresOptions,
) -> Result<State, StoreError> {
    const COPIED: i32 = UNFINISHED + VERSION;
    Ok(match version_of(session, options).await? {
        None => State::None,
        Some(VERSION) => State::Whole,
        Some(COPIED) => State::Unfinished,
        Some(version) if version < VERSION => State::Older,
        Some(_) => State::Other,
    })
}

/// Says that a store is the target of a copy that has not finished.
pub(super) fn unfinished(options: &PostgresOptions) -> StoreError {
    StoreError::Unavailable(format!(
        "{options} is the target of a copy that did not finish: repeat it with `nightbell store copy \
         --again`, or drop the schema"
    ))
}

/// Marks the tables as the target of a copy.
pub(super) fn mark(schema: &str) -> Statement<'static> {
    let version = UNFINISHED + VERSION;
    Statement::new(format!("UPDATE {schema}.cluster SET tables = {version}"), Vec::new())
}

/// Takes the mark away.
pub(super) fn unmark(schema: &str) -> Statement<'static> {
    let sql = format!("UPDATE {schema}.cluster SET tables = {VERSION}, revision = revision + 1");
    Statement::new(sql, Vec::new())
}

/// Makes the tables, or brings them to the current version.
///
/// # Errors
/// [`StoreError::Unavailable`] if they are the target of a copy that has not finished, or the role
/// may not change them; [`StoreError::Unfit`] if they are of a later release, or the schema is another program's.
pub(super) async fn migrate(
    session: &Session,
    options: &PostgresOptions,
) -> Result<(), StoreError> {
    let mut version = version_of(session, options).await?;
    // The first step, and the row that the others lock, are made by one of several at a time.
    while version != Some(VERSION) {
        if version == Some(UNFINISHED + VERSION) {
            return Err(unfinished(options));
        }
        if let Some(later) = version.filter(|it| *it > VERSION) {
            return Err(StoreError::Unfit(format!(
                "{options} was written by a later release (tables of version {later}, this one \
                 knows {VERSION}): use that release, or another schema"
            )));
        }
        let before = version.unwrap_or(0);
        step(session, options, before).await?;
        version = version_of(session, options).await?;
        if version.is_none_or(|now| now <= before) {
            return Err(StoreError::Unavailable(format!("the tables of {options} do not change")));
        }
        if before == 0 {
            tracing::info!("created the tables of the store: {options}");
        } else {
            tracing::info!("brought the tables of {options} to version {version:?}");
        }
    }
    Ok(())
}

/// Whether there are tables that an earlier release made, so that a server of it may use them.
pub(super) async fn is_older(
    session: &Session,
    options: &PostgresOptions,
) -> Result<bool, StoreError> {
    Ok(version_of(session, options).await?.is_some_and(|version| version < VERSION))
}

/// The version of the tables; `None` if there are none.
async fn version_of(
    session: &Session,
    options: &PostgresOptions,
) -> Result<Option<i32>, StoreError> {
    let wrong = |error| explain(&error);
    let there = Statement::new(
        "SELECT to_regclass($1) IS NOT NULL",
        vec![bind(format!("{}.cluster", options.quoted_schema()), Type::TEXT)],
    );
    let rows = session.query(&there).await.map_err(wrong)?;
    if !rows.first().is_some_and(|row| row.get(0)) {
        return Ok(None);
    }
    let sql = of_schema(options, "SELECT tables FROM {s}.cluster");
    let rows = session.query(&Statement::new(sql, Vec::new())).await.map_err(wrong)?;
    match rows.first() {
        Some(row) => Ok(Some(row.get(0))),
        None => Err(StoreError::Corrupt(format!("{options} has no row in its table cluster"))),
    }
}

/// Does the step after version `before`, if nobody did it meanwhile.
async fn step(session: &Session, options: &PostgresOptions, before: i32) -> Result<(), StoreError> {
    let mut script = String::new();
    if before == 0 {
        let make = Statement::new(
            "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)",
            vec![bind(options.schema.clone(), Type::TEXT)],
        );
        let rows = session.query(&make).await.map_err(|error| explain(&error))?;
        if !rows.first().is_some_and(|row| row.get(0)) {
            script.push_str("CREATE SCHEMA IF NOT EXISTS {s}; ");
        }
        script.push_str(
            "CREATE TABLE {s}.cluster (one boolean PRIMARY KEY CHECK (one), tables integer NOT \
             NULL, format integer NOT NULL, revision bigint NOT NULL); \
             INSERT INTO {s}.cluster VALUES (true, 0, 1, 0); ",
        );
    }
    let number = usize::try_from(before).unwrap_or(0);
    let change = STEPS.get(number).copied().unwrap_or_default();
    // Whoever comes second finds the row changed, fails to divide, and looks again.
    let script = of_schema(
        options,
        &format!(
            "BEGIN; SET LOCAL lock_timeout = '30s'; {script} \
             SELECT 1 / count(*) FROM (SELECT 1 FROM {{s}}.cluster WHERE tables = {before} \
             FOR UPDATE) c; {change} \
             UPDATE {{s}}.cluster SET tables = {before} + 1; COMMIT"
        ),
    );
    match session.execute(&script).await {
        Ok(()) => Ok(()),
        Err(error) => {
            // A script that fails stays in its transaction.
            let _ = session.execute("ROLLBACK").await;
            let raced = matches!(
                error.code().map(tokio_postgres::error::SqlState::code),
                Some("22012" | "42P06" | "23505")
            );
            let made = error.code().map(tokio_postgres::error::SqlState::code) == Some("42P07");
            if raced || (made && version_of(session, options).await?.is_some()) {
                return Ok(());
            }
            if made {
                return Err(StoreError::Unfit(format!(
                    "{options} holds tables of another program: {}; name another schema with \
                     ?schema=",
                    super::fault::text(&error)
                )));
            }
            Err(explain(&error))
        }
    }
}
