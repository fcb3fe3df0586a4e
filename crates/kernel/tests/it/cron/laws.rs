//! `next` against a slow enumeration that knows nothing of it: every minute of several years, in
//! words of its own about what a zone's clock shows.

use kernel::Timestamp;
use kernel::cron::{Cron, DstRule, Zone};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Zones whose clocks are set: whole hours, half an hour, at midnight, around Ramadan, by a
/// standing exception, in the south.
const ZONES: [&str; 12] = [
    "Europe/Oslo",
    "Europe/London",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "America/Santiago",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Pacific/Auckland",
];

const MINUTE: i64 = 60_000;
/// 2024-01-01, 00:00 UTC, in minutes.
const BEGIN: i64 = 28_401_120;
/// Three years.
const END: i64 = BEGIN + 1096 * 1440;

/// An expression as sets, and as it is written.
#[derive(Clone, Debug)]
struct Case {
    text: String,
    minutes: Vec<i64>,
    hours: Vec<i64>,
    days: Option<Vec<i64>>,
    months: Option<Vec<i64>>,
    weekdays: Option<Vec<i64>>,
}

impl Case {
    fn matches_day(&self, day: i64) -> bool {
        let (month, of_month) = calendar(day);
        // 1970-01-01 was a Thursday; Sunday is 0.
        let weekday = (day + 4).rem_euclid(7);
        let within =
            |set: &Option<Vec<i64>>, value| set.as_ref().is_none_or(|s| s.contains(&value));
        within(&self.months, month)
            && within(&self.days, of_month)
            && within(&self.weekdays, weekday)
    }

    /// Whether a local minute, counted from 1970, is named.
    fn matches(&self, local: i64) -> bool {
        let of_day = local.rem_euclid(1440);
        self.minutes.contains(&(of_day % 60))
            && self.hours.contains(&(of_day / 60))
            && self.matches_day(local.div_euclid(1440))
    }
}

/// Month and day of a day counted from 1970.
fn calendar(day: i64) -> (i64, i64) {
    let (mut year, mut rest) = (1970, day);
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = if leap { 366 } else { 365 };
        if rest < length {
            let mut lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            lengths[1] += i64::from(leap);
            for (month, length) in (1..).zip(lengths) {
                if rest < length {
                    return (month, rest + 1);
                }
                rest -= length;
            }
        }
        rest -= length;
        year += 1;
    }
}

fn case() -> impl Strategy<Value = Case> {
    let set = |least: i64, most: i64, count| {
        proptest::collection::btree_set(least..=most, 1..count)
            .prop_map(|set| set.into_iter().collect::<Vec<i64>>())
    };
    let night = prop_oneof![3 => set(0, 4, 4), 1 => set(0, 23, 6), 1 => Just((0..24).collect())];
    let optional =
        |least, most| prop_oneof![2 => Just(None), 1 => set(least, most, 5).prop_map(Some)];
    (set(0, 59, 4), night, optional(1, 31), optional(1, 12), optional(0, 6)).prop_map(
        |(minutes, hours, days, months, weekdays)| {
            let list = |set: &[i64]| set.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
            let star = |set: &Option<Vec<i64>>| set.as_deref().map_or_else(|| "*".to_owned(), list);
            let text = format!(
                "0 {} {} {} {} {}",
                list(&minutes),
                list(&hours),
                star(&days),
                star(&months),
                star(&weekdays)
            );
            Case { text, minutes, hours, days, months, weekdays }
        },
    )
}

/// What a zone's clock shows, as minutes from UTC, for every quarter of an hour.
fn offsets(zone: &Zone) -> Vec<i64> {
    let at = |minute: i64| Timestamp::from_millis(minute * MINUTE);
    let number = |text: &str| text.parse::<i64>().expect("digits");
    (BEGIN..END)
        .step_by(15)
        .map(|minute| {
            let text = zone.offset_text(at(minute));
            let (hours, minutes) = text[1..].split_once(':').expect("hours and minutes");
            let size: i64 = number(hours) * 60 + number(minutes);
            if text.starts_with('-') { -size } else { size }
        })
        .collect()
}

