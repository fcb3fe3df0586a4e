//! Scripts, programs and schemas that are made to take for ever: each must end soon after its limit.
//! And tasks that are made to connect where nothing may connect to.

mod javascript;
mod jq;
mod outgoing;
mod schema;

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Time that an evaluation may take.
const LIMIT: Duration = Duration::from_millis(100);
/// How long after that it may end: what does not end does not end by then either, and on a busy machine
/// all else does.
const SLACK: Duration = Duration::from_secs(40);

/// What an evaluation answers on a thread of its own; `None` if it does not end in time.
fn in_time<T: Send + 'static>(evaluate: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = channel();
    thread::spawn(move || {
        let _ = tell.send(evaluate());
    });
    match told.recv_timeout(LIMIT + SLACK) {
        Ok(answer) => Some(answer),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => panic!("the evaluation panicked"),
    }
}
