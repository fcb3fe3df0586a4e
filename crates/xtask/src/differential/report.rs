//! Counts the outcomes, prints them, and keeps every difference in a file for whoever looks into it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use crate::say;

use super::outcome::Outcome;
use super::verdicts::Verdicts;

/// Prints the counts and writes the file; fails if a difference has no verdict.
pub(super) fn publish(
    outcomes: &[Outcome],
    skipped: &[String],
    verdicts: &Verdicts,
    file: &Path,
) -> anyhow::Result<()> {
    let open = summary(outcomes, skipped, verdicts);
    write(outcomes, skipped, verdicts, file)?;
    say(&format!("every difference is in {}", file.display()));
    anyhow::ensure!(open == 0, "{open} cases differ without a verdict");
    Ok(())
}

/// Keeps what there is: a run that somebody ends has its results, too.
pub(super) fn write(
    outcomes: &[Outcome],
    skipped: &[String],
    verdicts: &Verdicts,
    file: &Path,
) -> anyhow::Result<()> {
    let cases: Vec<Value> = outcomes.iter().map(|outcome| outcome.written(verdicts)).collect();
    let document = json!({ "counts": counts(outcomes, skipped, verdicts), "cases": cases,
        "leftOut": skipped });
    std::fs::write(file, serde_json::to_vec_pretty(&document)?).context(file.display().to_string())
}

/// Judges what earlier runs found by the rules of today. A case that is in several files counts in
/// the last one.
pub(super) fn judge(files: &[PathBuf], verdicts: &Verdicts, to: &Path) -> anyhow::Result<()> {
    let mut outcomes = BTreeMap::new();
    let mut skipped = BTreeSet::new();
    for file in files {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        let document: Value = serde_json::from_slice(&text)?;
        for written in document["cases"].as_array().into_iter().flatten() {
            let outcome = Outcome::read(written, verdicts);
            outcomes.insert(outcome.case.clone(), outcome);
        }
        let left = document["leftOut"].as_array().into_iter().flatten();
        skipped.extend(left.filter_map(Value::as_str).map(str::to_owned));
    }
    let outcomes: Vec<_> = outcomes.into_values().collect();
    let skipped: Vec<_> = skipped.into_iter().collect();
    publish(&outcomes, &skipped, verdicts, to)
}

/// Cases and differences by rule, and by verdict.
fn counts(outcomes: &[Outcome], skipped: &[String], verdicts: &Verdicts) -> Value {
    let broken = outcomes.iter().filter(|outcome| outcome.broken.is_some()).count();
    let same = outcomes
        .iter()
        .filter(|outcome| outcome.broken.is_none() && outcome.differences.is_empty())
        .count();
    let open = outcomes.iter().filter(|outcome| outcome.unexplained().next().is_some()).count();
    let passing = outcomes.iter().filter(|outcome| !outcome.passing.is_empty()).count();
    let mut by_rule = BTreeMap::new();
    let mut by_verdict = BTreeMap::new();
    for outcome in outcomes {
        let mut rules = BTreeSet::new();
        let mut kinds = BTreeSet::new();
        for rule in outcome.differences.iter().filter_map(|(_, rule)| *rule) {
            let (name, verdict, _) = verdicts.name(rule);
            let of_rule: &mut (u64, u64) = by_rule.entry(name).or_default();
            of_rule.0 += u64::from(rules.insert(rule));
            of_rule.1 += 1;
            let of_verdict: &mut (u64, u64) = by_verdict.entry(verdict.word()).or_default();
            of_verdict.0 += u64::from(kinds.insert(verdict));
            of_verdict.1 += 1;
        }
    }
    let shown = |counts: BTreeMap<&str, (u64, u64)>| -> Value {
        let rows = counts.into_iter().map(|(name, (cases, differences))| {
            (name.to_owned(), json!({ "cases": cases, "differences": differences }))
        });
        Value::Object(rows.collect())
    };
    json!({ "cases": outcomes.len(), "equal": same, "explained": outcomes.len() - same - open - broken,
        "unexplained": open, "notRun": broken, "differedOnce": passing, "leftOut": skipped.len(),
        "byVerdict": shown(by_verdict), "byRule": shown(by_rule) })
}

/// Prints the counts and what is unexplained; answers how many cases have that.
fn summary(outcomes: &[Outcome], skipped: &[String], verdicts: &Verdicts) -> usize {
    let counts = counts(outcomes, skipped, verdicts);
    say(&format!(
        "{} cases: {} the same, {} with explained differences only, {} with unexplained ones, {} not run on \
         both; {} differed once and not when played again; {} definitions left out",
        counts["cases"],
        counts["equal"],
        counts["explained"],
        counts["unexplained"],
        counts["notRun"],
        counts["differedOnce"],
        counts["leftOut"],
    ));
    let row = |name: &str, counts: &Value| {
        say(&format!("  {name}: {} cases, {} differences", counts["cases"], counts["differences"]));
    };
    for (verdict, found) in counts["byVerdict"].as_object().into_iter().flatten() {
        row(verdict, found);
    }
    say("by rule:");
    for rule in verdicts.all() {
        let (name, verdict, _) = verdicts.name(rule);
        match counts["byRule"].get(name) {
            Some(found) => row(&format!("{}: {name}", verdict.word()), found),
            None => say(&format!("  {}: {name}: none", verdict.word())),
        }
    }
    for outcome in outcomes {
        if let Some(why) = &outcome.broken {
            say(&format!("  not run: {}: {why}", outcome.case));
        }
    }
    let mut places: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        for found in outcome.unexplained() {
            places.entry(&found.at).or_default().push(outcome);
        }
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
    outcomes.iter().filter(|outcome| outcome.unexplained().next().is_some()).count()
}

fn short(text: &str) -> String {
    text.chars().take(220).collect()
}
