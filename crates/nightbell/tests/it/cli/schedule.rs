//! `nightbell schedule`.

use serde_json::{Value, json};

use crate::stand_in::{Nightbell, StandIn};

fn nightly() -> Value {
    json!({
        "name": "nightly", "cronExpression": "0 30 2 * * *", "zoneId": "Europe/Oslo",
        "startWorkflowRequest": { "name": "report" }, "paused": true,
    })
}

#[test]
fn list_shows_what_starts_what() {
    let server = StandIn::start().says("GET /api/scheduler/schedules", 200, json!([nightly()]));
    let outcome = server.run(&["schedule", "list", "--workflow", "report"]).exits(0);
    assert_eq!(
        outcome.lines(),
        [
            "NAME STATUS NEXT CRON WORKFLOW DESCRIPTION",
            "nightly PAUSED 0 30 2 * * * Europe/Oslo report",
        ]
    );
    assert_eq!(server.heard(), ["GET /api/scheduler/schedules?workflowName=report"]);
    let outcome = server.run(&["schedule", "list", "--json"]).exits(0);
    assert_eq!(outcome.json(), json!([nightly()]));
}

#[test]
fn create_and_update_mind_what_is_there() {
    let there = || {
        StandIn::start().says("GET /api/scheduler/schedules/nightly", 200, nightly()).says(
            "POST /api/scheduler/schedules",
            200,
            nightly(),
        )
    };
    let text = nightly().to_string();
    let outcome = there().run_with_input(&["schedule", "create", "-f", "-"], &text).exits(4);
    assert!(outcome.stderr.contains("schedule update"), "{outcome:?}");
    let server = there();
    let outcome = server.run_with_input(&["schedule", "update", "-f", "-"], &text).exits(0);
    assert!(outcome.stderr.contains("saved schedule nightly"), "{outcome:?}");
    assert_eq!(server.body(1), nightly());

    let missing = || StandIn::start().says("POST /api/scheduler/schedules", 200, nightly());
    let outcome = missing().run_with_input(&["schedule", "update", "-f", "-"], &text).exits(3);
    assert!(outcome.stderr.contains("schedule create"), "{outcome:?}");
    missing().run_with_input(&["schedule", "create", "-f", "-"], &text).exits(0);
}

#[test]
fn operations_name_the_schedule() {
    let server = StandIn::start()
        .says("GET /api/scheduler/schedules/a", 200, nightly())
        .says("DELETE /api/scheduler/schedules/a", 200, Value::Null)
        .says("PUT /api/scheduler/schedules/a/pause", 200, Value::Null)
        .says("PUT /api/scheduler/schedules/a/resume", 200, Value::Null)
        .says("POST /api/scheduler/schedules/a/trigger", 200, json!({ "workflowId": "run-1" }))
        .says("GET /api/scheduler/schedules/a/backfill", 200, json!({ "count": 2, "more": false }))
        .says("POST /api/scheduler/schedules/a/backfill", 200, Value::Null);
    server.run(&["schedule", "pause", "a", "--reason", "holiday"]).exits(0);
    server.run(&["schedule", "resume", "a"]).exits(0);
    let outcome = server.run(&["schedule", "trigger", "a"]).exits(0);
    assert_eq!(outcome.stdout, "run-1\n");
    let stretch = ["--from", "1970-01-01T00:00:01Z", "--to", "1970-01-01T00:00:02Z"];
    server.run(&[&["schedule", "backfill", "a"], &stretch[..]].concat()).exits(0);
    server.run(&["schedule", "delete", "a"]).exits(2);
    server.run(&["schedule", "delete", "a", "--yes"]).exits(0);
    server.run(&["schedule", "delete", "b", "--yes"]).exits(3);
    assert_eq!(
        server.heard(),
        [
            "PUT /api/scheduler/schedules/a/pause?reason=holiday",
            "PUT /api/scheduler/schedules/a/resume",
            "POST /api/scheduler/schedules/a/trigger?by=nightbell",
            "GET /api/scheduler/schedules/a/backfill?from=1000&to=2000",
            "POST /api/scheduler/schedules/a/backfill?from=1000&to=2000&by=nightbell",
            "GET /api/scheduler/schedules/a",
            "DELETE /api/scheduler/schedules/a",
            "GET /api/scheduler/schedules/b",
        ]
    );
}

