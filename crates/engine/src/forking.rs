//! Forks: new executions that begin with the state of another one, which stays as it is.

use std::sync::Arc;

use kernel::graph::{Branch, BranchPoint, Context, Edit, Execution, FORKS, Input, Plan};
use kernel::{ExecutionId, Record, Rejected};

use crate::engine::{Engine, Error};
use crate::idempotency::Begun;
use crate::machine::AnyMachine;
use crate::search::RecordSearch;

/// A fork that is asked for.
#[derive(Clone, Debug)]
pub struct Fork {
    /// The execution that it branches off from.
    pub from: ExecutionId,
    /// Before which of its tasks.
    pub at: BranchPoint,
    /// What is different there.
    pub edits: Vec<Edit>,
    /// What to obey instead.
    pub plan: Option<Arc<Plan>>,
    /// Its label; absent = that of the other one.
    pub correlation_id: Option<Arc<str>>,
    /// Who asks.
    pub created_by: Option<Arc<str>>,
    /// Names the principal with whose grants its tasks act.
    pub acts_as: Option<Arc<str>>,
    /// A second fork of the same execution with the same key is not one.
    pub idempotency_key: Option<Arc<str>>,
}

/// A fork that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forked {
    /// What it was committed with: its key is the fork's id.
    pub record: Record,
    /// Where the fork stands; `None` if it has been removed.
    pub status: Option<&'static str>,
}

/// Forks of one execution that are told.
const FORKS_TOLD_MAX: u64 = 100;

impl Engine {
    /// Begins a fork; durable when this returns.
    ///
    /// # Errors
    /// [`Rejected::Unknown`] if there is no such execution; [`Rejected::Invalid`] if it has no such
    /// place or the edits are wrong; [`Rejected::Conflict`] if the plan does not fit; as
    /// [`Engine::begin`].
    pub async fn fork(&self, fork: Fork) -> Result<Begun, Error> {
        let key = fork.idempotency_key.clone();
        let id = match &key {
            Some(key) => fork.from.derive(&format!("fork/{key}"), 0),
            None => Self::new_id(),
        };
        if key.is_some() && self.read(&id, |_| ()).await?.is_some() {
            return Ok(Begun::Existing(id));
        }
        let branch = self.branch_of(fork).await?;
        let plan = branch.plan.as_ref().unwrap_or_else(|| branch.original.plan());
        let (name, by) = (plan.definition.name.clone(), branch.acts_as.clone());
        self.admit_start(&name, by.as_deref())?;
        match self.step(&id, Input::Branch(Box::new(branch))).await {
            Ok(()) => Ok(Begun::New(id)),
            Err(error) => {
                self.give_back_start(&name, by.as_deref());
                match error {
                    Error::Rejected(Rejected::Stale(_)) if key.is_some() => Ok(Begun::Existing(id)),
                    error => Err(error),
                }
            }
        }
    }

    /// Whether a fork could begin, and what `look` sees in the execution that it would branch off
    /// from. Changes nothing.
    ///
    /// # Errors
    /// As [`Engine::fork`].
    pub async fn check_fork<R>(
        &self,
        fork: Fork,
        look: impl FnOnce(&Execution) -> R,
    ) -> Result<R, Error> {
        let branch = self.branch_of(fork).await?;
        let world = self.world();
        let (now, scripts, limits) = (self.now(), self.scripts(), self.limits());
        branch.check(&Context { now, scripts, world: &world, limits })?;
        Ok(look(&branch.original))
    }

    async fn branch_of(&self, fork: Fork) -> Result<Branch, Error> {
        let Fork { from, at, edits, plan, correlation_id, created_by, acts_as, .. } = fork;
        let (original, version) = self.copy_of(&from).await?;
        let original = Box::new(original);
        Ok(Branch { original, version, at, edits, plan, correlation_id, created_by, acts_as })
    }

    /// An execution as it is, and how many commits it has had.
    pub(crate) async fn copy_of(&self, id: &ExecutionId) -> Result<(Execution, u64), Error> {
        if let Some(reason) = self.quarantine_of(id) {
            return Err(Error::Quarantined { id: id.clone(), reason });
        }
        let shared = self.inner.cache.slot(id);
        let mut slot = shared.lock().await;
        let loaded = self.load(id, &mut slot).await;
        let state = slot.state.as_ref().and_then(AnyMachine::execution);
        let copied = state.filter(|state| state.is_started()).cloned();
        let version = slot.version;
        self.settle_slot(id, slot);
        loaded?;
        let unknown = || Rejected::Unknown(format!("No such workflow found by id: {id}"));
        Ok((copied.ok_or_else(unknown)?, version))
    }

    /// The newest forks of an execution.
    ///
    /// # Errors
    /// The store's.
    pub async fn forks_of(&self, id: &ExecutionId) -> Result<Vec<Forked>, Error> {
        let search = RecordSearch {
            subjects: vec![id.to_string()],
            size: FORKS_TOLD_MAX,
            ..RecordSearch::newest(FORKS)
        };
        let mut forks = Vec::new();
        for record in self.store().records(&search).await?.rows {
            let head = self.store().head(&ExecutionId::new(record.key.clone())).await?;
            forks.push(Forked { status: head.map(|head| head.status), record });
        }
        Ok(forks)
    }
}
