//! What the compiler and clippy cannot check: the direction of dependencies, names, sizes, words, links.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::pages::Pages;
use crate::words::Words;
use crate::{fuzz_targets, root, say};

/// Which crates of ours a crate may depend on: the direction of the house.
const DIRECTION: [(&str, &[&str]); 11] = [
    ("kernel", &[]),
    ("engine", &["kernel"]),
    ("tls", &[]),
    ("store", &["kernel", "engine", "tls"]),
    ("tasks", &["kernel", "engine", "tls"]),
    ("proto", &[]),
    ("console", &["kernel", "engine"]),
    ("server", &["kernel", "engine", "proto", "console"]),
    ("sim", &["kernel", "engine"]),
    ("nightbell", &["kernel", "engine", "store", "tasks", "proto", "server"]),
    ("xtask", &["kernel", "engine", "store", "tasks", "proto"]),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["common", "util", "utils", "types", "models", "helpers", "manager"];

/// A file beyond this is a drawer to be divided, unless it is listed.
const LINES_MAX: usize = 800;

/// What the kernel may not touch, with the reason.
const IMPURE: [(&str, &str); 6] = [
    ("SystemTime", "time comes with the context"),
    ("Instant::now", "time comes with the context"),
    ("Timestamp::now", "time comes with the context"),
    ("std::env", "the environment is the shell's"),
    ("std::fs", "files are the shell's"),
    ("HashMap", "its order differs from run to run: use BTreeMap"),
];

/// What pages may not contain, with the reason: htmx would evaluate it as script.
const EVALUATED: [(&str, &str); 5] = [
    ("hx-on=", "htmx evaluates it; listen in console.js"),
    ("hx-live", "htmx evaluates it; listen in console.js"),
    ("hx-vals", "htmx evaluates `js:` in it; use hidden fields"),
    ("hx-headers", "htmx evaluates `js:` in it; use hidden fields"),
    ("hx-trigger=\"refresh[", "htmx evaluates filters of triggers; decide in console.js"),
];

/// What opens connections or looks names up, past the policy for outgoing calls.
const DIALS: [&str; 5] = [
    "TcpStream::connect",
    "UdpSocket::bind",
    "reqwest::Client::builder",
    "reqwest::Client::new",
    "lookup_host",
];

/// The files that may, with the reason.
const DIALLERS: [(&str, &str); 5] = [
    ("crates/tasks/src/outgoing/", "the one dialer, which judges every address"),
    ("crates/tasks/src/http/client.rs", "a client that dials by it"),
    ("crates/nightbell/src/cli/client.rs", "the command line asks its server"),
    ("crates/nightbell/src/cli/import/", "the command line asks the service that is left"),
    ("crates/server/src/cluster/forward.rs", "servers of one store ask the one that leads"),
];

/// Checks everything and tells every finding.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = root();
    let mut findings = Vec::new();
    for (name, allowed) in DIRECTION {
        let manifest = root.join("crates").join(name).join("Cargo.toml");
        let text = read(&manifest)?;
        let shipped = text.split("[dev-dependencies]").next().unwrap_or_default();
        for (other, _) in DIRECTION.iter().filter(|(other, _)| *other != name) {
            let depends =
                shipped.lines().any(|line| line.starts_with(&format!("{other}.workspace")));
            if depends && !allowed.contains(other) {
                findings.push(format!("{name} must not depend on {other}"));
            }
        }
    }
    let mut files = Vec::new();
    files_below(&root.join("crates"), "rs", &mut files)?;
    let words = Words::read(&root)?;
    let mut sources = Vec::new();
    for file in files {
        let text = read(&file)?;
        let shown = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        check_file(&shown, &text, &mut findings);
        words.check(&shown, &text, &mut findings);
        sources.push((shown, text));
    }
    let files = pages(&root)?;
    for file in &files {
        let shown = file.strip_prefix(&root).unwrap_or(file).display().to_string();
        words.check(&shown, &read(file)?, &mut findings);
    }
    let pages = Pages::read(&root, &files)?;
    pages.check_links(&root, &mut findings);
    pages.check_contents(&mut findings);
    pages.check_errors(&sources, &mut findings);
    pages.check_attacks(&sources, &mut findings);
    fuzz_targets::check(&root, &mut findings)?;
    for finding in &findings {
        say(&format!("tidy: {finding}"));
    }
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{} findings", findings.len())
}

fn check_file(shown: &str, text: &str, findings: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.push(format!("{shown}: {lines} lines, more than {LINES_MAX}: divide it"));
    }
    let stem = Path::new(shown).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if EMPTY_NAMES.contains(&stem) {
        findings.push(format!("{shown}: '{stem}' says nothing about what is inside"));
    }
    if !text.starts_with("//!") {
        findings.push(format!("{shown}: begins without a sentence on what it is for"));
    }
    let is_shipped = shown.contains("/src/") && !shown.starts_with("crates/xtask/");
    if is_shipped && !DIALLERS.iter().any(|(file, _)| shown.starts_with(file)) {
        for call in dials(text) {
            let told = "calls go by tasks::outgoing, which judges addresses";
            findings.push(format!("{shown}: {call}: {told}"));
        }
    }
    let mut forbid = |words: &[(&str, &str)]| {
        for (word, reason) in words {
            let used = text
                .lines()
                .any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            if used {
                findings.push(format!("{shown}: uses {word}: {reason}"));
            }
        }
    };
    if shown.starts_with("crates/kernel/src") {
        forbid(&IMPURE);
    }
    if shown.starts_with("crates/console/src") {
        forbid(&EVALUATED);
    }
}

/// What a source dials with; not in its tests, nor in words about it.
fn dials(text: &str) -> impl Iterator<Item = &'static str> {
    let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
    let is_used = move |call: &&str| {
        shipped.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(call))
    };
    DIALS.into_iter().filter(is_used)
}

/// What people read.
fn pages(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut pages: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|page| root.join(page)).into();
    for folder in ["docs", "deploy", "examples"] {
        files_below(&root.join(folder), "md", &mut pages)?;
    }
    Ok(pages)
}

fn files_below(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, extension, files)?;
        } else if path.extension().is_some_and(|it| it == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::check_file;

    #[test]
    fn whoever_dials_past_the_policy_is_found() {
        let text = "//! Calls.\n\nfn call() { std::net::TcpStream::connect(\"a:1\"); }\n";
        let told = |shown: &str| {
            let mut findings = Vec::new();
            check_file(shown, text, &mut findings);
            findings
        };
        assert!(told("crates/engine/src/secret.rs")[0].contains("TcpStream::connect"));
        assert!(told("crates/tasks/src/check/tcp.rs").len() == 1);
        assert!(told("crates/tasks/src/outgoing/mod.rs").is_empty());
        assert!(told("crates/tasks/tests/it/check.rs").is_empty());
    }
}
