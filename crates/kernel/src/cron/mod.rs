//! Cron expressions: six fields as Spring reads them, five as Unix does, and the instants they name.
//!
//! `second minute hour day-of-month month day-of-week`. Day of month and day of week must both
//! match; with five fields (no second) either suffices when both are restricted, as in Unix.
//! Where Spring's own search goes astray (an offset such as `L-31` that leaves the month), ours
//! agrees as long as Spring's answers still grow.

mod next;
mod parse;
mod preview;
mod zone;

use jiff::civil::{Date, DateTime, Weekday};

pub use parse::CronError;
pub use preview::{Mark, Occurrence};
pub use zone::{Zone, ZoneError};

use serde::{Deserialize, Serialize};

/// What becomes of local times that a change of the clock leaves out or repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DstRule {
    /// An expression that names certain hours runs each of its local times once. A time that does
    /// not exist runs at the first instant that does; several such times run once, together. A time
    /// that exists twice runs the first time.
    ///
    /// An expression that names every hour (see [`Cron::is_hourly`]) is about time that passes, not
    /// about times of day: it runs whenever the clock shows a time that it names, so neither is an
    /// hour left out when the clock is set back, nor is there an extra run when it is set forward.
    #[default]
    Once,
    /// A time that does not exist is left out; a time that exists twice runs twice.
    Spring,
}

impl DstRule {
    /// The names on the wire.
    pub const NAMES: &'static [&'static str] = &["once", "spring"];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Spring => "spring",
        }
    }

    /// Reads a name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Once, Self::Spring].into_iter().find(|rule| rule.as_str().eq_ignore_ascii_case(text))
    }
}

/// A cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    seconds: u64,
    minutes: u64,
    hours: u64,
    months: u64,
    days: Days,
}

/// Which days match within the months that do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Days {
    of_month: Vec<OfMonth>,
    of_week: Vec<OfWeek>,
    /// Unix: a day that matches one of two restricted fields matches.
    either: bool,
}

/// Part of a day-of-month field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfMonth {
    /// Bits 1 to 31.
    Bits(u64),
    /// `L`, `L-n`: so many days before the last.
    BeforeLast(u16),
    /// `LW`: the last Monday to Friday.
    LastWeekday,
    /// `nW`: the Monday to Friday nearest to the day.
    Nearest(i8),
}

/// Part of a day-of-week field; Monday is 1, Sunday 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfWeek {
    /// Bits 1 to 7.
    Bits(u64),
    /// `nL`: the last of the month.
    Last(i8),
    /// `n#k`: the k-th of the month.
    Nth(i8, i8),
}

/// Years that are searched for a matching day: the longest that any combination that occurs at all
/// takes (29 February on a given weekday, over a century without a leap year).
const YEARS_MAX: i16 = 41;

