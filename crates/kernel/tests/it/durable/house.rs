//! A house of instances and entities with a worker in the test's hands: letters are delivered in
//! order, rows of the queues are kept, and after every step what was decided is folded anew.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kernel::durable::entity::{self, Batch, BatchResult, Entity};
use kernel::durable::instance::{self, Instance, Start, TurnResult, Work};
use kernel::durable::{
    Action, ActionKind, Call, Completion, EntityAction, EntityMessage, EntityOperation, Fact,
    FailureDetails, HistoryEvent, OperationResult, Outcome, Status, TURN, WorkToken,
};
use kernel::graph::{Limits, Message};
use kernel::{Effect, ExecutionId, Machine, MachineKind, Rejected, Timestamp};

/// When the story begins.
pub(crate) const START: i64 = 1_000_000;

pub(crate) struct House {
    pub(crate) now: Timestamp,
    pub(crate) limits: Limits,
    pub(crate) instances: BTreeMap<ExecutionId, Instance>,
    pub(crate) entities: BTreeMap<ExecutionId, Entity>,
    /// What stands in the queues.
    pub(crate) rows: BTreeMap<(ExecutionId, u32), Arc<str>>,
    /// What was said to machines that do not live here.
    pub(crate) outside: Vec<(ExecutionId, Message)>,
    mail: VecDeque<(ExecutionId, Message)>,
    /// Letters stay in the bag until [`House::post`].
    pub(crate) held_mail: bool,
    /// Letters written so far.
    pub(crate) sent: usize,
    steps: u64,
    lives: u64,
}

#[expect(clippy::unnecessary_wraps, reason = "what takes a text takes it or leaves it")]
pub(crate) fn text(text: &str) -> Option<Arc<str>> {
    Some(text.into())
}

pub(crate) fn id(name: &str) -> ExecutionId {
    ExecutionId::instance("hub", name)
}

pub(crate) fn entity_id(name: &str) -> ExecutionId {
    ExecutionId::entity("hub", name)
}

impl House {
    pub(crate) fn new() -> Self {
        Self {
            now: Timestamp::from_millis(START),
            limits: Limits::default(),
            instances: BTreeMap::new(),
            entities: BTreeMap::new(),
            rows: BTreeMap::new(),
            outside: Vec::new(),
            mail: VecDeque::new(),
            held_mail: false,
            sent: 0,
            steps: 0,
            lives: 0,
        }
    }

    /// A house in which an instance has just begun.
    pub(crate) fn with(name: &str) -> Self {
        let mut house = Self::new();
        house.start(name, |_| {});
        house
    }

    pub(crate) fn life(&mut self) -> Arc<str> {
        self.lives += 1;
        format!("{:032x}", self.lives).into()
    }

