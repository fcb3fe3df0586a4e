//! What Grafana `OnCall`'s public API lists, page by page.

use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde_json::Value;

use super::super::web::Client;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// Pages of one list.
const PAGES_MAX: usize = 1_000;
/// How often a server may say in a row that it was asked too often.
const WAITS_MAX: usize = 10;
/// Seconds to wait when it does not say how long.
const WAIT: u64 = 10;
/// The longest wait that is followed, in seconds: its limits are counted over five minutes.
const WAIT_MAX: u64 = 300;

/// Everything that is read of it.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) users: Vec<Value>,
    /// How users are told; `None` if the token may not read it.
    pub(super) rules: Option<Vec<Value>>,
    pub(super) schedules: Vec<Value>,
    pub(super) shifts: Vec<Value>,
    pub(super) chains: Vec<Value>,
    pub(super) policies: Vec<Value>,
    pub(super) integrations: Vec<Value>,
    pub(super) routes: Vec<Value>,
}

/// The API of one server.
pub(super) struct Api<'a> {
    client: Client,
    base: String,
    output: &'a Output,
}

impl<'a> Api<'a> {
    /// The API at an address, with or without its path.
    ///
    /// # Errors
    /// The token cannot stand in a header.
    pub(super) fn new(
        url: &str,
        token: &str,
        grafana: Option<&str>,
        output: &'a Output,
    ) -> Result<Self, Failure> {
        let url = url.trim_end_matches('/');
        let base = if url.ends_with("/api/v1") { url.to_owned() } else { format!("{url}/api/v1") };
        let mut headers = vec![("authorization", token)];
        headers.extend(grafana.map(|url| ("x-grafana-url", url)));
        Ok(Self { client: Client::new(&headers)?, base, output })
    }

    /// Reads everything.
    ///
    /// # Errors
    /// The server is away, or does not let the token read a list that is needed.
    pub(super) async fn read(&self) -> Result<Lists, Failure> {
        Ok(Lists {
            users: self.needed("users").await?,
            rules: self.list("personal_notification_rules").await?,
            schedules: self.needed("schedules").await?,
            shifts: self.needed("on_call_shifts").await?,
            chains: self.needed("escalation_chains").await?,
            policies: self.needed("escalation_policies").await?,
            integrations: self.needed("integrations").await?,
            routes: self.needed("routes").await?,
        })
    }

    async fn needed(&self, what: &str) -> Result<Vec<Value>, Failure> {
        self.list(what).await?.ok_or_else(|| {
            Failure::error(format!("the token may not read {}/{what}/", self.base))
                .with_hint("make a token of a user who may read all of OnCall")
        })
    }

    /// All of a list; `None` if the token may not read it.
    async fn list(&self, what: &str) -> Result<Option<Vec<Value>>, Failure> {
        let mut items = Vec::new();
        let mut url = format!("{}/{what}/", self.base);
        for _ in 0..PAGES_MAX {
            let Some(answer) = self.page(&url).await? else { return Ok(None) };
            let Some(results) = answer["results"].as_array() else {
                return Err(Failure::error(format!("{url} answers no list"))
                    .with_hint("is it the address of the API, as OnCall's settings show it?"));
            };
            items.extend(results.iter().cloned());
            // Behind a proxy the link may name a host that only the server knows, and the token is
            // not for any other: only the number of the page is taken from it.
            let Some(next) = answer["next"].as_str() else { return Ok(Some(items)) };
            let number = Url::parse(next).ok().and_then(|next| {
                next.query_pairs().find(|(name, _)| name == "page").map(|it| it.1.into_owned())
            });
            let number = number.and_then(|it| it.parse::<u32>().ok()).ok_or_else(|| {
                Failure::error(format!("{url} answers a next page without a number: {next}"))
            })?;
            url = format!("{}/{what}/?page={number}", self.base);
        }
        Err(Failure::error(format!("{}/{what}/ has more than {PAGES_MAX} pages", self.base)))
    }

    /// One page, asked for again as often as the server says that it was asked too often.
    async fn page(&self, url: &str) -> Result<Option<Value>, Failure> {
        for _ in 0..WAITS_MAX {
            let answer = self.client.get(url).await?;
            match answer.status {
                StatusCode::TOO_MANY_REQUESTS => {
                    let wait = answer.retry_after.unwrap_or(WAIT).min(WAIT_MAX);
                    self.output.note(format_args!(
                        "{url} answers 429, as it was asked too often: waiting {wait} s"
                    ));
                    tokio::time::sleep(Duration::from_secs(wait)).await;
                }
                StatusCode::FORBIDDEN => return Ok(None),
                status if status.is_success() => {
                    return serde_json::from_str(&answer.body).map(Some).map_err(|error| {
                        Failure::error(format!("{url} answers what is not JSON: {error}"))
                    });
                }
                status => {
                    let hint = "is it the address of OnCall's API, and a token of it?";
                    return Err(Failure::error(format!("{url} answers {status}")).with_hint(hint));
                }
            }
        }
        Err(Failure::error(format!("{url} answers 429 again and again"))
            .with_hint("nothing else should ask with this token meanwhile; try again later"))
    }
}
