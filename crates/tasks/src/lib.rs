//! DOES: the built-in tasks and the script engines.

pub mod http;
pub mod javascript;
pub mod jq;
pub mod registry;
pub mod secret;
mod stay;
