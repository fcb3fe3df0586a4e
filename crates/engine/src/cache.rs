//! Machines in memory: one slot each, so that whoever acts on an execution does so alone.
//!
//! A slot outlives its use only while the execution is open and there is room; what has ended
//! costs disk, not memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kernel::ExecutionId;
use parking_lot::Mutex;

use crate::claims::Unwritten;
use crate::hosted::Hosted;

/// An execution in memory, or the place where it will be.
#[derive(Default)]
pub(crate) struct Slot {
    /// The state at `version`; `None` = to be loaded.
    pub(crate) state: Option<Hosted>,
    /// Commits so far.
    pub(crate) version: u64,
    /// Roughly the bytes of the history behind the state.
    pub(crate) bytes: usize,
    /// How many of them are the snapshot that the history begins with.
    pub(crate) snapshot_bytes: usize,
    /// The execution was begun by this process: nothing of before is in it.
    pub(crate) is_of_this_life: bool,
    /// What the state holds beyond `version`.
    pub(crate) unwritten: Option<Unwritten>,
}

/// Who holds it acts alone.
pub(crate) type Shared = Arc<tokio::sync::Mutex<Slot>>;

/// All slots.
pub(crate) struct Cache {
    inner: Mutex<Inner>,
    bytes_max: usize,
}

#[derive(Default)]
struct Inner {
    slots: HashMap<ExecutionId, Entry>,
    by_use: BTreeMap<u64, ExecutionId>,
    uses: u64,
    bytes: usize,
}

struct Entry {
    slot: Shared,
    used: u64,
    bytes: usize,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { inner: Mutex::default(), bytes_max }
    }

    /// The slot of an execution.
    pub(crate) fn slot(&self, id: &ExecutionId) -> Shared {
        let mut inner = self.inner.lock();
        inner.uses += 1;
        let used = inner.uses;
        if let Some(entry) = inner.slots.get_mut(id) {
            let (slot, before) = (entry.slot.clone(), std::mem::replace(&mut entry.used, used));
            inner.by_use.remove(&before);
            inner.by_use.insert(used, id.clone());
            return slot;
        }
        let slot = Shared::default();
        let entry = Entry { slot: slot.clone(), used, bytes: 0 };
        inner.slots.insert(id.clone(), entry);
        inner.by_use.insert(used, id.clone());
        slot
    }

    /// Notes how much a slot holds, and lets go of those used longest ago if all hold too much.
    pub(crate) fn weigh(&self, id: &ExecutionId, bytes: usize) {
        let mut inner = self.inner.lock();
        let Some(entry) = inner.slots.get_mut(id) else { return };
        // Even of a short history the state takes room.
        let bytes = bytes + STATE_BYTES;
        let before = std::mem::replace(&mut entry.bytes, bytes);
        inner.bytes = inner.bytes + bytes - before;
        while inner.bytes > self.bytes_max {
            // One in use stays; it is let go by a later call.
            let idle = inner
                .by_use
                .values()
                .take(LOOK_MAX)
                .find(|id| inner.slots.get(*id).is_some_and(|e| Arc::strong_count(&e.slot) == 1))
                .cloned();
            match idle {
                Some(id) => inner.drop_slot(&id),
                None => return,
            }
        }
    }

    /// Lets go of a slot; whoever still holds it keeps it, later comers get a new one only after
    /// the last holder has gone.
    pub(crate) fn release(&self, id: &ExecutionId) {
        let mut inner = self.inner.lock();
        // Two: the cache's own and the caller's.
        if inner.slots.get(id).is_some_and(|entry| Arc::strong_count(&entry.slot) <= 2) {
            inner.drop_slot(id);
        }
    }

    /// Slots in memory.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().slots.len()
    }
}

/// What a state takes besides its payloads, about.
const STATE_BYTES: usize = 4 << 10;

/// Idle slots are looked for among this many of those used longest ago.
const LOOK_MAX: usize = 64;

impl Inner {
    fn drop_slot(&mut self, id: &ExecutionId) {
        if let Some(entry) = self.slots.remove(id) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}
