//! `nightbell orchestration list`.

use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;

use super::{Hub, Instance, Status};
use crate::cli::client::{Client, understand};
use crate::cli::output::{Output, cut};
use crate::cli::table::{Cell, Table};

/// Which instances to list.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nightbell orchestration list --status Running --status Pending
  nightbell orchestration list --prefix job- --limit 5
  nightbell orchestration list --status Failed --ids | xargs nightbell orchestration rewind")]
pub(crate) struct Arguments {
    /// Only instances of this status; may be repeated
    #[arg(long, ignore_case = true)]
    status: Vec<Status>,
    /// Only instances whose id has this prefix
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only instances created then or later, such as 2026-01-31T08:00:00Z
    #[arg(long)]
    from: Option<Timestamp>,
    /// Only instances created before
    #[arg(long)]
    to: Option<Timestamp>,
    /// How many to list at most
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Print only the ids, one a line
    #[arg(long, conflicts_with_all = ["json"])]
    ids: bool,
    #[command(flatten)]
    hub: Hub,
}

/// Characters of a custom status in a list.
const CUSTOM_STATUS_MAX: usize = 60;

/// Runs the command.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let statuses: Vec<String> = arguments.status.iter().map(|status| status.word()).collect();
    let call = arguments.hub.of(client.durable(Method::GET, &["instances"]));
    let call = call
        .query("top", arguments.limit)
        .query("showInput", output.is_json())
        .query_if("runtimeStatus", (!statuses.is_empty()).then(|| statuses.join(",")))
        .query_if("instanceIdPrefix", arguments.prefix.as_deref())
        .query_if("createdTimeFrom", arguments.from)
        .query_if("createdTimeTo", arguments.to);
    let answer = call.send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let instances: Vec<Instance> = understand("list of instances", &answer)?;
    if arguments.ids {
        return instances.iter().try_for_each(|instance| output.line(&instance.id));
    }
    output.table(&table(&instances, Timestamp::now()))?;
    if instances.is_empty() {
        output.note("no instances match");
    } else if instances.len() >= arguments.limit as usize {
        output.note(format_args!("there may be more than {}; see --limit", arguments.limit));
    }
    Ok(())
}

fn table(instances: &[Instance], now: Timestamp) -> Table {
    let heads = ["ID", "~NAME", "STATUS", "CREATED", "UPDATED", "~CUSTOM STATUS"];
    let mut table = Table::new(&heads);
    for instance in instances {
        let custom = match &instance.custom_status {
            Value::Null => String::new(),
            value => cut(&value.to_string(), CUSTOM_STATUS_MAX),
        };
        table.row([
            (&instance.id).into(),
            (&instance.name).into(),
            Cell::status(&instance.runtime_status),
            instance.created_time.relative(now).into(),
            instance.last_updated_time.relative(now).into(),
            custom.into(),
        ]);
    }
    table
}
