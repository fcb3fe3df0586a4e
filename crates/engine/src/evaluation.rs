//! Threads of their own for what runs users' code: scripts, jq programs, schemas.
//!
//! Such code is bounded by the interpreters, but an interpreter looks at its bounds only now and
//! then, and in some of its loops never. So nothing that evaluates runs on the threads that serve
//! requests: a task that waits for an evaluation holds no thread, and a thread whose evaluation does
//! not end in time is given up ([`Outcome::Stuck`]) and replaced. It goes on at the lowest priority
//! until it ends by itself. Only so many may be given up at once; then nothing is evaluated until
//! one has ended ([`Refused`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kernel::{Form, Json, SCRIPT_WALL_FACTOR, ScriptError, ScriptErrorKind, Scripts, Violation};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// How evaluations are held in bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Processor time that one evaluation may take; the interpreters are set to the same.
    pub time: Duration,
    /// Processor time after that until its thread is given up. With the pause between two looks at the
    /// threads this is how late an evaluation ends at worst for whoever waits for it.
    pub grace: Duration,
    /// Evaluations at once; further ones wait. 0 = each is made where it is asked for, and nothing
    /// bounds it but the interpreter: for simulations, in which one thread does everything.
    pub threads: usize,
    /// Threads given up that still run, beyond which nothing is evaluated.
    pub stuck_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(4),
            grace: Duration::from_millis(150),
            threads: (2 * cores()).clamp(4, 32),
            stuck_max: 4,
        }
    }
}

/// Cores that this process may use; 2 where the system does not say.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// How often the threads are looked at while they are busy.
const LOOK: Duration = Duration::from_millis(25);
/// How long work may wait before one more thread is started for it, once each core has one.
const IMPATIENCE: Duration = Duration::from_millis(10);
/// How long a thread waits for work before it ends.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Stack of a thread: what tokio's threads have, of which the interpreters know.
const STACK: usize = 2 << 20;
/// Evaluation within one decision after which the rest goes on in the next.
const DECISION_MAX: Duration = Duration::from_millis(250);

/// How things stand, for whoever watches the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Evaluations under way, those given up aside.
    pub busy: usize,
    /// Evaluations that wait for a thread.
    pub waiting: usize,
    /// Threads that were given up and still run.
    pub stuck: usize,
    /// Whether so many are stuck that nothing is evaluated.
    pub refuses: bool,
    /// Threads given up since the start.
    pub given_up: u64,
}

/// Nothing is evaluated at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} evaluations do not end and cannot be stopped: nothing is evaluated until one ends, or the \
     server is restarted"
)]
pub struct Refused(usize);

/// What came of work that was handed over.
pub(crate) enum Outcome<T> {
    /// It is done.
    Done(T),
    /// It panicked.
    Panicked(Box<dyn std::any::Any + Send>),
    /// This evaluation in it does not end.
    Stuck(Evaluation),
    /// Somebody wanted no more of it.
    Interrupted,
}

/// One evaluation: what is evaluated, over what.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Evaluation {
    language: Language,
    source: Box<str>,
    input: Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    JavaScript,
    Jq,
    Schema,
}

impl Evaluation {
    /// Why it has no result.
    fn failure(&self) -> ScriptError {
        let what = match self.language {
            Language::JavaScript => "the script",
            Language::Jq => "the jq program",
            Language::Schema => "the check against the schema",
        };
        let message = format!("{what} did not end within its limit and could not be interrupted");
        ScriptError { kind: ScriptErrorKind::Timeout, message }
    }
}

/// What one piece of work evaluates, seen from outside of its thread.
#[derive(Default)]
pub(crate) struct Watch {
    /// Known not to end: fails at once.
    known_stuck: Vec<Evaluation>,
    now: Mutex<Option<Now>>,
    count: AtomicU64,
    interrupted: AtomicBool,
    tell: Mutex<Option<oneshot::Sender<Verdict>>>,
}

/// The evaluation that runs.
struct Now {
    /// Counts the evaluations of one piece of work.
    count: u64,
    evaluation: Evaluation,
    begun: Instant,
    /// Processor time of the thread when it began, if that is known.
    used_before: Option<Duration>,
}

enum Verdict {
    Stuck(Evaluation),
    Interrupted,
}

impl Watch {
    pub(crate) fn new(known_stuck: Vec<Evaluation>) -> Arc<Self> {
        Arc::new(Self { known_stuck, ..Self::default() })
    }

