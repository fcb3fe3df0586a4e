//! What holds for every schedule, whatever is said to it and whatever its clock does.

use std::collections::BTreeSet;

use kernel::graph::{Message, Status};
use kernel::schedule::{Event, Input, Order, Schedule, Stretch};
use kernel::{Machine, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::Run;

#[derive(Clone, Debug)]
enum Act {
    Clock(i64),
    Wake,
    Pause,
    Resume,
    Trigger,
    Backfill(i64, Order),
    EndBackfill,
    Failed(u32),
    Started(u32),
    Refused(u32),
    Ended(u32),
    Define(usize),
    Delete,
}

const OVERLAPS: [&str; 4] = ["allow_all", "skip", "buffer_one", "terminate_other"];
const CATCH_UPS: [&str; 3] = ["all", "latest", "none"];
const CRONS: [&str; 4] = ["0 * * * * *", "*/20 * * * * *", "0 0 * * * *", "0 30 2 * * *"];

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (-100_000_i64..4_000_000).prop_map(Act::Clock),
        4 => Just(Act::Wake),
        1 => Just(Act::Pause),
        1 => Just(Act::Resume),
        1 => Just(Act::Trigger),
        1 => (0_i64..3_000_000, any::<bool>()).prop_map(|(millis, newest)| {
            Act::Backfill(millis, if newest { Order::Newest } else { Order::Oldest })
        }),
        1 => Just(Act::EndBackfill),
        1 => (1_u32..60).prop_map(Act::Failed),
        3 => (1_u32..60).prop_map(Act::Started),
        1 => (1_u32..60).prop_map(Act::Refused),
        3 => (1_u32..60).prop_map(Act::Ended),
        1 => (0_usize..96).prop_map(Act::Define),
        1 => Just(Act::Delete),
    ]
}

fn perform(run: &mut Run, act: &Act) {
    // What does not fit is refused; that is checked elsewhere.
    let _ = match act {
        Act::Clock(millis) => {
            run.now = run.now.plus_millis(*millis);
            run.say(Input::Wake)
        }
        Act::Wake => run.say(Input::Wake),
        Act::Pause => run.say(Input::Pause { reason: Some("why not".into()) }),
        Act::Resume => run.say(Input::Resume),
        Act::Trigger => run.say(Input::Trigger { by: None }),
        Act::Backfill(millis, order) => {
            let (from, to, order) = (run.now.plus_millis(-millis), run.now, *order);
            run.say(Input::Backfill(Stretch { from, to, order, ..Stretch::default() }))
        }
        Act::EndBackfill => run.say(Input::EndBackfill),
        Act::Failed(number) => run.ended_as(*number, Status::Failed),
        Act::Started(number) => run.started(*number),
        Act::Refused(number) => {
            let reason = "no".into();
            let refused =
                Message::Refused { sequence: *number, reason, child: None, for_good: false };
            run.say(Input::Message(refused))
        }
        Act::Ended(number) => run.ended(*number),
        Act::Define(choice) => run.define(json!({
            "overlap": OVERLAPS[choice % 4],
            "catchUp": CATCH_UPS[choice / 4 % 3],
            "cronExpression": CRONS[choice / 12 % 4],
            "expect": if *choice < 48 { json!(null) } else { json!({
                "startWithin": "1m", "doneBy": "02:45", "slowerThan": "2m",
            }) },
            "zoneId": "Europe/Oslo",
        })),
        Act::Delete => run.say(Input::Delete),
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_said(acts in proptest::collection::vec(act(), 1..60), choice in 0_usize..96) {
        // Around a night in which the clock is set back.
        let mut run = Run::new("2026-10-24T22:00:00Z", json!({}));
        perform(&mut run, &Act::Define(choice));
        for act in &acts {
            let (started, before) = (run.starts.len(), run.state.cursor);
            let defined = run.state.is_defined();
            perform(&mut run, act);
            if !matches!(act, Act::Define(_)) {
                let set_back = run.state.repeats_until >= Some(before);
                prop_assert!(set_back || run.state.cursor >= before, "{act:?} goes back");
            }
            let fired = run.starts.len() - started;
            prop_assert!(fired <= 2 * run.limits.firings_max, "{act:?} fires {fired}");
            prop_assert!(defined || fired == 0 || matches!(act, Act::Define(_)));
            prop_assert_eq!(&run.state, &run.folded(), "the history folds to the state");
            let Event::Snapshot(snapshot) = run.state.snapshot() else { panic!("no snapshot") };
            let text = serde_json::to_string(&snapshot).expect("a state serializes");
            let read: Schedule = serde_json::from_str(&text).expect("and is read again");
            prop_assert_eq!(&read, &run.state);
        }
        // Ids of what was started are unlike each other.
        let ids: BTreeSet<_> = run.starts.iter().map(|(id, _)| id.clone()).collect();
        prop_assert_eq!(ids.len(), run.starts.len());
        // Awake, it comes to rest, and then waking it again does nothing.
        let mut wakes = 0;
        while run.state.wake_at().is_some_and(|at| at <= run.now) {
            prop_assert!(wakes < 100, "it comes to rest");
            wakes += 1;
            run.say(Input::Wake).expect("it can be woken");
        }
        let at_rest = run.state.clone();
        let _ = run.say(Input::Wake);
        prop_assert_eq!(&at_rest, &run.state);
        prop_assert!(run.state.wake_at() > Some(Timestamp::default()) || run.state.wake_at().is_none());
    }
}

/// No instant fires twice, and none is forgotten: each is run or has a line that says why not.
#[test]
fn every_instant_is_accounted_for() {
    for catch_up in CATCH_UPS {
        for overlap in OVERLAPS {
            let mut run = Run::new(
                "2026-10-24T22:00:30Z",
                json!({ "catchUp": catch_up, "overlap": overlap, "cronExpression": "0 * * * * *" }),
            );
            let mut moved = 0_i64;
            for step in [10, 60, 45, 300, 5, 900, 61, 1800, 60, 59] {
                moved += step;
                let now = run.now.plus_seconds(step);
                run.advance(&now.to_string());
                if step % 2 == 1 {
                    let open: Vec<u32> = run.state.open.keys().copied().collect();
                    for number in open {
                        let _ = run.started(number);
                        let _ = run.ended(number);
                    }
                }
            }
            let counted: u64 = run.counts();
            let expected = (30 + moved) / 60;
            assert_eq!(counted as i64, expected, "{catch_up} {overlap}: {:?}", run.ledger());
            assert!(Machine::wake_at(&run.state) > Some(run.now));
        }
    }
}
