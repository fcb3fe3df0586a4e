//! Rollups: how the checks of a monitor ended and how long they took, counted by five minutes, by
//! hours and by days (decision 0048).
//!
//! Counts are folded into the monitor's state by the commit that ends a check, so nothing is lost
//! or counted twice. Cells lie in blocks; a block that is over becomes one line of the ledger
//! [`ROLLUP_LEDGER`], under a key that comes round again, so that a monitor never has more lines than
//! a ring holds.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::observation::{Observation, Status};
use crate::json::Json;
use crate::time::Timestamp;

/// The ledger of blocks that are over.
pub const ROLLUP_LEDGER: &str = "rollup";

/// The length of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Five minutes, kept for 2 days.
    FiveMinutes,
    /// An hour, kept for 90 days.
    Hour,
    /// A day of UTC, kept for 730 days.
    Day,
}

impl Step {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::FiveMinutes, Self::Hour, Self::Day];

    /// Milliseconds of a cell. Cells begin at multiples of it since 1970.
    pub const fn millis(self) -> i64 {
        match self {
            Self::FiveMinutes => 300_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// Its word: `5m`, `1h` or `1d`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// Cells of a block.
    const fn cells(self) -> i64 {
        match self {
            Self::FiveMinutes => 12,
            Self::Hour => 24,
            Self::Day => 10,
        }
    }

    /// Blocks that are kept whole, besides the one that is being counted.
    const fn blocks(self) -> i64 {
        match self {
            Self::FiveMinutes => 48,
            Self::Hour => 90,
            Self::Day => 73,
        }
    }

    /// Milliseconds of a block.
    pub const fn block_millis(self) -> i64 {
        self.cells() * self.millis()
    }

    /// Milliseconds for which cells are kept.
    pub const fn kept_millis(self) -> i64 {
        self.blocks() * self.block_millis()
    }

    /// The start of the cell of an instant.
    pub const fn floor(self, at: Timestamp) -> Timestamp {
        let millis = at.millis();
        Timestamp::from_millis(millis.saturating_sub(millis.rem_euclid(self.millis())))
    }
}

/// What is counted: how a check ended, or that an incident opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// All that it saw is well.
    Ok,
    /// Something is not well yet, nothing worse.
    Warn,
    /// Something is not well.
    Fail,
    /// Nobody could tell.
    Unknown,
    /// It was due and did not run.
    Missed,
    /// An incident opened.
    Incident,
}

impl From<Status> for Counter {
    fn from(status: Status) -> Self {
        match status {
            Status::Ok => Self::Ok,
            Status::Warn => Self::Warn,
            Status::Fail => Self::Fail,
            Status::Unknown => Self::Unknown,
        }
    }
}

/// Checks that ended alike or did not run, or an incident that opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// What became of them.
    #[serde(rename = "r")]
    pub what: Counter,
    /// How many.
    #[serde(rename = "n", default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// How long it took in milliseconds, if it told how things are.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u32>,
    /// When they were due, if they did not run; all others count when they ended.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl Counted {
    /// One check that ended now, or an incident that opened.
    pub fn one(what: Counter, ms: Option<i64>) -> Self {
        let ms = ms.map(|ms| u32::try_from(ms.max(0)).unwrap_or(u32::MAX));
        Self { what, count: 1, ms, at: None }
    }

    /// Checks that were due since an instant and did not run.
    pub fn missed(count: u32, at: Timestamp) -> Self {
        Self { what: Counter::Missed, count, ms: None, at: Some(at) }
    }
}

const fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
const fn is_one(number: &u32) -> bool {
    *number == 1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How long a check took, by its observations if one of them says so (`ms`), else by the clock.
pub(super) fn measured(observations: &[Observation], by_clock: i64) -> i64 {
    let said = observations.iter().filter_map(|it| it.attrs.get("ms")?.as_f64());
    let most = said.filter(|ms| ms.is_finite() && *ms >= 0.0).reduce(f64::max);
    most.map_or(by_clock, |ms| ms.round() as i64)
}

/// Response times of a cell: exact in number, least, most and sum, and counted by buckets, so that
/// those of several cells can be put together.
///
/// Milliseconds below 16 have a bucket each, larger ones eight per doubling: what a quantile tells
/// is the middle of its bucket, at most 6.25 % from the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// The least, in milliseconds.
    #[serde(rename = "l")]
    pub min: u32,
    /// The most.
    #[serde(rename = "h")]
    pub max: u32,
    /// All together.
    #[serde(rename = "s")]
    pub sum: u64,
    /// How many are in each bucket, by bucket.
    #[serde(rename = "b")]
    buckets: Vec<(u8, u32)>,
}

