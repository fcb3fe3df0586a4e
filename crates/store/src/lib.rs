//! REMEMBERS: what the engine commits, in SQLite.
