//! REMEMBERS: what the engine commits, in `SQLite` or in `PostgreSQL`.

mod copy;
pub mod postgres;
mod row;
pub mod sqlite;
mod text;

pub use copy::{Copied, CopyError, CopyOptions, CopyProgress, Location, copy};
pub use postgres::{BEATS, Gone, Member, MemberNode, Postgres, PostgresOptions, Succession};
pub use sqlite::{Options, Sqlite, is_taken};
