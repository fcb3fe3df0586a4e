//! Settings of receivers that have no effect beside others: a warning, so that nobody waits for it.

use kernel::alert::definition::Remark;

use super::settings::{Settings, is_open};

/// Settings of a kind that have no effect in some case.
struct Idle {
    kind: &'static str,
    settings: &'static [&'static str],
    /// The case.
    when: fn(Settings<'_>) -> bool,
    why: &'static str,
}

static IDLE: [Idle; 10] = [
    Idle {
        kind: "slack",
        settings: &["channel", "base_url"],
        when: |it| !it.has("token"),
        why: "an incoming webhook has a channel and an address of its own; `token` is needed for this",
    },
    Idle {
        kind: "ntfy",
        settings: &["url", "base_url"],
        when: |it| it.text("topic").is_some_and(|topic| topic.contains("://")),
        why: "`topic` is a whole address",
    },
    Idle { kind: "lark", settings: &["base_url"], when: has_url, why: "`url` is a whole address" },
    Idle {
        kind: "feishu",
        settings: &["base_url"],
        when: has_url,
        why: "`url` is a whole address",
    },
    Idle {
        kind: "pagerduty",
        settings: &["source", "component", "class"],
        when: |it| it.text("api").as_deref() == Some("v1"),
        why: "version 1 of the Events API does not have it",
    },
    Idle {
        kind: "pagerduty",
        settings: &["tz"],
        when: |it| it.text("incident_key").as_deref() != Some("hour"),
        why: "it is for `incident_key: hour`",
    },
    Idle {
        kind: "twilio",
        settings: &["language", "voice"],
        when: |it| it.text("by").as_deref() != Some("call"),
        why: "nothing is read out in an SMS; it is for `by: call`",
    },
    Idle {
        kind: "telegram",
        settings: &["thread"],
        when: |it| {
            let thread = it.text("thread").unwrap_or_default();
            !is_open(&thread) && thread.parse::<i64>().is_err()
        },
        why: "the id of a topic is a number",
    },
    Idle { kind: "opsgenie", settings: &["responders"], when: no_list, why: "it must be a list" },
    Idle { kind: "jsm", settings: &["responders"], when: no_list, why: "it must be a list" },
];

fn has_url(settings: Settings<'_>) -> bool {
    settings.has("url")
}

fn no_list(settings: Settings<'_>) -> bool {
    settings.get("responders").is_some_and(|it| !it.is_array())
}

/// A warning for each setting that has no effect.
pub(super) fn remarks(kind: &str, settings: Settings<'_>) -> Vec<Remark> {
    let idle = IDLE.iter().filter(|it| it.kind == kind && (it.when)(settings));
    let idle = idle.flat_map(|it| it.settings.iter().map(|name| (*name, it.why)));
    let written = idle.filter(|(name, _)| settings.has(name));
    let told = |(name, why)| Remark::warning(Some(name), format!("`{name}` has no effect: {why}"));
    written.map(told).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::kind;

    #[test]
    fn what_has_no_effect_is_told_and_what_has_is_not() {
        let named = |name: &str, settings: &Value| -> Vec<String> {
            kind::remarks(name, settings).into_iter().filter_map(|it| it.setting).collect()
        };
        for (kind, idle, used, setting) in [
            (
                "slack",
                json!({ "url": "https://s", "channel": "#a" }),
                json!({ "token": "xoxb-1", "channel": "#a" }),
                "channel",
            ),
            (
                "ntfy",
                json!({ "topic": "https://n/t", "url": "https://n" }),
                json!({ "topic": "t", "url": "https://n" }),
                "url",
            ),
            (
                "pagerduty",
                json!({ "key": "k", "api": "v1", "class": "c" }),
                json!({ "key": "k", "class": "c" }),
                "class",
            ),
            (
                "pagerduty",
                json!({ "key": "k", "tz": "Europe/Oslo" }),
                json!({ "key": "k", "incident_key": "hour", "tz": "Europe/Oslo" }),
                "tz",
            ),
            (
                "telegram",
                json!({ "token": "t", "chat": "1", "thread": "general" }),
                json!({ "token": "t", "chat": "1", "thread": 12 }),
                "thread",
            ),
            (
                "opsgenie",
                json!({ "key": "k", "responders": "data" }),
                json!({ "key": "k", "responders": [{ "name": "{{ team }}", "type": "team" }] }),
                "responders",
            ),
        ] {
            assert_eq!(named(kind, &idle), [setting], "{kind}");
            assert_eq!(named(kind, &used), [""; 0], "{kind}");
        }
    }
}
