//! Finds the execution on which the process ends again and again, and sets it aside.
//!
//! While the server runs the store holds a note of it, which a clean end removes. One that is found
//! at the start says that the last end was abnormal: killed, out of memory, aborted. From then on,
//! whenever an execution of before is loaded to be decided on, that is written down first and
//! crossed out after. What is still written down at the next such start was being decided on when
//! the process ended. Such suspects are decided on one at a time, so that none takes the blame for
//! another, and a decision that is committed clears them; one on which the process ended
//! [`ENDS_MAX`] times is quarantined unread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kernel::ExecutionId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

use crate::cache::Slot;
use crate::engine::Engine;
use crate::store::{Document, Store, StoreError};

/// Abnormal ends in a row while an execution was decided on, after which it is quarantined.
const ENDS_MAX: u32 = 3;

/// The note that says that the server runs.
const RUNNING: &str = "server-running";
/// The notes on executions that are decided on.
const DECIDING: &str = "server-deciding";

/// What is known of executions on which the process ended.
#[derive(Default)]
pub(crate) struct Suspects {
    /// The last end was abnormal.
    is_cautious: bool,
    /// Abnormal ends by execution.
    ends: Mutex<BTreeMap<ExecutionId, u32>>,
    /// Quarantined without having been looked at, or as their histories cannot be folded.
    unread: Mutex<BTreeSet<ExecutionId>>,
    /// Whoever decides on a suspect.
    alone: Arc<tokio::sync::Mutex<()>>,
}

/// A note on an execution.
#[derive(Serialize, Deserialize)]
struct Note {
    /// Abnormal ends so far.
    ends: u32,
    /// It is being decided on.
    pending: bool,
}

impl Suspects {
    /// What is quarantined is not looked at from now on.
    pub(crate) fn leave_unread(&self, id: &ExecutionId) {
        self.unread.lock().insert(id.clone());
    }

    /// Reads what the last end left, and notes that the server runs.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn open(store: &dyn Store) -> Result<Self, StoreError> {
        let is_cautious = !store.documents(RUNNING).await?.is_empty();
        let (mut ends, mut changed) = (BTreeMap::new(), Vec::new());
        for document in store.documents(DECIDING).await? {
            let id = ExecutionId::new(&*document.name);
            // A note that cannot be read is one on which the process ended.
            let note =
                serde_json::from_str(&document.text).unwrap_or(Note { ends: 0, pending: true });
            let count = note.ends + u32::from(note.pending);
            if note.pending {
                changed.push(note_on(&id, count, false));
            }
            ends.insert(id, count);
        }
        changed.push(document(RUNNING, "server", "{}"));
        store.put_documents(changed).await?;
        if is_cautious {
            tracing::warn!(
                suspects = ends.len(),
                "the last shutdown was abnormal: executions are recorded before they are decided on"
            );
        }
        Ok(Self { is_cautious, ends: Mutex::new(ends), ..Self::default() })
    }

    /// Whether an execution was set aside without having been looked at.
    pub(crate) fn is_unread(&self, id: &ExecutionId) -> bool {
        self.is_cautious && self.unread.lock().contains(id)
    }
}

/// An execution is written down as being decided on; crossed out at the end, or when this is dropped
/// because nobody waits for the decision any more.
pub(crate) struct Suspicion {
    engine: Engine,
    id: ExecutionId,
    ends: u32,
    has_ended: bool,
    _alone: Option<OwnedMutexGuard<()>>,
}

impl Suspicion {
    /// The process lives on after deciding. `is_cleared`: the decision was committed, and the
    /// execution is no suspect any more.
    pub(crate) async fn end(mut self, is_cleared: bool) {
        if is_cleared {
            self.ends = 0;
            self.engine.inner.suspects.ends.lock().remove(&self.id);
        }
        cross_out(&self.engine, &self.id, self.ends).await;
        self.has_ended = true;
    }
}

