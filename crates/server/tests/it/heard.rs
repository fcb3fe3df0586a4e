//! What providers tell of what people did about incidents there: who is believed, and what counts.

use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use ring::hmac;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::Server;

const SECRET: &str = "hunter2";

/// A server with an open incident that each receiver was told of, and its fingerprint.
async fn server() -> (Server, Value) {
    let server = Server::new().await;
    // Nobody is at that address: what matters is that they were to be told.
    let nowhere = "http://127.0.0.1:1";
    let file = json!({
        "receivers": {
            "oncall": { "pagerduty": { "key": "k", "base_url": nowhere,
                "webhook_secret": ["${secret:MISSING}", "${secret:KEY}"] } },
            "jira": { "jsm": { "key": "k", "base_url": nowhere, "webhook_secret": "${secret:KEY}" } },
            "hourly": { "pagerduty": { "key": "k", "base_url": nowhere, "incident_key": "hour",
                "webhook_secret": "${secret:KEY}" } },
            "deaf": { "pagerduty": { "key": "k", "base_url": nowhere } },
            "unset": { "pagerduty": { "key": "k", "base_url": nowhere,
                "webhook_secret": "${secret:MISSING}" } },
            "untold": { "pagerduty": { "key": "k", "webhook_secret": "${secret:KEY}" } },
            "chat": { "slack": { "url": nowhere } },
        },
        "routes": [{ "to": ["oncall", "jira", "hourly", "deaf"] }],
        "monitors": { "backup": { "heartbeat": { "every": "1h", "key": "k-1" } } },
    });
    server.post("/api/monitors", &file).await.ok();
    let incident = fail(&server).await;
    (server, incident)
}

/// The job fails; the incident that is open then.
async fn fail(server: &Server) -> Value {
    server.send(Method::POST, "/ping/k-1/fail", "disk full".to_owned()).await.ok_text();
    server.get("/api/incidents").await.ok()["results"][0].clone()
}

async fn state(server: &Server) -> String {
    let all = server.get("/api/incidents?state=all").await.ok();
    all["results"][0]["state"].as_str().expect("it stands somehow").to_owned()
}

async fn tell(
    server: &Server,
    receiver: &str,
    proof: Option<(&str, String)>,
    body: &str,
) -> (u16, Value) {
    let mut request = Request::builder().method(Method::POST).uri(format!("/hooks/{receiver}"));
    if let Some((name, value)) = proof {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(body.to_owned())).expect("a request");
    let response = server.router().oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

fn signature(secret: &str, body: &str) -> String {
    use std::fmt::Write as _;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let code = hmac::sign(&key, body.as_bytes());
    code.as_ref().iter().fold("v1=".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes more");
        text
    })
}

/// Signed by the secret.
async fn signed(server: &Server, receiver: &str, event: &Value) -> (u16, Value) {
    let body = event.to_string();
    let proof = Some(("X-PagerDuty-Signature", signature(SECRET, &body)));
    tell(server, receiver, proof, &body).await
}

/// An event so many seconds from now, done by a person.
fn event(server: &Server, kind: &str, key: &Value, seconds: i64) -> Value {
    let at = server.engine.now().plus_seconds(seconds).to_string();
    json!({ "event": {
        "id": "01", "event_type": kind, "resource_type": "incident", "occurred_at": at,
        "agent": { "id": "P1", "type": "user_reference", "summary": "Bob the Builder" },
        "data": { "id": "Q1", "type": "incident", "incident_key": key },
    } })
}

#[tokio::test]
async fn acknowledged_at_pagerduty_taken_back_and_resolved() {
    let (server, incident) = server().await;
    let key = &incident["fingerprint"];
    let (status, told) =
        signed(&server, "oncall", &event(&server, "incident.acknowledged", key, 0)).await;
    assert_eq!(
        (status, &told["taken"], &told["state"]),
        (200, &json!(true), &json!("acknowledged"))
    );
    let path = format!("/api/incidents/{}", incident["id"].as_str().expect("it has one"));
    let shown = server.get(&path).await.ok();
    assert_eq!(shown["acknowledgedBy"], "Bob the Builder");
    assert!(shown["acknowledgedAt"].is_i64(), "{shown}");
    let last = shown["history"]
        .as_array()
        .and_then(|it| it.iter().rfind(|entry| entry["what"] == "acknowledged").cloned());
    let last = last.expect("it is in the history");
    assert_eq!(last["why"], "acknowledged at oncall");
    assert_eq!(last["who"], "Bob the Builder");

    // An acknowledgement that ran out is nobody's deed.
    let mut over = event(&server, "incident.unacknowledged", key, 1);
    over["event"]["agent"] = Value::Null;
    assert_eq!(signed(&server, "oncall", &over).await.1["state"], "open");
    assert_eq!(server.get(&path).await.ok()["acknowledgedBy"], Value::Null);
    let resolved = event(&server, "incident.resolved", key, 2);
    assert_eq!(signed(&server, "oncall", &resolved).await.1["state"], "resolved");
    assert_eq!(state(&server).await, "resolved");

    // Bad again: what was said of the former incident is no news about this one.
    fail(&server).await;
    let (status, told) = signed(&server, "oncall", &resolved).await;
    assert_eq!((status, &told["taken"]), (200, &json!(false)), "{told}");
    assert_eq!(server.get("/api/incidents").await.ok()["totalHits"], 1, "it is still open");
}

