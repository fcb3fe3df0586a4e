//! What became of one case.

use super::case::Case;
use super::compare::Difference;
use super::verdicts::Verdicts;

/// A case that was run, or could not be.
pub(super) struct Outcome {
    pub(super) case: String,
    /// Why it could not be run on both servers.
    pub(super) broken: Option<String>,
    /// Each difference with the number of the rule that explains it.
    pub(super) differences: Vec<(Difference, Option<usize>)>,
}

impl Outcome {
    pub(super) fn broken(case: &Case, why: &str) -> Self {
        let broken = Some(why.to_owned());
        Self { case: case.name.clone(), broken, differences: Vec::new() }
    }

    pub(super) fn judged(case: &Case, differences: Vec<Difference>, verdicts: &Verdicts) -> Self {
        let judge = |difference: Difference| {
            let rule = verdicts.rule_for(&case.name, &difference);
            (difference, rule)
        };
        let mut differences: Vec<_> = differences.into_iter().map(judge).collect();
        // Where a rule says that the two went different ways, what follows is a consequence.
        if differences.iter().any(|(_, rule)| rule.is_some_and(|rule| verdicts.diverges(rule))) {
            let cause = differences
                .iter()
                .find_map(|(_, rule)| rule.filter(|rule| verdicts.diverges(*rule)));
            for (_, rule) in &mut differences {
                *rule = rule.or(cause);
            }
        }
        Self { case: case.name.clone(), broken: None, differences }
    }

    pub(super) fn unexplained(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|(_, rule)| rule.is_none()).map(|(found, _)| found)
    }
}
