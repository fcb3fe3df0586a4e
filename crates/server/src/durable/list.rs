//! Showing instances: one, or all that fit.

use axum::extract::State;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use engine::Engine;
use engine::durable::{InstanceQuery, Purge};
use engine::search::{Counting, Filter, Mark, Search, TimeField};
use kernel::access::{Permission, Resource};
use kernel::{ExecutionId, Json, Timestamp};
use percent_encoding::percent_decode;
use utoipa_axum::routes;

use super::caller::{Caller, FAILURE_IS_500, encoded};
use super::refusal::Refusal;
use super::status::{RuntimeStatus, Standing, Wishes};
use super::{Subject, code, find, graph, show, why};
use crate::Api;
use crate::access::Routes;
use crate::rest::extract::{Answer, Path};

pub(super) fn routes() -> Routes {
    let read = || Permission::Read.within(&[Resource::Hub]);
    Routes::new().on(read(), routes!(instance)).on(read(), routes!(instances))
}

/// Seconds after which the status of what runs may be asked for again.
const RETRY: HeaderValue = HeaderValue::from_static("5");
/// Where a list goes on.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("x-ms-continuation-token");
/// Instances in a page, if the caller does not say.
const PAGE: u64 = 100;
/// Instances in a page at most.
const PAGE_MAX: u64 = 1000;

/// Shows the status of an instance.
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
        (status = 202, description = "Not ended yet", body = serde_json::Value),
        (status = 200, description = "Ended: the final status", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 500, description = "The instance failed, and the caller asked for that to be an error"),
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
    responses((status = 200, description = "One page; the response header has the continuation token of the next one", body = Vec<serde_json::Value>))
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
    let hub = caller.own_hub()?;
    let place = match token(&headers)? {
        None => Place::Code(None),
        Some(token) => Place::parse(hub, &token).ok_or_else(not_a_token)?,
    };
    let wanted = Filters::of(&caller);
    let (subjects, next) = page(&api.engine, &caller, &wanted, place, page_size(&caller)).await?;
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
    Ok(paged(&token, Json::of(&shown)))
}

/// The token that a caller gives back; `None` for the first page.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(token) = headers.get(TOKEN).filter(|token| !token.is_empty()) else { return Ok(None) };
    let token = percent_decode(token.as_bytes()).decode_utf8().map_err(|_| not_a_token())?;
    Ok(Some(token.into_owned()))
}

pub(super) fn not_a_token() -> Refusal {
    Refusal::bad_request("The continuation token is not one of this server.")
}

/// A page, with the token of the next one; an empty one says that there is none.
pub(super) fn paged(token: &str, page: Json) -> Response {
    let token = HeaderValue::from_str(&encoded(token).to_string());
    let token = token.expect("what is encoded is a header");
    ([(TOKEN, token)], Answer(page)).into_response()
}

/// How many a caller wants in a page.
pub(super) fn page_size(caller: &Caller) -> u64 {
    let top = caller.text("top").and_then(|text| text.parse::<u64>().ok());
    top.filter(|top| *top > 0).unwrap_or(PAGE).min(PAGE_MAX)
}

/// One page of what fits, those of code first; and where it goes on, if it does.
async fn page(
    engine: &Engine,
    caller: &Caller,
    wanted: &Filters,
    place: Place,
    size: u64,
) -> Result<(Vec<Subject>, Option<Place>), Refusal> {
    let mut subjects = Vec::new();
    let mut after = None;
    match place {
        Place::Graphs(mark) => after = mark,
        Place::Code(mark) => {
            if let Some(mut query) = wanted.of_code() {
                (query.after, query.size) = (mark, size);
                let page = engine.instances(caller.own_hub()?, &query).await?;
                let last = page.rows.last().map(|last| query.mark_of(last));
                let more = (page.rows.len() as u64) < page.total;
                subjects.extend(page.rows.into_iter().map(|head| Subject::Code(head.id)));
                if more {
                    return Ok((subjects, Some(Place::Code(last))));
                }
            }
        }
    }
    let room = size.saturating_sub(subjects.len() as u64);
    let mut filters = wanted.of_graphs();
    filters.extend(after.clone().map(Filter::Past));
    let mut search = Search {
        filters,
        sort: Mark::order(Some(TimeField::Created), true),
        // Also with a full page: whether there are more to come.
        size: room.max(1),
        counting: Counting::Next,
        ..Search::default()
    };
    caller.scope().narrow(engine, &mut search).await?;
    let page = engine.store().search(&search).await?;
    let rows = page.rows.into_iter().take(usize::try_from(room).unwrap_or(usize::MAX));
    let before = subjects.len();
    for head in rows {
        let at = Some((TimeField::Created, head.created_at));
        after = Some(Mark { at, id: head.id.clone(), descending: true });
        subjects.push(Subject::Graph(head.id));
    }
    let more = ((subjects.len() - before) as u64) < page.total;
    Ok((subjects, more.then_some(Place::Graphs(after))))
}

