//! Clients, workers and a pager of a cluster: they use any server, try again what was not answered, and
//! note what was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::audit::{Report, TASKS, Tale};

/// The key with which alerts are sent.
const KEY: &str = "k-faults-0123456789abcdef";
/// Clients that start runs and send alerts.
const CLIENTS: usize = 3;
/// Between two starts of each of them.
const PACE: Duration = Duration::from_millis(25);
/// Before something that was not answered is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// The world around a cluster.
pub(super) struct Load {
    doors: Vec<String>,
    http: reqwest::Client,
    pub(super) tale: Mutex<Tale>,
    /// How many reports were acknowledged.
    pub(super) progress: AtomicU64,
    /// When the last one was, and the longest time without one.
    gap: Mutex<(Instant, Duration)>,
    number: AtomicU64,
    /// Nothing is started any more; and nobody works any more.
    pub(super) has_started: AtomicBool,
    pub(super) has_ended: AtomicBool,
}

impl Load {
    /// Clients and workers of servers at these addresses, once everything is defined there; and the tasks
    /// that they are.
    pub(super) async fn begin(doors: Vec<String>) -> (Arc<Self>, Vec<tokio::task::JoinHandle<()>>) {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build();
        let load = Arc::new(Self {
            doors,
            http: http.expect("a client"),
            tale: Mutex::default(),
            progress: AtomicU64::new(0),
            gap: Mutex::new((Instant::now(), Duration::ZERO)),
            number: AtomicU64::new(0),
            has_started: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
        });
        let pager = load.clone().pager().await;
        load.define(&pager).await;
        let mut tasks: Vec<_> =
            (0..CLIENTS).map(|_| tokio::spawn(load.clone().start_runs())).collect();
        for (lane, queue) in TASKS.into_iter().cycle().take(4).enumerate() {
            tasks.push(tokio::spawn(load.clone().work(queue, lane)));
        }
        (load, tasks)
    }

    /// Forgets the longest time without an acknowledged report, and answers it.
    pub(super) fn take_gap(&self) -> Duration {
        let mut gap = self.gap.lock();
        let longest = gap.1.max(gap.0.elapsed());
        gap.1 = Duration::ZERO;
        longest
    }

    async fn define(&self, pager: &str) {
        let task =
            |name: &str| json!({ "name": name, "taskReferenceName": name, "type": "SIMPLE" });
        let rule = |name: &str| {
            json!({ "name": name, "retryCount": 50, "retryDelaySeconds": 0,
                "responseTimeoutSeconds": 3, "timeoutSeconds": 0 })
        };
        let job = json!({ "name": "job", "version": 1, "schemaVersion": 2,
            "tasks": TASKS.map(task) });
        let monitors = json!({
            "receivers": { "pager": { "webhook": { "url": pager } } },
            "routes": [{ "to": "pager" }],
            "monitors": { "faults": { "alerts": { "key": KEY } } }
        });
        for (method, path, body) in [
            (reqwest::Method::POST, "/api/metadata/taskdefs", json!(TASKS.map(rule))),
            (reqwest::Method::POST, "/api/metadata/workflow", job),
            (reqwest::Method::PUT, "/api/monitors", monitors),
        ] {
            let request = self.http.request(method, format!("{}{path}", self.doors[0]));
            let answer = request.json(&body).send().await.expect("all is well at first");
            assert!(answer.status().is_success(), "{path}: {answer:?}");
        }
    }

