//! The web console over a filled store: how soon its pages come, how large they are, how soon an open page
//! shows what was committed, and what many open pages cost; and how soon a browser paints them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use kernel::{Json, Record};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::figures::Samples;
use super::house::{self, Folder};
use super::server::Server;
use super::stored::{Filled, KEEP_ALL};
use crate::test::cargo;
use crate::wire::Wire;

/// Monitors, half of which have had a call.
const MONITORS: usize = 2_000;
/// Iterations of the loop whose run is looked at.
const ITERATIONS: usize = 10_000;
/// Looks at each page.
const LOOKS: usize = 100;
/// Looks at pages that are slow are fewer.
const LOOKING: Duration = Duration::from_secs(3);
/// Pages that are open.
const PAGES: usize = 1000;
/// Messages that an event handler has taken.
const EVENTS: usize = 100_000;
/// How many of them are written at once.
const BATCH: usize = 1_000;
/// Connections that start workflows as fast as they can.
const STARTERS: usize = 4;
/// Connections by which open pages look again.
const LOOKERS: usize = 32;
/// Commits that an open page is told of.
const COMMITS: usize = 40;
/// How long commits go on, a hundred a second.
const BUSY: Duration = Duration::from_secs(4);
/// How often the rates with and without open pages are compared, and for how long each.
const PAIRS: usize = 5;
const RACE: Duration = Duration::from_secs(2);

/// What the test that looks at pages in a browser says of each, and under which name it is measured.
const PAINTS: [(&str, &str); 8] = [
    ("help", "first paint, help, no data"),
    ("now", "first paint, Now"),
    ("incident", "first paint, an incident"),
    ("runs", "first paint, 50 runs"),
    ("monitors", "first paint, 50 of 2,000 monitors"),
    ("graph", "first paint, a graph of 400 boxes"),
    ("phone_read", "400 kbit/s, 400 ms: an incident is readable"),
    ("phone_done", "400 kbit/s, 400 ms: it is acknowledged"),
];

/// Looks at pages of the release binary in a real browser.
pub(super) fn paint(samples: &mut Samples) -> anyhow::Result<()> {
    let looks = ["test", "--package", "nightbell", "--test", "it", "paints::", "--"];
    let mut command = cargo();
    command.args(looks).args(["--ignored", "--nocapture"]);
    command.env("NIGHTBELL_TEST_BINARY", super::server::binary());
    let looked = command.output().context("cargo does not start")?;
    let said = String::from_utf8_lossy(&looked.stderr);
    ensure!(looked.status.success(), "the browser shows no pages: {said}");
    for (name, what) in PAINTS {
        let line = said.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(": median "));
        let median = line.and_then(|line| line.split(' ').next()?.parse().ok());
        samples.take(&format!("paint.{name}"), median.with_context(|| format!("no '{what}'"))?);
    }
    Ok(())
}

/// Opens pages one after the other, then many at once.
pub(super) async fn open(filled: &Filled, samples: &mut Samples) -> anyhow::Result<()> {
    let folder = Folder::copy(&filled.folder)?;
    hear(&folder).await?;
    let server = Server::start_with(&folder, &KEEP_ALL).await?;
    let mut wire = Wire::open(&server.address).await?;
    let (run, incident) = seed(&mut wire).await?;
    quiet(&server).await?;
    let events = "/console/system/events?handler=heard&event=conductor%3Abench%3Aorders";
    let pages: [(&str, String); 10] = [
        ("runs", "/console/runs".to_owned()),
        ("status", "/console/runs?q=status%3AFAILED".to_owned()),
        ("text", "/console/runs?q=c77".to_owned()),
        ("facets", "/api/workflow/facets".to_owned()),
        ("now", "/console/".to_owned()),
        ("incident", format!("/console/incidents/{incident}")),
        ("run", format!("/console/runs/{run}")),
        ("window", format!("/console/runs/{run}?view=tasks&start=5000")),
        ("monitors", "/console/monitors".to_owned()),
        ("events", events.to_owned()),
    ];
    let (mut largest, mut elements) = (0, 0);
    for (name, path) in &pages {
        let mut took = Vec::with_capacity(LOOKS);
        let begun = Instant::now();
        while took.len() < LOOKS && (took.len() < 5 || begun.elapsed() < LOOKING) {
            let asked = Instant::now();
            let (status, body) = wire.get(path).await?;
            took.push(asked.elapsed().as_secs_f64() * 1000.0);
            ensure!(status == 200, "{path}: {status}: {}", String::from_utf8_lossy(&body));
            elements = elements.max(elements_of(&body));
        }
        took.sort_by(f64::total_cmp);
        samples.take(&format!("console.{name}.p50"), house::percentile(&took, 0.5));
        samples.take(&format!("console.{name}.p99"), house::percentile(&took, 0.99));
        if path.starts_with("/console") {
            largest = largest.max(wire.get_packed(path).await?.1.len());
        }
    }
    samples.take("console.later", largest as f64 / 1024.0);
    samples.take("console.elements", elements as f64);
    samples.take("console.first", first_visit(&mut wire).await? / 1024.0);
    many_open(&server, &mut wire, samples).await?;
    server.stop()
}

