//! Reads people, rotations and overrides out of a monitors file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::super::calendar::{Clock, Days};
use super::super::reader::{self, Object, Report, parsed};
use super::super::yaml::{Content, Node};
use super::layer::{local_of, minutes_of};
use super::{Contact, Entry, Follow, Layer, ON_CALL, Override, Person, Roster, Rotation};
use super::{DAY, WEEK, read_calendar};
use crate::expression::parse_until;
use crate::place::Place;
use crate::time::Timestamp;

const HOUR: i64 = 60;
/// The longest turn: a year.
const EVERY_MAX: i64 = 366 * DAY;

/// Names that a roster speaks of, each with its place and path.
#[derive(Default)]
pub(in super::super) struct Speaks {
    pub(in super::super) receivers: Vec<(Arc<str>, Place, String)>,
    pub(in super::super) people: Vec<(Arc<str>, Place, String)>,
    pub(in super::super) rotations: Vec<(Arc<str>, Place, String)>,
}

/// Reads the sections `people`, `rotations` and `overrides` of a document.
pub(in super::super) fn read(
    top: &mut Object<'_>,
    speaks: &mut Speaks,
    report: &mut Report,
) -> Roster {
    let mut roster = Roster::default();
    if let Some(section) = section(top, "people", report) {
        for (name, key, node) in section.members() {
            let path = section.path_of(name);
            check_name(name, key, &path, report);
            if let Some(person) = person(node, &path, speaks, report) {
                roster.people.insert(name.into(), person);
            }
        }
    }
    if let Some(section) = section(top, "rotations", report) {
        for (name, key, node) in section.members() {
            let path = section.path_of(name);
            check_name(name, key, &path, report);
            if let Some(rotation) = rotation(node, key.place, path, speaks, report) {
                roster.rotations.insert(name.into(), rotation);
            }
        }
    }
    if let Some(node) = top.get("overrides") {
        match &node.content {
            Content::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    let path = format!("overrides[{at}]");
                    let zones = &roster.rotations;
                    roster.overrides.extend(stand_in(item, path, zones, speaks, report));
                }
            }
            _ => report.error(
                node.place,
                "overrides",
                format!("a list is expected, not {}", node.kind()),
            ),
        }
    }
    roster
}

fn section<'a>(
    top: &mut Object<'a>,
    name: &'static str,
    report: &mut Report,
) -> Option<Object<'a>> {
    let node = top.get(name)?;
    Object::of(node, name.to_owned(), report)
}

/// A name stands in `oncall:NAME+1`, in addresses and in calendars.
fn check_name(name: &str, key: &Node, path: &str, report: &mut Report) {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || !name.chars().all(is_plain) {
        let message = format!("the name {name:?} may have letters, digits and - _ . @ only");
        report.error(key.place, path, message);
    }
}

/// `ann: RECEIVER`, or `ann: { contact: … }`.
fn person(node: &Node, path: &str, speaks: &mut Speaks, report: &mut Report) -> Option<Person> {
    if !matches!(node.content, Content::Map(_)) && !node.is_null() {
        let contact = contact(node, path, speaks, report);
        return Some(Person { contact });
    }
    let mut object = Object::of(node, path.to_owned(), report)?;
    let contact = if let Some(node) = object.get("contact") {
        contact(node, &object.path_of("contact"), speaks, report)
    } else {
        let why = "a person needs contact: the receivers by which they are reached";
        report.error(node.place, path, why);
        Vec::new()
    };
    object.finish(report);
    Some(Person { contact })
}

/// A receiver, or a list of receivers and of `{ to, after }`.
fn contact(node: &Node, path: &str, speaks: &mut Speaks, report: &mut Report) -> Vec<Contact> {
    let items = match &node.content {
        Content::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut contacts = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let path = if items.len() > 1 { format!("{path}[{at}]") } else { path.to_owned() };
        let mut read = || match &item.content {
            Content::Map(_) => {
                let mut object = Object::of(item, path.clone(), report)?;
                let to = object.read("to", report, reader::texts).unwrap_or_default();
                if to.is_empty() {
                    report.error(item.place, &path, "a contact needs to, a receiver");
                }
                let after = object.read("after", report, reader::span_or_zero);
                object.finish(report);
                Some(Contact { to, after: after.unwrap_or_default() })
            }
            _ => Some(Contact { to: vec![reader::text(item, &path, report)?], after: 0 }),
        };
        let Some(contact) = read() else { continue };
        speaks.receivers.extend(contact.to.iter().map(|to| (to.clone(), item.place, path.clone())));
        contacts.push(contact);
    }
    if contacts.windows(2).any(|pair| pair[0].after > pair[1].after) {
        report.error(node.place, path, "contacts must come in the order of their after");
    }
    if contacts.is_empty() && !report.has_failed() {
        report.error(node.place, path, "there must be a receiver by which the person is reached");
    }
    contacts
}

