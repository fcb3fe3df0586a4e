//! The requests of every kind of receiver for every event, against a table.
//!
//! `NIGHTBELL_BLESS=1` writes what is sent now into the table; read the difference before you keep
//! it, it is what services will be sent.

use serde_json::{Map, Value, json};
use tasks::notify::{Call, calls};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/notify/golden.json");
/// 2020-09-06T00:01:13Z; the moment of Lark's published signature.
const NOW_MS: i64 = 1_599_360_473_000;

fn table() -> Value {
    serde_json::from_str(&std::fs::read_to_string(TABLE).unwrap()).unwrap()
}

fn shown(call: &Call) -> Value {
    let headers: Map<String, Value> =
        call.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let body = serde_json::from_str(&call.body).unwrap_or_else(|_| json!(call.body));
    let mut shown = json!({"call": format!("{} {}", call.method, call.url), "body": body});
    if !headers.is_empty() {
        shown["headers"] = headers.into();
    }
    if call.optional {
        shown["optional"] = true.into();
    }
    shown
}

#[test]
fn every_receiver_is_told_of_every_event_as_its_service_wants_it() {
    let mut table = table();
    let (receivers, notifications) = (table["receivers"].clone(), table["notifications"].clone());
    let mut requests = Map::new();
    for (name, receiver) in receivers.as_object().unwrap() {
        let kind = receiver["kind"].as_str().unwrap();
        let settings = receiver["settings"].as_object().unwrap();
        for (event, notification) in notifications.as_object().unwrap() {
            let told = calls(kind, settings, "noc", notification, "execution/notify", NOW_MS);
            let told = match told {
                Ok(calls) => calls.iter().map(shown).collect(),
                Err(problem) => json!({"problem": problem}),
            };
            requests.insert(format!("{name}: {event}"), told);
        }
    }
    if std::env::var_os("NIGHTBELL_BLESS").is_some() {
        table["requests"] = requests.into();
        std::fs::write(TABLE, serde_json::to_string_pretty(&table).unwrap() + "\n").unwrap();
        return;
    }
    let expected = table["requests"].as_object().unwrap();
    for (case, told) in &requests {
        let wanted = expected.get(case).unwrap_or_else(|| panic!("the table has no {case}"));
        assert_eq!(told, wanted, "{case}\n{}", serde_json::to_string_pretty(told).unwrap());
    }
    assert_eq!(requests.len(), expected.len(), "the table has cases that nobody makes");
}

#[test]
fn a_lark_signature_is_the_published_one() {
    let settings =
        json!({"url": "https://open.larksuite.com/open-apis/bot/v2/hook/x", "sign": "demo"});
    let told =
        calls("lark", settings.as_object().unwrap(), "", &json!({"title": "t"}), "d", NOW_MS);
    let body: Value = serde_json::from_str(&told.unwrap()[0].body).unwrap();
    assert_eq!(body["timestamp"], "1599360473");
    assert_eq!(body["sign"], "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8=");
}

fn long() -> Value {
    let label = |at: usize| (format!("label{at}"), json!("läßt ".repeat(200)));
    let member = |at: usize| {
        json!({"dedup_key": format!("k{at}"), "key": format!("building {at}"), "title": "tïtle ".repeat(400),
            "text": "ünreachable \"quoted\" \\ 😀 ".repeat(40)})
    };
    json!({
        "title": "😀 tïtle ".repeat(2000), "text": "wörd 😀\n".repeat(20_000),
        "dedup_key": "ключ".repeat(300), "severity": "error",
        "labels": (0..60).map(label).collect::<Map<_, _>>(),
        "attrs": {"huge": "x".repeat(900_000)},
        "group": {"key": "g", "display": "G44", "members": (0..400).map(member).collect::<Vec<_>>()},
    })
}

