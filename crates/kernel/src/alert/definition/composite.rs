//! Monitors that look at other monitors: bad when so many of them are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::{Kind, Matcher, MonitorDef, parse_share};
use crate::alert::Status;
use crate::alert::received::texts;

/// Names that a sentence lists.
const NAMED: usize = 10;

/// What a composite monitor looks at, and when it is bad.
#[derive(Clone, Debug, PartialEq)]
pub struct Composite {
    /// Monitors by name.
    pub of: Vec<Arc<str>>,
    /// Others by their labels; empty = none. Composite monitors are taken by name alone, so that
    /// nothing counts twice, or itself, by accident.
    matchers: Vec<Matcher>,
    at_least: AtLeast,
    unknown: Doubt,
}

/// How many must be bad.
#[derive(Clone, Copy, Debug, PartialEq)]
enum AtLeast {
    Count(usize),
    Share(f64),
}

/// What it means that nobody can tell how a monitor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    Stays,
    IsBad,
    IsWell,
}

/// How a monitor stands, as far as others are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Something of it is open.
    Bad,
    /// Nobody can tell, or nothing is known of it yet.
    Unknown,
    /// Neither.
    Well,
}

/// What comes of how the monitors stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Whether it is bad; `None` = that depends on monitors of which nobody can tell.
    pub status: Option<Status>,
    /// In a sentence.
    pub text: String,
    /// The bad ones.
    pub bad: Vec<Arc<str>>,
    /// Those of which nobody can tell, and that count neither as bad nor as well.
    pub unknown: Vec<Arc<str>>,
    /// How many there are in all.
    pub total: usize,
}

impl Composite {
    /// Reads the settings.
    ///
    /// # Errors
    /// What is wrong with them, and what to write.
    pub fn of(settings: &Value) -> Result<Self, String> {
        let of: Vec<Arc<str>> = texts(settings, "of").collect();
        let names: BTreeSet<&Arc<str>> = of.iter().collect();
        if names.len() < of.len() {
            return Err("of names a monitor twice".to_owned());
        }
        let matchers = settings.get("match").map(matchers).transpose()?.unwrap_or_default();
        if settings.get("match").is_some() && matchers.is_empty() {
            return Err("match needs a label: { team: web }".to_owned());
        }
        if of.is_empty() && matchers.is_empty() {
            return Err("of which monitors? Name one at least".to_owned());
        }
        let at_least = match settings.get("at_least").and_then(Value::as_str) {
            None => AtLeast::Count(1),
            Some(text) => at_least(text)?,
        };
        if let AtLeast::Count(count) = at_least
            && matchers.is_empty()
            && count > of.len()
        {
            let message = format!("at_least {count} of {} can never be bad", of.len());
            return Err(message);
        }
        let unknown = match settings.get("unknown").and_then(Value::as_str) {
            None | Some("unknown") => Doubt::Stays,
            Some("bad") => Doubt::IsBad,
            Some("ok") => Doubt::IsWell,
            Some(other) => return Err(format!("unknown is bad, ok or unknown, not {other:?}")),
        };
        Ok(Self { of, matchers, at_least, unknown })
    }

