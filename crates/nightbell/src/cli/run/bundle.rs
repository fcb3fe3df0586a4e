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
/// Bytes of a bundle, unpacked: all of it is held in memory, where it takes a few times as much.
const BYTES_MAX: u64 = 256 << 20;
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
    ///
    /// # Errors
    /// It is larger than what is read again.
    pub(super) fn pack(self) -> anyhow::Result<Vec<u8>> {
        self.pack_within(BYTES_MAX)
    }

    fn pack_within(mut self, most: u64) -> anyhow::Result<Vec<u8>> {
        self.manifest.format = FORMAT;
        let mut lines = vec![Line::Manifest(self.manifest)];
        lines.extend(self.tasks.into_iter().map(Line::Task));
        lines.extend(self.schemas.into_iter().map(Line::Schema));
        lines.extend(self.runs.into_iter().map(Line::Run));
        lines.extend(self.histories.into_iter().map(Line::History));
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        let mut bytes = 0;
        for line in lines {
            let mut line = serde_json::to_vec(&line)?;
            line.push(b'\n');
            bytes += line.len() as u64;
            if bytes > most {
                let hint =
                    "export its sub-workflows by their own ids, or runs with smaller payloads";
                let message = format!("the bundle is larger than {most} bytes, unpacked");
                return Err(Failure::error(message).with_hint(hint).into());
            }
            packed.write_all(&line)?;
        }
        Ok(packed.finish()?)
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is not there, no bundle, damaged, too large, or of a later release.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        Self::read_within(path, BYTES_MAX)
    }

    fn read_within(path: &Path, most: u64) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::error(format!("{}: {why}", path.display()));
        let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
        let mut text = BufReader::new(GzDecoder::new(file).take(most.saturating_add(1)));
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
            if text.get_ref().limit() == 0 {
                return Err(wrong(format!("larger than {most} bytes, unpacked")));
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
        if bundle.runs.is_empty() {
            return Err(wrong("a bundle without a run".to_owned()));
        }
        Ok(bundle)
    }

    /// Replaces what paths lead to in any run, and wherever else the same values occur. Names of members are
    /// values, too, unless a definition speaks of them.
    ///
    /// # Errors
    /// A path that leads to nothing: a slip of the pen must not let a secret out.
    pub(super) fn redact(&mut self, paths: &[String]) -> Result<(), Failure> {
        let (mut found, mut names) = (BTreeSet::new(), BTreeSet::new());
        for path in paths {
            let steps: Vec<&str> = path.split('.').collect();
            let mut meets = false;
            for run in &mut self.runs {
                meets |= follow(run, Place::Around, &steps, &mut |value, place| {
                    leaves(value, place, &mut found, &mut names);
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
        let known = self.words();
        names.retain(|name| !known.speak_of(name));
        let hidden = Hidden::of(found, names);
        for steps in paths.iter().map(|path| path.split('.').collect::<Vec<_>>()) {
            for run in &mut self.runs {
                follow(run, Place::Around, &steps, &mut |value, place| {
                    hidden.replace(value, place.chosen());
                });
            }
        }
        let documents = self.tasks.iter_mut().chain(&mut self.schemas);
        documents.for_each(|value| hidden.replace(value, Place::Definition));
        let told = self.runs.iter_mut().chain(&mut self.histories);
        told.for_each(|value| hidden.replace(value, Place::Around));
        self.manifest.redacted = paths.to_vec();
        Ok(())
    }

    /// What authors have written.
    fn words(&self) -> Words {
        let mut words = Words::default();
        let written = self.runs.iter().map(|run| &run["workflowDefinition"]);
        written.chain(&self.tasks).chain(&self.schemas).for_each(|it| words.read(&it.to_string()));
        words
    }
}

/// The words of definitions.
#[derive(Default)]
struct Words(BTreeSet<String>);

impl Words {
    fn of(text: &str) -> impl Iterator<Item = &str> {
        text.split(|it: char| !it.is_alphanumeric() && it != '_').filter(|it| !it.is_empty())
    }

    fn read(&mut self, text: &str) {
        self.0.extend(Self::of(text).map(str::to_owned));
    }

    /// Whether they have all words of a name. A number is the same by chance.
    fn speak_of(&self, name: &str) -> bool {
        let is_word = name.chars().any(char::is_alphabetic);
        is_word && Self::of(name).all(|word| self.0.contains(word))
    }
}

/// Visits what steps lead to from a run; tells whether that is anything. `tasks` is followed by a
/// reference name, and there `input` and `output` stand for the protocol's names.
fn follow(
    value: &mut Value,
    place: Place,
    steps: &[&str],
    visit: &mut impl FnMut(&mut Value, Place),
) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        visit(value, place);
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
                    met |= follow(member, place.below(name), rest, visit);
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
                    met |= follow(item, place, rest, visit);
                }
            }
            met
        }
        _ => false,
    }
}

