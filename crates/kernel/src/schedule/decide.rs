//! The decisions of a schedule.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::context::{Context, Input, Stretch};
use super::due::{Calendar, Planned};
use super::event::{Cause, Event, Fired, Order};
use super::expect::Expectation;
use super::ledger::{self, Idle};
use super::spec::{CatchUp, Overlap, ScheduleSpec};
use super::state::{Firing, Schedule};
use crate::definition::IdempotencyStrategy;
use crate::graph::{Idempotency, Message, Parent, StartMessage, Status};
use crate::json::Json;
use crate::machine::{Decision, Effect, Machine, Rejected};
use crate::time::Timestamp;

/// A clock that is set back further than this, in milliseconds, was wrong: all schedules go on by
/// the new time. One that is set back by less makes no time of the day come twice.
const CORRECTION_MIN: i64 = 3 * 3_600_000;

impl Machine for Schedule {
    type Input = Input;
    type Event = Event;
    type Context<'a> = Context<'a>;

    fn decide(&mut self, input: Input, context: &Context<'_>) -> Result<Decision<Event>, Rejected> {
        match input {
            Input::Define(spec) => Ok(define(self, spec, context)),
            Input::Message(message) => hear(self, message, context),
            _ if !self.is_defined() => {
                Err(Rejected::Unknown(format!("there is no such schedule: {}", self.id)))
            }
            Input::Pause { reason } => Ok(pause(self, reason, context)),
            Input::Resume => Ok(resume(self, context)),
            Input::Trigger { by } => trigger(self, by, context),
            Input::Backfill(stretch) => backfill(self, stretch, context),
            Input::EndBackfill => end_backfill(self, context),
            Input::Wake => Ok(wake(self, context)),
            Input::Delete => {
                let mut draft = Draft::new(self, context);
                if let Some(waiting) = draft.state.buffered.clone() {
                    draft.record(&waiting, "SKIPPED", Some("the schedule was deleted"));
                }
                draft.watch_deleted();
                draft.push(Event::Deleted);
                Ok(draft.finish())
            }
        }
    }

    fn apply(&mut self, event: &Event) {
        Self::apply(self, event);
    }

    fn wake_at(&self) -> Option<Timestamp> {
        Self::wake_at(self)
    }
}

/// A decision in the making.
pub(super) struct Draft<'a> {
    pub(super) state: &'a mut Schedule,
    pub(super) context: &'a Context<'a>,
    events: Vec<Event>,
    pub(super) effects: Vec<Effect>,
}

fn define(state: &mut Schedule, spec: Box<ScheduleSpec>, context: &Context<'_>) -> Decision<Event> {
    let anew = state.spec.as_ref().is_none_or(|before| !before.fires_like(&spec));
    let resumes = state.paused && spec.paused == Some(false);
    let mut draft = Draft::new(state, context);
    if resumes && !anew {
        draft.tell_missed_in_pause();
    }
    draft.push(Event::Defined { spec, anew });
    draft.watch_defined();
    draft.release();
    draft.finish()
}

fn pause(state: &mut Schedule, reason: Option<Arc<str>>, context: &Context<'_>) -> Decision<Event> {
    let mut draft = Draft::new(state, context);
    if !draft.state.paused || draft.state.paused_reason != reason {
        draft.push(Event::Paused { reason });
    }
    draft.finish()
}

fn resume(state: &mut Schedule, context: &Context<'_>) -> Decision<Event> {
    let mut draft = Draft::new(state, context);
    if draft.state.paused {
        draft.tell_missed_in_pause();
        draft.push(Event::Resumed);
        draft.release();
    }
    draft.finish()
}

fn trigger(
    state: &mut Schedule,
    by: Option<Arc<str>>,
    context: &Context<'_>,
) -> Result<Decision<Event>, Rejected> {
    let mut draft = Draft::new(state, context);
    if let Some(obstacle) = draft.obstacle(Cause::Trigger) {
        return Err(Rejected::Conflict(obstacle));
    }
    let planned = Planned { at: context.now, cron: "".into(), zone: "".into() };
    draft.fire(planned, Cause::Trigger, by);
    Ok(draft.finish())
}

