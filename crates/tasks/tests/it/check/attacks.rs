//! Attacks over checks: the credentials of a configured source are wanted elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use kernel::alert::definition::Remark;
use serde_json::{Value, json};
use tasks::registry::{Settings, runners};
use tokio_util::sync::CancellationToken;

use super::wrong;
use crate::http::{handoff, server, settings};

/// Settings that know a source with credentials.
fn knowing(url: &str) -> Settings {
    let mut known = Settings { http: settings(), ..Settings::default() };
    known.check.http = settings();
    let source = json!({ "url": url, "token": "TOKEN", "user": "jane", "password": "secret",
        "refresh_token": "REFRESH", "client_secret": "CLIENT", "org": "o" });
    known.check.sources.put("guarded", source.as_object().unwrap().clone());
    known
}

#[tokio::test]
async fn the_credentials_of_a_source_go_to_its_own_address_alone() {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    let hear = move || {
        count.fetch_add(1, Ordering::SeqCst);
        async { "{}" }
    };
    let attacker = server::good(Router::new().fallback(hear)).await.url("/");
    let host = attacker.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let known = knowing("http://127.0.0.1:1");
    let runners = runners(&known).unwrap();
    for (kind, member, check) in [
        ("CHECK_INFLUX", "url", json!({ "server": "guarded", "url": attacker, "query": "q" })),
        ("CHECK_PROMETHEUS", "url", json!({ "server": "guarded", "url": attacker, "query": "q" })),
        ("CHECK_HTTP", "url", json!({ "server": "guarded", "url": attacker })),
        ("CHECK_EMAIL", "token_url", json!({ "account": "guarded", "token_url": attacker })),
        ("CHECK_EMAIL", "host", json!({ "account": "guarded", "host": host })),
        ("CHECK_EMAIL", "url", json!({ "account": "guarded", "url": format!("imap://{host}") })),
        ("CHECK_HTTP", "tls", json!({ "server": "guarded", "tls": { "ca": "PEM" } })),
        ("CHECK_HTTP", "tls", json!({ "server": "guarded", "tls": false })),
    ] {
        let runner = runners.iter().find(|runner| runner.task_type() == kind).unwrap();
        let input = json!({ "settings": check, "monitor": "m" });
        let told = runner.judge(&input);
        let stray = |remark: &Remark| remark.message.contains("beside the source");
        assert!(told.iter().any(stray), "{kind} {member}: {told:?}");
        let outcome = runner.run(handoff(&input), CancellationToken::new()).await;
        wrong(&outcome, &format!("`{member}` cannot be set beside the source \"guarded\""));
    }
    assert_eq!(heard.load(Ordering::SeqCst), 0, "the attacker was asked");
}

#[tokio::test]
async fn a_source_answers_at_its_own_address() {
    let router = Router::new().fallback(|request: axum::extract::Request| async move {
        let key = request.headers().get("authorization").map(|it| it.to_str().unwrap().to_owned());
        key.unwrap_or_default()
    });
    let url = server::good(router).await.url("/");
    let known = knowing(&url);
    let runners = runners(&known).unwrap();
    let runner = runners.iter().find(|runner| runner.task_type() == "CHECK_HTTP").unwrap();
    // To say the same again takes nothing away.
    for check in [json!({ "server": "guarded" }), json!({ "server": "guarded", "url": url })] {
        let check: Value = merged(check, json!({ "contains": "Basic " }));
        let input = json!({ "settings": check, "monitor": "m" });
        let outcome = runner.run(handoff(&input), CancellationToken::new()).await;
        let observation = &outcome.output.parse()["observations"][0];
        assert_eq!(observation["status"], "ok", "{outcome:?}");
    }
}

fn merged(mut one: Value, other: Value) -> Value {
    for (name, value) in other.as_object().unwrap() {
        one[name] = value.clone();
    }
    one
}

#[tokio::test]
async fn checks_do_not_reach_what_the_policy_refuses() {
    let known = knowing("http://127.0.0.1:1");
    let runners = runners(&known).unwrap();
    for (kind, check) in [
        ("CHECK_TCP", json!({ "address": "169.254.169.254:80" })),
        ("CHECK_GRPC", json!({ "address": "169.254.169.254:80" })),
        ("CHECK_ICMP", json!({ "host": "169.254.169.254" })),
        ("CHECK_TCP", json!({ "host": "[::ffff:169.254.169.254]", "port": 80 })),
        ("CHECK_TCP", json!({ "host": "2852039166", "port": 80, "tls": true })),
        ("CHECK_DNS", json!({ "name": "example.com", "server": "169.254.169.253" })),
        ("CHECK_HTTP", json!({ "url": "http://169.254.169.254/latest/" })),
    ] {
        let runner = runners.iter().find(|runner| runner.task_type() == kind).unwrap();
        let input = json!({ "settings": check, "monitor": "m" });
        let outcome = runner.run(handoff(&input), CancellationToken::new()).await;
        wrong(&outcome, "outgoing_allow");
    }
}
