//! Ports and names.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::service::free_port;
use super::{only, run, unknown, wrong};
use crate::http::server;

#[tokio::test]
async fn a_port_answers_as_expected() {
    let server = server::raw(|mut stream, _| async move {
        stream.write_all(b"220 mail ready\r\n").await.ok();
        server::closed(&mut stream).await;
    })
    .await;
    let address = server.url("").replace("http://", "");
    only(&run("CHECK_TCP", json!({"address": address}), json!({})).await, "ok");
    let check = json!({"address": address, "send": "QUIT\r\n", "expect": "220 "});
    only(&run("CHECK_TCP", check, json!({})).await, "ok");
    let check = json!({"address": address, "expect": "+OK", "timeout": "200ms"});
    let seen = run("CHECK_TCP", check, json!({})).await;
    let text = only(&seen, "fail")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("took longer than 0.2 s"), "{text}");
}

#[tokio::test]
async fn a_port_that_says_something_else_fails() {
    let server = server::raw(|mut stream, _| async move {
        stream.write_all(b"-ERR no\n").await.ok();
    })
    .await;
    let address = server.url("").replace("http://", "");
    let seen = run("CHECK_TCP", json!({"address": address, "expect": "+OK"}), json!({})).await;
    let text = only(&seen, "fail")["text"].as_str().unwrap().to_owned();
    assert_eq!(text, "expected \"+OK\", heard \"-ERR no\"");
}

#[tokio::test]
async fn a_closed_port_fails_and_no_port_is_wrong() {
    let check = json!({"host": "127.0.0.1", "port": free_port()});
    let seen = run("CHECK_TCP", check, json!({})).await;
    let text = only(&seen, "fail")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("refused"), "{text}");
    wrong(&run("CHECK_TCP", json!({"host": "h"}), json!({})).await, "the port is missing");
    wrong(&run("CHECK_TCP", json!({"address": "h:x"}), json!({})).await, "\"x\" is no port");
}

/// A name server that knows `db.test` as 10.0.0.7 and says of every other name that there is none.
fn name_server() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((count, peer)) = socket.recv_from(&mut buffer) {
            let asked = &buffer[..count];
            // The name ends with an empty label; type and class follow.
            let end = 12 + asked[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let known = asked[12..].to_ascii_lowercase().starts_with(b"\x02db\x04test\x00");
            let mut answer = asked[..end].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(known), 0, 0, 0, 0]);
            if known {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 7]);
            } else {
                answer[3] = 0x83;
            }
            socket.send_to(&answer, peer).unwrap();
        }
    });
    port
}

#[tokio::test]
async fn names_are_looked_up() {
    let server = format!("127.0.0.1:{}", name_server());
    let ask = |name: &str, expect: &str| {
        let check = json!({"name": name, "server": server, "expect": expect, "timeout": "5s"});
        run("CHECK_DNS", check, json!({}))
    };
    let seen = only(&ask("db.test", "10.0.0.7").await, "ok");
    assert_eq!(seen["attrs"]["answers"], json!(["10.0.0.7"]));
    let seen = only(&ask("db.test.", "10.0.0.8").await, "fail");
    assert_eq!(seen["text"], "db.test. A lacks 10.0.0.8; it has 10.0.0.7");
    let seen = only(&ask("nobody.test", "").await, "fail");
    assert_eq!(seen["text"], "the name nobody.test does not exist");
    // Nobody listens there: that says nothing about the name.
    let check = json!({"name": "db.test", "server": format!("127.0.0.1:{}", free_port()),
        "timeout": "300ms"});
    unknown(&run("CHECK_DNS", check, json!({})).await, "the look-up of db.test");
    wrong(&run("CHECK_DNS", json!({"name": "a", "type": "Q"}), json!({})).await, "no type");
}

/// A gRPC server with the health service, and what tells it how it is.
async fn grpc_server() -> (tonic_health::server::HealthReporter, String) {
    let (reporter, health) = tonic_health::server::health_reporter();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = axum::Router::new().fallback_service(health);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (reporter, address)
}

