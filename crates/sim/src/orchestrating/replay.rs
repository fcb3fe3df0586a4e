//! A worker's side of a turn, as SDKs do it: the history is replayed, what the program asks for is
//! matched with what it asked for then, and the rest are the actions of the answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use kernel::Timestamp;
use kernel::durable::{
    Action, ActionKind, Call, Completion, DETACHED_TAG, EntityMessage, EntityOperation,
    ExecutionStarted, Fact, FailureDetails, HistoryEvent, LockRequest, Outcome, Tags, Unlock,
};

use super::program::{Catalog, Move, Program};

type Text = Option<Arc<str>>;

/// What came of a replay.
pub(super) struct Replayed {
    /// What is new.
    pub(super) actions: Vec<Action>,
    /// What is on record, and did not fail.
    pub(super) asked: Vec<Action>,
    /// Where the program stands.
    pub(super) place: String,
    /// The event without which it does not go on.
    pub(super) awaits: Option<&'static str>,
    /// It was told to pause.
    pub(super) suspended: bool,
}

/// Replays a history, and goes on with what is new.
///
/// # Errors
/// The history does not fit the program, which never happens if histories are kept.
pub(super) fn replay(
    catalog: &Catalog,
    past: &[HistoryEvent],
    new: &[HistoryEvent],
    unique: u64,
) -> Result<Replayed, String> {
    let mut replay = Replay { unique, replaying: true, ..Replay::new(catalog) };
    for event in past {
        replay.feed(event)?;
    }
    replay.replaying = false;
    for event in new {
        replay.feed(event)?;
    }
    Ok(replay.finish())
}

/// The number of an orchestrator, from its name.
fn number_of(name: &str) -> usize {
    name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0)
}

/// How often an input was made by a continue-as-new.
fn generation(input: Option<&str>) -> u32 {
    let word = input.and_then(|input| input.strip_prefix('g')).unwrap_or("0");
    word.split('.').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

struct Asked {
    action: Action,
    in_history: bool,
}

struct Replay<'a> {
    catalog: &'a Catalog,
    program: Program,
    unique: u64,
    /// What is fed is history.
    replaying: bool,
    now: Timestamp,
    /// How it began, and when.
    started: Option<(ExecutionStarted, Timestamp)>,
    at: usize,
    stage: u32,
    attempts: u32,
    waits: Vec<i32>,
    requests: Vec<Arc<str>>,
    results: BTreeMap<i32, bool>,
    answers: BTreeMap<Arc<str>, bool>,
    granted: BTreeSet<Arc<str>>,
    events: VecDeque<HistoryEvent>,
    next_id: i32,
    /// Names given to requests.
    requested: u32,
    asked: Vec<Asked>,
    paused: Option<Vec<HistoryEvent>>,
    /// While it is paused, lines that confirm what it asked for are set aside, too.
    sets_lines_aside: bool,
    over: bool,
}

impl<'a> Replay<'a> {
    fn new(catalog: &'a Catalog) -> Self {
        Self {
            catalog,
            program: Program::default(),
            unique: 0,
            replaying: false,
            now: Timestamp::default(),
            started: None,
            at: 0,
            stage: 0,
            attempts: 0,
            waits: Vec::new(),
            requests: Vec::new(),
            results: BTreeMap::new(),
            answers: BTreeMap::new(),
            granted: BTreeSet::new(),
            events: VecDeque::new(),
            next_id: 1,
            requested: 0,
            asked: Vec::new(),
            paused: None,
            sets_lines_aside: catalog.sets_lines_aside,
            over: false,
        }
    }

    fn feed(&mut self, event: &HistoryEvent) -> Result<(), String> {
        match &event.fact {
            Fact::OrchestratorStarted => self.now = event.at,
            Fact::ExecutionCompleted(_) | Fact::ExecutionRewound(_) => {}
            Fact::ExecutionTerminated { input, .. } => {
                self.end(Outcome::Terminated, input.clone(), None);
            }
            Fact::ExecutionSuspended { .. } => {
                self.paused.get_or_insert_default();
            }
            Fact::ExecutionResumed { .. } => {
                for event in self.paused.take().unwrap_or_default() {
                    self.take(&event)?;
                }
            }
            _ => match &mut self.paused {
                Some(paused) if self.sets_lines_aside || event.id < 0 => paused.push(event.clone()),
                _ => self.take(event)?,
            },
        }
        Ok(())
    }

    fn take(&mut self, event: &HistoryEvent) -> Result<(), String> {
        if event.id >= 0 {
            return self.confirm(event);
        }
        self.hear(event);
        Ok(())
    }

