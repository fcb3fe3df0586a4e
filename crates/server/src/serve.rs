//! The listener: HTTP/1.1 and HTTP/2 without TLS (h2c) on one port.
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Api;
use crate::connections::{Bounds, Connection, Connections, Leaving};
use crate::front::{Arrival, Front};
use crate::guard::Peer;
use crate::problem::Problem;

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
    });
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
    };
    front.start()?;
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, peer, place): Arrival = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(arrival) = arriving.recv() => arrival,
        };
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken over");
                continue;
            }
        };
        let (ending, dropped) = (ending.clone(), dropped.clone());
        let router = router.clone();
        connections.spawn(async move {
            let place = Arc::new(place);
            tokio::select! {
                () = talk(stream, peer, router, ending, &place) => {}
                () = place.closed() => {}
                () = dropped.cancelled() => {}
            }
        });
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

/// Answers requests on one connection until it is closed, or until `ending` and the request that
/// is under way then.
async fn talk(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    ending: CancellationToken,
    place: &Arc<Connection>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small answers may be late");
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_MAX)
        .max_concurrent_streams(STREAMS_MAX);
    let begun = AtomicBool::new(false);
    let service = TowerToHyperService::new(router);
    let service = service_fn(|mut request: http::Request<Incoming>| {
        begun.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer);
        let watched = place.request().map(|begun| {
            let (head, body) = request.into_parts();
            let (body, begun) = place.arriving(body, begun);
            (service.call(http::Request::from_parts(head, body)), begun)
        });
        async move {
            let Some((answer, request)) = watched else { return Ok(overloaded()) };
            let answer = answer.await?;
            Ok::<_, Infallible>(answer.map(|body| Body::new(Leaving { body, request })))
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

/// 503 for a request that comes while too many are being answered.
fn overloaded() -> axum::response::Response {
    let message = "too many requests are being answered; wait a little and try again";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message);
    ([(header::RETRY_AFTER, "1")], problem).into_response()
}
