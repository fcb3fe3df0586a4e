//! What none of our paths answers: other spellings of them, the paths of triggers, and nothing.

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

use crate::Shared;
use crate::access;
use crate::durable;
use crate::ops::{no_such_method, no_such_path};
use crate::triggers;

/// Where an address goes that is written in another way than ours.
#[derive(Clone)]
pub(crate) struct Again(Router);

impl Again {
    pub(crate) fn new(shared: &Shared) -> Self {
        let (router, _, _) = durable::routes().split();
        let router = router.fallback(no_such_path).method_not_allowed_fallback(no_such_path);
        let admit = axum::middleware::from_fn_with_state(shared.authorizer.clone(), access::admit);
        Self(router.layer(admit).with_state(shared.clone()))
    }
}

/// Answers what no path of ours does.
pub(crate) async fn other_path(shared: Shared, again: Again, mut request: Request) -> Response {
    if let Some(uri) = durable::canonical(request.uri()) {
        *request.uri_mut() = uri;
        return match again.0.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
    }
    if let Some(console) = crate::console::from_the_root(&shared.api, &request) {
        return console;
    }
    match triggers::answer(&shared, request).await {
        Ok(response) => response,
        Err(request) => {
            no_such_path(request.method().clone(), request.uri().clone()).await.into_response()
        }
    }
}

/// Answers a method that a path of ours does not know; one protocol calls that an unknown path.
pub(crate) async fn other_method(method: Method, uri: Uri) -> Response {
    if durable::is_ours(uri.path()) {
        return no_such_path(method, uri).await.into_response();
    }
    no_such_method(method, uri).await.into_response()
}
