//! `nightbell run watch`: follows a run until it ends.
//!
//! The server is asked at a pace that adapts: often at first, so that a short run is not waited for,
//! and seldom when its answers take long, so that watching a run of many thousand tasks costs the
//! server at most a tenth of its time.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::why::{self, Waiting};
use super::{Workflow, code, fetch};
use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, Screen, clean, cut};
use crate::cli::table::Tone;

const PACE_FIRST: Duration = Duration::from_millis(100);
const PACE_USUAL: Duration = Duration::from_secs(1);
const PACE_SLOWEST: Duration = Duration::from_secs(10);
/// How many times slower than the server's answers this asks.
const PACE_FACTOR: u32 = 10;
/// How long a server that answered before may be away, as when it is restarted.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to follow.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Id of the run
    id: String,
}

/// Runs the command.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let workflow = follow(&arguments.id, &mut Progress::as_data(output), client).await?;
    Ok(workflow.verdict()?)
}

/// Follows a run until it ends, and answers what it is then.
pub(super) async fn follow(
    id: &str,
    progress: &mut Progress,
    client: &Client,
) -> anyhow::Result<Workflow> {
    let mut pace = PACE_FIRST;
    let mut away_since: Option<Instant> = None;
    let mut seen = false;
    loop {
        let asked = Instant::now();
        match look(id, client).await {
            Ok((workflow, waiting)) => {
                (seen, away_since) = (true, None);
                progress.show(&View::of(&workflow, waiting))?;
                if workflow.is_over() {
                    progress.finish()?;
                    return Ok(workflow);
                }
            }
            Err(failure) if failure.exit == Exit::Unreachable && seen => {
                if away_since.get_or_insert(asked).elapsed() > PATIENCE {
                    progress.finish()?;
                    return Err(failure.into());
                }
                progress.away()?;
            }
            Err(failure) => {
                progress.finish()?;
                return Err(failure.into());
            }
        }
        let cost = asked.elapsed() * PACE_FACTOR;
        tokio::time::sleep(pace.max(cost).min(PACE_SLOWEST)).await;
        pace = (pace * 3 / 2).min(PACE_USUAL);
    }
}

async fn look(id: &str, client: &Client) -> Result<(Workflow, Option<Waiting>), Failure> {
    let found = if code::is_whole(id) { None } else { Some(fetch(id, true, client).await) };
    let (value, workflow) = match found {
        Some(Err(missing)) if missing.exit == Exit::NotFound => {
            // It may be the id of code in the default hub.
            let (workflow, waiting) = code::fetch(id, client).await.map_err(|_| missing)?;
            return Ok((workflow, waiting.into_iter().next()));
        }
        Some(found) => found?,
        None => {
            let (workflow, waiting) = code::fetch(id, client).await?;
            return Ok((workflow, waiting.into_iter().next()));
        }
    };
    if workflow.is_over() {
        return Ok((workflow, None));
    }
    let waiting = why::waiting(&value, &workflow, client).await?.into_iter().next();
    Ok((workflow, waiting))
}

/// What one look at a run has shown.
#[derive(Debug)]
struct View {
    id: String,
    status: String,
    /// Tasks that are over, of those that are known; nothing if it has none, as it is code.
    tasks: Option<(usize, usize)>,
    waiting: Option<Waiting>,
    elapsed: String,
}

impl View {
    fn of(workflow: &Workflow, waiting: Option<Waiting>) -> Self {
        let done = workflow.latest_tasks().filter(|task| task.is_over()).count();
        Self {
            id: workflow.id.clone(),
            status: clean(&workflow.status),
            tasks: (!workflow.is_code).then(|| (done, workflow.latest_tasks().count())),
            waiting,
            elapsed: workflow.start_time.until(workflow.end_time, Timestamp::now()),
        }
    }

    /// All but the time that has passed.
    fn state(&self) -> String {
        let tasks = self.tasks.map(|(done, known)| format!("{done}/{known} tasks"));
        let waiting = self.waiting.as_ref().map(|waiting| {
            let (reference, reason) = (clean(&waiting.reference), clean(&waiting.reason));
            format!("{reference}: {reason}")
        });
        tasks.into_iter().chain(waiting).collect::<Vec<_>>().join(", ")
    }

    fn json(&self) -> Value {
        json!({
            "workflowId": self.id,
            "status": self.status,
            "tasksDone": self.tasks.map(|(done, _)| done),
            "tasksKnown": self.tasks.map(|(_, known)| known),
            "waiting": self.waiting,
            "elapsed": self.elapsed,
        })
    }
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// One line that is drawn again and again.
    Redrawn,
    /// A line for each change.
    Lines,
    /// A JSON document on a line for each change.
    Json,
}

/// The line that shows how far a run is.
#[derive(Debug)]
pub(super) struct Progress {
    style: Style,
    screen: Screen,
    to_stdout: bool,
    last: String,
}

impl Progress {
    /// Progress that was asked for: on standard output.
    fn as_data(output: &Output) -> Self {
        let screen = output.screen();
        let style = match (output.is_json(), screen.is_terminal()) {
            (true, _) => Style::Json,
            (false, true) => Style::Redrawn,
            (false, false) => Style::Lines,
        };
        Self { style, screen, to_stdout: true, last: String::new() }
    }

    /// Progress beside the data: on standard error.
    pub(super) fn as_messages(output: &Output) -> Self {
        let screen = output.message_screen();
        let style = if screen.is_terminal() { Style::Redrawn } else { Style::Lines };
        Self { style, screen, to_stdout: false, last: String::new() }
    }

    fn show(&mut self, view: &View) -> io::Result<()> {
        let View { status, elapsed, .. } = view;
        let state = view.state();
        let changed = format!("{status} {state}") != self.last;
        match self.style {
            Style::Redrawn => {
                let room =
                    self.screen.width.unwrap_or(80).saturating_sub(status.chars().count() + 2);
                let rest = cut(&format!("{elapsed}  {state}"), room);
                let status = Tone::paint(Tone::of_status(status), status, self.screen);
                self.write(&format!("\r\x1b[2K{status} {rest}"))?;
            }
            Style::Lines if changed => self.write(&format!("{status} {state} ({elapsed})\n"))?,
            Style::Json if changed => self.write(&format!("{}\n", view.json()))?,
            Style::Lines | Style::Json => {}
        }
        self.last = format!("{status} {state}");
        Ok(())
    }

    /// Says that the server has gone, once.
    fn away(&mut self) -> io::Result<()> {
        const AWAY: &str = "the server does not answer; trying again";
        if self.last == AWAY {
            return Ok(());
        }
        AWAY.clone_into(&mut self.last);
        match self.style {
            Style::Redrawn => self.write(&format!("\r\x1b[2K{AWAY}")),
            // A message, whatever the lines are.
            Style::Lines | Style::Json => writeln!(io::stderr(), "{AWAY}").or(Ok(())),
        }
    }

    /// Leaves the line as it is and goes to the next.
    fn finish(&self) -> io::Result<()> {
        if self.style == Style::Redrawn && !self.last.is_empty() {
            self.write("\n")
        } else {
            Ok(())
        }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        if self.to_stdout {
            let mut stdout = io::stdout();
            stdout.write_all(text.as_bytes())?;
            stdout.flush()
        } else {
            // That nobody listens to messages is no reason to stop waiting.
            io::stderr().write_all(text.as_bytes()).or(Ok(()))
        }
    }
}
