//! Servers that share a store: one leads, which owns the store and answers; the others answer by asking it,
//! and one of them takes its place when it goes.
//!
//! A server has two ports then. Clients and workers use any server's public port; on the other one only
//! servers of the same store are heard ([`link`]). Which server leads is the store's to say.

mod forward;
mod link;
mod status;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use engine::vault::Key;
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::metrics;
use crate::problem::Problem;
use forward::Forwarder;
use link::{INTRODUCTION, Introduced, LinkKey, Stranger};

pub use forward::{LEADERLESS_MAX, Leader, Reach};
pub(crate) use forward::{LINK_HEAD_MAX, LINK_WINDOW, WINDOW};
pub(crate) use status::routes;
pub use status::{Cluster, ClusterNode};

/// How long a server that leaves waits for what others asked it before.
const GRACE: Duration = Duration::from_secs(5);

/// In the answer of a server that was asked as the leader and is not.
const NOT_LEADER: HeaderName = HeaderName::from_static("nightbell-not-leader");

/// Its value when the leader does not believe who asks.
const STRANGER: &str = "stranger";

/// One of the servers that share a store, and what it is at present.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    key: LinkKey,
    version: &'static str,
    forwarder: Forwarder,
    leading: RwLock<Option<Leading>>,
    is_leaving: AtomicBool,
    /// Requests of other servers that are being answered.
    asked: TaskTracker,
    /// Why this server cannot serve, while it does not lead.
    trouble: Mutex<Option<String>>,
}

/// What a leader answers with.
#[derive(Clone)]
struct Leading {
    incarnation: i64,
    router: Router,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("leader", &self.0.forwarder.leader()).finish_non_exhaustive()
    }
}

impl Node {
    /// A server that does not lead yet, with the key that seals the secrets of the store.
    pub fn new(key: &Key, version: &'static str) -> Self {
        let key = LinkKey::new(&*key.derive(link::PURPOSE));
        Self(Arc::new(Inner {
            forwarder: Forwarder::new(key.clone()),
            key,
            version,
            leading: RwLock::new(None),
            is_leaving: AtomicBool::new(false),
            asked: TaskTracker::new(),
            trouble: Mutex::new(Some("it has not joined the others yet".to_owned())),
        }))
    }

    /// Everything that is answered on the port for clients.
    pub fn public_router(&self) -> Router {
        Router::new().fallback(public).with_state(self.clone())
    }

    /// Everything that is answered on the port for other servers.
    pub fn peer_router(&self) -> Router {
        Router::new().fallback(of_peer).with_state(self.clone())
    }

    /// Notes who leads; `None` while nobody does.
    pub fn follow(&self, leader: Option<Leader>) {
        self.0.forwarder.follow(leader);
    }

    /// Makes sure that the leader can be asked.
    pub async fn reach_leader(&self) -> Reach {
        self.0.forwarder.reach().await
    }

    /// Notes why this server cannot serve at present, or that it can.
    pub fn set_trouble(&self, trouble: Option<String>) {
        *self.0.trouble.lock() = trouble;
    }

    /// From now on this server leads, as this incarnation, and answers with a router.
    pub fn lead(&self, incarnation: i64, router: Router) {
        *self.0.leading.write() = Some(Leading { incarnation, router: router.clone() });
        self.0.forwarder.lead(router);
    }

    /// From now on this server does not answer other servers any more: they look for the next leader.
    /// Returns when what they had asked before is answered, or after five seconds.
    pub async fn leave(&self) {
        self.0.is_leaving.store(true, Ordering::Release);
        self.0.asked.close();
        if tokio::time::timeout(GRACE, self.0.asked.wait()).await.is_err() {
            tracing::warn!("requests of other servers were still being answered");
        }
    }

    /// From now on streams that are handed on are cut: they would not end by themselves.
    pub fn end_streams(&self) {
        self.0.forwarder.end_streams();
    }

    fn leading(&self) -> Option<Leading> {
        self.0.leading.read().clone()
    }

    /// Why requests should not come here, while it does not lead.
    fn trouble(&self) -> Option<String> {
        if self.0.is_leaving.load(Ordering::Acquire) {
            return Some("the server shuts down".to_owned());
        }
        self.0.trouble.lock().clone()
    }

