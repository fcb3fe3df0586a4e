//! Secrets of files and of Vault in the real binary: while they cannot be read, what needs them fails and
//! says why, and the server says so; when they can, all goes on.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};

use crate::live::Live;

const PATIENCE: Duration = Duration::from_secs(30);

/// Vault behind `/v1`, sealed or not; all else is told the header `x-key` that it came with.
async fn start(is_sealed: Arc<AtomicBool>) -> String {
    let answer = move |request: Request| {
        let is_sealed = is_sealed.load(Ordering::SeqCst);
        async move { respond(&request, is_sealed) }
    };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    url
}

fn respond(request: &Request, is_sealed: bool) -> Response {
    let header = |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok());
    let refused = |status, why: &str| (status, Json(json!({ "errors": [why] }))).into_response();
    match request.uri().path() {
        "/v1/secret/data/pd" if is_sealed => {
            refused(StatusCode::SERVICE_UNAVAILABLE, "Vault is sealed")
        }
        "/v1/secret/data/pd" if header("x-vault-token") == Some("hvs.bell") => {
            Json(json!({ "data": { "data": { "key": "from-vault" } } })).into_response()
        }
        "/v1/secret/data/pd" => refused(StatusCode::FORBIDDEN, "permission denied"),
        _ => Json(json!({ "is_vaults": header("x-key") == Some("from-vault from-file") }))
            .into_response(),
    }
}

/// Waits until the server says of its secrets what is expected.
async fn until_secrets(live: &Live, are_wrong: bool) -> Value {
    let begun = Instant::now();
    loop {
        let health = live.get("/health").await;
        let warnings = health["warnings"].as_array().cloned().unwrap_or_default();
        let told = warnings.into_iter().find(|it| it["code"] == "secrets");
        let incidents = live.get("/api/incidents?state=open").await.to_string();
        if told.is_some() == are_wrong && incidents.contains("secret:vault:*") == are_wrong {
            return told.unwrap_or_default();
        }
        assert!(begun.elapsed() < PATIENCE, "{health} {incidents} {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_secret_that_cannot_be_read_fails_and_says_why_until_it_can() {
    let is_sealed = Arc::new(AtomicBool::new(true));
    let url = start(is_sealed.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    let kept = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let token = kept("token", "hvs.bell\n");
    kept("local", "from-file\n");
    let live = Live::start_as(
        "serve",
        &[
            "--secrets",
            "PD=vault:secret/pd#key",
            "--secrets",
            "LOCAL=credential:local",
            "--vault-url",
            &url,
            "--vault-token-file",
            &token,
        ],
        &[("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())],
    )
    .await;
    let told = until_secrets(&live, true).await;
    let reason = told["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("503 Vault is sealed") && reason.contains("PD"), "{told}");

    let call = json!({ "uri": url, "method": "GET",
        "headers": { "x-key": "${workflow.secrets.PD} ${workflow.secrets.LOCAL}" } });
    let task = |kind: &str, input: &Value| {
        json!([{ "name": "t", "taskReferenceName": "t", "type": kind,
        "retryCount": 0, "inputParameters": input }])
    };
    live.define("calls", task("HTTP", &json!({ "http_request": call }))).await;
    live.define("works", task("SIMPLE", &json!({ "key": "${workflow.secrets.PD}" }))).await;
    let (calls, works) =
        (live.begin("calls", &json!({})).await, live.begin("works", &json!({})).await);
    assert!(live.poll("t?timeout=1000").await.is_empty());
    for id in [calls, works] {
        let run = live.ended(&id, PATIENCE).await;
        let reason = run["tasks"][0]["reasonForIncompletion"].as_str().unwrap_or_default();
        assert!(reason.contains("the secret PD cannot be read: Vault at"), "{run}");
    }
    // What is kept elsewhere is not written here, also while it cannot be read.
    let (status, refused) = live.ask(reqwest::Method::PUT, "/api/secrets/PD", "\"mine\"").await;
    assert_eq!(status, 409, "{refused}");

    is_sealed.store(false, Ordering::SeqCst);
    live.hang_up();
    until_secrets(&live, false).await;
    let id = live.begin("calls", &json!({})).await;
    let run = live.ended(&id, PATIENCE).await;
    assert_eq!(run["output"]["response"]["body"], json!({ "is_vaults": true }), "{run}");
    let id = live.begin("works", &json!({})).await;
    let tasks = live.poll("t?timeout=5000").await;
    assert_eq!(tasks[0]["inputData"]["key"], "from-vault", "{tasks:?}");
    live.report(
        &tasks[0],
        json!({ "status": "COMPLETED", "outputData": { "said": "from-vault" } }),
    )
    .await;
    let run = live.ended(&id, PATIENCE).await.to_string();
    assert!(!run.contains("from-vault"), "it is masked: {run}");
}
