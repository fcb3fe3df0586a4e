//! Who is on call: turns, hours, overrides, gaps, and what holds for every roster.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kernel::Timestamp;
use kernel::alert::definition::roster::{By, Layer, Override, Person, Roster, Rotation, Shift};
use kernel::alert::definition::{Active, ChecklistOptions, File, Known, load, load_among};
use kernel::alert::{Supposed, who_is_told};
use proptest::prelude::*;

use super::bench::{Bench, START, spec_of};

const PEOPLE: &str = "receivers:\n  ann: { slack: \"https://a\" }\n  bo: { slack: \"https://b\" }\n  \
                      eve: { slack: \"https://e\" }\n  kim: { slack: \"https://k\" }\n  lee: { slack: \
                      \"https://l\" }\npeople: { ann: ann, bo: bo, eve: eve, kim: kim, lee: lee }\n";

fn roster(text: &str) -> Roster {
    let loaded = load(&format!("{PEOPLE}{text}"), &ChecklistOptions::default());
    loaded.file.unwrap_or_else(|| panic!("{:?}", loaded.problems)).roster
}

fn at(text: &str) -> Timestamp {
    text.parse::<jiff::Timestamp>().expect("an instant").into()
}

fn who(roster: &Roster, text: &str) -> String {
    roster.on_call("primary", at(text)).expect("it is there").people.join("+")
}

const WEEKLY: &str = r#"
rotations:
  primary:
    tz: Europe/Oslo
    layers:
      - { people: [ann, bo, eve], handover: "Mon 09:00", every: 1w, from: 2026-11-02 }
"#;

#[test]
fn turns_change_at_the_hour_of_the_wall_clock() {
    let roster = roster(WEEKLY);
    assert_eq!(who(&roster, "2026-11-02T07:59:59Z"), "", "before the first hand-over");
    assert_eq!(who(&roster, "2026-11-02T08:00:00Z"), "ann");
    assert_eq!(who(&roster, "2026-11-09T07:59:59Z"), "ann");
    assert_eq!(who(&roster, "2026-11-09T08:00:00Z"), "bo");
    // In summer 09:00 is an hour earlier in UTC.
    assert_eq!(who(&roster, "2027-03-29T06:59:59Z"), "eve");
    assert_eq!(who(&roster, "2027-03-29T07:00:00Z"), "ann");
    let shift = roster.on_call("primary", at("2027-03-25T00:00:00Z")).expect("it is there");
    assert_eq!(shift.since, Some(at("2027-03-22T08:00:00Z")));
    assert_eq!(shift.until, Some(at("2027-03-29T07:00:00Z")), "a week less an hour");
    assert_eq!((shift.layer, shift.by), (Some(0), By::Layer(0)));
}

#[test]
fn an_hour_that_comes_twice_is_one_turn() {
    // Hand-overs at 02:30, which the clock shows twice on 25 October 2026.
    let roster = roster(
        "rotations: { primary: { tz: Europe/Oslo, layers: [ { people: [ann, bo], every: 1d, \
         handover: \"02:30\", from: 2026-10-24 } ] } }",
    );
    let shown = ["00:29", "00:30", "00:59", "01:00", "01:29", "01:31"]
        .map(|time| who(&roster, &format!("2026-10-25T{time}:00Z")));
    assert_eq!(shown, ["ann", "bo", "bo", "bo", "bo", "bo"]);
}

#[test]
fn later_layers_win_within_their_hours_and_count_them() {
    let roster = roster(
        r#"
rotations:
  primary:
    layers:
      - { people: [ann] }
      - { people: [kim, lee], active: "Mon-Fri 00:00-09:00", every: 1d, count: active, from: 2026-11-02 }
"#,
    );
    // Monday 2 November; Friday is the fifth turn, Monday the sixth: the weekend does not count.
    let days = ["02", "03", "04", "05", "06", "07", "09"]
        .map(|day| who(&roster, &format!("2026-11-{day}T05:00:00Z")));
    assert_eq!(days, ["kim", "lee", "kim", "lee", "kim", "ann", "lee"]);
    assert_eq!(who(&roster, "2026-11-02T09:00:00Z"), "ann");
    let all = roster.shifts("primary", at("2026-11-02T00:00:00Z"), at("2026-11-04T00:00:00Z"));
    let shown: Vec<String> = all.iter().map(|it| it.people.join("+")).collect();
    assert_eq!(shown, ["kim", "ann", "lee", "ann"]);
}

