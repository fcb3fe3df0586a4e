//! The Conductor server that is compared with, started again where it died or stalled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::RwLock;

use crate::say;

use super::Options;
use super::server::Server;

/// How often it is started again before the run goes on without.
const RESTARTS_MAX: u64 = 10;

/// A Conductor, and how to start it.
pub(super) struct Oracle {
    jar: Option<std::path::PathBuf>,
    java: Option<std::path::PathBuf>,
    /// Whether it is this process's to start.
    own: bool,
    server: RwLock<Server>,
    pub(super) restarts: AtomicU64,
}

impl Oracle {
    pub(super) async fn start(options: &Options) -> anyhow::Result<Self> {
        let (jar, java) = (options.jar.clone(), options.java.clone());
        let server = match &options.conductor {
            Some(address) => Server::running(address),
            None => Server::conductor(jar.as_deref(), java.as_deref()).await?,
        };
        let own = options.conductor.is_none();
        Ok(Self { jar, java, own, server: RwLock::new(server), restarts: AtomicU64::new(0) })
    }

    /// Waits while it is being started.
    pub(super) async fn address(&self) -> String {
        self.server.read().await.address.clone()
    }

    /// Called when a case failed on the server at this address: starts another if it is not well.
    pub(super) async fn revive(&self, address: &str) -> anyhow::Result<()> {
        let mut server = self.server.write().await;
        if server.address != address {
            return Ok(());
        }
        for _ in 0..3 {
            let health = tokio::time::timeout(Duration::from_secs(10), server.healthy()).await;
            if matches!(health, Ok(Ok(()))) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        anyhow::ensure!(self.own, "it was started by somebody else");
        let restarts = self.restarts.fetch_add(1, Ordering::Relaxed) + 1;
        anyhow::ensure!(restarts <= RESTARTS_MAX, "it died {restarts} times");
        say("Conductor does not answer and is started again");
        *server = Server::conductor(self.jar.as_deref(), self.java.as_deref()).await?;
        Ok(())
    }
}
