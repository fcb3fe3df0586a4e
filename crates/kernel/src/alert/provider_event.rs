//! What people do about incidents at the receivers that keep alerts of their own: such a provider
//! tells of it, late, twice or in the wrong order.

use super::decide::{Draft, open};
use super::event::Moved;
use super::incident::State;
use super::input::{ProviderAction, ProviderEvent};
use crate::machine::Rejected;

/// Milliseconds by which a provider's clock may be behind ours.
const SKEW_MAX: i64 = 5 * 60_000;

/// A provider tells of what was done there.
///
/// The key under which it knows the incident is the same for all episodes, and what it once said can
/// be said again by whoever has read it. Therefore nothing counts that is not later, by the
/// provider's own clock, than the last that counted, or that was done before the incident began.
///
/// # Errors
/// [`Rejected::Unknown`] if there is no such incident, [`Rejected::Stale`] if it changes nothing.
pub(super) fn hear(draft: &mut Draft<'_>, heard: ProviderEvent) -> Result<(), Rejected> {
    let ProviderEvent { incident, receiver, deed, who, why, at, told_there } = heard;
    let (key, state) = open(draft, &incident)?;
    let stale = |why: String| Err(Rejected::Stale(why));
    let Some(known) = draft.state.incidents.get(&key) else { return Ok(()) };
    if !known.told.contains_key(&receiver) {
        return stale(format!("{receiver} was not told of the incident"));
    }
    if known.heard.get(&receiver).is_some_and(|last| at <= *last) {
        return stale(format!("{receiver} has said this, or something later, before"));
    }
    if at.plus_millis(SKEW_MAX) < known.since {
        return stale(format!("it was done at {at}, before the incident began"));
    }
    let kept = known.acknowledged.as_ref().is_some_and(|it| it.until_clear);
    let (to, done) = match deed {
        ProviderAction::Acknowledge if state == State::Acknowledged => {
            return stale("the incident is acknowledged already".to_owned());
        }
        ProviderAction::Unacknowledge if state != State::Acknowledged => {
            return stale(format!("the incident is {}, not acknowledged", state.as_str()));
        }
        ProviderAction::Unacknowledge if kept => {
            return stale("the incident is acknowledged until it is clear".to_owned());
        }
        ProviderAction::Acknowledge => (State::Acknowledged, "acknowledged"),
        ProviderAction::Unacknowledge => (State::Open, "no longer acknowledged"),
        ProviderAction::Resolve => (State::Resolved, "resolved"),
    };
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    draft.transition(Moved {
        key,
        state: to,
        who,
        why: format!("{done} at {receiver}{why}").into(),
        until: None,
        until_clear: false,
        at: Some(receiver),
        occurred: Some(at),
        told_there,
        nudges: false,
    });
    Ok(())
}
