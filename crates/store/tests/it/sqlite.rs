//! What is peculiar to a store in one file: the lock, the disk, other files.

use std::sync::Arc;
use std::time::Duration;

use engine::search::{Filter, Search, TextField};
use engine::store::{Store, StoreError};
use kernel::ExecutionId;
use store::{Options, Sqlite};
use tempfile::{TempDir, tempdir};

use crate::given::{assert_counted, commit, last_commit};

fn folder() -> TempDir {
    tempdir().expect("there is room for a folder")
}

fn open(folder: &TempDir, options: &Options) -> Result<Arc<Sqlite>, StoreError> {
    Sqlite::open(folder.path().join("nightbell.db"), options)
}

fn refused(folder: &TempDir) -> StoreError {
    open(folder, &Options::default()).map(|_| ()).expect_err("it is refused")
}

#[tokio::test]
async fn a_second_user_is_refused() {
    let folder = folder();
    let store = open(&folder, &Options::default()).expect("it opens");
    let refused = refused(&folder).to_string();
    assert!(refused.contains("nightbell.db is in use by another process"), "{refused}");
    store.close().await.expect("it closes");
    let store = open(&folder, &Options::default()).expect("it is free again");
    drop(store);
    open(&folder, &Options::default()).expect("a dropped store is free too");
}

#[tokio::test]
async fn foreign_files_are_refused() {
    let folder = folder();
    let path = folder.path().join("nightbell.db");
    std::fs::write(&path, "Dear diary, ".repeat(1000)).expect("it can be written");
    assert!(matches!(refused(&folder), StoreError::Corrupt(_)));
    assert!(std::fs::read(&path).expect("it is there").starts_with(b"Dear diary"), "untouched");

    std::fs::remove_file(&path).expect("it can be removed");
    let other = rusqlite::Connection::open(&path).expect("it opens");
    other.execute_batch("CREATE TABLE diary (day, text)").expect("it has a table");
    drop(other);
    let refused = refused(&folder).to_string();
    assert!(refused.contains("another program"), "{refused}");
}

#[tokio::test]
async fn files_of_a_later_release_are_refused() {
    let folder = folder();
    let store = open(&folder, &Options::default()).expect("it opens");
    store.close().await.expect("it closes");
    let file = rusqlite::Connection::open(store.path()).expect("it opens");
    file.execute_batch("PRAGMA user_version = 1000").expect("it can be set");
    drop(file);
    let refused = refused(&folder).to_string();
    assert!(refused.contains("later release"), "{refused}");
    assert!(refused.contains("1000"), "{refused}");
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let folder = folder();
    let path = folder.path().join("nowhere").join("nightbell.db");
    let refused = Sqlite::open(path, &Options::default()).map(|_| ()).expect_err("it is refused");
    assert!(refused.to_string().contains("nowhere"), "{refused}");
}

