//! What is kept beside executions, and what is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kernel::{ExecutionId, MachineKind, Record};

use super::differential::Dice;
use super::{
    at, commit, create, ended, full_commit, history, id, is_conflict, message, queued, running,
    undelivered, uuid,
};
use crate::search::{Filter, RecordSearch, Search, TextField};
use crate::store::{
    AUDIT, AUDIT_FACTOR, Commit, Document, Head, KeptLine, LOG_LINES_MAX, LogLine, LogWindow,
    Retention, SampleBlock, Store, StoreError,
};

fn document(kind: &str, name: &str, version: u32, text: &str) -> Document {
    Document { kind: kind.into(), name: name.into(), version, text: text.into() }
}

fn lines(range: std::ops::Range<usize>) -> Vec<LogLine> {
    range.map(|n| LogLine { at: at(n as i64), text: format!("line {n}") }).collect()
}

/// The whole log of a task.
async fn log(store: &dyn Store, execution: &ExecutionId, sequence: u32) -> Vec<LogLine> {
    let kept = store.log(execution, &[sequence], &LogWindow::ALL).await;
    kept.expect("a log can be read").into_iter().map(|kept| kept.line).collect()
}

const KEEP_ALL: Retention = Retention { count_max: 0, age_max_seconds: 0, disk_max_bytes: 0 };

/// Ids of all executions, newest created first.
async fn all(store: &dyn Store) -> Vec<String> {
    let page = store.search(&Search { size: 5000, ..Search::default() }).await;
    let rows = page.expect("search works").rows;
    rows.iter().map(|head| head.id.as_str().to_owned()).collect()
}

pub(super) async fn documents_are_kept_whole(store: &dyn Store) {
    let first = document("workflow", "a", 1, "{}");
    store.put_document(first.clone()).await.expect("a document can be put");
    let others = vec![
        document("workflow", "b", 1, "b1"),
        document("workflow", "a", 10, "a10"),
        document("task", "a", 0, "task"),
        document("workflow", "a", 2, "a2"),
    ];
    store.put_documents(others).await.expect("several can be put");
    let kept = async |kind| store.documents(kind).await.expect("documents can be read");
    let expected = [
        first,
        document("workflow", "a", 2, "a2"),
        document("workflow", "a", 10, "a10"),
        document("workflow", "b", 1, "b1"),
    ];
    assert_eq!(kept("workflow").await, expected, "by name and version");
    assert_eq!(kept("task").await, [document("task", "a", 0, "task")]);
    assert_eq!(kept("schedule").await, []);

    let five = ["a", "b", "c", "d", "e"].map(|name| document("many", name, 0, name));
    store.put_documents(five.to_vec()).await.expect("several can be put");
    let after =
        async |name| store.documents_after("many", name, 2).await.expect("they can be read");
    assert_eq!(after("").await, five[..2]);
    assert_eq!(after("b").await, five[2..4], "by name, from where the first two ended");
    assert_eq!(after("d").await, five[4..], "the last ones");
    assert_eq!(after("e").await, []);

    store.put_document(document("task", "a", 0, "changed")).await.expect("it can be replaced");
    assert_eq!(kept("task").await, [document("task", "a", 0, "changed")]);
    assert_eq!(store.delete_document("task", "a", 0).await, Ok(true));
    assert_eq!(store.delete_document("task", "a", 0).await, Ok(false));
    assert_eq!(store.delete_document("workflow", "a", 3).await, Ok(false));
    assert_eq!(kept("task").await, []);
    assert_eq!(kept("workflow").await.len(), 4);
}

