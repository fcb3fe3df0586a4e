//! `nightbell event`: handlers of messages, what they made of them, and messages by hand.

use clap::Subcommand;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::document::{Files, Removal, at, name_of};
use super::failure::{Exit, Failure};
use super::input::{self, Document};
use super::moment::Moment;
use super::output::{Output, clean};
use super::table::{Cell, Table};

/// What to do with events.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List event handlers
    List {
        /// Only handlers of this event, such as nats:orders.new
        #[arg(long, value_name = "TYPE:QUEUE")]
        event: Option<String>,
    },
    /// Print an event handler as JSON
    Get {
        /// Name of the handler
        name: String,
    },
    /// Create new event handlers
    #[command(after_help = "\
A file holds one handler or a list of them:
  { \"name\": \"orders\", \"event\": \"kafka:orders\", \"active\": true,
    \"condition\": \"$.payload.total > 100\",
    \"actions\": [{ \"action\": \"start_workflow\", \"start_workflow\": {
      \"name\": \"check_order\", \"input\": { \"order\": \"${payload}\" },
      \"idempotencyKey\": \"${payload.id}\", \"idempotencyStrategy\": \"RETURN_EXISTING\" } }] }")]
    Create(Files),
    /// Replace event handlers that exist
    Update(Files),
    /// Delete event handlers; runs that they have started continue
    Delete(Removal),
    /// List the queues that the server consumes, with the errors of those that fail
    Queues,
    /// Publish a message, through its broker or, for conductor:QUEUE, to the event handlers of the
    /// server
    #[command(after_help = "\
Examples:
  nightbell event publish conductor:orders:new -p '{\"id\": 7}'
  nightbell event publish kafka:orders -p @order.json")]
    Publish {
        /// Where to: type:queue
        #[arg(value_name = "TYPE:QUEUE")]
        event: String,
        /// Its payload: JSON, @FILE, or - for standard input
        #[arg(short, long, value_name = "JSON", default_value = "{}")]
        payload: String,
        /// Id for deduplication: the same id twice is the same message
        #[arg(long)]
        id: Option<String>,
    },
    /// List the messages and actions of a handler, newest first; without a name, count them for
    /// each
    History {
        /// Name of the handler
        name: Option<String>,
        /// How many to list at most
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List { event } => list(event.as_deref(), client, output).await,
        Verb::Get { name } => output.json(&get(&name, client).await?),
        Verb::Create(files) => save(&files.read()?, false, client, output).await,
        Verb::Update(files) => save(&files.read()?, true, client, output).await,
        Verb::Delete(removal) => removal.run("event handler", &["event"], client, output).await,
        Verb::Queues => queues(client, output).await,
        Verb::Publish { event, payload, id } => {
            let payload = input::argument("--payload", &payload)?;
            publish(&event, payload, id.as_deref(), client, output).await
        }
        Verb::History { name: Some(name), limit } => history(&name, limit, client, output).await,
        Verb::History { name: None, .. } => counts(client, output).await,
    }
}

async fn get(name: &str, client: &Client) -> Result<Value, Failure> {
    client.get(&["event", "handler", name]).send().await?.value()
}

