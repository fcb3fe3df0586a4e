//! A decision in the making: every fact is folded as it is decided, and what follows from it is
//! driven until nothing more can happen without the world.
//!
//! The driver is a walk. `walk` goes through a block from a place on; `visit` makes sure that the
//! node's last attempt exists and says whether the flow may pass. The same walk, started at the
//! root, finds out where an execution stands after an operator has changed its past.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::context::Context;
use super::event::{Closed, Ended, Event, Scheduled};
use super::execution::{Execution, suffixed};
use super::input::Message;
use super::nodes;
use super::object::merged;
use super::plan::{BlockId, Kind, NodeId, Owner};
use super::reasons::{failure_reason, timeout_reason};
use super::scope::View;
use super::status::{Status, TaskStatus};
use super::supply::{overran, queue_of, with_template};
use super::{clock, gate, schema, state_change_events, task_cache, timing};
use crate::definition::{TaskDef, TaskTimeoutPolicy};
use crate::expression::Overrun;
use crate::id::ExecutionId;
use crate::json::Json;
use crate::machine::{Decision, Dispatch, Effect};
use crate::time::Timestamp;

/// A decision in the making.
pub(super) struct Draft<'a> {
    pub(super) state: &'a mut Execution,
    pub(super) context: &'a Context<'a>,
    events: Vec<Event>,
    effects: Vec<Effect>,
    agenda: VecDeque<Step>,
    joins: BTreeSet<u32>,
    loops: BTreeSet<u32>,
    steps: u32,
    /// Bytes of inputs and outputs that were decided.
    bytes: usize,
    /// The task whose failure ends the execution.
    culprit: Option<u32>,
    /// When the state last changed before this decision.
    before: Timestamp,
    /// The last commit put work off.
    owed: bool,
    /// What an operator gives to the next task at a node.
    given: Option<(NodeId, Json)>,
}

/// Something to look at before the decision is done.
enum Step {
    /// Go through a block from a place on.
    Walk { block: BlockId, index: usize, path: Vec<u32> },
    /// A task has ended: go on after it, if the flow may pass.
    Continue { sequence: u32 },
}

/// Whether the flow may pass a node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// It may.
    Passes,
    /// It may not, or not from here.
    Stops,
}

/// How a task ends: what a node file or a report says of it.
pub(super) struct End {
    pub(super) status: TaskStatus,
    pub(super) output: Option<Json>,
    pub(super) reason: Option<Arc<str>>,
}

impl End {
    pub(super) fn completed(output: Json) -> Self {
        Self { status: TaskStatus::Completed, output: Some(output), reason: None }
    }

    /// Completed with nothing of its own to show.
    pub(super) fn done() -> Self {
        Self { status: TaskStatus::Completed, output: None, reason: None }
    }

    pub(super) fn failed(reason: impl Into<Arc<str>>) -> Self {
        Self { status: TaskStatus::Failed, output: None, reason: Some(reason.into()) }
    }

