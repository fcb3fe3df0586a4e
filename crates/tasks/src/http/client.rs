//! Sends requests: one pool of connections for all tasks, limits per request.
//!
//! The client library sets its connect timeout per client, not per request, and one client per
//! timeout would mean one pool per timeout. So each call carries its own [`Call`] through a task
//! local, and the layer around the connector reads it from there: connections are shared, patience
//! is not.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Url};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tower::{Layer, Service};

use super::Settings;
use super::problem::{Code, Problem};
use super::redirect::Hop;
use super::request::Request;
use super::response::Response;
use crate::outgoing::{Dialer, Names};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The certificates to trust besides the system's.
    #[error("the extra root certificates cannot be used: {0}")]
    Roots(#[source] reqwest::Error),
    /// Anything else, such as a user agent that no header can carry.
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[source] reqwest::Error),
}

/// An HTTP client within the limits of its [`Settings`]; cheap to clone, clones share connections.
#[derive(Clone)]
pub struct Client {
    connections: Arc<Connections>,
    settings: Arc<Settings>,
}

/// The client library's client, made when it is first needed: it reads the hundreds of certificates
/// that the system trusts, which would be most of the time that a server takes to start.
struct Connections {
    ready: OnceLock<Pair>,
    /// The same but for the system's certificates; used where these cannot be.
    without_system: Pair,
    /// Trusted besides the system's.
    roots: Vec<Certificate>,
    /// The proxies of the environment, where they are obeyed.
    proxies: Option<Matcher>,
}

impl Connections {
    /// Whether a request goes to its host by itself; a proxy looks the host up elsewhere.
    fn is_direct(&self, url: &Url) -> bool {
        let Some(proxies) = &self.proxies else { return true };
        // What is no URI is sent nowhere.
        url.as_str().parse().is_ok_and(|uri| proxies.intercept(&uri).is_none())
    }
}

/// Two clients that judge addresses by what is known of the port.
#[derive(Clone)]
struct Pair {
    /// For ports on which this server does not listen.
    usual: reqwest::Client,
    /// For ports on which it does.
    own_port: reqwest::Client,
}