#[test]
fn hours_beyond_midnight_belong_to_the_turn_in_which_they_begin() {
    let roster = roster(
        r#"
rotations:
  primary:
    else: []
    layers:
      - { people: [ann, bo], active: "Sat,Sun 22:00-06:00", every: 1d, count: active, from: 2026-11-02 }
"#,
    );
    // The night of Saturday is the first that counts, that of Sunday the second.
    assert_eq!(who(&roster, "2026-11-07T23:00:00Z"), "ann");
    assert_eq!(who(&roster, "2026-11-08T05:59:00Z"), "ann");
    assert_eq!(who(&roster, "2026-11-08T22:00:00Z"), "bo");
    assert_eq!(who(&roster, "2026-11-14T22:00:00Z"), "ann");
    assert_eq!(who(&roster, "2026-11-10T12:00:00Z"), "");
}

#[test]
fn an_override_stands_in_and_the_one_after_is_somebody_else() {
    let text = format!(
        "{WEEKLY}overrides: [ {{ rotation: primary, who: bo, from: \"2026-11-03 09:00\", to: \
         \"2026-11-04 09:00\" }} ]\n"
    );
    let roster = roster(&text);
    let noon = at("2026-11-03T12:00:00Z");
    let shift = roster.on_call("primary", noon).expect("it is there");
    assert_eq!((shift.people.join(" "), shift.by), ("bo".to_owned(), By::Override(0)));
    assert_eq!(shift.until, Some(at("2026-11-04T08:00:00Z")));
    let next = |to: &str, at| roster.call(to, at).expect("a rotation").people.join("+");
    assert_eq!(next("oncall:primary+1", noon), "ann", "whom bo stands in for");
    assert_eq!(next("oncall:primary+2", noon), "eve");
    assert_eq!(next("oncall:primary+9", noon), "eve", "the last rather than nobody");
    assert_eq!(next("oncall:primary+1", at("2026-11-05T12:00:00Z")), "bo");
    assert!(roster.call("noc", noon).is_none(), "a receiver");
}

#[test]
fn in_a_gap_everybody_is_called_unless_nobody_is_meant() {
    let early = at("2026-11-01T00:00:00Z");
    let gap = roster(WEEKLY);
    let called = gap.call("oncall:primary", early).expect("a rotation");
    assert_eq!(called.people.join(" "), "ann bo eve");
    assert_eq!(called.contacts.len(), 3);
    let meant = roster(&WEEKLY.replace("    layers:", "    else: []\n    layers:"));
    assert!(meant.call("oncall:primary", early).expect("a rotation").people.is_empty());
    assert!(meant.gaps("primary", early, at("2027-11-01T00:00:00Z")).is_empty());
    let gaps = gap.gaps("primary", early, at("2027-11-01T00:00:00Z"));
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].from, gaps[0].to), (early, at("2026-11-02T08:00:00Z")));
}

#[test]
fn a_gap_within_180_days_is_a_finding_and_a_later_one_is_none() {
    let text = format!("{PEOPLE}{WEEKLY}routes: [ {{ to: \"oncall:primary\" }} ]\n");
    let found = |now: Option<&str>, text: &str| -> Vec<String> {
        let known = Known { now: now.map(at), ..Known::default() };
        let loaded = load_among(text, &ChecklistOptions::default(), &known);
        assert!(loaded.file.is_some(), "{:?}", loaded.problems);
        let gaps = loaded.problems.iter().filter(|it| it.code == "oncall-gap");
        gaps.map(|it| format!("{} {}", it.line, it.message)).collect()
    };
    let told = found(Some("2026-10-30T00:00:00Z"), &text);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("2026-10-30T00:00:00Z until 2026-11-02T08:00:00Z"), "{told:?}");
    assert!(found(Some("2026-11-03T00:00:00Z"), &text).is_empty());
    assert!(found(None, &text).is_empty(), "nobody said when it is");
    let filled = text.replace("    layers:", "    else: ann\n    layers:");
    assert!(found(Some("2026-10-30T00:00:00Z"), &filled).is_empty());
}

