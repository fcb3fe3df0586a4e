//! Measures the embedded store on this machine: rates, latencies, bytes.
//!
//! `cargo run --release -p store --example measure [executions] [in flight] [payload bytes] [folder]`

#![allow(clippy::print_stdout, reason = "the report is what this program is for")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::search::{Filter, Search, Sort, SortField, TextField, TimeField};
use engine::store::{Commit, Head, QueueChange, QueueRow, Retention, Store};
use kernel::{ExecutionId, RowKind, Timestamp};
use store::{Options, Sqlite};

/// Commits per execution: it is created, three steps are handed out and done, it ends.
const COMMITS: u64 = 5;

/// Bytes of payload per commit beside the events' own 250.
static PAYLOAD: AtomicUsize = AtomicUsize::new(0);

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let executions = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let in_flight = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(64);
    let payload = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    PAYLOAD.store(payload, Ordering::Relaxed);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let path = folder.join(format!("measure-{}.db", std::process::id()));

    let store = Sqlite::open(&path, &Options::default()).expect("the file opens");
    load(&store, executions, in_flight).await;
    idle(&store, executions).await;
    rest(&store).await;
    let closing = Instant::now();
    store.close().await.expect("it closes");
    println!("close: {:?}", closing.elapsed());
    let bytes = length(&path);
    println!("file: {bytes} bytes, {} per execution", bytes / u64::from(executions));

    let opening = Instant::now();
    let store = Sqlite::open(&path, &Options::default()).expect("the file opens");
    println!("open: {:?}", opening.elapsed());
    let first = Instant::now();
    store.queued().await.expect("reading works");
    store.due(Timestamp::MAX, 100).await.expect("reading works");
    println!("open and read queue and timers: {:?}", opening.elapsed().max(first.elapsed()));
    reads(&store, executions).await;
    searches(&store).await;
    prune(&store).await;
    println!("resident: {} MiB", resident_bytes() >> 20);
    drop(store);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        // Those that are not there need not go.
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
}

fn id(number: u32) -> ExecutionId {
    ExecutionId::new("measure").derive("execution", number)
}

/// The commit after `expect` others.
fn commit(number: u32, expect: u64) -> Commit {
    let now = Timestamp::from_millis(1_700_000_000_000 + i64::from(number) * 3 + expect as i64);
    let id = id(number);
    let closed = expect + 1 == COMMITS;
    let head = Head {
        id: id.clone(),
        version: expect + 1,
        name: format!("workflow-{}", number % 10).into(),
        definition_version: 1,
        status: match (closed, number % 10) {
            (false, _) => "RUNNING",
            (true, 0) => "FAILED",
            (true, _) => "COMPLETED",
        },
        closed,
        correlation_id: None,
        parent: None,
        priority: 0,
        created_at: Timestamp::from_millis(1_700_000_000_000 + i64::from(number) * 3),
        updated_at: now,
        ended_at: closed.then_some(now),
        wake_at: (!closed).then(|| now.plus_seconds(60)),
        reason: None,
        failed_references: "".into(),
        event: None,
        input_size: 11,
        output_size: 11,
    };
    let sequence = expect as u32;
    let row = |sequence| QueueRow {
        execution: id.clone(),
        kind: RowKind::Task(sequence),
        queue: "echo".into(),
        name: "echo".into(),
        priority: 0,
        ready_at: now,
        held: false,
        concurrent_max: 0,
        rate_max: 0,
        rate_window_seconds: 0,
    };
    let mut queue = Vec::new();
    if expect > 0 {
        queue.push(QueueChange::Remove { kind: RowKind::Task(sequence) });
    }
    if !closed {
        queue.push(QueueChange::Put(row(sequence + 1)));
    }
    Commit {
        events: events(sequence, now),
        expect,
        plans: if expect == 0 { vec![("hash".into(), "{}".into())] } else { Vec::new() },
        queue,
        send: Vec::new(),
        received: Vec::new(),
        records: Vec::new(),
        forget: false,
        deferrable: false,
        text: (expect == 0 || closed).then(|| format!("{} {{\"n\":{number}}}", head.name)),
        brief: None,
        head,
    }
}

