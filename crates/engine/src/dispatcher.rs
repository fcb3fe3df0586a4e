//! Runs built-in tasks: takes them from their queues, runs them, reports what came of it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt as _};
use kernel::access::Permission;
use kernel::graph::{Execution, Input, Report, TaskStatus, Verdict};
use kernel::{Json, MachineKind, Rejected};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::acting::ActsOn;
use crate::engine::{Engine, Error, Run};
use crate::places::{Account, Places};
use crate::queues::{Taker, TaskKey};
use crate::runner::{Handoff, Outcome, OutcomeStatus, Requirement, TaskRunner};

/// A task that runs longer than this is recorded as begun: it can then be seen, and time out. A
/// shorter one costs one commit less.
const RECORD_AFTER: Duration = Duration::from_millis(100);
/// Pause before a queue is looked at again when the store is away.
const RETRY: Duration = Duration::from_millis(500);
/// How long a shutdown waits for running tasks.
const GRACE: Duration = Duration::from_secs(5);

impl Engine {
    /// One loop per built-in task type.
    pub(crate) fn run_dispatcher(&self) {
        for runner in self.inner.runners.values() {
            let (engine, runner) = (self.clone(), runner.clone());
            self.inner.tasks.spawn(async move { engine.serve(runner).await });
        }
    }

    async fn serve(&self, runner: Arc<dyn TaskRunner>) {
        let mut places = Places::new(self.inner.options.runs_max);
        let (ended, mut ends) = mpsc::unbounded_channel();
        let mut lookups = FuturesUnordered::new();
        let queue = runner.task_type();
        loop {
            while let Ok(account) = ends.try_recv() {
                places.give_back(&account);
            }
            while let Some((account, key)) = places.next() {
                self.run_in_place(&runner, key, account, &ended);
            }
            if self.inner.stop.is_cancelled() {
                return;
            }
            let now = self.now();
            self.inner.queues.polled(queue, ENGINE, now);
            let added = self.inner.queues.added(queue);
            let added = added.notified();
            tokio::pin!(added);
            added.as_mut().enable();
            let looks_max = self.inner.options.runs_max.max(1);
            while lookups.len() < looks_max {
                let Some(key) = self.inner.queues.take(queue, 1, now, Some(Taker::Server)).pop()
                else {
                    break;
                };
                let engine = self.clone();
                lookups.push(async move { (engine.account_of(&key).await, key) });
            }
            let has_room = lookups.len() < looks_max;
            let idle = self.inner.queues.next(queue, now).filter(|_| has_room);
            let again = if self.inner.options.upkeep { LOOK_AGAIN } else { NEVER_AGAIN };
            tokio::select! {
                biased;
                () = self.inner.stop.cancelled() => return,
                Some(account) = ends.recv() => places.give_back(&account),
                Some((account, key)) = lookups.next() => if let Some(account) = account {
                    let row = self.inner.queues.row(&key);
                    places.wait(account, row.map_or(0, |row| row.priority), key);
                },
                () = added, if has_room => {}
                () = tokio::time::sleep(idle.unwrap_or(again)) => {}
            }
        }
    }

    /// Runs a task in a place that it holds already, and gives the place back.
    fn run_in_place(
        &self,
        runner: &Arc<dyn TaskRunner>,
        key: TaskKey,
        account: Account,
        ended: &mpsc::UnboundedSender<Account>,
    ) {
        let (engine, runner, ended) = (self.clone(), runner.clone(), ended.clone());
        self.inner.tasks.spawn(async move {
            let place = HeldPlace { account: Some(account), ended };
            engine.run(&key, runner).await;
            drop(place);
        });
    }

    /// On whose account a task runs; `None` if it is not to be run now.
    async fn account_of(&self, key: &TaskKey) -> Option<Account> {
        match self.find_account(key).await {
            Ok(Some(account)) => Some(account),
            Ok(None) => {
                self.inner.queues.remove(key);
                None
            }
            // It is left alone until an operator ends it.
            Err(Error::Quarantined { .. }) => {
                self.inner.queues.remove(key);
                None
            }
            Err(error) => {
                tracing::warn!(workflow = %key.0, %error, "store unavailable; task delayed");
                let (engine, key) = (self.clone(), key.clone());
                self.inner.tasks.spawn(async move {
                    tokio::time::sleep(RETRY).await;
                    engine.inner.queues.put_back(&key, engine.now());
                });
                None
            }
        }
    }

