//! Whole stories: orchestrations to their ends, across a crash, across dialects; entities.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine::Error;
use engine::durable::{EntityQuery, InstanceQuery, Purge, WorkItem};
use engine::memory::Memory;
use engine::store::Store;
use kernel::durable::entity::{Entity, Signal};
use kernel::durable::instance::{Input, Instance, Work};
use kernel::durable::{ActionKind, Fact, Outcome, Status};
use kernel::graph;
use kernel::{ExecutionId, Rejected};
use serde_json::json;

use super::worker::{
    PATIENCE, answer, carry_out, child, claim_one, completed, ended, profile, start, task, text,
    work,
};
use crate::house;

#[tokio::test]
async fn a_chain_of_all_that_can_be_waited_for_ends() {
    let engine = house::open(Arc::new(Memory::new())).await;
    let worker = work(&engine, "hub");
    let id = start(&engine, "one", "chain").await;
    assert_eq!(ended(&engine, &id).await, (Status::Completed, text("\"leaf\"")));
    let lines = engine.instance(&id, |state| state.history.len()).await.unwrap();
    assert_eq!(lines, Some(12));
    assert_eq!(engine.counters().completed.load(Ordering::Relaxed), 2, "child and parent");
    assert!(engine.queues().states().iter().all(|queue| queue.waiting + queue.held == 0));
    // Both are found, and neither among the executions of definitions.
    let query = InstanceQuery { size: 10, ..InstanceQuery::default() };
    let page = engine.instances("hub", &query).await.unwrap();
    let ids: Vec<&str> = page.rows.iter().map(|head| head.id.local_name()).collect();
    assert_eq!(ids, ["one", "one:0003"]);
    assert_eq!(page.rows[1].parent, Some(id.clone()));
    let other = engine.instances("hu", &query).await.unwrap();
    assert_eq!(other.total, 0, "hubs are apart");
    let query = InstanceQuery {
        statuses: vec![Status::Completed],
        id_prefix: Some("one:".to_owned()),
        size: 10,
        ..InstanceQuery::default()
    };
    assert_eq!(engine.instances("hub", &query).await.unwrap().total, 1);
    worker.abort();
}

