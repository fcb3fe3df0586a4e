//! What workers answer: results of turns, activities and batches, and what they give back undone.

use engine::Engine;
use engine::durable::Answer;
use kernel::ExecutionId;
use kernel::access::{Permission, Permissions};
use kernel::durable::instance::TurnResult;
use kernel::durable::{Action, ActionKind, Fact, HistoryEvent, WORKFLOW, WorkToken};
use proto::{ActivityResponse, EntityBatchResult, OrchestratorResponse};
use tonic::{Code, Status};

use crate::access::Scope;

use super::chunks::Chunks;
use super::convert::{action, entity, failure, text};
use super::status;
use super::tokens::Tokens;

/// What answers are read with.
#[derive(Clone, Copy)]
pub(super) struct CompletionContext<'a> {
    pub(super) engine: &'a Engine,
    pub(super) tokens: &'a Tokens,
    pub(super) chunks: &'a Chunks,
    /// The task hub for which the caller speaks.
    pub(super) hub: &'a str,
    /// What else it may reach.
    pub(super) scope: &'a Scope,
}

/// Takes the answer to a turn, or one of its chunks.
pub(super) async fn turn(
    context: CompletionContext<'_>,
    answer: OrchestratorResponse,
) -> Result<(), Status> {
    let engine = context.engine;
    let token = context.token(&answer.completion_token, &answer.instance_id, None).await?;
    let holder = |token: &WorkToken| engine.holder(token);
    let Some(answer) = context.chunks.add(&token, answer, holder)? else { return Ok(()) };
    if answer.requires_history || answer.is_partial {
        engine.offer_once_more(&token);
        return Ok(());
    }
    // Some SDKs say 0 where they mean all.
    let processed = answer.num_events_processed.and_then(|count| usize::try_from(count).ok());
    let processed = processed.filter(|count| *count > 0);
    let actions = match action::actions(answer.actions) {
        Ok(actions) => actions,
        Err(status) => return Err(context.rejected(&token, status).await),
    };
    if let Err(status) = context.check_reach(&actions).await {
        return Err(context.rejected(&token, status).await);
    }
    let result = TurnResult {
        token,
        actions,
        custom_status: text(answer.custom_status),
        processed,
        trace: action::turn_trace(answer.orchestration_trace_context),
    };
    told(engine.complete_turn(result).await.map_err(status::of)?)
}

/// Takes the result of an activity.
pub(super) async fn activity(
    context: CompletionContext<'_>,
    answer: ActivityResponse,
) -> Result<(), Status> {
    let task = Some(answer.task_id);
    let token = context.token(&answer.completion_token, &answer.instance_id, task).await?;
    let result = match answer.failure_details {
        Some(details) => Err(Box::new(failure::failure(details))),
        None => Ok(text(answer.result)),
    };
    told(context.engine.complete_activity(token, result).await.map_err(status::of)?)
}

/// Takes the answer to a batch of operations.
pub(super) async fn batch(
    context: CompletionContext<'_>,
    answer: EntityBatchResult,
) -> Result<(), Status> {
    let token = context.tokens.open(context.hub, &answer.completion_token)?;
    if answer.requires_state {
        context.engine.offer_once_more(&token);
        return Ok(());
    }
    let result = match entity::result(token.clone(), answer) {
        Ok(result) => result,
        Err(status) => return Err(context.rejected(&token, status).await),
    };
    told(context.engine.complete_batch(result).await.map_err(status::of)?)
}

/// A worker gives a piece of work back; it goes to another after a moment. What is not out any more
/// needs no giving back.
pub(super) async fn abandon(context: CompletionContext<'_>, token: &str) -> Result<(), Status> {
    let token = context.tokens.open(context.hub, token)?;
    context.chunks.forget(&token);
    context.engine.abandon(&token).await;
    Ok(())
}

/// The workflow that a line of a history tells the start of.
fn workflow_of(event: &HistoryEvent) -> Option<&str> {
    match &event.fact {
        Fact::SubOrchestrationCreated { call, .. } => call.name.strip_prefix(WORKFLOW),
        _ => None,
    }
}

fn told(answer: Answer) -> Result<(), Status> {
    match answer {
        Answer::Taken => Ok(()),
        Answer::TooLate(why) => Err(Status::failed_precondition(why)),
    }
}

impl CompletionContext<'_> {
    /// The token of an answer. An SDK that sends none back means what is out at the time.
    async fn token(
        self,
        token: &str,
        instance_id: &str,
        task: Option<i32>,
    ) -> Result<WorkToken, Status> {
        if !token.is_empty() {
            return self.tokens.open(self.hub, token);
        }
        let id = ExecutionId::instance(self.hub, instance_id);
        let found = self.engine.token_of(&id, task).await.map_err(status::of)?;
        found.ok_or_else(|| {
            let what = task.map_or_else(|| "a turn".to_owned(), |task| format!("activity {task}"));
            let words =
                format!("no completion token, and {what} of '{instance_id}' is not handed out");
            Status::failed_precondition(words)
        })
    }

    /// Checks that an orchestrator starts no workflow that its worker may not start: hubs keep tenants
    /// apart, and workflows are outside of them.
    async fn check_reach(self, actions: &[Action]) -> Result<(), Status> {
        if self.scope.is_all() {
            return Ok(());
        }
        let scope = self.scope.needing(Permissions::of(&[Permission::Run]));
        for action in actions {
            let started = match &action.kind {
                ActionKind::CreateSubOrchestration { call, .. } => call.name.strip_prefix(WORKFLOW),
                // Such a history could name executions that this instance never started.
                ActionKind::Rewind { history } => history.iter().find_map(workflow_of),
                _ => None,
            };
            let Some(name) = started else { continue };
            let covered = scope.covers_workflow(self.engine, name).await;
            let covered = covered.map_err(|it| Status::unavailable(it.message))?;
            if !covered || matches!(action.kind, ActionKind::Rewind { .. }) {
                let words = format!("the worker's key may not start the workflow '{name}'");
                return Err(Status::permission_denied(words));
            }
        }
        Ok(())
    }

    /// An answer cannot be taken: the work goes to another, and not for ever.
    async fn rejected(self, token: &WorkToken, status: Status) -> Status {
        let what = match status.code() {
            Code::PermissionDenied => "is not allowed",
            _ => "makes no sense",
        };
        let reason = format!("the worker's answer {what}: {}", status.message());
        self.engine.reject(token, reason).await;
        status
    }
}
