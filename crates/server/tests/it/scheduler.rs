//! Schedules over the API: documents, operations, previews, and the ledger of firings.

use axum::http::Method;
use kernel::ExecutionId;
use serde_json::{Value, json};

use crate::support::{Server, line, waiting};

fn hourly(name: &str, workflow: &str) -> Value {
    json!({
        "name": name, "cronExpression": "0 0 * * * *", "zoneId": "Europe/Oslo",
        "startWorkflowRequest": { "name": workflow, "input": { "n": 1 } },
    })
}

/// Saves a schedule, or a list of them; what they start is registered unless it is.
async fn save(server: &Server, document: &Value) -> Value {
    let one = std::slice::from_ref(document);
    for schedule in document.as_array().map_or(one, Vec::as_slice) {
        let name = schedule["startWorkflowRequest"]["name"].as_str().unwrap_or_default();
        if server.engine.definitions().plan(name, None).is_none() {
            server.register(line(name, &["a"])).await;
        }
    }
    server.post("/api/scheduler/schedules", document).await.ok()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().filter_map(|shown| shown["name"].as_str()).collect()
}

fn encoded(query: &str) -> String {
    query.replace(' ', "%20").replace('<', "%3C").replace('>', "%3E")
}

/// Waits until a firing stands so, and shows it.
async fn until(server: &Server, schedule: &str, query: &str) -> Value {
    let id = ExecutionId::schedule(schedule);
    let mut watch = server.engine.watch(&id);
    let path = format!("/api/scheduler/search/executions?query={}", encoded(query));
    let reached = async {
        loop {
            let page = server.get(&path).await.ok();
            if page["totalHits"] != 0 {
                return page["results"][0].clone();
            }
            watch.changed().await.expect("the engine lives");
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), reached).await.expect("it comes")
}

#[tokio::test]
async fn a_schedule_is_kept_shown_and_deleted() {
    let server = Server::new().await;
    let saved = save(&server, &hourly("one", "w")).await;
    assert_eq!((&saved["name"], &saved["paused"]), (&json!("one"), &json!(false)));
    assert_eq!(saved["runCatchupScheduleInstances"], false);
    let now = server.engine.now().millis();
    let next = saved["nextRunTime"].as_i64().expect("the next firing is told");
    assert!(next > now && next <= now + 3_600_000 && next % 3_600_000 == 0);
    assert!(saved["updatedTime"].as_i64().is_some_and(|at| at <= now));
    let shown = server.get("/api/scheduler/schedules/one").await.ok();
    assert_eq!(shown, saved);

    // What was shown is accepted back, and the creation stays.
    let again = save(&server, &shown).await;
    assert_eq!(again["createTime"], saved["createTime"]);
    let changed = json!({ "cronSchedules": [{ "cronExpression": "@daily" }], "catchUp": "latest" });
    let mut document = hourly("one", "w");
    for (name, value) in changed.as_object().expect("an object") {
        document[name] = value.clone();
    }
    let changed = save(&server, &document).await;
    assert_eq!(changed["cronSchedules"], json!([{ "cronExpression": "@daily", "zoneId": "UTC" }]));
    assert_eq!(changed["catchUp"], "latest");

    server.delete("/api/scheduler/schedules/one").await.ok_text();
    server.delete("/api/scheduler/schedules/one").await.ok_text();
    assert!(server.get("/api/scheduler/schedules/one").await.failed(404).contains("one"));
    assert_eq!(server.get("/api/scheduler/schedules").await.ok(), json!([]));
    assert_eq!(save(&server, &hourly("one", "w")).await["name"], "one", "made anew");
}

