//! Turns the engine's state into the protocol's `Workflow` and `Task`.
//!
//! Payloads go through as text, and what all iterations of a loop share is written once and
//! copied: showing an execution of a hundred thousand tasks is one pass over its bytes.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeSet, HashMap};

use engine::Engine;
use kernel::definition::{TaskDef, WorkflowTask};
use kernel::graph::{Execution, Kind, Origin, Status, Task, TaskStatus, iteration_of};
use kernel::{ExecutionId, Json, TaskId, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The member of a task's output that names the execution that it started.
pub(super) const CHILD: &str = "subWorkflowId";

/// What a view is made with besides the state.
#[derive(Clone, Copy)]
pub struct Lens<'a> {
    /// The present instant, against which waits are measured.
    pub now: Timestamp,
    /// Knows which built-in tasks run right now; absent = only what is recorded counts.
    pub engine: Option<&'a Engine>,
}

impl<'a> Lens<'a> {
    /// Sees what runs in this engine now.
    pub fn of(engine: &'a Engine) -> Self {
        Self { now: engine.now(), engine: Some(engine) }
    }
}

/// A task as clients see it: the protocol's `Task`.
pub fn task(state: &Execution, task: &Task, lens: Lens<'_>) -> Json {
    Json::of(&Shown::new(state, lens).task(task))
}

/// A task as the worker that holds it sees it: `input` stands for its own, with secrets filled in,
/// and nothing is masked.
pub fn task_with_input(state: &Execution, task: &Task, input: Json, lens: Lens<'_>) -> Json {
    let shown = Shown::new(state, lens);
    let output_data = Some(state.output_of(task));
    Json::of(&TaskView { input_data: Some(input), output_data, ..shown.task(task) })
}

/// An execution as clients see it: the protocol's `Workflow`. Without tasks its list is empty.
pub fn workflow(state: &Execution, include_tasks: bool, lens: Lens<'_>) -> Json {
    Json::of(&Shown::new(state, lens).workflow(include_tasks))
}

/// Bytes of the payloads: about what the execution takes when it is shown, with its tasks or without.
pub fn payload_bytes(state: &Execution, with_tasks: bool) -> usize {
    let tasks = state.tasks().filter(|_| with_tasks);
    let tasks: usize = tasks.map(|task| task.input.len() + task.output.len()).sum();
    state.input.len() + state.output.len() + tasks
}

/// The whole execution, as its failure workflow is given it.
pub fn describe(state: &Execution) -> Json {
    workflow(state, true, Lens { now: state.updated_at, engine: None })
}

/// A part of the tasks of an execution.
#[derive(Clone, Copy)]
pub struct Slice {
    /// Tasks before it.
    pub start: usize,
    /// Tasks of it at most.
    pub count: usize,
    /// Whether each has its payloads and its definitions: they are most of what is sent.
    pub payloads: bool,
}

/// A slice of the tasks whose shown status `keep` lets pass, and the number of them all: the
/// protocol's `SearchResult<Task>`.
pub fn tasks(
    state: &Execution,
    lens: Lens<'_>,
    slice: Slice,
    keep: impl Fn(TaskStatus) -> bool,
) -> Json {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Found<'a> {
        total_hits: usize,
        results: Vec<TaskView<'a>>,
    }
    let shown = Shown { payloads: slice.payloads, ..Shown::new(state, lens) };
    let kept: Vec<&Task> = state.tasks().filter(|task| keep(shown.standing(task).0)).collect();
    let part = kept.iter().skip(slice.start).take(slice.count);
    let results = part.map(|task| shown.task(task)).collect();
    Json::of(&Found { total_hits: kept.len(), results })
}

/// The tasks of an execution in a form that can be embedded in another answer.
pub(super) fn task_list(state: &Execution, lens: Lens<'_>) -> Json {
    let shown = Shown::new(state, lens);
    Json::of(&TaskList { shown: &shown, include: true })
}

/// An execution being shown, with what its tasks share.
struct Shown<'a> {
    state: &'a Execution,
    lens: Lens<'a>,
    /// Whether tasks are shown with their payloads and definitions.
    payloads: bool,
    /// Every place of the definition that holds others, whole: nodes keep only their own fields.
    whole: OnceCell<HashMap<&'a str, &'a WorkflowTask>>,
    /// Places written so far, by reference name without suffixes.
    places: RefCell<HashMap<&'a str, Place>>,
}

/// A place in the definition, written.
#[derive(Clone)]
struct Place {
    workflow_task: Json,
    task_definition: Json,
    /// The task has a definition of its own; otherwise one is made up.
    defined: bool,
}

impl<'a> Shown<'a> {
    fn new(state: &'a Execution, lens: Lens<'a>) -> Self {
        Self { state, lens, payloads: true, whole: OnceCell::new(), places: RefCell::default() }
    }

