//! Attacks on the real binary: each test fails if its attack works.

mod browsers;
mod deployed;
mod files;
mod outside;
mod scripts;
mod underway;
mod watch;
