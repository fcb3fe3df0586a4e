//! Monitors and engines that are broken on purpose, to find out whether the auditor would notice.

use kernel::alert::{Context, Event, Input, Monitor, NOTIFY_WORKFLOW, NotificationEvent, State};
use kernel::graph::Message;
use kernel::{Decision, Effect, Json, Machine, Rejected, Timestamp};

/// What a world runs.
pub trait Watcher {
    /// Decides an input.
    ///
    /// # Errors
    /// As [`Machine::decide`].
    fn decide(
        &self,
        state: &mut Monitor,
        input: Input,
        context: &Context,
    ) -> Result<Decision<Event>, Rejected> {
        Machine::decide(state, input, context)
    }

    /// When the monitor is to look at the clock.
    fn wake_at(&self, state: &Monitor) -> Option<Timestamp> {
        state.wake_at()
    }

    /// What the engine around it does wrong.
    fn slip(&self) -> Option<Slip> {
        None
    }

    /// Whether a state must be folded anew after each commit.
    fn is_mutant(&self) -> bool {
        false
    }
}

/// The monitor as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

impl Watcher for Real {}

/// What an engine may do wrong when it dies, or is begun anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slip {
    /// Messages are kept in memory only.
    OutboxInMemory,
    /// Messages are written before the facts that they follow from, and apart from them.
    OutboxFirst,
    /// Nobody is woken any more.
    TimersForgotten,
    /// Who depends on a monitor is not told what it has not heard.
    DependentsForgotten,
    /// Silences that were being told are not told.
    SilencesForgotten,
}

/// One way to break a monitor, or the engine around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The engine is wrong.
    Shell(Slip),
    /// The last notification of a commit is not sent.
    PageLost,
    /// A notification is sent twice, as two executions.
    PageTwice,
    /// An incident does not open.
    IncidentLost,
    /// An incident opens with the first bad check.
    OpensTooSoon,
    /// It takes one bad check more.
    OpensTooLate,
    /// It is over with the first check that is well.
    ResolvesTooSoon,
    /// What is not reported any more stays open.
    AbsenceIgnored,
    /// What nobody can tell counts as well.
    UnknownIsWell,
    /// What nobody can tell counts as bad.
    UnknownIsBad,
    /// Checks that cannot tell are nobody's concern.
    ErrorsIgnored,
    /// A check looks back no further than the last one should have.
    WatermarkForgotten,
    /// Nobody is told of a check that did not run.
    MissedForgotten,
    /// Nobody is told of an interval that is never looked at.
    GapForgotten,
    /// A check begins while another runs.
    ChecksOverlap,
    /// The end of a check that was given up is believed.
    StaleCheckBelieved,
    /// A silence hides nothing.
    SilenceIgnored,
    /// What a silence has hidden is never told.
    SilenceForEver,
    /// What it needs is taken to be up.
    ParentIgnored,
    /// What was acknowledged stays open.
    CareForgotten,
    /// What a receiver tells is believed however old it is.
    OldStoryBelieved,
    /// A snooze never ends.
    SnoozeForEver,
    /// Nobody is told that it is over.
    EndNotTold,
    /// Nobody is told instead of who refuses.
    FallbackForgotten,
    /// Nobody is told instead of who does not answer.
    SlownessForgiven,
    /// Somebody is told instead of who has had no time to answer.
    FallsBackTooSoon,
    /// Whatever becomes of a delivery, it counts as arrived.
    DeathBelieved,
    /// What was given up counts as never taken.
    DoubtForgotten,
    /// Who knows no keys hears of the end of what may not have begun.
    StrayEnd,
    /// The end of a delivery is not noted.
    EndForgotten,
    /// Each delivery has a key of its own.
    KeyPerDelivery,
    /// Nobody is reminded.
    ReminderForgotten,
    /// Only the first step of a route is taken.
    EscalationForgotten,
    /// Nobody looks at the clock while somebody is to be told.
    WakeForgotten,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 38] = [
        Self::Shell(Slip::OutboxInMemory),
        Self::Shell(Slip::OutboxFirst),
        Self::Shell(Slip::TimersForgotten),
        Self::Shell(Slip::DependentsForgotten),
        Self::Shell(Slip::SilencesForgotten),
        Self::PageLost,
        Self::PageTwice,
        Self::IncidentLost,
        Self::OpensTooSoon,
        Self::OpensTooLate,
        Self::ResolvesTooSoon,
        Self::AbsenceIgnored,
        Self::UnknownIsWell,
        Self::UnknownIsBad,
        Self::ErrorsIgnored,
        Self::WatermarkForgotten,
        Self::MissedForgotten,
        Self::GapForgotten,
        Self::ChecksOverlap,
        Self::StaleCheckBelieved,
        Self::SilenceIgnored,
        Self::SilenceForEver,
        Self::ParentIgnored,
        Self::CareForgotten,
        Self::OldStoryBelieved,
        Self::SnoozeForEver,
        Self::EndNotTold,
        Self::FallbackForgotten,
        Self::SlownessForgiven,
        Self::FallsBackTooSoon,
        Self::DeathBelieved,
        Self::DoubtForgotten,
        Self::StrayEnd,
        Self::EndForgotten,
        Self::KeyPerDelivery,
        Self::ReminderForgotten,
        Self::EscalationForgotten,
        Self::WakeForgotten,
    ];
}

