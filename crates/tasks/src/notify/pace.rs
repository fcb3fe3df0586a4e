//! The pace of a receiver: how fast it is told, what waits its turn, and what is told as one.
//!
//! Every delivery of a monitor passes through the [`Line`] of its receiver. The line hands out slots
//! at the receiver's rate, so that five hundred messages do not come back in one wave; a pause that
//! the service asks for counts for all of them, and so does the growing pause after failures, during
//! which one delivery at a time tries whether the service is back. A delivery whose slot is not yet
//! there is handed back to its queue, which costs neither an attempt nor a place among those that
//! run. Where a service keeps no alerts by key, what waits is told in summaries once there is much
//! of it: every delivery is named in one, and counts as told only once that was taken.
//!
//! In memory only. After a restart the lines begin anew, and what was in a summary that nobody
//! confirmed is told again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use kernel::alert::definition::Rate;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, Notify, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

/// A slot that is no further away is waited for in place.
const SLOT_NEAR: Duration = Duration::from_millis(1200);
/// A slot that has passed this long ago is nobody's any more.
const GRACE: Duration = Duration::from_secs(8);
/// How soon one that is being told by another looks whether it was.
const SUMMARY: Duration = Duration::from_secs(2);
/// Longest time until a delivery that waits looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(45);
/// The pause after a first failure; it doubles with each further one …
const PAUSE: Duration = Duration::from_secs(5);
/// … up to this: so long after the service's return the next page arrives, unless the service itself
/// asked for a longer pause.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// The longest pause that a service is granted; one that asks for more is asked again after this.
/// `Retry-After` may say a day, for one request or by mistake, and every page waits for its end.
const ASKED_MAX: Duration = Duration::from_mins(5);
/// The slowest pace that refusals for speed lead to.
const INTERVAL_MAX: Duration = Duration::from_secs(30);
/// Failures in a row after which a receiver is taken to be broken.
const BROKEN_AFTER: u32 = 5;
/// Deliveries that wait before they are told in summaries.
const FOLD_MIN: usize = 10;
/// Deliveries in one summary: so many that each is named within what every chat takes.
pub(super) const FOLD_MAX: usize = 20;
/// How long one that waits is remembered after it was heard of last.
const FORGET: Duration = Duration::from_mins(5);
/// Deliveries that wait, or are told of, and are remembered at most.
const REMEMBERED_MAX: usize = 10_000;
/// How long the delivery that goes before another is waited for.
const BEFORE_MAX: Duration = Duration::from_secs(5);

/// How fast a kind of receiver may be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// Time between two messages; zero = at once.
    interval: Duration,
    /// Messages that may come at once after a silence.
    burst: u32,
    /// What waits may be told as one.
    pub(super) folds: bool,
}

impl Pace {
    /// As fast as can be.
    pub(super) const NONE: Self = Self { interval: Duration::ZERO, burst: 1, folds: false };

    /// So many messages in so many seconds, and so many at once.
    pub(super) const fn new(count: u32, seconds: u64, burst: u32) -> Self {
        let interval = Duration::from_millis(seconds * 1000 / count as u64);
        Self { interval, burst, folds: false }
    }

    /// Of a service that keeps no alerts by key.
    pub(super) const fn folding(self) -> Self {
        Self { folds: true, ..self }
    }

    /// The same, at the rate that the receiver's definition asks for.
    pub(super) fn at(self, rate: Option<Rate>) -> Self {
        let Some(Rate { count, per }) = rate else { return self };
        let micros = u64::try_from(per).unwrap_or(0).saturating_mul(1000) / u64::from(count.max(1));
        let interval = Duration::from_micros(micros);
        Self { interval, burst: count.min(self.burst).max(1), ..self }
    }
}

/// What became of a try, as the line needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Taken.
    Taken,
    /// Refused for what it was, or for good: nothing that time would change.
    Refused,
    /// Not now: a pause that was asked for, whether only the speed was wrong, and why.
    NotNow { after: Option<Duration>, limited: bool, reason: String },
}

