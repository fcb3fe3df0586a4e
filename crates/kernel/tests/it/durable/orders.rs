//! Turns: what they are handed, what their actions order, and answers that do not fit.

use kernel::Rejected;
use kernel::durable::instance::{Input, Waiting};
use kernel::durable::{
    Action, ActionKind, FailureDetails, Outcome, Status, TURN, TurnTrace, WorkQueue, WorkToken,
};
use kernel::graph::Message;
use kernel::{Json, Timestamp, graph};

use super::entities::lock;
use super::house::{
    House, START, call, child, completed, end, id, result, signal, task, text, timer,
};

#[test]
fn the_history_has_the_shape_that_workers_expect() {
    let mut house = House::with("i");
    assert_eq!(house.status("i"), Status::Pending);
    house.now = house.now.plus_millis(5);
    assert_eq!(house.news("i"), ["turn at 5", "started orchestrator \"in\""]);
    house.answer("i", vec![task(1, "say")]);
    assert_eq!(house.status("i"), Status::Running);
    house.run_activity("i", 1, "\"hi\"");
    house.answer("i", vec![timer(2, 1000)]);
    house.pass(999);
    let (token, past, new) = house.turn("i");
    assert_eq!((past.len(), new.len()), (6, 2), "the timer fires when it is due, not before");
    drop(token);
    house.answer("i", vec![child(3, "", "sub")]);
    house.answer("i:0003", vec![completed(1, "\"out\"")]);
    house.answer("i", vec![completed(4, "\"end\"")]);
    let expected = [
        "turn at 5",
        "started orchestrator \"in\"",
        "#1 task say",
        "turn at 5",
        "task 1 done \"hi\"",
        "#2 timer at 1000",
        "turn at 1004",
        "timer 2 fired",
        "#3 child sub i:0003",
        "turn at 1004",
        "child 3 done \"out\"",
        "#4 ended Completed \"end\"",
    ];
    assert_eq!(house.history("i"), expected);
    let state = house.instance("i");
    assert_eq!(state.output.as_deref(), Some("\"end\""));
    assert_eq!(state.ended_at, Some(house.now));
    assert!(house.rows.is_empty(), "{:?}", house.rows);
}

#[test]
fn what_arrives_while_a_turn_is_out_follows_in_the_next() {
    let mut house = House::with("i");
    let (token, ..) = house.turn("i");
    let raise = |name: &str| Input::Raise { name: name.into(), input: text("1") };
    house.say("i", raise("late")).unwrap();
    house.complete("i", result(token, vec![])).unwrap();
    assert_eq!(house.news("i"), ["turn at 0", "raised late 1"]);
    house.say("i", raise("Later")).unwrap();
    let (token, _, new) = house.turn("i");
    assert_eq!(new.len(), 3);
    // The worker looked at the first of the two only: OrchestratorStarted counts.
    let mut answer = result(token, vec![]);
    answer.processed = Some(2);
    house.complete("i", answer).unwrap();
    assert_eq!(house.news("i"), ["turn at 0", "raised Later 1"]);
}

#[test]
fn custom_status_and_trace_are_replaced_by_each_turn() {
    let mut house = House::with("i");
    let trace = TurnTrace { span_id: text("s"), started: Some((3, 141_592)) };
    for (status, kept) in
        [(text("\"a\""), text("\"a\"")), (text(""), None), (text("\"\""), text("\"\""))]
    {
        house.say("i", Input::Raise { name: "x".into(), input: None }).unwrap();
        let (token, ..) = house.turn("i");
        let mut answer = result(token, vec![]);
        answer.custom_status = status;
        answer.trace = Some(trace.clone());
        house.complete("i", answer).unwrap();
        assert_eq!(house.instance("i").custom_status, kept);
        assert_eq!(house.instance("i").trace, Some(trace.clone()));
    }
}

#[test]
fn only_the_first_answer_to_a_turn_counts() {
    let mut house = House::with("i");
    let (token, ..) = house.turn("i");
    house.now = house.now.plus_millis(10);
    let (again, ..) = house.turn("i");
    assert_ne!(token, again, "each hand-out has its instant");
    house.complete("i", result(token.clone(), vec![task(1, "say")])).unwrap();
    for late in [again, token] {
        let refused = house.complete("i", result(late, vec![completed(1, "x")]));
        assert!(matches!(refused, Err(Rejected::Stale(_))), "{refused:?}");
    }
    assert_eq!(house.history("i").len(), 3);
}

