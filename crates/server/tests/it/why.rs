//! Why an execution waits.

use kernel::definition::TaskDef;
use serde_json::{Value, json};

use crate::support::{Server, line, waiting};

async fn why(server: &Server, id: &str) -> Value {
    server.get(&format!("/api/workflow/{id}/why")).await.ok()
}

#[tokio::test]
async fn a_queued_task_says_what_keeps_it() {
    let server = Server::new().await;
    server
        .register_task(TaskDef { concurrent_exec_limit: Some(1), ..TaskDef::named("limited") })
        .await;
    let rated = TaskDef {
        rate_limit_per_frequency: 1,
        rate_limit_frequency_in_seconds: 3600,
        ..TaskDef::named("rated")
    };
    server.register_task(rated).await;
    let names = ["fetch", "limited", "rated"];
    server.register(json!(names.map(|name| line(name, &[name])))).await;

    let id = server.start("fetch", &json!({})).await;
    let answer = why(&server, &id).await;
    assert_eq!(answer["workflowId"], id);
    assert_eq!(answer["status"], "RUNNING");
    let waiting = &answer["waiting"][0];
    assert_eq!(waiting["reference"], "fetch");
    assert_eq!(waiting["code"], "no-worker");
    assert_eq!(waiting["reason"], "no worker has polled 'fetch' since the server started");
    assert!(waiting["since"].is_i64());

    for (name, code, part) in [
        ("limited", "concurrency-limit", "limit of 1 at once"),
        ("rated", "rate-limit", "rate limit of 1 per 3600 s"),
    ] {
        server.start(name, &json!({})).await;
        let held = server.start(name, &json!({})).await;
        server.take(name).await;
        let waiting = why(&server, &held).await["waiting"][0].clone();
        assert_eq!(waiting["code"], code, "{waiting}");
        assert!(waiting["reason"].as_str().is_some_and(|r| r.contains(part)), "{waiting}");
    }
}

#[tokio::test]
async fn a_task_in_a_domain_names_its_queue() {
    let server = Server::new().await;
    let policy = TaskDef {
        execution_name_space: Some("space".to_owned()),
        isolation_group_id: Some("group".to_owned()),
        ..TaskDef::named("fetch")
    };
    server.register_task(policy).await;
    server.register(line("fetch", &["fetch"])).await;
    let request = json!({ "name": "fetch", "taskToDomain": { "*": "north" } });
    let id = server.post("/api/workflow", &request).await.ok_text();
    let waiting = why(&server, &id).await["waiting"][0].clone();
    assert_eq!(
        waiting["reason"],
        "no worker has polled 'north:fetch@space-group' since the server started"
    );
    server.take("north:fetch@space-group").await;
    assert_eq!(why(&server, &id).await["waiting"][0]["code"], "in-progress");
}

#[tokio::test]
async fn its_place_in_the_queue_is_told() {
    let server = Server::new().await;
    server.register(line("fetch", &["fetch"])).await;
    server.start("fetch", &json!({})).await;
    server.complete("fetch").await;
    let first = server.start("fetch", &json!({})).await;
    let second = server.start("fetch", &json!({})).await;
    let third = server.start("fetch", &json!({})).await;
    for (id, part) in [(first, "the next"), (second, "1 task is"), (third, "2 tasks are")] {
        let waiting = why(&server, &id).await["waiting"][0].clone();
        assert_eq!(waiting["code"], "queued");
        assert!(waiting["reason"].as_str().is_some_and(|r| r.contains(part)), "{waiting}");
    }
}

#[tokio::test]
async fn what_has_ended_waits_for_nothing_and_says_why_it_ended() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let id = server.start("w", &json!({})).await;
    assert_eq!(why(&server, &id).await["waiting"][0]["code"], "signal");
    server.delete(&format!("/api/workflow/{id}?reason=enough")).await.ok_text();
    let answer = why(&server, &id).await;
    assert_eq!(answer["waiting"], json!([]));
    assert_eq!(answer["reason"], "enough");
}

