//! Showing instances: one, or all that fit.

use axum::extract::State;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use engine::search::{Filter, Search, Sort, SortField, TextField, TimeField};
use kernel::{Json, Timestamp};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::refusal::Refusal;
use super::start::FAILURE_IS_500;
use super::status::{RuntimeStatus, Standing, Wishes};
use super::{Subject, find, graph, show};
use crate::Api;
use crate::rest::extract::{Answer, Path};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(instance)).routes(routes!(instances))
}

/// Seconds after which the status of what runs may be asked for again.
const RETRY: HeaderValue = HeaderValue::from_static("5");
/// Where a list goes on.
const TOKEN: HeaderName = HeaderName::from_static("x-ms-continuation-token");
/// Instances in a page, if the caller does not say.
const PAGE: u64 = 100;
/// Instances in a page at most.
const PAGE_MAX: u64 = 1000;

/// Shows where an instance stands.
#[utoipa::path(
    get, path = "/runtime/webhooks/durabletask/instances/{id}", tag = "durable",
    params(
        ("id" = String, Path, description = "The id of the instance"),
        ("showInput" = Option<bool>, Query, description = "Default true"),
        ("showHistory" = Option<bool>, Query, description = "Default false"),
        ("showHistoryOutput" = Option<bool>, Query, description = "Default false"),
        ("returnInternalServerErrorOnFailure" = Option<bool>, Query,
            description = "Answer 500 if it has failed; default false"),
    ),
    responses(
        (status = 202, description = "It has not ended", body = serde_json::Value),
        (status = 200, description = "It has ended", body = serde_json::Value),
        (status = 404, description = "There is none"),
        (status = 500, description = "It has failed, and the caller asked to be told so"),
    )
)]
async fn instance(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let wishes = Wishes {
        input: caller.flag("showInput") != Some(false),
        history: caller.flag("showHistory") == Some(true),
        history_output: caller.flag("showHistoryOutput") == Some(true),
    };
    let subject = find(&api.engine, &caller, &id).await?;
    let standing = show(&api.engine, &subject, wishes).await?;
    let status = match standing.runtime_status {
        RuntimeStatus::Failed if caller.flag(FAILURE_IS_500) == Some(true) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        status if status.is_closed() => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    };
    let mut response = (status, Answer(Json::of(&standing))).into_response();
    if status == StatusCode::ACCEPTED {
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, RETRY);
        if let Ok(location) = HeaderValue::from_str(&caller.status_uri(&id)) {
            headers.insert(LOCATION, location);
        }
    }
    Ok(response)
}

/// Lists instances, the newest first, a page at a time.
#[utoipa::path(
    get, path = "/runtime/webhooks/durabletask/instances", tag = "durable",
    params(
        ("runtimeStatus" = Option<Vec<String>>, Query, description = "Only those that stand so"),
        ("createdTimeFrom" = Option<String>, Query, description = "Only those created then or later"),
        ("createdTimeTo" = Option<String>, Query, description = "Only those created before"),
        ("instanceIdPrefix" = Option<String>, Query, description = "Only ids that begin so"),
        ("showInput" = Option<bool>, Query, description = "Default true"),
        ("top" = Option<u64>, Query, description = "Instances in a page; default 100, at most 1000"),
        ("x-ms-continuation-token" = Option<String>, Header, description = "Where the last page ended"),
    ),
    responses((status = 200, description = "The page; the header tells where it goes on", body = Vec<serde_json::Value>))
)]
async fn instances(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let wishes = Wishes {
        input: caller.flag("showInput") != Some(false),
        history: false,
        history_output: false,
    };
    let top = caller.text("top").and_then(|text| text.parse::<u64>().ok());
    let size = top.filter(|top| *top > 0).unwrap_or(PAGE).min(PAGE_MAX);
    let place = match headers.get(TOKEN).and_then(|token| token.to_str().ok()) {
        None | Some("") => Place { until: api.engine.now(), seen: 0 },
        Some(token) => Place::parse(token).ok_or_else(|| {
            Refusal::bad_request("The continuation token is not one of this server.")
        })?,
    };
    let wanted = Filters::of(&caller);
    let mut filters = wanted.of_graphs();
    filters.push(Filter::Before(TimeField::Created, place.until.plus_millis(1)));
    let search = Search {
        filters,
        sort: vec![Sort { by: SortField::Time(TimeField::Created), descending: true }],
        start: place.seen,
        size,
        ..Search::default()
    };
    let page = api.engine.store().search(&search).await?;
    let next = Place { seen: place.seen + page.rows.len() as u64, ..place };
    let mut shown: Vec<Standing> = Vec::with_capacity(page.rows.len());
    for head in page.rows {
        match show(&api.engine, &Subject::Graph(head.id), wishes).await {
            Ok(standing) if wanted.fits(&standing) => shown.push(standing),
            Ok(_) => {}
            // Purged meanwhile.
            Err(refusal) if refusal.status() == StatusCode::NOT_FOUND => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let token = if next.seen < page.total { next.to_string() } else { String::new() };
    let token = HeaderValue::from_str(&token).expect("digits are a header");
    Ok(([(TOKEN, token)], Answer(Json::of(&shown))).into_response())
}

/// Where a list goes on: what was created after its first page was asked for does not move it.
#[derive(Clone, Copy, Debug)]
struct Place {
    until: Timestamp,
    seen: u64,
}

impl Place {
    fn parse(token: &str) -> Option<Self> {
        let (until, seen) = token.split_once('-')?;
        Some(Self { until: Timestamp::from_millis(until.parse().ok()?), seen: seen.parse().ok()? })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.until.millis(), self.seen)
    }
}

/// What a caller asks for in a list.
#[derive(Debug)]
pub(super) struct Filters {
    statuses: Vec<RuntimeStatus>,
    prefix: String,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Filters {
    pub(super) fn of(caller: &Caller) -> Self {
        Self {
            statuses: caller.list("runtimeStatus").filter_map(RuntimeStatus::parse).collect(),
            prefix: caller.text("instanceIdPrefix").unwrap_or_default().to_owned(),
            from: caller.instant("createdTimeFrom"),
            to: caller.instant("createdTimeTo"),
        }
    }

    /// The same over executions; finer than the store can tell is told by [`Self::fits`].
    pub(super) fn of_graphs(&self) -> Vec<Filter> {
        let mut filters = Vec::new();
        if !self.statuses.is_empty() {
            filters.push(graph::statuses(&self.statuses));
        }
        if !self.prefix.is_empty() {
            filters.push(Filter::In(TextField::Id, vec![format!("{}*", self.prefix)]));
        }
        if let Some(from) = self.from {
            filters.push(Filter::After(TimeField::Created, from.plus_millis(-1)));
        }
        if let Some(to) = self.to {
            filters.push(Filter::Before(TimeField::Created, to));
        }
        filters
    }

    fn fits(&self, standing: &Standing) -> bool {
        let status = self.statuses.is_empty() || self.statuses.contains(&standing.runtime_status);
        // A `*` of a prefix is meant literally.
        status && standing.instance_id.starts_with(&self.prefix)
    }
}
