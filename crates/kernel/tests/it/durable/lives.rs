//! Lives: starts, restarts, continue-as-new, suspend, terminate, rewind.

use std::collections::BTreeSet;

use kernel::durable::instance::{Input, Start};
use kernel::durable::{
    Action, ActionKind, ExecutionStarted, Fact, FailureDetails, HistoryEvent, Outcome, Status,
};
use kernel::{Rejected, Timestamp};

use super::house::{House, START, child, completed, end, id, result, shown, task, text, timer};

fn raise(name: &str) -> Input {
    Input::Raise { name: name.into(), input: None }
}

fn terminate(recurse: bool) -> Input {
    Input::Terminate { output: text("\"bye\""), recurse, at_once: false }
}

#[test]
fn an_id_is_used_again_as_the_policy_says() {
    let every = |wanted: &[Status]| wanted.iter().copied().collect::<BTreeSet<_>>();
    let cases = [
        (Status::Pending, vec![], false),
        (Status::Completed, vec![], false),
        (Status::Completed, vec![Status::Completed], true),
        (Status::Completed, vec![Status::Failed], false),
        (Status::Pending, vec![Status::Pending, Status::Terminated], true),
    ];
    for (stands, replaces, allowed) in cases {
        let mut house = House::with("i");
        let first = house.instance("i").execution_id();
        let (token, ..) = house.turn("i");
        if stands == Status::Completed {
            house.answer("i", vec![completed(1, "x")]);
        }
        let result_of = house.try_start("i", |start| start.replaces = every(&replaces));
        if allowed {
            result_of.unwrap();
            assert_ne!(house.instance("i").execution_id(), first);
            assert_eq!(house.status("i"), Status::Pending);
            let old = house.complete("i", result(token, vec![]));
            assert!(matches!(old, Err(Rejected::Stale(_))), "{old:?}");
        } else {
            assert!(matches!(result_of, Err(Rejected::Conflict(_))), "{stands} {replaces:?}");
            assert_eq!(house.instance("i").execution_id(), first);
        }
    }
    let mut house = House::with("i");
    let impossible = house.try_start("i", |start| start.replaces = every(&[Status::Running]));
    let Err(Rejected::Invalid(reason)) = impossible else { panic!("{impossible:?}") };
    assert!(reason.starts_with("Invalid reusable statuses"), "{reason}");
}

#[test]
fn who_is_replaced_tells_its_parent() {
    let mut house = House::with("p");
    house.answer("p", vec![child(1, "kid", "sub")]);
    house.start("kid", |start| start.replaces = Status::ALL.into_iter().collect());
    assert!(house.news("p")[1].starts_with("child 1 failed another instance"));
}

#[test]
fn a_scheduled_start_waits_and_keeps_what_comes() {
    let mut house = House::new();
    let at = Timestamp::from_millis(START + 1000);
    house.start("i", |start| start.scheduled_at = Some(at));
    house.say("i", raise("early")).unwrap();
    assert!(house.rows.is_empty());
    assert_eq!(house.instance("i").wake_at(), Some(at));
    house.pass(999);
    assert!(house.rows.is_empty());
    house.pass(1);
    assert_eq!(house.news("i")[1..], ["started orchestrator \"in\"", "raised early -"]);
    assert_eq!(house.instance("i").wake_at(), None);
    // What is long past begins at once.
    house.start("j", |start| start.scheduled_at = Some(Timestamp::from_millis(0)));
    assert_eq!(house.news("j").len(), 2);
    // One that is ended before it is due needs no worker.
    house.start("k", |start| start.scheduled_at = Some(at.plus_seconds(100)));
    house.say("k", terminate(false)).unwrap();
    assert_eq!(house.status("k"), Status::Terminated);
    assert_eq!(house.instance("k").output.as_deref(), Some("\"bye\""));
}

