//! `PromQL`: a real Prometheus, and stand-ins for what it says seldom.

use std::process::Command;

use axum::Router;
use serde_json::{Value, json};

use super::service::{Service, find, folder, free_port, write};
use super::{all, history, only, run, unknown, wrong};
use crate::http::server;

async fn ask(url: &str, settings: Value, beside: Value) -> engine::Outcome {
    let mut check = settings;
    check["url"] = url.into();
    run("CHECK_PROMETHEUS", check, beside).await
}

#[tokio::test]
async fn a_real_prometheus_answers_with_rows() {
    let Some(program) = find("/usr/bin/prometheus", "prometheus") else { return };
    let (folder, port) = (folder(), free_port());
    let config = write(folder.path(), "prometheus.yml", "global:\n  scrape_interval: 1h\n");
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let mut service = Service::start(folder, command, port);
    let url = format!("http://127.0.0.1:{port}");
    // It listens a little before it is ready to answer.
    let ready = async {
        let url = format!("{url}/-/ready");
        while reqwest::get(&url).await.is_ok_and(|answer| !answer.status().is_success()) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), ready).await.unwrap();

    let labelled = r#"label_replace(vector(97.5), "host", "db 1", "", "") > 90"#;
    let seen = ask(&url, json!({"query": labelled}), json!({"per": ["host"]})).await;
    let row = only(&seen, "fail");
    assert_eq!((&row["value"], &row["attrs"]["host"]), (&json!(97.5), &json!("db 1")));
    // Whoever judges gets rows without a verdict.
    let seen = ask(&url, json!({"query": "vector(1)"}), json!({"judged": true})).await;
    assert_eq!(all(&seen)[0].get("status"), None);
    assert_eq!(only(&ask(&url, json!({"query": "1 + 1"}), json!({})).await, "fail")["value"], 2.0);
    let matrix = ask(&url, json!({"query": "vector(3)[5m:1m]"}), json!({})).await;
    assert_eq!(only(&matrix, "fail")["value"], 3.0);

    let none = "vector(1) > 2";
    unknown(&ask(&url, json!({"query": none}), json!({})).await, "finds no series");
    assert!(all(&ask(&url, json!({"query": none, "empty": "ok"}), json!({})).await).is_empty());
    only(&ask(&url, json!({"query": none, "empty": "fail"}), json!({})).await, "fail");
    unknown(&ask(&url, json!({"query": "vector("}), json!({})).await, "400 Bad Request: ");
    wrong(&ask(&url, json!({"query": none, "empty": "maybe"}), json!({})).await, "`empty`");

    the_past(&url).await;

    service.kill();
    unknown(&ask(&url, json!({"query": none}), json!({})).await, "refused");
    let gone = history().range(&of_the_past(&url, "up", 0), at(0), 60_000, 2).await;
    assert!(gone.expect_err("it is away").contains("refused"));
}

fn at(minute: i64) -> kernel::Timestamp {
    kernel::Timestamp::from_millis(super::NOON + minute * 60_000)
}

fn of_the_past(url: &str, query: &str, minute: i64) -> kernel::Json {
    kernel::Json::of(&json!({
        "settings": { "url": url, "query": query }, "per": ["host"], "judged": true,
        "window": { "to_ms": at(minute).millis() },
    }))
}

/// A range is what checks at each of its instants answer, one by one.
async fn the_past(url: &str) {
    let history = history();
    let wave = r#"label_replace(vector(time() % 600), "host", "db 1", "", "") >= 120"#;
    let all = history.range(&of_the_past(url, wave, 0), at(0), 60_000, 10).await.unwrap();
    let mut unknown = 0;
    for (minute, ranged) in (0..).zip(all) {
        let one = history.at("CHECK_PROMETHEUS", &of_the_past(url, wave, minute)).await.unwrap();
        assert_eq!(ranged, one, "minute {minute}");
        unknown += usize::from(one.is_err());
    }
    assert_eq!(unknown, 2, "the first two minutes of ten find no series");
    let broken = history.range(&of_the_past(url, "vector(", 0), at(0), 60_000, 2).await;
    assert!(broken.expect_err("it is refused").contains("400 Bad Request"));
}

#[tokio::test]
async fn what_is_no_result_leaves_everything_unknown() {
    for (body, part) in [
        ("<html>", "no JSON: <html>"),
        ("{}", "it did not say why"),
        (r#"{"status":"error","error":"out of memory"}"#, "out of memory"),
        (r#"{"status":"success","data":{"resultType":"vector","result":7}}"#, "no result"),
        (r#"{"status":"success","data":{"resultType":"vector","result":[[]]}}"#, "no result"),
    ] {
        let server = server::good(Router::new().fallback(move || async move { body })).await;
        unknown(&ask(&server.url(""), json!({"query": "up"}), json!({})).await, part);
    }
}

#[tokio::test]
async fn warnings_come_along() {
    let body = r#"{"status":"success","warnings":["a store is away"],"data":{"resultType":"vector",
        "result":[{"metric":{"job":"x"},"value":[1.5,"NaN"]}]}}"#;
    let server = server::good(Router::new().fallback(move || async move { body })).await;
    let seen = ask(&server.url("/"), json!({"query": "up"}), json!({})).await;
    let row = only(&seen, "fail");
    assert_eq!(row["attrs"]["warnings"], "a store is away");
    assert_eq!(row["value"], "NaN");
}
