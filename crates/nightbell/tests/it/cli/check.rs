//! `nightbell check`: mistakes are found in files, by file, line and word, before anything runs.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::stand_in::{Nightbell, Outcome, StandIn};

/// The workflow of somebody who made a slip in each task.
const FLOW: &str = r#"{
  "name": "orders", "inputParameters": ["customer"],
  "tasks": [
    { "name": "fetch", "taskReferenceName": "fetch", "type": "HTTP", "inputParameters": {
        "uri": "http://shop/orders?c=${workflow.input.custmer}" } },
    { "name": "count", "taskReferenceName": "count", "type": "INLINE", "inputParameters": {
        "orders": "${fetch.output.response.body.orders}",
        "expression": "$.orders.lenght > 2 ? 'many' : 'few'" } },
    { "name": "many", "taskReferenceName": "many", "type": "SWITCH",
      "evaluatorType": "javascript", "expression": "$.n > 2 ? 'many' : 'few'",
      "inputParameters": { "n": "${count.output.result}" },
      "decisionCases": {
        "Many": [{ "name": "ring", "taskReferenceName": "ring", "type": "SUB_WORKFLOW",
          "subWorkflowParam": { "name": "rnig" } }] } }
  ]
}"#;

const RING: &str = r#"{ "name": "ring", "tasks": [
  { "name": "r", "taskReferenceName": "r", "type": "INLINE",
    "inputParameters": { "expression": "1" } } ] }"#;