#[test]
fn a_backfill_says_how_many_runs_and_asks_before_many() {
    let counted = json!({ "count": 305, "more": false, "first": 1000, "last": 2000, "leftOut": 2 });
    let server = StandIn::start()
        .says("GET /api/scheduler/schedules/a/backfill", 200, counted)
        .says("POST /api/scheduler/schedules/a/backfill", 200, Value::Null);
    let backfill = [
        "schedule",
        "backfill",
        "a",
        "--from",
        "1970-01-01T00:00:01Z",
        "--to",
        "1970-01-01T00:00:02Z",
    ];
    let dry = server.run(&[&backfill[..], &["--dry-run"]].concat()).exits(0);
    let told = "a would start 305 runs, 1970-01-01T00:00:01.000Z to 1970-01-01T00:00:02.000Z; 2 \
                left out, which have run (--redo)\n";
    assert_eq!(dry.stderr, told);
    let refused = server.run(&backfill).exits(2);
    assert!(refused.stderr.contains("refusing to start 305 runs of schedule a"), "{refused:?}");
    assert!(server.heard().iter().all(|it| it.starts_with("GET ")), "nothing was started");
    // Days and local times are those of a zone.
    let days = ["--from", "2026-01-01", "--to", "2026-01-02T00:30", "--dry-run"];
    for (zone, from, to) in
        [("UTC", "1767225600000", "1767313800000"), ("+01:00", "1767222000000", "1767310200000")]
    {
        server.run(&[&["schedule", "backfill", "a", "--tz", zone], &days[..]].concat()).exits(0);
        let wanted = format!("GET /api/scheduler/schedules/a/backfill?from={from}&to={to}");
        assert_eq!(server.heard().pop(), Some(wanted));
    }
    server.run(&["schedule", "backfill", "a", "--from", "soon", "--to", "later"]).exits(2);
    server.run(&[&backfill[..], &["--yes", "--at-once", "4"]].concat()).exits(0);
    let last = server.heard().pop();
    let wanted = "POST /api/scheduler/schedules/a/backfill?from=1000&to=2000&atOnce=4&by=nightbell";
    assert_eq!(last.as_deref(), Some(wanted));
    let how = ["--yes", "--order", "newest", "--redo", "failed"];
    server.run(&[&backfill[..], &how].concat()).exits(0);
    let heard = server.heard();
    assert_eq!(
        heard[heard.len() - 2..],
        [
            "GET /api/scheduler/schedules/a/backfill?from=1000&to=2000&redo=failed",
            "POST /api/scheduler/schedules/a/backfill?from=1000&to=2000&order=newest&redo=failed&by=nightbell",
        ]
    );
}

#[test]
fn a_backfill_is_ended() {
    let server =
        StandIn::start().says("DELETE /api/scheduler/schedules/a/backfill", 200, Value::Null);
    let ended = server.run(&["schedule", "backfill", "a", "--end"]).exits(0);
    assert_eq!(ended.stderr, "ended the backfill of schedule a\n");
    server.run(&["schedule", "backfill", "a"]).exits(2);
    server.run(&["schedule", "backfill", "a", "--end", "--dry-run"]).exits(2);
}

#[test]
fn history_tells_what_ran_and_what_not() {
    let page = json!({ "totalHits": 9, "results": [
        { "scheduledTime": 1_767_225_600_000_i64, "state": "EXECUTED", "cause": "due",
          "workflowId": "run-1" },
        { "scheduledTime": 1_767_225_540_000_i64, "state": "MISSED", "cause": "due",
          "reason": "nobody looked" },
    ] });
    let server = StandIn::start().says("GET /api/scheduler/search/executions", 200, page);
    let outcome = server.run(&["schedule", "history", "a", "--state", "missed"]).exits(0);
    assert_eq!(
        outcome.lines(),
        [
            "DUE STATE CAUSE RUN REASON",
            "2026-01-01T00:00:00.000Z EXECUTED due run-1",
            "2025-12-31T23:59:00.000Z MISSED due nobody looked",
        ]
    );
    assert!(outcome.stderr.contains("2 of 9"), "{outcome:?}");
    let heard = server.heard();
    assert!(heard[0].contains("scheduleName%3D%27a%27+AND+state%3D%27MISSED%27"), "{heard:?}");
}

