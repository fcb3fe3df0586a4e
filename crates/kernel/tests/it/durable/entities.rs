//! Entities: operations, signals, locks.

use kernel::durable::entity::{BatchResult, Input, Signal};
use kernel::durable::instance;
use kernel::durable::{
    Action, ActionKind, Call, EntityAction, EntityMessage, Fact, FailureDetails, LockRequest,
    OperationResult, Outcome, TURN, Unlock,
};
use kernel::{ExecutionId, Rejected, Timestamp};

use super::house::{House, START, call, completed, end, entity_id, id, signal, text};

fn client(request: &str, operation: &str) -> Input {
    Input::Signal(Signal {
        request_id: request.into(),
        operation: operation.into(),
        input: None,
        scheduled_at: None,
        acts_as: None,
    })
}

pub(super) fn lock(id: i32, section: &str, entities: &[&str]) -> Action {
    let request = LockRequest {
        critical_section_id: section.into(),
        lock_set: entities.iter().map(|it| (*it).into()).collect(),
        position: 0,
        parent_instance_id: None,
    };
    let message = EntityMessage::LockRequested(Box::new(request));
    Action { id, kind: ActionKind::SendEntityMessage(message) }
}

fn unlock(id: i32, section: &str, entity: &str) -> Action {
    let unlock = Unlock {
        critical_section_id: section.into(),
        parent_instance_id: None,
        target: text(entity),
    };
    let message = EntityMessage::UnlockSent(Box::new(unlock));
    Action { id, kind: ActionKind::SendEntityMessage(message) }
}

pub(super) const A: &str = "@counter@a";
const B: &str = "@counter@b";

#[test]
fn names_count_in_lower_case_and_keys_do_not() {
    assert_eq!(entity_id("@Counter@Key"), entity_id("@counter@Key"));
    assert_ne!(entity_id("@counter@key"), entity_id("@counter@Key"));
    let id = entity_id("@Counter@Key");
    assert_eq!((id.hub(), id.local_name()), ("hub", "@counter@Key"));
}

#[test]
fn operations_run_in_order_and_calls_are_answered() {
    let mut house = House::with("i");
    house.say_entity(A, client("1", "add")).unwrap();
    house.answer("i", vec![signal(1, "set", A), call(2, "get", A)]);
    assert_eq!(house.history("i")[2..], ["#1 signal set", "#2 call get"]);
    let asked = house.batch(A).operations[2].fact.clone();
    let Fact::EntityCalled(asked) = asked else { panic!("{asked:?}") };
    assert_eq!((asked.parent_instance_id.as_deref(), asked.target), (Some("i"), None));
    assert_eq!(asked.parent_execution_id, Some(house.instance("i").execution_id()));
    assert_eq!(house.operations(A), ["add", "set", "get"]);
    // Two of three are done: the last comes again.
    let done = || OperationResult::Done { result: None };
    let batch = house.batch(A);
    let result = BatchResult {
        token: batch.token,
        results: vec![done(), done()],
        actions: Vec::new(),
        state: text("2"),
        failure: None,
    };
    house.say_entity(A, Input::BatchCompleted(Box::new(result.clone()))).unwrap();
    let again = house.say_entity(A, Input::BatchCompleted(Box::new(result)));
    assert!(matches!(again, Err(Rejected::Stale(_))), "{again:?}");
    assert_eq!(house.batch(A).state.as_deref(), Some("2"));
    assert_eq!(house.operations(A), ["get"]);
    house.run_batch(A, Some("2"), Vec::new());
    assert_eq!(house.news("i")[1], "answered get");
    assert!(!house.entity(A).wants_batch());
}

#[test]
fn a_request_is_done_once() {
    let mut house = House::new();
    house.say_entity(A, client("1", "add")).unwrap();
    let twice = house.say_entity(A, client("1", "add"));
    assert!(matches!(twice, Err(Rejected::Stale(_))), "{twice:?}");
    house.run_batch(A, Some("1"), Vec::new());
    let twice = house.say_entity(A, client("1", "add"));
    assert!(matches!(twice, Err(Rejected::Stale(_))), "{twice:?}");
}

