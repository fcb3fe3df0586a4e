//! A real pgbouncer for tests, in transaction mode before the shared PostgreSQL.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::database::{Database, finished, is_root, missing};

const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A pool with fewer connections than one server of ours uses, so that they change hands.
pub(crate) struct Pool {
    port: u16,
    /// A shell that ends the pool and removes its folder when its input ends.
    keeper: Child,
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl Pool {
    /// Starts one; `None` where pgbouncer is not installed.
    pub(crate) async fn start(database: &Database) -> Option<Self> {
        if !std::path::Path::new(PROGRAM).exists() {
            return missing("pgbouncer", "pgbouncer");
        }
        let folder = tempfile::Builder::new().prefix("nightbell").tempdir().expect("a folder");
        let folder = folder.keep();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let settings = format!(
            "[databases]\npostgres = host=127.0.0.1 port={} dbname=postgres user=tester\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n\
             max_client_conn = 100\nlogfile = {}\n",
            database.port(),
            folder.join("log").display()
        );
        let file = folder.join("pgbouncer.ini");
        std::fs::write(&file, settings).expect("there is room");
        let script = "\"$@\" > /dev/null 2>&1 & pool=$!; cat; kill -TERM $pool; \
                      wait $pool; rm -rf \"$FOLDER\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).env("FOLDER", &folder).stdin(Stdio::piped());
        shell.arg(PROGRAM);
        if is_root() {
            // It refuses to stay root.
            finished(Command::new("chown").args(["-R", "postgres"]).arg(&folder));
            shell.args(["-u", "postgres"]);
        }
        let keeper = shell.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let this = Self { port, keeper: keeper.expect("there is a shell") };
        for _ in 0..3000 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(this);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!(
            "the pool does not answer:\n{}",
            std::fs::read_to_string(folder.join("log")).unwrap_or_default()
        );
    }

    /// The URL of the database through the pool.
    pub(crate) fn url(&self) -> String {
        format!("postgres://tester@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }
}
