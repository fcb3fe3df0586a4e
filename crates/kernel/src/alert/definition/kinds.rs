//! The settings that each kind of monitor and receiver knows: a table.

use serde_json::Value;

use super::Kind;
use super::calendar::Clock;
use super::reader::{self, Object, Report, parsed};
use super::yaml::{Content, Node};
use crate::alert::condition::{Condition, no_column};

/// What a setting must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A text or a number.
    Text,
    /// One text or several.
    Texts,
    /// A duration.
    Span,
    /// A share such as `80%`.
    Share,
    /// A time of day.
    Clock,
    /// A whole number.
    Int,
    /// Yes or no.
    Flag,
    /// A condition.
    Condition,
    /// A map.
    Map,
    /// Anything.
    Any,
}

/// A kind of monitor.
pub(super) struct KindRule {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The task type that makes its checks.
    pub(super) task_type: &'static str,
    /// Whether it watches a server, which is up or down.
    pub(super) is_server: bool,
    /// What its observations have beside [`EVERY`], if that is always the same.
    pub(super) columns: Option<&'static [&'static str]>,
    /// The setting meant if only a text is given.
    pub(super) short: &'static str,
    /// Of each line, one setting must be there.
    pub(super) required: &'static [&'static [&'static str]],
    pub(super) settings: &'static [(&'static str, Shape)],
    /// Settings that stand beside the kind instead of within it.
    pub(super) beside: &'static [&'static str],
}

use Shape::{
    Any, Clock as ClockShape, Condition as ConditionShape, Flag, Int, Map, Share, Span, Text, Texts,
};

