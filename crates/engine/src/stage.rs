//! The stage: virtual time for the engine that ships, on one thread.
//!
//! Tokio's clock is paused, so time passes only when nothing else is to be done, and then at once to
//! whatever is due next. The order of all steps follows from what happens: two runs are the same.
//! The simulation and `nightbell test` stand on it.

use std::future::Future;

use kernel::{ExecutionId, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock::Clock;

/// A wall clock that follows tokio's while a process lives, and stands still while none does.
pub struct VirtualClock(Mutex<(Timestamp, Option<Instant>)>);

impl VirtualClock {
    /// One that begins at an instant.
    pub fn new(start: Timestamp) -> Self {
        Self(Mutex::new((start, None)))
    }

    /// A process begins; called within [`in_virtual_time`].
    pub fn begin(&self) {
        self.0.lock().1 = Some(Instant::now());
    }

    /// The process has ended; the next one begins after so many milliseconds.
    pub fn end(&self, pause: i64) {
        let now = self.now();
        *self.0.lock() = (now.plus_millis(pause), None);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let (base, begun) = *self.0.lock();
        let elapsed = begun.map_or(0, |begun| begun.elapsed().as_millis());
        base.plus_millis(i64::try_from(elapsed).unwrap_or(i64::MAX))
    }
}

/// Runs what a process does, to its end, in virtual time; whatever it has left behind is dropped then.
/// Blocks the thread, and must not be called where tokio runs already.
pub fn in_virtual_time<T>(process: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing of the system");
    runtime.block_on(process)
}

/// The id of what a test starts: the same for a name each time.
pub fn id_of(name: &str) -> ExecutionId {
    ExecutionId::new(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string())
}
