//! What the stores promise, on real files.

mod conformance;
mod crash;
mod given;
mod golden;
mod sqlite;
