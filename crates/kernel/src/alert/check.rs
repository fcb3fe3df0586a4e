//! The life of checks: when one is due, what span it covers, and what becomes of one that does not
//! run, does not end, or does not answer.

use std::sync::Arc;

use serde_json::{Value, json};

use super::decide::{Draft, unknown};
use super::definition::{Kind, MonitorDef, Spec, WindowRule, at_home};
use super::event::{Event, Outcome, Window};
use super::observation::{self, Reading, Status};
use super::observe::{self, Coverage};
use super::preview::past_window;
use super::rollup::{Counted, Counter, Step, measured};
use super::sample::Sample;
use crate::expression::{Scope, Template};
use crate::graph::{Message, Parent, StartMessage};
use crate::json::Json;
use crate::machine::{Effect, Rejected};
use crate::time::Timestamp;

/// How far back a check looks at most, unless the monitor says otherwise.
const CATCH_UP: i64 = 3_600_000;
/// Missed checks that are counted one by one.
const MISSED_MAX: u32 = 10_000;

/// Plans the first check after an instant.
pub(super) fn plan(draft: &mut Draft<'_>, after: Timestamp) {
    let spec = draft.spec();
    let next = if !spec.monitor.kind.checks() {
        None
    } else {
        spec.monitor.schedule.next_after(after, phase(draft.state.name()))
    };
    if next != draft.state.next_at {
        draft.push(Event::Planned(next));
    }
}

/// Spreads monitors over their interval: the same for a name each time.
pub(super) fn phase(name: &str) -> i64 {
    let hash = super::fingerprint(name, "phase");
    i64::from_str_radix(&hash[..12], 16).unwrap_or_default()
}

/// Somebody wants a check now.
pub(super) fn by_hand(draft: &mut Draft<'_>, who: Option<&str>) -> Result<(), Rejected> {
    let name = draft.state.name();
    if draft.state.removed {
        return Err(Rejected::Stale(format!("the monitor {name} was removed")));
    }
    if !draft.spec().monitor.kind.checks() {
        return Err(Rejected::Conflict(format!("{name} waits to be called; it checks nothing")));
    }
    if draft.state.check.is_some() {
        return Err(Rejected::Conflict(format!("a check of {name} is running")));
    }
    start(draft, draft.now, who);
    Ok(())
}

/// The clock moved.
pub(super) fn look_at_clock(draft: &mut Draft<'_>) {
    let patience = draft.state.patience();
    let hung = draft.state.check.as_ref().filter(|it| draft.now.since(it.started_at) >= patience);
    if let Some(hung) = hung {
        let sequence = hung.sequence;
        let reason = format!("the check did not end within {} s and was given up", patience / 1000);
        terminate(draft, sequence, &reason);
        ended(draft, sequence, Err(&reason));
    }
    let Some(planned) = draft.state.next_at.filter(|at| *at <= draft.now) else { return };
    let (latest, count) = pass(draft, planned);
    let running = draft.state.check.is_some();
    let closed = !is_active(draft);
    let skipped = count + u32::from(running || closed);
    if skipped > 0 {
        let reason = match (running, closed) {
            (true, _) => "the check before had not ended",
            (false, true) => "nobody looked at the clock in time, and now it is outside its hours",
            (false, false) => "nobody looked at the clock in time",
        };
        missed(draft, planned, latest, skipped, reason);
        count_missed(draft, planned, skipped);
    }
    plan(draft, draft.now);
    if !running && !closed {
        start(draft, latest, None);
    }
}

/// The last check that is due by now, and how many were due before it.
fn pass(draft: &Draft<'_>, planned: Timestamp) -> (Timestamp, u32) {
    let (spec, phase) = (draft.spec(), phase(draft.state.name()));
    let (mut latest, mut count) = (planned, 0);
    while let Some(next) = spec.monitor.schedule.next_after(latest, phase)
        && next <= draft.now
        && count < MISSED_MAX
    {
        (latest, count) = (next, count + 1);
    }
    (latest, count)
}

/// Whether a check may run now: a late one must not tell of hours that are nobody's concern.
fn is_active(draft: &Draft<'_>) -> bool {
    draft.spec().monitor.schedule.is_active(draft.now)
}

