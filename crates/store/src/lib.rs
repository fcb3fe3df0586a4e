//! REMEMBERS: what the engine commits, in `SQLite` or in `PostgreSQL`.

pub mod postgres;
pub mod sqlite;
mod text;

pub use postgres::{Postgres, PostgresOptions};
pub use sqlite::{Options, Sqlite, is_taken};
