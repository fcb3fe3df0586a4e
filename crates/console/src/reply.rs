//! What a browser gets: a page, the address of another one, or an asset.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use sha2::{Digest as _, Sha256};

use crate::asset::Asset;
use crate::gzip::packed;
use crate::part::Part;
use crate::shell::{self, Page};
use crate::{Context, piece};

/// What a browser gets.
#[derive(Debug)]
pub enum Reply {
    /// A page.
    Page {
        /// The status of HTTP.
        status: StatusCode,
        /// The whole document.
        html: String,
        /// Whether it shows payloads: then no browser may keep it.
        is_private: bool,
        /// Whether it is for anybody: then caches between may keep it for a while.
        is_public: bool,
    },
    /// What of a page can have changed since it was opened.
    Part(Arc<Part>),
    /// A document of HTML to keep, which needs nothing else.
    File {
        /// The name of the file: letters, digits, `-` and `.`.
        name: String,
        /// The document.
        html: String,
    },
    /// Another page is to be looked at now: after an act, so that reloading does not repeat it.
    Moved {
        /// Its address.
        to: String,
        /// A cookie to set.
        cookie: Option<String>,
    },
}

impl Reply {
    pub(crate) fn page(cx: &Context<'_>, page: &Page) -> Self {
        let token = cx.seal.of_forms(&cx.visit.visitor.id);
        let html = piece::with_proof(&shell::document(cx, page).0, &token);
        let Page { status, is_private, is_public, .. } = *page;
        Self::Page { status, html, is_private, is_public }
    }

    /// The reply to whoever sent these headers: compressed if they allow it, and empty if they
    /// already have the same.
    pub fn into_response(self, asked: &HeaderMap) -> Response<Vec<u8>> {
        match self {
            Self::Moved { to, cookie } => {
                let mut response = Response::new(Vec::new());
                *response.status_mut() = StatusCode::SEE_OTHER;
                let to = HeaderValue::try_from(to);
                let home = HeaderValue::from_static("/console/");
                response.headers_mut().insert(header::LOCATION, to.unwrap_or(home));
                if let Some(cookie) = cookie.and_then(|it| HeaderValue::try_from(it).ok()) {
                    response.headers_mut().insert(header::SET_COOKIE, cookie);
                }
                response
            }
            Self::Part(part) => {
                let packed = || part.packed().to_vec();
                written(StatusCode::OK, &part.html, part.is_private, asked, packed)
            }
            Self::File { name, html } => {
                let mut response = page(StatusCode::OK, &html, true, asked);
                let kept = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
                let plain = HeaderValue::from_static("attachment");
                let kept = kept.unwrap_or(plain);
                response.headers_mut().insert(header::CONTENT_DISPOSITION, kept);
                response
            }
            Self::Page { status, html, is_private, is_public } => {
                let mut response = page(status, &html, is_private, asked);
                if is_public && !is_private && status == StatusCode::OK {
                    let keep = HeaderValue::from_static("public, max-age=30");
                    response.headers_mut().insert(header::CACHE_CONTROL, keep);
                    let vary = HeaderValue::from_static("Accept-Encoding");
                    response.headers_mut().insert(header::VARY, vary);
                }
                response
            }
        }
    }
}

fn page(status: StatusCode, html: &str, is_private: bool, asked: &HeaderMap) -> Response<Vec<u8>> {
    written(status, html, is_private, asked, || packed(html.as_bytes()))
}

fn written(
    status: StatusCode,
    html: &str,
    is_private: bool,
    asked: &HeaderMap,
    packed: impl FnOnce() -> Vec<u8>,
) -> Response<Vec<u8>> {
    let hash = Sha256::digest(html.as_bytes());
    let tag = format!("W/\"{}\"", crate::seal::hex(&hash[..12]));
    let given = asked.get(header::IF_NONE_MATCH).and_then(|it| it.to_str().ok());
    let has_it = given.is_some_and(|given| given.split(',').any(|it| it.trim() == tag));
    let mut response = if has_it && status == StatusCode::OK {
        let mut response = Response::new(Vec::new());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let mut response = packed_for(asked, html.as_bytes(), packed);
        *response.status_mut() = status;
        response
    };
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, html);
    let keep = if is_private { "no-store" } else { "private, no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    // A part has the address of its page.
    let vary = HeaderValue::from_static("Accept-Encoding, Cookie, HX-Request");
    headers.insert(header::VARY, vary);
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

impl Asset {
    /// The asset for whoever sent these headers.
    pub fn response(&self, asked: &HeaderMap) -> Response<Vec<u8>> {
        let mut response = packed_for(asked, self.bytes, || self.packed.clone());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
        headers.insert(header::CACHE_CONTROL, forever);
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        response
    }
}

fn packed_for(
    asked: &HeaderMap,
    bytes: &[u8],
    packed: impl FnOnce() -> Vec<u8>,
) -> Response<Vec<u8>> {
    let accepted = asked.get(header::ACCEPT_ENCODING).and_then(|it| it.to_str().ok());
    let takes_gzip = accepted.unwrap_or_default().split(',').any(|it| {
        let (name, weight) = it.split_once(';').unwrap_or((it, ""));
        name.trim().eq_ignore_ascii_case("gzip") && !matches!(weight.trim(), "q=0" | "q=0.0")
    });
    if !takes_gzip {
        return Response::new(bytes.to_vec());
    }
    let mut response = Response::new(packed());
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_page_is_compressed_for_who_takes_it_and_sent_once() {
        let html = "<p>".repeat(1000);
        let page = || Reply::Page {
            status: StatusCode::OK,
            html: html.clone(),
            is_private: false,
            is_public: false,
        };
        let plain = page().into_response(&asked(&[(header::ACCEPT_ENCODING, "gzip;q=0, br")]));
        assert_eq!(plain.body().len(), html.len());
        let packed = page().into_response(&asked(&[(header::ACCEPT_ENCODING, "br, gzip")]));
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(packed.body().len() < 200);
        let tag = packed.headers()[header::ETAG].clone();
        let mut again = HeaderMap::new();
        again.insert(header::IF_NONE_MATCH, tag);
        let again = page().into_response(&again);
        assert_eq!((again.status(), again.body().len()), (StatusCode::NOT_MODIFIED, 0));
    }
}
