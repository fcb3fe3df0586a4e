//! `nightbell monitor next`: when a monitor checks next, computed by the code that checks.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use kernel::alert::definition::ChecklistOptions;
use kernel::alert::next_checks_with;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::client::{Client, understand};
use crate::cli::failure::{Exit, Failure};
use crate::cli::moment::Moment;
use crate::cli::offline;
use crate::cli::output::Output;
use crate::cli::schedule::instant;
use crate::cli::table::Table;
use crate::load;

/// What to tell.
#[derive(Debug, Args)]
pub(crate) struct Next {
    /// Name of the monitor
    name: String,
    /// Files and folders that define it, in the place of the server
    #[arg(short, long)]
    file: Vec<PathBuf>,
    /// How many times
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// After this time: 2027-03-28, 2027-03-28T02:00, or with an offset [default: now]
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
    /// Time zone of the output, and of --after
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
}

#[derive(Deserialize)]
struct Check {
    at: Moment,
    silences: Vec<Silence>,
}

#[derive(Deserialize)]
struct Silence {
    id: String,
    until: Moment,
    comment: Option<String>,
}

/// Runs the command.
pub(super) async fn run(next: &Next, client: &Client, output: &Output) -> anyhow::Result<()> {
    let zone = crate::cli::schedule::zone(&next.tz)?;
    let now = Timestamp::now();
    let after = match next.after.as_deref() {
        Some(text) => instant("--after", text, &zone)?,
        None => now.into(),
    };
    let answer = if next.file.is_empty() {
        let call = client.get(&["monitors", &next.name, "next"]).query("limit", next.limit);
        let after = next.after.as_ref().map(|_| after.millis());
        call.query_if("after", after).send().await?.value()?
    } else {
        of_files(next, after).await?
    };
    let checks: Vec<Check> = understand("list of checks", &answer)?;
    if output.is_json() {
        let shown = checks.iter().map(|check| {
            let silences = check.silences.iter().map(
                |it| json!({ "id": it.id, "until": it.until.rfc3339(), "comment": it.comment }),
            );
            json!({ "at": check.at.rfc3339(), "silences": silences.collect::<Vec<_>>() })
        });
        return output.json(&shown.collect::<Vec<_>>());
    }
    let mut table = Table::new(&["TIME", "IN", "~SILENCED BY"]);
    for check in &checks {
        let silences: Vec<String> = check.silences.iter().map(Silence::in_words).collect();
        let at = check.at.0.map(kernel::Timestamp::from);
        let time = at.map(|at| format!("{}{}", zone.local(at), zone.offset_text(at)));
        let row = [time.unwrap_or_default(), check.at.relative(now), silences.join(", ")];
        table.row(row.map(Into::into));
    }
    output.table(&table)?;
    if checks.is_empty() {
        output.note(format_args!("{} never checks again", next.name));
    }
    Ok(())
}

impl Silence {
    fn in_words(&self) -> String {
        let until = self.until.rfc3339().map(|it| format!(" until {it}")).unwrap_or_default();
        let why = self.comment.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
        format!("{}{until}{why}", self.id)
    }
}

/// The same of files, without a server.
async fn of_files(next: &Next, after: kernel::Timestamp) -> anyhow::Result<Value> {
    let engine = offline::engine().await?;
    let found = load::definitions(&engine, &next.file, &ChecklistOptions::default());
    engine.close().await?;
    let failed = |told| Failure::error("the files have mistakes").with_details(told);
    let file = found.map_err(failed)?.monitors;
    let Some(monitor) = file.monitors.iter().find(|it| *it.name == *next.name) else {
        let message = format!("the files define no monitor {}", next.name);
        return Err(Failure::new(Exit::NotFound, message).into());
    };
    if !monitor.kind.checks() {
        let message = format!("{} waits to be called; it checks nothing", next.name);
        return Err(Failure::new(Exit::Conflict, message).into());
    }
    Ok(json!(next_checks_with(monitor, &file.silences, after, next.limit as usize)))
}
