//! What a check would come to, without anything coming of it: the verdict on each key, who would be
//! told, and when the monitor looks next.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::check::{phase, trial_input};
use super::definition::{File, MonitorDef, Silence, Spec};
use super::event::Window;
use super::observation::{self, Status, plain};
use super::observe::severity_of;
use super::route::{self, Selected, Subject};
use crate::json::Json;
use crate::time::Timestamp;

/// What one check says.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Preview {
    /// Each key that was seen.
    pub keys: Vec<PreviewedKey>,
    /// Why nobody can tell of some keys, or of all, how they are.
    pub doubt: Option<String>,
    /// The source reported nothing at all.
    pub empty: bool,
}

/// One key that was seen.
#[derive(Clone, Debug, Serialize)]
pub struct PreviewedKey {
    /// The key.
    pub key: Arc<str>,
    /// The verdict.
    pub status: Status,
    /// What was measured.
    pub value: Option<Value>,
    /// In words.
    pub text: Option<Arc<str>>,
    /// The row.
    pub row: Map<String, Value>,
    /// When this becomes an incident, in words; absent if it is not bad.
    pub opens: Option<String>,
    /// Who is told then.
    pub told: Option<Selected>,
}

/// What a check is given that is made only to see what it would say.
pub fn preview_input(spec: &Spec, now: Timestamp) -> Json {
    Json::of(&trial_input(spec, now))
}

/// The span that a check at an instant of the past would have covered.
pub fn past_window(monitor: &MonitorDef, at: Timestamp) -> Window {
    let lookback = monitor.window.map_or(monitor.schedule.interval(), |rule| rule.lookback);
    Window { from: at.plus_millis(-lookback), to: at }
}

/// What the task of a check is given at an instant of the past: the monitor's settings, with
/// `${window.…}` and secrets filled in. A secret that there is none of stays as it is written.
pub fn past_input(
    monitor: &MonitorDef,
    at: Timestamp,
    secret: &dyn Fn(&str) -> Option<String>,
) -> Json {
    let window = past_window(monitor, at).described();
    let fill = |text: &str| {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, (name, after))) =
            rest.split_once("${").and_then(|(before, it)| Some((before, it.split_once('}')?)))
        {
            filled.push_str(before);
            let value = match (name.strip_prefix("window."), name.strip_prefix("secret:")) {
                (Some(member), _) => window.get(member).and_then(plain),
                (_, Some(name)) => secret(name),
                _ => None,
            };
            filled.push_str(&value.unwrap_or_else(|| format!("${{{name}}}")));
            rest = after;
        }
        filled + rest
    };
    Json::of(&json!({
        "settings": filled(monitor.settings.parse(), &fill), "monitor": monitor.name,
        "per": monitor.per, "window": window,
        "judged": monitor.fail_when.is_some() || monitor.warn_when.is_some(),
    }))
}

/// Every text of a value, filled in.
fn filled(value: Value, fill: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => fill(&text).into(),
        Value::Array(items) => items.into_iter().map(|it| filled(it, fill)).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, filled(value, fill))).collect()
        }
        other => other,
    }
}

/// What the output of a monitor's check says.
pub fn preview(file: &File, monitor: &MonitorDef, output: &Json, at: Timestamp) -> Preview {
    let reading = match observation::read(output, monitor) {
        Ok(reading) => reading,
        Err(why) => return Preview { doubt: Some(why), ..Preview::default() },
    };
    let keys = reading.observations.into_iter().map(|seen| {
        let told = severity_of(monitor, seen.status).map(|severity| {
            let labels =
                route::labels(monitor, &seen.key, |name| seen.attrs.get(name).and_then(plain));
            let subject =
                Subject { monitor: &monitor.name, key: &seen.key, severity, labels: &labels };
            route::told(file, monitor, subject, at)
        });
        PreviewedKey {
            opens: told.as_ref().map(|_| opens(monitor)),
            key: seen.key,
            status: seen.status,
            value: seen.value,
            text: seen.text,
            row: seen.attrs,
            told,
        }
    });
    Preview { keys: keys.collect(), doubt: reading.doubt, empty: reading.empty }
}

fn opens(monitor: &MonitorDef) -> String {
    match (monitor.fail_after, monitor.hold / 1000) {
        (0 | 1, 0) => "at once".to_owned(),
        (0 | 1, seconds) => format!("after {seconds} s (for)"),
        (times, 0) => format!("after {times} times in a row (fail_after)"),
        (times, seconds) => {
            format!("after {times} times in a row (fail_after) and {seconds} s (for)")
        }
    }
}

/// The next times at which a monitor looks.
pub fn next_checks(monitor: &MonitorDef, after: Timestamp, count: usize) -> Vec<Timestamp> {
    if !monitor.kind.checks() {
        return Vec::new();
    }
    let phase = phase(&monitor.name);
    let next = |at: &Timestamp| monitor.schedule.next_after(*at, phase);
    std::iter::successors(next(&after), next).take(count).collect()
}

/// A time at which a monitor looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextCheck {
    /// When.
    pub at: Timestamp,
    /// The silences that are in force then and hide all of the monitor.
    pub silences: Vec<NextSilence>,
}

/// A silence that is in force when a monitor looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextSilence {
    /// Names it.
    pub id: Arc<str>,
    /// Until when; absent = until it is taken back.
    pub until: Option<Timestamp>,
    /// Why.
    pub comment: Option<Arc<str>>,
}

/// The next times at which a monitor looks, with the silences that hide whatever it finds then. A
/// silence that hides some of its keys only is not told.
pub fn next_checks_with<'a>(
    monitor: &MonitorDef,
    silences: impl IntoIterator<Item = &'a Silence>,
    after: Timestamp,
    count: usize,
) -> Vec<NextCheck> {
    let labels = route::labels(monitor, "", |_| None);
    let severity = monitor.severity;
    let subject = Subject { monitor: &monitor.name, key: "", severity, labels: &labels };
    let hiding: Vec<&Silence> =
        silences.into_iter().filter(|silence| subject.fits(&silence.matchers)).collect();
    let told = |at: Timestamp| {
        let in_force = hiding.iter().filter_map(|silence| {
            let until = silence.when.in_force_until(at)?;
            Some(NextSilence {
                id: silence.id.clone(),
                until: Some(until).filter(|until| *until < Timestamp::MAX),
                comment: silence.comment.clone(),
            })
        });
        NextCheck { at, silences: in_force.collect() }
    };
    next_checks(monitor, after, count).into_iter().map(told).collect()
}
