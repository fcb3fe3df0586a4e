//! `nightbell monitor backtest`: what a definition would have made of what checks have answered, or would
//! have by the history of their source.

mod history;

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use jiff::Timestamp as Instant;
use kernel::alert::definition::{ChecklistOptions, File, Known, Level, MonitorDef, load_judged};
use kernel::alert::{Sample, Sampled, Window};
use kernel::{Json, Timestamp};
use serde_json::{Value, json};

use super::samples;
use crate::cli::backtest::figures::Report;
use crate::cli::backtest::past::{self, Asked};
use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, clean};
use crate::cli::{input, offline};
use crate::testing::backtest;

/// What to try.
#[derive(Debug, Args)]
pub(crate) struct Backtest {
    /// Names of monitors [default: all of the files, or all of the server]
    names: Vec<String>,
    /// Files that define them anew, - for standard input; without, as the server has them
    #[arg(short, long, num_args = 1)]
    file: Vec<String>,
    /// What happened since then: a time, or how long ago
    #[arg(long, value_name = "TIME", default_value = "30d")]
    since: String,
    /// Where results come from: samples of past checks, or the history of the source, asked with
    /// the present query (Prometheus and `InfluxDB`)
    #[arg(long, value_enum, default_value_t = Answers::Samples)]
    source: Answers,
    /// Whether recorded actions of people are repeated on incidents of the same keys
    #[arg(long, value_enum, default_value_t = People::Recorded)]
    people: People,
    /// Show each incident, who is notified, and which incidents are gone or new
    #[arg(long)]
    compare: bool,
    /// Time zone in which night is from 22:00 to 06:00 [default: that of the monitor, or of this
    /// machine]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
}

/// What checks see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Answers {
    /// What they answered, as the server keeps it
    Samples,
    /// What their query finds in the past
    Query,
}

/// What people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum People {
    /// What they did
    Recorded,
    /// Nothing
    None,
}

/// Runs the command.
///
/// # Errors
/// A definition is wrong, nothing is kept of any of the monitors, or the server's.
pub(super) async fn run(
    arguments: &Backtest,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    if arguments.source == Answers::Query && arguments.file.is_empty() {
        // Whoever may edit a monitor would learn the secrets of whoever tries it.
        let message = "--source query takes a file with -f: secrets of this environment go to the \
                       addresses that a definition names, so they are those of your file, not of \
                       the server";
        return Err(Failure::usage(message).into());
    }
    let now = Instant::now();
    let since = Timestamp::from_millis(samples::time("--since", &arguments.since, now)?);
    let given = read(&arguments.file)?;
    let names = names(arguments, given.as_deref(), client).await?;
    let mut reports = Vec::new();
    for name in &names {
        match one(name, arguments, given.as_deref(), since, client, output).await? {
            Ok(report) => {
                if !output.is_json() {
                    report.show(arguments.compare, output)?;
                }
                reports.push(report);
            }
            Err(why) => output.note(format_args!("{}: {}", clean(name), clean(&why))),
        }
    }
    if output.is_json() {
        output.json(&reports.iter().map(Report::json).collect::<Vec<_>>())?;
    }
    let over = reports.iter().filter(|it| it.is_over_budget()).count();
    if over > 0 {
        let message =
            format!("{over} of {} monitors would page more than their budget", reports.len());
        return Err(Failure::new(Exit::WorkflowFailed, message).into());
    }
    if reports.is_empty() {
        let hint = "`nightbell monitor samples NAME` shows what is kept";
        return Err(Failure::new(Exit::Error, "nothing could be tried").with_hint(hint).into());
    }
    Ok(())
}

/// The texts of the files.
fn read(files: &[String]) -> anyhow::Result<Option<Vec<(String, String)>>> {
    if files.is_empty() {
        return Ok(None);
    }
    let texts = files.iter().map(|file| Ok((file.clone(), input::read(file)?)));
    texts.collect::<anyhow::Result<Vec<_>>>().map(Some)
}

