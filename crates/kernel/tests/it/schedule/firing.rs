//! What fires, what does not, and what the ledger says of it.

use std::sync::Arc;

use kernel::Rejected;
use kernel::graph::Message;
use kernel::schedule::{Input, Stretch};
use serde_json::json;

use super::{Run, at};

#[test]
fn a_firing_starts_a_workflow_with_its_marks() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({ "zoneId": "Europe/Oslo" }));
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T11:00:00Z")));
    assert_eq!(run.advance("2026-02-26T11:00:00.250Z"), 1);
    let (id, start) = run.starts.pop().unwrap();
    assert_eq!(id, run.state.run_id(1));
    assert_eq!((&*start.name, start.version, start.parent), ("report", Some(2), None));
    assert_eq!(start.asked_by.unwrap().sequence, 1);
    let due = at("2026-02-26T11:00:00Z").millis();
    assert_eq!(
        start.input.parse(),
        json!({
            "a": 1,
            "_startedByScheduler": "nightly",
            "_scheduledTime": due,
            "_executedTime": due + 250,
            "_executionId": run.state.firing_id(1).as_str(),
            "_schedulerCron": "0 0 * * * * Europe/Oslo",
        })
    );
    assert_eq!(run.ledger(), ["1 26 11:00:00 POLLED"]);
    run.started(1).unwrap();
    assert_eq!(run.ledger(), ["1 26 11:00:00 EXECUTED"]);
    assert!(matches!(run.started(1), Err(Rejected::Stale(_))), "told twice");
    run.advance("2026-02-26T12:00:00Z");
    let reason: Arc<str> = "No such workflow".into();
    run.say(Input::Message(Message::Refused { sequence: 2, reason, child: None, for_good: false }))
        .unwrap();
    assert_eq!(run.ledger()[1], "2 26 12:00:00 FAILED No such workflow");
    assert!(run.state.open.is_empty());
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T13:00:00Z")), "and it goes on");
}

#[test]
fn several_lines_fire_once_per_instant() {
    let lines = json!([
        { "cronExpression": "0 0 9 * * *", "zoneId": "UTC" },
        { "cronExpression": "0 0 10 * * *", "zoneId": "Europe/Oslo" },
        { "cronExpression": "0 30 9 * * *" },
    ]);
    let mut run = Run::new("2026-02-26T08:00:00Z", json!({ "cronSchedules": lines }));
    run.advance("2026-02-26T09:00:00Z");
    run.advance("2026-02-26T09:30:00Z");
    assert_eq!(run.ledger(), ["1 26 09:00:00 POLLED", "2 26 09:30:00 POLLED"]);
    assert_eq!(run.starts[1].1.input.parse()["_schedulerCron"], "0 30 9 * * * UTC");
}

#[test]
fn bounds_are_honoured_also_when_catching_up() {
    let bounds = json!({
        "catchUp": "all",
        "scheduleStartTime": at("2026-02-26T10:00:00Z").millis(),
        "scheduleEndTime": "2026-02-26T12:00:00Z",
    });
    let mut run = Run::new("2026-02-26T06:00:00Z", bounds);
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T10:00:00Z")));
    run.advance("2026-02-26T18:00:00Z");
    let expected = ["1 26 10:00:00 POLLED", "2 26 11:00:00 POLLED", "3 26 12:00:00 POLLED"];
    assert_eq!(run.ledger(), expected);
    assert_eq!(run.state.wake_at(), None);
}

#[test]
fn what_was_missed_is_made_up_for_as_the_policy_says() {
    let missed = |number: u32, hour: u32, policy| {
        format!(
            "{number} 26 {hour:02}:00:00 MISSED it came due while the server was not there, and \
             catchUp is {policy}"
        )
    };
    let polled = |number: u32, hour: u32| format!("{number} 26 {hour:02}:00:00 POLLED");
    let all = vec![polled(1, 11), polled(2, 12), polled(3, 13)];
    for (members, until, expected) in [
        (json!({ "catchUp": "all" }), "2026-02-26T13:30:00Z", all.clone()),
        (json!({ "runCatchupScheduleInstances": true }), "2026-02-26T13:30:00Z", all),
        (
            json!({ "catchUp": "latest" }),
            "2026-02-26T13:30:00Z",
            vec![missed(1, 11, "latest"), missed(2, 12, "latest"), polled(3, 13)],
        ),
        (
            json!({}),
            "2026-02-26T13:30:00Z",
            vec![missed(1, 11, "none"), missed(2, 12, "none"), missed(3, 13, "none")],
        ),
        // A little late is not missed.
        (json!({}), "2026-02-26T12:00:59Z", vec![missed(1, 11, "none"), polled(2, 12)]),
    ] {
        let mut run = Run::new("2026-02-26T10:15:30Z", members.clone());
        run.advance(until);
        assert_eq!(run.ledger(), expected, "{members}");
        assert!(run.state.wake_at().unwrap() > run.now);
    }
}

