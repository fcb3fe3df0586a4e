//! Integration tests of the tasks crate, one module per engine or task.

mod jq;
