//! Several servers and a real Redis: one page, whatever dies.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::service::{Service, find, folder, free_port};
use super::single::once;
use super::world::{Batchy, EtlCfg, PagerDuty, answers, key, latency, service, until, write};
use crate::live::Live;

struct Redis {
    service: Service,
    port: u16,
}

fn redis() -> Option<Redis> {
    let program = find("/usr/bin/redis-server", "redis-server")?;
    let (folder, port) = (folder(), free_port());
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--save", "", "--dir"]).arg(folder.path());
    Some(Redis { service: Service::start(folder, command, port), port })
}

impl Redis {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What a person sees in database 1.
    fn ask(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let said = Command::new("redis-cli").args(["-p", &port, "-n", "1"]).args(command).output();
        String::from_utf8(said.unwrap().stdout).unwrap()
    }
}

struct Pair {
    batchy: Batchy,
    pages: PagerDuty,
    folder: TempDir,
}

impl Pair {
    /// Files for servers that all watch `late`, which is.
    async fn of(redis: String) -> Self {
        let pages = PagerDuty::start().await;
        let (batchy, address) = Batchy::start().await;
        batchy.ended("late", 90, "success");
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "checklist.yaml", &latency("late"));
        let etl = EtlCfg { batchy: address, redis: Some(redis), ..EtlCfg::default() };
        write(folder.path(), "etl.cfg", &etl.text());
        Self { batchy, pages, folder }
    }

    async fn server(&self) -> Live {
        service(self.folder.path(), &self.pages, "").await
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }
}

/// Waits until a server has told, or knows as told, so much of the check.
async fn settled(live: &Live, count: u64) -> Value {
    let path = "/api/deliveries?status=sent&monitor=late";
    answers(live, path, |it| it["totalHits"] == count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn several_servers_page_once_and_resolve_once() {
    let Some(redis) = redis() else { return };
    let pair = Pair::of(redis.address()).await;
    let (one, two) = tokio::join!(pair.server(), pair.server());
    let late = key("late");
    for live in [&one, &two] {
        settled(live, 1).await;
    }
    assert_eq!(pair.pages.count("trigger", &late), 1, "{:?}", pair.pages.taken());
    // The states that people look for: the check's own, and the page's.
    let state = redis.ask(&["hgetall", "late"]);
    assert!(state.contains("status_dt") && state.contains("result\nfailure\n"), "{state}");
    let keys = redis.ask(&["keys", "late-*"]);
    let alert = keys.trim();
    assert!(redis.ask(&["hget", alert, "result"]).contains("trigger: late is late"), "{keys}");
    let left: i64 = redis.ask(&["ttl", alert]).trim().parse().unwrap();
    assert!((1..=3600).contains(&left), "{left}");

    pair.batchy.ended("late", 5, "success");
    for live in [&one, &two] {
        settled(live, 2).await;
    }
    assert_eq!(pair.pages.count("resolve", &late), 1, "{:?}", pair.pages.taken());
    // And once more for what comes next.
    pair.batchy.ended("late", 1, "failure");
    for live in [&one, &two] {
        settled(live, 3).await;
    }
    assert_eq!(pair.pages.count("trigger", &late), 2, "{:?}", pair.pages.taken());

    // A run by hand knows of it too.
    let etl = pair.read("etl.cfg");
    once("late", &latency("late"), &etl, &pair.pages).run().exits(1);
    assert_eq!(pair.pages.count("trigger", &late), 2, "{:?}", pair.pages.taken());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_came_later_is_shared_after_sighup() {
    let Some(redis) = redis() else { return };
    let pair = Pair::of(redis.address()).await;
    let with = pair.read("etl.cfg");
    write(pair.folder.path(), "etl.cfg", &with.replace("enable = True", "enable = False"));
    let one = pair.server().await;
    settled(&one, 1).await;
    assert_eq!(redis.ask(&["keys", "*"]).trim(), "");
    write(pair.folder.path(), "etl.cfg", &with);
    one.hang_up();
    // What checks find is noted there from now on, and pages are claimed there.
    until(|| redis.ask(&["hgetall", "late"]).contains("failure"), || one.log_text()).await;
    pair.batchy.ended("late", 5, "success");
    settled(&one, 2).await;
    assert_eq!(pair.pages.count("resolve", &key("late")), 1, "{:?}", pair.pages.taken());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_between_claim_and_page_loses_no_page() {
    let Some(redis) = redis() else { return };
    let pair = Pair::of(redis.address()).await;
    let late = key("late");
    // The first call is never answered: its server dies over it.
    pair.pages.answers(&late, &[0]);
    let mut one = pair.server().await;
    until(|| pair.pages.refusals(&late) == [0], || "the first call".to_owned()).await;
    one.kill();
    assert!(redis.ask(&["keys", "late-*"]).starts_with("late-"), "it is claimed");
    let two = pair.server().await;
    // Once the claim has run out.
    settled(&two, 1).await;
    assert_eq!(pair.pages.count("trigger", &late), 1, "{:?}", pair.pages.taken());
    // The dead one comes back, and finds it done.
    one.launch().await;
    settled(&one, 1).await;
    assert_eq!(pair.pages.count("trigger", &late), 1, "{:?}", pair.pages.taken());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_everybody_pages_and_says_so() {
    let Some(mut redis) = redis() else { return };
    let pair = Pair::of(redis.address()).await;
    pair.batchy.ended("late", 5, "success");
    let (one, two) = tokio::join!(pair.server(), pair.server());
    answers(&one, "/api/monitors/late", |it| it["status"] == "UP").await;
    redis.service.kill();
    pair.batchy.ended("late", 1, "failure");
    for live in [&one, &two] {
        settled(live, 1).await;
        let log = live.log_text();
        assert!(log.contains("told without asking whether another server has told it"), "{log}");
    }
    // PagerDuty makes one incident of it: the key is the same.
    assert_eq!(pair.pages.count("trigger", &key("late")), 2);
    let events = pair.pages.events();
    let keys: Vec<&Value> = events
        .iter()
        .filter(|it| it["service_key"] == key("late").as_str())
        .map(|it| &it["incident_key"])
        .collect();
    assert_eq!(keys[0], keys[1]);
}
