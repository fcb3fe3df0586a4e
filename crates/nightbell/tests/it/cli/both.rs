//! `nightbell run` over orchestrations, which are code.

use serde_json::{Value, json};

use crate::stand_in::StandIn;

const BASE: &str = "/runtime/webhooks/durabletask";

/// An instance as the server shows it.
fn instance(status: &str) -> Value {
    json!({ "name": "watch", "instanceId": "c", "runtimeStatus": status, "input": { "n": 1 },
        "customStatus": null, "output": if status == "Failed" { json!("ValueError: no luck") } else { json!(7) },
        "createdTime": "2026-01-01T00:00:00Z", "lastUpdatedTime": "2026-01-01T00:01:00Z" })
}

#[test]
fn list_narrows_by_kind() {
    let found = json!({ "totalHits": 0, "results": [] });
    let server = StandIn::start().says("GET /api/workflow/search", 200, found);
    server.run(&["run", "list", "--kind", "orchestration", "--status", "RUNNING"]).exits(0);
    let heard = server.heard().remove(0);
    assert!(heard.contains("&classifier=orchestration&"), "{heard}");
    server.run(&["run", "list", "--kind", "entity"]).exits(2);
}

#[test]
fn what_changes_runs_changes_code() {
    for (arguments, request) in [
        ("pause ID", format!("POST {BASE}/instances/c/suspend?taskHub=h")),
        ("resume ID", format!("POST {BASE}/instances/c/resume?taskHub=h")),
        ("terminate ID", format!("POST {BASE}/instances/c/terminate?taskHub=h")),
        (
            "terminate ID --reason tired",
            format!("POST {BASE}/instances/c/terminate?taskHub=h&reason=tired"),
        ),
        ("retry ID", format!("POST {BASE}/instances/c/rewind?taskHub=h")),
        (
            "restart ID",
            format!("POST {BASE}/instances/c/restart?taskHub=h&restartWithNewInstanceId=false"),
        ),
        ("delete ID --yes", format!("DELETE {BASE}/instances/c?taskHub=h")),
    ] {
        let server = StandIn::start().says(&request, 202, json!(null));
        let arguments = arguments.replace("ID", "instance:h:c");
        let arguments: Vec<_> = std::iter::once("run").chain(arguments.split(' ')).collect();
        let outcome = server.run(&arguments).exits(0);
        assert_eq!(server.heard(), [request]);
        assert!(outcome.stderr.contains("instance:h:c"), "{outcome:?}");
    }
}

#[test]
fn an_id_of_no_workflow_may_be_code_of_the_default_hub() {
    let suspend = format!("POST {BASE}/instances/c/suspend");
    let server = StandIn::start().says(&suspend, 202, json!(null));
    server.run(&["run", "pause", "c"]).exits(0);
    assert_eq!(server.heard(), ["PUT /api/workflow/c/pause".to_owned(), suspend]);
    let outcome = server.run(&["run", "pause", "nothing"]).exits(3);
    assert!(outcome.stderr.contains("PUT /api/workflow/nothing/pause"), "{outcome:?}");
}

#[test]
fn many_of_both_are_told_apart() {
    let answer = json!({ "bulkSuccessfulResults": ["1"], "bulkErrorResults": {} });
    let gone = json!({ "Message": "The instance 'd' has ended: Completed." });
    let server = StandIn::start()
        .says("PUT /api/workflow/bulk/pause", 200, answer)
        .says(&format!("POST {BASE}/instances/c/suspend"), 202, json!(null))
        .says(&format!("POST {BASE}/instances/d/suspend"), 410, gone);
    let ids = ["1", "instance:h:c", "instance:h:d"];
    let outcome = server.run(&[&["run", "pause", "--yes", "--json"], &ids[..]].concat()).exits(1);
    assert_eq!(outcome.json()["succeeded"], json!(["instance:h:c", "1"]));
    assert_eq!(outcome.json()["failed"]["instance:h:d"], "The instance 'd' has ended: Completed.");
    let bulk = r#"PUT /api/workflow/bulk/pause ["1"]"#;
    assert!(server.heard().contains(&bulk.to_owned()), "{:?}", server.heard());
}

#[test]
fn watch_follows_code_to_its_end() {
    let mut running = instance("Running");
    running["waiting"] = json!([{ "reference": "look", "reason": "in good hands" }]);
    for (id, hub) in [("c", ""), ("instance:h:c", "taskHub=h&")] {
        let path = format!("GET {BASE}/instances/c?{hub}showWaiting=true");
        let server = StandIn::start().says(&path, 202, running.clone()).says(
            &path,
            200,
            instance("Completed"),
        );
        let outcome = server.run(&["run", "watch", id]).exits(0);
        assert!(outcome.stdout.starts_with("RUNNING look: in good hands"), "{outcome:?}");
        assert!(outcome.stdout.contains("COMPLETED"), "{outcome:?}");
    }
    let server = StandIn::start().says(&format!("GET {BASE}/instances/c"), 200, instance("Failed"));
    let outcome = server.run(&["run", "watch", "c"]).exits(5);
    assert!(outcome.stderr.contains("run c is FAILED: ValueError: no luck"), "{outcome:?}");
    assert!(outcome.stderr.contains("orchestration show c --history"), "{outcome:?}");
    server.run(&["run", "watch", "nothing"]).exits(3);
}

#[test]
fn what_code_has_not_is_refused_with_what_to_do() {
    let server = StandIn::start().says(&format!("GET {BASE}/instances/c"), 200, instance("Failed"));
    for (arguments, hint) in [
        (&["run", "logs", "c"][..], "orchestration show c --history"),
        (&["run", "rerun", "c"], "nightbell run retry c"),
        (&["run", "skip-task", "c", "ref"], "for its code to decide"),
        (&["run", "upgrade", "c"], "as its workers are deployed"),
    ] {
        let outcome = server.run(arguments).exits(2);
        assert!(outcome.stderr.contains("run c is an orchestration"), "{outcome:?}");
        assert!(outcome.stderr.contains(hint), "{outcome:?}");
    }
    for arguments in [&["run", "logs", "x"][..], &["run", "rerun", "x"]] {
        server.run(arguments).exits(3);
    }
    let outcome = server.run(&["run", "start", "watch"]).exits(3);
    assert!(outcome.stderr.contains("nightbell orchestration start"), "{outcome:?}");
}
