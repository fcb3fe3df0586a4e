//! What the stores promise, on real files.

mod conformance;
mod cost;
mod crash;
mod given;
mod golden;
mod sqlite;
