//! What a monitors file says that can hardly be meant: routes that nothing reaches, receivers that
//! nobody tells, labels that no monitor has, names of what does not exist.
//!
//! Everything here is a warning, as other files or the server itself may know better.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::judge::place;
use super::kinds;
use super::known::{Known, Labels, nearest_hint, unknown_matchers};
use super::reader::{Level, Report};
use super::yaml::{Content, Node};
use super::{File, Kind, Matcher, MonitorDef};
use crate::alert::template::Template;

/// Adds what can hardly be meant.
pub(super) fn lint(file: &File, root: &Node, known: &Known, report: &mut Report) {
    let mut lint = Lint { root, report };
    routes(file, &mut lint);
    receivers(file, known, &mut lint);
    matchers(file, known, &mut lint);
    absent(file, known, &mut lint);
    for monitor in &file.monitors {
        placeholders(monitor, &mut lint);
    }
    if let Some(known) = &known.secrets {
        secrets(root, known, lint.report);
    }
}

/// Names of what there is.
type Names = BTreeSet<Arc<str>>;

struct Lint<'a> {
    root: &'a Node,
    report: &'a mut Report,
}

impl Lint<'_> {
    fn refuse(&mut self, path: &[&str], message: impl Into<String>) {
        let at = place(self.root, path, Level::Error);
        self.report.error(at, &path.join("."), message);
    }

    fn warn(&mut self, path: &[&str], message: impl Into<String>) {
        let at = place(self.root, path, Level::Warning);
        let shown = path.iter().fold(String::new(), |shown, part| match part.parse::<usize>() {
            Ok(index) => format!("{shown}[{index}]"),
            Err(_) if shown.is_empty() => (*part).to_owned(),
            Err(_) => format!("{shown}.{part}"),
        });
        self.report.warn(at, &shown, message);
    }
}

/// Routes behind one that takes all that they would.
fn routes(file: &File, lint: &mut Lint<'_>) {
    for (at, route) in file.routes.iter().enumerate() {
        let mut before = file.routes[..at].iter();
        let takes_all =
            |matchers: &[Matcher]| matchers.iter().all(|it| route.matchers.contains(it));
        if let Some(taker) = before.position(|before| takes_all(&before.matchers)) {
            let what =
                if file.routes[taker].matchers.is_empty() { "everything" } else { "all of it" };
            let message = format!(
                "nothing reaches this route: routes[{taker}] takes {what}, and the first that \
                 matches decides"
            );
            lint.warn(&["routes", &at.to_string()], message);
        }
    }
}

/// Receivers that nobody tells.
fn receivers(file: &File, known: &Known, lint: &mut Lint<'_>) {
    let told = file.told();
    for name in file.receivers.keys() {
        if !told.contains(name) && !known.told.contains(name) {
            lint.warn(&["receivers", name], "no route and no monitor tells this receiver");
        }
    }
}

/// What routes and silences match that no incident can have.
fn matchers(file: &File, known: &Known, lint: &mut Lint<'_>) {
    let mut monitors = known.monitors.clone();
    monitors.extend(file.monitors.iter().map(|monitor| monitor.name.clone()));
    if monitors.is_empty() {
        // The monitors come from elsewhere.
        return;
    }
    let mut labels = known.labels.clone();
    labels.extend(Labels::of(&file.monitors));
    let count = |section: &str| match place_of_list(lint.root, section) {
        Some(items) => items.len(),
        None => 0,
    };
    let of_silences = count("silences");
    let routes = file.routes.iter().enumerate().map(|(at, route)| ("routes", at, &route.matchers));
    let silences = file.silences.iter().enumerate().map(|(at, silence)| match at {
        at if at < of_silences => ("silences", at, &silence.matchers),
        at => ("maintenance", at - of_silences, &silence.matchers),
    });
    let all: Vec<_> = routes.chain(silences).collect();
    for (section, at, matchers) in all {
        for (label, message, _) in unknown_matchers(matchers, &monitors, &labels) {
            lint.warn(&[section, &at.to_string(), "match", &label], message);
        }
    }
}

fn place_of_list<'a>(root: &'a Node, section: &str) -> Option<&'a [Node]> {
    let Content::Map(members) = &root.content else { return None };
    let (_, list) = members.iter().find(|(key, _)| key.text() == Some(section))?;
    match &list.content {
        Content::List(items) => Some(items),
        _ => None,
    }
}