/// Waits until the server has done what follows from what was just stored, so that this is not measured.
async fn quiet(server: &Server) -> anyhow::Result<()> {
    const LOOK: Duration = Duration::from_millis(500);
    /// Of a core.
    const IDLE: f64 = 0.03;
    let begun = Instant::now();
    loop {
        let cpu = server.cpu_seconds();
        tokio::time::sleep(LOOK).await;
        if server.cpu_seconds() - cpu < IDLE * LOOK.as_secs_f64() {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < Duration::from_mins(1),
            "the server has something to do all the time"
        );
    }
}

/// Writes what a handler did with many messages, as the engine writes it.
async fn hear(folder: &Folder) -> anyhow::Result<()> {
    let engine = house::engine(folder).await?;
    let now = engine.now();
    let heard = |at: usize| Record {
        ledger: "event",
        key: format!("message-{at}_0/heard").into(),
        subject: "heard".into(),
        at: now.plus_millis(at as i64 - EVENTS as i64),
        status: "COMPLETED".into(),
        body: Json::of(&json!({ "messageId": format!("message-{at}"), "action": "start_workflow",
            "event": "conductor:bench:orders", "output": { "workflowId": format!("run-{at}") } })),
    };
    for begin in (0..EVENTS).step_by(BATCH) {
        engine.store().put_records((begin..begin + BATCH).map(heard).collect()).await?;
    }
    engine.close().await?;
    Ok(())
}

/// Bytes of the first page with everything that it loads.
async fn first_visit(wire: &mut Wire) -> anyhow::Result<f64> {
    let (_, page) = wire.get("/console/").await?;
    let page = String::from_utf8(page)?;
    let mut paths: Vec<&str> =
        page.split('"').filter(|it| it.starts_with("/console/assets/")).collect();
    paths.sort_unstable();
    paths.dedup();
    ensure!(paths.len() >= 3, "the page loads {paths:?}");
    let mut bytes = wire.get_packed("/console/").await?.1.len();
    for path in paths {
        bytes += wire.get_packed(path).await?.1.len();
    }
    Ok(bytes as f64)
}

/// Elements of a page; none in an answer that is no page.
fn elements_of(body: &[u8]) -> usize {
    let is_tag = |pair: &&[u8]| pair[0] == b'<' && pair[1].is_ascii_alphabetic();
    if body.starts_with(b"<") { body.windows(2).filter(is_tag).count() } else { 0 }
}

