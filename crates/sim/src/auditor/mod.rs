//! The auditor: judges histories against definitions, in words of its own.
//!
//! It never asks the kernel what should have happened. It reads what was committed as JSON, keeps
//! its own record, and objects when a fact could not lawfully follow from those before it (too
//! early, twice, without cause), or when something that had to follow is missing. Tasks testify:
//! what a worker said stands in the output that it gave, so that the verdict recorded beside it can
//! be judged.

mod facts;
mod flow;
mod messages;
mod outline;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use kernel::Timestamp;
use serde_json::Value;

use messages::Post;
use outline::Outline;
use record::Record;

/// What the auditor has to say against a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The execution.
    pub execution: String,
    /// The law that was broken; stable.
    pub law: &'static str,
    /// How.
    pub what: String,
}

impl Objection {
    /// An objection.
    pub fn new(execution: &str, law: &'static str, what: impl Into<String>) -> Self {
        Self { execution: execution.to_owned(), law, what: what.into() }
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: [{}] {}", self.execution, self.law, self.what)
    }
}

/// One commit, as anybody may see it in the store.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The execution.
    pub id: &'a str,
    /// Its new events, a JSON array.
    pub events: &'a str,
    /// Messages sent with it.
    pub sent: Vec<Sent>,
    /// The execution's rows in queues, after it.
    pub rows: BTreeMap<u32, RowSeen>,
    /// The tasks that the kernel knows of afterwards, and their statuses.
    pub tasks: BTreeMap<u32, &'static str>,
    /// When the execution wants to look at the clock.
    pub wake_at: Option<Timestamp>,
}

/// A message as sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The receiver.
    pub to: String,
    /// The message, JSON.
    pub body: String,
}

/// A row in a queue.
#[derive(Clone, Debug)]
pub struct RowSeen {
    /// The queue.
    pub queue: String,
    /// Not handed out before.
    pub ready_at: Timestamp,
    /// Somebody holds it.
    pub held: bool,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Auditor {
    plans: BTreeMap<String, Arc<Outline>>,
    records: BTreeMap<String, Record>,
    /// Executions that began and are no more.
    gone: BTreeSet<String>,
    post: Post,
}

/// What the facts of one commit are judged with: the commit as a whole.
#[derive(Debug, Default)]
struct Batch {
    /// An operator, or a child that lives again, has revived the execution.
    revived: bool,
    /// The parent asked it to try again.
    asked: bool,
    /// The instant of the execution's end, if it ended.
    ended: Option<String>,
    skipped: Vec<u32>,
    /// The TERMINATE that the flow has come to.
    terminator: Option<u32>,
    /// Loops that were set to another iteration.
    reopened: Vec<u32>,
    /// Facts for the post: what must have been sent.
    owed: Vec<messages::Owed>,
}

type Judged = Result<(), Objection>;

impl Auditor {
    /// Makes a plan known.
    pub fn plan(&mut self, hash: &str, text: &str) {
        self.plans.entry(hash.to_owned()).or_insert_with(|| Arc::new(Outline::read(text)));
    }

    /// An execution that is started from outside.
    pub fn root(&mut self, id: &str) {
        self.post.roots.insert(id.to_owned());
    }

    /// An execution is no more. Whoever asks it for something again learns just that.
    pub fn removed(&mut self, id: &str) {
        if self.records.remove(id).is_some() {
            self.gone.insert(id.to_owned());
        }
    }

    /// Judges a commit.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn committed(&mut self, commit: &Commit<'_>) -> Judged {
        let id = commit.id;
        let events: Vec<Value> = serde_json::from_str(commit.events)
            .map_err(|error| Objection::new(id, "events parse", error.to_string()))?;
        let mut record = self.records.remove(id).unwrap_or_default();
        let judged = self.judge(&mut record, &events, commit);
        self.records.insert(id.to_owned(), record);
        judged.map_err(|(law, what)| Objection::new(id, law, what))
    }

    fn judge(&mut self, record: &mut Record, events: &[Value], commit: &Commit<'_>) -> Verdict {
        let mut batch = Batch::read(events);
        record.yielded = false;
        for event in events {
            self.fact(record, event, &mut batch, commit.id)?;
        }
        self.post.judge(commit.id, record, &batch, &commit.sent)?;
        remembers_right(record, &commit.tasks)?;
        rows_are_tasks(record, &commit.rows)?;
        record.stands_right()?;
        let wake_at = commit.wake_at.map(Timestamp::millis);
        record.wakes_in_time(wake_at)
    }

