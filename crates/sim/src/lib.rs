//! DOUBTS: deterministic simulation of the kernel, judged by an independent auditor.
//!
//! A seed decides everything: the definitions, the faults, who acts when. One seed is one life of a
//! small world, from the start of a few executions through a time in which everything goes wrong
//! to a calm in which all of them must come to their ends. Faults alone find little; what finds
//! mistakes is the [`auditor`], and the mutants in [`mutant`] show that it does.

pub mod auditor;
pub mod fault;
pub mod hosting;
pub mod mutant;
mod operator;
pub mod orchestrating;
mod process;
pub mod random;
pub mod ringing;
pub mod scripts;
pub mod store;
mod trace;
mod worker;
pub mod workload;
pub mod world;