/// Every kind of monitor, in the order of [`Kind`].
pub(super) static KINDS: [KindRule; 14] = [
    KindRule {
        name: "email",
        kind: Kind::Email,
        task_type: "CHECK_EMAIL",
        is_server: false,
        columns: Some(&["missing", "expected", "since", "mails"]),
        short: "account",
        required: &[&["account", "url"], &["subjects", "from"]],
        settings: &[
            ("account", Text),
            ("url", Text),
            ("user", Text),
            ("password", Text),
            ("auth", Text),
            ("token", Text),
            ("folder", Text),
            ("since", ClockShape),
            ("tz", Text),
            ("from", Texts),
            ("to", Texts),
            ("subjects", Any),
            ("max_age", Span),
            ("tls", Any),
            ("timeout", Span),
        ],
        beside: &[],
    },
    KindRule {
        name: "job",
        kind: Kind::Job,
        task_type: "CHECK_JOB",
        is_server: false,
        columns: Some(&["job", "job_status", "age_minutes", "started", "ended"]),
        short: "schedule",
        required: &[&["batchy", "url", "schedule"]],
        settings: &[
            ("batchy", Text),
            ("workflow", Text),
            ("step", Text),
            ("url", Text),
            ("schedule", Text),
            ("headers", Map),
            ("bearer", Text),
            ("user", Text),
            ("password", Text),
            ("started", Text),
            ("ended", Text),
            ("status", Text),
            ("success", Texts),
            ("failure", Texts),
            ("max_age", Span),
            ("since", Text),
            ("warn_at", Share),
            ("tz", Text),
            ("timeout", Span),
            ("tls", Any),
        ],
        beside: &["max_age", "since", "warn_at"],
    },
    KindRule {
        name: "influx",
        kind: Kind::Influx,
        task_type: "CHECK_INFLUX",
        is_server: false,
        columns: None,
        short: "server",
        required: &[&["server", "url"], &["flux", "influxql", "sql"]],
        settings: &[
            ("server", Text),
            ("url", Text),
            ("flux", Text),
            ("influxql", Text),
            ("sql", Text),
            ("db", Text),
            ("org", Text),
            ("bucket", Text),
            ("token", Text),
            ("user", Text),
            ("password", Text),
            ("params", Map),
            ("value", Text),
            ("text", Text),
            ("empty", Text),
            ("timeout", Span),
            ("tls", Any),
            ("headers", Map),
        ],
        beside: &[],
    },
    KindRule {
        name: "prometheus",
        kind: Kind::Prometheus,
        task_type: "CHECK_PROMETHEUS",
        is_server: false,
        columns: None,
        short: "query",
        required: &[&["query"], &["url", "server"]],
        settings: &[
            ("url", Text),
            ("server", Text),
            ("query", Text),
            ("bearer", Text),
            ("user", Text),
            ("password", Text),
            ("headers", Map),
            ("empty", Text),
            ("timeout", Span),
            ("tls", Any),
        ],
        beside: &[],
    },
    KindRule {
        name: "http",
        kind: Kind::Http,
        task_type: "CHECK_HTTP",
        is_server: true,
        columns: Some(&["code", "ms", "error", "tls_days_left", "tls_until"]),
        short: "url",
        required: &[&["url"]],
        settings: &[
            ("url", Text),
            ("method", Text),
            ("headers", Map),
            ("body", Any),
            ("bearer", Text),
            ("user", Text),
            ("password", Text),
            ("expect", ConditionShape),
            ("contains", Texts),
            ("rows", Text),
            ("jq", Text),
            ("per", Text),
            ("value", Text),
            ("text", Text),
            ("follow", Flag),
            ("tls_expiry", Span),
            ("tls", Any),
            ("timeout", Span),
        ],
        beside: &[],
    },
    KindRule {
        name: "sql",
        kind: Kind::Sql,
        task_type: "CHECK_SQL",
        is_server: false,
        columns: None,
        short: "query",
        required: &[&["url", "server"], &["query"]],
        settings: &[
            ("url", Text),
            ("server", Text),
            ("user", Text),
            ("password", Text),
            ("query", Text),
            ("params", Any),
            ("value", Text),
            ("text", Text),
            ("rows_max", Int),
            ("timeout", Span),
            ("tls", Any),
        ],
        beside: &[],
    },
    KindRule {
        name: "tcp",
        kind: Kind::Tcp,
        task_type: "CHECK_TCP",
        is_server: true,
        columns: Some(&["ms", "tls_days_left", "tls_until"]),
        short: "address",
        required: &[&["address", "host"]],
        settings: &[
            ("address", Text),
            ("host", Text),
            ("port", Int),
            ("send", Text),
            ("expect", Text),
            ("tls", Any),
            ("tls_expiry", Span),
            ("timeout", Span),
        ],
        beside: &[],
    },
    KindRule {
        name: "dns",
        kind: Kind::Dns,
        task_type: "CHECK_DNS",
        is_server: true,
        columns: Some(&["ms", "answers"]),
        short: "name",
        required: &[&["name"]],
        settings: &[
            ("name", Text),
            ("type", Text),
            ("server", Text),
            ("expect", Texts),
            ("timeout", Span),
        ],
        beside: &[],
    },
    KindRule {
        name: "grpc",
        kind: Kind::Grpc,
        task_type: "CHECK_GRPC",
        is_server: true,
        columns: Some(&["ms", "serving", "tls_days_left", "tls_until"]),
        short: "address",
        required: &[&["address", "host"]],
        settings: &[
            ("address", Text),
            ("host", Text),
            ("port", Int),
            ("service", Text),
            ("headers", Map),
            ("bearer", Text),
            ("tls", Any),
            ("tls_expiry", Span),
            ("timeout", Span),
        ],
        beside: &[],
    },
    KindRule {
        name: "icmp",
        kind: Kind::Icmp,
        task_type: "CHECK_ICMP",
        is_server: true,
        columns: Some(&["ms", "loss", "sent", "received"]),
        short: "host",
        required: &[&["host"]],
        settings: &[("host", Text), ("count", Int), ("interval", Span), ("timeout", Span)],
        beside: &[],
    },
    KindRule {
        name: "heartbeat",
        kind: Kind::Heartbeat,
        task_type: "CHECK_HEARTBEAT",
        is_server: false,
        columns: None,
        short: "every",
        required: &[&["cron", "every", "period", "at"]],
        settings: &[
            ("cron", Text),
            ("every", Span),
            ("period", Span),
            ("at", ClockShape),
            ("grace", Span),
            ("start_grace", Span),
            ("min_run", Span),
            ("max_run", Span),
            ("key", Text),
            ("slug", Text),
        ],
        beside: &[],
    },
    KindRule {
        name: "workflow",
        kind: Kind::Workflow,
        task_type: "SUB_WORKFLOW",
        is_server: false,
        columns: None,
        short: "name",
        required: &[&["name"]],
        settings: &[("name", Text), ("version", Int), ("input", Map)],
        beside: &[],
    },
    KindRule {
        name: "alerts",
        kind: Kind::Alerts,
        task_type: "RECEIVE_ALERTS",
        is_server: false,
        columns: None,
        short: "key",
        required: &[&["key"]],
        settings: &[
            ("key", Texts),
            ("allow", Texts),
            ("ignore", Texts),
            ("resolve_timeout", Span),
            ("limit", Int),
            ("map", Text),
        ],
        beside: &[],
    },
    KindRule {
        name: "composite",
        kind: Kind::Composite,
        task_type: "CHECK_COMPOSITE",
        is_server: false,
        columns: Some(&["bad", "unknown", "well", "of", "names"]),
        short: "of",
        required: &[&["of", "match"]],
        settings: &[("of", Texts), ("match", Map), ("at_least", Text), ("unknown", Text)],
        beside: &[],
    },
];

/// Every kind of receiver, and the setting meant if only a text is given.
pub(super) const RECEIVERS: [(&str, &str); 18] = [
    ("pagerduty", "key"),
    ("lark", "url"),
    ("feishu", "url"),
    ("slack", "url"),
    ("mattermost", "url"),
    ("teams", "url"),
    ("discord", "url"),
    ("telegram", "token"),
    ("opsgenie", "key"),
    ("jsm", "key"),
    ("squadcast", "url"),
    ("datadog", "key"),
    ("ntfy", "topic"),
    ("twilio", "to"),
    ("email", "to"),
    ("webhook", "url"),
    ("workflow", "name"),
    ("inbox", "name"),
];

