//! Real databases for tests: found on this machine, started on a free port in a temporary folder,
//! gone with the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A server that ends with the test.
pub(crate) struct Service {
    /// Where it listens on the loopback interface.
    pub(crate) port: u16,
    process: Child,
    folder: Option<TempDir>,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(folder) = self.folder.take() {
            let _ = folder.close();
        }
    }
}

/// PostgreSQL with the user `tester`, whose password is `s3cret`.
pub(crate) async fn postgres() -> Option<Service> {
    let found = newest("/usr/lib/postgresql").map(|version| version.join("bin/postgres"));
    let Some(server) = found.filter(|path| path.exists()) else {
        return missing("PostgreSQL", "postgresql");
    };
    let folder = folder("postgres");
    let data = folder.path().join("data");
    let secret = folder.path().join("password");
    std::fs::write(&secret, "s3cret").expect("the folder is ours");
    let initdb = server.with_file_name("initdb");
    let mut init = as_user("postgres", &initdb);
    init.arg("-D").arg(&data).args(["-U", "tester", "-A", "scram-sha-256", "--no-sync"]);
    init.arg(format!("--pwfile={}", secret.display())).args(["-E", "UTF8"]);
    finished(&mut init);
    let port = free_port();
    let mut serve = as_user("postgres", &server);
    serve.arg("-D").arg(&data).args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
    serve.args(["-p", &port.to_string(), "-k"]).arg(folder.path());
    Some(started(serve, port, folder).await)
}

/// `MariaDB` with the user `tester`, whose password is `s3cret`, and a database `test`.
pub(crate) async fn mariadb() -> Option<Service> {
    let server = Path::new("/usr/sbin/mariadbd");
    if !server.exists() {
        return missing("MariaDB", "mariadb-server");
    }
    let folder = folder("mysql");
    let data = folder.path().join("data");
    let path = |option: &str, file: &Path| format!("--{option}={}", file.display());
    let mut init = Command::new("mariadb-install-db");
    init.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]);
    init.arg(path("datadir", &data));
    let user = if is_root() { "mysql".to_owned() } else { whoami() };
    init.arg(format!("--user={user}"));
    finished(&mut init);
    let script = folder.path().join("init.sql");
    let statements = "CREATE DATABASE test;\nCREATE USER tester@'127.0.0.1' IDENTIFIED BY \
                      's3cret';\nGRANT ALL ON *.* TO tester@'127.0.0.1';\n";
    std::fs::write(&script, statements).expect("the folder is ours");
    let port = free_port();
    let mut serve = Command::new(server);
    serve.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
    serve.arg(path("datadir", &data)).arg(path("init-file", &script));
    serve.arg(path("socket", &folder.path().join("s"))).arg(format!("--port={port}"));
    serve.arg(format!("--user={user}"));
    Some(started(serve, port, folder).await)
}

/// Starts a server and waits until it takes connections.
async fn started(mut serve: Command, port: u16, folder: TempDir) -> Service {
    let log = std::fs::File::create(folder.path().join("log")).expect("the folder is ours");
    let errors = log.try_clone().expect("a file");
    serve.stdin(Stdio::null()).stdout(log).stderr(errors);
    let process = serve.spawn().expect("the server starts");
    let mut service = Service { port, process, folder: Some(folder) };
    let ready = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = service.process.try_wait().expect("our own child") {
                panic!("the server ended with {status}:\n{}", log_of(&service));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = Duration::from_mins(1);
    let listens = tokio::time::timeout(limit, ready).await.is_ok();
    assert!(listens, "the server does not listen:\n{}", log_of(&service));
    service
}

fn log_of(service: &Service) -> String {
    let folder = service.folder.as_ref().expect("it is there until the end");
    std::fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}

/// A folder that the server's user may use.
fn folder(user: &str) -> TempDir {
    let folder = tempfile::Builder::new().prefix("nightbell").tempdir().expect("a folder");
    if is_root() {
        finished(Command::new("chown").arg(user).arg(folder.path()));
    }
    folder
}

/// Servers refuse to run as root.
fn as_user(user: &str, program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    // Without runuser between us and the server: a signal must reach the server itself.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(program);
    command
}

fn finished(command: &mut Command) {
    let output = command.output().expect("the program is there");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

fn is_root() -> bool {
    whoami() == "root"
}

fn whoami() -> String {
    let output = Command::new("id").arg("-un").output().expect("every system has id");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

fn newest(folder: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    entries.filter_map(|entry| Some(entry.ok()?.path())).max_by_key(version)
}

/// Says what is missing; where the services must be there, that is a failure.
fn missing<T>(what: &str, package: &str) -> Option<T> {
    let text = format!("{what} is not installed (Debian's package {package})");
    assert!(std::env::var_os("NIGHTBELL_TEST_SERVICES").is_none_or(|v| v != "1"), "{text}");
    #[allow(clippy::print_stderr, reason = "a skipped test must say so")]
    {
        eprintln!("skipped: {text}");
    }
    None
}
