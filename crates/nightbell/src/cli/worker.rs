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
    worker_id: String,
    task_hub: String,
    user_agent: String,
    since: Moment,
    outstanding: u64,
    handed: u64,
    work: Vec<Share>,
}

/// One kind of work.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Share {
    kind: String,
    /// Absent = every name.
    names: Option<Vec<String>>,
}

impl Share {
    fn does(&self) -> String {
        match &self.names {
            None => format!("every {}", self.kind),
            Some(names) => names.join(", "),
        }
    }
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
        let does: Vec<String> = worker.work.iter().map(Share::does).collect();
        let does: Vec<String> = does.into_iter().filter(|does| !does.is_empty()).collect();
        table.row([
            (&worker.worker_id).into(),
            (&worker.task_hub).into(),
            worker.since.relative(now).into(),
            worker.outstanding.into(),
            worker.handed.into(),
            (&worker.user_agent).into(),
            does.join(", ").into(),
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
