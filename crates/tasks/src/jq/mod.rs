//! Runs jq programs over JSON, bounded in time, memory and recursion.
//!
//! The interpreter is jaq's core, which parses, compiles and runs; the values, the limits and the
//! library are ours, so that programs behave as under jq 1.7 and none can harm the process.
//!
//! A run takes place on the calling thread with a small allowance of its stack. A program that
//! needs more, by recursion or by its own nesting, is run again from the start on a thread with a
//! big stack: programs have no effects, so the first attempt left no trace.

mod access;
mod arithmetic;
mod json;
mod meter;
mod natives;
mod order;
mod program;
mod value;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jaq_core::{Ctx, Vars};
use kernel::{Json, ScriptError, ScriptErrorKind};
use parking_lot::Mutex;

use crate::limit::TimeLimit;

use meter::{Budget, Session, Trip};
use natives::Frame;
use program::Program;
use value::Value;

/// What one run of a program may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Processor time that it may take, compilation not included. Checked every few hundred steps.
    pub time: Duration,
    /// Bytes of values it may hold at once beyond its input, and bytes of output it may give.
    pub bytes: usize,
    /// Steps it may take: calls of definitions, operations and visited children.
    pub steps: u64,
    /// Bytes of stack that recursion may use; at most 128 MiB are given.
    pub stack: usize,
    /// Compiled programs kept for the next run.
    pub cached: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(4),
            bytes: 64 << 20,
            steps: 100_000_000,
            stack: 64 << 20,
            cached: 256,
        }
    }
}

/// Stack a run may use of the calling thread: callers have 2 MiB, by Rust's and tokio's default.
const INLINE_STACK: usize = 384 << 10;
/// Nesting of a program up to which it runs on the calling thread.
const INLINE_NESTING: usize = 48;
/// Stack of the thread for what the calling thread has no stack for. Only touched pages cost.
const BIG_STACK: usize = 256 << 20;
/// Stack that recursion may use there; the rest is for the nesting between two checks.
const BIG_STACK_USABLE: usize = 128 << 20;
/// Characters of an error message.
const MESSAGE_MAX: usize = 500;

/// Compiles and runs jq programs. Cheap to share between threads.
pub struct Jq {
    limits: Limits,
    cache: Mutex<HashMap<String, Cached>>,
}

struct Cached {
    program: Arc<Program>,
    used_at: Instant,
}

impl Jq {
    /// An engine with the given limits for each run.
    pub fn new(limits: Limits) -> Self {
        Self { limits, cache: Mutex::default() }
    }

    /// Compiles a program without running it.
    ///
    /// # Errors
    /// [`ScriptErrorKind::Syntax`] with the place in the text.
    pub fn check(&self, program: &str) -> Result<(), ScriptError> {
        self.program(program).map(drop)
    }

    /// Runs a program over one input and answers all its outputs in order.
    ///
    /// Blocks the thread for up to the time limit and uses up to 1 MiB of its stack.
    ///
    /// # Errors
    /// The first error that the program does not catch; outputs before it are lost. `Timeout` and
    /// `Memory` (which includes recursion) if the program hit a limit.
    pub fn run(&self, program: &str, input: &Json) -> Result<Vec<Json>, ScriptError> {
        let program = self.program(program)?;
        let mut budget = Budget {
            deadline: TimeLimit::begin(self.limits.time),
            bytes: self.limits.bytes,
            steps: self.limits.steps,
            stack: INLINE_STACK.min(self.limits.stack),
        };
        if program.nesting <= INLINE_NESTING {
            match guarded(|| execute(&program, input, &budget))? {
                Err(Failure::Limit(Trip::Stack)) if budget.stack < self.limits.stack => {}
                result => return result.map_err(Failure::into_error),
            }
        }
        budget.stack = self.limits.stack.min(BIG_STACK_USABLE);
        on_big_stack(|| execute(&program, input, &budget))?.map_err(Failure::into_error)
    }

