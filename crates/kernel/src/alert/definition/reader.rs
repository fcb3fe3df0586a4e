//! Reads values out of a YAML tree and keeps every problem, so that an author repairs a file in
//! one go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::calendar::{Active, Clock};
use super::yaml::{Content, Node};
use super::{Severity, parse_span};
use crate::definition::nearest;
use crate::place::Place;

/// Keys that are listed for an author who wrote another one.
const KEYS_LISTED: usize = 16;
/// Problems that are told of one file.
const PROBLEMS_MAX: usize = 200;

/// How bad a problem of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The file works, but perhaps not as meant.
    Warning,
    /// The file is refused.
    Error,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub level: Level,
    /// A stable name for this kind of problem, in kebab-case.
    pub code: &'static str,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// Where in the document: `monitors.sales-mail.every`.
    pub path: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { level, line, column, path, message, .. } = self;
        let level = if *level == Level::Error { "error" } else { "warning" };
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        write!(f, "{line}:{column}: {level}: {path}{message}")
    }
}

/// Everything found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    unlisted: usize,
    failed: bool,
    /// The keys that each object knows, by its path, if that is what is asked.
    keys: Option<BTreeMap<String, BTreeSet<&'static str>>>,
}

impl Report {
    /// One that also notes which keys each object knows.
    pub(super) fn of_keys() -> Self {
        Self { keys: Some(BTreeMap::new()), ..Self::default() }
    }

    /// The keys that were noted.
    pub(super) fn into_keys(self) -> BTreeMap<String, BTreeSet<&'static str>> {
        self.keys.unwrap_or_default()
    }

    pub(super) fn error(&mut self, place: Place, path: &str, message: impl Into<String>) {
        self.refuse("invalid-monitors", place, path, message);
    }

    /// An error of a kind that has a code of its own.
    pub(super) fn refuse(
        &mut self,
        code: &'static str,
        place: Place,
        path: &str,
        message: impl Into<String>,
    ) {
        self.failed = true;
        self.add(Level::Error, code, place, path, message.into());
    }

    pub(super) fn warn(
        &mut self,
        code: &'static str,
        place: Place,
        path: &str,
        message: impl Into<String>,
    ) {
        self.add(Level::Warning, code, place, path, message.into());
    }

    fn add(&mut self, level: Level, code: &'static str, place: Place, path: &str, message: String) {
        if self.problems.len() >= PROBLEMS_MAX {
            self.unlisted += 1;
            return;
        }
        let Place { line, column } = place;
        let path = path.to_owned();
        self.problems.push(Problem { level, code, line, column, path, message });
    }

    /// Whether there is an error.
    pub(super) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// The problems by place, and whether there is an error among them.
    pub(super) fn finish(mut self) -> (Vec<Problem>, bool) {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        if self.unlisted > 0 {
            let message = format!("{} more problems are not listed", self.unlisted);
            let (line, column, path) = (0, 0, String::new());
            let (level, code) = (Level::Warning, "too-many-problems");
            self.problems.push(Problem { level, code, line, column, path, message });
        }
        (self.problems, self.failed)
    }
}

#[cfg(test)]
thread_local! {
    /// The keys that were asked for of each map that was read, by its path.
    pub(super) static KNOWN: std::cell::RefCell<BTreeMap<String, BTreeSet<&'static str>>> =
        const { std::cell::RefCell::new(BTreeMap::new()) };
}

/// A map that is being read: its members, and which of them were asked for.
pub(super) struct Object<'a> {
    pub(super) path: String,
    members: &'a [(Node, Node)],
    known: BTreeSet<&'static str>,
}

