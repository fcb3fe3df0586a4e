//! `nightbell receiver`: who is told, and whether it arrives.

use clap::Subcommand;
use serde_json::Value;

use super::client::Client;
use super::failure::{Exit, Failure};
use super::moment::Moment;
use super::output::{Output, clean};
use super::table::{Cell, Table};

/// What to do with receivers.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List receivers
    List,
    /// Send a test notification and print the response of the receiver; exits with 5 if it did not
    /// arrive
    Test {
        /// Name of the receiver
        name: String,
    },
    /// Show what a receiver of the kind inbox was told, newest first
    #[command(after_help = "\
Examples:
  nightbell receiver inbox me
  nightbell receiver inbox me --limit 5 -o json")]
    Inbox {
        /// Name of the receiver
        name: String,
        /// Number of messages
        #[arg(long, default_value_t = 20)]
        limit: u64,
    },
    /// Resend dead deliveries, once the receiver has been repaired: of open incidents, and resolves
    /// that it has not received
    Resend {
        /// Name of the receiver
        name: String,
    },
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => list(client, output).await,
        Verb::Inbox { name, limit } => inbox(&name, limit, client, output).await,
        Verb::Resend { name } => {
            let call = client.post(&["receivers", &name, "resend"]).query("by", "cli");
            let answer = call.send().await?.value()?;
            if output.is_json() {
                output.json(&answer)?;
            }
            output.note(match answer["monitors"].as_u64().unwrap_or_default() {
                0 => format!("nothing that {name} did not take still matters"),
                1 => format!("what {name} did not take of a monitor is sent again"),
                count => format!("what {name} did not take of {count} monitors is sent again"),
            });
            Ok(())
        }
        Verb::Test { name } => {
            let call = client.post(&["receivers", &name, "test"]).query("by", "cli");
            let answer = call.send().await?.value()?;
            if output.is_json() {
                output.json(&answer)?;
            }
            if answer["delivered"] == true {
                output.note(format_args!("{name} took the notification"));
                return Ok(());
            }
            let reason = answer["reason"].as_str().unwrap_or("it has not answered yet");
            let run = answer["workflowId"].as_str().unwrap_or_default();
            let message = format!("{name} did not take the notification: {}", clean(reason));
            Err(Failure::new(Exit::WorkflowFailed, message)
                .with_hint(format!("nightbell run get {run}"))
                .into())
        }
    }
}

async fn inbox(name: &str, limit: u64, client: &Client, output: &Output) -> anyhow::Result<()> {
    let call = client.get(&["receivers", name, "inbox"]).query("size", limit);
    let found = call.send().await?.value()?;
    if output.is_json() {
        return output.json(&found);
    }
    let messages = found["results"].as_array().map_or(&[][..], Vec::as_slice);
    for message in messages {
        let at = Moment::of(&message["at"]).rfc3339().unwrap_or_default();
        let text = |member: &str| message[member].as_str().unwrap_or_default();
        output.line(format_args!("{at} {} {}", clean(text("event")), clean(text("title"))))?;
        for line in text("text").lines().filter(|line| !line.trim().is_empty()) {
            output.line(format_args!("    {}", clean(line)))?;
        }
    }
    let total = found["totalHits"].as_u64().unwrap_or_default();
    match messages.len() as u64 {
        0 => output.note(format_args!("nothing was told to {name}")),
        shown if shown < total => output.note(format_args!("{shown} of {total}; see --limit")),
        _ => {}
    }
    Ok(())
}

async fn list(client: &Client, output: &Output) -> anyhow::Result<()> {
    let receivers = client.get(&["receivers"]).send().await?.value()?;
    if output.is_json() {
        return output.json(&receivers);
    }
    let mut table = Table::new(&["NAME", "KIND", "STATUS", "FALLBACK", "~REASON", "~SOURCE"]);
    let text = |value: &Value| clean(value.as_str().unwrap_or_default());
    for receiver in receivers.as_array().into_iter().flatten() {
        table.row([
            text(&receiver["name"]).into(),
            text(&receiver["kind"]).into(),
            Cell::status(&text(&receiver["status"])),
            text(&receiver["fallback"]).into(),
            text(&receiver["broken"]["reason"]).into(),
            text(&receiver["source"]).into(),
        ]);
    }
    output.table(&table)
}