const MONITORS: &str = "\
receivers:
  noc: { slack: { url: \"https://hooks.slack.com/x\" } }
  data: { slack: { url: \"https://hooks.slack.com/y\" } }
routes:
  - { to: noc }
  - { match: { team: data }, to: data }
monitors:
  offline:
    sql: { url: \"postgres://db/x\", query: \"select host, loss from ping\" }
    every: 1m
    per: [hst]
    labels: { team: dta }
    fail_when: los >= 50
  backup:
    job: { schedule: nigthly }
    every: 5m
";

const NIGHTLY: &str = r#"{ "name": "nightly", "cronExpression": "0 30 2 * * *",
  "zoneId": "Europe/Oslo",
  "startWorkflowRequest": { "name": "ordres" } }"#;

fn check(arguments: &[&str]) -> Nightbell {
    Nightbell::new(&[&["check"], arguments].concat())
}

/// The lines of findings: `file:line`, code, and whether the line names the word.
fn found(outcome: &Outcome) -> Vec<(String, String)> {
    let lines = outcome.stdout.lines().map(|line| {
        let place: Vec<&str> = line.splitn(3, ':').collect();
        let code = line.rsplit_once('[').map(|(_, code)| code.trim_end_matches(']'));
        let place = format!("{}:{}", place[0].trim_start_matches("./"), place[1]);
        (place, code.unwrap_or_default().to_owned())
    });
    lines.collect()
}

#[test]
fn slips_are_found_by_file_line_and_word() {
    let outcome = check(&["."])
        .file("flow.json", FLOW)
        .file("ring.json", RING)
        .file("monitors.yaml", MONITORS)
        .file("nightly.json", NIGHTLY)
        .file("jobs.yaml", "jobs: {}\n")
        .file("more.YAML", MONITORS)
        .run()
        .exits(1);
    let expected = [
        ("flow.json:4", "missing-input", "method"),
        ("flow.json:5", "undeclared-input", "custmer"),
        ("flow.json:8", "misspelt-property", "lenght"),
        ("flow.json:9", "answer-without-case", "few"),
        ("flow.json:13", "case-never-taken", "Many"),
        ("flow.json:14", "unknown-workflow", "rnig"),
        ("jobs.yaml:1:1", "file-not-read", "jobs"),
        ("monitors.yaml:6", "route-never-reached", "routes[1]"),
        ("monitors.yaml:6", "matches-nothing", "data"),
        ("monitors.yaml:9", "doubtful-setting", "sql_urls_in_inputs"),
        ("monitors.yaml:11", "unknown-column", "hst"),
        ("monitors.yaml:12", "label-without-route", "dta"),
        ("monitors.yaml:13", "unknown-column", "los"),
        ("monitors.yaml:15", "unknown-schedule", "nigthly"),
        ("more.YAML", "file-not-read", "capitals"),
        ("nightly.json:1", "clock-change", "02:30"),
        ("nightly.json:3", "unknown-workflow", "ordres"),
    ];
    for (place, code, word) in expected {
        let is_it = |line: &str| {
            line.starts_with(&format!("./{place}"))
                && line.contains(word)
                && line.ends_with(&format!("[{code}]"))
        };
        assert!(outcome.stdout.lines().any(is_it), "{place} {code} {word}: {}", outcome.stdout);
    }
    assert_eq!(outcome.stdout.lines().count(), expected.len(), "{}", outcome.stdout);
}

/// Whoever looks at files needs no login, so a damaged one is no obstacle; whoever asks a server does.
#[test]
fn a_damaged_login_stops_only_what_asks_a_server() {
    let logins = tempfile::tempdir().expect("a folder");
    let login = logins.path().join("http___127.0.0.1_8080_api.json");
    std::fs::write(&login, "{").expect("a file");
    std::fs::set_permissions(&login, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let logins = logins.path().to_str().expect("a path");
    let kept = |command: Nightbell| command.env("NIGHTBELL_LOGIN_DIR", logins);
    kept(check(&["."])).file("ring.json", RING).run().exits(0);
    let asks = kept(Nightbell::new(&["workflow", "list"])).run();
    assert!(asks.exits(1).stderr.contains("is damaged"), "it asks with the login");
}

#[test]
fn what_is_refused_is_found_with_its_line_too() {
    let typo = r#"[
  { "name": "a", "tasks": [{ "name": "t", "taskReferenceName": "t", "type": "INLINE",
    "inputParameters": { "expression": "1" } }] },
  { "name": "b", "tasks": [{ "name": "t", "taskReferenceName": "t", "type": "INLINE",
    "inputParameters": { "expression": "1",
      "x": "${tt.output.result}" } }] }
]"#;
    let outcome = check(&["."]).file("two.json", typo).file("cut.json", "{\n \"name\": ").run();
    let found = found(&outcome.exits(1));
    assert!(found.contains(&("two.json:6".into(), "unknown-reference".into())), "{found:?}");
    assert!(found.contains(&("cut.json:2".into(), "malformed-json".into())), "{found:?}");
}

/// Which of two definitions counts would depend on the names of their files.
#[test]
fn what_two_files_define_and_what_none_defines_is_found_at_its_place() {
    let second = RING.replacen('{', "\n{ ", 1);
    let more = "receivers:\n  noc: { slack: { url: \"https://hooks.slack.com/x\" } }\nmonitors:\n  \
        one: { tcp: \"h:1\", every: 1m, to: noc }\n";
    let other = "monitors:\n  # one\n  one: { tcp: \"h:2\", every: 1m, to: noc }\n";
    let outcome = check(&["."])
        .file("a.json", RING)
        .file("b.json", &second)
        .file("m.yaml", more)
        .file("n.yaml", other)
        .run()
        .exits(1);
    for place in [
        "b.json:2:13: error: /name: defines workflow ring v1, as ./a.json does",
        "n.yaml:3:3: error: the monitor one is defined by",
    ] {
        let is_it = |line: &str| line.trim_start_matches("./").starts_with(place);
        assert!(outcome.stdout.lines().any(is_it), "{place}: {}", outcome.stdout);
    }
    assert_eq!(outcome.stdout.lines().count(), 2, "{}", outcome.stdout);
}

/// Each would be silence, or a page at once.
#[test]
fn what_never_holds_and_what_never_fires_is_found() {
    let monitors = "monitors:\n  one:\n    prometheus: { url: \"http://p.test\", query: loss }\n    every: 1m\n    \
        fail_when: \"loss > '15%'\"\n  two:\n    sql: { url: \"postgres://db/x\", query: \"select host, ok from ping\" }\n    \
        every: 1m\n    fail_when: not okk\n  three:\n    workflow: rnig\n    every: 1m\n";
    let never = NIGHTLY.replace("0 30 2 * * *", "0 30 2 30 2 *");
    let outcome =
        check(&["."]).file("monitors.yaml", monitors).file("nightly.json", &never).run().exits(1);
    for (place, code, word) in [
        ("monitors.yaml:5", "invalid-monitors", "15%"),
        ("monitors.yaml:9", "unknown-column", "okk"),
        ("nightly.json:1", "cron-never-fires", "30 2 *"),
    ] {
        let is_it = |line: &str| {
            line.starts_with(&format!("./{place}:")) && line.contains(word) && line.contains(code)
        };
        assert!(outcome.stdout.lines().any(is_it), "{place} {word}: {}", outcome.stdout);
    }
    // A single file leaves out what lies beside it: that is a note. A folder is all that there is.
    let alone = "monitors:\n  three:\n    workflow: rnig\n    every: 1m\n";
    for (path, level, exit) in [("monitors.yaml", "note", 0), (".", "warning", 1)] {
        let told = check(&[path]).file("monitors.yaml", alone).run().exits(exit);
        let line =
            told.stdout.lines().find(|it| it.ends_with("[workflow-elsewhere]")).expect("a finding");
        let place = format!("monitors.yaml:3:15: {level}: three speaks of");
        assert!(line.trim_start_matches("./").starts_with(&place), "{line}");
    }
}

#[test]
fn good_files_pass_and_notes_fail_only_when_it_is_strict() {
    check(&["."]).file("ring.json", RING).run().exits(0);
    let nightly =
        NIGHTLY.replace("ordres", "ring").replace("\"zoneId\"", "\"dst\": \"once\", \"zoneId\"");
    let with = |arguments: &[&str]| {
        check(arguments).file("ring.json", RING).file("nightly.json", &nightly).run()
    };
    let outcome = with(&["."]).exits(0);
    assert!(outcome.stderr.contains("0 errors, 0 warnings, 1 note"), "{}", outcome.stderr);
    with(&[".", "--strict"]).exits(1);
    check(&["nowhere"]).run().exits(1);
}

#[test]
fn findings_are_written_as_json_and_as_sarif() {
    let with = |arguments: &[&str]| check(arguments).file("flow.json", FLOW).run().exits(1);
    let listed = with(&[".", "-o", "json"]).json();
    let first = &listed[0];
    assert_eq!(
        (&first["line"], &first["level"], &first["code"]),
        (&json!(4), &json!("warning"), &json!("missing-input"))
    );
    let sarif = with(&[".", "-o", "sarif"]).json();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let results = run["results"].as_array().expect("a list");
    assert_eq!(results.len(), listed.as_array().map_or(0, Vec::len));
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], json!("./flow.json"));
    assert_eq!(place["region"]["startLine"], json!(4));
    let rules: Vec<&Value> = run["tool"]["driver"]["rules"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| &it["id"])
        .collect();
    assert!(results.iter().all(|it| rules.contains(&&it["ruleId"])), "{rules:?}");
    // No other command writes it.
    Nightbell::new(&["version", "-o", "sarif"]).run().exits(2);
}

#[test]
fn monitors_that_tell_nobody_are_found() {
    let monitors = "monitors:\n  one: { tcp: \"h:1\", every: 1m }\n  \
        two: { tcp: \"h:2\", every: 1m, labels: { team: data } }\n";
    let outcome = check(&["."]).file("m.yaml", monitors).run().exits(0);
    assert!(outcome.stdout.contains("m.yaml:2:3: note: 2 monitors tell nobody"), "{outcome:?}");
    check(&[".", "--strict"]).file("m.yaml", monitors).run().exits(1);
    let routes = "receivers:\n  noc: { slack: { url: \"https://hooks.slack.com/x\" } }\n\
        routes: [ { match: { team: data }, to: noc } ]\n";
    let outcome = check(&["."]).file("m.yaml", monitors).file("routes.yaml", routes).run().exits(1);
    assert!(outcome.stdout.contains("m.yaml:2:3: warning: one tells nobody"), "{outcome:?}");
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:?}");
}

/// A server that has a secret, a workflow and a schedule.
fn server() -> StandIn {
    StandIn::start()
        .says("GET /api/secrets-v2", 200, json!([{ "name": "KEY", "tags": [] }]))
        .says("GET /api/metadata/workflow/names-and-versions", 200, json!({ "orders": [] }))
        .says("GET /api/scheduler/schedules", 200, json!([{ "name": "nightly" }]))
}

/// Schedules, event handlers and triggers are no use without the workflow that they start.
#[test]
fn starts_are_compared_with_the_workflows_of_the_folder_or_the_server() {
    let handler = r#"{ "name": "h", "event": "conductor:x", "active": true, "actions": [
        { "action": "start_workflow", "start_workflow": { "name": "rnig" } } ] }"#;
    let trigger = r#"{ "name": "t", "method": "POST", "path": "/x", "start": { "name": "rign" } }"#;
    let ring = RING.replacen('{', r#"{ "inputParameters": ["who"], "version": 2, "#, 1);
    let nightly = NIGHTLY
        .replace("Europe/Oslo", "UTC")
        .replace(r#""name": "ordres""#, r#""name": "ring", "version": 1, "input": {}"#);
    let weekly = nightly.replace("nightly", "weekly").replace("\"version\": 1, ", "");
    let weekly = weekly.replace("\"input\": {}", "\"input\": { \"whoo\": 1, \"other\": 2 }");
    let outcome = check(&["."])
        .file("ring.json", &ring)
        .file("h.json", handler)
        .file("t.json", trigger)
        .file("nightly.json", &nightly)
        .file("weekly.json", &weekly)
        .run()
        .exits(1);
    for (file, word, code) in [
        ("h.json:2", "rnig", "unknown-workflow"),
        ("t.json:1", "rign", "unknown-workflow"),
        ("nightly.json:3", "no version 1", "unknown-version"),
        ("weekly.json:3", "no input whoo", "unknown-input"),
    ] {
        let is_it = |line: &str| {
            line.starts_with(&format!("./{file}")) && line.contains(word) && line.contains(code)
        };
        assert!(outcome.stdout.lines().any(is_it), "{file}: {}", outcome.stdout);
    }
    assert_eq!(outcome.stdout.lines().count(), 4, "{}", outcome.stdout);
    // Where there are no workflows, nobody here knows; a server does.
    let alone =
        |path| check(&[path]).file("nightly.json", &nightly.replace("ring", "ordres")).run();
    for outcome in [alone("nightly.json").exits(0), alone(".").exits(1)] {
        assert!(outcome.stdout.contains("[workflow-elsewhere]"), "{outcome:?}");
    }
    let asked = check(&[".", "--online"])
        .env("NIGHTBELL_URL", &server().url())
        .file("nightly.json", &nightly.replace("ring", "ordres"))
        .run()
        .exits(1);
    assert!(asked.stdout.contains("is orders meant?"), "{asked:?}");
}

/// Keys that nothing reads, and inputs that a branch goes by and that are not there.
#[test]
fn keys_and_parameters_that_are_misspelt_are_found() {
    let flow = r#"{ "name": "f", "tasks": [
  { "name": "s", "taskReferenceName": "s", "type": "SWITCH", "evaluatorType": "value-param",
    "expression": "kidn",
    "inputParameters": { "kind": "${workflow.input.kind}" }, "optinal": true,
    "decisionCases": { "a": [{ "name": "x", "taskReferenceName": "x", "type": "NOOP",
      "inputParamters": {} }] }, "defaultCase": [] } ], "mine": 1 }"#;
    let tasks = r#"[{ "name": "x", "retryCout": 3 }]"#;
    let outcome = check(&["."]).file("f.json", flow).file("taskdefs.json", tasks).run().exits(1);
    for expected in [
        "f.json:3:19: warning: /tasks/0/expression: kidn is not among",
        "f.json:4:73: warning: /tasks/0/optinal: optinal is no key",
        "Did you mean inputParameters?",
        "Did you mean retryCount?",
    ] {
        assert!(outcome.stdout.contains(expected), "{expected}: {}", outcome.stdout);
    }
    assert_eq!(outcome.stdout.matches("[unknown-key]").count(), 3, "{}", outcome.stdout);

    // Of two values of one key the last one counts, also of two cases of one name.
    let twice = r#"{ "name": "g", "tasks": [
  { "name": "x", "taskReferenceName": "x", "type": "NOOP", "type": "TERMINATE" }] }"#;
    let told = check(&["."]).file("g.json", twice).run().stdout;
    assert!(told.contains("g.json:2:") && told.contains("[repeated-key]"), "{told}");
}

