//! What the stores promise, on real files.

mod conformance;
mod copying;
mod cost;
mod crash;
mod database;
mod given;
mod golden;
mod pool;
mod postgres;
mod relay;
mod sqlite;
