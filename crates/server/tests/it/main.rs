//! The REST API, called in process over the real engine and the reference store.

mod bulk;
mod control;
mod execute;
mod query;
mod search;
mod show;
mod start;
mod support;
mod why;
