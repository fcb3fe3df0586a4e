//! When a monitor looks and when it is quiet: times of day, active hours, recurring windows.
//!
//! All arithmetic is on wall clocks of a named zone: a daily check at 03:15 stays at 03:15 when the
//! clocks change. A local time that does not exist is the first instant after the gap, and one that
//! exists twice is the first of the two, as for cron expressions that name certain hours.

use std::sync::Arc;

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time};
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::cron::{Cron, DstRule, Zone};
use crate::time::Timestamp;

/// How far ahead the next occurrence is looked for.
const DAYS_MAX: i32 = 400;

/// A time of day in minutes after midnight, up to 24:00.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Clock(u16);

impl Clock {
    /// The end of the day.
    pub const DAY_END: Self = Self(24 * 60);

    /// From minutes after midnight; `None` beyond 24:00.
    pub fn from_minutes(minutes: i64) -> Option<Self> {
        u16::try_from(minutes).ok().map(Self).filter(|clock| *clock <= Self::DAY_END)
    }

    /// Minutes after midnight.
    pub const fn minutes(self) -> i64 {
        self.0 as i64
    }

    /// Reads `9:00`, `09:00`, `24:00` or `09:00:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split(':');
        let mut number = |digits_max: usize| {
            let part = parts.next()?;
            let valid = (1..=digits_max).contains(&part.len());
            part.bytes().all(|byte| byte.is_ascii_digit()).then_some(part)?;
            part.parse::<i64>().ok().filter(|_| valid)
        };
        let (hour, minute) = (number(2)?, number(2)?);
        let tail: Vec<&str> = parts.collect();
        (minute < 60 && matches!(tail[..], [] | ["00"])).then_some(())?;
        Self::from_minutes(hour * 60 + minute)
    }
}

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// Days of the week, a bit each from Monday; 0 stands for every day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Days(u8);

const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Days {
    /// Reads `Mon-Fri`, `Sat,Sun` or one day, by the first three letters.
    pub fn parse(text: &str) -> Option<Self> {
        let day = |name: &str| {
            let name = name.trim().to_ascii_lowercase();
            DAY_NAMES.iter().position(|known| name.starts_with(known))
        };
        let mut bits = 0_u8;
        for part in text.split(',') {
            match part.split_once('-') {
                None => bits |= 1 << day(part)?,
                Some((from, to)) => {
                    let (from, to) = (day(from)?, day(to)?);
                    let count = (to + 7 - from) % 7;
                    (0..=count).for_each(|offset| bits |= 1 << ((from + offset) % 7));
                }
            }
        }
        Some(Self(bits))
    }

    /// The day that a name stands for, from 0 = Monday, if it is but one.
    pub(super) fn single(self) -> Option<i64> {
        self.0.is_power_of_two().then(|| i64::from(self.0.trailing_zeros()))
    }

    fn contains(self, date: Date) -> bool {
        let day = date.weekday().to_monday_zero_offset();
        self.0 == 0 || self.0 & (1 << day) != 0
    }
}

/// Hours of the day in which a monitor looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// From.
    #[serde(rename = "f")]
    pub from: Clock,
    /// Until, exclusive; not after `from` = on the next day.
    #[serde(rename = "t")]
    pub to: Clock,
    /// The days on which it begins.
    #[serde(rename = "d", default, skip_serializing_if = "is_default")]
    pub days: Days,
}

impl Active {
    /// Reads `09:00-24:00` or `Mon-Fri 09:00-17:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (days, hours) = match text.rsplit_once(' ') {
            Some((days, hours)) => (Days::parse(days)?, hours),
            None => (Days::default(), text),
        };
        let (from, to) = hours.split_once('-')?;
        Some(Self { from: Clock::parse(from)?, to: Clock::parse(to)?, days })
    }

    /// Whether the clock shows one of these hours.
    pub fn contains(self, local: DateTime) -> bool {
        const WEEK: i64 = 7 * 24 * 60;
        let day = i64::from(local.date().weekday().to_monday_zero_offset());
        let minute = (day * 24 + i64::from(local.hour())) * 60 + i64::from(local.minute());
        // What begins on Sunday may last into Monday.
        self.of_week()
            .any(|(from, to)| (from..to).contains(&minute) || (from..to).contains(&(minute + WEEK)))
    }

    /// The hours in minutes from the beginning of a week on Monday, one pair for each day.
    pub(super) fn of_week(self) -> impl Iterator<Item = (i64, i64)> {
        let day = Clock::DAY_END.minutes();
        let (from, to) = (self.from.minutes(), self.to.minutes());
        let end = if to > from { to } else { to + day };
        let on = move |at: &i64| self.days.0 == 0 || self.days.0 & (1 << at) != 0;
        (0..7).filter(on).map(move |at| (at * day + from, at * day + end))
    }

    fn window(self, date: Date, zone: &Zone) -> Option<(Timestamp, Timestamp)> {
        window(date, self.from, self.to, self.days, zone)
    }
}

