//! What each task type needs, one table for every place a task can stand.

use kernel::definition::inspect_workflow;
use serde_json::{Value, json};

use super::{Oops, brief, judge, simple, task, workflow};

/// Tasks, then what is wrong with them: code, pointer, and words of the message.
fn refusals() -> Vec<(Value, &'static str, &'static str, &'static str)> {
    let required = "field-required";
    vec![
        (json!([]), "tasks-missing", "/tasks", "list cannot be empty"),
        (json!([{ "taskReferenceName": "r" }]), "name-missing", "/tasks/0/name", "name cannot"),
        (
            json!([{ "name": "t" }]),
            "reference-missing",
            "/tasks/0/taskReferenceName",
            "taskReferenceName name cannot be empty",
        ),
        (
            json!([{ "name": "a\nb", "taskReferenceName": "r" }]),
            "name-invalid",
            "/tasks/0/name",
            "control",
        ),
        (json!([task("", &json!({}))]), "type-missing", "/tasks/0/type", "type cannot be null"),
        (
            json!([task("SIMPLE", &json!({ "startDelay": -1 }))]),
            "value-out-of-range",
            "/tasks/0/startDelay",
            "startDelay",
        ),
        (
            json!([simple("a"), simple("a")]),
            "duplicate-reference",
            "/tasks/1/taskReferenceName",
            "taskReferenceName: a should be unique across tasks for a given workflowDefinition: w",
        ),
        (
            json!([task("EVENT", &json!({}))]),
            required,
            "/tasks/0/sink",
            "sink field is required for taskType: EVENT taskName: t",
        ),
        (
            json!([task("SWITCH", &json!({ "expression": "x", "decisionCases": { "a": [] } }))]),
            required,
            "/tasks/0/evaluatorType",
            "evaluatorType field is required for taskType: SWITCH taskName: t",
        ),
        (
            json!([task("SWITCH", &json!({ "evaluatorType": "x", "decisionCases": { "a": [] } }))]),
            required,
            "/tasks/0/expression",
            "expression field is required",
        ),
        (
            json!([task("SWITCH", &json!({ "evaluatorType": "value-param", "expression": "x" }))]),
            required,
            "/tasks/0/decisionCases",
            "decisionCases should have atleast one task for taskType: SWITCH taskName: t",
        ),
        (
            json!([task(
                "SWITCH",
                &json!({ "evaluatorType": "javascript", "expression": "oops",
                "decisionCases": { "a": [] } })
            )]),
            "script-syntax",
            "/tasks/0/expression",
            "unexpected oops at line 1",
        ),
        (
            json!([task("DECISION", &json!({ "decisionCases": { "a": [] } }))]),
            required,
            "/tasks/0/caseValueParam",
            "caseValueParam or caseExpression field is required",
        ),
        (
            json!([task(
                "DECISION",
                &json!({ "caseExpression": "oops",
                "decisionCases": { "a": [] } })
            )]),
            "script-syntax",
            "/tasks/0/caseExpression",
            "oops",
        ),
        (
            json!([task("DYNAMIC", &json!({}))]),
            required,
            "/tasks/0/dynamicTaskNameParam",
            "dynamicTaskNameParam field is required for taskType: DYNAMIC",
        ),
        (
            json!([
                task("FORK_JOIN", &json!({})),
                task("JOIN", &json!({ "taskReferenceName": "j" }))
            ]),
            required,
            "/tasks/0/forkTasks",
            "forkTasks should have atleast one task",
        ),
        (
            json!([
                task("FORK_JOIN", &json!({ "forkTasks": [[simple("a")], []] })),
                task("JOIN", &json!({ "taskReferenceName": "j" }))
            ]),
            "branch-empty",
            "/tasks/0/forkTasks/1",
            "branch",
        ),
        (
            json!([task("FORK_JOIN", &json!({ "forkTasks": [[simple("a")]] })), simple("b")]),
            "fork-without-join",
            "/tasks/0",
            "not followed by a JOIN",
        ),
        (
            json!([
                task("FORK_JOIN_DYNAMIC", &json!({ "dynamicForkTasksParam": "x" })),
                task("JOIN", &json!({ "taskReferenceName": "j" }))
            ]),
            required,
            "/tasks/0/dynamicForkTasksInputParamName",
            "dynamicForkTasksInputParamName field is required",
        ),
        (
            json!([
                task(
                    "FORK_JOIN_DYNAMIC",
                    &json!({ "dynamicForkTasksParam": "x",
                "dynamicForkJoinTasksParam": "y" })
                ),
                task("JOIN", &json!({ "taskReferenceName": "j" }))
            ]),
            "forms-mixed",
            "/tasks/0/dynamicForkJoinTasksParam",
            "dynamicForkJoinTasksParam or combination",
        ),
        (
            json!([simple("branch"), task("JOIN", &json!({ "joinOn": ["branch", "brunch"] }))]),
            "unknown-reference",
            "/tasks/1/joinOn/1",
            "brunch",
        ),
        (
            json!([task("EXCLUSIVE_JOIN", &json!({ "defaultExclusiveJoinTask": ["gone"] }))]),
            "unknown-reference",
            "/tasks/0/defaultExclusiveJoinTask/0",
            "gone",
        ),
        (
            json!([task("DO_WHILE", &json!({ "loopOver": [simple("a")] }))]),
            required,
            "/tasks/0/loopCondition",
            "loopCondition field is required for taskType: DO_WHILE",
        ),
        (
            json!([task("DO_WHILE", &json!({ "loopCondition": "false" }))]),
            required,
            "/tasks/0/loopOver",
            "loopOver field is required",
        ),
        (
            json!([task(
                "DO_WHILE",
                &json!({ "loopCondition": "oops", "loopOver": [simple("a")] })
            )]),
            "script-syntax",
            "/tasks/0/loopCondition",
            "oops",
        ),
        (
            json!([task("SUB_WORKFLOW", &json!({}))]),
            required,
            "/tasks/0/subWorkflowParam",
            "subWorkflowParam field is required",
        ),
        (
            json!([task("SUB_WORKFLOW", &json!({ "subWorkflowParam": { "name": " " } }))]),
            required,
            "/tasks/0/subWorkflowParam/name",
            "subWorkflowParam.name",
        ),
        (
            json!([task(
                "SUB_WORKFLOW",
                &json!({
                "subWorkflowParam": { "name": "s", "priority": 100 } })
            )]),
            "value-invalid",
            "/tasks/0/subWorkflowParam/priority",
            "from 0 to 99",
        ),
        (
            json!([task(
                "SUB_WORKFLOW",
                &json!({ "subWorkflowParam": {
                "workflowDefinition": { "name": "i", "tasks": [task("EVENT", &json!({}))] } } })
            )]),
            required,
            "/tasks/0/subWorkflowParam/workflowDefinition/tasks/0/sink",
            "sink",
        ),
        (
            json!([task(
                "TERMINATE",
                &json!({ "optional": true,
                "inputParameters": { "terminationStatus": "FAILED" } })
            )]),
            "not-optional",
            "/tasks/0/optional",
            "terminate task cannot be optional, taskName: t",
        ),
        (
            json!([task(
                "TERMINATE",
                &json!({ "inputParameters": { "terminationStatus": "DONE" } })
            )]),
            "termination-status",
            "/tasks/0/inputParameters/terminationStatus",
            "must be set to COMPLETED or FAILED",
        ),
        (
            json!([task(
                "WAIT",
                &json!({ "inputParameters": { "duration": "1s", "until": "2030-01-01" } })
            )]),
            "wait-ambiguous",
            "/tasks/0/inputParameters",
            "Both 'duration' and 'until' specified",
        ),
        (
            json!([task("WAIT", &json!({ "inputParameters": { "duration": "a while" } }))]),
            "value-invalid",
            "/tasks/0/inputParameters/duration",
            "a while",
        ),
        (
            json!([task("WAIT", &json!({ "inputParameters": { "until": "tomorrow" } }))]),
            "value-invalid",
            "/tasks/0/inputParameters/until",
            "tomorrow",
        ),
        (
            json!([task("HTTP", &json!({ "inputParameters": { "url": "x" } }))]),
            required,
            "/tasks/0/inputParameters",
            "inputParameters.http_request or inputParameters.uri field is required",
        ),
        (
            json!([task(
                "JDBC",
                &json!({ "inputParameters": { "connectionId": "a", "type": "UPDATE" } })
            )]),
            required,
            "/tasks/0/inputParameters",
            "inputParameters.statement field is required",
        ),
        (
            json!([task(
                "UPDATE_TASK",
                &json!({ "inputParameters": { "taskStatus": "${workflow.input.x}" } })
            )]),
            required,
            "/tasks/0/inputParameters",
            "inputParameters.taskId or inputParameters.workflowId field is required",
        ),
        (
            json!([task("QUERY_PROCESSOR", &json!({ "inputParameters": { "queryType": "SQL" } }))]),
            "value-invalid",
            "/tasks/0/inputParameters/queryType",
            "queryType is unknown for",
        ),
        (
            json!([task("KAFKA_PUBLISH", &json!({}))]),
            required,
            "/tasks/0/inputParameters",
            "inputParameters.kafka_request field is required",
        ),
        (
            json!([task("JSON_JQ_TRANSFORM", &json!({}))]),
            required,
            "/tasks/0/inputParameters",
            "inputParameters.queryExpression field is required",
        ),
        (
            json!([task(
                "JSON_JQ_TRANSFORM",
                &json!({
                "inputParameters": { "queryExpression": ".oops" } })
            )]),
            "jq-syntax",
            "/tasks/0/inputParameters/queryExpression",
            "oops",
        ),
        (
            json!([task("INLINE", &json!({ "inputParameters": { "expression": "oops" } }))]),
            "script-syntax",
            "/tasks/0/inputParameters/expression",
            "oops",
        ),
        (
            json!([task(
                "INLINE",
                &json!({ "inputParameters": { "evaluatorType": "python", "expression": "1" } })
            )]),
            "evaluator-unknown",
            "/tasks/0/inputParameters/evaluatorType",
            "evaluatorType 'python' is not supported",
        ),
        (
            json!([task(
                "SWITCH",
                &json!({ "evaluatorType": "cobol", "expression": "1", "decisionCases": { "a": [] } })
            )]),
            "evaluator-unknown",
            "/tasks/0/evaluatorType",
            "evaluatorType 'cobol' is not supported",
        ),
        (
            json!([task("LAMBDA", &json!({ "inputParameters": { "scriptExpression": "oops" } }))]),
            "script-syntax",
            "/tasks/0/inputParameters/scriptExpression",
            "oops",
        ),
        (
            json!([task(
                "SIMPLE",
                &json!({ "inputParameters": {
                "a/b": { "list": [1, "${workflow.input.x} and ${gone.output.y}"] } } })
            )]),
            "unknown-reference",
            "/tasks/0/inputParameters/a~1b/list/1",
            "${gone.output.y} begins with gone",
        ),
        (
            json!([task("SIMPLE", &json!({ "inputParameters": { "a": "x ${ } y" } }))]),
            "expression-empty",
            "/tasks/0/inputParameters/a",
            "empty",
        ),
        (
            json!([task("SIMPLE", &json!({ "taskDefinition": { "backoffScaleFactor": 0 } }))]),
            "value-out-of-range",
            "/tasks/0/taskDefinition/backoffScaleFactor",
            "Backoff scale factor",
        ),
    ]
}

