//! The budget of the jq run on this thread: time, steps, live bytes and stack.
//!
//! The interpreter has no hooks for limits, so they live where its work must pass: in our values
//! (every block of memory carries a [`Charge`]; every walk over children ticks) and in a `__tick`
//! filter woven into every definition
//! of the user, every recursive one of ours, and every comma. Once a limit is hit the run is *tripped*: each
//! further operation fails, so a program cannot `try … catch` its way past a limit, and the
//! constructors that cannot fail (collecting an array) stop taking more.
//!
//! All state is thread-local, because a run never leaves its thread and its values neither.

use crate::limit::TimeLimit;
use std::cell::Cell;

/// Which limit a run has hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trip {
    /// Past the deadline.
    Time,
    /// More steps than allowed.
    Steps,
    /// More live bytes than allowed.
    Bytes,
    /// Recursion used up the stack allowance.
    Stack,
    /// A value nested deeper than [`DEPTH_MAX`].
    Depth,
}

impl Trip {
    /// What the user is told.
    pub(super) fn message(self) -> &'static str {
        match self {
            Trip::Time => "jq program exceeded its time limit",
            Trip::Steps => "jq program exceeded its step limit",
            Trip::Bytes => "jq program exceeded its memory limit",
            Trip::Stack => "jq program recurses too deeply",
            Trip::Depth => "jq program built a value that is nested too deeply",
        }
    }
}

/// Deepest nesting of a value: what the JSON reader of the rest of the engine accepts.
pub(super) const DEPTH_MAX: u8 = 127;

/// Bytes of stack that freeing one closure of a chain takes, generously.
const STACK_PER_CLOSURE: usize = 1024;

/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u32 = 256;

struct Meter {
    /// Bytes of values alive on this thread.
    live: Cell<usize>,
    /// Bound of `live`.
    live_max: Cell<usize>,
    /// Steps until the next look at the clock and at the step budget.
    fuel: Cell<u32>,
    /// Looks left, each worth [`STEPS_PER_LOOK`] steps.
    looks: Cell<u64>,
    deadline: Cell<Option<TimeLimit>>,
    /// Address of a local at the start of the run; the stack grows away from it.
    stack_base: Cell<usize>,
    stack_max: Cell<usize>,
    /// Calls left of definitions that recurse with a filter as argument.
    closures: Cell<usize>,
    trip: Cell<Option<Trip>>,
}

thread_local! {
    static METER: Meter = const {
        Meter {
            live: Cell::new(0),
            live_max: Cell::new(usize::MAX),
            fuel: Cell::new(STEPS_PER_LOOK),
            looks: Cell::new(u64::MAX),
            deadline: Cell::new(None),
            stack_base: Cell::new(0),
            stack_max: Cell::new(usize::MAX),
            closures: Cell::new(usize::MAX),
            trip: Cell::new(None),
        }
    };
}

/// The budget of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// When the run must have ended.
    pub(super) deadline: TimeLimit,
    /// Bytes the run may hold beyond its input.
    pub(super) bytes: usize,
    /// Steps the run may take.
    pub(super) steps: u64,
    /// Bytes of stack the run may use.
    pub(super) stack: usize,
}

/// A metered run; ends when dropped.
pub(super) struct Session(());

