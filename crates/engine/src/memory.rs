//! A store in memory: plain and obviously right, to test against and to simulate on.
//!
//! It is the reference that the durable stores are compared with, so it has no index and no
//! cleverness: every question walks everything. A hook may make any call fail before or after it
//! was done, as a crash, a full disk or a lost answer would.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use kernel::durable;
use kernel::{ExecutionId, MachineKind, Record, RowKind, Timestamp};
use parking_lot::Mutex;

use crate::search::{
    BEGUN_MAX, Filter, Mark, PAGE_MAX, Page, RecordPage, RecordSearch, Search, SortField, Spans,
    TextField, TimeField, like, words,
};
use crate::store::{
    AUDIT, AUDIT_FACTOR, Commit, Document, Head, KeptLine, LOG_LINES_MAX, LogLine, LogWindow,
    MessageKey, Outgoing, Pruned, QueueChange, QueueRow, Retention, SampleBlock, Statistics, Store,
    StoreError, Stored, Tally,
};

/// The reference store.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
    faults: Option<Mutex<Faults>>,
    /// Whether others have a turn before the answer to a change of documents.
    is_late: bool,
}

/// Decides for each call whether it goes wrong.
type Faults = Box<dyn FnMut(&Call<'_>) -> Option<Fault> + Send>;

/// A call, as the fault hook sees it.
#[derive(Debug)]
pub enum Call<'a> {
    /// [`Store::commit`].
    Commit(&'a Commit),
    /// Any other method that writes, by its name.
    Write(&'static str),
    /// A method that reads, by its name.
    Read(&'static str),
}

/// How a call goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, the error is the answer.
    Before(StoreError),
    /// It is done, but the answer is lost: the error is answered instead.
    After(StoreError),
}

#[derive(Default)]
struct State {
    executions: BTreeMap<ExecutionId, Entry>,
    /// By order of sending.
    messages: BTreeMap<u64, Outgoing>,
    plans: BTreeMap<Arc<str>, Arc<str>>,
    documents: BTreeMap<(Arc<str>, Arc<str>, u32), Arc<str>>,
    /// In the order in which they were first written.
    records: Vec<Record>,
    /// Where each record is among them, by its ledger and key.
    record_places: BTreeMap<(&'static str, Arc<str>), usize>,
    samples: BTreeMap<(Arc<str>, Timestamp), SampleBlock>,
    /// Counts what was added, to tell what came first.
    added: u64,
    /// Counts lines of logs.
    log_lines: u64,
    commits: u64,
    closed: bool,
}

/// All that is known of one execution.
struct Entry {
    added: u64,
    head: Head,
    history: Vec<String>,
    plans: BTreeSet<Arc<str>>,
    queue: BTreeMap<RowKind, QueueRow>,
    logs: BTreeMap<u32, Vec<KeptLine>>,
    /// What free text finds; split into words when it is searched, which on a stage is never.
    text: String,
    brief: Option<String>,
}

impl Memory {
    /// An empty store in which nothing goes wrong.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store in which `faults`, asked once per call, decides what goes wrong.
    pub fn with_faults(faults: impl FnMut(&Call<'_>) -> Option<Fault> + Send + 'static) -> Self {
        Self { faults: Some(Mutex::new(Box::new(faults))), ..Self::default() }
    }

    /// An empty store that has changed a document some time before it answers, as durable ones have.
    pub fn with_late_answers() -> Self {
        Self { is_late: true, ..Self::default() }
    }

    async fn late<T>(&self, answer: T) -> T {
        if self.is_late {
            tokio::task::yield_now().await;
        }
        answer
    }

    /// Undoes [`Store::close`], as a new process does that opens the same file.
    pub fn open_again(&self) {
        self.state.lock().closed = false;
    }

    /// Does `act` on the state, unless the fault hook or a closed store forbids it.
    fn call<T>(
        &self,
        call: &Call<'_>,
        act: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let fault = self.faults.as_ref().and_then(|faults| (faults.lock())(call));
        if let Some(Fault::Before(error)) = fault {
            return Err(error);
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        let done = act(&mut state)?;
        match fault {
            Some(Fault::After(error)) => Err(error),
            _ => Ok(done),
        }
    }

    fn read<T>(
        &self,
        name: &'static str,
        act: impl FnOnce(&mut State) -> T,
    ) -> Result<T, StoreError> {
        self.call(&Call::Read(name), |state| Ok(act(state)))
    }

    fn write<T>(
        &self,
        name: &'static str,
        act: impl FnOnce(&mut State) -> T,
    ) -> Result<T, StoreError> {
        self.call(&Call::Write(name), |state| Ok(act(state)))
    }
}

#[async_trait]
impl Store for Memory {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        self.call(&Call::Commit(&commit), |state| state.commit(&commit))
    }

    async fn load(&self, id: &ExecutionId) -> Result<Option<Stored>, StoreError> {
        self.read("load", |state| {
            let entry = state.executions.get(id)?;
            Some(Stored { version: entry.head.version, history: entry.history.clone() })
        })
    }

    async fn plan(&self, hash: &str) -> Result<Option<Arc<str>>, StoreError> {
        self.read("plan", |state| state.plans.get(hash).cloned())
    }

    async fn due(
        &self,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, ExecutionId)>, StoreError> {
        self.read("due", |state| {
            let wakes = state.executions.values().filter_map(|entry| {
                let at = entry.head.wake_at.filter(|at| *at <= until)?;
                Some((at, entry.added, entry.head.id.clone()))
            });
            let mut wakes: Vec<_> = wakes.collect();
            wakes.sort();
            wakes.into_iter().take(limit).map(|(at, _, id)| (at, id)).collect()
        })
    }

    async fn queued(&self) -> Result<Vec<QueueRow>, StoreError> {
        self.read("queued", |state| {
            state.executions.values().flat_map(|entry| entry.queue.values().cloned()).collect()
        })
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Outgoing>, StoreError> {
        self.read("undelivered", |state| state.messages.values().take(limit).cloned().collect())
    }

    async fn discard(&self, key: &MessageKey) -> Result<(), StoreError> {
        self.write("discard", |state| state.messages.retain(|_, message| message.key != *key))
    }

    async fn put_records(&self, records: Vec<Record>) -> Result<(), StoreError> {
        self.write("put_records", |state| state.put_records(&records))
    }

    async fn records(&self, search: &RecordSearch) -> Result<RecordPage, StoreError> {
        self.read("records", |state| state.records(search))
    }

    async fn trim_records(&self, each_max: u64) -> Result<u64, StoreError> {
        self.write("trim_records", |state| state.trim_records(each_max))
    }

    async fn put_samples(&self, blocks: Vec<SampleBlock>) -> Result<(), StoreError> {
        self.write("put_samples", |state| {
            for block in blocks {
                state.samples.insert((block.subject.clone(), block.first_at), block);
            }
        })
    }

    async fn sample_blocks(
        &self,
        monitor: &str,
        (from, to): (Timestamp, Timestamp),
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<SampleBlock>, StoreError> {
        self.read("sample_blocks", |state| {
            let wanted = |block: &&SampleBlock| {
                *block.subject == *monitor
                    && block.last_at >= from
                    && block.first_at < to
                    && after.is_none_or(|after| block.first_at > after)
            };
            state.samples.values().filter(wanted).take(limit).cloned().collect()
        })
    }

    async fn newest_samples(&self, monitor: &str) -> Result<Option<SampleBlock>, StoreError> {
        self.read("newest_samples", |state| {
            let of = state.samples.values().rev().find(|block| *block.subject == *monitor);
            of.cloned()
        })
    }

    async fn sampled_monitors(&self) -> Result<Vec<Arc<str>>, StoreError> {
        self.read("sampled_monitors", |state| {
            let names: BTreeSet<Arc<str>> =
                state.samples.keys().map(|(name, _)| name.clone()).collect();
            names.into_iter().collect()
        })
    }

    async fn trim_samples(
        &self,
        before: Option<Timestamp>,
        bytes_max: Option<u64>,
        limit: u64,
    ) -> Result<u64, StoreError> {
        self.write("trim_samples", |state| state.trim_samples(before, bytes_max, limit))
    }

    async fn forget_samples(&self, monitor: &str, limit: u64) -> Result<u64, StoreError> {
        self.write("forget_samples", |state| {
            let of = state.samples.keys().filter(|(name, _)| **name == *monitor);
            let gone: Vec<_> = of.take(limit as usize).cloned().collect();
            for key in &gone {
                state.samples.remove(key);
            }
            gone.len() as u64
        })
    }

    async fn search(&self, search: &Search) -> Result<Page, StoreError> {
        self.read("search", |state| state.search(search))
    }

    async fn tally(&self, search: &Search) -> Result<Option<Tally>, StoreError> {
        if !search.is_counted() {
            return Ok(None);
        }
        self.read("tally", |state| {
            let fits = |head: &&Head| {
                search.machines().any(|machine| head.id.machine() == machine)
                    && search.filters.iter().all(|filter| holds(filter, head))
            };
            let mut counts: BTreeMap<(Arc<str>, Arc<str>), u64> = BTreeMap::new();
            for head in state.executions.values().map(|entry| &entry.head).filter(fits) {
                *counts.entry((head.name.clone(), head.status.into())).or_default() += 1;
            }
            let counts = counts.into_iter().map(|((name, status), count)| (name, status, count));
            Some(Tally { counts: counts.collect(), is_exact: true })
        })
    }

    async fn begun(&self, search: &Search, spans: Spans) -> Result<Vec<u64>, StoreError> {
        self.read("begun", |state| {
            let mut search = search.clone();
            search.filters.extend(spans.filters());
            let heads = state.matching(&search).take(BEGUN_MAX as usize).map(|entry| &entry.head);
            spans.sum(heads.map(|head| (head.created_at.since(spans.from) / spans.length, 1)))
        })
    }

    async fn head(&self, id: &ExecutionId) -> Result<Option<Head>, StoreError> {
        self.read("head", |state| state.executions.get(id).map(|entry| entry.head.clone()))
    }

    async fn briefs(&self, ids: &[ExecutionId]) -> Result<Vec<Option<(Head, String)>>, StoreError> {
        self.read("briefs", |state| {
            let brief = |id| {
                let entry = state.executions.get(id)?;
                Some((entry.head.clone(), entry.brief.clone()?))
            };
            ids.iter().map(brief).collect()
        })
    }

    async fn remove(&self, id: &ExecutionId) -> Result<bool, StoreError> {
        self.write("remove", |state| state.remove(id))
    }

    async fn remove_ended(&self, ids: Vec<ExecutionId>) -> Result<Vec<ExecutionId>, StoreError> {
        self.write("remove_ended", |state| state.remove_ended(ids))
    }

    async fn prune(
        &self,
        retention: &Retention,
        now: Timestamp,
        limit: usize,
    ) -> Result<Pruned, StoreError> {
        self.write("prune", |state| state.prune(retention, now, limit))
    }

    async fn put_document(&self, document: Document) -> Result<(), StoreError> {
        self.put_documents(vec![document]).await
    }

    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        let written = self.write("put_documents", |state| {
            for Document { kind, name, version, text } in documents {
                state.documents.insert((kind, name, version), text);
            }
        });
        self.late(written).await
    }

    async fn delete_document(
        &self,
        kind: &str,
        name: &str,
        version: u32,
    ) -> Result<bool, StoreError> {
        let key = (kind.into(), name.into(), version);
        let removed = self.write("delete_document", |state| state.documents.remove(&key).is_some());
        self.late(removed).await
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StoreError> {
        self.read("documents", |state| {
            let found = state.documents.iter().filter(|((of, ..), _)| **of == *kind);
            found
                .map(|((kind, name, version), text)| Document {
                    kind: kind.clone(),
                    name: name.clone(),
                    version: *version,
                    text: text.clone(),
                })
                .collect()
        })
    }

    async fn append_log(
        &self,
        execution: &ExecutionId,
        sequence: u32,
        lines: Vec<LogLine>,
    ) -> Result<(), StoreError> {
        self.write("append_log", |state| {
            if let Some(entry) = state.executions.get_mut(execution) {
                let log = entry.logs.entry(sequence).or_default();
                let numbered = lines.into_iter().zip(state.log_lines + 1..);
                log.extend(numbered.map(|(line, number)| KeptLine { number, sequence, line }));
                state.log_lines = log.last().map_or(0, |line| line.number).max(state.log_lines);
                let excess = log.len().saturating_sub(LOG_LINES_MAX);
                log.drain(..excess);
            }
        })
    }

    async fn log(
        &self,
        execution: &ExecutionId,
        sequences: &[u32],
        window: &LogWindow,
    ) -> Result<Vec<KeptLine>, StoreError> {
        self.read("log", |state| {
            let logs = state.executions.get(execution).map(|entry| &entry.logs);
            let of = |sequence: &u32| logs.and_then(|logs| logs.get(sequence));
            let fits = |kept: &&KeptLine| {
                window.before.is_none_or(|before| kept.number < before)
                    && window.finds(&kept.line.text)
            };
            let lines = sequences.iter().filter_map(of).flatten().filter(fits);
            let mut lines: Vec<KeptLine> = lines.cloned().collect();
            lines.sort_by_key(|kept| kept.number);
            let excess = window.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
            lines.drain(..excess);
            lines
        })
    }

    async fn statistics(&self) -> Result<Statistics, StoreError> {
        self.read("statistics", |state| Statistics {
            executions: state.heads(MachineKind::Execution).count() as u64,
            running: state.heads(MachineKind::Execution).filter(|head| !head.closed).count() as u64,
            instances: state.heads(MachineKind::Instance).count() as u64,
            instances_running: state.heads(MachineKind::Instance).filter(under_way).count() as u64,
            entities: state.heads(MachineKind::Entity).count() as u64,
            bytes: state.bytes(),
            writes: state.commits,
            commits: state.commits,
        })
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.state.lock().closed = true;
        Ok(())
    }
}

/// Whether an instance has not ended, by its word.
fn under_way(head: &&Head) -> bool {
    durable::Status::parse(head.status).is_some_and(|status| !status.is_closed())
}

impl State {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let id = &commit.head.id;
        let version = self.executions.get(id).map_or(0, |entry| entry.head.version);
        if version != commit.expect {
            return Err(StoreError::Conflict);
        }
        let order_of = |key: &MessageKey| {
            let message = self.messages.iter().find(|(_, message)| message.key == *key);
            message.map(|(order, _)| *order).ok_or(StoreError::Received)
        };
        let orders: BTreeSet<_> = commit.received.iter().map(order_of).collect::<Result<_, _>>()?;
        for order in orders {
            self.messages.remove(&order);
        }
        for (hash, text) in &commit.plans {
            self.plans.entry(hash.clone()).or_insert_with(|| text.clone());
        }
        for message in &commit.send {
            if self.messages.values().all(|other| other.key != message.key) {
                self.added += 1;
                self.messages.insert(self.added, message.clone());
            }
        }
        self.added += 1;
        let added = self.added;
        let entry = self.executions.entry(id.clone()).or_insert_with(|| Entry {
            added,
            head: commit.head.clone(),
            history: Vec::new(),
            plans: BTreeSet::new(),
            queue: BTreeMap::new(),
            logs: BTreeMap::new(),
            text: String::new(),
            brief: None,
        });
        entry.head = Head { version: version + 1, ..commit.head.clone() };
        if commit.forget {
            entry.history.clear();
        }
        entry.history.push(commit.events.clone());
        entry.plans.extend(commit.plans.iter().map(|(hash, _)| hash.clone()));
        for change in &commit.queue {
            match change {
                QueueChange::Put(row) => {
                    let row = QueueRow { execution: id.clone(), ..row.clone() };
                    entry.queue.insert(row.kind, row);
                }
                QueueChange::Remove { kind } => {
                    entry.queue.remove(kind);
                }
            }
        }
        if let Some(text) = &commit.text {
            entry.text.clone_from(text);
        }
        if let Some(brief) = &commit.brief {
            entry.brief = Some(brief.clone()).filter(|brief| !brief.is_empty());
        }
        self.put_records(&commit.records);
        self.commits += 1;
        Ok(())
    }

    /// Heads of one kind of machine.
    fn heads(&self, machine: MachineKind) -> impl Iterator<Item = &Head> {
        let heads = self.executions.values().map(|entry| &entry.head);
        heads.filter(move |head| head.id.machine() == machine)
    }

    fn put_records(&mut self, records: &[Record]) {
        for record in records {
            let next = self.records.len();
            let named = (record.ledger, record.key.clone());
            match *self.record_places.entry(named).or_insert(next) {
                place if place < next => self.records[place].clone_from(record),
                _ => self.records.push(record.clone()),
            }
        }
    }

    fn records(&self, search: &RecordSearch) -> RecordPage {
        let among = |listed: &[String], word: &str| {
            listed.is_empty() || listed.iter().any(|listed| listed == word)
        };
        let matches = |record: &&Record| {
            record.ledger == search.ledger
                && among(&search.keys, &record.key)
                && search.key_begins.as_ref().is_none_or(|it| record.key.starts_with(&**it))
                && among(&search.subjects, &record.subject)
                && among(&search.statuses, &record.status)
                && search.after.is_none_or(|after| record.at > after)
                && search.before.is_none_or(|before| record.at < before)
        };
        let mut rows: Vec<_> = self.records.iter().filter(matches).cloned().collect();
        rows.sort_by_key(|record| record.at);
        if search.descending {
            rows.reverse();
        }
        let total = (rows.len() as u64).min(search.counted_max);
        let start = usize::try_from(search.start).unwrap_or(usize::MAX);
        let page = rows.into_iter().skip(start).take(search.size.min(PAGE_MAX) as usize);
        RecordPage { total, rows: page.collect() }
    }

    fn trim_samples(
        &mut self,
        before: Option<Timestamp>,
        bytes_max: Option<u64>,
        limit: u64,
    ) -> u64 {
        let mut removed = 0;
        while removed < limit {
            let bytes: u64 = self.samples.values().map(|block| block.data.len() as u64).sum();
            let oldest = self.samples.iter().min_by_key(|((_, at), _)| *at);
            let Some((key, _)) = oldest else { break };
            let is_old = before.is_some_and(|before| key.1 < before);
            if !is_old && bytes_max.is_none_or(|most| bytes <= most) {
                break;
            }
            let key = key.clone();
            self.samples.remove(&key);
            removed += 1;
        }
        removed
    }

    fn trim_records(&mut self, each_max: u64) -> u64 {
        let before = self.records.len();
        let mut kept: BTreeMap<(&'static str, Arc<str>), u64> = BTreeMap::new();
        let mut order: Vec<usize> = (0..before).collect();
        order.sort_by_key(|place| (self.records[*place].at, *place));
        let mut doomed = BTreeSet::new();
        for place in order.into_iter().rev() {
            let record = &self.records[place];
            let count = kept.entry((record.ledger, record.subject.clone())).or_default();
            *count += 1;
            let factor = if record.ledger == AUDIT { AUDIT_FACTOR } else { 1 };
            if *count > each_max.saturating_mul(factor) {
                doomed.insert(place);
            }
        }
        let mut place = 0;
        self.records.retain(|_| {
            place += 1;
            !doomed.contains(&(place - 1))
        });
        let named = self.records.iter().map(|it| (it.ledger, it.key.clone()));
        self.record_places = named.zip(0..).collect();
        (before - self.records.len()) as u64
    }

    fn remove(&mut self, id: &ExecutionId) -> bool {
        let Some(gone) = self.executions.remove(id) else { return false };
        self.messages.retain(|_, message| message.to != *id);
        for plan in &gone.plans {
            if self.executions.values().all(|entry| !entry.plans.contains(plan)) {
                self.plans.remove(plan);
            }
        }
        true
    }

    fn remove_ended(&mut self, mut ids: Vec<ExecutionId>) -> Vec<ExecutionId> {
        ids.retain(|id| {
            // What is gone may owe a message all the same: that is sent without it.
            let Some(entry) = self.executions.get(id) else { return false };
            let owes = self.messages.values().any(|message| message.key.sender == *id);
            let stays = !entry.head.closed || owes;
            if !stays {
                self.remove(id);
            }
            stays
        });
        ids
    }

    fn prune(&mut self, retention: &Retention, now: Timestamp, limit: usize) -> Pruned {
        let before = self.bytes();
        let mut ended: Vec<_> = self.executions.values().filter_map(Entry::ended).collect();
        ended.sort();
        let owing: BTreeSet<_> =
            self.messages.values().map(|message| message.key.sender.clone()).collect();
        let mut finished = ended.len() as u64;
        let mut pruned = Pruned::default();
        let oldest = retention.oldest(now);
        for (ended_at, _, id) in ended {
            let too_many = retention.count_max != 0 && finished > retention.count_max;
            let too_old = oldest.is_some_and(|oldest| ended_at < oldest);
            let too_big = retention.disk_max_bytes != 0 && self.bytes() > retention.disk_max_bytes;
            if !(too_many || too_old || too_big) {
                break;
            }
            if owing.contains(&id) {
                continue;
            }
            if pruned.executions == limit as u64 {
                pruned.more = true;
                break;
            }
            self.remove(&id);
            finished -= 1;
            pruned.executions += 1;
        }
        pruned.bytes = before - self.bytes();
        pruned
    }

    /// What matches a search, in no order.
    fn matching<'a>(&'a self, search: &'a Search) -> impl Iterator<Item = &'a Entry> {
        self.executions.values().filter(move |entry| {
            search.machines().any(|machine| entry.head.id.machine() == machine)
                && search.filters.iter().all(|filter| holds(filter, &entry.head))
                && search.free_text.iter().flat_map(|text| text.split_whitespace()).all(|word| {
                    let id = like(&literal_but_last_star(word), entry.head.id.as_str());
                    id || entry.has_word(word)
                })
        })
    }

    fn search(&self, search: &Search) -> Page {
        let mut rows: Vec<_> = self.matching(search).collect();
        let order = |a: &&Entry, b: &&Entry| {
            let keys = search.sort.iter().map(|sort| {
                let order = compare(sort.by, &a.head, &b.head);
                if sort.descending { order.reverse() } else { order }
            });
            let newest = b.head.created_at.cmp(&a.head.created_at).then(b.added.cmp(&a.added));
            keys.fold(Ordering::Equal, Ordering::then).then(newest)
        };
        let total = rows.len() as u64;
        // Only the page and what is before it needs an order.
        let end = search.start.saturating_add(search.size.min(PAGE_MAX));
        if let Some(end) = usize::try_from(end).ok().filter(|end| *end < rows.len()) {
            rows.select_nth_unstable_by(end, order);
            rows.truncate(end);
        }
        rows.sort_by(order);
        let page = rows.iter().skip(usize::try_from(search.start).unwrap_or(usize::MAX));
        Page {
            total: if search.is_counted() { total } else { total.min(search.total_max()) },
            rows: page
                .take(search.size.min(PAGE_MAX) as usize)
                .map(|entry| entry.head.clone())
                .collect(),
        }
    }

    /// What is kept, in bytes of text.
    fn bytes(&self) -> u64 {
        let histories = self.executions.values().flat_map(|entry| &entry.history);
        let texts = histories.map(String::len).chain(self.plans.values().map(|text| text.len()));
        texts.chain(self.documents.values().map(|text| text.len())).sum::<usize>() as u64
    }
}

impl Entry {
    /// What orders the finished: when it ended, and when it was added.
    fn ended(&self) -> Option<(Timestamp, u64, ExecutionId)> {
        let ended_at = self.head.ended_at.filter(|_| self.head.closed)?;
        Some((ended_at, self.added, self.head.id.clone()))
    }

    /// Whether a word of a question is found. `*` at its end stands for any ending.
    fn has_word(&self, word: &str) -> bool {
        let parts: Vec<_> = words(word).collect();
        let Some((last, others)) = parts.split_last() else { return false };
        let has = |part: &String| words(&self.text).any(|found| found == *part);
        let ends = if word.ends_with('*') {
            words(&self.text).any(|found| found.starts_with(last.as_str()))
        } else {
            has(last)
        };
        ends && others.iter().all(has)
    }
}

/// A word of a question as a pattern for ids, in which only a `*` at the end means anything.
fn literal_but_last_star(word: &str) -> String {
    let (stem, star) = word.strip_suffix('*').map_or((word, ""), |stem| (stem, "*"));
    // No id holds a NUL, so a star elsewhere matches nothing.
    format!("{}{star}", stem.replace('*', "\0"))
}

fn holds(filter: &Filter, head: &Head) -> bool {
    match filter {
        Filter::In(field, values) => {
            text(*field, head).is_some_and(|text| values.iter().any(|value| like(value, text)))
        }
        Filter::NotIn(field, values) => {
            text(*field, head).is_none_or(|text| !values.iter().any(|value| like(value, text)))
        }
        Filter::After(field, at) => time(*field, head).is_some_and(|time| time > *at),
        Filter::Before(field, at) => time(*field, head).is_some_and(|time| time < *at),
        Filter::Version(versions) => versions.contains(&head.definition_version),
        Filter::TopLevel => head.parent.is_none(),
        Filter::Closed(closed) => head.closed == *closed,
        Filter::IdBegins(prefix) => head.id.as_str().starts_with(prefix.as_str()),
        Filter::Past(mark) => is_past(mark, head),
    }
}

fn is_past(mark: &Mark, head: &Head) -> bool {
    let time = match mark.at {
        None => Some(Ordering::Equal),
        Some((field, at)) => time(field, head).map(|time| time.cmp(&at)),
    };
    let order = time.map(|time| time.then_with(|| head.id.cmp(&mark.id)));
    order == Some(if mark.descending { Ordering::Less } else { Ordering::Greater })
}

fn compare(by: SortField, a: &Head, b: &Head) -> Ordering {
    match by {
        SortField::Text(field) => text(field, a).cmp(&text(field, b)),
        SortField::Time(field) => time(field, a).cmp(&time(field, b)),
    }
}

fn text(field: TextField, head: &Head) -> Option<&str> {
    match field {
        TextField::Id => Some(head.id.as_str()),
        TextField::Name => Some(&head.name),
        TextField::Status => Some(head.status),
        TextField::CorrelationId => head.correlation_id.as_deref(),
        TextField::Parent => head.parent.as_ref().map(ExecutionId::as_str),
        TextField::Reason => head.reason.as_deref(),
    }
}

fn time(field: TimeField, head: &Head) -> Option<Timestamp> {
    match field {
        TimeField::Created => Some(head.created_at),
        TimeField::Updated => Some(head.updated_at),
        TimeField::Ended => head.ended_at,
    }
}
