//! Who is handed what: filters, room, leases, workers that go away, and why a piece of work waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use engine::durable::{
    Answer, Leases, NameFilter, Profile, Room, Service, WorkFilters, WorkItem, WorkerSession,
};
use engine::memory::Memory;
use engine::{Clock, Engine, Error, Options, SystemClock};
use kernel::durable::entity::Signal;
use kernel::durable::instance::{Input, Instance, Work};
use kernel::durable::{Fact, HistoryEvent, Status, TURN, WorkToken};
use kernel::{ExecutionId, Rejected, Timestamp};

use super::worker::{
    answer, carry_out, claim, claim_one, completed, ended, profile, start, task, work,
};
use crate::house;

async fn open(leases: Leases) -> Engine {
    let options = Options { leases, ..Options::default() };
    house::open_as(Arc::new(Memory::new()), Arc::new(SystemClock), Vec::new(), options).await
}

/// The first pause before work is offered again.
const SOON: Duration = Duration::from_millis(20);

fn token(item: &WorkItem) -> WorkToken {
    item.token().clone()
}

async fn service(engine: &Engine, id: &ExecutionId) -> Service {
    let queue = engine.instance(id, Instance::turn_queue).await.expect("the store answers");
    let queue = queue.expect("it is there");
    engine.service(id, TURN, &queue)
}

#[tokio::test]
async fn work_of_a_worker_that_goes_away_goes_to_another() {
    let engine = open(Leases::default()).await;
    let first = engine.attend(profile("hub"));
    let id = start(&engine, "one", "idle").await;
    let lost = token(&claim_one(&first).await);
    let out = service(&engine, &id).await;
    assert!(matches!(&out, Service::Out { worker, .. } if **worker == *"worker"), "{out:?}");
    let second = engine.attend(profile("hub"));
    drop(first);
    let taken = token(&claim_one(&second).await);
    assert_eq!(engine.token_of(&id, None).await.unwrap(), Some(taken.clone()));
    // The first answer counts, whoever it comes from.
    let late = engine.complete_turn(answer(&lost, vec![completed(1, "first")])).await.unwrap();
    assert_eq!(late, Answer::Taken);
    let too_late = engine.complete_turn(answer(&taken, vec![completed(1, "second")])).await;
    assert!(matches!(too_late, Ok(Answer::TooLate(_))), "{too_late:?}");
    assert_eq!(ended(&engine, &id).await.1.as_deref(), Some("first"));
    assert_eq!(engine.token_of(&id, None).await.unwrap(), None);
}

#[tokio::test]
async fn work_that_is_kept_too_long_goes_to_another() {
    let turn = Duration::from_millis(1);
    let engine = open(Leases { turn, ..Leases::default() }).await;
    let (slow, quick) = (engine.attend(profile("hub")), engine.attend(profile("hub")));
    let id = start(&engine, "one", "idle").await;
    claim_one(&slow).await;
    let again = token(&claim_one(&quick).await);
    engine.complete_turn(answer(&again, vec![completed(1, "x")])).await.unwrap();
    assert_eq!(ended(&engine, &id).await.0, Status::Completed);
    drop(slow);
}

/// A clock that stands where it is put.
struct Stopped(AtomicI64);

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A worker that has an activity out, and a turn of the same instance; answers the activity's token.
async fn busy(engine: &Engine) -> (WorkerSession, WorkToken) {
    let worker = engine.attend(profile("hub"));
    let id = start(engine, "one", "idle").await;
    let turn = token(&claim_one(&worker).await);
    engine.complete_turn(answer(&turn, vec![task(1, "act")])).await.expect("it is the first");
    let activity = token(&claim_one(&worker).await);
    let raised = Input::Raise { name: "more".into(), input: None };
    engine.step(&id, raised).await.expect("the instance is there");
    claim_one(&worker).await;
    (worker, activity)
}

#[tokio::test]
async fn a_connected_worker_keeps_its_activity_and_may_lose_a_turn() {
    let day = Duration::from_hours(24);
    for (lease, is_kept) in [(None, true), (Some(3 * day), true), (Some(day), false)] {
        let clock = Arc::new(Stopped(AtomicI64::new(1_800_000_000_000)));
        let leases = Leases { activity: lease, ..Leases::default() };
        let options = Options { leases, ..Options::default() };
        let store = Arc::new(Memory::new());
        let engine = house::open_as(store, clock.clone(), Vec::new(), options).await;
        let (first, activity) = busy(&engine).await;
        let second = engine.attend(profile("hub"));
        let mut lost = BTreeSet::new();
        // Whoever has the turn loses it each day, so leases were looked at.
        for _ in 0..2 {
            clock.0.fetch_add(day.as_millis().try_into().unwrap(), Ordering::SeqCst);
            let mut turns = 0;
            while turns == 0 {
                let items = claim(&second).await;
                let sequences: Vec<u32> = items.iter().map(|it| it.token().sequence()).collect();
                turns += sequences.iter().filter(|sequence| **sequence == TURN).count();
                lost.extend(sequences);
            }
        }
        assert_eq!(lost.contains(&activity.sequence()), !is_kept, "{lease:?}");
        // Whose connection ends loses it, and the late answer counts all the same.
        drop(first);
        if is_kept {
            assert_eq!(token(&claim_one(&second).await), activity);
        }
        let done = engine.complete_activity(activity, Ok(None)).await.unwrap();
        assert_eq!(done, Answer::Taken, "{lease:?}");
    }
}