#[test]
fn catching_up_is_bounded() {
    let secondly = json!({ "cronExpression": "* * * * * *", "catchUp": "all" });
    let mut run = Run::new("2026-02-26T10:00:00Z", secondly.clone());
    run.limits.catch_up_max = 30;
    run.limits.missed_lines_max = 2;
    let wakes = run.advance("2026-02-26T10:01:00Z");
    assert_eq!((wakes, run.starts.len()), (2, 30), "20 firings in a commit");
    let ledger = run.ledger();
    assert_eq!(ledger.len(), 33);
    let why = "it came due while the server was not there, and more than 30 came after it \
               (catch_up_max)";
    assert_eq!(ledger[0], format!("1 26 10:00:01 MISSED 28 firings: {why}"));
    assert_eq!(ledger[1], format!("2 26 10:00:29 MISSED {why}"));
    assert_eq!(ledger[3], "4 26 10:00:31 POLLED");

    // A year of seconds is not gone through one by one.
    let mut run = Run::new("2025-02-26T10:00:00Z", secondly);
    run.limits.open_max = 10_000;
    run.advance("2026-02-26T10:00:00Z");
    assert_eq!(run.starts.len(), 100);
    assert!(run.ledger()[0].contains("MISSED 10000 firings or more"), "{}", run.ledger()[0]);
    assert_eq!(run.ledger().last().unwrap(), "121 26 10:00:00 POLLED");
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T10:00:01Z")));
}

#[test]
fn nothing_fires_while_it_is_paused() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({ "catchUp": "all" }));
    run.say(Input::Pause { reason: Some("holiday".into()) }).unwrap();
    assert_eq!((run.state.wake_at(), run.state.paused_reason.as_deref()), (None, Some("holiday")));
    run.now = at("2026-02-26T13:30:00Z");
    run.say(Input::Wake).unwrap();
    assert!(run.ledger().is_empty());
    run.say(Input::Resume).unwrap();
    assert_eq!(run.ledger(), ["1 26 11:00:00 MISSED 3 firings: the schedule was paused"]);
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T14:00:00Z")));
    run.say(Input::Resume).unwrap();
    assert_eq!(run.ledger().len(), 1, "resuming twice is harmless");
    // A document may pause and resume, and one that says nothing of it leaves it as it was.
    run.define(json!({ "paused": true, "pausedReason": "again" })).unwrap();
    assert_eq!(run.state.paused_reason.as_deref(), Some("again"));
    run.define(json!({ "description": "other" })).unwrap();
    assert!(run.state.paused);
    run.define(json!({ "paused": false })).unwrap();
    assert_eq!((run.state.paused, run.state.paused_reason.clone()), (false, None));
}

#[test]
fn a_firing_minds_the_one_before_as_the_policy_says() {
    let hourly = |overlap| {
        let mut run = Run::new("2026-02-26T10:15:30Z", json!({ "overlap": overlap }));
        run.advance("2026-02-26T11:00:00Z");
        run.started(1).unwrap();
        run.advance("2026-02-26T12:00:00Z");
        run
    };
    let run = hourly("allow_all");
    assert_eq!(run.starts.len(), 2);
    assert!(run.starts[0].1.parent.is_none(), "its end is of no interest");

    let mut run = hourly("skip");
    let first = run.state.run_id(1);
    let skipped = format!("2 26 12:00:00 SKIPPED workflow {first} has not ended (overlap is skip)");
    assert_eq!(run.ledger()[1], skipped);
    assert!(run.starts[0].1.parent.is_some());
    run.ended(1).unwrap();
    run.advance("2026-02-26T13:00:00Z");
    assert_eq!(run.starts.len(), 2);

    let mut run = hourly("buffer_one");
    assert_eq!(run.ledger()[1], "2 26 12:00:00 POLLED it waits for the end of the firing before");
    run.advance("2026-02-26T13:00:00Z");
    assert!(run.ledger()[2].contains("SKIPPED"), "{}", run.ledger()[2]);
    run.now = at("2026-02-26T13:10:00Z");
    run.ended(1).unwrap();
    assert_eq!(run.starts.len(), 2);
    let input = run.starts[1].1.input.parse();
    assert_eq!(input["_scheduledTime"], at("2026-02-26T12:00:00Z").millis());
    assert_eq!(input["_executedTime"], run.now.millis());
    assert_eq!(run.ledger()[1], "2 26 12:00:00 POLLED");

    let mut run = hourly("terminate_other");
    assert_eq!((run.starts.len(), &run.ends), (2, &vec![run.state.run_id(1)]));
    run.advance("2026-02-26T13:00:00Z");
    assert_eq!(run.ends, [run.state.run_id(1), run.state.run_id(2)], "each is told once");
}

