//! The kernel through its public behaviour.

mod definition;
mod expression;
mod scenario;
