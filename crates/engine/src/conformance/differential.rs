//! The same random work on two stores: they must answer alike.

use super::{at, id, message, queue_row, running, uuid};
use crate::search::{
    Counting, Filter, Mark, RecordSearch, Search, Sort, SortField, TextField, TimeField,
};
use crate::store::{
    Commit, Document, Head, LogLine, LogWindow, MessageKey, QueueChange, QueueRow, Retention, Store,
};
use kernel::{ExecutionId, MachineKind, Record, RowKind};

/// Does `steps` random pieces of work on both stores and compares every answer, and at times all
/// that can be read. Equal seeds do equal work. Both stores hold the same before.
///
/// # Panics
/// At the first difference, with the seed and the step.
pub async fn differ(seed: u64, steps: u32, one: &dyn Store, other: &dyn Store) {
    let mut dice = Dice(seed);
    // One may have been opened later.
    let begun = commits(one).await.abs_diff(commits(other).await);
    for step in 0..steps {
        let work = Work::random(&mut dice);
        let (answer, expected) = (work.on(one).await, work.on(other).await);
        assert_eq!(answer, expected, "seed {seed}, step {step}: {work:?}");
        if step % 50 == 49 || step + 1 == steps {
            compare(&mut dice, &format!("seed {seed}, after step {step}"), one, other).await;
            assert_eq!(commits(one).await.abs_diff(commits(other).await), begun, "commits");
        }
    }
}

/// A small generator of even numbers, so that a seed means the same everywhere.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `sides - 1`.
    pub(super) fn throw(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.throw(sides) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.throw(from.len() as u64) as usize].clone()
    }

    fn id(&mut self) -> ExecutionId {
        let number = self.throw(12) as u32;
        match number % 3 {
            0 => id(&format!("order {number}")),
            1 if number == 10 => ExecutionId::schedule("order"),
            1 if number == 7 => ExecutionId::instance("hub", "order-7"),
            1 => id(&format!("order-{}", number * 11)),
            _ => uuid(number),
        }
    }

    fn key(&mut self) -> MessageKey {
        MessageKey { sender: self.id(), sequence: self.throw(6) }
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.one_in(2).then(|| make(self))
    }
}

const NAMES: &[&str] = &["watch", "watch eu", "report", "Report", "re[port]?"];
const STATUSES: &[(&str, bool)] =
    &[("RUNNING", false), ("PAUSED", false), ("COMPLETED", true), ("FAILED", true)];
const VOCABULARY: &[&str] =
    &["disk", "full", "a-17", "Zürich", "磁盘", "disks", "x", "order", "\"q"];
const PATTERNS: &[&str] = &[
    "*",
    "watch",
    "w*",
    "*e*",
    "RUNNING",
    "*ED",
    "order*",
    "order 3",
    "*1*",
    "re[port]?",
    "r*t*",
    "none",
    "order-*",
    "c1",
    "c*",
    "",
];

#[derive(Debug)]
enum Work {
    /// The expected version is the one that `head` gives, plus this, so that most fit.
    Commit(Box<Commit>, i64),
    Discard(MessageKey),
    Remove(ExecutionId),
    RemoveEnded(Vec<ExecutionId>),
    Prune(Retention, i64, usize),
    PutDocuments(Vec<Document>),
    DeleteDocument(Document),
    AppendLog(ExecutionId, u32, Vec<LogLine>),
    PutRecords(Vec<Record>),
    TrimRecords(u64),
}

impl Work {
    fn random(dice: &mut Dice) -> Self {
        match dice.throw(40) {
            0 => Self::Discard(dice.key()),
            1 => Self::Remove(dice.id()),
            2 => {
                let retention = Retention {
                    count_max: dice.throw(6),
                    age_max_seconds: dice.throw(3),
                    disk_max_bytes: 0,
                };
                Self::Prune(retention, dice.throw(4000) as i64, 1 + dice.throw(4) as usize)
            }
            3 => Self::PutDocuments((0..dice.throw(4)).map(|_| document(dice)).collect()),
            4 => Self::DeleteDocument(document(dice)),
            5 => {
                let lines = (0..dice.throw(700))
                    .map(|n| LogLine { at: at(n as i64), text: format!("line {n} {}", n * 7) });
                let lines = lines.collect();
                Self::AppendLog(dice.id(), dice.throw(2) as u32, lines)
            }
            6 => Self::PutRecords(records(dice)),
            7 => Self::TrimRecords(dice.throw(6)),
            8 => Self::RemoveEnded((0..dice.throw(4)).map(|_| dice.id()).collect()),
            _ => Self::Commit(Box::new(commit(dice)), dice.pick(&[0, 0, 0, 0, 0, 0, 0, 1, -1])),
        }
    }