    pub(crate) fn try_start(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut Start),
    ) -> Result<(), Rejected> {
        let mut start = Start::new("orchestrator", text("\"in\""), self.life());
        change(&mut start);
        self.say(name, instance::Input::Start(Box::new(start)))
    }

    pub(crate) fn start(&mut self, name: &str, change: impl FnOnce(&mut Start)) {
        self.try_start(name, change).expect("it starts");
    }

    /// An input for an instance, and all the letters that follow.
    pub(crate) fn say(&mut self, name: &str, input: instance::Input) -> Result<(), Rejected> {
        let result = self.step_instance(&id(name), input);
        if !self.held_mail {
            self.post();
        }
        result
    }

    pub(crate) fn say_entity(&mut self, name: &str, input: entity::Input) -> Result<(), Rejected> {
        let result = self.step_entity(&entity_id(name), input);
        if !self.held_mail {
            self.post();
        }
        result
    }

    fn step_instance(&mut self, id: &ExecutionId, input: instance::Input) -> Result<(), Rejected> {
        let state = self.instances.entry(id.clone()).or_insert_with(|| Instance::new(id.clone()));
        let before = state.clone();
        let context = instance::Context { now: self.now, limits: &self.limits };
        let twin = before.clone().decide(input.clone(), &context).map(|it| it.events.len());
        let decided = state.decide(input, &context);
        assert_eq!(twin, decided.as_ref().map(|it| it.events.len()).map_err(Clone::clone));
        let decision = match decided {
            Ok(decision) => decision,
            Err(rejected) => {
                assert_eq!(*state, before, "a rejection changes nothing");
                return Err(rejected);
            }
        };
        // What is stored folds to the state, also by way of a snapshot.
        let mut folded = before;
        self.steps += 1;
        if self.steps.is_multiple_of(2) {
            let snapshot = serde_json::to_string(&folded.snapshot()).expect("it serializes");
            folded = Instance::new(id.clone());
            folded.apply(&serde_json::from_str(&snapshot).expect("it reads"));
        }
        let row = serde_json::to_string(&decision.events).expect("it serializes");
        let events: Vec<instance::Event> = serde_json::from_str(&row).expect("it reads");
        for event in &events {
            folded.apply(event);
        }
        assert_eq!(folded, *state, "what is decided is what is folded");
        let queued = state.queued();
        self.act(id, decision.effects);
        self.check_rows(id, &queued);
        Ok(())
    }

    fn step_entity(&mut self, id: &ExecutionId, input: entity::Input) -> Result<(), Rejected> {
        let state = self.entities.entry(id.clone()).or_insert_with(|| Entity::new(id.clone()));
        let before = state.clone();
        let context = entity::Context { now: self.now, limits: &self.limits };
        let decision = match state.decide(input, &context) {
            Ok(decision) => decision,
            Err(rejected) => {
                assert_eq!(*state, before, "a rejection changes nothing");
                return Err(rejected);
            }
        };
        let mut folded = before;
        self.steps += 1;
        if self.steps.is_multiple_of(2) {
            let snapshot = serde_json::to_string(&folded.snapshot()).expect("it serializes");
            folded = Entity::new(id.clone());
            folded.apply(&serde_json::from_str(&snapshot).expect("it reads"));
        }
        let row = serde_json::to_string(&decision.events).expect("it serializes");
        let events: Vec<entity::Event> = serde_json::from_str(&row).expect("it reads");
        for event in &events {
            folded.apply(event);
        }
        assert_eq!(folded, *state, "what is decided is what is folded");
        let queued: Vec<u32> = state.wants_batch().then_some(TURN).into_iter().collect();
        self.act(id, decision.effects);
        self.check_rows(id, &queued);
        Ok(())
    }

    fn act(&mut self, id: &ExecutionId, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Dispatch(dispatch) => {
                    let open = match id.machine() {
                        MachineKind::Instance => self.instances[id].is_queued(dispatch.sequence),
                        _ => self.entities[id].is_queued(dispatch.sequence),
                    };
                    if open {
                        self.rows.insert((id.clone(), dispatch.sequence), dispatch.queue);
                    }
                }
                Effect::Withdraw { sequence } => {
                    self.rows.remove(&(id.clone(), sequence));
                }
                Effect::Send { to, message } => {
                    self.sent += 1;
                    self.mail.push_back((to, *message));
                }
                other => panic!("no such effect is known here: {other:?}"),
            }
        }
    }

    /// The queues hold what the state wants done, no more and no less.
    fn check_rows(&self, id: &ExecutionId, wanted: &[u32]) {
        let rows: Vec<u32> =
            self.rows.keys().filter(|(owner, _)| owner == id).map(|(_, number)| *number).collect();
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        assert_eq!(rows, wanted, "the rows of {id}");
    }

    /// Delivers all letters, those that follow too.
    pub(crate) fn post(&mut self) {
        while self.post_one() {}
    }

    pub(crate) fn post_one(&mut self) -> bool {
        let Some((to, message)) = self.mail.pop_front() else { return false };
        // A letter that is refused is dropped: whoever it was for has moved on.
        let result = match to.machine() {
            MachineKind::Instance => self.step_instance(&to, instance::Input::Message(message)),
            MachineKind::Entity => self.step_entity(&to, entity::Input::Message(message)),
            _ => {
                self.outside.push((to, message));
                Ok(())
            }
        };
        drop(result);
        true
    }

    /// Time passes, and whoever wants to be woken is.
    pub(crate) fn pass(&mut self, millis: i64) {
        self.now = self.now.plus_millis(millis);
        let now = self.now;
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let names: Vec<ExecutionId> = self
            .instances
            .values()
            .filter(|state| due(state.wake_at()))
            .map(|state| state.id.clone())
            .collect();
        for id in names {
            self.step_instance(&id, instance::Input::Wake).expect("it wakes");
        }
        let names: Vec<ExecutionId> = self
            .entities
            .values()
            .filter(|state| due(state.wake_at()))
            .map(|state| state.id.clone())
            .collect();
        for id in names {
            self.step_entity(&id, entity::Input::Wake).expect("it wakes");
        }
        if !self.held_mail {
            self.post();
        }
    }

    pub(crate) fn instance(&self, name: &str) -> &Instance {
        self.instances.get(&id(name)).expect("it is there")
    }

    pub(crate) fn entity(&self, name: &str) -> &Entity {
        self.entities.get(&entity_id(name)).expect("it is there")
    }

    pub(crate) fn status(&self, name: &str) -> Status {
        self.instance(name).status
    }

    /// What a worker is handed for a turn.
    pub(crate) fn turn(&self, name: &str) -> (WorkToken, Vec<HistoryEvent>, Vec<HistoryEvent>) {
        assert!(self.rows.contains_key(&(id(name), TURN)), "no turn of {name} is in the queues");
        match self.instance(name).work(TURN, self.now) {
            Some(Work::Turn { token, past, new, .. }) => (token, past, new),
            other => panic!("no turn: {other:?}"),
        }
    }

    /// The facts that a turn has to tell.
    pub(crate) fn news(&self, name: &str) -> Vec<String> {
        self.turn(name).2.iter().map(shown).collect()
    }

    /// A worker takes a turn and answers with actions.
    pub(crate) fn answer(&mut self, name: &str, actions: Vec<Action>) {
        let (token, ..) = self.turn(name);
        self.complete(name, result(token, actions)).expect("the answer is taken");
    }

    pub(crate) fn complete(&mut self, name: &str, result: TurnResult) -> Result<(), Rejected> {
        self.say(name, instance::Input::TurnCompleted(Box::new(result)))
    }

    /// The token of the activity that an action asked for.
    pub(crate) fn activity(&self, name: &str, task: i32) -> WorkToken {
        let state = self.instance(name);
        let sequence = state.sequence_of(task).expect("the activity is under way");
        assert!(self.rows.contains_key(&(id(name), sequence)), "it is in the queues");
        match state.work(sequence, self.now) {
            Some(Work::Activity { token, task: of, .. }) if of == task => token,
            other => panic!("no activity: {other:?}"),
        }
    }

    pub(crate) fn done(
        &mut self,
        name: &str,
        token: WorkToken,
        output: &str,
    ) -> Result<(), Rejected> {
        let result = Ok(text(output));
        self.say(name, instance::Input::ActivityCompleted { token, result })
    }

    /// A worker does an activity.
    pub(crate) fn run_activity(&mut self, name: &str, task: i32, output: &str) {
        let token = self.activity(name, task);
        self.done(name, token, output).expect("the result is taken");
    }

    /// A worker tries an activity, and it fails.
    pub(crate) fn fail_activity(&mut self, name: &str, task: i32) {
        let token = self.activity(name, task);
        let failure = Box::new(FailureDetails::new("ValueError", "no luck"));
        let input = instance::Input::ActivityCompleted { token, result: Err(failure) };
        self.say(name, input).expect("the result is taken");
    }

    /// What a worker is handed of an entity.
    pub(crate) fn batch(&self, name: &str) -> Batch {
        assert!(self.rows.contains_key(&(entity_id(name), TURN)), "no batch of {name}");
        self.entity(name).work().expect("there is a batch")
    }

    /// The operations of an entity's next batch.
    pub(crate) fn operations(&self, name: &str) -> Vec<String> {
        let operation = |event: &HistoryEvent| match &event.fact {
            Fact::EntityCalled(it) | Fact::EntitySignaled(it) => it.operation.to_string(),
            other => panic!("no operation: {other:?}"),
        };
        self.batch(name).operations.iter().map(operation).collect()
    }

    /// A worker does a whole batch; each operation answers its own name.
    pub(crate) fn run_batch(
        &mut self,
        name: &str,
        state: Option<&str>,
        actions: Vec<EntityAction>,
    ) {
        let results = self.operations(name);
        let results = results.iter().map(|it| OperationResult::Done { result: text(it) }).collect();
        let token = self.batch(name).token;
        let state = state.map(Arc::from);
        let result = BatchResult { token, results, actions, state, failure: None };
        self.say_entity(name, entity::Input::BatchCompleted(Box::new(result)))
            .expect("the batch is taken");
    }

    /// What the whole history of an instance says, without what is not yet.
    pub(crate) fn history(&self, name: &str) -> Vec<String> {
        self.instance(name).history.iter().map(shown).collect()
    }
}

