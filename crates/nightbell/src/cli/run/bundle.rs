//! Bundles of runs: what `run export` writes and `run replay` reads, gzip of one JSON value a line.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::failure::Failure;

/// The version of the format that is written.
const FORMAT: u32 = 1;
/// Bytes of a bundle that are read, unpacked.
const BYTES_MAX: u64 = 1 << 30;
/// Characters from which a redacted value is looked for inside other texts.
const WITHIN_MIN: usize = 4;

/// One line of a bundle.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "value")]
pub(super) enum Line {
    /// What there is; the first line.
    Manifest(Manifest),
    /// A task definition, as it is now.
    Task(Value),
    /// A schema that a definition names.
    Schema(Value),
    /// A run with its tasks and the definition that it obeyed; that which was asked for is the first.
    Run(Value),
    /// The commits of a run and what each did.
    History(Value),
}

/// What a bundle has.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Manifest {
    /// The version of the format.
    pub(super) format: u32,
    /// The run that was asked for.
    pub(super) run: String,
    /// When it was exported.
    pub(super) exported_at: String,
    /// The version of the command line that wrote it.
    pub(super) nightbell: String,
    /// The version of the server.
    pub(super) server: String,
    /// Names of the secrets that the definitions reference.
    pub(super) secrets: Vec<String>,
    /// The paths that were redacted.
    pub(super) redacted: Vec<String>,
    /// Sub-workflows that are not in it: removed, or beyond the bound.
    pub(super) missing: Vec<String>,
}

/// Everything in a bundle.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    pub(super) manifest: Manifest,
    pub(super) tasks: Vec<Value>,
    pub(super) schemas: Vec<Value>,
    pub(super) runs: Vec<Value>,
    pub(super) histories: Vec<Value>,
}

impl Bundle {
    /// Packs it.
    pub(super) fn pack(mut self) -> anyhow::Result<Vec<u8>> {
        self.manifest.format = FORMAT;
        let mut lines = vec![Line::Manifest(self.manifest)];
        lines.extend(self.tasks.into_iter().map(Line::Task));
        lines.extend(self.schemas.into_iter().map(Line::Schema));
        lines.extend(self.runs.into_iter().map(Line::Run));
        lines.extend(self.histories.into_iter().map(Line::History));
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        for line in &lines {
            serde_json::to_writer(&mut packed, line)?;
            packed.write_all(b"\n")?;
        }
        Ok(packed.finish()?)
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is not there, no bundle, damaged, too large, or of a later release.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::error(format!("{}: {why}", path.display()));
        let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
        let mut text = BufReader::new(GzDecoder::new(file).take(BYTES_MAX));
        let (mut bundle, mut line, mut number) = (Self::default(), String::new(), 0_usize);
        loop {
            line.clear();
            let hint = "`nightbell run export ID -o FILE` writes one";
            let read = text
                .read_line(&mut line)
                .map_err(|error| wrong(format!("not a bundle: {error}")).with_hint(hint))?;
            if read == 0 {
                break;
            }
            number += 1;
            let place = |error| wrong(format!("line {number}: {error}"));
            let format = |value: &Value| value["value"]["format"].as_u64().unwrap_or_default();
            if number == 1 {
                let first: Value = serde_json::from_str(&line).map_err(place)?;
                let later = format(&first);
                if first["kind"] == "manifest" && later > u64::from(FORMAT) {
                    let message =
                        format!("a bundle of format {later}; this release reads {FORMAT}");
                    return Err(wrong(message).with_hint("use a later nightbell"));
                }
            }
            match serde_json::from_str(&line).map_err(place)? {
                Line::Manifest(manifest) => bundle.manifest = manifest,
                Line::Task(task) => bundle.tasks.push(task),
                Line::Schema(schema) => bundle.schemas.push(schema),
                Line::Run(run) => bundle.runs.push(run),
                Line::History(history) => bundle.histories.push(history),
            }
        }
        if text.into_inner().limit() == 0 {
            return Err(wrong(format!("larger than {BYTES_MAX} bytes, unpacked")));
        }
        if bundle.runs.is_empty() {
            return Err(wrong("a bundle without a run".to_owned()));
        }
        Ok(bundle)
    }