impl Watcher for Mutant {
    fn decide(
        &self,
        state: &mut Monitor,
        input: Input,
        context: &Context,
    ) -> Result<Decision<Event>, Rejected> {
        if *self == Self::ChecksOverlap && matches!(input, Input::Wake) {
            state.check = None;
        }
        let input = self.input(state, input);
        let mut decision = Machine::decide(state, input, context)?;
        self.falsify(&mut decision);
        Ok(decision)
    }

    fn wake_at(&self, state: &Monitor) -> Option<Timestamp> {
        match self {
            Self::SilenceForEver if state.incidents.values().any(|it| it.suppressed.is_some()) => {
                state.next_at
            }
            Self::SnoozeForEver
                if state.incidents.values().any(|it| it.snoozed_until.is_some()) =>
            {
                state.next_at
            }
            Self::WakeForgotten if !state.incidents.is_empty() => state.next_at,
            _ => state.wake_at(),
        }
    }

    fn slip(&self) -> Option<Slip> {
        match self {
            Self::Shell(slip) => Some(*slip),
            _ => None,
        }
    }

    fn is_mutant(&self) -> bool {
        true
    }
}

impl Mutant {
    /// What goes in, falsified.
    fn input(self, state: &Monitor, input: Input) -> Input {
        match (self, input) {
            (_, Input::Define(mut spec)) => {
                let monitor = &mut spec.monitor;
                match self {
                    Self::OpensTooSoon => monitor.fail_after = 1,
                    Self::OpensTooLate => monitor.fail_after += 1,
                    Self::ResolvesTooSoon => monitor.recover_after = 1,
                    Self::AbsenceIgnored => monitor.missing = Some(1000),
                    Self::ErrorsIgnored => monitor.on_error.after = 0,
                    Self::FallbackForgotten => spec.fallbacks.clear(),
                    Self::SlownessForgiven => {
                        spec.fallback_after.values_mut().for_each(|after| *after *= 1000);
                    }
                    Self::FallsBackTooSoon => {
                        spec.fallback_after.values_mut().for_each(|after| *after = 1000);
                    }
                    Self::DoubtForgotten => spec.keyed.clear(),
                    Self::StrayEnd => {
                        let told =
                            spec.routes.iter().flat_map(|it| &it.steps).flat_map(|it| &it.to);
                        spec.keyed.extend(told.cloned());
                    }
                    Self::ReminderForgotten => {
                        spec.routes.iter_mut().for_each(|route| route.remind = None);
                    }
                    Self::EscalationForgotten => {
                        spec.routes.iter_mut().for_each(|route| route.steps.truncate(1));
                    }
                    _ => {}
                }
                Input::Define(spec)
            }
            (Self::SilenceIgnored, Input::Silences(_)) => Input::Silences(Vec::new()),
            (Self::ParentIgnored, Input::Parent { monitor, .. }) => {
                Input::Parent { monitor, down: false, failing: false }
            }
            (Self::OldStoryBelieved, Input::ProviderEvent(mut heard)) => {
                if let Some(incident) = state.incidents.get(&heard.incident) {
                    let last = incident.heard.values().max().copied().unwrap_or(heard.at);
                    heard.at = heard.at.max(incident.since).max(last.plus_millis(1));
                }
                Input::ProviderEvent(heard)
            }
            (_, Input::Message(message)) => Input::Message(self.message(state, message)),
            (_, input) => input,
        }
    }

