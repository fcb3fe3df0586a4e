//! A real PostgreSQL.

use serde_json::json;
use tasks::sql::Connection;

use super::{change, keeps_its_promises, lasts, passes, refused, rows, stops_in_time};
use crate::service;

#[tokio::test]
async fn postgres() {
    let Some(server) = service::postgres().await else { return };
    let url = format!("postgres://tester:s3cret@127.0.0.1:{}/postgres", server.port);
    let database = Connection::open(&url).unwrap();
    until_ready(&database).await;
    keeps_its_promises(&database).await;
    stops_in_time(&database, "SELECT pg_sleep(60)").await;
    given_up(&database).await;
    types(&database).await;
    parameters(&database).await;

    let stranger = url.replace("s3cret", "wrong");
    let stranger = Connection::open(&stranger).unwrap();
    let error = refused(&stranger, "SELECT 1", json!([])).await;
    passes(&error, "password authentication failed");
    let secure = Connection::open(&format!("{url}?sslmode=verify-full")).unwrap();
    passes(&refused(&secure, "SELECT 1", json!([])).await, "TLS");
    drop(server);
    refused(&database, "SELECT 1", json!([])).await;
    let gone = Connection::open(&url).unwrap();
    passes(&refused(&gone, "SELECT 1", json!([])).await, "onnect");
}

/// It listens a moment before it answers.
async fn until_ready(database: &Connection) {
    for _ in 0..500 {
        match tasks::sql::query(database, "SELECT 1", &[], &tasks::sql::Limits::default()).await {
            Ok(_) => return,
            Err(error) if error.to_string().contains("starting up") => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the server does not get ready");
}

/// A statement whose end nobody waits for is stopped, and no other with it.
async fn given_up(database: &Connection) {
    let limits = tasks::sql::Limits::default();
    let slow = tasks::sql::query(database, "SELECT pg_sleep(50) AS given_up", &[], &limits);
    let running = "SELECT COUNT(*) AS n FROM pg_stat_activity WHERE state = 'active' \
                   AND query = 'SELECT pg_sleep(50) AS given_up'";
    let until = async |wanted: i64| {
        while rows(database, running, json!([])).await != json!([{ "n": wanted }]) {
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(40);
    tokio::select! {
        biased;
        () = until(1) => {}
        _ = slow => panic!("it sleeps"),
    }
    tokio::time::timeout(patience, until(0)).await.expect("the server stops it");
}

async fn types(database: &Connection) {
    change(database, "CREATE TYPE mood AS ENUM ('good', 'bad')", json!([]), None).await.unwrap();
    change(database, "CREATE DOMAIN small AS int CHECK (VALUE < 10)", json!([]), None)
        .await
        .unwrap();
    for (expression, expected) in [
        ("NULL::int", json!(null)),
        ("true", json!(true)),
        ("(-7)::int2", json!(-7)),
        ("9007199254740992::int8", json!(9_007_199_254_740_992_i64)),
        ("9007199254740993::int8", json!("9007199254740993")),
        ("0.1::float4", json!(0.1)),
        ("'NaN'::float8", json!("NaN")),
        ("19.99::numeric(10,2)", json!(19.99)),
        ("0.00012::numeric", json!(0.000_12)),
        ("-10000.5::numeric", json!(-10000.5)),
        ("100000000::numeric", json!(100_000_000)),
        ("12345678901234567890.125::numeric", json!("12345678901234567890.125")),
        ("'NaN'::numeric", json!("NaN")),
        ("0::numeric(5,2)", json!(0.0)),
        ("'2026-01-31 12:00:00.5+02'::timestamptz", json!("2026-01-31T10:00:00.5Z")),
        ("'2026-01-31 12:00:00'::timestamp", json!("2026-01-31T12:00:00")),
        ("'infinity'::timestamptz", json!("infinity")),
        ("'-infinity'::date", json!("-infinity")),
        ("'2026-01-31'::date", json!("2026-01-31")),
        ("'23:59:01.25'::time", json!("23:59:01.25")),
        ("'1 year 2 months 3 days 04:05:06.5'::interval", json!("P1Y2M3DT4H5M6.5S")),
        ("'-1.5 seconds'::interval", json!("PT-1.5S")),
        ("'0'::interval", json!("PT0S")),
        ("'\\x00ff'::bytea", json!("AP8=")),
        ("'{\"b\": [1, null], \"a\": \"x\"}'::json", json!({ "b": [1, null], "a": "x" })),
        ("'{\"a\": 1.5}'::jsonb", json!({ "a": 1.5 })),
        (
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid",
            json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ),
        ("'10.0.0.1'::inet", json!("10.0.0.1")),
        ("'10.0.0.0/8'::cidr", json!("10.0.0.0/8")),
        ("ARRAY[1, NULL, 3]", json!([1, null, 3])),
        ("ARRAY[['a', 'b'], ['c', 'd']]", json!([["a", "b"], ["c", "d"]])),
        ("'{}'::int[]", json!([])),
        ("'good'::mood", json!("good")),
        ("5::small", json!(5)),
        ("'x'::char(3)", json!("x  ")),
        ("'q'::\"char\"", json!("q")),
        ("'n'::name", json!("n")),
    ] {
        let found = rows(database, &format!("SELECT {expression} AS v"), json!([])).await;
        assert_eq!(found, json!([{ "v": expected }]), "{expression}");
    }
    let error = refused(database, "SELECT '(1,2)'::point AS place", json!([])).await;
    lasts(&error, "column place: has a type that has no form in JSON (point)");
}

async fn parameters(database: &Connection) {
    for (cast, given, expected) in [
        ("int8", json!("12"), json!(12)),
        ("numeric", json!(0.25), json!(0.25)),
        ("text", json!(7), json!("7")),
        ("bool", json!(true), json!(true)),
        ("timestamptz", json!("2026-01-31T12:00:00Z"), json!("2026-01-31T12:00:00Z")),
        ("jsonb", json!({ "a": [1] }), json!({ "a": [1] })),
        ("jsonb", json!("plain words"), json!("plain words")),
        ("jsonb", json!("[1]"), json!([1])),
        ("text[]", json!(["a \"b\"", null, "c\\d"]), json!(["a \"b\"", null, "c\\d"])),
        ("int[]", json!([[1, 2], [3, 4]]), json!([[1, 2], [3, 4]])),
        ("mood", json!("bad"), json!("bad")),
    ] {
        let found = rows(database, &format!("SELECT ?::{cast} AS v"), json!([given])).await;
        assert_eq!(found, json!([{ "v": expected }]), "{cast}");
    }
    let operator = rows(database, "SELECT '{\"a\":1}'::jsonb ?? ? AS v", json!(["a"])).await;
    assert_eq!(operator, json!([{ "v": true }]));
    let numbered = rows(database, "SELECT $2::text || $1 AS v", json!(["a", "b"])).await;
    assert_eq!(numbered, json!([{ "v": "ba" }]));
    lasts(&refused(database, "SELECT ?::int", json!(["x"])).await, "invalid input syntax");
    lasts(&refused(database, "SELECT ?", json!([])).await, "1 placeholders, but there are 0");
    let many = rows(database, "SELECT i FROM generate_series(1, 2500) i", json!([])).await;
    assert_eq!(many.as_array().unwrap().len(), 2500);
}
