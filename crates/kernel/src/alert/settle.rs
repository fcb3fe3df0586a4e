//! Works out what is owed: compares what each receiver should know with what it was told, and
//! starts a delivery for the difference, unless something keeps the incident quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::check::plain_reason;
use super::decide::Draft;
use super::definition::roster::Called;
use super::definition::{Route, Silence};
use super::event::{Delivered, Event, Notified};
use super::incident::{Incident, NotificationEvent, ReceiverState, State, Suppressed};
use super::monitor::{Delivery, Monitor, REASON_MAX};
use super::notification;
use super::notify_workflow;
use super::observation::{TEXT_MAX, plain};
use super::parents;
use super::text::cut;
use crate::graph::{Message, Parent, StartMessage, Status};
use crate::json::Json;
use crate::machine::Effect;
use crate::time::Timestamp;

/// Incidents in one notification; more go into the next.
const MEMBERS_MAX: usize = 100;
/// Characters of a title that the ledger keeps.
const TITLE_MAX: usize = 250;

/// The open incidents of a monitor that a silence would hide.
pub fn silenced<'a>(
    monitor: &'a Monitor,
    silence: &'a Silence,
) -> impl Iterator<Item = &'a Incident> {
    let open = monitor.incidents.values().filter(|incident| incident.state.is_open());
    open.filter(move |incident| hides(monitor, silence, incident))
}

fn hides(monitor: &Monitor, silence: &Silence, incident: &Incident) -> bool {
    monitor.subject(incident).fits(&silence.matchers)
}

/// Why nobody is to be told of an incident now.
pub(super) fn quiet(monitor: &Monitor, incident: &Incident, now: Timestamp) -> Option<Suppressed> {
    let needs = monitor.spec.as_ref().map_or(&[][..], |spec| &spec.monitor.depends_on);
    let stands = [(&monitor.parents_down, "is down"), (&monitor.parents_failing, "is failing")];
    for (bad, how) in stands {
        let parent = needs.iter().find(|parent| bad.contains(parent));
        if let Some(parent) = parent.filter(|_| !monitor.removed) {
            let reason = format!("{parent}, which it depends on, {how}").into();
            return Some(Suppressed { reason, until: None });
        }
    }
    let in_force = monitor.silences.iter().filter(|silence| hides(monitor, silence, incident));
    let (until, silence) = in_force
        .filter_map(|silence| Some((silence.when.in_force_until(now)?, silence)))
        .max_by_key(|(until, _)| *until)?;
    let comment = silence.comment.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
    Some(Suppressed {
        reason: format!("silenced by {}{comment}", silence.id).into(),
        until: Some(until).filter(|until| *until < Timestamp::MAX),
    })
}

/// Works out what is owed now.
pub(super) fn settle(draft: &mut Draft<'_>) {
    let keys = draft.state.concerned(draft.now);
    let mut ready = Ready::new();
    for key in &keys {
        attend(draft, key, &mut ready);
    }
    // Where groups have an order, each names the one before it: deliveries are on their way side by
    // side, and whoever makes them keeps the order by this.
    let mut before: BTreeMap<Arc<str>, String> = BTreeMap::new();
    for (place, group) in ready {
        if group.due <= draft.now {
            let ordered = !group.route.group_order.is_empty();
            for members in group.members.chunks(MEMBERS_MAX) {
                let follows = before.get(&place.receiver).filter(|_| ordered).cloned();
                let name = notify(draft, &place, &group.route, members, follows);
                if ordered {
                    before.insert(place.receiver.clone(), name);
                }
            }
        }
    }
    for key in keys {
        let over = draft.state.incidents.get(&key).is_some_and(|incident| {
            incident.state == State::Resolved && !incident.concerns_receivers()
        });
        if over {
            draft.push(Event::Dropped { key });
        }
    }
}

/// What is ready to be told, in the order in which it is told.
type Ready = BTreeMap<Place, Group>;

/// What may be told as one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// The place of the group in the route's order.
    order: usize,
    /// The group's values, or the incident's key.
    group: Arc<str>,
    /// Whether it is a group.
    grouped: bool,
    receiver: Arc<str>,
    event: NotificationEvent,
}

struct Group {
    /// When it may be told.
    due: Timestamp,
    members: Vec<Arc<str>>,
    route: Route,
}

