//! `nightbell workflow`.

use serde_json::json;

use crate::stand_in::{Nightbell, StandIn};

fn definitions() -> serde_json::Value {
    json!([
        { "name": "b", "version": 1, "tasks": [{}, {}], "description": "the\nsecond", "updateTime": 0 },
        { "name": "a", "version": 1, "tasks": [{}], "createTime": 1000 },
        { "name": "a", "version": 10, "tasks": [{}, {}, {}] },
        { "name": "a", "version": 2, "tasks": [] },
    ])
}

#[test]
fn list_shows_the_latest_version_of_each() {
    let server = StandIn::start().says("GET /api/metadata/workflow", 200, definitions());
    let outcome = server.run(&["workflow", "list"]).exits(0);
    assert_eq!(
        outcome.lines(),
        ["NAME VERSION TASKS CHANGED DESCRIPTION", "a 10 3", "b 1 2 the second"]
    );
    let outcome = server.run(&["workflow", "list", "--versions", "--json"]).exits(0);
    let listed = outcome.json();
    let versions: Vec<_> = listed.as_array().unwrap().iter().map(|d| &d["version"]).collect();
    assert_eq!(versions, [10, 2, 1, 1]);
    // A definition is printed as it is, so that it can be given back.
    assert_eq!(listed[2]["createTime"], 1000);
}

#[test]
fn what_the_server_makes_itself_is_listed_when_it_is_asked_for() {
    let made = |name: &str| json!({ "name": name, "version": 1, "tasks": [{}] });
    let all = json!([made("check:site"), made("nightbell_notify:lark"), made("mine")]);
    let server = || StandIn::start().says("GET /api/metadata/workflow", 200, all.clone());
    let outcome = server().run(&["workflow", "list"]).exits(0);
    assert_eq!(outcome.lines(), ["NAME VERSION TASKS CHANGED DESCRIPTION", "mine 1 1"]);
    let told = "2 of checks and deliveries are not shown; --all shows them";
    assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    let outcome = server().run(&["workflow", "list", "--all"]).exits(0);
    assert_eq!(outcome.lines().len(), 4);
    let help = server().run(&["workflow", "list", "--help"]).exits(0);
    assert!(help.stdout.contains("--all"), "{}", help.stdout);
}

#[test]
fn an_empty_list_says_what_to_do() {
    let server = StandIn::start().says("GET /api/metadata/workflow", 200, json!([]));
    let outcome = server.run(&["workflow", "list"]).exits(0);
    assert!(outcome.stderr.contains("workflow create -f"), "{outcome:?}");
}

#[test]
fn get_prints_the_definition_as_it_is() {
    let definition = json!({ "name": "a", "version": 2, "zeta": 1, "alpha": [], "createTime": 5 });
    let server = StandIn::start().says("GET /api/metadata/workflow/a", 200, definition.clone());
    let outcome = server.run(&["workflow", "get", "a", "--version", "2"]).exits(0);
    assert_eq!(outcome.stdout, format!("{}\n", serde_json::to_string_pretty(&definition).unwrap()));
    server.run(&["workflow", "get", "a"]).exits(0);
    let heard = ["GET /api/metadata/workflow/a?version=2", "GET /api/metadata/workflow/a"];
    assert_eq!(server.heard(), heard);
}

#[test]
fn get_of_an_unknown_name_is_exit_code_3() {
    let message = "No such workflow found by name: a, version: null";
    let server = StandIn::start().refuses("GET /api/metadata/workflow/a", 404, message);
    let outcome = server.run(&["workflow", "get", "a"]).exits(3);
    assert_eq!(outcome.stderr, format!("error: {message}\n"));
}

