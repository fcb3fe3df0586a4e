//! SHOWS: the web console under `/console`, pages of HTML that work without a script.
//!
//! What pages show and do, they ask of the REST API in this process ([`Ask`]), as whoever looks at
//! them: so the console, the API and the command line say the same, and nobody may do more here than
//! there. Only what the API has no light form of (lists of heads, the tasks of a run) is read from the
//! engine, after the same permission to read. Nothing here knows of sockets or of credentials.

mod act;
mod asset;
mod clock;
mod confirm;
mod consequence;
mod deed;
mod entity;
mod foreseen;
mod form;
mod graph;
mod gzip;
mod incident_search;
mod page;
mod part;
mod piece;
mod reply;
mod report;
mod seal;
mod seen;
mod shell;
mod steer;
mod strip;
mod uses;
mod value;
mod visit;

use engine::Engine;
use http::{Method, StatusCode};
use serde_json::Value;

pub use asset::{PREFIX as ASSETS, asset};
pub use page::allowing::Allowing;
pub use page::answering::Answering;
pub use part::Part;
pub use reply::Reply;
pub use report::Report;
pub use shell::Page;
pub use visit::{Pairs, Visit, Visitor};

/// What browsers may load on pages of the console: only what this server itself serves.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' \
    data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What the API answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status of HTTP.
    pub status: StatusCode,
    /// The body; a string if it was no JSON, null if there was none.
    pub body: Value,
}

/// The REST API of this process, asked as whoever looks at the page.
#[async_trait::async_trait]
pub trait Ask: Send + Sync {
    /// Asks for a path, with its query. What it needs, it checks itself.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer;
}

/// How the console is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether pages have no acts.
    pub read_only: bool,
    /// The version of the server.
    pub version: &'static str,
    /// Whether credentials count: then there is somebody to sign out.
    pub has_accounts: bool,
    /// What people sign in with beside names and passwords: the label of a provider, and where that begins,
    /// which may be another name of this server than the one that a browser uses.
    pub signs_in_with: Option<(String, String)>,
}

/// The console of one server.
pub struct Console {
    engine: Engine,
    settings: Settings,
    seal: seal::Seal,
    made: page::Made,
    parts: part::Parts,
}

/// Everything that a page is made of: who looks at what, and whom it asks.
pub(crate) struct Context<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) settings: &'a Settings,
    pub(crate) seal: &'a seal::Seal,
    pub(crate) made: &'a page::Made,
    pub(crate) visit: &'a Visit,
    pub(crate) api: &'a dyn Ask,
    pub(crate) clock: clock::Clock,
}

impl Console {
    /// The console over an engine.
    pub fn new(engine: Engine, settings: Settings) -> Self {
        let seal = seal::Seal::new(&*engine.vault().derive_key("acts of the console"));
        let (made, parts) = (page::Made::default(), part::Parts::default());
        Self { engine, settings, seal, made, parts }
    }

    /// Answers a visit. A GET never changes anything.
    pub async fn answer(&self, visit: &Visit, api: &dyn Ask) -> Reply {
        let now = self.engine.now();
        let cx = Context {
            engine: &self.engine,
            settings: &self.settings,
            seal: &self.seal,
            made: &self.made,
            visit,
            api,
            clock: clock::Clock::new(now, visit.zone.as_deref()),
        };
        let answered = if visit.method == Method::POST {
            form::post(&cx).await
        } else if visit.is_part {
            self.parts.of(&cx).await.map(Reply::Part)
        } else {
            shown(&cx).await
        };
        answered.unwrap_or_else(|failure| Reply::page(&cx, &failure.dated(&cx).page()))
    }

    /// A page that says why a request under `/console` was refused before it came here: one to sign
    /// in if nobody has.
    pub fn refused(&self, visit: &Visit, status: StatusCode, body: &Value) -> Reply {
        self.alone(visit, |cx| {
            if status == StatusCode::UNAUTHORIZED {
                page::login::page(cx)
            } else {
                Failure::of(status, body).page()
            }
        })
    }

    /// The page that a message leads to, on which it is acknowledged.
    pub fn answering(&self, visit: &Visit, answering: &Answering) -> Reply {
        self.alone(visit, |cx| page::answering::page(cx, answering))
    }

    /// The page that asks whether a program may sign in, and the one that leads on to it.
    pub fn allowing(&self, visit: &Visit, allowing: &Allowing) -> Reply {
        self.alone(visit, |_| page::allowing::page(allowing))
    }

