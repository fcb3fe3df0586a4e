//! DOES: the built-in tasks and the script engines.

pub mod events;
pub mod http;
pub mod javascript;
pub mod jq;
pub mod registry;
mod stay;
