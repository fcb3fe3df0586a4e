//! `InfluxDB`: a real one of the first generation, stand-ins that replay the others.

use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
use serde_json::{Value, json};

use super::service::{Service, find, folder, free_port, write};
use super::{all, history, run, unknown, wrong};
use crate::http::server;

async fn ask(url: &str, settings: Value, beside: Value) -> engine::Outcome {
    let mut check = settings;
    check["url"] = url.into();
    run("CHECK_INFLUX", check, beside).await
}

#[tokio::test]
async fn a_real_server_answers_influxql() {
    let Some(program) = find("/usr/bin/influxd", "influxdb") else { return };
    let (folder, port, backup) = (folder(), free_port(), free_port());
    let at = |name: &str| folder.path().join(name).display().to_string();
    // A machine that is slow to write makes the first point wait beyond the usual ten seconds.
    let config = format!(
        "reporting-disabled = true\nbind-address = \"127.0.0.1:{backup}\"\n\
         [coordinator]\nwrite-timeout = \"2m\"\n[monitor]\nstore-enabled = false\n\
         [meta]\ndir = {:?}\n[data]\ndir = {:?}\nwal-dir = {:?}\n\
         [http]\nbind-address = \"127.0.0.1:{port}\"\n",
        at("meta"),
        at("data"),
        at("wal"),
    );
    let config = write(folder.path(), "influxdb.conf", &config);
    let mut command = Command::new(program);
    command.arg("run").arg("-config").arg(config);
    let mut service = Service::start(folder, command, port);
    let url = format!("http://127.0.0.1:{port}");
    let client = reqwest::Client::new();
    let create = client.post(format!("{url}/query?q=CREATE%20DATABASE%20net"));
    assert!(create.send().await.unwrap().status().is_success());
    let lines = "ping,host=G44-FIBER,name=Chalo\\ Tower loss=100 1773143900000\n\
                 ping,host=G44-FIBER,name=Chalo\\ Tower loss=100 1773143950000\n\
                 ping,host=ZMM,name=Two loss=3 1773143950000\n";
    let written = client.post(format!("{url}/write?db=net&precision=ms")).body(lines).send().await;
    let written = written.unwrap();
    assert!(written.status().is_success(), "{}", written.text().await.unwrap());

    let query = "SELECT mean(loss) FROM ping WHERE time >= '2026-03-10T11:55:00Z' AND \
                 time < '2026-03-10T12:00:00Z' GROUP BY host, \"name\"";
    let seen = ask(
        &url,
        json!({"influxql": query, "db": "net"}),
        json!({"per": ["host", "name"], "judged": true}),
    );
    let rows = all(&seen.await);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[0]["value"], 100);
    assert_eq!(rows[0]["attrs"]["name"], "Chalo Tower");
    assert_eq!(rows[0]["attrs"]["measurement"], "ping");
    // The error under a status that says all is well.
    let missing = ask(&url, json!({"influxql": "SELECT * FROM ping", "db": "nowhere"}), json!({}));
    unknown(&missing.await, "database not found: nowhere");
    let broken = ask(&url, json!({"influxql": "SELEKT", "db": "net"}), json!({}));
    unknown(&broken.await, "400 Bad Request: ");
    let absent = ask(&url, json!({"influxql": query, "db": "net"}), json!({"per": ["building"]}));
    unknown(&absent.await, "no column \"building\"");
    let nothing = "SELECT * FROM ping WHERE time > '2027-01-01T00:00:00Z'";
    let none = ask(&url, json!({"influxql": nothing, "db": "net"}), json!({"judged": true})).await;
    assert_eq!(all(&none), [json!({"key": "", "rows": 0, "text": "no rows", "attrs": {}})]);
    for (empty, status) in [("unknown", None), ("ok", Some(0)), ("fail", Some(1))] {
        let settings = json!({"influxql": nothing, "db": "net", "empty": empty});
        let none = ask(&url, settings, json!({"judged": true})).await;
        match status {
            None => unknown(&none, "the query finds no rows"),
            Some(count) => assert_eq!(all(&none).len(), count, "{empty}"),
        }
    }

    // The same as of another instant, as a backtest asks it.
    let window =
        "SELECT mean(loss) FROM ping WHERE time >= 1773143900000ms AND time < 1773143940000ms";
    let input = json!({
        "settings": { "url": url, "influxql": window, "db": "net" }, "judged": true,
        "window": { "to_ms": 1_773_143_940_000_i64 },
    });
    let past = history().at("CHECK_INFLUX", &kernel::Json::of(&input)).await.unwrap().unwrap();
    assert_eq!(past.parse()["observations"][0]["value"], 100);

    service.kill();
    unknown(&ask(&url, json!({"influxql": query, "db": "net"}), json!({})).await, "refused");
}

