//! The web console on this port: hands visits to the crate `console`, and answers what its pages ask
//! of the API, as whoever looks at them.
//!
//! A page needs the permission to read; what it shows and does besides is asked of the API's own paths
//! in this process, with the requirements of these and their lines in the audit ledger. So nobody may do
//! more in the console than by a request.

mod feed;

use std::sync::OnceLock;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use console::{Allowing, Answer, Answering, Ask, Console, Visit, Visitor};
use http_body_util::BodyExt as _;
use kernel::access::{Mode, Need, Permission};
use serde_json::Value;
use tower::ServiceExt as _;
use utoipa_axum::routes;

use crate::access::{self, Actor, Asked, Called, Routes};
use crate::guard::Peer;
use crate::problem::Problem;
use crate::{Api, Shared, described};
pub(crate) use feed::FEED;

/// When the console is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serving {
    /// With access control to everybody who has signed in; without it to this machine alone.
    #[default]
    Auto,
    /// To everybody who reaches this server.
    On,
    /// To everybody who reaches this server, and nothing can be done in it.
    ReadOnly,
    /// To nobody.
    Off,
}

/// What a page that is open sends along when it looks again.
const PART: HeaderName = HeaderName::from_static("hx-request");
/// Bytes of a form.
const FORM_MAX: usize = 1 << 20;
/// Bytes of an answer that a page reads.
const ANSWER_MAX: usize = 64 << 20;

/// Whether a path of ours is a page for people, whose answers have the console's policy.
pub(crate) fn is_page(path: Option<&str>) -> bool {
    const BEGINNINGS: [&str; 3] = ["/console", "/status/", "/a/"];
    path.is_some_and(|path| BEGINNINGS.iter().any(|it| path.starts_with(it)))
}

pub(crate) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(home))
        .on(Permission::Read, routes!(home_with_slash))
        .on(Permission::Read, routes!(page, form))
        .on(Need::Public, routes!(login))
        .on(Need::Public, routes!(asset))
        .on(Need::Public, routes!(status))
        .merge(feed::routes())
}

/// The console, and whom its pages ask.
pub(crate) struct Service {
    console: Console,
    inside: OnceLock<Router>,
}

impl Service {
    pub(crate) fn new(api: &Api) -> Self {
        let settings = console::Settings {
            read_only: api.settings.console == Serving::ReadOnly,
            version: api.settings.version,
            has_accounts: api.settings.auth != Mode::Open,
            signs_in_with: access::sso::beginning(&api.settings),
        };
        Self { console: Console::new(api.engine.clone(), settings), inside: OnceLock::new() }
    }

    /// The API without the guard, which a visit has passed; made for the first page.
    fn inside(&self, shared: &Shared) -> Router {
        let made = self.inside.get_or_init(|| {
            let (inside, _, _) = described().split();
            let authorizer = shared.authorizer.clone();
            let admit = axum::middleware::from_fn_with_state(authorizer, access::admit);
            inside.layer(admit).with_state(shared.behind_the_console())
        });
        made.clone()
    }

    /// Asks the API what somebody asks by way of another path, with their permissions.
    pub(crate) async fn ask_inside(
        &self,
        shared: &Shared,
        asked: &Visiting,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let inside = Inside { router: self.inside(shared), asked: asked.clone(), called: None };
        let Answer { status, body } = inside.ask(method, path, body).await;
        (status, body)
    }

    /// A public status page, which anybody may see whose server it is, whoever may see the console.
    async fn publish(&self, shared: &Shared, visit: Visit, asked: &Visiting) -> Response {
        let called = visit.called.as_deref().map(|name| Called(name.into()));
        let inside = Inside { router: self.inside(shared), asked: asked.clone(), called };
        let reply = self.console.answer(&visit, &inside).await;
        reply.into_response(&asked.headers).map(Body::from)
    }

    async fn answer(&self, shared: &Shared, visit: Visit, asked: &Visiting) -> Response {
        if let Some(refused) = not_served(&shared.api, asked) {
            return self.refused(&visit, &asked.headers, &refused);
        }
        self.publish(shared, visit, asked).await
    }

    /// The page that a message leads to. Who may see the console is another question.
    pub(crate) fn answering(&self, visit: &Visit, answering: &Answering) -> console::Reply {
        self.console.answering(visit, answering)
    }

    /// The page that asks whether a program may sign in.
    pub(crate) fn allowing(&self, visit: &Visit, allowing: &Allowing) -> console::Reply {
        self.console.allowing(visit, allowing)
    }

    fn refused(&self, visit: &Visit, headers: &HeaderMap, problem: &Problem) -> Response {
        let body = serde_json::json!({ "message": problem.message, "hint": problem.hint });
        let reply = self.console.refused(visit, problem.status, &body);
        reply.into_response(headers).map(Body::from)
    }
}