#[tokio::test]
async fn what_is_stuck_is_grouped_by_what_keeps_it_and_counted_over_a_search() {
    let server = Server::new().await;
    for name in ["first", "second"] {
        server
            .register(json!([{ "name": name, "version": 1, "tasks": [
            { "name": "load", "taskReferenceName": "load", "type": "SIMPLE" } ] }]))
            .await;
    }
    for name in ["first", "first", "second"] {
        server.start(name, &json!({ "word": name })).await;
    }
    let stuck = server.get("/api/workflow/stuck").await.ok();
    let told = ["reason", "queue", "tasks", "runs", "exact"].map(|it| stuck[0][it].clone());
    let expected = [json!("no-worker"), json!("load"), json!(3), json!(3), json!(true)];
    assert_eq!(told, expected, "{stuck}");
    assert!(stuck[0]["oldest"].is_i64() && stuck[1].is_null(), "{stuck}");
    let facets = async |query: &str| server.get(&format!("/api/workflow/facets{query}")).await.ok();
    let value = |value: &str, count: u64| json!({ "value": value, "count": count, "exact": true });
    let all = facets("").await;
    assert_eq!(all["status"], json!([value("RUNNING", 3)]));
    assert_eq!(all["name"], json!([value("first", 2), value("second", 1)]));
    let mut reason = value("no-worker", 3);
    reason["queue"] = "load".into();
    assert_eq!(all["reason"], json!([reason]));
    let some = facets("?query=workflowType%20IN%20(second)").await;
    assert_eq!(
        (&some["name"], &some["reason"][0]["count"]),
        (&json!([value("second", 1)]), &json!(1))
    );
    // Words are not kept count of: runs are counted one by one.
    let words = facets("?freeText=first").await;
    assert_eq!((&words["status"], &words["name"]), (&json!([value("RUNNING", 2)]), &json!([])));
    server.get("/api/workflow/facets?query=colour%20IN%20(red)").await.failed(400);
    // In the console the group leads to its runs.
    let now = server.get("/console/").await.text;
    let link = "/console/runs?q=why%3Ano-worker%20queue%3Aload";
    assert!(now.contains(link) && now.contains("3 runs"), "{now}");
    let runs = server.get(&format!("{link}%20name%3Asecond")).await.text;
    assert_eq!(runs.matches("name=\"id\"").count(), 1, "{runs}");
    assert!(runs.contains("aria-label=\"Reason\""), "{runs}");
    // Once a worker polls, nothing is stuck.
    server.complete("load").await;
    assert_eq!(server.get("/api/workflow/stuck").await.ok(), json!([]));
    assert!(server.get(link).await.text.contains("no run is found"));
}

#[tokio::test]
async fn a_run_is_shown_as_it_stood_after_each_of_its_commits() {
    let server = Server::new().await;
    server
        .register(json!([{ "name": "w", "version": 1, "tasks": [
        { "name": "load", "taskReferenceName": "load", "type": "SIMPLE" } ] }]))
        .await;
    let id = server.start("w", &json!({})).await;
    server.complete("load").await;
    server.until(&id, "COMPLETED").await;
    let history = server.get(&format!("/api/workflow/{id}/history")).await.ok();
    let last = history["last"].as_u64().expect("there is a last one");
    assert_eq!(history["first"], 1);
    let commits = history["commits"].as_array().expect("commits");
    assert_eq!(commits.len() as u64, last, "{history}");
    assert_eq!(commits[0]["facts"][0]["kind"], "started", "{history}");
    assert!(commits.iter().all(|it| it["at"].is_i64()), "{history}");
    let page = server.get(&format!("/api/workflow/{id}/history?from={last}&size=1")).await.ok();
    assert_eq!(page["commits"], json!([commits[commits.len() - 1]]));
    let then = server.get(&format!("/api/workflow/{id}/at/1")).await.ok();
    assert_eq!((&then["workflow"]["status"], &then["version"]), (&json!("RUNNING"), &json!(1)));
    assert_eq!(then["waiting"][0]["reference"], "load", "{then}");
    let light = server.get(&format!("/api/workflow/{id}/at/1?includeTasks=false")).await.ok();
    assert_eq!(light["workflow"]["status"], "RUNNING", "{light}");
    assert!(light["workflow"]["tasks"].as_array().is_none_or(Vec::is_empty), "{light}");
    let end = server.get(&format!("/api/workflow/{id}/at/{last}")).await.ok();
    let mut now = server.get(&format!("/api/workflow/{id}")).await.ok();
    assert_eq!((&end["workflow"]["status"], &end["waiting"]), (&json!("COMPLETED"), &json!([])));
    assert_eq!(end["workflow"]["tasks"], now["tasks"].take());
    for wrong in [format!("{id}/at/0"), format!("{id}/at/{}", last + 1), "none/history".to_owned()]
    {
        server.get(&format!("/api/workflow/{wrong}")).await.failed(404);
    }
    let shown = server.get(&format!("/console/runs/{id}?at=1")).await;
    assert!(
        shown.text.contains("This is the past") && shown.text.contains("running"),
        "{}",
        shown.text
    );
    // The past has views and tasks, too, and what was not yet there is not.
    let ended = format!("/console/runs/{id}?at={last}");
    let panel = server.get(&format!("{ended}&view=timeline&task=1")).await.text;
    for words in ["The timeline then", "<h3>Output</h3>", "&amp;view=timeline", "&amp;task=1"] {
        assert!(panel.contains(words), "{words}: {panel}");
    }
    let data = server.get(&format!("{ended}&view=data")).await;
    assert!(data.text.contains("Variables"), "{}", data.text);
    assert_eq!(data.headers["cache-control"], "no-store");
    assert_eq!(server.get(&format!("{ended}&task=9")).await.status, 404);
    let list = server.get(&format!("/console/runs/{id}?view=history")).await.text;
    assert_eq!(list.matches("?at=").count() as u64, last, "{list}");
    assert_eq!(server.get(&format!("/console/runs/{id}?at={}", last + 1)).await.status, 404);
}
