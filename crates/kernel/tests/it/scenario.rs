//! Scenarios: a definition and timed inputs, with the history that must come of them.
//!
//! `tests/scenarios/*.md` hold them as text, because a history is judged by reading it. A scenario
//! is a `## title` with fenced blocks:
//!
//! - `json workflow`: a definition, or only the list of its tasks; the second one, if any, is what
//!   `restart latest` takes. `"ref": "a"` stands for `"taskReferenceName": "a", "name": "a"`.
//! - `json tasks`: the registered task definitions.
//! - `steps`: one input a line, see [`steps::run`].
//! - `expect`: what the harness prints. `UPDATE_EXPECT=1` writes it; read it before you keep it.
//!
//! Each step is decided twice: by the live execution and by one folded anew from the serialized
//! history. Both must give the same facts and the same state, so every scenario is a test of the
//! fold as well.

mod file;
mod machine;
mod print;
mod scripts;
mod steps;

use std::path::{Path, PathBuf};

/// Runs every scenario file and compares.
#[test]
fn scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of scenarios can be read")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "there are scenarios");
    let only = std::env::var("SCENARIO").ok();
    let failures: Vec<String> =
        files.iter().flat_map(|path| check(path, only.as_deref())).collect();
    assert!(
        failures.is_empty(),
        "{} scenarios differ (UPDATE_EXPECT=1 rewrites them):\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

/// Runs the scenarios of one file whose title contains `only`, and says which differ.
fn check(path: &Path, only: Option<&str>) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("the file can be read");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let (mut failures, mut rewritten) = (Vec::new(), String::new());
    for section in file::sections(&text) {
        let runs =
            !section.steps.is_empty() && only.is_none_or(|only| section.title.contains(only));
        let found = if runs { steps::run(&section) } else { section.expect.clone() };
        if found != section.expect {
            let difference = print::difference(&section.expect, &found);
            failures.push(format!("--- {name}: {} ---\n{difference}", section.title));
        }
        rewritten.push_str(&section.with_expect(&found));
    }
    if update {
        std::fs::write(path, rewritten.trim_end().to_owned() + "\n")
            .expect("the file can be written");
        return Vec::new();
    }
    failures
}