    /// Judges a look at the clock, after its commit if there was one.
    ///
    /// # Errors
    /// Something is due and was not done.
    pub fn looked(
        &mut self,
        id: &str,
        now: Timestamp,
        changed: bool,
        wake_at: Option<Timestamp>,
    ) -> Judged {
        let Some(record) = self.records.get(id) else { return Ok(()) };
        let object = |law, what: String| Err(Objection::new(id, law, what));
        if wake_at.is_some_and(|at| at <= now) {
            // It asks to look again at once: right if it goes on in small steps.
            let spins = !changed && !record.is_over();
            return if spins {
                object("no spinning", "it wakes for nothing".to_owned())
            } else {
                Ok(())
            };
        }
        match record.overdue(now.millis()) {
            Some(what) => object("due is done", format!("{what}, and now it is {}", now.millis())),
            None => Ok(()),
        }
    }

    /// Judges the end of everything.
    ///
    /// # Errors
    /// Something has not come to its end.
    pub fn finish(&self) -> Judged {
        for (id, record) in &self.records {
            if !record.is_over() {
                let open: Vec<&String> =
                    record.open().map(|attempt| &record.place_of(attempt).reference).collect();
                let what = format!("it is {} for ever, with {open:?} open", record.status);
                return Err(Objection::new(id, "liveness", what));
            }
            if let Some((parent, sequence)) = &record.parent
                && let Some(task) = self.records.get(parent).and_then(|p| p.attempts.get(sequence))
                && task.is_open()
            {
                let what = format!("it has ended, but {parent}-{sequence} still waits for it");
                return Err(Objection::new(id, "parents are told", what));
            }
        }
        self.post.finish(&self.records)
    }
}

/// A law and how it was broken.
type Verdict = Result<(), (&'static str, String)>;

fn broken(law: &'static str, what: impl Into<String>) -> Verdict {
    Err((law, what.into()))
}

/// What the kernel remembers is what has happened.
fn remembers_right(record: &Record, tasks: &BTreeMap<u32, &'static str>) -> Verdict {
    const LAW: &str = "it remembers right";
    for attempt in record.attempts.values() {
        let (sequence, status) = (attempt.sequence, attempt.status.as_str());
        match tasks.get(&sequence) {
            Some(remembered) if *remembered == status => {}
            other => return broken(LAW, format!("task {sequence} is {status}, not {other:?}")),
        }
    }
    match tasks.keys().find(|sequence| !record.attempts.contains_key(sequence)) {
        Some(sequence) => broken(LAW, format!("task {sequence} is still there")),
        None => Ok(()),
    }
}

/// Every task that is handed out stands in its queue exactly once, and nothing else does.
fn rows_are_tasks(record: &Record, rows: &BTreeMap<u32, RowSeen>) -> Verdict {
    const LAW: &str = "rows are tasks";
    for attempt in record.open().filter(|attempt| record.place_of(attempt).is_handed_out()) {
        let sequence = attempt.sequence;
        let Some(row) = rows.get(&sequence) else {
            // What the engine ran itself, and somebody outside is to end, waits in no queue.
            let outside = record.place_of(attempt).kind == "HTTP" && attempt.held;
            if outside {
                continue;
            }
            return broken(LAW, format!("task {sequence} is open, but in no queue"));
        };
        let held = attempt.status == "IN_PROGRESS";
        if row.held != held && row.queue != "HTTP" {
            let status = &attempt.status;
            return broken(LAW, format!("task {sequence} is {status}, its row held: {}", row.held));
        }
        if !row.held
            && row.queue != "HTTP"
            && row.ready_at.millis() < attempt.ready_at()
            && attempt.callback == 0
        {
            let (at, right) = (row.ready_at.millis(), attempt.ready_at());
            return broken(
                "delays are kept",
                format!("task {sequence} is ready at {at}, not {right}"),
            );
        }
    }
    for sequence in rows.keys() {
        if !record.attempts.get(sequence).is_some_and(record::Attempt::is_open) {
            return broken(LAW, format!("task {sequence} has ended, but is still in a queue"));
        }
    }
    Ok(())
}

impl Batch {
    fn read(events: &[Value]) -> Self {
        let mut batch = Self::default();
        for event in events {
            batch.revived |= event == "revived";
            batch.asked |= event.get("asked").is_some();
            if let Some(status) = event["ended"]["t"].as_str() {
                batch.ended = Some(status.to_owned());
            }
            if event["closed"]["t"] == "SKIPPED" {
                batch.skipped.extend(number(&event["closed"], "s"));
            }
        }
        batch
    }
}

pub(crate) fn number(value: &Value, key: &str) -> Option<u32> {
    value[key].as_u64().and_then(|number| u32::try_from(number).ok())
}
