//! What a check would come to, without anything coming of it: the verdict on each key, who would be
//! told, and when the monitor looks next.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::check::{phase, trial_input};
use super::definition::{File, MonitorDef, Silence, Spec};
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
