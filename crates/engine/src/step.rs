//! Steps: inputs for a machine are decided one after the other, and those that came while a commit
//! was under way are committed together.
//!
//! An input goes into the inbox of its machine's slot. Whoever finds nobody serving that inbox starts a
//! task which does, and which goes on to the end even if all callers go away. If anything but a
//! rejection happens among inputs that were taken together, each of them is done alone, so that none
//! fails for another's sake.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use kernel::graph::Input;
use kernel::{ExecutionId, Rejected};
use parking_lot::Mutex;
use tokio::sync::{MutexGuard, oneshot};

use crate::before::Before;
use crate::cache::{Shared, Slot};
use crate::claims::{self, join_rows};
use crate::deciding::OPERATOR_PATIENCE;
use crate::engine::{Engine, Error};
use crate::hosted::{Decided, Hosted, Stimulus};
use crate::monitors::Fired;
use crate::store::{MessageKey, StoreError};

/// Inputs that are committed together at most.
const TOGETHER_MAX: usize = 64;

/// Bytes of facts beyond which a commit takes no further input.
const TOGETHER_BYTES_MAX: usize = 256 << 10;

/// Decisions made again after conflicts before giving up.
const CONFLICTS_MAX: usize = 16;

type Answer = Result<(), Error>;

/// An input and who waits for what becomes of it.
pub(crate) struct Request {
    input: Stimulus,
    /// The message that brought it; it is deleted with the commit.
    received: Option<MessageKey>,
    reply: Option<oneshot::Sender<Answer>>,
}

impl Request {
    /// Whether it starts an execution at another's word, which nearly always comes once.
    fn begins(&self) -> bool {
        self.received.is_some()
            && matches!(&self.input, Stimulus::Execution(input) if matches!(**input, Input::Start(_)))
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
    is_served: bool,
}

impl Inbox {
    /// Adds an input; `true` if somebody has to be found who serves the inbox.
    fn push(&self, request: Request) -> bool {
        let mut waiting = self.0.lock();
        // Who ends an execution does not wait behind what it still had to do.
        if request.input.ends_execution() {
            waiting.requests.push_front(request);
        } else {
            waiting.requests.push_back(request);
        }
        !std::mem::replace(&mut waiting.is_served, true)
    }

    /// The next inputs; `None` ends the service.
    fn take(&self) -> Option<VecDeque<Request>> {
        let mut waiting = self.0.lock();
        let count = waiting.requests.len().min(TOGETHER_MAX);
        waiting.is_served = count > 0;
        (count > 0).then(|| waiting.requests.drain(..count).collect())
    }
}

/// Serves an inbox. Should that end in a panic, those who wait are let go and the next input finds
/// somebody else.
struct Service<'a>(&'a Inbox);

impl Drop for Service<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.0.lock() = Waiting::default();
        }
    }
}

/// Why inputs were not committed.
enum Failure {
    /// What failed would fail for each of them.
    All(Error),
    /// One of them may be the cause.
    One(Error),
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Self::All(error) | Self::One(error) => error,
        }
    }
}

/// What inputs that are committed together came to.
#[derive(Default)]
struct Gathered {
    /// All that was decided; `None` while there is nothing to write.
    decided: Option<Decided>,
    /// What the machine was before the first decision.
    before: Option<Before>,
    /// Messages that are received with it.
    received: Vec<MessageKey>,
    /// Who is answered after the commit, and how: what was decided rests on what is not durable yet.
    answers: Vec<(Request, Result<(), Rejected>)>,
}

impl Gathered {
    fn bytes(&self) -> usize {
        let events = self.decided.as_ref().and_then(|decided| decided.events.as_ref());
        events.map_or(0, String::len)
    }

    fn add(&mut self, before: Before, decided: Decided) {
        self.before.get_or_insert(before);
        match &mut self.decided {
            Some(first) => first.append(decided),
            none => *none = Some(decided),
        }
    }
}

impl Decided {
    /// Adds what was decided next.
    fn append(&mut self, next: Self) {
        self.events = match (self.events.take(), next.events) {
            (Some(first), Some(second)) => Some(join_rows(&first, &second)),
            (first, second) => first.or(second),
        };
        self.plans.extend(next.plans);
        self.text = next.text.or(self.text.take());
        self.is_news |= next.is_news;
        self.effects.extend(next.effects);
    }
}

impl Engine {
    /// Lets one input be decided and committed; everything that follows is on its way when this
    /// returns. Goes on to its end even if the caller goes away.
    ///
    /// # Errors
    /// [`Error::Rejected`] if the input does not fit; the store's.
    pub async fn step(&self, id: &ExecutionId, input: impl Into<Stimulus>) -> Result<(), Error> {
        self.step_received(id, input.into(), None).await
    }