impl Cron {
    /// Reads an expression of six fields, or a macro such as `@daily`.
    ///
    /// # Errors
    /// What is wrong, in which field, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        parse::six(text)
    }

    /// Reads an expression of five fields as Unix does: no seconds, and a day that matches either
    /// of two restricted day fields matches.
    ///
    /// # Errors
    /// As [`Cron::parse`].
    pub fn parse_five(text: &str) -> Result<Self, CronError> {
        parse::five(text)
    }

    /// Whether there is any day at all on which this fires.
    pub fn ever_fires(&self) -> bool {
        self.next_day(Date::constant(2000, 1, 1)).is_some()
    }

    /// Whether every hour of the day is named: the expression is about time that passes, such as
    /// "every hour at a quarter past" or "every ten minutes".
    pub fn is_hourly(&self) -> bool {
        const EVERY_HOUR: u64 = (1 << 24) - 1;
        self.hours == EVERY_HOUR
    }

    /// Whether it names times again and again within an hour or from hour to hour, rather than a
    /// few times of the day.
    pub fn is_frequent(&self) -> bool {
        const TIMES_OF_THE_DAY: u32 = 2;
        self.is_hourly()
            || self.minutes.count_ones() > TIMES_OF_THE_DAY
            || self.seconds.count_ones() > TIMES_OF_THE_DAY
    }

    /// Whether it runs whenever the clock shows a time that it names.
    fn follows_the_clock(&self, rule: DstRule) -> bool {
        rule == DstRule::Spring || self.is_hourly()
    }

    /// Whether a local time is one of those named; fractions of seconds count for nothing.
    pub fn matches(&self, local: DateTime) -> bool {
        has(self.seconds, local.second())
            && has(self.minutes, local.minute())
            && has(self.hours, local.hour())
            && self.matches_day(local.date())
    }

    fn matches_day(&self, date: Date) -> bool {
        has(self.months, date.month()) && self.days.matches(date)
    }

    /// The first matching day from `date` on.
    fn next_day(&self, date: Date) -> Option<Date> {
        let last_year = date.year().saturating_add(YEARS_MAX);
        let mut date = date;
        while date.year() <= last_year {
            if !has(self.months, date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
            } else if self.days.matches(date) {
                return Some(date);
            } else {
                date = date.tomorrow().ok()?;
            }
        }
        None
    }

    /// The first local time named from `local` on, a whole second.
    fn next_local(&self, local: DateTime) -> Option<DateTime> {
        let date = self.next_day(local.date())?;
        if date == local.date()
            && let Some(found) = self.next_in_day(local)
        {
            return Some(found);
        }
        let date = if date == local.date() { self.next_day(date.tomorrow().ok()?)? } else { date };
        Some(date.at(first(self.hours)?, first(self.minutes)?, first(self.seconds)?, 0))
    }

    fn next_in_day(&self, local: DateTime) -> Option<DateTime> {
        let at = |hour, minute, second| local.date().at(hour, minute, second, 0);
        let (hour, minute) = (local.hour(), local.minute());
        if has(self.hours, hour) {
            if has(self.minutes, minute)
                && let Some(second) = from(self.seconds, local.second())
            {
                return Some(at(hour, minute, second));
            }
            if let Some(minute) = from(self.minutes, minute + 1) {
                return Some(at(hour, minute, first(self.seconds)?));
            }
        }
        let hour = from(self.hours, hour + 1)?;
        Some(at(hour, first(self.minutes)?, first(self.seconds)?))
    }
}

impl Days {
    fn matches(&self, date: Date) -> bool {
        let mut of_month = self.of_month.iter().map(|part| part.matches(date));
        let mut of_week = self.of_week.iter().map(|part| part.matches(date));
        if self.either {
            of_month.any(|matches| matches) || of_week.any(|matches| matches)
        } else {
            of_month.any(|matches| matches) && of_week.any(|matches| matches)
        }
    }
}

impl OfMonth {
    fn matches(self, date: Date) -> bool {
        match self {
            Self::Bits(bits) => has(bits, date.day()),
            Self::BeforeLast(days) => date
                .checked_add(jiff::Span::new().days(i64::from(days)))
                .is_ok_and(|last| last.day() == last.days_in_month()),
            Self::LastWeekday => {
                let last = date.last_of_month();
                let back = match last.weekday() {
                    Weekday::Saturday => 1,
                    Weekday::Sunday => 2,
                    _ => 0,
                };
                date.day() == last.day() - back
            }
            Self::Nearest(wanted) => match date.weekday() {
                Weekday::Saturday | Weekday::Sunday => false,
                _ if date.day() == wanted => true,
                Weekday::Friday => {
                    date.day() + 1 == wanted && wanted > 1 && wanted <= date.days_in_month()
                }
                // A Sunday that ends the month has no Monday in it: Spring leaves the month out.
                Weekday::Monday => date.day() == wanted + 1 || (wanted == 1 && date.day() == 3),
                _ => false,
            },
        }
    }
}

impl OfWeek {
    fn matches(self, date: Date) -> bool {
        let weekday = date.weekday().to_monday_one_offset();
        match self {
            Self::Bits(bits) => has(bits, weekday),
            Self::Last(wanted) => weekday == wanted && date.day() + 7 > date.days_in_month(),
            Self::Nth(wanted, nth) => weekday == wanted && (date.day() - 1) / 7 + 1 == nth,
        }
    }
}

fn has(bits: u64, value: i8) -> bool {
    bits >> value & 1 == 1
}

/// The lowest value in the set.
fn first(bits: u64) -> Option<i8> {
    from(bits, 0)
}

/// The lowest value in the set from `least` on.
fn from(bits: u64, least: i8) -> Option<i8> {
    let rest = bits >> least << least;
    (rest != 0).then(|| rest.trailing_zeros() as i8)
}