fn rotation(
    node: &Node,
    place: Place,
    path: String,
    speaks: &mut Speaks,
    report: &mut Report,
) -> Option<Rotation> {
    let mut object = Object::of(node, path, report)?;
    let tz = object.read("tz", report, reader::zone).unwrap_or_default();
    let mut layers = Vec::new();
    if let Some(node) = object.get("layers") {
        let path = object.path_of("layers");
        match &node.content {
            Content::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    layers.extend(layer(item, format!("{path}[{at}]"), speaks, report));
                }
            }
            _ => report.error(node.place, &path, "a list of layers is expected"),
        }
    }
    let calendar = calendar(&mut object, &tz, speaks, report);
    if layers.is_empty() && calendar.is_empty() && !report.has_failed() {
        report.error(place, &object.path, "a rotation needs layers, or ics with events");
    }
    let otherwise = object.peek("else").is_some_and(|node| !node.is_null());
    let otherwise = otherwise.then(|| names(&mut object, "else", speaks, report));
    object.know("else");
    let follow = object.read("follow", report, |node, path, report| {
        parsed(node, path, report, |text| match text {
            "stay" => Ok(None),
            "digest" => Ok(Some(Follow::Digest)),
            "move" => Ok(Some(Follow::Move)),
            _ => Err(format!("follow is stay, digest or move, not {text:?}")),
        })
    });
    object.finish(report);
    Some(Rotation { tz, layers, calendar, otherwise, follow: follow.flatten() })
}

/// `ics`, the text of a calendar, with `names`: who is meant by the names in it.
fn calendar(
    object: &mut Object<'_>,
    tz: &str,
    speaks: &mut Speaks,
    report: &mut Report,
) -> Vec<Entry> {
    let names = object.read("names", report, reader::text_map).unwrap_or_default();
    let Some(node) = object.get("ics") else {
        if let Some(node) = object.peek("names") {
            report.error(node.place, &object.path_of("names"), "names are those of ics");
        }
        return Vec::new();
    };
    let path = object.path_of("ics");
    let Some(text) = node.text() else {
        report.error(node.place, &path, format!("a text is expected, not {}", node.kind()));
        return Vec::new();
    };
    let person = |name: &str| names.get(name).cloned().unwrap_or_else(|| name.into());
    let entries = read_calendar(text, tz, &person).unwrap_or_else(|problems| {
        for problem in problems {
            report.refuse("calendar", node.place, &path, problem);
        }
        Vec::new()
    });
    let people: BTreeSet<&Arc<str>> = entries.iter().flat_map(|entry| &entry.people).collect();
    speaks.people.extend(people.into_iter().map(|it| (it.clone(), node.place, path.clone())));
    entries
}

/// People, by name.
fn names(
    object: &mut Object<'_>,
    member: &'static str,
    speaks: &mut Speaks,
    report: &mut Report,
) -> Vec<Arc<str>> {
    let names = object.read(member, report, reader::texts).unwrap_or_default();
    if let Some(node) = object.peek(member) {
        let path = object.path_of(member);
        speaks.people.extend(names.iter().map(|it| (it.clone(), node.place, path.clone())));
    }
    names
}

fn layer(node: &Node, path: String, speaks: &mut Speaks, report: &mut Report) -> Option<Layer> {
    let mut object = Object::of(node, path, report)?;
    let people = names(&mut object, "people", speaks, report);
    if people.is_empty() {
        report.error(node.place, &object.path, "a layer needs people");
    }
    let every = object.read("every", report, |node, path, report| {
        parsed(node, path, report, |text| {
            let minutes = super::super::parse_span(text)? / 60_000;
            let whole = minutes % HOUR == 0 && (HOUR..=EVERY_MAX).contains(&minutes);
            let message = || format!("{text:?} is no turn: write whole hours, up to 366d");
            whole.then_some(minutes).ok_or_else(message)
        })
    });
    let every = every.unwrap_or(WEEK);
    let from = object.read("from", report, |node, path, report| {
        parsed(node, path, report, |text| local(text).map(minutes_of))
    });
    let handover = object.read("handover", report, |node, path, report| {
        parsed(node, path, report, |text| handover(text, every))
    });
    let needs_turns = people.iter().any(|person| *person != people[0]);
    if from.is_none() && needs_turns && object.peek("from").is_none() {
        let message = "several people take turns: from says when the first of them begins, such as \
                       2026-11-02";
        report.error(node.place, &object.path, message);
    }
    if let Some(node) = object.peek("handover").filter(|_| from.is_none()) {
        report.error(node.place, &object.path_of("handover"), "handover needs from");
    }
    let active = object.read("active", report, reader::hours).unwrap_or_default();
    let count = object.read("count", report, |node, path, report| {
        parsed(node, path, report, |text| match text {
            "active" => Ok(true),
            "all" => Ok(false),
            _ => Err(format!("count is active or all, not {text:?}")),
        })
    });
    if let Some(node) = object.peek("count").filter(|_| count == Some(true) && active.is_empty()) {
        report.error(node.place, &object.path_of("count"), "count: active needs active hours");
    }
    object.finish(report);
    let first = from.map(|from| first_at(from, handover));
    Some(Layer { people, first, every, active, count_active: count.unwrap_or_default() })
}

