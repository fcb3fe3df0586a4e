//! Machines in memory: one slot each, so that whoever acts on a machine does so alone.
//!
//! What has ended stays for a while too, for its end is what most readers ask for; it goes first when
//! room is needed, and takes no more than a part of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kernel::ExecutionId;
use parking_lot::Mutex;

use crate::machine::AnyMachine;
use crate::pending_claims::Unwritten;
use crate::step::Inbox;

/// A machine in memory, or the place where it will be.
#[derive(Default)]
pub(crate) struct Slot {
    /// The state at `version`; `None` = to be loaded.
    pub(crate) state: Option<AnyMachine>,
    /// Commits so far.
    pub(crate) version: u64,
    /// Roughly the bytes of the history behind the state.
    pub(crate) bytes: usize,
    /// How many of them are the snapshot that the history begins with.
    pub(crate) snapshot_bytes: usize,
    /// The machine was begun by this process: nothing of before is in it.
    pub(crate) is_of_this_life: bool,
    /// The store was asked for it, or has it.
    pub(crate) is_known: bool,
    /// The store was not asked whether there is one already: the first commit will tell.
    pub(crate) is_presumed_new: bool,
    /// The state holds decisions that the next commit is to make durable.
    pub(crate) is_ahead: bool,
    /// What the state holds beyond `version`.
    pub(crate) unwritten: Option<Unwritten>,
}

impl Slot {
    /// Takes the machine for one that does not exist yet.
    pub(crate) fn presume_new(&mut self, id: &ExecutionId) {
        self.state = Some(AnyMachine::new(id.clone()));
        (self.version, self.bytes, self.snapshot_bytes) = (0, 0, 0);
        self.is_presumed_new = true;
    }
}

/// A slot, and the inputs that wait for it.
#[derive(Default)]
pub(crate) struct Cell {
    slot: tokio::sync::Mutex<Slot>,
    pub(crate) inbox: Inbox,
    /// The store may have lost the machine since its state was read.
    is_doubtful: AtomicBool,
}

impl Cell {
    /// Takes the slot; who holds it acts alone.
    pub(crate) async fn lock(&self) -> tokio::sync::MutexGuard<'_, Slot> {
        let mut slot = self.slot.lock().await;
        // Somebody was stopped between a decision and its commit, or the machine was removed.
        let is_doubtful = self.is_doubtful.swap(false, Ordering::AcqRel);
        if std::mem::take(&mut slot.is_ahead) || is_doubtful {
            (slot.state, slot.is_known) = (None, true);
        }
        slot
    }
}

impl Cell {
    /// What `look` sees in the state as it was committed last; `None` if it is not in memory, or in use.
    pub(crate) fn glance<R>(&self, look: impl FnOnce(&AnyMachine) -> R) -> Option<R> {
        if self.is_doubtful.load(Ordering::Acquire) {
            return None;
        }
        let slot = self.slot.try_lock().ok().filter(|slot| !slot.is_ahead)?;
        slot.state.as_ref().filter(|state| state.exists()).map(look)
    }
}

/// A slot with several holders.
pub(crate) type Shared = Arc<Cell>;

/// All slots.
pub(crate) struct Cache {
    inner: Mutex<Inner>,
    bytes_max: usize,
}

#[derive(Default)]
struct Inner {
    slots: HashMap<ExecutionId, Entry>,
    /// Those that are open or empty, by their last use.
    open: BTreeMap<u64, ExecutionId>,
    /// Those that have ended, by their last use.
    ended: BTreeMap<u64, ExecutionId>,
    uses: u64,
    bytes: usize,
    ended_bytes: usize,
}

