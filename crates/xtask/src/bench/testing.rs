//! What happens before something goes live: tests of workflows and of a staged monitor, `--watch`, runs
//! that are replayed, and instants of schedules. What a command needs for itself is measured apart and
//! taken off.

mod past;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use kernel::Timestamp;
use kernel::alert::definition::{ChecklistOptions, load};
use kernel::cron::{Cron, DstRule, Zone};

use super::figures::Samples;
use super::house::{self, Folder};
use super::inprocess::{self, Steps};
use super::server::{Server, binary};
use crate::wire::Wire;

/// Tests of one workflow: four tasks, two of them scripts.
const TESTS: usize = 2_000;
/// Checks of one monitor, each of one row that is well.
const CHECKS: usize = 20_000;

const FLOW: &str = r#"{ "name": "flow", "version": 1, "schemaVersion": 2, "ownerEmail": "bench@nightbell.dev",
  "tasks": [
    { "name": "fetch", "taskReferenceName": "fetch", "type": "HTTP",
      "inputParameters": { "http_request": { "uri": "http://shop.test", "method": "GET" } } },
    { "name": "count", "taskReferenceName": "count", "type": "INLINE", "inputParameters": {
      "evaluatorType": "javascript", "all": "${fetch.output.response.body}", "expression": "$.all.length" } },
    { "name": "twice", "taskReferenceName": "twice", "type": "INLINE", "inputParameters": {
      "evaluatorType": "javascript", "n": "${count.output.result}", "expression": "$.n * 2" } },
    { "name": "tell", "taskReferenceName": "tell", "type": "SIMPLE" }
  ], "outputParameters": { "n": "${twice.output.result}" } }"#;
/// One that waits for a person.
const WAITS: &str = r#"{ "name": "flow", "version": 1, "schemaVersion": 2, "ownerEmail": "bench@nightbell.dev",
  "tasks": [ { "name": "wait", "taskReferenceName": "wait", "type": "HUMAN" } ] }"#;
const MONITORS: &str = "monitors:\n  net:\n    sql: { query: \"SELECT 1 AS loss\", server: db }\n    every: 1m\n    fail_when: loss >= 15\n";

/// Instants of which somebody asks who is on call.
const ASKED: i64 = 20_000;
const ROSTER: &str = "receivers: { chat: { inbox: { name: chat } } }\npeople: { ann: chat, bo: chat, eve: chat }\n\
    rotations:\n  primary:\n    tz: Europe/Oslo\n    layers:\n    \
    - { people: [ann, bo, eve], handover: \"Mon 09:00\", every: 1w, from: 2026-11-02 }\n    \
    - { people: [bo, eve], active: \"Mon-Fri 00:00-09:00\", every: 1d, count: active, from: 2026-11-02 }\n\
    overrides:\n- { rotation: primary, who: bo, from: \"2027-03-24 09:00\", to: \"2027-03-26 09:00\" }\n";

/// Files that `--watch` looks at.
const FILES: usize = 100;
/// Saves of one of them.
const SAVES: usize = 9;
/// Objects of a project.
const OBJECTS: usize = 1_000;
/// Executions of one of them that are running.
const RUNNING: usize = 10_000;
/// Runs that are replayed.
const RUNS: usize = 500;
/// Years of schedules: as many times a century as give a measurable time.
const CENTURIES: usize = 20;

/// Measures once.
pub(super) async fn measure(samples: &mut Samples) -> anyhow::Result<()> {
    tests(samples)?;
    samples.take("test.watch", watch()?);
    samples.take("test.replay", replay().await?);
    samples.take("test.years", years()?);
    let (who, gaps) = on_call()?;
    samples.take("test.who", who);
    samples.take("test.gaps", gaps);
    samples.take("test.plan", plan().await?);
    samples.take("test.backtest", past::backtest()?);
    Ok(())
}

