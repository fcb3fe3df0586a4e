//! `nightbell orchestration`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::stand_in::StandIn;

const BASE: &str = "/runtime/webhooks/durabletask";

fn links(id: &str) -> Value {
    json!({ "id": id, "statusQueryGetUri": "http://x/y" })
}

fn instance(id: &str, status: &str) -> Value {
    let ago = Timestamp::now() - jiff::SignedDuration::from_secs(60);
    json!({ "name": "watch", "instanceId": id, "runtimeStatus": status, "input": { "n": 1 },
        "customStatus": { "step": 2 }, "output": null,
        "createdTime": ago.to_string(), "lastUpdatedTime": ago.to_string() })
}

#[test]
fn start_prints_the_id_or_what_came_of_it() {
    let server = StandIn::start()
        .says(&format!("POST {BASE}/orchestrators/watch"), 202, links("x"))
        .says(&format!("POST {BASE}/orchestrators/watch/mine"), 200, json!({ "sum": 3 }))
        .says(&format!("POST {BASE}/orchestrators/slow"), 202, links("y"))
        .says(&format!("POST {BASE}/orchestrators/bad"), 200, instance("z", "Failed"));
    let outcome = server.run(&["orchestration", "start", "watch", "-i", "{\"n\":1}"]).exits(0);
    assert_eq!(outcome.stdout, "x\n");
    let arguments =
        ["orchestration", "start", "watch", "--id", "mine", "--wait", "5", "--hub", "h"];
    assert_eq!(server.run(&arguments).exits(0).json(), json!({ "sum": 3 }));
    let outcome = server.run(&["orchestration", "start", "slow", "--wait", "1"]).exits(5);
    assert!(outcome.stderr.contains("orchestration show y"), "{outcome:?}");
    let outcome = server.run(&["orchestration", "start", "bad", "--wait", "1"]).exits(5);
    assert!(outcome.stderr.contains("instance z is Failed"), "{outcome:?}");
    assert_eq!(
        server.heard(),
        [
            format!("POST {BASE}/orchestrators/watch {{\"n\":1}}"),
            format!("POST {BASE}/orchestrators/watch/mine?taskHub=h&timeout=5"),
            format!("POST {BASE}/orchestrators/slow?timeout=1"),
            format!("POST {BASE}/orchestrators/bad?timeout=1"),
        ]
    );
}

#[test]
fn list_and_show_are_for_people_and_programs() {
    let mut whole = instance("x", "Completed");
    whole["output"] = json!([1]);
    whole["historyEvents"] = json!([
        { "EventType": "ExecutionStarted", "FunctionName": "watch", "Timestamp": "2026-01-01T00:00:00.000Z" },
        { "EventType": "TaskFailed", "FunctionName": "look", "Reason": "no luck",
          "Timestamp": "2026-01-01T00:00:01.000Z" },
    ]);
    let server = StandIn::start()
        .says(&format!("GET {BASE}/instances"), 200, json!([instance("x", "Running")]))
        .says(&format!("GET {BASE}/instances/x"), 200, whole.clone());
    let arguments = ["orchestration", "list", "--status", "running", "--status", "Pending"];
    let outcome = server.run(&arguments).exits(0);
    assert_eq!(
        outcome.lines(),
        [
            "ID NAME STATUS CREATED UPDATED CUSTOM STATUS",
            "x watch Running 1 min ago 1 min ago {\"step\":2}",
        ]
    );
    assert_eq!(server.run(&["orchestration", "list", "--ids"]).exits(0).stdout, "x\n");
    let shown = server.run(&["orchestration", "show", "x", "--history"]).exits(0);
    for line in [
        "Instance x",
        "Status Completed",
        "Custom {\"step\":2}",
        "Output [1]",
        "2026-01-01T00:00:01.000Z TaskFailed look no luck",
    ] {
        assert!(shown.lines().iter().any(|shown| shown == line), "{line}: {shown:?}");
    }
    assert_eq!(server.run(&["orchestration", "show", "x", "--json"]).exits(0).json(), whole);
    let history = "showWaiting=true&showHistory=true&showHistoryOutput=true";
    assert_eq!(
        server.heard(),
        [
            format!("GET {BASE}/instances?top=20&showInput=false&runtimeStatus=Running%2CPending"),
            format!("GET {BASE}/instances?top=20&showInput=false"),
            format!("GET {BASE}/instances/x?{history}"),
            format!("GET {BASE}/instances/x?showWaiting=true"),
        ]
    );
}

