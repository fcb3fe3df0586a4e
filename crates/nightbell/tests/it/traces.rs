//! Runs as traces: a server and a collector that takes nothing which OTLP does not allow.

mod collector;
mod orchestrations;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use prost::Message as _;
use proto::otlp::any_value::Value as Any;
use proto::otlp::{Failure, KeyValue, PartialSuccess, Span, SpanKind, TraceRequest, TraceResponse};
use serde_json::{Value, json};

use crate::live::{Live, free_port};
use crate::service::{folder, write};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// What no span may say.
const PAYLOAD: &str = "payload-7f3a";
const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What a collector says to a request.
#[derive(Clone, Copy)]
enum Says {
    /// It is busy, for so many seconds.
    Busy(u16, u64),
    /// It takes all but so many spans.
    Partly(i64),
}

#[derive(Default)]
struct Seen {
    says: VecDeque<Says>,
    /// Every span that was taken, in order.
    spans: Vec<Span>,
    requests: usize,
    authorization: Option<String>,
    service: String,
    /// What was wrong with requests.
    objections: Vec<String>,
}

/// A collector at a port of its own, and what it has seen.
#[derive(Clone)]
struct Collector {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Collector {
    /// One that is not there yet.
    fn away() -> Self {
        Self { port: free_port(), seen: Arc::default() }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn says(&self, says: impl IntoIterator<Item = Says>) {
        self.seen.lock().unwrap().says.extend(says);
    }

    async fn start(&self) {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await;
        let router = Router::new().fallback(take).with_state(self.seen.clone());
        tokio::spawn(async move { axum::serve(listener.unwrap(), router).await });
    }

    /// The spans that were taken, once it is so many runs.
    async fn runs(&self, live: &Live, count: usize) -> Vec<Span> {
        let is_run = |span: &&Span| said(span, "nightbell.workflow.status").is_some();
        self.until(live, |spans| spans.iter().filter(is_run).count() >= count).await
    }

    /// The spans that were taken, once they are these.
    async fn until(&self, live: &Live, are: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let begun = Instant::now();
        loop {
            let spans = {
                let seen = self.seen.lock().unwrap();
                assert!(seen.objections.is_empty(), "{:?}", seen.objections);
                seen.spans.clone()
            };
            if are(&spans) {
                return spans;
            }
            assert!(begun.elapsed() < PATIENCE, "{spans:#?}; log: {}", live.log_text());
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Takes a task as a worker does, as soon as there is one.
async fn taken(live: &Live, worker: &str) -> Value {
    let begun = Instant::now();
    loop {
        let tasks = live.poll(&format!("pack?workerid={worker}&timeout=5000")).await;
        if let Some(task) = tasks.into_iter().next() {
            return task;
        }
        assert!(begun.elapsed() < PATIENCE, "no task; log: {}", live.log_text());
    }
}

async fn take(
    State(seen): State<Arc<Mutex<Seen>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut seen = seen.lock().unwrap();
    seen.requests += 1;
    if let Some(Says::Busy(status, seconds)) = seen.says.front().copied() {
        seen.says.pop_front();
        let status = StatusCode::from_u16(status).unwrap();
        return (status, [("retry-after", seconds.to_string())]).into_response();
    }
    let request = match understood(&uri, &headers, &body) {
        Ok(request) => request,
        Err(objection) => {
            seen.objections.push(objection.clone());
            return (StatusCode::BAD_REQUEST, objection).into_response();
        }
    };
    let protobuf = [("content-type", "application/x-protobuf")];
    let spans =
        request.resource_spans.iter().flat_map(|it| &it.scope_spans).flat_map(|it| &it.spans);
    let spans: Vec<Span> = spans.cloned().collect();
    if spans.iter().any(|span| span.name == "poison") {
        let failure = Failure { code: 3, message: "no name for a span".to_owned() };
        return (StatusCode::BAD_REQUEST, protobuf, failure.encode_to_vec()).into_response();
    }
    let resource = request.resource_spans.first().and_then(|it| it.resource.as_ref());
    seen.service = resource.and_then(|it| of(&it.attributes, "service.name")).unwrap_or_default();
    seen.authorization = headers.get("authorization").map(|it| it.to_str().unwrap().to_owned());
    seen.spans.extend(spans);
    let partial_success = match seen.says.pop_front() {
        Some(Says::Partly(rejected_spans)) => {
            Some(PartialSuccess { rejected_spans, error_message: "too old".to_owned() })
        }
        _ => None,
    };
    (protobuf, TraceResponse { partial_success }.encode_to_vec()).into_response()
}

/// Reads a request as strictly as the protocol allows.
fn understood(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<TraceRequest, String> {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|it| it == value);
    if uri.path() != "/v1/traces" || !is("content-type", "application/x-protobuf") {
        return Err(format!("{uri}: {headers:?}"));
    }
    let mut message = Vec::new();
    if is("content-encoding", "gzip") {
        let mut unpacked = flate2::read::GzDecoder::new(body);
        unpacked.read_to_end(&mut message).map_err(|error| error.to_string())?;
    } else {
        message.extend_from_slice(body);
    }
    if String::from_utf8_lossy(&message).contains(PAYLOAD) {
        return Err("a payload is exported".to_owned());
    }
    let request = TraceRequest::decode(&*message).map_err(|error| error.to_string())?;
    for spans in &request.resource_spans {
        if spans.resource.is_none() || spans.scope_spans.iter().any(|it| it.scope.is_none()) {
            return Err("spans of nobody".to_owned());
        }
        for span in spans.scope_spans.iter().flat_map(|it| &it.spans) {
            judge(span)?;
        }
    }
    Ok(request)
}

fn judge(span: &Span) -> Result<(), String> {
    let is_id = |id: &[u8], length| id.len() == length && id.iter().any(|byte| *byte != 0);
    let mut keys = BTreeSet::new();
    let wrong = if !is_id(&span.trace_id, 16) || !is_id(&span.span_id, 8) {
        "its ids"
    } else if !span.parent_span_id.is_empty() && !is_id(&span.parent_span_id, 8) {
        "its parent"
    } else if span.name.is_empty() || span.kind == 0 {
        "its name or kind"
    } else if span.start_time_unix_nano == 0 || span.end_time_unix_nano < span.start_time_unix_nano
    {
        "its times"
    } else if span.links.iter().any(|it| !is_id(&it.trace_id, 16) || !is_id(&it.span_id, 8)) {
        "a link"
    } else if !span.attributes.iter().all(|it| it.value.is_some() && keys.insert(&it.key)) {
        "an attribute"
    } else {
        return Ok(());
    };
    Err(format!("{wrong}: {span:?}"))
}

fn of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|it| it.key == key)?;
    match found.value.clone()?.value? {
        Any::StringValue(text) => Some(text),
        Any::IntValue(number) => Some(number.to_string()),
        Any::DoubleValue(number) => Some(number.to_string()),
        Any::BoolValue(value) => Some(value.to_string()),
    }
}

fn said(span: &Span, key: &str) -> Option<String> {
    of(&span.attributes, key)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Answers whoever calls, and keeps the header by which it is told whose call it is.
async fn called() -> (String, Arc<Mutex<Vec<String>>>) {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let keeps = heard.clone();
    let answer = move |headers: HeaderMap| async move {
        let told = headers.get("traceparent").map_or("", |it| it.to_str().unwrap());
        keeps.lock().unwrap().push(told.to_owned());
        PAYLOAD
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (url, heard)
}

fn task(kind: &str, name: &str, input: &Value) -> Value {
    json!({ "name": name, "taskReferenceName": name, "type": kind, "inputParameters": input })
}

/// The value of a metric, once it is at least so much.
async fn metric(live: &Live, series: &str, least: f64) {
    let begun = Instant::now();
    loop {
        let text = live.http.get(live.url("/metrics")).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        if line.is_some_and(|value| value.parse::<f64>().unwrap() >= least) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{series} is {line:?}; log: {}", live.log_text());
        tokio::time::sleep(LOOK).await;
    }
}

/// Warnings of `/health` about traces.
async fn warnings(live: &Live) -> Vec<String> {
    let health = live.get("/health").await;
    assert_eq!(health["healthy"], true, "{health}");
    let warnings = health["warnings"].as_array().unwrap().iter();
    let traces = warnings.filter(|it| it["code"] == "traces");
    traces.map(|it| it["reason"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_runs_are_traces_with_their_callers_their_calls_and_their_sub_workflows() {
    let (collector, (service, heard)) = (Collector::away(), called().await);
    collector.start().await;
    let files = folder();
    let monitors = format!(
        "receivers:\n  desk: {{ inbox: {{ name: desk }} }}\nroutes:\n  - {{ to: desk }}\n\
         monitors:\n  web: {{ http: {{ url: \"{service}/\", expect: \"status == 418\" }}, every: 1s }}\n"
    );
    write(files.path(), "watch.yaml", &monitors);
    let key = write(files.path(), "key", "Bearer hunter2\n");
    let variables = [
        // By the names that are common to all programs.
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("Authorization=file:{}", key.display())),
        ("OTEL_SERVICE_NAME", "bell".to_owned()),
        ("NIGHTBELL_TRACE_URL", "https://tempo.example/trace/{trace_id}".to_owned()),
        ("NIGHTBELL_OTLP_WORKFLOWS", "!quiet*,!nightbell_notify:*".to_owned()),
    ];
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, it)| (*name, &**it)).collect();
    let path = files.path().join("watch.yaml");
    let live = Live::start_as("serve", &["--load", path.to_str().unwrap()], &variables).await;

    let request = |headers: Value| json!({ "http_request": { "uri": service, "method": "POST", "headers": headers, "body": { "p": PAYLOAD } } });
    live.define("child", json!([task("HTTP", "call", &request(json!({})))])).await;
    let sub = json!({ "name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "child" }, "inputParameters": { "p": PAYLOAD } });
    let own = request(json!({ "traceparent": CALLER }));
    let tasks = json!([
        sub,
        task("HTTP", "own", &own),
        task("SIMPLE", "pack", &json!({})),
        task(
            "TERMINATE",
            "end",
            &json!({ "terminationStatus": "FAILED", "terminationReason": "no more" })
        ),
    ]);
    live.define("parent", tasks).await;
    live.define("quiet-one", json!([task("NOOP", "n", &json!({}))])).await;
    live.begin("quiet-one", &json!({})).await;
    let start = live.http.post(live.url("/api/workflow/parent")).header("traceparent", CALLER);
    let id = start.json(&json!({ "p": PAYLOAD })).send().await.unwrap().text().await.unwrap();
    let packed = taken(&live, "w-1").await;
    live.report(&packed, json!({ "status": "COMPLETED", "outputData": { "p": PAYLOAD } })).await;
    live.ended(&id, PATIENCE).await;

    let trace = id.replace('-', "");
    let is_parent = |span: &Span| span.name == "parent" && hex(&span.trace_id) == trace;
    let spans = collector.until(&live, |spans| spans.iter().any(is_parent)).await;
    let of_trace: BTreeMap<String, &Span> = spans
        .iter()
        .filter(|span| hex(&span.trace_id) == trace)
        .map(|span| (span.name.clone(), span))
        .collect();
    let names: Vec<&str> = of_trace.keys().map(String::as_str).collect();
    assert_eq!(names, ["call", "child", "end", "own", "pack", "parent", "sub"], "{spans:#?}");
    for (span, parent) in [
        ("call", "child"),
        ("child", "sub"),
        ("sub", "parent"),
        ("own", "parent"),
        ("end", "parent"),
    ] {
        assert_eq!(of_trace[span].parent_span_id, of_trace[parent].span_id, "{span} of {parent}");
    }
    let (parent, pack) = (of_trace["parent"], of_trace["pack"]);
    assert!(parent.parent_span_id.is_empty());
    assert_eq!(said(parent, "nightbell.workflow.id").as_ref(), Some(&id));
    let status = parent.status.as_ref().unwrap();
    assert!(status.code == 2 && status.message.contains("no more"), "{status:?}");
    let [caller] = &parent.links[..] else { panic!("{parent:?}") };
    let told = format!("00-{}-{}-01", hex(&caller.trace_id), hex(&caller.span_id));
    assert_eq!(told, CALLER);
    assert_eq!(said(pack, "nightbell.worker.id").as_deref(), Some("w-1"));
    assert_eq!(said(pack, "nightbell.task.retry_count").as_deref(), Some("0"));
    assert!(said(pack, "nightbell.task.queue_time").is_some(), "{pack:?}");
    assert_eq!(of_trace["call"].kind, i32::from(SpanKind::Client));
    // Whoever was called was told of the very span, unless the author said something else.
    let call = format!("00-{trace}-{}-01", hex(&of_trace["call"].span_id));
    let heard = heard.lock().unwrap().clone();
    assert!(heard.contains(&call) && heard.contains(&CALLER.to_owned()), "{heard:?}");
    assert!(spans.iter().all(|span| !span.name.starts_with("quiet")), "{spans:#?}");
    {
        let seen = collector.seen.lock().unwrap();
        assert_eq!(
            (&*seen.service, seen.authorization.as_deref()),
            ("bell", Some("Bearer hunter2"))
        );
    }

    // A check is a run as well, and an incident leads to the trace of the one that saw it.
    let begun = Instant::now();
    let incident = loop {
        let incidents = live.get("/api/incidents").await;
        if let Some(id) = incidents["results"][0]["id"].as_str() {
            break id.to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "no incident; log: {}", live.log_text());
        tokio::time::sleep(LOOK).await;
    };
    let why = live.get(&format!("/api/incidents/{incident}/explain")).await;
    let check = why["cause"]["execution"].as_str().unwrap().replace('-', "");
    assert_eq!(why["cause"]["traceUrl"], format!("https://tempo.example/trace/{check}"), "{why}");
    let of_check = |span: &Span| hex(&span.trace_id) == check && span.name == "check:web";
    collector.until(&live, |spans| spans.iter().any(of_check)).await;
    let page = live.http.get(live.url(&format!("/console/runs/{id}"))).send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains(&format!("https://tempo.example/trace/{trace}")), "{page}");
    assert_eq!(warnings(&live).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_busy_or_refuses_gets_each_span_once_over_kills() {
    let collector = Collector::away();
    let endpoint = format!("{}/v1/traces", collector.url());
    let mut live = Live::start(&["--otlp-endpoint", &endpoint]).await;
    live.define("many", json!([task("NOOP", "n", &json!({}))])).await;
    live.define("bad", json!([task("NOOP", "poison", &json!({}))])).await;
    let mut begun = BTreeSet::new();
    for _ in 0..3 {
        begun.insert(live.begin("many", &json!({})).await);
    }
    metric(&live, "nightbell_trace_requests_total{outcome=\"failed\"}", 1.0).await;
    metric(&live, "nightbell_trace_export_lag_seconds", 0.1).await;
    let [why] = &warnings(&live).await[..] else { panic!("one warning is expected") };
    assert!(why.contains("are not exported"), "{why}");
    live.kill();

    // It is back, has no time for a while, and takes one request but for a span.
    collector.says([Says::Busy(429, 1), Says::Busy(503, 1), Says::Partly(1)]);
    collector.start().await;
    live.launch().await;
    collector.runs(&live, 3).await;
    metric(&live, "nightbell_trace_spans_total{outcome=\"exported\"}", 5.0).await;
    let [why] = &warnings(&live).await[..] else { panic!("one warning is expected") };
    assert!(why.contains("1 spans: too old"), "{why}");

    // One span that is refused takes no other with it.
    for name in ["many", "bad", "many"] {
        begun.insert(live.begin(name, &json!({})).await);
    }
    metric(&live, "nightbell_trace_spans_total{outcome=\"refused\"}", 2.0).await;
    collector.runs(&live, 6).await;
    metric(&live, "nightbell_trace_spans_total{outcome=\"exported\"}", 10.0).await;
    live.stop().await;
    live.launch().await;

    // A run that is retried after its end: what it did since is exported with the next.
    live.define("packed", json!([task("SIMPLE", "pack", &json!({}))])).await;
    let id = live.begin("packed", &json!({})).await;
    begun.insert(id.clone());
    let failed = json!({ "status": "FAILED_WITH_TERMINAL_ERROR", "reasonForIncompletion": "torn" });
    live.report(&taken(&live, "w").await, failed).await;
    collector.runs(&live, 7).await;
    live.post(&format!("/api/workflow/{id}/retry"), &json!({})).await;
    live.report(&taken(&live, "w").await, json!({ "status": "COMPLETED" })).await;
    let spans = collector.runs(&live, 8).await;
    let [torn, first, again, second] = &spans[11..] else { panic!("{spans:#?}") };
    assert_eq!(torn.status.as_ref().unwrap().message, "torn");
    assert_eq!((&torn.parent_span_id, &again.parent_span_id), (&first.span_id, &second.span_id));
    assert_eq!(said(again, "nightbell.task.status").as_deref(), Some("COMPLETED"));
    assert_eq!(second.links.first().unwrap().span_id, first.span_id);

    let ids: BTreeSet<_> = spans.iter().map(|span| (&span.trace_id, &span.span_id)).collect();
    assert_eq!((ids.len(), spans.len()), (15, 15), "each once: {spans:#?}");
    let runs = spans.iter().filter(|it| said(it, "nightbell.workflow.status").is_some());
    let runs: BTreeSet<_> = runs.filter_map(|it| said(it, "nightbell.workflow.id")).collect();
    assert_eq!(runs, begun);
    assert_eq!(warnings(&live).await, Vec::<String>::new(), "it begins to count anew");
}
