//! REMEMBERS: what the engine commits, in `SQLite`.

pub mod sqlite;

pub use sqlite::{Options, Sqlite, is_taken};
