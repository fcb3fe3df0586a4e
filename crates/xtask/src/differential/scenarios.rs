//! The kernel's own scenarios, made into cases that both servers can play.
//!
//! A scenario tells its execution what happens to it. What a client can bring about is played:
//! reports, operators, children (a stub with one task stands for each), messages, and as much time
//! as one can wait for. At the first step that no client can do the case ends.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::case::{Case, Move, Worker};
use super::corpus::{Found, renamed, visit};

/// Names of cases from scenarios begin here, so that no other source has them.
const NUMBER_FIRST: usize = 100_000;
/// Seconds of a scenario that are waited for.
const WAIT_MAX: f64 = 12.0;

/// Reads the `.md` files of a folder.
pub(super) fn read(folder: &Path, stand_in: &str) -> anyhow::Result<Found> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|kind| kind == "md"))
        .collect();
    files.sort();
    let mut found = Found { cases: Vec::new(), skipped: Vec::new() };
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for section in text.split("\n## ").skip(1) {
            let title = section.lines().next().unwrap_or_default();
            let name = format!("scenarios/{stem}: {title}");
            let number = NUMBER_FIRST + found.cases.len();
            match case(&name, section, number, stand_in) {
                Ok(case) => found.cases.push(case),
                Err(why) => found.skipped.push(format!("{name}: {why:#}")),
            }
        }
    }
    Ok(found)
}

/// The blocks of a section, each with what stands behind its fence.
fn blocks(section: &str) -> impl Iterator<Item = (&str, &str)> {
    section.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'))
}

