//! Commits: whole or not at all, in order, each message once.

use futures_util::future::join_all;
use kernel::{ExecutionId, MachineKind, RowKind};

use super::{
    at, commit, create, ended, full_commit, history, id, is_conflict, message, queue_row, queued,
    running, undelivered, uuid,
};
use crate::search::{Filter, Search, Sort, SortField, TextField, TimeField};
use crate::store::{Commit, Head, QueueChange, QueueRow, Store, StoreError};

pub(super) async fn history_is_kept_in_order(store: &dyn Store) {
    for id in [uuid(1), id("a name of one's own"), id(&uuid(1).as_str().to_uppercase())] {
        assert_eq!(history(store, &id).await, None);
        let mut expected = Vec::new();
        for expect in 0..20 {
            let events = format!(r#"["{id}",{expect},"ünï 🔔"]"#);
            expected.push(events.clone());
            let commit = Commit { events, ..commit(expect, running(&id)) };
            store.commit(commit).await.expect("each commit follows the last");
        }
        assert_eq!(history(store, &id).await, Some(expected));
    }
}

pub(super) async fn conflicts_write_nothing(store: &dyn Store) {
    let (one, other) = (uuid(1), uuid(2));
    create(store, running(&one)).await;
    create(store, running(&other)).await;
    let sent = Commit { send: vec![message(&other, 1, &one)], ..commit(1, running(&other)) };
    store.commit(sent).await.expect("a message can be sent");

    for expect in [0, 2, 9] {
        let rival = Commit {
            received: vec![message(&other, 1, &one).key],
            ..full_commit(expect, &one, &other)
        };
        assert!(is_conflict(&store.commit(rival).await), "expecting {expect}");
    }
    let absent = full_commit(3, &uuid(3), &one);
    assert!(is_conflict(&store.commit(absent).await), "an update of nothing");

    assert_eq!(history(store, &one).await.map(|history| history.len()), Some(1));
    assert_eq!(history(store, &uuid(3)).await, None);
    assert_eq!(store.head(&one).await, Ok(Some(running(&one))));
    assert_eq!(queued(store).await, []);
    assert_eq!(undelivered(store).await, [message(&other, 1, &one).key]);
    assert_eq!(store.due(at(1000), 10).await, Ok(Vec::new()));
    assert_eq!(store.plan("hash-2").await, Ok(None));
    let text = Search { free_text: Some("version*".into()), size: 10, ..Search::default() };
    assert_eq!(store.search(&text).await.expect("search works").total, 0);
}

pub(super) async fn conflicts_harm_nobody_else(store: &dyn Store) {
    create(store, running(&uuid(0))).await;
    let commits = (0..100).map(|number| {
        let wrong = number % 3 == 0;
        let head = running(&if wrong { uuid(0) } else { uuid(number) });
        store.commit(commit(0, head))
    });
    for (number, outcome) in join_all(commits).await.into_iter().enumerate() {
        assert_eq!(is_conflict(&outcome), number % 3 == 0, "number {number}: {outcome:?}");
    }
    for number in (1..100).filter(|number| number % 3 != 0) {
        assert!(history(store, &uuid(number)).await.is_some(), "number {number} is there");
    }
    assert_eq!(history(store, &uuid(0)).await.map(|history| history.len()), Some(1));
}

pub(super) async fn one_of_many_rivals_wins(store: &dyn Store) {
    for round in 0..10 {
        let rivals = (0..8).map(|rival| {
            let events = format!("[{rival}]");
            store.commit(Commit { events, ..commit(round, running(&uuid(1))) })
        });
        let outcomes = join_all(rivals).await;
        let winner = outcomes.iter().position(Result::is_ok).expect("somebody wins");
        assert_eq!(outcomes.iter().filter(|outcome| is_conflict(outcome)).count(), 7);
        let history = history(store, &uuid(1)).await.expect("it is there");
        assert_eq!(history.last(), Some(&format!("[{winner}]")), "the winner's word stands");
    }
}

pub(super) async fn heads_come_back_whole(store: &dyn Store) {
    let mut head = Head {
        definition_version: 7,
        name: "report".into(),
        correlation_id: Some("order 17".into()),
        parent: Some(uuid(9)),
        priority: 99,
        created_at: at(-5),
        wake_at: Some(at(77)),
        event: Some("kafka:orders".into()),
        input_size: u32::MAX,
        ..running(&uuid(1))
    };
    create(store, head.clone()).await;
    assert_eq!(store.head(&uuid(1)).await, Ok(Some(head.clone())));
    assert_eq!(store.head(&uuid(2)).await, Ok(None));

    let changes: [fn(&mut Head); 6] = [
        |head| head.updated_at = at(50),
        |head| head.wake_at = Some(at(60)),
        |head| head.wake_at = None,
        |head| {
            head.status = "FAILED";
            head.closed = true;
            head.ended_at = Some(at(70));
            head.reason = Some("no answer".into());
            head.failed_references = "ping,pong".into();
            head.output_size = 12;
        },
        // It is run again, by another definition.
        |head| {
            *head = Head {
                name: "report anew".into(),
                definition_version: 8,
                correlation_id: None,
                parent: Some(id("elsewhere")),
                created_at: at(80),
                ..running(&uuid(1))
            };
        },
        |head| head.parent = None,
    ];
    for (version, change) in (1..).zip(changes) {
        change(&mut head);
        head.version = version + 1;
        store.commit(commit(version, head.clone())).await.expect("it can change");
        assert_eq!(store.head(&uuid(1)).await, Ok(Some(head.clone())));
    }
}

pub(super) async fn plans_are_kept_once(store: &dyn Store) {
    assert_eq!(store.plan("abc").await, Ok(None));
    for (number, text) in [(1, "first"), (2, "second")] {
        let plans = vec![("abc".into(), text.into()), ("def".into(), "other".into())];
        let commit = Commit { plans, ..commit(0, running(&uuid(number))) };
        store.commit(commit).await.expect("it can be created");
    }
    assert_eq!(store.plan("abc").await, Ok(Some("first".into())));
    assert_eq!(store.plan("def").await, Ok(Some("other".into())));

    store.remove(&uuid(1)).await.expect("it can be removed");
    assert_eq!(store.plan("abc").await, Ok(Some("first".into())), "another still pins it");
    store.remove(&uuid(2)).await.expect("it can be removed");
    assert_eq!(store.plan("abc").await, Ok(None), "nobody pins it");
}

pub(super) async fn queue_rows_are_put_and_removed(store: &dyn Store) {
    let change = |expect, queue| Commit { queue, ..commit(expect, running(&uuid(1))) };
    let (first, second) = (queue_row(&uuid(1), 1), queue_row(&uuid(1), 2));
    let commit = change(0, vec![QueueChange::Put(first.clone()), QueueChange::Put(second.clone())]);
    store.commit(commit).await.expect("rows can be put");
    assert_eq!(queued(store).await, [first.clone(), second]);

    let held = QueueRow {
        queue: "eu:ping".into(),
        name: "ping".into(),
        priority: 3,
        ready_at: at(90),
        held: true,
        concurrent_max: 4,
        rate_max: 5,
        rate_window_seconds: 6,
        ..first
    };
    let last = QueueRow { kind: RowKind::of(u32::MAX), ..held.clone() };
    let changes = vec![
        QueueChange::Put(held.clone()),
        QueueChange::Remove { kind: RowKind::Task(2) },
        QueueChange::Remove { kind: RowKind::Task(3) },
        QueueChange::Put(last.clone()),
    ];
    store.commit(change(1, changes)).await.expect("rows can be replaced and removed");
    assert_eq!(queued(store).await, [held.clone(), last]);

    let changes = vec![
        QueueChange::Remove { kind: RowKind::of(u32::MAX) },
        QueueChange::Remove { kind: RowKind::Task(1) },
        QueueChange::Put(held.clone()),
    ];
    store.commit(change(2, changes)).await.expect("changes apply in order");
    assert_eq!(queued(store).await, [held]);
}

pub(super) async fn messages_are_received_once(store: &dyn Store) {
    let (sender, receiver) = (uuid(1), uuid(2));
    create(store, running(&sender)).await;
    let send: Vec<_> = (1..=3).map(|sequence| message(&sender, sequence, &receiver)).collect();
    let keys: Vec<_> = send.iter().map(|message| message.key.clone()).collect();
    store.commit(Commit { send, ..commit(1, running(&sender)) }).await.expect("sending works");
    assert_eq!(undelivered(store).await, keys, "oldest first");
    let first = store.undelivered(1).await.expect("messages can be read");
    assert_eq!((first.len(), &first[0].to, &*first[0].body), (1, &receiver, r#"{"number":1}"#));

    // The first message creates its receiver.
    let receive = |expect, number: usize| Commit {
        received: vec![keys[number].clone()],
        ..commit(expect, running(&receiver))
    };
    store.commit(receive(0, 0)).await.expect("receiving works");
    assert_eq!(undelivered(store).await, keys[1..]);
    assert_eq!(store.commit(receive(1, 0)).await, Err(StoreError::Received));
    assert_eq!(history(store, &receiver).await.map(|history| history.len()), Some(1));

    // Delivered twice at the same time, it is still received once.
    let outcomes = join_all([store.commit(receive(1, 1)), store.commit(receive(1, 1))]).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");

    store.discard(&keys[2]).await.expect("discarding works");
    assert_eq!(undelivered(store).await, []);
    store.discard(&keys[2]).await.expect("discarding again changes nothing");
    assert_eq!(store.commit(receive(2, 2)).await, Err(StoreError::Received));
}

pub(super) async fn messages_are_received_together_or_not_at_all(store: &dyn Store) {
    let (sender, receiver) = (uuid(1), uuid(2));
    create(store, running(&sender)).await;
    let send: Vec<_> = (1..=3).map(|sequence| message(&sender, sequence, &receiver)).collect();
    let keys: Vec<_> = send.iter().map(|message| message.key.clone()).collect();
    store.commit(Commit { send, ..commit(1, running(&sender)) }).await.expect("sending works");
    store.discard(&keys[1]).await.expect("discarding works");
    let receive = |keys| Commit { received: keys, ..commit(0, running(&receiver)) };
    assert_eq!(store.commit(receive(keys.clone())).await, Err(StoreError::Received));
    assert_eq!(undelivered(store).await, [keys[0].clone(), keys[2].clone()]);
    assert_eq!(history(store, &receiver).await, None);
    let both = vec![keys[2].clone(), keys[0].clone()];
    store.commit(receive(both)).await.expect("both are there");
    assert_eq!(undelivered(store).await, []);
}

pub(super) async fn the_due_come_soonest_first(store: &dyn Store) {
    for (number, wake) in [(1, Some(30)), (2, None), (3, Some(10)), (4, Some(20)), (5, Some(40))] {
        create(store, Head { wake_at: wake.map(at), ..running(&uuid(number)) }).await;
    }
    let due = async |until, limit| store.due(at(until), limit).await.expect("the due can be read");
    assert_eq!(due(9, 10).await, []);
    assert_eq!(due(30, 10).await, [(at(10), uuid(3)), (at(20), uuid(4)), (at(30), uuid(1))]);
    assert_eq!(due(30, 2).await, [(at(10), uuid(3)), (at(20), uuid(4))]);

    let later = Head { wake_at: Some(at(50)), ..running(&uuid(3)) };
    store.commit(commit(1, later)).await.expect("it can change");
    store.commit(commit(1, ended(&uuid(4), 5))).await.expect("it can end");
    assert_eq!(due(1000, 10).await, [(at(30), uuid(1)), (at(40), uuid(5)), (at(50), uuid(3))]);
}

pub(super) async fn what_is_forgotten_is_not_loaded(store: &dyn Store) {
    let execution = uuid(1);
    for expect in 0..5 {
        let forget = expect == 3;
        let commit = Commit { forget, ..commit(expect, running(&execution)) };
        store.commit(commit).await.expect("it can be committed");
    }
    let stored = store.load(&execution).await.expect("loading works").expect("it is there");
    assert_eq!(stored.version, 5);
    let events = |expect| commit(expect, running(&execution)).events;
    assert_eq!(stored.history, [events(3), events(4)], "from the one that forgot");
}

pub(super) async fn machines_are_listed_apart(store: &dyn Store) {
    let schedule = ExecutionId::schedule("nightly");
    create(store, running(&uuid(1))).await;
    create(store, Head { status: "PAUSED", ..running(&schedule) }).await;
    let found = async |search: Search| ids(store, search).await;
    let listed = async |machine| found(Search { machine, size: 10, ..Search::default() }).await;
    assert_eq!(listed(MachineKind::Execution).await, (1, vec![uuid(1)]));
    assert_eq!(listed(MachineKind::Schedule).await, (1, vec![schedule.clone()]));
    assert_eq!(listed(MachineKind::Monitor).await.0, 0);
    let counted = store.statistics().await.expect("there are statistics");
    assert_eq!((counted.executions, counted.running), (1, 1), "only executions are counted");
    assert_eq!((counted.instances, counted.instances_running, counted.entities), (0, 0, 0));
    assert_eq!(store.remove(&schedule).await, Ok(true));
    assert_eq!(listed(MachineKind::Schedule).await.0, 0);
}

/// How many match, and the ids on the page.
async fn ids(store: &dyn Store, search: Search) -> (u64, Vec<ExecutionId>) {
    let page = store.search(&search).await.expect("search works");
    (page.total, page.rows.into_iter().map(|head| head.id).collect())
}

pub(super) async fn machines_are_listed_together(store: &dyn Store) {
    // One of code after each of a graph: at 0 and 1, 10 and 11, and so on.
    let code = |number: i64| ExecutionId::instance("hub", &format!("code-{number}"));
    for number in 0..5 {
        let graph = uuid(u32::try_from(number).expect("a small number"));
        create(store, Head { created_at: at(number * 10), ..running(&graph) }).await;
        let born = Head { created_at: at(number * 10 + 1), ..running(&code(number)) };
        let ended =
            Head { status: "COMPLETED", closed: true, ended_at: Some(at(99)), ..born.clone() };
        create(store, if number < 2 { ended } else { born }).await;
    }
    create(store, Head { status: "ACTIVE", ..running(&ExecutionId::entity("hub", "@c@k")) }).await;
    let both = Search { beside: Some(MachineKind::Instance), size: 3, ..Search::default() };
    let found = async |search: Search| ids(store, search).await;
    let newest = vec![code(4), uuid(4), code(3)];
    assert_eq!(found(both.clone()).await, (10, newest), "newest first");
    let second = vec![uuid(3), code(2), uuid(2)];
    assert_eq!(found(Search { start: 3, ..both.clone() }).await, (10, second));
    let oldest = Sort { by: SortField::Time(TimeField::Created), descending: false };
    let oldest = Search { sort: vec![oldest], start: 1, ..both.clone() };
    assert_eq!(found(oldest).await, (10, vec![code(0), uuid(1), code(1)]));
    let done = Filter::In(TextField::Status, vec!["COMPLETED".to_owned()]);
    let done = Search { filters: vec![done], ..both.clone() };
    assert_eq!(found(done).await, (2, vec![code(1), code(0)]));
    let twice = Search { beside: Some(MachineKind::Execution), ..both };
    assert_eq!(found(twice).await.0, 5, "each kind once");
    let counted = store.statistics().await.expect("there are statistics");
    let counts =
        (counted.executions, counted.instances, counted.instances_running, counted.entities);
    assert_eq!(counts, (5, 5, 3, 1));
}
