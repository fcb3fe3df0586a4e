//! JSON schemas behind the kernel's `Scripts` port: drafts 4 to 2020-12, nothing fetched.

use std::collections::HashMap;
use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use kernel::{Json, ScriptError, ScriptErrorKind, VIOLATIONS_MAX, Violation};
use parking_lot::Mutex;

/// Compiled schemas kept; more are compiled again when needed.
const COMPILED_MAX: usize = 256;
/// Bytes of a schema whose compiled form is kept.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// Steps that a pattern may go back in one text before the text counts as not matching.
const BACKTRACK_MAX: usize = 100_000;
/// Bytes of one violation's message.
const MESSAGE_MAX: usize = 500;

/// Holds documents against schemas; schemas are compiled once.
#[derive(Default)]
pub struct Schemas {
    compiled: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Schemas {
    /// What is wrong with a document, at most [`VIOLATIONS_MAX`] findings.
    ///
    /// # Errors
    /// The schema itself is wrong, or refers to something outside it.
    pub fn violations(
        &self,
        schema: &Json,
        document: &Json,
    ) -> Result<Vec<Violation>, ScriptError> {
        let validator = self.compiled(schema)?;
        let document = document.parse();
        let found = validator.iter_errors(&document).take(VIOLATIONS_MAX);
        Ok(found
            .map(|error| Violation {
                pointer: error.instance_path().to_string(),
                message: cut(error.masked().to_string()),
            })
            .collect())
    }

    /// Compiles a schema.
    ///
    /// # Errors
    /// As [`Schemas::violations`].
    pub fn check(&self, schema: &Json) -> Result<(), ScriptError> {
        self.compiled(schema).map(drop)
    }

    fn compiled(&self, schema: &Json) -> Result<Arc<Validator>, ScriptError> {
        if let Some(validator) = self.compiled.lock().get(schema.text()) {
            return Ok(validator.clone());
        }
        let patterns = PatternOptions::fancy_regex().backtrack_limit(BACKTRACK_MAX);
        let validator = jsonschema::options()
            .with_pattern_options(patterns)
            .build(&schema.parse())
            .map_err(|error| {
                let place = error.instance_path().to_string();
                let place = if place.is_empty() { "/" } else { &place };
                let message = cut(format!("{place}: {error}"));
                ScriptError { kind: ScriptErrorKind::Syntax, message }
            })?;
        let validator = Arc::new(validator);
        if schema.len() <= KEPT_BYTES_MAX {
            let mut compiled = self.compiled.lock();
            if compiled.len() >= COMPILED_MAX {
                compiled.clear();
            }
            compiled.insert(schema.text().to_owned(), validator.clone());
        }
        Ok(validator)
    }
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_MAX {
        let end = (0..=MESSAGE_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}