    pub(super) fn failed_terminally(reason: impl Into<Arc<str>>) -> Self {
        let status = TaskStatus::FailedWithTerminalError;
        Self { status, output: None, reason: Some(reason.into()) }
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(state: &'a mut Execution, context: &'a Context<'a>) -> Self {
        let (state_before, owed) = (state.updated_at, state.yielded);
        let mut draft = Self {
            state,
            context,
            events: Vec::new(),
            effects: Vec::new(),
            agenda: VecDeque::new(),
            joins: BTreeSet::new(),
            loops: BTreeSet::new(),
            steps: 0,
            bytes: 0,
            culprit: None,
            before: state_before,
            owed,
            given: None,
        };
        draft.push(Event::At(context.now));
        if let Some(by) = state_before.set_back_by(context.now) {
            clock::set_back(&mut draft, by);
        }
        if owed {
            // Whatever happens next, the work that the last commit put off comes with it.
            draft.walk_all();
        }
        draft
    }

    /// Decides a fact.
    pub(super) fn push(&mut self, event: Event) {
        let changes = state_change_events::changes(self.state, &event);
        self.state.apply(&event);
        for (sequence, change) in changes.into_iter().flatten() {
            let told =
                state_change_events::publications(self.state, sequence, change, self.context);
            self.effects.extend(told.into_iter().map(Effect::Publish));
        }
        if matches!(event, Event::Revived) {
            gate::take_places(self);
        }
        self.events.push(event);
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn send(&mut self, to: ExecutionId, message: Message) {
        self.effect(Effect::Send { to, message: Box::new(message) });
    }

    /// Drives what follows until nothing more can happen without the world, and hands over.
    pub(super) fn settle(mut self) -> Decision<Event> {
        while self.state.status == Status::Running {
            if self.is_full() && !self.agenda.is_empty() {
                // The rest is found again by a walk from the root.
                self.push(Event::Yielded);
                return self.finish();
            }
            if let Some(step) = self.agenda.pop_front() {
                self.step(step);
            } else if let Some(join) = self.joins.pop_first() {
                nodes::join::look(&mut self, join);
            } else if let Some(sequence) = self.loops.pop_first() {
                nodes::do_while::look(&mut self, sequence);
            } else {
                break;
            }
        }
        let idle = !self.state.has_open() && !self.state.is_held_back();
        if self.state.status == Status::Running && idle {
            self.complete();
        }
        self.finish()
    }

    /// Whether one commit has enough of this: what is left goes on in the next.
    fn is_full(&self) -> bool {
        let limits = self.context.limits;
        self.steps > 0
            && (self.steps >= limits.steps_max
                || self.bytes >= limits.payload_max.saturating_mul(2)
                || self.context.scripts.should_yield())
    }

    fn finish(self) -> Decision<Event> {
        // The instant alone is no fact, unless it says that put-off work came to nothing.
        if self.events.len() > 1 || self.owed {
            return Decision { events: self.events, effects: self.effects };
        }
        self.state.updated_at = self.before;
        Decision { events: Vec::new(), effects: self.effects }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Walk { block, index, path } => self.walk(block, index, &path),
            Step::Continue { sequence } => self.go_on(sequence),
        }
    }

    /// Looks at everything anew, from the first node on.
    pub(super) fn walk_all(&mut self) {
        if self.state.is_held_back() {
            return;
        }
        self.later(BlockId(0), 0, Vec::new());
        self.joins.extend(self.state.open_joins.iter().copied());
        let loops =
            self.state.open_tasks().filter(|task| task.kind == Kind::DoWhile && task.iteration > 0);
        self.loops.extend(loops.map(|task| task.sequence).collect::<Vec<_>>());
    }

    /// Goes through a block later in this decision.
    pub(super) fn later(&mut self, block: BlockId, index: usize, path: Vec<u32>) {
        self.agenda.push_back(Step::Walk { block, index, path });
    }

    /// Puts members over the input of the next task that is scheduled at a node.
    pub(super) fn give(&mut self, node: NodeId, input: Option<Json>) {
        self.given = input.map(|input| (node, input));
    }

    /// Goes on after an ended task later in this decision.
    pub(super) fn continue_after(&mut self, sequence: u32) {
        self.agenda.push_back(Step::Continue { sequence });
    }

    fn go_on(&mut self, sequence: u32) {
        let Some(task) = self.state.task(sequence) else { return };
        if !task.status.is_closed() || task.retried {
            return;
        }
        let (node, path) = (self.state.node(task.node), task.path.clone());
        let (block, index) = (node.block, node.index);
        if self.flow(sequence, false) == Flow::Passes {
            self.walk(block, index + 1, &path);
        }
    }

    fn walk(&mut self, block: BlockId, mut index: usize, path: &[u32]) {
        while self.state.status == Status::Running {
            let present = self.state.block(block);
            let Some(node) = present.nodes.get(index).copied() else {
                let owner = present.owner;
                return self.block_ended(owner, path);
            };
            if self.is_full() {
                return self.later(block, index, path.to_vec());
            }
            if self.visit(node, path) == Flow::Stops {
                return;
            }
            index += 1;
        }
    }

    /// Makes sure that a node was reached, and says whether the flow may pass it.
    pub(super) fn visit(&mut self, node: NodeId, path: &[u32]) -> Flow {
        if let Some(task) = self.state.attempt_at(node, path) {
            let sequence = task.sequence;
            return self.flow(sequence, true);
        }
        let Some(sequence) = self.schedule(node, path) else { return Flow::Stops };
        self.flow(sequence, false)
    }

    /// Whether the flow may pass a task; drives what the task owns.
    fn flow(&mut self, sequence: u32, again: bool) -> Flow {
        let Some(task) = self.state.task(sequence) else { return Flow::Stops };
        let (status, kind) = (task.status, task.kind);
        if !status.is_closed() {
            if again && kind == Kind::DoWhile {
                nodes::do_while::revisit(self, sequence);
            }
            return Flow::Stops;
        }
        if status.is_success() {
            return match kind {
                _ if status == TaskStatus::Skipped => Flow::Passes,
                Kind::Switch | Kind::Decision => nodes::switch::enter(self, sequence),
                Kind::Fork | Kind::DynamicFork if again => nodes::fork::revisit(self, sequence),
                _ => Flow::Passes,
            };
        }
        self.after_failure(sequence)
    }

    fn block_ended(&mut self, owner: Owner, path: &[u32]) {
        match owner {
            Owner::Root => {}
            Owner::Branch(_) => self.look_at_loop_around(path, owner),
            Owner::Case(node) => {
                let node = self.state.node(node);
                self.later(node.block, node.index + 1, path.to_vec());
            }
            Owner::Body(node) => {
                let outer = &path[..path.len().saturating_sub(1)];
                if let Some(task) = self.state.attempt_at(node, outer) {
                    self.loops.insert(task.sequence);
                }
            }
        }
    }

    /// A branch that nobody joins may be the last thing that an iteration waits for.
    fn look_at_loop_around(&mut self, path: &[u32], mut owner: Owner) {
        while let Owner::Branch(node) | Owner::Case(node) | Owner::Body(node) = owner {
            if matches!(owner, Owner::Body(_)) {
                return self.block_ended(owner, path);
            }
            owner = self.state.block(self.state.node(node).block).owner;
        }
    }

    /// Creates the first attempt at a node and begins it. `None` if that ended the execution.
    fn schedule(&mut self, node_id: NodeId, path: &[u32]) -> Option<u32> {
        self.steps += 1;
        let tasks_max = self.context.limits.tasks_max;
        if self.state.task_count() >= tasks_max {
            self.fail(
                Status::Failed,
                format!("the execution has reached the limit of {tasks_max} tasks"),
            );
            return None;
        }
        let node = self.state.node(node_id);
        let (delay, kind) = (i64::from(node.task.start_delay.max(0)) * 1000, node.kind);
        let mut scheduled = Scheduled {
            sequence: self.state.next_sequence(),
            node: node_id.0,
            path: path.to_vec(),
            task_type: nodes::task_type_of(node),
            input: Json::empty_object(),
            attempt: 0,
            retries: 0,
            delay,
            domain: None,
            policy: None,
            join_on: Vec::new(),
        };
        if kind == Kind::Join {
            scheduled.join_on = nodes::join::references(self.state, node_id, path);
        }
        self.create(scheduled)
    }

    /// Creates the next attempt after one that failed.
    fn retry(&mut self, sequence: u32, delay: i64) -> Option<u32> {
        self.steps += 1;
        let task = self.state.task(sequence)?;
        let scheduled = Scheduled {
            sequence: self.state.next_sequence(),
            node: task.node.0,
            path: task.path.clone(),
            task_type: task.task_type.clone(),
            input: task.input.clone(),
            attempt: task.attempt + 1,
            retries: sequence,
            delay,
            domain: task.domain.clone(),
            policy: None,
            join_on: task.join_on.clone(),
        };
        self.create(scheduled)
    }

    /// Retries on operator request: at once, however many attempts there were.
    pub(super) fn retry_now(&mut self, sequence: u32) {
        if let Some(next) = self.retry(sequence, 0) {
            self.continue_after(next);
        }
    }

    fn create(&mut self, mut scheduled: Scheduled) -> Option<u32> {
        let sequence = scheduled.sequence;
        let node = self.state.node(NodeId(scheduled.node));
        // The branch of a dynamic fork gets its input as data: nothing in it is an expression.
        let view = View::new(self.state, self.context, Some(sequence));
        let rendered = match self.state.branch_inputs.get(&NodeId(scheduled.node)) {
            Some(given) => nodes::fork::combined(node, &view, given),
            None => node.input.try_render(&view),
        };
        match rendered {
            Ok(input) => scheduled.input = input,
            Err(overrun) => return Some(self.create_overrun(scheduled, overrun)),
        }
        if node.kind == Kind::Dynamic {
            match nodes::dynamic::resolve(node, &scheduled.input, self.context) {
                Ok((task_type, policy)) => {
                    scheduled.task_type = task_type;
                    scheduled.policy = policy;
                }
                Err(reason) => {
                    self.fail(Status::Failed, reason);
                    return None;
                }
            }
        }
        if node.kind == Kind::DynamicFork
            && let Err(reason) = nodes::fork::check(node, &scheduled.input, self)
        {
            self.fail(Status::Failed, reason);
            return None;
        }
        let policy = scheduled.policy.as_deref().or(node.task.task_definition.as_deref());
        if let Some(policy) = policy {
            let given = self.state.branch_inputs.get(&NodeId(scheduled.node));
            let written = |name: &str| {
                let given = given.map(Json::parse);
                given.as_ref().and_then(|given| given.get(name)).is_some_and(Value::is_null)
                    || node.task.input_parameters.get(name).is_some_and(Value::is_null)
            };
            match with_template(&scheduled.input, policy, &view, &written) {
                Ok(input) => scheduled.input = input,
                Err(overrun) => return Some(self.create_overrun(scheduled, overrun)),
            }
        }
        if let Some((_, given)) = self.given.take_if(|(at, _)| at.0 == scheduled.node) {
            scheduled.input = merged(&scheduled.input, &given);
        }
        let objection =
            policy.and_then(|policy| schema::task_input(policy, &scheduled.input, self.context));
        scheduled.input = nodes::shown_input(node, scheduled.input, &view);
        let policy = scheduled.policy.as_deref();
        let kind = nodes::dynamic::kind_of(node, &scheduled.task_type, policy);
        let dispatched = kind == Kind::Dispatched;
        if dispatched && !self.context.world.is_builtin(&scheduled.task_type) {
            scheduled.domain = self.domain_of(&scheduled.task_type);
        }
        let oversized = scheduled.input.len() > self.context.limits.payload_max;
        let size = scheduled.input.len();
        let name = scheduled.policy.as_ref().map_or(&*node.name, |policy| &policy.name);
        let reused = task_cache::found(node, name, &scheduled.input, self.context);
        if oversized {
            scheduled.input = Json::empty_object();
        }
        let delayed = scheduled.delay > 0 && !dispatched;
        self.bytes += scheduled.input.len();
        self.push(Event::Scheduled(Box::new(scheduled)));
        if oversized {
            let end = End::failed_terminally(self.too_large("input", size));
            self.close(sequence, end);
        } else if let Some(objection) = objection {
            self.close(sequence, End::failed_terminally(objection));
        } else if let Some(output) = reused {
            self.close(sequence, End::completed(output));
        } else if !delayed {
            self.begin(sequence);
        }
        Some(sequence)
    }

    /// Creates an attempt that fails at once: its input is more than may be made.
    fn create_overrun(&mut self, mut scheduled: Scheduled, overrun: Overrun) -> u32 {
        let sequence = scheduled.sequence;
        scheduled.input = Json::empty_object();
        self.push(Event::Scheduled(Box::new(scheduled)));
        self.close(sequence, End::failed_terminally(overran("input", overrun)));
        sequence
    }

    pub(super) fn too_large(&self, what: &str, size: usize) -> String {
        let limit = self.context.limits.payload_max;
        format!("the {what} of {size} bytes exceeds the limit of {limit} bytes (payload_max)")
    }

    /// Begins a task whose delay is over.
    pub(super) fn begin(&mut self, sequence: u32) {
        let Some(task) = self.state.task(sequence) else { return };
        match task.kind {
            Kind::Dispatched | Kind::Dynamic => self.dispatch(sequence, false),
            kind => nodes::begin(self, sequence, kind),
        }
    }

    /// Puts a task into its queue.
    pub(super) fn dispatch(&mut self, sequence: u32, now: bool) {
        let state = &*self.state;
        let Some(task) = state.task(sequence) else { return };
        let ready_at = if now {
            self.context.now
        } else if task.callback_after > 0 {
            task.updated_at.plus_seconds(task.callback_after)
        } else {
            task.scheduled_at.plus_millis(task.delay)
        };
        let policy = state.policy_of(task);
        let limit = |get: fn(&TaskDef) -> i32| {
            policy.map_or(0, |policy| u32::try_from(get(policy)).unwrap_or(0))
        };
        let dispatch = Dispatch {
            sequence,
            queue: queue_of(task, policy),
            name: task.name.clone(),
            priority: state.priority,
            ready_at,
            concurrent_max: limit(|policy| policy.concurrent_exec_limit.unwrap_or(0)),
            rate_max: limit(|policy| policy.rate_limit_per_frequency),
            rate_window_seconds: limit(|policy| policy.rate_limit_frequency_in_seconds).max(1),
        };
        self.effect(Effect::Dispatch(dispatch));
    }

    /// The domain that a task goes to: of those given, the first that a worker polls, else the
    /// last.
    fn domain_of(&self, task_type: &str) -> Option<Arc<str>> {
        let map = self.state.task_to_domain.as_ref()?.parse();
        let list = map.get(task_type).or_else(|| map.get("*"))?.as_str()?.to_owned();
        let domains: Vec<&str> = list.split(',').map(str::trim).filter(|d| !d.is_empty()).collect();
        let polled = domains.iter().find(|domain| {
            !domain.eq_ignore_ascii_case(NO_DOMAIN)
                && self.context.world.polled_lately(&format!("{domain}:{task_type}"))
        });
        let chosen = *polled.or(domains.last())?;
        (!chosen.eq_ignore_ascii_case(NO_DOMAIN)).then(|| chosen.into())
    }

    /// Ends a task. An optional task that will not be tried again ends with errors instead of
    /// failing; output beyond the limit fails it.
    pub(super) fn close(&mut self, sequence: u32, end: End) {
        self.close_as(sequence, end, |_| {});
    }

    /// As [`Draft::close`], with more to record.
    pub(super) fn close_as(&mut self, sequence: u32, mut end: End, note: impl FnOnce(&mut Closed)) {
        let Some(task) = self.state.task(sequence) else { return };
        let size = end.output.as_ref().map_or(0, Json::len);
        self.bytes += size;
        if size > self.context.limits.payload_max {
            end = End::failed_terminally(self.too_large("output", size));
        }
        if let Some(objection) = schema::task_end(self.state, task, &end, self.context) {
            end = End { output: end.output, ..End::failed_terminally(objection) };
        }
        if end.status == TaskStatus::Completed
            && let Some(left) =
                task_cache::left(self.state, task, end.output.as_ref(), self.context)
        {
            self.effects.push(Effect::Reuse(left));
        }
        let optional = self.state.node_of(task).task.optional;
        let failed = matches!(
            end.status,
            TaskStatus::Failed | TaskStatus::TimedOut | TaskStatus::FailedWithTerminalError
        );
        if failed && optional && self.next_attempt(sequence, end.status).is_none() {
            end.status = TaskStatus::CompletedWithErrors;
        }
        let mut closed = Closed {
            sequence,
            status: end.status,
            output: end.output,
            reason: end.reason,
            started_at: None,
            worker: None,
            metadata: None,
            retry_after: 0,
        };
        note(&mut closed);
        self.close_with(closed);
        self.joins.extend(self.state.open_joins.iter().copied());
    }

    fn close_with(&mut self, closed: Closed) {
        let sequence = closed.sequence;
        if self.state.task(sequence).is_some_and(|task| task.kind.is_queued()) {
            self.effect(Effect::Withdraw { sequence });
        }
        self.push(Event::Closed(Box::new(closed)));
    }

    /// The delay before the next attempt; `None` if there is to be none.
    fn next_attempt(&self, sequence: u32, status: TaskStatus) -> Option<i64> {
        let task = self.state.task(sequence)?;
        let node = self.state.node_of(task);
        let policy = self.state.policy_of(task);
        let fallback = TaskDef { retry_count: 0, ..TaskDef::default() };
        let allowed = self.state.retries_allowed(task);
        let tried = i64::from(task.attempt) >= i64::from(allowed.unwrap_or(0));
        if node.kind.is_control() || !status.is_retriable() || tried {
            return None;
        }
        let policy = policy.unwrap_or(&fallback);
        let ends_at = task.first_scheduled_at.plus_seconds(policy.total_timeout_seconds);
        let delay = timing::retry_delay(policy, task.attempt, &self.state.id, sequence);
        // As things stood when it failed: whoever looks later (after a pause) sees the same.
        let failed_at = task.ended_at.unwrap_or(self.context.now);
        let over =
            policy.total_timeout_seconds > 0 && ends_at <= failed_at.plus_millis(delay.max(1));
        (!over).then_some(delay)
    }

    /// A task has failed: try again, let the flow pass, or end the execution.
    fn after_failure(&mut self, sequence: u32) -> Flow {
        let Some(task) = self.state.task(sequence) else { return Flow::Stops };
        let status = task.status;
        let not_before = task.retry_after;
        if let Some(delay) = self.next_attempt(sequence, status) {
            if let Some(next) = self.retry(sequence, delay.max(not_before)) {
                self.continue_after(next);
            }
            return Flow::Stops;
        }
        if self.state.node_of(task).task.permissive {
            return Flow::Passes;
        }
        let outcome = match status {
            TaskStatus::Canceled => Status::Terminated,
            TaskStatus::TimedOut => Status::TimedOut,
            _ => Status::Failed,
        };
        let reason = failure_reason(self.state, task);
        self.fail_because_of(sequence, outcome, None, reason);
        Flow::Stops
    }

    /// A limit of a task has passed.
    pub(super) fn time_out(&mut self, sequence: u32, timeout: timing::Timeout) {
        let Some(task) = self.state.task(sequence) else { return };
        let Some(policy) = self.state.policy_of(task) else { return };
        let reason = timeout_reason(task, policy, timeout);
        // A silent worker is always replaced: the policy speaks of tasks that are too slow.
        let rule = match timeout {
            timing::Timeout::Response => TaskTimeoutPolicy::Retry,
            _ => policy.timeout_policy,
        };
        match rule {
            TaskTimeoutPolicy::AlertOnly => self.push(Event::Alerted { sequence }),
            TaskTimeoutPolicy::Retry => {
                let reason = Some(reason.into());
                self.close(sequence, End { status: TaskStatus::TimedOut, output: None, reason });
                self.continue_after(sequence);
            }
            TaskTimeoutPolicy::TimeOutWf => {
                // Even an optional task has timed out then: nothing goes on after it.
                let closed = Closed {
                    sequence,
                    status: TaskStatus::TimedOut,
                    output: None,
                    reason: Some(reason.as_str().into()),
                    started_at: None,
                    worker: None,
                    metadata: None,
                    retry_after: 0,
                };
                self.close_with(closed);
                self.fail_because_of(sequence, Status::TimedOut, None, reason);
            }
        }
    }

    /// The end was reached.
    fn complete(&mut self) {
        // A permissive task let the flow pass, but its failure counts in the end.
        let permissive = self.state.tasks().find(|task| task.status.is_failure() && !task.retried);
        match permissive {
            Some(task) => {
                let (culprit, reason) = (task.sequence, failure_reason(self.state, task));
                self.fail_because_of(culprit, Status::Failed, None, reason);
            }
            None => self.end(Status::Completed, None, None),
        }
    }

    /// Ends the execution badly, on account of a task: if that has failed, so have the loops
    /// around it.
    pub(super) fn fail_because_of(
        &mut self,
        culprit: u32,
        status: Status,
        output: Option<Json>,
        reason: String,
    ) {
        self.culprit = Some(culprit);
        self.fail_with(status, output, reason);
    }

    /// Ends the execution badly.
    pub(super) fn fail(&mut self, status: Status, reason: impl Into<Arc<str>>) {
        self.fail_with(status, None, reason);
    }

    /// Ends the execution badly and starts the failure workflow, if the author wants one.
    fn fail_with(&mut self, status: Status, output: Option<Json>, reason: impl Into<Arc<str>>) {
        if self.state.status.is_closed() {
            return;
        }
        let target = nodes::failure::target(self.state, self.context);
        let mut output = output.unwrap_or_else(|| self.output().unwrap_or_default());
        if let Some((id, _)) = &target {
            let member = serde_json::json!({ "conductor.failure_workflow": id });
            output = merged(&output, &member.into());
        }
        self.end(status, Some(output), Some(reason.into()));
        if let Some((id, name)) = target {
            let message = nodes::failure::message(self.state, &name, self.culprit);
            self.send(id, Message::Start(Box::new(message)));
        }
    }

    /// Ends the execution, and with it everything that is open.
    pub(super) fn end(&mut self, status: Status, output: Option<Json>, reason: Option<Arc<str>>) {
        if self.state.status.is_closed() {
            return;
        }
        let output = match output.map_or_else(|| self.output(), Ok) {
            Ok(output) => output,
            Err(overrun) if status == Status::Completed => {
                let reason = overran("workflow's output", overrun);
                return self.fail_with(Status::Failed, Some(Json::empty_object()), reason);
            }
            Err(_) => Json::empty_object(),
        };
        if status == Status::Completed
            && let Some(objection) =
                schema::output_objection(self.state.plan(), &output, self.context)
        {
            return self.fail_with(Status::Failed, Some(output), objection);
        }
        self.cancel_open(reason.as_deref());
        self.push(Event::Ended(Box::new(Ended { status, output, reason })));
        self.agenda.clear();
        gate::leave(self);
        self.tell_the_end();
    }

    fn cancel_open(&mut self, reason: Option<&str>) {
        let open: Vec<u32> = self.state.open_tasks().map(|task| task.sequence).collect();
        for sequence in open {
            let Some(task) = self.state.task(sequence) else { continue };
            // A loop whose body failed has failed with it; everything else was merely stopped.
            let failed = task.kind == Kind::DoWhile
                && self.culprit.and_then(|culprit| self.state.task(culprit)).is_some_and(|task| {
                    task.status.is_failure()
                        && task.status != TaskStatus::Canceled
                        && self.state.runs_inside(task.sequence, sequence)
                });
            if let Some(child) = task.own_child().cloned() {
                let because = reason.unwrap_or("the parent workflow ended");
                self.send(child, Message::Terminate { reason: because.into() });
            }
            let (status, reason) = if failed {
                (TaskStatus::Failed, reason.map(Arc::from))
            } else {
                (TaskStatus::Canceled, None)
            };
            let (started_at, worker, metadata) = (None, None, None);
            self.close_with(Closed {
                sequence,
                status,
                output: None,
                reason,
                started_at,
                worker,
                metadata,
                retry_after: 0,
            });
        }
    }

    fn output(&self) -> Result<Json, Overrun> {
        let view = View::new(self.state, self.context, None);
        match &self.state.plan().output {
            Some(template) => template.try_render(&view),
            None => Ok(self
                .state
                .tasks()
                .next_back()
                .map_or_else(Json::empty_object, |task| self.state.output_of(task))),
        }
    }

    /// Has a JOIN looked at before the decision is done.
    pub(super) fn look_at_join(&mut self, sequence: u32) {
        self.joins.insert(sequence);
    }
}

/// Last in a domain list: the queue without a domain.
const NO_DOMAIN: &str = "NO_DOMAIN";

/// A reference name in the iteration of a path, as deep as the node stands.
pub(super) fn reference_at(state: &Execution, reference: &str, path: &[u32]) -> Arc<str> {
    let depth = state.node_named(reference).map_or(0, |node| state.node(node).depth);
    suffixed(&reference.into(), &path[..depth.min(path.len())])
}