/// Milliseconds from a save to the result, in the middle of some.
fn watch() -> anyhow::Result<f64> {
    let folder = Folder::make()?;
    let flow = |number: usize, hours: usize| {
        let name = format!("\"name\": \"flow{number}\", \"timeoutSeconds\": {}", hours * 3600);
        FLOW.replacen("\"name\": \"flow\"", &name, 1)
    };
    for number in 0..FILES {
        std::fs::write(folder.0.join(format!("flow{number}.json")), flow(number, 1))?;
    }
    let test = "tests:\n- name: it counts\n  workflow: flow0\n  mocks:\n    \
                fetch: { output: { response: { body: [1, 2, 3] } } }\n    tell: { output: {} }\n  \
                expect: { exactly: { n: 6 } }\n";
    std::fs::write(folder.0.join("flows.test.yaml"), test)?;
    let mut command = Command::new(binary());
    command.args(["test", "--watch", "--jobs", "1"]).current_dir(&folder.0);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let told = child.stderr.take().context("it has a standard error")?;
    let mut lines = BufReader::new(told).lines().map_while(Result::ok);
    let mut passed = || lines.by_ref().find(|line| line == "all passed").context("it ended");
    let mut took = Vec::new();
    let measured = (|| -> anyhow::Result<()> {
        passed()?;
        for save in 0..SAVES {
            let begun = Instant::now();
            std::fs::write(folder.0.join("flow0.json"), flow(0, save + 2))?;
            passed()?;
            took.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(())
    })();
    child.kill()?;
    child.wait()?;
    measured?;
    took.sort_by(f64::total_cmp);
    Ok(house::percentile(&took, 0.5))
}

/// Seconds of a plan in which every object of a project has changed, and one of them is running many times.
async fn plan() -> anyhow::Result<f64> {
    let folder = Folder::make()?;
    let server = Server::start(&folder).await?;
    let definitions = folder.0.join("definitions");
    std::fs::create_dir(&definitions)?;
    let write = |hours: usize| -> anyhow::Result<()> {
        for number in 0..OBJECTS {
            let name = format!("\"name\": \"flow{number}\", \"timeoutSeconds\": {}", hours * 3600);
            let flow = if number == 0 { WAITS } else { FLOW };
            let flow = flow.replacen("\"name\": \"flow\"", &name, 1);
            std::fs::write(definitions.join(format!("flow{number}.json")), flow)?;
        }
        Ok(())
    };
    let run = |arguments: &[&str], code: i32| -> anyhow::Result<f64> {
        let begun = Instant::now();
        let mut command = Command::new(binary());
        command.args(arguments).arg(&definitions).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("NIGHTBELL_URL", format!("http://{}", server.address));
        let status = command.status()?;
        ensure!(status.code() == Some(code), "nightbell {arguments:?} ended with {status}");
        Ok(begun.elapsed().as_secs_f64())
    };
    write(1)?;
    run(&["apply"], 0)?;
    let mut wire = Wire::open(&server.address).await?;
    for _ in 0..RUNNING {
        let (status, _) = wire.post("/api/workflow/flow0", b"{}").await?;
        ensure!(status < 300, "a start is refused: {status}");
    }
    write(2)?;
    let took = run(&["plan"], 7)?;
    server.stop()?;
    Ok(took)
}

/// Runs that are tried in a second.
async fn replay() -> anyhow::Result<f64> {
    let folder = Folder::make()?;
    let server = Server::start(&folder).await?;
    let mut wire = Wire::open(&server.address).await?;
    let flow = inprocess::definition("three", Steps::Inline);
    let file = folder.0.join("three.json");
    std::fs::write(&file, flow.to_string())?;
    let (status, _) = wire.post("/api/metadata/workflow", flow.to_string().as_bytes()).await?;
    ensure!(status < 300, "the definition is refused: {status}");
    for number in 0..RUNS {
        let input = format!("{{\"n\":{number}}}");
        let (status, _) = wire.post("/api/workflow/three", input.as_bytes()).await?;
        ensure!(status < 300, "a start is refused: {status}");
    }
    let tried = |last: usize| -> anyhow::Result<f64> {
        let begun = Instant::now();
        let mut command = Command::new(binary());
        command.args(["workflow", "replay", "-f"]).arg(&file).args(["--last", &last.to_string()]);
        command.env("NIGHTBELL_URL", format!("http://{}", server.address));
        let status = command.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "nightbell workflow replay ended with {status}");
        Ok(begun.elapsed().as_secs_f64())
    };
    let least = tried(1)?;
    let all = tried(RUNS)? - least;
    server.stop()?;
    Ok((RUNS - 1) as f64 / all)
}

