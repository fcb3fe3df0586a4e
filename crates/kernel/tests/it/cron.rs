//! Cron: the golden table, what is refused, rules for changes of the clock, bounded searches.

mod laws;
mod zones;

use kernel::Timestamp;
use kernel::cron::{Cron, DstRule, Mark, Zone};
use serde_json::Value;

fn at(text: &str) -> Timestamp {
    text.parse::<jiff::Timestamp>().expect("a timestamp").into()
}

fn zone(name: &str) -> Zone {
    Zone::named(name).expect("a zone")
}

fn chain(cron: &str, place: &str, rule: DstRule, from: &str, count: usize) -> Vec<String> {
    let (cron, place) = (Cron::parse(cron).expect("a cron expression"), zone(place));
    let mut found = Vec::new();
    let mut from = at(from);
    while found.len() < count
        && let Some(next) = cron.next(from, &place, rule)
    {
        found.push(next.to_string());
        from = next;
    }
    found
}

#[test]
fn spring_rule_answers_as_spring_does() {
    let rows: Vec<Value> = serde_json::from_str(include_str!("../golden/cron.json")).unwrap();
    assert_eq!(rows.len(), 100);
    for row in rows {
        let text = |key: &str| row[key].as_str().unwrap();
        let (cron, place, from) = (text("cron"), text("zone"), text("from"));
        let Some(expected) = row["spring_6_2_next"].as_array() else {
            let error = Cron::parse(cron).expect_err(cron);
            assert!(!error.hint.is_empty(), "{cron}");
            continue;
        };
        let mut expected: Vec<&str> =
            expected.iter().filter_map(Value::as_str).filter(|next| *next != "null").collect();
        // Spring's search for L-31 stands still, answering the instant that it was asked about.
        expected.dedup();
        let found = chain(cron, place, DstRule::Spring, from, expected.len().max(1));
        assert_eq!(found, expected, "{cron} in {place}");
    }
}

