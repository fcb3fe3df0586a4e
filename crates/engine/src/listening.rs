//! Since when senders have been able to tell the server how things are: neither was the machine
//! asleep, nor the clock set forward, nor did the store refuse what they sent.

use kernel::Timestamp;
use parking_lot::Mutex;

use crate::clock::{Clock, ClockEvent, ClockWatch};
use crate::engine::Engine;
use crate::watchdog::UNNOTICED;

/// See the module.
pub(crate) struct Listening {
    state: Mutex<(ClockWatch, Timestamp)>,
    /// Whether somebody looks every second, so that a long pause between two looks means something.
    looks_often: bool,
}

impl Listening {
    /// The server begins to listen now.
    pub(crate) fn new(clock: &dyn Clock, looks_often: bool) -> Self {
        let state = Mutex::new((ClockWatch::new(clock, UNNOTICED), clock.now()));
        Self { state, looks_often }
    }

    /// Since when the server has listened; now, while the store fails.
    fn since(&self, clock: &dyn Clock, store_fails: bool) -> Timestamp {
        let (watch, since) = &mut *self.state.lock();
        let was_away = match watch.look(clock) {
            Some(ClockEvent::SetForward(_)) => true,
            Some(ClockEvent::Stalled(_)) => self.looks_often,
            Some(ClockEvent::SetBack(_)) | None => false,
        };
        let now = clock.now();
        // Nobody began to listen in the future: the clock was set back since.
        *since = if was_away || store_fails { now } else { now.min(*since) };
        *since
    }
}

impl Engine {
    /// Since when senders have been able to tell the server how things are. Every decision about
    /// alerts asks, not only the watchdog: a timer that fires right after the machine slept comes
    /// before the watchdog's next look.
    pub(crate) fn listening_since(&self) -> Timestamp {
        let inner = &self.inner;
        inner.listening.since(&*inner.clock, inner.vitals.is_failing())
    }
}
