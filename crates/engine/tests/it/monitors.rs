//! Monitors with a whole engine: checks and deliveries are executions, with stand-ins for what
//! makes them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use engine::memory::Memory;
use engine::monitors::{ApplyError, OWN_MONITOR};
use engine::search::RecordSearch;
use engine::store::Store as _;
use engine::{
    AnyInput, AnyMachine, Clock, Engine, Handoff, Options, Outcome, OutcomeStatus, SampleOptions,
    TaskRunner,
};
use kernel::alert::definition::{ChecklistOptions, File, Known, load_among};
use kernel::alert::{
    CHECKS_KEPT, DELIVERIES_KEPT, Input, Observation, Ping, PingKind, Sampled, State, Status,
};
use kernel::{ExecutionId, Json, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::house::open_as;

/// A clock that stands where it is put.
struct Stopped(AtomicI64);

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// What the checks see, and what receivers are told.
struct World {
    clock: Arc<Stopped>,
    seen: Mutex<Value>,
    dead: Mutex<BTreeSet<&'static str>>,
    /// Receivers take their time until this says no, and say when they have begun.
    slow: AtomicBool,
    begun: Notify,
    told: mpsc::UnboundedSender<(String, Value)>,
}

/// A check that sees what the world shows.
struct Looks(Arc<World>);

#[async_trait]
impl TaskRunner for Looks {
    fn task_type(&self) -> &'static str {
        "CHECK_HTTP"
    }
    async fn run(&self, _: Handoff, _: CancellationToken) -> Outcome {
        let output = Json::from(json!({ "observations": self.0.seen.lock().clone() }));
        Outcome { status: OutcomeStatus::Completed, output, reason: None }
    }
}

/// A receiver that listens, unless it is dead.
struct Listens(Arc<World>);

#[async_trait]
impl TaskRunner for Listens {
    fn task_type(&self) -> &'static str {
        "NOTIFY"
    }
    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        if self.0.slow.load(Ordering::SeqCst) {
            self.0.begun.notify_one();
            cancelled.cancelled().await;
            let (output, reason) = (Json::empty_object(), Some("cancelled".to_owned()));
            return Outcome { status: OutcomeStatus::Failed, output, reason };
        }
        let input = task.input.parse();
        let receiver = input["receiver"].as_str().expect("it is named").to_owned();
        if self.0.dead.lock().contains(&*receiver) {
            let reason = Some("404 Not Found".to_owned());
            let output = Json::empty_object();
            return Outcome { status: OutcomeStatus::FailedTerminally, output, reason };
        }
        assert_eq!(input["settings"]["url"], "http://chat/hunter2", "secrets are filled in");
        let output = json!({ "reference": "r-1", "response": "posted to http://chat/hunter2" });
        self.0.told.send((receiver, input["notification"].clone())).expect("the test listens");
        Outcome { status: OutcomeStatus::Completed, output: output.into(), reason: None }
    }
}

/// An engine in its world.
struct Bench {
    world: Arc<World>,
    store: Arc<Memory>,
    engine: Engine,
    told: mpsc::UnboundedReceiver<(String, Value)>,
}

const START: i64 = 1_800_000_000_000;

