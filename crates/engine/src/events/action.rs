//! What a handler does about a message: each action once, however often it is begun.
//!
//! A started execution has an id that follows from the message, the handler and the action's place,
//! so that a second start is refused by the first. A task that is ended is looked up once and
//! remembered before it is ended, so that a repetition in a loop does not end the next one.

use std::sync::Arc;

use kernel::access::Permission;
use kernel::definition::{
    EventAction, EventActionType, EventHandler, OrderedMap, StartWorkflowAction, TaskAction,
    TerminateWorkflowAction, UpdateVariablesAction,
};
use kernel::expression::{Template, evaluate};
use kernel::graph::{Control, Execution, Input, Report, Start, TaskStatus, Verdict};
use kernel::{ExecutionId, Json, Rejected, TaskId};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::broker::EventMessage;
use super::handling::Handling;
use super::payload::View;
use crate::acting::ActsOn;
use crate::authors::Authored;
use crate::engine::{Engine, Error};
use crate::store::StoreError;

/// Why an action was not done, by what can be done about it.
pub(super) enum Failure {
    /// The store is away or closed: the message stays in the inbox.
    Store(StoreError),
    /// It may go well later.
    Later(String),
    /// It never will.
    Final(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            Error::Closing => Self::Store(StoreError::Closed),
            Error::Rejected(Rejected::Invalid(why) | Rejected::Forbidden(why)) => Self::Final(why),
            Error::Rejected(_) | Error::Quarantined { .. } | Error::Unavailable(_) => {
                Self::Later(error.to_string())
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Closed | StoreError::Conflict => {
                Self::Store(error)
            }
            StoreError::Received
            | StoreError::Corrupt(_)
            | StoreError::Unfit(_)
            | StoreError::TooBroad => Self::Later(error.to_string()),
        }
    }
}

/// What came of an action: its output, or why there is none.
pub(super) type Done = Result<Map<String, Value>, Failure>;

/// The place of a message among those that are handled at once.
pub(super) struct Place(Mutex<Option<OwnedSemaphorePermit>>);

impl Place {
    /// The place that a permit stands for; `None` for a message that needs none.
    pub(super) fn new(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self(Mutex::new(permit))
    }

    /// Lets others have it; the message is handled to its end without one.
    pub(super) fn leave(&self) {
        drop(self.0.lock().take());
    }
}

/// One action in the course of one message.
pub(super) struct Acting<'a> {
    pub(super) engine: &'a Engine,
    pub(super) handler: &'a EventHandler,
    pub(super) index: usize,
    pub(super) message: &'a EventMessage,
    /// The execution here that has sent it; none if it came from outside.
    pub(super) sender: Option<&'a ExecutionId>,
    pub(super) view: View<'a>,
    pub(super) place: &'a Place,
}

