//! Attacks over the HTTP client: addresses that must not be called, and redirects that carry away
//! what only the first server was told.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tasks::http::{Http, Settings};
use tasks::outgoing::{Dialer, Policy, Resolve};

use super::server::{self, Server};
use super::{completed, retriable, run, run_on, settings, terminal, tls};

/// A server that notes what it hears: method, headers by name, body.
async fn listener() -> (Server, Arc<Mutex<Vec<(String, Vec<String>, String)>>>) {
    let heard: Arc<Mutex<Vec<_>>> = Arc::default();
    let notes = heard.clone();
    let note = move |request: Request| {
        let notes = notes.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let names = parts.headers.keys().map(ToString::to_string).collect();
            let body = String::from_utf8_lossy(&body).into_owned();
            notes.lock().unwrap().push((parts.method.to_string(), names, body));
            "heard"
        }
    };
    (server::good(Router::new().fallback(note)).await, heard)
}

/// A server that redirects every request there.
async fn redirecting(status: u16, to: String) -> Server {
    let redirect = move || {
        let to = to.clone();
        async move { moved(status, &to) }
    };
    server::good(Router::new().fallback(redirect)).await
}

fn moved(status: u16, to: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(header::LOCATION, to.to_owned())]).into_response()
}

fn secretive(url: String, method: &str, body: Value) -> Value {
    json!({ "uri": url, "method": method, "body": body, "headers": {
        "X-Api-Key": "pd-secret", "Private-Token": "t", "Authorization": "Bearer t",
        "X-Authorization": "t" } })
}

#[tokio::test]
async fn a_redirect_to_another_origin_carries_no_header_of_the_author() {
    let (other, heard) = listener().await;
    for status in [301, 302, 303, 307, 308] {
        // Another port is another origin, and so is another name for the same address.
        let named = other.url("/").replace("127.0.0.1", "localhost");
        for to in [other.url("/"), named] {
            let hostile = redirecting(status, to).await;
            let outcome = run(secretive(hostile.url("/"), "GET", Value::Null)).await;
            assert_eq!(completed(&outcome)["body"], "heard");
        }
    }
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 10);
    for (_, names, _) in &*heard {
        for name in ["x-api-key", "private-token", "authorization", "x-authorization"] {
            assert!(!names.iter().any(|it| it == name), "{names:?}");
        }
    }
}

#[tokio::test]
async fn a_body_is_sent_to_no_other_origin() {
    let (other, heard) = listener().await;
    for (status, method) in [(307, "POST"), (308, "PUT"), (302, "PUT")] {
        let hostile = redirecting(status, other.url("/")).await;
        let outcome = run(secretive(hostile.url("/"), method, json!({ "s": "secret" }))).await;
        let reason = retriable(&outcome, "REDIRECT_FAILED");
        assert!(reason.contains("another origin"), "{reason}");
    }
    assert!(heard.lock().unwrap().is_empty());
    // What becomes a GET has no body any more.
    let hostile = redirecting(303, other.url("/")).await;
    completed(&run(secretive(hostile.url("/"), "POST", json!({ "s": "secret" }))).await);
    let heard = heard.lock().unwrap();
    assert_eq!((heard[0].0.as_str(), heard[0].2.as_str()), ("GET", ""));
    assert!(!heard[0].1.iter().any(|name| name == "content-type"), "{:?}", heard[0].1);
}

#[tokio::test]
async fn encryption_is_not_given_up_by_a_redirect() {
    let answer =
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let url = format!("https://{}/", tls::secure_answering(answer));
    let http = tls::trusting(tls::AUTHORITY).unwrap();
    let outcome = run_on(&http, json!({ "uri": url, "method": "GET" })).await;
    let reason = retriable(&outcome, "REDIRECT_FAILED");
    assert!(reason.contains("not encrypted"), "{reason}");
}

