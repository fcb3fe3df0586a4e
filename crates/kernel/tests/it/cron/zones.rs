//! `next` against a walk from minute to minute, with the tables and the arithmetic of another library
//! (`chrono-tz`): for every zone and every change of its clock.
//!
//! The walk knows nothing of the search that it checks. Where the two libraries have tables of
//! different years, and so disagree on what the clock shows, nothing is compared; such zones are
//! counted, and must be few.
//!
//! All changes of ten years take some minutes: `cargo test -p kernel --test it every_change -- --ignored`.

use std::collections::HashMap;

use chrono::{Offset, TimeZone, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use kernel::Timestamp;
use kernel::alert::definition::{Clock, Schedule};
use kernel::cron::{Cron, DstRule, Zone};

const MINUTE: i64 = 60_000;
const DAY: i64 = 1440;
/// Minutes that are walked before and after a change.
const AROUND: i64 = 27 * 60;

/// An expression as it is written, and which minutes and hours it names; every day, or Sundays.
struct Case {
    text: &'static str,
    minutes: fn(i64) -> bool,
    hours: fn(i64) -> bool,
    sundays: bool,
}

const fn case(text: &'static str, minutes: fn(i64) -> bool, hours: fn(i64) -> bool) -> Case {
    Case { text, minutes, hours, sundays: false }
}

const CASES: [Case; 12] = [
    case("0 15 * * * *", |it| it == 15, |_| true),
    case("0 0 * * * *", |it| it == 0, |_| true),
    case("0 */20 * * * *", |it| it % 20 == 0, |_| true),
    case("0 0 0 * * *", |it| it == 0, |it| it == 0),
    case("0 30 2 * * *", |it| it == 30, |it| it == 2),
    case("0 0 3 * * *", |it| it == 0, |it| it == 3),
    case("0 45 1 * * *", |it| it == 45, |it| it == 1),
    case("0 59 23 * * *", |it| it == 59, |it| it == 23),
    case("0 5 */2 * * *", |it| it == 5, |it| it % 2 == 0),
    case("0 0,30 1-3 * * *", |it| it % 30 == 0, |it| (1..=3).contains(&it)),
    case("0 10 0-22 * * *", |it| it == 10, |it| it < 23),
    Case { text: "0 30 2 * * SUN", minutes: |it| it == 30, hours: |it| it == 2, sundays: true },
];

impl Case {
    /// Whether a local minute, counted from 1970, is named.
    fn names(&self, local: i64) -> bool {
        let of_day = local.rem_euclid(DAY);
        // 1970-01-01 was a Thursday.
        let sunday = (local.div_euclid(DAY) + 4).rem_euclid(7) == 0;
        (self.minutes)(of_day % 60) && (self.hours)(of_day / 60) && (sunday || !self.sundays)
    }

    fn is_hourly(&self) -> bool {
        (0..24).all(self.hours)
    }

    /// The minutes, counted from 1970, at which it fires while the clock shows `shown` from `start`.
    fn fires(&self, start: i64, shown: &[i64], rule: DstRule) -> Vec<i64> {
        let mut fired = Vec::new();
        let mut latest = shown[0] - 1;
        for (minute, local) in (start..).zip(shown) {
            let as_shown = rule == DstRule::Spring || self.is_hourly();
            let first_time = *local > latest;
            let left_out = || (latest + 1..*local).any(|local| self.names(local));
            if as_shown && self.names(*local)
                || !as_shown && first_time && (self.names(*local) || left_out())
            {
                fired.push(minute);
            }
            latest = latest.max(*local);
        }
        fired
    }
}

/// Minutes from UTC, by the other library.
fn offset(zone: Tz, minute: i64) -> i64 {
    let at = Utc.timestamp_opt(minute * 60, 0).single().expect("a time");
    i64::from(zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()) / 60
}

/// The same, by ours.
fn own_offset(zone: &Zone, minute: i64) -> i64 {
    let at = Timestamp::from_millis(minute * MINUTE);
    let local = zone.local(at).to_zoned(jiff::tz::TimeZone::UTC).expect("a time");
    (local.timestamp().as_second() - minute * 60) / 60
}

/// The first minutes after changes of a zone's clock.
fn changes(zone: Tz, years: std::ops::Range<i32>) -> Vec<i64> {
    let begin = |year| {
        let at = Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).single().expect("a year");
        at.timestamp() / 60
    };
    let (start, end) = (begin(years.start), begin(years.end));
    let mut found = Vec::new();
    for day in (start..end).step_by(DAY as usize) {
        let (mut before, mut after) = (day, day + DAY);
        if offset(zone, before) == offset(zone, after) {
            continue;
        }
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if offset(zone, middle) == offset(zone, day) {
                before = middle;
            } else {
                after = middle;
            }
        }
        found.push(after);
    }
    found
}