#[tokio::test]
async fn a_turn_that_nobody_survives_fails_its_instance() {
    let engine = open(Leases { attempts_max: 3, abandoned: SOON, ..Leases::default() }).await;
    let id = start(&engine, "one", "deadly").await;
    for _ in 0..3 {
        let worker = engine.attend(profile("hub"));
        claim_one(&worker).await;
    }
    assert_eq!(ended(&engine, &id).await.0, Status::Failed);
    let failure = engine.instance(&id, |state| state.failure.clone()).await.unwrap().flatten();
    assert_eq!(&*failure.unwrap().error_type, "NeverCompleted");
}

#[tokio::test]
async fn an_activity_that_nobody_survives_fails() {
    let engine = open(Leases { attempts_max: 2, abandoned: SOON, ..Leases::default() }).await;
    start(&engine, "one", "idle").await;
    let worker = engine.attend(profile("hub"));
    let turn = token(&claim_one(&worker).await);
    let only = |kinds: WorkFilters| Profile { filters: Some(kinds), ..profile("hub") };
    let act = NameFilter { name: "act".into(), versions: Vec::new() };
    let idle = NameFilter { name: "idle".into(), versions: Vec::new() };
    let reader =
        engine.attend(only(WorkFilters { orchestrations: vec![idle], ..WorkFilters::default() }));
    drop(worker);
    claim_one(&reader).await;
    engine.complete_turn(answer(&turn, vec![task(1, "act")])).await.unwrap();
    for _ in 0..2 {
        let activities = vec![act.clone()];
        let doomed = engine.attend(only(WorkFilters { activities, ..WorkFilters::default() }));
        claim_one(&doomed).await;
    }
    let WorkItem::Instance(Work::Turn { new, .. }) = claim_one(&reader).await else { panic!() };
    let failed = matches!(&new[1].fact, Fact::TaskFailed { failure, .. } if failure.non_retriable);
    assert!(failed, "{new:?}");
}

#[tokio::test]
async fn work_that_fails_is_tried_less_and_less_often_and_then_no_more() {
    let engine = open(Leases { attempts_max: 4, abandoned: SOON, ..Leases::default() }).await;
    let id = start(&engine, "one", "poison").await;
    let worker = engine.attend(profile("hub"));
    let mut pauses = Vec::new();
    for attempt in 1..4 {
        let given = token(&claim_one(&worker).await);
        assert!(engine.reject(&given, format!("reason {attempt}")).await);
        let tried = engine.attempts_at(&id, TURN).expect("it is remembered");
        assert_eq!((tried.attempts, &*tried.reason), (attempt, &*format!("reason {attempt}")));
        assert_eq!(engine.unfinished(Some("hub")), std::slice::from_ref(&tried));
        pauses.push(tried.next_at.expect("it is tried again").millis() - tried.last_at.millis());
    }
    assert_eq!(pauses, [20, 40, 80]);
    assert_eq!(engine.unfinished(Some("other")), []);
    let given = token(&claim_one(&worker).await);
    engine.reject(&given, "the last straw".to_owned()).await;
    assert_eq!(ended(&engine, &id).await.0, Status::Failed);
    let failure = engine.instance(&id, |state| state.failure.clone()).await.unwrap().flatten();
    let failure = failure.expect("it failed");
    assert_eq!(&*failure.error_type, "NeverCompleted");
    assert!(failure.message.contains("4 times") && failure.message.contains("the last straw"));
    let given_up = engine.unfinished(None);
    assert_eq!(given_up.len(), 1);
    assert_eq!((given_up[0].next_at, given_up[0].attempts), (None, 4));
}

