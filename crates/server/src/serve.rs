//! The listener: HTTP/1.1 and HTTP/2 on one port, over TLS or without it (h2c).
//!
//! Every connection is a task of its own, so that whatever goes wrong in one stays there. Their
//! number, the time they may take to send a request, and the time that a shutdown waits for them are
//! all bounded.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Api;
use crate::connections::{ANSWERED, Bounds, Connection, Connections, Leaving};
use crate::front::{Arrival, Front, Stream};
use crate::guard::{OverTls, Peer};
use crate::problem::Problem;
use crate::room::{self, Room};

/// Longest time for the head of a request, and longest idle time of an HTTP/1.1 connection. Longer
/// than clients keep unused connections, so that none is closed under a request.
const HEAD_MAX: Duration = Duration::from_secs(75);
/// Silence on an HTTP/2 connection after which its peer is asked for a sign of life.
const PING_AFTER: Duration = Duration::from_secs(30);
/// How long it may take to give one; then the connection is dead, and what a Durable Task worker has out
/// goes to others. Long enough for a worker whose only thread is busy with an activity, as one in
/// JavaScript may be.
const PONG_MAX: Duration = Duration::from_secs(90);
/// Requests at once on one HTTP/2 connection: a tenth of all. Clients of orchestrations wait for many
/// ends on one, some hundreds at most; what is more waits in the client. Servers of gRPC mostly allow
/// a hundred.
const STREAMS_MAX: u32 = 2000;
/// Bytes that a connection by HTTP/1.1 may buffer, and so of the longest head. An address has up to
/// 64 KiB.
const BUFFER_MAX: usize = 128 << 10;
/// Bytes that a connection by HTTP/2 may send before somebody takes them.
const WINDOW: u32 = 256 << 10;
/// How long a shutdown waits for answers that are under way. Polls are answered at once then, and
/// whatever stops the process gives it ten seconds in all.
const GRACE: Duration = Duration::from_secs(5);
/// Connections that may wait to be taken over.
const ARRIVALS_MAX: usize = 1024;

/// Serves the API until `shutdown` resolves; then takes no more connections, lets answers that are
/// under way finish for at most five seconds, and drops what is left.
///
/// # Errors
/// There is no thread to take connections. What else fails, fails for one connection.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let places = Connections::new(Bounds {
        most: api.settings.connections_max,
        per_address: api.settings.connections_per_address,
        proxies: api.settings.trusted_proxies.clone(),
        body_time: api.settings.body_time,
        bodies_max: api.settings.bodies_max.max(api.settings.body_max.saturating_mul(3)),
    });
    let answers = Room::new(api.settings.answers_max);
    let (tls, handshake_time) = (api.settings.tls.clone(), api.settings.handshake_time);
    let router = crate::router(api);
    let (ending, dropped) = (CancellationToken::new(), CancellationToken::new());
    let connections = TaskTracker::new();
    let (others, mut arriving) = mpsc::channel(ARRIVALS_MAX);
    let stop = CancellationToken::new();
    let front = Front {
        listener: listener.into_std()?,
        router: router.clone(),
        places,
        others,
        stop: stop.clone(),
        silence_max: HEAD_MAX,
        tls: tls.clone(),
        handshake_time,
    };
    front.start()?;
    let looking = tls.map(|tls| tokio::spawn(tls.keep_looking()));
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, peer, place): Arrival = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(arrival) = arriving.recv() => arrival,
        };
        let (ending, dropped) = (ending.clone(), dropped.clone());
        let (router, answers) = (router.clone(), answers.clone());
        connections.spawn(async move {
            let place = Arc::new(place);
            tokio::select! {
                () = take_over(stream, peer, router, ending, &place, &answers) => {}
                () = place.closed() => {}
                () = dropped.cancelled() => {}
            }
        });
    }
    if let Some(looking) = looking {
        looking.abort();
    }
    stop.cancel();
    ending.cancel();
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections were still busy; dropped");
        dropped.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// Answers on a connection that the door has handed on.
async fn take_over(
    stream: Stream,
    peer: Peer,
    router: Router,
    ending: CancellationToken,
    place: &Arc<Connection>,
    answers: &Arc<Room>,
) {
    let refused = |error: io::Error| {
        tracing::warn!(%error, "a connection could not be taken over");
    };
    match stream {
        Stream::Plain(stream) => match TcpStream::from_std(stream) {
            Ok(stream) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "small answers may be late");
                }
                talk(stream, peer, None, router, ending, place, answers).await;
            }
            Err(error) => refused(error),
        },
        Stream::Secure(stream) => match stream.attach() {
            Ok(stream) => talk(stream, peer, Some(OverTls), router, ending, place, answers).await,
            Err(error) => refused(error),
        },
    }
}

/// Answers requests on one connection until it is closed, or until `ending` and the request that
/// is under way then.
async fn talk<S>(
    stream: S,
    peer: Peer,
    tls: Option<OverTls>,
    router: Router,
    ending: CancellationToken,
    place: &Arc<Connection>,
    answers: &Arc<Room>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_MAX).max_buf_size(BUFFER_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let begun = AtomicBool::new(false);
    let service = TowerToHyperService::new(router);
    let service = service_fn(|mut request: http::Request<Incoming>| {
        begun.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer);
        if let Some(tls) = tls {
            request.extensions_mut().insert(tls);
        }
        let hands_out = hands_out(request.uri().path());
        let is_refused = hands_out && answers.is_full();
        let watched = place.request().filter(|_| !is_refused).map(|begun| {
            let (head, body) = request.into_parts();
            let (body, begun) = place.arriving(body, begun);
            (service.call(http::Request::from_parts(head, body)), begun)
        });
        let answers = answers.clone();
        async move {
            let Some((answer, request)) = watched else { return Ok(overloaded()) };
            let answer = ANSWERED.scope(request.clone(), answer).await?;
            request.body_is_done();
            match room::share_of(&answers, &answer, hands_out) {
                Ok(share) => Ok::<_, Infallible>(
                    answer.map(|body| Body::new(Leaving { body, request, share })),
                ),
                Err(room::Full) => Ok(answers_busy(&answer)),
            }
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // The limit on heads only begins when the version is known, so a peer that says nothing at all
    // is watched for here.
    let mut silence = pin!(tokio::time::sleep(HEAD_MAX));
    let mut is_watched = true;
    let mut is_ending = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection broke");
                }
                return;
            }
            () = ending.cancelled(), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = silence.as_mut(), if is_watched => {
                is_watched = false;
                if !begun.load(Ordering::Relaxed) {
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Whether the answers to a path hand out tasks, which would be lost with an answer that is not sent.
fn hands_out(path: &str) -> bool {
    path.starts_with("/api/tasks/poll/") || path.starts_with("/api/tasks/update-v2")
}

/// 503 in place of an answer that does not fit into the memory for answers.
fn answers_busy(answer: &axum::response::Response) -> axum::response::Response {
    let message = "answers that are not read take all the memory there is for them; try again";
    let kind = answer.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        return tonic::Status::unavailable(message).into_http();
    }
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "answers-busy", message);
    ([(header::RETRY_AFTER, "1")], problem).into_response()
}

/// 503 for a request that comes while too many are being answered.
fn overloaded() -> axum::response::Response {
    let message = "too many requests are being answered; wait a little and try again";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message);
    ([(header::RETRY_AFTER, "1")], problem).into_response()
}
