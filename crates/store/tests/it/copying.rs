//! A store copied whole into another: everything is there and goes on, and what is broken off,
//! refused or damaged says so.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use engine::conformance::differ;
use engine::memory::Memory;
use engine::store::{Document, Store};
use futures_util::future::{Either, select};
use store::{
    Copied, CopyError, CopyOptions, CopyProgress, Location, Options, Postgres, PostgresOptions,
    Sqlite, copy,
};
use tempfile::{TempDir, tempdir};
use tokio::sync::Notify;

use crate::database::{Database, shared};
use crate::given::{assert_counted, commit, last_commit};
use crate::golden;
use crate::postgres::client;

fn folder() -> TempDir {
    tempdir().expect("there is room for a folder")
}

fn file(path: &Path) -> Location {
    Location::Sqlite(path.to_owned())
}

fn schema(options: &PostgresOptions) -> Location {
    Location::Postgres(Box::new(options.clone()))
}

/// Opens what is in a place, as a server does.
async fn open(place: &Location) -> Result<Arc<dyn Store>, String> {
    Ok(match place {
        Location::Sqlite(path) => {
            Sqlite::open(path, &Options::default()).map_err(|error| error.to_string())?
        }
        Location::Postgres(options) => {
            Postgres::open(options).await.map_err(|error| error.to_string())?
        }
    })
}

async fn opened(place: &Location) -> Arc<dyn Store> {
    open(place).await.expect("it opens")
}

async fn copied(from: &Location, to: &Location) -> Vec<Copied> {
    copy(from, to, CopyOptions::default(), &|_| {}).await.expect("it is copied")
}

async fn refused(from: &Location, to: &Location) -> String {
    let outcome = copy(from, to, CopyOptions::default(), &|_| {}).await;
    outcome.expect_err("it is refused").to_string()
}

fn rows(of: &[Copied], table: &str) -> u64 {
    of.iter().find(|it| it.table == table).expect("there is such a table").rows
}

/// A file that holds a few things.
async fn filled(folder: &TempDir, name: &str) -> PathBuf {
    let path = folder.path().join(name);
    let store = Sqlite::open(&path, &Options::default()).expect("it opens");
    for (version, id) in [(0, "one"), (1, "one"), (0, "two")] {
        let events = format!("[{version}]");
        store.commit(commit(id, version, events)).await.expect("it is written");
    }
    store.commit(last_commit("two", 1, "[]".to_owned())).await.expect("it is written");
    store.close().await.expect("it closes");
    path
}

#[tokio::test]
async fn golden_stores_hold_the_same_there_and_back() {
    let Some(database) = shared().await else { return };
    for golden in golden::all() {
        let folder = folder();
        let path = golden.unpack(&folder);
        // Tables of an earlier release are brought to this one's first.
        opened(&file(&path)).await.close().await.expect("it closes");
        let (there, again) = (database.fresh().1, database.fresh().1);
        let (there, again, back) = (schema(&there), schema(&again), folder.path().join("back.db"));
        let (first, second) = (copied(&file(&path), &there).await, copied(&there, &again).await);
        let third = copied(&again, &file(&back)).await;
        assert_eq!(first, second, "{}: from PostgreSQL to PostgreSQL", golden.name);
        assert_eq!(first, third, "{}: from PostgreSQL to SQLite", golden.name);
        let empty = first.iter().filter(|it| it.rows == 0).map(|it| it.table);
        let empty: Vec<_> = empty.filter(|table| *table != "sample").collect();
        assert_eq!(empty, [""; 0], "{} holds something of everything", golden.name);
        for place in [there, file(&back)] {
            let store = opened(&place).await;
            let contents = golden::contents(&*store).await;
            assert_eq!(contents, golden.contents, "{} in {place}", golden.name);
            store.close().await.expect("it closes");
        }
        assert_counted(&back);
    }
}

#[tokio::test]
async fn what_is_copied_answers_as_before_and_goes_on() {
    let Some(database) = shared().await else { return };
    let (folder, memory) = (folder(), Memory::new());
    let there = schema(&database.fresh().1);
    let (from, back) = (file(&folder.path().join("a.db")), file(&folder.path().join("b.db")));
    let mut before: Option<&Location> = None;
    for (seed, place) in [(11, &from), (12, &there), (13, &back)] {
        if let Some(before) = before.replace(place) {
            let first = copied(before, place).await;
            let other = file(&folder.path().join(format!("{seed}.db")));
            assert_eq!(copied(place, &other).await, first, "the copy of the copy");
        }
        let store = opened(place).await;
        // Every answer is compared, on what was copied and on what comes after it.
        differ(seed, 100, &*store, &memory).await;
        store.close().await.expect("it closes");
    }
    assert_counted(&folder.path().join("b.db"));
}

