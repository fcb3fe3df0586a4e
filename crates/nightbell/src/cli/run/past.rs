//! `nightbell run history`: the commits of a run, and how other commands read them.

use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use crate::cli::client::{Client, understand};
use crate::cli::moment::Moment;
use crate::cli::output::Output;
use crate::cli::table::Table;

/// A page of the commits of a run.
#[derive(Debug, Deserialize)]
pub(super) struct Commits {
    /// The number of the first commit that is kept; those before it are in it as one.
    pub(super) first: u64,
    /// The number of the last commit.
    pub(super) last: u64,
    /// Some of them, the earliest first.
    #[serde(rename = "commits")]
    pub(super) page: Vec<Commit>,
}

/// Facts that were written together.
#[derive(Debug, Deserialize)]
pub(super) struct Commit {
    /// Its number, from 1.
    pub(super) version: u64,
    /// When it was made.
    pub(super) at: Moment,
    /// What it did.
    pub(super) facts: Vec<Fact>,
}

/// A fact, without what it carries.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Fact {
    kind: String,
    /// The number of the task that it is about.
    task: Option<u64>,
}

impl Commits {
    /// The commits from a number on, at most so many.
    ///
    /// # Errors
    /// The server's.
    pub(super) async fn of(
        id: &str,
        from: Option<u64>,
        size: u32,
        client: &Client,
    ) -> anyhow::Result<Self> {
        let call = client.get(&["workflow", id, "history"]).query("size", size);
        let answer = call.query_if("from", from).send().await?.value()?;
        Ok(understand("history", &answer)?)
    }
}

impl Commit {
    /// The numbers of the tasks that it is about.
    pub(super) fn tasks(&self) -> impl Iterator<Item = u64> {
        self.facts.iter().filter_map(|fact| fact.task)
    }

    /// Its facts on a line.
    pub(super) fn words(&self) -> String {
        let words = self.facts.iter().map(|fact| match fact.task {
            Some(task) => format!("{} {task}", fact.kind),
            None => fact.kind.clone(),
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Lists commits.
pub(super) async fn history(
    id: &str,
    from: Option<u64>,
    size: u32,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    if output.is_json() {
        let call = client.get(&["workflow", id, "history"]).query("size", size);
        return output.json(&call.query_if("from", from).send().await?.value()?);
    }
    let commits = Commits::of(id, from, size, client).await?;
    let mut table = Table::new(&["COMMIT", "MADE", "AT", "~FACTS"]);
    for commit in &commits.page {
        table.row([
            commit.version.into(),
            commit.at.relative(Timestamp::now()).into(),
            commit.at.rfc3339().unwrap_or_default().into(),
            commit.words().into(),
        ]);
    }
    output.table(&table)?;
    if commits.first > 1 {
        output.note(format_args!("commits before {} are kept as one", commits.first));
    }
    Ok(())
}
