//! One entry of a calendar that was read in: when it is, again and again, and who is on call then.
//!
//! Begins are minutes of the wall clock of the entry's zone, compared as instants, as those of layers are.
//! An entry that comes again is no list: its begins near an instant follow from the number of its
//! day, week or month.

use std::sync::Arc;

use jiff::civil::{Date, DateTime, Weekday};
use serde::{Deserialize, Serialize};

use super::super::calendar::zone_of;
use super::super::is_default;
use super::layer::{local_of, minutes_of};
use super::{DAY, WEEK};
use crate::time::Timestamp;

/// Periods that are looked through in one direction: an entry of the 31st comes at least each third
/// month, one of a 29th of February each eighth year.
const PERIODS_MAX: i64 = 120;
/// Minutes from a Monday's midnight to 1970-01-01, a Thursday.
const FROM_MONDAY: i64 = 3 * DAY;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who is on call.
    #[serde(rename = "p")]
    pub people: Vec<Arc<str>>,
    /// Its first begin, in minutes of the wall clock since 1970-01-01 00:00.
    #[serde(rename = "b")]
    pub begin: i64,
    /// Minutes of the wall clock.
    #[serde(rename = "l")]
    pub length: i64,
    /// The zone of its times; empty = UTC.
    #[serde(rename = "z", default, skip_serializing_if = "is_default")]
    pub tz: Arc<str>,
    /// How it comes again.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// Begins that are left out.
    #[serde(rename = "x", default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<i64>,
}

/// How an entry comes again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What is counted.
    #[serde(rename = "u")]
    pub unit: Unit,
    /// In each so many of them.
    #[serde(rename = "e")]
    pub every: i64,
    /// On these days, from Monday = 0; of a month the so-manieth, counted from its end if negative,
    /// each if 0. None = that of the first begin.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<(i8, i8)>,
    /// On these days of a month.
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    pub dates: Vec<i8>,
    /// Not after this begin.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

/// What a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Days.
    Day,
    /// Weeks from Monday.
    Week,
    /// Months.
    Month,
}

impl Rule {
    /// The number of the period of a minute.
    fn period(&self, minutes: i64) -> i64 {
        match self.unit {
            Unit::Day => minutes.div_euclid(DAY),
            Unit::Week => (minutes + FROM_MONDAY).div_euclid(WEEK),
            Unit::Month => local_of(minutes)
                .map_or(0, |local| i64::from(local.year()) * 12 + i64::from(local.month()) - 1),
        }
    }

    /// Midnights of the days of a period.
    fn midnights(&self, period: i64, first: i64) -> Vec<i64> {
        let weekday = |minutes: i64| (minutes + FROM_MONDAY).rem_euclid(WEEK) / DAY;
        match self.unit {
            Unit::Day => {
                let midnight = period * DAY;
                let is_on = self.days.is_empty()
                    || self.days.iter().any(|it| i64::from(it.1) == weekday(midnight));
                if is_on { vec![midnight] } else { Vec::new() }
            }
            Unit::Week => {
                let monday = period * WEEK - FROM_MONDAY;
                let own = [(0, weekday(first) as i8)];
                let days = if self.days.is_empty() { &own[..] } else { &self.days };
                days.iter().map(|(_, day)| monday + i64::from(*day) * DAY).collect()
            }
            Unit::Month => self.of_month(period, first),
        }
    }

    fn of_month(&self, period: i64, first: i64) -> Vec<i64> {
        let begin = i16::try_from(period.div_euclid(12))
            .ok()
            .and_then(|year| Date::new(year, period.rem_euclid(12) as i8 + 1, 1).ok());
        let Some(begin) = begin else { return Vec::new() };
        let length = begin.days_in_month();
        let own = [local_of(first).map_or(1, DateTime::day)];
        let dates =
            if self.dates.is_empty() && self.days.is_empty() { &own[..] } else { &self.dates };
        let of_dates = dates.iter().map(|date| if *date < 0 { length + 1 + date } else { *date });
        let mut days: Vec<i8> = of_dates.filter(|date| (1..=length).contains(date)).collect();
        for (ordinal, day) in &self.days {
            let Ok(weekday) = Weekday::from_monday_zero_offset(*day) else { continue };
            let on: Vec<i8> = (1..=length)
                .filter(|it| begin.with().day(*it).build().is_ok_and(|it| it.weekday() == weekday))
                .collect();
            let place = match *ordinal {
                0 => {
                    days.extend(on);
                    continue;
                }
                it if it < 0 => on.len().checked_sub(usize::from(it.unsigned_abs())),
                it => usize::from(it.unsigned_abs()).checked_sub(1),
            };
            days.extend(place.and_then(|place| on.get(place)));
        }
        days.sort_unstable();
        days.dedup();
        let midnight = |day: i8| begin.with().day(day).build().ok().map(|it| it.at(0, 0, 0, 0));
        days.into_iter().filter_map(midnight).map(minutes_of).collect()
    }
}

