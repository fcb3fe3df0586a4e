//! The state of one run of a plan, and how each fact changes it.
//!
//! Everything beside the tasks themselves (latest attempt per reference, open tasks, timers) is an
//! index over them, kept in step by [`Execution::apply`], so that one step costs what it touches.

mod upgrade;
mod whole;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{Closed, Ended, Event, Parent, Progressed, Scheduled, Started};
use super::gate::Gate;
use super::object::merged;
use super::plan::{Block, BlockId, Kind, Node, NodeId, Plan, Shape};
use super::snapshot::Origin;
use super::status::{Status, TaskStatus};
use super::timing;
use crate::contradiction::CHECKED;
use crate::definition::{TaskDef, WorkflowTask};
use crate::id::{ExecutionId, TaskId};
use crate::json::Json;
use crate::time::Timestamp;

/// One run of a plan. What is not serialized is an index over the rest, or a cache.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Execution {
    /// Its id.
    pub id: ExecutionId,
    /// Where it stands.
    pub status: Status,
    /// Its input.
    pub input: Json,
    /// Its output; `{}` until it ends.
    pub output: Json,
    /// Its variables, an object.
    pub variables: Json,
    /// The caller's label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Arc<str>>,
    /// 0 to 99.
    pub priority: u8,
    /// Task name (or `*`) to comma-separated domains, an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_to_domain: Option<Json>,
    /// The task that waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Who else is told of its end: they found it in place of an execution that they asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) watchers: Vec<Parent>,
    /// The event that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Arc<str>>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Arc<str>>,
    /// Names the principal with whose grants its tasks act; absent = the server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_as: Option<Arc<str>>,
    /// The execution that it began as a fork of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branched_from: Option<Origin>,
    /// The caller's key against starting twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Arc<str>>,
    /// The span of whoever asked for it, as the header `traceparent` named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Arc<str>>,
    /// When it began, or began anew.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// When it was last resumed or retried: the workflow timeout counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_at: Option<Timestamp>,
    /// Why it ended as it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// Messages from outside that no task has taken yet, oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(super) inbox: VecDeque<Json>,
    /// Where it stands with the limit of its workflow, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// It is one of those that its principal may have open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) counts: bool,
    /// Secrets are named by references alone; see [`Started::references`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    references: bool,
    #[serde(skip)]
    plan: Option<Arc<Plan>>,
    #[serde(with = "super::snapshot::grafts")]
    grafts: Shape,
    /// What dynamic forks gave to the first node of each branch.
    #[serde(with = "super::snapshot::pairs")]
    pub(super) branch_inputs: BTreeMap<NodeId, Json>,
    #[serde(with = "super::snapshot::tasks")]
    pub(super) tasks: BTreeMap<u32, Task>,
    #[serde(skip)]
    pub(super) by_reference: BTreeMap<Arc<str>, u32>,
    #[serde(skip)]
    by_base: BTreeMap<Arc<str>, u32>,
    #[serde(skip)]
    open: BTreeSet<u32>,
    #[serde(skip)]
    pub(super) open_joins: BTreeSet<u32>,
    #[serde(skip)]
    timers: BTreeSet<(Timestamp, u32)>,
    pub(super) next_sequence: u32,
    pub(super) yielded: bool,
    /// How often the parent has asked to try again.
    pub(super) asked: u32,
    /// How often it has ended.
    pub(super) end_count: u32,
    /// How far each open JOIN has looked: branches before it have ended. A cache, never stored.
    #[serde(skip)]
    pub(super) join_cursors: BTreeMap<u32, usize>,
}

