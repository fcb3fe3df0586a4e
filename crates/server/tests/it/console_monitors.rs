//! What pages tell of monitors and do with them: observations by key, what a change would change, what it would
//! have made of the past, and heartbeats that are late.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use engine::{Clock, Options, SampleOptions, SystemClock};
use kernel::Timestamp;
use kernel::alert::definition::File;
use kernel::graph::TaskStatus;
use parking_lot::Mutex;
use serde_json::{Value, json};
use server::backtests::{Backtester, Backtests, Past};

use crate::console::{Browser, hidden};
use crate::console_pages::{after, has, has_not, post, shown};
use crate::support::Server;

/// A server that watches the loss of hosts, and a job.
async fn watching() -> Server {
    let options = Options { samples: Some(SampleOptions::default()), ..Options::default() };
    let server = Server::with_options(options).await;
    let look = json!([{ "name": "look", "version": 1,
        "tasks": [{ "name": "look", "taskReferenceName": "look", "type": "SIMPLE" }],
        "outputParameters": { "observations": "${look.output.rows}" } }]);
    server.register(look).await;
    let file = json!({
        "receivers": { "noc": { "inbox": null } },
        "routes": [{ "to": "noc" }],
        "monitors": {
            "hosts": { "workflow": "look", "every": "24h", "fail_when": "loss >= 50" },
            "backup": { "heartbeat": { "every": "1h", "key": "k-1" } },
        },
    });
    server.post("/api/monitors", &file).await.ok();
    server
}

