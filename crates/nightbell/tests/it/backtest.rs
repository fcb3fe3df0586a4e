//! `monitor backtest --source query` over the history of a real Prometheus, with a budget of pages.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::service::{Service, find, folder, free_port, write};
use crate::stand_in::{Nightbell, Outcome, StandIn};

/// A monitor that no server knows yet, of a wave that is high for ten minutes of twenty.
fn monitor(url: &str, query: &str, budget: &str) -> String {
    format!(
        "receivers:\n  noc: {{ webhook: {{ url: \"http://noc.test/\" }} }}\nroutes:\n- to: noc\n\
         monitors:\n  wave:\n    prometheus: {{ url: \"{url}\", query: \"{query}\" }}\n    every: 1m\n    \
         fail_when: value >= 600\n    budget: {budget}\n"
    )
}

/// A client, whichever test of the process comes first.
fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

fn tried(file: &str, since: &str) -> Outcome {
    let arguments = [
        "monitor", "backtest", "-f", "m.yaml", "--source", "query", "--since", since, "-o", "json",
    ];
    // The stand-in brings a runtime of its own. It has no monitors: nothing is kept of any.
    tokio::task::block_in_place(|| {
        let server = StandIn::start();
        Nightbell::new(&arguments).env("NIGHTBELL_URL", &server.url()).file("m.yaml", file).run()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_monitor_is_tried_on_what_prometheus_remembers() {
    let Some(program) = find("/usr/bin/prometheus", "prometheus") else { return };
    let (folder, port) = (folder(), free_port());
    let config = write(folder.path(), "prometheus.yml", "global:\n  scrape_interval: 1h\n");
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _service = Service::start(folder, command, port);
    let url = format!("http://127.0.0.1:{port}");
    let ready = async {
        let url = format!("{url}/-/ready");
        let http = client();
        let asked = async || http.get(&url).send().await;
        while !asked().await.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), ready).await.expect("it is ready");

    // Who is on call is told by their receiver, also of people whom no server knows yet.
    let strict = monitor(&url, "vector(time() % 1200)", "{ pages: 1, per: 1d }")
        .replace("- to: noc", "- to: \"oncall:primary\"")
        + "people: { ann: noc }\nrotations: { primary: { layers: [ { people: [ann] } ] } }\n";
    let report = tried(&strict, "10h").exits(5).json()[0].clone();
    let count = |name: &str| report["now"][name].as_u64().unwrap_or_default();
    // High three times an hour, and perhaps at both ends.
    assert!((29..=31).contains(&count("incidents")), "{report}");
    assert_eq!(count("pages"), count("incidents"), "{report}");
    assert!((599..=601).contains(&report["checks"].as_u64().unwrap_or_default()), "{report}");
    assert_eq!(
        (&report["budget"]["allowed"], &report["budget"]["isOver"]),
        (&1.into(), &true.into())
    );
    assert_eq!(report["then"]["incidents"], 0);
    let paged = json!({ "noc": { "pages": count("pages"), "people": { "ann": count("pages") } } });
    assert_eq!(report["now"]["paged"], paged, "{report}");

    // With a time of its own it is asked check by check; so few pages are allowed.
    let query = "vector(${window.to_ms} / 1000 % 1200)";
    let windowed = monitor(&url, query, "{ pages: 5, per: 1h }");
    let report = tried(&windowed, "21m").exits(0).json()[0].clone();
    assert!((20..=22).contains(&report["checks"].as_u64().unwrap_or_default()), "{report}");
    assert_eq!(report["budget"]["isOver"], Value::Bool(false));
    assert!(report["now"]["incidents"].as_u64() >= Some(1), "{report}");

    let web = "monitors:\n  shop: { http: \"http://shop.test\", every: 1m }\n";
    let refused = tried(web, "1h").exits(1);
    assert!(refused.stderr.contains("http keeps no history"), "{refused:?}");
}

/// `InfluxDB` is asked check by check, by a query that has all its times from the check.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_monitor_is_tried_on_what_influxdb_remembers() {
    let Some(program) = find("/usr/bin/influxd", "influxdb") else { return };
    let (folder, port, backup) = (folder(), free_port(), free_port());
    let at = |name: &str| folder.path().join(name).display().to_string();
    // A machine that is slow to write makes the first point wait beyond the usual ten seconds.
    let config = format!(
        "reporting-disabled = true\nbind-address = \"127.0.0.1:{backup}\"\n\
         [coordinator]\nwrite-timeout = \"2m\"\n[monitor]\nstore-enabled = false\n\
         [meta]\ndir = {:?}\n\
         [data]\ndir = {:?}\nwal-dir = {:?}\n[http]\nbind-address = \"127.0.0.1:{port}\"\n",
        at("meta"),
        at("data"),
        at("wal"),
    );
    let config = write(folder.path(), "influxdb.conf", &config);
    let mut command = Command::new(program);
    command.arg("run").arg("-config").arg(config);
    let _service = Service::start(folder, command, port);
    let (url, http) = (format!("http://127.0.0.1:{port}"), client());
    let created = http.post(format!("{url}/query?q=CREATE+DATABASE+line")).send().await.unwrap();
    assert!(created.status().is_success());
    // A point each ten seconds for the last quarter of an hour, of which five minutes in the middle are
    // lost.
    let now = jiff::Timestamp::now().as_second();
    let lines = (0..90).map(|number| {
        let ago = 900 - number * 10;
        let loss = if (300..600).contains(&ago) { 100 } else { 0 };
        format!("ping loss={loss} {}\n", now - ago)
    });
    let written = http.post(format!("{url}/write?db=line&precision=s"));
    let written = written.body(lines.collect::<String>()).send().await.unwrap();
    assert!(written.status().is_success(), "{}", written.text().await.unwrap());

    let query = "SELECT mean(loss) AS loss FROM ping WHERE time >= ${window.from_ms}ms AND time < ${window.to_ms}ms";
    let file = format!(
        "receivers:\n  noc: {{ webhook: {{ url: \"http://noc.test/\" }} }}\nroutes:\n- to: noc\n\
         monitors:\n  line:\n    influx: {{ url: \"{url}\", db: line, influxql: \"{query}\" }}\n    \
         every: 1m\n    fail_when: loss >= 100\n"
    );
    let report = tried(&file, "12m").exits(0).json()[0].clone();
    assert_eq!(report["now"]["incidents"], 1, "{report}");
    assert_eq!(report["now"]["paged"], json!({ "noc": { "pages": 1, "people": {} } }), "{report}");
    let relative = file.replace("${window.from_ms}ms", "now() - 1m");
    let refused = tried(&relative, "12m").exits(1);
    assert!(refused.stderr.contains("would be that of today"), "{refused:?}");
}

/// Secrets of this environment go where a definition says, so it is never one of the server's.
#[test]
fn attacks_only_a_file_is_asked_with_the_secrets_of_whoever_tries_it() {
    let server = StandIn::start();
    let outcome = Nightbell::new(&["monitor", "backtest", "wave", "--source", "query"])
        .env("NIGHTBELL_URL", &server.url())
        .run()
        .exits(2);
    assert!(outcome.stderr.contains("--source query takes a file with -f"), "{outcome:?}");
    let outcome =
        Nightbell::new(&["monitor", "backtest", "other", "-f", "m.yaml", "--source", "query"])
            .env("NIGHTBELL_URL", &server.url())
            .file("m.yaml", &monitor("http://127.0.0.1:1", "up", "{ pages: 1, per: 1d }"))
            .run()
            .exits(1);
    assert!(outcome.stderr.contains("the files do not define it"), "{outcome:?}");
}
