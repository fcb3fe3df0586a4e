//! Hands requests on to the leader, over a few connections by HTTP/2, and its answers back as they come.
//!
//! A request that was not sent waits for a leader for some seconds, so that a failover is a pause and not
//! a failure. One that was sent and not answered is sent again only if it asks for something; whoever
//! changes something is told that it may have been done.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, CONTENT_LENGTH, HOST, HeaderName, TE};
use axum::http::request::Parts;
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{HeaderValue, Method, StatusCode, Uri, Version};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::link::{INTRODUCTION, LinkKey};
use super::{NOT_LEADER, STRANGER};
use crate::guard;
use crate::metrics::Following;
use crate::problem::Problem;

/// How long a request waits for a leader.
pub const LEADERLESS_MAX: Duration = Duration::from_secs(5);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a connection to the leader may take to come about, and the leader to prove itself.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Silence on a link after which the leader is asked for a sign of life, and how long it may take: a
/// machine that is lost does not close its connections.
const PING_AFTER: Duration = Duration::from_secs(2);
const PONG_MAX: Duration = Duration::from_secs(5);
/// Requests at once on one link; polls that wait are many.
const AT_ONCE_MAX: u32 = 500;
/// Bytes that a request, or an answer, on a link may send before somebody takes them.
pub(crate) const WINDOW: u32 = 64 << 10;
/// The same for a link: what one client does not take or send stops no other.
pub(crate) const LINK_WINDOW: u32 = AT_ONCE_MAX * WINDOW;
/// Bytes of the head of a request on a link, as HTTP/2 counts them.
pub(crate) const LINK_HEAD_MAX: u32 = 256 << 10;
/// Bytes of the head of a request that is handed on.
const HEAD_MAX: usize = 128 << 10;
/// Bytes of a request body that are kept so that the request can be sent again.
const KEPT_MAX: usize = 1 << 20;

/// What to tell when the leader does not believe this server.
const STRANGER_TOLD: &str = "the server that leads has another key of secrets than this one: give all \
                             servers of the store the same secret_key_file";

/// Headers about one connection.
const OF_CONNECTION: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The server that owns the store, as the others know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Which it is.
    pub incarnation: i64,
    /// Where other servers reach it: host and port.
    pub address: String,
}

/// What a look at the leader found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It is there.
    Connected,
    /// Its machine says that nobody listens where it should.
    Refused,
    /// It cannot be reached, for this reason.
    Unreachable(String),
}

/// How many requests were handed on, by how that ended.
#[derive(Debug, Default)]
struct Forwarded {
    answered: AtomicU64,
    leaderless: AtomicU64,
    lost: AtomicU64,
}

/// Who leads.
#[derive(Clone, Debug)]
enum Leads {
    Nobody,
    Other(Leader),
    /// This server, which answers so.
    Here(Router),
}

/// Hands requests on.
#[derive(Debug)]
pub(super) struct Forwarder {
    key: LinkKey,
    leader: watch::Sender<Leads>,
    /// To leaders that have proven themselves.
    links: Mutex<Vec<Link>>,
    /// One request at a time opens a further link.
    connecting: tokio::sync::Mutex<()>,
    /// Streams are cut from then on.
    ending: CancellationToken,
    forwarded: Forwarded,
}

/// A connection to a leader.
#[derive(Clone, Debug)]
struct Link {
    leader: i64,
    sender: SendRequest<Body>,
    /// Held by each request on it.
    busy: Arc<()>,
}

/// The body of an answer; its link is busy until it ends.
struct Answering {
    body: Incoming,
    /// When it is cut, if it is one that does not end by itself.
    ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _busy: Arc<()>,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(ending) = &mut self.ending
            && ending.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Some(Err(axum::Error::new("the server shuts down"))));
        }
        Pin::new(&mut self.body).poll_frame(context).map_err(axum::Error::new)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What is sent, perhaps more than once.
enum Sending {
    Whole(Bytes),
    Once(Option<Body>),
}

