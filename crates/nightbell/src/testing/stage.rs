//! The stage of a test: the engine that ships over a store in memory, with a clock that jumps, and
//! with somebody who notes what it commits.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::memory::{Call, Memory};
use engine::stage::{VirtualClock, in_virtual_time};
use engine::store::{QueueChange, Retention};
use engine::vault::Key;
use engine::{Engine, Options, Parts, SampleOptions, TaskRunner, Values};
use kernel::{MachineKind, Scripts, Timestamp};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::cast::Noted;

/// Lines of a ledger that are kept on a stage: all.
const RECORDS_MAX: u64 = u64::MAX;

/// The store and the clock: what outlives a process.
pub(super) struct Stage {
    memory: Arc<Memory>,
    pub(super) clock: Arc<VirtualClock>,
    scripts: Arc<dyn Scripts>,
    pub(super) says: UnboundedSender<Noted>,
    /// What checks answer is kept.
    pub(super) records: bool,
}

impl Stage {
    /// An empty one that begins at an instant, and what will be noted there.
    pub(super) fn new(
        start: Timestamp,
        scripts: &Arc<dyn Scripts>,
    ) -> (Self, UnboundedReceiver<Noted>) {
        let (says, heard) = unbounded_channel();
        let note = says.clone();
        let memory = Memory::with_faults(move |call| {
            if let Call::Commit(commit) = call {
                // Nobody listens any more when the test is over.
                if commit.head.id.machine() == MachineKind::Execution {
                    drop(note.send(Noted::Changed(commit.head.id.clone())));
                }
                for change in &commit.queue {
                    if let QueueChange::Put(row) = change
                        && !row.held
                    {
                        drop(note.send(Noted::Queued(row.queue.clone())));
                    }
                }
            }
            None
        });
        let clock = Arc::new(VirtualClock::new(start));
        let stage = Self {
            memory: Arc::new(memory),
            clock,
            scripts: scripts.clone(),
            says,
            records: false,
        };
        (stage, heard)
    }

    /// Lets an engine live until `play` is over, and drops it with all that it was at.
    ///
    /// # Errors
    /// It does not open.
    pub(super) fn perform<T>(
        &self,
        runners: Vec<Arc<dyn TaskRunner>>,
        play: impl AsyncFnOnce(Engine) -> T,
    ) -> Result<T, String> {
        let _stands_in = tasks::clock::stand_in(self.clock.clone());
        in_virtual_time(async {
            self.clock.begin();
            self.memory.open_again();
            let opened = Engine::open(self.parts(runners)).await;
            let engine = opened.map_err(|error| format!("the stage does not open: {error}"))?;
            let told = play(engine).await;
            self.clock.end(0);
            Ok(told)
        })
    }

    fn parts(&self, runners: Vec<Arc<dyn TaskRunner>>) -> Parts {
        let options = Options {
            key: Some(Key::new([7; 32])),
            evaluation: engine::evaluation::Options { threads: 0, ..Default::default() },
            retention: Retention { count_max: 0, age_max_seconds: 0, disk_max_bytes: 0 },
            records_max: RECORDS_MAX,
            samples: self.records.then(SampleOptions::default),
            upkeep: false,
            ..Options::default()
        };
        Parts {
            store: self.memory.clone(),
            clock: self.clock.clone(),
            scripts: self.scripts.clone(),
            runners,
            values: Arc::new(MadeUp),
            describe: server::rest::view::describe,
            options,
        }
    }
}

/// Secrets that are made up from their names, so that no test depends on what is secret: an address
/// for one that is called after an address, the name itself else.
struct MadeUp;

impl Values for MadeUp {
    fn secret(&self, name: &str) -> Option<String> {
        let upper = name.to_ascii_uppercase();
        let words: BTreeSet<&str> = upper.split(['_', '-', '.']).collect();
        let is_address =
            ["URL", "URI", "HOOK", "WEBHOOK", "ADDRESS"].iter().any(|it| words.contains(it));
        Some(if is_address {
            format!("https://{}.test/", name.to_ascii_lowercase().replace(['_', '.'], "-"))
        } else {
            name.to_owned()
        })
    }

    fn environment(&self, _: &str) -> Option<String> {
        None
    }
}
