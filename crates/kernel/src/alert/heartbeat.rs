//! Monitors that wait to be called: a job must begin in time, and end neither too soon nor too late.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decide::Draft;
use super::definition::{Kind, Spec, parse_span};
use super::event::{Event, Pinged};
use super::input::{Ping, PingKind};
use super::observation::{Observation, Status, TEXT_MAX};
use super::observe::{self, Coverage};
use super::rollup::Counter;
use super::text::end;
use crate::machine::Rejected;
use crate::time::Timestamp;

/// How late a call may be unless the monitor says otherwise, in milliseconds.
const GRACE: i64 = 300_000;
/// Characters that are kept of what a job that failed said: their end, where programs say what went
/// wrong. Of others it is [`TEXT_MAX`].
pub const PING_TEXT_MAX: usize = 10_000;

/// What is known of a job that calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// When its next call is due, and from when on it is late.
    pub expected: Option<(Timestamp, Timestamp)>,
    /// The run that has begun: since when, and the caller's name for it.
    pub running: Option<(Timestamp, Option<Arc<str>>)>,
    /// When it last ended well.
    pub last_success_at: Option<Timestamp>,
    /// When it last called.
    pub last_ping_at: Option<Timestamp>,
    /// What it last said.
    pub text: Option<Arc<str>>,
}

impl Beat {
    pub(super) fn ping(&mut self, pinged: &Pinged, now: Timestamp) {
        self.last_ping_at = Some(now);
        self.text.clone_from(&pinged.text);
        if pinged.start {
            self.running = Some((now, pinged.run.clone()));
        }
        if pinged.status.is_some() {
            self.running = None;
        }
        if pinged.status == Some(Status::Ok) {
            self.last_success_at = Some(now);
        }
    }

    /// When a call or an end is late.
    pub(super) fn wake_at(&self, spec: Option<&Spec>) -> Option<Timestamp> {
        let spec = spec.filter(|spec| spec.monitor.kind == Kind::Heartbeat)?;
        let run = self
            .running
            .as_ref()
            .and_then(|(since, _)| Some(since.plus_millis(Bounds::of(spec).run_max?)));
        [self.expected.map(|(_, deadline)| deadline), run].into_iter().flatten().min()
    }
}

/// The bounds that a heartbeat monitor sets.
struct Bounds {
    grace: i64,
    run_min: Option<i64>,
    run_max: Option<i64>,
}

impl Bounds {
    fn of(spec: &Spec) -> Self {
        let settings = spec.monitor.settings.parse();
        let span = |name: &str| match settings.get(name)? {
            Value::String(text) => parse_span(text).ok(),
            Value::Number(seconds) => seconds.as_i64()?.checked_mul(1000),
            _ => None,
        };
        Self {
            grace: span("start_grace").or_else(|| span("grace")).unwrap_or(GRACE),
            run_min: span("min_run"),
            run_max: span("max_run"),
        }
    }
}

/// Plans the first call.
pub(super) fn plan(draft: &mut Draft<'_>) {
    if draft.spec().monitor.kind == Kind::Heartbeat {
        expect_after(draft, draft.now);
    }
}

/// Expects the next call by the clock that was set back.
pub(super) fn plan_after_set_back(draft: &mut Draft<'_>, by: i64) {
    let Some((at, deadline)) = draft.state.beat.expected else { return };
    if draft.spec().monitor.kind != Kind::Heartbeat {
        return;
    }
    if !is_periodic(draft) {
        expect_after(draft, draft.now);
    } else if deadline
        > draft.now.plus_millis(deadline.since(at) + draft.spec().monitor.schedule.interval())
    {
        // Counted from a call, or a missing one, by the clock as it stood before.
        draft
            .push(Event::Expected { at: at.plus_millis(-by), deadline: deadline.plus_millis(-by) });
    }
}

fn is_periodic(draft: &Draft<'_>) -> bool {
    let schedule = &draft.spec().monitor.schedule;
    schedule.cron.is_none() && schedule.at.is_none() && schedule.active.is_empty()
}

/// Expects the next call after an instant.
fn expect_after(draft: &mut Draft<'_>, after: Timestamp) {
    let spec = draft.spec();
    let schedule = &spec.monitor.schedule;
    let periodic = is_periodic(draft);
    let at = match schedule.every.filter(|_| periodic) {
        Some(every) => Some(after.plus_millis(every)),
        None => schedule.next_after(after, 0),
    };
    let Some(at) = at else { return };
    let deadline = at.plus_millis(Bounds::of(&spec).grace);
    if draft.state.beat.expected != Some((at, deadline)) {
        draft.push(Event::Expected { at, deadline });
    }
}