/// Brings one incident up to date: whether it is kept quiet, its steps, what it owes.
fn attend(draft: &mut Draft<'_>, key: &Arc<str>, ready: &mut Ready) {
    let now = draft.now;
    let Some(incident) = draft.state.incidents.get(key) else { return };
    let route = draft.state.route_at(incident, now).unwrap_or_default();
    let quiet = quiet(draft.state, incident, now);
    let was_quiet = incident.suppressed.clone();
    let overdue = overdue(draft.state, incident, &route, now);
    let wants = overdue.is_some() || wants(draft.state, incident, &route, now);
    match quiet {
        Some(quiet) if wants || was_quiet.is_some() => {
            if was_quiet.as_ref() != Some(&quiet) {
                suppress(draft, key, quiet);
            }
            return;
        }
        Some(_) => return,
        None if was_quiet.is_some() => draft.push(Event::Released { key: key.clone() }),
        None => {}
    }
    if !wants || parents::must_wait(draft, key) {
        return;
    }
    climb(draft, key, &route);
    contact(draft, key);
    fall_back_in_time(draft, key, &route);
    let Some(incident) = draft.state.incidents.get(key) else { return };
    let due: Vec<(Arc<str>, NotificationEvent)> = incident
        .told
        .iter()
        .filter_map(|(to, told)| {
            Some((to.clone(), draft.state.due(incident, to, told, route.remind)?))
        })
        .filter(|(_, (_, at))| *at <= now)
        .map(|(to, (event, _))| (to, event))
        .collect();
    for (to, event) in due {
        owe(draft, key, to, event, &route, ready);
    }
}

/// Whether anything is to be told of an incident by now.
fn wants(monitor: &Monitor, incident: &Incident, route: &Route, now: Timestamp) -> bool {
    let climbing = matches!(incident.state, State::Open | State::Acknowledged);
    let next = incident.steps as usize;
    let step_due = climbing
        && match incident.told_from {
            Some(from) => route.due(next, from).is_some_and(|at| at <= now),
            None => next < route.steps.len(),
        };
    let due =
        |(to, told): (&Arc<str>, &ReceiverState)| monitor.due(incident, to, told, route.remind);
    let rung_due = incident.next_rung().is_some_and(|at| at <= now);
    step_due || rung_due || incident.told.iter().filter_map(due).any(|(_, at)| at <= now)
}

fn suppress(draft: &mut Draft<'_>, key: &Arc<str>, quiet: Suppressed) {
    let Suppressed { reason, until } = quiet;
    let Some(incident) = draft.state.incidents.get(key) else { return };
    let (id, state) = (incident.id(), incident.state);
    let body = json!({ "incident": id, "key": key, "state": state, "reason": reason,
        "until": until.map(Timestamp::millis) });
    let line = format!("{id}/suppressed/{}", draft.now.millis());
    draft.push(Event::Suppressed { key: key.clone(), reason, until });
    draft.record("delivery", line, draft.now, "suppressed", &body);
}

/// Takes all steps of the route that are due.
fn climb(draft: &mut Draft<'_>, key: &Arc<str>, route: &Route) {
    let now = draft.now;
    while let Some(incident) = draft.state.incidents.get(key) {
        if !matches!(incident.state, State::Open | State::Acknowledged) {
            return;
        }
        let from = incident.told_from.unwrap_or(now);
        let Some(step) = route.steps.get(incident.steps as usize) else { return };
        let (key, steps) = (key.clone(), incident.steps);
        if route.due(steps as usize, from).is_some_and(|at| at > now) {
            if incident.told_from.is_none() {
                let (to, called) = (Vec::new(), Vec::new());
                draft.push(Event::Stepped { key, steps, to, called, by_hand: false });
            }
            return;
        }
        let skipped = step.unless_acked && incident.state == State::Acknowledged;
        let about = draft.state.broken_receiver(incident);
        let (to, called) =
            if skipped { Default::default() } else { whom(draft.state, &step.to, about, now) };
        draft.push(Event::Stepped { key, steps: steps + 1, to, called, by_hand: false });
    }
}

/// The receivers of a step, with those by which people on call are reached at once, and whom it
/// calls. What is about a broken receiver is not told there.
pub(super) fn whom(
    monitor: &Monitor,
    step: &[Arc<str>],
    broken: Option<&str>,
    now: Timestamp,
) -> (Vec<Arc<str>>, Vec<Called>) {
    let (mut to, mut called) = (Vec::new(), Vec::new());
    let roster = monitor.spec.as_ref().map(|spec| &spec.roster);
    for name in step {
        let Some(mut call) = roster.and_then(|roster| roster.call(name, now)) else {
            to.push(name.clone());
            continue;
        };
        call.contacts.retain(|contact| broken != Some(&*contact.to));
        to.extend(call.contacts.iter().filter(|it| it.after == 0).map(|it| it.to.clone()));
        called.push(call);
    }
    let mut seen = BTreeSet::new();
    to.retain(|receiver| seen.insert(receiver.clone()));
    (to, called)
}

