//! `nightbell orchestration`: instances, whether code or a graph is what they run.

mod control;
mod list;
mod show;
mod start;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Call, Client};
use super::failure::Failure;
use super::moment::Moment;
use super::output::Output;

/// What to do with instances.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start an instance; prints its id
    Start(start::Arguments),
    /// List instances, the newest first
    List(list::Arguments),
    /// Show one instance: status, input, custom status and output
    #[command(visible_alias = "status")]
    Show(show::Arguments),
    /// Raise an event for an instance
    #[command(after_help = "\
Example:
  nightbell orchestration raise-event ID Approval -d '{\"by\": \"ann\"}'")]
    RaiseEvent {
        /// Id of the instance
        id: String,
        /// Name of the event, in any case
        event: String,
        /// Payload of the event: JSON, @FILE, or - for standard input
        #[arg(short, long, value_name = "JSON", default_value = "null")]
        data: String,
        #[command(flatten)]
        hub: Hub,
    },
    /// Suspend instances until they are resumed
    Suspend(control::Targets),
    /// Resume suspended instances
    Resume(control::Targets),
    /// Terminate instances
    Terminate(control::Targets),
    /// Rewind failed instances: they continue from where they failed
    Rewind(control::Targets),
    /// Restart an instance with its original input; prints the id
    Restart {
        /// Id of the instance
        id: String,
        /// Under its own id, once it has ended, instead of a new one
        #[arg(long)]
        same_id: bool,
        #[command(flatten)]
        hub: Hub,
    },
    /// Purge instances that have ended, with their history
    #[command(after_help = "\
Examples:
  nightbell orchestration purge ID
  nightbell orchestration purge --from 2026-01-01T00:00:00Z --status Failed --yes")]
    Purge(control::Purge),
}

/// Whose instances.
#[derive(Debug, Default, Args)]
pub(crate) struct Hub {
    /// Task hub of the instances
    #[arg(long = "hub", value_name = "NAME", env = "NIGHTBELL_TASK_HUB")]
    hub: Option<String>,
}

impl Hub {
    fn of<'a>(&self, call: Call<'a>) -> Call<'a> {
        call.query_if("taskHub", self.hub.as_deref())
    }

    /// A call about one instance, named by its id within this hub or by its whole id.
    pub(super) fn call<'a>(
        &self,
        client: &'a Client,
        method: Method,
        id: &str,
        path: &[&str],
    ) -> Call<'a> {
        let (hub, id) = match whole(id) {
            Some((hub, id)) => (Some(hub), id),
            None => (self.hub.as_deref(), id),
        };
        let path = [&["instances", id], path].concat();
        client.durable(method, &path).query_if("taskHub", hub)
    }
}

/// The hub and the id within it of a whole id, `instance:HUB:ID`, as lists of runs show it.
pub(super) fn whole(id: &str) -> Option<(&str, &str)> {
    id.strip_prefix("instance:")?.split_once(':')
}

/// Where an instance of the default hub, or of a whole id, stands and what it waits for.
pub(super) async fn standing(id: &str, client: &Client) -> Result<Value, Failure> {
    show::show(id, false, &Hub::default(), client).await
}

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum Status {
    Running,
    Completed,
    ContinuedAsNew,
    Failed,
    Canceled,
    Terminated,
    Pending,
    Suspended,
}

impl Status {
    fn word(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What a person reads of an instance.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Instance {
    name: String,
    #[serde(rename = "instanceId")]
    id: String,
    runtime_status: String,
    created_time: Moment,
    last_updated_time: Moment,
    custom_status: Value,
    history_events: Vec<Value>,
}

/// Shows what `nightbell run show` finds no workflow for.
///
/// # Errors
/// It cannot be understood or written.
pub(super) fn show_run(instance: &Value, output: &Output) -> anyhow::Result<()> {
    show::print(instance, false, output)
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Start(arguments) => start::run(&arguments, client, output).await,
        Verb::List(arguments) => list::run(&arguments, client, output).await,
        Verb::Show(arguments) => show::run(&arguments, client, output).await,
        Verb::RaiseEvent { id, event, data, hub } => {
            control::raise_event(&id, &event, &data, &hub, client, output).await
        }
        Verb::Suspend(targets) => control::SUSPEND.run(&targets, client, output).await,
        Verb::Resume(targets) => control::RESUME.run(&targets, client, output).await,
        Verb::Terminate(targets) => control::TERMINATE.run(&targets, client, output).await,
        Verb::Rewind(targets) => control::REWIND.run(&targets, client, output).await,
        Verb::Restart { id, same_id, hub } => {
            control::restart(&id, same_id, &hub, client, output).await
        }
        Verb::Purge(purge) => purge.run(client, output).await,
    }
}
