//! What a schedule expects of its runs (`expect`), and what is known of the runs that were.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cron::Cron;
use crate::expression::parse_duration;
use crate::time::Timestamp;

/// Successful runs whose durations are kept.
pub(super) const TOOK_MAX: usize = 50;
/// Successful runs before *usual* means anything.
const TOOK_MIN: usize = 10;
/// No run is slow before, in milliseconds, unless `atLeast` says otherwise.
const AT_LEAST: i64 = 60_000;
/// Largest factor of `slowerThan`.
const FACTOR_MAX: f64 = 1000.0;

/// What a schedule expects of its runs, as authored; at least one member is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expect {
    /// A run exists so long after its instant, such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_within: Option<Arc<str>>,
    /// A run has completed by this time of the day after its instant, such as `06:00`, in the zone
    /// of the cron line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_by: Option<Arc<str>>,
    /// A run takes no longer than so often the usual time, such as `3x`, or than a time, `40m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slower_than: Option<Arc<str>>,
    /// With a factor: no run is slow before so long, such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Arc<str>>,
}

/// What may be expected of a run. The words are the ends of the keys of incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// It begins in time; what does not is late.
    Late,
    /// It takes no longer than usual; what does is slow.
    Slow,
    /// It is done by a time of the day; what is not is overdue.
    Overdue,
}

impl Expectation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Late, Self::Slow, Self::Overdue];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Slow => "slow",
            Self::Overdue => "overdue",
        }
    }
}

/// What `slowerThan` says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum SlowerThan {
    /// So often the usual time.
    Factor(f64),
    /// So many milliseconds.
    Span(i64),
}

impl SlowerThan {
    /// Reads `3x` or `40m`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let Some(factor) = text.strip_suffix(['x', 'X']) else { return span(text).map(Self::Span) };
        let factor: f64 = factor.trim_end().parse().ok()?;
        (factor > 1.0 && factor <= FACTOR_MAX).then_some(Self::Factor(factor))
    }
}

/// A duration of more than nothing, in milliseconds.
pub(super) fn span(text: &str) -> Option<i64> {
    let millis = i64::try_from(parse_duration(text).ok()?.as_millis()).ok()?;
    (millis > 0).then_some(millis)
}

/// A time of the day, `06:00` or `06:00:30`, as the cron expression that names it each day.
pub(super) fn time_of_day(text: &str) -> Option<Cron> {
    let time: jiff::civil::Time = text.trim().parse().ok()?;
    let digits = text.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    let exact = digits && text.contains(':');
    let (second, minute, hour) = (time.second(), time.minute(), time.hour());
    exact.then(|| Cron::parse(&format!("{second} {minute} {hour} * * *")).ok())?
}

impl Expect {
    /// Whether this is expected at all.
    pub(super) fn has(&self, what: Expectation) -> bool {
        match what {
            Expectation::Late => self.start_within.is_some(),
            Expectation::Slow => self.slower_than.is_some(),
            Expectation::Overdue => self.done_by.is_some(),
        }
    }

    /// Milliseconds after which a run that does not exist is late.
    pub(super) fn start_within(&self) -> Option<i64> {
        span(self.start_within.as_deref()?)
    }

    /// Milliseconds after which a run is slow, by those that were; `None` if nobody can tell yet.
    pub(super) fn slow_after(&self, watched: &Watched) -> Option<i64> {
        let at_least = self.at_least.as_deref().and_then(span);
        match SlowerThan::read(self.slower_than.as_deref()?)? {
            SlowerThan::Span(millis) => Some(millis.max(at_least.unwrap_or(0))),
            SlowerThan::Factor(factor) => {
                let usual = watched.usual().filter(|usual| usual.count >= TOOK_MIN)?;
                let often = (usual.median as f64 * factor) as i64;
                let spread = usual.median.saturating_add(usual.deviation.saturating_mul(5));
                Some(often.max(spread).max(at_least.unwrap_or(AT_LEAST)))
            }
        }
    }
}

/// How a firing is held against what is expected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// By when it is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_by: Option<Timestamp>,
    /// When its run began to exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// What was told of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<Expectation>,
}

/// What a schedule knows of its runs that ended, and what is open of those that were not as expected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// How long the last successful runs took, in milliseconds, oldest first; at most 50.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub took: VecDeque<i64>,
    /// A firing whose run has not completed, and that is to be done by a time to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<Undone>,
    /// What is told and not over, with the newest firing that it was told of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unmet: BTreeMap<Expectation, u32>,
}

/// A firing whose run has not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undone {
    /// Its number.
    pub number: u32,
    /// By when it is to be done.
    pub by: Timestamp,
}

/// How long runs usually take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usual {
    /// The median.
    pub median: i64,
    /// The median of the distances from it.
    pub deviation: i64,
    /// The longest.
    pub longest: i64,
    /// How many runs say so.
    pub count: usize,
}

impl Watched {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How long the last successful runs took; `None` if there is none.
    pub fn usual(&self) -> Option<Usual> {
        let longest = self.took.iter().max().copied()?;
        let median = median(self.took.iter().copied());
        let deviation = median_of_distances(&self.took, median);
        Some(Usual { median, deviation, longest, count: self.took.len() })
    }

    /// A successful run took so long.
    pub(super) fn add(&mut self, took: i64) {
        self.took.push_back(took);
        while self.took.len() > TOOK_MAX {
            self.took.pop_front();
        }
    }

    /// A firing's run has completed.
    pub(super) fn done(&mut self, number: u32) {
        self.undone = self.undone.filter(|undone| undone.number > number);
    }

    /// A firing's run has not completed. Of several, the newest is to be done by the first time.
    pub(super) fn undo(&mut self, number: u32, by: Timestamp) {
        let by = self.undone.map_or(by, |undone| undone.by.min(by));
        self.undone = Some(Undone { number, by });
    }

    /// The newest firing that this was told of, unless a newer one is meant.
    pub(super) fn is_met_by(&self, what: Expectation, number: u32) -> bool {
        self.unmet.get(&what).is_some_and(|told| *told <= number)
    }
}

fn median_of_distances(values: &VecDeque<i64>, from: i64) -> i64 {
    median(values.iter().map(|value| value.saturating_sub(from).saturating_abs()))
}

/// The median; of two in the middle, their mean.
fn median(values: impl Iterator<Item = i64>) -> i64 {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => low + (high - low) / 2,
        _ => 0,
    }
}
