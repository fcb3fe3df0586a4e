//! `nightbell schedule calendar` and `collisions`: the firings of all schedules of a stretch of
//! time, computed here by the code that fires.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use kernel::alert::definition::ChecklistOptions;
use kernel::cron::Zone;
use kernel::schedule::{Foreseen, ScheduleSpec, overlaps, schedule_from_value};
use serde_json::{Value, json};
use server::ics::{Event, Ics};

use super::super::client::Client;
use super::super::failure::Failure;
use super::super::offline;
use super::super::output::{Format, Output};
use super::super::table::Table;
use super::test::{instant, zone};
use crate::load;

/// Firings that are computed of one line of a schedule; what fires more often is cut off there.
const FIRINGS_MAX: usize = 50_000;
/// What fires more often than this a day is one line of a calendar, not one for each firing.
const OFTEN_A_DAY: usize = 48;
/// Runs of a workflow from which its usual duration is told.
const RUNS_ASKED: u32 = 50;

/// What to show.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightbell schedule calendar                                  of the server, the next seven days
  nightbell schedule calendar -f definitions/ --to 2027-01-01  of files, without a server
  nightbell schedule calendar --tz Europe/Oslo -o ics > runs.ics")]
pub(crate) struct Calendar {
    #[command(flatten)]
    source: Source,
    /// From here on: 2026-03-28, 2026-03-28T02:00, or with an offset [default: now]
    #[arg(long)]
    from: Option<String>,
    /// Up to and including this [default: seven days later]
    #[arg(long)]
    to: Option<String>,
    /// Time zone of the output
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// One line for each firing, also of schedules that fire more than 48 times a day
    #[arg(long)]
    all: bool,
}

/// What to compare.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightbell schedule collisions --within 5m --days 30
  nightbell schedule collisions -f definitions/ --days 366 --same-workflow

Of schedules on a server, a run counts from its firing until its usual duration is over: the median of
the last 50 runs of its workflow that completed. Of files, only the firings count.")]
pub(crate) struct Collisions {
    #[command(flatten)]
    source: Source,
    /// Up to which distance two firings collide, such as 90s, 5m or 1h
    #[arg(long, default_value = "5m")]
    within: String,
    /// How many days ahead
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_660))]
    days: u32,
    /// Only schedules that start the same workflow
    #[arg(long)]
    same_workflow: bool,
}

/// Where the schedules come from.
#[derive(Debug, Args)]
struct Source {
    /// Files and folders, instead of the server's schedules
    #[arg(short, long, num_args = 1..)]
    file: Vec<PathBuf>,
}

impl Source {
    /// The schedules that are not paused, by name.
    async fn schedules(&self, client: &Client) -> anyhow::Result<Vec<ScheduleSpec>> {
        let mut schedules = if self.file.is_empty() {
            of_server(client).await?
        } else {
            let engine = offline::engine().await?;
            let found = load::definitions(&engine, &self.file, &ChecklistOptions::default());
            engine.close().await?;
            let failed = |told| Failure::error("the files have mistakes").with_details(told);
            found.map_err(failed)?.schedules
        };
        schedules.retain(|schedule| schedule.paused != Some(true));
        schedules.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(schedules)
    }
}

async fn of_server(client: &Client) -> anyhow::Result<Vec<ScheduleSpec>> {
    let answer = client.get(&["scheduler", "schedules"]).send().await?.value()?;
    let listed = answer.as_array().cloned().unwrap_or_default();
    let read = |document: &Value| {
        schedule_from_value(document).map_err(|problems| {
            let told = problems.iter().map(ToString::to_string);
            let message = format!("schedule {} cannot be read", document["name"]);
            anyhow::Error::from(Failure::error(message).with_details(told))
        })
    };
    listed.iter().map(read).collect()
}

