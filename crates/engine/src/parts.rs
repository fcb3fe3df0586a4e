//! What an engine is made of, how it behaves, and what it counts.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kernel::graph::{Execution, Limits};
use kernel::schedule;
use kernel::{Json, Scripts};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::durable::Leases;
use crate::evaluation;
use crate::runner::TaskRunner;
use crate::samples::SampleOptions;
use crate::store::{Retention, Store};
use crate::traces::TraceOptions;
use crate::vault::Key;

/// What an engine is made of.
pub struct Parts {
    /// Where it remembers.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What runs users' scripts.
    pub scripts: Arc<dyn Scripts>,
    /// What runs the built-in tasks.
    pub runners: Vec<Arc<dyn TaskRunner>>,
    /// Values that secrets and `${workflow.env.…}` name.
    pub values: Arc<dyn Values>,
    /// How an execution is shown to a failure workflow.
    pub describe: fn(&Execution) -> Json,
    /// How it behaves.
    pub options: Options,
}

/// Values from outside that definitions name.
pub trait Values: Send + Sync {
    /// A secret; resolved only when a task is handed out, never stored.
    fn secret(&self, name: &str) -> Option<String>;

    /// A value that anybody may see.
    fn environment(&self, name: &str) -> Option<String>;

    /// The names of all secrets.
    fn secret_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// The names of all values that anybody may see.
    fn environment_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Why a secret that is kept outside has no value now; `None` if it has one, or is not kept there.
    fn lacking(&self, _name: &str) -> Option<String> {
        None
    }

    /// Whether there is such a secret; asked before every task.
    fn lacks_any(&self) -> bool {
        false
    }

    /// Values that a secret had before: a task that was handed one may still report it.
    fn former_secrets(&self, _name: &str) -> Vec<Zeroizing<String>> {
        Vec::new()
    }
}

/// How an engine behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bounds of executions.
    pub limits: Limits,
    /// Bounds of schedules.
    pub schedules: schedule::Limits,
    /// Built-in tasks running at once, per task type; those of monitors have as many again.
    pub runs_max: usize,
    /// Starts of one definition in a minute; 0 = any number. What monitors start does not count.
    pub starts_per_minute: u32,
    /// How many executions each principal may start in a minute by itself; 0 = any number.
    pub principal_starts_per_minute: u32,
    /// Bytes of history whose executions are kept in memory.
    pub cache_bytes: usize,
    /// What is kept of what has finished.
    pub retention: Retention,
    /// Seals secrets; absent = one that ends with the process. See [`prove`](crate::vault::prove).
    pub key: Option<Key>,
    /// How long Durable Task workers keep what they were handed.
    pub leases: Leases,
    /// How users' scripts, programs and schemas are held in bounds.
    pub evaluation: evaluation::Options,
    /// Lines that each ledger keeps per schedule, monitor, …; the oldest go.
    pub records_max: u64,
    /// What is kept of what checks of monitors answered; `None` = nothing.
    pub samples: Option<SampleOptions>,
    /// Which runs are exported as traces, by whoever asks for those that have ended; `None` = none.
    pub traces: Option<TraceOptions>,
    /// Receivers that are told directly when the server cannot do its work; none = those that the
    /// routes would tell of a critical incident of Nightbell's own monitor.
    pub alarm: Vec<Arc<str>>,
    /// How long the server must be unable to do its work before that is told.
    pub alarm_after: Duration,
    /// Free bytes on the disk of the store below which that is told.
    pub disk_free_min: u64,
    /// Whether it looks after itself: watchdog, alarm, retention, leases, and queues that are looked at
    /// again without a reason. Not on a stage, where nothing is lost and time is cheap only while
    /// nobody wakes up.
    pub upkeep: bool,
    /// Whether what tasks do to the server is checked against the grants of the principal that their
    /// run acts as; with access control.
    pub checks_principals: bool,
    /// Whether users come in by an OpenID provider: one who can do so counts as somebody who comes in.
    pub has_provider: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            schedules: schedule::Limits::default(),
            runs_max: 64,
            starts_per_minute: 0,
            principal_starts_per_minute: 0,
            cache_bytes: 12 << 20,
            retention: Retention { count_max: 0, age_max_seconds: 0, disk_max_bytes: 0 },
            key: None,
            leases: Leases::default(),
            evaluation: evaluation::Options::default(),
            records_max: 10_000,
            samples: None,
            traces: None,
            alarm: Vec::new(),
            alarm_after: Duration::from_secs(30),
            disk_free_min: 256 << 20,
            upkeep: true,
            checks_principals: false,
            has_provider: false,
        }
    }
}

/// What the engine has done since it started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Executions begun.
    pub started: AtomicU64,
    /// Executions ended as completed.
    pub completed: AtomicU64,
    /// Executions ended in any other way.
    pub failed: AtomicU64,
    /// Decisions committed.
    pub commits: AtomicU64,
    /// Decisions made again because of a conflict.
    pub conflicts: AtomicU64,
    /// Tasks handed to workers.
    pub polled: AtomicU64,
    /// Tasks run in the process.
    pub run: AtomicU64,
    /// Executions quarantined.
    pub quarantined: AtomicU64,
}