/// Who asks, and from where.
#[derive(Clone)]
pub(crate) struct Visiting {
    actor: Actor,
    peer: Option<Peer>,
    headers: HeaderMap,
}

impl Visiting {
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            actor: Actor::of(request.extensions()),
            peer: request.extensions().get().copied(),
            headers: request.headers().clone(),
        }
    }

    /// Whether the request comes from this machine and was not handed on by a proxy here.
    fn is_local(&self) -> bool {
        let forwarded = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];
        let handed_on = forwarded.iter().any(|name| self.headers.contains_key(*name));
        // Without a connection it comes from this process.
        let is_near = self.peer.is_none_or(|peer| peer.0.ip().to_canonical().is_loopback());
        is_near && !handed_on
    }

    fn visitor(&self, api: &Api) -> Visitor {
        let may = Permission::ALL.into_iter().filter(|it| self.actor.may(api, *it)).collect();
        let who = self.actor.principal();
        Visitor {
            name: who.map(|_| self.actor.shown()),
            may,
            id: who.map(|who| who.id.to_string()).unwrap_or_default(),
            is_by_program: access::is_by_program(&self.headers),
            reach: self.actor.reach(api),
        }
    }
}

/// Why the console is not served to somebody.
fn not_served(api: &Api, asked: &Visiting) -> Option<Problem> {
    let hint = "Set `console` (NIGHTBELL_CONSOLE, --console) to on or read-only, or `auth` to on.";
    match api.settings.console {
        Serving::On | Serving::ReadOnly => None,
        Serving::Off => {
            Some(Problem::not_found("The console is switched off here").with_hint(hint))
        }
        Serving::Auto if api.settings.auth == Mode::On || asked.is_local() => None,
        Serving::Auto if asked.actor.principal().is_some() => None,
        Serving::Auto if api.settings.auth == Mode::Offered => {
            let message = "Whoever comes from another machine has to sign in";
            Some(Problem::new(StatusCode::UNAUTHORIZED, access::INVALID, message))
        }
        Serving::Auto => {
            let message = "Without access control the console is for the server's own machine";
            Some(Problem::new(StatusCode::FORBIDDEN, "console-local", message).with_hint(hint))
        }
    }
}

/// The API as the pages of one visit ask it.
struct Inside {
    router: Router,
    asked: Visiting,
    /// What somebody without an account wants to be called in records.
    called: Option<Called>,
}

#[async_trait::async_trait]
impl Ask for Inside {
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let text = match body {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let Ok(mut request) = request.body(Body::from(text)) else {
            let body = serde_json::json!({ "message": "what was asked for cannot be an address" });
            return Answer { status: StatusCode::BAD_REQUEST, body };
        };
        request.extensions_mut().insert(Asked(self.asked.actor.clone()));
        if let Some(peer) = self.asked.peer {
            request.extensions_mut().insert(peer);
        }
        if let Some(called) = &self.called {
            request.extensions_mut().insert(called.clone());
        }
        let response = match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status();
        let read = http_body_util::Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let Ok(read) = read else {
            let body = serde_json::json!({ "message": "it is too large for a page" });
            return Answer { status: StatusCode::PAYLOAD_TOO_LARGE, body };
        };
        let bytes = read.to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
        Answer { status, body }
    }
}

/// The start page of the console: open incidents, late heartbeats, stuck runs.
#[utoipa::path(
    get, path = "/console", tag = "console",
    responses((status = 303, description = "The console is at /console/"))
)]
async fn home() -> Response {
    moved()
}

fn moved() -> Response {
    let to = [(header::LOCATION, HeaderValue::from_static("/console/"))];
    (StatusCode::SEE_OTHER, to).into_response()
}

/// Open incidents, late heartbeats, stuck runs.
#[utoipa::path(
    get, path = "/console/", tag = "console",
    responses((status = 200, description = "The page", content_type = "text/html", body = String))
)]
async fn home_with_slash(State(shared): State<Shared>, request: Request) -> Response {
    shown(&shared, request).await
}

/// A page of the console.
#[utoipa::path(
    get, path = "/console/{*page}", tag = "console",
    params(("page" = String, Path, description = "Its place, such as runs or incidents/ID")),
    responses((status = 200, description = "The page", content_type = "text/html", body = String))
)]
async fn page(State(shared): State<Shared>, request: Request) -> Response {
    shown(&shared, request).await
}

async fn shown(shared: &Shared, request: Request) -> Response {
    let asked = Visiting::of(&request);
    let visit = visit(&request, "", asked.visitor(&shared.api));
    shared.console.answer(shared, visit, &asked).await
}

fn visit(request: &Request, body: &str, visitor: Visitor) -> Visit {
    let uri = request.uri();
    let method = if request.method() == Method::POST { Method::POST } else { Method::GET };
    let cookies = request.headers().get(header::COOKIE).and_then(|it| it.to_str().ok());
    let visit = Visit::new(method, uri.path(), uri.query(), body, visitor).with_cookies(cookies);
    Visit { is_part: request.headers().contains_key(PART), ..visit }
}

