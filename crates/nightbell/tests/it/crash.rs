//! SIGKILL at random moments while thousands of executions are in flight: every execution finishes
//! once, and no task that was reported as completed is ever handed out again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::live::Live;

/// Times the server is killed.
const KILLS: usize = 22;
/// Executions started over the time of the killing.
const EXECUTIONS: usize = 3000;
/// How long everything may take to finish after the last kill, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

/// What the outside world saw.
#[derive(Default)]
struct Seen {
    /// Starts that were acknowledged.
    started: BTreeSet<String>,
    /// Tasks whose completion was acknowledged, and when.
    completed: BTreeMap<String, Instant>,
    /// Tasks handed out to who asked after their completion was acknowledged: must stay empty. Two workers may
    /// hold a task at once, if the server was killed before it noted the first.
    again: Vec<String>,
    /// Calls that the HTTP tasks made, by execution.
    calls: BTreeMap<String, u32>,
}

impl Seen {
    /// A task was handed out to who had asked at this instant.
    fn handed_out(&mut self, id: &str, asked: Instant) {
        if self.completed.get(id).is_some_and(|at| *at < asked) {
            self.again.push(id.to_owned());
        }
    }
}

type Shared = Arc<Mutex<Seen>>;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_runs_again() {
    let seen = Shared::default();
    let stand_in = stand_in(seen.clone()).await;
    let mut live = Live::start(&["--log-level", "warn"]).await;
    register(&live, &stand_in).await;

    let stop = Arc::new(AtomicBool::new(false));
    let base = live.url("");
    let mut helpers = Vec::new();
    for lane in 0..2 {
        for queue in ["crash_a", "crash_b"] {
            let (base, seen, stop) = (base.clone(), seen.clone(), stop.clone());
            helpers.push(tokio::spawn(worker(base, queue, lane, seen, stop)));
        }
    }
    let starter = tokio::spawn(starter(base.clone(), seen.clone()));

    let mut random = Random::new();
    println!("moments drawn from seed {}", random.0);
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(100 + random.below(500))).await;
        live.kill();
        live.launch().await;
    }
    starter.await.expect("every start was acknowledged in the end");

    let begun = Instant::now();
    loop {
        let running = live.get("/api/workflow/search?query=status=RUNNING&size=1").await;
        if running["totalHits"] == 0 {
            break;
        }
        if begun.elapsed() > PATIENCE {
            let id = running["results"][0]["workflowId"].as_str().unwrap_or_default().to_owned();
            let why = live.get(&format!("/api/workflow/{id}/why")).await;
            panic!(
                "{} still run, one of them: {why}; log {}",
                running["totalHits"],
                live.log_text()
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stop.store(true, Ordering::Release);
    for helper in helpers {
        helper.await.expect("a worker ends");
    }
    judge(&live, &seen).await;
}

/// Looks at every execution that there is.
async fn judge(live: &Live, seen: &Shared) {
    let mut found = BTreeSet::new();
    let mut start = 0;
    loop {
        let page = live.get(&format!("/api/workflow/search?start={start}&size=500")).await;
        let rows = page["results"].as_array().expect("results").clone();
        if rows.is_empty() {
            break;
        }
        start += rows.len();
        for row in rows {
            assert_eq!(row["status"], "COMPLETED", "{row}");
            found.insert(row["workflowId"].as_str().expect("an id").to_owned());
        }
    }
    let (started, again, calls) = {
        let seen = seen.lock();
        (seen.started.clone(), seen.again.clone(), seen.calls.clone())
    };
    assert!(again.is_empty(), "handed out again after completion: {again:?}");
    assert!(started.len() >= EXECUTIONS);
    let lost: Vec<&String> = started.difference(&found).collect();
    assert!(lost.is_empty(), "acknowledged but lost: {lost:?}");
    for id in started.iter().step_by(7) {
        let workflow = live.get(&format!("/api/workflow/{id}")).await;
        once_each(&workflow);
        if workflow["workflowName"] == "crash_http" {
            assert!(calls.get(id).is_some_and(|calls| *calls >= 1), "{id} never called out");
        }
    }
}

/// Every reference has exactly one completed attempt, and nothing is left open.
fn once_each(workflow: &Value) {
    let mut completed = BTreeMap::<String, u32>::new();
    for task in workflow["tasks"].as_array().expect("tasks") {
        let reference = task["referenceTaskName"].as_str().expect("a name").to_owned();
        match task["status"].as_str().expect("a status") {
            "COMPLETED" => *completed.entry(reference).or_default() += 1,
            // Its answer was lost with the server; after the response timeout it was tried again.
            "TIMED_OUT" if task["retried"] == true => {}
            status => panic!("{reference} is {status} in {}", workflow["workflowId"]),
        }
    }
    assert!(completed.values().all(|count| *count == 1), "{completed:?}");
}

async fn register(live: &Live, stand_in: &str) {
    let simple = |name: &str, reference: &str| {
        json!({ "name": name, "taskReferenceName": reference, "type": "SIMPLE",
                "inputParameters": { "n": "${workflow.input.n}" } })
    };
    let definition = |name: &str, tasks: Value| json!({ "name": name, "version": 1, "schemaVersion": 2, "tasks": tasks });
    let task = |name: &str| {
        json!({ "name": name, "retryCount": 10, "retryDelaySeconds": 0,
                "responseTimeoutSeconds": 3, "timeoutSeconds": 0 })
    };
    live.post("/api/metadata/taskdefs", &json!([task("crash_a"), task("crash_b"), task("call")]))
        .await;
    let call = json!({ "name": "call", "taskReferenceName": "call", "type": "HTTP",
        "inputParameters": { "http_request": { "uri": stand_in, "method": "POST",
            "readTimeOut": 10000, "body": { "id": "${workflow.workflowId}" } } } });
    let wait = json!({ "name": "w", "taskReferenceName": "w", "type": "WAIT",
        "inputParameters": { "duration": "2 s" } });
    let child = json!({ "name": "child", "taskReferenceName": "child", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "crash_child" } });
    for (name, tasks) in [
        ("crash_workers", json!([simple("crash_a", "one"), simple("crash_b", "two")])),
        ("crash_http", json!([simple("crash_a", "one"), call])),
        ("crash_waits", json!([wait, simple("crash_b", "two")])),
        ("crash_child", json!([simple("crash_a", "one")])),
        ("crash_parent", json!([child, simple("crash_b", "two")])),
    ] {
        live.post("/api/metadata/workflow", &definition(name, tasks)).await;
    }
}

/// Starts executions until enough were acknowledged, whatever happens to the server.
async fn starter(base: String, seen: Shared) {
    let http = client();
    let kinds = ["crash_workers", "crash_http", "crash_waits", "crash_parent"];
    let mut number = 0_usize;
    while seen.lock().started.len() < EXECUTIONS {
        let kind = kinds[number % kinds.len()];
        let body = json!({ "name": kind, "input": { "n": number } });
        let sent = http.post(format!("{base}/api/workflow")).json(&body).send().await;
        match sent {
            Ok(answer) if answer.status().is_success() => {
                if let Ok(id) = answer.text().await {
                    seen.lock().started.insert(id);
                    number += 1;
                }
            }
            // The server is away: it comes back.
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Polls and completes until told to stop, whatever happens to the server.
async fn worker(
    base: String,
    queue: &'static str,
    lane: usize,
    seen: Shared,
    stop: Arc<AtomicBool>,
) {
    let http = client();
    let poll =
        format!("{base}/api/tasks/poll/batch/{queue}?count=20&timeout=200&workerid={queue}-{lane}");
    while !stop.load(Ordering::Acquire) {
        let asked = Instant::now();
        let Ok(answer) = http.get(&poll).send().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let polled = answer.json::<Vec<Value>>().await.unwrap_or_default();
        for task in polled {
            let id = task["taskId"].as_str().expect("an id").to_owned();
            seen.lock().handed_out(&id, asked);
            let result = json!({ "taskId": id, "workflowInstanceId": task["workflowInstanceId"],
                "status": "COMPLETED", "outputData": { "n": task["inputData"]["n"] } });
            let sent = http.post(format!("{base}/api/tasks")).json(&result).send().await;
            // A report that is not acknowledged is not repeated: the task comes again by itself.
            if sent.is_ok_and(|answer| answer.status().is_success()) {
                seen.lock().completed.entry(id).or_insert_with(Instant::now);
            }
        }
    }
}

/// Counts the calls of the HTTP tasks.
async fn stand_in(seen: Shared) -> String {
    async fn called(State(seen): State<Shared>, Json(body): Json<Value>) -> Json<Value> {
        let id = body["id"].as_str().unwrap_or_default().to_owned();
        *seen.lock().calls.entry(id).or_default() += 1;
        Json(json!({ "ok": true }))
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let router = axum::Router::new().route("/call", post(called)).with_state(seen);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/call")
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(10)).build().expect("a client")
}

/// Random enough for moments; the seed is told when the test fails.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(now.as_nanos() as u64)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
