//! Backfills: which instants they run, in which order, and when they are over.

use std::collections::BTreeSet;

use kernel::Rejected;
use kernel::schedule::{Event, Input, Order, Schedule, Stretch};
use serde_json::json;

use super::{Run, at};

fn stretch(from: &str, to: &str) -> Stretch {
    Stretch { from: at(from), to: at(to), at_once: Some(2), ..Stretch::default() }
}

/// The hours of the starts so far.
fn hours(run: &Run) -> Vec<i64> {
    let day = at("2026-02-25T00:00:00Z").millis();
    let due = run.starts.iter().map(|(_, it)| it.input.parse()["_scheduledTime"].clone());
    due.map(|due| (due.as_i64().expect("it is as it should be") - day) / 3_600_000).collect()
}

/// Lets all runs that are open end, one after the other.
fn run_to_the_end(run: &mut Run) {
    while let Some(number) = run.state.open.keys().next().copied() {
        run.started(number).expect("it is as it should be");
        run.ended(number).expect("it is as it should be");
    }
}

#[test]
fn the_newest_come_first_if_asked_for() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({}));
    let order = Order::Newest;
    let day = Stretch { order, ..stretch("2026-02-25T01:00:00Z", "2026-02-25T06:59:00Z") };
    run.say(Input::Backfill(day)).expect("it is as it should be");
    assert_eq!(hours(&run), [6, 5]);
    run_to_the_end(&mut run);
    assert_eq!(hours(&run), [6, 5, 4, 3, 2, 1]);
    assert!(run.state.backfill.is_none());
    assert_eq!(run.folded(), run.state);
}

#[test]
fn what_is_left_out_does_not_run() {
    for (order, expected) in [(Order::Oldest, [1, 4, 6]), (Order::Newest, [6, 4, 1])] {
        let mut run = Run::new("2026-02-26T10:15:30Z", json!({}));
        let except: Vec<_> =
            ["02", "03", "05"].map(|it| at(&format!("2026-02-25T{it}:00:00Z"))).into();
        let day = stretch("2026-02-25T01:00:00Z", "2026-02-25T06:00:00Z");
        run.say(Input::Backfill(Stretch { order, except: except.clone(), ..day }))
            .expect("it is as it should be");
        run_to_the_end(&mut run);
        assert_eq!(hours(&run), expected);
        assert!(run.state.backfill.is_none());
        assert_eq!(run.folded(), run.state);
        let nothing = stretch("2026-02-25T02:00:00Z", "2026-02-25T03:00:00Z");
        let refused = run.say(Input::Backfill(Stretch { except, ..nothing })).unwrap_err();
        assert!(refused.to_string().contains("has its run already"), "{refused}");
    }
}

#[test]
fn a_backfill_ends_when_asked_to_and_what_runs_goes_on() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({}));
    assert!(matches!(run.say(Input::EndBackfill), Err(Rejected::Conflict(_))));
    let day = stretch("2026-02-25T01:00:00Z", "2026-02-25T06:00:00Z");
    run.say(Input::Backfill(day)).expect("it is as it should be");
    run.say(Input::EndBackfill).expect("it is as it should be");
    run_to_the_end(&mut run);
    assert_eq!((hours(&run), run.ends.len()), (vec![1, 2], 0));
    assert_eq!(run.folded(), run.state);
}

/// Ten years of minutes are no more state than a day.
#[test]
fn a_stretch_has_no_bound() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({ "cronExpression": "0 * * * * *" }));
    for order in [Order::Oldest, Order::Newest] {
        let years = stretch("2016-02-25T00:00:00Z", "2026-02-25T00:00:00Z");
        run.say(Input::Backfill(Stretch { order, ..years })).expect("it is as it should be");
        let Event::Snapshot(state) = run.state.snapshot() else { panic!("no snapshot") };
        assert!(serde_json::to_string(&state).expect("it is as it should be").len() < 5000);
        run.say(Input::EndBackfill).expect("it is as it should be");
        run_to_the_end(&mut run);
    }
    assert_eq!(run.starts.len(), 4);
}

/// Whenever the state is lost and folded anew, each instant runs once.
#[test]
fn each_instant_runs_once_whenever_the_state_is_lost() {
    for order in [Order::Oldest, Order::Newest] {
        let mut run = Run::new("2026-02-26T10:15:30Z", json!({ "overlap": "skip" }));
        run.limits.firings_max = 3;
        let day = stretch("2026-02-25T00:00:00Z", "2026-02-25T23:00:00Z");
        run.say(Input::Backfill(Stretch { order, at_once: Some(5), ..day }))
            .expect("it is as it should be");
        let mut steps = 0;
        loop {
            let folded: Schedule = run.folded();
            assert_eq!(folded, run.state);
            run.state = folded;
            steps += 1;
            if run.state.wake_at().is_some_and(|at| at <= run.now) {
                run.say(Input::Wake).expect("it is as it should be");
            } else if let Some(number) = run.state.open.keys().nth(steps % 2).copied() {
                let _ = run.started(number);
                run.ended(number).expect("it is as it should be");
            } else if run.state.open.is_empty() {
                break;
            }
        }
        let ran: BTreeSet<i64> = hours(&run).into_iter().collect();
        assert_eq!((run.starts.len(), ran), (24, (0..24).collect()));
    }
}