#[test]
fn failures_and_deletions() {
    let mut house = House::with("i");
    house.answer("i", vec![call(1, "boom", A)]);
    let failure = Box::new(FailureDetails::new("E", "no"));
    let result = BatchResult {
        token: house.batch(A).token,
        results: vec![OperationResult::Failed { failure }],
        actions: Vec::new(),
        state: None,
        failure: None,
    };
    house.say_entity(A, Input::BatchCompleted(Box::new(result))).unwrap();
    assert_eq!(house.news("i")[1], "refused no");
    assert!(house.entity(A).is_empty(), "it has no state, and nothing is to be done");
}

#[test]
fn a_scheduled_signal_is_hidden_until_it_is_due() {
    let mut house = House::new();
    let later = Signal {
        request_id: "1".into(),
        operation: "later".into(),
        input: None,
        scheduled_at: Some(Timestamp::from_millis(START + 100)),
        acts_as: None,
    };
    house.say_entity(A, Input::Signal(later)).unwrap();
    assert!(house.rows.is_empty() && !house.entity(A).is_empty());
    house.say_entity(A, client("2", "now")).unwrap();
    house.run_batch(A, None, Vec::new());
    house.pass(99);
    assert!(house.rows.is_empty());
    house.pass(1);
    assert_eq!(house.operations(A), ["later"]);
}

#[test]
fn operations_signal_others_and_start_orchestrations() {
    let mut house = House::new();
    house.say_entity(A, client("1", "go")).unwrap();
    let signal = EntityAction::Signal {
        entity: B.into(),
        operation: "hear".into(),
        input: None,
        scheduled_at: None,
    };
    let call = Box::new(Call::new("sub", text("1")));
    let start = EntityAction::Start { instance_id: "made".into(), call, scheduled_at: None };
    house.run_batch(A, Some("1"), vec![signal, start]);
    assert_eq!(house.operations(B), ["hear"]);
    assert_eq!(house.news("made")[1], "started sub 1");
}

#[test]
fn what_operations_ask_for_acts_as_whoever_asked_for_them() {
    let by = |request: &str, who: Option<&str>| {
        let Input::Signal(signal) = client(request, "go") else { unreachable!("it is a signal") };
        Input::Signal(Signal { acts_as: who.map(Into::into), ..signal })
    };
    let begin = |instance_id: &str| EntityAction::Start {
        instance_id: instance_id.into(),
        call: Box::new(Call::new("sub", None)),
        scheduled_at: None,
    };
    let mut house = House::new();
    for (request, who) in
        [("1", Some("key:ann")), ("2", Some("key:ann")), ("3", Some("key:bob")), ("4", None)]
    {
        house.say_entity(A, by(request, who)).unwrap();
    }
    // No batch holds operations of two: what a worker asks for belongs to the batch.
    for (size, made, who) in [(2, "a", Some("key:ann")), (1, "b", Some("key:bob")), (1, "c", None)]
    {
        assert_eq!(house.entity(A).work().expect("a batch").operations.len(), size);
        let signal = EntityAction::Signal {
            entity: B.into(),
            operation: made.into(),
            input: None,
            scheduled_at: None,
        };
        house.run_batch(A, Some("1"), vec![signal, begin(made)]);
        let start = house.instances[&id(made)].start.clone().expect("it has begun");
        assert_eq!(start.acts_as.as_deref(), who);
        // Nor does an entity on the way forget who it was.
        house.run_batch(B, Some("1"), vec![begin(&format!("{made}-later"))]);
        let start = house.instances[&id(&format!("{made}-later"))].start.clone();
        assert_eq!(start.expect("it has begun").acts_as.as_deref(), who);
    }
}

#[test]
fn a_lock_visits_its_entities_and_keeps_others_out() {
    let mut house = House::with("i");
    house.say_entity(A, client("1", "before")).unwrap();
    house.answer("i", vec![lock(1, "cs", &[A, B])]);
    assert!(house.entity(A).lock.is_none(), "what came before goes before");
    house.run_batch(A, Some("1"), Vec::new());
    assert_eq!(house.news("i")[1], "locked cs");
    for entity in [A, B] {
        assert_eq!(house.entity(entity).lock.clone().unwrap().holder, id("i"));
    }
    house.say_entity(A, client("2", "outsider")).unwrap();
    house.answer("i", vec![call(2, "mine", A)]);
    assert_eq!(house.operations(A), ["mine"]);
    house.run_batch(A, Some("2"), Vec::new());
    assert_eq!(house.news("i")[1], "answered mine");
    house.answer("i", vec![unlock(3, "cs", A), unlock(4, "cs", B), completed(5, "x")]);
    assert_eq!(house.operations(A), ["outsider"]);
    assert!(house.entity(A).lock.is_none() && house.entity(B).lock.is_none());
}

