//! Definitions: parsed, echoed, judged.

mod calls;
mod laws;
mod lint;
mod parsing;
mod rules;
mod schema;
mod validation;

use kernel::definition::{Problem, WorkflowDef, validate_workflow, workflow_from_value};
use kernel::{Form, Json, ScriptError, ScriptErrorKind, Scripts};
use serde_json::{Value, json};

/// Scripts whose syntax is wrong when they hold the word `oops`.
struct Oops;

impl Oops {
    fn check(source: &str) -> Result<(), ScriptError> {
        if source.contains("oops") {
            let message = "unexpected oops at line 1".to_owned();
            return Err(ScriptError { kind: ScriptErrorKind::Syntax, message });
        }
        Ok(())
    }
}

impl Scripts for Oops {
    fn javascript(&self, _: &str, _: Form, _: &Json) -> Result<Json, ScriptError> {
        unreachable!("validation runs no script")
    }

    fn jq(&self, _: &str, _: &Json) -> Result<Vec<Json>, ScriptError> {
        unreachable!("validation runs no script")
    }

    fn check_javascript(&self, source: &str, _: Form) -> Result<(), ScriptError> {
        Self::check(source)
    }

    fn check_jq(&self, program: &str) -> Result<(), ScriptError> {
        Self::check(program)
    }
}

fn workflow(tasks: &Value) -> WorkflowDef {
    workflow_from_value(&json!({ "name": "w", "tasks": tasks })).expect("the shape is right")
}

/// A task of a type, named `t` and referred to as `r`, with more fields on top.
fn task(task_type: &str, fields: &Value) -> Value {
    let mut task = json!({ "name": "t", "taskReferenceName": "r", "type": task_type });
    for (name, value) in fields.as_object().expect("fields are an object") {
        task[name] = value.clone();
    }
    task
}

/// A worker's task with a reference name.
fn simple(reference: &str) -> Value {
    json!({ "name": "t", "taskReferenceName": reference })
}

fn judge(tasks: &Value) -> Vec<Problem> {
    validate_workflow(&workflow(tasks), &Oops)
}

/// Code and pointer of each problem.
fn brief(problems: &[Problem]) -> Vec<(&str, &str)> {
    problems.iter().map(|problem| (problem.code, problem.pointer.as_str())).collect()
}

#[track_caller]
fn accepts(tasks: &Value) {
    assert_eq!(judge(tasks), [], "of {tasks}");
}

/// Every field there is, none of them at its default.
fn full_workflow() -> Value {
    json!({
        "name": "full", "description": "d", "version": 7,
        "tasks": [full_task()],
        "inputParameters": ["a", "b"],
        "outputParameters": { "z": "${full_ref.output.z}", "a": { "list": [1, null, "x"] } },
        "failureWorkflow": "f", "failureWorkflowVersion": 3, "schemaVersion": 2,
        "restartable": false, "workflowStatusListenerEnabled": true,
        "workflowStatusListenerSink": "kafka:x", "ownerEmail": "a@example.com",
        "timeoutPolicy": "TIME_OUT_WF", "timeoutSeconds": 5_000_000_000_i64,
        "variables": { "v": 1 }, "inputTemplate": { "i": null },
        "rateLimitConfig": {
            "rateLimitKey": "${workflow.input.k}", "concurrentExecLimit": 5, "policy": "REJECT"
        },
        "inputSchema": full_schema("JSON"), "outputSchema": full_schema("AVRO"),
        "enforceSchema": false, "metadata": { "classifier": "agent" },
        "cacheConfig": { "key": "k", "ttlInSecond": 60 }, "maskedFields": ["password"],
        "ownerApp": "app", "createTime": 1, "updateTime": 2, "createdBy": "c", "updatedBy": "u",
    })
}

fn full_schema(schema_type: &str) -> Value {
    json!({
        "name": "s", "version": 2, "type": schema_type, "data": { "type": "object" },
        "externalRef": "e", "ownerApp": "app", "createTime": 1, "updateTime": 2,
        "createdBy": "c", "updatedBy": "u",
    })
}

fn full_task() -> Value {
    json!({
        "name": "full", "taskReferenceName": "full_ref", "description": "d",
        "inputParameters": { "z": 1, "a": "${workflow.input.a}" }, "type": "WORKER_TYPE",
        "dynamicTaskNameParam": "n", "caseValueParam": "c", "caseExpression": "e",
        "scriptExpression": "s",
        "decisionCases": { "z": [echo("z1")], "a": [echo("a1")], "": [] },
        "dynamicForkJoinTasksParam": "p", "dynamicForkTasksParam": "q",
        "dynamicForkTasksInputParamName": "i",
        "defaultCase": [echo("d1")], "forkTasks": [[echo("f1")], []],
        "startDelay": 4,
        "subWorkflowParam": {
            "name": "sub", "version": 3, "taskToDomain": { "*": "d" },
            "workflowDefinition": "${workflow.input.definition}", "idempotencyKey": "k",
            "idempotencyStrategy": "RETURN_EXISTING", "priority": "${workflow.input.p}",
        },
        "joinOn": ["full_ref"], "sink": "conductor:x", "optional": true,
        "taskDefinition": full_task_def(), "rateLimited": true,
        "defaultExclusiveJoinTask": ["full_ref"], "asyncComplete": true,
        "loopCondition": "false", "loopOver": [echo("l1")], "items": "${workflow.input.list}",
        "retryCount": 0, "evaluatorType": "javascript", "expression": "1",
        "onStateChange": { "onStart,onSuccess": [{ "type": "t", "payload": { "p": 1 } }] },
        "joinStatus": "j", "cacheConfig": { "key": "k", "ttlInSecond": 1 },
        "permissive": true, "joinMode": "SYNC", "metadata": { "x": 10 },
    })
}

fn full_task_def() -> Value {
    json!({
        "name": "def", "description": "d", "retryCount": 1, "timeoutSeconds": 100,
        "inputKeys": ["i"], "outputKeys": ["o"], "runtimeMetadata": ["SECRET"],
        "timeoutPolicy": "RETRY", "retryLogic": "LINEAR_BACKOFF", "retryDelaySeconds": 2,
        "responseTimeoutSeconds": 50, "concurrentExecLimit": 9,
        "inputTemplate": { "http_request": {} }, "rateLimitPerFrequency": 100,
        "rateLimitFrequencyInSeconds": 60, "isolationGroupId": "g", "executionNameSpace": "n",
        "ownerEmail": "a@example.com", "pollTimeoutSeconds": 8, "backoffScaleFactor": 2,
        "maxRetryDelaySeconds": 90, "backoffJitterMs": 250, "baseType": "b",
        "totalTimeoutSeconds": 1000, "taskStatusListenerEnabled": false,
        "inputSchema": full_schema("PROTOBUF"), "outputSchema": full_schema("JSON"),
        "enforceSchema": true, "ownerApp": "app", "createTime": 1, "updateTime": 2,
        "createdBy": "c", "updatedBy": "u",
    })
}

/// A task exactly as a small one is echoed: with its empty collections and its defaults.
fn echo(reference: &str) -> Value {
    json!({
        "name": "t", "taskReferenceName": reference, "inputParameters": {}, "type": "SIMPLE",
        "decisionCases": {}, "defaultCase": [], "forkTasks": [], "startDelay": 0, "joinOn": [],
        "optional": false, "defaultExclusiveJoinTask": [], "asyncComplete": false, "loopOver": [],
        "onStateChange": {}, "permissive": false, "metadata": {},
    })
}