    /// Another number each time, and a server to ask.
    fn next(&self) -> (u64, &str) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        (number, &self.doors[number as usize % self.doors.len()])
    }

    /// Starts a run and sends an alert again and again, each until it is acknowledged.
    async fn start_runs(self: Arc<Self>) {
        while !self.has_started.load(Ordering::Acquire) {
            let (number, _) = self.next();
            let (key, alert) = (format!("k{number}"), format!("f{number}"));
            self.tale.lock().starts.insert(key.clone(), None);
            let started = self
                .until_taken(|door| {
                    let request = self.http.post(format!("{door}/api/workflow/job"));
                    let request = request.header("X-Idempotency-Key", &key);
                    let request = request.header("X-on-conflict", "RETURN_EXISTING");
                    request.json(&json!({ "key": key }))
                })
                .await;
            let Some(id) = started else { return };
            self.tale.lock().starts.insert(key, Some(id));
            self.tale.lock().alerts.insert(alert.clone(), false);
            let sent = self
                .until_taken(|door| {
                    let alerts = json!([{ "labels": { "alertname": alert },
                        "endsAt": "2099-01-01T00:00:00Z" }]);
                    self.http.post(format!("{door}/inbound/{KEY}/api/v2/alerts")).json(&alerts)
                })
                .await;
            if sent.is_none() {
                return;
            }
            self.tale.lock().alerts.insert(alert, true);
            tokio::time::sleep(PACE).await;
        }
    }

    /// Asks one server after the other until a request is answered well; nothing, if the load ends before.
    async fn until_taken(
        &self,
        request: impl Fn(&str) -> reqwest::RequestBuilder,
    ) -> Option<String> {
        while !self.has_ended.load(Ordering::Acquire) {
            if let Ok(answer) = request(self.next().1).send().await
                && answer.status().is_success()
                && let Ok(text) = answer.text().await
            {
                return Some(text);
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// Polls and reports until told to stop.
    async fn work(self: Arc<Self>, queue: &'static str, lane: usize) {
        while !self.has_ended.load(Ordering::Acquire) {
            let query = format!("{queue}?count=5&timeout=300&workerid={queue}-{lane}");
            let url = format!("{}/api/tasks/poll/batch/{query}", self.next().1);
            let polled = match self.http.get(url).send().await {
                Ok(answer) => answer.json::<Vec<Value>>().await.ok(),
                Err(_) => None,
            };
            let Some(tasks) = polled else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            for task in tasks {
                self.report(&task).await;
            }
        }
    }

    /// Reports until somebody has heard it, or will never.
    async fn report(&self, task: &Value) {
        let id = task["taskId"].as_str().expect("an id").to_owned();
        let token = format!("w{}", self.next().0);
        let report = Report { token: token.clone(), acknowledged: None };
        self.tale.lock().reports.entry(id.clone()).or_default().push(report);
        let body = json!({ "taskId": id, "workflowInstanceId": task["workflowInstanceId"],
            "status": "COMPLETED", "outputData": { "token": token } });
        while !self.has_ended.load(Ordering::Acquire) {
            let sent =
                self.http.post(format!("{}/api/tasks", self.next().1)).json(&body).send().await;
            match sent.map(|answer| answer.status()) {
                Ok(status) if status.is_success() => {
                    let mut tale = self.tale.lock();
                    let reports = tale.reports.entry(id).or_default();
                    let own = reports.iter_mut().find(|it| it.token == token);
                    own.expect("it was noted").acknowledged = Some(now());
                    self.progress.fetch_add(1, Ordering::Relaxed);
                    let mut gap = self.gap.lock();
                    gap.1 = gap.1.max(gap.0.elapsed());
                    gap.0 = Instant::now();
                    return;
                }
                // It was given to another one meanwhile.
                Ok(status) if status.is_client_error() => return,
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Counts pages; its address.
    async fn pager(self: Arc<Self>) -> String {
        async fn paged(State(load): State<Arc<Load>>, headers: HeaderMap, Json(body): Json<Value>) {
            if body["event"] != "trigger" {
                return;
            }
            let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
            let alert = text(&body["key"]);
            let key = headers.get("idempotency-key").and_then(|it| it.to_str().ok());
            let mut tale = load.tale.lock();
            let pages: &mut BTreeMap<String, u32> = tale.pages.entry(alert).or_default();
            *pages.entry(key.unwrap_or_default().to_owned()).or_default() += 1;
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
        let router = Router::new().fallback(axum::routing::post(paged)).with_state(self);
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// Every run that there is, whole.
    pub(super) async fn runs(&self) -> Vec<Value> {
        let get = async |path: &str| {
            let asked = self.http.get(format!("{}{path}", self.doors[0])).send().await;
            let answer = asked.expect("all is well again").json::<Value>().await;
            answer.expect("JSON")
        };
        let mut found = Vec::new();
        loop {
            let page = get(&format!("/api/workflow/search?start={}&size=500", found.len())).await;
            let rows = page["results"].as_array().expect("results").clone();
            if rows.is_empty() {
                return found;
            }
            for row in rows {
                let id = row["workflowId"].as_str().expect("an id");
                found.push(get(&format!("/api/workflow/{id}")).await);
            }
        }
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}
