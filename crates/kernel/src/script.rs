//! The port through which a decision runs a user's JavaScript or jq, bounded in time and memory.
//!
//! The kernel only states what it needs; the engines live in the `tasks` crate. A script's result
//! is recorded in an event and never computed again, so an engine need not be deterministic.

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
