//! The real binary from outside, driven as its users drive it.

#![allow(clippy::unwrap_used, reason = "a test may end where it cannot go on")]

mod access;
mod access_commands;
mod acme;
mod alerting;
mod attacks;
mod backtest;
mod bad_input;
mod canaries;
mod chromium;
mod cli;
mod clock;
mod cluster;
mod console;
mod crash;
mod crash_ringing;
#[path = "../../../store/tests/it/database.rs"]
#[allow(dead_code, reason = "the tests of the store use what this one does not")]
mod database;
mod deploy;
#[path = "../../src/dev/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tour uses what the test does not")]
mod dev;
mod durabletask;
mod durabletask_crash;
mod etl;
mod example;
mod faults;
mod functions_client;
mod importing;
mod importing_oncall;
mod inbound;
mod influx_lark;
mod limits;
mod live;
mod mcp;
mod monitoring;
mod monitors;
mod observability;
mod oncall;
mod paints;
mod picture;
mod ping;
#[path = "../../../store/tests/it/pool.rs"]
mod pool;
mod postgres;
mod proxy;
mod real_cli;
mod reference;
#[path = "../../../store/tests/it/relay.rs"]
mod relay;
mod reload;
mod replay;
mod ringing_cli;
mod robopager;
mod schedules;
mod screenshots;
mod sdk_keys;
mod sdks;
mod secret;
mod secret_backends;
#[path = "../../../tasks/tests/it/check/service.rs"]
mod service;
mod shutdown;
mod skipped;
mod skipping;
mod sso;
mod stand_in;
mod testing;
mod tls;
mod traces;
mod tutorials;
