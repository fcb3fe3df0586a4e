//! When an evaluation has to end, and how the interpreter names what it evaluates.

use std::cell::Cell;

use crate::limit::TimeLimit;

/// The name of the user's source in stack traces, where line numbers are looked for.
pub(super) const USER_FILE: &str = "script";

/// When the running evaluation must end, shared with the engine's interrupt handler.
#[derive(Default)]
pub(super) struct Deadline {
    at: Cell<Option<TimeLimit>>,
    passed: Cell<bool>,
}

impl Deadline {
    /// Begins an evaluation.
    pub(super) fn set(&self, at: TimeLimit) {
        self.at.set(Some(at));
        self.passed.set(false);
    }

    /// Looks at the clock; once passed, it stays passed.
    pub(super) fn check(&self) -> bool {
        if let Some(mut limit) = self.at.get() {
            if limit.is_over() {
                self.passed.set(true);
            }
            self.at.set(Some(limit));
        }
        self.passed.get()
    }

    /// Whether the evaluation was interrupted.
    pub(super) fn passed(&self) -> bool {
        self.passed.get()
    }
}
