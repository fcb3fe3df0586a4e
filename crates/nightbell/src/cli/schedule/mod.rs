//! `nightbell schedule`: what starts runs by the clock.

mod backfill;
mod calendar;
mod stored;
pub(super) mod test;

pub(super) use self::test::{instant, zone};
use clap::Subcommand;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::document::{Files, Removal, at, judge, name_of};
use super::input::Document;
use super::moment::Moment;
use super::output::{Output, clean};
use super::table::{Cell, Table};

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List schedules
    List {
        /// Only schedules that start this workflow
        #[arg(long, value_name = "NAME")]
        workflow: Option<String>,
    },
    /// Print a schedule as JSON
    Get {
        /// Name of the schedule
        name: String,
    },
    /// Create new schedules
    #[command(after_help = "\
A file holds one schedule or a list of them:
  { \"name\": \"nightly\", \"cronExpression\": \"0 0 2 * * *\", \"zoneId\": \"Europe/Oslo\",
    \"startWorkflowRequest\": { \"name\": \"report\", \"input\": {} },
    \"catchUp\": \"none|latest|all\", \"overlap\": \"allow_all|skip|buffer_one|terminate_other\",
    \"dst\": \"once|spring\",
    \"expect\": { \"startWithin\": \"5m\", \"doneBy\": \"06:00\", \"slowerThan\": \"3x\", \"atLeast\": \"5m\" } }")]
    Create(Files),
    /// Replace schedules that exist
    Update(Files),
    /// Delete schedules; runs that they have started continue
    Delete(Removal),
    /// Pause schedules
    Pause {
        /// Names of schedules
        #[arg(required = true)]
        names: Vec<String>,
        /// Why, for people
        #[arg(long)]
        reason: Option<String>,
    },
    /// Resume paused schedules; firings that were due meanwhile are not made up for
    Resume {
        /// Names of schedules
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// List the next firings of a schedule
    Next {
        /// Name of the schedule
        name: String,
        /// How many times
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Print every firing in a period of time, and the effect of daylight saving changes
    Test(test::Arguments),
    /// Print the firings of all schedules in a period of time, as a table or as iCalendar (-o ics)
    Calendar(calendar::Calendar),
    /// List schedules that fire while runs of others are in progress
    Collisions(calendar::Collisions),
    /// List what a schedule has started, and what not and why
    History {
        /// Name of the schedule
        name: String,
        /// Only firings of this state: POLLED, EXECUTED, FAILED, MISSED or SKIPPED
        #[arg(long)]
        state: Option<String>,
        /// How many to list at most
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=5000))]
        limit: u32,
    },
    /// Fire a schedule now, even if it is not due or paused; prints the id of the run
    Trigger {
        /// Name of the schedule
        name: String,
    },
    /// Backfill: fire a schedule for every planned time of a past period
    Backfill(backfill::Arguments),
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List { workflow } => list(workflow.as_deref(), client, output).await,
        Verb::Get { name } => output.json(&stored::read(&name, client).await?),
        Verb::Create(files) => save(&files.read()?, false, client, output).await,
        Verb::Update(files) => save(&files.read()?, true, client, output).await,
        Verb::Delete(removal) => {
            let names = removal.confirmed("schedule")?;
            for name in names {
                // The server deletes what is not there without a word.
                stored::read(name, client).await?;
                client.delete(&["scheduler", "schedules", name]).send().await?;
                output.note(format_args!("deleted schedule {name}"));
            }
            done(names, output)
        }
        Verb::Pause { names, reason } => {
            for name in &names {
                let call = client.put(&["scheduler", "schedules", name, "pause"]);
                call.query_if("reason", reason.as_deref()).send().await?;
                output.note(format_args!("paused schedule {name}"));
            }
            done(&names, output)
        }
        Verb::Resume { names } => {
            for name in &names {
                client.put(&["scheduler", "schedules", name, "resume"]).send().await?;
                output.note(format_args!("resumed schedule {name}"));
            }
            done(&names, output)
        }
        Verb::Next { name, limit } => next(&name, limit, client, output).await,
        Verb::Calendar(arguments) => calendar::calendar(&arguments, client, output).await,
        Verb::Collisions(arguments) => calendar::collisions(&arguments, client, output).await,
        Verb::Test(arguments) => test::run(&arguments, client, output).await,
        Verb::History { name, state, limit } => {
            history(&name, state.as_deref(), limit, client, output).await
        }
        Verb::Trigger { name } => {
            let call = client.post(&["scheduler", "schedules", &name, "trigger"]);
            let answer = call.query("by", "nightbell").send().await?.value()?;
            if output.is_json() {
                return output.json(&answer);
            }
            if let Some(run) = answer["workflowId"].as_str() {
                return output.line(clean(run));
            }
            output.note("its idempotency key says which run it gets; see its history");
            Ok(())
        }
        Verb::Backfill(arguments) => backfill::run(&arguments, client, output).await,
    }
}

fn done(names: &[String], output: &Output) -> anyhow::Result<()> {
    if output.is_json() { output.json(&names) } else { Ok(()) }
}

