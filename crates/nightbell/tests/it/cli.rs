//! The command line against a scripted server: each command's requests, output and exit code.

mod audit;
mod basics;
mod batch;
mod both;
mod check;
mod config;
mod control;
mod event;
mod inbound;
mod monitor;
mod orchestration;
mod project;
mod queue;
mod run;
mod schedule;
mod schema;
mod status_page;
mod task;
mod trigger;
mod watch;
mod webhook;
mod worker;
mod workflow;
