//! What of the definitions the tests have seen: nodes and their ends, branches, loops, monitors,
//! routes and their steps.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernel::Json;
use kernel::alert::definition::File;
use kernel::alert::{Status as Seen, Supposed, preview, who_is_told};
use kernel::graph::{Execution, Kind, TaskStatus};
use serde_json::{Value, json};

use super::cast::bare;
use super::watching::Watched;
use crate::load;

/// A point: what it is of, and what of it.
type Point = (String, String);

/// Points and whether they were seen.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// By file, then by point.
    files: BTreeMap<PathBuf, BTreeMap<Point, bool>>,
}

impl Coverage {
    /// Adds everything that tests of these definitions might see.
    pub(super) fn expect(&mut self, all: &load::Definitions) {
        let nowhere = PathBuf::from("?");
        for workflow in &all.workflows {
            let file = all.origins.get(&workflow.name).unwrap_or(&nowhere);
            let points = self.files.entry(file.clone()).or_default();
            let mut add = |node: &str, what: &str| {
                points.entry((format!("{}/{node}", workflow.name), what.to_owned())).or_default();
            };
            workflow.walk(|_, task| {
                let name = &task.task_reference_name;
                add(name, "ran");
                match Asked::of(&task.task_type) {
                    Asked::Branches => {
                        for case in task.decision_cases.keys() {
                            add(name, &format!("case {case}"));
                        }
                        add(
                            name,
                            if task.default_case.is_empty() { "no match" } else { "default" },
                        );
                    }
                    Asked::Loops => {
                        if task.items.is_some() {
                            add(name, "none");
                        }
                        add(name, "once");
                        add(name, "many times");
                    }
                    Asked::Acts => {
                        add(name, "failed");
                        // One that is written out in the task counts instead of a registered one.
                        let registered = || all.tasks.iter().find(|it| it.name == task.name);
                        let policy = task.task_definition.as_deref().or_else(registered);
                        if policy.is_some_and(|it| it.retry_count > 0) {
                            add(name, "retried");
                        }
                        if policy.is_some_and(|it| it.timeout_seconds > 0) {
                            add(name, "timed out");
                        }
                    }
                    Asked::Other => {}
                }
            });
        }
        for monitor in &all.monitors.monitors {
            let file = all.origins.get(&of_monitor(&monitor.name)).unwrap_or(&nowhere);
            let points = self.files.entry(file.clone()).or_default();
            let warns = monitor.warn_when.as_ref().map(|_| "warn");
            for what in ["ok", "fail", "unknown", "absent"].into_iter().chain(warns) {
                points.entry((of_monitor(&monitor.name), what.to_owned())).or_default();
            }
        }
        for (number, route) in all.monitors.routes.iter().enumerate() {
            let file = all.origins.get(&of_route(number)).unwrap_or(&nowhere);
            let points = self.files.entry(file.clone()).or_default();
            points.entry((of_route(number), "decided".to_owned())).or_default();
            for step in 0..route.steps.len() {
                points.entry((of_route(number), of_step(step))).or_default();
            }
        }
    }

    fn saw(&mut self, subject: &str, what: &str) {
        for points in self.files.values_mut() {
            if let Some(seen) = points.get_mut(&(subject.to_owned(), what.to_owned())) {
                *seen = true;
            }
        }
    }

