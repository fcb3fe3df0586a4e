//! Runs that are late, slow or overdue: when that is told, and when it is over.

use kernel::Rejected;
use kernel::graph::Status;
use kernel::schedule::{Input, schedule_from_value};
use serde_json::{Value, json};

use super::{Run, at};

#[allow(clippy::needless_pass_by_value, reason = "literals are written where it is called")]
fn expecting(now: &str, expect: Value, members: Value) -> Run {
    let mut all = json!({ "expect": expect });
    for (name, value) in members.as_object().expect("members are an object") {
        all[name] = value.clone();
    }
    Run::new(now, all)
}

/// What was told since the last call, without the name before the `#`.
fn news(run: &mut Run) -> Vec<String> {
    let told = run.told.drain(..);
    told.map(|it| it.strip_prefix("schedule:nightly#").expect("it is as it should be").to_owned())
        .collect()
}

/// Runs the next firing at an hour of the day; it begins at once and takes so many minutes.
fn run_at(run: &mut Run, hour: u32, minutes: u32, status: Status) {
    run.advance(&format!("2026-02-26T{hour:02}:00:00Z"));
    let number = run.state.last_number;
    run.started(number).expect("it is as it should be");
    run.now = at(&format!("2026-02-26T{hour:02}:{minutes:02}:00Z"));
    run.ended_as(number, status).expect("it is as it should be");
}

#[test]
fn a_run_that_does_not_begin_is_late_until_it_does() {
    let mut run = expecting("2026-02-26T10:15:30Z", json!({ "startWithin": "5m" }), json!({}));
    run.advance("2026-02-26T11:00:00Z");
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T11:05:00Z")));
    run.advance("2026-02-26T11:05:00Z");
    assert_eq!(
        news(&mut run),
        ["late fail the run of schedule nightly that came due 2026-02-26T11:00:00Z did not begin \
          within 5m: it was asked for and has not begun"]
    );
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T12:00:00Z")), "it is told once");
    run.started(1).expect("it is as it should be");
    assert_eq!(news(&mut run), ["late ok a run has begun"]);
    run.ended(1).expect("it is as it should be");
    run.advance("2026-02-26T12:00:00Z");
    run.started(2).expect("it is as it should be");
    run.advance("2026-02-26T12:30:00Z");
    assert_eq!(news(&mut run), [""; 0]);
    assert_eq!(run.folded(), run.state);
}

#[test]
fn a_run_that_waits_for_the_one_before_is_late_too() {
    let expect = json!({ "startWithin": "10m" });
    let mut run = expecting("2026-02-26T10:15:30Z", expect, json!({ "overlap": "buffer_one" }));
    run.advance("2026-02-26T11:00:00Z");
    run.started(1).expect("it is as it should be");
    run.advance("2026-02-26T12:00:00Z");
    run.advance("2026-02-26T12:10:00Z");
    let told = news(&mut run);
    assert!(told[0].ends_with("it waits for the end of the run before"), "{told:?}");
    run.ended(1).expect("it is as it should be");
    assert_eq!(news(&mut run), [""; 0]);
    run.started(2).expect("it is as it should be");
    assert_eq!(news(&mut run), ["late ok a run has begun"]);
}

#[test]
fn what_was_missed_is_late_until_the_next_begins() {
    let expect = json!({ "startWithin": "5m", "doneBy": "16:30" });
    let mut run = expecting("2026-02-26T10:15:30Z", expect, json!({}));
    run.advance("2026-02-26T14:30:00Z");
    let told = news(&mut run);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with("it came due while the server was not there"), "{told:?}");
    let mut failing = run.state.clone();
    run_at(&mut run, 15, 10, Status::Completed);
    assert_eq!(news(&mut run), ["late ok a run has begun"]);
    // Had none completed, that would have been overdue.
    std::mem::swap(&mut run.state, &mut failing);
    run_at(&mut run, 15, 10, Status::Failed);
    run.advance("2026-02-26T16:00:00Z");
    run.started(6).expect("it is as it should be");
    run.ended_as(6, Status::Failed).expect("it is as it should be");
    run.advance("2026-02-26T16:29:00Z");
    assert_eq!(news(&mut run), ["late ok a run has begun"]);
    run.advance("2026-02-26T16:30:00Z");
    let told = news(&mut run);
    assert!(told.len() == 1 && told[0].starts_with("overdue fail"), "{told:?}");
}