/// One attempt at a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Its number in the execution, from 1, in the order of scheduling.
    pub sequence: u32,
    /// The node.
    pub node: NodeId,
    /// Iterations of the loops around it, outermost first.
    pub path: Vec<u32>,
    /// Reference name with an iteration suffix (`__3`) per loop around it.
    pub reference: Arc<str>,
    /// The type at run time: for SIMPLE the task's name.
    pub task_type: Arc<str>,
    /// The name under which its definition and limits are known.
    pub name: Arc<str>,
    /// What it does.
    pub kind: Kind,
    /// Where it stands.
    pub status: TaskStatus,
    /// Its input.
    pub input: Json,
    /// What it gave so far; JOIN and DO_WHILE derive theirs, see [`Execution::output_of`].
    pub output: Json,
    /// Why it is not done or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// Attempts before this one.
    pub attempt: u32,
    /// The attempt that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// A later attempt replaced it.
    pub retried: bool,
    /// When it was scheduled.
    pub scheduled_at: Timestamp,
    /// When its first attempt was scheduled.
    pub first_scheduled_at: Timestamp,
    /// Milliseconds from scheduling until it may begin.
    pub delay: i64,
    /// When work on it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// When anything about it last changed.
    pub updated_at: Timestamp,
    /// When a WAIT ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The delay is over and what the node does has been begun.
    pub begun: bool,
    /// Seconds after the last report until it is handed out again.
    pub callback_after: i64,
    /// How often it was handed out.
    pub poll_count: u32,
    /// Milliseconds from its failure before which another attempt is no use.
    #[serde(default)]
    pub retry_after: i64,
    /// Who held it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Arc<str>>,
    /// The queue's domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Arc<str>>,
    /// DO_WHILE: the present iteration, from 1.
    pub iteration: u32,
    /// DO_WHILE: the first iteration whose tasks are still kept.
    pub kept_from: u32,
    /// A timeout passed that is only told.
    pub alerted: bool,
    /// JOIN: what it waits for.
    pub join_on: Vec<Arc<str>>,
    /// The execution that this task started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<ExecutionId>,
    /// The child exists.
    pub child_started: bool,
    /// The version of its definition that the child obeys, where the input names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_version: Option<i32>,
    /// The child was there before, begun by somebody else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// How often the child was asked to try again.
    pub asked: u32,
    /// Opaque notes of the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// DO_WHILE over a list: the list of its input, parsed once.
    #[serde(skip)]
    pub(super) items: Option<Arc<[Json]>>,
    /// Dynamic fork: its branches.
    pub(super) branches: Vec<BlockId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<Arc<TaskDef>>,
    #[serde(skip)]
    timer: Option<Timestamp>,
}

impl Task {
    /// The name that limits and definitions go by; types that steer the flow bear their type's.
    pub fn definition_name(&self) -> &str {
        match self.kind {
            Kind::DoWhile => &self.name,
            kind if kind.is_control() => &self.task_type,
            _ => &self.name,
        }
    }
}

impl Execution {
    /// An execution that has not begun: folds a history from here.
    pub fn new(id: ExecutionId) -> Self {
        Self {
            id,
            status: Status::Running,
            input: Json::empty_object(),
            output: Json::empty_object(),
            variables: Json::empty_object(),
            correlation_id: None,
            priority: 0,
            task_to_domain: None,
            parent: None,
            watchers: Vec::new(),
            event: None,
            created_by: None,
            acts_as: None,
            branched_from: None,
            idempotency_key: None,
            traceparent: None,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            ended_at: None,
            retried_at: None,
            reason: None,
            inbox: VecDeque::new(),
            gate: None,
            counts: false,
            references: false,
            plan: None,
            grafts: Shape::default(),
            branch_inputs: BTreeMap::new(),
            tasks: BTreeMap::new(),
            by_reference: BTreeMap::new(),
            by_base: BTreeMap::new(),
            open: BTreeSet::new(),
            open_joins: BTreeSet::new(),
            timers: BTreeSet::new(),
            next_sequence: 1,
            yielded: false,
            asked: 0,
            end_count: 0,
            join_cursors: BTreeMap::new(),
        }
    }

    /// Whether it has begun.
    pub fn is_started(&self) -> bool {
        self.plan.is_some()
    }

    /// How often it had ended before it ran, or runs, as it does now.
    pub fn life(&self) -> u32 {
        self.end_count.saturating_sub(u32::from(self.status.is_closed()))
    }

    /// Whether secrets are named by references alone: an earlier release began it if not.
    pub(super) fn references(&self) -> bool {
        self.references
    }

    /// Whether the last commit put work off.
    pub fn has_yielded(&self) -> bool {
        self.yielded
    }

    /// The plan it obeys.
    ///
    /// # Panics
    /// If it has not begun.
    pub fn plan(&self) -> &Arc<Plan> {
        self.plan.as_ref().expect("a started execution has a plan")
    }

