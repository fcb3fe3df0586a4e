//! Users of Grafana `OnCall` as people, each with receivers of their own.

use serde_json::{Map, Value, json};

use super::super::page::{Entry, Page};
use super::super::{span, text};
use super::api::Lists;
use super::{People, secret};

/// Adds those who are on call, in the order of the list.
pub(super) fn people(lists: &Lists, people: &People, page: &mut Page) {
    let mut others = 0;
    for user in &lists.users {
        let id = text(user, "id").unwrap_or_default();
        let Some(name) = people.names.get(&id).filter(|_| people.used.contains(&id)) else {
            others += 1;
            continue;
        };
        person(user, name, lists.rules.as_deref(), page);
    }
    if others > 0 {
        page.leave(format!("{others} of the users"), "they are on call nowhere");
    }
    if lists.rules.is_none() {
        let why = "the token may not read them: people are told by e-mail";
        page.leave("personal notification rules", why);
    }
}

fn person(user: &Value, name: &str, rules: Option<&[Value]>, page: &mut Page) {
    let mut entry = Entry::new(name);
    let mut rules: Vec<&Value> =
        rules.into_iter().flatten().filter(|it| it["user_id"] == user["id"]).collect();
    if rules.iter().any(|it| it["important"] == true) {
        entry.leave("the rules for what is important: there is one contact ladder");
        rules.retain(|it| it["important"] != true);
    }
    rules.sort_by_key(|it| it["position"].as_i64());
    let (mut contact, mut after) = (Vec::new(), 0);
    for rule in rules {
        let kind = text(rule, "type").unwrap_or_default();
        if kind == "wait" {
            after += rule["duration"].as_i64().unwrap_or_default();
            continue;
        }
        let Some(receiver) = receiver(&kind, user, name, page) else {
            entry.leave(format!("the rule {kind}"));
            continue;
        };
        let mut rung = Map::new();
        rung.insert("to".to_owned(), receiver.into());
        if after > 0 {
            rung.insert("after".to_owned(), span(after).into());
        }
        contact.push(Value::Object(rung));
    }
    if contact.is_empty() {
        entry.words.push("No rule says how to tell them: by e-mail.".to_owned());
        contact.extend(receiver("notify_by_email", user, name, page).map(|it| json!({ "to": it })));
    }
    entry.set("contact", contact);
    page.people.push(entry);
}

/// The name of a receiver by which somebody is told in one way.
fn receiver(kind: &str, user: &Value, name: &str, page: &mut Page) -> Option<String> {
    let of_user = |what: &str| format!("${{secret:{}_{what}}}", secret(name));
    let twilio = || {
        json!({
            "account": "${secret:TWILIO_SID}", "token": "${secret:TWILIO_TOKEN}",
            "from": "${secret:TWILIO_FROM}", "to": of_user("PHONE"),
        })
    };
    let (way, ours, settings) = match kind {
        "notify_by_slack" => {
            let channel = user["slack"].as_array().and_then(|it| text(it.first()?, "user_id"));
            let channel = channel.unwrap_or_else(|| of_user("SLACK"));
            ("slack", "slack", json!({ "token": "${secret:SLACK_TOKEN}", "channel": channel }))
        }
        "notify_by_sms" => ("sms", "twilio", twilio()),
        "notify_by_phone_call" => {
            let mut settings = twilio();
            settings["by"] = "call".into();
            ("call", "twilio", settings)
        }
        "notify_by_telegram" => {
            let settings =
                json!({ "token": "${secret:TELEGRAM_TOKEN}", "chat": of_user("TELEGRAM") });
            ("telegram", "telegram", settings)
        }
        "notify_by_email" => {
            let to = text(user, "email").unwrap_or_else(|| of_user("MAIL"));
            let settings =
                json!({ "to": to, "from": "${secret:MAIL_FROM}", "url": "${secret:SMTP_URL}" });
            ("mail", "email", settings)
        }
        "notify_by_mobile_app" | "notify_by_mobile_app_critical" => {
            ("push", "ntfy", json!({ "topic": of_user("TOPIC") }))
        }
        _ => return None,
    };
    let name = format!("{name}-{way}");
    if page.receivers.iter().all(|it| it.name != name) {
        let mut entry = Entry::new(name.clone());
        if way == "push" {
            entry.words.push("In the place of OnCall's app, ntfy.".to_owned());
        }
        entry.set(ours, settings);
        page.receivers.push(entry);
    }
    Some(name)
}
