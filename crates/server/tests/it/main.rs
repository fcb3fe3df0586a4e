//! The REST API, called in process over the real engine and the reference store.

mod admin;
mod bulk;
mod control;
mod execute;
mod listener;
mod metadata;
mod operations;
mod promised;
mod query;
mod scheduler;
mod search;
mod secret;
mod show;
mod start;
mod support;
mod task_queues;
mod why;
mod workers;
