//! What a check saw: keyed observations, read leniently from whatever its execution returned, and
//! bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::condition::Condition;
use super::definition::{Kind, MonitorDef, Severity};
use super::fingerprint;
use super::text::cut;
use crate::json::Json;
use crate::time::Timestamp;

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
    /// How bad that is; absent = what the monitor says of its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Labels of its own, beside those that the monitor gives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Until when that holds, if it has an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Observation {
    /// An observation of the monitor itself.
    pub fn of(status: Status, text: impl Into<Arc<str>>) -> Self {
        Self {
            key: "".into(),
            status,
            value: None,
            text: Some(text.into()),
            attrs: Map::new(),
            severity: None,
            labels: BTreeMap::new(),
            until: None,
        }
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
    /// Why nobody can tell of some observations how they are; these are unknown.
    pub doubt: Option<String>,
    /// Whether the source had nothing at all to report.
    pub empty: bool,
}

/// Reads a check's output. Observations that the monitor's conditions cannot judge are unknown, and
/// the reading has a doubt.
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
    let conditions = Conditions { count: rows.len(), columns: columns(&rows), ..conditions };
    let (mut doubt, mut empty) = (None, true);
    for row in rows {
        // What the checks of this server say when their query finds no rows.
        let no_row = row.get("rows").and_then(Value::as_u64) == Some(0);
        empty &= no_row;
        let (observation, why) = observation(row, monitor, &conditions)?;
        if !no_row {
            doubt = doubt.or(why.map(|why| match &*observation.key {
                "" => why,
                key => format!("{key}: {why}"),
            }));
        }
        match by_key.get(&observation.key) {
            Some(known) if known.status >= observation.status => {}
            _ => {
                by_key.insert(observation.key.clone(), observation);
            }
        }
    }
    let memory = memory.filter(|memory| memory.len() <= MEMORY_MAX);
    Ok(Reading { observations: by_key.into_values().collect(), memory, step, doubt, empty })
}

/// Why nobody can tell by a monitor's definition what a check's output means; `None` if it can be told.
pub fn doubt(output: &Json, monitor: &MonitorDef) -> Option<String> {
    match read(output, monitor) {
        Ok(reading) => reading.doubt,
        Err(why) => Some(why),
    }
}

/// The names that rows have, those of their attributes included.
fn columns(rows: &[Value]) -> BTreeSet<String> {
    let members = rows.iter().filter_map(Value::as_object).flatten();
    let (attrs, own): (Vec<_>, Vec<_>) = members.partition(|(name, _)| *name == "attrs");
    let attrs = attrs.into_iter().filter_map(|(_, attrs)| attrs.as_object()).flatten();
    let names = own.into_iter().chain(attrs).map(|(name, _)| name.clone());
    names.chain(["rows".to_owned()]).collect()
}

/// Reads one observation that somebody reports by hand: it says its status itself.
///
/// # Errors
/// What is wrong with it.
pub fn read_reported(row: Value) -> Result<Observation, String> {
    let nobody = MonitorDef::new("", Kind::Heartbeat, Json::empty_object());
    observation(row, &nobody, &Conditions::default())
        .map(|(observation, _)| observation)
        .map_err(|why| why.replace(", and the monitor no fail_when", ""))
}

#[derive(Default)]
struct Conditions {
    /// Observations of the check: what `rows > 0` speaks of.
    count: usize,
    /// The names that they have.
    columns: BTreeSet<String>,
    fail: Option<Condition>,
    warn: Option<Condition>,
}

impl Conditions {
    fn of(monitor: &MonitorDef) -> Result<Self, String> {
        let parse = |text: &Option<Arc<str>>| text.as_deref().map(Condition::parse).transpose();
        let (fail, warn) = (parse(&monitor.fail_when)?, parse(&monitor.warn_when)?);
        Ok(Self { fail, warn, ..Self::default() })
    }

    fn any(&self) -> bool {
        self.fail.is_some() || self.warn.is_some()
    }

    /// What the conditions say, with the condition that holds and what it has judged in words; or
    /// why nobody can tell.
    fn status(
        &self,
        row: &Map<String, Value>,
        monitor: &MonitorDef,
    ) -> Result<(Status, Option<String>), String> {
        let mut row = row.clone();
        row.entry("rows").or_insert_with(|| self.count.into());
        for (name, condition, text, status) in [
            ("fail_when", &self.fail, &monitor.fail_when, Status::Fail),
            ("warn_when", &self.warn, &monitor.warn_when, Status::Warn),
        ] {
            let Some(condition) = condition else { continue };
            let holds = condition.holds(&row, &self.columns).map_err(|why| {
                let text = text.as_deref().unwrap_or_default();
                format!("{name} ({text}) cannot be judged: {why}")
            })?;
            if holds {
                let values = condition.values(&row).join(", ");
                let text = text.as_deref().unwrap_or_default();
                return Ok((status, Some(format!("{values} ({name}: {text})"))));
            }
        }
        Ok((Status::Ok, None))
    }
}

/// One observation, and why its status is unknown if the conditions cannot judge it.
fn observation(
    row: Value,
    monitor: &MonitorDef,
    conditions: &Conditions,
) -> Result<(Observation, Option<String>), String> {
    let Value::Object(mut row) = row else {
        return Err("an observation is not an object".to_owned());
    };
    let named = row.get("status").and_then(Value::as_str).map(|status| {
        Status::parse(status).ok_or_else(|| format!("{status:?} is no status of an observation"))
    });
    let (status, words, doubt) = match named {
        Some(Ok(Status::Ok)) | None if conditions.any() => match conditions.status(&row, monitor) {
            Ok((status, words)) => (status, words, None),
            Err(why) => (Status::Unknown, None, Some(why)),
        },
        Some(named) => (named?, None, None),
        None => return Err("an observation has no status, and the monitor no fail_when".into()),
    };
    row.remove("status");
    let key = row.remove("key");
    let value = row.remove("value").filter(|value| !value.is_null());
    let text = row.remove("text").as_ref().and_then(plain).filter(|text| !text.is_empty());
    let text = text.or(words).map(|text| cut(&text, TEXT_MAX));
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
    let observation = Observation {
        key: bounded_key(&key),
        status,
        value: value.filter(|value| value.to_string().len() <= TEXT_MAX),
        text: text.map(Arc::from),
        attrs: bounded(attrs),
        severity: None,
        labels: BTreeMap::new(),
        until: None,
    };
    Ok((observation, doubt))
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

pub(super) fn bounded_key(key: &str) -> Arc<str> {
    // What begins so is ours: incidents about the checks themselves.
    let key = if key.starts_with('#') { format!("\\{key}") } else { key.to_owned() };
    if key.chars().nth(KEY_MAX).is_none() {
        return key.into();
    }
    let head: String = key.chars().take(KEY_MAX - 17).collect();
    let tail: String = fingerprint(&key, "key").chars().take(16).collect();
    format!("{head}~{tail}").into()
}

pub(super) fn bounded(attrs: Map<String, Value>) -> Map<String, Value> {
    let mut left = ATTRS_MAX;
    let mut fits = |name: &str, value: &Value| {
        let size = name.len() + value.to_string().len();
        left = if size <= left { left - size } else { return false };
        true
    };
    attrs.into_iter().filter(|(name, value)| fits(name, value)).collect()
}