#[test]
fn a_trigger_fires_at_once() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({ "overlap": "skip" }));
    run.say(Input::Pause { reason: None }).unwrap();
    run.say(Input::Trigger { by: Some("ann".into()) }).unwrap();
    assert_eq!(run.ledger(), ["1 26 10:15:30 POLLED"]);
    assert_eq!(run.starts[0].1.input.parse()["_schedulerCron"], json!(null));
    let refused = run.say(Input::Trigger { by: None });
    assert!(matches!(refused, Err(Rejected::Conflict(_))), "the one before has not ended");
}

#[test]
fn a_backfill_runs_a_stretch_of_the_past() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({ "overlap": "skip" }));
    run.limits.firings_max = 2;
    let stretch = |from: &str, to: &str| {
        Input::Backfill(Stretch { from: at(from), to: at(to), ..Stretch::default() })
    };
    run.say(stretch("2026-02-25T01:00:00Z", "2026-02-25T05:00:00Z")).unwrap();
    assert_eq!(run.starts.len(), 2);
    let again = run.say(stretch("2026-02-25T01:00:00Z", "2026-02-25T05:00:00Z"));
    assert!(matches!(again, Err(Rejected::Conflict(_))));
    run.advance("2026-02-26T10:15:31Z");
    assert_eq!(run.ledger().len(), 5);
    assert_eq!(run.ledger()[4], "5 25 05:00:00 POLLED");
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T11:00:00Z")), "the rest is as it was");
    for (from, to, says) in [
        ("2026-02-25T05:00:00Z", "2026-02-25T01:00:00Z", "cannot end before it begins"),
        ("2026-02-25T05:00:00Z", "2027-02-25T01:00:00Z", "in the future"),
        ("2026-02-25T05:00:01Z", "2026-02-25T05:00:02Z", "names no instant"),
    ] {
        let refused = run.say(stretch(from, to)).unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
    }
}

#[test]
fn a_day_of_a_minutely_schedule_is_filled_without_skipping_any() {
    let every_minute = json!({ "cronExpression": "0 * * * * *", "overlap": "skip" });
    let mut run = Run::new("2026-02-26T10:15:30Z", every_minute);
    let (from, to) = (at("2026-02-25T00:00:00Z"), at("2026-02-25T23:59:59Z"));
    run.say(Input::Backfill(Stretch { from, to, ..Stretch::default() })).unwrap();
    run.advance("2026-02-26T10:15:31Z");
    // Nobody has answered yet whether they have begun: the others wait for that.
    assert!(run.starts.len() < run.limits.open_max, "{}", run.starts.len());
    run.advance("2026-02-26T10:16:00Z");
    assert!(run.ledger().last().unwrap().ends_with("10:16:00 POLLED"), "its own time comes first");
    let mut answered = 0;
    while answered < run.starts.len() {
        answered += 1;
        run.started(u32::try_from(answered).unwrap()).unwrap();
        run.advance("2026-02-26T10:16:01Z");
    }
    assert_eq!(run.starts.len(), 24 * 60 + 1);
    assert!(!run.ledger().iter().any(|line| line.contains("SKIPPED")));
}

#[test]
fn a_backfill_keeps_to_so_many_runs_at_once_and_stands_in_nobodys_way() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({ "overlap": "skip" }));
    let (from, to) = (at("2026-02-25T01:00:00Z"), at("2026-02-25T05:00:00Z"));
    let at_once =
        |most| Input::Backfill(Stretch { from, to, at_once: Some(most), ..Stretch::default() });
    assert!(matches!(run.say(at_once(0)), Err(Rejected::Invalid(_))));
    run.say(at_once(2)).unwrap();
    assert_eq!(run.starts.len(), 2);
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T11:00:00Z")), "time alone changes nothing");
    run.started(1).unwrap();
    run.started(2).unwrap();
    assert_eq!(run.starts.len(), 2, "they run still");
    run.advance("2026-02-26T11:00:00Z");
    assert_eq!(run.starts.len(), 3, "the schedule itself goes on");
    for number in [1, 2] {
        run.ended(number).unwrap();
    }
    assert_eq!(run.starts.len(), 5);
    run.ended(4).unwrap();
    assert_eq!(run.starts.len(), 6);
    assert!(run.state.backfill.is_none(), "the last one was asked for");
}

