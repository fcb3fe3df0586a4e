//! Orchestrations as traces, with a worker that speaks gRPC.

use std::collections::BTreeMap;

use prost::Message as _;
use proto::history_event::EventType;
use proto::orchestrator_action::OrchestratorActionType as Do;
use proto::otlp::Span;
use proto::work_item::Request;
use proto::{
    ActivityRequest, ActivityResponse, CompleteOrchestrationAction, CreateSubOrchestrationAction,
    CreateTimerAction, GetWorkItemsRequest, OrchestrationStatus, OrchestratorAction,
    OrchestratorRequest, OrchestratorResponse, ScheduleTaskAction, TaskFailureDetails, WorkItem,
};

use super::{CALLER, Collector, PAYLOAD, hex, said};
use crate::attacks::wire::Grpc;
use crate::live::Live;

/// Does what the hub's orchestrations ask for, for as long as the server is there.
async fn work(grpc: Grpc) {
    let mut items = grpc.stream("GetWorkItems", &GetWorkItemsRequest::default()).await;
    loop {
        let item = WorkItem::decode(&*items.next().await).expect("work");
        let token = item.completion_token;
        match item.request {
            Some(Request::OrchestratorRequest(request)) => {
                grpc.call("CompleteOrchestratorTask", &turn(&request, token)).await;
            }
            Some(Request::ActivityRequest(request)) => {
                grpc.call("CompleteActivityTask", &activity(request, token)).await;
            }
            _ => {}
        }
    }
}

/// `order` asks for two activities, a child and two timers, and ends when all but the last have ended;
/// `child` ends at once.
fn turn(request: &OrchestratorRequest, token: String) -> OrchestratorResponse {
    let events = request.past_events.iter().chain(&request.new_events);
    let events: Vec<&EventType> = events.filter_map(|event| event.event_type.as_ref()).collect();
    let is_child = events
        .iter()
        .any(|event| matches!(event, EventType::ExecutionStarted(begun) if begun.name == "child"));
    let is_first = !events.iter().any(|event| matches!(event, EventType::TaskScheduled(_)));
    let done = events.iter().filter(|event| {
        matches!(
            event,
            EventType::TaskCompleted(_)
                | EventType::TaskFailed(_)
                | EventType::SubOrchestrationInstanceCompleted(_)
                | EventType::TimerFired(_)
        )
    });
    let activity = |name: &str| {
        let input = Some(PAYLOAD.to_owned());
        Do::ScheduleTask(ScheduleTaskAction { name: name.to_owned(), input, ..Default::default() })
    };
    let timer = |seconds| {
        let fire_at = Some(proto::Timestamp { seconds, nanos: 0 });
        Do::CreateTimer(CreateTimerAction { fire_at })
    };
    let end = |status: OrchestrationStatus, why: &str| {
        let failure_details = (!why.is_empty()).then(|| TaskFailureDetails {
            error_type: "ValueError".to_owned(),
            error_message: why.to_owned(),
            ..Default::default()
        });
        Do::CompleteOrchestration(CompleteOrchestrationAction {
            orchestration_status: status.into(),
            result: failure_details.is_none().then(|| PAYLOAD.to_owned()),
            failure_details,
            ..Default::default()
        })
    };
    let kinds = if is_child {
        vec![end(OrchestrationStatus::Completed, "")]
    } else if is_first {
        let child = CreateSubOrchestrationAction {
            instance_id: "one-child".to_owned(),
            name: "child".to_owned(),
            input: Some(PAYLOAD.to_owned()),
            ..Default::default()
        };
        let year_3000 = 32_503_680_000;
        vec![
            activity("say"),
            activity("boom"),
            Do::CreateSubOrchestration(child),
            timer(0),
            timer(year_3000),
        ]
    } else if done.count() == 4 {
        vec![end(OrchestrationStatus::Failed, "no luck")]
    } else {
        Vec::new()
    };
    // The actions of the first turn are 0 to 4.
    let base = if is_first { 0 } else { 5 };
    let action = |(id, kind)| OrchestratorAction { id, orchestrator_action_type: Some(kind) };
    OrchestratorResponse {
        instance_id: request.instance_id.clone(),
        actions: (base..).zip(kinds).map(action).collect(),
        completion_token: token,
        ..Default::default()
    }
}

