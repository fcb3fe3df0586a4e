//! Messages between executions: committed with the sender, deleted with the receiver's commit, so
//! received exactly once.
//!
//! Messages to one receiver go one after the other in the order of their commits: a child must not
//! hear that it shall end before it has begun.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kernel::durable::ORCHESTRATION;
use kernel::graph::{Asker, Execution, Message, Parent, Plan, Start, StartMessage};
use kernel::{ExecutionId, Json, MachineKind, Rejected};
use parking_lot::Mutex;

use crate::authors::Authored;
use crate::engine::{Engine, Error};
use crate::machine::{AnyInput, AnyMachine};
use crate::monitors::ApplyError;
use crate::mutants::{self, Mutant};
use crate::state_change_events;
use crate::store::{Outgoing, StoreError};

/// Messages on their way, by receiver. A receiver with an entry has a task that works it off.
#[derive(Default)]
pub(crate) struct Deliveries {
    waiting: Mutex<HashMap<ExecutionId, VecDeque<Outgoing>>>,
}

/// Pause before a message is tried again when the store is away.
const RETRY: Duration = Duration::from_millis(500);

impl Engine {
    /// Sends a committed message on its way.
    pub(crate) fn deliver(&self, outgoing: Outgoing) {
        let to = outgoing.to.clone();
        let mut waiting = self.inner.deliveries.waiting.lock();
        if let Some(queue) = waiting.get_mut(&to) {
            queue.push_back(outgoing);
            return;
        }
        waiting.insert(to.clone(), VecDeque::from([outgoing]));
        drop(waiting);
        let engine = self.clone();
        self.inner.tasks.spawn(async move { engine.work_off(to).await });
    }

    async fn work_off(&self, to: ExecutionId) {
        loop {
            let outgoing = {
                let mut waiting = self.inner.deliveries.waiting.lock();
                let next = waiting.get(&to).and_then(VecDeque::front).cloned();
                if next.is_none() {
                    waiting.remove(&to);
                }
                next
            };
            let Some(outgoing) = outgoing else { return };
            match self.receive(&outgoing).await {
                Ok(()) | Err(Error::Store(StoreError::Received)) => {}
                Err(Error::Closing | Error::Store(StoreError::Closed)) => return,
                Err(error) if error.is_transient() => {
                    tracing::debug!(to = %outgoing.to, %error, "message could not be delivered yet; retrying");
                    tokio::select! {
                        biased;
                        () = self.inner.stop.cancelled() => return,
                        () = tokio::time::sleep(RETRY) => continue,
                    }
                }
                // It goes on after the next start, perhaps by a release without the bug: then this is
                // delivered, too.
                Err(error @ Error::Quarantined { .. }) => {
                    tracing::warn!(to = %outgoing.to, %error, "receiver is quarantined; message kept for a later start");
                }
                Err(error) => {
                    tracing::warn!(to = %outgoing.to, %error, "message refused by its receiver; dropped");
                    if let Err(error) = self.inner.store.discard(&outgoing.key).await {
                        tracing::warn!(to = %outgoing.to, %error, "refused message could not be removed from the store");
                    }
                }
            }
            if let Some(queue) = self.inner.deliveries.waiting.lock().get_mut(&to) {
                queue.pop_front();
            }
        }
    }

    async fn receive(&self, outgoing: &Outgoing) -> Result<(), Error> {
        if state_change_events::is_event(outgoing) {
            return self.publish_committed(outgoing).await;
        }
        let message: Message = serde_json::from_str(&outgoing.body)
            .map_err(|error| StoreError::Corrupt(format!("message {:?}: {error}", outgoing.key)))?;
        let key = Some(outgoing.key.clone());
        let result = match message {
            Message::Start(start) => self.receive_start(outgoing, *start).await,
            Message::Retry { sequence: Some(sequence), .. } => {
                self.receive_retry(outgoing, message, sequence).await
            }
            Message::Observed(_) => self.receive_observed(outgoing, message).await,
            message => {
                let message = AnyInput::Message(message);
                if mutants::is(Mutant::DeliveredTwice) {
                    self.step_received(&outgoing.to, message.clone(), None).await?;
                }
                self.step_received(&outgoing.to, message, key).await
            }
        };
        match result {
            // The receiver has moved on: what was to be said does not matter any more.
            Err(Error::Rejected(rejected)) => {
                tracing::debug!(to = %outgoing.to, %rejected, "message arrived after its receiver had moved on; dropped");
                self.inner.store.discard(&outgoing.key).await?;
                Ok(())
            }
            result => result,
        }
    }