/// Prints the calendar.
///
/// # Errors
/// A time, a zone or a file is wrong; the server does not answer.
pub(super) async fn calendar(
    arguments: &Calendar,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let place = zone(&arguments.tz)?;
    let from = match &arguments.from {
        Some(text) => instant("--from", text, &place)?,
        None => Timestamp::now().into(),
    };
    let to = match &arguments.to {
        Some(text) => instant("--to", text, &place)?,
        None => from.plus_millis(7 * 24 * 3_600_000),
    };
    if to < from {
        return Err(Failure::usage("--to is before --from").into());
    }
    let days = usize::try_from((to.millis() - from.millis()) / (24 * 3_600_000) + 1)?;
    let schedules = arguments.source.schedules(client).await?;
    let (mut shown, mut often) = (Vec::new(), Vec::new());
    for schedule in &schedules {
        let found = schedule.foresee(from, to, FIRINGS_MAX);
        if found.len() > OFTEN_A_DAY * days && !arguments.all {
            often.push((schedule, found.len()));
        } else {
            shown.extend(found.into_iter().map(|firing| (firing, schedule)));
        }
    }
    shown.sort_by(|(one, of_one), (other, of_other)| {
        (one.at, &of_one.name).cmp(&(other.at, &of_other.name))
    });
    match output.format {
        Format::Ics => output.line(ics(&shown).trim_end())?,
        Format::Json | Format::Sarif | Format::Csv | Format::Md | Format::Html => {
            let listed = shown.iter().map(|(firing, schedule)| {
                json!({
                    "at": firing.at.to_string(),
                    "local": local(firing.at, &place),
                    "schedule": schedule.name,
                    "workflow": schedule.workflow_name(),
                    "fires": firing.mark.runs(),
                    "note": firing.mark.describe(),
                })
            });
            output.json(&listed.collect::<Vec<_>>())?;
        }
        Format::Table => {
            let mut table = Table::new(&["TIME", "SCHEDULE", "WORKFLOW", "~NOTE"]);
            for (firing, schedule) in &shown {
                table.row([
                    local(firing.at, &place).into(),
                    schedule.name.as_ref().into(),
                    schedule.workflow_name().into(),
                    firing.mark.describe().into(),
                ]);
            }
            output.table(&table)?;
        }
    }
    for (schedule, count) in often {
        output.note(format_args!(
            "{} fires {count} times in this stretch; --all shows each",
            schedule.name
        ));
    }
    if shown.is_empty() {
        output.note("nothing else fires in this time");
    }
    Ok(())
}

/// What the clock of a zone shows, with its distance from UTC.
fn local(at: kernel::Timestamp, zone: &Zone) -> String {
    format!("{}{}", zone.local(at), zone.offset_text(at))
}

/// The firings as a calendar.
fn ics(shown: &[(Foreseen, &ScheduleSpec)]) -> String {
    let mut calendar = Ics::new("schedule calendar");
    for (firing, schedule) in shown.iter().filter(|(firing, _)| firing.mark.runs()) {
        calendar.event(&Event {
            uid: format!("{}-{}", schedule.name, firing.at.millis()),
            from: firing.at,
            to: None,
            summary: format!("{} starts {}", schedule.name, schedule.workflow_name()),
            description: firing.mark.describe(),
        });
    }
    calendar.finish()
}

/// Two schedules that collide.
struct Collision<'a> {
    schedules: [&'a ScheduleSpec; 2],
    count: usize,
    first: [kernel::Timestamp; 2],
}

