//! Schedules of Grafana `OnCall` as rotations: a layer for each shift that comes again, an override for
//! each that does not.
//!
//! There several people can be on call at once, of one shift or of several of the same level. A layer
//! has one person at a time, so such a schedule becomes several rotations, *lanes*, that are called
//! together.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value, json};

use super::super::page::{Entry, Page};
use super::super::{span, text};
use super::{People, own_name};

const DAY: i64 = 24 * 60;
const WEEK: i64 = 7 * DAY;
const DAYS: [(&str, &str); 7] = [
    ("MO", "Mon"),
    ("TU", "Tue"),
    ("WE", "Wed"),
    ("TH", "Thu"),
    ("FR", "Fri"),
    ("SA", "Sat"),
    ("SU", "Sun"),
];

/// When a shift is, as a layer says it.
struct When {
    /// Its hours; none = always.
    active: Vec<String>,
    /// The same as minutes from a week's beginning to tell whether two shifts overlap.
    minutes: Vec<(i64, i64)>,
    /// Seconds of a turn.
    every: i64,
    handover: String,
    from: DateTime,
}

/// A layer with what tells where it belongs.
struct Seat {
    level: i64,
    minutes: Vec<(i64, i64)>,
    layer: Value,
}

/// Makes rotations of a schedule; their names, none if nothing of it has an equivalent.
pub(super) fn rotations(
    schedule: &Value,
    shifts: &[Value],
    people: &mut People,
    now: Timestamp,
    page: &mut Page,
) -> Vec<String> {
    let shown = text(schedule, "name").unwrap_or_else(|| "unnamed".to_owned());
    let mut entry = Entry::default();
    let listed: BTreeSet<&str> =
        schedule["shifts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let own: Vec<&Value> = shifts
        .iter()
        .filter(|it| {
            it["id"].as_str().is_some_and(|id| listed.contains(id))
                || (it["schedule"].is_string() && it["schedule"] == schedule["id"])
        })
        .collect();
    let tz = zone(schedule, &own);
    let Ok(known) = TimeZone::get(&tz) else {
        page.leave(format!("the schedule {shown}"), format!("there is no time zone {tz}"));
        return Vec::new();
    };
    for calendar in ["ical_url_primary", "ical_url_overrides"] {
        if let Some(url) = text(schedule, calendar) {
            entry.leave(format!("{calendar} {url}: see `nightbell import calendar`"));
        }
    }
    let (mut seats, mut overrides, mut over) = (Vec::new(), Vec::new(), 0);
    for shift in own {
        let name = text(shift, "name").unwrap_or_else(|| "unnamed".to_owned());
        if has_ended(shift, &known, now) {
            over += 1;
            continue;
        }
        let once = matches!(text(shift, "type").as_deref(), Some("single_event" | "override"));
        let made = if once {
            single(shift, &tz, people).map(|it| overrides.push(it))
        } else {
            recurrent(shift, &tz, people).map(|made| seats.extend(made))
        };
        if let Err(why) = made {
            entry.leave(format!("the shift {name}: {why}"));
        } else if text(shift, "until").is_some() {
            entry.leave(format!("that the shift {name} ends at {}", shift["until"]));
        }
    }
    if over > 0 {
        entry.words.push(format!("{over} of its shifts are over."));
    }
    if seats.is_empty() {
        let mut why = vec!["no shift of it that comes again has an equivalent".to_owned()];
        why.append(&mut entry.left_out);
        page.leave(format!("the schedule {shown}"), why.join("; "));
        return Vec::new();
    }
    let lanes = lanes(seats);
    let mut names = Vec::new();
    for (number, layers) in lanes.into_iter().enumerate() {
        let mut entry = if number == 0 { std::mem::take(&mut entry) } else { Entry::default() };
        let wanted = if number == 0 { shown.clone() } else { format!("{shown}-{}", number + 1) };
        entry.name = own_name(&mut people.rotations, &wanted);
        if entry.name != wanted {
            entry.words.push(format!("The schedule {shown}."));
        }
        entry.set("tz", tz.clone());
        entry.set("layers", layers);
        if number > 0 {
            entry.words.push(format!("Who else of {shown} is on call at the same time."));
            entry.set("else", json!([]));
        }
        names.push(entry.name.clone());
        page.rotations.push(entry);
    }
    for keys in overrides {
        for rotation in &names {
            let mut entry = Entry::default();
            entry.set("rotation", rotation.clone());
            entry.keys.extend(keys.clone());
            page.overrides.push(entry);
        }
    }
    names
}

/// The zone of a shift.
fn zone_of(shift: &Value, schedule: &Value) -> String {
    let own = text(shift, "time_zone").or_else(|| text(schedule, "time_zone"));
    own.unwrap_or_else(|| "UTC".to_owned())
}

/// The zone of a rotation: that of all its shifts, or else of the schedule.
fn zone(schedule: &Value, shifts: &[&Value]) -> String {
    let mut zones = shifts.iter().map(|shift| zone_of(shift, schedule));
    match zones.next() {
        Some(first) if zones.all(|it| it == first) => first,
        _ => zone_of(&Value::Null, schedule),
    }
}

fn time(shift: &Value, name: &str) -> Option<DateTime> {
    text(shift, name)?.trim_end_matches('Z').parse().ok()
}

fn has_ended(shift: &Value, zone: &TimeZone, now: Timestamp) -> bool {
    let end = match time(shift, "until") {
        None if shift["frequency"].is_null() => {
            let length = shift["duration"].as_i64().unwrap_or_default();
            time(shift, "start").and_then(|start| start.checked_add(length.seconds()).ok())
        }
        until => until,
    };
    let end = end.and_then(|end| zone.to_zoned(end).ok());
    end.is_some_and(|end| end.timestamp() <= now)
}

/// A shift that is once: an override, but for its rotation.
fn single(shift: &Value, tz: &str, people: &mut People) -> Result<Map<String, Value>, String> {
    let start = time(shift, "start").ok_or("it has no start")?;
    let length = shift["duration"].as_i64().filter(|it| *it > 0).ok_or("it has no duration")?;
    let end = start.checked_add(length.seconds()).map_err(|_| "it never ends")?;
    let groups = groups(shift, people)?;
    let mut keys = Map::new();
    keys.insert("who".to_owned(), json!(groups.first().ok_or("nobody is in it")?));
    for (name, at) in [("from", start), ("to", end)] {
        keys.insert(name.to_owned(), shown(at).into());
    }
    if let Some(own) = text(shift, "time_zone").filter(|own| own != tz) {
        keys.insert("tz".to_owned(), own.into());
    }
    Ok(keys)
}

/// A shift that comes again: as many layers as people are on call in it at once.
fn recurrent(shift: &Value, tz: &str, people: &mut People) -> Result<Vec<Seat>, String> {
    if let Some(own) = text(shift, "time_zone").filter(|own| own != tz) {
        return Err(format!("its times are those of {own}, and a rotation has one zone ({tz})"));
    }
    for limit in ["by_month", "by_monthday"] {
        if shift[limit].as_array().is_some_and(|it| !it.is_empty()) {
            return Err(format!("it goes by {limit}; hours are those of a week"));
        }
    }
    let groups = groups(shift, people)?;
    let when = when(shift)?;
    let takes_turns = groups.iter().any(|it| *it != groups[0]);
    let count = groups.iter().map(Vec::len).max().unwrap_or_default();
    let seat = |number: usize| {
        // Who is called twice is told once.
        let people: Vec<&String> =
            groups.iter().filter_map(|it| it.get(number).or_else(|| it.last())).collect();
        let mut layer = Map::new();
        let people = if takes_turns { people } else { people.into_iter().take(1).collect() };
        layer.insert("people".to_owned(), json!(people));
        layer.insert("from".to_owned(), shown(when.from).into());
        if takes_turns {
            layer.insert("handover".to_owned(), when.handover.clone().into());
            layer.insert("every".to_owned(), span(when.every).into());
        }
        if !when.active.is_empty() {
            layer.insert("active".to_owned(), json!(when.active));
            if takes_turns {
                layer.insert("count".to_owned(), "active".into());
            }
        }
        let level = shift["level"].as_i64().unwrap_or_default();
        Seat { level, minutes: when.minutes.clone(), layer: layer.into() }
    };
    Ok((0..count).map(seat).collect())
}

/// The people of each turn.
fn groups(shift: &Value, people: &mut People) -> Result<Vec<Vec<String>>, String> {
    let rolling = shift["rolling_users"].as_array().filter(|it| !it.is_empty());
    let mut groups: Vec<&Value> = match rolling {
        Some(groups) => groups.iter().collect(),
        None => vec![&shift["users"]],
    };
    let first = shift["start_rotation_from_user_index"].as_u64().unwrap_or_default();
    let count = groups.len().max(1) as u64;
    groups.rotate_left(usize::try_from(first % count).unwrap_or_default());
    let mut named = Vec::new();
    for group in groups {
        let mut names = Vec::new();
        for id in group.as_array().into_iter().flatten() {
            let id = id.as_str().unwrap_or_default();
            names.push(people.of(id).ok_or_else(|| format!("there is no user {id}"))?);
        }
        if names.is_empty() {
            return Err("it has a turn without people".to_owned());
        }
        named.push(names);
    }
    Ok(named)
}

fn when(shift: &Value) -> Result<When, String> {
    let start = time(shift, "start").ok_or("it has no start")?;
    let length = shift["duration"].as_i64().map(|it| it / 60).filter(|it| *it > 0);
    let length = length.ok_or("it is shorter than a minute")?;
    let interval = shift["interval"].as_i64().unwrap_or(1).max(1);
    let of_day = i64::from(start.hour()) * 60 + i64::from(start.minute());
    let day = i64::from(start.date().weekday().to_monday_zero_offset());
    let days: Vec<i64> =
        shift["by_day"].as_array().into_iter().flatten().filter_map(number).collect();
    let clock = format!("{:02}:{:02}", start.hour(), start.minute());
    let frequency = text(shift, "frequency").unwrap_or_default();
    let unit = match frequency.as_str() {
        "hourly" => 60,
        "daily" => DAY,
        "weekly" => WEEK,
        _ => return Err(format!("it comes {frequency}: turns are hours, days or weeks")),
    };
    let every = interval.saturating_mul(unit);
    let always = days.is_empty() && length == every;
    if !always && (interval > 1 || frequency == "hourly") {
        return Err(format!("it comes each {interval} ({frequency}), with time between"));
    }
    let is_weekly = frequency == "weekly";
    let longest = if is_weekly && days.len() < 2 { WEEK } else { DAY };
    if !always && length > longest {
        return Err("it is longer than the time to the next one".to_owned());
    }
    let (mut from, mut handover) = (begin(shift, start, is_weekly), clock.clone());
    let mut on = days;
    if is_weekly {
        let first_of_week = number(&shift["week_start"]).unwrap_or(6);
        if on.is_empty() {
            on.push(day);
        }
        let since = |day: i64| (day - first_of_week).rem_euclid(7);
        let first = on.iter().copied().min_by_key(|it| since(*it)).unwrap_or(day);
        // The first of its days in the week in which it starts.
        let moved = since(first) - since(day);
        from = from.checked_add(moved.days()).map_err(|_| "its start is out of range")?;
        let named = usize::try_from(first).ok().and_then(|it| DAYS.get(it));
        handover = format!("{} {clock}", named.map_or("Mon", |it| it.1));
    }
    let (active, minutes) =
        if always { (Vec::new(), Vec::new()) } else { hours(&on, of_day, length) };
    Ok(When { active, minutes, every: every * 60, handover, from })
}

/// When its first turn begins: it may have been put into force later than it starts.
fn begin(shift: &Value, start: DateTime, is_weekly: bool) -> DateTime {
    let in_force = time(shift, "rotation_start").filter(|it| *it > start && !is_weekly);
    let Some(in_force) = in_force else { return start };
    let same_day = in_force.date().to_datetime(start.time());
    if same_day >= in_force { same_day } else { same_day.saturating_add(1.day()) }
}

fn number(day: &Value) -> Option<i64> {
    let day = day.as_str()?;
    DAYS.iter().position(|it| it.0 == day).and_then(|it| i64::try_from(it).ok())
}

/// Hours as a layer has them, and as minutes of a week: of certain days, or of each.
fn hours(days: &[i64], from: i64, length: i64) -> (Vec<String>, Vec<(i64, i64)>) {
    let name = |day: i64| usize::try_from(day.rem_euclid(7)).map_or("Mon", |it| DAYS[it % 7].1);
    let clock = |minutes: i64| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let each: Vec<i64> = if days.is_empty() { (0..7).collect() } else { days.to_vec() };
    let minutes = each.iter().map(|day| (day * DAY + from, day * DAY + from + length)).collect();
    if length <= DAY {
        let until = (from + length - 1).rem_euclid(DAY) + 1;
        let names: Vec<&str> = days.iter().map(|day| name(*day)).collect();
        let active = format!("{} {}-{}", names.join(","), clock(from), clock(until));
        return (vec![active.trim().to_owned()], minutes);
    }
    // Hours are of a day each.
    let mut active = Vec::new();
    for day in each {
        let (mut at, end) = (day * DAY + from, day * DAY + from + length);
        while at < end {
            let midnight = (at / DAY + 1) * DAY;
            let until = end.min(midnight);
            let shown = if until == midnight { DAY } else { until % DAY };
            active.push(format!("{} {}-{}", name(at / DAY), clock(at % DAY), clock(shown)));
            at = until;
        }
    }
    (active, minutes)
}

/// Puts layers that are in force together into rotations of their own, lower levels first. A higher
/// level stands in for all of the lower ones, so where it has fewer people they stand in each lane.
fn lanes(mut seats: Vec<Seat>) -> Vec<Vec<Value>> {
    seats.sort_by_key(|it| it.level);
    let mut levels: Vec<Vec<Vec<Seat>>> = Vec::new();
    let mut level = None;
    for seat in seats {
        if level != Some(seat.level) {
            level = Some(seat.level);
            levels.push(Vec::new());
        }
        let Some(lanes) = levels.last_mut() else { continue };
        let free = lanes.iter().position(|lane| !lane.iter().any(|it| overlap(it, &seat)));
        match free.and_then(|at| lanes.get_mut(at)) {
            Some(lane) => lane.push(seat),
            None => lanes.push(vec![seat]),
        }
    }
    let count = levels.iter().map(Vec::len).max().unwrap_or_default();
    let lane = |number: usize| {
        let of_level = levels.iter().filter_map(|it| it.get(number).or_else(|| it.first()));
        of_level.flatten().map(|seat| seat.layer.clone()).collect()
    };
    (0..count).map(lane).collect()
}

fn overlap(one: &Seat, other: &Seat) -> bool {
    if one.minutes.is_empty() || other.minutes.is_empty() {
        return true;
    }
    one.minutes.iter().any(|a| {
        let meets = |b: &(i64, i64), by: i64| a.0 < b.1 + by && b.0 + by < a.1;
        other.minutes.iter().any(|b| [-WEEK, 0, WEEK].into_iter().any(|by| meets(b, by)))
    })
}

fn shown(at: DateTime) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}