#[tokio::test]
async fn a_bad_schedule_is_refused_whole() {
    let server = Server::new().await;
    let bad = json!({ "name": "bad", "cronExpression": "0 61 * * * *", "zoneId": "Mars" });
    let answer = server.post("/api/scheduler/schedules", &bad).await;
    answer.failed(400);
    let errors = answer.json()["validationErrors"].clone();
    let places: Vec<&str> = errors
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|error| error["pointer"].as_str())
        .collect();
    assert_eq!(places, ["/zoneId", "/cronExpression", "/startWorkflowRequest"]);
    let list = json!([hourly("good", "w"), bad]);
    server.post("/api/scheduler/schedules", &list).await.failed(400);
    server.post("/api/scheduler/schedules", &json!(5)).await.failed(400);
    server.send(Method::POST, "/api/scheduler/schedules", "{".to_owned()).await.failed(400);
    assert_eq!(server.get("/api/scheduler/schedules").await.ok(), json!([]));
    let list = json!([hourly("a", "w"), hourly("b", "w")]);
    assert_eq!(names(&save(&server, &list).await), ["a", "b"]);
}

#[tokio::test]
async fn pausing_and_resuming_by_either_method() {
    let server = Server::new().await;
    save(&server, &hourly("one", "w")).await;
    for method in [Method::PUT, Method::GET] {
        let call = async |verb: &str| {
            let path = format!("/api/scheduler/schedules/one/{verb}");
            server.send(method.clone(), &path, String::new()).await.ok_text();
            server.get("/api/scheduler/schedules/one").await.ok()
        };
        let paused = call("pause?reason=holiday").await;
        assert_eq!((&paused["paused"], &paused["pausedReason"]), (&json!(true), &json!("holiday")));
        assert!(paused.get("nextRunTime").is_none(), "nothing fires while it is paused");
        let resumed = call("resume").await;
        assert_eq!(resumed["paused"], false);
        assert!(resumed.get("pausedReason").is_none() && resumed["nextRunTime"].is_i64());
    }
    server.put("/api/scheduler/schedules/none/pause").await.failed(404);
    server.get("/api/scheduler/schedules/none/resume").await.failed(404);
    server.put(&format!("/api/scheduler/schedules/{}/resume", "x".repeat(300))).await.failed(404);

    save(&server, &hourly("two", "w")).await;
    let both = json!(["one", "none", "two"]).to_string();
    let path = "/api/scheduler/bulk/pause?reason=all";
    let answer = server.send(Method::PUT, path, both.clone()).await.ok();
    assert_eq!(answer["bulkSuccessfulResults"], json!(["one", "two"]));
    assert!(answer["bulkErrorResults"]["none"].is_string());
    let answer = server.send(Method::PUT, "/api/scheduler/bulk/resume", both).await.ok();
    assert_eq!(answer["bulkSuccessfulResults"], json!(["one", "two"]));

    server.put("/api/scheduler/schedules/two/pause?reason=mine").await.ok_text();
    let answer = server.get("/api/scheduler/admin/pause").await.ok();
    assert_eq!(answer["bulkSuccessfulResults"], json!(["one"]));
    server.get("/api/scheduler/admin/resume").await.ok();
    server.get("/api/scheduler/admin/requeue").await.ok();
    let paused = server.get("/api/scheduler/schedules/search?paused=true").await.ok();
    assert_eq!(names(&paused["results"]), ["two"], "what was paused by itself stays so");
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_paged() {
    let server = Server::new().await;
    for (name, workflow) in [("b-report", "w"), ("a-report", "v"), ("other", "w")] {
        save(&server, &hourly(name, workflow)).await;
    }
    let all = server.get("/api/scheduler/schedules").await.ok();
    assert_eq!(names(&all), ["a-report", "b-report", "other"]);
    let some = server.get("/api/scheduler/schedules?workflowName=w").await.ok();
    assert_eq!(names(&some), ["b-report", "other"]);
    for (query, total, expected) in [
        ("", 3, vec!["a-report", "b-report", "other"]),
        ("size=1&start=1", 3, vec!["b-report"]),
        ("sort=name:DESC&size=2", 3, vec!["other", "b-report"]),
        ("scheduleName=report", 2, vec!["a-report", "b-report"]),
        ("name=*er", 1, vec!["other"]),
        ("workflowName=w&scheduleName=REPORT", 1, vec!["b-report"]),
        ("paused=true", 0, vec![]),
        ("freeText=oslo%20other", 1, vec!["other"]),
        ("freeText=*", 3, vec!["a-report", "b-report", "other"]),
    ] {
        let page = server.get(&format!("/api/scheduler/schedules/search?{query}")).await.ok();
        assert_eq!(page["totalHits"], total, "{query}");
        assert_eq!(names(&page["results"]), expected, "{query}");
    }
    server.get("/api/scheduler/schedules/search?sort=colour").await.failed(400);
    server.get("/api/scheduler/schedules/search?size=5001").await.failed(400);
}

#[tokio::test]
async fn labels_are_put_and_taken_off() {
    let server = Server::new().await;
    save(&server, &hourly("one", "w")).await;
    server.put("/api/scheduler/schedules/one/pause").await.ok_text();
    let path = "/api/scheduler/schedules/one/tags";
    let tags = json!([{ "key": "team", "value": "a" }, { "key": "tier", "value": "1" }]);
    server.send(Method::PUT, path, tags.to_string()).await.ok_text();
    assert_eq!(server.get(path).await.ok(), tags);
    save(&server, &hourly("two", "w")).await;
    for (query, found) in [("team:a", &["one"][..]), ("tier", &["one"]), ("team:b", &[])] {
        let listed = server.get(&format!("/api/scheduler/schedules/tags?tag={query}")).await.ok();
        assert_eq!(names(&listed), found, "{query}");
    }
    server.get("/api/scheduler/schedules/tags").await.failed(400);
    server.send(Method::DELETE, path, json!([tags[0]]).to_string()).await.ok_text();
    assert_eq!(server.get(path).await.ok(), json!([tags[1]]));
    assert_eq!(server.get("/api/scheduler/schedules/one").await.ok()["paused"], true);
    server.get("/api/scheduler/schedules/none/tags").await.failed(404);
}

#[tokio::test]
async fn previews_tell_the_next_instants() {
    let server = Server::new().await;
    let few =
        async |query: &str| server.get(&format!("/api/scheduler/nextFewSchedules?{query}")).await;
    let start = 1_774_735_200_000_i64; // 2026-03-28T22:00:00Z, the night of a gap.
    let query = "cronExpression=0%2030%202%20*%20*%20*&zoneId=Europe/Oslo&limit=2";
    for (dst, expected) in [
        ("", [1_774_746_000_000_i64, 1_774_830_600_000]),
        ("&dst=spring", [1_774_830_600_000, 1_774_917_000_000]),
    ] {
        // The clock of this test has passed that night: the bound lies in the future.
        let answer = few(&format!("{query}&scheduleStartTime={start}{dst}")).await.ok();
        let found: Vec<i64> =
            answer.as_array().expect("a list").iter().filter_map(Value::as_i64).collect();
        if server.engine.now().millis() < start {
            assert_eq!(found, expected);
        } else {
            assert!(found.iter().all(|at| *at > server.engine.now().millis()));
        }
    }
    let five = few("cronExpression=@hourly").await.ok();
    assert_eq!(five.as_array().map(Vec::len), Some(5));
    let end = five[1].as_i64().expect("a time");
    let bounded = few(&format!("cronExpression=@hourly&scheduleEndTime={end}")).await.ok();
    assert_eq!(bounded, json!([five[0], five[1]]));
    let bad = few("cronExpression=*%20*%20*%20*%20*").await;
    bad.failed(400);
    assert!(
        bad.json()["validationErrors"][0]["hint"].as_str().is_some_and(|h| h.contains("second"))
    );
    few("cronExpression=@daily&zoneId=Mars").await.failed(400);
    few("").await.failed(400);

    let saved = save(&server, &hourly("one", "w")).await;
    let next = server.get("/api/scheduler/schedules/one/next?limit=2").await.ok();
    assert_eq!(next[0]["scheduledTime"], saved["nextRunTime"]);
    assert_eq!(next[1]["cronExpression"], "0 0 * * * *");
    server.get("/api/scheduler/schedules/none/next").await.failed(404);
}

#[tokio::test]
async fn what_is_fired_runs_and_is_found() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let mut document = hourly("one", "w");
    document["overlap"] = json!("skip");
    save(&server, &document).await;
    save(&server, &hourly("lost", "nowhere")).await;
    server.delete("/api/metadata/workflow/nowhere/1").await.ok_text();

    let path = "/api/scheduler/schedules/one/trigger?by=ann";
    let asked = server.post(path, &json!({})).await.ok();
    let run = asked["workflowId"].as_str().expect("an id");
    server.until(run, "RUNNING").await;
    let input = server.workflow(run).await["input"].clone();
    assert_eq!((&input["n"], &input["_startedByScheduler"]), (&json!(1), &json!("one")));
    assert_eq!(input["_executionId"], asked["executionId"]);
    let found = until(&server, "one", "scheduleName = one AND state = EXECUTED").await;
    assert_eq!(found["executionId"], asked["executionId"]);
    assert_eq!((&found["workflowId"], &found["triggeredBy"]), (&json!(run), &json!("ann")));
    assert_eq!(found["startWorkflowRequest"]["input"]["n"], 1);
    assert!(server.post(path, &json!({})).await.failed(409).contains("overlap"));
    // A run that a schedule follows is no sub-workflow in lists.
    let listed = server.get("/api/workflow/search?query=workflowType%3Dw").await.ok();
    assert_eq!(listed["results"][0]["workflowId"], run);
    server.put("/api/scheduler/schedules/one/pause").await.ok_text();
    server.delete(&format!("/api/workflow/{run}")).await.ok_text();

    server.post("/api/scheduler/schedules/lost/trigger", &json!({})).await.ok();
    let failed = until(&server, "lost", "state IN (FAILED) AND workflowName = nowhere").await;
    assert!(failed["reason"].as_str().is_some_and(|reason| reason.contains("nowhere")));
    server.post("/api/scheduler/schedules/none/trigger", &json!({})).await.failed(404);
}

