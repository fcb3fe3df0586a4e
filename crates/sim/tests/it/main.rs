//! The kernel under simulation, and the auditor under test.

mod hosting;
mod mutants;
mod orchestrating;
mod ringing;
mod seeds;
