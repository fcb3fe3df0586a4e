//! The port through which a definition is tried on the past: the binary has the stage that does it
//! (decision 0072).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use kernel::Timestamp;
use kernel::alert::Sample;
use kernel::alert::definition::{File, MonitorDef};
use serde_json::Value;
use tokio::sync::Semaphore;

/// What is tried on which past.
#[derive(Clone, Debug)]
pub struct Past {
    /// Everything that is defined, the monitor as it is to be tried.
    pub file: File,
    /// The monitor as it is in force.
    pub stored: MonitorDef,
    /// The monitor.
    pub monitor: String,
    /// What checks answered, by monitor, oldest first, from [`Backtester::warm_up`] before it begins on.
    pub samples: BTreeMap<String, Vec<Sample>>,
    /// What the ledgers say, as `GET /api/monitors/{name}/backtest` tells it.
    pub record: Value,
    /// From when and until when.
    pub span: (Timestamp, Timestamp),
    /// The zone in which it is night, if another one than the monitor's.
    pub zone: Option<String>,
    /// What is to be told with what came of it.
    pub notes: Vec<String>,
}

/// Tries definitions on the past, without effect on anything.
pub trait Backtester: fmt::Debug + Send + Sync {
    /// The monitors of which samples are needed: this one, and those that it depends on.
    fn needed(&self, file: &File, monitor: &str) -> BTreeSet<String>;

    /// Milliseconds before a stretch of time in which things began that matter in it.
    fn warm_up(&self, file: &File, monitor: &str) -> i64;

    /// Tries it, and compares with what happened then. Blocks the thread for seconds.
    ///
    /// # Errors
    /// Why there is nothing to try, or why the definitions do not fit together.
    fn run(&self, past: Past) -> Result<Value, String>;
}

/// What makes backtests here, one at a time: the cores are those of a server that pages.
#[derive(Clone, Debug)]
pub struct Backtests {
    pub(crate) backtester: Arc<dyn Backtester>,
    pub(crate) turn: Arc<Semaphore>,
}

impl Backtests {
    /// Lets these be made by `backtester`.
    pub fn new(backtester: Arc<dyn Backtester>) -> Self {
        Self { backtester, turn: Arc::new(Semaphore::new(1)) }
    }
}
