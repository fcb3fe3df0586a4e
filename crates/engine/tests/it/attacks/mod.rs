//! Attacks on the engine: each test fails if its attack works.

mod forks;
mod places;
mod quotas;
mod scripts;
