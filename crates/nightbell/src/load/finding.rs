//! What is wrong with a file, or hardly meant: file, line, code, reason and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use kernel::Place;
use kernel::alert::definition as monitors;
use kernel::definition::Problem;
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// The file is refused.
    Error,
    /// It runs, but surely not as meant.
    Warning,
    /// Worth a look; perhaps meant.
    Note,
}

impl Level {
    /// Its name, which is that of SARIF too.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that was found in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// The file.
    pub(crate) file: PathBuf,
    /// The line, from 1; 0 = the file as a whole.
    pub(crate) line: usize,
    /// The column, from 1, in characters; 0 = the file as a whole.
    pub(crate) column: usize,
    /// How bad it is.
    pub(crate) level: Level,
    /// A stable name for this kind of finding, in kebab-case.
    pub(crate) code: String,
    /// Where in the document: a JSON pointer, or the keys of a file of monitors.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) path: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hint: String,
}

impl Finding {
    /// About a file as a whole.
    pub(crate) fn of_file(
        file: &Path,
        level: Level,
        code: &str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            level,
            code: code.to_owned(),
            path: String::new(),
            message: message.into(),
            hint: String::new(),
        }
    }

    /// About a place in a JSON file; `base` is the pointer of the document that the problem is
    /// about, in a file that holds a list of them.
    pub(super) fn of_problem(
        file: &Path,
        text: &str,
        base: &str,
        level: Level,
        problem: &Problem,
    ) -> Self {
        let pointer = format!("{base}{}", problem.pointer);
        let place = if problem.code == "malformed-json" {
            malformed_at(text)
        } else {
            Place::in_json(text, &pointer, problem.word.as_deref())
        };
        Self {
            line: place.line,
            column: place.column,
            path: pointer,
            hint: problem.hint.clone(),
            ..Self::of_file(file, level, problem.code, &problem.message)
        }
    }

    /// About a place in a file of monitors.
    pub(super) fn of_monitors(file: &Path, problem: &monitors::Problem) -> Self {
        let level = match problem.level {
            monitors::Level::Error => Level::Error,
            monitors::Level::Warning => Level::Warning,
        };
        Self {
            line: problem.line,
            column: problem.column,
            path: problem.path.clone(),
            ..Self::of_file(file, level, problem.code, &problem.message)
        }
    }
}

/// Where the parser gave up.
fn malformed_at(text: &str) -> Place {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Place::default(),
        Err(error) => Place { line: error.line().max(1), column: error.column().max(1) },
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, level, code, path, message, hint } = self;
        write!(f, "{}:", file.display())?;
        if *line > 0 {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}: ", level.name())?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)?;
        if !hint.is_empty() {
            write!(f, " (hint: {hint})")?;
        }
        write!(f, " [{code}]")
    }
}