#[test]
fn a_run_is_slow_by_what_is_usual() {
    let expect = json!({ "slowerThan": "3x", "atLeast": "5m" });
    let mut run = expecting("2026-02-26T00:15:30Z", expect, json!({}));
    for hour in 1..=10 {
        // One that failed at once says nothing of what is usual.
        run_at(
            &mut run,
            hour,
            4 + hour % 3,
            if hour == 5 { Status::Failed } else { Status::Completed },
        );
    }
    run.advance("2026-02-26T11:00:00Z");
    run.started(11).expect("it is as it should be");
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T12:00:00Z")), "nine runs say nothing");
    run.now = at("2026-02-26T11:04:00Z");
    run.ended(11).expect("it is as it should be");
    run.advance("2026-02-26T12:00:00Z");
    run.started(12).expect("it is as it should be");
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T12:15:00Z")));
    run.advance("2026-02-26T12:15:00Z");
    let slow = "slow warn the run of schedule nightly that came due 2026-02-26T12:00:00Z takes \
                long: usually 5 min (longest 6 min), now 15 min";
    assert_eq!(news(&mut run), [slow]);
    run.now = at("2026-02-26T12:20:00Z");
    run.ended_as(12, Status::TimedOut).expect("it is as it should be");
    assert_eq!(news(&mut run), ["slow ok no run takes longer than usual"]);
    assert_eq!(run.folded(), run.state);
}

#[test]
fn what_varies_much_is_slow_later_and_what_is_short_not_at_all() {
    let first_slow = |expect: Value, minutes: [u32; 10]| {
        let mut run = expecting("2026-02-26T00:15:30Z", expect, json!({}));
        for (hour, minutes) in (1..).zip(minutes) {
            run_at(&mut run, hour, minutes, Status::Completed);
        }
        run.advance("2026-02-26T11:00:00Z");
        run.started(11).expect("it is as it should be");
        run.state.wake_at().expect("it is as it should be").since(at("2026-02-26T11:00:00Z"))
            / 60_000
    };
    // The median is 6, the median of the distances from it 5.
    let varied = [1, 1, 1, 1, 1, 11, 11, 11, 11, 11];
    assert_eq!(first_slow(json!({ "slowerThan": "2x" }), varied), 6 + 5 * 5);
    assert_eq!(first_slow(json!({ "slowerThan": "2x" }), [0; 10]), 1);
    assert_eq!(first_slow(json!({ "slowerThan": "2x", "atLeast": "20m" }), [1; 10]), 20);
    assert_eq!(first_slow(json!({ "slowerThan": "2.5x" }), [8; 10]), 20);
    assert_eq!(first_slow(json!({ "slowerThan": "40m" }), [1; 10]), 40);
}

#[test]
fn only_the_last_fifty_runs_count_and_a_backfill_does_not() {
    let expect = json!({ "slowerThan": "3x" });
    let minutely = json!({ "cronExpression": "0 * * * * *" });
    let mut run = expecting("2026-02-26T00:00:30Z", expect, minutely);
    for minute in 1..60 {
        run.advance(&format!("2026-02-26T00:{minute:02}:00Z"));
        run.started(minute).expect("it is as it should be");
        run.now = run.now.plus_seconds(i64::from(minute) / 2);
        run.ended(minute).expect("it is as it should be");
    }
    assert_eq!(run.state.watched.took.len(), 50);
    assert_eq!(run.state.watched.took.front(), Some(&5000));
    let known = run.state.watched.clone();
    let (from, to) = (at("2026-02-25T00:00:00Z"), at("2026-02-25T00:00:00Z"));
    let stretch = kernel::schedule::Stretch { from, to, ..Default::default() };
    run.say(Input::Backfill(stretch)).expect("it is as it should be");
    run.started(60).expect("it is as it should be");
    assert!(run.state.open.is_empty(), "nobody waits for its end");
    assert_eq!(run.state.watched, known);
}

