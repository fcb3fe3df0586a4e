//! Attacks by tasks whose input says where they connect to: what the outgoing policy refuses is
//! called by none of them, whatever protocol they speak.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use engine::{Outcome, OutcomeStatus, TaskRunner};
use serde_json::{Value, json};
use tasks::outgoing::{Dialer, Policy};
use tasks::registry::{Settings, runners};
use tokio_util::sync::CancellationToken;

use crate::http::{handoff, settings};

/// One way to make a task of some type connect.
struct Way {
    kind: &'static str,
    /// The input that names a host and a port.
    input: fn(&str, u16) -> Value,
}

/// Types that have tests of their own, beside what else is tested of them.
const ELSEWHERE: [&str; 8] = [
    "HTTP",
    "BUSINESS_RULE",
    "JDBC",
    "CHECK_TCP",
    "CHECK_DNS",
    "CHECK_GRPC",
    "CHECK_HTTP",
    "CHECK_ICMP",
];
/// Types that connect to nobody, or where the configuration says, not their input.
const NOWHERE: [&str; 12] = [
    "CHECK_COMPOSITE",
    "CHECK_JOB",
    "EVENT",
    "GET_SIGNED_JWT",
    "GET_WORKFLOW",
    "INCIDENT",
    "OPS_GENIE",
    "QUERY_PROCESSOR",
    "SENDGRID",
    "TERMINATE_WORKFLOW",
    "UPDATE_SECRET",
    "UPDATE_TASK",
];

#[cfg(feature = "kafka")]
const KAFKA: Way = Way {
    kind: "KAFKA_PUBLISH",
    input: |host, port| {
        json!({ "kafka_request": {
            "bootStrapServers": format!("{host}:{port}"), "topic": "t", "value": "v" } })
    },
};
const POLL: Way = Way {
    kind: "HTTP_POLL",
    input: |host, port| {
        json!({ "http_request": { "uri": format!("http://{host}:{port}/"), "method": "GET",
            "connectionTimeOut": 2000, "terminationCondition": "true" } })
    },
};
const RECEIVER: Way = Way {
    kind: "NOTIFY",
    input: |host, port| {
        let mail = json!({ "url": format!("smtp://{host}:{port}"), "tls": "none",
            "from": "bell@example.org", "to": "a@example.org" });
        json!({ "kind": "email", "settings": mail, "receiver": "r",
            "notification": { "title": "t" } })
    },
};
const MAILBOX: Way = Way {
    kind: "CHECK_EMAIL",
    input: |host, port| {
        json!({ "monitor": "m", "settings": { "url": format!("imaps://{host}:{port}"),
            "user": "u", "password": "p", "subjects": "s" } })
    },
};
/// Of what these have in common with `CHECK_HTTP` one would be enough, if nobody ever changed it.
const OTHERS: [Way; 4] = [
    Way {
        kind: "NOTIFY",
        input: |host, port| {
            json!({ "kind": "webhook", "receiver": "r", "notification": { "title": "t" },
                "settings": { "url": format!("http://{host}:{port}/") } })
        },
    },
    Way {
        kind: "CHECK_INFLUX",
        input: |host, port| {
            json!({ "monitor": "m", "settings": { "url": format!("http://{host}:{port}"),
                "influxql": "SELECT 1", "db": "d" } })
        },
    },
    Way {
        kind: "CHECK_PROMETHEUS",
        input: |host, port| {
            json!({ "monitor": "m",
                "settings": { "url": format!("http://{host}:{port}"), "query": "up" } })
        },
    },
    Way {
        kind: "CHECK_SQL",
        input: |host, port| {
            json!({ "monitor": "m", "settings": {
                "url": format!("postgres://u:p@{host}:{port}/d"), "query": "SELECT 1" } })
        },
    },
];

/// All runners of a server with this policy.
fn under(policy: Policy) -> Vec<Arc<dyn TaskRunner>> {
    let mut known = Settings { http: settings(), ..Settings::default() };
    known.http.outgoing = Dialer::new(policy);
    known.check.http.clone_from(&known.http);
    known.sql.urls_in_inputs = true;
    runners(&known).expect("they are well")
}

async fn run(runners: &[Arc<dyn TaskRunner>], way: &Way, host: &str, port: u16) -> Outcome {
    let runner = runners.iter().find(|runner| runner.task_type() == way.kind).expect("it is known");
    runner.run(handoff(&(way.input)(host, port)), CancellationToken::new()).await
}

#[track_caller]
fn refused(way: &Way, host: &str, outcome: &Outcome, setting: &str) {
    let at = format!("{} at {host}", way.kind);
    assert_eq!(outcome.status, OutcomeStatus::FailedTerminally, "{at}: {outcome:?}");
    let reason = outcome.reason.as_deref().unwrap_or_default();
    assert!(reason.contains(setting), "{at}: {reason}");
}

