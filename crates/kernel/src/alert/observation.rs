//! What a check saw: keyed observations, read leniently from whatever its execution returned, and
//! bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::condition::Condition;
use super::definition::{Kind, MonitorDef};
use super::fingerprint;
use crate::json::Json;

/// Observations of one check; what is beyond is counted and makes the check unknown.
pub const OBSERVATIONS_MAX: usize = 1000;
/// Characters of a key; a longer one is cut and made unique by a hash.
pub const KEY_MAX: usize = 200;
/// Characters of a text; a longer one is cut.
pub const TEXT_MAX: usize = 1000;
/// Bytes of an observation's attributes; what does not fit is left out.
pub const ATTRS_MAX: usize = 4096;
/// Bytes of what a check may have handed to the next one.
pub const MEMORY_MAX: usize = 16 << 10;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Well.
    Ok,
    /// Nobody could tell; never opens, never resolves, never counts as well.
    Unknown,
    /// Not well yet.
    Warn,
    /// Not well.
    Fail,
}

impl Status {
    /// Reads the words that checks use for it.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.trim().to_ascii_lowercase().as_str() {
            "ok" | "up" | "success" | "pass" => Self::Ok,
            "warn" | "warning" | "degraded" => Self::Warn,
            "fail" | "failed" | "failure" | "error" | "down" | "critical" => Self::Fail,
            "unknown" => Self::Unknown,
            _ => return None,
        })
    }

    /// Whether it is warn or fail.
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Warn | Self::Fail)
    }

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that a check saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// What it is about within the monitor; empty = the monitor itself.
    pub key: Arc<str>,
    /// How it is.
    pub status: Status,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Arc<str>>,
    /// Everything else: the row.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub attrs: Map<String, Value>,
}

impl Observation {
    /// An observation of the monitor itself.
    pub fn of(status: Status, text: impl Into<Arc<str>>) -> Self {
        Self { key: "".into(), status, value: None, text: Some(text.into()), attrs: Map::new() }
    }
}

/// What a check's execution returned, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// At most one per key.
    pub observations: Vec<Observation>,
    /// What the next check is to be given.
    pub memory: Option<Json>,
    /// The task that saw it.
    pub step: Option<Arc<str>>,
}

/// Reads a check's output.
///
/// # Errors
/// Why nobody can tell from it how things are.
pub fn read(output: &Json, monitor: &MonitorDef) -> Result<Reading, String> {
    let conditions = Conditions::of(monitor)?;
    let mut output = output.parse();
    let memory = output.get("memory").filter(|memory| !memory.is_null()).map(Json::from);
    let step = output.get("step").and_then(Value::as_str).map(Arc::from);
    let rows = match output.get_mut("observations").map(Value::take) {
        Some(Value::Array(rows)) => rows,
        Some(row @ Value::Object(_)) => vec![row],
        Some(Value::Null) | None => match output {
            Value::Array(rows) => rows,
            row @ Value::Object(_) if row.get("status").is_some() => vec![row],
            row @ Value::Object(_) if conditions.any() => vec![row],
            _ => return Err("the check returned no observations".to_owned()),
        },
        Some(_) => return Err("the check's observations are neither a list nor an object".into()),
    };
    if rows.len() > OBSERVATIONS_MAX {
        let count = rows.len();
        return Err(format!(
            "the check returned {count} observations, more than {OBSERVATIONS_MAX}"
        ));
    }
    let mut by_key: BTreeMap<Arc<str>, Observation> = BTreeMap::new();
    let conditions = Conditions { count: rows.len(), ..conditions };
    for row in rows {
        let observation = observation(row, monitor, &conditions)?;
        match by_key.get(&observation.key) {
            Some(known) if known.status >= observation.status => {}
            _ => {
                by_key.insert(observation.key.clone(), observation);
            }
        }
    }
    let memory = memory.filter(|memory| memory.len() <= MEMORY_MAX);
    Ok(Reading { observations: by_key.into_values().collect(), memory, step })
}

