//! What holds for every document.

use kernel::definition::{
    WorkflowDef, WorkflowTask, inspect_workflow, parse_task_defs, parse_workflow,
    validate_task_def, validate_workflow,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Oops, workflow};

/// Any JSON, made of the words that definitions are made of so that it gets deep into the rules.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "name",
        "tasks",
        "taskReferenceName",
        "type",
        "inputParameters",
        "decisionCases",
        "forkTasks",
        "loopOver",
        "defaultCase",
        "subWorkflowParam",
        "workflowDefinition",
        "joinOn",
        "duration",
        "until",
        "expression",
        "version",
        "retryCount",
        "outputParameters",
        "taskDefinition",
        "priority",
        "terminationStatus",
        "items",
        "SWITCH",
        "FORK_JOIN",
        "DO_WHILE",
        "WAIT",
        "JOIN",
        "SUB_WORKFLOW",
        "TERMINATE",
        "HTTP",
        "${a.b}",
        "${",
        "}",
        "$${x}",
        "${${a}}",
        "1d",
        "ü",
        "/~",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[${}. a\\[\\]]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..6).prop_map(|entries| {
                Value::Object(
                    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
                )
            }),
        ]
    })
}

fn any_task() -> impl Strategy<Value = Value> {
    let types = vec![
        "SIMPLE",
        "SWITCH",
        "DECISION",
        "FORK_JOIN",
        "FORK_JOIN_DYNAMIC",
        "JOIN",
        "EXCLUSIVE_JOIN",
        "DO_WHILE",
        "SUB_WORKFLOW",
        "TERMINATE",
        "WAIT",
        "HTTP",
        "EVENT",
        "DYNAMIC",
        "INLINE",
        "LAMBDA",
        "JSON_JQ_TRANSFORM",
        "KAFKA_PUBLISH",
        "OTHER",
    ];
    let text = "[$\\{}a-c._\\[\\]0-9dhms: -]{0,10}";
    let leaf = (prop::sample::select(types), "[a-c]", text, text, any::<(i32, bool)>()).prop_map(
        |(task_type, reference, input, other, (number, flag))| {
            json!({
                "name": "t", "taskReferenceName": reference, "type": task_type,
                "inputParameters": { "duration": input, "until": other, "terminationStatus": input,
                    "queryExpression": other, "list": [input, { "x": other }] },
                "startDelay": number, "optional": flag, "joinOn": [other], "loopCondition": input,
                "expression": other, "evaluatorType": "javascript", "items": input,
                "subWorkflowParam": { "name": input, "priority": number },
            })
        },
    );
    leaf.prop_recursive(4, 24, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..3);
        (inner, list.clone(), list.clone(), list).prop_map(|(mut task, a, b, c)| {
            task["decisionCases"] = json!({ "a/b": a, "~": b });
            task["forkTasks"] = json!([b, c]);
            task["loopOver"] = json!(c);
            task["subWorkflowParam"] = json!({ "workflowDefinition": { "name": "i", "tasks": a } });
            task
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gets_an_answer(text in any::<String>()) {
        let _ = parse_workflow(&text);
        let _ = parse_task_defs(&text);
    }

    #[test]
    fn any_json_gets_an_answer(document in any_json()) {
        let text = document.to_string();
        if let Ok(def) = parse_workflow(&text) {
            validate_workflow(&def, &Oops);
        }
        for def in parse_task_defs(&text).unwrap_or_default() {
            validate_task_def(&def);
        }
        // The table of types and the types themselves agree on what can be read.
        let read = serde_json::from_value::<WorkflowDef>(document.clone()).is_ok();
        prop_assert_eq!(parse_workflow(&text).is_ok(), read && document.is_object());
    }

    #[test]
    fn a_definition_survives_its_echo(tasks in prop::collection::vec(any_task(), 1..4)) {
        let def = workflow(&json!(tasks));
        let text = serde_json::to_string(&def).expect("it serializes");
        prop_assert_eq!(&parse_workflow(&text).expect("its echo parses"), &def);
    }

    #[test]
    fn every_problem_points_into_the_document(tasks in prop::collection::vec(any_task(), 1..4)) {
        let def = workflow(&json!(tasks));
        let document = serde_json::to_value(&def).expect("it serializes");
        let findings = inspect_workflow(&def, &Oops, &|_, _| false);
        for problem in findings.problems.iter().chain(&findings.warnings) {
            // A missing field has no place of its own; the task that lacks it has one.
            let parent = problem.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
            let is_there = [problem.pointer.as_str(), parent]
                .iter()
                .any(|pointer| document.pointer(pointer).is_some());
            prop_assert!(is_there, "{}", problem);
            prop_assert!(!problem.message.is_empty());
        }
    }

    #[test]
    fn the_walk_and_the_document_agree(tasks in prop::collection::vec(any_task(), 1..4)) {
        let def = workflow(&json!(tasks));
        let document = serde_json::to_value(&def).expect("it serializes");
        let mut wrong = Vec::new();
        def.walk(|pointer, task: &WorkflowTask| {
            let there = document.pointer(pointer).cloned();
            if there != serde_json::to_value(task).ok() {
                wrong.push(pointer.to_owned());
            }
        });
        prop_assert_eq!(wrong, Vec::<String>::new());
    }
}
