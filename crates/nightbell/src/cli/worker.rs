//! `nightbell worker`: who is connected, to run orchestrations, activities and entities.

use clap::Subcommand;
use jiff::Timestamp;
use serde::Deserialize;

use super::client::{Client, understand};
use super::moment::Moment;
use super::output::Output;
use super::table::Table;

/// What to ask about workers.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the workers of code that are connected now
    List {
        /// Only workers of this task hub
        #[arg(long = "hub", value_name = "NAME", env = "NIGHTBELL_TASK_HUB")]
        hub: Option<String>,
    },
}

/// What a table shows of a worker.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shown {
    name: String,
    task_hub: String,
    agent: String,
    since: Moment,
    out: Amounts,
    handed: u64,
    filters: Option<Filters>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Amounts {
    orchestrations: u64,
    activities: u64,
    entities: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Filters {
    orchestrations: Vec<String>,
    activities: Vec<String>,
    entities: Vec<String>,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    let Verb::List { hub } = verb;
    let answer = client.get(&["workers"]).query_if("taskHub", hub.as_deref()).send().await?;
    let answer = answer.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let workers: Vec<Shown> = understand("list of workers", &answer)?;
    let now = Timestamp::now();
    let mut table =
        Table::new(&["WORKER", "HUB", "SINCE", "BUSY WITH", "HANDED", "~AGENT", "~DOES"]);
    for worker in &workers {
        let busy = worker.out.orchestrations + worker.out.activities + worker.out.entities;
        let does = worker.filters.as_ref().map_or_else(
            || "everything".to_owned(),
            |filters| {
                let all = [&filters.orchestrations, &filters.activities, &filters.entities];
                all.into_iter().flatten().cloned().collect::<Vec<_>>().join(", ")
            },
        );
        table.row([
            (&worker.name).into(),
            (&worker.task_hub).into(),
            worker.since.relative(now).into(),
            busy.into(),
            worker.handed.into(),
            (&worker.agent).into(),
            does.into(),
        ]);
    }
    output.table(&table)?;
    if workers.is_empty() {
        output.note(
            "no workers of code are connected; see `nightbell queue list` for those of tasks",
        );
    }
    Ok(())
}
