//! Access control in Orkes' words: applications with keys, users, groups and authorizations count as the
//! grants that they are.

use axum::Router;
use axum::http::Method;
use kernel::access::{Mode, Role};
use serde_json::{Value, json};

use crate::support::{Answer, Server, send_through};

/// A server that asks for keys, and an administrator's key.
pub(crate) struct House {
    _server: Server,
    router: Router,
    pub(crate) admin: String,
}

impl House {
    pub(crate) async fn new() -> Self {
        let server = Server::new().await.with(|settings| settings.auth = Mode::On);
        let (engine, now) = (&server.engine, server.engine.now());
        let made = engine.access().create_key("root", vec![Role::Admin], None, "test", now).await;
        let admin = made.expect("memory takes all").text.to_string();
        let router = server::router(server.api());
        Self { _server: server, router, admin }
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        credential: &str,
        body: &Value,
    ) -> Answer {
        let headers = [("x-authorization", credential), ("content-type", "application/json")];
        let headers = if credential.is_empty() { &headers[1..] } else { &headers[..] };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        send_through(self.router.clone(), method, path, headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, &self.admin, &Value::Null).await.ok()
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Value) -> Value {
        self.ask(method, path, &self.admin, &body).await.ok()
    }

    pub(crate) async fn refused(
        &self,
        method: Method,
        path: &str,
        body: Value,
        status: u16,
    ) -> String {
        self.ask(method, path, &self.admin, &body).await.failed(status)
    }
}

#[tokio::test]
async fn an_application_polls_what_it_is_granted_until_its_key_is_revoked() {
    let it = House::new().await;
    let made = it.send(Method::POST, "/api/applications", json!({ "name": "etl" })).await;
    let id = made["id"].as_str().expect("an id");
    let path = format!("/api/applications/{id}");
    let key = it.send(Method::POST, &format!("{path}/accessKeys"), Value::Null).await;
    let given = json!({ "keyId": key["id"], "keySecret": key["secret"] });
    let token = it.ask(Method::POST, "/api/token", "", &given).await.ok();
    let token = token["token"].as_str().expect("a token");
    let poll = async |task: &str| {
        it.ask(Method::GET, &format!("/api/tasks/poll/{task}"), token, &Value::Null)
            .await
            .status
            .as_u16()
    };
    // `WORKER` is what Orkes gives workers that are granted tasks one by one.
    it.send(Method::POST, &format!("{path}/roles/WORKER"), Value::Null).await;
    assert_eq!(poll("load").await, 403);
    let authorization = json!({ "subject": { "type": "USER", "id": format!("app:{id}") },
        "target": { "type": "TASK_DEF", "id": "load" }, "access": ["EXECUTE"] });
    it.send(Method::POST, "/api/auth/authorization", authorization.clone()).await;
    assert_eq!((poll("load").await, poll("other").await), (204, 403));
    let on_it = it.get("/api/auth/authorization/TASK_DEF/load").await;
    assert_eq!(on_it, json!({ "EXECUTE": [{ "type": "USER", "id": format!("app:{id}") }] }));
    it.send(Method::DELETE, "/api/auth/authorization", authorization).await;
    assert_eq!(poll("load").await, 403);
    it.send(Method::POST, &format!("{path}/roles/UNRESTRICTED_WORKER"), Value::Null).await;
    assert_eq!(poll("other").await, 204);

    // Nobody signs in as an application.
    let password = json!({ "password": "correct horse battery" });
    it.refused(Method::PUT, "/api/access/users/etl/password", password, 400).await;

    // Under another name it is the same.
    it.send(Method::PUT, &path, json!({ "name": "etl-2" })).await;
    let key_id = key["id"].as_str().expect("an id");
    let owner = it.get(&format!("/api/applications/key/{key_id}")).await;
    assert_eq!((&owner["id"], &owner["name"]), (&made["id"], &json!("etl-2")));
    it.send(Method::POST, "/api/applications", json!({ "name": "etl" })).await;
    it.refused(Method::PUT, &path, json!({ "name": "etl" }), 409).await;
    assert_eq!(poll("other").await, 204);

    let status = format!("{path}/accessKeys/{key_id}/status");
    let key = it.send(Method::POST, &status, Value::Null).await;
    assert_eq!(key["status"], "INACTIVE");
    assert_eq!(poll("other").await, 401);
    it.refused(Method::POST, &status, Value::Null, 409).await;
    let keys = it.get(&format!("{path}/accessKeys")).await;
    assert_eq!((&keys[0]["status"], &keys[1]), (&json!("INACTIVE"), &Value::Null));
    assert_eq!(it.get("/api/users").await, json!([]));
    assert_eq!(it.get("/api/users?apps=True").await.as_array().map(Vec::len), Some(2));
    it.send(Method::DELETE, &path, Value::Null).await;
    it.refused(Method::GET, &path, Value::Null, 404).await;
}

