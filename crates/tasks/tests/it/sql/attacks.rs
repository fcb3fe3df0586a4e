//! Attacks by JDBC tasks: on databases that are there for monitors, and on addresses that are out of
//! bounds.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use kernel::graph::Status;
use serde_json::json;
use tasks::outgoing::{Dialer, Policy, Resolve};
use tasks::registry::{Settings, runners};
use tasks::sql::Access;

use crate::flows::{open, run};

#[tokio::test]
async fn tasks_write_to_a_source_of_monitors_only_if_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("test.db").display());
    let names = ["plain", "read", "write", "off"];
    let mut settings = Settings::default();
    settings.sql.connections = names.map(|name| (name.to_owned(), url.clone())).into();
    settings.sql.access = BTreeMap::from([
        ("read".to_owned(), Access::Read),
        ("write".to_owned(), Access::Write),
        ("off".to_owned(), Access::Nothing),
    ]);
    let engine = open(runners(&settings).unwrap()).await;
    let create = |name: &str| {
        json!({ "connection": name, "type": "UPDATE",
            "statement": format!("CREATE TABLE {name}_t (id INTEGER)") })
    };
    let select = |name: &str, statement: &str| json!({ "connection": name, "type": "SELECT", "statement": statement });
    for name in ["plain", "write"] {
        let (status, _, reason) = run(&engine, "JDBC", create(name)).await;
        assert_eq!(status, Status::Completed, "{name}: {reason}");
    }
    let (status, _, reason) = run(&engine, "JDBC", select("read", "SELECT 1 AS one")).await;
    assert_eq!(status, Status::Completed, "{reason}");
    for (input, line) in [
        (create("read"), "tasks = \"write\" in [sources.read]"),
        (create("off"), "tasks = \"write\" in [sources.off]"),
        (select("off", "SELECT 1"), "tasks = \"read\" in [sources.off]"),
        // Nor by a query that writes.
        (select("read", "INSERT INTO plain_t VALUES (1) RETURNING id"), "can only read"),
    ] {
        let (status, _, reason) = run(&engine, "JDBC", input).await;
        assert_eq!(status, Status::Failed, "{line}");
        assert!(reason.contains(line), "{reason} should say {line}");
    }
}

/// A resolver for which every name leads to one address.
struct Leads(IpAddr, AtomicUsize);

impl Resolve for Leads {
    fn resolve(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let address = self.0;
        Box::pin(async move { Ok(vec![address]) })
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

fn through(policy: Policy, address: IpAddr) -> (Settings, Arc<Leads>) {
    let leads = Arc::new(Leads(address, AtomicUsize::new(0)));
    let mut settings = Settings::default();
    settings.sql.urls_in_inputs = true;
    settings.http.outgoing = Dialer::resolving_with(policy, leads.clone());
    (settings, leads)
}

fn ask(database: &str) -> serde_json::Value {
    json!({ "connection": database, "type": "SELECT", "statement": "SELECT 1" })
}

#[tokio::test]
async fn databases_in_inputs_are_judged_as_every_other_call() {
    // Nobody answers here, but whoever connects is seen.
    let listener = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let denied = || Policy { deny: vec!["127.0.0.0/8".parse().unwrap()], ..Policy::default() };
    let own = Policy::default();
    own.listeners.add(address);
    for (policy, leads, host, setting) in [
        (denied(), LOOPBACK, address.to_string(), "outgoing_deny"),
        (denied(), LOOPBACK, format!("db.test:{}", address.port()), "outgoing_deny"),
        (own, LOOPBACK, format!("db.test:{}", address.port()), "outgoing_own"),
        (Policy::default(), METADATA, "db.test:80".to_owned(), "outgoing_allow"),
        (Policy::default(), METADATA, "169.254.169.254:80".to_owned(), "outgoing_allow"),
    ] {
        let engine = open(runners(&through(policy, leads).0).unwrap()).await;
        for scheme in ["postgres", "jdbc:postgresql", "mysql", "mariadb"] {
            let url = format!("{scheme}://user:hunter2@{host}/db");
            let (status, _, reason) = run(&engine, "JDBC", ask(&url)).await;
            assert_eq!(status, Status::Failed, "{url}");
            assert!(reason.contains("ADDRESS_REFUSED") && reason.contains(setting), "{reason}");
            assert!(!reason.contains("hunter2"), "{reason}");
        }
        let bypass = format!("postgres://user@db.test:{}/db?hostaddr=127.0.0.1", address.port());
        if setting == "outgoing_deny" {
            let (_, _, reason) = run(&engine, "JDBC", ask(&bypass)).await;
            assert!(reason.contains("ADDRESS_REFUSED"), "{reason}");
        }
    }
    let engine = open(runners(&through(Policy::default(), LOOPBACK).0).unwrap()).await;
    for url in ["mysql://user@db.test/db?socket=/tmp/x", "postgres://user@%2Ftmp/db"] {
        let (status, _, reason) = run(&engine, "JDBC", ask(url)).await;
        assert_eq!(status, Status::Failed, "{url}");
        assert!(reason.contains("socket file"), "{reason}");
    }
    assert!(listener.accept().is_err(), "nobody has connected");
}

#[tokio::test]
async fn connections_to_databases_go_to_the_address_that_was_judged() {
    for scheme in ["postgres", "mysql"] {
        let listener = tokio::net::TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (settings, leads) = through(Policy::default(), LOOPBACK);
        let engine = open(runners(&settings).unwrap()).await;
        // The system does not know this name.
        let url = format!("{scheme}://user@db.invalid:{port}/db?sslmode=disable");
        let url = if scheme == "mysql" { url.replace("?sslmode=disable", "") } else { url };
        let asked = tokio::spawn(async move { run(&engine, "JDBC", ask(&url)).await });
        drop(listener.accept().await.unwrap());
        drop(listener);
        let (status, _, _) = asked.await.unwrap();
        assert_eq!(status, Status::Failed, "it was no database");
        assert_eq!(leads.1.load(Ordering::Relaxed), 1, "{scheme}: resolved once");
    }
}

#[tokio::test]
async fn databases_of_the_configuration_are_not_judged() {
    let listener = tokio::net::TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let policy = Policy { deny: vec!["127.0.0.0/8".parse().unwrap()], ..Policy::default() };
    let (mut settings, _) = through(policy, METADATA);
    let url = format!("postgres://user@127.0.0.1:{port}/db?sslmode=disable");
    settings.sql.connections = [("ours".to_owned(), url)].into();
    let engine = open(runners(&settings).unwrap()).await;
    let asked = tokio::spawn(async move { run(&engine, "JDBC", ask("ours")).await });
    drop(listener.accept().await.unwrap());
    drop(listener);
    assert_eq!(asked.await.unwrap().0, Status::Failed, "it was no database");
}
