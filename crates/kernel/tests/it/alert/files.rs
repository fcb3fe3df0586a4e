//! The files that define monitors: what is read, and what is refused with line and column.

use std::sync::Arc;

use kernel::alert::definition::{
    ChecklistOptions, Composite, File, Judge, Kind, Known, Level, Loaded, MonitorDef, Remark,
    Severity, Standing, load, load_judged, parse_share, parse_span,
};
use kernel::alert::{Context, Input, Monitor, Status};
use kernel::graph::Message;
use kernel::{Effect, ExecutionId, Json, Machine, Timestamp};
use serde_json::{Value, json};

use super::bench::START;

fn read(text: &str) -> Loaded {
    load(text, &ChecklistOptions::default())
}

fn problems(text: &str) -> Vec<String> {
    read(text).problems.iter().map(ToString::to_string).collect()
}

fn file(text: &str) -> File {
    let loaded = read(text);
    assert!(loaded.file.is_some(), "{:#?}", loaded.problems);
    loaded.file.expect("it was just looked at")
}

/// Everything that the documentation shows, in one file.
const SAMPLE: &str = r#"
receivers:
  noc:    { lark: { url: "${secret:LARK_URL}", sign: "${secret:LARK_SIGN}" } }
  oncall: { pagerduty: { key: "${secret:PD_KEY}" } }
routes:                       # first match
  - match: { team: data }
    steps: [ { to: noc }, { to: oncall, after: 10m, unless: acked } ]
    remind: 4h
  - { to: noc, group_by: [region], wait: 30s }

monitors:
  sales-mail:
    email: { account: reports, folder: all, since: "03:00",
             from: [etl@example.com, bi@example.com],
             subjects: ["Great - You look awesome!", { regex: '^Load \d+ OK$' }] }
    at: "03:15"
    every: 5m
    until: "08:00"
    tz: America/New_York
    labels: { team: data }

  intraday-load:
    job: { batchy: "http://etl:8050", workflow: intraday, step: global }
    every: 3m
    active: "09:00-24:00"
    max_age: 60m
    since: end
    warn_at: 80%
    depends_on: [etl-host]

  buildings-offline:
    influx:
      server: metrics
      flux: |
        from(bucket: "g44bucket") |> range(start: ${window.from}, stop: ${window.to})
          |> mean() |> filter(fn: (r) => r._value >= 100.0)
    every: 5m
    window: { lookback: 5m, catch_up: 1h }
    per: [host, name]
    labels: { region: "{{ host | remove_suffix('-FIBER') }}" }
    missing: 2

  failed-orders:
    http: { url: "https://api/search?from=${window.from_ms}&to=${window.to_ms}",
            bearer: "${secret:API}", rows: $.results, per: $.id }
    every: 1m
    window: { lookback: 10m, catch_up: 1h }
    fail_when: rows > 0
    resolve: { quiet_for: 10m }

  nightly-backup:
    heartbeat: { cron: "0 2 * * *", start_grace: 1m, min_run: 5m, max_run: 4h }
    tz: Europe/Berlin

  etl-host:
    http: { url: "https://etl/health", expect: "status < 400" }
    every: 30s
    fail_after: 3
    recover_after: 2
    on_error: { after: 5, severity: warning }

maintenance:
  - { name: weekly, match: { monitor: "etl-*" }, hours: "Sat 02:00-04:00", tz: Europe/Berlin }
silences:
  - { name: move, from: "2026-03-01T10:00:00Z", for: 2h, by: ann, comment: the move }
"#;

#[test]
fn the_sample_is_read_whole() {
    assert_eq!(problems(SAMPLE), Vec::<String>::new());
    let file = file(SAMPLE);
    let names: Vec<&str> = file.monitors.iter().map(|monitor| &*monitor.name).collect();
    assert_eq!(
        names,
        [
            "sales-mail",
            "intraday-load",
            "buildings-offline",
            "failed-orders",
            "nightly-backup",
            "etl-host"
        ]
    );
    let job = file.monitors[1].settings.parse();
    assert_eq!(job["max_age"], "60m");
    assert_eq!(job["warn_at"], "80%");
    assert_eq!(file.monitors[5].on_error.severity, Severity::Warning);
    assert_eq!(file.monitors[4].schedule.cron.as_deref(), Some("0 2 * * *"));
    assert_eq!(file.silences.len(), 2);
    assert_eq!(file.routes[0].steps[1].after, 600_000);
    let specs = file.specs();
    let host = specs.iter().find(|spec| &*spec.monitor.name == "etl-host").expect("it is there");
    assert_eq!(host.dependents, [Arc::from("intraday-load")]);
}

