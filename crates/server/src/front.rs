//! The door: a thread of its own takes connections and answers those that ask for health.
//!
//! Whoever watches the server must hear from it also when everything that serves is busy, or a
//! restart comes on top of the load. All other connections are handed on as they are: of each just
//! the first bytes are looked at, and none is taken. When every connection is being answered, further
//! ones are refused with 503, and only health is still answered. With TLS the handshakes are made here,
//! too, since nobody can tell before what a connection asks for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustls::ServerConfig;
use rustls::server::ClientHello;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::connections::{Bounds, Connection, Connections, Full};
use crate::guard::{OverTls, Peer};
use crate::problem::Problem;
use crate::tls::{Detached, Secure, Tls};

/// How requests begin that are answered here, up to the end of the path.
const ASKING: [&[u8]; 4] =
    [b"GET /health", b"GET /api/health", b"HEAD /health", b"HEAD /api/health"];
/// Bytes of the longest, and of what ends the path.
const LOOKED_AT: usize = 17;
/// How long to wait for more of what may become one of them; each time longer, up to the greatest.
const MORE: Duration = Duration::from_millis(5);
const MORE_MAX: Duration = Duration::from_millis(250);
/// How long to wait after the system refused a connection, which it does when it runs short of
/// something that only time brings back.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Connections beyond all others, on which health is answered and all else is refused.
const RESERVED: usize = 32;
/// How long a connection beyond all others may take for its one request.
const RESERVED_MAX: Duration = Duration::from_secs(2);
/// Bytes of a request for health.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The first byte of every handshake of TLS.
const HANDSHAKE: u8 = 0x16;

/// A connection that asks for something else, where it comes from, and its place among all.
pub(crate) type Arrival = (Stream, Peer, Connection);

/// A connection on its way from the door.
pub(crate) enum Stream {
    /// As it came.
    Plain(std::net::TcpStream),
    /// Over TLS.
    Secure(Detached),
}

/// What the door needs.
pub(crate) struct Front {
    /// Where it listens.
    pub(crate) listener: std::net::TcpListener,
    /// Answers.
    pub(crate) router: Router,
    /// Places for connections.
    pub(crate) places: Arc<Connections>,
    /// Takes all others.
    pub(crate) others: mpsc::Sender<Arrival>,
    /// Nothing more is taken once this is cancelled.
    pub(crate) stop: CancellationToken,
    /// How long a connection may say nothing.
    pub(crate) silence_max: Duration,
    /// Every connection is over TLS.
    pub(crate) tls: Option<Arc<Tls>>,
    /// How long a handshake of TLS may take.
    pub(crate) handshake_time: Duration,
}

/// What a connection begins with, where all must be over TLS.
enum Greeting {
    Secure(Box<Secure>),
    /// HTTP without TLS, or something else.
    Plain(TcpStream),
}