    /// Answers as a server that does not lead.
    async fn as_follower(&self, request: Request) -> Response {
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/health" | "/api/health") => self.health(),
            (&Method::GET | &Method::HEAD, "/health/ready") => self.ready(),
            (&Method::GET, "/metrics") => self.metrics(request).await,
            _ => self.0.forwarder.forward(request).await,
        }
    }

    fn health(&self) -> Response {
        let trouble = self.trouble();
        let problems: Vec<_> = trouble
            .iter()
            .map(|reason| json!({ "code": "cluster", "reason": reason, "since": null }))
            .collect();
        let status = if trouble.is_none() { "healthy" } else { "unhealthy" };
        let body = json!({
            "healthy": trouble.is_none(),
            "status": status,
            "role": "follower",
            "problems": problems,
            "warnings": [],
            "version": self.0.version,
        });
        (code_of(trouble.as_deref()), axum::Json(body)).into_response()
    }

    fn ready(&self) -> Response {
        let trouble = self.trouble();
        let body = match &trouble {
            None => json!({ "ready": true }),
            Some(reason) => json!({ "ready": false, "reason": reason }),
        };
        (code_of(trouble.as_deref()), axum::Json(body)).into_response()
    }

    /// Shows the figures of this server to whom the leader would show its own.
    async fn metrics(&self, mut request: Request) -> Response {
        let headers = request.headers().clone();
        // While nobody leads nobody can be asked who may see them; these tell nothing of what runs.
        if self.0.forwarder.leader().is_some() {
            *request.method_mut() = Method::HEAD;
            let answer = self.0.forwarder.forward(request).await;
            if !answer.status().is_success() && answer.status() != StatusCode::SERVICE_UNAVAILABLE {
                return answer;
            }
        }
        metrics::of_follower(&headers, self.0.version, &self.0.forwarder.figures())
    }
}

fn code_of(trouble: Option<&str>) -> StatusCode {
    trouble.map_or(StatusCode::OK, |_| StatusCode::SERVICE_UNAVAILABLE)
}

/// Answers a client.
async fn public(State(node): State<Node>, request: Request) -> Response {
    match node.leading() {
        Some(Leading { router, .. }) => answered(router, request).await,
        None => node.as_follower(request).await,
    }
}

/// Answers another server of the store.
async fn of_peer(State(node): State<Node>, mut request: Request) -> Response {
    let _asked = node.0.asked.token();
    let Some(Leading { incarnation, router }) =
        node.leading().filter(|_| !node.0.is_leaving.load(Ordering::Acquire))
    else {
        return not_leader();
    };
    let (mut parts, body) = request.into_parts();
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    let known = node.0.key.recognize(incarnation, headers, method, uri, &mut parts.extensions);
    match known {
        Ok(Introduced::Client) => {}
        Ok(Introduced::Probe(name, proof)) => {
            parts.headers.remove(INTRODUCTION);
            let mut answer = answered(router, Request::from_parts(parts, body)).await;
            answer.headers_mut().insert(name, proof);
            return answer;
        }
        Err(Stranger::Misdirected) => return not_leader(),
        Err(stranger) => {
            let message = match stranger {
                Stranger::Unproven => {
                    "the proof of another server does not hold: it has another key of secrets, or is \
                     none of this store"
                }
                _ => "this port is for the other servers of the store",
            };
            tracing::warn!("a request was refused at the port for servers: {message}");
            let mut answer = Problem::new(StatusCode::FORBIDDEN, "peer-unproven", message)
                .with_hint("Give all servers the same secret_key_file; clients use the other port.")
                .into_response();
            answer.headers_mut().insert(NOT_LEADER, HeaderValue::from_static(STRANGER));
            return answer;
        }
    }
    parts.headers.remove(INTRODUCTION);
    request = Request::from_parts(parts, body);
    answered(router, request).await
}

async fn answered(router: Router, request: Request) -> Response {
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

fn not_leader() -> Response {
    let message = "this server does not lead";
    let mut answer =
        Problem::new(StatusCode::MISDIRECTED_REQUEST, "not-leader", message).into_response();
    answer.headers_mut().insert(NOT_LEADER, HeaderValue::from_static("1"));
    answer
}