#[test]
fn a_time_in_a_gap_or_an_overlap_runs_once_by_default() {
    for (cron, place, from, expected) in [
        // 02:30 does not exist on 29 March: 03:00 is the first instant after.
        (
            "0 30 2 * * *",
            "Europe/Oslo",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        ),
        // Several times in one gap, and the one at its end, run together.
        (
            "0 */20 * * * *",
            "Europe/Oslo",
            "2026-03-29T00:30:00Z",
            ["2026-03-29T00:40:00Z", "2026-03-29T01:00:00Z"],
        ),
        (
            "0 30 2 * * *",
            "Europe/Oslo",
            "2026-10-24T12:00:00Z",
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        // Asked in the second pass of the overlap.
        (
            "0 30 2 * * *",
            "Europe/Oslo",
            "2026-10-25T01:10:00Z",
            ["2026-10-26T01:30:00Z", "2026-10-27T01:30:00Z"],
        ),
        // Half an hour; Spring itself never ends here.
        (
            "0 0 * * * *",
            "Australia/Lord_Howe",
            "2026-04-04T14:00:00Z",
            ["2026-04-04T15:30:00Z", "2026-04-04T16:30:00Z"],
        ),
        // The gap swallows midnight.
        (
            "0 0 0 * * *",
            "America/Havana",
            "2026-03-07T12:00:00Z",
            ["2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"],
        ),
        // A whole day that never was.
        (
            "0 0 12 30 12 *",
            "Pacific/Apia",
            "2011-12-01T00:00:00Z",
            ["2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"],
        ),
    ] {
        assert_eq!(chain(cron, place, DstRule::Once, from, 2), expected, "{cron} in {place}");
    }
}

#[test]
fn an_hourly_expression_runs_every_hour_that_passes() {
    // Autumn in Oslo: 02:15 comes twice, an hour apart.
    let found = chain("0 15 * * * *", "Europe/Oslo", DstRule::Once, "2026-10-24T23:30:00Z", 4);
    let expected = [
        "2026-10-25T00:15:00Z",
        "2026-10-25T01:15:00Z",
        "2026-10-25T02:15:00Z",
        "2026-10-25T03:15:00Z",
    ];
    assert_eq!(found, expected);
    // Spring: 02:15 never comes, and nothing runs in its place at 03:00.
    let found = chain("0 15 * * * *", "Europe/Oslo", DstRule::Once, "2026-03-28T23:30:00Z", 3);
    assert_eq!(found, ["2026-03-29T00:15:00Z", "2026-03-29T01:15:00Z", "2026-03-29T02:15:00Z"]);
    // Nor is a minute of the hour that comes twice left out.
    let found = chain("0 * * * * *", "Europe/Oslo", DstRule::Once, "2026-10-25T00:58:00Z", 4);
    let expected = [
        "2026-10-25T00:59:00Z",
        "2026-10-25T01:00:00Z",
        "2026-10-25T01:01:00Z",
        "2026-10-25T01:02:00Z",
    ];
    assert_eq!(found, expected);
}

#[test]
fn overlap_of_half_an_hour_repeats_under_the_spring_rule() {
    let found =
        chain("0 0 * * * *", "Australia/Lord_Howe", DstRule::Spring, "2026-04-04T14:30:00Z", 2);
    assert_eq!(found, ["2026-04-04T15:30:00Z", "2026-04-04T16:30:00Z"][..].to_vec());
    let found =
        chain("0 45 1 * * *", "Australia/Lord_Howe", DstRule::Spring, "2026-04-04T12:00:00Z", 2);
    assert_eq!(found, ["2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"]);
}

#[test]
fn what_never_comes_is_told_and_ends() {
    for cron in ["0 0 0 30 2 *", "0 0 0 31 2 *", "0 0 0 31 4,6,9,11 ?", "0 0 0 31 * MON#1"] {
        let parsed = Cron::parse(cron).unwrap();
        assert!(!parsed.ever_fires(), "{cron}");
        for rule in [DstRule::Once, DstRule::Spring] {
            for place in ["UTC", "Africa/Casablanca", "Australia/Lord_Howe"] {
                assert_eq!(parsed.next(at("2026-01-01T00:00:00Z"), &zone(place), rule), None);
            }
        }
    }
    let found = chain("0 0 0 29 2 MON", "UTC", DstRule::Once, "2026-01-01T00:00:00Z", 4);
    let expected = [
        "2044-02-29T00:00:00Z",
        "2072-02-29T00:00:00Z",
        "2112-02-29T00:00:00Z",
        "2140-02-29T00:00:00Z",
    ];
    assert_eq!(found, expected);
    let cron = Cron::parse("* * * * * *").unwrap();
    for rule in [DstRule::Once, DstRule::Spring] {
        assert_eq!(cron.next(Timestamp::MAX, &zone("Europe/Oslo"), rule), None);
        assert!(cron.next(at("9998-12-31T23:59:59Z"), &zone("Europe/Oslo"), rule).is_some());
    }
}

#[test]
fn an_error_tells_field_place_and_way_out() {
    for (cron, message) in [
        ("", "the cron expression is empty"),
        ("@noon", "'@noon' is not a known cron macro"),
        ("* * * * *", "a cron expression has 6 fields here, and this one has 5"),
        ("0 0 0 ? * ? *", "a cron expression has 6 fields here, and this one has 7"),
        ("0 61 * * * *", "minute '61' at character 2: 61 is not from 0 to 59"),
        ("0 0 1,,2 * * *", "hour '' at character 6: a number is missing"),
        ("0 0 22-2 * * *", "hour '22-2' at character 4: the range ends before it begins"),
        ("0/0 * * * * *", "second '0/0' at character 0: the step must be 1 or more"),
        ("? * * * * *", "second '?' at character 0: '?' is not a number"),
        ("0 0 0 * FOO *", "month 'FOO' at character 8: 'FOO' is neither a number nor a name"),
        (
            "0 0 0 * * MONDAY",
            "day of week 'MONDAY' at character 10: 'MONDAY' is neither a number nor a name",
        ),
        (
            "0 0 0 * * SAT-MON",
            "day of week 'SAT-MON' at character 10: the range ends before it begins",
        ),
        ("0 0 0 * * 8", "day of week '8' at character 10: 8 is not from 0 to 7"),
        ("0 0 0 * * L", "day of week 'L' at character 10: there is no day of the week before 'L'"),
        ("0 0 0 * * 5L2", "day of week '5L2' at character 10: there is something after 'L'"),
        (
            "0 0 0 * * MON#0",
            "day of week 'MON#0' at character 10: a month has one to five of each day",
        ),
        (
            "0 0 0 * * #2",
            "day of week '#2' at character 10: there is no day of the week before '#'",
        ),
        ("0 0 0 * * MON#", "day of week 'MON#' at character 10: the number after '#' is missing"),
        ("0 0 0 5L * *", "day of month '5L' at character 6: there is something before 'L'"),
        ("0 0 0 L-0 * *", "day of month 'L-0' at character 6: the offset must be 1 or more"),
        ("0 0 0 L3 * *", "day of month 'L3' at character 6: the offset after 'L' is not a number"),
        ("0 0 0 W * *", "day of month 'W' at character 6: there is no day before 'W'"),
        ("0 0 0 15W-20 * *", "day of month '15W-20' at character 6: there is something after 'W'"),
        ("0 0 0 1,32W * *", "day of month '32W' at character 8: 32 is not from 1 to 31"),
        ("0 0 0 1é * *", "day of month '1é' at character 6: '1é' is not a number"),
        ("0 -1 * * * *", "minute '-1' at character 2: a number is missing"),
        (
            "99999999999 * * * * *",
            "second '99999999999' at character 0: '99999999999' is not a number",
        ),
    ] {
        let error = Cron::parse(cron).expect_err(cron);
        assert_eq!(error.message, message);
        assert!(!error.hint.is_empty(), "{cron}");
    }
}

#[test]
fn five_fields_as_unix_reads_them() {
    let from = at("2026-02-26T10:15:30Z");
    for (cron, expected) in [
        ("*/5 * * * *", "2026-02-26T10:20:00Z"),
        ("0 9 * * MON-FRI", "2026-02-27T09:00:00Z"),
        // The 13th or a Friday, whichever is first.
        ("0 0 13 * FRI", "2026-02-27T00:00:00Z"),
        ("0 0 13 * *", "2026-03-13T00:00:00Z"),
        ("0 0 * * 0", "2026-03-01T00:00:00Z"),
        ("@daily", "2026-02-27T00:00:00Z"),
    ] {
        let parsed = Cron::parse_five(cron).expect(cron);
        let next = parsed.next(from, &Zone::utc(), DstRule::Once).unwrap();
        assert_eq!(next.to_string(), expected, "{cron}");
    }
    assert!(Cron::parse_five("0 * * * * *").unwrap_err().hint.contains("leave out the first"));
    // Whoever wrote five fields sees their own, not an example.
    assert!(Cron::parse("30 2 * * *").unwrap_err().hint.contains("\"0 30 2 * * *\""));
}

#[test]
fn zones_by_name_and_by_offset() {
    let noon = at("2026-07-01T12:00:00Z");
    for (name, hour) in [
        ("UTC", 12),
        ("Z", 12),
        ("Europe/Oslo", 14),
        ("+02:00", 14),
        ("UTC+2", 14),
        ("GMT-0330", 8),
    ] {
        assert_eq!(zone(name).local(noon).hour(), hour, "{name}");
    }
    for name in ["", "Europe/Olso", "+25:00", "UTC+", "+1:2", "../etc/passwd"] {
        assert!(Zone::named(name).is_err(), "{name}");
    }
}

#[test]
fn a_preview_marks_what_the_clock_does() {
    let told = |rule, from, until| {
        let cron = Cron::parse("0 30 2 * * *").unwrap();
        let found = cron.preview(at(from), at(until), &zone("Europe/Oslo"), rule, 10);
        found.into_iter().map(|line| (line.at.to_string(), line.mark)).collect::<Vec<_>>()
    };
    let named = "2026-03-29T02:30:00".parse().unwrap();
    let gap = ("2026-03-29T01:00:00Z".to_owned(), Mark::Delayed { named });
    let regular = ("2026-03-30T00:30:00Z".to_owned(), Mark::Regular);
    let spring = ("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
    assert_eq!(told(DstRule::Once, spring.0, spring.1), [gap, regular.clone()]);
    let left_out = ("2026-03-29T01:00:00Z".to_owned(), Mark::LeftOut);
    assert_eq!(told(DstRule::Spring, spring.0, spring.1), [left_out, regular]);
    let (from, until) = ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    let first = "2026-10-25T00:30:00Z".to_owned();
    assert_eq!(told(DstRule::Once, from, until), [(first.clone(), Mark::OnlyFirst)]);
    let again = ("2026-10-25T01:30:00Z".to_owned(), Mark::Again);
    assert_eq!(told(DstRule::Spring, from, until), [(first, Mark::First), again]);
}
