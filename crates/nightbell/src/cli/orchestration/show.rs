//! `nightbell orchestration show`.

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{Hub, Instance};
use crate::cli::client::{Client, understand};
use crate::cli::failure::Failure;
use crate::cli::moment::Moment;
use crate::cli::output::{Output, clean};
use crate::cli::table::{Table, Tone};

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Id of the instance
    id: String,
    /// Also list its history, with results
    #[arg(long)]
    history: bool,
    #[command(flatten)]
    hub: Hub,
}

/// Runs the command.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let value = show(&arguments.id, arguments.history, &arguments.hub, client).await?;
    print(&value, arguments.history, output)
}

/// Asks for an instance, and what it waits for.
pub(super) async fn show(
    id: &str,
    history: bool,
    hub: &Hub,
    client: &Client,
) -> Result<Value, Failure> {
    let mut call = hub.call(client, Method::GET, id, &[]).query("showWaiting", true);
    if history {
        call = call.query("showHistory", true).query("showHistoryOutput", true);
    }
    call.send().await?.value()
}

/// Prints an instance.
pub(super) fn print(value: &Value, with_history: bool, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(value);
    }
    let instance: Instance = understand("instance", value)?;
    let now = Timestamp::now();
    let status = &instance.runtime_status;
    let status = Tone::paint(Tone::of_status(status), &clean(status), output.screen());
    let mut lines = vec![
        ("Instance", clean(&instance.id)),
        ("Name", clean(&instance.name)),
        ("Status", status),
        ("Created", instance.created_time.full(now)),
        ("Updated", instance.last_updated_time.full(now)),
    ];
    for (name, member) in [("Input", "input"), ("Custom", "customStatus"), ("Output", "output")] {
        if !value[member].is_null() {
            lines.push((name, clean(&value[member].to_string())));
        }
    }
    for waiting in value["waiting"].as_array().into_iter().flatten() {
        let text = |member: &str| clean(waiting[member].as_str().unwrap_or_default());
        lines.push(("Waits", format!("{}: {}", text("reference"), text("reason"))));
    }
    for (name, text) in lines {
        output.line(format_args!("{name:<12}{text}"))?;
    }
    if with_history {
        output.line("")?;
        output.table(&history(&instance.history_events)?)?;
    }
    Ok(())
}

/// What a table shows of an event.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Line {
    event_type: String,
    function_name: Option<String>,
    name: Option<String>,
    orchestration_status: Option<String>,
    timestamp: Moment,
    reason: Option<String>,
    result: Option<Value>,
}

fn history(events: &[Value]) -> anyhow::Result<Table> {
    let mut table = Table::new(&["TIME", "EVENT", "OF", "~RESULT"]);
    for event in events {
        let event: Line = understand("history", event)?;
        let of = event.function_name.or(event.name).or(event.orchestration_status);
        let result = event.reason.or_else(|| event.result.map(|result| result.to_string()));
        table.row([
            event.timestamp.rfc3339().unwrap_or_default().into(),
            event.event_type.into(),
            of.unwrap_or_default().into(),
            result.unwrap_or_default().into(),
        ]);
    }
    Ok(table)
}