pub(super) async fn ledgers_keep_the_newest_lines(store: &dyn Store) {
    let record = |key: &str, subject: &str, millis: i64, status: &str| Record {
        ledger: "firing",
        key: key.into(),
        subject: subject.into(),
        at: at(millis),
        status: status.into(),
        body: kernel::Json::of(&status),
    };
    let listed = async |search: RecordSearch| {
        let page = store.records(&search).await.expect("ledgers can be read");
        let keys: Vec<String> = page.rows.iter().map(|line| line.key.to_string()).collect();
        (page.total, keys.join(" "))
    };
    let newest = || RecordSearch::newest("firing");
    let with = |records: Vec<Record>, head| Commit { records, ..commit(0, head) };
    let first = with(vec![record("a", "x", 1, "POLLED")], running(&uuid(1)));
    store.commit(first).await.expect("a commit may carry lines");
    let refused = with(vec![record("a", "x", 9, "LOST")], running(&uuid(1)));
    assert_eq!(store.commit(refused).await, Err(StoreError::Conflict));
    let others = vec![record("b", "x", 3, "MISSED"), record("c", "y", 2, "EXECUTED")];
    store.put_records(others).await.expect("lines can be put");
    store.put_records(vec![record("a", "x", 1, "EXECUTED")]).await.expect("and replaced");

    assert_eq!(listed(newest()).await, (3, "b c a".to_owned()));
    assert_eq!(listed(RecordSearch { descending: false, ..newest() }).await.1, "a c b");
    assert_eq!(listed(RecordSearch { start: 1, size: 1, ..newest() }).await, (3, "c".to_owned()));
    assert_eq!(listed(RecordSearch { counted_max: 2, ..newest() }).await, (2, "b c a".to_owned()));
    assert_eq!(listed(RecordSearch { counted_max: 0, ..newest() }).await, (0, "b c a".to_owned()));
    assert_eq!(listed(RecordSearch { subjects: vec!["x".into()], ..newest() }).await.1, "b a");
    assert_eq!(
        listed(RecordSearch { statuses: vec!["EXECUTED".into()], ..newest() }).await.1,
        "c a"
    );
    assert_eq!(listed(RecordSearch { keys: vec!["b".into()], ..newest() }).await.1, "b");
    let between = RecordSearch { after: Some(at(1)), before: Some(at(3)), ..newest() };
    assert_eq!(listed(between).await.1, "c");
    assert_eq!(listed(RecordSearch::newest("delivery")).await.0, 0, "ledgers are apart");

    assert_eq!(store.trim_records(1).await, Ok(1), "one subject has one too many");
    assert_eq!(listed(newest()).await.1, "b c", "the oldest line of x is gone");

    let audit = |number: i64| Record {
        ledger: AUDIT,
        key: format!("{number:03}").into(),
        subject: AUDIT.into(),
        at: at(number),
        status: "begun".into(),
        body: kernel::Json::empty_object(),
    };
    let most = i64::try_from(AUDIT_FACTOR).expect("a small number");
    store.put_records((0..most + 2).map(audit).collect()).await.expect("lines can be added");
    assert_eq!(store.trim_records(1).await, Ok(2), "of this ledger more are kept");
    let oldest = RecordSearch { descending: false, size: 1, ..RecordSearch::newest(AUDIT) };
    assert_eq!(listed(oldest).await, (AUDIT_FACTOR, "002".to_owned()));
}