    /// Replaces what paths lead to in any run, and wherever else the same values occur.
    ///
    /// # Errors
    /// A path that leads to nothing: a slip of the pen must not let a secret out.
    pub(super) fn redact(&mut self, paths: &[String]) -> Result<(), Failure> {
        let mut found = BTreeSet::new();
        for path in paths {
            let steps: Vec<&str> = path.split('.').collect();
            let mut meets = false;
            for run in &mut self.runs {
                meets |= follow(run, &steps, &mut |value| {
                    leaves(value, &mut found);
                    if value.is_string() || value.is_number() {
                        return;
                    }
                    // What has no text of its own is still not to be seen.
                    blank(value);
                });
            }
            if !meets {
                let message = format!("--redact {path} leads to nothing in these runs");
                let hint = "write input.card, output.token, variables.key or tasks.REF.input.url; \
                            * is any member";
                return Err(Failure::error(message).with_hint(hint));
            }
        }
        let hidden = Hidden::of(found);
        for steps in paths.iter().map(|path| path.split('.').collect::<Vec<_>>()) {
            for run in &mut self.runs {
                follow(run, &steps, &mut |value| hidden.replace(value, Place::Payload));
            }
        }
        let documents = self.tasks.iter_mut().chain(&mut self.schemas);
        documents.for_each(|value| hidden.replace(value, Place::Definition));
        let told = self.runs.iter_mut().chain(&mut self.histories);
        told.for_each(|value| hidden.replace(value, Place::Around));
        self.manifest.redacted = paths.to_vec();
        Ok(())
    }
}

/// Visits what steps lead to from a run; tells whether that is anything. `tasks` is followed by a
/// reference name, and there `input` and `output` stand for the protocol's names.
fn follow(value: &mut Value, steps: &[&str], visit: &mut impl FnMut(&mut Value)) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        visit(value);
        return true;
    };
    match value {
        Value::Object(members) => {
            let alias = match *step {
                "input" if members.contains_key("inputData") => "inputData",
                "output" if members.contains_key("outputData") => "outputData",
                step => step,
            };
            let mut met = false;
            for (name, member) in members.iter_mut() {
                if *step == "*" || name == alias {
                    met |= follow(member, rest, visit);
                }
            }
            met
        }
        Value::Array(items) => {
            let mut met = false;
            for (index, item) in items.iter_mut().enumerate() {
                let reference = item["referenceTaskName"].as_str().unwrap_or_default();
                let bare = reference.split("__").next().unwrap_or_default();
                if *step == "*" || *step == reference || *step == bare || *step == index.to_string()
                {
                    met |= follow(item, rest, visit);
                }
            }
            met
        }
        _ => false,
    }
}

