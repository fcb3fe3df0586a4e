//! Definitions that others wrote, found in the .json and .md files of a folder, made into cases.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::case::{Act, Action, Case, When, Worker};

/// What a folder has.
pub(super) struct Found {
    pub(super) cases: Vec<Case>,
    /// Definitions that are not run, each with the reason.
    pub(super) skipped: Vec<String>,
}

/// Task types that neither a worker nor this machine can answer: they call models, agents and clouds.
const OUT_OF_REACH: [&str; 24] = [
    "LLM_",
    "AGENT",
    "CALL_MCP_TOOL",
    "LIST_MCP_TOOLS",
    "GENERATE_",
    "GET_AGENT_CARD",
    "CANCEL_AGENT",
    "KAFKA_PUBLISH",
    "GRPC",
    "JDBC",
    "MCP",
    "A2A",
    "GET_DOCUMENT",
    // Of Orkes, or of this server alone: there a type of this name waits for workers.
    "GET_SIGNED_JWT",
    "NOTIFY",
    "OPS_GENIE",
    "INCIDENT",
    "UPDATE_SECRET",
    "BUSINESS_RULE",
    "SENDGRID",
    "QUERY_PROCESSOR",
    "ALERTING",
    "WAIT_FOR_WEBHOOK",
    "YIELD",
];

/// Reads all definitions below the folder; calls by HTTP go to the stand-in. The names of the cases
/// count from `first` on.
pub(super) fn read(folder: &Path, stand_in: &str, first: usize) -> anyhow::Result<Found> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let mut definitions: Vec<(String, Value)> = Vec::new();
    for file in &files {
        // Not every file is text; what cannot be read holds no definition.
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        let name = file.strip_prefix(folder).unwrap_or(file).display().to_string();
        let kind = file.extension().unwrap_or_default();
        let blocks: Vec<String> = if kind == "md" {
            let blocks = text.split("```json").skip(1);
            blocks.filter_map(|rest| rest.split("```").next().map(str::to_owned)).collect()
        } else if kind == "rs" {
            literals(&text)
        } else {
            vec![text]
        };
        for block in blocks {
            if let Ok(value) = serde_json::from_str(&block) {
                gather(&value, &name, &mut definitions);
            }
        }
    }
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    for (_, definition) in &definitions {
        let name = definition["name"].as_str().unwrap_or_default().to_owned();
        known.entry(name).or_insert_with(|| definition.clone());
    }
    let mut found = Found { cases: Vec::new(), skipped: Vec::new() };
    let mut seen = BTreeSet::new();
    for (file, definition) in &definitions {
        if !seen.insert(definition.to_string()) {
            continue;
        }
        let name = definition["name"].as_str().unwrap_or_default();
        let mut family = vec![definition.clone()];
        relatives(definition, &known, &mut family);
        if let Some(kind) = family.iter().find_map(out_of_reach) {
            found.skipped.push(format!("{file}: {name}: {kind}"));
            continue;
        }
        family.reverse();
        for variant in 0..3 {
            let number = first + found.cases.len();
            found.cases.push(case(number, &format!("{file}:{name}"), &family, variant, stand_in));
        }
    }
    Ok(found)
}

fn list(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            list(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|kind| ["json", "md", "rs"].iter().any(|known| kind == *known))
        {
            files.push(path);
        }
    }
    Ok(())
}

/// What stands in `json!(…)` in a source file, in the form of a document. One that holds an
/// expression of the language is no document, and is passed over by whoever parses it.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, start) in source.match_indices("json!(") {
        let (mut depth, mut quoted, mut escaped) = (1_usize, false, false);
        let mut document = String::new();
        for letter in source[at + start.len()..].chars() {
            match letter {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth -= 1,
                ']' | '}' if !quoted => {
                    // The last member may be followed by a comma there.
                    let kept = document.trim_end().trim_end_matches(',').len();
                    document.truncate(kept);
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
            document.push(letter);
        }
        found.push(document);
    }
    found
}

/// Takes each workflow definition out of a document.
fn gather(value: &Value, file: &str, definitions: &mut Vec<(String, Value)>) {
    let tasks = value["tasks"].as_array();
    let named = tasks.is_some_and(|tasks| {
        !tasks.is_empty() && tasks.iter().all(|task| task["taskReferenceName"].is_string())
    });
    if named && value["name"].is_string() {
        definitions.push((file.to_owned(), value.clone()));
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather(item, file, definitions)),
        Value::Object(fields) => {
            fields.values().for_each(|item| gather(item, file, definitions));
        }
        _ => {}
    }
}

/// Adds the definitions that one starts, and those that they start.
fn relatives(definition: &Value, known: &BTreeMap<String, Value>, family: &mut Vec<Value>) {
    let mut names = Vec::new();
    visit(definition, &mut |task| {
        if let Some(name) = task["subWorkflowParam"]["name"].as_str() {
            names.push(name.to_owned());
        }
    });
    names.extend(definition["failureWorkflow"].as_str().map(str::to_owned));
    for name in names {
        let Some(relative) = known.get(&name) else { continue };
        if family.iter().all(|member| member["name"] != relative["name"]) {
            family.push(relative.clone());
            relatives(relative, known, family);
        }
    }
}