/// The limits of the services, on the longest of notifications, alone and in a group.
#[test]
fn nothing_is_longer_than_its_service_takes() {
    let grouped = long();
    let mut alone = grouped.clone();
    alone.as_object_mut().unwrap().remove("group");
    let chars = |value: &Value| value.as_str().unwrap().chars().count();
    let utf16 = |value: &Value| value.as_str().unwrap().encode_utf16().count();
    let table = table();
    for receiver in table["receivers"].as_object().unwrap().values() {
        let kind = receiver["kind"].as_str().unwrap();
        let settings = receiver["settings"].as_object().unwrap();
        for notification in [&grouped, &alone] {
            for call in calls(kind, settings, "noc", notification, "d", NOW_MS).unwrap() {
                let body: Value = serde_json::from_str(&call.body).unwrap_or_default();
                let size = call.body.len();
                match kind {
                    "pagerduty" if body.get("routing_key").is_some() => {
                        assert!(size < 512_000 && chars(&body["payload"]["summary"]) <= 1024);
                        assert!(chars(&body["dedup_key"]) <= 255);
                    }
                    "pagerduty" => {
                        assert!(size < 512_000 && chars(&body["description"]) <= 1024);
                        assert!(chars(&body["incident_key"]) <= 255);
                    }
                    "lark" if settings.contains_key("app_id") => assert!(size <= 30_000, "{size}"),
                    "lark" | "feishu" => assert!(size <= 20_000, "{kind} {size}"),
                    "mattermost" => {
                        let attachment = &body["attachments"][0];
                        assert!(chars(&body["text"]) <= 4000 && chars(&attachment["text"]) <= 8000);
                        assert!(attachment["fields"].as_array().unwrap().len() <= 21);
                    }
                    "teams" => assert!(size <= 28_000, "{size}"),
                    "slack" => {
                        for block in body["attachments"][0]["blocks"].as_array().unwrap() {
                            assert!(block.get("text").is_none_or(|it| chars(&it["text"]) <= 3000));
                            let fields = block.get("fields").and_then(Value::as_array);
                            assert!(fields.is_none_or(|fields| fields.len() <= 10));
                        }
                    }
                    "discord" => {
                        let embed = &body["embeds"][0];
                        let fields = embed["fields"].as_array().unwrap();
                        let of_fields: usize =
                            fields.iter().map(|it| utf16(&it["name"]) + utf16(&it["value"])).sum();
                        let total =
                            utf16(&embed["title"]) + utf16(&embed["description"]) + of_fields;
                        assert!(total <= 6000 && fields.len() <= 25, "{total}");
                        assert!(utf16(&embed["title"]) <= 256);
                        assert!(utf16(&embed["description"]) <= 4096);
                    }
                    "telegram" => assert!(utf16(&body["text"]) <= 4096),
                    "opsgenie" | "jsm" => {
                        assert!(chars(&body["message"]) <= 130 && chars(&body["alias"]) <= 512);
                        let tags = body["tags"].as_array().unwrap();
                        assert!(tags.len() <= 20 && tags.iter().all(|tag| chars(tag) <= 50));
                    }
                    "squadcast" => assert!(size <= 30_000, "{size}"),
                    "datadog" => {
                        assert!(chars(&body["text"]) <= 4000);
                        assert!(chars(&body["aggregation_key"]) <= 100);
                    }
                    "ntfy" => {
                        assert!(body["message"].as_str().unwrap().len() <= 4096);
                        assert!(body["title"].as_str().unwrap().len() <= 1024);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Two keys that differ only beyond the limit stay two.
#[test]
fn a_key_that_is_cut_still_names_one_thing() {
    let key = |end: &str| {
        let notification = json!({"title": "t", "dedup_key": format!("{}{end}", "k".repeat(300))});
        let settings = json!({"key": "x"});
        let told =
            calls("pagerduty", settings.as_object().unwrap(), "", &notification, "d", NOW_MS);
        let body: Value = serde_json::from_str(&told.unwrap()[0].body).unwrap();
        body["dedup_key"].as_str().unwrap().to_owned()
    };
    assert_ne!(key("a"), key("b"));
    assert_eq!(key("a"), key("a"));
    assert_eq!(key("a").len(), 255);
}

/// Quotes, braces and markup in a text from outside stay a text.
#[test]
fn a_text_from_outside_is_only_ever_a_text() {
    let title =
        r#"", "admin": true, "x": "\ <!channel> <at user_id="all"> {{ severity }} @everyone"#;
    let settings = json!({"url": "https://h/x", "body": {"{{ title }}": ["{{ title }}", "about {{ title }}"], "n": "{{ value }}", "s": "v={{ value }}", "none": "{{ nobody }}"}});
    let notification = json!({"title": title, "value": 97.5});
    let told =
        calls("webhook", settings.as_object().unwrap(), "", &notification, "d", NOW_MS).unwrap();
    let body: Value = serde_json::from_str(&told[0].body).unwrap();
    let expected = json!({"{{ title }}": [title, format!("about {title}")], "n": 97.5, "s": "v=97.5", "none": "{{ nobody }}"});
    assert_eq!(body, expected);

    let settings = json!({"url": "https://hooks.slack.com/x"});
    let told =
        calls("slack", settings.as_object().unwrap(), "", &notification, "d", NOW_MS).unwrap();
    assert!(!told[0].body.contains("<!channel>"), "{}", told[0].body);

    let settings = json!({"url": "https://chat.example.org/hooks/x", "mention": "here"});
    let told =
        calls("mattermost", settings.as_object().unwrap(), "", &notification, "d", NOW_MS).unwrap();
    let body: Value = serde_json::from_str(&told[0].body).unwrap();
    let text = body["text"].as_str().unwrap();
    assert!(
        !text.contains("@everyone") && text.contains("\\<") && text.ends_with("** @here"),
        "{text}"
    );

    let settings = json!({"url": "https://open.larksuite.com/x", "style": "text"});
    let told =
        calls("lark", settings.as_object().unwrap(), "", &notification, "d", NOW_MS).unwrap();
    assert!(!told[0].body.contains("<at user_id"), "{}", told[0].body);

    let settings = json!({"url": "https://discord.com/api/webhooks/1/x"});
    let told =
        calls("discord", settings.as_object().unwrap(), "", &notification, "d", NOW_MS).unwrap();
    let body: Value = serde_json::from_str(&told[0].body).unwrap();
    assert_eq!(body["allowed_mentions"], json!({"parse": []}));
}

#[test]
fn each_hour_has_a_key_of_its_own_if_that_is_wanted() {
    let keys = |event: &str, key: &str, from: &str, to: &str| -> Vec<String> {
        let settings =
            json!({"key": "k", "api": "v1", "incident_key": "hour", "tz": "Asia/Kolkata"});
        let about = json!({"event": event, "monitor": "load", "key": key, "title": "t",
            "dedup_key": "f", "opened_at": from, "at": to});
        let settings = settings.as_object().unwrap();
        let calls = calls("pagerduty", settings, "noc", &about, "d", 0).unwrap();
        calls.iter().map(|call| call.key.clone()).collect()
    };
    let (from, to) = ("2026-03-10T17:40:00Z", "2026-03-10T19:10:00Z");
    // Half past on the half-hour's clock, and over midnight there.
    assert_eq!(keys("trigger", "", from, from), ["load-20260310-23"]);
    assert_eq!(keys("reminder", "#check", from, to), ["load#check-20260311-00"]);
    assert_eq!(keys("resolve", "", from, to), ["load-20260310-23", "load-20260311-00"]);
    // What began long ago is not resolved hour by hour.
    assert_eq!(keys("resolve", "", "2025-03-10T17:40:00Z", to).len(), 73);
}