/// Takes all rungs of contact ladders that are due.
fn contact(draft: &mut Draft<'_>, key: &Arc<str>) {
    let now = draft.now;
    let Some(incident) = draft.state.incidents.get(key) else { return };
    if incident.next_rung().is_none_or(|at| at > now) {
        return;
    }
    let due = incident.ladder.iter().filter(|rung| rung.at() <= now);
    let to = due.map(|rung| rung.to.clone()).collect();
    draft.push(Event::Contacted { key: key.clone(), to });
}

/// A receiver that has not taken a page in time, and who is to be told in its place.
fn overdue(
    monitor: &Monitor,
    incident: &Incident,
    route: &Route,
    now: Timestamp,
) -> Option<(Arc<str>, Arc<str>)> {
    incident.told.iter().find_map(|(receiver, told)| {
        let (to, at) = monitor.overdue(incident, receiver, told, route)?;
        (at <= now).then(|| (receiver.clone(), to.clone()))
    })
}

/// Rings at the fallbacks of those who have not taken a page in time. The page stays under way.
fn fall_back_in_time(draft: &mut Draft<'_>, key: &Arc<str>, route: &Route) {
    while let Some((from, to)) = draft
        .state
        .incidents
        .get(key)
        .and_then(|incident| overdue(draft.state, incident, route, draft.now))
    {
        draft.push(Event::FellBack { key: key.clone(), to, from });
    }
}

/// Something is to be told to somebody: at once, or with what else comes in a while.
fn owe(
    draft: &mut Draft<'_>,
    key: &Arc<str>,
    to: Arc<str>,
    event: NotificationEvent,
    route: &Route,
    ready: &mut Ready,
) {
    let told = draft.state.incidents.get(key).and_then(|incident| incident.told.get(&to));
    let known = told.and_then(|told| told.owed).filter(|(owed, _)| *owed == event);
    if route.wait > 0 && known.is_none() {
        draft.push(Event::Owed { key: key.clone(), to: to.clone(), event });
    }
    let since = known.map_or(draft.now, |(_, since)| since);
    let Some(incident) = draft.state.incidents.get(key) else { return };
    let place = place(draft.state, incident, route, to, event);
    let group = ready.entry(place).or_insert_with(|| Group {
        due: Timestamp::MAX,
        members: Vec::new(),
        route: route.clone(),
    });
    group.due = group.due.min(since.plus_millis(route.wait));
    group.members.push(key.clone());
}

fn place(
    monitor: &Monitor,
    incident: &Incident,
    route: &Route,
    receiver: Arc<str>,
    event: NotificationEvent,
) -> Place {
    let Some(labels) = &route.group_by else {
        let group = incident.key.clone();
        return Place { order: 0, group, grouped: false, receiver, event };
    };
    let first = labels.first().map_or("", |label| monitor.value_of(incident, label));
    let order = route.group_order.iter().position(|known| **known == *first);
    Place {
        order: order.unwrap_or(route.group_order.len()),
        group: monitor.group_of(incident, route).into(),
        grouped: true,
        receiver,
        event,
    }
}

/// Starts one delivery; its name.
fn notify(
    draft: &mut Draft<'_>,
    place: &Place,
    route: &Route,
    keys: &[Arc<str>],
    follows: Option<String>,
) -> String {
    let notified = Notified {
        sequence: draft.state.next_sequence,
        receiver: place.receiver.clone(),
        event: place.event,
        keys: keys.to_vec(),
        group: place.grouped.then(|| place.group.clone()),
        title: None,
        about: Vec::new(),
    };
    let known = |key: &Arc<str>| Some((key.clone(), draft.state.incidents.get(key)?.number));
    let incidents = keys.iter().filter_map(known).collect();
    let delivery = Delivery::queued(&notified, incidents, draft.now);
    let mut payload = notification::payload(draft.state, &delivery, route, draft.now);
    if let Some(follows) = follows {
        payload["follows"] = follows.into();
    }
    let name = delivery_key(draft.state, delivery.sequence);
    hand_over(draft, notified, &payload);
    name
}

