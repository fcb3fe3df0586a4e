//! The guard in front of every path: requests that a web page makes somebody's browser send are
//! refused, and answers tell browsers to keep them to themselves.
//!
//! It needs no accounts. Browsers say for which host, from which page and to what end they ask
//! (`Host`, `Origin`, `Sec-Fetch-*`); SDKs, curl and gRPC clients say none of this but the host, so
//! the guard costs them nothing. See `docs/security.md`.

mod address;
mod host;

use std::collections::BTreeSet;

use axum::extract::Request;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{Extensions, HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;

use address::Proxies;
pub(crate) use address::{OverTls, Peer};
use host::{Host, Hosts};

pub use host::HostPattern;

use crate::problem::Problem;
use crate::{Settings, durable};

/// Paths that anybody may call from anywhere, web pages too: what comes there proves itself, by a
/// signature, a secret, or a key in the address. Triggers are public as well; they are no paths of
/// ours, see [`is_public`].
const PUBLIC: [&str; 9] = [
    "/webhook/{id}",
    "/api/webhook/{id}",
    "/hooks/{receiver}",
    "/a/{token}",
    PING,
    PING_SIGNAL,
    PING_SLUG,
    BADGE,
    BADGE_OF,
];

/// Paths of alerts that others send, which karma forwards for its pages too: the key in them is all that
/// counts.
const INBOUND: &str = "/inbound/{key}/";

/// What pages of others show of public status pages.
const BADGE: &str = "/badge/{page}";
const BADGE_OF: &str = "/badge/{page}/{label}";

const PING: &str = "/ping/{key}";
const PING_SIGNAL: &str = "/ping/{key}/{signal}";
const PING_SLUG: &str = "/ping/{key}/{slug}/{signal}";

/// Pages that may be opened by a link on another site: they show nothing of what runs here, or what
/// any monitoring system reads, and have no effects.
const PAGES: [&str; 8] = [
    "/docs",
    "/openapi.json",
    "/health",
    "/health/ready",
    "/api/health",
    "/metrics",
    "/api/version",
    "/api/token/userInfo",
];

/// Where Conductor's protocol changes something with GET, so that a mere link would do it.
const EFFECTS_OF_GET: [&str; 8] = [
    "/api/workflow/execute/{name}",
    "/api/tasks/poll/{type}",
    "/api/tasks/poll/batch/{type}",
    "/api/scheduler/admin/pause",
    "/api/scheduler/admin/requeue",
    "/api/scheduler/admin/resume",
    "/api/scheduler/schedules/{name}/pause",
    "/api/scheduler/schedules/{name}/resume",
];

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DESTINATION: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// What browsers and mail scanners say when they load something that nobody has asked for yet.
const PURPOSES: [HeaderName; 4] = [
    HeaderName::from_static("sec-purpose"),
    HeaderName::from_static("purpose"),
    HeaderName::from_static("x-purpose"),
    HeaderName::from_static("x-moz"),
];

/// What the guard knows of this server.
#[derive(Debug)]
pub(crate) struct Guard {
    hosts: Hosts,
    proxies: Proxies,
    /// Where people reach this server, without a slash at the end.
    public_url: Option<String>,
    /// Foreign hosts that the log has told of.
    told: Mutex<BTreeSet<Host>>,
}

/// Foreign hosts that the log tells of, once each.
const TOLD_MAX: usize = 20;
/// Characters of a host or an origin that an answer repeats.
const SHOWN_MAX: usize = 100;

impl Guard {
    pub(crate) fn new(settings: &Settings) -> Self {
        let public_url = settings.public_url.as_deref().map(|url| url.trim_end_matches('/'));
        let public = public_url.and_then(|url| Host::parse(authority_of(url)?));
        let hosts = Hosts {
            public,
            listed: settings.hosts.clone(),
            beyond_loopback: settings.beyond_loopback,
        };
        Self {
            hosts,
            proxies: Proxies(settings.trusted_proxies.clone()),
            public_url: public_url.map(str::to_owned),
            told: Mutex::default(),
        }
    }

    /// Why a request is refused, if it is. `path` is the path of ours that answers it.
    pub(crate) fn refusal(&self, path: Option<&str>, request: &Request) -> Option<Response> {
        let refused = self
            .foreign_host(request)
            .or_else(|| prefetch(request.headers()))
            .or_else(|| self.foreign_page(path, request))
            .or_else(|| opened_by_a_browser(path, request))?;
        Some(in_the_words_of(request.headers(), refused))
    }

    /// Refuses what names another host, wherever it says so.
    fn foreign_host(&self, request: &Request) -> Option<Problem> {
        let named = request.headers().get_all(header::HOST).iter().map(|it| it.to_str().ok());
        // HTTP/1.0 names none; browsers always do.
        let mut named = named.chain(request.uri().authority().map(|it| Some(it.as_str())));
        let foreign = named
            .find(|it| !it.and_then(Host::parse).is_some_and(|host| self.hosts.allow(&host)))?;
        let host = foreign.and_then(Host::parse);
        let shown: String =
            host.as_ref().map_or("?", Host::as_str).chars().take(SHOWN_MAX).collect();
        if let Some(host) = host {
            self.tell(host);
        }
        let message = format!("this server is not known as '{shown}'");
        let hint = format!(
            "If '{shown}' is a name of this server, add it to the setting `hosts`: hosts = \
             [\"{shown}\"] in nightbell.toml, NIGHTBELL_HOSTS={shown} or --hosts {shown}. The host \
             of `public_url`, localhost and IP addresses need no entry."
        );
        Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host-unknown", message).with_hint(hint))
    }

    fn tell(&self, host: Host) {
        let mut told = self.told.lock();
        if told.len() >= TOLD_MAX || told.contains(&host) {
            return;
        }
        let name: String = host.as_str().chars().take(SHOWN_MAX).collect();
        tracing::warn!(
            host = name,
            "requests for a host are refused because it is not among the names of this server; \
             if it is one, add it to the setting `hosts`"
        );
        told.insert(host);
    }

    /// Refuses what a page of another site makes a browser send, but for opening a page of ours.
    fn foreign_page(&self, path: Option<&str>, request: &Request) -> Option<Problem> {
        let headers = request.headers();
        let says_nothing = !headers.contains_key(SITE) && !headers.contains_key(header::ORIGIN);
        if says_nothing || is_public(path, request) {
            return None;
        }
        let site = headers.get(SITE).map(HeaderValue::as_bytes);
        let is_foreign = site.is_some_and(|site| !matches!(site, b"same-origin" | b"none"));
        if is_foreign && !is_page_opened(path, request) {
            let message = "a page of another site may not use this server";
            return Some(
                Problem::new(StatusCode::FORBIDDEN, "cross-site", message)
                    .with_hint("Send the request from a program, or open the address by hand."),
            );
        }
        let origin =
            headers.get_all(header::ORIGIN).iter().find(|it| !self.is_ours(it, request))?;
        let shown: String =
            String::from_utf8_lossy(origin.as_bytes()).chars().take(SHOWN_MAX).collect();
        let message = format!("a page of {shown} may not use this server");
        let hint = "Leave the Origin header out in programs. Behind a proxy that hides the host that \
                    a browser asked for, set `public_url` to the address that browsers use.";
        Some(Problem::new(StatusCode::FORBIDDEN, "cross-site", message).with_hint(hint))
    }

    /// Whether an origin is this server, as the request names it or as `public_url` does.
    fn is_ours(&self, origin: &HeaderValue, request: &Request) -> bool {
        let Some(origin) = origin.to_str().ok().and_then(authority_of_origin) else { return false };
        let asked = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let asked = asked.or_else(|| request.uri().authority().map(Authority::as_str));
        let public = self.public_url.as_deref().and_then(authority_of_origin);
        asked.is_some_and(|asked| same(origin.1, asked, origin.0))
            || public
                .is_some_and(|public| public.0 == origin.0 && same(origin.1, public.1, origin.0))
    }

    /// Whether browsers are to know this server by https alone from now on. That holds for every port
    /// of its name, so it takes `public_url` to say that this is meant.
    pub(crate) fn is_https_only(&self, request: &Request) -> bool {
        let is_meant = self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
        let asked = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let asked = asked.or_else(|| request.uri().authority().map(Authority::as_str));
        let over_tls = request.extensions().get::<OverTls>().is_some();
        is_meant && over_tls && asked.and_then(Host::parse) == self.hosts.public
    }

    /// Whether a request came over TLS, as far as the browser sees. What did can be answered over TLS,
    /// whatever `public_url` says.
    pub(crate) fn is_secure(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        extensions: &Extensions,
    ) -> bool {
        extensions.get::<OverTls>().is_some()
            || self.address(headers, uri, extensions).starts_with("https://")
    }

    /// Tells browsers what not to do with an answer, and whether to ask by https alone.
    pub(crate) fn harden(path: Option<&str>, is_https_only: bool, response: &mut Response) {
        /// 180 days.
        const HTTPS_ONLY: HeaderValue = HeaderValue::from_static("max-age=15552000");
        const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
        const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
        const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
        const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
        const CROSS_ORIGIN: HeaderValue = HeaderValue::from_static("cross-origin");
        const DATA: HeaderValue =
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        const PAGE: HeaderValue = HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        );
        const CONSOLE: HeaderValue = HeaderValue::from_static(console::POLICY);
        let headers = response.headers_mut();
        if is_grpc(headers) {
            return;
        }
        let is_page = path == Some("/docs");
        let is_console = crate::console::is_page(path);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
        if is_https_only {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HTTPS_ONLY);
        }
        // Without a referrer browsers call the origin of a page's own forms `null`.
        let referrer = if is_console { SAME_ORIGIN } else { NO_REFERRER };
        headers.insert(header::REFERRER_POLICY, referrer);
        let policy = match (is_page, is_console) {
            (true, _) => PAGE,
            (_, true) => CONSOLE,
            _ => DATA,
        };
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        let is_badge = matches!(path, Some(BADGE | BADGE_OF));
        headers.insert(
            HeaderName::from_static("cross-origin-resource-policy"),
            if is_badge { CROSS_ORIGIN } else { SAME_ORIGIN },
        );
        if !is_page {
            headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
        }
    }
}

