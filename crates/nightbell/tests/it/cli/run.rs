//! `nightbell run`: starting, listing, showing, and why.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::stand_in::{Nightbell, StandIn};

/// A time in the past as the server writes it; half a second of room for a slow machine is in it.
fn millis_ago(seconds: i64) -> i64 {
    Timestamp::now().as_millisecond() - seconds * 1000 - 100
}

#[test]
fn start_prints_the_id_alone() {
    let server = StandIn::start().says("POST /api/workflow", 200, json!("id-1"));
    let outcome = server.run(&["run", "start", "flow"]).exits(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("id-1\n", ""));
    assert_eq!(server.body(0), json!({ "name": "flow", "input": {} }));
    let outcome = server.run(&["run", "start", "flow", "--json"]).exits(0);
    assert_eq!(outcome.json(), json!({ "workflowId": "id-1" }));
}

#[test]
fn start_sends_what_it_is_given() {
    let server = StandIn::start().says("POST /api/workflow", 200, json!("id-1"));
    let arguments = "run start flow --version 3 --correlation-id c --priority 7 -i";
    let arguments: Vec<_> = arguments.split(' ').chain([r#"{"n": 1}"#]).collect();
    server.run(&arguments).exits(0);
    let expected = json!({
        "name": "flow", "input": { "n": 1 }, "version": 3, "correlationId": "c", "priority": 7,
    });
    assert_eq!(server.body(0), expected);
}

#[test]
fn input_comes_from_a_file_or_standard_input() {
    let server = StandIn::start().says("POST /api/workflow", 200, json!("id-1"));
    Nightbell::new(&["run", "start", "flow", "-i", "@in.json"])
        .env("NIGHTBELL_URL", &server.url())
        .file("in.json", r#"{"n": 2}"#)
        .run()
        .exits(0);
    server.run_with_input(&["run", "start", "flow", "-i", "-"], r#"{"n": 3}"#).exits(0);
    assert_eq!(server.body(0)["input"], json!({ "n": 2 }));
    assert_eq!(server.body(1)["input"], json!({ "n": 3 }));
    let outcome = server.run(&["run", "start", "flow", "-i", "n=1"]).exits(1);
    assert!(outcome.stderr.starts_with("error: --input is not JSON"), "{outcome:?}");
    assert!(outcome.stderr.contains("hint: write JSON"), "{outcome:?}");
    server.run(&["run", "start", "flow", "-i", "[1]"]).exits(1);
}

#[test]
fn start_of_an_unknown_workflow_is_exit_code_3() {
    let server = StandIn::start().refuses("POST /api/workflow", 404, "No such workflow");
    server.run(&["run", "start", "flow"]).exits(3);
}

fn hits() -> Value {
    let times: Vec<_> =
        [3600, 60].map(|ago| Timestamp::from_millisecond(millis_ago(ago)).unwrap()).into();
    json!({
        "totalHits": 3,
        "results": [
            {
                "workflowId": "id-1", "workflowType": "flow", "version": 2, "status": "FAILED",
                "startTime": times[0].to_string(), "endTime": times[1].to_string(),
                "executionTime": 1500, "reasonForIncompletion": "the peer\nwent away",
            },
            {
                "workflowId": "id-2", "classifier": "orchestration", "workflowType": "flow", "version": 2, "status": "RUNNING",
                "startTime": times[1].to_string(), "endTime": "1970-01-01T00:00:00.000Z",
            },
        ],
    })
}

#[test]
fn list_shows_runs_and_says_that_there_are_more() {
    let server = StandIn::start().says("GET /api/workflow/search", 200, hits());
    let outcome = server.run(&["run", "list"]).exits(0);
    assert_eq!(
        outcome.lines(),
        [
            "ID KIND NAME VERSION STATUS STARTED TOOK REASON",
            "id-1 workflow flow 2 FAILED 1 h ago 1 s the peer went away",
            "id-2 orchestration flow 2 RUNNING 1 min ago 1 min",
        ]
    );
    assert_eq!(outcome.stderr, "2 of 3; --limit shows more\n");
    let query =
        "start=0&size=20&sort=startTime%3ADESC&classifier=workflow%2Corchestration&freeText=*";
    assert_eq!(server.heard(), [format!("GET /api/workflow/search?{query}")]);
}

#[test]
fn list_as_json_has_readable_times_and_no_unset_ones() {
    let server = StandIn::start().says("GET /api/workflow/search", 200, hits());
    let listed = server.run(&["run", "list", "-o", "json"]).exits(0).json();
    assert!(listed[0]["startTime"].as_str().unwrap().parse::<Timestamp>().is_ok());
    assert_eq!(listed[1].get("endTime"), None);
}

#[test]
fn list_puts_all_conditions_into_one_query() {
    let server = StandIn::start().says("GET /api/workflow/search", 200, hits());
    let arguments = [
        "run",
        "list",
        "--status",
        "failed",
        "--status",
        "TIMED_OUT",
        "--workflow",
        "my flow",
        "--query",
        "priority>3",
        "--free-text",
        "order 17",
        "--limit",
        "5",
        "--sort",
        "endTime:asc",
        "--ids",
    ];
    let outcome = server.run(&arguments).exits(0);
    assert_eq!(outcome.stdout, "id-1\nid-2\n");
    let query = "start=0&size=5&sort=endTime%3AASC&classifier=workflow%2Corchestration&freeText=order+17&query=\
                 status+IN+%28FAILED%2CTIMED_OUT%29+AND+workflowType%3D%27my+flow%27+AND+priority%3E3";
    assert_eq!(server.heard(), [format!("GET /api/workflow/search?{query}")]);
}

#[test]
fn list_is_drawn_again_until_the_server_goes() {
    let server = StandIn::start()
        .says("GET /api/workflow/search", 200, hits())
        .says("GET /api/workflow/search", 200, json!({ "totalHits": 0, "results": [] }))
        .says("GET /api/workflow/search", 503, json!(""));
    let outcome = server.run(&["run", "list", "--watch", "1"]).exits(6);
    assert_eq!(outcome.stdout.matches("KIND").count(), 2);
    assert!(outcome.stderr.contains("no runs match"), "{outcome:?}");
}

fn run() -> Value {
    json!({
        "workflowId": "id-1", "workflowName": "flow", "workflowVersion": 2, "status": "FAILED",
        "startTime": millis_ago(90), "createTime": millis_ago(90), "endTime": millis_ago(30),
        "reasonForIncompletion": "task load failed", "correlationId": "c-1",
        "input": { "n": 1, "startTime": 5 }, "output": {},
        "tasks": [
            {
                "taskId": "t-1", "referenceTaskName": "fetch", "taskType": "HTTP",
                "status": "COMPLETED", "retryCount": 0, "startTime": millis_ago(90),
                "endTime": millis_ago(80), "inputData": { "uri": "http://x" },
                "outputData": { "body": [1, 2] },
            },
            {
                "taskId": "t-2", "referenceTaskName": "load", "taskType": "SIMPLE",
                "status": "FAILED", "retryCount": 0, "retried": true, "startTime": millis_ago(80),
                "endTime": millis_ago(70), "reasonForIncompletion": "disk full",
            },
            {
                "taskId": "t-3", "referenceTaskName": "load", "taskType": "SIMPLE",
                "status": "FAILED", "retryCount": 1, "startTime": millis_ago(60),
                "endTime": millis_ago(30), "reasonForIncompletion": "disk full",
            },
        ],
    })
}

#[test]
fn show_is_a_page_about_one_run() {
    let server = StandIn::start().says("GET /api/workflow/id-1", 200, run());
    let outcome = server.run(&["run", "show", "id-1"]).exits(0);
    let lines = outcome.lines();
    for line in [
        "Run id-1",
        "Workflow flow, version 2",
        "Status FAILED",
        "Reason task load failed",
        "Took 1 min",
        "Correlation c-1",
        r#"Input {"n":1,"startTime":5}"#,
    ] {
        assert!(lines.contains(&line.to_owned()), "{line}: {lines:#?}");
    }
    assert!(lines.iter().any(|line| line.starts_with("Started 20") && line.ends_with("s ago)")));
    let heard = ["GET /api/workflow/id-1?includeTasks=false", "GET /api/workflow/id-1/forks"];
    assert_eq!(server.heard(), heard);
}

#[test]
fn show_lists_tasks_when_asked() {
    let server = StandIn::start().says("GET /api/workflow/id-1", 200, run());
    let outcome = server.run(&["run", "status", "id-1", "--tasks"]).exits(0);
    let lines = outcome.lines();
    assert_eq!(
        lines[lines.len() - 4..],
        [
            "TASK TYPE STATUS ATTEMPT STARTED TOOK ID REASON",
            "fetch HTTP COMPLETED 1 1 min 30 s ago 10 s t-1",
            "load SIMPLE FAILED 1 1 min 20 s ago 10 s t-2 disk full",
            "load SIMPLE FAILED 2 1 min ago 30 s t-3 disk full",
        ]
    );
    let full = server.run(&["run", "show", "id-1", "--full"]).exits(0);
    assert!(full.stdout.contains("\nfetch (t-1)\nInput\n{\n  \"uri\": \"http://x\"\n}\n"));
}

#[test]
fn show_as_json_keeps_what_is_the_users() {
    let server = StandIn::start().says("GET /api/workflow/id-1", 200, run());
    let shown = server.run(&["run", "show", "id-1", "--json"]).exits(0).json();
    assert!(shown["startTime"].as_str().unwrap().ends_with('Z'));
    assert!(shown["tasks"][0]["startTime"].is_string());
    assert_eq!(shown["input"]["startTime"], 5);
}

#[test]
fn why_says_a_sentence_for_each_waiting_task() {
    let soon = Timestamp::now().as_millisecond() + 200_500;
    let answer = json!({
        "workflowId": "id-1", "status": "RUNNING", "reason": "1 task waits",
        "waiting": [{
            "taskId": "t-1", "reference": "load", "taskType": "SIMPLE", "code": "queued",
            "reason": "no worker has polled `load` for 14 min", "since": millis_ago(840),
            "until": soon,
        }],
    });
    let server = StandIn::start().says("GET /api/workflow/id-1/why", 200, answer);
    let outcome = server.run(&["run", "why", "id-1"]).exits(0);
    assert_eq!(
        outcome.stdout,
        "RUNNING: 1 task waits\n\
         load (SIMPLE): no worker has polled `load` for 14 min\n  \
         since 14 min ago, until in 3 min 20 s\n"
    );
    let json = server.run(&["run", "why", "id-1", "--json"]).exits(0).json();
    assert_eq!(json["waiting"][0]["code"], "queued");
    assert!(json["waiting"][0]["since"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn why_makes_do_with_a_server_that_keeps_no_reasons() {
    let run = json!({
        "workflowId": "id-1", "status": "RUNNING",
        "tasks": [
            { "taskId": "t-1", "referenceTaskName": "a", "taskType": "HTTP", "status": "COMPLETED" },
            {
                "taskId": "t-2", "referenceTaskName": "b", "taskType": "SIMPLE",
                "status": "SCHEDULED", "scheduledTime": millis_ago(60),
            },
        ],
    });
    let server = StandIn::start().says("GET /api/workflow/id-1", 200, run);
    let outcome = server.run(&["run", "why", "id-1"]).exits(0);
    assert_eq!(
        outcome.lines(),
        ["RUNNING", "b (SIMPLE): scheduled, and nobody has begun it", "since 1 min ago"]
    );
    server.run(&["run", "why", "id-2"]).exits(3);
}

#[test]
fn logs_of_a_run_are_those_of_its_tasks() {
    let server = StandIn::start()
        .says("GET /api/workflow/id-1", 200, run())
        .says("GET /api/tasks/t-1/log", 200, json!([{ "log": "one", "createdTime": 1_000 }]))
        .says("GET /api/tasks/t-2/log", 204, json!(null))
        .says("GET /api/tasks/t-3/log", 200, json!([{ "log": "two", "createdTime": 2_000 }]));
    let outcome = server.run(&["run", "logs", "id-1"]).exits(0);
    assert_eq!(
        outcome.stdout,
        "1970-01-01T00:00:01.000Z  fetch  one\n1970-01-01T00:00:02.000Z  load  two\n"
    );
    let outcome = server.run(&["run", "logs", "id-1", "--task", "load", "--json"]).exits(0);
    assert_eq!(
        outcome.json(),
        json!([{
            "log": "two", "createdTime": "1970-01-01T00:00:02.000Z", "referenceTaskName": "load",
        }])
    );
}

#[test]
fn what_is_stuck_is_a_table_of_reasons() {
    let group = json!({ "reason": "no-worker", "queue": "load", "tasks": 1400, "runs": 1000,
        "exact": false, "oldest": 1_700_000_000_000_i64, "sentence": "no worker has polled 'load'" });
    let server = StandIn::start().says("GET /api/workflow/stuck", 200, json!([group]));
    let lines = server.run(&["run", "stuck"]).exits(0).lines();
    assert!(lines[1].starts_with("no-worker load 1000+ 1400 "), "{lines:?}");
    assert_eq!(server.run(&["run", "stuck", "-o", "json"]).exits(0).json(), json!([group]));
    let none = StandIn::start().says("GET /api/workflow/stuck", 200, json!([]));
    assert!(none.run(&["run", "stuck"]).exits(0).stderr.contains("no run waits"));
}

#[test]
fn the_past_of_a_run_is_listed_and_shown() {
    let history = json!({ "workflowId": "r", "first": 7, "last": 8, "commits": [
        { "version": 7, "at": 1_700_000_000_000_i64, "facts": [{ "kind": "snapshot", "task": null }] },
        { "version": 8, "at": 1_700_000_000_000_i64,
          "facts": [{ "kind": "closed", "task": 3 }, { "kind": "ended", "task": null }] } ] });
    let server = StandIn::start().says("GET /api/workflow/r/history", 200, history).says(
        "GET /api/workflow/r/at/7",
        200,
        json!({ "version": 7 }),
    );
    let listed = server.run(&["run", "history", "r", "--from", "7", "--size", "2"]).exits(0);
    let lines = listed.lines();
    assert!(lines[2].starts_with("8 ") && lines[2].ends_with(" closed 3, ended"), "{lines:?}");
    assert!(listed.stderr.contains("commits before 7"), "{listed:?}");
    assert!(server.heard()[0].contains("from=7"), "{:?}", server.heard());
    assert_eq!(server.run(&["run", "at", "r", "7"]).exits(0).json(), json!({ "version": 7 }));
    server.run(&["run", "at", "r", "9"]).exits(3);
}

/// A run of three commits: begun, its task taken, and failed.
fn stepped() -> StandIn {
    let fact = |kind: &str, task: Value| json!({ "kind": kind, "task": task });
    let commit = |version: u64, facts: Value| json!({ "version": version, "at": 1_700_000_000_000_u64 + version, "facts": facts });
    let commits = [
        commit(1, json!([fact("started", Value::Null), fact("scheduled", json!(1))])),
        commit(2, json!([fact("claimed", json!(1))])),
        commit(3, json!([fact("closed", json!(1)), fact("ended", Value::Null)])),
    ];
    let page = |from: usize, to: usize| json!({ "workflowId": "id-1", "first": 1, "last": 3, "commits": commits[from..to] });
    let state = |version: u64, status: &str, task: &str, output: Value| {
        json!({ "version": version, "at": 1_700_000_000_000_u64 + version, "waiting": [{ "reference": "load", "reason": "no worker polls" }],
            "workflow": { "workflowId": "id-1", "workflowName": "flow", "status": status, "input": { "n": 1 },
                "tasks": [{ "taskId": "t-1", "seq": 1, "referenceTaskName": "load", "taskType": "SIMPLE", "retryCount": 0, "status": task, "inputData": { "n": 1 }, "outputData": output }] } })
    };
    StandIn::start()
        .says("GET /api/workflow/id-1/history?size=1", 200, page(0, 1))
        .says("GET /api/workflow/id-1/history?size=2&from=1", 200, page(0, 2))
        .says("GET /api/workflow/id-1/history?size=1000&from=1", 200, page(0, 1))
        .says("GET /api/workflow/id-1/history?size=1&from=1", 200, page(0, 1))
        .says("GET /api/workflow/id-1/history?size=1&from=2", 200, page(1, 2))
        .says("GET /api/workflow/id-1/history?size=1&from=3", 200, page(2, 3))
        .says("GET /api/workflow/id-1/history?size=1000&from=2", 200, page(1, 3))
        .says("GET /api/workflow/id-1/at/1", 200, state(1, "RUNNING", "SCHEDULED", json!({})))
        .says("GET /api/workflow/id-1/at/2", 200, state(2, "RUNNING", "IN_PROGRESS", json!({})))
        .says(
            "GET /api/workflow/id-1/at/3",
            200,
            state(3, "FAILED", "FAILED", json!({ "rows": 7 })),
        )
}

#[test]
fn step_goes_through_commits_with_what_each_changed() {
    let server = stepped();
    let input = "n\nn\nn\np 5\ng load\nt load\nw\ng 7\ng nothing\nfly\nq\nn\n";
    let outcome = server.run_with_input(&["run", "step", "id-1"], input).exits(0);
    let told: Vec<&str> = outcome.stdout.lines().map(str::trim).collect();
    let heads: Vec<&str> = told.iter().filter(|it| it.starts_with("commit ")).copied().collect();
    let numbers: Vec<&str> = heads.iter().map(|it| &it[7..8]).collect();
    // The last commit is the last, however far one goes; the search goes on from where one is.
    assert_eq!(numbers, ["1", "2", "3", "1", "2", "3"], "{outcome:?}");
    for line in [
        "commit 2 of 3  2023-11-14T22:13:20.002Z  RUNNING",
        "started, scheduled 1",
        r#"+ load  status SCHEDULED  input {"n":1}"#,
        "~ load  status: SCHEDULED → IN_PROGRESS",
        r#"~ load  output = {"rows":7}"#,
        "~ run  status: RUNNING → FAILED",
        "load: no worker polls",
    ] {
        assert!(told.contains(&line), "{line}: {told:#?}");
    }
    for message in ["this is the last commit", "does anything to nothing", "fly is no command"] {
        assert!(outcome.stderr.contains(message), "{message}: {outcome:?}");
    }
}

#[test]
fn step_prints_all_commits_as_data() {
    let server = stepped();
    let told = server.run(&["run", "step", "id-1", "-o", "json"]).exits(0).json();
    assert_eq!(told.as_array().unwrap().len(), 3);
    assert_eq!(told[2]["status"], "FAILED");
    let change =
        json!({ "task": "load", "path": "status", "before": "SCHEDULED", "after": "IN_PROGRESS" });
    assert_eq!(told[1]["changes"], json!([change]));
    let text = server.run(&["run", "step", "id-1", "--all", "--size", "2"]).exits(0);
    assert_eq!(text.stdout.matches("commit ").count(), 2, "{text:?}");
    assert!(text.stderr.contains("commits 3 to 3 are left out: --from 3"), "{text:?}");
    for more in [&[][..], &["--all"], &["-o", "json"]] {
        let outcome =
            server.run(&[&["run", "step", "id-1", "--from", "9"], more].concat()).exits(3);
        assert!(outcome.stderr.contains("commits 1 to 3 are kept, and 9 is none"), "{outcome:?}");
    }
}

#[test]
fn show_tells_of_the_past() {
    let server = stepped();
    let outcome = server.run(&["run", "show", "id-1", "--at", "2", "--tasks"]).exits(0);
    let lines = outcome.lines();
    for line in ["Run id-1", "Status RUNNING", "Waited load: no worker polls"] {
        assert!(lines.contains(&line.to_owned()), "{line}: {lines:#?}");
    }
    assert!(lines.last().unwrap().starts_with("load SIMPLE IN_PROGRESS"), "{lines:#?}");
}
