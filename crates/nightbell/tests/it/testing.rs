//! `nightbell test`: the examples' own tests pass, and a mistake in an example does not.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Where the examples lie.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// Runs `nightbell test` in a folder of its own, apart from what this machine is configured as.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightbell"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NIGHTBELL_")) {
        command.env_remove(name);
    }
    command.arg("test").args(arguments).current_dir(folder).output().unwrap()
}

/// What it printed, when it ended as it should.
#[track_caller]
fn exits(output: &Output, code: i32) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    format!("{out}{err}")
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

const FLOW: &str = r#"{ "name": "orders", "version": 1, "schemaVersion": 2, "ownerEmail": "a@b.c",
  "tasks": [
    { "name": "fetch", "taskReferenceName": "fetch", "type": "HTTP", "inputParameters": {
        "http_request": { "uri": "http://shop/orders?c=${workflow.input.customer}", "method": "GET" } } },
    { "name": "count", "taskReferenceName": "count", "type": "INLINE", "inputParameters": {
        "evaluatorType": "javascript", "orders": "${fetch.output.response.body.orders}",
        "expression": "({ n: $.orders.length, at: Date.now(), chance: Math.random() })" } },
    { "name": "many", "taskReferenceName": "many", "type": "SWITCH", "evaluatorType": "javascript",
      "inputParameters": { "n": "${count.output.result.n}" }, "expression": "$.n > 2 ? 'many' : 'few'",
      "decisionCases": { "many": [
        { "name": "ring", "taskReferenceName": "ring", "type": "SIMPLE", "taskDefinition": {
            "name": "ring", "retryCount": 1, "retryDelaySeconds": 60, "timeoutSeconds": 0,
            "responseTimeoutSeconds": 600 } },
        { "name": "approve", "taskReferenceName": "approve", "type": "HUMAN" } ] },
      "defaultCase": [] }
  ],
  "outputParameters": { "who": "${ring.output.who}", "at": "${count.output.result.at}" } }"#;

const TESTS: &str = r#"
start: 2027-03-27T00:00+01:00
tests:
- name: a failed ring is tried again
  workflow: orders
  input: { customer: acme }
  mocks:
    fetch: { output: { response: { body: { orders: [1, 2, 3] } } }, takes: 200ms }
    ring: [ { fail: refused }, { output: { who: noc }, takes: 3s } ]
    approve: { signal: { ok: true }, after: 2d }
  expect:
    status: COMPLETED
    path: [fetch, count, many, ring, ring, approve]
    exactly: { who: noc, at: 1806102000200 }
    inputs: { fetch: { http_request: { uri: "http://shop/orders?c=acme" } } }
    took: "< 3d"
"#;

/// [`TESTS`] with one part replaced.
fn tests_with(part: &str, by: &str) -> String {
    assert!(TESTS.contains(part), "{part}");
    TESTS.replace(part, by)
}

#[test]
fn the_examples_pass_their_tests() {
    let told = exits(&run(&examples(), &["."]), 0);
    assert!(told.lines().filter(|line| line.starts_with("ok ")).count() >= 35, "{told}");
}

