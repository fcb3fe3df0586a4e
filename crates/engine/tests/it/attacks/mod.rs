//! Attacks on the engine: each test fails if its attack works.

mod places;
mod scripts;