/// Performs an action that a form of the console submits.
#[utoipa::path(
    post, path = "/console/{*page}", tag = "console",
    params(("page" = String, Path, description = "What the form does")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "Done; redirect to the page that shows the result"))
)]
async fn form(State(shared): State<Shared>, request: Request) -> Response {
    let asked = Visiting::of(&request);
    let (parts, body) = request.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_form = kind.is_some_and(|kind| kind.starts_with(b"application/x-www-form-urlencoded"));
    let read = http_body_util::Limited::new(body, FORM_MAX).collect().await;
    let bytes = read.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let request = Request::from_parts(parts, Body::empty());
    let visit = visit(&request, &String::from_utf8_lossy(&bytes), asked.visitor(&shared.api));
    if !is_form {
        let message = "Pages of the console send forms; this is none";
        return shared.console.refused(&visit, &asked.headers, &Problem::bad_request(message));
    }
    shared.console.answer(&shared, visit, &asked).await
}

/// The sign-in form.
#[utoipa::path(
    get, path = "/console/login", tag = "console",
    responses((status = 200, description = "The page", content_type = "text/html", body = String))
)]
async fn login(State(shared): State<Shared>, request: Request) -> Response {
    shown(&shared, request).await
}

/// A static asset of the console; its name changes with its content.
#[utoipa::path(
    get, path = "/console/assets/{name}", tag = "console",
    params(("name" = String, Path, description = "The name, with a hash")),
    responses(
        (status = 200, description = "The file"),
        (status = 404, description = "No such asset: another version is installed"),
    )
)]
async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match console::asset(&format!("{}{name}", console::ASSETS)) {
        Some(asset) => asset.response(&headers).map(Body::from),
        None => Problem::not_found("there is no such file; load the page again").into_response(),
    }
}

/// A public status page.
#[utoipa::path(
    get, path = "/status/{page}", tag = "console",
    params(("page" = String, Path, description = "The name of the page")),
    responses(
        (status = 200, description = "The page", content_type = "text/html", body = String),
        (status = 404, description = "Nothing is published under this name"),
    )
)]
async fn status(State(shared): State<Shared>, request: Request) -> Response {
    let asked = Visiting::of(&request);
    // Nobody's name is on it: caches keep it for everybody.
    let visit = visit(&request, "", Visitor::default());
    shared.console.publish(&shared, visit, &asked).await
}

/// A visit whose refusal is told in a page: who may not see the console is told so in its own words, or
/// asked to sign in.
pub(crate) struct Explained {
    asked: Visiting,
    visit: Visit,
    not_served: Option<Problem>,
}

impl Explained {
    /// `None` for a request that asks for no page.
    pub(crate) fn of(api: &Api, request: &Request) -> Option<Self> {
        let path = request.uri().path();
        let is_ours = path == "/console" || path.starts_with("/console/");
        if !is_ours || path.starts_with(console::ASSETS) || is_of_a_program(request) {
            return None;
        }
        let asked = Visiting::of(request);
        let not_served = not_served(api, &asked);
        Some(Self { visit: visit(request, "", Visitor::default()), asked, not_served })
    }

    /// What is answered in the place of `response`.
    pub(crate) async fn page(self, service: &Service, response: Response) -> Response {
        let Self { asked, visit, not_served } = self;
        let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_problem = !response.status().is_success()
            && kind.is_some_and(|kind| kind.starts_with(b"application/json"));
        if !is_problem {
            return response;
        }
        if let Some(refused) = not_served {
            return service.refused(&visit, &asked.headers, &refused);
        }
        let status = response.status();
        let bytes: Bytes = match response.into_body().collect().await {
            Ok(read) => read.to_bytes(),
            Err(_) => Bytes::new(),
        };
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        let reply = service.console.refused(&visit, status, &body);
        reply.into_response(&asked.headers).map(Body::from)
    }
}

/// Whether a program asks, which reads JSON: about its session, or by sending JSON to sign in.
fn is_of_a_program(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let sends_json = kind.is_some_and(|kind| kind.starts_with(b"application/json"));
    let path = request.uri().path();
    path == access::session::SESSION || (sends_json && path == "/console/login")
}

/// Leads browsers that ask for the root to the console; `None` for everything else.
pub(crate) fn from_the_root(api: &Api, request: &Request) -> Option<Response> {
    let accepts = request.headers().get(header::ACCEPT).and_then(|it| it.to_str().ok());
    let is_browser = accepts.is_some_and(|accepts| accepts.contains("text/html"));
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_served = api.settings.console != Serving::Off;
    (request.uri().path() == "/" && reads && is_browser && is_served).then(moved)
}
