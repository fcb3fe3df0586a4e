//! One monitor as the auditor sees it, and the facts of a commit judged against that.

use std::collections::{BTreeMap, BTreeSet};

use kernel::Record;
use kernel::alert::ProviderAction;
use serde_json::Value;

use super::super::file::{HOST, KEYED, RECEIVERS, Rules};
use super::super::outside::text;
use super::{Cause, Commit, Quiet, Verdict, broken};
use crate::auditor::{Sent, number};

/// The key of the incident about checks that could not tell.
pub(super) const CHECK_KEY: &str = "#check";

/// One monitor.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) rules: Rules,
    pub(super) planned: Option<i64>,
    running: Option<Running>,
    next_sequence: u32,
    /// Until when checks that answered have looked at everything.
    seen_until: Option<i64>,
    errors: u32,
    pub(super) silences: Vec<Quiet>,
    pub(super) host_down: bool,
    pub(super) keys: BTreeMap<String, Key>,
    episodes: BTreeMap<String, u32>,
    pub(super) told: BTreeMap<(String, String), Notified>,
    pub(super) deliveries: BTreeMap<u32, Delivery>,
    /// Dedup keys: one for each key, for good.
    pub(super) dedup_keys: BTreeMap<String, String>,
    /// Receivers and keys of which the end, or where nobody can end what they may have taken, any
    /// delivery was given up.
    pub(super) dead: BTreeSet<(String, String)>,
    /// When that was done at receivers of which they told last, by receiver and key.
    heard: BTreeMap<(String, String), i64>,
    /// Since when something is owed that waits for others.
    pub(super) owed_since: BTreeMap<String, i64>,
}

/// A check that runs.
#[derive(Debug)]
struct Running {
    sequence: u32,
    execution: String,
    since: i64,
    to: i64,
}

/// A key with an incident.
#[derive(Debug, Default)]
pub(super) struct Key {
    pub(super) state: String,
    since: i64,
    bad: u32,
    good: u32,
    absent: u32,
    pub(super) episode: u32,
    /// The episode with which the incident began.
    first_episode: u32,
    /// Since when steps count.
    pub(super) told_from: Option<i64>,
    /// It was open all the time since then.
    pub(super) is_plain: bool,
    pub(super) snoozed_until: Option<i64>,
    acknowledged: bool,
}

impl Key {
    fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "open" | "acknowledged" | "snoozed")
    }
}

/// What a receiver was told of a key.
#[derive(Debug, Default)]
pub(super) struct Notified {
    /// It was told that something is wrong, or that was tried.
    pub(super) tried: bool,
    pub(super) rings: bool,
    /// It knows the incident by a key, and a beginning was given up that it may have taken.
    pub(super) may_ring: bool,
    pub(super) knows_of_care: bool,
    pub(super) flight: Option<u32>,
    pub(super) at: i64,
    /// A snooze has ended: it is to be told again.
    pub(super) nudged: bool,
    /// It is told in the place of another.
    pub(super) is_instead: bool,
}

impl Notified {
    /// Whether the end is its concern.
    pub(super) fn must_hear(&self) -> bool {
        self.rings || self.may_ring
    }
}

/// One notification on its way.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) receiver: String,
    pub(super) event: String,
    pub(super) members: Vec<(String, u32)>,
    execution: String,
    pub(super) ended: bool,
    /// When it was started.
    pub(super) at: i64,
    /// It was given up, and nobody has sent it again.
    dead: bool,
    /// It tells once more of ends that all others have heard.
    pub(super) is_repeated_end: bool,
}