/// What `expect` may speak of: the parts of an HTTP answer.
const ANSWER: [&str; 6] = ["status", "ms", "body", "text", "size", "headers"];
/// What every observation has.
pub(super) const EVERY: [&str; 5] = ["key", "status", "text", "value", "rows"];

const _: () = {
    let mut index = 0;
    while index < KINDS.len() {
        assert!(KINDS[index].kind as usize == index, "the table is not in the order of the kinds");
        index += 1;
    }
};

/// What the table says of a kind.
pub(super) const fn rule(kind: Kind) -> &'static KindRule {
    &KINDS[kind as usize]
}

/// Whether an HTTP check reads rows out of the answer, rather than judging the answer.
fn reads_rows(kind: Kind, settings: &Value) -> bool {
    kind == Kind::Http && (settings.get("rows").is_some() || settings.get("jq").is_some())
}

/// The names that conditions may use, if the observations of a kind have always the same.
pub(super) fn columns(kind: Kind, settings: &Value) -> Option<Vec<&'static str>> {
    let own = rule(kind).columns.filter(|_| !reads_rows(kind, settings))?;
    Some(EVERY.iter().chain(own).copied().collect())
}

/// Whether what a monitor of these settings watches is a server.
pub(super) fn watches_server(kind: Kind, settings: &Value) -> bool {
    rule(kind).is_server && !reads_rows(kind, settings)
}

/// Reads a condition that may use these names, or any.
///
/// # Errors
/// What is wrong with it.
pub(super) fn condition_on(text: &str, columns: Option<&[&str]>) -> Result<Condition, String> {
    let condition = Condition::parse(text)?;
    if let Some(known) = columns
        && let Some(name) = condition.columns().into_iter().find(|name| !known.contains(name))
    {
        return Err(no_column(name, known.iter().copied()));
    }
    Ok(condition)
}

/// Reads a kind's settings, those beside it included.
pub(super) fn settings(
    rule: &KindRule,
    node: &Node,
    outer: &mut Object<'_>,
    report: &mut Report,
) -> serde_json::Map<String, Value> {
    let path = outer.path_of(rule.name);
    let mut out = serde_json::Map::new();
    if let Some(text) = node.text() {
        out.insert(rule.short.to_owned(), text.into());
    } else if let Some(mut object) = Object::of(node, path.clone(), report) {
        for (name, shape) in rule.settings {
            if let Some(value) =
                object.read(name, report, |node, path, report| setting(*shape, node, path, report))
            {
                out.insert((*name).to_owned(), value);
            }
        }
        object.finish(report);
    }
    for name in rule.beside {
        let shape = rule.settings.iter().find(|(known, _)| known == name).map_or(Any, |it| it.1);
        let value =
            outer.read(name, report, |node, path, report| setting(shape, node, path, report));
        if let Some(value) = value {
            out.insert((*name).to_owned(), value);
        }
    }
    for choices in rule.required {
        if !choices.iter().any(|choice| out.contains_key(*choice)) {
            let message = format!("{} needs {}", rule.name, choices.join(" or "));
            report.error(node.place, &path, message);
        }
    }
    out
}

/// One setting as JSON: as written, durations and times checked, times in one form.
fn setting(shape: Shape, node: &Node, path: &str, report: &mut Report) -> Option<Value> {
    let as_text = |node: &Node| Value::from(node.text().unwrap_or_default());
    match shape {
        Text => reader::text(node, path, report).map(|text| Value::from(&*text)),
        Texts => {
            let texts = reader::texts(node, path, report)?;
            Some(texts.iter().map(|text| Value::from(&**text)).collect())
        }
        Span => reader::span_or_zero(node, path, report).map(|_| as_text(node)),
        Share => {
            parsed(node, path, report, |text| super::parse_share(text).map(|_| Value::from(text)))
        }
        ClockShape => {
            reader::clock(node, path, report).map(|clock: Clock| clock.to_string().into())
        }
        Int => parsed(node, path, report, |text| {
            text.parse::<i64>().map(Value::from).map_err(|_| format!("{text:?} is no whole number"))
        }),
        Flag => parsed(node, path, report, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(true.into()),
            "false" | "no" | "off" => Ok(false.into()),
            _ => Err(format!("{text:?} is neither true nor false")),
        }),
        ConditionShape => parsed(node, path, report, |text| {
            condition_on(text, Some(&ANSWER)).map(|_| Value::from(text))
        }),
        Map if !matches!(node.content, Content::Map(_)) => {
            report.error(node.place, path, format!("a map is expected, not {}", node.kind()));
            None
        }
        Map | Any => Some(node.json()),
    }
}
