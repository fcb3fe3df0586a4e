//! Secrets at rest: who can read files, memory images and the list of processes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::live::{Live, binary};

const PASSWORD: &str = "hunter2-hunter2";
const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn write(path: &Path, text: &str, mode: u32) -> String {
    // One that was written before may not be ours to change.
    let _ = std::fs::remove_file(path);
    std::fs::write(path, text).expect("it can be written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    path.to_str().expect("it is UTF-8").to_owned()
}

fn with_password() -> String {
    format!("[sources.db]\nurl = \"postgres://monitor:{PASSWORD}@127.0.0.1:1/db\"\n")
}

#[tokio::test]
async fn passwords_in_a_file_that_others_can_read_are_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("nightbell.toml");
    for (text, mode, told) in [
        (with_password(), 0o644, Some("everybody can read it (mode 644)")),
        (with_password(), 0o640, Some("its group can read it (mode 640)")),
        (with_password(), 0o600, None),
        ("retention_count = 5\n".to_owned(), 0o644, None),
    ] {
        let file = write(&file, &text, mode);
        let live = Live::start(&["--config", &file]).await;
        let log = live.log_text();
        match told {
            Some(told) => assert!(log.contains(told) && log.contains("chmod 600"), "{log}"),
            None => assert!(!log.contains("can read it"), "{mode:o}: {log}"),
        }
        assert!(!log.contains(PASSWORD), "{log}");
    }
}

#[tokio::test]
async fn a_store_that_the_group_can_read_is_told_of() {
    let mut live = Live::start(&[]).await;
    assert!(!live.log_text().contains("can read it"), "{}", live.log_text());
    live.kill();
    let store = live.store();
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o640)).expect("it is ours");
    live.launch().await;
    let log = live.log_text();
    assert!(log.contains("its group can read it (mode 640)"), "{log}");
}

#[tokio::test]
async fn passwords_on_the_command_line_are_told_of() {
    let source = format!("db=postgres://monitor:{PASSWORD}@127.0.0.1:1/db");
    let live = Live::start(&["--sources", &source]).await;
    let log = live.log_text();
    assert!(log.contains("--sources in the list of processes"), "{log}");
    assert!(!log.contains(PASSWORD), "{log}");
    let variable = [("NIGHTBELL_SOURCES", &*source)];
    let live = Live::start_as("serve", &[], &variable).await;
    assert!(!live.log_text().contains("list of processes"), "{}", live.log_text());
}

#[tokio::test]
async fn credentials_of_systemd_are_read_though_their_mode_names_a_group() {
    let folder = tempfile::tempdir().expect("a folder");
    let given = folder.path().to_str().expect("it is UTF-8");
    let key = write(&folder.path().join("key"), KEY, 0o440);
    let config = write(&folder.path().join("nightbell.toml"), &with_password(), 0o440);
    let arguments = ["--secret-key-file", &key, "--config", &config];
    let variables = [("CREDENTIALS_DIRECTORY", given)];
    let live = Live::start_as("serve", &arguments, &variables).await;
    assert!(!live.log_text().contains("can read it"), "{}", live.log_text());
    // Nobody vouches for the same file without a service manager, or for one that everybody can read.
    for (mode, folder) in [(0o440, ""), (0o444, given)] {
        let key = write(Path::new(&key), KEY, mode);
        let store = tempfile::tempdir().expect("a folder");
        let refused = Command::new(binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--secret-key-file", &key, "--store"])
            .arg(format!("sqlite:{}", store.path().join("nb.db").display()))
            .env("CREDENTIALS_DIRECTORY", folder)
            .output()
            .expect("the binary runs");
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("can be read by others"), "{said}");
    }
}

/// The soft and the hard limit of a running process, as the system shows them.
fn limits(pid: u32, name: &str) -> [String; 2] {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    let mut words = line.unwrap_or_default().split_whitespace().map(str::to_owned);
    let mut next = || words.next().unwrap_or_else(|| panic!("no {name} in {limits}"));
    [next(), next()]
}

#[tokio::test]
async fn a_crash_leaves_no_memory_on_the_disk() {
    let live = Live::start(&[]).await;
    assert_eq!(limits(live.pid(), "Max core file size")[0], "0");
}

/// Connections are bounded by open files, of which a shell allows few until it is asked for more.
#[tokio::test]
async fn as_many_files_may_be_open_as_the_system_allows() {
    let live = Live::start_limited(256, 700).await;
    assert_eq!(limits(live.pid(), "Max open files"), ["700", "700"]);
    let log = live.log_text();
    assert!(log.contains("few open files") && log.contains("connections=444"), "{log}");
}
