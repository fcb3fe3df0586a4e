//! How fast executions begin: what stems from too many others, or from a definition that is started too
//! often, waits for its turn.
//!
//! What the server starts by itself (for a workflow, a schedule, an event) is delayed, and says so to
//! whoever asks what the run waits for; what a caller starts is refused, because the caller can wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kernel::durable::{DEFAULT_HUB, ORCHESTRATION};
use kernel::graph::StartMessage;
use kernel::{ExecutionId, MachineKind, Rejected, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::engine::{Engine, Error};
use crate::store::Outgoing;

/// Definitions and principals whose starts are counted; beyond, those that could start at once are forgotten.
const NAMES_MAX: usize = 10_000;

/// Of what starts are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Of each definition.
    Definition,
    /// As each principal, what a caller starts.
    Principal,
}

/// How often each definition may be started, or each principal may start something.
pub(crate) struct Rates {
    of: Counted,
    /// Starts in a minute; 0 = any number.
    per_minute: u32,
    names: Mutex<HashMap<Arc<str>, Allowance>>,
    /// Starts that callers were refused.
    refused: AtomicU64,
}

/// The starts that a definition has left.
struct Allowance {
    left: f64,
    at: Instant,
}

impl Rates {
    /// So many starts in a minute; 0 = any number.
    pub(crate) fn new(of: Counted, per_minute: u32) -> Self {
        Self { of, per_minute, names: Mutex::default(), refused: AtomicU64::new(0) }
    }

    /// A caller starts something.
    ///
    /// # Errors
    /// [`Rejected::Full`] if that was done too often.
    fn admit(&self, name: &str) -> Result<(), Rejected> {
        let wait = self.take(name, false);
        if wait.is_zero() {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let (most, seconds) = (self.per_minute, wait.as_secs() + 1);
        let why = match self.of {
            Counted::Definition => format!(
                "workflow '{name}' was started {most} times within a minute, as often as one \
                 definition may be (workflow_starts_per_minute)"
            ),
            Counted::Principal => format!(
                "{name} has started {most} runs within a minute, as many as one principal may \
                 (principal_starts_per_minute)"
            ),
        };
        Err(Rejected::Full(format!("{why}; try again in {seconds} s")))
    }

    /// The server starts a definition by itself: answers when it may.
    fn reserve(&self, name: &str) -> Duration {
        self.take(name, true)
    }

    /// A start that was admitted came to nothing.
    fn give_back(&self, name: &str) {
        if let Some(allowance) = self.names.lock().get_mut(name) {
            allowance.left += 1.0;
        }
    }

    /// Takes one start, on credit if `waits`; answers how long it is until that start is due.
    fn take(&self, name: &str, waits: bool) -> Duration {
        if self.per_minute == 0 {
            return Duration::ZERO;
        }
        let (most, gain) = (f64::from(self.per_minute), f64::from(self.per_minute) / 60.0);
        let now = Instant::now();
        let mut names = self.names.lock();
        if names.len() >= NAMES_MAX && !names.contains_key(name) {
            names.retain(|_, it| it.left + now.duration_since(it.at).as_secs_f64() * gain < most);
        }
        let allowance = names.entry(name.into()).or_insert(Allowance { left: most, at: now });
        let gained = now.duration_since(allowance.at).as_secs_f64() * gain;
        (allowance.left, allowance.at) = ((allowance.left + gained).min(most), now);
        let missing = (1.0 - allowance.left).max(0.0);
        if missing == 0.0 || waits {
            allowance.left -= 1.0;
        }
        Duration::from_secs_f64(missing / gain)
    }
}

/// Executions that were asked for and wait for their turn.
#[derive(Default)]
pub(crate) struct Delayed(Mutex<HashMap<ExecutionId, (Timestamp, String)>>);

/// One of them, until this is dropped.
struct Delay<'a> {
    of: &'a Delayed,
    child: &'a ExecutionId,
}

impl Delayed {
    fn note<'a>(&'a self, child: &'a ExecutionId, until: Timestamp, why: String) -> Delay<'a> {
        self.0.lock().insert(child.clone(), (until, why));
        Delay { of: self, child }
    }
}

impl Drop for Delay<'_> {
    fn drop(&mut self) {
        self.of.0.lock().remove(self.child);
    }
}

/// When a start is due, and why not at once.
#[derive(Clone, Copy, Default)]
pub(crate) struct Turn {
    wait: Duration,
    /// How far it is from the first start, if that is the reason; else the definition is started too
    /// often.
    generation: Option<u32>,
}

impl Engine {
    /// A caller starts a definition, as this principal.
    ///
    /// # Errors
    /// [`Rejected::Full`] if either was done too often.
    pub(crate) fn admit_start(&self, name: &str, by: Option<&str>) -> Result<(), Rejected> {
        if let Some(by) = by {
            self.inner.rates_of_principals.admit(by)?;
        }
        self.inner.rates.admit(name).inspect_err(|_| self.give_back_to(by))
    }

    /// A start that was admitted came to nothing.
    pub(crate) fn give_back_start(&self, name: &str, by: Option<&str>) {
        self.inner.rates.give_back(name);
        self.give_back_to(by);
    }