/// A line of a history in a few words.
pub(crate) fn shown(event: &HistoryEvent) -> String {
    let number = if event.id < 0 { String::new() } else { format!("#{} ", event.id) };
    let what = match &event.fact {
        Fact::OrchestratorStarted => format!("turn at {}", event.at.millis() - START),
        Fact::ExecutionStarted(it) => {
            format!("started {} {}", it.name, it.input.as_deref().unwrap_or("-"))
        }
        Fact::ExecutionCompleted(it) => {
            let failure = it.failure.as_ref().map(|failure| failure.error_type.to_string());
            let result = it.result.as_deref().map(str::to_owned).or(failure);
            format!("ended {:?} {}", it.outcome, result.unwrap_or_default())
        }
        Fact::ExecutionTerminated { .. } => "terminated".to_owned(),
        Fact::ExecutionSuspended { .. } => "suspended".to_owned(),
        Fact::ExecutionResumed { .. } => "resumed".to_owned(),
        Fact::ExecutionRewound(_) => "rewound".to_owned(),
        Fact::TaskScheduled(call) => format!("task {}", call.name),
        Fact::TaskCompleted { task, result } => {
            format!("task {task} done {}", result.as_deref().unwrap_or("-"))
        }
        Fact::TaskFailed { task, failure } => format!("task {task} failed {}", failure.message),
        Fact::SubOrchestrationCreated { instance_id, call } => {
            format!("child {} {instance_id}", call.name)
        }
        Fact::SubOrchestrationCompleted { task, result } => {
            format!("child {task} done {}", result.as_deref().unwrap_or("-"))
        }
        Fact::SubOrchestrationFailed { task, failure } => {
            format!("child {task} failed {}", failure.message)
        }
        Fact::TimerCreated { fire_at } => format!("timer at {}", fire_at.millis() - START),
        Fact::TimerFired { timer, .. } => format!("timer {timer} fired"),
        Fact::EventSent { instance_id, name, .. } => format!("sent {name} to {instance_id}"),
        Fact::EventRaised { name, input } => {
            format!("raised {name} {}", input.as_deref().unwrap_or("-"))
        }
        Fact::EntitySignaled(it) => format!("signal {}", it.operation),
        Fact::EntityCalled(it) => format!("call {}", it.operation),
        Fact::EntityLockRequested(it) => format!("lock {}", it.critical_section_id),
        Fact::EntityLockGranted { critical_section_id, .. } => {
            format!("locked {critical_section_id}")
        }
        Fact::EntityUnlockSent(it) => format!("unlock {}", it.critical_section_id),
        Fact::EntityOperationCompleted { output, .. } => {
            format!("answered {}", output.as_deref().unwrap_or("-"))
        }
        Fact::EntityOperationFailed { failure, .. } => format!("refused {}", failure.message),
    };
    format!("{number}{what}")
}