pub(super) async fn samples_are_kept_within_bounds(store: &dyn Store) {
    let block = |monitor: &str, first: i64, last: i64, bytes: usize| SampleBlock {
        subject: monitor.into(),
        first_at: at(first),
        last_at: at(last),
        last: last as u64,
        checks: 1,
        data: vec![7; bytes],
    };
    let all = (at(0), at(1000));
    let found = async |monitor: &str, between, after, limit| {
        let blocks = store.sample_blocks(monitor, between, after, limit).await;
        let blocks = blocks.expect("samples can be read");
        let ends: Vec<String> = blocks.iter().map(|it| it.last.to_string()).collect();
        ends.join(" ")
    };
    assert_eq!(store.newest_samples("x").await, Ok(None));
    assert_eq!(store.sampled_monitors().await, Ok(Vec::new()));
    let blocks = vec![block("x", 10, 15, 100), block("x", 20, 29, 100), block("y", 5, 50, 100)];
    store.put_samples(blocks).await.expect("samples can be put");
    let grown = vec![block("x", 20, 35, 150), block("x", 40, 40, 10)];
    store.put_samples(grown).await.expect("a block can be replaced");
    assert_eq!(found("x", all, None, 9).await, "15 35 40");
    assert_eq!(found("x", all, Some(at(10)), 1).await, "35", "a page goes on after another");
    assert_eq!(found("x", (at(15), at(20)), None, 9).await, "15", "the end is not among them");
    assert_eq!(found("x", (at(30), at(41)), None, 9).await, "35 40", "also what began before");
    assert_eq!(found("z", all, None, 9).await, "");
    assert_eq!(store.newest_samples("x").await, Ok(Some(block("x", 40, 40, 10))));
    assert_eq!(store.sampled_monitors().await, Ok(vec!["x".into(), "y".into()]));

    assert_eq!(store.trim_samples(None, Some(360), 9).await, Ok(0), "so many bytes there are");
    assert_eq!(store.trim_samples(Some(at(5)), None, 9).await, Ok(0), "none is that old");
    assert_eq!(store.trim_samples(None, Some(359), 9).await, Ok(1), "the oldest goes");
    assert_eq!(store.sampled_monitors().await, Ok(vec!["x".into()]));
    assert_eq!(store.trim_samples(Some(at(40)), None, 1).await, Ok(1), "not more than asked for");
    assert_eq!(found("x", all, None, 9).await, "35 40");
    assert_eq!(store.trim_samples(Some(at(40)), Some(1000), 9).await, Ok(1));
    assert_eq!(store.forget_samples("y", 9).await, Ok(0));
    store.put_samples(vec![block("y", 60, 60, 1)]).await.expect("samples can be put");
    assert_eq!(store.forget_samples("x", 9).await, Ok(1));
    assert_eq!(store.sampled_monitors().await, Ok(vec!["y".into()]));
    assert_eq!(store.trim_samples(None, Some(0), 9).await, Ok(1), "bytes are counted as they go");
}

pub(super) async fn logs_keep_the_newest_lines(store: &dyn Store) {
    create(store, running(&uuid(1))).await;
    let add = async |sequence, range| {
        store.append_log(&uuid(1), sequence, lines(range)).await.expect("lines can be added");
    };
    let kept = async |sequence| log(store, &uuid(1), sequence).await;
    add(1, 0..3).await;
    add(2, 7..8).await;
    add(1, 3..5).await;
    assert_eq!(kept(1).await, lines(0..5));
    assert_eq!(kept(2).await, lines(7..8));
    assert_eq!(kept(3).await, []);

    add(1, 5..LOG_LINES_MAX + 2).await;
    assert_eq!(kept(1).await, lines(2..LOG_LINES_MAX + 2));
    add(1, 0..LOG_LINES_MAX * 2 + 1).await;
    assert_eq!(kept(1).await, lines(LOG_LINES_MAX + 1..LOG_LINES_MAX * 2 + 1));
    assert_eq!(kept(2).await, lines(7..8), "another task's log is left alone");

    let nobody = store.append_log(&uuid(2), 1, lines(0..1)).await;
    assert_eq!(nobody, Ok(()), "lines for nobody are dropped");
    create(store, running(&uuid(2))).await;
    assert_eq!(log(store, &uuid(2), 1).await, []);
}