/// What is expected around a change: the same for all zones whose clocks do the same.
type Expected = HashMap<(i64, i64, i64), Vec<[Vec<i64>; 2]>>;

/// How many changes were compared, and how many were not because the tables differ.
fn compare(years: std::ops::Range<i32>) -> (usize, usize) {
    let crons = CASES.map(|case| Cron::parse(case.text).expect(case.text));
    let mut expected = Expected::new();
    let (mut compared, mut differing) = (0, 0);
    for other in TZ_VARIANTS {
        let name = other.name();
        let zone = Zone::named(name).unwrap_or_else(|_| panic!("{name} is not known"));
        for change in changes(other, years.clone()) {
            let (start, end) = (change - AROUND, change + AROUND);
            let agree = |minute| own_offset(&zone, minute) == offset(other, minute);
            let quarters = (start..end).step_by(15);
            if !quarters.chain([change - 1, change]).all(agree) {
                differing += 1;
                continue;
            }
            let (before, after) = (offset(other, change - 1), offset(other, change));
            let expected = expected.entry((change, before, after)).or_insert_with(|| {
                let shown: Vec<i64> =
                    (start..end).map(|minute| minute + offset(other, minute)).collect();
                let both = [DstRule::Once, DstRule::Spring];
                CASES.iter().map(|case| both.map(|rule| case.fires(start, &shown, rule))).collect()
            });
            // Spring's search goes astray where a gap ends within an hour; the golden table has that.
            let astray = after > before && (change + after).rem_euclid(60) != 0;
            for ((case, cron), [once, spring]) in CASES.iter().zip(&crons).zip(&*expected) {
                let rules = [(DstRule::Once, once), (DstRule::Spring, spring)];
                for (rule, expected) in rules.into_iter().take(if astray { 1 } else { 2 }) {
                    let next = |from| cron.next(from, &zone, rule);
                    let found = chain(start, end, next);
                    assert_eq!(&found, expected, "{} {rule:?} in {name}, {change}", case.text);
                }
            }
            // A monitor's time of day is the same as a cron expression of one time of day.
            let at = Clock::from_minutes(150);
            let daily = Schedule { at, tz: name.into(), ..Schedule::default() };
            let found = chain(start, end, |from| daily.next_after(from, 0));
            assert_eq!(found, expected[4][0], "at: 02:30 in {name}, {change}");
            compared += 1;
        }
    }
    (compared, differing)
}

/// Firings from `start` on and before `end`, in minutes from 1970.
fn chain(start: i64, end: i64, next: impl Fn(Timestamp) -> Option<Timestamp>) -> Vec<i64> {
    let mut found = Vec::new();
    let mut from = Timestamp::from_millis(start * MINUTE - 1);
    while let Some(at) = next(from).filter(|at| at.millis() < end * MINUTE) {
        assert_eq!(at.millis() % MINUTE, 0, "a whole minute");
        found.push(at.millis() / MINUTE);
        from = at;
    }
    found
}

#[test]
fn every_zone_agrees_with_another_library_in_a_year() {
    let (compared, differing) = compare(2026..2027);
    assert!(compared > 300, "{compared} changes");
    assert!(
        differing * 20 < compared,
        "{differing} of {compared} changes are unlike in the tables"
    );
}

#[test]
#[ignore = "takes minutes: every change of ten years"]
fn every_change_of_ten_years_agrees_with_another_library() {
    let (compared, differing) = compare(2021..2031);
    println!("{compared} changes agree; of {differing} the tables say different things");
    assert!(compared > 3000, "{compared} changes");
    assert!(
        differing * 20 < compared,
        "{differing} of {compared} changes are unlike in the tables"
    );
}