impl Acting<'_> {
    /// Does it.
    pub(super) async fn act(&self, action: &EventAction, handling: &mut Handling) -> Done {
        use EventActionType as Type;
        match (action.action, action) {
            (Some(Type::StartWorkflow), EventAction { start_workflow: Some(start), .. }) => {
                self.start(start).await
            }
            (Some(Type::CompleteTask), EventAction { complete_task: Some(task), .. }) => {
                self.end_task(task, TaskStatus::Completed, handling).await
            }
            (Some(Type::FailTask), EventAction { fail_task: Some(task), .. }) => {
                self.end_task(task, TaskStatus::Failed, handling).await
            }
            (
                Some(Type::TerminateWorkflow),
                EventAction { terminate_workflow: Some(terminate), .. },
            ) => self.terminate(terminate).await,
            (
                Some(Type::UpdateWorkflowVariables),
                EventAction { update_workflow_variables: Some(update), .. },
            ) => self.set_variables(update, handling).await,
            // Validation lets no action pass without its details.
            _ => Err(Failure::Final("the action does not say what to do".to_owned())),
        }
    }

    /// As whom the handler acts; `None` is the server.
    fn author(&self) -> Option<Arc<str>> {
        self.engine.author_of(Authored::EventHandler, &self.handler.name)
    }

    /// Checks that whoever wrote the handler may run workflows there, now.
    async fn must_be_allowed(&self, on: ActsOn<'_>) -> Result<(), Failure> {
        let author = self.author();
        Ok(self.engine.must_allow(author.as_deref(), Permission::Run, on).await?)
    }

    /// Has a start wait that stems from too many others, or whose definition is started too often.
    async fn wait_for_turn(&self, child: &ExecutionId, workflow: &str) -> Result<(), Failure> {
        let engine = self.engine;
        let Some(turn) = engine.turn_of_event(self.sender, child, workflow) else {
            return Ok(());
        };
        let Ok(_waits) = engine.inner.events.delayed.try_acquire() else {
            let message = "workflows start workflows by events too fast: too many starts wait \
                           already, so this one is dropped";
            return Err(Failure::Final(message.to_owned()));
        };
        self.place.leave();
        let is_gone = || engine.definitions().workflow(workflow, None).is_none();
        Ok(engine.wait_for_turn(turn, child, workflow, is_gone).await?)
    }

    async fn start(&self, action: &StartWorkflowAction) -> Done {
        let id = ExecutionId::new(self.message.id.as_str())
            .derive(&format!("event/{}", self.handler.name), self.index as u32);
        self.must_be_allowed(ActsOn::Workflow(&action.name)).await?;
        self.wait_for_turn(&id, &action.name).await?;
        let version = action.version.and_then(|version| u32::try_from(version).ok());
        let Some(plan) = self.engine.definitions().plan(&action.name, version) else {
            let version = version.map_or(String::new(), |v| format!(" and version {v}"));
            let name = &action.name;
            return Err(Failure::Later(format!("No such workflow found by name: {name}{version}")));
        };
        let mut input = self.members(&action.input);
        self.sign(&mut input);
        let input = Json::of(&input);
        let max = self.engine.limits().payload_max;
        if input.len() > max {
            let message = format!(
                "the input of {} bytes exceeds the limit of {max} bytes (payload_max)",
                input.len()
            );
            return Err(Failure::Final(message));
        }
        let key = self.text(action.idempotency_key.as_deref());
        let start = Start {
            plan,
            input,
            correlation_id: self.text(action.correlation_id.as_deref()).map(Into::into),
            priority: 0,
            task_to_domain: self.domains(action.task_to_domain.as_ref()),
            parent: None,
            asked_by: None,
            event: Some(self.message.event.to_string().into()),
            created_by: None,
            acts_as: self.author(),
            idempotency_key: key.as_deref().map(Into::into),
            traceparent: None,
        };
        let begun = match self.engine.begin_as(id, start, action.idempotency_strategy).await {
            Ok(begun) => begun.id().clone(),
            // It was started when this message was handled before, or by another one: that is final.
            Err(Error::Rejected(Rejected::Conflict(why))) => {
                let own = self.started_before(&action.name, key.as_deref()).await?;
                own.ok_or(Failure::Final(why))?
            }
            Err(error) => return Err(error.into()),
        };
        Ok(object(json!({ "workflowId": begun })))
    }

    /// The execution that bears this key, if this very message has started it.
    async fn started_before(
        &self,
        workflow: &str,
        key: Option<&str>,
    ) -> Result<Option<ExecutionId>, Failure> {
        let Some(key) = key else { return Ok(None) };
        for id in self.engine.bearers(workflow, key) {
            let message = |state: &Execution| {
                let input = state.input.parse();
                let id = input.get("conductor.event.messageId").and_then(Value::as_str);
                id == Some(&self.message.id)
                    && state.event.as_deref() == Some(&*self.message.event.to_string())
            };
            if self.engine.read(&id, message).await? == Some(true) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// The domains of a started workflow: the action's, or else the message's.
    fn domains(&self, given: Option<&OrderedMap<String>>) -> Option<Json> {
        let domains = match given {
            Some(given) => Json::of(given),
            None => self.view.member("taskToDomain").map(Json::of)?,
        };
        let texts: std::collections::BTreeMap<String, String> =
            serde_json::from_str(domains.text()).ok()?;
        (!texts.is_empty()).then_some(domains)
    }

    async fn end_task(
        &self,
        action: &TaskAction,
        status: TaskStatus,
        handling: &mut Handling,
    ) -> Done {
        let workflow = self.text(action.workflow_id.as_deref());
        let reference = self.text(action.task_ref_name.as_deref());
        let named = self.text(action.task_id.as_deref());
        let reason = self.text(action.reason_for_incompletion.as_deref());
        let task = self.task(workflow.as_deref(), reference.as_deref(), named.as_deref(), handling);
        let task = task.await?;
        self.must_be_allowed(ActsOn::Run(&task.execution)).await?;
        let mut output = Map::new();
        let told = [
            ("workflowId", &workflow),
            ("taskRefName", &reference),
            ("taskId", &named),
            ("reasonForIncompletion", &reason),
        ];
        for (name, text) in told {
            if let Some(text) = text {
                output.insert(name.to_owned(), text.as_str().into());
            }
        }
        output.extend(self.members(&action.output));
        let mut shown = output.clone();
        self.sign(&mut output);
        let failed = status != TaskStatus::Completed;
        self.engine.end_task_once(&task, status, output, false, reason.filter(|_| failed)).await?;
        shown.insert("taskId".to_owned(), task.to_string().into());
        Ok(shown)
    }

    /// Which task is meant.
    async fn task(
        &self,
        workflow: Option<&str>,
        reference: Option<&str>,
        named: Option<&str>,
        handling: &mut Handling,
    ) -> Result<TaskId, Failure> {
        if let Some(task) = handling.task() {
            return Ok(task);
        }
        if let Some(id) = named {
            return TaskId::parse(id)
                .ok_or_else(|| Failure::Final(format!("No task found with taskId: {id}")));
        }
        let (Some(workflow), Some(reference)) = (workflow, reference) else {
            let message = "the message names neither a taskId nor a workflowId and a taskRefName";
            return Err(Failure::Final(message.to_owned()));
        };
        let task = self.engine.open_task(&execution_id(workflow)?, reference).await?;
        handling.set_target(task.to_string().into());
        self.engine.remember(handling).await?;
        Ok(task)
    }

    async fn terminate(&self, action: &TerminateWorkflowAction) -> Done {
        let id = self.workflow(&action.workflow_id)?;
        self.must_be_allowed(ActsOn::Run(&id)).await?;
        let reason = self.text(action.termination_reason.as_deref());
        let reason = reason
            .unwrap_or_else(|| format!("terminated by the event handler {}", self.handler.name));
        let terminate =
            Control::Terminate { reason: Some(reason.as_str().into()), failure_workflow: false };
        match self.engine.step(&id, Input::Control(terminate)).await {
            Ok(()) => {}
            // It ended by itself, or when this message was handled before.
            Err(Error::Rejected(Rejected::Conflict(_))) if self.has_ended(&id).await? => {}
            Err(error) => return Err(error.into()),
        }
        Ok(object(json!({ "workflowId": id, "terminationReason": reason })))
    }

    async fn has_ended(&self, id: &ExecutionId) -> Result<bool, Error> {
        let ended = self.engine.read(id, |state| state.status.is_closed()).await?;
        Ok(ended.unwrap_or(false))
    }

    async fn set_variables(&self, action: &UpdateVariablesAction, handling: &mut Handling) -> Done {
        let id = self.workflow(&action.workflow_id)?;
        self.must_be_allowed(ActsOn::Run(&id)).await?;
        // What is added to a list is worked out once: repeated, it would be added twice.
        let set = if let Some(set) = handling.target() {
            set.clone()
        } else {
            let mut set = self.members(&action.variables);
            if action.append_array == Some(true) {
                let present = self.engine.read(&id, |state| state.variables.parse()).await?;
                append(&mut set, &present.unwrap_or_default());
                handling.set_target(Value::Object(set.clone()));
                self.engine.remember(handling).await?;
            }
            Value::Object(set)
        };
        let control = Control::SetVariables { set: Json::of(&set) };
        self.engine.steer(&id, control, &self.author().into()).await?;
        Ok(object(json!({ "workflowId": id, "variables": set })))
    }

    fn workflow(&self, text: &str) -> Result<ExecutionId, Failure> {
        let id = self.text(Some(text));
        let id = id.ok_or_else(|| Failure::Final("the message names no workflowId".to_owned()))?;
        execution_id(&id)
    }

    /// A text with its expressions resolved; `None` if nothing is left of it.
    fn text(&self, text: Option<&str>) -> Option<String> {
        let text = match evaluate(text?, &self.view).parse() {
            Value::Null => return None,
            Value::String(text) => text,
            other => other.to_string(),
        };
        Some(text).filter(|text| !text.is_empty())
    }

    fn members(&self, members: &Map<String, Value>) -> Map<String, Value> {
        let author = format!("event handler {}", self.handler.name);
        let written = self.engine.refer(&author, &Json::of(members));
        object(Template::compile(&written.parse()).render(&self.view).parse())
    }

    /// Says in an input or output which message it comes from.
    fn sign(&self, members: &mut Map<String, Value>) {
        let message = self.message;
        members.insert("conductor.event.messageId".to_owned(), message.id.as_str().into());
        members.insert("conductor.event.name".to_owned(), message.event.to_string().into());
    }
}

impl Engine {
    /// The open task of a reference name: exactly that iteration, or the one that is open.
    pub(super) async fn open_task(
        &self,
        id: &ExecutionId,
        reference: &str,
    ) -> Result<TaskId, Failure> {
        let look = |state: &Execution| {
            let exact = state.open_tasks().find(|task| *task.reference == *reference);
            let open = exact.or_else(|| {
                state.open_tasks().find(|task| *state.node_of(task).reference == *reference)
            });
            let last = state.latest(reference).map(|task| task.status.as_str());
            (open.map(|task| state.task_id(task.sequence)), last)
        };
        match self.read(id, look).await? {
            None => Err(Failure::Later(format!("No workflow found with ID: {id}"))),
            Some((Some(task), _)) => Ok(task),
            Some((None, Some(status))) => {
                Err(Failure::Later(format!("task {reference} of workflow {id} is {status}")))
            }
            Some((None, None)) => Err(Failure::Later(format!(
                "No task found with reference name: {reference}, workflowId: {id}"
            ))),
        }
    }

    /// Ends a task; one that has ended is left as it is.
    pub(super) async fn end_task_once(
        &self,
        task: &TaskId,
        status: TaskStatus,
        output: Map<String, Value>,
        merge: bool,
        reason: Option<String>,
    ) -> Result<(), Failure> {
        let report = Report {
            sequence: task.sequence,
            verdict: Verdict::Done(status),
            output: Some(Json::of(&output)),
            merge,
            reason: reason.map(Arc::from),
            worker: None,
            started_at: None,
            metadata: None,
        };
        Ok(self.report(&task.execution, report).await?)
    }
}

/// Takes an id from a message.
pub(super) fn execution_id(text: &str) -> Result<ExecutionId, Failure> {
    if text.len() > ExecutionId::LENGTH_MAX {
        return Err(Failure::Final("the message's workflowId is too long".to_owned()));
    }
    Ok(ExecutionId::new(text))
}

/// Puts what is set behind what is there, where a list is there.
fn append(set: &mut Map<String, Value>, present: &Value) {
    for (name, value) in set {
        let Some(Value::Array(list)) = present.get(name) else { continue };
        let mut list = list.clone();
        match value.take() {
            Value::Array(items) => list.extend(items),
            item => list.push(item),
        }
        *value = Value::Array(list);
    }
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
