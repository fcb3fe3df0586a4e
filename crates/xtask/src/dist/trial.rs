//! Tries the packages as their users do, in a clean root of Debian: installed, run as the unit would run
//! it, upgraded with what was stored kept, removed and purged; then the package of rpm, with the same store.
//!
//! By hand, not with the tests: it needs root and an archive of Debian, and takes a minute. There is no
//! systemd in a mere root, so the line of the unit is run as a user of its own with what systemd would
//! have made for it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::contents::Contents;
use super::{deb, rpm};
use crate::say;

/// The oldest Debian that packages are for.
const SUITE: &str = "bookworm";
/// Whom the service runs as: of those that systemd takes for dynamic users.
const USER: u32 = 61_184;
/// How long a server may take to answer, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the unit names, as paths in the root.
const STORE: &str = "var/lib/nightbell";
const CREDENTIALS: &str = "run/credentials/nightbell.service";
const CONFIGURATION: &str = "etc/nightbell/nightbell.toml";
const UNIT: &str = "usr/lib/systemd/system/nightbell.service";
/// What somebody has written into the configuration.
const MINE: &str = "# mine";

/// A folder that is a whole system, removed at the end.
#[derive(Debug)]
struct Root(PathBuf);

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Tries both packages.
///
/// # Errors
/// Something is not as promised; it says what.
pub(super) fn run(contents: &Contents) -> anyhow::Result<()> {
    let user = Command::new("id").arg("-u").output().context("id")?;
    ensure!(user.stdout.trim_ascii() == b"0", "only root may make a root to try packages in");
    let name = format!("nightbell-root-{}", std::process::id());
    let root = Root(std::env::temp_dir().join(name));
    say(&format!("── a clean root of Debian {SUITE} in {}", root.0.display()));
    let mut make = Command::new("debootstrap");
    done(make.args(["--variant=minbase", SUITE]).arg(&root.0), "debootstrap")?;

    let older = Contents { version: format!("{}-before", contents.version), ..contents.clone() };
    say("── Debian: install");
    root.dpkg("--install", &deb::package(&older)?)?;
    root.has(CONFIGURATION, Some(0o600))?;
    root.has("etc/default/nightbell", Some(0o600))?;
    root.has("etc/nightbell/load", Some(0o755))?;
    root.edit()?;
    let run = root.served(None)?;
    say("── Debian: upgrade");
    root.dpkg("--install", &deb::package(contents)?)?;
    let version = root.inside(&["dpkg-query", "--show", "--showformat=${Version}", "nightbell"])?;
    ensure!(version == contents.sorted_version(), "the version is {version} after the upgrade");
    root.is_mine(CONFIGURATION)?;
    root.served(Some(&run))?;
    say("── Debian: remove");
    root.inside(&["dpkg", "--remove", "nightbell"])?;
    root.has("usr/bin/nightbell", None)?;
    root.is_mine(CONFIGURATION)?;
    say("── Debian: purge");
    root.inside(&["dpkg", "--purge", "nightbell"])?;
    root.has("etc/nightbell", None)?;
    root.has("etc/default/nightbell", None)?;
    root.has(&format!("{STORE}/nightbell.db"), Some(0o600))?;

    if Command::new("rpm").arg("--version").output().is_err() {
        say("skipped: the package of rpm, since there is no rpm here (apt-get install rpm)");
        return Ok(());
    }
    say("── rpm: install");
    root.rpm(&["--install", "--nodeps"], Some(&rpm::package(&older)?))?;
    root.has(CONFIGURATION, Some(0o600))?;
    root.edit()?;
    root.served(Some(&run))?;
    say("── rpm: upgrade");
    root.rpm(&["--upgrade", "--nodeps"], Some(&rpm::package(contents)?))?;
    root.is_mine(CONFIGURATION)?;
    root.rpm(&["--verify", "--nodeps", "--noconfig", "nightbell"], None)?;
    root.served(Some(&run))?;
    say("── rpm: erase");
    root.rpm(&["--erase", "nightbell"], None)?;
    root.has("usr/bin/nightbell", None)?;
    root.is_mine(&format!("{CONFIGURATION}.rpmsave"))?;
    root.has(&format!("{STORE}/nightbell.db"), Some(0o600))?;
    say("both packages do as they promise");
    Ok(())
}

impl Root {
    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Runs a command in the root; what it says.
    fn inside(&self, command: &[&str]) -> anyhow::Result<String> {
        let mut chroot = Command::new("chroot");
        // The path of this machine's root may lead elsewhere.
        chroot.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg(&self.0).args(command);
        done(&mut chroot, &command.join(" "))
    }

    fn dpkg(&self, verb: &str, package: &[u8]) -> anyhow::Result<()> {
        std::fs::write(self.at("tmp/nightbell.deb"), package)?;
        self.inside(&["dpkg", verb, "/tmp/nightbell.deb"]).map(drop)
    }

    /// Debian's packages are unknown to rpm, so what the package needs is not asked for.
    fn rpm(&self, arguments: &[&str], package: Option<&[u8]>) -> anyhow::Result<()> {
        let mut rpm = Command::new("rpm");
        rpm.arg("--root").arg(&self.0).args(arguments);
        if let Some(package) = package {
            let file = self.at("tmp/nightbell.rpm");
            std::fs::write(&file, package)?;
            rpm.arg(&file);
        }
        done(&mut rpm, &format!("rpm {}", arguments.join(" "))).map(drop)
    }

