//! `nightbell user`: people who sign in with a name and a password.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::document::Removal;
use super::failure::Failure;
use super::moment::Moment;
use super::output::Output;
use super::prompt;
use super::table::{Cell, Table};

/// What to do with users.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create a user; asks for the password, or reads it as a line of standard input
    #[command(after_help = "\
Examples:
  nightbell user create ann --role admin
  nightbell user create bob --group on-call
  nightbell user create reports --no-password --role viewer      for keys of its own:
  nightbell key create nightly --user reports

A password has 12 characters or more. Upper and lower case of names are the same. What users may do
is granted to them, or better to their groups; see `nightbell group` and `nightbell grant`.")]
    Create(Create),
    /// List users, with when each was seen last since the server started
    List,
    /// Show users: their groups and grants
    Show {
        /// Names or ids
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Disable users: their sessions end and their keys are refused at once
    Disable(Removal),
    /// Enable disabled users; their keys are valid again
    Enable {
        /// Names or ids
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Delete users: their sessions and keys end at once, and runs that act as them are refused
    /// further actions
    Delete(Removal),
    /// Change a password: your own, or with a name somebody else's; all sessions of the user end
    #[command(after_help = "\
Examples:
  nightbell user passwd               your own: asks for the current one first
  nightbell user passwd bob           an administrator gives bob another one

Without a terminal, passwords are lines of standard input: the current one first, then the new one.")]
    Passwd {
        /// The user; yourself without one
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}

/// What user to create.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The name to sign in with: letters, digits and . _ @ + -
    #[arg(value_name = "NAME")]
    name: String,
    /// A role; repeat it for several
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// On what: a selector such as hub=sales; repeat it for several. On everything without it
    #[arg(long = "on", value_name = "SELECTOR", requires = "roles")]
    on: Vec<String>,
    /// A group; repeat it for several
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Without a password: nobody can sign in as this user, but keys can be made for it
    #[arg(long)]
    no_password: bool,
}

/// What a table shows of a user.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shown {
    id: String,
    name: String,
    roles: Vec<String>,
    grants: Vec<Granted>,
    groups: Vec<String>,
    status: String,
    has_password: bool,
    created_at: Moment,
    created_by: String,
    seen_at: Moment,
}

/// A role that holds on some things.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Granted {
    role: String,
    on: String,
}

/// What somebody holds, in words.
pub(super) fn rights(roles: &[String], grants: &[Granted]) -> String {
    let narrowed = grants.iter().map(|it| format!("{} on {}", it.role, it.on));
    roles.iter().cloned().chain(narrowed).collect::<Vec<_>>().join(", ")
}

const USERS: [&str; 2] = ["access", "users"];

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Create(wanted) => create(wanted, client, output).await,
        Verb::List => {
            let users = client.get(&USERS).send().await?.value()?;
            show(&users, output)
        }
        Verb::Show { names } => {
            let mut users = Vec::new();
            for name in &names {
                users.push(client.get(&["access", "users", name]).send().await?.value()?);
            }
            show(&Value::from(users), output)
        }
        Verb::Disable(removal) => {
            let mut users = Vec::new();
            for name in removal.confirmed_to("disable", "the user")? {
                let path = ["access", "users", name, "disable"];
                users.push(client.post(&path).send().await?.value()?);
                output.note(format_args!("disabled the user {name}"));
            }
            json_of(users, output)
        }
        Verb::Enable { names } => {
            let mut users = Vec::new();
            for name in &names {
                let path = ["access", "users", name, "enable"];
                users.push(client.post(&path).send().await?.value()?);
                output.note(format_args!("enabled the user {name}"));
            }
            json_of(users, output)
        }
        Verb::Delete(removal) => {
            let mut users = Vec::new();
            for name in removal.confirmed("the user")? {
                users.push(client.delete(&["access", "users", name]).send().await?.value()?);
                output.note(format_args!("deleted the user {name}"));
            }
            json_of(users, output)
        }
        Verb::Passwd { name: Some(name) } => {
            let password = prompt::new_password(&format!("New password of {name}"))?;
            let path = ["access", "users", &name, "password"];
            let answer = client.put(&path).json(&json!({ "password": *password })).send().await?;
            output
                .note(format_args!("changed the password of {name}; all its sessions have ended"));
            json_of(vec![answer.value()?], output)
        }
        Verb::Passwd { name: None } => own_password(client, output).await,
    }
}

async fn own_password(client: &Client, output: &Output) -> anyhow::Result<()> {
    let me = client.get(&["token", "userInfo"]).send().await?.value()?;
    if !me["id"].as_str().is_some_and(|id| id.starts_with("user:")) {
        return Err(Failure::usage("you have not signed in as a user")
            .with_hint("sign in with `nightbell login`, or name the user whose password to change")
            .into());
    }
    let current = prompt::password("Current password")?;
    let new = prompt::new_password("New password")?;
    let body = json!({ "current": *current, "new": *new });
    client.post(&["access", "password"]).json(&body).send().await?;
    output.note(
        "changed your password; all your sessions have ended, sign in with `nightbell login`",
    );
    Ok(())
}

async fn create(wanted: Create, client: &Client, output: &Output) -> anyhow::Result<()> {
    let Create { name, roles, on, groups, no_password } = wanted;
    let mut body = json!({ "name": name, "roles": roles, "on": on, "groups": groups });
    if !no_password {
        let password = prompt::new_password(&format!("Password of {name}"))?;
        body["password"] = password.as_str().into();
    }
    let answer = client.post(&USERS).json(&body).send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let user: Shown = understand("user", &answer)?;
    output.note(format_args!("created the user {} ({})", user.name, user.id));
    if user.roles.is_empty() && user.grants.is_empty() && user.groups.is_empty() {
        output.note("it may do nothing yet; see `nightbell grant add` and `nightbell group add`");
    }
    Ok(())
}

fn json_of(users: Vec<Value>, output: &Output) -> anyhow::Result<()> {
    if output.is_json() { output.json(&Value::from(users)) } else { Ok(()) }
}

fn show(users: &Value, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(users);
    }
    let users: Vec<Shown> = understand("list of users", users)?;
    let now = Timestamp::now();
    let mut table =
        Table::new(&["NAME", "~GROUPS", "~ROLES", "STATUS", "PASSWORD", "SEEN", "CREATED", "~BY"]);
    for user in &users {
        table.row([
            (&user.name).into(),
            user.groups.join(", ").into(),
            rights(&user.roles, &user.grants).into(),
            Cell::status(&user.status),
            if user.has_password { "yes" } else { "no" }.into(),
            user.seen_at.relative(now).into(),
            user.created_at.relative(now).into(),
            (&user.created_by).into(),
        ]);
    }
    output.table(&table)?;
    if users.is_empty() {
        output.note("no users; create one with `nightbell user create NAME`");
    }
    Ok(())
}
