//! Attacks on the real binary: each test fails if its attack works.

mod browsers;
mod scripts;