#[test]
fn what_is_not_done_by_a_time_of_the_day_is_overdue() {
    let nightly = json!({ "cronExpression": "0 30 2 * * *", "zoneId": "Europe/Oslo" });
    let begun = |expect: Value| {
        let mut run = expecting("2026-02-26T00:00:00Z", expect, nightly.clone());
        run.advance("2026-02-26T01:30:00Z");
        run.started(1).expect("it is as it should be");
        run
    };
    let by_six = || begun(json!({ "doneBy": "06:00" }));
    let mut run = by_six();
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T05:00:00Z")), "six o'clock in Oslo");
    run.advance("2026-02-26T05:00:00Z");
    let overdue = "overdue fail the run of schedule nightly that came due 2026-02-26T01:30:00Z is \
                   not done by 06:00: it is under way";
    assert_eq!(news(&mut run), [overdue]);
    run.ended_as(1, Status::Failed).expect("it is as it should be");
    assert_eq!(news(&mut run), [""; 0], "it is not done now either");
    run.ended(1).expect("it is as it should be");
    assert_eq!(news(&mut run), ["overdue ok a run is done"], "somebody had it tried again");
    assert_eq!(run.folded(), run.state);

    // Done in time.
    let mut run = by_six();
    run.ended(1).expect("it is as it should be");
    run.advance("2026-02-26T12:00:00Z");
    assert_eq!(news(&mut run), [""; 0]);

    // Failed before, and nobody cares for it.
    let mut run = by_six();
    run.ended_as(1, Status::Failed).expect("it is as it should be");
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T05:00:00Z")));
    let failed = run.state.clone();
    run.advance("2026-02-26T05:00:00Z");
    let told = news(&mut run);
    assert!(told[0].ends_with("it did not complete, and none after it has"), "{told:?}");
    run.advance("2026-02-27T01:30:00Z");
    run.started(2).expect("it is as it should be");
    run.ended(2).expect("it is as it should be");
    assert_eq!(news(&mut run), ["overdue ok a run is done"]);

    // Failed, and tried again in time, or made up for by hand.
    run.state = failed.clone();
    run.now = at("2026-02-26T03:00:00Z");
    run.ended(1).expect("it is as it should be");
    assert!(matches!(run.ended(1), Err(Rejected::Stale(_))));
    run.advance("2026-02-26T12:00:00Z");
    run.state = failed;
    run.now = at("2026-02-26T03:00:00Z");
    run.say(Input::Trigger { by: None }).expect("it is as it should be");
    run.started(2).expect("it is as it should be");
    run.ended(2).expect("it is as it should be");
    run.advance("2026-02-26T12:00:00Z");
    assert_eq!(news(&mut run), [""; 0]);
}

#[test]
fn what_is_told_is_over_when_it_is_not_expected_any_more() {
    let expect = json!({ "startWithin": "5m", "slowerThan": "10m" });
    let mut run = expecting("2026-02-26T10:15:30Z", expect, json!({}));
    run.advance("2026-02-26T11:00:00Z");
    run.say(Input::Pause { reason: None }).expect("it is as it should be");
    run.advance("2026-02-26T11:05:00Z");
    assert_eq!(news(&mut run).len(), 1, "also while it is paused");
    run.define(json!({ "expect": { "slowerThan": "10m" } })).expect("it is as it should be");
    assert_eq!(news(&mut run), ["late ok the schedule does not expect this any more"]);
    run.started(1).expect("it is as it should be");
    run.advance("2026-02-26T11:15:00Z");
    assert_eq!(news(&mut run).len(), 1);
    run.say(Input::Delete).expect("it is as it should be");
    assert_eq!(news(&mut run), ["slow ok the schedule was deleted"]);
    run.ended(1).expect("it is as it should be");
    assert_eq!(news(&mut run), [""; 0]);
    assert_eq!(run.folded(), run.state);
}

#[test]
fn mistakes_in_what_is_expected_have_their_place() {
    for (expect, pointer, says) in [
        (json!([]), "/expect", "expected an object"),
        (json!({ "startsWithin": "5m" }), "/expect/startsWithin", "no member"),
        (json!({ "startWithin": "soon" }), "/expect/startWithin", "a duration such as 5m"),
        (json!({ "startWithin": "0s" }), "/expect/startWithin", "a duration such as 5m"),
        (json!({ "doneBy": "25:00" }), "/expect/doneBy", "a time of the day"),
        (json!({ "doneBy": 6 }), "/expect/doneBy", "a time of the day"),
        (json!({ "slowerThan": "0.5x" }), "/expect/slowerThan", "a factor above 1"),
        (json!({ "slowerThan": "x" }), "/expect/slowerThan", "a factor above 1"),
        (json!({ "atLeast": "5m" }), "/expect/atLeast", "without slowerThan"),
    ] {
        let document = json!({
            "name": "nightly", "cronExpression": "@daily", "expect": expect,
            "startWorkflowRequest": { "name": "report" },
        });
        let problems = schedule_from_value(&document).unwrap_err();
        assert_eq!(problems.len(), 1, "{expect}: {problems:?}");
        assert_eq!(problems[0].pointer, pointer);
        assert!(problems[0].message.contains(says), "{expect}: {}", problems[0].message);
    }
    let fine = json!({ "name": "n", "cronExpression": "@daily", "startWorkflowRequest": { "name": "r" },
        "expect": { "startWithin": "1h 30m", "doneBy": "06:00:30", "slowerThan": "1.5x", "atLeast": "2m" } });
    let spec = schedule_from_value(&fine).expect("it is as it should be");
    assert_eq!(
        serde_json::to_value(&spec).expect("it is as it should be")["expect"],
        fine["expect"]
    );
}
