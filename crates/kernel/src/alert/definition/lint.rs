//! What a monitors file says that can hardly be meant: routes that nothing reaches, receivers that
//! nobody tells, labels that no monitor has, names of what does not exist.
//!
//! Everything here is a warning, as other files or the server itself may know better.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::idle;
use super::judge::place;
use super::kinds;
use super::known::{Known, Labels, nearest_hint, unknown_matchers};
use super::reader::{Level, Report};
use super::roster::GAP_DAYS;
use super::yaml::{Content, Node};
use super::{File, Kind, Matcher, MonitorDef, Route};
use crate::alert::condition::Condition;
use crate::alert::template::Template;
use crate::definition::nearest;

/// Adds what can hardly be meant.
pub(super) fn lint(file: &File, root: &Node, known: &Known, report: &mut Report) {
    let mut lint = Lint { root, report };
    routes(file, &mut lint);
    receivers(file, known, &mut lint);
    matchers(file, known, &mut lint);
    labels(file, &mut lint);
    absent(file, known, &mut lint);
    gaps(file, known, &mut lint);
    if let Some(known) = &known.secrets {
        secrets(root, known, lint.report);
    }
}

/// Adds what a monitor by itself can hardly mean, whatever else the file says.
pub(super) fn monitors(file: &File, root: &Node, known: &Known, report: &mut Report) {
    let mut lint = Lint { root, report };
    for monitor in &file.monitors {
        let seen = known.columns.get(&monitor.name);
        placeholders(monitor, seen, &mut lint);
        match seen {
            Some(columns) => columns_of_checks(monitor, columns, &mut lint),
            None => columns_of_queries(monitor, &mut lint),
        }
        numbers_in_texts(monitor, &mut lint);
        for (setting, message) in idle::settings(monitor) {
            let kind = kinds::rule(monitor.kind).name;
            let path = ["monitors", &*monitor.name, kind, setting];
            lint.warn("setting-without-effect", &path, message);
        }
    }
}

/// Names of what there is.
type Names = BTreeSet<Arc<str>>;

struct Lint<'a> {
    root: &'a Node,
    report: &'a mut Report,
}

impl Lint<'_> {
    fn refuse(&mut self, code: &'static str, path: &[&str], message: impl Into<String>) {
        let at = place(self.root, path, Level::Error);
        self.report.refuse(code, at, &path.join("."), message);
    }

    fn warn(&mut self, code: &'static str, path: &[&str], message: impl Into<String>) {
        let at = place(self.root, path, Level::Warning);
        let shown = path.iter().fold(String::new(), |shown, part| match part.parse::<usize>() {
            Ok(index) => format!("{shown}[{index}]"),
            Err(_) if shown.is_empty() => (*part).to_owned(),
            Err(_) => format!("{shown}.{part}"),
        });
        self.report.warn(code, at, &shown, message);
    }
}

/// Routes behind one that takes all that they would.
fn routes(file: &File, lint: &mut Lint<'_>) {
    for (at, route) in file.routes.iter().enumerate() {
        let mut before = file.routes[..at].iter();
        let takes_all =
            |matchers: &[Matcher]| matchers.iter().all(|it| route.matchers.contains(it));
        // Outside of its hours it leaves to others what it takes.
        let in_force = |before: &Route| before.hours.is_none() || before.hours == route.hours;
        if let Some(taker) =
            before.position(|before| in_force(before) && takes_all(&before.matchers))
        {
            let what =
                if file.routes[taker].matchers.is_empty() { "everything" } else { "all of it" };
            let message = format!(
                "nothing reaches this route: routes[{taker}] takes {what}, and the first that \
                 matches decides"
            );
            lint.warn("route-never-reached", &["routes", &at.to_string()], message);
        }
    }
}

/// Receivers that nobody tells.
fn receivers(file: &File, known: &Known, lint: &mut Lint<'_>) {
    let told = file.told();
    for name in file.receivers.keys() {
        if !told.contains(name) && !known.told.contains(name) {
            let message = "no route and no monitor tells this receiver";
            lint.warn("receiver-never-told", &["receivers", name], message);
        }
    }
}

