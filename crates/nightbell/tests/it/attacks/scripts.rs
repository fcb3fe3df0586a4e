//! Workflows that are made to silence the server: it answers, goes on with others, and ends when told
//! to, also after a restart.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::live::Live;

/// A script that the interpreter does not interrupt for many seconds: between two looks at the
/// clock it compares ten thousand times two long texts that differ at their ends.
const STUBBORN: &str =
    "var x = 'x'.repeat(2e7); var a = x + 'a', b = x + 'b'; for (;;) { if (a === b) break; } 1";
/// How long anything may take here, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long an answer about health may take, on a busy machine; alone it is a few milliseconds.
const HEALTH_MAX: Duration = Duration::from_secs(20);
/// How long the end may take on a busy machine; alone it is at most ten seconds.
const END_MAX: Duration = Duration::from_secs(30);

fn inline(script: &str) -> Value {
    json!({
        "name": "script", "taskReferenceName": "script", "type": "INLINE",
        "inputParameters": { "evaluatorType": "javascript", "expression": script },
    })
}

async fn define(live: &Live) {
    let wait = json!({ "name": "wait", "taskReferenceName": "wait", "type": "WAIT",
        "inputParameters": { "duration": "1 seconds" } });
    live.define("stubborn", json!([wait, inline(STUBBORN)])).await;
    live.define("brief", json!([inline("1 + 1")])).await;
}

async fn health(live: &Live) -> Value {
    let begun = Instant::now();
    let health = live.get("/health").await;
    assert!(begun.elapsed() < HEALTH_MAX, "health took {:?}", begun.elapsed());
    health
}

async fn wait_until(live: &Live, what: &str, is_so: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    loop {
        let health = health(live).await;
        if is_so(&health) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "never {what}: {health}; {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_well(live: &Live) {
    let id = live.begin("brief", &json!({})).await;
    let run = live.get(&format!("/api/workflow/{id}")).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_cannot_be_interrupted_silence_nobody() {
    let mut live = Live::start(&["--script-time", "1s"]).await;
    define(&live).await;
    let mut poisoned = Vec::new();
    for _ in 0..2 {
        poisoned.push(live.begin("stubborn", &json!({})).await);
    }
    // On a busy machine the first may be given up before the second is taken up.
    let taken_up = |health: &Value| {
        let count = |name: &str| health["evaluations"][name].as_u64().unwrap_or(0);
        count("busy") + count("givenUp") >= 2
    };
    wait_until(&live, "busy", taken_up).await;
    is_well(&live).await;
    // The poison is in the store; the scripts run again after the restart.
    live.kill();
    live.launch().await;
    is_well(&live).await;
    for id in poisoned {
        let begun = Instant::now();
        let run = loop {
            let run = live.get(&format!("/api/workflow/{id}")).await;
            if run["status"] != "RUNNING" {
                break run;
            }
            assert!(begun.elapsed() < PATIENCE, "{run}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let reason = run["reasonForIncompletion"].as_str().unwrap_or_default();
        // The interpreter may be quicker than whoever watches it.
        let is_why = ["did not end within its limit", "ran longer than"];
        assert!(is_why.iter().any(|why| reason.contains(why)), "{run}");
    }
    let told = Instant::now();
    let status = live.stop().await;
    assert!(status.success(), "{status}; {}", live.log_text());
    assert!(told.elapsed() < END_MAX, "it took {:?} to end", told.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_whose_script_runs_can_be_ended() {
    let mut live = Live::start(&["--script-time", "60s"]).await;
    define(&live).await;
    let id = live.begin("stubborn", &json!({})).await;
    wait_until(&live, "busy", |health| health["evaluations"]["busy"] == 1).await;
    let begun = Instant::now();
    let ended = live.http.delete(live.url(&format!("/api/workflow/{id}"))).send().await;
    let status = ended.expect("it answers").status();
    assert!(status.is_success(), "{status}");
    assert!(begun.elapsed() < PATIENCE);
    let run = live.get(&format!("/api/workflow/{id}")).await;
    assert_eq!(run["status"], "TERMINATED", "{run}");
    let told = Instant::now();
    live.stop().await;
    assert!(told.elapsed() < END_MAX, "it took {:?} to end", told.elapsed());
}