/// A check is a definition of the engine's own language: windows and secrets are its expressions.
#[test]
fn a_check_is_a_definition() {
    let specs = file(SAMPLE).specs();
    let definition = specs[2].check.definition.as_ref().expect("it is generated").parse();
    let task = &definition["tasks"][0];
    assert_eq!(task["type"], "CHECK_INFLUX");
    let flux = task["inputParameters"]["settings"]["flux"].as_str().expect("the query");
    assert!(flux.contains("range(start: ${workflow.input.window.from}"), "{flux}");
    let definition = specs[3].check.definition.as_ref().expect("it is generated").parse();
    let settings = &definition["tasks"][0]["inputParameters"]["settings"];
    assert_eq!(settings["bearer"], "${workflow.secrets.API}");
    let text = definition.to_string();
    let parsed = kernel::definition::parse_workflow(&text);
    assert!(parsed.is_ok(), "{parsed:?}");
}

#[test]
fn a_check_has_the_time_and_the_zone_of_its_monitor() {
    let text = "monitors:\n  \
        a: { http: \"https://w\", every: 1m, timeout: 30s, tz: Europe/Oslo }\n  \
        b: { email: { url: \"imaps://m\", from: x, tz: UTC, timeout: 2m }, every: 1m, tz: Europe/Oslo }\n  \
        c: { http: { url: \"https://w\", timeout: 5m }, every: 30s }\n";
    let specs = file(text).specs();
    let settings = |at: usize| -> Value {
        let definition = specs[at].check.definition.as_ref().expect("it is generated").parse();
        definition["tasks"][0]["inputParameters"]["settings"].clone()
    };
    // The check says what did not answer before it is given up.
    assert_eq!(settings(0), json!({ "url": "https://w", "timeout": "29000ms" }));
    assert_eq!(specs[0].monitor.timeout, Some(30_000));
    assert_eq!((&settings(1)["timeout"], &settings(1)["tz"]), (&json!("2m"), &json!("UTC")));
    // Waiting longer for a page than three intervals is let.
    assert_eq!(specs[2].monitor.timeout, Some(305_000));
    assert_eq!(specs[1].monitor.timeout, None);
}

/// Attempts are repeated for as long as a delivery is worth something: a day.
#[test]
fn a_delivery_is_tried_for_a_day() {
    let file = file("receivers: { noc: { slack: 'https://s' } }\nmonitors: {}\n");
    let definition = file.receivers["noc"].definition("noc");
    let policy = &definition["tasks"][0]["taskDefinition"];
    let number = |name: &str| policy[name].as_u64().expect(name);
    assert_eq!(number("totalTimeoutSeconds"), 24 * 3600);
    // However long each of them takes, there are attempts for all of it.
    assert!(number("retryCount") * number("timeoutSeconds") >= 24 * 3600, "{policy}");
    assert!(number("maxRetryDelaySeconds") <= 60 && number("backoffJitterMs") > 0, "{policy}");
}

