//! What Durable Task workers answer.

use std::sync::Arc;
use std::time::Duration;

use kernel::Rejected;
use kernel::durable::entity::{self, BatchResult};
use kernel::durable::instance::{self, TurnResult};
use kernel::durable::{FailureDetails, WorkToken};

use super::attempts::Setback;
use crate::engine::{Engine, Error};
use crate::machine::AnyInput;
use crate::queues::TaskKey;

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It counts.
    Taken,
    /// It came too late, or twice: nothing changed. Why, in a sentence.
    TooLate(String),
}

/// Tries to commit an answer while the store is away.
const TRIES: usize = 20;
/// Pause between them.
const RETRY: Duration = Duration::from_millis(500);

impl Engine {
    /// A worker has done a turn.
    ///
    /// # Errors
    /// [`Rejected::Unknown`] if there is no such instance; [`Rejected::Invalid`] if the token is that
    /// of something else; the store's, after which the turn is handed out again.
    pub async fn complete_turn(&self, result: TurnResult) -> Result<Answer, Error> {
        let token = result.token.clone();
        let input = instance::Input::TurnCompleted(Box::new(result));
        self.answer(&token, input.into()).await
    }

    /// A worker has done an activity. The first result counts, whoever it comes from.
    ///
    /// # Errors
    /// As [`Engine::complete_turn`].
    pub async fn complete_activity(
        &self,
        token: WorkToken,
        result: Result<Option<Arc<str>>, Box<FailureDetails>>,
    ) -> Result<Answer, Error> {
        let input = instance::Input::ActivityCompleted { token: token.clone(), result };
        self.answer(&token, input.into()).await
    }

    /// A worker has done a batch of operations of an entity. One that failed as a whole comes again.
    ///
    /// # Errors
    /// As [`Engine::complete_turn`].
    pub async fn complete_batch(&self, result: BatchResult) -> Result<Answer, Error> {
        let token = result.token.clone();
        if let Some(failure) = &result.failure {
            tracing::warn!(entity = %token.machine(), reason = %failure.message, "entity batch failed");
            self.reject(&token, format!("the worker failed: {}", failure.message)).await;
            return Ok(Answer::Taken);
        }
        let input = entity::Input::BatchCompleted(Box::new(result));
        self.answer(&token, input.into()).await
    }

    /// A worker gives back what it was handed: it goes to another after a moment. `false` if it was
    /// not out under this token any more.
    pub async fn abandon(&self, token: &WorkToken) -> bool {
        // Orchestrators alone have versions that a worker may reject.
        let setback = match token {
            WorkToken::Turn { .. } => {
                let reason = "the worker gave it back; it may run another version";
                Setback::GivenBack(reason.to_owned())
            }
            WorkToken::Activity { .. } | WorkToken::Batch { .. } => Setback::Refused,
        };
        self.set_back(&key_of(token), Some(token), setback).await
    }

    /// A worker could not do what it was handed, or its answer makes no sense: it is tried again
    /// after a moment, and not for ever. `false` as [`Engine::abandon`].
    pub async fn reject(&self, token: &WorkToken, reason: String) -> bool {
        self.set_back(&key_of(token), Some(token), Setback::Failed(reason)).await
    }

    /// A worker needs more to do what it was handed, such as the history: it is offered again at
    /// once.
    pub fn offer_once_more(&self, token: &WorkToken) -> bool {
        let out = self.inner.crew.give_back(token);
        if out {
            self.offer_again(&key_of(token), Duration::ZERO);
        }
        out
    }

    async fn answer(&self, token: &WorkToken, input: AnyInput) -> Result<Answer, Error> {
        let mut tries = 0;
        let result = loop {
            let result = self.step(token.machine(), input.clone()).await;
            tries += 1;
            match &result {
                Err(error) if error.is_transient() && tries < TRIES => {
                    tokio::select! {
                        biased;
                        () = self.inner.stop.cancelled() => break result,
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
                _ => break result,
            }
        };
        match result {
            Ok(()) => Ok(Answer::Taken),
            Err(Error::Rejected(Rejected::Stale(why))) => {
                tracing::debug!(machine = %token.machine(), why, "late result of a work item ignored");
                Ok(Answer::TooLate(why))
            }
            Err(error) => {
                // The worker will not send it again: somebody has to do it anew.
                let reason = format!("its answer was not taken: {error}");
                let setback = match &error {
                    Error::Rejected(_) => Setback::Failed(reason),
                    _ => Setback::GivenBack(reason),
                };
                self.set_back(&key_of(token), Some(token), setback).await;
                Err(error)
            }
        }
    }
}

fn key_of(token: &WorkToken) -> TaskKey {
    (token.machine().clone(), token.sequence())
}