impl Times {
    fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The mean in milliseconds; `None` if nothing was counted.
    pub fn mean(&self) -> Option<u64> {
        self.sum.checked_div(self.count())
    }

    /// The time that so many hundredths do not exceed, within 6.25 %; `None` if nothing was counted.
    pub fn percentile(&self, hundredths: u32) -> Option<u32> {
        let wanted = (self.count() * u64::from(hundredths)).div_ceil(100).max(1);
        let mut passed = 0;
        for (bucket, count) in &self.buckets {
            passed += u64::from(*count);
            if passed >= wanted {
                return Some(middle(*bucket).clamp(self.min, self.max));
            }
        }
        None
    }

    fn add(&mut self, ms: u32) {
        let one = Self { min: ms, max: ms, sum: ms.into(), buckets: vec![(bucket_of(ms), 1)] };
        self.merge(&one);
    }

    fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            return self.clone_from(other);
        }
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
        self.sum = self.sum.saturating_add(other.sum);
        for (bucket, count) in &other.buckets {
            match self.buckets.binary_search_by_key(bucket, |(bucket, _)| *bucket) {
                Ok(place) => {
                    let known = &mut self.buckets[place].1;
                    *known = known.saturating_add(*count);
                }
                Err(place) => self.buckets.insert(place, (*bucket, *count)),
            }
        }
    }
}

/// The bucket of a time: the first 16 hold one each, then eight per doubling.
const fn bucket_of(ms: u32) -> u8 {
    if ms < 16 {
        return ms as u8;
    }
    let doubling = ms.ilog2();
    let eighth = (ms >> (doubling - 3)) & 7;
    (16 + (doubling - 4) * 8 + eighth) as u8
}

/// The middle of a bucket.
const fn middle(bucket: u8) -> u32 {
    if bucket < 16 {
        return bucket as u32;
    }
    let doubling = 4 + (bucket as u32 - 16) / 8;
    if doubling > 31 {
        return u32::MAX;
    }
    let width = 1_u32 << (doubling - 3);
    let low = (8 + (bucket as u32 - 16) % 8) << (doubling - 3);
    low + (width - 1) / 2
}

/// What was counted in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Checks that found all well.
    #[serde(rename = "w", default, skip_serializing_if = "is_zero")]
    pub ok: u32,
    /// Checks that found something not well yet, and nothing worse.
    #[serde(rename = "d", default, skip_serializing_if = "is_zero")]
    pub warn: u32,
    /// Checks that found something not well.
    #[serde(rename = "f", default, skip_serializing_if = "is_zero")]
    pub fail: u32,
    /// Checks that could not tell.
    #[serde(rename = "u", default, skip_serializing_if = "is_zero")]
    pub unknown: u32,
    /// Checks that were due and did not run.
    #[serde(rename = "m", default, skip_serializing_if = "is_zero")]
    pub missed: u32,
    /// Incidents that opened.
    #[serde(rename = "i", default, skip_serializing_if = "is_zero")]
    pub incidents: u32,
    /// How long the checks took that told how things are.
    #[serde(rename = "t", default, skip_serializing_if = "Times::is_empty")]
    pub times: Times,
}

impl Cell {
    /// Adds what was counted in another cell.
    pub fn merge(&mut self, other: &Self) {
        let pairs = [
            (&mut self.ok, other.ok),
            (&mut self.warn, other.warn),
            (&mut self.fail, other.fail),
            (&mut self.unknown, other.unknown),
            (&mut self.missed, other.missed),
            (&mut self.incidents, other.incidents),
        ];
        for (own, more) in pairs {
            *own = own.saturating_add(more);
        }
        self.times.merge(&other.times);
    }

    /// Checks that ended, whatever they told.
    pub fn checks(&self) -> u64 {
        [self.ok, self.warn, self.fail, self.unknown].into_iter().map(u64::from).sum()
    }

