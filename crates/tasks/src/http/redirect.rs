//! Redirects: where the next request of a call goes, and what it may carry there.
//!
//! What an author sent, he sent to one origin (scheme, host and port). A peer that answers with a
//! redirect to another one, because it is hostile or was taken over, must not learn there what only
//! it was told, so all headers that the author set stay behind, and a body is sent to no other
//! origin. Encryption is never given up on the way.

use ::http::header::{self, HeaderMap};
use ::http::{Method, StatusCode};
use bytes::Bytes;
use reqwest::Url;

use super::problem::{Code, Problem};
use super::request::Request;
use super::uri;

/// One request of a call.
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

impl Hop {
    /// The request as its author made it.
    pub(super) fn first(request: &Request) -> Self {
        Self {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            body: request.body.clone(),
        }
    }

    /// What follows an answer; `None` if it redirects nowhere and is to be read.
    ///
    /// # Errors
    /// It redirects to where this request must not go.
    pub(super) fn after(
        &self,
        status: StatusCode,
        answer: &HeaderMap,
    ) -> Result<Option<Self>, Problem> {
        if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let location = answer.get(header::LOCATION).and_then(|location| location.to_str().ok());
        // What is no URL is left to the reader.
        let Some(url) = location.and_then(|location| self.url.join(location).ok()) else {
            return Ok(None);
        };
        let refused = |why: &str| Err(Problem::new(Code::RedirectFailed, why));
        if !matches!(url.scheme(), "http" | "https") {
            let scheme = url.scheme();
            return refused(&format!(
                "was redirected to a URL that cannot be called: only http and https can be, not \
                 {scheme}"
            ));
        }
        if self.url.scheme() == "https" && url.scheme() == "http" {
            return refused(&format!(
                "was redirected from https to {}, which is not encrypted; call that URL itself if \
                 it is meant",
                uri::shown(&url)
            ));
        }
        let mut next = Self {
            method: self.method.clone(),
            url,
            headers: self.headers.clone(),
            body: self.body.clone(),
        };
        // RFC 9110, 15.4: as every client does it.
        let becomes_get = match status.as_u16() {
            301 | 302 => next.method == Method::POST,
            303 => next.method != Method::HEAD,
            _ => false,
        };
        if becomes_get {
            next.method = Method::GET;
            next.body = None;
            for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
                next.headers.remove(name);
            }
        }
        if !same_origin(&self.url, &next.url) {
            if next.body.is_some() {
                return refused(&format!(
                    "was redirected to another origin, {}, which would get its body; call that URL \
                     itself if it is meant",
                    uri::shown(&next.url)
                ));
            }
            next.headers.clear();
        }
        Ok(Some(next))
    }
}

/// Whether two URLs have scheme, host and port in common.
pub(super) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}
