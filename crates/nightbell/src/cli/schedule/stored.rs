//! A schedule as the server has it.

use serde_json::Value;

use super::super::client::Client;
use super::super::failure::Failure;

/// Reads a schedule by its name.
///
/// # Errors
/// There is none, or the server does not answer.
pub(super) async fn read(name: &str, client: &Client) -> Result<Value, Failure> {
    client.get(&["scheduler", "schedules", name]).send().await?.value()
}