impl Entry {
    /// Its begins in a period.
    fn begins(&self, rule: &Rule, period: i64) -> Vec<i64> {
        let of_day = self.begin.rem_euclid(DAY);
        let begins = rule.midnights(period, self.begin).into_iter().map(|it| it + of_day);
        let is_one = |it: &i64| {
            *it >= self.begin
                && rule.until.is_none_or(|until| *it <= until)
                && !self.except.contains(it)
        };
        begins.filter(is_one).collect()
    }

    /// Its begins near a minute: those at which it may still last, one before them, and one after it.
    fn near(&self, minutes: i64) -> Vec<i64> {
        let Some(rule) = &self.rule else {
            let is_out = self.except.contains(&self.begin);
            return if is_out { Vec::new() } else { vec![self.begin] };
        };
        let first = rule.period(self.begin);
        let last = rule.until.map_or(i64::MAX, |until| rule.period(until).max(first));
        let now = rule.period(minutes).clamp(first, last);
        let now = now - (now - first).rem_euclid(rule.every);
        let mut found = Vec::new();
        for step in 0..PERIODS_MAX {
            let period = now - step * rule.every;
            let begins = if period < first { Vec::new() } else { self.begins(rule, period) };
            found.extend(&begins);
            // One whose end is past, with an hour for clocks that are set.
            if period < first || begins.iter().any(|it| it + self.length + 60 < minutes) {
                break;
            }
        }
        for step in 1..PERIODS_MAX {
            let begins = self.begins(rule, now + step * rule.every);
            found.extend(&begins);
            if begins.iter().any(|it| *it > minutes + 60) {
                break;
            }
        }
        found
    }

    /// The instants at which it begins and ends near another.
    pub(super) fn spans(&self, at: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let zone = zone_of(&self.tz);
        let instant = |minutes: i64| zone.instant(local_of(minutes)?);
        let near = self.near(minutes_of(zone.local(at)));
        near.into_iter()
            .filter_map(|begin| Some((instant(begin)?, instant(begin + self.length)?)))
            .collect()
    }

    /// Since when it lasts, if it does.
    pub(super) fn lasts(&self, at: Timestamp) -> Option<Timestamp> {
        let spans = self.spans(at).into_iter();
        spans.filter(|(from, to)| *from <= at && at < *to).map(|it| it.0).max()
    }

    /// Ends its rule after so many begins.
    ///
    /// # Errors
    /// There are more than can be counted.
    pub(super) fn end_after(&mut self, count: u32) -> Result<(), &'static str> {
        const COUNT_MAX: u32 = 5_000;
        if count > COUNT_MAX {
            return Err("COUNT is more than 5000");
        }
        let Some(rule) = self.rule.clone() else { return Ok(()) };
        // Those that are left out count.
        let whole = Self { except: Vec::new(), ..self.clone() };
        let (mut left, mut period, mut empty) = (count as usize, rule.period(self.begin), 0);
        let mut last = self.begin;
        while left > 0 {
            let mut begins = whole.begins(&rule, period);
            begins.sort_unstable();
            empty = if begins.is_empty() { empty + 1 } else { 0 };
            if empty > PERIODS_MAX {
                return Err("its rule never comes");
            }
            for begin in begins.into_iter().take(left) {
                (last, left) = (begin, left - 1);
            }
            period += rule.every;
        }
        self.rule = Some(Rule { until: Some(last), ..rule });
        Ok(())
    }
}
