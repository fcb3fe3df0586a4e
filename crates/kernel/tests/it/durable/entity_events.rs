//! Messages to entities in the form of events: heard like others, shown as they were written, and
//! answered in their own form.

use std::sync::Arc;

use kernel::durable::entity::{self, BatchResult, Input, Lock};
use kernel::durable::{
    Action, ActionKind, EntityMessage, Fact, FailureDetails, HistoryEvent, LockRequest,
    OperationResult, Origin, Outcome, Status, TURN, Unlock,
};
use kernel::{Timestamp, durable::instance};

use super::house::{
    House, START, call, completed, end, entity_id, id, operation, result, signal, text,
};

const A: &str = "@counter@a";
const B: &str = "@counter@b";

/// A message in the form of an event.
fn event(id: i32, entity: &str, name: &str, says: EntityMessage) -> Action {
    said(id, entity, name, Ok(says))
}

fn said(id: i32, entity: &str, name: &str, says: Result<EntityMessage, Arc<str>>) -> Action {
    let (entity, name, input) = (entity.into(), name.into(), text("as written"));
    Action { id, kind: ActionKind::SendEntityEvent { entity, name, input, says } }
}

pub(crate) fn called(id: i32, name: &str, target: &str) -> Action {
    let request = format!("r{id}-{name}");
    event(id, target, "op", EntityMessage::Called(Box::new(operation(&request, name, target))))
}

fn signaled(id: i32, name: &str, target: &str, after: i64) -> Action {
    let mut asked = operation(&format!("r{id}-{name}"), name, target);
    asked.scheduled_at = (after > 0).then(|| Timestamp::from_millis(START + after));
    let event_name = if after > 0 { "op@later" } else { "op" };
    event(id, target, event_name, EntityMessage::Signaled(Box::new(asked)))
}

fn request(section: &str, entities: &[&str]) -> LockRequest {
    LockRequest {
        critical_section_id: section.into(),
        lock_set: entities.iter().map(|it| (*it).into()).collect(),
        position: 0,
        parent_instance_id: None,
    }
}

pub(crate) fn lock(id: i32, section: &str, entities: &[&str]) -> Action {
    let message = EntityMessage::LockRequested(Box::new(request(section, entities)));
    event(id, entities[0], "op", message)
}

fn release(id: i32, section: &str, entity: &str) -> Action {
    let unlock = Unlock {
        critical_section_id: section.into(),
        parent_instance_id: None,
        target: text(entity),
    };
    event(id, entity, "release", EntityMessage::UnlockSent(Box::new(unlock)))
}

/// The first new fact of the next turn, after its beginning.
fn told(house: &House, name: &str) -> Fact {
    house.turn(name).2[1].fact.clone()
}

fn failed_with(house: &House, name: &str) -> String {
    assert_eq!(house.status(name), Status::Failed);
    let failure = house.instance(name).failure.clone().expect("it says why");
    assert_eq!(&*failure.error_type, "InvalidEntityMessage");
    assert!(failure.non_retriable);
    failure.message.to_string()
}

#[test]
fn a_call_is_shown_as_it_was_written_and_answered_as_an_event() {
    let mut house = House::with("i");
    house.answer("i", vec![called(1, "get", A), call(2, "look", A)]);
    assert_eq!(house.history("i")[2..], ["#1 sent op to @counter@a", "#2 call look"]);
    let written = house.instance("i").history[2].fact.clone();
    let Fact::EventSent { input, locks: None, .. } = written else { panic!("{written:?}") };
    assert_eq!(input.as_deref(), Some("as written"));
    // The entity sees no difference.
    let Fact::EntityCalled(asked) = house.batch(A).operations[0].fact.clone() else { panic!() };
    assert_eq!((asked.parent_instance_id.as_deref(), asked.target), (Some("i"), None));
    assert_eq!(asked.parent_execution_id, Some(house.instance("i").execution_id()));
    house.run_batch(A, Some("1"), Vec::new());
    let new = house.turn("i").2;
    let answers = [("r1-get", "get", true), ("r2-look", "look", false)];
    for (event, (request, output, as_event)) in new[1..].iter().zip(answers) {
        let (request_id, output) = (request.into(), text(output));
        assert_eq!(event.fact, Fact::EntityOperationCompleted { request_id, output, as_event });
    }
}

#[test]
fn a_failure_is_told_as_an_event() {
    let mut house = House::with("i");
    house.limits.tasks_max = 1;
    house.answer("i", vec![called(1, "boom", A), called(2, "more", A)]);
    let refused = told(&house, "i");
    let Fact::EntityOperationFailed { request_id, as_event: true, .. } = refused else {
        panic!("what the entity has no room for is answered, too: {refused:?}")
    };
    assert_eq!(&*request_id, "r2-more");
    house.answer("i", Vec::new());
    let failure = Box::new(FailureDetails::new("E", "no"));
    let result = BatchResult {
        token: house.batch(A).token,
        results: vec![OperationResult::Failed { failure: failure.clone() }],
        actions: Vec::new(),
        state: None,
        failure: None,
    };
    house.say_entity(A, Input::BatchCompleted(Box::new(result))).unwrap();
    let request_id = "r1-boom".into();
    let fact = Fact::EntityOperationFailed { request_id, failure, as_event: true };
    assert_eq!(told(&house, "i"), fact);
}

