//! Deciding: at once where it is cheap, on threads for evaluations where users' code may run.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kernel::definition::{SchemaDef, TaskDef};
use kernel::graph::{Context, World};
use kernel::{ExecutionId, Json, Rejected, Scripts};
use tokio::sync::MutexGuard;

use crate::cache::{Shared, Slot};
use crate::engine::{Engine, Error, Inner};
use crate::evaluation::{self, Evaluation, Outcome, Watch, Watched};
use crate::machine::{AnyInput, AnyMachine, Decided, DecisionContext};
use crate::mutants::{self, Mutant};
use crate::parts::Options;
use crate::store::StoreError;
use crate::vault::Shelf;

/// How long an operator who ends an execution waits for a decision on it.
pub(crate) const OPERATOR_PATIENCE: Duration = Duration::from_secs(1);

impl Engine {
    /// What decisions may know of the world.
    pub(crate) fn world(&self) -> impl World + '_ {
        DecisionEnv { inner: &self.inner }
    }

    /// Decides; a rejected input leaves the state in its slot. Evaluations that do not end are added to
    /// those that are known not to.
    pub(crate) async fn decide(
        &self,
        id: &ExecutionId,
        input: &AnyInput,
        slot: &mut Slot,
        known_stuck: &mut Vec<Evaluation>,
    ) -> Result<(AnyMachine, Decided), Undecided> {
        loop {
            self.load(id, slot).await?;
            let Some(mut state) = slot.state.take() else { return Err(Error::Closing.into()) };
            let input = self.inner.vault.guard(&state, input.clone());
            let (state, result) = if state.may_evaluate(&input, slot.bytes) {
                let outcome = self.decide_aside(id, state, input, known_stuck.clone()).await;
                // The state is gone with the thread, and what it reserved with it.
                match outcome.inspect_err(|_| self.forget_places(id))? {
                    Outcome::Done(done) => done,
                    Outcome::Panicked(panic) => return Err(self.panicked(id, slot, &*panic)),
                    // Decided again from what is stored, with this evaluation as failed: so the
                    // task that asked for it fails, with the reason.
                    Outcome::Stuck(evaluation) => {
                        known_stuck.push(evaluation);
                        // What the state held beyond the store is lost with it.
                        if slot.is_ahead {
                            return Err(Undecided::Together);
                        }
                        continue;
                    }
                    Outcome::Interrupted => {
                        self.forget_places(id);
                        let reason = format!("the decision on workflow {id} was interrupted");
                        return Err(Error::Unavailable(reason).into());
                    }
                }
            } else {
                let scripts = &*self.inner.scripts;
                let decide = || self.decide_with(&mut state, input, scripts);
                match std::panic::catch_unwind(AssertUnwindSafe(decide)) {
                    Ok(result) => (state, result),
                    Err(panic) => return Err(self.panicked(id, slot, &*panic)),
                }
            };
            return match result {
                Ok(decided) => Ok((state, decided)),
                Err(rejected) => {
                    slot.state = Some(state);
                    Err(Error::from(rejected).into())
                }
            };
        }
    }

    /// Decides on a thread for evaluations, of which this task holds none while it waits.
    async fn decide_aside(
        &self,
        id: &ExecutionId,
        mut state: AnyMachine,
        input: AnyInput,
        known_stuck: Vec<Evaluation>,
    ) -> Result<Outcome<(AnyMachine, Result<Decided, Rejected>)>, Error> {
        let watch = Watch::new(known_stuck);
        let (engine, seen) = (self.clone(), watch.clone());
        let decide = move || {
            let scripts = {
                let options = &engine.inner.options.evaluation;
                Watched::for_decision(&*engine.inner.scripts, &seen, options)
            };
            let result = engine.decide_with(&mut state, input, &scripts);
            (state, result)
        };
        self.inner.deciding.lock().insert(id.clone(), watch.clone());
        let outcome = self.inner.evaluators.run(&watch, decide).await;
        self.inner.deciding.lock().remove(id);
        outcome.map_err(|refused| Error::Unavailable(refused.to_string()))
    }

    fn decide_with(
        &self,
        state: &mut AnyMachine,
        input: AnyInput,
        scripts: &dyn Scripts,
    ) -> Result<Decided, Rejected> {
        let world = DecisionEnv { inner: &self.inner };
        let Options { limits, schedules, .. } = &self.inner.options;
        let context = Context { now: self.inner.clock.now(), scripts, world: &world, limits };
        let listening_since = || self.listening_since();
        let listening_since = &listening_since;
        state.decide(input, &DecisionContext { context: &context, schedules, listening_since })
    }

    /// Takes an execution's slot for an operator who ends it, and does not wait behind an evaluation.
    pub(crate) async fn lock_to_end<'s>(
        &self,
        id: &ExecutionId,
        shared: &'s Shared,
    ) -> MutexGuard<'s, Slot> {
        let mut lock = std::pin::pin!(shared.lock());
        loop {
            match tokio::time::timeout(OPERATOR_PATIENCE, &mut lock).await {
                Ok(slot) => return slot,
                Err(_) => self.interrupt(id),
            }
        }
    }

    /// Interrupts the decision on an execution that waits for an evaluation, if there is one: the
    /// execution is to be ended.
    pub(crate) fn interrupt(&self, id: &ExecutionId) {
        if let Some(watch) = self.inner.deciding.lock().get(id) {
            tracing::warn!(workflow = %id, "decision interrupted because the workflow is being terminated");
            watch.interrupt();
        }
    }

    /// Runs something of users outside of a decision, on a thread for that.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it, or too many others, do not end.
    pub async fn evaluate<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self, &dyn Scripts) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let watch = Watch::new(Vec::new());
        let (engine, seen) = (self.clone(), watch.clone());
        let work = move || work(&engine, &Watched::new(&*engine.inner.scripts, &seen));
        match self.inner.evaluators.run(&watch, work).await {
            Ok(Outcome::Done(value)) => Ok(value),
            Ok(Outcome::Panicked(panic)) => std::panic::resume_unwind(panic),
            Ok(Outcome::Stuck(_) | Outcome::Interrupted) => {
                Err(Error::Unavailable("an evaluation did not end".to_owned()))
            }
            Err(refused) => Err(Error::Unavailable(refused.to_string())),
        }
    }

    /// How evaluations stand.
    pub fn evaluations(&self) -> evaluation::Standing {
        self.inner.evaluators.standing()
    }

    /// A decision panicked. Only what does so from a state that the store has is quarantined.
    fn panicked(
        &self,
        id: &ExecutionId,
        slot: &Slot,
        panic: &(dyn std::any::Any + Send),
    ) -> Undecided {
        if slot.is_ahead {
            return Undecided::Together;
        }
        Undecided::Failed(self.put_in_quarantine(id, panic))
    }

    /// Folding a history panicked. Nothing reads it again; it can be removed.
    pub(crate) fn cannot_be_read(
        &self,
        id: &ExecutionId,
        panic: &(dyn std::any::Any + Send),
    ) -> Error {
        self.inner.suspects.leave_unread(id);
        self.put_in_quarantine(id, panic)
    }

    fn put_in_quarantine(&self, id: &ExecutionId, panic: &(dyn std::any::Any + Send)) -> Error {
        let reason = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        let known = self.inner.quarantine.lock().insert(id.clone(), reason.clone());
        if known.is_none() {
            tracing::error!(workflow = %id, %reason, "internal error: execution quarantined");
            self.inner.counters.quarantined.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.waker.set(id, None);
        self.forget_places(id);
        if mutants::is(Mutant::QuarantineSpreads) {
            self.stop();
        }
        Error::Quarantined { id: id.clone(), reason }
    }

    /// Why an execution is quarantined; `None` if it is not.
    pub fn quarantine_of(&self, id: &ExecutionId) -> Option<String> {
        self.inner.quarantine.lock().get(id).cloned()
    }
}