/// Hours of a zone outside of which something waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// The hours.
    #[serde(rename = "h")]
    pub active: Vec<Active>,
    /// Their zone; UTC if empty.
    #[serde(rename = "z", default, skip_serializing_if = "is_default")]
    pub tz: Arc<str>,
}

impl Hours {
    /// The first instant from then on that lies within them.
    pub fn begin_from(&self, from: Timestamp) -> Timestamp {
        let zone = zone_of(&self.tz);
        let today = day_of(from, &zone);
        // What began yesterday may last, and a week has every day.
        let days = (-1..=7).filter_map(|days: i32| today.checked_add(days.days()).ok());
        let windows = days.flat_map(|date| self.active.iter().map(move |it| (*it, date)));
        let open = windows.filter_map(|(active, date)| active.window(date, &zone));
        let begins = open.filter(|(_, end)| *end > from).map(|(begin, _)| begin.max(from));
        // Hours that never come keep nobody from being told.
        begins.min().unwrap_or(from)
    }
}

fn window(
    date: Date,
    from: Clock,
    to: Clock,
    days: Days,
    zone: &Zone,
) -> Option<(Timestamp, Timestamp)> {
    let end = if to > from { to.minutes() } else { to.minutes() + Clock::DAY_END.minutes() };
    days.contains(date).then_some(())?;
    Some((at(date, from.minutes(), zone)?, at(date, end, zone)?))
}

/// The instant of so many minutes after a day's midnight, by the wall clock.
fn at(date: Date, minutes: i64, zone: &Zone) -> Option<Timestamp> {
    let local = date.to_datetime(Time::midnight()).checked_add(minutes.minutes()).ok()?;
    zone.instant(local)
}

fn day_of(now: Timestamp, zone: &Zone) -> Date {
    zone.local(now).date()
}

/// The zone of a name; an unknown one, refused at load, counts as UTC.
pub(super) fn zone_of(name: &str) -> Zone {
    if name.is_empty() || name == "UTC" {
        return Zone::utc();
    }
    Zone::named(name).unwrap_or_else(|_| Zone::utc())
}

/// When a monitor looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Milliseconds between two looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<i64>,
    /// A cron expression, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<Arc<str>>,
    /// Daily at this time; with `every`, again and again from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Clock>,
    /// With `at` and `every`: until then; not after `at` = on the next day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Clock>,
    /// The zone of all these times; empty = UTC.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tz: Arc<str>,
    /// Only within these hours; none = always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<Active>,
    /// Milliseconds since 1970 of one of its looks, in the place of the phase that its monitor's name
    /// gives. No file says it: a test does, to know when checks begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<i64>,
}

impl Schedule {
    /// The first look after an instant. `phase` moves looks that have no time of day, so that many
    /// monitors do not look all at once.
    pub fn next_after(&self, after: Timestamp, phase: i64) -> Option<Timestamp> {
        let zone = zone_of(&self.tz);
        let mut next = self.tick_after(after, phase, &zone)?;
        for _ in 0..DAYS_MAX {
            let Some(opens) = self.opens_at(next, &zone) else { return Some(next) };
            if opens == Timestamp::MAX {
                return None;
            }
            next = self.tick_after(opens.plus_millis(-1), phase, &zone)?;
        }
        None
    }

    fn tick_after(&self, after: Timestamp, phase: i64, zone: &Zone) -> Option<Timestamp> {
        if let Some(cron) = &self.cron {
            return cron_after(cron, after, &self.tz);
        }
        if let Some(start) = self.at {
            return self.daily_after(start, after, zone);
        }
        let every = self.every.filter(|every| *every > 0)?;
        let phase = self.phase.unwrap_or(phase).rem_euclid(every);
        let count = (after.millis() - phase).div_euclid(every) + 1;
        Some(Timestamp::from_millis(phase + count * every))
    }

