//! `nightbell oncall report`: who was called how often in a month, by day and by night, and how long it
//! took until somebody acknowledged.
//!
//! A pure function of the histories of incidents: each keeps whom its steps called.

use std::collections::BTreeMap;

use clap::Args;
use jiff::civil::Date;
use kernel::alert::definition::Active;
use kernel::alert::definition::roster::ON_CALL;
use kernel::cron::Zone;
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::moment::{Moment, span};
use crate::cli::output::{Output, clean};
use crate::cli::schedule::test::zone;
use crate::cli::table::Table;

/// Incidents that the server is asked for at once.
const PAGE: usize = 500;
/// Milliseconds before the month from which incidents are looked at: one that opened then may call
/// somebody in the month.
const BEFORE: i64 = 31 * 86_400_000;

/// Which month, and what its nights are.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The month, such as 2026-11
    #[arg(long)]
    month: String,
    /// Only calls by this rotation
    #[arg(long)]
    rotation: Option<String>,
    /// What counts as night, by the clock of --tz
    #[arg(long, value_name = "HOURS", default_value = "22:00-07:00")]
    night: String,
    /// Time zone of the month and of the night
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
}

/// What a report counts.
struct Counted<'a> {
    from: i64,
    to: i64,
    rotation: Option<&'a str>,
    night: Active,
    zone: Zone,
}

/// What one person had to do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Burden {
    day: usize,
    night: usize,
    /// Milliseconds from each call to the acknowledgement that followed, if one did.
    answered: Vec<i64>,
}

/// Runs the command.
///
/// # Errors
/// The server's, or an option cannot be read.
pub(super) async fn run(
    arguments: &Report,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let counted = arguments.counted()?;
    let mut incidents = Vec::new();
    loop {
        let call = client.get(&["incidents"]).query("state", "all").query("history", true);
        let call = call.query("after", counted.from - BEFORE).query("before", counted.to);
        let call = call.query("start", incidents.len()).query("size", PAGE);
        let mut page = call.send().await?.value()?;
        let Value::Array(more) = page["results"].take() else { break };
        if more.is_empty() {
            break;
        }
        incidents.extend(more);
        if page["totalHits"].as_u64().is_none_or(|total| incidents.len() as u64 >= total) {
            break;
        }
    }
    let people = burdens(&incidents, &counted);
    if output.is_json() {
        let shown = people.iter().map(|(person, burden)| {
            let (median, longest) = times(&burden.answered);
            json!({
                "person": person, "calls": burden.day + burden.night, "day": burden.day,
                "night": burden.night, "acknowledged": burden.answered.len(),
                "medianMs": median, "longestMs": longest,
            })
        });
        return output.json(&shown.collect::<Vec<_>>());
    }
    let titles = ["PERSON", "CALLS", "DAY", "NIGHT", "ACKNOWLEDGED", "MEDIAN ACK", "LONGEST ACK"];
    let mut table = Table::new(&titles);
    for (person, burden) in &people {
        let (median, longest) = times(&burden.answered);
        let shown = |time: Option<i64>| time.map_or_else(|| "-".to_owned(), span);
        table.row([
            clean(person).into(),
            (burden.day + burden.night).to_string().into(),
            burden.day.to_string().into(),
            burden.night.to_string().into(),
            burden.answered.len().to_string().into(),
            shown(median).into(),
            shown(longest).into(),
        ]);
    }
    output.table(&table)?;
    if people.is_empty() {
        output.note(format_args!("nobody was called in {}", arguments.month));
    }
    Ok(())
}

impl Report {
    fn counted(&self) -> Result<Counted<'_>, Failure> {
        let zone = zone(&self.tz)?;
        let first = format!("{}-01", self.month).parse::<Date>().ok();
        let next = first.and_then(|first| first.checked_add(jiff::Span::new().months(1)).ok());
        let begins =
            |day: Option<Date>| zone.instant(day?.to_datetime(jiff::civil::Time::midnight()));
        let (Some(from), Some(to)) = (begins(first), begins(next)) else {
            return Err(Failure::usage(format!(
                "--month is not a month: `{}`",
                clean(&self.month)
            ))
            .with_hint("write 2026-11"));
        };
        let night = Active::parse(&self.night).ok_or_else(|| {
            let message = format!("--night is no time of the day: `{}`", clean(&self.night));
            Failure::usage(message).with_hint("write 22:00-07:00")
        })?;
        let rotation = self.rotation.as_deref();
        Ok(Counted { from: from.millis(), to: to.millis(), rotation, night, zone })
    }
}