#[tokio::test]
async fn a_redirect_within_an_origin_keeps_headers_and_body() {
    let heard: Arc<Mutex<Vec<(bool, String)>>> = Arc::default();
    let notes = heard.clone();
    let note = move |request: Request| {
        let notes = notes.clone();
        async move {
            if request.uri().path() == "/from" {
                return moved(307, "/to");
            }
            let keyed = request.headers().contains_key("x-api-key");
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            notes.lock().unwrap().push((keyed, String::from_utf8_lossy(&body).into_owned()));
            "there".into_response()
        }
    };
    let server = server::good(Router::new().fallback(note)).await;
    let outcome = run(secretive(server.url("/from"), "POST", json!({ "a": 1 }))).await;
    assert_eq!(completed(&outcome)["body"], "there");
    assert_eq!(*heard.lock().unwrap(), [(true, r#"{"a":1}"#.to_owned())]);
}

fn with(policy: Policy) -> Http {
    Http::new(Settings { outgoing: Dialer::new(policy), ..settings() }).unwrap()
}

fn get(url: &str) -> Value {
    json!({ "uri": url, "method": "GET", "connectionTimeOut": 2000 })
}

#[tokio::test]
async fn metadata_addresses_are_refused_however_they_are_written() {
    let http = with(Policy::default());
    for url in [
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fd00:ec2::254]/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://0/",
        "http://224.0.0.1/",
        "http://[fe80::1]/",
    ] {
        let reason = terminal(&run_on(&http, get(url)).await, "ADDRESS_REFUSED");
        assert!(reason.contains("outgoing_allow"), "{url}: {reason}");
    }
}

#[tokio::test]
async fn the_server_itself_is_refused_also_by_name_by_number_and_by_redirect() {
    let (own, heard) = listener().await;
    let port = own.url("").rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let policy = Policy::default();
    policy.listeners.add(([127, 0, 0, 1], port).into());
    let http = with(policy.clone());
    let mut urls: Vec<String> = ["127.0.0.1", "localhost", "2130706433", "0x7f.1"]
        .iter()
        .map(|host| format!("http://{host}:{port}/api/secrets"))
        .collect();
    urls.push(redirecting(302, own.url("/api/secrets")).await.url("/"));
    urls.push(redirecting(302, format!("http://localhost:{port}/")).await.url("/"));
    for url in urls {
        let reason = terminal(&run_on(&http, get(&url)).await, "ADDRESS_REFUSED");
        assert!(reason.contains("outgoing_own"), "{url}: {reason}");
    }
    assert!(heard.lock().unwrap().is_empty());
    let open = with(Policy { own: true, ..policy });
    completed(&run_on(&open, get(&own.url("/"))).await);
}

/// A name server whose answers change: the first is harmless.
struct Rebinding(AtomicUsize);

impl Resolve for Rebinding {
    fn resolve(&self, _: &str) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        let address = if number == 0 { [127, 0, 0, 1] } else { [169, 254, 169, 254] };
        Box::pin(async move { Ok(vec![address.into()]) })
    }
}

#[tokio::test]
async fn a_name_that_changes_between_judgement_and_connection_changes_nothing() {
    let (server, heard) = listener().await;
    let url = server.url("/").replace("127.0.0.1", "rebind.example");
    let resolver = Arc::new(Rebinding(AtomicUsize::new(0)));
    let dialer = Dialer::resolving_with(Policy::default(), resolver.clone());
    let unpooled = Settings { outgoing: dialer, idle_per_host_max: 0, ..settings() };
    let http = Http::new(unpooled).unwrap();
    // The one answer that was judged is the one that is connected to.
    completed(&run_on(&http, get(&url)).await);
    assert_eq!(resolver.0.load(Ordering::SeqCst), 1, "a name is resolved once");
    // The next connection is judged anew.
    terminal(&run_on(&http, get(&url)).await, "ADDRESS_REFUSED");
    assert_eq!(heard.lock().unwrap().len(), 1);
}

/// Leads to a refused and to a good address.
struct Both;

impl Resolve for Both {
    fn resolve(&self, _: &str) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec![[169, 254, 169, 254].into(), [127, 0, 0, 1].into()]) })
    }
}

#[tokio::test]
async fn every_address_of_a_name_is_judged() {
    let (server, _) = listener().await;
    let dialer = Dialer::resolving_with(Policy::default(), Arc::new(Both));
    let http = Http::new(Settings { outgoing: dialer.clone(), ..settings() }).unwrap();
    let url = server.url("/").replace("127.0.0.1", "both.example");
    completed(&run_on(&http, get(&url)).await);
    let passed = dialer.addresses("both.example", 80).await.unwrap();
    assert_eq!(passed, [([127, 0, 0, 1], 80).into()]);
}

#[tokio::test]
async fn no_author_keeps_a_place_longer_than_the_ceiling() {
    let silent = server::raw(|mut stream, _| async move {
        server::request(&mut stream).await;
        server::closed(&mut stream).await;
    })
    .await;
    let ceiling = std::time::Duration::from_millis(200);
    let limited = Settings { call_ceiling: ceiling, ..settings() };
    let http = Http::new(limited).unwrap();
    let input = json!({ "uri": silent.url("/"), "method": "GET", "readTimeOut": 1_000_000_000 });
    let reason = retriable(&run_on(&http, input).await, "CALL_TIMED_OUT");
    assert!(reason.contains("200 ms"), "{reason}");
}

#[tokio::test]
async fn names_of_headers_are_sent_in_the_usual_spelling() {
    let (sender, mut heads) = tokio::sync::mpsc::unbounded_channel();
    let server = server::raw(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            let (head, _) = server::request(&mut stream).await.unwrap();
            sender.send(head).unwrap();
        }
    })
    .await;
    let input = json!({ "uri": server.url("/"), "method": "GET",
        "headers": { "X-Request-Token": "a", "x-other-name": "b", "SOAPaction": "c" } });
    drop(run(input).await);
    let head = heads.recv().await.unwrap();
    for line in ["X-Request-Token: a", "X-Other-Name: b", "Soapaction: c", "Host: "] {
        assert!(head.contains(&format!("\r\n{line}")), "{line:?} is not in {head}");
    }
}
