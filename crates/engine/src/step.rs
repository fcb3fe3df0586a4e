//! Steps: inputs for a machine are decided one after the other, and those that came while a commit
//! was under way are committed together.
//!
//! An input goes into the inbox of its machine's slot. Whoever finds nobody serving that inbox starts a
//! task which does, and which goes on to the end even if all callers go away. If an input cannot be
//! decided, or a commit is refused on account of one, what was decided with it is decided again without
//! it, so that none fails for another's sake; if the store fails, all that were to be written are told.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kernel::graph::Input;
use kernel::{ExecutionId, Rejected};
use parking_lot::Mutex;
use tokio::sync::{MutexGuard, oneshot};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::before::{Before, Changes};
use crate::cache::{Shared, Slot};
use crate::deciding::{OPERATOR_PATIENCE, Undecided};
use crate::engine::{Engine, Error};
use crate::evaluation::Evaluation;
use crate::machine::{AnyInput, AnyMachine, Decided};
use crate::mutants::{self, Mutant};
use crate::pending_claims::{self, join_rows};
use crate::store::{MessageKey, StoreError};

/// Inputs that are committed together at most.
const TOGETHER_MAX: usize = 64;

/// Bytes of facts beyond which a commit takes no further input.
const TOGETHER_BYTES_MAX: usize = 256 << 10;

/// How long inputs are decided for one commit: who came first waits for all of them.
const TOGETHER_TIME_MAX: Duration = Duration::from_millis(10);

/// Decisions made again after conflicts before giving up.
const CONFLICTS_MAX: usize = 16;

type Answer = Result<(), Error>;

/// An input and who waits for what becomes of it.
pub(crate) struct Request {
    input: AnyInput,
    /// The message that brought it; it is deleted with the commit.
    received: Option<MessageKey>,
    /// Evaluations that did not end when it was decided before.
    known_stuck: Vec<Evaluation>,
    reply: Option<oneshot::Sender<Answer>>,
}

impl Request {
    fn new(input: AnyInput, received: Option<MessageKey>) -> (Self, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        (Self { input, received, known_stuck: Vec::new(), reply: Some(reply) }, answer)
    }

    /// Whether it starts an execution as a message asked; without a key that nearly always comes
    /// once.
    fn begins(&self) -> bool {
        let AnyInput::Execution(input) = &self.input else { return false };
        matches!(&**input, Input::Start(start)
            if self.received.is_some() && start.idempotency_key.is_none())
    }

    /// Whether an operator's end of the execution has to wait for it.
    fn goes_before_an_end(&self) -> bool {
        let AnyInput::Execution(input) = &self.input else { return false };
        matches!(**input, Input::Start(_) | Input::Branch(_)) || self.input.ends_execution()
    }

    fn answer(&mut self, answer: Answer) {
        if let Some(reply) = self.reply.take() {
            // Who went away does not want to know.
            let _ = reply.send(answer);
        }
    }
}

/// The inputs that wait for a slot.
#[derive(Default)]
pub(crate) struct Inbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    /// How many of them each of the next commits takes; after that, as many as there are.
    portions: VecDeque<usize>,
    is_served: bool,
}

impl Inbox {
    /// Adds an input; `true` if somebody has to be found who serves the inbox.
    fn push(&self, request: Request) -> bool {
        let mut waiting = self.0.lock();
        let at = if request.input.ends_execution() {
            // Who ends an execution does not wait behind what it still had to do.
            waiting.requests.iter().take_while(|other| other.goes_before_an_end()).count()
        } else {
            waiting.requests.len()
        };
        waiting.requests.insert(at, request);
        !std::mem::replace(&mut waiting.is_served, true)
    }

    /// The inputs of the next commit; `None` ends the service.
    fn take(&self) -> Option<VecDeque<Request>> {
        let mut waiting = self.0.lock();
        let Some(first) = waiting.requests.front() else {
            waiting.is_served = false;
            waiting.portions.clear();
            return None;
        };
        let count = if first.input.ends_execution() {
            1
        } else {
            waiting.portions.pop_front().unwrap_or(TOGETHER_MAX)
        };
        let count = count.clamp(1, waiting.requests.len());
        Some(waiting.requests.drain(..count).collect())
    }

