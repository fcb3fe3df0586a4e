//! `nightbell key`: who may use the server, and for what.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::confirm;
use super::failure::Failure;
use super::moment::Moment;
use super::output::Output;
use super::table::{Cell, Table};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create a key; prints its id and, this once only, the key itself
    #[command(after_help = "\
Roles:
  viewer     sees definitions, runs, monitors and incidents
  responder  a viewer who acknowledges, snoozes, resolves and silences
  runner     a viewer who starts, signals, pauses, retries and terminates runs
  editor     a runner who writes definitions, schedules, monitors, triggers and webhooks
  secrets    writes and deletes secrets; nobody can read them
  worker     takes work and reports on it, and does nothing else
  metrics    reads /metrics
  auditor    a viewer who reads the audit ledger
  admin      may do everything

Examples:
  nightbell key create etl-workers --role worker
  nightbell key create ann --role responder --role runner
  nightbell key create deploy --role editor --expires 90d -o json
  nightbell key create sales --role worker --on hub=sales --on 'task=load*'
  nightbell key create laptop --user ann --expires 30d

Selectors of --on narrow the roles; without one, they hold on everything:
  hub=NAME                   a task hub
  task=TYPE[,domain=NAME]    what workers poll for
  kind=workflow,name=NAME    workflows of this name, and their runs
  kind=workflow,tag=KEY=VALUE
A * in a name stands for any characters. `nightbell role list` says which roles can be narrowed to
what, `nightbell grant` changes it later.

Use it as NIGHTBELL_KEY, as `Authorization: Bearer KEY`, or in SDKs as id and secret.")]
    Create(Create),
    /// List keys: their roles, and when each was used last since the server started
    List {
        /// Also list revoked and expired keys
        #[arg(long)]
        all: bool,
    },
    /// Revoke keys, by their ids; requests with them are refused at once
    Revoke(Revocation),
}

/// What key to make.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name, such as the program or the person that will use it
    #[arg(value_name = "NAME")]
    name: String,
    /// A role; repeat it for several
    #[arg(long = "role", value_name = "ROLE", required_unless_present = "user")]
    roles: Vec<String>,
    /// On what: a selector such as hub=sales; repeat it for several. On everything without it
    #[arg(long = "on", value_name = "SELECTOR")]
    on: Vec<String>,
    /// For a user: the key always has the user's present permissions, and is valid while the user
    /// is enabled
    #[arg(long, value_name = "NAME", conflicts_with_all = ["roles", "on"])]
    user: Option<String>,
    /// When it expires: after a time such as 90d
    #[arg(long, value_name = "DURATION")]
    expires: Option<String>,
}

/// Which keys to revoke.
#[derive(Debug, Args)]
pub(crate) struct Revocation {
    /// Ids of keys
    #[arg(required = true, value_name = "KEYID")]
    ids: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// What a table shows of a key.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shown {
    key_id: String,
    key_secret: String,
    name: String,
    roles: Vec<String>,
    grants: Vec<Granted>,
    user: Option<String>,
    status: String,
    created_at: Moment,
    created_by: String,
    expires_at: Moment,
    used_at: Moment,
}

/// A role that holds on some things.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Granted {
    role: String,
    on: String,
}

impl Shown {
    /// What it holds, in words.
    fn rights(&self) -> String {
        if let Some(user) = &self.user {
            return format!("as {user}");
        }
        let narrowed = self.grants.iter().map(|it| format!("{} on {}", it.role, it.on));
        self.roles.iter().cloned().chain(narrowed).collect::<Vec<_>>().join(", ")
    }
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Create(wanted) => create(&wanted, client, output).await,
        Verb::List { all } => list(all, client, output).await,
        Verb::Revoke(revocation) => revoke(&revocation, client, output).await,
    }
}

async fn create(wanted: &Create, client: &Client, output: &Output) -> anyhow::Result<()> {
    let mut body = json!({ "name": wanted.name, "roles": wanted.roles, "on": wanted.on });
    if let Some(user) = &wanted.user {
        body["user"] = user.as_str().into();
    }
    if let Some(expires) = &wanted.expires {
        let length = span(expires)?;
        let end = Timestamp::now().checked_add(length);
        let end = end.map_err(|_| Failure::usage(format!("`{expires}` is too long")))?;
        body["expiresAt"] = end.as_millisecond().into();
    }
    let answer = client.post(&["access", "keys"]).json(&body).send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let key: Shown = understand("key", &answer)?;
    output.note(format_args!("made the key {} for {} ({})", key.key_id, key.name, key.rights()));
    output.note("it is shown this once; whoever has it may use it");
    output.line(&key.key_secret)
}

/// A length of time with its unit, as in the settings.
fn span(text: &str) -> Result<Duration, Failure> {
    let wrong =
        || Failure::usage(format!("`{text}` is not a duration")).with_hint("write 12h or 90d");
    let unit =
        text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at)).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).filter(|it| *it > 0).map(Duration::from_secs).ok_or_else(wrong)
}

async fn list(all: bool, client: &Client, output: &Output) -> anyhow::Result<()> {
    let answer = client.get(&["access", "keys"]).send().await?.value()?;
    let is_wanted = |key: &Value| all || key["status"] == "VALID";
    let keys: Vec<Value> =
        answer.as_array().into_iter().flatten().filter(|key| is_wanted(key)).cloned().collect();
    let keys = Value::from(keys);
    if output.is_json() {
        return output.json(&keys);
    }
    let keys: Vec<Shown> = understand("list of keys", &keys)?;
    let now = Timestamp::now();
    let mut table =
        Table::new(&["ID", "NAME", "~ROLES", "STATUS", "USED", "EXPIRES", "MADE", "~BY"]);
    for key in &keys {
        table.row([
            (&key.key_id).into(),
            (&key.name).into(),
            key.rights().into(),
            Cell::status(&key.status),
            key.used_at.relative(now).into(),
            key.expires_at.relative(now).into(),
            key.created_at.relative(now).into(),
            (&key.created_by).into(),
        ]);
    }
    output.table(&table)?;
    if keys.is_empty() {
        output.note("no keys; make one with `nightbell key create NAME --role ROLE`");
    }
    Ok(())
}

async fn revoke(revocation: &Revocation, client: &Client, output: &Output) -> anyhow::Result<()> {
    let labels: Vec<String> = revocation.ids.iter().map(|id| format!("key {id}")).collect();
    confirm("revoke", &labels, revocation.yes)?;
    for id in &revocation.ids {
        client.delete(&["access", "keys", id]).send().await?;
        output.note(format_args!("revoked the key {id}"));
    }
    if output.is_json() { output.json(&revocation.ids) } else { Ok(()) }
}
