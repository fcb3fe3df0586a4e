//! A script that takes long gives its thread's place in the server to another.
//!
//! Scripts run within decisions, on the threads that serve everything. Nearly all end within
//! microseconds, so moving each to a thread of its own would cost more than the script; but a
//! handful that run to their limit would occupy every thread, and the server would be silent.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

/// How long a script may hold a place.
const LONG: Duration = Duration::from_millis(10);
/// How long the place is left empty: enough for another thread to take it.
const HANDOVER: Duration = Duration::from_millis(1);

/// One script's stay on its thread.
#[derive(Debug, Default)]
pub(crate) struct Stay(Cell<Option<Instant>>);

impl Stay {
    /// No stay yet; for thread-local places.
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// The script begins.
    pub(crate) fn begin(&self) {
        self.0.set(Some(Instant::now() + LONG));
    }

    /// To be asked now and then while the script runs: gives way once, when it has taken long.
    pub(crate) fn look(&self, now: Instant) {
        if self.0.get().is_some_and(|at| now >= at) {
            self.0.set(None);
            give_way();
        }
    }
}

#[cold]
fn give_way() {
    let served = Handle::try_current()
        .is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if served {
        // The runtime lets another thread take over while this one blocks; this one goes on with
        // the script and leaves when it is done.
        tokio::task::block_in_place(|| std::thread::sleep(HANDOVER));
    }
}
