//! What a schedule obeys: Conductor's document with our additions, kept as authored.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::expect::{Expect, Expectation, time_of_day};
use crate::cron::{Cron, DstRule, Mark, Occurrence, Zone};
use crate::json::Json;
use crate::time::Timestamp;

/// Milliseconds of a year, which has all changes of the clock.
const YEAR: i64 = 366 * 24 * 3_600_000;
/// Firings that are looked at; what fires more often than that notices no change of the clock.
const FIRINGS_MAX: usize = 2_000;

/// A schedule as authored. On the wire it bears the protocol's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleSpec {
    /// Its name; at most [`ScheduleSpec::NAME_MAX`] bytes.
    pub name: Arc<str>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Arc<str>>,
    /// The only cron expression, if there is no list of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron_expression: Option<Arc<str>>,
    /// Its time zone.
    pub zone_id: Arc<str>,
    /// Several cron expressions, each in its zone; not empty = these count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cron_schedules: Vec<CronLine>,
    /// What is started, kept whole.
    pub start_workflow_request: Json,
    /// What becomes of firings that came due while nobody looked.
    pub catch_up: CatchUp,
    /// What becomes of a firing while the one before has not ended.
    pub overlap: Overlap,
    /// What becomes of times that changes of the clock leave out or repeat.
    pub dst: DstRule,
    /// Nothing fires before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_start_time: Option<Timestamp>,
    /// Nothing fires after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_end_time: Option<Timestamp>,
    /// Whether to pause; absent = as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Why it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_reason: Option<Arc<str>>,
    /// What is expected of its runs; who is told if they are not so is the matter of routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Arc<str>>,
    /// Who changed it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<Arc<str>>,
}

/// A cron expression and its time zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CronLine {
    /// Six fields, or a macro.
    pub cron_expression: Arc<str>,
    /// The zone.
    pub zone_id: Arc<str>,
}

/// A label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Its name.
    pub key: Arc<str>,
    /// Its value.
    pub value: Arc<str>,
}

impl ScheduleSpec {
    /// Longest name, in bytes.
    pub const NAME_MAX: usize = 180;

    /// By when a firing that came due then is to be done.
    pub(super) fn done_by(&self, planned: Timestamp, zone: Option<&str>) -> Option<Timestamp> {
        let time = time_of_day(self.expect.as_ref()?.done_by.as_deref()?)?;
        let zone = Zone::named(zone.unwrap_or(&self.zone_id)).ok()?;
        // A time that a change of the clock leaves out is one all the same.
        time.next(planned, &zone, DstRule::Once)
    }

    /// Whether this is expected of its runs.
    pub(super) fn expects(&self, what: Expectation) -> bool {
        self.expect.as_ref().is_some_and(|expect| expect.has(what))
    }

    /// The lines that count.
    pub fn lines(&self) -> Vec<CronLine> {
        if !self.cron_schedules.is_empty() {
            return self.cron_schedules.clone();
        }
        let single = self.cron_expression.iter().map(|cron_expression| CronLine {
            cron_expression: cron_expression.clone(),
            zone_id: self.zone_id.clone(),
        });
        single.collect()
    }

    /// The first firing within a year that a change of the clock leaves out, moves or repeats, of each
    /// line that has one, with the place of the line.
    pub fn touched_by_the_clock(&self, now: Timestamp) -> Vec<(usize, Occurrence)> {
        let until = now.plus_millis(YEAR);
        let of_line = |(place, line): (usize, CronLine)| {
            // The clock of UTC never changes, and a year of firings is long.
            if &*line.zone_id == "UTC" {
                return None;
            }
            let cron = Cron::parse(&line.cron_expression).ok()?;
            let zone = Zone::named(&line.zone_id).ok()?;
            let firings = cron.preview(now, until, &zone, self.dst, FIRINGS_MAX);
            Some((place, firings.into_iter().find(|firing| firing.mark != Mark::Regular)?))
        };
        self.lines().into_iter().enumerate().filter_map(of_line).collect()
    }

    /// The version of the workflow that is started; `None` = the latest.
    pub fn workflow_version(&self) -> Option<u32> {
        let request = self.start_workflow_request.parse();
        let version = request.get("version").and_then(serde_json::Value::as_u64);
        version.and_then(|it| u32::try_from(it).ok()).filter(|it| *it > 0)
    }

    /// The name of the workflow that is started.
    pub fn workflow_name(&self) -> String {
        #[derive(Deserialize)]
        struct Named {
            name: Option<String>,
        }
        let named: Option<Named> = serde_json::from_str(self.start_workflow_request.text()).ok();
        named.and_then(|named| named.name).unwrap_or_default()
    }

    /// Whether both name the same instants.
    pub(super) fn fires_like(&self, other: &Self) -> bool {
        self.lines() == other.lines()
            && self.dst == other.dst
            && self.schedule_start_time == other.schedule_start_time
            && self.schedule_end_time == other.schedule_end_time
    }
}

/// What becomes of firings that came due while nobody looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// Each is made up for, oldest first.
    All,
    /// The last one is made up for.
    Latest,
    /// None is.
    #[default]
    None,
}

impl CatchUp {
    /// The names on the wire.
    pub const NAMES: &'static [&'static str] = &["all", "latest", "none"];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Latest => "latest",
            Self::None => "none",
        }
    }

    /// Reads a name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::All, Self::Latest, Self::None];
        all.into_iter().find(|policy| policy.as_str().eq_ignore_ascii_case(text))
    }
}

/// What becomes of a firing while the one before has not ended; the names are Temporal's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It runs beside it.
    #[default]
    AllowAll,
    /// It is skipped.
    Skip,
    /// It waits for the end; of several that wait, the first.
    BufferOne,
    /// The one before is terminated.
    TerminateOther,
}

impl Overlap {
    /// The names on the wire.
    pub const NAMES: &'static [&'static str] =
        &["allow_all", "skip", "buffer_one", "terminate_other"];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowAll => "allow_all",
            Self::Skip => "skip",
            Self::BufferOne => "buffer_one",
            Self::TerminateOther => "terminate_other",
        }
    }

    /// Reads a name in any case, also by the words that other schedulers have for it.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "allow_all" | "allow" => Some(Self::AllowAll),
            "skip" | "forbid" => Some(Self::Skip),
            "buffer_one" | "queue_one" => Some(Self::BufferOne),
            "terminate_other" | "terminate_previous" | "replace" => Some(Self::TerminateOther),
            _ => None,
        }
    }
}
