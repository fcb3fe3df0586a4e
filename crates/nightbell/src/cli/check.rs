//! `nightbell check`: finds mistakes in the files of a folder before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use kernel::alert::definition::{ChecklistOptions, Known, MonitorDef};
use serde_json::{Value, json};

use super::client::Client;
use super::failure::{Exit, Failure};
use super::offline;
use super::output::{Format, Output, clean};
use crate::load::{self, Finding, Level};
use crate::testing;

/// A check of so many intervals ago counts as one of the newest.
const RECENT: i64 = 3;
/// And one of so many milliseconds ago.
const RECENT_MIN: i64 = 3_600_000;

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Folders and files
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// Also fail on notes
    #[arg(long)]
    strict: bool,
    /// Ask the server which secrets, workflows and schedules exist, and which columns checks return
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
    let there =
        if arguments.online { there(&arguments.paths, client).await? } else { Known::default() };
    let mut findings = findings_beside(&arguments.paths, there).await?;
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
    findings_beside(paths, Known::default()).await
}

/// The same, beside what there is on a server.
async fn findings_beside(paths: &[PathBuf], there: Known) -> anyhow::Result<Vec<Finding>> {
    let engine = offline::engine().await?;
    let checklist = ChecklistOptions::default();
    let mut findings = load::examine_beside(&engine, paths, &checklist, there);
    // What cannot be read is among them already.
    let of_tests = testing::examine(&engine, paths).unwrap_or_default();
    engine.close().await?;
    findings.extend(of_tests);
    findings.extend(nothing_below(paths));
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// A note if there is nothing to check, so that a check of the wrong folder is not taken for a good one.
fn nothing_below(paths: &[PathBuf]) -> Option<Finding> {
    let (monitors, others) = load::files_by_kind(paths);
    let tests = load::tests_below(paths).ok()?;
    if !(monitors.is_empty() && others.is_empty() && tests.is_empty()) {
        return None;
    }
    let message =
        "there is nothing to check: no JSON of definitions, no YAML of monitors, no tests";
    let finding = Finding::of_file(paths.first()?, Level::Note, "nothing-to-check", message);
    let hint = "Name the folder that `nightbell serve --load` reads.";
    Some(Finding { hint: hint.to_owned(), ..finding })
}

/// What the server has that files may speak of.
async fn there(paths: &[PathBuf], client: &Client) -> anyhow::Result<Known> {
    let mut known = Known::default();
    let workflows =
        client.get(&["metadata", "workflow", "names-and-versions"]).send().await?.value()?;
    let names = workflows.as_object().into_iter().flat_map(|names| names.keys());
    known.workflows = Some(names.map(|name| name.as_str().into()).collect());
    let schedules = client.get(&["scheduler", "schedules"]).send().await?.value()?;
    let names = schedules.as_array().into_iter().flatten().filter_map(|it| it["name"].as_str());
    known.schedules = Some(names.map(Arc::from).collect());
    let engine = offline::engine().await?;
    // What is wrong with the files is told with everything else.
    let defined = load::definitions(&engine, paths, &ChecklistOptions::default());
    engine.close().await?;
    for monitor in defined.map(|it| it.monitors.monitors).unwrap_or_default() {
        // A monitor may keep less than its checks see.
        let judges = monitor.fail_when.is_some() || monitor.warn_when.is_some();
        if judges
            && monitor.keep.is_empty()
            && let Some(columns) = columns(&monitor, client).await?
        {
            known.columns.insert(monitor.name.clone(), columns);
        }
    }
    Ok(known)
}

/// The columns that one of the newest checks of a monitor saw; `None` if nothing is kept of them.
async fn columns(
    monitor: &MonitorDef,
    client: &Client,
) -> Result<Option<BTreeSet<Arc<str>>>, Failure> {
    let back = monitor.schedule.interval().saturating_mul(RECENT).max(RECENT_MIN);
    let from = jiff::Timestamp::now().as_millisecond().saturating_sub(back);
    let call = client.get(&["monitors", &monitor.name, "samples"]);
    let page = match call.query("from", from).query("size", 1).send().await {
        Err(failure) if failure.exit == Exit::NotFound => return Ok(None),
        answer => answer?.value()?,
    };
    let rows = page["samples"][0]["output"]["observations"].as_array().into_iter().flatten();
    let attrs = rows.filter_map(|row| row["attrs"].as_object());
    let columns: BTreeSet<Arc<str>> =
        attrs.flat_map(|attrs| attrs.keys().map(|name| name.as_str().into())).collect();
    Ok((!columns.is_empty()).then_some(columns))
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
