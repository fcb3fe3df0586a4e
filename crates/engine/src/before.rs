//! What a machine was before a decision, and what follows from the difference.

use std::sync::atomic::Ordering;

use kernel::alert::Monitor;
use kernel::{ExecutionId, Timestamp};

use crate::engine::Engine;
use crate::machine::{AnyInput, AnyMachine, Decided};
use crate::monitors::Fired;
use crate::traces::Ends;

/// What a machine was before a decision.
pub(crate) struct Before {
    existed: bool,
    /// Whether a monitor was watched no more.
    was_removed: bool,
    was_open: bool,
    /// When a run had ended.
    ended: Option<Timestamp>,
    /// Whether a monitor was down, and whether it was failing.
    was: (bool, bool),
    /// When the question after its parents was put that is open.
    asked: Option<Timestamp>,
    /// The check that ran, and when the next one was due.
    check: Option<u32>,
    due: Option<Timestamp>,
}

impl Before {
    pub(crate) fn of(state: &AnyMachine) -> Self {
        Self {
            existed: state.exists(),
            was_removed: state.monitor().is_some_and(|it| it.removed),
            was_open: state.is_open(),
            ended: ended_at(state),
            was: state.monitor().map(|it| (it.is_down(), it.is_failing())).unwrap_or_default(),
            asked: state.monitor().and_then(question),
            check: state.monitor().and_then(|it| it.check.as_ref()).map(|check| check.sequence),
            due: state.monitor().and_then(|monitor| monitor.next_at),
        }
    }
}

impl Engine {
    /// Does what follows from a commit that is durable, beyond what the commit itself owes.
    pub(crate) async fn follow_changes(
        &self,
        id: &ExecutionId,
        state: &AnyMachine,
        changes: Changes,
    ) {
        if changes.removes {
            self.drop_samples(id);
        }
        if changes.releases {
            self.release(id).await;
        }
        self.count(&changes);
        if let Some(fired) = changes.fired {
            self.tell_of_schedule(id, fired);
        }
        if changes.tells_dependents {
            self.tell_dependents(id);
        }
        let asks = state.monitor().map(Monitor::asks).filter(|_| changes.asks_parents);
        if let Some(asks) = asks.filter(|asks| !asks.is_empty()) {
            self.ask_parents(id, asks.to_vec());
        }
    }

    /// Counts what was committed.
    fn count(&self, figures: &Changes) {
        let counters = &self.inner.counters;
        counters.started.fetch_add(figures.started, Ordering::Relaxed);
        counters.completed.fetch_add(figures.completed, Ordering::Relaxed);
        counters.failed.fetch_add(figures.failed, Ordering::Relaxed);
        let now = self.now();
        figures.began.iter().for_each(|due| self.inner.meters.checks.observe_since(*due, now));
    }
}

/// What the decisions of one commit changed, each compared with the state that it was made on: what one
/// did and the next undid was a change.
#[derive(Default)]
pub(crate) struct Changes {
    /// A monitor went down, came up, or began or ceased to fail.
    tells_dependents: bool,
    /// A monitor put a question after its parents.
    asks_parents: bool,
    /// A monitor is watched no more.
    removes: bool,
    /// An operator ended an execution: it is not quarantined any more.
    releases: bool,
    /// What became of a schedule's firings.
    fired: Option<Fired>,
    started: u64,
    completed: u64,
    failed: u64,
    /// Ends of the run, for whoever exports traces.
    pub(crate) ends: Ends,
    /// When the checks were due that began.
    began: Vec<Timestamp>,
}

impl Changes {
    /// Adds one decision on this input.
    pub(crate) fn add(
        &mut self,
        before: &Before,
        input: &AnyInput,
        state: &AnyMachine,
        decided: &Decided,
    ) {
        self.releases |= input.ends_execution();
        if state.is_run() {
            self.ends.add(before.ended, ended_at(state));
            self.started += u64::from(!before.existed && state.exists());
            match state.end().filter(|_| before.was_open || !before.existed) {
                Some(true) => self.completed += 1,
                Some(false) => self.failed += 1,
                None => {}
            }
        }
        if let Some(monitor) = state.monitor() {
            self.add_monitor(before, monitor);
        }
        if state.schedule().is_some() {
            self.fired = Fired::of(&decided.effects).or(self.fired.take());
        }
    }

    fn add_monitor(&mut self, before: &Before, monitor: &Monitor) {
        self.tells_dependents |= (monitor.is_down(), monitor.is_failing()) != before.was;
        self.removes |= monitor.removed && !before.was_removed;
        // One question may follow another in one decision.
        let asked = question(monitor);
        self.asks_parents |= asked.is_some() && asked != before.asked;
        let check = monitor.check.as_ref();
        if let Some(check) = check.filter(|it| Some(it.sequence) != before.check) {
            self.began.extend(before.due.filter(|due| *due <= check.started_at));
        }
    }
}

/// When a run has ended.
fn ended_at(state: &AnyMachine) -> Option<Timestamp> {
    let of_instance = || state.instance().and_then(|instance| instance.ended_at);
    state.execution().map_or_else(of_instance, |run| run.ended_at)
}

/// When a monitor put the question after its parents that is open.
fn question(monitor: &Monitor) -> Option<Timestamp> {
    monitor.asked.filter(|asked| asked.until.is_some()).map(|asked| asked.at)
}
