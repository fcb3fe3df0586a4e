//! What a file may speak of: what it and others define, and the labels that incidents can have.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::roster::Target;
use super::{File, Kind, Matcher, MonitorDef, Severity};
use crate::definition::nearest;
use crate::json::Json;
use crate::time::Timestamp;

/// What there is beside a file, and that it may speak of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Receivers.
    pub receivers: BTreeSet<Arc<str>>,
    /// Receivers that somebody else tells.
    pub told: BTreeSet<Arc<str>>,
    /// Monitors.
    pub monitors: BTreeSet<Arc<str>>,
    /// People who can be on call.
    pub people: BTreeSet<Arc<str>>,
    /// Rotations.
    pub rotations: BTreeSet<Arc<str>>,
    /// The present, from which on gaps of rotations are looked for; absent = they are not.
    pub now: Option<Timestamp>,
    /// Labels of other monitors.
    pub labels: Labels,
    /// The columns that the newest check of a monitor has seen, by monitor; of those that are not in it
    /// nobody here knows.
    pub columns: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Sources, with their settings.
    pub sources: BTreeMap<Arc<str>, Json>,
    /// All definitions of workflows; absent = nobody here knows which there are.
    pub workflows: Option<BTreeSet<Arc<str>>>,
    /// All schedules; absent = nobody here knows which there are.
    pub schedules: Option<BTreeSet<Arc<str>>>,
    /// All secrets; absent = nobody here knows which there are.
    pub secrets: Option<BTreeSet<Arc<str>>>,
}

impl Known {
    /// Adds what others define.
    pub fn extend(&mut self, other: Self) {
        self.receivers.extend(other.receivers);
        self.told.extend(other.told);
        self.monitors.extend(other.monitors);
        self.people.extend(other.people);
        self.rotations.extend(other.rotations);
        self.now = self.now.max(other.now);
        self.labels.extend(other.labels);
        self.columns.extend(other.columns);
        self.sources.extend(other.sources);
        for (own, more) in [
            (&mut self.workflows, other.workflows),
            (&mut self.schedules, other.schedules),
            (&mut self.secrets, other.secrets),
        ] {
            if let Some(more) = more {
                own.get_or_insert_default().extend(more);
            }
        }
    }

    /// Adds what a file defines.
    pub fn extend_by(&mut self, file: File) {
        self.told.extend(file.told());
        self.labels.extend(Labels::of(file.monitors.iter().chain(file.creatable())));
        self.receivers.extend(file.receivers.into_keys());
        self.monitors.extend(file.monitors.into_iter().map(|monitor| monitor.name));
        self.sources.extend(file.sources);
        self.people.extend(file.roster.people.into_keys());
        self.rotations.extend(file.roster.rotations.into_keys());
    }
}

impl File {
    /// The receivers that are told of something: by routes, monitors, people who are on call, or in
    /// the place of others.
    pub fn told(&self) -> BTreeSet<Arc<str>> {
        let steps = self.routes.iter().flat_map(|route| route.steps.iter().flat_map(|it| &it.to));
        let own = self.monitors.iter().chain(self.creatable()).flat_map(|monitor| &monitor.to);
        let fallbacks = self.receivers.values().filter_map(|receiver| receiver.fallback.as_ref());
        let reached = self.roster.receivers();
        let told = steps.chain(own).filter(|to| Target::parse(to).is_none());
        told.chain(fallbacks).chain(reached).cloned().collect()
    }
}

/// The labels that incidents of monitors have, with the values that these may have; a value that
/// comes from a row may be any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    named: BTreeMap<Arc<str>, Option<BTreeSet<Arc<str>>>>,
    /// Some monitor receives alerts, which have whatever labels their senders give them.
    any: bool,
}

