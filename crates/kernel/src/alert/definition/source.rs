//! Named sources: what a monitor leaves open comes from the source that it names, but the source's
//! credentials go to the source's own address alone.

use serde_json::{Map, Value};

/// Settings that decide where a check goes and whom it trusts there.
const BOUND: [&str; 6] = ["url", "address", "host", "port", "token_url", "tls"];
/// Settings that are worth stealing.
const CREDENTIALS: [&str; 6] =
    ["password", "token", "bearer", "refresh_token", "client_secret", "headers"];

/// A setting by which a check would send the credentials of a source elsewhere; `None` if there is
/// none. To say the same as the source changes nothing.
pub fn rebound(own: &Map<String, Value>, source: &Map<String, Value>) -> Option<&'static str> {
    let in_url = |url: &str| url.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    let has_credentials = CREDENTIALS.iter().any(|name| source.contains_key(*name))
        || source.get("url").and_then(Value::as_str).is_some_and(in_url);
    let differs = |name: &str| own.contains_key(name) && own.get(name) != source.get(name);
    BOUND.into_iter().find(|name| has_credentials && differs(name))
}

/// What there is to say of such a setting.
pub fn rebinding(setting: &str, source: &str) -> String {
    format!(
        "`{setting}` cannot be set beside the source {source:?}, whose credentials are for its own \
         address alone; leave `{setting}` out, or name no source and give credentials of your own"
    )
}

/// The settings of a check, and those of its source for what they leave open; nothing of the source
/// if its credentials would go elsewhere.
pub(super) fn merged(
    mut own: Map<String, Value>,
    source: Map<String, Value>,
) -> Map<String, Value> {
    if rebound(&own, &source).is_some() {
        return own;
    }
    for (name, value) in source {
        own.entry(name).or_insert(value);
    }
    own
}