#[tokio::test]
async fn an_operation_that_no_worker_survives_takes_no_other_with_it() {
    let engine = open(Leases { attempts_max: 3, abandoned: SOON, ..Leases::default() }).await;
    for operation in ["add", "poison", "add"] {
        let signal = Signal {
            request_id: uuid::Uuid::new_v4().to_string().into(),
            operation: operation.into(),
            input: None,
            scheduled_at: None,
            acts_as: None,
        };
        engine.signal_entity("hub", "@counter@a", signal).await.unwrap();
    }
    let worker = engine.attend(profile("hub"));
    let (mut poisoned, mut sizes) = (0, Vec::new());
    let state = loop {
        let WorkItem::Batch(batch) = claim_one(&worker).await else { panic!("no batch") };
        sizes.push(batch.operations.len());
        let poison = |event: &HistoryEvent| matches!(&event.fact, Fact::EntitySignaled(it) if &*it.operation == "poison");
        if batch.operations.iter().any(poison) {
            poisoned += 1;
            engine.reject(&batch.token, "it dies".to_owned()).await;
            continue;
        }
        let ends = batch.state.is_some();
        carry_out(&engine, WorkItem::Batch(batch)).await.unwrap();
        if ends {
            let id = ExecutionId::entity("hub", "@counter@a");
            break engine.entity(id.hub(), "@counter@a", |it| it.state.clone()).await.unwrap();
        }
    };
    assert_eq!(state.flatten().as_deref(), Some("2"), "the others are done");
    assert_eq!((poisoned, sizes[0]), (4, 3), "{sizes:?}");
    assert!(sizes[1..].iter().all(|size| *size == 1), "{sizes:?}");
}

#[tokio::test]
async fn a_new_worker_is_offered_at_once_what_others_gave_back() {
    let pause = Duration::from_hours(1);
    let engine = open(Leases { abandoned: pause, ..Leases::default() }).await;
    let id = start(&engine, "one", "idle").await;
    let old = engine.attend(profile("hub"));
    let given = token(&claim_one(&old).await);
    assert!(engine.abandon(&given).await);
    let tried = engine.attempts_at(&id, TURN).expect("it is remembered");
    assert!(tried.refused_by_all, "the only worker gave it back");
    drop(old);
    let new = engine.attend(profile("hub"));
    assert!(!engine.attempts_at(&id, TURN).expect("it is remembered").refused_by_all);
    assert_eq!(token(&claim_one(&new).await).machine(), given.machine());
}

#[tokio::test]
async fn what_one_worker_gives_back_goes_to_another_at_once() {
    let pause = Duration::from_hours(1);
    let engine = open(Leases { abandoned: pause, ..Leases::default() }).await;
    let (mut old, new) = (engine.attend(profile("hub")), engine.attend(profile("hub")));
    // By chance alone the old one would get one of these again within some rounds.
    for name in 0..20 {
        start(&engine, &format!("one-{name}"), "idle").await;
        let given = token(&claim_one(&old).await);
        let waits = tokio::spawn(async move {
            let again = claim_one(&old).await;
            (old, again)
        });
        tokio::task::yield_now().await;
        assert!(engine.abandon(&given).await);
        let got = token(&claim_one(&new).await);
        assert_eq!(got.machine(), given.machine());
        engine.complete_turn(answer(&got, vec![completed(1, "x")])).await.unwrap();
        start(&engine, &format!("two-{name}"), "idle").await;
        let (back, other) = waits.await.unwrap();
        let other = token(&other);
        assert_ne!(other.machine(), given.machine());
        engine.complete_turn(answer(&other, vec![completed(1, "x")])).await.unwrap();
        old = back;
    }
}

#[tokio::test]
async fn what_is_abandoned_comes_again() {
    let engine = open(Leases { abandoned: SOON, ..Leases::default() }).await;
    let worker = engine.attend(profile("hub"));
    let id = start(&engine, "one", "idle").await;
    for _ in 0..3 {
        let given = token(&claim_one(&worker).await);
        assert!(engine.abandon(&given).await);
        assert!(!engine.abandon(&given).await, "it is not out any more");
    }
    let given = token(&claim_one(&worker).await);
    assert!(engine.offer_once_more(&given));
    let given = token(&claim_one(&worker).await);
    engine.complete_turn(answer(&given, vec![completed(1, "x")])).await.unwrap();
    assert_eq!(ended(&engine, &id).await.0, Status::Completed);
}