    /// What it asked for then, it must have asked for now.
    fn confirm(&mut self, event: &HistoryEvent) -> Result<(), String> {
        let open = |it: &&mut Asked| it.action.id == event.id && !it.in_history;
        let asked = self.asked.iter_mut().find(open);
        let same = |kind: &ActionKind| {
            matches!(
                (kind, &event.fact),
                (ActionKind::ScheduleTask(_), Fact::TaskScheduled(_))
                    | (ActionKind::CreateTimer { .. }, Fact::TimerCreated { .. })
                    | (
                        ActionKind::CreateSubOrchestration { .. },
                        Fact::SubOrchestrationCreated { .. }
                    )
                    | (ActionKind::SendEvent { .. }, Fact::EventSent { .. })
                    | (
                        ActionKind::SendEntityMessage(_),
                        Fact::EntityCalled(_)
                            | Fact::EntitySignaled(_)
                            | Fact::EntityLockRequested(_)
                            | Fact::EntityUnlockSent(_)
                    )
            )
        };
        match asked.filter(|asked| same(&asked.action.kind)) {
            Some(asked) => {
                asked.in_history = true;
                Ok(())
            }
            None => Err(format!("the history has {event:?}, and the program does not ask for it")),
        }
    }

    /// Something happened that the program may wait for.
    fn hear(&mut self, event: &HistoryEvent) {
        match &event.fact {
            Fact::ExecutionStarted(started) => {
                let number = number_of(&started.name);
                self.program = self.catalog.programs.get(number).cloned().unwrap_or_default();
                self.started = Some(((**started).clone(), event.at));
            }
            Fact::TaskCompleted { task, .. } | Fact::SubOrchestrationCompleted { task, .. } => {
                self.results.insert(*task, true);
            }
            Fact::TaskFailed { task, .. } | Fact::SubOrchestrationFailed { task, .. } => {
                self.results.insert(*task, false);
            }
            Fact::TimerFired { timer, .. } => {
                self.results.insert(*timer, true);
            }
            Fact::EventRaised { .. } => self.events.push_back(event.clone()),
            Fact::EntityOperationCompleted { request_id, .. } => {
                self.answers.insert(request_id.clone(), true);
            }
            Fact::EntityOperationFailed { request_id, .. } => {
                self.answers.insert(request_id.clone(), false);
            }
            Fact::EntityLockGranted { critical_section_id, .. } => {
                self.granted.insert(critical_section_id.clone());
            }
            _ => {}
        }
        self.go_on();
    }