    async fn receive_start(
        &self,
        outgoing: &Outgoing,
        mut message: StartMessage,
    ) -> Result<(), Error> {
        if outgoing.key.sender.machine() == MachineKind::Schedule {
            let name = outgoing.key.sender.local_name();
            message.acts_as = self.author_of(Authored::Schedule, name);
        }
        self.slow_down(outgoing, &message).await?;
        if let Some(reason) = self.refusal_of(&message).await? {
            let by = message.asked_by.clone().or_else(|| message.parent.clone());
            let asker = by.map(|by| Asker { by, child: outgoing.to.clone() });
            return self.refuse_for_good(outgoing, asker, &reason).await;
        }
        if let Some(name) = message.name.strip_prefix(ORCHESTRATION) {
            let name = name.to_owned();
            return self.receive_orchestration(outgoing, message, &name).await;
        }
        let child = outgoing.to.clone();
        // A monitor does not ask to hear that something has begun, only that it cannot.
        let waits = message.asked_by.clone().or_else(|| message.parent.clone());
        let waits = waits.map(|by| Asker { by, child: child.clone() });
        let asker = message.asked_by.clone().map(|by| Asker { by, child });
        let strategy = message.idempotency.as_ref().and_then(|promise| promise.strategy);
        let begun = match self.start_of(message, asker.clone()).await? {
            Ok(start) => self.begin_received(outgoing, start, strategy).await,
            Err(reason) => Err(Rejected::Invalid(reason).into()),
        };
        match begun {
            // What exists already was told of; what may not begin was not.
            Err(Error::Rejected(
                Rejected::Invalid(reason)
                | Rejected::Conflict(reason)
                | Rejected::Forbidden(reason)
                | Rejected::Full(reason),
            )) => self.refuse(outgoing, waits, &reason).await,
            Err(error @ Error::Quarantined { .. }) => {
                self.refuse(outgoing, waits, &error.to_string()).await
            }
            result => result,
        }
    }

    /// What one machine says of something to a monitor, which is made if nobody has defined it.
    async fn receive_observed(&self, outgoing: &Outgoing, message: Message) -> Result<(), Error> {
        match self.make(outgoing.to.name()).await {
            Ok(()) => {}
            Err(ApplyError::Engine(error)) => return Err(error),
            Err(error) => return self.give_up_observed(outgoing, &error.to_string()).await,
        }
        let key = Some(outgoing.key.clone());
        let input = AnyInput::Message(message);
        match self.step_received(&outgoing.to, input.clone(), key.clone()).await {
            // Its document was written, and the process died, or the store was away, before the machine.
            Err(Error::Rejected(Rejected::Unknown(_))) => {
                self.define_again(outgoing.to.name()).await?;
                match self.step_received(&outgoing.to, input, key).await {
                    Err(Error::Rejected(unknown @ Rejected::Unknown(_))) => {
                        self.give_up_observed(outgoing, &unknown.to_string()).await
                    }
                    result => result,
                }
            }
            result => result,
        }
    }

    /// Discards what no monitor can hear. Whoever said it believes that somebody is told.
    async fn give_up_observed(&self, outgoing: &Outgoing, why: &str) -> Result<(), Error> {
        tracing::error!(
            monitor = %outgoing.to,
            from = %outgoing.key.sender,
            why,
            "incident could not be opened, so no notification is sent; define the monitor in a file"
        );
        self.inner.store.discard(&outgoing.key).await?;
        Ok(())
    }