#[test]
fn tokens_that_were_never_given_are_refused() {
    let mut house = House::with("i");
    let (token, ..) = house.turn("i");
    let WorkToken::Turn { instance, execution_id, turn, taken, at } = token else { panic!() };
    let forge = |execution_id: &str, turn, taken, at| WorkToken::Turn {
        instance: instance.clone(),
        execution_id: execution_id.into(),
        turn,
        taken,
        at,
    };
    let forged = [
        forge("other", turn, taken, at),
        forge(&execution_id, turn + 1, taken, at),
        forge(&execution_id, turn, taken + 1, at),
        forge(&execution_id, turn, 0, at),
        forge(&execution_id, turn, taken, at.plus_millis(60_000)),
    ];
    for token in forged {
        let read: WorkToken = token.to_string().parse().unwrap();
        assert_eq!(read, token);
        let refused = house.complete("i", result(token, vec![]));
        assert!(matches!(refused, Err(Rejected::Stale(_))), "{refused:?}");
    }
    for text in ["", "t", "t.1.2.3.4", "x.1.2", "a.e.1.schedule:x", "b.1.1.1.instance:h:i"] {
        assert!(text.parse::<WorkToken>().is_err(), "{text}");
    }
    house.start("other", |_| {});
    let (other, ..) = house.turn("other");
    let other = house.complete("i", result(other, vec![]));
    assert!(matches!(other, Err(Rejected::Stale(_))), "{other:?}");
}

#[test]
fn the_first_result_of_an_activity_counts() {
    let mut house = House::with("i");
    house.answer("i", vec![task(1, "a"), task(2, "b")]);
    let (first, second) = (house.activity("i", 1), house.activity("i", 2));
    house.done("i", second, "two").unwrap();
    house.done("i", first.clone(), "one").unwrap();
    let repeated = house.done("i", first, "other");
    assert!(matches!(repeated, Err(Rejected::Stale(_))), "{repeated:?}");
    assert_eq!(house.news("i"), ["turn at 0", "task 2 done two", "task 1 done one"]);
}

#[test]
fn failures_are_kept_whole() {
    let mut house = House::with("i");
    house.answer("i", vec![task(1, "a")]);
    let inner = FailureDetails::new("Inner", "because");
    let failure = FailureDetails {
        stack: text("at line 1"),
        inner: Some(Box::new(inner)),
        non_retriable: true,
        properties: Some(Json::of(&serde_json::json!({ "code": 7.5 }))),
        ..FailureDetails::new("Outer", "broken")
    };
    let token = house.activity("i", 1);
    let result = Err(Box::new(failure.clone()));
    house.say("i", Input::ActivityCompleted { token, result }).unwrap();
    let (.., new) = house.turn("i");
    let fact = kernel::durable::Fact::TaskFailed { task: 1, failure: Box::new(failure) };
    assert_eq!(new[1].fact, fact);
}

#[test]
fn a_retry_may_bear_the_id_of_what_failed() {
    let mut house = House::with("i");
    for _ in 0..3 {
        house.answer("i", vec![task(1, "a")]);
        house.fail_activity("i", 1);
    }
    house.answer("i", vec![completed(2, "a")]);
    assert_eq!(house.status("i"), Status::Completed);
}

#[test]
fn what_is_asked_for_again_is_not_done_again() {
    let everything = || {
        let sent =
            ActionKind::SendEvent { instance_id: "b".into(), name: "e".into(), input: text("x") };
        vec![
            task(1, "a"),
            timer(2, 1_000_000),
            child(3, "kid", "sub"),
            Action { id: 4, kind: sent },
            call(5, "r1", "@counter@a"),
            signal(6, "r2", "@counter@a"),
            lock(7, "s", &["@tank@a"]),
        ]
    };
    let mut house = House::with("i");
    house.start("b", |_| {});
    house.answer("i", everything());
    house.run_activity("i", 1, "x");
    let (lines, sent) = (house.history("i").len(), house.sent);
    for _ in 0..3 {
        house.answer("i", everything());
        house.say("i", Input::Raise { name: "e".into(), input: None }).unwrap();
    }
    // Three turns began, with a lock, a result and events, and that is all.
    assert_eq!(house.history("i").len(), lines + 7, "{:?}", house.history("i"));
    assert_eq!(house.sent, sent, "nobody is told twice");
    assert_eq!(house.instance("i").queued(), [TURN], "the activity does not run again");
    house.answer("i", vec![completed(8, "done")]);
    assert_eq!(house.status("i"), Status::Completed);
}

