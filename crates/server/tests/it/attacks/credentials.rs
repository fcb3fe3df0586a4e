//! Credentials that have ended, that were looked at before, and that come while the store is away; changes
//! that nobody can write down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use axum::Router;
use axum::http::{Method, Request};
use engine::memory::{Call, Fault, Memory};
use engine::store::StoreError;
use engine::{Clock, SystemClock};
use kernel::Timestamp;
use kernel::access::{Mode, Role};
use serde_json::{Value, json};

use crate::support::{Answer, Server, send_through};

const DEFINITIONS: &str = "/api/metadata/workflow";

async fn key(server: &Server, role: Role) -> String {
    let (engine, now) = (&server.engine, server.engine.now());
    let made = engine.access().create_key("ann", vec![role], None, "test", now).await;
    made.expect("memory takes all").text.to_string()
}

async fn ask(router: &Router, method: Method, path: &str, credential: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {credential}");
    let headers = [("authorization", bearer.as_str())];
    send_through(router.clone(), method, path, &headers, body.to_owned()).await
}

async fn token(router: &Router, key: &str) -> Answer {
    let given = json!({ "keyId": &key[3..15], "keySecret": key }).to_string();
    send_through(router.clone(), Method::POST, "/api/token", &[], given).await
}

/// The status of a call by gRPC that says who calls.
async fn called(router: &Router, credential: &str) -> String {
    let request = Request::post("/TaskHubSidecarService/Hello")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {credential}"))
        .body(axum::body::Body::from(&[0_u8; 5][..]))
        .expect("a request");
    let response = tower::ServiceExt::oneshot(router.clone(), request).await.expect("an answer");
    let at_once = response.headers().get("grpc-status").cloned();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body");
    let later = body.trailers().and_then(|it| it.get("grpc-status").cloned());
    let status = at_once.or(later).expect("a status");
    status.to_str().expect("text").to_owned()
}

/// A store of which writes to the ledger, or everything, fails while it is told so.
fn failing(everything: bool) -> (Arc<Memory>, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let told = fails.clone();
    let store = Memory::with_faults(move |call| {
        let concerned = everything || matches!(call, Call::Write("put_records"));
        let fails = concerned && told.load(Ordering::SeqCst);
        fails.then(|| Fault::Before(StoreError::Unavailable("/secret/path is full".to_owned())))
    });
    (Arc::new(store), fails)
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done() {
    let (store, fails) = failing(false);
    let server = Server::with_store(store).await.with(|settings| settings.auth = Mode::On);
    let (editor, admin) = (key(&server, Role::Editor).await, key(&server, Role::Admin).await);
    let router = server::router(server.api());
    fails.store(true, Ordering::SeqCst);
    let flow = json!({ "name": "f", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }] });
    let revoked = format!("/api/access/keys/{}", &editor[3..15]);
    for (method, path, key, body) in [
        (Method::PUT, "/api/environment/ZONE", &editor, json!("north")),
        (Method::POST, DEFINITIONS, &editor, flow),
        (Method::DELETE, &*revoked, &admin, Value::Null),
    ] {
        let answer = ask(&router, method, path, key, &body.to_string()).await;
        assert_eq!(answer.code(503), "audit-unavailable", "{path}: {}", answer.text);
        assert!(!answer.text.contains("/secret/path"), "{}", answer.text);
    }
    // Reading needs no line, and refusals stay refusals.
    let found = ask(&router, Method::GET, DEFINITIONS, &editor, "").await.ok();
    assert_eq!(found, json!([]), "nothing was defined");
    ask(&router, Method::GET, "/api/environment/ZONE", &editor, "").await.failed(404);
    ask(&router, Method::GET, DEFINITIONS, "nb_wrong", "").await.failed(401);
    fails.store(false, Ordering::SeqCst);
    ask(&router, Method::PUT, "/api/environment/ZONE", &editor, "\"north\"").await.ok_text();
}

/// Tokens are given and counted from memory: SDKs that get none five times give up for good.
#[tokio::test]
async fn tokens_are_given_and_count_while_the_store_is_away() {
    let (store, fails) = failing(true);
    let server = Server::with_store(store).await.with(|settings| settings.auth = Mode::On);
    let viewer = key(&server, Role::Viewer).await;
    let router = server::router(server.api());
    fails.store(true, Ordering::SeqCst);
    let given = token(&router, &viewer).await.ok();
    let token = given["token"].as_str().expect("a token");
    // Whoever may is told of the store, and whoever may not of nothing else.
    for credential in [token, &viewer] {
        let answer = ask(&router, Method::GET, "/api/workflow/none", credential, "").await;
        assert_eq!(answer.code(503), "store-unavailable", "{}", answer.text);
        let answer = ask(&router, Method::GET, "/metrics", credential, "").await;
        assert_eq!(answer.code(403), "forbidden", "{}", answer.text);
        assert_eq!(called(&router, credential).await, "0");
    }
    let wrong = token.replace('.', "..");
    let answer = ask(&router, Method::GET, "/api/workflow/none", &wrong, "").await;
    assert_eq!(answer.code(401), "invalid-token");
}

