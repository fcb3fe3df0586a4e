//! `nightbell cluster`: the servers that share a store.

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::Value;

use super::client::Client;
use super::moment::Moment;
use super::output::{Output, clean};
use super::table::{Cell, Table};

/// What to do with a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the servers that share the store, and which of them leads
    ///
    /// Any of them can be asked. A server that was killed is listed until its lease is over, and up to
    /// ten seconds longer.
    #[command(after_help = "\
Examples:
  nightbell cluster status
  nightbell cluster status --url http://10.0.0.6:8080 -o json")]
    Status,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Status => status(client, output).await,
    }
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
