//! WIRES: the one binary.
fn main() {}