    /// Takes back what was not committed, to be committed in these portions before anything else but
    /// an end that came meanwhile.
    fn put_back(&self, Left { requests, portions }: Left) {
        let mut waiting = self.0.lock();
        let ends = waiting.requests.iter().take_while(|it| it.input.ends_execution()).count();
        let later = waiting.requests.split_off(ends);
        waiting.requests.extend(requests);
        waiting.requests.extend(later);
        let later = std::mem::replace(&mut waiting.portions, portions);
        waiting.portions.extend(later);
    }
}

/// Serves an inbox. Should it be dropped before that is done, by a panic or the end of the runtime,
/// those who wait are let go and the next input finds somebody else.
struct Service<'a> {
    inbox: &'a Inbox,
    is_done: bool,
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            *self.inbox.0.lock() = Waiting::default();
        }
    }
}

/// Inputs that were neither answered nor committed.
#[derive(Default)]
struct Left {
    requests: VecDeque<Request>,
    /// How many of them each of the next commits is to take.
    portions: VecDeque<usize>,
}

/// Why inputs were not committed.
enum Failure {
    /// It fails for each of them.
    All(Error),
    /// Some may be committed, in these portions.
    Again(VecDeque<usize>),
}

/// What inputs that are committed together came to.
#[derive(Default)]
struct Gathered {
    /// All that was decided, but its events; `None` while there is nothing to write.
    decided: Option<Decided>,
    /// The events of each decision, as a history row.
    rows: Vec<String>,
    bytes: usize,
    changes: Changes,
    /// Messages that are received with it.
    received: Vec<MessageKey>,
    /// Who is answered after the commit, and how: what was decided rests on what is not durable yet.
    answers: Vec<(Request, Result<(), Rejected>)>,
}

impl Gathered {
    fn add(&mut self, mut decided: Decided) {
        if let Some(row) = decided.events.take() {
            self.bytes += row.len();
            self.rows.push(row);
        }
        let Some(first) = &mut self.decided else {
            self.decided = Some(decided);
            return;
        };
        first.plans.extend(decided.plans);
        first.text = decided.text.or(first.text.take());
        first.is_news |= decided.is_news;
        first.effects.extend(decided.effects);
    }

    fn take_decided(&mut self) -> Option<Decided> {
        let mut decided = self.decided.take()?;
        decided.events = match self.rows.len() {
            0 => None,
            1 => self.rows.pop(),
            _ => Some(join_rows(&self.rows)),
        };
        Some(decided)
    }
}

impl Engine {
    /// Lets one input be decided and committed; everything that follows is on its way when this
    /// returns. Goes on to its end even if the caller goes away.
    ///
    /// # Errors
    /// [`Error::Rejected`] if the input does not fit; the store's.
    pub async fn step(&self, id: &ExecutionId, input: impl Into<AnyInput>) -> Result<(), Error> {
        self.step_received(id, input.into(), None).await
    }

