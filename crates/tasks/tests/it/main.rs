//! The tests of the built-in tasks and script engines, in one binary.

mod events;
mod http;
mod javascript;
mod jq;