#[test]
fn two_runs_tell_the_same_and_write_a_report() {
    let folder = folder(&[("orders.json", FLOW), ("orders.test.yaml", TESTS)]);
    let one = exits(&run(folder.path(), &["--trace", "--junit", "report.xml"]), 0);
    assert_eq!(one, exits(&run(folder.path(), &["--trace", "--jobs", "2"]), 0));
    assert!(one.contains("+1m3s200ms  ring COMPLETED"), "{one}");
    let report = std::fs::read_to_string(folder.path().join("report.xml")).unwrap();
    assert!(report.contains(r#"tests="1""#) && report.contains("tried again"), "{report}");
    let none = exits(&run(folder.path(), &["--filter", "nothing"]), 1);
    assert!(none.contains("no test has \"nothing\""), "{none}");
}

#[test]
fn what_is_not_as_expected_is_told() {
    let cases = [
        ("who: noc, at", "who: ann, at", "output.who: expected \"ann\", got \"noc\""),
        ("ring, ring, approve]", "ring, approve]", "path: expected"),
        ("< 3d", "< 1d", "took: expected < 1d, got 2d1m3s200ms"),
        ("c=acme", "c=other", "inputs.fetch.http_request.uri: expected"),
        ("status: COMPLETED", "status: FAILED", "status: expected FAILED, got COMPLETED"),
        (
            "exactly: { who: noc, at: 1806102000200 }",
            "exactly: { who: noc }",
            "output.at: not expected",
        ),
        ("    approve: { signal", "    aprove: { signal", "no mock answers approve (HUMAN)"),
        (
            "[ { fail: refused }, ",
            "[ { fail: refused }, { fail: again }, ",
            "1 of 3 answers were not used",
        ),
    ];
    for (part, by, expected) in cases {
        let folder = folder(&[("o.json", FLOW), ("o.test.yaml", &tests_with(part, by))]);
        let told = exits(&run(folder.path(), &[]), 5);
        assert!(told.contains(expected), "{by}: {told}");
    }
}

#[test]
fn a_task_without_an_answer_tells_what_to_write() {
    let text =
        tests_with("    ring: [ { fail: refused }, { output: { who: noc }, takes: 3s } ]\n", "");
    let folder = folder(&[("o.json", FLOW), ("o.test.yaml", &text)]);
    let told = exits(&run(folder.path(), &[]), 5);
    assert!(told.contains("no mock answers ring (ring), which was asked"), "{told}");
    assert!(told.contains("ring: { output: {} }"), "{told}");
}

#[test]
fn wrong_files_are_told_with_their_place() {
    let typo = tests_with("  input:", "  inptu:");
    let told = exits(&run(folder(&[("o.json", FLOW), ("o.test.yaml", &typo)]).path(), &[]), 1);
    assert!(told.contains("o.test.yaml:6:3") && told.contains("\"inptu\""), "{told}");
    let other = tests_with("workflow: orders", "workflow: ordres");
    let told = exits(&run(folder(&[("o.json", FLOW), ("o.test.yaml", &other)]).path(), &[]), 1);
    assert!(told.contains("o.test.yaml:4:3: error: there is no workflow \"ordres\""), "{told}");
    let broken = FLOW.replace("\"HTTP\"", "\"SWITCH\"");
    let told = exits(&run(folder(&[("o.json", &broken), ("o.test.yaml", TESTS)]).path(), &[]), 1);
    assert!(told.contains("o.json"), "{told}");
}

/// What `check` finds is told with the tests, too: whoever runs only these reads it.
#[test]
fn warnings_are_told_with_the_tests() {
    let flow = FLOW.replace("\"type\": \"HUMAN\"", "\"type\": \"HUMAN\", \"optinal\": true");
    let told = exits(&run(folder(&[("o.json", &flow), ("o.test.yaml", TESTS)]).path(), &[]), 0);
    assert!(told.contains("optinal is no key that is read here"), "{told}");
    assert!(told.contains("o.json:14:") && told.contains("[unknown-key]"), "{told}");
}

#[test]
fn coverage_tells_what_no_test_has_seen() {
    let folder = folder(&[("orders.json", FLOW), ("orders.test.yaml", TESTS)]);
    let told = exits(&run(folder.path(), &["--coverage"]), 0);
    assert!(told.contains("orders/many: not no match"), "{told}");
    // Beside the definitions, JSON would be taken for one.
    let reports = tempfile::tempdir().unwrap();
    let into = |name: &str| format!("--coverage={}", reports.path().join(name).display());
    exits(&run(folder.path(), &[&into("all.json"), "--fail-under", "10"]), 0);
    let told = exits(&run(folder.path(), &[&into("all.info"), "--fail-under", "99"]), 5);
    assert!(told.contains("less than 99 %"), "{told}");
    let json = std::fs::read_to_string(reports.path().join("all.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["percent"].as_f64().is_some_and(|it| it > 50.0 && it < 100.0), "{json}");
    // The policy of `ring` is written out in the task.
    assert!(json.to_string().contains("retried"), "{json}");
    let lcov = std::fs::read_to_string(reports.path().join("all.info")).unwrap();
    assert!(lcov.contains("SF:") && lcov.contains("DA:3,1"), "{lcov}");
}

#[test]
fn snapshots_are_kept_and_compared() {
    let monitors = "receivers:\n  noc: { slack: \"https://slack.test/x\" }\nroutes:\n  - { to: noc }\n\
        monitors:\n  web: { http: \"http://web\", every: 1m, fail_after: 2 }\n";
    let tests = "tests:\n- name: the web is down\n  monitor: web\n  series: { up: \"1 0 0 1\" }\n  \
        until: +5m\n  expect:\n    incidents: [ { key: \"\", opens: +2m, resolves: +3m } ]\n    \
        told: [ { to: noc, event: trigger, at: +2m } ]\n    messages: snapshot\n";
    let folder = folder(&[("monitors.yaml", monitors), ("m.test.yaml", tests)]);
    let told = exits(&run(folder.path(), &[]), 5);
    assert!(told.contains("no snapshot") && told.contains("--accept"), "{told}");
    exits(&run(folder.path(), &["--accept"]), 0);
    exits(&run(folder.path(), &[]), 0);
    let other = monitors.replace("slack.test/x", "slack.test/y");
    std::fs::write(folder.path().join("monitors.yaml"), other).unwrap();
    let told = exits(&run(folder.path(), &[]), 5);
    assert!(told.contains("- POST https://slack.test/x"), "{told}");
    assert!(told.contains("+ POST https://slack.test/y"), "{told}");
}

/// A process that goes when the test does.
struct Watched(std::process::Child);

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_save_is_tested_while_somebody_watches() {
    let folder = folder(&[("orders.json", FLOW), ("orders.test.yaml", TESTS)]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightbell"));
    command.args(["test", "--watch"]).current_dir(folder.path());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut watched = Watched(child);
    let (sender, told) = mpsc::channel();
    let lines = BufReader::new(watched.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    std::thread::spawn(move || lines.map(|line| sender.send(line)).all(|sent| sent.is_ok()));
    let until = |words: &str| {
        while !told.recv_timeout(Duration::from_mins(1)).expect(words).contains(words) {}
    };
    until("all passed");
    let path = folder.path().join("orders.json");
    std::fs::write(&path, FLOW.replace("$.n > 2 ?", "$.n > 3 ?")).unwrap();
    until("1 of 1 tests failed");
    std::fs::write(&path, FLOW).unwrap();
    until("all passed");
}

const WEB: &str = "receivers:\n  noc: { slack: \"https://slack.test/x\" }\nroutes:\n  - { to: noc }\n\
    monitors:\n  web: { http: \"http://web\", every: 1h, fail_after: 2 }\n";

/// Checks begin with the test, or where the monitor's name puts them.
#[test]
fn the_phase_of_checks_is_that_of_the_test_or_of_the_name() {
    let test = |opens: &str, phase: &str| {
        let tests = format!(
            "tests:\n- name: down\n  monitor: web\n  series: {{ up: \"1 0 0 0\" }}\n  {phase}\n  \
             until: +6h\n  expect: {{ incidents: [ {{ key: \"\", opens: {opens}, resolves: never }} ] }}\n"
        );
        run(folder(&[("monitors.yaml", WEB), ("m.test.yaml", &tests)]).path(), &["--trace"])
    };
    exits(&test("+2h", ""), 0);
    let told = exits(&test("+2h", "phase: real"), 5);
    let first = told.lines().find(|line| line.contains("  check ")).expect(&told);
    let first = first.split_whitespace().next().unwrap();
    assert!(first.starts_with('+') && first != "+0s", "{told}");
    // Two hours after the first check is the third, which is the second that fails.
    let (until_seconds, _) = first.trim_start_matches('+').split_once('s').unwrap();
    exits(&test(&format!("+2h{until_seconds}s"), "phase: real"), 0);
}

/// Who is never told because of a slip would always be as it is expected.
#[test]
fn names_and_words_in_expectations_must_be_known() {
    for (expect, told) in [
        ("never: [ { to: nocc } ]", "7:22: error: there is no receiver \"nocc\"; is noc meant?"),
        ("never: [ { to: \"oncall:primary\" } ]", "there is no receiver \"oncall:primary\""),
        ("told: [ { to: nocc } ]", "there is no receiver \"nocc\""),
        (
            "never: [ { event: triggr } ]",
            "\"triggr\" is nothing that receivers are told; is trigger meant?",
        ),
        ("incidents: [ { resolves: nevr } ]", "\"nevr\" is no instant"),
    ] {
        let tests = format!(
            "tests:\n- name: down\n  monitor: web\n  series: {{ up: \"1 0\" }}\n  \
             acts: []\n\n  expect: {{ {expect} }}\n"
        );
        let files = [("monitors.yaml", WEB), ("m.test.yaml", &*tests)];
        let found = exits(&run(folder(&files).path(), &[]), 1);
        assert!(found.contains(told), "{expect}: {found}");
    }
    let tests = "tests:\n- name: down\n  monitor: web\n  series: { up: \"1 0\" }\n  \
        acts: [ { at: +1m, receiver: nocc, answers: 503, for: 1h } ]\n  expect: { told: [] }\n- name: r\n  \
        route: { monitor: web }\n  expect: { told: [ { to: \"oncall:first\" } ] }\n";
    let files = [("monitors.yaml", WEB), ("m.test.yaml", tests)];
    let found = exits(&run(folder(&files).path(), &[]), 1);
    assert!(found.contains("no receiver \"nocc\""), "{found}");
    assert!(found.contains("no rotation \"first\""), "{found}");
}

/// What somebody does after the last check would never be done.
#[test]
fn an_act_after_the_end_of_its_test_is_no_part_of_it() {
    let test = |until: &str| {
        format!(
            "tests:\n- name: down\n  monitor: web\n  series: {{ up: \"1 0 0\" }}\n  {until}\n  acts:\n  \
             - {{ at: +1h, receiver: noc, answers: 503, for: 5m }}\n  \
             - {{ at: +4h, acknowledge: web, by: ann }}\n  expect: {{ told: [ {{ to: noc, event: trigger }} ] }}\n"
        )
    };
    let short = test("");
    let files = [("monitors.yaml", WEB), ("m.test.yaml", &*short)];
    let told = exits(&run(folder(&files).path(), &[]), 5);
    assert!(told.contains("acts, entry 2: it is after the end of the test"), "{told}");
    let long = test("until: +5h");
    let files = [("monitors.yaml", WEB), ("m.test.yaml", &*long)];
    exits(&run(folder(&files).path(), &[]), 0);
}

/// A step that calls a rotation counts when its people are told, a loop over nothing when there was none.
#[test]
fn rotations_and_loops_over_nothing_are_covered() {
    let monitors = "receivers: { ann: { slack: \"https://slack.test/x\" } }\npeople: { ann: ann }\n\
        rotations: { primary: { layers: [ { people: [ann] } ] } }\n\
        routes: [ { to: \"oncall:primary\" } ]\nmonitors: { web: { http: \"http://web\", every: 1m } }\n";
    let flow = r#"{ "name": "each", "inputParameters": ["all"], "tasks": [
        { "name": "e", "taskReferenceName": "e", "type": "DO_WHILE", "items": "${workflow.input.all}",
          "loopCondition": "true", "loopOver": [
            { "name": "n", "taskReferenceName": "n", "type": "NOOP" } ] } ] }"#;
    let tests = "tests:\n- name: down\n  monitor: web\n  series: { up: \"1 0 0\" }\n  \
        expect: { told: [ { to: ann, event: trigger } ] }\n- name: none\n  workflow: each\n  \
        input: { all: [] }\n  expect: { status: COMPLETED }\n";
    let files = [("monitors.yaml", monitors), ("each.json", flow), ("a.test.yaml", tests)];
    let told = exits(&run(folder(&files).path(), &["--coverage"]), 0);
    assert!(!told.contains("routes[0]"), "{told}");
    assert!(told.contains("each/e: not many times, not once\n"), "{told}");
}

/// A definition, a part of it and what a slip of the hand makes of that: each is caught by a test.
const MUTANTS: &[(&str, &str, &str)] = &[
    ("etl-github-orbit/workflow.json", "$.hours * 3600000", "$.hours * 360000"),
    ("etl-github-orbit/workflow.json", "per_page=100&page=", "per_page=100&pag="),
    ("etl-github-orbit/workflow.json", "vnd.github.v3.star+json", "vnd.github.v3+json"),
    (
        "etl-github-orbit/workflow.json",
        "select(.starred_at >= $cutoff)",
        "select(.starred_at > $cutoff)",
    ),
    ("etl-github-orbit/workflow.json", "sort_by(.starred_at)", "sort_by(.login)"),
    (
        "etl-github-orbit/workflow.json",
        "Math.floor($.offset / 100) + $.iteration",
        "Math.floor($.offset / 100) + $.iteration - 1",
    ),
    ("etl-github-orbit/workflow.json", "$.count > 0 ? 'some'", "$.count > 1 ? 'some'"),
    ("etl-github-orbit/workflow.json", "$.list[$.iterator - 1]", "$.list[$.iterator]"),
    ("etl-github-orbit/workflow.json", "github-star/${workflow.input.gh_account}/", "github-star/"),
    (
        "etl-github-orbit/workflow.json",
        "\"pages\": \"${stargazer_pages.output.iteration}\"",
        "\"pages\": \"${stargazer_pages.output.iterations}\"",
    ),
    ("etl-github-orbit/taskdefs.json", "\"retryCount\": 5", "\"retryCount\": 1"),
    ("etl-github-orbit/schedules.json", "Europe/London", "Europe/Oslo"),
    ("etl-github-orbit/schedules.json", "\"catchUp\": \"latest\"", "\"catchUp\": \"all\""),
    ("etl-github-orbit/schedules.json", "\"overlap\": \"skip\"", "\"overlap\": \"allow_all\""),
    ("etl-github-orbit/repositories.json", "$common + .]", ". + $common]"),
    (
        "etl-github-orbit/repositories.json",
        "\"COMPLETED_WITH_ERRORS\": [",
        "\"COMPLETED_WITH_ERROR\": [",
    ),
    ("etl-github-orbit/repositories.json", "select(length > 1)", "select(length > 2)"),
    (
        "monitoring-pattern/monitoring_job.json",
        "\"polling_interval_seconds\": 5",
        "\"polling_interval_seconds\": 50",
    ),
    ("monitoring-pattern/monitoring_job.json", "!= 'Completed'", "!= 'completed'"),
    ("monitoring-pattern/monitoring_job.json", "Number($.timeout)", "Number($.tiemout)"),
    ("endpoint-scan-pagerduty/endpoint_scan.json", "record.at >= $.from", "record.at > $.from"),
    (
        "endpoint-scan-pagerduty/endpoint_scan.json",
        "$.ask['iteration'] < 2",
        "$.ask['iteration'] < 1",
    ),
    (
        "endpoint-scan-pagerduty/endpoint_scan.json",
        "\"severity\": \"error\"",
        "\"severity\": \"info\"",
    ),
    ("endpoint-scan-pagerduty/pagerduty_event.json", "/v2/enqueue", "/v1/enqueue"),
    ("endpoint-scan-pagerduty/pagerduty_event.json", "$.status == 400", "$.status == 500"),
    ("endpoint-scan-pagerduty/failed_workflows.json", "2 * $.minutes", "$.minutes"),
    ("endpoint-scan-pagerduty/failed_workflows.json", "\"FAILED\", \"TIMED_OUT\"", "\"FAILED\""),
    ("endpoint-scan-pagerduty/refresh_endpoint_token.json", "client_credentials", "password"),
    ("endpoint-scan-pagerduty/schedules.json", "30 */20 * * * ?", "30 */30 * * * ?"),
    ("influx-lark/monitors.yaml", "fail_when: loss >= 100", "fail_when: los >= 100"),
    ("influx-lark/monitors.yaml", "fail_when: loss >= 100", "fail_when: loss >= 99"),
    ("influx-lark/monitors.yaml", "per: [host, name]", "per: [hst, name]"),
    ("influx-lark/monitors.yaml", "group_by: [region]", "group_by: [host]"),
    ("influx-lark/monitors.yaml", "wait: 30s", "wait: 30m"),
    ("influx-lark/monitors.yaml", "missing: 12", "missing: 20"),
    ("influx-lark/monitors.yaml", "key: \"#*\"", "key: \"*#\""),
    ("influx-lark/monitors.yaml", "empty: unknown", "empty: ok"),
    ("robopager/cfg/checklist.yaml", "check_time: 03:15", "check_time: 13:15"),
];

#[test]
fn a_slip_in_an_example_is_caught_by_its_tests() {
    let root = tempfile::tempdir().unwrap();
    let mut alive = Vec::new();
    for (number, (file, part, by)) in MUTANTS.iter().enumerate() {
        let name = file.split('/').next().unwrap();
        let copy = root.path().join(number.to_string());
        copy_all(&examples().join(name), &copy);
        let path = copy.join(file.split_once('/').unwrap().1);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(part), "{file} has no {part}");
        std::fs::write(&path, text.replacen(part, by, 1)).unwrap();
        let output = run(&copy, &["."]);
        if !matches!(output.status.code(), Some(1 | 5)) {
            alive.push(format!("{file}: {by} ({:?})", output.status.code()));
        }
    }
    assert!(alive.is_empty(), "{alive:#?}");
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn a_composite_monitor_is_tested_by_how_its_members_are() {
    let monitors = "
receivers: { noc: { inbox: null } }
monitors:
  web-1: { heartbeat: 1h, to: noc }
  web-2: { heartbeat: 1h, to: noc }
  web-3: { heartbeat: 1h, to: noc }
  shop: { composite: { of: [web-1, web-2, web-3], at_least: 2 }, every: 1m, to: noc }
";
    let tests = "
start: 2027-03-27T00:00+01:00
tests:
- name: two of three
  monitor: shop
  series: { '{monitor=web-1}': '1 0x3 1x3', '{monitor=web-2}': '1 1 0 0 1x3', '{monitor=web-3}': '1x7' }
  expect: { incidents: [ { opens: +2m, resolves: +4m } ] }
";
    let lying = folder(&[("monitors.yaml", monitors), ("shop.test.yaml", tests)]);
    exits(&run(lying.path(), &[]), 0);
    let three = monitors.replace("at_least: 2", "at_least: 3");
    std::fs::write(lying.path().join("monitors.yaml"), three).unwrap();
    exits(&run(lying.path(), &[]), 5);
}
