//! Tests of schedules: when they fire, and what becomes of firings while the server is away or the
//! run before has not ended.

use engine::search::{PAGE_MAX, RecordSearch};
use engine::{Change, Engine};
use kernel::definition::{WorkflowDef, workflow_from_value};
use kernel::schedule::ScheduleSpec;
use kernel::{Record, Timestamp};
use serde_json::{Value, json};

use super::cast::pause;
use super::file::ScheduleTest;
use super::stage::Stage;
use super::{Folder, TestResult};

/// Runs a test.
pub(super) fn run(folder: &Folder, test: &ScheduleTest) -> TestResult {
    let mut told = TestResult::default();
    let firings = match play(folder, test) {
        Ok(firings) => firings,
        Err(why) => {
            told.problems.push(why);
            return told;
        }
    };
    told.trace = firings.iter().map(line).collect();
    judge(&firings, test, &mut told.problems);
    told
}

fn play(folder: &Folder, test: &ScheduleTest) -> Result<Vec<Record>, String> {
    let spec = folder.definitions.schedules.iter().find(|it| *it.name == *test.schedule);
    let spec = spec.ok_or_else(|| format!("there is no schedule {:?}", test.schedule))?;
    // The question is when it fires; that it is paused is a matter of operation.
    let spec = &ScheduleSpec { paused: None, paused_reason: None, ..spec.clone() };
    // What is due at the beginning is planned before it.
    let before = test.from.plus_millis(-1);
    let (stage, _noted) = Stage::new(before, &folder.scripts);
    let mut down: Vec<(Timestamp, i64)> = test.down.clone();
    down.retain(|(from, _)| *from < test.to);
    let mut is_first = true;
    for (from, length) in down {
        stage.perform(Vec::new(), async |engine| {
            live(&engine, is_first, spec, test, from.plus_millis(-1)).await
        })??;
        is_first = false;
        stage.clock.end(length);
    }
    stage.perform(Vec::new(), async |engine| {
        live(&engine, is_first, spec, test, test.to.plus_millis(-1)).await?;
        firings(&engine, &test.schedule).await
    })?
}

/// One life of the server.
async fn live(
    engine: &Engine,
    is_first: bool,
    spec: &ScheduleSpec,
    test: &ScheduleTest,
    until: Timestamp,
) -> Result<(), String> {
    if is_first {
        let workflows = vec![stand_in(spec, test.takes)?];
        let change = Change { workflows, schedules: vec![spec.clone()], ..Change::default() };
        engine.change(change).await.map_err(|error| error.to_string())?;
    }
    pause(until.since(engine.now())).await;
    Ok(())
}

/// What stands for the workflow that is started: it takes as long as the test says.
fn stand_in(spec: &ScheduleSpec, takes: i64) -> Result<WorkflowDef, String> {
    let request = spec.start_workflow_request.parse();
    let task = if takes > 0 {
        let duration = format!("{} seconds", takes.div_euclid(1000).max(1));
        json!({
            "name": "takes", "taskReferenceName": "takes", "type": "WAIT",
            "inputParameters": { "duration": duration },
        })
    } else {
        json!({
            "name": "done", "taskReferenceName": "done", "type": "SET_VARIABLE",
            "inputParameters": { "done": true },
        })
    };
    let definition = json!({
        "name": request["name"], "version": request["version"].as_u64().unwrap_or(1),
        "ownerEmail": "test", "tasks": [task],
    });
    workflow_from_value(&definition).map_err(|problems| format!("{problems:?}"))
}

async fn firings(engine: &Engine, schedule: &str) -> Result<Vec<Record>, String> {
    let mut firings: Vec<Record> = Vec::new();
    loop {
        let search = RecordSearch {
            subjects: vec![schedule.to_owned()],
            start: firings.len() as u64,
            size: PAGE_MAX,
            descending: false,
            ..RecordSearch::newest("firing")
        };
        let page = engine.store().records(&search).await.map_err(|error| error.to_string())?;
        let last = page.rows.len() < PAGE_MAX as usize;
        firings.extend(page.rows);
        if last {
            return Ok(firings);
        }
    }
}

fn line(record: &Record) -> String {
    let body = record.body.parse();
    let reason = body["reason"].as_str().map(|it| format!(" ({it})")).unwrap_or_default();
    let times = match count(record) {
        1 => String::new(),
        count => format!(" {count} times"),
    };
    format!("{} {}{times}{reason}", record.at, record.status)
}

/// How many firings a line is about.
fn count(record: &Record) -> u64 {
    record.body.parse()["count"].as_u64().unwrap_or(1)
}

fn judge(firings: &[Record], test: &ScheduleTest, problems: &mut Vec<String>) {
    let of = |status: &str| -> u64 {
        firings.iter().filter(|it| &*it.status == status).map(count).sum()
    };
    if let Some(expected) = &test.expect.fires {
        let fired = |it: &&Record| !matches!(&*it.status, "MISSED" | "SKIPPED");
        let mut actual: Vec<Timestamp> = firings.iter().filter(fired).map(planned).collect();
        let mut expected = expected.clone();
        actual.sort();
        expected.sort();
        if actual != expected {
            let lines = |all: &[Timestamp]| {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                if all.is_empty() { "never".to_owned() } else { all.join(", ") }
            };
            let (expected, actual) = (lines(&expected), lines(&actual));
            problems.push(format!("fires: expected {expected}\n  got {actual}"));
        }
    }
    for (name, expected, actual) in [
        ("missed", test.expect.missed, of("MISSED")),
        ("skipped", test.expect.skipped, of("SKIPPED")),
    ] {
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            let lines: Vec<String> = firings.iter().map(line).collect();
            problems.push(format!(
                "{name}: expected {expected}, got {actual}\n  {}",
                lines.join("\n  ")
            ));
        }
    }
}

/// The instant for which a firing was planned.
fn planned(record: &Record) -> Timestamp {
    let body: Value = record.body.parse();
    body["plannedAt"].as_i64().map_or(record.at, Timestamp::from_millis)
}