impl Sending {
    /// Takes the body, unless it was taken and was not kept.
    fn take(&mut self) -> Option<Body> {
        match self {
            Self::Whole(bytes) => Some(Body::from(bytes.clone())),
            Self::Once(body) => body.take(),
        }
    }

    /// Takes back what was not sent.
    fn give_back(&mut self, unsent: Request) {
        if let Self::Once(body) = self {
            *body = Some(unsent.into_body());
        }
    }
}

impl Forwarder {
    pub(super) fn new(key: LinkKey) -> Self {
        Self {
            key,
            leader: watch::Sender::new(Leads::Nobody),
            links: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            ending: CancellationToken::new(),
            forwarded: Forwarded::default(),
        }
    }

    /// Tells who leads; `None` while nobody does.
    pub(super) fn follow(&self, leader: Option<Leader>) {
        let known = self.leader();
        if known == leader {
            return;
        }
        let incarnation = leader.as_ref().map(|it| it.incarnation);
        self.leader.send_replace(leader.map_or(Leads::Nobody, Leads::Other));
        self.links.lock().retain(|it| Some(it.leader) == incarnation);
    }

    /// This server leads: requests that wait for a leader are answered here.
    pub(super) fn lead(&self, router: Router) {
        self.leader.send_replace(Leads::Here(router));
        self.links.lock().clear();
    }

    /// Which other server leads.
    pub(super) fn leader(&self) -> Option<Leader> {
        match &*self.leader.borrow() {
            Leads::Other(leader) => Some(leader.clone()),
            Leads::Nobody | Leads::Here(_) => None,
        }
    }

