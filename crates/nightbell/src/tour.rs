//! `nightbell dev`: a server in a throw-away store that runs the example while one watches, or one whose
//! time is skipped, for tests of workers.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use engine::vault::Shelf;
use engine::{Engine, SkippingClock, SystemClock};
use kernel::ExecutionId;
use kernel::alert::definition::{ChecklistOptions, parse_span};
use kernel::definition::{TaskDef, WorkflowDef};
use kernel::graph::{Execution, Input, Start, Status};

use crate::config::{Config, StoreUrl};
use crate::dev::alerting::Services;
use crate::dev::{self, Clockwork, StandIns};
use crate::load;
use crate::serve::{Server, Stop};

/// How long nobody must be at work before time is skipped, unless it is said.
const QUIET: Duration = Duration::from_millis(100);

/// By which clock `dev` lives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClockMode {
    /// That of the machine.
    Real,
    /// One that jumps to whatever comes next once nobody was at work for so long.
    Skip(Duration),
}

impl FromStr for ClockMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "real" => Ok(Self::Real),
            None if text == "skip" => Ok(Self::Skip(QUIET)),
            Some(("skip", quiet)) => {
                let millis = u64::try_from(parse_span(quiet)?).unwrap_or_default();
                // Less would skip what is on its way between two commits.
                Ok(Self::Skip(Duration::from_millis(millis.max(20))))
            }
            _ => Err("it is real, skip, or skip=2s: how long nobody must be at work".to_owned()),
        }
    }
}

/// Serves until the process is told to stop, over a store that is thrown away.
///
/// # Errors
/// The port or the store cannot be opened; files of `--load` are wrong.
pub(crate) async fn run(mut config: Config, clock: ClockMode) -> anyhow::Result<()> {
    let folder = Folder::make()?;
    config.store = StoreUrl::Sqlite(folder.0.join("nightbell.db"));
    match clock {
        ClockMode::Real => Box::pin(tour(&config, &folder)).await,
        ClockMode::Skip(quiet) => Box::pin(skipping(&config, quiet)).await,
    }
}

/// Serves nothing but what `--load` names, for tests of workers: time is skipped.
async fn skipping(config: &Config, quiet: Duration) -> anyhow::Result<()> {
    // A day of checks is over in seconds, and asks real systems and rings real people.
    let (of_monitors, _) = load::files_by_kind(&config.load);
    if let Some(file) = of_monitors.first() {
        anyhow::bail!(
            "monitors-while-time-is-skipped: {} holds monitors or receivers, and none run while time \
             is skipped: they would ask real systems and ring real people as fast as they can. Leave \
             it out of --load; `nightbell test` tests monitors",
            file.display()
        );
    }
    // Runs of a minute ago are weeks old.
    let config = &Config { retention_age: None, ..config.clone() };
    let clock = Arc::new(SkippingClock::default());
    let server = Server::open(config, clock.clone()).await?;
    load_files(&server.engine, &config.load).await?;
    server.engine.skip_time(clock, quiet);
    say(&format!(
        "Nightbell is up: http://{}  (a throw-away store; time is skipped while nobody is at work)",
        server.address()
    ));
    server.serve(Stop::listen()?).await
}

async fn load_files(engine: &Engine, files: &[PathBuf]) -> anyhow::Result<()> {
    let (options, loaded) = (ChecklistOptions::default(), load::Loaded::default());
    if let Err(mistakes) = load::load(engine, files, &options, &loaded).await {
        anyhow::bail!("the definitions have mistakes:\n  {}", mistakes.join("\n  "));
    }
    Ok(())
}

/// Serves the two-minute tour until the process is told to stop.
async fn tour(config: &Config, folder: &Folder) -> anyhow::Result<()> {
    let server = Server::open(config, Arc::new(SystemClock)).await?;
    let stand_ins = dev::start(dev::Options::tour(jiff::Timestamp::now()))
        .await
        .context("the stand-in services cannot be started")?;
    let services = Services::default();
    // Two failures in the endpoint's last ten minutes: somebody has to be rung.
    services.fail_at(&[3, 4]);
    let alerting_url = services.start().await.context("the stand-in services cannot be started")?;
    let id = begin(&server.engine, &stand_ins).await?;
    let clockwork = stand_ins.clockwork(&alerting_url);
    wind_up(&server.engine, folder, &clockwork, &config.load).await?;
    say(&format!(
        "\nNightbell is up: http://{}  (a throw-away store; stop with Ctrl-C)\n\n\
         The example examples/etl-github-orbit is running against stand-ins of GitHub and Orbit:\n\
         it reads 519 stargazers from 6 pages, keeps those of the last 24 hours and posts each.\n\n\
         Beside it examples/endpoint-scan-pagerduty scans an endpoint every minute and rings a\n\
         PagerDuty that is none; its schedules are awake.\n",
        server.address()
    ));
    let (engine, url) = (server.engine.clone(), format!("http://{}", server.address()));
    let follower = tokio::spawn(async move {
        follow(&engine, &id, &stand_ins, &url).await;
        // The services stay as long as the server: what runs by the clock speaks to them, too.
        std::future::pending::<()>().await;
    });
    let result = server.serve(Stop::listen()?).await;
    follower.abort();
    result
}

