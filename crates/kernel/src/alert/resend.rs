//! Sends again what was given up, once somebody has put right why it did not arrive.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::decide::Draft;
use super::event::{Event, Notified};
use super::incident::{NotificationEvent, State};
use super::monitor::{Delivery, DeliveryStatus, Monitor};
use super::{notification, settle};
use crate::machine::Rejected;

/// Sends again what was given up and still matters: pages of what is open, acknowledgements of what
/// is acknowledged, and ends of which the receiver has heard nothing since.
///
/// # Errors
/// [`Rejected::Stale`] if there is nothing of this incident and receiver.
pub(super) fn resend(
    draft: &mut Draft<'_>,
    incident: Option<&str>,
    receiver: Option<&str>,
    who: Option<&Arc<str>>,
) -> Result<(), Rejected> {
    let about = match incident {
        None => None,
        Some(name) => {
            if let Some(incident) = draft.state.incident(name) {
                Some((incident.key.clone(), incident.number))
            } else {
                let name = format!("{} has no incident {name}", draft.state.name());
                return Err(Rejected::Unknown(name));
            }
        }
    };
    let wanted = |delivery: &&Delivery| {
        delivery.status == DeliveryStatus::Dead
            && receiver.is_none_or(|name| *delivery.receiver == *name)
            && about.as_ref().is_none_or(|about| delivery.incidents.contains(about))
            && matters(draft.state, delivery)
    };
    let dead: Vec<Delivery> = draft.state.deliveries.values().filter(wanted).cloned().collect();
    if dead.is_empty() {
        let to = receiver.map(|name| format!(" to {name}")).unwrap_or_default();
        return Err(Rejected::Stale(format!("nothing that was given up{to} is still to be told")));
    }
    let mut ended = BTreeSet::new();
    for delivery in dead {
        draft.push(Event::Resent { sequence: delivery.sequence });
        let line = notification::delivery_line(draft.state, &delivery);
        let key = settle::delivery_key(draft.state, delivery.sequence);
        draft.record("delivery", key, delivery.at, DeliveryStatus::Resent.as_str(), &line);
        if delivery.event == NotificationEvent::Resolve {
            let receiver = delivery.receiver.clone();
            let matters = |it: &&(Arc<str>, u32)| ends(draft.state, &delivery, it);
            let over: Vec<_> = delivery.incidents.iter().filter(matters).cloned().collect();
            let untold = |it: &(Arc<str>, u32)| ended.insert((receiver.clone(), it.clone()));
            let over = over.into_iter().filter(untold).collect();
            end_again(draft, &delivery, over, who);
        }
    }
    Ok(())
}

/// Whether somebody should still hear what a delivery said.
fn matters(monitor: &Monitor, delivery: &Delivery) -> bool {
    delivery.incidents.iter().any(|about| {
        let (key, number) = about;
        let Some(incident) = monitor.numbered(key, *number) else { return false };
        let told = incident.told.get(&delivery.receiver);
        match delivery.event {
            NotificationEvent::Test | NotificationEvent::Digest => false,
            NotificationEvent::Acknowledge => incident.state == State::Acknowledged,
            NotificationEvent::Trigger
            | NotificationEvent::Escalation
            | NotificationEvent::Reminder => {
                incident.state.is_open() && told.is_some_and(|told| told.flight.is_none())
            }
            NotificationEvent::Resolve => ends(monitor, delivery, about),
        }
    })
}

/// Whether an alert may be open at a receiver only because the end of an incident did not arrive: it
/// is over, and nothing was told there since about a later one, which has the same key.
fn ends(monitor: &Monitor, delivery: &Delivery, (key, number): &(Arc<str>, u32)) -> bool {
    let over = monitor.numbered(key, *number).is_some_and(|it| it.state == State::Resolved);
    let later = monitor.deliveries.range(delivery.sequence + 1..).any(|(_, later)| {
        later.receiver == delivery.receiver && later.incidents.iter().any(|(it, _)| it == key)
    });
    over && !later
}

/// Tells the end of incidents once more.
fn end_again(
    draft: &mut Draft<'_>,
    delivery: &Delivery,
    about: Vec<(Arc<str>, u32)>,
    who: Option<&Arc<str>>,
) {
    let Some((key, number)) = about.first() else { return };
    let route = draft
        .state
        .numbered(key, *number)
        .and_then(|incident| draft.state.route_of(incident))
        .unwrap_or_default();
    let notified = Notified {
        sequence: draft.state.next_sequence,
        receiver: delivery.receiver.clone(),
        event: NotificationEvent::Resolve,
        keys: Vec::new(),
        group: delivery.group.clone(),
        title: None,
        about,
    };
    let told = Delivery::queued(&notified, notified.about.clone(), draft.now);
    let mut payload = notification::payload(draft.state, &told, &route, draft.now);
    if let Some(who) = who {
        payload["who"] = (**who).into();
    }
    settle::hand_over(draft, notified, &payload);
}
