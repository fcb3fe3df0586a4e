//! Files that earlier releases have written open for ever: one golden file per version of the tables.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::search::{RecordSearch, Search};
use engine::store::{
    Commit, Document, Head, LogLine, LogWindow, MessageKey, Outgoing, QueueChange, QueueRow,
    SampleBlock, Store,
};
use kernel::durable::TURN;
use kernel::graph::{GATE_PLACE, KEY_PLACE, gate_name, key_name, webhook_queue};
use kernel::{ExecutionId, Json, MachineKind, Record, RowKind, Timestamp};
use serde_json::{Value, json};
use store::{Options, Sqlite};

use crate::given::{assert_counted, commit, last_commit};

const ADVICE: &str = "
The tables have a new version, of which no golden file is kept. Keep one, so that every later release
is shown to open it: UPDATE_EXPECT=1 cargo test -p store --test it golden:: writes a NEW file and what
it holds to crates/store/tests/golden. Never change or remove an existing file. If the tables can hold
something new, let `fill` and `contents` know of it first.";

/// One of each machine, by its kind and id.
const MACHINES: [(MachineKind, &str); 8] = [
    (MachineKind::Execution, "6b0f7c1e-0b51-4f6e-9d0c-3a5a2f1e8d01"),
    (MachineKind::Execution, "named by a client"),
    (MachineKind::Execution, "ended"),
    (MachineKind::Execution, "snapshot"),
    (MachineKind::Schedule, "schedule:nightly"),
    (MachineKind::Monitor, "monitor:shop"),
    (MachineKind::Instance, "instance:default:order-1"),
    (MachineKind::Entity, "entity:default:@counter@one"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
}

fn row(execution: &str, sequence: u32, queue: Arc<str>, held: bool) -> QueueChange {
    QueueChange::Put(QueueRow {
        execution: ExecutionId::new(execution),
        kind: RowKind::of(sequence),
        name: queue.clone(),
        queue,
        priority: 7,
        ready_at: at(5),
        held,
        concurrent_max: 2,
        rate_max: 3,
        rate_window_seconds: 60,
    })
}

pub(crate) fn record(ledger: &'static str, key: &str, status: &str) -> Record {
    Record {
        ledger,
        key: key.into(),
        subject: "nightly".into(),
        at: at(9),
        status: status.into(),
        body: Json::of(&json!({ "reason": "none" })),
    }
}

/// Writes something of everything that a store can hold.
async fn fill(store: &Sqlite) {
    let plan: (Arc<str>, Arc<str>) = ("5ad0".into(), "{\"name\":\"watch\"}".into());
    for (index, (_, id)) in MACHINES.into_iter().enumerate() {
        let events = |number: usize| format!("[{{\"at\":{number}}},\"of {id}\"]");
        let begun = Commit { plans: vec![plan.clone()], ..commit(id, 0, events(0)) };
        store.commit(begun).await.expect("it is written");
        let next = commit(id, 1, events(1));
        let (wake_at, priority) = (Some(at(60 + index as i64)), index as u8);
        let head = Head { wake_at, priority, ..full_head(next.head) };
        store.commit(Commit { head, ..next }).await.expect("it is written");
    }
    let [(_, first), (_, named), ..] = MACHINES;
    let message = |sequence| Outgoing {
        key: MessageKey { sender: ExecutionId::new(first), sequence },
        to: ExecutionId::new(named),
        body: "{\"terminate\":{\"reason\":\"enough\"}}".into(),
    };
    let busy = Commit {
        queue: vec![
            row(first, 3, "eu:charge".into(), false),
            row(first, 4, "charge".into(), true),
            row(first, 5, webhook_queue("orders").into(), false),
            row(first, GATE_PLACE, gate_name("watch", "all"), false),
            row(first, KEY_PLACE, key_name("watch", "key-1"), true),
        ],
        send: vec![message(1), message(2)],
        records: vec![record("firing", "f1", "EXECUTED"), record("delivery", "d1", "SENT")],
        brief: Some("{\"tasks\":3}".into()),
        ..commit(first, 2, "[]".into())
    };
    store.commit(busy).await.expect("it is written");
    let received = vec![MessageKey { sender: ExecutionId::new(first), sequence: 1 }];
    let heard = Commit { received, ..commit(named, 2, "[\"heard\"]".into()) };
    store.commit(heard).await.expect("it is written");
    let turn = row("instance:default:order-1", TURN, "orchestration:default/order".into(), false);
    let turn = Commit { queue: vec![turn], ..commit("instance:default:order-1", 2, "[]".into()) };
    store.commit(turn).await.expect("it is written");
    store.commit(last_commit("ended", 2, "[\"over\"]".into())).await.expect("it is written");
    let whole = Commit { forget: true, ..commit("snapshot", 2, "[\"all before\"]".into()) };
    store.commit(whole).await.expect("it is written");

    for (kind, version) in [("workflow", 1), ("workflow", 2), ("task", 0)] {
        let (kind, name, text) = (kind.into(), "watch".into(), "{}".into());
        let document = Document { kind, name, version, text };
        store.put_document(document).await.expect("it is written");
    }
    let lines = ["begins", "ends"].map(|text| LogLine { at: at(1), text: text.into() });
    let first = ExecutionId::new(first);
    store.append_log(&first, 3, lines.into()).await.expect("it is written");
    store.put_records(vec![record("firing", "f2", "MISSED")]).await.expect("it is written");
    let block = SampleBlock {
        subject: "shop".into(),
        first_at: at(1),
        last_at: at(90),
        last: 12,
        checks: 3,
        data: vec![1, 2, 3],
    };
    store.put_samples(vec![block]).await.expect("it is written");
}

fn full_head(head: Head) -> Head {
    Head {
        name: "watch more".into(),
        definition_version: 3,
        correlation_id: Some("c-1".into()),
        parent: Some(ExecutionId::new("6b0f7c1e-0b51-4f6e-9d0c-3a5a2f1e8dff")),
        reason: Some("none".into()),
        failed_references: "a,b".into(),
        event: Some("kafka:orders".into()),
        input_size: 10,
        output_size: 20,
        ..head
    }
}

fn shown_head(head: &Head) -> Value {
    json!({
        "id": head.id, "version": head.version, "name": head.name,
        "definitionVersion": head.definition_version, "status": head.status,
        "closed": head.closed, "correlationId": head.correlation_id, "parent": head.parent,
        "priority": head.priority, "createdAt": head.created_at, "updatedAt": head.updated_at,
        "endedAt": head.ended_at, "wakeAt": head.wake_at, "reason": head.reason,
        "failedReferences": head.failed_references, "event": head.event,
        "inputSize": head.input_size, "outputSize": head.output_size,
    })
}

fn shown_row(row: &QueueRow) -> Value {
    json!({
        "execution": row.execution, "sequence": row.kind.number(), "queue": row.queue,
        "name": row.name, "priority": row.priority, "readyAt": row.ready_at, "held": row.held,
        "concurrentMax": row.concurrent_max, "rateMax": row.rate_max,
        "rateWindowSeconds": row.rate_window_seconds,
    })
}

/// Everything that a store answers.
pub(crate) async fn contents(store: &dyn Store) -> Value {
    let mut machines = Vec::new();
    for (machine, id) in MACHINES {
        let id = ExecutionId::new(id);
        let stored = store.load(&id).await.expect("it loads").expect("it is there");
        let head = store.head(&id).await.expect("it has a head").expect("it has a head");
        let free_text = Some(id.to_string());
        let search = Search { machine, free_text, size: 10, ..Search::default() };
        machines.push(json!({
            "version": stored.version, "history": stored.history, "head": shown_head(&head),
            "foundByItsText": store.search(&search).await.expect("search works").total,
        }));
    }
    let first = ExecutionId::new(MACHINES[0].1);
    let briefs = store.briefs(std::slice::from_ref(&first)).await.expect("it has a brief");
    let due = store.due(Timestamp::MAX, 100).await.expect("due ones can be read");
    let mut queued = store.queued().await.expect("queues can be read");
    queued.sort_by_key(|row| (row.execution.clone(), row.kind.number()));
    let messages = store.undelivered(100).await.expect("messages can be read");
    let mut records = Vec::new();
    for ledger in ["firing", "delivery"] {
        let page = store.records(&RecordSearch::newest(ledger)).await.expect("ledgers can be read");
        records.extend(
            page.rows
                .iter()
                .map(|it| json!([ledger, it.key, it.subject, it.at, it.status, it.body])),
        );
    }
    let mut documents = Vec::new();
    for kind in ["workflow", "task"] {
        let found = store.documents(kind).await.expect("documents can be read");
        documents.extend(found.iter().map(|it| json!([it.kind, it.name, it.version, it.text])));
    }
    let log = store.log(&first, &[3], &LogWindow::ALL).await.expect("logs can be read");
    let log: Vec<_> = log.into_iter().map(|kept| kept.line).collect();
    let samples = store.sample_blocks("shop", (at(0), at(100)), None, 10).await;
    let samples = samples.expect("samples can be read");
    let mut contents = json!({
        "machines": machines,
        "briefs": briefs.iter().flatten().map(|(_, brief)| brief).collect::<Vec<_>>(),
        "due": due,
        "queued": queued.iter().map(shown_row).collect::<Vec<_>>(),
        "messages": messages.iter().map(|it| json!([it.key.sender, it.key.sequence, it.to, it.body]))
            .collect::<Vec<_>>(),
        "records": records,
        "documents": documents,
        "log": log.iter().map(|line| json!([line.at, line.text])).collect::<Vec<_>>(),
        "plan": store.plan("5ad0").await.expect("plans can be read"),
    });
    // Tables before version 7 had none.
    if !samples.is_empty() {
        let shown = |it: &SampleBlock| {
            json!([it.subject, it.first_at, it.last_at, it.last, it.checks, it.data])
        };
        contents["samples"] = samples.iter().map(shown).collect();
    }
    contents
}

/// The version of a file's tables.
fn version(path: &Path) -> i64 {
    let file = rusqlite::Connection::open(path).expect("it opens");
    file.pragma_query_value(None, "user_version", |row| row.get(0)).expect("it has a version")
}

async fn settled(path: &Path) {
    let sql = "SELECT (SELECT count(*) FROM archive) > 0 AND NOT EXISTS (SELECT 1 FROM pending)";
    for _ in 0..100_000 {
        let file = rusqlite::Connection::open(path).expect("it opens");
        if file.query_row(sql, [], |row| row.get::<_, bool>(0)).expect("it counts") {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the store does not get round to its chores");
}

/// Makes the golden file of this version, if there is none and it is asked for.
async fn make(target: &Path) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("nightbell.db");
    let options = Options { tidy_after: Duration::ZERO, ..Options::default() };
    let store = Sqlite::open(&path, &options).expect("it opens");
    fill(&store).await;
    // What has ended is compressed and texts are indexed; after that some wait to be.
    settled(&path).await;
    store.close().await.expect("it closes");
    let store = Sqlite::open(&path, &Options::default()).expect("it opens");
    store.commit(last_commit("ended", 3, "[\"over again\"]".into())).await.expect("it is written");
    let contents = serde_json::to_string_pretty(&contents(&*store).await).expect("it serializes");
    store.close().await.expect("it closes");
    drop(store);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let bytes = std::fs::read(&path).expect("the file is there");
    packed.write_all(&bytes).expect("it fits in memory");
    std::fs::write(target, packed.finish().expect("it fits in memory")).expect("it is written");
    std::fs::write(described(target), contents + "\n").expect("it is written");
}

/// The description beside a golden file.
fn described(golden: &Path) -> PathBuf {
    let name = golden.file_name().and_then(|name| name.to_str()).expect("it has a name");
    golden.with_file_name(name.replace(".db.gz", ".json"))
}

#[tokio::test]
async fn the_tables_of_this_version_have_a_golden_file() {
    let fresh = tempfile::tempdir().expect("there is room for a folder");
    let path = fresh.path().join("nightbell.db");
    Sqlite::open(&path, &Options::default()).expect("it opens").close().await.expect("it closes");
    let golden = folder().join(format!("store-{}.db.gz", version(&path)));
    if !golden.exists() && std::env::var_os("UPDATE_EXPECT").is_some() {
        make(&golden).await;
    }
    assert!(golden.exists(), "{} is not there\n{ADVICE}", golden.display());
}

/// A golden file, and what it holds.
pub(crate) struct Golden {
    pub(crate) name: String,
    packed: Vec<u8>,
    pub(crate) contents: Value,
}

impl Golden {
    /// Puts the file into a folder.
    pub(crate) fn unpack(&self, folder: &tempfile::TempDir) -> PathBuf {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&self.packed[..])
            .read_to_end(&mut bytes)
            .expect("it is whole");
        let path = folder.path().join("nightbell.db");
        std::fs::write(&path, bytes).expect("there is room");
        path
    }
}

/// The golden files of all versions.
pub(crate) fn all() -> Vec<Golden> {
    let entries = std::fs::read_dir(folder()).expect("there are golden files");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let paths = paths.filter(|path| path.extension().is_some_and(|it| it == "gz"));
    let golden = paths.map(|path| {
        let described = std::fs::read_to_string(described(&path)).expect("it is described");
        Golden {
            name: path.display().to_string(),
            packed: std::fs::read(&path).expect("it is there"),
            contents: serde_json::from_str(&described).expect("it is JSON"),
        }
    });
    let golden: Vec<_> = golden.collect();
    assert!(!golden.is_empty(), "there are golden files");
    golden
}

#[tokio::test]
async fn golden_files_of_all_versions_open() {
    for golden in all() {
        let name = &golden.name;
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let path = golden.unpack(&folder);
        let store = Sqlite::open(&path, &Options::default())
            .unwrap_or_else(|error| panic!("{name} cannot be opened any more: {error}"));
        assert_eq!(contents(&*store).await, golden.contents, "{name} is read differently");

        // It goes on: with what was compressed, and with what was received but once.
        store.commit(commit("ended", 4, "[\"again\"]".into())).await.expect("it goes on");
        let stored = store.load(&ExecutionId::new("ended")).await.expect("it loads");
        assert_eq!(stored.map(|it| (it.version, it.history.len())), Some((5, 5)));
        assert_eq!(store.remove(&ExecutionId::new("snapshot")).await, Ok(true));
        store.close().await.expect("it closes");
        assert_counted(&path);
    }
}