#[test]
fn next_tells_the_coming_firings() {
    let planned = json!([{ "scheduledTime": 4_102_444_800_000_i64, "cronExpression": "@yearly",
        "zoneId": "UTC" }]);
    let server = StandIn::start().says("GET /api/scheduler/schedules/a/next", 200, planned);
    let outcome = server.run(&["schedule", "next", "a", "--json"]).exits(0);
    let expected = json!([{ "at": "2100-01-01T00:00:00.000Z", "cronExpression": "@yearly",
        "zoneId": "UTC" }]);
    assert_eq!(outcome.json(), expected);
}

#[test]
fn test_marks_what_changes_of_the_clock_do() {
    let test = |arguments: &[&str]| {
        let command = ["schedule", "test", "--cron", "0 30 2 * * *", "--tz", "Europe/Oslo"];
        Nightbell::new(&[&command[..], arguments].concat()).run().exits(0).lines()
    };
    assert_eq!(
        test(&["--from", "2026-03-28", "--to", "2026-03-31"]),
        [
            "TIME LOCAL CRON NOTE",
            "2026-03-28T01:30:00Z 2026-03-28T02:30:00+01:00 0 30 2 * * *",
            "2026-03-29T01:00:00Z 2026-03-29T03:00:00+02:00 0 30 2 * * * gap: 02:30:00 does not \
             exist, runs at the first instant after",
            "2026-03-30T00:30:00Z 2026-03-30T02:30:00+02:00 0 30 2 * * *",
        ]
    );
    let spring = test(&["--from", "2026-03-29", "--to", "2026-03-29T12:00", "--dst", "spring"]);
    let expected = "- 2026-03-29T02:30:00+01:00 0 30 2 * * * gap: does not exist, does not run";
    assert_eq!(spring[1..], [expected]);
    let spring = test(&["--from", "2026-10-25", "--to", "2026-10-25T12:00:00Z", "--dst", "spring"]);
    assert!(spring[1].ends_with("overlap: comes twice, runs now and again"), "{spring:?}");
    assert!(spring[2].ends_with("overlap: comes twice, runs again"), "{spring:?}");
    let once = test(&["--from", "2026-10-25", "--to", "2026-10-25T12:00"]);
    assert_eq!(once.len(), 2);
    assert!(once[1].ends_with("overlap: comes twice, runs the first time"), "{once:?}");
    assert_eq!(test(&["--from", "2026-01-01"]).len(), 11, "ten firings by default");
}

#[test]
fn test_takes_a_stored_schedule_or_a_file() {
    let mut bounded = nightly();
    bounded["scheduleEndTime"] = json!("2026-02-02T00:00:00Z");
    let server =
        StandIn::start().says("GET /api/scheduler/schedules/nightly", 200, bounded.clone());
    let arguments = ["--from", "2026-02-01", "--to", "2026-03-01"];
    let stored = server.run(&[&["schedule", "test", "nightly"], &arguments[..]].concat()).exits(0);
    assert_eq!(stored.lines().len(), 2, "its end holds");
    let file = Nightbell::new(&[&["schedule", "test", "-f", "s.json"], &arguments[..]].concat())
        .file("s.json", &bounded.to_string())
        .run()
        .exits(0);
    assert_eq!(file.lines(), stored.lines());

    for (arguments, says) in [
        (&["--cron", "* * * * *"][..], "6 fields"),
        (&["--cron", "@daily", "--tz", "Mars"], "time zone"),
        (&["--cron", "@daily", "--dst", "never"], "once or spring"),
        (&["--cron", "@daily", "--from", "soon"], "--from"),
        (&["--cron", "@daily", "--from", "2026-02-01", "--to", "2026-01-01"], "before"),
    ] {
        let outcome = Nightbell::new(&[&["schedule", "test"], arguments].concat()).run().exits(2);
        assert!(outcome.stderr.contains(says), "{outcome:?}");
    }
    let outcome = Nightbell::new(&["schedule", "test", "-f", "s.json"])
        .file("s.json", "{\"name\": \"x\", \"cronExpression\": \"nonsense\"}")
        .run()
        .exits(1);
    assert!(outcome.stderr.contains("/startWorkflowRequest"), "{outcome:?}");
}