/// Every firing from one day after the beginning on.
fn enumerate(case: &Case, offsets: &[i64], rule: DstRule) -> Vec<i64> {
    let shown = |minute: i64| minute + offsets[((minute - BEGIN) / 15) as usize];
    let mut found = Vec::new();
    for quarter in (BEGIN + 1440..END).step_by(15) {
        let before = shown(quarter - 1);
        let gap = shown(quarter) > before + 1;
        let hours = [before.div_euclid(60), shown(quarter + 14).div_euclid(60)];
        if !gap && !hours.iter().any(|hour| case.hours.contains(&hour.rem_euclid(24))) {
            continue;
        }
        for minute in quarter..quarter + 15 {
            let local = shown(minute);
            let named = case.matches(local);
            let fires = match rule {
                DstRule::Spring => {
                    // Half an hour is cut off an hour: of its rest only the first minute counts
                    // if the hour before was named.
                    let cut = |back| shown(minute - back) + back + 30 == local;
                    let cut_short = || local % 60 >= 30 && (1..=30).any(cut);
                    let hour_before = || {
                        let hour = (local.div_euclid(60) - 1) * 60;
                        case.hours.contains(&hour.div_euclid(60).rem_euclid(24))
                            && case.matches_day(hour.div_euclid(1440))
                    };
                    named
                        && !(local.rem_euclid(60) != case.minutes[0]
                            && cut_short()
                            && hour_before())
                }
                DstRule::Once if case.hours.len() == 24 => named,
                DstRule::Once => {
                    let shown_before = || (minute - 180..minute).any(|past| shown(past) == local);
                    let left_out = || {
                        let gone = shown(minute - 1) + 1..local;
                        gone.into_iter().any(|gone| case.matches(gone))
                    };
                    (named && !shown_before()) || left_out()
                }
            };
            if fires {
                found.push(minute);
            }
        }
    }
    found
}

#[test]
fn next_agrees_with_a_slow_enumeration() {
    // Cases without end are of no more use than these; the seed is fixed, so the time is too.
    let config = Config { cases: 8, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for name in ZONES {
        let zone = Zone::named(name).unwrap();
        let offsets = offsets(&zone);
        assert!(offsets.iter().any(|offset| *offset != offsets[0]), "{name} never changes");
        let mut runner = TestRunner::new_with_rng(config.clone(), random.clone());
        let probes = proptest::collection::vec(BEGIN + 1440..END, 50);
        let result = runner.run(&(case(), probes), |(case, probes)| {
            for rule in [DstRule::Once, DstRule::Spring] {
                check(&case, &probes, &zone, &offsets, rule)?;
            }
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

fn check(
    case: &Case,
    probes: &[i64],
    zone: &Zone,
    offsets: &[i64],
    rule: DstRule,
) -> Result<(), TestCaseError> {
    let cron = Cron::parse(&case.text).expect("it is well written");
    let expected = enumerate(case, offsets, rule);
    let changes = (97..offsets.len()).filter(|index| offsets[*index] != offsets[index - 1]);
    let around = changes.flat_map(|index| {
        let change = BEGIN + index as i64 * 15;
        (change - 180..change + 180).step_by(7)
    });
    for minute in around.chain(probes.iter().copied()).filter(|minute| *minute >= BEGIN + 1440) {
        let after = Timestamp::from_millis(minute * MINUTE);
        let index = expected.partition_point(|fired| *fired <= minute);
        // Beyond the end the enumeration knows nothing.
        let Some(expected) = expected.get(index) else { continue };
        let expected = Timestamp::from_millis(expected * MINUTE);
        let found = cron.next(after, zone, rule);
        prop_assert_eq!(found, Some(expected), "{} {:?} after {}", case.text, rule, after);
    }
    let start = Timestamp::from_millis((BEGIN + 1440) * MINUTE - 1);
    let mut from = start;
    for expected in expected.iter().take(1000) {
        let found = cron.next(from, zone, rule);
        let expected = Timestamp::from_millis(expected * MINUTE);
        prop_assert_eq!(found, Some(expected), "{} {:?} after {}", case.text, rule, from);
        from = expected;
    }
    Ok(())
}