    /// Defines the machines of the source of a monitor as its document says.
    async fn define_again(&self, monitor: &str) -> Result<(), Error> {
        let source = self.source_of_monitor(monitor);
        let file = source.as_ref().and_then(|source| self.monitors_of(source));
        let (Some(source), Some(file)) = (source, file) else { return Ok(()) };
        match self.apply_monitors(&source, file).await {
            Ok(_) => Ok(()),
            Err(ApplyError::Engine(error)) => Err(error),
            Err(error) => {
                tracing::warn!(monitor, %error, "monitor could not be defined");
                Ok(())
            }
        }
    }

    /// A child that is to try again; one that is no more cannot, and its parent must not wait.
    async fn receive_retry(
        &self,
        outgoing: &Outgoing,
        message: Message,
        sequence: u32,
    ) -> Result<(), Error> {
        let key = Some(outgoing.key.clone());
        let result = self.step_received(&outgoing.to, AnyInput::Message(message), key).await;
        let reason = match &result {
            Err(Error::Rejected(Rejected::Unknown(_))) => {
                format!("sub-workflow {} is no more: it cannot be tried again", outgoing.to)
            }
            Err(error @ Error::Quarantined { .. }) => error.to_string(),
            _ => return result,
        };
        let by = Parent { execution: outgoing.key.sender.clone(), sequence };
        let asker = Asker { by, child: outgoing.to.clone() };
        self.refuse(outgoing, Some(asker), &reason).await
    }

    /// Tells whoever asked that an execution cannot begin, or go on.
    pub(crate) async fn refuse(
        &self,
        outgoing: &Outgoing,
        asker: Option<Asker>,
        reason: &str,
    ) -> Result<(), Error> {
        tracing::warn!(to = %outgoing.to, reason, "workflow could not be started");
        let Some(asker) = asker else {
            self.inner.store.discard(&outgoing.key).await?;
            return Ok(());
        };
        self.say_refused(outgoing, asker.refusal(reason)).await
    }

    /// The same where another attempt would be refused, too.
    async fn refuse_for_good(
        &self,
        outgoing: &Outgoing,
        asker: Option<Asker>,
        reason: &str,
    ) -> Result<(), Error> {
        let Some(asker) = asker else { return self.refuse(outgoing, None, reason).await };
        tracing::warn!(to = %outgoing.to, reason, "start of a workflow refused; it is not tried again");
        self.say_refused(outgoing, asker.refusal_for_good(reason)).await
    }

    async fn say_refused(
        &self,
        outgoing: &Outgoing,
        (to, message): (ExecutionId, Message),
    ) -> Result<(), Error> {
        let key = Some(outgoing.key.clone());
        match self.step_received(&to, AnyInput::Message(message), key).await {
            Err(Error::Rejected(_)) => {
                self.inner.store.discard(&outgoing.key).await?;
                Ok(())
            }
            result => result,
        }
    }

    /// Finds the plan of a start on its way. The inner `Err` is for whoever asked.
    async fn start_of(
        &self,
        message: StartMessage,
        asked_by: Option<Asker>,
    ) -> Result<Result<Start, String>, Error> {
        let plan = match self.plan_of(&message) {
            Ok(plan) => plan,
            Err(reason) => return Ok(Err(reason)),
        };
        if let Some(parent) = &message.parent
            && self.depth(&parent.execution).await? >= self.limits().depth_max
        {
            let limit = self.limits().depth_max;
            return Ok(Err(format!("sub-workflows are nested deeper than {limit} (depth_max)")));
        }
        let input = match &message.failure_of {
            Some(failed) if self.failures_up_to(failed).await? > self.limits().depth_max => {
                let limit = self.limits().depth_max;
                return Ok(Err(format!(
                    "failure workflows of failure workflows failed more than {limit} times in a \
                     row (depth_max)"
                )));
            }
            Some(failed) => self.with_failed(&message.input, failed).await?,
            None => message.input,
        };
        Ok(Ok(Start {
            plan,
            input,
            correlation_id: message.correlation_id,
            priority: message.priority,
            task_to_domain: message.task_to_domain,
            parent: message.parent,
            asked_by,
            event: message.event,
            created_by: message.created_by,
            acts_as: message.acts_as,
            idempotency_key: message.idempotency.map(|promise| promise.key),
            traceparent: None,
        }))
    }

