//! Reads what commands are given: documents from files or standard input, JSON from arguments.

use std::io::Read as _;

use serde_json::Value;

use super::failure::Failure;

/// Standard input, in the place of a file.
const STDIN: &str = "-";

/// One document, and where it was found.
#[derive(Debug)]
pub(super) struct Document {
    /// The file; with the number of the document, from 1, if the file holds a list.
    pub(super) origin: String,
    /// The document.
    pub(super) value: Value,
}

/// Reads files that hold one object or a list of objects each; `-` is standard input.
///
/// # Errors
/// A file cannot be read, or holds something else.
pub(super) fn documents(files: &[String]) -> Result<Vec<Document>, Failure> {
    if files.iter().filter(|file| *file == STDIN).count() > 1 {
        return Err(Failure::usage("standard input can be read only once"));
    }
    let mut documents = Vec::new();
    for file in files {
        let origin = if file == STDIN { "standard input" } else { file };
        let value = parse(origin, &read(file)?)?;
        match value {
            Value::Array(items) => {
                for (number, value) in (1..).zip(items) {
                    documents.push(object(format!("{origin}, item {number}"), value)?);
                }
            }
            value => documents.push(object(origin.to_owned(), value)?),
        }
    }
    if documents.is_empty() {
        return Err(Failure::usage("there is nothing in the input"));
    }
    Ok(documents)
}

/// Reads JSON that is given as an argument: itself, `@FILE`, or `-` for standard input.
///
/// # Errors
/// The file cannot be read, or the text is not JSON.
pub(super) fn argument(option: &str, text: &str) -> Result<Value, Failure> {
    if text == STDIN {
        return parse("standard input", &read(STDIN)?);
    }
    match text.strip_prefix('@') {
        Some(file) => parse(file, &read(file)?),
        None => parse(option, text).map_err(|failure| {
            failure.with_hint("write JSON in quotes of the shell, @FILE, or - for standard input")
        }),
    }
}

/// As [`argument`], but it must be an object.
///
/// # Errors
/// As [`argument`], and if it is not an object.
pub(super) fn object_argument(option: &str, text: &str) -> Result<Value, Failure> {
    let value = argument(option, text)?;
    object(option.to_owned(), value).map(|document| document.value)
}

/// The ids given, with those of standard input, one a line, in the place of `-`.
///
/// # Errors
/// Standard input cannot be read, or there is no id.
pub(super) fn ids(given: &[String]) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for id in given {
        if id == STDIN {
            let text = read(STDIN)?;
            ids.extend(text.split_whitespace().map(str::to_owned));
        } else {
            ids.push(id.clone());
        }
    }
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    if ids.is_empty() { Err(Failure::usage("there is no id in the input")) } else { Ok(ids) }
}

/// Reads a file; `-` is standard input.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(file: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let result = if file == STDIN {
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    result.map_err(|error| Failure::error(format!("cannot read {file}: {error}")))
}

fn parse(origin: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::error(format!("{origin} is not JSON: {error}")))
}

fn object(origin: String, value: Value) -> Result<Document, Failure> {
    if value.is_object() {
        Ok(Document { origin, value })
    } else {
        Err(Failure::error(format!("{origin} is not a JSON object")))
    }
}