    /// Has whoever waits for the work wait no longer; its thread is given up if it does not end.
    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
        if let Some(tell) = self.tell.lock().take() {
            let _ = tell.send(Verdict::Interrupted);
        }
    }
}

/// Scripts that say what they are at.
pub(crate) struct Watched<'a> {
    scripts: &'a dyn Scripts,
    watch: &'a Watch,
    /// Microseconds so far.
    spent: AtomicU64,
    /// Microseconds after which the rest is left to the next decision.
    spent_max: u64,
}

impl<'a> Watched<'a> {
    /// Scripts for one decision, which goes on in another when they take long. On no thread of their
    /// own they never do: what a decision leaves over must not depend on the machine.
    pub(crate) fn for_decision(
        scripts: &'a dyn Scripts,
        watch: &'a Watch,
        options: &Options,
    ) -> Self {
        let divided = u64::try_from(DECISION_MAX.as_micros()).unwrap_or(u64::MAX);
        let spent_max = if options.threads == 0 { u64::MAX } else { divided };
        Self { spent_max, ..Self::new(scripts, watch) }
    }

    /// Scripts for work that nothing divides.
    pub(crate) fn new(scripts: &'a dyn Scripts, watch: &'a Watch) -> Self {
        Self { scripts, watch, spent: AtomicU64::new(0), spent_max: u64::MAX }
    }

    fn run<T>(
        &self,
        language: Language,
        source: &str,
        input: &Json,
        evaluate: impl FnOnce() -> Result<T, ScriptError>,
    ) -> Result<T, ScriptError> {
        let evaluation = Evaluation { language, source: source.into(), input: input.clone() };
        let is_known = self.watch.known_stuck.contains(&evaluation);
        if is_known || self.watch.interrupted.load(Ordering::Acquire) {
            return Err(evaluation.failure());
        }
        let count = self.watch.count.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let used_before = system::own_processor_time();
        *self.watch.now.lock() = Some(Now { count, evaluation, begun, used_before });
        let result = evaluate();
        *self.watch.now.lock() = None;
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.spent.fetch_add(micros, Ordering::Relaxed);
        result
    }
}

impl Scripts for Watched<'_> {
    fn javascript(&self, source: &str, form: Form, input: &Json) -> Result<Json, ScriptError> {
        let run = || self.scripts.javascript(source, form, input);
        self.run(Language::JavaScript, source, input, run)
    }

    fn jq(&self, program: &str, input: &Json) -> Result<Vec<Json>, ScriptError> {
        self.run(Language::Jq, program, input, || self.scripts.jq(program, input))
    }

    fn check_javascript(&self, source: &str, form: Form) -> Result<(), ScriptError> {
        self.scripts.check_javascript(source, form)
    }

    fn check_jq(&self, program: &str) -> Result<(), ScriptError> {
        self.scripts.check_jq(program)
    }

    fn violations(&self, schema: &Json, document: &Json) -> Result<Vec<Violation>, ScriptError> {
        let run = || self.scripts.violations(schema, document);
        self.run(Language::Schema, schema.text(), document, run)
    }

    fn should_yield(&self) -> bool {
        self.spent.load(Ordering::Relaxed) >= self.spent_max
    }

    fn check_schema(&self, schema: &Json) -> Result<(), ScriptError> {
        self.scripts.check_schema(schema)
    }
}

/// The threads; they end some time after the last handle is gone.
pub(crate) struct Evaluators {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    /// Threads that start without delay. The system is asked once: the answer costs it several files.
    threads_at_once: usize,
    state: Mutex<State>,
    /// There is work, or none any more.
    work: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Threads by number, without those given up.
    threads: BTreeMap<u64, Thread>,
    idle: usize,
    stuck: usize,
    given_up: u64,
    started: u64,
    is_watched: bool,
    is_closed: bool,
}

struct Job {
    since: Instant,
    watch: Arc<Watch>,
    run: Box<dyn FnOnce() + Send>,
}

/// A thread, and what it is at.
#[derive(Default)]
struct Thread {
    number: Option<system::ThreadNumber>,
    watch: Option<Arc<Watch>>,
    /// When it was seen that nobody waits for it any more.
    interrupted: Option<Instant>,
}

impl Evaluators {
    pub(crate) fn new(options: Options) -> Self {
        let threads_at_once = cores().min(options.threads);
        let (state, work) = (Mutex::default(), Condvar::new());
        Self { shared: Arc::new(Shared { options, threads_at_once, state, work }) }
    }

