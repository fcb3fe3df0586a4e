//! What survives a crash: histories as text, queue rows, messages on their way, instants to wake.
//!
//! As simple as a store can be, because here it is never what is doubted.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::graph::{Event, Execution, Plan};
use kernel::{ExecutionId, Machine, Timestamp};
use serde::de::DeserializeOwned;

/// One execution as stored.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// One JSON array of events per commit.
    pub history: Vec<String>,
    /// Commits so far.
    pub version: u64,
    /// When time alone may change it.
    pub wake_at: Option<Timestamp>,
}

/// A task in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The queue.
    pub queue: Arc<str>,
    /// Not handed out before.
    pub ready_at: Timestamp,
    /// Somebody holds it.
    pub held: bool,
}

/// Names a task across executions.
pub type TaskKey = (ExecutionId, u32);

/// Names a message: the sender, and its number there.
pub type MessageKey = (ExecutionId, u64);

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Orders all messages by their commits.
    pub order: u64,
    /// The receiver.
    pub to: ExecutionId,
    /// The message as JSON.
    pub body: String,
}

/// The store.
#[derive(Debug, Default)]
pub struct Store {
    /// Executions.
    pub executions: BTreeMap<ExecutionId, Stored>,
    /// Plans by their hash, as text.
    pub plans: BTreeMap<Arc<str>, Arc<str>>,
    /// Tasks in queues.
    pub rows: BTreeMap<TaskKey, Row>,
    /// Messages on their way.
    pub outbox: BTreeMap<MessageKey, Outgoing>,
    /// Commits of all executions.
    pub commits: u64,
    compiled: BTreeMap<Arc<str>, Arc<Plan>>,
}

impl Store {
    /// Folds an execution from its history.
    ///
    /// # Errors
    /// The history does not parse, or names a plan that is not there.
    pub fn fold(&mut self, id: &ExecutionId) -> Result<Execution, String> {
        let mut state = Execution::new(id.clone());
        let history = self.executions.get(id).map(|stored| stored.history.clone());
        for text in history.unwrap_or_default() {
            let mut events: Vec<Event> = serde_json::from_str(&text)
                .map_err(|error| format!("history does not parse: {error}: {text}"))?;
            for event in &mut events {
                if let Event::Started(started) = event {
                    let hash = started.plan.hash.clone();
                    started.plan.plan = Some(self.plan(&hash)?);
                }
                state.apply(event);
            }
        }
        Ok(state)
    }

    /// Folds a machine from its history, beginning with one that knows nothing.
    ///
    /// # Errors
    /// The history does not parse.
    pub fn fold_into<M>(&self, id: &ExecutionId, mut state: M) -> Result<M, String>
    where
        M: Machine,
        M::Event: DeserializeOwned,
    {
        for text in self.executions.get(id).map_or(&[][..], |stored| &stored.history) {
            let events: Vec<M::Event> = serde_json::from_str(text)
                .map_err(|error| format!("history does not parse: {error}: {text}"))?;
            for event in &events {
                state.apply(event);
            }
        }
        Ok(state)
    }

    /// A message goes out with a commit of its sender, as the `nth` of it; what it is called.
    pub fn send(
        &mut self,
        (from, version): (&ExecutionId, u64),
        nth: usize,
        to: &ExecutionId,
        body: String,
    ) -> MessageKey {
        let key = (from.clone(), (version << 20) + nth as u64);
        let order = self.commits << 20 | nth as u64;
        self.outbox.insert(key.clone(), Outgoing { order, to: to.clone(), body });
        key
    }

    fn plan(&mut self, hash: &Arc<str>) -> Result<Arc<Plan>, String> {
        if let Some(plan) = self.compiled.get(hash) {
            return Ok(plan.clone());
        }
        let text = self.plans.get(hash).ok_or("a history names a plan that is not stored")?;
        let plan = Plan::from_text(text.clone()).map_err(|error| error.to_string())?;
        let plan = Arc::new(plan);
        self.compiled.insert(hash.clone(), plan.clone());
        Ok(plan)
    }
}
