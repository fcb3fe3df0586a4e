//! Messages that can be answered: what each kind offers, calls and texts through a stand-in of Twilio,
//! and buttons that are pressed at a stand-in of Telegram.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use engine::OutcomeStatus;
use engine::memory::Memory;
use kernel::ExecutionId;
use kernel::alert::definition::{ChecklistOptions, load};
use kernel::alert::{Input, OWN_MONITOR, Ping, PingKind, State as Stands};
use serde_json::{Map, Value, json};
use tasks::notify::{Call, Notify, calls, hear_presses};
use tokio::sync::watch;

use super::{failed, sent, tell};
use crate::house;
use crate::http::server;

const TOKEN: &str = "AAECAwQFBgcICQoLDA0ODwAAAAEAAAAHABEiM0RVZneImaq7zN3u_w";

fn open() -> Value {
    json!({
        "event": "trigger", "title": "shop down: <503> & \"more\"", "severity": "critical",
        "monitor": "shop", "incident": "f1-3", "delivery": "shop/7", "ack_token": TOKEN,
        "ack_url": format!("https://bell.example/a/{TOKEN}"),
    })
}

fn told(kind: &str, settings: &Value, notification: &Value) -> Vec<Call> {
    calls(kind, settings.as_object().unwrap(), "noc", notification, "d", 0).unwrap()
}

fn body(kind: &str, settings: &Value) -> Value {
    serde_json::from_str(&told(kind, settings, &open())[0].body).unwrap()
}

#[test]
fn chats_have_a_button_or_a_link() {
    let link = format!("https://bell.example/a/{TOKEN}");
    let ntfy = body("ntfy", &json!({"topic": "t", "ack": true}));
    let expected = json!({"action": "http", "label": "Acknowledge", "url": link, "method": "POST",
        "clear": true});
    assert_eq!(ntfy["actions"], json!([expected]));

    let telegram = body("telegram", &json!({"token": "1:a", "chat": 1, "ack": true}));
    let button = &telegram["reply_markup"]["inline_keyboard"][0][0];
    assert_eq!(button["callback_data"], TOKEN);
    assert!(TOKEN.len() <= 64, "Telegram takes 64 bytes");

    let slack = body("slack", &json!({"url": "https://h", "ack": true, "webhook_secret": true}));
    let blocks = slack["attachments"][0]["blocks"].as_array().unwrap();
    let actions = blocks.iter().find(|it| it["type"] == "actions").unwrap();
    assert_eq!(actions["elements"][0]["action_id"], "nightbell_ack");
    assert_eq!(actions["elements"][0]["value"], TOKEN);
    assert!(!slack.to_string().contains(&link), "one way is enough: {slack}");

    let card = body("lark", &json!({"token": "t", "style": "card", "ack": true}));
    assert!(card.to_string().contains(&format!("\"url\":\"{link}\"")), "{card}");
    let app = body(
        "lark",
        &json!({"app_id": "a", "app_secret": "s", "chat": "oc", "style": "card", "ack": true,
            "webhook_secret": true}),
    );
    let card: Value = serde_json::from_str(app["content"].as_str().unwrap()).unwrap();
    let elements = card["elements"].as_array().unwrap();
    let actions = elements.iter().find(|it| it["tag"] == "action").unwrap();
    assert_eq!(actions["actions"][0]["value"]["nightbell_ack"], TOKEN);
    assert!(!card.to_string().contains(&link), "one way is enough: {card}");
    // Where there is no button, the link is a line.
    for (kind, settings) in [
        ("slack", json!({"url": "https://h", "ack": true})),
        ("lark", json!({"token": "t", "ack": true})),
        ("mattermost", json!({"url": "https://h", "ack": true})),
        ("discord", json!({"url": "https://h", "ack": true})),
        ("teams", json!({"url": "https://h", "ack": true})),
    ] {
        assert!(body(kind, &settings).to_string().contains(&link), "{kind}");
    }
}

