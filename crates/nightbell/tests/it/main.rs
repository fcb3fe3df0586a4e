//! Tests of the binary from outside, as its users meet it.

mod cli;
mod stand_in;