    /// Makes sure that there is a link to the leader, and that it is the leader who answers there.
    pub(super) async fn reach(&self) -> Reach {
        let Some(leader) = self.leader() else {
            return Reach::Unreachable("no server leads".to_owned());
        };
        let known = self.least_busy(&leader);
        let is_new = known.is_none();
        let mut link = match known {
            Some(link) => link,
            None => match open_link(&leader).await {
                Ok(link) => link,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Reach::Refused;
                }
                Err(error) => return Reach::Unreachable(error.to_string()),
            },
        };
        let reach = self.prove(&leader, &mut link).await;
        if reach != Reach::Connected {
            // Requests wait for one that answers.
            self.links.lock().retain(|it| it.leader != leader.incarnation);
        } else if is_new && self.leader().as_ref() == Some(&leader) {
            self.links.lock().push(link);
        }
        reach
    }

    /// Lets the leader prove that it has the key, and say whether it is ready.
    async fn prove(&self, leader: &Leader, link: &mut Link) -> Reach {
        let probe = self.key.probe(leader.incarnation);
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from_static("http://localhost/health/ready");
        request.headers_mut().insert(INTRODUCTION, probe.introduction.clone());
        let asked = tokio::time::timeout(CONNECT_MAX, link.sender.send_request(request));
        let answer = match asked.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Reach::Unreachable(error.to_string()),
            Err(_) => return Reach::Unreachable("it does not answer".to_owned()),
        };
        match answer.headers().get(NOT_LEADER) {
            Some(it) if it == STRANGER => return Reach::Unreachable(STRANGER_TOLD.to_owned()),
            Some(_) => return Reach::Unreachable("it does not lead yet, or no more".to_owned()),
            None if !self.key.is_proof(&probe, answer.headers()) => {
                return Reach::Unreachable(
                    "what answers at its address has not the key of secrets".to_owned(),
                );
            }
            None => {}
        }
        if answer.status().is_success() {
            return Reach::Connected;
        }
        Reach::Unreachable("it is not ready".to_owned())
    }

    /// From now on streams are cut.
    pub(super) fn end_streams(&self) {
        self.ending.cancel();
    }

    /// What was counted.
    pub(super) fn figures(&self) -> Following {
        let links = self.links.lock();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Following {
            links: links.len(),
            forwarding: links.iter().map(|it| Arc::strong_count(&it.busy) - 1).sum(),
            forwarded: [
                ("answered", read(&self.forwarded.answered)),
                ("no_leader", read(&self.forwarded.leaderless)),
                ("leader_lost", read(&self.forwarded.lost)),
            ],
        }
    }

    /// The link with the fewest requests; a further one if they are many. None is opened for a request
    /// before [`Forwarder::reach`] has found the leader.
    async fn link(&self, leader: &Leader) -> Option<Link> {
        let link = self.least_busy(leader)?;
        if Arc::strong_count(&link.busy) <= AT_ONCE_MAX as usize {
            return Some(link);
        }
        let Ok(_one) = self.connecting.try_lock() else { return Some(link) };
        let further = open_link(leader).await;
        match further {
            Ok(further) => {
                self.links.lock().push(further.clone());
                Some(further)
            }
            Err(_) => Some(link),
        }
    }

    fn least_busy(&self, leader: &Leader) -> Option<Link> {
        let mut links = self.links.lock();
        links.retain(|it| !it.sender.is_closed());
        let of_leader = links.iter().filter(|it| it.leader == leader.incarnation);
        of_leader.min_by_key(|it| Arc::strong_count(&it.busy)).cloned()
    }

    /// Answers a request with what the leader answers.
    pub(super) async fn forward(&self, request: Request) -> Response {
        let is_grpc = guard::is_grpc(request.headers());
        match self.answer(request).await {
            Ok(response) => {
                self.forwarded.answered.fetch_add(1, Ordering::Relaxed);
                response
            }
            Err(problem) if is_grpc => tonic::Status::unavailable(problem.message).into_http(),
            Err(problem) => ([(header::RETRY_AFTER, "1")], problem).into_response(),
        }
    }

    async fn answer(&self, request: Request) -> Result<Response, Problem> {
        let (mut parts, body) = request.into_parts();
        let authority = clean(&mut parts)?;
        let mut sending = kept(&parts, body).await?;
        let may_repeat = repeatable(&parts);
        let mut until = Instant::now() + LEADERLESS_MAX;
        // Whom it was sent to without an answer: never again, for it may be what ends the link.
        let mut failed = None;
        loop {
            let leader = match self.await_leader(until).await {
                Leads::Other(leader) => leader,
                Leads::Here(router) => {
                    let Some(body) = sending.take() else { return Err(self.lost()) };
                    let mut request = outgoing(&parts, authority.as_ref(), body);
                    request.extensions_mut().clone_from(&parts.extensions);
                    return Ok(super::answered(router, request).await);
                }
                Leads::Nobody if failed.is_some() => return Err(self.lost()),
                Leads::Nobody => {
                    self.forwarded.leaderless.fetch_add(1, Ordering::Relaxed);
                    return Err(leaderless("no server leads that can be asked"));
                }
            };
            let link = match failed {
                Some(failed) if failed == leader.incarnation => None,
                _ => self.link(&leader).await,
            };
            let Some(link) = link else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            // It was sent once and must be answered by whom it was sent to.
            let Some(body) = sending.take() else { return Err(self.lost()) };
            let request = self.request(&parts, authority.as_ref(), &leader, body);
            let Link { mut sender, busy, .. } = link;
            let sent = tokio::select! {
                sent = sender.try_send_request(request) => sent.map_err(|mut it| it.take_message()),
                // One that stalls would let it wait until the link counts as dead.
                () = self.replaced(leader.incarnation) => Err(None),
            };
            match sent {
                Ok(answer) => match answer.headers().get(NOT_LEADER) {
                    None => return Ok(self.handed_back(answer, busy)),
                    Some(it) if it == STRANGER => return Err(leaderless(STRANGER_TOLD)),
                    // Nothing was done there, and nothing is asked there any more.
                    Some(_) => {
                        self.links.lock().retain(|it| it.leader != leader.incarnation);
                        if matches!(sending, Sending::Once(None)) {
                            return Err(leaderless("another server is about to lead"));
                        }
                    }
                },
                Err(Some(unsent)) => sending.give_back(unsent),
                Err(None) if may_repeat => {
                    failed = Some(leader.incarnation);
                    until = Instant::now() + LEADERLESS_MAX;
                }
                Err(None) => return Err(self.lost()),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The leader's answer for the client. Its link is busy until it ends.
    fn handed_back(&self, answer: Response<Incoming>, busy: Arc<()>) -> Response {
        let (mut head, body) = answer.into_parts();
        head.version = Version::HTTP_11;
        let kind = head.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |it| it.as_bytes());
        let is_stream =
            kind.starts_with(b"text/event-stream") || kind.starts_with(b"application/grpc");
        let ending = is_stream.then(|| Box::pin(self.ending.clone().cancelled_owned()));
        Response::from_parts(head, Body::new(Answering { body, ending, _busy: busy }))
    }

    fn lost(&self) -> Problem {
        self.forwarded.lost.fetch_add(1, Ordering::Relaxed);
        let message = "the server that leads went away before it answered; what was asked for may have \
                       been done";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "leader-lost", message)
            .with_hint("Look whether it was done, or send it again if that does no harm.")
    }

    async fn await_leader(&self, until: Instant) -> Leads {
        let mut leader = self.leader.subscribe();
        let known = leader.wait_for(|it| !matches!(it, Leads::Nobody));
        match tokio::time::timeout_at(until, known).await {
            Ok(Ok(leader)) if Instant::now() < until => leader.clone(),
            _ => Leads::Nobody,
        }
    }

    /// Returns once another server leads than the one with this incarnation.
    async fn replaced(&self, incarnation: i64) {
        let mut leader = self.leader.subscribe();
        let is_another = |leads: &Leads| match leads {
            Leads::Nobody => false,
            Leads::Other(leader) => leader.incarnation != incarnation,
            Leads::Here(_) => true,
        };
        // The sender is ours.
        let _ = leader.wait_for(is_another).await;
    }

    fn request(
        &self,
        parts: &Parts,
        authority: Option<&Authority>,
        leader: &Leader,
        body: Body,
    ) -> Request {
        let of_leader = leader.address.parse().ok();
        let mut request = outgoing(parts, authority.or(of_leader.as_ref()), body);
        let introduction =
            self.key.introduce(leader.incarnation, &parts.extensions, &parts.method, &parts.uri);
        request.headers_mut().insert(INTRODUCTION, introduction);
        request
    }
}

