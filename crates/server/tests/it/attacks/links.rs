//! Links in answers that lead elsewhere, or carry what nobody else may see.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use kernel::access::{Mode, Role};
use serde_json::Value;

use crate::listener::{Listening, text};
use crate::support::{Answer, Server, send_through, waiting};

const START: &str = "/runtime/webhooks/durabletask/orchestrators/w?code=SYSTEMKEY123";

/// Starts an instance over a connection, and answers where its links lead.
async fn link(server: &Server, headers: &[(&str, &str)]) -> String {
    let listening = Listening::over(server).await;
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(listening.connect().await).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let mut request = Request::post(START);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    let response = client.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), 202);
    let location = response.headers()["location"].to_str().expect("a text").to_owned();
    let body = text(response).await;
    assert!(!format!("{location} {body}").contains("SYSTEMKEY123"), "{location} {body}");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["statusQueryGetUri"], location);
    drop(client);
    listening.end().await;
    location
}

async fn server() -> Server {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    server
}

/// A request as it comes from a proxy on this machine.
const FORWARDED: [(&str, &str); 4] = [
    ("host", "127.0.0.1:8080"),
    ("x-forwarded-host", "bell.example, inside"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-prefix", "/night/"),
];

#[tokio::test]
async fn what_callers_say_of_proxies_counts_for_nothing() {
    let mut server = server().await;
    let told = link(&server, &FORWARDED).await;
    assert!(told.starts_with("http://127.0.0.1:8080/runtime/"), "{told}");
    server = server.with(|settings| {
        settings.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
        settings.hosts = vec!["bell.example".parse().expect("a name")];
    });
    let told = link(&server, &FORWARDED).await;
    assert!(told.starts_with("http://127.0.0.1:8080/runtime/"), "another is trusted: {told}");
    server =
        server.with(|settings| settings.public_url = Some("https://public.example".to_owned()));
    let told = link(&server, &FORWARDED).await;
    assert!(told.starts_with("https://public.example/runtime/"), "{told}");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_as_far_as_it_names_this_server() {
    let server = server().await.with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        settings.hosts = vec!["bell.example".parse().expect("a name")];
    });
    let told = link(&server, &FORWARDED).await;
    assert!(told.starts_with("https://bell.example/night/runtime/"), "{told}");
    for evil in ["evil.example", "evil/x", "a b", "user@bell.example", "\"><x", ""] {
        let headers = [("host", "127.0.0.1:1"), ("x-forwarded-host", evil)];
        let told = link(&server, &headers).await;
        assert!(told.starts_with("http://127.0.0.1:1/runtime/"), "{evil}: {told}");
    }
    let odd = [
        ("host", "127.0.0.1:1"),
        ("x-forwarded-proto", "javascript"),
        ("x-forwarded-host", "bell.example"),
        ("x-forwarded-prefix", "//evil.example"),
    ];
    let told = link(&server, &odd).await;
    assert!(told.starts_with("http://bell.example/runtime/"), "{told}");
}

const BASE: &str = "/runtime/webhooks/durabletask";

/// A server with access control, and a key of this role.
async fn guarded(role: Role) -> (Server, Router, String) {
    let server = server().await.with(|settings| settings.auth = Mode::On);
    let (engine, now) = (&server.engine, server.engine.now());
    let made = engine.access().create_key("k", vec![role], None, "test", now).await;
    let key = made.expect("memory takes all").text.to_string();
    let router = server::router(server.api());
    (server, router, key)
}

async fn ask(router: &Router, method: Method, path: &str, key: Option<&str>) -> Answer {
    let headers: Vec<_> = key.map(|key| ("x-functions-key", key)).into_iter().collect();
    send_through(router.clone(), method, path, &headers, String::new()).await
}

/// Starts an instance of this id; answers its links.
async fn started(router: &Router, key: &str, id: &str) -> Value {
    let path = format!("{BASE}/orchestrators/w/{id}?code={key}&taskHub=h");
    let answer = ask(router, Method::POST, &path, None).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert!(!answer.text.contains(key), "{}", answer.text);
    answer.json()
}

/// A link without what names the server.
fn local(links: &Value, name: &str) -> String {
    let link = links[name].as_str().expect("a link");
    let at = link.find(BASE).expect("it leads here");
    link[at..].replace("{text}", "why").replace("{eventName}", "e")
}

#[tokio::test]
async fn the_code_in_a_link_is_good_for_its_instance_alone() {
    let (server, router, key) = guarded(Role::Runner).await;
    let (one, other) = (started(&router, &key, "one").await, started(&router, &key, "other").await);
    let status = local(&one, "statusQueryGetUri");
    let answer = ask(&router, Method::GET, &status, None).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    // Whoever follows the next link of the answer needs no header either.
    let next = answer.headers["location"].to_str().expect("a text");
    assert!(next.contains("&code=nbl_"), "{next}");
    let code = status.split_once("&code=").expect("it has one").1;
    let code = code.split('&').next().expect("a code");
    for path in [
        local(&other, "statusQueryGetUri").replace("/other?", "/one?"),
        format!("{BASE}/instances/other?taskHub=h&code={code}"),
        format!("{BASE}/instances/one?taskHub=g&code={code}"),
        format!("{BASE}/instances/one?code={code}"),
        format!("{BASE}/instances/one?taskHub=h&taskHub=g&code={code}"),
        format!("{BASE}/instances?taskHub=h&code={code}"),
        format!("{BASE}/entities?taskHub=h&code={code}"),
        format!("/api/workflow/one?code={code}"),
    ] {
        assert_eq!(ask(&router, Method::GET, &path, None).await.status, 401, "{path}");
    }
    // Nor as a header elsewhere, or to start something.
    assert_eq!(ask(&router, Method::GET, "/api/metadata/taskdefs", Some(code)).await.status, 401);
    let start = format!("{BASE}/orchestrators/w?code={code}&taskHub=h");
    assert_eq!(ask(&router, Method::POST, &start, None).await.status, 401);
    // It may do what the key may, and no more: a runner does not purge.
    let purge = local(&one, "purgeHistoryDeleteUri");
    assert_eq!(ask(&router, Method::DELETE, &purge, None).await.status, 403);
    let suspended = ask(&router, Method::POST, &local(&one, "suspendPostUri"), None).await;
    assert!(suspended.status.is_success(), "{}", suspended.text);
    // It ends with the key.
    let id = key.split('_').nth(1).expect("a key has an id");
    let (access, now) = (server.engine.access(), server.engine.now());
    access.revoke_key(id, "test", now).await.expect("there is one");
    assert_eq!(ask(&router, Method::GET, &status, None).await.status, 401);
}

#[tokio::test]
async fn without_access_control_links_have_no_code() {
    let server = server().await;
    let told = link(&server, &[("host", "127.0.0.1:8080")]).await;
    assert!(!told.contains("code="), "{told}");
}