fn backfill(
    state: &mut Schedule,
    stretch: Stretch,
    context: &Context<'_>,
) -> Result<Decision<Event>, Rejected> {
    let Stretch { from, to, at_once, order, except, by } = stretch;
    if at_once == Some(0) {
        return Err(Rejected::Invalid("at least one run must be allowed at once".to_owned()));
    }
    if state.backfill.is_some() {
        return Err(Rejected::Conflict("another backfill is not done yet".to_owned()));
    }
    if from > to {
        return Err(Rejected::Invalid("a backfill cannot end before it begins".to_owned()));
    }
    if to > context.now {
        let message = format!("a backfill ends in the past, and {to} is in the future");
        return Err(Rejected::Invalid(message));
    }
    let most = Stretch::EXCEPT_MAX;
    if except.len() > most {
        let message = format!(
            "more than {most} instants from {from} to {to} are left out; fill the stretch in parts"
        );
        return Err(Rejected::Invalid(message));
    }
    let instants = state.instants(from, to, except.len() + 1);
    if instants.is_empty() {
        let message = format!("the schedule names no instant from {from} to {to}");
        return Err(Rejected::Invalid(message));
    }
    if instants.iter().all(|at| except.binary_search(at).is_ok()) {
        let message = format!("every instant from {from} to {to} has its run already");
        return Err(Rejected::Invalid(message));
    }
    let mut draft = Draft::new(state, context);
    draft.push(Event::BackfillBegun { from, to, at_once, by, order, except });
    draft.run_backfill();
    Ok(draft.finish())
}

fn end_backfill(state: &mut Schedule, context: &Context<'_>) -> Result<Decision<Event>, Rejected> {
    if state.backfill.is_none() {
        return Err(Rejected::Conflict("no backfill is being run".to_owned()));
    }
    let mut draft = Draft::new(state, context);
    draft.push(Event::BackfillDone);
    Ok(draft.finish())
}

/// The clock moved.
fn wake(state: &mut Schedule, context: &Context<'_>) -> Decision<Event> {
    let mut draft = Draft::new(state, context);
    if draft.set_back_by().is_some() {
        draft.begin();
    }
    draft.run_backfill();
    draft.run_due();
    draft.watch();
    draft.finish()
}

/// What was started says something.
fn hear(
    state: &mut Schedule,
    message: Message,
    context: &Context<'_>,
) -> Result<Decision<Event>, Rejected> {
    let (Message::Started { sequence: number, .. }
    | Message::Refused { sequence: number, .. }
    | Message::Ended { sequence: number, .. }) = message
    else {
        return Err(Rejected::Stale("a schedule has no use for this message".to_owned()));
    };
    let mut draft = Draft::new(state, context);
    let Some(mut firing) = draft.state.open.get(&number).cloned() else {
        let again = matches!(&message, Message::Ended { status, .. }
            if draft.watch_again(number, *status));
        return if again {
            Ok(draft.finish())
        } else {
            Err(Rejected::Stale(format!("firing {number} is settled already")))
        };
    };
    match message {
        Message::Started { .. } if firing.started => {
            return Err(Rejected::Stale(format!("firing {number} has started already")));
        }
        Message::Started { instead, .. } => {
            firing.instead.clone_from(&instead);
            draft.record(&firing, "EXECUTED", None);
            draft.push(Event::Started { number, instead });
            draft.watch_started(number);
        }
        Message::Refused { reason, .. } => {
            draft.record(&firing, "FAILED", Some(&reason));
            draft.push(Event::Refused { number });
            draft.watch_failed(&firing);
        }
        Message::Ended { status, .. } => {
            if !firing.started {
                draft.record(&firing, "EXECUTED", None);
                draft.watch_started(number);
            }
            let done = status == Status::Completed && firing.watch.is_some();
            let took = took(&firing, context.now).filter(|_| done);
            draft.push(Event::Ended { number, done, took });
            if done {
                draft.watch_completed(number);
            } else {
                draft.watch_failed(&firing);
            }
        }
        _ => {}
    }
    draft.release();
    draft.run_backfill();
    Ok(draft.finish())
}