    fn ask(&mut self, kind: ActionKind) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        self.ask_as(id, kind);
        id
    }

    /// Asks under the id of what failed, if there is one.
    fn ask_again(&mut self, id: Option<i32>, kind: ActionKind) -> i32 {
        let Some(id) = id else { return self.ask(kind) };
        self.results.remove(&id);
        self.ask_as(id, kind);
        id
    }

    fn ask_as(&mut self, id: i32, kind: ActionKind) {
        self.asked.push(Asked { action: Action { id, kind }, in_history: false });
    }

    /// A name that no other request of any life has: it is the same in each replay.
    fn request(&mut self) -> Arc<str> {
        self.requested += 1;
        let (started, at) = self.started.as_ref().expect("it has begun");
        let input = started.input.as_deref().unwrap_or_default();
        format!("{}/{input}/{}/{}", started.instance_id, at.millis(), self.requested).into()
    }

    fn end(&mut self, outcome: Outcome, result: Text, failure: Option<Box<FailureDetails>>) {
        if self.over {
            return;
        }
        self.over = true;
        let carryover = match outcome {
            Outcome::ContinuedAsNew => self.events.drain(..).collect(),
            _ => Vec::new(),
        };
        let new_version = None;
        let tags = Tags::new();
        let completion = Completion { outcome, result, failure, new_version, carryover, tags };
        self.ask(ActionKind::Complete(Box::new(completion)));
    }

    fn fail(&mut self, why: &str) {
        let failure = FailureDetails::new("Failed", format!("{why} #{}", self.unique));
        self.end(Outcome::Failed, None, Some(Box::new(failure)));
    }

    fn next(&mut self) -> bool {
        (self.at, self.stage, self.attempts) = (self.at + 1, 0, 0);
        self.waits.clear();
        self.requests.clear();
        true
    }

    /// What was waited for has failed.
    fn failed(&mut self, why: &str) -> bool {
        if self.program.catches {
            return self.next();
        }
        self.fail(why);
        false
    }

    fn go_on(&mut self) {
        while !self.over && self.started.is_some() {
            let Some(now) = self.program.moves.get(self.at).cloned() else {
                if self.program.fails {
                    return self.fail("so it is written");
                }
                let result = format!("done.{}", self.unique);
                return self.end(Outcome::Completed, Some(result.into()), None);
            };
            if !self.make(&now) {
                return;
            }
        }
    }

    /// Whether the program goes on at once.
    fn make(&mut self, now: &Move) -> bool {
        match now {
            Move::Activities { count, all } => {
                if self.stage == 0 {
                    for _ in 0..*count {
                        self.activity(None);
                    }
                }
                self.results_of("an activity failed", *all)
            }
            Move::Forgotten => {
                self.activity(None);
                self.next()
            }
            Move::Retried { attempts, same_id } => self.retried(*attempts, *same_id),
            Move::Timer { millis } => {
                if self.stage == 0 {
                    self.timer(*millis);
                }
                self.results_of("a timer failed", true)
            }
            Move::Event { name, timeout } => self.event(name, *timeout),
            Move::Children { of, id, count, attempts, same_id } => {
                if self.stage == 0 {
                    (self.stage, self.attempts) = (1, self.attempts + 1);
                    let before = self.waits.drain(..).next().filter(|_| *same_id);
                    for _ in 0..*count {
                        self.child(*of, *id, false, before);
                    }
                }
                if self.attempts < *attempts && self.has_failed() {
                    self.stage = 0;
                    return true;
                }
                self.results_of("a child failed", true)
            }
            Move::Detached { of, id } => {
                self.child(*of, *id, true, None);
                self.next()
            }
            Move::Send { to, name } => {
                let (instance_id, name, input) =
                    ((*to).into(), (*name).into(), Some(self.request()));
                self.ask(ActionKind::SendEvent { instance_id, name, input });
                self.next()
            }
            Move::Call { entity } => {
                if self.stage == 0 {
                    self.stage = 1;
                    self.operation(entity, None, true);
                }
                self.answered()
            }
            Move::Signal { entity, delay } => {
                let at = delay.map(|delay| self.now.plus_millis(delay));
                self.operation(entity, at, false);
                self.next()
            }
            Move::Section { entities } => self.section(entities),
            Move::Terminate { to, recurse } => {
                // It leaves no line in the history: only the turn that comes to it asks.
                let instance_id: Arc<str> = (*to).into();
                let other =
                    self.started.as_ref().is_some_and(|(it, _)| it.instance_id != instance_id);
                let (id, reason) = (self.next_id, Some(self.request()));
                self.next_id += 1;
                if other && !self.replaying {
                    let kind = ActionKind::Terminate { instance_id, reason, recurse: *recurse };
                    self.ask_as(id, kind);
                }
                self.next()
            }
            Move::Again { times } => {
                let input = self.started.as_ref().and_then(|(it, _)| it.input.clone());
                let generation = generation(input.as_deref());
                if generation >= *times {
                    return self.next();
                }
                let next = format!("g{}.{}", generation + 1, self.unique);
                self.end(Outcome::ContinuedAsNew, Some(next.into()), None);
                false
            }
        }
    }

    fn activity(&mut self, id: Option<i32>) {
        let kind = ActionKind::ScheduleTask(Box::new(Call::new("work", Some(self.request()))));
        let id = self.ask_again(id, kind);
        self.waits.push(id);
        self.stage = 1;
    }

    fn timer(&mut self, millis: i64) {
        let id = self.ask(ActionKind::CreateTimer { fire_at: self.now.plus_millis(millis) });
        self.waits.push(id);
        self.stage = 1;
    }

    fn child(&mut self, of: usize, id: Option<&'static str>, detached: bool, again: Option<i32>) {
        let mut call =
            Call::new(format!("orchestrator-{of}"), Some(format!("g0.{}", self.request()).into()));
        if detached {
            call.tags.insert(DETACHED_TAG.into(), "true".into());
        }
        let instance_id = id.unwrap_or_default().into();
        let call = Box::new(call);
        let kind = ActionKind::CreateSubOrchestration { instance_id, call };
        let id = self.ask_again(again, kind);
        if !detached {
            self.waits.push(id);
        }
    }

    fn has_failed(&self) -> bool {
        self.waits.iter().any(|id| self.results.get(id) == Some(&false))
    }

    fn results_of(&mut self, why: &str, all: bool) -> bool {
        let of = |id: &i32| self.results.get(id).copied();
        let (mut good, mut bad) = (0, 0);
        for result in self.waits.iter().filter_map(of) {
            if result { good += 1 } else { bad += 1 }
        }
        if bad > 0 {
            return self.failed(why);
        }
        let enough = if all { self.waits.len() } else { 1 };
        good >= enough && self.next()
    }

    fn retried(&mut self, attempts: u32, same_id: bool) -> bool {
        let Some(last) = self.waits.last().copied() else {
            self.activity(None);
            self.attempts = 1;
            return false;
        };
        match (self.stage, self.results.get(&last)) {
            (_, None) => false,
            (1, Some(true)) => self.next(),
            (1, Some(false)) if self.attempts >= attempts => self.failed("it failed too often"),
            (1, Some(false)) => {
                self.timer(2000);
                self.stage = 2;
                false
            }
            _ => {
                self.attempts += 1;
                let id = same_id.then(|| self.waits[0]);
                self.activity(id);
                true
            }
        }
    }

    fn event(&mut self, name: &str, timeout: Option<i64>) -> bool {
        let is_it = |event: &HistoryEvent| matches!(&event.fact, Fact::EventRaised { name: it, .. } if it.eq_ignore_ascii_case(name));
        if let Some(at) = self.events.iter().position(is_it) {
            self.events.remove(at);
            return self.next();
        }
        if self.stage == 0 {
            self.stage = 1;
            if let Some(millis) = timeout {
                self.timer(millis);
            }
        }
        timeout.is_some() && self.results_of("a timer failed", true)
    }

    fn operation(&mut self, entity: &str, scheduled_at: Option<Timestamp>, answer: bool) {
        let request_id = self.request();
        let operation = Box::new(EntityOperation {
            request_id: request_id.clone(),
            operation: "add".into(),
            scheduled_at,
            input: Some(request_id.clone()),
            parent_instance_id: None,
            parent_execution_id: None,
            target: Some(entity.into()),
        });
        let message = if answer {
            self.requests.push(request_id);
            EntityMessage::Called(operation)
        } else {
            EntityMessage::Signaled(operation)
        };
        self.ask(ActionKind::SendEntityMessage(message));
    }

    fn answered(&mut self) -> bool {
        let of = |request: &Arc<str>| self.answers.get(request).copied();
        if self.requests.iter().any(|request| of(request) == Some(false)) {
            return self.failed("an operation failed");
        }
        self.requests.iter().all(|request| of(request) == Some(true)) && self.next()
    }

    fn section(&mut self, entities: &[&'static str]) -> bool {
        if self.stage == 0 {
            let section = self.request();
            let request = LockRequest {
                critical_section_id: section.clone(),
                lock_set: entities.iter().map(|it| Arc::from(*it)).collect(),
                position: 0,
                parent_instance_id: None,
            };
            let message = EntityMessage::LockRequested(Box::new(request));
            self.ask(ActionKind::SendEntityMessage(message));
            (self.stage, self.requests) = (1, vec![section]);
        }
        let section = self.requests[0].clone();
        if self.stage == 1 {
            if !self.granted.contains(&section) {
                return false;
            }
            self.stage = 2;
            for entity in entities {
                self.operation(entity, None, true);
            }
        }
        // One that fails is let pass: what matters is that the locks are given back.
        if !self.requests[1..].iter().all(|request| self.answers.contains_key(request)) {
            return false;
        }
        for entity in entities {
            let unlock = Unlock {
                critical_section_id: section.clone(),
                parent_instance_id: None,
                target: Some((*entity).into()),
            };
            self.ask(ActionKind::SendEntityMessage(EntityMessage::UnlockSent(Box::new(unlock))));
        }
        self.next()
    }

    fn finish(self) -> Replayed {
        let awaits = match self.program.moves.get(self.at) {
            Some(Move::Event { name, timeout: None }) if !self.over => Some(*name),
            _ => None,
        };
        let place = format!("{}.{}", self.at, self.stage);
        let (old, new): (Vec<Asked>, Vec<Asked>) =
            self.asked.into_iter().partition(|asked| asked.in_history);
        let actions: Vec<Action> = new.into_iter().map(|asked| asked.action).collect();
        let mut seen: BTreeSet<i32> = actions.iter().map(|action| action.id).collect();
        // What failed may be asked for again, and then it is new.
        let failed = |id: i32| self.results.get(&id) == Some(&false);
        let old = old.into_iter().map(|asked| asked.action);
        let asked = old.filter(|it| !failed(it.id) && seen.insert(it.id)).collect();
        Replayed { actions, asked, place, awaits, suspended: self.paused.is_some() }
    }
}