/// A job called.
pub(super) fn ping(draft: &mut Draft<'_>, ping: Ping) -> Result<(), Rejected> {
    let spec = draft.spec();
    if spec.monitor.kind != Kind::Heartbeat {
        let name = draft.state.name();
        return Err(Rejected::Conflict(format!("{name} does not wait to be called")));
    }
    let (start, status) = match ping.kind {
        PingKind::Start => (true, None),
        PingKind::Success | PingKind::Exit(0) => (false, Some(Status::Ok)),
        PingKind::Fail | PingKind::Exit(_) => (false, Some(Status::Fail)),
        PingKind::Log => (false, None),
    };
    let most = if status == Some(Status::Fail) { PING_TEXT_MAX } else { TEXT_MAX };
    let text: Option<Arc<str>> = ping.text.as_deref().map(|text| end(text, most).into());
    let began =
        draft.state.beat.running.clone().filter(|(_, run)| *run == ping.run || ping.run.is_none());
    let took = began.map(|(since, _)| draft.now.since(since));
    draft.push(Event::Pinged(Box::new(Pinged {
        start,
        status,
        run: ping.run,
        text: text.clone(),
    })));
    if ping.kind != PingKind::Log {
        met(draft);
    }
    let said = |default: String| text.as_deref().map_or(default, |text| end(text, TEXT_MAX));
    let observation = match (ping.kind, status) {
        (PingKind::Exit(code), Some(Status::Fail)) => {
            Observation::of(Status::Fail, said(format!("the job ended with exit code {code}")))
        }
        (_, Some(Status::Fail)) => Observation::of(Status::Fail, said("the job failed".to_owned())),
        (_, Some(_)) => match (took, Bounds::of(&spec).run_min) {
            (Some(took), Some(min)) if took < min => {
                let (took, min) = (took / 1000, min / 1000);
                Observation::of(
                    Status::Fail,
                    format!("the job ended after {took} s, less than min_run of {min} s"),
                )
            }
            _ => Observation::of(Status::Ok, said("the job ended well".to_owned())),
        },
        (_, None) => return Ok(()),
    };
    draft.count(observation.status.into(), took);
    observe::observe(draft, vec![observation], Coverage::Some, None, None);
    Ok(())
}

/// The call that was due has come: the next one is expected.
fn met(draft: &mut Draft<'_>) {
    let Some((at, deadline)) = draft.state.beat.expected else {
        return expect_after(draft, draft.now);
    };
    let periodic = is_periodic(draft);
    let schedule = &draft.spec().monitor.schedule;
    // A clock that is a little fast is no reason to expect the call once more.
    let early = deadline.since(at).min(schedule.interval() / 2);
    if periodic {
        expect_after(draft, draft.now);
    } else if draft.now >= at.plus_millis(-early) {
        expect_after(draft, at.max(draft.now));
    }
}

/// The clock moved.
pub(super) fn look_at_clock(draft: &mut Draft<'_>) {
    if draft.spec().monitor.kind != Kind::Heartbeat {
        return;
    }
    let bounds = Bounds::of(&draft.spec());
    if let (Some((since, _)), Some(max)) = (draft.state.beat.running.clone(), bounds.run_max)
        && draft.now.since(since) >= max
    {
        draft.push(Event::RunOver);
        draft.count(Counter::Fail, None);
        let text = format!("the job that began at {since} has not ended within {} s", max / 1000);
        observe::observe(
            draft,
            vec![Observation::of(Status::Fail, text)],
            Coverage::Some,
            None,
            None,
        );
    }
    let Some((at, deadline)) = draft.state.beat.expected else { return };
    if deadline > draft.now {
        return;
    }
    let last = draft.state.beat.last_ping_at;
    let last = last.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let reason = format!("no call: it was due at {at}, the last one was at {last}");
    draft.push(Event::Missed);
    draft.count(Counter::Fail, None);
    let key = format!("{}/{}", draft.state.name(), at.millis());
    let body = json!({ "from": at.millis(), "to": at.millis(), "count": 1, "reason": reason });
    draft.record("check", key, at, "MISSED", &body);
    expect_after(draft, draft.now);
    observe::observe(
        draft,
        vec![Observation::of(Status::Fail, reason)],
        Coverage::Some,
        None,
        None,
    );
}
