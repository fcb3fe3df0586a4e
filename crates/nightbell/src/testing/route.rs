//! Tests of routes: who would be told of an incident that might be, by the code that routes.

use std::sync::Arc;

use kernel::alert::{Supposed, who_is_told};

use super::file::{ExpectedTold, RouteTest};
use super::moments::span;
use super::{Folder, TestResult};

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
    let steps = selected
        .steps
        .iter()
        .flat_map(|step| step.to.iter().map(|to| (to.to_string(), step.after)).collect::<Vec<_>>());
    let silenced = !selected.silenced_by.is_empty() || selected.nobody.is_some();
    let mut actual: Vec<(String, i64)> = if silenced { Vec::new() } else { steps.collect() };
    let line = |(to, after): &(String, i64)| match after {
        0 => format!("{to} at once"),
        after => format!("{to} after {}", span(*after)),
    };
    let by = selected.route.clone().unwrap_or_else(|| "no route".to_owned());
    told.trace = actual.iter().map(|it| format!("{by}: {}", line(it))).collect();
    told.trace.extend(selected.nobody.iter().map(|why| format!("{by}: nobody ({why})")));
    told.route = selected.route.clone().map(|route| (route, selected.steps.len()));
    let pair =
        |it: &ExpectedTold| (it.to.clone().unwrap_or_default(), it.after.unwrap_or_default());
    let mut expected: Vec<(String, i64)> = test.told.iter().map(pair).collect();
    actual.sort_by(|one, other| (one.1, &one.0).cmp(&(other.1, &other.0)));
    expected.sort_by(|one, other| (one.1, &one.0).cmp(&(other.1, &other.0)));
    if actual != expected {
        let lines = |all: &[(String, i64)]| {
            let all: Vec<String> = all.iter().map(line).collect();
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
