//! The listener: HTTP/1.1 and HTTP/2 on one port, over TLS or without it (h2c).
//!
//! Every connection is a task of its own, so that whatever goes wrong in one stays there. Their
//! number, the time they may take to send a request, and the time that a shutdown waits for them are
//! all bounded.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connections::{ANSWERED, Bounds, Connection, Connections, Leaving};
use crate::front::{Front, Stream};
use crate::guard::{OverTls, Peer};
use crate::local::{Local, LocalSocket};
use crate::problem::Problem;
use crate::room::{self, Room};
use crate::{Api, Settings, cluster};

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
    let settings = api.settings.clone();
    serve_router(listener, &settings, crate::router(api), shutdown).await
}

/// The same for a router that need not be the API's.
///
/// # Errors
/// As [`serve`].
pub async fn serve_router(
    listener: TcpListener,
    settings: &Settings,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let places = Connections::new(Bounds {
        most: settings.connections_max,
        per_address: settings.connections_per_address,
        proxies: settings.trusted_proxies.clone(),
        body_time: settings.body_time,
        bodies_max: settings.bodies_max.max(settings.body_max.saturating_mul(3)),
    });
    let answers = Room::new(settings.answers_max);
    let (tls, handshake_time) = (settings.tls.clone(), settings.handshake_time);
    let protocols = Arc::new(protocols(settings.is_for_servers));
    let socket = settings.socket.clone();
    let (ending, dropped) = (CancellationToken::new(), CancellationToken::new());
    let connections = TaskTracker::new();
    let (others, mut arriving) = mpsc::channel(ARRIVALS_MAX);
    let stop = CancellationToken::new();
    let front = Front {
        listener: listener.into_std()?,
        router: router.clone(),
        places: places.clone(),
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
        let arrival = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some((stream, peer, place)) = arriving.recv() => Came::Port(stream, peer, place),
            (stream, local) = by_socket(socket.as_deref()) => Came::Socket(stream, local),
        };
        let (ending, dropped) = (ending.clone(), dropped.clone());
        let (router, answers) = (router.clone(), answers.clone());
        let (places, protocols) = (places.clone(), protocols.clone());
        connections.spawn(async move {
            let (place, talk) = match arrival {
                Came::Port(stream, peer, place) => {
                    let place = Arc::new(place);
                    let talk =
                        take_over(stream, peer, router, ending, place.clone(), answers, protocols);
                    (place, talk.left_future())
                }
                Came::Socket(stream, local) => {
                    // It takes a place of those of this machine.
                    let Ok(place) = places.enter(IpAddr::from(Ipv4Addr::LOCALHOST)).await else {
                        tracing::warn!("connection to the socket closed: too many are open");
                        return;
                    };
                    let (place, origin) = (Arc::new(place), Origin::Socket(local));
                    let talk =
                        talk(stream, origin, router, ending, place.clone(), answers, protocols);
                    (place, talk.right_future())
                }
            };
            tokio::select! {
                () = talk => {}
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
        tracing::warn!(
            connections = connections.len(),
            "connections still busy at shutdown; dropped"
        );
        dropped.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// How a connection came.
enum Came {
    Port(Stream, Peer, Connection),
    Socket(UnixStream, Local),
}

/// The next connection by the socket; none ever comes without one.
async fn by_socket(socket: Option<&LocalSocket>) -> (UnixStream, Local) {
    match socket {
        Some(socket) => socket.accept().await,
        None => std::future::pending().await,
    }
}

/// Who is at the other end of a connection, as its requests are told.
#[derive(Clone, Copy)]
enum Origin {
    Port(Peer, Option<OverTls>),
    Socket(Local),
}

impl Origin {
    fn tell(self, request: &mut http::Request<Incoming>) {
        let extensions = request.extensions_mut();
        match self {
            Self::Port(peer, tls) => {
                extensions.insert(peer);
                if let Some(tls) = tls {
                    extensions.insert(tls);
                }
            }
            Self::Socket(local) => _ = extensions.insert(local),
        }
    }
}

/// Answers on a connection that the door has handed on.
async fn take_over(
    stream: Stream,
    peer: Peer,
    router: Router,
    ending: CancellationToken,
    place: Arc<Connection>,
    answers: Arc<Room>,
    protocols: Arc<Builder<TokioExecutor>>,
) {
    let refused = |error: io::Error| {
        tracing::warn!(%error, "a connection could not be taken over");
    };
    match stream {
        Stream::Plain(stream) => match TcpStream::from_std(stream) {
            Ok(stream) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "set_nodelay failed; small responses may be delayed");
                }
                let origin = Origin::Port(peer, None);
                talk(stream, origin, router, ending, place, answers, protocols).await;
            }
            Err(error) => refused(error),
        },
        Stream::Secure(stream) => match stream.attach() {
            Ok(stream) => {
                let origin = Origin::Port(peer, Some(OverTls));
                talk(stream, origin, router, ending, place, answers, protocols).await;
            }
            Err(error) => refused(error),
        },
    }
}

/// HTTP/1.1 and HTTP/2 with their bounds. A connection of another server carries the requests of many
/// clients, of which none may keep up or end those of others.
fn protocols(is_for_servers: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_MAX).max_buf_size(BUFFER_MAX);
    let mut http2 = builder.http2();
    http2
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_MAX)
        .max_concurrent_streams(STREAMS_MAX);
    if is_for_servers {
        http2
            .initial_stream_window_size(cluster::WINDOW)
            .initial_connection_window_size(cluster::LINK_WINDOW)
            .max_header_list_size(cluster::LINK_HEAD_MAX)
            .max_local_error_reset_streams(None);
    } else {
        http2.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    }
    builder
}

/// Answers requests on one connection until it is closed, or until `ending` and the request that
/// is under way then.
async fn talk<S>(
    stream: S,
    origin: Origin,
    router: Router,
    ending: CancellationToken,
    place: Arc<Connection>,
    answers: Arc<Room>,
    protocols: Arc<Builder<TokioExecutor>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = AtomicBool::new(false);
    let service = TowerToHyperService::new(router);
    let service = service_fn(|mut request: http::Request<Incoming>| {
        begun.store(true, Ordering::Relaxed);
        origin.tell(&mut request);
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
    let mut connection = pin!(protocols.serve_connection(TokioIo::new(stream), service));
    // The limit on heads only begins when the version is known, so a peer that says nothing at all
    // is watched for here.
    let mut silence = pin!(tokio::time::sleep(HEAD_MAX));
    let mut is_watched = true;
    let mut is_ending = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection failed");
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