/// What must come of a commit's cause.
type Expected = Vec<(String, &'static str)>;

impl Watch {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Judges a commit; the deliveries that it started, and what they tell.
    pub(super) fn judge(&mut self, commit: &Commit<'_>) -> Verdict<Vec<(u32, Value)>> {
        let now = commit.now.millis();
        if commit.events.first().and_then(|event| event["at"].as_i64()) != Some(now) {
            return broken("facts bear their instant", format!("{:?}", commit.events.first()));
        }
        self.may_change(commit)?;
        let planned = self.planned;
        let mut expected = self.asked_for(commit.cause, now);
        let (mut started, mut check) = (Vec::new(), None);
        for event in commit.events {
            let Some((name, body)) = event.as_object().and_then(|it| it.iter().next()) else {
                continue;
            };
            let key = text(&body["k"]);
            match name.as_str() {
                "checking" => check = Some(self.begins(body, commit)?),
                "checked" => self.ends(body, commit.cause, now, &mut expected)?,
                "planned" => self.planned = body.as_i64(),
                "began" => self.began(&key, now)?,
                "moved" => self.moved(&key, body, now, &mut expected)?,
                "dropped" => self.dropped(&key, &mut expected)?,
                "resent" => self.resent(body)?,
                "fell_back" => self.fell_back(&key, &text(&body["t"]), &text(&body["f"]), now)?,
                "notified" => started.push(self.notified(body, commit)?),
                "delivered" => self.delivered(body, commit)?,
                _ => {}
            }
        }
        if let Some((key, what)) = expected.first() {
            return broken("no incident is lost", format!("{key:?} is not {what}"));
        }
        Self::nothing_else_starts(&commit.sent, check.is_some(), &started)?;
        let by_hand = *commit.cause == Cause::ByHand;
        self.clock_is_kept(planned, check.filter(|_| !by_hand), now, commit)?;
        self.note_times(now);
        Ok(started)
    }

    /// Whether it counts as down for those that need it.
    pub(super) fn is_down(&self) -> bool {
        self.keys.iter().any(|(key, incident)| key != CHECK_KEY && incident.is_open())
    }

    /// Whether an end that arrives changes what it must.
    fn may_change(&self, commit: &Commit<'_>) -> Verdict {
        let Cause::Ended { sequence, child, .. } = commit.cause else { return Ok(()) };
        let has = |name: &str| {
            commit.events.iter().any(|it| it[name]["s"].as_u64() == Some(u64::from(*sequence)))
        };
        if self.is_awaited(*sequence, child) && !has("checked") && !has("delivered") {
            return broken(
                "ends are heard",
                format!("{sequence} has ended, and nothing came of it"),
            );
        }
        Ok(())
    }

    /// Whether a cause may come to nothing at all.
    pub(super) fn may_ignore(&self, cause: &Cause) -> Verdict {
        match cause {
            Cause::Ended { sequence, child, .. } if self.is_awaited(*sequence, child) => {
                broken("ends are heard", format!("{sequence} has ended, and nothing came of it"))
            }
            Cause::Silences(silences) if *silences != self.silences => {
                broken("silences are known", format!("not {silences:?}"))
            }
            Cause::Parent(name, down) if name == HOST && *down != self.host_down => {
                broken("dependents are told", format!("{name} is down: {down}"))
            }
            _ => Ok(()),
        }
    }

    fn is_awaited(&self, sequence: u32, child: &str) -> bool {
        let checking = self.running.as_ref();
        let checking = checking.is_some_and(|it| it.sequence == sequence && it.execution == child);
        let delivery = self.deliveries.get(&sequence);
        checking || delivery.is_some_and(|it| !it.ended && it.execution == child)
    }

    /// What people and other monitors have brought about.
    fn asked_for(&mut self, cause: &Cause, now: i64) -> Expected {
        let open = |key: &String| self.keys.get(key).is_some_and(Key::is_open);
        match cause {
            Cause::Acknowledge(key) if open(key) => vec![(key.clone(), "acknowledged")],
            Cause::Resolve(key) if open(key) => vec![(key.clone(), "resolved")],
            Cause::Snooze(key, until) if open(key) => {
                if let Some(incident) = self.keys.get_mut(key) {
                    incident.snoozed_until = Some(*until);
                }
                vec![(key.clone(), "snoozed")]
            }
            Cause::ProviderEvent { key, receiver, deed, at } => {
                self.hears(key, receiver, *deed, *at).into_iter().collect()
            }
            Cause::Silences(silences) => {
                self.silences.clone_from(silences);
                Vec::new()
            }
            Cause::Parent(name, down) if name == HOST => {
                self.host_down = *down;
                Vec::new()
            }
            Cause::Wake => {
                let over = |key: &Key| {
                    key.state == "snoozed" && key.snoozed_until.is_some_and(|until| until <= now)
                };
                let over = self.keys.iter().filter(|(_, incident)| over(incident));
                over.map(|(key, _)| (key.clone(), "open")).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What must come of what a receiver tells: nothing of what is old, of what it has told before,
    /// and of what it was not told itself.
    fn hears(
        &mut self,
        key: &str,
        receiver: &str,
        deed: ProviderAction,
        at: i64,
    ) -> Option<(String, &'static str)> {
        let place = (receiver.to_owned(), key.to_owned());
        let incident = self.keys.get(key).filter(|it| it.is_open())?;
        let told = self.told.get_mut(&place)?;
        let is_news = self.heard.get(&place).is_none_or(|last| *last < at);
        let cared_for = incident.state == "acknowledged";
        let state = match deed {
            ProviderAction::Acknowledge if !cared_for => "acknowledged",
            ProviderAction::Unacknowledge if cared_for => "open",
            ProviderAction::Resolve => "resolved",
            ProviderAction::Acknowledge | ProviderAction::Unacknowledge => return None,
        };
        if !is_news || at + 5 * 60_000 < incident.since {
            return None;
        }
        // The end it hears all the same: it may have been told anew since it said so.
        told.knows_of_care |= deed == ProviderAction::Acknowledge;
        self.heard.insert(place, at);
        Some((key.to_owned(), state))
    }

    /// A check begins; when it was planned.
    fn begins(&mut self, body: &Value, commit: &Commit<'_>) -> Verdict<i64> {
        const LAW: &str = "no interval is left unseen";
        let now = commit.now.millis();
        if let Some(running) = &self.running {
            return broken("one check at a time", format!("{} is running", running.sequence));
        }
        if !matches!(commit.cause, Cause::Wake | Cause::ByHand) {
            return broken("checks have a cause", format!("{:?}", commit.cause));
        }
        let sequence = self.number(body)?;
        let (from, to) = (body["w"]["f"].as_i64(), body["w"]["t"].as_i64());
        let (Some(from), Some(to)) = (from, to) else { return broken(LAW, body.to_string()) };
        let sent = commit.sent.iter().find_map(|it| start_of(it, sequence));
        let Some((execution, start)) = sent else {
            return broken("checks are sent", format!("check {sequence} was not"));
        };
        let window = &start["input"]["window"];
        if window["from_ms"].as_i64() != Some(from) || window["to_ms"].as_i64() != Some(to) {
            return broken(LAW, format!("check {sequence} is told {window}, not {from} to {to}"));
        }
        if to != now {
            return broken(LAW, format!("check {sequence} looks until {to}, and it is {now}"));
        }
        if let Some((lookback, _)) = self.rules.window {
            let needed = self.seen_until.unwrap_or(i64::MAX).min(now - lookback);
            let gap = gap(&commit.records);
            let given_up = gap.is_some_and(|(start, end)| start <= needed && end >= from);
            if from > needed && !given_up {
                return broken(LAW, format!("check {sequence} looks from {from}, not {needed}"));
            }
        }
        self.running = Some(Running { sequence, execution, since: now, to });
        Ok(start["input"]["planned_at"].as_i64().unwrap_or_default())
    }

    fn number(&mut self, body: &Value) -> Verdict<u32> {
        let sequence = number(body, "s").unwrap_or_default();
        if sequence <= self.next_sequence {
            return broken("numbers are used once", format!("{sequence} was used before"));
        }
        self.next_sequence = sequence;
        Ok(sequence)
    }

    /// A check has ended, or was given up.
    fn ends(&mut self, body: &Value, cause: &Cause, now: i64, expected: &mut Expected) -> Verdict {
        const LAW: &str = "a check's result is its own";
        let sequence = number(body, "s").unwrap_or_default();
        let Some(running) = self.running.take_if(|it| it.sequence == sequence) else {
            return broken(LAW, format!("check {sequence} is not running"));
        };
        let answered = body["o"].get("answered").is_some();
        match cause {
            Cause::Ended { sequence: ended, child, completed, seen } => {
                if *ended != sequence || *child != running.execution {
                    return broken(LAW, format!("{child} has ended, not {}", running.execution));
                }
                let seen = seen.as_ref().filter(|_| *completed);
                if seen.is_some() != answered {
                    return broken(LAW, format!("check {sequence} saw {seen:?}: {body}"));
                }
                match seen {
                    Some(seen) => self.sees(seen, running.to, expected),
                    None => self.cannot_tell(expected),
                }
            }
            Cause::Wake if answered => return broken(LAW, format!("nobody answered: {body}")),
            Cause::Wake => {
                let patience = (self.rules.every * 3).clamp(60_000, 3_600_000);
                if now - running.since < patience {
                    return broken(LAW, format!("check {sequence} was given up too soon"));
                }
                self.cannot_tell(expected);
            }
            other => return broken(LAW, format!("{other:?} ends no check")),
        }
        Ok(())
    }

    /// What a check saw, and what must come of it.
    fn sees(&mut self, seen: &[(String, String)], to: i64, expected: &mut Expected) {
        self.seen_until = Some(to);
        self.errors = 0;
        if self.keys.get(CHECK_KEY).is_some_and(Key::is_open) {
            expected.push((CHECK_KEY.to_owned(), "resolved"));
        }
        for (key, status) in seen {
            match status.as_str() {
                "fail" => self.is_bad(key, self.rules.fail_after, expected),
                "ok" => self.is_well(key, true, expected),
                _ => {}
            }
        }
        let absent = self.keys.keys().filter(|key| {
            !key.starts_with('#') && seen.iter().all(|(mentioned, _)| mentioned != *key)
        });
        for key in absent.cloned().collect::<Vec<_>>() {
            self.is_well(&key, false, expected);
        }
    }

    fn cannot_tell(&mut self, expected: &mut Expected) {
        self.errors += 1;
        if self.rules.on_error > 0 && self.errors >= self.rules.on_error {
            self.is_bad(CHECK_KEY, 1, expected);
        }
    }

    fn is_bad(&mut self, key: &str, enough: u32, expected: &mut Expected) {
        let known = self.keys.get_mut(key).filter(|it| it.state != "resolved");
        let bad = known.map_or(1, |incident| {
            (incident.good, incident.absent) = (0, 0);
            incident.bad += 1;
            incident.bad
        });
        if self.keys.get(key).is_some_and(|it| it.state == "resolved") {
            expected.push((key.to_owned(), "pending"));
        }
        let open = self.keys.get(key).is_some_and(Key::is_open);
        if !open && bad >= enough {
            expected.push((key.to_owned(), "open"));
        }
    }

    fn is_well(&mut self, key: &str, mentioned: bool, expected: &mut Expected) {
        let (recover_after, missing) = (self.rules.recover_after, self.rules.missing);
        let Some(incident) = self.keys.get_mut(key).filter(|it| it.state != "resolved") else {
            return;
        };
        incident.bad = 0;
        *(if mentioned { &mut incident.good } else { &mut incident.absent }) += 1;
        if incident.state == "pending" {
            expected.push((key.to_owned(), "gone"));
        } else if incident.good >= recover_after || incident.absent >= missing {
            expected.push((key.to_owned(), "resolved"));
        }
    }

    fn began(&mut self, key: &str, now: i64) -> Verdict {
        if self.keys.contains_key(key) {
            return broken("none is doubled", format!("{key:?} has an incident already"));
        }
        let episode = self.episodes.entry(key.to_owned()).or_default();
        *episode += 1;
        let (state, episode) = ("pending".to_owned(), *episode);
        let first_episode = episode;
        let begun = Key { state, since: now, bad: 1, episode, first_episode, ..Key::default() };
        self.keys.insert(key.to_owned(), begun);
        Ok(())
    }

    fn moved(&mut self, key: &str, body: &Value, now: i64, expected: &mut Expected) -> Verdict {
        let to = text(&body["to"]);
        let fits = |(of, what): &(String, &'static str)| {
            *of == *key && (**what == *to || (*what == "gone" && to == "resolved"))
        };
        let Some(place) = expected.iter().position(fits) else {
            return broken("incidents have a cause", format!("{key:?} is {to}: {body}"));
        };
        expected.remove(place);
        let Some(incident) = self.keys.get_mut(key) else {
            return broken("incidents have a cause", format!("{key:?} has none: {body}"));
        };
        let from = std::mem::replace(&mut incident.state, to.clone());
        incident.is_plain = false;
        match to.as_str() {
            "pending" => {
                let episode = self.episodes.entry(key.to_owned()).or_default();
                *episode += 1;
                let (episode, state, first_episode) = (*episode, to, incident.first_episode);
                *incident =
                    Key { state, since: now, bad: 1, episode, first_episode, ..Key::default() };
                self.told.retain(|(_, own), told| {
                    own != key || told.must_hear() || told.flight.is_some()
                });
                for ((_, own), told) in &mut self.told {
                    told.knows_of_care &= own != key;
                    // It may have heard or not: it is to hear of the new beginning.
                    told.tried &= own != key || told.rings || told.flight.is_some();
                }
            }
            "open" => {
                if incident.acknowledged {
                    incident.told_from = None;
                }
                incident.acknowledged = false;
                incident.snoozed_until = None;
                for ((_, own), told) in &mut self.told {
                    if own == key {
                        told.knows_of_care = false;
                        told.nudged = from == "snoozed" && told.tried;
                    }
                }
            }
            "acknowledged" => incident.acknowledged = true,
            _ => {}
        }
        Ok(())
    }

    fn dropped(&mut self, key: &str, expected: &mut Expected) -> Verdict {
        let gone = (key.to_owned(), "gone");
        let was_expected = expected.iter().position(|it| *it == gone);
        was_expected.map(|place| expected.remove(place));
        let resolved = self.keys.get(key).is_some_and(|it| it.state == "resolved");
        if !resolved && was_expected.is_none() {
            return broken("no incident is lost", format!("{key:?} is gone"));
        }
        let concerned = self
            .told
            .iter()
            .find(|((_, own), told)| own == key && (told.must_hear() || told.flight.is_some()));
        if let Some(((receiver, _), _)) = concerned {
            let what = format!("{key:?} is gone, and {receiver} does not know");
            return broken("whoever was told hears the end", what);
        }
        self.keys.remove(key);
        self.told.retain(|(_, own), _| own != key);
        Ok(())
    }

    /// A delivery was started; what it tells.
    fn notified(&mut self, body: &Value, commit: &Commit<'_>) -> Verdict<(u32, Value)> {
        let now = commit.now.millis();
        let sequence = self.number(body)?;
        let (receiver, event) = (text(&body["t"]), text(&body["e"]));
        let Some((execution, start)) = commit.sent.iter().find_map(|it| start_of(it, sequence))
        else {
            let what = format!("delivery {sequence} to {receiver} was not sent");
            return broken("no page is lost", what);
        };
        let told = start["input"]["notification"].clone();
        if start["name"] != format!("nightbell_notify:{receiver}") || told["event"] != *event {
            return broken("no page is lost", format!("{start} does not tell {event} {receiver}"));
        }
        let recorded = commit.records.iter().any(|record| {
            record.ledger == "delivery"
                && *record.status == *"queued"
                && told["delivery"] == *record.key
        });
        if !recorded {
            return broken("the ledger knows", format!("delivery {sequence} is not in it"));
        }
        let mut members = Vec::new();
        // Ends once more: no incident of ours any more, and nothing later must be under the key.
        for (key, _) in pairs(&body["a"]) {
            let later = self.told.get(&(receiver.clone(), key.clone()));
            if event != "resolve" || later.is_some_and(|it| it.must_hear() || it.flight.is_some()) {
                let what = format!("{receiver} is told {event} of {key:?} once more");
                return broken("pages have a cause", what);
            }
            members.push((key, 0));
        }
        let is_repeated_end = !members.is_empty();
        for key in body["k"].as_array().into_iter().flatten().map(text) {
            self.may_be_told(&key, &receiver, &event, now)?;
            let episode = self.keys.get(&key).map_or(0, |incident| incident.episode);
            members.push((key.clone(), episode));
            let told = self.told.entry((receiver.clone(), key)).or_default();
            (told.flight, told.nudged) = (Some(sequence), false);
            match event.as_str() {
                "acknowledge" => told.knows_of_care = true,
                "resolve" => {}
                _ => (told.tried, told.at) = (true, now),
            }
        }
        let (ended, at, dead) = (false, now, false);
        let delivery =
            Delivery { receiver, event, members, execution, ended, at, dead, is_repeated_end };
        self.deliveries.insert(sequence, delivery);
        Ok((sequence, told))
    }

    fn delivered(&mut self, body: &Value, commit: &Commit<'_>) -> Verdict {
        const LAW: &str = "a delivery's end is its own";
        let Cause::Ended { sequence, child, completed, .. } = commit.cause else {
            return broken(LAW, format!("{:?} ends no delivery", commit.cause));
        };
        let Some(delivery) = self.deliveries.get_mut(sequence) else {
            return broken(LAW, format!("{sequence} is no delivery"));
        };
        let sent = body["o"].as_bool().unwrap_or_default();
        if body["s"].as_u64() != Some(u64::from(*sequence))
            || delivery.ended
            || delivery.execution != *child
            || sent != *completed
        {
            return broken(LAW, format!("{child} ended, completed: {completed}; not {body}"));
        }
        (delivery.ended, delivery.dead) = (true, !sent);
        let is_repeated_end = delivery.is_repeated_end;
        let status = if sent { "sent" } else { "dead" };
        let recorded =
            commit.records.iter().any(|it| it.ledger == "delivery" && *it.status == *status);
        if !recorded {
            return broken(
                "the ledger knows",
                format!("{sequence} is {status}, which is not in it"),
            );
        }
        let (receiver, event) = (delivery.receiver.clone(), delivery.event.clone());
        if is_repeated_end {
            return Ok(());
        }
        for (key, _) in delivery.members.clone() {
            let place = (receiver.clone(), key.clone());
            let keyed = KEYED.contains(&receiver.as_str());
            if !sent && (event == "resolve" || !keyed) {
                self.dead.insert(place.clone());
            }
            let Some(told) = self.told.get_mut(&place) else { continue };
            told.flight = None;
            match event.as_str() {
                "resolve" => {
                    *told = Notified { knows_of_care: told.knows_of_care, ..Notified::default() }
                }
                "trigger" | "escalation" => {
                    told.rings |= sent;
                    told.may_ring |= !sent && keyed;
                }
                _ => {}
            }
            let concerns = !sent && !matches!(event.as_str(), "resolve" | "acknowledge");
            let open = self.keys.get(&key).is_some_and(Key::is_open);
            let fallback = RECEIVERS.iter().find(|(name, _)| *name == receiver);
            if let Some(fallback) = fallback.and_then(|(_, to)| *to)
                && concerns
                && open
            {
                let instead = Notified { is_instead: true, ..Notified::default() };
                self.told.entry((fallback.to_owned(), key.clone())).or_insert(instead);
            }
        }
        Ok(())
    }

    /// Somebody wants to have sent again what was given up: of what is still the same incident, the
    /// receiver is to be told as if it had not been.
    fn resent(&mut self, body: &Value) -> Verdict {
        let sequence = number(body, "s").unwrap_or_default();
        let Some(delivery) = self.deliveries.get_mut(&sequence).filter(|it| it.dead) else {
            return broken("a delivery's end is its own", format!("{sequence} was not given up"));
        };
        delivery.dead = false;
        let (receiver, event) = (delivery.receiver.clone(), delivery.event.clone());
        for (key, episode) in delivery.members.clone() {
            let same = self.keys.get(&key).is_some_and(|it| it.first_episode <= episode);
            let told = self.told.get_mut(&(receiver.clone(), key));
            let Some(told) = told.filter(|told| same && told.flight.is_none()) else { continue };
            match event.as_str() {
                "acknowledge" => told.knows_of_care = false,
                "resolve" => {}
                _ if told.rings => told.nudged = true,
                _ => (told.tried, told.knows_of_care) = (false, false),
            }
        }
        Ok(())
    }

    /// Whether the end of an earlier incident of a key is on its way to a receiver.
    pub(super) fn is_ending(&self, key: &str, receiver: &str) -> bool {
        self.deliveries.values().any(|it| {
            it.is_repeated_end
                && !it.ended
                && it.receiver == receiver
                && it.members.iter().any(|(own, _)| own == key)
        })
    }

    /// A receiver is to be told in the place of another: one that has refused, which its delivery's
    /// end has told already, or one that has not taken a page in time.
    fn fell_back(&mut self, key: &str, to: &str, from: &str, now: i64) -> Verdict {
        let place = (to.to_owned(), key.to_owned());
        let overdue = self.overdue(key, from).is_some_and(|(it, at)| it == to && at <= now);
        if !overdue && !self.told.contains_key(&place) {
            return broken("pages have a cause", format!("{to} instead of {from} for {key:?}"));
        }
        let instead = Notified { is_instead: true, ..Notified::default() };
        self.told.entry(place).or_insert(instead);
        Ok(())
    }

    /// Who is to be told of a key instead of a receiver to which a page is under way, and from when
    /// on.
    pub(super) fn overdue(&self, key: &str, receiver: &str) -> Option<(&'static str, i64)> {
        let (_, fallback) = RECEIVERS.iter().find(|(name, _)| *name == receiver)?;
        let told = self.told.get(&(receiver.to_owned(), key.to_owned()))?;
        let delivery = self.deliveries.get(&told.flight?)?;
        let pages = matches!(delivery.event.as_str(), "trigger" | "escalation" | "reminder");
        let known = |to: &str| self.told.contains_key(&(to.to_owned(), key.to_owned()));
        let open = self.keys.get(key).is_some_and(|it| it.state == "open");
        let to = fallback.filter(|to| pages && open && !known(to))?;
        Some((to, delivery.at + self.rules.fallback_after))
    }

    /// Every start of an execution belongs to a fact.
    fn nothing_else_starts(sent: &[Sent], checks: bool, started: &[(u32, Value)]) -> Verdict {
        let starts = sent.iter().filter(|it| it.body.starts_with("{\"start\"")).count();
        let owed = started.len() + usize::from(checks);
        if starts != owed {
            let what = format!("{starts} executions are started, and {owed} are owed");
            return broken("none is doubled", what);
        }
        Ok(())
    }

    /// What was due by the clock was begun, or is in the ledger as missed.
    fn clock_is_kept(
        &self,
        planned: Option<i64>,
        check: Option<i64>,
        now: i64,
        commit: &Commit<'_>,
    ) -> Verdict {
        const LAW: &str = "missed checks are recorded";
        let Some(next) = self.planned else { return broken(LAW, "nothing is planned") };
        let Some(planned) = planned else { return Ok(()) };
        let due = if planned <= now { (now - planned) / self.rules.every + 1 } else { 0 };
        let looked = *commit.cause == Cause::Wake && due > 0;
        let right = if looked { planned + due * self.rules.every } else { planned };
        if next != right {
            return broken(LAW, format!("{planned} was planned; the next is {next}, not {right}"));
        }
        let missed: i64 = commit
            .records
            .iter()
            .filter(|it| it.ledger == "check" && *it.status == *"MISSED")
            .filter_map(|it| it.body.parse()["count"].as_i64())
            .sum();
        let begun = i64::from(check.is_some());
        let owed = if looked { due - begun } else { 0 };
        if missed != owed {
            let what = format!("{due} were due, {begun} began, {missed} are recorded as missed");
            return broken(LAW, what);
        }
        match check {
            Some(at) if at != planned + (due - 1) * self.rules.every => {
                broken(LAW, format!("a check says that it was planned for {at}"))
            }
            _ => Ok(()),
        }
    }

    /// A provider knows a key by the same name for good.
    pub(super) fn keeps_its_keys(
        &mut self,
        members: &[(String, u32)],
        dedup_keys: &[String],
    ) -> Verdict {
        const LAW: &str = "one key for good";
        if members.len() != dedup_keys.len() {
            return broken(LAW, format!("{members:?} are told as {dedup_keys:?}"));
        }
        for ((key, _), dedup_key) in members.iter().zip(dedup_keys) {
            let known = self.dedup_keys.entry(key.clone()).or_insert_with(|| dedup_key.clone());
            if known != dedup_key {
                return broken(LAW, format!("{key:?} was {known}, and is {dedup_key}"));
            }
        }
        Ok(())
    }

    /// What has not come to its end; looked at since then.
    pub(super) fn unsettled(&self, since: i64) -> Option<String> {
        let open = self.keys.iter().next();
        let flying = self.deliveries.iter().find(|(_, delivery)| !delivery.ended);
        let unseen = self.seen_until.is_none_or(|until| until < since);
        open.map(|(key, incident)| format!("{key:?} is {}", incident.state))
            .or_else(|| flying.map(|(sequence, it)| format!("delivery {sequence}: {it:?}")))
            .or_else(|| unseen.then(|| "it was not looked at".to_owned()))
    }
}

/// The interval that nobody will look at, as the ledger says.
fn gap(records: &[Record]) -> Option<(i64, i64)> {
    let gap = records.iter().find(|it| it.ledger == "check" && *it.status == *"GAP")?;
    let body = gap.body.parse();
    Some((body["from"].as_i64()?, body["to"].as_i64()?))
}

/// The start that a commit sends under a number: of which execution, and what.
fn start_of(sent: &Sent, sequence: u32) -> Option<(String, Value)> {
    let body: Value = serde_json::from_str(&sent.body).ok()?;
    let start = body.get("start")?;
    let own = start["parent"]["s"].as_u64() == Some(u64::from(sequence));
    own.then(|| (sent.to.clone(), start.clone()))
}

/// Keys and numbers.
fn pairs(list: &Value) -> Vec<(String, u64)> {
    let pairs = list.as_array().into_iter().flatten();
    pairs.map(|pair| (text(&pair[0]), pair[1].as_u64().unwrap_or_default())).collect()
}