/// Why an input was not decided.
pub(crate) enum Undecided {
    /// It failed. The state is gone, unless the input was rejected.
    Failed(Error),
    /// It cannot be decided on a state that the store does not have yet, which is gone.
    Together,
}

impl From<Error> for Undecided {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Undecided {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// What decisions may know of the world, answered from this engine.
struct DecisionEnv<'a> {
    inner: &'a Inner,
}

impl World for DecisionEnv<'_> {
    fn task_def(&self, name: &str) -> Option<Arc<TaskDef>> {
        self.inner.definitions.task_referring(name)
    }

    fn is_builtin(&self, task_type: &str) -> bool {
        self.inner.runners.contains_key(task_type)
    }

    fn polled_lately(&self, queue: &str) -> bool {
        self.inner.queues.polled_lately(queue, self.inner.clock.now())
    }

    fn environment(&self, name: &str) -> Option<String> {
        self.inner.vault.get(Shelf::Environment, name)
    }

    fn schema(&self, name: &str, version: i32) -> Option<SchemaDef> {
        self.inner.definitions.schema(name, version).map(|schema| (*schema).clone())
    }

    fn reusable(&self, name: &str, key: &str) -> Option<Json> {
        self.inner.outputs.get(name, key, self.inner.clock.now())
    }

    fn place(&self, gate: &str, limit: u32, execution: &ExecutionId, sequence: u32) -> bool {
        let key = (execution.clone(), sequence);
        self.inner.queues.place(gate, limit, key, self.inner.clock.now())
    }
}
