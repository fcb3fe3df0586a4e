//! Bounds: what is too much for one message to a worker, and ids that nothing can bear.

use kernel::Rejected;
use kernel::durable::entity::{self, BatchResult, Signal};
use kernel::durable::instance::Input;
use kernel::durable::{DELIVERABLE_MAX, OperationResult, Outcome, PORTION_MAX, Status};

use super::house::{House, call, child, completed, end, result, task, text};

/// Texts of which three do not fit into a portion.
fn large() -> String {
    "x".repeat(PORTION_MAX * 2 / 5)
}

#[test]
fn what_waits_goes_out_in_portions() {
    let mut house = House::with("i");
    let raise = |name: &str, input: &str| Input::Raise { name: name.into(), input: text(input) };
    let first = house.turn("i").0;
    for name in ["a", "b", "c", "d"] {
        house.say("i", raise(name, &large())).unwrap();
    }
    house.say("i", raise("huge", &"y".repeat(PORTION_MAX + 1))).unwrap();
    house.say("i", raise("last", "1")).unwrap();
    house.complete("i", result(first, vec![])).unwrap();
    let mut portions = Vec::new();
    while house.instance("i").wants_turn() {
        let (token, _, new) = house.turn("i");
        portions.push(new.len() - 1);
        house.complete("i", result(token, vec![])).unwrap();
    }
    assert_eq!(portions, [2, 2, 1, 1], "in order, and none is left behind");
    let raised = house.history("i").into_iter().filter(|line| line.starts_with("raised"));
    let names = raised.map(|line| line.split(' ').nth(1).unwrap().to_owned());
    assert_eq!(names.collect::<Vec<_>>(), ["a", "b", "c", "d", "huge", "last"]);
}

const E: &str = "@list@k";

fn tell(house: &mut House, request: &str, input: &str) -> Result<(), Rejected> {
    let signal = Signal {
        request_id: request.into(),
        operation: "add".into(),
        input: text(input),
        scheduled_at: None,
        acts_as: None,
    };
    house.say_entity(E, entity::Input::Signal(signal))
}

#[test]
fn operations_go_out_in_portions() {
    let mut house = House::new();
    for request in ["1", "2", "3", "4", "5"] {
        tell(&mut house, request, &large()).unwrap();
    }
    let too_much = tell(&mut house, "6", &"y".repeat(PORTION_MAX));
    assert!(matches!(too_much, Err(Rejected::Invalid(_))), "{too_much:?}");
    let mut portions = Vec::new();
    while house.entity(E).wants_batch() {
        portions.push(house.operations(E).len());
        house.run_batch(E, Some("1"), Vec::new());
    }
    assert_eq!(portions, [2, 2, 1]);
}

#[test]
fn a_state_that_no_worker_could_be_sent_fails_its_operations() {
    let mut house = House::with("i");
    tell(&mut house, "1", "1").unwrap();
    house.run_batch(E, Some("small"), Vec::new());
    house.answer("i", vec![call(1, "grow", E)]);
    let batch = house.batch(E);
    let grown = BatchResult {
        token: batch.token,
        results: vec![OperationResult::Done { result: None }],
        actions: Vec::new(),
        state: text(&"x".repeat(PORTION_MAX + 1)),
        failure: None,
    };
    house.say_entity(E, entity::Input::BatchCompleted(Box::new(grown))).unwrap();
    let news = house.news("i");
    assert!(news[1].starts_with("refused the state of"), "{news:?}");
    let state = house.entity(E);
    assert_eq!((state.state.as_deref(), state.wants_batch()), (Some("small"), false));
    // It goes on with what comes next.
    tell(&mut house, "2", "1").unwrap();
    house.run_batch(E, Some("smaller"), Vec::new());
    assert_eq!(house.entity(E).state.as_deref(), Some("smaller"));
}

#[test]
fn a_child_whose_id_nobody_could_name_is_not_started() {
    for id in ["@counter@a", "two\nlines", &"x".repeat(700)] {
        let mut house = House::with("p");
        house.answer("p", vec![child(1, id, "sub")]);
        let news = house.news("p");
        assert!(news[1].contains("cannot be the id of an instance"), "{news:?}");
        house.answer("p", vec![completed(2, "1")]);
        assert_eq!(house.status("p"), Status::Completed);
    }
    // Ids that SDKs make of their parents' grow with the depth.
    let mut house = House::with("p");
    house.answer("p", vec![child(1, &"x".repeat(400), "sub")]);
    assert_eq!(house.status(&"x".repeat(400)), Status::Pending);
}

#[test]
fn what_no_orchestrator_could_be_told_does_not_fail_it() {
    let mut house = House::new();
    let huge = "x".repeat(DELIVERABLE_MAX + 1);
    let refused = house.try_start("i", |start| start.input = text(&huge));
    assert!(matches!(refused, Err(Rejected::Invalid(_))), "{refused:?}");
    house.start("i", |_| {});
    let raised = house.say("i", Input::Raise { name: "e".into(), input: text(&huge) });
    assert!(matches!(raised, Err(Rejected::Invalid(_))), "{raised:?}");
    house.answer("i", vec![task(1, "a"), child(2, "kid", "sub")]);
    house.run_activity("i", 1, &huge);
    house.answer("kid", vec![completed(1, &huge)]);
    let news = house.news("i");
    for (line, begin) in news[1..].iter().zip(["task 1 failed", "child 2 failed"]) {
        assert!(line.starts_with(begin) && line.contains("4128769 bytes"), "{news:?}");
    }
    assert_eq!((news.len(), house.status("kid")), (3, Status::Failed));
    house.answer("i", vec![completed(3, "1")]);
    assert_eq!(house.status("i"), Status::Completed);
}

#[test]
fn an_output_that_no_message_could_carry_fails_the_orchestration() {
    for outcome in [Outcome::Completed, Outcome::ContinuedAsNew] {
        let mut house = House::with("i");
        house.answer("i", vec![end(1, outcome, &"x".repeat(DELIVERABLE_MAX + 1))]);
        let state = house.instance("i");
        assert_eq!((state.status, &state.output), (Status::Failed, &None), "{outcome:?}");
        let failure = state.failure.clone().unwrap();
        assert_eq!(&*failure.error_type, "PayloadTooLarge");
        assert!(failure.message.contains("output of the orchestration has 4128769 bytes"));
    }
    let mut house = House::with("i");
    house.answer("i", vec![completed(1, &"x".repeat(DELIVERABLE_MAX))]);
    assert_eq!(house.status("i"), Status::Completed);
}

#[test]
fn a_custom_status_has_a_bound() {
    let mut house = House::with("i");
    house.limits.payload_max = 10;
    let (token, ..) = house.turn("i");
    let mut answer = result(token, vec![completed(1, "1")]);
    answer.custom_status = text("longer than ten");
    house.complete("i", answer).unwrap();
    let state = house.instance("i");
    assert_eq!((state.status, state.custom_status.as_deref()), (Status::Failed, None));
    let failure = state.failure.clone().unwrap();
    assert_eq!(&*failure.error_type, "PayloadTooLarge");
    assert!(failure.message.contains("custom status has 15 bytes"), "{}", failure.message);
}
