//! What there is to say of a run, of a workflow or of code.

use serde_json::Value;

use super::{Line, Report, at, said, text};
use crate::clock::length;
use crate::value::cut;

/// Lines of a timeline; a run may have a hundred thousand tasks.
const LINES_MAX: usize = 5000;
/// Failed tasks whose input and output are in the document.
const FAILED_MAX: usize = 20;
/// Characters of one payload.
const PAYLOAD_MAX: usize = 200_000;

impl Report {
    /// Of a run with its tasks and of what it waits for, as the API answers them.
    pub fn of_run(run: &Value, why: &Value) -> Self {
        let tasks = run["tasks"].as_array().map_or(&[][..], Vec::as_slice);
        let mut lines: Vec<Line> = tasks.iter().flat_map(of_task).collect();
        lines.sort_by_key(|line| line.at);
        if let Some(left_out) = lines.len().checked_sub(LINES_MAX).filter(|many| *many > 0) {
            lines.truncate(LINES_MAX);
            let at = lines.last().map_or(0, |line| line.at);
            lines.push(Line { at, kind: "", text: format!("{left_out} more are left out") });
        }
        let started = tasks.iter().filter_map(|task| at(&task["startTime"])).min();
        let version = text(&run["workflowVersion"]);
        let facts = vec![
            ("workflow", text(&run["workflowName"])),
            ("version", version.clone()),
            ("status", text(&run["status"])),
            ("reason", text(&run["reasonForIncompletion"])),
            ("correlation id", text(&run["correlationId"])),
            ("parent", text(&run["parentWorkflowId"])),
            ("started by", text(&run["createdBy"])),
            ("tasks", tasks.len().to_string()),
        ];
        let waiting = why["waiting"].as_array().into_iter().flatten();
        let waiting =
            waiting.map(|it| format!("{}: {}", text(&it["reference"]), text(&it["reason"])));
        let mut payloads = vec![payload("Input", &run["input"]), payload("Output", &run["output"])];
        let failed = tasks.iter().filter(|task| is_bad(&text(&task["status"])));
        for task in failed.take(FAILED_MAX) {
            let name = named(task);
            payloads.push(payload(&format!("{name}: input"), &task["inputData"]));
            payloads.push(payload(&format!("{name}: output"), &task["outputData"]));
        }
        Self {
            kind: "Run",
            id: text(&run["workflowId"]),
            title: format!("{} {version}", text(&run["workflowName"])).trim_end().to_owned(),
            facts: said(facts),
            instants: vec![
                ("created", at(&run["createTime"]).or_else(|| at(&run["startTime"]))),
                ("first task begun", started),
                ("over", at(&run["endTime"])),
            ],
            said: ("waitsFor", "What it waits for", waiting.collect()),
            lines,
            payloads: payloads.into_iter().flatten().collect(),
            headings: &[],
        }
    }

    /// Of a run that is code, with its history, as the API of Durable Functions answers it.
    pub fn of_code(id: &str, status: &Value) -> Self {
        let events = status["historyEvents"].as_array().into_iter().flatten();
        let line = |event: &Value| {
            let name =
                [&event["FunctionName"], &event["Name"]].into_iter().find(|it| it.is_string());
            let name = name.map_or_else(String::new, |name| format!(" {}", text(name)));
            let reason = match &text(&event["Reason"])[..] {
                "" => String::new(),
                reason => format!(": {}", cut(reason, 2000)),
            };
            let text = format!("{}{name}{reason}", text(&event["EventType"]));
            Some(Line { at: at(&event["Timestamp"])?, kind: "event", text })
        };
        let over = matches!(
            status["runtimeStatus"].as_str(),
            Some("Completed" | "Failed" | "Terminated" | "Canceled")
        );
        let ended = at(&status["lastUpdatedTime"]).filter(|_| over);
        let facts = vec![
            ("orchestrator", text(&status["name"])),
            ("status", text(&status["runtimeStatus"])),
            ("custom status", text(&status["customStatus"])),
        ];
        let payloads = [payload("Input", &status["input"]), payload("Output", &status["output"])];
        Self {
            kind: "Run",
            id: id.to_owned(),
            title: text(&status["name"]),
            facts: said(facts),
            instants: vec![("created", at(&status["createdTime"])), ("over", ended)],
            said: ("waitsFor", "What it waits for", Vec::new()),
            lines: events.filter_map(line).take(LINES_MAX).collect(),
            payloads: payloads.into_iter().flatten().collect(),
            headings: &[],
        }
    }
}

/// What happened to a task of a run: when it was scheduled, and how it ended.
fn of_task(task: &Value) -> Vec<Line> {
    let name = named(task);
    let status = text(&task["status"]);
    let ended = at(&task["endTime"]);
    let begun = at(&task["startTime"]).or_else(|| at(&task["scheduledTime"]));
    let mut lines = Vec::new();
    if let Some(at) = at(&task["scheduledTime"]).or(begun) {
        let kind = text(&task["taskType"]);
        lines.push(Line { at, kind: "scheduled", text: format!("{name} ({kind})") });
    }
    if let Some(at) = ended {
        let took = begun.map_or_else(String::new, |begun| {
            format!(" after {}", length(at.saturating_sub(begun)))
        });
        let reason = match &text(&task["reasonForIncompletion"])[..] {
            "" => String::new(),
            reason => format!(": {}", cut(reason, 2000)),
        };
        lines.push(Line { at, kind: "ended", text: format!("{name}: {status}{took}{reason}") });
    }
    lines
}

/// A task by its reference name and its attempt.
fn named(task: &Value) -> String {
    let name = text(&task["referenceTaskName"]);
    match task["retryCount"].as_u64() {
        None | Some(0) => name,
        Some(retries) => format!("{name}, attempt {}", retries + 1),
    }
}

/// Whether a task of this status has ended badly.
fn is_bad(status: &str) -> bool {
    matches!(status, "FAILED" | "FAILED_WITH_TERMINAL_ERROR" | "TIMED_OUT")
}

/// A payload under a heading; `None` if there is nothing in it.
fn payload(heading: &str, value: &Value) -> Option<(String, String)> {
    let is_empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
    let shown = serde_json::to_string_pretty(value).unwrap_or_default();
    (!is_empty).then(|| (heading.to_owned(), cut(&shown, PAYLOAD_MAX)))
}