    pub(crate) async fn step_received(
        &self,
        id: &ExecutionId,
        input: Stimulus,
        received: Option<MessageKey>,
    ) -> Result<(), Error> {
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(Error::Closing);
        }
        let ends = input.ends_execution();
        let (reply, mut answer) = oneshot::channel();
        // In a block, for a slot that somebody holds is not let go of.
        {
            let shared = self.inner.cache.slot(id);
            if shared.inbox.push(Request { input, received, reply: Some(reply) }) {
                let (engine, id) = (self.clone(), id.clone());
                self.inner.tasks.spawn(async move { engine.serve_inbox(&id, &shared).await });
            }
        }
        while ends {
            match tokio::time::timeout(OPERATOR_PATIENCE, &mut answer).await {
                Ok(answer) => return answer.unwrap_or(Err(Error::Closing)),
                Err(_) => self.interrupt(id),
            }
        }
        answer.await.unwrap_or(Err(Error::Closing))
    }

    /// Lets one input be decided and committed within the caller's own task.
    pub(crate) async fn step_here(&self, id: &ExecutionId, input: Stimulus) -> Result<(), Error> {
        let shared = self.inner.cache.slot(id);
        let mut slot = shared.lock().await;
        let (reply, answer) = oneshot::channel();
        let alone = VecDeque::from([Request { input, received: None, reply: Some(reply) }]);
        self.step_together(id, &shared, &mut slot, alone).await;
        self.settle_slot(id, slot);
        answer.await.unwrap_or(Err(Error::Closing))
    }

    async fn serve_inbox(&self, id: &ExecutionId, shared: &Shared) {
        let _service = Service(&shared.inbox);
        loop {
            // Taken anew for each commit: others who wait for the slot have their turn in between.
            let mut slot = shared.lock().await;
            let Some(requests) = shared.inbox.take() else {
                return self.settle_slot(id, slot);
            };
            self.step_together(id, shared, &mut slot, requests).await;
        }
    }

    /// Weighs a slot after use, or lets go of it where there is no machine.
    pub(crate) fn settle_slot(&self, id: &ExecutionId, mut slot: MutexGuard<'_, Slot>) {
        let exists = slot.state.as_ref().is_some_and(Hosted::exists);
        let has_ended = !slot.state.as_ref().is_some_and(Hosted::is_open);
        if !exists {
            slot.state = None;
        }
        let bytes = slot.bytes;
        drop(slot);
        if exists {
            self.inner.cache.keep(id, bytes, has_ended);
        } else {
            self.inner.cache.release(id);
        }
    }

    /// Decides and commits inputs, and answers each.
    async fn step_together(
        &self,
        id: &ExecutionId,
        shared: &Shared,
        slot: &mut Slot,
        mut requests: VecDeque<Request>,
    ) {
        let mut together = requests.len();
        while !requests.is_empty() {
            let rest = requests.split_off(together.clamp(1, requests.len()));
            match self.step_until_committed(id, shared, slot, &mut requests).await {
                Ok(()) => {}
                Err(Failure::One(_)) if requests.len() > 1 => together = 1,
                Err(failure) => {
                    let error = failure.into_error();
                    for mut request in requests.drain(..) {
                        request.answer(Err(error.clone()));
                    }
                }
            }
            requests.extend(rest);
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
            return Err(Failure::One(Error::Quarantined { id: id.clone(), reason }));
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
                (slot.state, slot.is_known) = (None, true);
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
        while gathered.bytes() < TOGETHER_BYTES_MAX
            && let Some(request) = requests.front()
        {
            if request.begins() && !slot.is_known && slot.state.is_none() {
                slot.presume_new(id);
            }
            self.load(id, slot).await.map_err(|error| Failure::All(error.into()))?;
            let Some(state) = slot.state.as_ref() else {
                return Err(Failure::All(Error::Closing));
            };
            let before = Before::of(state);
            let decided = match self.decide(id, &request.input, slot).await {
                Ok((state, decided)) => {
                    slot.state = Some(state);
                    Ok(decided)
                }
                // Only what is there can say no.
                Err(Error::Rejected(_)) if slot.is_presumed_new && !slot.is_ahead => {
                    (slot.state, slot.is_known) = (None, true);
                    continue;
                }
                Err(Error::Rejected(rejected)) => Err(rejected),
                Err(error) => return Err(Failure::One(error)),
            };
            let Some(request) = requests.pop_front() else { break };
            self.take_decision(id, shared, slot, gathered, request, decided.map(|it| (before, it)));
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
        decided: Result<(Before, Decided), Rejected>,
    ) {
        let answer = match decided {
            Ok((_, decided)) if decided.is_nothing() => {
                gathered.received.extend(request.received.clone());
                Ok(())
            }
            Ok((_, decided))
                if !slot.is_ahead
                    && request.received.is_none()
                    && claims::may_wait(&request.input, &decided) =>
            {
                if let Some(state) = slot.state.take() {
                    self.write_later(id, shared, slot, state, decided);
                }
                Ok(())
            }
            Ok((before, decided)) => {
                gathered.received.extend(request.received.clone());
                gathered.add(before, decided);
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
        let (Some(decided), Some(before)) = (gathered.decided.take(), gathered.before.take())
        else {
            for key in &received {
                let discarded = self.inner.store.discard(key).await;
                discarded.map_err(|error| Failure::All(error.into()))?;
            }
            return Ok(());
        };
        let Some(state) = slot.state.take() else { return Err(Failure::All(Error::Closing)) };
        let fired = Fired::of(id, &decided.effects);
        self.persist(id, slot, state, decided, received).await.map_err(|error| match error {
            Error::Store(StoreError::Received | StoreError::Corrupt(_)) => Failure::One(error),
            error => Failure::All(error),
        })?;
        if gathered.answers.iter().any(|(request, _)| request.input.ends_execution()) {
            self.release(id).await;
        }
        if let Some(fired) = fired {
            self.tell_of_schedule(id, fired);
        }
        if let Some(state) = &slot.state {
            self.count(state, &before);
            if let Some(monitor) = state.monitor() {
                self.follow_monitor(monitor, &before);
            }
        }
        Ok(())
    }
}
