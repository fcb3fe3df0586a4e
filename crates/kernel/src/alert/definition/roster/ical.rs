//! Reads a calendar (RFC 5545) as entries: what is needed for rotations, and a refusal of all that would
//! be expanded wrongly.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::{Date, DateTime, Time};

use super::super::calendar::zone_of;
use super::entry::{Entry, Rule, Unit};
use super::layer::{local_of, minutes_of};
use super::{DAY, WEEK};
use crate::cron::Zone;
use crate::time::Timestamp;

/// Bytes of a calendar.
const TEXT_MAX: usize = 512 * 1024;
/// Events of a calendar.
const EVENTS_MAX: usize = 500;
/// Instances of an event that are left out.
const EXCEPT_MAX: usize = 500;
const DAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

/// A line: its name, parameters and value.
struct Line {
    name: String,
    parameters: BTreeMap<String, String>,
    value: String,
}

/// A time, with the zone that it is in if that is not the calendar's.
struct Moment {
    minutes: i64,
    tz: Option<Arc<str>>,
    is_day: bool,
}

/// The entries of a calendar; `tz` is the zone of times that have none, and `person` says who is meant
/// by a name in a summary.
///
/// # Errors
/// It is no calendar, or an event of it cannot be expanded: each problem in a sentence.
pub fn entries(
    text: &str,
    tz: &str,
    person: &dyn Fn(&str) -> Arc<str>,
) -> Result<Vec<Entry>, Vec<String>> {
    if text.len() > TEXT_MAX {
        return Err(vec![format!("the calendar has more than {TEXT_MAX} bytes")]);
    }
    let events = events(text).map_err(|why| vec![why])?;
    if events.len() > EVENTS_MAX {
        let why =
            format!("the calendar has {} events, and {EVENTS_MAX} may be there", events.len());
        return Err(vec![why + ": leave out those that are over"]);
    }
    let (mut read, mut problems) = (Vec::new(), Vec::new());
    for event in &events {
        match entry(event, tz, person) {
            Ok(Some(it)) => read.push(it),
            Ok(None) => {}
            Err(why) => problems.push(format!("the event {}: {why}", shown(event))),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    // An instance that was moved stands for itself, and is none of those of its series.
    let moved: Vec<(String, Timestamp)> =
        read.iter().filter_map(|(uid, instance, _)| Some((uid.clone(), (*instance)?))).collect();
    let entries = read.into_iter().map(|(uid, instance, mut entry)| {
        if instance.is_none() {
            let zone = zone_of(&entry.tz);
            let own = moved.iter().filter(|(of, _)| *of == uid);
            entry.except.extend(own.map(|(_, at)| minutes_of(zone.local(*at))));
        }
        entry
    });
    Ok(entries.collect())
}

/// The lines of each event.
fn events(text: &str) -> Result<Vec<Vec<Line>>, String> {
    let (mut events, mut open): (_, Vec<String>) = (Vec::new(), Vec::new());
    let mut is_calendar = false;
    for line in unfolded(text) {
        let line = parse(&line)?;
        match line.name.as_str() {
            "BEGIN" => {
                let what = line.value.to_ascii_uppercase();
                is_calendar |= what == "VCALENDAR";
                if what == "VEVENT" {
                    events.push(Vec::new());
                }
                open.push(what);
            }
            "END" => {
                let begun = open.pop();
                if !begun.is_some_and(|it| it.eq_ignore_ascii_case(&line.value)) {
                    return Err(format!("END:{} without its BEGIN", line.value));
                }
            }
            // Not of what is within an event, such as an alarm.
            _ if open.last().is_some_and(|it| it == "VEVENT") => {
                if let Some(event) = events.last_mut() {
                    event.push(line);
                }
            }
            _ => {}
        }
    }
    if !is_calendar || !open.is_empty() {
        return Err("this is no whole calendar: BEGIN:VCALENDAR … END:VCALENDAR".to_owned());
    }
    Ok(events)
}

/// Lines that go on with a space are one.
fn unfolded(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(more) = line.strip_prefix([' ', '\t'])
            && let Some(last) = lines.last_mut()
        {
            last.push_str(more);
        } else if !line.trim().is_empty() {
            lines.push(line.to_owned());
        }
    }
    lines
}

fn parse(line: &str) -> Result<Line, String> {
    let mut quoted = false;
    let colon = line.find(|c: char| {
        quoted ^= c == '"';
        c == ':' && !quoted
    });
    let Some((head, value)) = colon.and_then(|at| Some((line.get(..at)?, line.get(at + 1..)?)))
    else {
        let shown: String = line.chars().take(60).collect();
        return Err(format!("{shown:?} is no line of a calendar"));
    };
    let mut parts = head.split(';');
    let name = parts.next().unwrap_or_default().to_ascii_uppercase();
    let pairs = parts.filter_map(|it| it.split_once('='));
    let parameters =
        pairs.map(|(name, it)| (name.to_ascii_uppercase(), it.trim_matches('"').to_owned()));
    Ok(Line { name, parameters: parameters.collect(), value: value.trim().to_owned() })
}

fn find<'a>(event: &'a [Line], name: &str) -> Option<&'a Line> {
    event.iter().find(|line| line.name == name)
}

