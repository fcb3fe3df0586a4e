//! The tests of the built-in tasks, in one binary.

mod http;