pub(super) async fn logs_are_read_by_window(store: &dyn Store) {
    create(store, running(&uuid(1))).await;
    create(store, running(&uuid(2))).await;
    let add = async |id, sequence, range| {
        store.append_log(&id, sequence, lines(range)).await.expect("lines can be added");
    };
    // Lines of two tasks take turns, and another execution has some of its own.
    add(uuid(1), 1, 0..4).await;
    add(uuid(2), 1, 0..9).await;
    add(uuid(1), 2, 10..13).await;
    add(uuid(1), 1, 20..22).await;
    let read = async |sequences: &[u32], window: LogWindow| {
        store.log(&uuid(1), sequences, &window).await.expect("a log can be read")
    };
    let said = |kept: &[KeptLine]| {
        let words = kept.iter().map(|it| it.line.text.trim_start_matches("line ").to_owned());
        words.collect::<Vec<_>>().join(" ")
    };
    let both = read(&[1, 2], LogWindow::ALL).await;
    assert_eq!(said(&both), "0 1 2 3 10 11 12 20 21");
    assert_eq!(both.iter().map(|it| it.sequence).collect::<Vec<_>>(), [1, 1, 1, 1, 2, 2, 2, 1, 1]);
    assert!(both.is_sorted_by(|one, other| one.number < other.number), "{both:?}");
    let tail = |count| LogWindow { tail: Some(count), ..LogWindow::ALL };
    let last = read(&[1, 2], tail(3)).await;
    assert_eq!(said(&last), "12 20 21");
    let before = last.first().map(|it| it.number);
    let earlier = LogWindow { before, ..tail(4) };
    assert_eq!(said(&read(&[2, 1], earlier.clone()).await), "2 3 10 11");
    assert_eq!(said(&read(&[1], earlier).await), "0 1 2 3");
    let find = |words: &str| LogWindow { find: Some(words.to_owned()), ..LogWindow::ALL };
    assert_eq!(said(&read(&[1, 2], find("LINE 1")).await), "1 10 11 12");
    assert_eq!(said(&read(&[1, 2], LogWindow { tail: Some(1), ..find("line 1") }).await), "12");
    // What is looked for is text: nothing in it stands for something else.
    assert_eq!(read(&[1, 2], find("l%")).await, []);
    assert_eq!(read(&[1, 2], find("l_ne")).await, []);
    assert_eq!(said(&read(&[1], tail(0)).await), "");
    assert_eq!(read(&[], LogWindow::ALL).await, []);
    assert_eq!(read(&[3], LogWindow::ALL).await, []);
}

pub(super) async fn removing_leaves_nothing(store: &dyn Store) {
    assert_eq!(store.remove(&uuid(1)).await, Ok(false));
    create(store, running(&uuid(2))).await;
    let answer =
        Commit { send: vec![message(&uuid(2), 1, &uuid(1))], ..commit(1, running(&uuid(2))) };
    store.commit(answer).await.expect("a message can be sent");
    for expect in 0..3 {
        let commit = full_commit(expect, &uuid(1), &uuid(2));
        store.commit(commit).await.expect("it can be committed");
    }
    store.append_log(&uuid(1), 1, lines(0..3)).await.expect("lines can be added");
    let text = Search { free_text: Some("version2".into()), size: 10, ..Search::default() };
    assert_eq!(store.search(&text).await.expect("search works").total, 1);

    assert_eq!(store.remove(&uuid(1)).await, Ok(true));
    assert_eq!(store.remove(&uuid(1)).await, Ok(false));
    assert_eq!(history(store, &uuid(1)).await, None);
    assert_eq!(store.head(&uuid(1)).await, Ok(None));
    assert_eq!(queued(store).await, []);
    let sent: Vec<_> = undelivered(store).await.into_iter().map(|key| key.sender).collect();
    assert_eq!(sent, [uuid(1), uuid(1), uuid(1)], "messages to it are gone, not those from it");
    assert_eq!(store.due(at(1000), 10).await, Ok(Vec::new()));
    assert_eq!(log(store, &uuid(1), 1).await, []);
    assert_eq!(store.plan("hash-0").await, Ok(None));
    assert_eq!(store.search(&text).await.expect("search works").total, 0);
    assert_eq!(all(store).await, [uuid(2).as_str()], "another is left alone");

    // The same id begins anew, with nothing of the old.
    create(store, running(&uuid(1))).await;
    assert_eq!(history(store, &uuid(1)).await.map(|history| history.len()), Some(1));
    assert_eq!(log(store, &uuid(1), 1).await, []);
    assert_eq!(store.search(&text).await.expect("search works").total, 0);
}

