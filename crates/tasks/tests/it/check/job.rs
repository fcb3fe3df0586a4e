//! Jobs: batchy as it answers, status pages, schedules of the server itself.

use axum::Router;
use serde_json::{Value, json};

use super::{NOON, only, run, unknown, wrong};
use crate::http::server;

/// Checks batchy's `intraday` when it answers this as `global`.
async fn batchy(global: Value, check: Value, memory: Value) -> engine::Outcome {
    let body = json!({"global": global, "load": {"status": "success"}}).to_string();
    // Labelled as batchy labels it.
    let answer = move || async move { ([("content-type", "text/html")], body) };
    let path = "/get_status/intraday";
    let server = server::good(Router::new().route(path, axum::routing::get(answer))).await;
    let mut settings = json!({"batchy": server.url("/"), "workflow": "intraday", "max_age": "60m"});
    for (name, value) in check.as_object().unwrap() {
        settings[name] = value.clone();
    }
    run("CHECK_JOB", settings, json!({"memory": memory})).await
}

fn ran(started: &str, ended: Value, status: &str) -> Value {
    json!({"batch_id": 1, "status": status, "batch_start": started, "batch_end": ended,
        "failure_cnt": 0})
}

#[tokio::test]
async fn ages_of_jobs() {
    let start = json!({"since": "start"});
    let cases = [
        // (started, ended, status, settings, status of the check, its text)
        (
            "2026-03-10T11:00:00.5",
            "2026-03-10T11:30:00.25",
            "success",
            json!({}),
            "ok",
            "intraday last ended 29 min ago",
        ),
        // No microseconds.
        (
            "2026-03-10T11:00:00",
            "2026-03-10T11:12:00",
            "success",
            json!({}),
            "warn",
            "intraday last ended 48 min ago, more than 80 % of 1 h",
        ),
        (
            "2026-03-10T10:00:00",
            "2026-03-10T11:00:00",
            "success",
            json!({}),
            "fail",
            "intraday last ended 1 h ago, more than 1 h",
        ),
        // More than a day: no days are lost.
        (
            "2026-03-09T11:00:00",
            "2026-03-09T11:55:00",
            "success",
            json!({}),
            "fail",
            "intraday last ended 1 d ago, more than 1 h",
        ),
        (
            "2026-03-10T11:58:00",
            "2026-03-10T11:59:00",
            "failure",
            json!({}),
            "fail",
            "intraday says failure",
        ),
        (
            "2026-03-10T11:10:00",
            "2026-03-10T11:59:00",
            "success",
            start.clone(),
            "warn",
            "intraday began 50 min ago, more than 80 % of 1 h",
        ),
        // A clock that is a little ahead is no failure.
        (
            "2026-03-10T12:00:00",
            "2026-03-10T12:03:00",
            "success",
            json!({}),
            "ok",
            "intraday last ended 0 min ago",
        ),
        (
            "2026-03-10T07:00:00",
            "2026-03-10T07:30:00",
            "success",
            json!({"tz": "America/New_York"}),
            "ok",
            "intraday last ended 30 min ago",
        ),
    ];
    for (started, ended, status, check, wanted, text) in cases {
        let seen = batchy(ran(started, json!(ended), status), check, json!(null)).await;
        assert_eq!(only(&seen, wanted)["text"], text, "{started} {ended}");
    }
    let ahead = ran("2026-03-10T12:00:00", json!("2026-03-10T12:30:00"), "success");
    unknown(&batchy(ahead, json!({}), json!(null)).await, "30 min in the future");
}

#[tokio::test]
async fn the_last_end_outlives_a_new_start() {
    let good = ran("2026-03-10T10:20:00", json!("2026-03-10T10:30:00"), "success");
    let seen = batchy(good, json!({"max_age": "2h"}), json!(null)).await;
    only(&seen, "ok");
    let memory = seen.output.parse()["memory"].clone();
    assert_eq!(memory, json!({"job": "intraday", "ended": NOON - 90 * 60_000}));
    // batchy has forgotten the end; the check has not.
    let open = ran("2026-03-10T11:59:00", json!(null), "open");
    let seen = batchy(open.clone(), json!({}), memory.clone()).await;
    let text = "intraday last ended 1 h 30 min ago, more than 1 h";
    assert_eq!(only(&seen, "fail")["text"], text);
    assert_eq!(seen.output.parse()["memory"], memory);
    // Without a memory all that is known is the start.
    only(&batchy(open, json!({}), json!(null)).await, "ok");
    // The memory of another job is none.
    let other = json!({"job": "nightly", "ended": 5});
    let open = ran("2026-03-10T11:59:00", json!(null), "open");
    only(&batchy(open, json!({}), other).await, "ok");
}

#[tokio::test]
async fn what_batchy_does_not_tell_is_unknown() {
    unknown(&batchy(ran("soon", json!(null), "open"), json!({}), json!(null)).await, "no time");
    let new = json!({"status": "new", "batch_start": null, "batch_end": null});
    unknown(&batchy(new, json!({}), json!(null)).await, "neither when it began");
    let step = batchy(json!({}), json!({"step": "extract"}), json!(null)).await;
    unknown(&step, "no step \"extract\"; it has global, load");
    for (body, part) in [("{}", "knows no workflow"), ("[]", "no status"), ("oops", "no JSON")] {
        let server = server::good(Router::new().fallback(move || async move { body })).await;
        let check = json!({"batchy": server.url(""), "workflow": "w", "max_age": "1h"});
        unknown(&run("CHECK_JOB", check, json!({})).await, part);
    }
    let check = json!({"batchy": "h", "workflow": "w", "since": "noon"});
    wrong(&run("CHECK_JOB", check, json!({})).await, "`since`");
}

#[tokio::test]
async fn any_status_page_will_do() {
    let body = r#"{"job": {"began": 1773140000, "done": 1773143000000, "verdict": "DONE"}}"#;
    let server = server::good(Router::new().fallback(move || async move { body })).await;
    let check = json!({"url": server.url(""), "started": "$.job.began", "ended": "$.job.done",
        "status": "$.job.verdict", "max_age": "1h", "success": ["done"]});
    assert_eq!(
        only(&run("CHECK_JOB", check.clone(), json!({})).await, "ok")["attrs"]["job_status"],
        "DONE"
    );
    let mut strict = check;
    strict["success"] = json!(["perfect"]);
    only(&run("CHECK_JOB", strict, json!({})).await, "fail");
}

#[tokio::test]
async fn a_schedule_needs_its_engine() {
    unknown(&run("CHECK_JOB", json!({"schedule": "s"}), json!({})).await, "engine is not there");
}