#[test]
fn each_rule_is_judged() {
    for (tasks, code, pointer, words) in refusals() {
        let problems = judge(&tasks);
        assert_eq!(brief(&problems), [(code, pointer)], "of {tasks}");
        assert!(problems[0].message.contains(words), "{}", problems[0].message);
        assert!(!problems[0].hint.is_empty(), "{code} has a hint");
    }
}

#[test]
fn each_rule_is_judged_wherever_a_task_is_nested() {
    type Host = (&'static str, fn(&Value) -> Value);
    let hosts: [Host; 3] = [
        ("/tasks/0/decisionCases/x~0y", |tasks| {
            json!([{ "name": "h", "taskReferenceName": "h", "type": "SWITCH",
                "evaluatorType": "value-param", "expression": "e", "decisionCases": { "x~y": tasks } }])
        }),
        ("/tasks/0/loopOver", |tasks| {
            json!([{ "name": "h", "taskReferenceName": "h", "type": "DO_WHILE",
                "loopCondition": "false", "loopOver": tasks }])
        }),
        ("/tasks/0/forkTasks/0", |tasks| {
            json!([{ "name": "h", "taskReferenceName": "h", "type": "FORK_JOIN", "forkTasks": [tasks] },
                { "name": "e", "taskReferenceName": "e", "type": "JOIN" }])
        }),
    ];
    for (prefix, host) in hosts {
        for (tasks, code, pointer, _) in refusals() {
            if code == "tasks-missing" {
                continue;
            }
            let is_expression = matches!(code, "unknown-reference" | "expression-empty")
                && pointer.contains("/inputParameters/");
            let is_script = matches!(code, "script-syntax" | "jq-syntax" | "evaluator-unknown");
            let may_stay = is_expression || (is_script && prefix.contains("decisionCases"));
            let pointer = pointer.replacen("/tasks", prefix, 1);
            let findings = inspect_workflow(&workflow(&host(&tasks)), &Oops, &|_, _| false);
            let (told, silent) = if may_stay {
                (findings.warnings, findings.problems)
            } else {
                (findings.problems, findings.warnings)
            };
            assert_eq!(brief(&told), [(code, pointer.as_str())], "of {tasks} in {prefix}");
            assert_eq!(silent, [], "of {tasks} in {prefix}");
        }
    }
}
