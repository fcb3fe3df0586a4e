//! The inbox: a message is written here first, and leaves when every handler is done with it.

use std::time::Duration;

use futures_util::future::join_all;
use kernel::definition::{ConditionForm, EventAction, EventHandler};
use kernel::graph::TaskStatus;
use kernel::{ExecutionId, Form, MachineKind, Scripts};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::action::{Acting, Failure, Place};
use super::broker::{BrokerError, EventMessage, EventName};
use super::handling::{Handling, Standing};
use super::payload::Payload;
use super::update::UPDATER;
use crate::engine::Engine;
use crate::mutants::{self, Mutant};
use crate::store::{Document, StoreError};

/// Kind of the documents that messages are kept as.
const KIND: &str = "event_message";
/// Longest id of a message, in bytes; a longer one is replaced by its digest.
const ID_MAX: usize = 256;
/// Waits before an action that failed is tried again; after the last it has failed.
const RETRIES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4)];
/// Wait before a message is tried again when the store is away.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// Why a message was not published.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// The broker's word.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A message in the inbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredMessage {
    event: String,
    id: String,
    payload: String,
    /// What it does to the task that it names, if it came through a queue of updates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    update: Option<TaskStatus>,
    /// The execution here that has sent it. What came from outside has none, whatever its id says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender: Option<ExecutionId>,
}

impl StoredMessage {
    fn key(&self) -> String {
        format!("{}/{}", self.event, self.id)
    }
}

impl Engine {
    /// Publishes a message; whoever is to have it has it when this returns. One of the type
    /// `conductor` is for the handlers here.
    ///
    /// # Errors
    /// The broker's, or the store's.
    pub async fn publish_event(&self, message: EventMessage) -> Result<(), PublishError> {
        self.publish_as(None, message).await
    }

    /// The same for an execution: what handlers start on account of the message stems from it.
    ///
    /// # Errors
    /// The broker's, or the store's.
    pub async fn publish_event_of(
        &self,
        sender: &ExecutionId,
        message: EventMessage,
    ) -> Result<(), PublishError> {
        let starts = matches!(sender.machine(), MachineKind::Execution | MachineKind::Instance);
        self.publish_as(starts.then_some(sender), message).await
    }

    async fn publish_as(
        &self,
        sender: Option<&ExecutionId>,
        message: EventMessage,
    ) -> Result<(), PublishError> {
        if &*message.event.kind == HERE {
            self.receive_from(sender.cloned(), message).await?;
            return Ok(());
        }
        let broker = self.inner.events.brokers.read().get(&*message.event.kind).cloned();
        let Some(broker) = broker else {
            let kinds = self.event_kinds().join(", ");
            let message =
                format!("there is no broker for '{}'; there is {kinds}", message.event.kind);
            return Err(BrokerError::Invalid(message).into());
        };
        if let Some(sender) = sender {
            self.inner.lineages.note_sent(&message.id, sender);
        }
        Ok(broker.publish(&message).await?)
    }

