//! Monitors from a file, with the real binary: a job that calls, an incident, its notifications, a
//! crash, a file that breaks and is mended.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::live::Live;
use crate::stand_in::Nightbell;

/// How long a change may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const FILE: &str = "
receivers:
  desk: { workflow: { name: tell } }
routes:
  - { to: desk }
monitors:
  backup: { heartbeat: { every: 1h, key: k-1 } }
";

fn write(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!(".{name}.new"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, folder.join(name)).unwrap();
}

/// Waits until an answer is as wanted.
async fn until(live: &Live, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = live.get(path).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{path}: {answer}; log: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ping(live: &Live, path: &str) {
    let answer = live.http.get(live.url(path)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_rings_once_over_a_crash_and_resolves() {
    let folder = tempfile::tempdir().unwrap();
    let tell = json!({ "name": "tell", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }] });
    write(folder.path(), "tell.json", &tell.to_string());
    write(folder.path(), "watch.yaml", FILE);
    write(folder.path(), "compose.yaml", "services: { web: { image: nginx } }\n");
    let mut live = Live::start(&["--load", folder.path().to_str().unwrap()]).await;

    ping(&live, "/ping/k-1/start").await;
    ping(&live, "/ping/k-1/3").await;
    let open = until(&live, "/api/incidents", |page| page["totalHits"] == 1).await;
    assert_eq!(open["results"][0]["monitor"], "backup");
    live.kill();
    live.launch().await;
    let sent = |count: u64| move |page: &Value| page["totalHits"] == count;
    until(&live, "/api/deliveries?status=sent", sent(1)).await;
    ping(&live, "/ping/k-1").await;
    let sent = until(&live, "/api/deliveries?status=sent", sent(2)).await;
    let events: Vec<_> = (0..2).map(|at| &sent["results"][at]["event"]).collect();
    assert_eq!(events, ["resolve", "trigger"]);
    assert_eq!(live.get("/api/deliveries").await["totalHits"], 2, "none is doubled");

    let url = live.url("");
    let listed = Nightbell::new(&["monitor", "list", "--url", &url]).run().exits(0);
    assert!(listed.stdout.contains("backup"), "{listed:?}");

    // A file that breaks changes nothing but opens an incident; mended, it resolves.
    write(folder.path(), "watch.yaml", &FILE.replace("every: 1h", "every: soon"));
    let path = "/api/incidents?monitor=nightbell";
    let open = until(&live, path, |page| page["totalHits"] == 1).await;
    let text = open["results"][0]["text"].as_str().unwrap();
    assert!(text.contains("watch.yaml:7:"), "{text}");
    assert_eq!(live.get("/api/monitors/backup").await["status"], "UP");
    write(folder.path(), "watch.yaml", FILE);
    until(&live, path, |page| page["totalHits"] == 0).await;
    std::fs::remove_file(folder.path().join("watch.yaml")).unwrap();
    until(&live, "/api/monitors?name=backup", |page| page["totalHits"] == 0).await;
}
