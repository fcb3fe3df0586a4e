//! Definitions from text to types and back.

use kernel::definition::{
    IdempotencyStrategy, JoinMode, RateLimitPolicy, RetryLogic, SubWorkflowDefinition,
    SubWorkflowVersion, TaskDef, TaskTimeoutPolicy, WorkflowDef, WorkflowTimeoutPolicy,
    parse_task_defs, parse_workflow, parse_workflows,
};
use serde_json::{Value, json};

use super::{brief, echo, full_workflow, simple, task, workflow};

#[test]
fn every_field_is_echoed() {
    let document = full_workflow();
    let def = parse_workflow(&document.to_string()).expect("it parses");
    let echoed = serde_json::to_value(&def).expect("it serializes");
    assert_eq!(echoed, document);

    let again: WorkflowDef = serde_json::from_value(echoed).expect("the echo parses");
    assert_eq!(again, def);
}

#[test]
fn the_authors_order_is_kept() {
    let def = parse_workflow(&full_workflow().to_string()).expect("it parses");
    assert_eq!(def.tasks[0].decision_cases.keys().collect::<Vec<_>>(), ["z", "a", ""]);
    assert_eq!(def.tasks[0].input_parameters.keys().collect::<Vec<_>>(), ["z", "a"]);
    assert_eq!(def.output_parameters.keys().collect::<Vec<_>>(), ["z", "a"]);
}

#[test]
fn a_case_written_twice_keeps_the_last() {
    let text = r#"{"name": "w", "tasks": [{"decisionCases": {
        "a": [{"name": "first"}], "b": [], "a": [{"name": "last"}]
    }}]}"#;
    let direct: WorkflowDef = serde_json::from_str(text).expect("it parses");
    for def in [parse_workflow(text).expect("it parses"), direct] {
        let cases = &def.tasks[0].decision_cases;
        assert_eq!(cases.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(cases.get("a").expect("it is there")[0].name, "last");
    }
}

#[test]
fn what_is_left_out_has_conductors_default() {
    let def =
        parse_workflow(r#"{"name": "w", "tasks": [{"name": "t", "taskReferenceName": "r"}]}"#)
            .expect("it parses");
    assert_eq!(
        serde_json::to_value(&def).expect("it serializes"),
        json!({
            "name": "w", "version": 1, "tasks": [echo("r")], "inputParameters": [],
            "outputParameters": {}, "schemaVersion": 2, "restartable": true,
            "workflowStatusListenerEnabled": false, "timeoutPolicy": "ALERT_ONLY",
            "timeoutSeconds": 0, "variables": {}, "inputTemplate": {}, "enforceSchema": true,
            "metadata": {}, "maskedFields": [], "createTime": 0, "updateTime": 0,
        })
    );
    assert_eq!(
        serde_json::to_value(TaskDef::named("t")).expect("it serializes"),
        json!({
            "name": "t", "retryCount": 3, "timeoutSeconds": 0, "inputKeys": [], "outputKeys": [],
            "runtimeMetadata": [], "timeoutPolicy": "TIME_OUT_WF", "retryLogic": "FIXED",
            "retryDelaySeconds": 60, "responseTimeoutSeconds": 3600, "inputTemplate": {},
            "rateLimitPerFrequency": 0, "rateLimitFrequencyInSeconds": 1, "backoffScaleFactor": 1,
            "maxRetryDelaySeconds": 0, "backoffJitterMs": 0, "totalTimeoutSeconds": 0,
            "taskStatusListenerEnabled": true, "enforceSchema": false,
            "createTime": 0, "updateTime": 0,
        })
    );
}

#[test]
fn null_is_zero_for_a_primitive_and_empty_for_a_collection() {
    let text = r#"{"name": "w", "version": null, "restartable": null, "timeoutSeconds": null,
        "timeoutPolicy": null, "inputParameters": null, "outputParameters": null, "inputSchema": null,
        "unknown": {"is": "ignored"}, "tasks": [{"name": "t", "taskReferenceName": "r",
        "decisionCases": {"a": null}, "optional": null, "retryCount": null, "joinMode": null}]}"#;
    let def = parse_workflow(text).expect("it parses");
    assert_eq!((def.version, def.restartable, def.timeout_seconds), (0, false, 0));
    assert_eq!(def.timeout_policy, WorkflowTimeoutPolicy::AlertOnly);
    assert_eq!(def.input_parameters, Vec::<String>::new());
    assert_eq!(def.tasks[0].decision_cases.get("a"), Some(&Vec::new()));
    assert_eq!((def.tasks[0].retry_count, def.tasks[0].join_mode), (None, None));

    let text = r#"{"name": "t", "retryCount": null, "rateLimitFrequencyInSeconds": null,
        "pollTimeoutSeconds": "", "taskStatusListenerEnabled": null}"#;
    let def = &parse_task_defs(text).expect("it parses")[0];
    assert_eq!((def.retry_count, def.rate_limit_frequency_in_seconds), (0, 1));
    assert_eq!((def.poll_timeout_seconds, def.task_status_listener_enabled), (None, false));
}

