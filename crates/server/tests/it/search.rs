//! Searches over the API.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::memory::{Call, Memory};
use serde_json::{Value, json};

use crate::support::{Server, line, waiting};

/// A query string with this query.
async fn find(server: &Server, path: &str, query: &str) -> Value {
    let mut encoded = String::new();
    for byte in query.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            use std::fmt::Write as _;
            write!(encoded, "%{byte:02X}").expect("a string takes all");
        }
    }
    server.get(&format!("/api/workflow/{path}query={encoded}")).await.ok()
}

fn ids(found: &Value) -> Vec<&str> {
    let results = found["results"].as_array().expect("a list").iter();
    results.map(|found| found["workflowId"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn a_page_of_long_executions_reads_no_history() {
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = loads.clone();
    let store = Memory::with_faults(move |call| {
        if matches!(call, Call::Read("load")) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        None
    });
    let server = Server::with_store(Arc::new(store)).await;
    server.register(line("orders", &["pack"])).await;
    let summary = async || server.get("/api/workflow/search").await.ok()["results"][0].clone();
    let like = |summary: Value| {
        // Reasons name the task by its id, which begins with that of its execution.
        let id = summary["workflowId"].as_str().expect("an id");
        let mut summary: Value =
            serde_json::from_str(&summary.to_string().replace(id, "ID")).expect("still JSON");
        for changing in ["workflowId", "startTime", "updateTime", "endTime", "executionTime"] {
            summary.as_object_mut().expect("an object").remove(changing);
        }
        summary
    };
    let start = async |input: &Value| {
        let request = json!({
            "name": "orders", "correlationId": "c", "priority": 2, "input": input,
            "createdBy": "anna", "taskToDomain": { "pack": "NO_DOMAIN" },
        });
        server.post("/api/workflow", &request).await.ok_text()
    };
    start(&json!({ "note": "short" })).await;
    server.fail("pack").await;
    let short = like(summary().await);

    let note = "long ü ".repeat(20_000);
    let id = start(&json!({ "note": note })).await;
    assert_eq!(summary().await["status"], "RUNNING");
    server.fail("pack").await;
    // One that is started anew has nothing in memory.
    let restarted = server.restarted().await;
    let before = loads.load(Ordering::Relaxed);
    let newest = restarted.get("/api/workflow/search?size=1").await.ok();
    assert_eq!(loads.load(Ordering::Relaxed), before, "its history is not read");
    let both = restarted.get("/api/workflow/search?size=2").await.ok();
    assert_eq!(loads.load(Ordering::Relaxed), before + 1, "that of the short one is");
    assert_eq!(both["results"][0], newest["results"][0]);
    let long = newest["results"][0].clone();
    let expected = json!({ "note": note }).to_string();
    assert_eq!(long["inputSize"], expected.len());
    let input = long["input"].as_str().expect("a text");
    assert!(expected.starts_with(input), "its beginning");
    assert!((65_530..=65_536).contains(&input.len()), "{} bytes", input.len());
    let mut long = like(long);
    for field in ["input", "inputSize"] {
        long[field] = short[field].clone();
    }
    assert_eq!(long, short, "shown as a short one is");

    server.post(&format!("/api/workflow/{id}/retry"), &json!(null)).await;
    assert_eq!(summary().await["status"], "RUNNING");
    server.complete("pack").await;
    let done = summary().await;
    let output = server.workflow(&id).await["output"].to_string();
    assert_eq!((&done["status"], &done["output"]), (&json!("COMPLETED"), &json!(output)));
}

#[tokio::test]
async fn a_summary_shows_times_and_payloads_as_text() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let request = json!({
        "name": "orders", "correlationId": "c", "priority": 2, "input": { "a": [1, "x"] },
        "createdBy": "anna", "taskToDomain": { "pack": "NO_DOMAIN" },
    });
    let id = server.post("/api/workflow", &request).await.ok_text();
    let running = server.get("/api/workflow/search").await.ok()["results"][0].clone();
    assert_eq!(running["endTime"], json!(null));
    assert_eq!(running["executionTime"], 0);
    server.fail("pack").await;
    let found = server.get("/api/workflow/search").await.ok();
    assert_eq!(found["totalHits"], 1);
    let summary = &found["results"][0];
    assert_eq!(summary["workflowId"], id);
    assert_eq!(summary["workflowType"], "orders");
    assert_eq!(summary["version"], 1);
    assert_eq!(summary["status"], "FAILED");
    assert_eq!(summary["correlationId"], "c");
    assert_eq!(summary["input"], r#"{"a":[1,"x"]}"#);
    assert_eq!(summary["inputSize"], 13);
    assert!(summary["output"].is_string());
    assert_eq!(summary["failedReferenceTaskNames"], "pack");
    assert_eq!(summary["failedTaskNames"], json!(["pack"]));
    assert_eq!(summary["priority"], 2);
    assert_eq!(summary["createdBy"], "anna");
    assert_eq!(summary["parentWorkflowId"], "");
    assert_eq!(summary["classifier"], "workflow");
    assert!(summary["reasonForIncompletion"].is_string());
    let workflow = server.workflow(&id).await;
    for (text, millis) in [("startTime", "createTime"), ("endTime", "endTime")] {
        let text = summary[text].as_str().expect("a text");
        assert_eq!(text.len(), "2026-01-31T12:00:00.000Z".len(), "{text}");
        let instant: jiff::Timestamp = text.parse().expect("an instant");
        assert_eq!(json!(instant.as_millisecond()), workflow[millis]);
    }
}

#[tokio::test]
async fn queries_find_what_they_name() {
    let server = Server::new().await;
    server.register(json!([line("orders", &["pack"]), waiting("bills")])).await;
    let done = server.start("orders", &json!({})).await;
    server.complete("pack").await;
    let running = server.start("orders", &json!({ "text": "needle in a haystack" })).await;
    let bill = server.start("bills", &json!({})).await;
    for (query, expected) in [
        ("workflowType IN (orders)", vec![&running, &done]),
        ("workflowType = 'orders' AND status = 'RUNNING'", vec![&running]),
        ("workflowType = \"*ll*\"", vec![&bill]),
        ("status != COMPLETED", vec![&bill, &running]),
        ("startTime < 1000", vec![]),
        ("endTime > 1000", vec![&done]),
    ] {
        let found = find(&server, "search?", query).await;
        assert_eq!(ids(&found), expected, "{query}");
        assert_eq!(found["totalHits"], json!(expected.len()), "{query}");
    }
    let sorted = find(&server, "search?sort=workflowType:ASC%7CstartTime:ASC&", "").await;
    assert_eq!(ids(&sorted)[0], bill);
    let words = server.get("/api/workflow/search?freeText=needle").await.ok();
    assert_eq!(ids(&words), [&running]);
    let page = server.get("/api/workflow/search?start=1&size=1").await.ok();
    assert_eq!((page["totalHits"].as_u64(), ids(&page)), (Some(3), vec![&*running]));
    let whole = find(&server, "search-v2?", "workflowType=bills").await;
    assert_eq!(whole["results"][0]["workflowDefinition"]["name"], "bills");
    assert_eq!(whole["results"][0]["tasks"], json!([]));
    for refused in ["query=flavour%3Dsweet", "size=5001", "sort=flavour", "start=-1"] {
        server.get(&format!("/api/workflow/search?{refused}")).await.failed(400);
    }
}

#[tokio::test]
async fn sub_workflows_can_be_left_out() {
    let server = Server::new().await;
    let parent = json!({ "name": "parent", "version": 1, "tasks": [{
        "name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "child" },
    }]});
    server.register(json!([parent, line("child", &["work"])])).await;
    let id = server.start("parent", &json!({})).await;
    let child = server.take("work").await.execution;
    let top = server.get("/api/workflow/search?topLevelOnly=true").await.ok();
    assert_eq!(ids(&top), [&id]);
    let children = find(&server, "search?", &format!("parentWorkflowId = {id}")).await;
    assert_eq!(ids(&children), [child.as_str()]);
    assert_eq!(children["results"][0]["parentWorkflowId"], id);
}

#[tokio::test]
async fn executions_are_found_by_their_tasks() {
    let server = Server::new().await;
    server.register(json!([line("two", &["a", "b"]), waiting("w")])).await;
    let first = server.start("two", &json!({})).await;
    let second = server.start("two", &json!({})).await;
    let third = server.start("w", &json!({})).await;
    server.complete("a").await;
    for (query, expected) in [
        ("taskType = a", vec![&second, &first]),
        ("taskType = b", vec![&first]),
        ("taskType = a AND status = COMPLETED", vec![&first]),
        ("taskType IN (WAIT, b) AND workflowType = w", vec![&third]),
        ("taskDefName = 'a*' AND status IN (SCHEDULED)", vec![&second]),
        ("taskType = none", vec![]),
    ] {
        let found = find(&server, "search-by-tasks?", query).await;
        assert_eq!(ids(&found), expected, "{query}");
        assert_eq!(found["totalHits"], json!(expected.len()), "{query}");
    }
    let page = find(&server, "search-by-tasks?start=1&size=1&", "taskType = a").await;
    assert_eq!((page["totalHits"].as_u64(), ids(&page)), (Some(2), vec![&*first]));
    let whole = find(&server, "search-by-tasks-v2?", "taskType = WAIT").await;
    assert_eq!(whole["results"][0]["workflowName"], "w");
    let all = server.get("/api/workflow/search-by-tasks").await.ok();
    assert_eq!(all["totalHits"], 3);
}

#[tokio::test]
async fn a_page_of_tasks_goes_no_further_than_it_must() {
    let server = Server::new().await;
    server.register(json!([line("two", &["a", "b"])])).await;
    for _ in 0..40 {
        server.start("two", &json!({})).await;
    }
    for path in ["/api/tasks/search", "/api/tasks/search-v2", "/api/workflow/search-by-tasks"] {
        let page = async |start: usize, size: usize| {
            let query = format!("{path}?query=taskType%3Da&start={start}&size={size}");
            server.get(&query).await.ok()
        };
        let rows = |page: &Value| page["results"].as_array().expect("a list").len();
        let first = page(0, 3).await;
        assert_eq!((rows(&first), &first["totalHits"]), (3, &json!(4)), "{path}: it goes on");
        // Whoever pages until all are seen sees all.
        let (mut seen, mut total) = (Vec::new(), 1);
        while seen.len() < total {
            let page = page(seen.len(), 7).await;
            total = page["totalHits"].as_u64().expect("a number") as usize;
            let ids = page["results"].as_array().expect("a list").iter();
            seen.extend(
                ids.map(|row| row.get("workflowId").or(row.get("workflowInstanceId")).cloned()),
            );
        }
        assert_eq!((seen.len(), total), (40, 40), "{path}");
        let distinct: std::collections::HashSet<String> =
            seen.iter().map(|id| format!("{id:?}")).collect();
        assert_eq!(distinct.len(), 40, "{path}");
        assert_eq!(rows(&page(39, 5).await), 1, "{path}");
        assert_eq!(page(40, 5).await["totalHits"], 40, "{path}: beyond the last");
    }
}

#[tokio::test]
async fn a_page_too_far_behind_is_refused_with_a_way_on() {
    let server = Server::new().await;
    for path in ["/api/workflow/search", "/api/tasks/search"] {
        server.get(&format!("{path}?start=1000000")).await.ok();
        let refused = server.get(&format!("{path}?start=1000001")).await;
        refused.failed(400);
        assert!(refused.json().to_string().contains("startTime"), "it names another way");
    }
}

#[tokio::test]
async fn a_summary_of_a_task_shows_the_beginning_of_a_large_payload() {
    let server = Server::new().await;
    server
        .register(json!({ "name": "large", "version": 1, "tasks": [{
            "name": "w", "taskReferenceName": "w", "type": "WAIT",
            "inputParameters": { "text": "${workflow.input.text}" },
        }]}))
        .await;
    server.start("large", &json!({ "text": "ö".repeat(100_000) })).await;
    let found = server.get("/api/tasks/search").await.ok();
    let input = found["results"][0]["input"].as_str().expect("a text").len();
    assert!((65_530..=65_536).contains(&input), "{input} bytes");
}
