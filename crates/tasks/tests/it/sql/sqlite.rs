//! SQLite, always there; and the JDBC task.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::Engine;
use kernel::graph::Status;
use serde_json::{Value, json};
use tasks::registry::{Settings, runners};
use tasks::sql::Connection;
use tempfile::TempDir;

use super::{change, keeps_its_promises, lasts, passes, refused, rows, stops_in_time};
use crate::flows::{open, run};

fn file() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("test.db").display());
    (folder, url)
}

#[tokio::test]
async fn promises() {
    let (_folder, url) = file();
    let database = Connection::open(&format!("{url}?mode=rwc")).unwrap();
    keeps_its_promises(&database).await;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                   SELECT COUNT(*) FROM n";
    stops_in_time(&database, endless).await;
}

#[tokio::test]
async fn files_are_made_only_where_that_is_asked_for() {
    let (folder, url) = file();
    let database = Connection::open(&url).unwrap();
    passes(&refused(&database, "SELECT 1", json!([])).await, "unable to open");
    let created = Connection::open(&format!("{url}?mode=rwc")).unwrap();
    change(&created, "CREATE TABLE t (a)", json!([]), None).await.unwrap();
    let reading = Connection::open(&format!("{url}?mode=ro")).unwrap();
    let write = change(&reading, "INSERT INTO t VALUES (1)", json!([]), None).await;
    lasts(&write.unwrap_err(), "mode=ro");
    // Another file is another connection.
    let other = folder.path().join("other.db");
    let attach = format!("ATTACH '{}' AS other", other.display());
    refused(&created, &attach, json!([])).await;
    change(&created, &attach, json!([]), None).await.unwrap_err();
    assert!(!other.exists());
}

#[tokio::test]
async fn types() {
    let (_folder, url) = file();
    let database = Connection::open(&format!("{url}?mode=rwc")).unwrap();
    let given = json!([null, true, -5, 9_007_199_254_740_993_i64, 1.5, "é", [1, { "a": null }]]);
    let found = rows(
        &database,
        "SELECT ? AS a, ? AS b, ? AS c, ? AS d, ? AS e, ? AS f, ? AS g, x'00ff' AS h, 9e999 AS i",
        given,
    )
    .await;
    let expected = json!([{
        "a": null, "b": 1, "c": -5, "d": "9007199254740993", "e": 1.5, "f": "é",
        "g": "[1,{\"a\":null}]", "h": "AP8=", "i": "inf",
    }]);
    assert_eq!(found, expected);
}

async fn house(url: &str, urls_in_inputs: bool) -> Engine {
    let mut settings = Settings::default();
    settings.sql.connections = BTreeMap::from([("orders".to_owned(), format!("{url}?mode=rwc"))]);
    settings.sql.urls_in_inputs = urls_in_inputs;
    open(runners(&settings).unwrap()).await
}

async fn jdbc(engine: &Engine, input: Value) -> (Status, Value, String) {
    run(engine, "JDBC", input).await
}

#[tokio::test]
async fn the_task() {
    let (_folder, url) = file();
    let engine = house(&url, false).await;
    let done = |(status, output, reason): (Status, Value, String)| {
        assert_eq!(status, Status::Completed, "{reason}");
        output
    };
    let create = json!({ "integrationName": "orders", "type": "UPDATE",
        "statement": "CREATE TABLE t (id INTEGER, word TEXT)" });
    assert_eq!(done(jdbc(&engine, create).await), json!({ "update_count": 0 }));
    let insert = json!({ "connectionId": "orders", "type": "INSERT/UPDATE/DELETE",
        "statement": "INSERT INTO t VALUES (?, ?)", "parameters": [1, "${workflow.input.no}"],
        "expectedUpdateCount": "1" });
    assert_eq!(done(jdbc(&engine, insert.clone()).await), json!({ "update_count": 1 }));
    let select = json!({ "integrationName": "orders", "type": "select",
        "statement": "SELECT * FROM t" });
    let found = done(jdbc(&engine, select).await);
    assert_eq!(found, json!({ "result": [{ "id": 1, "word": null }] }));

    let with = |name: &str, value: Value| {
        let mut input = insert.clone();
        input[name] = value;
        input
    };
    for (input, why) in [
        (with("expectedUpdateCount", json!(2)), "changed 1 rows instead of the 2 expected"),
        (
            with("connectionId", json!("billing")),
            "no SQL connection is called 'billing'; the \
            configuration (sql) names orders",
        ),
        (with("connectionId", json!(url)), "URLs of databases are not taken from inputs"),
        (with("connectionId", json!(null)), "`integrationName` is missing"),
        (with("statement", json!("")), "`statement` is missing"),
        (with("type", json!("MERGE")), "`type` must be SELECT or UPDATE, not 'MERGE'"),
        (with("parameters", json!("1")), "`parameters` must be a list"),
        (with("parameters", json!([1])), "SQLite"),
    ] {
        let (status, _, reason) = jdbc(&engine, input).await;
        assert_eq!(status, Status::Failed);
        assert!(reason.contains(why), "{reason} should say {why}");
    }
    let engine = house(&url, true).await;
    let select = json!({ "connection": url, "type": "SELECT", "statement": "SELECT id FROM t" });
    assert_eq!(done(jdbc(&engine, select).await), json!({ "result": [{ "id": 1 }] }));
}

#[test]
fn a_bad_url_in_the_configuration_stops_the_start() {
    let mut settings = Settings::default();
    settings.sql.connections =
        BTreeMap::from([("orders".to_owned(), "ftp://x:s3cret@y".to_owned())]);
    let error = runners(&settings).map(|runners: Vec<Arc<_>>| runners.len()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("SQL connection 'orders'") && !text.contains("s3cret"), "{text}");
}