impl Session {
    /// Starts metering on this thread. What is alive now (the input) is not counted.
    pub(super) fn start(budget: &Budget) -> Self {
        METER.with(|m| {
            m.live_max.set(m.live.get().saturating_add(budget.bytes));
            m.fuel.set(STEPS_PER_LOOK);
            m.looks.set(budget.steps / u64::from(STEPS_PER_LOOK));
            m.deadline.set(Some(budget.deadline));
            m.stack_base.set(stack_address());
            m.stack_max.set(budget.stack);
            m.closures.set(budget.stack / STACK_PER_CLOSURE);
            m.trip.set(None);
        });
        Session(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        METER.with(|m| {
            m.live_max.set(usize::MAX);
            m.looks.set(u64::MAX);
            m.deadline.set(None);
            m.stack_max.set(usize::MAX);
            m.closures.set(usize::MAX);
            m.trip.set(None);
        });
    }
}

/// Which limit the current run has hit, if any.
pub(super) fn tripped() -> Option<Trip> {
    METER.with(|m| m.trip.get())
}

/// Ends the current run: everything it does from now on fails.
pub(super) fn trip(reason: Trip) {
    METER.with(|m| {
        if m.trip.get().is_none() {
            m.trip.set(Some(reason));
        }
    });
}

/// Counts one step; false if the run is over its limits.
pub(super) fn step() -> bool {
    steps(1)
}

/// Counts `count` steps at once; false if the run is over its limits.
pub(super) fn steps(count: usize) -> bool {
    METER.with(|m| {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        match m.fuel.get().checked_sub(count) {
            Some(fuel) => m.fuel.set(fuel),
            None => m.look(count),
        }
        m.trip.get().is_none()
    })
}

/// Counts one step that may have taken long, and looks at the clock; false if the run is over its
/// limits.
pub(super) fn long_step() -> bool {
    METER.with(Meter::look_at_clock);
    step()
}

/// Like [`step`], and also checks the stack: for places where the program recurses.
pub(super) fn descend() -> bool {
    METER.with(|m| {
        if stack_address().abs_diff(m.stack_base.get()) > m.stack_max.get() {
            trip(Trip::Stack);
        }
    });
    step()
}

/// Like [`descend`], where a definition calls itself with a filter as argument: that makes a chain
/// of closures, which nobody may ever run but which is freed by recursion.
pub(super) fn descend_with_closure() -> bool {
    METER.with(|m| match m.closures.get().checked_sub(1) {
        Some(left) => m.closures.set(left),
        None => trip(Trip::Stack),
    });
    descend()
}

/// Whether `bytes` more may be allocated; trips the run if not.
pub(super) fn may_allocate(bytes: usize) -> bool {
    METER.with(|m| {
        if m.live.get().saturating_add(bytes) > m.live_max.get() {
            trip(Trip::Bytes);
        }
        m.trip.get().is_none()
    })
}

impl Meter {
    #[cold]
    fn look(&self, count: u32) {
        let used = u64::from(count / STEPS_PER_LOOK) + 1;
        self.fuel.set(STEPS_PER_LOOK);
        match self.looks.get() {
            u64::MAX => {}
            looks if looks < used => trip(Trip::Steps),
            looks => self.looks.set(looks - used),
        }
        self.look_at_clock();
    }

    fn look_at_clock(&self) {
        if let Some(mut limit) = self.deadline.get() {
            if limit.is_over() {
                trip(Trip::Time);
            }
            self.deadline.set(Some(limit));
        }
    }
}

/// Roughly where the stack pointer is.
#[inline(never)]
fn stack_address() -> usize {
    let local = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&local)).addr()
}

/// Bytes counted as alive while this exists.
#[derive(Debug)]
pub(super) struct Charge(usize);

impl Charge {
    /// Counts `bytes` as alive; trips the run if that is too much.
    pub(super) fn new(bytes: usize) -> Self {
        METER.with(|m| {
            m.live.set(m.live.get() + bytes);
            if m.live.get() > m.live_max.get() {
                trip(Trip::Bytes);
            }
        });
        Charge(bytes)
    }

    /// Counts `bytes` from now on.
    pub(super) fn set(&mut self, bytes: usize) {
        if bytes != self.0 {
            *self = Charge::new(bytes);
        }
    }
}

impl Clone for Charge {
    fn clone(&self) -> Self {
        Charge::new(self.0)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // Values in a thread-local cache may outlive the meter at thread exit.
        let _ = METER.try_with(|m| m.live.set(m.live.get() - self.0));
    }
}
