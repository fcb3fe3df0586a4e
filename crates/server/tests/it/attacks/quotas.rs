//! Principals that ask for more than their share.

use axum::Router;
use axum::http::Method;
use kernel::access::{Mode, Role};
use serde_json::json;
use server::QuotaSettings;

use crate::support::{Answer, Server, send_through, waiting};

/// A server with quotas, and the router that counts.
async fn limited(mode: Mode, requests_per_second: u32, bytes_per_minute: u64) -> (Server, Router) {
    let server = Server::new().await.with(|settings| {
        settings.auth = mode;
        settings.quotas = QuotaSettings { requests_per_second, bytes_per_minute };
    });
    server.register(waiting("w")).await;
    let router = server::router(server.api());
    (server, router)
}

async fn key(server: &Server, role: Role) -> String {
    let (engine, now) = (&server.engine, server.engine.now());
    let made = engine.access().create_key("k", vec![role], None, "test", now).await;
    format!("Bearer {}", made.expect("memory takes all").text.as_str())
}

async fn send(router: &Router, method: Method, path: &str, key: &str, body: String) -> Answer {
    let headers = if key.is_empty() { vec![] } else { vec![("authorization", key)] };
    send_through(router.clone(), method, path, &headers, body).await
}

async fn get(router: &Router, path: &str, key: &str) -> Answer {
    send(router, Method::GET, path, key, String::new()).await
}

/// Asks until it is refused; answers the refusal.
async fn until_refused(router: &Router, key: &str) -> Answer {
    for _ in 0..1000 {
        let answer = get(router, "/api/metadata/taskdefs", key).await;
        if answer.status != 200 {
            return answer;
        }
    }
    panic!("nothing is refused");
}

#[tokio::test]
async fn a_flood_of_requests_is_refused_to_its_sender_alone() {
    let (server, router) = limited(Mode::On, 3, 0).await;
    let (loud, calm) = (key(&server, Role::Viewer).await, key(&server, Role::Admin).await);
    let refused = until_refused(&router, &loud).await;
    assert_eq!(refused.code(429), "quota-exceeded");
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(refused.failed(429).contains("principal_requests_per_second"), "{}", refused.text);
    let page = get(&router, "/metrics", &calm).await.ok_text();
    assert!(page.contains("nightbell_quota_refusals_total{quota=\"requests\"} 1\n"), "{page}");
    // What is public says nothing of anybody, and what is nobody's is refused as before.
    assert_eq!(get(&router, "/api/version", &loud).await.status, 200);
    get(&router, "/api/metadata/taskdefs", "").await.failed(401);
}

#[tokio::test]
async fn large_bodies_are_refused_after_the_first_that_was_too_much() {
    let (server, router) = limited(Mode::On, 0, 10_000).await;
    let key = key(&server, Role::Runner).await;
    let start = async |size: usize| {
        let body = json!({ "text": "x".repeat(size) }).to_string();
        send(&router, Method::POST, "/api/workflow/w", &key, body).await
    };
    assert_eq!(start(4000).await.status, 200);
    assert_eq!(start(8000).await.status, 200, "as long as there is room one may begin");
    let refused = start(10).await;
    assert_eq!(refused.code(429), "quota-exceeded");
    assert!(refused.failed(429).contains("principal_bytes_per_minute"), "{}", refused.text);
}

#[tokio::test]
async fn who_sends_no_key_is_counted_while_keys_are_offered_and_nobody_while_it_is_open() {
    let (_server, router) = limited(Mode::Offered, 3, 0).await;
    assert_eq!(until_refused(&router, "").await.code(429), "quota-exceeded");
    let (_server, router) = limited(Mode::Open, 1, 1).await;
    for _ in 0..20 {
        get(&router, "/api/metadata/taskdefs", "").await.ok();
    }
}
