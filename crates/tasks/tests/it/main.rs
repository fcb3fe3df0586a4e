//! The tests of the built-in tasks and script engines, in one binary.

mod http;
mod javascript;
mod jq;
mod schema;
