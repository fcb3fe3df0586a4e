//! A machine whose history contradicts itself is set aside alone.

use std::sync::Arc;
use std::time::Duration;

use engine::memory::Memory;
use engine::store::{Commit, Head, MessageKey, Outgoing, Store as _};
use engine::{Engine, Error, PollRequest};
use kernel::alert::Monitor;
use kernel::alert::definition::{ChecklistOptions, Known, load_among};
use kernel::graph::{Control, Input, Status};
use kernel::{ExecutionId, Timestamp};
use serde_json::{Value, json};

use crate::house::{complete, ended, open, poll, register, start};

/// Appends facts to a stored history that no decision comes to. Its timer is due.
async fn damage(store: &Memory, id: &ExecutionId, facts: Value) {
    damage_and_send(store, id, facts, Vec::new()).await;
}

/// The same, with messages that the machine sent before anybody found out.
async fn damage_and_send(store: &Memory, id: &ExecutionId, facts: Value, send: Vec<Outgoing>) {
    let head = store.head(id).await.expect("the store answers").expect("it is there");
    let expect = head.version;
    let wake_at = Some(Timestamp::from_millis(1));
    let commit = Commit {
        head: Head { version: expect + 1, wake_at, ..head },
        expect,
        events: facts.to_string(),
        forget: false,
        plans: Vec::new(),
        queue: Vec::new(),
        send,
        received: Vec::new(),
        records: Vec::new(),
        deferrable: false,
        text: None,
        brief: None,
    };
    store.commit(commit).await.expect("the store does not judge facts");
}

fn is_quarantined<T: std::fmt::Debug>(answer: &Result<T, Error>) {
    let Err(Error::Quarantined { reason, .. }) = answer else { panic!("{answer:?}") };
    let why = "contradicts itself at a fact 'closed': there is no task 99";
    assert!(reason.contains(why), "{reason}");
}

async fn all_of(engine: &Engine, queue: &str) -> usize {
    let request = PollRequest {
        queue: queue.into(),
        worker: Some("w".into()),
        count: 10,
        wait: Duration::ZERO,
    };
    engine.poll(request).await.expect("the store answers").len()
}

#[tokio::test]
async fn a_history_that_contradicts_itself_sets_aside_that_execution_alone() {
    let store = Arc::new(Memory::new());
    let first = open(store.clone()).await;
    let task = |name: &str| json!([{ "name": name, "taskReferenceName": "t", "type": "SIMPLE" }]);
    register(&first, json!({ "name": "broken", "tasks": task("queued") })).await;
    register(&first, json!({ "name": "sound", "tasks": task("work") })).await;
    let broken = start(&first, "broken", json!({})).await;
    let sound = start(&first, "sound", json!({})).await;
    drop(first);
    let closed = json!({ "closed": { "s": 99, "t": "COMPLETED" } });
    damage(&store, &broken, json!([{ "at": 1 }, closed])).await;

    let engine = open(store).await;
    // Whoever comes across it is told, and none of them ends over it: the waker, a worker, a reader,
    // an operator.
    assert_eq!(all_of(&engine, "queued").await, 0);
    is_quarantined(&engine.read(&broken, |_| ()).await);
    is_quarantined(&engine.step(&broken, Input::Control(Control::Pause)).await);
    let end = Control::Terminate { reason: None, failure_workflow: false };
    is_quarantined(&engine.step(&broken, Input::Control(end)).await);
    let known: Vec<ExecutionId> = engine.quarantined().into_iter().map(|it| it.0).collect();
    assert_eq!(known, std::slice::from_ref(&broken));

    // All others go on, also those that begin now.
    let work = poll(&engine, "work").await;
    complete(&engine, &work, json!({})).await;
    assert_eq!(ended(&engine, &sound).await.0, Status::Completed);
    let later = start(&engine, "sound", json!({})).await;
    let work = poll(&engine, "work").await;
    assert_eq!(work.execution, later);
    complete(&engine, &work, json!({})).await;
    assert_eq!(ended(&engine, &later).await.0, Status::Completed);

    // It can be removed, and is no trouble any more.
    assert!(engine.remove(&broken).await.expect("the store answers"));
    assert!(engine.quarantined().is_empty());
    assert_eq!(engine.read(&broken, |_| ()).await.expect("the store answers"), None);
}

