//! `nightbell run`: runs of workflows, and of orchestrations, which are code.

pub(super) mod as_test;
mod bundle;
mod code;
mod control;
mod export;
mod fork;
mod list;
mod past;
mod replay;
mod show;
mod start;
mod step;
mod stuck;
mod upgrade;
mod watch;
mod why;

use clap::{Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, understand};
use super::failure::{Exit, Failure};
use super::moment::Moment;
use super::orchestration;
use super::output::{Output, clean};
use super::report;

/// What to do with runs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a run
    Start(start::Arguments),
    /// List runs of workflows and of orchestrations, the newest first
    List(list::Arguments),
    /// Show one run: its state, what it waits for, input, output and tasks
    #[command(visible_alias = "status")]
    Show(show::Arguments),
    /// Follow a run until it ends; exits with 0 if it completed and with 5 if not
    Watch(watch::Arguments),
    /// Explain what a run waits for, task by task
    Why {
        /// Id of the run
        id: String,
    },
    /// List what blocks runs: queues without workers, and limits, with the number of runs and since
    /// when
    Stuck,
    /// List the commits of a run: their times and events
    History {
        /// Id of the run
        id: String,
        /// The number of the first commit [default: the first that is kept]
        #[arg(long, value_name = "COMMIT")]
        from: Option<u64>,
        /// Commits to list
        #[arg(long, default_value_t = 100)]
        size: u32,
    },
    /// Print a run as JSON as it was after one of its commits, with what it waited for then
    At {
        /// Id of the run
        id: String,
        /// The number of the commit; `run history` lists them
        commit: u64,
    },
    /// Step through the history of a run: what each commit changed, and how the run stood after it
    ///
    /// Reads commands, a line each, from the terminal or from standard input: n next, p previous, g 14,
    /// g TASK, d everything that a commit changed, t the tasks then; h lists all.
    #[command(after_help = "\
Examples:
  nightbell run step 01a2…
  nightbell run step 01a2… --all                   what each commit changed, one after the other
  echo 'g ring' | nightbell run step 01a2…         the first commit that does something to `ring`")]
    Step(step::Arguments),
    /// Print what the tasks of a run logged
    Logs {
        /// Id of the run
        id: String,
        /// Only the tasks of this reference name
        #[arg(long, value_name = "REF")]
        task: Option<String>,
    },
    /// Pause runs: no new tasks are scheduled until they are resumed
    Pause(Targets),
    /// Resume paused runs
    Resume(Targets),
    /// Terminate runs
    Terminate {
        #[command(flatten)]
        targets: Targets,
        /// Why; kept with the run
        #[arg(long)]
        reason: Option<String>,
    },
    /// Restart ended runs from their first task, under the same id
    Restart {
        #[command(flatten)]
        targets: Targets,
        /// Use the current definition, not the one that the run was started with
        #[arg(long)]
        latest: bool,
    },
    /// Retry the failed tasks of ended runs; orchestrations are rewound
    Retry {
        #[command(flatten)]
        targets: Targets,
        /// Continue a failed sub-workflow instead of starting a new one
        #[arg(long)]
        resume_sub_workflows: bool,
    },
    /// Rerun an ended run from one of its tasks
    Rerun(control::Rerun),
    /// Start a new run with the state that another one had before one of its tasks
    Fork(fork::Arguments),
    /// Let running runs obey another version of their definition, from where they stand
    ///
    /// A run keeps the definition with which it began until this is asked for. A version that does not
    /// fit what has begun is refused, and the run goes on as it did; `nightbell plan` says which fit.
    #[command(after_help = "\
Examples:
  nightbell run upgrade 01a2…                      to the latest version
  nightbell run upgrade 01a2… --to 3 --task-output 'fetch={\"rows\": []}'
  nightbell run list --workflow orders --status RUNNING --ids | nightbell run upgrade --yes -")]
    Upgrade(upgrade::Arguments),
    /// Write a report of a run: its tasks in order, input, output, and the inputs of those that
    /// failed
    #[command(after_help = "\
Examples:
  nightbell run report 01a2… -o html > report.html
  nightbell run report 01a2… > report.md

