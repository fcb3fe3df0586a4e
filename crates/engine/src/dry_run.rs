//! Rehearsing an execution: the kernel alone, with a clock that jumps and answers that are given.
//!
//! Nothing of a rehearsal reaches the store, a queue, a worker or a runner, so nothing of it can be
//! found later. What a rehearsed task would wait for in the world comes from the mocks of its
//! reference name, in order; the clock moves on to whatever is due next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::graph::{
    Asker, Awaits, Context, Execution, Input, Message, Plan, Report, Start, Status, Task,
    TaskStatus, Verdict,
};
use kernel::{Effect, ExecutionId, Json, Machine, Rejected, Scripts, Timestamp};

use crate::engine::{Engine, Error};

/// What a task answers when it is rehearsed.
#[derive(Clone, Debug)]
pub struct Mock {
    /// How it ends; `None`: it is not done and asks to be called again at once.
    pub status: Option<TaskStatus>,
    /// Its output, an object.
    pub output: Json,
    /// Milliseconds from being taken until the answer.
    pub runs_for: i64,
    /// Milliseconds in the queue.
    pub waits_for: i64,
}

/// The answers of an execution's tasks, and those of its sub-workflows' tasks, by reference name.
#[derive(Clone, Debug, Default)]
pub struct Mocks {
    /// In the order in which they are given; a name with an iteration suffix (`__2`) is looked for
    /// before the name without.
    pub tasks: BTreeMap<String, VecDeque<Mock>>,
    /// For what the tasks of these names start.
    pub children: BTreeMap<String, Mocks>,
}

/// How a rehearsal went.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// The execution as it stands at last.
    pub execution: Execution,
    /// What it waits for without an answer: reference names, with the child workflow if it is in one.
    pub waits_for: Vec<String>,
    /// Names of mocks that no task has.
    pub unknown: Vec<UnknownMock>,
}

/// A mock that no task can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMock {
    /// The name that was given.
    pub name: String,
    /// The names that tasks have there.
    pub known: BTreeSet<String>,
}

/// Decisions in one rehearsal.
pub const REHEARSAL_STEPS_MAX: usize = 20_000;
/// How long a rehearsal may take.
const TIME_MAX: Duration = Duration::from_secs(30);

impl Engine {
    /// Rehearses an execution until it has ended, or until what it waits for has no answer, or
    /// `steps_max` decisions were made; says how it stands then, and which mocks no task can take.
    /// Blocks the thread, as scripts run: see [`Engine::evaluate`].
    ///
    /// # Errors
    /// [`Error::Rejected`] if it cannot begin.
    pub fn rehearse(
        &self,
        start: Start,
        mocks: Mocks,
        steps_max: usize,
        scripts: &dyn Scripts,
    ) -> Result<Rehearsed, Error> {
        let root = Self::new_id();
        let given = vec![Given::of(&mocks)];
        let plans = vec![(0, start.plan.clone())];
        let mut stage = Stage {
            engine: self,
            scripts,
            now: self.now(),
            executions: BTreeMap::new(),
            mocks: vec![mocks],
            parts: BTreeMap::from([(root.clone(), 0)]),
            child_parts: BTreeMap::new(),
            messages: VecDeque::new(),
            due: BTreeMap::new(),
            numbers: 0,
            expected: BTreeSet::new(),
            steps: 0,
            given,
            plans,
        };
        stage.executions.insert(root.clone(), Execution::new(root.clone()));
        stage.step(&root, Input::Start(Box::new(start)))?;
        let deadline = Instant::now() + TIME_MAX;
        while stage.steps < steps_max.min(REHEARSAL_STEPS_MAX) && Instant::now() < deadline {
            if stage.executions.get(&root).is_some_and(|state| state.status.is_closed()) {
                break;
            }
            if !stage.advance() {
                break;
            }
        }
        let (waits_for, unknown) = (stage.waits_for(&root), stage.unknown_mocks());
        let execution = stage.executions.remove(&root).expect("the root is on the stage");
        Ok(Rehearsed { execution, waits_for, unknown })
    }
}