/// `2026-11-02`, or `2026-11-02 09:00`.
fn local(text: &str) -> Result<DateTime, String> {
    let wrong = || format!("{text:?} is no date; write one such as 2026-11-02, with 09:00 behind");
    // As if in UTC: a zone behind it would be a contradiction.
    let read = parse_until(text, &TimeZone::UTC).map_err(|_| wrong())?;
    let has_zone = text.trim().len() > "2026-11-02 09:00:00".len() || text.contains(['Z', '+']);
    if has_zone { Err(wrong()) } else { Ok(TimeZone::UTC.to_datetime(read)) }
}

/// A time of day, and the day of the week if one is named.
type Handover = (Option<i64>, Clock);

/// `Mon 09:00`, or `09:00`.
fn handover(text: &str, every: i64) -> Result<Handover, String> {
    let wrong = || format!("{text:?} is no hand-over; write such as \"Mon 09:00\" or \"09:00\"");
    let (day, clock) = match text.trim().rsplit_once(' ') {
        Some((day, clock)) => {
            let day = Days::parse(day).and_then(Days::single).ok_or_else(wrong)?;
            (Some(day), clock)
        }
        None => (None, text),
    };
    let clock = Clock::parse(clock).filter(|it| *it < Clock::DAY_END).ok_or_else(wrong)?;
    if day.is_some() && every % WEEK != 0 {
        return Err(format!(
            "{text:?} names a day of the week, so turns are whole weeks: write every: 1w, or the \
             time of day alone"
        ));
    }
    Ok((day, clock))
}

/// The first hand-over at or after a minute of the wall clock.
fn first_at(from: i64, handover: Option<Handover>) -> i64 {
    let Some((day, clock)) = handover else { return from };
    let midnight = from.div_euclid(DAY) * DAY;
    let mut first = midnight + clock.minutes();
    if first < from {
        first += DAY;
    }
    while let (Some(day), Some(local)) = (day, local_of(first)) {
        if i64::from(local.date().weekday().to_monday_zero_offset()) == day {
            break;
        }
        first += DAY;
    }
    first
}

fn stand_in(
    node: &Node,
    path: String,
    rotations: &BTreeMap<Arc<str>, Rotation>,
    speaks: &mut Speaks,
    report: &mut Report,
) -> Option<Override> {
    let mut object = Object::of(node, path, report)?;
    let rotation = object.read("rotation", report, reader::text);
    let who = names(&mut object, "who", speaks, report);
    for (member, missing) in [("rotation", rotation.is_none()), ("who", who.is_empty())] {
        if missing {
            report.error(node.place, &object.path, format!("an override needs {member}"));
        }
    }
    if let (Some(name), Some(node)) = (&rotation, object.peek("rotation")) {
        speaks.rotations.push((name.clone(), node.place, object.path_of("rotation")));
    }
    let own = object.read("tz", report, reader::zone);
    let known = rotation.as_ref().and_then(|name| rotations.get(name)).map(|it| it.tz.clone());
    let tz = own.or(known);
    let instant = |node: &Node, path: &str, report: &mut Report| {
        parsed(node, path, report, |text| match tz.as_deref() {
            Some(tz) => {
                let zone = if tz.is_empty() { "UTC" } else { tz };
                let zone = TimeZone::get(zone).map_err(|error| error.to_string())?;
                parse_until(text, &zone).map(Timestamp::from).map_err(|it| it.to_string())
            }
            None => text.parse::<jiff::Timestamp>().map(Timestamp::from).map_err(|_| {
                "the rotation is in another file, so its zone is not known here: write tz, or an \
                 instant such as 2026-12-24T09:00:00Z"
                    .to_owned()
            }),
        })
    };
    let from = object.read("from", report, instant);
    let to = object.read("to", report, instant);
    for member in ["from", "to"] {
        if object.peek(member).is_none() {
            report.error(node.place, &object.path, format!("an override needs {member}"));
        }
    }
    if let (Some(from), Some(to)) = (from, to)
        && to <= from
    {
        report.error(node.place, &object.path, "it ends before it begins");
    }
    object.finish(report);
    Some(Override { rotation: rotation?, who, from: from?, to: to? })
}

/// What is wrong with the name of a receiver that could be taken for a rotation.
pub(in super::super) fn reserved(name: &str) -> Option<String> {
    let why = "names that begin with oncall: are those of rotations, not of receivers";
    name.starts_with(ON_CALL).then(|| why.to_owned())
}
