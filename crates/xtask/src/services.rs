//! The servers and tools that tests drive: found where they are, installed where that is allowed.

use std::path::Path;
use std::process::Command;

use crate::say;

/// A server: Debian's package of it, and a place where its program is then found. `*` stands for
/// one folder of any name.
const SERVICES: [(&str, &str); 15] = [
    ("postgresql", "/usr/lib/postgresql/*/bin/postgres"),
    ("pgbouncer", "/usr/sbin/pgbouncer"),
    ("mariadb-server", "/usr/sbin/mariadbd"),
    ("nats-server", "/usr/sbin/nats-server"),
    ("rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server"),
    ("dovecot-imapd", "/usr/sbin/dovecot"),
    ("influxdb", "/usr/bin/influxd"),
    ("prometheus", "/usr/bin/prometheus"),
    ("prometheus-alertmanager", "/usr/bin/amtool"),
    ("redis-server", "/usr/bin/redis-server"),
    ("pebble", "/usr/bin/pebble"),
    ("faketime", "/usr/bin/faketime"),
    ("rpm", "/usr/bin/rpm"),
    ("chromium", "/usr/bin/chromium"),
    ("chromium-driver", "/usr/bin/chromedriver"),
];

/// Installs what is missing if this user may; notes in `skipped` what is still not there.
pub(crate) fn prepare(skipped: &mut Vec<String>) {
    let missing = missing();
    if missing.is_empty() {
        return;
    }
    if let Err(why) = install(&missing) {
        say(&format!("services cannot be installed: {why}"));
    }
    for package in self::missing() {
        skipped.push(format!("tests with {package}, which is not installed (apt-get install it)"));
    }
}

fn missing() -> Vec<&'static str> {
    SERVICES.iter().filter(|(_, program)| !exists(program)).map(|(package, _)| *package).collect()
}

fn exists(program: &str) -> bool {
    let Some((folder, rest)) = program.split_once("/*/") else {
        return Path::new(program).exists();
    };
    let folders = std::fs::read_dir(folder).into_iter().flatten().flatten();
    folders.map(|entry| entry.path().join(rest)).any(|path| path.exists())
}

/// Packages bring their services along, which are not to run: the tests start their own.
fn install(packages: &[&str]) -> Result<(), String> {
    let user = Command::new("id").arg("-u").output().map_err(|error| error.to_string())?;
    if user.stdout.trim_ascii() != b"0" {
        return Err("only root may".to_owned());
    }
    say(&format!("── installing {}", packages.join(", ")));
    let apt = |arguments: &[&str]| {
        let output = Command::new("apt-get")
            .args(["--quiet", "--yes", "--no-install-recommends"])
            .args(["-o", "Dpkg::Options::=--force-confold"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Asked by invoke-rc.d before it starts a service: 101 is no.
            .env("RUNLEVEL", "1")
            .output()
            .map_err(|error| format!("apt-get: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(said.lines().last().unwrap_or("apt-get failed without a word").to_owned())
    };
    let install = || apt(&[&["install"], packages].concat());
    install().or_else(|_| apt(&["update"]).and_then(|()| install()))
}