#[test]
fn continue_as_new_loses_nothing_but_answers_to_the_life_before() {
    let mut house = House::new();
    house.start("i", |start| {
        start.tags.insert("t".into(), "1".into());
    });
    house.answer("i", vec![task(1, "slow"), timer(2, 10_000), child(3, "kid", "sub")]);
    let first = house.instance("i").execution_id();
    let slow = house.activity("i", 1);
    house.say("i", raise("one")).unwrap();
    let (token, ..) = house.turn("i");
    house.say("i", raise("Two")).unwrap();
    house.say("i", Input::Suspend { reason: None }).unwrap();
    house.answer("kid", vec![completed(1, "late")]);
    let mut again = end(4, Outcome::ContinuedAsNew, "\"next\"");
    if let ActionKind::Complete(completion) = &mut again.kind {
        let fact = Fact::EventRaised { name: "one".into(), input: None };
        completion.carryover = vec![HistoryEvent::inbound(house.now, fact)];
        completion.new_version = text("2");
        completion.tags.insert("u".into(), "2".into());
    }
    let mut answer = result(token, vec![again]);
    answer.custom_status = text("\"kept\"");
    house.complete("i", answer).unwrap();
    let state = house.instance("i");
    let stands = (state.status, state.custom_status.as_deref());
    assert_eq!(stands, (Status::Suspended, Some("\"kept\"")));
    assert_ne!(state.execution_id(), first);
    assert_eq!(state.execution_id().len(), 32);
    assert!(state.history.is_empty());
    let start = state.start.clone().unwrap();
    assert_eq!(start.version.as_deref(), Some("2"));
    assert_eq!(start.tags.len(), 2);
    assert!(!house.instance("i").wants_turn(), "a suspension holds the next life back");
    house.say("i", Input::Resume { reason: None }).unwrap();
    let news = ["turn at 0", "started orchestrator \"next\"", "raised one -", "raised Two -"];
    assert_eq!(house.news("i"), news);
    let late = house.done("i", slow, "late");
    assert!(matches!(late, Err(Rejected::Stale(_))), "{late:?}");
    house.pass(20_000);
    assert_eq!(house.news("i").len(), 4, "the timer of the life before does not fire");
    // The ids begin anew, and nothing of the life before answers them.
    house.answer("i", vec![task(1, "quick")]);
    house.run_activity("i", 1, "now");
    assert_eq!(house.news("i")[1], "task 1 done now");
}

#[test]
fn suspend_shows_once_the_worker_knows() {
    let mut house = House::with("i");
    house.answer("i", vec![task(1, "a")]);
    house.say("i", Input::Suspend { reason: text("why") }).unwrap();
    assert_eq!(house.status("i"), Status::Running);
    house.answer("i", vec![]);
    assert_eq!(house.status("i"), Status::Suspended);
    house.run_activity("i", 1, "x");
    house.answer("i", vec![]);
    assert_eq!(house.status("i"), Status::Suspended, "results come in, and wait in the worker");
    house.say("i", Input::Resume { reason: None }).unwrap();
    house.answer("i", vec![completed(2, "y")]);
    assert_eq!(house.status("i"), Status::Completed);
    for input in [Input::Suspend { reason: None }, Input::Resume { reason: None }, raise("e")] {
        let late = house.say("i", input);
        assert!(matches!(late, Err(Rejected::Stale(_))), "{late:?}");
    }
    let nobody = house.say("nobody", raise("e"));
    assert!(matches!(nobody, Err(Rejected::Unknown(_))), "{nobody:?}");
}

#[test]
fn a_suspension_begins_a_turn() {
    let mut house = House::with("i");
    house.say("i", Input::Suspend { reason: None }).unwrap();
    assert_eq!(house.news("i"), ["turn at 0", "started orchestrator \"in\""]);
    house.answer("i", vec![timer(1, 1000)]);
    assert_eq!(house.news("i"), ["turn at 0", "suspended"]);
    house.answer("i", vec![]);
    house.say("i", Input::Resume { reason: None }).unwrap();
    house.pass(1000);
    house.say("i", Input::Suspend { reason: None }).unwrap();
    assert_eq!(house.news("i")[1..], ["resumed", "timer 1 fired"]);
    // The timer's consequences are history before the worker hears of the second suspension.
    house.answer("i", vec![task(2, "a")]);
    assert_eq!(house.news("i")[1..], ["suspended"]);
}

