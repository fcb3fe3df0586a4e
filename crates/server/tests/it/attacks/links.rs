//! Links in answers that lead elsewhere, or carry what nobody else may see.

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use crate::listener::{Listening, text};
use crate::support::{Server, waiting};

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
