//! Bad peers: each fails the task with a reason that names what happened, and holds nothing back.

use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get as on_get;
use engine::{OutcomeStatus, TaskRunner};
use serde_json::json;
use tasks::http::{Http, Settings};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{failed, get, handoff, http, retriable, run, run_on, server, settings, terminal};

#[tokio::test]
async fn an_unsuccessful_status_fails_with_what_came_back() {
    let teapot =
        || async { (StatusCode::IM_A_TEAPOT, [("x-why", "tea")], r#"{"error":{"code":7}}"#) };
    let server = server::good(Router::new().route("/", on_get(teapot))).await;
    let outcome = get(server.url("/?token=s3cret")).await;
    let reason = retriable(&outcome, "HTTP_STATUS");
    let url = server.url("/?token=…");
    assert_eq!(reason, format!(r#"GET {url} answered 418 I'm a teapot: {{"error":{{"code":7}}}}"#));
    let output = outcome.output.parse();
    assert_eq!(output["response"], r#"418 I'm a teapot: {"error":{"code":7}}"#);
    let error = &output["error"];
    assert_eq!(error["statusCode"], 418);
    assert_eq!(error["reasonPhrase"], "I'm a teapot");
    assert_eq!(error["headers"]["X-Why"], json!(["tea"]));
    assert_eq!(error["body"]["error"]["code"], 7);
    assert_eq!(error["bodyTruncated"], false);
}

#[tokio::test]
async fn a_long_error_page_is_cut_off() {
    let page = || async { (StatusCode::BAD_GATEWAY, "é".repeat(1 << 20)) };
    let server = server::good(Router::new().route("/", on_get(page))).await;
    let outcome = get(server.url("/")).await;
    let reason = retriable(&outcome, "HTTP_STATUS");
    assert!(reason.contains("502 Bad Gateway: ééé"), "{reason}");
    assert!(reason.len() < 2000, "{}", reason.len());
    let error = &outcome.output.parse()["error"];
    assert_eq!(error["bodyTruncated"], true);
    assert!(error["body"].as_str().unwrap().len() <= 64 << 10);
}

#[tokio::test]
async fn an_error_status_survives_a_body_that_breaks_off() {
    let server = server::answering("HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nhalf").await;
    let outcome = get(server.url("/")).await;
    let reason = retriable(&outcome, "HTTP_STATUS");
    assert!(reason.contains("503 Service Unavailable: half…"), "{reason}");
}

#[tokio::test]
async fn bad_input_fails_for_good_without_a_call() {
    terminal(&run(json!({"method": "GET"})).await, "INVALID_INPUT");
    terminal(&get("nonsense".to_owned()).await, "INVALID_URI");
    let outcome = run(json!({"uri": "http://127.0.0.1/", "method": "CONNECT"})).await;
    terminal(&outcome, "INVALID_METHOD");
}

#[tokio::test]
async fn a_refused_connection_is_named_without_secrets() {
    // Bound, so that nobody else gets the port, but not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let outcome = get(format!("http://user:s3cret@{address}/path?key=s3cret")).await;
    let reason = retriable(&outcome, "CONNECTION_REFUSED");
    assert_eq!(
        reason,
        format!("GET http://{address}/path?key=… failed: the connection was refused")
    );
    assert!(!outcome.output.text().contains("s3cret"));
}

#[tokio::test]
async fn an_unknown_host_is_named() {
    // A label of 64 characters cannot exist, so that no resolver needs to be asked.
    let outcome = get(format!("http://{}/", "a".repeat(64))).await;
    let reason = retriable(&outcome, "UNKNOWN_HOST");
    assert!(reason.contains("could not be resolved"), "{reason}");
}

#[tokio::test]
async fn silence_before_the_answer_times_out_and_closes() {
    let (gone, mut left) = mpsc::unbounded_channel();
    let server = server::raw(move |mut stream, _| {
        let gone = gone.clone();
        async move {
            server::request(&mut stream).await;
            server::closed(&mut stream).await;
            gone.send(()).unwrap();
        }
    })
    .await;
    let outcome = run(json!({"uri": server.url("/"), "method": "GET", "readTimeOut": 50})).await;
    let reason = retriable(&outcome, "READ_TIMED_OUT");
    assert!(reason.ends_with("sent no answer: timed out after 50 ms (readTimeOut)"), "{reason}");
    left.recv().await.expect("the connection was closed");
}

#[tokio::test]
async fn silence_within_the_body_times_out() {
    let server = server::raw(|mut stream, _| async move {
        server::request(&mut stream).await;
        let half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
        stream.write_all(half).await.unwrap();
        server::closed(&mut stream).await;
    })
    .await;
    let outcome = run(json!({"uri": server.url("/"), "method": "GET", "readTimeOut": 300})).await;
    let reason = retriable(&outcome, "READ_TIMED_OUT");
    assert!(reason.contains("fell silent after 5 bytes of the body"), "{reason}");
}

#[tokio::test]
async fn a_trickle_ends_at_the_limit_of_the_whole_call() {
    let server = server::raw(|mut stream, _| async move {
        server::request(&mut stream).await;
        let mut next =
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await;
        while next.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            next = stream.write_all(b".").await;
        }
    })
    .await;
    let impatient = Settings { call_max: Duration::from_millis(200), ..settings() };
    let outcome = run_on(
        &Http::new(impatient).unwrap(),
        json!({
            "uri": server.url("/"), "method": "GET", "connectionTimeOut": 0, "readTimeOut": 0,
        }),
    )
    .await;
    let reason = retriable(&outcome, "CALL_TIMED_OUT");
    assert!(reason.ends_with("took longer than 200 ms in all"), "{reason}");
}

#[tokio::test]
async fn connecting_has_its_own_limit() {
    // A peer that never answers the TLS greeting: the connection is never there, and waiting for it
    // is not waiting for an answer.
    let server =
        server::raw(|mut stream, _| async move { server::closed(&mut stream).await }).await;
    let outcome = run(json!({
        "uri": server.https("/"), "method": "GET", "connectionTimeOut": 150, "readTimeOut": 10,
    }))
    .await;
    let reason = retriable(&outcome, "CONNECT_TIMED_OUT");
    assert!(reason.contains("timed out after 150 ms (connectionTimeOut)"), "{reason}");
}

#[tokio::test]
async fn a_reset_is_named() {
    let server = server::raw(|mut stream, _| async move {
        server::request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let reason = retriable(&get(server.url("/")).await, "CONNECTION_RESET");
    assert!(reason.ends_with("failed: the peer reset the connection"), "{reason}");
}

#[tokio::test]
async fn a_close_before_the_end_is_named() {
    for bytes in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let server = server::answering(bytes).await;
        let reason = retriable(&get(server.url("/")).await, "CONNECTION_CLOSED");
        assert!(reason.contains("closed the connection before"), "{bytes:?}: {reason}");
    }
}

#[tokio::test]
async fn rubbish_is_named() {
    for bytes in [
        "SSH-2.0-OpenSSH_9.2p1\r\n\r\n",
        "\0\x01\x02\x03\r\n\r\n",
        "HTTP/1.1 twohundred OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n",
    ] {
        let server = server::answering(bytes).await;
        let reason = retriable(&get(server.url("/")).await, "INVALID_RESPONSE");
        assert!(reason.contains("not valid HTTP"), "{bytes:?}: {reason}");
    }
}

#[tokio::test]
async fn endless_headers_are_not_swallowed() {
    for line in ["X-Header: value\r\n", "xxxxxxxxxxxxxxxx"] {
        let (gone, mut left) = mpsc::unbounded_channel();
        let server = server::raw(move |mut stream, _| {
            let gone = gone.clone();
            async move {
                server::request(&mut stream).await;
                let mut next = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await;
                while next.is_ok() {
                    next = stream.write_all(line.as_bytes()).await;
                }
                gone.send(()).unwrap();
            }
        })
        .await;
        retriable(&get(server.url("/")).await, "INVALID_RESPONSE");
        left.recv().await.expect("the connection was closed");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let small = Http::new(Settings { body_max: 1000, ..settings() }).unwrap();
    let router = Router::new()
        .route("/fits", on_get(|| async { "a".repeat(1000) }))
        .route("/over", on_get(|| async { "a".repeat(1001) }));
    let server = server::good(router).await;
    let get = |path| run_on(&small, json!({"uri": server.url(path), "method": "GET"}));
    assert_eq!(get("/fits").await.status, OutcomeStatus::Completed);
    let reason = retriable(&get("/over").await, "BODY_TOO_LARGE");
    assert!(reason.contains("more than 1000 bytes"), "{reason}");
}

#[tokio::test]
async fn an_infinite_body_ends_at_the_limit_and_closes() {
    let (gone, mut left) = mpsc::unbounded_channel();
    let server = server::raw(move |mut stream, _| {
        let gone = gone.clone();
        async move {
            server::request(&mut stream).await;
            let mut next = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while next.is_ok() {
                next = stream.write_all(&[b'x'; 4096]).await;
            }
            gone.send(()).unwrap();
        }
    })
    .await;
    retriable(&get(server.url("/")).await, "BODY_TOO_LARGE");
    left.recv().await.expect("the connection was closed");
}

#[tokio::test]
async fn the_limit_counts_what_unpacks() {
    // 100,000 times the letter a.
    let mut packed = vec![
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 237, 193, 49, 1, 0, 0, 0, 194, 160, 172, 235, 95, 194, 26,
        30, 64, 1,
    ];
    packed.extend([0; 96]);
    packed.extend([175, 6, 135, 250, 226, 27, 160, 134, 1, 0]);
    assert_eq!(packed.len(), 133);
    let bomb = || async move { ([(header::CONTENT_ENCODING, "gzip")], packed) };
    let server = server::good(Router::new().route("/", on_get(bomb))).await;
    let small = Settings { body_max: 1000, ..settings() };
    let input = json!({"uri": server.url("/"), "method": "GET"});
    let outcome = run_on(&Http::new(small).unwrap(), input).await;
    retriable(&outcome, "BODY_TOO_LARGE");
    assert_eq!(get(server.url("/")).await.status, OutcomeStatus::Completed);
}

#[tokio::test]
async fn a_body_that_does_not_unpack_is_named() {
    let broken = || async { ([(header::CONTENT_ENCODING, "gzip")], "not gzip at all") };
    let server = server::good(Router::new().route("/", on_get(broken))).await;
    let reason = retriable(&get(server.url("/")).await, "BODY_UNREADABLE");
    assert!(reason.contains("could not be decompressed"), "{reason}");
    // Whole as HTTP, but the packed data inside is cut off.
    let cut = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\n\
        \x1f\x8b\x08\0\0\0\0\0\x02\x03\xab\x56";
    let server = server::answering(*cut).await;
    retriable(&get(server.url("/")).await, "BODY_UNREADABLE");
}

#[tokio::test]
async fn a_redirect_that_leads_nowhere_is_no_fault_of_the_input() {
    let head = "HTTP/1.1 302 Found\r\nLocation: ftp://host/\r\nContent-Length: 0\r\n\r\n";
    let server = server::answering(head).await;
    let reason = retriable(&get(server.url("/")).await, "REDIRECT_FAILED");
    assert!(reason.contains("redirected to a URL that cannot be called"), "{reason}");
    // One that is no URL at all is left to the reader.
    let head = "HTTP/1.1 302 Found\r\nLocation: http://\r\nContent-Length: 0\r\n\r\n";
    let server = server::answering(head).await;
    let reason = retriable(&get(server.url("/")).await, "HTTP_STATUS");
    assert!(reason.contains("answered 302 Found"), "{reason}");
}

#[tokio::test]
async fn cancelling_ends_the_call_at_once_and_closes() {
    let (events, mut seen) = mpsc::unbounded_channel();
    let server = server::raw(move |mut stream, _| {
        let events = events.clone();
        async move {
            server::request(&mut stream).await;
            events.send("asked").unwrap();
            server::closed(&mut stream).await;
            events.send("closed").unwrap();
        }
    })
    .await;
    let cancelled = CancellationToken::new();
    let input = json!({"uri": server.url("/"), "method": "GET", "readTimeOut": 0});
    let http = http();
    let running = http.run(handoff(&input), cancelled.clone());
    let cancelling = async {
        assert_eq!(seen.recv().await, Some("asked"));
        cancelled.cancel();
    };
    let (outcome, ()) = tokio::join!(running, cancelling);
    failed(&outcome, OutcomeStatus::Failed, "CANCELLED");
    assert_eq!(seen.recv().await, Some("closed"));
}