impl Pair {
    fn new(
        settings: &Settings,
        trusting: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, reqwest::Error> {
        let client = |own_port| trusting(builder(settings, own_port)).build();
        Ok(Self { usual: client(false)?, own_port: client(true)? })
    }
}

/// Chooses the cryptography under every TLS connection of the process, once; more calls do nothing.
///
/// The one place that names the provider (ring: small, and a C compiler is all it takes to build).
pub fn install_tls_provider() {
    // An error only says that there is a provider already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

impl Client {
    /// Makes a client; contacts nobody.
    ///
    /// A system without any trusted certificates is no error: plain HTTP works there, and a call by
    /// HTTPS says that it trusts nobody.
    ///
    /// # Errors
    /// If the settings make no client.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        install_tls_provider();
        let pem = settings.extra_roots.as_deref().unwrap_or_default();
        let roots = Certificate::from_pem_bundle(pem.as_bytes()).map_err(SetupError::Roots)?;
        let without_system = Pair::new(&settings, |it| it.tls_certs_only(roots.clone()));
        let without_system = without_system.map_err(SetupError::Client)?;
        let proxies = settings.environment_proxy.then(Matcher::from_system);
        let connections = Connections { ready: OnceLock::new(), without_system, roots, proxies };
        Ok(Self { connections: Arc::new(connections), settings: Arc::new(settings) })
    }

    fn connections(&self, url: &Url) -> &reqwest::Client {
        let Connections { ready, without_system, roots, .. } = &*self.connections;
        let pair = ready.get_or_init(|| {
            let pair = Pair::new(&self.settings, |it| it.tls_certs_merge(roots.clone()));
            pair.unwrap_or_else(|error| {
                tracing::warn!(%error, "the system's trusted certificates cannot be used; HTTPS calls will fail");
                without_system.clone()
            })
        });
        let listeners = &self.settings.outgoing.policy().listeners;
        let is_own = url.port_or_known_default().is_some_and(|port| listeners.has_port(port));
        // By a proxy it is the proxy's name that is looked up, and the port is not that of the URL.
        if is_own && self.connections.is_direct(url) { &pair.own_port } else { &pair.usual }
    }

    /// What makes its connections.
    pub(crate) fn dialer(&self) -> &Dialer {
        &self.settings.outgoing
    }

    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// A request with several copies is sent once; another copy goes out each time
    /// [`Request::hedge_after`] passes without a success, and at once when a copy fails in a way
    /// that need not befall the next: no answer, or a 5xx. An answer that any copy would get (4xx,
    /// or one that asks for a pause with `Retry-After`) ends the sending. The first success counts
    /// and cancels the others; without one, the failure that came last counts.
    ///
    /// Dropping the future ends the call and closes its connections.
    ///
    /// # Errors
    /// When there is no complete answer within the limits. The body of an answer that the request
    /// does not accept is cut off instead: it is read for its message only.
    pub async fn send(&self, request: &Request) -> Result<Response, Problem> {
        self.within(self.ceiling(), self.send_copies(request)).await
    }

    /// How long anything may take that a task waits for.
    pub(super) fn ceiling(&self) -> Duration {
        self.settings.call_ceiling
    }

    /// Ends work on a request when its time is over; what remains of the ceiling is told as all of it.
    pub(super) async fn within(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<Response, Problem>>,
    ) -> Result<Response, Problem> {
        timeout(limit, Box::pin(work)).await.unwrap_or_else(|_| Err(too_long(self.ceiling())))
    }

    async fn send_copies(&self, request: &Request) -> Result<Response, Problem> {
        let mut copies_max = request.hedges.clamp(1, self.settings.hedges_max.max(1));
        let patience = request.hedge_after.unwrap_or(self.settings.hedge_after);
        let mut copies = FuturesUnordered::from_iter([self.call(request)]);
        let mut sent = 1;
        loop {
            let answer = tokio::select! {
                biased;
                Some(answer) = copies.next() => Some(answer),
                () = sleep(patience), if sent < copies_max => None,
            };
            let Some(answer) = answer else {
                copies.push(self.call(request));
                sent += 1;
                continue;
            };
            match &answer {
                Ok(response) if request.accepts(response.status) => return answer,
                failure if !may_differ(failure) => copies_max = sent,
                _ if sent < copies_max => {
                    copies.push(self.call(request));
                    sent += 1;
                }
                _ => {}
            }
            if copies.is_empty() {
                return answer;
            }
        }
    }

    async fn call(&self, request: &Request) -> Result<Response, Problem> {
        let patience = [request.connect_timeout, request.read_timeout];
        let limit = patience.into_iter().flatten().sum::<Duration>();
        let limit = limit.max(self.settings.call_max).min(self.settings.call_ceiling);
        let (connecting, watched) = watch::channel(false);
        let call =
            Call { connect_timeout: request.connect_timeout, connecting: Arc::new(connecting) };
        let exchange = CALL.scope(call, self.exchange(request, watched));
        timeout(limit, Box::pin(exchange)).await.unwrap_or_else(|_| Err(too_long(limit)))
    }

    async fn exchange(
        &self,
        request: &Request,
        connecting: watch::Receiver<bool>,
    ) -> Result<Response, Problem> {
        let mut hop = Hop::first(request);
        let mut redirects = 0;
        loop {
            let head = self.ask(&hop, request, connecting.clone()).await?;
            if request.accepts(head.status()) {
                return self.read(request, head).await;
            }
            let Some(next) = hop.after(head.status(), head.headers())? else {
                return self.read(request, head).await;
            };
            redirects += 1;
            let redirects_max = self.settings.redirects_max;
            if redirects > redirects_max {
                let why = format!("was redirected more than {redirects_max} times");
                return Err(Problem::new(Code::RedirectFailed, why));
            }
            hop = next;
        }
    }

    /// Sends one request of a call and waits for the head of its answer.
    async fn ask(
        &self,
        hop: &Hop,
        request: &Request,
        connecting: watch::Receiver<bool>,
    ) -> Result<reqwest::Response, Problem> {
        let judged = self.settings.outgoing.judge_written(&hop.url);
        judged.map_err(|refusal| Problem::refused(&refusal))?;
        let mut outgoing = self
            .connections(&hop.url)
            .request(hop.method.clone(), hop.url.clone())
            .headers(hop.headers.clone());
        if let Some(body) = &hop.body {
            outgoing = outgoing.body(body.clone());
        }
        let head = heard_within(request.read_timeout, connecting, outgoing.send()).await;
        let Some(head) = head else {
            return Err(silent(request.read_timeout, "sent no answer"));
        };
        head.map_err(|error| Problem::of(&error, &hop.url))
    }

    async fn read(
        &self,
        request: &Request,
        mut incoming: reqwest::Response,
    ) -> Result<Response, Problem> {
        let mut response = Response {
            status: incoming.status(),
            headers: std::mem::take(incoming.headers_mut()),
            body: bytes::Bytes::new(),
            body_truncated: false,
            url: incoming.url().clone(),
        };
        let accepted = request.accepts(response.status);
        let body_max = if accepted { self.settings.body_max } else { self.settings.error_body_max };
        let mut body = Vec::new();
        let ended = read_body(&mut incoming, &mut body, body_max, request.read_timeout).await;
        match ended {
            Err(problem) if accepted => return Err(problem),
            Err(_) => response.body_truncated = true,
            Ok(()) => {}
        }
        response.body = body.into();
        Ok(response)
    }
}

/// Whether the next copy of the same request may fare better than one that ended so.
fn may_differ(failure: &Result<Response, Problem>) -> bool {
    match failure {
        Ok(response) => response.status.is_server_error() && response.retry_after().is_none(),
        Err(problem) => !problem.code.is_terminal(),
    }
}

fn builder(settings: &Settings, own_port: bool) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(&settings.user_agent)
        // They are followed here, where every hop is judged.
        .redirect(Policy::none())
        .dns_resolver(Arc::new(Names { dialer: settings.outgoing.clone(), own_port }))
        .http1_title_case_headers()
        .pool_max_idle_per_host(settings.idle_per_host_max)
        .pool_idle_timeout(settings.idle_max)
        .connector_layer(Patience);
    if settings.environment_proxy { builder } else { builder.no_proxy() }
}

