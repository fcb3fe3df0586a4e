//! Showing instances: one, or all that fit.

use axum::extract::State;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use engine::Engine;
use engine::durable::{InstanceQuery, Purge};
use engine::search::{Filter, Search, Sort, SortField, TextField, TimeField};
use kernel::{Json, Timestamp};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::refusal::Refusal;
use super::start::FAILURE_IS_500;
use super::status::{RuntimeStatus, Standing, Wishes};
use super::{Subject, code, find, graph, show, why};
use crate::Api;
use crate::rest::extract::{Answer, Path};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(instance)).routes(routes!(instances))
}

/// Seconds after which the status of what runs may be asked for again.
const RETRY: HeaderValue = HeaderValue::from_static("5");
/// Where a list goes on.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("x-ms-continuation-token");
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
        ("showWaiting" = Option<bool>, Query,
            description = "Tell what it waits for, and why; default false"),
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
    let mut standing = show(&api.engine, &subject, wishes).await?;
    if caller.flag("showWaiting") == Some(true) {
        standing.waiting = Some(why::waiting(&api.engine, &subject).await?);
    }
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
    let place = match headers.get(TOKEN).and_then(|token| token.to_str().ok()) {
        None | Some("") => Place { until: api.engine.now(), code: 0, graphs: 0 },
        Some(token) => Place::parse(token).ok_or_else(|| {
            Refusal::bad_request("The continuation token is not one of this server.")
        })?,
    };
    let wanted = Filters::of(&caller);
    let hub = caller.own_hub()?;
    let (subjects, next) = page(&api.engine, hub, &wanted, place, page_size(&caller)).await?;
    let mut shown: Vec<Standing> = Vec::with_capacity(subjects.len());
    for subject in subjects {
        match show(&api.engine, &subject, wishes).await {
            Ok(standing) if wanted.fits(&standing) => shown.push(standing),
            Ok(_) => {}
            // Purged meanwhile.
            Err(refusal) if refusal.status() == StatusCode::NOT_FOUND => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let token = next.map_or_else(String::new, |next| next.to_string());
    let token = HeaderValue::from_str(&token).expect("digits are a header");
    Ok(([(TOKEN, token)], Answer(Json::of(&shown))).into_response())
}

/// How many a caller wants in a page.
pub(super) fn page_size(caller: &Caller) -> u64 {
    let top = caller.text("top").and_then(|text| text.parse::<u64>().ok());
    top.filter(|top| *top > 0).unwrap_or(PAGE).min(PAGE_MAX)
}

/// One page of what fits, those of code first; and where it goes on, if it does.
async fn page(
    engine: &Engine,
    hub: &str,
    wanted: &Filters,
    place: Place,
    size: u64,
) -> Result<(Vec<Subject>, Option<Place>), Refusal> {
    let mut next = place;
    let mut subjects = Vec::new();
    let mut more = false;
    if let Some(mut query) = wanted.of_code() {
        let until = place.until.plus_millis(1);
        query.created_to = Some(query.created_to.map_or(until, |to| to.min(until)));
        (query.start, query.size) = (place.code, size);
        let page = engine.instances(hub, &query).await?;
        next.code += page.rows.len() as u64;
        more = next.code < page.total;
        subjects.extend(page.rows.into_iter().map(|head| Subject::Code(head.id)));
    }
    let room = size.saturating_sub(subjects.len() as u64);
    let mut filters = wanted.of_graphs();
    filters.push(Filter::Before(TimeField::Created, place.until.plus_millis(1)));
    let search = Search {
        filters,
        sort: vec![Sort { by: SortField::Time(TimeField::Created), descending: true }],
        start: place.graphs,
        // Also with a full page: whether there are more to come.
        size: room.max(1),
        ..Search::default()
    };
    if !more {
        let page = engine.store().search(&search).await?;
        let rows = page.rows.into_iter().take(usize::try_from(room).unwrap_or(usize::MAX));
        let before = subjects.len();
        subjects.extend(rows.map(|head| Subject::Graph(head.id)));
        next.graphs += (subjects.len() - before) as u64;
        more = next.graphs < page.total;
    }
    Ok((subjects, more.then_some(next)))
}

/// Where a list goes on: what was created after its first page was asked for does not move it.
#[derive(Clone, Copy, Debug)]
struct Place {
    until: Timestamp,
    /// Instances of code shown so far.
    code: u64,
    /// Executions shown so far.
    graphs: u64,
}

impl Place {
    fn parse(token: &str) -> Option<Self> {
        let mut parts = token.split('-');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let until = Timestamp::from_millis(i64::try_from(number()?).ok()?);
        let place = Self { until, code: number()?, graphs: number()? };
        parts.next().is_none().then_some(place)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.until.millis(), self.code, self.graphs)
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

    /// The same over instances of code; `None` if none of them can stand as wanted.
    fn of_code(&self) -> Option<InstanceQuery> {
        Some(InstanceQuery {
            statuses: self.statuses_of_code()?,
            created_from: self.from,
            created_to: self.to,
            id_prefix: Some(self.prefix.clone()),
            newest_first: true,
            ..InstanceQuery::default()
        })
    }

    /// Which instances of code a purge removes; `None` if none.
    pub(super) fn purge_of_code(&self) -> Option<Purge> {
        Some(Purge {
            statuses: self.statuses_of_code()?,
            created_from: self.from,
            created_to: self.to,
            ..Purge::default()
        })
    }

    /// An empty list means all.
    fn statuses_of_code(&self) -> Option<Vec<kernel::durable::Status>> {
        let statuses = code::statuses(&self.statuses);
        (self.statuses.is_empty() || !statuses.is_empty()).then_some(statuses)
    }

    fn fits(&self, standing: &Standing) -> bool {
        let status = self.statuses.is_empty() || self.statuses.contains(&standing.runtime_status);
        // A `*` of a prefix is meant literally.
        status && standing.instance_id.starts_with(&self.prefix)
    }
}