    /// Does it; the answer as text, to compare.
    async fn on(&self, store: &dyn Store) -> String {
        match self {
            Self::Commit(commit, slip) => {
                let head = store.head(&commit.head.id).await.expect("a head can be read");
                let version = head.map_or(0, |head| head.version);
                let expect = version.saturating_add_signed(*slip);
                let head = Head { version: expect + 1, ..commit.head.clone() };
                let commit = Commit { head, expect, ..(**commit).clone() };
                format!("{:?}", store.commit(commit).await)
            }
            Self::Discard(key) => format!("{:?}", store.discard(key).await),
            Self::Remove(id) => format!("{:?}", store.remove(id).await),
            Self::RemoveEnded(ids) => format!("{:?}", store.remove_ended(ids.clone()).await),
            Self::Prune(retention, now, limit) => {
                let pruned = store.prune(retention, at(*now), *limit).await;
                format!("{:?}", pruned.map(|pruned| (pruned.executions, pruned.more)))
            }
            Self::PutDocuments(documents) => {
                format!("{:?}", store.put_documents(documents.clone()).await)
            }
            Self::DeleteDocument(Document { kind, name, version, .. }) => {
                format!("{:?}", store.delete_document(kind, name, *version).await)
            }
            Self::AppendLog(id, sequence, lines) => {
                format!("{:?}", store.append_log(id, *sequence, lines.clone()).await)
            }
            Self::PutRecords(records) => {
                format!("{:?}", store.put_records(records.clone()).await)
            }
            Self::TrimRecords(most) => format!("{:?}", store.trim_records(*most).await),
        }
    }
}

fn document(dice: &mut Dice) -> Document {
    Document {
        kind: dice.pick(&["workflow", "task"]).into(),
        name: dice.pick(NAMES).into(),
        version: dice.throw(3) as u32,
        text: format!("{{\"n\":{}}}", dice.next()).into(),
    }
}

fn records(dice: &mut Dice) -> Vec<Record> {
    let record = |dice: &mut Dice| Record {
        ledger: dice.pick(&["firing", "delivery"]),
        key: format!("k{}", dice.throw(12)).into(),
        subject: dice.pick(NAMES).into(),
        at: at(dice.throw(9) as i64),
        status: dice.pick(STATUSES).0.into(),
        body: kernel::Json::of(&dice.next()),
    };
    (0..dice.throw(4)).map(|_| record(dice)).collect()
}

fn record_search(dice: &mut Dice) -> RecordSearch {
    let some = |dice: &mut Dice, words: &[&'static str]| -> Vec<String> {
        (0..dice.throw(3)).map(|_| dice.pick(words).to_owned()).collect()
    };
    RecordSearch {
        keys: some(dice, &["k1", "k2", "k3", "none"]),
        subjects: some(dice, NAMES),
        statuses: some(dice, &["RUNNING", "FAILED"]),
        after: dice.maybe(|dice| at(dice.throw(9) as i64)),
        before: dice.maybe(|dice| at(dice.throw(9) as i64)),
        descending: dice.one_in(2),
        start: dice.throw(3),
        size: dice.throw(9),
        counted_max: dice.maybe(|dice| dice.throw(4)).unwrap_or(u64::MAX),
        ..RecordSearch::newest(dice.pick(&["firing", "delivery"]))
    }
}

fn text(dice: &mut Dice) -> String {
    let words: Vec<_> = (0..dice.throw(4)).map(|_| dice.pick(VOCABULARY)).collect();
    words.join(" ")
}