/// Ten that ended, in another order than they were created in, and one that runs.
async fn eleven(store: &dyn Store) {
    create(store, running(&id("running"))).await;
    for number in [3, 1, 4, 0, 5, 9, 2, 6, 8, 7] {
        let head = ended(&id(&format!("ended {number}")), number * 1000);
        create(store, Head { created_at: at(-number), ..head }).await;
    }
}

/// Prunes until nothing is left to prune, `limit` at a time.
async fn prune(store: &dyn Store, retention: &Retention, now: i64, limit: usize) -> u64 {
    let mut executions = 0;
    loop {
        let pruned = store.prune(retention, at(now), limit).await.expect("pruning works");
        assert!(pruned.executions <= limit as u64, "no more than asked for");
        executions += pruned.executions;
        if !pruned.more {
            return executions;
        }
        assert!(pruned.executions > 0, "something is done when more can be done");
    }
}

pub(super) async fn pruning_by_count(store: &dyn Store) {
    eleven(store).await;
    assert_eq!(prune(store, &KEEP_ALL, 1_000_000, 100).await, 0);
    let keep = |count_max| Retention { count_max, ..KEEP_ALL };
    assert_eq!(prune(store, &keep(10), 0, 100).await, 0);
    assert_eq!(prune(store, &keep(4), 0, 100).await, 6);
    let left = ["running", "ended 6", "ended 7", "ended 8", "ended 9"];
    assert_eq!(all(store).await, left, "first ended, first gone");
    let some = store.prune(&keep(1), at(0), 2).await.expect("pruning works");
    assert_eq!((some.executions, some.more), (2, true));
    assert_eq!(prune(store, &keep(1), 0, 2).await, 1);
    assert_eq!(all(store).await, ["running", "ended 9"]);
    assert_eq!(history(store, &id("ended 8")).await, None);
}

pub(super) async fn pruning_takes_every_machine(store: &dyn Store) {
    let code = |name: &str| ExecutionId::instance("hub", name);
    let entity = |name: &str| ExecutionId::entity("hub", &format!("@counter@{name}"));
    for (number, id) in [code("a"), entity("b"), uuid(1), code("c"), entity("d")].iter().enumerate()
    {
        create(store, ended(id, 1000 * i64::try_from(number).expect("few"))).await;
    }
    create(store, running(&code("open"))).await;
    create(store, Head { status: "ACTIVE", ..running(&entity("full")) }).await;
    let keep = |count_max| Retention { count_max, ..KEEP_ALL };
    assert_eq!(prune(store, &keep(3), 0, 100).await, 2, "first ended, first gone, of any kind");
    assert_eq!(history(store, &code("a")).await, None);
    assert_eq!(history(store, &entity("b")).await, None);
    let aged = Retention { age_max_seconds: 1, ..KEEP_ALL };
    assert_eq!(prune(store, &aged, 4001, 100).await, 2);
    assert!(history(store, &entity("d")).await.is_some(), "just young enough to stay");
    let nothing = Retention { disk_max_bytes: 1, ..KEEP_ALL };
    assert_eq!(prune(store, &nothing, 0, 100).await, 1);
    assert!(history(store, &code("open")).await.is_some(), "what runs is never removed");
    assert!(history(store, &entity("full")).await.is_some(), "nor what holds a state");
    let counted = store.statistics().await.expect("there are statistics");
    assert_eq!((counted.executions, counted.instances, counted.entities), (0, 1, 1));
}

