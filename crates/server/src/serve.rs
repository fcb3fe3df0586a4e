//! The listener: HTTP/1.1 and HTTP/2 without TLS (h2c) on one port.
//!
//! Every connection is a task of its own, so that whatever goes wrong in one stays there. Their
//! number, the time they may take to send a request's head, and the time that a shutdown waits for
//! them are all bounded.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Api;

/// Connections served at once; further ones wait in the system's backlog.
const CONNECTIONS_MAX: usize = 10_000;
/// Longest time for the head of a request, and longest idle time of an HTTP/1.1 connection. Longer
/// than clients keep unused connections, so that none is closed under a request.
const HEAD_MAX: Duration = Duration::from_secs(75);
/// Silence on an HTTP/2 connection after which its peer is asked for a sign of life.
const PING_AFTER: Duration = Duration::from_secs(30);
/// How long it may take to give one; then the connection is dead, and what a worker of code has out
/// goes to others. Long enough for a worker whose only thread is busy with an activity, as one in
/// JavaScript may be.
const PONG_MAX: Duration = Duration::from_secs(90);
/// Requests at once on one HTTP/2 connection. Clients of orchestrations wait for many ends on one.
const STREAMS_MAX: u32 = 10_000;
/// How long a shutdown waits for answers that are under way; longer than the longest poll.
const GRACE: Duration = Duration::from_secs(10);
/// How long to wait after the system refused a connection, which it does when it runs short of
/// something that only time brings back.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Serves the API until `shutdown` resolves; then takes no more connections, lets answers that are
/// under way finish for at most ten seconds, and drops what is left.
///
/// # Errors
/// None at present: what fails, fails for one connection.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let router = crate::router(api);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (ending, dropped) = (CancellationToken::new(), CancellationToken::new());
    let connections = TaskTracker::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, permit) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let (ending, dropped) = (ending.clone(), dropped.clone());
        let router = router.clone();
        connections.spawn(async move {
            tokio::select! {
                () = talk(stream, router, ending) => {}
                () = dropped.cancelled() => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    ending.cancel();
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections were still busy; dropped");
        dropped.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

/// Answers requests on one connection until it is closed, or until `ending` and the request that
/// is under way then.
async fn talk(stream: TcpStream, router: Router, ending: CancellationToken) {
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
    let service = service_fn(|request| {
        begun.store(true, Ordering::Relaxed);
        service.call(request)
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