    /// How things stand.
    pub(crate) fn standing(&self) -> Standing {
        let state = self.shared.state.lock();
        Standing {
            busy: state.threads.values().filter(|thread| thread.watch.is_some()).count(),
            waiting: state.waiting.len(),
            stuck: state.stuck,
            refuses: state.stuck >= self.shared.options.stuck_max,
            given_up: state.given_up,
        }
    }

    /// Has work done on one of the threads. Dropping the answer does not end the work.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        watch: &Arc<Watch>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Outcome<T>, Refused> {
        if self.shared.options.threads == 0 {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            return Ok(result.map_or_else(Outcome::Panicked, Outcome::Done));
        }
        let (done, answer) = oneshot::channel();
        let (tell, verdict) = oneshot::channel();
        *watch.tell.lock() = Some(tell);
        let run = move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let _ = done.send(result);
        };
        self.shared.push(Job {
            since: Instant::now(),
            watch: watch.clone(),
            run: Box::new(run),
        })?;
        tokio::select! {
            biased;
            result = answer => Ok(match result {
                // Its evaluations failed because they were to end: that is no result.
                _ if watch.interrupted.load(Ordering::Acquire) => Outcome::Interrupted,
                Ok(Ok(value)) => Outcome::Done(value),
                Ok(Err(panic)) => Outcome::Panicked(panic),
                Err(_) => Outcome::Interrupted,
            }),
            Ok(verdict) = verdict => Ok(match verdict {
                Verdict::Stuck(evaluation) => Outcome::Stuck(evaluation),
                Verdict::Interrupted => Outcome::Interrupted,
            }),
        }
    }
}

impl Drop for Evaluators {
    fn drop(&mut self) {
        self.shared.state.lock().is_closed = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn push(self: &Arc<Self>, job: Job) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.stuck >= self.options.stuck_max {
            return Err(Refused(state.stuck));
        }
        state.waiting.push_back(job);
        self.watch_over(&mut state);
        if state.idle >= state.waiting.len() {
            drop(state);
            self.work.notify_one();
            return Ok(());
        }
        // One thread for each core at once; more only for work that has waited.
        if state.threads.len() < self.threads_at_once {
            self.start(&mut state);
        }
        Ok(())
    }

    /// Starts one more thread; without one the work waits for those there are.
    fn start(self: &Arc<Self>, state: &mut State) {
        state.started += 1;
        let (number, shared) = (state.started, self.clone());
        let thread = std::thread::Builder::new().name("evaluation".to_owned()).stack_size(STACK);
        match thread.spawn(move || shared.serve(number)) {
            Ok(_) => {
                state.threads.insert(number, Thread::default());
            }
            Err(error) => tracing::error!(%error, "failed to start an evaluation thread"),
        }
    }

    /// What each thread does.
    fn serve(&self, number: u64) {
        let mut state = self.state.lock();
        if let Some(thread) = state.threads.get_mut(&number) {
            thread.number = system::this_thread();
        }
        loop {
            let Some(job) = state.waiting.pop_front() else {
                if state.is_closed {
                    return;
                }
                state.idle += 1;
                let timed_out = self.work.wait_for(&mut state, IDLE_MAX).timed_out();
                state.idle -= 1;
                if timed_out && state.waiting.is_empty() {
                    state.threads.remove(&number);
                    return;
                }
                continue;
            };
            let Some(thread) = state.threads.get_mut(&number) else { return };
            (thread.watch, thread.interrupted) = (Some(job.watch), None);
            drop(state);
            (job.run)();
            state = self.state.lock();
            let Some(thread) = state.threads.get_mut(&number) else {
                // It was given up, and has ended after all.
                state.stuck -= 1;
                tracing::warn!(stuck = state.stuck, "abandoned evaluation has ended");
                return;
            };
            thread.watch = None;
        }
    }

    /// Has the threads looked at for as long as there is work.
    fn watch_over(self: &Arc<Self>, state: &mut State) {
        if state.is_watched {
            return;
        }
        let shared = self.clone();
        let thread = std::thread::Builder::new().name("evaluation-watch".to_owned());
        state.is_watched = thread.spawn(move || shared.look()).is_ok();
    }