/// How long the run of a firing took that ends now, if that says what is usual.
fn took(firing: &Firing, now: Timestamp) -> Option<i64> {
    let adopted = firing.instead.as_ref().is_some_and(|instead| instead.adopted);
    let since = firing.watch.as_ref().and_then(|watch| watch.started_at)?;
    (!adopted && firing.cause != Cause::Backfill).then(|| now.since(since).max(0))
}

impl<'a> Draft<'a> {
    fn new(state: &'a mut Schedule, context: &'a Context<'a>) -> Self {
        Self { state, context, events: Vec::new(), effects: Vec::new() }
    }

    /// Decides a fact.
    pub(super) fn push(&mut self, event: Event) {
        self.begin();
        self.state.apply(&event);
        self.events.push(event);
    }

    /// Begins the facts of this decision with its instant, and with what a clock that was set back
    /// means for what comes due.
    fn begin(&mut self) {
        if !self.events.is_empty() {
            return;
        }
        let set_back = self.set_back_by();
        let at = Event::At(self.context.now);
        self.state.apply(&at);
        self.events.push(at);
        if let Some(by) = set_back {
            self.clock_set_back(by);
        }
    }

    fn set_back_by(&self) -> Option<i64> {
        self.state.now.set_back_by(self.context.now)
    }

    /// Decides what becomes of instants that have fired and come once more, as Vixie's cron does.
    fn clock_set_back(&mut self, by: i64) {
        let (now, cursor) = (self.context.now, self.state.cursor);
        let Some(calendar) = self.calendar().filter(|_| cursor > now) else { return };
        if calendar.is_frequent() || by > CORRECTION_MIN {
            return self.push(Event::ClockSetBack { cursor: now });
        }
        self.skip_again(&calendar, cursor);
    }

    /// One line for instants up to `until` that had come before the clock was set back, and that do
    /// not fire again.
    fn skip_again(&mut self, calendar: &Calendar, until: Timestamp) {
        let (cursor, now) = (self.state.cursor, self.context.now);
        let most = self.context.limits.counted_max.max(1);
        let again = calendar.between(cursor.min(now), until, most);
        let (Some(first), Some(last)) = (again.first(), again.last()) else { return };
        let number = self.next_number();
        self.tell(&Idle {
            number,
            planned: first.at,
            last: last.at,
            count: again.len(),
            status: "SKIPPED",
            cause: Cause::Due.as_str(),
            reason: "it had come before the clock was set back",
        });
        self.push(Event::Skipped { number, planned: last.at, cause: Cause::Due });
    }

    fn finish(self) -> Decision<Event> {
        Decision { events: self.events, effects: self.effects }
    }

    fn record(&mut self, firing: &Firing, status: &'static str, reason: Option<&str>) {
        self.effects.push(Effect::Record(ledger::line(self.state, firing, status, reason)));
    }

    fn tell(&mut self, idle: &Idle<'_>) {
        let spec = self.state.spec.as_deref();
        self.effects.push(Effect::Record(ledger::idle(self.state, spec, idle)));
    }

    fn calendar(&self) -> Option<Calendar> {
        self.state.spec.as_deref().map(Calendar::of)
    }

    fn next_number(&self) -> u32 {
        self.state.last_number.saturating_add(1)
    }

