//! What people do about an incident besides moving it: they write notes, and tell the next ones of its
//! route now.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::decide::{Draft, open};
use super::event::{Event, Moved};
use super::incident::{NOTE, State};
use super::settle::{quiet, whom};
use crate::machine::Rejected;

/// Bytes of a note.
pub const NOTE_MAX: usize = 2000;

/// Writes a note into an incident's history.
///
/// # Errors
/// It says nothing or too much, or there is no such incident.
pub(super) fn note(
    draft: &mut Draft<'_>,
    name: &str,
    who: Arc<str>,
    text: &str,
) -> Result<(), Rejected> {
    let text = text.trim();
    if text.is_empty() || text.len() > NOTE_MAX {
        let bytes = text.len();
        return Err(Rejected::Invalid(format!("a note has 1 to {NOTE_MAX} bytes, not {bytes}")));
    }
    let Some(incident) = draft.state.incident(name) else {
        return Err(Rejected::Unknown(format!("{} has no incident {name}", draft.state.name())));
    };
    // A button that is pressed twice writes one note.
    let is_there = incident.history.last().is_some_and(|last| {
        &*last.what == NOTE
            && last.who.as_deref() == Some(&*who)
            && last.why.as_deref() == Some(text)
    });
    if is_there {
        return Ok(());
    }
    let it = (incident.key.clone(), incident.number);
    draft.note(it, NOTE, who, Some(text.into()));
    Ok(())
}

/// Takes an acknowledgement back: people are told again as if nobody had taken care.
///
/// # Errors
/// Nobody has acknowledged it, or there is no such incident.
pub(super) fn unacknowledge(
    draft: &mut Draft<'_>,
    name: &str,
    who: Arc<str>,
    why: Option<Arc<str>>,
) -> Result<(), Rejected> {
    let (key, state) = open(draft, name)?;
    if state != State::Acknowledged {
        let message = format!("the incident is {}, not acknowledged", state.as_str());
        return Err(Rejected::Stale(message));
    }
    draft.transition(Moved {
        key,
        state: State::Open,
        who: Some(who),
        why: why.unwrap_or_else(|| "the acknowledgement was taken back".into()),
        until: None,
        until_clear: false,
        at: None,
        occurred: None,
        told_there: false,
        nudges: false,
    });
    Ok(())
}

/// Takes the next step of an incident's route that tells somebody who was not told.
///
/// Steps before it that name nobody new count as taken. That somebody takes care does not matter:
/// whoever asks for this knows.
///
/// # Errors
/// It is over, snoozed or kept quiet, or everybody on its route was told.
pub(super) fn escalate(
    draft: &mut Draft<'_>,
    name: &str,
    who: Arc<str>,
    why: Option<Arc<str>>,
) -> Result<(), Rejected> {
    let (key, state) = open(draft, name)?;
    if state == State::Snoozed {
        let message = "the incident is snoozed, so nobody is told: acknowledge it first";
        return Err(Rejected::Stale(message.into()));
    }
    let Some(incident) = draft.state.incidents.get(&key) else { return Ok(()) };
    if let Some(quiet) = quiet(draft.state, incident, draft.now) {
        return Err(Rejected::Stale(format!("nobody is told: {}", quiet.reason)));
    }
    let Some(route) = draft.state.route_at(incident, draft.now) else {
        return Err(Rejected::Stale(match draft.state.hours_begin(incident) {
            Some(at) => format!("no route takes the incident before {at}, when its hours begin"),
            None => "no route matches the incident: nobody is told".to_owned(),
        }));
    };
    let taken = incident.steps as usize;
    let mut left = route.steps.iter().enumerate().skip(taken);
    let about = draft.state.broken_receiver(incident);
    let next = left.find_map(|(at, step)| {
        let (mut to, called) = whom(draft.state, &step.to, about, draft.now);
        let contacts = || called.iter().flat_map(|call| &call.contacts);
        if state == State::Acknowledged {
            // No ladder is climbed any more, so whoever is called on is told by all ways at once.
            let later = contacts().map(|it| it.to.clone()).filter(|it| !to.contains(it));
            to.extend(later.collect::<BTreeSet<_>>());
        }
        let is_new =
            |receiver: &Arc<str>, person: Option<&Arc<str>>| match incident.told.get(receiver) {
                None => true,
                // Others are told there already, and this one is not.
                Some(told) => person.is_some_and(|person| !told.people.contains(person)),
            };
        let mut new: BTreeSet<Arc<str>> =
            to.iter().filter(|it| is_new(it, None)).cloned().collect();
        new.extend(
            contacts().filter(|it| is_new(&it.to, Some(&it.person))).map(|it| it.to.clone()),
        );
        let new: Vec<Arc<str>> = new.into_iter().collect();
        (!new.is_empty()).then_some((at, to, called, new))
    });
    let Some((at, to, called, new)) = next else {
        let message = format!(
            "everybody on its route was told: {} of {} steps are taken, and no other names anybody new",
            taken.min(route.steps.len()),
            route.steps.len()
        );
        return Err(Rejected::Stale(message));
    };
    let it = (key.clone(), incident.number);
    draft.note(it, format!("escalated to {}", new.join(", ")), who, why);
    let steps = u32::try_from(at + 1).unwrap_or(u32::MAX);
    draft.push(Event::Stepped { key, steps, to, called, by_hand: true });
    Ok(())
}