/// Defines monitors and a long run; the ids of that run and of an incident, as paths have them.
async fn seed(wire: &mut Wire) -> anyhow::Result<(String, String)> {
    let monitor = |at: usize| {
        let beat = json!({ "heartbeat": { "every": "1h", "key": format!("k-{at}") } });
        (format!("job-{at:04}"), beat)
    };
    let monitors: serde_json::Map<String, Value> = (0..MONITORS).map(monitor).collect();
    post(wire, "/api/monitors", &json!({ "monitors": monitors })).await?;
    for at in (0..MONITORS).step_by(2) {
        let ping = format!("/ping/k-{at}/{}", at % 100 / 98);
        ensure!(wire.get(&ping).await?.0 == 200, "{ping} is not taken");
    }
    let handler = json!({ "name": "heard", "event": "conductor:bench:orders", "active": false,
        "actions": [{ "action": "start_workflow", "start_workflow": { "name": "orders-1" } }] });
    post(wire, "/api/event", &handler).await?;
    let definition = json!([{ "name": "long", "version": 1, "tasks": [
        { "name": "l", "taskReferenceName": "pages", "type": "DO_WHILE",
          "items": "${workflow.input.pages}", "loopCondition": "true", "loopOver": [
            { "name": "p", "taskReferenceName": "page", "type": "NOOP" } ] } ] }]);
    ensure!(
        wire.call("PUT", "/api/metadata/workflow", definition.to_string().as_bytes()).await?.0
            == 200,
        "the loop is not defined"
    );
    let pages: Vec<usize> = (0..ITERATIONS).collect();
    let run = post(wire, "/api/workflow/long", &json!({ "pages": pages })).await?;
    let run = String::from_utf8(run)?.trim_matches('"').to_owned();
    let begun = Instant::now();
    loop {
        let (_, shown) = wire.get(&format!("/api/workflow/{run}?includeTasks=false")).await?;
        let shown: Value = serde_json::from_slice(&shown)?;
        match shown["status"].as_str() {
            Some("COMPLETED") => break,
            Some("RUNNING") => {}
            other => anyhow::bail!("the loop is {other:?}"),
        }
        ensure!(begun.elapsed() < Duration::from_mins(1), "the loop does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_, open) = wire.get("/api/incidents?size=1").await?;
    let open: Value = serde_json::from_slice(&open)?;
    let incident = open["results"][0]["id"].as_str().context("there is no incident")?;
    Ok((run, incident.replace('/', "%2F")))
}

async fn post(wire: &mut Wire, path: &str, body: &Value) -> anyhow::Result<Vec<u8>> {
    let (status, said) = wire.post(path, body.to_string().as_bytes()).await?;
    ensure!(status == 200, "{path}: {status}: {}", String::from_utf8_lossy(&said));
    Ok(said)
}

/// Opens many pages and lets things be committed: what an open page costs, and how soon it shows them.
async fn many_open(server: &Server, wire: &mut Wire, samples: &mut Samples) -> anyhow::Result<()> {
    let alone = commit_for_a_while(server, wire).await?;
    let before = server.memory_mib().0;
    let mut open = open_pages(server).await?;
    let each = (server.memory_mib().0 - before) * 1024.0 / PAGES as f64;
    samples.take("console.each", each.max(0.0));
    let mut took = Vec::new();
    let mut probe = listen(&server.address).await?;
    for _ in 0..COMMITS {
        // Quiet enough for the next one to be told at once.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        start(wire).await?;
        let mut heard = String::new();
        while !heard.contains("event:") {
            let mut buffer = [0; 4096];
            let told = tokio::time::timeout(Duration::from_secs(10), probe.read(&mut buffer));
            let read = told.await.context("no commit is told")??;
            ensure!(read > 0, "the stream has ended");
            heard.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        ensure!(wire.get("/console/runs").await?.0 == 200, "the page does not come");
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    samples.take("console.told.p50", house::percentile(&took, 0.5));
    samples.take("console.told.p99", house::percentile(&took, 0.99));
    let with_pages = commit_for_a_while(server, wire).await?;
    samples.take("console.streams_cpu", (with_pages - alone).max(0.0) * 100.0);
    look_again(server, wire, samples).await?;
    ensure!(open.try_join_next().is_none(), "an open page lost its stream");
    open.shutdown().await;
    compare_rates(server, samples).await
}

/// Opens the pages, which listen from now on.
async fn open_pages(server: &Server) -> anyhow::Result<JoinSet<()>> {
    let mut open = JoinSet::new();
    for _ in 0..PAGES {
        let mut stream = listen(&server.address).await?;
        open.spawn(async move {
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        });
    }
    Ok(open)
}

/// How many fewer workflows are started while pages are open: each rate with them beside one before and one
/// after, as the store grows meanwhile, and neighbours come and go. What those who read the pages take of the
/// same two cores is theirs, so that the processor of the server for each workflow says what it is for the engine.
async fn compare_rates(server: &Server, samples: &mut Samples) -> anyhow::Result<()> {
    let (mut rates, mut lost, mut dearer) = (Vec::new(), Vec::new(), Vec::new());
    let mut alone = rate(server).await?;
    for _ in 0..PAIRS {
        let mut open = open_pages(server).await?;
        let with_pages = rate(server).await?;
        ensure!(open.try_join_next().is_none(), "an open page lost its stream");
        open.shutdown().await;
        let after = rate(server).await?;
        rates.push(with_pages.started);
        lost.push((1.0 - with_pages.started / f64::midpoint(alone.started, after.started)) * 100.0);
        dearer.push((1.0 - f64::midpoint(alone.each, after.each) / with_pages.each) * 100.0);
        alone = after;
    }
    for them in [&mut rates, &mut lost, &mut dearer] {
        them.sort_by(f64::total_cmp);
    }
    samples.take("console.rate", rates[PAIRS / 2]);
    samples.take("console.rate_wall", lost[PAIRS / 2].max(0.0));
    samples.take("console.rate_lost", dearer[PAIRS / 2].max(0.0));
    Ok(())
}

/// After a commit all open pages look again at once: how long until the last has what changed, and what that
/// takes of the processor.
async fn look_again(server: &Server, wire: &mut Wire, samples: &mut Samples) -> anyhow::Result<()> {
    let mut wires = Vec::new();
    for _ in 0..LOOKERS {
        wires.push(Wire::open(&server.address).await?);
    }
    start(wire).await?;
    let (begun, cpu) = (Instant::now(), server.cpu_seconds());
    let mut looking = JoinSet::new();
    for mut wire in wires {
        looking.spawn(async move {
            for _ in 0..PAGES.div_ceil(LOOKERS) {
                let (status, _) = wire.get_part("/console/runs").await?;
                ensure!(status == 200, "the part is answered with {status}");
            }
            anyhow::Ok(())
        });
    }
    while let Some(looked) = looking.join_next().await {
        looked??;
    }
    samples.take("console.again", begun.elapsed().as_secs_f64() * 1000.0);
    samples.take("console.again_cpu", (server.cpu_seconds() - cpu) * 1000.0);
    Ok(())
}

/// Starts of workflows, as many as the server takes.
struct Rate {
    /// In a second.
    started: f64,
    /// Seconds of the server's processor for each.
    each: f64,
}

async fn rate(server: &Server) -> anyhow::Result<Rate> {
    let (begun, cpu) = (Instant::now(), server.cpu_seconds());
    let mut starters = JoinSet::new();
    for _ in 0..STARTERS {
        let mut wire = Wire::open(&server.address).await?;
        starters.spawn(async move {
            let mut started = 0_u64;
            while begun.elapsed() < RACE {
                start(&mut wire).await?;
                started += 1;
            }
            anyhow::Ok(started)
        });
    }
    let mut all = 0;
    while let Some(started) = starters.join_next().await {
        all += started??;
    }
    let each = (server.cpu_seconds() - cpu) / all as f64;
    Ok(Rate { started: all as f64 / begun.elapsed().as_secs_f64(), each })
}

/// A page that listens for commits of runs; the head of the answer has been read.
async fn listen(address: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let ask = format!("GET /console/feed?topics=run HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut head = String::new();
    while !head.contains("retry:") {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await?;
        ensure!(read > 0, "the stream has ended: {head}");
        head.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    Ok(stream)
}

async fn start(wire: &mut Wire) -> anyhow::Result<()> {
    post(wire, "/api/workflow/orders-1", &json!({ "n": 1, "customer": "console" })).await.map(drop)
}

/// Starts a hundred workflows a second; the share of one core that the server takes.
async fn commit_for_a_while(server: &Server, wire: &mut Wire) -> anyhow::Result<f64> {
    let (begun, cpu) = (Instant::now(), server.cpu_seconds());
    let mut next = tokio::time::interval(Duration::from_millis(10));
    while begun.elapsed() < BUSY {
        next.tick().await;
        start(wire).await?;
    }
    Ok((server.cpu_seconds() - cpu) / begun.elapsed().as_secs_f64())
}