/// Whether pages of other sites may make requests here. What none of our paths answers is a
/// trigger's or nobody's, but for other spellings of the paths of Durable Functions.
fn is_public(path: Option<&str>, request: &Request) -> bool {
    match path {
        Some(path) => PUBLIC.contains(&path) || path.starts_with(INBOUND),
        None => durable::canonical(request.uri()).is_none(),
    }
}

/// Whether a link on another site only opens a page of ours, in a window of its own.
fn is_page_opened(path: Option<&str>, request: &Request) -> bool {
    let says = |name: &HeaderName, value: &str| {
        request.headers().get(name).is_some_and(|given| given == value)
    };
    let is_page = path.is_some_and(|path| PAGES.contains(&path))
        || crate::console::is_page(path)
        || request.uri().path() == "/";
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    reads && is_page && says(&MODE, "navigate") && says(&DESTINATION, "document")
}

/// Refuses what is loaded ahead, before anybody has asked for it.
fn prefetch(headers: &HeaderMap) -> Option<Problem> {
    let says = |name: &HeaderName| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let value = value.to_ascii_lowercase();
        ["prefetch", "prerender", "preview"].iter().any(|purpose| value.contains(purpose))
    };
    PURPOSES.iter().any(says).then(|| {
        let message = "nothing is loaded ahead here";
        Problem::new(StatusCode::FORBIDDEN, "prefetch", message)
            .with_hint("Open the address when it is wanted.")
    })
}

