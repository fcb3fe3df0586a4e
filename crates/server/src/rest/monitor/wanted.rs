//! Which incidents a list is asked for beyond what the ledger is sorted by: severity, labels, words, who was
//! told, and whether anybody is.

use std::collections::BTreeSet;

use engine::search::{PAGE_MAX, RecordSearch};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use crate::Api;
use crate::problem::Problem;

/// Conditions that must all hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
pub(super) struct WantedParams {
    /// Only incidents of these severities, separated by commas: `info`, `warning`, `error`, `critical`.
    severity: Option<String>,
    /// Only incidents with all of these labels, separated by commas: `team=data`. A name alone
    /// matches any value.
    label: Option<String>,
    /// Only incidents of which one of these receivers was notified, separated by commas, according
    /// to the newest 5,000 deliveries.
    receiver: Option<String>,
    /// Only incidents with all of these words in their monitor, key, text or labels.
    text: Option<String>,
    /// `true`: only incidents that are suppressed, because they are silenced or what they depend on
    /// is down. `false`: only others.
    silenced: Option<bool>,
}

/// The conditions, read.
pub(super) struct Wanted {
    severities: Vec<String>,
    labels: Vec<(String, Option<String>)>,
    words: Vec<String>,
    told: Option<BTreeSet<String>>,
    silenced: Option<bool>,
}

impl Wanted {
    /// Reads them; `None` if there are none.
    pub(super) async fn read(api: &Api, params: WantedParams) -> Result<Option<Self>, Problem> {
        let labels = comma_separated(params.label).into_iter().map(|it| match it.split_once('=') {
            Some((name, value)) => (name.trim().to_owned(), Some(value.trim().to_owned())),
            None => (it, None),
        });
        let words = params.text.unwrap_or_default().to_lowercase();
        let receivers = comma_separated(params.receiver);
        let told = if receivers.is_empty() { None } else { Some(told(api, &receivers).await?) };
        let wanted = Self {
            severities: comma_separated(params.severity),
            labels: labels.collect(),
            words: words.split_whitespace().map(str::to_owned).collect(),
            told,
            silenced: params.silenced,
        };
        let Self { severities, labels, words, told, silenced } = &wanted;
        let is_any = severities.is_empty() && labels.is_empty() && words.is_empty();
        Ok((!is_any || told.is_some() || silenced.is_some()).then_some(wanted))
    }

    /// Whether an incident may be wanted, by its line of the ledger alone. That of one that is not over may
    /// be behind in its severity and labels.
    pub(super) fn may_fit(&self, line: &Value) -> bool {
        if self.told.as_ref().is_some_and(|told| !told.contains(text(line, "id"))) {
            return false;
        }
        line["state"].as_str() != Some("resolved") || self.has_kind(line)
    }

    /// Whether an incident is wanted, as it is shown.
    pub(super) fn fits(&self, shown: &Value) -> bool {
        let is_told = |told: &BTreeSet<String>| told.contains(text(shown, "id"));
        self.has_kind(shown)
            && self.silenced.is_none_or(|silenced| silenced != shown["suppressed"].is_null())
            && self.told.as_ref().is_none_or(is_told)
            && self.has_words(shown)
    }

    /// Whether it has the severity and the labels.
    fn has_kind(&self, shown: &Value) -> bool {
        let labels = &shown["labels"];
        let has_label = |(name, value): &(String, Option<String>)| match (labels.get(name), value) {
            (Some(is), Some(value)) => is.as_str() == Some(value),
            (is, None) => is.is_some(),
            (None, Some(_)) => false,
        };
        let is_named = |words: &[String], name: &str| {
            words.is_empty() || words.iter().any(|it| it == text(shown, name))
        };
        is_named(&self.severities, "severity") && self.labels.iter().all(has_label)
    }

    fn has_words(&self, shown: &Value) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let mut all = shown["labels"].to_string();
        for name in ["monitor", "key", "text"] {
            all.push('\n');
            all.push_str(shown[name].as_str().unwrap_or_default());
        }
        let all = all.to_lowercase();
        self.words.iter().all(|word| all.contains(word))
    }
}

fn text<'a>(shown: &'a Value, name: &str) -> &'a str {
    shown[name].as_str().unwrap_or_default()
}

/// The words between commas.
pub(super) fn comma_separated(text: Option<String>) -> Vec<String> {
    let text = text.unwrap_or_default();
    text.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

/// The incidents of which receivers were told.
async fn told(api: &Api, receivers: &[String]) -> Result<BTreeSet<String>, Problem> {
    let search = RecordSearch { size: PAGE_MAX, ..RecordSearch::newest("delivery") };
    let mut told = BTreeSet::new();
    for line in api.engine.store().records(&search).await?.rows {
        let body = line.body.parse();
        let is_one = |it: &String| body["receiver"].as_str() == Some(it);
        if receivers.iter().any(is_one) {
            let ids = body["incidents"].as_array().into_iter().flatten();
            told.extend(ids.filter_map(Value::as_str).map(str::to_owned));
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_conditions_must_hold() {
        let shown = json!({ "id": "i-1", "monitor": "shop", "key": "eu", "text": "HTTP 503", "severity": "error",
            "labels": { "team": "Web" }, "suppressed": null });
        let wanted = || Wanted {
            severities: vec!["error".to_owned()],
            labels: vec![("team".to_owned(), Some("Web".to_owned()))],
            words: vec!["503".to_owned(), "web".to_owned()],
            told: Some(BTreeSet::from(["i-1".to_owned()])),
            silenced: Some(false),
        };
        assert!(wanted().fits(&shown));
        assert!(!Wanted { severities: vec!["info".to_owned()], ..wanted() }.fits(&shown));
        assert!(!Wanted { labels: vec![("site".to_owned(), None)], ..wanted() }.fits(&shown));
        assert!(Wanted { labels: vec![("team".to_owned(), None)], ..wanted() }.fits(&shown));
        assert!(!Wanted { words: vec!["mail".to_owned()], ..wanted() }.fits(&shown));
        assert!(!Wanted { told: Some(BTreeSet::new()), ..wanted() }.fits(&shown));
        assert!(!Wanted { silenced: Some(true), ..wanted() }.fits(&shown));
    }
}