/// A stand-in that takes what Twilio's reference says a request must be, and nothing else.
async fn twilio(uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let refuse = |status: u16, code: u32, message: &str| {
        let told = json!({"code": code, "message": message, "status": status,
            "more_info": format!("https://www.twilio.com/docs/errors/{code}")});
        (StatusCode::from_u16(status).unwrap(), axum::Json(told)).into_response()
    };
    let account = format!("AC{}", "0".repeat(32));
    let proof = format!("Basic {}", BASE64_STANDARD.encode(format!("{account}:t0ken")));
    if headers.get("authorization").and_then(|it| it.to_str().ok()) != Some(&proof) {
        return refuse(401, 20003, "Authenticate");
    }
    let kind = headers.get("content-type").and_then(|it| it.to_str().ok());
    if kind != Some("application/x-www-form-urlencoded") {
        return refuse(400, 20001, "Unsupported content type");
    }
    let text = std::str::from_utf8(&body).unwrap();
    let query: Uri = format!("/?{text}").parse().unwrap();
    let fields = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&query).unwrap().0;
    let field = |name: &str| fields.iter().find(|it| it.0 == name).map(|it| it.1.as_str());
    let number = |text: &str| {
        text.starts_with('+') && (8..=16).contains(&text.len()) && text[1..].parse::<u64>().is_ok()
    };
    let to = field("To").unwrap_or_default();
    if !number(to) {
        return refuse(400, 21211, "The 'To' number is not a valid phone number.");
    }
    if to == "+4700000000" {
        return refuse(400, 21610, "Attempt to send to unsubscribed recipient");
    }
    let known = |allowed: &[&str]| fields.iter().all(|it| allowed.contains(&&*it.0));
    let prefix = match uri.path() {
        path if path == format!("/2010-04-01/Accounts/{account}/Messages.json") => {
            let length = field("Body").unwrap_or_default().chars().count();
            if !(1..=1600).contains(&length)
                || !known(&["To", "From", "MessagingServiceSid", "Body"])
            {
                return refuse(400, 21617, "The message body exceeds the 1600 character limit.");
            }
            "SM"
        }
        path if path == format!("/2010-04-01/Accounts/{account}/Calls.json") => {
            let script = field("Twiml").unwrap_or_default();
            let whole = script.starts_with("<Response>") && script.ends_with("</Response>");
            let opened = script.matches("<Say").count() == script.matches("</Say>").count();
            if !whole || !opened || script.len() > 4000 || !known(&["To", "From", "Twiml"]) {
                return refuse(400, 12100, "Document parse failure");
            }
            "CA"
        }
        _ => return refuse(404, 20404, "The requested resource was not found"),
    };
    let sid = format!("{prefix}{}", "1".repeat(32));
    (StatusCode::CREATED, axum::Json(json!({"sid": sid, "status": "queued"}))).into_response()
}

#[tokio::test]
async fn texts_and_calls_are_what_twilio_takes() {
    let service = server::good(Router::new().fallback(twilio)).await;
    let settings = |change: Value| {
        let mut settings = json!({"account": format!("AC{}", "0".repeat(32)), "token": "t0ken",
            "from": "+4712345678", "to": "+4791234567", "base_url": service.url(""), "ack": true});
        for (name, value) in change.as_object().unwrap() {
            settings[name] = value.clone();
        }
        settings
    };
    let mut long = open();
    long["title"] = "ünreachable <b> & 😀 ".repeat(400).into();
    long["text"] = "\u{1}line\n".repeat(5000).into();
    for notification in [open(), long, json!({"title": "t", "event": "test"})] {
        let text = tell("twilio", settings(json!({})), notification.clone()).await;
        assert_eq!(sent(&text)["reference"], format!("SM{}", "1".repeat(32)));
        let call = tell("twilio", settings(json!({"by": "call"})), notification).await;
        assert_eq!(sent(&call)["reference"], format!("CA{}", "1".repeat(32)));
    }
    let service_sid = settings(json!({"from": format!("MG{}", "2".repeat(32))}));
    sent(&tell("twilio", service_sid, open()).await);
    // Nobody is called because it is over.
    let over = json!({"title": "t", "event": "resolve", "dedup_key": "f1"});
    let quiet = tell("twilio", settings(json!({"by": "call"})), over.clone()).await;
    assert_eq!(sent(&quiet)["requests"], 0);
    assert_eq!(sent(&tell("twilio", settings(json!({})), over).await)["requests"], 1);
    for (wrong, says) in [
        (json!({"token": "other"}), "check `account` and `token`"),
        (json!({"to": "+4700000000"}), "wants no messages"),
    ] {
        let outcome = tell("twilio", settings(wrong), open()).await;
        let reason = failed(&outcome, OutcomeStatus::FailedTerminally);
        assert!(reason.contains(says) && !reason.contains("t0ken"), "{reason}");
    }
}