/// About 250 bytes: a step is done, the next one is handed out.
fn events(sequence: u32, now: Timestamp) -> String {
    let (next, at) = (sequence + 1, now.millis());
    let payload = "payload ".repeat(PAYLOAD.load(Ordering::Relaxed) / 8);
    format!(
        r#"[{{"type":"TaskCompleted","sequence":{sequence},"at":{at},"worker":"worker-1","output":{{"n":"{at}{payload}"}}}},{{"type":"TaskScheduled","sequence":{next},"node":{next},"reference":"step_{next}","at":{at},"task_type":"SIMPLE","input":{{"n":"{at}"}}}}]"#
    )
}

async fn load(store: &Arc<Sqlite>, executions: u32, in_flight: usize) {
    let next = Arc::new(AtomicU32::new(0));
    let start = Instant::now();
    let cpu = cpu_time();
    let workers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (store, next) = (store.clone(), next.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= executions {
                        return latencies;
                    }
                    for expect in 0..COMMITS {
                        let commit = commit(number, expect);
                        let start = Instant::now();
                        store.commit(commit).await.expect("a commit is taken");
                        latencies.push(start.elapsed());
                    }
                }
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.await.expect("no worker panics"));
    }
    let took = start.elapsed();
    let rate = latencies.len() as f64 / took.as_secs_f64();
    let cpu = cpu_time().saturating_sub(cpu).as_secs_f64() * 1e6 / f64::from(executions);
    println!(
        "{in_flight} in flight: {rate:.0} commits/s, {:.0} executions/s, {cpu:.0} us of CPU each",
        rate / COMMITS as f64
    );
    report("  a commit", latencies);
    let statistics = store.statistics().await.expect("there are statistics");
    println!("  {:.1} commits per sync", statistics.commits as f64 / statistics.writes as f64);
    println!("  {} bytes on disk, resident {} MiB", statistics.bytes, resident_bytes() >> 20);
}

async fn idle(store: &Sqlite, after: u32) {
    let mut latencies = Vec::new();
    for number in after..after + 200 {
        for expect in 0..COMMITS {
            let commit = commit(number, expect);
            let start = Instant::now();
            store.commit(commit).await.expect("a commit is taken");
            latencies.push(start.elapsed());
        }
    }
    report("one at a time: a commit", latencies);
    let mut latencies = Vec::new();
    for number in after + 200..after + 300 {
        for expect in 0..COMMITS {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let commit = commit(number, expect);
            let start = Instant::now();
            store.commit(commit).await.expect("a commit is taken");
            latencies.push(start.elapsed());
        }
    }
    report("with pauses: a commit", latencies);
}

/// Waits until the store has tidied up, and says what that took.
async fn rest(store: &Sqlite) {
    let (start, cpu) = (Instant::now(), cpu_time());
    loop {
        let before = cpu_time();
        tokio::time::sleep(Duration::from_secs(1)).await;
        if cpu_time().saturating_sub(before) < Duration::from_millis(20) {
            break;
        }
    }
    let bytes = store.statistics().await.expect("there are statistics").bytes;
    let cpu = cpu_time().saturating_sub(cpu);
    println!("tidied up after {:?}, {cpu:?} of CPU, {bytes} bytes", start.elapsed());
}

async fn reads(store: &Sqlite, executions: u32) {
    for name in ["load, cold", "load, warm"] {
        let mut latencies = Vec::new();
        for number in (0..executions).step_by((executions as usize / 1000).max(1)) {
            let id = id(number);
            let start = Instant::now();
            let stored = store.load(&id).await.expect("reading works").expect("it is there");
            latencies.push(start.elapsed());
            assert_eq!(stored.history.len() as u64, COMMITS);
        }
        report(name, latencies);
    }
}