/// A request as it goes on, under the name that the client asked for.
fn outgoing(parts: &Parts, authority: Option<&Authority>, body: Body) -> Request {
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    let path = parts.uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut uri = http::uri::Parts::default();
    uri.scheme = authority.map(|_| Scheme::HTTP);
    uri.authority = authority.cloned();
    uri.path_and_query = Some(path);
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_else(|_| parts.uri.clone());
    request.headers_mut().clone_from(&parts.headers);
    request
}

/// Connects to a leader.
async fn open_link(leader: &Leader) -> io::Result<Link> {
    let connected = tokio::time::timeout(CONNECT_MAX, connect(&leader.address)).await??;
    Ok(Link { leader: leader.incarnation, sender: connected, busy: Arc::default() })
}

async fn connect(address: &str) -> io::Result<SendRequest<Body>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_MAX)
        .keep_alive_while_idle(true)
        .max_header_list_size(LINK_HEAD_MAX)
        .initial_connection_window_size(LINK_WINDOW)
        .initial_stream_window_size(WINDOW);
    let (sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the leader ended");
        }
    });
    Ok(sender)
}

/// What is sent: small bodies whole, so that they can be sent again.
async fn kept(parts: &Parts, mut body: Body) -> Result<Sending, Problem> {
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > KEPT_MAX as u64) {
        return Ok(Sending::Once(Some(body)));
    }
    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::bad_request(format!("the body of the request did not arrive: {error}"))
        })?;
        if let Ok(data) = frame.into_data() {
            kept.extend_from_slice(&data);
        }
        if kept.len() > KEPT_MAX {
            let begun = futures_util::stream::iter([Ok(kept.freeze())]);
            let whole = Body::from_stream(begun.chain(body.into_data_stream()));
            return Ok(Sending::Once(Some(whole)));
        }
    }
    Ok(Sending::Whole(kept.freeze()))
}

