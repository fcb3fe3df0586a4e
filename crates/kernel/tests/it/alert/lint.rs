//! What of a file can hardly be meant.

use kernel::alert::definition::{
    ChecklistOptions, Judge, Kind, Known, Level, Remark, load, load_judged,
};
use serde_json::Value;

fn told(text: &str) -> Vec<String> {
    let loaded = load(text, &ChecklistOptions::default());
    let refused = loaded.problems.iter().any(|problem| problem.level == Level::Error);
    assert_eq!(loaded.file.is_none(), refused, "errors alone refuse: {:?}", loaded.problems);
    loaded.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn what_can_hardly_be_meant_is_told_with_its_place() {
    let text = r#"
receivers:
  noc: { slack: "https://s" }
  spare: { slack: "https://s" }
routes:
  - { match: { team: dta }, to: noc }
  - { match: { taem: data }, to: noc }
  - { to: noc }
  - { match: { team: data }, to: noc }
monitors:
  net:
    influx: { server: "http://m", flux: q }
    every: 1m
    per: [host]
    labels: { team: data, region: "{{ hots }}", other: "{{ anything }}" }
  web:
    http: "https://w"
    every: 1m
    summary: "{{ monitor }} {{ team }} {{ cod }} {{ nope }} {{ gone | default('x') }}"
    labels: { team: web }
maintenance:
  - { name: m, match: { monitor: "wbe*" }, hours: "Sat 02:00-04:00" }
silences:
  - { name: s, match: { severity: fatal }, hours: "Sat 02:00-04:00" }
"#;
    let expected = [
        "4:3: warning: receivers.spare: no route and no monitor tells this receiver",
        "6:16: warning: routes[0].match.team: no monitor has the team \"dta\"; is data meant?",
        "7:16: warning: routes[1].match.taem: no monitor has a label \"taem\"; there are monitor, \
         key, severity, other, region, team; is team meant?",
        "9:5: warning: routes[3]: nothing reaches this route: routes[2] takes everything, and the \
         first that matches decides",
        "15:27: warning: monitors.net.labels.region: {{ hots }} is unknown: there are host, key, \
         monitor; is host meant?",
        // What a request to a server tells is known: any other name is a slip.
        "19:14: error: monitors.web.summary: {{ cod }} is unknown: there are body, code, count, \
         error, errors, failed, key, monitor, ms, rows, severity, since, state, status, team, text, \
         tls_days_left, tls_until, unit, value; is code meant?",
        "19:14: error: monitors.web.summary: {{ nope }} is unknown: there are body, code, count, \
         error, errors, failed, key, monitor, ms, rows, severity, since, state, status, team, text, \
         tls_days_left, tls_until, unit, value",
        "22:25: warning: maintenance[0].match.monitor: no monitor is called \"wbe*\"",
        "24:25: warning: silences[0].match.severity: no monitor has the severity \"fatal\"",
    ];
    assert_eq!(told(text), expected);
}

#[test]
fn a_setting_without_effect_is_told() {
    let problems = |monitor: &str| told(&format!("monitors:\n  one: {monitor}\n"));
    for (monitor, wanted) in [
        (
            "{ sql: { url: \"postgres://db\", query: SELECT 1, tls: true }, every: 1m }",
            "2:56: warning: monitors.one.sql.tls: has no effect: the URL says",
        ),
        (
            "{ http: { url: \"https://w\", tls: no }, every: 1m }",
            "warning: monitors.one.http.tls: has no effect: the address says",
        ),
        (
            "{ http: { url: \"https://w\", rows: $, contains: x }, every: 1m }",
            "warning: monitors.one.http.contains: has no effect: `fail_when`",
        ),
        (
            "{ job: { schedule: nightly, url: \"https://j\" }, every: 1m }",
            "warning: monitors.one.job.schedule: has no effect: `url`",
        ),
        ("{ heartbeat: { every: 1h, period: 2h } }", "heartbeat.period: has no effect: `every`"),
    ] {
        let told = problems(monitor);
        assert!(told.iter().any(|it| it.contains(wanted)), "{monitor}: {told:#?}");
    }
    for fine in [
        "{ http: { url: \"https://w\", tls: { ca: PEM }, contains: x }, every: 1m }",
        "{ job: { url: \"https://j\", bearer: b }, every: 1m }",
        "{ heartbeat: { period: 2h, grace: 1m } }",
    ] {
        assert_eq!(problems(fine), [""; 0], "{fine}");
    }
}

#[test]
fn a_label_almost_like_one_that_routes_match_is_told() {
    let file = |label: &str| {
        format!(
            "receivers:\n  noc: {{ slack: \"https://s\" }}\nroutes:\n- {{ match: {{ team: data }}, to: noc }}\n\
             - {{ to: noc }}\nmonitors:\n  one: {{ http: \"https://w\", every: 1m, labels: {{ team: data }} }}\n  \
             two: {{ http: \"https://w\", every: 1m, labels: {{ team: {label} }} }}\n"
        )
    };
    let told_of =
        "8:50: warning: monitors.two.labels.team: no route matches team \"dta\"; is data meant?";
    assert_eq!(told(&file("dta")), [told_of]);
    for fine in ["data", "web", "\"{{ key }}\""] {
        assert_eq!(told(&file(fine)), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn what_does_not_exist_is_told_where_it_is_known() {
    struct Anything;
    impl Judge for Anything {
        fn receiver(&self, _: &str, _: &Value) -> Vec<Remark> {
            Vec::new()
        }
        fn monitor(&self, _: Kind, _: &Value) -> Vec<Remark> {
            Vec::new()
        }
    }
    let text = r#"
receivers:
  desk: { workflow: triag }
  noc: { slack: { token: "${secret:SLAC}", channel: c } }
routes: [ { to: [desk, noc] } ]
monitors:
  job: { job: { schedule: nightly }, max_age: 1d, every: 1m }
  own: { workflow: round, every: 1m }
"#;
    assert_eq!(told(text), Vec::<String>::new(), "alone, nobody knows");
    let names = |names: &[&str]| Some(names.iter().map(|it| (*it).into()).collect());
    let known = Known {
        workflows: names(&["triage", "rounds"]),
        schedules: names(&["weekly"]),
        secrets: names(&["SLACK"]),
        ..Known::default()
    };
    let loaded = load_judged(text, &ChecklistOptions::default(), &known, &Anything);
    let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    let expected = [
        "3:11: warning: receivers.desk.workflow: there is no workflow \"triag\"; is triage meant?",
        "4:26: warning: there is no secret \"SLAC\"; is SLACK meant?",
        "7:17: warning: monitors.job.job.schedule: there is no schedule \"nightly\"",
        "8:10: warning: monitors.own.workflow: there is no workflow \"round\"; is rounds meant?",
    ];
    let short: Vec<String> =
        told.iter().map(|it| it.replace("workflow.name", "workflow")).collect();
    assert_eq!(short, expected);
}

#[test]
fn columns_that_a_query_does_not_name_are_told_unless_it_takes_all() {
    let file = |query: &str| {
        format!(
            "monitors:\n  net:\n    sql: {{ server: db, query: \"{query}\" }}\n    every: 1m\n    \
             per: host\n    fail_when: packets >= 50\n    summary: \"{{{{ host }}}} {{{{ nope }}}}\"\n"
        )
    };
    let none = "the query names the columns of its rows, and this is none of them";
    let expected = [
        format!("6:5: warning: monitors.net.fail_when: packets: {none}"),
        format!("7:5: warning: monitors.net.summary: {{{{ nope }}}} is unknown: {none}"),
    ];
    let of = |query: &str| -> Vec<String> {
        let mut told = told(&file(query));
        told.retain(|line| !line.contains("sql.server"));
        told
    };
    assert_eq!(of("select Host, loss from ping"), expected);
    assert_eq!(of("WITH p AS (SELECT 1) SELECT host, loss FROM p"), expected);
    for open in ["select * from ping", "select host, count(*) from ping", "call ping()"] {
        assert_eq!(of(open), Vec::<String>::new(), "{open}");
    }
    let all = "select host, packets, nope from ping";
    assert_eq!(of(all), Vec::<String>::new(), "all are named");
}

#[test]
fn names_that_are_never_there_are_refused() {
    let problems = |text: &str| -> Vec<String> {
        let loaded = load(text, &ChecklistOptions::default());
        assert!(loaded.file.is_none(), "{text}");
        loaded.problems.iter().map(ToString::to_string).collect()
    };
    let cases = [
        (
            "monitors:\n  w: { http: { url: 'https://w', expect: stauts < 400 }, every: 1m }\n",
            "2:42: error: monitors.w.http.expect: there is no column \"stauts\"; there are status, \
             ms, body, text, size, headers; is status meant?",
        ),
        (
            "monitors:\n  w: { http: 'https://w', every: 1m, warn_when: sm > 5 }\n",
            "2:49: error: monitors.w.warn_when: there is no column \"sm\"",
        ),
        (
            "silences:\n  - { from: '2026-01-01T00:00:00Z' }\n",
            "2:5: error: silences[0]: a silence needs an end: to, or for such as 2h",
        ),
        (
            "routes:\n  - { to: a, colour: '09:00-17:00' }\nreceivers: { a: { slack: x } }\n",
            "2:14: error: routes[0]: unknown key \"colour\"; there are ack_expires, display, \
             fallback_after, group_by, group_order, hours, match, remind, steps, to, tz, wait",
        ),
        (
            "monitors:\n  w: { http: { url: x, expct: ok }, every: 1m }\n",
            "2:24: error: monitors.w.http: unknown key \"expct\"; is expect meant?",
        ),
    ];
    for (text, expected) in cases {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:#?}");
    }
    let own = "x-defaults: &d { every: 1m }\nmonitors: { w: { http: x, every: 1m } }\n";
    assert_eq!(told(own), Vec::<String>::new(), "keys of the author's own are left alone");
}