fn summary(event: &[Line]) -> String {
    let text = find(event, "SUMMARY").map(|line| line.value.as_str()).unwrap_or_default();
    text.replace("\\,", ",").replace("\\;", ";").replace("\\n", " ").replace("\\\\", "\\")
}

fn shown(event: &[Line]) -> String {
    let start = find(event, "DTSTART").map_or("?", |line| line.value.as_str());
    format!("{:?} of {start}", summary(event).chars().take(60).collect::<String>())
}

/// An event with its id and the instance that it stands for, if it is one of a series.
type Read = (String, Option<Timestamp>, Entry);

fn entry(
    event: &[Line],
    own: &str,
    person: &dyn Fn(&str) -> Arc<str>,
) -> Result<Option<Read>, String> {
    if find(event, "STATUS").is_some_and(|line| line.value == "CANCELLED")
        && find(event, "RECURRENCE-ID").is_none()
    {
        return Ok(None);
    }
    for name in ["RDATE", "EXRULE"] {
        if find(event, name).is_some() {
            return Err(format!("{name} is not read; make events of their own of these dates"));
        }
    }
    let start = moment(find(event, "DTSTART").ok_or("it has no DTSTART")?)?;
    let tz: Arc<str> = start.tz.clone().unwrap_or_else(|| own.into());
    let zone = zone(&tz)?;
    let length = match (find(event, "DTEND"), find(event, "DURATION")) {
        (Some(line), _) => {
            let end = moment(line)?;
            in_zone(&end, own, &zone)? - start.minutes
        }
        (None, Some(line)) => duration(&line.value)?,
        (None, None) if start.is_day => DAY,
        (None, None) => return Err("it has neither DTEND nor DURATION".to_owned()),
    };
    if length <= 0 {
        return Err("it ends before it begins".to_owned());
    }
    let summary = summary(event);
    // Calendars that are made for rotations say priorities so.
    let names = match summary.trim().strip_prefix("[L").and_then(|it| it.split_once(']')) {
        Some((_, names)) => names,
        None => summary.as_str(),
    };
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    let people: Vec<Arc<str>> = names.map(person).collect();
    let mut entry = Entry { begin: start.minutes, length, tz, people, ..Entry::default() };
    if entry.people.is_empty() {
        return Err("its SUMMARY names nobody".to_owned());
    }
    if let Some(line) = find(event, "RRULE") {
        rule(&line.value, &mut entry, &zone)?;
    }
    for line in event.iter().filter(|line| line.name == "EXDATE") {
        for value in line.value.split(',') {
            let line = Line {
                name: line.name.clone(),
                parameters: line.parameters.clone(),
                value: value.to_owned(),
            };
            entry.except.push(in_zone(&moment(&line)?, own, &zone)?);
        }
    }
    if entry.except.len() > EXCEPT_MAX {
        return Err(format!("it has more than {EXCEPT_MAX} EXDATE"));
    }
    let instance = match find(event, "RECURRENCE-ID") {
        Some(line) if line.parameters.contains_key("RANGE") => {
            return Err("RECURRENCE-ID with RANGE is not read".to_owned());
        }
        Some(line) => Some(instant(&moment(line)?, own)?),
        None => None,
    };
    if instance.is_some() && find(event, "STATUS").is_some_and(|it| it.value == "CANCELLED") {
        entry.except.push(entry.begin);
    }
    let uid = find(event, "UID").map(|line| line.value.clone()).unwrap_or_default();
    Ok(Some((uid, instance, entry)))
}

fn zone(tz: &str) -> Result<Zone, String> {
    let tz = if tz.is_empty() { "UTC" } else { tz };
    Zone::named(tz).map_err(|_| {
        format!("there is no time zone {tz:?}; export the calendar with names such as Europe/Oslo")
    })
}