#[test]
fn signals_now_and_later() {
    let mut house = House::with("i");
    house.answer("i", vec![signaled(1, "later", A, 100), signaled(2, "now", A, 0)]);
    assert_eq!(house.operations(A), ["now"]);
    house.run_batch(A, None, Vec::new());
    assert!(!house.rows.contains_key(&(id("i"), TURN)), "nobody answers a signal");
    house.pass(99);
    assert!(!house.entity(A).wants_batch());
    house.pass(1);
    assert_eq!(house.operations(A), ["later"]);
}

#[test]
fn locks_are_taken_and_given_back() {
    let mut house = House::with("i");
    house.start("j", |_| {});
    // An entity that is named twice is locked once.
    house.answer("i", vec![lock(1, "cs", &[A, B, A, "@Counter@b"])]);
    let granted = Fact::EntityLockGranted { critical_section_id: "cs".into(), as_event: true };
    assert_eq!(told(&house, "i"), granted);
    house.answer("j", vec![signal(1, "theirs", A)]);
    house.answer("i", vec![called(2, "mine", A), call(3, "too", B)]);
    assert_eq!(house.operations(A), ["mine"]);
    house.run_batch(A, None, Vec::new());
    house.run_batch(B, None, Vec::new());
    house.answer("i", vec![release(4, "cs", A), release(5, "cs", B)]);
    assert_eq!(house.operations(A), ["theirs"]);
    assert!(house.entity(A).lock.is_none() && house.entity(B).lock.is_none());
}

#[test]
fn locks_go_with_their_holder() {
    let at_once = instance::Input::Terminate { output: None, recurse: false, at_once: true };
    let ends: [&dyn Fn(&mut House); 4] = [
        &|house| house.answer("i", vec![completed(9, "x")]),
        &|house| house.answer("i", vec![end(9, Outcome::Failed, "x")]),
        &|house| house.answer("i", vec![end(9, Outcome::ContinuedAsNew, "1")]),
        &|house| house.say("i", at_once.clone()).unwrap(),
    ];
    for finish in ends {
        for given_back in [vec![], vec![release(2, "cs", B)]] {
            let mut house = House::with("i");
            house.answer("i", vec![lock(1, "cs", &[A, B])]);
            let (token, ..) = house.turn("i");
            let answer = instance::TurnResult { processed: Some(1), ..result(token, given_back) };
            house.complete("i", answer).unwrap();
            assert!(house.entity(A).lock.is_some());
            finish(&mut house);
            for entity in [A, B] {
                assert_eq!(house.entity(entity).lock, None, "{entity} is locked for ever");
            }
        }
    }
}

#[test]
fn a_rewind_asks_again_for_the_locks_that_were_not_granted() {
    let mut house = House::with("holder");
    house.answer("holder", vec![lock(1, "theirs", &[A])]);
    house.start("i", |_| {});
    house.answer("i", vec![lock(1, "free", &[B]), lock(2, "cs", &[A])]);
    house.answer("i", vec![end(3, Outcome::Failed, "broke")]);
    house.say("i", instance::Input::Rewind { reason: None }).unwrap();
    let (token, past, _) = house.turn("i");
    // As the worker knows it: an answer is an event.
    let history = past.into_iter().filter(|it| !matches!(it.fact, Fact::ExecutionCompleted(_)));
    let history = history.map(|mut it| {
        if let Fact::EntityLockGranted { critical_section_id, .. } = it.fact {
            it.fact = Fact::EventRaised { name: critical_section_id, input: None };
        }
        it
    });
    let rewound = ActionKind::Rewind { history: history.collect() };
    house.complete("i", result(token, vec![Action { id: -1, kind: rewound }])).unwrap();
    house.answer("i", vec![]);
    assert_eq!(house.entity(B).lock, None, "what was granted before is not asked for again");
    house.answer("holder", vec![completed(2, "done")]);
    let granted = Fact::EntityLockGranted { critical_section_id: "cs".into(), as_event: true };
    assert_eq!(told(&house, "i"), granted);
}

#[test]
fn the_next_life_gets_no_answer_of_the_last() {
    let mut house = House::with("i");
    house.answer("i", vec![called(1, "get", A), lock(2, "cs", &[B])]);
    house.run_batch(A, None, Vec::new());
    let (token, ..) = house.turn("i");
    let mut last = result(token, vec![end(3, Outcome::ContinuedAsNew, "1")]);
    // The answers came while the worker was at it.
    last.processed = Some(1);
    house.complete("i", last).unwrap();
    assert_eq!(house.news("i")[1..], ["started orchestrator 1"]);
}

