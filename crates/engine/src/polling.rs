//! Handing tasks to workers, and taking their reports.

use std::sync::Arc;
use std::time::Duration;

use kernel::durable::DURABLE_QUEUE;
use kernel::graph::{
    Awaited, Execution, Input, Report, TaskStatus, Verdict, WEBHOOK_QUEUE, webhook_queue,
};
use kernel::{ExecutionId, Json, TaskId};
use tokio::time::Instant;

use crate::engine::{Engine, Error};
use crate::queues::Taker;

/// What a worker asks for.
#[derive(Clone, Debug)]
pub struct PollRequest {
    /// The queue: task type, with `domain:` before it if the worker has one.
    pub queue: Arc<str>,
    /// The worker's name.
    pub worker: Option<Arc<str>>,
    /// At most this many tasks.
    pub count: usize,
    /// How long to wait for the first.
    pub wait: Duration,
}

impl Engine {
    /// Hands out up to `count` tasks; waits for the first if there is none, and answers as soon as
    /// there is one. Every task answered is held by the worker; see `claims` for when that is written.
    ///
    /// # Errors
    /// The store's.
    pub async fn poll(&self, request: PollRequest) -> Result<Vec<TaskId>, Error> {
        if request.queue.starts_with(WEBHOOK_QUEUE) || request.queue.starts_with(DURABLE_QUEUE) {
            // What stands there is found by what it waits for, or is for Durable Task workers.
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + request.wait;
        let worker = request.worker.as_deref().unwrap_or_default();
        loop {
            if self.inner.stop.is_cancelled() {
                return Ok(Vec::new());
            }
            let now = self.now();
            self.inner.queues.polled(&request.queue, worker, now);
            let added = self.inner.queues.added(&request.queue);
            let added = added.notified();
            tokio::pin!(added);
            added.as_mut().enable();
            let (queues, count) = (&self.inner.queues, request.count);
            let taken = queues.take(&request.queue, count, now, Some(Taker::Worker));
            if !taken.is_empty() {
                let (engine, worker) = (self.clone(), request.worker.clone());
                // Goes on to its end even if the worker hangs up.
                let hold = async move { engine.hold_all(taken, worker.as_ref()).await };
                let held = self.inner.tasks.spawn(hold).await.map_err(|_| Error::Closing)??;
                if !held.is_empty() {
                    return Ok(held);
                }
                continue;
            }
            let next = self.inner.queues.next(&request.queue, now);
            let until = next.map_or(deadline, |next| deadline.min(Instant::now() + next));
            tokio::select! {
                biased;
                () = self.inner.stop.cancelled() => return Ok(Vec::new()),
                () = added => {}
                () = tokio::time::sleep_until(until) => {
                    if Instant::now() >= deadline {
                        return Ok(Vec::new());
                    }
                }
            }
        }
    }

    /// Holds several tasks at once. Those that cannot be held go back or away.
    async fn hold_all(
        &self,
        taken: Vec<(ExecutionId, u32)>,
        worker: Option<&Arc<str>>,
    ) -> Result<Vec<TaskId>, Error> {
        let holds = taken.into_iter().map(|key| async move {
            let claim = Input::Claim {
                sequence: key.1,
                worker: Some(worker.cloned().unwrap_or_else(|| "".into())),
            };
            let result = self.step_here(&key.0, claim.into()).await;
            (key, result)
        });
        let mut held = Vec::new();
        let mut failure = None;
        for (key, result) in futures_util::future::join_all(holds).await {
            match result {
                Ok(()) => held.push(TaskId::new(key.0, key.1)),
                Err(Error::Rejected(_) | Error::Quarantined { .. }) => {
                    self.inner.queues.remove(&key);
                }
                Err(error) => {
                    self.inner.queues.put_back(&key, self.now());
                    failure = Some(error);
                }
            }
        }
        self.inner
            .counters
            .polled
            .fetch_add(held.len() as u64, std::sync::atomic::Ordering::Relaxed);
        match failure {
            Some(error) if held.is_empty() => Err(error),
            _ => Ok(held),
        }
    }

    /// Why a task cannot be done now: it needs a secret that is kept elsewhere and cannot be read.
    pub(crate) async fn lacking_secret(
        &self,
        execution: &ExecutionId,
        sequence: u32,
    ) -> Result<Option<String>, Error> {
        if !self.inner.vault.lacks_any() {
            return Ok(None);
        }
        let look = |state: &Execution| self.inner.vault.lacking(state, sequence);
        Ok(self.read(execution, look).await?.flatten())
    }

    /// Fails a task that a worker took, if it needs a secret that cannot be read now: it is not handed
    /// out without one, and is tried again as its definition says. Whether it did.
    ///
    /// # Errors
    /// The store's.
    pub async fn fail_without_secret(&self, task: &TaskId) -> Result<bool, Error> {
        let lacking = self.lacking_secret(&task.execution, task.sequence).await?;
        let Some(reason) = lacking else { return Ok(false) };
        let report = Report {
            sequence: task.sequence,
            verdict: Verdict::Done(TaskStatus::Failed),
            output: None,
            merge: false,
            reason: Some(reason.into()),
            worker: None,
            started_at: None,
            metadata: None,
        };
        match self.step(&task.execution, Input::Report(Box::new(report))).await {
            Ok(()) | Err(Error::Rejected(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// A setting with the secrets that its author named in it. Never for what came as data.
    pub fn resolve_written(&self, written: &Json) -> Json {
        self.inner.vault.resolve_written(written)
    }

    /// The tasks of a workflow's running executions that wait for a payload from outside, and what
    /// for; the oldest of the highest priority first.
    pub fn awaiting(&self, workflow: &str) -> Vec<(TaskId, Awaited)> {
        let rows = self.inner.queues.list(&webhook_queue(workflow));
        let read = |((execution, sequence), name): (_, Arc<str>)| {
            Some((TaskId::new(execution, sequence), Awaited::of_row(&name)?))
        };
        rows.into_iter().filter_map(read).collect()
    }

    /// The queue of a task that waits or is held; `None` if it has ended.
    pub fn queue_of(&self, task: &TaskId) -> Option<Arc<str>> {
        let row = self.inner.queues.row(&(task.execution.clone(), task.sequence))?;
        Some(row.queue)
    }

    /// Takes a worker's report. A report on something that has ended is accepted and changes
    /// nothing, as the protocol wants.
    ///
    /// # Errors
    /// [`Error::Rejected`] if there is no such task; the store's.
    pub async fn report(&self, id: &ExecutionId, report: Report) -> Result<(), Error> {
        match self.step(id, Input::Report(Box::new(report))).await {
            Err(Error::Rejected(kernel::Rejected::Stale(why))) => {
                tracing::debug!(workflow = %id, why, "late task update ignored");
                Ok(())
            }
            result => result,
        }
    }
}
