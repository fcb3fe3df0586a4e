//! The ETL example, whole: 519 stargazers on six pages, each new one posted exactly once; and the
//! same for several repositories by night.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::dev::{self, Options, Repository};
use crate::example;
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

/// The night's run over the example's three repositories. GitHub knows the first of them and
/// `known`: names, stars, and how many of these are new.
async fn night(known: &[(&str, u32, u32)]) -> (Value, Vec<dev::Activity>, Live) {
    let mut options = Options::tour(jiff::Timestamp::now());
    (options.stargazers, options.recent) = (3_903, 3);
    options.orbit_failures = vec![429];
    let repository = |&(name, stargazers, recent): &(&str, u32, u32)| {
        let (account, repo) = name.split_once('/').expect("owner/name");
        Repository { account: account.to_owned(), repo: repo.to_owned(), stargazers, recent }
    };
    options.others = known.iter().map(repository).collect();
    let secrets = [
        ("GITHUB_TOKEN", options.github_token.clone()),
        ("ORBIT_APIKEY", options.orbit_apikey.clone()),
    ];
    let secrets: Vec<(&str, &str)> =
        secrets.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let stand_ins = dev::start(options).await.expect("the stand-ins start");
    let addresses = [
        ("https://api.github.com", stand_ins.github_url()),
        ("https://app.orbit.love/api/v1", stand_ins.orbit_url()),
    ];
    let addresses = addresses.each_ref().map(|(address, other)| (*address, other.as_str()));
    let folder = example::copy("etl-github-orbit", &addresses);
    let live = Live::start(&["--load", folder.path().to_str().expect("UTF-8")]).await;
    example::keep(&live, &secrets).await;
    let run = example::fire(&live, "github-stars-nightly").await;
    for (_, secret) in secrets {
        assert!(!run.to_string().contains(secret), "{secret} is shown in {run}");
    }
    (run, stand_ins.posted(), live)
}

#[tokio::test(flavor = "multi_thread")]
async fn by_night_all_repositories_are_read_at_once_and_added_up() {
    let known = [("uber/cadence", 3_902, 2), ("temporalio/temporal", 120, 0)];
    let (run, posted, live) = night(&known).await;
    assert_eq!(run["status"], "COMPLETED", "{}", run["reasonForIncompletion"]);
    let output = &run["output"];
    assert_eq!(output["new_stars"], 5, "{output}");
    assert_eq!(output["unread"], json!([]));
    let counts: Vec<(&str, i64)> = output["repositories"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["repository"].as_str().unwrap(), one["new_stars"].as_i64().unwrap()))
        .collect();
    let wanted = [("netflix/conductor", 3), ("uber/cadence", 2), ("temporalio/temporal", 0)];
    assert_eq!(counts, wanted);
    // People 3,900 and 3,901 are new in the first two.
    let several: BTreeSet<&str> =
        output["in_several"].as_array().unwrap().iter().map(|who| who.as_str().unwrap()).collect();
    assert_eq!(several.len(), 2, "{output}");
    assert!(several.iter().all(|who| who.ends_with("-3900") || who.ends_with("-3901")));

    let keys: BTreeSet<&str> =
        posted.iter().map(|one| one.body["activity"]["key"].as_str().unwrap()).collect();
    assert_eq!((posted.len(), keys.len()), (5, 5), "{keys:?}");
    assert!(posted.iter().all(|one| one.post_count == 1), "{posted:?}");
    assert_eq!(keys.iter().filter(|key| key.contains("/uber/cadence/")).count(), 2, "{keys:?}");

    // Paused until it is wanted; then every midnight in London.
    let path = "/api/scheduler/schedules/github-stars-nightly";
    assert_eq!(live.get(&format!("{path}/next")).await, json!([]));
    let resumed = live.http.put(live.url(&format!("{path}/resume"))).send().await.unwrap();
    assert!(resumed.status().is_success());
    let next = live.get(&format!("{path}/next?limit=3")).await;
    assert_eq!(next.as_array().map(Vec::len), Some(3), "{next}");
    for planned in next.as_array().unwrap() {
        let at = jiff::Timestamp::from_millisecond(planned["scheduledTime"].as_i64().unwrap());
        let at = at.unwrap().in_tz("Europe/London").unwrap();
        assert_eq!(at.time(), jiff::civil::time(0, 0, 0, 0), "{at}");
        assert!(at.timestamp() > jiff::Timestamp::now(), "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_fails_by_night_stops_no_other_and_is_told() {
    let (run, posted, _live) = night(&[("uber/cadence", 3_902, 2)]).await;
    assert_eq!(run["status"], "FAILED");
    let reason = run["reasonForIncompletion"].as_str().unwrap();
    assert!(reason.contains("temporalio/temporal"), "{reason}");
    assert_eq!(run["output"]["unread"], json!(["temporalio/temporal"]));
    assert_eq!(run["output"]["new_stars"], 5);
    assert_eq!(posted.len(), 5);
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
