//! A store that goes wrong as stores do: it refuses, fails, hangs, and loses answers; and at any of
//! its calls the process may end. What it took, the auditor sees.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::memory::Memory;
use engine::search::{Page, RecordPage, RecordSearch, Search, Spans};
use engine::store::{
    Commit, Document, Head, KeptLine, LogLine, LogWindow, MessageKey, Outgoing, Pruned, QueueRow,
    Retention, SampleBlock, Statistics, Store, StoreError, Stored,
};
use kernel::{ExecutionId, Record, Timestamp};

use super::world::World;

/// Commits of one seed; a world that makes more does not come to rest.
pub(super) const COMMITS_MAX: u64 = 40_000;

/// Milliseconds for which nothing works, at most.
const OUTAGE_MAX: i64 = 15_000;

/// Milliseconds for which others are first at every commit, at most.
const RIVAL_MAX: i64 = 3_000;

/// A store of this life's process.
pub(super) struct Faulty {
    pub(super) memory: Arc<Memory>,
    pub(super) world: Arc<World>,
}

/// What a call does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Commit,
}

/// What becomes of a call that was done.
#[derive(Clone, Copy)]
struct After {
    millis: u64,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    /// The answer is an error all the same.
    Unknown,
    /// The process ends before it hears the answer.
    Death,
}

/// What becomes of a call.
struct Drawn {
    millis: u64,
    refusal: Option<StoreError>,
    dies: bool,
    after: After,
}

impl Faulty {
    /// Before the store does anything.
    async fn before(&self, kind: Kind, what: &str) -> Result<After, StoreError> {
        let drawn = self.draw(kind);
        if drawn.millis > 0 {
            tokio::time::sleep(Duration::from_millis(drawn.millis)).await;
        }
        if drawn.dies {
            self.world.die(&format!("before {what}"));
            return pending().await;
        }
        match drawn.refusal {
            Some(error) => {
                self.world.say(|| format!("{what}: {error}"));
                Err(error)
            }
            None => Ok(drawn.after),
        }
    }

    fn draw(&self, kind: Kind) -> Drawn {
        let now = self.world.now();
        let mut state = self.world.state.lock();
        let (calm, faults) = (state.calm, state.faults);
        let (down_until, rival_until) = (state.down_until, state.rival_until);
        let random = &mut state.random;
        let mut thousandth = |of: u32| of > 0 && random.below(1000) < of as usize;
        let away = || StoreError::Unavailable("the disk is full".to_owned());
        let outage = thousandth(faults.outage);
        let mut drawn = Drawn {
            millis: 0,
            refusal: (thousandth(faults.fails) || now < down_until).then(away),
            dies: thousandth(faults.death),
            after: After { millis: 0, fate: Fate::Well },
        };
        let rival = kind == Kind::Commit && thousandth(faults.rival);
        let conflicts = kind == Kind::Commit && thousandth(faults.conflict);
        if conflicts || rival || (kind == Kind::Commit && now < rival_until) {
            drawn.refusal = Some(StoreError::Conflict);
        }
        if kind != Kind::Read && thousandth(faults.unknown) {
            drawn.after.fate = Fate::Unknown;
        }
        if thousandth(faults.death) {
            drawn.after.fate = Fate::Death;
        }
        let hangs = thousandth(faults.hangs);
        let longest = if hangs { 12_000 } else { 4 };
        let waits = hangs || (kind == Kind::Commit && !calm) || random.chance(10);
        if waits {
            drawn.millis = random.between(0, longest) as u64;
            drawn.after.millis = random.between(0, longest) as u64;
        }
        if rival {
            let millis = state.random.between(1, RIVAL_MAX);
            state.rival_until = now.plus_millis(millis);
        }
        if outage {
            let millis = state.random.between(1, OUTAGE_MAX);
            state.down_until = now.plus_millis(millis);
            drawn.refusal = Some(away());
        }
        drawn
    }

    /// After the store has done it.
    async fn after<T>(&self, after: After, what: &str, answer: T) -> Result<T, StoreError> {
        if after.millis > 0 {
            tokio::time::sleep(Duration::from_millis(after.millis)).await;
        }
        match after.fate {
            Fate::Well => Ok(answer),
            Fate::Unknown => {
                self.world.say(|| format!("{what}: its answer is lost"));
                Err(StoreError::Unavailable("the answer is lost".to_owned()))
            }
            Fate::Death => {
                self.world.die(&format!("after {what}"));
                pending().await
            }
        }
    }
}

/// A call that goes through, if it does.
macro_rules! through {
    ($self:ident, $kind:ident, $what:literal, $call:expr) => {{
        let after = $self.before(Kind::$kind, $what).await?;
        let answer = $call.await?;
        $self.after(after, $what, answer).await
    }};
}