fn activity(request: ActivityRequest, token: String) -> ActivityResponse {
    let failure_details = (request.name == "boom").then(|| TaskFailureDetails {
        error_type: "OSError".to_owned(),
        error_message: "it is gone".to_owned(),
        ..Default::default()
    });
    ActivityResponse {
        instance_id: request.orchestration_instance.unwrap_or_default().instance_id,
        task_id: request.task_id,
        result: failure_details.is_none().then(|| PAYLOAD.to_owned()),
        failure_details,
        completion_token: token,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_orchestrations_are_traces_with_what_they_asked_for() {
    let collector = Collector::away();
    collector.start().await;
    let endpoint = collector.url();
    let live = Live::start(&["--otlp-endpoint", &endpoint, "--otlp-workflows", "!quiet*"]).await;
    let worker = tokio::spawn(work(Grpc::new(&live)));
    let start = async |path: &str| {
        let path = live.url(&format!("/runtime/webhooks/durabletask/{path}"));
        let begun = live.http.post(path).header("traceparent", CALLER).body(PAYLOAD_JSON);
        let status = begun.send().await.unwrap().status();
        assert_eq!(status, 202, "{}", live.log_text());
    };
    start("orchestrators/quiet-child/quiet").await;
    start("instances/quiet/terminate?reason=over").await;
    start("orchestrators/order/one").await;

    let is = |name: &'static str| move |span: &Span| span.name == name;
    // The child is a run of its own, and perhaps sent by itself.
    let is_all = |spans: &[Span]| {
        let count = |name| spans.iter().filter(|span| is(name)(span)).count();
        (count("order"), count("child")) == (1, 2)
    };
    let spans = collector.until(&live, is_all).await;
    let of_name = |name: &'static str| spans.iter().filter(|span| is(name)(span)).count();
    assert!(spans.iter().all(|span| !span.name.starts_with("quiet")), "{spans:#?}");
    assert_eq!((of_name("say"), of_name("boom"), of_name("timer")), (1, 1, 1), "{spans:#?}");
    // The child, and the action that asked for it.
    assert_eq!(of_name("child"), 2, "{spans:#?}");
    let of_kind: BTreeMap<String, &Span> =
        spans.iter().filter_map(|span| Some((said(span, "nightbell.task.type")?, span))).collect();
    let order = spans.iter().find(|span| span.name == "order").unwrap();
    let asked = of_kind["SUB_ORCHESTRATION"];
    let is_child = |span: &&Span| {
        said(span, "nightbell.workflow.id").as_deref() == Some("instance:default:one-child")
    };
    let child = spans.iter().find(is_child).unwrap();
    assert_eq!(child.parent_span_id, asked.span_id);
    assert_eq!(said(asked, "nightbell.task.child").as_deref(), Some("one-child"));
    assert!(
        order.parent_span_id.is_empty() && spans.iter().all(|it| it.trace_id == order.trace_id)
    );
    for name in ["say", "boom", "timer"] {
        let span = spans.iter().find(|span| span.name == name).unwrap();
        assert_eq!(span.parent_span_id, order.span_id, "{name}");
    }
    let why = |name: &str| {
        let span = spans.iter().find(|span| span.name == name).unwrap();
        span.status.as_ref().map(|status| (status.code, status.message.clone()))
    };
    assert_eq!(why("say"), None);
    assert_eq!(why("boom"), Some((2, "OSError: it is gone".to_owned())));
    assert_eq!(why("order"), Some((2, "ValueError: no luck".to_owned())));
    assert_eq!(said(order, "nightbell.workflow.status").as_deref(), Some("FAILED"));
    let [caller] = &order.links[..] else { panic!("{order:?}") };
    assert_eq!(format!("00-{}-{}-01", hex(&caller.trace_id), hex(&caller.span_id)), CALLER);
    worker.abort();
}

const PAYLOAD_JSON: &str = "\"payload-7f3a\"";
