//! The REST API, called in process over the real engine and the reference store.

mod admin;
mod bulk;
mod control;
mod elsewhere;
mod event;
mod execute;
mod listener;
mod metadata;
mod operations;
mod promised;
mod query;
mod rehearse;
mod scheduler;
mod schema;
mod search;
mod secret;
mod show;
mod signals;
mod start;
mod state;
mod support;
mod tags;
mod task_queues;
mod webhooks;
mod why;
mod workers;
