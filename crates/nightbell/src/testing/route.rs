//! Tests of routes: who would be told of an incident that might be, by the code that routes.

use std::sync::Arc;

use kernel::alert::{Supposed, who_is_told};

use super::file::{ExpectedTold, RouteTest};
use super::moments::span;
use super::{Folder, TestResult};

/// Somebody who is told, or is expected to be.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    after: i64,
    to: String,
    /// Whom a rotation calls.
    who: Option<Vec<String>>,
}

impl Line {
    fn expected(it: &ExpectedTold) -> Self {
        let (to, after) = (it.to.clone().unwrap_or_default(), it.after.unwrap_or_default());
        Self { after, to, who: it.who.clone() }
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to)?;
        if let Some(who) = &self.who {
            write!(f, " ({})", if who.is_empty() { "nobody".to_owned() } else { who.join(", ") })?;
        }
        match self.after {
            0 => f.write_str(" at once"),
            after => write!(f, " after {}", span(after)),
        }
    }
}

/// Runs a test.
pub(super) fn run(folder: &Folder, test: &RouteTest) -> TestResult {
    let mut told = TestResult::default();
    let labels =
        test.labels.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into()));
    let supposed = Supposed {
        monitor: test.monitor.as_deref().map(Arc::from),
        key: test.key.as_str().into(),
        severity: test.severity,
        labels: labels.collect(),
        at: test.at,
    };
    let selected = match who_is_told(&folder.definitions.monitors, &supposed) {
        Ok(selected) => selected,
        Err(why) => {
            told.problems.push(why);
            return told;
        }
    };
    let silenced = !selected.silenced_by.is_empty() || selected.nobody.is_some();
    let mut actual: Vec<Line> = Vec::new();
    for step in selected.steps.iter().filter(|_| !silenced) {
        actual.extend(step.to.iter().map(|to| {
            let called = step.on_call.iter().find(|it| it.target == *to);
            let who = called.map(|it| it.people.iter().map(ToString::to_string).collect());
            Line { after: step.after, to: to.to_string(), who }
        }));
    }
    let by = selected.route.clone().unwrap_or_else(|| "no route".to_owned());
    told.trace = actual.iter().map(|it| format!("{by}: {it}")).collect();
    told.trace.extend(selected.nobody.iter().map(|why| format!("{by}: nobody ({why})")));
    told.route = selected.route.clone().map(|route| (route, selected.steps.len()));
    let mut expected: Vec<Line> = test.told.iter().map(Line::expected).collect();
    actual.sort();
    expected.sort();
    // A test that does not ask who is called takes anybody.
    for (one, other) in actual.iter_mut().zip(&expected) {
        if other.who.is_none() {
            one.who = None;
        }
    }
    if actual != expected {
        let lines = |all: &[Line]| {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            if all.is_empty() { "nobody".to_owned() } else { all.join(", ") }
        };
        let mut why = Vec::from([format!("decided by {by}")]);
        why.extend(selected.passed_over.iter().map(|it| format!("passed over: {it}")));
        why.extend(selected.silenced_by.iter().map(|it| format!("silenced by {it}")));
        why.extend(selected.nobody.clone());
        why.extend(selected.warnings.clone());
        told.problems.push(format!(
            "told: expected {}, got {}\n  {}",
            lines(&expected),
            lines(&actual),
            why.join("\n  ")
        ));
    }
    told
}
