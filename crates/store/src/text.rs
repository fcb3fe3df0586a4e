//! Texts as all stores keep them.

use std::collections::BTreeSet;

use engine::search::words;
use parking_lot::Mutex;

/// A status word for as long as the process lives.
///
/// The protocol's status words are few and constant, so keeping each for ever is bounded.
pub(crate) fn lasting(word: &str) -> &'static str {
    static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut kept = KEPT.lock();
    if let Some(word) = kept.get(word) {
        return word;
    }
    let lasting: &'static str = Box::leak(word.into());
    kept.insert(lasting);
    lasting
}

/// The distinct words of a text, in the form that text indexes take: apart by spaces.
pub(crate) fn distinct_words(text: &str) -> String {
    let mut distinct: Vec<_> = words(text).collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.join(" ")
}
