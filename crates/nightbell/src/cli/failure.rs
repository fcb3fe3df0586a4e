//! What a command ends with when it does not succeed: a message, what to do next, and an exit code.

use std::fmt;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::output::clean;

/// The exit codes; scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Anything that has no code of its own.
    Error = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The thing does not exist.
    NotFound = 3,
    /// The thing exists already, or is in a state that does not allow it.
    Conflict = 4,
    /// The workflow that was waited for did not complete.
    WorkflowFailed = 5,
    /// The server does not answer.
    Unreachable = 6,
    /// A plan has changes, which is no error.
    Changes = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure for people to read.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What went wrong and where, in one line.
    pub(crate) message: String,
    /// More of it, a line each.
    pub(crate) details: Vec<String>,
    /// What is wrong with a definition, if that is the failure.
    pub(crate) violations: Vec<Violation>,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

/// One problem of a definition.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Violation {
    /// Where, as a JSON pointer; some servers know only the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    /// Where, as a property path.
    #[serde(default)]
    pub(crate) path: String,
    /// What is wrong.
    #[serde(default)]
    pub(crate) message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.pointer.as_deref().unwrap_or(&self.path);
        let place = if place.is_empty() { "document" } else { place };
        write!(f, "{}: {}", clean(place), clean(&self.message))?;
        match self.hint.as_deref() {
            None | Some("") => Ok(()),
            Some(hint) => write!(f, " (hint: {})", clean(hint)),
        }
    }
}

impl Failure {
    /// A failure with an exit code.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            details: Vec::new(),
            violations: Vec::new(),
            hint: None,
        }
    }

    /// A failure without a code of its own.
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::new(Exit::Error, message)
    }

    /// The command line is wrong in a way that its grammar cannot say.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same with lines of detail.
    #[must_use]
    pub(crate) fn with_details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }

    /// The same with what to do next.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
