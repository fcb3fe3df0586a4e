//! The wall clock is set while the server runs: by a library in front of the system's, which leaves
//! the clock since boot alone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::live::Live;
use crate::skipped::skipped;

/// How long a change may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

const FILE: &str = "
monitors:
  web: { http: \"http://127.0.0.1:1/\", every: 5s }
";

/// Debian's `faketime`.
pub(crate) fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut found = folders.map(|it| it.path().join("faketime/libfaketimeMT.so.1"));
    let library = found.find(|it| it.exists());
    if library.is_none() {
        skipped("faketime is not installed (Debian's package faketime)");
    }
    library
}

/// Sets the clock of servers that were started with [`variables`].
pub(crate) fn set(file: &Path, offset: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{offset}\n")).unwrap();
    std::fs::rename(new, file).unwrap();
}

async fn until(live: &Live, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let monitor = live.get("/api/monitors/web").await;
        if is(&monitor) {
            return monitor;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {monitor}; log: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What puts the library in front of a server's clock, which is set by a file.
pub(crate) fn variables<'a>(library: &'a Path, offset: &'a Path) -> [(&'a str, &'a str); 4] {
    [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_NO_CACHE", "1"),
    ]
}

/// Waits until the log says something.
pub(crate) async fn until_told(live: &Live, words: &str) {
    let begun = Instant::now();
    while !live.log_text().contains(words) {
        assert!(begun.elapsed() < PATIENCE, "no {words:?} in: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn count(monitor: &Value) -> u64 {
    monitor["checkCount"].as_u64().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn monitors_go_on_when_the_clock_is_set_forward_and_back() {
    let Some(library) = library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (offset, monitors) = (folder.path().join("offset"), folder.path().join("watch.yaml"));
    set(&offset, "+0");
    std::fs::write(&monitors, FILE).unwrap();
    let variables = variables(&library, &offset);
    let arguments = ["--load", monitors.to_str().unwrap()];
    let live = Live::start_as("serve", &arguments, &variables).await;
    until(&live, "it is checked", |it| count(it) > 0).await;

    set(&offset, "+2h");
    until_told(&live, "the clock was set forward by 7200 s").await;
    let missed = |it: &Value| it["missedCount"].as_u64().is_some_and(|count| count > 0);
    let before = until(&live, "what came due is written down", missed).await;

    set(&offset, "+0");
    until_told(&live, "the clock was set back by 7200 s").await;
    // Three more checks, where one every five seconds would have waited for two hours.
    until(&live, "it is checked again", |it| count(it) > count(&before) + 2).await;
    let health = live.get("/health").await;
    assert_eq!(health["healthy"], true, "{health}");
    assert_eq!(health["warnings"][0]["code"], "clock", "{health}");
}
