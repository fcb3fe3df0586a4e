//! The audit ledger: who changed what, who was refused, and who came in.
//!
//! A line about a change is durable before the change begins, and what became of it is a line of its
//! own: a change without a line cannot be, and a line without an outcome tells of a crash. Lines are
//! chained by their hashes ([`kernel::access::ChainCheck`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kernel::access::{FIRST, chained};
use kernel::{Json, Record, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use crate::engine::Engine;
use crate::search::RecordSearch;
use crate::store::{AUDIT, Store, StoreError};

/// Lines of one page.
const PAGE_MAX: u64 = 500;
/// Lines that are looked at in one go for what they say.
const LOOKED_AT_MAX: u64 = 10_000;

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditEntry {
    /// Who: the id of the principal, or `anonymous`.
    pub who: String,
    /// What people call them.
    pub name: String,
    /// How they proved it: `key`, `token`, `session`, `password`, `sso`, `workload`, `link` or `socket`; empty
    /// if nothing was proved.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub proof: String,
    /// From which address; empty if there was no connection.
    pub address: String,
    /// What: a method and a path of the API or a method of gRPC, `login`, or `outcome`; of the server itself
    /// `start`, `load` and `sign`; of a run `use-secret`.
    pub act: String,
    /// On what: the path as it was asked for.
    pub object: String,
    /// How it ended: `begun`, `refused`, `ok`, `failed`.
    pub outcome: String,
    /// Why, in the words of whoever did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The status of the response, of an outcome or a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Of an outcome: a hash of what was sent, its body or, without one, its query. Equal ones were sent
    /// the same; nobody without the server's key can tell from it what that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// Of `sign`: the signature of the line that its object names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Of an outcome: the number of the line that tells what was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// How many of the same the line tells of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// As whom the server writes what it does by itself.
const SERVER: &str = "server";
/// Characters of `why` that are kept.
const WHY_MAX: usize = 300;

impl AuditEntry {
    /// Something that the server has done by itself.
    pub fn of_server(act: &str, object: String) -> Self {
        Self {
            who: SERVER.to_owned(),
            name: SERVER.to_owned(),
            act: act.to_owned(),
            object,
            outcome: "ok".to_owned(),
            ..Self::default()
        }
    }

    /// Notes why something is done, as far as there are words.
    pub fn because(&mut self, why: Option<&str>) {
        let words = why.map(str::trim).filter(|words| !words.is_empty());
        if let Some(words) = words {
            self.why = Some(words.chars().take(WHY_MAX).collect());
        }
    }

    /// Whether it tells that something was changed, which open pages then look at again.
    pub(crate) fn is_change(&self) -> bool {
        self.outcome == "ok" && (self.of.is_some() || self.act == "load")
    }
}

/// Which lines are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditSearch {
    /// Only those whose act or object contains this, and their outcomes.
    pub object: Option<String>,
    /// Only those of this instant and later.
    pub from: Option<Timestamp>,
    /// Only earlier ones.
    pub to: Option<Timestamp>,
    /// Only those with smaller numbers.
    pub before: Option<u64>,
    /// How many at most.
    pub size: u64,
}

/// Some lines, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The lines.
    pub lines: Vec<AuditLine>,
    /// [`AuditSearch::before`] of the next page; `None` if nothing older was left out.
    pub next: Option<u64>,
}

/// A line as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditLine {
    /// Its number, from 1.
    pub number: u64,
    /// The hash of the line before.
    pub before: String,
    /// What it says, JSON: this text is what is hashed.
    pub line: String,
    /// The hash of the two.
    pub hash: String,
}

/// What is hashed.
#[derive(Serialize)]
struct Content<'a> {
    number: u64,
    at: i64,
    #[serde(flatten)]
    entry: &'a AuditEntry,
}

/// A search of lines; how many there are is of no interest here.
fn lines() -> RecordSearch {
    RecordSearch { counted_max: 0, ..RecordSearch::newest(AUDIT) }
}

/// The last line.
#[derive(Clone, Debug)]
struct Head {
    number: u64,
    hash: String,
    at: Timestamp,
}

type Waiting = (AuditEntry, oneshot::Sender<Result<u64, StoreError>>);