#[tokio::test]
async fn a_stretch_of_the_past_is_run() {
    let server = Server::new().await;
    server
        .register(json!({ "name": "w", "version": 1, "tasks": [
        { "name": "set", "taskReferenceName": "set", "type": "SET_VARIABLE",
          "inputParameters": { "a": 1 } },
    ] }))
        .await;
    save(&server, &hourly("one", "w")).await;
    let backfill = async |query: &str| {
        server.post(&format!("/api/scheduler/schedules/one/backfill?{query}"), &json!({})).await
    };
    backfill("from=2025-01-01T00:00:00Z&to=2025-01-02T05:00:00Z").await.ok_text();
    for hour in ["2025-01-01T00:00:00Z", "2025-01-02T05:00:00Z"] {
        let at: jiff::Timestamp = hour.parse().expect("a time");
        let query = format!("scheduledTime={} AND state=EXECUTED", at.as_millisecond());
        let found = until(&server, "one", &query).await;
        assert_eq!(found["cause"], "backfill");
    }
    let ask = async |query: &str| {
        let path = format!("/api/scheduler/search/executions?{}", encoded(query));
        server.get(&path).await
    };
    let all = ask("query=scheduleName IN (one, two)&sort=scheduledTime:ASC&size=2").await.ok();
    assert_eq!(all["totalHits"], 30);
    assert_eq!(all["results"].as_array().map(Vec::len), Some(2));
    assert_eq!(all["results"][0]["scheduledTime"], 1_735_689_600_000_i64);
    let newest = ask("size=1").await.ok();
    assert_eq!(newest["results"][0]["scheduledTime"], 1_735_794_000_000_i64);
    for (query, total) in [
        ("query=scheduledTime>1735790400000", 1),
        ("query=scheduledTime>=1735790400000 AND scheduledTime<1735794000000", 1),
        ("query=scheduledTime BETWEEN 1735790400000 AND 1735794000000", 2),
        ("query=workflowName=w&size=3", 30),
        ("query=workflowName=v", 0),
        ("query=state=MISSED", 0),
        ("query=state=EXECUTED AND state=FAILED", 0),
        ("freeText=backfill oslo", 30),
        ("freeText=elsewhere", 0),
    ] {
        assert_eq!(ask(query).await.ok()["totalHits"], total, "{query}");
    }
    for query in ["query=colour=red", "query=state!=FAILED", "sort=colour:ASC", "size=5001"] {
        ask(query).await.failed(400);
    }
    backfill("from=5&to=4").await.failed(400);
    backfill("from=x&to=4").await.failed(400);
    backfill("from=5").await.failed(400);
    for wrong in ["order=best", "redo=some", "atOnce=0"] {
        backfill(&format!("from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z&{wrong}"))
            .await
            .failed(400);
    }
}