#[tokio::test]
async fn users_and_groups_are_described_and_granted() {
    let it = House::new().await;
    let group = json!({ "description": "Data people", "roles": ["USER"], "defaultAccess": {} });
    it.send(Method::PUT, "/api/groups/data", group).await;
    let ann = json!({ "name": "Ann Smith", "roles": ["USER"], "groups": ["data"] });
    let ann = it.send(Method::PUT, "/api/users/ann@example.com", ann).await;
    assert_eq!((&ann["id"], &ann["name"]), (&json!("ann@example.com"), &json!("Ann Smith")));
    assert_eq!(ann["groups"][0]["description"], "Data people");
    assert_eq!(ann["roles"][0]["name"], "USER");
    let check = "/api/users/ann@example.com/checkPermissions?type=WORKFLOW_DEF&id=etl-load";
    assert_eq!(it.get(check).await["READ"], false);

    let authorization = json!({ "subject": { "type": "GROUP", "id": "data" },
        "target": { "type": "WORKFLOW_DEF", "id": "etl-*" }, "access": ["READ", "EXECUTE"] });
    it.send(Method::POST, "/api/auth/authorization", authorization).await;
    let may = it.get(check).await;
    assert_eq!(
        (&may["READ"], &may["EXECUTE"], &may["UPDATE"]),
        (&json!(true), &json!(true), &json!(false))
    );
    let granted = json!({ "grantedAccess": [
        { "target": { "type": "WORKFLOW_DEF", "id": "etl-*" }, "access": ["READ", "EXECUTE"] }] });
    assert_eq!(it.get("/api/groups/data/permissions").await, granted);
    assert_eq!(
        it.get("/api/users/ann@example.com/permissions").await,
        json!({ "grantedAccess": [] })
    );
    let by_grant = it.get("/api/access/grants?group=data").await;
    assert_eq!(by_grant[0]["on"], "kind=workflow,name=etl-*");

    // What is said again replaces the roles, and leaves the groups if none are named.
    let again = it
        .send(Method::PUT, "/api/users/ann@example.com", json!({ "roles": ["USER_READ_ONLY"] }))
        .await;
    assert_eq!(
        (&again["roles"][0]["name"], &again["groups"][0]["id"]),
        (&json!("USER_READ_ONLY"), &json!("data"))
    );
    it.send(Method::DELETE, "/api/groups/data/users", json!(["ann@example.com"])).await;
    assert_eq!(it.get("/api/groups/data/users").await, json!([]));
    it.send(Method::POST, "/api/groups/data/users/ann@example.com", Value::Null).await;
    assert_eq!(it.get("/api/groups/data/users").await[0]["id"], "ann@example.com");

    // Only what is enforced is accepted.
    let update = json!({ "subject": { "type": "USER", "id": "ann@example.com" },
        "target": { "type": "WORKFLOW_DEF", "id": "etl" }, "access": ["UPDATE"] });
    let why = it.refused(Method::POST, "/api/auth/authorization", update, 400).await;
    assert!(why.contains("UPDATE cannot be granted on WORKFLOW_DEF"), "{why}");
    let whole = json!({ "roles": ["SUPERUSER"] });
    let why = it.refused(Method::PUT, "/api/users/bob", whole, 400).await;
    assert!(why.contains("METADATA_MANAGER"), "{why}");
    let default = json!({ "defaultAccess": { "WORKFLOW_DEF": ["READ"] } });
    it.refused(Method::PUT, "/api/groups/data", default, 400).await;

    it.send(Method::DELETE, "/api/groups/data", Value::Null).await;
    it.send(Method::DELETE, "/api/users/ann@example.com", Value::Null).await;
    it.refused(Method::GET, "/api/users/ann@example.com", Value::Null, 404).await;
}