#[tokio::test]
async fn many_rows_come_in_batches_and_in_order() {
    let Some(database) = shared().await else { return };
    let folder = folder();
    let path = filled(&folder, "a.db").await;
    let store = Sqlite::open(&path, &Options::default()).expect("it opens");
    // More than a batch has, and than are looked up together.
    for version in 2..300 {
        store.commit(commit("one", version, format!("[{version}]"))).await.expect("it is written");
    }
    let lines = (0..2500).map(|number| golden::record("audit", &format!("{number:04}"), "OK"));
    store.put_records(lines.collect()).await.expect("they are written");
    for number in 0..300 {
        let commit = commit(&format!("many {number}"), 0, "[]".to_owned());
        store.commit(commit).await.expect("it is written");
    }
    store.close().await.expect("it closes");
    let (there, back) = (schema(&database.fresh().1), file(&folder.path().join("b.db")));
    let seen = parking_lot::Mutex::new(Vec::new());
    let progress = |now: CopyProgress| {
        if now.table == "record" && !now.compares {
            seen.lock().push((now.rows, now.of));
        }
    };
    let first =
        copy(&file(&path), &there, CopyOptions::default(), &progress).await.expect("copied");
    assert_eq!(rows(&first, "record"), 2500);
    assert_eq!(rows(&first, "execution"), 302);
    assert_eq!(rows(&first, "history"), 602);
    assert_eq!(*seen.lock(), [(0, 2500), (1000, 2500), (2000, 2500), (2500, 2500)]);
    assert_eq!(copied(&there, &back).await, first);
}

#[tokio::test]
async fn a_copy_that_was_broken_off_is_begun_anew() {
    let Some(database) = shared().await else { return };
    let folder = folder();
    let from = file(&filled(&folder, "a.db").await);
    for to in [file(&folder.path().join("b.db")), schema(&database.fresh().1)] {
        for table in ["execution", "history"] {
            let (reached, again) = (Notify::new(), table == "history");
            let progress = |now: CopyProgress| {
                if now.table == table && now.rows > 0 {
                    reached.notify_one();
                }
            };
            let options = CopyOptions { again, ..CopyOptions::default() };
            let (copying, reached) = (copy(&from, &to, options, &progress), reached.notified());
            // Dropped in the middle, as by a process that is killed.
            let Either::Left(_) = select(pin!(reached), pin!(copying)).await else {
                panic!("{to}: it came to its end")
            };
            released(database, &to).await;
            let told = open(&to).await.err().expect("no server opens it");
            assert!(told.contains("a copy that did not finish"), "{told}");
            let told = refused(&from, &to).await;
            assert!(told.contains("repeat that copy with --again"), "{told}");
            let told = refused(&to, &file(&folder.path().join("c.db"))).await;
            assert!(told.contains("did not finish"), "half a store is not copied: {told}");
        }
        let again = CopyOptions { again: true, ..CopyOptions::default() };
        let whole = copy(&from, &to, again, &|_| {}).await.expect("it is copied");
        assert_eq!(rows(&whole, "history"), 4, "{to}");
        let store = opened(&to).await;
        store.commit(commit("one", 2, "[]".to_owned())).await.expect("it goes on");
        store.close().await.expect("it closes");
        let told = copy(&from, &to, again, &|_| {}).await.expect_err("it is whole").to_string();
        assert!(told.contains("is not empty"), "--again empties nothing that is whole: {told}");
    }
}

/// Waits until nobody has it any more: what was dropped had a lease.
async fn released(database: &Database, place: &Location) {
    let Location::Postgres(options) = place else { return };
    let shown = options.to_string();
    let schema = shown.split(' ').nth(1).expect("it begins with the schema");
    let sql = format!("DELETE FROM {schema}.node; DELETE FROM {schema}.fence");
    client(database).await.batch_execute(&sql).await.expect("SQL");
}

#[tokio::test]
async fn what_will_not_do_is_refused_and_nothing_is_changed() {
    let Some(database) = shared().await else { return };
    let folder = folder();
    let path = filled(&folder, "a.db").await;
    let (from, missing) = (file(&path), folder.path().join("b.db"));
    let to = schema(&database.fresh().1);

    let told = refused(&file(&missing), &to).await;
    assert!(told.contains("there is no store") && !missing.exists(), "{told}");
    let told = refused(&schema(&database.fresh().1), &file(&missing)).await;
    assert!(told.contains("there is no store schema test_"), "{told}");
    let told = refused(&from, &from).await;
    assert!(told.contains("both the source and the target"), "{told}");
    let other = file(&filled(&folder, "other.db").await);
    let told = refused(&from, &other).await;
    assert!(told.contains("is not empty (rows: 2 in execution, 4 in history"), "{told}");

    let used = Sqlite::open(&path, &Options::default()).expect("it opens");
    let told = refused(&from, &to).await;
    assert!(told.contains("a.db is in use by a server"), "{told}");
    used.close().await.expect("it closes");
    drop(used);

    let dry = CopyOptions { dry_run: true, ..CopyOptions::default() };
    let counted = copy(&from, &file(&missing), dry, &|_| {}).await.expect("it counts");
    assert_eq!((rows(&counted, "history"), missing.exists()), (4, false));
    let told = copy(&from, &other, dry, &|_| {}).await.expect_err("it is refused").to_string();
    assert!(told.contains("is not empty"), "{told}");

    // Written as one process, used by another.
    copied(&from, &to).await;
    let server = opened(&to).await;
    let Location::Postgres(options) = &to else { unreachable!() };
    let shown = options.to_string();
    let schema = shown.split(' ').nth(1).expect("it begins with the schema");
    let sql = format!("UPDATE {schema}.node SET name = 'elsewhere (process 7)'");
    client(database).await.batch_execute(&sql).await.expect("SQL");
    for told in [refused(&to, &file(&missing)).await, refused(&from, &to).await] {
        assert!(told.contains("is in use by a server (elsewhere (process 7)"), "{told}");
    }
    server.close().await.expect("it closes");

    let old = rusqlite::Connection::open(&path).expect("it opens");
    old.pragma_update(None, "user_version", 5).expect("it is older now");
    drop(old);
    let told = refused(&from, &file(&missing)).await;
    assert!(told.contains("`nightbell store init` brings them"), "{told}");
    assert!(!missing.exists());
}

