//! `nightbell group`: users who are granted things together.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::document::Removal;
use super::moment::Moment;
use super::output::Output;
use super::table::Table;
use super::user::{Granted, rights};

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create a group; its members have its grants
    #[command(after_help = "\
Examples:
  nightbell group create on-call --role responder
  nightbell group create etl --role runner --on 'kind=workflow,name=etl-*'
  nightbell group add on-call ann bob
  nightbell grant add group:on-call --role runner")]
    Create(Create),
    /// List groups with their members
    List,
    /// Show groups
    Show {
        /// Names or ids
        #[arg(required = true, value_name = "GROUP")]
        names: Vec<String>,
    },
    /// Delete groups: their members lose the grants at once
    Delete(Removal),
    /// Add users to a group; it takes effect at their next request
    Add(Members),
    /// Remove users from a group; it takes effect at their next request
    Remove(Members),
}

/// What group to create.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name: letters, digits and . _ @ + -
    #[arg(value_name = "GROUP")]
    name: String,
    /// A role of its members; repeat it for several
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// On what: a selector such as hub=sales; repeat it for several. On everything without it
    #[arg(long = "on", value_name = "SELECTOR", requires = "roles")]
    on: Vec<String>,
}

/// Who, and of which group.
#[derive(Debug, Args)]
pub(crate) struct Members {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,
    /// The users
    #[arg(required = true, value_name = "USER")]
    users: Vec<String>,
}

/// What a table shows of a group.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shown {
    name: String,
    roles: Vec<String>,
    grants: Vec<Granted>,
    members: Vec<String>,
    created_at: Moment,
    created_by: String,
}

const GROUPS: [&str; 2] = ["access", "groups"];

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Create(Create { name, roles, on }) => {
            let body = json!({ "name": name, "roles": roles, "on": on });
            let group = client.post(&GROUPS).json(&body).send().await?.value()?;
            output.note(format_args!("created the group {name}"));
            if output.is_json() { output.json(&group) } else { Ok(()) }
        }
        Verb::List => show(&client.get(&GROUPS).send().await?.value()?, output),
        Verb::Show { names } => {
            let mut groups = Vec::new();
            for name in &names {
                groups.push(client.get(&["access", "groups", name]).send().await?.value()?);
            }
            show(&Value::from(groups), output)
        }
        Verb::Delete(removal) => {
            for name in removal.confirmed("the group")? {
                client.delete(&["access", "groups", name]).send().await?;
                output.note(format_args!("deleted the group {name}"));
            }
            Ok(())
        }
        Verb::Add(Members { group, users }) => {
            let mut changed = Value::Null;
            for user in &users {
                let path = ["access", "groups", &group, "members", user];
                changed = client.put(&path).send().await?.value()?;
                output.note(format_args!("added {user} to the group {group}"));
            }
            if output.is_json() { output.json(&changed) } else { Ok(()) }
        }
        Verb::Remove(Members { group, users }) => {
            let mut changed = Value::Null;
            for user in &users {
                let path = ["access", "groups", &group, "members", user];
                changed = client.delete(&path).send().await?.value()?;
                output.note(format_args!("removed {user} from the group {group}"));
            }
            if output.is_json() { output.json(&changed) } else { Ok(()) }
        }
    }
}

fn show(groups: &Value, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(groups);
    }
    let groups: Vec<Shown> = understand("list of groups", groups)?;
    let now = Timestamp::now();
    let mut table = Table::new(&["NAME", "~MEMBERS", "~ROLES", "CREATED", "~BY"]);
    for group in &groups {
        table.row([
            (&group.name).into(),
            group.members.join(", ").into(),
            rights(&group.roles, &group.grants).into(),
            group.created_at.relative(now).into(),
            (&group.created_by).into(),
        ]);
    }
    output.table(&table)?;
    if groups.is_empty() {
        output.note("no groups; create one with `nightbell group create NAME --role ROLE`");
    }
    Ok(())
}