/// Times in which nobody is on call.
fn gaps(file: &File, known: &Known, lint: &mut Lint<'_>) {
    let Some(now) = known.now else { return };
    let until = now.plus_millis(GAP_DAYS * 24 * 3_600_000);
    for name in file.roster.rotations.keys() {
        let gaps = file.roster.gaps(name, now, until);
        let Some(first) = gaps.first() else { continue };
        let many = match gaps.len() {
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        let message = format!(
            "nobody is on call {many} in the next {GAP_DAYS} days, first from {} until {}: say who with \
             else: NAME, or else: [] if that is meant; until then all people of the rotation are \
             called",
            first.from, first.to
        );
        lint.warn("oncall-gap", &["rotations", name], message);
    }
}

/// Labels almost like those that routes match on: somebody else would be told.
fn labels(file: &File, lint: &mut Lint<'_>) {
    for monitor in file.monitors.iter().filter(|it| it.to.is_empty()) {
        for (name, value) in &monitor.labels {
            let matchers = file.routes.iter().flat_map(|route| &route.matchers);
            let matchers: Vec<&Matcher> =
                matchers.filter(|it| it.label == *name && !it.negated).collect();
            let is_known = value.contains("{{") || matchers.iter().any(|it| it.matches(value));
            let values = matchers.iter().flat_map(|it| &it.values).map(|it| &**it);
            if let Some(meant) = nearest(value, values).filter(|_| !is_known) {
                let message = format!("no route matches {name} {value:?}; is {meant} meant?");
                lint.warn(
                    "label-without-route",
                    &["monitors", &monitor.name, "labels", name],
                    message,
                );
            }
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
    labels.extend(Labels::of(file.monitors.iter().chain(file.creatable())));
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
            let path = [section, &at.to_string(), "match", &label];
            lint.warn("matches-nothing", &path, message);
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
            let code = if what == "schedule" { "unknown-schedule" } else { "unknown-workflow" };
            lint.warn(code, &path, format!("there is no {what} {name:?}{hint}"));
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

/// Names in labels and texts that no observation of the monitor has; `seen` are the columns of the newest
/// check.
fn placeholders(monitor: &MonitorDef, seen: Option<&Names>, lint: &mut Lint<'_>) {
    let settings = monitor.settings.parse();
    let columns = match monitor.kind {
        Kind::Heartbeat => Some(Vec::new()),
        // Alerts have whatever labels and annotations their senders give them.
        Kind::Alerts => return,
        kind => kinds::columns(kind, &settings),
    };
    let named = all_columns_of(monitor.kind, &settings);
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
        let of_checks = seen.into_iter().flatten().map(|it| &**it);
        known.extend(of_checks.filter(|_| columns.is_none()));
        for name in template.names().filter(|name| !known.contains(name)) {
            let hint = nearest_hint(name, known.iter().copied());
            let path = ["monitors", &*monitor.name, section];
            let path = path.into_iter().chain(label).collect::<Vec<_>>();
            if let Some(seen) = seen.filter(|_| columns.is_none()) {
                let message = format!("{{{{ {name} }}}} is unknown: {}", not_seen(seen, &hint));
                lint.warn("unknown-placeholder", &path, message);
                continue;
            }
            // Rows of queries may have any column, unless these name all of them: only what looks like a
            // slip is told.
            if columns.is_none() && hint.is_empty() {
                if named.as_ref().is_some_and(|words| !mentions(words, name)) {
                    let message = format!("{{{{ {name} }}}} is unknown: {NOT_MENTIONED}");
                    lint.warn("unknown-placeholder", &path, message);
                }
                continue;
            }
            let message =
                format!("{{{{ {name} }}}} is unknown: there are {}{hint}", known.join(", "));
            // What calls a job, and rows of queries, may have more than is known here.
            if columns.is_some() && monitor.kind != Kind::Heartbeat {
                lint.refuse("unknown-placeholder", &path, message);
            } else {
                lint.warn("unknown-placeholder", &path, message);
            }
        }
    }
}

/// Columns that databases have without being asked for them.
const OF_DATABASES: [&str; 12] = [
    "value",
    "time",
    "name",
    "text",
    "_value",
    "_time",
    "_field",
    "_measurement",
    "_start",
    "_stop",
    "result",
    "table",
];

const NOT_MENTIONED: &str = "the query names the columns of its rows, and this is none of them";

/// The words of an SQL query that names all columns of its rows, in lower case: one that selects, and not
/// everything there is (`*`). Of others only the rows of a check can tell.
fn all_columns_of(kind: Kind, settings: &Value) -> Option<BTreeSet<String>> {
    let query = settings.get("query")?.as_str().filter(|_| kind == Kind::Sql)?.to_lowercase();
    let selects = ["select", "with"].iter().any(|word| query.trim_start().starts_with(word));
    let words = query.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    (selects && !query.contains('*')).then(|| words.map(str::to_owned).collect())
}

/// Whether a column may be among them. PostgreSQL calls some after a type or by an older name.
fn mentions(words: &BTreeSet<String>, name: &str) -> bool {
    const OF_EXPRESSIONS: [&str; 6] = ["date_part", "int4", "int8", "float8", "numeric", "bool"];
    let name = name.to_lowercase();
    let mut parts = name.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    OF_DATABASES.contains(&&*name)
        || OF_EXPRESSIONS.contains(&&*name)
        || parts.all(|part| words.contains(part))
}

/// Names of columns that the query does not mention: slips, and, where the query names all that there
/// are, any. That a query speaks of `loss` and a condition of `los` can be seen before a check has rows.
fn columns_of_queries(monitor: &MonitorDef, lint: &mut Lint<'_>) {
    let settings = monitor.settings.parse();
    let query = ["sql", "query", "flux", "influxql"]
        .iter()
        .find_map(|name| settings.get(*name).and_then(Value::as_str));
    let Some(query) =
        query.filter(|_| matches!(monitor.kind, Kind::Influx | Kind::Sql | Kind::Prometheus))
    else {
        return;
    };
    let words: BTreeSet<&str> = query
        .split(|c: char| !(c.is_alphanumeric() || "_-".contains(c)))
        .filter(|word| word.len() > 1)
        .collect();
    let named = all_columns_of(monitor.kind, &settings);
    // Rows of time series have it, however they are asked.
    let always = ["value"].into_iter().filter(|_| monitor.kind != Kind::Sql);
    for (setting, name) in columns_used(monitor) {
        if words.contains(&*name) || OF_DATABASES.contains(&&*name) {
            continue;
        }
        let hint = nearest_hint(&name, words.iter().copied().chain(always.clone()));
        if named.as_ref().is_some_and(|words| mentions(words, &name)) {
            continue;
        }
        let path = ["monitors", &*monitor.name, setting];
        if !hint.is_empty() {
            let message = format!("the query does not mention the column {name:?}{hint}");
            lint.warn("unknown-column", &path, message);
        } else if named.is_some() {
            lint.warn("unknown-column", &path, format!("{name}: {NOT_MENTIONED}"));
        }
    }
}

/// Names of columns that the newest check has not seen.
fn columns_of_checks(monitor: &MonitorDef, seen: &Names, lint: &mut Lint<'_>) {
    for (setting, name) in columns_used(monitor) {
        if seen.contains(&*name) || OF_DATABASES.contains(&&*name) {
            continue;
        }
        let hint = nearest_hint(&name, seen.iter().map(|it| &**it));
        let message = format!("{name}: {}", not_seen(seen, &hint));
        lint.warn("unknown-column", &["monitors", &monitor.name, setting], message);
    }
}

fn not_seen(seen: &Names, hint: &str) -> String {
    let columns = seen.iter().map(|it| &**it).collect::<Vec<_>>().join(", ");
    format!("the newest check on the server has no such column{hint}; it has seen {columns}")
}

/// The columns that a monitor goes by, each with the setting that names it.
fn columns_used(monitor: &MonitorDef) -> Vec<(&'static str, String)> {
    let conditions = [("fail_when", &monitor.fail_when), ("warn_when", &monitor.warn_when)];
    let mut used: Vec<(&str, String)> = Vec::new();
    for (setting, text) in conditions {
        let Some(condition) = text.as_ref().and_then(|it| Condition::parse(it).ok()) else {
            continue;
        };
        used.extend(condition.columns().into_iter().map(|it| (setting, it.to_owned())));
    }
    used.extend(monitor.per.iter().map(|name| ("per", name.to_string())));
    used
}

/// Conditions that compare by size with a text that begins with a number, as in `loss > '15%'`:
/// nobody can tell whether they hold.
fn numbers_in_texts(monitor: &MonitorDef, lint: &mut Lint<'_>) {
    let conditions = [("fail_when", &monitor.fail_when), ("warn_when", &monitor.warn_when)];
    for (setting, text) in conditions {
        let Some(condition) = text.as_ref().and_then(|it| Condition::parse(it).ok()) else {
            continue;
        };
        for literal in condition.ordered_texts() {
            let number = literal.trim_end_matches(|c: char| !c.is_ascii_digit());
            if number.len() < literal.len() && number.parse::<f64>().is_ok() {
                let message = format!(
                    "compares with the text {literal:?}, which is no number: nobody can tell \
                     whether it holds; write {number}"
                );
                let path = ["monitors", &*monitor.name, setting];
                lint.warn("text-for-number", &path, message);
            }
        }
    }
}

/// Secrets that are spoken of and do not exist, wherever they stand.
fn secrets(node: &Node, known: &BTreeSet<Arc<str>>, report: &mut Report) {
    for (name, at) in mentioned(node) {
        if !known.contains(&*name) {
            let hint = nearest_hint(&name, known.iter().map(|it| &**it));
            report.warn("unknown-secret", at, "", format!("there is no secret {name:?}{hint}"));
        }
    }
}

/// The secrets that a document speaks of, as `${secret:NAME}`.
pub(super) fn mentioned(node: &Node) -> Vec<(String, crate::place::Place)> {
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