    fn daily_after(&self, start: Clock, after: Timestamp, zone: &Zone) -> Option<Timestamp> {
        let mut date = day_of(after, zone).yesterday().ok()?;
        let end = self.until.unwrap_or(Clock::DAY_END);
        for _ in 0..DAYS_MAX {
            let (first, last) = window(date, start, end, Days::default(), zone)?;
            if first > after {
                return Some(first);
            }
            if let Some(every) = self.every.filter(|every| *every > 0) {
                let next = first.plus_millis((after.since(first) / every + 1) * every);
                let within = if self.until.is_some() { next <= last } else { next < last };
                if within {
                    return Some(next);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// When the hours begin in which it looks; `None` if they are now.
    fn opens_at(&self, now: Timestamp, zone: &Zone) -> Option<Timestamp> {
        if self.active.is_empty() {
            return None;
        }
        let mut date = day_of(now, zone).yesterday().ok()?;
        let mut first: Option<Timestamp> = None;
        // A week and the days that a window may have begun before.
        for _ in 0..9 {
            for active in &self.active {
                let Some((from, to)) = active.window(date, zone) else { continue };
                if from <= now && now < to {
                    return None;
                }
                if from > now && first.is_none_or(|known| from < known) {
                    first = Some(from);
                }
            }
            date = date.tomorrow().ok()?;
        }
        // Refused at load: hours that never come.
        first.or(Some(Timestamp::MAX))
    }

    /// Whether it looks at this time of day.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.opens_at(now, &zone_of(&self.tz)).is_none()
    }

    /// Milliseconds between two looks, roughly, for defaults that depend on it.
    pub fn interval(&self) -> i64 {
        const HOUR: i64 = 3_600_000;
        match (self.every, self.at) {
            (Some(every), _) => every,
            (None, Some(_)) => 24 * HOUR,
            (None, None) => HOUR,
        }
    }
}

/// Whether a cron expression can be read and ever names an instant.
pub(super) fn check_cron(text: &str) -> Result<(), String> {
    match parse_cron(text)? {
        cron if cron.ever_fires() => Ok(()),
        _ => Err(format!("{text:?} never comes")),
    }
}

/// Five fields as Unix reads them, anything else as Spring does.
fn parse_cron(text: &str) -> Result<Cron, String> {
    let five = text.split_whitespace().count() == 5;
    let cron = if five { Cron::parse_five(text) } else { Cron::parse(text) };
    cron.map_err(|error| error.to_string())
}

/// The first match of a cron expression after an instant.
fn cron_after(cron: &str, after: Timestamp, zone: &str) -> Option<Timestamp> {
    let zone = Zone::named(if zone.is_empty() { "UTC" } else { zone }).ok()?;
    parse_cron(cron).ok()?.next(after, &zone, DstRule::Once)
}

/// A span of time, once or again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recurring {
    /// From an instant until another.
    Once {
        /// The beginning.
        from: Timestamp,
        /// The end; absent = until it is taken back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Timestamp>,
    },
    /// On certain days, between two times of day.
    Weekly {
        /// The hours and days.
        hours: Active,
        /// The zone; empty = UTC.
        #[serde(default, skip_serializing_if = "is_default")]
        tz: Arc<str>,
    },
}

impl Recurring {
    /// Until when it is in force, if it is now.
    pub fn in_force_until(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Once { from, to } => {
                let to = to.unwrap_or(Timestamp::MAX);
                (*from <= now && now < to).then_some(to)
            }
            Self::Weekly { hours, tz } => {
                let zone = zone_of(tz);
                let today = day_of(now, &zone);
                [today.yesterday().ok()?, today]
                    .into_iter()
                    .filter_map(|date| hours.window(date, &zone))
                    .find(|(from, to)| *from <= now && now < *to)
                    .map(|(_, to)| to)
            }
        }
    }

    /// Whether it can never be in force again.
    pub fn is_over(&self, now: Timestamp) -> bool {
        matches!(self, Self::Once { to: Some(to), .. } if *to <= now)
    }
}
