//! Runs the server.

use crate::config::Config;

/// Serves until the process is told to stop.
#[expect(clippy::unused_async, reason = "the server will wait")]
pub(crate) async fn run(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("the server is not built yet")
}

/// Serves the two-minute tour from a store that is thrown away at the end.
#[expect(clippy::unused_async, reason = "the server will wait")]
pub(crate) async fn run_dev(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("the server is not built yet")
}