/// The texts and numbers of a value.
fn leaves(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => _ = found.insert(text.clone()),
        Value::Number(number) => _ = found.insert(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(members) => members.values().for_each(|member| leaves(member, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Takes what is true or false out of a value.
fn blank(value: &mut Value) {
    match value {
        Value::Bool(_) => *value = Value::Null,
        Value::Array(items) => items.iter_mut().for_each(blank),
        Value::Object(members) => members.values_mut().for_each(blank),
        Value::Null | Value::String(_) | Value::Number(_) => {}
    }
}

/// Where a value stands: numbers and short texts are the same by chance, but not in payloads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// What the server says of a run.
    Around,
    /// What went in and came out.
    Payload,
    /// What somebody wrote for every run.
    Definition,
}

impl Place {
    /// Where the members of this name stand.
    fn below(self, name: &str) -> Self {
        match (self, name) {
            (Self::Around, "input" | "output" | "inputData" | "outputData" | "variables") => {
                Self::Payload
            }
            (Self::Around, "workflowDefinition" | "workflowTask" | "taskDefinition") => {
                Self::Definition
            }
            _ => self,
        }
    }
}

/// Values that are not to be seen, with what stands for each: the same for the same value, so that
/// what was equal still is.
struct Hidden {
    whole: BTreeMap<String, String>,
    /// Those that are looked for everywhere, longest first.
    within: Vec<(String, String)>,
}

/// A text as it may stand within another: as it is, as JSON writes it, and in base64.
fn forms(text: &str) -> BTreeSet<String> {
    let json = Value::from(text).to_string();
    let json = json.trim_start_matches('"').trim_end_matches('"').to_owned();
    let base64 = [STANDARD_NO_PAD, URL_SAFE_NO_PAD].map(|engine| engine.encode(text));
    BTreeSet::from_iter([text.to_owned(), json]).into_iter().chain(base64).collect()
}

impl Hidden {
    fn of(found: BTreeSet<String>) -> Self {
        let named = found.into_iter().filter(|text| !text.is_empty()).enumerate();
        let whole: BTreeMap<String, String> =
            named.map(|(index, text)| (text, format!("secret#{}", index + 1))).collect();
        let long = whole.iter().filter(|(text, _)| text.chars().count() >= WITHIN_MIN);
        let mut within: Vec<(String, String)> = long
            .flat_map(|(text, name)| forms(text).into_iter().map(move |form| (form, name.clone())))
            .collect();
        within.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Self { whole, within }
    }

    fn replace(&self, value: &mut Value, place: Place) {
        match value {
            Value::String(text) => match self.whole.get(text.as_str()) {
                Some(name) if place == Place::Payload => text.clone_from(name),
                _ => self.replace_within(text),
            },
            Value::Number(number) if place == Place::Payload => {
                if let Some(name) = self.whole.get(&number.to_string()) {
                    *value = name.as_str().into();
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace(item, place)),
            Value::Object(members) => {
                for (mut name, mut member) in std::mem::take(members) {
                    self.replace(&mut member, place.below(&name));
                    self.replace_within(&mut name);
                    members.insert(name, member);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn replace_within(&self, text: &mut String) {
        for (hidden, name) in &self.within {
            if text.contains(hidden.as_str()) {
                *text = text.replace(hidden.as_str(), name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;

    use super::Bundle;

    fn text_of(bundle: &Bundle) -> String {
        let all = [&bundle.tasks, &bundle.schemas, &bundle.runs, &bundle.histories];
        all.into_iter().flatten().map(Value::to_string).collect()
    }

    #[test]
    fn a_bundle_holds_none_of_many_planted_secrets() {
        let secrets: Vec<String> = (0..200).map(|n| format!("hunter-{n:03}-x")).collect();
        let planted: Vec<Value> = secrets
            .iter()
            .map(|it| {
                json!({
                    "referenceTaskName": "call",
                    "inputData": { "header": format!("Bearer {it}"), "list": [it], it.as_str(): 1 },
                    "outputData": { "echo": { "deep": format!("\"{it}\"") } },
                    "reasonForIncompletion": format!("{it} was refused"),
                    "externalInputPayloadStoragePath": STANDARD_NO_PAD.encode(it),
                })
            })
            .collect();
        let mut bundle = Bundle {
            runs: vec![
                json!({ "input": { "keys": secrets, "id": 12, "kept": "fine" }, "tasks": planted,
                               "output": { "id": 12, "other": 120 },
                               "workflowDefinition": { "version": 12 } }),
            ],
            histories: vec![json!([{ "facts": secrets }])],
            ..Bundle::default()
        };
        bundle.redact(&["input.keys".to_owned(), "input.id".to_owned()]).unwrap();
        let text = text_of(&bundle);
        assert!(secrets.iter().all(|it| !text.contains(it.as_str())), "{text}");
        assert!(!text.contains("hunter"), "{text}");
        assert!(secrets.iter().all(|it| !text.contains(&STANDARD_NO_PAD.encode(it))), "{text}");
        let run = &bundle.runs[0];
        assert_eq!(run["input"]["kept"], "fine");
        assert_eq!(run["workflowDefinition"]["version"], 12, "that is by chance");
        assert_eq!(run["output"]["other"], 120, "a short number is no part of another");
        assert_eq!(run["input"]["id"], run["output"]["id"], "what was equal still is");
        assert_eq!(run["tasks"][7]["inputData"]["list"][0], run["input"]["keys"][7]);
    }

    #[test]
    fn a_path_leads_into_tasks_and_one_that_leads_nowhere_is_refused() {
        let run = || {
            json!({ "input": { "a": "aaaa" }, "tasks": [
            { "referenceTaskName": "get__1", "inputData": { "url": "http://k" } },
            { "referenceTaskName": "get__2", "inputData": { "url": "http://l", "ok": true } },
        ] })
        };
        let redacted = |path: &str| {
            let mut bundle = Bundle { runs: vec![run()], ..Bundle::default() };
            bundle.redact(&[path.to_owned()]).map(|()| bundle.runs.remove(0))
        };
        let seen = redacted("tasks.get.input.url").unwrap().to_string();
        assert!(!seen.contains("http://") && seen.contains("aaaa"), "{seen}");
        let seen = redacted("tasks.get__2.input").unwrap();
        assert_eq!(seen["tasks"][0]["inputData"]["url"], "http://k");
        assert_eq!(seen["tasks"][1]["inputData"]["ok"], Value::Null);
        assert!(redacted("*.a").is_ok());
        for path in ["input.b", "tasks.put.input", "", "input.a.b"] {
            assert!(redacted(path).is_err(), "{path:?} leads to nothing");
        }
    }

    #[test]
    fn what_is_packed_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.nbz");
        let bundle = Bundle {
            tasks: vec![json!({ "name": "t" })],
            runs: vec![json!({ "workflowId": "r" })],
            ..Bundle::default()
        };
        std::fs::write(&path, bundle.pack().unwrap()).unwrap();
        let read = Bundle::read(&path).unwrap();
        assert_eq!(
            (read.runs, read.tasks),
            (vec![json!({ "workflowId": "r" })], vec![json!({ "name": "t" })])
        );
        let packed = std::fs::read(&path).unwrap();
        for (damaged, says) in [
            (packed[..packed.len() / 2].to_vec(), "not a bundle"),
            (b"{}".to_vec(), "not a bundle"),
            (Bundle::default().pack().unwrap(), "without a run"),
        ] {
            std::fs::write(&path, damaged).unwrap();
            let message = Bundle::read(&path).unwrap_err().message;
            assert!(message.contains(says), "{message}");
        }
    }
}
