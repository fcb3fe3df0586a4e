//! `nightbell run list`.

use std::time::Duration;

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::Status;
use crate::cli::client::{Client, understand};
use crate::cli::failure::Failure;
use crate::cli::moment::{self, Moment, span};
use crate::cli::output::Output;
use crate::cli::table::{Cell, Table};

/// Which runs to list.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nightbell run list --status FAILED --status TIMED_OUT
  nightbell run list --workflow nightly --limit 5 --watch
  nightbell run list --kind orchestration --status RUNNING
  nightbell run list --query \"correlationId='order-17' AND startTime>1767225600000\"
  nightbell run list --status FAILED --ids | nightbell run retry --yes -")]
pub(crate) struct Arguments {
    /// Only runs of this status; may be repeated
    #[arg(long, ignore_case = true)]
    status: Vec<Status>,
    /// Only runs of this workflow or orchestration; * stands for any text
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Conditions, joined by AND: field=value, field IN (a,b), and > or < on times in ms
    #[arg(long)]
    query: Option<String>,
    /// Words that occur anywhere in the run
    #[arg(long, value_name = "TEXT")]
    free_text: Option<String>,
    /// How many to list at most
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=5000))]
    limit: u32,
    /// Only runs of this kind: of workflows, or of orchestrations, which are code
    #[arg(long)]
    kind: Option<Kind>,
    /// FIELD or FIELD:asc or FIELD:desc
    #[arg(long, value_name = "FIELD", default_value = "startTime:desc")]
    sort: String,
    /// Print only the ids, one a line
    #[arg(long, conflicts_with_all = ["json"])]
    ids: bool,
    /// Refresh the list every so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
}

/// What a run is a run of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Workflow,
    Orchestration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Page {
    total_hits: u64,
    results: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Summary {
    workflow_id: String,
    workflow_type: String,
    version: i64,
    status: String,
    start_time: Moment,
    end_time: Moment,
    execution_time: i64,
    reason_for_incompletion: Option<String>,
    /// Of servers that tell: the kind.
    classifier: Option<String>,
}

/// Runs the command.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    loop {
        let page = search(arguments, client).await?;
        print(arguments, page, output)?;
        let Some(seconds) = arguments.watch else { return Ok(()) };
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        output.redraw()?;
    }
}

async fn search(arguments: &Arguments, client: &Client) -> Result<Page, Failure> {
    let query = query(arguments);
    let answer = client
        .get(&["workflow", "search"])
        .query("start", 0)
        .query("size", arguments.limit)
        .query("sort", sort(&arguments.sort))
        .query("classifier", classifier(arguments.kind))
        .query("freeText", arguments.free_text.as_deref().unwrap_or("*"))
        .query_if("query", (!query.is_empty()).then_some(query))
        .send()
        .await?;
    understand("list of runs", &answer.value()?)
}

/// The kinds to list, in the server's words.
fn classifier(kind: Option<Kind>) -> String {
    let kinds = kind.map_or_else(|| Kind::value_variants().to_vec(), |kind| vec![kind]);
    let words = kinds.iter().filter_map(Kind::to_possible_value);
    words.map(|word| word.get_name().to_owned()).collect::<Vec<_>>().join(",")
}

/// The conditions of all options in the server's language.
fn query(arguments: &Arguments) -> String {
    let mut terms = Vec::new();
    let statuses: Vec<String> = arguments
        .status
        .iter()
        .filter_map(Status::to_possible_value)
        .map(|value| value.get_name().to_owned())
        .collect();
    match statuses.as_slice() {
        [] => {}
        [status] => terms.push(format!("status={status}")),
        many => terms.push(format!("status IN ({})", many.join(","))),
    }
    if let Some(name) = &arguments.workflow {
        terms.push(format!("workflowType='{name}'"));
    }
    terms.extend(arguments.query.clone());
    terms.join(" AND ")
}

fn sort(text: &str) -> String {
    match text.split_once(':') {
        Some((field, direction)) => format!("{field}:{}", direction.to_ascii_uppercase()),
        None => format!("{text}:ASC"),
    }
}

fn print(arguments: &Arguments, mut page: Page, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        page.results.iter_mut().for_each(moment::readable);
        return output.json(&page.results);
    }
    let summaries: Vec<Summary> = page
        .results
        .iter()
        .map(|value| understand("summary of a run", value))
        .collect::<Result<_, _>>()?;
    if arguments.ids {
        return summaries.iter().try_for_each(|summary| output.line(&summary.workflow_id));
    }
    output.table(&table(&summaries, Timestamp::now()))?;
    let shown = summaries.len() as u64;
    if shown < page.total_hits {
        let total = page.total_hits;
        output.note(format_args!("{shown} of {total}; --limit shows more"));
    } else if shown == 0 {
        output.note("no runs match");
    }
    Ok(())
}

fn table(summaries: &[Summary], now: Timestamp) -> Table {
    let heads = ["ID", "KIND", "~NAME", "VERSION", "STATUS", "STARTED", "TOOK", "~REASON"];
    let mut table = Table::new(&heads);
    for run in summaries {
        let took = if run.end_time.0.is_some() && run.execution_time > 0 {
            span(run.execution_time)
        } else {
            run.start_time.until(run.end_time, now)
        };
        table.row([
            (&run.workflow_id).into(),
            run.classifier.as_deref().unwrap_or("workflow").into(),
            (&run.workflow_type).into(),
            run.version.into(),
            Cell::status(&run.status),
            run.start_time.relative(now).into(),
            took.into(),
            run.reason_for_incompletion.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}
