//! DOES: the built-in tasks and the script engines.

pub mod jq;