#[test]
fn scalars_are_converted_as_jackson_converts_them() {
    let text = r#"[{"name": 12, "retryCount": " 3 ", "timeoutSeconds": 7.9, "retryDelaySeconds": "",
        "enforceSchema": "True", "taskStatusListenerEnabled": 0, "retryLogic": 1,
        "timeoutPolicy": "ALERT_ONLY", "inputKeys": ["a", 1, true]}]"#;
    let def = &parse_task_defs(text).expect("it parses")[0];
    assert_eq!((def.name.as_str(), def.retry_count, def.timeout_seconds), ("12", 3, 7));
    assert_eq!((def.retry_delay_seconds, def.enforce_schema), (0, true));
    assert_eq!(def.retry_logic, RetryLogic::ExponentialBackoff);
    assert_eq!(def.timeout_policy, TaskTimeoutPolicy::AlertOnly);
    assert!(!def.task_status_listener_enabled);
    assert_eq!(def.input_keys, ["a", "1", "true"]);
}

#[test]
fn a_sub_workflow_takes_a_name_a_definition_or_an_expression() {
    let def = workflow(&json!([
        task("SUB_WORKFLOW", &json!({ "subWorkflowParam": { "name": "s", "version": "2" } })),
        task(
            "SUB_WORKFLOW",
            &json!({ "subWorkflowParam": {
                "name": "ignored", "version": 9,
                "workflowDefinition": { "name": "inner", "version": 4, "tasks": [simple("x")] },
            }})
        ),
        task(
            "SUB_WORKFLOW",
            &json!({ "subWorkflowParam": {
                "name": "s", "version": "${workflow.input.v}", "workflowDefinition": "${r.output.d}",
                "idempotencyStrategy": "FAIL_ON_RUNNING", "priority": 5,
            }})
        ),
    ]));
    let params = |index: usize| def.tasks[index].sub_workflow_param.as_ref().expect("it is there");
    assert_eq!(params(0).version, Some(SubWorkflowVersion::Number(2)));
    assert_eq!(params(1).name.as_deref(), Some("inner"), "an inline definition names itself");
    assert_eq!(params(1).version, Some(SubWorkflowVersion::Number(4)));
    assert!(matches!(
        &params(1).workflow_definition,
        Some(SubWorkflowDefinition::Inline(inner)) if inner.tasks.len() == 1
    ));
    assert_eq!(
        params(2).version,
        Some(SubWorkflowVersion::Expression("${workflow.input.v}".to_owned()))
    );
    assert_eq!(params(2).idempotency_strategy, Some(IdempotencyStrategy::FailOnRunning));
    assert_eq!(params(2).priority, Some(json!(5)));
}

#[test]
fn the_walk_enters_what_a_type_runs() {
    let def = workflow(&json!([
        { "name": "s", "taskReferenceName": "s", "type": "SWITCH",
          "decisionCases": { "a/b": [{
              "name": "f", "taskReferenceName": "f", "type": "FORK_JOIN",
              "forkTasks": [[simple("f0")], [{
                  "name": "l", "taskReferenceName": "l", "type": "DO_WHILE",
                  "loopOver": [simple("body")], "defaultCase": [simple("dead")],
              }]],
          }] },
          "defaultCase": [simple("d")] },
        simple("last"),
    ]));
    let mut places = Vec::new();
    def.walk(|pointer, task| {
        places.push(format!("{} {pointer}", task.task_reference_name));
    });
    assert_eq!(
        places,
        [
            "s /tasks/0",
            "f /tasks/0/decisionCases/a~1b/0",
            "f0 /tasks/0/decisionCases/a~1b/0/forkTasks/0/0",
            "l /tasks/0/decisionCases/a~1b/0/forkTasks/1/0",
            "body /tasks/0/decisionCases/a~1b/0/forkTasks/1/0/loopOver/0",
            "d /tasks/0/defaultCase/0",
            "last /tasks/1",
        ]
    );
    assert_eq!(def.collect_tasks().len(), 7);
    assert_eq!(def.task_by_reference("body").map(|task| task.name.as_str()), Some("t"));
    assert_eq!(def.task_by_reference("dead"), None);
}

#[test]
fn malformed_json_is_told_by_line_and_column() {
    let deep = "[".repeat(1000);
    for (text, line, word) in [
        ("", 1, "too early"),
        ("{\n  \"name\": \"w\",\n  \"tasks\": [", 3, "too early"),
        ("{\n  \"name\" \"w\"\n}", 2, "Look there"),
        (deep.as_str(), 1, "128 levels"),
    ] {
        let problems = parse_workflow(text).expect_err("it is malformed");
        assert_eq!(brief(&problems), [("malformed-json", "")]);
        let message = &problems[0].message;
        assert!(message.contains(&format!("line {line}, column ")), "{message}");
        assert!(problems[0].hint.contains(word), "{} of {text:.20}", problems[0].hint);
    }
}