    pub(crate) fn plan_of(&self, message: &StartMessage) -> Result<Arc<Plan>, String> {
        if let Some(definition) = &message.definition {
            let definition = kernel::definition::parse_workflow(definition.get())
                .map_err(|problems| join(&problems))?;
            let mut problems = kernel::definition::validate_workflow(&definition, self.scripts());
            // Conductor looks at no reference of a definition inside another; one that leads
            // nowhere is null there, and people's definitions count on it.
            problems.retain(|problem| problem.code != "unknown-reference");
            if !problems.is_empty() {
                return Err(join(&problems));
            }
            return Ok(self.definitions().pin(definition));
        }
        self.definitions().plan(&message.name, message.version).ok_or_else(|| {
            let version = message.version.map_or(String::new(), |v| format!(" and version {v}"));
            format!("No such workflow found by name: {}{version}", message.name)
        })
    }

    /// How many executions are above this one, itself included.
    pub(crate) async fn depth(&self, id: &ExecutionId) -> Result<u32, Error> {
        Ok(u32::try_from(self.line_of(id).await?.len()).unwrap_or(u32::MAX))
    }

    /// An execution and those above it, as far up as sub-workflows may be nested.
    ///
    /// The line ends at a machine that is quarantined. It asked before it was set aside: what it
    /// asked for is not held back by what became of it.
    pub(crate) async fn line_of(&self, id: &ExecutionId) -> Result<Vec<ExecutionId>, Error> {
        let (mut line, mut id) = (vec![id.clone()], id.clone());
        while line.len() < self.limits().depth_max as usize {
            match self.look(&id, AnyMachine::parent).await {
                Ok(parent) => match parent.flatten() {
                    Some(parent) => id = parent,
                    None => break,
                },
                Err(Error::Quarantined { .. }) => break,
                Err(error) => return Err(error),
            }
            line.push(id.clone());
        }
        Ok(line)
    }

    /// How many failed in a row up to this one, itself included, each but the first as the failure
    /// workflow of the one before: a workflow that is its own would go on for ever.
    async fn failures_up_to(&self, failed: &ExecutionId) -> Result<u32, Error> {
        let (mut count, mut id) = (1, failed.clone());
        while count <= self.limits().depth_max {
            // Such an execution is told of whom it is; that it is true, its id shows.
            let named = |state: &Execution| {
                let named = state.input.parse().get("workflowId")?.as_str().map(ExecutionId::new);
                named.filter(|named| named.machine() == MachineKind::Execution)
            };
            let Some(before) = self.read(&id, named).await?.flatten() else { break };
            let begun = self.read(&before, |state| state.has_begun_failure_workflow(&id)).await?;
            if begun != Some(true) {
                break;
            }
            (count, id) = (count + 1, before);
        }
        Ok(count)
    }

    async fn with_failed(&self, input: &Json, failed: &ExecutionId) -> Result<Json, Error> {
        let shown = self.read(failed, self.inner.describe).await?;
        let mut input = match input.parse() {
            serde_json::Value::Object(members) => members,
            _ => serde_json::Map::new(),
        };
        let shown = shown.map_or(serde_json::Value::Null, |shown| shown.parse());
        input.insert("failedWorkflow".to_owned(), shown);
        Ok(Json::of(&input))
    }
}

fn join(problems: &[kernel::definition::Problem]) -> String {
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    format!("the definition is not valid: {}", problems.join("; "))
}
