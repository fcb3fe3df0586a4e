//! The tutorials of the book, and what other pages show, command by command: blocks of a page that are marked run in one shell, in an
//! empty folder, against a server that the page itself starts.
//!
//! A fence says what its block is, after the language: `sh run` is run, `sh serve` starts a server and
//! waits until it is ready, `sh background` starts something else. Words behind that are programs: without
//! them the block is left out. `text shows` is what the block before prints: each line must be there,
//! with `…` for anything; white space does not count.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::live::{binary, free_port};
use crate::skipped::skipped;

/// What the pages write, and what stands for it in a test.
const ADDRESS: &str = "127.0.0.1:8080";
/// Where a page has a service of its own.
const OTHER_PORT: &str = "8050";

/// How one block begins in the output.
const MARK: &str = "=== block";

struct Page {
    script: String,
    /// What each block has to print.
    shows: Vec<(usize, String)>,
}

/// A fenced block: its language and what follows it, and its lines.
fn blocks(text: &str) -> Vec<(Vec<&str>, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(Vec<&str>, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some((info.split_whitespace().collect(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, body))) => {
                body.push_str(line);
                body.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn page(name: &str, text: &str, address: &str, other: u16) -> Page {
    let mut page = Page {
        script: "set -euo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n".to_owned(),
        shows: Vec::new(),
    };
    let (mut number, mut is_left_out) = (0, true);
    for (info, body) in blocks(text) {
        let body = body.replace(ADDRESS, address).replace(OTHER_PORT, &other.to_string());
        match info.as_slice() {
            ["sh", kind @ ("run" | "serve" | "background"), programs @ ..] => {
                is_left_out = !programs.iter().all(|program| is_there(program));
                if is_left_out {
                    skipped(&format!("{name} needs {programs:?}"));
                    continue;
                }
                number += 1;
                let _ = writeln!(page.script, "printf '\\n{MARK} %s\\n' {number}");
                let body = body.trim_end();
                let _ = match *kind {
                    "run" => writeln!(page.script, "{body}"),
                    kind => writeln!(page.script, "{body} > {kind}.log 2>&1 &"),
                };
                let ready = match *kind {
                    "serve" => Some(format!("{address}/health/ready")),
                    "background" => Some(format!("127.0.0.1:{other}/")),
                    _ => None,
                };
                // One that has ended is not waited for.
                let _ = ready.map(|it| {
                    let asked = format!("curl --silent --fail --output ready http://{it}");
                    writeln!(page.script, "until {asked}; do kill -0 $!; sleep 0.05; done")
                });
            }
            ["text", "shows"] if !is_left_out => page.shows.push((number, body)),
            _ => {}
        }
    }
    page
}

/// Text without the difference between kinds of white space.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shows(line: &str, expected: &str) -> bool {
    let (line, mut from) = (plain(line), 0);
    expected.split('…').map(plain).all(|part| {
        let found = line.get(from..).and_then(|rest| rest.find(&part));
        from += found.unwrap_or_default() + part.len();
        found.is_some()
    })
}

fn runs(name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    let text = std::fs::read_to_string(file).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let page = page(name, &text, &address, free_port());
    assert!(!page.shows.is_empty(), "{name} shows nothing that could be compared");
    let folder = tempfile::tempdir().unwrap();
    // The binary under test, as the name that the pages call.
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(binary().canonicalize().unwrap(), bin.join("nightbell")).unwrap();
    let here = folder.path().join("here");
    std::fs::create_dir(&here).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let script = page.script.clone() + "exit 0\n";
    let output = Command::new("timeout")
        .args(["120", "bash", "-c", &format!("exec 2>&1\n{script}")])
        .current_dir(&here)
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("NIGHTBELL_URL", format!("http://{address}"))
        .env("NIGHTBELL_LISTEN", &address)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = std::fs::read_to_string(here.join("serve.log")).unwrap_or_default();
    assert!(output.status.success(), "{name}: {said}\nlog: {log}");
    for (number, expected) in &page.shows {
        let mark = format!("{MARK} {number}\n");
        let of_block = said.split_once(&mark).map(|it| it.1).unwrap_or_default();
        let of_block = of_block.split(MARK).next().unwrap_or_default();
        for line in expected.lines() {
            let is_shown = of_block.lines().any(|it| shows(it, line));
            assert!(is_shown, "{name}: {line:?} is not in\n{of_block}\nlog: {log}");
        }
    }
}

#[test]
fn for_a_script() {
    runs("tutorials/script.md");
}

#[test]
fn for_users_of_conductor() {
    runs("tutorials/conductor.md");
}

#[test]
fn for_users_of_durable_functions() {
    runs("tutorials/durable-functions.md");
}

#[test]
fn for_users_of_robopager() {
    runs("tutorials/robopager.md");
}

#[test]
fn for_users_of_prometheus() {
    runs("tutorials/prometheus.md");
}

/// Blocks of other pages that need no server.
#[test]
fn on_pages_of_commands() {
    for page in ["check.md", "testing.md", "schedules.md", "monitors.md"] {
        runs(page);
    }
}
