//! Instances and entities in the whole engine, with workers of code in the test's hands.

mod crew;
mod flows;
mod keeping;
mod worker;
