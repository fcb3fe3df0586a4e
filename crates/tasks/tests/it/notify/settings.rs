//! Which settings of a receiver can be used, and what is said of those that cannot.

use kernel::alert::definition::{Level, Remark};
use serde_json::{Value, json};
use tasks::notify::remarks;

fn problems(kind: &str, settings: &Value) -> Vec<String> {
    remarks(kind, settings).into_iter().map(|remark| remark.message).collect()
}

#[test]
fn settings_that_can_be_used_are_not_complained_about() {
    let good = [
        ("pagerduty", json!({"key": "k"})),
        (
            "pagerduty",
            json!({"key": "${secret:PD}", "api": "v1", "base_url": "http://127.0.0.1:1"}),
        ),
        (
            "lark",
            json!({"url": "${secret:LARK_URL}", "sign": "${secret:LARK_SIGN}", "style": "post"}),
        ),
        (
            "lark",
            json!({"app_id": "cli_1", "app_secret": "${secret:APP}", "chat": "oc_1", "style": "card",
                "ack": true, "webhook_secret": "${secret:VERIFICATION}"}),
        ),
        ("feishu", json!({"token": "t", "title": "{{ monitor | upper }}", "mention": "all"})),
        ("slack", json!({"url": "https://hooks.slack.com/x"})),
        ("slack", json!({"token": "${secret:SLACK}", "channel": "C1"})),
        ("mattermost", json!({"url": "https://h/hooks/x", "channel": "ops", "mention": "here"})),
        ("teams", json!({"url": "https://h"})),
        ("discord", json!({"url": "https://h", "thread": 7, "username": null})),
        ("telegram", json!({"token": "1:a", "chat": -100, "silent": true})),
        ("opsgenie", json!({"key": "k", "responders": [{"type": "team", "name": "ops"}]})),
        ("jsm", json!({"key": "k", "priorities": {"warning": "P4"}})),
        ("squadcast", json!({"url": "https://h"})),
        ("datadog", json!({"key": "k", "site": "us3.datadoghq.com", "tags": ["a:b"]})),
        ("ntfy", json!({"topic": "alerts"})),
        ("ntfy", json!({"topic": "https://ntfy.example.org/alerts", "priorities": {"info": 1}})),
        (
            "email",
            json!({"to": "a@h.org, B <b@h.org>", "from": "n@h.org", "host": "h", "tls": "none"}),
        ),
        ("email", json!({"to": ["a@h.org"], "from": "n@h.org", "url": "smtps://u:p%40@h:465"})),
        ("webhook", json!({"url": "https://h", "body": {"a": "{{ title }}"}, "secret": "s"})),
        (
            "twilio",
            json!({"account": "${secret:SID}", "token": "t", "from": "+4712345678", "to": "+4791234567", "by": "call", "ack": true}),
        ),
        (
            "twilio",
            json!({"account": format!("AC{}", "0".repeat(32)), "token": "t", "from": "Nightbell", "to": "+4791234567"}),
        ),
        ("slack", json!({"url": "https://h", "ack": "yes", "webhook_secret": "${secret:S}"})),
        ("inbox", json!({})),
        ("workflow", json!({"name": "w", "input": {"a": 1}})),
    ];
    for (kind, settings) in good {
        assert_eq!(problems(kind, &settings), Vec::<String>::new(), "{kind} {settings}");
    }
}

/// Settings for calls of which one is another.
fn twilio(name: &str, value: &str) -> Value {
    let mut settings = json!({"account": format!("AC{}", "0".repeat(32)), "token": "t",
        "from": "+4712345678", "to": "+4791234567", "by": "call"});
    settings[name] = value.into();
    settings
}