/// The texts and numbers of a value, and the names of its members that no protocol gave them.
fn leaves(value: &Value, place: Place, found: &mut BTreeSet<String>, names: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => _ = found.insert(text.clone()),
        Value::Number(number) => _ = found.insert(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, place, found, names)),
        Value::Object(members) => {
            for (name, member) in members {
                if place == Place::Payload {
                    names.insert(name.clone());
                }
                leaves(member, place.below(name), found, names);
            }
        }
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
    /// Of that, what a path leads to.
    Chosen,
    /// What went in and came out.
    Payload,
    /// What somebody wrote for every run.
    Definition,
}

impl Place {
    /// Where the members of this name stand.
    fn below(self, name: &str) -> Self {
        match (self, name) {
            (
                Self::Around | Self::Chosen,
                "input" | "output" | "inputData" | "outputData" | "variables",
            ) => Self::Payload,
            (Self::Around, "workflowDefinition" | "workflowTask" | "taskDefinition") => {
                Self::Definition
            }
            _ => self,
        }
    }

    /// The same, where a path leads there.
    const fn chosen(self) -> Self {
        match self {
            Self::Payload => Self::Payload,
            Self::Around | Self::Chosen | Self::Definition => Self::Chosen,
        }
    }

    /// Whether what is hidden is not there by chance.
    const fn is_meant(self) -> bool {
        matches!(self, Self::Payload | Self::Chosen)
    }
}

/// Values that are not to be seen, with what stands for each: the same for the same value, so that
/// what was equal still is.
struct Hidden {
    whole: BTreeMap<String, String>,
    /// Names of members, which may be those that the server itself uses around payloads.
    names: BTreeMap<String, String>,
    /// Those that are looked for everywhere, longest first.
    within: Vec<Within>,
}

/// What is looked for within texts.
struct Within {
    text: String,
    stands: String,
    /// It is a name alone.
    is_name: bool,
}

/// A text as it may stand within another: as it is, as JSON writes it, and in base64.
fn forms(text: &str) -> BTreeSet<String> {
    let json = Value::from(text).to_string();
    let json = json.trim_start_matches('"').trim_end_matches('"').to_owned();
    let base64 = [STANDARD_NO_PAD, URL_SAFE_NO_PAD].map(|engine| engine.encode(text));
    BTreeSet::from_iter([text.to_owned(), json]).into_iter().chain(base64).collect()
}

impl Hidden {
    fn of(found: BTreeSet<String>, names: BTreeSet<String>) -> Self {
        let all: BTreeSet<&String> = found.union(&names).filter(|text| !text.is_empty()).collect();
        let all: BTreeMap<String, String> = all
            .into_iter()
            .enumerate()
            .map(|(index, text)| (text.clone(), format!("secret#{}", index + 1)))
            .collect();
        let long = all.iter().filter(|(text, _)| text.chars().count() >= WITHIN_MIN);
        let mut within: Vec<Within> = long
            .flat_map(|(hidden, stands)| {
                let is_name = !found.contains(hidden);
                let within = move |text| Within { text, stands: stands.clone(), is_name };
                forms(hidden).into_iter().map(within)
            })
            .collect();
        within.sort_by_key(|it| std::cmp::Reverse(it.text.len()));
        let of = |texts: BTreeSet<String>| {
            let stands = |text: String| all.get(&text).cloned().map(|stands| (text, stands));
            texts.into_iter().filter_map(stands).collect()
        };
        Self { whole: of(found), names: of(names), within }
    }

