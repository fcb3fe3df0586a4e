//! What another server answers: bounded in time and size, told in the words of the command line.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{StatusCode, Url};

use crate::cli::failure::{Exit, Failure};

/// How long another server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of what it may answer.
const ANSWER_MAX: usize = 32 << 20;

/// Asks with the same headers each time.
pub(super) struct Client(reqwest::Client);

/// An answer, whatever it is.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Seconds after which the server wants to be asked again, if it says so.
    pub(super) retry_after: Option<u64>,
    pub(super) body: String,
}

impl Client {
    /// One that sends these headers.
    ///
    /// # Errors
    /// What they hold cannot stand in a header.
    pub(super) fn new(headers: &[(&'static str, &str)]) -> Result<Self, Failure> {
        tasks::http::install_tls_provider();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value).map_err(|_| {
                Failure::usage(format!("what is sent as {name} has characters that no header may"))
            })?;
            value.set_sensitive(true);
            map.insert(HeaderName::from_static(name), value);
        }
        let client = reqwest::Client::builder().timeout(PATIENCE).default_headers(map).build();
        client.map(Self).map_err(|error| Failure::error(error.to_string()))
    }

    /// Asks once.
    ///
    /// # Errors
    /// There is no answer, or one that is too long or no text.
    pub(super) async fn get(&self, url: &str) -> Result<Answer, Failure> {
        let away = |error: reqwest::Error| {
            Failure::new(Exit::Unreachable, format!("cannot reach {url}: {}", error.without_url()))
        };
        let address = Url::parse(url)
            .map_err(|error| Failure::usage(format!("{url} is no address: {error}")))?;
        let mut answer = self.0.get(address).send().await.map_err(away)?;
        let status = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|it| it.to_str().ok()?.trim().parse().ok());
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(away)? {
            body.extend_from_slice(&part);
            if body.len() > ANSWER_MAX {
                return Err(Failure::error(format!("{url} answers more than {ANSWER_MAX} bytes")));
            }
        }
        let body = String::from_utf8(body)
            .map_err(|_| Failure::error(format!("{url} answers what is no text")))?;
        Ok(Answer { status, retry_after, body })
    }
}
