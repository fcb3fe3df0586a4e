//! What is owed to receivers, and from when on.

use super::super::file::RECEIVERS;
use super::watch::{Notified, Watch};
use super::{Verdict, broken};

/// Owed from the beginning of time: at once.
const AT_ONCE: i64 = i64::MIN;

impl Watch {
    /// Until when nobody is to be told of a key; `None` if somebody may be told now.
    fn quiet_until(&self, key: &str, now: i64) -> Option<i64> {
        if self.rules.needs_host && self.host_down {
            return Some(i64::MAX);
        }
        let mut until = None;
        while let Some(silence) =
            self.silences.iter().find(|it| it.hides(key, until.unwrap_or(now)))
        {
            until = Some(silence.to);
        }
        until
    }

    /// Whether a receiver may be told this now.
    pub(super) fn may_be_told(&self, key: &str, receiver: &str, event: &str, now: i64) -> Verdict {
        const LAW: &str = "pages have a cause";
        let Some(incident) = self.keys.get(key) else {
            return broken(LAW, format!("{key:?} has no incident"));
        };
        if self.quiet_until(key, now).is_some() {
            return broken("quiet is kept", format!("{receiver} is told {event} of {key:?}"));
        }
        let none = Notified::default();
        let told = self.told.get(&(receiver.to_owned(), key.to_owned())).unwrap_or(&none);
        if let Some(flight) = told.flight {
            let what = format!("{receiver} is being told of {key:?} by {flight}");
            return broken("none is doubled", what);
        }
        if self.is_ending(key, receiver) {
            let what = format!("{receiver} is told {event} of {key:?} while its end is on its way");
            return broken("whoever was told hears the end", what);
        }
        let state = incident.state.as_str();
        let reached = |from: i64| {
            let cared_for = state == "acknowledged";
            let steps = self.rules.steps.iter();
            let steps = steps.filter(|step| from + step.after <= now);
            let steps = steps.filter(|step| !(step.unless_acked && cared_for));
            steps.flat_map(|step| &step.to).any(|to| *to == receiver)
        };
        let known = self.told.contains_key(&(receiver.to_owned(), key.to_owned()));
        let reached = known || reached(incident.told_from.unwrap_or(now));
        let fits = match event {
            "trigger" | "escalation" => {
                matches!(state, "open" | "acknowledged") && !told.rings && reached
            }
            "reminder" => {
                let due = self.rules.remind.is_some_and(|remind| told.at + remind <= now);
                state == "open" && told.rings && (due || told.nudged)
            }
            "acknowledge" => state == "acknowledged" && told.must_hear() && !told.knows_of_care,
            "resolve" => state == "resolved" && told.must_hear(),
            _ => false,
        };
        if fits {
            Ok(())
        } else {
            broken(
                LAW,
                format!("{receiver} is told {event} of {key:?}, which is {state}: {told:?}"),
            )
        }
    }

