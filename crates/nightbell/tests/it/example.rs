//! The folders of `examples/` as their users have them: a copy with their own addresses in it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::live::Live;

/// How long a run may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A copy of an example in which these addresses of its schedules are replaced by others.
pub(crate) fn copy(name: &str, addresses: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let mut text = std::fs::read_to_string(&path).unwrap();
        if path.ends_with("schedules.json") {
            for (address, other) in addresses {
                assert!(text.contains(address), "no schedule speaks to {address}");
                text = text.replace(address, other);
            }
        }
        std::fs::write(folder.path().join(path.file_name().unwrap()), text).unwrap();
    }
    folder
}

/// Stores secrets.
pub(crate) async fn keep(live: &Live, secrets: &[(&str, &str)]) {
    for (name, value) in secrets {
        let body = Value::from(*value).to_string();
        let path = format!("/api/secrets/{name}");
        let (status, answer) = live.ask(reqwest::Method::PUT, &path, body).await;
        assert_eq!(status, 200, "{answer}");
    }
}

/// Fires a schedule and answers the run, ended.
pub(crate) async fn fire(live: &Live, schedule: &str) -> Value {
    let path = format!("/api/scheduler/schedules/{schedule}/trigger?by=test");
    let fired = live.post(&path, &json!({})).await;
    let id = fired["workflowId"].as_str().expect("an id");
    let begun = Instant::now();
    while live.ask(reqwest::Method::GET, &format!("/api/workflow/{id}"), "").await.0 == 404 {
        assert!(begun.elapsed() < PATIENCE, "{schedule} has started nothing: {fired}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    live.ended(id, PATIENCE).await
}
