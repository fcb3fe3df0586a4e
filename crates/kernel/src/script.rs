//! The port through which a decision runs a user's JavaScript or jq and checks payloads against a
//! user's JSON schema, bounded in time and memory.
//!
//! The kernel only states what it needs; the engines live in the `tasks` crate. A script's result
//! is recorded in an event and never computed again, so an engine need not be deterministic.

use std::fmt;

use crate::json::Json;

/// Evaluates the scripts that belong to a decision: SWITCH, `DO_WHILE`, INLINE, LAMBDA, JQ, JOIN.
pub trait Scripts: Send + Sync {
    /// Runs JavaScript with `input` bound as `$` and answers its result.
    fn javascript(&self, source: &str, form: Form, input: &Json) -> Result<Json, ScriptError>;

    /// Runs a jq program over `input` and answers all its outputs, in order.
    fn jq(&self, program: &str, input: &Json) -> Result<Vec<Json>, ScriptError>;

    /// Parses JavaScript without running it.
    fn check_javascript(&self, source: &str, form: Form) -> Result<(), ScriptError>;

    /// Compiles a jq program without running it.
    fn check_jq(&self, program: &str) -> Result<(), ScriptError>;

    /// Holds a document against a JSON schema and answers what is wrong, at most
    /// [`VIOLATIONS_MAX`] findings; empty = nothing is.
    ///
    /// Nothing outside the schema is ever fetched. Who brings no such engine refuses every schema,
    /// so that none is silently ignored.
    fn violations(&self, _schema: &Json, _document: &Json) -> Result<Vec<Violation>, ScriptError> {
        let message = "there is no engine for JSON schemas here".to_owned();
        Err(ScriptError { kind: ScriptErrorKind::Syntax, message })
    }

    /// Whether so much was evaluated for the present decision that the rest should go on in the
    /// next commit, so that others get at the execution in between.
    fn should_yield(&self) -> bool {
        false
    }

    /// Compiles a JSON schema without holding anything against it.
    fn check_schema(&self, schema: &Json) -> Result<(), ScriptError> {
        self.violations(schema, &Json::null()).map(drop)
    }
}

/// Time limits of scripts count processor time, so that a busy neighbour fails nobody's script; in
/// wall time a script may take this many times as long.
pub const SCRIPT_WALL_FACTOR: u32 = 10;

/// Violations told of one document; a document with more is no less wrong.
pub const VIOLATIONS_MAX: usize = 100;

/// One thing about a document that its schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where in the document, as RFC 6901; empty = the document itself.
    pub pointer: String,
    /// What is wrong, without the offending value: it may be confidential.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "/" } else { &self.pointer };
        write!(f, "{place}: {}", self.message)
    }
}

/// What shape a JavaScript source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Statements whose completion value is the result: `if (…) { true; } else { false; }`.
    Statements,
    /// The body of a function; the result is what it `return`s (the deprecated LAMBDA task).
    FunctionBody,
}

/// Why a script gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScriptError {
    /// The class of failure, which decides whether a retry can help.
    pub kind: ScriptErrorKind,
    /// One line for the user, with the place in the source where known.
    pub message: String,
}

/// Classes of script failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptErrorKind {
    /// The source does not parse.
    Syntax,
    /// The script raised an error.
    Runtime,
    /// The script ran past its time limit.
    Timeout,
    /// The script needed more memory, stack or output than allowed.
    Memory,
}
