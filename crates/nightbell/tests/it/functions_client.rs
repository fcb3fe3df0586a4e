//! The client of the Durable Functions SDK for Python, unmodified, against the real binary.

use std::process::Command;

use crate::sdks::{PYTHON, drive, prepared};

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_durable_functions_finds_all_that_it_asks_for() {
    let Some(python) = prepared(PYTHON) else { return };
    drive(Command::new(python), "python/functions_client.py").await;
}
