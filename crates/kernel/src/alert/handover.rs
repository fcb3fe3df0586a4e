//! Hand-overs: what becomes of open incidents when somebody else is on call.
//!
//! An incident holds whom its rotations called, if their incidents follow hand-overs, and until when
//! that need not be looked at again. Then, or when the roster is edited, it is compared with who is
//! on call: the incident moves to them, or they are told of it in a digest. Each comparison is a fact
//! that says when the next one is due, so none is made twice, and one that came due while nothing ran
//! is made up for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decide::Draft;
use super::definition::Route;
use super::definition::roster::{Follow, Target};
use super::event::{Event, Notified};
use super::incident::{Held, NotificationEvent, State};
use super::monitor::Delivery;
use super::notification;
use super::settle::{hand_over, quiet};

/// Incidents in one digest; more go into the next.
const MEMBERS_MAX: usize = 100;

/// Incidents by their keys and numbers.
type Incidents = Vec<(Arc<str>, u32)>;

/// What is open, for each receiver by which the next person is told, by the rotation.
type Digests = BTreeMap<(Arc<str>, Arc<str>), Incidents>;

/// The clock moved.
pub(super) fn look_at_clock(draft: &mut Draft<'_>) {
    let now = draft.now;
    let keys = draft.state.due_incidents(now);
    look(draft, keys, |held| held.until <= now);
}

/// The roster may have been edited.
pub(super) fn look_anew(draft: &mut Draft<'_>) {
    let keys = draft.state.incidents.keys().cloned().collect();
    look(draft, keys, |_| true);
}

fn look(draft: &mut Draft<'_>, keys: Vec<Arc<str>>, is_due: impl Fn(&Held) -> bool) {
    let mut digests = Digests::new();
    for key in keys {
        let incident = draft.state.incidents.get(&key).filter(|it| it.state.is_open());
        let held = incident.into_iter().flat_map(|it| &it.held).filter(|held| is_due(held));
        for held in held.cloned().collect::<Vec<_>>() {
            compare(draft, &key, &held, &mut digests);
        }
    }
    for ((target, receiver), about) in digests {
        for about in about.chunks(MEMBERS_MAX) {
            tell(draft, &target, &receiver, about);
        }
    }
}

/// Compares whom a rotation called with who is on call now.
fn compare(draft: &mut Draft<'_>, key: &Arc<str>, held: &Held, digests: &mut Digests) {
    let Some(incident) = draft.state.incidents.get(key) else { return };
    let Some(roster) = draft.state.spec.as_ref().map(|spec| &spec.roster) else { return };
    let Some(target) = Target::parse(&held.target) else { return };
    let Some(mut called) = roster.call(&held.target, draft.now) else { return };
    // Where nobody is on call it stays with who was.
    let is_none = called.people.is_empty() || roster.is_gap(target.rotation, draft.now);
    if is_none || called.people == held.people {
        if called.until == Some(held.until) {
            return;
        }
        called.people.clone_from(&held.people);
        called.contacts.clear();
        let called = Box::new(called);
        draft.push(Event::HandedOver { key: key.clone(), called, moves: false });
        return;
    }
    let follow = roster.follow(target.rotation);
    let moves = follow == Some(Follow::Move) && incident.state != State::Acknowledged;
    let broken = draft.state.broken_receiver(incident).map(str::to_owned);
    called.contacts.retain(|contact| broken.as_deref() != Some(&*contact.to));
    if moves {
        called.why = format!("the hand-over: {}", called.why).into();
    } else {
        let is_told = follow.is_some() && quiet(draft.state, incident, draft.now).is_none();
        let number = incident.number;
        for contact in called.contacts.drain(..) {
            let is_new = contact.after == 0 && !held.people.contains(&contact.person);
            if is_told && is_new {
                let about = digests.entry((held.target.clone(), contact.to)).or_default();
                if !about.iter().any(|(known, _)| known == key) {
                    about.push((key.clone(), number));
                }
            }
        }
    }
    draft.push(Event::HandedOver { key: key.clone(), called: Box::new(called), moves });
}

/// Tells what is open at a hand-over.
fn tell(draft: &mut Draft<'_>, target: &Arc<str>, receiver: &Arc<str>, about: &[(Arc<str>, u32)]) {
    let notified = Notified {
        sequence: draft.state.next_sequence,
        receiver: receiver.clone(),
        event: NotificationEvent::Digest,
        keys: Vec::new(),
        group: Some(target.clone()),
        title: None,
        about: about.to_vec(),
    };
    let delivery = Delivery::queued(&notified, notified.about.clone(), draft.now);
    let payload = notification::payload(draft.state, &delivery, &Route::default(), draft.now);
    hand_over(draft, notified, &payload);
}