    fn message(self, state: &Monitor, message: Message) -> Message {
        let Message::Ended { mut sequence, mut status, mut output, reason, mut child, asked } =
            message
        else {
            return message;
        };
        let rewrite = |output: &Json, status: &str| {
            let text = output.text().replace("\"status\":\"unknown\"", status);
            Json::from_text(text).unwrap_or_else(|_| output.clone())
        };
        match self {
            Self::UnknownIsWell => output = rewrite(&output, "\"status\":\"ok\""),
            Self::UnknownIsBad => output = rewrite(&output, "\"status\":\"fail\""),
            Self::DeathBelieved if state.deliveries.contains_key(&sequence) => {
                status = kernel::graph::Status::Completed;
            }
            Self::StaleCheckBelieved => {
                let running = state.check.as_ref().map(|check| check.sequence);
                if let Some(running) = running
                    && !state.deliveries.contains_key(&sequence)
                {
                    (sequence, child) = (running, None);
                }
            }
            _ => {}
        }
        Message::Ended { sequence, status, output, reason, child, asked }
    }

    /// What comes out, falsified.
    fn falsify(self, decision: &mut Decision<Event>) {
        let Decision { events, effects } = decision;
        match self {
            Self::PageLost => {
                let last = effects.iter().rposition(is_page);
                last.map(|last| effects.remove(last));
            }
            Self::PageTwice => {
                let again: Vec<Effect> =
                    effects.iter().filter(|effect| is_page(effect)).cloned().collect();
                effects.extend(again);
            }
            Self::IncidentLost => lose(events, effects, State::Open),
            Self::CareForgotten => lose(events, effects, State::Acknowledged),
            Self::EndNotTold => {
                let end = |event: &Event| matches!(event, Event::Notified(it) if it.event == NotificationEvent::Resolve);
                if events.iter().any(end) {
                    events.retain(|event| !end(event));
                    effects.retain(|effect| !is_page(effect));
                }
            }
            Self::WatermarkForgotten => events.iter_mut().for_each(|event| {
                if let Event::Checking { window, .. } = event {
                    window.from = window.to.plus_millis(-60_000);
                }
            }),
            Self::MissedForgotten => forget(effects, "MISSED"),
            Self::GapForgotten => forget(effects, "GAP"),
            Self::EndForgotten => {
                events.retain(|event| !matches!(event, Event::Delivered(_)));
            }
            Self::KeyPerDelivery => effects.iter_mut().for_each(|effect| {
                let Effect::Send { message, .. } = effect else { return };
                if let Message::Start(start) = &mut **message
                    && start.name.starts_with(NOTIFY_WORKFLOW)
                {
                    let mut input = start.input.parse();
                    input["notification"]["dedup_key"] = input["notification"]["delivery"].clone();
                    start.input = Json::from(input);
                }
            }),
            _ => {}
        }
    }
}

/// Takes back that an incident came to a state, and what follows from that.
fn lose(events: &mut Vec<Event>, effects: &mut Vec<Effect>, state: State) {
    let to = |event: &Event| matches!(event, Event::Moved(moved) if moved.state == state);
    if events.iter().any(to) {
        let follows = |event: &Event| matches!(event, Event::Notified(_) | Event::Stepped { .. });
        events.retain(|event| !to(event) && !follows(event));
        effects.retain(|effect| !is_page(effect));
    }
}

fn forget(effects: &mut Vec<Effect>, status: &str) {
    effects.retain(|it| !matches!(it, Effect::Record(record) if *record.status == *status));
}

fn is_page(effect: &Effect) -> bool {
    let Effect::Send { message, .. } = effect else { return false };
    matches!(&**message, Message::Start(start) if start.name.starts_with(NOTIFY_WORKFLOW))
}
