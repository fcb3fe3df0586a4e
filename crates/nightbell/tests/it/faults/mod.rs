//! Three real servers on a real database and its standby, with every way between them cut at will, while
//! clients and workers go on: what was acknowledged stays, and counts once.
//!
//! `cargo xtask faults` runs all of it, as often as it is told to, against a release binary.

mod audit;
mod load;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clock::library;
use crate::crash::Random;
use crate::database::{Database, shared};
use crate::live::{Live, free_port};
use crate::relay::Relay;

use self::audit::audit;
use self::load::Load;

/// How long a cluster may take to recover, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const KEY: (&str, &str) = ("NIGHTBELL_SECRET_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
/// Servers of a cluster.
const SERVERS: usize = 3;
/// Schemas that were used.
static SCHEMAS: AtomicU32 = AtomicU32::new(0);
/// How many reports are to be acknowledged after a fault before the next one.
const ENOUGH: u64 = 20;

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A server that follows is killed, and started again.
    KillFollower,
    /// The one that leads is.
    KillLeader,
    /// The database is killed, and recovers.
    CrashDatabase,
    /// The leader loses the database.
    CutDatabase,
    /// The others lose the leader, which has the database.
    CutLeader,
    /// The leader is stopped for longer than its lease, and goes on.
    Stall,
    /// Another server says that it is reached where the leader is.
    Twin,
    /// The machine of the database is lost, and the standby takes its place. After this there is no standby.
    Promote,
}

const FAULTS: [Fault; 7] = [
    Fault::KillFollower,
    Fault::KillLeader,
    Fault::CrashDatabase,
    Fault::CutDatabase,
    Fault::CutLeader,
    Fault::Stall,
    Fault::Twin,
];

/// A server, and the ways to it and from it.
struct Server {
    live: Live,
    /// To each of the databases.
    databases: Vec<Relay>,
    /// From the other servers.
    peers: Relay,
}

impl Server {
    async fn start(databases: &[u16], schema: &str, variables: &[(&str, &str)]) -> Self {
        let mut ways = Vec::new();
        for port in databases {
            ways.push(Relay::start(*port).await);
        }
        let port = free_port();
        let peers = Relay::start(port).await;
        let address = format!("127.0.0.1:{}", peers.port());
        let live = member(&ways, schema, port, &address, variables).await;
        Self { live, databases: ways, peers }
    }
}

/// A server that says where others reach it.
async fn member(
    databases: &[Relay],
    schema: &str,
    port: u16,
    address: &str,
    variables: &[(&str, &str)],
) -> Live {
    let hosts: Vec<String> =
        databases.iter().map(|it| format!("127.0.0.1:{}", it.port())).collect();
    let url = format!(
        "postgres://tester@{}/postgres?sslmode=disable&lease=1&schema={schema}",
        hosts.join(",")
    );
    let listen = format!("127.0.0.1:{port}");
    let arguments = ["--store", &url, "--peer-listen", &listen, "--peer-address", address];
    let variables = [&[KEY], variables].concat();
    Live::start_as("serve", &arguments, &variables).await
}

