//! `nightbell schedule test`: every firing of a stretch of time, computed here by the code that
//! fires.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use kernel::cron::{Cron, DstRule, Occurrence, Zone, ZoneError};
use kernel::schedule::{CronLine, schedule_from_value};
use serde_json::{Value, json};

use super::super::client::Client;
use super::super::failure::{Failure, Violation};
use super::super::input;
use super::super::output::Output;
use super::super::table::{Cell, Table};
use super::stored;

/// What to test, and when.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nightbell schedule test --cron '0 30 2 * * *' --tz Europe/Oslo --from 2026-03-28 --to 2026-03-31
  nightbell schedule test nightly --to 2027-01-01
  nightbell schedule test -f nightly.json --dst spring --from 2026-10-24 --to 2026-10-27")]
pub(crate) struct Arguments {
    /// Name of a schedule on the server
    #[arg(conflicts_with_all = ["cron", "file"], required_unless_present_any = ["cron", "file"])]
    name: Option<String>,
    /// A cron expression of six fields, or a macro such as @daily
    #[arg(long, conflicts_with = "file")]
    cron: Option<String>,
    /// File with a schedule, - for standard input
    #[arg(short, long)]
    file: Option<String>,
    /// From here on: 2026-03-28, 2026-03-28T02:00, or with an offset [default: now]
    #[arg(long)]
    from: Option<String>,
    /// Up to and including this [default: as far as --limit goes]
    #[arg(long)]
    to: Option<String>,
    /// Time zone [default: that of the schedule, or UTC]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// How to treat times that daylight saving changes leave out or repeat: once or spring
    #[arg(long, value_name = "RULE")]
    dst: Option<String>,
    /// How many lines at most [default: 10 without --to, 10000 with it]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: Option<u32>,
}

/// What is tested: lines, the rule, and the bounds of a schedule.
struct Subject {
    lines: Vec<CronLine>,
    rule: DstRule,
    start: Option<kernel::Timestamp>,
    end: Option<kernel::Timestamp>,
}

/// Runs the command.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let subject = subject(arguments, client).await?;
    let zones: Vec<Zone> =
        subject.lines.iter().map(|line| zone(&line.zone_id)).collect::<Result<_, _>>()?;
    let place = match &arguments.tz {
        Some(name) => zone(name)?,
        None => zones.first().cloned().unwrap_or_else(Zone::utc),
    };
    let from = match &arguments.from {
        Some(text) => instant("--from", text, &place)?,
        None => Timestamp::now().into(),
    };
    let to = match &arguments.to {
        Some(text) => instant("--to", text, &place)?,
        None => kernel::Timestamp::MAX,
    };
    if to < from {
        return Err(Failure::usage("--to is before --from").into());
    }
    let after = from.max(subject.start.unwrap_or(from)).plus_millis(-1);
    let until = to.min(subject.end.unwrap_or(to));
    let limit = arguments.limit.unwrap_or(if arguments.to.is_some() { 10_000 } else { 10 });
    let limit = limit as usize;
    let mut found: Vec<(usize, Occurrence)> = Vec::new();
    for (index, line) in subject.lines.iter().enumerate() {
        let cron = Cron::parse(&line.cron_expression)
            .map_err(|error| Failure::usage(error.message).with_hint(error.hint))?;
        // One more than is shown, to know whether there are more.
        let preview = cron.preview(after, until, &zones[index], subject.rule, limit + 1);
        found.extend(preview.into_iter().map(|occurrence| (index, occurrence)));
    }
    found.sort_by_key(|(index, occurrence)| (occurrence.at, !occurrence.mark.runs(), *index));
    // Several lines that name the same instant fire once.
    found.dedup_by(|(_, later), (_, first)| {
        later.at == first.at && later.mark.runs() && first.mark.runs()
    });
    let more = found.len() > limit;
    found.truncate(limit);
    print(&found, &subject.lines, output)?;
    if found.is_empty() {
        output.note("nothing fires in this time");
    } else if more && (arguments.to.is_some() || arguments.limit.is_some()) {
        output.note(format_args!("the first {limit}; --limit shows more"));
    }
    Ok(())
}

