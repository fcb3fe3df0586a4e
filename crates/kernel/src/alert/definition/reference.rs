//! What a monitors file may say, for those who write it down: the settings of each kind of check, and the
//! keys of each other object, as its reader asks for them.

use std::collections::{BTreeMap, BTreeSet};

use super::file::keys_of;
use super::kinds::{EVERY, KINDS, RECEIVERS, Shape};

/// A kind of check, as a monitors file may write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckKind {
    /// The key that makes a monitor of this kind.
    pub name: &'static str,
    /// The task type that makes its checks.
    pub task_type: &'static str,
    /// The setting meant if only a text is given.
    pub short: &'static str,
    /// Of each line, one setting must be there.
    pub required: &'static [&'static [&'static str]],
    /// Its settings, each with what it must be.
    pub settings: Vec<(&'static str, &'static str)>,
    /// Settings that may stand beside the kind as well.
    pub beside: &'static [&'static str],
    /// The columns of its rows, if these are always the same.
    pub columns: Option<Vec<&'static str>>,
}

/// Every kind of check.
pub fn check_kinds() -> Vec<CheckKind> {
    let kinds = KINDS.iter().map(|rule| CheckKind {
        name: rule.name,
        task_type: rule.task_type,
        short: rule.short,
        required: rule.required,
        settings: rule.settings.iter().map(|(name, shape)| (*name, words(*shape))).collect(),
        beside: rule.beside,
        columns: rule.columns.map(|own| EVERY.iter().chain(own).copied().collect()),
    });
    kinds.collect()
}

/// Every kind of receiver, with the setting meant if only a text is given.
pub fn receiver_kinds() -> &'static [(&'static str, &'static str)] {
    &RECEIVERS
}

/// The keys that each object of a monitors file knows, by where it is (`monitors.NAME.window`; the document
/// itself is the empty text). Kinds of checks and receivers are left out.
pub fn keys() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut keys = keys_of(SAMPLE);
    for known in keys.values_mut() {
        known.retain(|key| !is_kind(key));
    }
    keys
}

fn is_kind(key: &str) -> bool {
    KINDS.iter().any(|rule| rule.name == key) || RECEIVERS.iter().any(|(name, _)| *name == key)
}

const fn words(shape: Shape) -> &'static str {
    match shape {
        Shape::Text => "text",
        Shape::Texts => "text, or a list of them",
        Shape::Span => "duration",
        Shape::Share => "share, `80%`",
        Shape::Clock => "time of day",
        Shape::Int => "whole number",
        Shape::Flag => "yes or no",
        Shape::Condition => "condition",
        Shape::Map => "map",
        Shape::Any => "any",
    }
}

/// One of each object.
const SAMPLE: &str = "\
receivers: { NAME: { inbox: me } }
routes:
  - { match: { team: { not: data } }, steps: [ { to: NAME } ] }
monitors:
  NAME:
    tcp: example.com:80
    window: {}
    resolve: {}
    flap: {}
    on_error: {}
    on_missed: {}
silences: [ {} ]
maintenance: [ {} ]
people: { NAME: { contact: [ NAME, { to: NAME } ] } }
rotations: { NAME: { layers: [ { people: [NAME] } ] } }
overrides: [ { rotation: NAME } ]
ping_keys: { NAME: {} }
";

#[cfg(test)]
mod tests {
    use super::{check_kinds, keys};

    #[test]
    fn every_object_of_a_file_says_its_keys() {
        let keys = keys();
        let paths: Vec<&str> = keys.keys().map(String::as_str).collect();
        let expected = [
            "",
            "maintenance[0]",
            "monitors.NAME",
            "monitors.NAME.flap",
            "monitors.NAME.on_error",
            "monitors.NAME.on_missed",
            "monitors.NAME.resolve",
            "monitors.NAME.window",
            "overrides[0]",
            "people.NAME",
            "people.NAME.contact[1]",
            "ping_keys.NAME",
            "receivers.NAME",
            "rotations.NAME",
            "rotations.NAME.layers[0]",
            "routes[0]",
            "routes[0].match.team",
            "routes[0].steps[0]",
            "silences[0]",
        ];
        assert_eq!(paths, expected);
        assert!(keys["monitors.NAME"].contains("fail_when"), "{keys:?}");
        assert!(!keys["monitors.NAME"].contains("tcp") && keys[""].contains("routes"), "{keys:?}");
        let tcp = check_kinds().into_iter().find(|kind| kind.name == "tcp").expect("it is there");
        assert!(tcp.settings.contains(&("tls_expiry", "duration")), "{tcp:?}");
    }
}
