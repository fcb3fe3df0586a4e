//! Attacks on the real binary: each test fails if its attack works.

mod browsers;
mod deployed;
mod evaluations;
mod files;
mod outside;
mod overload;
mod restarts;
mod scripts;
mod underway;
mod watch;
pub(crate) mod wire;
