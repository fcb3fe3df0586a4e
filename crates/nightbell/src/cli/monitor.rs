//! `nightbell monitor`: what is watched, and how it stands.

mod backtest;
mod next;
mod samples;
mod uptime;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use kernel::alert::definition::{ChecklistOptions, Known, Level, load_judged};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::document::Paths;
use super::failure::{Exit, Failure};
use super::moment::Moment;
use super::output::{Output, clean};
use super::table::{Cell, Table};
use super::{confirm, input, offline, route};
pub(super) use samples::time;

/// Standard input, in the place of a file.
const STDIN: &str = "-";

/// What to do with monitors.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List monitors with their status
    List {
        /// Only monitors of this status: new, up, pending, down or unknown
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
        /// Only monitors of this name; * stands for any text
        #[arg(long)]
        name: Option<String>,
    },
    /// Print everything about a monitor as JSON
    Show {
        /// Name of the monitor
        name: String,
    },
    /// Run a check now, regardless of the schedule; prints the id of the check's run
    Check {
        /// Names of monitors
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Apply files of monitors, receivers, routes and silences
    #[command(after_help = "\
A file is YAML, or JSON:
  receivers:
    noc: { slack: { url: \"${secret:SLACK_URL}\" } }
  routes:
    - { to: noc, remind: 4h }
  monitors:
    shop: { http: \"https://shop.example/health\", every: 30s, fail_after: 3 }
    backup: { heartbeat: { cron: \"0 2 * * *\", max_run: 4h } }

A file is applied as a whole or refused. What it defined before and does not define any more is kept,
unless --replace is given.")]
    Apply(Apply),
    /// Validate files without changing anything; needs no server
    ///
    /// For a folder, all files are read as --load would read them, and checked together: workflows,
    /// schedules and task definitions, too. Exits with 1 if anything is wrong.
    #[command(after_help = "\
Examples:
  nightbell monitor validate monitors.yaml
  nightbell monitor validate definitions/ --strict
  nightbell monitor validate -f monitors.yaml --online    also what the server knows: secrets, names")]
    Validate(Validate),
    /// Preview one check of a monitor: its result, who would be notified, and when the next check
    /// is due
    ///
    /// The server runs the check, but no incident changes and nobody is notified.
    #[command(after_help = "\
Examples:
  nightbell monitor preview shop
  nightbell monitor preview shop -f monitors.yaml         as this file defines it")]
    Preview {
        /// Name of the monitor
        #[arg(required_unless_present = "file")]
        name: Option<String>,
        /// File that defines it anew, - for standard input; without a name all of its monitors
        #[arg(short, long)]
        file: Option<String>,
    },
    /// List the next checks of a monitor, and the silences that apply then
    #[command(after_help = "\
Examples:
  nightbell monitor next etl-host
  nightbell monitor next etl-host -f monitors.yaml --after 2027-03-27 --limit 10   without a server")]
    Next(next::Next),
    /// Show the recorded results of a monitor's checks, before evaluation, as far as they are kept
    #[command(after_help = "\
Examples:
  nightbell monitor samples buildings --from 2h
  nightbell monitor samples buildings --from 2026-11-01 --to 2026-11-02 -o csv")]
    Samples(samples::Samples),
    /// Show how a monitor's checks ended and how long they took
    ///
    /// UPTIME is the share of checks that did not fail among those with a known result.
    #[command(after_help = "\
Examples:
  nightbell monitor uptime shop                             the last 24 hours, 30 and 90 days
  nightbell monitor uptime shop --from 12h --step 30m
  nightbell monitor uptime shop --from 2026-01-01 -o json")]
    Uptime(uptime::Uptime),
    /// Backtest a definition on the recorded results of checks: which incidents, and who would have
    /// been notified when
    ///
    /// It runs on this machine, with the real engine in virtual time; the server provides samples
    /// and ledgers, and nobody is notified.
    #[command(after_help = "\
Examples:
  nightbell monitor backtest buildings                      as it is defined now
  nightbell monitor backtest -f monitors.yaml --since 30d   as this file defines it
  nightbell monitor backtest -f monitors.yaml buildings --compare")]
    Backtest(backtest::Backtest),
    /// Delete monitors; their open incidents are resolved
    Delete {
        /// Names of monitors
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// What to judge.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    paths: Paths,
    /// Also let the server validate monitors files, each by itself: it knows which secrets,
    /// workflows and schedules exist
    #[arg(long)]
    online: bool,
    /// Also fail on warnings
    #[arg(long)]
    strict: bool,
}

/// What to define.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Files, - for standard input
    #[arg(short, long, required = true, num_args = 1..)]
    file: Vec<String>,
    /// Name of the source that the files define together, so that later files can replace it
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Remove what the source has defined before and the files no longer define
    #[arg(long)]
    replace: bool,
}

/// A monitor in the server's list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Listed {
    name: String,
    kind: String,
    status: String,
    reason: Option<String>,
    next_check_at: Value,
    last_answer_at: Value,
    open_incidents: Vec<Value>,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List { status, name } => list(status, name, client, output).await,
        Verb::Show { name } => {
            output.json(&client.get(&["monitors", &name]).send().await?.value()?)
        }
        Verb::Check { names } => {
            for name in &names {
                let answer = client.post(&["monitors", name, "check"]).query("by", "cli");
                let answer = answer.send().await?.value()?;
                if output.is_json() {
                    output.json(&answer)?;
                } else {
                    output.line(answer["workflowId"].as_str().unwrap_or_default())?;
                }
            }
            Ok(())
        }
        Verb::Apply(apply) => define(apply, client, output).await,
        Verb::Validate(validate) => judge(&validate, client, output).await,
        Verb::Preview { name, file } => {
            preview(name.as_deref(), file.as_deref(), client, output).await
        }
        Verb::Next(arguments) => next::run(&arguments, client, output).await,
        Verb::Backtest(arguments) => backtest::run(&arguments, client, output).await,
        Verb::Samples(arguments) => samples::run(&arguments, client, output).await,
        Verb::Uptime(arguments) => uptime::run(&arguments, client, output).await,
        Verb::Delete { names, yes } => {
            let labels: Vec<_> = names.iter().map(|name| format!("monitor {name}")).collect();
            confirm("delete", &labels, yes)?;
            for name in &names {
                client.delete(&["monitors", name]).send().await?;
                output.note(format_args!("deleted monitor {name}"));
            }
            Ok(())
        }
    }
}

async fn list(
    status: Option<String>,
    name: Option<String>,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let call = client.get(&["monitors"]).query_if("status", status).query_if("name", name);
    let page = call.query("size", 5000).send().await?.value()?;
    if output.is_json() {
        return output.json(&page["results"]);
    }
    let monitors: Vec<Listed> = understand("monitors", &page["results"])?;
    let now = Timestamp::now();
    let mut table = Table::new(&["NAME", "KIND", "STATUS", "OPEN", "LAST", "NEXT", "~WHY"]);
    for monitor in &monitors {
        let text = monitor.open_incidents.first().and_then(|it| it["text"].as_str());
        let why = text.or(monitor.reason.as_deref()).unwrap_or_default();
        let why = cause_of(why);
        table.row([
            monitor.name.as_str().into(),
            monitor.kind.as_str().into(),
            Cell::status(&monitor.status),
            monitor.open_incidents.len().to_string().into(),
            Moment::of(&monitor.last_answer_at).relative(now).into(),
            Moment::of(&monitor.next_check_at).relative(now).into(),
            clean(why).into(),
        ]);
    }
    output.table(&table)?;
    if monitors.is_empty() {
        output.note("no monitors");
    }
    Ok(())
}

/// What the task of a check says, without the sentence of the engine around it.
fn cause_of(reason: &str) -> &str {
    let inner = reason
        .split_once(" failed with status: ")
        .and_then(|(_, rest)| rest.split_once(" and reason: '")?.1.strip_suffix('\''));
    inner.unwrap_or(reason)
}

async fn define(apply: Apply, client: &Client, output: &Output) -> anyhow::Result<()> {
    if apply.replace && apply.file.len() > 1 {
        return Err(Failure::usage("--replace takes one file: it becomes all of the source").into());
    }
    for file in &apply.file {
        let text = input::read(file)?;
        let call =
            if apply.replace { client.put(&["monitors"]) } else { client.post(&["monitors"]) };
        let call = call.query_if("source", apply.source.as_deref()).text(text);
        let answer = call.send().await?.value()?;
        for warning in answer["warnings"].as_array().into_iter().flatten() {
            output.note(format_args!("{file}:{}", told(warning)));
        }
        output.note(format_args!(
            "{file}: {} defined or changed, {} removed",
            answer["defined"], answer["removed"]
        ));
        if output.is_json() {
            output.json(&answer)?;
        }
    }
    Ok(())
}

fn told(problem: &Value) -> String {
    let text = |name: &str| clean(problem[name].as_str().unwrap_or_default());
    let (line, column) = (&problem["line"], &problem["column"]);
    format!("{line}:{column}: {}: {}: {}", text("level"), text("path"), text("message"))
}

/// What is wrong with files, and what is hardly meant.
#[derive(Default)]
struct Verdict {
    wrong: Vec<String>,
    warnings: Vec<String>,
}

async fn judge(arguments: &Validate, client: &Client, output: &Output) -> anyhow::Result<()> {
    let paths: Vec<&str> = arguments.paths.all().collect();
    // It can be read only once, and two judge it.
    let given = paths.contains(&STDIN).then(|| input::read(STDIN)).transpose()?;
    let files: Vec<PathBuf> =
        paths.iter().filter(|path| **path != STDIN).map(PathBuf::from).collect();
    let mut verdict = judged_here(&files, given.as_deref()).await?;
    if arguments.online {
        let (of_monitors, others) = crate::load::files_by_kind(&files);
        let of_monitors = of_monitors.iter().map(|file| file.display().to_string());
        let mut texts = Vec::new();
        for file in of_monitors {
            let text = input::read(&file)?;
            texts.push((file, text));
        }
        texts.extend(given.map(|text| ("standard input".to_owned(), text)));
        for (origin, text) in texts {
            let call = client.post(&["monitors"]).query("dryRun", true).text(text);
            let answer = call.send().await?.value()?;
            for problem in answer["problems"].as_array().into_iter().flatten() {
                let line = format!("{origin}:{}", told(problem));
                let of_level = match problem["level"].as_str() {
                    Some("error") => &mut verdict.wrong,
                    _ => &mut verdict.warnings,
                };
                if !of_level.contains(&line) {
                    of_level.push(line);
                }
            }
        }
        for file in others {
            let file = file.display();
            output.note(format_args!("{file}: judged here alone: it holds no monitors"));
        }
    }
    let Verdict { mut wrong, warnings } = verdict;
    if output.is_json() {
        output
            .json(&json!({ "valid": wrong.is_empty(), "errors": wrong, "warnings": warnings }))?;
    } else {
        for warning in &warnings {
            output.note(clean(warning));
        }
    }
    if arguments.strict {
        wrong.extend(warnings);
    }
    if wrong.is_empty() {
        output.note(format_args!("{}: valid", paths.join(", ")));
        return Ok(());
    }
    Err(Failure::new(Exit::Error, "not valid").with_details(wrong).into())
}

/// Judges files and folders on this machine; what stands on standard input is a file of its own.
async fn judged_here(files: &[PathBuf], given: Option<&str>) -> anyhow::Result<Verdict> {
    let engine = offline::engine().await?;
    let options = ChecklistOptions::default();
    let mut verdict = Verdict::default();
    for finding in crate::load::examine(&engine, files, &options) {
        match finding.level {
            crate::load::Level::Error => verdict.wrong.push(finding.to_string()),
            crate::load::Level::Warning => verdict.warnings.push(finding.to_string()),
            crate::load::Level::Note => {}
        }
    }
    if let Some(given) = given {
        let known = Known { now: Some(engine.now()), ..Known::default() };
        let loaded = load_judged(given, &options, &known, &engine);
        for problem in loaded.problems {
            let line = format!("standard input:{problem}");
            match problem.level {
                Level::Error => verdict.wrong.push(line),
                Level::Warning => verdict.warnings.push(line),
            }
        }
    }
    engine.close().await?;
    Ok(verdict)
}

async fn preview(
    name: Option<&str>,
    file: Option<&str>,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let text = file.map(input::read).transpose()?.unwrap_or_default();
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => Known::of(&text).monitors.iter().map(ToString::to_string).collect(),
    };
    if names.is_empty() {
        return Err(Failure::usage("the file defines no monitor").into());
    }
    let mut seen = Vec::new();
    for name in &names {
        let call = client.post(&["monitors", name, "preview"]).text(text.clone());
        let answer = match call.send().await {
            // Of all monitors of a file, those that wait to be called are passed over.
            Err(failure) if failure.exit == Exit::Conflict && names.len() > 1 => {
                output.note(&failure.message);
                continue;
            }
            answer => answer?.value()?,
        };
        if !output.is_json() {
            show_preview(&answer, output)?;
        }
        seen.push(answer);
    }
    if output.is_json() {
        return output.json(&seen);
    }
    Ok(())
}

fn show_preview(seen: &Value, output: &Output) -> anyhow::Result<()> {
    let text = |value: &Value| clean(value.as_str().unwrap_or_default());
    output.line(format_args!("monitor {}", text(&seen["monitor"])))?;
    for warning in seen["warnings"].as_array().into_iter().flatten() {
        output.note(told(warning));
    }
    let keys = seen["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut table = Table::new(&["KEY", "VERDICT", "OPENS", "TOLD", "~TEXT", "~ROW"]);
    for key in keys {
        let status = text(&key["status"]);
        table.row([
            text(&key["key"]).into(),
            Cell::status(&status),
            text(&key["opens"]).into(),
            route::receivers(&key["told"]).into(),
            text(&key["text"]).into(),
            clean(&key["row"].to_string()).into(),
        ]);
    }
    if !keys.is_empty() {
        output.table(&table)?;
    }
    match (seen["doubt"].as_str(), seen["empty"].as_bool()) {
        (Some(doubt), _) => output.line(format_args!("unknown: {}", clean(doubt)))?,
        (None, Some(true)) => output.line("nothing was reported")?,
        _ => {}
    }
    let now = Timestamp::now();
    for next in seen["next"].as_array().into_iter().flatten() {
        let silenced = next["silencedBy"].as_array().into_iter().flatten();
        let silenced: Vec<String> = silenced.map(text).collect();
        let quiet = if silenced.is_empty() {
            String::new()
        } else {
            format!(", silenced by {}", silenced.join(", "))
        };
        output.line(format_args!("next {}{quiet}", Moment::of(&next["at"]).full(now)))?;
    }
    Ok(())
}
