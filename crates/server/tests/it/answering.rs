//! Acknowledging from a message: by its link, by a button in Slack, by a key on the phone. Who is
//! believed, and that each message counts once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use engine::{Clock, SystemClock};
use http_body_util::BodyExt;
use kernel::Timestamp;
use ring::hmac;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::Server;

const PUBLIC: &str = "https://bell.example.com/nb";
const SECRET: &str = "hunter2";

/// A clock that is ahead by so many hours.
struct Ahead(AtomicI64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_seconds(self.0.load(Ordering::SeqCst) * 3_600)
    }
}

/// A server with an open incident of which each receiver was told, and the tokens of these messages.
async fn server() -> (Server, Value) {
    server_at(Arc::new(SystemClock)).await
}

async fn server_at(clock: Arc<dyn Clock>) -> (Server, Value) {
    let server = Server::with_clock(clock).await;
    let server = server.with(|settings| settings.public_url = Some(PUBLIC.to_owned()));
    // Nobody is at that address: what matters is that they were to be told.
    let nowhere = "http://127.0.0.1:1";
    let account = format!("AC{}", "0".repeat(32));
    let file = json!({
        "receivers": {
            "chat": { "slack": { "url": nowhere, "ack": true,
                "webhook_secret": ["${secret:MISSING}", "${secret:KEY}"] } },
            "phone": { "twilio": { "account": account, "token": "${secret:KEY}", "from": "+4712345678",
                "to": "+4791234567", "by": "call", "ack": true, "base_url": nowhere } },
            "lark": { "lark": { "app_id": "cli_1", "app_secret": "s", "chat": "oc_1", "style": "card", "ack": true,
                "webhook_secret": "${secret:KEY}", "base_url": nowhere } },
        },
        "people": { "ann": "phone" },
        "rotations": { "primary": { "layers": [{ "people": ["ann"] }] } },
        "routes": [{ "to": ["chat", "lark", "oncall:primary"] }],
        "monitors": { "backup": { "heartbeat": { "every": "1h", "key": "k-1" } } },
    });
    server.post("/api/monitors", &file).await.ok();
    let incident = fail(&server).await;
    (server, incident)
}

async fn fail(server: &Server) -> Value {
    server.send(Method::POST, "/ping/k-1/fail", "disk full".to_owned()).await.ok_text();
    server.get("/api/incidents").await.ok()["results"][0].clone()
}

/// The token of the newest message to a receiver.
async fn token(server: &Server, receiver: &str) -> String {
    let deliveries = server.get("/api/deliveries").await.ok();
    let found = deliveries["results"].as_array().expect("a list").iter();
    let line = found.clone().find(|it| it["receiver"] == receiver && it["event"] == "trigger");
    let line = line.unwrap_or_else(|| panic!("{receiver} was not told: {deliveries}"));
    let delivery = format!("backup/{}", line["sequence"]);
    let about = json!({ "incident": line["incidents"][0], "delivery": delivery });
    server.engine.ack_token(&about).expect("it is about an incident")
}

async fn shown(server: &Server, incident: &Value) -> Value {
    let id = incident["id"].as_str().expect("it has one");
    server.get(&format!("/api/incidents/{id}")).await.ok()
}

