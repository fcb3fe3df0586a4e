//! Commits as statements: one for each table, whatever the number of commits.
//!
//! A statement of the heads and of the messages divides by whether all of its rows matched, so that
//! one commit that does not fit undoes the batch; the lane then finds out which one it was.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use engine::store::{Commit, QueueChange, QueueRow};
use kernel::{MachineKind, Record, Timestamp};
use tokio_postgres::types::Type;

use super::key::{key, partition};
use super::session::{Bound, Statement, bind};

/// `wake_by` may stay so much earlier than `wake_at`: then no index changes.
const EARLY_MAX: i64 = 60_000;
/// What a head and a row of history take beside their texts, about, in bytes.
pub(super) const HEAD_BYTES: i64 = 600;
pub(super) const HISTORY_BYTES: i64 = 80;
/// Pinning plans and removing plans that nobody pins exclude one another, by a lock on this number
/// and the schema.
pub(super) const PLANS: i32 = 0x6e62_706c;

/// What a failing statement says about the commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// None: it only writes.
    None,
    /// This process does not own the store.
    Fence,
    /// One was decided on another version.
    Version,
    /// A message is not there.
    Received,
}

/// A commit, with its distinct words if they changed.
pub(super) struct Prepared {
    pub(super) commit: Commit,
    pub(super) words: Option<String>,
}

/// The statements of a batch, and what each checks.
#[derive(Default)]
pub(super) struct Batch<'a> {
    pub(super) statements: Vec<Statement<'a>>,
    pub(super) checks: Vec<Check>,
}

