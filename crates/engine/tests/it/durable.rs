//! Instances and entities in the whole engine, with Durable Task workers in the test's hands.

mod crew;
mod flows;
mod keeping;
mod worker;