    /// Takes note of runs of workflows.
    pub(super) fn saw_runs(&mut self, executions: &[Execution]) {
        for state in executions {
            let workflow = &state.plan().definition.name;
            for task in state.tasks() {
                let node = format!("{workflow}/{}", bare(&task.reference));
                self.saw(&node, "ran");
                if task.retried {
                    self.saw(&node, "retried");
                }
                match task.status {
                    TaskStatus::TimedOut => self.saw(&node, "timed out"),
                    status if status.is_failure() => self.saw(&node, "failed"),
                    _ => {}
                }
                match task.kind {
                    Kind::DoWhile
                        if task.iteration == 0 && task.status == TaskStatus::Completed =>
                    {
                        self.saw(&node, "none");
                    }
                    Kind::DoWhile if task.iteration == 1 => self.saw(&node, "once"),
                    Kind::DoWhile if task.iteration > 1 => self.saw(&node, "many times"),
                    Kind::Switch | Kind::Decision => {
                        let chosen = case_of(&task.output.parse());
                        self.saw(&node, &format!("case {chosen}"));
                        let node_of = state.node_of(task);
                        if !node_of.task.decision_cases.keys().any(|case| *case == chosen) {
                            self.saw(&node, "default");
                            self.saw(&node, "no match");
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Takes note of a monitor that was watched.
    pub(super) fn saw_monitor(&mut self, file: &File, name: &str, watched: &Watched) {
        let Some(monitor) = file.monitors.iter().find(|it| *it.name == *name) else { return };
        let subject = of_monitor(name);
        let mut keys = 0;
        for check in &watched.checks {
            let Ok(output) = &check.seen else {
                self.saw(&subject, "unknown");
                continue;
            };
            let judged = preview(file, monitor, output, check.at);
            if judged.doubt.is_some() {
                self.saw(&subject, "unknown");
            }
            for key in &judged.keys {
                match key.status {
                    Seen::Ok => self.saw(&subject, "ok"),
                    Seen::Warn => self.saw(&subject, "warn"),
                    Seen::Fail => self.saw(&subject, "fail"),
                    Seen::Unknown => {}
                }
            }
            if judged.keys.len() < keys || judged.empty || is_empty(output) {
                self.saw(&subject, "absent");
            }
            keys = keys.max(judged.keys.len());
        }
        for incident in &watched.incidents {
            let labels = incident.line["labels"].as_object().cloned().unwrap_or_default();
            let labels = labels
                .into_iter()
                .filter_map(|(name, value)| Some((Arc::from(name), Arc::from(value.as_str()?))));
            let supposed = Supposed {
                monitor: Some(name.into()),
                key: incident.key.as_str().into(),
                labels: labels.collect(),
                at: incident.opens,
                ..Supposed::default()
            };
            let Ok(selected) = who_is_told(file, &supposed) else { continue };
            let Some(route) = selected.route else { continue };
            self.saw(&route, "decided");
            for (number, step) in selected.steps.iter().enumerate() {
                let told = |to: &Arc<str>| watched.told.iter().any(|it| it.to == **to);
                // Whom a rotation calls is told by the receivers of the person.
                let called = step.on_call.iter().flat_map(|it| &it.contacts).map(|it| &it.to);
                if step.to.iter().chain(called).any(told) {
                    self.saw(&route, &of_step(number));
                }
            }
        }
    }

    /// Takes note of a route that was asked for, with so many steps.
    pub(super) fn saw_route(&mut self, route: &str, steps: usize) {
        self.saw(route, "decided");
        for number in 0..steps {
            self.saw(route, &of_step(number));
        }
    }

    /// Points that were seen, and all.
    fn count(&self) -> (usize, usize) {
        let all = self.files.values().flat_map(BTreeMap::values);
        all.fold((0, 0), |(seen, all), it| (seen + usize::from(*it), all + 1))
    }

    /// How much was seen, in percent; of nothing, all.
    pub(crate) fn percent(&self) -> f64 {
        let (seen, all) = self.count();
        if all == 0 { 100.0 } else { 100.0 * seen as f64 / all as f64 }
    }

    /// For people: each file, and what of it was not seen.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (file, points) in &self.files {
            let seen = points.values().filter(|it| **it).count();
            let _ = writeln!(text, "{} {seen} of {}", file.display(), points.len());
            let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for ((subject, what), _) in points.iter().filter(|(_, seen)| !**seen) {
                missing.entry(subject).or_default().push(what);
            }
            for (subject, what) in missing {
                let _ = writeln!(text, "    {subject}: not {}", what.join(", not "));
            }
        }
        let (seen, all) = self.count();
        let _ = writeln!(text, "coverage: {seen} of {all} ({:.1} %)", self.percent());
        text
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let (seen, all) = self.count();
        let files = self.files.iter().map(|(file, points)| {
            let points = points.iter().map(
                |((subject, what), seen)| json!({ "of": subject, "what": what, "seen": seen }),
            );
            json!({ "file": file, "points": points.collect::<Vec<_>>() })
        });
        json!({ "seen": seen, "all": all, "percent": self.percent(), "files": files.collect::<Vec<_>>() })
    }

    /// For those who show coverage by line: a line for each node, monitor and route, a branch for each
    /// of its points.
    pub(crate) fn lcov(&self) -> String {
        let mut text = String::from("TN:nightbell\n");
        for (file, points) in &self.files {
            let source = std::fs::read_to_string(file).unwrap_or_default();
            let _ = writeln!(text, "SF:{}", file.display());
            let mut lines: BTreeMap<usize, bool> = BTreeMap::new();
            for (number, ((subject, _), seen)) in points.iter().enumerate() {
                let line = line_of(&source, subject);
                let taken = u8::from(*seen);
                let _ = writeln!(text, "BRDA:{line},0,{number},{taken}");
                *lines.entry(line).or_default() |= seen;
            }
            for (line, seen) in lines {
                let _ = writeln!(text, "DA:{line},{}", u8::from(seen));
            }
            text.push_str("end_of_record\n");
        }
        text
    }

    /// Writes it in the form that the name of the file asks for: `.json`, `.info` or `.lcov`, or text.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        let extension = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
        let text = match extension {
            "json" => format!("{:#}\n", self.json()),
            "info" | "lcov" => self.lcov(),
            _ => self.text(),
        };
        std::fs::write(path, text)
    }
}

/// What coverage asks of a kind of task.
enum Asked {
    Branches,
    Loops,
    /// It acts outside, so it may fail.
    Acts,
    Other,
}

impl Asked {
    fn of(task_type: &str) -> Self {
        match task_type {
            "SWITCH" | "DECISION" => Self::Branches,
            "DO_WHILE" => Self::Loops,
            "INLINE" | "LAMBDA" | "JSON_JQ_TRANSFORM" | "SET_VARIABLE" | "TERMINATE" | "NOOP"
            | "JOIN" | "EXCLUSIVE_JOIN" | "FORK" | "FORK_JOIN" | "FORK_JOIN_DYNAMIC" | "WAIT"
            | "HUMAN" | "DYNAMIC" => Self::Other,
            _ => Self::Acts,
        }
    }
}

pub(super) fn of_monitor(name: &str) -> String {
    format!("monitor {name}")
}

pub(super) fn of_route(number: usize) -> String {
    format!("routes[{number}]")
}

fn of_step(number: usize) -> String {
    format!("step {}", number + 1)
}

/// The case that a branch has taken.
fn case_of(output: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match (output.get("selectedCase"), output.pointer("/evaluationResult/0")) {
        (Some(case), _) if !case.is_null() => text(case),
        (_, Some(result)) => text(result),
        _ => String::new(),
    }
}

/// Whether a check has seen nothing at all.
fn is_empty(output: &Json) -> bool {
    output.parse()["observations"].as_array().is_none_or(Vec::is_empty)
}

/// The line on which something is defined, from 1; the first if it is not found.
fn line_of(source: &str, subject: &str) -> usize {
    let found = if let Some(monitor) = subject.strip_prefix("monitor ") {
        source.lines().position(|line| {
            line.trim_start().trim_matches('"').starts_with(&format!("{monitor}:"))
        })
    } else if subject.starts_with("routes[") {
        source.lines().position(|line| line.trim_start().trim_matches('"').starts_with("routes"))
    } else {
        let node = subject.rsplit_once('/').map_or(subject, |(_, node)| node);
        let quoted = format!("\"{node}\"");
        let names = |line: &str| line.contains("taskReferenceName") && line.contains(&quoted);
        source.lines().position(names)
    };
    found.map_or(1, |line| line + 1)
}

#[cfg(test)]
mod tests {
    use super::{case_of, line_of};
    use serde_json::json;

    #[test]
    fn the_case_of_a_branch_is_found() {
        assert_eq!(case_of(&json!({ "selectedCase": "many" })), "many");
        assert_eq!(case_of(&json!({ "evaluationResult": ["few"] })), "few");
    }

    #[test]
    fn lines_of_nodes_and_monitors_are_found() {
        let json = "{\n \"taskReferenceName\": \"a\",\n \"taskReferenceName\": \"b\"\n}";
        assert_eq!(line_of(json, "flow/b"), 3);
        assert_eq!(line_of("routes:\nmonitors:\n  net:\n", "monitor net"), 3);
    }
}