#[test]
fn mistakes_are_told_with_what_to_write() {
    let wrong = |text: &str, expected: &str| {
        let loaded = load(&format!("{PEOPLE}{text}"), &ChecklistOptions::default());
        let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        assert!(loaded.file.is_none(), "{text} is taken");
        assert!(told.iter().any(|it| it.contains(expected)), "{text}: {told:?}");
    };
    let layer = |layer: &str| format!("rotations: {{ p: {{ layers: [ {layer} ] }} }}");
    wrong("routes: [ { to: \"oncall:primray\" } ]", "there is no rotation \"primray\"");
    wrong(&layer("{ people: [anne] }"), "there is no person \"anne\"; is ann meant?");
    wrong(&layer("{ people: [ann, bo] }"), "from says when the first of them begins");
    wrong(&layer("{ people: [ann, bo], from: 2026-11-02, every: 90m }"), "whole hours");
    wrong(
        &layer("{ people: [ann, bo], from: 2026-11-02, every: 1d, handover: \"Mon 09:00\" }"),
        "turns are whole weeks",
    );
    wrong(&layer("{ people: [ann, bo], from: soon }"), "no date");
    wrong(&layer("{ people: [ann], count: active }"), "needs active hours");
    wrong(&layer("{ people: [ann], active: \"night\" }"), "no hours");
    wrong("rotations: { p: {} }", "a rotation needs layers");
    wrong("overrides: [ { rotation: q, who: ann, from: x, to: y } ]", "there is no rotation \"q\"");
    wrong(
        &format!(
            "{}\noverrides: [ {{ rotation: p, who: ann, from: 2026-11-03, to: 2026-11-02 }} ]",
            layer("{ people: [ann] }")
        ),
        "ends before it begins",
    );
    let person = |text: &str, expected: &str| {
        let loaded = load(text, &ChecklistOptions::default());
        let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|it| it.contains(expected)), "{text}: {told:?}");
    };
    person("people: { ann: phone }", "there is no receiver \"phone\"");
    person("people: { ann: {} }", "a person needs contact");
    person("receivers: { \"oncall:x\": { slack: s } }", "names that begin with oncall:");
    person("receivers: { a: { slack: s, fallback: \"oncall:x\" } }", "there is no receiver");
}

const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Oslo",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kathmandu",
];
const HOURS: [&str; 6] = [
    "Mon-Fri 09:00-17:00",
    "00:00-24:00",
    "22:00-06:00",
    "Sat,Sun 00:00-24:00",
    "02:00-03:00",
    "Mon 00:00-12:00",
];

fn layer() -> impl Strategy<Value = Layer> {
    let people = prop::collection::vec(prop::sample::select(vec!["ann", "bo", "eve", "kim"]), 1..4);
    let every = prop::sample::select(vec![1_i64, 5, 8, 12, 24, 48, 7 * 24, 14 * 24]);
    let hours = prop::collection::vec(prop::sample::select(HOURS.to_vec()), 0..3);
    // First hand-overs between 2024 and 2027, at any minute.
    (people, 28_401_120_i64..29_980_000, every, hours, any::<bool>()).prop_map(
        |(people, first, every, hours, count)| Layer {
            people: people.into_iter().map(Into::into).collect(),
            first: Some(first),
            every: every * 60,
            count_active: count && !hours.is_empty(),
            active: hours.iter().map(|it| Active::parse(it).expect("hours")).collect(),
        },
    )
}

const CALENDAR: &str = "BEGIN:VCALENDAR\r
VERSION:2.0\r
BEGIN:VTIMEZONE\r
TZID:Europe/Oslo\r
BEGIN:STANDARD\r
DTSTART:19701025T030000\r
END:STANDARD\r
END:VTIMEZONE\r
BEGIN:VEVENT\r
UID:week\r
SUMMARY:Ann\r
  Olsen\r
