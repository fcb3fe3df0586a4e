//! Who would be told of what has not happened.

use kernel::alert::definition::{ChecklistOptions, File, load};
use kernel::alert::{Status, Supposed, next_checks, next_checks_with, preview, who_is_told};
use kernel::{Json, Timestamp};
use serde_json::json;

use super::bench::START;

const TEXT: &str = r#"
receivers:
  noc: { slack: "https://s", fallback: oncall }
  oncall: { pagerduty: k }
  own: { slack: "https://s" }
routes:
  - match: { team: data, severity: [error, critical] }
    steps: [ { to: noc }, { to: oncall, after: 10m, unless: acked } ]
    remind: 4h
  - { match: { team: data }, to: noc, group_by: [region], wait: 30s }
monitors:
  net:
    influx: { server: "http://m", flux: q }
    every: 1h
    per: [host]
    fail_when: loss >= 50
    warn_when: loss > 5
    labels: { team: data, region: "{{ host | split('-', 0) }}" }
    fail_after: 3
  web: { http: "https://w", at: "03:15", to: own, rings_from: error, severity: warning }
maintenance:
  - { name: weekly, match: { monitor: net }, hours: "Thu 00:00-01:00" }
"#;

fn file() -> File {
    let loaded = load(TEXT, &ChecklistOptions::default());
    loaded.file.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

fn supposed(monitor: Option<&str>, labels: &[(&str, &str)]) -> Supposed {
    Supposed {
        monitor: monitor.map(Into::into),
        labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        at: START.plus_millis(12 * 3_600_000),
        ..Supposed::default()
    }
}

/// 2026-01-01 is a Thursday.
#[test]
fn a_route_with_hours_leaves_the_rest_to_the_next_or_waits() {
    let file = |more: &str| {
        let text = format!(
            "receivers: {{ desk: {{ slack: \"https://d\" }}, boss: {{ pagerduty: k }} }}\n\
             routes:\n\
             - {{ hours: [\"Mon-Fri 08:00-16:00\"], tz: Europe/Oslo, steps: [{{ to: desk }}, {{ to: boss, after: 5m }}] }}\n\
             {more}\n"
        );
        let loaded = load(&text, &ChecklistOptions::default());
        loaded.file.unwrap_or_else(|| panic!("{:?}", loaded.problems))
    };
    let told = |file: &File, at: &str| {
        let at = at.parse::<jiff::Timestamp>().expect("an instant").into();
        let told = who_is_told(file, &Supposed { at, ..Supposed::default() }).expect("routed");
        let steps = told.steps.iter().map(|it| format!("{} {}", it.to[0], it.after / 60_000));
        (told.passed_over, steps.collect::<Vec<_>>(), told.nobody)
    };
    let both = file("- { to: boss }");
    // 07:59 and 08:00 in Oslo.
    let passed = "routes[0] is out of its hours until 2026-01-01T07:00:00Z".to_owned();
    assert_eq!(
        told(&both, "2026-01-01T06:59:00Z"),
        (vec![passed], vec!["boss 0".to_owned()], None)
    );
    let by_day = vec!["desk 0".to_owned(), "boss 5".to_owned()];
    assert_eq!(told(&both, "2026-01-01T07:00:00Z"), (Vec::new(), by_day, None));
    let alone = file("");
    let waits = vec!["desk 1".to_owned(), "boss 6".to_owned()];
    assert_eq!(told(&alone, "2026-01-01T06:59:00Z"), (Vec::new(), waits, None));
    // Friday evening.
    let (_, steps, _) = told(&alone, "2026-01-02T15:00:00Z");
    assert_eq!(steps[0], format!("desk {}", 64 * 60));
}

#[test]
fn labels_lead_to_receivers() {
    let told =
        who_is_told(&file(), &supposed(Some("net"), &[("host", "G44-A")])).expect("it is there");
    assert_eq!(told.route.as_deref(), Some("routes[0]"));
    assert_eq!(told.labels["region"].as_ref(), "G44");
    let steps: Vec<_> = told.steps.iter().map(|it| (it.to[0].as_ref(), it.after)).collect();
    assert_eq!(steps, [("noc", 0), ("oncall", 600_000)]);
    assert_eq!(told.steps[0].fallbacks["noc"].as_ref(), "oncall");
    assert_eq!((told.nobody, told.warnings.len()), (None, 0));

    let mut warning = supposed(None, &[("team", "data"), ("region", "G45")]);
    warning.severity = kernel::alert::definition::Severity::parse("warning");
    let told = who_is_told(&file(), &warning).expect("no monitor is named");
    assert_eq!(told.route.as_deref(), Some("routes[1]"));
    assert_eq!(told.passed_over, ["routes[0] wants severity error or critical; it is \"warning\""]);
    assert_eq!((told.group.as_deref(), told.wait), (Some("G45"), 30_000));

    let told =
        who_is_told(&file(), &supposed(None, &[("team", "dta"), ("taem", "x")])).expect("ok");
    assert_eq!(told.nobody.as_deref(), Some("no route matches"));
    assert_eq!(
        told.warnings,
        [
            "no monitor has a label \"taem\"; there are monitor, key, severity, region, team; is team meant?",
            "no monitor has the team \"dta\"; is data meant?",
        ]
    );
    let told = who_is_told(&file(), &supposed(Some("web"), &[])).expect("it is there");
    assert_eq!(told.nobody.as_deref(), Some("it is less than error (rings_from)"));
    let unknown = who_is_told(&file(), &supposed(Some("wbe"), &[]));
    assert_eq!(unknown, Err("there is no monitor \"wbe\"; is web meant?".to_owned()));
}

#[test]
fn maintenance_is_told() {
    let at = Supposed { at: START, ..supposed(Some("net"), &[]) };
    let told = who_is_told(&file(), &at).expect("it is there");
    assert_eq!(told.silenced_by, ["weekly".into()]);
    assert_eq!(told.nobody.as_deref(), Some("silenced by weekly"));
}

#[test]
fn a_preview_judges_each_key_and_moves_nothing() {
    let file = file();
    let net = &file.monitors[0];
    let output = Json::of(&json!({ "observations": [
        { "attrs": { "host": "G44-A", "loss": 60 } }, { "attrs": { "host": "G45-B", "loss": 6 } },
        { "attrs": { "host": "G46-C", "loss": 0 } }, { "attrs": { "host": "G47-D", "loss": null } },
    ] }));
    let seen = preview(&file, net, &output, START.plus_millis(12 * 3_600_000));
    let keys: Vec<_> = seen
        .keys
        .iter()
        .map(|it| {
            let route = it.told.as_ref().and_then(|told| told.route.as_deref());
            (it.key.as_ref(), it.status, it.opens.as_deref(), route)
        })
        .collect();
    let opens = Some("after 3 times in a row (fail_after)");
    assert_eq!(
        keys,
        [
            ("G44-A", Status::Fail, opens, Some("routes[0]")),
            ("G45-B", Status::Warn, opens, Some("routes[1]")),
            ("G46-C", Status::Ok, None, None),
            ("G47-D", Status::Unknown, None, None),
        ]
    );
    assert!(seen.doubt.is_some_and(|it| it.contains("loss is null")));
    let next = next_checks(&file.monitors[1], START, 2);
    assert_eq!(next, [START.plus_seconds(11_700), START.plus_seconds(86_400 + 11_700)]);
}

#[test]
fn the_next_checks_of_a_monitor_are_told_with_what_hides_them() {
    let text = "\
monitors:
  etl: { http: 'http://etl', at: '03:15', tz: Europe/Oslo, labels: { team: data },
         active: 'Mon-Fri 00:00-24:00' }
maintenance:
  - { name: a, match: { monitor: etl }, hours: 'Tue 03:00-04:00', tz: Europe/Oslo, comment: moving }
  - { name: b, match: { team: data }, from: 2026-11-25T00:00:00Z, to: 2026-11-26T00:00:00Z }
  - { name: c, match: { monitor: etl, key: one }, hours: '00:00-24:00', tz: Europe/Oslo }
";
    let loaded = load(text, &ChecklistOptions::default());
    let file = loaded.file.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    let at = |text: &str| -> Timestamp {
        text.parse::<jiff::Timestamp>().expect("the test writes a time").into()
    };
    // A Saturday.
    let after = at("2026-11-21T12:00:00Z");
    let found = next_checks_with(&file.monitors[0], &file.silences, after, 4);
    let told: Vec<_> = found
        .iter()
        .map(|next| {
            let until = next.silences.iter().map(|it| it.until.expect("each has an end"));
            let comment = next.silences.first().and_then(|it| it.comment.as_deref());
            (next.at, until.collect::<Vec<_>>(), comment)
        })
        .collect();
    let hidden = |until: &str| vec![at(until)];
    assert_eq!(
        told,
        [
            (at("2026-11-23T02:15:00Z"), vec![], None),
            (at("2026-11-24T02:15:00Z"), hidden("2026-11-24T03:00:00Z"), Some("moving")),
            (at("2026-11-25T02:15:00Z"), hidden("2026-11-26T00:00:00Z"), None),
            (at("2026-11-26T02:15:00Z"), vec![], None),
        ]
    );
}
