//! DOES: the built-in tasks and the script engines.

pub mod events;
pub mod http;
pub mod http_poll;
pub mod javascript;
pub mod jq;
pub mod jwt;
pub mod ops_genie;
pub mod registry;
pub mod schema;
pub mod secret;
pub mod sendgrid;
mod stay;