async fn say(
    server: &Server,
    method: Method,
    path: &str,
    headers: &[(&str, String)],
    body: &str,
) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Body::from(body.to_owned())).expect("a request");
    let response = server.router().oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn a_link_shows_what_it_is_about_and_acts_once_by_post() {
    let (server, incident) = server().await;
    let path = format!("/a/{}", token(&server, "phone").await);
    let browser = [("accept", "text/html".to_owned())];
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(say(&server, method, &path, &browser, "").await.0, 200);
    }
    let (_, page) = say(&server, Method::GET, &path, &browser, "").await;
    assert!(page.contains("<form") && page.contains("backup"), "{page}");
    let (_, told) = say(&server, Method::GET, &path, &[], "").await;
    assert_eq!(json_of(&told)["incidents"], json!([incident["id"]]));
    assert_eq!(shown(&server, &incident).await["state"], "open", "looking changes nothing");

    // As ntfy's app and a web page call it.
    let foreign = [("origin", "https://ntfy.sh".to_owned())];
    let (status, told) = say(&server, Method::POST, &path, &foreign, "").await;
    assert_eq!((status, &json_of(&told)["taken"]), (200, &json!(true)), "{told}");
    let now = shown(&server, &incident).await;
    assert_eq!((&now["state"], &now["acknowledgedBy"]), (&json!("acknowledged"), &json!("ann")));

    // Taken back in the console, the message does not count again.
    let id = incident["id"].as_str().expect("it has one");
    server.post(&format!("/api/incidents/{id}/unacknowledge"), &json!({ "who": "bo" })).await.ok();
    let (status, told) = say(&server, Method::POST, &path, &[], "").await;
    assert_eq!((status, &json_of(&told)["taken"]), (200, &json!(false)), "{told}");
    assert!(told.contains("has said this"), "{told}");
    assert_eq!(shown(&server, &incident).await["state"], "open");
    let (status, page) = say(&server, Method::POST, &path, &browser, "").await;
    assert!(status == 200 && !page.contains("Acknowledged."), "{page}");
}

/// A message counts for a day, and for a week while what it told of is open.
#[tokio::test]
async fn an_old_message_counts_only_while_what_it_told_of_is_open() {
    let clock = Arc::new(Ahead(AtomicI64::new(0)));
    let (server, incident) = server_at(clock.clone()).await;
    let path = format!("/a/{}", token(&server, "phone").await);
    let look = async |method| say(&server, method, &path, &[], "").await;
    clock.0.store(6 * 24, Ordering::SeqCst);
    assert_eq!(look(Method::GET).await.0, 200, "it is open still");
    clock.0.store(7 * 24 + 1, Ordering::SeqCst);
    for method in [Method::GET, Method::POST] {
        let (status, told) = look(method).await;
        assert_eq!((status, &json_of(&told)["code"]), (410, &json!("message-expired")), "{told}");
    }
    assert_eq!(shown(&server, &incident).await["state"], "open", "nothing was acknowledged");
    let browser = [("accept", "text/html".to_owned())];
    let (status, page) = say(&server, Method::GET, &path, &browser, "").await;
    assert!(status == 410 && page.contains("cannot any more"), "{page}");

    // Once it is over, a day is all.
    clock.0.store(0, Ordering::SeqCst);
    let id = incident["id"].as_str().expect("it has one");
    server.post(&format!("/api/incidents/{id}/resolve"), &json!({ "who": "bo" })).await.ok();
    for (hours, expected) in [(23, 200), (25, 410)] {
        clock.0.store(hours, Ordering::SeqCst);
        assert_eq!(look(Method::GET).await.0, expected, "after {hours} hours");
    }
}

#[tokio::test]
async fn what_is_no_token_of_ours_opens_nothing() {
    let (server, incident) = server().await;
    let token = token(&server, "phone").await;
    let last = if token.ends_with('A') { "Q" } else { "A" };
    let changed = format!("{}{last}", &token[..token.len() - 1]);
    let first = format!("B{}", &token[1..]);
    for wrong in [changed, first, token[..40].to_owned(), "x".to_owned(), "%00".to_owned()] {
        for method in [Method::GET, Method::POST] {
            let (status, told) = say(&server, method, &format!("/a/{wrong}"), &[], "").await;
            assert_eq!(
                (status, &json_of(&told)["code"]),
                (404, &json!("message-unknown")),
                "{wrong}"
            );
        }
    }
    let browser = [("accept", "text/html".to_owned())];
    let (status, page) = say(&server, Method::GET, "/a/x", &browser, "").await;
    assert!(status == 404 && page.contains("Nothing was acknowledged"), "{page}");
    assert_eq!(shown(&server, &incident).await["state"], "open");
}

/// Bytes in hexadecimal digits, with something between them.
fn hex(bytes: &[u8], between: &str) -> String {
    let digits = |byte: &u8| format!("{byte:02x}");
    bytes.iter().map(digits).collect::<Vec<_>>().join(between)
}