/// Years of a daily schedule that are computed in a second.
fn years() -> anyhow::Result<f64> {
    let cron = Cron::parse("0 30 2 * * *").map_err(|error| anyhow::anyhow!(error.message))?;
    let zone = Zone::named("Europe/Oslo").map_err(|error| anyhow::anyhow!("{error}"))?;
    let start: Timestamp = "2027-01-01T00:00:00Z".parse::<jiff::Timestamp>()?.into();
    let end = start.plus_seconds(100 * 31_556_952);
    let begun = Instant::now();
    for _ in 0..CENTURIES {
        let next = |at: &Timestamp| cron.next(*at, &zone, DstRule::default());
        let count = std::iter::successors(Some(start), next).take_while(|at| *at < end).count();
        ensure!(count > 36_000, "a century had {count} firings");
    }
    Ok(CENTURIES as f64 * 100.0 / begun.elapsed().as_secs_f64())
}

/// Microseconds to tell who is on call at an instant, with the shift's beginning and end, and
/// milliseconds to look for gaps ahead, in a rotation of two layers and an override.
fn on_call() -> anyhow::Result<(f64, f64)> {
    let roster = load(ROSTER, &ChecklistOptions::default()).file.context("a roster")?.roster;
    let start: Timestamp = "2027-01-01T00:00:00Z".parse::<jiff::Timestamp>()?.into();
    let begun = Instant::now();
    for asked in 0..ASKED {
        let at = start.plus_seconds(asked * 601);
        let shift = roster.on_call("primary", at).context("there is such a rotation")?;
        ensure!(!shift.people.is_empty(), "nobody is on call at {at}");
    }
    let who = begun.elapsed().as_secs_f64() * 1e6 / ASKED as f64;
    let begun = Instant::now();
    let gaps = roster.gaps("primary", start, start.plus_seconds(180 * 86_400));
    ensure!(gaps.is_empty(), "there are gaps");
    Ok((who, begun.elapsed().as_secs_f64() * 1000.0))
}

fn tests(samples: &mut Samples) -> anyhow::Result<()> {
    let folder = Folder::make()?;
    let path = &folder.0;
    std::fs::write(path.join("flow.json"), FLOW)?;
    std::fs::write(path.join("monitors.yaml"), MONITORS)?;
    let mut flows = String::from("uses: [flow.json]\ntests:\n");
    for number in 0..TESTS {
        let _ = write!(
            flows,
            "- name: test {number}\n  workflow: flow\n  mocks:\n    \
             fetch: {{ output: {{ response: {{ body: [1, 2, 3] }} }} }}\n    tell: {{ output: {{}} }}\n  \
             expect: {{ exactly: {{ n: 6 }} }}\n"
        );
    }
    std::fs::write(path.join("flows.test.yaml"), flows)?;
    let checks = format!(
        "uses: [monitors.yaml]\ntests:\n- name: all is well\n  monitor: net\n  \
         series: {{ loss: 0x{} }}\n  expect: {{ incidents: [] }}\n",
        CHECKS - 1
    );
    std::fs::write(path.join("checks.test.yaml"), checks)?;
    let least = seconds(path, &["flows.test.yaml", "--filter", "test 1999"])?;
    let flows = seconds(path, &["flows.test.yaml"])? - least;
    let checks = seconds(path, &["checks.test.yaml"])? - least;
    samples.take("test.least", least * 1000.0);
    samples.take("test.workflows", (TESTS - 1) as f64 / flows);
    samples.take("test.checks", CHECKS as f64 / checks);
    Ok(())
}

/// Seconds of a run on one thread that passes.
fn seconds(folder: &Path, arguments: &[&str]) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut command = Command::new(binary());
    command.args(["test", "--jobs", "1"]).args(arguments).current_dir(folder);
    let status = command.stdout(Stdio::null()).status()?;
    ensure!(status.success(), "nightbell test {arguments:?} ended with {status}");
    Ok(begun.elapsed().as_secs_f64())
}