/// Whom the histories of incidents say to have been called in that time, by name.
fn burdens(incidents: &[Value], counted: &Counted<'_>) -> BTreeMap<String, Burden> {
    let mut people: BTreeMap<String, Burden> = BTreeMap::new();
    let at = |entry: &Value| Moment::of(&entry["at"]).0.map(jiff::Timestamp::as_millisecond);
    for incident in incidents {
        let history = incident["history"].as_array().map_or(&[][..], Vec::as_slice);
        for (place, entry) in history.iter().enumerate() {
            let called = entry["what"].as_str().and_then(|what| called(what, counted.rotation));
            let (Some(names), Some(called_at)) = (called, at(entry)) else { continue };
            if !(counted.from..counted.to).contains(&called_at) {
                continue;
            }
            // Up to the next time that it rings: a later acknowledgement answers a later call.
            let after = history.iter().skip(place + 1).take_while(|it| it["what"] != "open");
            let answered = after.filter(|it| it["what"] == "acknowledged").find_map(at);
            let local = counted.zone.local(kernel::Timestamp::from_millis(called_at));
            let is_night = counted.night.contains(local);
            for name in names.split(", ") {
                let burden = people.entry(name.to_owned()).or_default();
                *(if is_night { &mut burden.night } else { &mut burden.day }) += 1;
                burden.answered.extend(answered.map(|at| (at - called_at).max(0)));
            }
        }
    }
    people
}

/// The names in `oncall:primary called ann, bo`, if somebody was called by the rotation.
fn called<'a>(what: &'a str, rotation: Option<&str>) -> Option<&'a str> {
    let (target, names) = what.strip_prefix(ON_CALL)?.split_once(" called ")?;
    let (name, _) = target.split_once('+').unwrap_or((target, ""));
    let fits = rotation.is_none_or(|rotation| rotation == name);
    (fits && names != "nobody").then_some(names)
}

/// The median and the longest.
fn times(answered: &[i64]) -> (Option<i64>, Option<i64>) {
    let mut sorted = answered.to_vec();
    sorted.sort_unstable();
    (sorted.get(sorted.len() / 2).copied(), sorted.last().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().expect("a time").as_millisecond()
    }

    #[test]
    fn calls_of_the_month_are_counted_by_person_day_and_night() {
        let entry = |at: &str, what: &str| json!({ "at": millis(at), "what": what });
        let first = json!({ "history": [
            entry("2026-10-31T22:30:00Z", "oncall:primary called eve"),
            entry("2026-10-31T23:00:00Z", "oncall:primary called ann"),
            entry("2026-10-31T23:03:00Z", "oncall: ann is told by ann-call, too"),
            entry("2026-10-31T23:10:00Z", "oncall:primary+1 called bo, kim"),
            entry("2026-10-31T23:15:00Z", "acknowledged"),
            entry("2026-11-01T10:00:00Z", "open"),
            entry("2026-11-01T10:00:00Z", "oncall:primary called ann"),
        ] });
        let second = json!({ "history": [
            entry("2026-11-02T10:00:00Z", "oncall:night called nobody"),
            entry("2026-11-02T10:00:00Z", "oncall:backup called ann"),
            entry("2026-11-02T10:01:00Z", "open"),
            entry("2026-11-02T10:02:00Z", "acknowledged"),
            entry("2026-11-30T23:00:00Z", "oncall:primary called ann"),
        ] });
        let report = |rotation: Option<&str>| Report {
            month: "2026-11".to_owned(),
            rotation: rotation.map(str::to_owned),
            night: "22:00-07:00".to_owned(),
            tz: "Europe/Oslo".to_owned(),
        };
        let incidents = [first, second];
        let primary = report(Some("primary"));
        let people = burdens(&incidents, &primary.counted().expect("it can be read"));
        let minutes = |all: &[i64]| all.iter().map(|it| it * 60_000).collect();
        let expected = BTreeMap::from([
            ("ann".to_owned(), Burden { day: 1, night: 1, answered: minutes(&[15]) }),
            ("bo".to_owned(), Burden { day: 0, night: 1, answered: minutes(&[5]) }),
            ("kim".to_owned(), Burden { day: 0, night: 1, answered: minutes(&[5]) }),
        ]);
        assert_eq!(people, expected);
        let all = report(None);
        let people = burdens(&incidents, &all.counted().expect("it can be read"));
        assert_eq!(people["ann"].day, 2, "another rotation counts, too");
        let wrong = Report { month: "2026-13".to_owned(), ..report(None) };
        assert!(wrong.counted().is_err());
    }
}
