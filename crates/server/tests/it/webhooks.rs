//! Webhooks: who may deliver, and what comes of it.

use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::BodyExt;
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::Server;

const SECRET: &str = "hunter2";

async fn create(server: &Server, hook: &Value) -> String {
    let made = server.post("/api/metadata/webhook", hook).await.ok();
    assert_eq!(made["urlVerified"], false);
    made["id"].as_str().expect("an id").to_owned()
}

/// A webhook that starts the workflow `started`.
fn starting(verifier: &str) -> Value {
    json!({ "name": "hook", "verifier": verifier, "sourcePlatform": "Custom",
        "headers": { "source": "portal" },
        "secretValue": "${workflow.secrets.KEY}", "workflowsToStart": { "started": 1 } })
}

async fn server() -> Server {
    let server = Server::new().await;
    let noop = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
    let wait = json!({ "name": "hook", "taskReferenceName": "hook", "type": "WAIT_FOR_WEBHOOK",
        "inputParameters": { "matches": {
            "$['event']['type']": "message", "$.order": "${workflow.input.order}" } } });
    server
        .register(json!([
            { "name": "started", "version": 1, "tasks": [noop] },
            { "name": "receiver", "version": 1, "tasks": [wait] },
        ]))
        .await;
    server
}

async fn deliver(server: &Server, id: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let mut request = Request::builder().method(Method::POST).uri(format!("/webhook/{id}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).expect("a request");
    let response = server.router().oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

pub(crate) fn code(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes more");
        text
    })
}

#[tokio::test]
async fn a_payload_starts_workflows_and_the_first_one_verifies_the_address() {
    let server = server().await;
    let id = create(&server, &starting("HEADER_BASED")).await;
    let (status, told) = deliver(&server, &id, &[("source", "portal")], r#"{"a": 1}"#).await;
    assert_eq!(status, 200, "{told}");
    let started = told["workflowIds"][0].as_str().expect("an id");
    assert_eq!(server.workflow(started).await["input"], json!({ "a": 1 }));
    let hook = server.get(&format!("/api/metadata/webhook/{id}")).await.ok();
    assert_eq!(hook["urlVerified"], true);
    assert_eq!(hook["secretValue"], "***");
    let history = &hook["webhookExecutionHistory"][0];
    assert_eq!(history["eventId"], told["eventId"]);
    assert_eq!((&history["matched"], &history["payload"]), (&json!(true), &json!(r#"{"a": 1}"#)));
    let (status, _) = deliver(&server, &id, &[("source", "elsewhere")], "{}").await;
    assert_eq!(status, 403);
    let (status, _) = deliver(&server, &id, &[], "{}").await;
    assert_eq!(status, 401);
    let (status, _) = deliver(&server, "none", &[("source", "portal")], "{}").await;
    assert_eq!(status, 404);
    let (status, _) = deliver(&server, &id, &[("source", "portal")], "{").await;
    assert_eq!(status, 400);
    assert_eq!(server.get("/api/workflow/search").await.ok()["totalHits"], 1);
}

/// A verifier, what a delivery bears, and the answer.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16);

#[tokio::test]
async fn every_signature_is_checked() {
    let server = server().await;
    let body = r#"[{"event": "click"}]"#;
    let now = server.engine.now().millis() / 1000;
    let stale = (now - 301).to_string();
    let at = now.to_string();
    let plain = |text: &str| code(SECRET.as_bytes(), text);
    let slack = format!("v0={}", hex(&plain(&format!("v0:{at}:{body}"))));
    let old_slack = format!("v0={}", hex(&plain(&format!("v0:{stale}:{body}"))));
    let stripe = format!("t={at},v1=00,v1={}", hex(&plain(&format!("{at}.{body}"))));
    let old_stripe = format!("t={stale},v1={}", hex(&plain(&format!("{stale}.{body}"))));
    let slack_at = "X-Slack-Request-Timestamp";
    let github = format!("sha256={}", hex(&plain(body)));
    let twitter = format!("sha256={}", BASE64.encode(plain(body)));
    let other = format!("sha256={}", hex(&plain("other")));
    let cases: [Case<'_>; 13] = [
        ("SIGNATURE_BASED", &[("X-Hub-Signature-256", &github)], 200),
        ("SIGNATURE_BASED", &[("X-Hub-Signature-256", &other)], 403),
        ("SIGNATURE_BASED", &[("X-Hub-Signature-256", "sha256=zz")], 403),
        ("SIGNATURE_BASED", &[], 401),
        ("SLACK_BASED", &[("X-Slack-Signature", &slack), (slack_at, &at)], 200),
        ("SLACK_BASED", &[("X-Slack-Signature", &old_slack), (slack_at, &stale)], 403),
        ("SLACK_BASED", &[("X-Slack-Signature", &slack), (slack_at, &stale)], 403),
        ("SLACK_BASED", &[("X-Slack-Signature", &slack)], 401),
        ("STRIPE", &[("Stripe-Signature", &stripe)], 200),
        ("STRIPE", &[("Stripe-Signature", &old_stripe)], 403),
        ("STRIPE", &[("Stripe-Signature", "v1=00")], 401),
        ("TWITTER", &[("X-Twitter-Webhooks-Signature", &twitter)], 200),
        ("TWITTER", &[("X-Twitter-Webhooks-Signature", &github)], 403),
    ];
    for (verifier, headers, expected) in cases {
        let id = create(&server, &starting(verifier)).await;
        let (status, told) = deliver(&server, &id, headers, body).await;
        assert_eq!(status, expected, "{verifier} {headers:?}: {told}");
        if status == 200 {
            let started = told["workflowIds"][0].as_str().expect("an id");
            let input = server.workflow(started).await["input"].clone();
            assert_eq!(input, json!({ "payload": [{ "event": "click" }] }), "{verifier}");
        }
    }
}

#[tokio::test]
async fn keys_that_are_encoded_are_decoded() {
    let random = ring::rand::SystemRandom::new();
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("a key");
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key");
    let public: &'static str = BASE64.encode(pair.public_key().as_ref()).leak();
    let shared = b"a shared key of some length";
    let encoded: &'static str = BASE64.encode(shared).leak();
    let server = Server::with_secrets(vec![("PUBLIC", public), ("SHARED", encoded)]).await;
    let noop = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
    server.register(json!([{ "name": "started", "version": 1, "tasks": [noop] }])).await;

    let mut hook = starting("HMAC_BASED");
    hook["secretValue"] = json!("${workflow.secrets.SHARED}");
    let id = create(&server, &hook).await;
    let good = format!("HMAC {}", BASE64.encode(code(shared, "{}")));
    let (status, told) = deliver(&server, &id, &[("Authorization", &good)], "{}").await;
    assert_eq!(status, 200, "{told}");
    let (status, _) = deliver(&server, &id, &[("Authorization", &good)], "{ }").await;
    assert_eq!(status, 403);

    hook["secretValue"] = json!(encoded);
    let id = create(&server, &hook).await;
    let (status, told) = deliver(&server, &id, &[("Authorization", &good)], "{}").await;
    assert_eq!(status, 200, "a secret may be given as it is: {told}");
    let stored = server.engine.store().documents("webhook").await.expect("the store answers");
    assert!(stored.iter().all(|document| !document.text.contains(encoded)), "it is kept sealed");

    hook["verifier"] = json!("SENDGRID");
    hook["secretValue"] = json!("${workflow.secrets.PUBLIC}");
    let id = create(&server, &hook).await;
    let at = (server.engine.now().millis() / 1000).to_string();
    let signed = pair.sign(&random, format!("{at}{{}}").as_bytes()).expect("a signature");
    let signed = BASE64.encode(signed.as_ref());
    let (signature, time) =
        ("X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp");
    let headers = [(signature, signed.as_str()), (time, at.as_str())];
    let (status, told) = deliver(&server, &id, &headers, "{}").await;
    assert_eq!(status, 200, "{told}");
    let (status, _) = deliver(&server, &id, &headers, r#"{"a":1}"#).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn providers_that_ask_are_answered() {
    let server = server().await;
    let id = create(&server, &starting("SLACK_BASED")).await;
    let body = r#"{"type": "url_verification", "challenge": "riddle"}"#;
    let at = (server.engine.now().millis() / 1000).to_string();
    let signature = format!("v0={}", hex(&code(SECRET.as_bytes(), &format!("v0:{at}:{body}"))));
    let headers = [("X-Slack-Signature", signature.as_str()), ("X-Slack-Request-Timestamp", &at)];
    let (status, told) = deliver(&server, &id, &headers, body).await;
    assert_eq!((status, told), (200, json!({ "challenge": "riddle" })));
    assert_eq!(server.get(&format!("/api/metadata/webhook/{id}")).await.ok()["urlVerified"], true);
    assert_eq!(server.get("/api/workflow/search").await.ok()["totalHits"], 0);

    let id = create(&server, &starting("TWITTER")).await;
    let told = server.get(&format!("/api/webhook/{id}?crc_token=abc")).await.ok();
    let expected = format!("sha256={}", BASE64.encode(code(SECRET.as_bytes(), "abc")));
    assert_eq!(told, json!({ "response_token": expected }));
    server.get("/webhook/none").await.failed(404);
}

#[tokio::test]
async fn a_payload_ends_the_waits_that_it_fits() {
    let server = server().await;
    let one = server.start("receiver", &json!({ "order": 1 })).await;
    let same = server.start("receiver", &json!({ "order": 1.0 })).await;
    let two = server.start("receiver", &json!({ "order": 2 })).await;
    let mut hook = starting("HEADER_BASED");
    hook["workflowsToStart"] = json!({});
    let stranger = create(&server, &hook).await;
    hook["receiverWorkflowNamesToVersions"] = json!({ "receiver": 2 });
    let other_version = create(&server, &hook).await;
    hook["receiverWorkflowNamesToVersions"] = json!({ "receiver": 1 });
    let id = create(&server, &hook).await;
    let source = [("source", "portal")];
    let body = json!({ "event": { "type": "message" }, "order": 1, "more": true });
    for hook in [&stranger, &other_version] {
        let (status, told) = deliver(&server, hook, &source, &body.to_string()).await;
        assert_eq!((status, &told["matched"]), (200, &json!(false)));
    }
    let (_, told) = deliver(&server, &id, &source, r#"{"order": 1}"#).await;
    assert_eq!(told["matched"], false, "one condition does not hold");
    let (_, told) = deliver(&server, &id, &source, &body.to_string()).await;
    assert_eq!(told["workflowIds"], json!([one, same]));
    server.until(&one, "COMPLETED").await;
    let workflow = server.workflow(&one).await;
    assert_eq!(workflow["tasks"][0]["outputData"], body);
    assert_eq!(server.workflow(&two).await["status"], "RUNNING");
    let (_, told) = deliver(&server, &id, &source, &body.to_string()).await;
    assert_eq!(told["matched"], false, "what has ended waits no more");
    let polled = server.get("/api/tasks/poll/batch/WAIT_FOR_WEBHOOK%2Freceiver").await.ok();
    assert_eq!(polled, json!([]), "nobody is handed such a task");
}

#[tokio::test]
async fn a_payload_that_comes_twice_starts_once() {
    let server = server().await;
    let mut hook = starting("HEADER_BASED");
    hook["workflowsToStart"] = json!({ "started": "1",
        "idempotencyKey": "bug-${workflow.input.bug}", "idempotencyStrategy": "RETURN_EXISTING" });
    let id = create(&server, &hook).await;
    let source = [("source", "portal")];
    let (_, first) = deliver(&server, &id, &source, r#"{"bug": 7}"#).await;
    let (_, again) = deliver(&server, &id, &source, r#"{"bug": 7}"#).await;
    let (_, other) = deliver(&server, &id, &source, r#"{"bug": 8}"#).await;
    assert_eq!(first["workflowIds"], again["workflowIds"]);
    assert_ne!(first["workflowIds"], other["workflowIds"]);
    hook["workflowsToStart"] = json!({ "none": 1 });
    server.send(Method::PUT, &format!("/api/metadata/webhook/{id}"), hook.to_string()).await.ok();
    let (status, told) = deliver(&server, &id, &source, "{}").await;
    assert_eq!((status, &told["matched"]), (200, &json!(false)));
    assert!(told["problems"][0].as_str().is_some_and(|why| why.contains("none")), "{told}");
}

#[tokio::test]
async fn history_is_bounded_and_goes_with_its_webhook() {
    let server = server().await;
    let id = create(&server, &starting("HEADER_BASED")).await;
    for number in 0..23 {
        let body = json!({ "number": number }).to_string();
        deliver(&server, &id, &[("source", "portal")], &body).await;
    }
    let path = format!("/api/metadata/webhook/{id}");
    let hook = server.get(&path).await.ok();
    let history = hook["webhookExecutionHistory"].as_array().expect("a list");
    assert_eq!(history.len(), 20);
    assert_eq!(history[0]["payload"], r#"{"number":22}"#, "the latest first");
    let tag = json!([{ "key": "k", "value": "v" }]).to_string();
    server.send(Method::PUT, &format!("{path}/tags"), tag).await.ok_text();
    assert_eq!(server.get(&format!("{path}/tags")).await.ok()[0]["key"], "k");
    server.delete(&path).await.ok_text();
    server.get(&path).await.failed(404);
    server.delete(&path).await.failed(404);
    assert_eq!(server.get("/api/metadata/tags").await.ok(), json!([]));
    assert_eq!(server.get("/api/metadata/webhook").await.ok(), json!([]));
}

#[tokio::test]
async fn a_webhook_that_cannot_work_is_refused() {
    let server = server().await;
    let good = starting("SIGNATURE_BASED");
    let faults = [
        ("name", json!("")),
        ("verifier", json!("GUESS")),
        ("workflowsToStart", json!({ "started": "one" })),
        ("workflowsToStart", json!({ "idempotencyKey": "k", "idempotencyStrategy": "HOPE" })),
        ("headerKey", json!("not a header")),
        ("receiverWorkflowNamesToVersions", json!([])),
    ];
    for (member, value) in faults {
        let mut bad = good.clone();
        bad[member] = value;
        server.post("/api/metadata/webhook", &bad).await.failed(400);
    }
    let mut bad = starting("HEADER_BASED");
    bad["headers"] = json!({});
    server.post("/api/metadata/webhook", &bad).await.failed(400);
    assert_eq!(server.get("/api/metadata/webhook").await.ok(), json!([]));
    let mut unknown = good.clone();
    unknown["secretValue"] = json!("${workflow.secrets.NONE}");
    let id = create(&server, &unknown).await;
    let (status, _) = deliver(&server, &id, &[("X-Hub-Signature-256", "sha256=00")], "{}").await;
    assert_eq!(status, 503, "without its secret it can tell nobody from anybody");
}

/// Of a webhook's payload, of a request to the Durable Functions API.
#[tokio::test]
async fn a_run_knows_the_span_of_whoever_asked_for_it() {
    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let server = server().await;
    let span = async |id: &str| {
        let id = kernel::ExecutionId::new(id);
        server.engine.read(&id, |run| run.traceparent.clone()).await.expect("it is there").flatten()
    };
    let id = create(&server, &starting("HEADER_BASED")).await;
    let headers = [("source", "portal"), ("traceparent", CALLER)];
    let (_, told) = deliver(&server, &id, &headers, "{}").await;
    let run = told["workflowIds"][0].as_str().expect("it is started");
    assert_eq!(span(run).await.as_deref(), Some(CALLER), "{told}");
    let (_, told) =
        deliver(&server, &id, &[("source", "portal"), ("traceparent", "00-1")], "{}").await;
    let run = told["workflowIds"][0].as_str().expect("it is started");
    assert_eq!(span(run).await, None);

    let path = "/runtime/webhooks/durabletask/orchestrators/started";
    let headers = [("traceparent", CALLER)];
    let begun = server.send_with(Method::POST, path, &headers, "{}".to_owned()).await;
    assert_eq!(begun.status, 202, "{}", begun.text);
    let begun = begun.json();
    assert_eq!(
        span(begun["id"].as_str().expect("an id")).await.as_deref(),
        Some(CALLER),
        "{begun}"
    );
}
