//! A real PostgreSQL for tests: one server for all of them, gone with the process, whatever ends it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use store::PostgresOptions;
use tokio::sync::OnceCell;

/// A server over a folder of its own.
pub(crate) struct Database {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    /// A shell that starts the server, again if it is killed, and ends it and removes the folder when
    /// its input ends: with this value, or with the process.
    keeper: Child,
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Schemas that were given out.
static SCHEMAS: AtomicU32 = AtomicU32::new(0);

/// The server that all tests share; `None` where PostgreSQL is not installed.
pub(crate) async fn shared() -> Option<&'static Database> {
    static SHARED: OnceCell<Option<Database>> = OnceCell::const_new();
    SHARED.get_or_init(Database::start).await.as_ref()
}

impl Database {
    /// A server for one test alone.
    pub(crate) async fn start() -> Option<Self> {
        let Some(programs) = newest("/usr/lib/postgresql") else {
            return missing("PostgreSQL", "postgresql");
        };
        let folder = folder();
        let mut made = as_server(&programs.join("initdb"));
        made.args(["-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C", "-D"]);
        finished(made.arg(folder.join("data")));
        Some(Self::over(folder, programs).await)
    }

    /// A server over a folder that has its data.
    async fn over(folder: PathBuf, programs: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let keeper = launched(&programs, &folder, port);
        let this = Self { folder, programs, port, keeper };
        this.answers().await;
        this
    }

    /// A standby of this server: from now on nothing is acknowledged here that the standby does not have.
    pub(crate) async fn standby(&self) -> Self {
        let folder = folder();
        let mut copied = as_server(&self.programs.join("pg_basebackup"));
        copied.args(["-U", "tester", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        copied.args(["-R", "-c", "fast", "--no-sync", "-D"]);
        finished(copied.arg(folder.join("data")));
        let standby = Self::over(folder, self.programs.clone()).await;
        self.told("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.told("SELECT pg_reload_conf()");
        let waited_for = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        for _ in 0..3000 {
            if self.told(waited_for) == "1" {
                return standby;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the standby does not follow");
    }

    /// Makes a standby the server that is written to.
    pub(crate) fn promote(&self) {
        assert_eq!(self.told("SELECT pg_promote()"), "t");
    }

    /// What the server answers to a statement.
    fn told(&self, statement: &str) -> String {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-U", "tester", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        let output = psql.args(["-qAtX", "-d", "postgres", "-c", statement]).output();
        let output = output.expect("psql is there");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statement}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Kills the server as a crash would, and waits until it has been started again.
    pub(crate) async fn crash(&self) {
        let file = self.folder.join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).expect("the server runs");
        let pid = text.lines().next().expect("it begins with the process").to_owned();
        // Only the first process: the others see it gone and end.
        finished(Command::new("kill").args(["-KILL", &pid]));
        self.answers().await;
    }

    async fn answers(&self) {
        for _ in 0..3000 {
            let mut ask = Command::new(self.programs.join("pg_isready"));
            let answer = ask.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]).status();
            if answer.is_ok_and(|status| status.success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        panic!("the server does not answer:\n{log}");
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the database.
    pub(crate) fn url(&self) -> String {
        format!("postgres://tester@127.0.0.1:{}/postgres", self.port)
    }

    /// The options for a schema of that name, with the shortest lease.
    pub(crate) fn schema(&self, schema: &str) -> PostgresOptions {
        let url = format!("{}?sslmode=disable&lease=1&schema={schema}", self.url());
        PostgresOptions::parse(&url).expect("the URL is right")
    }

    /// A schema that no other test uses.
    pub(crate) fn fresh(&self) -> (String, PostgresOptions) {
        let schema = format!("test_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed));
        let options = self.schema(&schema);
        (schema, options)
    }
}

/// A folder that the server may write to.
fn folder() -> PathBuf {
    let folder = tempfile::Builder::new().prefix("nightbell").tempdir().expect("a folder").keep();
    if is_root() {
        finished(Command::new("chown").arg("postgres").arg(&folder));
    }
    folder
}

/// Starts the server below a shell that outlives neither this process nor the value.
fn launched(programs: &Path, folder: &Path, port: u16) -> Child {
    let data = folder.join("data");
    // After a crash the first attempts may fail, while processes of the old server still end.
    let script = "keep() { while :; do \"$@\" >> \"$FOLDER/log\" 2>&1; sleep 0.05; done; }; \
                  keep \"$@\" & keeper=$!; cat; kill $keeper; \
                  server=$(head -n 1 \"$FOLDER/data/postmaster.pid\"); kill -QUIT $server; \
                  while kill -0 $server; do sleep 0.05; done; rm -rf \"$FOLDER\"";
    let server = as_server(&programs.join("postgres"));
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).env("FOLDER", folder).stdin(Stdio::piped());
    shell.arg(server.get_program()).args(server.get_args()).arg("-D").arg(data);
    shell.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
    shell.args(["-c", "max_connections=200", "-c", "unix_socket_directories="]);
    // A standby comes back at once.
    shell.args(["-c", "wal_retrieve_retry_interval=100ms"]);
    shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("there is a shell")
}

/// Servers refuse to run as root.
fn as_server(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]).arg(program);
    command
}

pub(crate) fn finished(command: &mut Command) {
    let output = command.output().expect("the program is there");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

pub(crate) fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("every system has id");
    output.stdout.trim_ascii() == b"0"
}

fn newest(folder: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let versions = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = versions.max_by_key(version)?.join("bin");
    newest.join("postgres").exists().then_some(newest)
}

/// Says what is missing; where the services must be there, that is a failure.
pub(crate) fn missing<T>(name: &str, package: &str) -> Option<T> {
    let text = format!("{name} is not installed (Debian's package {package})");
    assert!(std::env::var_os("NIGHTBELL_TEST_SERVICES").is_none_or(|v| v != "1"), "{text}");
    #[allow(clippy::print_stderr, reason = "a skipped test must say so")]
    {
        eprintln!("skipped: {text}");
    }
    None
}