struct Entry {
    slot: Shared,
    used: u64,
    bytes: usize,
    has_ended: bool,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { inner: Mutex::default(), bytes_max }
    }

    /// The slot of a machine.
    pub(crate) fn slot(&self, id: &ExecutionId) -> Shared {
        let mut inner = self.inner.lock();
        match inner.use_again(id) {
            Some(slot) => slot,
            None => inner.insert(id.clone(), Shared::default()),
        }
    }

    /// The slot of a machine that is in memory; whoever looks at it does not keep it there for longer.
    pub(crate) fn peek(&self, id: &ExecutionId) -> Option<Shared> {
        self.inner.lock().slots.get(id).map(|entry| entry.slot.clone())
    }

    /// Makes the slot of a machine whose id was drawn just now, so that nobody asks the store for it.
    pub(crate) fn insert_new(&self, id: &ExecutionId) {
        let mut slot = Slot { is_of_this_life: true, ..Slot::default() };
        slot.presume_new(id);
        (slot.is_known, slot.is_presumed_new) = (true, false);
        let cell = Cell { slot: tokio::sync::Mutex::new(slot), ..Cell::default() };
        self.inner.lock().insert(id.clone(), Arc::new(cell));
    }

    /// Notes how much a slot holds after use, and lets go of those used longest ago if all hold too
    /// much: first of those that have ended.
    pub(crate) fn keep(&self, id: &ExecutionId, bytes: usize, has_ended: bool) {
        let mut inner = self.inner.lock();
        // Even of a short history the state takes room.
        inner.weigh(id, bytes + STATE_BYTES, has_ended);
        while inner.ended_bytes > self.bytes_max / ENDED_SHARE {
            if !inner.drop_idle(true) {
                break;
            }
        }
        while inner.bytes > self.bytes_max {
            if !inner.drop_idle(true) && !inner.drop_idle(false) {
                break;
            }
        }
    }

    /// Lets go of a slot; whoever still holds it keeps it, later comers get a new one only after
    /// the last holder has gone.
    pub(crate) fn release(&self, id: &ExecutionId) {
        self.inner.lock().release(id);
    }

    /// Machines were removed from the store, perhaps: who uses one reads it again.
    pub(crate) fn forget(&self, ids: &[ExecutionId]) {
        let mut inner = self.inner.lock();
        for id in ids {
            drop(inner.forget(id));
        }
    }

    /// Some of those that have ended were removed from the store. What is in use may be one of them
    /// that was read just before.
    pub(crate) fn forget_ended(&self) {
        let mut inner = self.inner.lock();
        let in_use = inner.slots.iter().filter(|(_, entry)| Arc::strong_count(&entry.slot) > 1);
        in_use.for_each(|(_, entry)| entry.slot.is_doubtful.store(true, Ordering::Release));
        let ended: Vec<_> = inner.ended.values().cloned().collect();
        let gone: Vec<_> = ended.iter().map(|id| inner.forget(id)).collect();
        drop(inner);
        // Large states are freed while nobody waits for the lock.
        drop(gone);
    }

    /// Machines in memory, and places where one was looked for lately.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().slots.len()
    }
}

/// What a state takes besides its payloads, about.
const STATE_BYTES: usize = 4 << 10;

/// What a slot takes in which there is no machine, about.
const EMPTY_BYTES: usize = 512;

/// What has ended takes at most one part in so many of the room.
const ENDED_SHARE: usize = 2;

/// Idle slots are looked for among this many of those used longest ago.
const LOOK_MAX: usize = 64;

impl Inner {
    fn use_again(&mut self, id: &ExecutionId) -> Option<Shared> {
        let entry = self.slots.get_mut(id)?;
        self.uses += 1;
        let before = std::mem::replace(&mut entry.used, self.uses);
        let list = if entry.has_ended { &mut self.ended } else { &mut self.open };
        let id = list.remove(&before).unwrap_or_else(|| id.clone());
        list.insert(self.uses, id);
        Some(entry.slot.clone())
    }

    fn insert(&mut self, id: ExecutionId, slot: Shared) -> Shared {
        self.uses += 1;
        let used = self.uses;
        let entry = Entry { slot: slot.clone(), used, bytes: EMPTY_BYTES, has_ended: false };
        self.bytes += EMPTY_BYTES;
        self.open.insert(used, id.clone());
        self.slots.insert(id, entry);
        slot
    }

