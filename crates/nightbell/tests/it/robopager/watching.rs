//! Service mode with batchy: what pages, what does not, what `PagerDuty` refuses, and files that
//! change.

use std::path::Path;

use serde_json::Value;

use super::single::once;
use super::world::{Batchy, EtlCfg, PagerDuty, answers, key, latency, service, until, write};

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_are_late_or_failed_page_until_they_are_well() {
    let pages = PagerDuty::start().await;
    let (batchy, address) = Batchy::start().await;
    batchy.ended("fresh", 5, "success");
    batchy.ended("nearly", 50, "success");
    batchy.ended("late", 24 * 60 + 5, "success");
    batchy.ended("failed", 5, "failure");
    batchy.knows("whole", 5, "success", "%Y-%m-%dT%H:%M:%S");
    // PagerDuty limits the rate in the way of its first interface and of its second, and breaks.
    pages.answers(&key("late"), &[403]);
    pages.answers(&key("failed"), &[429]);
    pages.answers(&key("unknown"), &[500]);
    let folder = tempfile::tempdir().unwrap();
    let names = ["fresh", "nearly", "late", "failed", "whole", "unknown"];
    write(folder.path(), "checklist.yaml", &names.map(latency).join("\n"));
    write(folder.path(), "etl.cfg", &EtlCfg { batchy: address, ..EtlCfg::default() }.text());
    let live = service(folder.path(), &pages, "").await;

    for name in ["late", "failed", "unknown"] {
        pages.hears("trigger", &key(name), 1).await;
    }
    assert_eq!(pages.refusals(&key("late")), [403]);
    assert_eq!(pages.refusals(&key("failed")), [429]);
    assert_eq!(pages.refusals(&key("unknown")), [500]);
    let late = pages.only("trigger", &key("late"));
    assert_eq!(late["description"], "late is late");
    let text = late["details"]["text"].as_str().unwrap();
    assert!(text.starts_with("late last ended 1 d ago, more than 1 h"), "{text}");
    let failed = pages.only("trigger", &key("failed"));
    assert_eq!(failed["details"]["text"], "failed says failure");
    // That it cannot be told is another incident than that it is bad.
    let unknown = pages.only("trigger", &key("unknown"));
    assert_eq!(unknown["description"], "unknown is late (the check cannot tell)");
    let text = unknown["details"]["text"].as_str().unwrap();
    assert!(text.contains("batchy knows no workflow \"unknown\""), "{text}");

    // 80 % is a warning: it is shown, and pages nobody.
    let near = answers(&live, "/api/incidents?monitor=nearly", |it| it["totalHits"] == 1).await;
    assert_eq!(near["results"][0]["severity"], "warning");
    let text = near["results"][0]["text"].as_str().unwrap();
    assert!(text.contains("min ago, more than 80 % of 1 h"), "{text}");
    for name in ["fresh", "nearly", "whole"] {
        assert_eq!(pages.count("trigger", &key(name)), 0, "{name}");
    }
    // Once it is a failure it pages; what is well again is resolved under the same key.
    batchy.ended("nearly", 2, "failure");
    pages.hears("trigger", &key("nearly"), 1).await;
    for name in ["nearly", "late", "failed", "unknown"] {
        batchy.ended(name, 1, "success");
    }
    for name in ["nearly", "late", "failed", "unknown"] {
        pages.hears("resolve", &key(name), 1).await;
        let keys =
            ["trigger", "resolve"].map(|it| pages.only(it, &key(name))["incident_key"].clone());
        assert_eq!(keys[0], keys[1], "{name}");
    }
    answers(&live, "/api/incidents", |it| it["totalHits"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_is_told_and_a_changed_checklist_is_taken_whole_or_not_at_all() {
    let pages = PagerDuty::start().await;
    let (batchy, address) = Batchy::start().await;
    for name in ["one", "two"] {
        batchy.ended(name, 90, "success");
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "checklist.yaml", &latency("one"));
    write(folder.path(), "etl.cfg", &EtlCfg { batchy: address, ..EtlCfg::default() }.text());
    let mut live = service(folder.path(), &pages, "").await;

    // A page that is over as soon as it has arrived.
    pages.hears("resolve", &key("heart"), 1).await;
    let started = pages.only("trigger", &key("heart"));
    assert_eq!(started["description"], "OK: Robopager Startup");
    let text = started["details"]["text"].as_str().unwrap();
    assert!(text.contains("1 have been scheduled") && text.contains("- one (batchy)"), "{text}");
    assert_eq!(pages.only("resolve", &key("heart"))["incident_key"], started["incident_key"]);
    pages.hears("trigger", &key("one"), 1).await;

    // What is not good is refused with its place, and somebody hears of it.
    let broken = latency("two").replace("latency_min: 60", "latency_min: soon");
    write(folder.path(), "checklist.yaml", &(latency("one") + &broken));
    pages.hears("trigger", &key("heart"), 2).await;
    let events = pages.events();
    let refused = events.iter().rfind(|it| it["service_key"] == key("heart").as_str()).unwrap();
    let text = refused["details"]["text"].as_str().unwrap();
    assert!(text.contains("checklist.yaml:16:18: error: two.latency_min"), "{text}");
    assert_eq!(live.get("/api/monitors/one").await["status"], "DOWN");
    assert_eq!(pages.count("trigger", &key("two")), 0);

    // Mended, it is applied without a restart, and what was open stays as it was.
    write(folder.path(), "checklist.yaml", &(latency("one") + &latency("two")));
    pages.hears("trigger", &key("two"), 1).await;
    pages.hears("resolve", &key("heart"), 2).await;
    // A restart tells of itself, and pages nobody anew for what is known.
    live.kill();
    live.launch().await;
    pages.hears("resolve", &key("heart"), 3).await;
    // A check that is gone is resolved.
    write(folder.path(), "checklist.yaml", &latency("two"));
    pages.hears("resolve", &key("one"), 1).await;
    // Killed between a page and the record of it, the server sends it once more under the same key,
    // by which the service knows it.
    for name in ["one", "two"] {
        let events = pages.events();
        let of_name = events.iter().filter(|it| it["service_key"] == key(name).as_str());
        let keys: std::collections::BTreeSet<String> =
            of_name.map(|it| it["incident_key"].to_string()).collect();
        assert_eq!(keys.len(), 1, "{name}: {keys:?}");
    }
}

/// The checklist that is named is the one that is watched: what an earlier start has loaded from
/// another is gone, though its file is still there.
#[tokio::test(flavor = "multi_thread")]
async fn another_checklist_over_the_same_store_takes_the_place_of_the_first() {
    let pages = PagerDuty::start().await;
    let (batchy, address) = Batchy::start().await;
    for name in ["one", "two"] {
        batchy.ended(name, 90, "success");
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "checklist.yaml", &latency("one"));
    write(folder.path(), "other.yaml", &latency("two"));
    write(folder.path(), "etl.cfg", &EtlCfg { batchy: address, ..EtlCfg::default() }.text());
    let mut live = service(folder.path(), &pages, "").await;
    pages.hears("trigger", &key("one"), 1).await;

    live.kill();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    live.launch_with(&["-y", &at("other.yaml"), "-cf", "core", "-p", &at("etl.cfg")]).await;
    pages.hears("resolve", &key("one"), 1).await;
    pages.hears("trigger", &key("two"), 1).await;
    let monitors = live.get("/api/monitors").await.to_string();
    assert!(monitors.contains("\"two\"") && !monitors.contains("\"one\""), "{monitors}");
    // Killed between a page and the record of it, the server sends it once more, under the same key.
    let events = pages.events();
    let of_one = events.iter().filter(|it| it["service_key"] == key("one").as_str());
    let keys: std::collections::BTreeSet<String> =
        of_one.map(|it| it["incident_key"].to_string()).collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_etl_cfg_is_taken_whole_or_not_at_all_on_sighup() {
    let pages = PagerDuty::start().await;
    let ((old, old_address), (new, new_address)) = (Batchy::start().await, Batchy::start().await);
    old.ended("one", 90, "success");
    new.ended("one", 5, "success");
    let etl =
        |batchy: &str, more| EtlCfg { batchy: batchy.to_owned(), more, ..EtlCfg::default() }.text();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "checklist.yaml", &latency("one"));
    write(folder.path(), "etl.cfg", &etl(&old_address, ""));
    let live = service(folder.path(), &pages, "").await;
    pages.hears("resolve", &key("heart"), 1).await;
    pages.hears("trigger", &key("one"), 1).await;

    // One mistake, and nothing of it counts: the other batchy is not asked.
    write(folder.path(), "etl.cfg", &etl(&new_address, "api = v3"));
    live.hang_up();
    pages.hears("trigger", &key("heart"), 2).await;
    let log = live.log_text();
    let line =
        log.lines().find(|it| it.contains("not applied, what was said before stays in force"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("ERROR") && line.contains("etl.cfg:8: "), "{line}");
    assert!(line.contains("v1 or v2"), "{line}");
    assert_eq!(live.get("/api/monitors/one").await["status"], "DOWN");
    assert_eq!(pages.count("resolve", &key("one")), 0);

    // What a checklist needs must be there.
    let without = etl(&new_address, "").replace("[batchy]", "[elsewhere]");
    write(folder.path(), "etl.cfg", &without);
    live.hang_up();
    let missing = || live.log_text().contains("one asks batchy, and batchy.server is missing");
    until(missing, || live.log_text()).await;

    // Mended, it counts from the next look on, without a restart and without the message of one.
    write(folder.path(), "etl.cfg", &etl(&new_address, ""));
    live.hang_up();
    pages.hears("resolve", &key("one"), 1).await;
    pages.hears("resolve", &key("heart"), 2).await;
    let keys = ["trigger", "resolve"].map(|it| pages.only(it, &key("one"))["incident_key"].clone());
    assert_eq!(keys[0], keys[1]);
    assert_eq!(pages.count("trigger", &key("heart")), 2, "{:?}", pages.taken());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pagerduty_refuses_for_good_is_told_as_dead() {
    let pages = PagerDuty::start().await;
    let (batchy, address) = Batchy::start().await;
    batchy.ended("late", 90, "success");
    pages.answers(&key("late"), &[400]);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "checklist.yaml", &latency("late"));
    let text = EtlCfg { batchy: address, ..EtlCfg::default() }.text();
    // Without a heartbeat nothing is said at the start.
    let text = text.replace("heartbeat_service", "# heartbeat_service");
    write(folder.path(), "etl.cfg", &text);
    let live = service(folder.path(), &pages, "").await;
    let dead = answers(&live, "/api/deliveries?status=dead", |it| it["totalHits"] == 1).await;
    let reason = dead["results"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("service_key is wrong"), "{reason}");
    until(|| pages.refusals(&key("late")) == [400], || "one refusal".to_owned()).await;
    assert_eq!(pages.events(), [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_is_watched_as_it_is() {
    let pages = PagerDuty::start().await;
    let (batchy, address) = Batchy::start().await;
    batchy.ended("hourly_load", 5, "success");
    let (host, port) = address.split_once(':').unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/robopager");
    let read = |name: &str| std::fs::read_to_string(example.join(name)).unwrap();
    // Only batchy's address is another; a Redis that is not enabled is nobody's concern.
    let etl = read("etl.cfg").replace("etl.example.com", host).replace("8050", port);
    let checklist = read("cfg/checklist.yaml");
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "checklist.yaml", &checklist);
    write(folder.path(), "etl.cfg", &etl);
    let live = service(folder.path(), &pages, "imap://127.0.0.1:1").await;
    let service = "x".repeat(32);
    pages.hears("resolve", &service, 1).await;
    let started = pages.only("trigger", &service);
    let text = started["details"]["text"].as_str().unwrap();
    assert!(text.contains("2 have been scheduled"), "{text}");
    assert!(text.contains("- morning_report_mail (email)\n- hourly_load (batchy)"), "{text}");
    assert_eq!(live.get("/api/monitors").await["totalHits"], 2);
    assert!(!live.log_text().contains("WARN"), "{}", live.log_text());
    once("hourly_load", &checklist, &etl, &pages).run().exits(0);
}
