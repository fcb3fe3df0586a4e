//! From a calendar: a rotation that has its text.

use std::sync::Arc;

use clap::Args;
use jiff::{Timestamp, ToSpan};
use kernel::alert::definition::roster::read_calendar;
use serde_json::{Map, Value};

use super::page::{Entry, Page};
use super::{To, save, web};
use crate::cli::failure::Failure;
use crate::cli::input;
use crate::cli::output::Output;

/// Days after which an event that is over is left out.
const OVER_DAYS: i64 = 7;

/// A calendar, and the rotation that is made of it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The calendar (iCalendar): a file, an address, or - for standard input
    #[arg(value_name = "FILE|URL")]
    calendar: String,
    /// The name of the rotation
    #[arg(long, value_name = "NAME")]
    rotation: String,
    /// The time zone of times without one, and of the rotation
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// The person that a name in the calendar stands for: "Ann Olsen=ann"
    #[arg(long = "name", value_name = "NAME=PERSON")]
    names: Vec<String>,
    /// Who is on call when the calendar has no event
    #[arg(long = "else", value_name = "PERSON")]
    otherwise: Option<String>,
    #[command(flatten)]
    to: To,
}

/// Runs the command. A file that is there stays as it is unless the calendar can be read whole.
pub(super) async fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<()> {
    let origin = &arguments.calendar;
    let text = if origin.starts_with("http://") || origin.starts_with("https://") {
        let answer = web::Client::new(&[])?.get(origin).await?;
        if !answer.status.is_success() {
            return Err(Failure::error(format!("{origin} answers {}", answer.status)).into());
        }
        answer.body
    } else {
        input::read(origin)?
    };
    let page = page(arguments, &text, Timestamp::now())?;
    if arguments.to.out == super::STDOUT {
        return super::write(&page.text(), &arguments.to, output);
    }
    save(&arguments.to.out, &page.text(), arguments.to.force)?;
    output.note(format_args!("wrote {}", arguments.to.out));
    Ok(())
}

fn page(arguments: &Arguments, text: &str, now: Timestamp) -> Result<Page, Failure> {
    let mut names = Map::new();
    for pair in &arguments.names {
        let (name, person) = pair
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("{pair:?} is not NAME=PERSON")))?;
        names.insert(name.to_owned(), person.into());
    }
    let person =
        |name: &str| -> Arc<str> { names.get(name).and_then(Value::as_str).unwrap_or(name).into() };
    let current = current(text, now);
    let entries = read_calendar(&current, &arguments.tz, &person).map_err(|problems| {
        Failure::error(format!("{} cannot be read", arguments.calendar)).with_details(problems)
    })?;
    if entries.is_empty() {
        return Err(Failure::error(format!("{} has no event to come", arguments.calendar)));
    }
    let mut entry = Entry::new(arguments.rotation.clone());
    entry.set("tz", arguments.tz.clone());
    if !names.is_empty() {
        entry.set("names", names);
    }
    if let Some(person) = &arguments.otherwise {
        entry.set("else", person.clone());
    }
    entry.set("ics", current);
    let mut page = Page::default();
    page.words.push("Made of a calendar by `nightbell import calendar`.".to_owned());
    page.rotations.push(entry);
    Ok(page)
}

/// The calendar without events that are over and do not come again, as these only grow.
fn current(text: &str, now: Timestamp) -> String {
    let since = now.checked_sub((OVER_DAYS * 24).hours()).unwrap_or(now);
    let since = since.strftime("%Y%m%d").to_string();
    let (mut kept, mut event): (String, Option<Vec<&str>>) = (String::new(), None);
    for line in text.lines() {
        if line.eq_ignore_ascii_case("BEGIN:VEVENT") {
            event = Some(Vec::new());
        }
        let Some(lines) = &mut event else {
            kept.push_str(line);
            kept.push('\n');
            continue;
        };
        lines.push(line);
        if line.eq_ignore_ascii_case("END:VEVENT") {
            let has = |name: &str| lines.iter().find(|line| line.starts_with(name));
            // Both begin alike; an event with a length of its own may be long.
            let end = has("DTEND").and_then(|line| line.rsplit_once(':')).map(|it| it.1);
            let is_over = has("RRULE").is_none()
                && has("RECURRENCE-ID").is_none()
                && end.and_then(|end| end.get(..8)).is_some_and(|end| end < since.as_str());
            if !is_over {
                for line in lines.iter() {
                    kept.extend([*line, "\n"]);
                }
            }
            event = None;
        }
    }
    // One that does not end is an error that is told of the whole.
    for line in event.into_iter().flatten() {
        kept.extend([line, "\n"]);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::current;

    #[test]
    fn events_that_are_over_are_left_out() {
        let event = |lines: &str| format!("BEGIN:VEVENT\n{lines}\nEND:VEVENT\n");
        let text = |events: &[&str]| {
            let events: String = events.iter().map(|it| event(it)).collect();
            format!("BEGIN:VCALENDAR\n{events}END:VCALENDAR\n")
        };
        let (past, coming) = ("DTEND:20261101T090000Z", "DTEND;TZID=Europe/Oslo:20261120T090000");
        let again = "DTEND:20261101T090000Z\nRRULE:FREQ=DAILY";
        let now = "2026-11-20T00:00:00Z".parse().expect("an instant");
        assert_eq!(current(&text(&[past, coming, again]), now), text(&[coming, again]));
        assert_eq!(current("BEGIN:VEVENT\nx", now), "BEGIN:VEVENT\nx\n");
    }
}
