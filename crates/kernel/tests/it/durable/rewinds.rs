//! Rewinds, and children: nothing is lost on the way, and nobody answers for another.

use kernel::durable::instance::Input;
use kernel::durable::{ActionKind, DETACHED_TAG, FailureDetails, Outcome, Status};

use super::entities::{A, lock};
use super::house::{House, call, child, completed, end, id, result, task};
use super::lives::rewind;

const LIFE: &str = "00000000000000000000000000000aaa";

fn again() -> Input {
    Input::Rewind { reason: None }
}

fn given_up() -> Input {
    Input::Fail { failure: Box::new(FailureDetails::new("GivenUp", "too often")) }
}

fn raise(name: &str) -> Input {
    Input::Raise { name: name.into(), input: None }
}

#[test]
fn what_an_entity_answers_to_a_failed_instance_is_kept_for_a_rewind() {
    let mut house = House::with("i");
    house.answer("i", vec![call(1, "get", A)]);
    house.say("i", given_up()).unwrap();
    let before = house.instance("i").clone();
    house.run_batch(A, Some("1"), Vec::new());
    let state = house.instance("i");
    assert_eq!((state.status, state.updated_at), (Status::Failed, before.updated_at));
    assert!(house.rows.is_empty());
    house.say("i", again()).unwrap();
    rewind(&mut house, "i", LIFE);
    assert_eq!(house.news("i")[1..], ["answered get"]);
}

#[test]
fn what_was_not_looked_at_before_a_failure_is_news_after_a_rewind() {
    let mut house = House::with("i");
    house.answer("i", vec![task(1, "a"), task(2, "b")]);
    house.run_activity("i", 1, "not seen, and done again");
    house.say("i", raise("go")).unwrap();
    house.say("i", given_up()).unwrap();
    house.say("i", again()).unwrap();
    house.say("i", raise("on")).unwrap();
    rewind(&mut house, "i", LIFE);
    assert_eq!(house.news("i")[1..], ["raised go -", "raised on -"]);
    house.run_activity("i", 1, "again");
    house.run_activity("i", 2, "first");
    assert_eq!(house.news("i").len(), 5);
}

#[test]
fn one_that_no_worker_has_seen_begins_by_a_rewind() {
    let mut house = House::with("p");
    house.answer("p", vec![child(1, "kid", "sub")]);
    house.say("kid", raise("early")).unwrap();
    house.say("kid", given_up()).unwrap();
    house.answer("p", vec![end(2, Outcome::Failed, "broke")]);
    let life = house.instance("kid").execution_id();
    house.say("p", again()).unwrap();
    rewind(&mut house, "p", LIFE);
    assert_ne!(house.instance("kid").execution_id(), life);
    assert_eq!(house.news("kid")[1..], ["started sub \"c\"", "raised early -"]);
    house.answer("kid", vec![completed(1, "fine")]);
    assert_eq!(house.news("p")[1..], ["child 1 done fine"]);
}

#[test]
fn a_wish_for_a_lock_is_made_again() {
    let mut house = House::with("holder");
    house.answer("holder", vec![lock(1, "theirs", &[A])]);
    house.start("i", |_| {});
    house.answer("i", vec![lock(1, "mine", &[A])]);
    // The word that drops the first wish is on its way when the second is made.
    house.held_mail = true;
    house.say("i", given_up()).unwrap();
    house.say("i", again()).unwrap();
    rewind(&mut house, "i", LIFE);
    house.held_mail = false;
    house.post();
    house.answer("holder", vec![completed(2, "x")]);
    assert_eq!(house.news("i")[1..], ["locked mine"]);
}

#[test]
fn a_lock_granted_to_a_life_before_is_not_believed() {
    let mut house = House::with("i");
    house.held_mail = true;
    house.answer("i", vec![lock(1, "mine", &[A])]);
    assert!(house.post_one(), "the request arrives, and the grant is on its way");
    house.say("i", given_up()).unwrap();
    house.say("i", again()).unwrap();
    rewind(&mut house, "i", LIFE);
    house.held_mail = false;
    house.post();
    assert_eq!(house.news("i")[1..], ["locked mine"], "once, by its own wish");
}

#[test]
fn what_was_handed_out_before_a_failure_does_not_answer_a_rewind() {
    let mut house = House::with("i");
    house.answer("i", vec![task(1, "a")]);
    house.run_activity("i", 1, "x");
    let (stale, ..) = house.turn("i");
    // All of it happens within one millisecond.
    house.say("i", given_up()).unwrap();
    house.say("i", again()).unwrap();
    house.complete("i", result(stale, Vec::new())).expect_err("it is no answer to the rewind");
    rewind(&mut house, "i", LIFE);
    assert_eq!(house.status("i"), Status::Running);
}