pub(crate) fn result(token: WorkToken, actions: Vec<Action>) -> TurnResult {
    TurnResult { token, actions, custom_status: None, processed: None, trace: None }
}

pub(crate) fn task(id: i32, name: &str) -> Action {
    Action { id, kind: ActionKind::ScheduleTask(Box::new(Call::new(name, None))) }
}

pub(crate) fn timer(id: i32, after: i64) -> Action {
    let fire_at = Timestamp::from_millis(START + after);
    Action { id, kind: ActionKind::CreateTimer { fire_at } }
}

pub(crate) fn child(id: i32, instance_id: &str, name: &str) -> Action {
    let call = Box::new(Call::new(name, text("\"c\"")));
    let kind = ActionKind::CreateSubOrchestration { instance_id: instance_id.into(), call };
    Action { id, kind }
}

pub(crate) fn end(id: i32, outcome: Outcome, result: &str) -> Action {
    let failure =
        (outcome == Outcome::Failed).then(|| Box::new(FailureDetails::new("Boom", result)));
    let result = (outcome != Outcome::Failed).then(|| result.into());
    let (new_version, carryover, tags) = (None, Vec::new(), kernel::durable::Tags::new());
    let completion = Completion { outcome, result, failure, new_version, carryover, tags };
    Action { id, kind: ActionKind::Complete(Box::new(completion)) }
}

pub(crate) fn completed(id: i32, result: &str) -> Action {
    end(id, Outcome::Completed, result)
}

pub(crate) fn operation(request: &str, name: &str, target: &str) -> EntityOperation {
    EntityOperation {
        request_id: request.into(),
        operation: name.into(),
        scheduled_at: None,
        input: None,
        parent_instance_id: None,
        parent_execution_id: None,
        target: text(target),
    }
}

pub(crate) fn call(id: i32, name: &str, target: &str) -> Action {
    let message =
        EntityMessage::Called(Box::new(operation(&format!("r{id}-{name}"), name, target)));
    Action { id, kind: ActionKind::SendEntityMessage(message) }
}

pub(crate) fn signal(id: i32, name: &str, target: &str) -> Action {
    let message =
        EntityMessage::Signaled(Box::new(operation(&format!("r{id}-{name}"), name, target)));
    Action { id, kind: ActionKind::SendEntityMessage(message) }
}