    /// A page for which nothing is asked.
    fn alone(&self, visit: &Visit, page: impl FnOnce(&Context<'_>) -> Page) -> Reply {
        let cx = Context {
            engine: &self.engine,
            settings: &self.settings,
            seal: &self.seal,
            made: &self.made,
            visit,
            api: &Nobody,
            clock: clock::Clock::new(self.engine.now(), visit.zone.as_deref()),
        };
        Reply::page(&cx, &page(&cx))
    }
}

/// What is at an address: a file to keep, or a page.
async fn shown(cx: &Context<'_>) -> Result<Reply, Failure> {
    match page::file::at(cx).await? {
        Some(file) => Ok(file),
        None => page::show(cx).await.map(|page| Reply::page(cx, &page)),
    }
}

/// Asks nothing: pages of refusals, and those that messages lead to, show nothing of what runs.
struct Nobody;

#[async_trait::async_trait]
impl Ask for Nobody {
    async fn ask(&self, _: Method, _: &str, _: Option<&Value>) -> Answer {
        Answer { status: StatusCode::UNAUTHORIZED, body: Value::Null }
    }
}

/// Why there is no page, as the API says it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) flaws: Vec<String>,
}

impl Failure {
    /// A failure in the API's words.
    pub(crate) fn of(status: StatusCode, body: &Value) -> Self {
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let flaws = body["validationErrors"].as_array().into_iter().flatten();
        let flaw = |flaw: &Value| {
            let (path, message) = (value::text(flaw, "path"), value::text(flaw, "message"));
            if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") }
        };
        // Durable Functions have it under another name.
        let message = text("message").or_else(|| text("ExceptionMessage"));
        let message = message.unwrap_or_else(|| status.to_string());
        Self { status, message, hint: text("hint"), flaws: flaws.map(flaw).collect() }
    }

    /// 404.
    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: message.into(),
            hint: None,
            flaws: Vec::new(),
        }
    }

    /// 400.
    pub(crate) fn wrong(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, ..Self::missing(message) }
    }

    /// 403.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, ..Self::missing(message) }
    }

    /// Adds what to do next.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, with since when the store does not take what is written, if that is why.
    fn dated(mut self, cx: &Context<'_>) -> Self {
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let problems = cx.engine.health().problems;
            let of_store = problems.iter().filter(|it| it.code == "store");
            if let Some(since) = of_store.filter_map(|it| it.since).min() {
                self.message = format!("{}, since {}", self.message, cx.clock.text(since));
            }
        }
        self
    }

    fn page(&self) -> Page {
        page::failure(self)
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Store(error) => error.into(),
            engine::Error::Rejected(rejected) => rejected.into(),
            engine::Error::Quarantined { .. } => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                ..Self::missing(error.to_string())
            },
            other => {
                Self { status: StatusCode::SERVICE_UNAVAILABLE, ..Self::missing(other.to_string()) }
            }
        }
    }
}

impl From<kernel::Rejected> for Failure {
    fn from(rejected: kernel::Rejected) -> Self {
        use kernel::Rejected;
        let status = match &rejected {
            Rejected::Invalid(_) => StatusCode::BAD_REQUEST,
            Rejected::Unknown(_) => StatusCode::NOT_FOUND,
            Rejected::Forbidden(_) => StatusCode::FORBIDDEN,
            Rejected::Stale(_) | Rejected::Conflict(_) => StatusCode::CONFLICT,
            Rejected::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { status, ..Self::missing(rejected.to_string()) }
    }
}

impl From<engine::store::StoreError> for Failure {
    fn from(error: engine::store::StoreError) -> Self {
        use engine::store::StoreError;
        match error {
            StoreError::TooBroad => Self::wrong(error.to_string())
                .with_hint("Narrow the search by status:, name: or a shorter text."),
            // The details name files of the server: they are for its log.
            _ => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                ..Self::missing("the store does not answer")
            }
            .with_hint("Nothing was changed. Reload this page; the server's log says why."),
        }
    }
}

impl Context<'_> {
    /// Reads from the API.
    ///
    /// # Errors
    /// What it refuses, in its words.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        let answer = self.api.ask(Method::GET, path, None).await;
        if answer.status.is_success() {
            Ok(answer.body)
        } else {
            Err(Failure::of(answer.status, &answer.body))
        }
    }

    /// Changes something through the API.
    ///
    /// # Errors
    /// What it refuses, in its words.
    pub(crate) async fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let answer = self.api.ask(method, path, body).await;
        if answer.status.is_success() {
            Ok(answer.body)
        } else {
            Err(Failure::of(answer.status, &answer.body))
        }
    }

    /// Whether whoever looks may see something that not everybody may.
    pub(crate) fn sees(&self, permission: kernel::access::Permission) -> bool {
        self.visit.visitor.may.contains(&permission)
    }

    /// Whether whoever looks may do something, so that there is a button for it.
    pub(crate) fn may(&self, permission: kernel::access::Permission) -> bool {
        !self.settings.read_only && self.sees(permission)
    }
}
