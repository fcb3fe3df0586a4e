//! A hash of what a changing request brings, for the audit ledger; made while its handler reads the body.
//!
//! It is keyed: a body may hold a password, and who may read the ledger must not find it by trying.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use engine::Engine;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use ring::hmac;

/// What the key of the hashes is derived for.
const PURPOSE: &str = "hashes of changes in the audit ledger";

/// The key of a server's hashes.
pub(super) fn key(engine: &Engine) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &*engine.vault().derive_key(PURPOSE))
}

/// The hash of a request, as far as it is read.
#[derive(Clone, Default)]
pub(super) struct Change(Option<Arc<Mutex<Progress>>>);

struct Progress {
    context: hmac::Context,
    is_empty: bool,
    has_ended: bool,
}

impl Change {
    /// Begins one of the query of a request if it has no body, else of its body.
    pub(super) fn watch(key: &hmac::Key, request: &mut Request) -> Self {
        let body = std::mem::take(request.body_mut());
        let has_ended = body.is_end_stream();
        let mut progress =
            Progress { context: hmac::Context::with_key(key), is_empty: true, has_ended };
        if has_ended && let Some(query) = request.uri().query() {
            progress.take(query.as_bytes());
        }
        let progress = Arc::new(Mutex::new(progress));
        *request.body_mut() = Body::new(Watched { body, progress: progress.clone() });
        Self(Some(progress))
    }

    /// The hash in hexadecimal digits; `None` if nothing was sent, or it was not read to its end.
    pub(super) fn hash(self) -> Option<String> {
        let progress = self.0?;
        let progress = progress.lock();
        if progress.is_empty || !progress.has_ended {
            return None;
        }
        let tag = progress.context.clone().sign();
        let mut digits = String::with_capacity(2 * tag.as_ref().len());
        for byte in tag.as_ref() {
            let _ = write!(digits, "{byte:02x}");
        }
        Some(digits)
    }
}

impl Progress {
    fn take(&mut self, bytes: &[u8]) {
        self.is_empty &= bytes.is_empty();
        self.context.update(bytes);
    }
}

struct Watched {
    body: Body,
    progress: Arc<Mutex<Progress>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(frame) = &polled {
            let mut progress = self.progress.lock();
            match frame {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        progress.take(bytes);
                    }
                    progress.has_ended |= self.body.is_end_stream();
                }
                Some(Err(_)) => {}
                None => progress.has_ended = true,
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
