//! `nightbell check`: mistakes are found in files, by file, line and word, before anything runs.

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
        .run()
        .exits(1);
    let expected = [
        ("flow.json:5", "undeclared-input", "custmer"),
        ("flow.json:8", "misspelt-property", "lenght"),
        ("flow.json:9", "answer-without-case", "few"),
        ("flow.json:13", "case-never-taken", "Many"),
        ("flow.json:14", "unknown-workflow", "rnig"),
        ("jobs.yaml: warning", "file-not-read", "sections"),
        ("monitors.yaml:6", "route-never-reached", "routes[1]"),
        ("monitors.yaml:6", "matches-nothing", "data"),
        ("monitors.yaml:9", "doubtful-setting", "sql_urls_in_inputs"),
        ("monitors.yaml:11", "unknown-column", "hst"),
        ("monitors.yaml:12", "label-without-route", "dta"),
        ("monitors.yaml:13", "unknown-column", "los"),
        ("monitors.yaml:15", "unknown-schedule", "nigthly"),
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

#[test]
fn good_files_pass_and_notes_fail_only_when_it_is_strict() {
    check(&["."]).file("ring.json", RING).run().exits(0);
    let nightly = NIGHTLY.replace("ordres", "ring");
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
        (&json!(5), &json!("warning"), &json!("undeclared-input"))
    );
    let sarif = with(&[".", "-o", "sarif"]).json();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let results = run["results"].as_array().expect("a list");
    assert_eq!(results.len(), listed.as_array().map_or(0, Vec::len));
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], json!("./flow.json"));
    assert_eq!(place["region"]["startLine"], json!(5));
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
fn secrets_are_compared_with_those_of_the_server() {
    let server =
        StandIn::start().says("GET /api/secrets-v2", 200, json!([{ "name": "KEY", "tags": [] }]));
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