#[test]
fn every_wrong_type_is_told_with_its_place() {
    let text = json!({
        "name": {}, "version": "one", "restartable": "maybe", "timeoutPolicy": "ALERT_ONLYY",
        "inputParameters": "a", "outputParameters": [],
        "tasks": [
            null,
            { "decisionCases": { "a/b": [{ "retryCount": 3_000_000_000_i64 }], "c": 1 } },
            { "subWorkflowParam": {
                "version": "x",
                "workflowDefinition": { "tasks": [{ "joinOn": [null, {}] }] },
            }},
            { "subWorkflowParam": { "workflowDefinition": "not an expression" } },
        ],
    });
    let problems = parse_workflow(&text.to_string()).expect_err("types are wrong");
    assert!(problems.iter().all(|problem| problem.code == "wrong-type"));
    let pointers: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
    let inner = "/tasks/2/subWorkflowParam/workflowDefinition/tasks/0/joinOn";
    assert_eq!(
        pointers,
        [
            "/name",
            "/version",
            "/tasks/0",
            "/tasks/1/decisionCases/a~1b/0/retryCount",
            "/tasks/1/decisionCases/c",
            "/tasks/2/subWorkflowParam/version",
            &format!("{inner}/0"),
            &format!("{inner}/1"),
            "/tasks/3/subWorkflowParam/workflowDefinition",
            "/inputParameters",
            "/outputParameters",
            "/restartable",
            "/timeoutPolicy",
        ]
    );
    assert_eq!(problems[1].message, "version: expected a 32-bit integer, got the text \"one\"");
    assert_eq!(problems[1].invalid_value, Some(json!("one")));
    assert_eq!(problems[3].path, "tasks[1].decisionCases[a/b][0].retryCount");
    assert_eq!(problems[12].hint, "Did you mean ALERT_ONLY?");
}

#[test]
fn no_fields_type_goes_unchecked() {
    fn ruin(value: &Value, pointer: &str, visit: &mut dyn FnMut(&str)) {
        let Value::Object(entries) = value else { return };
        for (name, value) in entries {
            let pointer = format!("{pointer}/{name}");
            visit(&pointer);
            let data = ["Parameters", "Template", "variables", "metadata", "data", "taskToDomain"];
            if !data.iter().any(|end| pointer.ends_with(end)) {
                ruin(value, &pointer, visit);
            }
        }
    }
    let document = full_workflow();
    let mut pointers = Vec::new();
    ruin(&document, "", &mut |pointer| pointers.push(pointer.to_owned()));
    ruin(&document["tasks"][0], "/tasks/0", &mut |pointer| pointers.push(pointer.to_owned()));
    pointers.push("/tasks/0/onStateChange/onStart,onSuccess/0/type".to_owned());
    assert!(pointers.len() > 140, "{}", pointers.len());
    for pointer in pointers {
        if pointer.ends_with("/items") || pointer.ends_with("/priority") {
            continue;
        }
        let mut document = document.clone();
        let place = document.pointer_mut(&pointer).expect("it is there");
        // A list in a list is right nowhere; neither is an object where a list is due.
        *place = if place.is_array() { json!({ "a": 1 }) } else { json!([[1]]) };
        let problems = parse_workflow(&document.to_string()).expect_err(&pointer);
        assert_eq!(brief(&problems), [("wrong-type", pointer.as_str())]);
    }
}

#[test]
fn a_list_of_definitions_tells_which_one() {
    let problems = parse_task_defs(r#"[{"name": "a"}, {"name": []}, 3]"#).expect_err("two are bad");
    assert_eq!(brief(&problems), [("wrong-type", "/1/name"), ("wrong-type", "/2")]);
    assert_eq!(problems[0].path, "[1].name");
    assert_eq!(parse_workflows(r#"[{"name": "a"}, {"name": "b"}]"#).expect("they parse").len(), 2);
    assert_eq!(parse_workflows(r#"{"name": "a"}"#).expect("it parses").len(), 1);
    assert!(parse_workflow("[]").is_err());
    assert!(parse_workflow("null").is_err());
}

#[test]
fn enumerations_know_their_names() {
    assert_eq!(JoinMode::NAMES, ["SYNC", "ASYNC"]);
    assert_eq!(JoinMode::default(), JoinMode::Async);
    assert_eq!(RateLimitPolicy::Reject.to_string(), "REJECT");
    assert_eq!(RetryLogic::ALL.len(), RetryLogic::NAMES.len());
}
