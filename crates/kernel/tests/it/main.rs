//! The kernel through its public behaviour.

mod definition;
mod expression;
mod laws;
mod scenario;