#[test]
fn what_says_nothing_fails_the_instance_and_touches_nobody() {
    let mut house = House::with("i");
    house.start("j", |_| {});
    let nonsense = said(2, A, "op", Err("it carries nothing".into()));
    house.answer("i", vec![called(1, "get", A), nonsense, completed(3, "x")]);
    let words =
        "action 2: the event for '@counter@a' is no message to an entity: it carries nothing";
    assert_eq!(failed_with(&house, "i"), words);
    assert!(!house.entities.contains_key(&entity_id(A)), "nothing of the turn was done");
    assert_eq!(house.history("i").last().unwrap(), "ended Failed InvalidEntityMessage");
    house.answer("j", vec![called(1, "get", A)]);
    assert_eq!(house.operations(A), ["get"]);
}

#[test]
fn messages_that_reach_nobody_fail_the_instance_in_either_form() {
    let modern = |message| Action { id: 1, kind: ActionKind::SendEntityMessage(message) };
    let misplaced = LockRequest { position: 1, ..request("cs", &[A]) };
    let nobody = "an entity id is '@name@key', and not ";
    for (message, why) in [
        (EntityMessage::Signaled(Box::new(operation("r", "o", "x"))), format!("{nobody}'x'")),
        (EntityMessage::Called(Box::new(operation("r", "o", "@@k"))), format!("{nobody}'@@k'")),
        (
            EntityMessage::LockRequested(Box::new(request("cs", &[]))),
            "a request for locks names no entity".to_owned(),
        ),
        (
            EntityMessage::LockRequested(Box::new(request("cs", &[A, "@b"]))),
            format!("{nobody}'@b'"),
        ),
        (
            EntityMessage::LockRequested(Box::new(misplaced)),
            "a request for 1 locks is at position 1".to_owned(),
        ),
    ] {
        for action in [modern(message.clone()), event(1, A, "op", message.clone())] {
            let mut house = House::with("i");
            house.answer("i", vec![action]);
            assert_eq!(failed_with(&house, "i"), format!("action 1: {why}"));
            assert!(house.entities.is_empty());
        }
    }
}

#[test]
fn an_event_has_a_bound_too() {
    let mut house = House::new();
    house.limits.payload_max = 6;
    house.start("i", |_| {});
    house.answer("i", vec![called(1, "get", A)]);
    assert_eq!(&*house.instance("i").failure.clone().unwrap().error_type, "PayloadTooLarge");
}

#[test]
fn what_was_stored_before_there_were_such_events_reads_as_before() {
    let fact = |fact: &str| {
        let line = format!("{{\"t\":5,\"f\":{fact}}}");
        serde_json::from_str::<HistoryEvent>(&line).expect("it reads").fact
    };
    let completed = fact(r#"{"entity_operation_completed":{"request_id":"r","output":"1"}}"#);
    let (request_id, as_event) = (Arc::<str>::from("r"), false);
    let output = text("1");
    assert_eq!(
        completed,
        Fact::EntityOperationCompleted { request_id: request_id.clone(), output, as_event }
    );
    let failed = fact(
        r#"{"entity_operation_failed":{"request_id":"r","failure":{"error_type":"E","message":"m"}}}"#,
    );
    let failure = Box::new(FailureDetails::new("E", "m"));
    assert_eq!(failed, Fact::EntityOperationFailed { request_id, failure, as_event });
    let granted = fact(r#"{"entity_lock_granted":{"critical_section_id":"cs"}}"#);
    let critical_section_id = "cs".into();
    assert_eq!(granted, Fact::EntityLockGranted { critical_section_id, as_event });
    let sent = fact(r#"{"event_sent":{"instance_id":"b","name":"Hello","input":"1"}}"#);
    let (instance_id, name, input) = ("b".into(), "Hello".into(), text("1"));
    assert_eq!(sent, Fact::EventSent { instance_id, name, input, locks: None });
    let origin: Origin = serde_json::from_str(r#"{"sender":"instance:hub:i"}"#).unwrap();
    assert_eq!(origin, Origin { sender: Some(id("i")), ..Origin::CLIENT });
    let locked = r#"{"locked":{"at":5,"lock":{"holder":"instance:hub:i","request":
        {"critical_section_id":"cs","lock_set":["@counter@a"],"position":0},
        "execution_id":"e"}}}"#;
    let locked: entity::Event = serde_json::from_str(locked).unwrap();
    let entity::Event::Locked { lock, .. } = locked else { panic!("{locked:?}") };
    let (holder, execution_id) = (id("i"), text("e"));
    assert_eq!(lock, Lock { holder, request: request("cs", &[A]), execution_id, as_event });
}
