//! The kernel under simulation, and the auditor under test.

mod mutants;
mod ringing;
mod seeds;
