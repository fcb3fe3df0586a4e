//! Webhooks whose address is known to strangers, and deliveries that they have recorded.

use std::future::poll_fn;
use std::task::Poll;

use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use engine::search::RecordSearch;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{Answer, Server, send_through};
use crate::webhooks;

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

const KEY: &[u8] = b"hunter2";

fn code(text: &str) -> Vec<u8> {
    webhooks::code(KEY, text)
}

fn hex(text: &str) -> String {
    webhooks::hex(&code(text))
}

async fn server() -> Server {
    let server = Server::new().await;
    let noop = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
    server.register(json!([{ "name": "started", "version": 1, "tasks": [noop] }])).await;
    server
}

async fn create(server: &Server, verifier: &str, more: &Value) -> String {
    let mut hook = json!({ "name": "hook", "verifier": verifier,
        "secretValue": "${workflow.secrets.KEY}", "workflowsToStart": { "started": 1 } });
    for (member, value) in more.as_object().into_iter().flatten() {
        hook[member] = value.clone();
    }
    let made = server.post("/api/metadata/webhook", &hook).await.ok();
    made["id"].as_str().expect("an id").to_owned()
}

async fn deliver(server: &Server, id: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    server.send_with(Method::POST, &format!("/webhook/{id}"), headers, body.to_owned()).await
}

