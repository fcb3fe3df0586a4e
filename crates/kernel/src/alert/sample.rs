//! Samples: what a check answered, kept as it was before it was judged, so that another definition
//! can be judged by it later.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check::plain_reason;
use super::condition::Condition;
use super::definition::MonitorDef;
use super::event::Window;
use super::monitor::Check;
use super::text::cut;
use crate::json::Json;
use crate::time::Timestamp;

/// Bytes of an output that are kept; of a longer one, only that it was too long.
pub const SAMPLE_MAX: usize = 256 << 10;
/// Characters of a reason that are kept.
const REASON_MAX: usize = 300;
/// Members of an observation that are kept whatever `keep` says.
const ALWAYS: [&str; 6] = ["key", "status", "value", "text", "rows", "attrs"];

/// One check, as a backtest needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// How many checks of the monitor had ended with it: samples with consecutive numbers are of
    /// consecutive checks.
    pub number: u64,
    /// The check's number among all that the monitor started, which names its execution.
    pub sequence: u32,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The span that it covers.
    pub window: Window,
    /// The version of the definition by which it was made, its first eight digits.
    pub version: Arc<str>,
    /// What it answered.
    pub outcome: Sampled,
}

/// What a check answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampled {
    /// Its output, without what is only meant for the next check.
    Output(Json),
    /// Nobody could tell, and why.
    Unknown(Arc<str>),
    /// It answered more than [`SAMPLE_MAX`] bytes, which are not kept.
    TooLong(u64),
}

impl Sample {
    /// The sample of a check that ended; `None` if the monitor keeps none.
    pub fn of(
        monitor: &MonitorDef,
        version: &str,
        (number, check): (u64, &Check),
        result: Result<&Json, &str>,
        ended_at: Timestamp,
    ) -> Option<Self> {
        if monitor.history_off {
            return None;
        }
        Some(Self {
            number,
            sequence: check.sequence,
            started_at: check.started_at,
            ended_at,
            window: check.window,
            version: version.get(..8).unwrap_or(version).into(),
            outcome: Sampled::of(result, monitor),
        })
    }
}

impl Sampled {
    /// What is kept of a result.
    pub fn of(result: Result<&Json, &str>, monitor: &MonitorDef) -> Self {
        let output = match result {
            Ok(output) => output,
            Err(reason) => return Self::Unknown(cut(plain_reason(reason), REASON_MAX).into()),
        };
        let kept = kept(output, &columns(monitor));
        match kept.len() {
            ..=SAMPLE_MAX => Self::Output(kept),
            length => Self::TooLong(length as u64),
        }
    }
}

/// The columns that a monitor keeps: those that it says, and those that it judges by. None = all.
fn columns(monitor: &MonitorDef) -> BTreeSet<String> {
    if monitor.keep.is_empty() {
        return BTreeSet::new();
    }
    let named = monitor.keep.iter().chain(&monitor.per).map(ToString::to_string);
    let conditions = [&monitor.fail_when, &monitor.warn_when].into_iter().flatten();
    let judged = conditions.filter_map(|text| Condition::parse(text).ok());
    let judged: Vec<String> = judged
        .flat_map(|it| it.columns().into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    named.chain(judged).collect()
}

/// The part of an output that is judged.
fn kept(output: &Json, columns: &BTreeSet<String>) -> Json {
    const LEFT_OUT: [&str; 2] = ["memory", "step"];
    // Nearly always all of it is, and need not be read for that.
    if columns.is_empty() && LEFT_OUT.iter().all(|name| !output.text().contains(name)) {
        return output.clone();
    }
    let mut output = output.parse();
    if let Value::Object(members) = &mut output {
        for name in LEFT_OUT {
            members.remove(name);
        }
    }
    if !columns.is_empty() {
        match output.get_mut("observations") {
            Some(rows) => limit(rows, columns),
            None => limit(&mut output, columns),
        }
    }
    Json::of(&output)
}

/// Leaves out of rows what is none of the columns, and no part of every observation.
fn limit(rows: &mut Value, columns: &BTreeSet<String>) {
    match rows {
        Value::Array(rows) => rows.iter_mut().for_each(|row| limit(row, columns)),
        Value::Object(row) => {
            row.retain(|name, _| ALWAYS.contains(&name.as_str()) || columns.contains(name));
            if let Some(Value::Object(attrs)) = row.get_mut("attrs") {
                attrs.retain(|name, _| columns.contains(name));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::alert::definition::Kind;

    #[test]
    fn a_sample_is_what_was_answered_before_it_was_judged() {
        let mut monitor = MonitorDef::new("m", Kind::Workflow, Json::empty_object());
        let of = |monitor: &MonitorDef, output: &Value| Sampled::of(Ok(&Json::of(output)), monitor);
        let whole = json!({ "observations": [{ "key": "a", "attrs": { "x": 1, "y": 2 } }],
            "memory": { "seen": 7 }, "step": "s-1" });
        let told = json!({ "observations": [{ "key": "a", "attrs": { "x": 1, "y": 2 } }] });
        assert_eq!(of(&monitor, &whole), Sampled::Output(Json::of(&told)));
        monitor.keep = vec!["x".into()];
        monitor.fail_when = Some("loss > 3".into());
        let told = json!({ "observations": [{ "key": "a", "attrs": { "x": 1 } }] });
        assert_eq!(of(&monitor, &whole), Sampled::Output(Json::of(&told)));
        // A workflow may return a row, or rows alone.
        let told = json!([{ "loss": 4, "x": 1 }]);
        assert_eq!(
            of(&monitor, &json!([{ "loss": 4, "x": 1, "y": 2 }])),
            Sampled::Output(Json::of(&told))
        );
        let told = json!({ "status": "ok", "x": 1 });
        assert_eq!(
            of(&monitor, &json!({ "status": "ok", "x": 1, "y": 2 })),
            Sampled::Output(Json::of(&told))
        );
        let long = json!({ "x": "a".repeat(SAMPLE_MAX) });
        assert!(matches!(of(&monitor, &long), Sampled::TooLong(_)), "too long");
        let words = "Task 1 (check) failed with status: FAILED and reason: 'refused'";
        assert_eq!(Sampled::of(Err(words), &monitor), Sampled::Unknown("refused".into()));
    }
}