    fn program(&self, text: &str) -> Result<Arc<Program>, ScriptError> {
        if let Some(cached) = self.cache.lock().get_mut(text) {
            cached.used_at = Instant::now();
            return Ok(Arc::clone(&cached.program));
        }
        // Without the lock: two threads may compile the same program, which does no harm.
        let compiled = on_big_stack(|| program::compile(text))?
            .map_err(|message| error(ScriptErrorKind::Syntax, &message))?;
        let program = Arc::new(compiled);
        let mut cache = self.cache.lock();
        if cache.len() >= self.limits.cached {
            let oldest = cache.iter().min_by_key(|(_, cached)| cached.used_at);
            if let Some(oldest) = oldest.map(|(text, _)| text.clone()) {
                cache.remove(&oldest);
            }
        }
        let cached = Cached { program: Arc::clone(&program), used_at: Instant::now() };
        cache.insert(text.to_owned(), cached);
        Ok(program)
    }
}

/// Why a run gave no result.
enum Failure {
    Limit(Trip),
    Raised(String),
}

impl Failure {
    fn into_error(self) -> ScriptError {
        match self {
            Failure::Limit(trip) => error(
                match trip {
                    Trip::Time | Trip::Steps => ScriptErrorKind::Timeout,
                    Trip::Bytes | Trip::Stack | Trip::Depth => ScriptErrorKind::Memory,
                },
                trip.message(),
            ),
            Failure::Raised(message) => error(ScriptErrorKind::Runtime, &message),
        }
    }
}

/// An error whose message is one line of bounded length.
fn error(kind: ScriptErrorKind, message: &str) -> ScriptError {
    let mut message = message.replace(['\n', '\r'], " ");
    if let Some((end, _)) = message.char_indices().nth(MESSAGE_MAX) {
        message.truncate(end);
        message.push('…');
    }
    ScriptError { kind, message }
}

/// The interpreter is foreign code: should it panic, one script fails and no more.
fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, ScriptError> {
    catch_unwind(AssertUnwindSafe(f))
        .map_err(|_| error(ScriptErrorKind::Runtime, "the jq interpreter failed on this program"))
}

fn on_big_stack<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, ScriptError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("jq".to_owned())
            .stack_size(BIG_STACK)
            .spawn_scoped(scope, || guarded(f));
        match thread.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            _ => Err(error(ScriptErrorKind::Memory, "no thread for the jq program")),
        }
    })
}

/// One attempt to run a program on this thread.
fn execute(program: &Program, input: &Json, budget: &Budget) -> Result<Vec<Json>, Failure> {
    let input = json::parse(input.text())
        .map_err(|e| Failure::Raised(format!("the input cannot be read: {e}")))?;
    let _session = Session::start(budget);
    let frame = Frame::new(&program.filter.lut);
    let context = Ctx::<natives::Data>::new(frame, Vars::new([]));
    let mut outputs = Vec::new();
    let mut written = 0;
    for output in program.filter.id.run((context, input)) {
        // First, for a limit may have ended the run in the guise of an output.
        if let Some(trip) = meter::tripped() {
            return Err(Failure::Limit(trip));
        }
        let output = match output {
            Ok(output) => output,
            Err(exception) => {
                return Err(Failure::Raised(match exception.get_err() {
                    Ok(error) => raised(error),
                    Err(_) => "break".to_owned(),
                }));
            }
        };
        let json = Json::of(&output);
        written += json.len() + size_of::<Json>();
        if written > budget.bytes {
            return Err(Failure::Limit(Trip::Bytes));
        }
        outputs.push(json);
    }
    meter::tripped().map_or(Ok(outputs), |trip| Err(Failure::Limit(trip)))
}

/// The message of an uncaught error.
fn raised(error: value::Error) -> String {
    match error.into_val() {
        Value::String(message) => message.to_string(),
        other => format!("{} (not a string)", json::text(&other)),
    }
}
