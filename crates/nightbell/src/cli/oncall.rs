//! `nightbell oncall`: who is on call, whose turn comes when, and when nobody is.
//!
//! With `-f` the files are read and the answer is computed here, by the function that routes ask;
//! without it the server computes it by the same.

mod overrides;
mod report;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use kernel::alert::definition::{ChecklistOptions, Roster, nearest_hint};
use kernel::cron::Zone;
use serde_json::{Value, json};
use server::ics::{Event, Ics};

use super::client::Client;
use super::failure::{Exit, Failure};
use super::offline;
use super::output::{Format, Output, clean};
use super::schedule::test::{instant, zone};
use super::table::Table;
use crate::load;

const DAY: i64 = 86_400_000;
/// Days that a calendar shows unless it is asked for others.
const CALENDAR_DAYS: i64 = 28;

/// What to ask about rotations.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show who is on call, until when, who is next, and which layer decides
    #[command(after_help = "\
Examples:
  nightbell oncall who                                  of all rotations, now
  nightbell oncall who primary --at 2026-12-24T03:00    by the clock of UTC, or of --tz
  nightbell oncall who -f definitions/                  of files, without a server

Exits with 5 if nobody is on call in the given rotation.")]
    Who(Who),
    /// List the shifts of a rotation; -o ics for calendar programs
    #[command(after_help = "\
Examples:
  nightbell oncall calendar primary                           the next four weeks
  nightbell oncall calendar primary --tz Europe/Oslo -o ics > primary.ics
  nightbell oncall calendar primary -f definitions/ --to 2027-03-01")]
    Calendar(Calendar),
    /// List the gaps in which nobody is on call; exits with 1 if there are any
    #[command(after_help = "\
Examples:
  nightbell oncall gaps --days 180
  nightbell oncall gaps primary -f definitions/

A rotation whose `else` is an empty list has none: nobody is meant to be on call then. `nightbell check`
finds the gaps of the next 180 days, too.")]
    Gaps(Gaps),
    /// Let people stand in for whoever has the turn
    #[command(subcommand)]
    Override(overrides::Verb),
    /// Show who was called how often in a month, by day and by night, and how soon the calls were
    /// acknowledged
    #[command(after_help = "\
Examples:
  nightbell oncall report --month 2026-11 --tz Europe/Oslo
  nightbell oncall report --month 2026-11 --rotation primary --night 23:00-08:00 -o json

A call is a step of a route that reached a person by a rotation; the later rungs of a contact ladder are
no further calls. Times run from the call to the next acknowledgement, whoever gave it.")]
    Report(report::Report),
}

/// Where the rotations come from.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Files and folders, in the place of the server's rotations
    #[arg(short, long)]
    file: Vec<PathBuf>,
}

/// Whom to ask about.
#[derive(Debug, Args)]
pub(crate) struct Who {
    /// The rotation [default: all]
    name: Option<String>,
    /// When: 2026-12-24, 2026-12-24T03:00, or with an offset [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Time zone of times without an offset, and of the output
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    #[command(flatten)]
    source: Source,
}

/// What to show.
#[derive(Debug, Args)]
pub(crate) struct Calendar {
    /// The rotation
    name: String,
    /// From here on: 2026-12-24, 2026-12-24T03:00, or with an offset [default: now]
    #[arg(long)]
    from: Option<String>,
    /// Up to this [default: four weeks later]
    #[arg(long)]
    to: Option<String>,
    /// Time zone of the output
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    #[command(flatten)]
    source: Source,
}

/// Where to look.
#[derive(Debug, Args)]
pub(crate) struct Gaps {
    /// The rotation [default: all]
    name: Option<String>,
    /// How many days ahead
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(i64).range(1..=732))]
    days: i64,
    /// Time zone of the output
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    #[command(flatten)]
    source: Source,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Who(arguments) => who(&arguments, client, output).await,
        Verb::Calendar(arguments) => calendar(&arguments, client, output).await,
        Verb::Gaps(arguments) => gaps(&arguments, client, output).await,
        Verb::Override(verb) => overrides::run(verb, client, output).await,
        Verb::Report(arguments) => report::run(&arguments, client, output).await,
    }
}

/// The roster of files.
async fn of_files(files: &[PathBuf]) -> anyhow::Result<Roster> {
    let engine = offline::engine().await?;
    let found = load::definitions(&engine, files, &ChecklistOptions::default());
    engine.close().await?;
    let failed = |told| Failure::error("the files have mistakes").with_details(told);
    Ok(found.map_err(failed)?.monitors.roster)
}