type Requests = Arc<Mutex<Vec<(String, String, Value)>>>;

/// Answers everything with one body and remembers what it was asked.
async fn replay(body: &'static str) -> (server::Server, Requests) {
    let heard = Requests::default();
    let memory = Arc::clone(&heard);
    let take = move |uri: Uri, headers: HeaderMap, sent: Bytes| async move {
        let authorization = headers["authorization"].to_str().unwrap().to_owned();
        let sent = serde_json::from_slice(&sent).unwrap();
        memory.lock().unwrap().push((uri.to_string(), authorization, sent));
        body
    };
    (server::good(Router::new().fallback(take)).await, heard)
}

const TWO_SCHEMAS: &str = "#group,false,false,true,false,false\r\n\
    #datatype,string,long,string,double,boolean\r\n\
    #default,_result,,nobody,,\r\n\
    ,result,table,host,_value,up\r\n\
    ,,0,\"G44, \"\"new\"\"\",100,false\r\n\
    ,,0,,99.5,true\r\n\
    \r\n\
    #group,false,false,true,false\r\n\
    #datatype,string,long,string,unsignedLong\r\n\
    #default,_result,,,\r\n\
    ,result,table,host,_value\r\n\
    ,,1,ZMM,18446744073709551615\r\n\r\n";

#[tokio::test]
async fn flux_is_read_with_its_schemas_and_defaults() {
    let (server, heard) = replay(TWO_SCHEMAS).await;
    let settings = json!({"flux": "from(bucket: \"b\")", "org": "A H", "token": "t0k3n"});
    let seen = ask(&server.url("/"), settings, json!({"per": ["host"]})).await;
    let rows: Vec<Value> =
        all(&seen).iter().map(|row| json!([row["attrs"], row["value"]])).collect();
    assert_eq!(
        rows,
        [
            json!([{"host": "G44, \"new\"", "_value": 100.0, "up": false}, 100.0]),
            json!([{"host": "nobody", "_value": 99.5, "up": true}, 99.5]),
            json!([{"host": "ZMM", "_value": u64::MAX}, u64::MAX]),
        ]
    );
    let (uri, authorization, sent) = heard.lock().unwrap().remove(0);
    assert_eq!((uri.as_str(), authorization.as_str()), ("/api/v2/query?org=A+H", "Token t0k3n"));
    assert_eq!(sent["dialect"]["annotations"], json!(["group", "datatype", "default"]));
}

#[tokio::test]
async fn flux_that_breaks_off_is_no_answer() {
    for (body, part) in [
        (
            ",result,table,host,_value\n,,0,a,1\n\n#datatype,string,string\n,error,reference\n\
             ,the window is empty,897\n",
            "the window is empty",
        ),
        (",result,table,host,_value\n,,0,a\n", "a line has 4 cells under 5 columns"),
        (",result,table,host\n,,0,\"a\n", "ends within quotation marks"),
    ] {
        let (server, _) = replay(body).await;
        let seen = ask(&server.url(""), json!({"flux": "f", "token": "t"}), json!({})).await;
        unknown(&seen, part);
    }
}

#[tokio::test]
async fn sql_gives_a_line_per_row() {
    let (server, heard) = replay("{\"host\":\"a\",\"value\":1}\n\n{\"host\":\"b\"}\n").await;
    let settings = json!({"sql": "SELECT $x", "db": "d", "token": "t", "params": {"x": 1}});
    let seen = ask(&server.url(""), settings, json!({"per": ["host"]})).await;
    assert_eq!(all(&seen).len(), 2);
    let (uri, authorization, sent) = heard.lock().unwrap().remove(0);
    assert_eq!((uri.as_str(), authorization.as_str()), ("/api/v3/query_sql", "Bearer t"));
    let expected = json!({"db": "d", "q": "SELECT $x", "format": "jsonl", "params": {"x": 1}});
    assert_eq!(sent, expected);
    let (server, _) = replay("{\"error\":\"no such table\"}").await;
    let seen = ask(&server.url(""), json!({"sql": "S", "db": "d", "token": "t"}), json!({})).await;
    unknown(&seen, "no such table");
}

#[tokio::test]
async fn one_question_is_asked() {
    let two = json!({"url": "http://127.0.0.1:1", "flux": "a", "sql": "b"});
    wrong(&run("CHECK_INFLUX", two, json!({})).await, "one of `influxql`, `flux` and `sql`");
}
