//! Documents: what is read, and what is refused, all at once.

use kernel::schedule::{CatchUp, Overlap, parse_schedule, parse_schedules};
use serde_json::json;

#[test]
fn the_protocols_document_is_read() {
    let text = r#"{"name": "n", "cronExpression": "@daily", "description": "",
        "startWorkflowRequest": {"name": "w", "ours": 1.50}, "runCatchupScheduleInstances": true,
        "paused": false, "scheduleStartTime": 0, "scheduleEndTime": "1800000000000",
        "tags": [{"key": "a", "value": "1"}], "nextRunTime": 5, "unknown": {}}"#;
    let spec = parse_schedule(text).unwrap();
    assert_eq!(
        (spec.catch_up, spec.overlap, &*spec.zone_id),
        (CatchUp::All, Overlap::AllowAll, "UTC")
    );
    assert_eq!((spec.schedule_start_time, spec.paused), (None, Some(false)));
    assert_eq!(spec.schedule_end_time.unwrap().millis(), 1_800_000_000_000);
    assert_eq!(
        spec.start_workflow_request.text(),
        r#"{"name":"w","ours":1.50}"#.replace("1.50", "1.5")
    );
    assert_eq!(spec.lines()[0].cron_expression.as_ref(), "@daily");
    let again = serde_json::to_string(&spec).unwrap();
    assert_eq!(parse_schedule(&again).unwrap(), spec, "it reads what it writes");
}

#[test]
fn everything_that_is_wrong_is_told() {
    let document = json!({
        "name": "a/b",
        "cronExpression": "0 0 25 * * *",
        "zoneId": "Europe/Olso",
        "cronSchedules": [{ "cronExpression": "0 0 0 31 2 *" }, { "zoneId": 5 }, "x"],
        "startWorkflowRequest": { "version": -1, "priority": 100, "input": [],
            "taskToDomain": { "a": 1 }, "workflowDef": { "tasks": 5 } },
        "catchUp": "some", "overlap": "maybe", "dst": "never", "paused": "perhaps",
        "scheduleStartTime": 2000, "scheduleEndTime": 1000, "tags": [{ "key": 1 }],
    });
    let problems = parse_schedule(&document.to_string()).unwrap_err();
    assert!(problems.iter().all(|problem| !problem.hint.is_empty()));
    let mut found: Vec<(&str, &str)> =
        problems.iter().map(|problem| (problem.pointer.as_str(), problem.code)).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("/catchUp", "wrong-type"),
            ("/cronExpression", "cron-malformed"),
            ("/cronSchedules/0/cronExpression", "cron-never-fires"),
            ("/cronSchedules/1/cronExpression", "cron-missing"),
            ("/cronSchedules/1/zoneId", "wrong-type"),
            ("/cronSchedules/2", "wrong-type"),
            ("/dst", "wrong-type"),
            ("/name", "name-not-allowed"),
            ("/overlap", "wrong-type"),
            ("/paused", "wrong-type"),
            ("/scheduleEndTime", "value-out-of-range"),
            ("/startWorkflowRequest/input", "wrong-type"),
            ("/startWorkflowRequest/name", "name-missing"),
            ("/startWorkflowRequest/priority", "wrong-type"),
            ("/startWorkflowRequest/taskToDomain/a", "wrong-type"),
            ("/startWorkflowRequest/version", "wrong-type"),
            ("/startWorkflowRequest/workflowDef/tasks", "wrong-type"),
            ("/tags/0", "wrong-type"),
            ("/zoneId", "zone-unknown"),
        ]
    );
}

#[test]
fn a_list_is_read_whole_or_refused_whole() {
    let good = json!({ "name": "n", "cronExpression": "@daily",
        "startWorkflowRequest": { "name": "w" } });
    assert_eq!(parse_schedules(&json!([good, good]).to_string()).unwrap().len(), 2);
    assert_eq!(parse_schedules(&good.to_string()).unwrap().len(), 1);
    let problems = parse_schedules(&json!([good, {}]).to_string()).unwrap_err();
    let places: Vec<&str> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
    assert_eq!(places, ["/1/name", "/1/cronExpression", "/1/startWorkflowRequest"]);
    assert!(parse_schedule("{").unwrap_err()[0].message.contains("line 1, column 1"));
    assert!(parse_schedule("5").is_err());
}