impl Front {
    /// Starts the thread.
    ///
    /// # Errors
    /// There is no thread, or the listener cannot be used.
    pub(crate) fn start(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            self.listener.set_nonblocking(true)?;
            TcpListener::from_std(self.listener.try_clone()?)?
        };
        let thread = std::thread::Builder::new().name("front".to_owned());
        thread.spawn(move || {
            let front = Arc::new(self);
            runtime.block_on(async {
                let stop = front.stop.clone();
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = front.take_all(listener) => {}
                }
            });
            // Reads of the store for an answer that nobody waits for any more.
            runtime.shutdown_background();
        })?;
        Ok(())
    }

    async fn take_all(self: Arc<Self>, listener: TcpListener) {
        // Beyond all others there is no share: whoever asks for health is answered within moments.
        let everybody = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        let reserve = Connections::new(Bounds {
            most: RESERVED,
            per_address: RESERVED,
            proxies: everybody.to_vec(),
            body_time: RESERVED_MAX,
            bodies_max: 0,
        });
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let (front, peer) = (self.clone(), Peer(peer));
                    let from = peer.0.ip();
                    match self.places.enter(from).await {
                        Ok(place) => drop(tokio::spawn(front.sort(stream, peer, place))),
                        Err(full) => {
                            if let Ok(place) = reserve.enter(from).await {
                                tokio::spawn(front.refuse(stream, peer, place, full));
                            }
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
            }
        }
    }

    async fn sort(self: Arc<Self>, stream: TcpStream, peer: Peer, place: Connection) {
        let sorted = async {
            match &self.tls {
                None => self.sort_plain(stream, peer).await,
                Some(tls) => self.sort_secure(tls, stream, peer).await,
            }
        };
        let stream = tokio::select! {
            sorted = sorted => sorted,
            // Others need its place more.
            () = place.closed() => return,
        };
        let stream = match stream {
            Ok(Some(stream)) => stream,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "connection failed");
                return;
            }
        };
        let taken = tokio::select! {
            taken = self.others.reserve() => taken,
            () = place.closed() => return,
        };
        // None takes it once the server stops.
        if let Ok(taken) = taken {
            taken.send((stream, peer, place));
        }
    }

    /// Answers a connection that asks for health; any other comes back.
    async fn sort_plain(&self, stream: TcpStream, peer: Peer) -> io::Result<Option<Stream>> {
        let asks = within(self.silence_max, asks_for_health(&stream)).await?;
        if !asks {
            return stream.into_std().map(|stream| Some(Stream::Plain(stream)));
        }
        self.answer(stream, peer, is_our_path).await;
        Ok(None)
    }

    /// The same over TLS; what comes without it is refused.
    async fn sort_secure(
        &self,
        tls: &Tls,
        stream: TcpStream,
        peer: Peer,
    ) -> io::Result<Option<Stream>> {
        let greeting = greet(|hello| tls.config(hello), stream);
        let mut stream = match within(self.handshake_time, greeting).await? {
            Greeting::Secure(stream) if stream.is_authority() => return Ok(None),
            Greeting::Secure(stream) => *stream,
            Greeting::Plain(stream) => {
                self.answer(stream, peer, |_| Some(needs_tls())).await;
                return Ok(None);
            }
        };
        // Health by HTTP/2 is answered with all the rest.
        if !stream.is_http_2() {
            let ahead = stream.read_ahead(LOOKED_AT, is_asking);
            match within(self.silence_max, ahead).await? {
                None => return Ok(None),
                Some(false) => {}
                Some(true) => {
                    self.answer(stream, peer, is_our_path).await;
                    return Ok(None);
                }
            }
        }
        stream.detach().map(|stream| Some(Stream::Secure(stream)))
    }

    /// Answers on a connection for which there is no place.
    async fn refuse(self: Arc<Self>, stream: TcpStream, peer: Peer, place: Connection, full: Full) {
        let refusal = |path: &str| (!is_health(path)).then(|| too_many(full));
        let answered = async {
            let Some(tls) = &self.tls else { return self.answer(stream, peer, refusal).await };
            // Whoever asks by HTTP/2 is answered by HTTP/1.1, as there is one answer.
            match greet(|hello| tls.config_of_refusals(hello), stream).await {
                Ok(Greeting::Secure(stream)) if stream.is_authority() => {}
                Ok(Greeting::Secure(stream)) => self.answer(*stream, peer, refusal).await,
                Ok(Greeting::Plain(stream)) => {
                    self.answer(stream, peer, |_| Some(needs_tls())).await;
                }
                Err(error) => tracing::debug!(%error, "connection failed"),
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(RESERVED_MAX, answered) => {}
            () = place.closed() => {}
        }
    }

    /// Answers one request, unless its path has a refusal.
    async fn answer<S>(
        &self,
        stream: S,
        peer: Peer,
        refusal: impl Fn(&str) -> Option<Problem> + Send,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = TowerToHyperService::new(self.router.clone());
        let service = service_fn(|mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(peer);
            if self.tls.is_some() {
                request.extensions_mut().insert(OverTls);
            }
            let answered = match refusal(request.uri().path()) {
                Some(refused) => Err(refused.into_response()),
                None => Ok(service.call(request)),
            };
            async move {
                match answered {
                    Ok(answered) => answered.await,
                    Err(refused) => Ok(refused),
                }
            }
        });
        let mut connection = http1::Builder::new();
        // What it asks for next is answered elsewhere.
        connection.keep_alive(false).timer(TokioTimer::new()).max_buf_size(HEAD_BYTES_MAX);
        connection.header_read_timeout(self.silence_max);
        if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "connection failed");
        }
    }
}