/// What a table shows of a schedule.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shown {
    name: String,
    description: Option<String>,
    cron_expression: Option<String>,
    zone_id: Option<String>,
    cron_schedules: Vec<Line>,
    paused: bool,
    next_run_time: Moment,
    start_workflow_request: Named,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Line {
    cron_expression: String,
    zone_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

async fn list(workflow: Option<&str>, client: &Client, output: &Output) -> anyhow::Result<()> {
    let call = client.get(&["scheduler", "schedules"]).query_if("workflowName", workflow);
    let answer = call.send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let schedules: Vec<Shown> = understand("list of schedules", &answer)?;
    let now = Timestamp::now();
    let mut table = Table::new(&["NAME", "STATUS", "NEXT", "~CRON", "~WORKFLOW", "~DESCRIPTION"]);
    for shown in &schedules {
        let single = shown.cron_expression.iter().map(|cron| (cron, &shown.zone_id));
        let lines = shown.cron_schedules.iter().map(|line| (&line.cron_expression, &line.zone_id));
        let lines: Vec<_> =
            if shown.cron_schedules.is_empty() { single.collect() } else { lines.collect() };
        let crons: Vec<String> = lines
            .into_iter()
            .map(|(cron, zone)| format!("{cron} {}", zone.as_deref().unwrap_or("UTC")))
            .collect();
        table.row([
            (&shown.name).into(),
            Cell::status(if shown.paused { "PAUSED" } else { "RUNNING" }),
            shown.next_run_time.relative(now).into(),
            crons.join(", ").into(),
            (&shown.start_workflow_request.name).into(),
            shown.description.as_deref().unwrap_or_default().into(),
        ]);
    }
    output.table(&table)?;
    if schedules.is_empty() {
        output.note("no schedules; create one with `nightbell schedule create -f FILE`");
    }
    Ok(())
}

async fn save(
    documents: &[Document],
    exists: bool,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut saved = Vec::new();
    for Document { origin, value } in documents {
        let name = name_of(value);
        if !name.is_empty() {
            let what = format!("schedule {name}");
            judge(stored::read(name, client).await, exists, "schedule", origin, &what)?;
        }
        let call = client.post(&["scheduler", "schedules"]).json(value);
        let answer = call.send().await.map_err(|failure| at(origin, failure))?;
        output.note(format_args!("saved schedule {}", clean(name)));
        saved.push(answer.value()?);
    }
    if output.is_json() { output.json(&saved) } else { Ok(()) }
}

async fn next(name: &str, limit: u32, client: &Client, output: &Output) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Planned {
        scheduled_time: Moment,
        cron_expression: String,
        zone_id: String,
    }
    let call = client.get(&["scheduler", "schedules", name, "next"]).query("limit", limit);
    let answer = call.send().await?.value()?;
    let planned: Vec<Planned> = understand("preview", &answer)?;
    if output.is_json() {
        let shown = planned.iter().map(|planned| {
            json!({
                "at": planned.scheduled_time.rfc3339(),
                "cronExpression": planned.cron_expression,
                "zoneId": planned.zone_id,
            })
        });
        return output.json(&shown.collect::<Vec<_>>());
    }
    let now = Timestamp::now();
    let mut table = Table::new(&["TIME", "IN", "CRON", "ZONE"]);
    for planned in &planned {
        table.row([
            planned.scheduled_time.rfc3339().unwrap_or_default().into(),
            planned.scheduled_time.relative(now).into(),
            (&planned.cron_expression).into(),
            (&planned.zone_id).into(),
        ]);
    }
    output.table(&table)?;
    if planned.is_empty() {
        output.note("it fires no more: it is paused, or its end has come");
    }
    Ok(())
}

async fn history(
    name: &str,
    state: Option<&str>,
    limit: u32,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Page {
        total_hits: u64,
        results: Vec<Value>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Firing {
        scheduled_time: Moment,
        state: String,
        cause: String,
        workflow_id: Option<String>,
        reason: Option<String>,
    }
    let state = state.map(|state| format!(" AND state='{}'", state.to_ascii_uppercase()));
    let query = format!("scheduleName='{name}'{}", state.unwrap_or_default());
    let call = client.get(&["scheduler", "search", "executions"]);
    let call = call.query("query", query).query("size", limit);
    let page: Page = understand("history", &call.send().await?.value()?)?;
    if output.is_json() {
        return output.json(&page.results);
    }
    let mut table = Table::new(&["DUE", "STATE", "CAUSE", "RUN", "~REASON"]);
    for firing in &page.results {
        let firing: Firing = understand("history", firing)?;
        table.row([
            firing.scheduled_time.rfc3339().unwrap_or_default().into(),
            (&firing.state).into(),
            (&firing.cause).into(),
            firing.workflow_id.unwrap_or_default().into(),
            firing.reason.unwrap_or_default().into(),
        ]);
    }
    output.table(&table)?;
    if page.total_hits > page.results.len() as u64 {
        let (shown, total) = (page.results.len(), page.total_hits);
        output.note(format_args!("{shown} of {total}; --limit shows more"));
    } else if page.results.is_empty() {
        // An unknown name is a mistake, a schedule that has not fired yet is none.
        stored::read(name, client).await?;
        output.note("nothing yet");
    }
    Ok(())
}