/// Tells a receiver something only to see whether it arrives.
pub(super) fn test(draft: &mut Draft<'_>, receiver: &Arc<str>, who: Option<&str>) {
    let notified = Notified {
        sequence: draft.state.next_sequence,
        receiver: receiver.clone(),
        event: NotificationEvent::Test,
        keys: Vec::new(),
        group: None,
        title: None,
        about: Vec::new(),
    };
    let payload = notification::test_notification(receiver, who, draft.now);
    hand_over(draft, notified, &payload);
}

/// Starts the execution of a delivery.
pub(super) fn hand_over(draft: &mut Draft<'_>, mut notified: Notified, payload: &Value) {
    let (sequence, receiver) = (notified.sequence, notified.receiver.clone());
    let title = payload.get("title").and_then(Value::as_str);
    notified.title = title.map(|title| cut(title, TITLE_MAX).into());
    draft.push(Event::Notified(Box::new(notified)));
    let Some(delivery) = draft.state.deliveries.get(&sequence) else { return };
    let body = notification::delivery_line(draft.state, delivery);
    let to = draft.state.delivery_execution(sequence);
    let input = json!({ "receiver": receiver, "notification": payload });
    let message = StartMessage {
        name: notify_workflow(&receiver).into(),
        version: None,
        definition: None,
        input: Json::of(&input),
        correlation_id: Some(draft.state.id.as_str().into()),
        priority: 50,
        task_to_domain: None,
        parent: Some(Parent { execution: draft.state.id.clone(), sequence }),
        asked_by: None,
        event: None,
        created_by: None,
        acts_as: None,
        idempotency: None,
        failure_of: None,
    };
    draft.effect(Effect::Send { to, message: Box::new(Message::Start(Box::new(message))) });
    let line = delivery_key(draft.state, sequence);
    draft.record("delivery", line, draft.now, "queued", &body);
}

pub(super) fn delivery_key(monitor: &Monitor, sequence: u32) -> String {
    format!("{}/{sequence}", monitor.name())
}

/// A delivery ended, or could not begin (no status). `None` if that is known already.
///
/// Of one that was given up nobody knows whether it arrived: its answer may have been lost, or one
/// of its parts been taken before another was refused. Where incidents have keys, the receiver
/// therefore hears the end all the same; it finds nothing to end, or ends what else would stay open
/// for ever.
pub(super) fn delivered(
    draft: &mut Draft<'_>,
    sequence: u32,
    status: Option<Status>,
    output: &Json,
    reason: Option<Arc<str>>,
) -> Option<()> {
    use super::monitor::DeliveryStatus::{Dead, Queued, Sent};
    let sent = status == Some(Status::Completed);
    let delivery = draft.state.deliveries.get(&sequence)?;
    // What was given up may have been tried again by hand, and have arrived after all.
    let news = delivery.status == Queued || (delivery.status == Dead && sent);
    if !news || delivery.status == Sent {
        return None;
    }
    let output = output.parse();
    let keyed = draft.spec().keyed.contains(&delivery.receiver);
    let perhaps = !sent && status.is_some() && delivery.event.rings() && keyed;
    let reference = output.get("reference").and_then(plain).map(|it| cut(&it, TEXT_MAX).into());
    let reason = reason.filter(|_| !sent).map(|it| cut(plain_reason(&it), REASON_MAX).into());
    let delivered = Delivered { sequence, sent, reason, reference, perhaps };
    let (event, receiver) = (delivery.event, delivery.receiver.clone());
    let (at, keys) = (delivery.at, delivery.incidents.clone());
    draft.push_and_forget(Event::Delivered(Box::new(delivered)));
    if let Some(delivery) = draft.state.deliveries.get(&sequence) {
        let mut body = notification::delivery_line(draft.state, delivery);
        body["response"] = output.get("response").cloned().unwrap_or(Value::Null);
        let line = delivery_key(draft.state, sequence);
        draft.record("delivery", line, at, if sent { "sent" } else { "dead" }, &body);
    }
    if !sent && (event.rings() || event == NotificationEvent::Reminder) {
        for (key, number) in keys {
            fall_back(draft, &key, number, &receiver);
        }
    }
    Some(())
}

/// Rings at the fallback of a receiver that refuses for good.
fn fall_back(draft: &mut Draft<'_>, key: &Arc<str>, number: u32, from: &Arc<str>) {
    let Some(to) = draft.spec().fallbacks.get(from).cloned() else { return };
    let incident = draft.state.incidents.get(key).filter(|it| it.number == number);
    if incident.is_some_and(|it| it.state.is_open() && !it.told.contains_key(&to)) {
        draft.push(Event::FellBack { key: key.clone(), to, from: from.clone() });
    }
}