fn pressed(token: &str) -> String {
    let payload = json!({ "type": "block_actions", "user": { "id": "U1", "username": "bo" },
        "actions": [{ "action_id": "nightbell_ack", "value": token, "action_ts": "1.0" }] });
    format!("payload=%{}", hex(payload.to_string().as_bytes(), "%"))
}

fn of_slack(secret: &str, at: i64, body: &str) -> [(&'static str, String); 2] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let code = hmac::sign(&key, format!("v0:{at}:{body}").as_bytes());
    let code = hex(code.as_ref(), "");
    [("x-slack-request-timestamp", at.to_string()), ("x-slack-signature", format!("v0={code}"))]
}

#[tokio::test]
async fn a_button_in_slack_counts_if_slack_signed_it() {
    let (server, incident) = server().await;
    let body = pressed(&token(&server, "chat").await);
    let now = server.engine.now().millis() / 1000;
    let old = of_slack(SECRET, now - 600, &body);
    let other = of_slack("other", now, &body);
    let moved = of_slack(SECRET, now, &format!("{body}&x=1"));
    for headers in [old, other, moved] {
        assert_eq!(say(&server, Method::POST, "/hooks/chat", &headers, &body).await.0, 403);
    }
    assert_eq!(say(&server, Method::POST, "/hooks/chat", &[], &body).await.0, 401);
    assert_eq!(shown(&server, &incident).await["state"], "open");

    let foreign = pressed("x");
    let headers = of_slack(SECRET, now, &foreign);
    let (status, told) = say(&server, Method::POST, "/hooks/chat", &headers, &foreign).await;
    assert_eq!((status, &json_of(&told)["taken"]), (200, &json!(false)), "{told}");

    let headers = of_slack(SECRET, now, &body);
    for taken in [true, false] {
        let (status, told) = say(&server, Method::POST, "/hooks/chat", &headers, &body).await;
        assert_eq!((status, &json_of(&told)["taken"]), (200, &json!(taken)), "{told}");
    }
    let now = shown(&server, &incident).await;
    assert_eq!((&now["state"], &now["acknowledgedBy"]), (&json!("acknowledged"), &json!("bo")));
    // The others in the channel are told by whom.
    let deliveries = server.get("/api/deliveries").await.ok();
    let told = deliveries["results"].as_array().expect("a list").iter();
    let told: Vec<_> = told.filter(|it| it["receiver"] == "chat").map(|it| &it["event"]).collect();
    assert!(told.len() == 1 || told[0] == "acknowledge", "{deliveries}");
}

/// Twilio's published way: the address, then names and values in the order of names.
fn of_twilio(token: &str, url: &str, fields: &[(&str, &str)]) -> [(&'static str, String); 2] {
    let mut fields = fields.to_vec();
    fields.sort_unstable();
    let text = fields.iter().fold(url.to_owned(), |text, (name, value)| text + name + value);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    let code = BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()));
    [("x-twilio-signature", code), ("content-type", "application/x-www-form-urlencoded".to_owned())]
}

#[tokio::test]
async fn a_key_on_the_phone_counts_if_twilio_signed_it() {
    let (server, incident) = server().await;
    let path = format!("/hooks/phone?ack={}", token(&server, "phone").await);
    let url = format!("{PUBLIC}{path}");
    let press =
        |digit: &'static str| [("Digits", digit), ("CallSid", "CA1"), ("To", "+4791234567")];
    let body = |digit: &str| format!("Digits={digit}&CallSid=CA1&To=%2B4791234567");
    let one = press("1");
    let inner = format!("http://localhost{path}");
    let wrong = [
        of_twilio("other", &url, &one),
        of_twilio(SECRET, &inner, &one),
        of_twilio(SECRET, &url, &press("2")),
        of_twilio(SECRET, &url, &one[..2]),
    ];
    for headers in wrong {
        assert_eq!(say(&server, Method::POST, &path, &headers, &body("1")).await.0, 403);
    }
    assert_eq!(say(&server, Method::POST, &path, &[], &body("1")).await.0, 401);
    let headers = of_twilio(SECRET, &url, &press("2"));
    let (status, told) = say(&server, Method::POST, &path, &headers, &body("2")).await;
    assert!(status == 200 && told.contains("That key does nothing"), "{told}");
    assert_eq!(shown(&server, &incident).await["state"], "open");

    let headers = of_twilio(SECRET, &url, &one);
    for sentence in ["Acknowledged", "Nothing is left"] {
        let (status, told) = say(&server, Method::POST, &path, &headers, &body("1")).await;
        assert!(status == 200 && told.contains(sentence), "{told}");
        assert!(told.starts_with("<Response><Say>"), "{told}");
    }
    let now = shown(&server, &incident).await;
    assert_eq!((&now["state"], &now["acknowledgedBy"]), (&json!("acknowledged"), &json!("ann")));
}

