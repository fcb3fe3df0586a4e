//! A GitHub with a few repositories, whose stargazers are computed from their number, not kept.
//!
//! Stargazer *i* is the same in every run but for the time of the star, which counts back from the
//! `now` of the options; so a test can say beforehand who lies after a cut-off.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::failures::Failures;
use super::{Options, Repository};

const HOUR_S: i64 = 3_600;
/// The recent stars spread evenly over this long before `now`.
const RECENT_S: i64 = 23 * HOUR_S;
/// The youngest of the other stars is this old …
const OLD_S: i64 = 48 * HOUR_S;
/// … and each one before it this much older.
const OLD_STEP_S: i64 = 5 * HOUR_S;

/// GitHub's own bounds on the rows of a page.
const PER_PAGE_DEFAULT: u64 = 30;
const PER_PAGE_MAX: u64 = 100;

/// The media types that ask for rows with `starred_at`.
const STAR_MEDIA_TYPES: [&str; 2] =
    ["application/vnd.github.v3.star+json", "application/vnd.github.star+json"];

#[derive(Debug)]
struct GitHub {
    repositories: Vec<Repository>,
    token: String,
    now: Timestamp,
    base_url: String,
    failures: Failures,
}

/// The API, to be served at `base_url`, which its links repeat.
pub(crate) fn router(options: &Options, base_url: &str) -> Router {
    let github = GitHub {
        repositories: options.repositories(),
        token: options.github_token.clone(),
        now: options.now,
        base_url: base_url.to_owned(),
        failures: Failures::new(&options.github_failures),
    };
    Router::new()
        .route("/repos/{owner}/{repo}", get(repository))
        .route("/repos/{owner}/{repo}/stargazers", get(stargazers))
        .fallback(async || problem(StatusCode::NOT_FOUND, "Not Found"))
        .with_state(Arc::new(github))
}

async fn repository(
    State(github): State<Arc<GitHub>>,
    Path((owner, repo)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let repository = match github.repository(&owner, &repo, &headers) {
        Ok(repository) => repository,
        Err(refusal) => return *refusal,
    };
    let Repository { account, repo, stargazers, .. } = repository;
    Json(json!({
        "id": 1_000,
        "name": repo,
        "full_name": format!("{account}/{repo}"),
        "private": false,
        "owner": { "login": account, "type": "Organization" },
        "html_url": format!("https://github.com/{account}/{repo}"),
        "url": format!("{}/repos/{account}/{repo}", github.base_url),
        "stargazers_url": format!("{}/repos/{account}/{repo}/stargazers", github.base_url),
        "stargazers_count": stargazers,
        "forks_count": stargazers / 5,
        "default_branch": "main",
    }))
    .into_response()
}

async fn stargazers(
    State(github): State<Arc<GitHub>>,
    Path((owner, repo)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let repository = match github.repository(&owner, &repo, &headers) {
        Ok(repository) => repository,
        Err(refusal) => return *refusal,
    };
    let page = Page::from_query(&query);
    let with_times = accepts_star_rows(&headers);
    let rows: Vec<Value> = page
        .indexes(repository.stargazers)
        .map(|i| row(github.now, repository, i, with_times))
        .collect();
    let mut response = Json(rows).into_response();
    let Repository { account, repo, stargazers, .. } = repository;
    let url = format!("{}/repos/{account}/{repo}/stargazers", github.base_url);
    // A repository whose name no header can hold goes without links.
    let links = page.links(&url, *stargazers).and_then(|links| links.parse().ok());
    if let Some(links) = links {
        response.headers_mut().insert(header::LINK, links);
    }
    response
}

impl GitHub {
    /// The repository that is asked for.
    ///
    /// # Errors
    /// Why this request is not served, in the order in which GitHub looks.
    fn repository(
        &self,
        owner: &str,
        repo: &str,
        headers: &HeaderMap,
    ) -> Result<&Repository, Box<Response>> {
        if let Some(failure) = self.failures.next() {
            return Err(Box::new(failure));
        }
        let refused = |status, message| Err(Box::new(problem(status, message)));
        if !headers.contains_key(header::USER_AGENT) {
            return refused(StatusCode::FORBIDDEN, "A User-Agent header is required");
        }
        if credential(headers) != Some(&self.token) {
            return refused(StatusCode::UNAUTHORIZED, "Bad credentials");
        }
        let asked = |known: &&Repository| {
            owner.eq_ignore_ascii_case(&known.account) && repo.eq_ignore_ascii_case(&known.repo)
        };
        let found = self.repositories.iter().find(asked);
        found.map_or_else(|| refused(StatusCode::NOT_FOUND, "Not Found"), Ok)
    }
}

/// The token of an `Authorization` header, which GitHub takes under two scheme names.
fn credential(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let known = scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("bearer");
    known.then(|| token.trim())
}

fn accepts_star_rows(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or(range).trim())
        .any(|range| STAR_MEDIA_TYPES.iter().any(|star| range.eq_ignore_ascii_case(star)))
}

fn problem(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message, "status": status.as_str() }))).into_response()
}