impl Ended {
    /// Whether nobody can be told for longer than may go unnoticed.
    fn asks_too_much(&self) -> bool {
        matches!(self, Self::NotNow { after: Some(after), .. } if *after > ASKED_MAX)
    }
}

/// Where a delivery stands when it comes to its receiver's line.
pub(super) enum Entry {
    /// It is its turn.
    Go(Permit),
    /// Later: after so long, behind so many others.
    Later { after: Duration, before: usize },
    /// It was told in a summary, with so many others.
    Sent(usize),
}

/// The turn of one delivery. It must be ended by [`Line::leave`]; dropped without, it is as if the
/// try had not been made.
pub(super) struct Permit {
    _turn: Option<OwnedMutexGuard<()>>,
    probes: bool,
    line: Arc<Line>,
    /// The others that it tells of.
    pub(super) others: Vec<(String, String)>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.line.state.lock();
        if self.probes {
            state.probing = false;
        }
        for (attempt, _) in &self.others {
            if let Some(waiting) = state.waiting.get_mut(attempt) {
                waiting.in_summary = false;
            }
        }
    }
}

/// One that waits.
struct Waiting {
    /// When it is its turn; absent while nobody can be told.
    slot: Option<Instant>,
    /// What it says, in a line.
    says: String,
    seen: Instant,
    /// It is being told by another.
    in_summary: bool,
}

struct State {
    pace: Pace,
    /// The time between two messages now: longer than the pace's after refusals for speed.
    interval: Duration,
    /// When the next slot is, were there no burst.
    next: Instant,
    closed_until: Option<Instant>,
    failures: u32,
    probing: bool,
    /// By attempt, in the order in which they came.
    waiting: IndexMap<String, Waiting>,
    /// Attempts that were told by others, and with how many.
    told: IndexMap<String, usize>,
    /// Deliveries whose first try is over, by name.
    tried: VecDeque<String>,
}

/// The line before one receiver.
pub(super) struct Line {
    state: Mutex<State>,
    turn: Arc<Turn<()>>,
    over: Notify,
}

/// All lines, by receiver.
#[derive(Default)]
pub(super) struct Lines(Mutex<HashMap<String, Arc<Line>>>);

impl Lines {
    /// The line of a receiver, at this pace from now on.
    pub(super) fn of(&self, receiver: &str, pace: Pace) -> Arc<Line> {
        let mut lines = self.0.lock();
        let line = lines.entry(receiver.to_owned()).or_insert_with(|| Arc::new(Line::new(pace)));
        line.set(pace);
        line.clone()
    }
}

impl Line {
    fn new(pace: Pace) -> Self {
        let state = State {
            pace,
            interval: pace.interval,
            next: Instant::now(),
            closed_until: None,
            failures: 0,
            probing: false,
            waiting: IndexMap::new(),
            told: IndexMap::new(),
            tried: VecDeque::new(),
        };
        Self { state: Mutex::new(state), turn: Arc::default(), over: Notify::new() }
    }

    fn set(&self, pace: Pace) {
        let mut state = self.state.lock();
        if state.pace != pace {
            (state.pace, state.interval, state.next) = (pace, pace.interval, Instant::now());
            state.waiting.values_mut().for_each(|waiting| waiting.slot = None);
        }
    }

    /// Waits until the delivery of a name has had its first try, for a while.
    pub(super) async fn follow(&self, before: &str) {
        let deadline = Instant::now() + BEFORE_MAX;
        loop {
            let over = self.over.notified();
            tokio::pin!(over);
            over.as_mut().enable();
            if self.state.lock().tried.iter().any(|name| name == before)
                || timeout_at(deadline, over).await.is_err()
            {
                return;
            }
        }
    }

    /// A delivery has had a try, or knows when it will.
    pub(super) fn tried(&self, name: &str) {
        let mut state = self.state.lock();
        state.tried.push_back(name.to_owned());
        while state.tried.len() > 1000 {
            state.tried.pop_front();
        }
        drop(state);
        self.over.notify_waiters();
    }