/// Waits for the head of an answer; absent if the peer is silent for too long. Time spent making a
/// connection does not count: it has its own limit.
async fn heard_within<T>(
    limit: Option<Duration>,
    mut connecting: watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(work);
    let Some(limit) = limit else {
        return Some(work.await);
    };
    loop {
        let busy = *connecting.borrow_and_update();
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            Ok(()) = connecting.changed() => {}
            () = sleep(limit), if !busy => return None,
        }
    }
}

async fn read_body(
    incoming: &mut reqwest::Response,
    body: &mut Vec<u8>,
    body_max: usize,
    read_timeout: Option<Duration>,
) -> Result<(), Problem> {
    loop {
        let chunk = match read_timeout {
            Some(limit) => timeout(limit, incoming.chunk()).await,
            None => Ok(incoming.chunk().await),
        };
        let Ok(chunk) = chunk else {
            let before = format!("fell silent after {} bytes of the body", body.len());
            return Err(silent(read_timeout, &before));
        };
        let Some(chunk) = chunk.map_err(|error| Problem::of(&error, incoming.url()))? else {
            return Ok(());
        };
        let room = body_max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Err(Problem::new(
                Code::BodyTooLarge,
                format!("sent a body of more than {body_max} bytes, the limit"),
            ));
        }
    }
}

fn too_long(limit: Duration) -> Problem {
    let message = format!("took longer than {} ms in all", limit.as_millis());
    Problem::new(Code::CallTimedOut, message)
}

fn silent(limit: Option<Duration>, what: &str) -> Problem {
    let limit = limit.unwrap_or_default().as_millis();
    Problem::new(Code::ReadTimedOut, format!("{what}: timed out after {limit} ms (readTimeOut)"))
}

tokio::task_local! {
    static CALL: Call;
}

/// What the layers below need to know about the call they work for.
#[derive(Clone)]
struct Call {
    connect_timeout: Option<Duration>,
    connecting: Arc<watch::Sender<bool>>,
}

/// Bounds each connect by the patience of the call that asks for it.
#[derive(Clone)]
struct Patience;

impl<S> Layer<S> for Patience {
    type Service = Patient<S>;

    fn layer(&self, inner: S) -> Patient<S> {
        Patient { inner }
    }
}

#[derive(Clone)]
struct Patient<S> {
    inner: S,
}

impl<S, R> Service<R> for Patient<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, target: R) -> Self::Future {
        let connect = self.inner.call(target);
        let call = CALL.try_with(Clone::clone).ok();
        let busy = call.as_ref().map(|call| Busy::new(&call.connecting));
        Box::pin(async move {
            // Held until the connection is there, has failed or is no longer wanted.
            let _busy = busy;
            match call.and_then(|call| call.connect_timeout) {
                Some(limit) => timeout(limit, connect)
                    .await
                    .unwrap_or_else(|_| Err(ConnectTimedOut { limit }.into())),
                None => connect.await,
            }
        })
    }
}

/// Marks a call as connecting while it lives.
struct Busy(Arc<watch::Sender<bool>>);

impl Busy {
    fn new(connecting: &Arc<watch::Sender<bool>>) -> Self {
        connecting.send_replace(true);
        Self(Arc::clone(connecting))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

#[derive(Debug)]
pub(super) struct ConnectTimedOut {
    limit: Duration,
}

impl fmt::Display for ConnectTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.limit.as_millis();
        write!(f, "could not connect: timed out after {ms} ms (connectionTimeOut)")
    }
}

impl std::error::Error for ConnectTimedOut {}