DTSTART;TZID=Europe/Oslo:20261102T090000\r
DTEND;TZID=Europe/Oslo:20261102T170000\r
RRULE:FREQ=WEEKLY;BYDAY=MO,WE;COUNT=5\r
EXDATE;TZID=Europe/Oslo:20261104T090000\r
BEGIN:VALARM\r
TRIGGER:-PT15M\r
SUMMARY:nobody\r
END:VALARM\r
END:VEVENT\r
BEGIN:VEVENT\r
UID:week\r
RECURRENCE-ID;TZID=Europe/Oslo:20261109T090000\r
SUMMARY:bo\r
DTSTART:20261109T100000Z\r
DURATION:PT1H30M\r
END:VEVENT\r
BEGIN:VEVENT\r
UID:month\r
SUMMARY:[L1] bo\\, eve\r
DTSTART;VALUE=DATE:20261130\r
RRULE:FREQ=MONTHLY;BYDAY=-1MO;UNTIL=20270131\r
END:VEVENT\r
END:VCALENDAR\r
";

fn calendar_file(more: &str) -> String {
    let text = serde_json::Value::from(
        CALENDAR.replace("BEGIN:VEVENT\r\nUID:month", &format!("{more}BEGIN:VEVENT\r\nUID:month")),
    );
    format!(
        "receivers: {{ x: {{ slack: \"https://s\" }} }}\npeople: {{ ann: x, bo: x, eve: x }}\n\
         rotations: {{ primary: {{ tz: Europe/Oslo, ics: {text}, names: {{ \"Ann Olsen\": ann }}, else: eve }} }}\n\
         routes: [ {{ to: \"oncall:primary\" }} ]\n"
    )
}

