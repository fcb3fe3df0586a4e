//! What the stores promise, on real files.

mod conformance;
mod copying;
mod cost;
mod crash;
#[allow(dead_code, reason = "the tests of the binary use what this one does not")]
mod database;
mod given;
mod golden;
mod pool;
mod postgres;
mod relay;
mod sqlite;
