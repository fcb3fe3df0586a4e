//! `nightbell route`: who would be told of what has not happened.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use kernel::Timestamp;
use kernel::alert::definition::{ChecklistOptions, File, Severity, load_judged};
use kernel::alert::{Supposed, who_is_told};
use serde_json::{Value, json};

use super::client::Client;
use super::failure::{Exit, Failure};
use super::moment::span;
use super::output::{Output, clean};
use super::schedule::{instant, zone};
use super::{input, offline};

/// What to do with routes.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show who would be notified of an incident with these labels, and why
    ///
    /// Warns of labels and values that no monitor has. With -f no server is needed. Exits with 5 if
    /// nobody would be notified.
    #[command(after_help = "\
Examples:
  nightbell route test team=data --severity critical
  nightbell route test --monitor net host=G44-Chalo --at 2026-12-24T03:00 --tz Europe/Oslo
  nightbell route test -f monitors.yaml team=data")]
    Test(Arguments),
}

/// An incident that might be.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Labels, LABEL=VALUE; with --monitor its own labels are added, and columns of its row can be
    /// given, too
    #[arg(value_name = "LABEL=VALUE")]
    labels: Vec<String>,
    /// The monitor of the incident
    #[arg(long)]
    monitor: Option<String>,
    /// Its key
    #[arg(long)]
    key: Option<String>,
    /// info, warning, error or critical [default: that of the monitor, or critical]
    #[arg(long)]
    severity: Option<String>,
    /// When: 2026-12-24, 2026-12-24T03:00, or with an offset [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Time zone of --at, if it has no offset
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// Files with routes, in the place of the server
    #[arg(short, long, num_args = 1)]
    file: Vec<String>,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    let Verb::Test(arguments) = verb;
    let labels = labels(&arguments.labels)?;
    let zone = zone(&arguments.tz)?;
    let at = arguments.at.as_deref().map(|text| instant("--at", text, &zone)).transpose()?;
    let told = if arguments.file.is_empty() {
        let mut question = json!({ "labels": labels });
        for (name, value) in [
            ("monitor", arguments.monitor.clone()),
            ("key", arguments.key.clone()),
            ("severity", arguments.severity.clone()),
            ("at", at.map(|at| at.to_string())),
        ] {
            if let Some(value) = value {
                question[name] = value.into();
            }
        }
        client.post(&["routes", "test"]).json(&question).send().await?.value()?
    } else {
        told_here(&arguments, labels, at).await?
    };
    for warning in told["warnings"].as_array().into_iter().flatten() {
        output.note(format_args!("warning: {}", clean(warning.as_str().unwrap_or_default())));
    }
    if output.is_json() {
        output.json(&told)?;
    } else {
        show(&told, output)?;
    }
    match told["nobody"].as_str() {
        None => Ok(()),
        Some(why) => {
            let message = format!("nobody would be told: {}", clean(why));
            Err(Failure::new(Exit::WorkflowFailed, message).into())
        }
    }
}

fn labels(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("`{text}` is not LABEL=VALUE")))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    given.iter().map(pair).collect()
}

/// The answer out of files, by the code that routes.
async fn told_here(
    arguments: &Arguments,
    labels: BTreeMap<String, String>,
    at: Option<Timestamp>,
) -> anyhow::Result<Value> {
    let engine = offline::engine().await?;
    let mut all = File::default();
    let mut known = kernel::alert::definition::Known::default();
    let texts: Vec<String> =
        arguments.file.iter().map(|file| input::read(file)).collect::<Result<_, _>>()?;
    for text in &texts {
        known.extend(kernel::alert::definition::Known::of(text));
    }
    for (name, text) in arguments.file.iter().zip(&texts) {
        let loaded = load_judged(text, &ChecklistOptions::default(), &known, &engine);
        let Some(file) = loaded.file else {
            let told = loaded.problems.iter().map(|it| format!("{name}:{it}"));
            return Err(Failure::error("not valid").with_details(told).into());
        };
        all.receivers.extend(file.receivers);
        all.routes.extend(file.routes);
        all.monitors.extend(file.monitors);
        all.silences.extend(file.silences);
        all.roster.extend(file.roster);
    }
    engine.close().await?;
    let severity = arguments.severity.as_deref().map(|word| {
        let known = "there are info, warning, error and critical";
        Severity::parse(word)
            .ok_or_else(|| Failure::usage(format!("{word:?} is not a severity; {known}")))
    });
    let supposed = Supposed {
        monitor: arguments.monitor.as_deref().map(Into::into),
        key: arguments.key.as_deref().unwrap_or_default().into(),
        severity: severity.transpose()?,
        labels: labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        at: at.unwrap_or_else(|| jiff::Timestamp::now().into()),
    };
    let told = who_is_told(&all, &supposed).map_err(|why| Failure::new(Exit::NotFound, why))?;
    let mut told = serde_json::to_value(&told)?;
    // As the server says it.
    for (from, to) in [("passed_over", "passedOver"), ("silenced_by", "silencedBy")] {
        rename(&mut told, from, to);
    }
    for step in told["steps"].as_array_mut().into_iter().flatten() {
        rename(step, "unless_acked", "unlessAcked");
        rename(step, "on_call", "onCall");
    }
    Ok(told)
}

