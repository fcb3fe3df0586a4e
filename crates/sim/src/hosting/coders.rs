//! Durable Task workers: they attend, replay and answer; they go away, give back, answer twice or late.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::Error;
use engine::durable::{Answer, Leases, Profile, Room, WorkItem, WorkerSession};
use kernel::ExecutionId;
use kernel::durable::entity::{Batch, BatchResult};
use kernel::durable::instance::{TurnResult, Work};
use kernel::durable::{
    Action, ActionKind, EntityMessage, Fact, FailureDetails, OperationResult, Status,
};

use tokio_util::sync::CancellationToken;

use super::auditor::objection;
use super::program::{self, ENTITIES, WORDS};
use super::world::{Life, State};
use crate::auditor::Objection;

/// The hub of all.
pub(super) const HUB: &str = "hub";
/// Workers that attend at a time.
const WORKERS: usize = 2;

/// What was said, and must be found in the end.
#[derive(Default)]
pub(super) struct Coders {
    /// Marks by entity; whether whoever left it was told that it is taken.
    marks: BTreeMap<(String, String), bool>,
}

impl Coders {
    /// Somebody wants a mark left in an entity's state.
    pub(super) fn marks(&mut self, entity: &str, mark: String, is_taken: bool) {
        *self.marks.entry((entity.to_owned(), mark)).or_default() |= is_taken;
    }
}

pub(super) fn leases() -> Leases {
    Leases {
        turn: Duration::from_secs(20),
        // As long as its worker is present.
        activity: None,
        abandoned: Duration::from_secs(1),
        attempts_max: 0,
    }
}

/// Workers attend, and others in their place when they go.
pub(super) fn begin(life: &Life) {
    for number in 0..WORKERS {
        let life = life.clone();
        tokio::spawn(async move {
            loop {
                life.attend(number).await;
                life.pause(0, 4_000).await;
            }
        });
    }
}

impl Life {
    async fn attend(&self, number: usize) {
        let profile = Profile {
            hub: HUB.into(),
            name: format!("coder-{number}").into(),
            agent: "sim".into(),
            filters: None,
            room: Room { orchestrations: 2, activities: 3, entities: 1 },
        };
        let worker = Arc::new(self.engine.attend(profile));
        let leaves = CancellationToken::new();
        loop {
            let claimed = tokio::select! {
                biased;
                () = leaves.cancelled() => return,
                claimed = worker.claim() => claimed,
            };
            match claimed {
                Ok(items) if items.is_empty() => return,
                Ok(items) => {
                    for item in items {
                        let (life, worker) = (self.clone(), worker.clone());
                        let leaves = leaves.clone();
                        tokio::spawn(async move { life.carry_out(item, worker, &leaves).await });
                    }
                }
                Err(error) => {
                    self.world.say(|| format!("coder-{number} cannot claim: {error}"));
                    self.pause(1, 2_000).await;
                }
            }
        }
    }

    /// Does one piece of work, with its worker present for as long as it lasts, or has the worker go
    /// away with it.
    async fn carry_out(
        &self,
        item: WorkItem,
        worker: Arc<WorkerSession>,
        leaves: &CancellationToken,
    ) {
        let token = item.token().clone();
        self.world.say(|| format!("{token} is handed out"));
        self.world.count("work of code was handed out");
        self.pause(0, 1_500).await;
        if self.chance(|faults| faults.worker_dies) {
            self.world.say(|| format!("{token}: its worker goes away"));
            return leaves.cancel();
        }
        if self.chance(|faults| faults.report_lost) {
            self.pause(0, 60_000).await;
            let gave = self.engine.abandon(&token).await;
            return self.world.say(|| format!("{token} is given back at last: {gave}"));
        }
        if self.chance(|faults| faults.worker_dies) {
            let gave = self.engine.abandon(&token).await;
            return self.world.say(|| format!("{token} is given back: {gave}"));
        }
        if self.chance(|faults| faults.report_late) {
            self.pause(1_000, 50_000).await;
        }
        let times = 1 + u32::from(self.chance(|faults| faults.report_repeated));
        let fails = self.chance(|faults| faults.work_fails);
        let mut marks = Vec::new();
        for _ in 0..times {
            let answer = self.answer(&item, fails, &mut marks).await;
            self.world.say(|| format!("{token} is answered: {answer:?}"));
            self.answered(&answer, &marks);
        }
        drop(worker);
    }

