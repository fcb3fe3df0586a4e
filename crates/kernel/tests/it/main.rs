//! The kernel through its public behaviour.

mod access;
mod alert;
mod contradictions;
mod cron;
mod definition;
mod durable;
mod expression;
mod golden;
mod laws;
mod places;
mod scenario;
mod schedule;
mod secrets;