#[tokio::test]
async fn what_changes_nothing_is_answered_with_why() {
    let (server, incident) = server().await;
    let key = &incident["fingerprint"];
    let by = |mut event: Value, agent: Value| {
        event["event"]["agent"] = agent;
        event
    };
    let acknowledged = |seconds| event(&server, "incident.acknowledged", key, seconds);
    let integration =
        json!({ "type": "inbound_integration_reference", "summary": "Events API V2" });
    let cases = [
        ("oncall", json!({ "event": { "event_type": "pagey.ping" } }), "pong"),
        (
            "oncall",
            event(&server, "incident.annotated", key, 0),
            "incident.annotated changes nothing",
        ),
        (
            "oncall",
            event(&server, "incident.acknowledged", &json!("other"), 0),
            "no incident is open",
        ),
        ("oncall", event(&server, "incident.acknowledged", &Value::Null, 0), "no incident_key"),
        ("oncall", by(acknowledged(0), integration), "only if a person did it"),
        (
            "oncall",
            by(event(&server, "incident.resolved", key, 0), Value::Null),
            "only if a person",
        ),
        ("oncall", acknowledged(-3600), "before the incident began"),
        ("oncall", event(&server, "incident.unacknowledged", key, 0), "not acknowledged"),
        ("untold", acknowledged(0), "was not told of the incident"),
    ];
    for (receiver, event, expected) in cases {
        let (status, told) = signed(&server, receiver, &event).await;
        let why = told["why"].as_str().unwrap_or_default();
        assert!(
            status == 200 && told["taken"] == false && why.contains(expected),
            "{expected}: {told}"
        );
    }
    assert_eq!(state(&server).await, "open");

    // Sent twice, and in the wrong order.
    let first = acknowledged(5);
    assert_eq!(signed(&server, "oncall", &first).await.1["taken"], true);
    let back = event(&server, "incident.unacknowledged", key, 6);
    assert_eq!(signed(&server, "oncall", &back).await.1["taken"], true);
    for late in [first, acknowledged(0), back] {
        let (status, told) = signed(&server, "oncall", &late).await;
        assert_eq!((status, &told["taken"]), (200, &json!(false)), "{told}");
    }
    assert_eq!(state(&server).await, "open");
    // Merged into another, it goes on there.
    let mut merged = event(&server, "incident.resolved", key, 7);
    merged["event"]["data"]["resolve_reason"] = json!({ "type": "merge_resolve_reason" });
    assert_eq!(signed(&server, "oncall", &merged).await.1["state"], "acknowledged");
}

