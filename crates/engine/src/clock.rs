//! The port through which the engine learns the time, and what tells that the wall clock was set or
//! that the machine slept.

use std::time::Duration;

use kernel::Timestamp;
use tokio::time::Instant;

/// Tells the time. Waiting is tokio's: a test that pauses tokio's clock gives a clock that follows.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// Time since the machine started, also that in which it slept; nobody can set it. `None` where
    /// there is no such clock: tokio's stands for it then, which stands still while a machine sleeps.
    fn since_boot(&self) -> Option<Duration> {
        None
    }

    /// The present instant without what was skipped on purpose, which is no news to anybody.
    fn wall(&self) -> Timestamp {
        self.now()
    }
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        jiff::Timestamp::now().into()
    }

    #[cfg(target_os = "linux")]
    fn since_boot(&self) -> Option<Duration> {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
    }
}

/// What happened to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockEvent {
    /// It was set forward by so much.
    SetForward(Duration),
    /// It was set back by so much.
    SetBack(Duration),
    /// The server did not run for so long: the machine slept, or gave it no time.
    Stalled(Duration),
}

impl ClockEvent {
    /// Its name in metrics and ledgers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SetForward(_) => "forward",
            Self::SetBack(_) => "back",
            Self::Stalled(_) => "stalled",
        }
    }
}

impl std::fmt::Display for ClockEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = |span: &Duration| span.as_secs_f64().round();
        match self {
            Self::SetForward(by) => write!(f, "the clock was set forward by {} s", seconds(by)),
            Self::SetBack(by) => write!(f, "the clock was set back by {} s", seconds(by)),
            Self::Stalled(by) => write!(
                f,
                "the server did not run for {} s: the machine slept, or gave it no time",
                seconds(by)
            ),
        }
    }
}

/// Compares the wall clock with one that nobody can set, each time that it is asked.
pub(crate) struct ClockWatch {
    wall: Timestamp,
    boot: Option<Duration>,
    waited: Instant,
    /// How far the clocks may go apart from one look to the next.
    unnoticed: Duration,
}

/// A look that comes later than this was held up.
const STALLED_MIN: Duration = Duration::from_secs(10);

impl ClockWatch {
    pub(crate) fn new(clock: &dyn Clock, unnoticed: Duration) -> Self {
        let (wall, boot) = (clock.wall(), clock.since_boot());
        Self { wall, boot, waited: Instant::now(), unnoticed }
    }

    /// What happened since the last look; the clock's being set comes first.
    pub(crate) fn look(&mut self, clock: &dyn Clock) -> Option<ClockEvent> {
        let present = Self::new(clock, self.unnoticed);
        let before = std::mem::replace(self, present);
        let waited = self.waited.duration_since(before.waited);
        let steady = match (self.boot, before.boot) {
            (Some(now), Some(then)) => now.saturating_sub(then),
            _ => waited,
        };
        let steady_millis = i64::try_from(steady.as_millis()).unwrap_or(i64::MAX);
        let set = self.wall.since(before.wall).saturating_sub(steady_millis);
        let by = Duration::from_millis(set.unsigned_abs());
        if by > self.unnoticed {
            return Some(if set > 0 {
                ClockEvent::SetForward(by)
            } else {
                ClockEvent::SetBack(by)
            });
        }
        (steady > STALLED_MIN).then_some(ClockEvent::Stalled(steady))
    }
}
