//! Schedules in a real server: loaded from files, fired, and gone on with after a crash.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::live::Live;

/// How long a firing may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn schedule(name: &str, workflow: &str) -> Value {
    json!({ "name": name, "cronExpression": "* * * * * *", "catchUp": "all",
            "startWorkflowRequest": { "name": workflow } })
}

/// Waits until a search of firings has this many, and gives its page.
async fn until(live: &Live, query: &str, count: u64) -> Value {
    let begun = Instant::now();
    let path = format!("/api/scheduler/search/executions?query={}", query.replace(' ', "%20"));
    loop {
        let page = live.get(&path).await;
        if page["totalHits"].as_u64().is_some_and(|total| total >= count) {
            return page;
        }
        assert!(begun.elapsed() < PATIENCE, "{query}: {page}; log: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until this many instants of a schedule that fires every second have gone by.
async fn pass_instants(since: i64, count: i64) {
    let last = (since / 1000 + count) * 1000;
    while let Ok(left @ 0..) = u64::try_from(last - jiff::Timestamp::now().as_millisecond()) {
        tokio::time::sleep(Duration::from_millis(left + 1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_loaded_fire_and_go_on_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let flow = json!({ "name": "flow", "version": 1, "schemaVersion": 2, "tasks": [
        { "name": "n", "taskReferenceName": "n", "type": "NOOP" }] });
    // By name the schedules come first, but they are applied last.
    let both = json!([schedule("good", "flow"), schedule("broken", "nowhere")]);
    std::fs::write(folder.path().join("a-schedules.json"), both.to_string()).unwrap();
    std::fs::write(folder.path().join("flow.json"), flow.to_string()).unwrap();
    let mut live = Live::start(&["--load", folder.path().to_str().unwrap()]).await;
    until(&live, "scheduleName=good AND state=EXECUTED", 2).await;
    // What cannot be started fails by itself, and stops nobody.
    let failed = until(&live, "scheduleName=broken AND state=FAILED", 2).await;
    assert!(failed["results"][0]["reason"].as_str().unwrap().contains("nowhere"), "{failed}");
    // And somebody hears of it.
    let begun = Instant::now();
    loop {
        let page = live.get("/api/incidents?monitor=nightbell").await;
        if page["results"][0]["key"] == "schedule:broken" {
            let text = page["results"][0]["text"].as_str().unwrap();
            assert!(text.contains("the schedule broken could not start its workflow"), "{text}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{page}; log: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let warned = "the schedule broken starts \"nowhere\", which does not exist";
    assert!(
        live.log_text().contains(&warned.replace('"', "\\\"")) || live.log_text().contains(warned)
    );

    live.http
        .put(live.url("/api/scheduler/schedules/broken/pause?reason=mend"))
        .send()
        .await
        .unwrap();
    live.kill();
    let down = jiff::Timestamp::now().as_millisecond();
    pass_instants(down, 2).await;
    live.launch().await;
    let up = jiff::Timestamp::now().as_millisecond();
    // What came due while it was down is made up for, once.
    let during = format!("scheduleName=good AND scheduledTime%3E{down} AND scheduledTime%3C{up}");
    let page = until(&live, &format!("{during} AND state=EXECUTED"), 2).await;
    until(&live, &format!("scheduleName=good AND state=EXECUTED AND scheduledTime%3E{up}"), 1)
        .await;
    let mut times: Vec<i64> = page["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|firing| firing["scheduledTime"].as_i64().unwrap())
        .collect();
    let count = times.len();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), count, "no instant fires twice");
    let broken = live.get("/api/scheduler/schedules/broken").await;
    assert_eq!(broken["pausedReason"], "mend", "the same file does not resume it");

    // A file with a mistake in it changes nothing.
    let wrong = json!([schedule("new", "flow"), { "name": "wrong", "cronExpression": "x" }]);
    std::fs::write(folder.path().join("wrong.json"), wrong.to_string()).unwrap();
    let begun = Instant::now();
    while !live.log_text().contains("wrong.json") {
        assert!(begun.elapsed() < PATIENCE, "{}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(live.get("/api/scheduler/schedules").await.as_array().unwrap().len(), 2);
}