    /// The names of what it looks at, of the monitors that there are; `own` is its own name.
    pub fn members<'a>(
        &self,
        own: &str,
        monitors: impl IntoIterator<Item = &'a MonitorDef>,
    ) -> Vec<Arc<str>> {
        let mut names: BTreeSet<Arc<str>> = self.of.iter().cloned().collect();
        if !self.matchers.is_empty() {
            let matching = monitors.into_iter().filter(|it| {
                it.kind != Kind::Composite
                    && *it.name != *own
                    && self
                        .matchers
                        .iter()
                        .all(|matcher| matcher.matches(label(it, &matcher.label)))
            });
            names.extend(matching.map(|it| it.name.clone()));
        }
        names.into_iter().collect()
    }

    /// What comes of how they stand.
    pub fn judge(&self, members: &[(Arc<str>, Standing)]) -> Verdict {
        let of = |wanted: Standing| {
            let found = members.iter().filter(move |(_, standing)| match self.unknown {
                Doubt::IsBad if *standing == Standing::Unknown => wanted == Standing::Bad,
                Doubt::IsWell if *standing == Standing::Unknown => wanted == Standing::Well,
                _ => *standing == wanted,
            });
            found.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let (bad, unknown, total) = (of(Standing::Bad), of(Standing::Unknown), members.len());
        let needed = match self.at_least {
            AtLeast::Count(count) => count,
            // A share of 10 % of 30 is 3, whatever the product of fractions says.
            AtLeast::Share(share) => ((share * total as f64 - 1e-9).ceil() as usize).max(1),
        };
        let status = if total == 0 {
            None
        } else if bad.len() >= needed {
            Some(Status::Fail)
        } else if bad.len() + unknown.len() >= needed {
            None
        } else {
            Some(Status::Ok)
        };
        let mut text = match (total, bad.len()) {
            (0, _) => "no monitor has these labels".to_owned(),
            (_, 0) => format!("none of {total} is bad"),
            (_, 1) => format!("1 of {total} is bad: {}", listed(&bad)),
            (_, count) => format!("{count} of {total} are bad: {}", listed(&bad)),
        };
        if !unknown.is_empty() {
            text.push_str("; nobody can tell of ");
            text.push_str(&listed(&unknown));
        }
        Verdict { status, text, bad, unknown, total }
    }
}

impl MonitorDef {
    /// The monitors that it looks at by name.
    pub fn composed_of(&self) -> Vec<Arc<str>> {
        if self.kind != Kind::Composite {
            return Vec::new();
        }
        texts(&self.settings.parse(), "of").collect()
    }
}

/// The composite monitors that look at themselves, however far around, with a sentence each.
pub fn composed_of_itself(monitors: &[MonitorDef]) -> Vec<(Arc<str>, String)> {
    let composites = monitors.iter().filter(|it| it.kind == Kind::Composite);
    let of: BTreeMap<Arc<str>, Vec<Arc<str>>> =
        composites.map(|it| (it.name.clone(), it.composed_of())).collect();
    let mut found = Vec::new();
    for (name, members) in &of {
        let (mut open, mut seen) = (members.clone(), BTreeSet::new());
        while let Some(member) = open.pop() {
            if member == *name {
                let around = if members.contains(name) { "" } else { ", by way of others" };
                found.push((name.clone(), format!("{name} is composed of itself{around}")));
                break;
            }
            if seen.insert(member.clone()) {
                open.extend(of.get(&member).into_iter().flatten().cloned());
            }
        }
    }
    found
}

/// What a matcher sees of a monitor.
fn label<'a>(monitor: &'a MonitorDef, label: &str) -> &'a str {
    match label {
        "monitor" => &monitor.name,
        "severity" => monitor.severity.as_str(),
        _ => monitor.labels.get(label).map_or("", |value| value),
    }
}

fn listed(names: &[Arc<str>]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(|it| &**it).collect();
    let more = names.len().saturating_sub(NAMED);
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn at_least(text: &str) -> Result<AtLeast, String> {
    let wrong = || format!("at_least is a number such as 2 or a share such as 50%, not {text:?}");
    if text.trim_end().ends_with('%') {
        return parse_share(text).map(AtLeast::Share).map_err(|_| wrong());
    }
    text.parse().ok().filter(|count| *count > 0).map(AtLeast::Count).ok_or_else(wrong)
}

/// `{ team: data, host: { not: "test-*" } }`, as routes write it.
fn matchers(value: &Value) -> Result<Vec<Matcher>, String> {
    let values_of = |value: &Value| -> Option<Vec<Arc<str>>> {
        let one = |it: &Value| match it {
            Value::String(text) => Some(Arc::from(&**text)),
            Value::Number(_) | Value::Bool(_) => Some(it.to_string().into()),
            _ => None,
        };
        match value {
            Value::Array(items) => items.iter().map(one).collect(),
            other => one(other).map(|it| vec![it]),
        }
    };
    let labels = value.as_object().into_iter().flatten();
    let matchers = labels.map(|(label, value)| {
        let not = value.as_object().filter(|it| it.len() == 1).and_then(|it| it.get("not"));
        let values = values_of(not.unwrap_or(value));
        let wrong = || format!("match: {label} is a text, a list of them, or {{ not: … }}");
        let values = values.ok_or_else(wrong)?;
        Ok(Matcher { label: label.as_str().into(), values, negated: not.is_some() })
    });
    matchers.collect()
}
