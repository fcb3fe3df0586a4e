//! Monitors: scenarios, laws, and the files that define them.
//!
//! `tests/scenarios/alert/*.md` hold scenarios as text. Each is a `## title` with fenced blocks:
//!
//! - `yaml`: a monitors file, of which the first monitor is run; a second one is what the step
//!   `define` gives.
//! - `steps`: one a line, see [`bench::Bench::step`].
//! - `expect`: what the bench prints. `UPDATE_EXPECT=1` writes it; read it before you keep it.

mod bench;
mod conditions;
mod files;
mod kept;
mod laws;
mod lint;
mod received;
mod rollups;
mod roster;
mod routes;

use std::path::Path;

/// Runs every scenario file and compares.
#[test]
fn scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/alert");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of scenarios can be read")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "there are scenarios");
    let failures: Vec<String> = files.iter().flat_map(|path| check(path)).collect();
    assert!(failures.is_empty(), "UPDATE_EXPECT=1 rewrites them:\n\n{}", failures.join("\n\n"));
}

fn check(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("the file can be read");
    let (mut failures, mut rewritten) = (Vec::new(), String::new());
    for section in sections(&text) {
        let blocks = |kind: &str| {
            let blocks = section.iter().filter(|(info, _)| info == kind);
            blocks.map(|(_, body)| body.as_str()).collect::<Vec<_>>()
        };
        let (steps, expect) = (blocks("steps"), blocks("expect").concat());
        let found = match steps.first() {
            Some(steps) => bench::play(&blocks("yaml"), steps),
            None => String::new(),
        };
        if found != expect {
            let title = section.first().map_or("", |(_, text)| text.lines().next().unwrap_or(""));
            failures.push(format!("{title}\n--- expected\n{expect}--- found\n{found}"));
        }
        for (info, body) in &section {
            match info.as_str() {
                "" => rewritten.push_str(body),
                "expect" => {}
                info => rewritten.extend(["```", info, "\n", body, "```\n"]),
            }
            if info == "steps" {
                rewritten.extend(["```expect\n", &found, "```\n"]);
            }
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, rewritten).expect("the file can be written");
        return Vec::new();
    }
    failures
}

/// Each section as blocks; those without a kind are the text between them.
fn sections(text: &str) -> Vec<Vec<(String, String)>> {
    let mut sections = vec![Vec::new()];
    let mut lines = text.split_inclusive('\n').peekable();
    let mut prose = String::new();
    while let Some(line) = lines.next() {
        let section = sections.last_mut().expect("there is one");
        if let Some(info) = line.strip_prefix("```") {
            section.push((String::new(), std::mem::take(&mut prose)));
            let body = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            section.push((info.trim().to_owned(), body));
            continue;
        }
        if line.starts_with("## ") {
            section.push((String::new(), std::mem::take(&mut prose)));
            sections.push(Vec::new());
        }
        prose.push_str(line);
    }
    sections.last_mut().expect("there is one").push((String::new(), prose));
    sections
}
