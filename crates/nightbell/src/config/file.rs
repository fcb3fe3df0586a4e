//! Reads `nightbell.toml`: finds every unknown key and every impossible value, with line and column.
//!
//! A key that is not in the list is an error, never ignored: a misspelt limit is no limit.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::problem::{ConfigError, Origin, Problem};
use super::value::Given;
use super::{SETTINGS, Setting, process_env};

/// The file that is read when none is named and it exists.
const DEFAULT_FILE: &str = "nightbell.toml";

/// The text of a configuration file, with the name to blame it by.
#[derive(Debug)]
pub(crate) struct File {
    /// The path as given.
    pub(crate) name: String,
    /// The content.
    pub(crate) text: String,
}

impl File {
    /// Reads the file that the option names, or `NIGHTBELL_CONFIG`, or `nightbell.toml` in the
    /// current folder if there is one.
    ///
    /// # Errors
    /// A file that was asked for cannot be read.
    pub(crate) fn find(flag: Option<&Path>) -> Result<Option<Self>, ConfigError> {
        let env = process_env("NIGHTBELL_CONFIG").filter(|path| !path.is_empty());
        let (path, origin) = match (flag, env) {
            (Some(path), _) => (path.to_owned(), Some(Origin::Flag("config".to_owned()))),
            (None, Some(path)) => {
                (PathBuf::from(path), Some(Origin::Env("NIGHTBELL_CONFIG".to_owned())))
            }
            (None, None) => (PathBuf::from(DEFAULT_FILE), None),
        };
        let name = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self { name, text })),
            Err(error) if origin.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ConfigError {
                problems: vec![Problem {
                    origin: origin.unwrap_or(Origin::Default),
                    message: format!("cannot read {name}: {error}"),
                    hint: "`nightbell config` prints a file to start from".to_owned(),
                }],
            }),
        }
    }
}

/// What the file says about each setting.
pub(super) type Said = BTreeMap<&'static str, (Given, Origin)>;

/// Reads the text; whatever is wrong is added to `problems` and left out.
pub(super) fn read(file: &File, problems: &mut Vec<Problem>) -> Said {
    let mut said = Said::new();
    let table = match DeTable::parse(&file.text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            problems.push(Problem {
                origin: place(file, error.span().unwrap_or_default()),
                message: error.message().trim().to_owned(),
                hint: "the file is written in TOML: https://toml.io".to_owned(),
            });
            return said;
        }
    };
    for (key, value) in &table {
        let name: &str = key.get_ref();
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == name) else {
            problems.push(unknown(file, key.span(), name));
            continue;
        };
        let origin = place(file, value.span());
        match given(setting, value) {
            Some(given) => _ = said.insert(setting.key, (given, origin)),
            None => problems.push(Problem {
                origin,
                message: format!("{name}: expected {}", expected(setting)),
                hint: format!("such as {name} = {}", super::template::literal(setting)),
            }),
        }
    }
    // The table is sorted by key; people read from the top.
    problems.sort_by_key(|problem| match &problem.origin {
        Origin::File { line, column, .. } => (*line, *column),
        _ => (0, 0),
    });
    said
}

fn unknown(file: &File, span: Range<usize>, name: &str) -> Problem {
    let hint = match nearest(name, SETTINGS.iter().map(|setting| setting.key)) {
        Some(key) => format!("did you mean `{key}`?"),
        None => "`nightbell config` lists every setting".to_owned(),
    };
    Problem { origin: place(file, span), message: format!("there is no setting `{name}`"), hint }
}

/// The texts of a value, or nothing if it is of a shape that the setting cannot have.
fn given(setting: &Setting, value: &Spanned<DeValue<'_>>) -> Option<Given> {
    match value.get_ref() {
        DeValue::Array(items) if setting.many => {
            let texts: Option<Vec<_>> = items.iter().map(|item| text(item.get_ref())).collect();
            texts.map(Given::Many)
        }
        // A table names its entries: [sql.orders] with a url, or orders = "…" under [sql].
        DeValue::Table(entries) if setting.many => {
            let texts: Option<Vec<_>> = entries
                .iter()
                .map(|(name, entry)| {
                    let told = url(entry.get_ref());
                    let told = told.or_else(|| members(entry.get_ref()).filter(|_| setting.tables));
                    Some(format!("{}={}", name.get_ref(), told?))
                })
                .collect();
            texts.map(Given::Many)
        }
        DeValue::Float(number) if !setting.many => Some(Given::One(number.as_str().to_owned())),
        other => text(other).map(|text| Given::new(&[text], setting.many)),
    }
}

fn url(entry: &DeValue<'_>) -> Option<String> {
    match entry {
        DeValue::Table(members) => {
            let only = members.iter().next().filter(|_| members.len() == 1);
            only.filter(|(key, _)| key.get_ref() == "url")
                .and_then(|(_, value)| text(value.get_ref()))
        }
        other => text(other),
    }
}

/// A table of texts, numbers and truths as JSON.
fn members(entry: &DeValue<'_>) -> Option<String> {
    let DeValue::Table(members) = entry else { return None };
    let mut object = serde_json::Map::new();
    for (name, value) in members {
        let value = match value.get_ref() {
            DeValue::Boolean(truth) => (*truth).into(),
            other => text(other)?.into(),
        };
        object.insert(name.get_ref().to_string(), value);
    }
    Some(serde_json::Value::Object(object).to_string())
}

fn text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        _ => None,
    }
}

fn expected(setting: &Setting) -> &'static str {
    if setting.many { "a list of texts" } else { "a text or a number" }
}

/// Line and column, from 1, of the beginning of a span of bytes.
fn place(file: &File, span: Range<usize>) -> Origin {
    let before = file.text.get(..span.start).unwrap_or(&file.text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    Origin::File { name: file.name.clone(), line, column }
}
