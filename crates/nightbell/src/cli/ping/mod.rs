//! `nightbell ping`: calls heartbeat monitors from where jobs run.

mod job;
mod tail;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use tokio::time::timeout;
use uuid::Uuid;

use super::Global;
use super::client::Client;
use super::failure::{Exit, Failure};
use job::Ended;

/// How long the call that a job begins may take. The job does not wait for it.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// How long one call that a job has ended may take.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// The pauses before it is made again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// What to do with heartbeat monitors.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a command, and report its start and its end to a heartbeat monitor
    ///
    /// The command gets standard input and its output is passed through; the end of the output is
    /// sent with the last ping. Exits with the code of the command, or with 128 plus the number of
    /// the signal that ended it. The command runs at once and in any case: if the server cannot be
    /// reached, a message is printed to standard error.
    #[command(after_help = "\
MONITOR is the key of a heartbeat monitor, or its name if it has no key, with --ping-key its slug, or a
whole address such as https://bell.example.com/ping/KEY, of Nightbell or of Healthchecks.

Examples:
  nightbell ping exec nightly-backup -- /usr/local/bin/backup.sh
  nightbell ping exec --ping-key \"$PING_KEY\" --create nightly-backup -- backup.sh --full
  15 3 * * *  nightbell ping exec https://bell.example.com/ping/7Xn4q0sTz1uVw2yA -- backup.sh

Environment:
  NIGHTBELL_PING_KEY     as --ping-key

Exit codes: those of the command; 126 if it cannot be run, 127 if it is not there, 2 if this command line
is wrong.")]
    Exec(Exec),
}

/// The job, and whom to call.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Key, name or slug of a heartbeat monitor, or a whole address
    #[arg(value_name = "MONITOR")]
    monitor: String,
    /// MONITOR is a slug; this is the ping key that opens it
    #[arg(long, env = "NIGHTBELL_PING_KEY", hide_env_values = true, value_name = "KEY")]
    ping_key: Option<String>,
    /// Create the monitor if there is none with this slug; the ping key has to allow it
    #[arg(long)]
    create: bool,
    /// Do not report the start of the job, only its end
    #[arg(long)]
    no_start: bool,
    /// Do not capture the output of the job: it goes where that of this command goes
    #[arg(long)]
    no_output: bool,
    /// Bytes of the end of the output that are sent with the last ping
    #[arg(long, value_name = "BYTES", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(0..=100_000))]
    output_max: u32,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command; answers the exit code of the job.
///
/// # Errors
/// The command line is wrong.
pub(crate) fn run(verb: Verb, global: &Global) -> anyhow::Result<ExitCode> {
    let Verb::Exec(exec) = verb;
    let is_address = exec.monitor.contains("://");
    if exec.create && exec.ping_key.is_none() && !is_address {
        return Err(Failure::usage(
            "--create needs --ping-key, the key that allows creating monitors",
        )
        .into());
    }
    if exec.monitor.trim().is_empty() {
        return Err(Failure::usage(
            "MONITOR is empty: name the heartbeat monitor that the job pings",
        )
        .into());
    }
    // Whatever is wrong with our side, the job runs.
    let caller = match Caller::new(&exec, global.url.as_deref()) {
        Ok(caller) => Some(caller),
        Err(error) => {
            say(&format!("the job runs without being watched: {error:#}"));
            None
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(watched(&exec, caller));
    // A child of the job may hold its output open for ever.
    runtime.shutdown_background();
    Ok(ExitCode::from(code))
}

async fn watched(exec: &Exec, caller: Option<Caller>) -> u8 {
    let begun = Instant::now();
    let start = async {
        let Some(caller) = caller.as_ref().filter(|_| !exec.no_start) else { return };
        let told = timeout(START_PATIENCE, caller.call("start", String::new())).await;
        if let Err(why) = told.unwrap_or_else(|_| Err(slow(START_PATIENCE))) {
            say(&format!("cannot say that the job begins: {}", why.message));
        }
    };
    let job = async {
        let captures = !exec.no_output && exec.output_max > 0 && caller.is_some();
        job::run(&exec.command, captures.then_some(exec.output_max as usize)).await
    };
    // Both at once: a slow server delays no job. The end is told after the beginning.
    let ((), ended) = tokio::join!(start, job);
    if let Some(caller) = &caller {
        caller.tell_end(&ended, begun.elapsed()).await;
    }
    ended.code
}

/// Calls a monitor.
struct Caller {
    client: Client,
    /// The path below the address of the client.
    path: Vec<String>,
    /// Names this run, so that overlapping ones are told apart.
    run: String,
    creates: bool,
}

impl Caller {
    fn new(exec: &Exec, url: Option<&str>) -> anyhow::Result<Self> {
        let is_address = exec.monitor.contains("://");
        let (address, path) = if is_address {
            (Some(exec.monitor.trim_end_matches('/')), Vec::new())
        } else {
            let parts = ["ping".to_owned()].into_iter().chain(exec.ping_key.clone());
            (url, parts.chain([exec.monitor.clone()]).collect())
        };
        let client = Client::new(address, false)?;
        let run = Uuid::new_v4().to_string();
        Ok(Self { client, path, run, creates: exec.create })
    }

    async fn call(&self, signal: &str, text: String) -> Result<(), Failure> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).chain([signal]).collect();
        let call = self.client.beside_api(&path).without_credential();
        let call = call.query("rid", &self.run).query_if("create", self.creates.then_some("1"));
        call.text(text).send().await.map(drop)
    }

    /// Says how the job ended, more than once if need be.
    async fn tell_end(&self, ended: &Ended, took: Duration) {
        let signal = ended.code.to_string();
        let text = ended.said(took);
        let mut pauses = PAUSES.iter();
        loop {
            let told = timeout(END_PATIENCE, self.call(&signal, text.clone())).await;
            let Err(why) = told.unwrap_or_else(|_| Err(slow(END_PATIENCE))) else { return };
            // Who was understood and refused is so again.
            let pause = pauses.next().filter(|_| why.exit == Exit::Unreachable);
            let Some(pause) = pause else {
                let ended = format!("the job ended with {}", ended.code);
                return say(&format!("cannot say that {ended}: {}", why.message));
            };
            tokio::time::sleep(*pause).await;
        }
    }
}

fn slow(patience: Duration) -> Failure {
    let message = format!("the server did not answer within {} s", patience.as_secs());
    Failure::new(Exit::Unreachable, message)
}

/// A word on standard error, where cron finds it; nobody is left to tell if that is closed.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "nightbell: {}", super::output::clean(text));
}