/// Checks that a way leads neither to metadata nor to this server's own listener, in no spelling; and
/// that it leads there once the configuration allows it, so that the refusals are no accident.
async fn leads_nowhere_that_is_refused(way: &Way) {
    let own = TcpListener::bind("127.0.0.1:0").expect("a port");
    own.set_nonblocking(true).expect("a socket");
    let port = own.local_addr().expect("a port").port();
    let policy = Policy::default();
    policy.listeners.add(SocketAddr::from(([127, 0, 0, 1], port)));
    let guarded = under(policy.clone());
    for host in ["169.254.169.254", "2852039166", "0xa9fea9fe"] {
        refused(way, host, &run(&guarded, way, host, 80).await, "outgoing_allow");
    }
    for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1"] {
        refused(way, host, &run(&guarded, way, host, port).await, "outgoing_own");
    }
    assert!(own.accept().is_err(), "{}: somebody has connected", way.kind);
    let open = under(Policy { own: true, ..policy });
    let own = tokio::net::TcpListener::from_std(own).expect("a socket");
    tokio::select! {
        caller = own.accept() => drop(caller.expect("a caller")),
        outcome = run(&open, way, "127.0.0.1", port) => panic!("{}: {outcome:?}", way.kind),
    }
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn a_record_goes_to_no_broker_that_is_refused() {
    leads_nowhere_that_is_refused(&KAFKA).await;
}

/// Answers what a test says, in this order; then that the name is unknown.
#[cfg(feature = "kafka")]
struct Answering(parking_lot::Mutex<Vec<Vec<std::net::IpAddr>>>);

#[cfg(feature = "kafka")]
impl tasks::outgoing::Resolve for Answering {
    fn resolve(
        &self,
        host: &str,
    ) -> futures_util::future::BoxFuture<'static, std::io::Result<Vec<std::net::IpAddr>>> {
        let mut answers = self.0.lock();
        let unknown = || std::io::Error::other(format!("{host} is unknown"));
        let answer = if answers.is_empty() { Err(unknown()) } else { Ok(answers.remove(0)) };
        Box::pin(async move { answer })
    }
}

/// The client of Kafka looks names up by itself: what is not known, or only in part allowed, when it is
/// judged could be something else by then.
#[cfg(feature = "kafka")]
#[tokio::test]
async fn a_broker_with_an_address_that_is_refused_or_unknown_is_not_called() {
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    own.set_nonblocking(true).unwrap();
    let port = own.local_addr().unwrap().port();
    let both = vec![[127, 0, 0, 1].into(), [169, 254, 169, 254].into()];
    for (answers, status, part) in [
        (vec![both], OutcomeStatus::FailedTerminally, "outgoing_allow"),
        (vec![], OutcomeStatus::Failed, "localhost is unknown"),
    ] {
        let resolver = Arc::new(Answering(parking_lot::Mutex::new(answers)));
        let dialer = Dialer::resolving_with(Policy::default(), resolver);
        let runner = tasks::kafka::KafkaPublish::new(dialer);
        let input = (KAFKA.input)("localhost", port);
        let outcome = runner.run(handoff(&input), CancellationToken::new()).await;
        assert_eq!(outcome.status, status, "{outcome:?}");
        let reason = outcome.reason.unwrap_or_default();
        assert!(reason.contains(part), "{reason}");
    }
    assert!(own.accept().is_err(), "somebody has connected");
}

#[tokio::test]
async fn a_poll_calls_no_server_that_is_refused() {
    leads_nowhere_that_is_refused(&POLL).await;
}

#[tokio::test]
async fn a_receiver_sends_to_no_mail_server_that_is_refused() {
    leads_nowhere_that_is_refused(&RECEIVER).await;
}

#[tokio::test]
async fn a_mailbox_is_looked_for_on_no_server_that_is_refused() {
    leads_nowhere_that_is_refused(&MAILBOX).await;
}

#[tokio::test]
async fn receivers_and_sources_call_no_server_that_is_refused() {
    for way in &OTHERS {
        leads_nowhere_that_is_refused(way).await;
    }
}

#[tokio::test]
async fn no_type_of_task_is_forgotten_here() {
    let mut told: Vec<&str> = ELSEWHERE.into_iter().chain(NOWHERE).collect();
    told.extend([&POLL, &RECEIVER, &MAILBOX].map(|way| way.kind));
    told.extend(OTHERS.iter().map(|way| way.kind));
    #[cfg(feature = "kafka")]
    told.push(KAFKA.kind);
    for runner in under(Policy::default()) {
        let kind = runner.task_type();
        assert!(
            told.contains(&kind),
            "{kind}: where does it connect to? Add how, or that it does not"
        );
    }
}