#[test]
fn every_problem_is_told_with_its_place() {
    let cases: [(&str, &[&str]); 18] = [
        (
            "monitors:\n  web: { http: x, evry: 1m }\n",
            &[
                "2:3: error: monitors.web: when? write every: 5m, at: \"03:15\" or cron",
                "2:19: error: monitors.web: unknown key \"evry\"; is every meant?",
            ],
        ),
        (
            "monitors:\n  web: { every: 1m }\n",
            &[
                "2:3: error: monitors.web: a monitor needs one of email, job, influx, prometheus, http, sql, tcp, dns, grpc, icmp, heartbeat, workflow, alerts, composite",
            ],
        ),
        (
            "monitors:\n  web:\n    http: { uri: x }\n    every: 5 minutes ago\n",
            &[
                "3:11: error: monitors.web.http: http needs url",
                "3:13: error: monitors.web.http: unknown key \"uri\"; is url meant?",
                "4:12: error: monitors.web.every: \"5 minutes ago\" is no duration; write one such as 30s, 5m or 1h30m",
            ],
        ),
        (
            "monitors:\n  a: { tcp: 'h:1', every: 1m, depends_on: b }\n  b: { tcp: 'h:1', every: 1m, depends_on: a }\n",
            &[
                "2:43: error: monitors.a.depends_on: a and b depend on each other",
                "3:43: error: monitors.b.depends_on: b and a depend on each other",
            ],
        ),
        (
            "monitors:\n  a: { tcp: 'h:1', every: 1m, to: nocc }\nreceivers:\n  noc: { slack: x }\n",
            &["2:35: error: monitors.a.to: there is no receiver \"nocc\"; is noc meant?"],
        ),
        (
            "receivers:\n  noc: { slak: x }\n",
            &[
                "2:3: error: receivers.noc: a receiver is exactly one of pagerduty, lark, feishu, slack, mattermost, teams, discord, telegram, opsgenie, jsm, squadcast, datadog, ntfy, twilio, email, webhook, workflow, inbox",
                "2:10: error: receivers.noc: unknown key \"slak\"; is slack meant?",
            ],
        ),
        (
            "routes:\n  - { match: { a: b } }\n",
            &["2:5: error: routes[0]: a route needs to or steps"],
        ),
        (
            "routes:\n  - steps: [{ to: x, unless: asleep }]\n",
            &[
                "2:19: error: routes[0].steps[0].to: there is no receiver \"x\"",
                "2:30: error: routes[0].steps[0].unless: unless can only be acked, not \"asleep\"",
            ],
        ),
        (
            "routes:\n  - steps: [{ to: x, tz: UTC, hours: noon }]\n",
            &[
                "2:19: error: routes[0].steps[0].to: there is no receiver \"x\"",
                "2:38: error: routes[0].steps[0].hours: \"noon\" are no hours",
            ],
        ),
        (
            "routes:\n  - steps: [{ to: x, tz: UTC }]\n",
            &[
                "2:19: error: routes[0].steps[0].to: there is no receiver \"x\"",
                "2:26: error: routes[0].steps[0].tz: tz is the zone of hours",
            ],
        ),
        (
            "monitors:\n  a:\n    tcp: h:1\n    every: 1m\n    labels: { x: \"{{ y | shout }}\" }\n",
            &[
                "5:18: error: monitors.a.labels.x: unknown filter \"shout\"; there are remove_suffix, remove_prefix, upper, lower, trim, default, replace, split and truncate",
            ],
        ),
        (
            "monitors:\n  a:\n    tcp: h:1\n    every: 1m\n    fail_when: rows >\n",
            &["5:16: error: monitors.a.fail_when: the condition ends where a value is expected"],
        ),
        (
            "monitors:\n  a: { tcp: 'h:1', at: 25:00, tz: Mars/Base }\n",
            &[
                "2:24: error: monitors.a.at: \"25:00\" is no time of day; write one such as \"09:30\"",
                "2:35: error: monitors.a.tz: \"Mars/Base\" is no time zone; write one such as Europe/Berlin",
            ],
        ),
        (
            "monitors:\n  a: { tcp: 'h:1', every: 1m, every: 2m }\n",
            &["2:31: error: monitors.a: the key \"every\" occurs twice"],
        ),
        ("monitors: [\n", &["2:1: error: not readable as YAML"]),
        (
            "silences:\n  - { name: x }\n",
            &[
                "2:5: error: silences[0]: either from with to or for, or hours such as \"Sat 02:00-04:00\"",
            ],
        ),
        (
            "monitors:\n  a: { tcp: 'h:1', cron: '0 0 31 2 *' }\n",
            &["2:26: error: monitors.a.cron: \"0 0 31 2 *\" never comes"],
        ),
        ("monitors: []\n", &["1:11: error: monitors: a map is expected, not a list"]),
    ];
    let mut failures = Vec::new();
    for (text, expected) in cases {
        let found = problems(text);
        let told = |known: &&str| found.iter().any(|problem| problem.starts_with(known));
        if found.len() != expected.len() || !expected.iter().all(told) {
            failures.push(format!("in\n{text}expected {expected:#?}\nfound {found:#?}"));
        }
        let refused = found.iter().any(|problem| problem.contains(": error: "));
        assert_eq!(read(text).file.is_none(), refused, "whole or not at all: {text}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Settings of a source fill in what a monitor leaves open, wherever they are defined.
#[test]
fn a_source_is_known_by_its_name() {
    let text = r#"
sources:
  metrics: { url: "http://m:8086", db: net, token: "${secret:T}" }
  short: "http://s"
monitors:
  a: { influx: { server: metrics, db: other, influxql: q }, every: 1m }
  b: { prometheus: { server: short, query: q }, every: 1m }
  c: { influx: { server: "http://direct", flux: q }, every: 1m }
"#;
    assert_eq!(problems(text), Vec::<String>::new());
    let specs = file(text).specs();
    let settings = |at: usize| specs[at].monitor.settings.parse();
    assert_eq!(
        settings(0),
        json!({ "server": "metrics", "url": "http://m:8086", "db": "other", "token": "${secret:T}",
            "influxql": "q" })
    );
    assert_eq!(settings(1)["url"], "http://s");
    assert_eq!(settings(2), json!({ "server": "http://direct", "flux": "q" }));
    let definition = specs[0].check.definition.as_ref().expect("it is generated").text().to_owned();
    assert!(definition.contains("${workflow.secrets.T}"), "{definition}");
    let moved = file(&text.replace("m:8086", "n:8086")).specs();
    assert_ne!(specs[0].version, moved[0].version, "another source is another definition");
    assert_eq!(specs[2].version, moved[2].version);
    assert_eq!(
        problems("sources: { a: [1] }\n"),
        ["1:15: error: sources.a: a map of settings is expected, not a list"]
    );
}

/// What those who will use the settings say of them stands at the setting's place.
#[test]
fn settings_are_judged_by_those_who_use_them() {
    struct Strict;
    impl Judge for Strict {
        fn receiver(&self, kind: &str, settings: &Value) -> Vec<Remark> {
            assert_eq!(kind, "slack");
            let unknown =
                settings.get("chanel").map(|_| Remark::warning(Some("chanel"), "unknown"));
            let url = settings["url"] != "https://s";
            let bad = url.then(|| Remark::error(Some("url"), "is no URL"));
            let missing = settings.get("token").map(|_| Remark::error(None, "not both"));
            unknown.into_iter().chain(bad).chain(missing).collect()
        }
        fn monitor(&self, kind: Kind, settings: &Value) -> Vec<Remark> {
            assert_eq!((kind, &settings["url"]), (Kind::Influx, &json!("http://m")));
            vec![Remark::warning(Some("server"), "far away")]
        }
    }
    let text = "receivers:\n  good: { slack: https://s }\n  bad: { slack: s }\n  odd:\n    slack:\n      \
                url: https://s\n      chanel: x\n      token: t\nmonitors:\n  \
                m: { influx: { server: far, flux: f }, every: 1m }\n";
    let far = Json::from(json!({ "url": "http://m" }));
    let known = Known { sources: [("far".into(), far)].into(), ..Known::default() };
    let judged = |text: &str| load_judged(text, &ChecklistOptions::default(), &known, &Strict);
    let loaded = judged(text);
    let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "3:17: error: receivers.bad.slack.url: is no URL",
            "6:7: error: receivers.odd.slack: not both",
            "7:7: warning: receivers.odd.slack.chanel: unknown",
            "10:18: warning: monitors.m.influx.server: far away",
        ]
    );
    assert!(loaded.file.is_none());
    let file = judged("receivers: { good: { slack: https://s } }").file.expect("nothing is wrong");
    assert!(file.sources.is_empty(), "what others define stays theirs");
}

/// A workflow of the user's is given what the monitor has for it.
#[test]
fn a_workflow_is_given_its_input_and_the_window() {
    let text = r#"
monitors:
  rounds:
    workflow:
      name: look
      input: { table: orders, from: "${window.from_ms}", span: "${window.from} on", key: "${secret:K}",
               monitor: mine }
    every: 5m
    window: { lookback: 10m }
"#;
    let spec = file(text).specs().remove(0);
    let mut monitor = Monitor::new(ExecutionId::monitor("rounds"));
    let context = Context { now: START, asks_parents: false, listening_since: None };
    monitor.decide(Input::Define(Box::new(spec)), &context).expect("it is taken");
    let decision = monitor.decide(Input::Check { who: None }, &context).expect("it checks");
    let start = decision.effects.into_iter().find_map(|effect| match effect {
        Effect::Send { message, .. } => match *message {
            Message::Start(start) => Some(*start),
            _ => None,
        },
        _ => None,
    });
    let start = start.expect("a check is started");
    assert_eq!(&*start.name, "look");
    let input = start.input.parse();
    let from = START.plus_millis(-600_000);
    assert_eq!((&input["table"], &input["from"]), (&json!("orders"), &json!(from.millis())));
    assert_eq!(input["span"], format!("{from} on"));
    assert_eq!(input["key"], "${workflow.secrets.K}", "a secret is filled in where it is used");
    assert_eq!((&input["monitor"], &input["sequence"]), (&json!("rounds"), &json!(1)));
}

/// A monitor cannot send the credentials of a source to an address of its own.
#[test]
fn the_credentials_of_a_source_stay_with_its_address() {
    let text = r#"
sources:
  metrics: { url: "http://m:8086", token: "${secret:T}" }
  open: { url: "http://o:8086", org: o }
monitors:
  a: { influx: { server: metrics, url: "http://evil", flux: q }, every: 1m }
  b: { influx: { server: metrics, url: "http://m:8086", flux: q }, every: 1m }
  c: { influx: { server: open, url: "http://mine", flux: q }, every: 1m }
"#;
    let problems = problems(text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let told =
        "6:40: error: monitors.a.influx.url: `url` cannot be set beside the source \"metrics\"";
    assert!(problems[0].starts_with(told), "{problems:?}");
    let specs = file(&text.replace("  a: {", "  # ")).specs();
    assert_eq!(specs[0].monitor.settings.parse()["token"], "${secret:T}");
    assert_eq!(specs[1].monitor.settings.parse()["url"], "http://mine");
}

/// Text that is no file at all is refused, never a panic.
#[test]
fn rubbish_is_refused() {
    let deep = format!("a: {}", "[".repeat(10_000));
    let doubled = |n: u32| format!("a{n}: &a{n} [*a{}, *a{}]\n", n - 1, n - 1);
    let bomb = (1..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| text + &doubled(n));
    for text in ["\u{0}", "a: b: c", "\t- x", "{", "'", "--- a\n--- b\n", "&a *a", &deep, &bomb] {
        let loaded = read(text);
        assert!(loaded.file.is_none(), "{text:.40}: {:?}", loaded.problems);
        assert!(!loaded.problems.is_empty());
    }
    assert!(read("").file.is_some(), "an empty file watches nothing");
}

/// The checks that Robopager's own documentation shows.
const CHECKLIST: &str = r#"
unique_email_check_job_name:
    type: email
    pd_description: "Check whether you are OK"
    pd_service: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'
    senders: ['email_address@gmail.com']
    delivery_time: 03:00
    check_time: 03:15
    subjects:
        - "Great - You look awesome!"
        - "Good - You look OK!"
unique_latency_check_name:
    type: batchy
    pd_description: "intraday latency check for xxxx job"
    pd_service: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    wf_name: "intraday_latency_check"
    check_time: "09:00"
    poll_sec: 180
    latency_min: 60
"#;

#[test]
fn a_checklist_is_read_as_it_is() {
    let options = ChecklistOptions {
        delivery_tz: "America/New_York".into(),
        batchy: "http://etl:8050".into(),
        ..ChecklistOptions::default()
    };
    let loaded = load(CHECKLIST, &options);
    assert!(loaded.checklist);
    assert_eq!(loaded.problems, []);
    let file = loaded.file.expect("it is read");
    let [mail, job] = &file.monitors[..] else { panic!("two monitors") };
    assert_eq!((mail.kind, job.kind), (Kind::Email, Kind::Job));
    assert_eq!(
        mail.settings.parse(),
        json!({ "from": ["email_address@gmail.com"], "account": "robopager", "folder": "all",
            "subjects": ["Great - You look awesome!", "Good - You look OK!"],
            "since": "03:00", "tz": "America/New_York" })
    );
    assert_eq!(mail.summary.as_deref(), Some("Check whether you are OK"));
    assert_eq!(mail.schedule.next_after(START, 0), Some(START.plus_seconds(3 * 3600 + 900)));
    let settings = job.settings.parse();
    assert_eq!(settings["max_age"], "3600s");
    assert_eq!(settings["workflow"], "intraday_latency_check");
    assert_eq!(settings["since"], "end");
    let receiver = &file.receivers["robopager:unique_latency_check_name"];
    assert_eq!(receiver.settings.parse()["api"], "v1");
    assert_eq!(job.to, [Arc::from("robopager:unique_latency_check_name")]);
    let first = job.schedule.next_after(START, 0).expect("it looks");
    assert_eq!(first, START.plus_seconds(9 * 3600), "from check_time on");
}

#[test]
fn times_that_yaml_takes_for_numbers() {
    let check = |time: &str| {
        format!(
            "a:\n  type: email\n  senders: a@b\n  subjects: x\n  pd_service: k\n  delivery_time: 0\n  check_time: {time}\n"
        )
    };
    let at = |time: &str| {
        let loaded = read(&check(time));
        let file = loaded.file.unwrap_or_else(|| panic!("{time}: {:?}", loaded.problems));
        let warned = loaded.problems.iter().any(|it| it.level == Level::Warning && it.line == 7);
        (file.monitors[0].schedule.at.expect("a time").to_string(), warned)
    };
    let cases = [
        ("630", "10:30", true),
        ("540", "09:00", true),
        ("37800", "10:30", true),
        ("10:30", "10:30", true),
        ("9:00", "09:00", true),
        ("09:00", "09:00", false),
        ("\"9:00\"", "09:00", false),
        ("'03:15'", "03:15", false),
    ];
    for (written, read, warned) in cases {
        assert_eq!(at(written), (read.to_owned(), warned), "{written}");
    }
    for wrong in ["\"25:00\"", "noon", "-5", "[1]", "1000000"] {
        let loaded = read(&check(wrong));
        assert!(loaded.file.is_none(), "{wrong}");
        assert!(loaded.problems.iter().any(|it| it.line == 7), "{wrong}: {:?}", loaded.problems);
    }
}

#[test]
fn a_checklist_with_mistakes_is_refused_whole() {
    let found = problems(
        "a: { type: daily_email, check_time: '1:00' }\nb:\n  type: batchy\n  check_time: '1:00'\n  wf_nam: x\n  latency_min: soon\n  pd_service: k\n",
    );
    let expected = [
        "1:12: error: a: \"daily_email\" is no type of a check; write email or batchy",
        "2:1: error: b: a batchy check needs wf_name",
        "5:3: warning: b: unknown key \"wf_nam\"; is wf_name meant?; it is ignored",
        "6:16: error: b.latency_min: \"soon\" is no duration; write one such as 30s, 5m or 1h30m",
    ];
    assert_eq!(found, expected);
}

#[test]
fn only_the_types_asked_for() {
    let only = vec!["batchy".into()];
    let loaded = load(CHECKLIST, &ChecklistOptions { only, ..ChecklistOptions::default() });
    let file = loaded.file.expect("it is read");
    assert_eq!(file.monitors.len(), 1);
    assert_eq!(file.monitors[0].kind, Kind::Job);
}

#[test]
fn spans_and_shares() {
    let cases = [
        ("5m", 300_000),
        ("400s", 400_000),
        ("1h30m", 5_400_000),
        ("1h 30m", 5_400_000),
        ("1.5h", 5_400_000),
        ("90", 90_000),
        ("250ms", 250),
        ("2d", 172_800_000),
    ];
    for (text, millis) in cases {
        assert_eq!(parse_span(text), Ok(millis), "{text}");
    }
    for wrong in ["", "m", "5 parsecs", "1h30", "-5m", "1e300s", "99999d", ".", "5m."] {
        assert!(parse_span(wrong).is_err(), "{wrong}");
    }
    assert_eq!(parse_share("80%"), Ok(0.8));
    assert_eq!(parse_share("0.8"), Ok(0.8));
    for wrong in ["", "%", "0%", "120%", "NaN", "eighty"] {
        assert!(parse_share(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn from_when_on_and_from_what_on_somebody_is_told() {
    let text = |keys: &str| {
        format!(
            "receivers: {{ noc: {{ slack: 'https://s' }} }}\nmonitors:\n  m: {{ tcp: 'h:1', every: 1m, {keys} }}\nroutes: [{{ to: noc }}]\n"
        )
    };
    let monitor = |keys: &str| file(&text(keys)).monitors.remove(0);
    let both = monitor("to: noc, to_after: 90s, rings_from: error");
    assert_eq!((both.to_after, both.rings_from), (90_000, Some(Severity::Error)));
    let neither = monitor("to: noc");
    assert_eq!((neither.to_after, neither.rings_from), (0, None));
    assert_eq!(monitor("rings_from: info").rings_from, Some(Severity::Info), "with routes too");
    let cases = [
        ("to: noc, to_after: soon", "3:50: error: monitors.m.to_after: \"soon\" is no duration"),
        ("to_after: 5m", "3:41: error: monitors.m.to_after: to_after needs to"),
        ("rings_from: loud", "3:43: error: monitors.m.rings_from: \"loud\" is no severity"),
        (
            "severity: warning, rings_from: error",
            "3:62: warning: monitors.m.rings_from: nobody is ever told: what is found here is \
             warning at worst",
        ),
    ];
    for (keys, expected) in cases {
        let found = problems(&text(keys));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{keys}: {found:?}");
    }
}

/// Hours and daily times keep to the wall clock when the clocks change.
#[test]
fn schedules_keep_to_the_wall_clock() {
    let schedule = |text: &str| {
        let text = format!("monitors:\n  m: {{ tcp: 'h:1', tz: Europe/Berlin, {text} }}\n");
        file(&text).monitors[0].schedule.clone()
    };
    let next = |text: &str, after: &str| {
        let after: jiff::Timestamp = after.parse().expect("an instant");
        schedule(text)
            .next_after(after.into(), 0)
            .map_or_else(String::new, |at: Timestamp| at.to_string())
    };
    let cases = [
        ("at: '03:15'", "2026-03-28T12:00:00Z", "2026-03-29T01:15:00Z"),
        ("at: '02:30'", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
        ("cron: '30 2 * * *'", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
        ("at: '02:30'", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
        ("cron: '30 2 * * *'", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
        ("cron: '15 * * * *'", "2026-10-25T00:15:00Z", "2026-10-25T01:15:00Z"),
        ("at: '03:15'", "2026-03-29T01:15:00Z", "2026-03-30T01:15:00Z"),
        ("at: '23:00', every: 30m, until: '00:30'", "2026-06-01T21:00:00Z", "2026-06-01T21:30:00Z"),
        ("at: '23:00', every: 30m, until: '00:30'", "2026-06-01T22:30:00Z", "2026-06-02T21:00:00Z"),
        ("at: '23:00', every: 30m", "2026-06-01T21:30:00Z", "2026-06-02T21:00:00Z"),
        (
            "every: 1h, active: 'Mon-Fri 09:00-17:00'",
            "2026-06-05T14:00:00Z",
            "2026-06-08T07:00:00Z",
        ),
        ("every: 1h, active: '22:00-02:00'", "2026-06-05T23:00:00Z", "2026-06-06T20:00:00Z"),
        ("cron: '0 2 * * *'", "2026-06-05T00:00:00Z", "2026-06-06T00:00:00Z"),
        ("every: 10s", "2026-06-05T00:00:07Z", "2026-06-05T00:00:10Z"),
    ];
    for (text, after, expected) in cases {
        assert_eq!(next(text, after), expected, "{text} after {after}");
    }
}

#[test]
fn a_ping_key_opens_the_heartbeats_of_its_file_by_their_slugs() {
    let read = file(
        r#"
ping_keys:
  jobs: { key: "${secret:PING_KEY}", create: { heartbeat: { every: 1d, grace: 1h }, severity: error }, limit: 3 }
  old: a-key-that-nobody-guesses
monitors:
  backup: { heartbeat: 1h }
  Nightly report: { heartbeat: { every: 1d, slug: report } }
  Weekly report: { heartbeat: 7d }
  own: { heartbeat: { every: 1d, key: k-1 } }
  web: { http: "http://web", every: 1m }
"#,
    );
    let slugs: Vec<Option<Arc<str>>> = read.monitors.iter().map(MonitorDef::slug).collect();
    assert_eq!(slugs, [Some("backup".into()), Some("report".into()), None, None, None]);
    let jobs = &read.ping_keys["jobs"];
    let made = jobs.monitor("host-1").expect("a slug");
    assert_eq!((&*made.name, made.severity, jobs.limit()), ("host-1", Severity::Error, 3));
    assert_eq!(made.schedule.every, Some(86_400_000));
    for none in ["", "..", "a/b", "a b", "x".repeat(101).as_str()] {
        assert!(jobs.monitor(none).is_none(), "{none}");
    }
    assert!(read.ping_keys["old"].monitor("host-1").is_none(), "calls with it make nothing");

    let key = "a-key-that-nobody-guesses";
    for (text, said) in [
        ("ping_keys: { a: short }".to_owned(), "20 characters at least"),
        ("ping_keys: { a: 'x${secret:A}' }".to_owned(), "${secret:NAME} alone"),
        ("ping_keys: { a: {} }".to_owned(), "needs key"),
        (format!("ping_keys: {{ a: {key}, b: {key} }}"), "a has the same key"),
        (format!("ping_keys: {{ a: {{ key: {key}, limit: 5 }} }}"), "limit needs create"),
        (
            format!("ping_keys: {{ a: {{ key: {key}, create: {{ http: x, every: 1m }} }} }}"),
            "heartbeat monitors alone",
        ),
        (
            format!(
                "ping_keys: {{ a: {{ key: {key}, create: {{ heartbeat: {{ every: 1d, key: k }} }} }} }}"
            ),
            "the same of all monitors",
        ),
        (
            format!(
                "ping_keys: {{ a: {{ key: {key}, create: {{ heartbeat: 1d, to: nobody }} }} }}"
            ),
            "no receiver",
        ),
        ("monitors: { a: { heartbeat: { every: 1d, slug: a/b } } }".to_owned(), "a slug has"),
        (
            "monitors: { a: { heartbeat: { cron: '99 * * * *' } } }".to_owned(),
            "monitors.a.heartbeat.cron",
        ),
        (
            "monitors: { a: { heartbeat: 1d }, b: { heartbeat: { every: 1d, slug: a } } }"
                .to_owned(),
            "a is called by the slug a already",
        ),
    ] {
        let found = problems(&text);
        assert!(found.iter().any(|it| it.contains(said)), "{text}: {found:#?}");
    }
}

#[test]
fn a_composite_monitor_is_bad_when_so_many_are() {
    use Standing::{Bad, Unknown, Well};
    let members = |standings: &[Standing]| -> Vec<(Arc<str>, Standing)> {
        let named = standings.iter().enumerate();
        named.map(|(at, standing)| (Arc::from(format!("m{at}")), *standing)).collect()
    };
    let judged = |settings: Value, standings: &[Standing]| {
        let composite = Composite::of(&settings).expect("they are right");
        let verdict = composite.judge(&members(standings));
        (verdict.status.map(Status::as_str), verdict.text)
    };
    let two = || json!({ "of": ["a", "b", "c"], "at_least": "2" });
    assert_eq!(judged(two(), &[Bad, Well, Well]), (Some("ok"), "1 of 3 is bad: m0".to_owned()));
    assert_eq!(
        judged(two(), &[Bad, Well, Bad]),
        (Some("fail"), "2 of 3 are bad: m0, m2".to_owned())
    );
    let doubt = "1 of 3 is bad: m0; nobody can tell of m1".to_owned();
    assert_eq!(judged(two(), &[Bad, Unknown, Well]), (None, doubt), "that depends on m1");
    assert_eq!(judged(two(), &[Well, Unknown, Well]).0, Some("ok"), "whatever m1 is");
    let with = |unknown: &str| {
        let mut settings = two();
        settings["unknown"] = unknown.into();
        judged(settings, &[Bad, Unknown, Well]).0
    };
    assert_eq!((with("bad"), with("ok")), (Some("fail"), Some("ok")));
    let share = |share: &str, bad: usize| {
        let mut standings = [Well; 30];
        standings[..bad].fill(Bad);
        judged(json!({ "match": { "a": "b" }, "at_least": share }), &standings).0
    };
    assert_eq!(
        (share("10%", 2), share("10%", 3), share("1%", 1)),
        (Some("ok"), Some("fail"), Some("fail"))
    );
    assert_eq!(judged(json!({ "match": { "a": "b" } }), &[]).0, None, "of nothing nobody can tell");

    let read = file(
        "monitors:
  web-1: { heartbeat: 1h, labels: { team: web } }
  web-2: { heartbeat: 1h, labels: { team: web } }
  db: { heartbeat: 1h }
  shop: { composite: { of: db, match: { team: web, monitor: { not: '*-2' } } }, every: 30s }
  all: { composite: { of: shop, match: { monitor: '*' } }, every: 30s, labels: { team: web } }
",
    );
    let members = |name: &str| {
        let monitor = read.monitors.iter().find(|it| *it.name == *name).expect("it is there");
        let composite = Composite::of(&monitor.settings.parse()).expect("it is right");
        composite.members(name, &read.monitors).join(" ")
    };
    assert_eq!(members("shop"), "db web-1");
    assert_eq!(members("all"), "db shop web-1 web-2", "composites are taken by name alone");

    let around = "monitors: { a: { composite: b, every: 1m }, b: { composite: { of: [a, c] }, every: 1m }, c: { heartbeat: 1h } }";
    let found = problems(around);
    assert!(
        found.iter().any(|it| it.contains("a is composed of itself, by way of others")),
        "{found:#?}"
    );
    for (settings, said) in [
        ("{ of: [c, c] }", "twice"),
        ("{ of: a }", "a is composed of itself"),
        ("{ of: [c], at_least: 2 }", "can never be bad"),
        ("{ of: [c], at_least: 0 }", "a number such as 2"),
        ("{ of: [c], at_least: 101% }", "a share such as 50%"),
        ("{ of: [c], unknown: fine }", "bad, ok or unknown"),
        ("{ of: [d] }", "there is no monitor \"d\""),
        ("{ match: {} }", "needs a label"),
        ("{ match: { a: { b: c } } }", "match: a is a text"),
        ("{ at_least: 1 }", "needs of or match"),
    ] {
        let text = format!(
            "monitors: {{ a: {{ composite: {settings}, every: 1m }}, c: {{ heartbeat: 1h }} }}"
        );
        let found = problems(&text);
        assert!(found.iter().any(|it| it.contains(said)), "{settings}: {found:#?}");
    }
}