#[tokio::test]
async fn a_stretch_is_run_again_as_far_as_asked_for() {
    let server = Server::new().await;
    save(&server, &hourly("one", "w")).await;
    let path = |query: &str| format!("/api/scheduler/schedules/one/backfill?{query}");
    let backwards = server.get(&path("from=5&to=4")).await;
    backwards.failed(400);
    assert!(backwards.text.contains("'to' is before 'from'"), "{}", backwards.text);
    let day = "from=2025-01-01T00:00:00Z&to=2025-01-01T04:00:00Z";
    let begun = async |query: &str| server.post(&path(query), &json!({})).await;
    let counted = async |redo: &str| {
        let counted = server.get(&path(&format!("{day}&redo={redo}"))).await.ok();
        (counted["count"].as_u64(), counted["leftOut"].as_u64())
    };
    begun("from=2025-01-01T01:00:00Z&to=2025-01-01T02:00:00Z").await.ok_text();
    let mut runs = Vec::new();
    for hour in ["01", "02"] {
        let at: jiff::Timestamp = format!("2025-01-01T{hour}:00:00Z").parse().expect("a time");
        let query = format!("scheduledTime={} AND state=EXECUTED", at.as_millisecond());
        let firing = until(&server, "one", &query).await;
        runs.push(firing["workflowId"].as_str().expect("it has a run").to_owned());
    }
    assert_eq!(counted("none").await, (Some(3), Some(2)));
    assert_eq!(counted("failed").await, (Some(3), Some(2)), "what runs has not failed");
    server.delete(&format!("/api/workflow/{}", runs[1])).await.ok_text();
    assert_eq!(counted("failed").await, (Some(4), Some(1)));
    assert_eq!(counted("all").await, (Some(5), Some(0)));

    begun("from=2025-01-01T01:00:00Z&to=2025-01-01T02:00:00Z").await.failed(400);
    begun(&format!("{day}&redo=failed&order=newest&atOnce=1")).await.ok_text();
    let shown = server.get("/api/scheduler/schedules/one").await.ok();
    assert_eq!(
        (&shown["backfill"]["order"], &shown["backfill"]["open"], &shown["backfill"]["leftOut"]),
        (&json!("newest"), &json!(1), &json!(1))
    );
    begun(day).await.failed(409);
    server.delete("/api/scheduler/schedules/one/backfill").await.ok_text();
    server.delete("/api/scheduler/schedules/one/backfill").await.failed(409);
    let newest = server.get("/api/scheduler/search/executions?sort=scheduledTime:DESC").await.ok();
    assert_eq!(newest["results"][0]["scheduledTime"], 1_735_704_000_000_i64, "04:00 went first");
    assert_eq!(newest["totalHits"], 3);
}

