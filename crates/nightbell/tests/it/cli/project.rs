//! Plan and apply: what is sent, what is shown, and the exit codes.

use serde_json::{Value, json};

use crate::stand_in::{Nightbell, Outcome, StandIn};

const FLOW: &str = r#"{ "name": "w", "tasks": [] }"#;

fn planned(refusals: &Value) -> Value {
    json!({
        "project": "defs", "base": "b1", "refusals": refusals,
        "changes": [
            { "action": "update", "kind": "workflow", "name": "w", "version": 1,
              "notes": ["2 running keep the old plan; 2 could be upgraded"] },
            { "action": "remove", "kind": "schedule", "name": "nightly" },
        ],
        "notes": ["secret PD_KEY is not on the server"],
    })
}

fn run(server: &StandIn, arguments: &[&str]) -> Outcome {
    Nightbell::new(arguments)
        .env("NIGHTBELL_URL", &server.url())
        .file("defs/w.json", FLOW)
        .file("defs/below/m.yaml", "monitors: {}\n")
        .file("defs/input.json", "{}")
        .file("plan.json", r#"{ "project": "shop", "base": "b0", "files": [] }"#)
        .file("other.json", r#"{ "project": "shop", "files": [] }"#)
        .run()
}

#[test]
fn a_plan_with_changes_is_exit_code_7_and_none_is_0() {
    let request = "POST /api/projects/defs/plan";
    let server = StandIn::start().says(request, 200, planned(&json!([])));
    let outcome = run(&server, &["plan", "defs"]).exits(7);
    let expected = [
        "~ workflow w v1",
        "2 running keep the old plan; 2 could be upgraded",
        "- schedule nightly",
        "! secret PD_KEY is not on the server",
    ];
    assert_eq!(outcome.lines(), expected);
    assert_eq!(outcome.stderr, "2 changes to apply\n");
    let files = json!([
        { "path": "below/m.yaml", "text": "monitors: {}\n", "monitors": true },
        { "path": "w.json", "text": FLOW, "monitors": false },
    ]);
    assert_eq!(server.body(0), json!({ "files": files }));
    let nothing = json!({ "project": "defs", "base": "b1", "changes": [] });
    let server = StandIn::start().says(request, 200, nothing);
    assert_eq!(run(&server, &["plan", "defs"]).exits(0).stdout, "");
    let server = StandIn::start().refuses(request, 400, "Validation failed");
    run(&server, &["plan", "defs"]).exits(1);
}

#[test]
fn what_cannot_be_applied_is_no_plan_and_wrong_files_are_told_as_check_tells_them() {
    let request = "POST /api/projects/defs/plan";
    let refusals = json!(["project shop owns workflow w v1; --adopt takes it over"]);
    let server = StandIn::start().says(request, 200, planned(&refusals));
    let outcome = run(&server, &["plan", "defs"]).exits(4);
    assert!(outcome.stderr.contains("1 refused"), "{outcome:?}");
    // What --yes lets is for whoever applies it to say.
    let removes = json!(["it removes 1 of 2 objects; --yes lets it"]);
    let server = StandIn::start().says(request, 200, planned(&removes));
    run(&server, &["plan", "defs"]).exits(7);

    let wrong = json!({ "status": 400, "message": "Validation failed", "validationErrors": [
        { "path": "", "message": "taskdefs.json: defines task t twice" } ] });
    let server = StandIn::start().says(request, 400, wrong);
    let outcome = Nightbell::new(&["plan", "defs"])
        .env("NIGHTBELL_URL", &server.url())
        .file("defs/w.json", r#"[{ "name": "t" }, { "name": "t" }]"#)
        .file("defs/taskdefs.json", r#"[{ "name": "t" }, { "name": "t" }]"#)
        .run()
        .exits(1);
    assert!(outcome.stderr.contains("taskdefs.json:1:"), "{outcome:?}");
    assert!(outcome.stderr.contains("[defined-twice]"), "{outcome:?}");
}

#[test]
fn a_plan_tells_what_is_hardly_meant() {
    let slip = json!({
        "name": "w", "outputParameters": { "x": "${workflow.stauts}" },
        "tasks": [{ "name": "t", "taskReferenceName": "t", "type": "SIMPLE" }],
    });
    let nothing = json!({ "project": "defs", "base": "b1", "changes": [] });
    let server = StandIn::start().says("POST /api/projects/defs/plan", 200, nothing);
    let outcome = Nightbell::new(&["plan", "defs"])
        .env("NIGHTBELL_URL", &server.url())
        .file("defs/w.json", &slip.to_string())
        .run()
        .exits(0);
    assert!(outcome.stderr.contains("stauts") && outcome.stderr.contains("[unknown-field]"));
}

#[test]
fn a_saved_plan_is_applied_with_what_it_was_made_against() {
    let server = StandIn::start()
        .says("POST /api/projects/shop/plan", 200, planned(&json!([])))
        .refuses("POST /api/projects/shop/apply", 409, "changed since the plan was made");
    run(&server, &["apply", "plan.json"]).exits(4);
    assert_eq!(server.body(1)["base"], "b0");
    let outcome = run(&server, &["apply", "other.json"]).exits(1);
    assert!(outcome.stderr.contains("what it was made against"), "{outcome:?}");
}

#[test]
fn apply_asks_before_much_is_removed() {
    let refusals = json!(["it removes 1 of 2 objects; --yes lets it"]);
    let server = StandIn::start()
        .says("POST /api/projects/shop/plan", 200, planned(&refusals))
        .says("POST /api/projects/shop/apply", 200, json!({ "updated": 1, "removed": 1 }));
    let arguments = ["apply", "defs", "--project", "shop"];
    let refused = run(&server, &arguments).exits(2);
    assert!(refused.stderr.contains("schedule nightly"), "{refused:?}");
    assert_eq!(server.heard().len(), 1, "only the plan");
    let done = run(&server, &[&arguments[..], &["--yes", "--adopt"]].concat()).exits(0);
    assert_eq!(done.stderr, "created 0, updated 1, removed 1\n");
    let body = server.body(2);
    assert_eq!((&body["yes"], &body["adopt"]), (&json!(true), &json!(true)));
    assert_eq!(body["base"], json!(null));
}

/// A change within a version gets the next one: in the plan, and in the file that is applied.
#[test]
fn changed_workflows_get_the_next_version() {
    let server = StandIn::start()
        .says("POST /api/projects/defs/plan", 200, planned(&json!([])))
        .says("POST /api/projects/defs/apply", 200, json!({ "created": 1, "removed": 1 }))
        .says("GET /api/metadata/workflow/w", 200, json!({ "name": "w", "version": 4 }));
    let outcome = run(&server, &["plan", "defs", "--bump"]).exits(7);
    assert!(outcome.stderr.contains("w.json: w version 1 → 5"), "{outcome:?}");
    let sent = |number: usize| server.body(number)["files"][1]["text"].clone();
    assert_eq!(sent(2), r#"{ "version": 5, "name": "w", "tasks": [] }"#);
    run(&server, &["apply", "defs", "--bump"]).exits(0);
    assert_eq!(sent(server.heard().len() - 1), sent(2));
    run(&server, &["apply", "plan.json", "--bump"]).exits(2);
}

#[test]
fn drift_is_listed() {
    let drift = json!([{ "project": "shop", "kind": "workflow", "name": "w", "version": 2,
        "removed": false }]);
    let server = StandIn::start().says("GET /api/projects/drift", 200, drift);
    let outcome = run(&server, &["plan", "--drift"]).exits(7);
    assert_eq!(outcome.lines()[1], "shop workflow w v2 changed");
    let server = StandIn::start().says("GET /api/projects/drift", 200, json!([]));
    run(&server, &["plan", "--drift"]).exits(0);
}
