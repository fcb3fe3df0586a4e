//! The files of scenarios: markdown, taken apart and put together again.

use serde_json::Value;

/// One `## title` and what stands under it.
pub(super) struct Section {
    pub title: String,
    pub workflows: Vec<Value>,
    pub tasks: Vec<Value>,
    pub steps: Vec<String>,
    pub expect: String,
    /// The text as written, without the expectation, in front of it and after it.
    text: (String, String),
}

impl Section {
    /// The section's text with an expectation.
    pub(super) fn with_expect(&self, expect: &str) -> String {
        let (before, after) = &self.text;
        if self.steps.is_empty() {
            return format!("{before}{after}");
        }
        let prose = match after.trim() {
            "" => String::new(),
            prose => format!("\n{prose}\n"),
        };
        format!("{}\n```expect\n{expect}```\n{prose}\n", before.trim_end())
    }
}

/// The sections of a file; the first is what stands before any title.
pub(super) fn sections(text: &str) -> Vec<Section> {
    let mut starts = vec![0];
    starts.extend(text.match_indices("\n## ").map(|(at, _)| at + 1));
    starts.push(text.len());
    starts.windows(2).map(|range| section(&text[range[0]..range[1]])).collect()
}

fn section(text: &str) -> Section {
    let title = text.lines().next().unwrap_or_default().trim_start_matches("## ").to_owned();
    let mut found = Section {
        title,
        workflows: Vec::new(),
        tasks: Vec::new(),
        steps: Vec::new(),
        expect: String::new(),
        text: (String::new(), String::new()),
    };
    let mut lines = text.split_inclusive('\n');
    let mut expected = false;
    while let Some(line) = lines.next() {
        let keep = if expected { &mut found.text.1 } else { &mut found.text.0 };
        let Some(info) = line.strip_prefix("```") else {
            keep.push_str(line);
            continue;
        };
        let body: String = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        if info.trim() == "expect" {
            (found.expect, expected) = (body, true);
            continue;
        }
        keep.push_str(line);
        keep.push_str(&body);
        keep.push_str("```\n");
        let json = || match serde_json::from_str(&body) {
            Ok(value) => value,
            Err(error) => panic!("{}: {error} in\n{body}", found.title),
        };
        match info.trim() {
            "json workflow" => found.workflows.push(spelled_out(json())),
            "json tasks" => {
                let Value::Array(tasks) = json() else { panic!("a list of task definitions") };
                found.tasks = tasks;
            }
            "steps" => {
                let steps = body.lines().map(str::trim);
                found.steps = steps.filter(|step| !step.is_empty()).map(str::to_owned).collect();
            }
            other => panic!("{}: a block of an unknown kind: {other}", found.title),
        }
    }
    found
}

/// A definition with the short forms of the scenarios replaced.
fn spelled_out(value: Value) -> Value {
    let mut definition = match value {
        Value::Array(tasks) => serde_json::json!({ "name": "flow", "tasks": tasks }),
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