impl Drop for Suspicion {
    fn drop(&mut self) {
        if self.has_ended || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (engine, id, ends) = (self.engine.clone(), self.id.clone(), self.ends);
        self.engine.inner.tasks.spawn(async move { cross_out(&engine, &id, ends).await });
    }
}

async fn cross_out(engine: &Engine, id: &ExecutionId, ends: u32) {
    let store = &engine.inner.store;
    let result = match ends {
        0 => store.delete_document(DECIDING, id.as_str(), 0).await.map(drop),
        ends => store.put_document(note_on(id, ends, false)).await,
    };
    if let Err(error) = result {
        tracing::debug!(workflow = %id, %error, "record of a decision could not be removed");
    }
}

impl Engine {
    pub(crate) fn is_quarantined(&self, id: &ExecutionId) -> bool {
        self.inner.quarantine.lock().contains_key(id)
    }

    /// Sets aside the executions on which the process ended too often.
    pub(crate) fn quarantine_suspects(&self) {
        let suspects = &self.inner.suspects;
        for (id, ends) in suspects.ends.lock().iter().filter(|(_, ends)| **ends >= ENDS_MAX) {
            let reason = format!(
                "the server ended abnormally {ends} times while it decided on this workflow, which is \
                 now left alone; terminate or remove it, then see the server's log"
            );
            tracing::error!(workflow = %id, %reason, "execution quarantined without loading it: the process died on it before");
            suspects.unread.lock().insert(id.clone());
            self.inner.quarantine.lock().insert(id.clone(), reason);
        }
    }

    /// Writes down that an execution of before the last start is decided on, if the last end was
    /// abnormal.
    pub(crate) async fn suspect(
        &self,
        id: &ExecutionId,
        slot: &Slot,
    ) -> Result<Option<Suspicion>, StoreError> {
        let suspects = &self.inner.suspects;
        if !suspects.is_cautious || slot.is_of_this_life {
            return Ok(None);
        }
        let ends = suspects.ends.lock().get(id).copied().unwrap_or(0);
        let alone = match ends {
            0 => None,
            _ => Some(suspects.alone.clone().lock_owned().await),
        };
        self.inner.store.put_document(note_on(id, ends, true)).await?;
        let (engine, id) = (self.clone(), id.clone());
        Ok(Some(Suspicion { engine, id, ends, has_ended: false, _alone: alone }))
    }

    /// An execution is ended or gone: it is not quarantined any more.
    pub(crate) async fn release(&self, id: &ExecutionId) {
        let suspects = &self.inner.suspects;
        self.inner.quarantine.lock().remove(id);
        suspects.unread.lock().remove(id);
        if suspects.ends.lock().remove(id).is_some()
            && let Err(error) = self.inner.store.delete_document(DECIDING, id.as_str(), 0).await
        {
            tracing::debug!(workflow = %id, %error, "record of a decision could not be removed");
        }
    }

    /// Notes a clean end: nobody is a suspect but who is quarantined.
    pub(crate) async fn ends_well(&self) {
        let store = &self.inner.store;
        let cleared: Vec<ExecutionId> = {
            let ends = self.inner.suspects.ends.lock();
            let cleared = ends.iter().filter(|(_, ends)| **ends < ENDS_MAX);
            cleared.map(|(id, _)| id.clone()).collect()
        };
        for id in cleared {
            if let Err(error) = store.delete_document(DECIDING, id.as_str(), 0).await {
                tracing::debug!(workflow = %id, %error, "record of a decision could not be removed");
            }
        }
        if let Err(error) = store.delete_document(RUNNING, "server", 0).await {
            tracing::warn!(%error, "clean shutdown could not be recorded; the next start will treat it as abnormal");
        }
    }
}

fn note_on(id: &ExecutionId, ends: u32, pending: bool) -> Document {
    let note = serde_json::to_string(&Note { ends, pending }).expect("a note serializes to JSON");
    document(DECIDING, id.as_str(), &note)
}

fn document(kind: &str, name: &str, text: &str) -> Document {
    Document { kind: kind.into(), name: name.into(), version: 0, text: text.into() }
}
