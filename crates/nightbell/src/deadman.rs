//! The dead man's switch: somebody outside is called every minute, and rings when the calls stop.

use std::time::Duration;

use engine::Engine;

/// Pause between two calls.
const PAUSE: Duration = Duration::from_mins(1);
/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Calls the address every minute for as long as the server lives and its store answers.
///
/// # Errors
/// The client cannot be made.
pub(crate) fn call(engine: Engine, url: String) -> anyhow::Result<()> {
    tasks::http::install_tls_provider();
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    tokio::spawn(async move {
        let mut failing = false;
        let mut ticks = tokio::time::interval(PAUSE);
        loop {
            tokio::select! {
                biased;
                () = engine.stopped() => return,
                _ = ticks.tick() => {}
            }
            // A server that can neither read nor write watches nothing.
            let result = match engine.store().statistics().await {
                Ok(_) => one(&client, &url).await,
                Err(error) => Err(error.to_string()),
            };
            match &result {
                Ok(()) if failing => tracing::info!("the dead man's switch is called again"),
                Err(reason) if !failing => {
                    tracing::warn!(reason, "the dead man's switch was not called");
                }
                _ => {}
            }
            failing = result.is_err();
        }
    });
    Ok(())
}

async fn one(client: &reqwest::Client, url: &str) -> Result<(), String> {
    // The address is a secret of a kind: it is not told.
    let answer = client.get(url).send().await.map_err(|error| error.without_url().to_string())?;
    answer.error_for_status().map(drop).map_err(|error| error.without_url().to_string())
}
