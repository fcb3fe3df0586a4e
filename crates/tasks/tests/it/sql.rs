//! SQL: the same promises on SQLite, PostgreSQL and `MariaDB`, and what each type becomes.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod attacks;
mod mariadb;
mod postgres;
mod sqlite;

use std::time::Duration;

use serde_json::{Value, json};
use tasks::sql::{Connection, Error, Limits, query, update};

/// A statement that must give rows.
async fn rows(database: &Connection, statement: &str, parameters: Value) -> Value {
    let parameters = parameters.as_array().unwrap();
    let rows = query(database, statement, parameters, &Limits::default()).await;
    json!(rows.unwrap_or_else(|error| panic!("{statement}: {error}")))
}

/// A query that must be refused.
async fn refused(database: &Connection, statement: &str, parameters: Value) -> Error {
    let parameters = parameters.as_array().unwrap();
    query(database, statement, parameters, &Limits::default()).await.unwrap_err()
}

async fn change(
    database: &Connection,
    statement: &str,
    parameters: Value,
    expected: Option<u64>,
) -> Result<u64, Error> {
    let parameters = parameters.as_array().unwrap();
    update(database, statement, parameters, expected, &Limits::default()).await
}

/// Whether it is an error that lasts and says this.
#[track_caller]
fn lasts(error: &Error, words: &str) {
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    assert!(error.to_string().contains(words), "{error} should say {words}");
}

/// Whether it is an error that may pass and says this.
#[track_caller]
fn passes(error: &Error, words: &str) {
    assert!(matches!(error, Error::Failed(_)), "{error:?}");
    assert!(error.to_string().contains(words), "{error} should say {words}");
}

/// What holds for every database.
async fn keeps_its_promises(database: &Connection) {
    change(database, "CREATE TABLE p (id INTEGER PRIMARY KEY, word VARCHAR(40))", json!([]), None)
        .await
        .unwrap();
    let insert = "INSERT INTO p VALUES (?, ?)";
    for (id, word) in [(1, json!("one")), (2, json!("it's; DROP TABLE p; -- ?")), (3, json!(null))]
    {
        assert_eq!(change(database, insert, json!([id, word]), Some(1)).await, Ok(1));
    }
    let all = rows(database, "SELECT * FROM p ORDER BY id", json!([])).await;
    let expected = json!([
        { "id": 1, "word": "one" },
        { "id": 2, "word": "it's; DROP TABLE p; -- ?" },
        { "id": 3, "word": null },
    ]);
    assert_eq!(all, expected);
    let one = rows(database, "SELECT id FROM p WHERE word = ? AND id < ?", json!(["one", 5])).await;
    assert_eq!(one, json!([{ "id": 1 }]));
    let none = rows(database, "SELECT id FROM p WHERE id = ?", json!([99])).await;
    assert_eq!(none, json!([]));
    let twice = rows(database, "SELECT id, id, word AS id FROM p WHERE id = 1", json!([])).await;
    assert_eq!(twice, json!([{ "id": 1, "id_2": 1, "id_3": "one" }]));

    // Another number of rows than expected is rolled back.
    let wrong = change(database, "UPDATE p SET word = 'x' WHERE id > ?", json!([1]), Some(3)).await;
    passes(&wrong.unwrap_err(), "changed 2 rows instead of the 3 expected");
    assert_eq!(rows(database, "SELECT * FROM p ORDER BY id", json!([])).await, expected);
    let right = change(database, "UPDATE p SET word = 'x' WHERE id > ?", json!([1]), Some(2)).await;
    assert_eq!(right, Ok(2));
    // Rows that were so before count as well.
    let again = change(database, "UPDATE p SET word = 'x' WHERE id > ?", json!([1]), Some(2)).await;
    assert_eq!(again, Ok(2));
    assert_eq!(change(database, "DELETE FROM p WHERE id = 3", json!([]), None).await, Ok(1));

    // A query cannot write.
    refused(database, "DELETE FROM p", json!([])).await;
    refused(database, "DROP TABLE p", json!([])).await;
    assert_eq!(rows(database, "SELECT COUNT(*) AS n FROM p", json!([])).await, json!([{ "n": 2 }]));

    // What is wrong stays wrong.
    lasts(&refused(database, "SELEC 1", json!([])).await, "SELEC");
    lasts(&refused(database, "SELECT * FROM nowhere", json!([])).await, "nowhere");
    refused(database, "SELECT id FROM p WHERE id = ?", json!([])).await;
    refused(database, "SELECT id FROM p WHERE id = ?", json!([1, 2])).await;
    refused(database, "SELECT 1; SELECT 2", json!([])).await;

    // Bounds, at and beyond.
    let limits = |rows_max, bytes_max| Limits { rows_max, bytes_max, ..Limits::default() };
    let ask = |limits: Limits| async move {
        query(database, "SELECT id FROM p", &[], &limits).await.map(|rows| rows.len())
    };
    assert_eq!(ask(limits(2, 1000)).await, Ok(2));
    lasts(&ask(limits(1, 1000)).await.unwrap_err(), "more than 1 rows (sql_rows_max)");
    lasts(&ask(limits(2, 10)).await.unwrap_err(), "more than 10 bytes");
    assert_eq!(ask(limits(2, 1000)).await, Ok(2), "the connection is as good as before");
}

/// A statement that would take very long ends with its time, and the connection can be used again.
async fn stops_in_time(database: &Connection, endless: &str) {
    let limits = Limits { time: Duration::from_millis(200), ..Limits::default() };
    let slow = query(database, endless, &[], &limits).await.unwrap_err();
    assert!(matches!(slow, Error::Failed(_)), "{slow:?}");
    assert_eq!(rows(database, "SELECT 1 AS one", json!([])).await, json!([{ "one": 1 }]));
}

#[test]
fn urls() {
    for url in [
        "postgres://u:p@h:1/d",
        "jdbc:postgresql://h/d?user=u&password=p",
        "postgresql://h/d?sslmode=verify-full",
        "mysql://u:p@h/d",
        "jdbc:mariadb://u@h:3307/d",
        "sqlite:/tmp/x.db?mode=ro",
        "sqlite:///tmp/x.db",
    ] {
        let opened =
            tokio::runtime::Runtime::new().unwrap().block_on(async { Connection::open(url) });
        assert!(opened.is_ok(), "{url}: {:?}", opened.err());
    }
    for url in [
        "",
        "oracle://u:s3cret@h/d",
        "postgres://u:s3cret@h:port/d",
        "postgres://u:s3cret@h/d?sslmode=sometimes",
        "mysql://u:s3cret@h/d?no_such_option=1",
        "sqlite:",
        "sqlite::memory:",
        "sqlite:/tmp/x?mode=x",
    ] {
        let error = Connection::open(url).err().unwrap_or_else(|| panic!("{url} is accepted"));
        lasts(&error, "");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
