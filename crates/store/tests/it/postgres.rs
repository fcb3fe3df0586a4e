//! What is peculiar to a store in PostgreSQL: one owner, broken connections, crashes, other layouts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::conformance::{differ, exercise, survive};
use engine::memory::Memory;
use engine::store::{Store, StoreError};
use futures_util::future::join_all;
use kernel::ExecutionId;
use store::{
    CopyOptions, Gone, Location, Member, MemberNode, Postgres, PostgresOptions, Succession, copy,
};
use tokio_postgres::{Client, NoTls};

use crate::database::{Database, shared};
use crate::given::commit;
use crate::pool::Pool;
use crate::relay::Relay;

const TABLES: &str = "execution, history, brief, word, plan, pin, queue, message, document, record, \
                      log, sample";

async fn open(options: &PostgresOptions) -> Arc<Postgres> {
    Postgres::open(options).await.expect("it opens")
}

async fn refused(options: &PostgresOptions) -> String {
    Postgres::open(options).await.map(|_| ()).expect_err("it is refused").to_string()
}

/// A connection beside the store's.
pub(crate) async fn client(database: &Database) -> Client {
    let (client, connection) =
        tokio_postgres::connect(&database.url(), NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    client
}

/// Removes all that is in the tables.
async fn empty(database: &Database, schema: &str) {
    let tables: Vec<_> = TABLES.split(", ").map(|table| format!("{schema}.{table}")).collect();
    let sql = format!("TRUNCATE {} RESTART IDENTITY", tables.join(", "));
    client(database).await.batch_execute(&sql).await.expect("they can be emptied");
}

#[tokio::test]
async fn postgres_conforms() {
    let Some(database) = shared().await else { return };
    let (schema, options) = database.fresh();
    // One schema for all: it takes longer to make the tables than to use them.
    let last = tokio::sync::Mutex::new(None::<Arc<Postgres>>);
    exercise(async || {
        let mut last = last.lock().await;
        if let Some(store) = last.take() {
            store.close().await.expect("it closes");
            empty(database, &schema).await;
        }
        last.insert(open(&options).await).clone() as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn postgres_survives_being_reopened() {
    let Some(database) = shared().await else { return };
    let (_, options) = database.fresh();
    let kills = AtomicBool::new(false);
    survive(open(&options).await, async |store| {
        // Closed the first time; the second time it just ends, as a process that is killed.
        if !kills.swap(true, Ordering::Relaxed) {
            store.close().await.expect("it closes");
        }
        drop(store);
        open(&options).await as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn postgres_answers_as_memory_does() {
    let Some(database) = shared().await else { return };
    let (schema, options) = database.fresh();
    for seed in 0..3 {
        let store = open(&options).await;
        differ(seed, 200, &*store, &Memory::new()).await;
        store.close().await.expect("it closes");
        empty(database, &schema).await;
    }
}

#[tokio::test]
async fn a_pool_may_give_each_transaction_another_connection() {
    let Some(database) = shared().await else { return };
    let Some(pool) = Pool::start(database).await else { return };
    let url = format!("{}&lease=1&schema=pooled", pool.url());
    let options = PostgresOptions::parse(&url).expect("the URL is right");
    let (store, memory) = (open(&options).await, Memory::new());
    differ(7, 150, &*store, &memory).await;
    assert!(refused(&options).await.contains("is in use by another server"));
    let store = reopened(store, &options).await;
    differ(8, 50, &*store, &memory).await;
    // A connection of the pool that breaks in the middle is found out about as any other.
    let client = client(database).await;
    let once = "IF (SELECT last_value FROM pooled.calls) = 1 \
                THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;";
    intercept(&client, "pooled", false, once).await;
    store.commit(commit("harmed", 0, "[]".to_owned())).await.expect("it is found out");
    store.close().await.expect("it closes");
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let (from, to) = (Location::Postgres(Box::new(options)), folder.path().join("a.db"));
    let copied = copy(&from, &Location::Sqlite(to), CopyOptions::default(), &|_| {}).await;
    copied.expect("it can be copied through the pool");
}

async fn reopened(store: Arc<Postgres>, options: &PostgresOptions) -> Arc<Postgres> {
    store.close().await.expect("it closes");
    open(options).await
}

#[tokio::test]
async fn a_second_server_is_refused_while_the_first_lives() {
    let Some(database) = shared().await else { return };
    let (schema, options) = database.fresh();
    let store = open(&options).await;
    assert!(Postgres::is_taken(&options).await);
    assert_eq!(store.ready(), Ok(()));
    let told = refused(&options).await;
    let expected =
        format!("schema {schema} of database postgres at 127.0.0.1 is in use by another");
    assert!(told.contains(&expected), "{told}");
    assert!(told.contains(&format!("process {}", std::process::id())), "{told}");
    store.close().await.expect("it closes");
    assert!(!Postgres::is_taken(&options).await, "it was given back at once");
    open(&options).await.close().await.expect("it closes");
}

#[tokio::test]
async fn servers_that_share_a_store_see_each_other_and_who_owns_it() {
    let Some(database) = shared().await else { return };
    let (_, options) = database.fresh();
    let options = options.reached_at("127.0.0.1:7070".to_owned());
    let mut member = Member::join(&options).await.expect("the first makes the tables");
    assert!(!Postgres::is_taken(&options).await, "who shares the store does not own it");
    let store = open(&options).await;
    let seen = member.beat().await.expect("the database answers");
    let owns: Vec<_> = seen.iter().map(|it| (it.owns, it.left > 0)).collect();
    assert_eq!(owns, [(false, true), (true, true)]);
    assert_eq!(seen[1].incarnation, store.incarnation());
    assert_eq!(seen[1].address.as_deref(), Some("127.0.0.1:7070"));
    let of_store = store.nodes().await.expect("the database answers");
    let again = member.look().await.expect("the database answers");
    let names = |nodes: &[MemberNode]| nodes.iter().map(|it| it.incarnation).collect::<Vec<_>>();
    assert_eq!(names(&of_store), names(&again));
    // The lease of one that lives is nobody's to take; that of one that has ended is not waited for.
    let early = Postgres::take_over(&options, Succession::AtOnce { gone: None }).await;
    assert!(matches!(early, Err(StoreError::Unavailable(why)) if why.contains("in use")));
    let of_store = store.nodes().await.expect("the database answers");
    let Some(owner) = of_store.iter().find(|it| it.owns) else { panic!("{of_store:?}") };
    let seen = Gone { incarnation: owner.incarnation, until: owner.until };
    let stale = Gone { until: owner.until.plus_millis(-1), ..seen };
    let early = Postgres::take_over(&options, Succession::AtOnce { gone: Some(stale) }).await;
    assert!(early.is_err(), "it has given a sign of life since then");
    // Until it gives the next one.
    let second = loop {
        let of_store = store.nodes().await.expect("the database answers");
        let Some(owner) = of_store.iter().find(|it| it.owns) else { panic!("{of_store:?}") };
        let gone = Some(Gone { incarnation: owner.incarnation, until: owner.until });
        match Postgres::take_over(&options, Succession::AtOnce { gone }).await {
            Err(StoreError::Unavailable(why)) if why.contains("in use") => {}
            taken => break taken,
        }
    };
    let second = second.expect("it takes over");
    let late = store.commit(commit("one", 0, "[]".to_owned())).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    second.commit(commit("one", 0, "[]".to_owned())).await.expect("it owns the store");
    second.close().await.expect("it closes");
    member.leave().await;
    let third = open(&options).await;
    let left = third.nodes().await.expect("the database answers");
    assert_eq!(left.len(), 1, "{left:?}");
    third.close().await.expect("it closes");
}

#[tokio::test]
async fn who_was_evicted_writes_nothing_more() {
    let Some(database) = shared().await else { return };
    let (schema, options) = database.fresh();
    let store = open(&options).await;
    store.commit(commit("one", 0, "[]".to_owned())).await.expect("it owns the store");
    // What another server does when the lease is over.
    let evict = format!("BEGIN; DELETE FROM {schema}.node; DELETE FROM {schema}.fence; COMMIT");
    client(database).await.batch_execute(&evict).await.expect("it can be evicted");
    let late = store.commit(commit("one", 1, "[]".to_owned())).await;
    assert!(
        matches!(&late, Err(StoreError::Unavailable(why)) if why.contains("taken the store over"))
    );
    let late = store.put_documents(Vec::new()).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    assert!(store.lost().await.contains("taken the store over"));
    assert!(store.ready().is_err());
    let second = open(&options).await;
    let stored = second.load(&ExecutionId::new("one")).await.expect("it loads");
    assert_eq!(stored.map(|it| it.version), Some(1), "nothing came after the eviction");
    // Closing the first takes nothing from the second.
    store.close().await.expect("it closes");
    second.commit(commit("one", 1, "[]".to_owned())).await.expect("it owns the store");
}

#[tokio::test]
async fn a_stalled_transaction_of_the_dead_is_ended() {
    let Some(database) = shared().await else { return };
    let (schema, options) = database.fresh();
    let store = open(&options).await;
    let stalled = client(database).await;
    let lock = format!("BEGIN; SELECT 1 FROM {schema}.fence FOR NO KEY UPDATE");
    stalled.batch_execute(&lock).await.expect("it locks");
    drop(store);
    open(&options).await.close().await.expect("it took the store over");
    assert!(stalled.batch_execute("SELECT 1").await.is_err(), "it was ended");
}

/// Has a function called for each transaction that writes history, at its end if `deferred`; it counts
/// its calls in the sequence `calls`.
async fn intercept(client: &Client, schema: &str, deferred: bool, body: &str) {
    let when = if deferred {
        "CREATE CONSTRAINT TRIGGER harm AFTER INSERT ON {s}.history DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW"
    } else {
        "CREATE TRIGGER harm BEFORE INSERT ON {s}.history FOR EACH STATEMENT"
    };
    let sql = format!(
        "CREATE SEQUENCE {{s}}.calls; CREATE FUNCTION {{s}}.harm() RETURNS trigger LANGUAGE plpgsql \
         AS $$ BEGIN PERFORM nextval('{{s}}.calls'); {body} RETURN NULL; END $$; \
         {when} EXECUTE FUNCTION {{s}}.harm()"
    );
    client.batch_execute(&sql.replace("{s}", schema)).await.expect("SQL");
}

#[tokio::test]
async fn nothing_is_answered_while_a_stalled_commit_may_still_land() {
    let Some(database) = shared().await else { return };
    let (schema, options) = database.fresh();
    let store = open(&options).await;
    let client = client(database).await;
    // Neither the time of a statement nor that of a lock bounds what happens at the end.
    intercept(&client, &schema, true, "PERFORM pg_sleep(90);").await;
    let outcome = store.commit(commit("one", 0, "[]".to_owned())).await;
    let alive = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let alive = client.query_one(alive, &[]).await.expect("SQL").get::<_, i64>(0);
    assert_eq!(alive, 0, "it was answered {outcome:?} before the transaction had ended");
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    let stored = store.load(&ExecutionId::new("one")).await.expect("it loads");
    assert!(stored.is_none(), "what was answered is so");
    store.ready().expect("the store is still its own");
    client.batch_execute(&format!("DROP TRIGGER harm ON {schema}.history")).await.expect("SQL");
    store.commit(commit("one", 0, "[]".to_owned())).await.expect("it goes on");
    store.close().await.expect("it closes");
}

#[tokio::test]
async fn a_doubt_that_an_unreachable_database_leaves_is_cleared_up_before_anything_is_read() {
    let Some(database) = shared().await else { return };
    let (schema, direct) = database.fresh();
    Postgres::init(&direct).await.expect("it has tables");
    let relay = Relay::start(database.port()).await;
    let url = direct_url(relay.port(), &schema);
    let store = open(&PostgresOptions::parse(&url).expect("the URL is right")).await;
    let client = client(database).await;
    intercept(&client, &schema, true, "PERFORM pg_sleep(2);").await;
    let cut = async {
        let ends = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
                    AND query NOT LIKE '%pg_sleep%'";
        while client.query(ends, &[]).await.expect("SQL").is_empty() {}
        relay.cut();
    };
    let one = ExecutionId::new("one");
    let (outcome, ()) = tokio::join!(store.commit(commit("one", 0, "[]".to_owned())), cut);
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    let read = store.load(&one).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "nothing is read: {read:?}");
    client.batch_execute(&format!("DROP TRIGGER harm ON {schema}.history")).await.expect("SQL");
    relay.mend();
    let stored = loop {
        match store.load(&one).await {
            Ok(stored) => break stored,
            Err(StoreError::Unavailable(_)) => relay.is_asked(1).await,
            Err(error) => panic!("{error}"),
        }
    };
    let version = stored.expect("it was committed though nobody was told").version;
    assert_eq!(version, 1);
    store.commit(commit("one", version, "[]".to_owned())).await.expect("it goes on");
    store.close().await.expect("it closes");
}

/// The URL of a schema through another port.
fn direct_url(port: u16, schema: &str) -> String {
    format!("postgres://tester@127.0.0.1:{port}/postgres?sslmode=disable&lease=30&schema={schema}")
}

#[tokio::test]
async fn what_a_role_or_a_server_does_not_allow_is_told_with_advice() {
    let Some(database) = shared().await else { return };
    let (schema, options) = database.fresh();
    open(&options).await.close().await.expect("it closes");
    let client = client(database).await;
    let roles = format!(
        "CREATE ROLE stranger_{schema} LOGIN; CREATE ROLE guest_{schema} LOGIN; \
         GRANT USAGE ON SCHEMA {schema} TO guest_{schema}; CREATE ROLE lame_{schema} LOGIN; \
         ALTER ROLE lame_{schema} SET default_transaction_read_only = on"
    );
    client.batch_execute(&roles).await.expect("SQL");
    let as_role = |role: &str, at: &str| {
        let url = direct_url(database.port(), at).replace("tester", &format!("{role}_{schema}"));
        PostgresOptions::parse(&url).expect("the URL is right")
    };
    let told = refused(&as_role("stranger", "not_there")).await;
    assert!(told.contains("permission denied for database"), "{told}");
    assert!(told.contains("nightbell store init"), "{told}");
    let told = refused(&as_role("guest", &schema)).await;
    assert!(told.contains("permission denied for table"), "{told}");
    assert!(told.contains("must own the schema's tables"), "{told}");
    let told = refused(&as_role("lame", &schema)).await;
    assert!(told.contains("does not allow writes"), "{told}");
    assert!(told.contains("a standby, or read-only"), "{told}");
    let absent = options_of(&database.url().replace("/postgres", "/absent"));
    let told = refused(&absent).await;
    assert!(told.contains("database \"absent\" does not exist"), "{told}");
    assert!(told.contains("CREATE DATABASE"), "{told}");
}

fn options_of(url: &str) -> PostgresOptions {
    PostgresOptions::parse(url).expect("the URL is right")
}

#[tokio::test]
async fn a_full_disk_is_not_taken_for_a_misfit() {
    let Some(database) = shared().await else { return };
    let (schema, options) = database.fresh();
    let store = open(&options).await;
    let client = client(database).await;
    let full = "RAISE EXCEPTION 'no space left' USING ERRCODE = '53100';";
    intercept(&client, &schema, false, full).await;
    let commits = (0..16).map(|n| store.commit(commit(&format!("n {n}"), 0, "[]".to_owned())));
    for outcome in join_all(commits).await {
        let told = outcome.expect_err("it fails").to_string();
        assert!(told.contains("make room on the database's disk"), "{told}");
    }
    let calls = format!("SELECT last_value FROM {schema}.calls");
    let calls = client.query_one(&calls, &[]).await.expect("SQL").get::<_, i64>(0);
    assert!(calls <= 16, "each batch is tried once: {calls}");
    store.close().await.expect("it closes");
}

#[tokio::test]
async fn tables_that_a_server_uses_are_not_changed() {
    let Some(database) = shared().await else { return };
    let (schema, options) = database.fresh();
    let store = open(&options).await;
    let client = client(database).await;
    let older = format!("UPDATE {schema}.cluster SET tables = 0");
    client.batch_execute(&older).await.expect("SQL");
    let told = Postgres::init(&options).await.expect_err("it is in use").to_string();
    assert!(told.contains("in use by another server"), "{told}");
    let told = refused(&options).await;
    assert!(told.contains("in use by another server"), "{told}");
    store.ready().expect("the store is still its own");
    store.close().await.expect("it closes");
}

#[tokio::test]
async fn databases_that_will_not_do_are_refused() {
    let Some(database) = shared().await else { return };
    let (schema, options) = database.fresh();
    open(&options).await.close().await.expect("it closes");
    let client = client(database).await;
    client.batch_execute(&format!("UPDATE {schema}.cluster SET tables = 1000")).await.expect("SQL");
    let told = refused(&options).await;
    assert!(told.contains("later release (tables of version 1000"), "{told}");
    assert!(!told.contains("damaged"), "nothing is: {told}");

    let (schema, options) = database.fresh();
    let foreign = format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.execution (day date)");
    client.batch_execute(&foreign).await.expect("SQL");
    let told = refused(&options).await;
    assert!(told.contains("tables of another program"), "{told}");
    let left = format!("SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'");
    let left = client.query_one(&left, &[]).await.expect("SQL").get::<_, i64>(0);
    assert_eq!(left, 1, "nothing half made is left");

    let lax = format!("{}?options=-c%20synchronous_commit%3Doff", database.url());
    let told = refused(&PostgresOptions::parse(&lax).expect("the URL is right")).await;
    assert!(told.contains("synchronous_commit is off"), "{told}");

    let away = PostgresOptions::parse("postgres://nobody@127.0.0.1:1/none").expect("a URL");
    let told = refused(&away).await;
    assert!(told.contains("unavailable: PostgreSQL"), "{told}");
}

#[tokio::test]
async fn several_that_make_the_tables_at_once_make_them_once() {
    let Some(database) = shared().await else { return };
    let (_, options) = database.fresh();
    for outcome in join_all((0..4).map(|_| Postgres::init(&options))).await {
        assert_eq!(outcome, Ok(()));
    }
    open(&options).await.close().await.expect("it closes");
}

/// Commits to executions until told to stop; gives how many commits of each were acknowledged, and
/// how many were refused because the store was away.
async fn work(store: &Postgres, lane: u32, stop: &AtomicBool) -> (u64, u32) {
    let id = format!("lane {lane}");
    let (mut version, mut refused) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        match store.commit(commit(&id, version, format!("[\"{id}\",{version}]"))).await {
            Ok(()) => version += 1,
            Err(StoreError::Unavailable(_)) => {
                refused += 1;
                // It may be there or not: that is to be looked up.
                if let Ok(stored) = store.load(&ExecutionId::new(&*id)).await {
                    version = stored.map_or(0, |it| it.version);
                }
            }
            Err(error) => panic!("{id} at {version}: {error}"),
        }
    }
    (version, refused)
}

/// Checks that the store holds what was acknowledged, each commit once, in order.
async fn holds(store: &Postgres, lanes: &[(u64, u32)]) {
    for (lane, (version, _)) in lanes.iter().enumerate() {
        let id = format!("lane {lane}");
        let stored =
            store.load(&ExecutionId::new(&*id)).await.expect("it loads").expect("it is there");
        assert_eq!(stored.version, *version, "{id}");
        let expected: Vec<_> = (0..*version).map(|n| format!("[\"{id}\",{n}]")).collect();
        assert_eq!(stored.history, expected, "{id}");
    }
}

/// Waits until so many commits more are there.
async fn progress(store: &Postgres, commits: u64) {
    let done = async || store.write_times().expect("it measures").transactions.observed().count();
    let from = done().await;
    while done().await < from + commits {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn terminated_connections_lose_nothing_and_nobody_notices() {
    let Some(database) = shared().await else { return };
    let (schema, options) = database.fresh();
    let store = open(&options).await;
    let stop = AtomicBool::new(false);
    let harm = async {
        let client = client(database).await;
        for _ in 0..5 {
            progress(&store, 20).await;
            // Those that have a lock on a table of this test.
            let end = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = \
                 '{schema}.fence'::regclass AND pid <> pg_backend_pid()"
            );
            while client.query(&end, &[]).await.expect("SQL").is_empty() {}
        }
        progress(&store, 20).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (lanes, ()) = tokio::join!(join_all((0..6).map(|lane| work(&store, lane, &stop))), harm);
    assert!(
        lanes.iter().all(|(_, refused)| *refused == 0),
        "every outcome is found out: {lanes:?}"
    );
    holds(&store, &lanes).await;
    store.close().await.expect("it closes");
}

#[tokio::test]
async fn a_killed_database_loses_nothing_acknowledged() {
    let Some(database) = Database::start().await else { return };
    let (_, options) = database.fresh();
    let store = open(&options).await;
    let stop = AtomicBool::new(false);
    let harm = async {
        for _ in 0..3 {
            progress(&store, 30).await;
            database.crash().await;
        }
        progress(&store, 30).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (lanes, ()) = tokio::join!(join_all((0..6).map(|lane| work(&store, lane, &stop))), harm);
    holds(&store, &lanes).await;
    store.close().await.expect("it closes");
}
