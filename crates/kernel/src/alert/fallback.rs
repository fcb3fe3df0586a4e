//! Who is told in whose place: fallbacks in time, ways around receivers that are broken, and what must
//! wait for an end that is told once more.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::definition::{FALLBACK_AFTER, Route, Step};
use super::incident::{Incident, NotificationEvent, ReceiverState, State};
use super::monitor::{DeliveryStatus, Monitor};
use super::{OWN_MONITOR, RECEIVER_KEY};
use crate::time::Timestamp;

impl Monitor {
    /// The receiver that an incident is about: one of Nightbell's own.
    pub(super) fn broken_receiver<'a>(&self, incident: &'a Incident) -> Option<&'a str> {
        incident.key.strip_prefix(RECEIVER_KEY).filter(|_| self.name() == OWN_MONITOR)
    }

    /// Whom a receiver's incident is told: its fallbacks, or if there are none all others that routes
    /// speak of; not those that are known to be broken, too.
    pub(super) fn route_around(&self, broken: &str) -> Option<Route> {
        let spec = self.spec.as_ref()?;
        let works = |name: &Arc<str>| {
            let key = format!("{RECEIVER_KEY}{name}");
            **name != *broken && self.incidents.get(&*key).is_none_or(|it| !it.state.is_open())
        };
        let (mut to, mut next) = (Vec::new(), spec.fallbacks.get(broken));
        while let Some(name) = next.filter(|name| !to.contains(*name) && ***name != *broken) {
            to.push(name.clone());
            next = spec.fallbacks.get(name);
        }
        if !to.iter().any(works) {
            let steps = spec.routes.iter().flat_map(|route| &route.steps);
            let others: BTreeSet<&Arc<str>> = steps.flat_map(|step| &step.to).collect();
            to = others.into_iter().cloned().collect();
        }
        to.retain(works);
        let steps = vec![Step { to, ..Step::default() }];
        Some(Route { steps, ..Route::default() })
    }

    /// Who is to be told in the place of a receiver to which a page is under way, and from when on.
    pub(super) fn overdue(
        &self,
        incident: &Incident,
        receiver: &str,
        told: &ReceiverState,
        route: &Route,
    ) -> Option<(&Arc<str>, Timestamp)> {
        let spec = self.spec.as_ref()?;
        let to = spec.fallbacks.get(receiver)?;
        let delivery = self.deliveries.get(&told.flight?)?;
        let pages = delivery.event.rings() || delivery.event == NotificationEvent::Reminder;
        let own = spec.fallback_after.get(receiver).copied();
        let after = route.fallback_after.or(own).unwrap_or(FALLBACK_AFTER);
        let due = pages && incident.state == State::Open && !incident.told.contains_key(to);
        due.then(|| (to, delivery.at.plus_millis(after)))
    }

    /// What a receiver should be told next of an incident and from when on, as things stand.
    ///
    /// While the end of an incident of the key is on its way there once more, nothing: it would end
    /// what is told now.
    pub(super) fn due(
        &self,
        incident: &Incident,
        receiver: &str,
        told: &ReceiverState,
        remind: Option<i64>,
    ) -> Option<(NotificationEvent, Timestamp)> {
        let due = incident.due(told, remind)?;
        let ends = self.deliveries.values().any(|it| {
            it.status == DeliveryStatus::Queued
                && it.event == NotificationEvent::Resolve
                && *it.receiver == *receiver
                && it.incidents.iter().any(|(key, _)| *key == incident.key)
        });
        (!ends).then_some(due)
    }

    /// An incident by key and number, those that are over included.
    pub(super) fn numbered(&self, key: &str, number: u32) -> Option<&Incident> {
        let open = self.incidents.get(key).filter(|it| it.number == number);
        open.or_else(|| self.past.iter().rev().find(|it| it.number == number && *it.key == *key))
    }
}
