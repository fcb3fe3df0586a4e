//! The tests of the built-in tasks and script engines, in one binary.

mod house;
mod http;
mod javascript;
mod jq;
mod service;
mod sql;
mod workflow;
