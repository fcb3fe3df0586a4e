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
    /// List the Durable Task workers that are connected now
    List {
        /// Only workers of this task hub
        #[arg(long = "hub", value_name = "NAME", env = "NIGHTBELL_TASK_HUB")]
        hub: Option<String>,
    },
    /// List work items that were handed out and not completed: attempts, reason, and next attempt
    Unfinished {
        /// Only work of this task hub
        #[arg(long = "hub", value_name = "NAME", env = "NIGHTBELL_TASK_HUB")]
        hub: Option<String>,
    },
}

/// What a table shows of work that was not done.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Tried {
    task_hub: String,
    kind: String,
    name: String,
    version: Option<String>,
    instance_id: String,
    attempts: u64,
    reason: String,
    worker_id: String,
    refused_by_all: bool,
    next_at: Moment,
    given_up: bool,
}

impl Tried {
    fn work(&self) -> String {
        let version = self.version.as_ref();
        let version = version.map_or_else(String::new, |version| format!(" {version}"));
        format!("{} {}{version}", self.kind, self.name)
    }

    fn next(&self, now: Timestamp) -> String {
        if self.given_up { "given up".to_owned() } else { self.next_at.relative(now) }
    }

    fn why(&self) -> String {
        let all = if self.refused_by_all { "no connected worker takes it: " } else { "" };
        format!("{all}{}", self.reason)
    }
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
    match verb {
        Verb::List { hub } => list(hub, client, output).await,
        Verb::Unfinished { hub } => unfinished(hub, client, output).await,
    }
}

async fn unfinished(hub: Option<String>, client: &Client, output: &Output) -> anyhow::Result<()> {
    let path = ["workers", "unfinished"];
    let answer = client.get(&path).query_if("taskHub", hub.as_deref()).send().await?;
    let answer = answer.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let work: Vec<Tried> = understand("list of work that was not done", &answer)?;
    let now = Timestamp::now();
    let mut table = Table::new(&["WORK", "INSTANCE", "HUB", "TRIED", "NEXT", "~LAST BY", "~WHY"]);
    for tried in &work {
        table.row([
            tried.work().into(),
            (&tried.instance_id).into(),
            (&tried.task_hub).into(),
            tried.attempts.into(),
            tried.next(now).into(),
            (&tried.worker_id).into(),
            tried.why().into(),
        ]);
    }
    output.table(&table)?;
    if work.is_empty() {
        output.note(
            "all work that was handed out to Durable Task workers was done, or is being done",
        );
    }
    Ok(())
}

async fn list(hub: Option<String>, client: &Client, output: &Output) -> anyhow::Result<()> {
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
            "no Durable Task workers are connected; see `nightbell queue list` for those of tasks",
        );
    }
    Ok(())
}