/// A press as Lark tells it.
fn of_lark(proof: &str, value: &Value) -> String {
    json!({
        "schema": "2.0",
        "header": { "event_id": "e1", "token": proof, "event_type": "card.action.trigger",
            "create_time": "1700000000000000", "tenant_key": "t", "app_id": "cli_1" },
        "event": {
            "operator": { "tenant_key": "t", "user_id": "bo", "open_id": "ou_1" },
            "token": "c-1", "host": "im_message",
            "action": { "tag": "button", "value": value },
            "context": { "open_message_id": "om_1", "open_chat_id": "oc_1" },
        },
    })
    .to_string()
}

#[tokio::test]
async fn a_button_in_lark_counts_with_the_apps_verification_token() {
    let (server, incident) = server().await;
    let press = json!({ "nightbell_ack": token(&server, "lark").await });
    let say = async |body: &str| {
        let (status, told) = say(&server, Method::POST, "/hooks/lark", &[], body).await;
        (status, json_of(&told))
    };
    let question = |proof: &str| {
        json!({ "type": "url_verification", "challenge": "c-7", "token": proof }).to_string()
    };
    assert_eq!(say(&question(SECRET)).await, (200, json!({ "challenge": "c-7" })));
    assert_eq!(say(&question("other")).await.0, 403);
    assert_eq!(say(&of_lark("other", &press)).await.0, 403);
    let (status, told) = say(r#"{ "encrypt": "FIAf" }"#).await;
    assert_eq!(status, 400);
    assert!(told["hint"].as_str().is_some_and(|it| it.contains("Encrypt Key")), "{told}");
    let mut unproven = json_of(&of_lark(SECRET, &press));
    unproven["header"].as_object_mut().expect("an object").remove("token");
    assert_eq!(say(&unproven.to_string()).await.0, 401);
    assert_eq!(say("[]").await.0, 401);
    assert_eq!(shown(&server, &incident).await["state"], "open");

    // Other buttons of the app, and messages that are none of ours, change nothing.
    let (status, told) = say(&of_lark(SECRET, &json!({ "other": "x" }))).await;
    assert_eq!((status, &told["toast"]["type"]), (200, &json!("info")), "{told}");
    let (status, told) = say(&of_lark(SECRET, &json!({ "nightbell_ack": "x" }))).await;
    assert_eq!((status, &told["toast"]["type"]), (200, &json!("warning")), "{told}");
    for kind in ["success", "warning"] {
        let (status, told) = say(&of_lark(SECRET, &press)).await;
        assert_eq!((status, &told["toast"]["type"]), (200, &json!(kind)), "{told}");
    }
    let now = shown(&server, &incident).await;
    assert_eq!((&now["state"], &now["acknowledgedBy"]), (&json!("acknowledged"), &json!("bo")));
}

#[tokio::test]
async fn incidents_are_listed_with_their_history_if_it_is_asked_for() {
    let (server, _) = server().await;
    let plain = server.get("/api/incidents").await.ok();
    assert_eq!(plain["results"][0]["history"], Value::Null);
    let whole = server.get("/api/incidents?history=true").await.ok();
    let history = whole["results"][0]["history"].as_array().expect("a list").iter();
    let called = history.filter_map(|it| it["what"].as_str());
    assert!(called.clone().any(|what| what == "oncall:primary called ann"), "{whole}");
}
