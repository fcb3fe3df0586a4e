//! The official Durable Task packages against the real binary: their workers run orchestrations,
//! activities and entities; their clients start, steer and look.

use std::process::Command;

use crate::sdks::{NODE_MODULES, PYTHON, drive, prepared};

#[tokio::test(flavor = "multi_thread")]
async fn the_python_packages_orchestrate() {
    let Some(python) = prepared(PYTHON) else { return };
    drive(Command::new(python), "python/durable.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_package_orchestrates() {
    if prepared(NODE_MODULES).is_none() {
        return;
    }
    drive(Command::new("node"), "javascript/durable.mjs").await;
}