/// What a table shows of a handler.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    name: String,
    event: String,
    active: bool,
    actions: Vec<Action>,
    description: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Action {
    action: String,
    start_workflow: Option<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

impl Action {
    fn text(&self) -> String {
        match &self.start_workflow {
            Some(start) => format!("{} {}", self.action, start.name),
            None => self.action.clone(),
        }
    }
}

async fn list(event: Option<&str>, client: &Client, output: &Output) -> anyhow::Result<()> {
    let call = match event {
        Some(event) => client.get(&["event", event]).query("activeOnly", false),
        None => client.get(&["event"]),
    };
    let answer = call.send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let handlers: Vec<Shown> = understand("list of event handlers", &answer)?;
    let mut table = Table::new(&["NAME", "STATUS", "EVENT", "~ACTIONS", "~DESCRIPTION"]);
    for shown in &handlers {
        let actions: Vec<String> = shown.actions.iter().map(Action::text).collect();
        table.row([
            (&shown.name).into(),
            Cell::status(if shown.active { "ACTIVE" } else { "INACTIVE" }),
            (&shown.event).into(),
            actions.join(", ").into(),
            shown.description.as_deref().unwrap_or_default().into(),
        ]);
    }
    output.table(&table)?;
    if handlers.is_empty() {
        output.note("no event handlers; create one with `nightbell event create -f FILE`");
    }
    Ok(())
}

async fn save(
    documents: &[Document],
    exists: bool,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut saved = Vec::new();
    for Document { origin, value } in documents {
        let name = name_of(value);
        let call = if exists { client.put(&["event"]) } else { client.post(&["event"]) };
        call.json(value).send().await.map_err(|failure| {
            let failure = at(origin, failure);
            match failure.exit {
                Exit::Conflict => failure.with_hint("use `nightbell event update`"),
                Exit::NotFound => failure.with_hint("use `nightbell event create`"),
                _ => failure,
            }
        })?;
        output.note(format_args!("saved event handler {}", clean(name)));
        saved.push(name);
    }
    if output.is_json() { output.json(&saved) } else { Ok(()) }
}

async fn queues(client: &Client, output: &Output) -> anyhow::Result<()> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Answer {
        types: Vec<String>,
        queues: Vec<Queue>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Queue {
        event: String,
        trouble: Option<String>,
    }
    let answer = client.get(&["event", "queue", "config"]).send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let answer: Answer = understand("list of queues", &answer)?;
    let mut table = Table::new(&["EVENT", "STATUS", "~TROUBLE"]);
    for queue in &answer.queues {
        table.row([
            (&queue.event).into(),
            Cell::status(if queue.trouble.is_none() { "LISTENING" } else { "SILENT" }),
            queue.trouble.as_deref().unwrap_or_default().into(),
        ]);
    }
    output.table(&table)?;
    output.note(format_args!("types of events: {}", clean(&answer.types.join(", "))));
    Ok(())
}

async fn publish(
    event: &str,
    payload: Value,
    id: Option<&str>,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut message = json!({ "event": event, "payload": payload });
    if let Some(id) = id {
        message["id"] = id.into();
    }
    let answer = client.post(&["event", "publish"]).json(&message).send().await?.value()?;
    if answer["heeded"] == false {
        output.note(format_args!("no active handler subscribes to {}", clean(event)));
    }
    if output.is_json() {
        return output.json(&answer);
    }
    output.line(clean(answer["id"].as_str().unwrap_or_default()))
}

async fn history(name: &str, limit: u32, client: &Client, output: &Output) -> anyhow::Result<()> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Handling {
        created: Moment,
        status: String,
        message_id: String,
        action: Option<String>,
        status_description: Option<String>,
        output: Value,
    }
    let call = client.get(&["event", "execution", name]).query("size", limit);
    let answer = call.send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let handlings: Vec<Handling> = understand("history", &answer)?;
    let now = Timestamp::now();
    let mut table = Table::new(&["WHEN", "STATUS", "MESSAGE", "ACTION", "RUN", "~REASON"]);
    for handling in &handlings {
        table.row([
            handling.created.relative(now).into(),
            Cell::status(&handling.status),
            (&handling.message_id).into(),
            handling.action.as_deref().unwrap_or_default().into(),
            handling.output["workflowId"].as_str().unwrap_or_default().into(),
            handling.status_description.as_deref().unwrap_or_default().into(),
        ]);
    }
    output.table(&table)?;
    if handlings.is_empty() {
        // An unknown name is a mistake, a handler that has heard nothing is none.
        get(name, client).await?;
        output.note("nothing yet");
    }
    Ok(())
}

async fn counts(client: &Client, output: &Output) -> anyhow::Result<()> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Answer {
        results: Vec<Value>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Count {
        name: String,
        event: String,
        number_of_messages: u64,
        number_of_actions: u64,
    }
    let answer = client.get(&["event", "execution"]).send().await?.value()?;
    let answer: Answer = understand("history", &answer)?;
    if output.is_json() {
        return output.json(&answer.results);
    }
    let mut table = Table::new(&["NAME", "EVENT", "MESSAGES", "ACTIONS"]);
    for count in &answer.results {
        let count: Count = understand("history", count)?;
        table.row([
            count.name.into(),
            count.event.into(),
            count.number_of_messages.to_string().into(),
            count.number_of_actions.to_string().into(),
        ]);
    }
    output.table(&table)?;
    if answer.results.is_empty() {
        output.note("no event handlers");
    }
    Ok(())
}
