//! A month of checks that nobody has made: a server that answers what a backtest asks for, and the time
//! that the backtest takes.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use kernel::alert::definition::{ChecklistOptions, Known, load_among};
use serde_json::json;

use super::super::server::binary;

/// Checks, a minute apart: thirty days.
const CHECKS: usize = 43_200;
const MINUTE: i64 = 60_000;
/// Every so many checks five in a row are bad.
const PERIOD: usize = 720;
const MONITORS: &str = "receivers:\n  noc: { inbox: null }\nroutes:\n- to: noc\nmonitors:\n  net:\n    \
    prometheus: { url: \"http://p.test\", query: loss }\n    every: 1m\n    fail_when: loss >= 15\n    \
    fail_after: 2\n";

/// What is kept of the monitor.
struct Kept {
    /// What the server has of it besides samples.
    record: String,
    /// When each check began, and its sample.
    samples: Vec<(i64, String)>,
}

impl Kept {
    fn make() -> anyhow::Result<Self> {
        let loaded = load_among(MONITORS, &ChecklistOptions::default(), &Known::default());
        let file = loaded.file.context("the monitors are valid")?;
        let now = jiff::Timestamp::now().as_millisecond() / MINUTE * MINUTE;
        let first = now - CHECKS as i64 * MINUTE;
        let samples = (0..CHECKS).map(|number| {
            let at = first + number as i64 * MINUTE;
            let loss = if number % PERIOD < 5 { 100 } else { 0 };
            let output = json!({ "observations": [{ "key": "", "attrs": { "loss": loss } }] });
            let sample = json!({
                "number": number + 1, "check": number + 1, "startedAt": at, "endedAt": at + 40,
                "from": at - MINUTE, "to": at, "definition": "v", "output": output,
            });
            (at, sample.to_string())
        });
        let record = json!({
            "file": file, "from": first, "to": now, "incidents": [], "deliveries": [], "missed": [],
            "judgements": [],
        });
        Ok(Self { record: record.to_string(), samples: samples.collect() })
    }

    /// What is answered to the target of a request.
    fn answer(&self, target: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if !path.ends_with("/samples") {
            return self.record.clone();
        }
        let named = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let number = |name: &str| named(name).and_then(|text| text.parse::<i64>().ok());
        let after = named("cursor").and_then(|it| it.rsplit('-').next()?.parse::<usize>().ok());
        let from = number("from").unwrap_or_default();
        let start = after.unwrap_or_else(|| self.samples.partition_point(|(at, _)| *at < from));
        let size = number("size").and_then(|size| usize::try_from(size).ok()).unwrap_or(1_000);
        let end = start.saturating_add(size).min(self.samples.len());
        let page = self.samples.get(start..end).unwrap_or_default();
        let samples: Vec<&str> = page.iter().map(|(_, sample)| sample.as_str()).collect();
        let last = page.last().filter(|_| end < self.samples.len());
        let cursor = last.map(|(at, _)| format!("{at}-{end}"));
        format!("{{\"samples\":[{}],\"cursor\":{}}}", samples.join(","), json!(cursor))
    }
}

/// Seconds of the backtest, less what the command needs for itself.
pub(super) fn backtest() -> anyhow::Result<f64> {
    let address = serve(Arc::new(Kept::make()?))?;
    let tried = |since: &str, incidents: u64| -> anyhow::Result<f64> {
        let begun = Instant::now();
        let mut command = Command::new(binary());
        command.args(["monitor", "backtest", "net", "--since", since, "-o", "json"]);
        command.env("NIGHTBELL_URL", format!("http://{address}")).stderr(Stdio::null());
        let output = command.output()?;
        let took = begun.elapsed().as_secs_f64();
        ensure!(output.status.success(), "nightbell monitor backtest ended with {}", output.status);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let found = report[0]["now"]["incidents"].as_u64().unwrap_or_default();
        ensure!(found >= incidents, "it found {found} incidents: {report}");
        Ok(took)
    };
    let least = tried("1h", 0)?;
    Ok(tried("31d", (CHECKS / PERIOD - 1) as u64)? - least)
}

/// Answers requests for as long as the process lives.
fn serve(kept: Arc<Kept>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let kept = kept.clone();
            // A client that goes away has had enough.
            std::thread::spawn(move || drop(answer(&kept, stream)));
        }
    });
    Ok(address)
}

fn answer(kept: &Kept, mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(first) = lines.next().transpose()? {
        let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let body = kept.answer(&target);
        let mut answer = String::from("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n");
        let _ = write!(answer, "Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}