/// A search with its name: filters, free text, order.
type Case = (&'static str, Vec<Filter>, Option<&'static str>, Vec<Sort>);

/// Pages that are asked for to find a median.
const ASKED: usize = 20;

async fn searches(store: &Sqlite) {
    let one_of = |field, value: &str| Filter::In(field, vec![value.to_owned()]);
    let recent = Filter::After(TimeField::Created, Timestamp::from_millis(1_700_000_030_000));
    let by_name = Sort { by: SortField::Text(TextField::Name), descending: false };
    let own = Filter::NotIn(TextField::Name, vec!["check:*".into(), "nightbell_notify:*".into()]);
    let cases: [Case; 14] = [
        ("everything", vec![own.clone()], None, vec![]),
        ("status", vec![one_of(TextField::Status, "FAILED"), own.clone()], None, vec![]),
        ("status of most", vec![one_of(TextField::Status, "COMPLETED"), own.clone()], None, vec![]),
        ("status of none", vec![one_of(TextField::Status, "TERMINATED"), own], None, vec![]),
        ("name", vec![one_of(TextField::Name, "workflow-3")], None, vec![]),
        ("time", vec![recent.clone()], None, vec![]),
        (
            "status, name, time",
            vec![
                one_of(TextField::Status, "COMPLETED"),
                one_of(TextField::Name, "workflow-3"),
                recent,
            ],
            None,
            vec![],
        ),
        ("name with star", vec![one_of(TextField::Name, "*flow-3")], None, vec![]),
        ("running", vec![Filter::Closed(false)], None, vec![]),
        ("by name", vec![], None, vec![by_name]),
        ("id prefix", vec![one_of(TextField::Id, "00a*")], None, vec![]),
        ("one word", vec![], Some("4711"), vec![]),
        ("a word of a tenth", vec![], Some("workflow 3"), vec![]),
        ("a beginning", vec![], Some("471*"), vec![]),
    ];
    for (name, filters, text, sort) in cases {
        let free_text = text.map(str::to_owned);
        let search = Search { filters, free_text, sort, size: 20, ..Search::default() };
        let mut latencies = Vec::new();
        let mut total = 0;
        for _ in 0..ASKED {
            let start = Instant::now();
            total = store.search(&search).await.expect("search works").total;
            latencies.push(start.elapsed());
        }
        report(&format!("search {name} ({total} found)"), latencies);
    }
    let mut latencies = Vec::new();
    for _ in 0..ASKED {
        let search = Search { start: 100_000, size: 20, ..Search::default() };
        let start = Instant::now();
        store.search(&search).await.expect("search works");
        latencies.push(start.elapsed());
    }
    report("page at 100,000", latencies);
    let mut latencies = Vec::new();
    for _ in 0..ASKED {
        let start = Instant::now();
        store.statistics().await.expect("there are statistics");
        latencies.push(start.elapsed());
    }
    report("statistics", latencies);
}

async fn prune(store: &Sqlite) {
    let retention = Retention { count_max: 10, age_max_seconds: 0, disk_max_bytes: 0 };
    let start = Instant::now();
    let pruned = store.prune(&retention, Timestamp::MAX, 10_000).await.expect("pruning works");
    println!("prune of {}: {:?}, {} bytes", pruned.executions, start.elapsed(), pruned.bytes);
}

fn report(name: &str, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize];
    let last = latencies[latencies.len() - 1];
    println!("{name}: p50 {:?}, p99 {:?}, p99.9 {:?}, max {last:?}", at(0.5), at(0.99), at(0.999));
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Bytes of memory in use, where the system tells.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Processor time used so far, where the system tells.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(' ').collect::<Vec<_>>();
    let fields: Vec<u64> = ticks.iter().rev().filter_map(|field| field.parse().ok()).collect();
    // After the pid and the parent's fields come user and system time, in hundredths.
    let used = fields.get(9).unwrap_or(&0) + fields.get(10).unwrap_or(&0);
    Duration::from_millis(used * 10)
}
