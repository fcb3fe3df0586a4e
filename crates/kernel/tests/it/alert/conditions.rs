//! Conditions have three values: they hold, they do not, or nobody can tell.

use std::collections::BTreeSet;

use kernel::Json;
use kernel::alert::definition::{Kind, MonitorDef};
use kernel::alert::{Condition, Status, read};
use serde_json::{Value, json};

/// What a condition says of a row beside which there are others.
fn says(condition: &str, row: &Value) -> Result<bool, String> {
    let columns: BTreeSet<String> =
        ["loss", "host", "note", "rows", "tags", "ok"].map(str::to_owned).into();
    let condition = Condition::parse(condition).unwrap_or_else(|why| panic!("{condition}: {why}"));
    condition.holds(row.as_object().expect("a row"), &columns)
}

#[test]
fn a_condition_holds_does_not_hold_or_is_unknown() {
    let row = json!({ "loss": 60, "host": "G44", "note": null, "ok": true, "tags": ["a", "b"],
        "attrs": { "rtt.max": 9, "text5": "5", "json": { "deep": [1, { "x": 2 }] } } });
    let cases = [
        ("loss >= 50", Some(true)),
        ("loss < 50", Some(false)),
        ("loss > 15%", Some(true)),
        ("text5 < 10", Some(true)),
        ("host == 'G44' and not loss < 5", Some(true)),
        ("host > 'A'", Some(true)),
        ("tags contains a", None),
        ("tags contains 'a'", Some(true)),
        ("tags == 2", Some(true)),
        ("json.deep.1.x == 2", Some(true)),
        ("rtt.max == 9", Some(true)),
        ("ok", Some(true)),
        ("not ok", Some(false)),
        ("ok == true", Some(true)),
        // A name that is not there, in either way.
        ("vlaue == 0", None),
        ("not vlaue", None),
        ("json.shallow == 1", None),
        // A null is no value.
        ("note == 'x'", None),
        ("note != 'x'", None),
        ("note", None),
        // Values of different kinds.
        ("loss == 'n/a'", None),
        ("loss > 'much'", None),
        ("host > 5", None),
        ("host contains 4", None),
        ("ok == 1", None),
        // Where one side suffices, it decides.
        ("loss >= 50 or vlaue == 0", Some(true)),
        ("vlaue == 0 or loss >= 50", Some(true)),
        ("loss < 50 and vlaue == 0", Some(false)),
        ("vlaue == 0 and loss < 50", Some(false)),
        ("loss < 50 or vlaue == 0", None),
        ("loss >= 50 and vlaue == 0", None),
        ("not (loss >= 50 and vlaue == 0)", None),
        // What asks whether there is a value.
        ("note is null", Some(true)),
        ("note is not null", Some(false)),
        ("note == null", Some(true)),
        ("loss != null", Some(true)),
        ("rows is null", Some(true)),
        ("vlaue is null", None),
        ("exists(loss)", Some(true)),
        ("exists(note)", Some(false)),
        ("not exists(vlaue)", Some(true)),
        ("exists(vlaue) and vlaue > 3", Some(false)),
        ("note is not null and note > 3", Some(false)),
    ];
    let wrong: Vec<_> = cases
        .into_iter()
        .map(|(condition, expected)| (condition, expected, says(condition, &row)))
        .filter(|(_, expected, found)| found.clone().ok() != *expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_keeps_a_condition_from_being_judged_is_told() {
    let row = json!({ "loss": 60, "host": "G44", "note": null });
    let cases = [
        (
            "los >= 50",
            "there is no column \"los\"; there are host, loss, note, ok, rows, tags; is loss meant?",
        ),
        ("tags == 1", "a row has no tags"),
        ("note > 1", "note is null"),
        ("loss > 'much'", "loss (the number 60) cannot be compared with the text \"much\""),
        ("host contains 4", "host (the text \"G44\") cannot contain the number 4"),
    ];
    for (condition, expected) in cases {
        assert_eq!(says(condition, &row), Err(expected.to_owned()), "{condition}");
    }
}

#[test]
fn what_can_never_be_judged_is_refused() {
    for (condition, expected) in [
        ("loss > '15%'", "\"15%\" in quotes is a text; write 15%"),
        ("loss > null", "null compares with nothing; write such as x is null"),
        ("loss is 5", "after is comes null or not null"),
        ("exists(loss", "exists(…) takes one name"),
    ] {
        assert_eq!(Condition::parse(condition), Err(expected.to_owned()), "{condition}");
    }
}

/// What a check says that returned these rows.
fn reading(fail_when: &str, rows: &Value) -> (Vec<(String, Status)>, Option<String>) {
    let mut monitor = MonitorDef::new("net", Kind::Influx, Json::empty_object());
    monitor.fail_when = Some(fail_when.into());
    monitor.per = vec!["host".into()];
    let read = read(&Json::of(&json!({ "observations": rows })), &monitor).expect("rows");
    let seen = read.observations.iter().map(|it| (it.key.to_string(), it.status)).collect();
    (seen, read.doubt)
}

#[test]
fn a_misspelt_column_is_unknown() {
    let rows = json!([{ "attrs": { "host": "a", "loss": 100 } }, { "attrs": { "host": "b" } }]);
    let (seen, doubt) = reading("los >= 50", &rows);
    assert_eq!(seen, [("a".into(), Status::Unknown), ("b".into(), Status::Unknown)]);
    let expected = "a: fail_when (los >= 50) cannot be judged: there is no column \"los\"; there \
                    are host, loss, rows; is loss meant?";
    assert_eq!(doubt.as_deref(), Some(expected));
    let (seen, doubt) = reading("loss >= 50", &rows);
    assert_eq!(seen, [("a".into(), Status::Fail), ("b".into(), Status::Unknown)]);
    assert_eq!(
        doubt.as_deref(),
        Some("b: fail_when (loss >= 50) cannot be judged: a row has no loss")
    );
    let (seen, doubt) = reading("exists(loss) and loss >= 50", &rows);
    assert_eq!(seen, [("a".into(), Status::Fail), ("b".into(), Status::Ok)]);
    assert_eq!(doubt, None);
}