impl<'a> Object<'a> {
    /// Begins to read a map; anything else is a problem.
    pub(super) fn of(node: &'a Node, path: String, report: &mut Report) -> Option<Self> {
        let Content::Map(members) = &node.content else {
            if !node.is_null() {
                report.error(node.place, &path, format!("a map is expected, not {}", node.kind()));
                return None;
            }
            return Some(Self { path, members: &[], known: BTreeSet::new() });
        };
        let mut seen = BTreeSet::new();
        for (key, _) in members {
            match key.text() {
                Some(text) if !seen.insert(text) => {
                    report.error(key.place, &path, format!("the key {text:?} occurs twice"));
                }
                Some(_) => {}
                None => report.error(key.place, &path, "a key must be a text"),
            }
        }
        Some(Self { path, members, known: BTreeSet::new() })
    }

    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The value of a key; a null counts as absent.
    pub(super) fn get(&mut self, name: &'static str) -> Option<&'a Node> {
        self.known.insert(name);
        self.peek(name).filter(|node| !node.is_null())
    }

    pub(super) fn peek(&self, name: &str) -> Option<&'a Node> {
        self.members.iter().find(|(key, _)| key.text() == Some(name)).map(|(_, value)| value)
    }

    /// All members.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'a str, &'a Node, &'a Node)> + use<'a> {
        self.members.iter().filter_map(|(key, value)| Some((key.text()?, key, value)))
    }

    /// A key is known although it is read elsewhere.
    pub(super) fn know(&mut self, name: &'static str) {
        self.known.insert(name);
    }

    /// Every key that nobody asked for is an error: what it was meant to say would be lost.
    pub(super) fn finish(self, report: &mut Report) {
        for (place, message) in self.unknown() {
            report.error(place, &self.path, message);
        }
        if let Some(keys) = &mut report.keys {
            keys.insert(self.path, self.known);
        }
    }

    /// Warns of every key that nobody asked for: other readers of the format ignore them.
    pub(super) fn finish_leniently(self, report: &mut Report) {
        for (place, message) in self.unknown() {
            let message = format!("{message}; it is ignored");
            report.warn("unknown-key", place, &self.path, message);
        }
    }

    /// The keys that nobody asked for. Keys of a document itself that begin with `x-` are the
    /// author's own, such as anchors for the rest of it.
    fn unknown(&self) -> Vec<(Place, String)> {
        #[cfg(test)]
        KNOWN.with_borrow_mut(|all| {
            all.entry(self.path.clone()).or_default().extend(self.known.iter().copied());
        });
        let own = |name: &str| self.path.is_empty() && name.starts_with("x-");
        let unknown = self.members().filter(|(name, ..)| !self.known.contains(name) && !own(name));
        let told = |(name, key, _): (&str, &Node, &Node)| {
            let hint = match nearest(name, self.known.iter().copied()) {
                Some(known) => format!("; is {known} meant?"),
                None if self.known.is_empty() || self.known.len() > KEYS_LISTED => String::new(),
                None => {
                    let known: Vec<&str> = self.known.iter().copied().collect();
                    format!("; there are {}", known.join(", "))
                }
            };
            (key.place, format!("unknown key {name:?}{hint}"))
        };
        unknown.map(told).collect()
    }

    /// Reads a member with one of the functions below.
    pub(super) fn read<T>(
        &mut self,
        name: &'static str,
        report: &mut Report,
        how: impl FnOnce(&Node, &str, &mut Report) -> Option<T>,
    ) -> Option<T> {
        let node = self.get(name)?;
        how(node, &self.path_of(name), report)
    }
}

/// Reads what a function takes out of a scalar's text.
pub(super) fn parsed<T>(
    node: &Node,
    path: &str,
    report: &mut Report,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let Some(text) = node.text() else {
        report.error(node.place, path, format!("a text is expected, not {}", node.kind()));
        return None;
    };
    parse(text).map_err(|message| report.error(node.place, path, message)).ok()
}

pub(super) fn text(node: &Node, path: &str, report: &mut Report) -> Option<Arc<str>> {
    parsed(node, path, report, |text| Ok(text.into()))
}

/// One text, or a list of them.
pub(super) fn texts(node: &Node, path: &str, report: &mut Report) -> Option<Vec<Arc<str>>> {
    match &node.content {
        Content::List(items) => Some(
            items
                .iter()
                .enumerate()
                .filter_map(|(at, item)| text(item, &format!("{path}[{at}]"), report))
                .collect(),
        ),
        _ => text(node, path, report).map(|text| vec![text]),
    }
}