/// The names for which answers were given.
#[derive(Clone, Debug, Default)]
struct Given {
    tasks: Vec<String>,
    children: Vec<String>,
}

impl Given {
    fn of(mocks: &Mocks) -> Self {
        Self {
            tasks: mocks.tasks.keys().cloned().collect(),
            children: mocks.children.keys().cloned().collect(),
        }
    }
}

/// What happens to a task, in the order in which it does.
#[derive(Clone, Debug)]
enum NextInput {
    /// Somebody takes it.
    Take(Mock),
    /// It answers.
    Answer(Mock),
}

/// All that a rehearsal consists of.
struct Stage<'a> {
    engine: &'a Engine,
    scripts: &'a dyn Scripts,
    now: Timestamp,
    executions: BTreeMap<ExecutionId, Execution>,
    mocks: Vec<Mocks>,
    /// Which mocks an execution has.
    parts: BTreeMap<ExecutionId, usize>,
    /// Which mocks the children of a task have, by the mocks and the name of the task.
    child_parts: BTreeMap<(usize, String), usize>,
    messages: VecDeque<(ExecutionId, Message)>,
    due: BTreeMap<(Timestamp, u64), (ExecutionId, u32, NextInput)>,
    numbers: u64,
    /// Tasks that a cue is due for.
    expected: BTreeSet<(ExecutionId, u32)>,
    steps: usize,
    /// What was given, by the number of the mocks.
    given: Vec<Given>,
    /// What ran with which mocks.
    plans: Vec<(usize, Arc<Plan>)>,
}

