//! `nightbell run show --as-test`: a test file out of a run, with its answers as mocks.

use serde_json::{Map, Value};

use crate::testing::{End, Recorded, answers, bare, begun};

/// The test file of a run with its tasks.
pub(in crate::cli) fn text(run: &Value) -> String {
    let name = plain(&run["workflowName"], &run["workflowType"]);
    let id = plain(&run["workflowId"], &Value::Null);
    let status = plain(&run["status"], &Value::Null);
    let start = begun(run).and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
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
    for recorded in answers(run) {
        let reference = bare(&recorded.reference).to_owned();
        let Some(answer) = mock(recorded).map(|it| it.to_string()) else { continue };
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

/// An answer as a mock; `None` if there was none.
fn mock(recorded: Recorded) -> Option<Value> {
    let mut mock = Map::new();
    let (answer, span) = if recorded.signalled { ("signal", "after") } else { ("output", "takes") };
    match recorded.end {
        End::Output(output) => drop(mock.insert(answer.to_owned(), output.into())),
        End::Failed(why, output) => {
            mock.insert("fail".to_owned(), why.into());
            if !output.is_empty() {
                mock.insert("output".to_owned(), output.into());
            }
        }
        End::Never => return None,
    }
    if recorded.took > 0 {
        mock.insert(span.to_owned(), format!("{}ms", recorded.took).into());
    }
    Some(mock.into())
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn plain(one: &Value, other: &Value) -> String {
    one.as_str().or(other.as_str()).unwrap_or_default().to_owned()
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
