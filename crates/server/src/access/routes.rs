//! How paths are registered: each with what it needs, and no other way.

use std::collections::{BTreeMap, HashMap};

use axum::Extension;
use axum::Router;
use axum::http::Method;
use kernel::access::Need;
use utoipa::openapi::OpenApi;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::audit;
use crate::Shared;

/// Paths of the API with what each operation needs.
///
/// A new endpoint is registered with `Routes::new().on(Permission::Read, routes!(handler))`. Handlers
/// of one path that need different permissions are registered one after the other.
pub(crate) struct Routes {
    router: OpenApiRouter<Shared>,
    needs: BTreeMap<String, Needs>,
}

/// What each method of a path needs.
type Needs = Vec<(Method, Required)>;

/// What an operation needs, and whether the audit ledger tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Required {
    pub(crate) need: Need,
    pub(crate) is_written: bool,
}

impl Required {
    /// What the ledger does not tell of.
    pub(crate) fn unwritten(need: Need) -> Self {
        Self { need, is_written: false }
    }
}

/// In descriptions: what an operation needs.
pub(crate) const PERMISSION: &str = "x-permission";

impl Routes {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { router: OpenApiRouter::new(), needs: BTreeMap::new() }
    }

    /// Registers handlers of one path, all of which need the same.
    #[must_use]
    pub(crate) fn on(self, need: impl Into<Need>, routes: UtoipaMethodRouter<Shared>) -> Self {
        self.registered(need.into(), routes, audit::is_written)
    }

    /// The same for what somebody does about runs and schedules, which the audit ledger tells of whatever it
    /// needs, and whatever its method.
    #[must_use]
    pub(crate) fn act(self, need: impl Into<Need>, routes: UtoipaMethodRouter<Shared>) -> Self {
        self.registered(need.into(), routes, |_, _| true)
    }

    fn registered(
        mut self,
        need: Need,
        routes: UtoipaMethodRouter<Shared>,
        is_written: fn(Need, &Method) -> bool,
    ) -> Self {
        let (schemas, mut paths, router) = routes;
        for (path, item) in &mut paths.paths {
            let mut name = None;
            for (method, operation) in operations(item) {
                told_apart(operation, &method, &mut name);
                let extensions = operation.extensions.get_or_insert_with(Extensions::default);
                extensions.insert(PERMISSION.to_owned(), need.to_string().into());
                let required = Required { need, is_written: is_written(need, &method) };
                self.needs.entry(path.clone()).or_default().push((method, required));
            }
        }
        self.router = self.router.routes((schemas, paths, router));
        self
    }

    /// Adds the paths of others.
    #[must_use]
    pub(crate) fn merge(mut self, other: Self) -> Self {
        for (path, needs) in other.needs {
            self.needs.entry(path).or_default().extend(needs);
        }
        self.router = self.router.merge(other.router);
        self
    }

    /// Lets all handlers share something.
    #[must_use]
    pub(crate) fn layer<T: Clone + Send + Sync + 'static>(mut self, shared: Extension<T>) -> Self {
        self.router = self.router.layer(shared);
        self
    }

    /// The router, the description and the requirements.
    pub(crate) fn split(self) -> (Router<Shared>, OpenApi, Requirements) {
        let (router, description) = self.router.split_for_parts();
        (router, description, Requirements(self.needs.into_iter().collect()))
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
    let all = [
        (Method::GET, get),
        (Method::PUT, put),
        (Method::POST, post),
        (Method::DELETE, delete),
        (Method::OPTIONS, options),
        (Method::HEAD, head),
        (Method::PATCH, patch),
        (Method::TRACE, trace),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Where one handler serves several methods, its operations have names of their own, and GET has no body.
fn told_apart(operation: &mut Operation, method: &Method, first: &mut Option<String>) {
    if *method == Method::GET {
        operation.request_body = None;
    }
    let Some(name) = &mut operation.operation_id else { return };
    if first.as_deref() == Some(name.as_str()) {
        *name = format!("{name}_by_{}", method.as_str().to_lowercase());
    } else if first.is_none() {
        *first = Some(name.clone());
    }
}

/// What each path and method needs.
#[derive(Debug)]
pub(crate) struct Requirements(HashMap<String, Needs>);

impl Requirements {
    /// What a request needs; `None` if nothing is known about its path. A method that the path does
    /// not have gets its 405 whoever asks.
    pub(super) fn of(&self, path: &str, method: &Method) -> Option<Required> {
        let needs = self.0.get(path)?;
        let find = |wanted: &Method| needs.iter().find(|(method, _)| method == wanted);
        let found = find(method).or_else(|| find(&Method::GET).filter(|_| method == Method::HEAD));
        Some(found.map_or(Required::unwritten(Need::Public), |(_, required)| *required))
    }
}
