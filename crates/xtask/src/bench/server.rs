//! The real binary as a process of its own, and what it costs.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::house::{self, Folder};
use crate::wire::Wire;

/// A running server.
pub(super) struct Server {
    child: Child,
    pub(super) address: String,
    /// Milliseconds from the start of the process to its first good answer.
    pub(super) cold_start_ms: f64,
}

impl Server {
    /// Starts the binary over a store in the folder.
    pub(super) async fn start(folder: &Folder) -> anyhow::Result<Self> {
        Self::start_with(folder, &[]).await
    }

    /// The same with further arguments.
    pub(super) async fn start_with(folder: &Folder, more: &[&str]) -> anyhow::Result<Self> {
        Self::start_in(folder, more, &[]).await
    }

    /// The same with variables in its environment.
    pub(super) async fn start_in(
        folder: &Folder,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let begun = Instant::now();
        let child = Command::new(binary())
            .args(["serve", "--log-level", "warn", "--listen", &address])
            .args(["--store", &format!("sqlite:{}", folder.store().display())])
            .args(more)
            .envs(variables.iter().copied())
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut server = Self { child, address, cold_start_ms: 0.0 };
        while server.healthy().await.is_err() {
            anyhow::ensure!(begun.elapsed() < Duration::from_mins(1), "the server does not answer");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        server.cold_start_ms = begun.elapsed().as_secs_f64() * 1000.0;
        Ok(server)
    }

    async fn healthy(&self) -> anyhow::Result<()> {
        let (status, _) = Wire::open(&self.address).await?.get("/health").await?;
        anyhow::ensure!(status == 200, "not yet");
        Ok(())
    }

    /// Processor seconds used so far.
    pub(super) fn cpu_seconds(&self) -> f64 {
        house::cpu_seconds(&self.child.id().to_string())
    }

    /// Resident memory now and at its peak, in MiB.
    pub(super) fn memory_mib(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.split_whitespace().next())
                .and_then(|kib| kib.parse::<f64>().ok())
                .unwrap_or(f64::NAN)
                / 1024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// MiB that it has written to the disk so far.
    pub(super) fn written_mib(&self) -> f64 {
        let counts = std::fs::read_to_string(format!("/proc/{}/io", self.child.id()));
        let counts = counts.unwrap_or_default();
        let written = counts.lines().find_map(|line| line.strip_prefix("write_bytes:"));
        written.and_then(|bytes| bytes.trim().parse::<f64>().ok()).unwrap_or(f64::NAN) / 1_048_576.0
    }

    /// Tells it to stop and waits until it has.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone after a stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The release binary beside this one.
pub(super) fn binary() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    here.with_file_name("nightbell")
}

/// Its size in MiB; not a number if it is not there.
pub(super) fn binary_mib() -> f64 {
    std::fs::metadata(binary()).map_or(f64::NAN, |file| file.len() as f64 / 1_048_576.0)
}
