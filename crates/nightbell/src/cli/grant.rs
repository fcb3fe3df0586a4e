//! `nightbell grant`: what keys, users and groups may do, and on what.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::output::Output;
use super::table::Table;

/// What to do with grants.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Add grants to a key, a user or a group; they take effect at the next request
    #[command(after_help = "\
Examples:
  nightbell grant add 4f1d0c8a2b6e --role worker --on hub=sales
  nightbell grant add 4f1d0c8a2b6e --role runner --on 'kind=workflow,name=etl-*'
  nightbell grant add user:ann --role editor
  nightbell grant add group:on-call --role responder")]
    Add(Granting),
    /// Remove grants, as `grant list` shows them; it takes effect at the next request
    Remove(Granting),
    /// List who holds which role, and on what
    List {
        /// Only of this key
        #[arg(long, value_name = "KEYID", conflicts_with_all = ["user", "group"])]
        key: Option<String>,
        /// Only of this user, without those of groups
        #[arg(long, value_name = "NAME", conflicts_with = "group")]
        user: Option<String>,
        /// Only of this group
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
    },
}

/// Which roles, and on what.
#[derive(Debug, Args)]
pub(crate) struct Granting {
    /// Whom: the id of a key, user:NAME or group:NAME
    #[arg(value_name = "WHO")]
    who: String,
    /// The role; repeat it for several
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<String>,
    /// On what: a selector such as hub=sales; repeat it for several. On everything without it
    #[arg(long = "on", value_name = "SELECTOR")]
    on: Vec<String>,
}

/// A grant as the server lists it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shown {
    key_id: Option<String>,
    user: Option<String>,
    group: Option<String>,
    name: String,
    role: String,
    on: Option<String>,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    let path = ["access", "grants"];
    let answer = match verb {
        Verb::List { key, user, group } => {
            let call = client.get(&path).query_if("key", key).query_if("user", user);
            call.query_if("group", group).send().await?.value()?
        }
        Verb::Add(Granting { who, roles, on }) => {
            let (kind, who) = holder(&who);
            let body = json!({ kind: who, "roles": roles, "on": on });
            client.post(&path).json(&body).send().await?.value()?
        }
        Verb::Remove(Granting { who, roles, on }) => {
            let (kind, who) = holder(&who);
            let mut call = client.delete(&path).query(kind, who);
            for role in roles {
                call = call.query("role", role);
            }
            for selector in on {
                call = call.query("on", selector);
            }
            call.send().await?.value()?
        }
    };
    show(&answer, output)
}

/// What somebody is, and their name or id: a key, `user:NAME` or `group:NAME`.
pub(super) fn holder(who: &str) -> (&'static str, &str) {
    match who.split_once(':') {
        Some(("user", name)) => ("user", name),
        Some(("group", name)) => ("group", name),
        Some(("key", id)) => ("key", id),
        _ => ("key", who),
    }
}

fn show(answer: &Value, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(answer);
    }
    let grants: Vec<Shown> = understand("list of grants", answer)?;
    let mut table = Table::new(&["WHO", "NAME", "ROLE", "ON"]);
    for grant in &grants {
        let who = match grant {
            Shown { key_id: Some(key), .. } => key.clone(),
            Shown { user: Some(user), .. } => format!("user:{user}"),
            Shown { group: Some(group), .. } => format!("group:{group}"),
            _ => String::new(),
        };
        table.row([
            who.into(),
            (&grant.name).into(),
            (&grant.role).into(),
            grant.on.as_deref().unwrap_or("everything").into(),
        ]);
    }
    output.table(&table)?;
    if grants.is_empty() {
        output.note("no grants: nothing is allowed by itself");
    }
    Ok(())
}
