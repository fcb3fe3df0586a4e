//! `nightbell run show --as-test`: a test file out of a run, with its answers as mocks.

use serde_json::{Map, Value};

/// Types whose tasks nobody outside answers.
const OWN: [&str; 15] = [
    "INLINE",
    "LAMBDA",
    "JSON_JQ_TRANSFORM",
    "SWITCH",
    "DECISION",
    "FORK",
    "FORK_JOIN",
    "FORK_JOIN_DYNAMIC",
    "JOIN",
    "EXCLUSIVE_JOIN",
    "DO_WHILE",
    "SET_VARIABLE",
    "TERMINATE",
    "NOOP",
    "DYNAMIC",
];
/// Types whose tasks end by a signal.
const SIGNALLED: [&str; 4] = ["HUMAN", "WAIT", "WAIT_FOR_WEBHOOK", "YIELD"];

/// The test file of a run with its tasks.
pub(super) fn text(run: &Value) -> String {
    let name = plain(&run["workflowName"], &run["workflowType"]);
    let id = plain(&run["workflowId"], &Value::Null);
    let status = plain(&run["status"], &Value::Null);
    let started = millis(run, "createTime").or_else(|| millis(run, "startTime"));
    let start = started.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    let mut text = String::new();
    let mut line = |written: String| {
        text.push_str(&written);
        text.push('\n');
    };
    if let Some(start) = start {
        line(format!("start: {}", start.strftime("%Y-%m-%dT%H:%M:%SZ")));
    }
    line("tests:".to_owned());
    line(format!("- name: {}", Value::from(format!("as run {id} went"))));
    line(format!("  workflow: {}", Value::from(name)));
    line(format!("  input: {}", run["input"]));
    let tasks: Vec<&Value> = run["tasks"].as_array().into_iter().flatten().collect();
    let mut mocks: Vec<(String, Vec<String>)> = Vec::new();
    for task in &tasks {
        let Some(answer) = answer(task) else { continue };
        let reference = bare(task);
        match mocks.iter_mut().find(|(name, _)| *name == reference) {
            Some((_, answers)) => answers.push(answer),
            None => mocks.push((reference, vec![answer])),
        }
    }
    if !mocks.is_empty() {
        line("  mocks:".to_owned());
    }
    for (name, answers) in mocks {
        match &answers[..] {
            [answer] => line(format!("    {}: {answer}", Value::from(name))),
            answers => {
                line(format!("    {}:", Value::from(name)));
                for answer in answers {
                    line(format!("    - {answer}"));
                }
            }
        }
    }
    line("  expect:".to_owned());
    if ["COMPLETED", "FAILED", "TERMINATED", "TIMED_OUT"].contains(&&*status) {
        line(format!("    status: {status}"));
    }
    let path = tasks.iter().map(|task| Value::from(text_of(&task["referenceTaskName"])));
    line(format!("    path: {}", Value::Array(path.collect())));
    line(format!("    output: {}", run["output"]));
    text
}

/// The answer of a task as a mock; `None` if nobody outside gave it, or it has none yet.
fn answer(task: &Value) -> Option<String> {
    let (kind, status) = (text_of(&task["taskType"]), text_of(&task["status"]));
    if OWN.contains(&&*kind) || kind.is_empty() {
        return None;
    }
    let signalled = SIGNALLED.contains(&&*kind);
    if kind == "WAIT"
        && (task["inputData"].get("duration").is_some() || task["inputData"].get("until").is_some())
    {
        return None;
    }
    let took =
        millis(task, "endTime").zip(millis(task, "startTime")).map(|(end, start)| end - start);
    let took = took.filter(|took| *took > 0);
    let mut mock = Map::new();
    let output = task["outputData"].clone();
    let output = if output.is_object() { output } else { Value::Object(Map::new()) };
    let reason = text_of(&task["reasonForIncompletion"]);
    match &*status {
        "COMPLETED" | "COMPLETED_WITH_ERRORS" | "SKIPPED" => {
            mock.insert(if signalled { "signal" } else { "output" }.to_owned(), output);
        }
        "FAILED" => drop(mock.insert("fail".to_owned(), reason.into())),
        "FAILED_WITH_TERMINAL_ERROR" => {
            mock.insert("fail".to_owned(), format!("terminal: {reason}").into());
        }
        _ => return None,
    }
    if let Some(took) = took {
        mock.insert(
            if signalled { "after" } else { "takes" }.to_owned(),
            format!("{took}ms").into(),
        );
    }
    Some(Value::Object(mock).to_string())
}

/// The reference name of a task without the number of its iteration.
fn bare(task: &Value) -> String {
    let name = text_of(&task["referenceTaskName"]);
    let number = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
    match name.rsplit_once("__").filter(|(_, it)| number(it)) {
        Some((name, _)) => name.to_owned(),
        None => name,
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn plain(one: &Value, other: &Value) -> String {
    one.as_str().or(other.as_str()).unwrap_or_default().to_owned()
}

/// A time in milliseconds, as the server writes it; 0 is none.
fn millis(value: &Value, name: &str) -> Option<i64> {
    let value = &value[name];
    let parsed =
        || value.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
    value.as_i64().or_else(parsed).filter(|at| *at > 0)
}

#[cfg(test)]
mod tests {
    use super::text;
    use serde_json::json;

    #[test]
    fn a_run_becomes_a_test_with_its_answers() {
        let run = json!({
            "workflowName": "orders", "workflowId": "w1", "status": "COMPLETED", "input": { "c": 1 },
            "output": { "who": "noc" }, "createTime": 1_806_102_000_000_i64,
            "tasks": [
                { "referenceTaskName": "ring", "taskType": "ring", "status": "FAILED",
                  "reasonForIncompletion": "refused", "startTime": 1000, "endTime": 1200 },
                { "referenceTaskName": "ring", "taskType": "ring", "status": "COMPLETED",
                  "outputData": { "who": "noc" } },
                { "referenceTaskName": "count", "taskType": "INLINE", "status": "COMPLETED" },
                { "referenceTaskName": "approve", "taskType": "HUMAN", "status": "COMPLETED",
                  "outputData": { "ok": true }, "startTime": 1000, "endTime": 61_000 },
            ],
        });
        let text = text(&run);
        let expected = "start: 2027-03-26T23:00:00Z\ntests:\n- name: \"as run w1 went\"\n  \
            workflow: \"orders\"\n  input: {\"c\":1}\n  mocks:\n    \"ring\":\n    \
            - {\"fail\":\"refused\",\"takes\":\"200ms\"}\n    - {\"output\":{\"who\":\"noc\"}}\n    \
            \"approve\": {\"signal\":{\"ok\":true},\"after\":\"60000ms\"}\n  expect:\n    \
            status: COMPLETED\n    path: [\"ring\",\"ring\",\"count\",\"approve\"]\n    \
            output: {\"who\":\"noc\"}\n";
        assert_eq!(text, expected);
    }
}