#[tokio::test]
async fn a_fan_is_gathered_by_many_workers() {
    let engine = house::open(Arc::new(Memory::new())).await;
    let workers = [work(&engine, "hub"), work(&engine, "hub"), work(&engine, "hub")];
    let ids = [start(&engine, "a", "fan").await, start(&engine, "b", "fan").await];
    for id in &ids {
        assert_eq!(ended(&engine, id).await, (Status::Completed, text("20")));
        let done = |state: &Instance| {
            state.history.iter().filter(|it| matches!(it.fact, Fact::TaskCompleted { .. })).count()
        };
        assert_eq!(engine.instance(id, done).await.unwrap(), Some(20));
    }
    workers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[test]
fn instances_go_on_after_a_crash() {
    let store = Arc::new(Memory::new());
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let crashing = runtime();
    let (turn, activity) = crashing.block_on(async {
        let engine = house::open(store.clone()).await;
        let worker = engine.attend(profile("hub"));
        start(&engine, "a", "chain").await;
        let first = claim_one(&worker).await;
        carry_out(&engine, first).await.unwrap();
        let activity = claim_one(&worker).await;
        start(&engine, "b", "chain").await;
        (claim_one(&worker).await, activity)
    });
    // Everything that the engine was doing stops in the middle; the store is all that is left.
    crashing.shutdown_background();

    runtime().block_on(async {
        let engine = house::open(store).await;
        // A worker that outlived the server answers what it was handed before.
        carry_out(&engine, activity.clone()).await.unwrap();
        let again = carry_out(&engine, activity).await.unwrap();
        assert!(matches!(again, engine::durable::Answer::TooLate(_)), "{again:?}");
        let worker = work(&engine, "hub");
        carry_out(&engine, turn).await.unwrap();
        for id in ["a", "b"] {
            let id = ExecutionId::instance("hub", id);
            assert_eq!(ended(&engine, &id).await, (Status::Completed, text("\"leaf\"")));
            let lines = engine.instance(&id, |state| state.history.len()).await.unwrap();
            assert_eq!(lines, Some(12), "nothing is in the history twice");
        }
        worker.abort();
    });
}

#[tokio::test]
async fn a_graph_starts_an_orchestration_and_hears_its_end() {
    let engine = house::open(Arc::new(Memory::new())).await;
    let worker = work(&engine, "hub");
    let task = json!({
        "name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
        "inputParameters": { "a": 1 },
        "subWorkflowParam": { "name": "orchestration:hub/chain" },
    });
    let output = json!({ "said": "${sub.output.result}" });
    let definition = json!({ "name": "outer", "tasks": [task], "outputParameters": output });
    house::register(&engine, definition).await;
    let id = house::start(&engine, "outer", json!({})).await;
    let (status, output) = house::ended(&engine, &id).await;
    assert_eq!((status, output), (graph::Status::Completed, json!({ "said": "leaf" })));
    let child = |state: &graph::Execution| state.task(1).and_then(|task| task.child.clone());
    let child = engine.read(&id, child).await.unwrap().flatten().unwrap();
    assert_eq!(child.hub(), "hub");
    let input = |state: &Instance| state.start.as_ref().and_then(|start| start.input.clone());
    assert_eq!(engine.instance(&child, input).await.unwrap().flatten(), text(r#"{"a":1}"#));
    worker.abort();
}

#[tokio::test]
async fn a_graph_ends_the_orchestration_that_it_started() {
    let engine = house::open(Arc::new(Memory::new())).await;
    let task = json!({
        "name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "orchestration:hub/idle" },
    });
    house::register(&engine, json!({ "name": "outer", "tasks": [task] })).await;
    let worker = engine.attend(profile("hub"));
    let id = house::start(&engine, "outer", json!({})).await;
    let WorkItem::Instance(Work::Turn { token, .. }) = claim_one(&worker).await else { panic!() };
    engine.complete_turn(answer(&token, vec![])).await.unwrap();
    let known = async {
        let mut changes = engine.watch(&id);
        loop {
            let started = |state: &graph::Execution| state.task(1).is_some_and(|t| t.child_started);
            if engine.read(&id, started).await.unwrap() == Some(true) {
                return;
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, known).await.expect("the graph hears of its child");
    let terminate =
        graph::Control::Terminate { reason: Some("enough".into()), failure_workflow: false };
    engine.step(&id, graph::Input::Control(terminate)).await.unwrap();
    let WorkItem::Instance(Work::Turn { new, .. }) = claim_one(&worker).await else { panic!() };
    let terminated = new.iter().any(|it| matches!(it.fact, Fact::ExecutionTerminated { .. }));
    assert!(terminated, "{new:?}");
}

#[tokio::test]
async fn a_graph_hears_that_the_hub_of_its_child_is_no_more() {
    let engine = house::open(Arc::new(Memory::new())).await;
    let task = json!({
        "name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "orchestration:hub/idle" },
    });
    house::register(&engine, json!({ "name": "outer", "tasks": [task] })).await;
    let worker = engine.attend(profile("hub"));
    let id = house::start(&engine, "outer", json!({})).await;
    let WorkItem::Instance(Work::Turn { .. }) = claim_one(&worker).await else { panic!() };
    assert_eq!(engine.clear_hub("hub").await.unwrap(), 1);
    let (status, _) = house::ended(&engine, &id).await;
    assert_eq!(status, graph::Status::Failed);
    let reason = engine.read(&id, |state| state.reason.clone()).await.unwrap().flatten();
    assert!(reason.is_some_and(|it| it.contains("the task hub 'hub' was deleted")));
}

#[tokio::test]
async fn an_orchestration_starts_a_definition_and_hears_its_end() {
    let engine = house::open(Arc::new(Memory::new())).await;
    let worker = work(&engine, "hub");
    let task = json!({
        "name": "echo", "taskReferenceName": "echo", "type": "ECHO",
        "inputParameters": { "said": "${workflow.input.who}" },
    });
    house::register(&engine, json!({ "name": "echoes", "tasks": [task] })).await;
    let id = start(&engine, "one", "crossing").await;
    let (status, output) = ended(&engine, &id).await;
    assert_eq!((status, output.as_deref()), (Status::Completed, Some(r#"{"said":"you"}"#)));
    worker.abort();
}

#[tokio::test]
async fn a_definition_that_is_not_there_fails_the_child() {
    let engine = house::open(Arc::new(Memory::new())).await;
    let worker = engine.attend(profile("hub"));
    start(&engine, "one", "crossing").await;
    let first = claim_one(&worker).await;
    carry_out(&engine, first).await.unwrap();
    let WorkItem::Instance(Work::Turn { new, .. }) = claim_one(&worker).await else { panic!() };
    let Fact::SubOrchestrationFailed { failure, .. } = &new[1].fact else { panic!("{new:?}") };
    assert!(failure.message.contains("echoes"), "{}", failure.message);
}

#[tokio::test]
async fn a_schedule_starts_an_orchestration() {
    let engine = house::open(Arc::new(Memory::new())).await;
    let worker = engine.attend(profile("hub"));
    let spec = json!({
        "name": "nightly", "cronExpression": "0 0 0 1 1 *",
        "startWorkflowRequest": { "name": "orchestration:hub/leaf", "input": { "a": 1 } },
    });
    let spec = kernel::schedule::schedule_from_value(&spec).expect("the test writes a schedule");
    let id = ExecutionId::schedule("nightly");
    let define = kernel::schedule::Input::Define(Box::new(spec));
    engine.step(&id, define).await.unwrap();
    engine.step(&id, kernel::schedule::Input::Trigger { by: None }).await.unwrap();
    let item = claim_one(&worker).await;
    let instance = item.token().machine().clone();
    carry_out(&engine, item).await.unwrap();
    assert_eq!(ended(&engine, &instance).await.0, Status::Completed);
}

#[tokio::test]
async fn an_eternal_orchestration_costs_what_it_holds() {
    let store = Arc::new(Memory::new());
    let engine = house::open(store.clone()).await;
    let worker = engine.attend(profile("hub"));
    let id = start(&engine, "one", "eternal").await;
    let next = "x".repeat(4096);
    for _ in 0..300 {
        let token = claim_one(&worker).await.token().clone();
        let mut again = completed(1, &next);
        if let ActionKind::Complete(completion) = &mut again.kind {
            completion.outcome = Outcome::ContinuedAsNew;
        }
        engine.complete_turn(answer(&token, vec![again])).await.unwrap();
    }
    let stored = store.load(&id).await.unwrap().unwrap();
    let bytes: usize = stored.history.iter().map(String::len).sum();
    assert!(bytes < 600 << 10, "{bytes} bytes of history are kept");
    let turns = engine.instance(&id, |state| state.turn).await.unwrap();
    assert_eq!(turns, Some(300));
}

#[tokio::test]
async fn entities_keep_a_state_until_they_are_deleted() {
    let engine = house::open(Arc::new(Memory::new())).await;
    let worker = work(&engine, "hub");
    let signal = |request: &str, operation: &str| Signal {
        request_id: request.into(),
        operation: operation.into(),
        input: None,
        scheduled_at: None,
        acts_as: None,
    };
    let query = EntityQuery { size: 10, ..EntityQuery::default() };
    let until = |wanted: Option<&'static str>| {
        let engine = engine.clone();
        async move {
            let id = ExecutionId::entity("hub", "@counter@a");
            let mut changes = engine.watch(&id);
            loop {
                let state = |state: &Entity| state.state.clone();
                let state = engine.entity("hub", "@Counter@a", state).await.unwrap().flatten();
                if state.as_deref() == wanted {
                    return;
                }
                changes.changed().await.unwrap();
            }
        }
    };
    for request in ["1", "2", "2"] {
        engine.signal_entity("hub", "@Counter@a", signal(request, "add")).await.unwrap();
    }
    tokio::time::timeout(PATIENCE, until(Some("2"))).await.expect("both are added, once each");
    let page = engine.entities("hub", &query).await.unwrap();
    assert_eq!((page.total, page.rows[0].id.local_name()), (1, "@counter@a"));
    engine.signal_entity("hub", "@counter@a", signal("3", "delete")).await.unwrap();
    tokio::time::timeout(PATIENCE, until(None)).await.expect("it is deleted");
    assert_eq!(engine.entities("hub", &query).await.unwrap().total, 0);
    let all = EntityQuery { transient: true, ..query };
    assert_eq!(engine.entities("hub", &all).await.unwrap().total, 1);
    assert_eq!(engine.release_orphaned_locks("hub").await.unwrap(), 0);
    let later = engine.now().plus_seconds(1);
    assert_eq!(engine.remove_empty_entities("hub", later).await.unwrap(), 1);
    for id in ["counter", "@", "@@x", "@no-key"] {
        let wrong = engine.signal_entity("hub", id, signal("4", "add")).await;
        assert!(matches!(wrong, Err(Error::Rejected(Rejected::Invalid(_)))), "{id}: {wrong:?}");
    }
    worker.abort();
}

#[tokio::test]
async fn what_is_purged_at_once_has_told_its_end() {
    let engine = house::open(Arc::new(Memory::new())).await;
    let worker = engine.attend(profile("hub"));
    start(&engine, "one", "any").await;
    let turn = async || match claim_one(&worker).await {
        WorkItem::Instance(Work::Turn { token, new, instance_id, .. }) => (token, new, instance_id),
        other => panic!("{other:?}"),
    };
    let (token, ..) = turn().await;
    engine.complete_turn(answer(&token, vec![child(1, "leaf")])).await.unwrap();
    let (token, _, kid) = turn().await;
    engine.complete_turn(answer(&token, vec![completed(1, "7")])).await.unwrap();
    // Whoever watches it purges it before its parent has been told.
    let kid = ExecutionId::instance("hub", &kid);
    assert_eq!(engine.purge_instance(&kid, false).await.unwrap(), 1);
    let (_, new, parent) = turn().await;
    assert_eq!(&*parent, "one");
    assert_eq!(new[1].fact, Fact::SubOrchestrationCompleted { task: 1, result: text("7") });
}

#[tokio::test]
async fn instances_are_purged_and_restarted() {
    let engine = house::open(Arc::new(Memory::new())).await;
    let id = start(&engine, "one", "chain").await;
    let running = engine.purge_instance(&id, true).await;
    assert!(matches!(running, Err(Error::Rejected(Rejected::Conflict(_)))), "{running:?}");
    let same = engine.restart_instance(&id, false, None).await;
    assert!(matches!(same, Err(Error::Rejected(Rejected::Conflict(_)))), "{same:?}");
    let other = engine.restart_instance(&id, true, None).await.unwrap();
    assert_eq!(other.local_name().len(), 32);
    let worker = work(&engine, "hub");
    for id in [&id, &other] {
        ended(&engine, id).await;
    }
    engine.restart_instance(&id, false, None).await.unwrap();
    ended(&engine, &id).await;
    assert_eq!(engine.purge_instance(&id, true).await.unwrap(), 2, "it and its child");
    assert_eq!(engine.purge_instance(&id, true).await.unwrap(), 0);
    let purged = engine.purge_instances("hub", &Purge::default()).await.unwrap();
    assert_eq!((purged.count, purged.complete), (2, true));
    let nobody = engine.restart_instance(&id, true, None).await;
    assert!(matches!(nobody, Err(Error::Rejected(Rejected::Unknown(_)))), "{nobody:?}");
    start(&engine, "last", "idle").await;
    assert_eq!(engine.clear_hub("hub").await.unwrap(), 1);
    assert!(engine.queues().states().iter().all(|queue| queue.waiting == 0));
    worker.abort();
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_leaves_the_queues() {
    let engine = house::open(Arc::new(Memory::new())).await;
    let worker = engine.attend(profile("hub"));
    let id = start(&engine, "one", "idle").await;
    let WorkItem::Instance(Work::Turn { token, .. }) = claim_one(&worker).await else { panic!() };
    engine.complete_turn(answer(&token, vec![task(1, "slow")])).await.unwrap();
    let activity = claim_one(&worker).await;
    let terminate = Input::Terminate { output: None, recurse: false, at_once: true };
    engine.step(&id, terminate).await.unwrap();
    let late = carry_out(&engine, activity).await.unwrap();
    assert!(matches!(late, engine::durable::Answer::TooLate(_)), "{late:?}");
    assert_eq!(engine.workers(None)[0].out.activities, 0, "the worker has room again");
    let too_late = engine.complete_turn(answer(&token, vec![completed(2, "x")])).await.unwrap();
    assert!(matches!(too_late, engine::durable::Answer::TooLate(_)), "{too_late:?}");
}
