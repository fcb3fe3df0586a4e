//! JavaScript, bounded in time, memory, stack and output, without files, network or modules.
//!
//! The invariant is isolation: no script observes or influences another evaluation. A realm of its
//! own gives that to every script and costs some 100 µs. Most scripts in definitions are one short
//! expression over `$`, so those that are recognised as harmless share a frozen realm per thread
//! and cost a few microseconds; see [`shared`] for why that keeps the invariant.
//!
//! A script is evaluated on the caller's thread.

mod failure;
mod fresh;
mod output;
mod realm;

use std::time::{Duration, Instant};

use kernel::{Form, Json, ScriptError};

/// Bounds of one evaluation.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Wall time.
    pub time: Duration,
    /// Bytes of the heap, the input included. A realm itself takes about 300 KiB.
    pub memory: usize,
    /// Bytes of the caller's stack.
    pub stack: usize,
    /// Bytes of the result as JSON text.
    pub output: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(4), memory: 64 << 20, stack: 512 << 10, output: 16 << 20 }
    }
}

/// The JavaScript engine.
#[derive(Debug)]
pub struct JavaScript {
    limits: Limits,
}

impl JavaScript {
    /// An engine that holds every evaluation to `limits`.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Parses a script without running it.
    ///
    /// # Errors
    /// What does not parse, with its line.
    pub fn check(&self, source: &str, form: Form) -> Result<(), ScriptError> {
        fresh::check(source, form, &self.limits)
    }

    /// Runs a script with `input` bound as `$` and answers its result, as `JSON.stringify` would
    /// write it; `undefined`, functions and what is not a number are `null`.
    ///
    /// # Errors
    /// Why there is no result: it did not parse, it threw, or it met a limit.
    pub fn run(&self, source: &str, form: Form, input: &Json) -> Result<Json, ScriptError> {
        let deadline = Instant::now() + self.limits.time;
        fresh::run(source, form, input, &self.limits, deadline)
    }
}