impl Stage<'_> {
    /// Lets the next thing happen; `false` if there is nothing.
    fn advance(&mut self) -> bool {
        if let Some((to, message)) = self.messages.pop_front() {
            self.deliver(&to, message);
            return true;
        }
        let lacking = self.cue_all();
        let cue_at = self.due.first_key_value().map(|((at, _), _)| *at);
        let wake =
            self.executions.values().filter_map(|state| Some((state.wake_at()?, state.id.clone())));
        let wake = wake.min();
        match (cue_at, wake) {
            (Some(at), wake) if wake.as_ref().is_none_or(|(wake, _)| at <= *wake) => {
                let Some((_, (id, sequence, cue))) = self.due.pop_first() else { return false };
                self.now = self.now.max(at);
                self.play(&id, sequence, cue);
                true
            }
            // While nobody answers for a task, time alone would only let it time out.
            (None, Some((at, _))) if lacking && at > self.now => false,
            (_, Some((at, id))) => {
                self.now = self.now.max(at);
                self.tell(&id, Input::Wake);
                true
            }
            (_, None) => false,
        }
    }

    /// The tasks that have begun and for which there is no answer.
    fn waits_for(&self, root: &ExecutionId) -> Vec<String> {
        let running = self.executions.iter().filter(|(_, it)| it.status == Status::Running);
        running
            .flat_map(|(id, state)| {
                let open = state.open_tasks().filter(|task| {
                    awaits_the_world(task) && !self.expected.contains(&(id.clone(), task.sequence))
                });
                open.map(move |task| {
                    let within = &state.plan().definition.name;
                    if id == root {
                        task.reference.to_string()
                    } else {
                        format!("{} of the child workflow {within}", task.reference)
                    }
                })
            })
            .collect()
    }

    /// Names of mocks that no task has: not in the definitions, nor in what dynamic forks made.
    fn unknown_mocks(&self) -> Vec<UnknownMock> {
        let mut unknown = Vec::new();
        for (part, given) in self.given.iter().enumerate() {
            let mut known = BTreeSet::new();
            for (_, plan) in self.plans.iter().filter(|(of, _)| *of == part) {
                plan.definition.walk(|_, task| {
                    known.insert(task.task_reference_name.clone());
                });
            }
            let ran = self.executions.iter().filter(|(id, _)| self.parts.get(*id) == Some(&part));
            let ran = ran.flat_map(|(_, state)| state.tasks().map(|it| it.reference.to_string()));
            known.extend(ran);
            if !self.plans.iter().any(|(of, _)| *of == part) {
                continue;
            }
            // A name may have the number of an iteration behind it.
            let is_known = |name: &str| {
                let number = |it: &str| !it.is_empty() && it.bytes().all(|c| c.is_ascii_digit());
                let bare = name.rsplit_once("__").filter(|(_, it)| number(it)).map(|it| it.0);
                known.contains(name) || bare.is_some_and(|bare| known.contains(bare))
            };
            for name in given.tasks.iter().chain(&given.children).filter(|it| !is_known(it)) {
                unknown.push(UnknownMock { name: name.clone(), known: known.clone() });
            }
        }
        unknown
    }

    /// Finds the answers of tasks that newly wait for one. `true` if some have none.
    fn cue_all(&mut self) -> bool {
        let mut waiting = Vec::new();
        for (id, state) in &self.executions {
            if state.status == Status::Running {
                let open = state.open_tasks().filter(|task| awaits_the_world(task));
                waiting.extend(open.map(|task| {
                    let author = state.node_of(task).reference.clone();
                    let ready = task.scheduled_at.plus_millis(task.delay);
                    (id.clone(), task.sequence, task.reference.clone(), author, ready)
                }));
            }
        }
        let mut lacking = false;
        for (id, sequence, reference, author, ready) in waiting {
            if self.expected.contains(&(id.clone(), sequence)) {
                continue;
            }
            let Some(mock) = self.mock_of(&id, &reference, &author) else {
                lacking = true;
                continue;
            };
            let at = ready.max(self.now).plus_millis(mock.waits_for.max(0));
            self.cue(at, id, sequence, NextInput::Take(mock));
        }
        lacking
    }

    fn cue(&mut self, at: Timestamp, id: ExecutionId, sequence: u32, cue: NextInput) {
        self.numbers += 1;
        self.expected.insert((id.clone(), sequence));
        self.due.insert((at, self.numbers), (id, sequence, cue));
    }

    /// The next answer of a reference name.
    fn mock_of(&mut self, id: &ExecutionId, reference: &str, author: &str) -> Option<Mock> {
        let mocks = self.mocks.get_mut(*self.parts.get(id)?)?;
        let exact = mocks.tasks.get_mut(reference).and_then(VecDeque::pop_front);
        exact.or_else(|| mocks.tasks.get_mut(author)?.pop_front())
    }

    fn play(&mut self, id: &ExecutionId, sequence: u32, cue: NextInput) {
        match cue {
            NextInput::Take(mock) => {
                let worker = Some("rehearsal".into());
                // What nobody polls is simply answered.
                self.tell(id, Input::Claim { sequence, worker });
                let at = self.now.plus_millis(mock.runs_for.max(0));
                self.cue(at, id.clone(), sequence, NextInput::Answer(mock));
            }
            NextInput::Answer(mock) => {
                self.expected.remove(&(id.clone(), sequence));
                let failed = mock.status.is_some_and(TaskStatus::is_failure);
                let report = Report {
                    sequence,
                    verdict: mock.status.map_or(Verdict::Again { after: 0 }, Verdict::Done),
                    output: Some(mock.output),
                    merge: false,
                    reason: failed.then(|| "the mock says so".into()),
                    worker: Some("rehearsal".into()),
                    started_at: None,
                    metadata: None,
                };
                self.tell(id, Input::Report(Box::new(report)));
            }
        }
    }

    /// A message between executions. What nobody waits for is not rehearsed.
    fn deliver(&mut self, to: &ExecutionId, message: Message) {
        let Message::Start(start) = message else { return self.tell(to, Input::Message(message)) };
        let Some(by) = start.asked_by.clone() else { return };
        let asker = Asker { by, child: to.clone() };
        let Some(parent) = start.parent.clone() else {
            let (asker, started) = asker.told_of(to, false);
            return self.tell(&asker, Input::Message(started));
        };
        let Some(state) = self.executions.get(&parent.execution) else { return };
        let Some(task) = state.task(parent.sequence) else { return };
        let (reference, author) = (task.reference.clone(), state.node_of(task).reference.clone());
        if let Some(mock) = self.mock_of(&parent.execution, &reference, &author) {
            let at = self.now.plus_millis(mock.waits_for.max(0) + mock.runs_for.max(0));
            return self.cue(at, parent.execution, parent.sequence, NextInput::Answer(mock));
        }
        let plan = match self.engine.plan_of(&start) {
            Ok(plan) if self.depth(&parent.execution) < self.engine.limits().depth_max => plan,
            refused => {
                let reason = refused.err().unwrap_or_else(|| "nested too deep".to_owned());
                let (asker, refused) = asker.refusal(&reason);
                return self.tell(&asker, Input::Message(refused));
            }
        };
        let part = self.child_part(&parent.execution, &author);
        self.plans.push((part, plan.clone()));
        self.parts.insert(to.clone(), part);
        self.executions.insert(to.clone(), Execution::new(to.clone()));
        let begin = Start {
            plan,
            input: start.input,
            correlation_id: start.correlation_id,
            priority: start.priority,
            task_to_domain: start.task_to_domain,
            parent: start.parent,
            asked_by: Some(asker),
            event: start.event,
            created_by: start.created_by,
            acts_as: start.acts_as,
            idempotency_key: None,
            traceparent: None,
        };
        self.tell(to, Input::Start(Box::new(begin)));
    }

    /// The mocks of what a task starts: the same for every attempt and iteration.
    fn child_part(&mut self, parent: &ExecutionId, author: &str) -> usize {
        let part = self.parts.get(parent).copied().unwrap_or_default();
        let key = (part, author.to_owned());
        if let Some(known) = self.child_parts.get(&key) {
            return *known;
        }
        let mocks = self.mocks.get_mut(part);
        let given = mocks.and_then(|mocks| mocks.children.remove(author)).unwrap_or_default();
        self.given.push(Given::of(&given));
        self.mocks.push(given);
        self.child_parts.insert(key, self.mocks.len() - 1);
        self.mocks.len() - 1
    }

    fn depth(&self, id: &ExecutionId) -> u32 {
        let parent = |id: &ExecutionId| {
            let parent = self.executions.get(id)?.parent.as_ref()?;
            Some(parent.execution.clone())
        };
        std::iter::successors(Some(id.clone()), parent).count() as u32
    }

    /// Says something to an execution; what does not fit changes nothing.
    fn tell(&mut self, id: &ExecutionId, input: Input) {
        if let Err(error) = self.step(id, input) {
            tracing::debug!(%error, "execution of a dry run rejected an input");
        }
    }

    fn step(&mut self, id: &ExecutionId, input: Input) -> Result<(), Error> {
        self.steps += 1;
        let world = self.engine.world();
        let context = Context {
            now: self.now,
            scripts: self.scripts,
            world: &world,
            limits: self.engine.limits(),
        };
        let Some(state) = self.executions.get_mut(id) else {
            return Err(Rejected::Unknown(format!("workflow {id} is not rehearsed")).into());
        };
        for effect in state.decide(input, &context)?.effects {
            if let Effect::Send { to, message } = effect {
                self.messages.push_back((to, *message));
            }
        }
        Ok(())
    }
}

/// Whether a task waits for somebody outside the engine.
fn awaits_the_world(task: &Task) -> bool {
    match task.kind.awaits() {
        Awaits::Runner => true,
        Awaits::Signal => task.begun && task.until.is_none(),
        Awaits::Engine | Awaits::Execution | Awaits::Message => false,
    }
}