    /// Asks for a turn. `attempt` names the delivery with its content, `says` is what it says in a
    /// line, `jitter` any number.
    pub(super) async fn enter(self: &Arc<Self>, attempt: &str, says: &str, jitter: u64) -> Entry {
        let slot = {
            let mut state = self.state.lock();
            if let Some(with) = state.told.shift_remove(attempt) {
                return Entry::Sent(with);
            }
            state.forget_the_lost();
            match state.place(attempt, says) {
                Ok(slot) => slot,
                Err(after) => {
                    let before = state.before(attempt);
                    return Entry::Later { after: spread(after, jitter), before };
                }
            }
        };
        tokio::time::sleep_until(slot).await;
        // One after the other where people read: the order is kept, and what waits can be told as
        // one.
        let folds = self.state.lock().pace.folds;
        let turn = if folds { Some(self.turn.clone().lock_owned().await) } else { None };
        let mut state = self.state.lock();
        if let Some(with) = state.told.shift_remove(attempt) {
            return Entry::Sent(with);
        }
        // Others may have found out meanwhile that the service is away.
        if let Err(after) = state.may_go() {
            let before = state.before(attempt);
            return Entry::Later { after: spread(after, jitter), before };
        }
        let probes = state.failures > 0;
        state.probing |= probes;
        let others = state.gather(attempt);
        drop(state);
        Entry::Go(Permit { _turn: turn, probes, line: self.clone(), others })
    }

    /// A turn that nobody waits for.
    pub(super) fn pass(self: &Arc<Self>) -> Permit {
        Permit { _turn: None, probes: false, line: self.clone(), others: Vec::new() }
    }

    /// Waits for a slot of one more call of the same delivery.
    ///
    /// # Errors
    /// How long, if that is too far away to be waited for.
    pub(super) async fn next(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let slot = {
            let mut state = self.state.lock();
            let behind = state.behind(now);
            if behind > SLOT_NEAR {
                return Err(behind.min(LOOK_AGAIN));
            }
            state.reserve(now)
        };
        tokio::time::sleep_until(slot).await;
        Ok(())
    }

    /// A try has ended; answers whether the receiver is to be taken for broken, and how long to wait
    /// if it must be made again.
    pub(super) fn leave(&self, permit: Permit, attempt: &str, ended: &Ended) -> (bool, Duration) {
        let mut state = self.state.lock();
        let pause = state.learn(ended, permit.probes);
        match ended {
            Ended::NotNow { .. } => {}
            Ended::Taken => {
                state.waiting.shift_remove(attempt);
                let with = permit.others.len();
                for (other, _) in &permit.others {
                    state.waiting.shift_remove(other);
                    if state.told.len() >= REMEMBERED_MAX {
                        state.told.shift_remove_index(0);
                    }
                    state.told.insert(other.clone(), with);
                }
            }
            Ended::Refused => drop(state.waiting.shift_remove(attempt)),
        }
        let broken = state.failures >= BROKEN_AFTER || ended.asks_too_much();
        drop(state);
        drop(permit);
        (broken, pause)
    }
}

impl State {
    /// The slot of a delivery if it is near; otherwise how long to wait. Slots are for when the
    /// service can be told: until then none is given away.
    fn place(&mut self, attempt: &str, says: &str) -> Result<Instant, Duration> {
        let now = Instant::now();
        let known = self.waiting.get(attempt).map(|it| (it.slot, it.in_summary));
        if let Some((_, true)) = known {
            return Err(SUMMARY);
        }
        let may_go = self.may_go();
        if known.is_none() && self.waiting.len() >= REMEMBERED_MAX {
            // Nobody would know that a slot is its own, and each of its looks would take another.
            return may_go.and(Err(LOOK_AGAIN));
        }
        // One that was missed for long is gone: those who missed theirs together do not come at
        // once.
        let slot = known.and_then(|(slot, _)| slot).filter(|slot| *slot + GRACE >= now);
        let slot = if may_go.is_ok() { slot.or_else(|| Some(self.reserve(now))) } else { None };
        let waiting = Waiting { slot, says: says.to_owned(), seen: now, in_summary: false };
        self.waiting.insert(attempt.to_owned(), waiting);
        may_go?;
        let slot = slot.unwrap_or(now);
        match slot.saturating_duration_since(now) {
            wait if wait > SLOT_NEAR => Err(wait.min(LOOK_AGAIN)),
            _ => Ok(slot),
        }
    }

