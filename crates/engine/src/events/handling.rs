//! One handling: what one action of one handler makes of one message, as a line of a ledger.

use std::sync::Arc;

use kernel::definition::EventHandler;
use kernel::{Json, Record, TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::broker::EventMessage;
use crate::engine::Engine;
use crate::search::RecordSearch;
use crate::store::StoreError;

/// The ledger of handlings. Its subjects are the handlers' names.
pub const LEDGER: &str = "event";

/// How a handling stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    InProgress,
    Completed,
    Failed,
    Skipped,
}

impl Standing {
    const ALL: [Self; 4] = [Self::InProgress, Self::Completed, Self::Failed, Self::Skipped];

    fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Skipped => "SKIPPED",
        }
    }
}

/// A handling.
#[derive(Clone, Debug)]
pub(super) struct Handling {
    key: String,
    handler: Arc<str>,
    at: Timestamp,
    pub(super) standing: Standing,
    body: Body,
}

/// What the ledger keeps beside its own columns.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    message_id: String,
    event: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    #[serde(default)]
    output: Map<String, Value>,
    /// What the action was found to be about, so that it is about nothing else when repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Value>,
}

impl Handling {
    /// A handling that begins.
    pub(super) fn new(
        handler: &str,
        index: usize,
        message: &EventMessage,
        action: Option<&str>,
        at: Timestamp,
    ) -> Self {
        Self {
            key: key_of(handler, index, message),
            handler: handler.into(),
            at,
            standing: Standing::InProgress,
            body: Body {
                message_id: message.id.clone(),
                event: message.event.to_string(),
                action: action.map(str::to_owned),
                output: Map::new(),
                target: None,
            },
        }
    }

    /// Whether the handler as a whole was found to have nothing to do.
    pub(super) fn is_undone(&self) -> bool {
        self.body.action.is_none()
    }

    /// The task that was found to be meant.
    pub(super) fn task(&self) -> Option<TaskId> {
        TaskId::parse(self.body.target.as_ref()?.as_str()?)
    }

    /// What was found before.
    pub(super) fn target(&self) -> Option<&Value> {
        self.body.target.as_ref()
    }

    pub(super) fn set_target(&mut self, target: Value) {
        self.body.target = Some(target);
    }

    /// The handling as it ended.
    pub(super) fn ended(mut self, standing: Standing, output: Map<String, Value>) -> Self {
        self.standing = standing;
        self.body.output = output;
        self
    }

    fn record(&self) -> Record {
        Record {
            ledger: LEDGER,
            key: self.key.as_str().into(),
            subject: self.handler.clone(),
            at: self.at,
            status: self.standing.as_str().into(),
            body: Json::of(&self.body),
        }
    }

    fn from_record(record: &Record) -> Option<Self> {
        let standing = Standing::ALL.into_iter().find(|s| s.as_str() == &*record.status)?;
        Some(Self {
            key: record.key.to_string(),
            handler: record.subject.clone(),
            at: record.at,
            standing,
            body: serde_json::from_str(record.body.text()).ok()?,
        })
    }
}

/// Names a handling over all messages.
fn key_of(handler: &str, index: usize, message: &EventMessage) -> String {
    format!("{}_{index}/{handler}", message.id)
}

impl Engine {
    /// Writes a handling as it stands.
    pub(super) async fn remember(&self, handling: &Handling) -> Result<(), StoreError> {
        self.inner.store.put_records(vec![handling.record()]).await
    }

    /// Reads how a handler's handlings of a message stand, by the actions' places.
    pub(super) async fn recall(
        &self,
        handler: &str,
        actions: usize,
        message: &EventMessage,
    ) -> Result<Vec<Option<Handling>>, StoreError> {
        let keys: Vec<String> = (0..actions).map(|at| key_of(handler, at, message)).collect();
        let search = RecordSearch {
            keys: keys.clone(),
            size: keys.len() as u64,
            ..RecordSearch::newest(LEDGER)
        };
        let page = self.inner.store.records(&search).await?;
        let mut found: Vec<Handling> = page.rows.iter().filter_map(Handling::from_record).collect();
        let by_key = keys.iter().map(|key| {
            let at = found.iter().position(|handling| handling.key == *key)?;
            Some(found.swap_remove(at))
        });
        Ok(by_key.collect())
    }

    /// Remembers that a handler did nothing about a message, and why.
    pub(super) async fn remember_undone(
        &self,
        handler: &EventHandler,
        message: &EventMessage,
        standing: Standing,
        output: Map<String, Value>,
    ) -> Result<(), StoreError> {
        let handling = Handling::new(&handler.name, 0, message, None, self.now());
        self.remember(&handling.ended(standing, output)).await
    }
}
