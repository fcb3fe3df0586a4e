//! JavaScript, bounded in time, memory, stack and output, without files, network or modules.
//!
//! The invariant is isolation: no script observes or influences another evaluation. A realm of its
//! own gives that to every script and costs some 100 µs. Most scripts in definitions are one short
//! expression over `$`, so those that are recognised as harmless share a frozen realm per thread
//! and cost a few microseconds; see `shared` for why that keeps the invariant.
//!
//! A script is evaluated on the caller's thread, which keeps a shared realm of about half a
//! megabyte from its first script on: call from few threads.

mod deadline;
mod failure;
mod fresh;
mod harmless;
mod needs;
mod output;
mod realm;
mod rewrite;
mod shared;
mod tokens;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kernel::{Form, Json, ScriptError};
use parking_lot::Mutex;

use crate::limit::TimeLimit;

/// Bounds of one evaluation.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Processor time; ten times as much in wall time.
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
    /// Tells the shared realms of this engine from those of one with other limits.
    id: u64,
    /// Scripts that are known to parse: the same are asked about whenever files are read again.
    parsed: Mutex<HashSet<(Form, Box<str>)>>,
}

/// Scripts that are remembered to parse; beyond, all are forgotten.
const PARSED_MAX: usize = 2_000;
/// Bytes of a script that is remembered.
const PARSED_BYTES_MAX: usize = 4 << 10;

impl JavaScript {
    /// An engine that holds every evaluation to `limits`.
    pub fn new(limits: Limits) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { limits, id: NEXT.fetch_add(1, Ordering::Relaxed), parsed: Mutex::default() }
    }

    /// Parses a script without running it.
    ///
    /// # Errors
    /// What does not parse, with its line.
    pub fn check(&self, source: &str, form: Form) -> Result<(), ScriptError> {
        let script = (form, Box::from(source));
        if self.parsed.lock().contains(&script) {
            return Ok(());
        }
        fresh::check(source, form, &self.limits)?;
        let mut parsed = self.parsed.lock();
        if parsed.len() >= PARSED_MAX {
            parsed.clear();
        }
        if source.len() <= PARSED_BYTES_MAX {
            parsed.insert(script);
        }
        Ok(())
    }

    /// Runs a script with `input` bound as `$` and answers its result, as `JSON.stringify` would
    /// write it; `undefined`, functions and what is not a number are `null`.
    ///
    /// # Errors
    /// Why there is no result: it did not parse, it threw, or it met a limit.
    pub fn run(&self, source: &str, form: Form, input: &Json) -> Result<Json, ScriptError> {
        let deadline = TimeLimit::begin(self.limits.time);
        if crate::clock::stood_in().is_some() && fresh::tells_time(source) {
            return fresh::run(source, form, input, &self.limits, deadline);
        }
        let outcome = shared::run(self.id, source, form, input, &self.limits, deadline);
        if let shared::Outcome::Decided(result) = outcome {
            return result;
        }
        let result = fresh::run(source, form, input, &self.limits, deadline);
        if matches!(outcome, shared::Outcome::Threw) && result.is_ok() {
            shared::needs_own(self.id, source, form);
        }
        result
    }
}