    async fn answer(
        &self,
        item: &WorkItem,
        fails: bool,
        marks: &mut Vec<(String, String)>,
    ) -> Result<Answer, Error> {
        match item {
            WorkItem::Instance(Work::Activity { token, call, .. }) => {
                let input = call.input.as_deref().and_then(|it| it.parse().ok()).unwrap_or(-1);
                let result = if fails {
                    Err(Box::new(FailureDetails::new("Failed", "it could not")))
                } else {
                    Ok(Some(program::work(input).to_string().into()))
                };
                self.engine.complete_activity(token.clone(), result).await
            }
            WorkItem::Instance(Work::Turn { token, past, new, instance_id, .. }) => {
                let history: Vec<_> = past.iter().chain(new).cloned().collect();
                let actions = match program::turn(instance_id, &history) {
                    Ok(actions) => actions,
                    Err(what) => {
                        let law = "histories can be replayed";
                        self.world.object(objection(token.machine(), law, what));
                        return Err(Error::Closing);
                    }
                };
                *marks = actions.iter().filter_map(mark_of).collect();
                for (entity, mark) in &*marks {
                    self.world.state.lock().coders.marks(entity, mark.clone(), false);
                }
                let token = token.clone();
                let result = TurnResult {
                    token,
                    actions,
                    custom_status: None,
                    processed: None,
                    trace: None,
                };
                self.engine.complete_turn(result).await
            }
            WorkItem::Batch(batch) => {
                let result = batched(batch, fails);
                self.engine.complete_batch(result).await
            }
        }
    }

    fn answered(&self, answer: &Result<Answer, Error>, marks: &[(String, String)]) {
        let is_taken = matches!(answer, Ok(Answer::Taken));
        for (entity, mark) in marks {
            self.world.state.lock().coders.marks(entity, mark.clone(), is_taken);
        }
        if is_taken {
            self.world.count("an answer of code was taken");
        }
    }
}

/// What an operation leaves: where, and which mark.
fn mark_of(action: &Action) -> Option<(String, String)> {
    let ActionKind::SendEntityMessage(
        EntityMessage::Signaled(operation) | EntityMessage::Called(operation),
    ) = &action.kind
    else {
        return None;
    };
    Some((operation.target.as_deref()?.to_owned(), operation.input.as_deref()?.to_owned()))
}

/// An entity's state is all marks, one after the other.
fn batched(batch: &Batch, fails: bool) -> BatchResult {
    let mut state = batch.state.as_deref().unwrap_or_default().to_owned();
    let mut results = Vec::new();
    for event in &batch.operations {
        if let Fact::EntitySignaled(it) | Fact::EntityCalled(it) = &event.fact {
            state.push_str(it.input.as_deref().unwrap_or_default());
        }
        results.push(OperationResult::Done { result: None });
    }
    let failure = fails.then(|| Box::new(FailureDetails::new("Failed", "the whole batch")));
    let token = batch.token.clone();
    BatchResult { token, results, actions: Vec::new(), state: Some(state.into()), failure }
}

/// Judges what orchestrations gave and entities hold.
pub(super) fn finish(state: &State) -> Result<(), Objection> {
    for (name, root) in &state.clients.instances {
        let id = ExecutionId::instance(HUB, name);
        if root.is_terminated || state.auditor.gone.contains(&id) {
            continue;
        }
        let Some(instance) = state.auditor.machines.get(&id).and_then(|it| it.instance()) else {
            return Err(objection(&id, "what was started is there", "it is not"));
        };
        let must = program::value(&root.steps).to_string();
        let gave = instance.output.as_deref();
        if instance.status != Status::Completed || gave != Some(must.as_str()) {
            let what = format!("it is {:?} with {gave:?}, not {must}", instance.status);
            return Err(objection(&id, "orchestrations give their value", what));
        }
    }
    let held = |entity: &str| {
        let machine = state.auditor.machines.get(&ExecutionId::entity(HUB, entity));
        machine.and_then(|it| it.entity()?.state.as_deref()).unwrap_or_default()
    };
    for ((entity, mark), is_taken) in &state.coders.marks {
        let times = held(entity).matches(mark.as_str()).count();
        if times > 1 || (*is_taken && times == 0) {
            let what = format!("{mark} stands there {times} times: {}", held(entity));
            return Err(Objection::new(entity, "a signal counts once", what));
        }
    }
    for entity in ENTITIES {
        undisturbed(entity, held(entity))?;
        let marks = state.coders.marks.keys().filter(|(of, _)| of == entity);
        let known: usize = marks
            .filter(|(_, mark)| held(entity).contains(mark.as_str()))
            .map(|(_, mark)| mark.len())
            .sum();
        if known != held(entity).len() {
            let what = format!("nobody has said all of {}", held(entity));
            return Err(Objection::new(entity, "a signal counts once", what));
        }
    }
    Ok(())
}

/// Between the first and the last word of a section nobody else had a word.
fn undisturbed(entity: &str, held: &str) -> Result<(), Objection> {
    let [first, last] = WORDS;
    for (at, _) in held.match_indices(last) {
        let before = &held[..at];
        let section = &before[before.rfind('<').map_or(0, |at| at + 1)..];
        let begin = format!("<{section}{first}");
        let is_next = before.strip_suffix(&format!("<{section}"));
        if !is_next.is_some_and(|before| before.ends_with(&begin)) {
            let what = format!("somebody was heard within the section {section}: {held}");
            return Err(Objection::new(entity, "who has the lock is undisturbed", what));
        }
    }
    Ok(())
}
