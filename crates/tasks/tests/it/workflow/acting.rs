//! As whom tasks act on the server: what its principal may not do, a run does not do.

use engine::{Engine, Options, Requirement, Rights};
use kernel::ExecutionId;
use kernel::access::{Grant, Permission, Role};
use kernel::graph::Status;
use serde_json::{Value, json};
use tasks::registry::{Settings, runners};

use crate::flows::{ended, open_with, register, stands, start, start_as};

/// An engine with access control, on which somebody else's workflow waits.
async fn guarded() -> (Engine, ExecutionId) {
    let mut settings = Settings::default();
    settings.http.environment_proxy = false;
    let options = Options { checks_principals: true, ..Options::default() };
    let engine = open_with(runners(&settings).unwrap(), options).await;
    for name in ["victim", "mine-wait"] {
        register(&engine, name, json!([{ "ref": "w", "type": "WAIT" }])).await;
    }
    let victim = start(&engine, "victim", json!({})).await;
    (engine, victim)
}

/// A principal that may do this on workflows whose names begin with `mine`, or on everything.
async fn principal(engine: &Engine, role: Role, on: Option<&str>) -> String {
    let rights = match on {
        Some(on) => Rights {
            roles: Vec::new(),
            grants: vec![Grant::new(role, on.parse().unwrap()).unwrap()],
        },
        None => vec![role].into(),
    };
    let made = engine.access().create_key("mallory", rights, None, "test", engine.now()).await;
    format!("key:{}", made.unwrap().record.id)
}

/// Runs a task as somebody, to its end.
async fn run_as(engine: &Engine, who: &str, kind: &str, input: &Value) -> (Status, String) {
    let name = format!("mine {kind}");
    let task = json!([{ "ref": "it", "type": kind, "inputParameters": input }]);
    register(engine, &name, task).await;
    let id = start_as(engine, &name, json!({}), Some(who)).await;
    let (status, _, reason) = ended(engine, &id).await;
    (status, reason)
}

const MINE: &str = "kind=workflow,name=mine*";

#[tokio::test]
async fn tasks_reach_no_workflow_that_the_principal_may_not_reach() {
    let (engine, victim) = guarded().await;
    let who = principal(&engine, Role::Runner, Some(MINE)).await;
    let own = start(&engine, "mine-wait", json!({})).await;
    let by_name = json!({ "workflowId": victim, "taskRefName": "w", "taskStatus": "COMPLETED" });
    let by_id = json!({ "taskId": format!("{victim}-1"), "taskStatus": "COMPLETED" });
    for (kind, input) in [
        ("TERMINATE_WORKFLOW", json!({ "workflowId": [victim] })),
        ("UPDATE_TASK", by_name),
        ("UPDATE_TASK", by_id),
        ("GET_WORKFLOW", json!({ "id": victim })),
        ("GET_WORKFLOW", json!({ "id": "there-is-none" })),
        ("QUERY_PROCESSOR", json!({ "queryType": "CONDUCTOR_API", "workflowNames": ["victim"] })),
        ("EVENT", json!({ "sink": "conductor:x" })),
        ("UPDATE_SECRET", json!({ "_secrets": { "secretKey": "K", "secretValue": "v" } })),
    ] {
        let (status, reason) = run_as(&engine, &who, kind, &input).await;
        assert_eq!(status, Status::Failed, "{kind} {input}");
        assert!(reason.contains("FORBIDDEN"), "{kind} {input}: {reason}");
    }
    assert_eq!(stands(&engine, &victim).await.0, Status::Running);
    let (status, reason) =
        run_as(&engine, &who, "TERMINATE_WORKFLOW", &json!({ "workflowId": [own] })).await;
    assert_eq!(status, Status::Completed, "{reason}");
    assert_eq!(stands(&engine, &own).await.0, Status::Terminated);
}

#[tokio::test]
async fn rights_are_those_of_the_moment() {
    let (engine, victim) = guarded().await;
    let who = principal(&engine, Role::Runner, None).await;
    let get = json!({ "id": victim });
    let incident = json!({ "key": "k", "text": "t" });
    for (kind, input) in [("GET_WORKFLOW", &get), ("INCIDENT", &incident)] {
        let (status, reason) = run_as(&engine, &who, kind, input).await;
        assert_eq!(status, Status::Completed, "{kind}: {reason}");
    }
    // A secret takes more than a run does.
    let secret = json!({ "_secrets": { "secretKey": "K", "secretValue": "v" } });
    let (_, reason) = run_as(&engine, &who, "UPDATE_SECRET", &secret).await;
    assert!(reason.contains("write-secrets"), "{reason}");
    let id = who.strip_prefix("key:").unwrap();
    engine.access().revoke_key(id, "test", engine.now()).await.unwrap();
    for (kind, input) in [
        ("GET_WORKFLOW", &get),
        ("INCIDENT", &incident),
        ("JDBC", &json!({ "connectionId": "none", "statement": "SELECT 1", "type": "SELECT" })),
        ("NOTIFY", &json!({ "receiver": "r" })),
    ] {
        let (status, reason) = run_as(&engine, &who, kind, input).await;
        assert_eq!(status, Status::Failed, "{kind}");
        assert!(reason.contains("FORBIDDEN") && reason.contains("revoked"), "{kind}: {reason}");
    }
}

/// Which built-in tasks act on the server, and what they require for that.
#[test]
fn each_built_in_task_says_what_it_requires() {
    let mut settings = Settings::default();
    settings.http.environment_proxy = false;
    let all = runners(&settings).unwrap();
    let acting: Vec<(&str, Requirement)> = all
        .iter()
        .map(|it| (it.task_type(), it.requires()))
        .filter(|(_, requirement)| *requirement != Requirement::Nothing)
        .collect();
    let expected = [
        ("QUERY_PROCESSOR", Requirement::Everything(Permission::Read)),
        ("GET_WORKFLOW", Requirement::EachThing),
        ("TERMINATE_WORKFLOW", Requirement::EachThing),
        ("UPDATE_TASK", Requirement::EachThing),
        ("JDBC", Requirement::OwnRun),
        ("NOTIFY", Requirement::OwnRun),
        ("INCIDENT", Requirement::OwnRun),
        ("UPDATE_SECRET", Requirement::Everything(Permission::WriteSecrets)),
        ("EVENT", Requirement::Everything(Permission::Run)),
    ];
    assert_eq!(acting, expected);
}