#[test]
fn operations_name_the_instance_and_refusals_are_told() {
    let gone = json!({ "Message": "The instance 'b' has ended: Completed.",
        "ExceptionMessage": "", "ExceptionType": "", "StackTrace": "" });
    let wrong = json!({ "Message": "Something went wrong while processing your request",
        "ExceptionMessage": "it is suspended already", "ExceptionType": "X", "StackTrace": "" });
    let missing = json!({ "Message": "No instance with ID 'c' was found." });
    let server = StandIn::start()
        .says(&format!("POST {BASE}/instances/a/raiseEvent/Go"), 202, Value::Null)
        .says(&format!("POST {BASE}/instances/a/suspend"), 500, wrong)
        .says(&format!("POST {BASE}/instances/a/resume"), 202, Value::Null)
        .says(&format!("POST {BASE}/instances/a/terminate"), 202, Value::Null)
        .says(&format!("POST {BASE}/instances/b/terminate"), 410, gone)
        .says(&format!("POST {BASE}/instances/a/rewind"), 202, Value::Null)
        .says(&format!("POST {BASE}/instances/a/restart"), 202, links("d"))
        .says(&format!("POST {BASE}/instances/c/rewind"), 404, missing);
    let run = |arguments: &[&str]| server.run(&[&["orchestration"], arguments].concat());
    run(&["raise-event", "a", "Go", "-d", "{\"by\":\"ann\"}"]).exits(0);
    let outcome = run(&["suspend", "a"]).exits(1);
    assert!(outcome.stderr.contains("it is suspended already"), "{outcome:?}");
    run(&["resume", "a", "--reason", "now"]).exits(0);
    let outcome = run(&["terminate", "a", "b", "--json"]).exits(1);
    assert_eq!(outcome.json()["succeeded"], json!(["a"]));
    assert!(outcome.stderr.contains("b: The instance 'b' has ended"), "{outcome:?}");
    run(&["terminate", "b"]).exits(4);
    run(&["rewind", "a"]).exits(0);
    run(&["rewind", "c"]).exits(3);
    assert_eq!(run(&["restart", "a", "--same-id"]).exits(0).stdout, "d\n");
    let heard = server.heard();
    assert_eq!(heard[0], format!("POST {BASE}/instances/a/raiseEvent/Go {{\"by\":\"ann\"}}"));
    assert_eq!(heard[2], format!("POST {BASE}/instances/a/resume?reason=now"));
    let last = heard.last().expect("a request");
    assert_eq!(*last, format!("POST {BASE}/instances/a/restart?restartWithNewInstanceId=false"));
}

#[test]
fn a_whole_id_names_the_hub_by_itself() {
    let server = StandIn::start()
        .says(&format!("GET {BASE}/instances/c"), 202, instance("c", "Running"))
        .says(&format!("POST {BASE}/instances/c/suspend"), 202, Value::Null)
        .says(&format!("DELETE {BASE}/instances/c"), 200, json!({ "instancesDeleted": 1 }));
    let run = |arguments: &[&str]| server.run(&[&["orchestration"], arguments].concat()).exits(0);
    run(&["show", "instance:other:c"]);
    run(&["suspend", "instance:other:c", "--hub", "mine"]);
    run(&["purge", "instance:other:c", "--yes"]);
    run(&["suspend", "c", "--hub", "mine"]);
    assert_eq!(
        server.heard(),
        [
            format!("GET {BASE}/instances/c?taskHub=other&showWaiting=true"),
            format!("POST {BASE}/instances/c/suspend?taskHub=other"),
            format!("DELETE {BASE}/instances/c?taskHub=other"),
            format!("POST {BASE}/instances/c/suspend?taskHub=mine"),
        ]
    );
}

#[test]
fn show_says_what_it_waits_for() {
    let mut waiting = instance("c", "Pending");
    waiting["waiting"] = json!([{ "reference": "watch", "code": "no-worker",
        "reason": "no worker attends the task hub 'default'" }]);
    let server = StandIn::start().says(&format!("GET {BASE}/instances/c"), 202, waiting);
    for noun in ["orchestration", "run"] {
        let outcome = server.run(&[noun, "show", "c"]).exits(0);
        let line = "Waits watch: no worker attends the task hub 'default'";
        assert!(outcome.lines().iter().any(|shown| shown == line), "{outcome:?}");
    }
}

#[test]
fn purge_asks_first() {
    let purged = json!({ "instancesDeleted": 1 });
    let server = StandIn::start()
        .says(&format!("DELETE {BASE}/instances/a"), 200, purged.clone())
        .says(&format!("DELETE {BASE}/instances/b"), 200, purged)
        .says(&format!("DELETE {BASE}/instances"), 200, json!({ "instancesDeleted": 7 }));
    let run = |arguments: &[&str]| server.run(&[&["orchestration", "purge"], arguments].concat());
    run(&["a"]).exits(2);
    let outcome = run(&["a", "b", "--yes", "--json"]).exits(0);
    assert_eq!(outcome.json(), json!({ "instancesDeleted": 2 }));
    run(&[]).exits(2);
    run(&["a", "--from", "2026-01-01T00:00:00Z", "--yes"]).exits(2);
    let outcome = run(&["--from", "2026-01-01T00:00:00Z", "--status", "failed", "--yes"]).exits(0);
    assert!(outcome.stderr.contains("purged 7 instances"), "{outcome:?}");
    let last = server.heard().pop().expect("a request");
    let query = "createdTimeFrom=2026-01-01T00%3A00%3A00Z&runtimeStatus=Failed";
    assert_eq!(last, format!("DELETE {BASE}/instances?{query}"));
}
