//! `nightbell batch`.

use serde_json::json;

use crate::stand_in::StandIn;

#[test]
fn a_batch_is_begun_after_its_preview_listed_and_stopped() {
    let found =
        json!({ "id": "b-1", "count": 3, "workflowIds": ["r-1", "r-2"], "subWorkflows": 2 });
    let batch = json!({ "id": "b-1", "act": "terminate", "state": "RUNNING", "find": "status:RUNNING",
        "runs": 3, "passed": 2, "done": 1, "refused": 1, "createTime": 1_700_000_000_000_i64,
        "refusals": [{ "workflowId": "r-2", "reason": "it has ended" }] });
    let server = StandIn::start()
        .says("POST /api/batches/preview", 200, found)
        .says("POST /api/batches", 200, batch.clone())
        .says("GET /api/batches", 200, json!([batch]))
        .says("GET /api/batches/b-1", 200, batch)
        .says("POST /api/batches/b-1/stop", 200, json!({}));
    let words = ["batch", "begin", "terminate", "status:RUNNING", "name:x", "--by", "Ida"];
    // Nobody is asked, so nothing is done.
    let asked = server.run(&words).exits(2);
    assert!(asked.stderr.contains("terminate 3 runs and 2 running sub-workflows"), "{asked:?}");
    assert_eq!(server.body(0), json!({ "act": "terminate", "find": "status:RUNNING name:x" }));
    let begun = server.run(&[&words[..], &["--yes", "--reason", "cleanup"]].concat()).exits(0);
    assert_eq!(begun.stdout, "b-1\n");
    assert_eq!(server.body(2), json!({ "preview": "b-1", "reason": "cleanup", "who": "Ida" }));
    let lines = server.run(&["batch", "list"]).exits(0).lines();
    assert!(lines[1].starts_with("b-1 RUNNING terminate 3 1 1 "), "{lines:?}");
    let lines = server.run(&["batch", "get", "b-1"]).exits(0).lines();
    assert_eq!(lines[0], "terminate RUNNING: 2 of 3 runs, 1 done, 1 refused");
    assert_eq!(lines[1].trim(), "r-2: it has ended");
    server.run(&["batch", "stop", "b-1"]).exits(0);
    server.run(&["batch", "begin", "delete"]).exits(2);
}