/// Lets a check of the hosts find these losses of `a` and `b`.
async fn check(server: &Server, a: u32, b: u32) {
    let count = async || server.get("/api/monitors/hosts").await.ok()["checkCount"].as_u64();
    let before = count().await;
    server.post("/api/monitors/hosts/check", &Value::Null).await.ok();
    let task = server.take("look").await;
    let rows = json!({ "rows": [{ "key": "a", "loss": a }, { "key": "b", "loss": b }] });
    server.report(&task, TaskStatus::Completed, &rows).await;
    let ended = async {
        while count().await == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the check ends");
}

#[tokio::test]
async fn each_key_tells_how_it_stands_and_since_when() {
    let server = watching().await;
    check(&server, 10, 10).await;
    check(&server, 10, 100).await;
    let told = server.get("/api/monitors/hosts/keys").await.ok();
    assert_eq!((&told["checks"], &told["keyCount"]), (&json!(2), &json!(2)), "{told}");
    let [b, a] = [0, 1].map(|at| &told["keys"][at]);
    assert_eq!(
        (&b["key"], &b["status"], &b["sinceIsKnown"]),
        (&json!("b"), &json!("fail"), &json!(true))
    );
    assert_eq!(
        (&a["key"], &a["status"], &a["sinceIsKnown"]),
        (&json!("a"), &json!("ok"), &json!(false))
    );
    let incident = b["incident"].as_str().expect("it is bad");
    assert_eq!(a["incident"], Value::Null);
    let cells = b["cells"].as_array().expect("cells");
    assert!(cells.len() == 48 && cells.contains(&json!("fail")), "{cells:?}");
    assert_eq!(server.get("/api/monitors/hosts/keys?size=1").await.ok()["keys"][1], Value::Null);
    server.get("/api/monitors/hosts/keys?size=1001").await.failed(400);
    server.get("/api/monitors/none/keys").await.failed(404);
    let browser = Browser::at(server);
    let page = shown(&browser, "/console/monitors/hosts").await;
    has(&page, "Observations by key");
    has(&page, &format!("/console/incidents/{incident}\">incident</a>"));
    has(&page, "longer than ");
    let page = shown(&browser, "/console/monitors/backup").await;
    has_not(&page, "Observations by key");
}

const EDIT: &str = "/console/monitors/hosts/edit";

#[tokio::test]
async fn what_a_change_changes_is_shown_before_it_is_saved() {
    let browser = Browser::at(watching().await);
    let text = json!({ "workflow": "look", "every": "24h", "fail_when": "loss >= 80" }).to_string();
    let page = shown(&browser, EDIT).await;
    has_not(&page, "<h2>What would change</h2>");
    let seen = hidden(&page, "seen").to_owned();
    let change = async |text: &str, seen: &str, does: &str| {
        let fields = [("definition", text), ("seen", seen), ("does", does)];
        post(&browser, EDIT, &fields).await
    };
    let looked = change(&text, &seen, "check").await;
    assert_eq!(looked.status, StatusCode::OK, "{}", looked.text);
    has(&looked.text, "<h2>What would change</h2>");
    assert!(
        looked.text.contains("loss &gt;= 50") && looked.text.contains("<ins>+ "),
        "{}",
        looked.text
    );
    // Somebody else is faster: what that changes is shown, not overwritten.
    let other = json!({ "workflow": "look", "every": "24h", "fail_when": "loss >= 60" });
    browser.server().post("/api/monitors", &json!({ "monitors": { "hosts": other } })).await.ok();
    let late = change(&text, &seen, "save").await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{}", late.text);
    has(&late.text, "It has changed meanwhile");
    has(&late.text, "loss &gt;= 60");
    let now = hidden(&late.text, "seen").to_owned();
    assert_ne!(now, seen);
    after(&browser, &change(&text, &now, "save").await).await;
    let stored = browser.server().get("/api/monitors/hosts").await.ok();
    assert!(stored["definition"].to_string().contains("loss >= 80"), "{stored}");
}

/// Notes what it is to try, and waits to be let go.
#[derive(Debug)]
struct Noting {
    tried: Mutex<Vec<Past>>,
    entered: mpsc::SyncSender<()>,
    leave: Mutex<mpsc::Receiver<()>>,
}

impl Backtester for Noting {
    fn needed(&self, _: &File, monitor: &str) -> BTreeSet<String> {
        BTreeSet::from([monitor.to_owned()])
    }

    fn warm_up(&self, _: &File, _: &str) -> i64 {
        0
    }

    fn run(&self, past: Past) -> Result<Value, String> {
        if past.samples["hosts"].is_empty() {
            return Err("nothing is kept of that time".to_owned());
        }
        let _ = self.entered.send(());
        let _ = self.leave.lock().recv();
        let (since, until) = past.span;
        self.tried.lock().push(past);
        let page = json!({ "to": "noc", "event": "trigger", "at": until.millis() });
        let gone = json!({ "id": "i-1", "key": "b<i>", "since": until.millis() - 60_000,
            "opensAt": until.millis() - 60_000, "resolvesAt": null, "told": [page], "isReal": false });
        let course = |pages: u64| {
            json!({ "incidents": pages, "pages": pages, "pagesAtNight": 0,
                "paged": { "noc": { "pages": pages, "people": { "ann": pages } } } })
        };
        Ok(
            json!({ "monitor": "hosts", "since": since.millis(), "until": until.millis(), "zone": "UTC",
            "checks": 2, "unknown": 1, "then": course(3), "now": course(1), "gone": [gone], "new": [],
            "judged": { "then": { "noise": 1 }, "now": {} }, "notes": ["every: it is so"] }),
        )
    }
}

#[tokio::test]
async fn a_changed_definition_is_tried_on_the_past() {
    let (entered, has_entered) = mpsc::sync_channel(9);
    let (let_go, leave) = mpsc::channel();
    let noting = Arc::new(Noting { tried: Mutex::default(), entered, leave: Mutex::new(leave) });
    let backtests = Backtests::new(noting.clone());
    let server = watching().await.with(|settings| settings.backtests = Some(backtests));
    let browser = Browser::at(server);
    let text =
        json!({ "workflow": "look", "every": "24h", "fail_when": "loss >= 50", "fail_after": 2 });
    let text = text.to_string();
    let fields = [("definition", &*text), ("since", "7d"), ("does", "backtest")];
    let none = post(&browser, EDIT, &fields).await;
    has(&none.text, "nothing is kept of that time");
    check(browser.server(), 10, 100).await;
    // One at a time: who comes second is told so.
    let first = post(&browser, EDIT, &fields);
    let second = async {
        let entered = tokio::task::spawn_blocking(move || has_entered.recv()).await;
        entered.expect("no panic").expect("the first has begun");
        let refused = post(&browser, EDIT, &fields).await;
        let_go.send(()).expect("the first waits");
        refused
    };
    let (made, refused) = tokio::join!(first, second);
    has(&refused.text, "another backtest is being made");
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    has(&made.text, "3 pages, 0 at night; by this definition 1 page, 0 at night");
    has(&made.text, "2 checks; 1 could not tell");
    has(&made.text, "Gone 1");
    has(&made.text, "/console/incidents/i-1\">b&lt;i&gt;</a>");
    has(&made.text, "was judged noise");
    has(&made.text, "every: it is so");
    {
        let tried = noting.tried.lock();
        let [past] = &tried[..] else { panic!("{tried:?}") };
        let new = past.file.monitors.iter().find(|it| &*it.name == "hosts").expect("it is there");
        assert_eq!(new.fail_after, 2);
        assert_ne!(past.stored.fail_after, 2);
        assert_eq!((past.samples["hosts"].len(), past.zone.as_deref()), (1, Some("UTC")));
        assert_eq!(past.span.1.since(past.span.0) / 86_400_000, 7);
        assert!(past.record["incidents"].is_array(), "{}", past.record);
    }
    let waits = "/api/monitors/backup/backtest?from=0";
    let refused = browser.server().send(Method::POST, waits, String::new()).await;
    assert!(refused.failed(409).contains("waits to be called"));
}

/// A clock that can be set ahead, in milliseconds.
struct Ahead(AtomicI64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_millis(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn a_heartbeat_that_is_late_is_told_before_it_rings() {
    const MINUTE: i64 = 60_000;
    let clock = Arc::new(Ahead(AtomicI64::new(0)));
    let server = Server::with_clock(clock.clone()).await;
    let job = json!({ "heartbeat": { "every": "1h", "start_grace": "30m", "key": "k-1" } });
    server.post("/api/monitors", &json!({ "monitors": { "backup": job } })).await.ok();
    let late = async || server.get("/api/heartbeats/late").await.ok();
    assert_eq!(late().await["totalHits"], 0, "it is not due yet");
    clock.0.store(65 * MINUTE, Ordering::SeqCst);
    let told = late().await;
    assert_eq!((&told["totalHits"], &told["results"][0]["monitor"]), (&json!(1), &json!("backup")));
    let [due, missing] = ["dueAt", "missingFrom"].map(|it| told["results"][0][it].as_i64());
    assert_eq!(missing.expect("it is in its grace") - due.expect("it was due"), 30 * MINUTE);
    let browser = Browser::at(server);
    let now = shown(&browser, "/console/").await;
    has(&now, "/console/monitors/backup\">backup</a>: no call, due ");
    has(&now, "counts as missing in 2");
    has_not(&now, "All well.");
    browser.server().send(Method::POST, "/ping/k-1", String::new()).await.ok_text();
    assert_eq!(browser.server().get("/api/heartbeats/late").await.ok()["totalHits"], 0);
}
