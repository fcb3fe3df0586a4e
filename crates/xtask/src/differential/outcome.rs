//! What became of one case.

use serde_json::{Value, json};

use super::compare::Difference;
use super::verdicts::Verdicts;

/// A case that was run, or could not be.
pub(super) struct Outcome {
    pub(super) case: String,
    pub(super) traits: String,
    /// Why it could not be run on both servers.
    pub(super) broken: Option<String>,
    /// How often it was played, and how long the last time took.
    pub(super) played: u64,
    pub(super) seconds: u64,
    /// Places where an earlier play differed without a verdict and this one does not: races.
    pub(super) passing: Vec<String>,
    /// Each difference with the number of the rule that explains it.
    pub(super) differences: Vec<(Difference, Option<usize>)>,
}

impl Outcome {
    pub(super) fn broken(case: &str, traits: &str, why: &str) -> Self {
        let broken = Some(why.to_owned());
        Self { broken, ..Self::judged(case, traits, Vec::new(), None) }
    }

    pub(super) fn judged(
        case: &str,
        traits: &str,
        differences: Vec<Difference>,
        verdicts: Option<&Verdicts>,
    ) -> Self {
        let judge = |difference: Difference| {
            let rule = verdicts.and_then(|verdicts| verdicts.rule_for(case, traits, &difference));
            (difference, rule)
        };
        let mut differences: Vec<_> = differences.into_iter().map(judge).collect();
        // Where a rule says that the two went different ways, what follows is a consequence.
        let diverges = |rule: usize| verdicts.is_some_and(|verdicts| verdicts.diverges(rule));
        let cause = differences.iter().find_map(|(_, rule)| rule.filter(|rule| diverges(*rule)));
        for (_, rule) in &mut differences {
            *rule = rule.or(cause);
        }
        let (case, traits) = (case.to_owned(), traits.to_owned());
        Self { case, traits, broken: None, played: 1, seconds: 0, passing: Vec::new(), differences }
    }

    pub(super) fn unexplained(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|(_, rule)| rule.is_none()).map(|(found, _)| found)
    }

    /// As it is kept in the file.
    pub(super) fn written(&self, verdicts: &Verdicts) -> Value {
        let differences: Vec<Value> = self
            .differences
            .iter()
            .map(|(found, rule)| {
                json!({ "at": found.at, "path": found.path, "conductor": found.conductor,
                    "nightbell": found.nightbell, "rule": rule.map(|rule| verdicts.name(rule).0) })
            })
            .collect();
        json!({ "case": self.case, "traits": self.traits, "broken": self.broken, "played": self.played,
            "seconds": self.seconds, "passing": self.passing, "differences": differences })
    }

    /// Takes one from the file and judges it by today's rules.
    pub(super) fn read(written: &Value, verdicts: &Verdicts) -> Self {
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let none = Vec::new();
        let differences = written["differences"].as_array().unwrap_or(&none).iter();
        let differences = differences.map(|found| Difference {
            at: text(found, "at"),
            path: text(found, "path"),
            conductor: text(found, "conductor"),
            nightbell: text(found, "nightbell"),
        });
        let mut outcome = Self::judged(
            &text(written, "case"),
            &text(written, "traits"),
            differences.collect(),
            Some(verdicts),
        );
        outcome.broken = written["broken"].as_str().map(str::to_owned);
        outcome.played = written["played"].as_u64().unwrap_or(1);
        outcome.seconds = written["seconds"].as_u64().unwrap_or(0);
        let passing = written["passing"].as_array().unwrap_or(&none).iter();
        outcome.passing = passing.filter_map(Value::as_str).map(str::to_owned).collect();
        outcome
    }
}
