//! DOES: the built-in tasks and the script engines.

pub mod http;
pub mod jq;
pub mod registry;