#[test]
fn another_cannot_unlock() {
    let mut house = House::with("i");
    house.start("j", |_| {});
    house.answer("i", vec![lock(1, "cs", &[A])]);
    house.answer("j", vec![unlock(1, "cs", A), unlock(2, "other", A)]);
    assert_eq!(house.entity(A).lock.clone().unwrap().holder, id("i"));
}

#[test]
fn locks_go_with_their_holder_wherever_the_request_is() {
    // The holder ends after so many letters of its lock request were delivered.
    for delivered in 0..6 {
        let mut house = House::with("i");
        house.start("j", |_| {});
        house.held_mail = true;
        house.answer("i", vec![lock(1, "cs", &[A, B, "@counter@c"])]);
        for _ in 0..delivered {
            house.post_one();
        }
        let at_once = instance::Input::Terminate { output: None, recurse: false, at_once: true };
        house.say("i", at_once).unwrap();
        house.held_mail = false;
        house.post();
        for entity in [A, B, "@counter@c"] {
            let lock = house.entities.get(&entity_id(entity)).and_then(|it| it.lock.clone());
            assert_eq!(lock, None, "after {delivered} letters {entity} is locked for ever");
        }
        house.answer("j", vec![lock(1, "mine", &[A, B, "@counter@c"])]);
        assert_eq!(house.news("j")[1], "locked mine");
    }
    let mut house = House::with("i");
    house.answer("i", vec![lock(1, "cs", &[A])]);
    house.answer("i", vec![end(2, Outcome::ContinuedAsNew, "1")]);
    assert!(house.entity(A).lock.is_none(), "the next life knows nothing of the lock");
}

#[test]
fn locks_queue_up() {
    let mut house = House::with("i");
    house.start("j", |_| {});
    house.answer("i", vec![lock(1, "first", &[A])]);
    house.answer("j", vec![lock(1, "second", &[A])]);
    assert!(!house.rows.contains_key(&(id("j"), TURN)));
    house.answer("i", vec![unlock(2, "first", A)]);
    assert_eq!(house.news("j")[1], "locked second");
    house.say_entity(A, Input::Release { holder: id("j") }).unwrap();
    assert!(house.entity(A).lock.is_none());
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let mut house = House::new();
    house.say_entity(A, client("1", "a")).unwrap();
    let done = || OperationResult::Done { result: None };
    let token = house.batch(A).token;
    let result = |results| BatchResult {
        token: token.clone(),
        results,
        actions: Vec::new(),
        state: None,
        failure: None,
    };
    let more = house.say_entity(A, Input::BatchCompleted(Box::new(result(vec![done(), done()]))));
    assert!(matches!(more, Err(Rejected::Invalid(_))), "{more:?}");
    let read: kernel::durable::WorkToken = token.to_string().parse().unwrap();
    assert_eq!(read, token);
    house.say_entity(A, Input::BatchCompleted(Box::new(result(vec![done()])))).unwrap();
    assert_eq!(ExecutionId::entity("hub", A), entity_id(A));
}

#[test]
fn operations_that_no_worker_survives_fail_one_by_one() {
    let mut house = House::with("i");
    house.answer("i", vec![call(1, "r0", "@counter@a")]);
    house.run_batch("@counter@a", Some("before"), vec![]);
    house.answer("i", vec![call(2, "r1", "@counter@a"), call(3, "r2", "@counter@a")]);
    let batch = house.entity("@counter@a").work_of(1).expect("there is a batch");
    assert_eq!(batch.operations.len(), 1);
    let failure = Box::new(FailureDetails::new("NeverCompleted", "nobody survives it"));
    let give_up = Input::GiveUp { token: batch.token, failure };
    house.say_entity("@counter@a", give_up.clone()).unwrap();
    assert_eq!(house.news("i")[1], "refused nobody survives it");
    assert_eq!(house.entity("@counter@a").state.as_deref(), Some("before"));
    assert_eq!(house.operations("@counter@a").len(), 1, "what comes next goes on");
    let late = house.say_entity("@counter@a", give_up);
    assert!(matches!(late, Err(Rejected::Stale(_))), "{late:?}");
}