    async fn find_account(&self, key: &TaskKey) -> Result<Option<Account>, Error> {
        let look = |state: &Execution| {
            let parent = state.parent.as_ref().map(|parent| parent.execution.clone());
            (parent, Arc::from(state.plan().definition.name.as_str()))
        };
        let Some((parent, definition)) = self.read(&key.0, look).await? else { return Ok(None) };
        let of_monitor = match parent {
            None => false,
            Some(parent) if parent.machine() == MachineKind::Monitor => true,
            Some(parent) => {
                let first = self.line_of(&parent).await?.pop();
                first.is_some_and(|first| first.machine() == MachineKind::Monitor)
            }
        };
        Ok(Some(Account { of_monitor, definition }))
    }

    /// Runs one task and reports, until the report is durable.
    async fn run(&self, key: &TaskKey, runner: Arc<dyn TaskRunner>) {
        let handoff = match self.handoff(key, runner.takes_secrets()).await {
            Ok(Some(handoff)) => handoff,
            Ok(None) | Err(Error::Quarantined { .. }) => return self.inner.queues.remove(key),
            Err(error) => {
                tracing::debug!(workflow = %key.0, %error, "store unavailable; task delayed");
                tokio::time::sleep(RETRY).await;
                return self.inner.queues.put_back(key, self.now());
            }
        };
        let refusal = match self.refusal_of_task(key, &*runner).await {
            Ok(refusal) => refusal,
            Err(error) => {
                tracing::debug!(workflow = %key.0, %error, "store unavailable; task delayed");
                tokio::time::sleep(RETRY).await;
                return self.inner.queues.put_back(key, self.now());
            }
        };
        let run = Run { cancel: CancellationToken::new(), started_at: self.now() };
        self.inner.running.lock().insert(key.clone(), run.clone());
        self.inner.counters.run.fetch_add(1, Ordering::Relaxed);
        let task_type = runner.task_type();
        let work = async {
            match refusal {
                Some(refusal) => refusal,
                None => runner.run(handoff, run.cancel.clone()).await,
            }
        };
        let work = AssertUnwindSafe(work).catch_unwind();
        tokio::pin!(work);
        let quick = tokio::time::timeout(RECORD_AFTER, &mut work).await.ok();
        let outcome = if quick.is_some() {
            quick
        } else {
            self.record(key).await;
            tokio::select! {
                biased;
                outcome = &mut work => Some(outcome),
                () = run.cancel.cancelled() => None,
                () = self.stopped_for_good() => None,
            }
        };
        // A task that outlives a shutdown stays in its queue and runs after the next start; one
        // that was withdrawn meanwhile has nothing to report.
        let withdrawn = !self.inner.running.lock().contains_key(key);
        let Some(outcome) = outcome.filter(|_| !withdrawn) else {
            self.inner.running.lock().remove(key);
            return;
        };
        let outcome = outcome.unwrap_or_else(|_| Outcome {
            status: OutcomeStatus::Failed,
            output: Json::empty_object(),
            reason: Some(format!("internal error in the {task_type} task")),
        });
        self.report_run(key, outcome, &run).await;
        // Only now: a shutdown waits for what is in here.
        self.inner.running.lock().remove(key);
    }

    /// What comes of a task that is not run: the principal that its run acts as may not do what it
    /// does, or a secret that it needs cannot be read now.
    async fn refusal_of_task(
        &self,
        key: &TaskKey,
        runner: &dyn TaskRunner,
    ) -> Result<Option<Outcome>, Error> {
        let because = |status, why: String| Outcome {
            status,
            output: Json::empty_object(),
            reason: Some(format!("{}: {why}", runner.task_type())),
        };
        if runner.takes_secrets()
            && let Some(why) = self.lacking_secret(&key.0, key.1).await?
        {
            return Ok(Some(because(OutcomeStatus::Failed, why)));
        }
        let (permission, on) = match runner.requires() {
            Requirement::Nothing | Requirement::EachThing => return Ok(None),
            Requirement::OwnRun => (Permission::Run, ActsOn::Itself),
            Requirement::Everything(permission) => (permission, ActsOn::Everything),
        };
        match self.must_be_allowed(&key.0, permission, on).await {
            Ok(()) => Ok(None),
            Err(Error::Rejected(Rejected::Forbidden(why))) => {
                Ok(Some(because(OutcomeStatus::FailedTerminally, why)))
            }
            Err(error) => Err(error),
        }
    }

