//! Runs in the console: what the list, a run, its tasks and its logs show, and the acts that steer one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::{Method, StatusCode};
use engine::memory::{Call, Memory};
use engine::store::LogLine;
use kernel::Timestamp;
use kernel::definition::{RetryLogic, TaskDef};
use kernel::durable::Outcome;
use kernel::graph::TaskStatus;
use serde_json::{Value, json};

use crate::code_worker::{Worker, end};
use crate::console::{Browser, hidden, is_whole};
use crate::support::{Server, line, waiting};

/// Questions to the store for a page.
const READS_MAX: u32 = 12;

/// The page at an address, which is whole.
async fn page(browser: &Browser, path: &str) -> String {
    let page = browser.get(path).await;
    assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
    is_whole(path, &page);
    page.text
}

/// Does what a preview leads to, with more fields.
async fn confirmed(browser: &Browser, query: &str, more: &str) -> String {
    let preview = page(browser, &format!("/console/confirm?{query}")).await;
    let token = hidden(&preview, "token").to_owned();
    let done = browser.act(&format!("{query}&token={token}{more}")).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    preview
}

/// A server whose questions to its store are counted.
pub(crate) async fn counting() -> (Server, Arc<AtomicU32>) {
    let reads = Arc::new(AtomicU32::new(0));
    let counted = reads.clone();
    let store = Arc::new(Memory::with_faults(move |call| {
        if let Call::Read(_) = call {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        None
    }));
    (Server::with_store(store).await, reads)
}

#[tokio::test]
async fn runs_are_found_by_kind_time_and_error_and_the_api_finds_the_same() {
    let worker = Worker::new().await;
    worker.post("/orchestrators/hello/one", "").await;
    let browser = Browser::at(worker.server);
    let server = browser.server();
    server.register(json!([line("etl", &["load"])])).await;
    let mut failed = Vec::new();
    for _ in 0..2 {
        failed.push(server.start("etl", &json!({})).await);
        server.fail("load").await;
    }
    for id in &failed {
        server.until(id, "FAILED").await;
    }
    let open = server.start("etl", &json!({})).await;
    let list = page(&browser, "/console/runs").await;
    // Code has no definition to look at; workflows have.
    assert!(list.contains("/console/definitions/workflow/etl\""), "{list}");
    assert!(!list.contains("/console/definitions/workflow/hello"), "{list}");
    for shown in ["kind%3Aorchestration", "error%3A", "after%3A", "why%3Ano-worker", "it broke"] {
        assert!(list.contains(shown), "{shown}: {list}");
    }
    let count = async |find: &str| {
        let path = format!("/api/workflow/search?size=50&find={}", find.replace(' ', "%20"));
        let found = server.get(&path).await.ok();
        (found["totalHits"].as_u64(), found["results"].as_array().map(Vec::len))
    };
    assert!(list.contains("/api/workflow/search?size=50&amp;classifier=*"), "{list}");
    assert_eq!(count("after:1d").await, (Some(4), Some(4)));
    assert_eq!(count("kind:orchestration").await, (Some(1), Some(1)));
    assert_eq!(count("kind:workflow status:FAILED after:1h").await, (Some(2), Some(2)));
    assert_eq!(count("status:FAILED before:1h").await, (Some(0), Some(0)));
    assert_eq!(count("error:it*broke").await, (Some(2), Some(2)));
    assert_eq!(count("error:it*held").await, (Some(0), Some(0)));
    // The link to the JSON is the same list.
    let found = page(&browser, "/console/runs?q=kind%3Aworkflow+status%3AFAILED").await;
    assert!(found.contains("find=kind%3Aworkflow%20status%3AFAILED"), "{found}");
    assert!(!found.contains(&open), "{found}");
    for wrong in ["find=x&freeText=y", "find=kind%3Anone", "find=a&query=status%3DFAILED"] {
        server.get(&format!("/api/workflow/search?{wrong}")).await.failed(400);
    }
    server.get("/api/workflow/search-by-tasks?find=a").await.failed(400);
    // An hour of the histogram leads to its runs, and to no others.
    let hours = page(&browser, "/console/runs?q=name%3Aetl&hours=24").await;
    let link = hours.split("href=\"").find(|it| it.contains("before%3A")).expect("an hour");
    let link = link.split('"').next().unwrap_or_default().replace("&amp;", "&");
    let of_hour = page(&browser, &link).await;
    assert!(of_hour.contains(&open), "{link}: {of_hour}");
    // Two that are selected are compared, by a plain form.
    let [one, other] = &failed[..] else { panic!("two have failed") };
    let compare = async |form: &str| browser.form("/console/compare", &[], form).await;
    let led = compare(&format!("id={one}&id={other}&back=/console/runs")).await;
    assert_eq!(led.headers["location"], format!("/console/runs/{one}/with/{other}"));
    assert_eq!(compare(&format!("id={one}")).await.status, StatusCode::BAD_REQUEST);
    let place = page(&browser, &format!("/console/runs/{one}/with/{other}?place=load")).await;
    assert!(place.contains("Difference") && place.contains("Output of"), "{place}");
}

#[tokio::test]
async fn a_list_of_runs_that_are_not_in_memory_reads_no_histories() {
    let (server, reads) = counting().await;
    server.register(json!([waiting("waits"), line("etl", &["load"])])).await;
    for _ in 0..15 {
        server.start("waits", &json!({})).await;
    }
    let queued = server.start("etl", &json!({})).await;
    let browser = Browser::at(server);
    let warm = page(&browser, "/console/runs?q=name%3Awaits").await;
    assert!(warm.contains("waits for an update from outside"), "{warm}");
    let browser = Browser::at(browser.server().restarted().await);
    let before = reads.load(Ordering::Relaxed);
    let cold = page(&browser, "/console/runs").await;
    let asked = reads.load(Ordering::Relaxed) - before;
    assert!(asked <= READS_MAX, "{asked} questions");
    assert!(cold.contains(">look</a>"), "{cold}");
    // What waits in a queue is known without its history.
    let shown = page(&browser, &format!("/console/runs?q=id%3A{queued}")).await;
    assert!(
        shown.contains("no worker polls 'load'") || shown.contains("no worker polls &#39;load"),
        "{shown}"
    );
}

#[tokio::test]
async fn logs_are_read_by_window_and_shown_with_few_questions() {
    let (server, reads) = counting().await;
    server.register(json!([line("etl", &["a", "b"])])).await;
    let run = server.start("etl", &json!({})).await;
    let task = server.take("a").await;
    let path = format!("/api/tasks/{task}/log");
    assert_eq!(server.get(&path).await.status, StatusCode::NO_CONTENT);
    let line = |number: i64| LogLine {
        at: Timestamp::from_millis(number),
        text: format!("line {number} <b>"),
    };
    let written = (0..250).map(line).collect();
    let store = server.engine.store();
    store.append_log(&task.execution, task.sequence, written).await.expect("memory takes it");
    // Without a parameter the answer is the protocol's.
    let all = server.get(&path).await.ok();
    assert_eq!(all.as_array().map(Vec::len), Some(250));
    assert_eq!(
        (&all[0]["log"], &all[0]["taskId"]),
        (&json!("line 0 <b>"), &json!(task.to_string()))
    );
    let said = |window: &Value| {
        let lines = window["lines"].as_array().expect("lines").iter();
        lines.map(|it| it["log"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    let last = server.get(&format!("{path}?tail=2")).await.ok();
    assert_eq!(said(&last), ["line 248 <b>", "line 249 <b>"]);
    let earlier = server.get(&format!("{path}?tail=1&before={}", last["before"])).await.ok();
    assert_eq!(said(&earlier), ["line 247 <b>"]);
    let found = server.get(&format!("{path}?find=LINE%2024%20")).await.ok();
    assert_eq!(said(&found), ["line 24 <b>"]);
    assert_eq!(found.get("before"), None, "{found}");
    server.report(&task, TaskStatus::Completed, &json!({})).await;
    let second = server.take("b").await;
    let path = format!("/api/tasks/{second}/log");
    server.send(Method::POST, &path, "of the second".to_owned()).await.ok_text();
    let browser = Browser::at(server);
    let before = reads.load(Ordering::Relaxed);
    let logs = page(&browser, &format!("/console/runs/{run}?view=logs")).await;
    let asked = reads.load(Ordering::Relaxed) - before;
    assert!(asked <= READS_MAX, "{asked} questions");
    assert!(logs.contains("line 249 &lt;b&gt;") && logs.contains("of the second"), "{logs}");
    assert!(!logs.contains("line 9 "), "{logs}");
    let link = logs.split("rel=\"prev\" href=\"").nth(1).expect("earlier lines");
    let link = link.split('"').next().unwrap_or_default().replace("&amp;", "&");
    assert!(page(&browser, &link).await.contains("line 9 "));
    let only = page(&browser, &format!("/console/runs/{run}?view=logs&task=1&find=line+13")).await;
    assert!(only.contains("line 139 ") && !only.contains("line 14 "), "{only}");
    let none = page(&browser, &format!("/console/runs/{run}?view=logs&find=nowhere")).await;
    assert!(none.contains("Nothing matches"), "{none}");
}

#[tokio::test]
async fn a_task_tells_its_attempts_its_deadline_and_its_retries_to_come() {
    let server = Server::new().await;
    server
        .register_task(TaskDef {
            name: "load".to_owned(),
            retry_count: 3,
            retry_logic: RetryLogic::Fixed,
            retry_delay_seconds: 0,
            timeout_seconds: 3600,
            response_timeout_seconds: 600,
            ..TaskDef::default()
        })
        .await;
    server.register(json!([line("etl", &["load"])])).await;
    let run = server.start("etl", &json!({})).await;
    let task = server.take("load").await;
    server.report(&task, TaskStatus::Failed, &json!({ "rows": 1 })).await;
    let again = server.take("load").await;
    let browser = Browser::at(server);
    let path = format!("/console/runs/{run}?task={}", again.sequence);
    let panel = page(&browser, &path).await;
    for shown in ["timeoutSeconds", "responseTimeoutSeconds", "retry 2", "retry 3", "attempt 2"] {
        assert!(panel.contains(shown), "{shown}: {panel}");
    }
    assert!(!panel.contains("retry 4") && !panel.contains("Rerun here"), "{panel}");
    assert!(panel.contains("Output: − the attempt before"), "{panel}");
    assert!(panel.contains("\"rows\": 1") || panel.contains("&quot;rows&quot;: 1"), "{panel}");
    browser.server().report(&again, TaskStatus::FailedWithTerminalError, &json!({})).await;
    browser.server().until(&run, "FAILED").await;
    let panel = page(&browser, &path).await;
    assert!(panel.contains("Rerun here") && panel.contains("Retry what failed"), "{panel}");
    assert!(!panel.contains("By the clock"), "{panel}");
}

#[tokio::test]
async fn a_run_is_steered_and_previews_tell_what_is_kept_and_what_runs_again() {
    let server = Server::new().await;
    let mut etl = line("etl", &["a", "b", "c"]);
    server.register(json!([etl])).await;
    etl["version"] = 2.into();
    etl["tasks"][1] = json!({ "name": "new", "taskReferenceName": "new", "type": "SIMPLE" });
    let pull = json!({ "name": "p", "taskReferenceName": "p", "type": "PULL_WORKFLOW_MESSAGES",
        "inputParameters": { "batchSize": 1 } });
    server.register(json!([etl, { "name": "inbox", "version": 1, "tasks": [pull] }])).await;
    let version_1 = json!({ "name": "etl", "version": 1, "input": {} });
    let start = async |server: &Server| server.post("/api/workflow", &version_1).await.ok_text();
    let run = start(&server).await;
    let inbox = server.start("inbox", &json!({})).await;
    let browser = Browser::at(server);
    let server = browser.server();
    let shown = page(&browser, &format!("/console/runs/{run}")).await;
    for act in ["skip-task", "jump", "upgrade", "signal"] {
        assert!(shown.contains(&format!("value=\"{act}\"")), "{act}: {shown}");
    }
    // Skipping what comes later.
    let preview = confirmed(&browser, &format!("act=skip-task&id={run}&task=b"), "").await;
    assert!(preview.contains("Unresolved") && preview.contains("<code>b</code>"), "{preview}");
    server.complete("a").await;
    server.until_queued("c", 1).await;
    // Back to the first.
    let preview = confirmed(&browser, &format!("act=jump&id={run}&task=a"), "").await;
    assert!(preview.contains("Run again"), "{preview}");
    server.until_queued("a", 1).await;
    // A preview of one place is no permission for another.
    let preview = page(&browser, &format!("/console/confirm?act=jump&id={run}&task=a")).await;
    let token = hidden(&preview, "token");
    let refused = browser.act(&format!("act=jump&id={run}&task=c&token={token}")).await;
    assert!(refused.text.contains("previewed"), "{}", refused.text);
    // That the second was skipped is forgotten with what followed.
    for queue in ["a", "b", "c"] {
        server.complete(queue).await;
    }
    server.until(&run, "COMPLETED").await;
    // A rerun from the last task keeps what was before it.
    let tasks = server.workflow(&run).await["tasks"].clone();
    let last = tasks.as_array().and_then(|it| it.last()).expect("a task")["taskId"].clone();
    let last = last.as_str().expect("an id");
    let preview = confirmed(&browser, &format!("act=rerun&id={run}&task={last}"), "").await;
    assert!(preview.contains("Kept") && preview.contains("<code>c</code>"), "{preview}");
    server.until_queued("c", 1).await;
    // An upgrade tells what has no output.
    let run = start(server).await;
    let preview = confirmed(&browser, &format!("act=upgrade&id={run}&version=2"), "").await;
    assert!(preview.contains("Go on") && preview.contains("<code>a</code>"), "{preview}");
    assert_eq!(server.workflow(&run).await["workflowVersion"], 2);
    // A message, and one that is no object.
    let sent = browser.act(&format!("act=signal&id={inbox}&input=%7B%22go%22%3A1%7D")).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text);
    server.until(&inbox, "COMPLETED").await;
    let wrong = browser.act(&format!("act=signal&id={run}&input=1")).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn code_in_workers_is_steered() {
    let worker = Worker::new().await;
    worker.post("/orchestrators/hello/over", "").await;
    worker.turn(vec![(0, end(Outcome::Completed, "1"))], None).await;
    worker.post("/orchestrators/hello/one", "").await;
    worker.turn(Vec::new(), None).await;
    let browser = Browser::at(worker.server);
    let (id, over) = ("instance:default:one", "instance:default:over");
    let shown = page(&browser, &format!("/console/runs/{id}")).await;
    for act in ["suspend-code", "terminate-code", "raise-event"] {
        assert!(shown.contains(&format!("value=\"{act}\"")), "{act}: {shown}");
    }
    assert!(shown.contains("parent%3Ainstance"), "{shown}");
    let act = async |act: &str| browser.act(&format!("act={act}&id={id}")).await;
    let done = act("raise-event&event=go&input=%7B%7D").await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    for does in ["suspend-code", "resume-code"] {
        let done = act(does).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{does}: {}", done.text);
    }
    let refused = act("resume-code").await;
    assert!(refused.text.contains("is not suspended"), "{}", refused.text);
    let refused = act("terminate-code").await;
    assert!(refused.text.contains("previewed"), "{}", refused.text);
    confirmed(&browser, &format!("act=terminate-code&id={id}"), "&why=over").await;
    let history = page(&browser, &format!("/console/runs/{id}?view=history&from=0")).await;
    assert!(history.contains("ExecutionStarted"), "{history}");
    // What has ended is begun anew under its own id.
    confirmed(&browser, &format!("act=restart-code&id={over}"), "").await;
    let shown = browser.server().get("/runtime/webhooks/durabletask/instances/over").await.json();
    assert_eq!(shown["runtimeStatus"], "Pending");
}

#[tokio::test]
async fn pictures_count_what_is_repeated_and_large_payloads_are_read_by_part() {
    let server = Server::new().await;
    let simple = |at: usize| json!({ "name": "load", "taskReferenceName": format!("load{at}"), "type": "SIMPLE" });
    server
        .register(json!([
            { "name": "wide", "version": 1, "tasks": [
                { "name": "f", "taskReferenceName": "fork", "type": "FORK_JOIN_DYNAMIC",
                  "inputParameters": { "tasks": "${workflow.input.tasks}", "inputs": {} },
                  "dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs" },
                { "name": "j", "taskReferenceName": "join", "type": "JOIN" } ] },
            { "name": "long", "version": 1, "tasks": [
                { "name": "l", "taskReferenceName": "pages", "type": "DO_WHILE",
                  "items": "${workflow.input.pages}", "loopCondition": "true", "loopOver": [
                    { "name": "p", "taskReferenceName": "page", "type": "NOOP" } ] } ] },
        ]))
        .await;
    let tasks: Vec<Value> = (0..3).map(simple).collect();
    let wide = server.start("wide", &json!({ "tasks": tasks })).await;
    server.until_queued("load", 3).await;
    server.complete("load").await;
    let rows: Vec<String> = (0..900).map(|at| format!("row {at}")).collect();
    let long =
        server.start("long", &json!({ "pages": [1, 2, 3, 4], "rows": rows, "a/b": 1 })).await;
    server.until(&long, "COMPLETED").await;
    let browser = Browser::at(server);
    let picture = page(&browser, &format!("/console/runs/{wide}?view=graph")).await;
    assert!(picture.contains("2 ✓ 2 ▶"), "the fork and its tasks: {picture}");
    let running = page(&browser, &format!("/console/runs/{wide}?view=tasks&only=running")).await;
    assert!(running.contains("load2") && !running.contains(">fork</a>"), "{running}");
    page(&browser, &format!("/console/runs/{wide}?view=tasks&only=slowest")).await;
    let picture = page(&browser, &format!("/console/runs/{long}?view=graph")).await;
    assert!(picture.contains("4 iterations") && picture.contains("4 ✓ 0 ✕ 0 ▶"), "{picture}");
    let data = page(&browser, &format!("/console/runs/{long}?view=data")).await;
    assert!(data.contains("list of 900") && !data.contains("row 899"), "{data}");
    let part =
        page(&browser, &format!("/console/runs/{long}?view=data&path=/input/rows/899")).await;
    assert!(part.contains("row 899") && part.contains("Everything"), "{part}");
    let none = browser.get(&format!("/console/runs/{long}?view=data&path=/input/none")).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    page(&browser, &format!("/console/runs/{wide}?view=timeline&idle=shown")).await;
}
