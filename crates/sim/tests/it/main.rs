//! The kernel under simulation, and the auditor under test.

mod mutants;
mod seeds;
