//! The tests of the built-in tasks and script engines, in one binary.

mod attacks;
mod business_rule;
mod check;
mod events;
mod flows;
mod house;
mod http;
mod http_poll;
mod javascript;
mod jq;
mod jwt;
mod notify;
mod schema;
mod service;
mod services;
mod sql;
mod workflow;