fn commit(dice: &mut Dice) -> Commit {
    let execution = dice.id();
    let (status, closed) = dice.pick(STATUSES);
    let head = Head {
        name: dice.pick(NAMES).into(),
        definition_version: dice.throw(3) as u32,
        status,
        closed,
        correlation_id: dice.maybe(|dice| dice.pick(&["c1", "c2", "c[1]"]).into()),
        parent: dice.maybe(Dice::id),
        priority: dice.throw(100) as u8,
        created_at: at(dice.throw(5) as i64),
        updated_at: at(dice.throw(4000) as i64),
        ended_at: closed.then(|| at(dice.throw(4000) as i64)),
        wake_at: dice.maybe(|dice| at(dice.throw(10) as i64)),
        reason: dice.maybe(text).map(Into::into),
        failed_references: text(dice).into(),
        event: dice.maybe(text).map(Into::into),
        input_size: dice.throw(100_000) as u32,
        output_size: dice.throw(100) as u32,
        ..running(&execution)
    };
    let queue = (0..dice.throw(3)).map(|_| {
        let sequence = dice.throw(3) as u32;
        if dice.one_in(3) {
            return QueueChange::Remove { kind: RowKind::of(sequence) };
        }
        let (queue, held) = (dice.pick(NAMES).into(), dice.one_in(2));
        QueueChange::Put(QueueRow { queue, held, ..queue_row(&execution, sequence) })
    });
    let queue = queue.collect();
    let send = (0..dice.throw(2)).map(|_| message(&execution, dice.throw(6), &dice.id()));
    let send = send.collect();
    let plans = (0..dice.throw(2)).map(|_| {
        let hash = dice.throw(5);
        (format!("hash {hash}").into(), format!("plan {hash}").into())
    });
    let plans = plans.collect();
    let received: std::collections::BTreeSet<_> = match dice.throw(16) {
        0 => [dice.key(), dice.key()].into(),
        1 => [dice.key()].into(),
        _ => std::collections::BTreeSet::new(),
    };
    let received = received.into_iter().collect();
    Commit {
        head,
        expect: 0,
        events: format!("[{},\"{}\"]", dice.next(), "e".repeat(dice.throw(400) as usize)),
        plans,
        queue,
        send,
        received,
        records: if dice.one_in(4) { records(dice) } else { Vec::new() },
        forget: dice.one_in(8),
        deferrable: dice.one_in(8),
        text: dice.maybe(text),
        brief: dice.maybe(|dice| dice.pick(&["", "one", "two"]).to_owned()),
    }
}

fn search(dice: &mut Dice) -> Search {
    let text_field = |dice: &mut Dice| {
        dice.pick(&[
            TextField::Id,
            TextField::Name,
            TextField::Status,
            TextField::CorrelationId,
            TextField::Parent,
            TextField::Reason,
        ])
    };
    let time_field =
        |dice: &mut Dice| dice.pick(&[TimeField::Created, TimeField::Updated, TimeField::Ended]);
    let values = |dice: &mut Dice| {
        let value = |dice: &mut Dice| match dice.throw(4) {
            0 => dice.id().as_str().to_owned(),
            1 => format!("{}*", &uuid(2).as_str()[..dice.throw(36) as usize]),
            _ => dice.pick(PATTERNS).to_owned(),
        };
        (0..dice.throw(4)).map(|_| value(dice)).collect()
    };
    let filter = |dice: &mut Dice| match dice.throw(9) {
        7 => Filter::IdBegins(dice.id().as_str()[..dice.throw(6) as usize].to_owned()),
        8 => Filter::Past(Mark {
            at: dice.maybe(|dice| (time_field(dice), at(dice.throw(60) as i64))),
            id: dice.id(),
            descending: dice.one_in(2),
        }),
        0 | 1 => Filter::In(text_field(dice), values(dice)),
        2 => Filter::NotIn(text_field(dice), values(dice)),
        3 => Filter::After(time_field(dice), at(dice.throw(5) as i64)),
        4 => Filter::Before(time_field(dice), at(dice.throw(4000) as i64)),
        5 => Filter::Closed(dice.one_in(2)),
        _ => dice.pick(&[Filter::TopLevel, Filter::Version(vec![0, 2])]),
    };
    let sort = |dice: &mut Dice| Sort {
        by: if dice.one_in(2) {
            SortField::Text(text_field(dice))
        } else {
            SortField::Time(time_field(dice))
        },
        descending: dice.one_in(2),
    };
    let word = |dice: &mut Dice| match dice.throw(4) {
        0 => dice.id().as_str().to_owned(),
        1 => format!("{}*", dice.pick(&["dis", "z", "Z", "磁", "o", "a-1", "order-", "q"])),
        _ => dice.pick(VOCABULARY).to_owned(),
    };
    Search {
        machine: dice.pick(&[
            MachineKind::Execution,
            MachineKind::Execution,
            MachineKind::Execution,
            MachineKind::Schedule,
        ]),
        beside: dice.maybe(|dice| dice.pick(&[MachineKind::Schedule, MachineKind::Instance])),
        filters: (0..dice.throw(3)).map(|_| filter(dice)).collect(),
        free_text: dice.one_in(3).then(|| {
            let words: Vec<_> = (0..=dice.throw(2)).map(|_| word(dice)).collect();
            words.join(" ")
        }),
        sort: match dice.throw(3) {
            0 => Mark::order(Some(TimeField::Created), dice.one_in(2)),
            _ => (0..dice.throw(3)).map(|_| sort(dice)).collect(),
        },
        counting: dice.pick(&[Counting::Far, Counting::Next]),
        start: dice.throw(4),
        size: dice.throw(8),
    }
}

