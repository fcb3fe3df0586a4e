//! The port under peers that are silent or slow.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use futures_util::StreamExt as _;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::listener::{Listening, text};
use crate::support::{Server, line};

async fn send(listening: &Listening, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(listening.address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

/// What comes until the server closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends it as well as a close.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

const HALF: &str = "POST /api/workflow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{";
const VERSION: &str = "GET /api/version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn attacks_a_body_that_stops_arriving_is_given_up() {
    let server =
        Server::new().await.with(|settings| settings.body_time = Duration::from_millis(50));
    let listening = Listening::over(&server).await;
    let answer = rest(send(&listening, HALF).await).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("body-too-slow"), "{answer}");
}

/// It is never silent for longer than it may, so that only its rate tells it from an honest one.
#[tokio::test]
async fn attacks_a_body_that_drips_is_given_up() {
    let body_time = Duration::from_millis(400);
    let server = Server::new().await.with(|settings| settings.body_time = body_time);
    let listening = Listening::over(&server).await;
    let head = "POST /api/workflow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n{";
    let (answer, mut body) = send(&listening, head).await.into_split();
    let dripping = tokio::spawn(async move {
        // Ends when the server closes, or, if it never does, when it has waited 25 times too long.
        for _ in 0..200 {
            if body.write_all(b" ").await.is_err() {
                return true;
            }
            tokio::time::sleep(body_time / 8).await;
        }
        false
    });
    let mut lines = tokio::io::BufReader::new(answer);
    let mut first = String::new();
    tokio::select! {
        _ = lines.read_line(&mut first) => {}
        closed = dripping => assert!(closed.expect("no panic"), "it may drip for as long as it likes"),
    }
    // What was sent after the answer may have reset the connection before it was read.
    assert!(first.is_empty() || first.starts_with("HTTP/1.1 408 "), "{first}");
}

#[tokio::test]
async fn attacks_half_sent_requests_on_every_connection_keep_nobody_out() {
    let server = Server::new().await.with(|settings| settings.connections_max = 4);
    let listening = Listening::over(&server).await;
    let mut held = Vec::new();
    for _ in 0..12 {
        held.push(send(&listening, HALF).await);
        let answer = rest(send(&listening, VERSION).await).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let first = rest(held.remove(0)).await;
    assert_eq!(first, "", "the one that was silent longest made room");
}

#[tokio::test]
async fn attacks_a_request_that_is_being_answered_is_not_closed_for_others() {
    let server = Server::new().await.with(|settings| settings.connections_max = 2);
    server
        .register(serde_json::json!([{ "name": "w", "tasks": [
        { "name": "late", "taskReferenceName": "late", "type": "SIMPLE" } ] }]))
        .await;
    let listening = Listening::over(&server).await;
    let poll = "GET /api/tasks/poll/batch/late?timeout=5000 HTTP/1.1\r\nhost: localhost\r\n\
                connection: close\r\n\r\n";
    let waiting = send(&listening, poll).await;
    server.until_polled("late").await;
    for _ in 0..6 {
        let _half = send(&listening, HALF).await;
        let answer = rest(send(&listening, VERSION).await).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    server.start("w", &serde_json::json!({})).await;
    let answer = rest(waiting).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"late\""), "{answer}");
}

#[tokio::test]
async fn attacks_connections_that_are_all_being_answered_do_not_hide_health() {
    let server = Server::new().await.with(|settings| settings.connections_max = 2);
    server.register(line("w", &["never"])).await;
    let listening = Listening::over(&server).await;
    let execute = "POST /api/workflow/execute/w/1?waitForSeconds=60 HTTP/1.1\r\n\
                   host: localhost\r\ncontent-type: application/json\r\n\
                   content-length: 2\r\n\r\n{}";
    let mut waiting = Vec::new();
    for count in 1..=2 {
        waiting.push(send(&listening, execute).await);
        server.until_queued("never", count).await;
    }
    // Those that say nothing take no place of those that ask.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(send(&listening, "").await);
    }
    let health = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = rest(send(&listening, health).await).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = rest(send(&listening, VERSION).await).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let body: serde_json::Value = serde_json::from_str(body).expect("whole JSON");
    assert_eq!(body["code"], "too-many-connections");
}

/// A request whose body has so many bytes and does not end.
fn unfinished(bytes: usize) -> Request<Body> {
    let begin = futures_util::stream::iter([Ok::<_, std::io::Error>("x".repeat(bytes))]);
    let body = Body::from_stream(begin.chain(futures_util::stream::pending()));
    Request::post("http://localhost/api/workflow").body(body).expect("a request")
}

fn start(input: &str) -> Request<Body> {
    let body = serde_json::json!({ "text": input }).to_string();
    Request::post("http://localhost/api/workflow/w").body(Body::from(body)).expect("a request")
}

#[tokio::test]
async fn attacks_bodies_that_never_end_take_a_bounded_memory() {
    let server = Server::new().await.with(|settings| {
        // Three mebibytes in all, of which large bodies take two.
        (settings.body_max, settings.bodies_max) = (1 << 20, 0);
        settings.body_time = Duration::from_mins(10);
    });
    server.register(line("w", &["never"])).await;
    let listening = Listening::over(&server).await;
    let stream = listening.connect().await;
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), stream).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let mut bodies = JoinSet::new();
    for _ in 0..6 {
        let mut sender = sender.clone();
        bodies.spawn(async move { sender.send_request(unfinished(1 << 20)).await });
    }
    for _ in 0..4 {
        let refused = bodies.join_next().await.expect("there are more").expect("no panic");
        let refused = refused.expect("an answer");
        assert_eq!(refused.status(), 503);
        assert!(text(refused).await.contains("bodies-busy"));
    }
    // What is small finds room all the same, and what is large when those have gone.
    let mut sender = sender;
    let small = sender.send_request(start("small")).await.expect("an answer");
    assert_eq!(small.status(), 200);
    bodies.shutdown().await;
    let large = "x".repeat(800 << 10);
    let taken = async {
        while sender.send_request(start(&large)).await.expect("an answer").status() != 200 {}
    };
    tokio::time::timeout(Duration::from_mins(1), taken).await.expect("there is room again");
}
