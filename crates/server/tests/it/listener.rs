//! The one port: HTTP/1.1 and HTTP/2 on it, and its end.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{Server, line};

/// A listening server; it ends when `stop` is told or dropped.
pub(crate) struct Listening {
    pub(crate) address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Listening {
    pub(crate) async fn over(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(server::serve(listener, server.api(), async {
            let _ = stopped.await;
        }));
        Self { address, stop, served }
    }

    pub(crate) async fn connect(&self) -> TokioIo<TcpStream> {
        TokioIo::new(TcpStream::connect(self.address).await.expect("a connection"))
    }

    pub(crate) async fn end(self) {
        let _ = self.stop.send(());
        self.served.await.expect("no panic").expect("it served");
    }
}

fn get(path: &str) -> Request<Body> {
    let request = Request::get(path).header("host", "localhost");
    request.body(Body::empty()).expect("a request")
}

fn post(path: &str, body: &Value) -> Request<Body> {
    let request = Request::post(path).header("host", "localhost");
    request.body(Body::from(body.to_string())).expect("a request")
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("answers are UTF-8")
}

#[tokio::test]
async fn both_versions_of_http_are_answered_on_one_port() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let listening = Listening::over(&server).await;

    let (mut old, connection) =
        hyper::client::conn::http1::handshake(listening.connect().await).await.expect("HTTP/1.1");
    let old_connection = tokio::spawn(connection);
    let started = old.send_request(post("/api/workflow/orders", &json!({}))).await;
    let started = started.expect("an answer");
    assert_eq!(started.version(), Version::HTTP_11);
    let id = text(started).await;

    let executor = TokioExecutor::new();
    let (mut new, connection) =
        hyper::client::conn::http2::handshake(executor, listening.connect().await)
            .await
            .expect("h2c");
    let new_connection = tokio::spawn(connection);
    let uri = format!("http://{}/api/tasks/poll/pack?timeout=5000", listening.address);
    let polled = new.send_request(get(&uri)).await.expect("an answer");
    assert_eq!((polled.version(), polled.status().as_u16()), (Version::HTTP_2, 200));
    let task: Value = serde_json::from_str(&text(polled).await).expect("a task");
    assert_eq!(task["workflowInstanceId"], json!(id));

    // The first connection is still good.
    old.ready().await.expect("kept alive");
    let health = old.send_request(get("/health")).await.expect("an answer");
    assert_eq!(health.status(), 200);
    drop(text(health).await);

    drop((old, new));
    listening.end().await;
    let _ = (old_connection.await, new_connection.await);
}

#[tokio::test]
async fn a_broken_connection_harms_no_other() {
    let server = Server::new().await;
    let listening = Listening::over(&server).await;
    let mut broken = TcpStream::connect(listening.address).await.expect("a connection");
    broken.write_all(b"\x16\x03\x01 what is this\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    // Refused or cut off, but ended.
    let _ = broken.read_to_end(&mut answer).await;

    let (mut client, connection) =
        hyper::client::conn::http1::handshake(listening.connect().await).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let version = client.send_request(get("/api/version")).await.expect("an answer");
    assert_eq!(text(version).await, env!("CARGO_PKG_VERSION"));
    drop(client);
    listening.end().await;
}

#[tokio::test]
async fn a_shutdown_lets_a_waiting_poll_finish_and_takes_no_more() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let listening = Listening::over(&server).await;
    let address = listening.address;
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(listening.connect().await).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let poll = tokio::spawn(client.send_request(get("/api/tasks/poll/pack?timeout=5000")));
    server.until_polled("pack").await;
    let end = tokio::spawn(listening.end());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.start("orders", &json!({})).await;
    let task = poll.await.expect("no panic").expect("an answer");
    assert_eq!(task.status(), 200);
    drop(text(task).await);
    tokio::time::timeout(Duration::from_secs(30), end).await.expect("it ends").expect("no panic");
}
