//! What the head of a run's page shows, of executions and of code in workers alike.

use engine::AnyMachine;
use kernel::graph::Execution;
use kernel::{ExecutionId, Timestamp};

use crate::value::cut;
use crate::{Context, Failure};

/// What the head of the page shows: it needs no payload.
#[derive(Clone, Debug)]
pub(super) struct Brief {
    pub(super) name: String,
    pub(super) version: Option<i32>,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) created_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) parent: Option<ExecutionId>,
    pub(super) correlation: Option<String>,
    pub(super) tasks: usize,
    /// Sub-workflows that it has started.
    pub(super) children: usize,
    pub(super) created_by: Option<String>,
    /// Whether it runs as code in workers.
    pub(super) is_code: bool,
}

/// Reads what the head shows; an execution or an instance of code.
pub(super) async fn of(cx: &Context<'_>, id: &str) -> Result<Brief, Failure> {
    let missing = || {
        Failure::missing(format!("There is no run {}", cut(id, 100)))
            .with_hint("It may have been removed: finished runs are kept for a while only.")
    };
    if id.is_empty() || id.len() > ExecutionId::LENGTH_MAX {
        return Err(missing());
    }
    let id = ExecutionId::new(id);
    if let Some(reason) = cx.engine.quarantine_of(&id) {
        return Ok(Brief {
            name: "Quarantined".to_owned(),
            version: None,
            status: "QUARANTINED".to_owned(),
            reason: Some(reason),
            created_at: cx.clock.now,
            ended_at: None,
            parent: None,
            correlation: None,
            tasks: 0,
            children: 0,
            created_by: None,
            is_code: false,
        });
    }
    let look = |machine: &AnyMachine| {
        let execution = machine.execution().filter(|it| it.is_started()).map(of_execution);
        let instance = machine.instance().filter(|it| it.has_begun()).map(|it| Brief {
            name: it.name().to_string(),
            version: None,
            status: it.status.as_str().to_owned(),
            reason: it.failure.as_ref().map(|failure| failure.message.to_string()),
            created_at: it.created_at,
            ended_at: it.ended_at,
            parent: it.parent(),
            correlation: None,
            tasks: 0,
            children: 0,
            created_by: None,
            is_code: true,
        });
        execution.or(instance)
    };
    cx.engine.look(&id, look).await?.flatten().ok_or_else(missing)
}

fn of_execution(state: &Execution) -> Brief {
    let definition = &state.plan().definition;
    Brief {
        name: definition.name.clone(),
        version: Some(definition.version),
        status: state.status.as_str().to_owned(),
        reason: state.reason.as_deref().map(str::to_owned),
        created_at: state.created_at,
        ended_at: state.ended_at,
        parent: state.parent.as_ref().map(|parent| parent.execution.clone()),
        correlation: state.correlation_id.as_deref().map(str::to_owned),
        tasks: state.task_count(),
        children: state.tasks().filter(|task| task.own_child().is_some()).count(),
        created_by: state.created_by.as_deref().map(str::to_owned),
        is_code: false,
    }
}