#[test]
fn what_is_suspended_already_is_not_told_again() {
    let mut house = House::with("i");
    house.answer("i", vec![timer(1, 1000)]);
    house.say("i", Input::Resume { reason: None }).unwrap();
    assert!(!house.instance("i").wants_turn(), "it was not suspended");
    for _ in 0..3 {
        house.say("i", Input::Suspend { reason: None }).unwrap();
    }
    assert_eq!(house.news("i"), ["turn at 0", "suspended"]);
    house.answer("i", vec![]);
    house.say("i", Input::Suspend { reason: None }).unwrap();
    assert!(!house.instance("i").wants_turn());
    for _ in 0..2 {
        house.say("i", Input::Resume { reason: None }).unwrap();
    }
    assert_eq!(house.news("i"), ["turn at 0", "resumed"]);
}

#[test]
fn an_eternal_loop_can_be_suspended_and_ended() {
    let again = || vec![end(1, Outcome::ContinuedAsNew, "\"next\"")];
    let mut house = House::with("i");
    house.answer("i", again());
    house.say("i", Input::Suspend { reason: None }).unwrap();
    house.answer("i", again());
    assert_eq!(house.status("i"), Status::Suspended);
    house.say("i", raise("kept")).unwrap();
    assert!(!house.instance("i").wants_turn());
    house.say("i", Input::Resume { reason: None }).unwrap();
    assert_eq!(house.news("i")[2..], ["raised kept -"]);
    // The worker begins anew in the very turn that tells it to end.
    house.say("i", terminate(false)).unwrap();
    house.answer("i", again());
    let state = house.instance("i");
    assert_eq!((state.status, state.output.as_deref()), (Status::Terminated, Some("\"bye\"")));

    let mut house = House::with("held");
    house.say("held", Input::Suspend { reason: None }).unwrap();
    house.answer("held", again());
    house.say("held", terminate(false)).unwrap();
    assert_eq!(house.status("held"), Status::Terminated, "nothing of this life was seen yet");
}

#[test]
fn terminate_goes_down_if_asked() {
    for recurse in [true, false] {
        let mut house = House::with("p");
        house.answer("p", vec![child(1, "kid", "sub"), task(2, "a"), child(3, "", "workflow:w")]);
        house.answer("kid", vec![child(1, "grandkid", "sub")]);
        house.outside.clear();
        house.say("p", terminate(recurse)).unwrap();
        assert_eq!(house.status("p"), Status::Running, "the worker ends it");
        assert_eq!(house.news("p")[1], "terminated");
        house.answer("p", vec![end(4, Outcome::Terminated, "\"bye\"")]);
        assert_eq!(house.status("p"), Status::Terminated);
        assert_eq!(house.instance("p").output.as_deref(), Some("\"bye\""));
        assert_eq!(house.outside.len(), usize::from(recurse), "{:?}", house.outside);
        if recurse {
            house.answer("kid", vec![end(2, Outcome::Terminated, "\"bye\"")]);
            house.answer("grandkid", vec![end(1, Outcome::Terminated, "\"bye\"")]);
            assert!(house.rows.is_empty(), "{:?}", house.rows);
        } else {
            assert_eq!(house.status("kid"), Status::Running);
            house.answer("grandkid", vec![completed(1, "x")]);
        }
    }
    let mut house = House::with("i");
    let at_once = Input::Terminate { output: None, recurse: false, at_once: true };
    house.say("i", at_once).unwrap();
    assert_eq!(house.status("i"), Status::Terminated);
}