async fn names(
    arguments: &Backtest,
    given: Option<&[(String, String)]>,
    client: &Client,
) -> anyhow::Result<Vec<String>> {
    if !arguments.names.is_empty() {
        return Ok(arguments.names.clone());
    }
    if let Some(texts) = given {
        let known = texts.iter().flat_map(|(_, text)| Known::of(text).monitors);
        return Ok(known.map(|name| name.to_string()).collect());
    }
    let page = client.get(&["monitors"]).query("size", 5000).send().await?.value()?;
    let all = page["results"].as_array().into_iter().flatten();
    let all = all.filter_map(|it| it["name"].as_str());
    Ok(all.filter(|name| *name != engine::monitors::OWN_MONITOR).map(str::to_owned).collect())
}

/// Tries one monitor; or says why there is nothing to try.
async fn one(
    name: &str,
    arguments: &Backtest,
    given: Option<&[(String, String)]>,
    since: Timestamp,
    client: &Client,
    output: &Output,
) -> anyhow::Result<Result<Report, String>> {
    let asks = arguments.source == Answers::Query;
    let record = match record(name, since, client).await {
        Err(failure) if failure.exit == Exit::NotFound && given.is_some() => {
            if !asks {
                return Ok(Err("the server does not know it, so nothing is kept of it".to_owned()));
            }
            json!({ "to": Timestamp::from(Instant::now()).millis() })
        }
        record => record?,
    };
    let mut file: File = match &record["file"] {
        Value::Null => File::default(),
        file => serde_json::from_value(file.clone())?,
    };
    let stored = find(&file, name).cloned();
    let mut own = File::default();
    if let Some(texts) = given {
        (file, own) = overlaid(file, texts).await?;
    }
    complete(&mut file, name, since, client).await?;
    let Some(monitor) = find(&file, name).cloned() else {
        return Ok(Err("the files do not define it".to_owned()));
    };
    if !monitor.kind.checks() {
        return Ok(Err("it waits to be called: there are no answers of checks to try".to_owned()));
    }
    let warm_up = backtest::warm_up(&monitor);
    let until = record["to"].as_i64().map_or(Timestamp::default(), Timestamp::from_millis);
    let mut notes = match stored {
        _ if asks => {
            vec!["the source was asked today: what it has lost or got late is missing".to_owned()]
        }
        stored => stored.map(|stored| past::asked_otherwise(&stored, &monitor)).unwrap_or_default(),
    };
    // Only what the files say is asked with secrets of this environment.
    let sources = if asks { Some(history::Sources::of(&own)?) } else { None };
    let mut kept = BTreeMap::new();
    for needed in backtest::needed(&file, name) {
        let from = since.plus_millis(-warm_up);
        let of = match (&sources, find(&own, &needed)) {
            (Some(_), None) if needed == name => {
                return Ok(Err("the files do not define it".to_owned()));
            }
            (Some(sources), Some(definition)) => {
                match sources.samples(definition, (from, until), output).await {
                    Ok((samples, is_cut)) => {
                        if let Some(first) = samples.first().filter(|_| is_cut) {
                            let first = first.started_at.millis();
                            let first = Instant::from_millisecond(first).unwrap_or_default();
                            notes.push(format!(
                                "the source of {needed} tells nothing before {first}"
                            ));
                        }
                        samples
                    }
                    Err(why) if needed == name => return Ok(Err(why)),
                    Err(why) => {
                        let why = clean(&why);
                        notes.push(format!("{needed} is tried on what the server keeps: {why}"));
                        stored_samples(&needed, from, client).await?
                    }
                }
            }
            _ => stored_samples(&needed, from, client).await?,
        };
        if of.is_empty() && needed != name {
            notes.push(format!("{needed}, on which it depends, has no samples: it counts as well"));
        }
        kept.insert(needed, of);
    }
    let operator_actions = match arguments.people {
        People::Recorded => past::operator_actions(name, &record, until),
        People::None => Vec::new(),
    };
    let zone = past::zone_of(arguments.tz.as_deref(), &monitor)?;
    past::report(Asked {
        file,
        monitor,
        samples: kept,
        record,
        operator_actions,
        span: (since, until),
        zone,
        notes,
        by_own_times: asks,
    })
}