    /// Fires what came due, as the catch-up policy has it.
    fn run_due(&mut self) {
        if self.state.paused {
            return;
        }
        let Some(calendar) = self.calendar() else { return };
        let (now, limits) = (self.context.now, self.context.limits);
        if let Some(until) = self.state.repeats_until.filter(|until| *until > self.state.cursor) {
            let late = now.plus_millis(limits.lateness_max.saturating_neg() - 1);
            self.skip_again(&calendar, until.min(late));
        }
        let cursor = self.state.cursor;
        let counted_max = limits.counted_max.max(1);
        let all = calendar.between(cursor, now, counted_max + 1);
        let Some(oldest) = all.first().map(|planned| planned.at) else { return };
        let complete = all.len() <= counted_max;
        let mut due = if complete {
            all
        } else {
            let most = limits.catch_up_max.saturating_add(limits.missed_lines_max).max(1);
            calendar.last_between(cursor, now, most)
        };
        let policy = self.state.spec.as_ref().map_or(CatchUp::None, |spec| spec.catch_up);
        let kept = due.split_off(due.len() - kept(&due, policy, self.context));
        let missed = if complete { due.len() } else { counted_max + due.len() };
        self.tell_missed(&due, missed, oldest, policy);
        if let Some(last) = due.last().filter(|_| kept.is_empty()) {
            self.watch_missed(self.state.last_number, last.at, &last.zone);
        }
        for planned in kept.into_iter().take(limits.firings_max.max(1)) {
            self.fire(planned, Cause::Due, None);
        }
    }

    /// Tells what is not made up for: a line for each of the newest, one for all before.
    fn tell_missed(
        &mut self,
        missed: &[Planned],
        count: usize,
        oldest: Timestamp,
        policy: CatchUp,
    ) {
        let (lines_max, catch_up_max) =
            (self.context.limits.missed_lines_max, self.context.limits.catch_up_max);
        let reason = match policy {
            CatchUp::All => format!(
                "it came due while the server was not there, and more than {catch_up_max} came \
                 after it (catch_up_max)"
            ),
            CatchUp::Latest | CatchUp::None => format!(
                "it came due while the server was not there, and catchUp is {}",
                policy.as_str()
            ),
        };
        let single = &missed[missed.len().saturating_sub(lines_max)..];
        let together = count - single.len();
        if together > 0 {
            let before = missed.len() - single.len();
            let last = match before.checked_sub(1).map(|index| missed[index].at) {
                Some(last) => last,
                None => single.first().map_or(oldest, |first| first.at.plus_millis(-1)),
            };
            self.miss(oldest, last, together, &reason);
        }
        for planned in single {
            self.miss(planned.at, planned.at, 1, &reason);
        }
    }

    fn miss(&mut self, planned: Timestamp, last: Timestamp, count: usize, reason: &str) {
        let number = self.next_number();
        let reason = match count {
            1 => reason.to_owned(),
            _ if count >= self.context.limits.counted_max => {
                format!("{count} firings or more: {reason}")
            }
            _ => format!("{count} firings: {reason}"),
        };
        let (status, cause) = ("MISSED", Cause::Due.as_str());
        let reason = reason.as_str();
        self.tell(&Idle { number, planned, last, count, status, cause, reason });
        self.push(Event::Missed { number, last });
    }

    /// One line for all that a pause has left out.
    fn tell_missed_in_pause(&mut self) {
        let Some(calendar) = self.calendar() else { return };
        let counted_max = self.context.limits.counted_max.max(1);
        let missed = calendar.between(self.state.cursor, self.context.now, counted_max);
        if let (Some(first), Some(last)) = (missed.first(), missed.last()) {
            let last = if missed.len() == counted_max { self.context.now } else { last.at };
            self.miss(first.at, last, missed.len(), "the schedule was paused");
        }
    }

