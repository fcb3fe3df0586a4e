//! What time it is for what tasks do: the machine's clock, unless another stands in for it.

use std::cell::RefCell;
use std::sync::Arc;

use engine::Clock;
use kernel::Timestamp;

thread_local! {
    static STAND_IN: RefCell<Option<Arc<dyn Clock>>> = const { RefCell::new(None) };
}

/// Lets a clock stand in for the machine's on this thread, until the answer is dropped: for tests in
/// virtual time, which run on one thread.
pub fn stand_in(clock: Arc<dyn Clock>) -> StandIn {
    STAND_IN.with(|it| *it.borrow_mut() = Some(clock));
    StandIn(())
}

/// While it lives, a clock stands in for the machine's.
pub struct StandIn(());

impl Drop for StandIn {
    fn drop(&mut self) {
        STAND_IN.with(|it| *it.borrow_mut() = None);
    }
}

/// The present instant.
pub(crate) fn now() -> Timestamp {
    stood_in().unwrap_or_else(|| jiff::Timestamp::now().into())
}

/// The present instant, if another clock stands in for the machine's.
pub(crate) fn stood_in() -> Option<Timestamp> {
    STAND_IN.with(|it| it.borrow().as_ref().map(|clock| clock.now()))
}
