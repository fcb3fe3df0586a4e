//! The schema of schedules for editors.

use serde_json::{Value, json};

use super::spec::{CatchUp, Overlap};
use crate::cron::DstRule;
use crate::definition::IdempotencyStrategy;
use crate::editor::{document, list, nullable_record as record, one_or_list, reference, word};

/// Of a file of schedules: one, or a list.
pub fn schedules() -> Value {
    let definitions = vec![("schedule", schedule()), ("start", start())];
    document("Nightbell: schedules", one_or_list(&reference("schedule")), definitions)
}

fn schedule() -> Value {
    let text = json!({ "type": ["string", "null"] });
    let time = json!({ "type": ["integer", "string", "null"] });
    let line =
        record([("cronExpression", text.clone()), ("zoneId", text.clone())], &["cronExpression"]);
    let expect =
        ["startWithin", "doneBy", "slowerThan", "atLeast"].map(|name| (name, text.clone()));
    let tag = record([("key", text.clone()), ("value", text.clone())], &["key", "value"]);
    let keys = [
        ("name", json!({ "type": "string", "minLength": 1 })),
        ("description", text.clone()),
        ("cronExpression", text.clone()),
        ("zoneId", text.clone()),
        ("cronSchedules", list(&line)),
        ("startWorkflowRequest", reference("start")),
        ("catchUp", word(CatchUp::NAMES)),
        ("runCatchupScheduleInstances", json!({ "type": ["boolean", "null"] })),
        ("overlap", word(Overlap::NAMES)),
        ("dst", word(DstRule::NAMES)),
        ("scheduleStartTime", time.clone()),
        ("scheduleEndTime", time.clone()),
        ("paused", json!({ "type": ["boolean", "null"] })),
        ("pausedReason", text.clone()),
        ("expect", record(expect, &[])),
        ("tags", list(&tag)),
        ("createdBy", text.clone()),
        ("updatedBy", text),
        // What Conductor's exports have besides, and nothing depends on.
        ("createTime", time.clone()),
        ("updatedTime", time),
    ];
    record(keys, &["name", "startWorkflowRequest"])
}

fn start() -> Value {
    let text = json!({ "type": ["string", "null"] });
    let object = json!({ "type": ["object", "null"] });
    let keys = [
        ("name", json!({ "type": "string", "minLength": 1 })),
        ("version", json!({ "type": ["integer", "null"], "minimum": 0 })),
        ("correlationId", text.clone()),
        ("input", object.clone()),
        ("taskToDomain", object.clone()),
        ("workflowDef", object),
        ("priority", json!({ "type": ["integer", "null"], "minimum": 0, "maximum": 99 })),
        ("createdBy", text.clone()),
        ("idempotencyKey", text.clone()),
        ("idempotencyStrategy", word(IdempotencyStrategy::NAMES)),
        ("externalInputPayloadStoragePath", text),
    ];
    record(keys, &["name"])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::super::read::schedule_from_value;
    use super::schedules;

    /// A schedule with every member.
    fn whole() -> Value {
        json!({
            "name": "nightly", "description": "d", "zoneId": "Europe/Oslo",
            "cronExpression": "0 30 2 * * *",
            "cronSchedules": [{ "cronExpression": "0 30 2 * * *", "zoneId": "UTC" }],
            "startWorkflowRequest": { "name": "report" }, "catchUp": "all", "overlap": "skip",
            "dst": "once", "scheduleStartTime": 1, "scheduleEndTime": 2, "paused": true,
            "pausedReason": "r",
            "expect": { "startWithin": "5m", "doneBy": "06:00", "slowerThan": "3x", "atLeast": "5m" },
            "tags": [{ "key": "k", "value": "v" }], "createdBy": "ann", "updatedBy": "ann",
        })
    }

    #[test]
    fn the_schema_has_what_schedules_keep_and_what_their_reader_judges() {
        let spec = schedule_from_value(&whole()).expect("it is valid");
        let schema = schedules();
        let schedule = &schema["definitions"]["schedule"]["properties"];
        let kept = serde_json::to_value(&spec).expect("it is JSON");
        let names: Arc<[&String]> = kept.as_object().expect("an object").keys().collect();
        assert_eq!(names.len(), 17, "the schedule above lacks a member: {names:?}");
        for name in &*names {
            assert!(schedule.get(name.as_str()).is_some(), "the schema lacks {name}");
        }
        // A list is none of the types that any of them may have, so the reader names each it knows.
        let known = schedule.as_object().expect("an object").keys();
        let unread = ["runCatchupScheduleInstances", "createTime", "updatedTime"];
        for name in known.clone().filter(|it| schedule[it.as_str()] != schedule["name"]) {
            if name == "startWorkflowRequest" {
                continue;
            }
            let mut less = whole();
            less[name] = Value::Null;
            assert!(schedule_from_value(&less).is_ok(), "{name} may be null by the schema");
        }
        for name in known.filter(|it| !unread.contains(&it.as_str())) {
            let mut wrong = whole();
            wrong[name] = json!(7.5);
            let problems = schedule_from_value(&wrong).expect_err(name);
            assert!(problems.iter().any(|it| it.pointer == format!("/{name}")), "{problems:?}");
        }
    }
}