fn rename(value: &mut Value, from: &str, to: &str) {
    if let Some(members) = value.as_object_mut()
        && let Some(member) = members.shift_remove(from)
    {
        members.insert(to.to_owned(), member);
    }
}

/// Who is told by an answer, on one line.
pub(super) fn receivers(told: &Value) -> String {
    let names = |step: &Value| {
        let to = step["to"].as_array().into_iter().flatten().filter_map(Value::as_str);
        to.map(clean).collect::<Vec<_>>().join(", ")
    };
    if let Some(why) = told["nobody"].as_str() {
        return format!("nobody: {}", clean(why));
    }
    let steps = told["steps"].as_array().into_iter().flatten();
    let steps = steps.map(|step| match step["after"].as_i64().unwrap_or_default() {
        0 => names(step),
        after => format!("{} after {}", names(step), span(after)),
    });
    steps.collect::<Vec<_>>().join(", then ")
}

/// Whom a rotation calls, and how they are reached.
fn show_called(called: &Value, output: &Output) -> anyhow::Result<()> {
    let text = |value: &Value| clean(value.as_str().unwrap_or_default());
    let people = called["people"].as_array().into_iter().flatten().map(text);
    let people = people.collect::<Vec<_>>().join(", ");
    let people = if people.is_empty() { "nobody" } else { &people };
    output.line(format_args!(
        "  {}: {people} ({})",
        text(&called["target"]),
        text(&called["why"])
    ))?;
    for contact in called["contacts"].as_array().into_iter().flatten() {
        let after = match contact["after"].as_i64().unwrap_or_default() {
            0 => "at once".to_owned(),
            after => format!("after {}, unless acknowledged", span(after)),
        };
        output.line(format_args!(
            "    {} by {} {after}",
            text(&contact["person"]),
            text(&contact["to"])
        ))?;
    }
    Ok(())
}

fn show(told: &Value, output: &Output) -> anyhow::Result<()> {
    let text = |value: &Value| clean(value.as_str().unwrap_or_default());
    let labels = told["labels"].as_object().into_iter().flatten();
    let labels: Vec<String> =
        labels.map(|(name, value)| format!("{name}={}", text(value))).collect();
    output.line(format_args!(
        "severity {} {}",
        text(&told["severity"]),
        clean(&labels.join(" "))
    ))?;
    for passed in told["passedOver"].as_array().into_iter().flatten() {
        output.line(format_args!("passed over: {}", text(passed)))?;
    }
    if let Some(route) = told["route"].as_str() {
        output.line(format_args!("route {}", clean(route)))?;
    }
    for step in told["steps"].as_array().into_iter().flatten() {
        let to = step["to"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
        let after = match step["after"].as_i64().unwrap_or_default() {
            0 => "at once".to_owned(),
            after => format!("after {}", span(after)),
        };
        let unless = if step["unlessAcked"] == true { ", unless acknowledged" } else { "" };
        output.line(format_args!("tells {} {after}{unless}", to.join(", ")))?;
        for called in step["onCall"].as_array().into_iter().flatten() {
            show_called(called, output)?;
        }
        for (from, fallback) in step["fallbacks"].as_object().into_iter().flatten() {
            output.line(format_args!("  if {} refuses: {}", clean(from), text(fallback)))?;
        }
    }
    if let Some(group) = told["group"].as_str() {
        let wait = span(told["wait"].as_i64().unwrap_or_default());
        output.line(format_args!("with its group \"{}\", after {wait}", clean(group)))?;
    }
    if let Some(remind) = told["remind"].as_i64() {
        output.line(format_args!("again every {}", span(remind)))?;
    }
    Ok(())
}
