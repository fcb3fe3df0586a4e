//! Good answers and what becomes of them.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{AppendHeaders, Redirect};
use axum::routing::{any, get as on_get, post};
use engine::{OutcomeStatus, TaskRunner};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use super::{completed, get, handoff, http, retriable, run, run_on, server};

/// Answers with the body and the headers it got.
fn echo() -> Router {
    let echo = |method: Method, headers: HeaderMap, body: Bytes| async move {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let answer = json!({"method": method.as_str(), "headers": headers, "body": body});
        ([(header::CONTENT_TYPE, "application/json")], answer.to_string())
    };
    Router::new().route("/echo", any(echo))
}

#[tokio::test]
async fn an_answer_has_status_reason_headers_and_body() {
    let cookies = AppendHeaders([("set-cookie", "a=1"), ("set-cookie", "b=2"), ("etag", "\"x\"")]);
    let created = move || async move { (StatusCode::CREATED, cookies, r#"{"id": 7}"#) };
    let server = server::good(Router::new().route("/", post(created))).await;
    let outcome = run(json!({"http_request": {
        "uri": server.url("/"), "method": "POST", "body": {"a": 1},
    }}))
    .await;
    let response = completed(&outcome);
    assert_eq!(response["statusCode"], 201);
    assert_eq!(response["reasonPhrase"], "Created");
    assert_eq!(response["headers"]["Set-Cookie"], json!(["a=1", "b=2"]));
    assert_eq!(response["headers"]["Content-Type"], json!(["text/plain; charset=utf-8"]));
    assert_eq!(response["headers"]["ETag"], json!(["\"x\""]));
    assert_eq!(response["body"], json!({"id": 7}));
}

#[tokio::test]
async fn the_request_arrives_as_asked_and_nothing_else() {
    let server = server::good(echo()).await;
    let outcome = run(json!({
        "uri": server.url("/echo"), "method": "PUT", "accept": ["text/csv", "application/json"],
        "headers": {"X-Key": ["a", "b"], "Authorization": "Bearer t"}, "body": {"b": 1, "a": [true]},
    }))
    .await;
    let body = completed(&outcome)["body"].clone();
    assert_eq!(body["method"], "PUT");
    assert_eq!(body["body"], r#"{"b":1,"a":[true]}"#);
    let mut headers: Vec<_> = body["headers"].as_array().unwrap().iter().collect();
    headers.sort_by_key(|line| line.as_str());
    let host = server.url("").replace("http://", "host: ");
    let agent = concat!("user-agent: nightbell/", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        json!(headers),
        json!([
            "accept-encoding: gzip",
            "accept: text/csv, application/json",
            "authorization: Bearer t",
            "content-length: 18",
            "content-type: application/json",
            host,
            agent,
            "x-key: a",
            "x-key: b",
        ])
    );
}

#[tokio::test]
async fn every_method_arrives() {
    let server = server::good(echo()).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        let outcome = run(json!({"uri": server.url("/echo"), "method": method})).await;
        assert_eq!(completed(&outcome)["body"]["method"], method);
    }
    let outcome = run(json!({"uri": server.url("/echo"), "method": "HEAD"})).await;
    assert_eq!(completed(&outcome)["body"], Value::Null);
}

#[tokio::test]
async fn credentials_in_the_uri_become_basic_authentication() {
    let server = server::good(echo()).await;
    let url = server.url("/echo").replace("http://", "http://user:pass@");
    let response = completed(&get(url).await);
    assert!(response.to_string().contains("authorization: Basic dXNlcjpwYXNz"), "{response}");
}

#[tokio::test]
async fn bodies_become_values_by_conductors_rules() {
    let deep = "[".repeat(5000) + &"]".repeat(5000);
    let cases = [
        (r#"{"b": 1, "a": 2}"#, json!({"b": 1, "a": 2})),
        (" [1, 2]\n", json!([1, 2])),
        ("\u{feff}{\"bom\":1}", json!({"bom": 1})),
        ("true", json!("true")),
        ("null", json!("null")),
        ("\"quoted\"", json!("quoted")),
        ("plain text", json!("plain text")),
        ("<a>xml</a>", json!("<a>xml</a>")),
        ("{\"a\":1}\n{\"a\":2}\n", json!("{\"a\":1}\n{\"a\":2}\n")),
        ("{broken", json!("{broken")),
        ("{\"n\":1e999}", json!("{\"n\":1e999}")),
        ("1e999", json!("1e999")),
        (deep.as_str(), json!(deep)),
        ("", Value::Null),
    ];
    for (body, expected) in cases {
        let body = body.to_owned();
        let server = server::good(Router::new().route("/", on_get(|| async { body }))).await;
        let response = completed(&get(server.url("/")).await);
        assert_eq!(response["body"], expected);
    }
}

#[tokio::test]
async fn numbers_become_doubles_and_structures_keep_their_text() {
    for (body, expected) in [
        ("42", r#""body":42.0}"#),
        ("-0.5", r#""body":-0.5}"#),
        ("9007199254740993", r#""body":9007199254740992.0}"#),
        (
            r#"{"n": 1.50, "big": 12345678901234567890123}"#,
            r#""body":{"n": 1.50, "big": 12345678901234567890123}}"#,
        ),
    ] {
        let server =
            server::good(Router::new().route("/", on_get(move || async move { body }))).await;
        let outcome = get(server.url("/")).await;
        completed(&outcome);
        assert!(outcome.output.text().contains(expected), "{}", outcome.output);
    }
}

#[tokio::test]
async fn bytes_that_are_no_utf8_become_text_too() {
    let latin = server::good(Router::new().route(
        "/",
        on_get(|| async {
            ([(header::CONTENT_TYPE, "text/plain; charset=ISO-8859-1")], &b"gr\xfc\xdfe"[..])
        }),
    ))
    .await;
    assert_eq!(completed(&get(latin.url("/")).await)["body"], "grüße");
    let unknown = server::good(Router::new().route("/", on_get(|| async { &b"a\xff"[..] }))).await;
    assert_eq!(completed(&get(unknown.url("/")).await)["body"], "a\u{fffd}");
}

#[tokio::test]
async fn no_content_has_no_body() {
    let server =
        server::good(Router::new().route("/", on_get(|| async { StatusCode::NO_CONTENT }))).await;
    let response = completed(&get(server.url("/")).await);
    assert_eq!((&response["statusCode"], &response["body"]), (&json!(204), &Value::Null));
}

#[tokio::test]
async fn gzip_is_unpacked() {
    /// `{"packed":true}`
    const PACKED: [u8; 35] = [
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 42, 72, 76, 206, 78, 77, 81, 178, 42, 41, 42, 77,
        173, 5, 0, 137, 224, 181, 220, 15, 0, 0, 0,
    ];
    let packed = || async { ([(header::CONTENT_ENCODING, "gzip")], &PACKED[..]) };
    let server = server::good(Router::new().route("/", on_get(packed))).await;
    assert_eq!(completed(&get(server.url("/")).await)["body"], json!({"packed": true}));
}

#[tokio::test]
async fn redirects_are_followed_up_to_a_limit() {
    let router = Router::new()
        .route("/from", on_get(|| async { Redirect::temporary("/to") }))
        .route("/to", on_get(|| async { "there" }))
        .route("/lost", on_get(|| async { Redirect::temporary("/nowhere") }))
        .route("/loop", on_get(|| async { Redirect::temporary("/loop") }));
    let server = server::good(router).await;
    assert_eq!(completed(&get(server.url("/from")).await)["body"], "there");
    let reason = retriable(&get(server.url("/loop")).await, "REDIRECT_FAILED");
    assert!(reason.contains("redirected more than 10 times"), "{reason}");
    let reason = retriable(&get(server.url("/lost")).await, "HTTP_STATUS");
    let expected = format!("redirected to {}, answered 404", server.url("/nowhere"));
    assert!(reason.contains(&expected), "{reason}");

    let outcome = run(json!({
        "uri": server.url("/from"), "method": "GET", "acceptedStatusCodes": [307],
    }))
    .await;
    let response = completed(&outcome);
    assert_eq!(response["statusCode"], 307);
    assert_eq!(response["headers"]["Location"], json!(["/to"]));
}

#[tokio::test]
async fn an_accepted_status_completes() {
    let gone = || async { (StatusCode::NOT_FOUND, r#"{"why":"gone"}"#) };
    let server = server::good(Router::new().route("/", on_get(gone))).await;
    let outcome = run(json!({
        "uri": server.url("/"), "method": "GET", "acceptedStatusCodes": [404, 409],
    }))
    .await;
    let response = completed(&outcome);
    assert_eq!((&response["statusCode"], &response["body"]["why"]), (&json!(404), &json!("gone")));
}

#[tokio::test]
async fn async_complete_leaves_the_task_in_progress_with_its_output() {
    let server = server::good(Router::new().route("/", on_get(|| async { "[1]" }))).await;
    let input = json!({"uri": server.url("/"), "method": "GET"});
    let mut asked = handoff(&input);
    asked.async_complete = true;
    let by_definition = http().run(asked.clone(), CancellationToken::new()).await;
    let by_input =
        run(json!({"uri": server.url("/"), "method": "GET", "asyncComplete": true})).await;
    for outcome in [by_definition, by_input] {
        assert_eq!(outcome.status, OutcomeStatus::InProgress { again_after: None });
        assert_eq!(outcome.output.parse()["response"]["body"], json!([1]));
    }
    // Only success waits for an update.
    asked.input = kernel::Json::of(&json!({"uri": server.url("/no"), "method": "GET"}));
    let outcome = http().run(asked, CancellationToken::new()).await;
    retriable(&outcome, "HTTP_STATUS");
}

#[tokio::test]
async fn a_connection_is_used_again_whatever_the_timeouts() {
    let server = server::raw(|mut stream, _| async move {
        while server::request(&mut stream).await.is_some() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let http = http();
    for patience in [500, 1000, 1500, 2000] {
        let outcome = run_on(
            &http,
            json!({
                "uri": server.url("/"), "method": "POST", "body": {}, "readTimeOut": patience,
                "connectionTimeOut": patience,
            }),
        )
        .await;
        completed(&outcome);
    }
    assert_eq!(server.accepted(), 1);
}
