//! Attacks on the real binary: each test fails if its attack works.

mod browsers;
mod files;
mod scripts;
mod underway;
mod watch;