    /// The share of checks that did not fail among those that told how things are, from 0 to 1;
    /// `None` if none told.
    pub fn well(&self) -> Option<f64> {
        let well = f64::from(self.ok) + f64::from(self.warn);
        let told = well + f64::from(self.fail);
        (told > 0.0).then(|| well / told)
    }

    fn count(&mut self, counted: &Counted) {
        let own = match counted.what {
            Counter::Ok => &mut self.ok,
            Counter::Warn => &mut self.warn,
            Counter::Fail => &mut self.fail,
            Counter::Unknown => &mut self.unknown,
            Counter::Missed => &mut self.missed,
            Counter::Incident => &mut self.incidents,
        };
        *own = own.saturating_add(counted.count);
        if let Some(ms) = counted.ms {
            self.times.add(ms);
        }
    }
}

/// Consecutive cells, written as one line of the ledger once they are over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Block {
    /// Its number since 1970.
    #[serde(rename = "n")]
    number: i64,
    /// Its cells that counted something, by place.
    #[serde(rename = "c")]
    cells: Vec<(u8, Cell)>,
}

impl Block {
    fn begins_at(&self, step: Step) -> Timestamp {
        Timestamp::from_millis(self.number.saturating_mul(step.block_millis()))
    }

    /// Whether an instant is past its end.
    fn is_over(&self, step: Step, at: Timestamp) -> bool {
        !self.cells.is_empty() && at.millis().div_euclid(step.block_millis()) > self.number
    }

    /// The cell of an instant; one before the block, as after a clock was set back, is counted in
    /// the block's first cell.
    fn cell(&mut self, step: Step, at: Timestamp) -> &mut Cell {
        let block = at.millis().div_euclid(step.block_millis());
        if self.cells.is_empty() || block > self.number {
            *self = Self { number: block, cells: Vec::new() };
        }
        let place = if block < self.number {
            0
        } else {
            let within = at.millis().rem_euclid(step.block_millis());
            u8::try_from(within / step.millis()).unwrap_or(u8::MAX)
        };
        let found = self.cells.binary_search_by_key(&place, |(place, _)| *place);
        let index = found.unwrap_or_else(|index| {
            self.cells.insert(index, (place, Cell::default()));
            index
        });
        &mut self.cells[index].1
    }

    fn cells(&self, step: Step) -> impl Iterator<Item = (Timestamp, &Cell)> {
        let begin = self.begins_at(step);
        self.cells
            .iter()
            .map(move |(place, cell)| (begin.plus_millis(i64::from(*place) * step.millis()), cell))
    }
}

/// The blocks of a monitor that are being counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollups {
    #[serde(rename = "m")]
    five_minutes: Block,
    #[serde(rename = "h")]
    hours: Block,
    #[serde(rename = "d")]
    days: Block,
}

/// A block that is over, as a line of the ledger.
pub(super) struct Line {
    /// The ring's place: what comes round replaces what was there.
    pub(super) key: String,
    pub(super) at: Timestamp,
    pub(super) step: Step,
    pub(super) body: Value,
}

impl Rollups {
    /// Whether nothing was counted yet.
    pub fn is_empty(&self) -> bool {
        Step::ALL.iter().all(|step| self.block(*step).cells.is_empty())
    }

    const fn block(&self, step: Step) -> &Block {
        match step {
            Step::FiveMinutes => &self.five_minutes,
            Step::Hour => &self.hours,
            Step::Day => &self.days,
        }
    }

    pub(super) fn count(&mut self, counted: &Counted, at: Timestamp) {
        self.five_minutes.cell(Step::FiveMinutes, at).count(counted);
        self.hours.cell(Step::Hour, at).count(counted);
        self.days.cell(Step::Day, at).count(counted);
    }

    /// The blocks that are over when something is counted at an instant, before it is.
    pub(super) fn over_at(&self, monitor: &str, at: Timestamp) -> Vec<Line> {
        let over = Step::ALL.into_iter().filter(|step| self.block(*step).is_over(*step, at));
        over.map(|step| {
            let block = self.block(step);
            // One more than are kept whole: the oldest counts in part still.
            let place = block.number.rem_euclid(step.blocks() + 1);
            Line {
                key: format!("{monitor}/{}/{place}", step.as_str()),
                at: block.begins_at(step),
                step,
                body: serde_json::to_value(block).expect("a block serializes to JSON"),
            }
        })
        .collect()
    }