#[tokio::test]
async fn an_idempotency_key_of_the_request_is_honoured() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    for (name, strategy) in
        [("again", "RETURN_EXISTING"), ("refused", "FAIL"), ("ended", "FAIL_ON_RUNNING")]
    {
        let mut schedule = hourly(name, "w");
        schedule["startWorkflowRequest"]["idempotencyKey"] = json!(format!("key of {name}"));
        schedule["startWorkflowRequest"]["idempotencyStrategy"] = json!(strategy);
        save(&server, &schedule).await;
        let trigger = async || {
            let path = format!("/api/scheduler/schedules/{name}/trigger");
            let asked = server.post(&path, &json!({})).await.ok();
            assert_eq!(asked["workflowId"], Value::Null, "nobody knows yet");
            let id = asked["executionId"].as_str().expect("an id").to_owned();
            let settled = "state IN (EXECUTED,FAILED)";
            until(&server, name, &format!("executionId = {id} AND {settled}")).await
        };
        let first = trigger().await;
        assert_eq!(first["state"], "EXECUTED");
        let run = first["workflowId"].as_str().expect("an id");
        assert_eq!(server.workflow(run).await["idempotencyKey"], format!("key of {name}"));
        let second = trigger().await;
        if strategy == "RETURN_EXISTING" {
            assert_eq!(
                (&second["state"], &second["workflowId"]),
                (&json!("EXECUTED"), &json!(run))
            );
            continue;
        }
        assert_eq!(second["state"], "FAILED");
        let reason = second["reason"].as_str().expect("a reason");
        assert!(reason.contains("was started with the same idempotencyKey"), "{reason}");
        server.delete(&format!("/api/workflow/{run}")).await.ok_text();
        let third = trigger().await;
        let expected = if strategy == "FAIL" { "FAILED" } else { "EXECUTED" };
        assert_eq!(third["state"], expected, "{third}");
    }
    let mut wrong = hourly("wrong", "w");
    wrong["startWorkflowRequest"]["idempotencyStrategy"] = json!("PERHAPS");
    let answer = server.post("/api/scheduler/schedules", &wrong).await;
    answer.failed(400);
    assert_eq!(
        answer.json()["validationErrors"][0]["pointer"],
        "/startWorkflowRequest/idempotencyStrategy"
    );
}