    /// Everything that is owed: what, and from when on.
    fn owed(&self, now: i64) -> Vec<(String, i64)> {
        let mut owed = Vec::new();
        for (key, incident) in &self.keys {
            let quiet = self.quiet_until(key, now);
            let mut add = |what: &str, to: &str, due: i64| {
                let due = quiet.map_or(due, |quiet| due.max(quiet));
                if due < i64::MAX {
                    owed.push((format!("{to} is to hear the {what} of {key:?}"), due));
                }
            };
            let told = |to: &str| self.told.get(&(to.to_owned(), key.clone()));
            let free = |to: &str| {
                told(to).is_none_or(|told| told.flight.is_none()) && !self.is_ending(key, to)
            };
            let tried = |to: &str| told(to).is_some_and(|told| told.tried);
            if incident.state == "open" {
                for step in &self.rules.steps {
                    let due = match incident.told_from {
                        _ if step.after == 0 => Some(AT_ONCE),
                        Some(from) if incident.is_plain => Some(from + step.after),
                        _ => None,
                    };
                    for to in &step.to {
                        if let Some(due) = due.filter(|_| free(to) && !tried(to)) {
                            add("beginning", to, due);
                        }
                    }
                }
            }
            for (from, _) in RECEIVERS {
                if let Some((to, due)) = self.overdue(key, from) {
                    add("beginning in another's place", to, due);
                }
            }
            for (to, _) in RECEIVERS {
                let Some(told) = told(to).filter(|_| free(to)) else { continue };
                match incident.state.as_str() {
                    "open" if !told.tried && told.is_instead => add("beginning", to, AT_ONCE),
                    "open" if !told.tried => {}
                    "open" if told.nudged => add("end of the snooze", to, AT_ONCE),
                    "open" => {
                        if let Some(remind) = self.rules.remind {
                            add("reminder", to, told.at + remind);
                        }
                    }
                    "acknowledged" if told.must_hear() && told.tried && !told.knows_of_care => {
                        add("acknowledgement", to, AT_ONCE);
                    }
                    "resolved" if told.must_hear() => add("end", to, AT_ONCE),
                    _ => {}
                }
            }
            if let Some(until) = incident.snoozed_until.filter(|_| incident.state == "snoozed") {
                owed.push((format!("the snooze of {key:?} ends"), until));
            }
        }
        owed
    }

    /// Notes since when steps count, and since when something waits to be told with others.
    pub(super) fn note_times(&mut self, now: i64) {
        let keys: Vec<String> = self.keys.keys().cloned().collect();
        for key in keys {
            let quiet = self.quiet_until(&key, now).is_some();
            let Some(incident) = self.keys.get_mut(&key) else { continue };
            let climbs = matches!(incident.state.as_str(), "open" | "acknowledged");
            if climbs && !quiet && incident.told_from.is_none() {
                incident.told_from = Some(now);
                incident.is_plain = incident.state == "open";
            }
        }
        if self.rules.wait > 0 {
            let due: Vec<String> = self
                .owed(now)
                .into_iter()
                .filter(|(_, at)| *at <= now)
                .map(|(what, _)| what)
                .collect();
            self.owed_since.retain(|what, _| due.contains(what));
            for what in due {
                self.owed_since.entry(what).or_insert(now);
            }
        }
    }

    /// Everything that is due is on its way, and the rest will be looked at in time.
    pub(super) fn is_on_its_way(&self, now: i64, wake_at: Option<i64>) -> Verdict {
        let wake_at = wake_at.unwrap_or(i64::MAX);
        let snooze = |what: &str| what.starts_with("the snooze");
        for (what, due) in self.owed(now) {
            let gathered = self.rules.wait > 0 && !snooze(&what);
            let due = match self.owed_since.get(&what) {
                Some(since) if gathered => since + self.rules.wait,
                _ => due,
            };
            // A snooze ends when somebody looks at the clock.
            if due <= now && !snooze(&what) {
                return broken("no page is lost", format!("{what} since {due}, and it is {now}"));
            }
            if due < wake_at {
                let what = format!("{what} at {due}, and the next look is at {wake_at}");
                return broken("time is looked at", what);
            }
        }
        match self.planned {
            Some(planned) if planned < wake_at => {
                let what = format!("a check is due at {planned}, the next look is at {wake_at}");
                broken("time is looked at", what)
            }
            _ => Ok(()),
        }
    }
}

impl Watch {
    /// After a look at the clock nothing is due any more.
    pub(super) fn is_up_to_date(&self, now: i64) -> Verdict {
        const LAW: &str = "due is done";
        let planned = self.planned.filter(|planned| *planned <= now);
        let planned = planned.map(|planned| format!("a check was due at {planned}"));
        let over = |(_, key): &(&String, &super::watch::Key)| {
            key.state == "snoozed" && key.snoozed_until.is_some_and(|until| until <= now)
        };
        let over = self.keys.iter().find(over);
        let over = over.map(|(key, _)| format!("the snooze of {key:?} is over"));
        match planned.or(over) {
            Some(what) => broken(LAW, format!("{what}, and it is {now}")),
            None => Ok(()),
        }
    }
}
