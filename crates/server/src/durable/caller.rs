//! Who asks, under which address and about which task hub: what the links in answers are made of.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use kernel::durable::{ORCHESTRATION, TraceContext};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::Serialize;

use super::BASE;
use super::refusal::Refusal;
use crate::Shared;
use crate::access::{Actor, CODE, Scope, Signer};
use crate::guard::Guard;
use crate::rest::extract::RawQuery;

/// The task hub of whoever names none.
pub(crate) const HUB: &str = "default";
/// Seconds after which whoever has started something may ask for the first time.
const START_RETRY_AFTER: &str = "10";
/// A parameter that each link repeats as the caller gave it. `code`, a key of the caller's, is never
/// repeated: links are handed on. They have a code of their own.
const CONNECTION: &str = "connection";

/// The span of a caller; what stands in several headers `tracestate` is one list, as W3C has it.
fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    let state = headers.get_all("tracestate").iter().filter_map(|value| value.to_str().ok());
    let state = state.collect::<Vec<_>>().join(",");
    TraceContext::of_caller(headers.get("traceparent")?.to_str().ok()?, Some(&state))
}

/// The parameter that makes the status of what has failed a 500.
pub(super) const FAILURE_IS_500: &str = "returnInternalServerErrorOnFailure";

/// Parameters that shape what a caller sees who follows an instance: the address to follow it under
/// repeats them.
const FOLLOWED: [&str; 4] = [FAILURE_IS_500, "showInput", "showHistory", "showHistoryOutput"];

/// One caller.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Scheme, host and prefix under which the caller knows this server.
    address: String,
    /// The task hub that it speaks of.
    hub: String,
    /// All its query parameters that have a value.
    parameters: Vec<(String, String)>,
    /// What it may reach.
    scope: Scope,
    /// As whom the workflows act that it starts; `None` is the server.
    acts_as: Option<Arc<str>>,
    /// What signs its links, with access control.
    signer: Option<Signer>,
    /// Its span, from the headers `traceparent` and `tracestate`.
    trace: Option<TraceContext>,
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Infallible> {
        // Parameters that cannot be read are none: the protocol ignores what it does not understand.
        let query = RawQuery::from_request_parts(parts, shared).await;
        let parameters = query.map(|RawQuery(pairs)| pairs).unwrap_or_default();
        Ok(Self::new(&shared.guard, parts, parameters))
    }
}

impl Caller {
    /// A caller by the head of its request, which has passed the guard.
    pub(crate) fn new(guard: &Guard, parts: &Parts, parameters: Vec<(String, String)>) -> Self {
        let named = value(&parameters, "taskHub").filter(|hub| !hub.is_empty());
        let hub = named.unwrap_or(HUB).to_owned();
        let address = guard.address(&parts.headers, &parts.uri, &parts.extensions);
        let scope = parts.extensions.get::<Scope>().cloned().unwrap_or_default();
        let acts_as = Actor::of(&parts.extensions).acts_as();
        let signer = parts.extensions.get().cloned();
        let trace = trace_of(&parts.headers);
        Self { address, hub, parameters, scope, acts_as, signer, trace }
    }

    /// The span of which what it starts is part.
    pub(super) fn trace(&self) -> Option<TraceContext> {
        self.trace.clone()
    }