/// A header of a request, if it has one.
type Header = Option<(&'static str, String)>;

#[tokio::test]
async fn who_gives_no_proof_is_not_believed() {
    let (server, incident) = server().await;
    let body = event(&server, "incident.acknowledged", &incident["fingerprint"], 0).to_string();
    let header = "X-PagerDuty-Signature";
    let right = signature(SECRET, &body);
    let wrong = signature("guess", &body);
    let cases: [(&str, Header, u16); 11] = [
        ("oncall", None, 401),
        ("oncall", Some((header, wrong.clone())), 403),
        ("oncall", Some((header, "v1=zz".to_owned())), 403),
        ("oncall", Some((header, right.replace("v1=", "v2="))), 403),
        ("oncall", Some((header, signature(SECRET, "{}"))), 403),
        ("jira", Some((header, right.clone())), 401),
        ("deaf", Some((header, right.clone())), 404),
        ("chat", Some((header, right.clone())), 404),
        ("nobody", Some((header, right.clone())), 404),
        ("unset", Some((header, right.clone())), 503),
        // One of several, as while secrets change.
        ("oncall", Some((header, format!("{wrong}, {right}"))), 200),
    ];
    for (receiver, proof, expected) in cases {
        let shown = format!("{receiver} {proof:?}");
        let (status, told) = tell(&server, receiver, proof, &body).await;
        assert_eq!(status, expected, "{shown}: {told}");
        assert!(!told.to_string().contains(SECRET), "{told}");
        let acknowledged = state(&server).await == "acknowledged";
        assert_eq!(acknowledged, expected == 200, "{shown}");
    }
    for rubbish in ["{", "[]", r#"{"event": {}}"#] {
        let proof = Some((header, signature(SECRET, rubbish)));
        assert_eq!(tell(&server, "oncall", proof, rubbish).await.0, 400, "{rubbish}");
    }
    let mut event = event(&server, "incident.resolved", &incident["fingerprint"], 0);
    event["event"]["occurred_at"] = "soon".into();
    assert_eq!(signed(&server, "oncall", &event).await.0, 400);
    event["event"]["occurred_at"] = "2999-01-01T00:00:00Z".into();
    assert_eq!(signed(&server, "oncall", &event).await.0, 400);
}

#[tokio::test]
async fn opsgenie_and_jira_tell_in_their_own_words() {
    let (server, incident) = server().await;
    let says = async |action: &str, source: &str, seconds: i64| {
        let at = server.engine.now().plus_seconds(seconds).millis();
        let body = json!({
            "source": { "name": "", "type": source }, "action": action, "integrationName": "hook",
            "alert": { "alertId": "1", "alias": incident["fingerprint"], "username": "bob@example.com",
                // In nanoseconds, as they write it.
                "updatedAt": at * 1_000_000 + 2246, "note": "on it" },
        });
        let proof = Some(("Authorization", format!("Bearer {SECRET}")));
        tell(&server, "jira", proof, &body.to_string()).await
    };
    assert_eq!(says("Close", "API", 0).await.1["taken"], false, "that was us");
    assert_eq!(says("AddNote", "web", 0).await.1["taken"], false);
    assert_eq!(says("Acknowledge", "web", 1).await.1["state"], "acknowledged");
    let id = incident["id"].as_str().expect("it has one");
    let shown = server.get(&format!("/api/incidents/{id}")).await.ok();
    assert_eq!(shown["acknowledgedBy"], "bob@example.com");
    assert!(shown["history"].to_string().contains("acknowledged at jira: on it"), "{shown}");
    assert_eq!(says("UnAcknowledge", "web", 2).await.1["state"], "open");
    assert_eq!(says("Acknowledge", "web", 1).await.1["taken"], false, "an old story");
    assert_eq!(says("Close", "web", 3).await.1["state"], "resolved");
    assert_eq!(says("Close", "web", 4).await.1["taken"], false, "it is over");
    let wrong = Some(("Authorization", "Bearer guess".to_owned()));
    assert_eq!(tell(&server, "jira", wrong, "{}").await.0, 403);
    let none = Some(("Authorization", SECRET.to_owned()));
    assert_eq!(tell(&server, "jira", none, "{}").await.0, 401);
}

#[tokio::test]
async fn a_key_of_each_hour_names_the_incident_too() {
    let (server, _) = server().await;
    for (key, taken) in
        [("backup-20260131-8x", false), ("web-20260131-08", false), ("backup-20260131-08", true)]
    {
        let event = event(&server, "incident.acknowledged", &json!(key), 0);
        assert_eq!(signed(&server, "hourly", &event).await.1["taken"], taken, "{key}");
    }
}

#[tokio::test]
async fn settings_show_no_secret_and_deliveries_bear_none() {
    let (server, _) = server().await;
    let receivers = server.get("/api/receivers").await.ok();
    assert!(!receivers.to_string().contains(SECRET), "{receivers}");
    let plain = json!({ "receivers": {
        "bare": { "pagerduty": { "key": "k", "webhook_secret": "a-plain-secret" } } } });
    server.post("/api/monitors?source=other", &plain).await.ok();
    let receivers = server.get("/api/receivers").await.ok();
    assert!(!receivers.to_string().contains("a-plain-secret"), "{receivers}");
    let workflow = server.get("/api/metadata/workflow/nightbell_notify:bare").await.ok();
    assert!(!workflow.to_string().contains("webhook_secret"), "{workflow}");
    let body = json!({ "event": { "event_type": "pagey.ping" } }).to_string();
    let proof = Some(("X-PagerDuty-Signature", signature("a-plain-secret", &body)));
    assert_eq!(tell(&server, "bare", proof, &body).await.1["why"], "pong");
}
