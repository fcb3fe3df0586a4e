//! DOES: the built-in tasks and the script engines.

pub mod business_rule;
pub mod check;
pub mod clock;
pub mod events;
pub mod http;
pub mod http_poll;
pub mod incident;
mod input;
pub mod javascript;
pub mod jq;
pub mod jwt;
#[cfg(feature = "kafka")]
pub mod kafka;
mod limit;
pub mod notify;
pub mod ops_genie;
pub mod outgoing;
pub mod page_dedup;
mod pattern;
pub mod registry;
pub mod schema;
pub mod secret;
pub mod sendgrid;
pub mod sql;
mod unfolding;
pub mod workflow;