/// Editors of Windows write a mark in front, and people quote sections.
#[test]
fn files_are_read_however_they_are_written() {
    let slip = "  a: { http: { url: \"http://x\" }, evry: 1m }\n";
    let workflow = "\u{feff}{ \"name\": \"w\", \"tasks\": [{ \"name\": \"n\", \"taskReferenceName\": \"n\", \"type\": \"NOOP\" }] }";
    for begins in ["\u{feff}monitors:\n", "\"monitors\":\n", "monitors :\n"] {
        let file = format!("{begins}{slip}");
        let outcome = check(&["."]).file("m.yaml", &file).file("w.json", workflow).run().exits(1);
        assert!(outcome.stdout.contains("m.yaml:2:"), "{begins:?}: {}", outcome.stdout);
        assert!(!outcome.stdout.contains("w.json"), "{}", outcome.stdout);
    }
    let braces = "{ monitors: { a: { http: { url: \"http://x\" }, evry: 1m } } }";
    let outcome = check(&["."]).file("m.yaml", braces).run().exits(1);
    assert!(outcome.stdout.contains("m.yaml:1:"), "{}", outcome.stdout);
}

/// Tests are looked at too, and a folder without anything is said to have nothing.
#[test]
fn tests_are_read_and_an_empty_folder_is_noted() {
    let tests = "tests:\n- name: a\n  workflow: rnig\n  expect: { staus: COMPLETED }\n";
    let outcome = check(&["."]).file("ring.json", RING).file("below/a.test.yaml", tests).run();
    let outcome = outcome.exits(1);
    assert!(outcome.stdout.contains("a.test.yaml:4:13: error: "), "{outcome:?}");
    let wrong = tests.replace("staus", "status").replace("workflow: rnig", "monitor: web");
    let wrong = wrong.replace("{ status: COMPLETED }", "{ never: [] }\n  series: { up: \"1\" }");
    let outcome = check(&["."]).file("ring.json", RING).file("a.test.yaml", &wrong).run();
    let outcome = outcome.exits(1);
    assert!(outcome.stdout.contains("there is no monitor \"web\""), "{outcome:?}");
    let empty = check(&["."]).run().exits(0);
    assert!(empty.stdout.contains("[nothing-to-check]"), "{empty:?}");
    check(&[".", "--strict"]).run().exits(1);
}