pub(super) async fn pruning_by_age(store: &dyn Store) {
    eleven(store).await;
    let keep = Retention { age_max_seconds: 5, ..KEEP_ALL };
    assert_eq!(prune(store, &keep, 5000, 100).await, 0, "just old enough to stay");
    assert_eq!(prune(store, &keep, 8001, 2).await, 4);
    let both = Retention { count_max: 5, ..keep.clone() };
    assert_eq!(prune(store, &both, 8001, 100).await, 1, "whichever keeps less");
    let both = Retention { count_max: 4, ..keep };
    assert_eq!(prune(store, &both, 11_001, 100).await, 2, "whichever keeps less");
    assert_eq!(all(store).await, ["running", "ended 7", "ended 8", "ended 9"]);
}

pub(super) async fn pruning_by_size(store: &dyn Store) {
    // A store may compress what has ended, when it likes: random letters shrink by a quarter.
    let mut dice = Dice(1);
    create(store, running(&id("running"))).await;
    for number in 0..200 {
        let letter = |_| char::from(b'#' + dice.throw(56) as u8);
        let big: String = (0..20_000).map(letter).collect();
        let head = ended(&id(&format!("ended {number}")), number);
        let commit = Commit { events: format!("[{number},\"{big}\"]"), ..commit(0, head) };
        store.commit(commit).await.expect("it can be created");
    }
    let bytes = async || store.statistics().await.expect("there are statistics").bytes;
    let before = bytes().await;
    assert!(before >= 4_000_000, "{before} bytes");
    let roomy = Retention { disk_max_bytes: before * 2, ..KEEP_ALL };
    assert_eq!(prune(store, &roomy, 0, 10).await, 0);

    let tight = Retention { disk_max_bytes: 2_000_000, ..KEEP_ALL };
    let removed = prune(store, &tight, 0, 20).await;
    assert!((40..190).contains(&removed), "{removed} were removed to get from {before} bytes");
    let after = bytes().await;
    assert!(after <= 2_000_000, "{after} bytes are left");
    assert_eq!(history(store, &id("ended 0")).await, None, "first ended, first gone");
    assert!(history(store, &id("ended 199")).await.is_some());

    let nothing = Retention { disk_max_bytes: 1, ..KEEP_ALL };
    prune(store, &nothing, 0, 1000).await;
    assert_eq!(all(store).await, ["running"], "what runs is never removed");
}

pub(super) async fn what_has_ended_goes_together(store: &dyn Store) {
    for number in 0..4 {
        create(store, ended(&uuid(number), 0)).await;
    }
    create(store, running(&uuid(4))).await;
    let owing =
        Commit { send: vec![message(&uuid(1), 1, &uuid(9))], ..commit(1, ended(&uuid(1), 0)) };
    store.commit(owing).await.expect("it can send");
    let ids: Vec<_> = [0, 1, 2, 4, 7].map(uuid).into();
    let left = store.remove_ended(ids).await;
    assert_eq!(left, Ok(vec![uuid(1), uuid(4)]), "who owes or goes on is given back");
    let mut kept = [1, 3, 4].map(|number| uuid(number).to_string());
    kept.sort();
    let mut found = all(store).await;
    found.sort();
    assert_eq!(found, kept);
}

pub(super) async fn pruning_spares_who_owes(store: &dyn Store) {
    for number in 0..3 {
        create(store, ended(&uuid(number), 0)).await;
    }
    let owing =
        Commit { send: vec![message(&uuid(0), 1, &uuid(9))], ..commit(1, ended(&uuid(0), 0)) };
    store.commit(owing).await.expect("it can send");
    let keep = Retention { age_max_seconds: 1, ..KEEP_ALL };
    assert_eq!(prune(store, &keep, 9000, 100).await, 2);
    assert_eq!(all(store).await, [uuid(0).as_str()]);
    store.discard(&message(&uuid(0), 1, &uuid(9)).key).await.expect("discarding works");
    assert_eq!(prune(store, &keep, 9000, 100).await, 1);
}