/// The ledger.
pub struct Audit {
    store: Arc<dyn Store>,
    /// Held while lines are written.
    head: tokio::sync::Mutex<Head>,
    /// Lines that wait for those before them.
    waiting: Mutex<Vec<Waiting>>,
    /// The number of the last line.
    written: watch::Sender<u64>,
}

impl Audit {
    /// Reads the last line.
    pub(crate) async fn open(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let search = RecordSearch { size: 1, ..lines() };
        let last = store.records(&search).await?.rows.into_iter().next();
        let head = match last {
            None => Head { number: 0, hash: FIRST.to_owned(), at: Timestamp::from_millis(0) },
            Some(record) => {
                let line = read(&record)?;
                Head { number: line.number, hash: line.hash, at: record.at }
            }
        };
        let written = watch::Sender::new(head.number);
        let head = tokio::sync::Mutex::new(head);
        Ok(Self { store, head, waiting: Mutex::default(), written })
    }

    /// The number and the hash of the last line; 0 if there is none.
    pub async fn head(&self) -> (u64, String) {
        let head = self.head.lock().await;
        (head.number, head.hash.clone())
    }

    /// Tells the number of the last line whenever there are more.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Writes a line; it is durable when its number is answered. Lines that come meanwhile are
    /// written together.
    ///
    /// # Errors
    /// The store's.
    pub async fn write(&self, entry: AuditEntry, now: Timestamp) -> Result<u64, StoreError> {
        let (done, mut written) = oneshot::channel();
        self.waiting.lock().push((entry, done));
        let mut head = self.head.lock().await;
        // Somebody before us may have written it with theirs.
        if let Ok(result) = written.try_recv() {
            return result;
        }
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let (mut next, mut records, mut answers) = (head.clone(), Vec::new(), Vec::new());
        for (entry, done) in waiting {
            // Not before the last one: lines are read in the order of time.
            next.at = next.at.max(now);
            next.number += 1;
            let content = Content { number: next.number, at: next.at.millis(), entry: &entry };
            let line = serde_json::to_string(&content).expect("a line serializes to JSON");
            let hash = chained(&next.hash, &line);
            let before = std::mem::replace(&mut next.hash, hash.clone());
            let line = AuditLine { number: next.number, before, line, hash };
            records.push(Record {
                ledger: AUDIT,
                key: key(next.number).into(),
                subject: AUDIT.into(),
                at: next.at,
                status: entry.outcome.as_str().into(),
                body: Json::of(&line),
            });
            answers.push((next.number, done));
        }
        let result = self.store.put_records(records).await;
        if result.is_ok() {
            *head = next;
            self.written.send_replace(head.number);
        }
        for (number, done) in answers {
            // Who has gone away meanwhile needs no answer.
            let _ = done.send(result.clone().map(|()| number));
        }
        drop(head);
        written.try_recv().unwrap_or(Err(StoreError::Closed))
    }

    /// The newest lines, newest first. Where they are looked for by what they say, so many are looked at
    /// in one go, and the page says from where to go on: in the end all of them are.
    ///
    /// # Errors
    /// The store's; a damaged line.
    pub async fn newest(&self, wanted: &AuditSearch) -> Result<AuditPage, StoreError> {
        let size = wanted.size.min(PAGE_MAX);
        let mut page = AuditPage::default();
        let Some((lowest, highest)) = self.range(wanted).await? else { return Ok(page) };
        let at_once = if wanted.object.is_some() { PAGE_MAX } else { size };
        let (mut next, mut looked_at) = (highest + 1, 0);
        while next > lowest && looked_at < LOOKED_AT_MAX && size > 0 {
            let first = next.saturating_sub(at_once).max(lowest);
            let lines = self.numbered(first..next).await?;
            for line in self.about(wanted.object.as_deref(), lines).await? {
                let number = line.number;
                page.lines.push(line);
                if page.lines.len() as u64 == size {
                    page.next = (number > lowest).then_some(number);
                    return Ok(page);
                }
            }
            looked_at += next - first;
            next = first;
        }
        page.next = (next > lowest).then_some(next);
        Ok(page)
    }

