//! `nightbell cluster`: the servers that share a store.

use std::time::{Duration, Instant};

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use super::moment::Moment;
use super::output::{Output, clean};
use super::table::{Cell, Table};

/// What to do with a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the servers that share the store, and which of them leads
    ///
    /// Any of them can be asked. A server that was killed is listed until its lease expires, and up
    /// to ten seconds longer.
    #[command(after_help = "\
Examples:
  nightbell cluster status
  nightbell cluster status --url http://10.0.0.6:8080 -o json")]
    Status,
    /// Hand leadership over to another server, for example before an upgrade
    ///
    /// The leader finishes the requests in flight, hands the store over to another server, and
    /// follows it. Requests of clients wait meanwhile, usually for half a second. Nothing happens
    /// if no other server could lead (exit code 4).
    #[command(after_help = "\
Examples:
  nightbell cluster drain
  nightbell cluster drain --url http://10.0.0.6:8080 && sudo systemctl restart nightbell@a")]
    Drain,
}

/// How long another server may take to lead.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Status => status(client, output).await,
        Verb::Drain => drain(client, output).await,
    }
}

async fn drain(client: &Client, output: &Output) -> anyhow::Result<()> {
    let drained = client.post(&["cluster", "drain"]).send().await?.value()?;
    let begun = Instant::now();
    loop {
        // The server that is asked may be the one that begins anew.
        if let Ok(answer) = client.get(&["cluster"]).send().await
            && let Ok(cluster) = answer.value()
            && let Some(leader) = leader(&cluster)
            && leader["incarnation"] != drained["incarnation"]
        {
            let name = clean(leader["name"].as_str().unwrap_or_default());
            return if output.is_json() {
                output.json(leader)
            } else {
                output.note(format!("{name} leads now"));
                Ok(())
            };
        }
        if begun.elapsed() > PATIENCE {
            let message = format!("no other server leads after {} s", PATIENCE.as_secs());
            return Err(Failure::error(message)
                .with_hint("look at the servers: nightbell cluster status, and their logs")
                .into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The server that leads, among those of an answer.
fn leader(cluster: &Value) -> Option<&Value> {
    let mut nodes = cluster["nodes"].as_array()?.iter();
    nodes.find(|it| it["role"] == "leader" && it["alive"] == true)
}

async fn status(client: &Client, output: &Output) -> anyhow::Result<()> {
    let cluster = client.get(&["cluster"]).send().await?.value()?;
    if output.is_json() {
        return output.json(&cluster);
    }
    if cluster["clustered"] != true {
        output.note("this server has its store for itself");
        return Ok(());
    }
    let mut table =
        Table::new(&["NODE", "ROLE", "STATUS", "ADDRESS", "RELEASE", "JOINED", "~NAME"]);
    let now = Timestamp::now();
    let text = |value: &Value| clean(value.as_str().unwrap_or_default());
    for node in cluster["nodes"].as_array().into_iter().flatten() {
        let status = if node["alive"] == true { "ALIVE" } else { "EXPIRED" };
        table.row([
            node["incarnation"].to_string().into(),
            text(&node["role"]).into(),
            Cell::status(status),
            text(&node["address"]).into(),
            text(&node["release"]).into(),
            Moment::of(&node["joinedAt"]).relative(now).into(),
            text(&node["name"]).into(),
        ]);
    }
    output.table(&table)
}