/// `20261102T090000`, with `Z` or a `TZID`, or a day.
fn moment(line: &Line) -> Result<Moment, String> {
    let value = line.value.trim();
    let wrong = || format!("{} {value:?} is no time", line.name);
    let (text, is_utc) = value.strip_suffix('Z').map_or((value, false), |it| (it, true));
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    let digits = |text: &str, from: usize, to: usize| {
        let part = text.get(from..to).filter(|it| it.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse::<i16>().ok()
    };
    let read = || {
        let (year, month, day) = (digits(date, 0, 4)?, digits(date, 4, 6)?, digits(date, 6, 8)?);
        let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
        let time = match time {
            None => Time::midnight(),
            Some(time) => {
                let (hour, minute) = (digits(time, 0, 2)?, digits(time, 2, 4)?);
                Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()?
            }
        };
        Some(DateTime::from_parts(date, time))
    };
    let local = read().filter(|_| date.len() == 8).ok_or_else(wrong)?;
    let named = line.parameters.get("TZID").map(|it| it.trim_start_matches('/').into());
    let tz = if is_utc { Some("".into()) } else { named };
    Ok(Moment { minutes: minutes_of(local), tz, is_day: time.is_none() })
}

/// The instant of a moment; `own` is the zone of those that have none.
fn instant(moment: &Moment, own: &str) -> Result<Timestamp, String> {
    let zone = zone(moment.tz.as_deref().unwrap_or(own))?;
    let instant = local_of(moment.minutes).and_then(|local| zone.instant(local));
    instant.ok_or_else(|| "a time of it is out of range".to_owned())
}

/// Minutes of a zone's clock at a moment.
fn in_zone(moment: &Moment, own: &str, to: &Zone) -> Result<i64, String> {
    Ok(minutes_of(to.local(instant(moment, own)?)))
}

/// `P1D`, `PT8H30M`, `P1W`.
fn duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("DURATION {text:?} is no length of time");
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(wrong());
    }
    let days = i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
    Ok(days * DAY + i64::from(span.get_hours()) * 60 + span.get_minutes())
}

/// Reads `FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE` into an entry.
fn rule(text: &str, entry: &mut Entry, zone: &Zone) -> Result<(), String> {
    let mut rule =
        Rule { unit: Unit::Day, every: 1, days: Vec::new(), dates: Vec::new(), until: None };
    let (mut has_unit, mut count, mut from_sunday) = (false, None, false);
    for part in text.split(';').filter(|it| !it.is_empty()) {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("RRULE has {part:?}"))?;
        let wrong = || format!("RRULE has {part}, which cannot be expanded");
        match name.to_ascii_uppercase().as_str() {
            "FREQ" => {
                has_unit = true;
                rule.unit = match value.to_ascii_uppercase().as_str() {
                    "DAILY" => Unit::Day,
                    "WEEKLY" => Unit::Week,
                    "MONTHLY" => Unit::Month,
                    _ => return Err(wrong() + "; FREQ may be DAILY, WEEKLY or MONTHLY"),
                };
            }
            "INTERVAL" => {
                let every = value.parse().ok().filter(|it| (1..=1000).contains(it));
                rule.every = every.ok_or_else(wrong)?;
            }
            "COUNT" => {
                count = Some(value.parse::<u32>().ok().filter(|it| *it > 0).ok_or_else(wrong)?);
            }
            "UNTIL" => {
                let line = Line {
                    name: "UNTIL".to_owned(),
                    parameters: BTreeMap::new(),
                    value: value.to_owned(),
                };
                let until = moment(&line)?;
                // A day includes all of it.
                let end = if until.is_day { DAY - 1 } else { 0 };
                rule.until = Some(match until.tz {
                    Some(_) => in_zone(&until, "", zone)?,
                    None => until.minutes + end,
                });
            }
            "BYDAY" => {
                for day in value.split(',') {
                    rule.days.push(by_day(day).ok_or_else(wrong)?);
                }
            }
            "BYMONTHDAY" => {
                for date in value.split(',') {
                    let date = date.parse::<i8>().ok();
                    let date = date.filter(|it| *it != 0 && (-31..=31).contains(it));
                    rule.dates.push(date.ok_or_else(wrong)?);
                }
            }
            "WKST" => from_sunday = !value.eq_ignore_ascii_case("MO"),
            _ => return Err(wrong()),
        }
    }
    if !has_unit {
        return Err("RRULE has no FREQ".to_owned());
    }
    let counts_days = rule.days.iter().any(|it| it.0 != 0);
    if rule.unit != Unit::Month && (counts_days || !rule.dates.is_empty()) {
        return Err(format!("RRULE {text} cannot be expanded: BYMONTHDAY and 1MO are for MONTHLY"));
    }
    if !rule.dates.is_empty() && !rule.days.is_empty() {
        return Err(format!("RRULE {text} cannot be expanded: BYDAY and BYMONTHDAY together"));
    }
    if from_sunday && rule.unit == Unit::Week && rule.every > 1 && rule.days.len() > 1 {
        return Err(format!("RRULE {text} cannot be expanded: its weeks must begin on Monday"));
    }
    if entry.length > WEEK * 60 {
        return Err("it comes again and lasts longer than 60 weeks".to_owned());
    }
    entry.rule = Some(rule);
    match count {
        Some(count) => entry.end_after(count).map_err(|why| format!("RRULE {text}: {why}")),
        None => Ok(()),
    }
}

/// `MO`, `1MO`, `-1FR`.
fn by_day(text: &str) -> Option<(i8, i8)> {
    let at = text.len().checked_sub(2)?;
    let day = DAYS
        .iter()
        .position(|it| text.get(at..).is_some_and(|text| text.eq_ignore_ascii_case(it)))?;
    let ordinal = match text.get(..at)? {
        "" => 0,
        text => text
            .trim_start_matches('+')
            .parse::<i8>()
            .ok()
            .filter(|it| (-5..=5).contains(it) && *it != 0)?,
    };
    Some((ordinal, i8::try_from(day).ok()?))
}
