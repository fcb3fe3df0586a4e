//! WIRES: the one binary.
#[cfg(test)]
mod dev;

fn main() {}