#[test]
fn an_orchestrator_ends_another() {
    let mut house = House::with("a");
    house.start("b", |_| {});
    let kind = ActionKind::Terminate { instance_id: "b".into(), reason: text("r"), recurse: false };
    house.answer("a", vec![Action { id: 1, kind }]);
    assert_eq!(house.news("b").last().unwrap(), "terminated");
    assert_eq!(house.history("a").len(), 2, "it leaves no line");
}

#[test]
fn a_restart_begins_anew() {
    let mut house = House::new();
    house.start("i", |start| {
        start.tags.insert("t".into(), "1".into());
        start.version = text("3");
    });
    let restart = |house: &mut House| {
        let execution_id = house.life();
        house.say("i", Input::Restart { execution_id })
    };
    let refused = restart(&mut house);
    assert!(matches!(refused, Err(Rejected::Conflict(_))), "{refused:?}");
    house.answer("i", vec![completed(1, "x")]);
    restart(&mut house).unwrap();
    assert_eq!(house.status("i"), Status::Pending);
    let state = house.instance("i");
    assert_eq!((state.history.len(), state.output.clone()), (0, None));
    let start = state.start.clone().unwrap();
    assert_eq!((start.tags.len(), start.version.as_deref()), (1, Some("3")));
    assert_eq!(house.news("i"), ["turn at 0", "started orchestrator \"in\""]);
}

/// What an SDK makes of a failed history: failed tasks and their requests go, and the end.
fn clean(history: &[HistoryEvent], new: &[HistoryEvent], execution_id: &str) -> Vec<HistoryEvent> {
    let failed: BTreeSet<i32> = history
        .iter()
        .filter_map(|event| match event.fact {
            Fact::TaskFailed { task, .. } | Fact::SubOrchestrationFailed { task, .. } => Some(task),
            _ => None,
        })
        .collect();
    let mut parent = None;
    for event in new {
        if let Fact::ExecutionRewound(rewound) = &event.fact {
            parent.clone_from(&rewound.parent_execution_id);
        }
    }
    let keep = |event: &HistoryEvent| match &event.fact {
        Fact::TaskScheduled(_) => !failed.contains(&event.id),
        Fact::TaskFailed { .. }
        | Fact::SubOrchestrationFailed { .. }
        | Fact::ExecutionCompleted(_) => false,
        _ => true,
    };
    let mut kept: Vec<_> = history.iter().chain(new).filter(|it| keep(it)).cloned().collect();
    for event in &mut kept {
        if let Fact::ExecutionStarted(started) = &mut event.fact {
            started.execution_id = execution_id.into();
            if let (Some(of), Some(parent)) = (started.parent.as_mut(), &parent) {
                of.execution_id = parent.clone();
            }
        }
    }
    kept
}

pub(super) fn rewind(house: &mut House, name: &str, execution_id: &str) {
    let (token, past, new) = house.turn(name);
    let words: Vec<String> = new.iter().map(shown).collect();
    assert_eq!(words[1..], ["rewound"]);
    assert!(past.iter().any(|event| matches!(event.fact, Fact::ExecutionCompleted(_))));
    let history = clean(&past, &new, execution_id);
    let action = Action { id: -1, kind: ActionKind::Rewind { history } };
    house.complete(name, result(token, vec![action])).expect("the rewind is taken");
}

