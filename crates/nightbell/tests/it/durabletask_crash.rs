//! SIGKILL of the server and of Python workers at random moments while instances run: every instance
//! ends once, every activity runs at least once, no event and no signal to an entity is lost.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::crash::Random;
use crate::live::Live;
use crate::sdks::{PYTHON, prepared};

/// Times that the server, or a worker, is killed.
const KILLS: usize = 12;
/// Instances started over the time of the killing.
const INSTANCES: usize = 1200;
/// Worker processes at any time.
const WORKERS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn instances_survive_the_death_of_server_and_workers() {
    let Some(python) = prepared(PYTHON) else { return };
    let mut live = Live::start(&["--log-level", "warn"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (log, ids) = (folder.path().join("runs.log"), folder.path().join("ids"));
    let cast = Cast { python, endpoint: format!("127.0.0.1:{}", live.port()) };
    let mut workers: Vec<Mortal> = (0..WORKERS).map(|_| cast.worker(&log)).collect();
    let mut starter = cast.starter(&ids);

    let mut random = Random::new();
    println!("moments drawn from seed {}", random.0);
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(300 + random.below(900))).await;
        if kill % 3 == 2 {
            let victim = random.below(WORKERS as u64) as usize;
            workers[victim] = cast.worker(&log);
        } else {
            live.kill();
            live.launch().await;
        }
    }
    let started = tokio::task::spawn_blocking(move || starter.0.wait());
    let status = started.await.expect("the thread ends").expect("it can be waited for");
    assert!(status.success(), "not every start was acknowledged; log {}", live.log_text());
    let said = std::fs::read_to_string(&ids).expect("the ids");
    assert_eq!(said.lines().count(), INSTANCES);

    let mut judge = cast.command([OsStr::new("judge"), log.as_os_str(), ids.as_os_str()]);
    let judged = tokio::task::spawn_blocking(move || judge.output());
    let output = judged.await.expect("the thread ends").expect("the judge runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}\n{}", live.log_text());
    assert!(said.contains("all checks passed"), "{said}\n{complained}");
    println!("{said}");
}

/// What starts processes of the script.
struct Cast {
    python: std::ffi::OsString,
    endpoint: String,
}

impl Cast {
    fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a OsStr>) -> Command {
        let script: PathBuf =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/durable_crash.py");
        let mut command = Command::new(&self.python);
        command.arg(script).args(arguments);
        command.env("ENDPOINT", &self.endpoint).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    fn worker(&self, log: &Path) -> Mortal {
        let mut command = self.command([OsStr::new("work"), log.as_os_str()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Mortal(command.spawn().expect("a worker runs"))
    }

    fn starter(&self, ids: &Path) -> Mortal {
        let count = INSTANCES.to_string();
        let file = std::fs::File::create(ids).expect("a file");
        let mut command = self.command([OsStr::new("start"), OsStr::new(&count)]);
        Mortal(command.stdout(file).spawn().expect("the starter runs"))
    }
}

/// A process that dies by SIGKILL when it is let go of.
struct Mortal(Child);

impl Drop for Mortal {
    fn drop(&mut self) {
        // One that has ended cannot be killed; that is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