/// Calls the visitor with every task in a value, at any depth.
pub(super) fn visit(value: &Value, visitor: &mut impl FnMut(&Value)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| visit(item, visitor)),
        Value::Object(fields) => {
            if fields.contains_key("taskReferenceName") {
                visitor(value);
            }
            fields.values().for_each(|item| visit(item, visitor));
        }
        _ => {}
    }
}

fn out_of_reach(definition: &Value) -> Option<String> {
    let mut found = None;
    visit(definition, &mut |task| {
        let kind = task["type"].as_str().unwrap_or_default();
        if OUT_OF_REACH.iter().any(|out| kind.starts_with(out)) {
            found = Some(kind.to_owned());
        }
        let sink = task["sink"].as_str().unwrap_or("conductor");
        if kind == "EVENT" && !sink.starts_with("conductor") {
            found = Some(format!("EVENT to {sink}"));
        }
    });
    found
}

fn case(number: usize, name: &str, family: &[Value], variant: usize, stand_in: &str) -> Case {
    let own: BTreeSet<&str> = family.iter().filter_map(|member| member["name"].as_str()).collect();
    let mut tasks = BTreeSet::new();
    let workflows = family
        .iter()
        .map(|definition| {
            let mut renamed = renamed(definition, number, &own, stand_in, &mut tasks);
            let name = definition["name"].as_str().unwrap_or_default();
            renamed["name"] = json!(format!("w{number}_{name}"));
            renamed["version"] = json!(1);
            renamed["ownerEmail"] = json!("owner@example.com");
            // One server needs longer than the other: what is in time must not depend on it.
            if renamed["timeoutSeconds"].as_u64().is_some_and(|limit| (1..600).contains(&limit)) {
                renamed["timeoutSeconds"] = json!(600);
            }
            renamed
        })
        .collect();
    let retries = usize::from(variant == 1);
    let definition = |name: &String| {
        json!({ "name": name, "retryCount": retries, "retryLogic": "FIXED", "retryDelaySeconds": 0,
            "timeoutSeconds": 0, "responseTimeoutSeconds": 600, "ownerEmail": "owner@example.com" })
    };
    let end = |act| Action { when: When::End, act };
    let actions = match variant {
        0 => Vec::new(),
        1 => vec![end(Act::Retry)],
        _ => vec![Action { when: When::Step(1), act: Act::Terminate }, end(Act::Restart)],
    };
    let worker = match variant {
        1 => Worker { seed: number as u64, fails: 30, gives_up: 5, outputs: Vec::new() },
        _ => Worker::honest(),
    };
    Case {
        name: format!("{name} ({variant})"),
        tasks: tasks.iter().map(definition).collect(),
        workflows,
        later: Vec::new(),
        start: serde_json::Map::new(),
        input: json!({ "name": "someone", "count": 2, "list": [1, 2], "flag": true, "mod": 3, "oddEven": 1 }),
        worker,
        actions,
        script: None,
    }
}

/// The same definition under names of its own, without the hosts of others.
pub(super) fn renamed(
    value: &Value,
    number: usize,
    own: &BTreeSet<&str>,
    stand_in: &str,
    tasks: &mut BTreeSet<String>,
) -> Value {
    match value {
        Value::Array(items) => {
            items.iter().map(|item| renamed(item, number, own, stand_in, tasks)).collect()
        }
        Value::Object(fields) => {
            let mut object: serde_json::Map<String, Value> = fields
                .iter()
                .map(|(name, item)| (name.clone(), renamed(item, number, own, stand_in, tasks)))
                .collect();
            if fields.contains_key("taskReferenceName") {
                let kind = fields.get("type").and_then(Value::as_str).unwrap_or("SIMPLE");
                if kind == "SIMPLE"
                    && let Some(name) = fields.get("name").and_then(Value::as_str)
                {
                    let name = format!("d_{number}_{name}");
                    tasks.insert(name.clone());
                    object.insert("name".to_owned(), json!(name));
                }
                // A definition of a task that comes along would be another on each run.
                object.remove("taskDefinition");
            }
            for (holder, field) in [("subWorkflowParam", "name"), ("startWorkflow", "name")] {
                let name = object.get(holder).and_then(|param| param[field].as_str());
                if let Some(name) = name.filter(|name| own.contains(name)).map(str::to_owned) {
                    object[holder][field] = json!(format!("w{number}_{name}"));
                    if let Some(param) = object[holder].as_object_mut() {
                        param.remove("version");
                    }
                }
            }
            if let Some(name) = object.get("failureWorkflow").and_then(Value::as_str)
                && own.contains(name)
            {
                let name = format!("w{number}_{name}");
                object.insert("failureWorkflow".to_owned(), json!(name));
            }
            Value::Object(object)
        }
        Value::String(text) if text.starts_with("http://") || text.starts_with("https://") => {
            json!(local(text, stand_in))
        }
        other => other.clone(),
    }
}

/// The same address on the stand-in.
fn local(uri: &str, stand_in: &str) -> String {
    let Some((_, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    format!("http://{stand_in}{path}")
}
