//! The OpenTelemetry Collector between the server and the stand-in: what it takes and passes on was understood
//! by code that others wrote.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::json;

use super::{CALLER, Collector, PATIENCE, PAYLOAD, called, hex, metric, said, task, warnings};
use crate::live::{Live, free_port};
use crate::service::{Service, folder, write};
use crate::skipped::not_built;

/// What names the program that the test command builds.
const VARIABLE: &str = "NIGHTBELL_TEST_COLLECTOR";

/// The collector, which takes spans at the port and passes them on.
fn start(port: u16, passes_to: &str) -> Option<Service> {
    let Some(program) = std::env::var_os(VARIABLE) else {
        not_built("OpenTelemetry Collector", "cargo xtask test builds it with Go");
        return None;
    };
    let config = format!(
        "receivers: {{ otlp: {{ protocols: {{ http: {{ endpoint: \"127.0.0.1:{port}\" }} }} }} }}\n\
         exporters: {{ otlp_http: {{ endpoint: \"{passes_to}\" }} }}\n\
         service:\n  telemetry: {{ metrics: {{ level: none }} }}\n  \
         pipelines: {{ traces: {{ receivers: [otlp], exporters: [otlp_http] }} }}\n"
    );
    let folder = folder();
    let config = write(folder.path(), "config.yaml", &config);
    let mut command = Command::new(program);
    command.arg(format!("--config=file:{}", config.display()));
    Some(Service::start(folder, command, port))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_opentelemetry_collector_passes_on_each_span_once_also_after_it_was_away() {
    let (behind, (service, _)) = (Collector::away(), called().await);
    behind.start().await;
    let port = free_port();
    let Some(first) = start(port, &behind.url()) else { return };
    let endpoint = format!("http://127.0.0.1:{port}");
    let live = Live::start(&["--otlp-endpoint", &endpoint]).await;
    let request = json!({ "http_request": { "uri": service, "method": "POST", "body": PAYLOAD } });
    live.define("child", json!([task("HTTP", "call", &request)])).await;
    let sub = json!({ "name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "child" } });
    let end = json!({ "terminationStatus": "FAILED", "terminationReason": "no more" });
    live.define("parent", json!([sub, task("TERMINATE", "end", &end)])).await;
    let begin = async || {
        let start = live.http.post(live.url("/api/workflow/parent")).header("traceparent", CALLER);
        let id = start.json(&json!({ "p": PAYLOAD })).send().await.unwrap().text().await.unwrap();
        live.ended(&id, PATIENCE).await;
        id
    };
    let before = begin().await;
    let is_whole = |id: &str| {
        let trace = id.replace('-', "");
        move |spans: &[proto::otlp::Span]| {
            let of_trace = spans.iter().filter(|span| hex(&span.trace_id) == trace);
            let names: BTreeSet<&str> = of_trace.map(|span| &*span.name).collect();
            names == BTreeSet::from(["call", "child", "end", "parent", "sub"])
        }
    };
    let spans = behind.until(&live, is_whole(&before)).await;
    let named = |name: &str| spans.iter().find(|span| span.name == name).expect("it is whole");
    for (span, parent) in
        [("call", "child"), ("child", "sub"), ("sub", "parent"), ("end", "parent")]
    {
        assert_eq!(named(span).parent_span_id, named(parent).span_id, "{span} of {parent}");
    }
    let parent = named("parent");
    assert_eq!(said(parent, "nightbell.workflow.id").as_ref(), Some(&before));
    let status = parent.status.as_ref().unwrap();
    assert!(status.code == 2 && status.message.contains("no more"), "{status:?}");
    let [caller] = &parent.links[..] else { panic!("{parent:?}") };
    let told = format!("00-{}-{}-01", hex(&caller.trace_id), hex(&caller.span_id));
    assert_eq!(told, CALLER);

    drop(first);
    let meanwhile = begin().await;
    metric(&live, "nightbell_trace_requests_total{outcome=\"failed\"}", 1.0).await;
    let second = start(port, &behind.url());
    assert!(second.is_some());
    let spans = behind.until(&live, is_whole(&meanwhile)).await;
    let ids: BTreeSet<_> = spans.iter().map(|span| (&span.trace_id, &span.span_id)).collect();
    assert_eq!((ids.len(), spans.len()), (10, 10), "each once: {spans:#?}");
    metric(&live, "nightbell_trace_spans_total{outcome=\"exported\"}", 10.0).await;
    assert_eq!(warnings(&live).await, Vec::<String>::new());
}