/// Three schedules: daily at 02:00, daily at 02:03, and one that fires every minute.
fn three() -> String {
    let schedule = |name: &str, cron: &str, workflow: &str| {
        json!({ "name": name, "cronExpression": cron, "zoneId": "Europe/Oslo",
            "startWorkflowRequest": { "name": workflow } })
    };
    json!([
        schedule("load", "0 0 2 * * *", "load"),
        schedule("report, nightly", "0 3 2 * * *", "report"),
        schedule("ping", "0 * * * * *", "ping"),
    ])
    .to_string()
}

#[test]
fn a_calendar_shows_the_firings_of_files() {
    let calendar = |more: &[&str]| {
        let arguments = ["schedule", "calendar", "-f", ".", "--from", "2027-03-27", "--to"];
        let arguments =
            [&arguments[..], &["2027-03-28T12:00", "--tz", "Europe/Oslo"], more].concat();
        Nightbell::new(&arguments).file("schedules.json", &three()).run().exits(0)
    };
    let outcome = calendar(&[]);
    // The clock goes from 02:00 to 03:00 on the second day.
    assert_eq!(
        outcome.lines(),
        [
            "TIME SCHEDULE WORKFLOW NOTE",
            "2027-03-27T02:00:00+01:00 load load",
            "2027-03-27T02:03:00+01:00 report, nightly report",
            "2027-03-28T03:00:00+02:00 load load gap: 02:00:00 does not exist, runs at the first \
             instant after",
            "2027-03-28T03:00:00+02:00 report, nightly report gap: 02:03:00 does not exist, runs at \
             the first instant after",
        ]
    );
    assert!(outcome.stderr.contains("ping fires 2101 times"), "{}", outcome.stderr);
    assert_eq!(calendar(&["--json"]).json().as_array().map_or(0, Vec::len), 4);
    assert!(calendar(&["--all"]).lines().len() > 2_000);
    let ics = calendar(&["-o", "ics"]).stdout;
    assert!(ics.starts_with("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n"), "{ics}");
    assert!(
        ics.contains("DTSTART:20270327T010300Z\r\nSUMMARY:report\\, nightly starts report\r\n")
    );
    assert_eq!(ics.matches("BEGIN:VEVENT").count(), 4);
    assert!(ics.lines().all(|line| line.len() <= 75), "{ics}");
    Nightbell::new(&["schedule", "list", "-o", "ics"]).run().exits(2);
}

#[test]
fn collisions_are_counted_within_a_distance() {
    let collisions = |more: &[&str]| {
        let arguments =
            [&["schedule", "collisions", "-f", ".", "--days", "10", "--json"][..], more];
        Nightbell::new(&arguments.concat()).file("schedules.json", &three()).run().exits(0)
    };
    let between = |outcome: &Value| -> Vec<(String, u64)> {
        let pairs = outcome.as_array().expect("a list").iter().map(|pair| {
            let names = format!("{} {}", pair["schedules"][0], pair["schedules"][1]);
            (names.replace('"', ""), pair["count"].as_u64().unwrap_or_default())
        });
        pairs.collect()
    };
    let near = between(&collisions(&["--within", "5m"]).json());
    let daily = near.iter().find(|(names, _)| names == "load report, nightly").expect("they meet");
    assert!((9..=11).contains(&daily.1), "{near:?}");
    let nearer = between(&collisions(&["--within", "1m"]).json());
    assert!(nearer.iter().all(|(names, _)| names != "load report, nightly"), "{nearer:?}");
    assert_eq!(collisions(&["--same-workflow"]).json(), json!([]));
}

#[test]
fn a_run_collides_until_its_usual_duration_is_over() {
    let schedules: Value = serde_json::from_str(&three()).expect("it is JSON");
    let runs = json!({ "results": [{ "executionTime": 240_000 }, { "executionTime": 230_000 },
        { "executionTime": 900_000 }] });
    let server = StandIn::start().says("GET /api/scheduler/schedules", 200, schedules).says(
        "GET /api/workflow/search",
        200,
        runs,
    );
    let arguments = ["schedule", "collisions", "--within", "1m", "--days", "3", "--json"];
    let pairs = server.run(&arguments).exits(0).json();
    let pair = pairs.as_array().expect("a list").iter();
    let pair =
        pair.filter(|it| it["schedules"][0] == "load").find(|it| it["schedules"][1] != "ping");
    let pair = pair.expect("the load is under way when the report begins");
    assert_eq!(pair["usualMillis"], json!([240_000, 240_000]));
}
