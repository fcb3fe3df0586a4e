//! Attacks on the real binary by those who have no access: each test fails if its attack works.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::live::Live;

async fn ask(live: &Live, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = live.http.request(method, live.url(path)).body("{}");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or_default())
}

async fn is_guarded(live: &Live) {
    let host = [("host", "rebind.evil.example:8080")];
    for path in ["/api/secrets", "/api/workflow/search", "/docs", "/metrics"] {
        let (status, told) = ask(live, Method::GET, path, &host).await;
        assert_eq!((status, &told["code"]), (421, &json!("host-unknown")), "{path}: {told}");
        assert!(told["hint"].as_str().is_some_and(|hint| hint.contains("`hosts`")), "{told}");
    }
    for mark in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let headers = [("content-type", "text/plain"), mark];
        for (method, path) in [
            (Method::POST, "/api/workflow"),
            (Method::GET, "/api/workflow/execute/x"),
            (Method::GET, "/api/tasks/poll/x"),
            (Method::DELETE, "/api/secrets/X"),
        ] {
            let (status, told) = ask(live, method, path, &headers).await;
            assert_eq!((status, &told["code"]), (403, &json!("cross-site")), "{path}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_reach_neither_the_server_nor_the_tour() {
    is_guarded(&Live::start(&[]).await).await;
    is_guarded(&Live::tour().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_name_hosts_and_proxies() {
    let arguments = ["--hosts", "bell.example", "--hosts", "*.corp.example"];
    let proxies = ["--trusted-proxies", "127.0.0.0/8"];
    let live = Live::start(&[&arguments[..], &proxies[..]].concat()).await;
    is_guarded(&live).await;
    let wait = json!({ "name": "wait", "taskReferenceName": "wait", "type": "WAIT" });
    live.define("w", json!([wait])).await;
    for host in ["bell.example", "a.corp.example:1", "localhost", "10.1.2.3:8080"] {
        let (status, told) = ask(&live, Method::GET, "/api/secrets", &[("host", host)]).await;
        assert_eq!(status, StatusCode::OK, "{host}: {told}");
    }
    let start = "/runtime/webhooks/durabletask/orchestrators/w?code=SYSTEMKEY123";
    for (forwarded, expected) in
        [("bell.example", "https://bell.example/"), ("evil.example", "https://127.0.0.1:")]
    {
        let headers = [("x-forwarded-host", forwarded), ("x-forwarded-proto", "https")];
        let (status, told) = ask(&live, Method::POST, start, &headers).await;
        let link = told["statusQueryGetUri"].as_str().unwrap_or_default();
        assert_eq!(status, StatusCode::ACCEPTED, "{told}");
        assert!(link.starts_with(expected), "{forwarded}: {link}");
        assert!(!told.to_string().contains("SYSTEMKEY123"), "{told}");
    }
}
