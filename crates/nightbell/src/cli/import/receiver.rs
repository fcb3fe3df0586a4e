//! Receivers that several tools write alike: where messages go.

use serde_json::{Map, Value, json};

/// Pairs of a setting here and the one that it is there.
type Settings = &'static [(&'static str, &'static str)];

/// Kinds that Gatus and we have: its name there, ours, and the settings.
pub(super) const OF_GATUS: [(&str, &str, Settings); 10] = [
    ("slack", "slack", &[("url", "webhook-url")]),
    ("discord", "discord", &[("url", "webhook-url")]),
    ("mattermost", "mattermost", &[("url", "webhook-url"), ("channel", "channel")]),
    ("teams-workflows", "teams", &[("url", "webhook-url")]),
    ("pagerduty", "pagerduty", &[("key", "integration-key")]),
    ("opsgenie", "opsgenie", &[("key", "api-key")]),
    ("telegram", "telegram", &[("token", "token"), ("chat", "id"), ("thread", "topic-id")]),
    ("ntfy", "ntfy", &[("topic", "topic"), ("url", "url"), ("token", "token")]),
    ("squadcast", "squadcast", &[("url", "webhook-url")]),
    ("datadog", "datadog", &[("key", "api-key"), ("site", "site")]),
];

/// Kinds that Uptime Kuma and we have.
pub(super) const OF_KUMA: [(&str, &str, Settings); 10] = [
    ("slack", "slack", &[("url", "slackwebhookURL")]),
    ("discord", "discord", &[("url", "discordWebhookUrl"), ("username", "discordUsername")]),
    (
        "mattermost",
        "mattermost",
        &[("url", "mattermostWebhookUrl"), ("channel", "mattermostchannel")],
    ),
    ("teams", "teams", &[("url", "webhookUrl")]),
    ("PagerDuty", "pagerduty", &[("key", "pagerdutyIntegrationKey")]),
    ("Opsgenie", "opsgenie", &[("key", "opsgenieApiKey")]),
    ("telegram", "telegram", &[("token", "telegramBotToken"), ("chat", "telegramChatID")]),
    (
        "ntfy",
        "ntfy",
        &[
            ("topic", "ntfytopic"),
            ("url", "ntfyserverurl"),
            ("token", "ntfyaccesstoken"),
            ("user", "ntfyusername"),
            ("password", "ntfypassword"),
        ],
    ),
    ("Feishu", "feishu", &[("url", "feishuWebHookUrl")]),
    ("webhook", "webhook", &[("url", "webhookURL")]),
];

/// Our kind and settings of a receiver of another tool; `None` if there is no such kind, or if what it
/// needs first is missing.
pub(super) fn translated(
    known: &[(&str, &'static str, Settings)],
    kind: &str,
    of: &Value,
) -> Option<(&'static str, Map<String, Value>)> {
    let (_, ours, settings) = known.iter().find(|(theirs, ..)| *theirs == kind)?;
    let mut translated = Map::new();
    for (setting, theirs) in *settings {
        if let Some(text) = super::text(of, theirs) {
            translated.insert((*setting).to_owned(), json!(text));
        }
    }
    let needed = settings.first().map(|(setting, _)| *setting)?;
    translated.contains_key(needed).then_some((*ours, translated))
}
