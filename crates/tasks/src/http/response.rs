//! An answer, and the task output that it becomes.

use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, StatusCode, header};
use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use kernel::Json;
use reqwest::Url;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::body;
use super::problem::Code;
use super::redirect::same_origin;
use super::request::Request;
use super::uri;

/// How much of a body is quoted in a reason, in characters.
const QUOTED_MAX: usize = 500;
/// Longest pause that a peer can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);
/// Some peers get the day of the week wrong; the date is what they mean.
const DATES: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);

/// An answer with its body.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, decompressed.
    pub body: Bytes,
    /// Whether the body was longer than what is kept of an unsuccessful answer, or broke off.
    pub body_truncated: bool,
    /// Who answered, after redirects.
    pub url: Url,
}

impl Response {
    /// The output of a task that this answer completes: `{"response": {"statusCode",
    /// "reasonPhrase", "headers", "body"}}`.
    ///
    /// Headers are lists of values under names written as HTTP/1.1 servers commonly write them,
    /// `Content-Type`, whatever the version spoken: a definition that reads one by name must not
    /// depend on that.
    pub fn output(&self) -> Json {
        #[derive(serde::Serialize)]
        struct Output<'a> {
            response: Shape<'a>,
        }
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape<'a> {
            status_code: u16,
            reason_phrase: &'a str,
            headers: Headers<'a>,
            body: Json,
        }
        Json::of(&Output {
            response: Shape {
                status_code: self.status.as_u16(),
                reason_phrase: self.reason_phrase(),
                headers: Headers(&self.headers),
                body: self.body(),
            },
        })
    }

    /// The body as a value.
    pub fn body(&self) -> Json {
        body::value(&self.body, self.headers.get(header::CONTENT_TYPE))
    }

    /// What a status is called; empty for one without a name.
    pub fn reason_phrase(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or_default()
    }

    /// How long the peer asks to be left alone, from a status that means it (429, 503) and a
    /// `Retry-After` in seconds or as a date; a day at most.
    pub fn retry_after(&self) -> Option<Duration> {
        if !matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return None;
        }
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
        let wait = match text.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => until(text)?,
        };
        Some(wait.min(RETRY_AFTER_MAX))
    }

    /// Why this answer is no success, in a sentence.
    pub(super) fn refusal(&self, request: &Request) -> String {
        let via = if self.url == request.url {
            String::new()
        } else {
            let without = if same_origin(&self.url, &request.url) {
                ""
            } else {
                " (another origin, so without the task's headers)"
            };
            format!(", redirected to {}{without},", uri::shown(&self.url))
        };
        format!("{request}{via} answered {}", self.summary())
    }

    /// The output of a task that this answer fails. Conductor puts the text of its exception under
    /// `response`: status and body. It stays a text here, and `error` holds the parts.
    pub(super) fn error_output(&self, reason: &str) -> Json {
        #[derive(serde::Serialize)]
        struct Output<'a> {
            response: String,
            error: Detail<'a>,
        }
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Detail<'a> {
            code: Code,
            message: &'a str,
            status_code: u16,
            reason_phrase: &'a str,
            headers: Headers<'a>,
            body: Json,
            body_truncated: bool,
        }
        Json::of(&Output {
            response: self.summary(),
            error: Detail {
                code: Code::HttpStatus,
                message: reason,
                status_code: self.status.as_u16(),
                reason_phrase: self.reason_phrase(),
                headers: Headers(&self.headers),
                body: self.body(),
                body_truncated: self.body_truncated,
            },
        })
    }

    fn summary(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let quoted: String = body.trim().chars().take(QUOTED_MAX).collect();
        let cut = self.body_truncated || quoted.len() < body.trim().len();
        let status = format!("{} {}", self.status.as_u16(), self.reason_phrase());
        match (quoted.is_empty(), cut) {
            (true, _) => format!("{} with no body", status.trim()),
            (false, false) => format!("{}: {quoted}", status.trim()),
            (false, true) => format!("{}: {quoted}…", status.trim()),
        }
    }
}

/// The time from now to a date as HTTP writes it; nothing is left of one that has passed.
fn until(date: &str) -> Option<Duration> {
    let at = DATES.parse_timestamp(date).ok()?;
    Some(Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default())
}

/// Writes headers as an object of lists.
struct Headers<'a>(&'a HeaderMap);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.keys_len()))?;
        for name in self.0.keys() {
            let values: Vec<String> = self.0.get_all(name).iter().map(value_text).collect();
            map.serialize_entry(&spelled(name.as_str()), &values)?;
        }
        map.end()
    }
}

/// Header values are bytes; those that are not UTF-8 are Latin-1 by tradition.
fn value_text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().copied().map(char::from).collect(),
    }
}

/// The usual spelling of a header's name: capitals after hyphens, and the few that everybody
/// writes otherwise.
fn spelled(name: &str) -> String {
    match name {
        "etag" => return "ETag".to_owned(),
        "www-authenticate" => return "WWW-Authenticate".to_owned(),
        _ => {}
    }
    let words = name.split('-').map(|word| match word {
        "ratelimit" => "RateLimit".to_owned(),
        "github" => "GitHub".to_owned(),
        _ => {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_ascii_uppercase() + rest
        }
    });
    words.collect::<Vec<_>>().join("-")
}
