//! The differences that are known, each with a verdict and its reason.

use anyhow::Context;
use regex::Regex;
use serde::Deserialize;

use crate::root;

use super::compare::Difference;

/// Read when it is needed, so that a new rule needs no build.
const FILE: &str = "crates/xtask/src/differential/verdicts.json";

/// A rule as written. Its patterns must match whole texts; one that is not given matches any.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    case: Option<String>,
    /// What the case must have, as `Case::traits` lists it: found anywhere in that list.
    #[serde(default)]
    traits: Option<String>,
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    conductor: Option<String>,
    #[serde(default)]
    nightbell: Option<String>,
    /// Replacements, each a pattern and what stands for it, after which both texts must be equal.
    #[serde(default)]
    alike: Vec<(String, String)>,
    verdict: Verdict,
    why: String,
    /// Whether the executions go different ways from here, so that later differences follow from it.
    #[serde(default)]
    diverges: bool,
}

/// What a difference means.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// Decided, with the reason in the documentation of differences.
    Ours,
    /// A fault of Conductor that is not to be imitated.
    ConductorBug,
    /// The comparison cannot tell: a race, a bound of the test.
    Harness,
    /// A mistake here.
    ToFix,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::ConductorBug => "conductor-bug",
            Self::Harness => "harness",
            Self::ToFix => "to-fix",
        }
    }
}

struct Rule {
    written: Written,
    patterns: [Option<Regex>; 4],
    traits: Option<Regex>,
    alike: Vec<(Regex, String)>,
}

/// All rules, in order: the first that matches decides.
pub(super) struct Verdicts {
    rules: Vec<Rule>,
}

impl Verdicts {
    pub(super) fn read() -> anyhow::Result<Self> {
        let file = root().join(FILE);
        let text = std::fs::read_to_string(&file).context(FILE)?;
        let written: Vec<Written> = serde_json::from_str(&text).context(FILE)?;
        let rules = written.into_iter().map(Rule::compile).collect::<anyhow::Result<_>>()?;
        Ok(Self { rules })
    }

    pub(super) fn rule_for(&self, case: &str, traits: &str, found: &Difference) -> Option<usize> {
        let texts = [case, &found.at, &found.conductor, &found.nightbell];
        self.rules.iter().position(|rule| {
            rule.patterns.iter().zip(texts).all(|(pattern, text)| {
                pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
            }) && rule.traits.as_ref().is_none_or(|pattern| pattern.is_match(traits))
                && rule.alike(found)
        })
    }

    pub(super) fn name(&self, rule: usize) -> (&str, Verdict, &str) {
        let written = &self.rules[rule].written;
        (&written.name, written.verdict, &written.why)
    }

    pub(super) fn all(&self) -> std::ops::Range<usize> {
        0..self.rules.len()
    }

    pub(super) fn diverges(&self, rule: usize) -> bool {
        self.rules[rule].written.diverges
    }
}

impl Rule {
    fn compile(written: Written) -> anyhow::Result<Self> {
        let whole = |pattern: &Option<String>| -> anyhow::Result<Option<Regex>> {
            let Some(pattern) = pattern else { return Ok(None) };
            let regex = Regex::new(&format!("(?s)^(?:{pattern})$"));
            Ok(Some(regex.with_context(|| format!("rule {}", written.name))?))
        };
        let patterns = [
            whole(&written.case)?,
            whole(&written.at)?,
            whole(&written.conductor)?,
            whole(&written.nightbell)?,
        ];
        let traits = written.traits.as_deref().map(Regex::new).transpose();
        let traits = traits.with_context(|| format!("rule {}", written.name))?;
        let alike = written.alike.iter().map(|(pattern, with)| {
            let regex = Regex::new(pattern).with_context(|| format!("rule {}", written.name))?;
            Ok((regex, with.clone()))
        });
        let alike = alike.collect::<anyhow::Result<_>>()?;
        Ok(Self { written, patterns, traits, alike })
    }

    fn alike(&self, found: &Difference) -> bool {
        let plain = |text: &str| {
            self.alike.iter().fold(text.to_owned(), |text, (pattern, with)| {
                pattern.replace_all(&text, with.as_str()).into_owned()
            })
        };
        self.alike.is_empty() || plain(&found.conductor) == plain(&found.nightbell)
    }
}