/// Where a list goes on: after this row, or from the first of its kind. What is created or removed
/// meanwhile does not move it.
#[derive(Clone, Debug)]
enum Place {
    Code(Option<Mark>),
    Graphs(Option<Mark>),
}

/// The words of [`Place`] in a token: `code:<milliseconds>:<id>`.
const CODE: &str = "code";
const GRAPHS: &str = "graphs";

impl Place {
    fn parse(hub: &str, token: &str) -> Option<Self> {
        let (kind, rest) = token.split_once(':')?;
        let mark = |of: fn(&str, &str) -> ExecutionId| match rest {
            "" => Some(None),
            rest => {
                let (at, id) = rest.split_once(':')?;
                let at = (TimeField::Created, Timestamp::from_millis(at.parse().ok()?));
                Some(Some(Mark { at: Some(at), id: of(hub, id), descending: true }))
            }
        };
        match kind {
            CODE => mark(ExecutionId::instance).map(Self::Code),
            GRAPHS => mark(|_, id| ExecutionId::new(id)).map(Self::Graphs),
            _ => None,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, mark) = match self {
            Self::Code(mark) => (CODE, mark),
            Self::Graphs(mark) => (GRAPHS, mark),
        };
        write!(f, "{kind}:")?;
        let Some(mark) = mark else { return Ok(()) };
        let at = mark.at.map_or(0, |(_, at)| at.millis());
        write!(f, "{at}:{}", mark.id.local_name())
    }
}

/// The parameters that bound a list.
const STATUS: &str = "runtimeStatus";
const TO: &str = "createdTimeTo";

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
            statuses: caller.list(STATUS).filter_map(RuntimeStatus::parse).collect(),
            prefix: caller.text("instanceIdPrefix").unwrap_or_default().to_owned(),
            from: caller.instant("createdTimeFrom"),
            to: caller.instant(TO),
        }
    }

    /// What a purge removes. What cannot be read is no reason to remove more than was meant.
    ///
    /// # Errors
    /// 400 for a bound or a status that cannot be read, and without a lower bound.
    pub(super) fn of_purge(caller: &Caller) -> Result<Self, Refusal> {
        let wanted = Self::of(caller);
        if wanted.from.is_none() {
            let message = "Please provide value for 'createdTimeFrom' parameter.";
            return Err(Refusal::bad_request(message));
        }
        let unreadable = |name: &str, value: &str| {
            Err(Refusal::bad_request(format!("'{value}' cannot be read as '{name}'.")))
        };
        match caller.text(TO).filter(|to| !to.trim().is_empty()) {
            Some(to) if wanted.to.is_none() => return unreadable(TO, to),
            _ => {}
        }
        let unknown = |word: &&str| RuntimeStatus::parse(word).is_none();
        match caller.list(STATUS).find(unknown) {
            Some(word) => unreadable(STATUS, word),
            None => Ok(wanted),
        }
    }

    /// The same over executions; finer than the store can tell is told by [`Self::fits`].
    pub(super) fn of_graphs(&self) -> Vec<Filter> {
        let mut filters = Vec::new();
        if !self.statuses.is_empty() {
            filters.push(graph::statuses(&self.statuses));
        }
        if !self.prefix.is_empty() {
            filters.push(Filter::IdBegins(self.prefix.clone()));
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
            id_prefix: Some(self.prefix.clone()),
            ..Purge::default()
        })
    }

    /// An empty list means all.
    fn statuses_of_code(&self) -> Option<Vec<kernel::durable::Status>> {
        let statuses = code::statuses(&self.statuses);
        (self.statuses.is_empty() || !statuses.is_empty()).then_some(statuses)
    }

    fn fits(&self, standing: &Standing) -> bool {
        self.statuses.is_empty() || self.statuses.contains(&standing.runtime_status)
    }
}