fn case(name: &str, section: &str, number: usize, stand_in: &str) -> anyhow::Result<Case> {
    let (mut definitions, mut registered, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    for (info, body) in blocks(section) {
        match info.trim() {
            "json workflow" => definitions.push(spelled_out(serde_json::from_str(body)?)),
            "json tasks" => registered = serde_json::from_str::<Vec<Value>>(body)?,
            "steps" => lines.extend(body.lines().map(str::trim).filter(|line| !line.is_empty())),
            _ => {}
        }
    }
    anyhow::ensure!(!definitions.is_empty() && !lines.is_empty(), "it has no steps");
    let steps: Vec<Move> = lines.iter().map(|line| Move::read(line)).collect();
    let begin =
        steps.iter().position(|step| step.verb == "start").context("it is never started")?;
    for before in &steps[..begin] {
        let known = ["quiet", "loud", "polled"].contains(&before.verb.as_str());
        anyhow::ensure!(known, "begins with what no client can do: {}", before.line);
    }
    let start = &steps[begin];
    for option in ["parent", "once"] {
        anyhow::ensure!(!start.options.contains_key(option), "it is started with {option}=");
    }
    let refused = steps.iter().any(|step| step.verb == "child-refused");
    let children = children(&definitions, &steps);
    let root = definitions[0]["name"].as_str().unwrap_or("flow").to_owned();
    let own: BTreeSet<&str> =
        children.iter().map(String::as_str).chain(std::iter::once(root.as_str())).collect();
    let mut tasks = BTreeSet::new();
    let mut local = |value: &Value| {
        let value = renamed(value, number, &own, stand_in, &mut tasks);
        with_children(&value, &children, number)
    };
    let mut versions = Vec::new();
    for (version, definition) in definitions.iter().enumerate() {
        let mut definition = local(definition);
        definition["name"] = json!(format!("w{number}_{root}"));
        definition["version"] = json!(version + 1);
        definition["ownerEmail"] = json!("owner@example.com");
        versions.push(definition);
    }
    let input = local(start.json.as_ref().unwrap_or(&json!({})));
    let mut workflows = Vec::new();
    if !refused {
        workflows.extend(children.iter().map(|child| stub(child, number, &mut tasks)));
    }
    let later = versions.split_off(1);
    workflows.extend(versions);
    let played: Vec<Move> = steps[begin + 1..].iter().map_while(playable).collect();
    let left = steps.len() - begin - 1 - played.len();
    let mark = if left > 0 { format!(" (without the last {left} steps)") } else { String::new() };
    Ok(Case {
        name: format!("{name}{mark}"),
        tasks: tasks.iter().map(|name| task_definition(name, &registered, number)).collect(),
        workflows,
        later,
        start: start_options(start, &tasks, number),
        input,
        worker: Worker::honest(),
        actions: Vec::new(),
        script: Some(played),
    })
}

/// The step, if a client can do it.
fn playable(step: &Move) -> Option<Move> {
    let known = match step.verb.as_str() {
        "complete" | "fail" | "fail-terminal" | "cancel" | "progress" => {
            !step.words.iter().any(|word| word == "merge")
        }
        "claim" | "extend" | "quiet" | "loud" | "polled" | "show" | "pause" | "resume"
        | "terminate" | "retry" | "rerun" | "skip" | "reset-callbacks" | "post"
        | "child-refused" => true,
        "restart" => step.json.is_none(),
        "child-started" => !step.options.contains_key("instead"),
        "child-ended" => step.words.get(1).is_none_or(|status| status != "TIMED_OUT"),
        "at" => step.seconds().is_some_and(|seconds| seconds <= WAIT_MAX),
        _ => false,
    };
    known.then(|| step.clone())
}

/// Names of workflows that the scenario starts and does not define.
fn children(definitions: &[Value], steps: &[Move]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut add = |value: &Value| {
        if let Some(name) = value.as_str().filter(|name| !name.contains("${")) {
            names.insert(name.to_owned());
        }
    };
    for definition in definitions {
        add(&definition["failureWorkflow"]);
        visit(definition, &mut |task| {
            if task["subWorkflowParam"]["workflowDefinition"].is_null() {
                add(&task["subWorkflowParam"]["name"]);
            }
            add(&task["inputParameters"]["startWorkflow"]["name"]);
            add(&task["inputParameters"]["forkTaskWorkflow"]);
        });
    }
    // What an input names by an expression is called so in all scenarios.
    if steps.iter().any(|step| step.line.contains("\"child\"")) {
        names.insert("child".to_owned());
    }
    names
}

/// The same value with the names of the stubs in place of those of the children.
fn with_children(value: &Value, children: &BTreeSet<String>, number: usize) -> Value {
    match value {
        Value::String(text) if children.contains(text) => json!(format!("w{number}_{text}")),
        Value::Array(items) => {
            items.iter().map(|item| with_children(item, children, number)).collect()
        }
        Value::Object(fields) => {
            let task = fields.contains_key("taskReferenceName");
            let kept = |name: &str| task && (name == "taskReferenceName" || name == "name");
            let fields = fields.iter().map(|(name, item)| {
                let item =
                    if kept(name) { item.clone() } else { with_children(item, children, number) };
                (name.clone(), item)
            });
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// A child: what its one task gives is what it gives.
fn stub(name: &str, number: usize, tasks: &mut BTreeSet<String>) -> Value {
    let task = format!("d_{number}_stub");
    tasks.insert(task.clone());
    json!({ "name": format!("w{number}_{name}"), "version": 1, "schemaVersion": 2,
        "ownerEmail": "owner@example.com", "timeoutSeconds": 0,
        "tasks": [{ "name": task, "taskReferenceName": "stub", "type": "SIMPLE" }] })
}

fn task_definition(name: &str, registered: &[Value], number: usize) -> Value {
    let plain = name.strip_prefix(&format!("d_{number}_")).unwrap_or(name);
    let mut definition = json!({ "name": name, "retryCount": 0, "retryLogic": "FIXED",
        "retryDelaySeconds": 0, "timeoutSeconds": 0, "responseTimeoutSeconds": 600,
        "ownerEmail": "owner@example.com" });
    let given = registered.iter().find(|definition| definition["name"] == plain);
    for (field, value) in given.and_then(Value::as_object).into_iter().flatten() {
        if field != "name" {
            definition[field] = value.clone();
        }
    }
    definition
}

/// What the start request has beside name and input.
fn start_options(start: &Move, tasks: &BTreeSet<String>, number: usize) -> Map<String, Value> {
    let mut options = Map::new();
    if let Some(label) = start.options.get("correlation") {
        options.insert("correlationId".to_owned(), label.clone());
    }
    if let Some(priority) = start.options.get("priority") {
        options.insert("priority".to_owned(), priority.clone());
    }
    if let Some(domains) = start.options.get("domains").and_then(Value::as_object) {
        let local = domains.iter().map(|(task, domain)| {
            let renamed = format!("d_{number}_{task}");
            let name = if tasks.contains(&renamed) { renamed } else { task.clone() };
            (name, domain.clone())
        });
        options.insert("taskToDomain".to_owned(), Value::Object(local.collect()));
    }
    options
}

/// A definition with the short forms of the scenarios replaced.
fn spelled_out(value: Value) -> Value {
    let mut definition = match value {
        Value::Array(tasks) => json!({ "name": "flow", "tasks": tasks }),
        definition => definition,
    };
    spell_out(&mut definition);
    definition
}

fn spell_out(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.remove("ref") {
                members.entry("name").or_insert_with(|| reference.clone());
                members.insert("taskReferenceName".to_owned(), reference);
            }
            members.values_mut().for_each(spell_out);
        }
        Value::Array(items) => items.iter_mut().for_each(spell_out),
        _ => {}
    }
}