#[test]
fn a_retry_that_is_asked_for_again_while_suspended_runs_once() {
    let mut house = House::with("i");
    house.answer("i", vec![task(1, "a")]);
    house.fail_activity("i", 1);
    house.answer("i", vec![timer(2, 1000)]);
    house.pass(1000);
    // A build before this one put both into one turn: the worker goes on asking for the retry.
    house.answer("i", vec![task(1, "a")]);
    house.say("i", Input::Suspend { reason: None }).unwrap();
    house.answer("i", vec![task(1, "a")]);
    house.fail_activity("i", 1);
    for _ in 0..3 {
        house.answer("i", vec![task(1, "a")]);
        assert_eq!(house.instance("i").sequence_of(1), None, "it does not run a third time");
        house.say("i", Input::Raise { name: "e".into(), input: None }).unwrap();
    }
    house.say("i", Input::Resume { reason: None }).unwrap();
    // It has seen the second failure by now, and may ask for a third run.
    house.answer("i", vec![task(1, "a")]);
    house.run_activity("i", 1, "x");
    house.answer("i", vec![completed(3, "a")]);
    assert_eq!(house.status("i"), Status::Completed);
}

#[test]
fn ids_are_used_anew_by_the_next_life() {
    let mut house = House::with("i");
    for life in 0..3 {
        house.answer("i", vec![task(1, "a"), timer(2, 1_000_000)]);
        house.run_activity("i", 1, "x");
        let again = end(3, Outcome::ContinuedAsNew, &life.to_string());
        house.answer("i", vec![again]);
    }
    house.answer("i", vec![task(1, "a")]);
    house.run_activity("i", 1, "x");
}

#[test]
fn actions_that_contradict_the_history_fail_the_instance() {
    let wrong: [(&str, Vec<Action>); 6] = [
        ("twice", vec![task(2, "a"), timer(2, 1)]),
        ("on record as something else", vec![task(9, "a")]),
        ("on record as something else", vec![task(1, "b")]),
        ("negative", vec![task(-1, "a")]),
        ("more than once", vec![completed(2, "a"), completed(3, "b")]),
        ("rewinds", vec![Action { id: 2, kind: ActionKind::Rewind { history: vec![] } }]),
    ];
    for (what, actions) in wrong {
        let mut house = House::with("i");
        house.answer("i", vec![task(1, "a"), timer(9, 1_000_000_000)]);
        house.run_activity("i", 1, "x");
        house.answer("i", actions);
        assert_eq!(house.status("i"), Status::Failed, "{what}");
        let failure = house.instance("i").failure.clone().unwrap();
        assert_eq!(&*failure.error_type, "NonDeterminismError");
        assert!(failure.message.contains(what), "{}", failure.message);
        assert!(house.rows.is_empty());
    }
}

#[test]
fn actions_may_come_in_any_order() {
    let mut house = House::with("i");
    house.answer("i", vec![task(3, "c"), task(1, "a"), task(2, "b")]);
    assert_eq!(house.history("i")[2..], ["#1 task a", "#2 task b", "#3 task c"]);
}

#[test]
fn payloads_have_a_bound() {
    let mut house = House::new();
    house.limits.payload_max = 10;
    let long = "x".repeat(11);
    let refused = house.try_start("i", |start| start.input = text(&long));
    assert!(matches!(refused, Err(Rejected::Invalid(_))));
    house.start("i", |_| {});
    let raised = house.say("i", Input::Raise { name: "e".into(), input: text(&long) });
    assert!(matches!(raised, Err(Rejected::Invalid(_))));
    house.answer("i", vec![task(1, "a"), task(2, "b")]);
    house.run_activity("i", 1, &long);
    assert!(house.news("i")[1].contains("longer than 10 bytes"), "{:?}", house.news("i"));
    house.answer("i", vec![completed(3, &long)]);
    assert_eq!(house.status("i"), Status::Failed);
    assert_eq!(&*house.instance("i").failure.clone().unwrap().error_type, "PayloadTooLarge");
}

#[test]
fn events_go_to_other_instances() {
    let mut house = House::with("a");
    house.start("b", |_| {});
    let kind =
        ActionKind::SendEvent { instance_id: "b".into(), name: "Hello".into(), input: text("1") };
    house.answer("a", vec![Action { id: 1, kind }, completed(2, "x")]);
    assert_eq!(house.news("b").last().unwrap(), "raised Hello 1");
}