async fn subject(arguments: &Arguments, client: &Client) -> anyhow::Result<Subject> {
    let rule = match arguments.dst.as_deref() {
        None => None,
        Some(text) => Some(
            DstRule::parse(text)
                .ok_or_else(|| Failure::usage(format!("--dst is once or spring, not `{text}`")))?,
        ),
    };
    if let Some(cron) = &arguments.cron {
        let zone_id = arguments.tz.as_deref().unwrap_or("UTC").into();
        let line = CronLine { cron_expression: cron.as_str().into(), zone_id };
        let rule = rule.unwrap_or_default();
        return Ok(Subject { lines: vec![line], rule, start: None, end: None });
    }
    let (origin, document) = document(arguments, client).await?;
    let spec = schedule_from_value(&document).map_err(|problems| {
        let mut failure = Failure::error(format!("{origin} is not a valid schedule"));
        failure.violations = problems
            .into_iter()
            .map(|problem| Violation {
                pointer: Some(problem.pointer),
                path: problem.path,
                message: problem.message,
                hint: Some(problem.hint),
            })
            .collect();
        failure
    })?;
    let mut lines = spec.lines();
    if let Some(zone) = &arguments.tz {
        for line in &mut lines {
            line.zone_id = zone.as_str().into();
        }
    }
    Ok(Subject {
        lines,
        rule: rule.unwrap_or(spec.dst),
        start: spec.schedule_start_time,
        end: spec.schedule_end_time,
    })
}

async fn document(arguments: &Arguments, client: &Client) -> anyhow::Result<(String, Value)> {
    if let Some(file) = &arguments.file {
        let mut documents = input::documents(std::slice::from_ref(file))?;
        let first = documents.swap_remove(0);
        if !documents.is_empty() {
            let message = format!("{file} holds several schedules");
            return Err(Failure::usage(message).with_hint("test one at a time").into());
        }
        return Ok((first.origin, first.value));
    }
    let name = arguments.name.as_deref().unwrap_or_default();
    Ok((format!("schedule {name}"), stored::read(name, client).await?))
}

pub(in crate::cli) fn zone(name: &str) -> Result<Zone, Failure> {
    Zone::named(name).map_err(|error| Failure::usage(error.to_string()).with_hint(ZoneError::HINT))
}

/// A time as people write it: with an offset, or as the clock of a zone shows it.
pub(in crate::cli) fn instant(
    option: &str,
    text: &str,
    zone: &Zone,
) -> Result<kernel::Timestamp, Failure> {
    let text = text.trim();
    let exact = text.parse::<Timestamp>().ok().map(kernel::Timestamp::from);
    let local = || {
        let local = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(Date::into));
        local.ok().and_then(|local| zone.instant(local))
    };
    exact.or_else(local).ok_or_else(|| {
        Failure::usage(format!("{option} is not a time: `{text}`"))
            .with_hint("write 2026-03-28, 2026-03-28T02:00, or 2026-03-28T02:00:00Z")
    })
}

fn print(found: &[(usize, Occurrence)], lines: &[CronLine], output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        let shown = found.iter().map(|(index, occurrence)| {
            json!({
                "at": occurrence.at.to_string(),
                "local": format!("{}{}", occurrence.local, occurrence.offset),
                "fires": occurrence.mark.runs(),
                "note": occurrence.mark.describe(),
                "cronExpression": lines[*index].cron_expression.as_ref(),
                "zoneId": lines[*index].zone_id.as_ref(),
            })
        });
        return output.json(&shown.collect::<Vec<_>>());
    }
    let mut table = Table::new(&["TIME", "LOCAL", "CRON", "NOTE"]);
    for (index, occurrence) in found {
        let time: Cell =
            if occurrence.mark.runs() { occurrence.at.to_string().into() } else { "-".into() };
        table.row([
            time,
            format!("{}{}", occurrence.local, occurrence.offset).into(),
            lines[*index].cron_expression.as_ref().into(),
            occurrence.mark.describe().into(),
        ]);
    }
    output.table(&table)
}