#[tokio::test]
async fn damage_and_differences_are_told() {
    let Some(database) = shared().await else { return };
    let folder = folder();
    let path = filled(&folder, "a.db").await;
    let from = file(&path);

    let (name, options) = database.fresh();
    Postgres::init(&options).await.expect("it has tables");
    let harm = format!(
        "CREATE FUNCTION {name}.harm() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN NEW.events = '[7]'; RETURN NEW; END $$; CREATE TRIGGER harm BEFORE INSERT ON \
         {name}.history FOR EACH ROW EXECUTE FUNCTION {name}.harm()"
    );
    client(database).await.batch_execute(&harm).await.expect("SQL");
    let to = schema(&options);
    let outcome = copy(&from, &to, CopyOptions::default(), &|_| {}).await;
    assert!(
        matches!(&outcome, Err(CopyError::Differs { table: "history", read: 4, written: 4, .. })),
        "{outcome:?}"
    );
    let told = open(&to).await.err().expect("no server opens it");
    assert!(told.contains("did not finish"), "{told}");

    let broken = rusqlite::Connection::open(&path).expect("it opens");
    broken.execute_batch("INSERT INTO brief VALUES (77, 'of nobody')").expect("SQL");
    drop(broken);
    let told = refused(&from, &file(&folder.path().join("b.db"))).await;
    assert!(told.contains("the table brief should have 1 rows, and 0 can be read"), "{told}");
}

#[tokio::test]
async fn the_character_nul_is_counted_where_it_cannot_be_kept() {
    let Some(database) = shared().await else { return };
    let folder = folder();
    let path = folder.path().join("a.db");
    let store = Sqlite::open(&path, &Options::default()).expect("it opens");
    let (kind, name, text) = ("note".into(), "one".into(), "a\0b\0".into());
    store.put_document(Document { kind, name, version: 0, text }).await.expect("it is written");
    store.commit(commit("with\0nul", 0, "[]".to_owned())).await.expect("it is written");
    store.close().await.expect("it closes");
    let (there, back) = (schema(&database.fresh().1), file(&folder.path().join("b.db")));
    let replaced = |of: &[Copied]| of.iter().map(|it| it.replaced).sum::<u64>();
    let kept = copied(&file(&path), &back).await;
    assert_eq!(replaced(&kept), 0, "SQLite keeps it");
    let lost = copied(&file(&path), &there).await;
    assert_eq!(replaced(&lost), 1, "one text of a document; an id is kept");
    let store = opened(&there).await;
    let found = store.documents("note").await.expect("they can be read");
    assert_eq!(&*found[0].text, "a\u{fffd}b\u{fffd}");
    let stored = store.load(&kernel::ExecutionId::new("with\0nul")).await.expect("it loads");
    assert!(stored.is_some());
    store.close().await.expect("it closes");
}

/// Tables that are no content: numbers of words, what is counted, listed, indexed or compressed of
/// other tables, and who owns the store.
const DERIVED: &str = "name tally named named_through archive plan_use sample_total pending found \
                       cluster node fence partition";

#[tokio::test]
async fn no_table_is_left_out() {
    let Some(database) = shared().await else { return };
    let folder = folder();
    let path = filled(&folder, "a.db").await;
    let (name, options) = database.fresh();
    let copied = copied(&file(&path), &schema(&options)).await;
    let known: Vec<&str> =
        copied.iter().map(|it| it.table).chain(DERIVED.split_whitespace()).collect();
    let tables = rusqlite::Connection::open(&path).expect("it opens");
    let mut tables = tables
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'found_%'")
        .expect("SQL");
    let in_file = tables.query_map([], |row| row.get::<_, String>(0)).expect("SQL");
    let mut all: Vec<String> = in_file.map(|name| name.expect("a name")).collect();
    let sql = format!("SELECT tablename::text FROM pg_tables WHERE schemaname = '{name}'");
    let in_schema = client(database).await.query(&sql, &[]).await.expect("SQL");
    all.extend(in_schema.iter().map(|row| row.get::<_, String>(0)));
    assert!(all.len() > 30, "{all:?}");
    all.retain(|name| !known.contains(&name.as_str()));
    assert!(all.is_empty(), "a copy leaves them out: {all:?}");
}
