//! Stand-ins of what a checklist speaks to, and files as its users write them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path as InPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use crate::live::Live;

/// How long a change may take on a busy machine, retries of pages included.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// `PagerDuty`'s first interface: takes events, or answers what it was told to.
#[derive(Clone, Default)]
pub(super) struct PagerDuty(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    /// Answers still to be given, by integration key; 0 = none ever. Then 200.
    script: BTreeMap<String, VecDeque<u16>>,
    taken: Vec<Value>,
    refused: Vec<(u16, Value)>,
    url: String,
}

/// Batchy: what it knows of each workflow.
#[derive(Clone, Default)]
pub(super) struct Batchy(Arc<Mutex<BTreeMap<String, Value>>>);

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

impl PagerDuty {
    pub(super) async fn start() -> Self {
        let pages = Self::default();
        let path = "/generic/2010-04-15/create_event.json";
        let router = Router::new().route(path, post(page)).with_state(pages.clone());
        let url = serve(router).await;
        pages.0.lock().unwrap().url = url;
        pages
    }

    pub(super) fn url(&self) -> String {
        self.0.lock().unwrap().url.clone()
    }

    /// Answers so to the next events of a service, and then well.
    pub(super) fn answers(&self, service: &str, statuses: &[u16]) {
        let statuses = statuses.iter().copied().collect();
        self.0.lock().unwrap().script.insert(service.to_owned(), statuses);
    }

    /// Every event that was taken: its type, and the service's key.
    pub(super) fn taken(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let taken = self.events();
        taken.iter().map(|it| (text(&it["event_type"]), text(&it["service_key"]))).collect()
    }

    /// The same, whole.
    pub(super) fn events(&self) -> Vec<Value> {
        self.0.lock().unwrap().taken.clone()
    }

    /// How many events of a type a service took.
    pub(super) fn count(&self, event: &str, service: &str) -> usize {
        let taken = self.taken();
        taken.iter().filter(|it| it.0 == event && it.1 == service).count()
    }

    /// The statuses of all that was not taken, for a service.
    pub(super) fn refusals(&self, service: &str) -> Vec<u16> {
        let pages = self.0.lock().unwrap();
        let of = |it: &&(u16, Value)| it.1["service_key"] == service;
        pages.refused.iter().filter(of).map(|it| it.0).collect()
    }

    /// Waits until so many events of a type were taken for a service.
    pub(super) async fn hears(&self, event: &str, service: &str, count: usize) {
        let say = || format!("{event} of {service}: {:?}", self.taken());
        until(|| self.count(event, service) >= count, say).await;
    }

    /// The one event of a type that a service took.
    pub(super) fn only(&self, event: &str, service: &str) -> Value {
        let events = self.events();
        let of = |it: &&Value| it["event_type"] == event && it["service_key"] == service;
        let found: Vec<&Value> = events.iter().filter(of).collect();
        assert_eq!(found.len(), 1, "{event} of {service}: {found:?}");
        found[0].clone()
    }
}

/// Waits until something holds.
pub(super) async fn until(holds: impl Fn() -> bool, say: impl Fn() -> String) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{}", say());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn page(State(pages): State<PagerDuty>, body: String) -> Response {
    let event: Value = serde_json::from_str(&body).unwrap();
    let service = event["service_key"].as_str().unwrap().to_owned();
    let status = {
        let mut pages = pages.0.lock().unwrap();
        let script = pages.script.get_mut(&service);
        let status = script.and_then(VecDeque::pop_front).unwrap_or(200);
        match status {
            200 => pages.taken.push(event.clone()),
            other => pages.refused.push((other, event.clone())),
        }
        status
    };
    let body = match status {
        0 => std::future::pending().await,
        200 => json!({ "status": "success", "message": "Event processed",
            "incident_key": event["incident_key"] }),
        400 => json!({ "status": "invalid event", "errors": ["service_key is wrong"] }),
        _ => json!({ "status": "throttled", "message": "Try again later" }),
    };
    let retry = [("retry-after", "1")];
    (StatusCode::from_u16(status).unwrap(), retry, body.to_string()).into_response()
}

impl Batchy {
    /// Starts one, and answers its host and port.
    pub(super) async fn start() -> (Self, String) {
        let batchy = Self::default();
        let router =
            Router::new().route("/get_status/{workflow}", get(status)).with_state(batchy.clone());
        let url = serve(router).await;
        (batchy, url.strip_prefix("http://").unwrap().to_owned())
    }

