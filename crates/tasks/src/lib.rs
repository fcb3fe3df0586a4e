//! DOES: the built-in tasks and the script engines.

pub mod http;
mod input;
pub mod javascript;
pub mod jq;
pub mod registry;
pub mod sql;
mod stay;
pub mod workflow;