#[tokio::test]
async fn workers_take_what_they_can_and_have_room_for() {
    let engine = open(Leases::default()).await;
    let id = start(&engine, "one", "idle").await;
    assert_eq!(service(&engine, &id).await, Service::NoWorker);
    let other_hub = engine.attend(profile("other"));
    assert_eq!(service(&engine, &id).await, Service::NoWorker);
    let only = |names: &[&str]| Profile {
        filters: Some(WorkFilters {
            orchestrations: names
                .iter()
                .map(|name| NameFilter { name: (*name).into(), versions: vec!["".into()] })
                .collect(),
            ..WorkFilters::default()
        }),
        room: Room { orchestrations: 1, ..Room::default() },
        ..profile("hub")
    };
    let stranger = engine.attend(only(&["busy"]));
    assert_eq!(service(&engine, &id).await, Service::NotTaken { workers: 1, versions: vec![] });
    let worker = engine.attend(only(&["busy", "idle"]));
    let first = token(&claim_one(&worker).await);
    let second = start(&engine, "two", "idle").await;
    assert_eq!(service(&engine, &second).await, Service::Busy { workers: 1 });
    // Activities are not on its list: they wait for another.
    engine.complete_turn(answer(&first, vec![task(1, "act")])).await.unwrap();
    let next = claim_one(&worker).await;
    assert_eq!(next.token().machine(), &second);
    let handy = engine.attend(profile("hub"));
    let item = claim_one(&handy).await;
    assert!(matches!(item, WorkItem::Instance(Work::Activity { .. })), "{item:?}");
    let shown = engine.workers(Some("hub"));
    let out: Vec<_> =
        shown.iter().map(|it| (it.out.orchestrations, it.out.activities, it.handed)).collect();
    assert_eq!(out, [(0, 0, 0), (1, 0, 2), (0, 1, 1)]);
    drop((other_hub, stranger));
}

#[tokio::test]
async fn versions_are_apart() {
    let engine = open(Leases::default()).await;
    for version in ["1.0", "2.0"] {
        let mut begin =
            kernel::durable::instance::Start::new("o", None, Engine::new_execution_id());
        begin.version = Some(version.into());
        engine.start_instance("hub", Some(version), begin).await.unwrap();
    }
    let filter = NameFilter { name: "o".into(), versions: vec!["2.0".into()] };
    let filters = WorkFilters { orchestrations: vec![filter], ..WorkFilters::default() };
    let worker = engine.attend(Profile { filters: Some(filters), ..profile("hub") });
    let items = claim(&worker).await;
    let ids: Vec<&str> = items.iter().map(|it| it.token().machine().local_name()).collect();
    assert_eq!(ids, ["2.0"]);
}

#[tokio::test]
async fn a_stop_sends_workers_home() {
    let engine = open(Leases::default()).await;
    let worker = engine.attend(profile("hub"));
    let (claimed, ()) = tokio::join!(worker.claim(), async { engine.stop() });
    assert_eq!(claimed.unwrap(), []);
    drop(worker);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn ids_and_hubs_are_checked() {
    let engine = open(Leases::default()).await;
    let start = |hub: &'static str, id: String| {
        let engine = engine.clone();
        async move {
            let start = kernel::durable::instance::Start::new("o", None, "1".into());
            engine.start_instance(hub, Some(&id), start).await
        }
    };
    let wrong = [
        ("hub", "x".repeat(101)),
        ("hub", "@counter@a".to_owned()),
        ("hub", "a\nb".to_owned()),
        ("a:b", "x".to_owned()),
        ("", "x".to_owned()),
    ];
    for (hub, id) in wrong {
        let refused = start(hub, id.clone()).await;
        let invalid = matches!(refused, Err(Error::Rejected(Rejected::Invalid(_))));
        assert!(invalid, "{hub} {id}: {refused:?}");
    }
    let made = start("hub", String::new()).await.unwrap();
    assert_eq!(made.local_name().len(), 32);
    let worker = work(&engine, "hub");
    worker.abort();
}

#[tokio::test]
async fn names_that_nobody_uses_any_more_are_forgotten() {
    const COUNT: usize = 1500;
    let engine = open(Leases::default()).await;
    let begin = kernel::durable::instance::Start::new("o", None, Engine::new_execution_id());
    let patient = engine.start_instance("unattended", Some("patient"), begin).await.unwrap();
    let worker = engine.attend(profile("hub"));
    for number in 0..COUNT {
        start(&engine, &format!("i{number}"), &format!("o{number}")).await;
        let given = token(&claim_one(&worker).await);
        engine.complete_turn(answer(&given, vec![completed(1, "x")])).await.unwrap();
    }
    let states = engine.queues().states();
    assert!(states.len() < COUNT, "{} queues are remembered", states.len());
    // What waits is not forgotten.
    let waiting: Vec<_> = states.iter().filter(|queue| queue.waiting > 0).collect();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    let other = engine.attend(profile("unattended"));
    assert_eq!(claim_one(&other).await.token().machine(), &patient);
    let held = engine.queues().states().iter().map(|queue| queue.held).sum::<u64>();
    assert_eq!(held, 1);
}