#[test]
fn children_answer_their_parents() {
    for (outcome, said) in [
        (Outcome::Completed, "child 1 done \"r\""),
        (Outcome::Failed, "child 1 failed \"r\""),
        (Outcome::Canceled, "child 1 failed orchestration kid was canceled: \"r\""),
    ] {
        let mut house = House::new();
        house.start("p", |start| {
            start.tags.insert("team".into(), "red".into());
        });
        house.answer("p", vec![child(1, "kid", "sub")]);
        let kid = house.instance("kid").start.clone().unwrap();
        assert_eq!(&*kid.tags["team"], "red");
        let parent = kid.parent.clone().unwrap();
        assert_eq!((parent.task, &*parent.instance_id, &*parent.name), (1, "p", "orchestrator"));
        assert_eq!(parent.execution_id, house.instance("p").execution_id());
        house.answer("kid", vec![end(1, outcome, "\"r\"")]);
        assert_eq!(house.news("p")[1], said);
        // A retry starts a child of the same id.
        house.answer("p", vec![child(2, "kid", "sub")]);
        assert_eq!(house.status("kid"), Status::Pending);
        // One that runs is not replaced.
        house.start("q", |_| {});
        house.answer("q", vec![child(1, "kid", "sub")]);
        assert!(house.news("q")[1].contains("'kid' is PENDING"), "{:?}", house.news("q"));
        assert_eq!(house.instance("kid").start.clone().unwrap().parent.unwrap().task, 2);
    }
}

#[test]
fn a_detached_child_says_nothing() {
    let mut house = House::with("p");
    let mut action = child(1, "kid", "sub");
    if let ActionKind::CreateSubOrchestration { call, .. } = &mut action.kind {
        call.tags.insert(kernel::durable::DETACHED_TAG.into(), "true".into());
    }
    house.answer("p", vec![action, completed(2, "x")]);
    house.answer("kid", vec![completed(1, "y")]);
    assert_eq!(house.status("kid"), Status::Completed);
    assert_eq!(house.history("p").last().unwrap(), "#2 ended Completed x");
}

#[test]
fn a_child_that_nests_too_deep_is_not_started() {
    let mut house = House::new();
    house.limits.depth_max = 3;
    house.start("p", |start| start.depth = 2);
    house.answer("p", vec![child(1, "kid", "sub")]);
    assert!(house.news("p")[1].contains("depth_max"));
}

#[test]
fn a_definition_can_be_a_child() {
    let mut house = House::with("p");
    house.answer("p", vec![child(7, "ignored", "workflow:billing")]);
    let (to, message) = house.outside.pop().unwrap();
    let Message::Start(start) = message else { panic!("{message:?}") };
    assert_eq!((&*start.name, start.input.text()), ("billing", r#"{"input":"c"}"#));
    let by = start.parent.unwrap();
    assert_eq!((by.execution, by.sequence), (id("p"), 7));
    assert_eq!(house.instance("p").waiting(), [Waiting::Child(to.clone())]);
    let ended = |child: &kernel::ExecutionId| Message::Ended {
        sequence: 7,
        status: graph::Status::Completed,
        output: Json::of(&serde_json::json!({ "paid": true })),
        reason: None,
        child: Some(child.clone()),
        asked: 0,
    };
    let other = house.say("p", Input::Message(ended(&id("x"))));
    assert!(matches!(other, Err(Rejected::Stale(_))), "{other:?}");
    house.say("p", Input::Message(ended(&to))).unwrap();
    assert_eq!(house.news("p")[1], "child 7 done {\"paid\":true}");
    house.say("p", Input::Message(ended(&to))).unwrap_err();
}

#[test]
fn an_instance_says_what_it_waits_for() {
    let mut house = House::with("i");
    let queue = WorkQueue::parse("durable:hub:orchestration:orchestrator").unwrap();
    assert_eq!(house.instance("i").waiting(), [Waiting::Turn(queue)]);
    house.answer("i", vec![task(1, "a:b"), timer(2, 50)]);
    let queue = WorkQueue::parse(&house.rows[&(id("i"), 1)]).unwrap();
    assert_eq!((&*queue.name, queue.version.clone()), ("a:b", None));
    let fire_at = Timestamp::from_millis(START + 50);
    let waits = [Waiting::Activity { sequence: 1, queue }, Waiting::Timer { fire_at }];
    assert_eq!(house.instance("i").waiting(), waits);
    house.run_activity("i", 1, "x");
    house.pass(50);
    house.answer("i", vec![]);
    assert_eq!(house.instance("i").waiting(), [Waiting::Event]);
    house.say("i", Input::Suspend { reason: None }).unwrap();
    house.answer("i", vec![]);
    assert_eq!(house.instance("i").waiting(), [Waiting::Resume]);
    assert!(!house.rows.contains_key(&(id("i"), TURN)));
}

#[test]
fn versions_have_queues_of_their_own() {
    let mut house = House::new();
    house.start("i", |start| start.version = text("1.2"));
    assert_eq!(&*house.rows[&(id("i"), TURN)], "durable:hub:orchestration:orchestrator:1.2");
    let mut action = task(1, "a");
    if let ActionKind::ScheduleTask(call) = &mut action.kind {
        call.version = text("");
    }
    house.answer("i", vec![action]);
    assert_eq!(&*house.rows[&(id("i"), 1)], "durable:hub:activity:a", "an empty one is none");
}