/// Prints which schedules collide.
///
/// # Errors
/// A time, a zone or a file is wrong; the server does not answer.
pub(super) async fn collisions(
    arguments: &Collisions,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let within: SignedDuration = arguments.within.parse().map_err(|_| {
        Failure::usage(format!("--within is not a duration: `{}`", arguments.within))
            .with_hint("write 90s, 5m or 1h")
    })?;
    let within = i64::try_from(within.as_millis()).unwrap_or(i64::MAX).max(0);
    let schedules = arguments.source.schedules(client).await?;
    let from: kernel::Timestamp = Timestamp::now().into();
    let to = from.plus_millis(i64::from(arguments.days) * 24 * 3_600_000);
    let mut usual: BTreeMap<String, Option<i64>> = BTreeMap::new();
    if arguments.source.file.is_empty() {
        for schedule in &schedules {
            if let Entry::Vacant(entry) = usual.entry(schedule.workflow_name()) {
                let duration = usual_duration(entry.key(), client).await?;
                entry.insert(duration);
            }
        }
    }
    let duration =
        |schedule: &ScheduleSpec| usual.get(&schedule.workflow_name()).copied().flatten();
    let mut spans = Vec::new();
    for schedule in &schedules {
        let found = schedule.foresee(from, to, FIRINGS_MAX);
        let length = duration(schedule).unwrap_or_default().max(within);
        let runs = found.into_iter().filter(|firing| firing.mark.runs());
        spans.push(runs.map(|it| (it.at, it.at.plus_millis(length))).collect::<Vec<_>>());
    }
    let mut found = Vec::new();
    for (index, one) in schedules.iter().enumerate() {
        for (offset, other) in schedules[index + 1..].iter().enumerate() {
            if arguments.same_workflow && one.workflow_name() != other.workflow_name() {
                continue;
            }
            let spans = [&*spans[index], &*spans[index + 1 + offset]];
            if let Some((count, first)) = overlaps(spans) {
                found.push(Collision { schedules: [one, other], count, first });
            }
        }
    }
    found.sort_by_key(|collision| std::cmp::Reverse(collision.count));
    show_collisions(&found, duration, output)?;
    if found.is_empty() {
        output.note(format_args!("nothing collides in the next {} days", arguments.days));
    }
    Ok(())
}

/// The median duration of the last runs of a workflow that completed, in milliseconds.
async fn usual_duration(workflow: &str, client: &Client) -> anyhow::Result<Option<i64>> {
    let query = format!("workflowType = '{}' AND status = 'COMPLETED'", workflow.replace('\'', ""));
    let call = client.get(&["workflow", "search"]).query("query", query);
    let answer = call.query("size", RUNS_ASKED).query("sort", "startTime:DESC").send().await?;
    let answer = answer.value()?;
    let runs = answer["results"].as_array().into_iter().flatten();
    let mut durations: Vec<i64> =
        runs.filter_map(|run| run["executionTime"].as_i64()).filter(|it| *it >= 0).collect();
    durations.sort_unstable();
    Ok(durations.get(durations.len() / 2).copied())
}

fn show_collisions(
    found: &[Collision<'_>],
    duration: impl Fn(&ScheduleSpec) -> Option<i64>,
    output: &Output,
) -> anyhow::Result<()> {
    if output.is_json() {
        let listed = found.iter().map(|Collision { schedules, count, first }| {
            json!({
                "schedules": schedules.map(|it| &*it.name),
                "workflows": schedules.map(ScheduleSpec::workflow_name),
                "usualMillis": schedules.map(&duration),
                "count": count,
                "first": first.map(|at| at.to_string()),
            })
        });
        return output.json(&listed.collect::<Vec<_>>());
    }
    let mut table = Table::new(&["TIMES", "FIRST", "SCHEDULE", "USUALLY", "WITH", "USUALLY"]);
    for Collision { schedules: [one, other], count, first } in found {
        let usually = |schedule: &ScheduleSpec| {
            let seconds = |millis| SignedDuration::from_secs(millis / 1_000);
            duration(schedule).map_or_else(|| "-".to_owned(), |it| format!("{:#}", seconds(it)))
        };
        table.row([
            count.to_string().into(),
            first[0].to_string().into(),
            one.name.as_ref().into(),
            usually(one).into(),
            other.name.as_ref().into(),
            usually(other).into(),
        ]);
    }
    output.table(&table)
}