/// Databases, servers, and the world around them.
struct Cluster {
    /// Its own, if there is a standby.
    primary: Option<Database>,
    standby: Option<Database>,
    schema: String,
    servers: Vec<Server>,
    load: Arc<Load>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Cluster {
    /// On databases of its own or on the one that tests share, with variables for each server; `None` where
    /// there is no PostgreSQL.
    async fn start(has_standby: bool, variables: [&[(&str, &str)]; SERVERS]) -> Option<Self> {
        let (primary, standby, ports) = if has_standby {
            let primary = Database::start().await?;
            let standby = primary.standby().await;
            let ports = vec![primary.port(), standby.port()];
            (Some(primary), Some(standby), ports)
        } else {
            (None, None, vec![shared().await?.port()])
        };
        let schema = format!("faults_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed));
        let mut servers = Vec::new();
        for own in variables {
            servers.push(Server::start(&ports, &schema, own).await);
            ready(&servers[servers.len() - 1].live).await;
        }
        let doors = servers.iter().map(|it| it.live.url("")).collect();
        let (load, tasks) = Load::begin(doors).await;
        let cluster = Self { primary, standby, schema, servers, load, tasks };
        cluster.goes_on().await;
        cluster.load.take_gap();
        Some(cluster)
    }

    /// Which server leads, by what the others say; `but` is known not to, and is not asked.
    async fn leader(&self, but: Option<usize>) -> usize {
        let begun = Instant::now();
        loop {
            for (at, asked) in self.servers.iter().enumerate() {
                if Some(at) == but {
                    continue;
                }
                let path = asked.live.url("/api/cluster");
                let answer = asked.live.http.get(path).timeout(Duration::from_secs(2)).send().await;
                let Ok(answer) = answer else { continue };
                let Ok(nodes) = answer.json::<Value>().await else { continue };
                let nodes = nodes["nodes"].as_array().cloned().unwrap_or_default();
                let leads = nodes.iter().find(|it| it["role"] == "leader" && it["alive"] == true);
                let name = leads.and_then(|it| it["name"].as_str()).unwrap_or_default();
                let is_it =
                    |server: &Server| name.ends_with(&format!("(process {})", server.live.pid()));
                if let Some(found) = self.servers.iter().position(is_it)
                    && Some(found) != but
                {
                    return found;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until all servers serve, and work goes on.
    async fn goes_on(&self) {
        for server in &self.servers {
            ready(&server.live).await;
        }
        let enough = self.load.progress.load(Ordering::Relaxed) + ENOUGH;
        let begun = Instant::now();
        while self.load.progress.load(Ordering::Relaxed) < enough {
            assert!(begun.elapsed() < PATIENCE, "nothing goes on: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Something happens, and all is well again.
    #[allow(clippy::print_stdout, reason = "whoever runs it by hand wants to see it")]
    async fn suffers(&mut self, fault: Fault) {
        let leader = self.leader(None).await;
        let other = (leader + 1) % SERVERS;
        match fault {
            Fault::KillFollower => self.dies(other).await,
            Fault::KillLeader => self.dies(leader).await,
            Fault::CrashDatabase => self.primary.as_ref().expect("it is there").crash().await,
            Fault::CutDatabase => {
                let ways = &self.servers[leader].databases;
                for way in ways {
                    way.cut();
                }
                self.leader(Some(leader)).await;
                for way in ways {
                    way.mend();
                }
            }
            Fault::CutLeader => {
                self.servers[leader].peers.cut();
                until(&self.servers[other].live, "/health/ready", 503).await;
                assert_eq!(self.leader(Some(other)).await, leader, "it gives signs of life");
                self.servers[leader].peers.mend();
            }
            Fault::Stall => {
                signal(&self.servers[leader].live, "-STOP");
                self.leader(Some(leader)).await;
                signal(&self.servers[leader].live, "-CONT");
            }
            Fault::Twin => {
                let peers = format!("127.0.0.1:{}", self.servers[leader].peers.port());
                let ways = &self.servers[other].databases;
                let mut twin = member(ways, &self.schema, free_port(), &peers, &[]).await;
                let begun = Instant::now();
                while !twin.log_text().contains("leads") {
                    assert!(begun.elapsed() < PATIENCE, "{}", twin.log_text());
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                self.goes_on().await;
                assert_eq!(self.leader(None).await, leader, "it keeps its place: {}", self.logs());
                twin.kill();
            }
            Fault::Promote => {
                // What is not acknowledged yet never will be.
                drop(self.primary.take());
                self.primary = self.standby.take();
                self.primary.as_ref().expect("there is a standby").promote();
            }
        }
        self.goes_on().await;
        println!("{fault:?}: nothing was acknowledged for {:?} at most", self.load.take_gap());
    }

    async fn dies(&mut self, server: usize) {
        self.servers[server].live.kill();
        self.servers[server].live.launch().await;
    }

    /// Lets everything come to its end, and judges it.
    #[allow(clippy::print_stdout, reason = "whoever runs it by hand wants to see it")]
    async fn ends(mut self) {
        self.load.has_started.store(true, Ordering::Release);
        let begun = Instant::now();
        let path = "/api/workflow/search?query=status=RUNNING&size=1";
        loop {
            let asked = &self.servers[0].live;
            let answer = asked.http.get(asked.url(path)).send().await;
            let running = match answer {
                Ok(answer) => answer.json::<Value>().await.unwrap_or_default(),
                Err(_) => Value::Null,
            };
            let is_paged = {
                let tale = self.load.tale.lock();
                let mut taken = tale.alerts.iter().filter(|(_, was_taken)| **was_taken);
                taken.all(|(alert, _)| tale.pages.contains_key(alert))
            };
            if running["totalHits"] == 0 && is_paged {
                break;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{running}; paged: {is_paged}; {}; {}",
                audit(&self.load.tale.lock(), &[]).join("\n"),
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.load.has_ended.store(true, Ordering::Release);
        for task in std::mem::take(&mut self.tasks) {
            task.await.expect("it ends");
        }
        let runs = self.load.runs().await;
        let tale = self.load.tale.lock().clone();
        let wrong = audit(&tale, &runs);
        println!("{} runs, {} alerts, {} wrong", runs.len(), tale.alerts.len(), wrong.len());
        assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), self.logs());
        assert!(tale.starts.len() > 10, "{} starts are too few to say anything", tale.starts.len());
    }

    fn logs(&self) -> String {
        let logs = self.servers.iter().map(|it| it.live.log_text());
        logs.collect::<Vec<_>>().join("\n────\n")
    }
}

async fn ready(live: &Live) {
    until(live, "/health/ready", 200).await;
}

async fn until(live: &Live, path: &str, status: u16) {
    let begun = Instant::now();
    loop {
        let seen = match live.http.get(live.url(path)).send().await {
            Ok(answer) if answer.status().as_u16() == status => return,
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        assert!(begun.elapsed() < PATIENCE, "{path}: {seen}; {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn signal(live: &Live, name: &str) {
    let told = Command::new("kill").args([name, &live.pid().to_string()]).status();
    assert!(told.expect("kill runs").success());
}

/// The quickest of the faults that no other test has.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_the_database_loses_nothing() {
    let Some(mut cluster) = Cluster::start(false, [&[]; SERVERS]).await else { return };
    cluster.suffers(Fault::CutDatabase).await;
    cluster.ends().await;
}

/// All faults in an order that is drawn, at last the loss of the database's machine; as often as
/// `NIGHTBELL_FAULT_ROUNDS` says.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes half a minute each time: cargo xtask faults"]
async fn every_fault_in_turn_loses_nothing() {
    let rounds = std::env::var("NIGHTBELL_FAULT_ROUNDS").ok().and_then(|it| it.parse().ok());
    for round in 0..rounds.unwrap_or(1_u32) {
        let mut random = Random::new();
        println!("round {round}, of the seed {}", random.0);
        let Some(mut cluster) = Cluster::start(true, [&[]; SERVERS]).await else { return };
        let mut faults = FAULTS.to_vec();
        while !faults.is_empty() {
            let next = faults.remove(random.below(faults.len() as u64) as usize);
            cluster.suffers(next).await;
        }
        cluster.suffers(Fault::Promote).await;
        cluster.ends().await;
    }
}

/// Servers whose clocks are two hours apart lead one after the other.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes some seconds: cargo xtask faults"]
async fn clocks_that_disagree_by_hours_lose_nothing() {
    let Some(library) = library() else { return };
    let library = library.to_str().expect("a name of text");
    let skewed = |offset: &'static str| {
        [("LD_PRELOAD", library), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]
    };
    let (early, late) = (skewed("-1h"), skewed("+1h"));
    let Some(mut cluster) = Cluster::start(false, [&[], &early, &late]).await else { return };
    for _ in 0..SERVERS {
        cluster.suffers(Fault::KillLeader).await;
    }
    cluster.ends().await;
}
