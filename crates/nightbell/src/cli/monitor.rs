//! `nightbell monitor`: what is watched, and how it stands.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, understand};
use super::confirm;
use super::failure::{Exit, Failure};
use super::input;
use super::moment::Moment;
use super::output::{Output, clean};
use super::table::{Cell, Table};

/// What to do with monitors.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List monitors and how they stand
    List {
        /// Only monitors that stand so: new, up, pending, down or unknown
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
    /// Check now, whatever the schedule says; prints the id of the check's run
    Check {
        /// Names of monitors
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Define the monitors, receivers, routes and silences of files
    #[command(after_help = "\
A file is YAML, or JSON:
  receivers:
    noc: { slack: { url: \"${secret:SLACK_URL}\" } }
  routes:
    - { to: noc, remind: 4h }
  monitors:
    shop: { http: \"https://shop.example/health\", every: 30s, fail_after: 3 }
    backup: { heartbeat: { cron: \"0 2 * * *\", max_run: 4h } }

A file is taken whole or refused whole. What it defined before and does not any more stays, unless
--replace is given.")]
    Apply(Apply),
    /// Tell what is wrong with files, and change nothing
    Validate {
        /// Files, - for standard input
        #[arg(required = true)]
        files: Vec<String>,
    },
    /// Remove monitors; what is open of them is resolved
    Delete {
        /// Names of monitors
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// What to define.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Files, - for standard input
    #[arg(short, long, required = true, num_args = 1..)]
    file: Vec<String>,
    /// What the files are called together, so that later ones can take their place
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Remove what the source defined before and the file does not
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
        Verb::Validate { files } => validate(&files, client, output).await,
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

async fn validate(files: &[String], client: &Client, output: &Output) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for file in files {
        let text = input::read(file)?;
        let call = client.post(&["monitors"]).query("dryRun", true).text(text);
        let answer = call.send().await?.value()?;
        let problems = answer["problems"].as_array().into_iter().flatten();
        let told: Vec<String> = problems.map(|it| format!("{file}:{}", told(it))).collect();
        if answer["valid"] == true {
            for warning in &told {
                output.note(warning);
            }
            output.note(format_args!("{file}: valid"));
        } else {
            wrong.extend(told);
        }
        if output.is_json() {
            output.json(&answer)?;
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Error, "not valid").with_details(wrong).into())
}
