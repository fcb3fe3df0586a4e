//! Measures, while an attack is under way, how long health takes to answer, how much memory the process
//! takes, and how long the end takes.
//!
//! The bound of the memory is that of docs/security.md and holds everywhere.
//! `cargo xtask attack` names a file in `NIGHTBELL_ATTACK_FIGURES`: the figures are written there, and
//! the bounds of the contract hold. Elsewhere, on machines that do other things as well, the test is
//! only whether the server is alive.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::MutexGuard;

use crate::live::Live;

/// What the contract promises.
const HEALTH_MAX: Duration = Duration::from_millis(100);
const END_MAX: Duration = Duration::from_secs(10);
/// What shows that the server is alive.
const HEALTH_ALIVE: Duration = Duration::from_secs(20);
const END_ALIVE: Duration = Duration::from_secs(30);
/// MiB of a server that is not attacked, with what it keeps of machines, outputs and pages of the store,
/// and what the allocator keeps.
const BASE_MIB: u64 = 192;
/// Pause between two questions.
const EVERY: Duration = Duration::from_millis(20);

/// One attack is measured at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Asks for health until it is dropped.
pub(super) struct Watch {
    memory_max: u64,
    attack: &'static str,
    took: Arc<Mutex<Vec<Duration>>>,
    is_over: Arc<AtomicBool>,
    _alone: MutexGuard<'static, ()>,
}

fn figures() -> Option<std::ffi::OsString> {
    std::env::var_os("NIGHTBELL_ATTACK_FIGURES")
}

/// Whether the bounds of the contract hold, as on a machine that does nothing else.
pub(super) fn is_measured() -> bool {
    figures().is_some()
}

/// Waits until no attack is measured, then keeps others from it.
pub(super) async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// Writes a line to the figures, if they are kept.
pub(super) fn note(line: &str) {
    let Some(file) = figures() else { return };
    let file = std::fs::File::options().append(true).create(true).open(file);
    file.expect("the figures can be kept").write_all(line.as_bytes()).expect("written");
}

/// The most memory that a process has had so far, in MiB; none where the system does not tell.
fn memory_peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes >> 10)
}

impl Watch {
    /// Waits for its turn. What the attack is aimed at may take so many MiB of memory.
    pub(super) async fn prepare(attack: &'static str, mebibytes: u64) -> Self {
        let (took, is_over) = (Arc::default(), Arc::default());
        let memory_max = BASE_MIB + mebibytes;
        Self { memory_max, attack, took, is_over, _alone: alone().await }
    }

    /// Begins to ask.
    pub(super) fn begin(&self, live: &Live) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, live.port()));
        let (took, is_over) = (self.took.clone(), self.is_over.clone());
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                // No answer is an answer that comes too late.
                let time = ask(address).map_or(Duration::MAX, |()| begun.elapsed());
                if !is_over.load(Ordering::Relaxed) {
                    took.lock().push(time);
                }
                std::thread::sleep(EVERY);
            }
        });
    }

    /// Waits until health has been asked for often enough, then ends the server, which must be quick.
    pub(super) async fn ends(self, live: &mut Live) {
        let enough = if is_measured() { 200 } else { 20 };
        while self.took.lock().len() < enough {
            tokio::time::sleep(EVERY).await;
        }
        self.is_over.store(true, Ordering::Relaxed);
        let mut took = self.took.lock().clone();
        took.sort_unstable();
        let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
        let log = live.log_text();
        assert!(worst < HEALTH_ALIVE, "{}: health took {worst:?}; {log}", self.attack);
        let memory = memory_peak(live.pid());
        // The bound is that of a release build; without optimization a request in hand takes about
        // twice as much.
        let memory_max = if is_measured() { self.memory_max } else { 2 * self.memory_max };
        let is_bounded = memory.is_none_or(|peak| peak <= memory_max);
        assert!(is_bounded, "{}: {memory:?} MiB, more than {memory_max}", self.attack);
        let told = Instant::now();
        live.stop().await;
        let end = told.elapsed();
        assert!(end < END_ALIVE, "{}: the end took {end:?}", self.attack);
        if !is_measured() {
            return;
        }
        let line = format!(
            "{:<44} health: median {:>5.1} ms, worst {:>6.1} ms of {}; end {:>5.2} s; memory {} of {} MiB\n",
            self.attack,
            median.as_secs_f64() * 1000.0,
            worst.as_secs_f64() * 1000.0,
            took.len(),
            end.as_secs_f64(),
            memory.unwrap_or_default(),
            self.memory_max
        );
        note(&line);
        assert!(worst <= HEALTH_MAX, "{line}");
        assert!(end <= END_MAX, "{line}");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Asks on a connection of its own, as those do who watch a server from outside.
fn ask(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, HEALTH_ALIVE)?;
    stream.set_read_timeout(Some(HEALTH_ALIVE))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    // That something is wrong may be the right answer.
    if answer.starts_with(b"HTTP/1.1 200 ") || answer.starts_with(b"HTTP/1.1 503 ") {
        return Ok(());
    }
    Err(std::io::ErrorKind::InvalidData.into())
}