    pub(crate) async fn step_received(
        &self,
        id: &ExecutionId,
        input: AnyInput,
        received: Option<MessageKey>,
    ) -> Result<(), Error> {
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(Error::Closing);
        }
        let ends = input.ends_execution();
        let (request, mut answer) = Request::new(input, received);
        // In a block, for a slot that somebody holds is not let go of.
        {
            let shared = self.inner.cache.slot(id);
            if shared.inbox.push(request) {
                let (engine, id) = (self.clone(), id.clone());
                self.inner.tasks.spawn(async move { engine.serve_inbox(&id, &shared).await });
            }
        }
        let answer = if ends {
            loop {
                match tokio::time::timeout(OPERATOR_PATIENCE, &mut answer).await {
                    Ok(answer) => break answer,
                    Err(_) => self.interrupt(id),
                }
            }
        } else {
            answer.await
        };
        answer.unwrap_or_else(|_| Err(self.unanswered()))
    }

    /// Why nobody answers: that is the end, or a bug that harmed others than its cause.
    fn unanswered(&self) -> Error {
        if self.inner.closed.load(Ordering::Acquire) {
            return Error::Closing;
        }
        Error::Unavailable("an internal error stopped the decision; try again".to_owned())
    }

    /// Lets one input be decided and committed within the caller's own task.
    pub(crate) async fn step_here(&self, id: &ExecutionId, input: AnyInput) -> Result<(), Error> {
        let shared = self.inner.cache.slot(id);
        let mut slot = shared.lock().await;
        let (request, answer) = Request::new(input, None);
        self.step_together(id, &shared, &mut slot, VecDeque::from([request])).await;
        self.settle_slot(id, slot);
        answer.await.unwrap_or_else(|_| Err(self.unanswered()))
    }

    async fn serve_inbox(&self, id: &ExecutionId, shared: &Shared) {
        let mut service = Service { inbox: &shared.inbox, is_done: false };
        loop {
            // Taken anew for each commit: others who wait for the slot have their turn in between.
            let mut slot = shared.lock().await;
            let Some(requests) = shared.inbox.take() else {
                service.is_done = true;
                return self.settle_slot(id, slot);
            };
            let span =
                tracing::debug_span!("step", %id, kind = ?id.machine(), inputs = requests.len());
            let step = self.step_together(id, shared, &mut slot, requests);
            let left = step.instrument(span).await;
            shared.inbox.put_back(left);
        }
    }

    /// Weighs a slot after use, or lets go of it where there is no machine.
    pub(crate) fn settle_slot(&self, id: &ExecutionId, mut slot: MutexGuard<'_, Slot>) {
        // What is unwritten is known to this slot alone, even where the state is to be read again.
        let is_open = slot.state.as_ref().is_some_and(AnyMachine::is_open)
            || (slot.unwritten.is_some() && !mutants::is(Mutant::UnwrittenReleased));
        let exists = slot.state.as_ref().is_some_and(AnyMachine::exists);
        if !exists {
            slot.state = None;
        }
        let bytes = slot.bytes;
        drop(slot);
        if exists || is_open {
            self.inner.cache.keep(id, bytes, !is_open);
        } else {
            self.inner.cache.release(id);
        }
    }

    /// Decides inputs and commits them with one commit. What is left is to be tried again.
    async fn step_together(
        &self,
        id: &ExecutionId,
        shared: &Shared,
        slot: &mut Slot,
        mut requests: VecDeque<Request>,
    ) -> Left {
        match self.step_until_committed(id, shared, slot, &mut requests).await {
            Ok(()) => Left { requests, portions: VecDeque::new() },
            Err(Failure::Again(portions)) => Left { requests, portions },
            Err(Failure::All(error)) => {
                for request in &mut requests {
                    request.answer(Err(error.clone()));
                }
                Left::default()
            }
        }
    }

    async fn step_until_committed(
        &self,
        id: &ExecutionId,
        shared: &Shared,
        slot: &mut Slot,
        requests: &mut VecDeque<Request>,
    ) -> Result<(), Failure> {
        let mut result = Ok(());
        for _ in 0..CONFLICTS_MAX {
            result = self.attempt(id, shared, slot, requests).await;
            if !matches!(result, Err(Failure::All(Error::Store(StoreError::Conflict)))) {
                return result;
            }
            self.inner.counters.conflicts.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// One try. Requests that stay behind are neither answered nor committed.
    async fn attempt(
        &self,
        id: &ExecutionId,
        shared: &Shared,
        slot: &mut Slot,
        requests: &mut VecDeque<Request>,
    ) -> Result<(), Failure> {
        // An operator may end what is quarantined: that runs nothing of users.
        if !requests.iter().all(|request| request.input.ends_execution())
            && let Some(reason) = self.quarantine_of(id)
        {
            return Err(Failure::All(Error::Quarantined { id: id.clone(), reason }));
        }
        let suspicion = self.suspect(id, slot).await.map_err(|error| Failure::All(error.into()))?;
        let attempted = self.attempt_unsuspected(id, shared, slot, requests).await;
        if let Some(suspicion) = suspicion {
            let is_cleared = matches!(attempted, Ok(true));
            suspicion.end(is_cleared).await;
            slot.is_of_this_life |= is_cleared;
        }
        attempted.map(drop)
    }

    /// `true` if something was committed.
    async fn attempt_unsuspected(
        &self,
        id: &ExecutionId,
        shared: &Shared,
        slot: &mut Slot,
        requests: &mut VecDeque<Request>,
    ) -> Result<bool, Failure> {
        let mut gathered = Gathered::default();
        let result = match self.gather(id, shared, slot, requests, &mut gathered).await {
            Ok(()) => self.commit_gathered(id, slot, &mut gathered).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = result {
            // As far as is known, nothing of it is in the store.
            if std::mem::take(&mut slot.is_ahead) {
                slot.is_known = true;
                if !mutants::is(Mutant::StateKept) {
                    slot.state = None;
                }
                self.forget_places(id);
            }
            let undone = gathered.answers.into_iter().map(|(request, _)| request);
            *requests = undone.chain(requests.drain(..)).collect();
            return Err(failure);
        }
        for (mut request, answer) in gathered.answers {
            request.answer(answer.map_err(Error::Rejected));
        }
        Ok(std::mem::take(&mut slot.is_ahead))
    }

    /// Decides inputs until all are, or a commit is full. What rests on durable facts alone and needs
    /// no commit is answered at once.
    async fn gather(
        &self,
        id: &ExecutionId,
        shared: &Shared,
        slot: &mut Slot,
        requests: &mut VecDeque<Request>,
        gathered: &mut Gathered,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let is_full = |gathered: &Gathered| {
            gathered.bytes >= TOGETHER_BYTES_MAX || began.elapsed() >= TOGETHER_TIME_MAX
        };
        while !(slot.is_ahead && is_full(gathered))
            && let Some(request) = requests.front_mut()
        {
            if request.begins() && !slot.is_known && slot.state.is_none() && !self.is_doubted(id) {
                slot.presume_new(id);
            }
            self.load(id, slot).await.map_err(Failure::All)?;
            let Some(state) = slot.state.as_ref() else {
                return Err(Failure::All(Error::Closing));
            };
            let before = Before::of(state);
            let decided = self.decide(id, &request.input, slot, &mut request.known_stuck).await;
            let decided = match decided {
                Ok((state, decided)) => {
                    gathered.changes.add(&before, &request.input, &state, &decided);
                    slot.state = Some(state);
                    Ok(decided)
                }
                // Only what is there can say no.
                Err(Undecided::Failed(Error::Rejected(_)))
                    if slot.is_presumed_new && !slot.is_ahead =>
                {
                    (slot.state, slot.is_known) = (None, true);
                    continue;
                }
                Err(Undecided::Failed(Error::Rejected(rejected))) => Err(rejected),
                // Those before it can be committed, and it may fail alone.
                Err(Undecided::Together) => {
                    return Err(Failure::Again([gathered.answers.len(), 1].into()));
                }
                Err(Undecided::Failed(error)) => {
                    request.answer(Err(error));
                    requests.pop_front();
                    // The state is gone, and what was decided on it. Who comes next finds out whether
                    // it is quarantined.
                    if slot.is_ahead {
                        return Err(Failure::Again([gathered.answers.len()].into()));
                    }
                    return Ok(());
                }
            };
            let Some(request) = requests.pop_front() else { break };
            self.take_decision(id, shared, slot, gathered, request, decided);
        }
        Ok(())
    }

    fn take_decision(
        &self,
        id: &ExecutionId,
        shared: &Shared,
        slot: &mut Slot,
        gathered: &mut Gathered,
        mut request: Request,
        decided: Result<Decided, Rejected>,
    ) {
        let is_first = !slot.is_ahead && gathered.received.is_empty();
        let answer = match decided {
            Ok(decided) if decided.is_nothing() => {
                gathered.received.extend(request.received.clone());
                Ok(())
            }
            Ok(decided)
                if is_first
                    && request.received.is_none()
                    && pending_claims::may_wait(&request.input, &decided) =>
            {
                if let Some(state) = slot.state.take() {
                    self.write_later(id, shared, slot, state, decided);
                }
                Ok(())
            }
            Ok(decided) => {
                gathered.received.extend(request.received.clone());
                gathered.add(decided);
                slot.is_ahead = true;
                Ok(())
            }
            Err(rejected) => Err(rejected),
        };
        if slot.is_ahead || !gathered.received.is_empty() {
            gathered.answers.push((request, answer));
        } else {
            request.answer(answer.map_err(Error::Rejected));
        }
    }

    async fn commit_gathered(
        &self,
        id: &ExecutionId,
        slot: &mut Slot,
        gathered: &mut Gathered,
    ) -> Result<(), Failure> {
        let received = std::mem::take(&mut gathered.received);
        let Some(decided) = gathered.take_decided() else {
            for key in &received {
                let discarded = self.inner.store.discard(key).await;
                discarded.map_err(|error| Failure::All(error.into()))?;
            }
            return Ok(());
        };
        let Some(state) = slot.state.take() else { return Err(Failure::All(Error::Closing)) };
        let changes = std::mem::take(&mut gathered.changes);
        let persisted = self.persist(id, slot, state, decided, received, changes).await;
        persisted.map_err(|error| match error {
            // One of them is the cause.
            Error::Store(StoreError::Received | StoreError::Corrupt(_))
                if gathered.answers.len() > 1 =>
            {
                Failure::Again(vec![1; gathered.answers.len()].into())
            }
            error => Failure::All(error),
        })
    }
}