#[test]
fn a_calendar_decides_where_it_has_events() {
    let loaded = load(&calendar_file(""), &ChecklistOptions::default());
    let file = loaded.file.unwrap_or_else(|| panic!("{:#?}", loaded.problems));
    let at = |text: &str| text.parse::<jiff::Timestamp>().expect("an instant").into();
    let shifts =
        file.roster.shifts("primary", at("2026-11-02T00:00:00Z"), at("2027-03-01T00:00:00Z"));
    let told = shifts.iter().filter(|it| it.by == By::Calendar).map(|it| {
        let edge = |at: Option<Timestamp>| at.expect("cut to it").to_string();
        format!("{} {} {}", edge(it.since), edge(it.until), it.people.join("+"))
    });
    let expected = [
        "2026-11-02T08:00:00Z 2026-11-02T16:00:00Z ann",
        // The fourth is left out, the ninth was moved.
        "2026-11-09T10:00:00Z 2026-11-09T11:30:00Z bo",
        "2026-11-11T08:00:00Z 2026-11-11T16:00:00Z ann",
        // The fifth is the last.
        "2026-11-16T08:00:00Z 2026-11-16T16:00:00Z ann",
        "2026-11-29T23:00:00Z 2026-11-30T23:00:00Z bo+eve",
        "2026-12-27T23:00:00Z 2026-12-28T23:00:00Z bo+eve",
        "2027-01-24T23:00:00Z 2027-01-25T23:00:00Z bo+eve",
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    let whole = shifts.windows(2).all(|pair| pair[0].until == pair[1].since);
    assert!(whole, "between the events it is as `else` says: {shifts:#?}");
    let shift = file.roster.on_call("primary", at("2026-11-12T00:00:00Z")).expect("it is there");
    assert_eq!(shift.by, By::Otherwise);
    assert_eq!(shift.since, Some(at("2026-11-11T16:00:00Z")));
    assert_eq!(shift.until, Some(at("2026-11-16T08:00:00Z")));
}

#[test]
fn what_of_a_calendar_cannot_be_expanded_is_refused_by_name() {
    let event = |lines: &str| {
        format!(
            "BEGIN:VEVENT\r\nSUMMARY:bo\r\nDTSTART:20261102T090000Z\r\n{lines}\r\nEND:VEVENT\r\n"
        )
    };
    let hour = "DTEND:20261102T100000Z\r\n";
    for (lines, why) in [
        (format!("{hour}RRULE:FREQ=YEARLY"), "FREQ=YEARLY"),
        (format!("{hour}RRULE:FREQ=DAILY;BYHOUR=9,10"), "BYHOUR=9,10"),
        (format!("{hour}RRULE:FREQ=WEEKLY;BYDAY=1MO"), "are for MONTHLY"),
        (format!("{hour}RDATE:20261103T090000Z"), "RDATE"),
        ("DTEND:20261102T080000Z".to_owned(), "ends before it begins"),
        (
            "DTEND;TZID=W. Europe Standard Time:20261102T100000".to_owned(),
            "W. Europe Standard Time",
        ),
        ("X:1".to_owned(), "neither DTEND nor DURATION"),
        (format!("{hour}EXDATE:soon"), "\"soon\" is no time"),
    ] {
        let loaded = load(&calendar_file(&event(&lines)), &ChecklistOptions::default());
        let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        let is_said = told.iter().any(|it| {
            it.contains("rotations.primary.ics")
                && it.contains("20261102T090000Z")
                && it.contains(why)
        });
        assert!(loaded.file.is_none() && is_said, "{lines}: {told:#?}");
    }
    for text in ["", "BEGIN:VCALENDAR", "BEGIN:VCALENDAR\nEND:VEVENT", "BEGIN:VCALENDAR\nx"] {
        let read = kernel::alert::definition::roster::read_calendar(text, "UTC", &|name| {
            name.to_owned().into()
        });
        assert!(read.is_err(), "{text}");
    }
}

fn any_roster() -> impl Strategy<Value = Roster> {
    let stand_in = (1_700_000_000_i64..1_830_000_000, 1_i64..3_000_000, 0..3_usize);
    let overrides = prop::collection::vec(stand_in, 0..3);
    let zone = prop::sample::select(ZONES.to_vec());
    let otherwise = prop::option::of(prop::sample::select(vec![vec![], vec!["ann"]]));
    (prop::collection::vec(layer(), 1..4), zone, otherwise, overrides).prop_map(
        |(layers, zone, otherwise, overrides)| {
            let otherwise = otherwise.map(|it| it.into_iter().map(Into::into).collect());
            let rotation = Rotation { tz: zone.into(), layers, otherwise, ..Rotation::default() };
            let overrides = overrides.into_iter().map(|(from, length, who)| Override {
                rotation: "primary".into(),
                who: vec![["ann", "bo", "lee"][who].into()],
                from: Timestamp::from_millis(from * 1000),
                to: Timestamp::from_millis((from + length) * 1000),
            });
            Roster {
                people: ["ann", "bo", "eve", "kim", "lee"]
                    .map(|name| (name.into(), Person::default()))
                    .into(),
                rotations: [("primary".into(), rotation)].into(),
                overrides: overrides.collect(),
            }
        },
    )
}

fn same(one: &Shift, other: &Shift) -> bool {
    one.people == other.people && one.by == other.by
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// A shift is what everybody is told who asks within it, and ends where somebody else, or
    /// something else, takes over.
    #[test]
    fn every_instant_has_one_shift(roster in any_roster(), second in 1_704_000_000_i64..1_830_000_000, parts in prop::collection::vec(0.0..1.0_f64, 8)) {
        let now = Timestamp::from_millis(second * 1000);
        let ask = |at: Timestamp| roster.on_call("primary", at).expect("it is there");
        let shift = ask(now);
        let since = shift.since.unwrap_or(now.plus_millis(-400 * 86_400_000));
        let until = shift.until.unwrap_or(now.plus_millis(400 * 86_400_000));
        prop_assert!(since <= now && now < until);
        for part in parts {
            let offset = (until.since(since) as f64 * part) as i64;
            let within = since.plus_millis(offset.min(until.since(since) - 1));
            let other = ask(within);
            prop_assert!(same(&other, &shift), "{within}: {other:?} within {shift:?}");
            prop_assert_eq!((other.since, other.until), (shift.since, shift.until));
        }
        if shift.until.is_some() {
            prop_assert!(!same(&ask(until), &shift), "{shift:?} goes on at its end");
        }
        if shift.since.is_some() {
            prop_assert!(!same(&ask(since.plus_millis(-1)), &shift), "{shift:?} begins earlier");
        }
    }

    /// The shifts of a stretch of time leave nothing out, and each instant finds itself in the one
    /// that the question for it finds; gaps are those of nobody.
    #[test]
    fn shifts_cover_all_time(roster in any_roster(), second in 1_704_000_000_i64..1_830_000_000, probes in prop::collection::vec(0_i64..30 * 86_400, 12)) {
        let from = Timestamp::from_millis(second * 1000);
        let to = from.plus_millis(30 * 86_400_000);
        let shifts = roster.shifts("primary", from, to);
        prop_assert_eq!(shifts.first().and_then(|it| it.since), Some(from));
        prop_assert_eq!(shifts.last().and_then(|it| it.until), Some(to));
        for pair in shifts.windows(2) {
            prop_assert_eq!(pair[0].until, pair[1].since);
            prop_assert!(!same(&pair[0], &pair[1]));
        }
        let gaps = roster.gaps("primary", from, to);
        for probe in probes {
            let at = from.plus_millis(probe * 1000);
            let asked = roster.on_call("primary", at).expect("it is there");
            let listed = shifts.iter().find(|it| it.since <= Some(at) && Some(at) < it.until);
            prop_assert!(listed.is_some_and(|it| same(it, &asked)), "{at}: {asked:?}");
            let in_gap = gaps.iter().any(|gap| gap.from <= at && at < gap.to);
            prop_assert_eq!(in_gap, asked.by == By::Gap);
        }
    }
}

/// A file whose rotation hands over within the hours that the test goes through.
fn routed(order: &[usize], hour: u32, after: [u32; 2], step: u32) -> String {
    let mut text = String::from("receivers:\n");
    let names = ["ann", "bo", "eve"];
    for name in names {
        let _ = writeln!(text, "  {name}-chat: {{ slack: \"https://{name}\" }}");
        let _ = writeln!(text, "  {name}-call: {{ pagerduty: {name} }}");
    }
    text.push_str("people:\n");
    for name in names {
        let _ = writeln!(
            text,
            "  {name}: {{ contact: [ {name}-chat, {{ to: {name}-call, after: {}m }} ] }}",
            after[0]
        );
    }
    let people: Vec<&str> = order.iter().map(|at| names[*at]).collect();
    let _ = writeln!(
        text,
        "rotations: {{ primary: {{ layers: [ {{ people: [{}], every: 1h, handover: \"00:{:02}\", from: \
         2025-12-31 }} ] }} }}\nroutes: [ {{ steps: [ {{ to: \"oncall:primary\" }}, {{ to: \
         \"oncall:primary+1\", after: {}m }}, {{ to: \"oncall:primary\", after: {}m }} ] }} ]\nmonitors:\n  \
         net: {{ influx: {{ server: \"http://m\", flux: q }}, every: 1m, per: [host], fail_when: rows > 0 }}",
        people.join(", "),
        hour % 60,
        after[1],
        after[1] + step,
    );
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whom the preview names, and when, is whom the monitor tells.
    #[test]
    fn the_preview_is_what_is_told(
        order in prop::sample::subsequence(vec![0_usize, 1, 2], 1..=3),
        minute in 0_u32..60,
        rung in 1_u32..20,
        step in 1_u32..60,
        more in 1_u32..60,
        after in 1_u32..150,
    ) {
        let text = routed(&order, minute, [rung, step], more);
        let loaded = load(&text, &ChecklistOptions::default());
        let file: File = loaded.file.unwrap_or_else(|| panic!("{:?}", loaded.problems));
        let mut bench = Bench::new(vec![spec_of(&text)]);
        bench.step("see a=fail");
        bench.step("run 5m");
        let opened = bench.monitor.incidents["a"].told_from.expect("it is told");
        bench.step(&format!("run {}m", 5 + after));
        let supposed = Supposed { monitor: Some("net".into()), key: "a".into(), at: opened, ..Supposed::default() };
        let preview = who_is_told(&file, &supposed).expect("the monitor is there");
        let mut expected: BTreeSet<(String, String)> = BTreeSet::new();
        for step in &preview.steps {
            for contact in step.on_call.iter().flat_map(|it| &it.contacts) {
                if opened.plus_millis(step.after + contact.after) <= bench.now {
                    expected.insert((contact.to.to_string(), contact.person.to_string()));
                }
            }
        }
        let told: BTreeSet<(String, String)> = bench.monitor.incidents["a"]
            .told
            .iter()
            .flat_map(|(to, told)| told.people.iter().map(move |it| (to.to_string(), it.to_string())))
            .collect();
        prop_assert!(bench.now > START);
        prop_assert_eq!(told, expected);
    }
}
