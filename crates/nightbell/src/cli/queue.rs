//! `nightbell queue`: how many tasks wait, and who takes them.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;
use kernel::alert::definition::check_types;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::moment::{self, Moment};
use super::output::Output;
use super::table::Table;

/// What to do with queues.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List queues: how many tasks wait, and who polled last
    List {
        /// Only queues in which tasks wait
        #[arg(long)]
        waiting: bool,
        /// Also list the queues of built-in task types; without it they are listed only while tasks
        /// wait in them
        #[arg(long)]
        all: bool,
        /// Refresh the list every so many seconds
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
              value_parser = clap::value_parser!(u64).range(1..))]
        watch: Option<u64>,
    },
    /// Show one queue: how many tasks wait, and every worker that polls it
    Show {
        /// Type of the task
        #[arg(value_name = "TYPE")]
        task_type: String,
    },
}

/// The last poll of a queue by a worker.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Poll {
    queue_name: String,
    domain: Option<String>,
    worker_id: Option<String>,
    last_poll_time: Moment,
}

impl Poll {
    /// The name of the queue as the sizes have it: the domain belongs to it.
    fn queue(&self) -> String {
        match self.domain.as_deref() {
            None | Some("" | "DEFAULT") => self.queue_name.clone(),
            Some(domain) => format!("{domain}:{}", self.queue_name),
        }
    }
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List { waiting, all, watch } => loop {
            list(waiting, all, client, output).await?;
            let Some(seconds) = watch else { return Ok(()) };
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            output.redraw()?;
        },
        Verb::Show { task_type } => show(&task_type, client, output).await,
    }
}

/// Task types beside those of checks that the server runs itself: nobody polls their queues.
const OWN: [&str; 16] = [
    "BUSINESS_RULE",
    "EVENT",
    "GET_SIGNED_JWT",
    "GET_WORKFLOW",
    "HTTP",
    "HTTP_POLL",
    "INCIDENT",
    "JDBC",
    "KAFKA_PUBLISH",
    "NOTIFY",
    "OPS_GENIE",
    "QUERY_PROCESSOR",
    "SENDGRID",
    "TERMINATE_WORKFLOW",
    "UPDATE_SECRET",
    "UPDATE_TASK",
];

/// Whether the server runs tasks of this type itself.
fn is_own(task_type: &str) -> bool {
    OWN.contains(&task_type) || check_types().any(|it| it == task_type)
}

async fn list(waiting: bool, all: bool, client: &Client, output: &Output) -> anyhow::Result<()> {
    let sizes = client.get(&["tasks", "queue", "all"]).send().await?.value()?;
    let polls = client.get(&["tasks", "queue", "polldata", "all"]).send().await?.value()?;
    let sizes: BTreeMap<String, u64> = understand("sizes of queues", &sizes)?;
    let polls: Vec<Poll> = understand("polls", &or_empty(polls))?;
    // A queue that is polled but empty is worth a line, and so is one that nobody polls.
    let mut queues: BTreeMap<String, (u64, Poll)> =
        sizes.into_iter().map(|(name, size)| (name, (size, Poll::default()))).collect();
    for poll in polls {
        let (_, latest) = queues.entry(poll.queue()).or_default();
        if poll.last_poll_time.0 >= latest.last_poll_time.0 {
            *latest = poll;
        }
    }
    if waiting {
        queues.retain(|_, (size, _)| *size > 0);
    }
    if output.is_json() {
        let listed: Vec<_> = queues
            .iter()
            .map(|(name, (size, poll))| {
                json!({
                    "queue": name,
                    "size": size,
                    "lastPollTime": poll.last_poll_time.rfc3339(),
                    "workerId": poll.worker_id,
                })
            })
            .collect();
        return output.json(&listed);
    }
    let before = queues.len();
    queues.retain(|name, (size, _)| all || *size > 0 || !is_own(name));
    let hidden = before - queues.len();
    let now = Timestamp::now();
    let mut table = Table::new(&["QUEUE", "WAITING", "LAST POLL", "~BY"]);
    for (name, (size, poll)) in &queues {
        table.row([
            name.into(),
            size.into(),
            poll.last_poll_time
                .0
                .map_or("never".to_owned(), |_| poll.last_poll_time.relative(now))
                .into(),
            poll.worker_id.as_deref().unwrap_or_default().into(),
        ]);
    }
    output.table(&table)?;
    if hidden > 0 {
        output.note(format_args!("{hidden} of the server itself are not shown; --all shows them"));
    }
    if queues.is_empty() {
        output.note("no queues");
    }
    Ok(())
}

async fn show(task_type: &str, client: &Client, output: &Output) -> anyhow::Result<()> {
    let sizes = client.get(&["tasks", "queue", "sizes"]).query("taskType", task_type);
    let sizes = sizes.send().await?.value()?;
    let polls = client.get(&["tasks", "queue", "polldata"]).query("taskType", task_type);
    let mut polls = or_empty(polls.send().await?.value()?);
    let size = sizes[task_type].as_u64().unwrap_or(0);
    if output.is_json() {
        moment::readable(&mut polls);
        return output.json(&json!({ "queue": task_type, "size": size, "polls": polls }));
    }
    let mut polls: Vec<Poll> = understand("polls", &polls)?;
    output.line(format_args!("{size} waiting"))?;
    if polls.is_empty() {
        output.note("no worker has polled it");
        return Ok(());
    }
    polls.sort_by_key(|poll| std::cmp::Reverse(poll.last_poll_time.0));
    let now = Timestamp::now();
    let mut table = Table::new(&["WORKER", "DOMAIN", "LAST POLL"]);
    for poll in &polls {
        table.row([
            poll.worker_id.as_deref().unwrap_or_default().into(),
            poll.domain.as_deref().unwrap_or_default().into(),
            poll.last_poll_time.relative(now).into(),
        ]);
    }
    output.table(&table)
}

/// A 204 instead of an empty list.
fn or_empty(value: Value) -> Value {
    if value.is_null() { json!([]) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_type_that_the_server_runs_is_known_as_its_own() {
        let runners = tasks::registry::runners(&tasks::registry::Settings::default())
            .expect("the defaults are sound");
        for runner in runners {
            assert!(is_own(runner.task_type()), "{}", runner.task_type());
        }
    }
}