    /// A path is there with a mode, or is not there.
    fn has(&self, path: &str, mode: Option<u32>) -> anyhow::Result<()> {
        let shown = |mode: Option<u32>| mode.map_or("not there".to_owned(), |it| format!("{it:o}"));
        let found = std::fs::metadata(self.at(path)).ok().map(|it| it.mode() & 0o7777);
        ensure!(found == mode, "/{path} is {}, and should be {}", shown(found), shown(mode));
        Ok(())
    }

    /// Changes the configuration as its owner does.
    fn edit(&self) -> anyhow::Result<()> {
        let file = std::fs::OpenOptions::new().append(true).open(self.at(CONFIGURATION));
        writeln!(file.context(CONFIGURATION)?, "{MINE}")?;
        Ok(())
    }

    fn is_mine(&self, path: &str) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(self.at(path)).with_context(|| path.to_owned())?;
        ensure!(text.ends_with(&format!("{MINE}\n")), "what was written into /{path} is lost");
        Ok(())
    }

    /// Starts the server as the unit does, has it run a workflow or show the one that runs, and stops it.
    /// Answers the run's id.
    fn served(&self, run: Option<&str>) -> anyhow::Result<String> {
        let mut server = Server::start(self)?;
        let run = server.is_healthy().and_then(|()| match run {
            Some(run) => Ok(run.to_owned()),
            None => server.begin(),
        })?;
        let (status, shown) = server.ask("GET", &format!("/api/workflow/{run}"), "")?;
        let is_running = shown.contains("\"status\":\"RUNNING\"");
        ensure!(status == 200 && is_running, "the run {run} is lost: {status} {shown}");
        server.stop()?;
        say("   it was served, and stopped as it was told to");
        Ok(run)
    }
}

/// A server in the root.
#[derive(Debug)]
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// With the line of the unit, and what systemd makes before it runs it.
    fn start(root: &Root) -> anyhow::Result<Self> {
        let unit = std::fs::read_to_string(root.at(UNIT)).context(UNIT)?;
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
        let line =
            line.context("the unit has no ExecStart")?.replace("%d", &format!("/{CREDENTIALS}"));
        for folder in [STORE, CREDENTIALS] {
            std::fs::create_dir_all(root.at(folder))?;
            own(&root.at(folder), 0o700)?;
        }
        let credential = root.at(CREDENTIALS).join("nightbell.toml");
        let _ = std::fs::remove_file(&credential);
        std::fs::copy(root.at(CONFIGURATION), &credential)?;
        own(&credential, 0o400)?;
        let environment = std::fs::read_to_string(root.at("etc/default/nightbell"))?;
        let variables = environment.lines().filter(|line| !line.starts_with('#'));
        // A port that is free now.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let child = Command::new("chroot")
            .arg(format!("--userspec={USER}:{USER}"))
            .arg(&root.0)
            .args(["/bin/sh", "-c", "umask 0077; cd \"$0\"; exec \"$@\"", &format!("/{STORE}")])
            .args(line.split_whitespace())
            .env_clear()
            .envs(variables.filter_map(|line| line.split_once('=')))
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CREDENTIALS_DIRECTORY", format!("/{CREDENTIALS}"))
            .env("STATE_DIRECTORY", format!("/{STORE}"))
            .env("NIGHTBELL_LISTEN", format!("127.0.0.1:{port}"))
            .spawn();
        Ok(Self { child: child.context("chroot")?, port })
    }

    fn is_healthy(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended: {status}");
            }
            let seen = match self.ask("GET", "/health", "") {
                Ok((200, _)) => return Ok(()),
                Ok((status, text)) => format!("{status} {text}"),
                Err(error) => error.to_string(),
            };
            ensure!(begun.elapsed() < PATIENCE, "the server is not healthy: {seen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Begins a run that waits for a worker.
    fn begin(&self) -> anyhow::Result<String> {
        let definition = r#"{"name":"kept","version":1,"schemaVersion":2,"tasks":[
            {"name":"work","taskReferenceName":"work","type":"SIMPLE"}]}"#;
        for (path, body) in [("/api/metadata/workflow", definition), ("/api/workflow/kept", "{}")] {
            let (status, text) = self.ask("POST", path, body)?;
            ensure!((200..300).contains(&status), "{path}: {status} {text}");
            if path.ends_with("kept") {
                return Ok(text.trim_matches('"').to_owned());
            }
        }
        bail!("nothing was begun")
    }

    /// Asks as HTTP 1.0, whose answers end with the connection.
    fn ask(&self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, text) = answer.split_once("\r\n\r\n").context("the answer is cut short")?;
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        Ok((status.with_context(|| format!("the answer is {head:?}"))?, text.to_owned()))
    }

    /// As systemd does.
    fn stop(&mut self) -> anyhow::Result<()> {
        done(Command::new("kill").arg(self.child.id().to_string()), "kill")?;
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "the server was told to stop, and ended with {status}");
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "the server was told to stop, and goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Gives a path to the service's user alone.
fn own(path: &Path, mode: u32) -> anyhow::Result<()> {
    let shown = || path.display().to_string();
    chown(path, Some(USER), Some(USER)).with_context(shown)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).with_context(shown)
}

/// Runs a command to its end; what it says.
fn done(command: &mut Command, name: &str) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{name}: cannot be run"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {}\n{said}{complained}", output.status);
    Ok(said)
}