    /// A workflow ended so many minutes ago.
    pub(super) fn ended(&self, workflow: &str, minutes: i64, status: &str) {
        self.knows(workflow, minutes, status, "%Y-%m-%dT%H:%M:%S.%6f");
    }

    /// As [`Batchy::ended`], with instants in a format.
    pub(super) fn knows(&self, workflow: &str, minutes: i64, status: &str, format: &str) {
        let ago = |minutes: i64| {
            let at = Timestamp::now().checked_sub(minutes.minutes()).unwrap();
            at.strftime(format).to_string()
        };
        let global = json!({
            "batch_id": 17, "status": status, "failure_cnt": 0,
            "batch_start": ago(minutes + 2), "batch_end": ago(minutes),
        });
        self.0.lock().unwrap().insert(workflow.to_owned(), json!({ "global": global }));
    }
}

/// JSON that says it is HTML, and an empty object for what nobody knows, as batchy does.
async fn status(State(batchy): State<Batchy>, InPath(workflow): InPath<String>) -> Response {
    let known = batchy.0.lock().unwrap().get(&workflow).cloned();
    let body = known.unwrap_or_else(|| json!({}));
    ([("content-type", "text/html; charset=utf-8")], body.to_string()).into_response()
}

/// The key of the service of a check: 32 characters.
pub(super) fn key(name: &str) -> String {
    format!("{name:x<32}")
}

/// A batchy check that polls every second, all day.
pub(super) fn latency(name: &str) -> String {
    format!(
        "{name}:\n    type: batchy\n    pd_description: \"{name} is late\"\n    pd_service: \"{}\"\n    \
         wf_name: \"{name}\"\n    check_time: 00:00\n    poll_sec: 1\n    latency_min: 60\n",
        key(name)
    )
}

/// Fills `etl.cfg` as its users do.
pub(super) struct EtlCfg {
    pub(super) user: &'static str,
    pub(super) password: &'static str,
    pub(super) batchy: String,
    pub(super) redis: Option<String>,
    pub(super) more: &'static str,
}

impl Default for EtlCfg {
    fn default() -> Self {
        let batchy = "127.0.0.1:1".to_owned();
        Self { user: "jane", password: "s3cret", batchy, redis: None, more: "" }
    }
}

impl EtlCfg {
    pub(super) fn text(&self) -> String {
        use base64::Engine as _;
        let password = base64::prelude::BASE64_STANDARD.encode(self.password);
        let (server, port) = self.batchy.split_once(':').unwrap();
        let mut text = format!(
            "[google_apps]\nemail = {}\npassword = {password}\n\n[pager_duty]\nsubdomain = house\n\
             api_access_key = 0123456789\n{}\n\n[batchy]\nserver = {server}\nport = {port}\n\n\
             [function_type]\ntype = email,batchy\n\n[timezone]\ntimezone = America/New_York\n\n\
             [robopager]\nheartbeat_service = {}\n\n",
            self.user,
            self.more,
            key("heart"),
        );
        let enable = if self.redis.is_some() { "True" } else { "False" };
        write!(text, "[enable_redis]\nenable = {enable}\n\n").unwrap();
        let server = self.redis.as_deref().unwrap_or("127.0.0.1");
        write!(text, "[redis]\nserver = {server}\ndb = 1\n").unwrap();
        text
    }
}

/// Writes a file at once, as editors do.
pub(super) fn write(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!(".{name}.new"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, folder.join(name)).unwrap();
}

/// Robopager as a service over the files of a folder.
pub(super) async fn service(folder: &Path, pages: &PagerDuty, imap: &str) -> Live {
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (checklist, etl, url) = (at("checklist.yaml"), at("etl.cfg"), pages.url());
    let arguments = ["-y", &checklist, "-cf", "core", "-p", &etl];
    let mut variables = vec![("NIGHTBELL_PAGERDUTY_URL", url.as_str()), ("TZ", "UTC")];
    if !imap.is_empty() {
        variables.push(("NIGHTBELL_IMAP_URL", imap));
    }
    Live::start_as("robopager", &arguments, &variables).await
}

/// Waits until an answer of the API is as wanted.
pub(super) async fn answers(live: &Live, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
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
