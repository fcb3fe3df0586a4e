//! The tests of the built-in tasks, in one binary.

mod http;
//! Integration tests of the tasks crate, one module per engine or task.

mod jq;
