//! `nightbell check`: finds mistakes in the files of a folder before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use kernel::alert::definition::ChecklistOptions;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::offline;
use super::output::{Format, Output, clean};
use crate::load::{self, Finding, Level};

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Folders and files
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// Notes fail, too
    #[arg(long)]
    strict: bool,
    /// Ask the server which secrets there are
    #[arg(long)]
    online: bool,
}

/// Runs the command.
///
/// # Errors
/// There are findings, which are printed.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut findings = findings(&arguments.paths).await?;
    if arguments.online {
        findings.extend(missing_secrets(&arguments.paths, client).await?);
        findings.sort();
        findings.dedup();
    }
    print(&findings, output)?;
    let fails = |finding: &&Finding| arguments.strict || finding.level != Level::Note;
    let count = |level| findings.iter().filter(|it| it.level == level).count();
    let [errors, warnings, notes] = [Level::Error, Level::Warning, Level::Note].map(count);
    let told = format!(
        "{}, {}, {}",
        counted(errors, "error"),
        counted(warnings, "warning"),
        counted(notes, "note")
    );
    if findings.iter().any(|it| fails(&it)) {
        return Err(Failure::error(told).into());
    }
    output.note(told);
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Everything that is found in files, without a server.
///
/// # Errors
/// The configuration of this folder is wrong.
pub(super) async fn findings(paths: &[PathBuf]) -> anyhow::Result<Vec<Finding>> {
    let engine = offline::engine().await?;
    let findings = load::examine(&engine, paths, &ChecklistOptions::default());
    engine.close().await?;
    Ok(findings)
}

/// Secrets that files name and the server does not have.
async fn missing_secrets(paths: &[PathBuf], client: &Client) -> anyhow::Result<Vec<Finding>> {
    let answer = client.get(&["secrets-v2"]).send().await?.value()?;
    let known = answer.as_array().into_iter().flatten().filter_map(|it| it["name"].as_str());
    let known: BTreeSet<&str> = known.collect();
    let mut named = load::secrets_named(paths);
    named.retain(|(name, _)| !known.contains(name.as_str()));
    Ok(named.into_iter().map(|(_, finding)| finding).collect())
}

fn print(findings: &[Finding], output: &Output) -> anyhow::Result<()> {
    match output.format {
        Format::Table => findings.iter().try_for_each(|it| output.line(clean(&it.to_string()))),
        Format::Sarif => output.json(&sarif(findings)),
        _ => output.json(&findings),
    }
}

/// The findings as a log of SARIF 2.1.0, which code reviews of GitHub and GitLab show at the line.
fn sarif(findings: &[Finding]) -> Value {
    let rules: BTreeMap<&str, Value> = findings
        .iter()
        .map(|finding| {
            let rule = json!({
                "id": finding.code,
                "defaultConfiguration": { "level": finding.level.name() },
            });
            (finding.code.as_str(), rule)
        })
        .collect();
    let results = findings.iter().map(|finding| {
        let uri = finding.file.display().to_string();
        let mut place = json!({ "artifactLocation": { "uri": uri } });
        if finding.line > 0 {
            place["region"] = json!({
                "startLine": finding.line,
                "startColumn": finding.column.max(1),
            });
        }
        let text = match finding.hint.as_str() {
            "" => finding.message.clone(),
            hint => format!("{}. {hint}", finding.message),
        };
        json!({
            "ruleId": finding.code,
            "level": finding.level.name(),
            "message": { "text": text },
            "locations": [{ "physicalLocation": place }],
        })
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "nightbell",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.into_values().collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}
