//! DOUBTS: deterministic simulation of the kernel, judged by an independent auditor.