pub(super) async fn statistics_count(store: &dyn Store) {
    let before = store.statistics().await.expect("there are statistics");
    assert_eq!((before.executions, before.running, before.commits), (0, 0, 0));
    for number in 0..5 {
        create(store, running(&uuid(number))).await;
    }
    store.commit(commit(1, ended(&uuid(1), 0))).await.expect("it can end");
    assert!(store.commit(commit(1, ended(&uuid(1), 0))).await.is_err());
    store.remove(&uuid(2)).await.expect("it can be removed");
    let after = store.statistics().await.expect("there are statistics");
    assert_eq!((after.executions, after.running, after.commits), (4, 3, 6));
    assert!(after.writes > 0 && after.bytes > 0, "{after:?}");
}

pub(super) async fn counts_equal_what_is_there(store: &dyn Store) {
    const NAMES: [&str; 4] = ["watch", "report", "check:a", "check:b"];
    const STATUSES: [&str; 4] = ["RUNNING", "PAUSED", "COMPLETED", "FAILED"];
    let mut dice = Dice(11);
    let mut versions = BTreeMap::new();
    for step in 0..400 {
        let number = dice.throw(30) as u32;
        let one = if number.is_multiple_of(5) {
            ExecutionId::instance("hub", &format!("one {number}"))
        } else {
            uuid(number)
        };
        if dice.throw(6) == 0 {
            let there = versions.remove(&one).is_some();
            assert_eq!(store.remove(&one).await, Ok(there));
        } else {
            let status = STATUSES[dice.throw(4) as usize];
            let head = Head {
                name: NAMES[dice.throw(4) as usize].into(),
                status,
                parent: (dice.throw(2) == 0).then(|| uuid(77)),
                ..if matches!(status, "RUNNING" | "PAUSED") {
                    running(&one)
                } else {
                    ended(&one, i64::from(step))
                }
            };
            let version = versions.entry(one).or_insert(0);
            // One that was decided on another version changes nothing.
            let late = commit(*version + 1, head.clone());
            assert!(is_conflict(&store.commit(late).await));
            store.commit(commit(*version, head)).await.expect("it can change");
            *version += 1;
        }
        if step % 40 == 39 {
            let keep = Retention { count_max: 12, ..KEEP_ALL };
            prune(store, &keep, 0, 100).await;
            let left = counted_as_there(store).await;
            versions.retain(|id, _| left.contains(id));
        }
    }
}

/// Checks that whatever is counted is counted as it is there; gives what is there.
async fn counted_as_there(store: &dyn Store) -> BTreeSet<ExecutionId> {
    let mut ids = BTreeSet::new();
    for machine in [MachineKind::Execution, MachineKind::Instance] {
        let all = Search { machine, size: 1000, ..Search::default() };
        let all = store.search(&all).await.expect("search works");
        assert_eq!(all.total, all.rows.len() as u64);
        let total = async |filters: Vec<Filter>| {
            let search = Search { machine, filters, ..Search::default() };
            store.search(&search).await.expect("search works").total
        };
        let there =
            |fits: &dyn Fn(&Head) -> bool| all.rows.iter().filter(|head| fits(head)).count() as u64;
        for head in &all.rows {
            let name = Filter::In(TextField::Name, vec![head.name.to_string()]);
            let status = Filter::NotIn(TextField::Status, vec![head.status.to_owned()]);
            let filters = vec![name, status, Filter::TopLevel, Filter::Closed(true)];
            let fits = |other: &Head| {
                let alike = other.name == head.name && other.status != head.status;
                alike && other.parent.is_none() && other.closed
            };
            assert_eq!(total(filters).await, there(&fits));
        }
        let open = there(&|head| !head.closed);
        assert_eq!(total(vec![Filter::Closed(false)]).await, open);
        let counted = store.statistics().await.expect("there are statistics");
        if machine == MachineKind::Execution {
            assert_eq!((counted.executions, counted.running), (all.total, open));
        } else {
            assert_eq!(counted.instances, all.total);
        }
        ids.extend(all.rows.into_iter().map(|head| head.id));
    }
    ids
}

