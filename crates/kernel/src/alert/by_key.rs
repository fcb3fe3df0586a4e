//! How each key of a monitor stood over a stretch of time: what its checks answered, judged by the definition
//! in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::definition::MonitorDef;
use super::observation::{self, Status};
use super::sample::{Sample, Sampled};
use crate::time::Timestamp;

/// A stretch of time in cells of equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    /// When the first one begins.
    pub from: Timestamp,
    /// Milliseconds of each; more than 0.
    pub step: i64,
    /// How many.
    pub count: usize,
}

impl Cells {
    fn place(self, at: Timestamp) -> Option<usize> {
        let place = usize::try_from(at.since(self.from).div_euclid(self.step.max(1))).ok()?;
        Some(place).filter(|place| *place < self.count)
    }
}

/// How one key stood.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StandingKey {
    /// The key; empty = the monitor itself.
    pub key: Arc<str>,
    /// The verdict on the last observation of it.
    pub status: Status,
    /// What was measured then.
    pub value: Option<Value>,
    /// The same in words.
    pub text: Option<Arc<str>>,
    /// When the check began that saw it last.
    pub seen_at: Timestamp,
    /// From when on it has stood so, as far back as the stretch of time reaches.
    pub since: Timestamp,
    /// Whether it stood otherwise before, or was not there.
    pub since_is_known: bool,
    /// The worst of each cell; `None` where it was not seen.
    pub cells: Vec<Option<Status>>,
}

/// Judges the samples of a stretch of time, oldest first; the worst keys come first. Where a check could
/// not tell, nobody can tell of any key.
pub fn by_key(monitor: &MonitorDef, samples: &[Sample], cells: Cells) -> Vec<StandingKey> {
    let mut keys: BTreeMap<Arc<str>, StandingKey> = BTreeMap::new();
    let mut doubtful = vec![false; cells.count];
    for (number, sample) in samples.iter().enumerate() {
        let place = cells.place(sample.started_at);
        let reading = match &sample.outcome {
            Sampled::Output(output) => observation::read(output, monitor).ok(),
            Sampled::Unknown(_) | Sampled::TooLong(_) => None,
        };
        let Some(reading) = reading else {
            if let Some(cell) = place.and_then(|place| doubtful.get_mut(place)) {
                *cell = true;
            }
            continue;
        };
        for seen in reading.observations {
            let at = sample.started_at;
            let known = keys.entry(seen.key.clone()).or_insert_with(|| StandingKey {
                key: seen.key,
                status: seen.status,
                value: None,
                text: None,
                seen_at: at,
                since: at,
                since_is_known: number > 0,
                cells: vec![None; cells.count],
            });
            if known.status != seen.status {
                known.since = at;
                known.since_is_known = true;
            }
            (known.status, known.seen_at) = (seen.status, at);
            (known.value, known.text) = (seen.value, seen.text);
            if let Some(cell) = place.and_then(|place| known.cells.get_mut(place)) {
                *cell = (*cell).max(Some(seen.status));
            }
        }
    }
    let mut all: Vec<StandingKey> = keys.into_values().collect();
    for key in &mut all {
        for (cell, in_doubt) in key.cells.iter_mut().zip(&doubtful) {
            if *in_doubt {
                *cell = (*cell).max(Some(Status::Unknown));
            }
        }
    }
    // By key among those that are equally bad: they come in that order.
    all.sort_by_key(|it| std::cmp::Reverse(it.status));
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::alert::Window;
    use crate::alert::definition::Kind;
    use crate::json::Json;

    const MINUTE: i64 = 60_000;

    fn sample(number: u64, outcome: Sampled) -> Sample {
        let at = Timestamp::from_millis(number as i64 * MINUTE);
        Sample {
            number,
            sequence: number as u32,
            started_at: at,
            ended_at: at,
            window: Window { from: at, to: at },
            version: "v".into(),
            outcome,
        }
    }

    fn rows(a: &str, b: Option<&str>) -> Sampled {
        let row = |key: &str, status: &str| json!({ "key": key, "status": status, "value": 7 });
        let rows: Vec<Value> =
            [Some(row("a", a)), b.map(|b| row("b", b))].into_iter().flatten().collect();
        Sampled::Output(Json::of(&json!({ "observations": rows })))
    }

    #[test]
    fn each_key_stands_as_it_was_seen_last_since_it_changed() {
        let monitor = MonitorDef::new("m", Kind::Workflow, Json::empty_object());
        let samples = [
            sample(0, rows("ok", None)),
            sample(1, rows("ok", Some("ok"))),
            sample(2, Sampled::Unknown("refused".into())),
            sample(3, rows("ok", Some("fail"))),
            sample(4, rows("ok", Some("fail"))),
        ];
        let cells = Cells { from: Timestamp::from_millis(0), step: MINUTE, count: 5 };
        let keys = by_key(&monitor, &samples, cells);
        let [b, a] = &keys[..] else { panic!("{keys:?}") };
        assert_eq!((&*b.key, b.status, b.since_is_known), ("b", Status::Fail, true));
        assert_eq!(b.since, Timestamp::from_millis(3 * MINUTE));
        assert_eq!(b.value, Some(json!(7)));
        let (ok, unknown, fail) = (Some(Status::Ok), Some(Status::Unknown), Some(Status::Fail));
        assert_eq!(b.cells, [None, ok, unknown, fail, fail]);
        assert_eq!((&*a.key, a.status, a.since_is_known), ("a", Status::Ok, false));
        assert_eq!((a.since, a.seen_at.millis()), (Timestamp::from_millis(0), 4 * MINUTE));
        assert_eq!(a.cells, [ok, ok, unknown, ok, ok]);
    }
}