async fn runs(server: &Server) -> u64 {
    server.get("/api/workflow/search").await.ok()["totalHits"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_challenge_signs_nothing_that_can_be_a_payload() {
    let server = server().await;
    let id = create(&server, "TWITTER", &json!({})).await;
    let asked = |token: &str| format!("/webhook/{id}?crc_token={token}");
    let too_long = "a".repeat(101);
    for forged in ["%7B%22attack%22%3A1%7D", "%5B1%5D", "%22text%22", "a%3Db", "1.5", &too_long] {
        assert!(server.get(&asked(forged)).await.failed(400).contains("crc_token"), "{forged}");
    }
    // What is signed is never a payload, though JSON and forms have such texts, too.
    for word in ["123", "true", "null", "attack"] {
        let told = server.get(&asked(word)).await.ok();
        let signature = told["response_token"].as_str().expect("a signature");
        assert_eq!(signature, format!("sha256={}", BASE64.encode(code(word))));
        let signed = ("X-Twitter-Webhooks-Signature", signature);
        for kind in ["application/json", "application/x-www-form-urlencoded"] {
            let headers = [signed, ("content-type", kind)];
            deliver(&server, &id, &headers, word).await.failed(400);
        }
    }
    // Nor is it for a webhook of another kind that has the same secret.
    let other = create(&server, "SIGNATURE_BASED", &json!({})).await;
    let signature = format!("sha256={}", hex("123"));
    let headers = [("X-Hub-Signature-256", signature.as_str())];
    deliver(&server, &other, &headers, "123").await.failed(400);
    assert_eq!(runs(&server).await, 0);
}

#[tokio::test]
async fn a_recorded_delivery_does_nothing_the_second_time() {
    let server = server().await;
    let at = (server.engine.now().millis() / 1000).to_string();
    let later = (server.engine.now().millis() / 1000 + 1).to_string();
    let slack = |at: &str, body: &str| format!("v0={}", hex(&format!("v0:{at}:{body}")));
    let stripe = |at: &str, body: &str| format!("t={at},v1={}", hex(&format!("{at}.{body}")));
    let body = r#"{"id": "evt_1", "event_id": "Ev1"}"#;
    let github = format!("sha256={}", hex(body));
    let (slack_now, slack_later) = (slack(&at, body), slack(&later, body));
    let (stripe_now, stripe_later) = (stripe(&at, body), stripe(&later, body));
    let time = "X-Slack-Request-Timestamp";
    // The id in the header is not signed: it can be changed. What a provider sends again has a new
    // time, and the event's id.
    let cases: [(&str, [Headers<'_>; 2]); 3] = [
        (
            "SIGNATURE_BASED",
            [
                &[("X-Hub-Signature-256", &github), ("X-GitHub-Delivery", "one")],
                &[("X-Hub-Signature-256", &github), ("X-GitHub-Delivery", "two")],
            ],
        ),
        (
            "SLACK_BASED",
            [
                &[("X-Slack-Signature", &slack_now), (time, &at)],
                &[("X-Slack-Signature", &slack_later), (time, &later)],
            ],
        ),
        ("STRIPE", [&[("Stripe-Signature", &stripe_now)], &[("Stripe-Signature", &stripe_later)]]),
    ];
    for (number, (verifier, [first, again])) in (1..).zip(cases) {
        let id = create(&server, verifier, &json!({})).await;
        let told = deliver(&server, &id, first, body).await.ok();
        assert_eq!((&told["matched"], &told["duplicate"]), (&json!(true), &Value::Null), "{told}");
        let restarted = server.restarted().await;
        for server in [&server, &restarted] {
            for headers in [first, again] {
                let seen = deliver(server, &id, headers, body).await.ok();
                assert_eq!(seen["duplicate"], true, "{verifier}: {seen}");
                assert_eq!(seen["eventId"], told["eventId"], "{verifier}");
            }
        }
        assert_eq!(runs(&server).await, number, "{verifier}");
    }
}

#[tokio::test]
async fn another_delivery_counts_and_so_does_a_repetition_that_is_wanted() {
    let server = server().await;
    let signed = |body: &str| format!("sha256={}", hex(body));
    let id = create(&server, "SIGNATURE_BASED", &json!({})).await;
    for body in [r#"{"n": 1}"#, r#"{"n": 2}"#] {
        let signature = signed(body);
        let headers = [("X-Hub-Signature-256", signature.as_str())];
        assert_eq!(deliver(&server, &id, &headers, body).await.ok()["matched"], true);
    }
    let id = create(&server, "SIGNATURE_BASED", &json!({ "replayWindowSeconds": 0 })).await;
    let shown = server.get(&format!("/api/metadata/webhook/{id}")).await.ok();
    assert_eq!(shown["replayWindowSeconds"], 0);
    for _ in 0..2 {
        let signature = signed("{}");
        let headers = [("X-Hub-Signature-256", signature.as_str())];
        assert_eq!(deliver(&server, &id, &headers, "{}").await.ok()["matched"], true);
    }
    assert_eq!(runs(&server).await, 4);
    let long = json!({ "name": "hook", "verifier": "SIGNATURE_BASED", "secretValue": "x",
        "replayWindowSeconds": 90_000 });
    server.post("/api/metadata/webhook", &long).await.failed(400);
}

/// However old it is: a recorded delivery can be sent after a year, too.
#[tokio::test]
async fn a_delivery_is_known_for_as_long_as_the_ledger_has_it() {
    let server = server().await;
    let signature = format!("sha256={}", hex("{}"));
    let headers = [("X-Hub-Signature-256", signature.as_str())];
    for (more, known) in [(json!({}), true), (json!({ "replayWindowSeconds": 3600 }), false)] {
        let id = create(&server, "SIGNATURE_BASED", &more).await;
        deliver(&server, &id, &headers, "{}").await.ok();
        let seen = RecordSearch { subjects: vec![id.clone()], ..RecordSearch::newest(LEDGER) };
        let mut record = server.engine.store().records(&seen).await.expect("it answers").rows;
        let record = record.first_mut().expect("it is in the ledger");
        record.at = record.at.plus_seconds(-365 * 24 * 3600);
        server.engine.store().put_records(vec![record.clone()]).await.expect("it is taken");
        let told = deliver(&server, &id, &headers, "{}").await.ok();
        assert_eq!(told["duplicate"] == true, known, "{more}: {told}");
    }
}

const LEDGER: &str = "webhook-delivery";

/// Slack hangs up after three seconds, and sends the same again. At whatever point that is, what was
/// begun is done to its end, and once.
#[tokio::test]
async fn a_sender_that_hangs_up_and_tries_again_counts_once() {
    let noop = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
    let signature = format!("sha256={}", hex("{}"));
    let headers = [("X-Hub-Signature-256", signature.as_str())];
    for polls in 1..10_000 {
        let server = server().await;
        server.register(json!([{ "name": "other", "version": 1, "tasks": [noop] }])).await;
        let both = json!({ "workflowsToStart": { "started": 1, "other": 1 } });
        let id = create(&server, "SIGNATURE_BASED", &both).await;
        let request = Request::post(format!("/webhook/{id}"))
            .header(headers[0].0, headers[0].1)
            .body(Body::from("{}"))
            .expect("a request");
        // One router for both, as one server has: it knows what is being taken.
        let router = server::router(server.api());
        let mut first = Box::pin(router.clone().oneshot(request));
        let mut is_answered = false;
        for _ in 0..polls {
            is_answered =
                poll_fn(|context| Poll::Ready(first.as_mut().poll(context))).await.is_ready();
            if is_answered {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(first);
        let path = format!("/webhook/{id}");
        let again = || send_through(router.clone(), Method::POST, &path, &headers, "{}".to_owned());
        let mut answer = again().await;
        while answer.status == 409 {
            tokio::task::yield_now().await;
            answer = again().await;
        }
        answer.ok();
        assert_eq!(runs(&server).await, 2, "hung up after {polls} steps");
        if is_answered {
            return;
        }
    }
    panic!("it was never answered");
}