/// Counts checks that did not run where they were due: by five minutes, or by hours or days if they are
/// of so long a time that there would be too many facts.
fn count_missed(draft: &mut Draft<'_>, from: Timestamp, count: u32) {
    const FINE_MAX: i64 = 2 * 3_600_000;
    const HOURS_MAX: i64 = 48 * 3_600_000;
    let away = draft.now.since(from);
    let step = match () {
        () if away <= FINE_MAX => Step::FiveMinutes,
        () if away <= HOURS_MAX => Step::Hour,
        () => Step::Day,
    };
    let (spec, phase) = (draft.spec(), phase(draft.state.name()));
    let mut cells: Vec<(Timestamp, u32)> = Vec::new();
    let mut due = Some(from);
    for _ in 0..count {
        let Some(at) = due else { break };
        match cells.last_mut() {
            Some((first, number)) if step.floor(*first) == step.floor(at) => *number += 1,
            _ => cells.push((at, 1)),
        }
        due = spec.monitor.schedule.next_after(at, phase);
    }
    for (at, number) in cells {
        draft.push(Event::Counted(Counted::missed(number, at)));
    }
}

fn missed(draft: &mut Draft<'_>, from: Timestamp, to: Timestamp, count: u32, reason: &str) {
    draft.push(Event::Missed);
    let key = format!("{}/{}", draft.state.name(), from.millis());
    let body = json!({ "from": from.millis(), "to": to.millis(), "count": count,
        "reason": reason });
    draft.record("check", key, from, "MISSED", &body);
    let text = match count {
        1 => format!("the check that was due at {from} did not run: {reason}"),
        _ => format!("{count} checks that were due since {from} did not run: {reason}"),
    };
    observe::did_not_run(draft, count, &text);
}

fn window(draft: &mut Draft<'_>) -> Window {
    let spec = draft.spec();
    let interval = spec.monitor.schedule.interval();
    let default = WindowRule { lookback: interval, catch_up: interval.max(CATCH_UP) };
    let rule = spec.monitor.window.unwrap_or(default);
    let now = draft.now;
    let wanted = now.plus_millis(-rule.lookback);
    let from = draft.state.watermark.map_or(wanted, |watermark| watermark.min(wanted));
    let floor = now.plus_millis(-rule.catch_up.max(rule.lookback));
    // What looks at the present alone leaves no gap.
    if from < floor && spec.monitor.window.is_some() {
        let key = format!("{}/gap/{}", draft.state.name(), from.millis());
        let body = json!({ "from": from.millis(), "to": floor.millis(),
            "reason": "longer ago than the window's catch_up: nobody will look at it" });
        draft.record("check", key, from, "GAP", &body);
        let text = format!(
            "nobody will look at the time from {from} to {floor}: it is longer ago than the \
             window's catch_up"
        );
        observe::did_not_run(draft, u32::MAX, &text);
    }
    Window { from: from.max(floor), to: now }
}

fn start(draft: &mut Draft<'_>, planned: Timestamp, who: Option<&str>) {
    let window = window(draft);
    let (spec, sequence) = (draft.spec(), draft.state.next_sequence);
    draft.push(Event::Checking { sequence, window });
    let to = draft.state.check_execution(sequence);
    let input = input_of(&spec, sequence, planned, window, draft.state.memory.as_ref());
    let message = StartMessage {
        name: spec.check.name.clone(),
        version: spec.check.version,
        definition: spec.check.definition.as_ref().map(|it| Arc::from(it.raw().to_owned())),
        input: Json::of(&input),
        correlation_id: Some(draft.state.id.as_str().into()),
        priority: 0,
        task_to_domain: None,
        parent: Some(Parent { execution: draft.state.id.clone(), sequence }),
        asked_by: None,
        event: None,
        created_by: who.map(Arc::from),
        acts_as: None,
        idempotency: None,
        failure_of: None,
    };
    draft.effect(Effect::Send { to, message: Box::new(Message::Start(Box::new(message))) });
}

impl Window {
    /// The span as checks are given it.
    pub(super) fn described(self) -> Value {
        json!({
            "from": self.from.to_string(), "to": self.to.to_string(),
            "from_ms": self.from.millis(), "to_ms": self.to.millis(),
            "seconds": self.to.since(self.from) / 1000,
        })
    }
}

fn input_of(
    spec: &Spec,
    sequence: u32,
    planned: Timestamp,
    window: Window,
    memory: Option<&Json>,
) -> Value {
    let given = json!({
        "monitor": spec.monitor.name,
        "sequence": sequence,
        "planned_at": planned.millis(),
        "version": spec.version,
        "window": window.described(),
        "memory": memory,
    });
    with_own_input(&spec.monitor, given)
}

