//! The port through which the engine learns the time.

use kernel::Timestamp;

/// Tells the time. Waiting is tokio's: a test that pauses tokio's clock gives a clock that follows.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        jiff::Timestamp::now().into()
    }
}