#[test]
fn an_update_forgets_what_other_instants_were_due() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({ "catchUp": "all" }));
    run.now = at("2026-02-26T12:30:00Z");
    // The same instants as before: what is due stays due, as after a start with the same files.
    run.define(json!({ "catchUp": "all", "description": "same" })).unwrap();
    run.advance("2026-02-26T12:30:00Z");
    assert_eq!(run.ledger().len(), 2);
    run.now = at("2026-02-26T14:30:00Z");
    run.define(json!({ "catchUp": "all", "cronExpression": "0 45 * * * *" })).unwrap();
    run.advance("2026-02-26T14:45:00Z");
    assert_eq!(run.ledger()[2..], ["3 26 14:45:00 POLLED"]);
}

#[test]
fn deleted_and_made_anew_it_counts_on() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({}));
    run.advance("2026-02-26T11:00:00Z");
    run.say(Input::Delete).unwrap();
    assert_eq!((run.state.wake_at(), run.state.is_defined()), (None, false));
    assert!(matches!(run.say(Input::Wake), Err(Rejected::Unknown(_))));
    run.started(1).unwrap();
    assert_eq!(run.ledger(), ["1 26 11:00:00 EXECUTED"], "what was asked for is still told");
    run.define(json!({})).unwrap();
    run.advance("2026-02-26T12:00:00Z");
    assert_ne!(run.starts[0].0, run.starts[1].0);
    assert_eq!(run.ledger()[1], "2 26 12:00:00 POLLED");
}

#[test]
fn a_line_that_cannot_be_read_stops_no_other() {
    let run = Run::new("2026-02-26T10:15:30Z", json!({}));
    // As a later version may leave it behind.
    let mut stored = serde_json::to_value(&run.state).unwrap();
    stored["spec"]["cronSchedules"] = json!([
        { "cronExpression": "nonsense", "zoneId": "UTC" },
        { "cronExpression": "0 0 * * * *", "zoneId": "Mars/Olympus" },
        { "cronExpression": "0 20 * * * *", "zoneId": "UTC" },
    ]);
    let state: kernel::schedule::Schedule = serde_json::from_value(stored).unwrap();
    assert_eq!(state.wake_at(), Some(at("2026-02-26T10:20:00Z")));
}

#[test]
fn jumps_of_the_clock_make_up_for_nothing_twice() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({ "catchUp": "all" }));
    run.advance("2026-02-26T11:00:00Z");
    for back in ["2026-02-26T10:30:00Z", "2026-02-25T00:00:00Z", "2026-02-26T10:45:00Z"] {
        run.now = at(back);
        run.say(Input::Wake).unwrap();
        run.say(Input::Wake).unwrap();
        assert_eq!(run.starts.len(), 1, "{back}");
    }
    let told = run.ledger().pop().unwrap();
    assert_eq!(told, "2 25 01:00:00 SKIPPED it had come before the clock was set back");
    run.advance("2026-02-26T13:00:00Z");
    assert_eq!(run.starts.len(), 3, "12:00 and 13:00 have not come before; 11:00 has, and is late");
}

#[test]
fn a_frequent_schedule_goes_on_at_once_when_the_clock_is_set_back() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({ "cronExpression": "0 */20 * * * *" }));
    run.advance("2026-02-26T10:20:00Z");
    // Two hours too fast for a while.
    run.advance("2026-02-26T12:20:00Z");
    run.now = at("2026-02-26T10:25:00Z");
    run.say(Input::Wake).unwrap();
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T10:40:00Z")));
    run.advance("2026-02-26T10:40:00Z");
    let last = run.ledger().pop().unwrap();
    assert!(last.ends_with("26 10:40:00 POLLED"), "{last}");
    assert_eq!(run.folded(), run.state);
}

#[test]
fn a_time_of_the_day_does_not_come_twice_when_the_clock_is_set_back_a_little() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({ "cronExpression": "0 0 11 * * *" }));
    run.advance("2026-02-26T11:00:00Z");
    run.now = at("2026-02-26T10:30:00Z");
    run.say(Input::Wake).unwrap();
    assert_eq!(run.state.wake_at(), Some(at("2026-02-27T11:00:00Z")));
    let told = run.ledger().pop().unwrap();
    assert_eq!(told, "2 26 11:00:00 SKIPPED it had come before the clock was set back");
    run.say(Input::Wake).unwrap();
    assert_eq!(run.ledger().len(), 2, "it is told once");
    assert_eq!(run.folded(), run.state);
}

#[test]
fn a_clock_that_was_wrong_by_hours_is_believed_when_it_is_right_again() {
    let mut run = Run::new("2026-02-26T10:15:30Z", json!({ "cronExpression": "0 0 11 * * *" }));
    run.advance("2026-03-26T11:00:00Z");
    run.now = at("2026-02-26T10:30:00Z");
    run.say(Input::Wake).unwrap();
    assert_eq!(run.state.wake_at(), Some(at("2026-02-26T11:00:00Z")));
    assert_eq!(run.folded(), run.state);
}