/// A rotation that there is not.
fn unknown<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Failure {
    let near = nearest_hint(name, known);
    Failure::new(Exit::NotFound, format!("there is no rotation {name:?}{near}"))
        .with_hint("`nightbell oncall who` lists them")
}

/// Who is on call in each rotation, as the server tells it.
async fn present(
    source: &Source,
    at: kernel::Timestamp,
    client: &Client,
) -> anyhow::Result<Vec<Value>> {
    if source.file.is_empty() {
        let answer = client.get(&["oncall"]).query("at", at).send().await?.value()?;
        return Ok(answer["results"].as_array().cloned().unwrap_or_default());
    }
    let roster = of_files(&source.file).await?;
    let shown = roster.rotations.iter().filter_map(|(name, rotation)| {
        let shift = roster.on_call(name, at)?;
        let next = shift.until.and_then(|until| roster.on_call(name, until));
        let mut shown = json!(shift);
        shown["rotation"] = json!(name);
        shown["tz"] = json!(rotation.tz);
        shown["next"] = json!(next);
        Some(shown)
    });
    Ok(shown.collect())
}

async fn who(arguments: &Who, client: &Client, output: &Output) -> anyhow::Result<()> {
    let place = zone(&arguments.tz)?;
    let at = match &arguments.at {
        Some(text) => instant("--at", text, &place)?,
        None => Timestamp::now().into(),
    };
    let mut all = present(&arguments.source, at, client).await?;
    if let Some(name) = &arguments.name {
        let names: Vec<String> =
            all.iter().filter_map(|it| Some(it["rotation"].as_str()?.into())).collect();
        all.retain(|it| it["rotation"] == name.as_str());
        if all.is_empty() {
            return Err(unknown(name, names.iter().map(String::as_str)).into());
        }
    }
    if output.is_json() {
        output.json(&all)?;
    } else {
        let mut table = Table::new(&["ROTATION", "ON CALL", "UNTIL", "NEXT", "~WHY"]);
        for shift in &all {
            table.row([
                clean(shift["rotation"].as_str().unwrap_or_default()).into(),
                people(&shift["people"]).into(),
                moment(&shift["until"], &place).into(),
                people(&shift["next"]["people"]).into(),
                clean(shift["why"].as_str().unwrap_or_default()).into(),
            ]);
        }
        output.table(&table)?;
        if all.is_empty() {
            output.note("there are no rotations; docs/on-call.md says how to write one");
        }
    }
    let is_nobody = |shift: &Value| shift["people"].as_array().is_none_or(Vec::is_empty);
    match &arguments.name {
        Some(name) if all.iter().any(is_nobody) => {
            let message = format!("nobody is on call in {}", clean(name));
            Err(Failure::new(Exit::WorkflowFailed, message).into())
        }
        _ => Ok(()),
    }
}

