//! A process that is killed loses nothing that it acknowledged.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use engine::store::Store;
use kernel::ExecutionId;
use store::{Options, Sqlite};

use crate::given::{assert_counted, commit, last_commit};

const PATH: &str = "STORE_TEST_CRASH_PATH";
const ROUND: &str = "STORE_TEST_CRASH_ROUND";

/// Lines that a child writes before it is killed; each acknowledges a commit.
const ACKNOWLEDGED: usize = 1500;

/// Commits of one execution before it ends.
const COMMITS: u64 = 7;

fn events(id: &str, version: u64) -> String {
    format!("[\"{id}\",{version},\"{}\"]", "x".repeat(2000))
}

#[tokio::test]
async fn nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("nightbell.db");
    let mut acknowledged = BTreeMap::new();
    for round in 0..3 {
        for line in lines_until_killed(&path, round) {
            let (id, version) = line.split_once(' ').expect("an id and a version");
            let version: u64 = version.parse().expect("the version is a number");
            let latest = acknowledged.entry(id.to_owned()).or_insert(version);
            *latest = version.max(*latest);
        }
        let store = Sqlite::open(&path, &Options::default()).expect("it opens after the crash");
        for (id, version) in &acknowledged {
            let stored = store.load(&ExecutionId::new(&**id)).await.expect("it loads");
            let stored = stored.unwrap_or_else(|| panic!("{id} is gone"));
            // The commit after the last acknowledged one may have been written too.
            assert!((*version..=version + 1).contains(&stored.version), "{id}: {stored:?}");
            let expected: Vec<_> = (0..stored.version).map(|n| events(id, n)).collect();
            assert_eq!(stored.history, expected);
        }
        store.close().await.expect("it closes");
        assert_counted(&path);
    }
}

/// Runs [`child`] in a process of its own, and kills it in the midst of its work.
fn lines_until_killed(path: &std::path::Path, round: u32) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", "crash::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(PATH, path)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let output = BufReader::new(child.stdout.take().expect("its output is piped"));
    let mut acknowledged = Vec::new();
    for line in output.lines() {
        // The first words are the test runner's own. A last line may be cut short by the kill.
        let Ok(line) = line else { break };
        let Some(line) = line.strip_prefix("ok ").and_then(|line| line.strip_suffix(" .")) else {
            continue;
        };
        acknowledged.push(line.to_owned());
        if acknowledged.len() == ACKNOWLEDGED {
            child.kill().expect("it can be killed");
        }
    }
    child.wait().expect("it has ended");
    assert!(acknowledged.len() >= ACKNOWLEDGED, "it lived long enough");
    acknowledged
}

#[tokio::test]
#[ignore = "never ends: run and killed by nothing_acknowledged_is_lost"]
async fn child() {
    // Run by itself it has nothing to do.
    let Ok(path) = std::env::var(PATH) else { return };
    let round = std::env::var(ROUND).expect("it comes with the path");
    let store = Sqlite::open(path, &Options::default()).expect("it opens");
    let workers = (0..8).map(|worker| {
        let (store, round): (Arc<Sqlite>, _) = (store.clone(), round.clone());
        tokio::spawn(async move {
            for number in 0.. {
                let id = format!("{round}-{worker}-{number}");
                for expect in 0..COMMITS {
                    let events = events(&id, expect);
                    let make = if expect + 1 == COMMITS { last_commit } else { commit };
                    store.commit(make(&id, expect, events)).await.expect("it is taken");
                    let line = format!("ok {id} {} .\n", expect + 1);
                    // Nobody may be reading any more.
                    let _ = std::io::stdout().write_all(line.as_bytes());
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("no worker panics");
    }
}
