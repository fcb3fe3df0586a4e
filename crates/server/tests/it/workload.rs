//! Programs that come in by tokens of another system are the applications that the configuration says.

use std::sync::Arc;

use axum::http::Method;
use kernel::access::Mode;
use ring::rand::SystemRandom;
use ring::signature::KeyPair as _;
use serde_json::{Value, json};
use server::oidc::{Call, KeysAt, Outside, Reply, Workload, WorkloadOptions};
use zeroize::Zeroizing;

use crate::sso::{pair, part};
use crate::support::{Server, send_through};

/// Keys are in a file.
struct Nobody;

#[async_trait::async_trait]
impl Outside for Nobody {
    async fn send(&self, call: Call) -> Result<Reply, String> {
        panic!("{call:?}: nobody is to be asked");
    }

    fn secret(&self) -> Result<Option<Zeroizing<String>>, String> {
        Ok(None)
    }
}

#[tokio::test]
async fn a_workload_is_its_application_with_its_grants_alone() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let (key, folder) = (pair(), tempfile::tempdir().unwrap());
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let keys = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": x, "y": y }] });
    std::fs::write(folder.path().join("jwks.json"), keys.to_string()).unwrap();
    let workload = Workload {
        name: "jobs".to_owned(),
        issuer: "https://kubernetes.example".to_owned(),
        keys: KeysAt::File(folder.path().join("jwks.json")),
        audience: "nightbell".to_owned(),
        claims: vec![("sub".to_owned(), "etl".to_owned())],
        application: "etl".to_owned(),
    };
    let options = WorkloadOptions { workloads: vec![workload], outside: Arc::new(Nobody) };
    let server = Server::new().await.with(|settings| {
        settings.auth = Mode::On;
        settings.workloads = Some(options);
    });
    let now = server.engine.now();
    let claims = json!({ "iss": "https://kubernetes.example", "aud": "nightbell", "sub": "etl",
        "exp": now.millis() / 1000 + 300 });
    let signed = format!("{}.{}", part(&json!({ "alg": "ES256" })), part(&claims));
    let proof = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    let token = format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(proof));
    let router = server::router(server.api());
    let ask = async |path: &str| {
        let headers = [("authorization", token.as_str())];
        send_through(router.clone(), Method::GET, path, &headers, String::new()).await
    };
    let why = ask("/api/tasks/poll/load").await.failed(401);
    assert!(why.contains("no application"), "{why}");

    let access = server.engine.access();
    let wanted = engine::NewUser { name: "etl".to_owned(), ..engine::NewUser::default() };
    let user = access.create_user(wanted, "test", now).await.unwrap();
    ask("/api/tasks/poll/load").await.failed(401);
    access.delete_user(&user.id, now).await.unwrap();
    let on = "task=load".parse().unwrap();
    let grant = kernel::access::Grant::new(kernel::access::Role::Worker, on).unwrap();
    let wanted = engine::NewUser {
        name: "etl".to_owned(),
        application: true,
        rights: engine::Rights { roles: Vec::new(), grants: vec![grant] },
        ..engine::NewUser::default()
    };
    access.create_user(wanted, "test", now).await.unwrap();
    assert_eq!(ask("/api/tasks/poll/load").await.status, 204);
    assert_eq!(ask("/api/tasks/poll/other").await.status, 403);
    assert_eq!(ask("/api/token/userInfo").await.ok()["name"], "etl");
    access.disable_user("etl", "test", now).await.unwrap();
    assert_eq!(ask("/api/tasks/poll/load").await.json()["error"], Value::from("INVALID_TOKEN"));
}
