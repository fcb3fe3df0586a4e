//! What the stores promise, on real files.

mod conformance;