    fn weigh(&mut self, id: &ExecutionId, bytes: usize, has_ended: bool) {
        let Some(entry) = self.slots.get_mut(id) else { return };
        let before = std::mem::replace(&mut entry.bytes, bytes);
        let had_ended = std::mem::replace(&mut entry.has_ended, has_ended);
        self.bytes = self.bytes + bytes - before;
        if had_ended {
            self.ended_bytes -= before;
        }
        if has_ended {
            self.ended_bytes += bytes;
        }
        match (had_ended, has_ended) {
            (false, true) => {
                let id = self.open.remove(&entry.used).unwrap_or_else(|| id.clone());
                self.ended.insert(entry.used, id);
            }
            (true, false) => {
                let id = self.ended.remove(&entry.used).unwrap_or_else(|| id.clone());
                self.open.insert(entry.used, id);
            }
            _ => {}
        }
    }

    /// Lets go of the slot used longest ago that nobody uses now; `false` if there is none. One in
    /// use stays, and goes with a later call.
    fn drop_idle(&mut self, has_ended: bool) -> bool {
        let list = if has_ended { &self.ended } else { &self.open };
        let is_idle = |id: &&ExecutionId| {
            self.slots.get(*id).is_some_and(|entry| Arc::strong_count(&entry.slot) == 1)
        };
        let idle = list.values().take(LOOK_MAX).find(is_idle).cloned();
        idle.and_then(|id| self.drop_slot(&id)).is_some()
    }

    fn release(&mut self, id: &ExecutionId) {
        // Two: the cache's own and the caller's.
        if self.slots.get(id).is_some_and(|entry| Arc::strong_count(&entry.slot) <= 2) {
            drop(self.drop_slot(id));
        }
    }

    /// Lets go of an idle slot, and has the state of one in use read again by who comes next.
    fn forget(&mut self, id: &ExecutionId) -> Option<Shared> {
        let entry = self.slots.get(id)?;
        if Arc::strong_count(&entry.slot) == 1 {
            return self.drop_slot(id);
        }
        entry.slot.is_doubtful.store(true, Ordering::Release);
        None
    }

    fn drop_slot(&mut self, id: &ExecutionId) -> Option<Shared> {
        let entry = self.slots.remove(id)?;
        let list = if entry.has_ended { &mut self.ended } else { &mut self.open };
        list.remove(&entry.used);
        self.bytes -= entry.bytes;
        if entry.has_ended {
            self.ended_bytes -= entry.bytes;
        }
        Some(entry.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ExecutionId {
        ExecutionId::new(format!("00000000-0000-7000-8000-{number:012}"))
    }

    #[test]
    fn what_has_ended_goes_first_and_takes_only_its_part() {
        let cache = Cache::new(16 * STATE_BYTES);
        for number in 0..8 {
            drop(cache.slot(&id(number)));
            cache.keep(&id(number), 0, false);
        }
        for number in 100..120 {
            drop(cache.slot(&id(number)));
            cache.keep(&id(number), 0, true);
        }
        assert_eq!((open(&cache), cache.inner.lock().ended.len()), (8, 8));
        assert!(cache.inner.lock().slots.contains_key(&id(119)), "the last to end is still there");
        for number in 8..16 {
            drop(cache.slot(&id(number)));
            cache.keep(&id(number), 0, false);
        }
        assert_eq!((open(&cache), cache.inner.lock().ended.len()), (16, 0));
        assert_eq!(cache.inner.lock().bytes, 16 * STATE_BYTES);
    }

    fn open(cache: &Cache) -> usize {
        cache.inner.lock().open.len()
    }

    #[tokio::test]
    async fn what_was_removed_while_in_use_is_read_again() {
        let cache = Cache::new(1 << 20);
        let held = cache.slot(&id(1));
        held.lock().await.presume_new(&id(1));
        cache.keep(&id(1), 0, true);
        cache.forget_ended();
        let later = cache.slot(&id(1));
        assert!(Arc::ptr_eq(&held, &later), "one slot for all who use it");
        assert!(later.lock().await.state.is_none());
        drop((held, later));
        cache.forget(&[id(1)]);
        assert_eq!(cache.len(), 0);
        let inner = cache.inner.lock();
        assert_eq!((inner.bytes, inner.ended_bytes), (0, 0));
    }
}