impl<'a> Batch<'a> {
    /// Of commits of different executions. `fence` comes first.
    pub(super) fn of(schema: &str, fence: Statement<'a>, commits: &[&'a Prepared]) -> Self {
        let mut this = Self::default();
        this.add(Check::Fence, fence);
        if commits.iter().any(|it| !it.commit.plans.is_empty()) {
            // What later statements see is not being removed then. It comes before all rows are
            // locked, as it does where executions are removed.
            let lock = format!("SELECT 1 FROM pg_advisory_xact_lock_shared({PLANS}, hashtext($1))");
            let lock = Statement::new(lock, vec![bind(schema.to_owned(), Type::TEXT)]);
            this.add(Check::None, lock);
        }
        let (new, old): (Vec<_>, Vec<_>) =
            commits.iter().copied().partition(|it| it.commit.expect == 0);
        this.heads(schema, &old, UPDATE);
        this.heads(schema, &new, INSERT);
        this.messages(schema, commits);
        this.histories(schema, commits);
        this.queues(schema, commits);
        this.plans(schema, commits);
        let records: Vec<&Record> = commits.iter().flat_map(|it| &it.commit.records).collect();
        if let Some(statement) = records_of(schema, &records) {
            this.add(Check::None, statement);
        }
        this.texts(schema, commits);
        this
    }

    fn add(&mut self, check: Check, statement: Statement<'a>) {
        self.checks.push(check);
        self.statements.push(statement);
    }

    /// What the failure of a statement means. The fence is statement 0.
    pub(super) fn check(&self, at: usize) -> Check {
        self.checks.get(at).copied().unwrap_or(Check::None)
    }

    fn heads(&mut self, schema: &str, of: &[&'a Prepared], sql: &str) {
        if of.is_empty() {
            return;
        }
        let mut values = head_values(of);
        values.push(bind(of.len() as i64, Type::INT8));
        self.add(Check::Version, Statement::new(of_heads(schema, sql), values));
    }

    fn messages(&mut self, schema: &str, commits: &[&'a Prepared]) {
        let received =
            commits.iter().flat_map(|it| it.commit.received.iter().collect::<BTreeSet<_>>());
        let (senders, sequences): (Vec<_>, Vec<_>) =
            received.map(|key_of| (key(&key_of.sender), key_of.sequence as i64)).unzip();
        if !senders.is_empty() {
            let count = senders.len() as i64;
            let sql = format!(
                "WITH u AS (SELECT * FROM unnest($1, $2) u (sender, sequence)), \
                 w AS (DELETE FROM {schema}.message m USING u \
                 WHERE m.sender = u.sender AND m.sequence = u.sequence RETURNING 1) \
                 SELECT 1 / (count(*) = $3)::int FROM w"
            );
            let values = vec![
                bind(senders, Type::BYTEA_ARRAY),
                bind(sequences, Type::INT8_ARRAY),
                bind(count, Type::INT8),
            ];
            self.add(Check::Received, Statement::new(sql, values));
        }
        let sent: Vec<_> = commits.iter().flat_map(|it| &it.commit.send).collect();
        if sent.is_empty() {
            return;
        }
        let sql = format!(
            "INSERT INTO {schema}.message (sender, sequence, receiver, to_partition, \
             from_partition, body) SELECT u.sender, u.sequence, u.receiver, u.t, u.f, u.body \
             FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY \
             u (sender, sequence, receiver, t, f, body, n) ORDER BY n \
             ON CONFLICT (sender, sequence) DO NOTHING"
        );
        let values = vec![
            bind(column(&sent, |it| key(&it.key.sender)), Type::BYTEA_ARRAY),
            bind(column(&sent, |it| it.key.sequence as i64), Type::INT8_ARRAY),
            bind(column(&sent, |it| key(&it.to)), Type::BYTEA_ARRAY),
            bind(column(&sent, |it| partition(&it.to) as i16), Type::INT2_ARRAY),
            bind(column(&sent, |it| partition(&it.key.sender) as i16), Type::INT2_ARRAY),
            bind(column(&sent, |it| plain(&it.body)), Type::TEXT_ARRAY),
        ];
        self.add(Check::None, Statement::new(sql, values));
    }

    fn histories(&mut self, schema: &str, commits: &[&'a Prepared]) {
        let forgotten: Vec<_> = commits.iter().copied().filter(|it| it.commit.forget).collect();
        if !forgotten.is_empty() {
            let sql = format!(
                "DELETE FROM {schema}.history h USING unnest($1, $2) u (key, through) \
                 WHERE h.key = u.key AND h.version <= u.through"
            );
            let values = vec![
                bind(column(&forgotten, |it| key(&it.commit.head.id)), Type::BYTEA_ARRAY),
                bind(column(&forgotten, |it| it.commit.expect as i64), Type::INT8_ARRAY),
            ];
            self.add(Check::None, Statement::new(sql, values));
        }
        let sql = format!(
            "INSERT INTO {schema}.history (key, version, events) SELECT * FROM unnest($1, $2, $3)"
        );
        let values = vec![
            bind(column(commits, |it| key(&it.commit.head.id)), Type::BYTEA_ARRAY),
            bind(column(commits, |it| it.commit.expect as i64 + 1), Type::INT8_ARRAY),
            bind(column(commits, |it| plain(&it.commit.events)), Type::TEXT_ARRAY),
        ];
        self.add(Check::None, Statement::new(sql, values));
    }

    fn queues(&mut self, schema: &str, commits: &[&'a Prepared]) {
        let (mut gone, mut put) = ((Vec::new(), Vec::new()), Vec::new());
        for Prepared { commit, .. } in commits {
            // Changes apply in order, so the last one of each row says what is left.
            let mut last = BTreeMap::new();
            for change in &commit.queue {
                last.insert(change.kind(), change);
            }
            for (kind, change) in last {
                match change {
                    QueueChange::Put(row) => put.push((key(&commit.head.id), row)),
                    QueueChange::Remove { .. } => {
                        gone.0.push(key(&commit.head.id));
                        gone.1.push(i64::from(kind.number()));
                    }
                }
            }
        }
        if !gone.0.is_empty() {
            let sql = format!(
                "DELETE FROM {schema}.queue q USING unnest($1, $2) u (key, sequence) \
                 WHERE q.key = u.key AND q.sequence = u.sequence"
            );
            let values = vec![bind(gone.0, Type::BYTEA_ARRAY), bind(gone.1, Type::INT8_ARRAY)];
            self.add(Check::None, Statement::new(sql, values));
        }
        if !put.is_empty() {
            self.add(Check::None, queue_of(schema, &put));
        }
    }

    fn plans(&mut self, schema: &str, commits: &[&'a Prepared]) {
        let pins: BTreeSet<(Vec<u8>, &str)> = commits
            .iter()
            .flat_map(|it| {
                it.commit.plans.iter().map(|(hash, _)| (key(&it.commit.head.id), &**hash))
            })
            .collect();
        if pins.is_empty() {
            return;
        }
        let plans: BTreeMap<&str, &str> = commits
            .iter()
            .flat_map(|it| it.commit.plans.iter().rev().map(|(hash, text)| (&**hash, &**text)))
            .collect();
        let sql = format!(
            "INSERT INTO {schema}.plan (hash, text) SELECT u.hash, u.text FROM unnest($1, $2) \
             u (hash, text) WHERE NOT EXISTS (SELECT 1 FROM {schema}.plan p WHERE p.hash = u.hash) \
             ON CONFLICT (hash) DO NOTHING"
        );
        let values = vec![
            bind(plans.keys().map(|hash| plain(hash)).collect::<Vec<_>>(), Type::TEXT_ARRAY),
            bind(plans.values().map(|text| plain(text)).collect::<Vec<_>>(), Type::TEXT_ARRAY),
        ];
        self.add(Check::None, Statement::new(sql, values));
        let (keys, hashes): (Vec<_>, Vec<_>) =
            pins.into_iter().map(|(key, hash)| (key, plain(hash))).unzip();
        let sql = format!(
            "INSERT INTO {schema}.pin (key, plan) SELECT u.key, p.id FROM unnest($1, $2) \
             u (key, hash) JOIN {schema}.plan p ON p.hash = u.hash ON CONFLICT DO NOTHING"
        );
        let values = vec![bind(keys, Type::BYTEA_ARRAY), bind(hashes, Type::TEXT_ARRAY)];
        self.add(Check::None, Statement::new(sql, values));
    }

    fn texts(&mut self, schema: &str, commits: &[&'a Prepared]) {
        let words =
            commits.iter().filter_map(|it| Some((key(&it.commit.head.id), it.words.as_deref()?)));
        let (keys, words): (Vec<_>, Vec<_>) = words.unzip();
        if !keys.is_empty() {
            let sql = format!(
                "INSERT INTO {schema}.word (key, words) \
                 SELECT u.key, array_to_tsvector(string_to_array(u.words, ' ')) \
                 FROM unnest($1, $2) u (key, words) \
                 ON CONFLICT (key) DO UPDATE SET words = excluded.words"
            );
            let values = vec![bind(keys, Type::BYTEA_ARRAY), bind(words, Type::TEXT_ARRAY)];
            self.add(Check::None, Statement::new(sql, values));
        }
        let briefs = |empty: bool| {
            let briefs = commits
                .iter()
                .filter_map(move |it| Some((key(&it.commit.head.id), it.commit.brief.as_deref()?)));
            let (keys, texts): (Vec<_>, Vec<_>) = briefs
                .filter(|(_, text)| text.is_empty() == empty)
                .map(|(key, text)| (key, plain(text)))
                .unzip();
            (keys, texts)
        };
        let (keys, texts) = briefs(false);
        if !keys.is_empty() {
            let sql = format!(
                "INSERT INTO {schema}.brief (key, text) SELECT * FROM unnest($1, $2) \
                 ON CONFLICT (key) DO UPDATE SET text = excluded.text"
            );
            let values = vec![bind(keys, Type::BYTEA_ARRAY), bind(texts, Type::TEXT_ARRAY)];
            self.add(Check::None, Statement::new(sql, values));
        }
        let (keys, _) = briefs(true);
        if !keys.is_empty() {
            let sql = format!("DELETE FROM {schema}.brief WHERE key = ANY($1)");
            self.add(Check::None, Statement::new(sql, vec![bind(keys, Type::BYTEA_ARRAY)]));
        }
    }
}

const COLUMNS: &str = "key, expect, partition, machine, name, definition_version, status, closed, \
    priority, created_at, updated_at, ended_at, wake_at, correlation_id, parent, reason, \
    failed_references, event, input_size, output_size, size, forgotten";

/// `$23` is how many rows must match.
const INSERT: &str = "WITH w AS (INSERT INTO {s}.execution (key, version, partition, machine, name, \
    definition_version, status, closed, priority, created_at, updated_at, ended_at, wake_at, \
    wake_by, correlation_id, parent, reason, failed_references, event, input_size, output_size, \
    size) SELECT u.key, 1, u.partition, u.machine, u.name, u.definition_version, u.status, \
    u.closed, u.priority, u.created_at, u.updated_at, u.ended_at, u.wake_at, u.wake_at, \
    u.correlation_id, u.parent, u.reason, u.failed_references, u.event, u.input_size, \
    u.output_size, u.size + {head} FROM {u} ORDER BY u.n ON CONFLICT (key) DO NOTHING RETURNING 1) \
    SELECT 1 / (count(*) = $23)::int FROM w";

const UPDATE: &str = "WITH w AS (UPDATE {s}.execution e SET version = e.version + 1, name = u.name, \
    definition_version = u.definition_version, status = u.status, closed = u.closed, \
    priority = u.priority, created_at = u.created_at, updated_at = u.updated_at, \
    ended_at = u.ended_at, wake_at = u.wake_at, wake_by = CASE \
    WHEN e.wake_by <= u.wake_at AND u.wake_at - e.wake_by <= {early} THEN e.wake_by \
    ELSE u.wake_at END, correlation_id = u.correlation_id, parent = u.parent, reason = u.reason, \
    failed_references = u.failed_references, event = u.event, input_size = u.input_size, \
    output_size = u.output_size, \
    size = u.size + CASE WHEN u.forgotten IS NULL THEN e.size ELSE {head} END, \
    forgotten = coalesce(u.forgotten, e.forgotten) \
    FROM {u} WHERE e.key = u.key AND e.version = u.expect RETURNING 1) \
    SELECT 1 / (count(*) = $23)::int FROM w";

/// The statement of heads, with what is the same for all.
fn of_heads(schema: &str, sql: &str) -> String {
    let places: Vec<_> = (1..=22).map(|at| format!("${at}")).collect();
    let u = format!("unnest({}) WITH ORDINALITY u ({COLUMNS}, n)", places.join(", "));
    sql.replace("{s}", schema)
        .replace("{u}", &u)
        .replace("{head}", &HEAD_BYTES.to_string())
        .replace("{early}", &EARLY_MAX.to_string())
}

fn head_values<'a>(of: &[&'a Prepared]) -> Vec<Bound<'a>> {
    let millis = |at: Option<Timestamp>| at.map(Timestamp::millis);
    let heads: Vec<_> = of.iter().map(|it| &it.commit.head).collect();
    let some = |text: &'a Option<std::sync::Arc<str>>| text.as_deref().map(plain);
    vec![
        bind(column(&heads, |it| key(&it.id)), Type::BYTEA_ARRAY),
        bind(column(of, |it| it.commit.expect as i64), Type::INT8_ARRAY),
        bind(column(&heads, |it| partition(&it.id) as i16), Type::INT2_ARRAY),
        bind(column(&heads, |it| machine(it.id.machine())), Type::INT2_ARRAY),
        bind(column(&heads, |it| plain(&it.name)), Type::TEXT_ARRAY),
        bind(column(&heads, |it| i64::from(it.definition_version)), Type::INT8_ARRAY),
        bind(column(&heads, |it| it.status), Type::TEXT_ARRAY),
        bind(column(&heads, |it| it.closed), Type::BOOL_ARRAY),
        bind(column(&heads, |it| i16::from(it.priority)), Type::INT2_ARRAY),
        bind(column(&heads, |it| it.created_at.millis()), Type::INT8_ARRAY),
        bind(column(&heads, |it| it.updated_at.millis()), Type::INT8_ARRAY),
        bind(column(&heads, |it| millis(it.ended_at)), Type::INT8_ARRAY),
        bind(column(&heads, |it| millis(it.wake_at)), Type::INT8_ARRAY),
        bind(column(&heads, |it| some(&it.correlation_id)), Type::TEXT_ARRAY),
        bind(column(&heads, |it| it.parent.as_ref().map(key)), Type::BYTEA_ARRAY),
        bind(column(&heads, |it| some(&it.reason)), Type::TEXT_ARRAY),
        bind(column(&heads, |it| plain(&it.failed_references)), Type::TEXT_ARRAY),
        bind(column(&heads, |it| some(&it.event)), Type::TEXT_ARRAY),
        bind(column(&heads, |it| i64::from(it.input_size)), Type::INT8_ARRAY),
        bind(column(&heads, |it| i64::from(it.output_size)), Type::INT8_ARRAY),
        bind(column(of, |it| it.commit.events.len() as i64 + HISTORY_BYTES), Type::INT8_ARRAY),
        bind(
            column(of, |it| it.commit.forget.then_some(it.commit.expect as i64)),
            Type::INT8_ARRAY,
        ),
    ]
}

fn queue_of<'a>(schema: &str, put: &[(Vec<u8>, &'a QueueRow)]) -> Statement<'a> {
    let sql = format!(
        "INSERT INTO {schema}.queue AS q (key, sequence, partition, queue, name, priority, \
         ready_at, held, concurrent_max, rate_max, rate_window_seconds) \
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (key, sequence) DO UPDATE SET queue = excluded.queue, name = excluded.name, \
         priority = excluded.priority, ready_at = excluded.ready_at, held = excluded.held, \
         concurrent_max = excluded.concurrent_max, rate_max = excluded.rate_max, \
         rate_window_seconds = excluded.rate_window_seconds"
    );
    let rows: Vec<&QueueRow> = put.iter().map(|(_, row)| *row).collect();
    let values = vec![
        bind(column(put, |it| it.0.clone()), Type::BYTEA_ARRAY),
        bind(column(&rows, |it| i64::from(it.kind.number())), Type::INT8_ARRAY),
        bind(column(&rows, |it| partition(&it.execution) as i16), Type::INT2_ARRAY),
        bind(column(&rows, |it| plain(&it.queue)), Type::TEXT_ARRAY),
        bind(column(&rows, |it| plain(&it.name)), Type::TEXT_ARRAY),
        bind(column(&rows, |it| i16::from(it.priority)), Type::INT2_ARRAY),
        bind(column(&rows, |it| it.ready_at.millis()), Type::INT8_ARRAY),
        bind(column(&rows, |it| it.held), Type::BOOL_ARRAY),
        bind(column(&rows, |it| i64::from(it.concurrent_max)), Type::INT8_ARRAY),
        bind(column(&rows, |it| i64::from(it.rate_max)), Type::INT8_ARRAY),
        bind(column(&rows, |it| i64::from(it.rate_window_seconds)), Type::INT8_ARRAY),
    ];
    Statement::new(sql, values)
}