#[test]
fn no_life_has_a_name_that_another_had() {
    let mut house = House::with("i");
    let mut names = vec![house.instance("i").execution_id()];
    let first = names[0].to_string();
    house.answer("i", Vec::new());
    for _ in 0..3 {
        house.say("i", given_up()).unwrap();
        house.say("i", again()).unwrap();
        // The worker gives it the name of its first life, again and again.
        rewind(&mut house, "i", &first);
        let name = house.instance("i").execution_id();
        assert!(!names.contains(&name), "{name} of {names:?}");
        names.push(name);
        house.answer("i", Vec::new());
    }
    // A child that is asked for again under the same number is another, too.
    let mut house = House::with("p");
    house.answer("p", vec![child(1, "kid", "sub")]);
    let before = house.instance("kid").execution_id();
    house.answer("kid", vec![end(1, Outcome::Failed, "broke")]);
    house.answer("p", vec![child(1, "kid", "sub")]);
    assert_ne!(house.instance("kid").execution_id(), before);
}

#[test]
fn a_detached_child_goes_its_own_way() {
    let mut detached = child(1, "kid", "sub");
    if let ActionKind::CreateSubOrchestration { call, .. } = &mut detached.kind {
        call.tags.insert(DETACHED_TAG.into(), "true".into());
    }
    let mut house = House::with("p");
    house.answer("p", vec![detached]);
    house.say("p", Input::Terminate { output: None, recurse: true, at_once: true }).unwrap();
    assert_eq!(house.news("kid").len(), 2, "it is not ended with its parent");
    let mut detached = child(1, "other", "sub");
    if let ActionKind::CreateSubOrchestration { call, .. } = &mut detached.kind {
        call.tags.insert(DETACHED_TAG.into(), "true".into());
    }
    let mut house = House::with("p");
    house.answer("p", vec![detached, end(2, Outcome::Failed, "broke")]);
    house.answer("other", vec![end(1, Outcome::Failed, "broke")]);
    house.say("p", again()).unwrap();
    rewind(&mut house, "p", LIFE);
    assert_eq!(house.status("other"), Status::Failed, "nor is it rewound with it");
    house.instances.remove(&id("other"));
    house.answer("p", vec![end(3, Outcome::Failed, "broke")]);
    house.say("p", again()).unwrap();
    rewind(&mut house, "p", "00000000000000000000000000000bbb");
    assert!(!house.instances.contains_key(&id("other")), "nor made anew");
}

#[test]
fn who_bears_the_id_of_a_refused_child_is_not_ended_with_the_parent() {
    let mut house = House::with("p");
    house.start("other", |_| {});
    house.answer("other", Vec::new());
    house.held_mail = true;
    house.answer("p", vec![child(1, "other", "sub")]);
    house.say("p", Input::Terminate { output: None, recurse: true, at_once: true }).unwrap();
    house.held_mail = false;
    house.post();
    assert!(house.instance("other").inbox.is_empty(), "{:?}", house.instance("other").inbox);
}

#[test]
fn a_rewind_finds_another_under_the_id_of_its_child() {
    for runs in [true, false] {
        let mut house = House::with("p");
        house.answer("p", vec![child(1, "kid", "sub")]);
        house.answer("kid", vec![end(1, Outcome::Failed, "broke")]);
        house.answer("p", vec![end(2, Outcome::Failed, "broke")]);
        // Somebody has begun it anew: it is nobody's child any more.
        let life = house.life();
        house.say("kid", Input::Restart { execution_id: life }).unwrap();
        if !runs {
            house.answer("kid", vec![completed(1, "for itself")]);
        }
        house.say("p", again()).unwrap();
        rewind(&mut house, "p", LIFE);
        if runs {
            let news = house.news("p")[1].clone();
            assert!(
                news.starts_with("child 1 failed orchestration instance already exists"),
                "{news}"
            );
        } else {
            house.answer("kid", vec![completed(1, "for its parent")]);
            assert_eq!(house.news("p")[1], "child 1 done for its parent");
        }
    }
}

#[test]
fn a_child_of_a_life_before_does_not_answer_for_that_of_a_rewound_one() {
    let mut house = House::with("p");
    house.answer("p", vec![child(1, "kid", "sub")]);
    house.answer("kid", Vec::new());
    house.say("p", Input::Terminate { output: None, recurse: false, at_once: true }).unwrap();
    let life = house.life();
    house.say("p", Input::Restart { execution_id: life }).unwrap();
    house.answer("p", vec![child(1, "kid", "sub")]);
    assert!(house.news("p")[1].starts_with("child 1 failed orchestration instance already exists"));
    house.answer("p", vec![end(2, Outcome::Failed, "broke")]);
    house.say("kid", raise("done")).unwrap();
    house.answer("kid", vec![completed(1, "for a life before")]);
    house.say("p", again()).unwrap();
    rewind(&mut house, "p", LIFE);
    assert_eq!(house.news("kid")[1], "started sub \"c\"", "it is made anew");
    house.answer("kid", vec![completed(1, "for this one")]);
    assert_eq!(house.news("p")[1], "child 1 done for this one");
}