    fn run_backfill(&mut self) {
        let Some(backfill) = self.state.backfill.clone() else { return };
        let Some(calendar) = self.calendar() else { return };
        let most = self.context.limits.firings_max.max(1).min(self.state.backfill_room());
        if most == 0 {
            return;
        }
        let (after, until) = (backfill.cursor, backfill.to);
        let left_out = backfill.except.iter().filter(|at| **at > after && **at <= until).count();
        let count_max = most + 1 + left_out;
        let mut planned = match backfill.order {
            Order::Oldest => calendar.between(after, until, count_max),
            Order::Newest => {
                let mut newest = calendar.last_between(after, until, count_max);
                newest.reverse();
                newest
            }
        };
        planned.retain(|planned| !backfill.leaves_out(planned.at));
        let done = planned.len() <= most;
        for planned in planned.into_iter().take(most) {
            self.fire(planned, Cause::Backfill, backfill.by.clone());
        }
        if done {
            self.push(Event::BackfillDone);
        }
    }

    /// Why a firing cannot start anything now.
    fn obstacle(&self, cause: Cause) -> Option<String> {
        let open_max = self.context.limits.open_max;
        if self.state.open.len() >= open_max {
            return Some(format!("{open_max} firings have not been settled yet (open_max)"));
        }
        let policy = self.overlap(cause);
        let busy = self.state.in_the_way().next()?;
        let run = self.state.run_of(busy);
        match policy {
            Overlap::AllowAll | Overlap::TerminateOther => None,
            Overlap::BufferOne if self.state.buffered.is_none() => None,
            Overlap::BufferOne => Some(format!(
                "workflow {run} has not ended, and another firing waits for that (overlap is \
                 buffer_one)"
            )),
            Overlap::Skip => Some(format!("workflow {run} has not ended (overlap is skip)")),
        }
    }

    fn overlap(&self, cause: Cause) -> Overlap {
        match (&self.state.spec, cause) {
            (Some(spec), Cause::Due | Cause::Trigger) => spec.overlap,
            _ => Overlap::AllowAll,
        }
    }

    fn fire(&mut self, planned: Planned, cause: Cause, by: Option<Arc<str>>) {
        let number = self.next_number();
        if let Some(reason) = self.obstacle(cause) {
            let (planned, zone, status) = (planned.at, planned.zone, "SKIPPED");
            let idle = Idle {
                number,
                planned,
                last: planned,
                count: 1,
                status,
                cause: cause.as_str(),
                reason: &reason,
            };
            self.tell(&idle);
            self.push(Event::Skipped { number, planned, cause });
            // Where a run is in the way, that one is watched; nothing else tells of the limit.
            if cause == Cause::Due && self.state.open.len() >= self.context.limits.open_max {
                self.watch_missed(number, planned, &zone);
            }
            return;
        }
        let overlap = self.overlap(cause);
        let given = |text: Arc<str>| (!text.is_empty()).then_some(text);
        let limited = self.state.backfill.as_ref().is_some_and(|it| it.at_once.is_some());
        let watched = cause != Cause::Backfill
            && self.state.spec.as_ref().is_some_and(|spec| spec.expect.is_some());
        let done_by = self.state.spec.as_ref().filter(|_| watched && cause == Cause::Due);
        let done_by = done_by.and_then(|spec| spec.done_by(planned.at, Some(&planned.zone)));
        let fired = Box::new(Fired {
            number,
            planned: planned.at,
            cause,
            cron: given(planned.cron),
            zone: given(planned.zone),
            by,
            followed: watched
                || overlap != Overlap::AllowAll
                || (cause == Cause::Backfill && limited),
            watched,
            done_by,
        });
        if overlap == Overlap::BufferOne && self.state.is_busy() {
            self.push(Event::Buffered(fired));
            if let Some(waiting) = self.state.buffered.clone() {
                let reason = "it waits for the end of the firing before";
                self.record(&waiting, "POLLED", Some(reason));
            }
            return;
        }
        if overlap == Overlap::TerminateOther {
            self.stop_others(cause);
        }
        self.push(Event::Fired(fired));
        self.ask(number);
    }