async fn begin(engine: &Engine, stand_ins: &StandIns) -> anyhow::Result<ExecutionId> {
    let seed = stand_ins.seed();
    let tasks: Vec<TaskDef> = serde_json::from_value(seed.task_defs)?;
    let workflow: WorkflowDef = serde_json::from_value(seed.workflow)?;
    let name = workflow.name.clone();
    engine.definitions().put_tasks(tasks).await?;
    engine.definitions().put_workflows(vec![workflow]).await?;
    let plan = engine.definitions().plan(&name, None).context("the example is registered")?;
    let id = Engine::new_id();
    let start = Start {
        plan,
        input: seed.start["input"].clone().into(),
        correlation_id: Some("tour".into()),
        priority: 0,
        task_to_domain: None,
        parent: None,
        asked_by: None,
        event: None,
        created_by: Some("nightbell dev".into()),
        acts_as: None,
        idempotency_key: None,
        traceparent: None,
    };
    engine.step(&id, Input::Start(Box::new(start))).await?;
    Ok(id)
}

/// Loads what runs by the clock, and lets the first scan begin at once.
async fn wind_up(
    engine: &Engine,
    folder: &Folder,
    clockwork: &Clockwork,
    more: &[PathBuf],
) -> anyhow::Result<()> {
    let examples = folder.0.join("examples");
    for (name, text) in &clockwork.files {
        let file = examples.join(name);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    for (name, value) in &clockwork.secrets {
        engine.vault().put(Shelf::Secrets, name, value).await?;
    }
    load_files(engine, &[std::slice::from_ref(&examples), more].concat()).await?;
    trigger(engine, SCAN).await
}

/// The schedule of the alerting example.
const SCAN: &str = "endpoint-scan";
/// The schedule of the night's ETL.
const NIGHTLY: &str = "github-stars-nightly";

async fn trigger(engine: &Engine, schedule: &str) -> anyhow::Result<()> {
    let by = Some("nightbell dev".into());
    let id = ExecutionId::schedule(schedule);
    Ok(engine.step(&id, kernel::schedule::Input::Trigger { by }).await?)
}

/// Tells how the example gets on, a line for every new kind of step, and what to try next.
async fn follow(engine: &Engine, id: &ExecutionId, stand_ins: &StandIns, url: &str) {
    let mut changes = engine.watch(id);
    let mut told = String::new();
    loop {
        let Ok(Some((status, line))) = engine.read(id, |run| (run.status, progress(run))).await
        else {
            return;
        };
        if line != told {
            say(&line);
            told = line;
        }
        if status.is_closed() {
            // What the clock does by night, done once by day: the same for several repositories.
            let nightly = trigger(engine, NIGHTLY).await.is_ok();
            return say(&farewell(id, status, stand_ins.posted().len(), nightly, url));
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn progress(run: &Execution) -> String {
    let done = run.tasks().filter(|task| task.status.is_closed()).count();
    let now = run.open_tasks().last().map_or("", |task| &*task.reference);
    // Inside the long loop a line for every tenth step is enough.
    let rounded = if done > 20 { done / 10 * 10 } else { done };
    let step = now.split("__").next().unwrap_or_default();
    format!("  {:<9} {rounded:>4} tasks done   {step}", run.status.as_str())
}

fn farewell(id: &ExecutionId, status: Status, posted: usize, nightly: bool, url: &str) -> String {
    let nightly = if nightly {
        "Now the same runs for three repositories at once, each in a sub-workflow, as a schedule\n\
         does every midnight. "
    } else {
        ""
    };
    format!(
        "\nThe example ended as {} and posted {posted} activities.\n{nightly}Try, in another \
         terminal:\n\n  \
         export NIGHTBELL_URL={url}\n  \
         nightbell run list\n  nightbell run show {id}\n  \
         nightbell schedule list\n  nightbell schedule history endpoint-scan\n  \
         nightbell workflow get github_stars_to_orbit\n  \
         curl {url}/api/workflow/{id}\n\n\
         and open {url}/docs for the whole API.",
        status.as_str()
    )
}

/// A folder that goes away with the process.
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("nightbell-dev-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "temporary store could not be removed");
        }
    }
}

/// Writes a line for the person who takes the tour.
#[expect(clippy::print_stdout, reason = "the tour talks to a person")]
fn say(line: &str) {
    println!("{line}");
}
