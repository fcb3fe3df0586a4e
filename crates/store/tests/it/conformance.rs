//! The suite of the port, over every store.

use std::sync::Arc;

use engine::conformance::{differ, exercise, survive};
use engine::memory::Memory;
use engine::store::Store;
use store::{Options, Sqlite};

fn open(folder: &tempfile::TempDir) -> Arc<Sqlite> {
    Sqlite::open(folder.path().join("nightbell.db"), &Options::default()).expect("it opens")
}

#[tokio::test]
async fn memory_conforms() {
    exercise(async || Arc::new(Memory::new()) as Arc<dyn Store>).await;
}

#[tokio::test]
async fn sqlite_conforms() {
    let folders = parking_lot::Mutex::new(Vec::new());
    exercise(async || {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let store = open(&folder);
        folders.lock().push(folder);
        store as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn sqlite_survives_being_reopened() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    survive(open(&folder), async |store| {
        store.close().await.expect("it closes");
        open(&folder) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn sqlite_answers_as_memory_does() {
    for seed in 0..8 {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        differ(seed, 300, &*open(&folder), &Memory::new()).await;
    }
}