#[async_trait]
impl Store for Faulty {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let what = format!("commit {} of {}", commit.head.version, commit.head.id);
        let after = self.before(Kind::Commit, &what).await?;
        self.memory.commit(commit.clone()).await?;
        self.world.committed(&commit);
        self.after(after, &what, ()).await
    }

    async fn load(&self, id: &ExecutionId) -> Result<Option<Stored>, StoreError> {
        through!(self, Read, "load", self.memory.load(id))
    }

    async fn plan(&self, hash: &str) -> Result<Option<Arc<str>>, StoreError> {
        through!(self, Read, "plan", self.memory.plan(hash))
    }

    async fn due(
        &self,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, ExecutionId)>, StoreError> {
        through!(self, Read, "due", self.memory.due(until, limit))
    }

    async fn queued(&self) -> Result<Vec<QueueRow>, StoreError> {
        through!(self, Read, "queued", self.memory.queued())
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Outgoing>, StoreError> {
        through!(self, Read, "undelivered", self.memory.undelivered(limit))
    }

    async fn discard(&self, key: &MessageKey) -> Result<(), StoreError> {
        let after = self.before(Kind::Write, "discard").await?;
        self.memory.discard(key).await?;
        self.world.state.lock().auditor.discarded(key);
        self.after(after, "discard", ()).await
    }

    async fn put_records(&self, records: Vec<Record>) -> Result<(), StoreError> {
        through!(self, Write, "put_records", self.memory.put_records(records))
    }

    async fn records(&self, search: &RecordSearch) -> Result<RecordPage, StoreError> {
        through!(self, Read, "records", self.memory.records(search))
    }

    async fn trim_records(&self, each_max: u64) -> Result<u64, StoreError> {
        through!(self, Write, "trim_records", self.memory.trim_records(each_max))
    }

    async fn put_samples(&self, blocks: Vec<SampleBlock>) -> Result<(), StoreError> {
        through!(self, Write, "put_samples", self.memory.put_samples(blocks))
    }

    async fn sample_blocks(
        &self,
        monitor: &str,
        between: (Timestamp, Timestamp),
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<SampleBlock>, StoreError> {
        let blocks = self.memory.sample_blocks(monitor, between, after, limit);
        through!(self, Read, "sample_blocks", blocks)
    }

    async fn newest_samples(&self, monitor: &str) -> Result<Option<SampleBlock>, StoreError> {
        through!(self, Read, "newest_samples", self.memory.newest_samples(monitor))
    }

    async fn sampled_monitors(&self) -> Result<Vec<Arc<str>>, StoreError> {
        through!(self, Read, "sampled_monitors", self.memory.sampled_monitors())
    }

    async fn trim_samples(
        &self,
        before: Option<Timestamp>,
        bytes_max: Option<u64>,
        limit: u64,
    ) -> Result<u64, StoreError> {
        let trimmed = self.memory.trim_samples(before, bytes_max, limit);
        through!(self, Write, "trim_samples", trimmed)
    }

    async fn forget_samples(&self, monitor: &str, limit: u64) -> Result<u64, StoreError> {
        through!(self, Write, "forget_samples", self.memory.forget_samples(monitor, limit))
    }

    async fn search(&self, search: &Search) -> Result<Page, StoreError> {
        through!(self, Read, "search", self.memory.search(search))
    }

    async fn begun(&self, search: &Search, spans: Spans) -> Result<Vec<u64>, StoreError> {
        through!(self, Read, "begun", self.memory.begun(search, spans))
    }

    async fn head(&self, id: &ExecutionId) -> Result<Option<Head>, StoreError> {
        through!(self, Read, "head", self.memory.head(id))
    }

    async fn briefs(&self, ids: &[ExecutionId]) -> Result<Vec<Option<(Head, String)>>, StoreError> {
        through!(self, Read, "briefs", self.memory.briefs(ids))
    }

    async fn remove(&self, id: &ExecutionId) -> Result<bool, StoreError> {
        let after = self.before(Kind::Write, "remove").await?;
        let was = self.memory.remove(id).await?;
        self.world.state.lock().auditor.removed(id);
        self.after(after, "remove", was).await
    }

    async fn remove_ended(&self, ids: Vec<ExecutionId>) -> Result<Vec<ExecutionId>, StoreError> {
        let after = self.before(Kind::Write, "remove_ended").await?;
        let stay = self.memory.remove_ended(ids.clone()).await?;
        for id in ids.iter().filter(|id| !stay.contains(id)) {
            self.world.state.lock().auditor.removed(id);
        }
        self.after(after, "remove_ended", stay).await
    }

    async fn prune(
        &self,
        retention: &Retention,
        now: Timestamp,
        limit: usize,
    ) -> Result<Pruned, StoreError> {
        let after = self.before(Kind::Write, "prune").await?;
        let pruned = self.memory.prune(retention, now, limit).await?;
        let known: Vec<ExecutionId> =
            self.world.state.lock().auditor.machines.keys().cloned().collect();
        for id in known {
            if self.memory.head(&id).await?.is_none() {
                self.world.say(|| format!("{id} is pruned"));
                self.world.count("an execution was pruned");
                self.world.judge(|state, _| state.auditor.pruned(&id));
            }
        }
        self.after(after, "prune", pruned).await
    }

    async fn put_document(&self, document: Document) -> Result<(), StoreError> {
        through!(self, Write, "put_document", self.memory.put_document(document))
    }

    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        through!(self, Write, "put_documents", self.memory.put_documents(documents))
    }

    async fn delete_document(
        &self,
        kind: &str,
        name: &str,
        version: u32,
    ) -> Result<bool, StoreError> {
        through!(self, Write, "delete_document", self.memory.delete_document(kind, name, version))
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StoreError> {
        through!(self, Read, "documents", self.memory.documents(kind))
    }

    async fn append_log(
        &self,
        execution: &ExecutionId,
        sequence: u32,
        lines: Vec<LogLine>,
    ) -> Result<(), StoreError> {
        through!(self, Write, "append_log", self.memory.append_log(execution, sequence, lines))
    }

    async fn log(
        &self,
        execution: &ExecutionId,
        sequences: &[u32],
        window: &LogWindow,
    ) -> Result<Vec<KeptLine>, StoreError> {
        through!(self, Read, "log", self.memory.log(execution, sequences, window))
    }

    async fn statistics(&self) -> Result<Statistics, StoreError> {
        through!(self, Read, "statistics", self.memory.statistics())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.memory.close().await
    }
}
