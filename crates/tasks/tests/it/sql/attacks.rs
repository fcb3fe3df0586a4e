//! Attacks by JDBC tasks on databases that are there for monitors.

use std::collections::BTreeMap;

use kernel::graph::Status;
use serde_json::json;
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