    /// Every task, in the order of scheduling.
    pub fn tasks(&self) -> impl DoubleEndedIterator<Item = &Task> {
        self.tasks.values()
    }

    /// The task of a number and every later one.
    pub(super) fn tasks_from(&self, sequence: u32) -> impl Iterator<Item = &Task> {
        self.tasks.range(sequence..).map(|(_, task)| task)
    }

    /// How many tasks there are.
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// Tasks that have not ended.
    pub fn open_tasks(&self) -> impl Iterator<Item = &Task> {
        self.open.iter().filter_map(|sequence| self.tasks.get(sequence))
    }

    /// A task by its number.
    pub fn task(&self, sequence: u32) -> Option<&Task> {
        self.tasks.get(&sequence)
    }

    /// The id of a task.
    pub fn task_id(&self, sequence: u32) -> TaskId {
        TaskId::new(self.id.clone(), sequence)
    }

    /// The last attempt at a reference: with its iteration suffix exactly that iteration, without
    /// one the latest.
    pub fn latest(&self, reference: &str) -> Option<&Task> {
        let sequence = self.by_reference.get(reference).or_else(|| self.by_base.get(reference))?;
        self.tasks.get(sequence)
    }

    /// What the author wrote at a task's place.
    pub fn node_of(&self, task: &Task) -> &Node {
        self.node(task.node)
    }

    /// Retry policy, timeouts and limits of a task, if any are defined for its name.
    pub fn policy_of<'a>(&'a self, task: &'a Task) -> Option<&'a TaskDef> {
        task.policy.as_deref().or(self.node(task.node).task.task_definition.as_deref())
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        let plan = &self.plan().shape;
        plan.node(id).or_else(|| self.grafts.node(id)).expect("tasks name nodes that exist")
    }

    /// A node with the tasks inside it, as the author wrote it.
    pub(super) fn authored(&self, id: NodeId) -> WorkflowTask {
        let plan = &self.plan().shape;
        let shape = if plan.node(id).is_some() { plan } else { &self.grafts };
        shape.authored(self.node(id))
    }

    pub(super) fn block(&self, id: BlockId) -> &Block {
        let plan = &self.plan().shape;
        plan.block_of(id).or_else(|| self.grafts.block_of(id)).expect("nodes name real blocks")
    }

    /// The node of a reference name, in the plan or in a graft.
    pub(super) fn node_named(&self, reference: &str) -> Option<NodeId> {
        self.plan().node_named(reference).or_else(|| self.grafts.named(reference))
    }

    pub(super) fn next_sequence(&self) -> u32 {
        self.next_sequence
    }

    /// The last attempt at a node in an iteration.
    pub(super) fn attempt_at(&self, node: NodeId, path: &[u32]) -> Option<&Task> {
        let reference = suffixed(&self.node(node).reference, path);
        let sequence = self.by_reference.get(&*reference)?;
        self.tasks.get(sequence)
    }

    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// When the execution as a whole times out.
    pub(super) fn timeout_at(&self) -> Option<Timestamp> {
        use crate::definition::WorkflowTimeoutPolicy::TimeOutWf;
        let definition = &self.plan.as_ref()?.definition;
        let limited = definition.timeout_seconds > 0 && definition.timeout_policy == TimeOutWf;
        let from = self.retried_at.unwrap_or(self.created_at);
        limited.then(|| from.plus_seconds(definition.timeout_seconds))
    }