/// One page of a listing: `number` counts from 1.
#[derive(Clone, Copy, Debug)]
struct Page {
    number: u64,
    size: u64,
}

impl Page {
    /// Like GitHub, takes whatever makes no sense as the default.
    fn from_query(query: &BTreeMap<String, String>) -> Self {
        let positive = |name| {
            query.get(name).and_then(|text| text.parse::<u64>().ok()).filter(|number| *number > 0)
        };
        Self {
            number: positive("page").unwrap_or(1),
            size: positive("per_page").unwrap_or(PER_PAGE_DEFAULT).min(PER_PAGE_MAX),
        }
    }

    fn indexes(self, row_count: u32) -> std::ops::Range<u32> {
        let clamp = |index: u64| u32::try_from(index).unwrap_or(u32::MAX).min(row_count);
        let start = (self.number - 1).saturating_mul(self.size);
        clamp(start)..clamp(start.saturating_add(self.size))
    }

    /// The `Link` header, or nothing if there is no other page to point at.
    fn links(self, url: &str, row_count: u32) -> Option<String> {
        let last = u64::from(row_count).div_ceil(self.size).max(1);
        let mut links = Vec::new();
        let mut link = |number: u64, relation: &str| {
            links.push(format!("<{url}?per_page={}&page={number}>; rel=\"{relation}\"", self.size));
        };
        if self.number > 1 {
            link((self.number - 1).min(last), "prev");
        }
        if self.number < last {
            link(self.number + 1, "next");
            link(last, "last");
        }
        if self.number > 1 {
            link(1, "first");
        }
        (!links.is_empty()).then(|| links.join(", "))
    }
}

fn row(now: Timestamp, repository: &Repository, index: u32, with_times: bool) -> Value {
    let user = user(index);
    if !with_times {
        return user;
    }
    json!({ "starred_at": starred_at(now, repository, index), "user": user })
}

/// In order of stars: the oldest first, as GitHub lists them; whole seconds.
fn starred_at(now: Timestamp, repository: &Repository, index: u32) -> String {
    let recent = repository.recent.min(repository.stargazers);
    let old = repository.stargazers - recent;
    let age_s = match index.checked_sub(old) {
        Some(position) => RECENT_S * i64::from(recent - position) / i64::from(recent),
        None => OLD_S + OLD_STEP_S * i64::from(old - 1 - index),
    };
    // Only with millions of stars does the first one fall out of the calendar.
    Timestamp::from_second(now.as_second() - age_s).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

fn user(index: u32) -> Value {
    const MANNERS: [&str; 16] = [
        "amber", "brisk", "calm", "dusty", "eager", "fabled", "gentle", "humble", "idle", "jolly",
        "keen", "lucid", "mellow", "nimble", "odd", "plain",
    ];
    const BIRDS: [&str; 16] = [
        "auk", "bittern", "crane", "dunlin", "egret", "finch", "godwit", "heron", "ibis", "jay",
        "kite", "lark", "merlin", "nightjar", "owl", "plover",
    ];
    // A Weyl sequence: neighbours look unrelated, and the index alone decides.
    let mixed = index.wrapping_mul(0x9E37_79B9) >> 24;
    let manner = MANNERS[(mixed >> 4) as usize % MANNERS.len()];
    let bird = BIRDS[mixed as usize % BIRDS.len()];
    let login = format!("{manner}-{bird}-{index}");
    json!({
        "login": login,
        "id": 100_000 + index,
        "avatar_url": format!("https://avatars.example.com/u/{}", 100_000 + index),
        "html_url": format!("https://github.com/{login}"),
        "type": "User",
        "site_admin": false,
    })
}