/// Asks both stores for everything.
async fn compare(dice: &mut Dice, when: &str, one: &dyn Store, other: &dyn Store) {
    assert_eq!(everything(one).await, everything(other).await, "{when}");
    for _ in 0..20 {
        let search = search(dice);
        let (answer, expected) = (one.search(&search).await, other.search(&search).await);
        assert_eq!(answer, expected, "{when}: {search:?}");
    }
    for _ in 0..5 {
        let search = record_search(dice);
        let (answer, expected) = (one.records(&search).await, other.records(&search).await);
        assert_eq!(answer, expected, "{when}: {search:?}");
    }
    let until = at(dice.throw(10) as i64);
    let limit = dice.throw(10) as usize;
    assert_eq!(one.due(until, limit).await, other.due(until, limit).await, "{when}");
}

/// Commits since the store was opened.
async fn commits(store: &dyn Store) -> u64 {
    store.statistics().await.expect("there are statistics").commits
}

/// All that a store holds, a line for each thing.
async fn everything(store: &dyn Store) -> Vec<String> {
    let mut lines = Vec::new();
    let mut heads = Vec::new();
    for machine in MachineKind::ALL {
        let all = Search { machine, size: 1000, ..Search::default() };
        heads.extend(store.search(&all).await.expect("search works").rows);
    }
    for ledger in ["firing", "delivery"] {
        lines.push(format!("{:?}", store.records(&RecordSearch::newest(ledger)).await));
    }
    for head in heads {
        lines.push(format!("{:?}", store.load(&head.id).await));
        let log = store.log(&head.id, &[0], &LogWindow::ALL).await.expect("a log can be read");
        // Stores number lines as they like.
        lines.push(format!("{:?}", log.iter().map(|kept| &kept.line).collect::<Vec<_>>()));
        lines.push(format!("{:?}", store.head(&head.id).await));
        lines.push(format!("{:?}", store.briefs(&[head.id.clone(), id("nobody")]).await));
        lines.push(format!("{head:?}"));
    }
    lines.extend(super::queued(store).await.iter().map(|row| format!("{row:?}")));
    lines.push(format!("{:?}", store.undelivered(1000).await));
    for hash in 0..5 {
        lines.push(format!("{:?}", store.plan(&format!("hash {hash}")).await));
    }
    for kind in ["workflow", "task"] {
        lines.push(format!("{:?}", store.documents(kind).await));
    }
    let counted = store.statistics().await.expect("there are statistics");
    lines.push(format!("{:?}", (counted.executions, counted.running)));
    lines.push(format!("{:?}", (counted.instances, counted.instances_running, counted.entities)));
    lines
}
