//! `${…}`: paths against Jayway's own answers, templates against Conductor's rules.

mod laws;
mod paths;
mod secrets;
mod templates;
mod times;