#[tokio::test]
async fn what_a_machine_started_begins_though_the_machine_is_quarantined() {
    let store = Arc::new(Memory::new());
    let first = open(store.clone()).await;
    let task = |name: &str| json!([{ "name": name, "taskReferenceName": "t", "type": "SIMPLE" }]);
    register(&first, json!({ "name": "broken", "tasks": task("queued") })).await;
    register(&first, json!({ "name": "child", "tasks": task("work") })).await;
    let broken = start(&first, "broken", json!({})).await;
    drop(first);
    let child = ExecutionId::new("a-child-that-was-asked-for");
    let parent = json!({ "x": broken, "s": 1 });
    let sent = Outgoing {
        key: MessageKey { sender: broken.clone(), sequence: 1 << 20 },
        to: child.clone(),
        body: json!({ "start": { "name": "child", "input": {}, "parent": parent } }).to_string(),
    };
    let closed = json!({ "closed": { "s": 99, "t": "COMPLETED" } });
    damage_and_send(&store, &broken, json!([{ "at": 1 }, closed]), vec![sent]).await;

    let engine = open(store).await;
    let work = poll(&engine, "work").await;
    assert_eq!(work.execution, child);
    is_quarantined(&engine.read(&broken, |_| ()).await);
    complete(&engine, &work, json!({})).await;
    assert_eq!(ended(&engine, &child).await.0, Status::Completed);
}

#[tokio::test]
async fn what_cannot_be_read_can_be_removed_unread() {
    let store = Arc::new(Memory::new());
    let first = open(store.clone()).await;
    let task = json!([{ "name": "queued", "taskReferenceName": "t", "type": "SIMPLE" }]);
    register(&first, json!({ "name": "broken", "tasks": task })).await;
    let broken = start(&first, "broken", json!({})).await;
    drop(first);
    let closed = json!({ "closed": { "s": 99, "t": "COMPLETED" } });
    damage(&store, &broken, json!([{ "at": 1 }, closed])).await;
    let engine = open(store).await;
    assert!(engine.remove(&broken).await.expect("the store answers"));
    assert!(engine.quarantined().is_empty());
    assert_eq!(all_of(&engine, "queued").await, 0);
}

#[tokio::test]
async fn a_quarantined_monitor_does_not_keep_changes_from_the_others() {
    let file = |every: &str| {
        let yaml = format!(
            "monitors:\n  broken: {{ tcp: 'h:1', every: {every} }}\n  \
             sound: {{ tcp: 'h:2', every: {every}, depends_on: [broken] }}\n"
        );
        let loaded = load_among(&yaml, &ChecklistOptions::default(), &Known::default());
        loaded.file.unwrap_or_else(|| panic!("{:?}", loaded.problems))
    };
    let store = Arc::new(Memory::new());
    let first = open(store.clone()).await;
    first.apply_monitors("file", file("1h")).await.expect("it fits");
    drop(first);
    let broken = ExecutionId::monitor("broken");
    damage(&store, &broken, json!([{ "at": 1 }, { "absent": { "k": "x" } }])).await;

    let engine = open(store).await;
    engine.apply_monitors("file", file("2h")).await.expect("the sound one is told");
    let every = |monitor: &Monitor| monitor.spec.as_ref().map(|it| it.monitor.schedule.clone());
    let sound = engine.monitor("sound", every).await.expect("the store answers");
    let wanted = file("2h").monitors.iter().map(|it| it.schedule.clone()).next_back();
    assert_eq!(sound.flatten(), wanted);
    assert!(engine.monitor("broken", every).await.is_err());

    // Whoever removes it can define it again.
    assert!(engine.remove(&broken).await.expect("the store answers"));
    engine.apply_monitors("file", file("2h")).await.expect("it fits");
    assert_eq!(engine.monitor("broken", every).await.expect("it is sound").flatten(), wanted);
}