#[tokio::test]
async fn a_grpc_server_says_how_it_is() {
    use tonic_health::ServingStatus::{NotServing, Serving};
    let (reporter, address) = grpc_server().await;
    let whole = json!({ "address": address });
    let seen = run("CHECK_GRPC", whole.clone(), json!({})).await;
    assert_eq!(only(&seen, "ok")["attrs"]["serving"], "SERVING");

    let one = json!({ "address": address, "service": "shop.Orders", "headers": { "X-Team": "a" } });
    let seen = run("CHECK_GRPC", one.clone(), json!({})).await;
    assert_eq!(only(&seen, "fail")["text"], "it does not know this service");
    reporter.set_service_status("shop.Orders", NotServing).await;
    let seen = run("CHECK_GRPC", one.clone(), json!({})).await;
    assert_eq!(only(&seen, "fail")["text"], "shop.Orders says NOT_SERVING");
    reporter.set_service_status("shop.Orders", Serving).await;
    let seen = run("CHECK_GRPC", one, json!({})).await;
    assert_eq!(only(&seen, "ok")["text"], "shop.Orders is serving");

    let odd = json!({ "address": address, "headers": { "no name": "x" } });
    wrong(&run("CHECK_GRPC", odd, json!({})).await, "is no name of a header");
    let odd = json!({ "address": address, "bearer": "a\nb" });
    wrong(&run("CHECK_GRPC", odd, json!({})).await, "`bearer` holds what no header may hold");
}

#[tokio::test]
async fn a_grpc_server_is_asked_over_tls() {
    // As servers in Go do, it takes nobody who does not offer HTTP/2.
    let mut config = crate::http::tls::config();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let (_reporter, health) = tonic_health::server::health_reporter();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let service = hyper_util::service::TowerToHyperService::new(health.clone());
            let io = hyper_util::rt::TokioIo::new(stream);
            let executor = hyper_util::rt::TokioExecutor::new();
            let serve = hyper::server::conn::http2::Builder::new(executor);
            tokio::spawn(serve.serve_connection(io, service));
        }
    });
    let authority = crate::http::tls::AUTHORITY;
    let check = json!({ "address": address, "tls": { "ca": authority }, "tls_expiry": "1d" });
    let seen = run("CHECK_GRPC", check, json!({})).await;
    assert!(only(&seen, "ok")["attrs"]["tls_days_left"].is_number());
    let seen = run("CHECK_GRPC", json!({ "address": address, "tls": true }), json!({})).await;
    let text = only(&seen, "fail")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("no safe connection"), "{text}");
}

#[tokio::test]
async fn what_is_no_grpc_server_fails_its_check() {
    let check = json!({ "host": "127.0.0.1", "port": free_port() });
    let seen = run("CHECK_GRPC", check, json!({})).await;
    let text = only(&seen, "fail")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("refused"), "{text}");

    // HTTP/2 without the service, no HTTP/2, and nothing at all.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, axum::Router::new()).await });
    let seen = run("CHECK_GRPC", json!({ "address": address }), json!({})).await;
    let text = only(&seen, "fail")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("has no health service"), "{text}");

    let server = server::raw(|mut stream, _| async move {
        stream.write_all(b"220 mail ready\r\n").await.ok();
        server::closed(&mut stream).await;
    })
    .await;
    let address = server.url("").replace("http://", "");
    let seen = run("CHECK_GRPC", json!({ "address": address }), json!({})).await;
    only(&seen, "fail");

    let server = server::raw(|mut stream, _| async move {
        server::closed(&mut stream).await;
    })
    .await;
    let address = server.url("").replace("http://", "");
    let silent = json!({ "address": address, "timeout": "200ms" });
    let seen = run("CHECK_GRPC", silent, json!({})).await;
    let text = only(&seen, "fail")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("took longer than 0.2 s"), "{text}");
}

#[tokio::test]
async fn a_host_answers_echo_requests_or_the_check_says_what_is_missing() {
    let check = json!({ "host": "127.0.0.1", "count": 2, "interval": "10ms" });
    let seen = run("CHECK_ICMP", check, json!({})).await;
    if may_send_echo_requests() {
        let seen = only(&seen, "ok");
        assert_eq!((&seen["attrs"]["loss"], &seen["attrs"]["received"]), (&json!(0), &json!(2)));
        assert!(seen["value"].is_number(), "{seen}");
    } else {
        wrong(&seen, "net.ipv4.ping_group_range");
    }
    let seen = run("CHECK_ICMP", json!({ "host": "no-such-host.invalid" }), json!({})).await;
    assert_eq!(only(&seen, "fail")["attrs"]["loss"], 100);
    let seen = run("CHECK_ICMP", json!({ "host": "127.0.0.1", "count": 0 }), json!({})).await;
    wrong(&seen, "`count` must be 1 to 20");
}

/// Whether this system lets this process send them.
fn may_send_echo_requests() -> bool {
    use socket2::{Domain, Protocol, Socket, Type};
    let icmp = |kind| Socket::new(Domain::IPV4, kind, Some(Protocol::ICMPV4));
    icmp(Type::DGRAM).or_else(|_| icmp(Type::RAW)).is_ok()
}