/// Removes what is about the client's connection; answers under which name it asks.
///
/// What the header Connection names besides stays: it could name what the leader is to see, such as that
/// a proxy stands between.
fn clean(parts: &mut Parts) -> Result<Option<Authority>, Problem> {
    let headers = &mut parts.headers;
    let head: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    let path = parts.uri.path_and_query().map_or(0, |it| it.as_str().len());
    if head + path > HEAD_MAX {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let message = format!("address and headers of the request have more than {HEAD_MAX} bytes");
        return Err(Problem::new(status, "head-too-large", message));
    }
    for name in OF_CONNECTION.iter().chain([&INTRODUCTION]) {
        headers.remove(name);
    }
    let takes_trailers = headers.get_all(TE).iter().any(|it| it == "trailers");
    headers.remove(TE);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    let said = match headers.remove(HOST) {
        Some(host) => Some(
            Authority::try_from(host.as_bytes())
                .map_err(|_| Problem::bad_request("the header Host is not the name of a server"))?,
        ),
        None => parts.uri.authority().cloned(),
    };
    Ok(said)
}

/// Whether a request may be sent again when nobody knows whether the first one was carried out.
fn repeatable(parts: &Parts) -> bool {
    let asks = matches!(parts.method, Method::GET | Method::HEAD);
    // Conductor's protocol starts workflows with GET, too.
    asks && !parts.uri.path().starts_with("/api/workflow/execute/")
        && !parts.uri.path().starts_with("/api/scheduler/")
}

fn leaderless(why: &str) -> Problem {
    let message = format!("{why}; nothing was done, try again");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-leader", message)
        .with_hint("See `nightbell cluster status`, and /health/ready of each server.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(request: http::request::Builder) -> Parts {
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn what_is_about_the_clients_connection_is_not_handed_on() {
        let request = http::Request::get("/a")
            .header("host", "bell.example:8080")
            .header("connection", "keep-alive, x-forwarded-for")
            .header("keep-alive", "timeout=5")
            .header("x-forwarded-for", "192.0.2.1")
            .header("te", "gzip")
            .header("nightbell-forwarded", "7 - 0 0 x")
            .header("x-end", "2");
        let mut parts = parts(request);
        let authority = clean(&mut parts).expect("it is fine").expect("a name");
        assert_eq!(authority.as_str(), "bell.example:8080");
        let left: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-forwarded-for", "x-end"], "who hides a proxy hides nothing");
    }

    #[test]
    fn a_head_that_would_end_the_link_is_refused() {
        let long = "x".repeat(HEAD_MAX);
        let mut of_long = parts(http::Request::get("/a").header("x-long", long));
        let status = clean(&mut of_long).expect_err("it is too long").status;
        assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let twice = http::Request::get("/a").header("te", "trailers").header("te", "gzip");
        let mut twice = parts(twice);
        clean(&mut twice).expect("it is fine");
        let left: Vec<_> = twice.headers.get_all(TE).iter().collect();
        assert_eq!(left, ["trailers"]);
    }

    #[test]
    fn only_questions_are_asked_twice() {
        for (request, expected) in [
            (http::Request::get("/api/tasks/poll/x"), true),
            (http::Request::head("/metrics"), true),
            (http::Request::post("/api/workflow/x"), false),
            (http::Request::get("/api/workflow/execute/x"), false),
            (http::Request::get("/api/scheduler/schedules/x/pause"), false),
        ] {
            let parts = parts(request);
            assert_eq!(repeatable(&parts), expected, "{}", parts.uri);
        }
    }
}
