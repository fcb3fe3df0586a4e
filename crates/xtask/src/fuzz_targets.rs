//! The targets of fuzzing are the same in `crates/fuzz`, which runs them, in `fuzz/Cargo.toml`, by which libFuzzer
//! drives them, and in `docs/attacks.md`, which tells of them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;

/// Where targets are made.
const MADE: &str = "crates/fuzz/src/lib.rs";
/// Where libFuzzer has its programs.
const DRIVEN: &str = "fuzz/Cargo.toml";
/// Where they are told of.
const TOLD: &str = "docs/attacks.md";

/// Finds targets that are not everywhere.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn check(root: &Path, findings: &mut Vec<String>) -> anyhow::Result<()> {
    let read = |name: &str| {
        std::fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"))
    };
    compare(&read(MADE)?, &read(DRIVEN)?, &read(TOLD)?, findings);
    Ok(())
}

fn compare(made: &str, driven: &str, told: &str, findings: &mut Vec<String>) {
    let made = named(made, "name: \"", "\",");
    if made.is_empty() {
        findings.push(format!("{MADE}: no target is found"));
    }
    let programs = driven.split_once("[[bin]]").map_or("", |(_, programs)| programs);
    let driven = named(programs, "name = \"", "\"");
    for name in made.difference(&driven) {
        findings.push(format!("{DRIVEN}: no program is named after the target {name} of {MADE}"));
    }
    for name in driven.difference(&made) {
        findings.push(format!("{DRIVEN}: {MADE} has no target {name}"));
    }
    let list = told.split_once("The targets:").map_or("", |(_, list)| list);
    let list = list.split("\n\n").next().unwrap_or_default();
    for name in made.iter().filter(|name| !list.contains(&format!("`{name}`"))) {
        findings.push(format!("{TOLD}: the list of targets lacks {name}"));
    }
}

/// What stands between two texts at the beginning of lines.
fn named<'a>(text: &'a str, before: &str, after: &str) -> BTreeSet<&'a str> {
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix(before));
    lines.filter_map(|rest| rest.split_once(after)).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::compare;

    fn found(made: &str, driven: &str, told: &str) -> Vec<String> {
        let mut findings = Vec::new();
        compare(made, driven, told, &mut findings);
        findings
    }

    #[test]
    fn a_target_is_everywhere() {
        let made = "    Target {\n        name: \"jq\",\n    },\n";
        let program = "[package]\nname = \"all\"\n[[bin]]\nname = \"jq\"\n";
        let told = "# Fuzzing\n\nThe targets: `jq`.\n\nNot `cron`.";
        assert!(found(made, program, told).is_empty());
        assert_eq!(found(made, "[package]\nname = \"jq\"\n", told).len(), 1, "no program");
        assert_eq!(found(made, &program.replace("jq", "cron"), told).len(), 2, "another program");
        assert_eq!(found(made, program, &told.replace("`jq`", "")).len(), 1, "not told of");
        assert_eq!(found("", "", "").len(), 1, "nothing is compared with nothing");
    }
}
