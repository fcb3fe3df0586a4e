//! A case: definitions, an input, how the worker answers, and what the operator does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::random::{Random, hash};

/// What is run on both servers. Names in it are unique among all cases.
pub(super) struct Case {
    /// How reports call it; `--only` finds it by this.
    pub(super) name: String,
    /// Task definitions.
    pub(super) tasks: Vec<Value>,
    /// Workflow definitions; the last one is started.
    pub(super) workflows: Vec<Value>,
    /// Later versions of it, which an operator may ask for.
    pub(super) later: Vec<Value>,
    /// What it is started with.
    pub(super) input: Value,
    /// Members of the start request beside its name and input.
    pub(super) start: Map<String, Value>,
    /// How the worker answers.
    pub(super) worker: Worker,
    /// What the operator does while it runs and after it has ended, in order.
    pub(super) actions: Vec<Action>,
    /// What happens instead, step by step.
    pub(super) script: Option<Vec<Move>>,
}

impl Case {
    /// The name of the definition that is started.
    pub(super) fn root(&self) -> &str {
        self.workflows.last().and_then(|root| root["name"].as_str()).unwrap_or_default()
    }

    /// What rules may ask of a case: the types of its tasks, what is optional or in a loop, and the
    /// acts of the operator; each between spaces.
    pub(super) fn traits(&self) -> String {
        let mut found = BTreeSet::new();
        for workflow in &self.workflows {
            traits_of(&workflow["tasks"], None, &mut found);
        }
        for action in &self.actions {
            found.insert(action.act.word().to_owned());
        }
        for step in self.script.iter().flatten().filter(|step| step.operates()) {
            found.insert(step.verb.clone());
        }
        format!(" {} ", found.into_iter().collect::<Vec<_>>().join(" "))
    }
}

fn traits_of(value: &Value, within: Option<&str>, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| traits_of(item, within, found)),
        Value::Object(fields) => {
            let kind = fields.get("type").and_then(Value::as_str);
            let kind = kind.filter(|_| fields.contains_key("taskReferenceName"));
            if let Some(kind) = kind {
                found.insert(kind.to_owned());
                found.extend(within.map(|within| format!("{within}/{kind}")));
                for flag in ["optional", "permissive"] {
                    if fields.get(flag) == Some(&json!(true)) {
                        found.insert(format!("{flag}/{kind}"));
                    }
                }
            }
            if fields.contains_key("keepLastN") {
                found.insert("keepLastN".to_owned());
            }
            let inner = kind.filter(|kind| ["DO_WHILE", "FORK_JOIN", "SWITCH"].contains(kind));
            fields.values().for_each(|item| traits_of(item, inner.or(within), found));
        }
        _ => {}
    }
}

/// One step of a scenario: `verb REFERENCE {JSON} "TEXT" option=VALUE`.
#[derive(Clone)]
pub(super) struct Move {
    pub(super) line: String,
    pub(super) verb: String,
    pub(super) words: Vec<String>,
    pub(super) quoted: Vec<String>,
    pub(super) json: Option<Value>,
    pub(super) options: BTreeMap<String, Value>,
}

impl Move {
    pub(super) fn read(line: &str) -> Self {
        let (verb, mut rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut step = Self {
            line: line.to_owned(),
            verb: verb.to_owned(),
            words: Vec::new(),
            quoted: Vec::new(),
            json: None,
            options: BTreeMap::new(),
        };
        rest = rest.trim_start();
        while !rest.is_empty() {
            let word = rest.split_whitespace().next().unwrap_or_default();
            let named = word.split_once('=').map(|(name, _)| name);
            let named = named.filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase()));
            let value = named.map_or(rest, |name| &rest[name.len() + 1..]);
            let mut stream = serde_json::Deserializer::from_str(value).into_iter::<Value>();
            let (value, length) = match stream.next() {
                Some(Ok(json)) => (Some(json), rest.len() - value.len() + stream.byte_offset()),
                _ => (None, word.len()),
            };
            match (named, value) {
                (Some(name), value) => {
                    let text = || json!(word[name.len() + 1..]);
                    step.options.insert(name.to_owned(), value.unwrap_or_else(text));
                }
                (None, Some(Value::String(text))) => step.quoted.push(text),
                (None, Some(json)) => step.json = Some(json),
                (None, None) => step.words.push(word.to_owned()),
            }
            rest = rest[length..].trim_start();
        }
        step
    }

    /// The task that it is about.
    pub(super) fn first(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Seconds from the start until it goes on, if it is about time.
    pub(super) fn seconds(&self) -> Option<f64> {
        let text = (self.verb == "at").then(|| self.first())?;
        let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        units.into_iter().find_map(|(unit, factor)| {
            let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
            Some(number * factor)
        })
    }

    /// Whether it is an act of the operator.
    pub(super) fn operates(&self) -> bool {
        ["pause", "resume", "terminate", "retry", "restart", "rerun", "skip", "reset-callbacks"]
            .contains(&self.verb.as_str())
    }
}

/// An act of the operator, and when.
pub(super) struct Action {
    pub(super) when: When,
    pub(super) act: Act,
}

/// When an operator acts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// After so many answers of the worker.
    Step(usize),
    /// When the execution has ended, for the n-th time.
    End,
}

/// What an operator does to the root execution.
#[derive(Clone)]
pub(super) enum Act {
    /// Pauses, looks and resumes.
    PauseResume,
    Terminate,
    Retry,
    Restart,
    /// Runs again from the first task with this reference name.
    Rerun(String),
    /// Skips a task that has not begun.
    Skip(String),
}

impl Act {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::PauseResume => "pause",
            Self::Terminate => "terminate",
            Self::Retry => "retry",
            Self::Restart => "restart",
            Self::Rerun(_) => "rerun",
            Self::Skip(_) => "skip",
        }
    }
}

/// How the worker answers: a function of the task alone, so that both servers get the same.
pub(super) struct Worker {
    pub(super) seed: u64,
    /// Percent of the answers that are failures.
    pub(super) fails: u64,
    /// Percent of the answers that are terminal failures.
    pub(super) gives_up: u64,
    /// What a reference name always gets as output, beside the usual.
    pub(super) outputs: Vec<(String, Value)>,
}

impl Worker {
    /// Never fails.
    pub(super) fn honest() -> Self {
        Self { seed: 0, fails: 0, gives_up: 0, outputs: Vec::new() }
    }

    /// The status and output for one attempt. After the operator has retried or restarted, `life`
    /// differs, and so may the answer.
    pub(super) fn answer(&self, name: &str, retry: u64, life: usize) -> (&'static str, Value) {
        let plain = name.split("__").next().unwrap_or(name);
        let mut random = Random::new(self.seed ^ hash(&format!("{name} {retry} {life}")));
        random.next();
        let roll = random.below(100);
        let number = random.below(5);
        if roll < self.gives_up {
            return ("FAILED_WITH_TERMINAL_ERROR", json!({ "gave": "up" }));
        }
        if roll < self.gives_up + self.fails {
            return ("FAILED", json!({ "failed": retry }));
        }
        let mut output = json!({ "n": number, "flag": number > 2, "text": format!("t{number}"),
            "list": [number, 1, 2], "map": { "a": number } });
        for (of, more) in &self.outputs {
            if of == plain
                && let (Some(output), Some(more)) = (output.as_object_mut(), more.as_object())
            {
                output.extend(more.clone());
            }
        }
        ("COMPLETED", output)
    }
}