#[test]
fn a_call_says_where_a_key_is_told_and_a_text_where_to_look() {
    let mut settings = json!({"account": format!("AC{}", "0".repeat(32)), "token": "t",
        "from": "+4712345678", "to": "+4791234567", "by": "call", "language": "en-GB"});
    let form = |settings: &Value| {
        let body = told("twilio", settings, &open()).remove(0).body;
        let uri: Uri = format!("/?{body}").parse().unwrap();
        let fields = axum::extract::Query::<Map<String, Value>>::try_from_uri(&uri);
        fields.unwrap().0
    };
    let call = form(&settings);
    let expected = format!(
        "<Response><Gather numDigits=\"1\" timeout=\"10\" method=\"POST\" \
         action=\"https://bell.example/hooks/noc?ack={TOKEN}\"><Say loop=\"2\" language=\"en-GB\">\
         CRITICAL shop down: &lt;503&gt; &amp; &quot;more&quot;. Press 1 to acknowledge.</Say></Gather>\
         <Say language=\"en-GB\">No key was pressed. It stays open.</Say></Response>"
    );
    assert_eq!(call["Twiml"], expected);
    settings["by"] = "sms".into();
    let text = form(&settings);
    let expected = format!("CRITICAL shop down: <503> & \"more\"\nhttps://bell.example/a/{TOKEN}");
    assert_eq!(text["Body"], expected);
}

/// What a stand-in of Telegram was asked, and the button of the message that it was sent.
#[derive(Clone)]
struct Chat {
    button: watch::Sender<Option<String>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    changed: watch::Sender<usize>,
}

/// The press is told again until its number is passed, and nothing is told before there is a button.
async fn telegram(State(chat): State<Chat>, uri: Uri, body: Bytes) -> axum::Json<Value> {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let method = uri.path().rsplit('/').next().unwrap().to_owned();
    assert_eq!(uri.path(), format!("/bot1:abc/{method}"));
    let result = match &*method {
        "sendMessage" => {
            let data = &body["reply_markup"]["inline_keyboard"][0][0]["callback_data"];
            if let Some(data) = data.as_str() {
                chat.button.send_replace(Some(data.to_owned()));
            }
            json!({"message_id": 7, "chat": {"id": -100}})
        }
        "getUpdates" if body["offset"].as_i64() == Some(0) => {
            assert_eq!(body["allowed_updates"], json!(["callback_query"]));
            let mut button = chat.button.subscribe();
            let data = button.wait_for(Option::is_some).await.unwrap().clone();
            let press = |id: i64, data: Value| {
                json!({"update_id": id, "callback_query": {"id": format!("q{id}"), "data": data,
                    "from": {"id": 1, "first_name": "Ann", "last_name": "B"}}})
            };
            json!([
                press(40, json!("none of ours")),
                press(41, json!(data)),
                press(42, json!(data))
            ])
        }
        // Nothing more for as long as it is held.
        "getUpdates" => std::future::pending().await,
        _ => json!(true),
    };
    chat.asked.lock().unwrap().push((method, body));
    chat.changed.send_modify(|count| *count += 1);
    axum::Json(json!({"ok": true, "result": result}))
}