#[tokio::test]
async fn a_backup_is_a_store_as_it_stood_and_is_made_while_it_is_in_use() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, other) = (folder(), folder());
    let store = open(&folder, &Options::default()).expect("it opens");
    store.commit(commit("one", 0, "[]".to_owned())).await.expect("there is room");
    let to = other.path().join("nightbell.db");
    let bytes = store.back_up(to.clone()).await.expect("there is room");
    store.commit(commit("two", 0, "[]".to_owned())).await.expect("it is in use");
    let found = std::fs::metadata(&to).expect("it is there");
    assert_eq!((found.len(), found.permissions().mode() & 0o777), (bytes, 0o600));
    let again = store.back_up(to).await.expect_err("it would be written over");
    assert!(again.to_string().contains("cannot write the backup"), "{again}");
    let copy = open(&other, &Options::default()).expect("it is a store");
    assert!(copy.head(&ExecutionId::new("one")).await.expect("it answers").is_some());
    assert!(copy.head(&ExecutionId::new("two")).await.expect("it answers").is_none());
    copy.commit(commit("two", 0, "[]".to_owned())).await.expect("it goes on");
    let nowhere = other.path().join("nowhere").join("x.db");
    let refused = store.back_up(nowhere).await.expect_err("there is no folder");
    assert!(refused.to_string().contains("nowhere"), "{refused}");
    let files = std::fs::read_dir(other.path()).expect("it is there").flatten();
    let left = files.filter(|it| it.file_name().to_string_lossy().contains("partial"));
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn a_search_for_very_many_ids_finds_them() {
    let folder = folder();
    let store = open(&folder, &Options::default()).expect("it opens");
    for name in ["one", "two"] {
        store.commit(commit(name, 0, "[]".to_owned())).await.expect("there is room");
    }
    let mut ids: Vec<String> = (0..20_000).map(|number| format!("none {number}")).collect();
    ids.extend(["one".to_owned(), "t*".to_owned()]);
    let search = |filter| Search { filters: vec![filter], size: 10, ..Search::default() };
    let found = store.search(&search(Filter::In(TextField::Id, ids.clone()))).await;
    assert_eq!(found.map(|page| page.total), Ok(2));
    let found = store.search(&search(Filter::NotIn(TextField::Parent, ids))).await;
    assert_eq!(found.map(|page| page.total), Ok(2));
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let folder = folder();
    // Nothing is tidied: a history that was compressed in a pause would leave no room for another
    // when it is removed.
    let tidy_after = Duration::from_hours(1);
    let options =
        Options { size_max_bytes: Some(2 * 1024 * 1024), tidy_after, ..Options::default() };
    let store = open(&folder, &options).expect("it opens");
    let big = |number: u32| last_commit(&format!("big {number}"), 0, "x".repeat(50_000));
    let mut taken = 0;
    let refused = loop {
        match store.commit(big(taken)).await {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert!(taken > 10, "{taken} found room");
    let StoreError::Unavailable(text) = &refused else { panic!("{refused:?}") };
    assert!(text.contains("no room left") && text.contains("nightbell.db"), "{text}");
    let refused = ExecutionId::new(format!("big {taken}"));
    assert_eq!(store.head(&refused).await, Ok(None), "what was refused is not there");

    // In one transaction with one that is too big, small ones still get in. What is full is full
    // to the last page, so they need some room first.
    assert_eq!(store.remove(&ExecutionId::new("big 1")).await, Ok(true));
    let together = (0..8).map(|number| {
        let store = store.clone();
        let commit = if number == 0 {
            last_commit("bigger", 0, "x".repeat(3_000_000))
        } else {
            commit(&format!("small {number}"), 0, "[]".to_owned())
        };
        tokio::spawn(async move { store.commit(commit).await })
    });
    let together: Vec<_> = together.collect();
    for (number, outcome) in together.into_iter().enumerate() {
        let outcome = outcome.await.expect("no task panics");
        assert_eq!(outcome.is_ok(), number != 0, "number {number}: {outcome:?}");
    }

    assert_eq!(store.remove(&ExecutionId::new("big 0")).await, Ok(true));
    store.commit(big(1001)).await.expect("there is room again");
    let words = Search { free_text: Some("big".into()), size: 1, ..Search::default() };
    assert_eq!(store.search(&words).await.map(|page| page.total), Ok(u64::from(taken) - 1));
    assert_counted(store.path());
    store.close().await.expect("it closes");
    let store = open(&folder, &options).expect("it opens again");
    assert!(store.load(&ExecutionId::new("big 1001")).await.expect("it loads").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_come_together_share_a_sync() {
    let folder = folder();
    let store = open(&folder, &Options::default()).expect("it opens");
    let workers = (0..64).map(|worker| {
        let store = store.clone();
        tokio::spawn(async move {
            for expect in 0..20 {
                let commit = commit(&format!("{worker}"), expect, "[]".to_owned());
                store.commit(commit).await.expect("it is taken");
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("no worker panics");
    }
    let counted = store.statistics().await.expect("there are statistics");
    assert_eq!((counted.executions, counted.commits), (64, 64 * 20));
    assert!(counted.writes < counted.commits, "{counted:?}");
}

#[tokio::test]
async fn callers_that_give_up_leave_the_store_whole() {
    let folder = folder();
    let store = open(&folder, &Options { readers: 1, ..Options::default() }).expect("it opens");
    for expect in 0..50 {
        let given_up = store.commit(commit("one", expect, "[]".to_owned()));
        // Asked once, then dropped: it may be written or not.
        let _ = futures_util::poll!(given_up);
        let given_up = ExecutionId::new("one");
        let _ = futures_util::poll!(store.load(&given_up));
    }
    // Work is done in the order in which it came, so after this all of it is done.
    assert_eq!(store.remove(&ExecutionId::new("nobody")).await, Ok(false));
    let stored = store.load(&ExecutionId::new("one")).await.expect("readers are not used up");
    assert_eq!(stored.map(|stored| stored.version), Some(50));
}

#[tokio::test]
async fn ended_histories_shrink_and_read_the_same() {
    // Of executions, and of instances and entities of code.
    for id in ["one", "instance:hub:one", "entity:hub:@counter@one"] {
        shrinks_and_reads_the_same(id).await;
    }
}

async fn shrinks_and_reads_the_same(id: &str) {
    let folder = folder();
    let options = Options { tidy_after: Duration::ZERO, ..Options::default() };
    let store = open(&folder, &options).expect("it opens");
    let events = |expect: u64| match expect {
        4 => "not JSON: \0".to_owned(),
        5 => String::new(),
        _ => format!("[{expect},\"{}\"]", "ünï🔔".repeat(100)),
    };
    let one = ExecutionId::new(id);
    let compressed = async || {
        let file = rusqlite::Connection::open(store.path()).expect("it opens");
        let count = "SELECT (SELECT count(*) FROM archive), (SELECT count(*) FROM history)";
        file.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("it counts")
    };
    let mut expected = Vec::new();
    // It ends, goes on, ends again; then it holds what cannot be compressed, or goes on with it.
    for (expect, rows) in
        [(0, (0, 1)), (1, (1, 0)), (2, (1, 1)), (3, (1, 0)), (4, (1, 1)), (5, (1, 2))]
    {
        let make = if expect % 2 == 1 { last_commit } else { commit };
        store.commit(make(id, expect, events(expect))).await.expect("it is taken");
        expected.push(events(expect));
        let mut polls = 0;
        while compressed().await != rows {
            polls += 1;
            assert!(polls < 100_000, "{expect}: {:?} instead of {rows:?}", compressed().await);
            tokio::task::yield_now().await;
        }
        let stored = store.load(&one).await.expect("it loads").expect("it is there");
        assert_eq!((stored.version, stored.history), (expect + 1, expected.clone()));
    }
    assert_eq!(store.remove(&one).await, Ok(true));
    assert_eq!(compressed().await, (0, 0));
}

/// What version 6 had: it kept nothing of what checks answered.
const BACK_TO_6: &str = "
    DROP TABLE sample;
    DROP TABLE sample_total;
    PRAGMA user_version = 6;";

/// What version 5 had: no list by name.
const BACK_TO_5: &str = "
    DROP TABLE named;
    DROP TABLE named_through;
    PRAGMA user_version = 5;";

/// What version 4 had: no counters, other lists, no briefs.
const BACK_TO_4: &str = "
    DROP TABLE tally;
    DROP TABLE brief;
    DROP INDEX execution_listed;
    DROP INDEX execution_status;
    DROP INDEX execution_correlation;
    CREATE INDEX execution_listed ON execution (created_at, name, status) WHERE machine = 0;
    CREATE INDEX execution_running ON execution (created_at) WHERE closed = 0 AND machine = 0;
    CREATE INDEX execution_correlation ON execution (correlation_id)
        WHERE correlation_id IS NOT NULL;
    PRAGMA user_version = 4;";

/// What version 3 had: an index of machines that knew no order.
const BACK_TO_3: &str = "
    DROP INDEX execution_machine;
    CREATE INDEX execution_machine ON execution (machine) WHERE machine <> 0;
    PRAGMA user_version = 3;";

/// What version 2 had before: history rows in the order of their executions.
const BACK_TO_2: &str = "
    ALTER TABLE history RENAME TO newer;
    CREATE TABLE history (id INTEGER PRIMARY KEY, events TEXT NOT NULL) STRICT;
    INSERT INTO history SELECT place, events FROM newer;
    DROP TABLE newer;
    PRAGMA user_version = 2;";

/// What version 1 had before: no ledgers, one kind of machine, no forgotten commits.
const BACK_TO_1: &str = "
    DROP TABLE record;
    DROP INDEX execution_listed;
    DROP INDEX execution_running;
    DROP INDEX execution_machine;
    ALTER TABLE execution DROP COLUMN machine;
    ALTER TABLE execution DROP COLUMN forgotten;
    CREATE INDEX execution_listed ON execution (created_at, name, status);
    CREATE INDEX execution_running ON execution (created_at) WHERE closed = 0;
    PRAGMA user_version = 1;";

#[tokio::test]
async fn files_of_former_versions_are_brought_up_to_date() {
    let steps = [BACK_TO_6, BACK_TO_5, BACK_TO_4, BACK_TO_3, BACK_TO_2, BACK_TO_1];
    for back in 1..=steps.len() {
        let folder = folder();
        let store = open(&folder, &Options::default()).expect("it opens");
        for (id, expect, events) in [("old", 0, "[1]"), ("other", 0, "[7]"), ("old", 1, "[2]")] {
            let commit = commit(id, expect, events.to_owned());
            store.commit(commit).await.expect("it can be committed");
        }
        store.close().await.expect("it closes");
        let file = rusqlite::Connection::open(store.path()).expect("it opens");
        for sql in &steps[..back] {
            file.execute_batch(sql).expect("it can be set back");
        }
        drop(file);
        let store = open(&folder, &Options::default()).expect("it is brought up to date");
        store.commit(commit("old", 2, "[3]".to_owned())).await.expect("it goes on");
        let stored = store.load(&ExecutionId::new("old")).await.expect("loading works");
        assert_eq!(stored.expect("it is there").history, ["[1]", "[2]", "[3]"]);
        store.commit(last_commit("other", 1, "[8]".to_owned())).await.expect("it ends");
        let page = store.search(&Search { size: 10, ..Search::default() }).await;
        assert_eq!(page.expect("search works").total, 2);
        let completed = Filter::In(TextField::Status, vec!["COMPLETED".to_owned()]);
        let page = store.search(&Search { filters: vec![completed], ..Search::default() }).await;
        assert_eq!(page.expect("search works").total, 1);
        assert_counted(store.path());
    }
}

/// What group and others may do with each file of the store.
fn rights_of_others(folder: &TempDir) -> Vec<(String, u32)> {
    use std::os::unix::fs::PermissionsExt as _;
    let files = std::fs::read_dir(folder.path()).expect("the folder is there");
    let rights = files.map(|file| {
        let file = file.expect("an entry");
        let mode = file.metadata().expect("it is there").permissions().mode();
        (file.file_name().to_string_lossy().into_owned(), mode & 0o077)
    });
    rights.collect()
}

#[tokio::test]
async fn attacks_nobody_else_can_read_the_files_of_a_store() {
    let folder = folder();
    let store = open(&folder, &Options::default()).expect("it opens");
    store.commit(commit("w", 0, "[]".to_owned())).await.expect("it is written");
    let rights = rights_of_others(&folder);
    assert!(rights.len() >= 3, "the store, its log and its lock: {rights:?}");
    assert!(rights.iter().all(|(_, rights)| *rights == 0), "{rights:?}");
}

#[tokio::test]
async fn attacks_a_store_that_everybody_could_read_is_closed_to_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    open(&folder, &Options::default()).expect("it opens").close().await.expect("it closes");
    let file = folder.path().join("nightbell.db");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    let _store = open(&folder, &Options::default()).expect("it opens");
    let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "the group's rights are the operator's choice");
}
