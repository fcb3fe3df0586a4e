//! `nightbell monitor`, as far as it needs no server or little of one.

use serde_json::json;

use crate::stand_in::{Nightbell, StandIn};

const FILE: &str = "\
monitors:
  etl: { http: 'http://etl', at: '02:15', tz: Europe/Oslo }
  beat: { heartbeat: { every: 1h } }
maintenance:
  - { name: move, match: { monitor: etl }, hours: 'Sun 02:00-04:00', tz: Europe/Oslo }
";

#[test]
fn the_next_checks_of_a_file_are_told_without_a_server() {
    let next = |name: &str, more: &[&str]| {
        let arguments =
            ["monitor", "next", name, "-f", "monitors.yaml", "--after", "2027-03-26T12:00"];
        Nightbell::new(&[&arguments[..], more].concat()).file("monitors.yaml", FILE).run()
    };
    let zone = ["--limit", "3", "--tz", "Europe/Oslo"];
    let lines = next("etl", &zone).exits(0).stdout;
    let times: Vec<&str> = lines.lines().filter_map(|it| it.split_whitespace().next()).collect();
    // On the second day there is no 02:15.
    let expected = [
        "TIME",
        "2027-03-27T02:15:00+01:00",
        "2027-03-28T03:00:00+02:00",
        "2027-03-29T02:15:00+02:00",
    ];
    assert_eq!(times, expected);
    let told = next("etl", &["--json", "--limit", "2"]).exits(0).json();
    assert_eq!(told[0]["silences"], json!([]));
    assert_eq!(told[1]["silences"][0]["until"], "2027-03-28T02:00:00.000Z");
    let waits = next("beat", &[]).exits(4).stderr;
    assert!(waits.contains("beat waits to be called"), "{waits}");
    next("none", &[]).exits(3);
    next("etl", &["--limit", "0"]).exits(2);
}

#[test]
fn the_next_checks_are_asked_of_the_server() {
    let next = json!([
        { "at": 1_767_225_600_000_i64, "silences": [] },
        { "at": 1_767_312_000_000_i64, "silences": [
            { "id": "s-1", "until": 1_767_315_600_000_i64, "comment": "moving" }] },
    ]);
    let server = StandIn::start().says("GET /api/monitors/etl/next", 200, next);
    let shown = server.run(&["monitor", "next", "etl"]).exits(0);
    let told = &shown.lines()[2];
    assert!(told.starts_with("2026-01-02T00:00:00+00:00"), "{told}");
    assert!(told.ends_with("s-1 until 2026-01-02T01:00:00.000Z: moving"), "{told}");
    server.run(&["monitor", "next", "etl", "--after", "2026-01-01", "--limit", "2"]).exits(0);
    assert_eq!(
        server.heard(),
        [
            "GET /api/monitors/etl/next?limit=5",
            "GET /api/monitors/etl/next?limit=2&after=1767225600000"
        ]
    );
    server.run(&["monitor", "next", "other"]).exits(3);
}
