//! Places at gates: executions of which only so many may run at once wait in the queues like tasks,
//! and are let through by the engine itself.
//!
//! What holds a place is counted from the durable rows, so a limit survives a restart. A place that
//! a start was promised before it is committed is reserved in memory and given back if the commit
//! fails.

use std::sync::Arc;
use std::time::Duration;

use kernel::graph::Input;
use kernel::{ExecutionId, Permit, PermitRequest, RowKind, Timestamp};

use crate::engine::{Engine, Error};
use crate::queues::TaskKey;
use crate::store::{QueueRow, StoreError};

/// Executions let through one gate in one look.
const BATCH_MAX: usize = 16;
/// Pause before a gate is looked at again when the store is away.
const RETRY: Duration = Duration::from_millis(500);

/// The row of a place.
pub(crate) fn row(execution: &ExecutionId, admission: PermitRequest) -> QueueRow {
    QueueRow {
        execution: execution.clone(),
        kind: RowKind::Permit(admission.permit),
        queue: admission.gate.clone(),
        name: admission.gate,
        priority: admission.priority,
        ready_at: admission.since,
        held: admission.held,
        concurrent_max: admission.limit,
        rate_max: 0,
        rate_window_seconds: 1,
    }
}

/// The row of a place that is taken before its commit.
pub(crate) fn held(key: TaskKey, gate: Arc<str>, limit: u32, now: Timestamp) -> QueueRow {
    let (execution, number) = key;
    QueueRow {
        execution,
        kind: RowKind::of(number),
        queue: gate.clone(),
        name: gate,
        priority: 0,
        ready_at: now,
        held: true,
        concurrent_max: limit,
        rate_max: 0,
        rate_window_seconds: 1,
    }
}

impl Engine {
    /// A place was written down.
    pub(crate) fn take_place(&self, row: QueueRow, now: Timestamp) {
        let gate = (!row.held).then(|| row.queue.clone());
        self.inner.queues.put(row, now);
        if let Some(gate) = gate {
            self.open_gate(gate);
        }
    }

    /// A place was given up, or nobody waits for it any more: the next may have it.
    pub(crate) fn leave_place(&self, key: &TaskKey) {
        let gate = self.inner.queues.row(key).map(|row| row.queue);
        self.inner.queues.remove(key);
        if let Some(gate) = gate
            && !self.inner.queues.forget_gate(&gate)
        {
            self.open_gate(gate);
        }
    }

    /// Gives back the places that an execution was promised in a decision that was not committed.
    pub(crate) fn forget_places(&self, id: &ExecutionId) {
        for permit in Permit::ALL {
            if let Some(gate) = self.inner.queues.unreserve(&(id.clone(), permit.number())) {
                self.open_gate(gate);
            }
        }
    }

    /// Looks at every gate, after a start.
    pub(crate) fn open_gates(&self) {
        for gate in self.inner.queues.gates() {
            self.open_gate(gate);
        }
    }

    /// Lets through whoever has a place, later and on its own.
    fn open_gate(&self, gate: Arc<str>) {
        if self.inner.tasks.is_closed() {
            return;
        }
        let engine = self.clone();
        self.inner.tasks.spawn(async move { engine.let_through(&gate).await });
    }

    async fn let_through(&self, gate: &str) {
        loop {
            let keys = self.inner.queues.take(gate, BATCH_MAX, self.now(), None);
            if keys.is_empty() {
                return;
            }
            for key in keys {
                let claim = Input::Claim { sequence: key.1, worker: None };
                match self.step(&key.0, claim).await {
                    Ok(()) => {}
                    // It has ended or passed meanwhile: its row goes with that commit or is gone.
                    Err(Error::Rejected(_) | Error::Quarantined { .. }) => {
                        tracing::debug!(workflow = %key.0, gate, "concurrency permit no longer needed");
                    }
                    Err(Error::Closing | Error::Store(StoreError::Closed)) => return,
                    Err(error) => {
                        tracing::warn!(workflow = %key.0, gate, %error, "concurrency permit requeued");
                        self.inner.queues.put_back(&key, self.now());
                        tokio::select! {
                            biased;
                            () = self.inner.stop.cancelled() => return,
                            () = tokio::time::sleep(RETRY) => {}
                        }
                    }
                }
            }
        }
    }
}