    /// How many wait before a delivery: all, if nobody knows it.
    fn before(&self, attempt: &str) -> usize {
        self.waiting.get_index_of(attempt).unwrap_or(self.waiting.len())
    }

    /// The next slot from an instant on.
    fn reserve(&mut self, from: Instant) -> Instant {
        let slot = from + self.behind(from);
        self.next = self.next.max(slot) + self.interval;
        slot
    }

    /// How far behind an instant the next slot is.
    fn behind(&self, from: Instant) -> Duration {
        let burst = self.interval * self.pace.burst.saturating_sub(1);
        self.next.saturating_duration_since(from).saturating_sub(burst)
    }

    /// Whether a try may be made: not while the service wants to be left alone, and one at a time
    /// as long as nobody knows whether it is back.
    fn may_go(&self) -> Result<(), Duration> {
        let now = Instant::now();
        if let Some(until) = self.closed_until.filter(|until| *until > now) {
            return Err((until - now).min(LOOK_AGAIN));
        }
        if self.probing && self.failures > 0 { Err(PAUSE) } else { Ok(()) }
    }

    /// What others say that a delivery may tell with itself.
    fn gather(&mut self, attempt: &str) -> Vec<(String, String)> {
        if !self.pace.folds || self.waiting.len() <= FOLD_MIN || self.failures > 0 {
            return Vec::new();
        }
        let waiting = self.waiting.iter_mut();
        let others = waiting.filter(|(other, it)| *other != attempt && !it.in_summary);
        let others = others.take(FOLD_MAX - 1).map(|(other, it)| {
            it.in_summary = true;
            (other.clone(), it.says.clone())
        });
        others.collect()
    }

    /// Learns from how a try ended, which may have been made to see whether the service is back; how
    /// long to wait.
    fn learn(&mut self, ended: &Ended, probes: bool) -> Duration {
        let now = Instant::now();
        let (after, limited) = match ended {
            // It answers: whatever it said was about the message.
            Ended::Taken | Ended::Refused => {
                (self.failures, self.closed_until) = (0, None);
                self.interval = (self.interval * 9 / 10).max(self.pace.interval);
                return Duration::ZERO;
            }
            Ended::NotNow { after, limited, .. } => (*after, *limited),
        };
        // Several at once that are too fast are one failure: the service is there.
        if !limited || probes || self.failures == 0 {
            self.failures = self.failures.saturating_add(1);
        }
        if limited {
            let slower = (self.interval * 2).max(Duration::from_millis(200));
            self.interval = slower.min(INTERVAL_MAX.max(self.pace.interval));
        }
        let doubled = PAUSE * (1 << (self.failures - 1).min(6));
        let pause = after.unwrap_or_default().min(ASKED_MAX).max(doubled.min(PAUSE_MAX));
        let until = now + pause;
        self.closed_until = Some(self.closed_until.map_or(until, |known| known.max(until)));
        pause
    }

    /// Forgets those that have not been heard of for long: they were cancelled.
    fn forget_the_lost(&mut self) {
        let now = Instant::now();
        self.waiting.retain(|_, it| it.in_summary || now.duration_since(it.seen) < FORGET);
    }
}

/// A wait, a little longer by chance, so that those who wait together come back apart.
pub(super) fn spread(wait: Duration, jitter: u64) -> Duration {
    wait + wait / 10 * u32::try_from(jitter % 11).unwrap_or(0) / 10
}

