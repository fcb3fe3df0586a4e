//! What happened in an incident or in a run, as a document: the one that the console gives to download.

use server::Report;

use super::client::Client;
use super::output::{Format, Output, clean_lines};

/// Fetches what is known of an incident, and writes the report.
///
/// # Errors
/// The server's, or standard output is closed.
pub(super) async fn of_incident(id: &str, client: &Client, output: &Output) -> anyhow::Result<()> {
    let incident = client.get(&["incidents", id]).send().await?.value()?;
    let why = client.get(&["incidents", id, "explain"]).send().await?.value()?;
    written(&Report::of_incident(&incident, &why), output)
}

/// Fetches what is known of a run, and writes the report.
///
/// # Errors
/// The server's, or standard output is closed.
pub(super) async fn of_run(id: &str, client: &Client, output: &Output) -> anyhow::Result<()> {
    let run = client.get(&["workflow", id]).send().await?.value()?;
    // A Conductor server keeps no reasons.
    let why = client.get(&["workflow", id, "why"]).send().await;
    let why = why.and_then(|why| why.value()).unwrap_or_default();
    written(&Report::of_run(&run, &why), output)
}

fn written(report: &Report, output: &Output) -> anyhow::Result<()> {
    match output.format {
        Format::Json => output.json(&report.json()),
        Format::Html => output.line(clean_lines(report.html().trim_end())),
        _ => output.line(clean_lines(report.markdown().trim_end())),
    }
}