/// The samples that the server keeps; none of a monitor that it does not know.
async fn stored_samples(
    name: &str,
    from: Timestamp,
    client: &Client,
) -> anyhow::Result<Vec<Sample>> {
    match samples::all(name, from.millis(), None, client).await {
        Ok(of) => Ok(of.iter().filter_map(sample).collect()),
        Err(error) => match error.downcast::<Failure>() {
            Ok(failure) if failure.exit == Exit::NotFound => Ok(Vec::new()),
            Ok(failure) => Err(failure.into()),
            Err(error) => Err(error),
        },
    }
}

/// What the server has of a monitor besides samples.
async fn record(name: &str, since: Timestamp, client: &Client) -> Result<Value, Failure> {
    let call = client.get(&["monitors", name, "backtest"]).query("from", since.millis());
    call.send().await?.value()
}

fn find<'a>(file: &'a File, name: &str) -> Option<&'a MonitorDef> {
    file.monitors.iter().find(|it| *it.name == *name)
}

/// What files define, over what is defined: as the server would take them. With it, what is asked by
/// the files alone.
async fn overlaid(mut file: File, texts: &[(String, String)]) -> anyhow::Result<(File, File)> {
    let judge = offline::engine().await?;
    let mut own = File::default();
    for (origin, text) in texts {
        let mut known = Known::default();
        known.extend_by(file.clone());
        let loaded = load_judged(text, &ChecklistOptions::default(), &known, &judge);
        let Some(more) = loaded.file else {
            let wrong = loaded.problems.iter().filter(|it| it.level == Level::Error);
            let wrong: Vec<String> = wrong.map(|it| format!("{origin}:{it}")).collect();
            return Err(Failure::new(Exit::Error, "not valid").with_details(wrong).into());
        };
        own.monitors.retain(|old| more.monitors.iter().all(|new| new.name != old.name));
        own.monitors.extend(more.monitors.iter().cloned());
        own.sources.extend(more.sources);
        file.receivers.extend(more.receivers);
        if !more.routes.is_empty() {
            file.routes = more.routes;
        }
        file.monitors.retain(|old| more.monitors.iter().all(|new| new.name != old.name));
        file.monitors.extend(more.monitors);
        file.silences.retain(|old| more.silences.iter().all(|new| new.id != old.id));
        file.silences.extend(more.silences);
        // Of overrides the last decides, so these are heeded before those that are known.
        file.roster.extend(more.roster);
    }
    judge.close().await?;
    Ok((file, own))
}

/// Adds what monitors depend on that the file does not have: it is defined elsewhere.
async fn complete(
    file: &mut File,
    name: &str,
    since: Timestamp,
    client: &Client,
) -> anyhow::Result<()> {
    loop {
        let needed = backtest::needed(file, name);
        let Some(missing) = needed.iter().find(|it| find(file, it).is_none()) else {
            return Ok(());
        };
        if missing == name {
            return Ok(());
        }
        let record = match record(missing, since, client).await {
            Err(failure) if failure.exit == Exit::NotFound => {
                let message = format!("there is no monitor {missing}, on which {name} depends");
                return Err(Failure::new(Exit::NotFound, message).into());
            }
            record => record?,
        };
        let other: File = serde_json::from_value(record["file"].clone())?;
        let new = other.monitors.into_iter().filter(|it| find(file, &it.name).is_none());
        let new: Vec<MonitorDef> = new.collect();
        anyhow::ensure!(!new.is_empty(), "there is no monitor {missing}");
        file.monitors.extend(new);
    }
}

/// A sample as the server tells it.
fn sample(told: &Value) -> Option<Sample> {
    let instant = |name: &str| told[name].as_i64().map(Timestamp::from_millis);
    let outcome = match (&told["unknown"], &told["tooLong"]) {
        (Value::String(why), _) => Sampled::Unknown(why.as_str().into()),
        (_, Value::Number(bytes)) => Sampled::TooLong(bytes.as_u64()?),
        _ => Sampled::Output(Json::of(told.get("output")?)),
    };
    Some(Sample {
        number: told["number"].as_u64()?,
        sequence: u32::try_from(told["check"].as_u64()?).ok()?,
        started_at: instant("startedAt")?,
        ended_at: instant("endedAt")?,
        window: Window { from: instant("from")?, to: instant("to")? },
        version: told["definition"].as_str()?.into(),
        outcome,
    })
}
