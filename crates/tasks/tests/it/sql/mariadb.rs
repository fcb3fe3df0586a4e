//! A real `MariaDB`, which speaks the protocol of `MySQL`.

use serde_json::json;
use tasks::sql::Connection;

use super::{change, keeps_its_promises, lasts, passes, refused, rows, stops_in_time};
use crate::service;

#[tokio::test]
async fn mariadb() {
    let Some(server) = service::mariadb().await else { return };
    let url = format!("mysql://tester:s3cret@127.0.0.1:{}/test", server.port);
    let database = Connection::open(&url).unwrap();
    keeps_its_promises(&database).await;
    let endless = "SELECT COUNT(*) FROM seq_1_to_100000000000 WHERE MD5(seq) = 'x'";
    stops_in_time(&database, endless).await;
    types(&database).await;

    let stranger = Connection::open(&url.replace("s3cret", "wrong")).unwrap();
    passes(&refused(&stranger, "SELECT 1", json!([])).await, "Access denied");
    drop(server);
    let gone = Connection::open(&url).unwrap();
    passes(&refused(&gone, "SELECT 1", json!([])).await, "MySQL");
}

async fn types(database: &Connection) {
    let columns = "b TINYINT(1), t TINYINT, u BIGINT UNSIGNED, f FLOAT, d DOUBLE, n DECIMAL(30,3), \
                   m DECIMAL(6,2), s VARCHAR(9), x TEXT, y BLOB, z VARBINARY(4), i BIT(1), j BIT(9), \
                   e ENUM('a','b'), dt DATE, ts TIMESTAMP(6), dm DATETIME, ti TIME, ye YEAR, nu INT";
    change(database, &format!("CREATE TABLE types ({columns})"), json!([]), None).await.unwrap();
    let values = json!([
        true, -5, "18446744073709551615", 0.1, 1.5, "123456789012345678901234567.125", 19.99, "é",
        { "a": 1 }, "bytes", "ab", 1, 258, "b", "2026-01-31", "2026-01-31 12:00:00.25",
        "2026-01-31 12:00:00", "-26:05:06", 2026, null,
    ]);
    let marks = vec!["?"; 20].join(",");
    let insert = format!("INSERT INTO types VALUES ({marks})");
    assert_eq!(change(database, &insert, values, Some(1)).await, Ok(1));
    let found = rows(database, "SELECT * FROM types", json!([])).await;
    let expected = json!([{
        "b": true, "t": -5, "u": "18446744073709551615", "f": 0.1, "d": 1.5,
        "n": "123456789012345678901234567.125", "m": 19.99, "s": "é", "x": "{\"a\":1}",
        "y": "Ynl0ZXM=", "z": "YWI=", "i": true, "j": 258, "e": "b", "dt": "2026-01-31",
        "ts": "2026-01-31T12:00:00.25Z", "dm": "2026-01-31T12:00:00", "ti": "-26:05:06",
        "ye": 2026, "nu": null,
    }]);
    assert_eq!(found, expected);
    lasts(&refused(database, "SELECT ?", json!([])).await, "1 placeholders, but there are 0");
}
