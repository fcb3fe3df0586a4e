//! What a hostile or careless client sends: it is told what is wrong and where, nothing of it is
//! kept, and everybody else is served as before.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::live::Live;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn inline(reference: &str, expression: &str) -> Value {
    json!({ "name": reference, "taskReferenceName": reference, "type": "INLINE",
            "inputParameters": { "evaluatorType": "javascript", "expression": expression,
                                 "v": "${workflow.input.v}" } })
}

fn jq(query: &str) -> Value {
    json!({ "name": "jq", "taskReferenceName": "jq", "type": "JSON_JQ_TRANSFORM",
            "inputParameters": { "queryExpression": query } })
}

fn call(url: &str) -> Value {
    json!({ "name": "call", "taskReferenceName": "call", "type": "HTTP",
            "inputParameters": { "uri": url, "method": "GET", "readTimeOut": 500 } })
}

fn sub(name: &str) -> Value {
    json!({ "name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
            "subWorkflowParam": { "name": name } })
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text '{key}' in {value}"))
}

/// Waits until as many executions run.
async fn until_running(live: &Live, count: u64) {
    let begun = Instant::now();
    loop {
        let found = live.get("/api/workflow/search?query=status=RUNNING&size=1").await;
        if found["totalHits"] == count {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{} run, not {count}", found["totalHits"]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_json_is_refused_with_its_place() {
    let live = Live::start(&[]).await;
    live.define("flow", json!([inline("a", "$.v")])).await;
    for path in [
        "/api/metadata/workflow",
        "/api/metadata/taskdefs",
        "/api/workflow",
        "/api/workflow/flow",
        "/api/tasks",
    ] {
        let (status, body) =
            live.ask(Method::POST, path, "{\"name\": \"x\",\n  \"tasks\": [}").await;
        assert_eq!(status, 400, "{path}: {body}");
        let told = body.to_string();
        assert!(told.contains("line 2, column 13"), "{path}: {body}");
        assert!(told.contains("malformed JSON"), "{path}: {body}");
        let (status, body) = live.ask(Method::POST, path, &b"{\"name\": \"\xff\xfe\"}"[..]).await;
        assert_eq!(status, 400, "{path}: {body}");
    }
    for body in ["[1]", "\"x\"", "1", "{\"a\":1} x"] {
        let (status, answer) = live.ask(Method::POST, "/api/workflow/flow", body).await;
        assert_eq!(status, 400, "{body}: {answer}");
    }
    let found = live.get("/api/workflow/search").await;
    assert_eq!(found["totalHits"], 0);
    assert_eq!(live.get("/api/metadata/workflow").await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_of_a_definition_is_told_at_once_and_nothing_is_stored() {
    let live = Live::start(&[]).await;
    let mut unknown = inline("third", "$.x");
    unknown["inputParameters"]["x"] = "${nobody.output.x}".into();
    let tasks = json!([
        inline("twice", "1"),
        inline("twice", "2"),
        { "name": "switch", "taskReferenceName": "switch", "type": "SWITCH" },
        { "name": "fetch", "taskReferenceName": "fetch", "type": "HTTP" },
        inline("broken", "if ("),
        unknown,
        { "name": "nameless", "type": "SIMPLE" },
    ]);
    let bad = json!({ "name": "bad", "version": 1, "schemaVersion": 2, "tasks": tasks });
    let good =
        json!({ "name": "good", "version": 1, "schemaVersion": 2, "tasks": [inline("a", "1")] });
    for (method, body) in
        [(Method::POST, bad.to_string()), (Method::PUT, json!([good, bad]).to_string())]
    {
        let (status, answer) = live.ask(method, "/api/metadata/workflow", body).await;
        assert_eq!(status, 400, "{answer}");
        let problems = answer["validationErrors"].as_array().expect("problems");
        for wanted in [
            "/tasks/1/taskReferenceName",
            "/tasks/2/",
            "/tasks/3/",
            "/tasks/4/",
            "/tasks/5/",
            "/tasks/6/",
        ] {
            let told = problems.iter().any(|problem| text(problem, "pointer").contains(wanted));
            assert!(told, "nothing is told about {wanted}: {answer}");
        }
        assert!(problems.iter().all(|problem| !text(problem, "hint").is_empty()), "{answer}");
    }
    let kept: Vec<Value> = live.get("/api/metadata/workflow").await.as_array().unwrap().clone();
    assert!(kept.is_empty(), "{kept:?}");
    let (status, _) = live.ask(Method::POST, "/api/workflow/bad", "{}").await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_or_fails_with_the_limit_in_the_reason() {
    let live = Live::start(&["--payload-max", "100KiB"]).await;
    live.define("make", json!([inline("big", "'x'.repeat($.v)")])).await;
    live.define("work", json!([{ "name": "w", "taskReferenceName": "w", "type": "SIMPLE" }])).await;

    for bytes in [120 << 10, 300 << 10] {
        let input = json!({ "v": "x".repeat(bytes) }).to_string();
        let (status, answer) = live.ask(Method::POST, "/api/workflow/make", input).await;
        assert_eq!(status, 413, "{answer}");
        assert!(text(&answer, "message").contains("bytes"), "{answer}");
    }
    let id = live.begin("make", &json!({ "v": 200_000 })).await;
    let made = live.ended(&id, PATIENCE).await;
    assert_eq!(made["status"], "FAILED");
    let reason = text(&made, "reasonForIncompletion");
    assert!(reason.contains("102400") && reason.contains("payload_max"), "{reason}");

    let id = live.begin("work", &json!({})).await;
    let task = live.poll("w?timeout=5000").await.remove(0);
    let output = json!({ "big": "x".repeat(110 << 10) });
    live.report(&task, json!({ "status": "COMPLETED", "outputData": output })).await;
    let worked = live.ended(&id, PATIENCE).await;
    assert_eq!(worked["status"], "FAILED");
    assert!(text(&worked, "reasonForIncompletion").contains("payload_max"), "{worked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_never_end_end_and_others_are_served_meanwhile() {
    let live = Live::start(&["--script-time", "1s"]).await;
    live.define("ever", json!([inline("a", "while (true) {}")])).await;
    live.define("quick", json!([inline("a", "$.v + 1")])).await;
    // One more than the server has threads: it runs when the first of the others has ended, and the
    // quick one beside it.
    let threads = (2 * std::thread::available_parallelism().map_or(2, usize::from)).clamp(4, 32);
    let stuck: Vec<_> = (0..=threads)
        .map(|_| {
            let (http, url) = (live.http.clone(), live.url("/api/workflow/ever"));
            // Each is answered when its script has ended, and they share the cores.
            let start = http.post(url).body("{}").timeout(2 * PATIENCE);
            tokio::spawn(async move { start.send().await.unwrap().text().await })
        })
        .collect();
    let evaluations = |health: &Value| {
        let count = |what: &str| health["evaluations"][what].as_u64().unwrap_or_default();
        count("busy") + count("waiting")
    };
    while evaluations(&live.get("/health").await) <= threads as u64 {
        let ended = stuck.iter().filter(|script| script.is_finished()).count();
        assert!(ended < stuck.len(), "the scripts ended before all of them had begun");
    }

    assert_eq!(live.get("/health").await["healthy"], true);
    let id = live.begin("quick", &json!({ "v": 1 })).await;
    assert_eq!(live.ended(&id, PATIENCE).await["status"], "COMPLETED");
    let still = stuck.iter().filter(|script| !script.is_finished()).count();
    assert!(still > 0, "the scripts ended before the others: nothing was shown");

    for script in stuck {
        let id = script.await.unwrap().unwrap();
        let ended = live.ended(&id, PATIENCE).await;
        assert_eq!(ended["status"], "FAILED");
        let reason = text(&ended, "reasonForIncompletion");
        assert!(reason.contains("ran longer than 1 s"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_script_is_bounded() {
    let live = Live::start(&["--script-time", "300ms", "--script-memory", "16MiB"]).await;
    let endless = "while (true) {}";
    let switch = json!({ "name": "s", "taskReferenceName": "s", "type": "SWITCH",
        "evaluatorType": "javascript", "expression": endless, "decisionCases": { "a": [inline("x", "1")] } });
    let around = json!({ "name": "l", "taskReferenceName": "l", "type": "DO_WHILE",
        "loopCondition": endless, "loopOver": [inline("x", "1")] });
    let hungry = "let all = []; while (true) { all.push('x'.repeat(1000) + all.length); }";
    for (name, task) in [
        ("switch", switch),
        ("loop", around),
        ("hungry", inline("a", hungry)),
        ("deep", inline("a", "(function f() { return f() + 1; })()")),
        ("caught", inline("a", "while (true) { try { while (true) {} } catch (e) {} }")),
        ("jq_ever", jq("last(range(1e12))")),
        ("jq_hungry", jq("[range(1e12)] | length")),
    ] {
        live.define(name, json!([task])).await;
        let id = live.begin(name, &json!({})).await;
        let ended = live.ended(&id, PATIENCE).await;
        assert_eq!(ended["status"], "FAILED", "{name}");
        let reason = text(&ended, "reasonForIncompletion");
        let clear = ["longer than", "memory", "time limit", "stack", "recursion"];
        assert!(clear.iter().any(|word| reason.contains(word)), "{name}: {reason}");
    }
    assert_eq!(live.get("/health").await["healthy"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn nesting_is_bounded_at_the_rim_and_what_passes_survives_a_restart() {
    let mut live = Live::start(&[]).await;
    let wait = json!({ "name": "w", "taskReferenceName": "w", "type": "HUMAN",
                       "inputParameters": { "got": "${workflow.input.v}" } });
    live.define("hold", json!([wait])).await;
    for depth in [128, 1000, 200_000] {
        let body = format!("{{\"v\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        for path in ["/api/workflow/hold", "/api/tasks", "/api/metadata/workflow"] {
            let (status, answer) = live.ask(Method::POST, path, body.clone()).await;
            assert_eq!(status, 400, "{path} took {depth} levels: {answer}");
        }
    }
    let depth = 90;
    let deep = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let body = format!("{{\"v\":{deep}}}");
    let (status, id) = live.ask(Method::POST, "/api/workflow/hold", body).await;
    assert_eq!(status, 200, "{id}");
    live.kill();
    live.launch().await;
    let shown = live.get(&format!("/api/workflow/{}", id.as_str().unwrap())).await;
    assert_eq!(shown["tasks"][0]["inputData"]["got"].to_string(), deep);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_beyond_floating_point_is_refused_before_it_can_spoil_its_document() {
    let live = Live::start(&[]).await;
    live.define("flow", json!([inline("a", "$.v")])).await;
    let long = "9".repeat(400);
    for number in ["1e400", "-1E+999", long.as_str()] {
        let body = format!("{{\"v\": [{number}], \"w\": 1}}");
        let (status, answer) = live.ask(Method::POST, "/api/workflow/flow", body).await;
        assert_eq!(status, 400, "{number}: {answer}");
        assert!(text(&answer, "message").contains(&number[..5]), "{answer}");
    }
    for fine in ["1e308", "-0.0", "12345678901234567890", "\"1e400 \\\" 1e400\"", "true", "1e-400"]
    {
        let body = format!("{{\"v\": {fine}}}");
        let (status, answer) = live.ask(Method::POST, "/api/workflow/flow", body).await;
        assert_eq!(status, 200, "{fine}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rim_answers_in_one_voice() {
    let live = Live::start(&[]).await;
    for (method, path, wanted) in [
        (Method::GET, "/nowhere", 404),
        (Method::GET, "/api/nowhere", 404),
        (Method::PATCH, "/api/workflow", 405),
        (Method::GET, "/api/workflow/..%2f..%2fetc%00", 404),
        (Method::GET, "/api/workflow/%ff%fe", 400),
        (Method::GET, "/api/workflow/%F0%9F%94%94", 404),
        (Method::GET, "/api/tasks/poll/x?timeout=soon", 400),
        (Method::GET, "/api/tasks/poll/batch/x?count=-1", 400),
        (Method::POST, "/api/workflow/none", 404),
        (Method::DELETE, "/api/workflow/none", 404),
        (Method::PUT, "/api/workflow/none/pause", 404),
        (Method::GET, "/api/tasks/none", 404),
    ] {
        let (status, answer) = live.ask(method.clone(), path, "").await;
        assert_eq!(status, wanted, "{method} {path}: {answer}");
        assert_eq!(answer["status"], wanted, "{method} {path}: {answer}");
        assert!(!text(&answer, "message").is_empty(), "{method} {path}: {answer}");
    }
    let long = format!("/api/workflow/{}", "a".repeat(5000));
    assert_eq!(live.ask(Method::GET, &long, "").await.0, 404);
    // A head that never ends: refused or cut off, never swallowed whole.
    let mut stream = TcpStream::connect(("127.0.0.1", live.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n");
    let line = format!("x-filler: {}\r\n", "a".repeat(8000));
    for _ in 0..1000 {
        if stream.write_all(line.as_bytes()).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(live.get("/health").await["healthy"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_names_are_only_names() {
    let live = Live::start(&[]).await;
    for name in ["fünf & <b>", "a/b", "..", "'; DROP TABLE executions; --", "🔔", "x%00y"] {
        let simple = json!({ "name": name, "taskReferenceName": "it", "type": "SIMPLE" });
        let definition =
            json!({ "name": name, "version": 1, "schemaVersion": 2, "tasks": [simple] });
        let body = definition.to_string();
        let (status, answer) = live.ask(Method::POST, "/api/metadata/workflow", body).await;
        assert_eq!(status, 200, "{name}: {answer}");
        let start = json!({ "name": name, "correlationId": name, "input": { name: name } });
        let id = live.post("/api/workflow", &start).await;
        let shown = live.get(&format!("/api/workflow/{}", id.as_str().unwrap())).await;
        assert_eq!(shown["workflowName"], name);
        assert_eq!(shown["correlationId"], name);
        assert_eq!(shown["input"][name], name);
    }
}

/// A server that misbehaves at the first call and answers properly from the second on.
fn peer(behaviour: fn(&mut TcpStream)) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let calls = AtomicUsize::new(0);
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                std::thread::spawn(move || behaviour(&mut stream));
            } else {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
                );
            }
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_misbehaves_fails_the_workflow_and_a_retry_works() {
    let live = Live::start(&[]).await;
    live.post("/api/metadata/taskdefs", &json!([{ "name": "call", "retryCount": 0 }])).await;
    let hangs: fn(&mut TcpStream) = |stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.read(&mut [0; 4096]);
    };
    // Closing with bytes unread resets the connection.
    let resets: fn(&mut TcpStream) = |stream| drop(stream.peek(&mut [0; 1]));
    let rubbish: fn(&mut TcpStream) = |stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"\x00\xff\x12GARBAGE\r\n\r\n");
    };
    let half: fn(&mut TcpStream) = |stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc");
    };
    let endless: fn(&mut TcpStream) = |stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 8192]).is_ok() {}
    };
    for (name, behaviour, wanted) in [
        ("hangs", hangs, "timed out"),
        ("resets", resets, "reset"),
        ("rubbish", rubbish, "not valid HTTP"),
        ("half", half, "before the answer was complete"),
        ("endless", endless, "3145728 bytes, the limit"),
    ] {
        let url = peer(behaviour);
        live.define(name, json!([call(&url)])).await;
        let id = live.begin(name, &json!({})).await;
        let ended = live.ended(&id, PATIENCE).await;
        assert_eq!(ended["status"], "FAILED", "{name}");
        let reason = text(&ended, "reasonForIncompletion");
        assert!(reason.contains(wanted) && reason.contains(&url), "{name}: {reason}");
        let (status, answer) =
            live.ask(Method::POST, &format!("/api/workflow/{id}/retry"), "").await;
        assert!(status < 300, "{answer}");
        let ended = live.ended(&id, PATIENCE).await;
        assert_eq!(ended["status"], "COMPLETED", "{name}: {ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_branches_and_many_iterations_finish() {
    let live = Live::start(&[]).await;
    let make = "const tasks = [], inputs = {}; for (let k = 0; k < $.v; k++) {
        tasks.push({ name: 'b', taskReferenceName: 'b' + k, type: 'INLINE',
                     inputParameters: { evaluatorType: 'javascript', expression: '$.k * 2' } });
        inputs['b' + k] = { k: k }; } ({ tasks: tasks, inputs: inputs });";
    let fork = json!({ "name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN_DYNAMIC",
        "dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs",
        "inputParameters": { "tasks": "${make.output.result.tasks}", "inputs": "${make.output.result.inputs}" } });
    let join = json!({ "name": "join", "taskReferenceName": "join", "type": "JOIN" });
    live.define("wide", json!([inline("make", make), fork, join])).await;
    let around = json!({ "name": "loop", "taskReferenceName": "loop", "type": "DO_WHILE",
        "loopCondition": "$.loop.iteration < $.v", "inputParameters": { "v": "${workflow.input.v}" },
        "loopOver": [inline("body", "$.v")] });
    live.define("long", json!([around])).await;

    let wide = live.begin("wide", &json!({ "v": 10_000 })).await;
    let long = live.begin("long", &json!({ "v": 2000 })).await;
    let wide = live.ended(&wide, PATIENCE).await;
    assert_eq!(wide["status"], "COMPLETED", "{}", wide["reasonForIncompletion"]);
    let tasks = wide["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 10_003);
    let last = tasks.iter().find(|task| task["referenceTaskName"] == "b9999").unwrap();
    assert_eq!(last["outputData"]["result"], 19_998);
    let long = live.ended(&long, PATIENCE).await;
    assert_eq!(long["status"], "COMPLETED", "{}", long["reasonForIncompletion"]);
    assert_eq!(long["tasks"].as_array().unwrap().len(), 2001);

    // More than the bound is refused with the bound in the reason.
    let id = live.begin("wide", &json!({ "v": 20_001 })).await;
    let over = live.ended(&id, PATIENCE).await;
    assert_eq!(over["status"], "FAILED");
    assert!(
        text(&over, "reasonForIncompletion").contains("20000"),
        "{}",
        over["reasonForIncompletion"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_starts_itself_for_ever_is_stopped() {
    let live = Live::start(&[]).await;
    live.define("again", json!([sub("again")])).await;
    let id = live.begin("again", &json!({})).await;
    let ended = live.ended(&id, PATIENCE).await;
    assert_eq!(ended["status"], "FAILED");
    assert!(text(&ended, "reasonForIncompletion").contains("depth_max"), "{ended}");
    until_running(&live, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terminating_a_parent_ends_everything_below_it() {
    let live = Live::start(&[]).await;
    let human = json!({ "name": "h", "taskReferenceName": "h", "type": "HUMAN" });
    live.define("level0", json!([human])).await;
    for level in 1..=10 {
        live.define(&format!("level{level}"), json!([sub(&format!("level{}", level - 1))])).await;
    }
    let id = live.begin("level10", &json!({})).await;
    until_running(&live, 11).await;
    let path = format!("/api/workflow/{id}?reason=enough");
    let (status, answer) = live.ask(Method::DELETE, &path, "").await;
    assert!(status < 300, "{answer}");
    until_running(&live, 0).await;
    let found = live.get("/api/workflow/search?query=status=TERMINATED&size=100").await;
    assert_eq!(found["totalHits"], 11);
}
