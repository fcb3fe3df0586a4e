//! Which monitors are of a kind, of a source, or bear a label; and how many there are of each.

use std::collections::BTreeMap;

use engine::Engine;
use kernel::alert::definition::MonitorDef;
use serde_json::{Value, json};

use crate::problem::Problem;

/// Values of one facet that are told, the most frequent first.
const VALUES_MAX: usize = 20;

/// What monitors are looked for by their definitions.
pub(super) struct Wanted {
    kinds: Vec<String>,
    sources: Vec<String>,
    labels: Vec<(String, String)>,
}

impl Wanted {
    /// What parameters ask for; each may have several values, separated by commas.
    ///
    /// # Errors
    /// A label is no pair.
    pub(super) fn read(
        kind: Option<&str>,
        source: Option<&str>,
        label: Option<&str>,
    ) -> Result<Self, Problem> {
        let words = |text: Option<&str>| -> Vec<String> {
            let words = text.unwrap_or_default().split(',').map(str::trim);
            words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let pair = |text: String| {
            let pair = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            pair.ok_or_else(|| {
                Problem::bad_request(format!("'{text}' is no label"))
                    .with_hint("Write label=value, such as team=data.")
            })
        };
        let labels = words(label).into_iter().map(pair).collect::<Result<_, _>>()?;
        let kinds = words(kind).into_iter().map(|it| it.to_lowercase()).collect();
        Ok(Self { kinds, sources: words(source), labels })
    }

    /// The names of those that are wanted; `None` if any is.
    pub(super) fn names(&self, engine: &Engine) -> Option<Vec<String>> {
        if self.kinds.is_empty() && self.sources.is_empty() && self.labels.is_empty() {
            return None;
        }
        let mut names = Vec::new();
        engine.visit_monitors(|source, monitor| {
            if self.wants(source, monitor) {
                names.push(monitor.name.to_string());
            }
        });
        // Nothing has no name; an empty list would be no condition.
        if names.is_empty() {
            names.push(String::new());
        }
        Some(names)
    }

    /// One of each kind of value, and all labels.
    fn wants(&self, source: &str, monitor: &MonitorDef) -> bool {
        let has =
            |list: &[String], value: &str| list.is_empty() || list.iter().any(|it| it == value);
        let bears = |(key, value): &(String, String)| {
            monitor.labels.get(key.as_str()).is_some_and(|it| **it == **value)
        };
        has(&self.kinds, monitor.kind.as_str())
            && has(&self.sources, source)
            && self.labels.iter().all(bears)
    }
}

/// How many monitors there are of each kind and source, and with each label, whatever is asked for.
pub(super) fn counted(engine: &Engine) -> Value {
    let [mut kinds, mut sources, mut labels] = [const { BTreeMap::<String, u64>::new() }; 3];
    engine.visit_monitors(|source, monitor| {
        *kinds.entry(monitor.kind.as_str().to_owned()).or_default() += 1;
        *sources.entry(source.to_owned()).or_default() += 1;
        for (key, value) in &monitor.labels {
            *labels.entry(format!("{key}={value}")).or_default() += 1;
        }
    });
    let most = |counts: BTreeMap<String, u64>| -> Value {
        let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
        counts.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        let told = counts.into_iter().take(VALUES_MAX);
        told.map(|(value, count)| json!({ "value": value, "count": count })).collect()
    };
    json!({ "kind": most(kinds), "source": most(sources), "label": most(labels) })
}