#[test]
fn every_problem_is_named() {
    let bad = [
        ("pager", json!({}), "there is no kind of receiver \"pager\"; there are pagerduty, lark"),
        ("slack", json!([]), "must be a map"),
        ("slack", json!({}), "slack needs `url` or `token`"),
        ("slack", json!({"url": "  "}), "slack needs `url` or `token`"),
        ("slack", json!({"url": "hooks.slack.com/x"}), "`url` is no URL"),
        ("slack", json!({"url": "ftp://h/x"}), "`url` must begin with http:// or https://"),
        ("slack", json!({"token": "xoxb-1"}), "needs a `channel`"),
        ("slack", json!({"token": "1", "channel": "C"}), "xoxb-"),
        ("slack", json!({"token": "xoxb-1", "channel": "C", "url": "https://h"}), "not both"),
        (
            "slack",
            json!({"url": "https://h", "chanel": "C"}),
            "unknown setting `chanel`; slack knows url,",
        ),
        ("slack", json!({"url": {"a": 1}}), "`url` must be a text"),
        (
            "slack",
            json!({"url": "https://h", "mention": {"a": 1}}),
            "`mention` must be a text or a list",
        ),
        ("slack", json!({"url": "https://h", "title": "{{ a | nope }}"}), "unknown filter"),
        ("slack", json!({"url": "https://h", "line": "{{ a"}), "`line`"),
        ("mattermost", json!({"channel": "ops"}), "mattermost needs `url`"),
        ("pagerduty", json!({"key": "k", "api": "v3"}), "`api` must be one of v1, v2"),
        ("telegram", json!({"token": "1:a"}), "telegram needs `chat`"),
        (
            "telegram",
            json!({"token": "1:a", "chat": 1, "silent": "maybe"}),
            "`silent` must be true or false",
        ),
        ("opsgenie", json!({"key": "k", "priorities": {"bad": "P1"}}), "not bad"),
        (
            "opsgenie",
            json!({"key": "k", "priorities": {"info": "P9"}}),
            "`priorities.info` must be one of P1 to P5",
        ),
        ("opsgenie", json!({"key": "k", "priorities": 1}), "`priorities` must be a map"),
        ("ntfy", json!({"topic": "a b"}), "`topic`"),
        ("ntfy", json!({"topic": "a", "user": "u"}), "together"),
        ("ntfy", json!({"topic": "a", "priorities": {"info": 9}}), "from 1 to 5"),
        (
            "twilio",
            json!({"account": "a", "token": "t", "from": "+4712345678"}),
            "twilio needs `to`",
        ),
        ("twilio", twilio("to", "91234567"), "(E.164)"),
        ("twilio", twilio("to", "+0791234567"), "(E.164)"),
        ("twilio", twilio("account", "AC1"), "SID of an account"),
        ("twilio", twilio("from", "a name far too long"), "`from` must be a number"),
        ("twilio", twilio("by", "fax"), "`by` must be one of sms, call"),
        ("slack", json!({"url": "https://h", "webhook_secret": "s"}), "is for `ack: yes`"),
        ("email", json!({"to": "a@h.org"}), "email needs `from`"),
        (
            "email",
            json!({"to": "nobody", "from": "n@h.org", "host": "h"}),
            "\"nobody\" is no address",
        ),
        ("email", json!({"to": "a@h.org", "from": "n@h.org", "host": "h", "port": 0}), "`port`"),
        (
            "email",
            json!({"to": "a@h.org", "from": "n@h.org", "url": "https://h"}),
            "smtp:// or smtps://",
        ),
        (
            "email",
            json!({"to": "a@h.org", "from": "n@h.org", "host": "h", "tls": "maybe"}),
            "`tls`",
        ),
        (
            "email",
            json!({"to": "a@h.org", "from": "n@h.org", "host": "h", "user": "u"}),
            "together",
        ),
        ("webhook", json!({"url": "https://h", "headers": {"a b": "c"}}), "no name of a header"),
        ("webhook", json!({"url": "https://h", "headers": {"a": "b\nc"}}), "control character"),
        (
            "webhook",
            json!({"url": "https://h", "body": "{\"a\": \"{{ title }}\"}", "headers": {"Content-Type": "application/json"}}),
            "must be a map",
        ),
        ("webhook", json!({"url": "https://h", "body": {"a": ["{{ x"]}}), "`body`"),
        ("webhook", json!({"url": "https://h", "secret": "whsec_?"}), "base64"),
        (
            "webhook",
            json!({"url": "https://h", "method": "GET"}),
            "`method` must be one of POST, PUT, PATCH",
        ),
        ("workflow", json!({}), "workflow needs `name`"),
        ("inbox", json!({"url": "x"}), "unknown setting `url`"),
    ];
    for (kind, settings, words) in bad {
        let found = problems(kind, &settings);
        assert!(found.iter().any(|it| it.contains(words)), "{kind} {settings}: {found:?}");
    }
}

/// What is unknown is passed over, what is wrong is not; both say which setting they are about.
#[test]
fn a_complaint_knows_its_setting() {
    let cases = [
        ("slack", json!({"url": "https://h", "chanel": "C"}), Level::Error, Some("chanel")),
        ("slack", json!({"url": "h"}), Level::Error, Some("url")),
        ("slack", json!({}), Level::Error, None),
        (
            "opsgenie",
            json!({"key": "k", "priorities": {"bad": "P1"}}),
            Level::Error,
            Some("priorities"),
        ),
        (
            "email",
            json!({"to": "nobody", "from": "n@h.org", "host": "h"}),
            Level::Error,
            Some("to"),
        ),
    ];
    for (kind, settings, level, setting) in cases {
        let [Remark { level: found, setting: named, message }] =
            remarks(kind, &settings).try_into().expect("one remark");
        assert_eq!((found, named.as_deref()), (level, setting), "{kind}: {message}");
    }
}

/// A complaint goes into logs and onto screens; a setting may be a secret.
#[test]
fn a_complaint_does_not_repeat_an_address() {
    let settings =
        json!({"url": "hooks.slack.com/services/t0k3n", "token": "s3cret", "channel": "C"});
    let found: Vec<Value> = problems("slack", &settings).into_iter().map(Into::into).collect();
    let all = Value::from(found).to_string();
    assert!(!all.contains("t0k3n") && !all.contains("s3cret"), "{all}");
}

#[test]
fn an_app_of_lark_is_told_from_a_groups_bot() {
    let wrong = [
        (json!({"app_id": "cli_1", "chat": "oc_1"}), "an app (`app_id`) needs `app_secret`"),
        (json!({"app_id": "cli_1", "app_secret": "s"}), "an app (`app_id`) needs `chat`"),
        (
            json!({"app_id": "cli_1", "app_secret": "s", "chat": "oc_1", "token": "t"}),
            "`token` is of a group's bot, and `app_id` of an app: not both",
        ),
        (json!({"token": "t", "chat": "oc_1"}), "`chat` is of an app, and there is no `app_id`"),
        (
            json!({"app_id": "cli_1", "app_secret": "s", "chat": "oc_1", "webhook_secret": "v",
                "ack": true}),
            "`webhook_secret` is for `ack: yes` with `style: card`",
        ),
    ];
    for (settings, why) in wrong {
        assert_eq!(problems("lark", &settings), [why], "{settings}");
    }
}