    fn look(self: &Arc<Self>) {
        loop {
            std::thread::sleep(LOOK);
            let mut state = self.state.lock();
            let busy = state.threads.values().any(|thread| thread.watch.is_some());
            if state.waiting.is_empty() && !busy {
                state.is_watched = false;
                return;
            }
            self.give_up_stuck(&mut state);
            let impatient = state.waiting.front().is_some_and(|j| j.since.elapsed() >= IMPATIENCE);
            if impatient && state.idle == 0 && state.threads.len() < self.options.threads {
                self.start(&mut state);
            }
        }
    }

    fn give_up_stuck(&self, state: &mut State) {
        let mut given_up = Vec::new();
        for (number, thread) in &mut state.threads {
            if let Some(verdict) = self.verdict_on(thread) {
                given_up.push((*number, verdict));
            }
        }
        for (number, verdict) in given_up {
            let Some(thread) = state.threads.remove(&number) else { continue };
            state.stuck += 1;
            state.given_up += 1;
            if let Some(number) = thread.number {
                system::put_last(number);
            }
            if let Some(tell) = thread.watch.and_then(|watch| watch.tell.lock().take()) {
                let _ = tell.send(verdict);
            }
            tracing::error!(
                stuck = state.stuck,
                "evaluation does not end; its thread is abandoned"
            );
        }
        if state.stuck >= self.options.stuck_max {
            // Whoever waits hears that nothing is evaluated, rather than nothing.
            for job in state.waiting.drain(..) {
                if let Some(tell) = job.watch.tell.lock().take() {
                    let _ = tell.send(Verdict::Interrupted);
                }
            }
        }
    }

    /// Whether a thread is to be given up.
    fn verdict_on(&self, thread: &mut Thread) -> Option<Verdict> {
        let Options { time, grace, .. } = self.options;
        let watch = thread.watch.clone()?;
        if watch.interrupted.load(Ordering::Acquire) {
            let since = *thread.interrupted.get_or_insert_with(Instant::now);
            // Nobody waits for it, so that it may take the time to end by itself.
            let grace = grace * SCRIPT_WALL_FACTOR;
            return (since.elapsed() >= grace).then_some(Verdict::Interrupted);
        }
        let (count, begun, used_before) = {
            let now = watch.now.lock();
            let now = now.as_ref()?;
            (now.count, now.begun, now.used_before)
        };
        let elapsed = begun.elapsed();
        if elapsed < time + grace {
            return None;
        }
        let used = thread.number.and_then(system::processor_time);
        let is_over = match (used, used_before) {
            (Some(used), Some(before)) => used.saturating_sub(before) >= time + grace,
            _ => false,
        };
        // A thread that gets no processor cannot notice that its time is over.
        if !is_over && elapsed < (time + grace) * SCRIPT_WALL_FACTOR {
            return None;
        }
        let now = watch.now.lock();
        let evaluation = now.as_ref().filter(|now| now.count == count)?.evaluation.clone();
        Some(Verdict::Stuck(evaluation))
    }
}

/// What only some systems tell of threads.
#[cfg(target_os = "linux")]
mod system {
    use std::time::Duration;

    use rustix::process::setpriority_process;
    use rustix::thread::{Pid, gettid};

    pub(super) type ThreadNumber = Pid;

    #[expect(clippy::unnecessary_wraps, reason = "other systems know of none")]
    pub(super) fn this_thread() -> Option<ThreadNumber> {
        Some(gettid())
    }

    /// Processor time that this thread has used.
    pub(super) fn own_processor_time() -> Option<Duration> {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(used).ok()
    }

    /// Processor time that a thread has used.
    pub(super) fn processor_time(thread: ThreadNumber) -> Option<Duration> {
        let path = format!("/proc/self/task/{}/schedstat", thread.as_raw_nonzero());
        let text = std::fs::read_to_string(path).ok()?;
        Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
    }

    /// Lets a thread run only when no other wants to.
    pub(super) fn put_last(thread: ThreadNumber) {
        if let Err(error) = setpriority_process(Some(thread), 19) {
            tracing::debug!(%error, "priority of an abandoned thread could not be lowered");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Duration;

    #[derive(Clone, Copy)]
    pub(super) struct ThreadNumber;

    pub(super) fn this_thread() -> Option<ThreadNumber> {
        None
    }

    pub(super) fn own_processor_time() -> Option<Duration> {
        None
    }

    pub(super) fn processor_time(_: ThreadNumber) -> Option<Duration> {
        None
    }

    pub(super) fn put_last(_: ThreadNumber) {}
}
