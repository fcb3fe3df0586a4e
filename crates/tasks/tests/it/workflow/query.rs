//! `QUERY_PROCESSOR`: what is found, what is refused, and what Prometheus is asked.

use std::sync::Arc;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::routing::get;
use kernel::graph::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tasks::registry::Settings;

use super::{completes, fails, house, house_with};
use crate::flows::{ended, register, start, terminate};

#[allow(clippy::needless_pass_by_value, reason = "questions are written on the spot")]
fn ask(more: Value) -> Value {
    let mut input = json!({ "queryType": "CONDUCTOR_API" });
    for (name, value) in more.as_object().unwrap() {
        input[name] = value.clone();
    }
    input
}

#[tokio::test]
async fn executions_are_found_by_what_is_asked() {
    let engine = house().await;
    let running = start(&engine, "waits", json!({ "who": "Ann" })).await;
    let stopped = start(&engine, "waits", json!({ "who": "Ben" })).await;
    terminate(&engine, &stopped).await;
    register(&engine, "quick", json!([{ "ref": "n", "type": "NOOP" }])).await;
    let done = start(&engine, "quick", json!({})).await;
    assert_eq!(ended(&engine, &done).await.0, Status::Completed);

    let waits = json!(["waits"]);
    for (question, found) in [
        (json!({ "workflowNames": waits }), vec![&stopped, &running]),
        (json!({ "workflowNames": "waits", "statuses": "TERMINATED" }), vec![&stopped]),
        (json!({ "workflowNames": waits, "statuses": ["running", "failed"] }), vec![&running]),
        (
            json!({ "workflowNames": ["waits", "quick"], "statuses": [] }),
            vec![&done, &stopped, &running],
        ),
        (json!({ "correlationIds": "about quick" }), vec![&done]),
        (json!({ "workflowNames": waits, "freeText": "ben" }), vec![&stopped]),
        (
            json!({ "workflowNames": waits, "freeText": "*", "statuses": null }),
            vec![&stopped, &running],
        ),
        (
            json!({ "workflowNames": waits, "startTimeFrom": "15", "startTimeTo": 0 }),
            vec![&stopped, &running],
        ),
        (json!({ "workflowNames": waits, "startTimeTo": 10 }), vec![]),
        (json!({ "workflowNames": waits, "endTimeFrom": 0.5, "endTimeTo": "" }), vec![&stopped]),
        // A bound of 0 minutes is none: also executions that have not ended are found.
        (
            json!({ "workflowNames": waits, "endTimeFrom": 0, "endTimeTo": "0" }),
            vec![&stopped, &running],
        ),
        (json!({ "workflowNames": waits, "endTimeFrom": 15, "endTimeTo": 0 }), vec![&stopped]),
        (json!({ "workflowNames": "no such workflow" }), vec![]),
    ] {
        let output = completes(&engine, "QUERY_PROCESSOR", ask(question.clone())).await;
        let result = &output["result"];
        let ids: Vec<&str> = result["workflows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["workflowId"].as_str().unwrap())
            .collect();
        let found: Vec<&str> = found.into_iter().map(kernel::ExecutionId::as_str).collect();
        assert_eq!(ids, found, "{question}");
        assert_eq!(result["count"], json!(found.len()), "{question}");
        assert_eq!(result["totalHits"], json!(found.len()), "{question}");
        assert_eq!(result["workflowsUrl"], output["listUrl"], "{question}");
    }
}

#[tokio::test]
async fn a_row_shows_what_an_alert_needs() {
    let mut settings = Settings::default();
    settings.workflow.base_url = "https://bell.example.org/".to_owned();
    let engine = house_with(settings).await;
    let id = start(&engine, "waits", json!({ "who": "Ann" })).await;
    terminate(&engine, &id).await;
    let large = start(&engine, "waits", json!({ "text": "x".repeat(2 << 20) })).await;
    let question = json!({ "workflowNames": ["waits", "it's"], "startTimeFrom": 5 });
    let output = completes(&engine, "QUERY_PROCESSOR", ask(question)).await;
    let rows = output["result"]["workflows"].as_array().unwrap();
    let row = &rows[1];
    assert_eq!(row["workflowType"], "waits");
    assert_eq!(row["status"], "TERMINATED");
    assert_eq!(row["reasonForIncompletion"], "enough");
    assert_eq!(row["correlationId"], "about waits");
    for time in ["startTime", "updateTime", "endTime"] {
        row[time].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    }
    // Payloads that have no room are left out; their size is told.
    assert_eq!(rows[0]["workflowId"], json!(large));
    assert_eq!(rows[0]["input"], Value::Null);
    assert!(rows[0]["inputSize"].as_u64().unwrap() > 2 << 20);
    let url = output["listUrl"].as_str().unwrap();
    let begin = "https://bell.example.org/api/workflow/search?sort=startTime:DESC&query=\
                 workflowType%20IN%20%28%27waits%27%2C%22it%27s%22%29%20AND%20startTime%20%3E%20";
    assert!(url.starts_with(begin), "{url}");
}

#[tokio::test]
async fn a_question_that_can_never_match_is_refused() {
    let engine = house().await;
    for (input, why) in [
        (json!({}), "`queryType` is missing"),
        (json!({ "queryType": "SQL" }), "CONDUCTOR_API or METRICS, not 'SQL'"),
        (ask(json!({ "statuses": ["FAILD"] })), "'FAILD', which no workflow ever has"),
        (ask(json!({ "startTimeFrom": 5, "startTimeTo": 10 })), "nothing can match"),
        (ask(json!({ "startTimeFrom": "soon" })), "`startTimeFrom` must be a number"),
        (ask(json!({ "endTimeTo": -1 })), "`endTimeTo` must be a number"),
        (ask(json!({ "workflowNames": { "a": 1 } })), "`workflowNames` must be a text or a list"),
    ] {
        let reason = fails(&engine, "QUERY_PROCESSOR", input).await;
        assert!(reason.contains(why), "{reason} should say {why}");
    }
}

#[tokio::test]
async fn prometheus_is_asked() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let answers = asked.clone();
    let router = Router::new().route(
        "/prom/api/v1/query_range",
        get(move |RawQuery(query): RawQuery| {
            answers.lock().push(query.unwrap_or_default());
            async {
                r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"]]}]}}"#
            }
        }),
    )
    .route("/bad/api/v1/query_range", get(|| async {
        (StatusCode::BAD_REQUEST, r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#)
    }))
    .route("/html/api/v1/query_range", get(|| async { "<html>" }));
    let server = crate::http::server::good(router).await;
    let question = json!({
        "queryType": "metrics", "metricsQuery": "up{job=\"a b\"}", "metricsStart": "5",
        "metricsEnd": 0, "metricsStep": "10",
    });
    let at = |path: &str| {
        let mut settings = Settings::default();
        settings.workflow.prometheus_url = Some(server.url(path));
        settings
    };
    let engine = house_with(at("/prom/")).await;
    let output = completes(&engine, "QUERY_PROCESSOR", question.clone()).await;
    assert_eq!(output["result"]["data"]["result"][0]["values"], json!([[1, "2"]]));
    let query = asked.lock().pop().unwrap();
    assert!(query.starts_with("query=up%7Bjob%3D%22a+b%22%7D&start="), "{query}");
    assert!(query.ends_with("&step=10"), "{query}");

    let with = |name: &str, value: Value| {
        let mut question = question.clone();
        question[name] = value;
        question
    };
    for (path, input, why) in [
        (
            "/bad",
            question.clone(),
            "Prometheus refused the question (400 Bad Request): parse error",
        ),
        ("/html", question.clone(), "is not Prometheus's API"),
        ("", with("metricsStep", json!("0")), "`metricsStep` must be"),
        ("", with("metricsStart", json!("yesterday")), "`metricsStart` must be minutes"),
        ("", with("metricsStart", json!(1_000_000)), "points in time"),
        ("", with("metricsEnd", json!(10)), "`metricsStart` is later than `metricsEnd`"),
        ("", with("metricsQuery", json!(" ")), "`metricsQuery` is missing"),
    ] {
        let engine = house_with(at(path)).await;
        let reason = fails(&engine, "QUERY_PROCESSOR", input).await;
        assert!(reason.contains(why), "{reason} should say {why}");
    }
    let reason = fails(&house().await, "QUERY_PROCESSOR", question).await;
    assert!(reason.contains("set prometheus_url"), "{reason}");
}