    /// Status and begin of a task. A built-in task that runs in this process is in progress, also
    /// before that is recorded.
    fn standing(&self, task: &Task) -> (TaskStatus, Option<Timestamp>) {
        if task.status == TaskStatus::Scheduled
            && task.kind == Kind::Dispatched
            && let Some(engine) = self.lens.engine
            && let Some(since) = engine.running_since(&self.state.id, task.sequence)
        {
            return (TaskStatus::InProgress, task.started_at.or(Some(since)));
        }
        (task.status, task.started_at)
    }

    fn task(&self, task: &'a Task) -> TaskView<'a> {
        let state = self.state;
        let policy = state.policy_of(task);
        let place = self.payloads.then(|| self.place(task));
        let (workflow_task, task_definition) =
            place.map(|place| (place.workflow_task, place.task_definition)).unzip();
        let (status, started_at) = self.standing(task);
        let closed = status.is_closed();
        let callback_after_seconds = match started_at {
            Some(started_at) if task.kind == Kind::Wait && task.callback_after == 0 => {
                // A WAIT is looked at again when its time is over.
                task.until.map_or(0, |until| (until.since(started_at).max(0) + 999) / 1000)
            }
            None if !closed && task.callback_after == 0 => task.delay / 1000,
            _ => task.callback_after,
        };
        TaskView {
            task_type: &task.task_type,
            status: status.as_str(),
            input_data: self.payloads.then(|| state.shown(&self.input_of(task))),
            reference_task_name: &task.reference,
            retry_count: task.attempt,
            seq: task.sequence,
            correlation_id: state.correlation_id.as_deref(),
            poll_count: task.poll_count,
            task_def_name: task.definition_name(),
            scheduled_time: task.scheduled_at,
            start_time: started_at.unwrap_or_default(),
            end_time: task.ended_at.unwrap_or_default(),
            update_time: task.updated_at,
            start_delay_in_seconds: task.delay / 1000,
            retried_task_id: task.retries.map(|retried| state.task_id(retried).to_string()),
            retried: task.retried,
            executed: closed && !task.retried,
            callback_from_worker: true,
            response_timeout_seconds: policy
                .filter(|_| task.kind == Kind::Dispatched)
                .map_or(0, |policy| policy.response_timeout_seconds),
            workflow_instance_id: &state.id,
            workflow_type: &state.plan().definition.name,
            task_id: state.task_id(task.sequence).to_string(),
            reason_for_incompletion: task.reason.as_deref(),
            callback_after_seconds,
            worker_id: task.worker.as_deref().filter(|worker| !worker.is_empty()),
            output_data: self.payloads.then(|| state.shown(&state.output_of(task))),
            workflow_task,
            domain: task.domain.as_deref(),
            rate_limit_per_frequency: policy.map_or(0, |policy| policy.rate_limit_per_frequency),
            rate_limit_frequency_in_seconds: policy
                .filter(|policy| policy.rate_limit_per_frequency > 0)
                .map_or(1, |policy| policy.rate_limit_frequency_in_seconds),
            workflow_priority: state.priority,
            execution_name_space: policy.and_then(|p| p.execution_name_space.as_deref()),
            isolation_group_id: policy.and_then(|p| p.isolation_group_id.as_deref()),
            iteration: iteration_of(task),
            sub_workflow_id: self.child_of(task),
            subworkflow_changed: false,
            first_start_time: self.first_started(task, started_at),
            execution_metadata: task.metadata.clone().unwrap_or_default(),
            queue_wait_time: self.waited(task, started_at),
            loop_over_task: iteration_of(task) > 0,
            task_definition,
        }
    }

    /// The execution that a task started: its own child, or the one that a worker reported.
    fn child_of(&self, task: &'a Task) -> Option<Cow<'a, str>> {
        if let Some(child) = self.state.child_of(task) {
            return Some(Cow::Borrowed(child.as_str()));
        }
        // Only a worker's report puts the name there; most outputs are not even parsed.
        if task.kind != Kind::Dispatched || !task.output.text().contains(CHILD) {
            return None;
        }
        task.output.parse()[CHILD].as_str().map(|child| Cow::Owned(child.to_owned()))
    }

    /// When the first attempt began.
    fn first_started(&self, task: &Task, started_at: Option<Timestamp>) -> Timestamp {
        let mut first = task.retries.and_then(|sequence| self.state.task(sequence));
        let mut found = None;
        while let Some(earlier) = first {
            found = earlier.started_at.or(found);
            first = earlier.retries.and_then(|sequence| self.state.task(sequence));
        }
        found.or(started_at).unwrap_or_default()
    }

    /// Milliseconds in the queue: until work began, or since it was due to be looked at again.
    fn waited(&self, task: &Task, started_at: Option<Timestamp>) -> i64 {
        match started_at {
            None => 0,
            Some(_) if task.callback_after > 0 => {
                self.lens.now.since(task.updated_at.plus_seconds(task.callback_after)).max(0)
            }
            Some(started_at) => started_at.since(task.scheduled_at).max(0),
        }
    }

    /// The input, with what the protocol adds to it for tasks that steer the flow.
    fn input_of(&self, task: &Task) -> Json {
        match task.kind {
            Kind::Switch | Kind::Decision => self.switch_input(task),
            Kind::ExclusiveJoin => {
                let written = &self.state.node_of(task).task;
                let members = [
                    ("joinOn", Json::of(&written.join_on)),
                    ("defaultExclusiveJoinTask", Json::of(&written.default_exclusive_join_task)),
                ];
                with_members(&task.input, &members)
            }
            Kind::Join => {
                let join_on = without_suffix(self.state, task);
                with_members(&task.input, &[("joinOn", Json::of(&join_on))])
            }
            Kind::DynamicFork => {
                let branches = self.state.forked(task);
                let names: Vec<&str> =
                    branches.iter().map(|task| &*task.task_reference_name).collect();
                let members =
                    [("forkedTasks", Json::of(&names)), ("forkedTaskDefs", Json::of(&branches))];
                with_members(&task.input, &members)
            }
            Kind::SubWorkflow => match task.child_version {
                Some(version) => {
                    with_members(&task.input, &[("subWorkflowVersion", Json::of(&version))])
                }
                None => task.input.clone(),
            },
            _ => task.input.clone(),
        }
    }

    fn switch_input(&self, task: &Task) -> Json {
        let output = task.output.parse();
        let case = output.get("selectedCase").or_else(|| output.get("caseOutput")?.get(0));
        let Some(case) = case.and_then(serde_json::Value::as_str) else {
            return task.input.clone();
        };
        let mut members = vec![("case", Json::of(&case))];
        if self.state.has_chosen_tasks(task) {
            members.push(("hasChildren", Json::of(&"true")));
        }
        with_members(&task.input, &members)
    }

    /// The author's words for a task's place, nested tasks included.
    fn whole(&self, task: &Task) -> &'a WorkflowTask {
        let node = self.state.node_of(task);
        let holds_others =
            matches!(node.kind, Kind::Switch | Kind::Decision | Kind::Fork | Kind::DoWhile);
        if !holds_others {
            return &node.task;
        }
        let whole = self.whole.get_or_init(|| {
            let tasks = self.state.plan().definition.collect_tasks();
            tasks.into_iter().map(|task| (&*task.task_reference_name, task)).collect()
        });
        whole.get(&*node.reference).copied().unwrap_or(&node.task)
    }

    fn place(&self, task: &'a Task) -> Place {
        let node = self.state.node_of(task);
        let policy = self.state.policy_of(task);
        if let Some(place) = self.places.borrow().get(&*node.reference)
            // The definition of a DYNAMIC task is only known at run time.
            && policy.is_some() == place.defined
            && node.task.task_type != "DYNAMIC"
        {
            return place.clone();
        }
        // Clients of the protocol find a definition at every task: where nobody registered one, it
        // tells what holds for a built-in task, which is neither retried nor waited for.
        let made_up;
        let definition = if let Some(policy) = policy {
            policy
        } else {
            made_up = TaskDef {
                retry_count: 0,
                response_timeout_seconds: 0,
                ..TaskDef::named(&*node.name)
            };
            &made_up
        };
        let task_definition = Json::of(definition);
        let mut workflow_task = Json::of(self.whole(task));
        if node.task.task_definition.is_none() {
            let members = [("taskDefinition", task_definition.clone())];
            workflow_task = with_members(&workflow_task, &members);
        }
        let place = Place { workflow_task, task_definition, defined: policy.is_some() };
        self.places.borrow_mut().insert(&node.reference, place.clone());
        place
    }

    fn workflow(&'a self, include_tasks: bool) -> WorkflowView<'a> {
        let state = self.state;
        let plan = state.plan();
        let parent = state.parent.as_ref();
        WorkflowView {
            create_time: state.created_at,
            update_time: state.updated_at,
            created_by: state.created_by.as_deref(),
            acts_as: state.acts_as.as_deref(),
            status: state.status,
            end_time: state.ended_at.unwrap_or_default(),
            workflow_id: &state.id,
            parent_workflow_id: parent.map(|parent| &parent.execution),
            parent_workflow_task_id: parent
                .map(|parent| TaskId::new(parent.execution.clone(), parent.sequence).to_string()),
            tasks: TaskList { shown: self, include: include_tasks },
            input: state.shown(&state.input),
            output: state.shown(&state.output),
            correlation_id: state.correlation_id.as_deref(),
            reason_for_incompletion: state.reason.as_deref(),
            event: state.event.as_deref(),
            task_to_domain: state.task_to_domain.clone().unwrap_or_default(),
            failed_reference_task_names: state.failed_references(),
            workflow_definition: serde_json::from_str(&plan.text)
                .expect("a plan's text is the JSON it was compiled from"),
            priority: state.priority,
            variables: state.shown(&state.variables),
            last_retried_time: state.retried_at.unwrap_or_default(),
            failed_task_names: state.failed_names(),
            history: [],
            idempotency_key: state.idempotency_key.as_deref(),
            branched_from: state.branched_from.as_ref().map(BranchedFrom::of),
            rate_limited: state.is_held_back(),
            rate_limit_key: state.gate.as_ref().map(|gate| &*gate.key),
            start_time: state.created_at,
            workflow_name: &plan.definition.name,
            workflow_version: plan.definition.version,
        }
    }
}

/// What a JOIN waits for, as the author wrote it: without the iterations it stands in.
fn without_suffix(state: &Execution, task: &Task) -> Vec<String> {
    let author = &*state.node_of(task).reference;
    let suffix = task.reference.strip_prefix(author).unwrap_or_default();
    let joined = state.joined(task);
    joined.iter().map(|name| name.strip_suffix(suffix).unwrap_or(name).to_owned()).collect()
}

/// An object with members added; those of the same name give way.
fn with_members(object: &Json, added: &[(&str, Json)]) -> Json {
    let mut members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(object.text()).unwrap_or_default();
    for (name, value) in added {
        members.insert((*name).to_owned(), value.parse());
    }
    Json::of(&members)
}

/// The protocol's `Task`. Absent texts are left out; absent times are 0.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "the protocol's fields")]
struct TaskView<'a> {
    task_type: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_data: Option<Json>,
    reference_task_name: &'a str,
    retry_count: u32,
    seq: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    poll_count: u32,
    task_def_name: &'a str,
    scheduled_time: Timestamp,
    start_time: Timestamp,
    end_time: Timestamp,
    update_time: Timestamp,
    start_delay_in_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    retried_task_id: Option<String>,
    retried: bool,
    executed: bool,
    callback_from_worker: bool,
    response_timeout_seconds: i64,
    workflow_instance_id: &'a ExecutionId,
    workflow_type: &'a str,
    task_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_for_incompletion: Option<&'a str>,
    callback_after_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_data: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow_task: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    rate_limit_per_frequency: i32,
    rate_limit_frequency_in_seconds: i32,
    workflow_priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_name_space: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    isolation_group_id: Option<&'a str>,
    iteration: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_workflow_id: Option<Cow<'a, str>>,
    subworkflow_changed: bool,
    first_start_time: Timestamp,
    execution_metadata: Json,
    queue_wait_time: i64,
    loop_over_task: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_definition: Option<Json>,
}

/// The protocol's `Workflow`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WorkflowView<'a> {
    create_time: Timestamp,
    update_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<&'a str>,
    /// A member of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    acts_as: Option<&'a str>,
    status: Status,
    end_time: Timestamp,
    workflow_id: &'a ExecutionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_workflow_id: Option<&'a ExecutionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_workflow_task_id: Option<String>,
    tasks: TaskList<'a>,
    input: Json,
    output: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_for_incompletion: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    task_to_domain: Json,
    failed_reference_task_names: BTreeSet<&'a str>,
    workflow_definition: &'a RawValue,
    priority: u8,
    variables: Json,
    last_retried_time: Timestamp,
    failed_task_names: BTreeSet<&'a str>,
    /// Never filled: an execution that begins anew keeps its id.
    history: [(); 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    branched_from: Option<BranchedFrom<'a>>,
    rate_limited: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit_key: Option<&'a str>,
    start_time: Timestamp,
    workflow_name: &'a str,
    workflow_version: i32,
}

/// The execution that one began as a fork of.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BranchedFrom<'a> {
    workflow_id: &'a ExecutionId,
    /// Commits of it that were known.
    version: u64,
    /// Before which task.
    at: &'a str,
}

impl<'a> BranchedFrom<'a> {
    pub(super) fn of(origin: &'a Origin) -> Self {
        Self { workflow_id: &origin.from, version: origin.version, at: &origin.at }
    }
}

/// Every task, each made only when it is written.
struct TaskList<'a> {
    shown: &'a Shown<'a>,
    include: bool,
}

impl Serialize for TaskList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tasks = self.shown.state.tasks().filter(|_| self.include);
        serializer.collect_seq(tasks.map(|task| self.shown.task(task)))
    }
}