Times are those of UTC. -o md (also without -o), html or json.")]
    Report {
        /// Id of the run
        id: String,
    },
    /// Write a run as one file, with its sub-workflows, definitions, schemas and history
    ///
    /// What the server masks (sealed values, `maskedFields`) is masked in it, and of secrets it has
    /// the names. --redact removes other confidential values.
    #[command(after_help = "\
Examples:
  nightbell run export 01a2… -O run.nbz
  nightbell run export 01a2… -O run.nbz --redact input.card --redact 'tasks.*.input.headers'")]
    Export(export::Arguments),
    /// Replay the runs of an exported file, without a server
    ///
    /// The recorded results of workers, services and people are used again, everything else is
    /// computed again. Exits with 0 if all are the same, 5 if one differs.
    #[command(after_help = "\
Examples:
  nightbell run replay run.nbz                     does it do again what it did?
  nightbell run replay run.nbz -f orders.json      and with this definition?")]
    Replay(replay::Arguments),
    /// Delete runs with their tasks, logs and history
    Delete(Targets),
    /// Skip a task that has not been scheduled yet
    SkipTask {
        /// Id of the run
        id: String,
        /// Reference name of the task
        #[arg(value_name = "REF")]
        reference: String,
    },
}

/// The runs to act on.
#[derive(Debug, clap::Args)]
pub(crate) struct Targets {
    /// Ids of runs, those of orchestrations as `run list` shows them; - reads ids from standard
    /// input
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// The statuses of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Status {
    Running,
    Paused,
    Completed,
    Failed,
    TimedOut,
    Terminated,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Start(arguments) => start::run(arguments, client, output).await,
        Verb::List(arguments) => list::run(&arguments, client, output).await,
        Verb::Show(arguments) => match show::run(&arguments, client, output).await {
            Err(error) if is_missing(&error) => {
                match code::standing(arguments.id(), client).await {
                    Some(instance) => orchestration::show_run(&instance, output),
                    None => Err(error),
                }
            }
            result => result,
        },
        Verb::Watch(arguments) => watch::run(&arguments, client, output).await,
        Verb::Why { id } => why::run(&id, client, output).await,
        Verb::History { id, from, size } => past::history(&id, from, size, client, output).await,
        Verb::At { id, commit } => {
            let path = ["workflow", &id, "at", &commit.to_string()];
            output.json(&client.get(&path).send().await?.value()?)
        }
        Verb::Step(arguments) => match step::run(&arguments, client, output).await {
            Err(error) => {
                let id = arguments.id();
                let instead = format!("see `nightbell orchestration show {id} --history`");
                Err(code::refused(id, error, &instead, client).await)
            }
            done => done,
        },
        Verb::Report { id } => match report::of_run(&id, client, output).await {
            Err(error) => {
                let instead = format!("see `nightbell orchestration show {id} --history`");
                Err(code::refused(&id, error, &instead, client).await)
            }
            done => done,
        },
        Verb::Stuck => stuck::run(client, output).await,
        Verb::Logs { id, task } => match show::logs(&id, task.as_deref(), client, output).await {
            Err(error) => {
                let instead = format!("see `nightbell orchestration show {id} --history`");
                Err(code::refused(&id, error, &instead, client).await)
            }
            done => done,
        },
        Verb::Rerun(arguments) => {
            let id = arguments.id().to_owned();
            match control::rerun(arguments, client, output).await {
                Err(error) => {
                    let instead = format!(
                        "`nightbell run retry {id}` tries again what failed, \
                         `nightbell run restart {id}` begins it anew"
                    );
                    Err(code::refused(&id, error, &instead, client).await)
                }
                done => done,
            }
        }
        Verb::Export(arguments) => export::run(&arguments, client, output).await,
        Verb::Replay(arguments) => replay::run(&arguments, output).await,
        Verb::Fork(arguments) => {
            let id = arguments.id().to_owned();
            match fork::run(arguments, client, output).await {
                Err(error) => {
                    let instead = format!("`nightbell run restart {id}` begins it anew");
                    Err(code::refused(&id, error, &instead, client).await)
                }
                done => done,
            }
        }
        Verb::Upgrade(arguments) => {
            match (upgrade::run(&arguments, client, output).await, arguments.only_id()) {
                (Err(error), Some(id)) => {
                    let instead = "code goes on as its workers are deployed";
                    Err(code::refused(id, error, instead, client).await)
                }
                (done, _) => done,
            }
        }
        Verb::SkipTask { id, reference } => {
            match control::skip_task(&id, &reference, client, output).await {
                Err(error) => {
                    let instead = "what it does next is for its code to decide";
                    Err(code::refused(&id, error, instead, client).await)
                }
                done => done,
            }
        }
        Verb::Pause(targets) => control::PAUSE.run(targets, None, client, output).await,
        Verb::Resume(targets) => control::RESUME.run(targets, None, client, output).await,
        Verb::Terminate { targets, reason } => {
            control::TERMINATE.run(targets, reason, client, output).await
        }
        Verb::Restart { targets, latest } => {
            let latest = latest.then(|| "true".to_owned());
            control::RESTART.run(targets, latest, client, output).await
        }
        Verb::Retry { targets, resume_sub_workflows } => {
            let resume = resume_sub_workflows.then(|| "true".to_owned());
            control::RETRY.run(targets, resume, client, output).await
        }
        Verb::Delete(targets) => {
            control::DELETE.run(targets, Some("false".to_owned()), client, output).await
        }
    }
}

