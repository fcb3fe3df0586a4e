//! What a machine was before a decision, and what follows from the difference.

use std::sync::atomic::Ordering;

use kernel::Timestamp;
use kernel::alert::Monitor;

use crate::engine::Engine;
use crate::hosted::Hosted;

/// What a machine was before a decision.
pub(crate) struct Before {
    existed: bool,
    was_open: bool,
    /// Whether a monitor was down, and whether it was failing.
    was: (bool, bool),
    /// When the question after its parents was put that is open.
    asked: Option<Timestamp>,
    /// The check that ran, and when the next one was due.
    check: Option<u32>,
    due: Option<Timestamp>,
}

impl Before {
    pub(crate) fn of(state: &Hosted) -> Self {
        Self {
            existed: state.exists(),
            was_open: state.is_open(),
            was: state.monitor().map(|it| (it.is_down(), it.is_failing())).unwrap_or_default(),
            asked: state.monitor().and_then(question),
            check: state.monitor().and_then(|it| it.check.as_ref()).map(|check| check.sequence),
            due: state.monitor().and_then(|monitor| monitor.next_at),
        }
    }
}

impl Engine {
    /// What others must hear of a monitor that has changed, and what the figures show.
    pub(crate) fn follow_monitor(&self, monitor: &Monitor, before: &Before) {
        if (monitor.is_down(), monitor.is_failing()) != before.was {
            self.tell_dependents(&monitor.id);
        }
        // One question may follow another in one decision.
        if before.asked != question(monitor) && !monitor.asks().is_empty() {
            self.ask_parents(&monitor.id, monitor.asks().to_vec());
        }
        let now = self.now();
        if let Some(check) = monitor.check.as_ref().filter(|it| Some(it.sequence) != before.check)
            && let Some(due) = before.due.filter(|due| *due <= check.started_at)
        {
            self.inner.meters.checks.observe_since(due, now);
        }
    }

    pub(crate) fn count(&self, state: &Hosted, before: &Before) {
        let counters = &self.inner.counters;
        if !matches!(state, Hosted::Execution(_) | Hosted::Instance(_)) {
            return;
        }
        if !before.existed {
            counters.started.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(completed) = state.end().filter(|_| before.was_open || !before.existed) {
            let counter = if completed { &counters.completed } else { &counters.failed };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// When a monitor put the question after its parents that is open.
fn question(monitor: &Monitor) -> Option<Timestamp> {
    monitor.asked.filter(|asked| asked.until.is_some()).map(|asked| asked.at)
}