/// Hours of the day, one text or several.
pub(super) fn hours(node: &Node, path: &str, report: &mut Report) -> Option<Vec<Active>> {
    let mut hours = Vec::new();
    for text in texts(node, path, report)? {
        if let Some(active) = Active::parse(&text) {
            hours.push(active);
        } else {
            let message = format!(
                "{text:?} are no hours; write such as \"09:00-17:00\" or \"Mon-Fri 09:00-17:00\""
            );
            report.error(node.place, path, message);
        }
    }
    Some(hours)
}

/// A duration in milliseconds, more than nothing.
pub(super) fn span(node: &Node, path: &str, report: &mut Report) -> Option<i64> {
    parsed(node, path, report, |text| match parse_span(text)? {
        0 => Err("the duration must be more than 0".to_owned()),
        span => Ok(span),
    })
}

/// A duration in milliseconds, or nothing.
pub(super) fn span_or_zero(node: &Node, path: &str, report: &mut Report) -> Option<i64> {
    parsed(node, path, report, parse_span)
}

pub(super) fn count(node: &Node, path: &str, report: &mut Report) -> Option<u32> {
    parsed(node, path, report, |text| {
        let number = text.parse::<u32>().ok().filter(|number| (1..=100_000).contains(number));
        number.ok_or_else(|| format!("a whole number from 1 is expected, not {text:?}"))
    })
}

pub(super) fn count_or_zero(node: &Node, path: &str, report: &mut Report) -> Option<u32> {
    if node.text() == Some("0") { Some(0) } else { count(node, path, report) }
}

pub(super) fn severity(node: &Node, path: &str, report: &mut Report) -> Option<Severity> {
    parsed(node, path, report, |text| {
        Severity::parse(text).ok_or_else(|| {
            format!("{text:?} is no severity; there are info, warning, error and critical")
        })
    })
}

pub(super) fn zone(node: &Node, path: &str, report: &mut Report) -> Option<Arc<str>> {
    parsed(node, path, report, |text| match TimeZone::get(text) {
        Ok(_) => Ok(text.into()),
        Err(_) => Err(format!("{text:?} is no time zone; write one such as Europe/Berlin")),
    })
}

/// A time of day: `9:00`, `"09:00"`, or what older readers of YAML make of it, 540.
pub(super) fn clock(node: &Node, path: &str, report: &mut Report) -> Option<Clock> {
    let Some(text) = node.text() else {
        report.error(node.place, path, format!("a time of day is expected, not {}", node.kind()));
        return None;
    };
    let plain = matches!(node.content, Content::Plain(_));
    let number =
        text.parse::<i64>().ok().filter(|_| plain && !text.starts_with('0') || text == "0");
    if let Some(number) = number {
        // Base 60: hours and minutes, or hours, minutes and seconds.
        let minutes = if number > Clock::DAY_END.minutes() { number / 60 } else { number };
        if let Some(clock) = Clock::from_minutes(minutes).filter(|_| number >= 0) {
            let message = format!("the number {number} is read as {clock}; write \"{clock}\"");
            report.warn("ambiguous-time", node.place, path, message);
            return Some(clock);
        }
    }
    let Some(clock) = Clock::parse(text) else {
        let message = format!("{text:?} is no time of day; write one such as \"09:30\"");
        report.error(node.place, path, message);
        return None;
    };
    if plain && !text.starts_with('0') {
        let message = format!("other readers of YAML take {text} for a number; write \"{clock}\"");
        report.warn("ambiguous-time", node.place, path, message);
    }
    Some(clock)
}

/// A map of texts.
pub(super) fn text_map(
    node: &Node,
    path: &str,
    report: &mut Report,
) -> Option<BTreeMap<Arc<str>, Arc<str>>> {
    let object = Object::of(node, path.to_owned(), report)?;
    let mut out = BTreeMap::new();
    for (name, _, value) in object.members() {
        if let Some(text) = text(value, &object.path_of(name), report) {
            out.insert(Arc::from(name), text);
        }
    }
    Some(out)
}
