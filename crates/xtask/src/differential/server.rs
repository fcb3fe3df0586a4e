//! The two servers, and a stand-in for all that definitions call.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::wire::Wire;
use crate::{root, say};

/// A server that answers; it ends with this value if it was started here.
pub(super) struct Server {
    pub(super) address: String,
    child: Option<Child>,
    folder: Option<PathBuf>,
}

impl Server {
    /// One that somebody else started.
    pub(super) fn running(address: &str) -> Self {
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { address, child: None, folder: None }
    }

    /// A Conductor of its own, with its embedded SQLite store in a new folder.
    pub(super) async fn conductor(jar: Option<&Path>, java: Option<&Path>) -> anyhow::Result<Self> {
        let jar = jar.context("say --conductor HOST:PORT or --jar FILE")?;
        let jar = jar.canonicalize().with_context(|| jar.display().to_string())?;
        let mut command = Command::new(java.unwrap_or(Path::new("java")));
        let port = free_port()?;
        command.args(["-Xmx1g", "-jar"]).arg(jar).arg(format!("--server.port={port}"));
        // Its store lives as long as the run: nothing need survive a power cut.
        command.arg(
            "--spring.datasource.url=jdbc:sqlite:differential.db?busy_timeout=15000\
             &journal_mode=WAL&synchronous=OFF",
        );
        // Off by default, without which PULL_WORKFLOW_MESSAGES waits for ever.
        command.arg("--conductor.workflow-message-queue.enabled=true");
        // What a lost message leaves behind is found by polling: after so long instead of 30 s.
        command.arg("--conductor.app.systemTaskWorkerCallbackDuration=3s");
        say("starting Conductor");
        Self::start(command, port, Duration::from_mins(15)).await
    }

    /// A Nightbell of its own.
    pub(super) async fn nightbell(binary: Option<&Path>) -> anyhow::Result<Self> {
        let built = root().join("target/debug/nightbell");
        let binary = binary.unwrap_or(&built);
        let binary = binary.canonicalize().with_context(|| {
            format!("{}: build it with cargo build --package nightbell", binary.display())
        })?;
        let port = free_port()?;
        let mut command = Command::new(binary);
        let listen = format!("127.0.0.1:{port}");
        command.args(["serve", "--log-level", "warn", "--listen", &listen]);
        Self::start(command, port, Duration::from_mins(5)).await
    }

    async fn start(mut command: Command, port: u16, patience: Duration) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("differential-{port}"));
        std::fs::create_dir_all(&folder)?;
        let log = std::fs::File::create(folder.join("log"))?;
        command.current_dir(&folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("{program} cannot be run"))?;
        let address = format!("127.0.0.1:{port}");
        let begun = Instant::now();
        let server = Self { address, child: Some(child), folder: Some(folder) };
        while server.healthy().await.is_err() {
            anyhow::ensure!(begun.elapsed() < patience, "{program} does not become healthy");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(server)
    }

    pub(super) async fn healthy(&self) -> anyhow::Result<()> {
        let (status, _) = Wire::open(&self.address).await?.get("/health").await?;
        anyhow::ensure!(status == 200, "not yet");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Answers every request with the same JSON document, in place of the hosts that definitions call.
pub(super) async fn stand_in() -> anyhow::Result<String> {
    const BODY: &str = r#"{"id":7,"name":"stand-in","items":[1,2,3],"ok":true}"#;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 64 << 10];
                // One read holds the small requests of definitions; the connection ends with the answer.
                let _ = stream.read(&mut head).await;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                     Connection: close\r\n\r\n{BODY}",
                    BODY.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    Ok(address)
}
