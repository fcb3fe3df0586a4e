//! What holds for a document as a whole, and for its expressions.

use kernel::definition::{
    PROBLEMS_MAX, Problem, inspect_workflow, parse_task_defs, validate_task_def, validate_workflow,
    workflow_from_value,
};
use serde_json::{Value, json};

use super::{Oops, accepts, brief, full_task_def, judge, simple, task, workflow};

#[test]
fn all_problems_come_at_once() {
    let def = workflow_from_value(&json!({
        "schemaVersion": 1,
        "tasks": [
            task("EVENT", &json!({})),
            { "name": "get", "taskReferenceName": "get_details", "type": "HTTP" },
            task("SWITCH", &json!({ "inputParameters": { "x": "${get_detials.output.y}" },
                "decisionCases": { "a": [{ "name": "n", "taskReferenceName": "n" }] } })),
        ],
    }))
    .expect("the shape is right");
    let problems = validate_workflow(&def, &Oops);
    let mut found = brief(&problems);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("duplicate-reference", "/tasks/2/taskReferenceName"),
            ("field-required", "/tasks/0/sink"),
            ("field-required", "/tasks/1/inputParameters"),
            ("field-required", "/tasks/2/evaluatorType"),
            ("field-required", "/tasks/2/expression"),
            ("name-missing", "/name"),
            ("schema-version", "/schemaVersion"),
            ("unknown-reference", "/tasks/2/inputParameters/x"),
        ]
    );
    let typing_error = problems.iter().find(|problem| problem.code == "unknown-reference");
    let typing_error = typing_error.expect("it is there");
    assert_eq!(typing_error.hint, "Did you mean get_details?");
    assert_eq!(typing_error.path, "tasks[2].inputParameters[x]");
    let twice = problems.iter().find(|problem| problem.code == "duplicate-reference");
    assert!(twice.expect("it is there").hint.contains("/tasks/0"));
}

#[test]
fn problems_are_bounded() {
    let tasks: Vec<Value> = (0..PROBLEMS_MAX + 50).map(|_| json!({ "name": "t" })).collect();
    let problems = judge(&json!(tasks));
    assert_eq!(problems.len(), PROBLEMS_MAX + 1);
    let last = problems.last().expect("there are many");
    assert_eq!(
        (last.code, last.message.as_str()),
        ("too-many-problems", "50 more problems are not listed")
    );
}

#[test]
fn expressions_that_begin_with_something_known_pass() {
    for text in [
        "${workflow.input.x}",
        "${workflow}",
        "${r.output.list[0].x}",
        "${r['output'].x}",
        "${ r.output }",
        "${$.r.output}",
        "${r__2.output.x}",
        "${CPEWF_TASK_ID}",
        "${HOME_PAGE}",
        "${workflow.input.map['${r.output.key}'].x}",
        "${${workflow.input.which}.output.x}",
        "$${self.output.response.body.token}",
        "$${a ${gone.output} b}",
        "costs $5 {really} } ${",
        "${unclosed",
        "äöü ${r.output.ü} ß",
    ] {
        accepts(&json!([task("SIMPLE", &json!({ "inputParameters": { "x": text } }))]));
    }
}

#[test]
fn expressions_that_begin_with_nothing_known_are_refused() {
    for text in [
        "${R.output.x}",
        "${gone}",
        "${gone.output.x}",
        "${HOME.x}",
        "${r_2.output}",
        "${r__x.output}",
        "${workflow.input.map['${gone.output.key}'].x}",
        "$${literal} ${gone.x}",
        "${rows.map(row => row.x)}",
    ] {
        let problems =
            judge(&json!([task("SIMPLE", &json!({ "inputParameters": { "x": text } }))]));
        assert_eq!(
            brief(&problems),
            [("unknown-reference", "/tasks/0/inputParameters/x")],
            "{text}"
        );
        assert_eq!(problems[0].invalid_value, Some(json!(text)));
    }
}