/// Nothing is refused where the first bytes have told what is asked for.
fn is_our_path(path: &str) -> Option<Problem> {
    (!is_health(path)).then(|| too_many(Full::All))
}

/// What comes in time.
async fn within<T>(time: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(time, work).await.unwrap_or_else(|_| {
        let message = "a connection that said nothing is closed";
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    })
}

/// Makes the handshake with who speaks TLS.
async fn greet(
    config: impl FnOnce(&ClientHello<'_>) -> Arc<ServerConfig>,
    stream: TcpStream,
) -> io::Result<Greeting> {
    let mut first = [0];
    let length = stream.peek(&mut first).await?;
    if length > 0 && first[0] != HANDSHAKE {
        return Ok(Greeting::Plain(stream));
    }
    let secure = Secure::accept(config, stream).await?;
    Ok(Greeting::Secure(Box::new(secure)))
}

fn needs_tls() -> Problem {
    let message = "this port speaks TLS, and the request came without it";
    Problem::new(StatusCode::BAD_REQUEST, "tls-required", message)
        .with_hint("Write https:// in place of http:// in the address of the server.")
}

fn is_health(path: &str) -> bool {
    matches!(path, "/health" | "/api/health")
}

fn too_many(full: Full) -> Problem {
    if full == Full::Address {
        let message = "your address has every connection in use that one may have; close some, or \
                       try again later";
        let status = StatusCode::TOO_MANY_REQUESTS;
        return Problem::new(status, "too-many-connections-of-address", message).with_hint(
            "Raise connections_per_address, or name a reverse proxy in trusted_proxies.",
        );
    }
    let message = "every connection that the server takes is in use; try again later";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-connections", message)
        .with_hint("Raise the limit of open files of the server's process.")
}

async fn asks_for_health(stream: &TcpStream) -> io::Result<bool> {
    let mut head = [0; LOOKED_AT];
    let mut pause = MORE;
    loop {
        let length = stream.peek(&mut head).await?;
        match is_asking(&head[..length]) {
            Some(asks) => return Ok(asks),
            // The bytes that are there stay there, so that nothing tells when more come.
            None => tokio::time::sleep(pause).await,
        }
        pause = (2 * pause).min(MORE_MAX);
    }
}

/// Whether a request that begins so asks for health; `None` if that is not known yet.
fn is_asking(head: &[u8]) -> Option<bool> {
    if head.is_empty() {
        return Some(false);
    }
    let ended = |rest: &[u8]| rest.first().map(|byte| matches!(byte, b' ' | b'?'));
    let verdicts = ASKING.iter().map(|asking| match head.strip_prefix(*asking) {
        Some(rest) => ended(rest),
        None => (!asking.starts_with(head)).then_some(false),
    });
    let mut is_known = true;
    for verdict in verdicts {
        match verdict {
            Some(true) => return Some(true),
            Some(false) => {}
            None => is_known = false,
        }
    }
    is_known.then_some(false)
}

#[cfg(test)]
mod tests {
    use super::is_asking;

    #[test]
    fn the_first_bytes_tell() {
        for (head, verdict) in [
            ("GET /health HTTP/1.1\r\n", Some(true)),
            ("GET /health?x", Some(true)),
            ("HEAD /api/health ", Some(true)),
            ("GET /api/health ", Some(true)),
            ("GET /healthy ", Some(false)),
            ("GET /api/heal", None),
            ("GET /h", None),
            ("G", None),
            ("", Some(false)),
            ("PRI * HTTP/2.0", Some(false)),
            ("POST /health ", Some(false)),
        ] {
            assert_eq!(is_asking(head.as_bytes()), verdict, "{head}");
        }
    }
}
