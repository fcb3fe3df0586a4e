//! SPEAKS: the Conductor REST API, the durable task protocol and the API of Durable Functions, and the
//! pages beside them.
//!
//! Protocol names live here and nowhere deeper: handlers turn requests into the engine's inputs,
//! and `view` turns its state into the protocol's JSON.

mod access;
pub mod backtests;
pub mod cluster;
mod connections;
mod console;
mod door;
mod durable;
mod fallback;
mod front;
mod grpc;
mod guard;
pub mod hooks;
pub mod ics;
mod inbound;
pub mod ledger;
mod local;
pub mod mcp;
mod metrics;
pub mod oidc;
mod openapi;
mod ops;
pub mod problem;
pub mod projects;
pub mod rest;
mod room;
mod serve;
mod stored;
mod tls;
pub mod triggers;
pub mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use access::Routes;
use axum::Router;
use axum::extract::State;
pub(crate) use door::Shared;
use engine::Engine;
use ipnet::IpNet;
use kernel::access::Mode;

pub use ::console::Report;
pub use access::QuotaSettings;
pub use console::Serving as ConsoleServing;
pub use guard::HostPattern;
pub use local::LocalSocket;
pub use serve::{serve, serve_router};
pub use stored::look_at_documents;
pub use tls::{Pair, Tls, TlsError, TlsFiles};

/// What every handler shares.
#[derive(Clone)]
pub struct Api {
    /// The engine behind the API.
    pub engine: Engine,
    /// Settings of the protocols.
    pub settings: Arc<Settings>,
}

/// Settings of the protocols.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest request body in bytes; larger ones are answered with 413.
    pub body_max: usize,
    /// The version that `/api/version` tells.
    pub version: &'static str,
    /// How often a Durable Task worker is told that its stream lives; SDKs give up after two minutes of
    /// silence.
    pub ping_every: Duration,
    /// Connections served at once; when there are more, idle ones are closed.
    pub connections_max: usize,
    /// Of these, those of one address; at most half. This machine and `trusted_proxies` may have all.
    pub connections_per_address: usize,
    /// How long a request body may be silent before the request is given up.
    pub body_time: Duration,
    /// Bytes that all request bodies may take together; at least three times `body_max`.
    pub bodies_max: usize,
    /// Bytes that all answers may take together until they are sent, but for `large_answers`.
    pub answers_max: usize,
    /// The memory that large answers may take together.
    pub large_answers: rest::extract::LargeAnswers,
    /// Where people reach this server: links in answers begin with it, and its host is ours.
    pub public_url: Option<String>,
    /// Further names under which this server may be asked for.
    pub hosts: Vec<HostPattern>,
    /// Whether other machines can connect: names of private networks are then ours, too.
    pub beyond_loopback: bool,
    /// Reverse proxies whose `X-Forwarded-Host`, `-Proto` and `-Prefix` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The certificate, if the listener speaks TLS.
    pub tls: Option<Arc<Tls>>,
    /// The socket of the local administrator.
    pub socket: Option<Arc<LocalSocket>>,
    /// How long a handshake of TLS may take.
    pub handshake_time: Duration,
    /// Whether credentials are asked for.
    pub auth: Mode,
    /// What each principal may ask for, with access control.
    pub quotas: QuotaSettings,
    /// How long ago whoever has a session in a browser may have signed in, for what needs `edit`,
    /// `write-secrets` or `admin`.
    pub proof_max: Duration,
    /// To whom the console is served.
    pub console: ConsoleServing,
    /// The JSON schema for editors of that name, such as `workflow.json`.
    pub editor_schema: fn(&str) -> Option<&'static str>,
    /// What tries definitions of monitors on the past; without it nobody does.
    pub backtests: Option<backtests::Backtests>,
    /// What knows how the server was started.
    pub upkeep: Option<Arc<dyn upkeep::Upkeep>>,
    /// Whether the port is for the other servers of the store.
    pub is_for_servers: bool,
    /// What knows the servers that share the store, if it may be shared.
    pub cluster: Option<Arc<dyn cluster::Cluster>>,
    /// By which provider people sign in; needs `public_url`, where they come back to.
    pub oidc: Option<oidc::Options>,
    /// Whose tokens of workloads count.
    pub workloads: Option<oidc::WorkloadOptions>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_max: 16 << 20,
            version: env!("CARGO_PKG_VERSION"),
            ping_every: Duration::from_secs(25),
            connections_max: 10_000,
            connections_per_address: 2000,
            body_time: Duration::from_secs(30),
            bodies_max: 384 << 20,
            answers_max: 256 << 20,
            large_answers: rest::extract::LargeAnswers::default(),
            public_url: None,
            hosts: Vec::new(),
            beyond_loopback: false,
            trusted_proxies: Vec::new(),
            tls: None,
            socket: None,
            handshake_time: Duration::from_secs(10),
            auth: Mode::Open,
            quotas: QuotaSettings::default(),
            proof_max: Duration::from_hours(12),
            console: ConsoleServing::Auto,
            editor_schema: |_| None,
            backtests: None,
            upkeep: None,
            is_for_servers: false,
            cluster: None,
            oidc: None,
            workloads: None,
        }
    }
}

/// Every path of ours, described, with what it needs.
fn described() -> Routes {
    rest::router()
        .merge(hooks::routes())
        .merge(inbound::routes())
        .merge(durable::routes())
        .merge(triggers::routes())
        .merge(grpc::workers::routes())
        .merge(ops::routes())
        .merge(cluster::routes())
        .merge(metrics::routes())
        .merge(openapi::routes())
        .merge(console::routes())
        .merge(mcp::routes())
        .merge(access::session::routes())
        .merge(access::login::routes())
        .merge(access::signed_in::routes())
        .merge(access::sso::routes())
}

/// Everything that is answered on the one port.
///
/// Every request passes the [door](mod@door) first, whichever protocol it speaks. What no path answers is a
/// 404 in the shape of all other failures, and so is a method that a path does not know (405) and a
/// handler that panics (500).
pub fn router(api: Api) -> Router {
    let (router, description, requirements) = described().split();
    metrics::began();
    let shared = Shared::new(api, requirements, description);
    let again = fallback::Again::new(&shared);
    let door = axum::middleware::from_fn_with_state(shared.clone(), door::pass);
    router
        .merge(grpc::routes(&shared.api))
        .fallback(move |State(shared): State<Shared>, request| {
            fallback::other_path(shared, again.clone(), request)
        })
        .method_not_allowed_fallback(fallback::other_method)
        .layer(door)
        .with_state(shared)
}
