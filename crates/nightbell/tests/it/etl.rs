//! The first example, whole: 519 stargazers on six pages, each new one posted exactly once.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::dev::{self, Options};
use crate::live::Live;

#[tokio::test(flavor = "multi_thread")]
async fn every_new_stargazer_is_posted_once() {
    let mut options = Options::tour(jiff::Timestamp::now());
    options.recent = 519;
    options.github_failures = vec![500];
    options.orbit_failures = vec![429, 500];
    let stand_ins = dev::start(options).await.expect("the stand-ins start");
    let seed = stand_ins.seed();
    let live = Live::start(&[]).await;
    live.post("/api/metadata/taskdefs", &quick(seed.task_defs)).await;
    live.post("/api/metadata/workflow", &seed.workflow).await;
    let id = live.post("/api/workflow", &seed.start).await;
    let id = id.as_str().expect("an id");

    let workflow = live.ended(id, Duration::from_mins(3)).await;
    assert_eq!(workflow["status"], "COMPLETED", "{}", workflow["reasonForIncompletion"]);
    assert_eq!(workflow["output"]["new_stars"], 519, "{}", workflow["output"]);
    let posted = stand_ins.posted();
    assert_eq!(posted.len(), 519);
    let keys: BTreeSet<String> =
        posted.iter().map(|activity| activity.body["activity"]["key"].to_string()).collect();
    assert_eq!(keys.len(), 519, "no two activities are the same");
    let repeated: Vec<&dev::Activity> =
        posted.iter().filter(|activity| activity.post_count != 1).collect();
    assert!(repeated.is_empty(), "posted more than once: {repeated:?}");
    let tasks = workflow["tasks"].as_array().expect("tasks");
    let pages = tasks.iter().filter(|task| {
        let reference = task["referenceTaskName"].as_str().unwrap_or_default();
        reference.starts_with("fetch_page__") && task["status"] == "COMPLETED"
    });
    assert_eq!(pages.count(), 6);
}

/// The same task definitions without the pauses that real services need.
fn quick(mut task_defs: Value) -> Value {
    for task in task_defs.as_array_mut().expect("a list") {
        task["retryDelaySeconds"] = 0.into();
        if task["rateLimitPerFrequency"].as_i64().unwrap_or(0) > 0 {
            task["rateLimitFrequencyInSeconds"] = 1.into();
        }
    }
    task_defs
}
