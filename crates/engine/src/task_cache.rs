//! Outputs of tasks that later runs of the same work may use again, in memory.
//!
//! They are not durable: after a restart the work is done once more, which is what a cache may cost.
//! What an execution took from here is recorded in its history. Entries and bytes are bounded; the
//! entry that expires soonest goes first.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kernel::{CachedOutput, Json, Timestamp};
use parking_lot::Mutex;

/// Entries kept.
const ENTRIES_MAX: usize = 10_000;
/// Bytes of keys and outputs kept.
const BYTES_MAX: usize = 32 << 20;

type Key = (Arc<str>, Arc<str>);

/// The outputs, by task name and key.
#[derive(Default)]
pub(crate) struct Outputs {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Key, (Json, Timestamp)>,
    by_end: BTreeSet<(Timestamp, Key)>,
    bytes: usize,
}

impl Outputs {
    /// Keeps an output; a newer one of the same work takes its place.
    pub(crate) fn keep(&self, left: CachedOutput, now: Timestamp) {
        let key = (left.name, left.key);
        let mut inner = self.inner.lock();
        inner.remove(&key);
        if left.until <= now || size(&key, &left.output) > BYTES_MAX / 4 {
            return;
        }
        inner.bytes += size(&key, &left.output);
        inner.by_end.insert((left.until, key.clone()));
        inner.entries.insert(key, (left.output, left.until));
        while inner.entries.len() > ENTRIES_MAX || inner.bytes > BYTES_MAX {
            let Some((_, first)) = inner.by_end.first().cloned() else { return };
            inner.remove(&first);
        }
    }

    /// An output that may still be used.
    pub(crate) fn get(&self, name: &str, key: &str, now: Timestamp) -> Option<Json> {
        let key = (Arc::from(name), Arc::from(key));
        let inner = self.inner.lock();
        let (output, until) = inner.entries.get(&key)?;
        (*until > now).then(|| output.clone())
    }
}

impl Inner {
    fn remove(&mut self, key: &Key) {
        if let Some((output, until)) = self.entries.remove(key) {
            self.bytes -= size(key, &output);
            self.by_end.remove(&(until, key.clone()));
        }
    }
}

fn size(key: &Key, output: &Json) -> usize {
    key.0.len() + key.1.len() + output.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(key: &str, bytes: usize, until: i64) -> CachedOutput {
        let output = Json::of(&"x".repeat(bytes));
        let until = Timestamp::from_millis(until);
        CachedOutput { name: "t".into(), key: key.into(), output, until }
    }

    #[test]
    fn outputs_expire_and_are_bounded() {
        let outputs = Outputs::default();
        let at = Timestamp::from_millis;
        outputs.keep(left("a", 1, 100), at(0));
        outputs.keep(left("a", 2, 50), at(0));
        assert_eq!(outputs.get("t", "a", at(49)).map(|o| o.len()), Some(4), "the newer one");
        assert_eq!(outputs.get("t", "a", at(50)), None, "its time is over");
        assert_eq!(outputs.get("u", "a", at(0)), None, "another task's");
        outputs.keep(left("big", BYTES_MAX, 100), at(0));
        assert_eq!(outputs.get("t", "big", at(0)), None, "it would push out all others");
        for number in 0..ENTRIES_MAX as i64 + 5 {
            outputs.keep(left(&number.to_string(), 1, 1000 + number), at(0));
        }
        assert_eq!(outputs.inner.lock().entries.len(), ENTRIES_MAX);
        assert_eq!(outputs.get("t", "0", at(0)), None, "the soonest to expire went");
        for number in 0..8 {
            outputs.keep(left(&number.to_string(), BYTES_MAX / 5, 9000 + number), at(0));
        }
        let inner = outputs.inner.lock();
        assert!(inner.bytes <= BYTES_MAX);
        assert_eq!(inner.entries.len(), inner.by_end.len());
    }
}
