//! Attacks on the real binary: each test fails if its attack works.

mod browsers;
mod evaluations;
mod files;
mod overload;
mod restarts;
mod scripts;
mod underway;
mod watch;
pub(crate) mod wire;