#[tokio::test]
async fn a_button_in_telegram_is_heard_without_an_address() {
    let chat = Chat {
        button: watch::Sender::new(None),
        asked: Arc::default(),
        changed: watch::Sender::new(0),
    };
    let service = Router::new().fallback(telegram).with_state(chat.clone());
    let service = server::good(service).await;
    let client = crate::http::http().client().clone();
    let runner = Arc::new(Notify::new(client.clone()));
    let engine = house::open(Arc::new(Memory::default()), vec![runner]).await;
    let file = json!({
        "receivers": { "chat": { "telegram": { "token": "1:abc", "chat": -100, "ack": true,
            "base_url": service.url("") } } },
        "routes": [{ "to": "chat" }],
        "monitors": { "backup": { "heartbeat": { "every": "1h", "key": "k-1" } } },
    });
    let loaded = load(&file.to_string(), &ChecklistOptions::default());
    let file = loaded.file.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    engine.apply_monitors("test", file).await.unwrap();
    let hearing = tokio::spawn(hear_presses(engine.clone(), client));
    let monitor = ExecutionId::monitor("backup");
    let ping = Ping { kind: PingKind::Fail, run: None, text: Some("disk full".into()) };
    engine.step(&monitor, Input::Ping(ping)).await.unwrap();

    // Who pressed is answered each time; the message then says who takes care.
    let mut changed = chat.changed.subscribe();
    let told = |method: &str| {
        let asked = chat.asked.lock().unwrap();
        asked.iter().filter(|it| it.0 == method).map(|it| it.1.clone()).collect::<Vec<_>>()
    };
    let all = changed.wait_for(|_| {
        told("answerCallbackQuery").len() == 3 && !told("editMessageText").is_empty()
    });
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("it comes in time").unwrap();
    let answers = told("answerCallbackQuery");
    let texts: Vec<&str> = answers.iter().filter_map(|it| it["text"].as_str()).collect();
    assert!(texts[0].contains("not belong to any message"), "{texts:?}");
    assert_eq!(texts[1], "Acknowledged");
    assert!(answers[2]["show_alert"] == true && texts[2].contains("has said this"), "{texts:?}");
    let by = engine
        .look(&monitor, |it| {
            let incident = it.monitor()?.incident("")?;
            incident.acknowledged.clone()?.who
        })
        .await
        .unwrap();
    assert_eq!(by.flatten().as_deref(), Some("Ann B"));
    let edit = told("editMessageText").remove(0);
    assert!(edit["text"].as_str().unwrap().starts_with("ACKNOWLEDGED"), "{edit}");
    assert_eq!(edit["reply_markup"], Value::Null, "the button is gone");
    hearing.abort();
    engine.close().await.unwrap();
}

#[tokio::test]
async fn answers_that_are_not_heard_are_an_incident_and_a_warning_until_they_are() {
    let engine = house::open(Arc::new(Memory::default()), Vec::new()).await;
    let own = ExecutionId::monitor(OWN_MONITOR);
    let incident = async || {
        let look = |it: &engine::AnyMachine| {
            let monitor = it.monitor()?;
            let incident = monitor.incident("answers:chat")?;
            Some((incident.state, incident.episode))
        };
        engine.look(&own, look).await.unwrap().flatten()
    };
    // Nothing is wrong, and nothing is made of that.
    engine.answers_are_heard("chat").await.unwrap();
    assert_eq!(incident().await, None);
    for reason in ["getUpdates was answered 409", "getUpdates was answered 409", "it is away"] {
        engine.answers_are_unheard("chat", reason).await.unwrap();
    }
    assert_eq!(incident().await, Some((Stands::Open, 1)));
    let warnings = engine.health().warnings;
    let told: Vec<_> = warnings.iter().filter(|it| it.code == "answers").collect();
    assert!(told.len() == 1 && told[0].reason.contains("it is away"), "{warnings:?}");
    engine.answers_are_heard("chat").await.unwrap();
    assert!(matches!(incident().await, None | Some((Stands::Resolved, 1))));
    assert!(engine.health().warnings.iter().all(|it| it.code != "answers"));
    engine.close().await.unwrap();
}
