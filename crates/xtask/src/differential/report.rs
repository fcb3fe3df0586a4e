//! Counts the outcomes, prints them, and keeps every difference in a file for whoever looks into it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{root, say};

use super::outcome::Outcome;
use super::verdicts::Verdicts;

/// Prints the counts and writes `target/differential.json`; fails if a difference has no verdict.
pub(super) fn publish(
    outcomes: &[Outcome],
    skipped: &[String],
    verdicts: &Verdicts,
) -> anyhow::Result<()> {
    let broken: Vec<_> = outcomes.iter().filter(|outcome| outcome.broken.is_some()).collect();
    let same = outcomes
        .iter()
        .filter(|outcome| outcome.broken.is_none() && outcome.differences.is_empty())
        .count();
    let open = outcomes.iter().filter(|outcome| outcome.unexplained().next().is_some()).count();
    let mut rules: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut places: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        let mut seen = std::collections::BTreeSet::new();
        for rule in outcome.differences.iter().filter_map(|(_, rule)| *rule) {
            let counts = rules.entry(rule).or_default();
            counts.0 += 1;
            counts.1 += usize::from(seen.insert(rule));
        }
        for found in outcome.unexplained() {
            places.entry(&found.at).or_default().push(outcome);
        }
    }
    say(&format!(
        "{} cases: {same} the same, {} with explained differences only, {open} with unexplained ones, {} not \
         run on both; {} definitions left out",
        outcomes.len(),
        outcomes.len() - same - open - broken.len(),
        broken.len(),
        skipped.len(),
    ));
    for (rule, (differences, cases)) in &rules {
        let (name, verdict, _) = verdicts.name(*rule);
        say(&format!("  {verdict:?}: {name}: {cases} cases, {differences} differences"));
    }
    for outcome in &broken {
        say(&format!("  not run: {}: {}", outcome.case, outcome.broken.as_deref().unwrap_or("")));
    }
    for (at, cases) in &places {
        let example = cases[0];
        let found = example.unexplained().find(|found| found.at == *at);
        let (conductor, nightbell) =
            found.map_or(("", ""), |found| (&found.conductor, &found.nightbell));
        say(&format!(
            "  unexplained {at}: {} times, as in {}\n      Conductor {}\n      Nightbell {}",
            cases.len(),
            example.case,
            short(conductor),
            short(nightbell)
        ));
    }
    let rows: Vec<Value> = outcomes
        .iter()
        .flat_map(|outcome| {
            outcome.differences.iter().map(|(found, rule)| {
                json!({ "case": outcome.case, "at": found.at, "path": found.path,
                    "conductor": found.conductor, "nightbell": found.nightbell,
                    "rule": rule.map(|rule| verdicts.name(rule).0) })
            })
        })
        .collect();
    let file = root().join("target/differential.json");
    std::fs::write(
        &file,
        serde_json::to_vec_pretty(&json!({ "differences": rows, "left out": skipped }))?,
    )?;
    say(&format!("every difference is in {}", file.display()));
    anyhow::ensure!(open == 0, "{open} cases differ without a verdict");
    Ok(())
}

fn short(text: &str) -> String {
    text.chars().take(220).collect()
}
