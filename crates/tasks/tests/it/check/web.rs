//! Web servers that are well, unwell and away.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};

use super::{all, only, run, unknown, wrong};
use crate::http::server;

async fn site() -> server::Server {
    let orders = r#"{"results": [{"id": 7, "sum": 12.5}, {"id": 8, "sum": 1}], "ready": true}"#;
    let site = Router::new()
        .route("/health", get(|| async { r#"{"state": "ready", "queue": [1, 2]}"# }))
        .route("/broken", get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "try later") }))
        .route("/orders", get(move || async move { orders }))
        .route("/slow", get(std::future::pending::<()>));
    server::good(site).await
}

async fn look(
    server: &server::Server,
    path: &str,
    mut check: Value,
    beside: Value,
) -> engine::Outcome {
    check["url"] = server.url(path).into();
    run("CHECK_HTTP", check, beside).await
}

#[tokio::test]
async fn a_server_is_watched() {
    let site = site().await;
    let cases = [
        ("/health", json!({}), "ok", "answered 200 OK"),
        ("/health", json!({"expect": "status < 400 and body.state == 'ready'"}), "ok", "200 OK"),
        ("/health", json!({"expect": "body.queue < 2"}), "fail", "expected body.queue < 2"),
        ("/health", json!({"contains": ["ready", "gold"]}), "fail", "does not contain \"gold\""),
        ("/broken", json!({}), "fail", "answered 503 Service Unavailable"),
        ("/broken", json!({"expect": "status == 503"}), "ok", "answered 503"),
        ("/slow", json!({"timeout": "50ms"}), "fail", "GET http://127.0.0.1"),
    ];
    for (path, check, status, part) in cases {
        let outcome = look(&site, path, check, json!({})).await;
        let text = only(&outcome, status)["text"].as_str().unwrap().to_owned();
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

#[tokio::test]
async fn what_expect_cannot_find_is_unknown_and_told() {
    let site = site().await;
    let cases = [
        (
            "body.stat == 'ready'",
            "`expect` (body.stat == 'ready') cannot be judged: a row has no \
          body.stat; body has",
        ),
        ("headers.x-none == 'y'", "a row has no headers.x-none"),
        ("status == 'ok'", "status (the number 200) cannot be compared with the text \"ok\""),
    ];
    for (expect, part) in cases {
        let outcome = look(&site, "/health", json!({ "expect": expect }), json!({})).await;
        unknown(&outcome, part);
    }
    // Where the rest decides, nobody needs it; and a page in the place of JSON is what is wrong.
    let check = json!({ "expect": "status < 400 and body.state == 'ready'" });
    let outcome = look(&site, "/broken", check, json!({})).await;
    assert!(only(&outcome, "fail")["text"].as_str().unwrap().contains("503"));
}

#[tokio::test]
async fn a_server_that_is_away_is_what_was_to_be_found_out() {
    let port = super::service::free_port();
    let url = format!("http://127.0.0.1:{port}/?token=s3cret");
    let outcome = run("CHECK_HTTP", json!({"url": url}), json!({})).await;
    let text = only(&outcome, "fail")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("refused") && !text.contains("s3cret"), "{text}");
    // Asked for rows, it leaves everything unknown.
    unknown(&run("CHECK_HTTP", json!({"url": url, "rows": "$.a"}), json!({})).await, "refused");
}

#[tokio::test]
async fn rows_come_from_a_path_or_a_program() {
    let site = site().await;
    let check = json!({"rows": "$.results", "per": "$.id", "value": "sum",
        "text": "order {{ id }} of {{ sum }}"});
    let rows = all(&look(&site, "/orders", check, json!({"judged": true})).await);
    let first = json!({"key": "7", "value": 12.5, "text": "order 7 of 12.5",
        "attrs": {"id": 7, "sum": 12.5}});
    assert_eq!((rows.len(), &rows[0]), (2, &first));
    let check = json!({"jq": ".results[] | select(.sum > 5)"});
    let rows = all(&look(&site, "/orders", check, json!({"per": ["id"]})).await);
    assert_eq!((rows.len(), &rows[0]["status"]), (1, &json!("fail")));

    for (check, part) in [
        (json!({"rows": "$.nothing"}), "nothing where `rows` points"),
        (json!({"rows": "$.results", "per": "$.name"}), "nothing where `per` points"),
        (json!({"jq": ".results | error"}), "the jq program fails"),
    ] {
        unknown(&look(&site, "/orders", check, json!({})).await, part);
    }
    unknown(&look(&site, "/broken", json!({"rows": "$"}), json!({})).await, "503 Service Unavail");
    wrong(&look(&site, "/orders", json!({"jq": ".["}), json!({})).await, "`jq`");
    wrong(&look(&site, "/orders", json!({"expect": "status <"}), json!({})).await, "`expect`");
    wrong(&run("CHECK_HTTP", json!({}), json!({})).await, "`url` is missing");
}

#[tokio::test]
async fn too_many_rows_are_no_answer() {
    let body = json!(vec![1; 1001]).to_string();
    let server = server::good(Router::new().fallback(move || async move { body })).await;
    unknown(&look(&server, "/", json!({"rows": "$"}), json!({})).await, "1001 rows");
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_told() {
    let (address, authority) = (crate::http::tls::secure(), crate::http::tls::AUTHORITY);
    let url = format!("https://{address}/");
    let check = json!({"url": url, "tls": {"ca": authority}, "tls_expiry": "1d"});
    only(&run("CHECK_HTTP", check, json!({})).await, "ok");
    let check = json!({"url": url, "tls": {"ca": authority}, "tls_expiry": "500w"});
    let seen = run("CHECK_HTTP", check, json!({"window": {"to_ms": end_of(authority)}})).await;
    let text = only(&seen, "warn")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("the TLS certificate ends on"), "{text}");
    let check = json!({"address": address.to_string(), "tls": {"ca": authority},
        "tls_expiry": "1d"});
    only(&run("CHECK_TCP", check, json!({})).await, "ok");
    // Nobody here trusts it unasked.
    let seen = run("CHECK_HTTP", json!({"url": url}), json!({})).await;
    let text = only(&seen, "fail")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("not signed by an authority"), "{text}");
}

/// Some time before the certificates of these tests end: a year before the authority does.
fn end_of(pem: &str) -> i64 {
    use rustls::pki_types::pem::PemObject as _;
    let der = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    (certificate.validity().not_after.timestamp() - 365 * 86_400) * 1000
}