    fn give_back_to(&self, principal: Option<&str>) {
        if let Some(principal) = principal {
            self.inner.rates_of_principals.give_back(principal);
        }
    }

    /// Starts that principals were refused because they had started too much.
    pub fn starts_refused(&self) -> u64 {
        self.inner.rates_of_principals.refused.load(Ordering::Relaxed)
    }

    /// Until when, and why, the start of an execution that was asked for is put off.
    pub fn delay_of(&self, child: &ExecutionId) -> Option<(Timestamp, String)> {
        self.inner.delayed.0.lock().get(child).cloned()
    }

    /// Starts that are put off now.
    pub fn delayed_starts(&self) -> usize {
        self.inner.delayed.0.lock().len()
    }

    /// Has a start wait that stems from too many others, or whose definition is started too often.
    pub(crate) async fn slow_down(
        &self,
        outgoing: &Outgoing,
        message: &StartMessage,
    ) -> Result<(), Error> {
        let (by, name) = (&outgoing.key.sender, &*message.name);
        let child = begun_as(&outgoing.to, name);
        let lineages = &self.inner.lineages;
        let stemming = match by.machine() {
            // Checks and notifications must not wait for anybody.
            MachineKind::Monitor => return Ok(()),
            MachineKind::Execution | MachineKind::Instance if message.parent.is_some() => {
                Some(lineages.adopt(by, &child))
            }
            MachineKind::Execution | MachineKind::Instance => Some(lineages.start(by, &child)),
            MachineKind::Schedule | MachineKind::Entity => None,
        };
        let Some(turn) = self.turn(stemming, name) else { return Ok(()) };
        let is_registered = message.definition.is_none() && !name.starts_with(ORCHESTRATION);
        self.wait_for_turn(turn, &outgoing.to, name, || {
            is_registered && self.definitions().workflow(name, message.version).is_none()
        })
        .await
    }

    /// The turn of a start by an event handler; `None` if it need not wait. What an execution here
    /// has sent draws on its account. What came from outside is a first: it may bear the id of
    /// anybody's task.
    pub(crate) fn turn_of_event(
        &self,
        sender: Option<&ExecutionId>,
        child: &ExecutionId,
        workflow: &str,
    ) -> Option<Turn> {
        let stemming = sender.map(|by| self.inner.lineages.start(by, child));
        self.turn(stemming, workflow)
    }

    /// The later one of the turns that a start has by its lineage and by its definition.
    fn turn(&self, stemming: Option<(Duration, u32)>, workflow: &str) -> Option<Turn> {
        let often = self.inner.rates.reserve(workflow);
        let turn = match stemming {
            Some((wait, generation)) if wait >= often => {
                Turn { wait, generation: Some(generation) }
            }
            _ => Turn { wait: often, generation: None },
        };
        (!turn.wait.is_zero()).then_some(turn)
    }

    /// Waits for a turn, unless what shall begin cannot begin any more.
    pub(crate) async fn wait_for_turn(
        &self,
        Turn { wait, generation }: Turn,
        child: &ExecutionId,
        workflow: &str,
        is_gone: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let why = match generation {
            Some(generation) => {
                format!("it is start {generation} in a row of workflows that start workflows")
            }
            None => {
                format!("workflow '{workflow}' is started too often (workflow_starts_per_minute)")
            }
        };
        tracing::warn!(workflow, %child, ?wait, why, "start delayed by the rate limit for workflows that start workflows");
        let until = self.now().plus_millis(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        let _noted = self.inner.delayed.note(child, until, why);
        let mut forgotten = self.definitions().forgotten();
        let mut turn = std::pin::pin!(tokio::time::sleep(wait));
        while !is_gone() {
            tokio::select! {
                biased;
                // It is delivered again after the next start.
                () = self.inner.stop.cancelled() => return Err(Error::Closing),
                () = turn.as_mut() => break,
                changed = forgotten.changed() => if changed.is_err() { break },
            }
        }
        Ok(())
    }
}

/// The id under which a child runs: an orchestration's is below its hub.
fn begun_as(to: &ExecutionId, name: &str) -> ExecutionId {
    let Some(name) = name.strip_prefix(ORCHESTRATION) else { return to.clone() };
    let hub = name.split_once('/').map_or(DEFAULT_HUB, |(hub, _)| hub);
    ExecutionId::instance(hub, to.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_may_be_started_so_often_in_a_minute() {
        let rates = Rates::new(Counted::Definition, 60);
        for _ in 0..60 {
            rates.admit("w").expect("it may");
        }
        let refused = rates.admit("w").expect_err("it was started often enough");
        assert!(refused.to_string().contains("workflow_starts_per_minute"), "{refused}");
        rates.admit("other").expect("each has its own");
        rates.give_back("w");
        rates.admit("w").expect("one came to nothing");
        // What the server starts waits: each a second longer than the one before.
        let waits: Vec<_> = (0..3).map(|_| rates.reserve("w").as_secs_f64().round()).collect();
        assert_eq!(waits, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn no_limit_is_no_limit() {
        let rates = Rates::new(Counted::Definition, 0);
        for _ in 0..100_000 {
            rates.admit("w").expect("it may");
        }
    }
}