/// What a check is given that is made only to see what it would say: the span of the first one.
pub(super) fn trial_input(spec: &Spec, now: Timestamp) -> Value {
    input_of(spec, 0, now, past_window(&spec.monitor, now), None)
}

/// What a check is given; a workflow of the user's also gets what the monitor has for it, in which
/// `${window.…}` is filled in.
fn with_own_input(monitor: &MonitorDef, given: Value) -> Value {
    let settings = monitor.settings.parse();
    let own = settings.get("input").filter(|_| monitor.kind == Kind::Workflow);
    let Some(own) = own.cloned() else { return given };
    let rendered = Template::compile(&at_home(own)).render(&Given(&given));
    match (rendered.parse(), given) {
        (Value::Object(mut own), Value::Object(given)) => {
            own.extend(given);
            Value::Object(own)
        }
        (_, given) => given,
    }
}

/// What a check is given, seen as the input of an execution.
struct Given<'a>(&'a Value);

impl Scope for Given<'_> {
    fn field(&self, root: &str, field: &str) -> Option<Json> {
        (root == "workflow" && field == "input").then(|| Json::of(self.0))
    }

    fn document(&self, _: &str) -> Option<Json> {
        None
    }

    fn bare(&self, _: &str) -> Option<Json> {
        None
    }
}

fn terminate(draft: &mut Draft<'_>, sequence: u32, reason: &str) {
    let to = draft.state.check_execution(sequence);
    let message = Box::new(Message::Terminate { reason: reason.into() });
    draft.effect(Effect::Send { to, message });
}

/// Waits no longer for the check that runs.
pub(super) fn abandon(draft: &mut Draft<'_>, reason: &str) {
    if let Some(sequence) = draft.state.check.as_ref().map(|check| check.sequence) {
        terminate(draft, sequence, reason);
        close(draft, sequence, unknown(reason));
    }
}

/// Notes the end of a check, and forgets checks and deliveries that nobody needs any more.
fn close(draft: &mut Draft<'_>, sequence: u32, outcome: Outcome) {
    for old in draft.state.forgettable(&outcome, draft.now) {
        draft.effect(Effect::Forget(old));
    }
    draft.push_and_forget(Event::Checked { sequence, outcome });
}

/// A check ended: with its output, or without one.
pub(super) fn ended(draft: &mut Draft<'_>, sequence: u32, result: Result<&Json, &str>) {
    let spec = draft.spec();
    sample(draft, &spec, result);
    let by_clock = draft.state.check.as_ref().map_or(0, |it| draft.now.since(it.started_at));
    let reading =
        result.map_err(str::to_owned).and_then(|output| observation::read(output, &spec.monitor));
    match reading {
        Ok(Reading { observations, doubt: Some(doubt), .. }) => {
            close(draft, sequence, unknown(&doubt));
            draft.count(Counter::Unknown, None);
            observe::could_not_tell(draft, sequence);
            // Those that can be judged count all the same.
            if observations.iter().any(|it| it.status != Status::Unknown) {
                observe::observe(draft, observations, Coverage::All, Some(sequence), None);
            }
        }
        Ok(Reading { observations, memory, step, empty, .. }) => {
            close(draft, sequence, Outcome::Answered { memory, step });
            let worst = observe::worst(draft, &observations);
            draft.count(worst.into(), Some(measured(&observations, by_clock)));
            observe::answered(draft);
            let coverage = if empty { Coverage::Nothing } else { Coverage::All };
            observe::observe(draft, observations, coverage, Some(sequence), None);
        }
        Err(reason) => {
            close(draft, sequence, unknown(plain_reason(&reason)));
            draft.count(Counter::Unknown, None);
            observe::could_not_tell(draft, sequence);
        }
    }
}

/// Hands over what a check answered, to be kept as it is.
fn sample(draft: &mut Draft<'_>, spec: &Spec, result: Result<&Json, &str>) {
    let Some(check) = &draft.state.check else { return };
    let place = (draft.state.check_count + 1, check);
    let sample = Sample::of(&spec.monitor, &spec.version, place, result, draft.now);
    if let Some(sample) = sample {
        draft.effect(Effect::Sample(Box::new(sample)));
    }
}

/// Why a task failed, without the words around it by which its workflow tells of it.
pub(super) fn plain_reason(reason: &str) -> &str {
    let told = reason.strip_prefix("Task ").and_then(|rest| {
        let (_, rest) = rest.split_once(" failed with status: ")?;
        rest.split_once(" and reason: '")?.1.strip_suffix('\'')
    });
    told.unwrap_or(reason)
}