    fn stop_others(&mut self, cause: Cause) {
        let others: Vec<Firing> = self.state.in_the_way().cloned().collect();
        for firing in others {
            let number = firing.number;
            let reason = format!(
                "the schedule's next firing replaces this one, number {number} (overlap is \
                 terminate_other)"
            );
            let message = Message::Terminate { reason: reason.into() };
            // What somebody else began goes on.
            if !firing.instead.as_ref().is_some_and(|instead| instead.adopted) {
                let to = self.state.run_of(&firing);
                self.effects.push(Effect::Send { to, message: Box::new(message) });
            }
            self.push(Event::Stopped { number });
            // A run by hand in its place is no reason not to be done by the time.
            if let Some(watch) = firing.watch.filter(|_| cause == Cause::Trigger)
                && !watch.unmet.contains(&Expectation::Overdue)
            {
                self.undone(number, watch.done_by);
            }
        }
    }

    /// Lets the firing go that has waited, if nothing is in its way any more.
    fn release(&mut self) {
        if self.state.paused || !self.state.is_defined() || self.state.is_busy() {
            return;
        }
        if let Some(number) = self.state.buffered.as_ref().map(|waiting| waiting.number) {
            self.push(Event::Released { number });
            self.ask(number);
        }
    }

    /// Asks for the start of a firing, or settles it as one that cannot be.
    fn ask(&mut self, number: u32) {
        let Some(firing) = self.state.open.get(&number).cloned() else { return };
        match start_message(self.state, &firing) {
            Ok(message) => {
                self.record(&firing, "POLLED", None);
                let to = self.state.run_id(number);
                let message = Box::new(Message::Start(Box::new(message)));
                self.effects.push(Effect::Send { to, message });
            }
            Err(reason) => {
                self.record(&firing, "FAILED", Some(&reason));
                self.push(Event::Refused { number });
                self.watch_failed(&firing);
            }
        }
    }
}

/// How many of the last instants that came due are to be run.
fn kept(due: &[Planned], policy: CatchUp, context: &Context<'_>) -> usize {
    let most = due.len().min(context.limits.catch_up_max.max(1));
    let on_time = context.now.plus_millis(context.limits.lateness_max.saturating_neg());
    let punctual = due.iter().rev().take_while(|planned| planned.at >= on_time).count();
    match policy {
        CatchUp::All => most,
        CatchUp::Latest => punctual.max(1).min(most),
        CatchUp::None => punctual.min(most),
    }
}

/// The members of a start request that make a start.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    name: Option<Arc<str>>,
    version: Option<i64>,
    input: Option<Json>,
    correlation_id: Option<Arc<str>>,
    priority: Option<i64>,
    task_to_domain: Option<Json>,
    workflow_def: Option<Box<RawValue>>,
    created_by: Option<Arc<str>>,
    idempotency_key: Option<Arc<str>>,
    idempotency_strategy: Option<IdempotencyStrategy>,
}

fn start_message(state: &Schedule, firing: &Firing) -> Result<StartMessage, String> {
    let request: Request = serde_json::from_str(firing.request.text())
        .map_err(|error| format!("startWorkflowRequest cannot be read: {error}"))?;
    let asker = Parent { execution: state.id.clone(), sequence: firing.number };
    Ok(StartMessage {
        name: request.name.unwrap_or_default(),
        version: request.version.and_then(|version| u32::try_from(version).ok()).filter(|v| *v > 0),
        definition: request.workflow_def.filter(|raw| raw.get() != "null").map(Arc::from),
        input: request.input.filter(Json::is_object).unwrap_or_default(),
        correlation_id: request.correlation_id.filter(|label| !label.is_empty()),
        priority: request.priority.map_or(0, |priority| priority.clamp(0, 99) as u8),
        task_to_domain: request.task_to_domain.filter(|domains| !domains.is_null()),
        parent: firing.followed.then(|| asker.clone()),
        asked_by: Some(asker),
        event: None,
        created_by: request.created_by,
        // Its author, whom the engine knows.
        acts_as: None,
        idempotency: request.idempotency_key.filter(|key| !key.is_empty()).map(|key| {
            // A key without a strategy is but a label, as in every start.
            Idempotency { key, strategy: request.idempotency_strategy }
        }),
        failure_of: None,
    })
}