/// A clock that is set.
struct Set(AtomicI64);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_seconds(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn a_token_that_has_ended_counts_neither_over_http_nor_over_grpc() {
    let clock = Arc::new(Set(AtomicI64::new(0)));
    let server = Server::with_clock(clock.clone()).await.with(|it| it.auth = Mode::On);
    let viewer = key(&server, Role::Viewer).await;
    let router = server::router(server.api());
    let given = token(&router, &viewer).await.ok();
    let old = given["token"].as_str().expect("a token");
    clock.0.store(3590, Ordering::SeqCst);
    ask(&router, Method::GET, DEFINITIONS, old, "").await.ok();
    assert_eq!(called(&router, old).await, "0");
    clock.0.store(3601, Ordering::SeqCst);
    let answer = ask(&router, Method::GET, DEFINITIONS, old, "").await;
    assert_eq!(answer.code(401), "expired-token");
    assert_eq!(answer.json()["error"], "EXPIRED_TOKEN");
    assert_eq!(called(&router, old).await, "16", "unauthenticated");
    // The key lives on, and so does the next token.
    let given = token(&router, &viewer).await.ok();
    let next = given["token"].as_str().expect("a token");
    ask(&router, Method::GET, DEFINITIONS, next, "").await.ok();
    assert_eq!(called(&router, next).await, "0");
    // A clock that is set back does not bring the old one to life for longer than it had.
    clock.0.store(-3600, Ordering::SeqCst);
    assert_eq!(ask(&router, Method::GET, DEFINITIONS, next, "").await.code(401), "expired-token");
}

/// Whatever was asked before, of whom and how often, changes nothing about what a credential is worth.
#[tokio::test]
async fn no_answer_to_one_credential_decides_about_another() {
    let server = Server::new().await.with(|settings| settings.auth = Mode::On);
    let (viewer, admin) = (key(&server, Role::Viewer).await, key(&server, Role::Admin).await);
    let router = server::router(server.api());
    let given = token(&router, &viewer).await.ok();
    let good = given["token"].as_str().expect("a token").to_owned();
    // The id of one key with the secret of another; a token with the claims of one and the proof of another.
    let mixed = format!("{}{}", &viewer[..15], &admin[15..]);
    let given = token(&router, &admin).await.ok();
    let other = given["token"].as_str().expect("a token");
    let (signed, _) = other.rsplit_once('.').expect("three parts");
    let (_, proof) = good.rsplit_once('.').expect("three parts");
    let spliced = format!("{signed}.{proof}");
    let begin = |text: &str| format!("{}x", &text[..text.len() - 1]);
    let wrong = [mixed, spliced, begin(&viewer), begin(&good)];
    for _ in 0..3 {
        for credential in [&viewer, &good] {
            ask(&router, Method::GET, DEFINITIONS, credential, "").await.ok();
            for wrong in wrong.iter().filter(|it| *it != credential) {
                let answer = ask(&router, Method::GET, DEFINITIONS, wrong, "").await;
                assert_eq!(answer.code(401), "invalid-token", "{wrong}");
                ask(&router, Method::GET, "/api/access/keys", wrong, "").await.failed(401);
            }
            // What the administrator may is never answered to the viewer who asks at the same time.
            let (one, two) = tokio::join!(
                ask(&router, Method::GET, "/api/access/keys", &admin, ""),
                ask(&router, Method::GET, "/api/access/keys", credential, "")
            );
            one.ok();
            assert_eq!(two.code(403), "forbidden");
        }
    }
    // What counted a moment ago does not after it was revoked, nor by any other spelling.
    let path = format!("/api/access/keys/{}", &viewer[3..15]);
    ask(&router, Method::DELETE, &path, &admin, "").await.ok();
    for credential in [&viewer, &good] {
        for spelt in [credential.clone(), format!(" {credential}"), format!("{credential} ")] {
            ask(&router, Method::GET, DEFINITIONS, &spelt, "").await.failed(401);
        }
    }
}