/// Lines for ledgers; of several with the same ledger and key the last is written, in the place of
/// the first. `None` if there are none.
pub(super) fn records_of<'a>(schema: &str, records: &[&'a Record]) -> Option<Statement<'a>> {
    let mut places = BTreeMap::new();
    let mut rows: Vec<&'a Record> = Vec::with_capacity(records.len());
    for record in records {
        let place = *places.entry((record.ledger, &*record.key)).or_insert(rows.len());
        if place == rows.len() {
            rows.push(record);
        } else {
            rows[place] = record;
        }
    }
    if rows.is_empty() {
        return None;
    }
    let sql = format!(
        "INSERT INTO {schema}.record (ledger, key, subject, at, status, body) \
         SELECT u.ledger, u.key, u.subject, u.at, u.status, u.body \
         FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY \
         u (ledger, key, subject, at, status, body, n) ORDER BY n \
         ON CONFLICT (ledger, key) DO UPDATE SET subject = excluded.subject, at = excluded.at, \
         status = excluded.status, body = excluded.body"
    );
    let values = vec![
        bind(column(&rows, |it| it.ledger), Type::TEXT_ARRAY),
        bind(column(&rows, |it| plain(&it.key)), Type::TEXT_ARRAY),
        bind(column(&rows, |it| plain(&it.subject)), Type::TEXT_ARRAY),
        bind(column(&rows, |it| it.at.millis()), Type::INT8_ARRAY),
        bind(column(&rows, |it| plain(&it.status)), Type::TEXT_ARRAY),
        bind(column(&rows, |it| plain(it.body.text())), Type::TEXT_ARRAY),
    ];
    Some(Statement::new(sql, values))
}

/// One value of each row.
pub(super) fn column<R, T>(rows: &[R], of: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// A text that the database takes: it knows no NUL, which becomes the sign for what cannot be shown.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// The number that stands for a kind of machine.
pub(super) fn machine(kind: MachineKind) -> i16 {
    i16::from(kind.number())
}