/// Refuses a GET with effects that is a link which somebody, or a scanner of mail, has opened.
fn opened_by_a_browser(path: Option<&str>, request: &Request) -> Option<Problem> {
    let path = path?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let is_ping = matches!(path, PING | PING_SIGNAL | PING_SLUG);
    if !is_ping && !EFFECTS_OF_GET.contains(&path) {
        return None;
    }
    let headers = request.headers();
    // A script of a page says `empty`; links, images and frames say what they are.
    let destination = headers.get(DESTINATION).map(HeaderValue::as_bytes);
    let is_link = destination.is_some_and(|it| it != b"empty")
        || headers.get(MODE).is_some_and(|mode| mode == "navigate");
    if is_ping {
        return is_link.then(|| {
            let message = "a browser has opened this address; the call does not count";
            Problem::new(StatusCode::FORBIDDEN, "opened-by-browser", message)
                .with_hint("Call it from the job, for example with curl.")
        });
    }
    if *request.method() == Method::HEAD {
        let message = "HEAD is not supported here, because GET has effects";
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message);
        return Some(problem.with_hint("See /docs."));
    }
    // Browsers send `Sec-Fetch-…` over https and to this machine only.
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let is_browser =
        agent.is_some_and(|it| it.starts_with("Mozilla/") && !it.contains("PowerShell"));
    (is_link || is_browser).then(|| {
        let message = "GET has effects here, so a browser may not open this address";
        Problem::new(StatusCode::FORBIDDEN, "opened-by-browser", message)
            .with_hint("Use the SDK, the command line or curl.")
    })
}

/// A refusal as the client understands it: gRPC has statuses of its own.
fn in_the_words_of(headers: &HeaderMap, refused: Problem) -> Response {
    if !is_grpc(headers) {
        return refused.into_response();
    }
    let hint = refused.hint.unwrap_or_default();
    tonic::Status::permission_denied(format!("{}. {hint}", refused.message)).into_http()
}

pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// Host and port of a URL.
fn authority_of(url: &str) -> Option<&str> {
    authority_of_origin(url).map(|(_, authority)| authority)
}

/// Scheme, and host and port, of an origin or a URL.
fn authority_of_origin(origin: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = origin.split_once("://")?;
    Some((scheme, rest.split('/').next().unwrap_or_default()))
}

/// Whether two authorities are the same, for a scheme whose port may be left out.
fn same(one: &str, other: &str, scheme: &str) -> bool {
    let port = if scheme == "https" { ":443" } else { ":80" };
    let bare = |it: &str| it.strip_suffix(port).unwrap_or(it).to_ascii_lowercase();
    bare(one) == bare(other)
}
