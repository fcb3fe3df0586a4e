//! Real servers for checks: started in a folder of their own on free ports, gone with the test.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running server.
pub(super) struct Service {
    _folder: TempDir,
    child: Option<Child>,
}

/// Longest wait for a server to begin to listen.
const STARTUP: Duration = Duration::from_mins(1);

/// A Debian package's program; `None` (told on stderr) if it is not installed.
pub(super) fn find(program: &str, package: &str) -> Option<PathBuf> {
    let path = PathBuf::from(program);
    if path.is_file() {
        return Some(path);
    }
    let text = format!("{program} is not installed (Debian's package {package})");
    assert!(std::env::var_os("NIGHTBELL_TEST_SERVICES").is_none_or(|it| it != "1"), "{text}");
    #[allow(clippy::print_stderr, reason = "a skipped test must say so")]
    {
        eprintln!("skipped: {text}");
    }
    None
}

impl Service {
    /// Runs a server and waits until it listens.
    pub(super) fn start(folder: TempDir, mut command: Command, port: u16) -> Self {
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        command.process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended with {ended:?}:\n{}", log());
            assert!(begun.elapsed() < STARTUP, "the server does not listen:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { _folder: folder, child: Some(child) }
    }

    /// Kills it and all its children.
    pub(super) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let group = format!("-{}", child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) fn folder() -> TempDir {
    tempfile::Builder::new().prefix("nightbell-check").tempdir().unwrap()
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Writes a file into a folder.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}
