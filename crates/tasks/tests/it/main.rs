//! The tests of the built-in tasks and script engines, in one binary.

mod house;
mod http;
mod http_poll;
mod javascript;
mod jq;
mod jwt;
mod notify;
mod schema;
mod services;
