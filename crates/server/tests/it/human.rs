//! HUMAN tasks: in whose inbox they are, and who claims and completes them.

use axum::http::Method;
use serde_json::{Value, json};

use crate::orkes::House;
use crate::support::Answer;

/// People who may respond, by their keys, and a workflow with a task for somebody.
struct People {
    house: House,
    ann: String,
    bob: String,
    eve: String,
}

impl People {
    async fn new() -> Self {
        let house = House::new().await;
        let post = async |path: &str, body: Value| house.send(Method::POST, path, body).await;
        post("/api/access/groups", json!({ "name": "sre", "roles": [] })).await;
        let mut keys = Vec::new();
        for (name, groups) in [("ann", json!(["sre"])), ("bob", json!(["sre"])), ("eve", json!([]))]
        {
            let user = json!({ "name": name, "roles": ["responder"], "groups": groups });
            post("/api/access/users", user).await;
            let key = post("/api/access/keys", json!({ "name": "laptop", "user": name })).await;
            keys.push(key["keySecret"].as_str().expect("a key").to_owned());
        }
        let definition = json!({ "name": "approval", "version": 1, "schemaVersion": 2, "tasks": [{
            "name": "approve", "taskReferenceName": "approve", "type": "HUMAN",
            "inputParameters": { "amount": 7, "__humanTaskDefinition": "${workflow.input.to}" } }],
            "outputParameters": { "approved": "${approve.output.approved}" } });
        let path = "/api/metadata/workflow";
        house.ask(Method::POST, path, &house.admin, &definition).await.ok_text();
        let [ann, bob, eve] = keys.try_into().expect("three keys");
        Self { house, ann, bob, eve }
    }

    /// Starts a run with a task for somebody; its id, and that of the task.
    async fn begin(&self, to: Value) -> (String, String) {
        let path = "/api/workflow/approval";
        let id = self
            .house
            .ask(Method::POST, path, &self.house.admin, &json!({ "to": to }))
            .await
            .ok_text();
        let run = self.house.get(&format!("/api/workflow/{id}")).await;
        let task = run["tasks"][0]["taskId"].as_str().expect("a task").to_owned();
        (id, task)
    }

    async fn act(&self, who: &str, task: &str, act: &str, body: Value) -> Answer {
        self.house.ask(Method::POST, &format!("/api/human/tasks/{task}/{act}"), who, &body).await
    }

    /// What is for somebody to do.
    async fn inbox(&self, who: &str) -> Vec<Value> {
        let path = "/api/human/tasks/search";
        let found = self.house.ask(Method::POST, path, who, &json!({})).await.ok();
        found["results"].as_array().expect("a list").clone()
    }
}

fn to(kind: &str, name: &str) -> Value {
    json!({ "assignments": [{ "assignee": { "userType": kind, "user": name } }] })
}

#[tokio::test]
async fn only_whom_it_is_assigned_to_completes_a_task() {
    let it = People::new().await;
    let (run, task) = it.begin(to("CONDUCTOR_USER", "Ann")).await;
    assert_eq!(it.inbox(&it.ann).await[0]["taskId"], *task);
    assert!(it.inbox(&it.bob).await.is_empty());
    let shown = it.house.get(&format!("/api/human/tasks/{task}")).await;
    assert_eq!((&shown["state"], &shown["assignee"]["user"]), (&json!("ASSIGNED"), &json!("Ann")));
    for act in ["claim", "release", "update?complete=true"] {
        let why = it.act(&it.bob, &task, act, json!({})).await.failed(403);
        assert!(why.contains("assigned to 'Ann'"), "{why}");
    }
    // A responder has no other way to complete it.
    let path = format!("/api/tasks/{run}/approve/COMPLETED");
    it.house.ask(Method::POST, &path, &it.ann, &json!({})).await.failed(403);

    it.act(&it.ann, &task, "update", json!({ "note": "soon" })).await.ok();
    let done =
        it.act(&it.ann, &task, "update?complete=true", json!({ "approved": true })).await.ok();
    assert_eq!((&done["state"], &done["claimant"]["user"]), (&json!("COMPLETED"), &json!("ann")));
    assert_eq!(done["output"]["note"], "soon");
    let run = it.house.get(&format!("/api/workflow/{run}")).await;
    assert_eq!((&run["status"], &run["output"]["approved"]), (&json!("COMPLETED"), &json!(true)));
    it.act(&it.ann, &task, "claim", json!({})).await.failed(409);
    assert!(it.inbox(&it.ann).await.is_empty());
}

#[tokio::test]
async fn a_task_of_a_group_is_done_by_who_claims_it() {
    let it = People::new().await;
    let (_, task) = it.begin(to("CONDUCTOR_GROUP", "sre")).await;
    assert_eq!((it.inbox(&it.ann).await.len(), it.inbox(&it.bob).await.len()), (1, 1));
    it.act(&it.eve, &task, "claim", json!({})).await.failed(403);
    let claimed = it.act(&it.bob, &task, "claim", Value::Null).await.ok();
    assert_eq!(
        (&claimed["state"], &claimed["claimant"]["user"]),
        (&json!("IN_PROGRESS"), &json!("bob"))
    );
    let why = it.act(&it.ann, &task, "claim", Value::Null).await.failed(403);
    assert!(why.contains("'bob' has claimed"), "{why}");
    assert!(it.inbox(&it.ann).await.is_empty());
    it.act(&it.bob, &task, "release", Value::Null).await.ok();
    it.act(&it.bob, &task, "release", Value::Null).await.failed(409);
    it.act(&it.ann, &task, "claim", Value::Null).await.ok();
    it.act(&it.bob, &task, "update?complete=true", json!({})).await.failed(403);
    // Who may run everything stands above that.
    it.act(&it.house.admin, &task, "update?complete=true", json!({})).await.ok();

    // One that is assigned to nobody is everybody's who may respond; one that makes no sense is nobody's.
    let (_, free) = it.begin(Value::Null).await;
    assert_eq!(it.inbox(&it.eve).await[0]["taskId"], *free);
    let (_, odd) = it.begin(json!({ "assignments": "ann" })).await;
    it.act(&it.ann, &odd, "claim", Value::Null).await.failed(403);
    let all =
        json!({ "searchType": "ADMIN", "states": ["ASSIGNED"], "workflowNames": ["approval"] });
    let all = it.house.send(Method::POST, "/api/human/tasks/search", all).await;
    assert_eq!(all["totalHits"], 2);
    it.house.refused(Method::GET, "/api/human/tasks/none", Value::Null, 404).await;
}