/// Names in a row, or that there is nobody.
fn people(value: &Value) -> String {
    let Some(names) = value.as_array() else { return "-".to_owned() };
    let names: Vec<String> = names.iter().filter_map(Value::as_str).map(clean).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// A time by the clock of a zone.
fn moment(value: &Value, zone: &Zone) -> String {
    let at = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    at.map_or_else(|| "-".to_owned(), |at| local(at.into(), zone))
}

fn local(at: kernel::Timestamp, zone: &Zone) -> String {
    format!("{}{}", zone.local(at), zone.offset_text(at))
}

/// `shifts` and `gaps` of a rotation, as the server tells them.
async fn shifts(
    name: &str,
    [from, to]: [kernel::Timestamp; 2],
    client: &Client,
) -> anyhow::Result<Value> {
    let call = client.get(&["oncall", name, "shifts"]).query("from", from).query("to", to);
    Ok(call.send().await?.value()?)
}

/// The shifts of a rotation of files, as the server tells them.
fn shifts_here(roster: &Roster, name: &str, [from, to]: [kernel::Timestamp; 2]) -> Value {
    let gaps: Vec<Value> = roster
        .gaps(name, from, to)
        .into_iter()
        .map(|gap| json!({ "from": gap.from.to_string(), "to": gap.to.to_string() }))
        .collect();
    json!({ "rotation": name, "shifts": roster.shifts(name, from, to), "gaps": gaps })
}

async fn calendar(arguments: &Calendar, client: &Client, output: &Output) -> anyhow::Result<()> {
    let place = zone(&arguments.tz)?;
    let from = match &arguments.from {
        Some(text) => instant("--from", text, &place)?,
        None => Timestamp::now().into(),
    };
    let to = match &arguments.to {
        Some(text) => instant("--to", text, &place)?,
        None => from.plus_millis(CALENDAR_DAYS * DAY),
    };
    if to <= from {
        return Err(Failure::usage("--to is not after --from").into());
    }
    let name = &arguments.name;
    let found = if arguments.source.file.is_empty() {
        shifts(name, [from, to], client).await?
    } else {
        let roster = of_files(&arguments.source.file).await?;
        if !roster.rotations.contains_key(&**name) {
            return Err(unknown(name, roster.rotations.keys().map(|it| &**it)).into());
        }
        shifts_here(&roster, name, [from, to])
    };
    let listed = found["shifts"].as_array().map_or(&[][..], Vec::as_slice);
    match output.format {
        Format::Ics => output.line(ics(name, listed).trim_end()),
        Format::Table => {
            let mut table = Table::new(&["FROM", "UNTIL", "ON CALL", "~WHY"]);
            for shift in listed {
                table.row([
                    moment(&shift["since"], &place).into(),
                    moment(&shift["until"], &place).into(),
                    people(&shift["people"]).into(),
                    clean(shift["why"].as_str().unwrap_or_default()).into(),
                ]);
            }
            output.table(&table)
        }
        _ => output.json(&found),
    }
}

/// Shifts as a calendar; times of nobody are shown as such.
fn ics(name: &str, shifts: &[Value]) -> String {
    let mut calendar = Ics::new("oncall calendar");
    let at = |value: &Value| -> Option<kernel::Timestamp> {
        Some(value.as_str()?.parse::<Timestamp>().ok()?.into())
    };
    for shift in shifts {
        // An import replaces an earlier one: a shift that lasts is named by when it began.
        let Some(from) = at(&shift["begins"]).or_else(|| at(&shift["since"])) else { continue };
        calendar.event(&Event {
            uid: format!("oncall-{name}-{}", from.millis()),
            from,
            to: at(&shift["until"]),
            summary: format!("{name}: {}", people(&shift["people"])),
            description: shift["why"].as_str().unwrap_or_default().to_owned(),
        });
    }
    calendar.finish()
}

async fn gaps(arguments: &Gaps, client: &Client, output: &Output) -> anyhow::Result<()> {
    let place = zone(&arguments.tz)?;
    let from: kernel::Timestamp = Timestamp::now().into();
    let span = [from, from.plus_millis(arguments.days * DAY)];
    let roster = match &arguments.source.file[..] {
        [] => None,
        files => Some(of_files(files).await?),
    };
    let mut names: Vec<String> = if let Some(roster) = &roster {
        roster.rotations.keys().map(ToString::to_string).collect()
    } else {
        let all = present(&arguments.source, from, client).await?;
        all.iter().filter_map(|it| Some(it["rotation"].as_str()?.to_owned())).collect()
    };
    if let Some(name) = &arguments.name {
        if !names.contains(name) {
            return Err(unknown(name, names.iter().map(String::as_str)).into());
        }
        names.retain(|it| it == name);
    }
    let mut found = Vec::new();
    for name in &names {
        let told = match &roster {
            Some(roster) => shifts_here(roster, name, span),
            None => shifts(name, span, client).await?,
        };
        for gap in told["gaps"].as_array().into_iter().flatten() {
            found.push(json!({ "rotation": name, "from": gap["from"], "to": gap["to"] }));
        }
    }
    if output.is_json() {
        output.json(&found)?;
    } else if !found.is_empty() {
        let mut table = Table::new(&["ROTATION", "FROM", "UNTIL"]);
        for gap in &found {
            table.row([
                clean(gap["rotation"].as_str().unwrap_or_default()).into(),
                moment(&gap["from"], &place).into(),
                moment(&gap["to"], &place).into(),
            ]);
        }
        output.table(&table)?;
    }
    match found.len() {
        0 => {
            output.note(format_args!("somebody is on call in the next {} days", arguments.days));
            Ok(())
        }
        count => {
            let message =
                format!("nobody is on call {count} times in the next {} days", arguments.days);
            let hint = "give the rotation `else: NAME`, or `else: []` if nobody is meant to be";
            Err(Failure::error(message).with_hint(hint).into())
        }
    }
}