#[test]
fn create_takes_files_lists_and_standard_input() {
    let server = StandIn::start().says("POST /api/metadata/workflow", 200, json!(null));
    let arguments = ["workflow", "create", "-f", "one.json", "-f", "two.json", "-", "--overwrite"];
    let outcome = Nightbell::new(&arguments)
        .env("NIGHTBELL_URL", &server.url())
        .file("one.json", r#"{"name": "a", "version": 1}"#)
        .file("two.json", r#"[{"name": "b"}, {"name": "c"}]"#)
        .input(r#"{"name": "d"}"#)
        .run()
        .exits(0);
    let post = "POST /api/metadata/workflow?overwrite=true";
    assert_eq!(
        server.heard(),
        [
            format!(r#"{post} {{"name":"a","version":1}}"#),
            format!(r#"{post} {{"name":"b"}}"#),
            format!(r#"{post} {{"name":"c"}}"#),
            format!(r#"{post} {{"name":"d"}}"#),
        ]
    );
    assert_eq!(outcome.stdout, "");
    assert!(outcome.stderr.contains("registered a version 1\n"), "{outcome:?}");
}

#[test]
fn create_of_what_exists_is_exit_code_4() {
    let server = StandIn::start().refuses("POST /api/metadata/workflow", 409, "a exists");
    let outcome =
        server.run_with_input(&["workflow", "create", "-f", "-"], r#"{"name": "a"}"#).exits(4);
    assert!(outcome.stderr.starts_with("error: standard input: a: a exists\n"), "{outcome:?}");
    assert!(outcome.stderr.contains("hint: use `nightbell workflow update`"), "{outcome:?}");
}

#[test]
fn bad_input_is_named_with_its_place() {
    let server = StandIn::start();
    for (text, message) in [
        (
            "{\n  \"name\": oops\n}",
            "standard input is not JSON: expected value at line 2 column 11",
        ),
        ("[{}, 7]", "standard input, item 2 is not a JSON object"),
        ("7", "standard input is not a JSON object"),
    ] {
        let outcome = server.run_with_input(&["workflow", "create", "-f", "-"], text).exits(1);
        assert_eq!(outcome.stderr, format!("error: {message}\n"));
    }
    let outcome = server.run(&["workflow", "create", "-f", "none.json"]).exits(1);
    assert!(outcome.stderr.starts_with("error: cannot read none.json: "), "{outcome:?}");
    server.run_with_input(&["workflow", "create", "-f", "-"], "[]").exits(2);
    server.run_with_input(&["workflow", "create", "-f", "-", "-"], "{}").exits(2);
    assert!(server.heard().is_empty());
}

#[test]
fn update_sends_all_at_once() {
    let answer = json!({ "bulkSuccessfulResults": ["a", "b"], "bulkErrorResults": {} });
    let server = StandIn::start().says("PUT /api/metadata/workflow", 200, answer);
    let input = r#"[{"name":"a"},{"name":"b"}]"#;
    server.run_with_input(&["workflow", "update", "-f", "-"], input).exits(0);
    assert_eq!(server.heard()[0], format!("PUT /api/metadata/workflow {input}"));
    assert!(server.heard().iter().skip(1).all(|it| it.starts_with("GET ")), "{:?}", server.heard());
}

#[test]
fn update_tells_whom_it_concerns() {
    let answer = json!({ "bulkSuccessfulResults": ["a"], "bulkErrorResults": {} });
    let names = ["n", "o", "p", "q"].map(|name| json!({ "name": name }));
    let server = StandIn::start()
        .says("PUT /api/metadata/workflow", 200, answer)
        .says("GET /api/workflow/search", 200, json!({ "totalHits": 14, "results": [] }))
        .says("GET /api/scheduler/schedules", 200, json!(names));
    let input = r#"{"name":"a","version":3}"#;
    let outcome = server.run_with_input(&["workflow", "update", "-f", "-"], input).exits(0);
    let told = "registered a version 3; 14 under way keep the definition before; started by the \
                schedules n, o, p and 1 more\n";
    assert_eq!(outcome.stderr, told);
    let asked = server.heard().into_iter().find(|it| it.contains("/search")).unwrap_or_default();
    assert!(asked.contains("version%3D3") || asked.contains("version=3"), "{asked}");
}

#[test]
fn update_tells_which_failed() {
    let answer = json!({ "bulkSuccessfulResults": ["a"], "bulkErrorResults": { "b": "no tasks" } });
    let server = StandIn::start().says("PUT /api/metadata/workflow", 200, answer);
    let input = r#"[{"name":"a"},{"name":"b"}]"#;
    let outcome = server.run_with_input(&["workflow", "update", "-f", "-"], input).exits(1);
    assert_eq!(outcome.stderr, "error: 1 of 2 failed\n  b: no tasks\n");
}

#[test]
fn delete_asks_unless_told_not_to() {
    let server = StandIn::start()
        .says("GET /api/metadata/workflow", 200, definitions())
        .says("DELETE /api/metadata/workflow/a/1", 200, json!(null))
        .says("DELETE /api/metadata/workflow/a/2", 200, json!(null))
        .says("DELETE /api/metadata/workflow/a/10", 200, json!(null));
    let outcome = server.run(&["workflow", "delete", "a", "--version", "1"]).exits(2);
    assert!(outcome.stderr.contains("hint: add --yes"), "{outcome:?}");
    assert!(server.heard().is_empty());
    server.run(&["workflow", "delete", "a", "--version", "1", "--yes"]).exits(0);
    assert_eq!(server.heard(), ["DELETE /api/metadata/workflow/a/1"]);
    let outcome = server.run(&["workflow", "delete", "a", "--all-versions", "--yes", "--json"]);
    assert_eq!(outcome.exits(0).json(), json!({ "name": "a", "versions": [1, 10, 2] }));
    server.run(&["workflow", "delete", "zz", "--all-versions", "--yes"]).exits(3);
}

fn refusal() -> serde_json::Value {
    json!({
        "status": 400,
        "message": "Validation failed, check below errors for detail.",
        "validationErrors": [
            {
                "pointer": "/tasks/1/type", "path": "tasks[1].type",
                "message": "there is no task type HTP", "hint": "did you mean HTTP?",
            },
            { "path": "name", "message": "must not be empty", "invalidValue": "" },
        ],
    })
}

#[test]
fn validate_prints_a_line_for_each_problem() {
    let server = StandIn::start()
        .says("POST /api/metadata/workflow/validate", 400, refusal())
        .says("POST /api/metadata/workflow/validate", 200, json!(null));
    let input = r#"[{"name":""},{"name":"b"}]"#;
    let outcome = server.run_with_input(&["workflow", "validate", "-", "--online"], input).exits(1);
    assert_eq!(
        outcome.stdout,
        "standard input, item 1: /tasks/1/type: there is no task type HTP (hint: did you mean HTTP?)\n\
         standard input, item 1: name: must not be empty\n"
    );
    assert_eq!(outcome.stderr, "error: 2 problems\n");
}

#[test]
fn validate_prints_problems_as_json() {
    let server = StandIn::start().says("POST /api/metadata/workflow/validate", 400, refusal());
    let arguments = ["workflow", "validate", "-f", "-", "--online", "--json"];
    let problems = server.run_with_input(&arguments, r#"{"name":"x"}"#).exits(1).json();
    assert_eq!(problems[0]["pointer"], "/tasks/1/type");
    assert_eq!(problems[0]["hint"], "did you mean HTTP?");
    assert_eq!(problems[1]["file"], "standard input");
    assert_eq!(problems[1]["name"], "x");
}

#[test]
fn validate_of_a_good_definition_is_quiet() {
    let server = StandIn::start().says("POST /api/metadata/workflow/validate", 200, json!(null));
    let outcome =
        server.run_with_input(&["workflow", "validate", "-f", "-", "--online"], r#"{"name":"x"}"#);
    let outcome = outcome.exits(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", "x is valid\n"));
}

/// By the code that would run it, with the task definitions beside it, and without a server.
#[test]
fn definitions_are_judged_without_a_server() {
    let task =
        |name: &str, kind: &str| json!({ "name": name, "taskReferenceName": name, "type": kind });
    let flow = |tasks: serde_json::Value| {
        json!({ "name": "flow", "version": 1, "schemaVersion": 2, "tasks": tasks }).to_string()
    };
    let judge = |text: &str, arguments: &[&str]| {
        let validate = [&["workflow", "validate"], arguments].concat();
        Nightbell::new(&validate)
            .env("NIGHTBELL_URL", "http://127.0.0.1:1")
            .file("flow.json", text)
            .run()
    };
    let good = flow(json!([task("a", "SIMPLE")]));
    assert_eq!(judge(&good, &["flow.json"]).exits(0).stderr, "flow version 1 is valid\n");
    judge(&good, &["-f", "flow.json"]).exits(0);
    judge(&good, &["."]).exits(0);
    let bad = flow(json!([task("a", "SIMPLE"), task("a", "SIMPLE")]));
    let refused = judge(&bad, &["flow.json"]).exits(1);
    let place = "flow.json:1:";
    assert!(refused.stdout.starts_with(place), "{refused:?}");
    assert!(refused.stdout.contains("error: /tasks/1/taskReferenceName: "), "{refused:?}");
    let listed = judge(&bad, &["flow.json", "-o", "json"]).exits(1).json();
    assert_eq!((&listed[0]["line"], &listed[0]["level"]), (&json!(1), &json!("error")));
    assert_eq!(listed[0]["pointer"], "/tasks/1/taskReferenceName");
    // A folder is all that there is; a file by itself may lie beside others.
    let mut calls = task("s", "SUB_WORKFLOW");
    calls["subWorkflowParam"] = json!({ "name": "elsewhere" });
    let calls = flow(json!([calls]));
    judge(&calls, &["flow.json", "--strict"]).exits(0);
    let missing = judge(&calls, &[".", "--strict"]).exits(1);
    assert!(missing.stdout.contains("[unknown-workflow]"), "{missing:?}");
    let odd = good.replace("\"tasks\"", "\"outputParameters\":{\"x\":\"${b.output.y}\"},\"tasks\"");
    let warned = judge(&odd, &["flow.json"]).exits(0);
    assert!(warned.stdout.contains("warning: /outputParameters/x"), "{warned:?}");
    judge(&odd, &["flow.json", "--strict"]).exits(1);
}

#[test]
fn a_test_with_given_answers_says_how_it_ended_or_what_it_waits_for() {
    let tasks = json!([{ "referenceTaskName": "a", "taskType": "SIMPLE", "status": "COMPLETED",
        "outputData": { "n": 3 } }]);
    let server = StandIn::start()
        .says(
            "POST /api/workflow/test",
            200,
            json!({ "status": "COMPLETED", "output": { "n": 3 },
            "tasks": tasks }),
        )
        .says(
            "POST /api/workflow/test",
            200,
            json!({ "status": "RUNNING", "output": {},
            "tasks": tasks, "waitsFor": ["b"] }),
        )
        .says("POST /api/workflow/test", 400, json!({ "message": "there is no task 'c' to mock" }));
    let test =
        ["workflow", "test", "flow", "-i", r#"{"i":1}"#, "--mocks", r#"{"a":{"output":{"n":3}}}"#];
    let done = server.run(&test).exits(0);
    assert!(done.stdout.ends_with("COMPLETED {\"n\":3}\n"), "{done:?}");
    let request = json!({ "name": "flow", "input": { "i": 1 },
        "taskRefToMockOutput": { "a": [{ "output": { "n": 3 } }] } });
    assert_eq!(server.body(0), request);
    let stopped = server.run(&test).exits(5);
    let told = "error: it stopped at RUNNING: no mock answers for b\n";
    assert!(stopped.stderr.starts_with(told), "{stopped:?}");
    server.run(&test).exits(1);
}

#[test]
fn create_prints_the_problems_of_a_definition() {
    let server = StandIn::start().says("POST /api/metadata/workflow", 400, refusal());
    let outcome =
        server.run_with_input(&["workflow", "create", "-f", "-"], r#"{"name":"x"}"#).exits(1);
    assert!(
        outcome.stderr.contains("\n  /tasks/1/type: there is no task type HTP (hint: did you"),
        "{outcome:?}"
    );
}
