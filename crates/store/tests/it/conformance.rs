//! The suite of the port, over every store.

use std::sync::Arc;
use std::time::Duration;

use engine::conformance::{differ, exercise, survive};
use engine::memory::Memory;
use engine::search::Search;
use engine::store::Store;
use store::{Options, Sqlite};
use tempfile::{TempDir, tempdir};

use crate::given::assert_counted;

fn open(folder: &TempDir) -> Arc<Sqlite> {
    open_with(folder, &Options::default())
}

fn open_with(folder: &TempDir, options: &Options) -> Arc<Sqlite> {
    Sqlite::open(folder.path().join("nightbell.db"), options).expect("it opens")
}

fn folder() -> TempDir {
    tempdir().expect("there is room for a folder")
}

#[tokio::test]
async fn memory_conforms() {
    exercise(async || Arc::new(Memory::new()) as Arc<dyn Store>).await;
}

#[tokio::test]
async fn sqlite_conforms() {
    let folders = parking_lot::Mutex::new(Vec::new());
    exercise(async || {
        let folder = folder();
        let store = open(&folder);
        folders.lock().push(folder);
        store as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn sqlite_survives_being_reopened() {
    let folder = folder();
    survive(open(&folder), async |store| {
        store.close().await.expect("it closes");
        open(&folder) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn sqlite_answers_as_memory_does() {
    for seed in 0..8 {
        let folder = folder();
        // Every other one tidies up all the time, so that most of it is read back from there.
        let tidy_after = Duration::from_millis(if seed % 2 == 0 { 0 } else { 200 });
        let options = Options { tidy_after, ..Options::default() };
        let store = open_with(&folder, &options);
        let memory = Memory::new();
        differ(seed, 300, &*store, &memory).await;
        assert_counted(store.path());
        store.close().await.expect("it closes");
        let (store, search) = (open(&folder), Search { size: 9, ..Search::default() });
        assert_eq!(store.search(&search).await, memory.search(&search).await, "opened again");
    }
}