    /// The types of events that can be published.
    pub fn event_kinds(&self) -> Vec<&'static str> {
        let brokers = self.inner.events.brokers.read();
        std::iter::once(HERE).chain(brokers.keys().copied()).collect()
    }

    /// Takes a message; it is durable and on its way to its handlers when this returns. One that
    /// was taken before has no effect. `false` if no handler subscribes to its queue.
    ///
    /// # Errors
    /// The store's: it was not taken.
    pub async fn receive_event(&self, message: EventMessage) -> Result<bool, StoreError> {
        self.receive_from(None, message).await
    }

    /// The same for a message of which it is known that an execution here has sent it.
    pub(super) async fn receive_from(
        &self,
        sender: Option<ExecutionId>,
        message: EventMessage,
    ) -> Result<bool, StoreError> {
        let update = self.inner.events.updates.read().get(&message.event).copied();
        let handlers = self.heeding(&message.event);
        if update.is_none() && handlers.is_empty() {
            return Ok(false);
        }
        let message = EventMessage { id: bounded(message.id), ..message };
        let max = self.limits().payload_max;
        if message.payload.len() > max {
            let size = message.payload.len();
            let reason = format!("a message of {size} bytes exceeds {max} bytes (payload_max)");
            for handler in &handlers {
                let output = exception(&reason);
                self.remember_undone(handler, &message, Standing::Failed, output).await?;
            }
            return Ok(true);
        }
        let letter = StoredMessage {
            event: message.event.to_string(),
            id: message.id,
            payload: message.payload,
            update,
            sender,
        };
        let engine = self.clone();
        // To its end even if the caller goes away: what is written is also handled.
        let taking = async move { engine.write_down(letter).await };
        self.inner.tasks.spawn(taking).await.unwrap_or(Err(StoreError::Closed)).map(|()| true)
    }

    async fn write_down(&self, letter: StoredMessage) -> Result<(), StoreError> {
        let permit = self.inner.events.at_once.clone().acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Closed)?;
        let text = serde_json::to_string(&letter).expect("a message serializes to JSON");
        let document = Document {
            kind: KIND.into(),
            name: letter.key().into(),
            version: 0,
            text: text.into(),
        };
        self.inner.store.put_document(document).await?;
        self.begin_handling(letter, Some(permit));
        Ok(())
    }

    /// Goes on with what was in the inbox when the process ended.
    pub(super) async fn recover_inbox(&self) -> Result<(), StoreError> {
        for document in self.inner.store.documents(KIND).await? {
            if let Some(letter) = self.inner.damaged.read(&document)
                && !mutants::is(Mutant::EventsForgotten)
            {
                self.begin_handling(letter, None);
            }
        }
        Ok(())
    }

    fn begin_handling(&self, letter: StoredMessage, permit: Option<OwnedSemaphorePermit>) {
        let key = letter.key();
        {
            let mut working = self.inner.events.working.lock();
            if let Some(again) = working.get_mut(&key) {
                // Whoever works on it looks once more, lest what was written just now stays.
                *again = true;
                return;
            }
            working.insert(key.clone(), false);
        }
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let permit = match permit {
                Some(permit) => Some(permit),
                None => engine.inner.events.at_once.clone().acquire_owned().await.ok(),
            };
            let place = Place::new(permit);
            loop {
                let finished = engine.handle_until_done(&letter, &place).await;
                let mut working = engine.inner.events.working.lock();
                match working.get_mut(&key) {
                    Some(again) if finished && *again => *again = false,
                    _ => {
                        working.remove(&key);
                        return;
                    }
                }
            }
        });
    }

    /// Handles a message, however long the store is away; `false` if the server stops before that.
    async fn handle_until_done(&self, letter: &StoredMessage, place: &Place) -> bool {
        let Some(event) = EventName::parse(&letter.event) else { return true };
        let message =
            EventMessage { event, id: letter.id.clone(), payload: letter.payload.clone() };
        loop {
            match self.handle(letter, &message, place).await {
                Ok(()) => return true,
                Err(StoreError::Closed) => return false,
                Err(error) => {
                    tracing::warn!(event = %message.event, id = message.id, %error, "event message could not be handled; retrying");
                }
            }
            tokio::select! {
                biased;
                () = self.inner.stop.cancelled() => return false,
                () = tokio::time::sleep(STORE_RETRY) => {}
            }
        }
    }

    async fn handle(
        &self,
        letter: &StoredMessage,
        message: &EventMessage,
        place: &Place,
    ) -> Result<(), StoreError> {
        if let Some(status) = letter.update {
            self.handle_update(message, status).await?;
        }
        let handlers = self.heeding(&message.event);
        let payload = Payload::new(&message.payload);
        let mut handled = Vec::new();
        for handler in &handlers {
            let told = Handled { message, sender: letter.sender.as_ref(), payload: &payload };
            handled.push(self.handle_with(handler, told, place));
        }
        join_all(handled).await.into_iter().collect::<Result<(), StoreError>>()?;
        self.inner.store.delete_document(KIND, &letter.key(), 0).await?;
        Ok(())
    }

    async fn handle_update(
        &self,
        message: &EventMessage,
        status: TaskStatus,
    ) -> Result<(), StoreError> {
        let before = self.recall(UPDATER, 1, message).await?.pop().flatten();
        let action = if status == TaskStatus::Completed { "complete_task" } else { "fail_task" };
        let handling =
            before.unwrap_or_else(|| Handling::new(UPDATER, 0, message, Some(action), self.now()));
        self.carry_out(handling, HandlerAction::Update { payload: &message.payload, status }).await
    }

    async fn handle_with(
        &self,
        handler: &EventHandler,
        Handled { message, sender, payload }: Handled<'_>,
        place: &Place,
    ) -> Result<(), StoreError> {
        let before = self.recall(&handler.name, handler.actions.len(), message).await?;
        if before.iter().flatten().any(Handling::is_undone) {
            return Ok(());
        }
        // What was begun was found to be meant then.
        if before.iter().all(Option::is_none) {
            match self.is_meant(handler, payload).await {
                Ok(true) => {}
                Ok(false) => {
                    let output = Map::from_iter([
                        ("msg".to_owned(), message.payload.as_str().into()),
                        ("condition".to_owned(), handler.condition().into()),
                    ]);
                    return self.remember_undone(handler, message, Standing::Skipped, output).await;
                }
                Err(reason) => {
                    tracing::warn!(
                        handler = handler.name,
                        reason,
                        "condition of an event handler failed"
                    );
                    let output = exception(&reason);
                    return self.remember_undone(handler, message, Standing::Failed, output).await;
                }
            }
        }
        for (index, (action, before)) in handler.actions.iter().zip(before).enumerate() {
            let name = action.action.map(kernel::definition::EventActionType::as_str);
            let handling = before
                .unwrap_or_else(|| Handling::new(&handler.name, index, message, name, self.now()));
            let view = payload.view(action.expand_inline_json);
            let acting = Acting { engine: self, handler, index, message, sender, view, place };
            self.carry_out(handling, HandlerAction::Action(acting, action)).await?;
        }
        Ok(())
    }

    /// Whether a handler's condition lets a message pass.
    async fn is_meant(&self, handler: &EventHandler, payload: &Payload) -> Result<bool, String> {
        let Some(condition) = handler.condition() else { return Ok(true) };
        let view = payload.view(true);
        let result = match handler.condition_form() {
            Some(ConditionForm::Member) => view.member(condition).cloned().unwrap_or_default(),
            Some(ConditionForm::Script) => {
                let (source, seen) = (condition.to_owned(), view.json());
                let evaluate = move |_: &Self, scripts: &dyn Scripts| {
                    scripts.javascript(&source, Form::Statements, &seen)
                };
                let answer = self.evaluate(evaluate).await.map_err(|error| error.to_string())?;
                answer.map_err(|error| error.to_string())?.parse()
            }
            None => return Err("the handler's evaluator is unknown".to_owned()),
        };
        Ok(match result {
            Value::Bool(flag) => flag,
            Value::Number(number) => number.as_f64().is_some_and(|number| number > 0.0),
            _ => false,
        })
    }

    /// Does one thing about a message until it is done or has failed, and remembers which.
    async fn carry_out(
        &self,
        mut handling: Handling,
        deed: HandlerAction<'_>,
    ) -> Result<(), StoreError> {
        if handling.standing != Standing::InProgress {
            return Ok(());
        }
        let mut retries = RETRIES.iter();
        loop {
            let done = match &deed {
                HandlerAction::Action(acting, action) => acting.act(action, &mut handling).await,
                HandlerAction::Update { payload, status } => {
                    self.update_by_message(payload, *status, &mut handling).await
                }
            };
            let reason = match done {
                Ok(output) => {
                    return self.remember(&handling.ended(Standing::Completed, output)).await;
                }
                Err(Failure::Store(error)) => return Err(error),
                Err(Failure::Final(reason)) => reason,
                Err(Failure::Later(reason)) => match retries.next() {
                    None => reason,
                    Some(wait) => {
                        self.remember(&handling).await?;
                        tokio::select! {
                            biased;
                            () = self.inner.stop.cancelled() => return Err(StoreError::Closed),
                            () = tokio::time::sleep(*wait) => continue,
                        }
                    }
                },
            };
            tracing::warn!(reason, "action of an event handler failed");
            return self.remember(&handling.ended(Standing::Failed, exception(&reason))).await;
        }
    }
}

/// A message as handlers are told it.
#[derive(Clone, Copy)]
struct Handled<'a> {
    message: &'a EventMessage,
    sender: Option<&'a ExecutionId>,
    payload: &'a Payload,
}

/// One thing to do about a message.
enum HandlerAction<'a> {
    /// What a handler says.
    Action(Acting<'a>, &'a EventAction),
    /// What the message itself says.
    Update { payload: &'a str, status: TaskStatus },
}

/// The type of events that stay in the house.
pub(crate) const HERE: &str = "conductor";

fn exception(reason: &str) -> Map<String, Value> {
    super::action::object(json!({ "exception": reason }))
}

/// An id that fits keys: as it is, or a digest of it.
fn bounded(id: String) -> String {
    if id.len() <= ID_MAX {
        return id;
    }
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, id.as_bytes()).to_string()
}