    /// The cells of the block that is being counted, by their beginnings.
    pub fn cells(&self, step: Step) -> Vec<(Timestamp, Cell)> {
        self.block(step).cells(step).map(|(at, cell)| (at, cell.clone())).collect()
    }
}

/// The cells of a line of the ledger, by their beginnings; `None` if it is none of a rollup.
pub fn cells_of_line(step: Step, body: &Json) -> Option<Vec<(Timestamp, Cell)>> {
    let block: Block = serde_json::from_str(body.raw().get()).ok()?;
    Some(block.cells(step).map(|(at, cell)| (at, cell.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_at_most_an_eighth_wide_and_none_is_left_out() {
        let mut last = 0;
        for ms in (0..5_000).chain([70_000, 3_600_000, u32::MAX - 1, u32::MAX]) {
            let bucket = bucket_of(ms);
            assert!(bucket >= last, "{ms}: buckets are in order");
            assert!(ms >= 5_000 || bucket <= last + 1, "{ms}: no bucket is left out");
            last = bucket;
            let off = middle(bucket).abs_diff(ms);
            assert!(u64::from(off) * 16 <= u64::from(ms), "{ms} is told as {}", middle(bucket));
        }
    }

    #[test]
    fn percentiles_of_what_was_put_together_are_those_of_all() {
        let (mut even, mut odd, mut all) = (Times::default(), Times::default(), Times::default());
        for ms in 1..=1000 {
            if ms % 2 == 0 {
                even.add(ms);
            } else {
                odd.add(ms);
            }
            all.add(ms);
        }
        even.merge(&odd);
        assert_eq!(even, all);
        assert_eq!((all.min, all.max, all.count(), all.mean()), (1, 1000, 1000, Some(500)));
        let p95 = all.percentile(95).expect("some were counted");
        assert!(p95.abs_diff(950) * 16 <= 950, "p95 {p95}");
        assert_eq!((all.percentile(100), Times::default().percentile(50)), (Some(991), None));
    }

    #[test]
    fn blocks_that_are_over_are_handed_out_once_and_a_clock_set_back_loses_nothing() {
        let at = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        let ok = Counted::one(Counter::Ok, Some(40));
        let mut rollups = Rollups::default();
        assert!(rollups.over_at("m", at(0)).is_empty() && rollups.is_empty());
        for minute in 0..60 {
            assert!(rollups.over_at("m", at(minute)).is_empty());
            rollups.count(&ok, at(minute));
        }
        assert_eq!(rollups.cells(Step::FiveMinutes).len(), 12);
        let over = rollups.over_at("m", at(60));
        assert_eq!(over.len(), 1, "only an hour is over");
        assert_eq!((&*over[0].key, over[0].step), ("m/5m/0", Step::FiveMinutes));
        let body = Json::of(&over[0].body);
        let told = cells_of_line(Step::FiveMinutes, &body).expect("it is a block");
        assert_eq!(told, rollups.cells(Step::FiveMinutes), "it is written as it stands");
        rollups.count(&ok, at(60));
        assert!(rollups.over_at("m", at(60)).is_empty(), "it is handed out once");
        rollups.count(&ok, at(-10));
        let all = |step| rollups.cells(step).iter().map(|(_, cell)| cell.ok).sum::<u32>();
        assert_eq!((all(Step::FiveMinutes), all(Step::Hour), all(Step::Day)), (2, 62, 62));
    }

    #[test]
    fn keys_come_round_after_what_is_kept() {
        for step in Step::ALL {
            let mut keys = std::collections::BTreeSet::new();
            for block in 0..400 {
                let at = Timestamp::from_millis(block * step.block_millis());
                let mut rollups = Rollups::default();
                rollups.count(&Counted::one(Counter::Incident, None), at);
                let over = rollups.over_at("m", at.plus_millis(step.block_millis()));
                let own = over.iter().find(|line| line.step == step);
                keys.insert(own.expect("it is over").key.clone());
            }
            assert_eq!(keys.len() as i64, step.blocks() + 1);
        }
    }
}
