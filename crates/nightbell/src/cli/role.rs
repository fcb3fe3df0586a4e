//! `nightbell role`: what roles allow, and to what they can be narrowed.

use clap::Subcommand;
use serde::Deserialize;

use super::client::{Client, understand};
use super::output::Output;
use super::table::Table;

/// What to do with roles.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the roles: their permissions, and the kinds of things that they can be narrowed to
    List,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shown {
    role: String,
    permissions: Vec<String>,
    narrowed_to: Vec<String>,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    let Verb::List = verb;
    let answer = client.get(&["access", "roles"]).send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let roles: Vec<Shown> = understand("list of roles", &answer)?;
    let mut table = Table::new(&["ROLE", "~PERMISSIONS", "CAN BE NARROWED TO"]);
    for role in &roles {
        table.row([
            (&role.role).into(),
            role.permissions.join(", ").into(),
            role.narrowed_to.join(", ").into(),
        ]);
    }
    output.table(&table)
}