pub(super) async fn briefs_are_kept_until_replaced(store: &dyn Store) {
    let (long, short) = (id("long"), uuid(1));
    let brief = async || {
        let ids = [short.clone(), long.clone(), id("nobody")];
        let mut found = store.briefs(&ids).await.expect("briefs can be read");
        assert_eq!((found.len(), &found[0], &found[2]), (3, &None, &None));
        found.swap_remove(1).map(|(head, text)| (head.version, text))
    };
    create(store, running(&short)).await;
    let write = async |expect, text: Option<&str>| {
        let brief = text.map(str::to_owned);
        let commit = Commit { brief, ..commit(expect, running(&long)) };
        store.commit(commit).await.expect("it can change");
    };
    write(0, Some("first")).await;
    assert_eq!(brief().await, Some((1, "first".to_owned())));
    write(1, None).await;
    assert_eq!(brief().await, Some((2, "first".to_owned())));
    write(2, Some("second")).await;
    assert_eq!(brief().await, Some((3, "second".to_owned())));
    write(3, Some("")).await;
    assert_eq!(brief().await, None);
    write(4, Some("third")).await;
    assert_eq!(store.remove(&long).await, Ok(true));
    create(store, running(&long)).await;
    assert_eq!(brief().await, None, "it went with the execution");
}

pub(super) async fn a_closed_store_refuses(store: &dyn Store) {
    create(store, running(&uuid(1))).await;
    assert_eq!(store.close().await, Ok(()));
    assert_eq!(store.commit(commit(1, running(&uuid(1)))).await, Err(StoreError::Closed));
    assert_eq!(store.load(&uuid(1)).await.map(|_| ()), Err(StoreError::Closed));
    assert_eq!(store.search(&Search::default()).await, Err(StoreError::Closed));
    assert_eq!(store.remove(&uuid(1)).await, Err(StoreError::Closed));
    assert_eq!(store.close().await, Ok(()), "closing twice is no fault");
}

pub(super) async fn everything_survives(
    store: Arc<dyn Store>,
    reopen: impl AsyncFn(Arc<dyn Store>) -> Arc<dyn Store>,
) {
    for expect in 0..3 {
        let commit = full_commit(expect, &uuid(1), &uuid(2));
        store.commit(commit).await.expect("it can be committed");
    }
    create(&*store, ended(&id("ended"), 9)).await;
    store.put_document(document("task", "a", 0, "{}")).await.expect("a document can be put");
    store.append_log(&uuid(1), 1, lines(0..3)).await.expect("lines can be added");
    let history_before = history(&*store, &uuid(1)).await;
    let queued_before = queued(&*store).await;

    let mut store = store;
    for _ in 0..2 {
        store = reopen(store).await;
        assert_eq!(history(&*store, &uuid(1)).await, history_before);
        let head = Head { version: 3, wake_at: Some(at(5)), ..running(&uuid(1)) };
        assert_eq!(store.head(&uuid(1)).await, Ok(Some(head)));
        assert_eq!(store.head(&id("ended")).await, Ok(Some(ended(&id("ended"), 9))));
        assert_eq!(queued(&*store).await, queued_before);
        assert_eq!(undelivered(&*store).await.len(), 3);
        assert_eq!(store.due(at(5), 10).await, Ok(vec![(at(5), uuid(1))]));
        assert_eq!(store.documents("task").await, Ok(vec![document("task", "a", 0, "{}")]));
        assert_eq!(log(&*store, &uuid(1), 1).await, lines(0..3));
        assert_eq!(store.plan("hash-1").await, Ok(Some("{}".into())));
        let text = Search { free_text: Some("version2".into()), size: 10, ..Search::default() };
        assert_eq!(store.search(&text).await.expect("search works").total, 1);
    }
    store.commit(commit(3, running(&uuid(1)))).await.expect("it goes on");
}
