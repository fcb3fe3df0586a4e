//! Turns what the interpreter throws into the few classes of failure that callers tell apart.

use std::time::Duration;

use kernel::{ScriptError, ScriptErrorKind};
use rquickjs::{Ctx, Error, Value};

use super::deadline::{Deadline, USER_FILE};

/// Characters of a message that are kept.
const MESSAGE_MAX: usize = 500;

/// An exception that left the engine, as data.
pub(super) struct Raised {
    kind: ScriptErrorKind,
    pub(super) message: String,
    line: Option<u32>,
    /// `null` was thrown: by the engine when it is out of memory, or by the script.
    null: bool,
    /// The engine's own `SyntaxError`: of this source, or of one that the script gave to a parser.
    pub(super) syntax: bool,
}

impl Raised {
    fn new(kind: ScriptErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), line: None, null: false, syntax: false }
    }

    /// Whether the evaluation ran out of time.
    pub(super) fn is_timeout(&self) -> bool {
        self.kind == ScriptErrorKind::Timeout
    }

    /// Whether the evaluation ran out of memory or stack.
    pub(super) fn is_memory(&self) -> bool {
        self.kind == ScriptErrorKind::Memory || self.null
    }

    /// The error for the user, given the source that raised it.
    pub(super) fn into_error(self, source: &str, time: Duration) -> ScriptError {
        let message = match self.kind {
            ScriptErrorKind::Timeout => {
                format!("the script ran longer than {} s", time.as_secs_f64())
            }
            // Out of memory, the engine cannot even make an exception and throws null.
            _ if self.null && !throws_null(source) => return no_room(),
            _ => match self.line {
                Some(line) => format!("{} at line {line}", self.message),
                None => self.message,
            },
        };
        ScriptError { kind: self.kind, message }
    }
}

/// A script needed more memory than allowed.
pub(super) fn no_room() -> ScriptError {
    ScriptError {
        kind: ScriptErrorKind::Memory,
        message: "the script needs more memory than allowed".to_owned(),
    }
}

/// Reads the pending exception. Its members may be the script's accessors: they run under the same
/// bounds, and what they throw is dropped.
pub(super) fn raised(ctx: &Ctx<'_>, error: &Error, deadline: &Deadline) -> Raised {
    let thrown = matches!(error, Error::Exception).then(|| ctx.catch());
    if deadline.passed() {
        return Raised::new(ScriptErrorKind::Timeout, String::new());
    }
    let raised = match (error, thrown) {
        (_, Some(value)) => thrown_value(ctx, &value),
        (Error::Allocation, _) => Raised::new(ScriptErrorKind::Memory, no_room().message),
        (Error::InvalidString(_), _) => {
            Raised::new(ScriptErrorKind::Syntax, "SyntaxError: the source holds a NUL character")
        }
        (other, _) => Raised::new(ScriptErrorKind::Runtime, one_line(&other.to_string())),
    };
    drop(ctx.catch());
    // An accessor of the exception may have met the deadline.
    if deadline.passed() { Raised::new(ScriptErrorKind::Timeout, String::new()) } else { raised }
}

fn thrown_value<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Raised {
    if value.is_null() {
        let thrown = Raised::new(ScriptErrorKind::Runtime, "the script threw null");
        return Raised { null: true, ..thrown };
    }
    let Some(exception) = value.as_exception() else {
        let text = match value.as_string() {
            Some(text) => text.to_string().ok(),
            None => {
                ctx.json_stringify(value.clone()).ok().flatten().and_then(|t| t.to_string().ok())
            }
        };
        let text = text.unwrap_or_else(|| value.type_of().to_string());
        return Raised::new(
            ScriptErrorKind::Runtime,
            one_line(&format!("the script threw {text}")),
        );
    };
    let name: String = exception.as_object().get("name").unwrap_or_else(|_| "Error".to_owned());
    let message = exception.message().unwrap_or_default();
    let kind = match (name.as_str(), message.as_str()) {
        ("InternalError", "out of memory" | "string too long")
        | ("RangeError", "Maximum call stack size exceeded" | "invalid string length") => {
            ScriptErrorKind::Memory
        }
        _ => ScriptErrorKind::Runtime,
    };
    let text = if message.is_empty() { name.clone() } else { format!("{name}: {message}") };
    Raised {
        line: exception.stack().and_then(|stack| line(&stack)),
        syntax: name == "SyntaxError",
        ..Raised::new(kind, one_line(&text))
    }
}

/// The innermost line of the user's source in a stack trace: `    at f (script:3:5)`.
fn line(stack: &str) -> Option<u32> {
    stack.lines().find_map(|frame| {
        let place = frame.rsplit(['(', ' ']).next()?.strip_prefix(USER_FILE)?.strip_prefix(':')?;
        place.split([':', ')']).next()?.parse().ok()
    })
}

fn one_line(text: &str) -> String {
    let mut line: String =
        text.chars().take(MESSAGE_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

/// Whether the source seems to throw `null` itself.
fn throws_null(source: &str) -> bool {
    source.match_indices("throw").any(|(at, word)| {
        source[at + word.len()..].trim_start_matches([' ', '\t', '(']).starts_with("null")
    })
}
