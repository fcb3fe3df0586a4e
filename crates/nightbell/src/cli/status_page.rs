//! `nightbell status-page`: which monitors anybody may know the state of, and what is posted there.

use clap::Subcommand;
use jiff::Timestamp;
use kernel::status_page::{StatusPage, StatusPost};
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::document::{Files, Removal};
use super::failure::Failure;
use super::input;
use super::moment::Moment;
use super::output::{Output, clean};
use super::table::Table;

/// Where they are.
const PATH: &str = "status-pages";

/// What to do with status pages.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List status pages
    List,
    /// Print a status page as JSON
    Get {
        /// Name of the page
        name: String,
    },
    /// Create new status pages
    #[command(after_help = "\
A file holds one page or a list of them; the page is at /status/NAME:
  { \"name\": \"shop\", \"title\": \"Shop\", \"public\": true, \"zone\": \"Europe/Oslo\",
    \"groups\": [ { \"title\": \"Web\", \"components\": [
      { \"label\": \"Orders\", \"monitor\": \"web-orders\" },
      { \"label\": \"Warehouse\", \"monitor\": \"buildings\", \"key\": \"G44\" } ] } ] }

\"public\" has to be said: with true anybody who reaches the server sees the page, without signing in.
Names of monitors and keys are not on it, only labels.")]
    Create(Files),
    /// Replace status pages that exist; posts are kept
    Update(Files),
    /// Delete status pages with their posts
    Delete(Removal),
    /// List the posts of a status page, newest first
    Posts {
        /// Name of the page
        name: String,
    },
    /// Post a text on a status page; prints the id of the post
    #[command(after_help = "\
Examples:
  nightbell status-page post shop \"Orders are delayed; we look into it.\"
  nightbell status-page post shop -            what stands on standard input")]
    Post {
        /// Name of the page
        name: String,
        /// The text, - for standard input
        text: String,
        /// Who posts it [default: you]; not shown on the page
        #[arg(long, env = "USER")]
        by: Option<String>,
    },
    /// Delete a post
    Unpost {
        /// Name of the page
        name: String,
        /// Id of the post
        id: u64,
    },
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => list(client, output).await,
        Verb::Get { name } => output.json(&get(&name, client).await?),
        Verb::Create(files) => files.save("status page", PATH, false, client, output).await,
        Verb::Update(files) => files.save("status page", PATH, true, client, output).await,
        Verb::Delete(removal) => removal.run("status page", &[PATH], client, output).await,
        Verb::Posts { name } => posts(&name, client, output).await,
        Verb::Post { name, text, by } => {
            let text = if text == "-" { input::read("-")? } else { text };
            let call =
                client.post(&[PATH, &name, "posts"]).json(&json!({ "text": text, "by": by }));
            let post = call.send().await?.value()?;
            if output.is_json() { output.json(&post) } else { output.line(&post["id"]) }
        }
        Verb::Unpost { name, id } => {
            client.delete(&[PATH, &name, "posts", &id.to_string()]).send().await?;
            output.note(format_args!("deleted post {id} of status page {}", clean(&name)));
            Ok(())
        }
    }
}

async fn get(name: &str, client: &Client) -> Result<Value, Failure> {
    client.get(&[PATH, name]).send().await?.value()
}

async fn list(client: &Client, output: &Output) -> anyhow::Result<()> {
    let answer = client.get(&[PATH]).send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let pages: Vec<StatusPage> = understand("list of status pages", &answer)?;
    let mut table = Table::new(&["NAME", "PUBLIC", "PATH", "COMPONENTS", "~TITLE"]);
    for page in &pages {
        table.row([
            (&page.name).into(),
            if page.public { "yes" } else { "no" }.into(),
            format!("/status/{}", page.name).into(),
            page.groups.iter().map(|it| it.components.len()).sum::<usize>().into(),
            (&page.title).into(),
        ]);
    }
    output.table(&table)?;
    if pages.is_empty() {
        output.note("no status pages; create one with `nightbell status-page create -f FILE`");
    }
    Ok(())
}

async fn posts(name: &str, client: &Client, output: &Output) -> anyhow::Result<()> {
    let answer = client.get(&[PATH, name, "posts"]).send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let posts: Vec<StatusPost> = understand("list of posts", &answer)?;
    let mut table = Table::new(&["ID", "POSTED", "BY", "~TEXT"]);
    for (post, value) in posts.iter().zip(answer.as_array().into_iter().flatten()) {
        table.row([
            post.id.into(),
            Moment::of(&value["at"]).relative(Timestamp::now()).into(),
            post.by.as_deref().unwrap_or_default().into(),
            (&post.text).into(),
        ]);
    }
    output.table(&table)
}
