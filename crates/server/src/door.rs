//! What every request passes, in one layer, and what the handlers of all paths share.
//!
//! One layer, because each is paid for by every request: with a copy of all that lies behind it on the
//! way in, and with memory for as long as the request is in hand, which for a stream is hours.

use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRef, MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use utoipa::openapi::OpenApi;

use crate::access::session::Secure;
use crate::access::{Authorizer, Entered, Requirements};
use crate::guard::Guard;
use crate::metrics::Traffic;
use crate::openapi::Pages;
use crate::ops::LastSaid;
use crate::problem::Problem;
use crate::rest::uses::Index;
use crate::{Api, console};

/// What the handlers of all paths share. They take the part that they need: `State<Api>`,
/// `State<Arc<Authorizer>>`.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Parts>);

/// The parts.
pub(crate) struct Parts {
    pub(crate) api: Api,
    pub(crate) guard: Arc<Guard>,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) said: Arc<LastSaid>,
    pub(crate) uses: Arc<Index>,
    pub(crate) pages: Arc<Pages>,
    pub(crate) console: console::Service,
}

impl Shared {
    /// Of one server, whose paths are described and need what they need.
    pub(crate) fn new(api: Api, requirements: Requirements, description: OpenApi) -> Self {
        Self(Arc::new(Parts {
            guard: Arc::new(Guard::new(&api.settings)),
            authorizer: Arc::new(Authorizer::new(&api, requirements)),
            traffic: Arc::new(Traffic::over(&description)),
            said: Arc::default(),
            uses: Arc::default(),
            pages: Arc::new(Pages::of(description, api.settings.version)),
            console: console::Service::new(&api),
            api,
        }))
    }

    /// The same for the paths that pages of the console ask, which show no pages themselves: so that
    /// nothing holds itself.
    pub(crate) fn behind_the_console(&self) -> Self {
        let Parts { api, guard, authorizer, traffic, said, uses, pages, .. } = &*self.0;
        Self(Arc::new(Parts {
            api: api.clone(),
            guard: guard.clone(),
            authorizer: authorizer.clone(),
            traffic: traffic.clone(),
            said: said.clone(),
            uses: uses.clone(),
            pages: pages.clone(),
            console: console::Service::new(api),
        }))
    }
}

impl Deref for Shared {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<Shared> for Api {
    fn from_ref(shared: &Shared) -> Self {
        shared.api.clone()
    }
}

impl FromRef<Shared> for Arc<Authorizer> {
    fn from_ref(shared: &Shared) -> Self {
        shared.authorizer.clone()
    }
}

impl FromRef<Shared> for Arc<Guard> {
    fn from_ref(shared: &Shared) -> Self {
        shared.guard.clone()
    }
}

impl FromRef<Shared> for Arc<Traffic> {
    fn from_ref(shared: &Shared) -> Self {
        shared.traffic.clone()
    }
}

impl FromRef<Shared> for Arc<Index> {
    fn from_ref(shared: &Shared) -> Self {
        shared.uses.clone()
    }
}

impl FromRef<Shared> for Arc<LastSaid> {
    fn from_ref(shared: &Shared) -> Self {
        shared.said.clone()
    }
}

impl FromRef<Shared> for Arc<Pages> {
    fn from_ref(shared: &Shared) -> Self {
        shared.pages.clone()
    }
}

/// Lets a request pass the guard and then the authorizer, which learns who asks; counts and times its
/// answer, turns a panic of its handler into one, and a refusal of a page into a page.
pub(crate) async fn pass(
    State(shared): State<Shared>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let (method, begun) = (request.method().clone(), Instant::now());
    let template = path.as_ref().map(MatchedPath::as_str);
    let is_https_only = shared.guard.is_https_only(&request);
    let mut response = if let Some(refusal) = shared.guard.refusal(template, &request) {
        refusal
    } else {
        let answered = AssertUnwindSafe(entered(&shared, template, request, next));
        answered.catch_unwind().await.unwrap_or_else(|panic| {
            let reason = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let reason = reason.or_else(|| panic.downcast_ref::<String>().cloned());
            let path = template.unwrap_or("(no path)");
            tracing::error!(%method, path, ?reason, "internal error: a request handler panicked");
            let message = "internal error; the server's log says more";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).into_response()
        })
    };
    Guard::harden(template, is_https_only, &mut response);
    shared.traffic.count(template, &method, response.status(), begun.elapsed());
    response
}

/// What is behind the guard.
async fn entered(
    shared: &Shared,
    path: Option<&str>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.headers().contains_key(header::COOKIE) {
        let (headers, uri, extensions) = (request.headers(), request.uri(), request.extensions());
        let is_secure = Secure(shared.guard.is_secure(headers, uri, extensions));
        request.extensions_mut().insert(is_secure);
    }
    // What only some requests need is boxed, so that a stream does not hold it.
    let visit = console::Explained::of(&shared.api, &request).map(Box::new);
    let entered = if shared.authorizer.is_indifferent(path, &request) {
        Ok(Entered::by_anybody(&mut request))
    } else {
        Box::pin(shared.authorizer.enter(path, &mut request)).await
    };
    let response = match entered {
        Ok(entered) => entered.leave(next.run(request).await),
        Err(refusal) => refusal,
    };
    match visit {
        Some(visit) => Box::pin(visit.page(&shared.console, response)).await,
        None => response,
    }
}