/// The newest check tells which columns there are.
#[test]
fn columns_are_compared_with_those_that_the_newest_check_saw() {
    let row = json!({ "key": "a", "status": "ok", "attrs": { "host": "a", "loss": 0 } });
    let sample = json!({ "samples": [{ "output": { "observations": [row] } }] });
    let server = server().says("GET /api/monitors/net/samples", 200, sample);
    let monitors = "monitors:\n  net:\n    sql: { server: db, query: \"select * from ping\" }\n    \
        every: 1m\n    per: host\n    fail_when: packet_loss > 5\n    \
        labels: { host: \"{{ host }}\", team: \"{{ owner }}\" }\n";
    let outcome = check(&[".", "--online"])
        .env("NIGHTBELL_URL", &server.url())
        .file("m.yaml", monitors)
        .run()
        .exits(1);
    let line = outcome.stdout.lines().find(|it| it.contains("[unknown-column]")).expect("a line");
    assert!(line.starts_with("./m.yaml:6:") && line.contains("has seen host, loss"), "{line}");
    let line = outcome.stdout.lines().find(|it| it.contains("[unknown-placeholder]")).expect("one");
    assert!(line.starts_with("./m.yaml:7:") && line.contains("{{ owner }} is unknown"), "{line}");
}

#[test]
fn secrets_are_compared_with_those_of_the_server() {
    let server = server();
    let flow =
        RING.replace("\"1\"", "\"1\", \"k\": \"${workflow.secrets.KEY} ${workflow.secrets.KYE}\"");
    let outcome = check(&[".", "--online"])
        .env("NIGHTBELL_URL", &server.url())
        .file("ring.json", &flow)
        .run()
        .exits(1);
    let line = outcome.stdout.lines().next().unwrap_or_default();
    assert!(line.contains("KYE") && line.ends_with("[unknown-secret]"), "{}", outcome.stdout);
    assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.stdout);
}