impl Labels {
    /// Those of monitors.
    pub fn of<'a>(monitors: impl IntoIterator<Item = &'a MonitorDef>) -> Self {
        let mut all = Self::default();
        for monitor in monitors {
            all.any |= monitor.kind == Kind::Alerts;
            for (name, value) in &monitor.labels {
                let values = (!value.contains("{{")).then(|| BTreeSet::from([value.clone()]));
                all.add(name.clone(), values);
            }
        }
        all
    }

    /// Adds others.
    pub fn extend(&mut self, other: Self) {
        self.any |= other.any;
        for (name, values) in other.named {
            self.add(name, values);
        }
    }

    fn add(&mut self, name: Arc<str>, values: Option<BTreeSet<Arc<str>>>) {
        match self.named.entry(name) {
            Entry::Vacant(entry) => _ = entry.insert(values),
            Entry::Occupied(mut entry) => match (entry.get_mut(), values) {
                (Some(known), Some(values)) => known.extend(values),
                (known, _) => *known = None,
            },
        }
    }
}

/// What no incident can have: per label, what is wrong, and whether no monitor has the label at all
/// (otherwise none has the value).
pub fn unknown_matchers(
    matchers: &[Matcher],
    monitors: &BTreeSet<Arc<str>>,
    labels: &Labels,
) -> Vec<(Arc<str>, String, bool)> {
    let every = ["monitor", "key", "severity"];
    let mut unknown = Vec::new();
    for matcher in matchers {
        let label = &*matcher.label;
        let severities = || Severity::ALL.map(|it| it.as_str().into()).into_iter().collect();
        let values = match label {
            "key" => continue,
            "monitor" => Some(monitors.clone()),
            "severity" => Some(severities()),
            _ if labels.any => continue,
            _ => {
                if let Some(values) = labels.named.get(label) {
                    values.clone()
                } else {
                    let names = || every.into_iter().chain(labels.named.keys().map(|it| &**it));
                    let listed = names().collect::<Vec<_>>().join(", ");
                    let hint = nearest_hint(label, names());
                    let message =
                        format!("no monitor has a label {label:?}; there are {listed}{hint}");
                    unknown.push((matcher.label.clone(), message, true));
                    continue;
                }
            }
        };
        let Some(values) = values.filter(|_| !matcher.negated) else { continue };
        for wanted in &matcher.values {
            let one = Matcher { values: vec![wanted.clone()], ..matcher.clone() };
            if !wanted.is_empty() && !values.iter().any(|value| one.matches(value)) {
                let hint = nearest_hint(wanted, values.iter().map(|it| &**it));
                let message = match label {
                    "monitor" => format!("no monitor is called {wanted:?}{hint}"),
                    _ => format!("no monitor has the {label} {wanted:?}{hint}"),
                };
                unknown.push((matcher.label.clone(), message, false));
            }
        }
    }
    unknown
}

/// The monitors of which nobody is told, whatever happens to them: they name no receiver, and no route can match.
/// What another monitor is composed of counts by that one.
pub fn telling_nobody(file: &File) -> Vec<&MonitorDef> {
    let parts: BTreeSet<Arc<str>> =
        file.monitors.iter().flat_map(MonitorDef::composed_of).collect();
    let is_told = |own: &MonitorDef| {
        let labels = Labels::of([own]);
        file.routes.iter().any(|route| can_match(&route.matchers, own, &labels))
    };
    let tells_nobody =
        |own: &&MonitorDef| own.to.is_empty() && !parts.contains(&own.name) && !is_told(own);
    file.monitors.iter().filter(tells_nobody).collect()
}

/// Whether some incident of a monitor may be as the matchers want it.
fn can_match(matchers: &[Matcher], own: &MonitorDef, labels: &Labels) -> bool {
    matchers.iter().all(|matcher| match &*matcher.label {
        "key" => true,
        "monitor" => matcher.matches(&own.name),
        "severity" => Severity::ALL.iter().any(|it| matcher.matches(it.as_str())),
        _ if labels.any => true,
        label => match labels.named.get(label) {
            None => matcher.matches(""),
            Some(None) => true,
            Some(Some(values)) => values.iter().any(|value| matcher.matches(value)),
        },
    })
}

/// A hint at a name that was perhaps meant.
pub fn nearest_hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map_or_else(String::new, |near| format!("; is {near} meant?"))
}
