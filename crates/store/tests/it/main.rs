//! What the stores promise, on real files.

mod conformance;
mod copying;
mod cost;
mod crash;
mod database;
mod given;
mod golden;
mod postgres;
mod sqlite;
