//! What the server knows of its own ability to watch: a store that takes no writes, a disk that fills
//! up, figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use engine::memory::{Call, Fault, Memory};
use engine::store::StoreError;
use engine::{Engine, Handoff, Options, Outcome, OutcomeStatus, SystemClock, TaskRunner};
use kernel::alert::definition::{ChecklistOptions, Known, load_among};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::house::open_as;

/// A receiver that hands on what it is told; the one called `deaf` refuses the first time.
struct Listens {
    told: mpsc::UnboundedSender<Value>,
    hears: AtomicBool,
}

#[async_trait]
impl TaskRunner for Listens {
    fn task_type(&self) -> &'static str {
        "NOTIFY"
    }
    async fn run(&self, task: Handoff, _: CancellationToken) -> Outcome {
        let told = task.input.parse();
        let refuses = told["receiver"] == "deaf" && !self.hears.swap(true, Ordering::SeqCst);
        self.told.send(told).expect("the test listens");
        let status =
            if refuses { OutcomeStatus::FailedTerminally } else { OutcomeStatus::Completed };
        Outcome { status, output: json!({}).into(), reason: None }
    }
}

/// A check that finds everything well.
struct Well;

#[async_trait]
impl TaskRunner for Well {
    fn task_type(&self) -> &'static str {
        "CHECK_HTTP"
    }
    async fn run(&self, _: Handoff, _: CancellationToken) -> Outcome {
        let output = json!({ "observations": [{ "status": "ok" }] });
        Outcome { status: OutcomeStatus::Completed, output: output.into(), reason: None }
    }
}

const FILE: &str = r#"
receivers:
  noc: { slack: { url: "http://chat/${secret:KEY}" } }
  night: { slack: { url: "http://night" } }
routes:
  - { match: { monitor: web }, to: night }
  - { to: noc }
monitors:
  web: { http: "http://web/health", every: 30s }
"#;

/// An engine whose disk is full when the flag says so, and what receivers are told.
async fn engine(full: &Arc<AtomicBool>) -> (Engine, mpsc::UnboundedReceiver<Value>) {
    engine_as(full, FILE, Options::default()).await
}

async fn engine_as(
    full: &Arc<AtomicBool>,
    file: &str,
    options: Options,
) -> (Engine, mpsc::UnboundedReceiver<Value>) {
    let (sender, told) = mpsc::unbounded_channel();
    let is_full = full.clone();
    let store = Memory::with_faults(move |call| {
        let writes = !matches!(call, Call::Read(_));
        let full = writes && is_full.load(Ordering::SeqCst);
        full.then(|| Fault::Before(StoreError::Unavailable("no room left".to_owned())))
    });
    let runners: Vec<Arc<dyn TaskRunner>> =
        vec![Arc::new(Listens { told: sender, hears: AtomicBool::new(false) }), Arc::new(Well)];
    let engine = open_as(Arc::new(store), Arc::new(SystemClock), runners, options).await;
    let loaded = load_among(file, &ChecklistOptions::default(), &Known::default());
    let file = loaded.file.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    engine.apply_monitors("file", file).await.expect("it fits");
    (engine, told)
}

async fn until_healthy(engine: &Engine, healthy: bool) {
    let wait = async {
        while engine.health().is_healthy() != healthy {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(10), wait).await.expect("it shows in time");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_writes_is_told_directly_until_it_does_again() {
    let full = Arc::new(AtomicBool::new(false));
    let (engine, mut told) = engine(&full).await;
    assert!(engine.health().is_healthy(), "{:?}", engine.health());

    full.store(true, Ordering::SeqCst);
    // Nobody asks for anything: that it would fail is found out all the same.
    until_healthy(&engine, false).await;
    let health = engine.health();
    assert_eq!(health.problems[0].code, "store");
    assert_eq!(health.reason(), "the store takes no writes: no room left");
    assert!(engine.write_failures() > 0);
    let alarm = told.recv().await.expect("somebody is told");
    assert_eq!(alarm["receiver"], "noc", "as the routes have it for the monitor nightbell");
    assert_eq!(alarm["settings"]["url"], "http://chat/hunter2", "secrets are filled in");
    let said = &alarm["notification"];
    assert_eq!((&said["event"], &said["severity"]), (&json!("trigger"), &json!("critical")));
    assert!(said["title"].as_str().is_some_and(|it| it.contains("no room left")), "{said}");

    full.store(false, Ordering::SeqCst);
    until_healthy(&engine, true).await;
    let over = told.recv().await.expect("somebody is told");
    assert_eq!(over["notification"]["event"], "resolve");
    assert_eq!(over["notification"]["dedup_key"], said["dedup_key"]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_refuses_an_alarm_is_told_again_and_the_others_are_not() {
    let full = Arc::new(AtomicBool::new(false));
    let options = Options { alarm: vec!["deaf".into(), "noc".into()], ..Options::default() };
    let file =
        "receivers:\n  deaf: { slack: 'http://d', fallback: noc }\n  noc: { slack: 'http://n' }";
    let (engine, mut told) = engine_as(&full, file, options).await;
    full.store(true, Ordering::SeqCst);
    let mut heard = Vec::new();
    for _ in 0..3 {
        let said = told.recv().await.expect("somebody is told");
        assert!(said.get("delivery").is_none(), "it stands in no line: {said}");
        let word = |of: &Value| of.as_str().unwrap_or_default().to_owned();
        heard.push((word(&said["receiver"]), word(&said["notification"]["event"])));
    }
    heard[..2].sort();
    let trigger = |receiver: &str| (receiver.to_owned(), "trigger".to_owned());
    assert_eq!(heard, [trigger("deaf"), trigger("noc"), trigger("deaf")]);
    full.store(false, Ordering::SeqCst);
    until_healthy(&engine, true).await;
    let mut over = Vec::new();
    for _ in 0..2 {
        let said = told.recv().await.expect("both hear the end");
        assert_eq!(said["notification"]["event"], "resolve");
        over.push(said["receiver"].as_str().unwrap_or_default().to_owned());
    }
    over.sort();
    assert_eq!(over, ["deaf", "noc"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_without_faults_stays_healthy_when_nothing_happens() {
    let (engine, _told) = engine(&Arc::new(AtomicBool::new(false))).await;
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(engine.health().is_healthy(), "{:?}", engine.health());
    }
}
