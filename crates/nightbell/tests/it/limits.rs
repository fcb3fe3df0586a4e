//! Limits, queues, leases and timers as workers and callers meet them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::live::Live;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn simple(name: &str) -> Value {
    json!({ "name": name, "taskReferenceName": name, "type": "SIMPLE" })
}

fn wait(duration: &str) -> Value {
    json!({ "name": "w", "taskReferenceName": "w", "type": "WAIT",
            "inputParameters": { "duration": duration } })
}

async fn task_def(live: &Live, definition: Value) {
    live.post("/api/metadata/taskdefs", &json!([definition])).await;
}

/// Waits until an execution waits for this reason, and answers the sentence.
async fn until_waiting(live: &Live, id: &str, code: &str) -> String {
    let begun = Instant::now();
    loop {
        let why = live.get(&format!("/api/workflow/{id}/why")).await;
        if why["waiting"][0]["code"] == code {
            return why["waiting"][0]["reason"].as_str().unwrap().to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "not '{code}': {why}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn done(live: &Live, task: &Value) {
    live.report(task, json!({ "status": "COMPLETED", "outputData": {} })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_out_than_the_limit_allows() {
    const RUNS: usize = 30;
    const LIMIT: usize = 3;
    let live = Arc::new(Live::start(&[]).await);
    task_def(&live, json!({ "name": "lim", "concurrentExecLimit": LIMIT, "retryCount": 0 })).await;
    live.define("flow", json!([simple("lim")])).await;
    let (out, most, finished) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let shared = Arc::new((out, most, finished));
    let mut workers = Vec::new();
    for _ in 0..8 {
        let (live, shared) = (live.clone(), shared.clone());
        workers.push(tokio::spawn(async move {
            let (out, most, finished) = &*shared;
            while finished.load(Ordering::SeqCst) < RUNS {
                let tasks = live.poll("lim?count=5&timeout=200").await;
                let now = out.fetch_add(tasks.len(), Ordering::SeqCst) + tasks.len();
                most.fetch_max(now, Ordering::SeqCst);
                for task in tasks {
                    // The first is held until there is a second: that they are out at once is seen.
                    let begun = Instant::now();
                    while most.load(Ordering::SeqCst) < 2 && begun.elapsed() < PATIENCE {
                        tokio::time::sleep(Duration::from_millis(3)).await;
                    }
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    // Before the report: the slot may be taken while it is under way.
                    out.fetch_sub(1, Ordering::SeqCst);
                    done(&live, &task).await;
                    finished.fetch_add(1, Ordering::SeqCst);
                }
            }
        }));
    }
    let mut ids = Vec::new();
    for _ in 0..RUNS {
        ids.push(live.begin("flow", &json!({})).await);
    }
    for id in ids {
        assert_eq!(live.ended(&id, PATIENCE).await["status"], "COMPLETED");
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let most = shared.1.load(Ordering::SeqCst);
    assert!((2..=LIMIT).contains(&most), "{most} were out at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_limit_is_told_and_a_freed_slot_wakes_whoever_waits() {
    let live = Live::start(&[]).await;
    task_def(&live, json!({ "name": "lim", "concurrentExecLimit": 1, "retryCount": 0 })).await;
    live.define("flow", json!([simple("lim")])).await;
    let first = live.begin("flow", &json!({})).await;
    let second = live.begin("flow", &json!({})).await;
    assert!(
        until_waiting(&live, &first, "no-worker")
            .await
            .contains("no worker has polled 'lim' since the server started")
    );
    let held = live.poll("lim?count=5&timeout=5000").await;
    assert_eq!(held.len(), 1);
    let reason = until_waiting(&live, &second, "concurrency-limit").await;
    assert_eq!(reason, "the limit of 1 at once is reached");

    // Both wait for as long as they may; the report alone can wake one of them.
    let (waiter, other) = (live.poll("lim?timeout=5000"), live.poll("lim?timeout=5000"));
    let report = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        done(&live, &held[0]).await;
    };
    let (waiter, other, ()) = tokio::join!(waiter, other, report);
    assert_eq!(waiter.len() + other.len(), 1);
    assert_eq!(live.ended(&first, PATIENCE).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_holds_for_a_built_in_task_by_its_name() {
    let live = Live::start_as("serve", &[], &[("NIGHTBELL_OUTGOING_OWN", "on")]).await;
    let limit =
        json!({ "name": "rated", "rateLimitPerFrequency": 2, "rateLimitFrequencyInSeconds": 2 });
    task_def(&live, limit).await;
    let call = json!({ "name": "rated", "taskReferenceName": "call", "type": "HTTP",
        "inputParameters": { "uri": live.url("/health"), "method": "GET" } });
    let free = json!({ "name": "free", "taskReferenceName": "call", "type": "HTTP",
        "inputParameters": { "uri": live.url("/health"), "method": "GET" } });
    live.define("rated", json!([call])).await;
    live.define("free", json!([free])).await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(live.begin("rated", &json!({})).await);
    }
    let reason = until_waiting(&live, &ids[5], "rate-limit").await;
    assert!(reason.starts_with("the rate limit of 2 per 2 s is reached, next at "), "{reason}");
    // Another name in the same queue is not held up.
    let id = live.begin("free", &json!({})).await;
    assert_eq!(live.ended(&id, PATIENCE).await["status"], "COMPLETED");
    let last = live.get(&format!("/api/workflow/{}", ids[5])).await;
    assert_eq!(last["status"], "RUNNING");

    let mut begun = Vec::new();
    for id in &ids {
        let ended = live.ended(id, PATIENCE).await;
        assert_eq!(ended["status"], "COMPLETED", "{ended}");
        begun.push(ended["tasks"][0]["startTime"].as_i64().unwrap());
    }
    begun.sort_unstable();
    // What is handed out is counted; it may begin a little later.
    assert!(begun.windows(3).all(|three| three[2] - three[0] >= 1500), "{begun:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_and_priorities_are_kept() {
    let live = Live::start(&[]).await;
    live.define("flow", json!([simple("t")])).await;
    for (priority, domain) in [(1, "blue"), (99, "blue"), (50, "blue"), (7, "")] {
        let domains = if domain.is_empty() { json!({}) } else { json!({ "t": domain }) };
        let start = json!({ "name": "flow", "priority": priority, "taskToDomain": domains });
        live.post("/api/workflow", &start).await;
    }
    let priorities = |tasks: &[Value]| {
        tasks.iter().map(|task| task["workflowPriority"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let none = live.poll("t?domain=red&count=10&timeout=1").await;
    assert!(none.is_empty(), "{none:?}");
    let plain = live.poll("t?count=10&timeout=5000").await;
    assert_eq!(priorities(&plain), [7]);
    let blue = live.poll("t?domain=blue&count=10&timeout=5000").await;
    assert_eq!(priorities(&blue), [99, 50, 1]);
    assert_eq!(blue[0]["domain"], "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_is_woken_by_a_start_and_by_the_clock() {
    let live = Live::start(&[]).await;
    live.define("now", json!([simple("now")])).await;
    let mut later = simple("later");
    later["startDelay"] = 2.into();
    live.define("later", json!([later])).await;
    let start = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        live.begin("now", &json!({})).await
    };
    let (tasks, id) = tokio::join!(live.poll("now?timeout=5000"), start);
    assert_eq!(tasks[0]["workflowInstanceId"], *id);

    // The first to wait is gone when the task becomes ready; the second must know of it too.
    let second = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        live.poll("later?timeout=5000").await
    };
    let start = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        live.begin("later", &json!({})).await;
    };
    let (first, second, ()) = tokio::join!(live.poll("later?timeout=500"), second, start);
    assert_eq!((first.len(), second.len()), (0, 1));
    let task = live.get(&format!("/api/tasks/{}", second[0]["taskId"].as_str().unwrap())).await;
    let early = task["scheduledTime"].as_i64().unwrap() + 2000;
    assert!(task["startTime"].as_i64().unwrap() >= early, "{task}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_end_are_extended_and_called_back() {
    let live = Live::start(&[]).await;
    task_def(
        &live,
        json!({ "name": "slow", "retryCount": 1, "retryDelaySeconds": 0,
                "timeoutPolicy": "RETRY", "responseTimeoutSeconds": 2 }),
    )
    .await;
    live.define("flow", json!([simple("slow")])).await;
    let id = live.begin("flow", &json!({})).await;
    let lost = live.poll("slow?timeout=5000").await.remove(0);
    let again = live.poll("slow?timeout=5000").await.remove(0);
    assert_ne!(lost["taskId"], again["taskId"]);
    assert_eq!(again["retryCount"], 1);
    // Too late, and harmless.
    live.report(&lost, json!({ "status": "COMPLETED", "outputData": { "late": true } })).await;

    // Twice the lease, extended in time.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        live.report(&again, json!({ "extendLease": true })).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let result =
        json!({ "status": "IN_PROGRESS", "callbackAfterSeconds": 1, "outputData": { "n": 1 } });
    live.report(&again, result).await;
    let none = live.poll("slow?timeout=1").await;
    assert!(none.is_empty(), "called back at once: {none:?}");
    let back = live.poll("slow?timeout=5000").await.remove(0);
    assert_eq!(back["taskId"], again["taskId"]);
    assert_eq!(back["outputData"]["n"], 1);
    done(&live, &back).await;
    let ended = live.ended(&id, PATIENCE).await;
    assert_eq!(ended["status"], "COMPLETED");
    let statuses: Vec<&str> =
        ended["tasks"].as_array().unwrap().iter().map(|t| t["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["TIMED_OUT", "COMPLETED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_timers_fire_and_none_of_them_early() {
    let live = Live::start(&[]).await;
    live.define("wait", json!([wait("1 seconds")])).await;
    let nothing = json!({});
    let starts = (0..500).map(|_| live.begin("wait", &nothing));
    let ids = futures_util::future::join_all(starts).await;
    for id in ids {
        let ended = live.ended(&id, PATIENCE).await;
        assert_eq!(ended["status"], "COMPLETED");
        let task = &ended["tasks"][0];
        let took = task["endTime"].as_i64().unwrap() - task["startTime"].as_i64().unwrap();
        assert!(took >= 1000, "early: {task}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_execution_answers_at_the_end_at_a_task_or_in_time() {
    let live = Live::start(&[]).await;
    let inline = json!({ "name": "a", "taskReferenceName": "a", "type": "INLINE",
        "inputParameters": { "evaluatorType": "javascript", "expression": "$.v + 1", "v": "${workflow.input.v}" } });
    live.define("quick", json!([inline, wait("1 seconds")])).await;
    live.define("stuck", json!([inline, simple("nobody")])).await;
    let input = json!({ "input": { "v": 4 } }).to_string();
    let execute = |path: &'static str| {
        let body = input.clone();
        let live = &live;
        async move {
            let (status, answer) =
                live.ask(Method::POST, &format!("/api/workflow/execute/{path}"), body).await;
            assert_eq!(status, 200, "{path}: {answer}");
            answer
        }
    };
    let whole = execute("quick/1?waitForSeconds=60").await;
    assert_eq!(whole["targetWorkflowStatus"], "COMPLETED");
    assert_eq!(whole["signalTimeout"], false);
    let until = execute("stuck/1?waitForSeconds=60&waitUntilTaskRef=a").await;
    assert_eq!(until["targetWorkflowStatus"], "RUNNING");
    assert_eq!(until["signalTimeout"], false);
    assert_eq!(until["tasks"][0]["outputData"]["result"], 5);
    let late = execute("stuck/1?waitForSeconds=1").await;
    assert_eq!(late["targetWorkflowStatus"], "RUNNING");
    assert_eq!(late["signalTimeout"], true);

    // Woken by the worker's report, long before the hour is over.
    let worker = async {
        loop {
            for task in live.poll("nobody?count=3&timeout=100").await {
                done(&live, &task).await;
            }
        }
    };
    let woken = tokio::select! {
        woken = execute("stuck/1?waitForSeconds=3600") => woken,
        () = worker => unreachable!("the worker works for ever"),
    };
    assert_eq!(woken["targetWorkflowStatus"], "COMPLETED");
    let (status, _) = live.ask(Method::POST, "/api/workflow/execute/none/1", "{}").await;
    assert_eq!(status, 404);
    let (status, _) =
        live.ask(Method::POST, "/api/workflow/execute/quick/1?waitForSeconds=soon", "{}").await;
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_removes_what_has_finished_and_nothing_else() {
    let live = Live::start(&["--retention-count", "10"]).await;
    live.define("noop", json!([{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }])).await;
    live.define("hold", json!([simple("hold")])).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(live.begin("hold", &json!({})).await);
    }
    for _ in 0..30 {
        live.begin("noop", &json!({})).await;
    }
    let begun = Instant::now();
    loop {
        let found = live.get("/api/workflow/search?size=1").await;
        if found["totalHits"] == 13 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_mins(2), "{} are kept", found["totalHits"]);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    for id in held {
        let shown = live.get(&format!("/api/workflow/{id}")).await;
        assert_eq!(shown["status"], "RUNNING");
    }
    for task in live.poll("hold?count=10&timeout=5000").await {
        done(&live, &task).await;
    }
}