    fn replace(&self, value: &mut Value, place: Place) {
        match value {
            Value::String(text) => {
                let stands =
                    self.whole.get(text.as_str()).or_else(|| self.names.get(text.as_str()));
                match stands {
                    Some(stands) if place.is_meant() => text.clone_from(stands),
                    _ => self.replace_within(text, true),
                }
            }
            Value::Number(number) if place.is_meant() => {
                if let Some(name) = self.whole.get(&number.to_string()) {
                    *value = name.as_str().into();
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace(item, place)),
            Value::Object(members) => {
                for (mut name, mut member) in std::mem::take(members) {
                    self.replace(&mut member, place.below(&name));
                    let is_payload = place == Place::Payload;
                    match self.names.get(&name).filter(|_| is_payload) {
                        Some(stands) => name.clone_from(stands),
                        None => self.replace_within(&mut name, is_payload),
                    }
                    members.insert(name, member);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn replace_within(&self, text: &mut String, names: bool) {
        for it in self.within.iter().filter(|it| names || !it.is_name) {
            if text.contains(it.text.as_str()) {
                *text = text.replace(it.text.as_str(), &it.stands);
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
    fn names_of_members_are_hidden_where_they_are_data() {
        let cards = json!({ "4111-1111": { "holder": "Ann Card" }, "42": 1, "status": "fine" });
        let mut bundle = Bundle {
            runs: vec![json!({
                "status": "COMPLETED",
                "input": { "cards": cards, "42": "kept" },
                "tasks": [{ "referenceTaskName": "pay", "status": "COMPLETED",
                    "inputData": { "copy": cards, "which": "4111-1111", "count": 42 },
                    "reasonForIncompletion": "the card 4111-1111 is not known" }],
                "workflowDefinition": { "timeoutSeconds": 42, "outputParameters": {
                    "who": "${workflow.input.cards.first.holder}" } },
            })],
            ..Bundle::default()
        };
        bundle.redact(&["input.cards".to_owned()]).unwrap();
        let (run, text) = (&bundle.runs[0], text_of(&bundle));
        assert!(!text.contains("4111") && !text.contains("Ann Card"), "{text}");
        assert_eq!(run["status"], "COMPLETED", "what the server says of it stays");
        assert_eq!(run["workflowDefinition"]["timeoutSeconds"], 42);
        assert_eq!(run["tasks"][0]["inputData"]["count"], 42, "a name is no number");
        assert_eq!(run["tasks"][0]["inputData"]["copy"], run["input"]["cards"]);
        let which = run["tasks"][0]["inputData"]["which"].as_str().unwrap();
        let holder = &run["input"]["cards"][which]["holder"];
        assert!(
            holder.as_str().unwrap().starts_with("secret#"),
            "a definition speaks of holders: {text}"
        );
    }

    #[test]
    fn what_is_too_large_is_neither_written_nor_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.nbz");
        let bundle = || Bundle {
            runs: vec![json!({ "workflowId": "r", "output": "a".repeat(100_000) })],
            ..Bundle::default()
        };
        std::fs::write(&path, bundle().pack().unwrap()).unwrap();
        let unpacked = 100_400;
        assert!(Bundle::read_within(&path, unpacked).is_ok());
        for most in [1, 1000, 99_000] {
            let message = Bundle::read_within(&path, most).unwrap_err().message;
            assert!(message.ends_with(&format!("larger than {most} bytes, unpacked")), "{message}");
            let error = bundle().pack_within(most).unwrap_err();
            assert!(error.to_string().contains("larger than"), "{error}");
        }
    }

    #[test]
    fn a_path_leads_into_tasks_and_one_that_leads_nowhere_is_refused() {
        let run = || {
            json!({ "input": { "a": "aaaa" }, "tasks": [
            { "referenceTaskName": "get__1", "inputData": { "url": "http://k" } },
            { "referenceTaskName": "get__2", "inputData": { "url": "http://l", "ok": true } },
        ], "workflowDefinition": { "inputParameters": { "url": "${workflow.input.a}", "ok": true } } })
        };
        let redacted = |path: &str| {
            let mut bundle = Bundle { runs: vec![run()], ..Bundle::default() };
            bundle.redact(&[path.to_owned()]).map(|()| bundle.runs.remove(0))
        };
        let seen = redacted("tasks.get.input.url").unwrap().to_string();
        assert!(!seen.contains("http://") && seen.contains("aaaa"), "{seen}");
        let seen = redacted("tasks.get__2").unwrap();
        let inside = seen["tasks"][1]["inputData"].get("ok");
        assert_eq!(inside, Some(&Value::Null), "names that are no data stay");
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
