//! DECIDES: the pure, deterministic core. No clock, no I/O, no randomness.

pub mod definition;
mod json;
mod script;

pub use json::Json;
pub use script::{Form, ScriptError, ScriptErrorKind, Scripts};