    /// What a runner is given; `None` if the task is not to be run any more.
    async fn handoff(&self, key: &TaskKey, filled: bool) -> Result<Option<Handoff>, Error> {
        let look = |state: &Execution| {
            let task = state.task(key.1)?;
            let open = !state.status.is_closed() && !task.status.is_closed();
            open.then(|| Handoff {
                task_id: state.task_id(key.1).to_string(),
                execution_id: key.0.to_string(),
                reference: task.reference.to_string(),
                input: if filled {
                    self.resolve_for_runner(state, task)
                } else {
                    task.input.clone()
                },
                attempt: task.attempt,
                runs: task.poll_count,
                traceparent: None,
                async_complete: state.node_of(task).task.async_complete,
            })
        };
        let Some(mut handoff) = self.read(&key.0, look).await?.flatten() else { return Ok(None) };
        handoff.traceparent = self.traceparent_of(&key.0, key.1).await?;
        Ok(Some(handoff))
    }

    /// Records that a task has begun.
    async fn record(&self, key: &TaskKey) {
        let claim = Input::Claim { sequence: key.1, worker: None };
        match self.step(&key.0, claim).await {
            Ok(()) | Err(Error::Rejected(_)) => {}
            Err(error) => {
                tracing::warn!(workflow = %key.0, %error, "failed to persist the start of a task");
            }
        }
    }

    /// Resolves some time after a shutdown has begun.
    async fn stopped_for_good(&self) {
        self.inner.stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }

    async fn report_run(&self, key: &TaskKey, outcome: Outcome, run: &Run) {
        let (verdict, reason) = match outcome.status {
            OutcomeStatus::Completed => (Verdict::Done(TaskStatus::Completed), outcome.reason),
            OutcomeStatus::Failed => (Verdict::Done(TaskStatus::Failed), outcome.reason),
            OutcomeStatus::FailedFor(after) => {
                let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
                (Verdict::FailedFor { after }, outcome.reason)
            }
            OutcomeStatus::FailedTerminally => {
                (Verdict::Done(TaskStatus::FailedWithTerminalError), outcome.reason)
            }
            OutcomeStatus::InProgress { again_after: Some(after) } => {
                let after = i64::try_from(after.as_secs().max(1)).unwrap_or(i64::MAX);
                (Verdict::Again { after }, outcome.reason)
            }
            OutcomeStatus::InProgress { again_after: None } => (Verdict::Held, outcome.reason),
        };
        let report = Report {
            sequence: key.1,
            verdict,
            output: Some(outcome.output),
            merge: false,
            reason: reason.map(Into::into),
            worker: None,
            started_at: Some(run.started_at),
            metadata: None,
        };
        loop {
            match self.step(&key.0, Input::Report(Box::new(report.clone()))).await {
                Ok(()) | Err(Error::Closing) => return,
                Err(Error::Rejected(Rejected::Stale(_) | Rejected::Unknown(_))) => return,
                Err(error) if error.is_transient() => {
                    tracing::debug!(workflow = %key.0, %error, "task result could not be stored yet; retrying");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    tracing::warn!(workflow = %key.0, %error, "task result rejected");
                    return;
                }
            }
        }
    }

    /// Waits until running tasks have finished, for as long as a shutdown may take.
    pub(crate) async fn drain_runs(&self) {
        // Others may have waited meanwhile: all of it counts.
        let stopped_at = self.inner.stopped_at.get().copied();
        let deadline = stopped_at.unwrap_or_else(tokio::time::Instant::now) + GRACE;
        while !self.inner.running.lock().is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.inner.running.lock().drain().for_each(|(_, run)| run.cancel.cancel());
    }
}

/// A place that is given back when whatever ran in it is done, however it ended.
struct HeldPlace {
    account: Option<Account>,
    ended: mpsc::UnboundedSender<Account>,
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        if let Some(account) = self.account.take() {
            // Nobody listens any more while the server stops.
            drop(self.ended.send(account));
        }
    }
}

/// The name under which the engine itself polls.
const ENGINE: &str = "engine";
/// As good as never: a hundred years.
const NEVER_AGAIN: Duration = Duration::from_hours(876_000);
/// A queue is looked at again after this long even if nobody said that something came.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