impl Bench {
    async fn new() -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let world = Arc::new(World {
            clock: Arc::new(Stopped(AtomicI64::new(START))),
            seen: Mutex::new(json!([])),
            dead: Mutex::default(),
            slow: AtomicBool::new(false),
            begun: Notify::new(),
            told: sender,
        });
        let store = Arc::new(Memory::new());
        let engine = Self::engine(&world, &store).await;
        Self { world, store, engine, told }
    }

    async fn engine(world: &Arc<World>, store: &Arc<Memory>) -> Engine {
        let runners: Vec<Arc<dyn TaskRunner>> =
            vec![Arc::new(Looks(world.clone())), Arc::new(Listens(world.clone()))];
        let options = Options { samples: Some(SampleOptions::default()), ..Options::default() };
        open_as(store.clone(), world.clock.clone(), runners, options).await
    }

    /// Starts anew over the same store.
    async fn restart(&mut self) {
        self.engine.stop();
        self.engine = Self::engine(&self.world, &self.store).await;
    }

    async fn apply(&self, yaml: &str) -> engine::monitors::Applied {
        self.engine.apply_monitors("file", file(yaml)).await.expect("it fits")
    }

    async fn say(&self, monitor: &str, input: impl Into<AnyInput>) {
        let id = ExecutionId::monitor(monitor);
        self.engine.step(&id, input).await.expect("the monitor takes it");
    }

    /// Lets time pass, and the monitor look at the clock.
    async fn pass(&self, monitor: &str, minutes: i64) {
        self.world.clock.0.fetch_add(minutes * 60_000, Ordering::SeqCst);
        self.say(monitor, AnyInput::Wake).await;
    }

    async fn observe(&self, monitor: &str, status: Status) {
        let observations = vec![Observation::of(status, "as the test says")];
        let input = Input::Observe { observations, complete: false, who: None };
        self.say(monitor, input).await;
    }

    /// Checks, and waits until the check has ended.
    async fn check(&self, monitor: &str) {
        let before = self.look(monitor, |it| it.check_count).await;
        self.say(monitor, Input::Check { who: None }).await;
        self.until(monitor, |it| it.check_count > before && it.check.is_none()).await;
    }

    async fn look<R>(&self, name: &str, look: impl FnOnce(&kernel::alert::Monitor) -> R) -> R {
        let look = |hosted: &AnyMachine| hosted.monitor().map(look);
        let found = self.engine.look(&ExecutionId::monitor(name), look).await;
        found.expect("the store answers").flatten().expect("there is one")
    }

    async fn until(&self, name: &str, is: impl Fn(&kernel::alert::Monitor) -> bool) {
        let mut changes = self.engine.watch(&ExecutionId::monitor(name));
        let wait = async {
            while !self.look(name, &is).await {
                changes.changed().await.expect("the engine lives");
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it comes in time");
    }

    /// Waits until nothing is left of an execution.
    async fn forgets(&self, execution: &ExecutionId) {
        let wait = async {
            while self.engine.read(execution, |_| ()).await.expect("the store answers").is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it is forgotten");
    }

    /// The next notification: to whom, what.
    async fn hears(&mut self) -> (String, Value) {
        let next = tokio::time::timeout(Duration::from_secs(20), self.told.recv()).await;
        next.expect("somebody is told in time").expect("the world lives")
    }

    async fn told(&mut self) -> String {
        let (receiver, notification) = self.hears().await;
        let event = notification["event"].as_str().unwrap_or_default();
        format!("{receiver}: {event} {}", notification["monitor"].as_str().unwrap_or_default())
    }
}

fn file(yaml: &str) -> File {
    let loaded = load_among(yaml, &ChecklistOptions::default(), &Known::default());
    loaded.file.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

const WEB: &str = r#"
receivers:
  noc: { slack: { url: "http://chat/${secret:KEY}" }, fallback: boss }
  boss: { slack: { url: "http://chat/${secret:KEY}" } }
routes:
  - { to: noc, remind: 30m }
monitors:
  web: { http: "http://web/health", every: 24h }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_opens_reminds_and_resolves_over_a_restart() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.apply(WEB).await.defined, 1);
    *bench.world.seen.lock() = json!([{ "status": "fail", "text": "500" }]);
    bench.check("web").await;
    let (receiver, first) = bench.hears().await;
    assert_eq!(
        (&*receiver, &first["event"], &first["text"]),
        ("noc", &json!("trigger"), &json!("500"))
    );
    let sent = |it: &kernel::alert::Monitor| it.incidents[""].told["noc"].flight.is_none();
    bench.until("web", sent).await;

    bench.restart().await;
    assert_eq!(bench.apply(WEB).await, engine::monitors::Applied::default(), "nothing is new");
    bench.check("web").await;
    bench.pass("web", 29).await;
    assert!(bench.told.try_recv().is_err(), "told once, and it is not yet time to remind");
    bench.pass("web", 1).await;
    assert_eq!(bench.told().await, "noc: reminder web");
    bench.until("web", sent).await;

    *bench.world.seen.lock() = json!([{ "status": "ok" }]);
    bench.check("web").await;
    let (_, last) = bench.hears().await;
    assert_eq!(last["event"], "resolve");
    assert_eq!(last["dedup_key"], first["dedup_key"], "the provider knows what is over");
    bench.until("web", |it| it.incidents.is_empty()).await;

    let deliveries = bench.engine.store().records(&RecordSearch::newest("delivery")).await;
    let deliveries = deliveries.expect("the store answers").rows;
    let standing: Vec<&str> = deliveries.iter().map(|line| &*line.status).collect();
    assert_eq!(standing, ["sent"; 3]);
    for line in &deliveries {
        assert!(!line.body.text().contains("hunter2"), "secrets are masked: {}", line.body.text());
        assert_eq!(line.body.parse()["reference"], "r-1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_that_a_crash_cut_short_arrives_once() {
    let mut bench = Bench::new().await;
    bench.apply(WEB).await;
    bench.world.slow.store(true, Ordering::SeqCst);
    bench.observe("web", Status::Fail).await;
    bench.world.begun.notified().await;
    // It is under way, and nobody will ever hear what became of it.
    bench.world.slow.store(false, Ordering::SeqCst);
    bench.restart().await;
    assert_eq!(bench.told().await, "noc: trigger web");
    bench.until("web", |it| it.incidents[""].told["noc"].flight.is_none()).await;
    assert_eq!(bench.look("web", |it| it.deliveries.len()).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_depends_on_something_that_is_down_stays_quiet() {
    let mut bench = Bench::new().await;
    let both = format!("{WEB}  api: {{ http: \"http://api\", every: 24h, depends_on: [web] }}\n");
    bench.apply(&both).await;
    bench.observe("web", Status::Fail).await;
    assert_eq!(bench.told().await, "noc: trigger web");
    bench.until("api", |it| !it.parents_down.is_empty()).await;
    bench.observe("api", Status::Fail).await;
    let suppressed = |it: &kernel::alert::Monitor| it.incidents[""].suppressed.is_some();
    assert!(bench.look("api", suppressed).await);
    bench.observe("web", Status::Ok).await;
    // The order of the two is nobody's concern.
    let mut told = [bench.told().await, bench.told().await];
    told.sort();
    assert_eq!(told, ["noc: resolve web", "noc: trigger api"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_dead_or_gone_is_replaced_by_its_fallback() {
    let mut bench = Bench::new().await;
    bench.apply(WEB).await;
    bench.world.dead.lock().insert("noc");
    bench.observe("web", Status::Fail).await;
    // Also that the receiver takes nothing is told; the order of the two is nobody's concern.
    let mut told = [bench.told().await, bench.told().await];
    told.sort();
    assert_eq!(told, ["boss: trigger nightbell", "boss: trigger web"]);
    bench.observe("web", Status::Ok).await;
    assert_eq!(bench.told().await, "boss: resolve web");

    let gone = bench.engine.definitions().delete_workflow("nightbell_notify:noc", 1).await;
    assert!(gone.expect("the store answers"));
    bench.observe("web", Status::Fail).await;
    assert_eq!(bench.told().await, "boss: trigger web", "what cannot start is refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_applied_whole_and_a_reload_keeps_what_is_known() {
    let mut bench = Bench::new().await;
    let two = format!("{WEB}  job: {{ heartbeat: {{ every: 1h }}, to: boss }}\n");
    assert_eq!(bench.apply(&two).await.defined, 2);
    let ping = Ping { kind: PingKind::Exit(3), run: None, text: None };
    bench.say("job", Input::Ping(ping)).await;
    assert_eq!(bench.told().await, "boss: trigger job");

    // What another source says of the same monitor does not fit, and nothing changes.
    let other =
        "monitors: { fine: { http: 'http://x', every: 1h }, web: { tcp: 'x:1', every: 1h } }";
    let refused = bench.engine.apply_monitors("other", file(other)).await;
    let Err(ApplyError::Unfit(why)) = refused else { panic!("{refused:?}") };
    assert_eq!(why, ["other: the monitor web is defined by file already"]);
    // Whoever comes later does not fit, whatever the names are.
    let refused = bench.engine.apply_monitors("early", file(other)).await;
    let Err(ApplyError::Unfit(why)) = refused else { panic!("{refused:?}") };
    assert_eq!(why, ["early: the monitor web is defined by file already"]);
    assert_eq!(bench.engine.monitor("fine", |_| ()).await.expect("the store answers"), None);

    // A change of one monitor leaves its incidents alone; one that is gone is resolved.
    bench.observe("web", Status::Fail).await;
    assert_eq!(bench.told().await, "noc: trigger web");
    let changed = WEB.replace("24h", "12h");
    let applied = bench.apply(&changed).await;
    assert_eq!((applied.defined, applied.removed), (1, 1));
    assert_eq!(bench.told().await, "boss: resolve job");
    bench.until("job", |it| it.incidents.is_empty()).await;
    let removed = |it: &kernel::alert::Monitor| {
        let history = &it.past.back().expect("it is remembered").history;
        history.iter().any(|entry| entry.why.as_deref() == Some("removed"))
    };
    assert!(bench.look("job", removed).await);
    assert_eq!(bench.look("web", |it| it.incidents[""].state).await, State::Open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_that_were_well_are_kept_by_count() {
    let bench = Bench::new().await;
    bench.apply(WEB).await;
    *bench.world.seen.lock() = json!([{ "status": "ok" }]);
    for _ in 0..CHECKS_KEPT + 5 {
        bench.check("web").await;
    }
    let kept = bench.look("web", |it| it.answered.clone()).await;
    assert_eq!(kept.len(), CHECKS_KEPT);
    let execution = |sequence| bench.look("web", move |it| it.check_execution(sequence));
    let first = execution(1).await;
    bench.forgets(&first).await;
    let latest = execution(*kept.back().expect("there are some")).await;
    assert!(bench.engine.read(&latest, |_| ()).await.expect("the store answers").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_that_ended_are_kept_by_count() {
    let mut bench = Bench::new().await;
    bench.apply(WEB).await;
    let mut made = Vec::new();
    for _ in 0..=DELIVERIES_KEPT {
        let id = bench.engine.test_receiver("noc", None).await.expect("it answers");
        made.push(id.expect("there is one"));
        bench.told().await;
        let queued = kernel::alert::DeliveryStatus::Queued;
        bench.until(OWN_MONITOR, |it| it.deliveries.values().all(|it| it.status != queued)).await;
    }
    bench.forgets(&made[0]).await;
    let kept = bench.engine.read(&made[1], |_| ()).await.expect("the store answers");
    assert!(kept.is_some(), "the others are there");
    let search = RecordSearch { size: 200, ..RecordSearch::newest("delivery") };
    let lines = bench.engine.store().records(&search).await.expect("the store answers");
    assert_eq!(lines.total, made.len() as u64, "and the ledger knows all of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nightbell_itself_cannot_do_is_an_incident_too() {
    let bench = Bench::new().await;
    for (status, open) in [(Status::Fail, true), (Status::Ok, false)] {
        let told = Observation { key: "a.yaml".into(), ..Observation::of(status, "3:1: error") };
        bench.engine.observe_own(told).await.expect("it is taken");
        assert_eq!(bench.look(OWN_MONITOR, kernel::alert::Monitor::is_down).await, open);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_of_a_receiver_is_a_delivery_with_a_line_in_the_ledger() {
    let mut bench = Bench::new().await;
    bench.apply(WEB).await;
    assert_eq!(bench.engine.test_receiver("nobody", None).await.expect("it answers"), None);
    let id = bench.engine.test_receiver("noc", Some("ann")).await.expect("it answers");
    assert_eq!(bench.told().await, "noc: test test");
    let sent = |it: &kernel::alert::Monitor| {
        it.deliveries.values().any(|delivery| delivery.reference.as_deref() == Some("r-1"))
    };
    bench.until(OWN_MONITOR, sent).await;
    let lines = bench.engine.store().records(&RecordSearch::newest("delivery")).await;
    let lines = lines.expect("the store answers").rows;
    assert_eq!((lines.len(), &*lines[0].status), (1, "sent"));
    let body = lines[0].body.parse();
    assert_eq!((&body["event"], &body["receiver"]), (&json!("test"), &json!("noc")));
    assert_eq!(body["execution"], json!(id), "the ledger names what was answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_that_somebody_speaks_of_is_made() {
    let mut bench = Bench::new().await;
    bench.apply(WEB).await;
    let say = |status| vec![Observation { key: "17".into(), ..Observation::of(status, "lost") }];
    let observe = |bench: &Bench, name: &str, status| {
        let (engine, name) = (bench.engine.clone(), name.to_owned());
        async move { engine.observe(&name, say(status), Some("the run 1".into())).await }
    };
    observe(&bench, "orders", Status::Fail).await.expect("it is made");
    assert_eq!(bench.told().await, "noc: trigger orders");
    assert_eq!(bench.engine.monitor_of_ping("orders"), None, "nobody is waited for");
    // What was sent, but not yet said to be, would be sent again.
    bench.until("orders", |it| it.deliveries.values().all(|it| it.reference.is_some())).await;
    bench.restart().await;
    observe(&bench, "orders", Status::Ok).await.expect("it is there");
    assert_eq!(bench.told().await, "noc: resolve orders");
    let refused = observe(&bench, "", Status::Fail).await;
    assert!(matches!(refused, Err(ApplyError::Unfit(_))), "{refused:?}");
    // A file that defines it takes it over.
    let taken = format!("{WEB}  orders: {{ heartbeat: {{ every: 1h }} }}\n");
    bench.apply(&taken).await;
    assert_eq!(bench.engine.source_of_monitor("orders").as_deref(), Some("file"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_are_shared_by_files_and_defined_once() {
    let bench = Bench::new().await;
    let sources = "sources: { metrics: { url: 'http://m', token: '${secret:KEY}' } }\n";
    bench.engine.apply_monitors("a", file(sources)).await.expect("it fits");
    let known = bench.engine.monitors_known_beside("b");
    assert!(known.sources.contains_key("metrics"));
    let asks = "monitors: { m: { influx: { server: metrics, flux: f }, every: 24h } }";
    bench.engine.apply_monitors("b", file(asks)).await.expect("it fits");
    let settings = bench.look("m", |it| it.spec.as_ref().map(|it| it.monitor.settings.parse()));
    let settings = settings.await.expect("it is defined");
    assert_eq!(settings["url"], "http://m");
    let definition = bench.engine.definitions().workflow("check:m", None).expect("it is there");
    let text = serde_json::to_string(&*definition).expect("it is JSON");
    assert!(text.contains("${workflow.secrets.KEY}"), "{text}");
    let Err(ApplyError::Unfit(why)) = bench.engine.apply_monitors("c", file(sources)).await else {
        panic!("it is defined twice");
    };
    assert_eq!(why, ["c: the source metrics is defined by a already"]);
}

/// Waits until something is so; the engine is asked again and again.
async fn comes(what: &str, is: impl Fn() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_depends_on_something_that_is_down_does_not_page_first() {
    let mut bench = Bench::new().await;
    let both = format!("{WEB}  api: {{ http: \"http://api\", every: 24h, depends_on: [web] }}\n");
    bench.apply(&both).await;
    // Both fail, and the one that depends on the other happens to be checked first.
    *bench.world.seen.lock() = json!([{ "status": "fail", "text": "500" }]);
    bench.check("api").await;
    assert_eq!(bench.told().await, "noc: trigger web", "the parent was checked, and is told of");
    bench.until("api", |it| it.incidents[""].suppressed.is_some()).await;
    assert_eq!(bench.look("api", |it| it.deliveries.len()).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_stops_no_monitor() {
    let bench = Bench::new().await;
    bench.apply(&WEB.replace("24h", "10m")).await;
    let events = |kind: &'static str| bench.engine.clock_events()[kind];
    let hours = |count: i64| bench.world.clock.0.fetch_add(count * 3_600_000, Ordering::SeqCst);
    hours(2);
    comes("the jump forward is noticed", || events("forward") > 0).await;
    bench.until("web", |it| it.check_count > 0 && it.missed_count > 0).await;
    let far = bench.look("web", |it| it.next_at).await.expect("it is planned");
    assert!(far.millis() > START + 2 * 3_600_000);

    hours(-2);
    comes("the jump back is noticed", || events("back") > 0).await;
    let soon =
        |it: &kernel::alert::Monitor| it.next_at.is_some_and(|at| at.millis() < START + 600_000);
    bench.until("web", soon).await;
    // The timer itself goes by the new clock, too.
    let count = bench.look("web", |it| it.check_count).await;
    bench.world.clock.0.fetch_add(600_000, Ordering::SeqCst);
    bench.until("web", |it| it.check_count > count).await;
    let health = bench.engine.health();
    assert!(health.warnings.iter().any(|it| it.code == "clock"), "{health:?}");
    let lines = bench.engine.store().records(&RecordSearch::newest("check")).await.unwrap();
    let lines: Vec<&str> = lines.rows.iter().map(|line| &*line.status).collect();
    assert!(lines.contains(&"CLOCK") && lines.contains(&"MISSED"), "{lines:?}");
}

const PAIR: &str = "
receivers:
  noc: { slack: { url: 'http://chat/hunter2' }, fallback: boss }
  boss: { slack: { url: 'http://chat/hunter2' } }
routes: [{ to: noc }]
monitors:
  web: { http: 'http://w', every: 1m }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_refuses_is_an_incident_that_others_are_told_of() {
    let mut bench = Bench::new().await;
    bench.apply(PAIR).await;
    bench.world.dead.lock().insert("noc");
    *bench.world.seen.lock() = json!([{ "status": "fail" }]);
    bench.check("web").await;
    let mut told = [bench.told().await, bench.told().await];
    told.sort();
    assert_eq!(told, ["boss: trigger nightbell", "boss: trigger web"]);
    let key = "receiver:noc";
    let text = bench.look(OWN_MONITOR, |it| it.incidents[key].text.clone()).await;
    let text = text.expect("it says why");
    assert!(text.contains("404 Not Found") && text.contains("receiver resend noc"), "{text}");
    let broken = bench.engine.broken_receivers();
    assert_eq!((broken.len(), broken["noc"].dead), (1, 1));
    let warnings = bench.engine.health().warnings;
    assert!(warnings.iter().any(|it| it.code == "receiver"), "{warnings:?}");

    // It is known after a restart, too, and told once.
    let queued = kernel::alert::DeliveryStatus::Queued;
    for name in ["web", OWN_MONITOR] {
        bench.until(name, |it| it.deliveries.values().all(|it| it.status != queued)).await;
    }
    bench.restart().await;
    bench.until(OWN_MONITOR, |it| it.incidents[key].bad > 1).await;
    assert!(bench.engine.broken_receivers().contains_key("noc"));

    // Put right, it is told again what it did not take, and others hear that it works.
    bench.world.dead.lock().clear();
    assert_eq!(bench.engine.resend_to("noc", Some("ann")).await.expect("the store answers"), 1);
    let mut told = [bench.told().await, bench.told().await];
    told.sort();
    assert_eq!(told, ["boss: resolve nightbell", "noc: trigger web"]);
    bench.until(OWN_MONITOR, |it| !it.incidents.contains_key(key)).await;
    assert!(bench.engine.broken_receivers().is_empty());
    assert_eq!(bench.engine.resend_to("noc", None).await.expect("the store answers"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_that_only_cannot_be_checked_is_unknown_not_down() {
    let bench = Bench::new().await;
    let labels = "every: 24h, labels: { team: 'web of {{ monitor }}', region: '{{ tls_until }}' }";
    bench.apply(&WEB.replace("every: 24h", labels)).await;
    *bench.world.seen.lock() = json!(null);
    for _ in 0..3 {
        bench.check("web").await;
    }
    bench.until("web", |it| it.incidents.contains_key("#check")).await;
    assert_eq!(bench.look("web", engine::monitors::standing).await, "UNKNOWN");
    let labels = bench.look("web", |it| it.incidents["#check"].labels.clone()).await;
    let labels: Vec<(&str, &str)> = labels.iter().map(|(name, it)| (&**name, &**it)).collect();
    assert_eq!(labels, [("team", "web of web")], "there is no row");
    *bench.world.seen.lock() = json!([{ "status": "fail" }]);
    bench.check("web").await;
    assert_eq!(bench.look("web", engine::monitors::standing).await, "DOWN");
}

impl Bench {
    /// What is kept of a monitor: numbers and outputs, those of a page after another.
    async fn samples(&self, monitor: &str) -> Vec<(u64, String)> {
        let (mut kept, mut from, mut after) = (Vec::new(), Timestamp::default(), 0);
        loop {
            let page = self.engine.samples(monitor, (from, Timestamp::MAX), after, (2, 1 << 20));
            let page = page.await.expect("samples can be read");
            for sample in page.samples {
                (from, after) = (sample.started_at, sample.number);
                let told = match sample.outcome {
                    Sampled::Output(output) => output.text().to_owned(),
                    other => format!("{other:?}"),
                };
                kept.push((sample.number, told));
            }
            if !page.more {
                return kept;
            }
        }
    }

    async fn sampled(&self) -> Vec<Arc<str>> {
        self.store.sampled_monitors().await.expect("the store answers")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_checks_answer_is_kept_without_a_write_each_and_over_a_crash() {
    let mut bench = Bench::new().await;
    bench.apply(WEB).await;
    let expected = |count: u64| -> Vec<(u64, String)> {
        let answer = |number| {
            format!("{{\"observations\":[{{\"status\":\"ok\",\"attrs\":{{\"ms\":{number}}}}}]}}")
        };
        (1..=count).map(|number| (number, answer(number))).collect()
    };
    let check = async |bench: &Bench, number: u64| {
        *bench.world.seen.lock() = json!([{ "status": "ok", "attrs": { "ms": number } }]);
        bench.world.clock.0.fetch_add(1000, Ordering::SeqCst);
        bench.check("web").await;
    };
    for number in 1..=3 {
        check(&bench, number).await;
    }
    assert_eq!(bench.sampled().await, Vec::<Arc<str>>::new(), "no check costs a write of its own");
    assert_eq!(bench.samples("web").await, expected(3), "who asks is told all of it");
    for number in 4..=6 {
        check(&bench, number).await;
    }
    bench.restart().await;
    check(&bench, 7).await;
    assert_eq!(bench.samples("web").await, expected(7), "what was lost is made up for");
    for number in 8..=23 {
        check(&bench, number).await;
    }
    // So many are written without being asked for.
    let written = async {
        let last = async || bench.store.newest_samples("web").await.expect("the store answers");
        while last().await.is_none_or(|block| block.last < 23) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), written).await.expect("they are written");
    let all = bench.store.sample_blocks("web", (Timestamp::default(), Timestamp::MAX), None, 9);
    assert_eq!(all.await.expect("the store answers").len(), 1, "they go into one block");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_keeps_what_it_says_and_nothing_when_it_is_removed() {
    let bench = Bench::new().await;
    let yaml = "monitors:\n  \
        some: { http: { url: \"http://web/\", rows: \"$\" }, every: 24h, keep: host, per: name,\n    \
        fail_when: \"loss > 5\" }\n  \
        none: { http: \"http://web/\", every: 24h, history: off }\n";
    bench.apply(yaml).await;
    let row = json!({ "host": "a", "name": "b", "loss": 1, "secret": "c" });
    *bench.world.seen.lock() = json!([{ "key": "b", "status": "ok", "attrs": row }]);
    bench.check("some").await;
    bench.check("none").await;
    let told = "{\"observations\":[{\"key\":\"b\",\"status\":\"ok\",\
                \"attrs\":{\"host\":\"a\",\"name\":\"b\",\"loss\":1}}]}";
    assert_eq!(bench.samples("some").await, [(1, told.to_owned())], "also what it judges by");
    assert_eq!(bench.samples("none").await, []);
    assert_eq!(bench.sampled().await, ["some".into()]);
    bench.apply(WEB).await;
    let gone = async {
        while !bench.sampled().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("they are removed");
}