#[test]
fn a_rewind_tries_again_what_failed_down_to_the_leaf() {
    let mut house = House::with("p");
    house.answer("p", vec![task(1, "good"), child(2, "kid", "sub")]);
    house.run_activity("p", 1, "ok");
    house.answer("kid", vec![task(1, "bad"), task(2, "slow")]);
    let token = house.activity("kid", 1);
    let failure = Box::new(FailureDetails::new("E", "broke"));
    house.say("kid", Input::ActivityCompleted { token, result: Err(failure) }).unwrap();
    house.answer("kid", vec![end(3, Outcome::Failed, "broke")]);
    house.answer("p", vec![end(3, Outcome::Failed, "broke")]);
    house.say("p", Input::Rewind { reason: text("again") }).unwrap();
    assert_eq!(house.status("p"), Status::Running);
    rewind(&mut house, "p", "00000000000000000000000000000aaa");
    assert_eq!(&*house.instance("p").execution_id(), "00000000000000000000000000000aaa");
    assert_eq!(house.news("p"), ["turn at 0"], "it replays what stays");
    house.answer("p", vec![]);
    rewind(&mut house, "kid", "00000000000000000000000000000bbb");
    // The task that had not ended when the instance failed runs again, too.
    house.run_activity("kid", 2, "slow result");
    // The failed one is asked for anew under its old number.
    house.answer("kid", vec![task(1, "bad")]);
    house.run_activity("kid", 1, "good now");
    house.answer("kid", vec![completed(3, "kid done")]);
    assert_eq!(house.news("p")[1], "child 2 done kid done");
    house.answer("p", vec![completed(3, "done")]);
    assert_eq!(house.status("p"), Status::Completed);
    let refused = house.say("p", Input::Rewind { reason: None });
    let Err(Rejected::Conflict(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("allowed"), "{reason}");
}

#[test]
fn a_purged_child_is_made_anew_by_a_rewind() {
    let mut house = House::with("p");
    house.answer("p", vec![child(1, "kid", "sub")]);
    house.answer("kid", vec![end(1, Outcome::Failed, "broke")]);
    house.answer("p", vec![end(2, Outcome::Failed, "broke")]);
    house.instances.remove(&id("kid"));
    house.say("p", Input::Rewind { reason: None }).unwrap();
    rewind(&mut house, "p", "00000000000000000000000000000aaa");
    assert_eq!(house.news("kid"), ["turn at 0", "started sub \"c\""]);
    house.answer("kid", vec![completed(1, "fine")]);
    assert_eq!(house.news("p")[1], "child 1 done fine");
}

#[test]
fn a_recursive_end_goes_through_children_that_have_ended() {
    let mut house = House::with("p");
    house.answer("p", vec![child(1, "kid", "sub")]);
    house.answer("kid", vec![child(1, "grandkid", "sub"), completed(2, "did not wait")]);
    house.answer("grandkid", vec![]);
    let end = Input::Terminate { output: text("enough"), recurse: true, at_once: true };
    house.say("p", end).unwrap();
    assert_eq!(house.status("kid"), Status::Completed, "what has ended stays as it was");
    let told = house.instance("grandkid").inbox.iter().any(|event| {
        matches!(&event.fact, Fact::ExecutionTerminated { input, recurse: true } if *input == text("enough"))
    });
    assert!(told, "{:?}", house.instance("grandkid").inbox);
}

#[test]
fn a_worker_that_cannot_rewind_leaves_a_failed_instance() {
    let mut house = House::with("i");
    house.answer("i", vec![end(1, Outcome::Failed, "broke")]);
    house.say("i", Input::Rewind { reason: None }).unwrap();
    house.say("i", raise("meanwhile")).unwrap();
    house.answer("i", vec![]);
    assert_eq!(house.status("i"), Status::Failed);
    assert_eq!(&*house.instance("i").failure.clone().unwrap().error_type, "RewindNotSupported");
}

#[test]
fn starts_are_checked() {
    let mut house = House::new();
    let nameless = house.try_start("i", |start| start.name = "".into());
    assert!(matches!(nameless, Err(Rejected::Invalid(_))), "{nameless:?}");
    let again = Start::new("o", None, "1".into()).again("2".into());
    assert_eq!((&*again.execution_id, again.parent), ("2", None));
    let started = ExecutionStarted {
        name: "o".into(),
        version: None,
        input: None,
        instance_id: "i".into(),
        execution_id: "2".into(),
        parent: None,
        scheduled_at: None,
        trace: None,
        tags: kernel::durable::Tags::new(),
    };
    let json = serde_json::to_string(&started).unwrap();
    assert_eq!(serde_json::from_str::<ExecutionStarted>(&json).unwrap(), started);
}