/// Reads one observation that somebody reports by hand: it says its status itself.
///
/// # Errors
/// What is wrong with it.
pub fn read_reported(row: Value) -> Result<Observation, String> {
    let nobody = MonitorDef::new("", Kind::Heartbeat, Json::empty_object());
    observation(row, &nobody, &Conditions { count: 1, fail: None, warn: None })
        .map_err(|why| why.replace(", and the monitor no fail_when", ""))
}

struct Conditions {
    /// Observations of the check: what `rows > 0` speaks of.
    count: usize,
    fail: Option<Condition>,
    warn: Option<Condition>,
}

impl Conditions {
    fn of(monitor: &MonitorDef) -> Result<Self, String> {
        let parse = |text: &Option<Arc<str>>| text.as_deref().map(Condition::parse).transpose();
        Ok(Self { count: 1, fail: parse(&monitor.fail_when)?, warn: parse(&monitor.warn_when)? })
    }

    fn any(&self) -> bool {
        self.fail.is_some() || self.warn.is_some()
    }

    /// What the conditions say; `None` without conditions.
    fn status(&self, row: &Map<String, Value>) -> Option<Status> {
        if !self.any() {
            return None;
        }
        let mut row = row.clone();
        row.entry("rows").or_insert_with(|| self.count.into());
        let holds = |condition: &Option<Condition>| {
            condition.as_ref().is_some_and(|condition| condition.holds(&row))
        };
        if holds(&self.fail) {
            Some(Status::Fail)
        } else if holds(&self.warn) {
            Some(Status::Warn)
        } else {
            Some(Status::Ok)
        }
    }
}

fn observation(
    row: Value,
    monitor: &MonitorDef,
    conditions: &Conditions,
) -> Result<Observation, String> {
    let Value::Object(mut row) = row else {
        return Err("an observation is not an object".to_owned());
    };
    let named = row.get("status").and_then(Value::as_str).map(|status| {
        Status::parse(status).ok_or_else(|| format!("{status:?} is no status of an observation"))
    });
    let status = match named {
        Some(Ok(Status::Ok)) | None => conditions.status(&row).or_else(|| named?.ok()),
        Some(named) => Some(named?),
    };
    let status = status.ok_or("an observation has no status, and the monitor no fail_when")?;
    row.remove("status");
    let key = row.remove("key");
    let value = row.remove("value").filter(|value| !value.is_null());
    let text = row.remove("text").as_ref().and_then(plain).map(|text| cut(&text, TEXT_MAX));
    let attrs = match row.remove("attrs") {
        Some(Value::Object(attrs)) => attrs,
        _ => row,
    };
    let key = match key.as_ref().and_then(plain) {
        Some(key) => key,
        None => monitor
            .per
            .iter()
            .map(|name| attrs.get(&**name).and_then(plain).unwrap_or_default().replace(':', "\\:"))
            .collect::<Vec<_>>()
            .join(":"),
    };
    Ok(Observation {
        key: bounded_key(&key),
        status,
        value: value.filter(|value| value.to_string().len() <= TEXT_MAX),
        text: text.map(Arc::from),
        attrs: bounded(attrs),
    })
}

/// A scalar as text.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// At most so many characters, the last one an ellipsis if something was cut off.
pub(super) fn cut(text: &str, length_max: usize) -> String {
    if text.chars().nth(length_max).is_none() {
        return text.to_owned();
    }
    text.chars().take(length_max - 1).chain(['…']).collect()
}

fn bounded_key(key: &str) -> Arc<str> {
    // What begins so is ours: incidents about the checks themselves.
    let key = if key.starts_with('#') { format!("\\{key}") } else { key.to_owned() };
    if key.chars().nth(KEY_MAX).is_none() {
        return key.into();
    }
    let head: String = key.chars().take(KEY_MAX - 17).collect();
    let tail: String = fingerprint(&key, "key").chars().take(16).collect();
    format!("{head}~{tail}").into()
}

fn bounded(attrs: Map<String, Value>) -> Map<String, Value> {
    let mut left = ATTRS_MAX;
    let mut fits = |name: &str, value: &Value| {
        let size = name.len() + value.to_string().len();
        left = if size <= left { left - size } else { return false };
        true
    };
    attrs.into_iter().filter(|(name, value)| fits(name, value)).collect()
}