/// Workflows and schedules that are spoken of and do not exist.
fn absent(file: &File, known: &Known, lint: &mut Lint<'_>) {
    let text = |settings: &Value, name: &str| settings.get(name)?.as_str().map(str::to_owned);
    let mut check = |path: [&str; 4], what: &str, name: Option<String>, known: Option<&Names>| {
        let (Some(name), Some(known)) = (name, known) else { return };
        if !name.contains("${") && !known.contains(&*name) {
            let hint = nearest_hint(&name, known.iter().map(|it| &**it));
            lint.warn(&path, format!("there is no {what} {name:?}{hint}"));
        }
    };
    for monitor in &file.monitors {
        let settings = monitor.settings.parse();
        let path = |setting| ["monitors", &*monitor.name, monitor.kind.as_str(), setting];
        match monitor.kind {
            Kind::Workflow => {
                check(path("name"), "workflow", text(&settings, "name"), known.workflows.as_ref());
            }
            Kind::Job => {
                check(
                    path("schedule"),
                    "schedule",
                    text(&settings, "schedule"),
                    known.schedules.as_ref(),
                );
            }
            _ => {}
        }
    }
    for (name, receiver) in file.receivers.iter().filter(|(_, it)| *it.kind == *"workflow") {
        let workflow = text(&receiver.settings.parse(), "name");
        check(
            ["receivers", name, "workflow", "name"],
            "workflow",
            workflow,
            known.workflows.as_ref(),
        );
    }
}

/// What every text about an incident may say of it.
const OF_INCIDENTS: [&str; 11] = [
    "monitor", "key", "severity", "state", "status", "since", "text", "value", "unit", "errors",
    "count",
];

/// Names in labels and texts that no observation of the monitor has.
fn placeholders(monitor: &MonitorDef, lint: &mut Lint<'_>) {
    let settings = monitor.settings.parse();
    let columns = match monitor.kind {
        Kind::Heartbeat => Some(Vec::new()),
        kind => kinds::columns(kind, &settings),
    };
    let per = monitor.per.iter().map(|it| &**it);
    let mut of_row: Vec<&str> = per.chain(columns.iter().flatten().copied()).collect();
    if monitor.kind == Kind::Http {
        // Only while it is wrong.
        of_row.extend(["failed", "body"]);
    }
    let labels = monitor.labels.iter().map(|(name, text)| (Some(&**name), "labels", text));
    let texts = [
        ("summary", &monitor.summary),
        ("description", &monitor.description),
        ("runbook", &monitor.runbook),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((None, name, text.as_ref()?)));
    for (label, section, text) in labels.chain(texts) {
        let Ok(template) = Template::parse(text) else { continue };
        let own = monitor.labels.keys().map(|it| &**it).filter(|_| label.is_none());
        let mut known: Vec<&str> = of_row.iter().copied().chain(own).collect();
        known.extend(if label.is_none() { &OF_INCIDENTS[..] } else { &["monitor", "key"] });
        known.sort_unstable();
        known.dedup();
        for name in template.names().filter(|name| !known.contains(name)) {
            let hint = nearest_hint(name, known.iter().copied());
            // Rows of queries may have any column: only what looks like a slip is told.
            if columns.is_none() && hint.is_empty() {
                continue;
            }
            let path = ["monitors", &*monitor.name, section];
            let path = path.into_iter().chain(label).collect::<Vec<_>>();
            let message =
                format!("{{{{ {name} }}}} is unknown: there are {}{hint}", known.join(", "));
            // What calls a job, and rows of queries, may have more than is known here.
            if columns.is_some() && monitor.kind != Kind::Heartbeat {
                lint.refuse(&path, message);
            } else {
                lint.warn(&path, message);
            }
        }
    }
}

/// Secrets that are spoken of and do not exist, wherever they stand.
fn secrets(node: &Node, known: &BTreeSet<Arc<str>>, report: &mut Report) {
    for (name, at) in mentioned(node) {
        if !known.contains(&*name) {
            let hint = nearest_hint(&name, known.iter().map(|it| &**it));
            report.warn(at, "", format!("there is no secret {name:?}{hint}"));
        }
    }
}

/// The secrets that a document speaks of, as `${secret:NAME}`.
pub(super) fn mentioned(node: &Node) -> Vec<(String, super::yaml::Place)> {
    match &node.content {
        Content::List(items) => items.iter().flat_map(mentioned).collect(),
        Content::Map(members) => members.iter().flat_map(|(_, value)| mentioned(value)).collect(),
        Content::Plain(text) | Content::Quoted(text) => {
            let rest = text.split("${secret:").skip(1);
            let names = rest.filter_map(|rest| rest.split_once('}'));
            names.map(|(name, _)| (name.to_owned(), node.place)).collect()
        }
    }
}