#[tokio::test]
async fn a_schedule_that_starts_what_does_not_exist_is_refused() {
    let server = Server::new().await;
    server.register(line("flow", &["a"])).await;
    let schedule = |workflow: &str| {
        json!({ "name": "s", "cronExpression": "0 0 2 * * *",
            "startWorkflowRequest": { "name": workflow } })
    };
    let refused = server.post("/api/scheduler/schedules", &schedule("flwo")).await;
    refused.failed(400);
    let flaw = &refused.json()["validationErrors"][0];
    let expected = "the schedule s starts \"flwo\", which does not exist; is flow meant?";
    assert_eq!(flaw["message"], expected);
    server.get("/api/scheduler/schedules/s").await.failed(404);
    server.post("/api/scheduler/schedules", &schedule("flow")).await.ok();
    // Code comes and goes with its workers.
    server.post("/api/scheduler/schedules", &schedule("orchestration:tick")).await.ok();
}

#[tokio::test]
async fn an_outage_is_supposed_and_a_stretch_of_the_plan_is_told() {
    let server = Server::new().await;
    let mut schedule = hourly("nightly", "report");
    schedule["catchUp"] = json!("latest");
    save(&server, &schedule).await;
    let path = "/api/scheduler/schedules/nightly";
    let outage = async |query: &str| server.get(&format!("{path}/outage?{query}")).await;
    let told = outage("from=2030-01-31T01:30:00Z&to=2030-01-31T04:30:00Z").await.ok();
    let fates: Vec<&Value> = (0..3).map(|at| &told[at]["fate"]).collect();
    assert_eq!(fates, ["MISSED", "MISSED", "MADE_UP"], "{told}");
    outage("from=2030-01-31T04:30:00Z&to=2030-01-31T01:30:00Z").await.failed(400);
    outage("from=soon&to=later").await.failed(400);
    let next =
        format!("{path}/next?limit=100&after=2030-01-31T01:30:00Z&before=2030-01-31T04:00:00Z");
    let next = server.get(&next).await.ok();
    let times: Vec<i64> = next
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|it| it["scheduledTime"].as_i64())
        .collect();
    let hour = 3_600_000;
    let first = 1_896_048_000_000 + 2 * hour; // 2030-01-31T02:00:00Z
    assert_eq!(times, [first, first + hour], "the end is left out");
}
