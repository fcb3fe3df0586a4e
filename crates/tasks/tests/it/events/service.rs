//! Real brokers, started in a folder of their own on free ports and killed with the test.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running broker.
pub(crate) struct Service {
    program: PathBuf,
    kind: Kind,
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
    /// What tells nodes where each other is, for the broker that wants one.
    mapper: Option<Child>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nats,
    Rabbit {
        dist: u16,
        epmd: u16,
    },
    /// Controller and broker in one; the program is the folder of its libraries.
    Kafka {
        controller: u16,
    },
}

/// Longest wait for a broker to begin to listen.
const STARTUP: Duration = Duration::from_secs(90);

impl Service {
    /// NATS with `JetStream`, not yet started; `None` (told on stderr) if it is not installed.
    pub(crate) fn nats() -> Option<Self> {
        Self::find("nats-server", &["/usr/sbin", "/usr/bin"], Kind::Nats)
    }

    /// `RabbitMQ`, started.
    pub(crate) fn rabbit() -> Option<Self> {
        let kind = Kind::Rabbit { dist: free_port(), epmd: free_port() };
        // The script itself: the one on PATH wants to be run by root and changes the user.
        let mut service = Self::find("rabbitmq-server", &["/usr/lib/rabbitmq/bin"], kind)?;
        service.start();
        Some(service)
    }

    /// Kafka, not yet started; `None` (told on stderr) if it is not there. No package of Debian
    /// has it, so nobody is obliged to.
    #[expect(clippy::print_stderr, reason = "whoever runs the tests is told")]
    pub(crate) fn kafka() -> Option<Self> {
        let named = std::env::var_os("NIGHTBELL_TEST_KAFKA").map(PathBuf::from);
        let usual = ["/opt/kafka/libs", "/usr/share/kafka/libs"].map(PathBuf::from);
        let Some(program) = named.into_iter().chain(usual).find(|folder| folder.is_dir()) else {
            eprintln!(
                "skipped: no Kafka (set NIGHTBELL_TEST_KAFKA to the folder of its libraries)"
            );
            return None;
        };
        let kind = Kind::Kafka { controller: free_port() };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let service = Self { program, kind, port: free_port(), folder, child: None, mapper: None };
        service.configure_kafka();
        Some(service)
    }

    /// Writes the broker's properties, and the marks that it wants in its folder of data.
    fn configure_kafka(&self) {
        let Kind::Kafka { controller } = self.kind else { return };
        let (port, data) = (self.port, self.folder.path().join("data"));
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             log.dirs={}\nnum.partitions=3\noffsets.topic.replication.factor=1\n",
            data.display()
        );
        let file = self.folder.path().join("server.properties");
        std::fs::write(&file, properties).expect("the folder takes files");
        let mut format = self.java("kafka.tools.StorageTool");
        format.args(["format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"]).arg(&file);
        let formatted = format.output().expect("java is there");
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
    }

    fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        let libraries = self.program.join("*");
        command.args(["-Xmx400m", "-XX:TieredStopAtLevel=1", "-cp"]).arg(libraries).arg(class);
        command
    }

    #[expect(clippy::print_stderr, reason = "whoever runs the tests is told")]
    fn find(name: &str, folders: &[&str], kind: Kind) -> Option<Self> {
        let program = folders.iter().map(|folder| PathBuf::from(folder).join(name));
        let Some(program) = program.into_iter().find(|program| program.is_file()) else {
            assert!(
                std::env::var_os("NIGHTBELL_TEST_SERVICES").is_none(),
                "{name} is not installed"
            );
            eprintln!("skipped: {name} is not installed (apt-get install {name})");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        Some(Self { program, kind, port: free_port(), folder, child: None, mapper: None })
    }

    /// Starts it, again with what it kept, and waits until it listens.
    pub(crate) fn start(&mut self) {
        let folder = self.folder.path();
        let mut command = Command::new(&self.program);
        let port = self.port.to_string();
        match self.kind {
            Kind::Kafka { .. } => {
                command = self.java("kafka.Kafka");
                command.arg(folder.join("server.properties"));
            }
            Kind::Nats => {
                command.args(["-a", "127.0.0.1", "-p", &port, "-js", "-sd"]).arg(folder);
            }
            Kind::Rabbit { dist, epmd } => {
                // Left to itself the broker would start a port mapper that outlives it.
                let mut mapper = Command::new("epmd");
                mapper.args(["-port", &epmd.to_string(), "-address", "127.0.0.1"]);
                let mapper = mapper.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
                self.mapper = Some(mapper.expect("the port mapper can be run"));
                await_port(epmd);
                command
                    .env("HOME", folder)
                    .env("ERL_EPMD_PORT", epmd.to_string())
                    .env("ERL_EPMD_ADDRESS", "127.0.0.1")
                    .env("RABBITMQ_NODENAME", format!("nightbell{port}@localhost"))
                    .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
                    .env("RABBITMQ_NODE_PORT", &port)
                    .env("RABBITMQ_DIST_PORT", dist.to_string())
                    .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
                    .env("RABBITMQ_LOG_BASE", folder.join("log"))
                    .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
                    .env("RABBITMQ_CONF_ENV_FILE", folder.join("none"))
                    .env("RABBITMQ_CONFIG_FILE", folder.join("none"));
            }
        }
        let command = command.process_group(0).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("the broker can be run"));
        await_port(self.port);
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let group = format!("-{}", child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = child.wait();
        if let Some(mut mapper) = self.mapper.take() {
            let _ = mapper.kill();
            let _ = mapper.wait();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

fn await_port(port: u16) {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < STARTUP, "nobody listens at port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}