    /// The next instant at which time alone may change something.
    pub fn wake_at(&self) -> Option<Timestamp> {
        if self.status.is_closed() || self.plan.is_none() {
            return None;
        }
        let timeout = self.timeout_at();
        if self.status == Status::Paused {
            return timeout;
        }
        if self.yielded {
            return Some(self.updated_at);
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        [timeout, timer].into_iter().flatten().min()
    }

    /// Tasks whose timer is at or before `now`, soonest first.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<u32> {
        self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, task)| *task).collect()
    }

    /// Folds one fact.
    ///
    /// # Panics
    /// If the fact contradicts the state, see `check`; the state is to be thrown away.
    pub fn apply(&mut self, event: &Event) {
        self.check(event);
        match event {
            Event::At(at) => {
                self.updated_at = *at;
                self.yielded = false;
            }
            Event::ClockSetBack { by } => self.clock_set_back(*by),
            Event::Snapshot(whole) | Event::Branched(whole) => self.restore(whole),
            Event::Started(started) => self.start(started),
            Event::Scheduled(scheduled) => self.schedule(scheduled),
            Event::Forked { sequence, tasks, inputs } => self.fork(*sequence, tasks, inputs),
            Event::Begun { sequence, until } => {
                let now = self.updated_at;
                self.touch(*sequence, |task| {
                    task.begun = true;
                    task.until = *until;
                    if task.kind != Kind::Dispatched {
                        task.status = TaskStatus::InProgress;
                        task.started_at = Some(now);
                    }
                });
            }
            Event::Claimed { sequence, worker } => {
                let now = self.updated_at;
                self.touch(*sequence, |task| {
                    task.status = TaskStatus::InProgress;
                    task.started_at.get_or_insert(now);
                    task.poll_count += 1;
                    task.callback_after = 0;
                    task.worker.clone_from(worker);
                });
            }
            Event::Progressed(progressed) => self.progress(progressed),
            Event::Closed(closed) => self.close(closed),
            Event::Iterated { sequence, iteration, forget } => {
                self.forget_iterations(*sequence, *forget);
                self.touch(*sequence, |task| {
                    task.iteration = *iteration;
                    task.kept_from = task.kept_from.max(forget + 1);
                });
            }
            Event::Variables { set } => self.variables = merged(&self.variables, set),
            Event::Paused => self.status = Status::Paused,
            Event::Resumed => {
                self.status = Status::Running;
                self.retried_at = Some(self.updated_at);
            }
            Event::Alerted { sequence } => {
                // Not a word from the holder: the response timeout runs on.
                if let Some(task) = self.tasks.get_mut(sequence) {
                    task.alerted = true;
                }
                self.index(*sequence);
            }
            Event::Yielded => self.yielded = true,
            Event::Revived => {
                self.status = Status::Running;
                self.retried_at = Some(self.updated_at);
                self.ended_at = None;
                self.reason = None;
                self.output = Json::empty_object();
                self.watchers.clear();
                self.pass_gate();
            }
            Event::Gated { key, limit, admitted } => {
                self.gate = Some(Gate { key: key.clone(), limit: *limit, admitted: *admitted });
            }
            Event::Admitted => self.pass_gate(),
            Event::Counted => self.counts = true,
            Event::Reopened { sequence, asked } => self.reopen(*sequence, *asked),
            Event::Asked { asked } => self.asked = *asked,
            Event::Rewound { sequence, alone: true, .. } => self.set_back(*sequence, None),
            Event::Rewound { sequence, input, fresh, .. } => {
                self.rewind(*sequence, input.as_ref(), *fresh);
            }
            Event::Amended { input, correlation_id } => {
                self.input = input.clone().unwrap_or_else(|| self.input.clone());
                self.correlation_id = correlation_id.clone().or(self.correlation_id.take());
            }
            Event::Upgraded { plan } => {
                let plan = plan.plan.clone().expect("plans are bound before folding");
                self.upgrade(&plan);
            }
            Event::ChildStarted { sequence, instead, version } => {
                self.note_child(*sequence, instead.as_ref(), *version);
            }
            Event::Watched { watcher } => self.note_watcher(watcher),
            Event::Posted { message } => self.inbox.push_back(message.clone()),
            Event::Collected { count } => {
                drop(self.inbox.drain(..*count as usize));
            }
            Event::Ended(ended) => self.end(ended),
        }
    }

    fn start(&mut self, started: &Started) {
        let plan = started.plan.plan.clone().expect("plans are bound before folding");
        let parent = started.parent.clone().or_else(|| self.parent.take());
        *self = Self {
            status: Status::Running,
            input: started.input.clone(),
            variables: Json::of(&plan.definition.variables),
            correlation_id: started.correlation_id.clone(),
            priority: started.priority,
            task_to_domain: started.task_to_domain.clone(),
            parent,
            event: started.event.clone(),
            created_by: started.created_by.clone(),
            acts_as: started.acts_as.clone(),
            idempotency_key: started.idempotency_key.clone(),
            traceparent: started.traceparent.clone(),
            references: started.references,
            created_at: self.updated_at,
            updated_at: self.updated_at,
            grafts: Shape::after(&plan.shape),
            plan: Some(plan),
            // Numbers go on, so that no task of an earlier run shares an id with a new one.
            next_sequence: self.next_sequence,
            asked: self.asked,
            end_count: self.end_count,
            ..Self::new(self.id.clone())
        };
    }

    fn schedule(&mut self, scheduled: &Scheduled) {
        let node_id = NodeId(scheduled.node);
        let node = self.node(node_id);
        let (policy, base) = (scheduled.policy.as_deref(), node.reference.clone());
        let kind = super::nodes::dynamic::kind_of(node, &scheduled.task_type, policy);
        let name = match policy {
            Some(policy) => (*policy.name).into(),
            None if node.kind == Kind::Dynamic => scheduled.task_type.clone(),
            None => node.name.clone(),
        };
        let reference = suffixed(&base, &scheduled.path);
        let now = self.updated_at;
        let previous = (scheduled.retries > 0).then_some(scheduled.retries);
        let first = previous.and_then(|sequence| self.tasks.get(&sequence));
        let first_scheduled_at = first.map_or(now, |task| task.first_scheduled_at);
        if let Some(previous) = previous {
            self.touch(previous, |task| task.retried = true);
        }
        let task = Task {
            sequence: scheduled.sequence,
            node: node_id,
            path: scheduled.path.clone(),
            reference: reference.clone(),
            task_type: scheduled.task_type.clone(),
            name,
            kind,
            status: TaskStatus::Scheduled,
            input: scheduled.input.clone(),
            output: Json::empty_object(),
            reason: None,
            attempt: scheduled.attempt,
            retries: previous,
            retried: false,
            scheduled_at: now,
            first_scheduled_at,
            delay: scheduled.delay,
            started_at: None,
            ended_at: None,
            updated_at: now,
            until: None,
            begun: false,
            callback_after: 0,
            poll_count: 0,
            retry_after: 0,
            worker: None,
            domain: scheduled.domain.clone(),
            iteration: 0,
            kept_from: 1,
            alerted: false,
            join_on: scheduled.join_on.clone(),
            child: matches!(kind, Kind::SubWorkflow | Kind::StartWorkflow)
                .then(|| self.id.derive("child", scheduled.sequence)),
            child_started: false,
            child_version: None,
            adopted: false,
            asked: 0,
            metadata: None,
            items: self.items_of(node_id, &scheduled.input),
            branches: Vec::new(),
            policy: scheduled.policy.clone().map(Arc::from),
            timer: None,
        };
        self.next_sequence = scheduled.sequence + 1;
        self.by_reference.insert(reference, task.sequence);
        self.by_base.insert(base, task.sequence);
        self.tasks.insert(task.sequence, task);
        self.index(scheduled.sequence);
    }

    /// The list that a loop goes through, if the node is a loop over one.
    pub(super) fn items_of(&self, node: NodeId, input: &Json) -> Option<Arc<[Json]>> {
        let node = self.node(node);
        let listed = (node.kind == Kind::DoWhile).then(|| super::nodes::loop_items(node, input));
        listed.flatten().map(Arc::from)
    }

    fn fork(&mut self, sequence: u32, tasks: &[WorkflowTask], inputs: &[Json]) {
        let fork = self.tasks.get(&sequence).expect(CHECKED);
        let (node, depth) = (fork.node, fork.path.len());
        let mut branches = Vec::with_capacity(tasks.len());
        for (task, input) in tasks.iter().zip(inputs) {
            let block = self.grafts.graft(task, node, depth);
            if let Some(first) = self.block(block).nodes.first().copied() {
                self.branch_inputs.insert(first, input.clone());
            }
            branches.push(block);
        }
        self.touch(sequence, |task| task.branches = branches);
    }

    fn progress(&mut self, progressed: &Progressed) {
        self.touch(progressed.sequence, |task| {
            if let Some(output) = &progressed.output {
                task.output = output.clone();
            }
            if let Some(after) = progressed.callback_after {
                task.callback_after = after;
                task.status = TaskStatus::Scheduled;
            }
            if progressed.reason.is_some() {
                task.reason.clone_from(&progressed.reason);
            }
            if progressed.worker.is_some() {
                task.worker.clone_from(&progressed.worker);
            }
            if progressed.metadata.is_some() {
                task.metadata.clone_from(&progressed.metadata);
            }
        });
    }

    fn close(&mut self, closed: &Closed) {
        let now = self.updated_at;
        self.touch(closed.sequence, |task| {
            let unclaimed = task.status == TaskStatus::Scheduled;
            task.status = closed.status;
            task.ended_at = Some(now);
            if let Some(started_at) = closed.started_at {
                task.started_at.get_or_insert(started_at);
                // A run that was over before it was recorded as begun.
                task.poll_count += u32::from(unclaimed);
            }
            if closed.status != TaskStatus::Skipped && closed.status != TaskStatus::Canceled {
                task.started_at.get_or_insert(now);
            }
            if let Some(output) = &closed.output {
                task.output = output.clone();
            }
            task.reason.clone_from(&closed.reason);
            task.retry_after = closed.retry_after;
            if closed.worker.is_some() {
                task.worker.clone_from(&closed.worker);
            }
            if closed.metadata.is_some() {
                task.metadata.clone_from(&closed.metadata);
            }
        });
        self.join_cursors.remove(&closed.sequence);
    }

    fn end(&mut self, ended: &Ended) {
        self.status = ended.status;
        self.output = ended.output.clone();
        self.reason.clone_from(&ended.reason);
        self.ended_at = Some(self.updated_at);
        self.end_count += 1;
        // Nobody is left to take them, and what has ended costs no memory.
        self.inbox.clear();
    }

    fn reopen(&mut self, sequence: u32, asked: u32) {
        self.join_cursors.clear();
        let now = self.updated_at;
        self.touch(sequence, |task| {
            task.status = TaskStatus::InProgress;
            // It has its whole time again.
            task.started_at = Some(now);
            task.alerted = false;
            task.ended_at = None;
            task.reason = None;
            task.retried = false;
            task.asked = task.asked.max(asked);
        });
    }

    /// Changes one task and brings the indexes in step.
    pub(super) fn touch(&mut self, sequence: u32, change: impl FnOnce(&mut Task)) {
        let now = self.updated_at;
        self.change(sequence, |task| {
            change(task);
            task.updated_at = now;
        });
    }

    /// Changes a task, but not when it was last heard of.
    pub(super) fn change(&mut self, sequence: u32, change: impl FnOnce(&mut Task)) {
        if let Some(task) = self.tasks.get_mut(&sequence) {
            change(task);
            self.index(sequence);
        }
    }

    pub(super) fn index(&mut self, sequence: u32) {
        let Some(task) = self.tasks.get(&sequence) else { return };
        let timer = timing::timer_of(task, self.policy_of(task));
        if task.status.is_closed() {
            self.open.remove(&sequence);
            self.open_joins.remove(&sequence);
        } else {
            self.open.insert(sequence);
            if matches!(task.kind, Kind::Join | Kind::ExclusiveJoin) {
                self.open_joins.insert(sequence);
            }
        }
        if timer != task.timer {
            if let Some(old) = task.timer {
                self.timers.remove(&(old, sequence));
            }
            if let Some(new) = timer {
                self.timers.insert((new, sequence));
            }
            if let Some(task) = self.tasks.get_mut(&sequence) {
                task.timer = timer;
            }
        }
    }

    pub(super) fn unindex(&mut self, task: &Task) {
        self.open.remove(&task.sequence);
        self.open_joins.remove(&task.sequence);
        self.join_cursors.remove(&task.sequence);
        if let Some(timer) = task.timer {
            self.timers.remove(&(timer, task.sequence));
        }
    }

    pub(super) fn reindex_references(&mut self) {
        self.by_reference.clear();
        self.by_base.clear();
        let plan = self.plan().clone();
        for task in self.tasks.values() {
            self.by_reference.insert(task.reference.clone(), task.sequence);
            let node = plan.shape.node(task.node).or_else(|| self.grafts.node(task.node));
            if let Some(node) = node {
                self.by_base.insert(node.reference.clone(), task.sequence);
            }
        }
    }
}

/// A reference name with the suffix of each loop iteration around it.
pub(super) fn suffixed(reference: &Arc<str>, path: &[u32]) -> Arc<str> {
    if path.is_empty() {
        return reference.clone();
    }
    let mut text = reference.to_string();
    for iteration in path {
        text.push_str("__");
        text.push_str(&iteration.to_string());
    }
    text.into()
}
