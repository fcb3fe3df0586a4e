//! What `deploy/systemd` promises of a server that runs as it says: who can read its passwords, and
//! what it may take of the machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::live::{Live, binary};
use crate::skipped::skipped;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join("deploy/systemd").join(file)).unwrap()
}

/// The unit as systemd reads it: names and values in order.
fn unit() -> Vec<(String, String)> {
    let text = read("nightbell.service");
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
    let pair = |line: &str| line.split_once('=').map(|(name, it)| (name.into(), it.into()));
    lines.filter_map(pair).collect()
}

fn value(unit: &[(String, String)], name: &str) -> String {
    let mut found = unit.iter().filter(|(known, _)| known == name);
    let (_, value) = found.next().unwrap_or_else(|| panic!("the unit says nothing of {name}"));
    assert!(found.next().is_none(), "the unit says {name} twice");
    value.clone()
}

fn bytes(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let power = ["K", "M", "G"].iter().position(|it| *it == unit).expect("a size with its unit");
    number.parse::<u64>().unwrap() << (10 * (power + 1))
}

/// Runs what `ExecStart` says, with folders of a test in the place of those of the machine.
#[tokio::test]
async fn the_service_reads_a_copy_of_its_passwords_that_is_its_own() {
    let unit = unit();
    let loaded = value(&unit, "LoadCredential");
    let (name, source) = loaded.split_once(':').unwrap();
    let exec = value(&unit, "ExecStart");
    assert!(!exec.contains(source), "the service reads {source} itself: {exec}");
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str| {
        let made = folder.path().join(name);
        std::fs::create_dir(&made).unwrap();
        made.display().to_string()
    };
    let (credentials, store, load) = (made("credentials"), made("store"), made("load"));
    // As systemd makes it: its mode names a group, and yet nobody else can read it.
    let credential = Path::new(&credentials).join(name);
    let password = "[sources.db]\nurl = \"postgres://monitor:hunter2@127.0.0.1:1/db\"\n";
    std::fs::write(&credential, password).unwrap();
    std::fs::set_permissions(&credential, std::fs::Permissions::from_mode(0o440)).unwrap();
    let exec = exec.replace("%d", &credentials).replace("/var/lib/nightbell", &store);
    let exec = exec.replace("/etc/nightbell/load", &load);
    let arguments: Vec<&str> = exec.split_whitespace().skip(2).collect();
    let variables = [("CREDENTIALS_DIRECTORY", &*credentials)];
    let live = Live::start_as("serve", &arguments, &variables).await;
    let log = live.log_text();
    assert!(!log.contains("can read it") && !log.contains("hunter2"), "{log}");
    assert!(std::fs::read_dir(&store).unwrap().next().is_some(), "the store is where it belongs");
}

#[test]
fn the_service_leaves_no_memory_on_the_disk_and_does_not_take_all_of_the_machine() {
    let unit = unit();
    assert_eq!(value(&unit, "LimitCORE"), "0");
    assert_eq!(value(&unit, "UMask"), "0077");
    let (high, max) = (value(&unit, "MemoryHigh"), value(&unit, "MemoryMax"));
    assert!(bytes(&high) < bytes(&max), "it is slowed down before it is ended");
    // Connections, and what is kept in reserve beside them.
    let files: u64 = value(&unit, "LimitNOFILE").parse().unwrap();
    assert!(files >= 10_256, "{files}");
}

#[test]
fn what_is_installed_can_be_read_by_root_alone_where_it_may_hold_passwords() {
    let guide = read("README.md");
    let (_, commands) = guide.split_once("```sh\n").unwrap();
    let (commands, _) = commands.split_once("```").unwrap();
    let source = value(&unit(), "LoadCredential");
    let environment = value(&unit(), "EnvironmentFile");
    let secret = [source.split_once(':').unwrap().1, environment.trim_start_matches('-')];
    for file in secret {
        let line = commands.lines().find(|line| line.ends_with(file));
        let line = line.unwrap_or_else(|| panic!("nothing installs {file}"));
        assert!(line.contains("install -m 600 "), "{line}");
    }
    // No command opens again what another has closed.
    for opener in ["chmod", "chown", "chgrp", "setfacl", "umask"] {
        assert!(!commands.contains(opener), "{opener}: {commands}");
    }
    for line in commands.lines() {
        for file in line.split_whitespace().filter(|it| it.starts_with("deploy/")) {
            assert!(root().join(file).exists(), "{line}");
        }
    }
    assert!(read("nightbell.default").contains("0600"), "the file says so, too");
}

/// systemd ignores what it does not know, so that a misspelt line protects nothing.
#[test]
fn systemd_understands_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nightbell.service");
    let text = read("nightbell.service");
    let here = binary().canonicalize().unwrap();
    let text = text.replace("/usr/local/bin/nightbell", here.to_str().unwrap());
    std::fs::write(&file, text).unwrap();
    let ask = |arguments: &[&str]| {
        let asked = Command::new("systemd-analyze").args(arguments).arg(&file).output();
        asked.map(|output| {
            let said = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&said).into_owned())
        })
    };
    let Ok((is_well, said)) = ask(&["verify", "--man=no"]) else {
        skipped("there is no systemd-analyze here (Debian's package systemd)");
        return;
    };
    let about_it: Vec<&str> = said.lines().filter(|line| line.contains("nightbell")).collect();
    assert!(is_well && about_it.is_empty(), "{said}");
    let (is_tight, said) = ask(&["security", "--offline=yes", "--threshold=20"]).unwrap();
    assert!(is_tight, "{said}");
}