    /// The numbers of the first and the last line of a time; `None` if there is none.
    async fn range(&self, wanted: &AuditSearch) -> Result<Option<(u64, u64)>, StoreError> {
        let end = async |descending| {
            let search = RecordSearch {
                // The store's bounds are exclusive.
                after: wanted.from.map(|from| from.plus_millis(-1)),
                before: wanted.to,
                descending,
                size: 1,
                ..lines()
            };
            self.store.records(&search).await?.rows.first().map(read).transpose()
        };
        let (Some(first), Some(last)) = (end(false).await?, end(true).await?) else {
            return Ok(None);
        };
        let below = wanted.before.map_or(u64::MAX, |before| before.saturating_sub(1));
        let (lowest, highest) = (first.number, last.number.min(below));
        Ok((lowest <= highest).then_some((lowest, highest)))
    }

    /// Lines by their numbers, newest first; not those that are kept no more.
    async fn numbered(
        &self,
        numbers: impl Iterator<Item = u64>,
    ) -> Result<Vec<AuditLine>, StoreError> {
        let keys: Vec<String> = numbers.map(key).collect();
        let search = RecordSearch { keys, size: PAGE_MAX, ..lines() };
        self.store.records(&search).await?.rows.iter().map(read).collect()
    }

    /// Those of some lines whose act or object contains a text, and the outcomes of such lines.
    async fn about(
        &self,
        text: Option<&str>,
        lines: Vec<AuditLine>,
    ) -> Result<Vec<AuditLine>, StoreError> {
        let Some(text) = text else { return Ok(lines) };
        let entry = |line: &AuditLine| {
            let said: Result<AuditEntry, _> = serde_json::from_str(&line.line);
            said.map_err(|error| damaged(&line.number.to_string(), &error))
        };
        let is_about = |said: &AuditEntry| said.object.contains(text) || said.act.contains(text);
        let mut matches: BTreeMap<u64, bool> = BTreeMap::new();
        let mut outcomes: BTreeMap<u64, u64> = BTreeMap::new();
        for line in &lines {
            let said = entry(line)?;
            matches.insert(line.number, is_about(&said));
            outcomes.extend(said.of.map(|of| (line.number, of)));
        }
        // What was begun before these lines tells what their outcomes are about.
        let begun: BTreeSet<u64> = outcomes.values().copied().collect();
        let elsewhere: Vec<u64> =
            begun.into_iter().filter(|number| !matches.contains_key(number)).collect();
        if !elsewhere.is_empty() {
            for line in self.numbered(elsewhere.into_iter()).await? {
                matches.insert(line.number, is_about(&entry(&line)?));
            }
        }
        let is_wanted = |number: &u64| {
            let is_one = |number| matches.get(number).copied().unwrap_or(false);
            is_one(number) || outcomes.get(number).is_some_and(is_one)
        };
        Ok(lines.into_iter().filter(|line| is_wanted(&line.number)).collect())
    }

    /// Lines in their order, those after this number; none after the last.
    ///
    /// # Errors
    /// The store's; a damaged line.
    pub async fn after(&self, number: u64) -> Result<Vec<AuditLine>, StoreError> {
        let oldest = RecordSearch { descending: false, size: 1, ..lines() };
        let oldest = match number {
            0 => self.store.records(&oldest).await?.rows.first().map(read).transpose()?,
            _ => None,
        };
        let first = oldest.map_or(number + 1, |line| line.number);
        let keys = (first..first.saturating_add(PAGE_MAX)).map(key).collect();
        let search = RecordSearch { keys, descending: false, size: PAGE_MAX, ..lines() };
        self.store.records(&search).await?.rows.iter().map(read).collect()
    }
}

impl Engine {
    /// Writes a line of the audit ledger, whoever asked may go away meanwhile; it is durable when its
    /// number is answered.
    ///
    /// # Errors
    /// The store's.
    pub async fn write_audit(&self, entry: AuditEntry) -> Result<u64, StoreError> {
        let engine = self.clone();
        let writing = async move {
            let is_change = entry.is_change();
            let number = engine.audit().write(entry, engine.now()).await?;
            if is_change {
                engine.feed().note_change(number);
            }
            Ok(number)
        };
        tokio::spawn(writing).await.map_err(|_| StoreError::Closed)?
    }
}

fn key(number: u64) -> String {
    format!("{number:012}")
}

fn read(record: &Record) -> Result<AuditLine, StoreError> {
    serde_json::from_str(record.body.text()).map_err(|error| damaged(&record.key, &error))
}

fn damaged(key: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt(format!("line {key} of the audit ledger: {error}"))
}
