//! Commands that change instances.

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Hub, Status};
use crate::cli::client::Client;
use crate::cli::confirm;
use crate::cli::failure::Failure;
use crate::cli::input;
use crate::cli::output::{Output, clean};

/// What to change.
#[derive(Debug, clap::Args)]
pub(crate) struct Targets {
    /// Ids of instances, - for those on standard input, one a line
    #[arg(required = true)]
    ids: Vec<String>,
    /// Why, for the record
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    hub: Hub,
}

/// A change of any number of instances.
#[derive(Debug)]
pub(super) struct Action {
    /// The last segment of the path.
    verb: &'static str,
    /// What has been done, as in "suspended ID".
    past: &'static str,
}

pub(super) const SUSPEND: Action = Action { verb: "suspend", past: "suspended" };
pub(super) const RESUME: Action = Action { verb: "resume", past: "resumed" };
pub(super) const TERMINATE: Action = Action { verb: "terminate", past: "terminated" };
pub(super) const REWIND: Action = Action { verb: "rewind", past: "rewound" };

impl Action {
    /// Does it to each in turn.
    pub(super) async fn run(
        &self,
        targets: &Targets,
        client: &Client,
        output: &Output,
    ) -> anyhow::Result<()> {
        let ids = input::ids(&targets.ids)?;
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for id in &ids {
            let call = targets.hub.call(client, Method::POST, id, &[self.verb]);
            let call = call.query_if("reason", targets.reason.as_deref());
            match call.send().await {
                Ok(_) => {
                    output.note(format_args!("{} {}", self.past, clean(id)));
                    done.push(id);
                }
                Err(failure) if ids.len() == 1 => return Err(failure.into()),
                Err(failure) => failed.push((id, failure)),
            }
        }
        if output.is_json() {
            let failed: serde_json::Map<String, Value> = failed
                .iter()
                .map(|(id, failure)| ((*id).clone(), failure.message.as_str().into()))
                .collect();
            output.json(&json!({ "succeeded": done, "failed": failed }))?;
        }
        if failed.is_empty() {
            return Ok(());
        }
        let message =
            format!("could not {} {} of {} instances", self.verb, failed.len(), ids.len());
        let lines = failed.iter().map(|(id, failure)| format!("{id}: {}", failure.message));
        Err(Failure::error(message).with_details(lines).into())
    }
}

/// Runs `raise-event`.
pub(super) async fn raise_event(
    id: &str,
    event: &str,
    data: &str,
    hub: &Hub,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let data = input::argument("--data", data)?;
    let call = hub.call(client, Method::POST, id, &["raiseEvent", event]);
    call.json(&data).send().await?;
    output.note(format_args!("told {} of {}", clean(id), clean(event)));
    if output.is_json() {
        return output.json(&json!({ "instanceId": id, "event": event }));
    }
    Ok(())
}

/// Runs `restart`.
pub(super) async fn restart(
    id: &str,
    same_id: bool,
    hub: &Hub,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let call = hub.call(client, Method::POST, id, &["restart"]);
    let call = call.query("restartWithNewInstanceId", !same_id);
    let answer = call.send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    output.line(clean(answer["id"].as_str().unwrap_or_default()))
}

/// What to remove.
#[derive(Debug, clap::Args)]
pub(crate) struct Purge {
    /// Ids of instances, - for those on standard input, one a line
    #[arg(required_unless_present = "from", conflicts_with_all = ["from", "to", "status"])]
    ids: Vec<String>,
    /// All that were created then or later, such as 2026-01-31T08:00:00Z
    #[arg(long)]
    from: Option<Timestamp>,
    /// Only instances created before
    #[arg(long, requires = "from")]
    to: Option<Timestamp>,
    /// Only instances of this status; may be repeated
    #[arg(long, ignore_case = true, requires = "from")]
    status: Vec<Status>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    hub: Hub,
}

impl Purge {
    /// Runs `purge`.
    pub(super) async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let mut count = 0;
        if let Some(from) = self.from {
            let what = format!("all that have ended of those created since {from}");
            confirm("purge", &[what], self.yes)?;
            let statuses: Vec<String> = self.status.iter().map(|status| status.word()).collect();
            let call = self.hub.of(client.durable(Method::DELETE, &["instances"]));
            let call = call
                .query("createdTimeFrom", from)
                .query_if("createdTimeTo", self.to)
                .query_if("runtimeStatus", (!statuses.is_empty()).then(|| statuses.join(",")));
            count = deleted(&call.send().await?.value()?);
        } else {
            let ids = input::ids(&self.ids)?;
            confirm("purge", &ids, self.yes)?;
            for id in &ids {
                let call = self.hub.call(client, Method::DELETE, id, &[]);
                count += deleted(&call.send().await?.value()?);
            }
        }
        output.note(format_args!("purged {count} instances"));
        if output.is_json() {
            return output.json(&json!({ "instancesDeleted": count }));
        }
        Ok(())
    }
}

fn deleted(answer: &Value) -> u64 {
    answer["instancesDeleted"].as_u64().unwrap_or(0)
}
