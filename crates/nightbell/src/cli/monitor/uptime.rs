//! `nightbell monitor uptime`: how a monitor's checks ended and how long they took.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::samples::time;
use crate::cli::client::Client;
use crate::cli::moment::{Moment, span};
use crate::cli::output::Output;
use crate::cli::table::{Cell, Table};

/// What is told without `--from`: how far back, and by which cells it is added up.
const SPANS: [(&str, i64, &str); 3] = [("24 h", 1, "5m"), ("30 d", 30, "1h"), ("90 d", 90, "1h")];
const DAY: i64 = 86_400_000;

/// What to show.
#[derive(Debug, Args)]
pub(crate) struct Uptime {
    /// Name of the monitor
    name: String,
    /// Show intervals from then on: a time, or how long ago, such as 12h; without it the last 24
    /// hours, 30 and 90 days as a whole
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Intervals that begin before then [default: now]
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<String>,
    /// Length of an interval [default: the shortest that is kept for so long]
    #[arg(long, requires = "from", value_parser = ["5m", "15m", "30m", "1h", "6h", "12h", "1d"])]
    step: Option<String>,
}

/// Runs the command.
pub(super) async fn run(
    arguments: &Uptime,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let path = ["monitors", arguments.name.as_str(), "rollups"];
    if let Some(from) = &arguments.from {
        let from = time("--from", from, now)?;
        let to = arguments.to.as_deref().map(|text| time("--to", text, now)).transpose()?;
        let call = client.get(&path).query("from", from).query_if("to", to);
        let answer = call.query_if("step", arguments.step.as_deref()).send().await?.value()?;
        if output.is_json() {
            return output.json(&answer);
        }
        let mut table = heads("FROM");
        for cell in answer["cells"].as_array().into_iter().flatten() {
            row(&mut table, Moment::of(&cell["at"]).rfc3339().unwrap_or_default(), cell);
        }
        row(&mut table, "all".to_owned(), &answer["total"]);
        return output.table(&table);
    }
    let mut told = Vec::new();
    for (words, days, step) in SPANS {
        let from = now.as_millisecond() - days * DAY;
        let call = client.get(&path).query("from", from).query("step", step);
        told.push((words, call.send().await?.value()?));
    }
    if output.is_json() {
        let spans = told
            .iter()
            .map(|(words, it)| json!({ "last": words, "from": it["from"], "total": it["total"] }));
        return output.json(&spans.collect::<Vec<_>>());
    }
    let mut table = heads("LAST");
    for (words, answer) in &told {
        row(&mut table, (*words).to_owned(), &answer["total"]);
    }
    output.table(&table)
}

fn heads(first: &'static str) -> Table {
    Table::new(&[
        first,
        "UPTIME",
        "CHECKS",
        "FAILED",
        "WARNED",
        "UNKNOWN",
        "MISSED",
        "INCIDENTS",
        "P50",
        "P95",
        "MAX",
    ])
}

fn row(table: &mut Table, first: String, cell: &Value) {
    let uptime = cell["uptime"].as_f64().map(|percent| format!("{percent} %"));
    let count = |name: &str| Cell::from(cell[name].to_string());
    let took = |name: &str| Cell::from(cell["ms"][name].as_i64().map(span).unwrap_or_default());
    table.row([
        first.into(),
        uptime.unwrap_or_default().into(),
        count("checks"),
        count("fail"),
        count("warn"),
        count("unknown"),
        count("missed"),
        count("incidents"),
        took("p50"),
        took("p95"),
        took("max"),
    ]);
}