    /// A parameter by its name, whose case does not matter.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        value(&self.parameters, name)
    }

    /// Every value of a parameter; one may hold several, separated by commas.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        let named =
            self.parameters.iter().filter(move |(given, _)| given.eq_ignore_ascii_case(name));
        named.flat_map(|(_, values)| values.split(',')).map(str::trim).filter(|it| !it.is_empty())
    }

    /// A truth value; what is none counts as absent.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        let text = self.text(name)?.trim().to_ascii_lowercase();
        text.parse().ok()
    }

    /// An instant; what is none counts as absent.
    pub(super) fn instant(&self, name: &str) -> Option<kernel::Timestamp> {
        super::instant(self.text(name)?)
    }

    /// The same caller, about the hub that the name of an orchestrator may bring with it.
    pub(crate) fn meaning(&self, name: &str) -> Self {
        let rest = name.strip_prefix(ORCHESTRATION).and_then(|rest| rest.split_once('/'));
        let hub = rest.map_or(self.hub.as_str(), |(hub, _)| hub).to_owned();
        Self { hub, ..self.clone() }
    }

    /// The name of the task hub, whether or not it can be one.
    pub(crate) fn hub_name(&self) -> &str {
        &self.hub
    }

    /// As whom the workflows act that it starts.
    pub(crate) fn acts_as(&self) -> Option<Arc<str>> {
        self.acts_as.clone()
    }

    /// The same caller, for whom somebody else has written down what is to be started.
    #[must_use]
    pub(crate) fn acting_as(self, acts_as: Option<Arc<str>>) -> Self {
        Self { acts_as, ..self }
    }

    /// What it may reach of executions, which belong to no hub.
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The task hub.
    ///
    /// # Errors
    /// 400 for what cannot be the name of one, 403 if it is out of reach.
    pub(super) fn own_hub(&self) -> Result<&str, Refusal> {
        let fits = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        if self.hub.chars().all(fits) {
            self.scope.must_cover_hub(&self.hub)?;
            return Ok(&self.hub);
        }
        Err(Refusal::bad_request("A task hub's name has letters, digits, '-', '_' and '.' only."))
    }

    /// The address under which to follow an instance, with what the caller wants to see of it.
    pub(super) fn status_uri(&self, id: &str) -> String {
        let mut address = format!("{}?{}", self.instance(id), self.suffix(id));
        self.repeat(&mut address, &FOLLOWED);
        address
    }

    /// All links to one instance.
    pub(super) fn links(&self, id: &str) -> Links {
        let (instance, suffix) = (self.instance(id), self.suffix(id));
        let act = |verb: &str| format!("{instance}/{verb}?reason={{text}}&{suffix}");
        Links {
            id: id.to_owned(),
            status_query_get_uri: self.status_uri(id),
            send_event_post_uri: format!("{instance}/raiseEvent/{{eventName}}?{suffix}"),
            terminate_post_uri: act("terminate"),
            purge_history_delete_uri: format!("{instance}?{suffix}"),
            restart_post_uri: format!("{instance}/restart?{suffix}"),
            suspend_post_uri: act("suspend"),
            resume_post_uri: act("resume"),
            rewind_post_uri: act("rewind"),
        }
    }

    /// 202: it is begun, and here is how to follow it.
    pub(crate) fn check_status(&self, id: &str) -> Response {
        let links = self.links(id);
        let location = HeaderValue::from_str(&links.status_query_get_uri);
        let mut response = (StatusCode::ACCEPTED, axum::Json(links)).into_response();
        let headers = response.headers_mut();
        if let Ok(location) = location {
            headers.insert(LOCATION, location);
        }
        headers.insert(RETRY_AFTER, HeaderValue::from_static(START_RETRY_AFTER));
        response
    }

    fn instance(&self, id: &str) -> String {
        format!("{}{BASE}/instances/{}", self.address, encoded(id))
    }

    fn suffix(&self, id: &str) -> String {
        let mut suffix = format!("taskHub={}", encoded(&self.hub));
        if let Some(signer) = &self.signer {
            let _ = write!(suffix, "&{CODE}={}", signer.code(&self.hub, id));
        }
        self.repeat(&mut suffix, &[CONNECTION]);
        suffix
    }

    /// Appends these parameters, as far as the caller gave them.
    fn repeat(&self, address: &mut String, names: &[&str]) {
        for name in names {
            if let Some(value) = self.text(name) {
                let _ = write!(address, "&{name}={}", encoded(value));
            }
        }
    }
}

/// What whoever starts an instance is given: the protocol's `HttpManagementPayload`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Links {
    id: String,
    status_query_get_uri: String,
    send_event_post_uri: String,
    terminate_post_uri: String,
    purge_history_delete_uri: String,
    restart_post_uri: String,
    suspend_post_uri: String,
    resume_post_uri: String,
    rewind_post_uri: String,
}

fn value<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = parameters.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// What an address cannot have in it as it is.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');

/// A text as a part of an address.
pub(super) fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ENCODED)
}