/// Whether there is no such run; an instance of code may have the id.
fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(|failure| failure.exit == Exit::NotFound)
}

/// What this client knows about a run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Workflow {
    #[serde(rename = "workflowId")]
    id: String,
    #[serde(rename = "workflowName")]
    name: String,
    #[serde(rename = "workflowVersion")]
    version: i64,
    status: String,
    reason_for_incompletion: Option<String>,
    correlation_id: Option<String>,
    priority: i64,
    parent_workflow_id: Option<String>,
    branched_from: Option<fork::BranchedFrom>,
    start_time: Moment,
    end_time: Moment,
    tasks: Vec<Task>,
    /// Whether it is an orchestration, which has no tasks.
    #[serde(skip)]
    is_code: bool,
}

/// What this client knows about a task of a run.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Task {
    #[serde(rename = "taskId")]
    id: String,
    #[serde(rename = "referenceTaskName")]
    reference: String,
    #[serde(rename = "taskType")]
    kind: String,
    status: String,
    retry_count: u32,
    retried: bool,
    reason_for_incompletion: Option<String>,
    worker_id: Option<String>,
    scheduled_time: Moment,
    start_time: Moment,
    end_time: Moment,
}

impl Default for Workflow {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            version: 1,
            status: String::new(),
            reason_for_incompletion: None,
            correlation_id: None,
            priority: 0,
            parent_workflow_id: None,
            branched_from: None,
            start_time: Moment(None),
            end_time: Moment(None),
            tasks: Vec::new(),
            is_code: false,
        }
    }
}

impl Workflow {
    fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "COMPLETED" | "FAILED" | "TIMED_OUT" | "TERMINATED")
    }

    /// The latest attempts: those that no other attempt has replaced.
    fn latest_tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| !task.retried)
    }

    /// What a script learns when the run has ended: nothing, or the failure with its exit code.
    fn verdict(&self) -> Result<(), Failure> {
        if self.status == "COMPLETED" {
            return Ok(());
        }
        let reason = self.reason_for_incompletion.as_deref().unwrap_or_default();
        let colon = if reason.is_empty() { "" } else { ": " };
        let id = &self.id;
        let message = format!("run {id} is {}{colon}{}", self.status, clean(reason));
        let shows = if self.is_code {
            format!("`nightbell orchestration show {id} --history` shows where")
        } else {
            format!("`nightbell run show {id} --tasks` shows where")
        };
        Err(Failure::new(Exit::WorkflowFailed, message).with_hint(shows))
    }
}

impl Task {
    fn is_over(&self) -> bool {
        !matches!(self.status.as_str(), "SCHEDULED" | "IN_PROGRESS")
    }
}

/// A run as the server tells it, and as this client understands it.
async fn fetch(id: &str, with_tasks: bool, client: &Client) -> Result<(Value, Workflow), Failure> {
    let value =
        client.get(&["workflow", id]).query("includeTasks", with_tasks).send().await?.value()?;
    let workflow = understand("run", &value)?;
    Ok((value, workflow))
}