#[test]
fn a_dynamic_fork_may_bring_references_that_nobody_wrote() {
    let dynamic = |tail: Value| {
        json!([
            task("FORK_JOIN_DYNAMIC", &json!({ "inputParameters": { "forkTaskInputs": [] } })),
            { "name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["_t_0"] },
            tail,
        ])
    };
    accepts(&dynamic(json!({
        "name": "s", "taskReferenceName": "s", "type": "SWITCH", "evaluatorType": "value-param",
        "expression": "x", "decisionCases": { "a": [
            { "name": "n", "taskReferenceName": "n", "inputParameters": { "x": "${_t_0.output}" } },
        ]},
    })));
    let problems = judge(&dynamic(json!({
        "name": "n", "taskReferenceName": "n", "inputParameters": { "x": "${_t_0.output}" },
    })));
    assert_eq!(
        brief(&problems),
        [("unknown-reference", "/tasks/2/inputParameters/x")],
        "on the top level Conductor refuses it too"
    );
}

#[test]
fn a_reference_that_only_gives_null_is_a_warning() {
    let def = workflow_from_value(&json!({
        "name": "w",
        "tasks": [task("SUB_WORKFLOW", &json!({ "subWorkflowParam": { "workflowDefinition": {
            "name": "i",
            "tasks": [{ "name": "t", "taskReferenceName": "x", "inputParameters": { "a": "${gone.b}" } }],
        }}}))],
        "outputParameters": { "o": ["${fine}", "${r.output}"] },
    }))
    .expect("the shape is right");
    assert_eq!(validate_workflow(&def, &Oops), []);
    let findings = inspect_workflow(&def, &Oops, &|_, _| false);
    assert_eq!(
        brief(&findings.warnings),
        [
            (
                "unknown-reference",
                "/tasks/0/subWorkflowParam/workflowDefinition/tasks/0/inputParameters/a"
            ),
            ("unknown-reference", "/outputParameters/o/0"),
        ]
    );
}

#[test]
fn a_task_that_may_never_run_or_may_fail_may_hold_a_broken_script() {
    let inline = |more: &Value| {
        let mut fields = json!({ "inputParameters": { "expression": "oops" } });
        for (name, value) in more.as_object().unwrap() {
            fields[name] = value.clone();
        }
        task("INLINE", &fields)
    };
    let jq =
        task("JSON_JQ_TRANSFORM", &json!({ "inputParameters": { "queryExpression": "oops" } }));
    let python = task(
        "INLINE",
        &json!({ "inputParameters": {
        "evaluatorType": "python", "expression": "1" } }),
    );
    let chosen = |tasks: Value| {
        json!({ "name": "s", "taskReferenceName": "s", "type": "SWITCH", "evaluatorType": "value-param",
            "expression": "x", "decisionCases": { "a": [simple("a")] }, "defaultCase": tasks })
    };
    let in_a_loop = json!([{ "name": "l", "taskReferenceName": "l", "type": "DO_WHILE",
        "loopCondition": "false", "loopOver": [inline(&json!({}))] }]);
    for (tasks, code, pointer) in [
        (
            json!([chosen(json!([inline(&json!({}))]))]),
            "script-syntax",
            "inputParameters/expression",
        ),
        (json!([chosen(in_a_loop)]), "script-syntax", "inputParameters/expression"),
        (json!([chosen(json!([jq]))]), "jq-syntax", "inputParameters/queryExpression"),
        (json!([chosen(json!([python]))]), "evaluator-unknown", "inputParameters/evaluatorType"),
        (
            json!([inline(&json!({ "optional": true }))]),
            "script-syntax",
            "inputParameters/expression",
        ),
    ] {
        let findings = inspect_workflow(&workflow(&tasks), &Oops, &|_, _| false);
        assert_eq!(findings.problems, [], "of {tasks}");
        let [(found, place)] = brief(&findings.warnings)[..] else { panic!("of {tasks}") };
        assert_eq!(found, code);
        assert!(place.ends_with(pointer), "{place}");
    }
}

#[test]
fn required_input_may_come_from_a_task_definition() {
    for (task_type, key) in [
        ("HTTP", "http_request"),
        ("KAFKA_PUBLISH", "kafka_request"),
        ("JSON_JQ_TRANSFORM", "queryExpression"),
    ] {
        let embedded = json!({ "taskDefinition": { "inputTemplate": { key: "x" } } });
        accepts(&json!([task(task_type, &embedded)]));

        let def = workflow(&json!([task(task_type, &json!({}))]));
        let registered = |name: &str, wanted: &str| name == "t" && wanted == key;
        assert_eq!(inspect_workflow(&def, &Oops, &registered).problems, []);
        assert_eq!(inspect_workflow(&def, &Oops, &|_, _| false).problems.len(), 1);
    }
}

#[test]
fn what_conductor_runs_is_accepted() {
    let join = json!({ "name": "j", "taskReferenceName": "j", "type": "JOIN" });
    for tasks in [
        json!([task("MY_OWN_TYPE", &json!({}))]),
        json!([task("SIMPLE", &json!({ "name": "a.b/c:d ü<x>{y}#1-2_3" }))]),
        json!([task("HTTP", &json!({ "inputParameters": { "uri": "http://x" } }))]),
        json!([task(
            "HTTP",
            &json!({ "inputParameters": { "http_request": "${workflow.input.r}" } })
        )]),
        json!([task(
            "TERMINATE",
            &json!({ "inputParameters": { "terminationStatus": "TERMINATED" } })
        )]),
        json!([task(
            "TERMINATE",
            &json!({
            "inputParameters": { "terminationStatus": "${workflow.input.s}" } })
        )]),
        json!([task("WAIT", &json!({}))]),
        json!([task(
            "WAIT",
            &json!({ "inputParameters": { "duration": "", "until": "2030-01-01" } })
        )]),
        json!([task("FORK_JOIN_DYNAMIC", &json!({ "dynamicForkJoinTasksParam": "x" })), join]),
        json!([
            task(
                "FORK_JOIN_DYNAMIC",
                &json!({ "dynamicForkTasksParam": "x",
            "dynamicForkTasksInputParamName": "y" })
            ),
            join
        ]),
        json!([task(
            "SWITCH",
            &json!({ "evaluatorType": "value-param", "expression": "oops",
            "decisionCases": { "a": [] } })
        )]),
        json!([task(
            "INLINE",
            &json!({
            "inputParameters": { "evaluatorType": "${workflow.input.e}", "expression": "oops" } })
        )]),
        // Conductor looks at the expressions of the outermost tasks only.
        json!([task(
            "DO_WHILE",
            &json!({ "loopCondition": "false", "loopOver": [{ "name": "n", "taskReferenceName": "n",
            "inputParameters": { "x": "${gone.output.y}" } }] })
        )]),
        json!([task(
            "INLINE",
            &json!({
            "inputParameters": { "expression": "oops('${workflow.input.x}')" } })
        )]),
        json!([task("DO_WHILE", &json!({ "items": [1, 2], "loopOver": [simple("a")] }))]),
        json!([task(
            "DO_WHILE",
            &json!({ "items": "${workflow.input.l}", "loopOver": [simple("a")] })
        )]),
        json!([task(
            "SUB_WORKFLOW",
            &json!({
            "subWorkflowParam": { "name": "${workflow.input.n}", "priority": "7" } })
        )]),
        // A fork that ends a case is joined by what follows the switch.
        json!([
            task(
                "SWITCH",
                &json!({ "evaluatorType": "value-param", "expression": "x",
            "decisionCases": { "a": [{ "name": "f", "taskReferenceName": "f", "type": "FORK_JOIN",
                "forkTasks": [[simple("a")]] }] } })
            ),
            join
        ]),
        // A definition handed on as data has references of its own.
        json!([task(
            "START_WORKFLOW",
            &json!({ "inputParameters": { "startWorkflow": {
            "name": "x", "workflowDef": { "outputParameters": { "o": "${inner.output}" } } } } })
        )]),
    ] {
        accepts(&tasks);
    }
}

#[test]
fn wait_literals() {
    let wait = |key: &str, text: &str| {
        judge(&json!([task("WAIT", &json!({ "inputParameters": { key: text } }))]))
    };
    for text in
        ["1d 2h 3m 4s", "1 day 2hours 3 mins 4secs", "90S", "5 minutes", "1d4s", " 10 hrs ", "0s"]
    {
        assert_eq!(wait("duration", text), [], "{text}");
    }
    for text in ["5", "s", "4s 3m", "1.5h", "1 month", "-1s", "99999999999s", "1h 1h"] {
        assert_eq!(wait("duration", text).len(), 1, "{text}");
    }
    for text in ["2030-01-31", "2030-01-31 23:59", "2030-01-31 23:59 GMT+05:30", "2030-1-3 1:05"] {
        assert_eq!(wait("until", text), [], "{text}");
    }
    for text in ["2030", "2030-01-31T23:59", "2030-01-31 23", "01:02", "2030-01-31 23:59:10"] {
        assert_eq!(wait("until", text).len(), 1, "{text}");
    }
}

#[test]
fn task_definitions_are_judged() {
    let judge = |fields: Value| {
        let mut def = json!({ "name": "t" });
        for (name, value) in fields.as_object().expect("fields are an object") {
            def[name] = value.clone();
        }
        validate_task_def(&parse_task_defs(&def.to_string()).expect("it parses")[0])
    };
    assert_eq!(judge(json!({})), []);
    assert_eq!(judge(full_task_def()), []);
    assert_eq!(judge(json!({ "timeoutSeconds": 3600, "totalTimeoutSeconds": 3600 })), []);
    for (fields, code, pointer, words) in [
        (json!({ "name": "" }), "name-missing", "/name", "TaskDef name cannot be null or empty"),
        (json!({ "name": "a\u{7}" }), "name-invalid", "/name", "control"),
        (
            json!({ "responseTimeoutSeconds": 0 }),
            "value-out-of-range",
            "/responseTimeoutSeconds",
            "TaskDef responseTimeoutSeconds: 0 should be minimum 1 second",
        ),
        (
            json!({ "timeoutSeconds": 10 }),
            "timeout-order",
            "/responseTimeoutSeconds",
            "TaskDef: t responseTimeoutSeconds: 3600 must be less than timeoutSeconds: 10",
        ),
        (
            json!({ "timeoutSeconds": 9000, "totalTimeoutSeconds": 10 }),
            "timeout-order",
            "/totalTimeoutSeconds",
            "TaskDef: t timeoutSeconds: 9000 must be less than or equal to totalTimeoutSeconds: 10",
        ),
        (
            json!({ "retryCount": -1 }),
            "value-out-of-range",
            "/retryCount",
            "TaskDef retryCount: -1 must be >= 0",
        ),
        (json!({ "pollTimeoutSeconds": -1 }), "value-out-of-range", "/pollTimeoutSeconds", ">= 0"),
        (
            json!({ "maxRetryDelaySeconds": -1 }),
            "value-out-of-range",
            "/maxRetryDelaySeconds",
            ">=",
        ),
        (json!({ "backoffJitterMs": -1 }), "value-out-of-range", "/backoffJitterMs", ">= 0"),
        (json!({ "totalTimeoutSeconds": -1 }), "value-out-of-range", "/totalTimeoutSeconds", ">="),
        (
            json!({ "backoffScaleFactor": 0 }),
            "value-out-of-range",
            "/backoffScaleFactor",
            "Backoff scale factor",
        ),
    ] {
        let problems = judge(fields.clone());
        assert_eq!(brief(&problems), [(code, pointer)], "of {fields}");
        assert!(problems[0].message.contains(words), "{}", problems[0].message);
    }
    assert_eq!(judge(json!({ "name": "", "retryCount": -1, "backoffScaleFactor": 0 })).len(), 3);
}

#[test]
fn a_negative_timeout_or_delay_counts_as_none() {
    for field in ["timeoutSeconds", "retryDelaySeconds", "concurrentExecLimit"] {
        let text = json!([{ "name": "t", "ownerEmail": "a@b.c", (field): -1 }]).to_string();
        let defs = parse_task_defs(&text).expect("task definitions");
        assert_eq!(validate_task_def(&defs[0]), [], "{field}");
    }
}

#[test]
fn a_problem_moves_with_its_document() {
    let problem = Problem::new("/tasks/0/name", "name-missing", "m", "h").under("/workflowDef");
    assert_eq!(problem.pointer, "/workflowDef/tasks/0/name");
    assert_eq!(problem.path, "workflowDef.tasks[0].name");
    assert_eq!(problem.to_string(), "/workflowDef/tasks/0/name: m");
}