/// How many of each kind of word lines begin with, for the title of a summary: `3 CRITICAL, 1
/// RESOLVED`.
pub(super) fn count_words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    let told: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn goes(line: &Arc<Line>, attempt: &str) -> Result<Permit, Duration> {
        match line.enter(attempt, "", 0).await {
            Entry::Go(permit) => Ok(permit),
            Entry::Later { after, .. } => Err(after),
            Entry::Sent(_) => panic!("{attempt} was told by another"),
        }
    }

    #[tokio::test]
    async fn deliveries_beyond_those_remembered_take_no_slots() {
        let line = Lines::default().of("noc", Pace::new(1, 60, 1));
        for number in 0..REMEMBERED_MAX {
            drop(goes(&line, &number.to_string()).await);
        }
        let end = line.state.lock().next;
        for _ in 0..1000 {
            assert_eq!(goes(&line, "surplus").await.err(), Some(LOOK_AGAIN));
        }
        assert_eq!(line.state.lock().next, end);
    }

    #[tokio::test]
    async fn a_service_that_asks_for_a_day_is_asked_again_by_one_delivery_within_minutes() {
        let line = Lines::default().of("noc", Pace::NONE);
        for limited in [false, true] {
            let day = Some(Duration::from_hours(24));
            let ended = Ended::NotNow { after: day, limited, reason: String::new() };
            let permit = goes(&line, "one").await.expect("it is its turn");
            assert_eq!(line.leave(permit, "one", &ended), (true, ASKED_MAX));
            assert!(goes(&line, "other").await.is_err(), "a pause counts for all");
            end_pause(&line);
            let permit = goes(&line, "other").await.expect("one asks whether it is back");
            assert!(goes(&line, "one").await.is_err(), "only one");
            assert_eq!(line.leave(permit, "other", &Ended::Taken), (false, Duration::ZERO));
        }
    }

    #[tokio::test]
    async fn a_service_that_is_away_for_long_is_asked_again_every_minute() {
        let line = Lines::default().of("noc", Pace::NONE);
        let ended = Ended::NotNow { after: None, limited: false, reason: String::new() };
        let mut pauses = Vec::new();
        for _ in 0..40 {
            let permit = goes(&line, "one").await.expect("one asks whether it is back");
            pauses.push(line.leave(permit, "one", &ended).1.as_secs());
            end_pause(&line);
        }
        assert_eq!(pauses[..5], [5, 10, 20, 40, 60]);
        assert!(pauses[5..].iter().all(|pause| *pause == 60), "{pauses:?}");
    }

    #[tokio::test]
    async fn those_who_wait_together_come_back_apart() {
        let wait = Duration::from_secs(100);
        let waits: Vec<u64> = (0..22).map(|jitter| spread(wait, jitter).as_secs()).collect();
        assert_eq!(waits[..11], [100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110]);
        assert_eq!(waits[..11], waits[11..]);
        // It is what those are told who wait for a service that is away.
        let line = Lines::default().of("noc", Pace::NONE);
        let ended = Ended::NotNow { after: Some(wait), limited: false, reason: String::new() };
        let permit = goes(&line, "one").await.expect("it is its turn");
        line.leave(permit, "one", &ended);
        let mut told = Vec::new();
        for jitter in [0, 5, 10] {
            let Entry::Later { after, .. } = line.enter("x", "", jitter).await else {
                panic!("nobody can be told now");
            };
            told.push(after);
        }
        let second = Duration::from_secs(1);
        assert!(told[0] + second < told[1] && told[1] + second < told[2], "{told:?}");
    }

    #[tokio::test]
    async fn a_service_that_refuses_for_speed_time_after_time_is_taken_for_broken() {
        let line = Lines::default().of("noc", Pace::NONE);
        let ended = Ended::NotNow { after: None, limited: true, reason: String::new() };
        // Those that were under way together are refused together: that is one failure.
        let mut together = Vec::new();
        for number in 0..10 {
            together.push(goes(&line, &number.to_string()).await.expect("it is its turn"));
        }
        for permit in together {
            assert!(!line.leave(permit, "x", &ended).0);
        }
        let mut broken = Vec::new();
        for _ in 1..BROKEN_AFTER {
            end_pause(&line);
            let permit = goes(&line, "x").await.expect("one asks whether it is back");
            broken.push(line.leave(permit, "x", &ended).0);
        }
        assert_eq!(broken, [false, false, false, true]);
    }

    /// As if the time had passed; what was slowed down goes on at once.
    fn end_pause(line: &Line) {
        let mut state = line.state.lock();
        (state.closed_until, state.next) = (None, Instant::now());
        for waiting in state.waiting.values_mut() {
            waiting.slot = None;
        }
    }
}
