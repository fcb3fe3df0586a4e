//! Composite monitors: how the others stand is asked of the engine.

use kernel::ExecutionId;
use kernel::alert::definition::{ChecklistOptions, Composite, Standing, load};
use kernel::alert::{Input, Ping, PingKind};
use kernel::graph::Status;
use serde_json::json;
use tasks::registry::{Settings, runners};

use super::unknown;
use crate::flows::{open, run};

#[tokio::test]
async fn it_is_bad_when_so_many_monitors_are() {
    let engine = open(runners(&Settings::default()).unwrap()).await;
    let text = "monitors:
  web-1: { heartbeat: 1h, labels: { team: web } }
  web-2: { heartbeat: 1h, labels: { team: web } }
  web-3: { heartbeat: 1h, labels: { team: web } }";
    let file = load(text, &ChecklistOptions::default()).file.expect("it is right");
    engine.apply_monitors("test", file).await.unwrap();
    let settings = json!({ "match": { "team": "web" }, "at_least": "2" });
    let standings = engine.standings(&Composite::of(&settings).unwrap(), "shop").await.unwrap();
    assert!(standings.len() == 3 && standings.iter().all(|(_, it)| *it == Standing::Unknown));
    let call = async |monitor: &str, kind: PingKind| {
        let call = Input::Ping(Ping { kind, run: None, text: None });
        engine.step(&ExecutionId::monitor(monitor), call).await.unwrap();
    };
    let check = async || {
        let input = json!({ "settings": settings, "monitor": "shop" });
        let (status, output, reason) = run(&engine, "CHECK_COMPOSITE", input).await;
        assert_eq!(status, Status::Completed, "{reason}");
        output.to_string()
    };
    call("web-1", PingKind::Fail).await;
    call("web-2", PingKind::Success).await;
    call("web-3", PingKind::Success).await;
    let seen = check().await;
    assert!(seen.contains("1 of 3 is bad: web-1") && seen.contains("\"ok\""), "{seen}");
    call("web-3", PingKind::Fail).await;
    let seen = check().await;
    assert!(seen.contains("2 of 3 are bad: web-1, web-3") && seen.contains("\"fail\""), "{seen}");
}

#[tokio::test]
async fn it_needs_its_engine() {
    let settings = json!({ "of": "web" });
    unknown(&super::run("CHECK_COMPOSITE", settings, json!({})).await, "engine is not there");
}
